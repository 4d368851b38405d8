"""What a terminal's width has room for: which columns drop out, and how the rest is shortened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from dysta_gym.tables import Table, half_width
from dysta_gym.text import printable

# --- comparisons ---------------------------------------------------------------------------------

DIFFERENCE, WAY, WINS, P99 = "difference", "way (%)", "wins (%)", "p99 NTT"
"""Heads of columns that drop out."""

SHORT = {
    "violations (%)": "viol. (%)",
    DIFFERENCE: "diff.",
    WAY: "way",
    WINS: "wins",
    "ANTT / bound": "/ bound",
}
"""Heads of columns where a table would be too wide."""

Interval = Literal["whole", "half", "none"]
"""How an interval is shown: ``[low, high]``, ``±`` its longer side, or not at all."""


@dataclass(frozen=True)
class Form:
    """What a comparison's tables show.

    Attributes:
        values: Intervals of averages and of wins.
        differences: Intervals of differences.
        left_out: Heads of columns that are not shown.
    """

    values: Interval = "whole"
    differences: Interval = "whole"
    left_out: Sequence[str] = ()

    def of(self, table: Table, sign: str) -> Table:
        """A table in this form, with what stands before a half of an interval."""
        kept = [at for at, name in enumerate(table.head) if name not in self.left_out]
        head = [table.head[at] for at in kept]
        if self != WHOLE:
            head = [SHORT.get(name, name) for name in head]

        def shown(at: int, cell: str) -> str:
            interval = self.differences if table.head[at] == DIFFERENCE else self.values
            if at == 0 or interval == "whole":
                return cell
            return half_width(cell, sign) if interval == "half" else cell.partition(" [")[0]

        return Table(table.title, head, [[shown(at, row[at]) for at in kept] for row in table.rows])


WHOLE = Form()
FORMS = (
    WHOLE,
    Form("whole", "half"),
    Form("half", "half"),
    Form("half", "half", [P99]),
    Form("half", "half", [P99, WAY]),
    Form("half", "none", [P99, WAY]),
    Form("none", "none", [P99, WAY]),
    Form("none", "none", [P99, WAY, DIFFERENCE, WINS]),
)
"""From the widest to the narrowest; the first that all tables have room in is shown."""


def comparison(tables: Sequence[Table], width: int, sign: str) -> tuple[Form, list[Table]]:
    """The first form in which all tables of a comparison fit, and the tables in it.

    If there is none, it is the last, and names of policies are to be broken.
    """
    for form in FORMS:
        formed = [form.of(table, sign) for table in tables]
        if all(width_of(table) <= width for table in formed):
            break
    return form, formed


def what_is_left_out(
    tables: Sequence[Table], form: Form, width: int, whole_in: str
) -> Iterator[str]:
    """Lines on what there was no room for, and the options that have all of it."""
    if form == WHOLE:
        return
    there = {name for table in tables for name in table.head}
    lost = [name for name in form.left_out if name in there]
    if any(" [" in cell for table in tables for row in table.rows for cell in row[1:]):
        if form.values == "none":
            lost.append("intervals")
        elif form.differences == "none":
            lost.append("intervals of differences")
    if lost:
        yield f"No room at {width} columns for: {', '.join(lost)}."
    needed = max(map(width_of, tables))
    yield f"All of it takes {needed} columns; {whole_in} it, too."


# --- any tables ----------------------------------------------------------------------------------


def width_of(table: Table, *, lines: bool = True) -> int:
    """Columns that a table takes if none of its cells is broken."""
    console = Console(width=10_000)
    return console.measure(table.for_terminal(lines=lines)).maximum


_LEAST = 8
"""Columns of a text that may be broken: where there are less, the first column is broken, too."""


def breaks_names(table: Table, width: int, *, lines: bool = True) -> bool:
    """Whether a width has no room for the first column, beside the numbers and some of the rest."""

    def least(cells: Sequence[str]) -> list[str]:
        fixed = [at == 0 or table.is_numeric(at) for at in range(len(cells))]
        return [text if whole else text[:_LEAST] for whole, text in zip(fixed, cells, strict=True)]

    narrow = Table(table.title, least(table.head), [*map(least, table.rows)])
    return width_of(narrow, lines=lines) > width


def parts(table: Table, width: int) -> list[Table]:
    """A table of numbers as several with so many columns as fit, each with the first of them."""
    columns = range(1, len(table.head))
    if not all(map(table.is_numeric, columns)):
        return [table]

    def part(chosen: Sequence[int]) -> Table:
        kept = [0, *chosen]
        head = [table.head[at] for at in kept]
        return Table(table.title, head, [[row[at] for at in kept] for row in table.rows])

    found: list[list[int]] = [[]]
    for column in columns:
        if found[-1] and width_of(part([*found[-1], column])) > width:
            found.append([])
        found[-1].append(column)
    return [part(chosen) for chosen in found]


# --- listings ------------------------------------------------------------------------------------


def listing(
    title: str,
    listed: Sequence[Any],
    columns: Mapping[str, Callable[[Any], str]],
    width: int,
    room: int,
) -> Table:
    """A line each: what the columns show of a thing.

    The last column has what the others leave of the width, its text cut at a word. Where that is
    less than ``room``, the others drop out, the one before it first and the first never.
    """
    *heads, last = columns
    texts = [printable(columns[last](each)) for each in listed]
    longest = max(map(cell_len, texts), default=0)
    while True:
        rows = [[*(columns[name](each) for name in heads), ""] for each in listed]
        left = width - width_of(Table(title, [*heads, ""], rows), lines=False)
        if left >= min(longest, room) or len(heads) == 1:
            break
        heads.pop()
    rows = [
        [*row[:-1], _cut(text, max(left, _LEAST))] for row, text in zip(rows, texts, strict=True)
    ]
    return Table(title, [*heads, last], rows)


def _cut(text: str, width: int) -> str:
    """A text that is no wider, cut at a word if there is one."""
    if cell_len(text) <= width:
        return text
    kept = set_cell_size(text, max(width - 3, 0))
    words = set_cell_size(text, max(width - 3, 0) + 1).rpartition(" ")[0]
    return f"{words} ..." if words and cell_len(words) + 4 <= width else f"{kept}..."
