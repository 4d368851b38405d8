"""Metrics and the lower bound, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysta_gym import (
    TraceStore,
    Workload,
    antt_lower_bound,
    bounds_of,
    compare,
    generate,
    load_scenario,
    measure,
    simulate,
)
from dysta_gym.hindsight import BOUNDS
from dysta_gym.metrics import METRICS, names, tally, violations_and_antt
from dysta_gym.sealing import opened


@pytest.fixture
def three(make_trace):
    """A long request, then two short ones while it runs; deadlines are 1.5 latencies away."""
    store = TraceStore([make_trace("long", [[2.0, 2.0]]), make_trace("short", [[1.0]])])
    return Workload(
        store,
        reference="all",
        arrival_s=np.array([1.0, 2.0, 2.0]),
        trace=np.array([0, 1, 1]),
        row=np.zeros(3),
        priority=np.array([1.0, 9.0, 1.0]),
        slo_multiplier=1.5,
    )


def test_by_hand(three):
    # The long one runs its first layer from 1 to 3, the short ones to 4 and 5, the rest to 7.
    schedule = simulate(three, "sjf")
    assert schedule.finish_s.tolist() == [7, 4, 5]
    slowdown = np.array([6 / 4, 2 / 1, 3 / 1])  # due at 7, 3.5 and 3.5
    progress = 1 / slowdown
    expected = {
        "violation_rate": 2 / 3,
        "antt": 6.5 / 3,
        "weighted_violation_rate": (9 + 1) / 11,
        "throughput": 3 / 6,
        "system_throughput": 1,  # it never idles
        "ntt_p50": 2,
        "ntt_p95": 2.9,
        "ntt_p99": 2.98,
        "fairness": progress.sum() ** 2 / (3 * (progress**2).sum()),
        "prema_fairness": (1 / 2 / 9) / (4 / 6),
        "preemptions": 1,
        "decisions": 4,
        "violation_rate_priority_1": 1 / 2,
        "violation_rate_priority_9": 1,
        "violation_rate_model_long": 0,
        "violation_rate_model_short": 1,
    }
    metrics = measure(schedule)
    assert metrics == pytest.approx(expected, rel=1e-12)
    assert list(metrics)[: len(METRICS)] == list(METRICS)
    assert all(type(value) is float for value in metrics.values())


def expected_bound(arrival_s, isolated_s):
    """As its definition says: the shortest released request, from one event to the next."""
    left, moment = isolated_s.copy(), np.zeros(len(arrival_s))
    now = 0.0
    while (left > 0).any():
        released = np.flatnonzero((left > 0) & (arrival_s <= now))
        later = arrival_s[arrival_s > now]
        if not released.size:
            now = later[0]
            continue
        request = released[np.argmin(isolated_s[released])]
        end = now + left[request]
        if later.size and later[0] < end:
            end = later[0]
            left[request] -= end - now
        else:
            left[request] = 0
        moment[request] += (end - now) * ((now + end) / 2 - arrival_s[request])
        now = end
    return np.mean((moment / isolated_s + isolated_s / 2) / isolated_s)


def expected_metrics(schedule):
    workload = schedule.workload
    slowdown = (schedule.finish_s - workload.arrival_s) / workload.isolated_s
    progress = 1 / slowdown
    share = progress / workload.priority
    took = schedule.finish_s.max() - workload.arrival_s[0]
    violated = schedule.finish_s > workload.deadline_s
    p50, p95, p99 = np.percentile(slowdown, [50, 95, 99])
    classes = {
        f"priority_{priority:g}": workload.priority == priority
        for priority in sorted(set(workload.priority))
    }
    classes |= {f"model_{m}": workload.model == i for i, m in enumerate(workload.store.models)}
    return {
        "violation_rate": violated.mean(),
        "antt": slowdown.mean(),
        "weighted_violation_rate": np.average(violated, weights=workload.priority),
        "throughput": len(workload) / took,
        "system_throughput": np.sum(workload.isolated_s) / took,
        "ntt_p50": p50,
        "ntt_p95": p95,
        "ntt_p99": p99,
        "fairness": progress.sum() ** 2 / (len(workload) * np.square(progress).sum()),
        "prema_fairness": share.min() / share.max(),
        "preemptions": schedule.preemptions,
        "decisions": schedule.asked,
    } | {f"violation_rate_{name}": violated[of].mean() for name, of in classes.items() if of.any()}


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_schedule(workloads, data):
    workload = data.draw(workloads(max_requests=40, limits=True))
    schedule = simulate(workload, data.draw(st.sampled_from(["fcfs", "sjf", "dysta"])))
    expected, metrics = expected_metrics(schedule), measure(schedule)
    assert list(metrics) == list(expected)
    assert metrics == pytest.approx(expected, rel=1e-12, abs=0)
    w = workload
    arrival_s, deadline_s = w.moments
    both = violations_and_antt(arrival_s, opened(w.isolated_s), deadline_s, schedule.finish_s)
    assert both == (metrics["violation_rate"], metrics["antt"])


@pytest.mark.parametrize("total", [500, 1999, 3000])
def test_many_requests(make_trace, total):
    rng = np.random.default_rng(0)
    store = TraceStore([make_trace("net", rng.exponential(1, (500, 1))), make_trace("no", [[1.0]])])
    arrival_s = np.cumsum(np.where(np.arange(total) < total / 2, 0.5, 1.5))  # one long burst
    row = rng.integers(0, 500, total)
    workload = Workload(store, "all", arrival_s, np.zeros(total), row, row + 1, slo_multiplier=5)
    schedule = simulate(workload, "sjf@clairvoyant")
    expected, metrics = expected_metrics(schedule), measure(schedule)
    assert metrics == pytest.approx(expected, rel=1e-12, abs=0)
    assert len(metrics) == len(METRICS) + len(set(row)) + 1
    assert 0.1 < metrics["violation_rate"] < 0.9


def test_compiled_code_gets_the_same_numbers(three):
    schedule = simulate(three, "sjf")
    priorities = np.array([0.5, 1.0, 3.0, 9.0])
    labels = names(priorities, ["long", "short", "absent"])
    out = np.full(len(labels), -1.0)
    # in the middle of longer columns, as where many episodes lie beside each other
    columns = [
        np.concatenate([[7], column, [7]])[1:-1]
        for column in (
            *(three.arrival_s, three.isolated_s, three.deadline_s),
            *(schedule.finish_s, three.priority, three.model),
        )
    ]
    tally(*columns, schedule.preemptions, schedule.asked, priorities, out)
    metrics = dict(zip(labels, out.tolist(), strict=True))
    absent = {"priority_0.5", "priority_3", "model_absent"}
    assert {name for name in labels if np.isnan(metrics[name])} == {
        f"violation_rate_{name}" for name in absent
    }
    assert {name: metrics[name] for name in labels if not np.isnan(metrics[name])} == measure(
        schedule
    )
    fewer = np.empty(len(labels) - 3)
    tally(*columns, schedule.preemptions, schedule.asked, np.array([9.0]), fewer)
    kept = names([9.0], ["long", "short", "absent"])
    np.testing.assert_array_equal(fewer, [metrics[name] for name in kept])


def test_first_come_first_served_by_hand(three):
    schedule = simulate(three, "fcfs")
    assert schedule.finish_s.tolist() == [5, 6, 7]
    metrics = measure(schedule)
    assert metrics["antt"] == pytest.approx((1 + 4 + 5) / 3)
    assert metrics["preemptions"] == 0
    # alike for all is 1; here progress is 1, 1/4, 1/5
    assert metrics["fairness"] == pytest.approx(1.45**2 / (3 * (1 + 1 / 16 + 1 / 25)))


def test_alone_everything_is_perfect(make_trace):
    store = TraceStore([make_trace("net", [[1.0, 2.0]])])
    workload = Workload(store, "all", [5.0, 50.0], [0, 0], [0, 0], [1, 1], slo_multiplier=1.0)
    metrics = measure(simulate(workload, "dysta"))
    for name in ("antt", "fairness", "prema_fairness", "ntt_p50", "ntt_p99"):
        assert metrics[name] == 1, name
    assert metrics["violation_rate"] == 0  # finishing on the deadline is in time
    assert metrics["throughput"] == 2 / 48
    assert metrics["system_throughput"] == 6 / 48
    assert "violation_rate_priority_3" not in metrics


@pytest.mark.parametrize(
    ("arrival_s", "isolated_s", "bound"),
    [
        ([7.0], [0.3], 1),
        # at once: shortest first, ends at 1 and 3, which is the optimum
        ([0.0, 0.0], [2.0, 1.0], (3 / 2 + 1) / 2),
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], 2),
        # a short one in the middle: the long one is at work from 0 to 5 and 6 to 11, on average at
        # 5.5, and so ends at 10.5 or later, although no schedule ends it before 11
        ([0.0, 5.0], [10.0, 1.0], (10.5 / 10 + 1) / 2),
        # what has begun gives way only to what is shorter in all, not to what has less left
        ([0.0, 3.0], [4.0, 2.0], ((1.5 * 3 + 5.5 * 1) / 4 + 2) / 4 / 2 + 1 / 2),
        # a gap between two busy periods
        ([0.0, 100.0], [1.0, 1.0], 1),
    ],
)
def test_bound_by_hand(arrival_s, isolated_s, bound):
    arrival_s, isolated_s = np.array(arrival_s), np.array(isolated_s)
    assert antt_lower_bound(arrival_s, isolated_s) == pytest.approx(bound, rel=1e-12)
    for factor in (1e-3, 1e3):
        scaled = antt_lower_bound(arrival_s * factor, isolated_s * factor)
        assert scaled == pytest.approx(bound, rel=1e-9)
    # after a day of requests of tens of milliseconds: cancellation must not reach the figures
    late = antt_lower_bound(arrival_s / 100 + 86400, isolated_s / 100)
    assert late == pytest.approx(bound, rel=1e-6)


def test_distinct_priorities_have_distinct_names(three):
    usual = names([0.5, 1.0, 3.0, 9.0, 1e6], ())[len(METRICS) :]
    tail = [name.removeprefix("violation_rate_priority_") for name in usual]
    assert tail == ["0.5", "1", "3", "9", "1e+06"]
    close = [1000001.0, 1000002.0, 1 / 3, np.nextafter(1 / 3, 1), 0.1 + 0.2, 0.3, 1e-7, 2.0**29 + 1]
    written = [
        float(name.removeprefix("violation_rate_priority_"))
        for name in names(close, ())[len(METRICS) :]
    ]
    assert written == close
    metrics = measure(simulate(replace(three, priority=[1000001, 1000002, 1000002]), "fcfs"))
    assert metrics["violation_rate_priority_1000001"] == 0
    assert metrics["violation_rate_priority_1000002"] == 1


def test_the_page_describes_every_column():
    page = (Path(__file__).parents[1] / "docs/metrics.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    found = {name.strip("`"): rest for name, *rest in rows}
    workload = generate(load_scenario("multi-attnn").varied(requests=20), 0)
    for name, metric in METRICS.items():
        assert found[name] == [metric.description, "more" if metric.more_is_better else "less"]
    for name, description in BOUNDS.items():
        assert found[name] == [description]
    frame = compare(["multi-attnn"], ["fcfs"], seeds=[0], requests=20)
    classes = [name for name in frame if name.startswith(("violation_rate_p", "violation_rate_m"))]
    assert set(found) == set(frame) - set(classes)
    assert bounds_of(workload) == frame[list(BOUNDS)].iloc[0].to_dict()
