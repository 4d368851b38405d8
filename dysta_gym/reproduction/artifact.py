"""Where the artifact departs from a correct simulation, emulated one departure at a time.

The artifact is Sparse-DySta's public code. More departures concern its accelerator models; they
need the networks themselves and are measured by ``benchmarks/departures.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import types

from dysta_gym.accelerators import sanger_layer_latency_s, sanger_padded_length
from dysta_gym.comparison import PAPER_POLICIES
from dysta_gym.compiled.functions import address_of, compiled
from dysta_gym.compiled.records import Floats, borrow, invoke, on_stack
from dysta_gym.information import estimates
from dysta_gym.machine.loops import LOOP_TYPES
from dysta_gym.machine.machine import Machine
from dysta_gym.machine.queue import (
    ARRIVED,
    SIZE,
    Jobs,
    Queue,
    State,
    Tables,
    admit,
    execute,
)
from dysta_gym.machine.rule import View, first_least
from dysta_gym.policies import Policy
from dysta_gym.reproduction.context import Deployment
from dysta_gym.traces import Trace, TraceStore
from dysta_gym.workloads import Workload

ARTIFACT_INPUTS = 7
"""Inputs of each trace that its sampler draws: the length of a table that has seven keys."""


@dataclass(frozen=True)
class Departure:
    """One departure: the policies that it concerns, and how one of them runs with it.

    Attributes:
        title: What the artifact does.
        policies: Policies that it touches.
        run: The machine after a workload has run under a policy with the departure, or None for a
            workload that it does not concern.
    """

    title: str
    policies: Sequence[str]
    run: Callable[[Deployment, Workload, Policy], Machine | None]


def run(workload: Workload, policy: Policy) -> Machine:
    """The machine after the workload has run under the policy."""
    machine = Machine(workload, policy.level)
    machine.run(policy)
    return machine


# --- (a) the sampler -----------------------------------------------------------------------------


def _first_inputs(deployment: Deployment, workload: Workload, policy: Policy) -> Machine:
    """Every request has one of the trace's first inputs, in about equal shares."""
    row = np.empty_like(workload.row)
    for index, trace in enumerate(workload.store.traces):
        drawn = np.sort(trace.rows("test"))
        mine = workload.trace == index
        place = np.searchsorted(drawn, workload.row[mine])
        row[mine] = place * min(ARTIFACT_INPUTS, len(trace.train)) // len(drawn)
    return run(replace(workload, row=row), policy)


def _first_inputs_at_the_load(
    deployment: Deployment, workload: Workload, policy: Policy
) -> Machine:
    """The same, with arrivals as far apart as keeps the load."""
    means = [trace.isolated_s[:ARTIFACT_INPUTS].mean() for trace in workload.store.traces]
    at_the_load = replace(workload, arrival_s=_arrivals(deployment, workload, means))
    return _first_inputs(deployment, at_the_load, policy)


def _arrivals(deployment: Deployment, workload: Workload, charged: Sequence[float]) -> Floats:
    """Arrivals that keep the load where the traces take ``charged`` seconds in the mean."""
    weights = np.array(list(deployment.scenario.traces.values()))
    means = [trace.isolated_s[trace.rows("test")].mean() for trace in workload.store.traces]
    scale: float = np.dot(weights, charged) / np.dot(weights, means)
    return workload.arrival_s * scale


# --- (b) the clock -------------------------------------------------------------------------------


@compiled(types.void(*LOOP_TYPES[:-1]))  # it does not come back before the end
def _run_backwards(
    jobs: Jobs,
    tables: Tables,
    state: State,
    queue: Queue,
    rule: int,
    parameters: Floats,
    scores: Floats,
) -> None:
    """The event loop, with a clock that an empty queue sets to the next arrival, even backwards."""
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    scores = borrow(scores)
    view = on_stack(View(queue, borrow(parameters), scores))
    while state.counters[SIZE] > 0:
        size = state.counters[SIZE]
        invoke(rule, (view, size, 0, size, state.clock[0]))
        execute(jobs, tables, state, queue, first_least(scores, size))
        arrived = state.counters[ARRIVED]
        if state.counters[SIZE] == 0 and arrived < jobs.arrival.size:
            state.clock[0] = jobs.arrival[arrived]
        admit(jobs, tables, state, queue)


def _backwards(deployment: Deployment, workload: Workload, policy: Policy) -> Machine:
    machine = Machine(workload, policy.level)
    parameters = machine.values_for(policy)
    scores = np.empty(len(workload))
    _run_backwards(*machine.parts, address_of(policy.compiled()), parameters, scores)
    return machine


# --- (c) prema_sparse ----------------------------------------------------------------------------


def _one_correction(deployment: Deployment, workload: Workload, policy: Policy) -> Machine:
    """All candidates are ranked with one request's ``g``: as without, for it moves all alike."""
    machine = Machine(workload, policy.level)
    pattern = estimates(workload.store, "pattern", workload.reference)
    machine.tables = machine.tables._replace(remaining=pattern.remaining)
    machine.run(policy)
    return machine


# --- (d) planaria --------------------------------------------------------------------------------


def _score_last_overdue(
    queue: Queue, size: int, now: float, parameters: Floats, scores: Floats
) -> None:
    """Greatest ``priority / S``; where all are overdue, the latest arrival.

    A running maximum that starts below 0 is replaced by whatever comes next while it is negative.
    """
    for i in range(size):
        slack = queue.deadline[i] - now
        if slack < 0.0:
            scores[i] = 1.0 * (size - i)
        else:
            scores[i] = -queue.priority[i] / slack if slack > 0.0 else -np.inf


LAST_OVERDUE = Policy("planaria", _score_last_overdue)


def _last_overdue(deployment: Deployment, workload: Workload, policy: Policy) -> Machine:
    return run(workload, LAST_OVERDUE)


# --- (e) what Sanger charges ---------------------------------------------------------------------


def full_length(deployment: Deployment, trace: Trace) -> Trace | None:
    """The trace as the artifact charges it: density among an input's own tokens, at full length.

    None where its file does not tell density, balance and lengths, or has layers whose queries and
    keys differ.
    """
    density, balance = (deployment.measure(trace, name) for name in ("density", "load_balance"))
    settings = trace.provenance.get("settings", {})
    longest, width = (settings.get(name) for name in ("max_length", "width"))
    known = density is not None and balance is not None and trace.length is not None
    square = deployment.measure(trace, "query_length") is None
    if not (known and square and longest and width):
        return None
    padded = sanger_padded_length(trace.length)  # type: ignore[type-var]
    own = np.minimum(1, density * ((padded / trace.length) ** 2)[:, None])  # type: ignore[operator]
    charged = sanger_padded_length(longest)
    shapes = trace.provenance.get("shapes")
    shared = shapes and shapes["key_value_heads"] * shapes["head_width"]
    latency_s = sanger_layer_latency_s(
        own,
        balance,  # type: ignore[arg-type]
        charged,
        width,
        key_value_width=shared,
    )
    return replace(trace, latency_s=latency_s)


def _full_store(deployment: Deployment) -> TraceStore | None:
    """The scenario's store with the traces of `full_length`; None if that changes none."""
    store = deployment.scenario.store()
    key = "traces at full length"
    if key not in store.cached:
        changed = [full_length(deployment, trace) for trace in store.traces]
        store.cached[key] = (
            TraceStore([new or old for new, old in zip(changed, store.traces, strict=True)])
            if any(changed)
            else None
        )
    result: TraceStore | None = store.cached[key]
    return result


def _full_length(deployment: Deployment, workload: Workload, policy: Policy) -> Machine | None:
    """The same requests, as far apart as keeps the load."""
    store = _full_store(deployment)
    if store is None:
        return None
    charged = [trace.isolated_s[trace.rows("test")].mean() for trace in store.traces]
    arrival_s = _arrivals(deployment, workload, charged)
    return run(replace(workload, store=store, arrival_s=arrival_s), policy)


DEPARTURES: Mapping[str, Departure] = {
    "first inputs": Departure(
        f"the sampler draws only the first {ARTIFACT_INPUTS} inputs of every trace; at the same "
        "arrival rate",
        PAPER_POLICIES,
        _first_inputs,
    ),
    "first inputs, same load": Departure(
        "the same, with arrivals as far apart as keeps the load",
        PAPER_POLICIES,
        _first_inputs_at_the_load,
    ),
    "clock": Departure(
        "when the queue empties, the clock is set to the next arrival, even backwards",
        PAPER_POLICIES,
        _backwards,
    ),
    "one correction": Departure(
        "prema_sparse ranks every candidate with the last queued request's g",
        ("prema_sparse",),
        _one_correction,
    ),
    "last overdue": Departure(
        "planaria runs the latest arrival where all requests are overdue",
        ("planaria",),
        _last_overdue,
    ),
    "full length": Departure(
        "Sanger is charged the full length at the density of the input's own tokens; at the same "
        "load",
        PAPER_POLICIES,
        _full_length,
    ),
}
