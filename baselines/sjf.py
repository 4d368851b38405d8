"""Shortest job first, by remaining latency."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R``."""
    for i in range(size):
        scores[i] = queue.remaining[i]


SJF = Policy("sjf", score, stable=True, summary="least remaining latency R: shortest job first")
SJF_SPARSE = SJF.at("monitored")
