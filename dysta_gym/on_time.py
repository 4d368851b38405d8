"""Which requests can all be on time, and how much time they can spare, for compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats
from dysta_gym.compiled.sorting import sort
from dysta_gym.machine.queue import Queue


@compiled(None, inline=True)
def greatest_set(
    queue: Queue, size: int, now: float, margin: float, kept: Any, room: Floats
) -> None:
    """The greatest set of requests that would all be on time if nobody else came.

    The queue is walked in order of deadline, ``R`` is added up, and where the sum passes a deadline
    (less ``margin R``), the longest so far is given up (Moore, An n job, one machine sequencing
    algorithm for minimizing the number of late jobs, Management Science 15, 1968; the walk is
    Hodgson's).

    Args:
        queue: The queue.
        size: How many of its requests count.
        now: The time.
        margin: What must be left at a deadline, in ``R``.
        kept: Where to say of each request whether it is in the set, shape ``(size,)``, bool.
        room: Where to write the least spare time, in seconds, of those in the set that are due
            before it, or if it is given up, of the whole set; infinite where there is none.
    """
    order = np.empty(size, np.int64)
    sort(queue.deadline[:size], order)
    end = now
    for place in range(size):
        i = order[place]
        due = queue.deadline[i] - margin * queue.remaining[i]
        kept[i] = now + queue.remaining[i] <= due
        if not kept[i]:
            continue
        end += queue.remaining[i]
        if end > due:
            longest = i
            for before in range(place):
                j = order[before]
                if kept[j] and queue.remaining[j] > queue.remaining[longest]:
                    longest = j
            kept[longest] = False
            end -= queue.remaining[longest]
    end, least = now, float("inf")
    for place in range(size):
        i = order[place]
        if kept[i]:
            room[i] = least
            end += queue.remaining[i]
            least = min(least, queue.deadline[i] - end)
    for i in range(size):
        if not kept[i]:
            room[i] = least
