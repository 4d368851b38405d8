"""What is to be seen of an environment at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.envs.episode import Episode
from dysta_gym.machine.queue import ARRIVED, DECISIONS, FINISHED, SIZE
from dysta_gym.timeline.segments import Runs, runs_of, segments
from dysta_gym.traces import TraceStore

ROWS = 12
"""Requests of the queue that are shown."""

_STRETCH = 20
"""Mean isolated latencies that the strip of the last stretch shows."""


class Waiting(NamedTuple):
    """A request of the queue.

    Attributes:
        request: Its index in the workload.
        model: Its network, an index into the store's.
        priority: Its priority.
        executed: Layers that have run.
        layers: Layers that it has.
        due_s: Time to its deadline in seconds.
        slack_s: That, less the latency of its remaining layers as the level knows it.
        ran: Whether it ran last.
    """

    request: int
    model: int
    priority: float
    executed: int
    layers: int
    due_s: float
    slack_s: float
    ran: bool


class Layer(NamedTuple):
    """The layer that ran last.

    Attributes:
        request: Whose it was.
        model: Its network, an index into the store's.
        layer: Which of the layers.
        layers: How many that network has.
        name: What it is called.
        latency_s: What it took, in seconds.
        sparsity: How sparse it was, as the monitor has seen.
    """

    request: int
    model: int
    layer: int
    layers: int
    name: str
    latency_s: float
    sparsity: float


class Scene(NamedTuple):
    """What is to be seen of an environment at a time.

    Attributes:
        models: Names of the networks.
        level: Level of information.
        now_s: The time in seconds.
        unit_s: Mean isolated latency of the networks.
        size: Requests in the queue.
        finished: Requests that are finished.
        total: Requests of the episode.
        late: Deadlines that have been missed.
        queue: The first requests of the queue, in order of arrival.
        last: The layer that ran last, None if none has.
        since_s: Where the last stretch starts.
        runs: Who has run since.
        ran: The networks of these, indices into the store's.
        missed_s: When deadlines have been missed since.
    """

    models: tuple[str, ...]
    level: str
    now_s: float
    unit_s: float
    size: int
    finished: int
    total: int
    late: int
    queue: tuple[Waiting, ...]
    last: Layer | None
    since_s: float
    runs: Runs
    ran: Ints
    missed_s: Floats


def scene_of(episode: Episode, store: TraceStore, level: str) -> Scene:
    """What is to be seen of an environment, who ran when being recorded."""
    jobs, state, queue, ledger = episode.jobs, episode.state, episode.queue, episode.ledger
    now = float(state.clock[0])
    decisions = int(state.counters[DECISIONS])
    ran, began = state.ran[:decisions], state.started[:decisions]
    since = now - _STRETCH * episode.terms.unit_s
    first = max(int(np.searchsorted(began, since)) - 1, 0)
    layers = segments(ran, began, jobs.first_cell, store.latency_s, first)
    runs = runs_of(layers)
    last = None
    if decisions:
        request = int(layers.request[-1])
        layer = int(layers.layer[-1])
        cell = int(jobs.first_cell[request]) + layer
        trace = int(np.searchsorted(store.first_cell, cell, side="right")) - 1
        row, at = divmod(cell - int(store.first_cell[trace]), int(store.layers[trace]))
        last = Layer(
            request=request,
            model=int(ledger.model[request]),
            layer=layer,
            layers=int(store.layers[trace]),
            name=store.traces[trace].layer_names[at],
            latency_s=float(store.latency_s[cell]),
            sparsity=float(store.traces[trace].sparsity[row, at]),
        )
    missed = (jobs.deadline < now) & ~(state.finish <= jobs.deadline)  # NaN: still unfinished
    missed[state.counters[ARRIVED] :] &= jobs.arrival[state.counters[ARRIVED] :] <= now
    size = int(state.counters[SIZE])
    shown = []
    for slot in range(min(size, ROWS)):
        request = int(queue.request[slot])
        due = float(queue.deadline[slot]) - now
        shown.append(
            Waiting(
                request=request,
                model=int(ledger.model[request]),
                priority=float(queue.priority[slot]),
                executed=int(queue.executed[slot]),
                layers=int(queue.layers[slot]),
                due_s=due,
                slack_s=due - float(queue.remaining[slot]),
                ran=last is not None and request == last.request,
            )
        )
    passed = np.maximum(jobs.deadline, jobs.arrival)[missed]
    return Scene(
        models=store.models,
        level=level,
        now_s=now,
        unit_s=episode.terms.unit_s,
        size=size,
        finished=int(state.counters[FINISHED]),
        total=len(jobs.arrival),
        late=int(missed.sum()),
        queue=tuple(shown),
        last=last,
        since_s=since,
        runs=runs,
        ran=ledger.model[runs.request],
        missed_s=passed[passed >= since],
    )


def scale_of(unit_s: float) -> tuple[float, str]:
    """What seconds are multiplied by to be read beside a mean isolated latency, and the unit."""
    for least, scale, unit in ((1.0, 1.0, "s"), (1e-3, 1e3, "ms")):
        if unit_s >= least:
            return scale, unit
    return 1e6, "us"
