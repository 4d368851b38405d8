"""Table 4 and what follows: how well the remaining latency is predicted, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from dysta_gym.comparison import CELL
from dysta_gym.figures import (
    COLOURS,
    QUANTITIES,
    axis_label,
    condition_title,
    rule_styles,
    scale_axis,
)
from dysta_gym.information import PREDICTOR_OF
from dysta_gym.predictors import PREDICTORS, predict, prediction_error, remaining_sums
from dysta_gym.reproduction.context import METRICS, Context, Deployment, Item, Result, Runs
from dysta_gym.reproduction.scheduling import (
    ESTIMATING_RULES,
    PAPER_SLO,
    condition_key,
    paired,
)
from dysta_gym.statistics import summarise
from dysta_gym.traces import Trace

PAPER_PREDICTORS = ("average", "last_n", "last")
"""The paper's ways to form its factor, the published one first."""

KNOWS_LENGTH = ("sized", "sized_kalman")
"""Predictors that are told the input's length."""

USES_LENGTH = (*KNOWS_LENGTH, "length")
"""Predictors that are another one on traces without lengths."""

REFERENCES = ("static", "pattern", "clairvoyant")
"""Levels beside which the options are shown."""

PUBLISHED = "monitored"
"""The level of the published monitor, which the other options are compared with."""

WORTH_RULES = (*ESTIMATING_RULES, "llf", "sptp", "dysta-tuned")
"""Every rule that estimates latencies: the paper's, which the picture shows, and the others."""


def _predictors(trace: Trace) -> list[str]:
    """The predictors that differ on a trace."""
    return [name for name in PREDICTORS if trace.length is not None or name not in USES_LENGTH]


# --- Table 4 -------------------------------------------------------------------------------------


def _table4(context: Context) -> Result:
    rows = []
    findings: dict[str, Any] = {}
    for kind, deployment in context.deployments.items():
        for model, traces in deployment.by_model().items():
            errors = {name: _pooled(traces, name) for name in _predictors(traces[0])}
            for name, (seen, overall) in errors.items():
                rows += [
                    {"network": model, "kind": kind, "predictor": name, **row}
                    for row in (*seen, overall)
                ]
            relative = {name: overall["relative_rmse"] for name, (_, overall) in errors.items()}
            findings[model] = {
                "relative_rmse": relative,
                "rmse_ms": {name: overall["rmse_ms"] for name, (_, overall) in errors.items()},
                "best": min(relative, key=lambda name: relative[name]),
                "best_of_paper": min(PAPER_PREDICTORS, key=lambda name: relative[name]),
                "best_monitor": min(
                    (name for name in relative if name not in KNOWS_LENGTH),
                    key=lambda name: relative[name],
                ),
                "after_one_layer": {name: _order(traces[0], name) for name in relative},
            }
    frame = pd.DataFrame(rows)
    return Result(frame, partial(_draw_table4, frame), findings)


def _order(trace: Trace, predictor: str) -> dict[str, float]:
    """Slope of the prediction over the truth after one layer, and the correlation of their ranks.

    A slope above 1 exaggerates how inputs differ. NaN for what does not vary.
    """
    rows = trace.rows("test")
    true = remaining_sums(trace.latency_s[rows])
    layer = min(1, true.shape[1] - 1)
    x, y = true[:, layer], predict(trace, predictor, "train").remaining[rows][:, layer]
    if not (np.ptp(x) and np.ptp(y)):
        return {"slope": float("nan"), "rank_correlation": float("nan")}
    ranks = pd.DataFrame({"true": x, "predicted": y}).rank()
    return {
        "slope": float(np.polyfit(x, y, 1)[0]),
        "rank_correlation": float(ranks.corr().to_numpy()[0, 1]),
    }


def _pooled(traces: Sequence[Trace], predictor: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Error on held-out inputs of all patterns together: by layers seen, and over them.

    The second leaves out the estimate before the first layer, as `PredictionError.overall_s`.
    """
    square, true = [], []
    for trace in traces:
        error = prediction_error(trace, predictor)
        square.append(error.rmse_s**2)
        true.append(remaining_sums(trace.latency_s[trace.rows("test")]).mean(axis=0))
    mean_square, mean = np.mean(square, axis=0), np.mean(true, axis=0)
    first = min(1, len(mean) - 1)
    overall = float(np.sqrt(mean_square[first:].mean()))
    rows = [
        {
            "layers_seen": layer,
            "rmse_ms": 1e3 * np.sqrt(mean_square[layer]),
            "mean_remaining_ms": 1e3 * mean[layer],
            "relative_rmse": np.sqrt(mean_square[layer]) / mean[layer] if mean[layer] else 0.0,
        }
        for layer in range(len(mean))
    ]
    average = float(mean[first:].mean())
    return rows, {
        "layers_seen": np.nan,
        "rmse_ms": 1e3 * overall,
        "mean_remaining_ms": 1e3 * average,
        "relative_rmse": overall / average,
    }


Line = Literal["-", "--", "-.", ":"]

STYLES: Mapping[str, tuple[str, Line, float]] = {
    "pattern": (COLOURS[5], ":", 1.5),
    "last": (COLOURS[6], ":", 1.0),
    "last_n": (COLOURS[6], "-", 1.0),
    "average": (COLOURS[0], "-", 2.2),
    "linear": (COLOURS[4], "-.", 1.3),
    "kalman": (COLOURS[3], "-", 1.6),
    "length": (COLOURS[2], "-", 1.6),
    "sized": (COLOURS[1], "-", 3.0),
    "sized_kalman": (COLOURS[5], "--", 1.3),
}
"""Colour, line and width of each predictor, in the order in which they are drawn."""


def _draw_table4(frame: pd.DataFrame) -> Figure:
    networks = list(frame.groupby("network", sort=False))
    columns = min(5, len(networks))
    lines = -(-len(networks) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(2.2 * columns + 0.8, 2.5 * lines + 0.9), squeeze=False,
        layout="constrained", sharey=True,
    )  # fmt: skip
    used = [name for name in STYLES if name in set(frame["predictor"])]
    for axis, (network, mine) in zip(axes.flat, networks, strict=False):
        mine = mine.dropna(subset="layers_seen")
        # The last layers are next to nothing: an error relative to them says little.
        mine = mine[mine["mean_remaining_ms"] > 0.02 * mine["mean_remaining_ms"].max()]
        for name in used:
            colour, line, width = STYLES[name]
            values = mine[mine["predictor"] == name]
            axis.plot(values["layers_seen"], 100 * values["relative_rmse"], color=colour,
                      linestyle=line, linewidth=width)  # fmt: skip
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.set_title(str(network), fontsize=10)
        axis.grid(alpha=0.25, linewidth=0.6)
    for axis in axes.flat[len(networks) :]:
        axis.set_visible(False)
    figure.supxlabel("layers seen", fontsize=10)
    figure.supylabel("RMSE of the remaining latency\n(% of its mean, logarithmic)", fontsize=10)
    figure.legend(
        handles=[
            Line2D([], [], color=STYLES[name][0], linestyle=STYLES[name][1],
                   linewidth=STYLES[name][2], label=name)
            for name in used
        ],
        loc="outside upper center", ncols=len(used), frameon=False, fontsize=9,
        handlelength=2.1, columnspacing=1.6,
    )  # fmt: skip
    return figure


# --- what predictions are worth to the rules -----------------------------------------------------


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


ITEMS = (
    Item(
        "table4",
        "Error of the remaining latency, by predictor and layers seen",
        "Three ways to form the correction: over all executed layers, the last three, "
        "the last one.",
        _table4,
    ),
    Item(
        "predictors",
        "What each predictor, and the input's length, are worth to the rules",
        "Dysta runs on its average over all executed layers.",
        _worth,
        runs=_runs,
    ),
)
