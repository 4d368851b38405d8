"""An index of three constants: the shortest first, pulled and pushed by the slack."""

import math

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Parameter, Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``ln R + late [x < 0] + bend x / (width + |x|)``, where ``x = (S - R) / (g I)``.

    The slack ``x`` is counted in what the request is expected to take: those with little of it come
    forward, and those that cannot meet their deadline any more fall back.
    """
    late, bend, width = parameters[0], parameters[1], parameters[2]
    for i in range(size):
        remaining = queue.remaining[i]
        expected = queue.isolated[i] * queue.correction[i]
        if not (remaining > 0.0 and expected > 0.0):
            scores[i] = -float("inf")  # done at once
            continue
        slack = (queue.deadline[i] - now - remaining) / expected
        pushed = late if slack < 0.0 else 0.0
        scores[i] = math.log(remaining) + pushed + bend * slack / (width + abs(slack))


SLACK_INDEX = Policy(
    "slack-index",
    score,
    level="sized/kalman",
    events=True,
    summary="least ln R + late [x < 0] + bend x / (width + |x|), x = (S - R) / (g I)",
    # python -m benchmarks.tune slack-index
    parameters={
        "late": Parameter(2.37, "what counts against a missed deadline"),
        "bend": Parameter(1.28, "weight of the slack"),
        "width": Parameter(3.23, "slack at which half of that weight is reached", positive=True),
    },
    source="found for this benchmark; constants tuned on train inputs",
)
