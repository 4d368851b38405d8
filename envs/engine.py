"""What a step does, compiled once for a single environment and for any number of them.

An `Episode` holds one environment's machine and what its rewards are counted with, an `Outcome`
what comes of the steps of any number of them. Compiled code reads both from memory, by address (see
`dysta_gym.compiled.records`), so that a call hands over no columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats, Ints, blank, reader
from dysta_gym.machine.machine import Machine
from dysta_gym.machine.queue import (
    ARRIVED,
    FINISHED,
    RUNNING,
    SIZE,
    Jobs,
    Queue,
    State,
    Tables,
    admit,
    close_gap,
    eventless,
    execute,
)
from dysta_gym.traces import TraceStore

REQUEST_FEATURES = (
    "present",
    "remaining",
    "isolated",
    "priority",
    "progress",
    "correction",
    "next layer",
    "ran last",
    "slack",
    "time to deadline",
    "waited",
    "age",
)
"""What is observed of each slot, in this order; from the slack on, it changes with time."""

SYSTEM_FEATURES = ("queue", "behind", "overdue", "late", "backlog", "finished")
"""What is observed of the whole system, after all slots."""

DECADES, OCTAVES = 3, 4
"""Powers of ten of the unit, and of two of the correction, that a feature of 1 stands for."""

WIDTH = len(REQUEST_FEATURES)
_KEPT = WIDTH - 4
"""Features that change only when the request runs; these are kept ready, a row a request."""

_PRIORITY, _RAN_LAST = REQUEST_FEATURES.index("priority"), REQUEST_FEATURES.index("ran last")

Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]

REWARDS = ("objective", "turnaround", "violations", "final")
"""Names of the reward functions."""

DECISIONS = ("layers", "events")
"""When an action is asked for: after every layer, or only at events."""

_TURNAROUND, _VIOLATIONS, _FINAL = (
    REWARDS.index(name) for name in ("turnaround", "violations", "final")
)


class Ledger(NamedTuple):
    """What the rewards are counted with.

    Attributes:
        isolated: True isolated latency of each request in seconds, shape ``(requests,)``.
        model: Index of its model in the store, same shape.
        share: What a second in the system costs of ANTT, for each request, same shape.
        by_deadline: The requests in order of their deadlines, same shape.
        counts: Indexed by `PASSED` (deadlines that have passed) and `ENTERED` (requests that have
            arrived, in the queue or outside it).
        sums: Indexed by `RATE` (sum of the shares of the unfinished ones of these), `RETURN`
            (rewards so far) and `PRIORITY_SCALE` (1 / greatest priority).
    """

    isolated: Floats
    model: Ints
    share: Floats
    by_deadline: Ints
    counts: Ints
    sums: Floats


PASSED, ENTERED = range(2)
RATE, RETURN, PRIORITY_SCALE = range(3)


class Rules(NamedTuple):
    """What an environment is told, and knows of all requests.

    Attributes:
        tables: What the level of information knows.
        features: The kept features of every cell of the store, one after the other.
        slots: Requests that can be chosen from.
        unit_s: Mean isolated latency of the traces.
        penalty: ANTT that a violation rate of 1 weighs, shape ``(1,)``; it may change.
        reward: Index into `REWARDS`.
        decisions: Index into `DECISIONS`.
    """

    tables: Tables
    features: Singles
    slots: int
    unit_s: float
    penalty: Floats
    reward: int
    decisions: int


class Episode(NamedTuple):
    """One environment: its machine and its ledger.

    Attributes:
        rules: What it is told.
        jobs: See `dysta_gym.machine.queue`, as for the next two.
        state: The machine's state.
        queue: The machine's queue.
        rows: The kept features of each request of the queue, one after the other.
        ledger: What the rewards are counted with.
    """

    rules: Rules
    jobs: Jobs
    state: State
    queue: Queue
    rows: Singles
    ledger: Ledger


class Outcome(NamedTuple):
    """Where the outcome of a step of each environment goes.

    Attributes:
        observations: Shape ``(environments, features)``.
        masks: Which slots are taken, shape ``(environments, slots)``.
        rewards: Shape ``(environments,)``, as all that follow.
        terminated: Whether the episode has ended.
        invalid: Whether the action was an empty slot.
        time_s: The time in seconds.
        queue_size: Requests in the queue.
        filled: Slots that hold something in ``observations`` and ``masks``.
    """

    observations: NDArray[np.float32]
    masks: NDArray[np.bool_]
    rewards: Floats
    terminated: Bools
    invalid: Bools
    time_s: Floats
    queue_size: Ints
    filled: Ints


def kept_features(store: TraceStore, tables: Tables, unit_s: float) -> Singles:
    """The kept features of a request about to run each cell, ``(cells * kept,)``."""
    first = np.concatenate(
        [
            start + np.repeat(np.arange(inputs) * layers, layers)
            for start, layers, inputs in zip(
                store.first_cell, store.layers, (len(t.train) for t in store.traces), strict=True
            )
        ]
    )
    cells = np.arange(len(first))
    layers = np.concatenate([np.full(t.latency_s.size, t.latency_s.shape[1]) for t in store.traces])
    tiny = 1e-30
    columns = {
        "present": np.ones(len(cells)),
        "remaining": np.log10(np.maximum(tiny, tables.remaining / unit_s)) / DECADES,
        "isolated": np.log10(np.maximum(tiny, tables.remaining[first] / unit_s)) / DECADES,
        "progress": (cells - first) / layers,
        "correction": np.log2(np.maximum(tiny, tables.correction)) / OCTAVES,
        "next layer": np.maximum(0, tables.next_layer / np.maximum(tiny, tables.remaining)),
    }
    table = np.zeros((len(cells), _KEPT), np.float32)
    for name, values in columns.items():
        table[:, REQUEST_FEATURES.index(name)] = np.clip(values, -1, 1)
    return table.ravel()


@compiled(None, inline=True)
def _keep(episode: Episode, slot: int) -> None:
    """Bring the kept features of the request in a slot up to date."""
    rules = episode.rules
    request = episode.queue.request[slot]
    cell = episode.jobs.first_cell[request] + episode.queue.executed[slot]
    to, at = slot * _KEPT, cell * _KEPT
    for feature in range(_KEPT):
        episode.rows[to + feature] = rules.features[at + feature]
    scale = episode.ledger.sums[PRIORITY_SCALE]
    episode.rows[to + _PRIORITY] = episode.queue.priority[slot] * scale


@compiled(None, inline=True)
def _sort(keys: Floats, order: Ints) -> None:
    """Let ``order`` be the indices of ``keys``, least key first: a merge sort, bottom up."""
    # That of Numba takes seconds to compile.
    size = keys.size
    merged = np.empty_like(order)
    for i in range(size):
        order[i] = i
    width = 1
    while width < size:
        for first in range(0, size, 2 * width):
            middle, last = min(first + width, size), min(first + 2 * width, size)
            left, right = first, middle
            for i in range(first, last):
                if right == last or (left < middle and keys[order[left]] <= keys[order[right]]):
                    merged[i] = order[left]
                    left += 1
                else:
                    merged[i] = order[right]
                    right += 1
        for i in range(size):
            order[i] = merged[i]
        width *= 2


@compiled(None, inline=True)
def _begin(episode: Episode) -> None:
    """Start the episode of ``jobs``, ``isolated`` and ``model``; all else is set from them."""
    rules, jobs, state, ledger = episode.rules, episode.jobs, episode.state, episode.ledger
    total = jobs.arrival.size
    state.clock[0] = 0.0
    for counter in range(state.counters.size):
        state.counters[counter] = 0
    state.counters[RUNNING] = -1
    greatest = 0.0
    for request in range(total):
        state.finish[request] = np.nan
        ledger.share[request] = 1.0 / (ledger.isolated[request] * total)
        greatest = max(greatest, jobs.priority[request])
    _sort(jobs.deadline, ledger.by_deadline)
    ledger.counts[PASSED] = ledger.counts[ENTERED] = 0
    ledger.sums[RATE] = ledger.sums[RETURN] = 0.0
    ledger.sums[PRIORITY_SCALE] = 1.0 / greatest
    admit(jobs, rules.tables, state, episode.queue)
    _enter(jobs, state, ledger, state.clock[0])
    for slot in range(state.counters[SIZE]):
        _keep(episode, slot)


@compiled(None, inline=True)
def _enter(jobs: Jobs, state: State, ledger: Ledger, end: float) -> float:
    """Count the requests that have arrived; what ANTT has accrued for them up to ``end``."""
    turnaround = 0.0
    entered = ledger.counts[ENTERED]
    while entered < jobs.arrival.size and jobs.arrival[entered] <= state.clock[0]:
        turnaround += max(0.0, end - jobs.arrival[entered]) * ledger.share[entered]
        ledger.sums[RATE] += ledger.share[entered]
        entered += 1
    ledger.counts[ENTERED] = entered
    return turnaround


@compiled(None, inline=True)
def _advance(episode: Episode, slot: int) -> tuple[float, float]:
    """Run one layer; the ANTT and the violation rate that accrue until it ends."""
    rules, jobs, state = episode.rules, episode.jobs, episode.state
    queue, ledger = episode.queue, episode.ledger
    request = queue.request[slot]
    start = state.clock[0]
    finished = execute(jobs, rules.tables, state, queue, slot)
    end = state.clock[0]
    size = state.counters[SIZE]
    if finished:
        close_gap(episode.rows, slot * _KEPT, (size + 1) * _KEPT, _KEPT)
    else:
        _keep(episode, slot)
    admit(jobs, rules.tables, state, queue)
    for entered in range(size, state.counters[SIZE]):
        _keep(episode, entered)
    turnaround = (end - start) * ledger.sums[RATE] + _enter(jobs, state, ledger, end)
    if finished:
        ledger.sums[RATE] -= ledger.share[request]
        if state.counters[SIZE] == 0:
            ledger.sums[RATE] = 0.0
    violations = 0
    passed = ledger.counts[PASSED]
    while passed < jobs.deadline.size and jobs.deadline[ledger.by_deadline[passed]] < end:
        due = ledger.by_deadline[passed]
        if not state.finish[due] <= jobs.deadline[due]:  # NaN: still unfinished
            violations += 1
        passed += 1
    ledger.counts[PASSED] = passed
    return turnaround, violations / jobs.deadline.size


@compiled(None, inline=True)
def _reward(episode: Episode, turnaround: float, violations: float) -> float:
    rules = episode.rules
    reward = 0.0
    if rules.reward != _VIOLATIONS:
        reward -= turnaround
    if rules.reward != _TURNAROUND:
        reward -= rules.penalty[0] * violations
    episode.ledger.sums[RETURN] += reward
    if rules.reward == _FINAL:
        ended = episode.state.counters[SIZE] == 0
        return float(episode.ledger.sums[RETURN]) if ended else 0.0
    return reward


@compiled(None, inline=True)
def _soft(x: float) -> float:
    return x / (1.0 + abs(x))


@compiled(None, inline=True)
def _logarithm(x: float) -> float:
    return min(1.0, np.log10(1.0 + x) / 4.0)


@compiled(None, inline=True)
def _observe(episode: Episode, ran: int, out: Singles, filled: int) -> int:
    """Write the observation.

    Args:
        episode: What is observed.
        ran: The slot whose layer was the last one to run, or -1.
        out: Where to, of which the first ``filled`` slots hold something.
        filled: See ``out``.

    Returns:
        The slots that hold something now.
    """
    rules, queue, state, rows = episode.rules, episode.queue, episode.state, episode.rows
    now, size, slots = state.clock[0], state.counters[SIZE], rules.slots
    taken = min(size, slots)
    overdue = late = 0
    backlog = 0.0
    for i in range(taken):
        remaining, isolated = queue.remaining[i], queue.isolated[i]
        slack = queue.deadline[i] - now
        backlog += remaining
        overdue += slack < 0.0
        late += slack < remaining
        at, row = i * WIDTH, i * _KEPT
        a, b, c, d = rows[row], rows[row + 1], rows[row + 2], rows[row + 3]
        e, f, g, h = rows[row + 4], rows[row + 5], rows[row + 6], rows[row + 7]
        out[at], out[at + 1], out[at + 2], out[at + 3] = a, b, c, d
        out[at + 4], out[at + 5], out[at + 6], out[at + 7] = e, f, g, h
        out[at + 8] = _soft((slack - remaining) / isolated)
        out[at + 9] = _soft(slack / isolated)
        out[at + 10] = _soft((now - queue.last_run[i]) / isolated)
        out[at + 11] = _soft((now - queue.arrival[i]) / isolated)
    for i in range(taken, size):
        slack = queue.deadline[i] - now
        backlog += queue.remaining[i]
        overdue += slack < 0.0
        late += slack < queue.remaining[i]
    for entry in range(taken * WIDTH, filled * WIDTH):
        out[entry] = 0.0
    if 0 <= ran < taken:
        out[ran * WIDTH + _RAN_LAST] = 1.0
    unfinished = episode.ledger.counts[ENTERED] - state.counters[FINISHED]
    at = slots * WIDTH
    out[at] = _logarithm(size)
    out[at + 1] = _logarithm(max(0, unfinished - slots))
    out[at + 2] = overdue / max(1, size)
    out[at + 3] = late / max(1, size)
    out[at + 4] = _logarithm(backlog / rules.unit_s)
    out[at + 5] = state.counters[FINISHED] / state.finish.size
    return taken


def new_episode(
    rules: Rules, jobs: Jobs, state: State, queue: Queue, isolated: Floats, model: Ints
) -> Episode:
    """An episode of these requests, to be begun."""
    requests = len(jobs.arrival)
    ledger = Ledger(
        isolated=isolated,
        model=model,
        share=np.zeros(requests),
        by_deadline=np.zeros(requests, np.int64),
        counts=np.zeros(2, np.int64),
        sums=np.zeros(3),
    )
    return Episode(rules, jobs, state, queue, np.zeros(requests * _KEPT, np.float32), ledger)


def episode_of(machine: Machine, rules: Rules) -> Episode:
    """An episode on a machine, to be begun."""
    jobs, _, state, queue = machine.parts
    workload = machine.workload
    return new_episode(rules, jobs, state, queue, workload.isolated_s, workload.model)


def new_outcome(environments: int, slots: int) -> Outcome:
    """Room for the outcomes of so many environments."""
    features = WIDTH * slots + len(SYSTEM_FEATURES)
    return Outcome(
        observations=np.zeros((environments, features), np.float32),
        masks=np.zeros((environments, slots), np.bool_),
        rewards=np.zeros(environments),
        terminated=np.zeros(environments, np.bool_),
        invalid=np.zeros(environments, np.bool_),
        time_s=np.zeros(environments),
        queue_size=np.zeros(environments, np.int64),
        filled=np.zeros(environments, np.int64),
    )


EPISODE_TYPE = numba.typeof(
    new_episode(
        Rules(blank(Tables, 1), np.zeros(1, np.float32), 0, 0.0, np.zeros(1), 0, 0),
        blank(Jobs, 1),
        blank(State, 1),
        blank(Queue, 1),
        np.zeros(1),
        np.zeros(1, np.int64),
    )
)
OUTCOME_TYPE = numba.typeof(new_outcome(1, 1))
read_episode, read_outcome = reader(EPISODE_TYPE), reader(OUTCOME_TYPE)


@compiled(types.void(types.intp, types.intp, types.int64, types.int64))
def _report(at: int, to: int, index: int, ran: int) -> None:
    """Write what an environment shows; arguments as of `turn` and `_observe`."""
    episode, outcome = read_episode(at), read_outcome(to)
    out, masks = outcome.observations[index], outcome.masks[index]
    filled = outcome.filled[index]
    taken = _observe(episode, ran, out, filled)
    for slot in range(filled, taken):
        masks[slot] = True
    for slot in range(taken, filled):
        masks[slot] = False
    outcome.filled[index] = taken
    outcome.time_s[index] = episode.state.clock[0]
    outcome.queue_size[index] = episode.state.counters[SIZE]


@compiled(types.void(types.intp, types.intp, types.int64, types.int64))
def turn(at: int, to: int, index: int, action: int) -> None:
    """One step of one environment.

    Args:
        at: Address of its episode.
        to: Address of the outcome.
        index: Its row in the outcome.
        action: The slot that runs.
    """
    episode, outcome = read_episode(at), read_outcome(to)
    state = episode.state
    if state.counters[SIZE] == 0:  # someone else has run the machine to its end
        outcome.rewards[index], outcome.terminated[index] = 0.0, True
        _report(at, to, index, -1)
        return
    invalid = action >= state.counters[SIZE]
    slot = 0 if invalid else action
    arrived, expected = state.counters[ARRIVED], episode.queue.remaining[slot]
    turnaround = violations = 0.0
    while True:
        more_turnaround, more_violations = _advance(episode, slot)
        turnaround += more_turnaround
        violations += more_violations
        if not episode.rules.decisions or not eventless(
            state, episode.queue, slot, arrived, expected
        ):
            break
    outcome.rewards[index] = _reward(episode, turnaround, violations)
    outcome.terminated[index] = state.counters[SIZE] == 0
    outcome.invalid[index] = invalid
    _report(at, to, index, slot if state.counters[RUNNING] >= 0 else -1)


@compiled(types.void(types.intp, types.intp, types.int64))
def start(at: int, to: int, index: int) -> None:
    """Start the episode of one environment, given as in `turn`."""
    episode, outcome = read_episode(at), read_outcome(to)
    _begin(episode)
    outcome.rewards[index] = 0.0
    outcome.terminated[index] = outcome.invalid[index] = False
    _report(at, to, index, -1)
