"""What ``dysta-gym compare`` says of its results: tables, and what is in them."""

from __future__ import annotations

import pandas as pd
import rich.table
from rich.console import Console

from dysta_gym.comparison import CELL
from dysta_gym.statistics import FEWEST_MARKED, aggregate, summarise
from dysta_gym.tables import MARK, Table, interval, marked

METRICS = ("violation_rate", "antt", "antt_lower_bound", "ntt_p99")

NARROW = {"difference": "diff.", "ANTT / bound": "/ bound"}
"""Heads of columns where a table would be too wide."""


def condition_tables(results: pd.DataFrame, reference: str, statistic: str) -> list[Table]:
    """One table a scenario, load and SLO multiplier."""
    tables = []
    summary = summarise(results, METRICS, reference, statistic)
    head = [
        "policy",
        "violations (%)",
        "difference",
        "ANTT",
        "difference",
        "ANTT / bound",
        "p99 NTT",
    ]
    for (scenario, load, rate, slo), panel in summary.groupby(CELL, sort=False):
        rows = []
        for row in panel.to_dict("records"):
            same = row["policy"] == reference
            rows.append(
                [
                    str(row["policy"]),
                    interval(row, "violation_rate", ".1f", 100),
                    "" if same else interval(row, "violation_rate_diff", "+.1f", 100),
                    interval(row, "antt", ".2f"),
                    "" if same else interval(row, "antt_diff", "+.2f"),
                    f"{row['antt'] / row['antt_lower_bound']:.2f}",
                    marked(row, "ntt_p99", ".1f"),
                ]
            )
        title = f"{scenario}: load {load:.3g} ({rate:.4g} requests/s), SLO x {slo:g}"
        tables.append(Table(title, head, rows))
    return tables


def overall_table(results: pd.DataFrame, reference: str) -> Table:
    """The table over all conditions."""
    head = ["policy", "violations (%)", "wins (%)", "ANTT / bound", "wins (%)"]
    rows = []
    for row in aggregate(results, ["violation_rate", "antt"], reference).to_dict("records"):
        same = row["policy"] == reference
        rows.append(
            [
                str(row["policy"]),
                interval(row, "violation_rate", ".1f", 100),
                "" if same else interval(row, "violation_rate_wins", ".0f", 100),
                interval(row, "antt", ".2f"),
                "" if same else interval(row, "antt_wins", ".0f", 100),
            ]
        )
    return Table("all conditions: interquartile means", head, rows)


def caption(results: pd.DataFrame, reference: str, statistic: str, split: str) -> str:
    """What the numbers and marks of the tables mean; ``reference`` as it is to be shown."""
    seeds, conditions = results["seed"].nunique(), results.groupby(CELL).ngroups
    average = {"mean": "Mean", "iqm": "Interquartile mean"}[statistic]
    lines = [
        f"{average} over {seeds} seed{'s [95 % bootstrap interval]' * (seeds > 1)}; "
        f"differences to {reference}, paired by seed; split {split}."
    ]
    if seeds < FEWEST_MARKED:
        lines.append(f"Nothing is marked as the best: that takes {FEWEST_MARKED} seeds or more.")
    else:
        lines.append(
            f"Marked {MARK}: best, or not significantly different from the best "
            "(paired t-test, Holm, 5 %)."
        )
    if conditions > 1:
        lines.append(
            f"All conditions: {conditions} x {seeds} workloads; "
            f"wins: share that a policy serves better than {reference}, ties half."
        )
    return "\n".join(lines)


def fitted(table: Table, console: Console) -> rich.table.Table:
    """A table for a terminal; its differences have no intervals if it were too wide with them."""
    full = table.for_terminal()
    if console.measure(full, options=console.options.update(width=1000)).maximum <= console.width:
        return full
    short = [
        [
            cell.partition(" [")[0] if name == "difference" else cell
            for name, cell in zip(table.head, row, strict=True)
        ]
        for row in table.rows
    ]
    return Table(table.title, [NARROW.get(name, name) for name in table.head], short).for_terminal()
