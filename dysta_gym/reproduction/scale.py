"""Dysta's scale: seconds added to a ratio, on networks of milliseconds and of hundreds of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dysta_gym.figures import QUANTITIES, axis_label, scale_axis, subplots
from dysta_gym.reproduction.context import (
    METRICS,
    Context,
    Deployment,
    Findings,
    Item,
    Kind,
    Result,
    Runs,
    Setting,
)
from dysta_gym.reproduction.formats import pair, time
from dysta_gym.reproduction.scheduling import PAPER_SLO
from dysta_gym.statistics import summarise
from dysta_gym.styles import COLOURS
from dysta_gym.traces import reference_split

PUBLISHED_BETA = 0.01

UNIT_FREE = f"dysta-tuned:beta={PUBLISHED_BETA},time_unit=1.0"
"""The published rule with times in mean isolated latencies, and nothing tuned."""

AT_SPEEDS: Mapping[str, str] = {
    "dysta": "dysta",
    "dysta_oracle": "dysta, clairvoyant",
    "dysta-tuned": "dysta-tuned",
}
"""Policies compared across speeds, and how the picture calls them."""

BESIDE = ("dysta", "dysta_oracle", UNIT_FREE, "dysta-tuned", "sjf@monitored", "sjf@clairvoyant")
"""Policies compared at the scenarios' own speed."""


def _betas(context: Context) -> list[float]:
    exponents = range(-6, 2, 2 if context.fast else 1)
    return [0.0, *(10.0**exponent for exponent in exponents)]


def _units(context: Context) -> list[float]:
    return [10.0**exponent for exponent in range(-6, 3, 2 if context.fast else 1)]


def _speeds(context: Context) -> list[float]:
    return [0.1, 1.0, 1000.0] if context.fast else [10.0**exponent for exponent in range(-2, 4)]


def _by_beta(context: Context) -> dict[str, tuple[str, float]]:
    """Line and beta of each policy of the first sweep."""
    return {
        **{f"dysta:beta={beta!r}": ("seconds", beta) for beta in _betas(context)},
        **{
            f"dysta-tuned:beta={beta!r},time_unit=1.0": ("mean isolated latencies", beta)
            for beta in _betas(context)
        },
    }


def _by_unit(context: Context) -> dict[str, float]:
    """Unit in seconds of each policy of the second sweep."""
    return {f"dysta:time_unit={unit!r}": unit for unit in _units(context)}


def _sweep_runs(context: Context, kind: Kind) -> Runs:
    policies = dict.fromkeys((*_by_beta(context), *_by_unit(context), *BESIDE))
    main = context.deployments[kind].main[:1]
    return Runs(kind, main, (PAPER_SLO,), tuple(policies))


def _speed_runs(context: Context, kind: Kind, speed: float) -> Runs:
    main = context.deployments[kind].main[:1]
    return Runs(kind, main, (PAPER_SLO,), tuple(AT_SPEEDS), Setting(speed=speed))


def _runs(context: Context) -> list[Runs]:
    return [
        runs
        for kind in context.deployments
        for runs in (
            _sweep_runs(context, kind),
            *(_speed_runs(context, kind, speed) for speed in _speeds(context)),
        )
    ]


def _mean_s(deployment: Deployment) -> float:
    return deployment.scenario.store().mean_isolated_s(reference_split("test"))


def _scale(context: Context) -> Result:
    parts = []
    for kind, deployment in context.deployments.items():
        swept = summarise(context.results([_sweep_runs(context, kind)]), METRICS)
        at = swept.set_index("policy")
        by_beta, by_unit = _by_beta(context), _by_unit(context)
        for study, chosen, lines, values in (
            ("beta", list(by_beta), [line for line, _ in by_beta.values()],
             [beta for _, beta in by_beta.values()]),
            ("time_unit", list(by_unit), ["dysta"] * len(by_unit), list(by_unit.values())),
            ("beside", list(BESIDE), list(BESIDE), [np.nan] * len(BESIDE)),
        ):  # fmt: skip
            part = at.loc[chosen].reset_index()
            parts.append(part.assign(study=study, line=lines, value=values))
        for speed in _speeds(context):
            part = summarise(context.results([_speed_runs(context, kind, speed)]), METRICS)
            mean_ms = 1e3 * _mean_s(deployment) / speed
            parts.append(part.assign(study="speed", line=part["policy"], value=mean_ms))
    frame = pd.concat(parts, ignore_index=True)
    kept = [f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")]
    first = ["study", "scenario", "load", "rate", "slo", "line", "value", "policy"]
    frame = frame[[*first, *kept]]
    means = {d.scenario.name: _mean_s(d) for d in context.deployments.values()}
    return Result(frame, partial(_draw, frame, means), _findings(frame, means))


def _findings(frame: pd.DataFrame, means: Mapping[str, float]) -> dict[str, Any]:
    """Per scenario: mean isolated latency, the policies beside one another, and each sweep."""
    found: dict[str, Any] = {}
    for scenario, mine in frame.groupby("scenario", sort=False):
        here: dict[str, Any] = {"mean_isolated_s": means[str(scenario)]}
        for study, group in mine.groupby("study", sort=False):
            for row in group.to_dict("records"):
                values = {metric: row[metric] for metric in METRICS}
                lines = here.setdefault(str(study), {})
                if study == "beside":
                    lines[row["line"]] = values
                else:
                    lines.setdefault(row["line"], {})[row["value"]] = values
        found[str(scenario)] = here
    return found


# --- the picture ---------------------------------------------------------------------------------

STUDIES = {
    "beta": "weight beta, logarithmic above 1e-6",
    "time_unit": "time_unit of dysta (s), logarithmic",
    "speed": "mean isolated latency (ms), logarithmic",
}
LINES: Mapping[str, Mapping[str, str]] = {
    "beta": {
        "seconds": "times in seconds",
        "mean isolated latencies": "times in mean isolated\nlatencies",
    },
    "time_unit": {},
    "speed": AT_SPEEDS,
}
"""How the picture calls the lines of each study."""

STYLE: Mapping[str, Literal["-", "--", ":"]] = {
    "seconds": "-", "mean isolated latencies": "--", "dysta": "-", "dysta_oracle": ":",
    "dysta-tuned": "--",
}  # fmt: skip


def _draw(frame: pd.DataFrame, means: Mapping[str, float]) -> Figure:
    figure, axes = subplots(2, 3, figsize=(10.6, 5.6), sharex="col")
    scenarios = list(dict.fromkeys(frame["scenario"]))
    for column, study in enumerate(STUDIES):
        for row, metric in enumerate(METRICS):
            axis = axes[row, column]
            scale = QUANTITIES[metric].scale
            for colour, scenario in zip(COLOURS, scenarios, strict=False):
                mine = frame[(frame["study"] == study) & (frame["scenario"] == scenario)]
                for line, values in mine.groupby("line", sort=False):
                    values = values.sort_values("value")
                    axis.plot(
                        values["value"], scale * values[metric], STYLE[str(line)], color=colour,
                        marker="o", markersize=3.5, linewidth=1.4,
                    )  # fmt: skip
                    axis.fill_between(
                        values["value"], scale * values[f"{metric}_low"],
                        scale * values[f"{metric}_high"], color=colour, alpha=0.08, linewidth=0,
                    )  # fmt: skip
                at = {"time_unit": means[scenario], "speed": 1e3 * means[scenario]}.get(study)
                if at is not None:
                    axis.axvline(at, color=colour, linewidth=0.8, alpha=0.6, dashes=(6, 3))
            _axes(axis, study, metric)
            if column == 0:
                axis.set_ylabel(axis_label(QUANTITIES[metric]))
        published = {"beta": PUBLISHED_BETA, "time_unit": 1.0}.get(study)
        for axis in axes[:, column] if published is not None else ():
            axis.axvline(published, color="0.5", linewidth=0.9, linestyle=(0, (1, 1.5)))
        axes[-1, column].set_xlabel(STUDIES[study])
        axes[0, column].set_title(
            {"beta": "weight", "time_unit": "unit", "speed": "slower or faster networks"}[study],
            fontsize=10,
        )
        handles = [
            Line2D([], [], color="0.3", linestyle=STYLE[line], label=name)
            for line, name in LINES[study].items()
        ]
        if handles:
            axes[1, column].legend(handles=handles, frameon=False, fontsize=8, loc="best")
    handles = [
        Line2D([], [], color=colour, label=scenario)
        for colour, scenario in zip(COLOURS, scenarios, strict=False)
    ]
    handles.append(Line2D([], [], color="0.5", linewidth=0.9, linestyle=(0, (1, 1.5)),
                          label="as published"))  # fmt: skip
    handles.append(Line2D([], [], color="0.3", linewidth=0.8, dashes=(6, 3),
                          label="the scenario's mean isolated latency"))  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def _axes(axis: Axes, study: str, metric: str) -> None:
    if study == "beta":
        axis.set_xscale("symlog", linthresh=1e-6, linscale=1.2)
        axis.set_xticks([0, 1e-6, 1e-4, 1e-2, 1], ["0", "1e-6", "1e-4", "0.01", "1"])
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xscale("log")
    scale_axis(axis, QUANTITIES[metric])
    axis.grid(alpha=0.25, linewidth=0.6)


# --- the section of the page ---------------------------------------------------------------------

APART = 1.02
"""Factor of ANTT from which the Oracle counts as behind Dysta, or ahead of it."""


def _section(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """The policies beside one another, each sweep in its extremes, and where the Oracle stands."""
    return {
        "rows": [
            [f"`{scenario}`", time(each["mean_isolated_s"])]
            + [pair(each["beside"][name]) for name in BESIDE]
            for scenario, each in found.items()
        ],
        "published_beta": PUBLISHED_BETA,
        "apart": APART - 1,
        "sweeps": {scenario: _extremes(each) for scenario, each in found.items()},
        **_oracle(found),
    }


def _extremes(each: Mapping[str, Any]) -> dict[str, Any]:
    """Where each sweep of a scenario is at its least, and its greatest."""
    betas, units, speeds = each["beta"]["seconds"], each["time_unit"]["dysta"], each["speed"]
    rate, antt = (min(betas, key=lambda beta: (betas[beta][metric], beta)) for metric in METRICS)
    best, worst = (choose(units, key=lambda unit: units[unit]["antt"]) for choose in (min, max))
    return {
        "best_rate": (rate, betas[rate]),
        "best_antt": (antt, betas[antt]),
        "best_unit": (best, units[best]["antt"]),
        "worst_unit": (worst, units[worst]["antt"]),
        "means_s": [1e-3 * end(speeds["dysta"]) for end in (min, max)],
        "antts": {
            name: [end(at["antt"] for at in speeds[name].values()) for end in (min, max)]
            for name in AT_SPEEDS
        },
    }


def _oracle(found: Findings) -> dict[str, list[tuple[float, str]]]:
    """Where the Oracle is behind Dysta, and where ahead of it: mean latencies and scenarios."""
    places: dict[str, list[tuple[float, str]]] = {"behind": [], "ahead": []}
    for scenario, each in found.items():
        for mean_ms, at in sorted(each["speed"]["dysta_oracle"].items()):
            ratio = at["antt"] / each["speed"]["dysta"][mean_ms]["antt"]
            if ratio > APART:
                places["behind"].append((1e-3 * mean_ms, scenario))
            elif ratio < 1 / APART:
                places["ahead"].append((1e-3 * mean_ms, scenario))
    return places


ITEMS = (
    Item(
        "scale",
        "What Dysta's weight and unit do to networks of milliseconds and of hundreds of them",
        "One weight, 0.01, for networks of tens to hundreds of milliseconds.",
        _scale,
        runs=_runs,
        section=_section,
        heading="The scale of Dysta",
    ),
)
