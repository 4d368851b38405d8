"""How well a schedule served its requests.

A request's *normalised turnaround* is its turnaround over its isolated latency,
``(finish - arrival) / isolated``: how many times slower it was than alone on the accelerator. Its
inverse is its *normalised progress* (Eyerman and Eeckhout, System-level performance metrics for
multiprogram workloads, IEEE Micro 28, 2008).
"""

from __future__ import annotations

import numpy as np

from dysta_gym.bounds import antt_lower_bound
from dysta_gym.simulator import Schedule
from dysta_gym.workloads import Workload

DESCRIPTIONS = {
    "violation_rate": "share of requests that finish after their deadline",
    "antt": "average normalised turnaround time",
    "antt_lower_bound": "what no schedule of these requests can beat (dysta_gym.bounds)",
    "throughput": "requests finished a second, from the first arrival to the last finish",
    "system_throughput": "sum of the requests' normalised progress (STP of Eyerman and Eeckhout)",
    "ntt_p50": "median of normalised turnaround",
    "ntt_p95": "95th percentile of normalised turnaround",
    "ntt_p99": "99th percentile of normalised turnaround",
    "fairness": "Jain's index of the requests' normalised progress, 1 when all are alike",
    "preemptions": "times that an unfinished request was set aside for another one",
}
"""Every metric of `measure` but those per priority and per model, in one line each."""

HIGHER_IS_BETTER = frozenset({"throughput", "system_throughput", "fairness"})
"""Metrics of which more is better; of all others, less is."""


def workload_bounds(workload: Workload) -> dict[str, float]:
    """The metrics that depend on the workload alone: ``antt_lower_bound``."""
    return {"antt_lower_bound": antt_lower_bound(workload.arrival_s, workload.isolated_s)}


def measure(schedule: Schedule, bounds: dict[str, float] | None = None) -> dict[str, float]:
    """The metrics of a finished schedule.

    Args:
        schedule: A schedule in which every request is finished.
        bounds: `workload_bounds` of its workload, where many schedules share one; else computed.

    Returns:
        The metrics of `DESCRIPTIONS`, then ``violation_rate_priority_P`` for each priority and
        ``violation_rate_model_M`` for each model that occurs.
    """
    workload = schedule.workload
    turnaround = schedule.finish_s - workload.arrival_s
    slowdown = turnaround / workload.isolated_s
    progress = 1 / slowdown
    violated = schedule.finish_s > workload.deadline_s
    p50, p95, p99 = np.percentile(slowdown, [50, 95, 99])
    span = schedule.finish_s.max() - workload.arrival_s[0]
    metrics = {
        "violation_rate": violated.mean(),
        "antt": slowdown.mean(),
        **(workload_bounds(workload) if bounds is None else bounds),
        "throughput": len(workload) / span,
        "system_throughput": progress.sum(),
        "ntt_p50": p50,
        "ntt_p95": p95,
        "ntt_p99": p99,
        "fairness": progress.sum() ** 2 / (len(workload) * np.square(progress).sum()),
        "preemptions": schedule.preemptions,
    }
    for priority in np.unique(workload.priority):
        mine = workload.priority == priority
        metrics[f"violation_rate_priority_{priority:g}"] = violated[mine].mean()
    for index, model in enumerate(workload.store.models):
        mine = workload.model == index
        if mine.any():
            metrics[f"violation_rate_model_{model}"] = violated[mine].mean()
    return {name: float(value) for name, value in metrics.items()}
