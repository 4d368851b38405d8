"""Policies x scenarios x loads x seeds: one tidy table.

Every policy is run on the same workloads (common random numbers), so differences between policies
can be taken seed by seed (`dysta_gym.statistics`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dysta_gym.agent_files import Agent, agent_of
from dysta_gym.cores import threads, workers
from dysta_gym.errors import DystaError, shown
from dysta_gym.hindsight import BOUNDS, bounds_of
from dysta_gym.information import estimates
from dysta_gym.lazy import cached_property
from dysta_gym.machine.machine import Machine, Schedule
from dysta_gym.metrics import METRICS, measured, names, occurring
from dysta_gym.policies import Policy, find, split
from dysta_gym.policies import names as installed
from dysta_gym.provenance import KEY, Origin, provenance
from dysta_gym.signatures import takes
from dysta_gym.traces import reference_split
from dysta_gym.workloads import (
    LOADS,
    Scenario,
    Workload,
    arrival_rate,
    draws_nothing,
    generate,
    load_scenario,
    mean_isolated_s,
)

PAPER_POLICIES = ("fcfs", "sjf", "prema", "planaria", "sdrm3", "dysta", "dysta_oracle")
"""The seven schedulers of the published comparison (Sparse-DySta, MICRO'23, Table 5)."""

DYSTA_FORMS = ("dysta", "dysta-cycles", "dysta-rtl", "dysta-tuned")
"""As its artifact's Python has it, in clock cycles, as its hardware computes it, and tuned."""

TEXTBOOK_POLICIES = ("gittins", "slack-index", "moore-hodgson")
"""Rules without learning that know what the learned ones know: the least mean slowdown, both goals
in a line, and the fewest violations (docs/policies/index.md)."""

DEFAULT_POLICIES = (
    *PAPER_POLICIES,
    *(form for form in DYSTA_FORMS if form not in PAPER_POLICIES),
    *TEXTBOOK_POLICIES,
    "pareto",
    "evolved",
    "ppo",
    "dqn",
)
"""The published comparison, the strongest of what it left out, and the package's learned ones."""

DEFAULT_SCENARIOS = ("multi-attnn", "multi-cnn")

MOST_SEEDS = 100_000
"""So many, with a few policies, take hours."""

CELL = ["scenario", "load", "rate", "slo"]
"""Columns that say under which conditions a row was measured."""


def title(condition: Iterable[Any]) -> str:
    """A condition, by its values of the columns `CELL`, in words."""
    scenario, load, rate, slo = condition
    return f"{scenario}: load {load:.3g} ({rate:.4g} requests/s), SLO x {slo:g}"


@dataclass(frozen=True)
class Condition:
    """A scenario at one load or rate and one SLO multiplier."""

    scenario: Scenario
    split: str

    @cached_property
    def where(self) -> tuple[str, float, float, float]:
        """Its values of the columns `CELL`."""
        rate = arrival_rate(self.scenario, self.split)
        load = self.scenario.load or rate * mean_isolated_s(self.scenario, self.split)
        return self.scenario.name, load, rate, self.scenario.slo_multiplier


class Rows(NamedTuple):
    """One workload under every policy: metrics by name, and their values, a row a policy."""

    labels: tuple[str, ...]
    values: NDArray[np.float64]

    def with_bounds(self, workload: Workload, stop: Event | None = None) -> Rows:
        """With the bounds of the workload beside the metrics."""
        limits = bounds_of(workload, stop)
        beside = np.tile(list(limits.values()), (len(self.values), 1))
        return Rows((*self.labels, *limits), np.hstack([self.values, beside]))


Watch = Callable[["Cell", str, Schedule], None]
"""What looks at a schedule: that of a policy, by its name, on a workload."""


@dataclass(frozen=True)
class Cell:
    """One workload: a condition with one seed."""

    condition: Condition
    seed: int

    @property
    def scenario(self) -> Scenario:
        """The scenario, under the cell's condition."""
        return self.condition.scenario

    @property
    def split(self) -> str:
        """Inputs that its requests are drawn from."""
        return self.condition.split

    def workload(self) -> Workload:
        """The workload."""
        return generate(self.scenario, self.seed, split=self.split)

    def rows(
        self,
        policies: Mapping[str, Policy],
        stop: Event,
        *,
        bounds: bool = True,
        played: Sequence[Rows] = (),
        watch: Watch | None = None,
    ) -> Rows:
        """Run every policy, unless ``stop`` is set meanwhile, for then nobody waits for it.

        Args:
            policies: The policies by name.
            stop: Set when nobody waits any more.
            bounds: Whether to add the bounds.
            played: What agents reached, whose rows come after the policies'.
            watch: Shown every schedule of a policy.
        """
        workload = self.workload()
        priorities = np.unique(workload.priority)
        rows = []
        for name, policy in policies.items():
            machine = Machine(workload, policy.level)
            _run(machine, policy, name, stop)
            schedule = machine.schedule()
            rows.append(measured(schedule, priorities))
            if watch:
                watch(self, name, schedule)
        parts = [*played]
        if rows:
            labels = names(priorities, workload.store.models)
            there = occurring(rows[0])  # which depends on the workload alone
            parts.insert(0, Rows(tuple(labels[at] for at in there), np.array(rows)[:, there]))
        found = _stacked(parts)
        return found.with_bounds(workload, stop) if bounds else found


def _run(machine: Machine, policy: Policy, name: str, stop: Event) -> None:
    """Run a policy, and note at an error of its rule whose it is.

    Raises:
        DystaError: If the rule ends the program.
    """
    try:
        machine.run(policy, stop)
    except DystaError:
        raise
    except SystemExit as error:
        raise DystaError(f"policy {name!r}: its rule ends the program ({error})") from error
    except Exception as error:
        error.add_note(f"policy {name!r}: its rule raises an error")
        raise


def _stacked(parts: Sequence[Rows]) -> Rows:
    """Rows of one workload, of which all have the same metrics."""
    labels = parts[0].labels
    places = [[part.labels.index(label) for label in labels] for part in parts]
    return Rows(
        labels, np.vstack([each.values[:, at] for each, at in zip(parts, places, strict=True)])
    )


FIRST, LAST = ["policy", "antt", "violation_rate"], ["rate", "slo", "seed", "scenario", "load"]
"""The outer columns of a table, which are what is seen of a wide one: who, how well, and where."""


def _rank(column: str) -> int:
    """Where a column of a table belongs."""
    return 0 if column in METRICS else 1 if column in BOUNDS else 2


def in_order_of_conditions(results: pd.DataFrame) -> pd.DataFrame:
    """What `compare` returns, as files have it: with the conditions before the metrics."""
    keys = [*CELL, "policy", "seed"]
    metrics = sorted((each for each in map(str, results) if each not in keys), key=_place)
    return results[[*keys, *metrics]]


def _place(column: str) -> int:
    """Where a metric stands in files: the others stay behind these, in their order."""
    return list(METRICS).index(column) if column in METRICS else len(METRICS)


def table(
    cells: Sequence[Cell], policies: Sequence[str], parts: Sequence[Rows], origin: Mapping[str, Any]
) -> pd.DataFrame:
    """What `compare` returns: metrics, bounds, and metrics of classes as they first occur.

    Args:
        cells: The workloads.
        policies: The policies.
        parts: What they reached, a workload after another.
        origin: What all was made with and of, `dysta_gym.provenance.provenance`.
    """
    wheres, seeds = [cell.condition.where for cell in cells], [cell.seed for cell in cells]
    layouts = list(dict.fromkeys(part.labels for part in parts))
    return tabled(wheres, seeds, policies, parts, layouts, origin)


def tabled(
    wheres: Sequence[tuple[str, float, float, float]],
    seeds: Sequence[int],
    policies: Sequence[str],
    parts: Sequence[Rows],
    layouts: Sequence[tuple[str, ...]],
    origin: Mapping[str, Any],
) -> pd.DataFrame:
    """What `compare` returns.

    Args:
        wheres: The condition of each workload, by its values of the columns `CELL`.
        seeds: The seed of each.
        policies: Names of the policies.
        parts: What each workload gives.
        layouts: Labels that there may be, of which the columns are made as they first occur.
        origin: As of `table`.
    """
    columns = sorted(dict.fromkeys(chain.from_iterable(layouts)), key=_rank)
    places = {labels: [columns.index(name) for name in labels] for labels in layouts}
    values = np.full((len(parts), len(policies), len(columns)), np.nan)
    for part, rows in zip(parts, values, strict=True):
        rows[:, places[part.labels]] = part.values
    where = pd.DataFrame(
        [
            (*where, policy, seed)
            for where, seed in zip(wheres, seeds, strict=True)
            for policy in policies
        ],
        columns=[*CELL, "policy", "seed"],
    )
    metrics = pd.DataFrame(values.reshape(len(where), len(columns)), columns=columns)
    whole = pd.concat([where, metrics], axis=1)
    whole = whole[[*FIRST, *(name for name in whole if name not in {*FIRST, *LAST}), *LAST]]
    whole.attrs[KEY] = Origin(origin)
    return whole


def cells_of(
    scenarios: Sequence[str | Path | Mapping[str, Any] | Scenario] = DEFAULT_SCENARIOS,
    *,
    loads: Sequence[float | str] = (),
    rates: Sequence[float] = (),
    slos: Sequence[float] = (),
    seeds: Iterable[int] = range(5),
    requests: int | None = None,
    split: str = "test",
) -> list[Cell]:
    """The workloads of every scenario, load or rate, SLO multiplier and seed, in this order.

    Args:
        scenarios: Names, YAML files, mappings or `Scenario` objects.
        loads: Loads to run each scenario at, numbers or names of `dysta_gym.workloads.LOADS`;
            without loads and rates, the scenario's own.
        rates: Arrival rates in requests a second to run each scenario at.
        slos: SLO multipliers to run each scenario at; without any, the scenario's own.
        seeds: Seeds of the workloads.
        requests: Requests a workload; None for the scenario's own number.
        split: Inputs that requests are drawn from, ``train``, ``test`` or ``all``.

    Raises:
        DystaError: If an argument is not usable.
    """
    _lists(scenarios=scenarios, loads=loads, rates=rates, slos=slos, seeds=seeds)
    chosen = [load_scenario(source) for source in scenarios]
    seeds = list(islice(seeds, MOST_SEEDS + 1))
    if len(seeds) > MOST_SEEDS:
        raise DystaError(f"seeds: there are too many; give {MOST_SEEDS} or less")
    _some("scenario", chosen)
    _some("seeds", seeds)
    loads = [LOADS.get(load, load) if isinstance(load, str) else load for load in loads]
    _unique("scenario", [scenario.name for scenario in chosen])
    for name, values in (("load", loads), ("rate", rates), ("slo", slos), ("seed", seeds)):
        _unique(name, values)
    for scenario in chosen:
        check_seeds(scenario, len(seeds))
    if any(isinstance(seed, bool) or not isinstance(seed, int | np.integer) for seed in seeds):
        raise DystaError(f"seeds: {seeds} is not allowed; they must be whole numbers")
    offered: list[dict[str, Any]] = [{"load": load} for load in loads]
    offered += [{"rate": rate} for rate in rates]
    multipliers: Sequence[float | None] = slos or (None,)
    conditions = [
        Condition(scenario.varied(requests=requests, slo_multiplier=slo, **offer), split)
        for scenario, offer, slo in product(chosen, offered or [{}], multipliers)
    ]
    for name, load, rate, slo in Counter(each.where for each in conditions) - Counter(
        {each.where for each in conditions}
    ):
        raise DystaError(
            f"load, rate: scenario {name!r} at load {load:g} and SLO multiplier {slo:g} is given "
            f"more than once, for that is {rate:g} requests a second; give it once"
        )
    return [Cell(condition, seed) for condition, seed in product(conditions, seeds)]


def check_seeds(scenario: Scenario, count: int) -> None:
    """Raise a `DystaError` if so many seeds all give the same workload."""
    if count > 1 and draws_nothing(scenario):
        raise DystaError(
            f"seeds: {count} workloads of scenario {scenario.name!r} would be the same, "
            "for its requests are recorded; give 1"
        )


@takes(cells_of)
def compare(
    scenarios: Sequence[str | Path | Mapping[str, Any] | Scenario] = DEFAULT_SCENARIOS,
    policies: Sequence[str | Policy | Agent] = DEFAULT_POLICIES,
    *,
    jobs: int | None = None,
    bounds: bool = True,
    trust: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **workloads: Any,
) -> pd.DataFrame:
    """Run every policy on the same workloads of every scenario, load or rate, SLO and seed.

    Args:
        scenarios: Names, YAML files, mappings or `Scenario` objects.
        policies: Policies by name, or `Policy` objects, which are called by their ``spec``. A name
            may be that of a file with a trained model (``model.zip``), which is judged under what
            it was trained at, and called by its file and level; see `dysta_gym.agents.evaluate`.
        jobs: Workloads run at a time, None for one a core. The result does not depend on it.
            Models play theirs side by side, before all others, whatever it says.
        bounds: Whether to say, beside the metrics, what could be reached at all.
        trust: Read files of models whoever may have written them, for reading one runs code in it.
        progress: Called with workloads done and workloads in all, after each.
        **workloads: ``loads``, ``rates``, ``slos``, ``seeds``, ``requests`` and ``split``: which
            workloads, see `cells_of`.

    Returns:
        A row per scenario, load or rate, SLO multiplier, seed and policy, with the columns
        ``policy``, one a metric (see `dysta_gym.metrics.measure`), ``antt`` first, with bounds
        those of `dysta_gym.hindsight.BOUNDS`, and ``rate``, ``slo``, ``seed``, ``scenario``,
        ``load``. Load and rate both say at what load the row was measured. Its ``attrs`` say under
        ``provenance`` what it was made with and of: versions, date, digests of scenarios and
        traces (`dysta_gym.provenance.provenance`).

    Raises:
        DystaError: If an argument is not usable.
    """
    cells = cells_of(scenarios, **workloads)
    return run(cells, policies, jobs=jobs, bounds=bounds, trust=trust, progress=progress)


def run(
    cells: Sequence[Cell],
    policies: Sequence[str | Policy | Agent],
    *,
    jobs: int | None = None,
    bounds: bool = True,
    trust: bool = False,
    progress: Callable[[int, int], None] | None = None,
    watch: Watch | None = None,
) -> pd.DataFrame:
    """Run every policy on every workload; what `compare` returns.

    Args:
        cells: The workloads.
        policies: As of `compare`.
        jobs: As of `compare`.
        bounds: As of `compare`.
        trust: As of `compare`.
        progress: As of `compare`.
        watch: Called with each cell, the name of each policy and its schedule, from several threads
            at once and in no order, for what the metrics do not tell; an `Agent` has none.

    Raises:
        DystaError: If an argument is not usable.
    """
    lineup = Lineup.of(policies, trust=trust)
    origin = provenance(cell.scenario for cell in cells)
    done, total = 0, len(cells) * lineup.rounds

    def report() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    parts = lineup.play(cells, jobs=jobs, bounds=bounds, report=report, watch=watch)
    return table(cells, lineup.names, list(parts), origin)


@dataclass(frozen=True)
class Lineup:
    """What is run on the same workloads.

    Attributes:
        runs: Policies and agents, by the names that a table calls them.
    """

    runs: Mapping[str, Policy | Agent]

    @classmethod
    def of(cls, policies: Sequence[str | Policy | Agent], *, trust: bool = False) -> Lineup:
        """What `compare` is given, each by its name.

        Raises:
            DystaError: If one is not usable, there is none, or two have one name.
        """
        _lists(policies=policies)
        named = [_named(each, trust) for each in policies]
        _some("policy", named)
        _unique("policy", [name for name, _ in named])
        return cls(dict(named))

    @property
    def names(self) -> list[str]:
        """Their names, in the order of the rows of a workload."""
        return list(self.runs)

    @property
    def rounds(self) -> int:
        """How often each workload is worked on: once for all policies, and once an agent."""
        return 1 + sum(not isinstance(each, Policy) for each in self.runs.values())

    def play(
        self,
        cells: Sequence[Cell],
        *,
        jobs: int | None = None,
        bounds: bool = True,
        report: Callable[[], None] | None = None,
        watch: Watch | None = None,
    ) -> Iterator[Rows]:
        """Run all of them on each of the workloads.

        Args:
            cells: The workloads.
            jobs: As of `compare`.
            bounds: As of `compare`.
            report: Called `rounds` times a workload, as it is worked on.
            watch: As of `run`.

        Yields:
            What each workload gives, in their order.

        Raises:
            DystaError: If an argument is not usable.
        """
        at_a_time = workers(jobs)
        rules = {name: each for name, each in self.runs.items() if isinstance(each, Policy)}
        agents = {name: each for name, each in self.runs.items() if not isinstance(each, Policy)}
        # Where the row of each is, among those of a workload.
        order = [[*rules, *agents].index(name) for name in self.runs]
        used = dict.fromkeys((cell.scenario.store(), reference_split(cell.split)) for cell in cells)
        for (store, reference), policy in product(used, rules.values()):
            # Made once, before the workers share it.
            policy.compiled()
            estimates(store, policy.level, reference)
        played: list[list[Rows]] = [[] for _ in cells]
        for agent in agents.values():
            for at, rows in agent.play(cells):
                played[at].append(rows)
                if report:
                    report()
        with threads(at_a_time) as (each, stop):
            for part in each(
                lambda at: cells[at].rows(
                    rules, stop, bounds=bounds, played=played[at], watch=watch
                ),
                range(len(cells)),
            ):
                if report:
                    report()
                yield Rows(part.labels, part.values[order])


def _named(given: str | Policy | Agent, trust: bool) -> tuple[str, Policy | Agent]:
    """What a policy is called, and the policy."""
    if isinstance(given, Policy | Agent):
        return given.spec, given
    if not isinstance(given, str):
        raise DystaError(
            f"policy: {shown(given)} is not allowed; it must be a name, a file or a "
            "dysta_gym.Policy; a model in memory is for dysta_gym.agents.evaluate"
        )
    agent = agent_of(given, trust=trust)
    return (given, find(given)) if agent is None else (agent.spec, agent)


def references(policies: Sequence[str]) -> list[str]:
    """Of these policies, those that others are compared with unless somebody says otherwise.

    Dysta in all its forms (`DYSTA_FORMS`) that are among them, or else the first.
    """
    forms = {find(name).spec for name in DYSTA_FORMS}
    known = [name for name in policies if split(name)[0] in installed()]
    return [name for name in known if find(name).spec in forms] or list(policies[:1])


def _lists(**arguments: object) -> None:
    for field, given in arguments.items():
        if isinstance(given, str | Mapping | Scenario) or not isinstance(given, Iterable):
            raise DystaError(f"{field}: {given!r} is not allowed; it must be a list")


def _some(field: str, given: Sequence[object]) -> None:
    if not given:
        raise DystaError(f"{field}: there is none; at least one is needed")


def _unique(field: str, values: Sequence[object]) -> None:
    if all(isinstance(value, Hashable) for value in values) and len(set(values)) == len(values):
        return  # counting takes the square of their number
    for value in values:
        if values.count(value) > 1:
            raise DystaError(f"{field}: {value!r} is given more than once; give it once")
