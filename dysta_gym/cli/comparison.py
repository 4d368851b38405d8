"""The command ``dysta-gym compare``: policies on common workloads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dysta_gym.cli import terminal
from dysta_gym.errors import DystaError, shown
from dysta_gym.text import for_markdown, printable

if TYPE_CHECKING:
    import pandas as pd

    from dysta_gym.comparison import Cell

Scenarios = Annotated[
    list[str] | None,
    typer.Option("--scenario", metavar="NAME_OR_FILE", help="Scenario; may be repeated."),
]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="NAME[@LEVEL][:key=value]",
        help="Policy; may be repeated. NAME@* runs it at every level of information.",
    ),
]


def compare(
    scenario: Scenarios = None,
    policy: Policies = None,
    load: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LOAD",
            help="Offered work over capacity: a number, light, moderate, heavy or overload; "
            "may be repeated.",
        ),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(metavar="NUMBER", help="Requests a second; may be repeated."),
    ] = None,
    slo: Annotated[
        list[float] | None, typer.Option(metavar="NUMBER", help="SLO multiplier; may be repeated.")
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="Track: scenarios, loads, SLO multipliers, seeds and split that are fixed.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="INTEGER", help="Number of seeds [5].")
    ] = None,
    first_seed: Annotated[
        int | None, typer.Option(metavar="INTEGER", help="First seed [0].")
    ] = None,
    requests: Annotated[
        int | None, typer.Option(metavar="INTEGER", help="Requests a workload.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Inputs to draw from: train, test or all [test]."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="INTEGER", help="Workloads at a time [one a core].")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POLICY",
            help="Policy to take differences to; of several, the best in each condition "
            "[the forms of Dysta that are run, else the first].",
        ),
    ] = None,
    statistic: Annotated[
        str,
        typer.Option(metavar="NAME", help="Average: mean, or iqm for the interquartile mean."),
    ] = "mean",
    bounds: Annotated[
        bool, typer.Option(help="Say what could be reached at all, beside what was.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder for results.csv, results.md and trade-off.png."
        ),
    ] = None,
) -> None:
    """Compare policies on the same workloads: a table, its numbers and a picture."""
    from dysta_gym import comparison
    from dysta_gym.cli.results import caption, condition_tables, fitted, overall_table
    from dysta_gym.files import check_folder
    from dysta_gym.policies import expand
    from dysta_gym.statistics import share_cut

    if out is not None:
        check_folder(out)
    share_cut(statistic)
    policies = [name for spec in policy or comparison.DEFAULT_POLICIES for name in expand(spec)]
    for name in reference or ():
        if name not in policies:
            raise DystaError(
                f"reference: {name!r} is not run; choose one of: {', '.join(policies)}"
            )
    to = list(dict.fromkeys(reference or comparison.references(policies)))
    given = {
        "scenario": scenario, "load": load, "rate": rate, "slo": slo, "seeds": seeds,
        "first_seed": first_seed, "requests": requests, "split": split,
    }  # fmt: skip
    cells = _fixed(track, given) if track else _chosen(given)
    split = cells[0].split
    results = terminal.with_progress(
        "workloads",
        lambda progress: comparison.run(
            cells, policies, jobs=jobs, bounds=bounds, progress=progress
        ),
    )
    fault = _save(out, results) if out is not None else None
    tables = condition_tables(results, to, statistic)
    if len(tables) > 1:
        tables.append(overall_table(results, to, statistic))
    if out is not None and fault is None:
        try:
            parts = [*(table.for_page() for table in tables)]
            parts.append(f"{caption(results, [*map(for_markdown, to)], statistic, split)}\n")
            _write(out, results, "\n".join(parts))
        except DystaError as error:
            fault = error
    console = terminal.console()
    for table in tables:
        console.print(fitted(table, console))
    console.print(caption(results, [*map(printable, to)], statistic, split))
    if fault is not None:
        raise fault
    if out is not None:
        terminal.say(f"Wrote results.csv, results.md and trade-off.png to {out}.")


def _fixed(track: str, given: Mapping[str, object]) -> list[Cell]:
    """The workloads of a track, beside which nothing may be given."""
    from dysta_gym.tracks import load_track

    for name, value in given.items():
        if value not in (None, []):
            raise DystaError(
                f"{name.replace('_', '-')}: {shown(value)} is not allowed beside track {track!r}, "
                "which fixes it; leave it out"
            )
    return load_track(track).cells()


def _chosen(given: Mapping[str, Any]) -> list[Cell]:
    """The workloads that the options say."""
    from dysta_gym import comparison

    count = 5 if given["seeds"] is None else given["seeds"]
    first = given["first_seed"] or 0
    if count < 1:
        raise DystaError(f"seeds: {count} is not allowed; it must be 1 or more")
    if count > comparison.MOST_SEEDS:
        raise DystaError(
            f"seeds: {count} is not allowed; it must be {comparison.MOST_SEEDS} or less"
        )
    return comparison.cells_of(
        given["scenario"] or comparison.DEFAULT_SCENARIOS,
        loads=[number_or_name(each) for each in given["load"] or ()],
        rates=given["rate"] or (),
        slos=given["slo"] or (),
        seeds=range(first, first + count),
        requests=given["requests"],
        split=given["split"] or "test",
    )


def _save(out: Path, results: pd.DataFrame) -> DystaError | None:
    """Write the numbers, before anything is made of them; why that failed, if it did."""
    from dysta_gym.files import replacing

    try:
        with replacing(out / "results.csv") as scratch:
            results.to_csv(scratch, index=False, errors="backslashreplace")
    except DystaError as error:
        return error
    return None


def _write(out: Path, results: pd.DataFrame, page: str) -> None:
    """Write the results, and last of all what they look like."""
    from dysta_gym import figures
    from dysta_gym.files import replacing

    with replacing(out / "results.md") as scratch:
        scratch.write_text(page, encoding="utf-8", errors="backslashreplace")
    figures.draw(lambda: figures.trade_off(results), out / "trade-off.png")


def number_or_name(text: str) -> float | str:
    """A load as the command line has it: a number, or its name."""
    try:
        return float(text)
    except ValueError:
        return text
