"""Earliest deadline first."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least deadline."""
    for i in range(size):
        scores[i] = queue.deadline[i]


EDF = Policy(
    "edf",
    score,
    stable=True,
    summary="earliest deadline, whatever it costs to meet it",
    source="Liu and Layland, Scheduling algorithms for multiprogramming, J. ACM 1973",
)
