"""A schedule of those who have seen the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dysta_gym.bounds import on_time
from dysta_gym.compiled.records import Floats
from dysta_gym.machine.machine import Machine, Schedule
from dysta_gym.machine.queue import Queue
from dysta_gym.machine.rule import compiled_rule
from dysta_gym.sealing import opened
from dysta_gym.workloads import Workload


def in_hindsight(workload: Workload) -> Schedule:
    """A schedule with few violations, found with all arrivals and latencies known beforehand.

    The requests of `dysta_gym.bounds.on_time` run in order of deadline, and whenever none of them
    waits, the others run, the shortest first. Its violation rate is what can be reached for
    certain, `dysta_gym.bounds.violation_rate_lower_bound` what cannot be beaten.
    """
    moments, isolated_s = workload.moments, opened(workload.isolated_s)
    chosen = on_time(moments.arrival, moments.deadline, isolated_s)
    after = moments.deadline.max() + isolated_s
    machine = Machine(workload, _InOrder.level)
    machine.run(_InOrder(np.where(chosen, moments.deadline, after)))
    return machine.schedule()


def _score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Requests by number, each with its place in an order."""
    for i in range(size):
        scores[i] = parameters[queue.request[i]]


@dataclass(frozen=True, eq=False)
class _InOrder:
    """A rule that runs requests in a given order.

    Attributes:
        order: The least runs first, shape ``(requests,)``.
    """

    order: Floats
    score: ClassVar[Any] = staticmethod(_score)
    level: ClassVar[str] = "static"
    stable: ClassVar[bool] = True
    events: ClassVar[bool] = False

    def values(self, mean_isolated_s: float) -> Floats:
        """The order."""
        return self.order

    def drift_of(self, values: Floats) -> float:
        """Nothing is promised."""
        return np.inf

    def compiled(self) -> Any:
        """The rule, compiled."""
        return compiled_rule(_score)
