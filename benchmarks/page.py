"""The page: sections, tables, and the goals that the measurements met or missed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

from dysta_gym.tables import markdown


@dataclass(frozen=True)
class Goal:
    """Something to reach, and what was measured.

    Attributes:
        goal: What to reach.
        measured: What was reached, in the same terms.
        met: Whether that is enough.
    """

    goal: str
    measured: str
    met: bool


@dataclass
class Section:
    """A topic of the page.

    Attributes:
        title: Its heading.
        text: Its paragraphs and tables.
        goals: What it says of the goals.
    """

    title: str
    text: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n\n".join([f"## {self.title}", *map(wrapped, self.text)])


def wrapped(paragraph: str) -> str:
    """A paragraph in lines of at most 100 characters; tables and pictures stay as they are."""
    return paragraph if paragraph.startswith(("|", "![")) else textwrap.fill(paragraph, 100)


def goals(sections: Iterable[Section]) -> str:
    """The table of goals."""
    return markdown(
        ["goal", "measured", "met"],
        (
            [each.goal, each.measured, "yes" if each.met else "**no**"]
            for section in sections
            for each in section.goals
        ),
        words=3,
    )


def short(number: float) -> str:
    """A number in three digits: ``1.23 M``, ``45.6 k``, ``789``, ``1.2``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= 0.9995 * size:
            return f"{_three(number / size)}{unit}"
    return _three(number)


def _three(number: float) -> str:
    places = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{places}f}"


def duration(seconds: float) -> str:
    """``1.23 s``, ``45.6 ms``, ``789 ns``."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= 0.9995 * size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds / 1e-9)} ns"
