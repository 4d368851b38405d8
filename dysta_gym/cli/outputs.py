"""What ``dysta-gym compare`` leaves behind: files, pages and what is printed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dysta_gym.cli import fitting, terminal
from dysta_gym.cli.fitting import WHOLE, Form
from dysta_gym.errors import DystaError, shown
from dysta_gym.lazy import cached_property
from dysta_gym.text import for_markdown, printable

if TYPE_CHECKING:
    import pandas as pd

    from dysta_gym.comparison import Cell
    from dysta_gym.tables import Table

PAGE_SUFFIXES = (".html", ".htm")

MOST_SHOWN = 200
"""Conditions that are printed, a table each: nobody reads more."""


@dataclass(frozen=True)
class Outputs:
    """Where results go and in which form.

    Attributes:
        out: Folder for the numbers, the tables and the pictures, or None.
        report: File for the page, or None.
        figures: Names of the pictures; empty for what there is unless one asks.
        format: Their format, or None.
        latex: Whether tables are LaTeX.
        as_json: Whether numbers are printed instead of tables.
    """

    out: Path | None = None
    report: Path | None = None
    figures: Sequence[str] = ()
    format: str | None = None
    latex: bool = False
    as_json: bool = False

    def checked(self, cells: Sequence[Cell]) -> Outputs:
        """The same with all that is not given filled in, before long work.

        Raises:
            DystaError: If some of it cannot be had.
        """
        from dysta_gym.cli.pictures import chosen
        from dysta_gym.files import check_folder

        if self.latex and self.as_json:
            raise DystaError("json: it is not allowed beside latex; give one of the two")
        names = chosen(self.figures, self.format or "png", cells)
        if self.out is None:
            for option, value in (("figure", self.figures), ("format", self.format)):
                if value:
                    raise DystaError(
                        f"{option}: {shown(value if option == 'format' else value[0])} is not "
                        "allowed without out; give --out, a folder for pictures"
                    )
        else:
            check_folder(self.out)
        if self.report is not None:
            _check_report(self.report)
        return Outputs(
            self.out, self.report, names or ["trade-off"], self.format or "png",
            self.latex, self.as_json,
        )  # fmt: skip

    def files(self) -> list[str]:
        """Names of what is written to the folder."""
        from dysta_gym.companions import SUFFIX

        pictures = [f"{name}.{self.format}" for name in self.figures]
        tables = ["results.csv", f"results.csv{SUFFIX}", "results.md"]
        return [*tables, *["results.tex"] * self.latex, *pictures]


def _check_report(path: Path) -> None:
    from dysta_gym.files import check_file

    if path.suffix.lower() not in PAGE_SUFFIXES:
        raise DystaError(
            f"report: {str(path)!r} is no name of a web page; it must end in "
            f"{' or '.join(PAGE_SUFFIXES)}"
        )
    check_file(path, "report")


@dataclass(frozen=True)
class Found:
    """Results, and how they are looked at.

    Attributes:
        results: What `dysta_gym.comparison.run` returns.
        reference: Policies that others are compared with.
        statistic: How seeds are averaged.
        split: Inputs that requests were drawn from.
        whole_in: Options that have what a terminal has no room for, and their verb.
        all_in: Those that have the conditions that are not printed.
    """

    results: pd.DataFrame
    reference: Sequence[str]
    statistic: str
    split: str
    whole_in: str = "--out, --report and --json have"
    all_in: str = "--out, --report and --json have"

    @cached_property
    def tables(self) -> list[Table]:
        """A table a condition, and of several the one over all."""
        return self._tables_of(self.results)

    def first_tables(self) -> tuple[list[Table], int]:
        """Those of the first conditions, and of several the one over all; how many are left out."""
        from dysta_gym.comparison import CELL

        conditions = self.results.groupby(CELL, sort=False)
        more = conditions.ngroups - MOST_SHOWN
        if more <= 0:
            return self.tables, 0
        return self._tables_of(self.results[conditions.ngroup() < MOST_SHOWN]), more

    def _tables_of(self, some: pd.DataFrame) -> list[Table]:
        """Tables of some conditions, and the one over all."""
        from dysta_gym.cli.results import condition_tables, overall_table

        tables = condition_tables(some, self.reference, self.statistic)
        if len(tables) > 1:
            tables.append(overall_table(self.results, self.reference, self.statistic))
        return tables

    def notes(self, show: Callable[[object], str], form: Form = WHOLE) -> list[str]:
        """The parts of the caption where tables are in a form."""
        from dysta_gym.cli.results import notes

        reference = [*map(show, self.reference)]
        return notes(self.results, reference, self.statistic, self.split, form)

    def caption(self, show: Callable[[object], str]) -> str:
        """What stands below the tables, names as ``show`` has them."""
        from dysta_gym.cli.results import caption

        return caption(self.results, [*map(show, self.reference)], self.statistic, self.split)

    def page(self) -> str:
        """The tables in Markdown."""
        parts = [*(table.for_page() for table in self.tables), f"{self.caption(for_markdown)}\n"]
        return "\n".join(parts)

    def latex(self) -> str:
        """The tables in LaTeX, after what they mean."""
        from dysta_gym.tables import MARK

        said = self.caption(printable).replace(f"Marked {MARK}:", "Bold:")
        notes = "\n".join(f"% {line}" for line in [r"\usepackage{booktabs}", *said.splitlines()])
        return "\n".join([f"{notes}\n", *(table.for_latex() for table in self.tables)])

    def json(self) -> str:
        """The rows of `dysta_gym.summarise` for every metric, with null for what is unknown."""
        from dysta_gym.comparison import CELL, in_order_of_conditions
        from dysta_gym.statistics import summarise

        keys = {*CELL, "policy", "seed"}
        metrics = [
            name for name in map(str, in_order_of_conditions(self.results)) if name not in keys
        ]
        summary = summarise(self.results, metrics, self.reference, self.statistic)
        rows = [
            {str(name): plain(value) for name, value in row.items()}
            for row in summary.to_dict("records")
        ]
        return json.dumps(rows, indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def deliver(
    found: Found,
    outputs: Outputs,
    write_report: Callable[[Path], None],
    written: Callable[[], None] = lambda: None,
) -> None:
    """Write all files, and print; what cannot be written is an error once the rest is done.

    Args:
        found: What was measured.
        outputs: What to make of it.
        write_report: Writes the report.
        written: Called once all numbers are in the folder, if there is one.

    Raises:
        DystaError: If something cannot be written or drawn.
    """
    steps: list[Callable[[], None]] = []
    if outputs.out is not None:
        steps.append(lambda: _write_folder(found, outputs, written))
    if outputs.report is not None:
        path = outputs.report
        steps.append(lambda: write_report(path))
    faults = []
    for step in steps:
        try:
            step()
        except DystaError as error:
            faults.append(error)
    if outputs.as_json:
        print(found.json())
    elif outputs.latex:
        print(found.latex(), end="")
    else:
        _show(found)
    if faults:
        raise faults[0]
    if not (outputs.as_json or outputs.latex):
        if outputs.out is not None:
            *names, last = outputs.files()
            terminal.say(f"Wrote {', '.join(names)} and {last} to {outputs.out}.")
        if outputs.report is not None:
            terminal.say(f"Wrote {outputs.report}.")


def _show(found: Found) -> None:
    width, sign = terminal.console().width, terminal.sign()
    whole, more = found.first_tables()
    form, tables = fitting.comparison(whole, width, sign)
    for table in tables:
        terminal.show(table)
    if more:
        terminal.say(f"Left out are the tables of {more} more conditions; {found.all_in} them.")
    notes = [note.replace("±", sign) for note in found.notes(printable, form)]
    for note in [*notes, *fitting.what_is_left_out(whole, form, width, found.whole_in)]:
        terminal.say(note.replace("\n", " "))


def _write_folder(found: Found, outputs: Outputs, written: Callable[[], None]) -> None:
    """Write the numbers, before anything is made of them, and last what they look like."""
    from dysta_gym import figures
    from dysta_gym.cli.pictures import PICTURES
    from dysta_gym.companions import write_csv
    from dysta_gym.comparison import in_order_of_conditions
    from dysta_gym.files import write_text

    assert outputs.out is not None
    ordered = in_order_of_conditions(found.results)
    write_csv(ordered, outputs.out / "results.csv", command=terminal.command())
    texts: Mapping[str, Callable[[], str]] = {"results.md": found.page, "results.tex": found.latex}
    for name, make in texts.items():
        if name in outputs.files():
            write_text(outputs.out / name, make())
    written()
    faults = []
    for name in outputs.figures:
        try:
            figures.draw(
                lambda draw=PICTURES[name]: draw(found.results, found.reference),  # type: ignore[misc]
                outputs.out / f"{name}.{outputs.format}",
            )
        except figures.NotDrawn as error:
            faults.append(error)
    if faults:
        raise faults[0]
