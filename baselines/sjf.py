"""Shortest job first, by remaining latency."""

from dysta_gym.policies import Policy


def score(queue, size, now, parameters, scores):
    """Least ``R``."""
    for i in range(size):
        scores[i] = queue.remaining[i]


SJF = Policy("sjf", score, summary="least remaining latency R: shortest job first")
SJF_SPARSE = SJF.at("monitored")
