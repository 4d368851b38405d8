"""Judge every rule and agent on every track, once: the page, the README, entries, shipped rows.

    python -m benchmarks.leaderboard --because "WHY"

The seeds of the tracks are looked at by this: the reason goes into docs/looks.csv, with the date.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

import dysta_gym
from benchmarks.page import Goal, Section, goals
from benchmarks.readme import between
from dysta_gym import board
from dysta_gym.companions import write_csv
from dysta_gym.comparison import CELL, DYSTA_FORMS
from dysta_gym.entries import FORMAT, Entry, claims_of
from dysta_gym.hindsight import BOUND_OF
from dysta_gym.policies import find
from dysta_gym.statistics import aggregate
from dysta_gym.tables import interval, markdown
from dysta_gym.tracks import compare_on, digest, load_track, shipped_tracks

ORDER = ("paper", "deployments", "unseen-networks", "unseen-mix", "unseen-load", "long")
"""Of the tracks on the page; others follow."""

TRACKS = sorted(shipped_tracks(), key=lambda name: ([*ORDER, name].index(name), name))

METRICS = ["violation_rate", "weighted_violation_rate", "antt", *BOUND_OF.values()]
REACHED = "violation_rate_in_hindsight"

AGENTS = ("pareto", "evolved", "ppo", "dqn")
"""The best first."""

LEAN = "preference=0.5"
"""Of `pareto`: nearer to the least ANTT than what it has unless one asks."""

RULES = (
    "fcfs", "edf", "llf", "round_robin", "random", "sjf", "sptp", "prema", "prema-tuned",
    "planaria", "sdrm3", "sdrm3-tuned", "gittins", "edf-triage", "moore-hodgson",
    "moore-hodgson-tuned", "slack-index", "slack-pull", "dysta", "dysta-fp16", "dysta-cycles",
    "dysta-rtl", "dysta-tuned",
)  # fmt: skip
"""The installed rules, without aliases and agents."""

BLIND = {"fcfs", "edf", "round_robin", "random"}
"""Rules that do not look at estimates: the same at every level, up to ties."""

KNOWING = "sized/kalman"
"""What the agents know."""

LISTED = [
    *(find(rule).spec for rule in RULES),
    *(
        f"{rule}@{level}"
        for level in ("monitored", KNOWING)
        for rule in RULES
        if rule not in BLIND and find(rule).level != level
    ),
    *(f"{agent}@{level}" for agent in AGENTS for level in (KNOWING, "monitored")),
    f"pareto@{KNOWING}:{LEAN}",
    "dysta@clairvoyant",
]
"""What the tables list: rules at their own level, with monitoring, with all that an agent knows."""

FORMS = {level: [f"{form}@{level}" for form in DYSTA_FORMS] for level in ("monitored", KNOWING)}
"""Dysta in all its forms, with what it knows and with what the agents know."""

OWN_FORMS = [find(form).spec for form in DYSTA_FORMS]
REFERENCE = list(dict.fromkeys([*OWN_FORMS, *FORMS["monitored"], *FORMS[KNOWING]]))
"""All of these: what "the best of Dysta's forms" is chosen from, where no level is named."""

SUMMARY = (
    *OWN_FORMS, "dysta@clairvoyant", f"dysta-tuned@{KNOWING}", f"gittins@{KNOWING}",
    f"slack-index@{KNOWING}", f"edf-triage@{KNOWING}", f"moore-hodgson@{KNOWING}",
    f"moore-hodgson-tuned@{KNOWING}", f"pareto@{KNOWING}:{LEAN}",
    *(f"{agent}@{KNOWING}" for agent in AGENTS),
)  # fmt: skip
"""What the README's table shows."""

SHORT = (
    f"dysta-tuned@{KNOWING}", f"gittins@{KNOWING}", f"slack-index@{KNOWING}",
    f"moore-hodgson@{KNOWING}", *(f"{agent}@{KNOWING}" for agent in AGENTS),
)  # fmt: skip
"""What is shown condition by condition, beside the best of Dysta's forms."""

ENTERED = (
    "fcfs", "sjf", "prema", "planaria", "sdrm3", *DYSTA_FORMS, "gittins", "slack-index",
    "edf-triage", "moore-hodgson", *AGENTS,
)  # fmt: skip
"""What is entered, at its own level."""

LEAST_RATE = 0.01
"""Violation rates below which nobody is asked to halve them."""

MOST = 6
"""Rules that are named where they beat an agent on both."""

PAGE, README, LOOKS = Path("docs/leaderboard.md"), Path("README.md"), Path("docs/looks.csv")
ENTRIES = Path("dysta_gym/data/entries")
BEGIN, END = "<!-- leaderboard: make leaderboard -->\n", "<!-- /leaderboard -->"


def measure(
    policies: Sequence[str], tracks: Sequence[str] = TRACKS, **options: Any
) -> pd.DataFrame:
    """Run policies on tracks."""
    return compare_on(tracks, policies, progress=counting, **options)


def counting(done: int, total: int) -> None:
    """Show on a terminal how far it is."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total} ", end="\n" * (done == total), file=sys.stderr, flush=True)


def means(results: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, by condition and policy."""
    return results.groupby([*CELL, "policy"], sort=False)[METRICS].mean()


def pair(row: Any) -> str:
    """Violations in per cent, and ANTT."""
    return f"{100 * row['violation_rate']:.2f} / {row['antt']:.2f}"


def pooled(results: pd.DataFrame) -> pd.DataFrame:
    """Averages over the conditions of a track, beside the best of Dysta's forms."""
    return aggregate(results, [*METRICS, REACHED], REFERENCE).set_index("policy")


def way(row: Any, metric: str, bound: float) -> str:
    """Per cent of the way from the best of Dysta's forms to the bound that a policy has gone."""
    base = row[metric] - row[f"{metric}_diff"]
    return f"{-100 * row[f'{metric}_diff'] / (base - bound):.0f}"


def overview(parts: dict[str, pd.DataFrame], policies: Sequence[str]) -> str:
    """Policies x tracks: violations in per cent / ANTT over its bound."""
    rows = [
        [
            f"`{policy}`",
            *(
                f"{100 * part.loc[policy, 'violation_rate']:.2f} / {part.loc[policy, 'antt']:.3f}"
                for part in parts.values()
            ),
        ]
        for policy in policies
    ]
    first = [part.iloc[0] for part in parts.values()]
    rows.append(["(in hindsight)", *(f"{100 * row[REACHED]:.2f}" for row in first)])
    late = BOUND_OF["violation_rate"]
    rows.append(["(lower bounds)", *(f"{100 * row[late]:.2f} / 1" for row in first)])
    return markdown(["policy", *parts], rows)


def track_table(part: pd.DataFrame) -> str:
    """Every policy on a track, the least of violations in per cent plus ANTT over bound first."""
    cost = 100 * part["violation_rate"] + part["antt"]
    rows = [
        [
            f"`{policy}`",
            interval(row, "violation_rate", ".2f", 100),
            way(row, "violation_rate", row[BOUND_OF["violation_rate"]]),
            f"{100 * row['violation_rate_wins']:.0f}",
            f"{100 * row['weighted_violation_rate']:.2f}",
            interval(row, "antt", ".3f"),
            way(row, "antt", 1.0),
            f"{100 * row['antt_wins']:.0f}",
        ]
        for policy, row in part.loc[cost.sort_values().index].iterrows()
    ]
    head = [
        "policy", "violations (%)", "way (%)", "wins (%)", "by priority (%)", "ANTT / bound",
        "way (%)", "wins (%)",
    ]  # fmt: skip
    return markdown(head, rows)


def best_form(mean: pd.DataFrame, level: str | None = None) -> pd.DataFrame:
    """By condition, the least violations and the least ANTT of Dysta's forms, at a level or all."""
    forms = REFERENCE if level is None else FORMS[level]
    chosen = mean[mean.index.get_level_values("policy").isin(forms)]
    return chosen.groupby(CELL, sort=False).min()


def condition_table(mean: pd.DataFrame) -> str:
    """A row a condition: violations and ANTT of a few policies, and the bounds."""
    best = best_form(mean)
    rows = []
    for condition, part in mean.groupby(CELL, sort=False):
        scenario, load, _, slo = condition
        at = part.droplevel(CELL)
        limits = at.iloc[0]
        rows.append(
            [
                scenario,
                f"{load:.3g}",
                f"{slo:g}",
                pair(best.loc[condition]),
                *(pair(at.loc[name]) for name in SHORT),
                f"{100 * limits[BOUND_OF['violation_rate']]:.2f} / {limits[BOUND_OF['antt']]:.2f}",
            ]
        )
    head = [
        "scenario", "load", "SLO x", "best Dysta", *(name.partition("@")[0] for name in SHORT),
        "bounds",
    ]  # fmt: skip
    return markdown(head, rows)


def beaten(mean: pd.DataFrame, agent: str, others: Sequence[str]) -> dict[str, int]:
    """In how many conditions which of the others have fewer violations and a lower ANTT."""
    mine = mean.xs(agent, level="policy")
    found = {}
    for name in others:
        theirs = mean.xs(name, level="policy")
        both = (theirs["violation_rate"] < mine["violation_rate"]) & (theirs["antt"] < mine["antt"])
        if both.any():
            found[name] = int(both.sum())
    return found


def judged(mean: pd.DataFrame, agent: str) -> list[Goal]:
    """The goals on a track, and what an agent makes of them."""
    found = []
    for level in ("monitored", KNOWING):
        mine = mean.xs(f"{agent}@{level}", level="policy")
        dysta = best_form(mean, level).loc[mine.index]
        many = dysta["violation_rate"] > LEAST_RATE
        halved = mine["violation_rate"][many] <= 0.5 * dysta["violation_rate"][many]
        found.append(
            Goal(
                f"`{agent}@{level}`: at most half of the violations of Dysta's best form at that "
                f"level, where these exceed {LEAST_RATE:.0%}",
                f"in {int(halved.sum())} of {len(halved)} conditions",
                bool(halved.all()),
            )
        )
    lean = mean.xs(f"{agent}@{KNOWING}:{LEAN}", level="policy")
    dysta = best_form(mean, KNOWING).loc[lean.index]
    better = (lean <= dysta)[["violation_rate", "antt"]].all(axis=1)
    found.append(
        Goal(
            f"`{agent}@{KNOWING}:{LEAN}`: neither more violations than Dysta's best form at that "
            "level nor a higher ANTT than the best one",
            f"in {int(better.sum())} of {len(better)} conditions",
            bool(better.all()),
        )
    )
    others = [name for name in LISTED if not name.startswith(AGENTS) and "clairvoyant" not in name]
    above = beaten(mean, f"{agent}@{KNOWING}", others)
    conditions = mean.groupby(CELL).ngroups
    ordered = sorted(above.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"`{name}` in {count}" for name, count in ordered[:MOST])
    told += f", {len(above) - MOST} more in as many or fewer" * (len(above) > MOST)
    found.append(
        Goal(
            f"no rule has fewer violations and a lower ANTT than `{agent}@{KNOWING}`",
            f"{told} of {conditions}" if above else f"none has, in any of {conditions} conditions",
            not above,
        )
    )
    return found


def looks() -> str:
    """When the seeds were looked at."""
    with LOOKS.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return markdown(head, rows, words=len(head))


def look(tracks: Sequence[str], policies: Sequence[str], why: str) -> None:
    """Record that the seeds of some tracks are being looked at."""
    new = not LOOKS.exists()
    with LOOKS.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(["date", "version", "tracks", "policies", "why"])
        today = datetime.now(UTC).date().isoformat()
        told = [today, dysta_gym.__version__, " ".join(tracks), len(policies), why]
        writer.writerow(told)


def page_part(results: pd.DataFrame, agent: str) -> str:
    """The generated part of the page."""
    parts = {name: pooled(part) for name, part in results.groupby("track", sort=False)}
    sections = [
        "## Everything in one table",
        "Violations in per cent / ANTT over its bound, means over the conditions of each track:",
        overview(parts, LISTED),
        "## Track by track",
    ]
    for name, part in results.groupby("track", sort=False):
        track, mean = load_track(name), means(part)
        conditions, seeds = mean.groupby(CELL).ngroups, track.seeds
        sections += [
            f"### {name}",
            f"{track.description} {conditions} conditions, {seeds.count} workloads each, "
            f"seeds from {seeds.first}.",
            goals([Section(name, goals=judged(mean, agent))]),
            track_table(parts[name]),
            f"#### {name}, condition by condition",
            condition_table(mean),
        ]
    return "\n\n".join([*sections, "## Looks", looks()])


def readme_part(results: pd.DataFrame) -> str:
    """What the README shows."""
    parts = {name: pooled(part) for name, part in results.groupby("track", sort=False)}
    return (
        "Violations in per cent / ANTT over its lower bound, means over the conditions of each "
        "track:\n\n" + overview(parts, SUMMARY)
    )


def entries(results: pd.DataFrame) -> list[Entry]:
    """An entry for each of `ENTERED`."""
    made = []
    for name in ENTERED:
        policy = find(name)
        own = results[results["policy"] == policy.spec]
        claims = [
            claim
            for track, part in own.groupby("track", sort=False)
            for claim in claims_of(load_track(track), part)
        ]
        made.append(
            Entry(
                format=FORMAT,
                name=name,
                policy=name,
                level=policy.level,
                version=dysta_gym.__version__,
                claims=tuple(claims),
            )
        )
    return made


def write_shipped(results: pd.DataFrame) -> None:
    """Write the rows and the conditions that `dysta_gym.leaderboard` shows."""
    rows = board.pooled(results)
    entered = {find(name).spec: name for name in ENTERED}
    rows.insert(2, "entry", rows["policy"].map(entered).fillna(""))
    for frame, path in ((rows, board.ROWS), (conditions(results), board.CONDITIONS)):
        frame.attrs = results.attrs
        write_csv(frame, path, command="make leaderboard")


def conditions(results: pd.DataFrame) -> pd.DataFrame:
    """What was run under each condition, and the bound of ANTT for each seed."""
    found = []
    for name, part in results.groupby("track", sort=False):
        track = load_track(name)
        first = part[part["policy"] == part["policy"].iloc[0]]
        groups = first.groupby(CELL, sort=False)[BOUND_OF["antt"]]
        for condition, (where, bounds) in zip(track.conditions(), groups, strict=True):
            assert condition.where == where
            found.append(
                {
                    "track": name,
                    "scenario": where[0],
                    "load": where[1],
                    "slo": where[3],
                    "workloads": digest(condition, track.seeds),
                    BOUND_OF["antt"]: " ".join(map(repr, bounds.tolist())),
                }
            )
    return pd.DataFrame(found)


def main() -> None:
    """Measure, and write the page, the README's part, the entries and the shipped rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaderboard")
    parser.add_argument("--because", required=True, help="why the seeds are looked at")
    why = parser.parse_args().because
    look(TRACKS, LISTED, why)
    results = measure(LISTED)
    between(PAGE, BEGIN, END, page_part(results, AGENTS[0]))
    between(README, BEGIN, END, readme_part(results))
    for entry in entries(results):
        entry.save(ENTRIES / f"{entry.name}.yaml")
    write_shipped(results)


if __name__ == "__main__":
    main()
