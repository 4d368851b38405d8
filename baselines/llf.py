"""Least laxity first."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``S - R``: the time that a request can still wait and meet its deadline.

    ``now`` is the same for all, so ``deadline - R`` ranks alike, and stays while a request waits.
    """
    for i in range(size):
        scores[i] = queue.deadline[i] - queue.remaining[i]


LLF = Policy(
    "llf",
    score,
    stable=True,
    summary="least laxity S - R: least time to spare",
    source="Mok, Fundamental design problems of distributed systems, MIT 1983",
)
