"""The command ``dysta-gym compare``: policies on common workloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dysta_gym.cli import terminal
from dysta_gym.cli.interrupts import resumable
from dysta_gym.cli.sweeping import interrupted
from dysta_gym.errors import DystaError, shown
from dysta_gym.text import printable

if TYPE_CHECKING:
    import pandas as pd

    from dysta_gym.agent_files import Agent
    from dysta_gym.cli.outputs import Found
    from dysta_gym.comparison import Cell

Scenarios = Annotated[
    list[str] | None,
    typer.Option(
        "--scenario",
        metavar="NAME_OR_FILE",
        help="Scenario; may be repeated [multi-attnn, multi-cnn].",
    ),
]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="NAME[@LEVEL][:key=value]",
        help="Policy; may be repeated. NAME@* runs it at every level of information "
        "[those of the paper, Dysta's forms, the strongest rules and the agents].",
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
            "may be repeated [the scenario's].",
        ),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(metavar="NUMBER", help="Requests a second; may be repeated."),
    ] = None,
    slo: Annotated[
        list[float] | None,
        typer.Option(metavar="NUMBER", help="SLO multiplier; may be repeated [the scenario's]."),
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
        int | None, typer.Option(metavar="INTEGER", help="Requests a workload [the scenario's].")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Inputs to draw from: train, test or all [test]."),
    ] = None,
    jobs: terminal.Jobs = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POLICY",
            help="Policy to take differences to; of several, the best in each condition "
            "[the forms of Dysta that are run at their own levels, else the first].",
        ),
    ] = None,
    statistic: Annotated[
        str,
        typer.Option(metavar="NAME", help="Average: mean, or iqm for the interquartile mean."),
    ] = "mean",
    trust: terminal.Trust = False,
    bounds: Annotated[
        bool, typer.Option(help="Say what could be reached at all, beside what was.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for results.csv, results.md and trade-off.png.",
            parser=terminal.folder,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write all of it as one page for a browser."),
    ] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Picture in OUT: trade-off, curves, levels or dots; may be repeated [trade-off].",
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option(metavar="NAME", help="Pictures in OUT: png, pdf or svg [png].")
    ] = None,
    latex: Annotated[
        bool,
        typer.Option("--latex", help="Print LaTeX (booktabs), and write results.tex to OUT, too."),
    ] = False,
    as_json: terminal.AsJson = False,
) -> None:
    """Compare policies on the same workloads.

    Prints a table a condition, as wide as the terminal or COLUMNS has room for; --out, --report,
    --latex and --json keep all of it.
    """
    from dysta_gym import comparison
    from dysta_gym.cli.outputs import Found, Outputs, deliver
    from dysta_gym.policies import expand
    from dysta_gym.statistics import share_cut
    from dysta_gym.sweeps.running import compare_into, done_with

    share_cut(statistic)
    policies = [name for spec in policy or comparison.DEFAULT_POLICIES for name in expand(spec)]
    reference = [name for spec in reference or () for name in expand(spec)]
    for name in reference:
        if name not in policies:
            raise DystaError(
                f"reference: {name!r} is not run; choose one of: {', '.join(policies)}"
            )
    agents = agents_in(policies, trust, jobs)
    called = {name: agents[name].spec if name in agents else name for name in policies}
    to = list(dict.fromkeys(called[name] for name in reference or comparison.references(policies)))
    given = {
        "scenario": scenario, "load": load, "rate": rate, "slo": slo, "seeds": seeds,
        "first_seed": first_seed, "requests": requests, "split": split,
    }  # fmt: skip
    cells = _fixed(track, given) if track is not None else _chosen(given)
    outputs = Outputs(out, report, figure or (), format, latex, as_json).checked(cells)
    spreads = None
    if report is not None:
        from dysta_gym.report import Spreads

        spreads = Spreads()
    keeps = out if spreads is None else None
    options: dict[str, Any] = {"jobs": jobs, "bounds": bounds}

    def work(progress: terminal.Progress) -> pd.DataFrame:
        if keeps is not None:
            return compare_into(keeps, cells, policies, trust=trust, progress=progress, **options)
        chosen = [agents.get(name, name) for name in policies]
        watch = spreads.watch if spreads else None
        return comparison.run(cells, chosen, progress=progress, watch=watch, **options)

    with resumable(lambda: interrupted(keeps)) if keeps is not None else nullcontext():
        results = terminal.with_progress("workloads", work)
    found = Found(results, to, statistic, cells[0].split)

    def write_report(path: Path) -> None:
        from dysta_gym.report import write

        assert spreads
        write(
            path, results, found.tables, found.caption(printable), spreads.table(),
            reference=to, settings=_settings(cells, found),
        )  # fmt: skip

    def written() -> None:
        if keeps is not None:
            done_with(keeps)  # what it was for is there

    deliver(found, outputs, write_report, written)
    if not (as_json or latex):
        _say_decision_times(cells[0], [name for name in policies if name not in agents])


def _say_decision_times(cell: Cell, policies: Sequence[str]) -> None:
    """Say what those take to decide that take notice of it."""
    from dysta_gym.policies import find
    from dysta_gym.simulation import decision_time_s

    slow = {name: policy for name in policies if (policy := find(name)).effort}
    for name, policy in slow.items():
        each_us = 1e6 * decision_time_s(cell.workload(), policy)
        terminal.say(
            f"{printable(name)} takes {each_us:,.0f} us to decide, on one core of this machine, in "
            f"the first workload."
        )


def agents_in(policies: Sequence[str], trust: bool, jobs: int | None) -> dict[str, Agent]:
    """The agents among policies, by the names given; says what is to be known of them.

    Raises:
        DystaError: If a file of one cannot be read.
    """
    from dysta_gym.agent_files import agent_of

    agents = {name: agent for name in policies if (agent := agent_of(name, trust=trust))}
    if agents and jobs is not None:
        terminal.note(
            f"jobs: {jobs} holds for rules; {', '.join(agents)} plays its workloads side by side"
        )
    for note in (note for each in agents.values() for note in each.notes):
        terminal.note(note)
    return agents


def _settings(cells: Sequence[Cell], found: Found) -> dict[str, str]:
    """What was asked for, in words."""
    seeds = [*dict.fromkeys(cell.seed for cell in cells)]
    requests = dict.fromkeys(str(cell.scenario.requests) for cell in cells)
    return {
        "command": terminal.command(),
        "seeds": f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0]),
        "requests a workload": ", ".join(requests),
        "split": found.split,
        "statistic": found.statistic,
        "reference": ", ".join(found.reference),
    }


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


def number_or_name(text: str) -> float | str:
    """A load as the command line has it: a number, or its name."""
    try:
        return float(text)
    except ValueError:
        return text
