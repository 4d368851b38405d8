"""What results were made with and of: versions, date, and digests of scenarios and traces."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import dysta_gym
from dysta_gym.dates import now
from dysta_gym.errors import DystaError
from dysta_gym.traces import WHOLE, TraceStore, shipped_traces
from dysta_gym.workloads import Scenario
from dysta_gym.workloads.scenario import TraceFile

KEY = "provenance"
"""Where a data frame's ``attrs`` have it."""

PACKAGES = ("numpy", "numba", "pandas", "scipy", "gymnasium")
"""Packages whose versions may show in the numbers."""

IN_ROWS = ("load", "rate", "slo_multiplier")
"""Fields of a scenario that every row of results says by itself."""

_WORDS = ("name", "description", "sources", "trace_dir")


class Origin(dict[str, Any]):
    """What results were made with and of, in the ``attrs`` of their data frames; not to be changed.

    Each step of pandas copies ``attrs`` deeply: copies are this very one, for it has a digest a
    scenario, of which a sweep has many. Pickled it is a `dict`.
    """

    def __deepcopy__(self, memo: object) -> Origin:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def provenance(
    scenarios: Iterable[Scenario], **files: Iterable[tuple[str, Path]]
) -> dict[str, Any]:
    """What results of some scenarios are made with and of, as JSON has it.

    Args:
        scenarios: The scenarios, each under all its conditions.
        **files: Names and paths of other files that are read, by what they are.

    Returns:
        ``version`` of this package, ``date`` (now, in UTC, as of ISO 8601; that of the environment
        variable SOURCE_DATE_EPOCH, in seconds since 1970, where it is set), ``packages`` (the
        versions of Python and `PACKAGES`), and SHA-256 digests by name: ``scenarios``
        (`scenario_digest`), ``traces`` (of their files), and those of ``files``. Of things that
        differ and are called alike, the later ones have a number after their name.

    Raises:
        DystaError: If a file cannot be read, or SOURCE_DATE_EPOCH is no number of seconds.
    """
    chosen = list({id(each): each for each in scenarios}.values())
    traces = dict.fromkeys(file for each in chosen for file in each.trace_files())
    return {
        "version": dysta_gym.__version__,
        "date": now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "packages": versions(),
        "scenarios": _named((each.name, scenario_digest(each)) for each in chosen),
        "traces": _named((file.name, trace_digest(file)) for file in traces),
        **{
            what: _named((name, file_digest(path)) for name, path in pairs)
            for what, pairs in files.items()
        },
    }


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, str], ...]:
    return tuple((name, version(name)) for name in PACKAGES)


def versions() -> dict[str, str]:
    """Versions of Python and of `PACKAGES`."""
    return {"Python": platform.python_version(), **dict(_installed())}


def _named(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Digests by name, each once."""
    found: dict[str, str] = {}
    for name, digest in pairs:
        called, number = name, 1
        while found.get(called, digest) != digest:
            number += 1
            called = f"{name} ({number})"
        found[called] = digest
    return found


def scenario_digest(scenario: Scenario) -> str:
    """64 hexadecimal digits of all that requests are drawn from, whatever the load and deadlines.

    They stand for its fields but for words and those `IN_ROWS`, for its traces as its accelerator
    charges them, and for what is recorded of its requests.

    Raises:
        DystaError: If a trace or a record of requests is absent or damaged.
    """
    said = scenario.model_dump(mode="json", exclude={*_WORDS, *IN_ROWS})
    said["arrivals"].pop("file", None)  # it is on another path elsewhere
    made = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    made.update(store_digest(scenario.store()))
    recorded = scenario.arrivals.recorded(scenario.store, scenario.requests)
    for name, values in sorted(recorded.items()):
        made.update(f"{name}{values.dtype.str}{values.shape}".encode())
        made.update(np.ascontiguousarray(values).tobytes())
    return made.hexdigest()


@lru_cache(maxsize=64)
def store_digest(store: TraceStore) -> bytes:
    """A digest of what a store holds."""
    made = hashlib.sha256()
    for trace in store.traces:
        made.update(repr((trace.name, trace.model)).encode())
        for field in fields(trace):
            value = getattr(trace, field.name)
            if isinstance(value, np.ndarray):
                made.update(f"{field.name}{value.dtype.str}{value.shape}".encode())
                made.update(np.ascontiguousarray(value).tobytes())
    return made.digest()


@lru_cache(maxsize=256)
def trace_digest(file: TraceFile) -> str:
    """The SHA-256 digest of a trace's file, as ``sha256sum`` has it."""
    path = file.path
    if path is None:
        files = shipped_traces()
        path = files.get(file.name) or files[file.name.removesuffix(WHOLE)]
    return file_digest(path)


def file_digest(path: Path) -> str:
    """The SHA-256 digest of a file, as ``sha256sum`` has it.

    Raises:
        DystaError: If it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DystaError(f"file {str(path)!r} cannot be read ({error.strerror})") from None
