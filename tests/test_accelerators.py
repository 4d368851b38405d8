"""The accelerator models against cases worked out by hand, plain loops and what must not matter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysta_gym import shipped_traces
from dysta_gym.accelerators import (
    eyerissv2_layer_counts,
    eyerissv2_layer_latency_s,
    eyerissv2_mapping,
    sanger_layer_latency_s,
)
from dysta_gym.profiling.attention import count_kept_scores


@dataclass(frozen=True)
class Layer:
    activations: np.ndarray  # (inputs, channels, height, width)
    weights: np.ndarray  # (filters, channels / groups, kernel height, kernel width)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def counts(self) -> list[tuple[int, int]]:
        """Valid MACs and address checks of each input, by the model."""
        macs, checks = eyerissv2_layer_counts(
            self.activations,
            self.weights,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return list(zip(macs.tolist(), checks.tolist(), strict=True))


def test_depthwise_layer_with_stride_and_uneven_padding_by_hand() -> None:
    # Two channels of 4 x 4, each with its own 3 x 3 filter, at stride 2 with TensorFlow's padding:
    # zeros below and at the right only. Outputs are 2 x 2: windows start at rows 0 and 2, likewise
    # columns, and row 4 and column 4 are padding.
    activations = np.zeros((1, 2, 4, 4))
    activations[0, 0] = 1.0
    activations[0, 1, 3, 3] = 1.0
    weights = np.ones((2, 1, 3, 3))
    weights[1, 0, 1, 1] = 0.0
    layer = Layer(activations, weights, stride=(2, 2), padding=(0, 0, 1, 1), groups=2)
    # Valid MACs of channel 0: 3 * 3 pixels at output (0, 0), 3 * 2 at (0, 1), 2 * 3 at (1, 0) and
    # 2 * 2 at (1, 1): 25. Channel 1: its pixel lies under the centre of window (1, 1) only, where
    # the weight is zero: 0.
    # Address checks: C0 = 1 (a group has one channel), M0 = 1, so each channel has 3 kernel rows *
    # 4 outputs = 12 columns, each passing once: 24 cycles. Non-empty columns of channel 0: 3 for
    # each output above, 2 for each below (the third row is padding): 10; of channel 1: the middle
    # row of window (1, 1): 1. 24 + 2 * 11 = 46.
    assert layer.counts() == [(25, 46)]
    # (4 * 25 + 46) / 192 cycles of 5 ns.
    assert eyerissv2_layer_latency_s(25, 46) == pytest.approx(146 / 192 * 5e-9, rel=1e-12)


def test_dilated_layer_by_hand() -> None:
    # A 1 x 3 kernel that looks at every second of 6 pixels: output 0 sees columns 0, 2, 4, which
    # are all zero, and output 1 sees columns 1, 3, 5, none of which is. One weight is zero.
    activations = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]).reshape(1, 1, 1, 6)
    weights = np.array([1.0, 1.0, 0.0]).reshape(1, 1, 1, 3)
    # MACs: 2 at output 1. Two columns, one of them non-empty: 2 + 2 * 1.
    assert Layer(activations, weights, dilation=(1, 2)).counts() == [(2, 4)]
    # Without dilation, 4 outputs see columns 0-2, 1-3, 2-4, 3-5; the first two weights meet
    # 1, 1, 1 and 1 non-zero pixels, and no column is empty: 4 + 2 * 4.
    assert Layer(activations, weights).counts() == [(4, 12)]


def test_pointwise_layer_that_does_not_fit_at_once_by_hand() -> None:
    # 20 channels: C0 = 16 (16 * 1 activations), hence 2 tiles. 25 filters: M0 = 192 / 16 = 12,
    # hence ceil(25 / 12) = 3 passes. Of 2 pixels, one has a single non-zero channel, the 17th,
    # which is in the second tile; 10 filters have a weight for it.
    activations = np.zeros((1, 20, 1, 2))
    activations[0, 16, 0, 0] = 1.0
    weights = np.ones((25, 20, 1, 1))
    weights[10:, 16] = 0.0
    # 3 passes of 2 tiles * 2 pixels, one of these 4 columns non-empty: 3 * (4 + 2).
    assert Layer(activations, weights).counts() == [(10, 18)]


def mapping_by_search(channels: int, filters: int, kernel_width: int) -> tuple[int, int]:
    """The largest C0 and M0 that fit the scratch pads, by trying all."""
    c0 = max(c for c in (1, 2, 4, 8, 16) if c * kernel_width <= 16)
    c0 = min(c0, channels)
    m0 = max(m for m in range(1, 33) if c0 * kernel_width * m <= 192)
    return c0, min(m0, filters)


@given(st.integers(1, 40), st.integers(1, 80), st.integers(1, 16))
def test_mapping_is_the_largest_that_fits(channels: int, filters: int, kernel_width: int) -> None:
    assert eyerissv2_mapping(channels, filters, kernel_width) == mapping_by_search(
        channels, filters, kernel_width
    )


def count_by_loops(layer: Layer, image: np.ndarray) -> tuple[int, int]:
    """Valid MACs and address checks of one input, output position by output position."""
    filters, depth, kernel_height, kernel_width = layer.weights.shape
    _, height, width = image.shape
    top, left, bottom, right = layer.padding
    per_group = filters // layer.groups
    c0, m0 = mapping_by_search(depth, per_group, kernel_width)

    def nonzero(channel: int, y: int, x: int) -> bool:
        inside = 0 <= y < height and 0 <= x < width
        return bool(inside and image[channel, y, x] != 0)

    reach_y = (kernel_height - 1) * layer.dilation[0]
    reach_x = (kernel_width - 1) * layer.dilation[1]
    macs = checks = 0
    # First positions of the window, in coordinates of the image.
    for y in range(-top, height + bottom - reach_y, layer.stride[0]):
        for x in range(-left, width + right - reach_x, layer.stride[1]):
            for group in range(layer.groups):
                for r in range(kernel_height):
                    row = y + r * layer.dilation[0]
                    under = [
                        [
                            nonzero(group * depth + c, row, x + s * layer.dilation[1])
                            for s in range(kernel_width)
                        ]
                        for c in range(depth)
                    ]
                    for f in range(group * per_group, (group + 1) * per_group):
                        for c in range(depth):
                            for s in range(kernel_width):
                                macs += under[c][s] and layer.weights[f, c, r, s] != 0
                    for _ in range(math.ceil(per_group / m0)):
                        for first in range(0, depth, c0):
                            checks += 1
                            if any(any(one) for one in under[first : first + c0]):
                                checks += 2
    return int(macs), checks


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    groups = draw(st.integers(1, 3))
    depth = draw(st.sampled_from([1, 2, 3, 5, 9, 17]))
    per_group = draw(st.sampled_from([1, 2, 13, 33]))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    height, width = (
        max((kernel[i] - 1) * dilation[i] + 1 - padding[i] - padding[i + 2], 1)
        + draw(st.integers(0, 3))
        for i in (0, 1)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    activations = rng.random((2, groups * depth, height, width))
    activations *= rng.random(activations.shape) < draw(st.sampled_from([0.02, 0.3, 0.9]))
    weights = rng.normal(size=(groups * per_group, depth, *kernel))
    weights *= rng.random(weights.shape) < draw(st.sampled_from([0.2, 0.8]))
    return Layer(activations, weights, stride, padding, dilation, groups)


@settings(max_examples=60)
@given(layers())
def test_counts_equal_loops(layer: Layer) -> None:
    assert layer.counts() == [count_by_loops(layer, image) for image in layer.activations]


@settings(max_examples=100)
@given(layers())
def test_padding_is_zeros_of_the_input(layer: Layer) -> None:
    top, left, bottom, right = layer.padding
    padded = np.pad(layer.activations, ((0, 0), (0, 0), (top, bottom), (left, right)))
    assert replace(layer, activations=padded, padding=(0, 0, 0, 0)).counts() == layer.counts()


@settings(max_examples=100)
@given(layers())
def test_a_group_is_a_layer_of_its_own(layer: Layer) -> None:
    parts = zip(
        np.split(layer.activations, layer.groups, axis=1),
        np.split(layer.weights, layer.groups),
        strict=True,
    )
    alone = [replace(layer, activations=a, weights=w, groups=1).counts() for a, w in parts]
    assert np.sum(alone, axis=0).tolist() == [list(pair) for pair in layer.counts()]


@settings(max_examples=100)
@given(layers())
def test_only_zeros_matter_and_weights_not_to_the_checks(layer: Layer) -> None:
    counts = layer.counts()
    assert (
        replace(layer, activations=-3 * layer.activations, weights=layer.weights**2).counts()
        == counts
    )
    pruned = replace(layer, weights=np.zeros_like(layer.weights)).counts()
    assert pruned == [(0, checks) for _, checks in counts]


def test_shipped_latencies_follow_from_their_counts() -> None:
    found = 0
    for name in shipped_traces():
        with np.load(shipped_traces()[name], allow_pickle=False) as file:
            if "valid_macs" not in file:
                continue
            again = eyerissv2_layer_latency_s(file["valid_macs"], file["address_checks"])
            np.testing.assert_array_equal(again, file["latency_s"], err_msg=name)
        found += 1
    assert found


def test_sanger_layer_at_the_artifacts_size_by_hand() -> None:
    # 512 tokens, width 768, a quarter of the scores kept, half of the multipliers busy:
    #   sub-rows of a column of tiles: 0.25 / 0.5 / 0.25 * 512 = 1,024
    #   projections in: 512 * 768 * 768 * 6 / 2,048 = 884,736 cycles
    #   projection out: 512 * 768 * 768 * 2 / 2,048 * 0.25 / 0.5 = 147,456 cycles
    #   scores: 1,024 / 64 = 16 tiles, each of (768 + 64) + (1,024 + 64) = 1,920 cycles, in
    #   512 / 64 = 8 columns: 245,760 cycles
    # 1,277,952 cycles of 1 ns.
    assert sanger_layer_latency_s(0.25, 0.5, 512) == pytest.approx(1.277952e-3, rel=1e-12)


def test_sanger_latency_of_a_mask_by_hand() -> None:
    # One tile: every one of 64 queries keeps 20 of 64 keys, which are packed into 2 sub-rows.
    probability = np.zeros((1, 64, 64))
    probability[:, :, 10:30] = 0.05
    counted = count_kept_scores(probability)
    assert (counted.kept.tolist(), counted.subrows.tolist()) == ([1280], [128])
    density = counted.kept / 64**2  # 0.3125
    load_balance = counted.kept / (16 * counted.subrows)  # 0.625
    # Width 64: projections in 64**3 * 6 / 2,048 = 768 cycles, projection out 64**3 * 2 / 2,048 *
    # 0.5 = 128, scores 128 / 64 * ((64 + 64) + (128 + 64)) = 640: together 1,536 cycles.
    assert sanger_layer_latency_s(density, load_balance, 64, 64) == pytest.approx(
        [1.536e-6], rel=1e-12
    )


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Kept scores (heads, queries, keys): scattered, in a band, or causal."""
    heads, queries = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    keys = draw(st.sampled_from([1, 15, 16, 17, 63, 64, 65, 128, 150]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random((heads, queries, keys)) < draw(st.sampled_from([0.05, 0.25, 0.5, 1.0]))
    kind = draw(st.sampled_from(["scattered", "band", "causal"]))
    distance = np.arange(keys) - np.arange(queries)[:, None] * keys // queries
    if kind == "band":
        mask &= abs(distance) < 20
    elif kind == "causal":
        mask &= distance <= 0
    return mask


def pack(mask: np.ndarray) -> tuple[list[int], list[int]]:
    """Kept scores and sub-rows of each head, by filling one sub-row of 16 after another."""
    all_kept, all_subrows = [], []
    for head in mask:
        subrows: list[list[int]] = []
        for row in head:
            current: list[int] = []
            for key, kept in enumerate(row):
                if key % 64 == 0 or len(current) == 16:
                    current = []
                if kept:
                    if not current:
                        subrows.append(current)
                    current.append(key)
        all_kept.append(sum(len(subrow) for subrow in subrows))
        all_subrows.append(len(subrows))
    return all_kept, all_subrows


@settings(max_examples=150)
@given(masks())
def test_kept_scores_equal_packing_one_by_one(mask: np.ndarray) -> None:
    counted = count_kept_scores(np.where(mask, 0.01, 0.0))
    assert (counted.kept.tolist(), counted.subrows.tolist()) == pack(mask)


@settings(max_examples=100)
@given(masks(), st.integers(0, 2**32 - 1))
def test_order_within_a_vector_does_not_matter(mask: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = mask.copy()
    for start in range(0, mask.shape[2], 64):
        shuffled[:, :, start : start + 64] = rng.permuted(mask[:, :, start : start + 64], axis=2)
    rows = rng.permutation(mask.shape[1])
    for before, after in zip(
        count_kept_scores(mask.astype(float)),
        count_kept_scores(shuffled[:, rows].astype(float)),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)


def sanger_by_loops(subrows: np.ndarray, width: int) -> float:
    """Seconds of a layer of as many columns of tiles as `subrows` has entries, cycle by cycle."""
    length = 64 * len(subrows)
    cycles = 0.0
    for _ in range(3):  # queries, keys and values, two operations a MAC and 2,048 a cycle
        cycles += 2 * length * width * width / 2048
    for column in subrows:  # a query needs one pass for four sub-rows of 16 multipliers
        cycles += 2 * 64 * width * width / 2048 * column / (4 * length)
        cycles += column / 64 * (width + 64 + column + 64)
    return cycles * 1e-9


@given(st.integers(1, 6), st.integers(1, 4), st.sampled_from([64, 384, 768]), st.floats(0.1, 1))
def test_sanger_latency_equals_tile_by_tile(
    columns: int, subrows: int, width: int, load_balance: float
) -> None:
    # Every query has so many sub-rows in each vector of 64 keys, filled to `load_balance`.
    length = 64 * columns
    density = load_balance * subrows * 16 / 64
    found: Any = sanger_layer_latency_s(density, load_balance, length, width)
    expected = sanger_by_loops(np.full(columns, subrows * length), width)
    assert float(found) == pytest.approx(expected, rel=1e-12)
