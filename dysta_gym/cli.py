"""The command line: ``dysta-gym``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dysta_gym.errors import DystaError

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    help="Schedulers for sparse neural networks that share one accelerator.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ENTRY_POINTS = "dysta_gym.commands"
"""Entry-point group in which packages register commands: ``name = "module:function"``."""

TABLE_METRICS = ("violation_rate", "antt", "antt_lower_bound", "ntt_p99")

MARK = "*"
"""Follows what is the best, or not significantly different from the best."""

NARROW = {"difference": "diff.", "ANTT / bound": "/ bound"}
"""Heads of columns where a table would be too wide."""


def main() -> None:
    """Run the command line; bad input prints one line and exits with status 2."""
    try:
        _add_commands()
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        _exit(130, "interrupted")
    except DystaError as error:
        _exit(2, f"error: {error}")
    except Exception as error:
        if not hasattr(error, "format_message"):  # a fault in the arguments formats itself
            raise
        _exit(2, f"error: {error.format_message()}")
    if status == 130:  # as Typer reports an interrupt
        _exit(130, "interrupted")
    sys.exit(status or 0)


def _add_commands() -> None:
    """Add the commands of other packages, functions that Typer makes commands of."""
    for entry in entry_points(group=ENTRY_POINTS):
        if not any(command.name == entry.name for command in app.registered_commands):
            app.command(entry.name)(entry.load())


def _exit(status: int, message: str) -> NoReturn:
    print(f"dysta-gym: {message}", file=sys.stderr)
    sys.exit(status)


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:  # a file or a pipe has no width: do not cut the tables
        console = Console(stderr=stderr, highlight=False, width=160)
    return console


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
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON list of objects.")]


@app.command()
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
        list[float] | None, typer.Option(help="Requests a second; may be repeated.")
    ] = None,
    slo: Annotated[
        list[float] | None, typer.Option(help="SLO multiplier; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 5,
    first_seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    requests: Annotated[int | None, typer.Option(help="Requests a workload.")] = None,
    split: Annotated[str, typer.Option(help="Inputs to draw from: train, test or all.")] = "test",
    jobs: Annotated[int | None, typer.Option(help="Workloads at a time [one a core].")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Policy to take differences to [dysta, else the first].")
    ] = None,
    statistic: Annotated[
        str, typer.Option(help="Average over seeds: mean, or iqm for the interquartile mean.")
    ] = "mean",
    out: Annotated[
        Path | None, typer.Option(help="Folder for results.csv, results.md and trade-off.png.")
    ] = None,
) -> None:
    """Compare policies on the same workloads: a table, its numbers and a picture."""
    from dysta_gym import comparison
    from dysta_gym.files import check_folder
    from dysta_gym.policies import expand
    from dysta_gym.statistics import share_cut, summarise

    if out is not None:
        check_folder(out)
    if seeds < 1:
        raise DystaError(f"seeds: {seeds} is not allowed; it must be 1 or more")
    share_cut(statistic)
    policies = [name for spec in policy or comparison.DEFAULT_POLICIES for name in expand(spec)]
    if reference is None:
        reference = "dysta" if "dysta" in policies else policies[0]
    if reference not in policies:
        raise DystaError(
            f"reference: {reference!r} is not run; choose one of: {', '.join(policies)}"
        )
    results = _with_progress(
        "workloads",
        lambda progress: comparison.compare(
            scenario or comparison.DEFAULT_SCENARIOS,
            policies,
            loads=[_number_or_name(each) for each in load or ()],
            rates=rate or (),
            slos=slo or (),
            seeds=range(first_seed, first_seed + seeds),
            requests=requests,
            split=split,
            jobs=jobs,
            progress=progress,
        ),
    )
    summary = summarise(results, TABLE_METRICS, reference, statistic)
    tables = list(_comparison_tables(summary, reference))
    if len(tables) > 1:
        tables.append(_aggregate_table(results, reference))
    caption = _caption(results, reference, statistic, split)
    console = _console()
    for table in tables:
        console.print(_fitting_table(console, *table))
    console.print(caption, markup=False)
    if out is not None:
        from dysta_gym import figures
        from dysta_gym.files import replacing

        with replacing(out / "results.csv") as scratch:
            results.to_csv(scratch, index=False)
        with replacing(out / "results.md") as scratch:
            parts = [*(_markdown_table(*table) for table in tables), f"{caption}\n"]
            scratch.write_text("\n".join(parts))
        figures.save(figures.trade_off(results), out / "trade-off.png")
        console.print(f"Wrote results.csv, results.md and trade-off.png to {out}.")


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@app.command()
def replay(
    traces: Annotated[Path, typer.Option(help="Folder of artifact CSVs.")],
    accelerator: Annotated[str, typer.Option(help="sanger or eyerissv2.")],
    requests: Annotated[Path, typer.Option(help="CSV of arrival_s, model, sample, priority.")],
    policy: Annotated[str, typer.Option(metavar="NAME[@LEVEL][:key=value]", help="Policy.")],
    slo: Annotated[float, typer.Option(help="SLO multiplier.")],
    out: Annotated[Path, typer.Option(help="CSV to write finish_s to, in the requests' order.")],
) -> None:
    """Run recorded requests over traces in the artifact's CSV format."""
    import pandas as pd

    from dysta_gym.files import replacing
    from dysta_gym.metrics import measure
    from dysta_gym.policies import find
    from dysta_gym.simulation import simulate
    from dysta_gym.traces import read_artifact_traces
    from dysta_gym.workloads import read_requests

    rule = find(policy)
    workload = read_requests(requests, read_artifact_traces(traces, accelerator), slo)
    schedule = simulate(workload, rule)
    with replacing(out) as scratch:
        pd.DataFrame({"finish_s": schedule.finish_s}).to_csv(scratch, index=False)
    rows = [[name, f"{value:.6g}"] for name, value in measure(schedule).items()]
    _console().print(_rich_table(f"{requests.name}, {policy}", ["metric", "value"], rows))


@app.command()
def reproduce(
    figure: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIGURE]...", help="figure12, 12, table5, scale ... [all]."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures and their numbers.")] = Path(
        "reproduction"
    ),
    traces: Annotated[
        Path | None,
        typer.Option(help="Folder of artifact CSVs or npz traces [those in the package]."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="File for the page [reproduction.md in OUT if all is made]."),
    ] = None,
    fast: Annotated[bool, typer.Option(help="Fewer requests, seeds and points.")] = False,
    format: Annotated[str, typer.Option(help="png or pdf.")] = "png",
    jobs: Annotated[int | None, typer.Option(help="Workloads at a time [one a core].")] = None,
) -> None:
    """Make the figures and tables of the Sparse-DySta paper again: pictures and their numbers."""
    from dysta_gym import reproduction

    made = _with_progress(
        "workloads and figures",
        lambda progress: reproduction.reproduce(
            figure or (),
            out,
            page=page,
            traces=traces,
            fast=fast,
            format=format,
            jobs=jobs,
            progress=progress,
        ),
    )
    rows = [
        [name, reproduction.FIGURES[name].title, f"{name}.{format}, {name}.csv"] for name in made
    ]
    _console().print(_rich_table(f"Written to {out}", ["name", "what it shows", "files"], rows))
    left = [name for name in reproduction.FIGURES if name not in made]
    if left and not figure:
        _console().print(f"Not made, for lack of traces: {', '.join(left)}.")


@app.command()
def traces(as_json: AsJson = False) -> None:
    """List the traces in the package."""
    from dysta_gym.traces import shipped_trace, shipped_traces

    listed = []
    for name in shipped_traces():
        trace = shipped_trace(name)
        isolated = trace.isolated_s
        listed.append(
            {
                "name": name,
                "accelerator": trace.accelerator,
                "layers": trace.latency_s.shape[1],
                "inputs": trace.latency_s.shape[0],
                "mean_isolated_s": float(isolated.mean()),
                "isolated_spread": float(isolated.std() / isolated.mean()),
                "mean_sparsity": float(trace.sparsity.mean()),
                "model": trace.model,
                "pattern": trace.pattern,
                "provenance": dict(trace.provenance),
            }
        )
    _print_listing(
        "Traces",
        listed,
        as_json,
        {
            "name": lambda t: t["name"],
            "network": lambda t: str(t["provenance"].get("network", "")),
            "accelerator": lambda t: t["accelerator"],
            "layers": lambda t: str(t["layers"]),
            "inputs": lambda t: str(t["inputs"]),
            "isolated latency": lambda t: f"{1e3 * t['mean_isolated_s']:.3f} ms",
            "spread": lambda t: f"{t['isolated_spread']:.1%}",
            "sparsity": lambda t: f"{t['mean_sparsity']:.3f}",
        },
    )


@app.command()
def policies(as_json: AsJson = False) -> None:
    """List the installed policies and their parameters."""
    from dysta_gym.policies import find, names

    listed = []
    for name in names():
        rule = find(name)
        listed.append(
            {
                "name": name,
                "alias_of": rule.spec if name != rule.name else None,
                "level": rule.level,
                "summary": rule.summary,
                "parameters": {
                    key: {"default": parameter.default, "description": parameter.description}
                    for key, parameter in rule.parameters.items()
                },
                "source": rule.source,
            }
        )
    _print_listing(
        "Policies",
        listed,
        as_json,
        {
            "name": lambda p: p["name"],
            "level": lambda p: p["level"],
            "runs first": lambda p: f"alias of {p['alias_of']}" if p["alias_of"] else p["summary"],
            "parameters": lambda p: ", ".join(
                f"{key}={value['default']:g}" for key, value in p["parameters"].items()
            ),
        },
    )


@app.command()
def scenarios(as_json: AsJson = False) -> None:
    """List the scenarios in the package."""
    from dysta_gym.workloads import (
        arrival_rate,
        load_scenario,
        mean_isolated_s,
        shipped_scenarios,
    )

    listed = []
    for name in shipped_scenarios():
        scenario = load_scenario(name)
        rate = arrival_rate(scenario)
        listed.append(
            {
                **scenario.model_dump(mode="json"),
                "models": list(scenario.store().models),
                "offered_load": rate * mean_isolated_s(scenario),
                "offered_rate": rate,
            }
        )
    _print_listing(
        "Scenarios",
        listed,
        as_json,
        {
            "name": lambda s: s["name"],
            "accelerator": lambda s: s["accelerator"],
            "networks": lambda s: ", ".join(s["models"]),
            "arrivals": lambda s: s["arrivals"]["process"],
            "load": lambda s: f"{s['offered_load']:.2f}",
            "requests/s": lambda s: f"{s['offered_rate']:.4g}",
            "SLO x": lambda s: f"{s['slo_multiplier']:g}",
            "description": lambda s: s["description"],
        },
    )


@app.command()
def profile(
    networks: Annotated[list[str] | None, typer.Argument(help="Networks [all].")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the traces.")] = Path("traces"),
    cache: Annotated[
        Path, typer.Option(help="Folder for packages and unfinished measurements.")
    ] = Path(".cache/profile"),
    inputs: Annotated[int | None, typer.Option(help="Only so many inputs a network.")] = None,
    force: Annotated[bool, typer.Option(help="Measure finished traces again.")] = False,
) -> None:
    """Measure the shipped traces again, from the packages that carry the networks."""
    from dysta_gym.profiling import rebuild

    for path in rebuild(networks or None, cache=cache, out=out, inputs=inputs, force=force):
        print(path)


def _with_progress(what: str, work: Callable[[Callable[[int, int], None]], Any]) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = _console(stderr=True)
    if not console.is_terminal:  # Rich below 14.3 ends even a progress that is off with a line
        return work(lambda done, total: None)
    with Progress(
        what,
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None)
        return work(lambda done, total: bar.update(task, completed=done, total=total))


def _print_listing(
    title: str,
    listed: Sequence[Mapping[str, Any]],
    as_json: bool,
    columns: Mapping[str, Callable[[Any], str]],
) -> None:
    if as_json:
        print(json.dumps(listed, indent=2))
        return
    rows = [[show(item) for show in columns.values()] for item in listed]
    _console().print(_rich_table(title, list(columns), rows))


def _comparison_tables(
    summary: pd.DataFrame, reference: str
) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of one table a scenario, load and SLO multiplier."""
    from dysta_gym.comparison import CELL

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
                    _marked(row, "ntt_p99", ".1f"),
                ]
            )
        yield f"{scenario}: load {load:.3g} ({rate:.4g} requests/s), SLO x {slo:g}", head, rows


def _aggregate_table(
    results: pd.DataFrame, reference: str
) -> tuple[str, list[str], list[list[str]]]:
    """Title, head and rows of the table over all conditions."""
    from dysta_gym.statistics import aggregate

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
    return "all conditions: interquartile means", head, rows


def _caption(results: pd.DataFrame, reference: str, statistic: str, split: str) -> str:
    """What the numbers and marks of the tables mean."""
    from dysta_gym.comparison import CELL

    seeds, conditions = results["seed"].nunique(), results.groupby(CELL).ngroups
    average = {"mean": "Mean", "iqm": "Interquartile mean"}[statistic]
    lines = [
        f"{average} over {seeds} seed{'s [95 % bootstrap interval]' * (seeds > 1)}; "
        f"differences to {reference}, paired by seed; split {split}."
    ]
    if seeds > 1:
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


def interval(row: Mapping[Any, Any], name: str, spec: str, scale: float = 1) -> str:
    """A metric of a row of `summarise`: its average, a mark if it is the best, its interval."""
    low, high = (scale * row[name + end] for end in ("_low", "_high"))
    shown = f" [{low:{spec}}, {high:{spec}}]" if low == low else ""
    return _marked(row, name, spec, scale) + shown


def _marked(row: Mapping[Any, Any], name: str, spec: str, scale: float = 1) -> str:
    return f"{scale * row[name]:{spec}}" + MARK * bool(row.get(f"{name}_best"))


def _fitting_table(
    console: Console, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]
) -> Table:
    """A table whose differences have no intervals if it were wider than the console with them."""
    table = _rich_table(title, head, rows)
    if console.measure(table, options=console.options.update(width=1000)).maximum <= console.width:
        return table
    short = [
        [
            cell.partition(" [")[0] if name == "difference" else cell
            for name, cell in zip(head, row, strict=True)
        ]
        for row in rows
    ]
    return _rich_table(title, [NARROW.get(name, name) for name in head], short)


def _rich_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(head):
        numeric = bool(index) and all(_is_number(row[index]) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=index == 0)
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(cell: str) -> Text:
    """A cell with its value in bold if it is marked."""
    text = Text(cell)
    if _is_number(cell) and MARK in cell:
        text.stylize("bold", 0, cell.index(MARK) + 1)
    return text


def _is_number(cell: str) -> bool:
    return cell[:1] in {*"+-.0123456789", ""}


def _markdown_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"### {title}", "", _markdown_row(head), "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *(_markdown_row(row) for row in rows), ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
