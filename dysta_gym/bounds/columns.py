"""Columns of a workload, as bounds take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dysta_gym.compiled.records import Floats
from dysta_gym.errors import DystaError, shown
from dysta_gym.workloads.workload import origin_of


def columns(arrival_s: ArrayLike, isolated_s: ArrayLike, **moments: ArrayLike) -> list[Floats]:
    """Arrivals, isolated latencies and other moments, from the first arrival on, to be written to.

    Moments count from there where that is far from 0 and times have few digits.

    Raises:
        DystaError: If a column is of another length, empty or not finite, arrivals decrease, or an
            isolated latency is not above 0.
    """
    given: dict[str, Any] = {"arrival_s": arrival_s, "isolated_s": isolated_s, **moments}
    made = {name: np.array(column, np.float64, order="C") for name, column in given.items()}
    shape = made["arrival_s"].shape
    for name, column in made.items():
        if column.ndim != 1 or not column.size or column.shape != shape:
            raise DystaError(
                f"{name}: an array of shape {column.shape} is not allowed; all must have the same, "
                "(requests,), and at least one request"
            )
        if not np.isfinite(column).all():
            raise DystaError(f"{name}: {shown(column[~np.isfinite(column)][0])} is not allowed; "
                             "it must be finite")  # fmt: skip
    if (np.diff(made["arrival_s"]) < 0).any():
        raise DystaError("arrival_s: it decreases; requests must be in order of arrival")
    if not (made["isolated_s"] > 0).all():
        least = made["isolated_s"].min()
        raise DystaError(f"isolated_s: {least:g} is not allowed; it must be above 0")
    origin = origin_of(made["arrival_s"])
    return [column if name == "isolated_s" else column - origin for name, column in made.items()]
