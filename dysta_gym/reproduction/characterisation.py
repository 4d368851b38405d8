"""Figures 2 and 3 and Table 2: how latency and sparsity vary over inputs, by the traces alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dysta_gym.accelerators import SANGER_TILE
from dysta_gym.figures import plain, subplots
from dysta_gym.reproduction.context import Context, Findings, Item, Kind, Result
from dysta_gym.reproduction.formats import escaped, percent
from dysta_gym.styles import COLOURS
from dysta_gym.traces import Trace

QUANTILES = {"min": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "max": 100}


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean and quantiles of ``values``, shape ``(inputs,)``."""
    quantiles = np.percentile(values, list(QUANTILES.values()))
    return {
        "inputs": len(values),
        "mean": float(values.mean()),
        **dict(zip(QUANTILES, quantiles.tolist(), strict=True)),
    }


def draw_spread(
    axis: Axes, x: Iterable[float], frame: pd.DataFrame, colours: Sequence[str], width: float = 5.0
) -> None:
    """Slim box plots: a line from least to greatest, a bar over the middle half, a cross-bar."""
    x, colours = list(x), list(colours)
    axis.vlines(x, frame["min"], frame["max"], color=colours, linewidth=1.0, alpha=0.8)
    axis.vlines(x, frame["p25"], frame["p75"], color=colours, linewidth=width)
    # Wider than the bar, so that a median is seen where the middle half is a hair's breadth.
    axis.scatter(x, frame["median"], marker="_", s=(2 * width) ** 2, linewidths=1.2, c=colours,
                 zorder=3, clip_on=False)  # fmt: skip


def _relative_range(values: NDArray[np.float64]) -> float:
    """``(max - min) / mean`` of ``values``, shape ``(inputs,)`` (Table 2)."""
    return float((values.max() - values.min()) / values.mean())


def _without_group_means(
    values: NDArray[np.float64], group: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``values``, shape ``(inputs, ...)``, less the mean over the inputs of the same group."""
    result = values.copy()
    for each in np.unique(group):
        result[group == each] -= values[group == each].mean(axis=0)
    return result


# --- Figure 2 ------------------------------------------------------------------------------------

LAST_LAYERS = 2


def _figure2(context: Context) -> Result:
    frames, findings = [], {}
    for trace in context.deployments["attention"].dense():
        layers = trace.latency_s.shape[1]
        last = trace.latency_s[:, -LAST_LAYERS:]
        relative = last / last.mean(axis=0)
        for offset in range(last.shape[1]):
            layer = layers - last.shape[1] + offset
            frames.append(
                pd.DataFrame(
                    {
                        "network": trace.model,
                        "layer": layer + 1,
                        "layer_name": trace.layer_names[layer],
                        "input": trace.sample_ids,
                        "length": np.nan if trace.length is None else trace.length,
                        "latency_s": last[:, offset],
                        "normalised_latency": relative[:, offset],
                    }
                )
            )
        final = relative[:, -1]
        findings[trace.model] = {
            "least": float(final.min()),
            "greatest": float(final.max()),
            "spread": float(final.std()),
            "spread_at_equal_length": (
                None if trace.length is None else float(at_equal_length(trace, final).std())
            ),
        }
    frame = pd.concat(frames, ignore_index=True)
    return Result(frame, partial(_draw_figure2, frame), findings)


def at_equal_length(trace: Trace, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values``, shape ``(inputs, ...)``, less what the text's charged length explains."""
    assert trace.length is not None
    return _without_group_means(values, -(-trace.length // SANGER_TILE))


def _section2(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """The networks, and the share of each one's variance that the input's length explains."""
    explained = {
        network: 1 - (each["spread_at_equal_length"] / each["spread"]) ** 2
        for network, each in found.items()
        if each["spread_at_equal_length"] is not None and each["spread"] > 0
    }
    return {"networks": found, "explained": explained}


def _draw_figure2(frame: pd.DataFrame) -> Figure:
    networks = list(frame.groupby("network", sort=False))
    figure, axes = subplots(
        1, len(networks), figsize=(3.3 * len(networks) + 0.4, 3.0), squeeze=False,
    )  # fmt: skip
    for axis, (network, mine) in zip(axes.flat, networks, strict=True):
        low, middle_low, middle_top, top = np.percentile(
            mine["normalised_latency"], [0, 0.5, 99.5, 100]
        )
        if top - low > 1.5 * (middle_top - middle_low):  # a few far off leave the others one bar
            low, top = middle_low, middle_top
        inputs = mine["input"].nunique()
        bins = np.linspace(low - 1e-9, top + 1e-9, int(np.clip(1.5 * np.sqrt(inputs), 6, 24)) + 1)
        outside = 100 * (~mine["normalised_latency"].between(bins[0], bins[-1])).mean()
        by_layer = list(mine.groupby("layer", sort=True))
        for index, (_, values) in enumerate(by_layer):
            final = index == len(by_layer) - 1
            axis.hist(
                values["normalised_latency"],
                bins=bins,
                weights=np.full(len(values), 100 / len(values)),
                histtype="stepfilled" if final else "step",
                color=COLOURS[0] if final else COLOURS[1],
                alpha=0.75 if final else 1,
                linewidth=1.6,
                zorder=1 if final else 2,
            )
        axis.axvline(1, color="0.3", linestyle="--", linewidth=0.9)
        axis.set_title(f"{plain(network)}, {mine['layer'].max()} layers", fontsize=10)
        left_out = f"\n({outside:.2g} % lie outside)" if outside else ""
        axis.set_xlabel("latency over its mean over inputs" + left_out)
        axis.grid(alpha=0.25, linewidth=0.6)
    axes.flat[0].set_ylabel("inputs (%)")
    figure.legend(
        handles=[
            Patch(color=COLOURS[0], alpha=0.75, label="last layer"),
            Patch(fill=False, edgecolor=COLOURS[1], linewidth=1.6, label="last but one"),
            Line2D([], [], color="0.3", linestyle="--", linewidth=0.9, label="mean"),
        ],
        loc="outside upper center", ncols=3, frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


# --- Figure 3 and Table 2 ------------------------------------------------------------------------

LIGHT = {"all": COLOURS[0], "normal": COLOURS[0], "low light": COLOURS[1]}


def _low_light(trace: Trace) -> NDArray[np.bool_]:
    """Which inputs are dark pictures, shape ``(inputs,)``."""
    dark = [bool(re.search(r"dark|low.light", each)) for each in trace.condition]
    return np.array(dark) if dark else np.zeros(len(trace.train), np.bool_)


def _figure3(context: Context) -> Result:
    rows, findings = [], {}
    for trace in context.deployments["cnn"].dense():
        dark = _low_light(trace)
        both = dark.any() and not dark.all()
        lights = {"normal": ~dark, "low light": dark} if both else {"all": np.ones_like(dark)}
        for light, chosen in lights.items():
            for layer, name in enumerate(trace.layer_names):
                values = trace.sparsity[chosen, layer]
                rows.append(
                    {
                        "network": trace.model,
                        "light": light,
                        "layer": layer + 1,
                        "layer_name": name,
                        **spread(values),
                    }
                )
        ranges = np.ptp(trace.sparsity, axis=0)
        findings[trace.model] = {
            "median_layer_range": float(np.median(ranges)),
            "greatest_layer_range": float(ranges.max()),
            "low_light_minus_normal": (
                float(trace.sparsity[dark].mean() - trace.sparsity[~dark].mean()) if both else None
            ),
        }
    frame = pd.DataFrame(rows)
    return Result(frame, partial(_draw_figure3, frame), findings)


def _section3(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """The networks, and by how many points dark pictures change each one's sparsity."""
    darker = {
        network: 100 * each["low_light_minus_normal"]
        for network, each in found.items()
        if each["low_light_minus_normal"] is not None
    }
    return {"networks": found, "darker": darker}


def _draw_figure3(frame: pd.DataFrame) -> Figure:
    networks = list(frame.groupby("network", sort=False))
    figure, axes = subplots(
        len(networks), 1, figsize=(9.5, 1.75 * len(networks) + 0.6), squeeze=False,
        sharey=True,
    )  # fmt: skip
    for axis, (network, mine) in zip(axes.flat, networks, strict=True):
        layers = int(mine["layer"].max())
        lights = list(mine.groupby("light", sort=False))
        for index, (light, values) in enumerate(lights):
            shift = 0.4 * (index - (len(lights) - 1) / 2)
            draw_spread(
                axis, values["layer"] + shift, values, [LIGHT[str(light)]] * len(values),
                width=min(6.0, 110 / layers),
            )  # fmt: skip
        axis.set_xlim(0.2, layers + 0.8)
        axis.set_ylim(-0.03, 1)
        axis.set_title(f"{plain(network)}, {layers} layers", fontsize=10, loc="left")
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.set_ylabel("zeros in the\nlayer's input")
    axes.flat[-1].set_xlabel("layer")
    handles: list[Any] = [
        Patch(color=colour, label=light)
        for light, colour in LIGHT.items()
        if light in set(frame["light"]) - {"all"}
    ]
    handles.append(Line2D([], [], color="0.4", linewidth=6, label="middle half of the inputs"))
    handles.append(Line2D([], [], color="0.4", linewidth=1, label="least to greatest"))
    handles.append(Line2D([], [], color="0.4", marker="_", markersize=11, linestyle="",
                          markeredgewidth=1.4, label="median"))  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False,
                  fontsize=9)  # fmt: skip
    return figure


RANGES = {
    "valid_macs": "valid MACs, the paper's measure",
    "sparsity": "activation sparsity, mean over layers",
    "latency": "isolated latency",
}
"""What Table 2 takes the relative range of."""


def network_measures(context: Context, kind: Kind, trace: Trace) -> dict[str, NDArray[np.float64]]:
    """What is known of each input as a whole: measures named in `RANGES`, each ``(inputs,)``."""
    measures = {"sparsity": trace.sparsity.mean(axis=1), "latency": trace.isolated_s}
    valid_macs = context.deployments[kind].measure(trace, "valid_macs")
    if valid_macs is not None:
        measures["valid_macs"] = valid_macs.sum(axis=1, dtype=np.float64)
    return measures


def _table2(context: Context) -> Result:
    rows = []
    for trace in context.deployments["cnn"].traces:
        dark = _low_light(trace)
        measures = network_measures(context, "cnn", trace)
        chosen = {"all": np.ones_like(dark)}
        if dark.any() and not dark.all():
            chosen["normal light"] = ~dark
        for inputs, mine in chosen.items():
            rows.append(
                {
                    "network": trace.model,
                    "pattern": trace.pattern,
                    "inputs": inputs,
                    "mean_sparsity": measures["sparsity"][mine].mean(),
                    **{
                        f"{name}_range": (
                            _relative_range(measures[name][mine]) if name in measures else np.nan
                        )
                        for name in RANGES
                    },
                }
            )
    frame = pd.DataFrame(rows)
    drawn = frame[[(m, p) in _dense_of(context) for m, p in zip(frame["network"], frame["pattern"],
                                                                  strict=True)]]  # fmt: skip
    findings = {
        row["network"]: {
            "pattern": row["pattern"],
            **{name: row[f"{name}_range"] for name in RANGES},
        }
        for row in drawn[drawn["inputs"] == "all"].to_dict("records")
    }
    return Result(frame, partial(_draw_table2, drawn), findings)


def _section_table2(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """Each network's ranges, the widest in latency, and the patterns where not all are dense."""
    patterns = {network: each["pattern"] for network, each in found.items()}
    widest = max(found, key=lambda network: found[network]["latency"])
    return {
        "patterns": {} if set(patterns.values()) == {"dense"} else patterns,
        "rows": [
            [
                escaped(network),
                *("" if np.isnan(each[name]) else percent(each[name]) for name in RANGES),
            ]
            for network, each in found.items()
        ],
        "widest": widest,
        "range": found[widest]["latency"],
    }


def _dense_of(context: Context) -> set[tuple[str, str]]:
    return {(trace.model, trace.pattern) for trace in context.deployments["cnn"].dense()}


def _draw_table2(frame: pd.DataFrame) -> Figure:
    networks = list(dict.fromkeys(frame["network"]))
    figure, axis = subplots(figsize=(7.5, 0.55 * len(networks) + 1.7))
    for index, (name, marker) in enumerate(zip(RANGES, "so^", strict=True)):
        for inputs, filled in (("all", True), ("normal light", False)):
            mine = frame[frame["inputs"] == inputs].set_index("network")[f"{name}_range"].dropna()
            axis.plot(
                100 * mine,
                [networks.index(str(network)) + 0.2 * (index - 1) for network in mine.index],
                linestyle="",
                marker=marker,
                color=COLOURS[index],
                markerfacecolor=COLOURS[index] if filled else "white",
                clip_on=False,
                zorder=3,
            )
    axis.set_yticks(range(len(networks)), list(map(plain, networks)))
    axis.set_ylim(len(networks) - 0.5, -0.5)
    axis.set_xlim(0, 105 * np.nanmax(frame[[f"{name}_range" for name in RANGES]].to_numpy()))
    axis.grid(alpha=0.25, linewidth=0.6, axis="x")
    for edge in range(1, len(networks)):
        axis.axhline(edge - 0.5, color="0.85", linewidth=0.6)
    axis.set_xlabel("relative range over inputs, (max - min) / mean (%)")
    handles = [
        Line2D([], [], color=COLOURS[index], marker=marker, linestyle="", label=label)
        for index, ((name, label), marker) in enumerate(zip(RANGES.items(), "so^", strict=True))
        if frame[f"{name}_range"].notna().any()
    ]
    if "normal light" in set(frame["inputs"]):
        handles.append(
            Line2D([], [], color="0.4", marker="o", markerfacecolor="white", linestyle="",
                   label="without the dark pictures")
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


ITEMS = (
    Item(
        "figure2",
        "Latency of the last layers of attention networks, over inputs",
        "The latency of a language model's last layers on a sparse-attention accelerator "
        "varies widely from input to input.",
        _figure2,
        "attention",
        section=_section2,
    ),
    Item(
        "figure3",
        "Activation sparsity of CNNs, layer by layer, over inputs",
        "The activation sparsity of a CNN's layers varies from picture to picture, "
        "over data sets with normal and with low light.",
        _figure3,
        "cnn",
        section=_section3,
    ),
    Item(
        "table2",
        "Relative range of the sparsity of whole CNNs",
        "The share of valid operations of a whole CNN has a noticeable relative range, "
        "(max - min) / mean, over these pictures.",
        _table2,
        "cnn",
        section=_section_table2,
    ),
)
