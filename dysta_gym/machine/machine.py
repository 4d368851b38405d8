"""The accelerator with its queue, run one decision at a time or to the end."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from time import perf_counter
from typing import Any

import numpy as np
from numba import types

from dysta_gym.compiled.functions import address_of, compiled
from dysta_gym.compiled.records import Floats, Ints, blank, borrow
from dysta_gym.errors import DystaError
from dysta_gym.information import Estimates, estimates
from dysta_gym.machine.loops import run_events, run_indexed, run_scanning
from dysta_gym.machine.queue import (
    ARRIVED,
    ASKED,
    DECISIONS,
    MACHINE_TYPES,
    PREEMPTIONS,
    RUNNING,
    SIZE,
    Jobs,
    Queue,
    State,
    Tables,
    admit,
    decide,
    eventless,
    execute,
)
from dysta_gym.machine.rule import Rule, check_values, choose, choose_plainly, columns_of, fault_of
from dysta_gym.sealing import opened
from dysta_gym.traces import cell_of
from dysta_gym.turns import go_on, next_turn
from dysta_gym.workloads import Workload


@compiled(types.void(*MACHINE_TYPES))
def _start(jobs: Jobs, tables: Tables, state: State, queue: Queue) -> None:
    admit(borrow(jobs), borrow(tables), borrow(state), borrow(queue))


@compiled(types.void(*MACHINE_TYPES, types.int64, types.boolean))
def _step(jobs: Jobs, tables: Tables, state: State, queue: Queue, slot: int, asked: bool) -> None:
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    if asked:
        decide(jobs, state)
    execute(jobs, tables, state, queue, slot)
    admit(jobs, tables, state, queue)


_LEAST_TURN = 1 << 11

_TURNS: dict[int, int] = {}
"""Decisions that a loop takes in a turn, for each rule by its address."""


@dataclass(frozen=True, eq=False, repr=False)
class Schedule:
    """Who ran when.

    Attributes:
        workload: What was scheduled.
        finish_s: Finish time of each request in seconds, NaN if unfinished, shape ``(requests,)``;
            on the workload's clock.
        preemptions: How often an unfinished request was set aside for another one.
        decisions: Layers run.
        asked: How often a policy was asked which layer to run.
        ran: Request that ran in each decision, shape ``(decisions,)``; empty if not recorded.
        started_s: When that layer started, in seconds, same shape; on the workload's clock.
        elapsed_s: The finish times since `Workload.origin_s`, to more digits where that is far.
        began_s: The start times since then, likewise; empty if not recorded.
    """

    workload: Workload
    finish_s: Floats
    preemptions: int
    decisions: int
    asked: int
    ran: Ints
    started_s: Floats
    elapsed_s: Floats
    began_s: Floats

    @property
    def ntt(self) -> Floats:
        """Normalised turnaround of each request, NaN if unfinished, shape ``(requests,)``."""
        return (self.elapsed_s - self.workload.moments.arrival) / self.workload.isolated_s

    def __repr__(self) -> str:
        finished = int(np.isfinite(self.finish_s).sum())
        return (
            f"<Schedule of {self.workload!r}: {finished} finished, {self.decisions} layers run, "
            f"{self.preemptions} preemptions>"
        )


class Machine:
    """The accelerator with its queue, run one decision at a time or to the end.

    Its clock starts at `Workload.origin_s`.

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
            arrival=workload.moments.arrival,
            deadline=workload.moments.deadline,
            priority=opened(workload.priority),
            first_cell=cell_of(store.first_cell[workload.trace], workload.row, layers),
            layers=layers,
            preemption_cost=float(workload.preemption_cost_s),
            queue_limit=min(total, int(workload.queue_limit or total)),  # of any size
            decision_fixed=float(workload.decision_fixed_s),
            decision_each=float(workload.decision_per_request_s),
        )
        self.tables = Tables(opened(store.latency_s), *known)
        recorded = int(layers.sum()) if record else 0
        self.state = State(
            clock=np.zeros(1),
            counters=np.zeros(7, np.int64),
            finish=np.full(total, np.nan),
            ran=np.zeros(recorded, np.int64),
            started=np.zeros(recorded),
        )
        self.state.counters[RUNNING] = -1
        self._queue: Queue = blank(Queue, total)
        # Last choice of a policy that is asked at events: whose, which, and what was known then.
        self._chosen: tuple[Rule | None, int, int, float] = (None, -1, 0, 0.0)
        self._level = level
        self._indexed: tuple[Any, Ints, Floats] | None = None  # the last index, by request
        self._stood = -1  # layers that had run when such a choice was last found to stand
        self._columns: Queue | None = None  # as the last rule in plain Python was given them
        self._fitting: Rule | None = None  # the policy that was asked last
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

    def step(self, slot: int, *, asked: bool | None = None) -> None:
        """Run the next layer of the request at ``slot`` of the queue, then admit what arrived.

        Args:
            slot: The slot.
            asked: Whether somebody was asked which, which counts as a decision, and takes the time
                of one; None for yes, unless `choose` has just found that a policy which is asked at
                events need not be.

        Raises:
            DystaError: If the slot is not in the queue.
        """
        if self.done:
            raise DystaError(f"slot: {slot} cannot run; every request is finished")
        if not 0 <= slot < self.size:
            raise DystaError(f"slot: {slot} is not in the queue; it must be 0 to {self.size - 1}")
        if asked is None:
            asked = bool(self.state.counters[DECISIONS] != self._stood)
        _step(*self.parts, slot, asked)

    def choose(self, policy: Rule, among: int | None = None) -> int:
        """The slot that ``policy`` runs next. To be asked once a decision: rules may remember.

        Args:
            policy: The policy; it sees the queue at this machine's level of information.
            among: Choose among the first ``among`` slots only; None for the whole queue.
        """
        slot = self._standing(policy)
        if slot >= 0:
            self._stood = int(self.state.counters[DECISIONS])
        else:
            slot = self._ask(policy, among)
            if policy.events and self.size:
                request, expected = self._queue.request[slot], self._queue.remaining[slot]
                self._chosen = (policy, int(request), self.arrived, float(expected))
        return slot

    def _standing(self, policy: Rule) -> int:
        """Slot of the request that a policy chose and that nothing has happened to since, or -1."""
        chooser, request, arrived, expected = self._chosen
        if chooser != policy or self.state.counters[RUNNING] != request:
            return -1
        slot = int(np.argmax(self._queue.request[: self.size] == request))
        return slot if eventless(self.state, self._queue, slot, arrived, expected) else -1

    def values_for(self, policy: Rule) -> Floats:
        """What a policy's rule reads beside the queue, its index of the requests' layers last."""
        values = policy.values(self.mean_isolated_s)
        if policy.index is None:
            return values
        if self._indexed is None or self._indexed[0] is not policy.index:
            workload, layers = self.workload, self.jobs.layers
            key = ("index", policy.index, self._level, workload.reference)
            kept = workload.store.cached
            if key not in kept:
                kept[key] = policy.index(workload.store, self._level, workload.reference)
            starts = np.cumsum(layers) - layers
            cells = np.repeat(self.jobs.first_cell - starts, layers) + np.arange(layers.sum())
            self._indexed = policy.index, starts, kept[key][cells]
        _, starts, numbers = self._indexed
        return np.concatenate([values, starts + (len(values) + len(starts)), numbers])

    def _ask(self, policy: Rule, among: int | None) -> int:
        values = self.values_for(policy)
        among = min(self.size, among or self.size)
        rule = policy.compiled()
        if rule is None:
            self._columns = columns_of(self._queue, self.size, self._columns)
            return choose_plainly(policy, self._columns, self.now, values, among)
        scores = np.empty(self.size)
        if policy is not self._fitting:
            check_values(policy, values)
            self._fitting = policy
        try:
            return int(choose(self.queue, self.now, address_of(rule), values, scores, among))
        except Exception as error:
            if fault := fault_of(policy, error):
                raise fault from error
            raise

    def run(self, policy: Rule, stop: Event | None = None) -> None:
        """Let ``policy`` decide until every request is finished.

        What its rule raises is passed on; the machine is then of no further use.

        Args:
            policy: The policy.
            stop: Whether to stop in the middle, for then nobody waits for the end.

        Raises:
            DystaError: If the rule does what it may not do, see `dysta_gym.Policy`.
            CancelledError: If it has been stopped.
        """
        rule = policy.compiled()
        if rule is None:
            while not self.done:
                go_on(stop)
                self.step(self.choose(policy))
            return
        try:
            self._run(policy, address_of(rule), stop)
        except BaseException as error:
            self.state.counters[SIZE] = 0  # the queue may have gaps: nobody may go on from here
            if fault := fault_of(policy, error):
                raise fault from error
            raise

    def _run(self, policy: Rule, rule: int, stop: Event | None) -> None:
        total = len(self.workload)
        values, scores = self.values_for(policy), np.empty(total)
        check_values(policy, values)
        loop: Any
        beside: tuple[Any, ...]
        if policy.stable:
            loop, beside = run_indexed, (np.empty(total), np.zeros(3 * total + 2, np.int64))
        elif policy.events:
            loop, beside = run_events, (policy.effort_of(values),)
            while self._standing(policy) >= 0:
                self.step(self.choose(policy))
        else:
            loop, beside = run_scanning, (policy.drift_of(values),)
        parts, counters = self.parts, self.state.counters
        turn = _TURNS.get(rule, _LEAST_TURN)
        before = int(counters[DECISIONS])
        while not self.done:
            go_on(stop)
            began = perf_counter()
            loop(*parts, rule, values, scores, int(counters[DECISIONS]) + turn, *beside)
            if not self.done:
                turn = _TURNS[rule] = next_turn(turn, perf_counter() - began, _LEAST_TURN)
        if not policy.events:
            counters[ASKED] += counters[DECISIONS] - before

    def schedule(self) -> Schedule:
        """What has happened so far; a copy, which the machine leaves alone as it goes on."""
        counters = self.state.counters
        decisions = int(counters[DECISIONS])
        elapsed_s, origin_s = self.state.finish.copy(), self.workload.origin_s
        began_s = self.state.started[:decisions].copy()
        return Schedule(
            workload=self.workload,
            finish_s=elapsed_s + origin_s,
            preemptions=int(counters[PREEMPTIONS]),
            decisions=decisions,
            asked=int(counters[ASKED]),
            ran=self.state.ran[:decisions].copy(),
            started_s=began_s + origin_s,
            elapsed_s=elapsed_s,
            began_s=began_s,
        )
