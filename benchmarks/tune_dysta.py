"""Tune `dysta-tuned`, its weight and its unit of time, by grid search on training workloads.

    python -m benchmarks.tune_dysta [--level LEVEL]

The workloads are those that agents are trained on (`dysta_gym.agents.protocol`): all shipped
scenarios at three loads each, SLO multiplier 10, `train` inputs. Two objectives are shown: the
geometric mean over conditions of the environment's cost, ANTT + 100 x violation rate, which the
defaults of `dysta-tuned` come from; and the one that agents are trained on.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np

from dysta_gym.agents.protocol import Bench, conditions, objective, training_seed
from dysta_gym.agents.recipes import load_recipe
from dysta_gym.policies import find

WEIGHTS = (0.0, 0.001, 0.002, 0.003, 0.006, 0.01, 0.03, 0.1)
UNITS = (1.0, 3.0, 10.0, 20.0, 30.0, 50.0, 100.0, 300.0)
PENALTY = 100.0


def main() -> None:
    """Print every setting with its objectives, the best one of the second first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune_dysta")
    parser.add_argument("--level", default="monitored")
    level = parser.parse_args().level
    recipe = load_recipe("evolved")
    assert recipe.method == "evolution"
    first = training_seed(0)
    bench = Bench(conditions(recipe.workloads), range(first, first + recipe.pool))
    policies = [
        find(f"dysta-tuned@{level}:beta={weight},time_unit={unit}")
        for weight, unit in product(WEIGHTS, UNITS)
    ]
    measured = bench.measure_all(policies)
    mean = measured.mean(axis=2)
    costs = np.exp(np.log(mean[..., 1] + PENALTY * mean[..., 0]).mean(axis=1))
    objectives = objective(measured, bench.reference)
    print("geometric mean of ANTT + 100 x violation rate; objective of the agents")
    for at in np.argsort(objectives):
        print(f"{costs[at]:8.3f} {objectives[at]:8.4f}  {policies[at].spec}")


if __name__ == "__main__":
    main()
