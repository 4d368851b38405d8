"""What a worker does: some cells of a grid, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType

from dysta_gym.comparison import Lineup, Rows
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
    """

    grid: Grid
    policies: tuple[Carried, ...]
    bounds: bool


class Worker:
    """Does cells of some work one after the other; a context, in which its policies are there."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._open = ExitStack()
        self._lineup: Lineup | None = None

    def __enter__(self) -> Worker:
        self._lineup = self._open.enter_context(unpacked(self._work.policies))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def do(self, numbers: Sequence[int]) -> tuple[Done, float]:
        """Some cells, and the seconds that they took.

        Raises:
            DystaError: If a policy does what it may not do.
        """
        assert self._lineup is not None
        began = perf_counter()
        cells = [self._work.grid.cell(at) for at in numbers]
        rows = self._lineup.play(cells, jobs=1, bounds=self._work.bounds)
        return list(zip(numbers, rows, strict=True)), perf_counter() - began


class Pace:
    """How many cells make a task of about `TASK_S`, as told by those that are done."""

    def __init__(self) -> None:
        self._size, self._cell_s = 1, 0.0

    def saw(self, count: int, seconds: float) -> None:
        """Learn from a task."""
        cell_s = seconds / count
        self._cell_s = cell_s if not self._cell_s else 0.7 * self._cell_s + 0.3 * cell_s
        fitting = int(TASK_S / max(self._cell_s, 1e-9))
        self._size = max(1, min(fitting, 4 * self._size))

    def tasks(self, numbers: Iterable[int]) -> TaskQueue:
        """Some cells as tasks."""
        return TaskQueue(list(numbers), self)

    @property
    def size(self) -> int:
        """Cells of the next task."""
        return self._size


class TaskQueue:
    """Cells that are still to be handed out."""

    def __init__(self, numbers: list[int], pace: Pace) -> None:
        self._numbers, self._pace, self._next = numbers, pace, 0

    def __bool__(self) -> bool:
        return self._next < len(self._numbers)

    def take(self) -> list[int]:
        """The next task."""
        first, self._next = self._next, self._next + self._pace.size
        return self._numbers[first : self._next]
