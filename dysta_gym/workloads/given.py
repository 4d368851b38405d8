"""Workloads of requests that are given as plain columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dysta_gym.errors import DystaError
from dysta_gym.traces import TraceStore, reference_split
from dysta_gym.workloads.load import stream_periods_s
from dysta_gym.workloads.scenario import Scenario
from dysta_gym.workloads.workload import Due, Workload


def requests_under(
    scenario: Scenario, columns: Mapping[str, Sequence[Any]], split: str
) -> Workload:
    """`requests_from` plain columns, which meet the scenario's machine and deadlines.

    Under a periodic process, a request is due as many periods of its trace's stream after it
    arrives as the scenario's ``slo_multiplier`` says.
    """
    given = requests_from(
        columns, scenario.store(), reference_split(split), scenario.slo_multiplier
    )
    due = None
    if scenario.arrivals.periodic:
        due = Due(given.arrival_s, stream_periods_s(scenario, split)[given.trace])
    return replace(
        given,
        due=due,
        preemption_cost_s=scenario.preemption_cost_s,
        queue_limit=scenario.queue_limit,
        decision_fixed_s=scenario.decision_cost.fixed_s,
        decision_per_request_s=scenario.decision_cost.per_request_s,
    )


def requests_from(
    columns: Mapping[str, Sequence[Any]], store: TraceStore, reference: str, slo_multiplier: float
) -> Workload:
    """A workload from plain columns ``arrival_s``, ``trace`` (names), ``row`` and ``priority``.

    Raises:
        DystaError: If a column is missing, or see `Workload`.
    """
    for name in ("arrival_s", "trace", "row", "priority"):
        if name not in columns:
            raise DystaError(f"workload: column {name!r} is missing")
    return Workload(
        store=store,
        reference=reference,
        arrival_s=columns["arrival_s"],  # type: ignore[arg-type]  # Workload converts and checks
        trace=np.array([store.index(name) for name in columns["trace"]], np.int64),
        row=columns["row"],  # type: ignore[arg-type]
        priority=columns["priority"],  # type: ignore[arg-type]
        slo_multiplier=slo_multiplier,
    )
