"""Tables, as terminals, Markdown pages and reports show them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import rich.table
from rich.text import Text

from dysta_gym.text import for_latex, for_markdown, printable

MARK = "*"
"""Follows what is the best, or not significantly different from the best."""


_END = re.compile(r"(?<!\\)((?:\\\\)*)\|")
"""What ends a cell of a page: a bar before which no backslash takes it for text."""


@dataclass(frozen=True)
class Table:
    """A table of text, none of which is read as markup.

    Attributes:
        title: What stands above it.
        head: Name of each column.
        rows: Its cells, a row as long as the head; on a page, those after the first are numbers.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def for_page(self) -> str:
        """A section of a Markdown page, with an empty line at its end."""
        rows = [[for_markdown(row[0]), *row[1:]] for row in self.rows]
        return f"### {for_markdown(self.title)}\n\n{markdown(self.head, rows, tight=True)}\n"

    def for_latex(self) -> str:
        """A ``table`` of LaTeX, by the package booktabs; what is marked is bold."""
        lines = [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{for_latex(self.title)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}",
            r"    \toprule",
            f"    {_latex_line(map(for_latex, self.head))}",
            r"    \midrule",
            *(
                f"    {_latex_line([for_latex(row[0]), *map(_latex_number, row[1:])])}"
                for row in self.rows
            ),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def for_terminal(self, *, lines: bool = True, wrap: bool = False) -> rich.table.Table:
        """Numbers stand to the right, and are bold where they are marked.

        Args:
            lines: Whether there are lines around the cells.
            wrap: Whether what stands in the first column may be broken.
        """
        style: dict[str, Any] = {} if lines else {"box": None, "padding": (0, 2, 0, 0)}
        title = Text(printable(self.title))
        table = rich.table.Table(
            title=title, title_justify="left", title_style="bold", pad_edge=lines, **style
        )
        for index, name in enumerate(self.head):
            numeric = self.is_numeric(index)
            table.add_column(
                Text(name),
                justify="right" if numeric else "left",
                no_wrap=numeric or not (index or wrap),
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*map(_text, row))
        return table

    def is_numeric(self, column: int) -> bool:
        """Whether a column other than the first has numbers only."""
        return column > 0 and all(_is_number(row[column]) for row in self.rows)


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
        rows: Cells in Markdown, written as `str` has them; a ``|`` in one does not end it.
        words: So many first columns are words; the others are numbers, which stand to the right.
        tight: Whether the line below the head has no spaces.
    """
    rule = ["---" if column < words else "---:" for column in range(len(head))]
    lines = [_line(head), f"|{'|'.join(rule)}|" if tight else _line(rule), *map(_line, rows)]
    return "\n".join(lines)


def _latex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_number(cell: str) -> str:
    value, mark, rest = cell.partition(MARK) if _is_number(cell) else (cell, "", "")
    if not mark:
        value, rest = cell, ""
    shown = rf"\textbf{{{_signed(value)}}}" if mark else _signed(value)
    return shown + _signed(rest)


def _signed(text: str) -> str:
    """Numbers and what is between them, with a minus instead of a hyphen."""
    return for_latex(text).replace("-", "$-$").replace("{[}", "[").replace("{]}", "]")


def _line(cells: Sequence[object]) -> str:
    kept = [_END.sub(r"\1\|", str(cell).replace("\n", " ")) for cell in cells]
    return f"| {' | '.join(kept)} |"


def interval(row: Mapping[Any, Any], name: str, spec: str, scale: float = 1) -> str:
    """A metric of a row of `summarise`: its average, a mark if it is the best, its interval."""
    low, high = (scale * row[name + end] for end in ("_low", "_high"))
    shown = f" [{low:{spec}}, {high:{spec}}]" if low == low else ""
    return marked(row, name, spec, scale) + shown


def marked(row: Mapping[Any, Any], name: str, spec: str, scale: float = 1) -> str:
    """`interval` without the interval; nothing where nobody knows."""
    if row[name] != row[name]:
        return ""
    return f"{scale * row[name]:{spec}}" + MARK * bool(row.get(f"{name}_best"))


_INTERVAL = re.compile(r"([-+]?[\d.]+)(.*?) \[([-+]?[\d.]+), ([-+]?[\d.]+)\]")
"""What `interval` writes."""


def half_width(cell: str, sign: str = "±") -> str:
    """What `interval` writes, the interval as its longer side, in the digits that it has."""
    found = _INTERVAL.fullmatch(cell)
    if found is None:
        return cell
    value, low, high = map(Decimal, found.group(1, 3, 4))
    return f"{found[1]}{found[2]} {sign}{max(value - low, high - value)}"


def _text(cell: str) -> Text:
    """A cell with its value in bold if it is marked."""
    text = Text(printable(cell))
    if _is_number(cell) and MARK in cell:
        text.stylize("bold", 0, cell.index(MARK) + 1)
    return text


def _is_number(cell: str) -> bool:
    return cell[:1] in {*"+-.0123456789", ""}
