"""How the machine's inner loops are compiled."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from numba.core import config
from numba.core.bytecode import FunctionIdentity
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import TypingError
from numba.core.registry import CPUDispatcher

from dysta_gym.compiled import cache as caching
from dysta_gym.compiled.digest import COPY_OF, Digest
from dysta_gym.errors import DystaError
from dysta_gym.lazy import cached_property

Function = TypeVar("Function", bound=Callable[..., Any])

if hasattr(os, "register_at_fork"):
    # A child would wait for ever for a thread that compiles, and that only its parent has.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def compiled(
    signature: Any,
    *,
    cache: bool = True,
    inline: bool = False,
    checked: bool = False,
    alone: bool = False,
) -> Callable[[Function], Function]:
    """Compile a function with Numba for one signature, when it is first used.

    It runs without the interpreter's lock, unless ``alone``, and divides as NumPy does: by zero
    gives infinity or NaN. ``compile(signature)`` of what this returns compiles it at once.

    Args:
        signature: Types of the arguments and of the result; None for what compiled functions call,
            with whatever types, and Python runs as it stands.
        cache: Keep the code on disk (see `dysta_gym.compiled.cache`).
        inline: Copy it into its callers, which spares a call that hands over dozens of columns.
        checked: Raise an `IndexError` where an index is outside its array, which costs time.
        alone: Keep the interpreter's lock, where Python calls it: no other thread sees half of what
            it does, and a call of less than a microsecond is faster.
    """
    options = {
        "nopython": True,
        "nogil": not alone,
        "error_model": "numpy",
        "forceinline": inline,
        "no_cfunc_wrapper": True,
        **({"boundscheck": True} if checked else {}),
    }

    def decorate(function: Any) -> Any:
        if signature is None:
            return _Inner(function, {}, options | {"no_cpython_wrapper": True})
        return _Compiled(function, {}, options, signature, cached=cache)

    return decorate


def compiled_or_refused(
    signature: Any, function: Callable[..., Any], what: str, advice: str = ""
) -> Any:
    """`compiled`, at once, of code that a user has written a part of.

    Args:
        signature: As of `compiled`.
        function: The function.
        what: How the message calls it, such as ``policy 'mine': its rule``.
        advice: What the message advises.

    Raises:
        DystaError: If it cannot be compiled.
    """
    made: Any = compiled(signature)(function)
    try:
        made.compile()
    except DystaError:
        raise
    except Exception as error:  # Numba has many, and a formula may lead to any
        raise DystaError(
            f"{what} cannot be compiled ({_reason(error, function)})"
            + (f"; {advice}" if advice else "")
        ) from error
    return made


_WRITES = re.compile(r"Cannot modify readonly|setitem\(readonly|'NoneType' object has no .*'args'")
"""What Numba says where an entry, a slice or the whole of a read-only array is written to."""


_PLAIN_FUNCTION = (
    re.compile(r"Untyped (?:global|freevar) name '(.+?)': .*<class 'function'>"),
    re.compile(r"Unknown attribute '(.+?)' of type Module\(<module '(.+?)'"),
)
"""What Numba says where a plain function is called, of this module, or of another one."""


_TAKES_RESULTS = "dysta_gym.describing"
"""The module that, beside those that compile formulas, does something with what one returns."""

_KINDS = {
    "none": "None",
    "Optional": "None at times",
    "Literal[str]": "a text",
    "unicode": "a text",
    "Tuple": "a tuple",
    "UniTuple": "a tuple",
    "array": "an array",
    "complex": "a complex number",
    "list": "a list",
    "reflected list": "a list",
    "Dict": "a dictionary",
}
"""What Numba's names of types begin with, and what they are in Python."""


def _reason(error: Exception, function: Callable[..., Any]) -> str:
    """Why a function cannot be compiled, in one line."""
    if _WRITES.search(str(error)):
        return "it writes to what it may only read"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if not line.startswith("Failed in")), "")
    call = next((line.removeprefix(">>> ") for line in lines if line.startswith(">>> ")), "")
    unsuited = told.endswith("found for signature:")
    places = (re.fullmatch(r"During: typing of .* at (.+) \(\d+\)", line) for line in lines)
    place = next((found[1] for found in places if found), "")
    ours = [sys.modules.get(name) for name in (function.__module__, _TAKES_RESULTS)]
    takes = place in [module.__file__ for module in ours if module]
    if takes and (unsuited or told.startswith("Cannot unify")):
        return f"it must return a number, not {_kind(call if unsuited else told)}"
    if unsuited:
        told = f"there is no {call}"
    for pattern in _PLAIN_FUNCTION:
        if found := pattern.match(told):
            called = ".".join(reversed(found.groups()))
            return f"compiled code cannot call {called}; a function of yours needs @numba.njit"
    return told.partition(" of type ")[0][:200]


def _kind(told: str) -> str:
    """What Numba says that it was given instead of a number."""
    names = "|".join(map(re.escape, _KINDS))
    given = told.removeprefix("setitem(array(float64, 1d, C)")  # of which a result becomes one
    found = re.search(rf"\b({names})(?!\w*\.)", given)
    return _KINDS[found[1]] if found else "something else"


def address_of(function: Any) -> int:
    """Where the code of a compiled function is, for `dysta_gym.compiled.records.invoke`."""
    return int(function.address)


_Dispatcher: Any = CPUDispatcher


class _Inner(_Dispatcher):  # type: ignore[misc]
    """A function for compiled callers; what Python needs to call it is not compiled."""

    def __call__(self, *args: Any) -> Any:
        plain: Any = getattr(self.py_func, COPY_OF, self.py_func)
        return plain(*args)


class _Compiled(_Dispatcher):  # type: ignore[misc]
    """A function that is compiled, or found on disk, for its one signature when it is first used.

    Attributes:
        declared: The signature.
        digest: What it was made of; None until it is compiled, or if there is no telling.
    """

    def __init__(
        self,
        py_func: Any,
        locals: Any,
        targetoptions: Any,
        declared: Any,
        *,
        cached: bool,
    ) -> None:
        super().__init__(py_func, locals, targetoptions)
        self.declared = declared
        self.digest: str | None = None
        self.cached = cached

    def compile(self, sig: Any = None) -> Any:
        """Compile the declared signature, whatever ``sig`` is; the address of the code."""
        with global_compiler_lock:
            if self._can_compile and self.is_compiling:
                raise TypingError(f"{self.py_func.__qualname__} calls itself with other types")
            if self._can_compile:
                if vars(config)["DISABLE_JIT"]:
                    raise DystaError("NUMBA_DISABLE_JIT: 1 is not allowed; nothing runs uncompiled")
                self._compilation_chain_init_hook()
                digest = Digest(self)
                if self.cached and digest.lasting:
                    self._cache = _Cache(self.py_func.__qualname__, digest.key)
                _name_apart()
                try:
                    super().compile(self.declared)
                finally:
                    digest.compiled()
                self.digest = digest.key if digest.lasting else None
                self.disable_compile()
            (code,) = self.overloads.values()
            return code.entry_point

    @cached_property
    def address(self) -> int:
        """Where the code is."""
        self.compile()
        (code,) = self.overloads.values()
        return int(code.library.get_pointer_to_function(code.fndesc.llvm_func_name))

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        """The code for a first call, which Numba has not compared with the signature."""
        entry_point = self.compile()
        given = [self.typeof_pyval(argument) for argument in args]
        (code,) = self.overloads.values()
        for have, want in zip(given, code.signature.args, strict=True):
            if self.typingctx.can_convert(have, want) is None:
                self._explain_matching_error(*args)
        return entry_point

    def _reduce_states(self) -> dict[str, Any]:
        names = ("py_func", "locals", "targetoptions", "declared", "cached")
        return {"uuid": self._uuid} | {name: getattr(self, name) for name in names}

    @classmethod
    def _rebuild(cls, uuid: str, **states: Any) -> Any:
        known = cls._memo.get(uuid)
        if known is None:
            known = cls(**states)
            known._set_uuid(uuid)
        return known


def _name_apart() -> None:
    """Give what is compiled next names that no other process has given.

    Numba tells functions of one name apart by counting them, anew in each process. Of two kept
    codes of the same name, say of two closures, the linker would take one for the other.
    """
    FunctionIdentity._unique_ids = itertools.count(uuid.uuid4().int >> 72)


class _Cache(caching.Cache):
    """The code on disk; says so when there is none."""

    _said = False

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context)
        if found is None and not _Cache._said:
            _Cache._said = True
            _say_compiling()
        return found


def say_no_compiling() -> None:
    """Leave out, in this process, the line that it compiles: another one has said it."""
    _Cache._said = True


def _say_compiling() -> None:
    place = caching.folder()
    often = "and is kept for later runs"
    if place is None:
        often = "every time, for there is no home folder to keep the code in: set NUMBA_CACHE_DIR"
    elif flaw := caching.flaw(place):
        often = f"every time, for {place} {flaw}: set NUMBA_CACHE_DIR"
    line = f"dysta-gym: compiling what this run needs; this takes up to 30 s, {often}\n"
    with contextlib.suppress(AttributeError, OSError, ValueError):  # nobody reads
        sys.stderr.write(line)
        sys.stderr.flush()
