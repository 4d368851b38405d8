"""``SparseMultiDNN-v0``, vectorised: many accelerators step in one compiled, parallel call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import index as whole
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.functions import address_of, compiled
from dysta_gym.compiled.records import FLOATS_TYPE, INTS_TYPE, Floats, Ints, Placed, blank, reader
from dysta_gym.compiled.streams import WIDTH, integers, pool, seeded
from dysta_gym.cores import cores
from dysta_gym.envs.crew import Crew
from dysta_gym.envs.engine import (
    EPISODE_TYPE,
    OUTCOME_TYPE,
    Bools,
    Episode,
    episode_of,
    new_episode,
    new_outcome,
    read_episode,
    read_outcome,
    start,
    turn,
)
from dysta_gym.envs.settings import Settings, at_least_one, checked_options
from dysta_gym.errors import DystaError, one_of
from dysta_gym.machine.machine import Machine
from dysta_gym.machine.queue import PREEMPTIONS, Jobs, Queue, State
from dysta_gym.metrics import measure, names, tally
from dysta_gym.traces import cell_of, reference_split
from dysta_gym.workloads import (
    PLAN_TYPE,
    REQUESTS_TYPE,
    Plan,
    Requests,
    Workload,
    deadline,
    draw,
    generate,
    plan,
)

_MODES = {mode.value: mode for mode in AutoresetMode}
_NEXT_STEP, _SAME_STEP, _DISABLED = range(3)
_CODES = {
    AutoresetMode.NEXT_STEP: _NEXT_STEP,
    AutoresetMode.SAME_STEP: _SAME_STEP,
    AutoresetMode.DISABLED: _DISABLED,
}

_LAST = 2
"""Where in the outcomes the last steps of episodes are, in mode ``SameStep``."""

_WORTH_THREADS = 128
"""From so many environments on, a step gains more from a second core than calling for it costs."""

_INFOS = {
    "time_s": "time_s",
    "queue_size": "queue_size",
    "action_mask": "masks",
    "invalid_action": "invalid",
}
"""Infos, and the columns of an `Outcome` that hold them."""

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


class Batch(NamedTuple):
    """Environments that step together; all arrays are of shape ``(environments, ...)``.

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
        ended: Whether the episode has ended.
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
    ended: Bools
    priorities: Floats
    metrics: Floats


_SOURCE_TYPE = types.NamedTuple([PLAN_TYPE, *(INTS_TYPE,) * 3, FLOATS_TYPE], Source)
_BATCH_TYPE = types.NamedTuple(
    [
        *(types.int64,) * 4,
        *(INTS_TYPE,) * 3,
        types.uint64[:, ::1],
        types.boolean[::1],
        FLOATS_TYPE,
        types.float64[:, ::1],
    ],
    Batch,
)
_read_source, _read_batch = reader(_SOURCE_TYPE), reader(_BATCH_TYPE)
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
    shared = _read_batch(batch)
    home = shared.homes[index]
    _draw(shared.source, shared.requests[index], home, seed)
    shared.episodes[index] = home
    start(home, shared.outcome, index)
    shared.ended[index] = False


@compiled(None, inline=True)
def _next_seed(shared: Batch, index: int) -> Any:
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
        np.nan,
        priorities,
        out,
    )


@compiled(types.void(types.intp, types.int64, types.int64))
def _play(batch: int, index: int, action: int) -> None:
    """A step of one environment of a batch."""
    shared = _read_batch(batch)
    if shared.ended[index]:
        if shared.mode == _NEXT_STEP:
            _renew(batch, index, _next_seed(shared, index))
        return
    turn(shared.episodes[index], shared.outcome, index, action)
    outcome = read_outcome(shared.outcome)
    if not outcome.terminated[index]:
        return
    shared.ended[index] = True
    if shared.episodes[index] == shared.homes[index]:
        _measure(shared.episodes[index], shared.priorities, shared.metrics[index])
    else:  # its priorities and models may be others
        for metric in range(shared.metrics.shape[1]):
            shared.metrics[index, metric] = np.nan
    if shared.mode == _SAME_STEP:
        last = read_outcome(shared.last)
        for feature in range(outcome.observations.shape[1]):
            last.observations[index, feature] = outcome.observations[index, feature]
        last.time_s[index] = outcome.time_s[index]
        last.invalid[index] = outcome.invalid[index]
        reward = outcome.rewards[index]
        _renew(batch, index, _next_seed(shared, index))
        outcome.rewards[index] = reward
        outcome.terminated[index] = True


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
    shared = _read_batch(batch)
    if reseeded:
        seeded(pool(seed, np.uint64(0)), shared.streams[index])
    if what == _GIVEN:
        start(shared.episodes[index], shared.outcome, index)
        shared.ended[index] = False
    else:
        _renew(batch, index, seed if what == _SEEDED else _next_seed(shared, index))


class SparseMultiDNNVectorEnv(
    gym.vector.VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]
):
    """``SparseMultiDNN-v0``, many at once, all stepped in one compiled call on all cores.

    ```python
    envs = gym.make_vec(
        "SparseMultiDNN-v0", num_envs=256, vectorization_mode="vector_entry_point", load=1.05
    )
    ```

    Observations, rewards, infos and metrics equal those of so many single environments with the
    same seeds, to the last bit; see `dysta_gym.envs.SparseMultiDNNEnv` for what they are, and for
    the arguments beside these:

    | Parameter        | Type | Default      | Description                                |
    |------------------|------|--------------|--------------------------------------------|
    | `num_envs`       | int  | `1`          | environments                               |
    | `autoreset_mode` | str  | `"NextStep"` | `"NextStep"`, `"SameStep"` or `"Disabled"` |
    | `copy`           | bool | `False`      | whether to return arrays of their own      |
    | `threads`        | int  | all cores    | threads that share a step at most          |

    Without ``copy``, arrays are reused: what a step returns stays as it is until the step after the
    next one, and must not be written to. The environments of ``reset(seed=s)`` have the seeds
    ``s``, ``s + 1`` and so on; a list gives each its own, or None. ``reset(options=...)`` takes

    - ``workload``: a workload for all of them, as a single environment does;
    - ``workloads``: a sequence with one for each;
    - ``reset_mask``: which ones to reset, booleans of shape ``(num_envs,)``.

    Where an episode ends, ``infos["metrics"]`` holds its metrics, in mode ``SameStep`` within
    ``infos["final_info"]``, beside ``infos["final_obs"]``.

    Fewer than 128 environments take one thread, for a second one would not gain what calling it
    costs. Results do not depend on the number of threads. (A mode given as Gymnasium's
    `AutoresetMode` is taken, too, but keeps ``spec`` from becoming JSON.)
    """

    metadata: dict[str, Any] = {  # noqa: RUF012, as Gymnasium declares it
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Mapping[str, Any] = "multi-attnn",
        *,
        load: float | str | None = None,
        rate: float | None = None,
        slo_multiplier: float | None = None,
        requests: int | None = None,
        level: str = "monitored",
        slots: int = 128,
        reward: str = "objective",
        penalty: float = 100.0,
        split: str = "train",
        decisions: str = "layers",
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = False,
        threads: int | None = None,
    ) -> None:
        """Raises `DystaError` if an argument is not allowed."""
        count = at_least_one("num_envs", num_envs)
        most = cores() if threads is None else at_least_one("threads", threads)
        if not isinstance(autoreset_mode, AutoresetMode) and autoreset_mode not in list(_MODES):
            raise one_of("autoreset_mode", autoreset_mode, _MODES)
        mode = AutoresetMode(autoreset_mode)
        self.settings = Settings(
            scenario,
            load=load,
            rate=rate,
            slo_multiplier=slo_multiplier,
            requests=requests,
            level=level,
            slots=slots,
            reward=reward,
            penalty=penalty,
            split=split,
            decisions=decisions,
        )
        self.num_envs, self.copy = count, copy
        self._threads = most if count >= _WORTH_THREADS else 1
        self.metadata = {**self.metadata, "autoreset_mode": mode}
        self.single_action_space = self.settings.action_space()
        self.single_observation_space = self.settings.observation_space()
        self.action_space = batch_space(self.single_action_space, count)
        self.observation_space = batch_space(self.single_observation_space, count)
        self._mode = mode
        self._seeded = np.zeros(count, np.bool_)
        self._given: dict[int, tuple[Machine, Episode]] = {}
        self._visited: dict[int, Placed] = {}
        # Two to return in turn, and what the last steps of episodes showed.
        self._outcomes = [new_outcome(count, self.settings.slots) for _ in range(3)]
        self._frame = 0
        self._build()

    def _build(self) -> None:
        """Make room for the environments' workloads and put everything where it is read."""
        settings, count = self.settings, self.num_envs
        store, reference = settings.store, reference_split(settings.split)
        generate(settings.scenario, 0, split=settings.split)  # refuses what cannot be drawn
        planned = plan(settings.scenario, settings.split)
        shape = (count, planned.requests)
        requests: Requests = blank(Requests, shape)
        jobs = blank(Jobs, shape)._replace(
            preemption_cost=planned.preemption_cost, queue_limit=planned.queue_limit
        )
        state = State(
            clock=np.zeros((count, 1)),
            counters=np.zeros((count, 6), np.int64),
            finish=np.zeros(shape),
            ran=np.zeros((count, 0), np.int64),
            started=np.zeros((count, 0)),
        )
        queue: Queue = blank(Queue, shape)
        isolated, model = np.zeros(shape), np.zeros(shape, np.int64)
        rules = settings.rules(store, reference)
        self._columns = [_row(requests, index) for index in range(count)]
        self._home = [
            new_episode(
                rules,
                # The same arrays, not only the same memory, so that a copy of both shares it too.
                _row(jobs, index)._replace(arrival=columns.arrival, priority=columns.priority),
                _row(state, index),
                _row(queue, index),
                isolated[index],
                model[index],
            )
            for index, columns in enumerate(self._columns)
        ]
        priorities = np.unique(
            planned.recorded_priority if planned.recorded_priority.size else planned.priorities
        )
        self._metrics = names(priorities, store.models)
        self._source = Source(
            plan=planned,
            first_cell=store.first_cell,
            layers=store.layers,
            model=store.model_of,
            isolated=np.concatenate(
                [np.repeat(t.isolated_s, t.latency_s.shape[1]) for t in store.traces]
            ),
        )
        self._batch = Batch(
            source=0,
            outcome=0,
            last=0,
            mode=_CODES[self._mode],
            episodes=np.zeros(count, np.int64),
            homes=np.zeros(count, np.int64),
            requests=np.zeros(count, np.int64),
            streams=np.zeros((count, WIDTH), np.uint64),
            ended=np.zeros(count, np.bool_),
            priorities=priorities,
            metrics=np.zeros((count, len(self._metrics))),
        )
        self._place()

    def _place(self) -> None:
        """Put the records where compiled code reads them; everyone is at home."""
        self._homes = [Placed(episode, EPISODE_TYPE) for episode in self._home]
        self._drawn = [Placed(each, REQUESTS_TYPE) for each in self._columns]
        homes = np.array([placed.address for placed in self._homes], np.int64)
        # Arrays of its own: those of whatever this is a copy of lead to what it holds itself.
        self._batch = self._batch._replace(
            homes=homes,
            episodes=homes.copy(),
            requests=np.array([placed.address for placed in self._drawn], np.int64),
        )
        self._crew = Crew(address_of(_act), self.num_envs, self._threads)
        self._from = Placed(self._source, _SOURCE_TYPE)
        self._to = [Placed(outcome, OUTCOME_TYPE) for outcome in self._outcomes]
        self._frames = [
            Placed(
                self._batch._replace(
                    source=self._from.address, outcome=to.address, last=self._to[_LAST].address
                ),
                _BATCH_TYPE,
            )
            for to in self._to[:_LAST]
        ]

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start episodes; see the class.

        Raises:
            DystaError: If a seed or an option is not usable.
        """
        known = checked_options(options, ("workload", "workloads", "reset_mask"))
        chosen = self._chosen(known.get("reset_mask"))
        given = self._workloads(known)
        has_seed, seeds = self._seeds(seed)
        visitors = np.flatnonzero(chosen).tolist() if given else []
        guests = {index: self._guest(given[index]) for index in visitors}
        before, self._frame = self._outcomes[self._frame], 1 - self._frame
        columns: Iterable[tuple[NDArray[Any], NDArray[Any]]]
        columns = zip(self._outcomes[self._frame], before, strict=True)
        for column, old in columns:
            column[~chosen] = old[~chosen]
        what = np.where(chosen, np.where(has_seed, _SEEDED, _NEXT), _LEFT)
        self._given |= guests
        for index in guests:
            what[index] = _GIVEN
            self._visit(index)
        job = self._crew.job
        job.what[:], job.reseeded[:], job.seeds[:] = what, has_seed | ~self._seeded, seeds
        self._crew.run(self._frames[self._frame].address)
        job.what[:] = _STEP
        self._seeded |= chosen
        return self._outcome("observations"), self._infos(chosen)

    def _chosen(self, mask: object) -> Bools:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        chosen = _array(mask)
        if chosen.shape != (self.num_envs,) or chosen.dtype != np.bool_ or not chosen.any():
            raise DystaError(
                f"options: reset_mask is {mask!r}; it must be {self.num_envs} booleans, "
                "at least one of them True"
            )
        if not (self._seeded | chosen).all():
            raise DystaError(
                "options: reset_mask leaves out environments that have never been reset; "
                "call reset without it first"
            )
        return chosen

    def _seeds(self, seed: int | Sequence[int | None] | None) -> tuple[Bools, NDArray[np.uint64]]:
        """Which environments have a seed, and the seeds; fresh entropy for those without."""
        count = self.num_envs
        if seed is None or isinstance(seed, int | np.integer):
            listed = [None if seed is None else int(seed) + index for index in range(count)]
        else:
            try:
                listed = [None if each is None else whole(each) for each in seed]
            except TypeError:
                raise DystaError(
                    f"seed: {seed!r} is not allowed; it must be a whole number, "
                    f"or a list of {count}, each a whole number or None"
                ) from None
        if len(listed) != count:
            raise DystaError(f"seed: there are {len(listed)}; it must be one or {count}")
        for each in listed:
            if each is not None and not 0 <= each < 2**64:
                raise DystaError(f"seed: {each} is not allowed; it must be 0 to 2**64 - 1")
        seeds = np.random.SeedSequence().generate_state(count, np.uint64).astype(np.uint64)
        has_seed = np.array([each is not None for each in listed])
        seeds[has_seed] = [each for each in listed if each is not None]
        return has_seed, seeds

    def _workloads(self, options: Mapping[str, Any]) -> list[Workload]:
        """The workload of each environment; none if the options do not give them."""
        one, several = options.get("workload"), options.get("workloads")
        if one is not None and several is not None:
            raise DystaError("options: workload and workloads are both given; give one of the two")
        if one is not None:
            return [self.settings.workload(one)] * self.num_envs
        if several is None:
            return []
        if isinstance(several, str | Mapping) or not isinstance(several, Sequence):
            raise DystaError(
                f"options: workloads is a {type(several).__name__}; it must be a sequence with a "
                "workload for each environment"
            )
        if len(several) != self.num_envs:
            raise DystaError(
                f"options: workloads has {len(several)} entries; it must have {self.num_envs}, "
                "one for each environment"
            )
        return [self.settings.workload(each) for each in several]

    def _guest(self, workload: Workload) -> tuple[Machine, Episode]:
        """A machine and an episode for a workload from elsewhere."""
        machine = Machine(workload, self.settings.level)
        rules = self.settings.rules(workload.store, workload.reference)
        return machine, episode_of(machine, rules)

    def _visit(self, index: int) -> None:
        """Let an environment play the workload that it has been given."""
        _, episode = self._given[index]
        self._visited[index] = Placed(episode, EPISODE_TYPE)
        self._batch.episodes[index] = self._visited[index].address

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], Floats, Bools, Bools, dict[str, Any]]:
        """Run the next layer of the request in slot ``actions[i]`` of every environment ``i``.

        Returns:
            Observations, shape ``(num_envs, features)``, rewards, terminations and truncations,
            shape ``(num_envs,)``, and infos.

        Raises:
            DystaError: If an action is not in the action space, if the environments have not been
                reset, or one has ended and does not start over by itself.
        """
        if not self._seeded.all():
            raise DystaError("step: no episode is running; call reset first")
        ended = self._batch.ended
        if self._mode == AutoresetMode.DISABLED and ended.any():
            raise DystaError(
                f"step: the episode of environment {int(np.argmax(ended))} has ended; "
                "reset it first, with options={'reset_mask': ...}"
            )
        chosen = self._actions(actions)
        self._frame = 1 - self._frame
        self._crew.job.actions[:] = chosen
        self._crew.run(self._frames[self._frame].address)
        return (
            self._outcome("observations"),
            self._outcome("rewards"),
            self._outcome("terminated"),
            np.zeros(self.num_envs, np.bool_),
            {**self._last_infos(), **self._infos(np.ones(self.num_envs, np.bool_))},
        )

    def _actions(self, actions: object) -> Ints:
        chosen = _array(actions)
        if chosen.shape != (self.num_envs,) or chosen.dtype.kind not in "iu":
            raise DystaError(
                f"actions: an array of {chosen.dtype} and shape {chosen.shape} is not allowed; "
                f"it must hold {self.num_envs} slots, whole numbers"
            )
        if chosen.min() < 0 or chosen.max() >= self.settings.slots:
            wrong = (chosen < 0) | (chosen >= self.settings.slots)
            raise DystaError(
                f"actions: {chosen[wrong][0]} is not allowed; "
                f"it must be a slot, 0 to {self.settings.slots - 1}"
            )
        return np.ascontiguousarray(chosen, np.int64)

    def action_masks(self) -> Bools:
        """Which slots of each environment are taken, shape ``(num_envs, slots)``."""
        return self._outcomes[self._frame].masks.copy()

    def _outcome(self, name: str) -> NDArray[Any]:
        """A column of the outcome of the last call."""
        column: NDArray[Any] = getattr(self._outcomes[self._frame], name)
        return column.copy() if self.copy else column

    def _infos(self, of: Bools) -> dict[str, Any]:
        """Infos of the environments ``of`` which there are some."""
        infos: dict[str, Any] = {}
        for key, name in _INFOS.items():
            infos[key] = self._outcome(name)
            infos[f"_{key}"] = of
        return infos

    def _last_infos(self) -> dict[str, Any]:
        """What is said of the episodes that the last step has ended, if any."""
        ended = self._outcome("terminated")
        if not ended.any():
            return {}
        metrics = self._metrics_of(ended)
        if self._mode != AutoresetMode.SAME_STEP:
            return {"metrics": metrics, "_metrics": ended}
        last = self._outcomes[_LAST]
        final: dict[str, Any] = {}
        for key, name in _INFOS.items():
            values = getattr(last, name)
            wide = ended.reshape(-1, *[1] * (values.ndim - 1))
            final[key] = np.where(wide, values, np.zeros_like(values))
            final[f"_{key}"] = ended
        observations = np.full(self.num_envs, None, object)
        for index in np.flatnonzero(ended):
            observations[index] = last.observations[index].copy()
        return {
            "final_obs": observations,
            "_final_obs": ended,
            "final_info": {**final, "metrics": metrics, "_metrics": ended},
            "_final_info": ended,
        }

    def _metrics_of(self, ended: Bools) -> dict[str, Any]:
        """The metrics of the episodes that have just ended."""
        metrics: dict[str, Any] = {}
        for name, values in zip(self._metrics, self._batch.metrics.T, strict=True):
            there = ended & ~np.isnan(values)
            if there.any():
                metrics[name] = np.where(there, values, 0.0)
                metrics[f"_{name}"] = there
        for index in np.flatnonzero(ended & np.isnan(self._batch.metrics[:, 0])).tolist():
            machine, _ = self._given[index]
            metrics = self._add_info(metrics, measure(machine.schedule()), index)
        return metrics

    def __getstate__(self) -> dict[str, Any]:
        away = self._batch.episodes != self._batch.homes
        state = {key: value for key, value in vars(self).items() if key not in _ADDRESSES}
        return {**state, "_away": away}

    def __setstate__(self, state: dict[str, Any]) -> None:
        away = state.pop("_away")
        vars(self).update(state)
        self._visited = {}
        self._place()
        for index in np.flatnonzero(away):
            self._visit(int(index))


def _array(values: object) -> NDArray[Any]:
    """Values as an array; one of objects where they are no array."""
    try:
        return np.asarray(values)
    except ValueError:  # sequences of different lengths
        return np.array(None, object)


def _row(columns: Any, index: int) -> Any:
    """One environment's part of a NamedTuple of columns for all of them."""
    return type(columns)(
        *(each[index] if isinstance(each, np.ndarray) else each for each in columns)
    )
