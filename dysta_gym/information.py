"""What a scheduler knows about the cost of a request, separate from how it ranks requests.

The same scoring rule runs at any of five levels of information. All but `sized` are those of
Sparse-DySta (MICRO'23, Sections 4 and 5):

============== =====================================================================
level          estimated latency of a layer
============== =====================================================================
`static`       average over patterns and inputs
`pattern`      average of this pattern
`sized`        what an input of this length takes; without lengths, as `pattern`
`monitored`    as `pattern`, corrected by the sparsity of the layers that have run
`clairvoyant`  the true one
============== =====================================================================

How the monitor corrects is an option, written after the level: ``monitored/last`` looks at the last
layer alone, and so on (see `dysta_gym.predictors`). ``monitored`` by itself is Dysta's published
average over all executed layers. ``sized/kalman`` knows the length and monitors.

What a level knows of a request depends only on its trace, its input and how many of its layers have
run, so a level is a set of tables over a store's cells: the event loop looks estimates up and does
not know which level it runs at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import one_of
from dysta_gym.predictors import Prediction, predict, remaining_sums
from dysta_gym.traces import TraceStore

LEVELS = ("static", "pattern", "sized", "monitored", "clairvoyant")
"""The levels, without their options."""

PREDICTOR_OF: Mapping[str, str] = {
    "pattern": "pattern",
    "sized": "sized",
    "sized/kalman": "sized_kalman",
    "monitored": "average",
    "monitored/last_n": "last_n",
    "monitored/last": "last",
    "monitored/linear": "linear",
    "monitored/kalman": "kalman",
    "monitored/length": "length",
}
"""Levels and options that rest on a predictor, and which one (see `dysta_gym.predictors`)."""

ALL_LEVELS = (*LEVELS, *(level for level in PREDICTOR_OF if level not in LEVELS))
"""The levels, then the levels with their options."""


class Estimates(NamedTuple):
    """What a level knows of a request about to run layer ``l``, for every cell of a store.

    All arrays have the shape ``(cells,)``; times are in seconds.

    Attributes:
        remaining: Estimated latency of the layers from ``l`` on: ``R``.
        next_layer: Estimated latency of layer ``l``: ``N``.
        correction: The correction factor ``g``, which both contain.
    """

    remaining: NDArray[np.float64]
    next_layer: NDArray[np.float64]
    correction: NDArray[np.float64]


def estimates(store: TraceStore, level: str, reference: str) -> Estimates:
    """The tables of one level, fitted to the inputs of split ``reference``.

    The isolated latency ``I`` that a rule sees is ``remaining`` before the first layer.

    Raises:
        DystaError: If the level is unknown.
    """
    if not isinstance(level, str) or level not in ALL_LEVELS:
        raise one_of("level", level, ALL_LEVELS)
    key = ("estimates", level, reference)
    if key not in store.cached:
        store.cached[key] = _estimates(store, level, reference)
    result: Estimates = store.cached[key]
    return result


def _estimates(store: TraceStore, level: str, reference: str) -> Estimates:
    per_trace = []
    for index, trace in enumerate(store.traces):
        if level in PREDICTOR_OF:
            per_trace.append(predict(trace, PREDICTOR_OF[level], reference))
            continue
        if level == "clairvoyant":
            expected = trace.latency_s
        else:
            average = store.averages(reference).model_latency_s[store.model_of[index]]
            expected = np.broadcast_to(average, trace.latency_s.shape)
        remaining = remaining_sums(expected)
        per_trace.append(Prediction(remaining, expected, np.ones(expected.shape)))
    columns = zip(*per_trace, strict=True)
    return Estimates(*(np.concatenate([table.ravel() for table in column]) for column in columns))
