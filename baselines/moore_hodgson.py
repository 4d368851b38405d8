"""Moore and Hodgson's set of requests that can all be on time, served the shortest first."""

from dataclasses import replace

import numpy as np

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Parameter, Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R (g I)^power`` among what keeps the set on time; the sacrificed weigh more.

    The set is that of Moore and Hodgson: the queue is walked in order of deadline, ``R`` is added
    up, and where the sum passes a deadline (less ``margin R``), the longest so far is sacrificed;
    what remains would all be on time if nobody else came. Running a request out of turn delays
    those of the set that are due before it, or all of the set if it is sacrificed itself: if its
    ``R`` is more than ``spare`` of their least spare time, it weighs ``disturbing`` times as much.
    """
    sacrificed, disturbing = parameters[0], parameters[1]
    margin, spare, power = parameters[2], parameters[3], parameters[4]
    order = np.argsort(queue.deadline[:size], kind="mergesort")
    kept = np.zeros(size, np.bool_)
    end = now
    for place in range(size):
        i = order[place]
        due = queue.deadline[i] - margin * queue.remaining[i]
        if now + queue.remaining[i] > due:
            continue
        kept[i] = True
        end += queue.remaining[i]
        if end > due:
            longest = i
            for before in range(place):
                j = order[before]
                if kept[j] and queue.remaining[j] > queue.remaining[longest]:
                    longest = j
            kept[longest] = False
            end -= queue.remaining[longest]
    room = float("inf")
    end = now
    for place in range(size):
        i = order[place]
        remaining = queue.remaining[i]
        if kept[i]:
            size_of = (queue.isolated[i] * queue.correction[i]) ** power
            in_turn = remaining <= spare * room
            scores[i] = remaining * size_of * (1.0 if in_turn else disturbing)
            end += remaining
            room = min(room, queue.deadline[i] - end)
    for i in range(size):
        if not kept[i]:
            remaining = queue.remaining[i]
            size_of = (queue.isolated[i] * queue.correction[i]) ** power
            in_turn = remaining <= spare * room
            scores[i] = remaining * size_of * sacrificed * (1.0 if in_turn else disturbing)


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
