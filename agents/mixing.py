"""Environments of several conditions side by side, and rewards that learn faster on them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from dysta_gym.agents.vec_env import SparseMultiDNNVecEnv, options_of_each
from dysta_gym.envs.engine import DECADES, REQUEST_FEATURES, WIDTH
from dysta_gym.errors import DystaError

Floats = NDArray[np.float64]

_PRESENT, _REMAINING, _ISOLATED, _SLACK = map(
    REQUEST_FEATURES.index, ("present", "remaining", "isolated", "slack")
)


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
        ends = np.cumsum([part.num_envs for part in self.parts]).tolist()
        self._places = [
            slice(end - part.num_envs, end) for part, end in zip(self.parts, ends, strict=True)
        ]
        super().__init__(ends[-1], first.observation_space, first.action_space)

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


def potential(observations: NDArray[np.float32], slots: int, prices: Floats) -> Floats:
    """What is still to be paid for the requests that are seen, if they ran in a good order.

    The order is least ``R I``. A request costs its time in the system over its isolated latency,
    and, if it is likely to be late then, the price of a violation.

    Args:
        observations: Shape ``(environments, features)``.
        slots: Slots in them.
        prices: ANTT that a violation rate of 1 costs, shape ``(environments,)``.

    Returns:
        Minus what is to be paid, in ANTT times requests, shape ``(environments,)``.
    """
    seen = observations[:, : WIDTH * slots].reshape(len(observations), slots, WIDTH)
    seen = seen[:, : max(1, int(seen[:, :, _PRESENT].sum(axis=1).max()))]
    present = seen[:, :, _PRESENT] > 0
    decades = DECADES * np.log(10)
    remaining = np.exp(decades * seen[:, :, _REMAINING])
    isolated = np.exp(decades * seen[:, :, _ISOLATED])
    soft = seen[:, :, _SLACK]
    margin = soft / np.maximum(1 - np.abs(soft), 1e-6) * isolated  # S - R, in units
    order = np.argsort(np.where(present, remaining * isolated, np.inf), axis=1, kind="stable")
    remaining, isolated, margin, present = (
        np.take_along_axis(each, order, axis=1) for each in (remaining, isolated, margin, present)
    )
    finish = np.cumsum(remaining * present, axis=1)
    slack = margin + remaining
    unsure = 0.1 * np.maximum(slack, 0) + 0.2 * remaining + 1e-6
    late = 1 / (1 + np.exp(-np.clip((finish - slack) / unsure, -30, 30)))
    late = np.where(margin < 0, slack > 0, late)  # what is overdue has been paid for
    paid: Floats = -((finish / isolated + prices[:, None] * late) * present).sum(axis=1)
    return paid


class Priced(VecEnvWrapper):
    """`MixedVecEnv` with a price of violations for each part, and rewards made for learning.

    To a reward is added what the step has changed of the `potential`: what a decision costs later
    is felt at once (Ng, Harada and Russell, Policy invariance under reward transformations, ICML
    1999; without the discount, which is close to 1). Then it is divided by the root mean square
    of the part's returns so far, so that no condition outweighs the others.

    Attributes:
        prices: ANTT that a violation rate of 1 costs, in each part, shape ``(parts,)``.
    """

    def __init__(self, venv: MixedVecEnv, prices: Floats, requests: Floats, gamma: float) -> None:
        """Prices and requests an episode of each part, shape ``(parts,)``, and the discount."""
        super().__init__(venv)
        self._mixed = venv
        self._counts = np.array([part.num_envs for part in venv.parts])
        self._part = np.repeat(np.arange(len(venv.parts)), self._counts)
        self._requests, self._gamma = requests, gamma
        self._slots = int(venv.get_attr("slots", 0)[0])
        self._potential = np.zeros(self.num_envs)
        self._seen: NDArray[np.float32] | None = None
        self._returns = np.zeros(self.num_envs)
        self._square, self._steps = np.ones(len(venv.parts)), 0
        self.price(prices)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        del state["class_attributes"]  # which the base class keeps, and which cannot be pickled
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.class_attributes = dict(inspect.getmembers(self.__class__))

    def price(self, prices: Floats) -> None:
        """Set the prices."""
        self.prices = prices
        for part, price in zip(self._mixed.parts, prices.tolist(), strict=True):
            part.penalty = price
        if self._seen is not None:  # a change of prices is no reward
            self._potential = self._of(self._seen)

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every environment."""
        observations: Any = self.venv.reset()
        self._seen, self._potential = observations, self._of(observations)
        self._returns[:] = 0
        return observations

    def _of(self, observations: NDArray[np.float32]) -> Floats:
        prices, requests = self.prices[self._part], self._requests[self._part]
        return potential(observations, self._slots, prices) / requests

    def step_wait(self) -> VecEnvStepReturn:
        """Step every environment."""
        observations, rewards, ended, infos = self.venv.step_wait()
        assert isinstance(observations, np.ndarray)
        after = self._of(observations)
        # Nothing is left to pay at the end of an episode; what is seen then belongs to the next.
        shaped = rewards + np.where(ended, 0, after) - self._potential
        self._seen, self._potential = observations, after
        self._returns = self._gamma * self._returns + shaped
        self._steps += 1
        share = 1 / min(20_000, self._steps)
        square = np.bincount(self._part, self._returns**2) / self._counts
        self._square += share * (square - self._square)
        self._returns[ended] = 0
        scaled = shaped / np.sqrt(self._square[self._part] + 1e-12)
        return observations, scaled.astype(np.float32), ended, infos
