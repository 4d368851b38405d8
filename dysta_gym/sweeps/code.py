"""Whether the code that a sweep runs is still the same: a digest of a package's Python files."""

from __future__ import annotations

import hashlib
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from dysta_gym.plugins import entries
from dysta_gym.policies import ENTRY_POINTS, OVER_ENTRY_POINTS, Policy, split

OWN = "dysta_gym"

_ROOMS = ("agents", "baselines", "envs")
"""Rooms of this package that a checkout has beside it."""

_ELSEWHERE = ("cli", "profiling", "report", "reproduction", "timeline")
"""Rooms in which nothing decides on a number of a sweep."""


def code_of(policy: Policy) -> str:
    """Of a policy of another package, a digest of that package's Python files; else empty.

    What is in a file travels and is compared by itself, and what is in this package goes for all.
    """
    found = _found_in(split(policy.name)[0])
    for part in (policy.score, policy.index, policy.drift, policy.effort):
        plain = getattr(part, "py_func", part)
        found.add(str(getattr(plain, "__module__", None) or type(plain).__module__))
    tops = {name.partition(".")[0] for name in found} - {OWN, "builtins"}
    others = sorted(top for top in tops if top not in sys.stdlib_module_names)
    return " ".join(filter(None, map(package_digest, others)))


def _found_in(name: str) -> set[str]:
    """The modules of packages that a policy, and what it is wrapped in, are found in."""
    entry = entries(ENTRY_POINTS).get(name)
    if entry:
        return {entry.module}
    first, _, base = name.partition("-")
    over = entries(OVER_ENTRY_POINTS).get(first)
    return {over.module, *_found_in(base)} if over and base else set()


@lru_cache(maxsize=256)
def package_digest(package: str) -> str:
    """Sixteen hexadecimal digits of the Python files of a package; empty if it has none."""
    files: dict[str, Path] = {}
    for name in (package, *(f"{OWN}.{room}" for room in _ROOMS if package == OWN)):
        below = name.partition(".")[2]
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):  # of a module that is made as one goes
            spec = None
        if spec is None:
            continue
        if spec.submodule_search_locations is None:
            files[""] = Path(spec.origin or "")
        for place in spec.submodule_search_locations or ():
            for path in Path(place).rglob("*.py"):
                within = path.relative_to(place)
                if package != OWN or below or within.parts[0] not in _ELSEWHERE:
                    files[Path(below, within).as_posix()] = path
    made = hashlib.sha256()
    for name, path in sorted(files.items()):
        if path.is_file():
            made.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return made.hexdigest()[:16] if files else ""
