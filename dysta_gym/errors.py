"""The one exception that bad input raises."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

LONGEST = 2000
"""Characters of a message at most."""


class DystaError(ValueError):
    """Bad input: a config, trace, policy, action or argument that cannot be used.

    The message is one line that names the field, the value, and what would be right.
    The command line prints it alone and exits with status 2. Line breaks, control characters, what
    turns the direction of writing, and what cannot be encoded are written as escapes; the middle of
    a very long message is left out.
    """

    def __init__(self, message: str) -> None:
        line = message
        if not line.isprintable():
            line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
        if len(line) > LONGEST:
            half = LONGEST // 2 - 3
            line = f"{line[:half]} ... {line[-half:]}"
        super().__init__(line)


class _Shown(reprlib.Repr):
    """Short representations, of one line."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, 120, 120, 60

    def repr_int(self, value: int, level: int) -> str:
        try:
            return super().repr_int(value, level)
        except ValueError:  # of more digits than Python writes
            return f"a number of {value.bit_length()} bits"


def shown(value: object) -> str:
    """What a message calls a value: its ``repr``, in one line, and of a long one the ends."""
    return " ".join(_Shown().repr(value).split())


def one_of(field: str, value: object, choices: Iterable[object]) -> DystaError:
    """The error for a ``value`` of ``field`` that is none of ``choices``."""
    listed = ", ".join(str(choice) for choice in choices)
    return DystaError(f"{field}: {shown(value)} is unknown; choose one of: {listed}")
