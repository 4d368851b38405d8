"""Tune `dysta-tuned` on the traces' train inputs: its weight and its unit of time, by grid search.

python benchmarks/tune_dysta.py

The objective is the mean, over all shipped scenarios at three loads each, of the logarithm of the
environment's cost, ANTT + 100 x violation rate: a policy that halves it anywhere gains as much.
Seeds and inputs are others than those that anything is judged on.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np

from dysta_gym.benchmark import compare
from dysta_gym.workloads import shipped_scenarios

WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.06, 0.1, 0.2)
UNITS = (0.3, 1.0, 3.0, 10.0, 30.0)
LOADS = (0.8, 0.95, 1.05)
SEEDS = range(1000, 1005)
PENALTY = 100.0


def main() -> None:
    """Print every setting with its objective, the best one first."""
    tuned = [f"dysta-tuned:beta={b},time_unit={u}" for b, u in product(WEIGHTS, UNITS)]
    results = compare(
        list(shipped_scenarios()),
        ["dysta", "sjf@monitored", *tuned],
        loads=LOADS,
        seeds=SEEDS,
        split="train",
        progress=lambda done, total: print(f"\r{done} of {total}", end="", file=sys.stderr),
    )
    print(file=sys.stderr)
    condition = results.groupby(["scenario", "load", "policy"], sort=False)
    mean = condition[["antt", "violation_rate"]].mean()
    cost = np.log(mean["antt"] + PENALTY * mean["violation_rate"])
    print("geometric mean of ANTT + 100 x violation rate, on train inputs")
    for policy, value in np.exp(cost.groupby("policy").mean()).sort_values().items():
        print(f"{value:8.3f}  {policy}")


if __name__ == "__main__":
    main()
