"""Periodic frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.compiled.streams import WIDTH, Pool, absorbed, random, seeded
from dysta_gym.configs import NotNegative, Positive
from dysta_gym.workloads.arrivals.process import DRAWS_TYPE, Offer, Process
from dysta_gym.workloads.workload import Columns

_EARLY = 1e-6
"""A frame waits for no tick where one was so little before it, in ticks: that is rounding."""


@compiled(DRAWS_TYPE)
def _draw(pool: Pool, numbers: Floats, arrival: Floats, trace: Ints, start: Floats) -> None:
    """The first frames of all streams together; of those at once, the first trace's first."""
    sensor, traces = numbers[0], (numbers.size - 1) // 4
    rate, jitter, unit, period = numbers[1:].reshape(4, traces)
    stream = np.empty(WIDTH, np.uint64)
    late = np.empty((traces, WIDTH), np.uint64)
    phase, frame = np.empty(traces), np.empty(traces)
    begins, shows = np.empty(traces), np.empty(traces)  # the next frame of each stream
    seeded(pool, stream)
    for each in range(traces):
        seeded(absorbed(pool, each), late[each])
        phase[each] = 0.0 if sensor else random(stream)
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
        place = begin  # in units; in ticks, so that those of one are at one time to the last bit
        if sensor:
            place = np.ceil(frame[chosen] * sensor / rate[chosen] - _EARLY)
        shown = (place + jitter[chosen] * random(late[chosen])) * unit[chosen]
        frame[chosen] += 1
        begins[chosen] = begin * period[chosen]
        shows[chosen] = max(shows[chosen], shown)  # rounding must not let one overtake another


class Frames(Process):
    """Periodic frames, a stream a trace, each due when the next one of its stream starts.

    The weights of the scenario's traces are their frames a second, as in XRBench (Kwon et al.,
    MLSys 2023), and all times are scaled alike where the scenario's load or rate says so.

    Attributes:
        jitter: A frame arrives up to this share of its period late, uniformly; its deadline
            stays. Either this ...
        jitter_s: ... or up to so many seconds, less than the shortest time between two frames.
        sensor_rate: Pictures a second of the sensor that all streams take their frames from. They
            start together, and a frame is the first picture that is not earlier than its start.
            None for streams at independent phases, each with a sensor of its own.
    """

    process: Literal["frames"]
    jitter: NotNegative = Field(0.0, lt=1)
    jitter_s: NotNegative = 0.0
    sensor_rate: Positive | None = None

    draws, periodic, paced = _draw, True, True

    @model_validator(mode="after")
    def _one_jitter(self) -> Frames:
        if self.jitter and self.jitter_s:
            raise ValueError("jitter, jitter_s: both are given; give one of the two")
        return self

    def fits(self, weights: Mapping[str, float]) -> None:
        """Refuse a sensor that is slower than a stream, and a jitter of a whole frame."""
        fastest = max(weights, key=lambda name: weights[name])
        highest = self.sensor_rate or weights[fastest]
        if highest < weights[fastest]:
            raise ValueError(
                f"arrivals.sensor_rate: {self.sensor_rate:g} is not allowed; it must be at least "
                f"the {weights[fastest]:g} frames a second of {fastest!r}"
            )
        if self.jitter_s * highest >= 1:
            raise ValueError(
                f"arrivals.jitter_s: {self.jitter_s:g} is not allowed; it must be less than "
                f"{1 / highest:g}, the time between two frames"
            )

    def numbers(self, offer: Offer) -> Floats:
        """The sensor's rate or 0; each trace's own rate, jitter, unit and period.

        A unit is what arrivals and jitter are counted in: the sensor's tick, or the stream's
        period. It is as much longer or shorter as the load or rate stretches time, and the jitter
        with it.
        """
        weights, sensor = offer.weights, self.sensor_rate or 0.0
        own = np.full_like(weights, sensor) if sensor else weights  # units a second
        jitter = self.jitter_s * own if self.jitter_s else self.jitter * (own / weights)
        tick = weights.sum() / offer.rate / own
        unit = tick if sensor else offer.period
        return np.concatenate([[sensor], weights, jitter, unit, offer.period])

    def own_rate(self, weights: Iterable[float], recorded: Columns) -> float:
        """Frames a second of all streams."""
        return float(sum(weights))
