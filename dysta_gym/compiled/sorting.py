"""Sorting, for compiled code."""

from __future__ import annotations

import numpy as np

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats, Ints


@compiled(None, inline=True)
def sort(keys: Floats, order: Ints) -> None:
    """Let ``order`` be the indices of ``keys``, least key first: a merge sort, bottom up."""
    # That of Numba takes seconds to compile.
    size = keys.size
    merged = np.empty_like(order)
    for i in range(size):
        order[i] = i
    width = 1
    while width < size:
        for first in range(0, size, 2 * width):
            middle, last = min(first + width, size), min(first + 2 * width, size)
            left, right = first, middle
            for i in range(first, last):
                if right == last or (left < middle and keys[order[left]] <= keys[order[right]]):
                    merged[i] = order[left]
                    left += 1
                else:
                    merged[i] = order[right]
                    right += 1
        for i in range(size):
            order[i] = merged[i]
        width *= 2
