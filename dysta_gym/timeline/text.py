"""A Gantt picture in text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.machine.machine import Schedule
from dysta_gym.text import can_show, printable
from dysta_gym.timeline.colours import LATE, colour_of, ink_on, letter_of
from dysta_gym.timeline.segments import lanes, late, runs_of, segments_of

_MARGIN = 12
"""Columns before the picture."""

_LATE = Style(color=LATE, bold=True)


class Marks(NamedTuple):
    """How requests that do not run are drawn: a character each.

    Attributes:
        waits: One that waits in time.
        overdue: One that waits beyond its deadline.
        late: The end of one that has missed it.
    """

    waits: str
    overdue: str
    late: str


UNICODE, ASCII = Marks("─", "━", "✗"), Marks("-", "=", "!")


def marks_for(encoding: str | None) -> Marks:
    """The marks that an encoding can show."""
    return UNICODE if can_show("".join(UNICODE), encoding) else ASCII


def gantt(
    name: str, schedule: Schedule, width: int, *, rows: int = 16, marks: Marks = UNICODE
) -> list[Text]:
    """A schedule as lines of text.

    A column is a stretch of time. Each request has a row from its arrival to its finish: the letter
    of its network where it runs, a line where it waits, another one from its deadline on. The last
    row is the accelerator.

    Args:
        name: What the policy is called.
        schedule: A recorded schedule.
        width: Columns of a line; 22 at least.
        rows: Rows of requests at most; a line says how many more there are.
        marks: How requests that do not run are drawn.

    Raises:
        DystaError: If who ran when has not been recorded.
    """
    workload, runs = schedule.workload, runs_of(segments_of(schedule))
    arrival, deadline = workload.moments
    missed, finish = late(schedule), schedule.elapsed_s
    lane = lanes(arrival, finish)
    columns = max(width - _MARGIN, 10)
    start, end = float(arrival[0]), float(finish.max())
    per_s = (columns - 1) / (end - start)  # the last is for a mark

    def column(time_s: Floats) -> Ints:
        at: Ints = np.clip((per_s * (time_s - start)).astype(np.int64), 0, columns - 1)
        return at

    said = f"{int(missed.sum())} of {len(workload)} late, {schedule.preemptions} preemptions"
    lines = [Text.assemble((printable(name), "bold"), f"  {said}")]
    shown = min(int(lane.max()) + 1, rows)
    model = workload.model
    grid = np.full((shown, columns), " ")
    networks = np.full((shown, columns), -1)
    arrives, due, ends = (
        column(times) for times in (arrival, np.maximum(arrival, deadline), finish)
    )
    for request in np.flatnonzero(lane < shown):
        row = grid[lane[request]]
        row[arrives[request] : ends[request]] = marks.waits
        if missed[request]:
            row[due[request] : ends[request]] = marks.overdue
    left, right = column(runs.start_s), column(runs.end_s)
    for at in np.flatnonzero(lane[runs.request] < shown):
        request = runs.request[at]
        last = max(left[at], right[at] - 1)
        networks[lane[request], left[at] : last + 1] = model[request]
    for request in np.flatnonzero(missed & (lane < shown)):
        row, at = lane[request], ends[request]
        free = at + 1 < columns and networks[row, at + 1] < 0 and grid[row, at + 1] == " "
        at += networks[row, at] >= 0 and free  # beside what has run, if there is room
        networks[row, at], grid[row, at] = -1, marks.late
    if lane.max() >= shown:
        lines.append(Text(f"{'':{_MARGIN}}({int(lane.max()) + 1 - shown} more rows)", "dim"))
    for row in reversed(range(shown)):
        lines.append(_line(f"{row + 1:>{_MARGIN - 2}}", grid[row], networks[row], marks))
    idle = np.full(columns, " ")
    busiest = _busiest(runs.start_s, runs.end_s, model[runs.request], start, per_s, columns)
    lines.append(_line("accelerator", idle, busiest, marks))
    lines.append(_axis(start, end, columns))
    return lines


def legend(models: Sequence[str], marks: Marks = UNICODE) -> Text:
    """What the letters and lines mean."""
    parts: list[str | tuple[str, str | Style]] = []
    for model, name in enumerate(models):
        parts += [(f" {letter_of(model)} ", _style(model)), f" {printable(name)}   "]
    parts += [f"{marks.waits} waits   ", (marks.overdue, _LATE), " is overdue   "]
    parts += [(marks.late, _LATE), " finishes late"]
    return Text.assemble(*parts)


def _style(model: int) -> Style:
    colour = colour_of(model)
    return Style(color=ink_on(colour), bgcolor=colour)


def _line(
    label: str, characters: NDArray[np.str_], networks: NDArray[np.int64], marks: Marks
) -> Text:
    """A row: letters where there are networks, else characters."""
    line = Text(f"{label:<{_MARGIN}}")
    for text, model in _stretches(characters, networks):
        if model >= 0:
            line.append(text, _style(model))
        else:
            line.append(text, _LATE if text[0] in marks[1:] else "bright_black")
    return line


def _stretches(
    characters: NDArray[np.str_], networks: NDArray[np.int64]
) -> Iterator[tuple[str, int]]:
    """Neighbours that look alike, with their network."""
    new = np.diff(networks, prepend=-2) != 0
    new[1:] |= characters[1:] != characters[:-1]
    starts = np.flatnonzero(new)
    for start, end in zip(starts, [*starts[1:], len(networks)], strict=True):
        model = int(networks[start])
        one = letter_of(model) if model >= 0 else str(characters[start])
        yield one * int(end - start), model


def _busiest(
    start_s: Floats, end_s: Floats, model: Ints, origin: float, per_s: float, columns: int
) -> NDArray[np.int64]:
    """The network that runs longest in each column; -1 where none runs for half of it."""
    edges = np.arange(columns + 1) / per_s + origin
    most, busiest = np.zeros(columns), np.full(columns, -1)
    total = np.zeros(columns)
    for index in np.unique(model):
        mine = model == index
        # What had run by each edge: runs do not overlap, and stand in order.
        ends = np.concatenate([[0.0], np.cumsum(end_s[mine] - start_s[mine])])
        times = np.stack([start_s[mine], end_s[mine]], 1).ravel()
        amounts = np.stack([ends[:-1], ends[1:]], 1).ravel()
        ran = np.diff(np.interp(edges, times, amounts))
        total += ran
        busiest[ran > most] = index
        most = np.maximum(most, ran)
    busiest[total * per_s < 0.5] = -1
    return busiest


def _axis(start: float, end: float, columns: int) -> Text:
    """The times at both ends."""
    scale, unit = (1e3, "ms") if end - start < 2 else (1.0, "s")
    low, high = (f"{scale * time:.4g} {unit}" for time in (start, end))
    return Text(f"{'':{_MARGIN}}{low}{high:>{max(columns - len(low), 0)}}", "dim")
