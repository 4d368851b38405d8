"""Features for compiled code: what writes a `Selection`, a function made of its formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.guarding import guarded
from dysta_gym.compiled.records import shut
from dysta_gym.features import Feature, Selection, Whole
from dysta_gym.machine.queue import Queue
from dysta_gym.on_time import greatest_set


def formulas(selection: Selection) -> list[Callable[..., float]]:
    """The formulas of a selection."""
    return [each.formula for each in (*selection.requests, *selection.queue)]


@compiled(None, inline=True)
def whole_of(
    queue: Queue,
    size: int,
    now: float,
    unit: float,
    unfinished: int,
    slots: int,
    finished: int,
    requests: int,
    priority_scale: float,
    plan: Any,
) -> Whole:
    """The queue as a whole; what a rule does not know is given as 0.

    ``plan`` is what `planner` gave.
    """
    backlog = backlog_on_time = 0.0
    on_time = overdue = 0
    for i in range(size):
        remaining, slack = queue.remaining[i], queue.deadline[i] - now
        makes_it = slack >= remaining
        backlog += remaining
        backlog_on_time += remaining if makes_it else 0.0
        on_time += makes_it
        overdue += slack < 0.0
    return Whole(
        now,
        unit,
        size,
        backlog,
        backlog_on_time,
        on_time,
        overdue,
        unfinished,
        slots,
        finished,
        requests,
        priority_scale,
        plan[0],
        plan[1],
    )


NOBODY, NOWHERE = shut(np.zeros(0, np.bool_)), shut(np.zeros(0))
"""Where nobody asks who can be on time."""


def planner(features: Iterable[Feature]) -> Any:
    """``planned(queue, size, now)``: who can be on time, as far as one of these features asks."""
    if any(each.planned for each in features):

        def planned(queue: Queue, size: int, now: float) -> tuple[Any, Any]:
            kept, room = np.empty(size, np.bool_), np.empty(size)
            greatest_set(queue, size, now, 0.0, kept, room)
            return shut(kept), shut(room)  # for all features are given the same
    else:

        def planned(queue: Queue, size: int, now: float) -> tuple[Any, Any]:
            return NOBODY, NOWHERE

    return compiled(None, inline=True)(planned)


@compiled(None, inline=True)
def _clipped(value: float, low: float, high: float) -> float:
    least = value if value > low else low  # NaN, too, counts as the lower bound
    return float(np.float32(least if least < high else high))


@compiled(None, inline=True)
def _rounded(value: float, low: float, high: float) -> float:
    return float(np.float32(value))


def _bounding(feature: Feature) -> Any:
    """``bounded(value, low, high)``: what float32 holds of a value of a feature."""
    return _clipped if feature.clipped else _rounded


def _parts(feature: Feature) -> tuple[Any, Any, float, float]:
    """A feature's formula, what brings its values into bounds, and these."""
    return guarded(feature.formula), _bounding(feature), feature.low, feature.high


_TOGETHER = 16
"""Features that are written together: functions are made of functions, so deep and no deeper."""


def _both(some: Any, others: Any) -> Any:
    def in_turn(queue: Queue, i: int, whole: Whole, out: Any, at: int, stride: int) -> None:
        some(queue, i, whole, out, at, stride)
        others(queue, i, whole, out, at, stride)

    return compiled(None, inline=True)(in_turn)


def row_writer(features: tuple[tuple[int, Feature], ...]) -> Any:
    """``write(queue, i, whole, out, at, stride)``: features of one request, each to its column.

    The value of a feature with column ``c`` goes to ``out[at + c * stride]``.
    """
    if not features:

        def nothing(queue: Queue, i: int, whole: Whole, out: Any, at: int, stride: int) -> None:
            pass

        return compiled(None, inline=True)(nothing)
    if len(features) > _TOGETHER:
        return _both(row_writer(features[:_TOGETHER]), row_writer(features[_TOGETHER:]))
    if len(features) < 4:
        (column, feature), rest = features[0], row_writer(features[1:])
        formula, bounded, low, high = _parts(feature)

        def write(queue: Queue, i: int, whole: Whole, out: Any, at: int, stride: int) -> None:
            this = bounded(formula(queue, i, whole), low, high)
            rest(queue, i, whole, out, at, stride)  # all are read before the first is written
            out[at + column * stride] = this

        return compiled(None, inline=True)(write)
    # Four at a time: a function for each takes longer to compile.
    a, b, c, d = (column for column, _ in features[:4])
    (f, f_in, f_low, f_high), (g, g_in, g_low, g_high), (h, h_in, h_low, h_high), (
        k, k_in, k_low, k_high,
    ) = (_parts(feature) for _, feature in features[:4])  # fmt: skip
    others = row_writer(features[4:])

    def write_four(queue: Queue, i: int, whole: Whole, out: Any, at: int, stride: int) -> None:
        first = f_in(f(queue, i, whole), f_low, f_high)
        second = g_in(g(queue, i, whole), g_low, g_high)
        third = h_in(h(queue, i, whole), h_low, h_high)
        fourth = k_in(k(queue, i, whole), k_low, k_high)
        others(queue, i, whole, out, at, stride)
        out[at + a * stride], out[at + b * stride] = first, second
        out[at + c * stride], out[at + d * stride] = third, fourth

    return compiled(None, inline=True)(write_four)


def column_writer(features: tuple[Feature, ...]) -> Any:
    """``write(queue, size, whole, out)``: one feature of all requests after the other.

    The values of feature ``f`` go to ``out[f * size:]``.
    """
    columns = tuple(enumerate(features))
    # Kept ones have logarithms, for which the processor has no vectors; a loop for the rest.
    write_kept = row_writer(tuple((column, each) for column, each in columns if each.kept))
    write_live = row_writer(tuple((column, each) for column, each in columns if not each.kept))

    def write(queue: Queue, size: int, whole: Whole, out: Any) -> None:
        for i in range(size):
            write_kept(queue, i, whole, out, i, size)
        for i in range(size):
            write_live(queue, i, whole, out, i, size)

    return compiled(None, inline=True)(write)


def whole_writer(features: tuple[Feature, ...]) -> Any:
    """``write(queue, whole, out, at)``: features of the queue, one after the other."""
    if not features:

        def nothing(queue: Queue, whole: Whole, out: Any, at: int) -> None:
            pass

        return compiled(None, inline=True)(nothing)
    if len(features) > _TOGETHER:
        some, others = whole_writer(features[:_TOGETHER]), whole_writer(features[_TOGETHER:])

        def in_turn(queue: Queue, whole: Whole, out: Any, at: int) -> None:
            some(queue, whole, out, at)
            others(queue, whole, out, at + _TOGETHER)

        return compiled(None, inline=True)(in_turn)
    (formula, bounded, low, high), rest = _parts(features[0]), whole_writer(features[1:])

    def write(queue: Queue, whole: Whole, out: Any, at: int) -> None:
        out[at] = bounded(formula(queue, whole), low, high)
        rest(queue, whole, out, at + 1)

    return compiled(None, inline=True)(write)


def describer(selection: Selection) -> Any:
    """``describe(queue, size, now, unit, requests, whole)`` for compiled rules.

    It writes the features of the requests to ``requests``, one feature after the other, shape
    ``(features * size,)``, and those of the queue to ``whole``, shape ``(features,)``: the numbers
    that environments show, which float32 holds, in arrays of any float.

    Raises:
        DystaError: If a policy cannot see them, see `Selection.check_for_policies`.
    """
    selection.check_for_policies()
    columns, of_whole = column_writer(selection.requests), whole_writer(selection.queue)
    planned = planner((*selection.requests, *selection.queue))

    def describe(queue: Queue, size: int, now: float, unit: float, requests: Any, out: Any) -> None:
        whole = whole_of(queue, size, now, unit, 0, 0, 0, 0, 0.0, planned(queue, size, now))
        columns(queue, size, whole, requests)
        of_whole(queue, whole, out, 0)

    return compiled(None, inline=True)(describe)
