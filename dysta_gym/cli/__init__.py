"""The command line: ``dysta-gym``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, NoReturn

import typer

import dysta_gym
from dysta_gym import plugins
from dysta_gym.cli.comparison import compare
from dysta_gym.cli.listings import policies, scenarios, traces
from dysta_gym.cli.runs import profile, replay, reproduce
from dysta_gym.errors import DystaError

ENTRY_POINTS = "dysta_gym.commands"
"""Entry-point group in which packages register commands: ``name = "module:function"``."""

app = typer.Typer(
    help="Schedulers for sparse neural networks that share one accelerator.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (compare, replay, reproduce, traces, policies, scenarios, profile):
    app.command(command.__name__)(command)


def main() -> None:
    """Run the command line; bad input prints one line and exits with status 2."""
    try:
        _add_commands()
        status = app(sys.argv[1:] or ["--help"], prog_name="dysta-gym", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        _exit(130, "interrupted")
    except DystaError as error:
        _exit(2, f"error: {error}")
    except Exception as error:
        if not hasattr(error, "format_message"):  # a fault in the arguments formats itself
            raise
        _exit(2, f"error: {error.format_message()}")
    if status == 130:  # as Typer reports an interrupt
        _exit(130, "interrupted")
    sys.exit(status or 0)


def _exit(status: int, message: str) -> NoReturn:
    print(f"dysta-gym: {message}", file=sys.stderr)
    sys.exit(status)


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
            app.command(name)(command)


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
