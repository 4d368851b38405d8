"""What an agent is rewarded with: one open table, as policies and features are.

A `Reward` is a compiled function of what a step has accrued, and of the queue that it leaves. One
penalty means the same everywhere: ANTT that a violation rate of 1 weighs.

A reward of one's own is a `Reward` object, given where a name is asked for, or known by name to
everyone through the entry-point group ``dysta_gym.rewards``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats
from dysta_gym.compiled.sorting import sort
from dysta_gym.errors import DystaError
from dysta_gym.machine.queue import Queue
from dysta_gym.plugins import OpenTable, check_formula

MEMORY = 8
"""Numbers that a reward may remember from step to step."""


class Accrued(NamedTuple):
    """What a step has accrued.

    Attributes:
        turnaround: ANTT: the seconds that the step took, times what a second costs of ANTT for
            every request that was in the system.
        violations: Violation rate: the share of requests whose deadline has passed meanwhile.
        penalty: ANTT that a violation rate of 1 weighs.
        now: The time in seconds.
        unit: Mean isolated latency of the workload's networks in seconds.
        requests: Requests of the workload.
        begins: Whether this is the call at the start of an episode.
        ended: Whether the episode has ended.
    """

    turnaround: float
    violations: float
    penalty: float
    now: float
    unit: float
    requests: int
    begins: bool
    ended: bool


@dataclass(frozen=True)
class Reward:
    """A row of the table.

    Attributes:
        name: Its name.
        meaning: What the return of an episode is, in one line.
        formula: ``formula(accrued, queue, memory)``, the reward of a step, a float. ``accrued`` is
            an `Accrued`, ``queue`` the `dysta_gym.Queue` after the step, ``memory`` an array of
            `MEMORY` floats, all 0 at the start of an episode, which alone may be written to. It is
            also called once when an
            episode starts, with nothing accrued, and what it then returns does not count. It is
            compiled: what it calls must be compiled, too, by `numba.njit`.
    """

    name: str
    meaning: str
    formula: Callable[[Any, Any, Floats], float]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise DystaError(f"reward: name {self.name!r} is not allowed; it must be text")
        check_formula(f"reward {self.name!r}", self.formula, ("accrued", "queue", "memory"))


TABLE = OpenTable("reward", "dysta_gym.rewards", Reward)
"""The rewards by name, those of this package in the order of the page."""


def _row(meaning: str) -> Callable[..., Any]:
    def add(formula: Callable[..., float]) -> Callable[..., float]:
        name = formula.__name__.removeprefix("_")
        TABLE.own[name] = Reward(name, meaning, formula)
        return formula

    return add


@_row("``-(ANTT + penalty * violation rate)``, paid as it accrues")
def _objective(accrued: Accrued, queue: Queue, memory: Floats) -> float:
    return 0.0 - accrued.turnaround - accrued.penalty * accrued.violations


@_row("``-ANTT``, paid as it accrues")
def _turnaround(accrued: Accrued, queue: Queue, memory: Floats) -> float:
    return 0.0 - accrued.turnaround


@_row("``-penalty * violation rate``, paid as it accrues")
def _violations(accrued: Accrued, queue: Queue, memory: Floats) -> float:
    return 0.0 - accrued.penalty * accrued.violations


@_row("as ``objective``, but paid in one sum by the last step")
def _final(accrued: Accrued, queue: Queue, memory: Floats) -> float:
    memory[0] += 0.0 - accrued.turnaround - accrued.penalty * accrued.violations
    return memory[0] if accrued.ended else 0.0


@_row(
    "as ``objective`` up to what is owed at the start, each step being also paid what it changes "
    "of what is still owed"
)
def _shaped(accrued: Accrued, queue: Queue, memory: Floats) -> float:
    """Potential-based shaping: what a decision costs later is felt at once.

    Ng, Harada and Russell, Policy invariance under reward transformations, ICML 1999; without the
    discount. What is owed is an estimate, see `_owed`, and nothing at the end. A penalty that has
    changed since the step before counts as if it had been so then: a change is no reward.
    """
    turnaround, violations = memory[0], memory[1]
    if accrued.ended:
        memory[0] = memory[1] = 0.0
    else:
        memory[0], memory[1] = _owed(queue, accrued.now, accrued.unit, accrued.requests)
    before = turnaround + accrued.penalty * violations
    after = memory[0] + accrued.penalty * memory[1]
    return before - after - accrued.turnaround - accrued.penalty * accrued.violations


@compiled(None, inline=True)
def _owed(queue: Queue, now: float, unit: float, requests: int) -> tuple[float, float]:
    """What is still to be paid for the requests of a queue, if they ran in a good order.

    The order is least ``R I``. A request costs its time in the system over its isolated latency,
    and, as likely as it will be late then, a violation; one that is overdue has been paid for.

    Returns:
        ANTT and violation rate.
    """
    size = queue.length
    work, order = np.empty(size), np.empty(size, np.int64)
    for i in range(size):
        work[i] = queue.remaining[i] * queue.isolated[i]
    sort(work, order)
    turnaround = violations = finish = 0.0
    for at in range(size):
        i = order[at]
        remaining, slack = queue.remaining[i], queue.deadline[i] - now
        finish += remaining
        turnaround += finish / max(queue.isolated[i], 1e-3 * unit)
        unsure = 0.1 * max(slack, 0.0) + 0.2 * remaining + 1e-6 * unit
        late = 1.0 / (1.0 + np.exp(min(30.0, max(-30.0, (slack - finish) / unsure))))
        if slack < remaining:
            late = 1.0 if slack > 0.0 else 0.0
        violations += late
    return turnaround / requests, violations / requests


def page() -> str:
    """The rewards as a Markdown list."""
    return "\n".join(f"- ``{name}``: {reward.meaning}" for name, reward in TABLE.own.items())
