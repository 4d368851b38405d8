"""The environment as one of PufferLib's own, trained by the PPO of cleanrl_ppo.py.

python examples/pufferlib_ppo.py [STEPS]

PufferLib hands on observations, not masks; which slots are taken stands in the observations, too.
"""

import sys

import gymnasium as gym
import pandas as pd
import pufferlib
import pufferlib.vector
import torch
from cleanrl_ppo import ENVS, SEEN, Agent, learn

from dysta_gym import compare
from dysta_gym.agents import evaluate


class Scheduling(pufferlib.PufferEnv):
    """Many environments, one an agent, that step in one compiled call."""

    def __init__(self, count=ENVS, buf=None, seed=0):
        self.envs = gym.make_vec(
            "SparseMultiDNN-v0",
            num_envs=count,
            scenario="multi-attnn",
            load=1.05,
            penalty=300,
            autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
            copy=False,
            **SEEN,
        )
        self.single_observation_space = self.envs.single_observation_space
        self.single_action_space = self.envs.single_action_space
        self.num_agents = count
        super().__init__(buf)

    def reset(self, seed=0):
        """Start an episode in each, in PufferLib's buffers."""
        self.observations[:], _ = self.envs.reset(seed=seed)
        return self.observations, []

    def step(self, actions):
        """Step in each; where an episode ends, the next begins."""
        self.observations[:], self.rewards[:], self.terminals[:], self.truncations[:], _ = (
            self.envs.step(actions)
        )
        return self.observations, self.rewards, self.terminals, self.truncations, []

    def close(self):
        """Close them."""
        self.envs.close()


def main(steps=80_000):
    """Train, and show what came of it."""
    torch.set_num_threads(1)  # small networks: more threads wait for one another
    torch.manual_seed(0)
    envs = pufferlib.vector.make(Scheduling, num_envs=1, backend=pufferlib.PufferEnv)
    features = envs.driver_env.envs.unwrapped.settings.features
    at, width = [each.name for each in features.requests].index("present"), len(features.requests)

    def masks(observations):
        table = observations[:, : -len(features.queue)].reshape(len(observations), -1, width)
        return table[:, :, at] > 0

    def step(actions):
        observations, rewards, terminals, truncations, _ = envs.step(actions)
        return observations, masks(observations), rewards, terminals | truncations

    agent = Agent(features)
    observations, _ = envs.reset(seed=0)
    learn(agent, observations, masks(observations), step, steps)
    envs.close()

    conditions = {"scenarios": ["multi-attnn"], "loads": [1.05], "seeds": range(3)}
    mine = evaluate(agent.act, name="pufferlib-ppo", **SEEN, **conditions)
    table = pd.concat([compare(policies=["dysta"], **conditions), mine])
    print(table.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
