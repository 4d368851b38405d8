"""Policies x scenarios x loads x seeds: one tidy table.

Every policy is run on the same workloads (common random numbers), so differences between policies
can be taken seed by seed (`dysta_gym.statistics`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd

from dysta_gym.errors import DystaError
from dysta_gym.information import estimates
from dysta_gym.metrics import measure, workload_bounds
from dysta_gym.policies import Policy, find
from dysta_gym.simulator import simulate
from dysta_gym.traces import reference_split
from dysta_gym.workloads import (
    LOADS,
    Scenario,
    arrival_rate,
    draws_nothing,
    generate,
    load_scenario,
    mean_isolated_s,
)

PAPER_POLICIES = ("fcfs", "sjf", "prema", "planaria", "sdrm3", "dysta", "dysta_oracle")
"""The seven schedulers of the published comparison (Sparse-DySta, MICRO'23, Table 5)."""

DEFAULT_SCENARIOS = ("multi-attnn", "multi-cnn")

CELL = ["scenario", "load", "rate", "slo"]
"""Columns that say under which conditions a row was measured."""


@dataclass(frozen=True)
class _Cell:
    """One workload: a scenario at one load and SLO multiplier with one seed."""

    scenario: Scenario
    seed: int
    split: str

    def rows(self, policies: Mapping[str, Policy], stop: Event) -> list[dict[str, Any]]:
        """A row a policy; none for those that are left when ``stop`` is set."""
        workload = generate(self.scenario, self.seed, split=self.split)
        bounds = workload_bounds(workload)
        rate = arrival_rate(self.scenario, self.split)
        load = self.scenario.load or rate * mean_isolated_s(self.scenario, self.split)
        where = {
            "scenario": self.scenario.name,
            "load": load,
            "rate": rate,
            "slo": self.scenario.slo_multiplier,
            "seed": self.seed,
        }
        return [
            {**where, "policy": name, **measure(simulate(workload, policy), bounds)}
            for name, policy in policies.items()
            if not stop.is_set()
        ]


def compare(
    scenarios: Sequence[str | Path | Mapping[str, Any] | Scenario] = DEFAULT_SCENARIOS,
    policies: Sequence[str | Policy] = PAPER_POLICIES,
    *,
    loads: Sequence[float | str] = (),
    rates: Sequence[float] = (),
    slos: Sequence[float] = (),
    seeds: Iterable[int] = range(5),
    requests: int | None = None,
    split: str = "test",
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Run every policy on the same workloads of every scenario, load or rate, SLO and seed.

    Args:
        scenarios: Names, YAML files, mappings or `Scenario` objects.
        policies: Policies by name, or `Policy` objects, which are called by their ``spec``.
        loads: Loads to run each scenario at, numbers or names of `dysta_gym.workloads.LOADS`;
            without loads and rates, the scenario's own.
        rates: Arrival rates in requests a second to run each scenario at.
        slos: SLO multipliers to run each scenario at; without any, the scenario's own.
        seeds: Seeds of the workloads.
        requests: Requests a workload; None for the scenario's own number.
        split: Inputs that requests are drawn from, ``train``, ``test`` or ``all``.
        jobs: Workloads run at a time, None for one a core. The result does not depend on it.
        progress: Called with workloads done and workloads in all, after each.

    Returns:
        A row per scenario, load or rate, SLO multiplier, seed and policy, with the columns
        ``scenario``, ``load``, ``rate``, ``slo``, ``policy``, ``seed`` and one a metric (see
        `dysta_gym.metrics.measure`). Load and rate both say at what load the row was measured.

    Raises:
        DystaError: If an argument is not usable.
    """
    chosen = [load_scenario(source) for source in scenarios]
    _unique("scenario", [scenario.name for scenario in chosen])
    named = [(p.spec, p) if isinstance(p, Policy) else (p, find(p)) for p in policies]
    _unique("policy", [name for name, _ in named])
    seeds = list(seeds)
    loads = [LOADS.get(load, load) if isinstance(load, str) else load for load in loads]
    for name, values in (("load", loads), ("rate", rates), ("slo", slos), ("seed", seeds)):
        _unique(name, values)
    for name, given in (("scenario", chosen), ("policy", named), ("seeds", seeds)):
        if not given:
            raise DystaError(f"{name}: there is none; at least one is needed")
    for scenario in chosen:
        if len(seeds) > 1 and draws_nothing(scenario):
            raise DystaError(
                f"seeds: {len(seeds)} workloads of scenario {scenario.name!r} would be the same, "
                "for its requests are recorded; give 1"
            )
    if any(isinstance(seed, bool) or not isinstance(seed, int | np.integer) for seed in seeds):
        raise DystaError(f"seeds: {seeds} is not allowed; they must be whole numbers")
    if jobs is not None and jobs < 1:
        raise DystaError(f"jobs: {jobs} is not allowed; it must be 1 or more")
    offered: list[dict[str, Any]] = [{"load": load} for load in loads]
    offered += [{"rate": rate} for rate in rates]
    multipliers: Sequence[float | None] = slos or (None,)
    cells = [
        _Cell(scenario.varied(requests=requests, slo_multiplier=slo, **offer), seed, split)
        for scenario, offer, slo, seed in product(chosen, offered or [{}], multipliers, seeds)
    ]
    by_name = dict(named)
    for scenario, policy in product(chosen, by_name.values()):
        # Made once, before the workers share it.
        policy.compiled()
        estimates(scenario.store(), policy.level, reference_split(split))
    rows: list[dict[str, Any]] = []
    stop = Event()
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        try:
            for done, part in enumerate(pool.map(lambda cell: cell.rows(by_name, stop), cells), 1):
                rows += part
                if progress:
                    progress(done, len(cells))
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    frame = pd.DataFrame(rows)
    first = [*CELL, "policy", "seed"]
    return frame[[*first, *(name for name in frame.columns if name not in first)]]


def _unique(field: str, values: Sequence[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise DystaError(f"{field}: {value!r} is given more than once; give it once")
