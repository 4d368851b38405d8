"""How many cores there are to work with."""

from __future__ import annotations

import os

from dysta_gym.errors import DystaError

MOST_JOBS = 1024
"""More threads than this only cost memory."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
