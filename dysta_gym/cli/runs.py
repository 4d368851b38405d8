"""Commands that run for a while and leave files: ``replay``, ``reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dysta_gym.cli import terminal
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
    """Make the figures and tables of the Sparse-DySta paper again: pictures and their numbers."""
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
        ),
    )
    rows = [
        [name, reproduction.FIGURES[name].title, f"{name}.{format}, {name}.csv"] for name in made
    ]
    terminal.show(Table(f"Written to {out}", ["name", "what it shows", "files"], rows))
    left = [name for name in reproduction.FIGURES if name not in made]
    if left and not figure:
        terminal.say(f"Not made, for lack of traces: {', '.join(left)}.")
