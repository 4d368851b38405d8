"""What a step does, compiled once for a single environment and for any number of them.

An `Episode` holds one environment's machine and what its rewards are counted with, an `Outcome`
what comes of the steps of any number of them. Compiled code reads both from memory, by address (see
`dysta_gym.compiled.records`), so that a call hands over no columns.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.digest import fresh
from dysta_gym.compiled.functions import compiled, compiled_or_refused
from dysta_gym.compiled.guarding import guarded, own
from dysta_gym.compiled.records import (
    Floats,
    Ints,
    blank,
    exact,
    invoke,
    part,
    read_only,
    reader,
)
from dysta_gym.compiled.sorting import sort
from dysta_gym.describing import formulas, planner, row_writer, whole_of, whole_writer
from dysta_gym.errors import DystaError
from dysta_gym.features import Feature, Selection, select
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
    decide,
    eventless,
    execute,
    of_length,
)
from dysta_gym.rewards import MEMORY, Accrued, Reward
from dysta_gym.sealing import opened

Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]

DECISIONS = ("layers", "events")
"""When an action is asked for: after every layer, or only at events."""


class Ledger(NamedTuple):
    """What the rewards are counted with.

    Attributes:
        isolated: True isolated latency of each request in seconds, shape ``(requests,)``.
        model: Index of its model in the store, same shape.
        share: What a second in the system costs of ANTT, for each request, same shape.
        by_deadline: The requests in order of their deadlines, same shape.
        counts: Indexed by `PASSED` (deadlines that have passed) and `ENTERED` (requests that have
            arrived, in the queue or outside it).
        sums: Indexed by `RATE` (sum of the shares of the unfinished ones of these) and
            `PRIORITY_SCALE` (1 / greatest priority).
        memory: What the reward remembers, see `dysta_gym.rewards.Reward`.
    """

    isolated: Floats
    model: Ints
    share: Floats
    by_deadline: Ints
    counts: Ints
    sums: Floats
    memory: Floats


PASSED, ENTERED = range(2)
RATE, PRIORITY_SCALE = range(2)


class Terms(NamedTuple):
    """What an environment is told, and knows of all requests.

    Attributes:
        tables: What the level of information knows.
        kept: The kept features of every cell of the store, one after the other.
        kept_width: How many there are.
        slots: Requests that can be chosen from.
        unit_s: Mean isolated latency of the traces.
        penalty: ANTT that a violation rate of 1 weighs, shape ``(1,)``; it may change.
        reward: Address of the reward (`payer`).
        observe: Address of what writes the observation (`observer`).
        decisions: Index into `DECISIONS`.
    """

    tables: Tables
    kept: Singles
    kept_width: int
    slots: int
    unit_s: float
    penalty: Floats
    reward: int
    observe: int
    decisions: int

    def __deepcopy__(self, memo: dict[int, Any]) -> Terms:
        return self._replace(penalty=deepcopy(self.penalty, memo))  # the rest stays as it is


class Episode(NamedTuple):
    """One environment: its machine and its ledger.

    Attributes:
        terms: What it is told.
        jobs: See `dysta_gym.machine.queue`, as for the next two.
        state: The machine's state.
        queue: The machine's queue.
        rows: The kept features of each request of the queue, one after the other.
        ledger: What the rewards are counted with.
    """

    terms: Terms
    jobs: Jobs
    state: State
    queue: Queue
    rows: Singles
    ledger: Ledger


class Outcome(NamedTuple):
    """Where the outcome of a step of each environment goes.

    Attributes:
        observations: Shape ``(environments, features)``.
        masks: Which slots may be chosen, shape ``(environments, slots)``.
        rewards: Shape ``(environments,)``, as all that follow.
        terminated: Whether the episode has ended.
        invalid: Whether the action was an empty slot.
        time_s: The time in seconds.
        queue_size: Requests in the queue.
        request: Request that ran in the step, an index into its workload; -1 if none did.
        model: Index of its model in the workload's store; -1 if none did.
        ran_s: What its layers took, in seconds.
        filled: Slots that hold something in ``observations`` and ``masks``.
    """

    observations: NDArray[np.float32]
    masks: NDArray[np.bool_]
    rewards: Floats
    terminated: Bools
    invalid: Bools
    time_s: Floats
    queue_size: Ints
    request: Ints
    model: Ints
    ran_s: Floats
    filled: Ints

    def forget(self, slots: int) -> None:
        """Make ready for new episodes, whatever a call that was broken off has written."""
        self.masks[:] = True  # as `filled` says of them
        self.filled[:] = slots


@compiled(None, inline=True)
def _shown(queue: Queue, size: int) -> Queue:
    """The queue as formulas are given it: its own entries and no others, to read."""
    seen: Queue = read_only(exact(of_length(queue, size), 0, size), None)
    return seen


@compiled(None, inline=True)
def _keep(episode: Episode, slot: int) -> None:
    """Bring the kept features of the request in a slot up to date."""
    terms = episode.terms
    width = terms.kept_width
    cell = episode.jobs.first_cell[episode.queue.request[slot]] + episode.queue.executed[slot]
    to, at = part(episode.rows, slot * width), part(terms.kept, cell * width)
    for feature in range(width):
        to[feature] = at[feature]


@compiled(None, inline=True)
def _begin(episode: Episode) -> None:
    """Start the episode of ``jobs``, ``isolated`` and ``model``; all else is set from them."""
    terms, jobs, state, ledger = episode.terms, episode.jobs, episode.state, episode.ledger
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
    sort(jobs.deadline, ledger.by_deadline)
    ledger.counts[PASSED] = ledger.counts[ENTERED] = 0
    ledger.sums[RATE] = 0.0
    ledger.sums[PRIORITY_SCALE] = 1.0 / greatest
    for number in range(ledger.memory.size):
        ledger.memory[number] = 0.0
    admit(jobs, terms.tables, state, episode.queue)
    _count_arrivals(jobs, state, ledger, state.clock[0])
    for slot in range(state.counters[SIZE]):
        _keep(episode, slot)


@compiled(None, inline=True)
def _count_arrivals(jobs: Jobs, state: State, ledger: Ledger, end: float) -> float:
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
def _advance(episode: Episode, slot: int, asked: bool) -> tuple[float, float]:
    """Run one layer; the ANTT and the violation rate that accrue until it ends.

    ``asked`` says whether somebody was asked which, which takes the time of a decision.
    """
    terms, jobs, state = episode.terms, episode.jobs, episode.state
    queue, ledger = episode.queue, episode.ledger
    request = queue.request[slot]
    start = state.clock[0]
    if asked:
        decide(jobs, state)
    finished = execute(jobs, terms.tables, state, queue, slot)
    end = state.clock[0]
    size, width = state.counters[SIZE], terms.kept_width
    if finished:
        close_gap(episode.rows, slot * width, (size + 1) * width, width)
    else:
        _keep(episode, slot)
    admit(jobs, terms.tables, state, queue)
    for entered in range(size, state.counters[SIZE]):
        _keep(episode, entered)
    turnaround = (end - start) * ledger.sums[RATE] + _count_arrivals(jobs, state, ledger, end)
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


def _copier(columns: tuple[int, ...], first: int = 0) -> Any:
    """``copy(rows, row, out, at)``: the kept features of a request, each to its own column."""
    if first == len(columns):

        def nothing(rows: Singles, row: int, out: Singles, at: int) -> None:
            pass

        return compiled(None, inline=True)(nothing)
    column, rest = columns[first], _copier(columns, first + 1)

    def copy(rows: Singles, row: int, out: Singles, at: int) -> None:
        value = rows[row + first]  # all are read before the first is written
        rest(rows, row, out, at)
        out[at + column] = value

    return compiled(None, inline=True)(copy)


def kept_of(selection: Selection) -> tuple[Feature, ...]:
    """The features that change only when the request runs; these are kept ready, a row each."""
    return tuple(each for each in selection.requests if each.kept)


@fresh(formulas)
def observer(selection: Selection) -> Any:
    """What writes the observation and the mask of an environment: ``observe(at, to, index)``.

    Arguments as of `turn`. Whatever the features are, steps call it by its address, so that they
    need not be compiled again.

    Raises:
        DystaError: If a feature cannot be compiled.
    """
    columns = list(enumerate(selection.requests))
    copy = _copier(tuple(column for column, each in columns if each.kept))
    write = row_writer(tuple((column, each) for column, each in columns if not each.kept))
    write_whole = whole_writer(selection.queue)
    planned = planner((*selection.requests, *selection.queue))
    width, kept = len(selection.requests), len(kept_of(selection))

    def observe(at: int, to: int, index: int) -> None:
        episode, outcome = read_episode(at), read_outcome(to)
        terms, state = episode.terms, episode.state
        out, masks = outcome.observations[index], outcome.masks[index]
        size, slots, filled = state.counters[SIZE], terms.slots, outcome.filled[index]
        taken = min(size, slots)
        queue = _shown(episode.queue, size)
        finished = state.counters[FINISHED]
        whole = whole_of(
            queue,
            size,
            state.clock[0],
            terms.unit_s,
            episode.ledger.counts[ENTERED] - finished,
            slots,
            finished,
            state.finish.size,
            episode.ledger.sums[PRIORITY_SCALE],
            planned(queue, size, state.clock[0]),
        )
        for slot in range(taken):
            copy(episode.rows, slot * kept, out, slot * width)
            write(queue, slot, whole, out, slot * width, 1)
        for entry in range(taken * width, filled * width):
            out[entry] = 0.0
        write_whole(queue, whole, out, slots * width)
        for slot in range(filled, taken):
            masks[slot] = True
        for slot in range(max(taken, 1), filled):
            masks[slot] = False
        masks[0] = True  # at the end of an episode, too, for something must be there to choose
        outcome.filled[index] = taken

    signature = types.void(types.intp, types.intp, types.int64)
    features = (*selection.requests, *selection.queue)
    named = f"feature {features[0].name!r}: its" if len(features) == 1 else "features: a"
    try:
        return compiled_or_refused(signature, observe, f"{named} formula")
    except DystaError:
        for each in features if len(features) > 1 else ():
            observer(select([each]))  # raises the same, and says of which
        raise


def new_episode(
    terms: Terms, jobs: Jobs, state: State, queue: Queue, isolated: Floats, model: Ints
) -> Episode:
    """An episode of these requests, to be begun."""
    requests = len(jobs.arrival)
    ledger = Ledger(
        isolated=isolated,
        model=model,
        share=np.zeros(requests),
        by_deadline=np.zeros(requests, np.int64),
        counts=np.zeros(2, np.int64),
        sums=np.zeros(2),
        memory=np.zeros(MEMORY),
    )
    rows = np.zeros(requests * terms.kept_width, np.float32)
    return Episode(terms, jobs, state, queue, rows, ledger)


def episode_of(machine: Machine, terms: Terms) -> Episode:
    """An episode on a machine, to be begun."""
    jobs, _, state, queue = machine.parts
    workload = machine.workload
    return new_episode(
        terms, jobs, state, queue, opened(workload.isolated_s), opened(workload.model)
    )


def new_outcome(environments: int, slots: int, features: int) -> Outcome:
    """Room for the outcomes of so many environments, each observing so many numbers."""
    return Outcome(
        observations=np.zeros((environments, features), np.float32),
        masks=np.zeros((environments, slots), np.bool_),
        rewards=np.zeros(environments),
        terminated=np.zeros(environments, np.bool_),
        invalid=np.zeros(environments, np.bool_),
        time_s=np.zeros(environments),
        queue_size=np.zeros(environments, np.int64),
        request=np.zeros(environments, np.int64),
        model=np.zeros(environments, np.int64),
        ran_s=np.zeros(environments),
        filled=np.zeros(environments, np.int64),
    )


EPISODE_TYPE = numba.typeof(
    new_episode(
        Terms(blank(Tables, 1), np.zeros(1, np.float32), 0, 0, 0.0, np.zeros(1), 0, 0, 0),
        blank(Jobs, 1),
        blank(State, 1),
        blank(Queue, 1),
        np.zeros(1),
        np.zeros(1, np.int64),
    )
)
OUTCOME_TYPE = numba.typeof(new_outcome(1, 1, 1))
read_episode, read_outcome = reader(EPISODE_TYPE), reader(OUTCOME_TYPE)


_PAY_SIGNATURE = types.void(
    *(types.intp, types.intp, types.int64), *(types.float64, types.float64, types.boolean)
)


@fresh(lambda reward: [reward.formula])
def payer(reward: Reward) -> Any:
    """What rewards a step: ``pay(at, to, index, turnaround, violations, begins)``.

    The first three as of `turn`, the rest as of `dysta_gym.rewards.Accrued`.

    Raises:
        DystaError: If the reward cannot be compiled.
    """
    formula, may_err = guarded(reward.formula), not own(reward.formula)

    def pay(
        at: int, to: int, index: int, turnaround: float, violations: float, begins: bool
    ) -> None:
        episode, outcome = read_episode(at), read_outcome(to)
        terms, state = episode.terms, episode.state
        size = state.counters[SIZE]
        accrued = Accrued(
            turnaround,
            violations,
            terms.penalty[0],
            state.clock[0],
            terms.unit_s,
            state.finish.size,
            begins,
            size == 0,
        )
        queue = _shown(episode.queue, size)
        reward_of_step = formula(accrued, queue, episode.ledger.memory)
        if may_err and reward_of_step != reward_of_step:
            raise ValueError("it gives NaN")
        outcome.rewards[index] = reward_of_step

    return compiled_or_refused(_PAY_SIGNATURE, pay, f"reward {reward.name!r}: its formula")


@compiled(None, inline=True)
def _report(episode: Episode, outcome: Outcome, at: int, to: int, index: int) -> None:
    """Write what an environment shows; arguments as of `turn`."""
    invoke(episode.terms.observe, (at, to, index))
    outcome.time_s[index] = episode.state.clock[0]
    outcome.queue_size[index] = episode.state.counters[SIZE]


@compiled(None, inline=True)
def _nobody_ran(outcome: Outcome, index: int) -> None:
    outcome.request[index] = outcome.model[index] = -1
    outcome.ran_s[index] = 0.0


Turn = tuple[float, bool, bool, float, int, int, int, float]
"""What `turn` returns."""


@compiled(None, inline=True)
def _told(outcome: Outcome, index: int) -> Turn:
    return (
        outcome.rewards[index],
        outcome.terminated[index],
        outcome.invalid[index],
        outcome.time_s[index],
        outcome.queue_size[index],
        outcome.request[index],
        outcome.model[index],
        outcome.ran_s[index],
    )


_TOLD_TYPE = types.Tuple(
    [
        *(types.float64, types.boolean, types.boolean, types.float64),
        *(types.int64, types.int64, types.int64, types.float64),
    ]
)


@compiled(_TOLD_TYPE(types.intp, types.intp, types.int64, types.int64), alone=True)
def turn(at: int, to: int, index: int, action: int) -> Turn:
    """One step of one environment.

    Args:
        at: Address of its episode.
        to: Address of the outcome.
        index: Its row in the outcome.
        action: The slot that runs.

    Returns:
        Of the outcome, what Python would need a call each to read: the reward, whether the episode
        has ended, whether the action was an empty slot, the time, the requests in the queue, and
        who ran: the request, its model, and what its layers took.
    """
    episode, outcome = read_episode(at), read_outcome(to)
    state = episode.state
    if state.counters[SIZE] == 0:  # someone else has run the machine to its end
        outcome.rewards[index], outcome.terminated[index] = 0.0, True
        _nobody_ran(outcome, index)
        _report(episode, outcome, at, to, index)
        return _told(outcome, index)
    invalid = action >= state.counters[SIZE]
    slot = 0 if invalid else action
    arrived, expected = state.counters[ARRIVED], episode.queue.remaining[slot]
    request = episode.queue.request[slot]
    cell = episode.jobs.first_cell[request] + episode.queue.executed[slot]
    turnaround = violations = ran_s = 0.0
    asked = True
    while True:
        more_turnaround, more_violations = _advance(episode, slot, asked)
        asked = False
        ran_s += episode.terms.tables.latency[cell]
        cell += 1
        turnaround += more_turnaround
        violations += more_violations
        if not episode.terms.decisions or not eventless(
            state, episode.queue, slot, arrived, expected
        ):
            break
    invoke(episode.terms.reward, (at, to, index, turnaround, violations, False))
    outcome.terminated[index] = state.counters[SIZE] == 0
    outcome.invalid[index] = invalid
    outcome.request[index], outcome.model[index] = request, episode.ledger.model[request]
    outcome.ran_s[index] = ran_s
    _report(episode, outcome, at, to, index)
    return _told(outcome, index)


class Place(NamedTuple):
    """Where a single environment is.

    Attributes:
        episode: Address of its episode.
        outcome: Address of its outcome, of one row.
    """

    episode: int
    outcome: int


PLACE_TYPE = numba.typeof(Place(0, 0))
_read_place = reader(PLACE_TYPE)


@compiled(_TOLD_TYPE(types.intp, types.int64), alone=True)
def turn_alone(place: int, action: int) -> Turn:
    """`turn` of a single environment; every argument that Python hands over takes its time.

    Args:
        place: Address of its `Place`.
        action: The slot that runs.
    """
    where = _read_place(place)
    return turn(where.episode, where.outcome, 0, action)


@compiled(types.void(types.intp, types.intp, types.int64), alone=True)
def start(at: int, to: int, index: int) -> None:
    """Start the episode of one environment, given as in `turn`."""
    episode, outcome = read_episode(at), read_outcome(to)
    _begin(episode)
    invoke(episode.terms.reward, (at, to, index, 0.0, 0.0, True))
    outcome.rewards[index] = 0.0
    outcome.terminated[index] = outcome.invalid[index] = False
    _nobody_ran(outcome, index)
    _report(episode, outcome, at, to, index)
