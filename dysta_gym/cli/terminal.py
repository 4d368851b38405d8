"""What the commands show: tables, listings, progress."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from dysta_gym.cli import fitting
from dysta_gym.errors import DystaError
from dysta_gym.tables import Table
from dysta_gym.text import can_show, printable

AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON list of objects.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say all of each, in paragraphs instead of a line.")
]

Jobs = Annotated[
    int | None, typer.Option(metavar="INTEGER", help="Workloads at a time [one a core].")
]

Trust = Annotated[
    bool, typer.Option("--trust", help="Read models in files that others may have written.")
]

Progress = Callable[[int, int], None]
"""What is told how much of some work is done, and how much there is."""


UNKNOWN_WIDTH = 160
"""Columns of a file or a pipe, which have no width; the variable ``COLUMNS`` gives them one."""

NARROWEST = 40
"""Columns that are written at least: with fewer, numbers would be broken."""


class _Console(Console):
    """Text is shown as it is, and a pipe that is closed is left to `dysta_gym.cli.main`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def on_broken_pipe(self) -> NoReturn:
        raise  # what Rich is handling


def folder(text: str) -> Path:
    """A folder as an option gives it; nothing would be taken for the current one.

    Raises:
        DystaError: If it is empty.
    """
    if not text:
        raise DystaError("out: '' is not allowed; it must be a folder")
    return Path(text)


def command() -> str:
    """The command line as it was typed, for a shell."""
    return shlex.join(["dysta-gym", *sys.argv[1:]])


def console(*, stderr: bool = False) -> Console:
    """Standard output or standard error."""
    console = _Console(stderr=stderr)
    if not (console.is_terminal or os.environ.get("COLUMNS")):
        console.width = UNKNOWN_WIDTH
    if console.width < NARROWEST:
        console.width = NARROWEST
    return console


def say(line: str) -> None:
    """Print a line."""
    console().print(printable(line))


def note(line: str) -> None:
    """Say a line on standard error."""
    console(stderr=True).print(f"dysta-gym: {printable(line)}", soft_wrap=True)


def show(table: Table, *, lines: bool = True) -> None:
    """Print a table, with or without lines around its cells."""
    output = console()
    breaks = fitting.breaks_names(table, output.width, lines=lines)
    shown = table.for_terminal(lines=lines, wrap=breaks)
    shown.title = None  # which has the whole width, not the table's
    output.print(Text(printable(table.title), style="bold"))
    _print(shown, output)


def _print(shown: RenderableType, output: Console) -> None:
    """Print without the spaces that fill lines."""
    for segments in output.render_lines(shown, pad=False):
        line = Text.assemble(*((each.text, each.style or "") for each in segments))
        line.rstrip()
        output.print(line, soft_wrap=True)


def sign() -> str:
    """``±``, or what standard output has for it."""
    return "±" if can_show("±", console().encoding) else "+-"


def show_listing(
    title: str,
    listed: Sequence[Any],
    columns: Mapping[str, Callable[[Any], str]],
    details: Callable[[Any], Mapping[str, str]],
    *,
    verbose: bool,
    as_json: bool = False,
    room: int = 12,
) -> None:
    """Print things, a line each with what ``columns`` show of it, see `fitting.listing`.

    With ``verbose``, a paragraph each instead: what the first column shows, and all ``details``;
    with ``as_json`` the things themselves.
    """
    if as_json:
        show_json(listed)
        return
    output = console()
    if not verbose:
        title = f"{title} (--verbose says all of each)"
        show(fitting.listing(title, listed, columns, output.width, room), lines=False)
        return
    name = next(iter(columns.values()))
    for item in listed:
        output.print(Text(printable(name(item)), style="bold"))
        grid = Grid.grid(padding=(0, 2, 0, 0), pad_edge=False)
        grid.add_column(overflow="fold")
        grid.add_column(overflow="fold")
        for key, text in details(item).items():
            if text:
                grid.add_row(Text(printable(key)), Text(printable(text)))
        _print(Padding(grid, (0, 0, 0, 2)), output)
        output.print()


def show_json(listed: Sequence[Mapping[str, Any]]) -> None:
    """Print things as JSON."""
    print(json.dumps(listed, indent=2))


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
