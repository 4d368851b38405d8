"""What packages plug in: the entry points of a group, each loaded where it is used.

Whatever is wrong with one of them costs that one alone, and a line that says whose it is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dysta_gym.errors import DystaError

_OURS = "dysta-gym"


@cache
def entries(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name, those of this package first.

    Where several packages give one name, that of this package counts, or else that of the first
    package in the alphabet; a line on standard error says so.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(
        entry_points(group=group), key=lambda e: (_package(e) != _OURS, _package(e))
    ):
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
    print(f"dysta-gym: warning: {message}", file=sys.stderr)
