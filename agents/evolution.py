"""Training by evolution: CMA-ES on whole workloads, without gradients."""

from __future__ import annotations

import cma
import numpy as np
from numpy.typing import NDArray

from dysta_gym.agents.frontier import loss
from dysta_gym.agents.networks import NETWORKS, hidden_weights
from dysta_gym.agents.protocol import Bench, objective, training_bench
from dysta_gym.agents.recipes import EvolutionRecipe, Evolving, ParetoRecipe
from dysta_gym.agents.runs import Run, warn_of_rounding
from dysta_gym.archives import ARRAY_LIMIT
from dysta_gym.policies import Policy

Batch = tuple[list[int], list[int]]
"""Conditions and seeds, by their indices, that a generation is judged on."""


class _Normal:
    """Normal numbers as `cma` asks for them, from a generator of our own."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def __call__(self, *shape: int) -> NDArray[np.float64]:
        return self.generator.standard_normal(shape)


def evolve(run: Run) -> None:
    """Train as the run's recipe says."""
    recipe = run.recipe
    assert isinstance(recipe, EvolutionRecipe | ParetoRecipe)
    bench = training_bench(recipe.workloads, run.seed, recipe.pool, run.judge.reference)
    cost = _costs_of_curves if isinstance(recipe, ParetoRecipe) else _costs_of_points
    evolution, batches = _begin(recipe, run.seed)
    history: list[NDArray[np.float64]] = []

    def mean() -> NDArray[np.float64]:
        weights: NDArray[np.float64] = np.array(evolution.mean)
        return weights

    def state() -> dict[str, NDArray[np.float64]]:
        costs = np.array(history).reshape(-1, recipe.population)
        return {"costs": costs, "mean": mean(), "sigma": np.array(evolution.sigma)}

    def draw() -> Batch:
        seeds: list[int] = batches.choice(recipe.pool, recipe.batch, replace=False).tolist()
        if recipe.sample is None:
            return list(range(len(bench.conditions))), seeds
        rows = batches.choice(len(bench.conditions), recipe.sample, replace=False)
        return sorted(rows.tolist()), seeds

    def learn(vectors: list[NDArray[np.float64]], costs: NDArray[np.float64]) -> None:
        evolution.tell(vectors, costs.tolist())
        history.append(costs)

    if run.kept:
        rows = {"costs": ARRAY_LIMIT // (8 * recipe.population)}
        restored = run.restored(state(), rows)
        # The strategy is a function of what its vectors have cost, so that is what is kept; and
        # what it came to, to see that it does so again.
        try:
            for costs in restored["costs"]:
                draw()
                learn(evolution.ask(), costs)
            again = state()
            for name, array in again.items():
                if not np.allclose(array, restored[name], rtol=1e-3, atol=1e-3):
                    raise ValueError(f"its costs lead to another {name}")
        except Exception as error:  # of other shapes or types, too
            raise run.damaged(error) from None
        if any(array.tobytes() != restored[name].tobytes() for name, array in again.items()):
            warn_of_rounding()
    for step in range(len(history) + 1, run.steps + 1):
        batch, vectors = draw(), evolution.ask()
        policies = [run.checkpoint(np.array(vector)).policy() for vector in vectors]
        costs = cost(recipe, bench, policies, batch)
        learn(vectors, costs)
        run.logger.record("training/objective", float(np.mean(costs)))
        run.logger.record("training/sigma", float(evolution.sigma))
        run.logger.dump(step)
        run.advance(step, mean, state)


def _costs_of_points(
    recipe: Evolving, bench: Bench, policies: list[Policy], batch: Batch
) -> NDArray[np.float64]:
    assert isinstance(recipe, EvolutionRecipe)
    rows, seeds = batch
    measured = bench.apart(bench.measure_all(policies, seeds, rows))
    reference = bench.apart(bench.reference[np.ix_(rows, seeds)])
    costs: NDArray[np.float64] = objective(measured, reference, recipe.penalty)
    return costs


def _costs_of_curves(
    recipe: Evolving, bench: Bench, policies: list[Policy], batch: Batch
) -> NDArray[np.float64]:
    assert isinstance(recipe, ParetoRecipe)
    preferences = recipe.preferences
    points = [policy.at(policy.level, preference=p) for policy in policies for p in preferences]
    rows, seeds = batch
    measured = bench.apart(bench.measure_all(points, seeds, rows)).mean(axis=-2)
    curves = measured.reshape(len(policies), len(preferences), *measured.shape[1:])
    reference = bench.apart(bench.reference[np.ix_(rows, seeds)]).mean(axis=-2)
    return loss(curves, reference, preferences)


def _begin(
    recipe: EvolutionRecipe | ParetoRecipe, seed: int
) -> tuple[cma.CMAEvolutionStrategy, np.random.Generator]:
    """The strategy, and what chooses the workloads of each generation."""
    weights, batches, samples = (
        np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(3)
    )
    width, seen, kind = recipe.network.width, recipe.seen, recipe.network.kind
    start, row = np.zeros(NETWORKS[kind].weights(width, seen)), hidden_weights(kind, seen)
    outs = 1 if kind == "tiny" else 2
    hidden = start[: width * row].reshape(-1, row)
    hidden[:, :-outs] = weights.normal(0, 0.5, (len(hidden), row - outs))  # give nothing at first
    line = start[width * row :]
    for at, feature in enumerate(seen.requests):
        line[at] = recipe.first(feature.name)
    if kind == "conditioned":
        line[len(seen.requests)] = recipe.first("work")  # that of doubt: as if G stood for R I
    options = {
        "popsize": recipe.population,
        "randn": _Normal(samples),
        "seed": np.nan,  # which leaves NumPy's global generator alone
        "verbose": -9,
        "verb_log": 0,
        **({"CMA_diagonal": True} if recipe.separable else {}),
    }
    return cma.CMAEvolutionStrategy(start, recipe.sigma, options), batches
