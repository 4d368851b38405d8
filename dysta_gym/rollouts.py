"""Rollouts: what each choice would cost if a known rule decided from there on.

`over` makes a policy of another one, its base. Asked which request runs next, it tries a few, those
that the base puts first: each runs, and the base decides all that follows, in several futures of
arrivals that are drawn at random. It departs from the base where another choice costs less by more
than chance explains. (Tesauro and Galperin, On-line Policy Improvement using Monte-Carlo Search,
NIPS 1996; Bertsekas, Tsitsiklis and Wu, Rollout Algorithms for Combinatorial Optimization, Journal
of Heuristics 3, 1997.)

A future is made of what has been seen: arrivals come independently, as often as so far; one takes
what a request seen so far was expected to take, and has the relative deadline, the priority and the
number of layers of a request in the queue. Nothing is read of requests that have not arrived. In a
future, requests take what is expected of them, in layers of equal length that are not interrupted,
and decisions and preemptions are free.

What a choice costs is the slowdown of all requests of such a future from now on, the time until
they finish over their isolated latency, and ``weight`` for each that is late.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.guarding import guarded
from dysta_gym.compiled.records import (
    FLOATS_TYPE,
    INTS_TYPE,
    Floats,
    Ints,
    borrow,
    exact,
    read_only,
    type_of,
)
from dysta_gym.compiled.sorting import sort
from dysta_gym.compiled.streams import WIDTH, Stream, exponential, pool, random, seeded
from dysta_gym.errors import DystaError
from dysta_gym.information import estimates
from dysta_gym.machine.machine import Machine
from dysta_gym.machine.queue import QUEUE_TYPE, Queue, of_length, remove
from dysta_gym.machine.rule import Score, first_least
from dysta_gym.parameters import Parameter
from dysta_gym.policies import Policy
from dysta_gym.traces import TraceStore

PARAMETERS = {
    "candidates": Parameter(4, "requests tried, the base's first", low=1, high=64, whole=True),
    "futures": Parameter(32, "futures that each is tried in", low=2, high=256, whole=True),
    "horizon": Parameter(40, "arrivals in a future", low=1, high=200, whole=True),
    "weight": Parameter(30, "cost of a late request, in slowdowns", low=0),
    "confidence": Parameter(1, "standard errors by which another choice must cost less", low=0),
}
"""What a rollout is tuned by; the base's own parameters follow."""

_CANDIDATES, _FUTURES, _HORIZON, _WEIGHT, _CONFIDENCE = range(len(PARAMETERS))

LOOKED_AT = 64
"""Requests of a queue that are followed into a future: those that the base puts first. The others
would run after them, whichever of these comes first."""

SEEN = 256
"""Requests whose sizes futures are made of: the last that arrived."""


class Futures(NamedTuple):
    """Requests to come, ``horizon`` of each future one after the other, in order of arrival.

    Attributes:
        arrival: When they arrive, in seconds.
        isolated: Expected latency of all their layers, in seconds.
        deadline: When they are due, in seconds.
        priority: Priorities.
        layers: Layers.
    """

    arrival: Floats
    isolated: Floats
    deadline: Floats
    priority: Floats
    layers: Ints


class _Run(NamedTuple):
    """One future, as far as it has been followed.

    Attributes:
        queue: The queue.
        counts: Requests in it, futures' arrivals that have come, and the slot that runs next.
        clock: The time, the cost until then, and a number that stands for when each request in the
            queue ran last and what the rule remembers of it.
        state: A number of 64 bits that stands for who is in the queue and how far each has come,
            and one for who ran last.
    """

    queue: Queue
    counts: Ints
    clock: Floats
    state: NDArray[np.uint64]


_SIZE, _COME, _SLOT = range(3)
_TIME, _COST, _PAST = range(3)


class _Trail(NamedTuple):
    """The decisions of a run: when, the cost until then, and what stands for the state."""

    time: Floats
    cost: Floats
    past: Floats
    state: NDArray[np.uint64]


FUTURES_TYPE = type_of(Futures)

_LEAST_S = 1e-30
"""Latencies count as no less where something is divided by them."""

_SAME = 1e-12
"""Relative difference of times that is more than rounding can make."""

_LEAST_GAIN = 1e-9
"""A gain that is more than rounding can make, in slowdowns."""

_HOPELESS = 1.0
"""Standard errors by which a candidate costs more that the rule tries no further."""

_PRIME = 1_000_003
"""More than the layers in a queue, so that no two states draw the same futures."""


@compiled(None, inline=True)
def _mark(request: int) -> np.uint64:
    """A number of 64 bits that stands for a request: a step of SplitMix64."""
    mixed = (np.uint64(request) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@compiled(None, inline=True)
def room_for(size: int) -> Queue:
    """Columns for a queue of so many requests."""
    return Queue(
        size,
        np.empty(size, np.int64),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size),
    )


@compiled(None, inline=True)
def copy_to(queue: Queue, slot: int, other: Queue, place: int) -> None:
    """Write the request in a slot of one queue to a place in another one."""
    other.request[place] = queue.request[slot]
    other.arrival[place] = queue.arrival[slot]
    other.deadline[place] = queue.deadline[slot]
    other.priority[place] = queue.priority[slot]
    other.remaining[place] = queue.remaining[slot]
    other.next_layer[place] = queue.next_layer[slot]
    other.isolated[place] = queue.isolated[slot]
    other.correction[place] = queue.correction[slot]
    other.last_run[place] = queue.last_run[slot]
    other.executed[place] = queue.executed[slot]
    other.layers[place] = queue.layers[slot]
    other.memory[place] = queue.memory[slot]


@compiled(None, inline=True)
def _arrive(futures: Futures, k: int, queue: Queue, slot: int, request: int) -> None:
    queue.request[slot] = request
    queue.arrival[slot] = futures.arrival[k]
    queue.deadline[slot] = futures.deadline[k]
    queue.priority[slot] = futures.priority[k]
    queue.remaining[slot] = futures.isolated[k]
    queue.next_layer[slot] = futures.isolated[k] / futures.layers[k]
    queue.isolated[slot] = futures.isolated[k]
    queue.correction[slot] = 1.0
    queue.last_run[slot] = futures.arrival[k]
    queue.executed[slot] = 0
    queue.layers[slot] = futures.layers[k]
    queue.memory[slot] = 0.0


@compiled(None, inline=True)
def _new_run(room: int) -> _Run:
    return _Run(room_for(room), np.empty(3, np.int64), np.empty(3), np.empty(2, np.uint64))


@compiled(None, inline=True)
def _start(run: _Run, queue: Queue, size: int, slot: int, now: float, first: int) -> None:
    """Let a run start with a queue, of which the request in ``slot`` runs first."""
    state = np.uint64(0)
    for i in range(size):
        copy_to(queue, i, run.queue, i)
        state += _mark(queue.request[i]) * np.uint64(1 + queue.executed[i])
    run.counts[_SIZE], run.counts[_COME], run.counts[_SLOT] = size, first, slot
    run.clock[_TIME], run.clock[_COST] = now, 0.0
    run.state[0], run.state[1] = state, np.uint64(0)


@compiled(None)
def _move(run: _Run, now: float, newest: int, futures: Futures, last: int, weight: float) -> None:
    """Let the chosen request run until it finishes, or somebody has arrived."""
    queue, size, k, slot = run.queue, run.counts[_SIZE], run.counts[_COME], run.counts[_SLOT]
    time, state = run.clock[_TIME], run.state[0]
    mark, done = _mark(queue.request[slot]), queue.executed[slot]
    left, remaining = queue.layers[slot] - done, queue.remaining[slot]
    layer, ran = remaining / left, left
    if k < last and futures.arrival[k] < time + remaining:
        # To the end of the layer in which it arrives.
        ran = min(left, max(1, math.ceil((futures.arrival[k] - time) / layer)))
    if ran == left:
        time += remaining
        since = max(now, queue.arrival[slot])
        cost = (time - since) / max(queue.isolated[slot], _LEAST_S)
        run.clock[_COST] += cost + (weight if time > queue.deadline[slot] else 0.0)
        state -= mark * np.uint64(1 + done)
        run.state[1] = np.uint64(0)
        size -= 1
        remove(queue, slot, size + 1)
    else:
        time += ran * layer
        queue.remaining[slot] = layer * (left - ran)
        queue.next_layer[slot] = layer
        queue.executed[slot] = done + ran
        queue.last_run[slot] = time
        state += mark * np.uint64(ran)
        run.state[1] = mark
    while k < last and futures.arrival[k] <= time:
        request = newest + 1 + k
        _arrive(futures, k, queue, size, request)
        state += _mark(request)
        size += 1
        k += 1
    run.counts[_SIZE], run.counts[_COME] = size, k
    run.clock[_TIME], run.state[0] = time, state
    past = 0.0
    for i in range(size):
        share = float(_mark(queue.request[i]) >> np.uint64(11)) * 2.0**-53
        past += share * (queue.last_run[i] - now + queue.memory[i])
    run.clock[_PAST] = past


def _choosing(score: Score) -> Any:
    """``choose(run, values, scores)``: let a rule say who runs next."""
    inner = guarded(score)

    def choose(run: _Run, values: Floats, scores: Floats) -> None:
        size = run.counts[_SIZE]
        queue = read_only(exact(of_length(run.queue, size), 0, size), "memory")
        mine = exact(scores, 0, size)
        if size > 1:
            inner(queue, size, run.clock[_TIME], read_only(values, None), mine)
            run.counts[_SLOT] = first_least(mine, size)
        else:
            run.counts[_SLOT] = 0

    return compiled(None)(choose)


def _comparing(score: Score) -> Any:
    """``compare(...)``: what `costs_under` compiles, given where to work."""
    choose = _choosing(score)

    def compare(
        queue: Queue, size: int, now: float, values: Floats, futures: Futures, horizon: int,
        weight: float, hopeless: float, out: Any,
        base: _Run, other: _Run, trail: _Trail, scores: Floats,
        tried: Floats, total: Floats, squares: Floats,
    ) -> None:  # fmt: skip
        queue, values, futures, out = borrow(queue), borrow(values), borrow(futures), borrow(out)
        base, other, trail, scores = borrow(base), borrow(other), borrow(trail), borrow(scores)
        tried, total, squares = borrow(tried), borrow(total), borrow(squares)
        candidates, count = out.shape
        newest = 0
        for i in range(size):
            newest = max(newest, int(queue.request[i]))
        for candidate in range(candidates):
            for m in range(count):
                out[candidate, m] = np.nan if candidate else 0.0
        for m in range(count):
            first, last = m * horizon, (m + 1) * horizon
            _start(base, queue, size, 0, now, first)
            followed = 0
            for candidate in range(1, candidates):
                if tried[candidate] == 0.0:
                    continue
                _start(other, queue, size, candidate, now, first)
                at = 0
                while True:
                    _move(other, now, newest, futures, last, weight)
                    time = other.clock[_TIME]
                    near = abs(time) * _SAME
                    # Follow the base as far as this one has come.
                    while at < followed or base.counts[_SIZE]:
                        if at == followed:
                            if followed:
                                choose(base, values, scores)
                            _move(base, now, newest, futures, last, weight)
                            trail.time[at] = base.clock[_TIME]
                            trail.cost[at] = base.clock[_COST]
                            trail.past[at] = base.clock[_PAST]
                            trail.state[at] = base.state[0] ^ base.state[1]
                            followed += 1
                        if trail.time[at] >= time - near:
                            break
                        at += 1
                    at = min(at, followed - 1)
                    # Once all is as it was under the base, all that follows is as it was; so it is
                    # when the queue is empty.
                    if not other.counts[_SIZE]:
                        break
                    if trail.state[at] == other.state[0] ^ other.state[1]:
                        past = other.clock[_PAST]
                        apart = abs(trail.past[at] - past)
                        if abs(trail.time[at] - time) <= near and apart <= _SAME * abs(past) + near:
                            break
                    choose(other, values, scores)
                more = other.clock[_COST] - trail.cost[at]
                out[candidate, m] = more
                total[candidate] += more
                squares[candidate] += more * more
                if m >= 3:
                    mean = total[candidate] / (m + 1)
                    error = math.sqrt(max(squares[candidate] / (m + 1) - mean * mean, 0.0) / m)
                    # Infinity times no error at all is NaN, and no reason to give up.
                    tried[candidate] = 0.0 if mean > hopeless * error else 1.0

    return compiled(None)(compare)


@cache
def costs_under(score: Score) -> Any:
    """What compiles, for a rule that decides all that follows, what choices cost.

    The function is
    ``costs(queue, size, now, values, futures, horizon, candidates, weight, hopeless, out)``:

    - ``queue``: the queue, of which the first ``size`` entries count;
    - ``now``: the time in seconds;
    - ``values``: what the rule reads beside the queue;
    - ``futures``: the `Futures`;
    - ``horizon``: arrivals in each of them;
    - ``candidates``: how many of the first requests of the queue are tried;
    - ``weight``: what a late request costs;
    - ``hopeless``: a candidate that costs more by so many standard errors, after four futures or
      more, is tried no further; infinity to try all;
    - ``out``: by how much each candidate costs more than the first one, shape
      ``(candidates * futures,)``, those of a candidate one after the other; NaN where not tried.
    """
    compare = _comparing(score)

    def costs(
        queue: Queue,
        size: int,
        now: float,
        values: Floats,
        futures: Futures,
        horizon: int,
        candidates: int,
        weight: float,
        hopeless: float,
        out: Floats,
    ) -> None:
        count, room = out.size // candidates, size + horizon
        most = 2 * room + 2
        trail = _Trail(np.empty(most), np.empty(most), np.empty(most), np.empty(most, np.uint64))
        tried, total, squares = np.ones(candidates), np.zeros(candidates), np.zeros(candidates)
        compare(
            queue, size, now, values, futures, horizon, weight, hopeless,
            out.reshape((candidates, count)), _new_run(room), _new_run(room), trail,
            np.empty(room), tried, total, squares,
        )  # fmt: skip

    return compiled(
        types.void(
            QUEUE_TYPE,
            types.int64,
            types.float64,
            FLOATS_TYPE,
            FUTURES_TYPE,
            types.int64,
            types.int64,
            types.float64,
            types.float64,
            FLOATS_TYPE,
        )
    )(costs)


@compiled(
    types.void(
        QUEUE_TYPE, types.int64, types.float64, types.float64, FLOATS_TYPE, types.int64,
        types.int64, FUTURES_TYPE,
    )
)  # fmt: skip
def draw(
    queue: Queue,
    size: int,
    now: float,
    rate: float,
    seen: Floats,
    horizon: int,
    seed: int,
    futures: Futures,
) -> None:
    """Draw futures of arrivals.

    Args:
        queue: The queue, of which the first ``size`` entries count: whose relative deadlines,
            priorities and layers there are.
        size: Requests in it.
        now: The time in seconds.
        rate: Arrivals a second.
        seen: Isolated latencies that there are.
        horizon: Arrivals in each future.
        seed: What decides the draws.
        futures: Where they go.
    """
    stream: Stream = np.empty(WIDTH, np.uint64)
    seeded(pool(np.uint64(seed), np.uint64(size)), stream)
    time = now
    for k in range(futures.arrival.size):
        if k % horizon == 0:
            time = now
        time += exponential(stream) / rate
        like = int(random(stream) * size)
        isolated = seen[int(random(stream) * seen.size)]
        due = queue.deadline[like] - queue.arrival[like]
        futures.arrival[k] = time
        futures.isolated[k] = isolated
        futures.deadline[k] = time + due * isolated / max(queue.isolated[like], _LEAST_S)
        futures.priority[k] = queue.priority[like]
        futures.layers[k] = queue.layers[like]


@compiled(None, inline=True)
def choice(costs: Floats, confidence: float) -> tuple[int, float]:
    """Whom a rollout chooses: who costs the least, if that is more than chance explains.

    Args:
        costs: By how much each candidate costs more than the first one in each future, shape
            ``(candidates, futures)``; those of one that was given up hold a NaN.
        confidence: By how many standard errors it must cost less than the first one.

    Returns:
        The candidate, and by how much it costs less, in the mean; 0 and 0.0 if it is the first.
    """
    candidates, count = costs.shape
    best, most = 0, 0.0
    for candidate in range(1, candidates):
        mean = square = 0.0
        for m in range(count):
            mean -= costs[candidate, m] / count
        for m in range(count):
            square += (costs[candidate, m] + mean) ** 2
        error = math.sqrt(square / (count - 1) / count)
        if mean > confidence * error + _LEAST_GAIN and mean > most:
            best, most = candidate, mean
    return best, most


def sizes(store: TraceStore, level: str, reference: str) -> Floats:
    """What a level expects a request about to run each cell to take, shape ``(cells,)``."""
    return estimates(store, level, reference).remaining


@cache
def _trial(base: Score, numbers: int) -> Any:
    """``trial(queue, size, now, parameters, order, hopeless, out)``, over a base.

    It tries the first of ``order``, slots of the queue as the base puts them, ``out.size`` over the
    futures many, and leaves in ``out`` what each costs more than the first, see `costs_under`. The
    base reads ``numbers`` parameters and weights.
    """
    costs, own = costs_under(base), len(PARAMETERS)

    def trial(
        queue: Queue, size: int, now: float, parameters: Floats, order: Ints, hopeless: float,
        out: Floats,
    ) -> None:  # fmt: skip
        count, horizon = int(parameters[_FUTURES]), int(parameters[_HORIZON])
        candidates = out.size // count
        looked_at = min(size, max(LOOKED_AT, candidates))
        held, done = room_for(looked_at), 0
        for place in range(looked_at):
            copy_to(queue, order[place], held, place)
            done += queue.executed[order[place]]
        # The requests seen so far, all that may be known of those that are to come.
        newest = queue.request[size - 1]
        seen, mean = np.empty(min(newest + 1, SEEN)), 0.0
        first = own + numbers
        for j in range(seen.size):
            seen[j] = parameters[int(parameters[first + newest - j])]
            mean += seen[j] / seen.size
        # As often as so far; at first, about as often as one is finished.
        rate = (newest + 2) / max(queue.arrival[size - 1] + 2.0 * mean, _LEAST_S)
        draws = count * horizon
        futures = Futures(
            np.empty(draws),
            np.empty(draws),
            np.empty(draws),
            np.empty(draws),
            np.empty(draws, np.int64),
        )
        draw(held, looked_at, now, rate, seen, horizon, newest * _PRIME + done, futures)
        read = np.empty(max(1, numbers))
        for j in range(numbers):
            read[j] = parameters[own + j]
        weight = parameters[_WEIGHT]
        costs(held, looked_at, now, read, futures, horizon, candidates, weight, hopeless, out)

    return compiled(None)(trial)


@cache
def _score_of(base: Score, numbers: int) -> Score:
    """The rule over a base that reads so many parameters and weights."""
    inner, trial, own = guarded(base), _trial(base, numbers), len(PARAMETERS)

    def rollout(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
        """Least cost if the base decides all that follows; where that is not clear, the base's."""
        inner(queue, size, now, parameters[own : own + numbers], scores)
        order = np.empty(size, np.int64)
        sort(scores[:size], order)
        for place in range(size):
            scores[order[place]] = float(place)
        candidates, count = min(int(parameters[_CANDIDATES]), size), int(parameters[_FUTURES])
        if candidates < 2:
            return
        out = np.empty(candidates * count)
        trial(queue, size, now, parameters, order, _HOPELESS, out)
        best, most = choice(out.reshape((candidates, count)), parameters[_CONFIDENCE])
        if best:
            scores[order[best]] = -most

    return rollout


@cache
def _costs_of(base: Score, numbers: int) -> Any:
    """`_trial` of all candidates, after the base has put the queue in order, for Python to call."""
    inner, trial, own = guarded(base), _trial(base, numbers), len(PARAMETERS)

    def costs(
        queue: Queue, size: int, now: float, parameters: Floats, order: Ints, out: Floats
    ) -> None:
        queue, parameters, order, out = (
            borrow(queue),
            borrow(parameters),
            borrow(order),
            borrow(out),
        )
        scores = np.empty(size)
        seen = read_only(exact(of_length(queue, size), 0, size), "memory")
        inner(seen, size, now, read_only(parameters[own : own + numbers], None), scores)
        sort(scores, order)
        trial(queue, size, now, parameters, order, np.inf, out)

    return compiled(
        types.void(
            QUEUE_TYPE, types.int64, types.float64, FLOATS_TYPE, INTS_TYPE, FLOATS_TYPE
        )
    )(costs)  # fmt: skip


def costs_at(machine: Machine, policy: Policy) -> tuple[Ints, Floats]:
    """What the choices of a machine's next decision cost, under a policy's base and in its futures.

    Args:
        machine: The machine, which stays as it is; something must be in its queue.
        policy: A policy that `over` made.

    Returns:
        The slots of the queue, as the base puts them, shape ``(size,)``; and by how much each of
        the first ``candidates`` costs more than the first one in each future, shape
        ``(candidates, futures)``.

    Raises:
        DystaError: If the policy makes no rollouts.
    """
    made, (base, *_) = getattr(policy.score, "made_by", (None, (policy,)))
    if made is not _score_over:
        raise DystaError(f"policy {policy.name!r} makes no rollouts; make one by `over`")
    values, size = machine.values_for(policy), machine.size
    candidates, count = min(int(values[_CANDIDATES]), size), int(values[_FUTURES])
    queue = machine.queue._replace(memory=machine.queue.memory.copy())
    order, out = np.zeros(size, np.int64), np.zeros(candidates * count)
    _costs_of(base.score, _numbers(base))(queue, size, machine.now, values, order, out)
    return order, out.reshape(candidates, count)


def _effort(parameters: Floats) -> float:
    """Measured: a future of a candidate takes as long as 25 decisions of a plain rule."""
    return float(25 * parameters[0] * parameters[1])


def _numbers(base: Policy) -> int:
    return len(base.parameters) + len(base.weights)


def _score_over(base: Policy) -> Score:
    score = _score_of(base.score, _numbers(base))
    score.made_by = _score_over, (base,)  # type: ignore[attr-defined]  # see Policy
    return score


def over(base: Policy, name: str | None = None, *, source: str = "") -> Policy:
    """The policy that tries the base's first choices in futures that are drawn at random.

    Args:
        base: The policy that decides in them. It is asked at events, whatever it promises, and
            without its index, if it spares that: in a future, nothing is uncertain.
        name: What to call it; ``rollout-BASE`` unless given.
        source: Where it was published.

    Raises:
        DystaError: If the base cannot be followed.
    """
    if (base.index is not None and not base.spares_index) or base.interpreted:
        what = "is interpreted" if base.interpreted else "reads an index"
        raise DystaError(
            f"base: policy {base.name!r} {what}; it must be compiled, and rank by the queue alone"
        )
    if common := PARAMETERS.keys() & base.parameters.keys():
        raise DystaError(
            f"base: policy {base.name!r} has a parameter {min(common)!r}, as rollouts have"
        )
    return replace(
        base,
        name=name or f"rollout-{base.name}",
        score=_score_over(base),
        summary=f"least cost in sampled futures, {base.name} deciding all that follows",
        parameters={**PARAMETERS, **base.parameters},
        stable=False,
        drift=None,
        events=True,
        effort=_effort,
        index=sizes,
        spares_index=False,
        source=source,
    )
