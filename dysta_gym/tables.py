"""Tables, as terminals, Markdown pages and reports show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rich.table
from rich.text import Text

MARK = "*"
"""Follows what is the best, or not significantly different from the best."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: What stands above it.
        head: Name of each column.
        rows: Its cells, a row as long as the head.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def for_page(self) -> str:
        """A section of a Markdown page, with an empty line at its end."""
        return f"### {self.title}\n\n{markdown(self.head, self.rows, tight=True)}\n"

    def for_terminal(self) -> rich.table.Table:
        """Numbers stand to the right, and are bold where they are marked."""
        table = rich.table.Table(title=self.title, title_justify="left", title_style="bold")
        for index, name in enumerate(self.head):
            numeric = bool(index) and all(_is_number(row[index]) for row in self.rows)
            table.add_column(name, justify="right" if numeric else "left", no_wrap=index == 0)
        for row in self.rows:
            table.add_row(*map(_text, row))
        return table


def markdown(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    words: int = 1,
    tight: bool = False,
) -> str:
    """A table in Markdown, its last line without an end.

    Args:
        head: Name of each column.
        rows: Cells, written as `str` has them.
        words: So many first columns are words; the others are numbers, which stand to the right.
        tight: Whether the line below the head has no spaces.
    """
    rule = ["---" if column < words else "---:" for column in range(len(head))]
    lines = [_line(head), f"|{'|'.join(rule)}|" if tight else _line(rule), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def interval(row: Mapping[Any, Any], name: str, spec: str, scale: float = 1) -> str:
    """A metric of a row of `summarise`: its average, a mark if it is the best, its interval."""
    low, high = (scale * row[name + end] for end in ("_low", "_high"))
    shown = f" [{low:{spec}}, {high:{spec}}]" if low == low else ""
    return marked(row, name, spec, scale) + shown


def marked(row: Mapping[Any, Any], name: str, spec: str, scale: float = 1) -> str:
    """`interval` without the interval."""
    return f"{scale * row[name]:{spec}}" + MARK * bool(row.get(f"{name}_best"))


def _text(cell: str) -> Text:
    """A cell with its value in bold if it is marked."""
    text = Text(cell)
    if _is_number(cell) and MARK in cell:
        text.stylize("bold", 0, cell.index(MARK) + 1)
    return text


def _is_number(cell: str) -> bool:
    return cell[:1] in {*"+-.0123456789", ""}
