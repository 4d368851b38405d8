"""What a sweep runs: a grid of scenarios, loads, deadlines, fields of scenarios and seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from dysta_gym.comparison import Cell, Condition, cells_of, check_seeds
from dysta_gym.configs import Positive, Strict, content_of, place_of, plain, told
from dysta_gym.errors import DystaError, shown
from dysta_gym.policies import expand, from_folder
from dysta_gym.tracks import Seeds
from dysta_gym.workloads import Scenario, load_scenario

OWN_OPTIONS = {"load": "loads", "rate": "rates", "slo_multiplier": "slos", "requests": "requests"}
"""Fields of a scenario that a sweep has an option for, and the option."""

MOST_CELLS, MOST_CONDITIONS = 10_000_000, 100_000
"""More than this is a slip of the pen."""

LONGEST_LABEL = 200
"""Characters of what a value of a field is called."""


class SweepSeeds(Seeds):
    """Seeds of the workloads of every condition.

    Attributes:
        first: The first of them.
        count: How many.
    """

    first: int = Field(default=0, ge=0, strict=True)
    count: int = Field(default=5, ge=1, le=100_000, strict=True)


class Sweep(Strict):
    """A grid; `load_sweep` makes one.

    Attributes:
        name: Its name.
        description: What it asks.
        scenarios: Names, YAML files, or the fields of a scenario.
        policies: Policies, as a command line has them.
        loads: Loads; without loads and rates, the scenarios' own.
        rates: Arrival rates in requests a second.
        slos: SLO multipliers; without any, the scenarios' own.
        vary: Values of other fields of a scenario, a list a field, or a mapping that gives each a
            name; ``decision_cost.fixed_s`` is a field of a field. Every combination is run.
        seeds: Seeds of the workloads of each condition.
        requests: Requests a workload; None for the scenarios' own number.
        split: Inputs that requests are drawn from.
        bounds: Whether to compute bounds, too.
    """

    name: str = ""
    description: str = ""
    scenarios: tuple[str | dict[str, Any], ...] = Field(min_length=1)
    policies: tuple[str, ...] = Field(min_length=1)
    loads: tuple[Positive | str, ...] = ()
    rates: tuple[Positive, ...] = ()
    slos: tuple[Positive, ...] = ()
    vary: dict[str, tuple[Any, ...] | dict[str, Any]] = Field(default_factory=dict)
    seeds: SweepSeeds = SweepSeeds()
    requests: int | None = Field(default=None, gt=0, strict=True)
    split: Literal["train", "test", "all"] = "test"
    bounds: bool = Field(default=True, strict=True)

    @pydantic.field_validator("vary")
    @classmethod
    def _fields_without_options(cls, vary: dict[str, Any]) -> dict[str, Any]:
        for field, values in vary.items():
            if field in OWN_OPTIONS:
                raise ValueError(f"{field}: it is not allowed; give {OWN_OPTIONS[field]}")
            if field.partition(".")[0] not in Scenario.model_fields or field == "name":
                choices = [
                    each
                    for each in Scenario.model_fields
                    if each not in {*OWN_OPTIONS, "name", "description", "sources"}
                ]
                raise ValueError(f"{field}: unknown; choose one of: {', '.join(choices)}")
            if not values:
                raise ValueError(f"{field}: there is no value; give at least one")
        return vary

    def grid(self, folder: Path | None = None) -> Grid:
        """Its workloads.

        Args:
            folder: Where the paths in it start; None for the current folder.

        Raises:
            DystaError: If something in it is not usable.
        """
        start = (folder or Path()).resolve()
        chosen = [
            load_scenario(_beside(start, each) if isinstance(each, str) else _placed(start, each))
            for each in self.scenarios
        ]
        seeds = range(self.seeds.first, self.seeds.first + self.seeds.count)
        count = len(chosen) * prod(map(len, self.vary.values()))
        count *= max(1, len(self.loads) + len(self.rates)) * max(1, len(self.slos))
        if count > MOST_CONDITIONS or count * len(seeds) > MOST_CELLS:
            raise DystaError(
                f"sweep {self.name!r}: it has {count} conditions and {count * len(seeds)} cells; "
                f"{MOST_CONDITIONS} and {MOST_CELLS} are allowed at most"
            )
        scenarios, where = [], {}
        for scenario, settings in product(chosen, self._settings()):
            changed = _changed(scenario, settings, start)
            check_seeds(changed, len(seeds))
            scenarios.append(changed)
            where[changed.name] = {field: label for field, (label, _) in settings.items()}
        cells = cells_of(
            scenarios, loads=self.loads, rates=self.rates, slos=self.slos, seeds=seeds[:1],
            requests=self.requests, split=self.split,
        )  # fmt: skip
        return Grid(tuple(cell.condition for cell in cells), tuple(seeds), where)

    def _settings(self) -> Iterator[dict[str, tuple[str, Any]]]:
        """Every combination of the fields that vary: of each, its label and its value."""
        named = [
            [(field, (label, value)) for label, value in _labelled(field, values)]
            for field, values in self.vary.items()
        ]
        return (dict(each) for each in product(*named))

    def specs(self, folder: Path | None = None) -> list[tuple[str, str]]:
        """Its policies by the names that tables call them, and where each is found.

        Args:
            folder: Where the paths in it start; None for the current folder.
        """
        start = (folder or Path()).resolve()
        return [(spec, from_folder(spec, start)) for each in self.policies for spec in expand(each)]


@dataclass(frozen=True)
class Grid:
    """Workloads: all seeds of each condition.

    Attributes:
        conditions: The conditions.
        seeds: The seeds.
        varied: By the name of a scenario, which of its fields are not its own, and their labels.
    """

    conditions: tuple[Condition, ...]
    seeds: tuple[int, ...]
    varied: Mapping[str, Mapping[str, str]]

    def __len__(self) -> int:
        return len(self.conditions) * len(self.seeds)

    def cell(self, at: int) -> Cell:
        """A workload by its number."""
        return Cell(self.conditions[at // len(self.seeds)], self.seeds[at % len(self.seeds)])

    def requests(self, at: int) -> int:
        """Requests of a workload."""
        return self.conditions[at // len(self.seeds)].scenario.requests

    def part(self, which: int, of: int) -> list[int]:
        """Numbers of the cells of a part, ``which`` from 1 on, of ``of`` parts.

        The cells of one seed after the other are dealt out in turn, beginning with another
        condition for the next seed: a cell stays in its part when there are more seeds, and the
        parts take about as long.
        """
        seeds, total = len(self.seeds), len(self.conditions)

        def turn(at: int) -> int:
            condition, seed = divmod(at, seeds)
            return seed * total + (condition + seed) % total

        return [at for at in range(len(self)) if turn(at) % of == which - 1]

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> Grid:
        """Of workloads that are all seeds of each condition, one after the other."""
        conditions = tuple(dict.fromkeys(id(cell.condition) for cell in cells))
        by_id = {id(cell.condition): cell.condition for cell in cells}
        seeds = tuple(dict.fromkeys(cell.seed for cell in cells))
        return cls(tuple(by_id[each] for each in conditions), seeds, {})


def _labelled(field: str, values: tuple[Any, ...] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    if isinstance(values, Mapping):
        found = [(str(label), value) for label, value in values.items()]
    else:
        found = [(_label(value), value) for value in values]
    for label, _ in found:
        if len(label) > LONGEST_LABEL:
            raise DystaError(
                f"vary.{field}: {shown(label)} is not allowed as a name; give a mapping of names "
                f"of at most {LONGEST_LABEL} characters to values"
            )
    return found


def _label(value: Any) -> str:
    """What a value is called; None not by what readers of CSV take for a value that is missing."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def _changed(scenario: Scenario, settings: Mapping[str, tuple[str, Any]], start: Path) -> Scenario:
    """The scenario with other fields, which its name says; their paths start from a folder.

    What is a field of a field is one of what that has become.
    """
    if not settings:
        return scenario
    content = scenario.model_dump()
    fields: dict[str, Any] = {}
    for path, (_, value) in sorted(settings.items(), key=lambda each: each[0].count(".")):
        field, *below = path.split(".")
        if not below:
            fields[field] = value
            continue
        whole = plain(fields.get(field, content[field]))
        if isinstance(whole, str) and field == "accelerator":
            whole = {"model": whole}
        if not isinstance(whole, dict):
            raise DystaError(
                f"vary.{path}: {field} of scenario {scenario.name!r} is {shown(whole)}, which has "
                "no fields; give it whole"
            )
        *inner, last = below
        part: Any = whole
        for each in inner:
            part = part.setdefault(each, {})
            if not isinstance(part, dict):
                raise DystaError(
                    f"vary.{path}: {each} of scenario {scenario.name!r} is {shown(part)}, which "
                    "has no fields; give it whole"
                )
        part[last] = value
        fields[field] = whole
    said = ",".join(f"{field}={label}" for field, (label, _) in settings.items())
    return scenario.replaced(**_placed(start, fields), name=f"{scenario.name}:{said}")


def _beside(folder: Path, name: str) -> str:
    """A file that a sweep names, from its own folder."""
    return str(folder / name) if name.endswith((".yaml", ".yml")) else name


def _placed(folder: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a scenario, of which the paths start from a folder."""
    found = dict(fields)
    if isinstance(found.get("trace_dir"), str):
        found["trace_dir"] = str(folder / found["trace_dir"])
    arrivals = found.get("arrivals")
    if isinstance(arrivals, Mapping) and isinstance(arrivals.get("file"), str):
        found["arrivals"] = {**arrivals, "file": str(folder / arrivals["file"])}
    return found


def load_sweep(source: str | Path | Mapping[str, Any] | Sweep) -> tuple[Sweep, Path | None]:
    """A sweep from a YAML file or a mapping, and the folder that paths in it start from.

    Raises:
        DystaError: If there is no such file, or a field is missing, unknown or not allowed.
    """
    if isinstance(source, Sweep):
        return source, None
    content, where, folder = content_of(source, "sweep", {})
    try:
        return Sweep.model_validate(dict(content)), folder
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        raise DystaError(
            f"{where}: {_kind_told(fault) or told(fault, place_of(fault), Sweep, '', (), '')}"
        ) from None


_KINDS = {
    "scenarios": (
        "a list of scenarios, like [multi-attnn]",
        "a name, a YAML file, or a mapping of a scenario's fields",
    ),
    "policies": ("a list of policies, like [fcfs, dysta]", "a text, like dysta"),
    "loads": ("a list of loads, like [0.8, 1.05]", "a number above 0"),
    "rates": ("a list of requests a second, like [50, 100]", "a number above 0"),
    "slos": ("a list of SLO multipliers, like [5, 10]", "a number above 0"),
    "vary": (
        "a mapping of fields to lists of values, like {queue_limit: [16, 64]}",
        "a list of values, like [16, 64], or a mapping of names to values",
    ),
    "seeds": ("a mapping, like {first: 0, count: 20}", "a whole number"),
    "requests": ("a whole number", ""),
    "bounds": ("true or false", ""),
    "name": ("a text", ""),
    "description": ("a text", ""),
}
"""What a field of a sweep is to be, and what each of its parts."""


def _kind_told(fault: Mapping[str, Any]) -> str | None:
    """A fault that pydantic found in the kind of a value, as the file has it; None of another."""
    place = [str(part) for part in fault["loc"][:2]]  # what stands behind is pydantic's
    if not place or place[0] not in _KINDS or len(fault["loc"]) > 3:
        return None
    if not (fault["type"].endswith(("_type", "_from_float")) or fault["type"] == "too_short"):
        return None
    right = _KINDS[place[0]][len(place) - 1]
    if place[0] == "vary" and fault["loc"][-1] == "[key]":
        right = "the name of a field"
    return f"{'.'.join(place)}: {shown(fault['input'])} is not allowed; it must be {right}"
