"""What the machine asks of a scheduling rule, and how a rule is compiled for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.digest import fresh
from dysta_gym.compiled.functions import compiled, compiled_or_refused
from dysta_gym.compiled.guarding import guarded, own
from dysta_gym.compiled.records import (
    FLOATS_TYPE,
    Floats,
    blank,
    borrow,
    exact,
    invoke,
    on_stack,
    read_only,
    reader,
)
from dysta_gym.errors import DystaError
from dysta_gym.machine.queue import QUEUE_TYPE, Queue, of_length

Score = Callable[[Any, int, float, NDArray[np.float64], NDArray[np.float64]], None]
"""``score(queue, size, now, parameters, scores)``, see `dysta_gym.Policy`."""


class Rule(Protocol):
    """What the machine asks of a policy; `dysta_gym.Policy` says what its parts mean."""

    @property
    def name(self) -> str:
        """What messages call it."""

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

    @property
    def index(self) -> Callable[[Any, str, str], Floats] | None:
        """A number for each cell that the rule reads by `index_of`, or None."""

    def values(self, mean_isolated_s: float) -> NDArray[np.float64]:
        """What the rule reads beside the queue."""

    def drift_of(self, values: NDArray[np.float64]) -> float:
        """How fast the scores of waiting requests may fall, infinity if nothing is promised."""

    def effort_of(self, values: NDArray[np.float64]) -> float:
        """How long it takes to ask one that is asked at events, in decisions a waiting request."""

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


class RuleFault(Exception):
    """What a rule has done that it may not do, as it stands behind "its rule"."""


_RETURNED = "returns a value; it must fill scores[:size], and return nothing"
_UNSCORED = "leaves a score unset, or makes it NaN; it must fill all of scores[:size] with numbers"


def fault_of(policy: Rule, error: BaseException) -> DystaError | None:
    """What to raise instead of what its rule has raised; None if that is to be passed on."""
    if isinstance(error, RuleFault):
        told = str(error)
    elif isinstance(error, IndexError):
        told = (
            f"reads or writes outside its arrays ({error}); the queue's columns and scores have "
            "size entries, parameters one a parameter and weight"
        )
    elif isinstance(error, ValueError) and "read-only" in str(error):
        told = "writes to what it may only read; it may write to scores and to queue.memory"
    else:
        return None
    return DystaError(f"policy {policy.name!r}: its rule {told}")


def columns_of(queue: Queue, size: int, known: Queue | None) -> Queue:
    """The first ``size`` entries of a queue as a rule in plain Python is given them.

    ``known`` is what this gave the last time; it serves as long as the size stays.
    """
    if known is not None and known.length == size and known.request.base is queue.request:
        return known
    columns: list[Any] = [column[:size] for column in queue[1:]]
    for column in columns[:-1]:  # all but ``memory``
        column.setflags(write=False)
    return Queue(size, *columns)


def choose_plainly(policy: Rule, queue: Queue, now: float, values: Floats, among: int) -> int:
    """Slot among the first ``among`` that a rule runs next, asked as plain Python.

    Args:
        policy: Whose rule it is.
        queue: The queue, see `columns_of`.
        now: The time in seconds.
        values: What the rule reads beside the queue.
        among: How many may be chosen from.

    Raises:
        DystaError: If the rule does what it may not do. What else it raises is passed on.
    """
    scores = np.empty(queue.length)
    scores.fill(np.nan)
    values.setflags(write=False)
    try:
        if policy.score(queue, queue.length, now, values, scores) is not None:
            raise RuleFault(_RETURNED)
        if scores.shape != (queue.length,) or scores.dtype != np.float64:
            raise RuleFault("changes the shape or type of scores; it must fill all as it is")
        slot = int(choose_scored(scores, among))
        if slot < 0:
            raise RuleFault(_UNSCORED)
    except Exception as error:
        if fault := fault_of(policy, error):
            raise fault from error
        raise
    return slot


_ONE = blank(Queue, 1)._replace(length=1, layers=np.ones(1, np.int64))
_fitting: set[tuple[Score, int, bytes]] = set()


def check_values(policy: Rule, values: Floats) -> None:
    """Refuse values of which there are fewer than a rule of this package reads.

    The rules of others are compiled with checks; these are tried once, as plain Python.

    Raises:
        DystaError: If the rule reads beyond them.
    """
    if not own(policy.score):
        return
    of = policy.score, len(values), values[:3].tobytes()  # for there a network has its width
    if of in _fitting:
        return
    try:
        with np.errstate(all="ignore"):
            policy.score(_ONE, 1, 1.0, values, np.zeros(1))
    except IndexError as error:
        raise fault_of(policy, error) from error  # type: ignore[misc]  # there is one
    except Exception:  # of somebody else's formula, which is compiled with checks
        pass
    _fitting.add(of)


@compiled(None, inline=True)
def _unscored(scores: Floats, size: int) -> bool:
    """Whether one of ``scores[:size]`` is NaN."""
    if size == 1:  # as asked of a rule with a promise
        return bool(scores[0] != scores[0])
    found = False
    for i in range(size):
        found |= scores[i] != scores[i]
    return found


@compiled(None, inline=True)
def _unset(scores: Floats, size: int) -> None:
    """Make ``scores[:size]`` NaN."""
    scores[0] = np.nan
    for i in range(1, size):
        scores[i] = np.nan


@compiled(None, inline=True)
def index_of(queue: Queue, i: int, parameters: Floats, first: int) -> float:
    """What the policy's `index` has for the layer that request ``i`` of the queue runs next.

    Args:
        queue: The queue.
        i: Which request.
        parameters: What the rule reads beside the queue.
        first: Where the index begins there: the number of parameters and weights, but 1 at least.
    """
    return float(parameters[int(parameters[first + queue.request[i]]) + queue.executed[i]])


@fresh(lambda score: [score])
def compiled_rule(score: Score, what: str = "rule") -> Any:
    """A rule compiled for the event loops: ``rule(view, length, first, last, now)``.

    It scores the entries ``first`` to ``last`` of a queue of ``length`` requests. ``view`` is the
    address of a `View`: handing over its columns one by one would cost more than most decisions.
    The rule is given these entries and no others, may write to the scores and ``memory`` alone, and
    raises a `RuleFault` if it returns something or leaves a score NaN. A rule that reads what has
    changed since, say a global, is compiled anew.

    Args:
        score: The rule.
        what: What an error calls it.

    Raises:
        DystaError: If it cannot be compiled.
    """
    make, arguments = getattr(score, "made_by", (lambda: score, ()))
    # What a rule was made of may have been compiled with what it read then: make it anew.
    inner = guarded(make(*arguments))
    # Rules of this package fill all, which their tests show; of those that are made of formulas
    # and weights of somebody else's, nobody knows what they fill it with.
    may_leave = not own(score)
    may_err = may_leave or getattr(score, "__closure__", None) is not None

    def rule(view: int, length: int, first: int, last: int, now: float) -> None:
        seen, size = _read_view(view), last - first
        queue = read_only(exact(of_length(seen.queue, length), first, size), "memory")
        scores = exact(seen.scores, first, size)
        if may_leave:
            _unset(scores, size)
        if inner(queue, size, now, read_only(seen.parameters, None), scores) is not None:
            raise RuleFault(_RETURNED)
        if may_err and _unscored(scores, size):
            raise RuleFault(_UNSCORED)

    advice = "correct it, or run it as plain Python: Policy(..., interpreted=True)"
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
    """Slot among the first ``among`` that runs next by these scores, -1 if one is NaN."""
    return -1 if _unscored(scores, scores.size) else first_least(scores, among)
