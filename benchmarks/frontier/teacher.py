"""What rollouts see that a score did not: a section of docs/frontier.md.

    python -m benchmarks.frontier.teacher [--base POLICY] ...

The teacher is `rollout` over a learned score, its base. In states that the base gets into, it says
which request it would run instead, and what that is worth; the section says how often that is, what
those requests have in common, and how much of it a score could have known.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import stdtrit

from benchmarks.frontier.sections import PENALTY
from benchmarks.page import duration, wrapped
from benchmarks.readme import between
from dysta_gym.agents.checkpoints import trained
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import FLOATS_TYPE, Floats, borrow
from dysta_gym.describing import describer
from dysta_gym.errors import DystaError
from dysta_gym.features import TABLE, Selection, select
from dysta_gym.machine.machine import Machine
from dysta_gym.machine.queue import QUEUE_TYPE, Queue
from dysta_gym.metrics import measure
from dysta_gym.policies import Policy, find
from dysta_gym.rollouts import PARAMETERS, costs_at, over
from dysta_gym.simulation import simulate
from dysta_gym.statistics import ALPHA, mean_interval
from dysta_gym.tables import markdown
from dysta_gym.workloads import Workload, generate, load_scenario

PAGE = Path("docs/frontier.md")
BEGIN, END = "<!-- teacher: make teacher -->\n", "<!-- /teacher -->"

BASES = ("evolved", "pareto")

FIRST_SEED = 910_000
SCENARIOS = (
    "datacenter-language", "datacenter-vision", "mobile-assistant", "multi-attnn", "multi-cnn",
)  # fmt: skip
"""Those with Poisson arrivals."""

LOADS, DEADLINES = (0.8, 0.95, 1.05), (3.0, 10.0)

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
class Size:
    """How much is looked at.

    Attributes:
        seeds: Workloads of each condition.
        requests: Requests of each.
        every: Of the events at which two or more requests wait, one in so many is a state.
    """

    seeds: int = 2
    requests: int = 1000
    every: int = 20


class Where(NamedTuple):
    """A condition."""

    scenario: str
    load: float
    slo_multiplier: float


CONDITIONS = tuple(
    Where(name, load, slo) for name in SCENARIOS for load in LOADS for slo in DEADLINES
)


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
        every: See `Size`.
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
            chosen = choice(-costs[:, :count], float(confidence))
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


def choice(gains: Floats, confidence: float) -> int:
    """Whom the teacher chooses: who gains the most, if that is more than noise.

    Args:
        gains: By how much each candidate costs less than the first, shape
            ``(candidates, futures)``.
        confidence: By how many standard errors it must.
    """
    mean = gains.mean(axis=1)
    error = gains.std(axis=1, ddof=1) / np.sqrt(gains.shape[1])
    return int(np.argmax(np.where(mean > confidence * error + 1e-9, mean, 0.0)))


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
    error = np.sqrt((count - 1) * np.var(without))
    return estimate, float(stdtrit(count - 1, 1 - ALPHA / 2) * error)


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


# --- the page ------------------------------------------------------------------------------------


def percent(found: tuple[float, float], places: int = 1) -> str:
    """``12.3 ± 0.4``, of shares."""
    return number((100 * found[0], 100 * found[1]), places)


def number(found: tuple[float, float], places: int = 2, sign: str = "") -> str:
    """``1.23 ± 0.45``; a dash where there is nothing."""
    value, half = found
    if value != value:
        return "-"
    return f"{value:{sign}.{places}f}" + (f" ± {half:.{places}f}" if half == half else "")


def within(values: Floats) -> str:
    """The mean of paired shares over workloads, in per cent, and its interval."""
    low, high = mean_interval(values[None])
    ends = f" [{100 * low[0]:.1f}, {100 * high[0]:.1f}]" if low[0] == low[0] else ""
    return f"{100 * values.mean():.1f}{ends}"


def where_table(seen: Seen, own: Played, taught: Played, conditions: Sequence[Where]) -> str:
    """How often it departs, what it gains, and what the policy reaches, by parts of conditions."""
    saved = 1 - taught.cost / own.cost
    groups: dict[str, list[bool]] = {"all": [True] * len(conditions)}
    for name in dict.fromkeys(each.scenario for each in conditions):
        groups[name] = [each.scenario == name for each in conditions]
    for load in dict.fromkeys(each.load for each in conditions):
        groups[f"load {load:g}"] = [each.load == load for each in conditions]
    for slo in dict.fromkeys(each.slo_multiplier for each in conditions):
        groups[f"SLO x {slo:g}"] = [each.slo_multiplier == slo for each in conditions]
    rows = []
    for told, kept in groups.items():
        within_group = np.array(kept)[seen.workload]
        workload, departs = seen.workload[within_group], seen.departs[within_group] * 1.0
        gained, at = seen.gained[within_group], np.array(kept)
        rows.append(
            [
                told,
                f"{len(workload):,}",
                percent(ratio(departs, np.ones(len(departs)), workload)),
                number(ratio(gained, departs, workload)),
                number(ratio(gained, np.ones(len(departs)), workload), 3),
                f"{100 * own.late[at].mean():.2f} / {own.antt[at].mean():.2f}",
                f"{100 * taught.late[at].mean():.2f} / {taught.antt[at].mean():.2f}",
                within(saved[at]),
            ]
        )
    return markdown(
        ["conditions", "states", "departs (%)", "gain of a departure", "gain of a decision",
         "base: violations / ANTT", "`rollout`", f"less ANTT + {PENALTY:g} V (%)"],
        rows,
    )  # fmt: skip


def kinds_table(seen: Seen) -> str:
    """What departures do."""
    which, departs = kinds(seen), seen.departs
    workload, gained = seen.workload[departs], seen.gained[departs]
    in_time, one = seen.in_time[departs], np.ones(len(which))
    rows = []
    for at, told in enumerate(KINDS):
        own = (which == at) * 1.0
        rows.append(
            [
                told,
                percent(ratio(own, one, workload)),
                number(ratio(gained * own, own, workload)),
                number(ratio(in_time * own, own, workload)),
                percent(ratio(gained * own, gained, workload)),
            ]
        )
    rows.append(
        ["all", "100", number(ratio(gained, one, workload)),
         number(ratio(in_time, one, workload)), "100"]
    )  # fmt: skip
    head = ["kind", "departures (%)", "gain of one", "of it by fewer late", "of the gain (%)"]
    return markdown(head, rows)


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


def features_table(seen: Seen, names: Sequence[str]) -> str:
    """How the teacher's choices differ."""
    rows = []
    for each in differences(seen):
        meaning = TABLE.find(each.name).meaning
        rows.append(
            [
                f"`{each.name}`",
                meaning,
                "yes" if each.name in names else "no",
                number(each.of_base, sign="+"),
                number(each.of_others, sign="+"),
            ]
        )
    head = ["feature", "meaning", "the base sees it", "from the base's choice", "from the others"]
    return markdown(head, rows, words=3)


def worth_of(seen: Seen, picks: NDArray[np.int64]) -> tuple[float, float]:
    """What share of the teacher's gain other choices take."""
    return ratio(seen.at(seen.gain, picks), seen.gained, seen.workload)


def scores_table(seen: Seen, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """How much of the gain is to be had from features; and the shares in per cent, by name."""
    every, rows, shares = VISIBLE.names, [], {}
    for told, terms in (
        ("a score of what the base sees", scores(seen, names)),
        ("a score of all features", scores(seen, every)),
        ("a comparison by what the base sees", comparisons(seen, names)),
        ("a comparison by all features", comparisons(seen, every)),
    ):
        picks = picked(seen, terms)
        found = worth_of(seen, picks)
        shares[told] = percent(found)
        one = np.ones(len(picks))
        rows.append(
            [told, f"{terms.shape[-1]:,}", percent(ratio((picks > 0) * 1.0, one, seen.workload)),
             percent(found)]
        )  # fmt: skip
    one = np.ones(len(seen.chosen))
    departs = percent(ratio(seen.departs * 1.0, one, seen.workload))
    rows.append(["the teacher, in futures", "", departs, "100"])
    return markdown(["chosen by", "terms", "departs (%)", "of the gain (%)"], rows), shares


def base_part(
    base: Policy, seen: Seen, own: Played, taught: Played, conditions: Sequence[Where]
) -> str:
    """The page's part of a base."""
    network = trained(base)
    names = network.seen.names if network else ()
    departs, gained = seen.departs, seen.gained[seen.departs]
    one = np.ones(len(seen.chosen))
    share = percent(ratio(departs * 1.0, one, seen.workload))
    kept = ratio((gained > 0) * 1.0, np.ones(len(gained)), seen.workload[departs])
    by_score, shares = scores_table(seen, names)
    alone, whole = (shares[f"a score of {what}"] for what in ("what the base sees", "all features"))
    more = shares["a comparison by all features"]
    saved = within(1 - taught.cost / own.cost)
    return "\n\n".join(
        [
            f"### Over `{base.spec}`",
            wrapped(
                f"In {share} % of {len(departs):,} decisions the teacher runs another request than "
                f"`{base.name}`; in the futures that it did not choose by, {percent(kept)} % of "
                "these choices cost less than the base's. As a policy it takes "
                f"{duration(taught.seconds)} a decision, where `{base.name}` takes "
                f"{duration(own.seconds)}, and has {saved} % less ANTT + {PENALTY:g} V."
            ),
            where_table(seen, own, taught, conditions),
            wrapped("What the departures do; of several kinds, the first counts:"),
            kinds_table(seen),
            wrapped(
                "How the requests that it runs instead differ from the base's choice, and from the "
                "mean of the other candidates, those that neither runs: means over departures, in "
                "standard deviations of the feature over all candidates. The base's choice differs "
                "from any other request as it does because the base chose it; what tells the "
                "teacher's choice from the rest is in the last column."
            ),
            features_table(seen, names),
            wrapped(
                "How much of that a score could have known: the worth of each candidate over the "
                f"base's choice, within {CLIP:g} slowdowns, regressed on its features and their "
                "products of two (ridge; the workloads in five folds, each judged by what was "
                "learned in the others), and the best by that is run. A score adds up terms of one "
                "request and of the queue, and is compared with another's; a comparison knows both "
                "requests at once."
            ),
            by_score,
            wrapped(
                f"So, of the teacher's gain, a score of this form and of what `{base.name}` sees "
                f"takes {alone} %, one of all features {whole} %, and a comparison by all features "
                f"{more} %. What is left is seen in the futures, or by a function of the features "
                "that is no sum of products of two, or that more states would teach."
            ),
        ]
    )


def told(what: str, total: int) -> Callable[[int], None]:
    """Show on a terminal how far something is."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{what}: {done} of {total} ", end="\n" * (done == total), file=sys.stderr)

    return show


def section(
    bases: Sequence[Policy],
    size: Size,
    conditions: Sequence[Where] = CONDITIONS,
    **settings: float,
) -> str:
    """The generated section, without its heading.

    Args:
        bases: Whom the teacher is over.
        size: How much is looked at.
        conditions: Under which conditions.
        settings: Of the teacher.
    """
    each_of = [where for where in conditions for _ in range(size.seeds)]
    workloads = [
        generate(
            load_scenario(name).varied(load=load, slo_multiplier=slo, requests=size.requests),
            FIRST_SEED + at,
            split="test",
        )
        for name, load, slo in conditions
        for at in range(size.seeds)
    ]  # fmt: skip
    parts = []
    for base in bases:
        began, count = time.perf_counter(), len(workloads)
        seen = look(
            workloads, base, size.every, progress=told(f"{base.name}, states", count), **settings
        )
        own = play(workloads, base)
        policy = over(base).at(base.level, **settings)
        taught = play(workloads, policy, told(f"{base.name}, policy", count))
        parts.append(base_part(base, seen, own, taught, each_of))
        seconds = time.perf_counter() - began
        print(f"{base.spec} ({seconds:.0f} s)", file=sys.stderr, flush=True)
    default = {**{key: each.default for key, each in PARAMETERS.items()}, **settings}
    futures = f"{default['futures']:g}"
    intro = (
        "The teacher is [rollout](policies/rollout.md): it follows the requests that its base puts "
        f"first, {default['candidates']:g} at most, through sampled futures, at the "
        "same information, and departs from the base where another costs less by more than "
        f"{default['confidence']:g} standard error. Here it is asked in states that the "
        f"base itself gets into: {len(conditions)} conditions, {', '.join(_listed(conditions))}, "
        f"of {size.seeds} workloads each with {size.requests:,} requests, seeds from "
        f"{FIRST_SEED:,} on and `test` inputs; one in {size.every} of the arrivals and completions "
        f"after which two or more requests wait. It chooses by {futures} futures, as the policy "
        f"does, and what its choices are worth is measured in {futures} others. A gain is in "
        f"slowdowns, a late request counting {default['weight']:g}. Intervals are of 95 %, "
        "by leaving out one workload at a time; of the policy, by workloads in pairs. "
        "`make teacher` writes this section, in about two minutes a base."
    )
    return "\n\n".join([wrapped(intro), *parts])


def _listed(conditions: Sequence[Where]) -> list[str]:
    """What the conditions are, in words."""
    columns = [dict.fromkeys(each) for each in zip(*conditions, strict=True)]
    names, loads, slos = ([f"{each:g}" if isinstance(each, float) else f"`{each}`" for each in own]
                          for own in columns)  # fmt: skip
    return [f"{_and(names)} at loads {_and(loads)} and SLO multipliers {_and(slos)}"]


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def installed(names: Sequence[str]) -> list[Policy]:
    """Those of some policies that are there; of the others, it is said why not."""
    found = []
    for name in names:
        try:
            found.append(find(name))
        except DystaError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not found:
        raise DystaError("base: none of them is installed")
    return found


def main() -> None:
    """Look, and write the section."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frontier.teacher", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--base", action="append", default=[], metavar="POLICY",
        help=f"a learned score; {' and '.join(BASES)}, if they are there, by default",
    )  # fmt: skip
    usual = Size()
    parser.add_argument("--seeds", type=int, default=usual.seeds, help="workloads a condition")
    parser.add_argument("--requests", type=int, default=usual.requests, help="requests of each")
    parser.add_argument("--every", type=int, default=usual.every, help="events a state")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page")
    arguments = parser.parse_args()
    try:
        bases = [find(each) for each in arguments.base] or installed(BASES)
        size = Size(arguments.seeds, arguments.requests, arguments.every)
        between(arguments.out, BEGIN, END, section(bases, size))
    except DystaError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
