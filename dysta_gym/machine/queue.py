"""The queue, and how requests enter it, run and leave it: the machine's moves, for compiled code.

One accelerator runs one layer at a time and never interrupts a running layer. When the queue is
empty, time jumps to the next arrival.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats, Ints, borrow, part, type_of


class Queue(NamedTuple):
    """The unfinished requests that have arrived, one column a field.

    A rule is given the queue, in order of arrival, and its size ``n``; a rule with a promise (see
    `Policy.stable` and `Policy.drift`) may be given a part of it. It has ``n`` entries in every
    column, and may write to ``memory`` alone; of a machine's own queue, the first ``n`` entries
    count. ``R``, ``N``, ``I`` and ``g`` are what the policy's level of information knows. Times are
    in seconds.

    Attributes:
        length: ``Q``, requests in the whole queue.
        request: Index of the request in the workload.
        arrival: When it arrived, also where it had to wait outside the queue.
        deadline: When it is due.
        priority: Its priority, greater is more urgent.
        remaining: ``R``, estimated latency of its remaining layers.
        next_layer: ``N``, estimated latency of its next layer.
        isolated: ``I``, estimated latency of all its layers, not corrected by the monitor.
        correction: ``g``, the monitor's correction factor.
        last_run: End of its last executed layer; before that, its arrival.
        executed: Layers that have run.
        layers: Layers it has in all.
        memory: Scratch of a policy without a promise, 0 on arrival; the machine never touches it
            afterwards.
    """

    length: int
    request: Ints
    arrival: Floats
    deadline: Floats
    priority: Floats
    remaining: Floats
    next_layer: Floats
    isolated: Floats
    correction: Floats
    last_run: Floats
    executed: Ints
    layers: Ints
    memory: Floats


class Jobs(NamedTuple):
    """The workload as the machine reads it, a row per request in order of arrival.

    Attributes:
        arrival: Arrival in seconds.
        deadline: Deadline in seconds.
        priority: Priority.
        first_cell: Cell of the request's first layer in the store's tables.
        layers: Number of layers.
        preemption_cost: Seconds lost whenever an unfinished request is set aside.
        queue_limit: Requests in the queue at most.
        decision_fixed: Seconds that a decision takes, whatever the queue ...
        decision_each: ... and for each request in it.
    """

    arrival: Floats
    deadline: Floats
    priority: Floats
    first_cell: Ints
    layers: Ints
    preemption_cost: float
    queue_limit: int
    decision_fixed: float
    decision_each: float


class Tables(NamedTuple):
    """Per cell of the trace store: true latency and what the level knows (see `Estimates`)."""

    latency: Floats
    remaining: Floats
    next_layer: Floats
    correction: Floats

    def __deepcopy__(self, memo: object) -> Tables:
        return self  # nobody writes to them


class State(NamedTuple):
    """What changes as the machine runs.

    Attributes:
        clock: ``[now]`` in seconds.
        counters: Indexed by `SIZE`, `ARRIVED`, `FINISHED`, `RUNNING`, `PREEMPTIONS`, `DECISIONS`,
            `ASKED`.
        finish: Finish time of each request, NaN before, shape ``(requests,)``.
        ran: Request that ran in each decision, shape ``(decisions,)``, or empty if not recorded.
        started: When it started, same shape.
    """

    clock: Floats
    counters: Ints
    finish: Floats
    ran: Ints
    started: Floats


SIZE, ARRIVED, FINISHED, RUNNING, PREEMPTIONS, DECISIONS, ASKED = range(7)
"""Entries of `State.counters`: queue size, requests arrived, requests finished, unfinished request
that ran last (-1 if none), preemptions so far, layers run so far, and how often somebody was asked
which; the loops of rules that are asked before every layer leave that to be counted later."""


QUEUE_TYPE, JOBS_TYPE, TABLES_TYPE, STATE_TYPE = map(type_of, (Queue, Jobs, Tables, State))
MACHINE_TYPES = (JOBS_TYPE, TABLES_TYPE, STATE_TYPE, QUEUE_TYPE)


@compiled(None, inline=True)
def of_length(queue: Queue, length: int) -> Queue:
    """The queue with its length, which the machine keeps apart."""
    return Queue(
        length,
        queue.request,
        queue.arrival,
        queue.deadline,
        queue.priority,
        queue.remaining,
        queue.next_layer,
        queue.isolated,
        queue.correction,
        queue.last_run,
        queue.executed,
        queue.layers,
        queue.memory,
    )


@compiled(None, inline=True)
def enter(jobs: Jobs, tables: Tables, queue: Queue, request: int, slot: int) -> None:
    """Write a request that has just arrived into a slot of the queue."""
    cell = jobs.first_cell[request]
    queue.request[slot] = request
    queue.arrival[slot] = jobs.arrival[request]
    queue.deadline[slot] = jobs.deadline[request]
    queue.priority[slot] = jobs.priority[request]
    queue.remaining[slot] = tables.remaining[cell]
    queue.next_layer[slot] = tables.next_layer[cell]
    queue.isolated[slot] = tables.remaining[cell]
    queue.correction[slot] = tables.correction[cell]
    queue.last_run[slot] = jobs.arrival[request]
    queue.executed[slot] = 0
    queue.layers[slot] = jobs.layers[request]
    queue.memory[slot] = 0.0


@compiled(None, inline=True)
def admissible(jobs: Jobs, state: State) -> bool:
    """Whether the next request can enter the queue; if that is empty, time jumps to it."""
    arrived = state.counters[ARRIVED]
    if arrived == jobs.arrival.size:
        return False
    size = state.counters[SIZE]
    if size == 0 and jobs.arrival[arrived] > state.clock[0]:
        state.clock[0] = jobs.arrival[arrived]
    return jobs.arrival[arrived] <= state.clock[0] and size < jobs.queue_limit


@compiled(None, inline=True)
def admit(jobs: Jobs, tables: Tables, state: State, queue: Queue) -> None:
    """Let the requests with ``arrival <= now`` into the queue; if that is empty, jump in time.

    Requests beyond the queue's limit stay outside.
    """
    while admissible(jobs, state):
        enter(jobs, tables, queue, state.counters[ARRIVED], state.counters[SIZE])
        state.counters[ARRIVED] += 1
        state.counters[SIZE] += 1


@compiled(None, inline=True)
def close_gap(column: Any, first: int, last: int, width: int) -> None:
    """Move the entries up to ``last`` forward by ``width``, onto those from ``first`` on."""
    left = part(column, first)  # from 0 on, indices are known not to count from the end
    for i in range(last - width - first):
        left[i] = left[i + width]


@compiled(types.void(QUEUE_TYPE, types.int64, types.int64))
def remove(queue: Queue, slot: int, size: int) -> None:
    """Close the gap that the request in ``slot``, of ``size``, leaves."""
    queue = borrow(queue)
    # A loop a column: what moves twelve columns at once is not vectorised.
    close_gap(queue.request, slot, size, 1)
    close_gap(queue.arrival, slot, size, 1)
    close_gap(queue.deadline, slot, size, 1)
    close_gap(queue.priority, slot, size, 1)
    close_gap(queue.remaining, slot, size, 1)
    close_gap(queue.next_layer, slot, size, 1)
    close_gap(queue.isolated, slot, size, 1)
    close_gap(queue.correction, slot, size, 1)
    close_gap(queue.last_run, slot, size, 1)
    close_gap(queue.executed, slot, size, 1)
    close_gap(queue.layers, slot, size, 1)
    close_gap(queue.memory, slot, size, 1)


@compiled(None, inline=True)
def charge(jobs: Jobs, state: State) -> None:
    """Let the time pass that a decision takes."""
    state.clock[0] += jobs.decision_fixed + jobs.decision_each * state.counters[SIZE]


@compiled(None, inline=True)
def decide(jobs: Jobs, state: State) -> None:
    """Count that somebody has been asked, and let the time pass that it takes."""
    state.counters[ASKED] += 1
    charge(jobs, state)


@compiled(None, inline=True)
def costly(jobs: Jobs) -> bool:
    """Whether decisions take any time."""
    return bool(jobs.decision_fixed + jobs.decision_each > 0.0)


@compiled(None, inline=True)
def execute_in_place(jobs: Jobs, tables: Tables, state: State, queue: Queue, slot: int) -> bool:
    """Run the next layer of the request in ``slot`` to its end; whether that was its last."""
    request = queue.request[slot]
    executed = queue.executed[slot] + 1
    running = state.counters[RUNNING]
    decision = state.counters[DECISIONS]
    start = state.clock[0]
    if running != request and running >= 0:
        state.counters[PREEMPTIONS] += 1
        start += jobs.preemption_cost
    if state.ran.size:
        state.ran[decision] = request
        state.started[decision] = start
    cell = jobs.first_cell[request] + executed
    now = start + tables.latency[cell - 1]
    state.clock[0] = now
    state.counters[DECISIONS] = decision + 1
    if executed == queue.layers[slot]:
        state.finish[request] = now
        state.counters[FINISHED] += 1
        state.counters[RUNNING] = -1
        state.counters[SIZE] -= 1
        return True
    state.counters[RUNNING] = request
    queue.remaining[slot] = tables.remaining[cell]
    queue.next_layer[slot] = tables.next_layer[cell]
    queue.correction[slot] = tables.correction[cell]
    queue.last_run[slot] = now
    queue.executed[slot] = executed
    return False


@compiled(None, inline=True)
def execute(jobs: Jobs, tables: Tables, state: State, queue: Queue, slot: int) -> bool:
    """`execute_in_place`, and close the gap if the request leaves; does not admit what arrived."""
    finished = execute_in_place(jobs, tables, state, queue, slot)
    if finished:
        remove(queue, slot, state.counters[SIZE] + 1)
    return finished


@compiled(None, inline=True)
def eventless(state: State, queue: Queue, slot: int, arrived: int, expected: float) -> bool:
    """Whether nothing has happened since the request in ``slot`` was chosen but that it ran.

    Args:
        state: The machine's state.
        queue: Its queue.
        slot: Where the request was, and is unless it has finished.
        arrived: Requests that had arrived then.
        expected: What the request had left to do then.
    """
    if state.counters[RUNNING] < 0 or state.counters[ARRIVED] != arrived:
        return False
    return bool(queue.remaining[slot] <= expected)
