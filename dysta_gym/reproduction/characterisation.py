"""Figures 2, 3, 4 and 9 and Table 2: how sparsity and latency vary, from the traces alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dysta_gym.accelerators import SANGER_TILE
from dysta_gym.figures import COLOURS
from dysta_gym.reproduction.context import Context, Findings, Item, Kind, Result
from dysta_gym.reproduction.formats import fixed, percent
from dysta_gym.traces import Trace

QUANTILES = {"min": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "max": 100}


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean and quantiles of ``values``, shape ``(inputs,)``."""
    quantiles = np.percentile(values, list(QUANTILES.values()))
    return {
        "inputs": len(values),
        "mean": float(values.mean()),
        **dict(zip(QUANTILES, quantiles.tolist(), strict=True)),
    }


def _draw_spread(
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
                None if trace.length is None else float(_equal_length(trace, final).std())
            ),
        }
    frame = pd.concat(frames, ignore_index=True)
    return Result(frame, partial(_draw_figure2, frame), findings)


def _equal_length(trace: Trace, values: NDArray[np.float64]) -> NDArray[np.float64]:
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
    figure, axes = plt.subplots(
        1, len(networks), figsize=(3.3 * len(networks) + 0.4, 3.0), squeeze=False,
        layout="constrained",
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
        axis.set_title(f"{network}, {mine['layer'].max()} layers", fontsize=10)
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
                        **_spread(values),
                    }
                )
        spread = np.ptp(trace.sparsity, axis=0)
        findings[trace.model] = {
            "median_layer_range": float(np.median(spread)),
            "greatest_layer_range": float(spread.max()),
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
    figure, axes = plt.subplots(
        len(networks), 1, figsize=(9.5, 1.75 * len(networks) + 0.6), squeeze=False,
        layout="constrained", sharey=True,
    )  # fmt: skip
    for axis, (network, mine) in zip(axes.flat, networks, strict=True):
        layers = int(mine["layer"].max())
        lights = list(mine.groupby("light", sort=False))
        for index, (light, values) in enumerate(lights):
            shift = 0.4 * (index - (len(lights) - 1) / 2)
            _draw_spread(
                axis, values["layer"] + shift, values, [LIGHT[str(light)]] * len(values),
                width=min(6.0, 110 / layers),
            )  # fmt: skip
        axis.set_xlim(0.2, layers + 0.8)
        axis.set_ylim(-0.03, 1)
        axis.set_title(f"{network}, {layers} layers", fontsize=10, loc="left")
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


def _network_measures(context: Context, kind: Kind, trace: Trace) -> dict[str, NDArray[np.float64]]:
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
        measures = _network_measures(context, "cnn", trace)
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
            [network, *("" if np.isnan(each[name]) else percent(each[name]) for name in RANGES)]
            for network, each in found.items()
        ],
        "widest": widest,
        "range": found[widest]["latency"],
    }


def _dense_of(context: Context) -> set[tuple[str, str]]:
    return {(trace.model, trace.pattern) for trace in context.deployments["cnn"].dense()}


def _draw_table2(frame: pd.DataFrame) -> Figure:
    networks = list(dict.fromkeys(frame["network"]))
    figure, axis = plt.subplots(figsize=(7.5, 0.55 * len(networks) + 1.7), layout="constrained")
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
    axis.set_yticks(range(len(networks)), networks)
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


# --- Figure 4 ------------------------------------------------------------------------------------

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
        measures = {trace.pattern: _network_measures(context, "cnn", trace) for trace in traces}
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
                        **_spread(measures[trace.pattern][name] / base),
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


def _section4(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """The patterns beside one another in latency, network by network."""
    return {
        "rows": [
            [
                network,
                measure,
                f"{each['greatest_pattern']} / {each['least_pattern']}",
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
    figure, axes = plt.subplots(
        len(names), len(networks), squeeze=False, layout="constrained", sharex="col", sharey="row",
        figsize=((0.25 * most + 0.45) * len(networks) + 0.8, 1.7 * len(names) + 1.1),
    )  # fmt: skip
    for column, network in enumerate(networks):
        for row, name in enumerate(names):
            axis = axes[row, column]
            mine = frame[(frame["network"] == network) & (frame["measure"] == name)]
            _draw_spread(axis, range(len(mine)), mine, [colour[kind] for kind in mine["kind"]], 7.0)
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
        axes[0, column].set_title(network, fontsize=10)
    figure.supxlabel("weights pruned (%)", fontsize=10)
    figure.legend(
        handles=[Patch(color=colour[kind], label=kind) for kind in kinds],
        loc="outside upper center", ncols=len(kinds), frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _dense_last(kind: str) -> tuple[bool, str]:
    return kind == "dense", kind


# --- Figure 9 ------------------------------------------------------------------------------------


def correlation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson correlation of the columns of ``values``, shape ``(inputs, layers)``.

    NaN beside a column that does not vary.
    """
    centred = values - values.mean(axis=0)
    deviation = np.sqrt(np.square(centred).mean(axis=0))
    varies = deviation > 1e-9
    scaled = np.where(varies, centred / np.where(varies, deviation, 1), np.nan)
    return scaled.T @ scaled / len(values)


def _figure9(context: Context) -> Result:
    frames = []
    findings: dict[str, dict[str, Any]] = {}
    for deployment in context.deployments.values():
        for trace in deployment.dense():
            compared = {"all inputs": trace.sparsity}
            if trace.length is not None and np.ptp(trace.length):
                compared["at equal length"] = _equal_length(trace, trace.sparsity)
            findings[trace.model] = {}
            layers = np.arange(trace.sparsity.shape[1])
            for inputs, values in compared.items():
                matrix = correlation(values)
                first, second = np.meshgrid(layers, layers, indexing="ij")
                frames.append(
                    pd.DataFrame(
                        {
                            "network": trace.model,
                            "inputs": inputs,
                            "layer_a": first.ravel() + 1,
                            "layer_b": second.ravel() + 1,
                            "correlation": matrix.ravel(),
                        }
                    )
                )
                findings[trace.model][inputs] = _correlation_findings(matrix)
    frame = pd.concat(frames, ignore_index=True)
    return Result(frame, partial(_draw_figure9, frame), findings)


def _correlation_findings(matrix: NDArray[np.float64]) -> dict[str, float]:
    pairs = matrix[~np.eye(len(matrix), dtype=bool)]
    pairs = pairs[np.isfinite(pairs)]
    adjacent = np.diagonal(matrix, 1)
    adjacent = adjacent[np.isfinite(adjacent)]
    return {
        "mean": float(pairs.mean()) if pairs.size else float("nan"),
        "mean_adjacent": float(adjacent.mean()) if adjacent.size else float("nan"),
    }


def _section9(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """Each network's mean correlations, and whether any has inputs of several lengths."""
    lengths = any("at equal length" in each for each in found.values())
    rows = []
    for network, each in found.items():
        row = [network, *(fixed(each["all inputs"][pairs]) for pairs in ("mean", "mean_adjacent"))]
        if lengths:
            equal = each.get("at equal length")
            row.append(fixed(equal["mean"]) if equal else "")
        rows.append(row)
    return {"rows": rows, "lengths": lengths}


def _draw_figure9(frame: pd.DataFrame) -> Figure:
    panels = list(frame.groupby(["network", "inputs"], sort=False))
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.5 * columns + 0.9, 2.65 * rows), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    colours = plt.get_cmap("RdBu_r").with_extremes(bad="0.8")
    image = None
    for axis, ((network, inputs), mine) in zip(axes.flat, panels, strict=False):
        layers = int(mine["layer_a"].max())
        matrix = mine["correlation"].to_numpy().reshape(layers, layers)
        image = axis.imshow(
            np.ma.masked_invalid(matrix), cmap=colours, vmin=-1, vmax=1,
            extent=(0.5, layers + 0.5, layers + 0.5, 0.5), interpolation="nearest",
        )  # fmt: skip
        ticks = [1, layers] if layers < 4 else [1, (layers + 1) // 2, layers]
        axis.set_xticks(ticks)
        axis.set_yticks(ticks)
        axis.set_title(str(network) + ("" if inputs == "all inputs" else f", {inputs}"), fontsize=9)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    grey = " (grey: one whose sparsity does not vary)" if frame["correlation"].isna().any() else ""
    figure.supxlabel(f"layer{grey}", fontsize=10)
    figure.supylabel("layer", fontsize=10)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, pad=0.02)  # type: ignore[arg-type]
    bar.set_label("correlation of sparsity over inputs (Pearson)")
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
    Item(
        "figure4",
        "What the pattern of pruned weights does at the same rate",
        "Networks pruned at the same rate, at random or by channels, are left with different "
        "distributions of valid operations.",
        _figure4,
        "cnn",
        section=_section4,
    ),
    Item(
        "figure9",
        "Correlation of sparsity between layers",
        "The sparsities of an attention network's layers are highly correlated, "
        "so that those of past layers tell those of future ones.",
        _figure9,
        section=_section9,
    ),
)
