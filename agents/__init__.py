"""Learned schedulers: what trains and judges them.

`evolved`, `ppo` and `dqn` are policies in the package; they and checkpoints of one's own run inside
the compiled loop and need no torch. The names below are loaded when they are first used; only
training and the adapters for Stable-Baselines3 need that package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dysta_gym.lazy import lazily

if TYPE_CHECKING:
    from dysta_gym.agents.checkpoints import Checkpoint, load
    from dysta_gym.agents.evaluation import evaluate
    from dysta_gym.agents.exporting import export
    from dysta_gym.agents.mixing import MixedVecEnv
    from dysta_gym.agents.recipes import load_recipe
    from dysta_gym.agents.scoring import ScoringPolicy
    from dysta_gym.agents.training import train
    from dysta_gym.agents.validation import ValidationCallback
    from dysta_gym.agents.vec_env import SparseMultiDNNVecEnv

_HOME = {
    "Checkpoint": "checkpoints",
    "MixedVecEnv": "mixing",
    "ScoringPolicy": "scoring",
    "SparseMultiDNNVecEnv": "vec_env",
    "ValidationCallback": "validation",
    "evaluate": "evaluation",
    "export": "exporting",
    "load": "checkpoints",
    "load_recipe": "recipes",
    "train": "training",
}

__all__ = [
    "Checkpoint",
    "MixedVecEnv",
    "ScoringPolicy",
    "SparseMultiDNNVecEnv",
    "ValidationCallback",
    "evaluate",
    "export",
    "load",
    "load_recipe",
    "train",
]

__getattr__, __dir__ = lazily(globals(), _HOME, "agents")
