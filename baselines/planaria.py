"""Planaria's score for one shared accelerator."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Greatest ``priority / S``.

    An overdue request keeps the formula and so ranks low. At ``S = 0`` the division gives infinity,
    the limit from above.
    """
    for i in range(size):
        slack = queue.deadline[i] - now
        scores[i] = -queue.priority[i] / slack if slack != 0.0 else -float("inf")


PLANARIA = Policy(
    "planaria",
    score,
    summary="greatest priority / S: priority by time to the deadline",
    source="Ghodrati et al., Planaria, MICRO 2020, as compared in Sparse-DySta, MICRO 2023",
)
