"""Cells of a sweep on a Ray cluster.

The package travels as it is here, with what its entry points are, and so do the policies' files:
nodes need Python and the libraries that this package depends on. Traces and scenarios outside the
package have to be where they are here, on a file system that the nodes share, and other packages
that plug in have to be installed there.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import logging
import shutil
import socket
import sys
import threading
import uuid
from collections.abc import Generator, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from dysta_gym.errors import DystaError
from dysta_gym.extras import extra
from dysta_gym.files import temporary_folder
from dysta_gym.signals import Leaving, interrupts_held
from dysta_gym.sweeps.code import OWN, own_folders
from dysta_gym.sweeps.work import Done, TaskQueue, Work, Worker

AHEAD = 2
"""Tasks a processor of the cluster that are handed over at a time."""

LOOK_S = 0.2
"""How long it is waited before Python looks whether it has been interrupted, and then for Ray."""

REACHED_S, ANSWERED_S = 10.0, 45.0
"""How long a machine has to take a connection, and its cluster to answer; Ray itself asks for
many minutes."""


def on_ray(work: Work, numbers: Sequence[int], address: str) -> Generator[Done, None, None]:
    """Do cells on a cluster; those of a node that dies are done again.

    Args:
        work: What there is to do.
        numbers: Which cells.
        address: The cluster's, ``auto`` for the one that is found here, ``local`` for a new one on
            this machine alone.

    Raises:
        DystaError: If there is no such cluster, or a policy does what it may not do.
        MissingExtra: If Ray is not installed.
    """
    with extra("ray", "ray"):
        import ray
    # An interrupt amid Ray's own code may be lost there, or become another error.
    with _connected(ray, address):
        shared = None
        waiting: list[Any] = []
        finished: list[Any] = []
        try:
            with interrupts_held():
                shared, token = ray.put(work), uuid.uuid4().hex
                # Ray does a task again whose process or node is lost, as often as that happens.
                remote = ray.remote(num_cpus=1, max_retries=-1)(_do)
            queue = TaskQueue(work, numbers)
            while queue or waiting:
                with interrupts_held():
                    most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
                    while queue and len(waiting) < most:
                        waiting.append(remote.remote(shared, token, queue.take()))
                    finished, waiting = ray.wait(waiting, num_returns=1, timeout=LOOK_S)
                    found = _got(ray, finished)
                for done, seconds in found:
                    queue.saw(done, seconds)
                    yield done
        finally:
            # One that is let go of while the connection is being closed ends the process, and an
            # exception holds this frame for as long as it likes.
            shared = None
            waiting.clear()
            finished.clear()


def _got(ray: Any, finished: list[Any]) -> list[tuple[Done, float]]:
    try:
        return ray.get(finished)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, DystaError):
            raise DystaError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        raise DystaError(f"ray: {_first_line(error)}") from None


@contextlib.contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """A connection with the cluster, closed afterwards if it was made here."""
    if ray.is_initialized():
        yield
        return
    with contextlib.ExitStack() as links:
        with temporary_folder() as place:  # of which Ray has a copy once there is a connection
            link = _Link(ray, address, _packed(place))
            link.start()
            links.push(link.closed)
            link.wait()
        yield


class _Link(threading.Thread):
    """A connection with a cluster, as long as the thread lives.

    That takes seconds to make and to close. What Ray starts on this machine ends with the thread
    that has started it.
    """

    def __init__(self, ray: Any, address: str, package: Path) -> None:
        super().__init__(daemon=True)
        self._ray, self._address, self._package = ray, address, package
        self._tried, self._over = threading.Event(), threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Connect, and close the connection once that is asked for."""
        ray_says = logging.getLogger("ray._private.worker")
        ray_says.addFilter(_is_news)
        try:
            _reach(self._address)
            with _apart(self._ray):
                self._ray.init(
                    address=self._address,
                    runtime_env={"working_dir": str(self._package)},
                    log_to_driver=False,
                    configure_logging=False,
                    include_dashboard=False if self._address == "local" else None,
                )
        except Exception as error:  # Ray raises anything
            self._error = error
        finally:
            ray_says.removeFilter(_is_news)
        self._tried.set()
        self._over.wait()
        self._ray.shutdown()

    def wait(self) -> None:
        """Wait for the connection.

        Raises:
            DystaError: If there is none.
        """
        began = monotonic()
        while not self._tried.wait(LOOK_S):
            if self._address != "local" and monotonic() - began > ANSWERED_S:
                self._error = TimeoutError(f"no answer in {ANSWERED_S:.0f} s")
                break
        if self._error is not None:
            raise DystaError(
                f"ray: {self._address!r} is no cluster that can be worked on "
                f"({_first_line(self._error)}); give the address that `ray start` printed, auto, "
                "or local"
            ) from None

    def closed(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it, unless the process ends anyway, or Ray still asks for its cluster."""
        # An error of one who is given the cells comes with the closing of what gives them.
        told = error.__context__ if isinstance(error, GeneratorExit) else error
        if isinstance(told, Leaving):
            self._error = error  # whose frames may hold memory of Ray's, and would give it back
            self._leave()
            return
        self._over.set()
        if self._tried.is_set() or self._address == "local":
            self.join()
        else:  # when the process ends, Ray would wait for it
            atexit.unregister(self._ray.shutdown)

    def _leave(self) -> None:
        """Leave nothing behind when this process ends, as it now does.

        What Ray has started here ends with it, on Linux, but for what that has started, some of
        which would stay for a minute. Nobody is to see these end, or Ray ends this process, too.
        """
        if self._address == "local" and sys.platform == "linux":
            with contextlib.suppress(Exception):
                process = importlib.import_module("psutil").Process()  # Ray brings it along
                own = process.children()
                for child in own:
                    child.suspend()
                for child in process.children(recursive=True):
                    if child not in own:
                        child.kill()


@contextlib.contextmanager
def _apart(ray: Any) -> Iterator[None]:
    """Have processes that Ray starts be a group of their own.

    A signal to all of this one's would end them first, and then Ray ends this one, too.
    """
    services = ray._private.services
    start = getattr(services, "ConsolePopen", None)
    if start is None or sys.platform == "win32":
        yield
        return
    services.ConsolePopen = functools.partial(start, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = start


def _reach(address: str) -> None:
    """Connect with the machine of an address, if that names one.

    Raises:
        OSError: If nobody is there.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), REACHED_S).close()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether it is not that a thread leaves alone what SIGTERM does, which is as it is to be."""
    return "SIGTERM" not in record.getMessage()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split())


def _packed(folder: Path) -> Path:
    """The package as it would be installed, in a folder from which Python imports it."""
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc")
    for below, source in own_folders().items():
        target = folder / OWN / below
        if not target.exists():  # as some are in a checkout
            shutil.copytree(source, target, ignore=skipped)
    about = metadata.distribution("dysta-gym")
    described = folder / f"dysta_gym-{about.version}.dist-info"
    described.mkdir()
    for name in ("METADATA", "PKG-INFO", "entry_points.txt"):
        text = about.read_text(name)
        if text is not None:
            target = described / ("METADATA" if name == "PKG-INFO" else name)
            target.write_text(text, encoding="utf-8")
    return folder


_workers: dict[str, Worker] = {}


def _do(work: Work, token: str, numbers: list[int]) -> tuple[Done, float]:
    """Do cells in a process of the cluster, which keeps what it has read for a sweep."""
    if token not in _workers:
        _workers.clear()  # of another sweep before
        _workers[token] = Worker(work)
    return _workers[token].do(numbers)
