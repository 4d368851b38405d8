"""What no schedule can beat."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray


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
    """
    total = len(arrival_s)
    arrival, length = arrival_s.tolist(), isolated_s.tolist()
    left = list(length)
    # Integral over the time in which each request is processed, of the time since its arrival:
    # late in a long workload the times themselves would cancel.
    moment = [0.0] * total
    waiting: list[tuple[float, int]] = []
    now, following = 0.0, 0
    while waiting or following < total:
        if not waiting:
            now = max(now, arrival[following])
        while following < total and arrival[following] <= now:
            heapq.heappush(waiting, (length[following], following))
            following += 1
        _, request = waiting[0]
        until = now + left[request]
        if following < total and arrival[following] < until:
            until = arrival[following]
            left[request] -= until - now
        else:
            heapq.heappop(waiting)
        age = (now - arrival[request]) + (until - arrival[request])
        moment[request] += 0.5 * (until - now) * age
        now = until
    mean_busy = np.array(moment) / isolated_s
    bound = float(np.mean((mean_busy + isolated_s / 2) / isolated_s))
    return max(bound, 1.0)  # which rounding may miss where no request waits
