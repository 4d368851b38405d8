"""Packages whose names are loaded when they are first used, so that their import stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(
    namespace: dict[str, Any], home: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        namespace: The package's globals, with ``__all__``.
        home: Module of the package that each name comes from.
    """
    package = namespace["__name__"]

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        return namespace[name]

    return load, lambda: sorted({*namespace, *namespace["__all__"]})
