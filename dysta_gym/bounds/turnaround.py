"""The least average normalised turnaround time."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.bounds.columns import columns
from dysta_gym.bounds.heap import pop, push
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import FLOATS_TYPE, INTS_TYPE, borrow


def antt_lower_bound(arrival_s: NDArray[np.float64], isolated_s: NDArray[np.float64]) -> float:
    """A lower bound on the ANTT of any schedule of these requests on one accelerator.

    The mean-busy-time relaxation of ``1 | r_j | sum w_j C_j`` (Goemans, Queyranne, Schulz,
    Skutella and Wang, Single machine scheduling with release dates, SIAM J. Discrete Math. 15,
    2002): in any schedule, preemptive or not, a job of length ``p`` completes no earlier than
    ``M + p / 2``, where ``M`` is the mean time at which it is being processed; and ``sum w M`` is
    least when the machine always works on the released job of greatest ``w / p``. ANTT weighs a job
    by ``w = 1 / p``, so that is the job of least isolated latency.

    Args:
        arrival_s: Arrivals in seconds, never decreasing, shape ``(requests,)``.
        isolated_s: True isolated latencies in seconds, above 0, same shape.

    Returns:
        The bound, a number without unit, at least 1.

    Raises:
        DystaError: If the columns are not as they should be.
    """
    return float(relaxation(*columns(arrival_s, isolated_s)))


@compiled(types.float64(types.float64, types.float64, types.float64, types.float64), inline=True)
def _moment(arrival: float, length: float, start: float, end: float) -> float:
    """Integral of the time since arrival from ``start`` to ``end``, in squared lengths."""
    return 0.5 * ((end - start) / length) * (((start - arrival) + (end - arrival)) / length)


@compiled(types.float64(FLOATS_TYPE, FLOATS_TYPE, FLOATS_TYPE, INTS_TYPE))
def _relaxation(
    arrival_s: NDArray[np.float64],
    isolated_s: NDArray[np.float64],
    left: NDArray[np.float64],
    waiting: NDArray[np.int64],
) -> float:
    """`relaxation`; ``left`` starts as ``isolated_s``, ``waiting`` is scratch of the same size."""
    isolated_s, waiting = borrow(isolated_s), borrow(waiting)
    total = arrival_s.size
    size = following = 0
    now = moment = 0.0
    while size > 0 or following < total:
        if size > 0:
            request = pop(isolated_s, waiting, size)
            size -= 1
        else:
            request = following
            now = max(now, arrival_s[request])
            following += 1
        # Moments are taken from each arrival: in times themselves, those of a long workload would
        # cancel.
        end = now + left[request]
        while following < total and arrival_s[following] < end:
            aside = following
            if isolated_s[following] < isolated_s[request]:
                until = arrival_s[following]
                moment += _moment(arrival_s[request], isolated_s[request], now, until)
                left[request] = end - until
                aside, request = request, following
                now, end = until, until + isolated_s[request]
            push(isolated_s, waiting, size, aside)
            size += 1
            following += 1
        moment += _moment(arrival_s[request], isolated_s[request], now, end)
        now = end
    return max(moment / total + 0.5, 1.0)  # which rounding may miss where no request waits


@compiled(types.float64(FLOATS_TYPE, FLOATS_TYPE))
def relaxation(arrival_s: NDArray[np.float64], isolated_s: NDArray[np.float64]) -> float:
    """`antt_lower_bound`, for compiled code."""
    # Two functions, for what is borrowed must be another's.
    return _relaxation(
        arrival_s, isolated_s, isolated_s.copy(), np.empty(isolated_s.size, np.int64)
    )
