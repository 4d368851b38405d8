"""Many environments that step together in one compiled call, without Gymnasium.

A `Batch` owns the memory that compiled code works on: an episode of each environment, what its
workloads are drawn from, and two outcomes, which calls fill in turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.functions import address_of, compiled
from dysta_gym.compiled.records import FLOATS_TYPE, INTS_TYPE, Floats, Ints, Placed, blank, reader
from dysta_gym.compiled.streams import WIDTH, integers, pool, seeded
from dysta_gym.envs.crew import Crew
from dysta_gym.envs.episode import (
    EPISODE_TYPE,
    OUTCOME_TYPE,
    Bools,
    Episode,
    Outcome,
    new_episode,
    new_outcome,
    read_episode,
    read_outcome,
    start,
    turn,
)
from dysta_gym.envs.settings import Settings
from dysta_gym.errors import DystaError
from dysta_gym.machine.queue import ASKED, PREEMPTIONS, Jobs, Queue, State
from dysta_gym.metrics import names, tally
from dysta_gym.sealing import opened
from dysta_gym.traces import cell_of, reference_split
from dysta_gym.workloads import (
    PLAN_TYPE,
    REQUESTS_TYPE,
    Plan,
    Requests,
    deadline,
    draw,
    generate,
    plan,
)

_NEXT_STEP, _SAME_STEP, _DISABLED = range(3)
_CODES = {
    AutoresetMode.NEXT_STEP: _NEXT_STEP,
    AutoresetMode.SAME_STEP: _SAME_STEP,
    AutoresetMode.DISABLED: _DISABLED,
}

_LAST = 2
"""Where in the outcomes the last steps of episodes are, in mode ``SameStep``."""

_ADDRESSES = {"_homes", "_drawn", "_from", "_to", "_frames", "_visited", "_crew"}
"""Attributes that are places in memory, and are not copied."""


class Source(NamedTuple):
    """What workloads are drawn from, and what compiled code knows of the traces.

    Attributes:
        plan: See `dysta_gym.workloads.plan`.
        first_cell: First cell of each trace in the store's tables, shape ``(traces,)``.
        layers: Layers of each trace, same shape.
        model: Index of each trace's model, same shape.
        isolated: True isolated latency in seconds of the input of each cell, shape ``(cells,)``.
    """

    plan: Plan
    first_cell: Ints
    layers: Ints
    model: Ints
    isolated: Floats


class Shared(NamedTuple):
    """Environments that step together, for compiled code.

    All arrays are of shape ``(environments, ...)``.

    Attributes:
        source: Address of where their workloads come from.
        outcome: Address of where the outcomes go.
        last: Address of where the outcomes of an episode's last step go, where the same step starts
            over.
        mode: When they start over.
        episodes: Address of the episode of each.
        homes: Address of the episode that drawn workloads go to.
        requests: Address of the columns that they are drawn into.
        streams: Each one's own random stream.
        limit: Steps of an episode at most; 0 for any number.
        steps: Steps of its episode so far.
        ended: Whether the episode has ended.
        truncated: Whether the last step has ended it for its length.
        priorities: Priorities that metrics are reported for, shape ``(priorities,)``.
        metrics: Metrics of the last finished episode, in the order of `dysta_gym.metrics.names`;
            NaN where its workload was given.
    """

    source: int
    outcome: int
    last: int
    mode: int
    episodes: Ints
    homes: Ints
    requests: Ints
    streams: NDArray[np.uint64]
    limit: int
    steps: Ints
    ended: Bools
    truncated: Bools
    priorities: Floats
    metrics: Floats


_SOURCE_TYPE = types.NamedTuple([PLAN_TYPE, *(INTS_TYPE,) * 3, FLOATS_TYPE], Source)
_SHARED_TYPE = types.NamedTuple(
    [
        *(types.int64,) * 4,
        *(INTS_TYPE,) * 3,
        types.uint64[:, ::1],
        types.int64,
        INTS_TYPE,
        *(types.boolean[::1],) * 2,
        FLOATS_TYPE,
        types.float64[:, ::1],
    ],
    Shared,
)
_read_source, _read_shared = reader(_SOURCE_TYPE), reader(_SHARED_TYPE)
_read_requests = reader(REQUESTS_TYPE)
_cell_of = compiled(None, inline=True)(cell_of)


@compiled(types.void(types.intp, types.intp, types.intp, types.uint64))
def _draw(source: int, requests: int, home: int, seed: int) -> None:
    """Draw a workload from a source into columns and the episode that they belong to."""
    drawn, known, episode = _read_requests(requests), _read_source(source), read_episode(home)
    draw(known.plan, pool(seed, np.uint64(0)), drawn)
    for i in range(drawn.arrival.size):
        trace = drawn.trace[i]
        layers = known.layers[trace]
        cell = _cell_of(known.first_cell[trace], drawn.row[i], layers)
        due = deadline(drawn.start[i], drawn.period[i], known.plan.slo_multiplier)
        episode.jobs.deadline[i] = due
        episode.jobs.first_cell[i] = cell
        episode.jobs.layers[i] = layers
        episode.ledger.isolated[i] = known.isolated[cell]
        episode.ledger.model[i] = known.model[trace]


@compiled(types.void(types.intp, types.int64, types.uint64))
def _renew(batch: int, index: int, seed: int) -> None:
    """Start the episode of this seed at the home of an environment."""
    shared = _read_shared(batch)
    home = shared.homes[index]
    _draw(shared.source, shared.requests[index], home, seed)
    shared.episodes[index] = home
    start(home, shared.outcome, index)
    shared.ended[index] = False
    shared.steps[index] = 0


@compiled(None, inline=True)
def _next_seed(shared: Shared, index: int) -> Any:
    """The seed of the next episode, from the environment's own stream."""
    return np.uint64(integers(shared.streams[index], 2**31))


@compiled(types.void(types.intp, FLOATS_TYPE, FLOATS_TYPE))
def _measure(at: int, priorities: Floats, out: Floats) -> None:
    """Write the metrics of a finished episode."""
    episode = read_episode(at)
    jobs, ledger = episode.jobs, episode.ledger
    tally(
        jobs.arrival,
        ledger.isolated,
        jobs.deadline,
        episode.state.finish,
        jobs.priority,
        ledger.model,
        episode.state.counters[PREEMPTIONS],
        episode.state.counters[ASKED],
        priorities,
        out,
    )


@compiled(types.void(types.intp, types.int64, types.int64))
def _play(batch: int, index: int, action: int) -> None:
    """A step of one environment of a batch."""
    shared = _read_shared(batch)
    shared.truncated[index] = False
    if shared.ended[index]:
        if shared.mode == _NEXT_STEP:
            _renew(batch, index, _next_seed(shared, index))
        return
    turn(shared.episodes[index], shared.outcome, index, action)
    outcome = read_outcome(shared.outcome)
    terminated = outcome.terminated[index]
    shared.steps[index] += 1
    shared.truncated[index] = shared.steps[index] == shared.limit
    if not terminated and not shared.truncated[index]:
        return
    shared.ended[index] = True
    if not terminated:
        pass  # there are no metrics of what has not been finished
    elif shared.episodes[index] == shared.homes[index]:
        _measure(shared.episodes[index], shared.priorities, shared.metrics[index])
    else:  # its priorities and models may be others
        for metric in range(shared.metrics.shape[1]):
            shared.metrics[index, metric] = np.nan
    if shared.mode == _SAME_STEP:
        last = read_outcome(shared.last)
        for feature in range(outcome.observations.shape[1]):
            last.observations[index, feature] = outcome.observations[index, feature]
        for slot in range(outcome.masks.shape[1]):
            last.masks[index, slot] = outcome.masks[index, slot]
        last.time_s[index] = outcome.time_s[index]
        last.queue_size[index] = outcome.queue_size[index]
        last.invalid[index] = outcome.invalid[index]
        last.request[index], last.model[index] = outcome.request[index], outcome.model[index]
        last.ran_s[index] = outcome.ran_s[index]
        reward = outcome.rewards[index]
        _renew(batch, index, _next_seed(shared, index))
        outcome.rewards[index] = reward
        outcome.terminated[index] = terminated


_STEP, _LEFT, _GIVEN, _SEEDED, _NEXT = range(5)
"""What an environment does: step; nothing; start the workload that it has been given, that of its
seed, or the next one of its own stream."""


@compiled(
    types.void(types.intp, types.int64, types.int64, types.int64, types.boolean, types.uint64)
)
def _act(batch: int, index: int, what: int, action: int, reseeded: bool, seed: int) -> None:
    """Let one environment of a batch do what it is told to.

    Before a reset, its stream starts anew from the seed if it is to be reseeded.
    """
    if what == _STEP:
        _play(batch, index, action)
    if what in (_STEP, _LEFT):
        return
    shared = _read_shared(batch)
    if reseeded:
        seeded(pool(seed, np.uint64(0)), shared.streams[index])
    if what == _GIVEN:
        start(shared.episodes[index], shared.outcome, index)
        shared.ended[index] = False
        shared.steps[index] = 0
    else:
        _renew(batch, index, seed if what == _SEEDED else _next_seed(shared, index))


class Batch:
    """So many environments, each with a machine, and random streams of its own.

    Args:
        settings: What they are told.
        count: How many there are.
        mode: When they start over.
        threads: Threads that share a call at most.
        limit: Steps of an episode at most; 0 for any number.
        record: Whether to keep who ran when.

    Attributes:
        metric_names: Names of the columns of `metrics`.
    """

    def __init__(
        self,
        settings: Settings,
        count: int,
        mode: AutoresetMode,
        threads: int,
        limit: int,
        *,
        record: bool = False,
    ) -> None:
        self._settings, self._count, self._threads = settings, count, threads
        self._frame = 0
        self._visiting: dict[int, Episode] = {}
        # Two to fill in turn, and what the last steps of episodes showed.
        self._outcomes = [new_outcome(count, settings.slots, settings.observed()) for _ in range(3)]
        store, reference = settings.store, reference_split(settings.split)
        generate(settings.scenario, 0, split=settings.split)  # refuses what cannot be drawn
        planned = plan(settings.scenario, settings.split)
        self._columns, self._home = _blank_episodes(settings, count, planned, reference, record)
        priorities = np.unique(
            planned.recorded_priority if planned.recorded_priority.size else planned.priorities
        )
        self.metric_names = names(priorities, store.models)
        self._source = Source(
            plan=planned,
            first_cell=opened(store.first_cell),
            layers=opened(store.layers),
            model=opened(store.model_of),
            isolated=np.concatenate(
                [np.repeat(t.isolated_s, t.latency_s.shape[1]) for t in store.traces]
            ),
        )
        self._shared = Shared(
            source=0,
            outcome=0,
            last=0,
            mode=_CODES[mode],
            episodes=np.zeros(count, np.int64),
            homes=np.zeros(count, np.int64),
            requests=np.zeros(count, np.int64),
            streams=np.zeros((count, WIDTH), np.uint64),
            limit=limit,
            steps=np.zeros(count, np.int64),
            ended=np.zeros(count, np.bool_),
            truncated=np.zeros(count, np.bool_),
            priorities=priorities,
            metrics=np.zeros((count, len(self.metric_names))),
        )
        self._place()

    def _place(self) -> None:
        """Put the records where compiled code reads them; everyone is at home."""
        self._visited: dict[int, Placed] = {}
        self._homes = [Placed(episode, EPISODE_TYPE) for episode in self._home]
        self._drawn = [Placed(each, REQUESTS_TYPE) for each in self._columns]
        homes = np.array([placed.address for placed in self._homes], np.int64)
        # Arrays of its own: those of whatever this is a copy of lead to what it holds itself.
        self._shared = self._shared._replace(
            homes=homes,
            episodes=homes.copy(),
            requests=np.array([placed.address for placed in self._drawn], np.int64),
        )
        self._crew = Crew(address_of(_act), self._count, self._threads)
        self._from = Placed(self._source, _SOURCE_TYPE)
        self._to = [Placed(outcome, OUTCOME_TYPE) for outcome in self._outcomes]
        self._frames = [
            Placed(
                self._shared._replace(
                    source=self._from.address, outcome=to.address, last=self._to[_LAST].address
                ),
                _SHARED_TYPE,
            )
            for to in self._to[:_LAST]
        ]

    def episode(self, index: int) -> Episode:
        """The episode that an environment plays."""
        return self._visiting[index] if self.visits(index) else self._home[index]

    def visits(self, index: int) -> bool:
        """Whether the workload that an environment plays was given to it."""
        return bool(self._shared.episodes[index] != self._shared.homes[index])

    @property
    def ended(self) -> Bools:
        """Whether the episode of each has ended, shape ``(environments,)``."""
        return self._shared.ended

    @property
    def truncated(self) -> Bools:
        """Whether the last step has ended it for its length, same shape."""
        return self._shared.truncated

    @property
    def outcome(self) -> Outcome:
        """What the last call gave; the call after the next one overwrites it."""
        return self._outcomes[self._frame]

    @property
    def last(self) -> Outcome:
        """What the last steps of episodes showed, in mode ``SameStep``."""
        return self._outcomes[_LAST]

    @property
    def metrics(self) -> Floats:
        """Metrics of the last finished episodes, shape ``(environments, metrics)``.

        NaN where the workload was given.
        """
        return self._shared.metrics

    def step(self, actions: Ints) -> None:
        """Step all environments, with actions that have been checked."""
        self._frame = 1 - self._frame
        self._crew.job.actions[:] = actions
        self._run()

    def start(
        self,
        chosen: Bools,
        has_seed: Bools,
        seeds: NDArray[np.uint64],
        reseeded: Bools,
        guests: dict[int, Episode],
    ) -> None:
        """Start episodes.

        Args:
            chosen: In which environments, shape ``(environments,)``, as the next three.
            has_seed: Whether it is the workload of its seed, not the next of its own stream.
            seeds: The seeds.
            reseeded: Whether its stream starts anew from the seed.
            guests: Episodes to be played instead, by environment.
        """
        before, self._frame = self.outcome, 1 - self._frame
        columns: Iterable[tuple[NDArray[Any], NDArray[Any]]]
        columns = zip(self.outcome, before, strict=True)
        for column, old in columns:
            column[~chosen] = old[~chosen]
        what = np.where(chosen, np.where(has_seed, _SEEDED, _NEXT), _LEFT)
        for index, episode in guests.items():
            what[index] = _GIVEN
            self._visit(index, episode)
        job = self._crew.job
        job.what[:], job.reseeded[:], job.seeds[:] = what, reseeded, seeds
        try:
            self._run()
        finally:
            job.what[:] = _STEP

    def _run(self) -> None:
        self._crew.run(self._frames[self._frame].address)
        failed = self._crew.failures()
        if not failed.size:
            return
        # Whatever has raised will again: in this thread, where it can be told.
        index, to = int(failed[0]), self._to[self._frame].address
        at = int(self._shared.episodes[index])
        told = self._settings.fault(at, to, index)
        raise DystaError(f"environment {index}: {told}; correct it, and reset")

    def _visit(self, index: int, episode: Episode) -> None:
        """Let an environment play an episode from elsewhere."""
        # Should this be broken off, nothing is read before everyone starts anew.
        self._visiting[index], self._visited[index] = episode, Placed(episode, EPISODE_TYPE)
        self._shared.episodes[index] = self._visited[index].address

    def break_off(self) -> None:
        """A call has not come to its end: everyone starts anew next."""
        for outcome in self._outcomes:
            outcome.forget(self._settings.slots)

    def __getstate__(self) -> dict[str, Any]:
        away = self._shared.episodes != self._shared.homes
        state = {key: value for key, value in vars(self).items() if key not in _ADDRESSES}
        return {**state, "_away": away}

    def __setstate__(self, state: dict[str, Any]) -> None:
        away = state.pop("_away")
        vars(self).update(state)
        self._home = [self._settings.here(episode) for episode in self._home]
        self._place()
        for index in np.flatnonzero(away).tolist():
            self._visit(index, self._settings.here(self._visiting[index]))


def _blank_episodes(
    settings: Settings, count: int, planned: Plan, reference: str, record: bool
) -> tuple[list[Requests], list[Episode]]:
    """Room for the workload of each environment: its columns, and the episode on them."""
    shape = (count, planned.requests)
    requests: Requests = blank(Requests, shape)
    jobs: Jobs = blank(Jobs, shape)._replace(
        preemption_cost=planned.preemption_cost,
        queue_limit=planned.queue_limit,
        decision_fixed=planned.decision_fixed,
        decision_each=planned.decision_each,
    )
    recorded = (count, planned.requests * int(settings.store.layers.max()) if record else 0)
    state = State(
        clock=np.zeros((count, 1)),
        counters=np.zeros((count, 7), np.int64),
        finish=np.zeros(shape),
        ran=np.zeros(recorded, np.int64),
        started=np.zeros(recorded),
    )
    queue: Queue = blank(Queue, shape)
    isolated, model = np.zeros(shape), np.zeros(shape, np.int64)
    terms = settings.terms(settings.store, reference)
    columns = [_row(requests, index) for index in range(count)]
    episodes = [
        new_episode(
            terms,
            # The same arrays, not only the same memory, so that a copy of both shares it too.
            _row(jobs, index)._replace(arrival=each.arrival, priority=each.priority),
            _row(state, index),
            _row(queue, index),
            isolated[index],
            model[index],
        )
        for index, each in enumerate(columns)
    ]
    return columns, episodes


def _row(columns: Any, index: int) -> Any:
    """One environment's part of a NamedTuple of columns for all of them."""
    return type(columns)(
        *(each[index] if isinstance(each, np.ndarray) else each for each in columns)
    )
