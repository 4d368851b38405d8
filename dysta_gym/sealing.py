"""Arrays that have been checked, and can then not be changed."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


def sealed(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view of an array that nobody else holds."""
    if array.base is not None or not array.flags.c_contiguous:
        array = array.copy()  # so that `opened` finds all of it, and nothing else
    view = array.view()
    view.flags.writeable = False
    return view


def opened(array: NDArray[Any]) -> NDArray[Any]:
    """The array behind a `sealed` one, for compiled code to read.

    Numba takes read-only arrays for another type, which compiled signatures do not name.
    """
    behind: NDArray[Any] = array if array.flags.writeable else array.base  # type: ignore[assignment]
    return behind


class Sealed:
    """An object whose arrays are sealed: its deep copy is itself, and a pickled one is sealed."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(
            (name, sealed(value) if isinstance(value, np.ndarray) else value)
            for name, value in state.items()
        )
