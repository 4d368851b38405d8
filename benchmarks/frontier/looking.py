"""What rollouts choose in the states of another policy, and how much of it features tell.

`look` asks the teacher, `rollout` over a base, in states that the base gets into; what follows is
computed of what it saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from benchmarks.frontier.judging import jackknife
from dysta_gym.agents.recipes import PENALTY
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import FLOATS_TYPE, Floats, borrow
from dysta_gym.describing import describer
from dysta_gym.errors import DystaError
from dysta_gym.features import TABLE, Selection, select
from dysta_gym.machine.machine import Machine
from dysta_gym.machine.queue import QUEUE_TYPE, Queue
from dysta_gym.metrics import measure
from dysta_gym.policies import Policy
from dysta_gym.rollouts import choice, costs_at, over
from dysta_gym.simulation import simulate
from dysta_gym.workloads import Workload

VISIBLE = select(TABLE.own).for_policies().without("present")
"""All features that a policy can see, but for the one that is 1 of every request."""

KINDS = (
    "it runs one that would be late behind the base's choice",
    "the base's choice is given up by the greatest set that can be on time",
    "the base's choice disturbs that set, and the teacher's does not",
    "it lets a shorter one pass",
    "else: a longer one",
)
"""What a departure does; the first that is true."""


@dataclass(frozen=True)
class Seen:
    """States of a base, and what the teacher sees in them.

    Candidates are requests in the order of the base, so its own choice is the first; where there
    are fewer, NaN.

    Attributes:
        workload: Of which workload each state is, shape ``(states,)``.
        requests: Features of the candidates, shape ``(states, candidates, features)``.
        queue: Features of the queue, shape ``(states, features)``.
        remaining: Expected remaining latency, in seconds, shape ``(states, candidates)``.
        margin: What is left until the deadline beyond that, in seconds, likewise.
        expected: What running each first is worth over the base's choice in all futures, in
            slowdowns, likewise.
        gain: The same, in the futures that the teacher does not choose by.
        chosen: The teacher's choice, shape ``(states,)``.
        in_time: Of its gain, what comes of fewer late requests, likewise.
    """

    workload: NDArray[np.int64]
    requests: Floats
    queue: Floats
    remaining: Floats
    margin: Floats
    expected: Floats
    gain: Floats
    chosen: NDArray[np.int64]
    in_time: Floats

    def at(self, values: Floats, candidate: Any) -> Floats:
        """What a candidate of each state has."""
        found: Floats = values[np.arange(len(values)), candidate]
        return found

    @property
    def gained(self) -> Floats:
        """What the teacher's choice is worth, shape ``(states,)``."""
        return self.at(self.gain, self.chosen)

    @property
    def departs(self) -> NDArray[np.bool_]:
        """Where it chooses another request than the base."""
        return self.chosen > 0


class Played(NamedTuple):
    """Whole workloads under a policy: violation rates, ANTT, and seconds a decision takes."""

    late: Floats
    antt: Floats
    seconds: float

    @property
    def cost(self) -> Floats:
        """ANTT + `PENALTY` V."""
        return self.antt + PENALTY * self.late


# --- looking -------------------------------------------------------------------------------------


@cache
def _describing(selection: Selection) -> Any:
    describe = describer(selection)

    def described(
        queue: Queue, size: int, now: float, unit: float, requests: Floats, whole: Floats
    ) -> None:
        describe(borrow(queue), size, now, unit, borrow(requests), borrow(whole))

    return compiled(
        types.void(
            QUEUE_TYPE, types.int64, types.float64, types.float64, FLOATS_TYPE, FLOATS_TYPE
        )
    )(described)  # fmt: skip


def described(machine: Machine) -> tuple[Floats, Floats]:
    """`VISIBLE` of a machine's queue: shapes ``(size, features)`` and ``(features,)``."""
    size = machine.size
    requests, whole = np.empty(len(VISIBLE.requests) * size), np.empty(len(VISIBLE.queue))
    _describing(VISIBLE)(
        machine.queue, size, machine.now, machine.mean_isolated_s, requests, whole
    )  # fmt: skip
    return requests.reshape(-1, size).T, whole


def states(workload: Workload, base: Policy, every: int) -> Iterator[Machine]:
    """A machine under the base, at some of the arrivals and completions after which two wait."""
    machine, before, events = Machine(workload, base.level), (0, 0), 0
    while not machine.done:
        now = machine.arrived, machine.size
        slot = machine.choose(base)
        if now != before and machine.size > 1:
            events += 1
            if events % every == 0:
                yield machine
        before = now
        machine.step(slot)


def look(
    workloads: Sequence[Workload],
    base: Policy,
    every: int,
    *,
    progress: Callable[[int], None] = lambda done: None,
    **settings: float,
) -> Seen:
    """Ask the teacher in states of a base.

    It chooses by half of the futures, as the policy `rollout` does by all of them; what its choices
    are worth is measured in the others, for by those that it chose by, they seem to be worth more.

    Args:
        workloads: The workloads that the base schedules.
        base: The base.
        every: Of the events at which two or more requests wait, one in so many is a state.
        progress: Called with the number of workloads that are done.
        settings: Of the teacher.
    """
    policy = over(base).at(base.level, **settings)
    values = policy.values(1.0)
    names = list(policy.parameters)
    count, most = int(values[names.index("futures")]), int(values[names.index("candidates")])
    confidence, weight = values[names.index("confidence")], values[names.index("weight")]
    twice = policy.at(base.level, futures=2 * count)
    slowdown = twice.at(base.level, weight=0.0)
    found: list[tuple[Any, ...]] = []
    for number, workload in enumerate(workloads):
        for machine in states(workload, base, every):
            order, costs = costs_at(machine, twice)
            tried = len(costs)
            chosen, _ = choice(costs[:, :count], float(confidence))
            gain = -costs[:, count:].mean(axis=1)
            in_time = 0.0
            if chosen and weight:
                _, slower = costs_at(machine, slowdown)
                in_time = gain[chosen] + slower[chosen, count:].mean()
            queue, first = machine.queue, order[:tried]
            requests, whole = described(machine)
            remaining = queue.remaining[first]
            margin = queue.deadline[first] - machine.now - remaining
            columns = (requests[first], remaining, margin, -costs.mean(axis=1), gain)
            padded = [_padded(each, most) for each in columns]
            found.append((number, padded[0], whole, *padded[1:], chosen, in_time))
        progress(number + 1)
    if not found:
        raise DystaError("states: there is none; ask for more requests")
    return Seen(*(np.array(each) for each in zip(*found, strict=True)))


def _padded(values: Floats, count: int) -> Floats:
    whole = np.full((count, *values.shape[1:]), np.nan)
    whole[: len(values)] = values
    return whole


def play(
    workloads: Sequence[Workload],
    policy: Policy,
    progress: Callable[[int], None] = lambda done: None,
) -> Played:
    """Whole workloads under a policy."""
    found, asked, seconds = [], 0, 0.0
    for number, workload in enumerate(workloads):
        began = time.thread_time()
        schedule = simulate(workload, policy)
        seconds += time.thread_time() - began
        asked += schedule.asked
        metrics = measure(schedule)
        found.append((metrics["violation_rate"], metrics["antt"]))
        progress(number + 1)
    late, antt = np.array(found).T
    return Played(late, antt, seconds / asked)


# --- what is computed of it ----------------------------------------------------------------------


def kinds(seen: Seen) -> NDArray[np.int64]:
    """Which of `KINDS` each departure is, shape ``(departures,)``."""
    chosen, margin = seen.chosen, seen.margin
    names = [each.name for each in VISIBLE.requests]

    def told(name: str, candidate: Any) -> NDArray[np.bool_]:
        return seen.at(seen.requests[:, :, names.index(name)], candidate) > 0.5

    theirs, its = seen.at(margin, chosen), seen.remaining[:, 0]
    found = [
        (theirs >= 0) & (theirs < its),
        told("given_up", 0),
        told("disturbs", 0) & ~told("disturbs", chosen),
        seen.at(seen.remaining, chosen) < its,
        np.ones(len(chosen), bool),
    ]
    which: NDArray[np.int64] = np.argmax(found, axis=0)[seen.departs]
    return which


def ratio(numerator: Floats, denominator: Floats, group: NDArray[np.int64]) -> tuple[float, float]:
    """A ratio of sums, and half of its 95 % interval: the jackknife, one group left out at a time.

    Args:
        numerator: What is summed above, shape ``(n,)``.
        denominator: What is summed below, likewise.
        group: Which group each is of, likewise.
    """
    _, at = np.unique(group, return_inverse=True)
    above, below = np.bincount(at, numerator), np.bincount(at, denominator)
    whole, count = below.sum(), len(above)
    rest = whole - below
    if not whole:
        return np.nan, np.nan
    estimate = float(above.sum() / whole)
    if count < 3 or not rest.all():
        return estimate, np.nan
    without = (above.sum() - above) / rest
    return estimate, jackknife(without)


class Difference(NamedTuple):
    """How a feature of the teacher's choices differs, in standard deviations.

    Attributes:
        name: The feature.
        of_base: Mean difference from the base's choice, and half of its interval.
        of_others: From the mean of the other candidates, likewise.
    """

    name: str
    of_base: tuple[float, float]
    of_others: tuple[float, float]


def differences(seen: Seen) -> list[Difference]:
    """Of each feature of a request, the greatest difference from the base's choice first."""
    departs = np.flatnonzero(seen.departs)
    chosen, workload = seen.chosen[departs], seen.workload[departs]
    found = []
    for at, feature in enumerate(VISIBLE.requests):
        spread = np.nanstd(seen.requests[:, :, at])
        values = seen.requests[departs, :, at] / (spread if spread > 0 else 1.0)
        theirs = values[np.arange(len(values)), chosen]
        others = values.copy()
        others[np.arange(len(values)), chosen] = np.nan
        others[:, 0] = np.nan
        some = np.isfinite(others).any(axis=1)
        passed_over = theirs[some] - np.nanmean(others[some], axis=1)
        found.append(
            Difference(
                feature.name,
                ratio(theirs - values[:, 0], np.ones(len(values)), workload),
                ratio(passed_over, np.ones(len(passed_over)), workload[some]),
            )
        )
    return sorted(found, key=lambda each: -abs(each.of_base[0]))


CLIP = 5.0
"""A candidate's worth counts as no more and no less, in slowdowns: few that are far worse than the
base's choice would be all that a regression learns, and how bad they are is of no matter."""

PENALTIES = (0.003, 0.03, 0.3)
FOLDS = 5


def scores(seen: Seen, names: Sequence[str]) -> Floats:
    """What a quadratic score of some features may weigh, of each candidate less the base's choice.

    Returns:
        The features of the request, their products with each other and with those of the queue,
        shape ``(states, candidates, terms)``.
    """
    x, q = _standard(seen, names)
    return _terms(x, q)


def comparisons(seen: Seen, names: Sequence[str]) -> Floats:
    """As `scores`, with products of the candidate's features and those of the base's choice.

    No score of one request can be made of these.
    """
    x, q = _standard(seen, names)
    return _terms(x, np.concatenate([x[:, 0], q], axis=-1))


def _terms(x: Floats, beside: Floats) -> Floats:
    own, other = np.triu_indices(x.shape[-1])
    mixed = (x[..., :, None] * beside[:, None, None, :]).reshape(*x.shape[:2], -1)
    terms = np.concatenate([x, x[..., own] * x[..., other], mixed], axis=-1)
    difference: Floats = terms - terms[:, :1]
    return difference


def _standard(seen: Seen, names: Sequence[str]) -> tuple[Floats, Floats]:
    of_request = [at for at, each in enumerate(VISIBLE.requests) if each.name in names]
    of_queue = [at for at, each in enumerate(VISIBLE.queue) if each.name in names]
    x, q = seen.requests[:, :, of_request], seen.queue[:, of_queue]
    x = (x - np.nanmean(x, axis=(0, 1))) / np.maximum(np.nanstd(x, axis=(0, 1)), 1e-9)
    return x, (q - q.mean(axis=0)) / np.maximum(q.std(axis=0), 1e-9)


def picked(seen: Seen, terms: Floats) -> NDArray[np.int64]:
    """Whom a regression of the worth of candidates on some terms would run, shape ``(states,)``.

    Ridge, cross-validated: workloads are in `FOLDS` folds, and what is picked in one is learned in
    the others; the penalty is the best of `PENALTIES` on one of them.
    """
    fold = seen.workload % FOLDS
    others = np.isfinite(seen.expected)
    others[:, 0] = False
    rows, wanted = terms[others].astype(np.float32), np.clip(seen.expected[others], -CLIP, CLIP)
    of_row = np.broadcast_to(fold[:, None], others.shape)[others]
    grams, moments, counts = [], [], np.bincount(of_row, minlength=FOLDS)
    for each in range(FOLDS):
        own = rows[of_row == each]
        grams.append((own.T @ own).astype(np.float64))
        moments.append(own.T.astype(np.float64) @ wanted[of_row == each])
    worth = np.zeros(len(rows))

    def weights(left_out: Sequence[int], penalty: float) -> Floats:
        kept = [each for each in range(FOLDS) if each not in left_out]
        gram = np.sum([grams[each] for each in kept], axis=0)
        gram[np.diag_indices(len(gram))] += penalty * counts[kept].sum() + 1e-9
        moment = np.sum([moments[each] for each in kept], axis=0)
        solved: Floats = cho_solve(cho_factor(gram, overwrite_a=True), moment)
        return solved

    for each in range(FOLDS):
        beside = (each + 1) % FOLDS
        held = of_row == beside
        errors = [
            np.sum((rows[held] @ weights((each, beside), penalty) - wanted[held]) ** 2)
            for penalty in PENALTIES
        ]
        own = of_row == each
        worth[own] = rows[own] @ weights((each,), PENALTIES[int(np.argmin(errors))])
    whole = np.full(others.shape, -np.inf)
    whole[others], whole[:, 0] = worth, 0.0
    best: NDArray[np.int64] = np.argmax(whole, axis=1)
    return best


def worth_of(seen: Seen, picks: NDArray[np.int64]) -> tuple[float, float]:
    """What share of the teacher's gain other choices take."""
    return ratio(seen.at(seen.gain, picks), seen.gained, seen.workload)
