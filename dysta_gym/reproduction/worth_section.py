"""What the page says of the worth of predictions: which is the best, for whom, and why no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dysta_gym.reproduction.context import METRICS, Findings
from dysta_gym.reproduction.formats import signed, workload
from dysta_gym.reproduction.prediction import KNOWS_LENGTH, tally
from dysta_gym.reproduction.scheduling import DYSTA, PUBLISHED
from dysta_gym.statistics import ALPHA

MONITORS = ("monitored/linear", "monitored/kalman", "monitored/length")
"""Options that only monitor, and that the paper lacks."""

MONITOR_OPTIONS = ("monitored/last_n", "monitored/last", *MONITORS)
"""All options that only monitor, but the published one."""

ORDERED_BY = (PUBLISHED, "monitored/length")
"""Levels at which the order of the requests is compared: of predictors average and length."""

SAME_ORDER = 0.01
"""Difference of two rank correlations up to which they order requests alike."""

WITH_LENGTH = ("sized", "sized/kalman")

SHOWN = ("static", PUBLISHED, "monitored/kalman", "monitored/length", "sized", "clairvoyant")
"""Levels in the table of what predictions are worth."""


def section(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """Which predictor predicts best, which schedules best, what that is worth, and why no more."""
    networks = made.get("table4", {})
    lengths = bool(_known(found, WITH_LENGTH[:1]))
    levels = [level for level in SHOWN if lengths or level not in WITH_LENGTH]
    return {
        "levels": levels,
        "rows": [
            [workload(where), rule, *(_marked_cell(metrics, level) for level in levels)]
            for where, rules in found.items()
            for rule, metrics in rules.items()
        ],
        "predicts": _predicts_best(networks),
        "schedules": _schedules_best(found),
        "changes": _changes(found),
        "order": _same_order(networks) if lengths else {},
        "exaggerated": _exaggerated(found) if lengths else [],
        "sized": _sized_beside(found) if lengths else {},
    }


def _known(found: Findings, levels: Sequence[str]) -> list[str]:
    """Those of the levels that some workload has."""
    return [
        level
        for level in levels
        if any(level in rules[DYSTA]["antt"]["by_level"] for rules in found.values())
    ]


def _rules(found: Findings) -> list[str]:
    return list(next(iter(found.values())))


def _marked_cell(metrics: Mapping[str, Any], level: str) -> str:
    """Both metrics at a level, each with a mark where it differs from the published monitor's."""
    cells = []
    for metric, scale, form in (("violation_rate", 100, ".1f"), ("antt", 1, ".2f")):
        value = metrics[metric]["by_level"].get(level)
        if value is None:
            return ""
        over = metrics[metric]["over_monitored"].get(level)
        differs = over and over["p"] < ALPHA
        mark = ("▲" if over["change"] > 0 else "▼") if differs else ""
        cells.append(f"{scale * value:{form}}{mark}")
    return ", ".join(cells)


def _predicts_best(networks: Findings) -> dict[str, Any]:
    """On how many networks which predictor is the best, that monitors or is told the length."""
    best = [each["best"] for each in networks.values()]
    return {
        "networks": len(networks),
        "monitors": tally(each["best_monitor"] for each in networks.values()),
        "told": tally(name for name in best if name in KNOWS_LENGTH),
    }


def _schedules_best(found: Findings) -> dict[str, Any]:
    """How often each monitor is among the best of the monitors, by rule, and which always is."""
    monitors = _known(found, (PUBLISHED, *MONITOR_OPTIONS))
    rows, always = [], dict.fromkeys(monitors, True)
    for rule in _rules(found):
        row = [rule]
        for level in monitors:
            known = [
                rules[rule] for rules in found.values() if level in rules[rule]["antt"]["by_level"]
            ]
            times = {
                metric: sum(level in each[metric]["best_monitors"] for each in known)
                for metric in METRICS
            }
            row.append(", ".join(f"{count}/{len(known)}" for count in times.values()))
            always[level] &= times["antt"] == len(known)
        rows.append(row)
    return {
        "monitors": monitors,
        "rows": rows,
        "always": [level for level in monitors if always[level]],
    }


def _changes(found: Findings) -> dict[str, Any]:
    """What each level changes of each rule beside the published monitor, and how surely."""
    levels = _known(found, (*MONITORS, *WITH_LENGTH[:1]))
    monitors, length = _known(found, MONITORS), _known(found, WITH_LENGTH[:1])
    antts = _over(found, "antt", MONITORS)
    raised = [each["change"] for each in antts if each["p"] < ALPHA]
    return {
        "levels": levels,
        "rows": [
            [rule, *(_range_cell(found, rule, level) for level in levels)] for rule in _rules(found)
        ],
        "only_raised": bool(raised) and min(raised) > 0,
        "raised": len(raised),
        "cases": len(antts),
        "monitors": _significant(found, monitors),
        "length": _significant(found, length),
        "sized": _by_rule(found, length[0]) if length else {},
        "sized_level": WITH_LENGTH[0],
    }


def _over(
    found: Findings, metric: str, levels: Sequence[str], rules: Sequence[str] | None = None
) -> list[Mapping[str, float]]:
    """What levels change of a metric beside the published monitor: of some rules, or of all."""
    return [
        mine[rule][metric]["over_monitored"][level]
        for mine in found.values()
        for rule in (mine if rules is None else rules)
        for level in levels
        if level in mine[rule][metric]["over_monitored"]
    ]


def _range_cell(found: Findings, rule: str, level: str) -> str:
    """The least and the greatest change of both metrics over the workloads."""
    rates = [100 * each["change"] for each in _over(found, "violation_rate", [level], [rule])]
    antts = [100 * (each["ratio"] - 1) for each in _over(found, "antt", [level], [rule])]
    return f"{_range(rates)}; {_range(antts)} %"


def _range(values: Sequence[float]) -> str:
    least, greatest = signed(min(values)), signed(max(values))
    return least if least == greatest else f"{least} to {greatest}"


def _significant(found: Findings, levels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How often levels change each metric significantly, for Dysta and for the other rules."""
    others = [rule for rule in _rules(found) if rule != DYSTA]
    return {
        whose: {metric: _counts(_over(found, metric, levels, rules)) for metric in METRICS}
        for whose, rules in (("dysta", [DYSTA]), ("others", others))
        if levels
    }


def _counts(over: Sequence[Mapping[str, float]]) -> dict[str, int]:
    sure = [each["change"] for each in over if each["p"] < ALPHA]
    lower = sum(change < 0 for change in sure)
    return {"lower": lower, "higher": len(sure) - lower, "cases": len(over)}


def _by_rule(found: Findings, level: str) -> dict[str, list[str]]:
    """The rules whose ANTT a level lowers, and raises, somewhere and nowhere the opposite."""
    named: dict[str, list[str]] = {"lower": [], "higher": []}
    for rule in _rules(found):
        sure = {
            "lower" if each["change"] < 0 else "higher"
            for each in _over(found, "antt", [level], [rule])
            if each["p"] < ALPHA
        }
        if len(sure) == 1:
            named[sure.pop()].append(rule)
    return named


def _same_order(networks: Findings) -> dict[str, Any]:
    """Slopes and rank correlations of two predictors, where these order requests alike."""
    orders = {
        network: {name: each["after_one_layer"][name] for name in ("average", "length")}
        for network, each in networks.items()
        if "length" in each["after_one_layer"]
    }
    ranks = [[each["rank_correlation"] for each in order.values()] for order in orders.values()]
    alike = orders and max(abs(first - second) for first, second in ranks) < SAME_ORDER
    return orders if alike else {}


def _exaggerated(found: Findings) -> list[dict[str, Any]]:
    """What a monitor that does not exaggerate does to preemptions, and to two forms of Dysta."""
    published, length = ORDERED_BY
    return [
        {
            "where": where,
            "preemptions": [rules["sjf"]["preemptions"][level] for level in (published, length)],
            "ratios": [
                rules[rule]["antt"]["over_monitored"][length]["ratio"]
                for rule in (DYSTA, "dysta-tuned")
            ],
        }
        for where, rules in found.items()
        if length in rules[DYSTA]["antt"]["by_level"]
    ]


def _sized_beside(found: Findings) -> dict[str, float]:
    """The greatest change of a rule's ANTT by monitoring on top of the length, by workload."""
    length, both = WITH_LENGTH
    return {
        where: max(
            abs(each["antt"]["by_level"][both] / each["antt"]["by_level"][length] - 1)
            for each in rules.values()
        )
        for where, rules in found.items()
        if length in rules[DYSTA]["antt"]["by_level"]
    }
