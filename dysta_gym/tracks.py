"""Tracks: fixed lists of conditions that schedulers are judged under.

A track says which scenarios at which loads, deadlines and seeds make a claim comparable: all run
the same workloads, and a digest says whether they are still the same. Its seeds are nobody's:
no training, tuning or choice uses them, and `docs/looks.csv` says when they were looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pydantic
from pydantic import Field

from dysta_gym.agent_files import Agent
from dysta_gym.comparison import Cell, Condition, run
from dysta_gym.configs import Positive, Strict, content_of, place_of, told
from dysta_gym.errors import DystaError, one_of
from dysta_gym.files import packaged
from dysta_gym.policies import Policy
from dysta_gym.provenance import KEY, provenance, store_digest
from dysta_gym.workloads import Scenario, load_scenario

FIRST_SEED = 5_000
"""Of every track: what is below was looked at while rules and pages were made."""


MOST_CONDITIONS = 1_000
"""Of a block, and of a track; the shipped ones have a hundred."""


class Seeds(Strict):
    """Seeds of the workloads of every condition.

    Attributes:
        first: The first of them.
        count: How many.
    """

    first: int = Field(default=FIRST_SEED, ge=0, strict=True)
    count: int = Field(default=20, ge=1, le=1_000, strict=True)


class Block(Strict):
    """Scenarios at every one of some loads and deadlines.

    Attributes:
        scenarios: Names, or the fields of a scenario.
        changes: Fields of a scenario that each is run with instead of its own.
        suffix: What is put behind the names of the changed ones.
        loads: Loads; without any, the scenario's own load or rate.
        slos: SLO multipliers, ``own`` for the scenario's; without any, its own.
    """

    scenarios: tuple[str | dict[str, Any], ...] = Field(min_length=1)
    changes: dict[str, Any] = Field(default_factory=dict)
    suffix: str = ""
    loads: tuple[Positive | str, ...] = ()
    slos: tuple[Positive | Literal["own"], ...] = ()

    @pydantic.model_validator(mode="after")
    def _changed_ones_have_other_names(self) -> Block:
        if bool(self.suffix) != bool(self.changes):
            raise ValueError("changes, suffix: one of them is given without the other; give both")
        if "name" in self.changes:
            raise ValueError("changes.name: it is not allowed; give a suffix")
        return self

    def varied(self) -> list[Scenario]:
        """The scenarios under its conditions, each once.

        Raises:
            DystaError: If there is no such scenario, or a field is not allowed.
        """
        count = len(self.scenarios) * max(1, len(self.loads)) * max(1, len(self.slos))
        if count > MOST_CONDITIONS:
            raise DystaError(
                f"blocks: one has {count} conditions; {MOST_CONDITIONS} are allowed at most"
            )
        found = [self._changed(load_scenario(source)) for source in self.scenarios]
        listed = [
            scenario.varied(load=load, slo_multiplier=None if isinstance(slo, str) else slo)
            for scenario, load, slo in product(found, self.loads or [None], self.slos or ["own"])
        ]
        return [each for at, each in enumerate(listed) if each not in listed[:at]]

    def _changed(self, scenario: Scenario) -> Scenario:
        if not self.changes:
            return scenario
        return scenario.replaced(**self.changes, name=scenario.name + self.suffix)


class Track(Strict):
    """A list of conditions, and the seeds of their workloads; `load_track` makes one.

    Attributes:
        name: Its name.
        description: What it asks.
        seeds: Seeds of the workloads of each condition.
        split: Inputs that requests are drawn from.
        blocks: What is run.
    """

    name: str
    description: str = ""
    seeds: Seeds = Seeds()
    split: Literal["train", "test", "all"] = "test"
    blocks: tuple[Block, ...] = Field(min_length=1)

    def conditions(self) -> list[Condition]:
        """Its conditions, block after block.

        Raises:
            DystaError: If a scenario is not usable, or two conditions are the same.
        """
        found: list[Condition] = []
        for block in self.blocks:
            found += [Condition(scenario, self.split) for scenario in block.varied()]
            if len(found) > MOST_CONDITIONS:
                raise DystaError(
                    f"track {self.name!r}: it has more than {MOST_CONDITIONS} conditions"
                )
        wheres = [condition.where for condition in found]
        for where in wheres:
            if wheres.count(where) > 1:
                name, load, _, slo = where
                raise DystaError(
                    f"track {self.name!r}: scenario {name!r} at load {load:g} and SLO multiplier "
                    f"{slo:g} is there more than once; give it once"
                )
        return found

    def cells(self, conditions: Sequence[Condition] | None = None) -> list[Cell]:
        """The workloads of its conditions, or of some of them, all seeds of each together."""
        first, count = self.seeds.first, self.seeds.count
        chosen = self.conditions() if conditions is None else conditions
        return [Cell(each, seed) for each, seed in product(chosen, range(first, first + count))]


def shipped_tracks() -> dict[str, Path]:
    """Name and file of every track in the package, sorted by name."""
    return {path.stem: path for path in sorted(packaged("tracks").glob("*.yaml"))}


def load_track(source: str | Path | Mapping[str, Any] | Track) -> Track:
    """A track by name, from a YAML file, or from a mapping of its fields.

    Raises:
        DystaError: If there is none of that name, or a field is missing, unknown or not allowed.
    """
    if isinstance(source, Track):
        return source
    content, where, _ = content_of(source, "track", shipped_tracks())
    try:
        return Track.model_validate(dict(content))
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        raise DystaError(
            f"{where}: {told(fault, place_of(fault), Track, '', (), '{first: 5000}')}"
        ) from None


def shipped_track(name: str) -> Track:
    """A track in the package.

    Raises:
        DystaError: If there is none of that name.
    """
    if name not in shipped_tracks():
        raise one_of("track", name, shipped_tracks())
    return load_track(name)


def digest(condition: Condition, seeds: Seeds) -> str:
    """Twelve hexadecimal digits of what is run under a condition.

    They stand for the scenario, its traces, the seeds, and the requests of the first of them.
    """
    told_of = ("name", "description", "sources", "trace_dir", "traces", "accelerator", "speed")
    scenario = condition.scenario.model_dump(mode="json", exclude=set(told_of))
    scenario["arrivals"].pop("file", None)  # it is on another path elsewhere
    seen = [scenario, list(condition.scenario.traces.values()), condition.split]
    made = hashlib.sha256(json.dumps([*seen, seeds.model_dump()], sort_keys=True).encode())
    made.update(store_digest(condition.scenario.store()))
    first = Cell(condition, seeds.first).workload()
    for column in (first.arrival_s, first.trace, first.row, first.priority, first.deadline_s):
        made.update(np.ascontiguousarray(column).tobytes())
    return made.hexdigest()[:12]


def compare_on(
    tracks: Sequence[str | Path | Mapping[str, Any] | Track],
    policies: Sequence[str | Policy | Agent],
    *,
    jobs: int | None = None,
    bounds: bool = True,
    trust: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Run every policy on the workloads of tracks, as `dysta_gym.compare` does on its own.

    Args:
        tracks: Names, YAML files, mappings or `Track` objects.
        policies: As of `dysta_gym.compare`.
        jobs: As of `dysta_gym.compare`.
        bounds: As of `dysta_gym.compare`.
        trust: As of `dysta_gym.compare`.
        progress: As of `dysta_gym.compare`.

    Returns:
        The columns of `dysta_gym.compare`, after a column ``track``.

    Raises:
        DystaError: If an argument is not usable.
    """
    parts = []
    chosen = [(track, track.conditions()) for track in map(load_track, tracks)]
    origin = provenance(each.scenario for _, conditions in chosen for each in conditions)
    for track, _, part in run_on(
        chosen, policies, jobs=jobs, bounds=bounds, trust=trust, progress=progress
    ):
        part.insert(0, "track", track.name)
        parts.append(part)
    if not parts:
        raise DystaError("tracks: there is none; at least one is needed")
    together = pd.concat(parts, ignore_index=True)
    together.attrs[KEY] = origin
    return together


def run_on(
    chosen: Sequence[tuple[Track, Sequence[Condition]]],
    policies: Sequence[str | Policy | Agent],
    *,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Iterator[tuple[Track, Sequence[Condition], pd.DataFrame]]:
    """Run policies under some conditions of tracks, track after track.

    Args:
        chosen: The tracks, and which of their conditions.
        policies: As of `dysta_gym.compare`.
        progress: As of `dysta_gym.compare`, of all tracks together.
        **options: ``jobs``, ``bounds`` and ``trust``, as of `dysta_gym.compare`.

    Yields:
        Each track, its conditions, and what `dysta_gym.comparison.run` returns of them.

    Raises:
        DystaError: If an argument is not usable.
    """
    cells = [track.cells(conditions) for track, conditions in chosen]
    total, done = sum(map(len, cells)), 0
    for (track, conditions), own in zip(chosen, cells, strict=True):

        def report(now: int, of: int, before: int = done, here: int = len(own)) -> None:
            if progress:
                times = of // here  # models play each workload beside what rules do
                progress(times * before + now, times * total)

        yield track, conditions, run(own, policies, progress=report, **options)
        done += len(own)
