"""The commands ``dysta-gym train`` and ``dysta-gym export``."""

from __future__ import annotations

import math
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dysta_gym.cli.interrupts import resumable
from dysta_gym.cli.terminal import Trust, say
from dysta_gym.errors import DystaError

if TYPE_CHECKING:
    from dysta_gym.agents.runs import Report


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="evolved, pareto, ppo, dqn, or a YAML file.")
    ],
    steps: Annotated[
        int | None, typer.Option(metavar="INTEGER", help="Steps in all [the recipe's].")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="INTEGER", help="Seed of the run.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder for checkpoint, state and logs [runs/NAME-SEED]."
        ),
    ] = None,
) -> None:
    """Train a scheduler, and keep what validates best."""
    from dysta_gym.agents import training
    from dysta_gym.agents.recipes import load_recipe
    from dysta_gym.agents.runs import CHECKPOINT, Interrupted

    folder = out or Path("runs") / f"{load_recipe(recipe).name}-{seed}"
    words = ["dysta-gym", "train", recipe, "--seed", str(seed), "--out", str(folder)]
    words += ["--steps", str(steps)] if steps else []
    goes_on = f"interrupted; {shlex.join(words)} --resume goes on"
    with resumable(lambda: goes_on), _shown() as report:
        try:
            checkpoint = training.trained(recipe, folder, steps, seed, resume, report)
        except Interrupted as asked:
            signal.raise_signal(asked.number)  # it is the command's again
            raise
    record = checkpoint.record
    typer.echo(
        f"{folder / CHECKPOINT}: best on validation at step {record['step']:,} of "
        f"{record['steps']:,}, objective {record['objective']:.4f}"
    )


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL.zip", help="A trained model of Stable-Baselines3.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Where to write the checkpoint [MODEL.npz]."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Make a checkpoint of a model's scoring network."""
    from dysta_gym.agents.exporting import export

    path = out or Path(model).with_suffix(".npz")
    if path.suffix != ".npz":
        raise DystaError(f"--out: {str(path)!r} is not allowed; a checkpoint's name ends in .npz")
    checkpoint = export(model, trust=trust)
    checkpoint.save(path)
    own = checkpoint.record["exported"]
    say(
        f"{path}: {own['policy']} after {own['steps']:,} steps, {checkpoint.weights.size} "
        f"weights, at {checkpoint.level}; it sees the whole queue, not {own['slots']} slots of it"
    )


@contextmanager
def _shown() -> Iterator[Callable[[Report], None]]:
    """A function that shows reports: as a bar on a terminal, else a line a validation."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    said = -1
    bar = Progress(
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        "{task.description}",
        console=console,
    )
    # Rich below 14.3 ends even a progress that is off with a line.
    with bar if console.is_terminal else nullcontext():
        task = bar.add_task("before the first validation", total=None)

        def show(report: Report) -> None:
            nonlocal said
            bar.update(
                task,
                completed=report.step,
                total=report.steps,
                description=_told(report, brief=True),
            )
            if report.validated != said and not console.is_terminal:
                typer.echo(f"step {report.step:,} of {report.steps:,}: {_told(report)}", err=True)
            said = report.validated

        yield show


def _told(report: Report, *, brief: bool = False) -> str:
    if report.validated < 0:
        return "before the first validation"
    preference = "" if math.isnan(report.preference) else f" at preference {report.preference:g}"
    if brief:  # for terminals of 80 columns
        return (
            f"late {100 * report.violation_rate:.2f} % "
            f"({report.reference.partition('@')[0]} {100 * report.reference_violation_rate:.2f}) "
            f"ANTT {report.antt:.2f} ({report.reference_antt:.2f})"
            f"{preference.replace('preference ', '')}"
        )
    objective = "objective" if math.isnan(report.preference) else "1 - hypervolume"
    return (
        f"violations {100 * report.violation_rate:.2f} % "
        f"({report.reference} {100 * report.reference_violation_rate:.2f}), "
        f"ANTT {report.antt:.2f} ({report.reference} {report.reference_antt:.2f}){preference}, "
        f"{objective} {report.objective:.4f}"
        + (f" (best {report.best:.4f})" if report.best < float("inf") else "")
    )
