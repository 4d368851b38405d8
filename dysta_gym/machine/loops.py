"""The event loops: a rule decides until every request is finished.

Whenever the accelerator is free and requests wait, the rule scores every request of the queue and
the one with the least score runs its next layer for that layer's true latency; the earliest arrival
wins a tie. What a rule promises of its scores lets a loop look at less, with the same outcome.

Every loop comes back to Python when so many decisions have been taken, ``until``, or fewer where it
has looked at many requests, so that it can be stopped; called again, it goes on.
"""

from __future__ import annotations

import numpy as np
from numba import types

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import (
    FLOATS_TYPE,
    INTS_TYPE,
    Floats,
    Ints,
    borrow,
    invoke,
    on_stack,
    part,
)
from dysta_gym.machine.queue import (
    ARRIVED,
    DECISIONS,
    MACHINE_TYPES,
    SIZE,
    Jobs,
    Queue,
    State,
    Tables,
    admissible,
    admit,
    charge,
    costly,
    decide,
    enter,
    eventless,
    execute,
    execute_in_place,
)
from dysta_gym.machine.rule import View, first_least, least

_ROUNDING = 1e-9
"""Relative error of a score that is more than rounding can make, and less than matters."""

_A_DECISION = 16
"""Requests to score that take as long as another decision."""

LOOP_TYPES = (*MACHINE_TYPES, types.intp, FLOATS_TYPE, FLOATS_TYPE, types.int64)


@compiled(types.void(*LOOP_TYPES, types.float64))
def run_scanning(
    jobs: Jobs,
    tables: Tables,
    state: State,
    queue: Queue,
    rule: int,
    parameters: Floats,
    scores: Floats,
    until: int,
    drift: float,
) -> None:
    """The event loop: decide until every request is finished.

    With a finite ``drift`` (see `Policy.drift`) the queue is scanned only when a request finishes,
    or when the one that runs comes close to what the others may score by now.
    """
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    scores = borrow(scores)
    view = on_stack(View(queue, borrow(parameters), scores))
    charged = costly(jobs)
    while state.counters[SIZE] > 0 and state.counters[DECISIONS] < until:
        size, since = state.counters[SIZE], state.clock[0]
        until -= size // _A_DECISION
        invoke(rule, (view, size, 0, size, since))
        slot = first_least(scores, size)
        if charged:
            charge(jobs, state)
        finished = execute(jobs, tables, state, queue, slot)
        admit(jobs, tables, state, queue)
        if finished or drift == np.inf:
            continue
        # What the scores of the others are not below, at the time ``since``. The margin is taken
        # of what they were: as the bound falls, its rounding errors do not.
        scores[slot] = np.inf
        others = least(scores, size) * (1.0 - _ROUNDING)
        while not finished and state.counters[DECISIONS] < until:
            now, grown = state.clock[0], state.counters[SIZE]
            others -= drift * (now - since)
            since = now
            if grown > size:
                others *= size / grown
                invoke(rule, (view, grown, size, grown, now))
                others = min(others, least(part(scores, size), grown - size) * (1.0 - _ROUNDING))
                size = grown
            invoke(rule, (view, size, slot, slot + 1, now))
            if not scores[slot] * (1.0 + _ROUNDING) < others:
                break
            if charged:
                charge(jobs, state)
            finished = execute(jobs, tables, state, queue, slot)
            admit(jobs, tables, state, queue)


@compiled(types.void(*LOOP_TYPES, types.float64))
def run_events(
    jobs: Jobs,
    tables: Tables,
    state: State,
    queue: Queue,
    rule: int,
    parameters: Floats,
    scores: Floats,
    until: int,
    effort: float,
) -> None:
    """The event loop for rules that are asked only at events (see `Policy.events`).

    A question takes as long as so many decisions as ``effort`` says for each request that is put
    behind another one (see `Policy.effort`).
    """
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    scores = borrow(scores)
    view = on_stack(View(queue, borrow(parameters), scores))
    while state.counters[SIZE] > 0 and state.counters[DECISIONS] < until:
        size = state.counters[SIZE]
        until -= size // _A_DECISION + int(effort * (size - 1))
        invoke(rule, (view, size, 0, size, state.clock[0]))
        slot = first_least(scores, size)
        arrived, expected = state.counters[ARRIVED], queue.remaining[slot]
        decide(jobs, state)
        while True:
            execute(jobs, tables, state, queue, slot)
            admit(jobs, tables, state, queue)
            if not eventless(state, queue, slot, arrived, expected):
                break


@compiled(None, inline=True)
def _before(key: float, request: int, other_key: float, other_request: int) -> bool:
    """Whether a request runs before another one: by its score, NaN last, then by its arrival."""
    if key == other_key:
        return request < other_request
    if np.isnan(other_key):
        return not np.isnan(key) or request < other_request
    return key < other_key


@compiled(None, inline=True)
def _sift_down(keys: Floats, requests: Ints, slots: Ints, size: int) -> None:
    """Let the root of the heap sink to where it belongs."""
    key, request, slot = keys[0], requests[0], slots[0]
    at, child = 0, 1
    while child < size:
        if child + 1 < size and _before(
            keys[child + 1], requests[child + 1], keys[child], requests[child]
        ):
            child += 1
        if not _before(keys[child], requests[child], key, request):
            break
        keys[at], requests[at], slots[at] = keys[child], requests[child], slots[child]
        at, child = child, 2 * child + 1
    keys[at], requests[at], slots[at] = key, request, slot


@compiled(None, inline=True)
def _sift_up(keys: Floats, requests: Ints, slots: Ints, at: int) -> None:
    """Let an entry of the heap rise to where it belongs."""
    key, request, slot = keys[at], requests[at], slots[at]
    while at > 0:
        parent = (at - 1) // 2
        if not _before(key, request, keys[parent], requests[parent]):
            break
        keys[at], requests[at], slots[at] = keys[parent], requests[parent], slots[parent]
        at = parent
    keys[at], requests[at], slots[at] = key, request, slot


@compiled(types.void(*LOOP_TYPES, FLOATS_TYPE, INTS_TYPE))
def run_indexed(
    jobs: Jobs,
    tables: Tables,
    state: State,
    queue: Queue,
    rule: int,
    parameters: Floats,
    scores: Floats,
    until: int,
    keys: Floats,
    places: Ints,
) -> None:
    """The event loop for stable rules (see `Policy.stable`): the queue is a binary heap.

    A request keeps its place in the queue's columns until it finishes. ``keys`` is room for one
    number a request, ``places`` for three of each and for two more, which are zero at first.
    """
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    scores = borrow(scores)
    view = on_stack(View(queue, borrow(parameters), scores))
    keys, room = borrow(keys), keys.size
    requests, slots = places[:room], places[room : 2 * room]
    free, kept = places[2 * room : 3 * room], places[3 * room :]
    used, left = kept[0], kept[1]  # places that have been used, of which ``left`` are free
    if not used:
        used = state.counters[SIZE]
        invoke(rule, (view, used, 0, used, state.clock[0]))
        for slot in range(used):
            keys[slot], requests[slot], slots[slot] = scores[slot], queue.request[slot], slot
            _sift_up(keys, requests, slots, slot)
    charged = costly(jobs)
    while state.counters[SIZE] > 0 and state.counters[DECISIONS] < until:
        slot = slots[0]
        if charged:
            charge(jobs, state)
        if execute_in_place(jobs, tables, state, queue, slot):
            free[left] = slot
            left += 1
            last = state.counters[SIZE]
            keys[0], requests[0], slots[0] = keys[last], requests[last], slots[last]
        else:
            invoke(rule, (view, state.counters[SIZE], slot, slot + 1, state.clock[0]))
            keys[0] = scores[slot]
        _sift_down(keys, requests, slots, state.counters[SIZE])
        while admissible(jobs, state):
            arrived, size = state.counters[ARRIVED], state.counters[SIZE]
            if left:
                left -= 1
                slot = free[left]
            else:
                slot = used
                used += 1
            enter(jobs, tables, queue, arrived, slot)
            invoke(rule, (view, size + 1, slot, slot + 1, state.clock[0]))
            keys[size], requests[size], slots[size] = scores[slot], arrived, slot
            _sift_up(keys, requests, slots, size)
            state.counters[ARRIVED] = arrived + 1
            state.counters[SIZE] = size + 1
    kept[0], kept[1] = used, left
