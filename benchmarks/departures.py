"""What the artifact's accelerator models charge, beside ours: a CSV for ``docs/reproduction.md``.

Runs a few inputs of each network of the reproduction, and charges every layer twice: as the
package does, and with one departure of the artifact of Sparse-DySta (MICRO'23) at a time.

Eyeriss v2 (``hw_eyerissv2.py``): every convolution at stride 1, with "same" padding; M0 = 32
filters a pass, whatever the weights' scratch pad holds; the wrong axis, by which a column is a
whole window of rows of one channel, not what lies under the kernel in C0 channels. Sanger: the load
balance of 32 multipliers a row (``50%-skip``) in a formula for 16.

    make departures

Needs the extra ``profile``. Packages are kept in ``--cache``; measurements are not.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from dysta_gym.accelerators import (
    EYERISSV2_CYCLES_PER_COLUMN,
    EYERISSV2_CYCLES_PER_NONEMPTY_COLUMN,
    EYERISSV2_PARTIAL_SUMS_PER_PE,
    SANGER_MULTIPLIERS,
    eyerissv2_layer_counts,
    eyerissv2_layer_latency_s,
    eyerissv2_mapping,
    sanger_layer_latency_s,
    sanger_padded_length,
)
from dysta_gym.files import replacing
from dysta_gym.profiling import NETWORKS, attention, cnn
from dysta_gym.profiling.padding import same_padding
from dysta_gym.profiling.sources import fetch
from dysta_gym.traces import HELD_OUT

ALL = "all three"
WIDE = 32  # multipliers a row, of the load balance that the artifact takes


def wrong_axis_columns(activations: np.ndarray, weights: np.ndarray, options: dict) -> int:
    """Non-empty columns of one pass, as the artifact counts them: by channel and window of rows."""
    top, _, bottom, _ = options["padding"]
    height, step = weights.shape[2], options["stride"][0]
    rows = np.pad((activations != 0).any(axis=3), ((0, 0), (0, 0), (top, bottom)))
    count = (rows.shape[2] - options["dilation"][0] * (height - 1) - 1) // step + 1
    windows = np.zeros((*rows.shape[:2], count), bool)
    for r in range(height):
        start = r * options["dilation"][0]
        windows |= rows[:, :, start : start + (count - 1) * step + 1 : step]
    return int(windows.sum()) * weights.shape[3]


def charges(activations: np.ndarray, weights: np.ndarray, **given: Any) -> dict[str, float]:
    """Latency of one layer in seconds: ours, and with each departure."""
    options = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1, **given}
    at_one = {
        **options,
        "stride": (1, 1),
        "padding": same_padding(weights.shape[2:], options["dilation"]),
    }
    filters = weights.shape[0] // options["groups"]
    fitting = eyerissv2_mapping(weights.shape[1], filters, weights.shape[3]).filters
    passes = -(-filters // fitting)
    fewer = -(-filters // min(filters, EYERISSV2_PARTIAL_SUMS_PER_PE))

    def counted(chosen: dict) -> tuple[int, int]:
        macs, checks = eyerissv2_layer_counts(activations, weights, **chosen)
        return int(macs.sum()), int(checks.sum())

    def along_wrong_axis(chosen: dict) -> int:
        """Address checks with a count along the wrong axis, all passes."""
        _, none = eyerissv2_layer_counts(np.zeros_like(activations), weights, **chosen)
        columns = int(none.sum()) // EYERISSV2_CYCLES_PER_COLUMN
        nonempty = passes * wrong_axis_columns(activations, weights, chosen)
        return columns + EYERISSV2_CYCLES_PER_NONEMPTY_COLUMN * nonempty

    macs, checks = counted(options)
    macs_at_one, checks_at_one = counted(at_one)
    found = {
        "ours": (macs, checks),
        "stride 1": (macs_at_one, checks_at_one),
        "M0 = 32": (macs, checks * fewer / passes),
        "wrong axis": (macs, along_wrong_axis(options)),
        ALL: (macs_at_one, along_wrong_axis(at_one) * fewer / passes),
    }
    return {name: float(eyerissv2_layer_latency_s(*counts)) for name, counts in found.items()}


def measure_cnn(name: str, cache: Path, inputs: int) -> pd.DataFrame:
    """Isolated latency of each input, a column a model."""
    network = cnn._NETWORKS[name]
    _, tensors = network.inputs(cache, inputs)
    layers: list[dict[str, float]] = []

    def counts(activations: np.ndarray, weights: np.ndarray, **options: Any) -> Any:
        layers.append(charges(activations, weights, **options))
        return eyerissv2_layer_counts(activations, weights, **options)

    model = network.load([fetch(package, cache) for package in network.packages])
    with mock.patch.object(cnn, "eyerissv2_layer_counts", counts):
        cnn.profile_cnn(model, tensors, name=name)
    frame = pd.DataFrame(layers)
    return frame.groupby(np.arange(len(frame)) * len(tensors) // len(frame)).sum()


def measure_attention(name: str, cache: Path, inputs: int) -> pd.DataFrame:
    """Isolated latency of each input, a column a model."""
    network = attention._NETWORKS[name]
    chosen = [
        text
        for data_set in network.data_sets
        for text in attention.texts.load_texts(
            data_set, -(-inputs // len(network.data_sets)), cache
        )
    ]
    model, tokenizer = network.load([fetch(package, cache) for package in network.packages], cache)
    latencies: list[dict[str, float]] = []
    count_kept_scores = attention.count_kept_scores

    def count(probability: np.ndarray, threshold: float) -> attention.KeptScores:
        kept = count_kept_scores(probability, threshold)
        heads, queries, keys = probability.shape
        length, key_length = (sanger_padded_length(each) for each in (queries, keys))
        total = int(kept.kept.sum())
        wide = count_kept_scores(probability, threshold, WIDE)
        balance = {
            "ours": total / (SANGER_MULTIPLIERS * max(1, int(kept.subrows.sum()))),
            "32 multipliers": total / (WIDE * max(1, int(wide.subrows.sum()))),
        }
        density = total / (heads * length * key_length)
        width = int(model.config.hidden_size)
        latencies.append(
            {
                model_name: float(
                    sanger_layer_latency_s(density, each or 1, length, width, key_length)
                )
                for model_name, each in balance.items()
            }
        )
        return kept

    tokens = [attention._tokenize(tokenizer, text, network.max_length) for text in chosen]
    with mock.patch.object(attention, "count_kept_scores", count):
        attention.profile_attention(model, tokens, name=name, max_length=network.max_length)
    frame = pd.DataFrame(latencies)
    return frame.groupby(np.arange(len(frame)) * len(tokens) // len(frame)).sum()


def rows(name: str, measured: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a departure: mean latencies, and how much they vary over the inputs."""

    def spread(column: str) -> float:
        return float((measured[column].max() - measured[column].min()) / measured[column].mean())

    return [
        {
            "network": name,
            "departure": departure,
            "inputs": len(measured),
            "ours_ms": round(1e3 * measured["ours"].mean(), 4),
            "departed_ms": round(1e3 * measured[departure].mean(), 4),
            "ours_relative_range": round(spread("ours"), 4),
            "departed_relative_range": round(spread(departure), 4),
        }
        for departure in measured
        if departure != "ours"
    ]


def main() -> None:
    """Measure all networks and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache/profile"))
    parser.add_argument("--inputs", type=int, default=6)
    arguments = parser.parse_args()
    table = []
    for name in NETWORKS:
        if name in HELD_OUT:
            continue
        for module, measure in ((attention, measure_attention), (cnn, measure_cnn)):
            if name in module._NETWORKS:
                table += rows(name, measure(name, arguments.cache, arguments.inputs))
                print(pd.DataFrame(table[-4:]).to_string(index=False), flush=True)
    with replacing(arguments.out) as scratch:
        pd.DataFrame(table).to_csv(scratch, index=False)


if __name__ == "__main__":
    main()
