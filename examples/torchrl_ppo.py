"""PPO of TorchRL on 64 environments at once, and what it has learned as a row of the table.

python examples/torchrl_ppo.py [STEPS]
"""

import sys
import warnings

import gymnasium as gym
import numpy as np
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import Unbounded
from torchrl.envs import GymWrapper, default_info_dict_reader
from torchrl.modules import MaskedCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from dysta_gym import compare
from dysta_gym.agents import Checkpoint
from dysta_gym.agents.scoring import Scorer, Sight, Worth
from dysta_gym.features import DEFAULT

SEEN = {"level": "sized/kalman", "slots": 64, "decisions": "events"}
WIDTH, ENVS, ROLLOUT, EPOCHS, MINIBATCH = 16, 64, 64, 4, 512


def environment():
    """The environments, which TorchRL resets where they have ended, and their masks."""
    envs = gym.make_vec(
        "SparseMultiDNN-v0",
        num_envs=ENVS,
        scenario="multi-attnn",
        load=1.05,
        penalty=300,
        autoreset_mode=gym.vector.AutoresetMode.DISABLED,
        **SEEN,
    )
    env = GymWrapper(envs, categorical_action_encoding=True)
    masks = Unbounded((ENVS, SEEN["slots"]), dtype=torch.int8)
    env.set_info_dict_reader(default_info_dict_reader(["action_mask"], spec=[masks]))
    env.set_seed(0)
    return env


class Scores(nn.Module):
    """Scores of the slots, each in the light of the others."""

    def __init__(self, sight):
        super().__init__()
        self.see, self.scorer = sight, Scorer(WIDTH, sight.policy)

    def forward(self, observations, masks):
        """Logits and masks as `MaskedCategorical` takes them."""
        shape = observations.shape[:-1]
        seen = self.see(observations.reshape(-1, observations.shape[-1]))
        return seen.scores(self.scorer(seen)).reshape(*shape, -1), masks.bool()


class Value(nn.Module):
    """What queues are worth."""

    def __init__(self, sight):
        super().__init__()
        self.see, self.worth = sight, Worth(2 * WIDTH, sight)

    def forward(self, observations):
        """Values, one in the last place."""
        shape = observations.shape[:-1]
        seen = self.see(observations.reshape(-1, observations.shape[-1]))
        return self.worth(seen).reshape(*shape, 1)


def main(steps=80_000):
    """Train, and show what came of it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # small networks: more threads wait for one another
    torch.manual_seed(0)
    env, sight = environment(), Sight(DEFAULT)
    scores = Scores(sight)
    actor = ProbabilisticActor(
        TensorDictModule(
            scores, in_keys=["observation", "action_mask"], out_keys=["logits", "mask"]
        ),
        in_keys=["logits", "mask"],
        distribution_class=MaskedCategorical,
        spec=env.action_spec,
        return_log_prob=True,
    )
    critic = ValueOperator(Value(sight), in_keys=["observation"])
    advantage = GAE(
        gamma=0.997, lmbda=0.95, value_network=critic, average_gae=False, deactivate_vmap=True
    )
    loss = ClipPPOLoss(
        actor, critic, entropy_bonus=False, critic_coeff=0.5, normalize_advantage=True
    )
    optimiser = torch.optim.Adam(loss.parameters(), 2e-3, eps=1e-5)
    size = ENVS * ROLLOUT
    iterations = -(-steps // size)
    collector = Collector(env, actor, frames_per_batch=size, total_frames=iterations * size)
    for iteration, batch in enumerate(collector):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - iteration / iterations)
        with torch.no_grad():
            advantage(batch)
        rows = batch.reshape(-1)
        for _ in range(EPOCHS):
            for chosen in torch.randperm(size).split(MINIBATCH):
                losses = loss(rows[chosen])
                optimiser.zero_grad()
                (losses["loss_objective"] + losses["loss_critic"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimiser.step()
    collector.shutdown()
    weights = np.asarray(scores.scorer.weights(), np.float64)
    learned = Checkpoint("torchrl-ppo", "pooled", WIDTH, sight.policy.names, weights, SEEN["level"])
    table = compare(["multi-attnn"], ["dysta", learned.policy()], loads=[1.05], seeds=range(3))
    print(table.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
