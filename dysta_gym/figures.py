"""Pictures of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd

from dysta_gym.benchmark import CELL, PAPER_POLICIES
from dysta_gym.errors import DystaError
from dysta_gym.files import replacing
from dysta_gym.information import LEVELS
from dysta_gym.policies import find
from dysta_gym.statistics import summarise

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

# Okabe and Ito's colours, which colour-blind readers tell apart, then darker shades of them.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#000000", "#56B4E9", "#8C6D00",
    "#7F7F7F", "#6A3D9A", "#7A2E00", "#A4C400",
)  # fmt: skip
_MARKERS = {"static": "o", "pattern": "s", "sized": "D", "monitored": "^", "clairvoyant": "*"}
_RULE_MARKERS = "osD^vPX<>hp"

# Good policies crowd at a few percent: linear up to 1 %, logarithmic above.
_PERCENT: Mapping[str, Any] = {"linthresh": 1, "linscale": 0.5}
_PERCENT_TICKS = [0, 1, 2, 5, 10, 20, 50, 100]


def trade_off(results: pd.DataFrame, columns: int = 3) -> Figure:
    """Violation rate against ANTT, a panel a scenario, load and SLO multiplier.

    Means over seeds with 95 % bootstrap intervals; the colour is the rule, the marker the level of
    information, the dashed line the lower bound on ANTT.

    Args:
        results: What `dysta_gym.benchmark.compare` returns.
        columns: Panels beside one another, at most.
    """
    summary = summarise(results, ["violation_rate", "antt", "antt_lower_bound"])
    styles = {name: _rule_and_level(name) for name in summary["policy"].unique()}
    rules = list(dict.fromkeys(rule for rule, _ in styles.values()))
    colour, _ = rule_styles(rules)
    panels = list(summary.groupby(CELL, sort=False))
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.6 * columns + 2.0, 3.4 * rows + 0.4),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis, (condition, panel) in zip(axes.flat, panels, strict=False):
        for row in panel.to_dict("records"):
            rule, level = styles[row["policy"]]
            x, y = 100 * row["violation_rate"], row["antt"]
            spread_x = [
                [x - 100 * row["violation_rate_low"]],
                [100 * row["violation_rate_high"] - x],
            ]
            spread_y = [[y - row["antt_low"]], [row["antt_high"] - y]]
            single = row["antt_low"] != row["antt_low"]  # NaN: one seed has no interval
            axis.errorbar(
                x, y,
                xerr=None if single else spread_x,
                yerr=None if single else spread_y,
                color=colour[rule],
                marker=_MARKERS[level],
                markersize=(9 if level == "clairvoyant" else 5.5) + 3 * _first(rule, rules),
                markeredgecolor="white",
                markeredgewidth=0.6,
                elinewidth=0.7,
                alpha=0.9,
                clip_on=False,
            )  # fmt: skip
        bound = panel["antt_lower_bound"].iloc[0]
        axis.axhline(bound, color="0.4", linestyle="--", linewidth=0.9)
        _logarithmic(axis)
        axis.set_xscale("symlog", **_PERCENT)
        axis.set_xlim(0, 100)
        axis.set_xticks(_PERCENT_TICKS, [f"{tick}" for tick in _PERCENT_TICKS])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_title(_condition_title(dict(zip(CELL, condition, strict=True))), fontsize=10)
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.set_xlabel("SLO violation rate (%), logarithmic above 1 %")
        axis.set_ylabel("ANTT, logarithmic")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    levels = [level for level in LEVELS if level in {level for _, level in styles.values()}]
    handles = [
        Line2D([], [], color=colour[rule], marker="o", linestyle="", label=rule) for rule in rules
    ]
    handles += [
        Line2D([], [], color="0.3", marker=_MARKERS[level], linestyle="", label=f"@{level}")
        for level in levels
    ]
    handles.append(Line2D([], [], color="0.4", linestyle="--", label="lower bound"))
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
    return figure


@dataclass(frozen=True)
class Quantity:
    """How a metric is drawn: its label, what it is multiplied by, and its axis."""

    label: str
    scale: float = 1
    axis: Literal["linear", "log", "percent"] = "linear"


QUANTITIES: Mapping[str, Quantity] = {
    "violation_rate": Quantity("SLO violations (%)", 100, "percent"),
    "antt": Quantity("ANTT", axis="log"),
    "throughput": Quantity("throughput (requests/s)"),
}


def curves(
    summary: pd.DataFrame, along: str, label: str, metrics: Sequence[str], panels: Sequence[str]
) -> Figure:
    """Metrics of each policy along a condition: a row of panels a metric.

    Means over seeds as lines, 95 % bootstrap intervals as bands. The colour is the rule; a dashed
    line is a clairvoyant scheduler.

    Args:
        summary: What `dysta_gym.statistics.summarise` returns.
        along: Column on the horizontal axes.
        label: Its label.
        metrics: Metrics, among `QUANTITIES`.
        panels: Columns whose values set the columns of panels apart.
    """
    names = list(dict.fromkeys(summary["policy"]))
    colour, markers = rule_styles(names)
    groups = list(summary.groupby(list(panels), sort=False))
    figure, axes = plt.subplots(
        len(metrics), len(groups), figsize=(2.9 * len(groups) + 1.7, 2.5 * len(metrics) + 0.5),
        squeeze=False, layout="constrained", sharex="col",
    )  # fmt: skip
    for column, (condition, group) in enumerate(groups):
        for row, metric in enumerate(metrics):
            axis, quantity = axes[row, column], QUANTITIES[metric]
            for name, mine in group.groupby("policy", sort=False):
                rule, level = _rule_and_level(str(name))
                x = mine[along].to_numpy()
                first = _first(str(name), names)
                axis.plot(
                    x, quantity.scale * mine[metric],
                    color=colour[rule],
                    marker=markers[rule],
                    markersize=4 + 3 * first,
                    markerfacecolor="white" if level == "clairvoyant" else colour[rule],
                    linestyle="--" if level == "clairvoyant" else "-",
                    linewidth=1 + 1.6 * first,
                    clip_on=False,
                    zorder=3,
                )  # fmt: skip
                axis.fill_between(
                    x, quantity.scale * mine[f"{metric}_low"],
                    quantity.scale * mine[f"{metric}_high"],
                    color=colour[rule], alpha=0.10, linewidth=0,
                )  # fmt: skip
            scale_axis(axis, quantity)
            axis.grid(alpha=0.25, linewidth=0.6)
            if column == 0:
                axis.set_ylabel(axis_label(quantity))
        axes[0, column].set_title(_condition_title(dict(zip(panels, condition, strict=True))),
                                  fontsize=10)  # fmt: skip
        axes[-1, column].set_xlabel(label)
    handles = []
    for name in names:
        rule, level = _rule_and_level(name)
        blind = level != "clairvoyant"
        handles.append(
            Line2D(
                [],
                [],
                color=colour[rule],
                marker=markers[rule],
                markersize=5,
                label=name,
                markerfacecolor=colour[rule] if blind else "white",
                linestyle="-" if blind else "--",
            )
        )
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def by_level(summary: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """What each level of information adds to each rule: a row of panels a metric.

    Args:
        summary: What `dysta_gym.statistics.summarise` returns, of rules at several levels.
        metrics: Metrics, among `QUANTITIES`.
    """
    names = list(dict.fromkeys(summary["policy"]))
    colour, markers = rule_styles(names)
    groups = list(summary.groupby(CELL, sort=False))
    rules = list(dict.fromkeys(_rule_and_level(name)[0] for name in names))
    figure, axes = plt.subplots(
        len(metrics), len(groups), squeeze=False, layout="constrained", sharex=True,
        figsize=(0.9 * len(LEVELS) * len(groups) + 1.6, 2.6 * len(metrics) + 0.5),
    )  # fmt: skip
    for column, (condition, group) in enumerate(groups):
        for row, metric in enumerate(metrics):
            axis, quantity = axes[row, column], QUANTITIES[metric]
            for index, rule in enumerate(rules):
                # Beside one another, so that one interval does not hide the next.
                shift = 0.12 * (index - (len(rules) - 1) / 2)
                chosen = [_rule_and_level(name)[0] == rule for name in group["policy"]]
                mine = group[chosen]
                x = np.array([LEVELS.index(_rule_and_level(name)[1]) for name in mine["policy"]])
                y, low, high = (
                    quantity.scale * mine[metric + end].to_numpy() for end in ("", "_low", "_high")
                )
                axis.errorbar(
                    x + shift, y, yerr=None if np.isnan(low).any() else [y - low, high - y],
                    color=colour[rule], marker=markers[rule], markersize=5.5, linewidth=1.0,
                    elinewidth=1.0, linestyle=":",
                )  # fmt: skip
            scale_axis(axis, quantity)
            axis.set_xticks(range(len(LEVELS)), LEVELS, fontsize=9)
            axis.set_xlim(-0.5, len(LEVELS) - 0.5)
            axis.grid(alpha=0.25, linewidth=0.6, axis="y")
            if column == 0:
                axis.set_ylabel(axis_label(quantity))
        axes[0, column].set_title(
            _condition_title(dict(zip(CELL, condition, strict=True))), fontsize=10
        )
        axes[-1, column].set_xlabel("what the scheduler knows")
    handles = [
        Line2D([], [], color=colour[rule], marker=markers[rule], linestyle=":", label=rule)
        for rule in rules
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def dots(summary: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """A table of policies as dots with their 95 % intervals: a column of panels a metric.

    Args:
        summary: What `dysta_gym.statistics.summarise` returns.
        metrics: Metrics, among `QUANTITIES`.
    """
    names = list(dict.fromkeys(summary["policy"]))
    groups = list(summary.groupby(CELL, sort=False))
    figure, axes = plt.subplots(
        len(groups), len(metrics), squeeze=False, layout="constrained", sharey=True,
        figsize=(2.9 * len(metrics) + 1.0, (0.28 * len(names) + 0.95) * len(groups)),
    )  # fmt: skip
    for row, (condition, group) in enumerate(groups):
        ordered = group.set_index("policy").loc[names]
        for column, metric in enumerate(metrics):
            axis, quantity = axes[row, column], QUANTITIES[metric]
            x, low, high = (
                quantity.scale * ordered[metric + end].to_numpy() for end in ("", "_low", "_high")
            )
            axis.hlines(range(len(names)), low, high, color=COLOURS[0], linewidth=2, alpha=0.5)
            axis.plot(x, range(len(names)), "o", color=COLOURS[0], markersize=5)
            best = ordered[f"{metric}_best"].to_numpy()
            for at, value in enumerate(x):
                axis.annotate(
                    f"{value:.3g}", (value if np.isnan(high[at]) else high[at], at),
                    xytext=(6, 0), textcoords="offset points", va="center", fontsize=8,
                    fontweight="bold" if best[at] else "normal",
                )  # fmt: skip
            most = np.nanmax([x, high])
            if quantity.axis == "log":
                axis.set_xscale("log")
                axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.xaxis.set_minor_locator(NullLocator())
                axis.xaxis.set_major_formatter("{x:g}")
                axis.set_xlim(right=2 * most)
            else:
                axis.set_xlim(0, 1.22 * most)
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(len(names) - 0.5, -0.5)
            axis.grid(alpha=0.25, linewidth=0.6)
            if row == len(groups) - 1:
                axis.set_xlabel(
                    quantity.label + (", logarithmic" if quantity.axis == "log" else "")
                )
        axes[row, 0].set_title(
            _condition_title(dict(zip(CELL, condition, strict=True))), fontsize=10, loc="left"
        )
    figure.supxlabel("bold: the best, or not significantly different from it", fontsize=9)
    return figure


def _first(name: str, names: Sequence[str]) -> float:
    """How early ``name`` stands: what is drawn first is drawn larger, so that it is not hidden."""
    return 1 - names.index(name) / len(names)


def rule_styles(names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Colour and marker of each rule among ``names``; the paper's have their own everywhere."""
    rules = list(dict.fromkeys(_rule_and_level(name)[0] for name in (*PAPER_POLICIES, *names)))
    return (
        {rule: COLOURS[index % len(COLOURS)] for index, rule in enumerate(rules)},
        {rule: _RULE_MARKERS[index % len(_RULE_MARKERS)] for index, rule in enumerate(rules)},
    )


def _condition_title(condition: Mapping[str, object]) -> str:
    """``multi-attnn, load 0.95, SLO x 10``, as far as the conditions are given."""
    parts = []
    for name, form in (("scenario", "{}"), ("load", "load {:.3g}"), ("slo", "SLO x {:g}")):
        if name in condition:
            parts.append(form.format(condition[name]))
    return ", ".join(parts)


def scale_axis(axis: Axes, quantity: Quantity) -> None:
    """Set the scale, limits and ticks of the vertical axis."""
    if quantity.axis == "log":
        _logarithmic(axis)
    elif quantity.axis == "percent":
        axis.set_yscale("symlog", **_PERCENT)
        axis.set_ylim(0, 100)
        axis.set_yticks(_PERCENT_TICKS, [f"{tick}" for tick in _PERCENT_TICKS])
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        axis.set_ylim(bottom=0)


def axis_label(quantity: Quantity) -> str:
    """The label of a vertical axis, which says where it is not linear."""
    notes = {"log": ",\nlogarithmic", "percent": ",\nlogarithmic above 1 %", "linear": ""}
    return quantity.label + notes[quantity.axis]


def _logarithmic(axis: Axes) -> None:
    """A logarithmic vertical axis with ticks at 1, 2 and 5, and more where it is short."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    subs = (1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 4, 5, 7)
    axis.yaxis.set_major_locator(LogLocator(subs=subs))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")


def _rule_and_level(name: str) -> tuple[str, str]:
    """What a policy's name says of its rule, with its options, and of its level."""
    try:
        policy = find(name)
        name = policy.spec
    except DystaError:  # a policy of one's own, which was compared as an object
        pass
    head, colon, settings = name.partition(":")
    rule, _, level = head.partition("@")
    level, slash, option = level.partition("/")
    return rule + slash + option + colon + settings, level or "static"


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to ``path`` (PNG or PDF by its suffix), whole or not at all."""
    with replacing(path) as scratch:
        figure.savefig(scratch, dpi=150)
    plt.close(figure)
