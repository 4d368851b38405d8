"""Binary heaps of requests, for compiled code."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import FLOATS_TYPE, INTS_TYPE


@compiled(types.void(FLOATS_TYPE, INTS_TYPE, types.int64, types.int64), inline=True)
def push(key: NDArray[np.float64], waiting: NDArray[np.int64], size: int, request: int) -> None:
    """Add a request to the binary heap ``waiting[:size]``, the one of least key first."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if key[waiting[parent]] <= key[request]:
            break
        waiting[at] = waiting[parent]
        at = parent
    waiting[at] = request


@compiled(types.int64(FLOATS_TYPE, INTS_TYPE, types.int64), inline=True)
def pop(key: NDArray[np.float64], waiting: NDArray[np.int64], size: int) -> int:
    """Take the first request out of the binary heap ``waiting[:size]``."""
    first, moved = waiting[0], waiting[size - 1]
    at, child = 0, 1
    while child < size:
        if child + 1 < size:
            child += key[waiting[child + 1]] < key[waiting[child]]
        if key[waiting[child]] >= key[moved]:
            break
        waiting[at] = waiting[child]
        at, child = child, 2 * child + 1
    waiting[at] = moved
    return first
