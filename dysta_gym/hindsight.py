"""What could be reached at all: bounds that no schedule beats, and a schedule in hindsight."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import numpy as np

from dysta_gym.bounds import antt_lower_bound, on_time, violation_rate_lower_bound
from dysta_gym.compiled.records import Floats
from dysta_gym.machine.machine import Machine, Schedule
from dysta_gym.machine.queue import Queue
from dysta_gym.metrics import violations_and_antt
from dysta_gym.policies import Policy
from dysta_gym.sealing import opened
from dysta_gym.workloads import Workload

BOUNDS = {
    "violation_rate_lower_bound": "what no schedule of these requests can beat",
    "violation_rate_in_hindsight": "what a schedule reaches that is found when all is known",
    "antt_lower_bound": "what no schedule of these requests can beat",
}
"""The bounds of `bounds_of`. They belong to a workload, whatever its schedule."""

BOUND_OF = {"violation_rate": "violation_rate_lower_bound", "antt": "antt_lower_bound"}
"""The bounds that no schedule beats, by the metric."""


def bounds_of(workload: Workload, stop: Event | None = None) -> dict[str, float]:
    """The bounds of a workload, those of `BOUNDS`.

    Args:
        workload: The workload.
        stop: Whether to stop in the middle, for then nobody waits for the end.

    Raises:
        CancelledError: If it has been stopped.
    """
    moments, isolated_s = workload.moments, opened(workload.isolated_s)
    late = violations_and_antt(
        moments.arrival, isolated_s, moments.deadline, in_hindsight(workload, stop).elapsed_s
    )[0]
    least = violation_rate_lower_bound(moments.arrival, moments.deadline, isolated_s, stop)
    return {
        "violation_rate_lower_bound": least,
        "violation_rate_in_hindsight": float(late),
        "antt_lower_bound": antt_lower_bound(moments.arrival, isolated_s),
    }


def in_hindsight(workload: Workload, stop: Event | None = None) -> Schedule:
    """A schedule with few violations, found with all arrivals and latencies known beforehand.

    The requests of `dysta_gym.bounds.on_time` run in order of deadline, and whenever none of them
    waits, the others run, the shortest first. Its violation rate is what can be reached for
    certain, `dysta_gym.bounds.violation_rate_lower_bound` what cannot be beaten.
    """
    moments, isolated_s = workload.moments, opened(workload.isolated_s)
    chosen = on_time(moments.arrival, moments.deadline, isolated_s, stop)
    after = moments.deadline.max() + isolated_s
    order = np.where(chosen, moments.deadline, after)
    if workload.decision_fixed_s or workload.decision_per_request_s:  # a plan decides nothing
        workload = replace(workload, decision_fixed_s=0.0, decision_per_request_s=0.0)
    policy = Policy("in hindsight", _score, stable=True, weights=tuple(order.tolist()))
    machine = Machine(workload, policy.level)
    machine.run(policy, stop)
    return machine.schedule()


def _score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Requests by number, each with its place in an order."""
    for i in range(size):
        scores[i] = parameters[queue.request[i]]
