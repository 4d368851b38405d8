"""PPO of Tianshou, and what it has learned as a row of the table.

python examples/tianshou_ppo.py [STEPS]
"""

import sys
import warnings

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from torch import nn

from dysta_gym import compare
from dysta_gym.agents import Checkpoint
from dysta_gym.agents.scoring import Scorer, Sight, Worth
from dysta_gym.features import DEFAULT

SEEN = {"level": "sized/kalman", "slots": 64, "decisions": "events"}
WIDTH, ENVS, ROLLOUT = 16, 16, 4096


def environment():
    """A single environment, of which Tianshou makes many."""
    return gym.make("SparseMultiDNN-v0", scenario="multi-attnn", load=1.05, penalty=300, **SEEN)


class Scores(nn.Module):
    """Scores of the slots, each in the light of the others.

    Slots that are empty score next to nothing, so that masks are not needed.
    """

    def __init__(self, sight):
        super().__init__()
        self.see, self.scorer = sight, Scorer(WIDTH, sight.policy)

    def forward(self, obs, state=None, info=None):
        """Logits, and the state of what has none."""
        seen = self.see(torch.as_tensor(obs))
        return seen.scores(self.scorer(seen)), state


class Value(nn.Module):
    """What queues are worth."""

    def __init__(self, sight):
        super().__init__()
        self.see, self.worth = sight, Worth(2 * WIDTH, sight)

    def forward(self, obs, **more):
        """Values, shape ``(N, 1)``."""
        return self.worth(self.see(torch.as_tensor(obs)))


def main(steps=80_000):
    """Train, and show what came of it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # small networks: more threads wait for one another
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002, from which Tianshou draws
    envs, sight = DummyVectorEnv([environment] * ENVS), Sight(DEFAULT)
    envs.seed(list(range(ENVS)))
    scores = Scores(sight)
    algorithm = PPO(
        policy=DiscreteActorPolicy(actor=scores, action_space=envs.action_space[0]),
        critic=Value(sight),
        optim=AdamOptimizerFactory(lr=2e-3, eps=1e-5),
        gamma=0.997,
        ent_coef=0.0,
        max_grad_norm=0.5,
        max_batchsize=ROLLOUT,
    )
    iterations = -(-steps // ROLLOUT)
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=Collector(algorithm, envs, VectorReplayBuffer(ROLLOUT, ENVS)),
            max_epochs=1,
            epoch_num_steps=iterations * ROLLOUT,
            collection_step_num_env_steps=ROLLOUT,
            batch_size=512,
            update_step_num_repetitions=4,
            verbose=False,
            show_progress=False,
        )
    )
    weights = np.asarray(scores.scorer.weights(), np.float64)
    learned = Checkpoint(
        "tianshou-ppo", "pooled", WIDTH, sight.policy.names, weights, SEEN["level"]
    )
    table = compare(["multi-attnn"], ["dysta", learned.policy()], loads=[1.05], seeds=range(3))
    print(table.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
