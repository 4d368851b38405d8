"""Shortest job first, by remaining latency."""

from dysta_gym.policies import Policy
from dysta_gym.records import Floats
from dysta_gym.simulator import Queue


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R``."""
    for i in range(size):
        scores[i] = queue.remaining[i]


SJF = Policy("sjf", score, stable=True, summary="least remaining latency R: shortest job first")
SJF_SPARSE = SJF.at("monitored")
