"""What compiled code of several threads needs: numbers that all of them see alike."""

from __future__ import annotations

from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _atomic(operation: str) -> Any:
    """An operation on an entry of an array of int64 that threads see in one order."""

    def _apply(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            column, at, number = arguments
            data = context.make_array(signature.args[0])(context, builder, column).data
            place = builder.gep(data, [at])
            if operation == "load":
                return builder.load_atomic(place, "seq_cst", 8)
            if operation == "store":
                builder.store_atomic(number, place, "seq_cst", 8)
                return ir.Constant(number.type, 0)
            return builder.atomic_rmw("add", place, number, "seq_cst")

        return types.int64(array, types.int64, types.int64), codegen

    return intrinsic(_apply)


atomic_add, atomic_load, atomic_store = _atomic("add"), _atomic("load"), _atomic("store")
"""``atomic_add(array, index, number)`` gives what was there before, ``atomic_load(array, index,
0)`` what is there, ``atomic_store(array, index, number)`` nothing of use."""

_YIELDS = ("sched_yield", "SwitchToThread")
"""What systems call it: POSIX, and Windows."""


def _yield_core(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        known = [name for name in _YIELDS if llvm.address_of_symbol(name)]
        if known:  # else a thread that waits looks on
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, known[0]), [])
        return context.get_dummy_value()

    return types.void(), codegen


yield_core: Any = intrinsic(_yield_core)
"""``yield_core()``: let another thread have this one's core, if one waits for it."""
