"""Names that others chose, shown as they are: nothing in them is a command to what shows them."""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"[\\`*<\[|&~$]|:(?=[\w+-]+:)|(?<![^\W_])_|_(?![^\W_])")


def printable(text: object) -> str:
    """A text for a terminal or a picture: what cannot be printed is escaped, as `repr` does it."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in str(text))


def can_show(text: str, encoding: str | None) -> bool:
    """Whether an encoding has all letters of a text."""
    try:
        text.encode(encoding or "ascii")
    except (LookupError, UnicodeError):
        return False
    return True


def for_markdown(text: object) -> str:
    """A text for a line of a Markdown page, which shows it as it is."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
    **{each: f"\\{each}" for each in "{}$&#%_"},
    **{each: f"{{{each}}}" for each in "[]*'\""},
}  # fmt: skip
"""What stands for a letter: commands, ligatures, and what a line break takes for its own."""


def for_latex(text: object) -> str:
    """A text for a line of a LaTeX document, which shows it as it is."""
    return "".join(_LATEX.get(each, each) for each in printable(text)).replace("--", "-{}-{}")
