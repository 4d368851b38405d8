"""PPO of RLlib on a Ray cluster, and what it has learned as a row of the table.

python examples/rllib_ppo.py [ITERATIONS] [ADDRESS]

pip install 'dysta-gym[agents,rllib]' (not ray[rllib], which pins an older Gymnasium).

Without an address it starts a cluster on this machine alone, which needs two processors. Runners
that are lost with their node are started anew on others.
"""

import sys
import warnings

import gymnasium as gym
import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.tune.registry import register_env

from dysta_gym import compare
from dysta_gym.agents import Checkpoint
from dysta_gym.agents.scoring import Scorer, Sight, Worth
from dysta_gym.features import DEFAULT, select

WIDTH = 16
SEEN = {"level": "sized/kalman", "slots": 64, "decisions": "events"}


def environment(config):
    """The environment of a runner, which Ray calls it by name for."""
    return gym.make("SparseMultiDNN-v0", scenario="multi-attnn", load=1.05, **SEEN)


class Scoring(TorchRLModule, ValueFunctionAPI):
    """Scores each request in the light of the others.

    Slots that are empty score next to nothing, so that masks are not needed.
    """

    def setup(self):
        """Make the networks."""
        self.see = Sight(DEFAULT)
        self.scorer, self.worth = Scorer(WIDTH, self.see.policy), Worth(2 * WIDTH, self.see)

    def _forward(self, batch, **kwargs):
        seen = self.see(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: seen.scores(self.scorer(seen))}

    def compute_values(self, batch, embeddings=None):
        """What queues are worth."""
        return self.worth(self.see(batch[Columns.OBS]))[:, 0]


def main(iterations=20, address="local"):
    """Train, and show what came of it."""
    warnings.simplefilter("ignore")
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    register_env("sparse-multi-dnn", environment)
    config = (
        PPOConfig()
        .environment("sparse-multi-dnn")
        .env_runners(num_env_runners=2, num_envs_per_env_runner=4)
        .fault_tolerance(restart_failed_env_runners=True)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=Scoring))
        .training(train_batch_size_per_learner=4096, minibatch_size=1024, num_epochs=4, lr=3e-3)
        .debugging(seed=0, log_level="ERROR")
    )
    algorithm = config.build_algo()
    for _ in range(iterations):
        algorithm.train()
    scorer = algorithm.get_module().scorer
    features = select(DEFAULT).for_policies().without("present").names
    weights = np.asarray(scorer.weights(), np.float64)
    learned = Checkpoint("rllib-ppo", "pooled", WIDTH, tuple(features), weights, SEEN["level"])
    table = compare(["multi-attnn"], ["dysta", learned.policy()], loads=[1.05], seeds=range(3))
    print(table.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())
    algorithm.stop()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
    ray.shutdown()
