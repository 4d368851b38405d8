"""First come, first served."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least arrival time."""
    for i in range(size):
        scores[i] = queue.arrival[i]


FCFS = Policy("fcfs", score, stable=True, summary="earliest arrival: first come, first served")
