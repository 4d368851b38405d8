"""Stepping environments beside a learning library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numba


@contextmanager
def one_thread() -> Iterator[None]:
    """Let Numba use one thread meanwhile.

    The threads of OpenMP, torch's as well as Numba's, wait for each other by spinning: where other
    programs want the cores too, they keep each other waiting, and a step may take thirty times as
    long. A second thread would spare a step of 256 environments less than 0.1 ms, of the
    milliseconds that choosing the actions takes.
    """
    _launch()
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)


@cache
def _launch() -> None:
    """Start Numba's threads without a change to torch's.

    As they start, Numba sets OpenMP's number of threads, which is torch's: a call of
    ``torch.set_num_threads`` before that would be undone.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    numba.get_num_threads()
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)
