"""Shortest processing time product."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R * I``."""
    for i in range(size):
        scores[i] = queue.remaining[i] * queue.isolated[i]


SPTP = Policy(
    "sptp",
    score,
    stable=True,
    summary="least remaining x isolated latency R I: mean slowdown, not mean time",
    source="Hyytia, Aalto and Penttinen, Minimizing slowdown in heterogeneous size-aware "
    "dispatching systems, SIGMETRICS 2012",
)
