"""Packages whose names are loaded when they are first used, so that their import stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from typing import Any

from dysta_gym.extras import extra as needing


def lazily(
    namespace: dict[str, Any],
    home: Mapping[str, str],
    extra: str = "",
    rooms: Collection[str] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        namespace: The package's globals, with ``__all__``.
        home: Module of the package that each name comes from.
        extra: The extra that installs what some of the modules import.
        rooms: Modules of the package that are attributes of it without having been imported.
    """
    package = namespace["__name__"]

    def load(name: str) -> Any:
        if name in rooms:
            return importlib.import_module(f"{package}.{name}")
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with needing(extra, name) if extra else nullcontext():
            module = importlib.import_module(f"{package}.{home[name]}")
        namespace[name] = getattr(module, name)
        return namespace[name]

    return load, lambda: sorted({*namespace, *namespace["__all__"], *rooms})
