"""What training, choosing and reporting stand on: which workloads, and what counts.

Nothing is shared between the three. Training draws requests from the traces' `train` inputs, with
seeds from `TRAINING` on, others for each run; of what training meets, the checkpoint is chosen on
`train` inputs with the seeds from `VALIDATION` on; what is reported is measured on `test` inputs,
on the tracks (`dysta_gym.tracks`), or with seeds from 0 on where pages only illustrate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.agents.distribution import Mix, mixes
from dysta_gym.agents.recipes import Workloads
from dysta_gym.bounds import antt_lower_bound, violation_rate_lower_bound
from dysta_gym.comparison import Condition
from dysta_gym.cores import cores, threads
from dysta_gym.lazy import cached_property
from dysta_gym.machine.machine import Machine
from dysta_gym.metrics import violations_and_antt
from dysta_gym.policies import Policy, find
from dysta_gym.sealing import opened
from dysta_gym.workloads import Scenario, Workload, generate, load_scenario

Floats = NDArray[np.float64]

TRAINING, VALIDATION = 10_000, 1_000
"""First seeds."""

PER_RUN = 1_000_000
"""Training seeds that a run has for itself."""

REFERENCE = "dysta"


def conditions(workloads: Workloads, first: int = TRAINING) -> list[Scenario] | list[Mix]:
    """The conditions of a recipe: each scenario at each load, or random mixes.

    Args:
        workloads: The recipe's.
        first: First seed of those that are to run: it has random mixes of its own.
    """
    if workloads.distribution == "random":
        return mixes(workloads.mixes, first, workloads.frames, workloads.uncertain)
    return [
        load_scenario(name).varied(
            load=load, slo_multiplier=workloads.slo_multiplier, requests=workloads.requests
        )
        for name in workloads.scenarios
        for load in workloads.loads
    ]


def deployments(workloads: Workloads, run: int) -> list[Scenario]:
    """The conditions of a run as scenarios, for its environments."""
    first = training_seed(run)
    return [
        condition.deployment(first) if isinstance(condition, Mix) else condition
        for condition in conditions(workloads, first)
    ]


def training_seed(run: int) -> int:
    """First training seed of a run."""
    return TRAINING + PER_RUN * run


def training_bench(workloads: Workloads, run: int, pool: int, reference: str = REFERENCE) -> Bench:
    """So many training workloads a condition, with the first training seeds of a run."""
    return bench(workloads, training_seed(run), pool, reference)


def deployed_bench(workloads: Workloads, run: int, pool: int, reference: str) -> Bench:
    """As `training_bench`, of what the environments of a run have."""
    first = training_seed(run)
    return Bench(deployments(workloads, run), range(first, first + pool), reference)


def bench(workloads: Workloads, first: int, count: int, reference: str = REFERENCE) -> Bench:
    """So many workloads a condition, with seeds from the first on."""
    return Bench(conditions(workloads, first), range(first, first + count), reference)


class Bench:
    """Workloads of some conditions, and what the reference makes of them.

    Attributes:
        conditions: The conditions.
        seeds: Seeds of the workloads of each.
        workloads: The workloads, ``[condition][seed]``.
        against: Name of the reference.
    """

    def __init__(
        self,
        conditions: Sequence[Scenario | Mix],
        seeds: Sequence[int],
        against: str = REFERENCE,
    ) -> None:
        self.conditions, self.seeds, self.against = list(conditions), list(seeds), against
        self.workloads = [
            [_prepared(condition, seed) for seed in self.seeds] for condition in self.conditions
        ]

    def measure(self, policy: Policy, batch: Sequence[int] | None = None) -> Floats:
        """Violation rate and ANTT on each workload, shape ``(conditions, seeds, 2)``.

        Args:
            policy: The policy.
            batch: Indices of the seeds to run; None for all.
        """
        return self.measure_all([policy], batch)[0]

    def measure_all(
        self,
        policies: Sequence[Policy],
        batch: Sequence[int] | None = None,
        sample: Sequence[int] | None = None,
    ) -> Floats:
        """`measure` for each policy, in one go, shape ``(policies, conditions, seeds, 2)``.

        Args:
            policies: The policies.
            batch: Indices of the seeds to run; None for all.
            sample: Indices of the conditions to run; None for all.
        """
        chosen = list(range(len(self.seeds)) if batch is None else batch)
        rows = list(range(len(self.conditions)) if sample is None else sample)
        policies[0].compiled()  # once, before the workers share it
        jobs = [
            (policy, [self.workloads[row][at] for at in chosen])
            for policy in policies
            for row in rows
        ]
        shape = (len(policies), len(rows), len(chosen), 2)
        return np.array(
            _in_parallel(lambda job, stop: [_outcome(job[0], w, stop) for w in job[1]], jobs)
        ).reshape(shape)

    @cached_property
    def reference(self) -> Floats:
        """What `measure` gives for the reference."""
        return self.measure(find(self.against))

    def apart(self, measured: Floats) -> Floats:
        """What was measured, with the workloads of a random mix as conditions of their own.

        Each has a load and deadlines of its own, so that their mean would be that of the heaviest.
        Others are given back as they are.

        Args:
            measured: Shape ``(..., conditions, seeds, 2)``.
        """
        if not self.random:
            return measured
        return measured.reshape(*measured.shape[:-3], -1, 1, 2)

    @property
    def random(self) -> bool:
        """Whether the conditions are random mixes."""
        return isinstance(self.conditions[0], Mix)

    @cached_property
    def bounds(self) -> Floats:
        """What no schedule beats, in the shape of `reference`."""
        jobs = [workload for row in self.workloads for workload in row]
        return np.array(_in_parallel(_bounds, jobs)).reshape(len(self.conditions), -1, 2)

    def scores(self, measured: Floats) -> dict[str, float]:
        """What is logged of a validation, by name: of all conditions, then of each.

        Violation rate and ANTT are means over workloads, the reference's and the bounds likewise.
        ``..._over_bound`` are the means over those of the bounds; where no request has to be late,
        there is none.

        Args:
            measured: What `measure` gave.
        """
        found = {}
        whole = measured, self.reference, self.bounds
        means = {"validation": [each.mean(axis=(0, 1)) for each in whole]}
        for at, label in enumerate(_labels(self.conditions)):
            means[label] = [each[at].mean(axis=0) for each in whole]
        for label, (ours, theirs, least) in means.items():
            for at, name in enumerate(("violation_rate", "antt")):
                found[f"{label}/{name}"] = float(ours[at])
                found[f"{label}/reference_{name}"] = float(theirs[at])
                if least[at] > 0:
                    found[f"{label}/{name}_over_bound"] = float(ours[at] / least[at])
        return found


def _prepared(condition: Scenario | Mix, seed: int) -> Workload:
    """A workload with all that is derived from it, so that workers only read it."""
    if isinstance(condition, Mix):
        workload = condition.workload(seed)
    else:
        workload = generate(condition, seed, split="train")
    _ = workload.moments, workload.isolated_s
    return workload


def _outcome(policy: Policy, workload: Workload, stop: Event) -> tuple[float, float]:
    machine = Machine(workload, policy.level)
    machine.run(policy, stop)
    return violations_and_antt(
        workload.moments.arrival,
        opened(workload.isolated_s),
        workload.moments.deadline,
        machine.state.finish,
    )


def _bounds(workload: Workload, stop: Event) -> tuple[float, float]:
    moments, isolated_s = workload.moments, opened(workload.isolated_s)
    return (
        violation_rate_lower_bound(moments.arrival, moments.deadline, isolated_s, stop),
        antt_lower_bound(moments.arrival, isolated_s),
    )


def _labels(conditions: Sequence[Scenario | Mix]) -> list[str]:
    """What each condition is called in logs: by its load, and by what else tells it from others."""
    named = [each for each in conditions if isinstance(each, Scenario)]
    if len(named) < len(conditions):  # a random mix has its own load and deadlines in each workload
        return [each.name for each in conditions]
    wheres = [Condition(each, "train").where for each in named]
    labels = [f"{name} {load:.3g}" for name, load, _, _ in wheres]
    if len(set(labels)) < len(labels):
        pairs = zip(labels, wheres, strict=True)
        labels = [f"{label} SLO {where[-1]:g}" for label, where in pairs]
    seen = Counter[str]()
    for at, label in enumerate(labels):
        seen[label] += 1
        if seen[label] > 1:
            labels[at] = f"{label} ({seen[label]})"
    return labels


def _in_parallel(work: Callable[[Any, Event], Any], items: Sequence[Any]) -> list[Any]:
    with threads(max(1, min(cores(), len(items)))) as (each, stop):
        return list(each(lambda item: work(item, stop), items))


def costs(measured: Floats, reference: Floats, penalty: float) -> Floats:
    """What agents are trained to make small, for each condition, shape ``(..., conditions)``.

    ``ANTT + penalty V``, where ``V`` is the violation rate, over that of the reference.

    Args:
        measured: Violation rates and ANTT, shape ``(..., conditions, seeds, 2)``.
        reference: The same of the reference, shape ``(conditions, seeds, 2)``.
        penalty: ANTT that a violation rate of 1 weighs.
    """
    weights = np.array([penalty, 1.0])
    found: Floats = (measured.mean(axis=-2) @ weights) / (reference.mean(axis=-2) @ weights)
    return found


def objective(measured: Floats, reference: Floats, penalty: float) -> Any:
    """What agents are trained and chosen by: the mean of `costs`, shape ``(...)``."""
    return costs(measured, reference, penalty).mean(axis=-1)
