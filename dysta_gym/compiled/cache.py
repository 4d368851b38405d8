"""Compiled code kept on disk, one file under the digest of everything that it was made of.

Numba's own cache looks only at the age of the file that a function stands in, writes into the
installed package, and fails where it cannot. Here the name of a file is a digest of the function's
bytecode, of every function and constant that it reaches, of its types and options, and of the
versions and the processor that it was compiled for. So a file under the right name is right
whatever its age, and nothing needs to be locked: two processes that compile the same function
at worst do the work twice.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import enum
import os
import pickle
import re
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import types
from numba.core import caching, config
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic
from numba.core.registry import cpu_target
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

_UNUSED_DAYS = 30
"""A file that no process has read for so long is removed when another one is written."""

_SUFFIX = ".compiled"

_ANY_SETTING = {
    "CACHE_DIR",
    "CACHE_LOCATOR_CLASSES",
    "COLOR_SCHEME",
    "DEBUG_CACHE",
    "NUMBA_DEFAULT_NUM_THREADS",
    "NUMBA_NUM_THREADS",
}
"""Numba's settings that leave compiled code as it is."""


def folder() -> Path | None:
    """Where compiled code is kept; None if there is no place for it.

    Below ``NUMBA_CACHE_DIR`` where that is set, otherwise in the user's cache by the XDG base
    directory specification.
    """
    chosen = vars(config)["CACHE_DIR"]
    if chosen:
        return Path(chosen, "dysta-gym")
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():
        return given / "dysta-gym"
    with contextlib.suppress(OSError, RuntimeError):
        home = Path.home()
        if home.is_dir():
            return home / ".cache" / "dysta-gym"
    return None


def writable(place: Path) -> bool:
    """Whether files can be written into a folder, which is made if need be."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK | os.X_OK)


class NoDigest(Exception):
    """A function refers to something that may change unseen; it is compiled anew each time."""


class _Digest:
    """A digest of a function and of what it reaches, which is followed as Numba would.

    Args:
        within: The compiled functions that are being digested, outermost first.
    """

    def __init__(self, within: tuple[Any, ...] = ()) -> None:
        self._within = within
        self._hash = blake2b(digest_size=20)
        self._seen: dict[int, tuple[int, Any]] = {}

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def text(self, *parts: object) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode(errors="surrogatepass")
            self._hash.update(len(data).to_bytes(8, "little") + data)

    def value(self, value: Any) -> None:
        """A constant, or a function or a type that is referred to.

        Raises:
            NoDigest: If there is no telling what the compiler makes of it.
        """
        kind = type(value)
        if value is None or kind in (bool, int, float, complex, str, bytes, range, type(...)):
            self.text(kind.__name__, value if kind is bytes else repr(value))
        elif isinstance(value, tuple):
            self.text("tuple", len(value))
            if kind is not tuple:
                self._class(kind)
            self._values(value)
        elif kind is frozenset:
            self.text("frozenset", *sorted(map(repr, value)))
        elif isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            strides = getattr(value, "strides", ())
            self.text(kind.__name__, repr(value.dtype), value.shape, strides, value.tobytes())
        elif isinstance(value, np.dtype):
            self.text("dtype", repr(value))
        elif isinstance(value, enum.Enum):
            self.text("member", value.name)
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
            self.text(kind.__name__, module, getattr(value, "__qualname__", value.__name__))
        else:
            raise NoDigest(f"a {kind.__name__}")

    def signature(self, signature: Any) -> None:
        """The types of the arguments and of the result, where that is declared."""
        arguments, result = normalize_signature(signature)
        self._values([*arguments, result])

    def _values(self, values: Iterable[Any]) -> None:
        for each in values:
            self.value(each)

    def _once(self, thing: Any) -> bool:
        """Whether a thing is met for the first time; it leads to itself again otherwise."""
        if id(thing) in self._seen:
            self.text("again", self._seen[id(thing)][0])
            return False
        self._seen[id(thing)] = len(self._seen), thing  # kept, lest another take its id
        return True

    def _type(self, kind: Any) -> None:
        if isinstance(kind, types.Dispatcher):
            return self._dispatcher(kind.dispatcher)
        self.text("type", type(kind).__name__, kind)
        if hasattr(kind, "instance_class"):  # a NamedTuple's fields are not in its name
            self._class(kind.instance_class)
        self._values(getattr(kind, "types", ()))
        if isinstance(kind, types.FunctionType):
            self.signature(kind.signature)
        return None

    def _class(self, value: type) -> None:
        self.text("class", value.__module__, value.__qualname__)
        if _of_a_library(value) or issubclass(value, BaseException) or not self._once(value):
            return
        if issubclass(value, enum.Enum):
            for member in value:
                self.text(member.name)
                self.value(member.value)
        elif issubclass(value, tuple) and hasattr(value, "_fields"):
            self.text(*value._fields)
            defaults = getattr(value, "_field_defaults", {})
            self._values(part for item in defaults.items() for part in item)
        else:
            raise NoDigest(f"the class {value.__qualname__}")

    def _dispatcher(self, value: Any) -> None:
        """A compiled function."""
        if value in self._within:
            self.text("recursion", self._within.index(value))
        else:
            # What it was made of when it was compiled; its constants may have changed since.
            self.text("compiled", getattr(value, "digest", None) or _digest(value, self._within))

    def compiled(self, value: Any) -> None:
        """What goes into a compiled function."""
        self.text(sorted(value.targetoptions.items()))
        self.text(*(f"{name}: {kind}" for name, kind in sorted(value.locals.items())))
        if getattr(value, "declared", None) is not None:
            self.signature(value.declared)
        elif not value._can_compile:
            self.text(*value.signatures)
        self._function(value.py_func)

    def _function(self, value: FunctionType) -> None:
        if _of_a_library(value):
            self.text("library", value.__module__, value.__qualname__)
            return
        if not self._once(value):
            return
        code = value.__code__
        self.text("function")
        self._code(code)
        self._values(value.__defaults__ or ())
        for name, default in sorted((value.__kwdefaults__ or {}).items()):
            self.text(name)
            self.value(default)
        loaded, attributes = _names(code)
        for cell in value.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                self.text("empty")
            else:
                self._named(content, attributes)
        for name in sorted(loaded):
            if name in value.__globals__:
                self.text("global", name)
                self._named(value.__globals__[name], attributes)
            else:
                self.text("builtin" if hasattr(builtins, name) else "absent", name)
        for implementation in _overloads(value):
            self._function(implementation)

    def _named(self, value: Any, attributes: set[str]) -> None:
        """What a name stands for; of a module, all that the function may take from it."""
        if not isinstance(value, ModuleType):
            self.value(value)
            return
        self.text("module", value.__name__)
        if _is_library(value.__name__) or not self._once(value):
            return
        for name in sorted(attributes & vars(value).keys()):
            self.text(name)
            self._named(vars(value)[name], attributes)

    def _code(self, code: CodeType) -> None:
        self.text("code", code.co_code, code.co_exceptiontable, code.co_flags)
        self.text(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            self.text(len(names), *names)
        self.value(code.co_consts)


_LIBRARIES = {"builtins", "numba", "numpy", "llvmlite"}
"""Packages whose versions are part of every key."""


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


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """The globals and the attributes that a function or one inside it loads."""
    loaded, attributes = set(), set()
    for each in _codes(code):
        for instruction in dis.get_instructions(each):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                loaded.add(instruction.argval)
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                attributes.add(instruction.argval)
    return loaded, attributes


def _overloads(value: FunctionType) -> Iterator[FunctionType]:
    """What stands for a plain function in compiled code (`numba.extending.overload`)."""
    known = cpu_target.typing_context._lookup_global(value)
    for template in getattr(known, "templates", ()):
        implementation = getattr(template, "_overload_func", None)
        if isinstance(implementation, FunctionType) and implementation is not value:
            yield implementation


def _digest(dispatcher: Any, within: tuple[Any, ...] = ()) -> str:
    walk = _Digest((*within, dispatcher))
    walk.compiled(dispatcher)
    return walk.hexdigest()


def digest(dispatcher: Any) -> str | None:
    """What a compiled function is made of, whatever machine it is for; None if that may change."""
    dispatcher.targetctx.refresh()  # else overloads of late are not known yet
    try:
        return _digest(dispatcher)
    except NoDigest:
        return None


def _surroundings(target: Any) -> tuple[object, ...]:
    """What the code of any function depends on."""
    settings = {
        name: value
        for name, value in vars(config).items()
        if name.isupper() and name not in _ANY_SETTING and not name.startswith(("_", "CUDA_"))
    }
    return (
        sys.implementation.cache_tag,
        (numba.__version__, llvmlite.__version__, np.__version__),
        target.codegen().magic_tuple(),
        sorted(settings.items()),
    )


class Cache(caching._Cache):
    """Where Numba keeps and finds the code of one function.

    A file that is missing, damaged or cannot be read is compiled again; one that cannot be written
    is not kept. Neither is an error.

    Args:
        name: What the function is called.
        digest: What it is made of (see `digest`).
    """

    def __init__(self, name: str, digest: str) -> None:
        self._name = re.sub(r"[^\w.]+", "", name)[-80:]
        self._digest = digest
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        """The folder that holds the file."""
        place = folder()
        return str(place) if place else None

    def enable(self) -> None:
        """Keep code from now on."""
        self._enabled = True

    def disable(self) -> None:
        """Keep and find no code from now on."""
        self._enabled = False

    def flush(self) -> None:
        """Nothing: what is kept cannot be stale."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code of a function, or None if it is to be compiled."""
        target_context.refresh()
        path = self._path(target_context)
        if path is None:
            return None
        with contextlib.suppress(Exception):  # whatever a damaged file leads to
            stored = path.read_bytes()
            data = stored[_SUM:]
            if not _trusted(path):
                return None
            if stored[:_SUM] == _sum(path.name, data):
                found = CompileResult._rebuild(target_context, *pickle.loads(data))
                # A class that was made at a prompt is another one each time.
                if found.signature.args == tuple(normalize_signature(sig)[0]):
                    caching._cache_log("[cache] data loaded from %r", str(path))
                    _mark_used(path)
                    return found
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code of a function."""
        path = self._path(data.target_context)
        if path is None or not writable(path.parent):
            return
        if data.library.has_dynamic_globals or any(not loop.can_cache for loop in data.lifted):
            return  # it holds addresses of this process
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        with contextlib.suppress(Exception):  # a full disk, a value that cannot be pickled
            kept = dumps(data._reduce())
            try:
                part.write_bytes(_sum(path.name, kept) + kept)
                part.replace(path)
                caching._cache_log("[cache] data saved to %r", str(path))
            finally:
                part.unlink(missing_ok=True)
            _prune(path.parent)

    def _path(self, target: Any) -> Path | None:
        place = folder()
        if place is None or not self._enabled:
            return None
        key = _Digest()
        key.text(self._digest, *_surroundings(target))
        return place / f"{self._name}-{key.hexdigest()}{_SUFFIX}"


def _trusted(path: Path) -> bool:
    """Whether what a file makes this process do is up to the user, or to the machine's owner."""
    return not hasattr(os, "getuid") or path.stat().st_uid in (os.getuid(), 0)


_SUM = 20


def _sum(name: str, data: bytes) -> bytes:
    """A checksum of a file: LLVM would crash on a damaged one."""
    return blake2b(name.encode() + data, digest_size=_SUM).digest()


def _mark_used(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.stat().st_mtime < time.time() - 86400:
            os.utime(path)


def _prune(place: Path) -> None:
    """Remove what no process has used for long: code of other versions, edited functions."""
    oldest = time.time() - _UNUSED_DAYS * 86400
    for path in place.glob(f"*{_SUFFIX}*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
