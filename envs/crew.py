"""Threads that share the work of one compiled call, and that nobody has to wait for.

Whoever is there takes the next few environments until none is left: the calling thread, and any
helper that the operating system lets run. On a machine whose cores are wanted by others, a call
therefore takes as long as on one core, not as long as it takes the slowest thread to be given one;
with a barrier, as of OpenMP, it was seen to take seventy times as long.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.functions import address_of, compiled
from dysta_gym.compiled.records import INTS_TYPE, Ints, Placed, attempt, reader
from dysta_gym.compiled.threads import atomic_add, atomic_load, atomic_store, yield_core
from dysta_gym.envs.episode import Bools

_NEXT, _DONE, _HELPERS, _BATCH = range(0, 32, 8)
"""Entries of `Job.shared`, a cache line each: the next environment to be taken; how many are done;
how many helpers look for more; the address of the batch."""

_FAILED = _BATCH + 1
"""Likewise, beside what is seldom written, too: in how many environments something was raised."""

_SPINS = 20_000
"""How often a thread looks for news before it lets others have its core, some microseconds."""

_YIELDS = 300
"""How often a helper lets others have its core before it sleeps, a tenth of a millisecond."""

_SHARE = 16
"""Environments that are taken at a time, at most."""


class Job(NamedTuple):
    """What the environments of a batch are to do.

    Attributes:
        act: Address of ``act(batch, index, what, action, reseeded, seed)``, called for each one.
        share: Environments that are taken at a time.
        shared: What the threads tell each other, see above.
        what: What each environment does, shape ``(environments,)``, as all that follow.
        actions: See ``act``.
        reseeded: See ``act``.
        seeds: See ``act``.
        failed: Whether ``act`` has raised something.
    """

    act: int
    share: int
    shared: Ints
    what: Ints
    actions: Ints
    reseeded: Bools
    seeds: NDArray[np.uint64]
    failed: Bools


_JOB_TYPE = types.NamedTuple(
    [
        *(types.int64,) * 2,
        *(INTS_TYPE,) * 3,
        types.boolean[::1],
        types.uint64[::1],
        types.boolean[::1],
    ],
    Job,
)
_read_job = reader(_JOB_TYPE)


@compiled(types.boolean(types.intp))
def _take(at: int) -> bool:
    """Do a share of the work; whether there was any."""
    job = _read_job(at)
    total = job.what.size
    first = atomic_add(job.shared, _NEXT, job.share)
    if first >= total:
        return False
    last = min(first + job.share, total)
    batch = atomic_load(job.shared, _BATCH, 0)
    for index in range(first, last):
        if not attempt(
            job.act,
            (
                batch,
                index,
                job.what[index],
                job.actions[index],
                job.reseeded[index],
                job.seeds[index],
            ),
        ):
            job.failed[index] = True
            atomic_add(job.shared, _FAILED, 1)
    atomic_add(job.shared, _DONE, last - first)
    return True


@compiled(types.void(types.intp, types.intp))
def _lead(at: int, batch: int) -> None:
    """Do all the work, with whoever helps."""
    job = _read_job(at)
    shared, total = job.shared, job.what.size
    _wait(shared, total)  # for the call before, if that was broken off
    if shared[_FAILED]:  # which nobody has asked for since
        shared[_FAILED] = 0
        for index in range(total):
            job.failed[index] = False
    atomic_store(shared, _BATCH, batch)
    atomic_store(shared, _DONE, 0)
    atomic_store(shared, _NEXT, 0)
    while _take(at):
        pass
    _wait(shared, total)


@compiled(None, inline=True)
def _wait(shared: Ints, total: int) -> None:
    """Wait until what has been taken is done."""
    spins = 0
    while atomic_load(shared, _DONE, 0) < total:
        spins += 1
        if spins > _SPINS:
            yield_core()


@compiled(types.void(types.intp))
def _help(at: int) -> None:
    """Help with this call, and with those that follow at once."""
    job = _read_job(at)
    atomic_add(job.shared, _HELPERS, 1)
    spins = 0
    while spins < _SPINS + _YIELDS:
        spins += 1
        if spins > _SPINS:
            yield_core()
        if atomic_load(job.shared, _NEXT, 0) < job.what.size:
            while _take(at):
                spins = 0
    atomic_add(job.shared, _HELPERS, -1)


_NONE = np.zeros(0, np.int64)


class Crew:
    """The threads of one vector environment: the calling one, and helpers that all of them share.

    Args:
        act: Address of what is done for each environment, see `Job`.
        environments: How many there are.
        threads: Threads that work on a call at most.

    Attributes:
        job: What is to be done.
    """

    def __init__(self, act: int, environments: int, threads: int) -> None:
        self.threads = threads
        self.job = Job(
            act=act,
            share=max(1, min(_SHARE, environments // (4 * threads))),
            shared=np.zeros(32, np.int64),
            what=np.zeros(environments, np.int64),
            actions=np.zeros(environments, np.int64),
            reseeded=np.zeros(environments, np.bool_),
            seeds=np.zeros(environments, np.uint64),
            failed=np.zeros(environments, np.bool_),
        )
        self._placed = Placed(self.job, _JOB_TYPE)
        self._begin()

    def _begin(self) -> None:
        """Nobody helps, and nothing is left to be done."""
        self._process = os.getpid()
        self.job.shared[:] = 0
        self.job.shared[[_NEXT, _DONE]] = self.job.what.size

    def run(self, batch: int) -> None:
        """Do the job for the batch at this address; for one caller at a time."""
        if self._process != os.getpid():  # a child, whose parent may have been at work
            self._begin()
        if self.threads > 1:
            missing = self.threads - 1 - int(self.job.shared[_HELPERS])
            _helpers_here().call(self._placed, missing, self.threads - 1)
        _lead(self._placed.address, batch)

    def failures(self) -> Ints:
        """The environments in which the last call has raised something."""
        job = self.job
        if not job.shared[_FAILED]:
            return _NONE
        failed = np.flatnonzero(job.failed)
        job.failed[:], job.shared[_FAILED] = False, 0
        return failed


class _Helpers:
    """The helpers of one process; a child has none of its parent's."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._calls: SimpleQueue[Placed] = SimpleQueue()
        self._threads = 0

    def call(self, job: Placed, missing: int, most: int) -> None:
        """Have so many more helpers work on a job, as far as there are threads, ``most`` in all."""
        for _ in range(missing - self._calls.qsize()):
            if self._threads < most:
                address_of(_help)  # compiles it, where a fault is seen
                helper = threading.Thread(target=self._serve, name="dysta-gym helper", daemon=True)
                try:
                    helper.start()
                except RuntimeError:  # the system gives no more, or Python is about to end
                    if not self._threads:
                        return
                else:
                    self._threads += 1
            self._calls.put(job)

    def _serve(self) -> None:
        while True:
            job = self._calls.get()
            _help(job.address)
            del job  # or its environments would live until the next call


_helpers = _Helpers()


def _helpers_here() -> _Helpers:
    global _helpers
    if _helpers.process != os.getpid():
        _helpers = _Helpers()
    return _helpers
