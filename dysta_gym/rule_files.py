"""Rules in Python files: ``--policy mine.py``, or ``mine.py:NAME`` where there are several.

A file holds `dysta_gym.Policy` objects, or functions as `dysta_gym.Policy.score` says. Reading it
runs it, as Python's import does. It may import modules that lie beside it, where no other of that
name is installed; each file has them for itself.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from dysta_gym.errors import DystaError, shown
from dysta_gym.files import is_file, open_regular
from dysta_gym.plugins import check_formula
from dysta_gym.policies import Policy, in_file
from dysta_gym.sources import Source, given, note, noting

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
    source = given(path)
    try:
        if source is None:
            with open_regular(path, f"{where}: the file") as file:
                content = file.read()
            full = str(Path(path).absolute())
            source = Source(path, full, content, tuple(_modules(full, content).items()))
    except OSError as error:
        raise DystaError(f"{where}: the file cannot be read ({error.strerror})") from None
    except ValueError as error:  # of a name that none can have
        raise DystaError(f"{where}: the file cannot be read ({error})") from None
    module, read = _module(source, where)
    if any(map(_differs, read)):
        _module.cache_clear()
        module, read = _module(source, where)
    for each in (source, *read):
        note(each)
    return replace(_chosen(module, wanted, where), name=name)


@lru_cache(maxsize=64)
def _module(source: Source, where: str) -> tuple[ModuleType, list[Source]]:
    """A file as a module, run once as long as it says the same, and the files that it reads itself.

    The latter are those of policies that it finds, which may change while it says the same. What
    Python keeps of a file's code is not asked: it goes by the second of its last change.
    """
    path = source.path
    made = hashlib.sha256(path.encode() + b"\0" + source.content)
    for name, content in source.beside:
        made.update(f"\0{name}\0".encode() + content)
    called = "dysta_gym_rule_" + made.hexdigest()
    module = ModuleType(called)
    module.__file__ = path
    sys.modules[called] = module  # where dataclasses and pickle look
    try:
        with _importing(source), noting() as read:
            exec(compile(source.content, path, "exec"), vars(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[called]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DystaError(
            f"{where}: the file cannot be run{_line(error, path)} ({reason})"
        ) from None
    return module, read


def _differs(source: Source) -> bool:
    """Whether a file that a rule has read is not what it was."""
    now = given(source.name)
    try:
        content = now.content if now else Path(source.name).read_bytes()
    except OSError:
        return True
    return content != source.content


# --- modules beside a file -----------------------------------------------------------------------


def _modules(path: str, content: bytes) -> dict[str, bytes]:
    """Files of the modules that a file imports from its folder, and those that they import.

    Of a package, all of its files, also where it is a folder without ``__init__.py``; what is
    imported by a name that is computed is not seen.

    Raises:
        OSError: If one cannot be read.
    """
    folder = Path(path).parent
    found: dict[str, bytes] = {}
    unseen = [content]
    while unseen:
        for name in sorted(_imported(unseen.pop())):
            package, module = folder / name, folder / f"{name}.py"
            files = [module] if is_file(module) else []
            if is_file(package / "__init__.py") or not files:
                files = [each for each in sorted(package.rglob("*.py")) if is_file(each)]
            if not files or str(files[0]) == path or not _lies_in(folder, name):
                continue
            for each in files:
                key = each.relative_to(folder).as_posix()
                if key not in found:
                    found[key] = each.read_bytes()
                    unseen.append(found[key])
    return dict(sorted(found.items()))


def _imported(content: bytes) -> set[str]:
    """The modules that some code names to import, without what is below them."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # which is said when it is run
    found = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    found |= {
        node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }
    return {name.partition(".")[0] for name in found}


def _lies_in(folder: Path, name: str) -> bool:
    """Whether a module of a folder is what its name stands for: no other is installed."""
    if name in sys.stdlib_module_names:
        return False
    try:
        there = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return True
    if there is None:
        return True
    places = [there.origin] if there.origin else there.submodule_search_locations or []
    return bool(places) and all(folder in Path(each).absolute().parents for each in places)


class _Beside(MetaPathFinder, Loader):
    """Imports the modules beside a file, from what was in them."""

    def __init__(self, source: Source) -> None:
        self._folder = Path(source.path).parent
        self._content: dict[str, tuple[str, bytes]] = {}
        folders = set[str]()
        for file, content in source.beside:
            name = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            self._content[name] = file, content
            folders |= {str(each).replace(os.sep, ".") for each in Path(file).parents[:-1]}
        self._bare = folders - {*self._content}  # without an __init__.py

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self._bare:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(self._folder.joinpath(*fullname.split(".")))]
            return spec
        if fullname not in self._content:
            return None
        file = self._folder / self._content[fullname][0]
        return importlib.util.spec_from_file_location(
            fullname,
            file,
            loader=self,
            submodule_search_locations=[str(file.parent)] if file.stem == "__init__" else None,
        )

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._content[module.__name__][1], str(module.__file__), "exec"), vars(module))

    def holds(self, name: str) -> bool:
        return name.partition(".")[0] in {*self._content, *self._bare}


@contextmanager
def _importing(source: Source) -> Iterator[None]:
    """A context in which the modules beside a file are found, as they were, and no others so."""
    if not source.beside:
        yield
        return
    finder = _Beside(source)
    hidden = {name: sys.modules.pop(name) for name in [*sys.modules] if finder.holds(name)}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in filter(finder.holds, [*sys.modules]):
            del sys.modules[name]
        sys.modules.update(hidden)


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
