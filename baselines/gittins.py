"""Gittins' index: the best that can be done for mean slowdown with sizes known in distribution."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.machine.rule import index_of
from dysta_gym.policies import Policy
from dysta_gym.uncertainty import gittins_index


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Greatest index."""
    for i in range(size):
        scores[i] = index_of(queue, i, parameters, 1)


GITTINS = Policy(
    "gittins",
    score,
    stable=True,
    level="sized/kalman",
    summary="greatest Gittins index for mean slowdown, from what the level knows of sizes",
    index=gittins_index,
    source="Gittins 1979; Aalto, Ayesta and Righter, On the Gittins index in the M/G/1 queue, "
    "Queueing Systems 63, 2009",
)
