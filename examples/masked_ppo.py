"""MaskablePPO with a network that scores each request, on 64 environments at once.

python examples/masked_ppo.py [STEPS]
"""

import sys

import pandas as pd
import torch
from sb3_contrib import MaskablePPO

from dysta_gym import compare
from dysta_gym.agents import (
    ScoringPolicy,
    SparseMultiDNNVecEnv,
    ValidationCallback,
    evaluate,
    export,
)

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
torch.set_num_threads(1)  # small networks: more threads wait for one another
# The scheduler is asked only when something happens, and knows lengths at arrival.
seen = {"level": "sized/kalman", "slots": 64, "decisions": "events"}
env = SparseMultiDNNVecEnv(64, scenario="multi-attnn", load=1.05, penalty=300, **seen)
model = MaskablePPO(
    ScoringPolicy, env, n_steps=64, batch_size=512, n_epochs=4, learning_rate=2e-3, gamma=0.997,
    seed=0, device="cpu",
)  # fmt: skip
model.learn(steps, callback=ValidationCallback())  # Ctrl-C ends it sooner

# As it is, and as a policy of the compiled loop.
conditions = {"scenarios": ["multi-attnn"], "loads": [1.05], "seeds": range(3)}
rules = compare(policies=["dysta", "evolved", export(model, "exported").policy()], **conditions)
both = pd.concat([rules, evaluate(model, **conditions)])
print(both.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())
