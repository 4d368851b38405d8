"""PPO of Stable-Baselines3 as it stands, without masks, on eight single environments.

python examples/stock_ppo.py [STEPS]

What makes it learn is the network, which scores every request with the same weights: of an
`MlpPolicy`, which takes the queue as one list of numbers, nothing comes in this time.
"""

import sys

import pandas as pd
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from dysta_gym import compare
from dysta_gym.agents import ScoringPolicy, ValidationCallback, evaluate

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
torch.set_num_threads(1)  # small networks: more threads wait for one another
# The scheduler is asked only when something happens, and knows lengths at arrival.
told = {"load": 1.05, "level": "sized/kalman", "decisions": "events", "penalty": 300}
env = make_vec_env("SparseMultiDNN-v0", 8, seed=0, env_kwargs=told)
model = PPO(
    ScoringPolicy, env, n_steps=512, batch_size=512, n_epochs=4, learning_rate=2e-3, gamma=0.997,
    seed=0, device="cpu",
)  # fmt: skip
model.learn(steps, callback=ValidationCallback())  # Ctrl-C ends it sooner

# On the same workloads, of inputs that were not trained on.
conditions = {"scenarios": ["multi-attnn"], "loads": [1.05], "seeds": range(3)}
both = pd.concat([compare(policies=["fcfs", "dysta"], **conditions), evaluate(model, **conditions)])
print(both.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())
