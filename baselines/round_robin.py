"""Round robin, a layer at a time."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``last_run``: who has waited longest since a layer of theirs ran, or since arrival."""
    for i in range(size):
        scores[i] = queue.last_run[i]


ROUND_ROBIN = Policy(
    "round_robin",
    score,
    stable=True,
    summary="longest wait since its last layer: everyone in turn, a layer each",
)
