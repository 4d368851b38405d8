"""What the commands show: tables, listings, progress."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from dysta_gym.tables import Table
from dysta_gym.text import printable

AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON list of objects.")]


Jobs = Annotated[
    int | None, typer.Option(metavar="INTEGER", help="Workloads at a time [one a core].")
]

Progress = Callable[[int, int], None]
"""What is told how much of some work is done, and how much there is."""


class _Console(Console):
    """Text is shown as it is, and a pipe that is closed is left to `dysta_gym.cli.main`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def on_broken_pipe(self) -> NoReturn:
        raise  # what Rich is handling


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


SAY_S = 60.0
"""How often a log is told how far long work is."""


def with_progress(what: str, work: Callable[[Progress], Any], *, rates: bool = False) -> Any:
    """Do some work that reports what is done and what is to do.

    A terminal shows a bar.

    Args:
        what: What is counted.
        work: The work, given what it reports to.
        rates: Whether to say how many a second, and to tell a log each `SAY_S` seconds.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    errors = console(stderr=True)
    if not errors.is_terminal:  # Rich below 14.3 ends even a progress that is off with a line
        return work(_logged(what) if rates else lambda done, total: None)
    rate = _Rate()
    with Bar(
        what,
        BarColumn(),
        MofNCompleteColumn(),
        *([TextColumn("{task.fields[rate]}")] * rates),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None, rate="")

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, rate=rate.said(done))

        return work(show)


class _Rate:
    """How many a second, since the first report."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def of(self, done: int) -> float:
        """How many a second; 0 as long as nobody knows."""
        now = monotonic()
        if self._first is None:
            self._first = done, now
        count, began = self._first
        return (done - count) / (now - began) if done > count else 0.0

    def said(self, done: int) -> str:
        """The same in words."""
        rate = self.of(done)
        return f"{rate:.3g}/s" if rate else ""


def _logged(what: str) -> Progress:
    """What tells a log now and then."""
    rate, said = _Rate(), monotonic()

    def show(done: int, total: int) -> None:
        nonlocal said
        each_s = rate.of(done)
        if monotonic() - said > SAY_S and each_s and done < total:
            said = monotonic()
            left = timedelta(seconds=round((total - done) / each_s))
            note(f"{done} of {total} {what}, {each_s:.3g} a second, {left} left")

    return show
