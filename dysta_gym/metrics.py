"""How well a schedule served its requests.

A request's *normalised turnaround* is its turnaround over its isolated latency,
``(finish - arrival) / isolated``: how many times slower it was than alone on the accelerator. Its
inverse is its *normalised progress* (Eyerman and Eeckhout, System-level performance metrics for
multiprogram workloads, IEEE Micro 28, 2008).

Eyerman and Eeckhout define system throughput as the sum of the normalised progress of the programs
that run side by side. Where requests come and go, that is a sum over those in the system at a time,
and its mean over time: each adds its progress for as long as its turnaround, which is its isolated
latency. So it is the isolated latencies of all requests over the time that they took together. The
sum over all requests of a workload, whenever they ran, is not.

PREMA's fairness is the least ratio, of any two requests, of normalised progress over priority (Choi
and Rhu, PREMA, HPCA 2020, Equation 2).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import types

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import FLOATS_TYPE, INTS_TYPE, Floats, Ints, borrow
from dysta_gym.machine.machine import Schedule
from dysta_gym.sealing import opened
from dysta_gym.workloads import Workload


class Metric(NamedTuple):
    """What a metric means.

    Attributes:
        description: In one line.
        more_is_better: Whether more of it is better, rather than less.
    """

    description: str
    more_is_better: bool = False


METRICS = {
    "violation_rate": Metric("share of requests that finish after their deadline"),
    "antt": Metric("average normalised turnaround time"),
    "weighted_violation_rate": Metric("violation rate, a request counting by its priority"),
    "throughput": Metric("requests finished a second, from first arrival to last finish", True),
    "system_throughput": Metric(
        "work done a second, in isolated latencies: STP of Eyerman and Eeckhout", True
    ),
    "ntt_p50": Metric("median of normalised turnaround"),
    "ntt_p95": Metric("95th percentile of normalised turnaround"),
    "ntt_p99": Metric("99th percentile of normalised turnaround"),
    "fairness": Metric("Jain's index of normalised progress, 1 when all requests are alike", True),
    "prema_fairness": Metric(
        "least ratio of two requests' normalised progress, each over its priority", True
    ),
    "preemptions": Metric("times that an unfinished request was set aside for another one"),
    "decisions": Metric("times that the policy was asked which layer to run"),
}
"""Every metric of `measure` but the violation rates per priority and per model.

A metric is a line here, and its formula in `tally`.
"""

_OVERALL = len(METRICS)
_AT: Any = namedtuple("_At", METRICS)(*range(_OVERALL))
"""Where `tally` writes each of them."""


@compiled(types.void(FLOATS_TYPE, types.int64, types.int64))
def _select(values: Floats, low: int, rank: int) -> None:
    """Order ``values[low:]`` so far that no value before ``rank`` is greater, and none after less.

    Quickselect (Hoare, Algorithm 65: Find, Communications of the ACM 4, 1961).
    """
    high = values.size
    # Pivots of a fixed place would cost the square of the size in workloads of one burst. Random
    # ones do not: Park and Miller's minimal standard generator, always from the same seed.
    random = 1
    while high - low > 1:
        random = random * 48271 % 2147483647
        pivot = values[low + random % (high - low)]
        # Swaps that count rather than branch, which no processor could predict.
        greater = low
        for i in range(low, high):
            value = values[i]
            values[i] = values[greater]
            values[greater] = value
            greater += value < pivot
        if rank < greater:
            high = greater
            continue
        for i in range(greater, high):
            value = values[i]
            values[i] = values[greater]
            values[greater] = value
            greater += not value > pivot
        if rank < greater:
            return  # among those that equal the pivot
        low = greater


@compiled(types.float64(FLOATS_TYPE, types.float64, types.int64))
def _quantile(values: Floats, share: float, low: int) -> float:
    """A quantile, interpolated as NumPy does; puts ``values`` in order as far as it needs.

    No value before ``low`` may be greater than any from there on, nor may the quantile lie before.
    """
    place = (values.size - 1) * share
    rank = int(place)
    _select(values, low, rank)
    below = above = values[rank]
    if rank + 1 < values.size:
        above = values[rank + 1 :].min()
    weight = place - rank
    step = above - below
    return above - step * (1 - weight) if weight >= 0.5 else below + step * weight


@compiled(types.int64(FLOATS_TYPE, types.float64), inline=True)
def _find(ordered: Floats, value: float) -> int:
    """Index of a value, or -1."""
    at, size = 0, ordered.size
    while size > 1:  # without branches that depend on the value
        half = size >> 1
        at += half if ordered[at + half] <= value else 0
        size -= half
    return at if size and ordered[at] == value else -1


@compiled(None, inline=True)
def _slowdown(finish_s: float, arrival_s: float, isolated_s: float) -> float:
    """Normalised turnaround of a request."""
    return (finish_s - arrival_s) / isolated_s


@compiled(
    types.void(
        *(FLOATS_TYPE, FLOATS_TYPE, FLOATS_TYPE, FLOATS_TYPE, FLOATS_TYPE, INTS_TYPE),
        *(types.int64, types.int64, FLOATS_TYPE, FLOATS_TYPE),
    )
)
def tally(
    arrival_s: Floats,
    isolated_s: Floats,
    deadline_s: Floats,
    finish_s: Floats,
    priority: Floats,
    model: Ints,
    preemptions: int,
    decisions: int,
    priorities: Floats,
    out: Floats,
) -> None:
    """The metrics of a finished episode, for compiled code; `measure` says what they are.

    Args:
        arrival_s: Of the `Workload`, shape ``(requests,)``, as all of the next five.
        isolated_s: Of the `Workload`.
        deadline_s: Of the `Workload`.
        finish_s: Of the `Schedule`, none of it NaN.
        priority: Of the `Workload`.
        model: Of the `Workload`.
        preemptions: Of the `Schedule`.
        decisions: ``asked`` of the `Schedule`.
        priorities: Priorities to report on, distinct and sorted, shape ``(priorities,)``.
        out: Where the metrics go, in the order of `names`, shape
            ``(len(METRICS) + priorities + models,)``. A priority or a model that does not
            occur gets NaN.
    """
    total = arrival_s.size
    priorities = borrow(priorities)
    for metric in range(out.size):
        out[metric] = 0.0
    members = np.zeros(out.size - _OVERALL, np.int64)
    by_model = priorities.size
    slowdown = np.empty(total)
    violated = 0
    turnaround = progress = squares = work = weight = missed = 0.0
    least, most = np.inf, 0.0
    last = finish_s[0]
    for i in range(total):
        slowdown[i] = _slowdown(finish_s[i], arrival_s[i], isolated_s[i])
        gain = 1 / slowdown[i]
        turnaround += slowdown[i]
        progress += gain
        squares += gain * gain
        work += isolated_s[i]
        least = min(least, gain / priority[i])
        most = max(most, gain / priority[i])
        last = max(last, finish_s[i])
        late = finish_s[i] > deadline_s[i]
        violated += late
        weight += priority[i]
        missed += late * priority[i]
        members[by_model + model[i]] += 1
        out[_OVERALL + by_model + model[i]] += late
        rank = _find(priorities, priority[i])
        if rank >= 0:
            members[rank] += 1
            out[_OVERALL + rank] += late
    out[_AT.violation_rate] = violated / total
    out[_AT.antt] = turnaround / total
    out[_AT.weighted_violation_rate] = missed / weight
    out[_AT.throughput] = total / (last - arrival_s[0])
    out[_AT.system_throughput] = work / (last - arrival_s[0])
    out[_AT.ntt_p50] = _quantile(slowdown, 0.5, 0)
    out[_AT.ntt_p95] = _quantile(slowdown, 0.95, int((total - 1) * 0.5))
    out[_AT.ntt_p99] = _quantile(slowdown, 0.99, int((total - 1) * 0.95))
    out[_AT.fairness] = progress * progress / (total * squares)
    out[_AT.prema_fairness] = least / most
    out[_AT.preemptions] = preemptions
    out[_AT.decisions] = decisions
    for i in range(members.size):
        out[_OVERALL + i] /= members[i]


@compiled(types.UniTuple(types.float64, 2)(FLOATS_TYPE, FLOATS_TYPE, FLOATS_TYPE, FLOATS_TYPE))
def violations_and_antt(
    arrival_s: Floats, isolated_s: Floats, deadline_s: Floats, finish_s: Floats
) -> tuple[float, float]:
    """Violation rate and ANTT alone, what `tally` makes of them to the last bit.

    Args:
        arrival_s: Of the `Workload`, shape ``(requests,)``, as all of the next three.
        isolated_s: Of the `Workload`.
        deadline_s: Of the `Workload`.
        finish_s: Of the `Schedule`, none of it NaN.
    """
    total = arrival_s.size
    violated = 0
    turnaround = 0.0
    for i in range(total):
        turnaround += _slowdown(finish_s[i], arrival_s[i], isolated_s[i])
        violated += finish_s[i] > deadline_s[i]
    return violated / total, turnaround / total


def written(number: float) -> str:
    """A number in few digits, or in as many as tell it from all others."""
    few = f"{number:g}"
    return few if float(few) == number else repr(float(number)).removesuffix(".0")


def names(priorities: Iterable[float], models: Sequence[str]) -> tuple[str, ...]:
    """Names of what `tally` writes, in its order."""
    return (
        *METRICS,
        *(f"violation_rate_priority_{written(priority)}" for priority in priorities),
        *(f"violation_rate_model_{model}" for model in models),
    )


def measured(schedule: Schedule, priorities: Floats) -> Floats:
    """What `tally` makes of a finished schedule, an array in the order of `names`."""
    workload = schedule.workload
    out = np.empty(_OVERALL + len(priorities) + len(workload.store.models))
    tally(
        workload.moments.arrival,
        opened(workload.isolated_s),
        workload.moments.deadline,
        schedule.elapsed_s,
        opened(workload.priority),
        opened(workload.model),
        schedule.preemptions,
        schedule.asked,
        priorities,
        out,
    )
    return out


def occurring(values: Floats) -> Ints:
    """Indices into what `tally` wrote, without the classes that do not occur."""
    there = ~np.isnan(values)
    there[:_OVERALL] = True
    return np.flatnonzero(there)


def measure(schedule: Schedule) -> dict[str, float]:
    """The metrics of a schedule in which every request is finished.

    Returns:
        The metrics of `METRICS`, then ``violation_rate_priority_P`` for each priority and
        ``violation_rate_model_M`` for each model that occurs.
    """
    workload = schedule.workload
    priorities = np.unique(workload.priority)
    values = measured(schedule, priorities)
    labels = names(priorities, workload.store.models)
    return {labels[i]: float(values[i]) for i in occurring(values)}


def unmeasured(workload: Workload) -> dict[str, float]:
    """What `measure` will tell of a workload, by the same names: NaN, as long as it runs."""
    models = [workload.store.models[index] for index in np.unique(workload.model)]
    return dict.fromkeys(names(np.unique(workload.priority), models), np.nan)
