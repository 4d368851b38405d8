"""The global generators, which Stable-Baselines3 draws from: their state, for resumption."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_state() -> Any:
    """The state of the global generators, which Stable-Baselines3 draws from."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def set_random_state(state: Any) -> None:
    """Set the global generators to a state that `random_state` gave."""
    python, numpy, torches = state
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    torch.set_rng_state(torches)
