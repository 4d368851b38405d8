"""The accelerator: one compiled event loop over plain arrays.

One accelerator runs one layer at a time and never interrupts a running layer. Whenever it is free
and requests wait, the policy scores every request of the queue and the one with the least score
runs its next layer for that layer's true latency; the earliest arrival wins a tie. When the queue
is empty, time jumps to the next arrival.

`simulate` runs a whole workload. `Machine` is the same machine one decision at a time, for
environments and for looking inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import types

from dysta_gym.compiling import address_of, compiled
from dysta_gym.errors import DystaError
from dysta_gym.information import Estimates, estimates
from dysta_gym.records import (
    FLOATS_TYPE,
    INTS_TYPE,
    Floats,
    Ints,
    blank,
    borrow,
    invoke,
    on_stack,
    part,
    reader,
    type_of,
)
from dysta_gym.workloads import Workload

if TYPE_CHECKING:
    from dysta_gym.policies import Policy


class Queue(NamedTuple):
    """The unfinished requests that have arrived, one column a field.

    A rule is given the queue, in order of arrival, and its size ``n``; a rule with a promise (see
    `Policy.stable` and `Policy.drift`) may be given a part of it. The first ``n`` entries of every
    column count. ``R``, ``N``, ``I`` and ``g`` are what the policy's level of information knows.
    Times are in seconds.

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
    """

    arrival: Floats
    deadline: Floats
    priority: Floats
    first_cell: Ints
    layers: Ints
    preemption_cost: float
    queue_limit: int


class Tables(NamedTuple):
    """Per cell of the trace store: true latency and what the level knows (see `Estimates`)."""

    latency: Floats
    remaining: Floats
    next_layer: Floats
    correction: Floats


class State(NamedTuple):
    """What changes as the machine runs.

    Attributes:
        clock: ``[now]`` in seconds.
        counters: Indexed by `SIZE`, `ARRIVED`, `FINISHED`, `RUNNING`, `PREEMPTIONS`, `DECISIONS`.
        finish: Finish time of each request, NaN before, shape ``(requests,)``.
        ran: Request that ran in each decision, shape ``(decisions,)``, or empty if not recorded.
        started: When it started, same shape.
    """

    clock: Floats
    counters: Ints
    finish: Floats
    ran: Ints
    started: Floats


SIZE, ARRIVED, FINISHED, RUNNING, PREEMPTIONS, DECISIONS = range(6)
"""Entries of `State.counters`: queue size, requests arrived, requests finished, unfinished request
that ran last (-1 if none), preemptions so far, decisions so far."""


class View(NamedTuple):
    """What a rule reads and writes.

    Attributes:
        queue: The queue.
        parameters: The policy's parameters.
        scores: Where the scores go, one an entry of the queue's columns.
    """

    queue: Queue
    parameters: Floats
    scores: Floats


QUEUE_TYPE, JOBS_TYPE, TABLES_TYPE, STATE_TYPE = map(type_of, (Queue, Jobs, Tables, State))
RULE_SIGNATURE = types.void(types.intp, types.int64, types.int64, types.int64, types.float64)
"""Compiled type of ``rule(view, length, first, last, now)``, see `compiled_rule`."""

_read_view = reader(types.NamedTuple([QUEUE_TYPE, FLOATS_TYPE, FLOATS_TYPE], View))


def compiled_rule(score: Callable[..., None]) -> Any:
    """A rule compiled for the event loops: ``rule(view, length, first, last, now)``.

    It scores the entries ``first`` to ``last`` of a queue of ``length`` requests. ``view`` is the
    address of a `View`: handing over its columns one by one would cost more than most decisions.
    """
    inner = compiled(None, inline=True)(score)

    def rule(view: int, length: int, first: int, last: int, now: float) -> None:
        seen = _read_view(view)
        queue = part(_of_length(seen.queue, length), first)
        inner(queue, last - first, now, seen.parameters, part(seen.scores, first))

    return compiled(RULE_SIGNATURE)(rule)


@compiled(None, inline=True)
def _of_length(queue: Queue, length: int) -> Queue:
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
def _enter(jobs: Jobs, tables: Tables, queue: Queue, request: int, slot: int) -> None:
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
def _admissible(jobs: Jobs, state: State) -> bool:
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
    while _admissible(jobs, state):
        _enter(jobs, tables, queue, state.counters[ARRIVED], state.counters[SIZE])
        state.counters[ARRIVED] += 1
        state.counters[SIZE] += 1


@compiled(None, inline=True)
def close_gap(column: Any, first: int, last: int, width: int) -> None:
    """Move the entries up to ``last`` forward by ``width``, onto those from ``first`` on."""
    left = part(column, first)  # from 0 on, indices are known not to count from the end
    for i in range(last - width - first):
        left[i] = left[i + width]


@compiled(types.void(QUEUE_TYPE, types.int64, types.int64))
def _remove(queue: Queue, slot: int, size: int) -> None:
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
def _execute(jobs: Jobs, tables: Tables, state: State, queue: Queue, slot: int) -> bool:
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
    """`_execute`, and close the gap if the request leaves; does not admit what arrived."""
    finished = _execute(jobs, tables, state, queue, slot)
    if finished:
        _remove(queue, slot, state.counters[SIZE] + 1)
    return finished


@compiled(None, inline=True)
def _least(scores: Floats, size: int) -> float:
    """Least of ``scores[:size]``; NaN counts as greater than any number."""
    # Eight running minima: one would be a chain of dependent comparisons, ten times as slow.
    a = b = c = d = e = f = g = h = np.inf
    whole = size - size % 8
    for i in range(0, whole, 8):
        a = scores[i] if scores[i] < a else a
        b = scores[i + 1] if scores[i + 1] < b else b
        c = scores[i + 2] if scores[i + 2] < c else c
        d = scores[i + 3] if scores[i + 3] < d else d
        e = scores[i + 4] if scores[i + 4] < e else e
        f = scores[i + 5] if scores[i + 5] < f else f
        g = scores[i + 6] if scores[i + 6] < g else g
        h = scores[i + 7] if scores[i + 7] < h else h
    for i in range(whole, size):
        a = scores[i] if scores[i] < a else a
    return min(min(min(a, e), min(b, f)), min(min(c, g), min(d, h)))


@compiled(None, inline=True)
def first_least(scores: Floats, size: int) -> int:
    """Index of the first least of ``scores[:size]``; NaN counts as greater than any number."""
    least = _least(scores, size)
    for i in range(size):
        if scores[i] == least:
            return i
    return 0  # every score is NaN: the earliest arrival


@compiled(types.int64(QUEUE_TYPE, types.float64, types.intp, FLOATS_TYPE, FLOATS_TYPE, types.int64))
def _choose(
    queue: Queue, now: float, rule: int, parameters: Floats, scores: Floats, among: int
) -> int:
    view = on_stack(View(borrow(queue), borrow(parameters), borrow(scores)))
    invoke(rule, (view, queue.length, 0, queue.length, now))
    return first_least(scores, among)


@compiled(types.int64(FLOATS_TYPE, types.int64))
def _choose_scored(scores: Floats, among: int) -> int:
    return first_least(scores, among)


MACHINE_TYPES = (JOBS_TYPE, TABLES_TYPE, STATE_TYPE, QUEUE_TYPE)


@compiled(types.void(*MACHINE_TYPES))
def _start(jobs: Jobs, tables: Tables, state: State, queue: Queue) -> None:
    admit(borrow(jobs), borrow(tables), borrow(state), borrow(queue))


@compiled(types.void(*MACHINE_TYPES, types.int64))
def _step(jobs: Jobs, tables: Tables, state: State, queue: Queue, slot: int) -> None:
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    execute(jobs, tables, state, queue, slot)
    admit(jobs, tables, state, queue)


_ROUNDING = 1e-9
"""Relative error of a score that is more than rounding can make, and less than matters."""

LOOP_TYPES = (*MACHINE_TYPES, types.intp, FLOATS_TYPE, FLOATS_TYPE)


@compiled(types.void(*LOOP_TYPES, types.float64))
def _run_scanning(
    jobs: Jobs,
    tables: Tables,
    state: State,
    queue: Queue,
    rule: int,
    parameters: Floats,
    scores: Floats,
    drift: float,
) -> None:
    """The event loop: decide until every request is finished.

    With a finite ``drift`` (see `Policy.drift`) the queue is scanned only when a request finishes,
    or when the one that runs comes close to what the others may score by now.
    """
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    scores = borrow(scores)
    view = on_stack(View(queue, borrow(parameters), scores))
    while state.counters[SIZE] > 0:
        size, since = state.counters[SIZE], state.clock[0]
        invoke(rule, (view, size, 0, size, since))
        slot = first_least(scores, size)
        finished = execute(jobs, tables, state, queue, slot)
        admit(jobs, tables, state, queue)
        if finished or drift == np.inf:
            continue
        # What the scores of the others are not below, at the time ``since``. The margin is taken
        # of what they were: as the bound falls, its rounding errors do not.
        scores[slot] = np.inf
        others = _least(scores, size) * (1.0 - _ROUNDING)
        while not finished:
            now, grown = state.clock[0], state.counters[SIZE]
            others -= drift * (now - since)
            since = now
            if grown > size:
                others *= size / grown
                invoke(rule, (view, grown, size, grown, now))
                others = min(others, _least(part(scores, size), grown - size) * (1.0 - _ROUNDING))
                size = grown
            invoke(rule, (view, size, slot, slot + 1, now))
            if not scores[slot] * (1.0 + _ROUNDING) < others:
                break
            finished = execute(jobs, tables, state, queue, slot)
            admit(jobs, tables, state, queue)


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


@compiled(types.void(*LOOP_TYPES))
def _run_events(
    jobs: Jobs,
    tables: Tables,
    state: State,
    queue: Queue,
    rule: int,
    parameters: Floats,
    scores: Floats,
) -> None:
    """The event loop for rules that are asked only at events (see `Policy.events`)."""
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    scores = borrow(scores)
    view = on_stack(View(queue, borrow(parameters), scores))
    while state.counters[SIZE] > 0:
        size = state.counters[SIZE]
        invoke(rule, (view, size, 0, size, state.clock[0]))
        slot = first_least(scores, size)
        arrived, expected = state.counters[ARRIVED], queue.remaining[slot]
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


@compiled(types.void(*LOOP_TYPES, INTS_TYPE))
def _run_indexed(
    jobs: Jobs,
    tables: Tables,
    state: State,
    queue: Queue,
    rule: int,
    parameters: Floats,
    scores: Floats,
    places: Ints,
) -> None:
    """The event loop for stable rules (see `Policy.stable`): the queue is a binary heap.

    A request keeps its place in the queue's columns until it finishes. ``places`` is room for three
    numbers a request.
    """
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    scores = borrow(scores)
    view = on_stack(View(queue, borrow(parameters), scores))
    room = places.size // 3
    keys = np.empty(room)
    requests, slots, free = places[:room], places[room : 2 * room], places[2 * room :]
    used = state.counters[SIZE]  # places that have been used, of which ``left`` are free
    left = 0
    invoke(rule, (view, used, 0, used, state.clock[0]))
    for slot in range(used):
        keys[slot], requests[slot], slots[slot] = scores[slot], queue.request[slot], slot
        _sift_up(keys, requests, slots, slot)
    while state.counters[SIZE] > 0:
        slot = slots[0]
        if _execute(jobs, tables, state, queue, slot):
            free[left] = slot
            left += 1
            last = state.counters[SIZE]
            keys[0], requests[0], slots[0] = keys[last], requests[last], slots[last]
        else:
            invoke(rule, (view, state.counters[SIZE], slot, slot + 1, state.clock[0]))
            keys[0] = scores[slot]
        _sift_down(keys, requests, slots, state.counters[SIZE])
        while _admissible(jobs, state):
            arrived, size = state.counters[ARRIVED], state.counters[SIZE]
            if left:
                left -= 1
                slot = free[left]
            else:
                slot = used
                used += 1
            _enter(jobs, tables, queue, arrived, slot)
            invoke(rule, (view, size + 1, slot, slot + 1, state.clock[0]))
            keys[size], requests[size], slots[size] = scores[slot], arrived, slot
            _sift_up(keys, requests, slots, size)
            state.counters[ARRIVED] = arrived + 1
            state.counters[SIZE] = size + 1


@dataclass(frozen=True, eq=False)
class Schedule:
    """Who ran when.

    Attributes:
        workload: What was scheduled.
        finish_s: Finish time of each request in seconds, NaN if unfinished, shape ``(requests,)``.
        preemptions: How often an unfinished request was set aside for another one.
        decisions: Layers run.
        ran: Request that ran in each decision, shape ``(decisions,)``; empty if not recorded.
        started_s: When that layer started, in seconds, same shape.
    """

    workload: Workload
    finish_s: Floats
    preemptions: int
    decisions: int
    ran: Ints
    started_s: Floats


class Machine:
    """The accelerator with its queue, run one decision at a time or to the end.

    Args:
        workload: The requests, in order of arrival.
        level: Level of information of the queue's estimates.
        record: Whether to keep who ran when.

    """

    def __init__(self, workload: Workload, level: str, *, record: bool = False) -> None:
        self.workload = workload
        store = workload.store
        self.mean_isolated_s = store.mean_isolated_s(workload.reference)
        known: Estimates = estimates(store, level, workload.reference)
        layers = store.layers[workload.trace]
        total = len(workload)
        self.jobs = Jobs(
            arrival=workload.arrival_s,
            deadline=workload.deadline_s,
            priority=workload.priority,
            first_cell=store.first_cell[workload.trace] + workload.row * layers,
            layers=layers,
            preemption_cost=float(workload.preemption_cost_s),
            queue_limit=min(total, int(workload.queue_limit or total)),  # of any size
        )
        self.tables = Tables(store.latency_s, *known)
        recorded = int(layers.sum()) if record else 0
        self.state = State(
            clock=np.zeros(1),
            counters=np.zeros(6, np.int64),
            finish=np.full(total, np.nan),
            ran=np.zeros(recorded, np.int64),
            started=np.zeros(recorded),
        )
        self.state.counters[RUNNING] = -1
        self._queue: Queue = blank(Queue, total)
        # Last choice of a policy that is asked at events: whose, which, and what was known then.
        self._chosen: tuple[Policy | None, int, int, float] = (None, -1, 0, 0.0)
        _start(*self.parts)

    @property
    def queue(self) -> Queue:
        """The queue's columns, the first `size` entries of which count."""
        return self._queue._replace(length=self.size)

    @property
    def now(self) -> float:
        """The time in seconds."""
        return float(self.state.clock[0])

    @property
    def size(self) -> int:
        """Requests in the queue; 0 only when every request is finished."""
        return int(self.state.counters[SIZE])

    @property
    def arrived(self) -> int:
        """Requests that have been let into the queue, finished ones included."""
        return int(self.state.counters[ARRIVED])

    @property
    def done(self) -> bool:
        """Whether every request is finished."""
        return self.size == 0

    @property
    def parts(self) -> tuple[Jobs, Tables, State, Queue]:
        """The arrays that the machine works on, as compiled code takes them."""
        return self.jobs, self.tables, self.state, self._queue

    def step(self, slot: int) -> None:
        """Run the next layer of the request at ``slot`` of the queue, then admit what arrived.

        Raises:
            DystaError: If the slot is not in the queue.
        """
        if self.done:
            raise DystaError(f"slot: {slot} cannot run; every request is finished")
        if not 0 <= slot < self.size:
            raise DystaError(f"slot: {slot} is not in the queue; it must be 0 to {self.size - 1}")
        _step(*self.parts, slot)

    def choose(self, policy: Policy, among: int | None = None) -> int:
        """The slot that ``policy`` runs next. To be asked once a decision: rules may remember.

        Args:
            policy: The policy; it sees the queue at this machine's level of information.
            among: Choose among the first ``among`` slots only; None for the whole queue.
        """
        slot = self._standing(policy)
        if slot < 0:
            slot = self._ask(policy, among)
            if policy.events and self.size:
                request, expected = self._queue.request[slot], self._queue.remaining[slot]
                self._chosen = (policy, int(request), self.arrived, float(expected))
        return slot

    def _standing(self, policy: Policy) -> int:
        """Slot of the request that a policy chose and that nothing has happened to since, or -1."""
        chooser, request, arrived, expected = self._chosen
        if chooser != policy or self.state.counters[RUNNING] != request:
            return -1
        slot = int(np.argmax(self._queue.request[: self.size] == request))
        return slot if eventless(self.state, self._queue, slot, arrived, expected) else -1

    def _ask(self, policy: Policy, among: int | None) -> int:
        scores = np.empty(self.size)
        values = policy.values(self.mean_isolated_s)
        among = min(self.size, among or self.size)
        rule = policy.compiled()
        if rule is None:
            policy.score(self.queue, self.size, self.now, values, scores)
            return int(_choose_scored(scores, among))
        return int(_choose(self.queue, self.now, address_of(rule), values, scores, among))

    def run(self, policy: Policy) -> None:
        """Let ``policy`` decide until every request is finished.

        What its rule raises is passed on; the machine is then of no further use.
        """
        rule = policy.compiled()
        if rule is None:
            while not self.done:
                self.step(self.choose(policy))
            return
        try:
            self._run(policy, address_of(rule))
        except BaseException:
            self.state.counters[SIZE] = 0  # the queue may have gaps: nobody may go on from here
            raise

    def _run(self, policy: Policy, rule: int) -> None:
        total = len(self.workload)
        values, scores = policy.values(self.mean_isolated_s), np.empty(total)
        if policy.stable:
            places = np.empty(3 * total, np.int64)
            _run_indexed(*self.parts, rule, values, scores, places)
        elif policy.events:
            while (slot := self._standing(policy)) >= 0:
                self.step(slot)
            _run_events(*self.parts, rule, values, scores)
        else:
            drift = policy.drift_of(values)
            _run_scanning(*self.parts, rule, values, scores, drift)

    def schedule(self) -> Schedule:
        """What has happened so far; a copy, which the machine leaves alone as it goes on."""
        counters = self.state.counters
        decisions = int(counters[DECISIONS])
        return Schedule(
            workload=self.workload,
            finish_s=self.state.finish.copy(),
            preemptions=int(counters[PREEMPTIONS]),
            decisions=decisions,
            ran=self.state.ran[:decisions].copy(),
            started_s=self.state.started[:decisions].copy(),
        )


def simulate(workload: Workload, policy: Policy | str, *, record: bool = False) -> Schedule:
    """Run a whole workload under a policy.

    Args:
        workload: The requests.
        policy: A policy, or a name such as ``"dysta"`` or ``"sjf@monitored"``.
        record: Whether to keep who ran when (`Schedule.ran`, `Schedule.started_s`).

    Raises:
        DystaError: If there is no policy of that name.
    """
    if isinstance(policy, str):
        from dysta_gym.policies import find

        policy = find(policy)
    machine = Machine(workload, policy.level, record=record)
    machine.run(policy)
    return machine.schedule()
