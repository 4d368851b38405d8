"""Moore and Hodgson's set of requests that can all be on time, served the shortest first."""

from dataclasses import replace

import numpy as np

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.on_time import greatest_set
from dysta_gym.policies import Parameter, Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R (g I)^power`` among what keeps the set on time; the sacrificed weigh more.

    The set is that of Moore and Hodgson (`dysta_gym.on_time.greatest_set`), ``margin R`` being left
    at a deadline. Running a request out of turn delays those of the set that are due before it, or
    all of the set if it is sacrificed itself: if its ``R`` is more than ``spare`` of their least
    spare time, it weighs ``disturbing`` times as much.
    """
    sacrificed, disturbing = parameters[0], parameters[1]
    margin, spare, power = parameters[2], parameters[3], parameters[4]
    kept, room = np.empty(size, np.bool_), np.empty(size)
    greatest_set(queue, size, now, margin, kept, room)
    for i in range(size):
        remaining = queue.remaining[i]
        product = remaining * (queue.isolated[i] * queue.correction[i]) ** power
        if not kept[i]:
            product *= sacrificed
        scores[i] = product * (1.0 if remaining <= spare * room[i] else disturbing)


def _parameters(
    sacrificed: float, disturbing: float, margin: float, spare: float, power: float
) -> dict[str, Parameter]:
    return {
        "sacrificed": Parameter(sacrificed, "weight of those given up", positive=True),
        "disturbing": Parameter(
            disturbing, "weight of those that would make others late", positive=True
        ),
        "margin": Parameter(margin, "what must be left at a deadline, in R"),
        "spare": Parameter(spare, "share of the spare time that may be used", low=0.0),
        "power": Parameter(power, "exponent of g I: 0 for mean time, 1 for mean slowdown"),
    }


MOORE_HODGSON = Policy(
    "moore-hodgson",
    score,
    level="sized/kalman",
    events=True,
    summary="shortest first among what keeps the greatest set of requests on time",
    parameters=_parameters(4.0, 1e9, 0.0, 1.0, 0.0),
    source="Moore, An n job, one machine sequencing algorithm for minimizing the number of late "
    "jobs, Management Science 15, 1968",
)
MOORE_HODGSON_TUNED = replace(
    MOORE_HODGSON,
    name="moore-hodgson-tuned",
    summary="as moore-hodgson, with five constants tuned on train inputs",
    # python -m benchmarks.tune moore-hodgson-tuned
    parameters=_parameters(2.65, 369_000.0, 0.514, 0.375, 0.798),
)
