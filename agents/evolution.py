"""Training a tiny network by evolution: CMA-ES on whole workloads, without gradients."""

from __future__ import annotations

from typing import Any

import cma
import numpy as np
from numpy.typing import NDArray

from dysta_gym.agents.features import QUEUE_FEATURES, REQUEST_FEATURES, F
from dysta_gym.agents.networks import NETWORKS, ROW
from dysta_gym.agents.protocol import objective, training_bench
from dysta_gym.agents.recipes import Evolution
from dysta_gym.agents.runs import Run


class _Normal:
    """Normal numbers as `cma` asks for them, from a generator of our own."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def __call__(self, *shape: int) -> NDArray[np.float64]:
        return self.generator.standard_normal(shape)


def evolve(run: Run) -> None:
    """Train as the run's recipe says."""
    recipe = run.recipe
    assert isinstance(recipe, Evolution)
    bench = training_bench(recipe.workloads, run.seed, recipe.pool)
    free = _free(recipe)
    step, evolution, batches = run.restored or _begin(recipe, run.seed, free)

    def whole(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = np.zeros(len(free))
        weights[free] = vector
        return weights

    def mean() -> NDArray[np.float64]:
        return whole(evolution.mean)

    def state() -> Any:
        return step, evolution, batches

    while step < run.steps:
        batch = batches.choice(recipe.pool, recipe.batch, replace=False).tolist()
        vectors = evolution.ask()
        policies = [run.checkpoint(whole(vector)).policy() for vector in vectors]
        costs = objective(bench.measure_all(policies, batch), bench.reference[:, batch])
        evolution.tell(vectors, costs.tolist())
        step += 1
        run.logger.record("training/objective", float(np.mean(costs)))
        run.logger.record("training/sigma", float(evolution.sigma))
        run.logger.dump(step)
        run.advance(step, mean, state)


def _begin(
    recipe: Evolution, seed: int, free: NDArray[np.bool_]
) -> tuple[int, cma.CMAEvolutionStrategy, np.random.Generator]:
    """Steps done, the strategy, and what chooses the workloads of each generation."""
    weights, batches, samples = (
        np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(3)
    )
    start = np.zeros(len(free))
    hidden = start[: recipe.network.width * ROW].reshape(-1, ROW)
    hidden[:, :-1] = weights.normal(0, 0.5, (len(hidden), ROW - 1))  # they give nothing at first
    for name, weight in recipe.start.items():
        start[len(start) - F + REQUEST_FEATURES.index(name)] = weight
    options = {
        "popsize": recipe.population,
        "randn": _Normal(samples),
        "seed": np.nan,  # which leaves NumPy's global generator alone
        "verbose": -9,
        "verb_log": 0,
    }
    return 0, cma.CMAEvolutionStrategy(start[free], recipe.sigma, options), batches


def _free(recipe: Evolution) -> NDArray[np.bool_]:
    """Which weights are evolved: those of features that the recipe does not leave out."""
    free = np.ones(NETWORKS["tiny"].weights(recipe.network.width), np.bool_)
    hidden = free[:-F].reshape(-1, ROW)
    for name in recipe.without:
        if name in REQUEST_FEATURES:
            hidden[:, REQUEST_FEATURES.index(name)] = False
            free[len(free) - F + REQUEST_FEATURES.index(name)] = False
        else:
            hidden[:, F + QUEUE_FEATURES.index(name)] = False
    return free
