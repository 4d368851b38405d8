"""Figures 12 to 15 and Table 5: the schedulers, compared on workloads that the figures share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dysta_gym import figures
from dysta_gym.comparison import CELL, PAPER_POLICIES
from dysta_gym.information import LEVELS
from dysta_gym.reproduction.context import METRICS, Context, Findings, Item, Result, Runs
from dysta_gym.reproduction.formats import METRIC_NAMES, of_metric
from dysta_gym.statistics import ALPHA, summarise

PAPER_SLO = 10.0
"""The paper's SLO multiplier wherever it does not vary."""

ESTIMATING_RULES = ("sjf", "prema", "sdrm3", "dysta")
"""The paper's rules that estimate latencies, so that more information changes them."""

TABLE5_METRICS = (*METRICS, "throughput")
"""Table 5's columns; the artifact calls the throughput STP."""

DYSTA = "dysta"
ORACLE = "dysta_oracle"

PUBLISHED = "monitored"
"""The level of the published monitor, which the other options are compared with."""

EVEN = 0.005
"""Share within which two values are called level."""


def _main(context: Context, points: int) -> list[Runs]:
    return [
        Runs(kind, deployment.main[:points], (PAPER_SLO,), PAPER_POLICIES)
        for kind, deployment in context.deployments.items()
    ]


def _levels(context: Context) -> list[Runs]:
    policies = tuple(f"{rule}@{level}" for rule in ESTIMATING_RULES for level in LEVELS)
    return [
        Runs(kind, deployment.main[:1], (PAPER_SLO,), policies)
        for kind, deployment in context.deployments.items()
    ]


def _across_slos(context: Context) -> list[Runs]:
    return [
        Runs(kind, deployment.main, context.slos, PAPER_POLICIES)
        for kind, deployment in context.deployments.items()
    ]


def _across_offers(context: Context) -> list[Runs]:
    return [
        Runs(kind, deployment.offers, (PAPER_SLO,), PAPER_POLICIES)
        for kind, deployment in context.deployments.items()
    ]


def _result(
    results: pd.DataFrame,
    draw: Callable[[pd.DataFrame], Figure],
    findings: Callable[[pd.DataFrame], Mapping[str, Any]],
) -> Result:
    summary = summarise(results, [*TABLE5_METRICS, "antt_lower_bound"])
    # The bound is the workload's: policies do not differ in it.
    summary = summary[[name for name in summary if not str(name).startswith("antt_lower_bound_")]]
    return Result(summary, partial(draw, summary), findings(summary))


# --- Figure 12 and Table 5 -----------------------------------------------------------------------


def _figure12(context: Context) -> Result:
    results = context.results(_main(context, 2))
    return _result(results, lambda _: figures.trade_off(results, columns=2), _standing)


def _table5(context: Context) -> Result:
    results = context.results(_main(context, 1))
    return _result(results, lambda summary: figures.dots(summary, TABLE5_METRICS), _standing)


def _standing(summary: pd.DataFrame) -> dict[str, Any]:
    """Per condition: Dysta beside the best of the others (`_dysta_beside`)."""
    return {
        condition_key(condition): _dysta_beside(group) for condition, group in _conditions(summary)
    }


def _conditions(summary: pd.DataFrame) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    return [(tuple(condition), group) for condition, group in summary.groupby(CELL, sort=False)]


def condition_key(condition: Sequence[Any]) -> str:
    """What findings call a condition, whose values are those of `CELL`."""
    return figures.condition_title(dict(zip(CELL, condition, strict=True)))


def _dysta_beside(group: pd.DataFrame) -> dict[str, Any]:
    """Per metric: Dysta, its Oracle and the best of the others.

    ``dysta_among_best`` is whether Dysta is not significantly worse than the best of all seven.
    """
    rows = group.set_index("policy")
    others = rows.drop(index=["dysta", ORACLE])
    found: dict[str, Any] = {}
    for metric in METRICS:
        best = str(others[metric].idxmin())
        found[metric] = {
            "dysta": float(rows.loc["dysta", metric]),  # type: ignore[arg-type]
            "oracle": float(rows.loc[ORACLE, metric]),  # type: ignore[arg-type]
            "best_other": float(others.loc[best, metric]),  # type: ignore[arg-type]
            "best_other_policy": best,
            "dysta_among_best": bool(rows[f"{metric}_p"]["dysta"] >= ALPHA),
        }
    found["dysta_is_best_in_both"] = all(
        found[metric]["dysta"] <= found[metric]["best_other"] for metric in METRICS
    )
    return found


def _section_standing(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """Dysta, its Oracle and the best of the others at each point."""
    rows = []
    for where, each in found.items():
        for metric in METRICS:
            at = each[metric]
            dysta, oracle, best = (
                of_metric(metric, at[which]) for which in ("dysta", "oracle", "best_other")
            )
            among = "yes" if at["dysta_among_best"] else "no"
            best = f"{best} ({at['best_other_policy']})"
            rows.append([where, METRIC_NAMES[metric], dysta, oracle, best, among])
    ahead = sum(each["dysta_is_best_in_both"] for each in found.values())
    return {"rows": rows, "ahead": ahead, "points": len(found)}


def paired(
    results: pd.DataFrame, policy: str, reference: str
) -> dict[str, dict[str, dict[str, float]]]:
    """Per condition and metric: ``policy`` beside ``reference``, on the same workloads.

    ``change`` is the difference, ``ratio`` the quotient of their averages and ``p`` the p-value of
    the paired test of `dysta_gym.statistics` of the two by themselves.
    """
    both = results[results["policy"].isin([policy, reference])]
    found = {}
    for condition, group in _conditions(summarise(both, METRICS)):
        rows = group.set_index("policy")
        found[condition_key(condition)] = {
            metric: {
                "change": float(rows.loc[policy, metric] - rows.loc[reference, metric]),  # type: ignore[operator, arg-type]
                "ratio": float(
                    np.divide(rows.loc[policy, metric], rows.loc[reference, metric] or np.nan)  # type: ignore[arg-type]
                ),
                "p": float(rows[f"{metric}_p"].min()),
            }
            for metric in METRICS
        }
    return found


# --- Figure 13 -----------------------------------------------------------------------------------


def _figure13(context: Context) -> Result:
    results = context.results(_levels(context))
    return _result(
        results,
        lambda summary: figures.by_level(summary, METRICS),
        partial(_per_level, results),
    )


def _per_level(results: pd.DataFrame, summary: pd.DataFrame) -> dict[str, Any]:
    """Per condition and rule: each metric at each level, and what monitoring changes.

    ``monitored_less`` has what `paired` says of it beside the levels `static` and `pattern`.
    """
    found: dict[str, Any] = {}
    for condition, group in _conditions(summary):
        at: dict[Any, Any] = group.set_index("policy").to_dict("index")
        found[condition_key(condition)] = {
            rule: {
                metric: {level: at[f"{rule}@{level}"][metric] for level in LEVELS}
                for metric in METRICS
            }
            for rule in ESTIMATING_RULES
        }
    for rule in ESTIMATING_RULES:
        for level in ("static", "pattern"):
            beside = paired(results, f"{rule}@monitored", f"{rule}@{level}")
            for key, changes in beside.items():
                found[key][rule].setdefault("monitored_less", {})[level] = changes
    return found


def _section13(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """Each rule at each level, and what Dysta is worth where everything is known."""
    rows = [
        [
            where, rule, METRIC_NAMES[metric],
            *(of_metric(metric, value) for value in rules[rule][metric].values()),
        ]
        for where, rules in found.items()
        for rule in ESTIMATING_RULES
        for metric in METRICS
    ]  # fmt: skip
    return {
        "levels": list(LEVELS),
        "rows": rows,
        "even": EVEN,
        "beyond": [_beside_least(where, rules[DYSTA]["antt"]) for where, rules in found.items()],
    }


def _beside_least(where: str, antt: Mapping[str, float]) -> dict[str, Any]:
    """ANTT where everything is known, beside the level at which it is the least."""
    least = min(antt, key=lambda level: antt[level])
    return {
        "where": where,
        "antt": antt["clairvoyant"],
        "least": antt[least],
        "least_at": least,
        "is_least": least == "clairvoyant",
        "is_even": antt["clairvoyant"] / antt[least] - 1 < EVEN,
    }


# --- Figures 14 and 15 ---------------------------------------------------------------------------


def _figure14(context: Context) -> Result:
    def draw(summary: pd.DataFrame) -> Figure:
        return figures.curves(summary, "slo", "SLO multiplier", METRICS, ("scenario", "load"))

    results = context.results(_across_slos(context))
    return _result(results, draw, partial(_points_won, results))


def _figure15(context: Context) -> Result:
    offered = {deployment.offered for deployment in context.deployments.values()}
    along, label = (
        ("load", "load: work offered over capacity")
        if offered == {"load"}
        else ("rate", "requests/s")
    )

    def draw(summary: pd.DataFrame) -> Figure:
        return figures.curves(summary, along, label, METRICS, ("scenario",))

    results = context.results(_across_offers(context))
    return _result(results, draw, partial(_points_won, results))


def _points_won(results: pd.DataFrame, summary: pd.DataFrame) -> dict[str, Any]:
    """Per scenario and metric: where Dysta stands over all points.

    ``dysta_ahead`` counts the points at which it is as good as the best of the others but for its
    Oracle, or better; lead and lag are the least and the greatest of its metric less that of the
    best other. ``by_network`` has the violation rate of
    each network under Dysta and under the best other, where Dysta trails most in violations.
    """
    found: dict[str, Any] = {}
    for scenario, mine in summary.groupby("scenario", sort=False):
        beside = {
            condition_key(condition): _dysta_beside(group) for condition, group in _conditions(mine)
        }
        found[str(scenario)] = {"points": len(beside)}
        for metric in METRICS:
            points = {key: each[metric] for key, each in beside.items()}
            gaps = {key: each["dysta"] - each["best_other"] for key, each in points.items()}
            found[str(scenario)][metric] = {
                "dysta_ahead": sum(gap <= 0 for gap in gaps.values()),
                "widest_lead": min(gaps.items(), key=lambda gap: gap[1]),
                "widest_lag": max(gaps.items(), key=lambda gap: gap[1]),
                "best_others": sorted({each["best_other_policy"] for each in points.values()}),
            }
        rates = found[str(scenario)]["violation_rate"]
        where = rates["widest_lag"][0]
        best = rates["best_at_widest_lag"] = beside[where]["violation_rate"]["best_other_policy"]
        condition = next(each for each, _ in _conditions(mine) if condition_key(each) == where)
        found[str(scenario)]["by_network"] = _by_network(results, condition, ("dysta", best))
    return found


def _by_network(
    results: pd.DataFrame, condition: Sequence[Any], policies: Sequence[str]
) -> dict[str, tuple[float, ...]]:
    """Each network's violation rate under each of the policies, mean over seeds."""
    prefix = "violation_rate_model_"
    chosen = results[(results[CELL] == list(condition)).all(axis=1)]
    rates = chosen.groupby("policy")[[name for name in chosen if str(name).startswith(prefix)]]
    means = rates.mean().loc[list(policies)].dropna(axis=1)
    return {
        str(name).removeprefix(prefix): tuple(map(float, means[name])) for name in means.columns
    }


ITEMS = (
    Item(
        "figure12",
        "SLO violations against ANTT",
        "Dysta is better than the other schedulers in violations and turnaround at once.",
        _figure12,
        runs=partial(_main, points=2),
        section=_section_standing,
    ),
    Item(
        "figure13",
        "What each level of information adds",
        "Knowing the pattern, then monitoring the sparsity, lowers violations and turnaround.",
        _figure13,
        runs=_levels,
        section=_section13,
    ),
    Item(
        "table5",
        "Violations, ANTT and throughput of the seven schedulers",
        "Dysta has the least violations and ANTT of the practical schedulers and comes near "
        "its Oracle; throughput is about equal.",
        _table5,
        runs=partial(_main, points=1),
        section=_section_standing,
    ),
    Item(
        "figure14",
        "Across SLO multipliers from 10 to 150",
        "Dysta stays the best from tight to loose deadlines.",
        _figure14,
        runs=_across_slos,
    ),
    Item(
        "figure15",
        "Across arrival rates",
        "Dysta stays the best from low to high arrival rates.",
        _figure15,
        runs=_across_offers,
    ),
)
