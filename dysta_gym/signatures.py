"""Signatures that stand once: functions and classes that take the arguments of something else."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Taker = TypeVar("Taker", bound=Callable[..., Any])


def takes(other: Callable[..., Any]) -> Callable[[Taker], Taker]:
    """Give what passes its ``**keywords`` on to ``other`` the keyword arguments of that.

    They are in its signature, for `help` and editors; an unknown one raises the `TypeError` that
    Python raises for any function.
    """

    def decorate(taker: Taker) -> Taker:
        own = inspect.signature(taker)
        named = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        names = {parameter.name for parameter in named}
        more = [
            parameter.replace(kind=parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(other).parameters.values()
            if parameter.name not in names
        ]
        ordered = sorted([*named, *more], key=lambda parameter: parameter.kind)
        taker.__signature__ = own.replace(parameters=ordered)  # type: ignore[attr-defined]
        return taker

    return decorate
