"""Code that somebody else has written a part of: no index of theirs leads outside an array."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from types import CellType, FunctionType, ModuleType
from typing import Any

from numba.core.registry import CPUDispatcher

from dysta_gym.compiled.digest import COPY_OF, names_of
from dysta_gym.compiled.functions import compiled
from dysta_gym.errors import DystaError

_Dispatcher: Any = CPUDispatcher


_ROUNDABOUT = {"flat", "nditer", "as_strided", "ascontiguousarray", "asfortranarray"}
"""What Numba reads and writes arrays by without any check; the last two give an array that may be
written to, over the memory of one that may not."""


def own(function: Callable[..., Any]) -> bool:
    """Whether a function is of this package, whose tests run its formulas and rules checked."""
    module = getattr(function, "__module__", None) or ""
    if module.partition(".")[0] != "dysta_gym":
        return False
    code = getattr(function, "__code__", None)  # `functools.wraps` copies names, not this
    return code is None or code.co_filename == getattr(sys.modules.get(module), "__file__", "")


def guarded(function: Callable[..., Any]) -> Any:
    """A rule or a formula for compiled callers; where an index is outside, an `IndexError`.

    That holds for what it calls by name, too, where that is compiled by `numba.njit`. Functions of
    this package are compiled as they stand, for the checks cost time.
    """
    if own(function) or not isinstance(function, FunctionType):
        return compiled(None, inline=True)(function)
    return compiled(None, inline=True, checked=True)(_calling_checked(function, {}))


def _calling_checked(
    function: FunctionType, made: dict[Any, Any], wrap: Callable[..., Any] = lambda copy: copy
) -> Any:
    """``wrap`` of a copy of a function that names checked copies of compiled functions."""
    loaded, attributes = names_of(function.__code__)
    if by := _ROUNDABOUT.intersection([*loaded, *attributes]):
        raise DystaError(
            f"{function.__qualname__}: {sorted(by)[0]} is not allowed, for nothing checks what it "
            "reads and writes; use indices"
        )
    scope = dict(function.__globals__)
    cells = tuple(CellType() for _ in function.__closure__ or ())
    defaults = tuple(_checked(each, made) for each in function.__defaults__ or ()) or None
    copy = FunctionType(function.__code__, scope, function.__name__, defaults, cells)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    setattr(copy, COPY_OF, function)
    wrapped = made[function] = wrap(copy)  # before what it calls, which may be itself
    for cell, original in zip(cells, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty one
            cell.cell_contents = _checked(original.cell_contents, made)
    for name in loaded:
        if name in scope:
            scope[name] = _checked(scope[name], made, attributes)
    return wrapped


def _checked(value: Any, made: dict[Any, Any], attributes: Sequence[str] = ()) -> Any:
    """What takes the place of what a function names: of a compiled function, a checked one.

    Of a tuple, one of such; of a module, one with those of its ``attributes`` that are such.
    """
    if type(value) is tuple:
        return tuple(_checked(each, made) for each in value)
    if isinstance(value, ModuleType):
        there = [name for name in attributes if name in vars(value)]
        changed = {name: _checked(vars(value)[name], made, attributes) for name in there}
        if all(changed[name] is vars(value)[name] for name in there):
            return value
        module = ModuleType(value.__name__)
        vars(module).update({**vars(value), **changed})
        return module
    # Those of `compiled` are of another type. Numba checks no loops that it runs in parallel.
    if type(value) is not _Dispatcher or value.targetoptions.get("parallel"):
        return value
    if value.py_func not in made:
        options = {**value.targetoptions, "boundscheck": True}
        _calling_checked(value.py_func, made, lambda copy: _Dispatcher(copy, value.locals, options))
        if not value._can_compile:  # it was declared for these types, and for no others
            for signature in value.nopython_signatures:
                made[value.py_func].compile(signature)
            made[value.py_func].disable_compile()
    return made[value.py_func]
