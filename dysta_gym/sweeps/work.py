"""What a worker does: some cells of a grid, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from dysta_gym.comparison import Rows
from dysta_gym.errors import DystaError
from dysta_gym.provenance import scenario_digest
from dysta_gym.sweeps.grid import Grid
from dysta_gym.sweeps.travelling import Carried, unpacked

TASK_S = 1.0
"""What a task is to take: handing one over takes a few milliseconds, on a cluster tens of them."""

Done = list[tuple[int, Rows]]
"""Cells by their numbers."""


@dataclass(frozen=True)
class Work:
    """What there is to do; it travels to every worker.

    Attributes:
        grid: The workloads.
        policies: What is run on them.
        bounds: Whether to compute bounds, too.
        origins: By the number of a condition, the digest of what its requests are drawn from.
    """

    grid: Grid
    policies: tuple[Carried, ...]
    bounds: bool
    origins: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        origins = tuple(scenario_digest(each.scenario) for each in self.grid.conditions)
        object.__setattr__(self, "origins", origins)

    def check(self, numbers: Iterable[int]) -> None:
        """See that cells which have just been done are of the traces that the work began with.

        Raises:
            DystaError: If files have changed meanwhile.
        """
        for place in dict.fromkeys(at // len(self.grid.seeds) for at in numbers):
            scenario = self.grid.conditions[place].scenario
            if scenario_digest(scenario) != self.origins[place]:
                raise DystaError(
                    f"scenario {scenario.name!r}: the traces or the recorded requests that it "
                    "draws from have changed since this began; put them back, or begin anew in "
                    "another folder"
                )


class Worker:
    """Does cells of some work one after the other.

    Args:
        work: The work.
        place: As of `dysta_gym.sweeps.travelling.unpacked`.
    """

    def __init__(self, work: Work, place: Path | None = None) -> None:
        self._work, self._lineup = work, unpacked(work.policies, place)

    def do(self, numbers: Sequence[int]) -> tuple[Done, float]:
        """Some cells, and the seconds that they took.

        Raises:
            DystaError: If a policy does what it may not do, or its rule raises an error, or traces
                have changed.
        """
        began = perf_counter()
        cells = [self._work.grid.cell(at) for at in numbers]
        try:
            rows = list(self._lineup.play(cells, jobs=1, bounds=self._work.bounds))
        except Exception as error:
            notes = getattr(error, "__notes__", None)
            if isinstance(error, DystaError) or not notes:
                raise
            # Of a user's own code, whose errors need not travel.
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise DystaError(f"{notes[0]} ({reason})") from None
        self._work.check(numbers)
        return list(zip(numbers, rows, strict=True)), perf_counter() - began


class TaskQueue:
    """Cells that are still to be handed out, in tasks of about `TASK_S`.

    How many requests make such a task is told by those that are done.
    """

    def __init__(self, work: Work, numbers: Sequence[int]) -> None:
        self._grid, self._numbers, self._next = work.grid, numbers, 0
        self._size, self._each_s = 1.0, 0.0

    def __bool__(self) -> bool:
        return self._next < len(self._numbers)

    def take(self) -> list[int]:
        """The next task: cells of no more requests than make one, or a single one."""
        first, requests = self._next, 0
        while self:
            requests += self._grid.requests(self._numbers[self._next])
            if self._next > first and requests > self._size:
                break
            self._next += 1
        return list(self._numbers[first : self._next])

    def saw(self, done: Done, seconds: float) -> None:
        """Learn from a task."""
        requests = sum(self._grid.requests(at) for at, _ in done)
        each_s = seconds / requests
        self._each_s = each_s if not self._each_s else 0.7 * self._each_s + 0.3 * each_s
        fitting = TASK_S / max(self._each_s, 1e-12)
        self._size = max(1.0, min(fitting, 4 * max(self._size, requests)))
