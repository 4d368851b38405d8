"""PPO of Stable-Baselines3 as it stands, on the environment as it stands.

python examples/stock_ppo.py [STEPS]
"""

import sys

import gymnasium as gym
import pandas as pd
from stable_baselines3 import PPO

from dysta_gym import compare
from dysta_gym.agents import evaluate

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
model = PPO("MlpPolicy", gym.make("SparseMultiDNN-v0"), seed=0, device="cpu")
model.learn(steps)

# On the same workloads, of inputs that were not trained on.
scenario, seeds = ["multi-attnn"], range(3)
both = pd.concat(
    [compare(scenario, ["fcfs", "dysta"], seeds=seeds), evaluate(model, scenario, seeds=seeds)]
)
print(both.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())
