"""Learned schedulers: what trains and judges them.

The names below are loaded when they are first used; only the adapter for Stable-Baselines3 needs
that package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dysta_gym.agents.evaluation import evaluate
    from dysta_gym.agents.vec_env import SparseMultiDNNVecEnv

_HOME = {"SparseMultiDNNVecEnv": "vec_env", "evaluate": "evaluation"}

__all__ = ["SparseMultiDNNVecEnv", "evaluate"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
