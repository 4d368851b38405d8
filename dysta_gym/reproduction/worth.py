"""What predictions, and the input's length, are worth to the rules that schedule by them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dysta_gym.comparison import CELL
from dysta_gym.figures import (
    QUANTITIES,
    axis_label,
    condition_title,
    marked_note,
    scale_axis,
    subplots,
)
from dysta_gym.information import PREDICTOR_OF
from dysta_gym.reproduction.context import METRICS, Context, Deployment, Item, Result, Runs
from dysta_gym.reproduction.prediction import USES_LENGTH
from dysta_gym.reproduction.scheduling import (
    ESTIMATING_RULES,
    PAPER_SLO,
    PUBLISHED,
    condition_key,
    paired,
)
from dysta_gym.reproduction.worth_section import section
from dysta_gym.statistics import ALPHA, summarise
from dysta_gym.styles import rule_styles

REFERENCES = ("static", "pattern", "clairvoyant")
"""Levels beside which the options are shown."""

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


FILLED = (
    "filled: the rule's best level, or not significantly different;\n"
    "clairvoyant stays open, for it cannot be had"
)
"""What the picture says of its markers."""


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
            marked = mine.loc[mine[f"{metric}_p"] >= ALPHA, "policy"]
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
    figure, axes = subplots(
        2 * loads, len(kinds), squeeze=False, sharex="col",
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
                    if not chosen.any():
                        continue
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
               label=marked_note(frame, METRICS, FILLED, "filled"))
    )  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    return figure


ITEMS = (
    Item(
        "predictors",
        "What each predictor, and the input's length, are worth to the rules",
        "Dysta runs on its average over all executed layers.",
        _worth,
        runs=_runs,
        section=section,
        heading="What predictions are worth",
    ),
)
