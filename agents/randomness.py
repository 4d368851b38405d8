"""The global generators, which Stable-Baselines3 draws from: their state as arrays."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_KEY = 624
"""Words of a Mersenne Twister."""


def random_state() -> dict[str, NDArray[Any]]:
    """The state of the global generators, arrays by name."""
    _, words, kept = random.getstate()
    _, key, at, has_kept, normal = np.random.get_state()  # noqa: NPY002
    return {
        "python": np.array(words, np.uint32),
        "python.kept": np.array(np.nan if kept is None else kept),
        "numpy": np.array(key, np.uint32),
        "numpy.at": np.array([at, has_kept]),
        "numpy.kept": np.array(normal),
        "torch": torch.get_rng_state().numpy(),
    }


def set_random_state(state: Mapping[str, NDArray[Any]]) -> None:
    """Set the global generators to a state that `random_state` gave.

    Raises:
        Exception: If it can be none, of any kind.
    """
    kept = float(state["python.kept"])
    random.setstate((3, tuple(state["python"].tolist()), None if np.isnan(kept) else kept))
    at, has_kept = state["numpy.at"].tolist()
    if not 0 <= at <= _KEY or has_kept not in (0, 1):  # which NumPy would not see
        raise ValueError(f"a generator is at {at} of its {_KEY} words")
    normal = float(state["numpy.kept"])
    np.random.set_state(("MT19937", state["numpy"], at, has_kept, normal))  # noqa: NPY002
    torch.set_rng_state(torch.from_numpy(state["torch"].copy()))
