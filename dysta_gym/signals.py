"""Signals that end what runs."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

TOLD = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""How a scheduler of a cluster, and a terminal that is closed, tell a process that it ends."""

ENDING = (signal.SIGINT, *TOLD)
"""These, and Ctrl-C."""

_OF_TERMINALS = {*ENDING} - {signal.SIGTERM}


class Leaving(KeyboardInterrupt):
    """An interrupt after which the process ends at once, whatever is not in order then."""


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Have an interrupt wait for the block's end, and never reach processes that it starts.

    A terminal sends it to all processes: one that still starts would print what it was at, and one
    that minds semaphores would be gone before them.
    """
    came: list[int] = []
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, lambda number, frame: came.append(number))
    if sys.platform != "win32":  # what is started inherits it
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINALS)
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for each, handler in before.items():
            signal.signal(each, handler)
        for each in came[:1]:
            before[each](each, None)
