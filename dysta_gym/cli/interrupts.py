"""What ends a command before it is done: Ctrl-C and, where it can go on, SIGTERM and SIGHUP.

Python raises an exception for it wherever the main thread is. Where that is called by code in C, as
LLVM's callbacks and finalizers are, it goes nowhere; some libraries catch everything, and others
make another error of it. So an interrupt is noted, its exception is raised again until it arrives,
and whatever else arrives instead is an interrupt, too.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from dysta_gym.signals import TOLD, Leaving
from dysta_gym.text import printable

AGAIN_S = 0.02
"""How long an exception is given to arrive, or to be seen on its way, before it is raised again."""

PATIENCE_S = 0.8
"""How long one that is lost is raised again and again; then, or when one asks once more after this
time, the process ends as it stands."""

LINE = "interrupted"


class Terminated(KeyboardInterrupt):
    """What comes of `dysta_gym.signals.TOLD`; not `SystemExit`, which is a program's own."""


class Interrupts:
    """What a command has been told, as long as the context lasts, and what it says to it.

    Attributes:
        number: The signal that ends the command; None as long as none came.

    Args:
        end: As of `dysta_gym.cli.main`.
    """

    def __init__(self, end: Callable[[int], Any] | None) -> None:
        self.number: int | None = None
        self._end = end
        self._line: Callable[[], str] = lambda: LINE
        self._abrupt = self._arrived = self._again = False
        self._came_s = 0.0
        self._before: dict[int, Any] = {}
        self._unraisable, self._in_thread = sys.unraisablehook, threading.excepthook
        self._giving_back = threading.Lock()

    def __enter__(self) -> Interrupts:
        global _command
        _command = self
        sys.unraisablehook, threading.excepthook = self._lose, self._lose_of_thread
        self._take(signal.SIGINT, signal.default_int_handler)
        return self

    def __exit__(self, *error: object) -> None:
        global _command
        self._arrived = True
        for number in [*self._before]:
            self._give_back(number)
        sys.unraisablehook, threading.excepthook = self._unraisable, self._in_thread
        _command = None

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Have an interrupt of the block, whatever has become of it, end the block with a line.

        What is held by the block is put in order after that, and then one has to `leave`.
        """
        try:
            yield
        except BaseException as error:
            if self.number is None:
                if not isinstance(error, KeyboardInterrupt | typer.Abort):
                    raise
                self.number = signal.SIGINT
        if self.number is not None:
            self._arrived = True
            self._say()
            if self._abrupt:
                self.leave()

    def leave(self) -> None:
        """End the process, if that is this command's, for taking Python down can take a second."""
        if self._end and self.number is not None:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(128 + self.number)

    @contextmanager
    def resumable(self, line: Callable[[], str], *, abrupt: bool = False) -> Iterator[None]:
        """As the function of this name."""
        before = self._line, self._abrupt
        self._line, self._abrupt = line, abrupt
        for number in TOLD:
            self._take(number, signal.SIG_DFL)
        try:
            yield
        finally:
            if self.number is None:  # else it is on its way, and may be raised again
                for number in TOLD:
                    self._give_back(number)
                self._line, self._abrupt = before

    def _take(self, number: int, default: Any) -> None:
        """Have a signal end the command, if nobody else has said what it does."""
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(number) is default:
            self._before[number] = default
            signal.signal(number, self._come)

    def _give_back(self, number: int) -> None:
        """Have a signal do what it did before."""
        with self._giving_back:
            if number in self._before:
                signal.signal(number, self._before.pop(number))

    def _come(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal, or its being sent again."""
        again, self._again = self._again, False
        now = time.monotonic()
        if self.number is None:
            self.number, self._came_s = number, now
            # Not with threading, within whose locks this may be called.
            _thread.start_new_thread(self._insist, (number,))
        late = now - self._came_s > PATIENCE_S
        if self._arrived or _on_its_way():
            if late and not again:
                self._end_as_it_stands()
            return
        while frame:
            if frame.f_code is Interrupts._lose.__code__:
                return  # it is sent again when that is over
            if self._end and frame.f_code.co_filename.startswith("<frozen importlib"):
                self._end(self.number)  # imports leave halves of modules
            frame = frame.f_back
        if late:
            self._end_as_it_stands()
        if self._abrupt and self._end:
            raise Leaving
        raise Terminated if self.number in TOLD else KeyboardInterrupt

    def _insist(self, number: int) -> None:
        """Send a signal to the main thread, which raises exceptions, until one has arrived."""
        while not self._arrived:
            time.sleep(AGAIN_S)
            with self._giving_back:  # what it did before may be to end the process
                if self._arrived or number not in self._before:
                    return
                self._again = True
                if sys.platform == "win32":
                    _thread.interrupt_main(signal.Signals(number))
                else:
                    signal.pthread_kill(threading.main_thread().ident or 0, number)

    def _lose(self, unraisable: Any) -> None:
        """Be told of an exception that goes nowhere; at the end, nobody else needs to be."""
        if self.number is None:
            self._unraisable(unraisable)

    def _lose_of_thread(self, lost: threading.ExceptHookArgs) -> None:
        """Likewise of a thread, as one that minds workers, which the signal may have ended, too."""
        if self.number is None:
            self._in_thread(lost)

    def _say(self) -> None:
        line = LINE
        with contextlib.suppress(Exception):
            line = self._line()
        with contextlib.suppress(Exception):  # nobody reads, or it was amid printing
            print(f"dysta-gym: {printable(line)}", file=sys.stderr, flush=True)

    def _end_as_it_stands(self) -> None:
        if self._end and not self._arrived:
            self._arrived = True  # it is not sent again amid the line
            self._say()
        self.leave()


_command: Interrupts | None = None
"""The command that runs."""


@contextmanager
def resumable(line: Callable[[], str], *, abrupt: bool = False) -> Iterator[None]:
    """Within the block, an interrupt, which SIGTERM and SIGHUP are, too, ends it with a line.

    Args:
        line: Gives the line.
        abrupt: Whether the process then ends without waiting for what else is to be put in order,
            as Ray's connection, which takes seconds, and whose processes end with this one.
    """
    with _command.resumable(line, abrupt=abrupt) if _command else contextlib.nullcontext():
        yield


def _on_its_way() -> bool:
    """Whether the interrupted thread is putting things in order because of an interrupt."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
