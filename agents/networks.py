"""Learned scores as scoring rules: networks that run inside the compiled loop, without torch.

A network scores every request of the queue with the same weights, from `dysta_gym.agents.features`,
so it takes a queue of any length. Two kinds, ``x`` being the features of a request, ``c`` those of
the queue, the least score running first:

- ``tiny``: ``u x + v f(A x + B c + b)`` with ``f(a) = a / (1 + |a|)``, a line and one hidden layer.
  Width 0 leaves the line.
- ``pooled``: ``e = max(0, A x + B c + b)`` for each request, then
  ``-(s x + o + w max(0, D e + P mean(e) + d))``, where the mean is over the queue: every request is
  scored in the light of the others (Zaheer et al., Deep Sets, NeurIPS 2017).

A rule reads ``time_unit``, the width, then the weights, a matrix row after row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.agents.features import C, F, describe
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue

ROW = F + C + 2
"""Weights of a hidden unit of ``tiny``: of the features, its bias and what it gives."""

UNIT, WIDTH, FIRST = range(3)
"""Where a rule's parameters hold the unit of time, the width and the first weight."""


def tiny(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``u x + v f(A x + B c + b)``.

    For each hidden unit there are its ``F`` weights of ``x``, ``C`` of ``c``, ``b`` and ``v``;
    the last ``F`` weights are ``u``.
    """
    width = int(parameters[WIDTH])
    x, c = np.empty(F * size), np.empty(C)
    describe(queue, size, now, parameters[UNIT], x, c)
    line = FIRST + width * ROW
    for i in range(size):
        scores[i] = 0.0
    for f in range(F):
        weight = parameters[line + f]
        for i in range(size):
            scores[i] += weight * x[f * size + i]
    for h in range(width):
        at = FIRST + h * ROW
        bias = parameters[at + F + C]
        for k in range(C):
            bias += parameters[at + F + k] * c[k]
        out = parameters[at + F + C + 1]
        w0, w1, w2, w3 = (
            parameters[at],
            parameters[at + 1],
            parameters[at + 2],
            parameters[at + 3],
        )
        w4, w5, w6, w7 = (
            parameters[at + 4],
            parameters[at + 5],
            parameters[at + 6],
            parameters[at + 7],
        )
        for i in range(size):
            a = (
                bias
                + w0 * x[i]
                + w1 * x[size + i]
                + w2 * x[2 * size + i]
                + w3 * x[3 * size + i]
                + w4 * x[4 * size + i]
                + w5 * x[5 * size + i]
                + w6 * x[6 * size + i]
                + w7 * x[7 * size + i]
            )
            scores[i] += out * (a / (1.0 + abs(a)))


@compiled(None)
def _add_rows(line: Floats, weights: Floats, rows: Floats) -> None:
    """Add each row of ``rows``, one after the other, times its weight to ``line``."""
    size, count = line.size, weights.size
    whole = count - count % 4
    for k in range(0, whole, 4):  # four at once, for what is added to is read and written again
        four = rows[k * size : (k + 4) * size]
        # Slices, for from 0 on, indices are known not to count from the end.
        p, q, r, s = four[:size], four[size:], four[2 * size :], four[3 * size :]
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for i in range(size):
            line[i] += (a * p[i] + b * q[i]) + (c * r[i] + d * s[i])
    for k in range(whole, count):
        row, weight = rows[k * size : (k + 1) * size], weights[k]
        for i in range(size):
            line[i] += weight * row[i]


def pooled(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``-(s x + o + w max(0, D e + P mean(e) + d))`` with ``e = max(0, A x + B c + b)``.

    The weights are ``A`` and ``B`` side by side, ``b``, ``D``, ``d``, ``P``, ``w``, ``o``, ``s``.
    """
    width = int(parameters[WIDTH])
    x, c = np.empty(F * size), np.empty(C)
    describe(queue, size, now, parameters[UNIT], x, c)
    e, mean, line = np.empty(width * size), np.empty(width), np.empty(size)
    biases = FIRST + width * (F + C)
    inner = biases + width
    inner_biases = inner + width * width
    pool = inner_biases + width
    out = pool + width * width
    skip = out + width + 1
    for d in range(width):
        row = FIRST + d * (F + C)
        bias = parameters[biases + d]
        for k in range(C):
            bias += parameters[row + F + k] * c[k]
        for i in range(size):
            line[i] = bias
        _add_rows(line, parameters[row : row + F], x)
        total, embedded = 0.0, e[d * size : (d + 1) * size]
        for i in range(size):
            embedded[i] = max(line[i], 0.0)
            total += embedded[i]
        mean[d] = total / size
    for i in range(size):
        line[i] = parameters[out + width]
    _add_rows(line, parameters[skip : skip + F], x)
    for i in range(size):
        scores[i] = -line[i]
    for d in range(width):
        bias = parameters[inner_biases + d]
        for k in range(width):
            bias += parameters[pool + d * width + k] * mean[k]
        for i in range(size):
            line[i] = bias
        _add_rows(line, parameters[inner + d * width : inner + (d + 1) * width], e)
        weight = parameters[out + d]
        for i in range(size):
            scores[i] -= weight * max(line[i], 0.0)


class Network(NamedTuple):
    """A kind of network.

    Attributes:
        rule: Its scoring rule.
        weights: How many weights it has at a width.
    """

    rule: Callable[[Queue, int, float, NDArray[np.float64], NDArray[np.float64]], None]
    weights: Callable[[int], int]


NETWORKS = {
    "tiny": Network(tiny, lambda width: width * ROW + F),
    "pooled": Network(
        pooled, lambda width: width * (F + C) + width + 2 * width * (width + 1) + F + 1
    ),
}
"""The kinds of networks by name."""
