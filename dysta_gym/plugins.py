"""What packages plug in: the entry points of a group, each loaded where it is used.

Whatever is wrong with one of them costs that one alone, and a line that says whose it is.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, TypeVar

from dysta_gym.errors import DystaError, one_of
from dysta_gym.text import printable

Row = TypeVar("Row")

_OURS = "dysta-gym"


@cache
def entries(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name, those of this package first.

    Where several packages give one name, that of this package counts, or else that of the first
    package in the alphabet; a line on standard error says so.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=_rank):
        kept = found.setdefault(entry.name, entry)
        if kept is not entry:
            warn(
                f"{group}: {entry.name!r} is given by the packages {_package(kept)!r} and "
                f"{_package(entry)!r}; that of {_package(kept)!r} is used"
            )
    return found


def _rank(entry: EntryPoint) -> tuple[bool, str]:
    return _package(entry) != _OURS, _package(entry)


def load(entry: EntryPoint) -> Any:
    """What an entry point stands for.

    Raises:
        DystaError: If it cannot be loaded, whatever the reason.
    """
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DystaError(
            f"{entry.group}: {described(entry)} cannot be loaded ({reason}); "
            "repair or remove the package"
        ) from error


def described(entry: EntryPoint) -> str:
    """An entry point and its package, for a message."""
    return f"{entry.name!r} ({entry.value}) of the package {_package(entry)!r}"


def _package(entry: EntryPoint) -> str:
    return (entry.dist and entry.dist.name) or "unknown"


def warn(message: str) -> None:
    """Say a line on standard error."""
    with contextlib.suppress(OSError):  # nobody reads it, which is no reason to stop
        print(f"dysta-gym: warning: {printable(message)}", file=sys.stderr)


class OpenTable(Generic[Row]):
    """Rows by name: those of this package, and those that other packages plug in.

    Args:
        field: What a row is asked for as, for messages.
        group: Entry-point group of the others.
        kind: What a row is.
    """

    def __init__(self, field: str, group: str, kind: type[Row]) -> None:
        self.field, self.group, self.kind = field, group, kind
        self.own: dict[str, Row] = {}
        self._told = False

    def names(self) -> tuple[str, ...]:
        """Names of all rows, those of this package first.

        Of one that another package gives, too, a line on standard error says that ours is used.
        """
        if not self._told:
            self._told = True
            _tell_unused(self.group, self.own)
        return tuple(dict.fromkeys([*self.own, *entries(self.group)]))

    def find(self, wanted: object) -> Row:
        """The row of this name; a row stands for itself.

        Raises:
            DystaError: If there is none, or it cannot be loaded.
        """
        if isinstance(wanted, self.kind):
            return wanted
        if callable(wanted):
            kind = self.kind.__name__
            raise DystaError(f"{self.field}: {wanted!r} is a function; give a dysta_gym.{kind}")
        if not isinstance(wanted, str) or wanted not in self.names():
            raise one_of(self.field, wanted, self.names())
        if wanted in self.own:
            return self.own[wanted]
        entry = entries(self.group)[wanted]
        row = load(entry)
        if not isinstance(row, self.kind):
            raise DystaError(
                f"{self.field}: {described(entry)} gives a {type(row).__name__}; "
                f"it must be a dysta_gym.{self.kind.__name__}"
            )
        name = getattr(row, "name", wanted)
        if name != wanted:
            raise DystaError(
                f"{self.field}: {described(entry)} gives one that is called {name!r}; "
                "the two names must be the same"
            )
        return row


class OpenFiles(Mapping[str, Path]):
    """Files by name: those of this package, and those that other packages plug in.

    An entry point is the path of a file that is called by its name: ``net = "package:NET"`` with
    ``NET = Path(__file__).with_name("net.npz")``.

    Args:
        field: What a file is asked for as, for messages.
        group: Entry-point group of the others.
        own: Gives those of this package.
    """

    def __init__(self, field: str, group: str, own: Callable[[], Mapping[str, Path]]) -> None:
        self.field, self.group, self.own = field, group, own
        self._told = False
        self._elsewhere: dict[str, Path | None] = {}

    def plugged(self) -> list[str]:
        """Names of those that other packages plug in.

        Of one that this package has, too, a line on standard error says that ours is used.
        """
        own = self.own()
        if not self._told:
            self._told = True
            _tell_unused(self.group, own)
        return [name for name in entries(self.group) if name not in own]

    def __iter__(self) -> Iterator[str]:
        return iter([*self.own(), *self.plugged()])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self.own() or name in entries(self.group)

    def elsewhere(self, name: str) -> Path | None:
        """The file of this name in another package; None if there is none, or ours is used."""
        if name not in entries(self.group):  # which is quick: workloads ask again and again
            return None
        if name not in self._elsewhere:
            self._elsewhere[name] = None if name in self.own() else self[name]
        return self._elsewhere[name]

    def __getitem__(self, name: str) -> Path:
        own = self.own()
        if name in own:
            return own[name]
        entry = entries(self.group)[name]
        given = load(entry)
        if not isinstance(given, str | PathLike):
            raise DystaError(
                f"{self.field}: {described(entry)} gives a {type(given).__name__}; it must be the "
                "path of a file"
            )
        path = Path(given)
        if path.stem != name:
            raise DystaError(
                f"{self.field}: {described(entry)} gives the file {str(path)!r}; it must be called "
                f"{name}{path.suffix}"
            )
        return path


def _tell_unused(group: str, own: Collection[str]) -> None:
    """Say of what other packages give that ours of that name is used."""
    for name, entry in entries(group).items():
        if name in own:
            warn(f"{group}: {described(entry)} is not used; this package has its own")


def check_formula(where: str, formula: object, arguments: tuple[str, ...]) -> None:
    """Raise a `DystaError` if a formula is no function, or does not take these arguments."""
    if not isinstance(formula, FunctionType):
        raise DystaError(
            f"{where}: formula is {formula!r}; it must be a plain function, written with def"
        )
    try:
        inspect.signature(formula).bind(*arguments)
    except TypeError:
        raise DystaError(
            f"{where}: formula takes {inspect.signature(formula)}; it must take "
            f"({', '.join(arguments)})"
        ) from None
