"""The one exception that bad input raises."""

from __future__ import annotations

from collections.abc import Iterable


class DystaError(ValueError):
    """Bad input: a config, trace, policy, action or argument that cannot be used.

    The message is one line that names the field, the value, and what would be right.
    The command line prints it alone and exits with status 2.
    """


def one_of(field: str, value: object, choices: Iterable[object]) -> DystaError:
    """The error for a ``value`` of ``field`` that is none of ``choices``."""
    listed = ", ".join(str(choice) for choice in choices)
    return DystaError(f"{field}: {value!r} is unknown; choose one of: {listed}")
