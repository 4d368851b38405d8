"""What is made when it is first used: names of packages, so that imports stay quick; attributes."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

from dysta_gym.extras import extra as needing

T = TypeVar("T")


class cached_property(functools.cached_property[T]):
    """`functools.cached_property` without the lock that it has before Python 3.12.

    All instances share that lock, so that a process that forks while another thread computes the
    attribute of any of them waits for ever. Threads that ask at once may each compute it here; all
    get the first.
    """

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        name, values = self.attrname, vars(instance)
        if name not in values:
            values.setdefault(name, self.func(instance))
        return values[name]


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
