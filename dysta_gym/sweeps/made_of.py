"""A digest of what a policy decides by: the same in every process, and wherever its code lies.

It covers the code of its rule and of what that calls, what these read, its index, its parameters
and its weights, as far as they can be seen: not what methods of arguments do, what is imported
within a function, or what a file holds that a rule opens. Code is Python's bytecode, which does not
tell of comments and lines, and is another one in another version of Python. What the standard
library and other libraries have counts by name and version.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np

from dysta_gym.compiled import digest
from dysta_gym.compiled.digest import Digest, know_all_types
from dysta_gym.policies import Policy

_RUN = {"__init__", "__new__", "__post_init__", "__call__", "__getitem__", "__len__", "__iter__"}
"""Methods with names of Python's that a class may have for its rules; the others are seldom its."""

_PICKLED = {"numpy", "pandas", "scipy"}
"""Libraries beside Python's own whose objects are always pickled alike."""

_DEEPEST = 30
"""Objects within objects that are looked into."""

_OF_A_RULE = re.compile(r"^dysta_gym_rule_[0-9a-f]+")
"""Modules of rules in files, which are called by where these lie, too."""


def made_of(policy: Policy) -> str:
    """Sixteen hexadecimal digits of what a policy decides by, whatever it is called."""
    return _Made(policy).key[:16]


class _Made(Digest):
    """A digest of things that need not be compiled, in which nothing stands for itself alone."""

    def __init__(self, thing: Any, within: tuple[Any, ...] = ()) -> None:
        if not within:
            know_all_types()  # else a key depends on what has been compiled
        self._depth = 0
        super().__init__(thing, within or (None,))

    def _policy(self, policy: Policy) -> None:
        promised = (policy.stable, policy.events, policy.interpreted, policy.spares_index)
        self._text("policy", policy.level, *promised)
        for name, parameter in policy.parameters.items():
            value = policy.settings.get(name, parameter.default)
            self._text(name, float(value), parameter.relative)
        self._value(np.array(policy.weights))
        for each in (policy.score, policy.index, policy.drift, policy.effort):
            self._value(each)

    def _dispatcher(self, value: Any) -> None:
        self._part(value)  # whether it has been compiled or not

    def _part(self, thing: Any) -> None:
        if thing in self._within:
            self._text("recursion", self._within.index(thing))
        elif self._once(thing):
            self._text("compiled", type(self)(thing, self._within).key)

    def _options(self, value: Any) -> None:
        for name, option in sorted(value.targetoptions.items()):
            self._text(name)
            self._value(option)
        if getattr(value, "declared", None) is not None:
            self._signature(value.declared)

    def _function(self, value: FunctionType) -> None:
        if value.__code__.co_filename == digest.__file__ and hasattr(value, "__wrapped__"):
            value = value.__wrapped__  # of `fresh`, which keeps what has been made so far
        if self._is_named(value.__module__):
            self._text(value.__qualname__)
        else:
            super()._function(value)

    def _named(self, look: Callable[[str], Any], name: str, attributes: list[str]) -> None:
        value = look(name)
        if name in ("__file__", "__path__", "__spec__", "__loader__"):
            self._text(name)
        elif not isinstance(value, ModuleType) or not self._is_named(value.__name__):
            super()._named(look, name, attributes)

    def _is_named(self, module: str | None) -> bool:
        """Whether a module's name and version say what is in it, which then are part of this."""
        top = (module or "").partition(".")[0]
        known = _version(top)
        if known is not None:
            self._text("library", module, known)
        return known is not None

    def _class(self, value: type) -> None:
        if self._is_named(value.__module__):
            self._text(value.__qualname__)
            return
        self._text("class", _OF_A_RULE.sub("", value.__module__ or ""), value.__qualname__)
        if not self._once(value):
            return
        if issubclass(value, BaseException):
            return
        for base in value.__mro__[1:-1]:
            self._class(base)
        for name, part in sorted(vars(value).items()):
            if name.startswith("__") and name not in _RUN:
                continue
            if isinstance(part, staticmethod | classmethod):
                part = part.__func__
            part = part.fget if isinstance(part, property) else _unwrapped(part)
            if isinstance(part, FunctionType) and part.__code__.co_filename.startswith("<"):
                continue  # which Python makes of the fields
            if isinstance(part, FunctionType | bool | int | float | str | tuple | np.ndarray):
                self._text(name)
                self._value(part)

    def _unknown(self, value: Any) -> None:
        kind = type(value)
        self._text("object", kind.__qualname__)
        if self._depth == _DEEPEST or not self._once(value):
            return
        self._depth += 1
        self._parts(kind, value)
        self._depth -= 1

    def _parts(self, kind: type, value: Any) -> None:
        if isinstance(value, Policy):
            self._policy(value)
        elif isinstance(value, partial):
            self._values((value.func, value.args, value.keywords))
        elif isinstance(value, MethodType):
            self._values((value.__func__, value.__self__))
        elif isinstance(value, dict | MappingProxyType):
            self._mapping(value)
        elif isinstance(value, set):
            self._text(len(value), *sorted(repr(each) for each in value if _is_plain(each)))
        elif isinstance(value, list):
            self._values(value)
        elif isinstance(value, PurePath):
            self._text(_place(value))
        elif _unwrapped(value) is not value:
            self._value(_unwrapped(value))
        elif isinstance(value, ModuleType):
            self._text(value.__name__)
        elif is_dataclass(value):
            self._class(kind)
            self._values(getattr(value, field.name, None) for field in fields(value))
        elif _state(value) and _version(kind.__module__.partition(".")[0]) is None:
            self._class(kind)
            self._mapping(_state(value))
        else:
            self._class(kind)
            with contextlib.suppress(Exception):  # a class may do anything there
                self._of_library(value)

    def _of_library(self, value: Any) -> None:
        """What an object of somebody else's class holds, as far as that is always written alike."""
        torch = sys.modules.get("torch")
        if torch and isinstance(value, torch.nn.Module):
            self._mapping(value.state_dict())
        elif torch and isinstance(value, torch.Tensor):
            self._value(value.detach().cpu().double().numpy())
        elif type(value).__module__.partition(".")[0] in {*sys.stdlib_module_names, *_PICKLED}:
            self._text(pickle.dumps(value, 5))

    def _mapping(self, value: Mapping[Any, Any]) -> None:
        """Its items, in an order of their own if there is one."""
        items = [*value.items()]
        if all(map(_is_plain, value)):
            items.sort(key=lambda each: repr(each[0]))
        self._values(part for item in items for part in item)

    def _value(self, value: Any) -> None:
        if type(value) is str and os.sep in value and PurePath(value).is_absolute():
            value = _place(PurePath(value))
        super()._value(value)


def _is_plain(value: object) -> bool:
    """Whether it is always written the same."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | bytes)


def _state(value: object) -> dict[str, Any]:
    """What an object holds by names, without asking it anything."""
    try:
        return vars(value)
    except TypeError:
        return {}


def _unwrapped(value: Any) -> Any:
    """The function that a cache, or what a decorator made of it, goes by."""
    return _state(value).get("__wrapped__", value)


def _place(path: PurePath) -> str:
    """What a path says wherever it is: the name of a file, and of a folder nothing."""
    return path.name if path.suffix else ""


@lru_cache(maxsize=1024)
def _version(package: str) -> str | None:
    """The version of a package that is somebody else's; None of this one, and of a user's own."""
    if package == "dysta_gym" or _OF_A_RULE.match(package) or not package:
        return None
    if package in sys.stdlib_module_names:
        return ""
    file = getattr(sys.modules.get(package), "__file__", None)
    if file is None or not {"site-packages", "dist-packages"}.intersection(Path(file).parts):
        return None
    try:
        return version(package)
    except PackageNotFoundError:
        return None
