"""What a scheduler knows about the cost of a request, separate from how it ranks requests.

The same scoring rule runs at any of four levels of information (Sparse-DySta, MICRO'23, Sections 4
and 5):

============== ================================== =================
level          estimated latency of a layer       correction factor
============== ================================== =================
`static`       average over patterns and inputs   1
`pattern`      average of this pattern            1
`monitored`    average of this pattern            `mean_density_ratio` of the executed layers
`clairvoyant`  the true one                       1
============== ================================== =================

What a level knows of a request depends only on its trace, its input and how many of its layers have
run, so a level is a set of tables over a store's cells: the event loop looks estimates up and does
not know which level it runs at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import one_of
from dysta_gym.traces import TraceStore

LEVELS = ("static", "pattern", "monitored", "clairvoyant")


class Estimates(NamedTuple):
    """What a level knows of a request about to run layer ``l``, for every cell of a store.

    All arrays have the shape ``(cells,)``; times are in seconds.

    Attributes:
        remaining: Estimated latency of the layers from ``l`` on, times the correction: ``R``.
        next_layer: Estimated latency of layer ``l``, times the correction: ``N``.
        correction: The correction factor ``g``.
    """

    remaining: NDArray[np.float64]
    next_layer: NDArray[np.float64]
    correction: NDArray[np.float64]


def estimates(store: TraceStore, level: str, reference: str) -> Estimates:
    """The tables of one level, with averages over the inputs of split ``reference``.

    The isolated latency ``I`` that a rule sees is ``remaining`` before the first layer.

    Raises:
        DystaError: If the level is unknown.
    """
    if level not in LEVELS:
        raise one_of("level", level, LEVELS)
    key = ("estimates", level, reference)
    if key not in store.cached:
        store.cached[key] = _estimates(store, level, reference)
    result: Estimates = store.cached[key]
    return result


def _estimates(store: TraceStore, level: str, reference: str) -> Estimates:
    averages = store.averages(reference)
    remaining, next_layer, correction = [], [], []
    for index, trace in enumerate(store.traces):
        shape = trace.latency_s.shape
        if level == "clairvoyant":
            expected = trace.latency_s
        elif level == "static":
            expected = averages.model_latency_s[store.model_of[index]][None, :]
        else:
            expected = averages.latency_s[index][None, :]
        # A sum over the remaining layers from one table keeps equal requests exactly equal;
        # subtracting layer after layer would break their ties at random.
        suffix = np.cumsum(expected[:, ::-1], axis=1)[:, ::-1]
        factor = np.ones(shape)
        if level == "monitored":
            factor[:, 1:] = mean_density_ratio(trace.sparsity, averages.sparsity[index])[:, :-1]
        remaining.append((factor * suffix).ravel())
        next_layer.append((factor * expected).ravel())
        correction.append(factor.ravel())
    return Estimates(*(np.concatenate(column) for column in (remaining, next_layer, correction)))


def mean_density_ratio(
    sparsity: NDArray[np.float64], average: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Dysta's sparsity coefficient after each layer (Sparse-DySta, Section 5.2, "average of all").

    Args:
        sparsity: Sparsity measured in each layer of each input, shape ``(inputs, layers)``.
        average: Average sparsity of each layer, shape ``(layers,)``.

    Returns:
        Mean over the layers up to and including ``l`` of ``(1 - s) / (1 - average)``, shape
        ``(inputs, layers)``. A layer that is on average all zeros says nothing and counts as 1.
    """
    density = 1 - average
    known = density > 0
    ratio = np.where(known, (1 - sparsity) / np.where(known, density, 1), 1.0)
    return np.cumsum(ratio, axis=1) / np.arange(1, ratio.shape[1] + 1)
