"""How the machine's inner loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

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


def _borrow(typingctx: Any, value: Any) -> Any:
    """An array, or a NamedTuple of arrays and numbers, without counted references.

    For compiled code, where counting the references of every column at every call is an atomic
    operation each, which costs ten times what a decision does. The caller must keep the arrays
    alive.
    """

    def uncounted(context: Any, builder: Any, kind: Any, value: Any) -> Any:
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (kind,), (record,) = signature.args, arguments
        if isinstance(kind, types.Array):
            return uncounted(context, builder, kind, record)
        for index, column in enumerate(kind.types):
            if not isinstance(column, types.Array):
                continue
            array = uncounted(context, builder, column, builder.extract_value(record, index))
            record = builder.insert_value(record, array, index)
        return record

    return value(value), codegen


borrow: Any = intrinsic(_borrow)
