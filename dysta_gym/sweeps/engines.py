"""Who does the cells of a sweep: this process, or others beside it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

from dysta_gym.errors import DystaError
from dysta_gym.sweeps.travelling import unpacked
from dysta_gym.sweeps.work import Done, TaskQueue, Work, Worker

AHEAD = 2
"""Tasks a worker that are handed over at a time: one that is done, and one that waits."""


def in_this_process(work: Work, numbers: Sequence[int]) -> Iterator[Done]:
    """Do cells here, one task after the other."""
    queue = TaskQueue(work, numbers)
    with Worker(work) as worker:
        while queue:
            done, seconds = worker.do(queue.take())
            queue.saw(done, seconds)
            yield done


def in_threads(work: Work, numbers: Sequence[int], count: int | None) -> Iterator[Done]:
    """Do cells here, some at a time; ``count`` is as ``jobs`` of `dysta_gym.compare`."""
    with unpacked(work.policies) as lineup:
        cells = [work.grid.cell(at) for at in numbers]
        for at, rows in zip(
            numbers, lineup.play(cells, jobs=count, bounds=work.bounds), strict=True
        ):
            yield [(at, rows)]


def in_processes(work: Work, numbers: Sequence[int], count: int) -> Iterator[Done]:
    """Do cells in some processes of their own.

    They are started anew, not forked from this one, whose threads would be missing there.

    Raises:
        DystaError: If a process is killed.
    """
    queue = TaskQueue(work, numbers)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(work,))
    waiting: set[Future[tuple[Done, float]]] = set()
    try:
        while queue or waiting:
            while queue and len(waiting) < AHEAD * count:
                waiting.add(pool.submit(_do, queue.take()))
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for each in finished:
                done, seconds = each.result()
                queue.saw(done, seconds)
                yield done
    except BrokenProcessPool:
        raise DystaError(
            "a process that worked on cells has been killed; give fewer --jobs if memory was short"
        ) from None
    finally:
        for each in waiting:
            each.cancel()
        if waiting:  # nobody waits for what they are doing
            for child in [*(pool._processes or {}).values()]:
                child.terminate()
        pool.shutdown(cancel_futures=True)


_worker: Worker | None = None


def _begin(work: Work) -> None:
    """Make this process a worker."""
    global _worker
    from dysta_gym.compiled.functions import say_no_compiling

    say_no_compiling()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that asks has it, and ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = Worker(work).__enter__()


def _end_with_parent() -> None:
    """End this process when the one that asks is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(numbers: list[int]) -> tuple[Done, float]:
    assert _worker is not None
    return _worker.do(numbers)
