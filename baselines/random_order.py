"""A request at random."""

import numpy as np

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Parameter, Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """A hash of seed, request and time, uniform in [0, 1): the same schedule for the same seed.

    The mixing steps are those of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    seed = np.uint64(parameters[0]) * np.uint64(0x9E3779B97F4A7C15)
    tick = np.uint64(now * 1e9) * np.uint64(0xD1342543DE82EF95)
    for i in range(size):
        mixed = seed ^ tick ^ (np.uint64(queue.request[i]) * np.uint64(0xBF58476D1CE4E5B9))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
        scores[i] = np.float64(mixed >> np.uint64(11)) * 2.0**-53


RANDOM = Policy(
    "random",
    score,
    summary="any request, with equal chance",
    parameters={"seed": Parameter(0.0, "seed of the draws, a whole number", low=0.0, whole=True)},
)
