"""The command line: ``dysta-gym``."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

import dysta_gym
from dysta_gym import plugins
from dysta_gym.cli.board import leaderboard
from dysta_gym.cli.comparison import compare
from dysta_gym.cli.entries import enter, verify
from dysta_gym.cli.interrupts import Interrupts
from dysta_gym.cli.listings import (
    accelerators,
    features,
    policies,
    rewards,
    scenarios,
    traces,
    tracks,
)
from dysta_gym.cli.profiling import profile
from dysta_gym.cli.runs import replay, reproduce
from dysta_gym.cli.showing import show
from dysta_gym.cli.sweeping import results, sweep
from dysta_gym.dates import now
from dysta_gym.errors import DystaError, shown
from dysta_gym.text import printable

ENTRY_POINTS = "dysta_gym.commands"
"""Entry-point group in which packages register commands: ``name = "module:function"``."""

app = typer.Typer(
    help="Schedulers for sparse neural networks that share one accelerator.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMPLETION = ("--install-completion", "--show-completion")
"""Typer's options for the shell, which end the command whatever else is asked."""


_CLOSED = {errno.EPIPE, errno.EINVAL} if os.name == "nt" else {errno.EPIPE}
"""What a system says of standard output that nobody reads any more."""


class _Command(TyperCommand):
    """A command whose help calls arguments by their names, without Python's types."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for each in self.params:
            if each.param_type_name == "argument":
                vars(each)["display_type_rich"] = lambda ctx: None


for command in (
    *(compare, sweep, results, show, replay, reproduce, leaderboard, enter, verify),
    *(traces, accelerators, policies, scenarios, tracks, features, rewards),
    profile,
):
    app.command(command.__name__, cls=_Command)(command)


def main(end: Callable[[int], Any] | None = None) -> None:
    """Run the command line; bad input prints one line and exits with status 2.

    ``end`` is called with the signal's number when an interrupt comes amid imports; it does not
    return. Where there is none, the process is not this command's alone, and stays.

    An interrupt exits with status 130, and a reader that has read enough of what is printed ends it
    with status 141, both as a shell has it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    with Interrupts(end) as interrupts:
        try:
            with interrupts.arriving():
                _settle_environment()
                _add_commands()
                _check_completion(sys.argv[1:])
                arguments = sys.argv[1:] or ["--help"]
                status = app(arguments, prog_name="dysta-gym", standalone_mode=False)
                if status == 130:  # as Typer reports an interrupt
                    raise KeyboardInterrupt
                if sys.stdout:
                    sys.stdout.flush()
            if interrupts.number is not None:
                interrupts.leave()
                sys.exit(128 + interrupts.number)
        except SystemExit as error:
            if not isinstance(error.__context__, BrokenPipeError):  # which Typer exits with 1 for
                raise
            _stop_printing(error.__context__)
        except DystaError as error:
            _exit(2, f"error: {error}")
        except Exception as error:
            if isinstance(error, OSError) and error.filename is None:
                _stop_printing(error)
            elif hasattr(error, "format_message"):  # a fault in the arguments formats itself
                _exit(2, f"error: {error.format_message()}")
            elif notes := getattr(error, "__notes__", None):  # of a user's own code
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                _exit(2, f"error: {notes[0]} ({reason})")
            else:
                raise
        sys.exit(status or 0)


def _settle_environment() -> None:
    """Take out variables that say nothing, and on which libraries raise errors of their own.

    Raises:
        DystaError: If the date of what is written is none.
    """
    for name in ("COLUMNS", "LINES"):
        given = os.environ.get(name, "0")
        if not (given.isascii() and given.isdecimal()):
            del os.environ[name]
    if os.environ.get("SOURCE_DATE_EPOCH") == "":
        del os.environ["SOURCE_DATE_EPOCH"]
    now()


def _exit(status: int, message: str) -> NoReturn:
    with contextlib.suppress(OSError):
        print(f"dysta-gym: {printable(message)}", file=sys.stderr)
    sys.exit(status)


def _stop_printing(error: OSError) -> NoReturn:
    """Exit because standard output takes no more.

    Raises:
        OSError: If this is not what the error says.
    """
    if error.errno not in (*_CLOSED, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
        raise error
    with contextlib.suppress(OSError, ValueError):  # what is left is not tried again at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno in _CLOSED:
        sys.exit(141)
    _exit(2, f"error: standard output cannot be written ({error.strerror})")


def _check_completion(arguments: Sequence[str]) -> None:
    """Refuse what stands beside an option of `COMPLETION`, which Typer would not look at.

    Raises:
        DystaError: If there is anything.
    """
    for option in COMPLETION:
        if arguments[:1] == [option] and arguments[1:]:
            raise DystaError(
                f"{option}: {shown(arguments[1])} is not allowed; it takes no value, and is for "
                "the shell that it is run in"
            )


def _say_version(asked: bool) -> None:
    if asked:
        print(f"dysta-gym {dysta_gym.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """Options of the command line as a whole."""


@cache
def _add_commands() -> None:
    """Add the commands of other packages, functions that Typer makes commands of."""
    known = {command.name for command in app.registered_commands}
    for name, entry in plugins.entries(ENTRY_POINTS).items():
        if name in known:
            plugins.warn(f"{plugins.described(entry)} is left out: dysta-gym has a command {name}")
            continue
        try:
            command = plugins.load(entry)
            _check(command, plugins.described(entry))
        except DystaError as error:
            plugins.warn(str(error))
        else:
            app.command(name, cls=_Command)(command)


def _check(command: Callable[..., Any], origin: str) -> None:
    """See that Typer makes a command of it, for else it makes none of any.

    Raises:
        DystaError: If it does not.
    """
    alone = typer.Typer(add_completion=False)
    try:
        alone.command()(command)
        typer.main.get_command(alone)
    except Exception as error:
        raise DystaError(f"{ENTRY_POINTS}: {origin} is no command ({error})") from error
