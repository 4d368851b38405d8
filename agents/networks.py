"""Learned scores as scoring rules: networks that run inside the compiled loop, without torch.

A network scores every request of the queue with the same weights, from some of the features of
`dysta_gym.features`, so it takes a queue of any length. Three kinds, ``x`` being the features of a
request, ``c`` those of the queue, the least score running first:

- ``tiny``: ``u x + v f(A x + B c + b)`` with ``f(a) = a / (1 + |a|)``, a line and one hidden layer.
  Width 0 leaves the line.
- ``conditioned``: the same with a preference ``p`` in [0, 1] as a further feature of the queue, and
  with weights ``u`` and ``v`` that change with it in a line, all times ``1 - p``; and ``p`` times
  the logarithm of ``G``, which is all that is left at 1: one network for a whole trade-off. ``G``
  is the inverse of Gittins' index (`dysta_gym.uncertainty`), which is ``R I`` where sizes are
  certain; ``ln(G / (R I)) / 2`` is the last feature of a request, `doubt`.
- ``pooled``: ``e = max(0, A x + B c + b)`` for each request, then
  ``-(s x + o + w max(0, D e + P mean(e) + d))``, where the mean is over the queue: every request is
  scored in the light of the others (Zaheer et al., Deep Sets, NeurIPS 2017).

Features are what environments show, which float32 holds; all is computed in float64, here and in
torch. A rule
reads ``time_unit``, what its user turns, the width, then the weights, a matrix row after row, and
the index, if any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from dysta_gym.compiled.digest import fresh
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats
from dysta_gym.describing import describer
from dysta_gym.features import TABLE, Selection
from dysta_gym.machine.queue import Queue
from dysta_gym.machine.rule import index_of
from dysta_gym.parameters import Parameter
from dysta_gym.uncertainty import gittins_index

Score = Callable[[Queue, int, float, Floats, Floats], None]

UNIT, KNOB, WIDTH, FIRST = range(4)
"""Where a rule's parameters hold the unit of time, what a user turns (the tilt, or of `conditioned`
the preference), the width and the first weight."""

TILTED = ("remaining", "size", "work", "whole_work")
"""Features of a request whose weights a tilt is added to."""

PULL = 3.5
"""What ``ln G`` weighs at preference 1; networks that are evolved begin with 1.5 of it at 0."""


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


@cache
def _dot(count: int) -> tuple[Any, Any]:
    """What takes so many weights out of an array, and their product with a column of ``rows``.

    ``taken(weights, at)`` gives a tuple, which stays in the processor's registers through a loop;
    ``dot(taken, rows, size, i)`` is with entry ``i`` of each row of ``size`` entries. (Indices are
    unsigned, for those that may count from the end keep the processor's vectors out.)
    """
    if count == 1:

        def only(weights: Floats, at: int) -> tuple[float, ...]:
            return (weights[at],)

        def product(taken: tuple[float, ...], rows: Floats, size: int, i: int) -> float:
            return taken[0] * rows[np.uintp(i)]

        return compiled(None, inline=True)(only), compiled(None, inline=True)(product)
    if count <= 4:
        take_rest, dot_rest = _dot(count - 1)

        def take(weights: Floats, at: int) -> tuple[float, ...]:
            return (weights[at],) + take_rest(weights, at + 1)  # noqa: RUF005, for Numba

        def dot(taken: tuple[float, ...], rows: Floats, size: int, i: int) -> float:
            return taken[0] * rows[np.uintp(i)] + dot_rest(taken[1:], rows, size, i + size)

        return compiled(None, inline=True)(take), compiled(None, inline=True)(dot)
    take_others, dot_others = _dot(count - 4)

    def take_four(weights: Floats, at: int) -> tuple[float, ...]:
        four = (weights[at], weights[at + 1], weights[at + 2], weights[at + 3])
        return four + take_others(weights, at + 4)

    def dot_four(taken: tuple[float, ...], rows: Floats, size: int, i: int) -> float:
        total = dot_others(taken[4:], rows, size, i + 4 * size)
        total = taken[3] * rows[np.uintp(i + 3 * size)] + total
        total = taken[2] * rows[np.uintp(i + 2 * size)] + total
        total = taken[1] * rows[np.uintp(i + size)] + total
        return taken[0] * rows[np.uintp(i)] + total

    return compiled(None, inline=True)(take_four), compiled(None, inline=True)(dot_four)


def tilts_of(selection: Selection) -> list[int]:
    """Places of the features of a request whose weights are tilted."""
    return [at for at, each in enumerate(selection.requests) if each.name in TILTED]


def _tilting(selection: Selection) -> Any:
    """``tilt(scores, tilt, x)``: what a tilt adds to scores."""
    places = tilts_of(selection)
    at, count = np.array(places or [0], np.int64), len(places)

    @compiled(None, inline=True)
    def tilted(scores: Floats, tilt: float, x: Floats) -> None:
        if tilt:
            size = scores.size
            for each in range(count):
                row = x[at[each] * size : (at[each] + 1) * size]
                for i in range(size):
                    scores[i] += tilt * row[i]

    return tilted


def _tiny(selection: Selection) -> Score:
    """Least ``u x + v f(A x + B c + b)``.

    For each hidden unit there are its weights of ``x``, those of ``c``, ``b`` and ``v``; the last
    weights are ``u``.
    """
    describe, taken, dot = describer(selection), *_dot(len(selection.requests))
    of_request, of_queue = len(selection.requests), len(selection.queue)
    hidden, tilt = hidden_weights("tiny", selection), _tilting(selection)

    def tiny(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
        width = int(parameters[WIDTH])
        x, c = np.empty(of_request * size), np.empty(of_queue)
        describe(queue, size, now, parameters[UNIT], x, c)
        line = taken(parameters, FIRST + width * hidden)
        for i in range(size):
            scores[i] = dot(line, x, size, i)
        tilt(scores[:size], parameters[KNOB], x)
        for h in range(width):
            at = FIRST + h * hidden
            weights, bias = taken(parameters, at), parameters[at + of_request + of_queue]
            for k in range(of_queue):
                bias += parameters[at + of_request + k] * c[k]
            out = parameters[at + hidden - 1]
            for i in range(size):
                a = bias + dot(weights, x, size, i)
                scores[i] += out * (a / (1.0 + abs(a)))

    return tiny


_DOUBT = 3.5
"""The feature `doubt` of `conditioned` is no less than minus this, and no more than this."""


@compiled(None, inline=True)
def _product(queue: Queue, i: int, parameters: Floats, first: int) -> float:
    """``G``; ``R I`` where no index follows the parameters and weights, as in rollouts."""
    if parameters.size > first:
        return index_of(queue, i, parameters, first)
    return float(queue.remaining[i] * queue.isolated[i])


@compiled(None, inline=True)
def _doubt(queue: Queue, i: int, product: float) -> float:
    """By how much ``G`` differs from ``R I``, as a feature."""
    certain = queue.remaining[i] * queue.isolated[i]
    if certain <= 0.0 or product <= 0.0:
        return 0.0
    return max(-_DOUBT, min(_DOUBT, 0.5 * math.log(product / certain)))


def _conditioned(selection: Selection) -> Score:
    """Least ``(1 - p) ((u + p t) x + (v + p w) f(A x + B c + p g + b)) + p l ln(G / unit^2)``.

    ``p`` is the preference, and ``l`` is `PULL`; at preference 1 it is ``G``, as in `gittins`. For
    each hidden unit there are its weights of ``x``, those of ``c``, ``g``, ``b``, ``v`` and ``w``;
    the last weights are ``u`` and ``t``.
    """
    seen, of_queue = len(selection.requests), len(selection.queue)
    of_request = seen + 1
    describe, taken, dot = describer(selection), *_dot(of_request)
    hidden = hidden_weights("conditioned", selection)

    def conditioned(
        queue: Queue, size: int, now: float, parameters: Floats, scores: Floats
    ) -> None:
        width, preference = int(parameters[WIDTH]), parameters[KNOB]
        other, unit = 1.0 - preference, parameters[UNIT]
        last = FIRST + width * hidden
        end = last + 2 * of_request
        if other == 0.0:
            for i in range(size):  # to the last bit: logarithms make ties
                scores[i] = _product(queue, i, parameters, end)
            return
        x, c = np.empty(of_request * size), np.empty(of_queue)
        describe(queue, size, now, unit, x, c)
        for i in range(size):
            product = _product(queue, i, parameters, end)
            x[seen * size + i] = _doubt(queue, i, product)
            scores[i] = 0.0
            if preference > 0.0:
                scores[i] = preference * PULL * math.log(max(product / unit / unit, 1e-300))
        mixed = np.empty(of_request)
        for f in range(of_request):
            turned = parameters[last + f] + preference * parameters[last + of_request + f]
            mixed[f] = other * turned
        line = taken(mixed, 0)
        for i in range(size):
            scores[i] += dot(line, x, size, i)
        for h in range(width):
            at = FIRST + h * hidden
            weights, rest = taken(parameters, at), at + of_request + of_queue
            bias = preference * parameters[rest] + parameters[rest + 1]
            for k in range(of_queue):
                bias += parameters[at + of_request + k] * c[k]
            out = other * (parameters[rest + 2] + preference * parameters[rest + 3])
            for i in range(size):
                a = bias + dot(weights, x, size, i)
                scores[i] += out * (a / (1.0 + abs(a)))

    return conditioned


def _pooled(selection: Selection) -> Score:
    """Least ``-(s x + o + w max(0, D e + P mean(e) + d))`` with ``e = max(0, A x + B c + b)``.

    The weights are ``A`` and ``B`` side by side, ``b``, ``D``, ``d``, ``P``, ``w``, ``o``, ``s``.
    """
    describe, tilt = describer(selection), _tilting(selection)
    of_request, of_queue = len(selection.requests), len(selection.queue)
    of_both = of_request + of_queue

    def pooled(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
        width = int(parameters[WIDTH])
        x, c = np.empty(of_request * size), np.empty(of_queue)
        describe(queue, size, now, parameters[UNIT], x, c)
        e, mean, line = np.empty(width * size), np.empty(width), np.empty(size)
        biases = FIRST + width * of_both
        inner = biases + width
        inner_biases = inner + width * width
        pool = inner_biases + width
        out = pool + width * width
        skip = out + width + 1
        for d in range(width):
            row = FIRST + d * of_both
            bias = parameters[biases + d]
            for k in range(of_queue):
                bias += parameters[row + of_request + k] * c[k]
            for i in range(size):
                line[i] = bias
            _add_rows(line, parameters[row : row + of_request], x)
            total, embedded = 0.0, e[d * size : (d + 1) * size]
            for i in range(size):
                embedded[i] = max(line[i], 0.0)
                total += embedded[i]
            mean[d] = total / size
        for i in range(size):
            line[i] = parameters[out + width]
        _add_rows(line, parameters[skip : skip + of_request], x)
        for i in range(size):
            scores[i] = -line[i]
        tilt(scores[:size], parameters[KNOB], x)
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

    return pooled


def hidden_weights(kind: str, selection: Selection) -> int:
    """Weights of a hidden unit of ``tiny`` or ``conditioned``: what it reads, its bias, its gain.

    Of ``conditioned``, the preference and `doubt` are among what it reads, and the gain has two.
    """
    return len(selection.requests) + len(selection.queue) + {"tiny": 2, "conditioned": 5}[kind]


def _tiny_weights(width: int, selection: Selection) -> int:
    return width * hidden_weights("tiny", selection) + len(selection.requests)


def _conditioned_weights(width: int, selection: Selection) -> int:
    return width * hidden_weights("conditioned", selection) + 2 * (len(selection.requests) + 1)


def _pooled_weights(width: int, selection: Selection) -> int:
    both = len(selection.requests) + len(selection.queue)
    return width * both + width + 2 * width * (width + 1) + len(selection.requests) + 1


class Network(NamedTuple):
    """A kind of network.

    Attributes:
        rule: Its scoring rule for some features.
        weights: How many weights it has at a width, for some features.
        parameters: What a user may set, beside the unit of time.
        indexed: The `dysta_gym.Policy.index` that it reads, if any. It spares that: sizes then
            count as certain.
    """

    rule: Callable[[Selection], Score]
    weights: Callable[[int, Selection], int]
    parameters: Mapping[str, Parameter]
    indexed: Callable[[Any, str, str], Floats] | None = None


_TILT = Parameter(
    0.0, "added to the weights of remaining and whole latency: more for less ANTT, less for fewer"
    " violations", -100.0, 100.0
)  # fmt: skip

PREFERENCE = Parameter(0.2, "what counts: 0 violations alone, 1 ANTT alone", 0.0, 1.0)

_MADE: dict[Score, tuple[str, Selection]] = {}


def rule_of(kind: str, selection: Selection) -> Score:
    """The scoring rule of a kind of network for some features.

    It is the same one until what the formulas of features of one's own read has changed.
    """
    return _rule((kind, selection))


def _own_formulas(of: tuple[str, Selection]) -> list[Callable[..., float]]:
    """The formulas that may read what changes: those of this package do not."""
    selection = of[1]
    whole = (*selection.requests, *selection.queue)
    return [each.formula for each in whole if TABLE.own.get(each.name) != each]


@fresh(_own_formulas)
def _rule(of: tuple[str, Selection]) -> Score:
    kind, selection = of
    rule = {"tiny": _tiny, "conditioned": _conditioned, "pooled": _pooled}[kind](selection)
    _MADE[rule] = kind, selection
    rule.made_by = rule_of, (kind, selection)  # type: ignore[attr-defined]  # see Policy
    return rule


def kind_of(score: Score) -> tuple[str, Selection] | None:
    """The kind of network that a scoring rule is, and the features that it sees; None if none."""
    return _MADE.get(score)


NETWORKS = {
    "tiny": Network(partial(rule_of, "tiny"), _tiny_weights, {"tilt": _TILT}),
    "conditioned": Network(
        partial(rule_of, "conditioned"),
        _conditioned_weights,
        {"preference": PREFERENCE},
        gittins_index,
    ),
    "pooled": Network(partial(rule_of, "pooled"), _pooled_weights, {"tilt": _TILT}),
}
"""The kinds of networks by name."""
