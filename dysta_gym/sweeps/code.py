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


def own_folders() -> dict[str, Path]:
    """Folders of this package, by where they are in it once it is installed.

    Some a checkout has beside it.
    """
    rooms = {room: f"{OWN}.{room}" for room in ("agents", "baselines", "envs")}
    return {below: place for below, name in {"": OWN, **rooms}.items() for place in _places(name)}


def _places(package: str) -> list[Path]:
    """The folder of a package, or the file of a module; none of what is made as one goes."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return []
    return [*map(Path, spec.submodule_search_locations or (spec.origin or "",))]


@lru_cache(maxsize=256)
def package_digest(package: str) -> str:
    """Sixteen hexadecimal digits of the Python files of a package; empty if it has none."""
    own = package == OWN
    places = own_folders().items() if own else [("", place) for place in _places(package)]
    files: dict[str, Path] = {}
    for below, place in places:
        for path in place.rglob("*.py") if place.is_dir() else [place]:
            within = Path(below, path.relative_to(place))
            if not own or within.parts[0] not in _ELSEWHERE:
                files[within.as_posix()] = path
    made = hashlib.sha256()
    for name, path in sorted(files.items()):
        if path.is_file():
            made.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return made.hexdigest()[:16] if files else ""
