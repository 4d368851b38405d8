"""What it costs that decisions take time: docs/decisions.md.

python -m benchmarks.decision_cost > docs/decisions.md
"""

from __future__ import annotations

import pandas as pd

from benchmarks.leaderboard import AGENTS, RULES
from dysta_gym.comparison import compare
from dysta_gym.policies import find
from dysta_gym.tables import markdown
from dysta_gym.workloads import load_scenario

COSTS_S = (0.0, 1e-6, 1e-5, 1e-4)
CLOCK_HZ = 200e6
"""Clock of the scheduler's RTL in the artifact of Sparse-DySta."""

SCENARIOS = ("multi-attnn", "multi-cnn")
LOAD, SEEDS = 0.95, range(20)

HEAD = """# Decisions that take time

A scheduler is not free. `decision_cost: {fixed_s: ..., per_request_s: ...}` in a scenario lets that
time pass whenever a policy is really asked; the accelerator waits. A rule is asked before every
layer, a rule that is asked at events about twice a request, whatever its layers. What a policy
promises of its scores (`stable`, `drift`) spares the simulator, not the accelerator: it changes no
charge. The column `decisions` counts.

The tables: load 0.95, SLO multiplier 10, `test` inputs, means over 20 seeds; violations in per cent
and ANTT, at so many microseconds a decision (in brackets: clock cycles of the scheduler in the
artifact of Sparse-DySta, 200 MHz). Written by `benchmarks/decision_cost.py`.
"""


def _pair(means: pd.Series[float]) -> str:
    return f"{100 * means['violation_rate']:.1f} / {means['antt']:.2f}"


def main() -> None:
    """Print the page."""
    policies = [*(find(name).spec for name in RULES), *AGENTS]
    columns = [f"{1e6 * cost:g} us ({CLOCK_HZ * cost:,.0f})" for cost in COSTS_S]
    print(HEAD)
    for name in SCENARIOS:
        found = []
        for cost in COSTS_S:
            scenario = load_scenario(name).varied(load=LOAD, decision_cost={"fixed_s": cost})
            frame = compare([scenario], policies, seeds=SEEDS, bounds=False)
            means = ["violation_rate", "antt", "decisions"]
            found.append(frame.groupby("policy", sort=False)[means].mean())
        layers = found[0]["decisions"] / scenario.requests
        rows = [
            [
                policy,
                f"{layers[policy]:.1f}",
                *(_pair(each.loc[policy]) for each in found),
            ]
            for policy in policies
        ]
        print(f"## {name}\n")
        print(markdown(["policy", "decisions a request", *columns], rows), end="\n\n")


if __name__ == "__main__":
    main()
