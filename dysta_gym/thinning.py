"""Which policies a picture shows where it cannot show them all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dysta_gym.information import LEVELS

Points = NDArray[np.float64]

FEW = 8
"""So many policies are all drawn, wherever they are."""

_NEAR = 8.0
"""Distance of two markers, in points, from which neither covers anything of the other."""

_CROWD = 1.5
"""How much others may cover of a marker that is drawn, in whole markers."""


def frontier(values: Points) -> NDArray[np.bool_]:
    """Which policies no other beats or equals in everything; of equals, the first.

    Args:
        values: What is the better the less it is, shape ``(policies, metrics)``.
    """
    order = np.arange(len(values))
    no_worse = (values[None] <= values[:, None] * (1 + 1e-9)).all(axis=2)
    same = no_worse & no_worse.T
    beaten = (no_worse & ~same) | (same & (order[None] < order[:, None]))
    return np.logical_not(beaten.any(axis=1))


def told_apart(at: Points, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which markers are drawn: those that are kept, and of others, as many as can be told apart.

    Args:
        at: Where they are, in points, shape ``(markers, 2)``, in the order of their importance.
        kept: Which are drawn in any case, shape ``(markers,)``.
    """
    if len(at) <= FEW:
        return np.ones(len(at), np.bool_)
    drawn = kept.copy()
    for index in np.flatnonzero(~kept):
        distance = np.hypot(*(at[drawn] - at[index]).T)
        drawn[index] = np.maximum(1 - distance / _NEAR, 0).sum() <= _CROWD
    return drawn


def listed(
    left_out: Sequence[str], run: Collection[str], parts: Mapping[str, tuple[str, str]]
) -> str:
    """Names of policies, the levels of one rule together: ``fcfs, sjf@pattern,sized, llf@*``.

    Args:
        left_out: The names.
        run: All policies of the picture, among them these.
        parts: Rule and level of each, as `dysta_gym.styles.rules_and_levels` has them.
    """
    names = []
    for rule in dict.fromkeys(parts[name][0] for name in left_out):
        mine = [name for name in left_out if parts[name][0] == rule]
        every = [name for name in run if parts[name][0] == rule]
        levels = [level for level in LEVELS if level in {parts[name][1] for name in mine}]
        if len(mine) == 1:
            names += mine
        elif len(mine) == len(every):
            names.append(f"{rule}@*")
        else:
            names.append(f"{rule}@{','.join(levels)}")
    return ", ".join(names)
