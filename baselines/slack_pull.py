"""Least slowdown first, with a pull towards the deadline and a push behind it."""

import math

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Parameter, Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R I / (1 + pull exp(-x / width))``, or ``push R I`` where ``x < 0``.

    ``x = (S - R) / (g I)`` is the slack in what the request is expected to take.
    """
    push, pull, width = parameters[0], parameters[1], parameters[2]
    for i in range(size):
        remaining = queue.remaining[i]
        expected = queue.isolated[i] * queue.correction[i]
        product = remaining * queue.isolated[i]
        if not expected > 0.0:
            scores[i] = product
            continue
        slack = (queue.deadline[i] - now - remaining) / expected
        if slack < 0.0:
            scores[i] = product * push
        else:
            scores[i] = product / (1.0 + pull * math.exp(-slack / width))


SLACK_PULL = Policy(
    "slack-pull",
    score,
    level="sized/kalman",
    events=True,
    summary="least R I, over 1 + pull exp(-x / width), or times push once x = (S - R) / (g I) < 0",
    # python -m benchmarks.tune slack-pull
    parameters={
        "push": Parameter(1.9, "factor once the deadline is missed", low=0.0),
        "pull": Parameter(10.5, "greatest gain of a near deadline", low=0.0),
        "width": Parameter(1.66, "slack over which it fades", positive=True),
    },
    source="found for this benchmark; constants tuned on train inputs",
)
