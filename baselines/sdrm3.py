"""SDRM3: urgency plus fairness."""

from dataclasses import replace

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Parameter, Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Greatest ``min(1, R / S) + alpha * W / N``.

    An overdue request (``S < 0``) keeps the formula and so ranks low; ``S = 0`` counts as the limit
    from above, an urgency of 1. A next layer that is expected to take no time makes any wait
    infinitely long.
    """
    alpha = parameters[0]
    for i in range(size):
        slack = queue.deadline[i] - now
        urgency = queue.remaining[i] / slack if slack != 0.0 else 1.0
        urgency = min(1.0, urgency)
        waited = now - queue.last_run[i]
        next_layer = queue.next_layer[i]
        if next_layer > 0.0:
            starvation = waited / next_layer
        else:
            starvation = float("inf") if waited > 0.0 else 0.0
        # alpha = 0 switches fairness off, also where the wait is infinitely long
        scores[i] = -(urgency + alpha * starvation) if alpha > 0.0 else -urgency


SDRM3 = Policy(
    "sdrm3",
    score,
    summary="greatest min(1, R / S) + alpha W / N: urgency plus fairness",
    parameters={"alpha": Parameter(1.0, "weight of fairness", low=0.0)},
    source="Kim et al., SDRM3: A dynamic scheduler for dynamic real-time multi-model ML workloads, "
    "2022, as compared in Sparse-DySta, MICRO 2023",
)
SDRM3_SPARSE = SDRM3.at("monitored")
SDRM3_TUNED = replace(
    SDRM3,
    name="sdrm3-tuned",
    summary="as sdrm3, with the weight of fairness tuned on train inputs",
    # python -m benchmarks.tune sdrm3-tuned
    parameters={"alpha": replace(SDRM3.parameters["alpha"], default=0.000989)},
)
