"""What learned scores see of a queue: eight numbers a request, four of the whole queue.

All are ratios, so that one network serves milliseconds and seconds, phones and data centres. With
``R``, ``I``, ``g`` and ``S`` as in `dysta_gym.policies`, margin ``m = S - R``, relative slack
``s = m / (I g)``, ``unit`` the networks' mean isolated latency, and a request *on time* while
``m >= 0``:

======================= ===========================================================
of a request
======================= ===========================================================
``remaining``           ``ln(R / unit) / 2``
``size``                ``ln(I g / unit) / 2``
``late``                1 if ``m < 0``, else 0
``slack``               ``s / (1 + |s|)``: sharp around the deadline
``slack, wide``         ``s / (8 + |s|)``: tells far from farther
``ran last``            1 if one of its layers was the last to run, else 0
``slack over backlog``  ``m / (|m| + B)``: ``B`` is the work that is on time
``progress``            layers run over layers
======================= ===========================================================

======================= ===========================================================
of the queue
======================= ===========================================================
``backlog``             ``ln(1 + sum of R / unit) / 2``
``backlog on time``     ``ln(1 + B / unit) / 2``
``length``              ``ln(1 + requests) / 2``
``share on time``       requests on time over requests
======================= ===========================================================
"""

from __future__ import annotations

import math

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue

REQUEST_FEATURES = (
    "remaining",
    "size",
    "late",
    "slack",
    "slack, wide",
    "ran last",
    "slack over backlog",
    "progress",
)
QUEUE_FEATURES = ("backlog", "backlog on time", "length", "share on time")

F, C = len(REQUEST_FEATURES), len(QUEUE_FEATURES)

LEAST = 1e-3
"""Times, in units, count as no less where their logarithm is taken or something is divided by them;
the environment's observations end there, too."""


@compiled(None, inline=True)
def describe(
    queue: Queue, size: int, now: float, unit: float, requests: Floats, whole: Floats
) -> None:
    """Write the features of a queue.

    Args:
        queue: The queue.
        size: Its length.
        now: The time in seconds.
        unit: Mean isolated latency in seconds.
        requests: Where those of the requests go, one feature after the other, ``(F * size,)``.
        whole: Where those of the queue go, ``(C,)``.
    """
    backlog = on_time = 0.0
    count = 0
    for i in range(size):
        remaining = queue.remaining[i]
        makes_it = queue.deadline[i] - now >= remaining
        backlog += remaining
        on_time += remaining if makes_it else 0.0
        count += makes_it
    whole[0] = 0.5 * math.log(1.0 + backlog / unit)
    whole[1] = 0.5 * math.log(1.0 + on_time / unit)
    whole[2] = 0.5 * math.log(1.0 + size)
    whole[3] = count / size
    # A loop for what the processor has no vectors for, and one for the rest.
    for i in range(size):
        requests[i] = 0.5 * math.log(max(queue.remaining[i] / unit, LEAST))
        whole_request = queue.isolated[i] * queue.correction[i]
        requests[size + i] = 0.5 * math.log(max(whole_request / unit, LEAST))
    for i in range(size):
        margin = (queue.deadline[i] - now) - queue.remaining[i]
        slack = margin / max(queue.isolated[i] * queue.correction[i], LEAST * unit)
        requests[2 * size + i] = 1.0 if margin < 0.0 else 0.0
        requests[3 * size + i] = slack / (1.0 + abs(slack))
        requests[4 * size + i] = slack / (8.0 + abs(slack))
        ran = (queue.executed[i] > 0) & (queue.last_run[i] == now)
        requests[5 * size + i] = 1.0 if ran else 0.0
        requests[6 * size + i] = margin / max(abs(margin) + on_time, LEAST * unit)
        requests[7 * size + i] = queue.executed[i] / queue.layers[i]
