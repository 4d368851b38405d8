"""Drawing workloads from scenarios."""

from __future__ import annotations

from operator import index
from typing import Any, NamedTuple

import numpy as np
from numba import types

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import FLOATS_TYPE, INTS_TYPE, Floats, Ints, borrow, type_of
from dysta_gym.compiled.streams import (
    POOL_TYPE,
    STREAM_TYPE,
    WIDTH,
    Pool,
    Stream,
    absorbed,
    integers,
    pool_of,
    random,
    seeded,
)
from dysta_gym.errors import DystaError
from dysta_gym.traces import reference_split
from dysta_gym.workloads.arrivals.table import PROCESSES
from dysta_gym.workloads.load import recorded
from dysta_gym.workloads.planning import PLAN_TYPE, Plan, plan
from dysta_gym.workloads.scenario import Scenario
from dysta_gym.workloads.workload import Due, Workload


class Requests(NamedTuple):
    """What `draw` fills, each shape ``(requests,)``, in order of arrival.

    Attributes:
        arrival: Arrival in seconds.
        trace: Index of the trace in the store.
        row: Row of the input in that trace.
        priority: Priority.
        start: What the deadline is counted from, in seconds: the frame's start, or the arrival.
        period: What it is counted in, in seconds; see `deadline`.
    """

    arrival: Floats
    trace: Ints
    row: Ints
    priority: Floats
    start: Floats
    period: Floats


REQUESTS_TYPE = type_of(Requests)


@compiled(None, inline=True)
def _draw_arrivals(process: int, *arguments: Any) -> None:
    """Draw those of a process by its place in `PROCESSES`; see `Process.draws`."""


def _or_else(place: int, draws: Any, others: Any) -> Any:
    """One link of the chain that stands for a table of functions, which Numba has not."""

    @compiled(None, inline=True)
    def chosen(process: int, *arguments: Any) -> None:
        if process == place:
            draws(*arguments)
        else:
            others(process, *arguments)

    return chosen


for _place, _process in enumerate(PROCESSES.values()):
    _draw_arrivals = _or_else(_place, _process.draws, _draw_arrivals)


@compiled(types.void(POOL_TYPE, STREAM_TYPE, FLOATS_TYPE, INTS_TYPE))
def _draw_traces(pool: Pool, stream: Stream, cumulative: Floats, trace: Ints) -> None:
    seeded(pool, stream)
    for request in range(trace.size):
        drawn, chosen = random(stream), 0
        for each in range(cumulative.size - 1):  # the last is 1, or by rounding a little less
            chosen += cumulative[each] <= drawn
        trace[request] = chosen


@compiled(types.void(POOL_TYPE, STREAM_TYPE, INTS_TYPE, INTS_TYPE, INTS_TYPE, INTS_TYPE))
def _draw_rows(pool: Pool, stream: Stream, first: Ints, rows: Ints, trace: Ints, row: Ints) -> None:
    seeded(pool, stream)
    for request in range(row.size):
        begin, end = first[trace[request]], first[trace[request] + 1]
        row[request] = rows[begin + np.int64(random(stream) * (end - begin))]


@compiled(types.void(POOL_TYPE, STREAM_TYPE, FLOATS_TYPE, FLOATS_TYPE))
def _draw_priorities(pool: Pool, stream: Stream, priorities: Floats, priority: Floats) -> None:
    seeded(pool, stream)
    for request in range(priority.size):
        priority[request] = priorities[integers(stream, priorities.size)]


@compiled(types.void(PLAN_TYPE, POOL_TYPE, REQUESTS_TYPE))
def draw(plan: Plan, pool: Pool, requests: Requests) -> None:
    """Draw a workload from ``plan`` into ``requests``: that of `generate` for the pool's seed.

    Args:
        plan: From `plan`.
        pool: The seed, from `streams.pool` or `streams.pool_of`.
        requests: Columns of shape ``(plan.requests,)``, to be filled.
    """
    plan, requests = borrow(plan), borrow(requests)  # the caller holds them
    arrival, trace, start = requests.arrival, requests.trace, requests.start
    _draw_arrivals(plan.process, absorbed(pool, 0), plan.numbers, arrival, trace, start)
    stream = np.empty(WIDTH, np.uint64)
    if not plan.periodic:
        if plan.recorded_trace.size:
            for request in range(plan.requests):
                trace[request] = plan.recorded_trace[request]
        else:
            _draw_traces(absorbed(pool, 1), stream, plan.cumulative, trace)
        for request in range(plan.requests):
            start[request] = arrival[request]
    for request in range(plan.requests):
        requests.period[request] = plan.period[trace[request]]
    if plan.recorded_row.size:
        for request in range(plan.requests):
            requests.row[request] = plan.recorded_row[request]
    else:
        _draw_rows(absorbed(pool, 2), stream, plan.first, plan.rows, trace, requests.row)
    if plan.recorded_priority.size:
        for request in range(plan.requests):
            requests.priority[request] = plan.recorded_priority[request]
    else:
        _draw_priorities(absorbed(pool, 3), stream, plan.priorities, requests.priority)


def generate(scenario: Scenario, seed: int, *, split: str = "test") -> Workload:
    """Draw a workload.

    The same seed gives the same requests in the same order at any load and SLO multiplier; only
    their spacing and their deadlines scale. Arrivals, networks, inputs and priorities come from
    independent streams, so changing one leaves the others as they were.

    Args:
        scenario: What to draw from.
        seed: Seed of the draw, 0 or more.
        split: Inputs that requests are drawn from: ``train``, ``test`` or ``all``. Averages are
            taken over ``train`` where requests are drawn from ``test``.

    Raises:
        DystaError: If the seed is negative, the split is unknown, or a trace is absent.
    """
    if seed < 0:
        raise DystaError(f"seed: {seed} is not allowed; it must be 0 or more")
    chosen = plan(scenario, split)
    times, whole = np.empty((4, chosen.requests)), np.empty((2, chosen.requests), np.int64)
    drawn = Requests(times[0], whole[0], whole[1], times[1], times[2], times[3])
    draw(chosen, pool_of(index(seed)), drawn)
    return Workload(
        store=scenario.store(),
        reference=reference_split(split),
        arrival_s=drawn.arrival,
        trace=drawn.trace,
        row=drawn.row,
        priority=drawn.priority,
        slo_multiplier=scenario.slo_multiplier,
        due=Due(drawn.start, drawn.period) if chosen.periodic else None,
        preemption_cost_s=scenario.preemption_cost_s,
        queue_limit=scenario.queue_limit,
        decision_fixed_s=scenario.decision_cost.fixed_s,
        decision_per_request_s=scenario.decision_cost.per_request_s,
    )


def draws_nothing(scenario: Scenario) -> bool:
    """Whether every seed gives the same workload: all of it is recorded."""
    return {"arrival_s", "row", "priority"} <= set(recorded(scenario))
