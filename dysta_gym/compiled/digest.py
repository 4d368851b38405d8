"""A digest of all that a compiled function is made of.

That is its bytecode, types and options, and every function and constant that it reaches, wherever
these stand: what Numba would read if it compiled the function now.
"""

from __future__ import annotations

import builtins
import dis
import enum
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, wraps
from hashlib import blake2b
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast

import numpy as np
from numba import types
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic
from numba.core.registry import cpu_target
from numba.core.sigutils import normalize_signature

_PLAIN = (bool, int, float, complex, str, bytes, range, type(None), type(...))
_LIBRARIES = {"builtins", "numba", "numpy", "llvmlite"}
"""Packages whose versions are part of every key of the cache."""

_MADE_OF = "dysta-gym: made of"
"""Where the metadata of compiled code say what it was made of."""


COPY_OF = "_dysta_gym_copy_of"
"""Attribute of a function that is a copy of another one with the globals of a moment: that one."""


class Digest:
    """A digest of one function, plain or compiled; equal to another one of the same key.

    Attributes:
        lasting: Whether another process that finds the same key would compile the same code. If
            not, the key stands for it in this process only, for as long as this object lives.
    """

    def __init__(self, function: Any, within: tuple[Any, ...] = ()) -> None:
        """``within``: what is being digested, outermost first."""
        if not within:
            cpu_target.target_context.refresh()  # else overloads of late are not known yet
        self.lasting = True
        self._within = (*within, function)
        self._hash = blake2b(digest_size=20)
        self._seen: dict[int, tuple[int, Any]] = {}
        self._compiled: list[tuple[Any, str]] = []
        self._read: list[tuple[Callable[[str], Any], str, Any]] = []
        self._arrays: list[tuple[Any, bytes]] = []
        if isinstance(function, Dispatcher):
            self._options(function)
            function = function.py_func
        self._value(getattr(function, "_overload_func", function))
        self.key = self._hash.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def holds(self) -> bool:
        """Whether all that was read then is what would be read now."""
        for look, name, value in self._read:  # plain loops: this is asked at every decision
            if look(name) is not value:
                return False
        for array, data in self._arrays:  # noqa: SIM110
            if array.tobytes() != data:
                return False
        return True

    def compiled(self) -> None:
        """Note that what was not compiled before has now been compiled, from what was digested."""
        for thing, key in self._compiled:
            for code in _codes_of(thing):
                if code.metadata is not None:
                    code.metadata.setdefault(_MADE_OF, key)

    def _text(self, *parts: object) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode(errors="surrogatepass")
            self._hash.update(len(data).to_bytes(8, "little") + data)

    def _value(self, value: Any) -> None:
        """A constant, or a function or a type that is referred to."""
        kind = type(value)
        if kind in _PLAIN or isinstance(value, np.dtype):
            self._text(kind.__name__, repr(value))
        elif isinstance(value, tuple):
            self._text("tuple", len(value))
            if kind is not tuple:
                self._class(kind)
            self._values(value)
        elif kind is frozenset:
            self._text("frozenset", *sorted(map(repr, value)))
        elif isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            data = value.tobytes()
            strides = getattr(value, "strides", ())
            self._text(kind.__name__, repr(value.dtype), value.shape, strides, data)
            self._arrays.append((value, data))
        elif isinstance(value, enum.Enum):
            self._text("member", value.name)
            self._class(kind)
        elif isinstance(value, types.Type):
            self._type(value)
        elif isinstance(value, Dispatcher):
            self._dispatcher(value)
        elif kind is _Intrinsic:
            self._function(value._defn)
        elif kind is FunctionType:
            self._function(value)
        elif kind is CodeType:
            self._code(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, BuiltinFunctionType | np.ufunc | type(np.sum)):
            module = getattr(value, "__module__", None)
            self._text(kind.__name__, module, getattr(value, "__qualname__", value.__name__))
        else:
            self._unknown(value)

    def _values(self, values: Iterable[Any]) -> None:
        for each in values:
            self._value(each)

    def _unknown(self, value: Any) -> None:
        """What may change unseen, or what there is no telling what the compiler makes of."""
        self.lasting = False
        self._text(type(value).__name__, id(value))
        self._once(value)

    def _once(self, thing: Any) -> bool:
        """Whether a thing is met for the first time; it leads to itself again otherwise."""
        if id(thing) in self._seen:
            self._text("again", self._seen[id(thing)][0])
            return False
        self._seen[id(thing)] = len(self._seen), thing  # kept, lest another take its id
        return True

    def _type(self, kind: Any) -> None:
        if isinstance(kind, types.Dispatcher):
            return self._dispatcher(kind.dispatcher)
        self._text("type", type(kind).__name__, kind)
        if hasattr(kind, "instance_class"):  # a NamedTuple's fields are not in its name
            self._class(kind.instance_class)
        self._values(getattr(kind, "types", ()))
        if isinstance(kind, types.FunctionType):
            self._signature(kind.signature)
        return None

    def _class(self, value: type) -> None:
        self._text("class", value.__module__, value.__qualname__)
        if _of_a_library(value) or issubclass(value, BaseException) or not self._once(value):
            return
        if issubclass(value, enum.Enum):
            self._values(part for member in value for part in (member.name, member.value))
        elif issubclass(value, tuple) and hasattr(value, "_fields"):
            self._values((value._fields, *getattr(value, "_field_defaults", {}).items()))
        else:
            self._unknown(value)

    def _signature(self, signature: Any) -> None:
        """The types of the arguments and of the result, where that is declared."""
        arguments, result = normalize_signature(signature)
        self._values([*arguments, result])

    def _dispatcher(self, value: Any) -> None:
        """A compiled function; one of ours that has its code keeps to what that was made of."""
        if getattr(value, "digest", None):
            self._text("compiled", value.digest)
        else:
            # Code of its own cache may be older than what it says; see `_part` of any other.
            self.lasting &= isinstance(value._cache, NullCache)
            self._part(value)

    def _part(self, thing: Any) -> None:
        """What is compiled by itself: a compiled function, an overload of a plain one.

        It is compiled once for each of its types, whatever becomes of its constants. So where it
        has code that was not seen to be made of what it would be made of now, nobody can tell.
        """
        if thing in self._within:
            self._text("recursion", self._within.index(thing))
            return
        part = Digest(thing, self._within)
        made = [(code.metadata or {}).get(_MADE_OF) == part.key for code in _codes_of(thing)]
        self._text("compiled", part.key)
        self._once(part)
        self.lasting &= part.lasting and all(made)
        self._compiled += part._compiled
        self._read += part._read
        self._arrays += part._arrays
        if all(made):
            self._compiled.append((thing, part.key))

    def _options(self, value: Any) -> None:
        """What compiles a function beside its text."""
        self._text(sorted(value.targetoptions.items()))
        self._text(*(f"{name}: {kind}" for name, kind in sorted(value.locals.items())))
        if getattr(value, "declared", None) is not None:
            self._signature(value.declared)
        elif not value._can_compile:
            self._text(*value.signatures)

    def _function(self, value: FunctionType) -> None:
        value = getattr(value, COPY_OF, value)  # what it reads now is what a copy would read
        if _of_a_library(value):
            self._text("library", value.__module__, value.__qualname__)
            return
        if not self._once(value):
            return
        code = value.__code__
        self._text("function")
        self._code(code)
        self._values(value.__defaults__ or ())
        self._values(sorted((value.__kwdefaults__ or {}).items()))
        loaded, attributes = names_of(code)
        for cell in value.__closure__ or ():
            try:
                self._named(cell.__getattribute__, "cell_contents", attributes)
            except ValueError:
                self._text("empty")
        for name in loaded:
            self._text(name)
            if name in value.__globals__:
                self._named(value.__globals__.get, name, attributes)
            else:
                self._text("builtin" if hasattr(builtins, name) else "absent")
                self._read.append((value.__globals__.get, name, None))
        for overload in _overloads(value):
            self._part(overload)

    def _named(self, look: Callable[[str], Any], name: str, attributes: list[str]) -> None:
        """What a name stands for; of a module, all that the function may take from it."""
        value = look(name)
        self._read.append((look, name, value))
        if not isinstance(value, ModuleType):
            self._value(value)
            return
        self._text("module", value.__name__)
        if _is_library(value.__name__) or not self._once(value):
            return
        for attribute in attributes:
            if attribute in vars(value):
                self._text(attribute)
                self._named(vars(value).get, attribute, attributes)

    def _code(self, code: CodeType) -> None:
        self._text("code", code.co_code, code.co_exceptiontable, code.co_flags)
        self._text(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            self._text(len(names), *names)
        self._value(code.co_consts)


def _is_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES


def _of_a_library(value: Any) -> bool:
    """Whether a function or a class belongs to a package whose version says what it is."""
    if not _is_library(value.__module__):
        return False
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value  # what is run from a text says of itself what it likes


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@lru_cache(1024)
def names_of(code: CodeType) -> tuple[list[str], list[str]]:
    """The globals and the attributes that a function or one inside it loads, sorted."""
    loaded, attributes = set(), set()
    for each in _codes(code):
        for instruction in dis.get_instructions(each):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                loaded.add(instruction.argval)
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                attributes.add(instruction.argval)
    return sorted(loaded), sorted(attributes)


def attributes_of(code: CodeType, name: str) -> set[str]:
    """The attributes that a function, or one inside it, loads of a variable of this name."""
    found, before = set(), None
    for each in _codes(code):
        for instruction in dis.get_instructions(each):
            of_it = before == name or (isinstance(before, tuple) and before[-1] == name)
            if of_it and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                found.add(instruction.argval)
            before = instruction.argval
    return found


def _overloads(value: FunctionType) -> Iterator[Any]:
    """What stands for a plain function in compiled code (`numba.extending.overload`)."""
    known = cpu_target.typing_context._lookup_global(value)
    for template in getattr(known, "templates", ()):
        implementation = getattr(template, "_overload_func", None)
        if isinstance(implementation, FunctionType) and implementation is not value:
            yield template


def _codes_of(thing: Any) -> Iterator[Any]:
    """The compiled codes of a compiled function, or of an overload."""
    if isinstance(thing, Dispatcher):
        yield from thing.overloads.values()
    else:
        for dispatcher, _ in thing._impl_cache.values():
            if dispatcher is not None:
                yield from dispatcher.overloads.values()


Made = TypeVar("Made", bound=Callable[..., Any])


def fresh(functions: Callable[[Any], Iterable[Callable[..., Any]]]) -> Callable[[Made], Made]:
    """Keep what a function makes of its first argument, until what is read there changes.

    Args:
        functions: The functions that go into what is made of the argument, which is hashable.
    """

    def decorate(make: Made) -> Made:
        current: dict[Any, tuple[tuple[Digest, ...], Any]] = {}
        kept: dict[Any, Any] = {}  # for what changes back

        def made(of: Any, *others: Any) -> Any:
            known = current.get(of)
            if known is not None and _hold(known[0]):  # which may be asked at every decision
                return known[1]
            digests = tuple(map(Digest, functions(of)))
            if (of, digests) not in kept:
                kept[of, digests] = make(of, *others)
            current[of] = digests, kept[of, digests]
            return kept[of, digests]

        return cast(Made, wraps(make)(made))

    return decorate


def _hold(digests: tuple[Digest, ...]) -> bool:
    for digest in digests:  # noqa: SIM110, a plain loop is twice as fast
        if not digest.holds():
            return False
    return True
