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
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from dysta_gym.compiled.functions import address_of, compiled
from dysta_gym.compiled.records import INTS_TYPE, Ints, Placed, invoke, reader
from dysta_gym.envs.episode import Bools

_NEXT, _DONE, _HELPERS, _BATCH = range(0, 32, 8)
"""Entries of `Job.shared`, a cache line each: the next environment to be taken; how many are done;
how many helpers look for more; the address of the batch."""

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
    """

    act: int
    share: int
    shared: Ints
    what: Ints
    actions: Ints
    reseeded: Bools
    seeds: NDArray[np.uint64]


_JOB_TYPE = types.NamedTuple(
    [
        *(types.int64,) * 2,
        *(INTS_TYPE,) * 3,
        types.boolean[::1],
        types.uint64[::1],
    ],
    Job,
)
_read_job = reader(_JOB_TYPE)
_yield_core: Any = types.ExternalFunction("sched_yield", types.int32())


def _atomic(operation: str) -> Any:
    """An operation on an entry of an array of int64 that threads see in one order."""

    def _apply(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            column, at, number = arguments
            data = context.make_array(signature.args[0])(context, builder, column).data
            place = builder.gep(data, [at])
            if operation == "load":
                return builder.load_atomic(place, "seq_cst", 8)
            if operation == "store":
                builder.store_atomic(number, place, "seq_cst", 8)
                return ir.Constant(number.type, 0)
            return builder.atomic_rmw("add", place, number, "seq_cst")

        return types.int64(array, types.int64, types.int64), codegen

    return intrinsic(_apply)


_add, _load, _set = _atomic("add"), _atomic("load"), _atomic("store")


@compiled(types.boolean(types.intp))
def _take(at: int) -> bool:
    """Do a share of the work; whether there was any."""
    job = _read_job(at)
    total = job.what.size
    first = _add(job.shared, _NEXT, job.share)
    if first >= total:
        return False
    last = min(first + job.share, total)
    batch = _load(job.shared, _BATCH, 0)
    for index in range(first, last):
        invoke(
            job.act,
            (
                batch,
                index,
                job.what[index],
                job.actions[index],
                job.reseeded[index],
                job.seeds[index],
            ),
        )
    _add(job.shared, _DONE, last - first)
    return True


@compiled(types.void(types.intp, types.intp))
def _lead(at: int, batch: int) -> None:
    """Do all the work, with whoever helps."""
    shared = _read_job(at).shared
    total = _read_job(at).what.size
    _wait(shared, total)  # for the call before, if that was broken off
    _set(shared, _BATCH, batch)
    _set(shared, _DONE, 0)
    _set(shared, _NEXT, 0)
    while _take(at):
        pass
    _wait(shared, total)


@compiled(None, inline=True)
def _wait(shared: Ints, total: int) -> None:
    """Wait until what has been taken is done."""
    spins = 0
    while _load(shared, _DONE, 0) < total:
        spins += 1
        if spins > _SPINS:
            _yield_core()


@compiled(types.void(types.intp))
def _help(at: int) -> None:
    """Help with this call, and with those that follow at once."""
    job = _read_job(at)
    _add(job.shared, _HELPERS, 1)
    spins = 0
    while spins < _SPINS + _YIELDS:
        spins += 1
        if spins > _SPINS:
            _yield_core()
        if _load(job.shared, _NEXT, 0) < job.what.size:
            while _take(at):
                spins = 0
    _add(job.shared, _HELPERS, -1)


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
        shared = np.zeros(32, np.int64)
        shared[[_NEXT, _DONE]] = environments
        self.job = Job(
            act=act,
            share=max(1, min(_SHARE, environments // (4 * threads))),
            shared=shared,
            what=np.zeros(environments, np.int64),
            actions=np.zeros(environments, np.int64),
            reseeded=np.zeros(environments, np.bool_),
            seeds=np.zeros(environments, np.uint64),
        )
        self._placed = Placed(self.job, _JOB_TYPE)
        self._lock = threading.Lock()

    def run(self, batch: int) -> None:
        """Do the job for the batch at this address."""
        with self._lock:
            missing = self.threads - 1 - int(self.job.shared[_HELPERS]) - _calls.qsize()
            for _ in range(missing):
                _call_for_help(self._placed, self.threads - 1)
            _lead(self._placed.address, batch)


_calls: SimpleQueue[Placed] = SimpleQueue()
_helpers: list[threading.Thread] = []


def _call_for_help(job: Placed, most: int) -> None:
    _calls.put(job)
    if len(_helpers) < most:
        address_of(_help)  # compiles it, where a fault is seen
        helper = threading.Thread(target=_serve, name="dysta-gym helper", daemon=True)
        _helpers.append(helper)
        helper.start()


def _serve() -> None:
    while True:
        job = _calls.get()
        _help(job.address)
        del job  # or its environments would live until the next call


def _after_fork() -> None:
    """A child has none of its parent's threads."""
    global _calls
    _calls = SimpleQueue()
    _helpers.clear()


os.register_at_fork(after_in_child=_after_fork)
