"""Environments that can be brought to where they were: by playing again what led there.

An episode is a function of its seed and of the actions in it, and the seed of its place among the
episodes of its environment. So nothing of what compiled code works on is kept, and nothing that is
read from a file comes to where it would be believed unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.agents.mixing import MixedVecEnv
from dysta_gym.agents.runs import warn_of_rounding
from dysta_gym.agents.vec_env import SparseMultiDNNVecEnv
from dysta_gym.workloads import plan


class RecordedVecEnv(SparseMultiDNNVecEnv):
    """`SparseMultiDNNVecEnv` that remembers what has been done since its only reset, with seeds."""

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        """As `SparseMultiDNNVecEnv`."""
        super().__init__(num_envs, **kwargs)
        settings = self.envs.settings
        self._requests = plan(settings.scenario, settings.split).requests
        self._first: list[int] = []
        self._ended = np.zeros(num_envs, np.int64)
        self._taken = np.zeros((num_envs, 0), np.uint16)  # slots are at most 10,000

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every environment, of the seeds set before."""
        self._first = [int(seed) for seed in self._seeds if seed is not None]
        self._ended[:] = 0
        return super().reset()

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step every environment."""
        lengths, room = self._lengths, self._taken.shape[1]
        if lengths.max() >= room:
            more = np.zeros((self.num_envs, max(64, room)), np.uint16)
            self._taken = np.concatenate([self._taken, more], axis=1)
        self._taken[np.arange(self.num_envs), lengths] = self._actions
        observations, rewards, ended, infos = super().step_wait()
        self._ended += ended
        return observations, rewards, ended, infos

    def state(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs, arrays by name; ``actions`` is of any length."""
        there = np.arange(self._taken.shape[1]) < self._lengths[:, None]
        return {
            "ended": self._ended.copy(),
            "lengths": self._lengths.copy(),
            "returns": self._returns.copy(),
            "actions": self._taken[there],
        }

    def most_actions(self) -> int:
        """Length that ``actions`` may have: that of all episodes that have yet to end."""
        return int(self.num_envs * self._requests * self.envs.settings.store.layers.max())

    def restore(self, state: Mapping[str, NDArray[Any]], steps: int) -> NDArray[np.float32]:
        """Play again what led to a state, after a reset with the same seeds.

        Args:
            state: What `state` gave.
            steps: Steps that had been made.

        Returns:
            What the environments show.

        Raises:
            ValueError: If nothing leads there.
            DystaError: Likewise.
        """
        ended, lengths, actions = state["ended"], state["lengths"], state["actions"]
        # A step finishes one request at most.
        most = steps // self._requests
        if min(ended.min(), lengths.min()) < 0 or ended.max() > most or lengths.max() > steps:
            raise ValueError(f"its episodes do not fit into {steps} steps")
        if lengths.sum() != len(actions):
            raise ValueError(f"there are {len(actions)} actions of {lengths.sum()} steps")
        taken = np.zeros((self.num_envs, int(lengths.max())), np.uint16)
        taken[np.arange(taken.shape[1]) < lengths[:, None]] = actions
        # All step together, so the longest begins first; who has not begun yet plays anything.
        begins = lengths.max() - lengths
        observations = self._begin(ended, begins == 0)
        for step in range(taken.shape[1]):
            at = np.maximum(step - begins, 0)
            played = np.where(step >= begins, taken[np.arange(self.num_envs), at], 0)
            observations, _, over, _, _ = self.envs.step(played.astype(np.int64))
            if (over & (step >= begins)).any():
                raise ValueError("an episode ends before its last action")
            starting = begins == step + 1
            if starting.any():
                observations = self._begin(ended, starting)
        self._ended, self._lengths = ended.copy(), lengths.copy()
        self._returns, self._taken = state["returns"].copy(), taken
        return observations.copy()

    def _begin(self, ended: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Start those episodes of the chosen environments that come after so many others."""
        observations, _ = self.envs.reset(seed=self._first, options={"reset_mask": chosen})
        for done in range(int(ended[chosen].max())):
            after = {"reset_mask": chosen & (ended > done)}
            observations, _ = self.envs.reset(options=after)
        result: NDArray[np.float32] = observations
        return result


class RecordedEnvs(MixedVecEnv):
    """`MixedVecEnv` of `RecordedVecEnv`."""

    parts: list[RecordedVecEnv]  # type: ignore[assignment]

    def state(self, observations: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """What `restore` needs, with what the environments show; arrays by name."""
        arrays = {"observations": observations}
        for at, part in enumerate(self.parts):
            arrays |= {f"{at}.{name}": array for name, array in part.state().items()}
        return arrays

    def most(self) -> dict[str, int]:
        """The arrays of `state` that may be of other lengths, and how long they may be."""
        return {f"{at}.actions": part.most_actions() for at, part in enumerate(self.parts)}

    def restore(self, state: Mapping[str, NDArray[Any]], steps: int) -> NDArray[np.float32]:
        """As `RecordedVecEnv.restore`; steps count once for each environment."""
        observations = np.concatenate(
            [
                part.restore(
                    {name: state[f"{at}.{name}"] for name in part.state()}, steps // self.num_envs
                )
                for at, part in enumerate(self.parts)
            ]
        )
        if not np.allclose(observations, state["observations"], rtol=1e-3, atol=1e-3):
            raise ValueError("its actions lead to other queues")
        if observations.tobytes() != state["observations"].tobytes():
            warn_of_rounding()
        return observations
