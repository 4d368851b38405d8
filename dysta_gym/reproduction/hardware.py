"""What Dysta's hardware costs it: numbers of fewer bits, and a queue of so many entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dysta_gym.figures import (
    QUANTITIES,
    axis_label,
    condition_title,
    empty,
    scale_axis,
)
from dysta_gym.reproduction.context import (
    METRICS,
    Context,
    Deployment,
    Findings,
    Item,
    Result,
    Runs,
    Setting,
)
from dysta_gym.reproduction.formats import pair
from dysta_gym.reproduction.scheduling import DYSTA, PAPER_SLO
from dysta_gym.statistics import summarise
from dysta_gym.styles import COLOURS, rule_styles
from dysta_gym.traces import reference_split

FORMATS: Mapping[str, tuple[int, int]] = {
    "fp32": (24, 8),
    "fp16": (11, 5),
    "bf16": (8, 8),
    "fp8 e5m2": (3, 5),
    "fp8 e4m3": (4, 4),
}
"""Bits of the significand, the hidden one included, and of the exponent."""

DOUBLE = "fp64"

UNITS = ("seconds", "mean isolated latencies")
"""What times are counted in; the published rule, and so the paper's hardware, in seconds."""

DEPTHS = (8, 16, 32, 64, 128, None)
FAST_DEPTHS = (8, 64, None)
PAPER_DEPTH = 64

DEPTH_RULES = ("dysta", "dysta-tuned", "sjf", "prema", "sdrm3")


def _precise(deployment: Deployment) -> dict[tuple[str, str], str]:
    """Policy of each unit and format."""
    mean_s = deployment.scenario.store().mean_isolated_s(reference_split("test"))
    policies = {}
    for unit, setting in zip(UNITS, ("", f"time_unit={mean_s!r}"), strict=True):
        policies[unit, DOUBLE] = "dysta" + (f":{setting}" if setting else "")
        for name, (significand, exponent) in FORMATS.items():
            bits = f"significand={significand},exponent={exponent}"
            policies[unit, name] = "dysta-fp16:" + ",".join(filter(None, (setting, bits)))
    return policies


def _depths(context: Context) -> tuple[int | None, ...]:
    return FAST_DEPTHS if context.fast else DEPTHS


def _precision_runs(deployment: Deployment) -> Runs:
    policies = tuple(_precise(deployment).values())
    return Runs(deployment.kind, deployment.main, (PAPER_SLO,), policies)


def _depth_runs(deployment: Deployment, depth: int | None) -> Runs:
    setting = Setting(queue_limit=depth)
    return Runs(deployment.kind, deployment.main, (PAPER_SLO,), DEPTH_RULES, setting)


def _runs(context: Context) -> list[Runs]:
    return [
        runs
        for deployment in context.deployments.values()
        for runs in (
            _precision_runs(deployment),
            *(_depth_runs(deployment, depth) for depth in _depths(context)),
        )
    ]


def _precision(context: Context) -> Result:
    parts = []
    for deployment in context.deployments.values():
        summary = summarise(context.results([_precision_runs(deployment)]), METRICS)
        named = {policy: key for key, policy in _precise(deployment).items()}
        summary.insert(0, "study", "precision")
        summary["unit"] = [named[policy][0] for policy in summary["policy"]]
        summary["format"] = [named[policy][1] for policy in summary["policy"]]
        parts.append(summary)
        for depth in _depths(context):
            summary = summarise(context.results([_depth_runs(deployment, depth)]), METRICS)
            summary.insert(0, "study", "queue depth")
            summary["queue_limit"] = np.nan if depth is None else depth
            parts.append(summary)
    frame = pd.concat(parts, ignore_index=True)
    # Which is the best of one setting's policies is no question here.
    frame = frame[[name for name in frame if not str(name).endswith(("_p", "_best"))]]
    return Result(frame, partial(_draw, frame), _findings(frame))


def _findings(frame: pd.DataFrame) -> dict[str, Any]:
    """Per scenario and load: each metric by unit and format, and by policy and queue depth."""
    found: dict[str, Any] = {}
    for (scenario, load), group in frame.groupby(["scenario", "load"], sort=False):
        here: dict[str, Any] = {"precision": {}, "queue depth": {}}
        for row in group.to_dict("records"):
            values = {metric: row[metric] for metric in METRICS}
            if row["study"] == "precision":
                here["precision"].setdefault(row["unit"], {})[row["format"]] = values
            else:
                depth = None if np.isnan(row["queue_limit"]) else int(row["queue_limit"])
                here["queue depth"].setdefault(row["policy"], {})[depth] = values
        found[condition_title({"scenario": scenario, "load": load})] = here
    return found


# --- the picture ---------------------------------------------------------------------------------


def _draw(frame: pd.DataFrame) -> Figure:
    panels = list(frame.groupby(["scenario", "load"], sort=False))
    figure = empty(2.55 * len(panels) + 0.8, 9.4)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.12, 1), hspace=0.04)
    by_unit = [(COLOURS[0], "o"), (COLOURS[1], "s")]
    by_rule = [(style.colour, style.marker) for style in rule_styles(DEPTH_RULES).values()]
    for part, study in zip(parts, ("precision", "queue depth"), strict=True):
        styles = by_unit if study == "precision" else by_rule
        axes = part.subplots(2, len(panels), squeeze=False, sharex=True)
        for column, ((scenario, load), group) in enumerate(panels):
            mine = group[group["study"] == study]
            lines, ticks = (_by_format if study == "precision" else _by_depth)(mine)
            for row, metric in enumerate(METRICS):
                axis = axes[row, column]
                for index, (_, values) in enumerate(lines):
                    # What is drawn first is drawn larger, so that it is not hidden.
                    _line(axis, values, metric, *styles[index], 1 - index / len(lines))
                tilt = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
                axis.set_xticks(range(len(ticks)), ticks, fontsize=8,
                                **(tilt if study == "precision" else {}))  # fmt: skip
                axis.margins(x=0.06)
                scale_axis(axis, QUANTITIES[metric])
                axis.grid(alpha=0.25, linewidth=0.6)
                if column == 0:
                    axis.set_ylabel(axis_label(QUANTITIES[metric]), fontsize=9)
            heading = condition_title({"scenario": scenario, "load": load})
            axes[0, column].set_title(heading, fontsize=10)
        label = "number format" if study == "precision" else "requests that the scheduler sees"
        part.supxlabel(label, fontsize=10)
        handles = [
            Line2D([], [], color=colour, marker=marker, markersize=4, label=name)
            for (name, _), (colour, marker) in zip(lines, styles, strict=True)
        ]
        title = "dysta, times counted in" if study == "precision" else None
        part.legend(handles=handles, title=title, loc="outside upper center", ncols=5,
                    frameon=False, fontsize=9, title_fontsize=9)  # fmt: skip
    return figure


def _line(
    axis: Axes, values: pd.DataFrame, metric: str, colour: str, marker: str, first: float
) -> None:
    scale = QUANTITIES[metric].scale
    x = range(len(values))
    axis.plot(x, scale * values[metric], color=colour, marker=marker, markersize=3.5 + 3 * first,
              linewidth=1 + 1.4 * first, clip_on=False, zorder=3)  # fmt: skip
    axis.fill_between(x, scale * values[f"{metric}_low"], scale * values[f"{metric}_high"],
                      color=colour, alpha=0.12, linewidth=0)  # fmt: skip


def _by_format(group: pd.DataFrame) -> tuple[list[tuple[str, pd.DataFrame]], Sequence[str]]:
    formats = [DOUBLE, *FORMATS]
    lines = [
        (unit, group[group["unit"] == unit].set_index("format").loc[formats]) for unit in UNITS
    ]
    return lines, formats


def _by_depth(group: pd.DataFrame) -> tuple[list[tuple[str, pd.DataFrame]], Sequence[str]]:
    first = group[group["policy"] == DEPTH_RULES[0]]
    ticks = ["all" if np.isnan(depth) else f"{depth:.0f}" for depth in first["queue_limit"]]
    return [(rule, group[group["policy"] == rule]) for rule in DEPTH_RULES], ticks


# --- the section of the page ---------------------------------------------------------------------


def _section(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """Dysta in each format, and with the queue of the paper beside one without limit."""
    formats = [DOUBLE, *FORMATS]
    studied = [
        (where, unit, by_format)
        for where, studies in found.items()
        for unit, by_format in studies["precision"].items()
    ]
    half = [(by_format["fp16"], by_format[DOUBLE]) for _, _, by_format in studied]
    worst = max(
        (by_format[name]["antt"] / by_format[DOUBLE]["antt"], name, unit, where)
        for where, unit, by_format in studied
        for name in FORMATS
    )
    depths = {where: studies["queue depth"][DYSTA] for where, studies in found.items()}
    return {
        "formats": formats,
        "rows": [
            [where, unit, *(pair(by_format[name]) for name in formats)]
            for where, unit, by_format in studied
        ],
        "half_rate": max(abs(a["violation_rate"] - b["violation_rate"]) for a, b in half),
        "half_antt": max(abs(a["antt"] / b["antt"] - 1) for a, b in half),
        "worst": dict(zip(("ratio", "format", "unit", "where"), worst, strict=True)),
        "unit_free": UNITS[1],
        "depth": PAPER_DEPTH,
        "depths": {where: (at[PAPER_DEPTH], at[None]) for where, at in depths.items()},
    }


ITEMS = (
    Item(
        "precision",
        "What the number format and the queue's depth cost",
        "The scheduler computes in half precision and has 64 entries.",
        _precision,
        runs=_runs,
        section=_section,
        heading="Precision and queue depth",
    ),
)
