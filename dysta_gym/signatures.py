"""Signatures that stand once: functions and classes that take the arguments of something else."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar, cast

Taker = TypeVar("Taker", bound=Callable[..., Any])


def takes(other: Callable[..., Any]) -> Callable[[Taker], Taker]:
    """Give what passes its ``**keywords`` on to ``other`` the keyword arguments of that.

    They are in its signature, for `help` and editors, and an unknown one is refused in its name, by
    the `TypeError` that Python raises for any function.
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
        allowed = {parameter.name for parameter in ordered}
        inner = taker.__init__ if isinstance(taker, type) else taker  # type: ignore[misc]

        @wraps(inner)
        def checked(*arguments: Any, **keywords: Any) -> Any:
            for name in keywords:
                if name not in allowed:
                    close = get_close_matches(name, allowed, 1)
                    raise TypeError(
                        f"{taker.__name__}() got an unexpected keyword argument {name!r}"
                        + (f"; did you mean {close[0]!r}?" if close else "")
                    )
            return inner(*arguments, **keywords)

        signature = own.replace(parameters=ordered)
        if isinstance(taker, type):
            taker.__init__ = checked  # type: ignore[misc]
            taker.__signature__ = signature  # type: ignore[attr-defined]
            return taker
        checked.__signature__ = signature  # type: ignore[attr-defined]
        return cast(Taker, checked)

    return decorate
