"""Earliest deadline first, among those that can still meet it."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least deadline where ``S >= R``; after all of those, least ``R`` where it is missed."""
    last = now
    for i in range(size):
        if queue.deadline[i] - now >= queue.remaining[i]:
            scores[i] = queue.deadline[i]
            last = max(last, scores[i])
        else:
            scores[i] = float("inf")
    for i in range(size):
        if scores[i] == float("inf"):
            scores[i] = last + queue.remaining[i]


EDF_TRIAGE = Policy(
    "edf-triage",
    score,
    level="sized/kalman",
    events=True,
    summary="earliest deadline that can still be met; the rest after them, the shortest first",
    source="Liu and Layland, J. ACM 1973, with the admission test of overloaded systems, as in "
    "Buttazzo and Stankovic, RED: robust earliest deadline scheduling, 1993",
)
