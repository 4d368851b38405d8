"""What a network that takes a preference is worth: the frontier between violations and ANTT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

JUDGED = tuple(each / 10 for each in range(11))
"""Preferences that a network is chosen by."""

BOX = 1.1, 0.98, 1.2
"""The box that is to be covered: violations from none to this share of the reference's, ANTT from
and to these."""

LEAST_RATE = 0.005
"""Where the reference has fewer violations, there is no frontier to speak of."""

_FLOOR = 0.01
"""Violation rates of the reference count as no less when they are divided by."""

_WEIGHTS = 12.0, 0.005
"""What the reference's violations weigh, in its ANTT, at preference 0 and at 1."""


def hypervolumes(measured: Floats, reference: Floats) -> Floats:
    """Share of the box that the points of each condition cover, shape ``(..., conditions)``.

    Args:
        measured: Violation rates and ANTT of the points, shape ``(..., points, conditions, 2)``.
        reference: The reference's, shape ``(conditions, 2)``; NaN is given where its violation
            rate is less than `LEAST_RATE`.
    """
    return np.where(reference[:, 0] >= LEAST_RATE, covered(measured, reference), np.nan)


def covered(measured: Floats, reference: Floats) -> Floats:
    """As `hypervolumes`, of every condition; 0 where the reference has no violations."""
    most, low, high = BOX
    known = reference[:, 0] > 0
    rate = np.where(known, reference[:, 0], 1.0)
    v = np.minimum(measured[..., 0] / rate, most)
    a = np.clip(measured[..., 1] / reference[:, 1], low, high)
    order = np.argsort(a, axis=-2, kind="stable")
    a, v = np.take_along_axis(a, order, -2), np.take_along_axis(v, order, -2)
    best = np.minimum.accumulate(v, axis=-2)  # at no more ANTT than that
    widths = np.diff(a, axis=-2, append=np.full_like(a[..., :1, :], high))
    share = ((most - best) * widths).sum(axis=-2) / (most * (high - low))
    return np.where(known, share, 0.0)


def hypervolume(measured: Floats, reference: Floats) -> float:
    """Mean of `hypervolumes` over the conditions that have violations."""
    return float(np.nanmean(hypervolumes(measured, reference)))


def loss(measured: Floats, reference: Floats, preferences: Sequence[float]) -> Floats:
    """What training makes small, shape ``(...)``.

    The hypervolume alone does not say which preference is to give which point, and sees nothing
    outside its box. So there is added, of each preference, a weighted sum of the logarithm of ANTT
    and of violations, both over the reference's, the weights changing geometrically from one end
    to the other. Each condition counts the same, whatever its violations.

    Args:
        measured: Shape ``(..., preferences, conditions, 2)``.
        reference: Shape ``(conditions, 2)``.
        preferences: The preferences.
    """
    first, last = _WEIGHTS
    weight = first * (last / first) ** np.array(preferences)[:, None]
    v = measured[..., 0] / np.maximum(reference[:, 0], _FLOOR)
    a = np.log(measured[..., 1] / reference[:, 1])
    sums = ((a + weight * v) / (weight + 0.2)).mean(axis=(-2, -1))
    shares = hypervolumes(measured, reference)
    counts = ~np.isnan(shares)
    result: Floats = sums - np.where(counts, shares, 0.0).sum(-1) / np.maximum(1, counts.sum(-1))
    return result
