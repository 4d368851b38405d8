"""The remaining latency of a request, predicted from the sparsities that a monitor has seen so far.

============== ====================================================================================
predictor      remaining latency before layer ``l``
============== ====================================================================================
`pattern`      the pattern's average: no monitor
`average`      the pattern's average, times the mean density ratio of all executed layers
`last_n`       likewise, of the last `LAST_N` = 3 executed layers
`last`         likewise, of the last executed layer
`linear`       a straight line per layer, on the density of the last executed layer
`kalman`       linear in the densities of all executed layers: a Kalman filter over the layers
`length`       a Kalman filter infers the input's length, a cost model has the latency of a length
`sized`        that cost model, with the true length known at arrival: no monitor
`sized_kalman` `sized`, plus a `kalman` for what the length leaves unexplained
============== ====================================================================================

`average`, `last_n` and `last` are the paper's (Sparse-DySta, MICRO'23, Section 5.2 and Table 4). On
traces without lengths, which is all CNNs, `length` is `kalman`, `sized` is `pattern` and
`sized_kalman` is `kalman`.

Predictors are fitted to the reference inputs alone and before any request runs, lengths of those
included. Of the request itself they see what the table says, and never a layer that has not run.
The fitted ones stay within what the reference inputs took (see `_clipped`). Equal sparsities give
exactly equal estimates: an estimate is a chain of element-wise operations, because a matrix product
may round two equal rows differently.

The signals, noises and terms below come from cross-validation over the ``train`` inputs of the
shipped traces alone: none that was tried had clearly less error on most of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import NormalDist
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dysta_gym.accelerators import sanger_padded_length
from dysta_gym.errors import one_of
from dysta_gym.traces import Trace

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]

LAST_N = 3
"""Executed layers that `last_n` looks at, as in the paper."""

LATENCY_NOISE = 0.03
LENGTH_NOISE = 3e-4
"""Variance of a monitor's noise, in variances of the density that it measures."""


class Prediction(NamedTuple):
    """What a predictor knows of each input before each layer ``l``, shapes ``(inputs, layers)``.

    Attributes:
        remaining: Estimated latency of the layers from ``l`` on, in seconds.
        next_layer: Estimated latency of layer ``l``, in seconds.
        correction: ``remaining`` in units of what the layers from ``l`` on were expected to take at
            arrival; 1 before the first layer. For the paper's predictors, its factor ``gamma``.
    """

    remaining: Floats
    next_layer: Floats
    correction: Floats


class PredictionError(NamedTuple):
    """Error of the remaining latency, by the number of layers seen.

    Attributes:
        rmse_s: Root mean square error over the inputs in seconds, shape ``(layers,)``; entry ``l``
            is before layer ``l``, with ``l`` layers seen.
        relative: ``rmse_s`` in units of the mean true remaining latency, same shape.
        overall_s: Root mean square error over the inputs and all entries but the first, in seconds.
    """

    rmse_s: Floats
    relative: Floats
    overall_s: float


def predict(trace: Trace, predictor: str, reference: str) -> Prediction:
    """Predictions for all inputs of ``trace``, fitted to those of split ``reference``.

    Raises:
        DystaError: If the predictor or the split is unknown, or the split is empty.
    """
    if predictor not in PREDICTORS:
        raise one_of("predictor", predictor, PREDICTORS)
    return PREDICTORS[predictor](trace, trace.rows(reference))


def prediction_error(
    trace: Trace, predictor: str, *, reference: str = "train", split: str = "test"
) -> PredictionError:
    """Error of a predictor that is fitted to split ``reference`` on the inputs of ``split``.

    Raises:
        DystaError: If the predictor or a split is unknown, or a split is empty.
    """
    rows = trace.rows(split)
    true = remaining_sums(trace.latency_s[rows])
    square = (predict(trace, predictor, reference).remaining[rows] - true) ** 2
    rmse, mean = np.sqrt(square.mean(axis=0)), true.mean(axis=0)
    seen = square[:, 1:] if square.shape[1] > 1 else square
    relative = np.divide(rmse, mean, out=np.zeros_like(rmse), where=mean > 0)
    return PredictionError(rmse, relative, float(np.sqrt(seen.mean())))


# --- the paper's ---------------------------------------------------------------------------------


def mean_density_ratio(sparsity: Floats, average: Floats, last: int | None = None) -> Floats:
    """Dysta's sparsity coefficient after each layer (Sparse-DySta, Section 5.2).

    Args:
        sparsity: Sparsity measured in each layer of each input, shape ``(inputs, layers)``.
        average: Average sparsity of each layer, shape ``(layers,)``.
        last: How many of the executed layers count, from the last one back; all without it.

    Returns:
        Mean over those layers of ``(1 - s) / (1 - average)``, shape ``(inputs, layers)``. A layer
        that is on average all zeros says nothing and counts as 1.
    """
    density = 1 - average
    known = density > 0
    ratio = np.where(known, (1 - sparsity) / np.where(known, density, 1), 1.0)
    layers = ratio.shape[1]
    if last is None:
        return np.cumsum(ratio, axis=1) / np.arange(1, layers + 1)
    counted = [ratio[:, max(0, end - last) : end] for end in range(1, layers + 1)]
    return np.stack([window.mean(axis=1) for window in counted], axis=1)


def _density_ratio(trace: Trace, rows: Rows, last: int | None = None) -> Prediction:
    ratio = mean_density_ratio(trace.sparsity, trace.sparsity[rows].mean(axis=0), last)
    return _corrected(trace, rows, _before(ratio, 1))


def _pattern(trace: Trace, rows: Rows) -> Prediction:
    return _corrected(trace, rows, np.ones(trace.latency_s.shape))


def _corrected(trace: Trace, rows: Rows, correction: Floats) -> Prediction:
    """The pattern's averages times a correction."""
    expected = trace.latency_s[rows].mean(axis=0)[None, :]
    return Prediction(correction * remaining_sums(expected), correction * expected, correction)


# --- fitted to latencies -------------------------------------------------------------------------


def _linear(trace: Trace, rows: Rows) -> Prediction:
    """Least squares per layer, on the density of the last executed layer."""
    density = 1 - trace.sparsity
    apart = density - density[rows].mean(axis=0)
    seen = _before(apart, 0)
    variance = (seen[rows] ** 2).mean(axis=0)

    def line(target: Floats) -> Floats:
        mean = target.mean(axis=0)
        covariance = (seen[rows] * (target - mean)).mean(axis=0)
        known = _varies(variance)
        slope = np.divide(covariance, variance, out=np.zeros_like(variance), where=known)
        return mean + seen * slope

    latency = trace.latency_s[rows]
    return _clipped(trace, rows, line(remaining_sums(latency)), line(latency))


def _kalman(trace: Trace, rows: Rows) -> Prediction:
    expected = trace.latency_s[rows].mean(axis=0)
    shape = trace.latency_s.shape
    return _filtered(trace, rows, np.broadcast_to(expected, shape), 1 - trace.sparsity)


def _filtered(
    trace: Trace, rows: Rows, expected: Floats, signal: Floats, beyond: float = 1
) -> Prediction:
    """``expected`` latencies, plus what a filter of ``signal`` says of the true ones' excess."""
    excess = trace.latency_s[rows] - expected[rows]
    layers = excess.shape[1]
    targets = np.hstack([remaining_sums(excess), excess])
    remaining, next_layer = remaining_sums(expected), expected.copy()
    steps = _kalman_filter(signal[:, :, None], targets, rows, LATENCY_NOISE)
    for layer, (estimate, _) in enumerate(steps):
        remaining[:, layer] += estimate[:, layer]
        next_layer[:, layer] += estimate[:, layers + layer]
    return _clipped(trace, rows, remaining, next_layer, beyond)


def _kalman_filter(
    signals: Floats, targets: Floats, rows: Rows, noise: float
) -> Iterator[tuple[Floats, Floats]]:
    """What noisy signals say of targets, layer after layer.

    All signals and targets are taken as one Gaussian vector, with the covariance that they have
    over the reference inputs. Each signal is measured with independent noise, and its innovation
    (the part that the signals before do not predict) moves the estimates of all targets: a Kalman
    filter of a state that stands still. It equals ridge regression on all signals so far.

    Args:
        signals: Shape ``(inputs, layers, signals a layer)``.
        targets: Of the reference inputs, shape ``(reference inputs, targets)``.
        rows: The reference inputs.
        noise: Variance of the noise, in variances of the signal.

    Yields:
        For each layer, from the signals before it alone: the estimates, shape ``(inputs,
        targets)``, and each input's leverage ``h``, shape ``(inputs,)``: a reference input that is
        left out of the fit has ``1 / (1 - h)`` times the residual.
    """
    inputs, layers, per_layer = signals.shape
    apart = signals.reshape(inputs, -1)
    apart = apart - apart[rows].mean(axis=0)
    deviation = np.sqrt((apart[rows] ** 2).mean(axis=0))
    silent = ~_varies(deviation**2)
    apart = np.where(silent, 0, apart / np.where(silent, 1, deviation))
    fitted, mean = apart[rows], targets.mean(axis=0)
    within = fitted.T @ fitted / len(rows)
    across = fitted.T @ (targets - mean) / len(rows)
    estimate = np.tile(mean, (inputs, 1))
    leverage = np.full(inputs, 1 / len(rows))
    for layer in range(layers):
        yield estimate.copy(), leverage.copy()
        for k in range(layer * per_layer, (layer + 1) * per_layer):
            variance = within[k, k] + noise
            innovation, gain = apart[:, k, None], within[k, k + 1 :] / variance
            leverage += innovation[:, 0] ** 2 / variance / len(rows)
            estimate += innovation * (across[k] / variance)
            apart[:, k + 1 :] -= innovation * gain
            across[k + 1 :] -= np.outer(gain, across[k])
            within[k + 1 :, k + 1 :] -= np.outer(gain, within[k, k + 1 :])


# --- by length -----------------------------------------------------------------------------------


def _length_terms(length: Floats) -> tuple[Floats, ...]:
    """Terms of a layer's cost on Sanger as a function of an input's length.

    The projections grow with the padded length, and the attention with the sub-rows times the
    padded length. Each real token has its sub-rows, so these grow with the real length.
    """
    padded = sanger_padded_length(length)
    return np.ones_like(length), length, padded, length * padded


def _fit_length(length: Floats, target: Floats) -> Floats:
    """Least-squares coefficients of `_length_terms`, shape ``(terms, columns of target)``."""
    terms = np.stack(_length_terms(length), axis=1)
    scale = np.abs(terms).max(axis=0)
    coefficients: Floats = np.linalg.lstsq(terms / scale, target, rcond=1e-9)[0]
    return coefficients / scale[:, None]


def _by_length(coefficients: Floats, length: Floats) -> Floats:
    """Value of the fit, one column of coefficients for each of the last axis of ``length``."""
    total = np.zeros(np.broadcast_shapes(length.shape, coefficients.shape[1:]))
    for row, term in zip(coefficients, _length_terms(length), strict=True):
        total += row * term
    return total


def _length(trace: Trace, rows: Rows) -> Prediction:
    """Expected cost over the lengths that the densities so far leave possible.

    The cost jumps where a tile begins, so the spread of the inferred length counts as well.
    """
    if trace.length is None:
        return _kalman(trace, rows)
    known = trace.length[rows].astype(np.float64)
    cost = _fit_length(known, trace.latency_s[rows])
    remaining, next_layer, _ = _pattern(trace, rows)
    density = 1 - trace.sparsity
    signals = np.stack([np.sqrt(density), density, density**2], axis=2)
    steps = _kalman_filter(signals, known[:, None], rows, LENGTH_NOISE)
    for layer, (estimate, leverage) in enumerate(steps):
        if layer == 0:  # nothing seen
            continue
        inferred = estimate[:, 0]
        left_out = (known - inferred[rows]) / np.maximum(1 - leverage[rows], 1e-3)
        possible = inferred[:, None] + np.sqrt((left_out**2).mean()) * _NORMAL_QUANTILES
        possible = np.clip(possible, 1, known.max())  # inputs are cut at a greatest length
        for table, coefficients in ((remaining, remaining_sums(cost)), (next_layer, cost)):
            table[:, layer] = _by_length(coefficients[:, layer : layer + 1], possible).mean(axis=1)
    return _clipped(trace, rows, remaining, next_layer, beyond=2)


def _sized(trace: Trace, rows: Rows) -> Prediction:
    if trace.length is None:
        return _pattern(trace, rows)
    expected = _of_length(trace.length, trace.latency_s, rows)
    result = _clipped(trace, rows, remaining_sums(expected), expected, beyond=2)
    return result._replace(correction=np.ones(expected.shape))


def _sized_kalman(trace: Trace, rows: Rows) -> Prediction:
    if trace.length is None:
        return _kalman(trace, rows)
    expected = _of_length(trace.length, trace.latency_s, rows)
    density = 1 - trace.sparsity
    surprise = density - _of_length(trace.length, density, rows)
    result = _filtered(trace, rows, expected, surprise, beyond=2)
    return result._replace(correction=_ratio(result.remaining, _sized(trace, rows).remaining))


def _of_length(length: NDArray[np.int64], table: Floats, rows: Rows) -> Floats:
    """What each entry of ``table`` is expected to be at the true lengths, shape as the table's."""
    known = length.astype(np.float64)
    return _by_length(_fit_length(known[rows], table[rows]), known[:, None])


# --- small parts ---------------------------------------------------------------------------------

_NORMAL_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 21) for i in range(21)])


def remaining_sums(table: Floats) -> Floats:
    """Sums from each layer to the last one: one table, so that equal rows stay exactly equal."""
    return np.cumsum(table[:, ::-1], axis=1)[:, ::-1]


def _before(after: Floats, first: ArrayLike) -> Floats:
    """What is known before each layer: what is known after the one before it."""
    result = np.empty_like(after)
    result[:, 0], result[:, 1:] = first, after[:, :-1]
    return result


def _varies(variance: Floats) -> NDArray[np.bool_]:
    """Whether a variance of densities is more than rounding."""
    return variance > 1e-16


def _ratio(remaining: Floats, at_arrival: Floats) -> Floats:
    at_arrival = np.broadcast_to(at_arrival, remaining.shape)
    ratio = np.divide(remaining, at_arrival, out=np.ones_like(remaining), where=at_arrival > 0)
    ratio[:, 0] = 1
    return ratio


def _clipped(
    trace: Trace, rows: Rows, remaining: Floats, next_layer: Floats, beyond: float = 1
) -> Prediction:
    """Estimates between the least above 0 (or the average, if less) and the most in the reference.

    A fit is not to be trusted outside what it was fitted to, where it may turn negative. One by
    length may go ``beyond`` by a factor, for an input shorter or longer than any of those.
    """
    latency = trace.latency_s[rows]

    def clip(estimate: Floats, true: Floats) -> Floats:
        high = true.max(axis=0)
        low = np.minimum(np.where(true > 0, true, high).min(axis=0), true.mean(axis=0))
        return np.clip(estimate, low / beyond, high * beyond)

    remaining = clip(remaining, remaining_sums(latency))
    average = remaining_sums(latency.mean(axis=0)[None, :])
    next_layer = np.minimum(clip(next_layer, latency), remaining)  # they are fitted apart
    return Prediction(remaining, next_layer, _ratio(remaining, average))


PREDICTORS: Mapping[str, Callable[[Trace, Rows], Prediction]] = MappingProxyType(
    {
        "pattern": _pattern,
        "average": _density_ratio,
        "last_n": partial(_density_ratio, last=LAST_N),
        "last": partial(_density_ratio, last=1),
        "linear": _linear,
        "kalman": _kalman,
        "length": _length,
        "sized": _sized,
        "sized_kalman": _sized_kalman,
    }
)
"""All predictors, by name."""
