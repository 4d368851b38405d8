"""Periodic frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from pydantic import Field

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.compiled.streams import WIDTH, Pool, absorbed, random, seeded
from dysta_gym.configs import NotNegative
from dysta_gym.workloads.arrivals.process import DRAWS_TYPE, Offer, Process
from dysta_gym.workloads.workload import Columns


@compiled(DRAWS_TYPE)
def _draw(pool: Pool, numbers: Floats, arrival: Floats, trace: Ints, start: Floats) -> None:
    """The first frames of all streams together; of those at once, the first trace's first."""
    jitter, period = numbers[0], numbers[1:]
    traces = period.size
    stream = np.empty(WIDTH, np.uint64)
    late = np.empty((traces, WIDTH), np.uint64)
    phase, frame = np.empty(traces), np.empty(traces)
    begins, shows = np.empty(traces), np.empty(traces)  # the next frame of each stream
    seeded(pool, stream)
    for each in range(traces):
        seeded(absorbed(pool, each), late[each])
        phase[each] = random(stream)
        frame[each] = shows[each] = 0.0
    for request in range(-traces, arrival.size):  # before the first, each stream's first frame
        chosen = request + traces
        if request >= 0:
            chosen = 0
            for each in range(1, traces):
                chosen = each if shows[each] < shows[chosen] else chosen
            arrival[request], start[request] = shows[chosen], begins[chosen]
            trace[request] = chosen
        begin = phase[chosen] + frame[chosen]
        frame[chosen] += 1
        begins[chosen] = begin * period[chosen]
        shown = (begin + jitter * random(late[chosen])) * period[chosen]
        shows[chosen] = max(shows[chosen], shown)  # rounding must not let one overtake another


class Frames(Process):
    """Periodic frames, a stream a trace, each due when the next one of its stream starts.

    The weights of the scenario's traces are their frames a second, as in XRBench (Kwon et al.,
    MLSys 2023), and are scaled where the scenario's load or rate says so. Streams start at
    independent phases.

    Attributes:
        jitter: A frame arrives up to this share of its period late, uniformly; its deadline stays.
    """

    process: Literal["frames"]
    jitter: NotNegative = Field(0.0, lt=1)

    draws, periodic, paced = _draw, True, True

    def numbers(self, offer: Offer) -> Floats:
        """The jitter, and the period of each trace's stream."""
        return np.array([self.jitter, *offer.period])

    def own_rate(self, weights: Iterable[float], recorded: Columns) -> float:
        """Frames a second of all streams."""
        return float(sum(weights))
