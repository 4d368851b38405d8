"""What the machine asks of a scheduling rule, and how a rule is compiled for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.digest import fresh
from dysta_gym.compiled.functions import compiled, compiled_or_refused
from dysta_gym.compiled.records import (
    FLOATS_TYPE,
    Floats,
    borrow,
    invoke,
    on_stack,
    part,
    reader,
)
from dysta_gym.machine.queue import QUEUE_TYPE, Queue, of_length

Score = Callable[[Any, int, float, NDArray[np.float64], NDArray[np.float64]], None]
"""``score(queue, size, now, parameters, scores)``, see `dysta_gym.Policy`."""


class Rule(Protocol):
    """What the machine asks of a policy; `dysta_gym.Policy` says what its parts mean."""

    @property
    def score(self) -> Score:
        """The scoring rule, as plain Python."""

    @property
    def level(self) -> str:
        """The level of information that it runs at."""

    @property
    def stable(self) -> bool:
        """Whether the score of a request changes only when one of its own layers runs."""

    @property
    def events(self) -> bool:
        """Whether it is asked only at events."""

    def values(self, mean_isolated_s: float) -> NDArray[np.float64]:
        """What the rule reads beside the queue."""

    def drift_of(self, values: NDArray[np.float64]) -> float:
        """How fast the scores of waiting requests may fall, infinity if nothing is promised."""

    def compiled(self) -> Any:
        """The rule compiled by `compiled_rule`, or None if it is interpreted."""


class View(NamedTuple):
    """What a rule reads and writes.

    Attributes:
        queue: The queue.
        parameters: The policy's parameters.
        scores: Where the scores go, one an entry of the queue's columns.
    """

    queue: Queue
    parameters: Floats
    scores: Floats


RULE_SIGNATURE = types.void(types.intp, types.int64, types.int64, types.int64, types.float64)
"""Compiled type of ``rule(view, length, first, last, now)``, see `compiled_rule`."""

_read_view = reader(types.NamedTuple([QUEUE_TYPE, FLOATS_TYPE, FLOATS_TYPE], View))


@fresh(lambda score: [score])
def compiled_rule(score: Score, what: str = "rule") -> Any:
    """A rule compiled for the event loops: ``rule(view, length, first, last, now)``.

    It scores the entries ``first`` to ``last`` of a queue of ``length`` requests. ``view`` is the
    address of a `View`: handing over its columns one by one would cost more than most decisions.
    A rule that reads what has changed since, say a global, is compiled anew.

    Args:
        score: The rule.
        what: What an error calls it.

    Raises:
        DystaError: If it cannot be compiled.
    """
    make, arguments = getattr(score, "made_by", (lambda: score, ()))
    # What a rule was made of may have been compiled with what it read then: make it anew.
    inner = compiled(None, inline=True)(make(*arguments))

    def rule(view: int, length: int, first: int, last: int, now: float) -> None:
        seen = _read_view(view)
        queue = part(of_length(seen.queue, length), first)
        inner(queue, last - first, now, seen.parameters, part(seen.scores, first))

    advice = "correct it, or run it as plain Python with interpreted=True"
    return compiled_or_refused(RULE_SIGNATURE, rule, what, advice)


@compiled(None, inline=True)
def least(scores: Floats, size: int) -> float:
    """Least of ``scores[:size]``; NaN counts as greater than any number."""
    # Eight running minima: one would be a chain of dependent comparisons, ten times as slow.
    a = b = c = d = e = f = g = h = np.inf
    whole = size - size % 8
    for i in range(0, whole, 8):
        a = scores[i] if scores[i] < a else a
        b = scores[i + 1] if scores[i + 1] < b else b
        c = scores[i + 2] if scores[i + 2] < c else c
        d = scores[i + 3] if scores[i + 3] < d else d
        e = scores[i + 4] if scores[i + 4] < e else e
        f = scores[i + 5] if scores[i + 5] < f else f
        g = scores[i + 6] if scores[i + 6] < g else g
        h = scores[i + 7] if scores[i + 7] < h else h
    for i in range(whole, size):
        a = scores[i] if scores[i] < a else a
    return min(min(min(a, e), min(b, f)), min(min(c, g), min(d, h)))


@compiled(None, inline=True)
def first_least(scores: Floats, size: int) -> int:
    """Index of the first least of ``scores[:size]``; NaN counts as greater than any number."""
    lowest = least(scores, size)
    for i in range(size):
        if scores[i] == lowest:
            return i
    return 0  # every score is NaN: the earliest arrival


@compiled(types.int64(QUEUE_TYPE, types.float64, types.intp, FLOATS_TYPE, FLOATS_TYPE, types.int64))
def choose(
    queue: Queue, now: float, rule: int, parameters: Floats, scores: Floats, among: int
) -> int:
    """Slot among the first ``among`` that the compiled rule at an address runs next."""
    view = on_stack(View(borrow(queue), borrow(parameters), borrow(scores)))
    invoke(rule, (view, queue.length, 0, queue.length, now))
    return first_least(scores, among)


@compiled(types.int64(FLOATS_TYPE, types.int64))
def choose_scored(scores: Floats, among: int) -> int:
    """Slot among the first ``among`` that runs next by these scores."""
    return first_least(scores, among)
