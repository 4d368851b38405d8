"""Who does the cells of a sweep: this process, or others beside it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path

from dysta_gym.errors import DystaError
from dysta_gym.files import temporary_folder
from dysta_gym.signals import interrupts_held
from dysta_gym.sweeps.travelling import unpacked
from dysta_gym.sweeps.work import Done, TaskQueue, Work, Worker

AHEAD = 2
"""Tasks a worker that are handed over at a time: one that is done, and one that waits."""


def in_this_process(work: Work, numbers: Sequence[int]) -> Generator[Done, None, None]:
    """Do cells here, one task after the other."""
    queue, worker = TaskQueue(work, numbers), Worker(work)
    while queue:
        done, seconds = worker.do(queue.take())
        queue.saw(done, seconds)
        yield done


def in_threads(
    work: Work, numbers: Sequence[int], count: int | None
) -> Generator[Done, None, None]:
    """Do cells here, some at a time; ``count`` is as ``jobs`` of `dysta_gym.compare`."""
    cells = [work.grid.cell(at) for at in numbers]
    parts = unpacked(work.policies).play(cells, jobs=count, bounds=work.bounds)
    for at, rows in zip(numbers, parts, strict=True):
        work.check([at])
        yield [(at, rows)]


def in_processes(work: Work, numbers: Sequence[int], count: int) -> Generator[Done, None, None]:
    """Do cells in some processes of their own.

    They are started anew, not forked from this one, whose threads would be missing there.

    Raises:
        DystaError: If a process is killed.
    """
    with temporary_folder() as place:  # theirs, for they may be ended at any moment
        yield from _in_processes(work, numbers, count, place)


def _in_processes(
    work: Work, numbers: Sequence[int], count: int, place: Path
) -> Generator[Done, None, None]:
    queue = TaskQueue(work, numbers)
    context = multiprocessing.get_context("spawn")
    with interrupts_held():  # this starts one that minds what the others share
        pool = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(work, place))
    waiting: set[Future[tuple[Done, float]]] = set()
    try:
        while queue or waiting:
            while queue and len(waiting) < AHEAD * count:
                with interrupts_held():  # this starts a process, as long as there are too few
                    waiting.add(pool.submit(_do, queue.take()))
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for each in finished:
                done, seconds = each.result()
                queue.saw(done, seconds)
                yield done
    except BrokenProcessPool:
        raise DystaError(
            "a process that worked on cells has ended; give fewer --jobs if memory was short, and "
            'in a script of your own call this below: if __name__ == "__main__":'
        ) from None
    finally:
        with interrupts_held():
            # Nobody waits for what they are doing, and taking Python down would take them a while.
            for child in [*(pool._processes or {}).values()]:
                child.terminate()
            pool.shutdown(cancel_futures=True)


_worker: Worker | None = None
_flaw: DystaError | None = None
"""Why this process cannot work."""


def _begin(work: Work, place: Path) -> None:
    """Make this process a worker, whose files are in a folder of the one that asks."""
    global _worker, _flaw
    from dysta_gym.compiled.functions import say_no_compiling

    say_no_compiling()
    # The one that asks has it, and ends this one; but for Windows, it is blocked since the start.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _worker = Worker(work, place)
    except DystaError as error:  # which would be lost here
        _flaw = error


def _end_with_parent() -> None:
    """End this process when the one that asks is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(numbers: list[int]) -> tuple[Done, float]:
    if _flaw is not None:
        raise _flaw
    assert _worker is not None
    return _worker.do(numbers)
