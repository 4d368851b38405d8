"""What each predictor says, by hand, for any trace, and on the measured ones."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dysta_gym import Trace
from dysta_gym.predictors import (
    LATENCY_NOISE,
    PREDICTORS,
    mean_density_ratio,
    predict,
    prediction_error,
)
from dysta_gym.traces import shipped_trace

PUBLISHED = ("pattern", "average", "last_n", "last")
FITTED = tuple(name for name in PREDICTORS if name not in PUBLISHED)


def suffix_sums(table):
    return np.stack([table[:, layer:].sum(axis=1) for layer in range(table.shape[1])], axis=1)


def assert_equal(one, other, rtol=0.0):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=0)


@st.composite
def traces(draw, min_rest=0):
    """Any small trace; its last inputs are not of the reference half."""
    fitted, rest = draw(st.integers(1, 6)), draw(st.integers(min_rest, 3))
    shape = (fitted + rest, draw(st.integers(1, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # few values: constant layers, equal inputs and layers of zeros are common
    sparsity = rng.uniform(0, 1, shape) if draw(st.booleans()) else rng.integers(0, 3, shape) / 2
    latency = rng.exponential(1, shape) if draw(st.booleans()) else rng.integers(0, 3, shape) / 8
    latency[:, -1] += 1 / 8  # every input takes some time
    return Trace(
        name="net",
        model="net",
        pattern="dense",
        accelerator="sanger",
        latency_s=latency,
        sparsity=sparsity,
        train=np.arange(shape[0]) < fitted,
        sample_ids=np.arange(shape[0]),
        layer_names=tuple(map(str, range(shape[1]))),
        length=rng.integers(1, 300, shape[0]) if draw(st.booleans()) else None,
    )


def rows_of(trace, rows):
    return replace(
        trace,
        latency_s=trace.latency_s[rows],
        sparsity=trace.sparsity[rows],
        train=trace.train[rows],
        sample_ids=np.arange(len(rows)),
        length=None if trace.length is None else trace.length[rows],
    )


# --- by hand -------------------------------------------------------------------------------------

# Averages over the two reference inputs: latency 2 in each layer, density 0.5. The third input has
# densities 1, 0.5, 0.25, 0, 0.75: ratios 2, 1, 0.5, 0, 1.5.
LATENCY = [[1, 2, 3, 1, 2], [3, 2, 1, 3, 2], [9, 9, 9, 9, 9]]
DENSITY = [[0.4, 0.5, 0.25, 0.5, 0.5], [0.6, 0.5, 0.75, 0.5, 0.5], [1, 0.5, 0.25, 0, 0.75]]
BY_HAND = {
    "pattern": [1, 1, 1, 1, 1],
    "average": [1, 2, 3 / 2, 3.5 / 3, 3.5 / 4],
    "last_n": [1, 2, 3 / 2, 3.5 / 3, 1.5 / 3],
    "last": [1, 2, 1, 0.5, 0],
}


@pytest.fixture(scope="module")
def five_layers(make_trace):
    return make_trace("net", LATENCY, 1 - np.array(DENSITY), train=[True, True, False])


@pytest.mark.parametrize("predictor", BY_HAND)
def test_published_by_hand(five_layers, predictor):
    g = np.array(BY_HAND[predictor])
    remaining, next_layer, correction = predict(five_layers, predictor, "train")
    np.testing.assert_allclose(correction[2], g, rtol=1e-12)
    np.testing.assert_allclose(next_layer[2], g * 2, rtol=1e-12)
    np.testing.assert_allclose(remaining[2], g * [10, 8, 6, 4, 2], rtol=1e-12)


def test_linear_by_hand(five_layers):
    # Through (0.4, 8) and (0.6, 8), at 1; (0.5, 6) twice; (0.25, 3) and (0.75, 5), at 0.25; ...
    remaining, next_layer, correction = predict(five_layers, "linear", "train")
    np.testing.assert_allclose(remaining[2], [10, 8, 6, 3, 2], rtol=1e-12)
    np.testing.assert_allclose(next_layer[2], [2, 2, 2, 1, 2], rtol=1e-12)
    np.testing.assert_allclose(correction[2], [1, 1, 1, 3 / 4, 1], rtol=1e-12)


def test_a_layer_of_zeros_counts_as_average():
    ratio = mean_density_ratio(np.array([[1.0, 0.5]]), np.array([1.0, 0.75]), last=1)
    np.testing.assert_array_equal(ratio, [[1, 2]])


def test_kalman_is_ridge_regression_on_all_layers_so_far():
    trace = shipped_trace("minilm")
    rows, density = trace.rows("train"), 1 - trace.sparsity
    mean, deviation = density[rows].mean(axis=0), density[rows].std(axis=0)
    signals, true = (density - mean) / deviation, suffix_sums(trace.latency_s[rows])
    remaining, next_layer, _ = predict(trace, "kalman", "train")
    for seen in range(1, signals.shape[1]):
        x = signals[rows, :seen]
        penalty = LATENCY_NOISE * len(rows) * np.eye(seen)
        for target, found in ((true, remaining), (trace.latency_s[rows], next_layer)):
            y = target[:, seen]
            slopes = np.linalg.solve(x.T @ x + penalty, x.T @ (y - y.mean()))
            expected = y.mean() + signals[:, :seen] @ slopes
            np.testing.assert_allclose(
                found[:, seen], np.clip(expected, y.min(), y.max()), rtol=1e-9
            )


def test_error_by_hand(five_layers):
    errors = prediction_error(five_layers, "pattern")
    np.testing.assert_allclose(errors.rmse_s, [35, 28, 21, 14, 7], rtol=1e-12)
    np.testing.assert_allclose(errors.relative, 7 / 9, rtol=1e-12)
    assert errors.overall_s == pytest.approx(np.sqrt((28**2 + 21**2 + 14**2 + 7**2) / 4))
    # of two errors, the mean square counts; the first layers of the two differ by 1 from average
    assert prediction_error(five_layers, "pattern", split="train").rmse_s[1] == pytest.approx(0)
    np.testing.assert_allclose(
        prediction_error(five_layers, "pattern", split="train").rmse_s, [1, 0, 0, 1, 0], atol=1e-12
    )


def test_refusals(five_layers, refused):
    with refused("predictor", "'psychic'", *PREDICTORS):
        predict(five_layers, "psychic", "train")
    with refused("split", "'tset'", "train", "test", "all"):
        predict(five_layers, "kalman", "tset")


# --- for any trace -------------------------------------------------------------------------------


@given(st.data(), traces(min_rest=1), st.sampled_from(tuple(PREDICTORS)))
def test_nothing_is_known_that_has_not_run(data, trace, predictor):
    layer = data.draw(st.integers(0, trace.latency_s.shape[1] - 1))
    unseen = np.where(trace.train[:, None], trace.sparsity, 1 - trace.sparsity)
    other = replace(
        trace,
        latency_s=np.where(trace.train[:, None], trace.latency_s, 3 * trace.latency_s),
        sparsity=np.hstack([trace.sparsity[:, :layer], unseen[:, layer:]]),
    )
    known, found = predict(trace, predictor, "train"), predict(other, predictor, "train")
    for one, two in zip(known, found, strict=True):
        np.testing.assert_array_equal(one[:, : layer + 1], two[:, : layer + 1])
        np.testing.assert_array_equal(one[trace.train], two[trace.train])


@given(traces(), st.sampled_from(tuple(PREDICTORS)))
def test_estimates_are_sane(trace, predictor):
    known, rows = predict(trace, predictor, "train"), trace.rows("train")
    true = (suffix_sums(trace.latency_s[rows]), trace.latency_s[rows])
    for estimate, taken in zip(known, (*true, None), strict=True):
        assert estimate.shape == trace.latency_s.shape
        assert np.isfinite(estimate).all()
        if predictor in FITTED and taken is not None:
            assert (estimate[:, taken.any(axis=0)] > 0).all()
            factor = 2 if trace.length is not None else 1
            assert (estimate <= factor * taken.max(axis=0) * (1 + 1e-12)).all()
    np.testing.assert_array_equal(known.correction[:, 0], 1)
    if not predictor.startswith("sized"):
        pattern = predict(trace, "pattern", "train")
        np.testing.assert_allclose(known.remaining[:, 0], pattern.remaining[:, 0], rtol=1e-12)
        expected = known.correction * pattern.remaining
        np.testing.assert_allclose(known.remaining, expected, rtol=1e-9)
    assert (known.next_layer <= known.remaining * (1 + 1e-12)).all()


@given(st.data(), traces(min_rest=1), st.sampled_from(tuple(PREDICTORS)))
def test_what_looks_alike_is_predicted_exactly_alike(data, trace, predictor):
    inputs, layers = trace.latency_s.shape
    layer = data.draw(st.integers(0, layers))
    like = data.draw(st.integers(0, inputs - 2))
    sparsity = trace.sparsity.copy()
    sparsity[-1, :layer] = sparsity[like, :layer]
    length = trace.length if trace.length is None else trace.length.copy()
    if length is not None:
        length[-1] = length[like]
    found = predict(replace(trace, sparsity=sparsity, length=length), predictor, "train")
    for table in found:
        np.testing.assert_array_equal(table[-1, : layer + 1], table[like, : layer + 1])


@given(st.data(), traces(), st.sampled_from(tuple(PREDICTORS)))
def test_order_of_the_inputs_does_not_matter(data, trace, predictor):
    order = data.draw(st.permutations(range(len(trace.train))))
    moved = predict(rows_of(trace, list(order)), predictor, "train")
    for one, two in zip(predict(trace, predictor, "train"), moved, strict=True):
        np.testing.assert_allclose(one[list(order)], two, rtol=1e-6, atol=1e-9)


@given(traces(), st.sampled_from(("linear", "kalman", "length", "average", "last_n", "last")))
def test_a_monitor_that_sees_no_difference_says_the_average(trace, predictor):
    trace = replace(trace, sparsity=np.full(trace.sparsity.shape, 0.3), length=None)
    found, pattern = (predict(trace, name, "train") for name in (predictor, "pattern"))
    assert_equal(found, pattern, rtol=1e-9)


# --- by length -----------------------------------------------------------------------------------


def test_sized_finds_the_cost_of_a_length(make_trace):
    length = np.array([10, 60, 65, 100, 128, 129, 190, 200, 250])
    padded = -(-length // 64) * 64
    cost = (padded + 1e-3 * length * padded)[:, None] * [1.0, 0.5]
    trace = replace(
        make_trace("net", cost, train=[True] * 8 + [False]), accelerator="sanger", length=length
    )
    for predictor in ("sized", "sized_kalman"):  # the last input is longer than any known one
        remaining, next_layer, correction = predict(trace, predictor, "train")
        np.testing.assert_allclose(remaining, suffix_sums(cost), rtol=1e-6)
        np.testing.assert_allclose(next_layer, cost, rtol=1e-6)
        np.testing.assert_allclose(correction, 1, rtol=1e-6)


def test_an_inferred_length_near_the_end_of_a_tile_may_be_on_either_side(make_trace):
    length = np.arange(40, 250, 3)
    noise = np.random.default_rng(0).normal(0, 0.01, len(length))
    density = np.append(length / 512 + noise, 128 / 512)[:, None]
    length = np.append(length, 128)
    cost = -(-length // 64)[:, None].repeat(2, axis=1)
    trace = make_trace("net", cost, 1 - density.repeat(2, axis=1), train=length != 128)
    trace = replace(trace, accelerator="sanger", length=length)
    found = predict(trace, "length", "train")
    for estimate in (found.remaining[-1, 1], found.next_layer[-1, 1]):  # between 2 and 3 tiles
        assert 2.25 < estimate < 2.75


def test_an_inferred_length_may_be_below_any_reference_input():
    trace = shipped_trace("smollm2")
    trace = replace(trace, train=trace.train & (trace.length > 64))
    short = trace.length <= 55  # well within the first tile
    after_one = predict(trace, "length", "train").remaining[short, 1]
    np.testing.assert_allclose(after_one, trace.latency_s[short, 1:].sum(axis=1), rtol=0.1)


@given(traces())
def test_without_lengths(trace):
    trace = replace(trace, length=None)
    alike = {"length": "kalman", "sized": "pattern", "sized_kalman": "kalman"}
    for predictor, other in alike.items():
        assert_equal(predict(trace, predictor, "train"), predict(trace, other, "train"))


# --- on measured traces --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["minilm", "mpnet", "smollm2"])
def test_held_out_inputs_of_attention_networks(name):
    trace = shipped_trace(name)
    error = {predictor: prediction_error(trace, predictor) for predictor in PREDICTORS}
    overall = {predictor: error[predictor].overall_s for predictor in PREDICTORS}
    assert overall["average"] < 0.9 * overall["pattern"]
    assert overall["linear"] < 0.5 * overall["average"]
    assert overall["kalman"] < 1.01 * overall["linear"]
    assert overall["length"] < 0.7 * overall["kalman"]
    assert overall["sized"] < 0.5 * overall["length"]
    assert error["length"].relative[1] < 0.3 * error["average"].relative[1]
    assert error["sized"].relative[0] < 0.02


@pytest.mark.parametrize("name", ["vgg16_dense", "resnet50_unstructured20"])
def test_held_out_inputs_of_cnns(name):
    trace = shipped_trace(name)
    overall = {name: prediction_error(trace, name).overall_s for name in PREDICTORS}
    assert overall["kalman"] < 0.97 * overall["linear"]
    assert overall["linear"] < overall["pattern"] < overall["average"]
