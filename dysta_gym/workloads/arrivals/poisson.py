"""Independent arrivals."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.compiled.streams import WIDTH, Pool, exponential, seeded
from dysta_gym.workloads.arrivals.process import DRAWS_TYPE, Offer, Process


@compiled(DRAWS_TYPE)
def _draw(pool: Pool, numbers: Floats, arrival: Floats, trace: Ints, start: Floats) -> None:
    rate = numbers[0]
    stream = np.empty(WIDTH, np.uint64)
    seeded(pool, stream)
    time = 0.0
    for request in range(arrival.size):
        time += exponential(stream)
        arrival[request] = time / rate


class Poisson(Process):
    """Independent arrivals: exponential gaps of mean 1 / rate."""

    process: Literal["poisson"] = "poisson"

    draws = _draw

    def numbers(self, offer: Offer) -> Floats:
        """The rate."""
        return np.array([offer.rate])
