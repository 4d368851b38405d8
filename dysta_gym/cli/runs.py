"""Commands that run for a while and leave files: ``replay``, ``reproduce``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dysta_gym.cli import terminal
from dysta_gym.errors import DystaError
from dysta_gym.tables import Table


def replay(
    traces: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of artifact CSVs.")],
    accelerator: Annotated[str, typer.Option(metavar="NAME", help="sanger or eyerissv2.")],
    requests: Annotated[
        Path, typer.Option(metavar="FILE", help="CSV of arrival_s, model, sample, priority.")
    ],
    policy: Annotated[str, typer.Option(metavar="NAME[@LEVEL][:key=value]", help="Policy.")],
    slo: Annotated[float, typer.Option(metavar="NUMBER", help="SLO multiplier.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="CSV to write finish_s to, in the requests' order.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Run recorded requests over traces in the artifact's format."""
    import pandas as pd

    from dysta_gym.cli.outputs import plain
    from dysta_gym.companions import write_csv
    from dysta_gym.files import visible
    from dysta_gym.metrics import measure
    from dysta_gym.policies import find
    from dysta_gym.provenance import KEY, provenance
    from dysta_gym.simulation import simulate
    from dysta_gym.traces import read_artifact_traces
    from dysta_gym.workloads import read_requests

    rule = find(policy)
    workload = read_requests(requests, read_artifact_traces(traces, accelerator), slo)
    for path in (requests, *visible(traces, "*.csv")):
        if out.exists() and path.exists() and out.samefile(path):
            raise DystaError(f"out: {str(out)!r} is read, too; give another file")
    schedule = simulate(workload, rule)
    finish = pd.DataFrame({"finish_s": schedule.finish_s})
    used = [(path.stem, path) for path in visible(traces, "*.csv")]
    finish.attrs[KEY] = provenance([], traces=used, requests=[(requests.name, requests)])
    write_csv(finish, out, command=terminal.command())
    measured = measure(schedule)
    if as_json:
        found = {"policy": policy, **{name: plain(value) for name, value in measured.items()}}
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    rows = [[name, f"{value:.6g}"] for name, value in measured.items()]
    terminal.show(Table(f"{requests.name}, {policy}", ["metric", "value"], rows))


def reproduce(
    figure: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIGURE]...", help="figure12, 12, table5, scale ... [all]."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for the pictures and their numbers.")
    ] = Path("reproduction"),
    traces: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of artifact CSVs or npz traces [those in the package]."
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File for the page [reproduction.md in OUT if all is made]."
        ),
    ] = None,
    fast: Annotated[bool, typer.Option(help="Fewer requests, seeds and points.")] = False,
    format: Annotated[str, typer.Option(metavar="NAME", help="png or pdf.")] = "png",
    jobs: terminal.Jobs = None,
) -> None:
    """Make the Sparse-DySta paper's figures and tables again.

    As pictures and their numbers.
    """
    from dysta_gym import reproduction

    made = terminal.with_progress(
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
            command=terminal.command(),
        ),
    )
    rows = [
        [name, reproduction.FIGURES[name].title, f"{name}.{format}, {name}.csv"] for name in made
    ]
    terminal.show(Table(f"Written to {out}", ["name", "what it shows", "files"], rows))
    left = [name for name in reproduction.FIGURES if name not in made]
    if left and not figure:
        terminal.say(f"Not made, for lack of traces: {', '.join(left)}.")
