"""Tune every rule that has constants, on training workloads: the tables of docs/tuning.md.

    python -m benchmarks.tune [RULE ...] [--level LEVEL] [--out docs/tuning.md]

One search for all: differential evolution (Storn and Price, 1997) within a box, from the constants
that the rule had before. Training and validation workloads are those of agents
(`dysta_gym.agents.protocol`); `test` inputs are never used. The objective is the cost that the
environment charges (`objective`). What is found is printed, and stands in `baselines/` only once
somebody writes it there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import differential_evolution
from scipy.stats import qmc

from benchmarks.named import TUNED
from benchmarks.page import wrapped
from benchmarks.readme import between
from dysta_gym.agents.protocol import VALIDATION, Bench, conditions, training_bench
from dysta_gym.agents.recipes import Workloads
from dysta_gym.cli.terminal import with_progress
from dysta_gym.errors import DystaError, one_of
from dysta_gym.information import ALL_LEVELS
from dysta_gym.policies import Policy, find
from dysta_gym.tables import markdown

BEGIN, END = "<!-- constants: make tune -->\n", "<!-- /constants -->"

LEVEL_OF_AGENTS = "sized/kalman"

PENALTY = 100.0
"""Cost of a violation rate of 1, in ANTT: the environment's default."""

POOL = 6
"""Training workloads a condition."""

GENERATIONS = 16
"""Of the search, after the first; each has four settings more than four times the constants."""

Floats: TypeAlias = NDArray[np.float64]
Constants: TypeAlias = Mapping[str, float]
Progress: TypeAlias = Callable[[int, int], None]


class Tunable(NamedTuple):
    """A rule whose constants are searched for.

    Attributes:
        rule: Its name.
        published: The rule of the same form with published constants; None if there is none.
        before: The constants that the search starts from: the published ones where the rule has
            them, or those that it had before this search.
        box: Least and greatest value of each constant, on a logarithmic scale where both are above
            0.
        falling: Constants of which each is no greater than the one before; their values are sorted.
    """

    rule: str
    published: str | None
    before: Constants
    box: Mapping[str, tuple[float, float]]
    falling: tuple[str, ...] = ()


TUNABLE = {
    each.rule: each
    for each in (
        Tunable(
            "dysta-tuned",
            "dysta",
            {"beta": 0.003, "time_unit": 30.0},
            {"beta": (1e-5, 1.0), "time_unit": (0.1, 1e3)},
        ),
        Tunable("sdrm3-tuned", "sdrm3", {"alpha": 1.0}, {"alpha": (1e-6, 100.0)}),
        Tunable(
            "prema-tuned",
            "prema",
            {"high": 9.0, "middle": 3.0, "low": 1.0, "rate": 1.0},
            {
                "high": (0.1, 1e4),
                "middle": (0.1, 1e4),
                "low": (0.1, 1e4),
                "rate": (0.01, 100.0),
            },
            falling=("high", "middle", "low"),
        ),
        Tunable(
            "moore-hodgson-tuned",
            "moore-hodgson",
            {"sacrificed": 4.0, "disturbing": 100.0, "margin": 0.05, "spare": 1.0, "power": 1.0},
            {
                "sacrificed": (1.0, 100.0),
                "disturbing": (1.0, 1e6),
                "margin": (-1.0, 5.0),
                "spare": (0.0, 3.0),
                "power": (0.0, 2.0),
            },
        ),
        Tunable(
            "slack-index",
            None,
            {"late": 1.44, "bend": 0.47, "width": 3.0},
            {"late": (0.0, 5.0), "bend": (-1.0, 4.0), "width": (0.1, 100.0)},
        ),
        Tunable(
            "slack-pull",
            None,
            {"push": 2.5, "pull": 8.0, "width": 1.5},
            {"push": (0.1, 100.0), "pull": (0.1, 100.0), "width": (0.05, 50.0)},
        ),
    )
}

FIXED = {
    "dysta": "published",
    "dysta-cycles": "published",
    "dysta-rtl": "published",
    "dysta-fp16": "published",
    "sdrm3": "published",
    "prema": "published",
    "moore-hodgson": "constants of the textbook's set, and one weight",
    "random": "a seed",
}
"""Rules with parameters that are not tuned, and what these are."""


class Found(NamedTuple):
    """What a search found.

    Attributes:
        before: The rule with the constants from before, at the level that it was tuned at.
        after: The same with those that were found.
        training: The objective of the two on the training workloads.
        validation: The same on the validation workloads.
        published: The objective there of the published rule at this level, None without one.
        means: Violation rate and ANTT of the two there, means over all, shape ``(2, 2)``.
        with_agents: As ``validation``, at the level of agents.
        means_with_agents: As ``means``, at the level of agents.
    """

    before: Policy
    after: Policy
    training: Floats
    validation: Floats
    published: float | None
    means: Floats
    with_agents: Floats
    means_with_agents: Floats

    @property
    def kept(self) -> Policy:
        """The one that is better on the validation workloads; that from before if they tie."""
        return self.after if self.validation[1] < self.validation[0] else self.before


def search(
    of: Callable[[list[Constants]], Floats],
    before: Constants,
    box: Mapping[str, tuple[float, float]],
    falling: Sequence[str] = (),
    generations: int = GENERATIONS,
    progress: Progress = lambda done, total: None,
) -> Constants:
    """The constants with the least objective that were met, in three significant digits.

    Args:
        of: Objectives of some settings, each a finite number.
        before: One of the settings of the first generation.
        box: Least and greatest value of each constant.
        falling: Constants whose values are sorted, the greatest first.
        generations: Generations after the first.
        progress: Told after each generation how many are done, and how many there are.

    Returns:
        As ``before``. The search has a seed of its own, always the same.
    """
    ends = [np.log(pair) if pair[0] > 0 else np.array(pair) for pair in box.values()]
    logarithmic = [low > 0 for low, _ in box.values()]
    met: dict[tuple[float, ...], float] = {}

    def settings(point: Floats) -> tuple[float, ...]:
        at = [low + share * (high - low) for share, (low, high) in zip(point, ends, strict=True)]
        values = [np.exp(x) if log else x for x, log in zip(at, logarithmic, strict=True)]
        named = {name: float(f"{x:.3g}") for name, x in zip(box, values, strict=True)}
        ordered = sorted((named[name] for name in falling), reverse=True)
        return tuple({**named, **dict(zip(falling, ordered, strict=True))}.values())

    def cost(points: Floats) -> Floats:
        """Of points within the unit box, shape ``(constants, points)``."""
        asked = [settings(point) for point in points.T]
        new = list(dict.fromkeys(each for each in asked if each not in met))
        if new:
            costs = of([dict(zip(box, each, strict=True)) for each in new])
            met.update(zip(new, costs.tolist(), strict=True))
        return np.array([met[each] for each in asked])

    start = [np.log(before[name]) if low > 0 else before[name] for name, (low, _) in box.items()]
    first = qmc.LatinHypercube(len(box), seed=np.random.default_rng(0)).random(4 + 4 * len(box))
    first[0] = [(x - low) / (high - low) for x, (low, high) in zip(start, ends, strict=True)]
    done = 0

    def counted(*_: Any, **__: Any) -> None:
        nonlocal done
        done += 1
        progress(done, generations)

    differential_evolution(
        cost,
        [(0.0, 1.0)] * len(box),
        init=first,
        maxiter=generations,
        tol=0.0,
        polish=False,
        seed=np.random.default_rng(1),
        updating="deferred",
        vectorized=True,
        callback=counted,
    )
    best, _ = min(met.items(), key=lambda item: item[1])
    return dict(zip(box, best, strict=True))


def tune(
    tunable: Tunable,
    level: str,
    training: Bench,
    validation: Bench,
    generations: int = GENERATIONS,
    progress: Progress = lambda done, total: None,
) -> Found:
    """Search on the training workloads, and measure what was found on the validation workloads."""
    policy = find(tunable.rule)

    def of(each: list[Constants]) -> Floats:
        settings = [policy.at(level, **constants) for constants in each]
        return objective(training.measure_all(settings))

    constants = search(of, tunable.before, tunable.box, tunable.falling, generations, progress)
    both = [policy.at(level, **each) for each in (tunable.before, constants)]
    measured, with_agents = (
        validation.measure_all([each.at(known) for each in both])
        for known in (level, LEVEL_OF_AGENTS)
    )
    published = tunable.published and find(tunable.published).at(level)
    return Found(
        both[0],
        both[1],
        objective(training.measure_all(both)),
        objective(measured),
        float(objective(validation.measure(published))) if published else None,
        measured.mean(axis=(1, 2)),
        objective(with_agents),
        with_agents.mean(axis=(1, 2)),
    )


def objective(measured: Floats) -> Any:
    """The environment's cost, ANTT + 100 x violation rate: its geometric mean over conditions.

    Args:
        measured: Violation rate and ANTT, shape ``(..., conditions, seeds, 2)``.

    Returns:
        Shape ``(...)``.
    """
    mean = measured.mean(axis=-2)
    return np.exp(np.log(mean[..., 1] + PENALTY * mean[..., 0]).mean(axis=-1))


def tables(found: Sequence[Found]) -> str:
    """Constants and objectives, a row per rule; and what they are worth; in Markdown."""
    head = ["rule", "constants before", "constants found", "kept"]
    constants = markdown(
        head,
        (
            [
                f"`{each.after.spec.partition(':')[0]}`",
                *map(_shown, (each.before, each.after)),
                "found" if each.kept is each.after else "before",
            ]
            for each in found
        ),
        words=len(head),
    )
    head = [
        "objective of", "training, before", "found", "validation, before", "found",
        "published rule", f"at `{LEVEL_OF_AGENTS}`, before", "found",
    ]  # fmt: skip
    objectives = markdown(
        head,
        (
            [
                f"`{each.after.name}`",
                *(f"{one:.3f}" for one in (*each.training, *each.validation)),
                "" if each.published is None else f"{each.published:.3f}",
                *(f"{one:.3f}" for one in each.with_agents),
            ]
            for each in found
        ),
    )
    head = ["violations / ANTT", "before", "found", f"at `{LEVEL_OF_AGENTS}`, before", "found"]
    means = markdown(
        head,
        (
            [
                f"`{each.after.name}`",
                *(
                    f"{100 * violations:.2f} / {antt:.2f}"
                    for violations, antt in (*each.means, *each.means_with_agents)
                ),
            ]
            for each in found
        ),
    )
    return f"{constants}\n\n{objectives}\n\n{means}"


def _shown(policy: Policy) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in policy.settings.items())


def benches(workloads: Workloads, pool: int) -> tuple[Bench, Bench]:
    """Training workloads, so many a condition, and those that constants are chosen by."""
    seeds = range(VALIDATION, VALIDATION + workloads.validation)
    return training_bench(workloads, 0, pool), Bench(conditions(workloads), seeds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune, print the table, and put it into a page where one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune")
    parser.add_argument("rules", nargs="*", metavar="RULE", help=", ".join(TUNABLE))
    parser.add_argument("--level", help="level to tune at; each rule's own if none is given")
    parser.add_argument("--out", type=Path, help="page with marks to put the table of all between")
    options = parser.parse_args(arguments)
    rules = options.rules or list(TUNABLE)
    try:
        for rule in rules:
            if rule not in TUNABLE:
                raise one_of("RULE", rule, list(TUNABLE))
        if options.level is not None and options.level not in ALL_LEVELS:
            raise one_of("--level", options.level, ALL_LEVELS)
        if options.out is not None and (options.rules or options.level):
            raise DystaError("--out: a page has every rule at its own level; leave the others out")
    except DystaError as error:
        parser.error(str(error))
    began = time.monotonic()
    found: list[Found] = []
    try:
        training, validation = benches(TUNED, POOL)
        for rule in rules:
            level = options.level or find(rule).level
            work = partial(tune, TUNABLE[rule], level, training, validation, GENERATIONS)
            found.append(with_progress(f"{rule}@{level}", work))
            print(found[-1].after.spec, file=sys.stderr)
    except KeyboardInterrupt:
        if found:
            print(tables(found))
        return 130
    text = tables(found)
    print(text)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes")
    if options.out is not None:
        note = (
            f"{POOL} training and {len(validation.seeds)} validation workloads a condition, "
            f"{len(training.conditions)} conditions."
        )
        between(options.out, BEGIN, END, f"{wrapped(note)}\n\n{text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
