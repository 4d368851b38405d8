"""Arrivals in bursts."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pydantic
from pydantic import Field

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.compiled.streams import WIDTH, Pool, absorbed, exponential, random, seeded
from dysta_gym.configs import GREATEST, Positive
from dysta_gym.workloads.arrivals.process import DRAWS_TYPE, Offer, Process


@compiled(DRAWS_TYPE)
def _draw(pool: Pool, numbers: Floats, arrival: Floats, trace: Ints, start: Floats) -> None:
    # A Poisson process of rate 1, run on a clock that goes as fast as the rate of the state.
    rate, share, rates, stays = numbers[0], numbers[1], numbers[2:4], numbers[4:6]
    stream, states = np.empty(WIDTH, np.uint64), np.empty(WIDTH, np.uint64)
    seeded(absorbed(pool, 0), stream)
    seeded(absorbed(pool, 1), states)
    state = 0 if random(states) < share else 1  # turned over before the first stay
    begin = end = 0.0  # of the stay
    before = after = work = 0.0  # the clock at its start, at its end, and at the request
    for request in range(arrival.size):
        work += exponential(stream)
        while after <= work:
            state = 1 - state
            stay = exponential(states) * stays[state]
            begin, end = end, end + stay
            before, after = after, after + stay * rates[state]
        time = (end - begin) / (after - before) * (work - before) + begin
        arrival[request] = time / rate


class MMPP(Process):
    """Poisson arrivals whose rate switches between two values, calm and burst, at random times.

    The two-state Markov-modulated Poisson process (Fischer and Meier-Hellstern, The
    Markov-modulated Poisson process cookbook, Performance Evaluation 18, 1993), in terms that do
    not depend on the rate. The calm rate follows from the others.

    Attributes:
        intensity: Rate within a burst over the mean rate, above 1.
        share: Share of the time spent in bursts, at most ``1 / intensity``.
        length: Mean number of requests in a burst, 1 or more.
    """

    process: Literal["mmpp"]
    intensity: float = Field(4.0, gt=1, le=GREATEST, strict=True)
    share: Positive = Field(0.1, lt=1)
    length: float = Field(50.0, ge=1, le=GREATEST, strict=True)

    draws = _draw

    @pydantic.model_validator(mode="after")
    def _calm_rate_is_not_negative(self) -> MMPP:
        if self.intensity * self.share > 1:
            raise ValueError(
                f"share: {self.share} is not allowed; it must be at most 1 / intensity, "
                f"{1 / self.intensity:g}, or bursts alone exceed the mean rate"
            )
        return self

    def numbers(self, offer: Offer) -> Floats:
        """The rate, the share, and, when calm and in a burst, the rate and mean stay at rate 1."""
        rates = [(1 - self.share * self.intensity) / (1 - self.share), self.intensity]
        calm, burst = (1 / self.share - 1) * self.length, self.length
        stays = [calm / self.intensity, burst / self.intensity]
        return np.array([offer.rate, self.share, *rates, *stays])
