"""Table 4: how well the remaining latency is predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from dysta_gym.figures import plain, subplots
from dysta_gym.predictors import PREDICTORS, predict, prediction_error, remaining_sums
from dysta_gym.reproduction.context import Context, Findings, Item, Result
from dysta_gym.reproduction.formats import escaped, significant
from dysta_gym.styles import COLOURS
from dysta_gym.traces import Trace

PAPER_PREDICTORS = ("average", "last_n", "last")
"""The paper's ways to form its factor, the published one first."""

KNOWS_LENGTH = ("sized", "sized_kalman")
"""Predictors that are told the input's length."""

USES_LENGTH = (*KNOWS_LENGTH, "length")
"""Predictors that are another one on traces without lengths."""


def _predictors(trace: Trace) -> list[str]:
    """The predictors that differ on a trace."""
    return [name for name in PREDICTORS if trace.length is not None or name not in USES_LENGTH]


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
    figure, axes = subplots(
        lines, columns, figsize=(2.2 * columns + 0.8, 2.5 * lines + 0.9), squeeze=False,
        sharey=True,
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
        axis.set_title(plain(network), fontsize=10)
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


# --- the section of the page ---------------------------------------------------------------------


def _section(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """Each predictor's error on each network, and how often which is the best."""
    names = list(dict.fromkeys(name for each in found.values() for name in each["relative_rmse"]))
    gains = [
        each["relative_rmse"][each["best_of_paper"]] / each["relative_rmse"][each["best_monitor"]]
        for each in found.values()
    ]
    return {
        "names": names,
        "rows": [
            [escaped(network), *(_error(each, name) for name in names)]
            for network, each in found.items()
        ],
        "networks": len(found),
        "paper": tally(each["best_of_paper"] for each in found.values()),
        "monitors": tally(each["best_monitor"] for each in found.values()),
        "least_gain": min(gains),
        "greatest_gain": max(gains),
    }


def _error(each: Mapping[str, Any], name: str) -> str:
    """A predictor's error on a network, bold for the best of those that know as much."""
    if name not in each["relative_rmse"]:
        return ""
    relative, ms = (
        significant(value, 3)
        for value in (100 * each["relative_rmse"][name], each["rmse_ms"][name])
    )
    best = each["best_monitor"] if name not in KNOWS_LENGTH else each["best"]
    return f"**{relative} ({ms})**" if name == best else f"{relative} ({ms})"


def tally(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs, in the order in which they first do."""
    return dict(Counter(names))


ITEMS = (
    Item(
        "table4",
        "Error of the remaining latency, by predictor and layers seen",
        "Three ways to form the correction: over all executed layers, the last three, "
        "the last one.",
        _table4,
        section=_section,
    ),
)
