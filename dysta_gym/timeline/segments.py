"""Who ran which layer from when to when.

Pictures, text and files of a schedule are all made from this. Times are in seconds since
`Workload.origin_s`.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.errors import DystaError
from dysta_gym.machine.machine import Schedule
from dysta_gym.traces import cell_of
from dysta_gym.workloads import Workload


class Segments(NamedTuple):
    """Layers in the order in which they ran, each shape ``(layers,)``.

    Attributes:
        request: Request that ran.
        layer: Which of its layers.
        start_s: When that started ...
        end_s: ... and ended.
    """

    request: Ints
    layer: Ints
    start_s: Floats
    end_s: Floats


class Runs(NamedTuple):
    """Layers of one request that ran one after the other, with none of another between them.

    Attributes:
        request: Request that ran, shape ``(runs,)``, as all that follow.
        layer: The first of its layers.
        layers: How many there were.
        start_s: When the first started.
        end_s: When the last ended; in between, decisions may have taken time.
    """

    request: Ints
    layer: Ints
    layers: Ints
    start_s: Floats
    end_s: Floats


def segments(
    ran: Ints, began_s: Floats, first_cell: Ints, latency_s: Floats, first: int = 0
) -> Segments:
    """The layers that ran, from the ``first`` decision on.

    Args:
        ran: Request that ran in each decision, shape ``(decisions,)``.
        began_s: When its layer started, same shape.
        first_cell: Cell of each request's first layer in the store, shape ``(requests,)``.
        latency_s: Latency of each cell of the store.
        first: The decision.
    """
    before = np.bincount(ran[:first], minlength=len(first_cell))
    request, start_s = ran[first:], began_s[first:]
    order = np.argsort(request, kind="stable")
    ordered = request[order]
    at = np.arange(len(request))
    new = np.flatnonzero(np.diff(ordered, prepend=-1))
    layer = np.empty_like(request)
    layer[order] = at - np.repeat(new, np.diff(new, append=len(request))) + before[ordered]
    return Segments(request, layer, start_s, start_s + latency_s[first_cell[request] + layer])


def segments_of(schedule: Schedule) -> Segments:
    """The layers of a schedule.

    Raises:
        DystaError: If who ran when has not been recorded.
    """
    if schedule.decisions and not schedule.ran.size:
        raise DystaError(
            "schedule: who ran when has not been recorded; it must come from "
            "simulate(..., record=True)"
        )
    workload = schedule.workload
    return segments(schedule.ran, schedule.began_s, first_cells(workload), workload.store.latency_s)


def first_cells(workload: Workload) -> Ints:
    """Cell of each request's first layer in the store, shape ``(requests,)``."""
    store, trace = workload.store, workload.trace
    cells: Ints = cell_of(store.first_cell[trace], workload.row, store.layers[trace])
    return cells


def runs_of(layers: Segments) -> Runs:
    """Layers that ran one after the other, taken together."""
    first = np.flatnonzero(np.diff(layers.request, prepend=-1))
    count = np.diff(first, append=len(layers.request))
    return Runs(
        request=layers.request[first],
        layer=layers.layer[first],
        layers=count,
        start_s=layers.start_s[first],
        end_s=layers.end_s[first + count - 1],
    )


def lanes(arrival_s: Floats, finish_s: Floats) -> Ints:
    """A lane for each request, which it has to itself from its arrival to its finish.

    Each gets the lowest that is free, so that as many are taken as there are requests waiting or
    running.

    Args:
        arrival_s: When each arrives, never decreasing, shape ``(requests,)``.
        finish_s: When each is finished, same shape.
    """
    lane = np.zeros(len(arrival_s), np.int64)
    free: list[int] = []
    taken: list[tuple[float, int]] = []
    used = 0
    for request, (arrival, finish) in enumerate(zip(arrival_s, finish_s, strict=True)):
        while taken and taken[0][0] <= arrival:
            heappush(free, heappop(taken)[1])
        if not free:
            heappush(free, used)
            used += 1
        lane[request] = heappop(free)
        heappush(taken, (float(finish), int(lane[request])))
    return lane


def late(schedule: Schedule) -> NDArray[np.bool_]:
    """Which requests of a finished schedule have missed their deadlines, ``(requests,)``."""
    missed: NDArray[np.bool_] = schedule.elapsed_s > schedule.workload.moments.deadline
    return missed
