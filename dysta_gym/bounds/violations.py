"""The least violation rate."""

from __future__ import annotations

import math
from threading import Event
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.bounds.columns import columns
from dysta_gym.bounds.heap import pop, push
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import FLOATS_TYPE, INTS_TYPE, Floats, Ints, borrow, type_of
from dysta_gym.turns import go_on, next_turn

_LEAST_TURN = 64
"""Requests that are fitted before Python looks whether that has been interrupted."""

_ROUNDING = 1e-9
"""Share of a request that rounding may take from it."""


def violation_rate_lower_bound(
    arrival_s: NDArray[np.float64],
    deadline_s: NDArray[np.float64],
    isolated_s: NDArray[np.float64],
    stop: Event | None = None,
) -> float:
    """A lower bound on the violation rate of any schedule of these requests on one accelerator.

    Let schedules set requests aside at any moment, know the future, and count a request that they
    finish in part before its deadline as that part of a request. The work that can be done in time
    for each request then forms a polymatroid, of which the sum of all parts is the greatest where
    requests are taken in order of their length, the shortest first, each as far as there is room
    beside those before it (Edmonds, Submodular functions, matroids, and certain polyhedra, 1970).
    Work fits where in no interval the requests that arrive and are due in it have more of it than
    the interval is long (Horn, Some simple scheduling algorithms, Naval Research Logistics 21,
    1974). What must be late even so is rounded up to whole requests.

    Args:
        arrival_s: Arrivals in seconds, never decreasing, shape ``(requests,)``.
        deadline_s: Deadlines in seconds, same shape.
        isolated_s: True isolated latencies in seconds, above 0, same shape.
        stop: Whether to stop in the middle, for then nobody waits for the end.

    Returns:
        The bound, 0 to 1.

    Raises:
        DystaError: If the columns are not as they should be.
        CancelledError: If it has been stopped.
    """
    work = _fitting(arrival_s, deadline_s, isolated_s, whole=False, stop=stop)
    total = len(work)
    # What rounding may have taken of each: times have so many digits as the clock has by then.
    lost = np.spacing(np.abs(deadline_s).max() + np.sum(isolated_s)) * 8 / np.asarray(isolated_s)
    late = total - np.minimum(1.0, work / isolated_s + lost).sum()
    return max(0, math.ceil(late - 1e-6)) / total


def on_time(
    arrival_s: NDArray[np.float64],
    deadline_s: NDArray[np.float64],
    isolated_s: NDArray[np.float64],
    stop: Event | None = None,
) -> NDArray[np.bool_]:
    """Requests that can all be finished in time, if they are known before and set aside at will.

    They are chosen like those of `violation_rate_lower_bound`, but whole. Earliest deadline first
    finishes all of them in time.

    Args:
        arrival_s: Arrivals in seconds, never decreasing, shape ``(requests,)``.
        deadline_s: Deadlines in seconds, same shape.
        isolated_s: True isolated latencies in seconds, above 0, same shape.
        stop: Whether to stop in the middle, for then nobody waits for the end.

    Returns:
        Whether each request is among them, same shape.

    Raises:
        DystaError: If the columns are not as they should be.
        CancelledError: If it has been stopped.
    """
    return _fitting(arrival_s, deadline_s, isolated_s, whole=True, stop=stop) > 0


def _fitting(
    arrival_s: NDArray[np.float64],
    deadline_s: NDArray[np.float64],
    isolated_s: NDArray[np.float64],
    *,
    whole: bool,
    stop: Event | None,
) -> Floats:
    """Seconds of each request that fit, shape ``(requests,)``; see `_fit`."""
    arrival, isolated, deadline = columns(arrival_s, isolated_s, deadline_s=deadline_s)
    work, backlog, left = np.zeros((3, len(arrival)))
    by_deadline = np.argsort(deadline, kind="stable")
    plan = _Plan(arrival, deadline, by_deadline, work, backlog, left, by_deadline.copy())
    shortest, done, turn = np.argsort(isolated, kind="stable"), 0, _LEAST_TURN
    while done < len(shortest):
        go_on(stop)
        began = perf_counter()
        _fit(plan, isolated, shortest[done : done + turn], whole)
        done += turn
        turn = next_turn(turn, perf_counter() - began, _LEAST_TURN)
    return work


class _Plan(NamedTuple):
    """Requests and the work that is planned for them, each shape ``(requests,)``.

    Attributes:
        arrival: Arrival in seconds, never decreasing.
        deadline: Deadline in seconds.
        by_deadline: The requests in order of deadline.
        work: Seconds planned for each.
        backlog: Seconds of those before it that are left when each arrives.
        left: Scratch, zeros.
        waiting: Scratch.
    """

    arrival: Floats
    deadline: Floats
    by_deadline: Ints
    work: Floats
    backlog: Floats
    left: Floats
    waiting: Ints


_PLAN_TYPE = type_of(_Plan)


@compiled(types.int64(_PLAN_TYPE, types.int64))
def _wait(plan: _Plan, request: int) -> int:
    """Run earliest deadline first until a request arrives; ``left`` is what is left then.

    Returns:
        The first request of the busy period, or the request itself if nothing is left.
    """
    plan = borrow(plan)
    arrival, left = plan.arrival, plan.left
    first = request
    while plan.backlog[first] > 0.0:
        first -= 1
    size, now = 0, arrival[first]
    for following in range(first + 1, request + 1):
        entered = following - 1
        if plan.work[entered] > 0.0:
            left[entered] = plan.work[entered]
            push(plan.deadline, plan.waiting, size, entered)
            size += 1
        while size > 0 and now < arrival[following]:
            runs = plan.waiting[0]
            if left[runs] > arrival[following] - now:
                left[runs] -= arrival[following] - now
                break
            now += left[runs]
            left[runs] = 0.0
            pop(plan.deadline, plan.waiting, size)
            size -= 1
        now = arrival[following]
    return first


@compiled(types.float64(_PLAN_TYPE, types.int64, types.float64))
def _room(plan: _Plan, request: int, enough: float) -> float:
    """Seconds of a request that fit beside what is planned, up to ``enough``; 0 or more."""
    plan = borrow(plan)
    arrival, deadline, by_deadline = plan.arrival, plan.deadline, plan.by_deadline
    total, begin = arrival.size, arrival[request]
    first = _wait(plan, request)
    # Intervals that end with the deadline of each request in turn. Of the moments that they may
    # begin at, what is left at the arrival accounts for those before it.
    load, room = 0.0, min(enough, deadline[request] - begin)
    idle, last = 0.0, request  # until the last arrival that is not after the interval
    for place in range(_after(deadline, by_deadline, begin), total):
        if room <= 0.0:
            break
        other = by_deadline[place]
        end = deadline[other]
        if other >= request:
            load += plan.work[other]
        elif other >= first:
            load += plan.left[other]
        if end < deadline[request]:
            continue
        if place + 1 == total or deadline[by_deadline[place + 1]] > end:
            room = min(room, end - begin - load)
        while last + 1 < total and arrival[last + 1] <= end:
            busy = plan.backlog[last] + plan.work[last]
            idle += max(0.0, arrival[last + 1] - arrival[last] - busy)
            last += 1
        if idle >= room and arrival[last] >= deadline[request]:
            break  # as much room is left in every longer interval
    for other in range(first, request):
        plan.left[other] = 0.0
    return max(room, 0.0)


@compiled(types.int64(FLOATS_TYPE, INTS_TYPE, types.float64))
def _after(deadline: Floats, by_deadline: Ints, moment: float) -> int:
    """Place in order of deadline of the first request that is due after a moment."""
    low, high = 0, by_deadline.size
    while low < high:
        middle = (low + high) >> 1
        if deadline[by_deadline[middle]] <= moment:
            low = middle + 1
        else:
            high = middle
    return low


@compiled(types.void(_PLAN_TYPE, FLOATS_TYPE, INTS_TYPE, types.boolean))
def _fit(plan: _Plan, isolated: Floats, shortest: Ints, whole: bool) -> None:
    """Plan work for the requests, the shortest first; ``whole`` for all of a request or nothing."""
    plan = borrow(plan)
    total = plan.arrival.size
    for request in shortest:
        room = _room(plan, request, isolated[request])
        if whole and room < isolated[request] * (1.0 - _ROUNDING):
            continue
        plan.work[request] = room
        for later in range(request + 1, total):
            gap = plan.arrival[later] - plan.arrival[later - 1]
            backlog = max(0.0, plan.backlog[later - 1] + plan.work[later - 1] - gap)
            if backlog == plan.backlog[later] and later > request + 1:
                break
            plan.backlog[later] = backlog
