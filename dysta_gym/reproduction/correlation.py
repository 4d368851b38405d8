"""Figure 9: how the sparsities of layers go together, from the traces alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dysta_gym.figures import plain, subplots
from dysta_gym.reproduction.characterisation import at_equal_length
from dysta_gym.reproduction.context import Context, Findings, Item, Result
from dysta_gym.reproduction.formats import escaped, fixed


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
                compared["at equal length"] = at_equal_length(trace, trace.sparsity)
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


def _section(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """Each network's mean correlations, and whether any has inputs of several lengths."""
    lengths = any("at equal length" in each for each in found.values())
    rows = []
    for network, each in found.items():
        means = (each["all inputs"][pairs] for pairs in ("mean", "mean_adjacent"))
        row = [escaped(network), *map(fixed, means)]
        if lengths:
            equal = each.get("at equal length")
            row.append(fixed(equal["mean"]) if equal else "")
        rows.append(row)
    return {"rows": rows, "lengths": lengths}


def _draw_figure9(frame: pd.DataFrame) -> Figure:
    panels = list(frame.groupby(["network", "inputs"], sort=False))
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = subplots(
        rows, columns, figsize=(2.5 * columns + 0.9, 2.65 * rows), squeeze=False,
    )  # fmt: skip
    colours = colormaps["RdBu_r"].with_extremes(bad="0.8")
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
        axis.set_title(
            plain(network) + ("" if inputs == "all inputs" else f", {inputs}"), fontsize=9
        )
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
        "figure9",
        "Correlation of sparsity between layers",
        "The sparsities of an attention network's layers are highly correlated, "
        "so that those of past layers tell those of future ones.",
        _figure9,
        section=_section,
    ),
)
