"""MaskablePPO with a network that scores each request, on 64 environments at once.

python examples/masked_ppo.py [STEPS]
"""

import sys

import pandas as pd
from sb3_contrib import MaskablePPO

from dysta_gym import compare
from dysta_gym.agents import ScoringPolicy, SparseMultiDNNVecEnv, evaluate

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
# The scheduler is asked only when something happens, and knows lengths at arrival.
seen = {"level": "sized/kalman", "slots": 64, "decisions": "events"}
env = SparseMultiDNNVecEnv(64, scenario="multi-attnn", load=1.05, **seen)
model = MaskablePPO(ScoringPolicy, env, n_steps=64, batch_size=1024, seed=0, device="cpu")
model.learn(steps)

conditions = {"scenarios": ["multi-attnn"], "loads": [1.05], "seeds": range(3)}
both = pd.concat(
    [compare(policies=["dysta", "evolved"], **conditions), evaluate(model, **conditions)]
)
print(both.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())
