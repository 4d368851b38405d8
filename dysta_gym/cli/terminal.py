"""What the commands show: tables, listings, progress."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from dysta_gym.tables import Table
from dysta_gym.text import printable

AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON list of objects.")]


Jobs = Annotated[
    int | None, typer.Option(metavar="INTEGER", help="Workloads at a time [one a core].")
]

Trust = Annotated[
    bool, typer.Option("--trust", help="Read models in files that others may have written.")
]

Progress = Callable[[int, int], None]
"""What is told how much of some work is done, and how much there is."""


class _Console(Console):
    """Text is shown as it is, and a pipe that is closed is left to `dysta_gym.cli.main`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def on_broken_pipe(self) -> NoReturn:
        raise  # what Rich is handling


def command() -> str:
    """The command line as it was typed, for a shell."""
    return shlex.join(["dysta-gym", *sys.argv[1:]])


def console(*, stderr: bool = False) -> Console:
    """Standard output or standard error."""
    console = _Console(stderr=stderr)
    if not console.is_terminal:  # a file or a pipe has no width: do not cut the tables
        console = _Console(stderr=stderr, width=160)
    return console


def say(line: str) -> None:
    """Print a line."""
    console().print(printable(line))


def note(line: str) -> None:
    """Say a line on standard error."""
    console(stderr=True).print(f"dysta-gym: {printable(line)}", soft_wrap=True)


def show(table: Table) -> None:
    """Print a table."""
    console().print(table.for_terminal())


def show_listing(
    title: str,
    listed: Sequence[Mapping[str, Any]],
    as_json: bool,
    columns: Mapping[str, Callable[[Any], str]],
) -> None:
    """Print things as JSON, or as a table with ``columns``: what each shows of a thing."""
    if as_json:
        print(json.dumps(listed, indent=2))
        return
    rows = [[shown(item) for shown in columns.values()] for item in listed]
    show(Table(title, list(columns), rows))


def with_progress(what: str, work: Callable[[Progress], Any]) -> Any:
    """Do some work that reports what is done and what is to do, behind a bar on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    errors = console(stderr=True)
    if not errors.is_terminal:  # Rich below 14.3 ends even a progress that is off with a line
        return work(lambda done, total: None)
    with Bar(
        what,
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None)
        return work(lambda done, total: bar.update(task, completed=done, total=total))
