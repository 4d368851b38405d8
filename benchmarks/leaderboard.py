"""Judge every policy and agent, once, and write the leaderboard.

    python -m benchmarks.leaderboard [--page docs/leaderboard.md] [--readme README.md]

The agents' scenarios at loads 0.8, 0.95 and 1.05, SLO multiplier 10, `test` inputs, seeds 0 to 19:
what no agent was trained or chosen on (`dysta_gym.agents.protocol`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.page import Goal, Section, goals, wrapped
from benchmarks.readme import between
from dysta_gym.agents import checkpoints
from dysta_gym.agents.checkpoints import policy_of_file, shipped
from dysta_gym.agents.protocol import LEAST_RATE, REPORT, SCENARIOS
from dysta_gym.comparison import CELL, compare
from dysta_gym.files import replacing
from dysta_gym.information import ALL_LEVELS
from dysta_gym.policies import Policy, find
from dysta_gym.statistics import aggregate, summarise
from dysta_gym.tables import interval, markdown

LOADS = (0.8, 0.95, 1.05)
SLO = 10.0
SEEDS = range(REPORT, REPORT + 20)
METRICS = ["violation_rate", "antt", "antt_lower_bound", "violation_rate_lower_bound"]

AGENTS = ("evolved", "ppo", "dqn")
RULES = (
    "fcfs", "edf", "llf", "round_robin", "random", "sjf", "sptp", "prema", "planaria", "sdrm3",
    "gittins", "edf-triage", "moore-hodgson", "moore-hodgson-tuned", "slack-index", "slack-pull",
    "dysta", "dysta-fp16", "dysta-cycles", "dysta-rtl", "dysta-tuned",
)  # fmt: skip
"""The installed rules, without aliases and agents."""

BLIND = {"fcfs", "edf", "round_robin", "random"}
"""Rules that do not look at estimates: the same at every level, up to ties."""

LISTED = [
    *(find(rule).spec for rule in RULES),
    *(
        f"{rule}@{level}"
        for level in ("monitored", "sized/kalman")
        for rule in RULES
        if rule not in BLIND and find(rule).level != level
    ),
    *(f"{agent}@{level}" for agent in AGENTS for level in ("sized/kalman", "monitored")),
    "dysta@clairvoyant",
]
"""What the tables list: rules at their own level, with monitoring, with all that an agent knows."""

OTHERS = [f"{rule}@{level}" for rule in RULES for level in ALL_LEVELS if level != "clairvoyant"]
"""Every rule at every level that is not clairvoyant."""

ORACLE, REFERENCE = "dysta@clairvoyant", "dysta@monitored"
PPO = "ppo@sized/kalman"
OURS = [f"{agent}@sized/kalman" for agent in AGENTS]
EQUAL = [f"{agent}@monitored" for agent in AGENTS]
BEST = min(OURS, key=lambda name: float(shipped(name.partition("@")[0]).record["objective"]))
"""The agent that did best on the validation workloads."""

TEXTBOOK = [f"{rule}@sized/kalman" for rule in ("gittins", "slack-index", "moore-hodgson")]
SUMMARY = (REFERENCE, "dysta-tuned@sized/kalman", ORACLE, *TEXTBOOK, *OURS)
"""What the README's table shows."""

SEED_FILES = Path("docs/agents/seeds")
"""Agents of the same recipes with other training seeds: ``NAME-SEED.npz``."""

BEGIN, END = "<!-- leaderboard: make leaderboard -->\n", "<!-- /leaderboard -->"


def measure(policies: Sequence[str | Policy], **changes: Any) -> pd.DataFrame:
    """Run policies on the leaderboard's workloads, or on those that ``changes`` say."""
    given = {
        "scenarios": list(SCENARIOS),
        "loads": LOADS,
        "slos": [SLO],
        "seeds": SEEDS,
        "progress": counting,
    }
    return compare(policies=policies, **(given | changes))


def counting(done: int, total: int) -> None:
    """Show on a terminal how far it is."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total} ", end="\n" * (done == total), file=sys.stderr, flush=True)


def means(results: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, by condition and policy."""
    keys = ["scenario", "load", "policy"]
    return results.groupby(keys, sort=False)[METRICS].mean()


def by_cost(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of a summary, the least of the environment's cost first."""
    cost = frame["antt"] + 100 * frame["violation_rate"]
    return frame.assign(cost=cost).sort_values("cost").to_dict("records")


def pair(row: Any) -> str:
    """Violations in per cent, and ANTT."""
    return f"{100 * row['violation_rate']:.2f} / {row['antt']:.2f}"


def over_dysta(mine: Any, dysta: Any) -> tuple[Any, Any]:
    """Violation rates and ANTT over Dysta's, condition by condition, as agents are trained on."""
    least = dysta["violation_rate"].clip(lower=LEAST_RATE)
    return mine["violation_rate"] / least, mine["antt"] / dysta["antt"]


def summary_table(mean: pd.DataFrame) -> str:
    """One row a condition: violations and ANTT of a few policies."""
    short = {*OURS, *TEXTBOOK}
    names = [name.partition("@")[0] if name in short else name for name in SUMMARY]
    head = ["scenario", "load", *names, "bounds"]
    rows = []
    for (scenario, load), part in mean.groupby(["scenario", "load"], sort=False):
        rows.append(
            [
                scenario,
                f"{load:g}",
                *(pair(part.loc[(scenario, load, name)]) for name in SUMMARY),
                f"{100 * part['violation_rate_lower_bound'].iloc[0]:.2f} / "
                f"{part['antt_lower_bound'].iloc[0]:.2f}",
            ]
        )
    return markdown(head, rows)


def beaten(mean: pd.DataFrame, agent: str, others: Sequence[str]) -> list[str]:
    """Where which of the others have fewer violations and a lower ANTT than the agent."""
    found = []
    for (scenario, load), part in mean.groupby(["scenario", "load"], sort=False):
        mine = part.loc[(scenario, load, agent)]
        for name in others:
            row = part.loc[(scenario, load, name)]
            if row["violation_rate"] < mine["violation_rate"] and row["antt"] < mine["antt"]:
                found.append(f"{name} in {scenario} at {load:g}")
    return found


def judged(mean: pd.DataFrame, everyone: pd.DataFrame) -> list[Goal]:
    """The goals, and what was measured."""
    agent, dysta = (mean.xs(name, level="policy") for name in (BEST, REFERENCE))
    many = dysta["violation_rate"] > LEAST_RATE
    ratio, slower = over_dysta(agent, dysta)
    halved, quick = ratio[many] <= 0.5, slower <= 1
    missed = [
        f"{scenario} {load:g} ({ratio[scenario, load]:.2f})"
        for scenario, load in halved.index[~halved]
    ]
    late = [
        f"{scenario} {load:g} ({slower[scenario, load]:.4f})"
        for scenario, load in quick.index[~quick]
    ]
    above = beaten(everyone, BEST, OTHERS)
    ppo = mean.xs(PPO, level="policy")
    both = (ppo["violation_rate"] < dysta["violation_rate"]) & (ppo["antt"] < dysta["antt"])
    both = both[both.index.get_level_values("load") == LOADS[-1]]
    lost = [
        f"{where[0]} ({ppo['violation_rate'][where] / dysta['violation_rate'][where]:.2f} of the "
        f"violations, {ppo['antt'][where] / dysta['antt'][where]:.4f} of the ANTT)"
        for where in both.index[~both]
    ]
    return [
        Goal(
            f"the best agent on validation, `{BEST.partition('@')[0]}`, has at most half of "
            "Dysta's violations wherever these exceed 1 %",
            f"in {int(halved.sum())} of {len(halved)} conditions"
            + (f"; not in {', '.join(missed)}, share in brackets" if missed else ""),
            bool(halved.all()),
        ),
        Goal(
            "and an ANTT not above Dysta's",
            f"in {int(quick.sum())} of {len(quick)} conditions"
            + (f"; not in {', '.join(late)}, share in brackets" if late else ""),
            bool(quick.all()),
        ),
        Goal(
            f"none of the {len(OTHERS)} other non-clairvoyant policies, every rule at every level, "
            "beats it on both",
            "; ".join(above) if above else f"none does in any of {len(quick)} conditions",
            not above,
        ),
        Goal(
            "`ppo` itself beats Dysta on both at load 1.05",
            f"in {int(both.sum())} of {len(both)} scenarios"
            + (f"; not in {', '.join(lost)}" if lost else ""),
            bool(both.all()),
        ),
    ]


def trained() -> str:
    """How the shipped agents were trained."""
    rows = []
    for agent in AGENTS:
        record = shipped(agent).record
        recipe = record["recipe"]
        unit = "generations" if recipe["method"] == "evolution" else "decisions"
        network = recipe["network"]
        rows.append(
            [
                f"`{agent}`",
                f"`dysta-gym train {agent}`",
                f"{network['kind']}, width {network['width']}: {shipped(agent).weights.size}",
                f"{record['steps']:,} {unit}",
                f"{record['seconds'] / 60:.1f}",
                f"{record['step']:,}",
                f"{record['objective']:.4f}",
            ]
        )
    head = ["agent", "command", "network, weights", "steps", "minutes", "best at", "objective"]
    return markdown(head, rows, words=4)


def spread(mean: pd.DataFrame) -> str:
    """What other training seeds give, over all conditions."""
    dysta = mean.xs(REFERENCE, level="policy")
    rows = []
    for name in mean.index.get_level_values("policy").unique():
        if name in OURS or name in EQUAL or name.endswith(".npz"):
            part = mean.xs(name, level="policy")
            many = dysta["violation_rate"] > LEAST_RATE
            v, a = over_dysta(part, dysta)
            over = a.index.get_level_values("load") == LOADS[-1]
            both = (v[over] < 1) & (a[over] < 1)
            file = name.endswith(".npz")
            record = checkpoints.load(name) if file else shipped(name.split("@")[0])
            rows.append(
                [
                    name if name in EQUAL else record.name,
                    record.record["seed"],
                    f"{record.record['objective']:.4f}",
                    f"{100 * part['violation_rate'].mean():.2f}",
                    f"{v.mean():.3f}",
                    f"{a.mean():.3f}",
                    f"{int((v[many] <= 0.5).sum())} of {int(many.sum())}",
                    f"{int((a <= 1).sum())} of {len(a)}",
                    f"{int(both.sum())} of {len(both)}",
                ]
            )
    head = [
        "agent", "seed", "objective on validation", "violations (%)", "over Dysta's",
        "ANTT over Dysta's", "halved", "ANTT not above", "better on both at 1.05",
    ]  # fmt: skip
    order = [each for agent in AGENTS for each in (agent, f"{agent}@monitored")]
    return markdown(head, sorted(rows, key=lambda row: (order.index(row[0]), row[1])), words=1)


def overall(results: pd.DataFrame) -> str:
    """Means over all conditions."""
    frame = aggregate(results, ["violation_rate", "antt"], REFERENCE)
    rows = [
        [
            row["policy"],
            interval(row, "violation_rate", ".2f", 100),
            f"{100 * row['violation_rate_wins']:.0f}",
            interval(row, "antt", ".3f"),
            f"{100 * row['antt_wins']:.0f}",
        ]
        for row in by_cost(frame)
    ]
    return markdown(["policy", "violations (%)", "wins (%)", "ANTT / bound", "wins (%)"], rows)


def condition_tables(results: pd.DataFrame) -> list[str]:
    """A table for each scenario and load."""
    summary = summarise(results, METRICS, ORACLE)
    parts = []
    for (scenario, load, rate, _), panel in summary.groupby(CELL, sort=False):
        rows = [
            [
                row["policy"],
                interval(row, "violation_rate", ".2f", 100),
                f"{100 * row['violation_rate_diff']:+.2f}",
                interval(row, "antt", ".2f"),
                f"{row['antt'] / (row['antt'] - row['antt_diff']):.2f}",
                f"{row['antt'] / row['antt_lower_bound']:.2f}",
            ]
            for row in by_cost(panel)
        ]
        head = ["policy", "violations (%)", "to Oracle", "ANTT", "/ Oracle", "/ bound"]
        parts += [f"### {scenario}, load {load:g} ({rate:.4g} requests/s)", markdown(head, rows)]
    return parts


def page(results: pd.DataFrame, everyone: pd.DataFrame, seeds: pd.DataFrame) -> str:
    """The whole page."""
    mean = means(results)
    section = Section("Goals", goals=judged(mean, means(everyone)))
    short = (
        "`NAME@LEVEL` says what a policy knows ([policies](policies.md)): a rule stands at its own "
        "level, at `monitored`, which is Dysta's, and at `sized/kalman`, which is what the agents "
        "know; the agents stand at theirs and at `monitored`. "
        "`dysta@clairvoyant` is the paper's Oracle."
    )
    parts = [
        "# Leaderboard",
        wrapped(
            f"Every scenario at loads {', '.join(map(str, LOADS))}, SLO multiplier {SLO:g}, "
            f"{len(SEEDS)} workloads each, drawn from the traces' `test` inputs with seeds "
            f"{SEEDS[0]} to {SEEDS[-1]}, which nothing was trained, tuned or chosen on, but which "
            "have been looked at while these pages were written. The agents were trained in these "
            "scenarios at these loads, on `train` inputs; what they do elsewhere is not shown. "
            "Means over the seeds, with 95 % intervals; `*` marks what is not significantly "
            "different from the best (paired t-test, Holm, 5 %). Written by"
        ),
        "```sh\nmake leaderboard\n```",
        wrapped(short),
        "## Goals",
        goals([section]),
        "## Everything in one table",
        wrapped(
            "Violations in per cent / ANTT; `gittins`, `slack-index` and `moore-hodgson` know what "
            "the agents know. No schedule beats a bound, and none reaches both at once, as a rule."
        ),
        summary_table(mean),
        "## Training",
        wrapped(
            "How the shipped agents were trained, on two cores. The objective, on validation "
            "workloads, is that of `dysta_gym.agents.protocol.objective`."
        ),
        trained(),
        wrapped(
            "The shipped networks, and the same recipes with other seeds where `docs/agents/seeds` "
            "has some, judged on the same test workloads, over all conditions. *Halved*: "
            "conditions where Dysta violates more than 1 %, and the agent at most half of that. "
            "`@monitored`: the same networks with no more than Dysta knows."
        ),
        spread(means(seeds)),
        "## All conditions",
        wrapped(
            "Means over conditions, each counting alike: of violations the mean, of ANTT over its "
            "bound the geometric mean, of the means over seeds; wins: share of workloads that a "
            f"policy serves better than `{REFERENCE}`, ties half. Here and below, sorted by "
            "violations in per cent plus ANTT."
        ),
        overall(results),
        "## Condition by condition",
        wrapped("*To Oracle* and */ Oracle* are the gaps to the paper's Oracle."),
        *condition_tables(results),
    ]
    return "\n\n".join(parts) + "\n"


def readme_part(results: pd.DataFrame) -> str:
    """What the README shows."""
    return "Violations in per cent / ANTT:\n\n" + summary_table(means(results))


def main() -> None:
    """Measure, and write the page and the README's part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaderboard")
    parser.add_argument("--page", type=Path, default=Path("docs/leaderboard.md"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    arguments = parser.parse_args()
    everyone = measure([*dict.fromkeys([*LISTED, *OTHERS])])
    results = everyone[everyone["policy"].isin(LISTED)]
    files = [policy_of_file(str(path)) for path in sorted(SEED_FILES.glob("*.npz"))]
    seeds = [results[results["policy"].isin([*OURS, *EQUAL, REFERENCE])]]
    if files:
        others = measure(files)
        others["policy"] = others["policy"].str.partition("@")[0]
        seeds.append(others)
    text = page(results, everyone, pd.concat(seeds))
    with replacing(arguments.page) as scratch:
        scratch.write_text(text, encoding="utf-8")
    between(arguments.readme, BEGIN, END, readme_part(results))
    print(text[: text.index("## All conditions")])


if __name__ == "__main__":
    main()
