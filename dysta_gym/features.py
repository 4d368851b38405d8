"""What is seen of a queue: one table of features, a row each.

Whatever shows a queue follows from these rows: the environment's observation, its bounds and its
page, what a learned score computes inside the compiled loop, and what its network is trained on in
torch. So an agent trains on what it decides on, to the last bit of float32.

A row is a `Feature`: a name, what it means, its bounds and a formula. The formulas below stand
beside their rows; ``R``, ``N``, ``I`` and ``g`` are what the level of information knows of
remaining, next layer's and isolated latency and of the correction (see `dysta_gym.Queue`), ``S`` is
the time to the deadline, ``unit`` the mean isolated latency of the networks, ``B`` the work of all
requests that are on time, that is, of which ``S >= R``. All are ratios, so that one network serves
milliseconds and seconds, phones and data centres. Times of less than a thousandth of the unit count
as that where their logarithm is taken or something is divided by them.

A feature of one's own is a `Feature` object, given where a name is asked for, or known by name to
everyone through the entry-point group ``dysta_gym.features``.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dysta_gym.compiled.digest import attributes_of
from dysta_gym.compiled.functions import compiled
from dysta_gym.errors import DystaError
from dysta_gym.machine.queue import Queue
from dysta_gym.plugins import OpenTable, check_formula

_TINY = 1e-9
"""As `LEAST`, of the features that tell very small requests apart."""

LEAST = 1e-3
"""Times, in units, count as no less where their logarithm is taken or something is divided by
them."""


class Whole(NamedTuple):
    """The queue as a whole, for formulas; times are in seconds.

    Attributes:
        now: The time.
        unit: Mean isolated latency of the workload's networks.
        length: ``Q``, requests in the queue.
        backlog: Sum of ``R`` over the queue.
        backlog_on_time: ``B``, the same over the requests that are on time.
        on_time: Requests that are on time.
        overdue: Requests whose deadline has passed.
        unfinished: Requests that have arrived and are not finished, in the queue or outside it;
            only environments know it, as the rest.
        slots: Requests that can be chosen from.
        finished: Requests that are finished.
        requests: Requests of the workload.
        priority_scale: 1 over the greatest priority of the workload.
        kept: Whether each request is in the greatest set that can be on time
            (`dysta_gym.on_time.greatest_set`), and
        room: the time that the others of the set can spare it; both can only be read, and are empty
            unless a feature that is shown is `planned`.
    """

    now: float
    unit: float
    length: int
    backlog: float
    backlog_on_time: float
    on_time: int
    overdue: int
    unfinished: int
    slots: int
    finished: int
    requests: int
    priority_scale: float
    kept: Any
    room: Any


@dataclass(frozen=True)
class Feature:
    """A row of the table.

    Attributes:
        name: Its name, as in Python.
        meaning: What it means, in one line.
        formula: Of a request, ``formula(queue, i, whole)`` for the request at index ``i`` of a
            `dysta_gym.Queue`; of the queue, ``formula(queue, whole)``. ``whole`` is a `Whole`. It
            returns a float, and is compiled: what it calls must be compiled, too, by `numba.njit`.
            The columns have as many entries as there are requests, and can only be read.
        low: Least value; what is below counts as this, as does NaN.
        high: Greatest value.
        clipped: Whether values are clipped to the bounds; a formula that keeps to them by itself,
            whatever the queue, is faster without.
        of_queue: Whether it is of the queue as a whole.
        kept: A promise about one of a request: it reads nothing but the request's ``remaining``,
            ``next_layer``, ``isolated``, ``correction``, ``executed`` and ``layers``, and the unit.
            An environment then computes it once and for all.
        environment_only: Whether it reads what only an environment knows (see `Whole`), so that a
            network that is to run as a policy cannot see it.
        planned: Whether it reads who can be on time (``kept`` and ``room`` of `Whole`), which takes
            a walk through the queue.

    Raises:
        DystaError: If the name is none, the formula no function, the bounds are not numbers in
            order, a promise is no bool, or the formula itself reads who can be on time unasked.
    """

    name: str
    meaning: str
    formula: Callable[..., float]
    low: float = 0.0
    high: float = 1.0
    clipped: bool = True
    of_queue: bool = False
    kept: bool = False
    environment_only: bool = False
    planned: bool = False

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise DystaError(f"feature: name {name!r} is not allowed; it must be one as in Python")
        takes = ("queue", "whole") if self.of_queue else ("queue", "i", "whole")
        check_formula(f"feature {name!r}", self.formula, takes)
        for bound in ("low", "high"):
            value: Any = getattr(self, bound)
            number = isinstance(value, int | float | np.integer | np.floating)
            if not number or not -1e38 < value < 1e38:
                raise DystaError(
                    f"feature {name!r}: {bound} is {value!r}; it must be a number, below 1e38"
                )
            # As float32 holds it, so that what is clipped in float64 lies within the space.
            object.__setattr__(self, bound, float(np.float32(value)))
        if not self.low < self.high:
            raise DystaError(
                f"feature {name!r}: bounds {self.low:g} to {self.high:g} are not allowed; "
                "the lower one comes first"
            )
        for promise in ("clipped", "of_queue", "kept", "environment_only", "planned"):
            if not isinstance(value := getattr(self, promise), bool | np.bool_):
                raise DystaError(
                    f"feature {name!r}: {promise} is {value!r}; it must be True or False"
                )
        code, at = self.formula.__code__, len(takes) - 1
        arguments = code.co_varnames[: code.co_argcount]  # which are fewer where it takes *args
        read = {each for whole in arguments[at : at + 1] for each in attributes_of(code, whole)}
        if not self.planned and not _PLAN.isdisjoint(read):
            raise DystaError(
                f"feature {name!r}: planned is False; its formula reads whole.kept or whole.room, "
                "which are empty without planned=True"
            )
        if self.kept and (self.of_queue or self.environment_only or self.planned):
            raise DystaError(
                f"feature {name!r}: kept is True; it is for features of a request that read "
                "nothing of the queue as a whole"
            )


_PLAN = {"kept", "room"}
"""What of `Whole` only features that are planned may read."""


TABLE = OpenTable("features", "dysta_gym.features", Feature)
"""The features by name, those of this package in the order of the page."""


def _row(meaning: str, low: float, high: float, **more: bool) -> Callable[..., Any]:
    def add(formula: Callable[..., float]) -> Callable[..., float]:
        name = formula.__name__.removeprefix("_")
        TABLE.own[name] = Feature(name, meaning, formula, low, high, **more)
        return formula

    return add


# --- of a request --------------------------------------------------------------------------------


@compiled(None, inline=True)
def _half_log(time: float, unit: float) -> float:
    return 0.5 * math.log(max(time / unit, LEAST))


@compiled(None, inline=True)
def _at_least(time: float, whole: Whole) -> float:
    return max(time, LEAST * whole.unit)


@compiled(None, inline=True)
def _soft(x: float, width: float) -> float:
    return x / (width + abs(x))


@compiled(None, inline=True)
def _margin(queue: Queue, i: int, whole: Whole) -> float:
    return (queue.deadline[i] - whole.now) - queue.remaining[i]


@compiled(None, inline=True)
def _relative_slack(queue: Queue, i: int, whole: Whole) -> float:
    size = queue.isolated[i] * queue.correction[i]
    return _margin(queue, i, whole) / _at_least(size, whole)


@_row("1: there is a request; an empty slot is all zeros", 0, 1, kept=True, clipped=False)
def _present(queue: Queue, i: int, whole: Whole) -> float:
    return 1.0


@_row("ln(R / unit) / 2", -3.5, 3.5, kept=True)
def _remaining(queue: Queue, i: int, whole: Whole) -> float:
    return _half_log(queue.remaining[i], whole.unit)


@_row("ln(I g / unit) / 2", -3.5, 3.5, kept=True)
def _size(queue: Queue, i: int, whole: Whole) -> float:
    return _half_log(queue.isolated[i] * queue.correction[i], whole.unit)


@_row("priority over the greatest of the workload", 0, 1, environment_only=True, clipped=False)
def _priority(queue: Queue, i: int, whole: Whole) -> float:
    return queue.priority[i] * whole.priority_scale


@_row("layers run over layers", 0, 1, kept=True, clipped=False)
def _progress(queue: Queue, i: int, whole: Whole) -> float:
    return queue.executed[i] / queue.layers[i]


@_row("ln(g) / 2", -1.5, 1.5, kept=True)
def _correction(queue: Queue, i: int, whole: Whole) -> float:
    return 0.5 * math.log(max(queue.correction[i], LEAST))


@_row("N / R", 0, 1, kept=True)
def _next_layer(queue: Queue, i: int, whole: Whole) -> float:
    return queue.next_layer[i] / max(queue.remaining[i], 1e-30)


@_row("ln(R / unit) / 2, down to a billionth", -10.5, 10.5, kept=True)
def _work(queue: Queue, i: int, whole: Whole) -> float:
    return 0.5 * math.log(max(queue.remaining[i] / whole.unit, _TINY))


@_row("ln(I g / unit) / 2, down to a billionth", -10.5, 10.5, kept=True)
def _whole_work(queue: Queue, i: int, whole: Whole) -> float:
    size = queue.isolated[i] * queue.correction[i]
    return 0.5 * math.log(max(size / whole.unit, _TINY))


@_row("1 if one of its layers has just ended, else 0", 0, 1, clipped=False)
def _ran_last(queue: Queue, i: int, whole: Whole) -> float:
    # Before its first layer, the last run is the arrival.
    last_run = queue.last_run[i]
    return 1.0 if (last_run == whole.now) & (last_run > queue.arrival[i]) else 0.0


@_row("1 if S < R, else 0", 0, 1, clipped=False)
def _late(queue: Queue, i: int, whole: Whole) -> float:
    return 1.0 if _margin(queue, i, whole) < 0.0 else 0.0


@_row("s / (1 + abs(s)), s = (S - R) / (I g): sharp around the deadline", -1, 1, clipped=False)
def _slack(queue: Queue, i: int, whole: Whole) -> float:
    return _soft(_relative_slack(queue, i, whole), 1.0)


@_row("s / (8 + abs(s)): tells far from farther", -1, 1, clipped=False)
def _wide_slack(queue: Queue, i: int, whole: Whole) -> float:
    return _soft(_relative_slack(queue, i, whole), 8.0)


@_row("m / (abs(m) + B), m = S - R", -1, 1, clipped=False)
def _slack_over_backlog(queue: Queue, i: int, whole: Whole) -> float:
    margin = _margin(queue, i, whole)
    return margin / _at_least(abs(margin) + whole.backlog_on_time, whole)


@_row("s / (1 + abs(s)), s = (S - R - W) / (I g), W the work of all with less R I g", -1, 1,
      clipped=False)  # fmt: skip
def _slack_behind_shorter(queue: Queue, i: int, whole: Whole) -> float:
    key = queue.remaining[i] * queue.isolated[i] * queue.correction[i]
    before = 0.0
    for j in range(whole.length):
        other = queue.remaining[j] * queue.isolated[j] * queue.correction[j]
        before += queue.remaining[j] if other < key else 0.0
    size = queue.isolated[i] * queue.correction[i]
    return _soft((_margin(queue, i, whole) - before) / _at_least(size, whole), 1.0)


@_row("s / (1 + abs(s)), s = (S - R - W) / (I g), W the work on time that is due earlier", -1, 1,
      clipped=False)  # fmt: skip
def _slack_behind_earlier(queue: Queue, i: int, whole: Whole) -> float:
    due, before = queue.deadline[i], 0.0
    for j in range(whole.length):
        earlier = (queue.deadline[j] < due) & (queue.deadline[j] - whole.now >= queue.remaining[j])
        before += queue.remaining[j] if earlier else 0.0
    size = queue.isolated[i] * queue.correction[i]
    return _soft((_margin(queue, i, whole) - before) / _at_least(size, whole), 1.0)


@_row("ln(1 + requests on time that are late if it runs first) / 2", 0, 7)
def _endangers(queue: Queue, i: int, whole: Whole) -> float:
    remaining, count = queue.remaining[i], 0
    for j in range(whole.length):
        margin = _margin(queue, j, whole)
        count += (margin >= 0.0) & (margin < remaining) & (j != i)
    return 0.5 * math.log(1.0 + count)


@_row("1 if it is not among the most requests that can all be on time, else 0", 0, 1,
      clipped=False, planned=True)  # fmt: skip
def _given_up(queue: Queue, i: int, whole: Whole) -> float:
    return 0.0 if whole.kept[i] else 1.0


@_row("1 if one of those is late if it runs first, else 0", 0, 1, clipped=False, planned=True)
def _disturbs(queue: Queue, i: int, whole: Whole) -> float:
    return 1.0 if queue.remaining[i] > whole.room[i] else 0.0


@_row("s / (1 + abs(s)), s = (r - R) / (I g), r the least time that one of those can spare", -1, 1,
      planned=True)  # fmt: skip
def _room(queue: Queue, i: int, whole: Whole) -> float:
    spare = whole.room[i] - queue.remaining[i]
    if spare == math.inf:  # there are none
        return 1.0
    return _soft(spare / _at_least(queue.isolated[i] * queue.correction[i], whole), 1.0)


@_row("d / (1 + abs(d)), d = S / I", -1, 1, clipped=False)
def _time_to_deadline(queue: Queue, i: int, whole: Whole) -> float:
    slack = queue.deadline[i] - whole.now
    return _soft(slack / _at_least(queue.isolated[i], whole), 1.0)


@_row("w / (1 + w), w = (now - last run) / I", 0, 1, clipped=False)
def _waited(queue: Queue, i: int, whole: Whole) -> float:
    waited = whole.now - queue.last_run[i]
    return _soft(waited / _at_least(queue.isolated[i], whole), 1.0)


@_row("a / (1 + a), a = (now - arrival) / I", 0, 1, clipped=False)
def _age(queue: Queue, i: int, whole: Whole) -> float:
    age = whole.now - queue.arrival[i]
    return _soft(age / _at_least(queue.isolated[i], whole), 1.0)


# --- of the queue --------------------------------------------------------------------------------


@_row("ln(1 + requests in the queue) / 2", 0, 7, of_queue=True)
def _length(queue: Queue, whole: Whole) -> float:
    return 0.5 * math.log(1.0 + whole.length)


@_row("ln(1 + unfinished requests without a slot) / 2", 0, 7, of_queue=True, environment_only=True)
def _behind(queue: Queue, whole: Whole) -> float:
    return 0.5 * math.log(1.0 + max(0, whole.unfinished - whole.slots))


@_row("share of the queue past its deadline", 0, 1, of_queue=True, clipped=False)
def _overdue(queue: Queue, whole: Whole) -> float:
    return whole.overdue / max(1, whole.length)


@_row("share of the queue with S >= R", 0, 1, of_queue=True, clipped=False)
def _on_time(queue: Queue, whole: Whole) -> float:
    return whole.on_time / max(1, whole.length)


@_row("ln(1 + sum of R / unit) / 2", 0, 7, of_queue=True)
def _backlog(queue: Queue, whole: Whole) -> float:
    return 0.5 * math.log(1.0 + whole.backlog / whole.unit)


@_row("ln(1 + B / unit) / 2", 0, 7, of_queue=True)
def _backlog_on_time(queue: Queue, whole: Whole) -> float:
    return 0.5 * math.log(1.0 + whole.backlog_on_time / whole.unit)


@_row("ln(1 + requests on time that are late behind all with less R I g) / 2", 0, 7, of_queue=True)
def _endangered(queue: Queue, whole: Whole) -> float:
    count = 0
    for i in range(whole.length):
        margin = _margin(queue, i, whole)
        if margin >= 0.0:
            key = queue.remaining[i] * queue.isolated[i] * queue.correction[i]
            for j in range(whole.length):
                other = queue.remaining[j] * queue.isolated[j] * queue.correction[j]
                margin -= queue.remaining[j] if other < key else 0.0
            count += margin < 0.0
    return 0.5 * math.log(1.0 + count)


@_row("share of the queue that is not among the most requests that can all be on time", 0, 1,
      of_queue=True, clipped=False, planned=True)  # fmt: skip
def _giving_up(queue: Queue, whole: Whole) -> float:
    count = 0
    for i in range(whole.length):
        count += not whole.kept[i]
    return count / max(1, whole.length)


@_row("requests finished over requests", 0, 1, of_queue=True, environment_only=True, clipped=False)
def _finished(queue: Queue, whole: Whole) -> float:
    return whole.finished / max(1, whole.requests)


DEFAULT = (
    "present", "remaining", "size", "priority", "progress", "correction", "next_layer",
    "ran_last", "slack", "time_to_deadline", "waited", "age",
    "length", "behind", "overdue", "on_time", "backlog", "finished",
)  # fmt: skip
"""What an environment shows unless it is told otherwise."""

SCHEDULING = (
    "remaining", "size", "late", "slack", "wide_slack", "ran_last", "slack_over_backlog",
    "progress", "backlog", "backlog_on_time", "length", "on_time",
)  # fmt: skip
"""What the learned schedulers of the package see, but for the one below."""

CONDITIONED = (
    "work", "whole_work", "late", "slack", "wide_slack", "ran_last", "slack_over_backlog",
    "progress", "backlog", "backlog_on_time", "length", "on_time", "slack_behind_shorter",
    "slack_behind_earlier", "endangers", "endangered", "given_up", "disturbs", "room", "giving_up",
)  # fmt: skip
"""What one for the whole trade-off sees: where a request stands among the others, too."""


# --- some of them --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selection:
    """Features that are seen together.

    Attributes:
        requests: Those of a request, in order.
        queue: Those of the queue, in order.
    """

    requests: tuple[Feature, ...]
    queue: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all, those of a request first."""
        return tuple(each.name for each in (*self.requests, *self.queue))

    @property
    def own(self) -> tuple[str, ...]:
        """The names of those that were given as objects, and cannot be found by name."""
        known = TABLE.names()
        return tuple(
            each.name
            for each in (*self.requests, *self.queue)
            if each.name not in known or TABLE.find(each.name) != each
        )

    @property
    def planned(self) -> bool:
        """Whether it is computed who can be on time, as one of these reads it."""
        return any(each.planned for each in (*self.requests, *self.queue))

    def size(self, slots: int) -> int:
        """Numbers in an observation of so many slots."""
        return len(self.requests) * slots + len(self.queue)

    def without(self, *names: str) -> Selection:
        """All but these."""
        return Selection(
            tuple(each for each in self.requests if each.name not in names),
            tuple(each for each in self.queue if each.name not in names),
        )

    def check_for_policies(self) -> None:
        """Raise a `DystaError` if a network that is to run as a policy cannot see these."""
        for name in self.names:
            if name not in self.for_policies().names:
                raise DystaError(
                    f"features: {name!r} is known to an environment alone; leave it out"
                )
        if not self.requests:
            raise DystaError("features: none is of a request; a network needs one to score by")

    def for_policies(self) -> Selection:
        """All that a policy can see; what is left out, only an environment knows."""
        return self.without(
            *(each.name for each in (*self.requests, *self.queue) if each.environment_only)
        )


def select(features: Iterable[str | Feature]) -> Selection:
    """Features by name, or one's own.

    Raises:
        DystaError: If one is unknown or given twice, or there is none.
    """
    if isinstance(features, str) or not isinstance(features, Iterable):
        raise DystaError(f"features: {features!r} is not allowed; it must be a list of names")
    chosen = [TABLE.find(each) for each in features]
    names = [each.name for each in chosen]
    for name in names:
        if names.count(name) > 1:
            raise DystaError(f"features: {name!r} is given more than once; give it once")
    if not chosen:
        raise DystaError("features: there is none; at least one is needed")
    return Selection(
        tuple(each for each in chosen if not each.of_queue),
        tuple(each for each in chosen if each.of_queue),
    )


def page(features: Iterable[Feature], first: int = 0) -> str:
    """A Markdown table of features as observations hold them: number, name, meaning, bounds."""
    rows = [("Num", "Feature", "Meaning", "Min", "Max")]
    rows += [
        (str(number), f"`{each.name}`", each.meaning, f"{each.low:g}", f"{each.high:g}")
        for number, each in enumerate(features, first)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|",
                      *lines[1:]])  # fmt: skip
