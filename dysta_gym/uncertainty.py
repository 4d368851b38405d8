"""How sizes that are known in distribution alone rank: Gittins' index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dysta_gym.compiled.records import Floats
from dysta_gym.information import estimates
from dysta_gym.predictors import remaining_sums
from dysta_gym.traces import TraceStore

QUANTILES = 16
"""Sizes that stand for a distribution."""


def gittins_index(store: TraceStore, level: str, reference: str) -> NDArray[np.float64]:
    """The inverse of Gittins' index of a request about to run each cell, shape ``(cells,)``.

    A request that has been served for ``a`` seconds and whose level expects ``R`` more takes
    ``X = a + R q`` in all, where ``q`` is by how much true and expected remaining latencies differ
    after so many layers, over the inputs of split ``reference`` of its trace (at `static`, of its
    model). The index is ``sup_D E[1{X <= a + D} / X] / E[min(X - a, D)]``: the slowdowns that end,
    over the time that they take. Where nothing is uncertain, that is ``1 / (R I)``.
    """
    known = estimates(store, level, reference).remaining
    true = [remaining_sums(trace.latency_s) for trace in store.traces]
    result = np.empty_like(known)
    groups = store.model_of if level == "static" else np.arange(len(store.traces))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        cells = [slice(store.first_cell[m], store.first_cell[m] + true[m].size) for m in members]
        expected = [known[at].reshape(true[m].shape) for at, m in zip(cells, members, strict=True)]
        seen = [
            _ratio(true[m], each)[store.traces[m].rows(reference)]
            for m, each in zip(members, expected, strict=True)
        ]
        shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
        factors = np.quantile(np.concatenate(seen), shares, axis=0, method="inverted_cdf")
        for at, m, each in zip(cells, members, expected, strict=True):
            served = true[m][:, :1] - true[m]
            result[at] = _inverse(served, each, factors).ravel()
    return result


def _ratio(true: Floats, expected: Floats) -> Floats:
    """True over expected latency; 1 where nothing is expected."""
    return np.divide(true, expected, out=np.ones_like(true), where=expected > 0)


def _inverse(served: Floats, expected: Floats, factors: Floats) -> Floats:
    """The inverse of the index, all shape ``(inputs, layers)`` but for the quantiles first."""
    least = np.full_like(expected, np.inf)
    ended = np.zeros_like(expected)
    below = np.zeros_like(expected)
    for place, factor in enumerate(factors):
        left = expected * factor
        size = served + left
        ended += np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
        below += left
        work = below + left * (len(factors) - 1 - place)
        inverse = np.divide(work, ended, out=np.full_like(work, np.inf), where=ended > 0)
        least = np.minimum(least, inverse)
    return np.where(expected > 0, least, 0.0)
