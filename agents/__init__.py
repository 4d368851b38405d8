"""Learned schedulers: what trains and judges them.

The names below are loaded when they are first used; only the adapter for Stable-Baselines3 needs
that package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dysta_gym.lazy import lazily

if TYPE_CHECKING:
    from dysta_gym.agents.evaluation import evaluate
    from dysta_gym.agents.vec_env import SparseMultiDNNVecEnv

_HOME = {"SparseMultiDNNVecEnv": "vec_env", "evaluate": "evaluation"}

__all__ = ["SparseMultiDNNVecEnv", "evaluate"]

__getattr__, __dir__ = lazily(globals(), _HOME)
