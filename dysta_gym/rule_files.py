"""Rules in Python files: ``--policy mine.py``, or ``mine.py:NAME`` where there are several.

A file holds `dysta_gym.Policy` objects, or functions as `dysta_gym.Policy.score` says. Reading it
runs it, as Python's import does.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from dysta_gym.errors import DystaError, shown
from dysta_gym.files import open_regular
from dysta_gym.plugins import check_formula
from dysta_gym.policies import Policy, in_file

ARGUMENTS = ("queue", "size", "now", "parameters", "scores")
"""What a rule takes."""


def policy_of_file(name: str) -> Policy:
    """The policy in a file, ``FILE`` or ``FILE:NAME``, called so.

    Without a name, the file's only `Policy`; where it has none, its function ``score``, or its only
    one that takes what a rule takes.

    Raises:
        DystaError: If it cannot be read, raises something itself, or has none of that name, or
            several without one.
    """
    path, wanted = in_file(name)
    where = f"policy {name!r}"
    try:
        with open_regular(path, f"{where}: the file") as file:
            source = file.read()
    except OSError as error:
        raise DystaError(f"{where}: the file cannot be read ({error.strerror})") from None
    module = _module(str(Path(path).absolute()), source, where)
    return replace(_chosen(module, wanted, where), name=name)


@lru_cache(maxsize=64)
def _module(path: str, source: bytes, where: str) -> ModuleType:
    """A file as a module, run once as long as it says the same.

    What Python keeps of a file's code is not asked: it goes by the second of its last change.
    """
    called = "dysta_gym_rule_" + hashlib.sha256(path.encode() + b"\0" + source).hexdigest()
    module = ModuleType(called)
    module.__file__ = path
    sys.modules[called] = module  # where dataclasses and pickle look
    try:
        exec(compile(source, path, "exec"), vars(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[called]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DystaError(
            f"{where}: the file cannot be run{_line(error, path)} ({reason})"
        ) from None
    return module


def _line(error: BaseException, path: str) -> str:
    """Where in the file an error arose."""
    at = error.lineno if isinstance(error, SyntaxError) else None
    within = error.__traceback__
    while within is not None:
        if within.tb_frame.f_code.co_filename == path:
            at = within.tb_lineno
        within = within.tb_next
    return f", line {at}" if at else ""


def _chosen(module: ModuleType, wanted: str | None, where: str) -> Policy:
    """The policy of this name in the module, or its only one.

    Raises:
        DystaError: If there is none.
    """
    own = {name: each for name, each in vars(module).items() if not name.startswith("_")}
    policies = {name: each for name, each in own.items() if isinstance(each, Policy)}
    functions = {
        name: each
        for name, each in own.items()
        if isinstance(each, FunctionType) and each.__module__ == module.__name__
    }
    if wanted is not None:
        if wanted not in own:
            choices = ", ".join([*policies, *functions]) or "none; the file defines nothing"
            raise DystaError(f"{where}: the file has no {wanted!r}; choose one of: {choices}")
        return _made(wanted, own[wanted], where)
    made_here = [each for each in policies.values() if each.score in functions.values()]
    if len(made_here) == 1 or (len(policies) == 1 and "score" not in own):
        return next(iter(made_here or policies.values()))
    if not made_here and "score" in own:
        return _made("score", own["score"], where)
    rules: dict[str, Any] = policies or {n: f for n, f in functions.items() if _is_rule(f)}
    if len(rules) == 1:
        return _made(*next(iter(rules.items())), where)
    if rules:
        raise DystaError(
            f"{where}: the file has {len(rules)} rules; add one of: :" + ", :".join(rules)
        )
    raise DystaError(
        f"{where}: the file has no rule; it must define a dysta_gym.Policy, or a function "
        f"score({', '.join(ARGUMENTS)})"
    )


def _made(name: str, given: Any, where: str) -> Policy:
    """What a file calls a rule, as a policy."""
    if isinstance(given, Policy):
        return given
    if not isinstance(given, FunctionType):
        raise DystaError(
            f"{where}: {name} is {shown(given)}; it must be a dysta_gym.Policy, or a plain "
            f"function {name}({', '.join(ARGUMENTS)}), written with def"
        )
    check_formula(where, given, ARGUMENTS)
    return Policy(name, given)


def _is_rule(function: FunctionType) -> bool:
    try:
        check_formula("", function, ARGUMENTS)
    except DystaError:
        return False
    return True
