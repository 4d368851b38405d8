"""Pictures of results."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd

from dysta_gym.benchmark import CELL, summarise
from dysta_gym.errors import DystaError
from dysta_gym.files import replacing
from dysta_gym.information import LEVELS
from dysta_gym.policies import find

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

# Okabe and Ito's colours, which colour-blind readers tell apart, then darker shades of them.
_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C6D00",
    "#7F7F7F", "#6A3D9A", "#7A2E00",
)  # fmt: skip
_MARKERS = {"static": "o", "pattern": "s", "monitored": "^", "clairvoyant": "*"}


def trade_off(results: pd.DataFrame) -> Figure:
    """Violation rate against ANTT, a panel a scenario, load and SLO multiplier.

    Means over seeds with 95 % bootstrap intervals; the colour is the rule, the marker the level of
    information, the dashed line the lower bound on ANTT.

    Args:
        results: What `dysta_gym.benchmark.compare` returns.
    """
    summary = summarise(results, ["violation_rate", "antt", "antt_lower_bound"])
    styles = {name: _rule_and_level(name) for name in summary["policy"].unique()}
    rules = list(dict.fromkeys(rule for rule, _ in styles.values()))
    colour = {rule: _COLOURS[index % len(_COLOURS)] for index, rule in enumerate(rules)}
    panels = list(summary.groupby(CELL, sort=False))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.6 * columns + 2.0, 3.4 * rows + 0.4),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis, (condition, panel) in zip(axes.flat, panels, strict=False):
        scenario, load, _, slo = condition
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
                markersize=10 if level == "clairvoyant" else 6.5,
                markeredgecolor="white",
                markeredgewidth=0.6,
                elinewidth=0.7,
                alpha=0.9,
                clip_on=False,
            )  # fmt: skip
        bound = panel["antt_lower_bound"].iloc[0]
        axis.axhline(bound, color="0.4", linestyle="--", linewidth=0.9)
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
        # Good policies crowd at a few percent: linear up to 1 %, logarithmic above.
        axis.set_xscale("symlog", linthresh=1, linscale=0.5)
        axis.set_xlim(0, 100)
        axis.set_xticks([0, 1, 2, 5, 10, 20, 50, 100], minor=False)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_title(f"{scenario}, load {load:.3g}, SLO x {slo:g}", fontsize=10)
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


def _rule_and_level(name: str) -> tuple[str, str]:
    """What a policy's name says of its rule, with its parameters, and of its level."""
    try:
        policy = find(name)
        name = policy.spec
    except DystaError:  # a policy of one's own, which was compared as an object
        pass
    head, colon, settings = name.partition(":")
    rule, _, level = head.partition("@")
    return rule + colon + settings, level or "static"


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to ``path`` (PNG or PDF by its suffix), whole or not at all."""
    with replacing(path) as scratch:
        figure.savefig(scratch, dpi=150)
    plt.close(figure)
