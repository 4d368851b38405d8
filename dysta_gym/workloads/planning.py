"""What draws need of a scenario, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from dysta_gym.compiled.records import Floats, Ints, type_of
from dysta_gym.traces import reference_split
from dysta_gym.workloads.arrivals.process import Offer
from dysta_gym.workloads.arrivals.table import PROCESSES
from dysta_gym.workloads.load import arrival_rate, recorded, shares, stream_periods_s
from dysta_gym.workloads.scenario import Scenario


class Plan(NamedTuple):
    """All that `draw` needs of a scenario and a split, as plain numbers; `plan` makes it.

    Attributes:
        process: Place of the arrival process in `PROCESSES`.
        numbers: See `Process.numbers`.
        periodic: See `Process`; 1 or 0.
        requests: Number of requests.
        cumulative: Share of the requests of a trace and of those before it, shape ``(traces,)``.
        first: Where the inputs of each trace start in ``rows``; their end, shape ``(traces + 1,)``.
        rows: Rows of the split's inputs, trace after trace.
        period: What the deadlines of each trace's requests are counted in, in seconds, shape
            ``(traces,)``: the period of its stream where the process is periodic, or else the
            average isolated latency of its model.
        priorities: Priorities, drawn uniformly.
        recorded_trace: Recorded traces, shape ``(requests,)``. This and the following are empty
            where they are drawn.
        recorded_row: Recorded rows, same shape.
        recorded_priority: Recorded priorities, same shape.
        slo_multiplier: See `Scenario`.
        preemption_cost: See `Scenario`, in seconds.
        queue_limit: Requests in the queue at most, no more than there are.
        decision_fixed: See `DecisionCost`, in seconds, as the next.
        decision_each: See `DecisionCost`.
    """

    process: int
    numbers: Floats
    periodic: int
    requests: int
    cumulative: Floats
    first: Ints
    rows: Ints
    period: Floats
    priorities: Floats
    recorded_trace: Ints
    recorded_row: Ints
    recorded_priority: Floats
    slo_multiplier: float
    preemption_cost: float
    queue_limit: int
    decision_fixed: float
    decision_each: float


PLAN_TYPE = type_of(Plan)


def plan(scenario: Scenario, split: str = "test") -> Plan:
    """What workloads of this scenario are drawn from; made once, and again when a file changes.

    Raises:
        DystaError: If the split is unknown, or a trace or a recorded request is not usable.
    """
    hashable = {"traces": tuple(scenario.traces.items()), "accelerator": scenario.charge}
    given = {**scenario.__dict__, **hashable}
    stamps = (scenario.trace_files(), scenario.arrivals.stamp())
    return _plan(_Draws((*given.values(), split, *stamps), scenario, split))


@dataclass(frozen=True)
class _Draws:
    """A scenario, which cannot be hashed, and a split: the same where ``key`` is."""

    key: tuple[Any, ...]
    scenario: Scenario = field(compare=False)
    split: str = field(compare=False)


@lru_cache(maxsize=64)
def _plan(draws: _Draws) -> Plan:
    scenario, split = draws.scenario, draws.split
    store, process = scenario.store(), scenario.arrivals
    rows = [trace.rows(split) for trace in store.traces]
    weights = np.array(list(scenario.traces.values()))
    rate, columns = arrival_rate(scenario, split), recorded(scenario)
    if process.periodic:
        period = stream_periods_s(scenario, split)
    else:
        period = store.averages(reference_split(split)).isolated_s[store.model_of]
    requests = len(columns["arrival_s"]) if columns else scenario.requests
    return Plan(
        process=list(PROCESSES).index(process.process),
        numbers=process.numbers(Offer(store, split, weights, rate, period, columns)),
        periodic=int(process.periodic),
        requests=requests,
        cumulative=np.cumsum(shares(scenario)),
        first=np.cumsum([0, *map(len, rows)]),
        rows=np.concatenate(rows),
        period=period,
        priorities=np.array(scenario.priorities),
        recorded_trace=np.array(columns.get("trace", ()), np.int64),
        recorded_row=np.array(columns.get("row", ()), np.int64),
        recorded_priority=np.array(columns.get("priority", ()), np.float64),
        slo_multiplier=scenario.slo_multiplier,
        preemption_cost=scenario.preemption_cost_s,
        queue_limit=min(requests, scenario.queue_limit or requests),
        decision_fixed=scenario.decision_cost.fixed_s,
        decision_each=scenario.decision_cost.per_request_s,
    )
