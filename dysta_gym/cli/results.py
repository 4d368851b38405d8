"""What ``dysta-gym compare`` says of its results: tables, and what is in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from dysta_gym.cli.fitting import DIFFERENCE, P99, WAY, WHOLE, WINS, Form
from dysta_gym.comparison import CELL, title
from dysta_gym.hindsight import BOUND_OF, BOUNDS
from dysta_gym.policies import find
from dysta_gym.policies import split as parts_of
from dysta_gym.statistics import FEWEST_MARKED, aggregate, summarise
from dysta_gym.tables import MARK, Table, interval, marked

METRICS = ("violation_rate", "antt", "ntt_p99")


def condition_tables(
    results: pd.DataFrame, reference: Sequence[str], statistic: str
) -> list[Table]:
    """One table a scenario, load and SLO multiplier; of several references the best counts."""
    tables = []
    bounds = [name for name in BOUNDS if name in results]
    summary = summarise(results, [*METRICS, *bounds], reference, statistic)
    way = [WAY] if bounds else []
    head = ["policy", "violations (%)", DIFFERENCE, *way, "ANTT", DIFFERENCE, *way, P99]
    every = summary.to_dict("records")
    for condition, panel in groupby(every, lambda row: [row[name] for name in CELL]):
        rows = []
        records = list(panel)
        for row in records:
            late, slow = (row["policy"] == row[f"{each}_reference"] for each in METRICS[:2])
            rows.append(
                [
                    str(row["policy"]),
                    interval(row, "violation_rate", ".1f", 100),
                    "" if late else interval(row, "violation_rate_diff", "+.1f", 100),
                    *(_way(row, "violation_rate") for _ in way),
                    interval(row, "antt", ".2f"),
                    "" if slow else interval(row, "antt_diff", "+.2f"),
                    *(_way(row, "antt") for _ in way),
                    marked(row, "ntt_p99", ".1f"),
                ]
            )
        if bounds:
            limits = {n: value for n, value in records[0].items() if not str(n).endswith("_best")}
            reached = interval(limits, "violation_rate_in_hindsight", ".1f", 100)
            late = interval(limits, BOUND_OF["violation_rate"], ".1f", 100)
            slow = interval(limits, BOUND_OF["antt"], ".2f")
            rows.append(["(in hindsight)", reached, *[""] * 6])
            rows.append(["(lower bound)", late, "", "", slow, "", "", ""])
        tables.append(Table(title(condition), head, rows))
    return tables


def _way(row: Mapping[Any, Any], metric: str) -> str:
    """Per cent of the way from the reference to the lower bound that a policy has gone."""
    base = row[metric] - row[f"{metric}_diff"]
    whole = base - row[BOUND_OF[metric]]
    if row["policy"] == row[f"{metric}_reference"] or not whole > max(1e-9 * base, 0):
        return ""
    share = -100 * row[f"{metric}_diff"] / whole
    return f"{round(share)}" if math.isfinite(share) else ""


def overall_table(results: pd.DataFrame, reference: Sequence[str], statistic: str) -> Table:
    """The table over all conditions."""
    antt = "ANTT / bound" if BOUND_OF["antt"] in results else "ANTT"
    head = ["policy", "violations (%)", WINS, antt, WINS]
    rows = []
    summary = aggregate(results, ["violation_rate", "antt"], reference, statistic)
    for row in summary.to_dict("records"):
        same = [row["policy"]] == list(reference)
        rows.append(
            [
                str(row["policy"]),
                interval(row, "violation_rate", ".1f", 100),
                "" if same else interval(row, "violation_rate_wins", ".0f", 100),
                interval(row, "antt", ".2f"),
                "" if same else interval(row, "antt_wins", ".0f", 100),
            ]
        )
    means = {"mean": "means", "iqm": "interquartile means"}[statistic]
    return Table(f"all conditions: {means}", head, rows)


def caption(results: pd.DataFrame, reference: Sequence[str], statistic: str, split: str) -> str:
    """What the numbers and marks of the tables mean; references as they are to be shown."""
    return "\n".join(notes(results, reference, statistic, split))


def notes(
    results: pd.DataFrame,
    reference: Sequence[str],
    statistic: str,
    split: str,
    form: Form = WHOLE,
) -> list[str]:
    """The parts of the caption, some of them of several lines, for what tables show.

    Args:
        results: What `dysta_gym.comparison.run` returns.
        reference: Policies that others are compared with, as they are to be shown.
        statistic: How seeds are averaged.
        split: Inputs that requests were drawn from.
        form: What of it the tables show.
    """
    seeds, conditions = results["seed"].nunique(), results.groupby(CELL).ngroups
    average = {"mean": "Mean", "iqm": "Interquartile mean"}[statistic]
    chosen = "the reference" if len(reference) > 1 else reference[0]
    shown = _INTERVALS[form.values, form.differences]
    over = f"{seeds} seeds{shown}" if seeds > 1 else "1 seed"
    compared = f" differences to {chosen}, paired by seed;" * (DIFFERENCE not in form.left_out)
    lines = [f"{average} over {over};{compared} split {split}."]
    if len(reference) > 1 and DIFFERENCE not in form.left_out:
        lines.append(
            "The reference, in each condition and column, is the best of\n"
            f"{', '.join(reference[:-1])} and {reference[-1]}."
        )
    if seeds < FEWEST_MARKED:
        lines.append(f"Nothing is marked as the best: that takes {FEWEST_MARKED} seeds or more.")
    else:
        lines.append(
            f"Marked {MARK}: best, or not significantly different from the best "
            "(paired t-test, Holm, 5 %)."
        )
    if BOUND_OF["antt"] in results:
        if WAY not in form.left_out:
            lines.append(
                f"Way: share of the way from {chosen} to the lower bound, which no schedule beats."
            )
        lines.append(
            "In hindsight: a plan made knowing all arrivals and latencies; a policy may beat it."
        )
    lines += _out_of_unit(results)
    if conditions > 1:
        pooled = {
            "mean": "every condition counts alike; violations: mean, ANTT: geometric mean",
            "iqm": "interquartile means, which leave out the hardest quarter and the easiest",
        }
        lines.append(f"All conditions: {conditions} x {seeds} workloads; {pooled[statistic]}.")
        if WINS not in form.left_out:
            lines.append(f"Wins: share that a policy serves better than {chosen}, ties half.")
    return lines


_INTERVALS: Mapping[tuple[str, str], str] = {
    ("whole", "whole"): " [95 % interval]",
    ("whole", "half"): " [95 % interval], of differences ± its longer side",
    ("half", "half"): " ± the longer side of the 95 % interval",
    ("half", "none"): " ± the longer side of the 95 % interval",
    ("none", "none"): "",
}
"""What is said of the intervals of values and differences."""


_IN_SECONDS = ("dysta", "dysta_naive", "dysta_oracle")
"""Names of Dysta as its artifact has it, which counts in seconds."""


def _out_of_unit(results: pd.DataFrame) -> list[str]:
    """Lines where Dysta in seconds is run on networks that its weight was not chosen for.

    What has waited in a queue of one for as long as it would take alone loses ``beta`` seconds to
    what has just run: more than it takes itself, if that is less.
    """
    names = filter(_is_in_seconds, results["policy"].unique())
    weights = [find(name).values(1.0)[:2].prod() for name in names]
    isolated_s = (results["load"] / results["rate"]).groupby(results["scenario"], sort=False)
    below = [each for each in isolated_s.first() if each < max(weights, default=0.0)]
    short = dict.fromkeys(f"{1e3 * each:.2g} ms" for each in below)
    if not short:
        return []
    return [
        "Dysta in seconds has a weight for networks of tens of milliseconds or more;\n"
        f"here they take {' and '.join(short)}. dysta-cycles and dysta-tuned do not depend on it."
    ]


def _is_in_seconds(name: str) -> bool:
    return parts_of(name)[0] in _IN_SECONDS
