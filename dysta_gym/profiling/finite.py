"""Numbers that can be measured: neither NaN nor infinite."""

from __future__ import annotations

from typing import Any

import numpy as np

from dysta_gym.errors import DystaError


class NotFinite(DystaError):
    """A value is NaN or infinite; which input it is on is known to whoever runs the network."""


def check_finite(values: Any, what: str, *, masks: bool = False) -> None:
    """See that all values of an array are finite.

    Args:
        values: An array or a tensor; nothing is asked of what holds no floats.
        what: What it is, for the message.
        masks: Whether it may hide scores, as minus infinity in a mask does.

    Raises:
        NotFinite: If one is not; it names the first.
    """
    if hasattr(values, "detach"):
        tensor = values.detach()
        if not tensor.is_floating_point() or bool(tensor.isfinite().all()):
            return
        values = tensor.double().cpu().numpy()
    array = np.asarray(values)
    if array.dtype.kind != "f":
        return
    wrong = ~np.isfinite(array)
    if masks:
        wrong &= ~np.isneginf(array)
    if wrong.any():
        place = tuple(int(axis) for axis in np.argwhere(wrong)[0])
        raise NotFinite(f"{what} is {array[place]} at {place}; expected finite numbers")


def is_mask(name: str) -> bool:
    """Whether an input is called a mask."""
    return "mask" in name.lower()
