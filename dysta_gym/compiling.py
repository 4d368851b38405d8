"""How the machine's inner loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(
    signature: Any, *, cache: bool = True, inline: bool = False
) -> Callable[[Function], Function]:
    """Compile a function with Numba for one signature.

    The code is kept on disk, runs without the interpreter's lock, and divides as NumPy does: by
    zero gives infinity or NaN. ``inline`` copies it into its callers, which spares a call that
    hands over dozens of columns.
    """
    decorate: Any = numba.njit(
        signature, cache=cache, nogil=True, error_model="numpy", forceinline=inline
    )
    return decorate


def type_of(value: Any) -> Any:
    """Numba's type of a value."""
    return numba.typeof(value)
