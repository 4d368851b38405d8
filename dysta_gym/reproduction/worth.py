"""What predictions, and the input's length, are worth to the rules that schedule by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dysta_gym.comparison import CELL
from dysta_gym.figures import QUANTITIES, axis_label, condition_title, rule_styles, scale_axis
from dysta_gym.information import PREDICTOR_OF
from dysta_gym.reproduction.context import (
    METRICS,
    Context,
    Deployment,
    Findings,
    Item,
    Result,
    Runs,
)
from dysta_gym.reproduction.formats import signed, workload
from dysta_gym.reproduction.prediction import KNOWS_LENGTH, USES_LENGTH, tally
from dysta_gym.reproduction.scheduling import (
    DYSTA,
    ESTIMATING_RULES,
    PAPER_SLO,
    condition_key,
    paired,
)
from dysta_gym.statistics import ALPHA, summarise

REFERENCES = ("static", "pattern", "clairvoyant")
"""Levels beside which the options are shown."""

PUBLISHED = "monitored"
"""The level of the published monitor, which the other options are compared with."""

WORTH_RULES = (*ESTIMATING_RULES, "llf", "sptp", "dysta-tuned")
"""Every rule that estimates latencies: the paper's, which the picture shows, and the others."""


def _levels(deployment: Deployment) -> list[str]:
    """Levels to compare: the options that differ on these traces, between the references."""
    store = deployment.scenario.store()
    lengths = any(trace.length is not None for trace in store.traces)
    options = [
        level
        for level, predictor in PREDICTOR_OF.items()
        if level != "pattern" and (lengths or predictor not in USES_LENGTH)
    ]
    options.sort(key=lambda level: (level.startswith("sized"), list(PREDICTOR_OF).index(level)))
    return [*REFERENCES[:2], *options, REFERENCES[2]]


def _runs(context: Context) -> list[Runs]:
    return [
        Runs(
            kind,
            deployment.main,
            (PAPER_SLO,),
            tuple(f"{rule}@{level}" for rule in WORTH_RULES for level in _levels(deployment)),
        )
        for kind, deployment in context.deployments.items()
    ]


def _worth(context: Context) -> Result:
    parts = []
    findings: dict[str, Any] = {}
    for runs in _runs(context):
        results = context.results([runs])
        beside_dysta = paired(results, f"sjf@{PUBLISHED}", f"dysta@{PUBLISHED}")
        for rule in WORTH_RULES:
            names = [name for name in runs.policies if name.partition("@")[0] == rule]
            # The best among what can be had: marks are within a rule, the clairvoyant level apart.
            parts += [_marked(results, names[:-1], rule), _marked(results, names[-1:], rule)]
            for where, found in _worth_findings(results, rule, names).items():
                findings.setdefault(where, {})[rule] = found
        for where, changes in beside_dysta.items():
            findings[where]["sjf"]["antt"]["beside_dysta"] = changes["antt"]
    frame = pd.concat(parts, ignore_index=True)
    frame.insert(1, "level", frame["policy"].str.partition("@")[2])
    return Result(frame, partial(_draw_worth, frame), findings)


def _marked(results: pd.DataFrame, names: Sequence[str], rule: str) -> pd.DataFrame:
    """Policies ``names`` summed up, the best of them marked."""
    mine = results[results["policy"].isin(names)]
    part = summarise(mine, METRICS)
    part.insert(0, "rule", rule)
    preemptions = mine.groupby([*CELL, "policy"], sort=False)["preemptions"].mean().reset_index()
    return part.merge(preemptions, on=[*CELL, "policy"])


def _worth_findings(
    results: pd.DataFrame, rule: str, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Per condition, of one rule: each level, and what it changes.

    Per metric ``by_level``, ``over_monitored`` (`scheduling.paired` beside the published monitor)
    and ``best_monitors``, the options that only monitor and are not significantly worse than the
    best of these; ``preemptions`` by level.
    """
    monitors = [name for name in names if name.partition("@")[2].startswith(PUBLISHED)]
    over = {
        name.partition("@")[2]: paired(results, name, f"{rule}@{PUBLISHED}")
        for name in names
        if name != f"{rule}@{PUBLISHED}"
    }
    best = _marked(results, monitors, rule)
    found: dict[str, dict[str, Any]] = {}
    for condition, group in _marked(results, names, rule).groupby(CELL, sort=False):
        key = condition_key(tuple(condition))
        rows = group.set_index(group["policy"].str.partition("@")[2])
        mine = best[(best[CELL] == list(condition)).all(axis=1)]
        found[key] = {"preemptions": rows["preemptions"].to_dict()}
        for metric in METRICS:
            marked = mine.loc[mine[f"{metric}_best"], "policy"]
            found[key][metric] = {
                "by_level": rows[metric].to_dict(),
                "over_monitored": {level: changes[key][metric] for level, changes in over.items()},
                "best_monitors": [name.partition("@")[2] for name in marked],
            }
    return found


def _draw_worth(frame: pd.DataFrame) -> Figure:
    conditions = list(frame.groupby(CELL, sort=False))
    kinds = list(dict.fromkeys(frame["scenario"]))
    loads = -(-len(conditions) // len(kinds))
    levels = {kind: list(dict.fromkeys(frame[frame["scenario"] == kind]["level"]))
              for kind in kinds}  # fmt: skip
    most = max(map(len, levels.values()))
    styles = rule_styles(ESTIMATING_RULES)
    figure, axes = plt.subplots(
        2 * loads, len(kinds), squeeze=False, layout="constrained", sharex="col",
        figsize=(0.52 * most * len(kinds) + 1.6, 2.1 * 2 * loads + 1.2),
    )  # fmt: skip
    for index, (condition, group) in enumerate(conditions):
        column, turn = kinds.index(condition[0]), index % loads
        listed = levels[condition[0]]
        for line, metric in enumerate(METRICS):
            axis, quantity = axes[2 * turn + line, column], QUANTITIES[metric]
            scale = quantity.scale
            for place, (rule, style) in enumerate(styles.items()):
                mine = group[group["rule"] == rule]
                x = np.array([listed.index(level) for level in mine["level"]])
                x = x + 0.15 * (place - (len(ESTIMATING_RULES) - 1) / 2)
                low, high = scale * mine[f"{metric}_low"], scale * mine[f"{metric}_high"]
                axis.vlines(x, low, high, color=style.colour, linewidth=1, alpha=0.7)
                best = mine[f"{metric}_best"].to_numpy() & (mine["level"] != REFERENCES[2])
                for chosen, face in ((best, style.colour), (~best, "white")):
                    axis.plot(
                        x[chosen], scale * mine[metric][chosen], style.marker, linestyle="",
                        color=style.colour, markerfacecolor=face, markersize=4.8,
                        clip_on=False, zorder=3,
                    )  # fmt: skip
            scale_axis(axis, quantity)
            axis.grid(alpha=0.25, linewidth=0.6, axis="y")
            for edge in range(1, len(listed)):
                axis.axvline(edge - 0.5, color="0.92", linewidth=0.6)
            if column == 0:
                axis.set_ylabel(axis_label(quantity), fontsize=9)
            if line == 0:
                title = condition_title({"scenario": condition[0], "load": condition[1]})
                axis.set_title(title, fontsize=10)
            axis.set_xlim(-0.5, len(listed) - 0.5)
            axis.set_xticks(range(len(listed)), listed, rotation=40, ha="right", fontsize=8,
                            rotation_mode="anchor")  # fmt: skip
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, linestyle="", label=rule)
        for rule, style in styles.items()
    ]
    handles.append(
        Line2D([], [], color="0.4", marker="o", linestyle="",
               label="filled: the rule's best level, or not significantly different;\n"
                     "clairvoyant stays open, for it cannot be had")
    )  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    return figure


# --- the section of the page ---------------------------------------------------------------------

MONITORS = ("monitored/linear", "monitored/kalman", "monitored/length")
"""Options that only monitor, and that the paper lacks."""

MONITOR_OPTIONS = ("monitored/last_n", "monitored/last", *MONITORS)
"""All options that only monitor, but the published one."""

ORDERED_BY = ("monitored", "monitored/length")
"""Levels at which the order of the requests is compared: of predictors average and length."""

SAME_ORDER = 0.01
"""Difference of two rank correlations up to which they order requests alike."""

WITH_LENGTH = ("sized", "sized/kalman")

SHOWN = ("static", PUBLISHED, "monitored/kalman", "monitored/length", "sized", "clairvoyant")
"""Levels in the table of what predictions are worth."""


def _section(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
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
    found: Findings, metric: str, levels: Sequence[str], rules: Sequence[str] = ()
) -> list[Mapping[str, float]]:
    """What levels change of a metric beside the published monitor: of some rules, or of all."""
    return [
        mine[rule][metric]["over_monitored"][level]
        for mine in found.values()
        for rule in rules or mine
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


ITEMS = (
    Item(
        "predictors",
        "What each predictor, and the input's length, are worth to the rules",
        "Dysta runs on its average over all executed layers.",
        _worth,
        runs=_runs,
        section=_section,
        heading="What predictions are worth",
    ),
)
