"""How many cores there are to work with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from dysta_gym.errors import DystaError

MOST_JOBS = 1024
"""More threads than this only cost memory."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[tuple[Any, Event]]:
    """What maps a function over items on so many threads, and what is set if that is broken off.

    A single one is the thread that asks: handing over costs more than small items do.
    """
    stop = Event()
    with ThreadPoolExecutor(count) as pool:
        try:
            yield (pool.map if count > 1 else map), stop
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def workers(jobs: int | None) -> int:
    """How many workloads to work on at a time: ``jobs``, or one a core.

    Raises:
        DystaError: If ``jobs`` is not from 1 to `MOST_JOBS`.
    """
    if jobs is None:
        return cores()
    if jobs < 1:
        raise DystaError(f"jobs: {jobs} is not allowed; it must be 1 or more")
    if jobs > MOST_JOBS:
        raise DystaError(f"jobs: {jobs} is not allowed; it must be {MOST_JOBS} or less")
    return jobs
