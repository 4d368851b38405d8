"""NamedTuples of arrays in compiled code: by value without counted references, or by address.

Numba passes a NamedTuple field by field, seven words an array, and counts the references of every
array at every call. For records of dozens of columns that costs ten times what a decision does. So
compiled code takes them as `borrow`, `reader` and `part` give them, with references that are not
counted: whoever holds the arrays must keep them alive.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from dysta_gym.compiled.functions import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FLOATS_TYPE, INTS_TYPE = types.float64[::1], types.int64[::1]
"""Compiled types of columns of numbers."""


def blank(record: type, shape: int | tuple[int, ...]) -> Any:
    """An instance of a NamedTuple of `Floats`, `Ints` and numbers, all zeros, of this shape."""
    zeros: dict[str, Callable[[], Any]] = {
        "Ints": lambda: np.zeros(shape, np.int64),
        "Floats": lambda: np.zeros(shape),
        "int": int,
        "float": float,
    }
    return record(*(zeros[kind.__forward_arg__]() for kind in record.__annotations__.values()))


def type_of(record: type) -> Any:
    """Compiled type of a NamedTuple of columns and numbers."""
    return numba.typeof(blank(record, 1))


def _each_array(
    context: Any, builder: Any, kind: Any, value: Any, change: Callable[[Any], None]
) -> Any:
    """The value with every array in it changed; what is no array stays."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        change(array)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        fields: Any = kind
        for index, field in enumerate(fields.types):
            changed = _each_array(
                context, builder, field, builder.extract_value(value, index), change
            )
            value = builder.insert_value(value, changed, index)
    return value


def _uncounted(array: Any) -> None:
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)


def _borrow(typingctx: Any, value: Any) -> Any:
    """An array, or a record, without counted references."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _each_array(context, builder, signature.args[0], arguments[0], _uncounted)

    return value(value), codegen


def _on_stack(typingctx: Any, record: Any) -> Any:
    """Address of a copy of a record, which is there until the calling function returns."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once_value(builder, arguments[0])
        return builder.ptrtoint(place, context.get_value_type(types.intp))

    return types.intp(record), codegen


def _store(typingctx: Any, record: Any, address: Any) -> Any:
    """Write a record at an address, in the form that `reader` reads."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.args[0])
        builder.store(arguments[0], builder.inttoptr(arguments[1], kind.as_pointer()))
        return context.get_dummy_value()

    return types.void(record, address), codegen


def _part(typingctx: Any, record: Any, first: Any) -> Any:
    """An array or a record of arrays from entry ``first`` on, as far as its caller looks."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, offset = arguments

        def move(array: Any) -> None:
            array.data = builder.gep(array.data, [offset], inbounds=True)

        return _each_array(context, builder, signature.args[0], value, move)

    return record(record, first), codegen


def _exact(typingctx: Any, record: Any, first: Any, size: Any) -> Any:
    """An array or a record of arrays from entry ``first`` on, of ``size`` entries and no more."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, offset, size = arguments

        def cut(array: Any) -> None:
            array.data = builder.gep(array.data, [offset], inbounds=True)
            array.nitems, array.shape = size, cgutils.pack_array(builder, [size])

        return _each_array(context, builder, signature.args[0], value, cut)

    return record(record, types.intp, types.intp), codegen


def _read_only(typingctx: Any, record: Any, writable: Any) -> Any:
    """An array or a record as code sees it that may not write to it.

    What writes to a read-only array is not compiled. ``writable`` is the name of a field that stays
    as it is, a literal, or None.
    """

    def sealed(kind: Any) -> Any:
        if isinstance(kind, types.Array):
            return kind.copy(readonly=True)
        if isinstance(kind, types.NamedTuple):
            but = getattr(writable, "literal_value", None)
            fields = zip(kind.types, kind.fields, strict=True)
            return types.NamedTuple(
                [each if name == but else sealed(each) for each, name in fields],
                kind.instance_class,
            )
        return kind

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]  # the two types have one form in memory

    return sealed(record)(record, writable), codegen


def _call(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    """Call the function at an address, of `_invoke` or `_attempt`; how that ended."""
    place, packed = given
    kinds, convention = signature.args[1].types, context.call_conv
    function = convention.get_function_type(types.void, kinds)
    status, _ = convention.call_function(
        builder,
        builder.inttoptr(place, function.as_pointer()),
        types.void,
        kinds,
        cgutils.unpack_tuple(builder, packed),
    )
    return status


def _invoke(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the compiled function at an address, which returns nothing; what it raises is passed on.

    Unlike a call by name, it leaves the function where it is: Numba would copy it into the caller,
    and compile it again with that.
    """

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        status = _call(context, builder, signature, given)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(address, arguments), codegen


def _attempt(typingctx: Any, address: Any, arguments: Any) -> Any:
    """`_invoke`, but what the function raises is swallowed: whether it has come to its end."""

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.not_(_call(context, builder, signature, given).is_error)

    return types.boolean(address, arguments), codegen


attempt: Any = intrinsic(_attempt)
borrow: Any = intrinsic(_borrow)
invoke: Any = intrinsic(_invoke)
on_stack: Any = intrinsic(_on_stack)
store: Any = intrinsic(_store)
part: Any = intrinsic(_part)
exact: Any = intrinsic(_exact)
read_only: Any = intrinsic(prefer_literal=True)(_read_only)


def shut(array: Any) -> Any:
    """An array that was just made, for others to read alone; in plain Python, too."""
    array.setflags(write=False)
    return array


def _shut(typingctx: Any, array: Any) -> Any:
    """`shut` in compiled code; unlike `_read_only`, of an array whose references are counted."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        context.nrt.incref(builder, signature.args[0], arguments[0])
        return arguments[0]

    return array.copy(readonly=True)(array), codegen


_shut_compiled: Any = intrinsic(_shut)


@overload(shut)
def _shut_overload(array):  # type: ignore[no-untyped-def]  # Numba compares this with the lambda
    return lambda array: _shut_compiled(array)


def reader(kind: Any) -> Any:
    """``read(address)``, the record of this Numba type at an address, for compiled code."""

    def _read(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
            return _each_array(context, builder, kind, builder.load(place), _uncounted)

        return kind(address), codegen

    return intrinsic(_read)


@cache
def size_of(kind: Any) -> int:
    """Bytes that a record of this Numba type takes in memory."""
    from numba.core.registry import cpu_target

    context = cpu_target.target_context
    return int(context.get_abi_sizeof(context.get_value_type(kind)))


@cache
def _writer(kind: Any) -> Callable[[Any, int], None]:
    """``write(record, address)`` for records of this Numba type."""

    def write(record: Any, address: int) -> None:
        store(borrow(record), address)

    return compiled(types.void(kind, types.intp))(write)


class Placed:
    """A record in memory, where compiled code reads it with `reader`.

    Args:
        record: The record; its arrays live as long as this.
        kind: Its Numba type.

    Attributes:
        address: Where it is.
    """

    def __init__(self, record: Any, kind: Any) -> None:
        self._record = record
        self._memory = np.zeros(size_of(kind), np.uint8)
        self.address = self._memory.ctypes.data
        _writer(kind)(record, self.address)
