"""Figure 4: what the pattern of pruned weights does at the same rate, from the traces alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dysta_gym.figures import legend, plain, subplots
from dysta_gym.reproduction.characterisation import draw_spread, network_measures, spread
from dysta_gym.reproduction.context import Context, Findings, Item, Result
from dysta_gym.reproduction.formats import escaped, fixed, percent
from dysta_gym.styles import COLOURS

PATTERN_MEASURES = {
    "valid_macs": "valid MACs\nover {base}",
    "latency": "latency\nover {base}",
    "sparsity": "activation\nsparsity",
}


def _kind_and_rate(pattern: str) -> tuple[str, int]:
    """``unstructured20`` or the artifact's ``unstructured_sparse20``: kind and percent pruned."""
    match = re.fullmatch(r"(.*?)(?:_sparse)?(\d+)", pattern)
    return (match[1], int(match[2])) if match else (pattern, 0)


def _figure4(context: Context) -> Result:
    rows = []
    for model, traces in context.deployments["cnn"].by_model().items():
        if len(traces) < 2:
            continue
        traces.sort(key=lambda trace: _kind_and_rate(trace.pattern)[::-1])
        measures = {trace.pattern: network_measures(context, "cnn", trace) for trace in traces}
        for name in PATTERN_MEASURES:
            if any(name not in each for each in measures.values()):
                continue
            dense = measures.get("dense")
            mean = float(np.mean([each[name].mean() for each in measures.values()]))
            base = 1.0 if name == "sparsity" else mean if dense is None else dense[name].mean()
            for trace in traces:
                kind, rate = _kind_and_rate(trace.pattern)
                rows.append(
                    {
                        "network": model,
                        "pattern": trace.pattern,
                        "kind": kind,
                        "pruned_percent": rate,
                        "measure": name,
                        "relative_to": (
                            "" if name == "sparsity" else "mean" if dense is None else "dense"
                        ),
                        **spread(measures[trace.pattern][name] / base),
                    }
                )
    frame = pd.DataFrame(rows)
    return Result(frame, partial(_draw_figure4, frame), _pattern_findings(frame))


def _pattern_findings(frame: pd.DataFrame) -> dict[str, Any]:
    """Per network, measure and rate: the patterns' means compared, and the spread over inputs."""
    found: dict[str, Any] = {}
    pruned = frame[frame["pruned_percent"] > 0].to_dict("records")
    for row in pruned:
        found.setdefault(row["network"], {}).setdefault(
            f"{row['measure']} at {row['pruned_percent']} %", []
        ).append(row)
    for network, measures in found.items():
        found[network] = {
            name: _patterns_beside(rows) for name, rows in measures.items() if len(rows) > 1
        }
    return found


def _patterns_beside(rows: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    least = min(rows, key=lambda row: row["mean"])
    greatest = max(rows, key=lambda row: row["mean"])
    return {
        "greatest_over_least": greatest["mean"] / least["mean"],
        "least_pattern": least["kind"],
        "greatest_pattern": greatest["kind"],
        "greatest_range_over_inputs": max((row["max"] - row["min"]) / row["mean"] for row in rows),
    }


def _section(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """The patterns beside one another in latency, network by network."""
    return {
        "rows": [
            [
                escaped(network),
                measure,
                f"{escaped(each['greatest_pattern'])} / {escaped(each['least_pattern'])}",
                fixed(each["greatest_over_least"]),
                percent(each["greatest_range_over_inputs"]),
            ]
            for network, measures in found.items()
            for measure, each in measures.items()
            if measure.startswith("latency")
        ]
    }


def _draw_figure4(frame: pd.DataFrame) -> Figure:
    networks = list(dict.fromkeys(frame["network"]))
    names = [name for name in PATTERN_MEASURES if name in set(frame["measure"])]
    kinds = list(dict.fromkeys(frame["kind"]))
    colour = dict(zip(sorted(kinds, key=_dense_last), cycle(COLOURS), strict=False))
    most = max(frame[frame["network"] == each]["pattern"].nunique() for each in networks)
    figure, axes = subplots(
        len(names), len(networks), squeeze=False, sharex="col", sharey="row",
        figsize=((0.25 * most + 0.45) * len(networks) + 0.8, 1.7 * len(names) + 1.1),
    )  # fmt: skip
    for column, network in enumerate(networks):
        for row, name in enumerate(names):
            axis = axes[row, column]
            mine = frame[(frame["network"] == network) & (frame["measure"] == name)]
            draw_spread(axis, range(len(mine)), mine, [colour[kind] for kind in mine["kind"]], 7.0)
            axis.grid(alpha=0.25, linewidth=0.6, axis="y")
            if column == 0:
                axis.set_ylim(0, 1.08 * frame[frame["measure"] == name]["max"].max())
                base = {"dense": "dense", "mean": "the mean", "": ""}[mine["relative_to"].iloc[0]]
                axis.set_ylabel(PATTERN_MEASURES[name].format(base=base))
            rates = mine["pruned_percent"].tolist()
            axis.set_xticks(range(len(mine)), rates, fontsize=8)
            axis.set_xlim(-0.7, len(mine) - 0.3)
            for at in range(1, len(rates)):
                if rates[at] != rates[at - 1]:
                    axis.axvline(at - 0.5, color="0.8", linewidth=0.7)
        axes[0, column].set_title(plain(network), fontsize=10)
    figure.supxlabel("weights pruned (%)", fontsize=10)
    legend(
        figure, [Patch(color=colour[kind], label=kind) for kind in kinds],
        loc="outside upper center", ncols=len(kinds), frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _dense_last(kind: str) -> tuple[bool, str]:
    return kind == "dense", kind


ITEMS = (
    Item(
        "figure4",
        "What the pattern of pruned weights does at the same rate",
        "Networks pruned at the same rate, at random or by channels, are left with different "
        "distributions of valid operations.",
        _figure4,
        "cnn",
        section=_section,
    ),
)
