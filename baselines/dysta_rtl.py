"""Dysta as its hardware's source has it: another rule than the artifact's Python."""

from dataclasses import replace

from dysta_gym.baselines.dysta import DYSTA
from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Parameter


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R + beta * (max(0, S) + W / I)``, times in cycles of the scheduler's clock.

    So computes `hw_design/calc_score.sv` of the artifact: `linear_rate` times the average remaining
    latency, plus `BETA` times the clamped slack and the wait times `norm_isolation`. Unlike the
    Python, the slack keeps ``R``, and the wait is not divided by the queue's length.

    The source does not say what the table `norm_isolation` holds, one number a model and pattern;
    here it is ``1 / I``, with which the product is the Python's ratio. Nothing is rounded: the
    source takes differences in whole cycles and has 18 bits after the point for that product.
    """
    beta, clock_hz = parameters[0], parameters[1]
    for i in range(size):
        slack = queue.deadline[i] - now
        slack = slack if slack > 0.0 else 0.0
        waited = (now - queue.last_run[i]) / queue.isolated[i]
        scores[i] = queue.remaining[i] * clock_hz + beta * (slack * clock_hz + waited)


def drift(parameters: Floats) -> float:
    """The slack of a waiting request shrinks with time, and with it the score."""
    return float(parameters[0] * parameters[1])


DYSTA_RTL = replace(
    DYSTA,
    name="dysta-rtl",
    score=score,
    drift=drift,
    level="monitored/last",
    summary="least R + beta (max(0, S) + W / I) in clock cycles, the last layer's sparsity",
    parameters={
        "beta": DYSTA.parameters["beta"],
        "clock_hz": Parameter(200e6, "clock of the scheduler", positive=True),
    },
    source="Fan et al., Sparse-DySta, MICRO 2023, the artifact's hw_design",
)
