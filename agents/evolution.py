"""Training a tiny network by evolution: CMA-ES on whole workloads, without gradients."""

from __future__ import annotations

import cma
import numpy as np
from numpy.typing import NDArray

from dysta_gym.agents.networks import NETWORKS, hidden_weights
from dysta_gym.agents.protocol import objective, training_bench
from dysta_gym.agents.recipes import EvolutionRecipe
from dysta_gym.agents.runs import Run
from dysta_gym.plugins import warn


class _Normal:
    """Normal numbers as `cma` asks for them, from a generator of our own."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def __call__(self, *shape: int) -> NDArray[np.float64]:
        return self.generator.standard_normal(shape)


def evolve(run: Run) -> None:
    """Train as the run's recipe says."""
    recipe = run.recipe
    assert isinstance(recipe, EvolutionRecipe)
    bench = training_bench(recipe.workloads, run.seed, recipe.pool)
    evolution, batches = _begin(recipe, run.seed)
    history: list[NDArray[np.float64]] = []

    def mean() -> NDArray[np.float64]:
        weights: NDArray[np.float64] = np.array(evolution.mean)
        return weights

    def state() -> dict[str, NDArray[np.float64]]:
        costs = np.array(history).reshape(-1, recipe.population)
        return {"costs": costs, "mean": mean(), "sigma": np.array(evolution.sigma)}

    def draw() -> list[int]:
        drawn: list[int] = batches.choice(recipe.pool, recipe.batch, replace=False).tolist()
        return drawn

    def learn(vectors: list[NDArray[np.float64]], costs: NDArray[np.float64]) -> None:
        evolution.tell(vectors, costs.tolist())
        history.append(costs)

    if run.restored is not None:
        # The strategy is a function of what its vectors have cost, so that is what is kept; and
        # what it came to, to see that it does so again.
        try:
            kept = run.restored["costs"]
            if kept.dtype != np.float64 or kept.ndim != 2:
                raise ValueError(f"costs is {kept.dtype} of shape {kept.shape}")
            for costs in kept:
                draw()
                learn(evolution.ask(), costs)
            again = state()
            for name, array in again.items():
                if not np.allclose(array, run.restored[name], rtol=1e-3, atol=1e-3):
                    raise ValueError(f"its costs lead to another {name}")
        except Exception as error:  # of other shapes or types, too
            raise run.damaged(error) from None
        if any(array.tobytes() != run.restored[name].tobytes() for name, array in again.items()):
            warn(
                "resume: this processor rounds in another way than the one that the run began on; "
                "it goes on, but not to the last bit as it would have there"
            )
    for step in range(len(history) + 1, run.steps + 1):
        batch, vectors = draw(), evolution.ask()
        policies = [run.checkpoint(np.array(vector)).policy() for vector in vectors]
        costs = objective(bench.measure_all(policies, batch), bench.reference[:, batch])
        learn(vectors, costs)
        run.logger.record("training/objective", float(np.mean(costs)))
        run.logger.record("training/sigma", float(evolution.sigma))
        run.logger.dump(step)
        run.advance(step, mean, state)


def _begin(
    recipe: EvolutionRecipe, seed: int
) -> tuple[cma.CMAEvolutionStrategy, np.random.Generator]:
    """The strategy, and what chooses the workloads of each generation."""
    weights, batches, samples = (
        np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(3)
    )
    width, seen = recipe.network.width, recipe.seen
    start, row = np.zeros(NETWORKS["tiny"].weights(width, seen)), hidden_weights(seen)
    hidden = start[: width * row].reshape(-1, row)
    hidden[:, :-1] = weights.normal(0, 0.5, (len(hidden), row - 1))  # they give nothing at first
    line = start[width * row :]
    for at, feature in enumerate(seen.requests):
        line[at] = recipe.first(feature.name)
    options = {
        "popsize": recipe.population,
        "randn": _Normal(samples),
        "seed": np.nan,  # which leaves NumPy's global generator alone
        "verbose": -9,
        "verb_log": 0,
    }
    return cma.CMAEvolutionStrategy(start, recipe.sigma, options), batches
