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
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiling import borrow, compiled, type_of
from dysta_gym.errors import DystaError
from dysta_gym.information import Estimates, estimates
from dysta_gym.workloads import Workload

if TYPE_CHECKING:
    from dysta_gym.policies import Policy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Queue(NamedTuple):
    """The unfinished requests that have arrived, one column a field, in order of arrival.

    A rule is given the queue and its size ``n``; the first ``n`` entries of every column count.
    ``R``, ``N``, ``I`` and ``g`` are what the policy's level of information knows. Times are in
    seconds.

    Attributes:
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
        memory: Scratch of the policy, 0 on arrival; the machine never touches it afterwards.
    """

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


def _columns(record: type, length: int) -> Any:
    """An instance of a NamedTuple, all zeros: its columns of this length, and its numbers."""
    zeros: dict[str, Callable[[], Any]] = {
        "Ints": lambda: np.zeros(length, np.int64),
        "Floats": lambda: np.zeros(length),
        "int": int,
        "float": float,
    }
    return record(*(zeros[kind.__forward_arg__]() for kind in record.__annotations__.values()))


_FLOATS = types.float64[::1]
QUEUE_TYPE, JOBS_TYPE, TABLES_TYPE, STATE_TYPE = (
    type_of(_columns(record, 1)) for record in (Queue, Jobs, Tables, State)
)
RULE_SIGNATURE = types.void(QUEUE_TYPE, types.int64, types.float64, _FLOATS, _FLOATS)
"""Compiled type of ``score(queue, size, now, parameters, scores)``."""


@compiled(types.void(JOBS_TYPE, TABLES_TYPE, STATE_TYPE, QUEUE_TYPE), inline=True)
def admit(jobs: Jobs, tables: Tables, state: State, queue: Queue) -> None:
    """Let the requests with ``arrival <= now`` into the queue; if that is empty, jump in time.

    Requests beyond the queue's limit stay outside.
    """
    size, arrived = state.counters[SIZE], state.counters[ARRIVED]
    total = jobs.arrival.size
    if arrived == total:
        return
    if size == 0 and jobs.arrival[arrived] > state.clock[0]:
        state.clock[0] = jobs.arrival[arrived]
    now = state.clock[0]
    while arrived < total and jobs.arrival[arrived] <= now and size < jobs.queue_limit:
        cell = jobs.first_cell[arrived]
        queue.request[size] = arrived
        queue.arrival[size] = jobs.arrival[arrived]
        queue.deadline[size] = jobs.deadline[arrived]
        queue.priority[size] = jobs.priority[arrived]
        queue.remaining[size] = tables.remaining[cell]
        queue.next_layer[size] = tables.next_layer[cell]
        queue.isolated[size] = tables.remaining[cell]
        queue.correction[size] = tables.correction[cell]
        queue.last_run[size] = jobs.arrival[arrived]
        queue.executed[size] = 0
        queue.layers[size] = jobs.layers[arrived]
        queue.memory[size] = 0.0
        size += 1
        arrived += 1
    state.counters[SIZE] = size
    state.counters[ARRIVED] = arrived


@compiled(types.void(QUEUE_TYPE, types.int64, types.int64))
def _remove(queue: Queue, slot: int, size: int) -> None:
    for i in range(slot, size - 1):
        queue.request[i] = queue.request[i + 1]
        queue.arrival[i] = queue.arrival[i + 1]
        queue.deadline[i] = queue.deadline[i + 1]
        queue.priority[i] = queue.priority[i + 1]
        queue.remaining[i] = queue.remaining[i + 1]
        queue.next_layer[i] = queue.next_layer[i + 1]
        queue.isolated[i] = queue.isolated[i + 1]
        queue.correction[i] = queue.correction[i + 1]
        queue.last_run[i] = queue.last_run[i + 1]
        queue.executed[i] = queue.executed[i + 1]
        queue.layers[i] = queue.layers[i + 1]
        queue.memory[i] = queue.memory[i + 1]


@compiled(types.void(JOBS_TYPE, TABLES_TYPE, STATE_TYPE, QUEUE_TYPE, types.int64), inline=True)
def execute(jobs: Jobs, tables: Tables, state: State, queue: Queue, slot: int) -> None:
    """Run the next layer of the request in ``slot`` to its end; does not admit what arrived."""
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
        _remove(queue, slot, state.counters[SIZE])
        state.counters[SIZE] -= 1
    else:
        state.counters[RUNNING] = request
        queue.remaining[slot] = tables.remaining[cell]
        queue.next_layer[slot] = tables.next_layer[cell]
        queue.correction[slot] = tables.correction[cell]
        queue.last_run[slot] = now
        queue.executed[slot] = executed


@compiled(types.int64(_FLOATS, types.int64), inline=True)
def first_least(scores: Floats, size: int) -> int:
    """Index of the first least of ``scores[:size]``; NaN counts as greater than any number."""
    # Four running minima: one would be a chain of dependent comparisons, four times as slow.
    a = b = c = d = np.inf
    whole = size - size % 4
    for i in range(0, whole, 4):
        a = scores[i] if scores[i] < a else a
        b = scores[i + 1] if scores[i + 1] < b else b
        c = scores[i + 2] if scores[i + 2] < c else c
        d = scores[i + 3] if scores[i + 3] < d else d
    for i in range(whole, size):
        a = scores[i] if scores[i] < a else a
    a = b if b < a else a
    c = d if d < c else c
    a = c if c < a else a
    for i in range(size):
        if scores[i] == a:
            return i
    return 0  # every score is NaN: the earliest arrival


LOOP_SIGNATURE = types.void(
    JOBS_TYPE,
    TABLES_TYPE,
    STATE_TYPE,
    QUEUE_TYPE,
    types.FunctionType(RULE_SIGNATURE),
    _FLOATS,
    _FLOATS,
)
"""Compiled type of ``loop(jobs, tables, state, queue, rule, parameters, scores)``."""


@compiled(LOOP_SIGNATURE)
def _run(
    jobs: Jobs,
    tables: Tables,
    state: State,
    queue: Queue,
    rule: Any,
    parameters: Floats,
    scores: Floats,
) -> None:
    """The event loop: decide until every request is finished."""
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    parameters, scores = borrow(parameters), borrow(scores)
    while state.counters[SIZE] > 0:
        rule(queue, state.counters[SIZE], state.clock[0], parameters, scores)
        execute(jobs, tables, state, queue, first_least(scores, state.counters[SIZE]))
        admit(jobs, tables, state, queue)


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

    Attributes:
        queue: The queue's columns, the first `size` entries of which count.
        loop: The compiled event loop, of `LOOP_SIGNATURE`.
    """

    loop: ClassVar[Callable[..., None]] = staticmethod(_run)

    def __init__(self, workload: Workload, level: str, *, record: bool = False) -> None:
        self.workload = workload
        store = workload.store
        self._mean_isolated_s = store.mean_isolated_s(workload.reference)
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
            queue_limit=total if workload.queue_limit is None else int(workload.queue_limit),
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
        self.queue: Queue = _columns(Queue, total)
        admit(self.jobs, self.tables, self.state, self.queue)

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

    def step(self, slot: int) -> None:
        """Run the next layer of the request at ``slot`` of the queue, then admit what arrived.

        Raises:
            DystaError: If the slot is not in the queue.
        """
        if self.done:
            raise DystaError(f"slot: {slot} cannot run; every request is finished")
        if not 0 <= slot < self.size:
            raise DystaError(f"slot: {slot} is not in the queue; it must be 0 to {self.size - 1}")
        execute(self.jobs, self.tables, self.state, self.queue, slot)
        admit(self.jobs, self.tables, self.state, self.queue)

    def choose(self, policy: Policy, among: int | None = None) -> int:
        """The slot that ``policy`` runs next. To be asked once a decision: rules may remember.

        Args:
            policy: The policy; it sees the queue at this machine's level of information.
            among: Choose among the first ``among`` slots only; None for the whole queue.
        """
        scores = np.empty(self.size)
        rule = policy.compiled() or policy.score
        rule(self.queue, self.size, self.now, policy.values(self._mean_isolated_s), scores)
        return int(first_least(scores, min(self.size, among or self.size)))

    def run(self, policy: Policy) -> None:
        """Let ``policy`` decide until every request is finished."""
        rule = policy.compiled()
        if rule is None:
            while not self.done:
                self.step(self.choose(policy))
        else:
            scores = np.empty(len(self.workload))
            values = policy.values(self._mean_isolated_s)
            self.loop(self.jobs, self.tables, self.state, self.queue, rule, values, scores)

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
