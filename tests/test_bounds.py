"""The least violation rate, against its definition and against everything that can be tried."""

import math
from concurrent.futures import CancelledError
from itertools import combinations
from threading import Event

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dysta_gym import antt_lower_bound, bounds_of, generate, load_scenario, measure, simulate
from dysta_gym.bounds import on_time, violation_rate_lower_bound
from dysta_gym.hindsight import in_hindsight


@st.composite
def requests(draw, most=8):
    """Arrivals, deadlines and lengths; some windows too short, or over before they begin."""
    total = draw(st.integers(1, most))
    number = st.integers(0, 20).map(float) | st.floats(0, 20)
    arrival = np.array(sorted(draw(st.lists(number, min_size=total, max_size=total))))
    length = st.integers(1, 9).map(float) | st.floats(0.01, 9)
    isolated = np.array(draw(st.lists(length, min_size=total, max_size=total)))
    factor = st.sampled_from([-1.0, 0.5, 1.0, 1.5, 2.0, 4.0])
    factors = np.array(draw(st.lists(factor, min_size=total, max_size=total)))
    return arrival, arrival + factors * isolated, isolated


def work_in_time(arrival, deadline, length):
    """Work that earliest deadline first does before the deadlines, in plain Python."""
    left, now, done = dict(enumerate(length)), -math.inf, 0.0
    while left:
        ready = [i for i in left if arrival[i] <= now]
        later = [arrival[i] for i in left if arrival[i] > now]
        if not ready:
            now = min(later)
            continue
        runs = min(ready, key=lambda i: deadline[i])
        if deadline[runs] <= now:
            del left[runs]
            continue
        end = min([now + left[runs], deadline[runs], *later])
        done += end - now
        left[runs] -= end - now
        now = end
        if left[runs] <= 1e-12:
            del left[runs]
    return done


@settings(max_examples=300)
@given(given=requests(most=12))
def test_bound_is_what_the_greedy_choice_of_the_polymatroid_gives(given):
    """Shortest first, each request counts by the work that it adds, over its length."""
    arrival, deadline, isolated = given
    parts, before, taken = 0.0, 0.0, []
    for request in np.argsort(isolated, kind="stable"):
        taken.append(request)
        at = np.sort(taken)
        now = work_in_time(arrival[at], deadline[at], isolated[at])
        parts += (now - before) / isolated[request]
        before = now
    late = max(0, math.ceil(len(arrival) - parts - 1e-6))
    assert round(violation_rate_lower_bound(*given) * len(arrival)) == late


@settings(max_examples=300)
@given(given=requests())
def test_no_set_of_requests_beats_the_bound(given):
    arrival, deadline, isolated = given
    total = len(arrival)

    def fits(chosen):
        at = list(chosen)
        done = work_in_time(arrival[at], deadline[at], isolated[at])
        return done >= isolated[at].sum() * (1 - 1e-9)

    most = next(k for k in range(total, -1, -1) if any(map(fits, combinations(range(total), k))))
    assert round(violation_rate_lower_bound(*given) * total) <= total - most
    chosen = np.flatnonzero(on_time(*given))
    assert fits(chosen) and len(chosen) <= most


@pytest.mark.parametrize("scenario", ["multi-attnn", "multi-cnn", "arvr-hands"])
@pytest.mark.parametrize("load", [0.8, 1.05, 1.5])
def test_policies_stand_above_hindsight_above_the_bound(scenario, load):
    workload = generate(load_scenario(scenario).varied(load=load, requests=300), 0)
    for each in (workload, workload.with_slo(3.0)):
        bound = violation_rate_lower_bound(each.arrival_s, each.deadline_s, each.isolated_s)
        hindsight = measure(in_hindsight(each))["violation_rate"]
        rates = [
            measure(simulate(each, policy))["violation_rate"]
            for policy in ("fcfs", "edf", "sjf@clairvoyant", "ppo", "dysta_oracle")
        ]
        assert bound <= min(hindsight, *rates)
        # With deadlines so close that unbroken layers matter, foresight is not all.
        assert each is not workload or hindsight <= min(rates)


def test_bound_does_not_depend_on_when_the_clock_starts():
    workload = generate(load_scenario("multi-attnn").varied(load=1.2, requests=300), 0)
    columns = workload.arrival_s, workload.deadline_s
    here = violation_rate_lower_bound(*columns, workload.isolated_s)
    there = violation_rate_lower_bound(*(each + 2.0**20 for each in columns), workload.isolated_s)
    assert here == there > 0


@pytest.mark.parametrize("clock", [1.0, 1e4, 1e6])
def test_bound_is_not_beaten_by_rounding(clock):
    """Requests far apart, each due at the moment that it can be finished: none need be late."""
    isolated = np.full(1000, 1e-5)
    arrival = clock * (1 + np.cumsum(np.random.default_rng(0).random(1000)))
    assert violation_rate_lower_bound(arrival, arrival + isolated, isolated) == 0


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (([0.0, 1.0], [2.0], [1.0, 1.0]), ["deadline_s", "(1,)"]),
        (([], [], []), ["arrival_s", "at least one"]),
        (([0.0, np.nan], [1.0, 2.0], [1.0, 1.0]), ["arrival_s", "finite"]),
        (([1.0, 0.0], [1.0, 2.0], [1.0, 1.0]), ["arrival_s", "order"]),
        (([0.0, 1.0], [1.0, 2.0], [0.0, 1.0]), ["isolated_s", "above 0"]),
    ],
)
def test_columns_that_are_refused(refused, columns, words):
    arrival, deadline, isolated = map(np.array, columns)
    for bound in (violation_rate_lower_bound, on_time):
        with refused(*words):
            bound(arrival, deadline, isolated)
    if words[0] != "deadline_s":
        with refused(*words):
            antt_lower_bound(arrival, isolated)


def test_a_bound_can_be_stopped():
    workload = generate(load_scenario("multi-attnn").varied(load=1e3, requests=500), 0)
    stop = Event()
    assert bounds_of(workload, stop) == bounds_of(workload)
    stop.set()
    with pytest.raises(CancelledError):
        bounds_of(workload, stop)
