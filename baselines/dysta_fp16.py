"""Dysta as its hardware computes it: every number rounded to half precision."""

import math
from dataclasses import replace

import numpy as np

from dysta_gym.baselines.dysta import DYSTA
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Parameter


@compiled(None, inline=True)
def rounded(x: float, significand: int, exponent: int) -> float:
    """``x`` to the nearest number of a binary floating-point format, ties to even (IEEE 754).

    Args:
        x: Any number below 2**900, infinity or NaN.
        significand: Bits of the significand, the hidden one included: 11 for half precision; at
            most 51.
        exponent: Bits of the exponent: 5 for half precision; at most 8. Numbers too small for it
            are subnormal, numbers too great become infinite.
    """
    greatest = (1 << (exponent - 1)) - 1  # exponent of the greatest numbers
    overflow = _power_of_two(greatest + 1)
    power = max((int(np.float64(x).view(np.int64)) >> 52 & 0x7FF) - 1022, 2 - greatest)
    # Adding and taking away a number this large leaves no bit below the last one of the format.
    # Its sign is that of x, so that the sum stays within one binade.
    large = math.copysign(1.5 * _power_of_two(52 + power - significand), x)
    nearest = (x + large) - large
    return math.copysign(math.inf, x) if abs(nearest) >= overflow else nearest


@compiled(None, inline=True)
def _power_of_two(power: int) -> float:
    """``2.0 ** power``, from -1022 to 1023, without a call, so that loops vectorise."""
    return float(np.int64(power + 1023 << 52).view(np.float64))


_GREATEST = float(np.finfo(np.float64).max)


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Dysta's score (see `dysta_gym.baselines.dysta`), rounded after every operation.

    The scheduler of Sparse-DySta computes in half precision (MICRO'23, Section 6). What it holds of
    a request, ``R`` without its correction, ``g``, ``S``, ``W`` and ``I``, is rounded first. A
    format too narrow for a time makes it zero or infinite: an infinite score runs after all others,
    and one that is no number (infinity times zero, zero over zero) after that.
    """
    bits, width = int(parameters[2]), int(parameters[3])
    beta = rounded(parameters[0], bits, width)
    per_unit = 1.0 / parameters[1]
    for i in range(size):
        correction = queue.correction[i] if queue.correction[i] > 0.0 else 1.0
        expected = rounded(queue.remaining[i] / correction * per_unit, bits, width)
        remaining = rounded(rounded(correction, bits, width) * expected, bits, width)
        slack = rounded((queue.deadline[i] - now) * per_unit, bits, width)
        slack = rounded(slack - remaining, bits, width)
        slack = slack if slack > 0.0 else 0.0
        waited = rounded((now - queue.last_run[i]) * per_unit, bits, width)
        isolated = rounded(queue.isolated[i] * per_unit, bits, width)
        waited = rounded(waited / rounded(isolated * queue.length, bits, width), bits, width)
        urgency = rounded(beta * rounded(slack + waited, bits, width), bits, width)
        total = rounded(remaining + urgency, bits, width)
        # No rule gives NaN; the greatest double is far above what any of the formats holds.
        scores[i] = total if total < math.inf else _GREATEST if total == math.inf else math.inf


DYSTA_FP16 = replace(
    DYSTA,
    name="dysta-fp16",
    score=score,
    drift=None,
    summary="as dysta, every number rounded to half precision, or a narrower one",
    parameters={
        **DYSTA.parameters,
        "significand": Parameter(11, "bits of the significand", low=2, high=51, whole=True),
        "exponent": Parameter(5, "bits of the exponent", low=2, high=8, whole=True),
    },
    source="Fan et al., Sparse-DySta, MICRO 2023, Section 6",
)
