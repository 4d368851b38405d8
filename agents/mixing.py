"""Environments of several conditions side by side, and their rewards of one size."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dysta_gym.agents.spaces import common, settings_of
from dysta_gym.agents.vec_env import SparseMultiDNNVecEnv, options_of_each
from dysta_gym.errors import DystaError
from dysta_gym.extras import extra

with extra("agents", "MixedVecEnv"):
    from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn


class MixedVecEnv(VecEnv):
    """Several `SparseMultiDNNVecEnv`, say of different scenarios, as one.

    ```python
    env = MixedVecEnv(
        [SparseMultiDNNVecEnv(16, scenario=name) for name in ("multi-attnn", "multi-cnn")]
    )
    ```
    """

    def __init__(self, parts: Iterable[SparseMultiDNNVecEnv]) -> None:
        """Raises `DystaError` if there are no parts, or their spaces differ."""
        self.parts = list(parts)
        if not self.parts:
            raise DystaError("parts: there is none; at least one is needed")
        first = self.parts[0]
        for part in self.parts:
            if part.action_space != first.action_space:
                raise DystaError(
                    f"parts: one chooses from {part.action_space}, another one from "
                    f"{first.action_space}; give all the same slots"
                )
            if part.get_attr("features", 0) != first.get_attr("features", 0):
                raise DystaError("parts: they show different features; give all the same")
        ends = np.cumsum([part.num_envs for part in self.parts]).tolist()
        self._places = [
            slice(end - part.num_envs, end) for part, end in zip(self.parts, ends, strict=True)
        ]
        settings = [settings_of(part.observation_space) for part in self.parts]
        space: Any = deepcopy(first.observation_space)
        space.settings = common(settings)  # of a model that is trained on all of them
        super().__init__(ends[-1], space, first.action_space)

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every environment, of the seeds and options set before, if any."""
        observations = []
        for part, place in zip(self.parts, self._places, strict=True):
            part._seeds, part._options = self._seeds[place], self._options[place]
            observations.append(part.reset())
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [info for part in self.parts for info in part.reset_infos]
        return np.concatenate(observations)

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Keep the actions for `step_wait`."""
        for part, place in zip(self.parts, self._places, strict=True):
            part.step_async(actions[place])

    def step_wait(self) -> VecEnvStepReturn:
        """Step every environment."""
        observations, rewards, ended, infos = zip(
            *(part.step_wait() for part in self.parts), strict=True
        )
        self.reset_infos = [info for part in self.parts for info in part.reset_infos]
        return (
            np.concatenate(observations),
            np.concatenate(rewards),
            np.concatenate(ended),
            [info for reports in infos for info in reports],
        )

    def action_masks(self) -> NDArray[np.bool_]:
        """Which slots of each environment are taken, shape ``(num_envs, slots)``."""
        return np.concatenate([part.action_masks() for part in self.parts])

    def close(self) -> None:
        """Close the environments."""
        for part in self.parts:
            part.close()

    def set_options(
        self, options: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None
    ) -> None:
        """Options for the next reset: for all environments, or a sequence with those of each."""
        self._options = options_of_each(options, self.num_envs)

    def _homes(self, indices: VecEnvIndices) -> list[tuple[SparseMultiDNNVecEnv, int]]:
        """Part and place in it of each environment."""
        homes = [(part, index) for part in self.parts for index in range(part.num_envs)]
        return [homes[index] for index in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of each environment."""
        return [part.get_attr(attr_name, at)[0] for part, at in self._homes(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Attach something to environments."""
        for part, at in self._homes(indices):
            part.set_attr(attr_name, value, at)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of each environment."""
        if method_name == "action_masks" and indices is None:  # at every step of MaskablePPO
            return list(self.action_masks())
        return [
            part.env_method(method_name, *method_args, indices=at, **method_kwargs)[0]
            for part, at in self._homes(indices)
        ]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether each environment is wrapped in this."""
        return [part.env_is_wrapped(wrapper_class, at)[0] for part, at in self._homes(indices)]


class Scaled(VecEnvWrapper):
    """`MixedVecEnv` with rewards of one size.

    A reward is divided by the root mean square of the part's discounted returns so far, so that no
    condition outweighs the others.
    """

    def __init__(self, venv: MixedVecEnv, gamma: float) -> None:
        """Environments, and the discount."""
        super().__init__(venv)
        self._counts = np.array([part.num_envs for part in venv.parts])
        self._part = np.repeat(np.arange(len(venv.parts)), self._counts)
        self._gamma = gamma
        self._returns = np.zeros(self.num_envs)
        self._square, self._steps = np.ones(len(venv.parts)), 0

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        del state["class_attributes"]  # which the base class keeps, and which cannot be pickled
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.class_attributes = dict(inspect.getmembers(self.__class__))

    def state(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs beside the environments, arrays by name."""
        return {
            "returns": self._returns,
            "square": self._square,
            "steps": np.array(self._steps),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on with what `state` gave.

        Raises:
            ValueError: If it can be none.
        """
        if state["steps"] < 0 or not (state["square"] >= 0).all():
            raise ValueError("rewards cannot have been of such a size")
        self._returns, self._square = state["returns"].copy(), state["square"].copy()
        self._steps = int(state["steps"])

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every environment."""
        observations: Any = self.venv.reset()
        self._returns[:] = 0
        return observations

    def step_wait(self) -> VecEnvStepReturn:
        """Step every environment."""
        observations, rewards, ended, infos = self.venv.step_wait()
        self._returns = self._gamma * self._returns + rewards
        self._steps += 1
        share = 1 / min(20_000, self._steps)
        square = np.bincount(self._part, self._returns**2) / self._counts
        self._square += share * (square - self._square)
        self._returns[ended] = 0
        scaled = rewards / np.sqrt(self._square[self._part] + 1e-12)
        return observations, scaled.astype(np.float32), ended, infos
