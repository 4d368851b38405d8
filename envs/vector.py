"""``SparseMultiDNN-v0``, vectorised: many accelerators step in one compiled, parallel call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index as whole
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.cores import cores
from dysta_gym.envs.batch import Batch
from dysta_gym.envs.episode import Bools, Episode, Outcome, episode_of
from dysta_gym.envs.rendering import FPS, drawn, warn_of_no_mode
from dysta_gym.envs.scene import scene_of
from dysta_gym.envs.settings import (
    FIXED,
    Settings,
    Told,
    at_least_one,
    check_render_mode,
    checked_options,
)
from dysta_gym.errors import DystaError, one_of
from dysta_gym.machine.machine import Machine
from dysta_gym.metrics import measure
from dysta_gym.signatures import takes
from dysta_gym.workloads import Scenario, Workload

_MODES = {mode.value: mode for mode in AutoresetMode}
_RENDER_MODES = ("rgb_array", "ansi")
MOST_THREADS = 256
"""Threads that may be asked for."""

_WORTH_THREADS = 128
"""From so many environments on, a step gains more from a second core than calling for it costs."""


@takes(Settings)
class SparseMultiDNNVectorEnv(
    Told, gym.vector.VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]
):
    """``SparseMultiDNN-v0``, many at once, all stepped in one compiled call on all cores.

    ```python
    envs = gym.make_vec(
        "SparseMultiDNN-v0", num_envs=256, vectorization_mode="vector_entry_point", load=1.05
    )
    ```

    Observations, rewards, infos and metrics equal those of so many single environments with the
    same seeds, to the last bit; see `dysta_gym.envs.SparseMultiDNNEnv` for what they are, and for
    the arguments beside these (but ``metrics``, which only a single environment has):

    | Parameter           | Type | Default      | Description                                |
    |---------------------|------|--------------|--------------------------------------------|
    | `num_envs`          | int  | `1`          | environments                               |
    | `autoreset_mode`    | str  | `"NextStep"` | `"NextStep"`, `"SameStep"` or `"Disabled"` |
    | `copy`              | bool | `True`       | whether to return arrays of their own      |
    | `threads`           | int  | all cores    | threads that share a step at most          |
    | `max_episode_steps` | int  | any number   | steps after which episodes are truncated   |
    | `render_mode`       | str  | `None`       | ``"rgb_array"`` or ``"ansi"``              |

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
        "render_modes": list(_RENDER_MODES),
        "render_fps": FPS,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    _fixed = FIXED | {"num_envs", "autoreset_mode", "threads", "max_episode_steps"}

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Mapping[str, Any] | Scenario = "multi-attnn",
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        threads: int | None = None,
        max_episode_steps: int | None = None,
        **settings: Any,
    ) -> None:
        """Raises `DystaError` if an argument is not allowed."""
        count = at_least_one("num_envs", num_envs)
        most = cores() if threads is None else at_least_one("threads", threads, MOST_THREADS)
        if not isinstance(autoreset_mode, AutoresetMode) and autoreset_mode not in list(_MODES):
            raise one_of("autoreset_mode", autoreset_mode, _MODES)
        mode = AutoresetMode(autoreset_mode)
        limit = 0
        if max_episode_steps not in (None, -1):  # as Gymnasium says that there is none
            limit = at_least_one("max_episode_steps", max_episode_steps, 2**53)
        self.num_envs, self.copy = count, copy
        check_render_mode(settings.get("render_mode"), _RENDER_MODES)
        checked = Settings(scenario, **settings)
        self.render_mode = checked.render_mode
        self.settings = checked
        self.metadata = {**self.metadata, "autoreset_mode": mode}
        self.single_action_space = self.settings.action_space()
        self.single_observation_space = self.settings.observation_space()
        self.action_space = batch_space(self.single_action_space, count)
        self.observation_space = batch_space(self.single_observation_space, count)
        self._mode, self._limited = mode, limit > 0
        self._seeded = np.zeros(count, np.bool_)
        self._everyone = np.ones(count, np.bool_)
        self._running = False
        self._given: dict[int, Machine] = {}
        self._batch = Batch(
            self.settings,
            count,
            mode,
            most if count >= _WORTH_THREADS else 1,
            limit,
            record=self.render_mode is not None,
        )
        self._guard()

    def _break_off(self) -> None:
        self._running = False  # nobody knows what has been done: reset first
        self._seeded[:] = False
        self._batch.break_off()

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
        with self._lock:
            known = checked_options(options, ("workload", "workloads", "reset_mask"))
            chosen = self._chosen(known.get("reset_mask"))
            given = self._workloads(known)
            has_seed, seeds = self._seeds(seed)
            indices = _indices(chosen) if given else []
            guests = {index: self._guest(given[index]) for index in indices}
            reseeded = has_seed | ~self._seeded
            try:
                self._given |= {index: machine for index, (machine, _) in guests.items()}
                episodes = {index: episode for index, (_, episode) in guests.items()}
                self._batch.start(chosen, has_seed, seeds, reseeded, episodes)
                result = self._owned(self._batch.outcome.observations), self._infos(chosen)
                self._seeded |= chosen
                self._running = True
                return result
            except BaseException:  # an interrupt, or what a formula raises
                self._break_off()
                raise

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
                "options: reset_mask leaves out environments that have never been reset, or whose "
                "last call was broken off; call reset without it first"
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
        record = self.render_mode is not None
        machine = Machine(workload, self.settings.level, record=record)
        terms = self.settings.terms(workload.store, workload.reference)
        return machine, episode_of(machine, terms)

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
        with self._lock:
            if not self._running:
                raise DystaError("step: no episode is running; call reset first")
            ended = self._batch.ended
            if self._mode == AutoresetMode.DISABLED and ended.any():
                raise DystaError(
                    f"step: the episode of environment {int(np.argmax(ended))} has ended; "
                    "reset it first, with options={'reset_mask': ...}"
                )
            chosen = self._actions(actions)
            try:
                self._batch.step(chosen)
                outcome = self._batch.outcome
                return (
                    self._owned(outcome.observations),
                    self._owned(outcome.rewards),
                    self._owned(outcome.terminated),
                    self._batch.truncated.copy(),
                    self._last_infos() | self._infos(self._everyone.copy()),
                )
            except BaseException:  # an interrupt, or what a formula raises
                self._break_off()
                raise

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

    def render(self) -> tuple[NDArray[np.uint8] | str, ...] | None:
        """Draw every environment; see Rendering of a single one.

        Returns:
            A picture or a text of each, as ``render_mode`` has it; None without one.

        Raises:
            DystaError: If no episode has been started.
        """
        with self._lock:
            mode = self.render_mode
            if mode is None:
                warn_of_no_mode(_RENDER_MODES)
                return None
            if not self._seeded.all():
                raise DystaError("render: no episode has been started; call reset first")
            drawings = []
            for index in range(self.num_envs):
                guest = self._batch.visits(index)
                store = self._given[index].workload.store if guest else self.settings.store
                scene = scene_of(self._batch.episode(index), store, self.settings.level)
                drawings.append(drawn(scene, mode))
            return tuple(drawings)

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What happens where an episode ends, as Gymnasium's own vector environments say it."""
        return self._mode

    def action_masks(self) -> Bools:
        """Which slots of each environment may be chosen, shape ``(num_envs, slots)``."""
        with self._lock:
            return self._batch.outcome.masks.copy()

    def _owned(self, column: NDArray[Any]) -> NDArray[Any]:
        """A column of the outcome of the last call, as it is returned."""
        return column.copy() if self.copy else column

    def _infos(self, of: Bools) -> dict[str, Any]:
        """Infos of the environments ``of`` which there are some."""
        infos: dict[str, Any] = {}
        copy = self.copy
        for (key, there), values in zip(_INFOS, _infos_in(self._batch.outcome), strict=True):
            infos[key] = values.copy() if copy else values
            infos[there] = of
        return infos

    def _last_infos(self) -> dict[str, Any]:
        """What is said of the episodes that the last step has ended, if any."""
        terminated = self._owned(self._batch.outcome.terminated)
        ended = terminated | self._batch.truncated if self._limited else terminated
        if not ended.any():
            return {}
        told = {}
        if terminated.any():
            told = {"metrics": self._metrics_of(terminated), "_metrics": terminated}
        if self._mode != AutoresetMode.SAME_STEP:
            return told
        last = self._batch.last
        final: dict[str, Any] = {}
        for (key, there), values in zip(_INFOS, _infos_in(last), strict=True):
            wide = ended.reshape(-1, *[1] * (values.ndim - 1))
            final[key] = np.where(wide, values, np.zeros_like(values))
            final[there] = ended
        observations = np.full(self.num_envs, None, object)
        for index in _indices(ended):
            observations[index] = last.observations[index].copy()
        return {
            "final_obs": observations,
            "_final_obs": ended,
            "final_info": {**final, **told},
            "_final_info": ended,
        }

    def _metrics_of(self, ended: Bools) -> dict[str, Any]:
        """The metrics of the episodes that have just ended."""
        metrics: dict[str, Any] = {}
        for name, values in zip(self._batch.metric_names, self._batch.metrics.T, strict=True):
            there = ended & ~np.isnan(values)
            if there.any():
                metrics[name] = np.where(there, values, 0.0)
                metrics[f"_{name}"] = there
        for index in _indices(ended & np.isnan(self._batch.metrics[:, 0])):
            given = measure(self._given[index].schedule())
            metrics = self._add_info(metrics, given, index)
        return metrics


_INFOS = tuple(
    (key, f"_{key}")
    for key in (
        "time_s",
        "queue_size",
        "action_mask",
        "invalid_action",
        "request",
        "model",
        "ran_s",
    )
)
"""Names of the infos of all environments, and of who has them."""


def _infos_in(outcome: Outcome) -> tuple[NDArray[Any], ...]:
    """The infos of all environments that an outcome holds, in the order of `_INFOS`."""
    return (
        outcome.time_s,
        outcome.queue_size,
        outcome.masks.view(np.int8),
        outcome.invalid,
        outcome.request,
        outcome.model,
        outcome.ran_s,
    )


def _indices(of: Bools) -> list[int]:
    """Indices of what is True."""
    listed: list[int] = np.flatnonzero(of).tolist()
    return listed


def _array(values: object) -> NDArray[Any]:
    """Values as an array; one of objects where they are no array."""
    try:
        return np.asarray(values)
    except ValueError:  # sequences of different lengths
        return np.array(None, object)
