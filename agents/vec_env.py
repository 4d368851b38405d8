"""``SparseMultiDNN-v0`` for Stable-Baselines3: many environments, no subprocesses."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError, one_of
from dysta_gym.extras import extra

with extra("agents", "SparseMultiDNNVecEnv"):
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

_SHARED = (
    "scenario", "store", "level", "slots", "features", "penalty", "split", "decisions",
)  # fmt: skip
"""Settings that all environments have in common, by their names in a single environment."""

_REMEDIES = {"penalty": "set the property penalty, for all environments"}
"""What `set_attr` refuses and can be had in another way than with another environment."""


class SparseMultiDNNVecEnv(VecEnv):
    """The vector environment of ``SparseMultiDNN-v0`` as Stable-Baselines3 asks for one.

    ```python
    env = SparseMultiDNNVecEnv(64, scenario="multi-attnn", load=1.05, decisions="events")
    MaskablePPO(ScoringPolicy, env, n_steps=64, batch_size=512).learn(1_000_000)
    ```

    It does what a `DummyVecEnv` of so many single environments does, each in a `Monitor`: the same
    observations, rewards and ends of episodes, to the last bit. Only the infos are terser: that of
    a step which does not end an episode is empty, that of one which does holds ``episode``,
    ``terminal_observation`` and all that the single environment tells, ``metrics`` among it. What
    is returned belongs to the caller. Steps take one thread, unless ``threads`` says otherwise, and
    leave the others to torch. For nets as small as SB3's own, ``torch.set_num_threads(1)`` costs
    little, and where other programs want the cores too, it may be ten times as fast: torch's
    threads wait for each other. A rollout is ``num_envs`` times SB3's ``n_steps``: 2,048 as it has
    by itself are too many for many environments.

    `set_options` takes a ``workload`` for all environments or for each, as the single environment
    does in ``reset(options=...)``, for the next reset. `penalty` may be changed at any time.
    """

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        """As ``gym.make_vec("SparseMultiDNN-v0", num_envs, **kwargs)``, ``threads`` being 1.

        Raises:
            DystaError: If an argument is not allowed.
        """
        for name in ("autoreset_mode", "copy"):
            if name in kwargs:
                raise DystaError(
                    f"{name}: {kwargs[name]!r} is not allowed; Stable-Baselines3 leaves no choice"
                )
        envs: Any = gym.make_vec(
            "SparseMultiDNN-v0",
            num_envs=num_envs,
            vectorization_mode="vector_entry_point",
            autoreset_mode="SameStep",
            copy=False,
            **{"threads": 1, **kwargs},
        )
        self.envs, self.spec = envs, envs.spec
        self._own: list[dict[str, Any]] = [
            {"action_masks": partial(self._mask, index)} for index in range(num_envs)
        ]
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        self._began = time.time()
        super().__init__(num_envs, envs.single_observation_space, envs.single_action_space)

    @property
    def penalty(self) -> float:
        """ANTT that a violation rate of 1 weighs; when set, in all rewards from the next step on.

        It is set on this object: wrappers such as `VecNormalize` pass on what is read, not what is
        set, and have this object as ``unwrapped``. With the reward ``"final"``, what has accrued
        before keeps its weight; with ``"shaped"``, what is owed takes the new one.

        Raises:
            DystaError: If it is set to what is no number, not finite or below 0.
        """
        penalty: float = self.envs.settings.penalty
        return penalty

    @penalty.setter
    def penalty(self, penalty: float) -> None:
        self.envs.settings.penalty = penalty

    @property
    def _common(self) -> dict[str, Any]:
        """What all environments have in common, by its name in a single environment."""
        return {
            **{name: getattr(self.envs.settings, name) for name in _SHARED},
            "reward": self.envs.settings.reward.name,
            "action_space": self.envs.single_action_space,
            "observation_space": self.envs.single_observation_space,
            "render_mode": self.envs.render_mode,
            "spec": self.spec,
        }

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every environment, of the seeds and options set before, if any.

        Raises:
            DystaError: If a seed or an option is not usable.
        """
        options = self._common_options()
        observations, infos = self.envs.reset(seed=self._seeds, options=options)
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0
        self._lengths[:] = 0
        self.reset_infos = [_info_of(infos, index) for index in range(self.num_envs)]
        return observations.copy()

    def _common_options(self) -> dict[str, Any]:
        """The options of all environments as the vector environment takes them."""
        workloads = []
        for options in self._options:
            for key in options:
                if key != "workload":
                    raise one_of("options", key, ["workload"])
            workloads.append(options.get("workload"))
        missing = [index for index, workload in enumerate(workloads) if workload is None]
        if len(missing) == self.num_envs:
            return {}
        if missing:
            raise DystaError(
                f"options: environment {missing[0]} has no workload, but others have one; "
                "give one to all or to none"
            )
        return {"workloads": workloads}

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step in every environment; where an episode ends, start the next.

        Raises:
            DystaError: If an action is not in the action space, or there was no reset.
        """
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        ended = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        reports: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(ended).tolist():
            cut = bool(truncated[index] and not terminated[index])
            reports[index] = self._last_info(index, infos, cut)
            self.reset_infos[index] = _info_of(infos, index)
        # The vector environment's own arrays change after another two steps; a replay of one's own
        # may hold them longer. This costs far less than what SB3 does with them.
        return observations.copy(), rewards.astype(np.float32), ended, reports

    def _last_info(self, index: int, infos: Mapping[str, Any], cut: bool) -> dict[str, Any]:
        """The info of a step that ends an episode."""
        episode = {
            "r": round(self._returns[index].item(), 6),
            "l": self._lengths[index].item(),
            "t": round(time.time() - self._began, 6),
        }
        self._returns[index] = self._lengths[index] = 0
        return {
            **_info_of(infos["final_info"], index),
            "episode": episode,
            "TimeLimit.truncated": cut,
            "terminal_observation": infos["final_obs"][index],
        }

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A picture of each environment, with ``render_mode="rgb_array"``."""
        images: tuple[NDArray[np.uint8], ...] | None = self.envs.render()
        return images or [None] * self.num_envs

    def action_masks(self) -> NDArray[np.bool_]:
        """Which slots of each environment are taken, shape ``(num_envs, slots)``."""
        masks: NDArray[np.bool_] = self.envs.action_masks()
        return masks

    def _mask(self, index: int) -> NDArray[np.bool_]:
        return self.action_masks()[index]

    def set_options(
        self, options: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None
    ) -> None:
        """Options for the next reset: for all environments, or a sequence with those of each.

        Raises:
            DystaError: If there are not as many as environments.
        """
        self._options = options_of_each(options, self.num_envs)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of each environment: a space, an argument, or what `set_attr` has set.

        Raises:
            AttributeError: If there is none of that name.
        """
        common = self._common
        chosen = [self._own[index] for index in self._get_indices(indices)]
        for own in chosen:
            if attr_name not in own and attr_name not in common:
                raise AttributeError(f"SparseMultiDNN-v0 has no attribute {attr_name!r}")
        return [own[attr_name] if attr_name in own else common[attr_name] for own in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Attach something to environments.

        Raises:
            DystaError: If it is part of the environment itself, which cannot be changed so.
        """
        if attr_name in self._common or attr_name == "action_masks":
            raise DystaError(
                f"set_attr: {attr_name!r} of a SparseMultiDNNVecEnv cannot be changed so; "
                + _REMEDIES.get(attr_name, "make another one")
            )
        for index in self._get_indices(indices):
            self._own[index][attr_name] = value

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of each environment: ``action_masks``, or what `set_attr` has set.

        Raises:
            AttributeError: If there is none of that name.
        """
        if method_name == "action_masks" and indices is None:  # at every step of MaskablePPO
            return list(self.action_masks())
        methods = self.get_attr(method_name, indices)
        return [method(*method_args, **method_kwargs) for method in methods]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether each is wrapped: in a `Monitor`, whose work is done here, and in nothing else."""
        wrapped = issubclass(Monitor, wrapper_class)
        return [wrapped for _ in self._get_indices(indices)]


def options_of_each(
    options: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None, count: int
) -> list[dict[str, Any]]:
    """Options as `set_options` takes them, for each of so many environments.

    Raises:
        DystaError: If there are not as many as environments.
    """
    # What VecEnv does itself would copy every workload with its traces.
    if options is None or isinstance(options, Mapping):
        options = [options or {}] * count
    if len(options) != count:
        raise DystaError(f"options: there are {len(options)}; it must be one mapping or {count}")
    return [dict(each) for each in options]


def _info_of(infos: Mapping[str, Any], index: int) -> dict[str, Any]:
    """What a vector environment's infos say of one environment, but for its last episode."""
    info = {}
    for key, values in infos.items():
        if key.startswith(("_", "final_")) or not infos[f"_{key}"][index]:
            continue
        if isinstance(values, Mapping):
            info[key] = _info_of(values, index)
        else:
            value = values[index]
            info[key] = value.copy() if value.ndim else value.item()
    return info
