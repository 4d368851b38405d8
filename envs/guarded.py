"""Environments that threads share, that are copied while they step, and that a process forks with.

Compiled code works on memory by address, without the interpreter's lock. Two calls at once would
write to the same places, or to some that the other has given back.
"""

from __future__ import annotations

import os
import threading
from copy import deepcopy
from typing import Any, ClassVar, Self
from weakref import WeakSet

_living: WeakSet[Guarded] = WeakSet()
"""All that hold a lock; a forked child looks after theirs."""


class Guarded:
    """An object whose calls come one after the other, whichever threads they come from.

    Every call holds ``_lock`` from its first to its last line; a thread may call again from within
    one. Copies, pickled ones too, are what the object was between two calls.
    """

    _stays: ClassVar[frozenset[str]] = frozenset()
    """Attributes that are not copied; `_place` makes them again."""

    _lock: Any

    def _guard(self) -> None:
        """Get a lock."""
        self._lock = threading.RLock()
        _living.add(self)

    def _break_off(self) -> None:
        """A call has not come to its end: see that nobody goes on from there without a reset."""
        raise NotImplementedError

    def _place(self) -> None:
        """Put what has been copied where compiled code reads and writes it."""

    def _survive_fork(self) -> None:
        """In a child, nobody is left who would give back a lock that another thread held."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()
            self._break_off()

    def _state(self, memo: dict[int, Any]) -> dict[str, Any]:
        with self._lock:
            kept = {k: v for k, v in vars(self).items() if k != "_lock" and k not in self._stays}
            return deepcopy(kept, memo)

    def __getstate__(self) -> dict[str, Any]:
        return self._state({})

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._guard()
        self._place()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = self.__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(self._state(memo))
        return twin


def _survive_fork() -> None:
    for each in list(_living):
        each._survive_fork()


if hasattr(os, "register_at_fork"):  # else nothing forks
    os.register_at_fork(after_in_child=_survive_fork)
