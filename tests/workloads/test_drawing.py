"""Workloads drawn from scenarios."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from numba import types

from dysta_gym import generate
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.streams import pool
from dysta_gym.traces import reference_split
from dysta_gym.workloads import (
    PLAN_TYPE,
    Requests,
    arrival_rate,
    draw,
    mean_isolated_s,
    plan,
)

BURSTS = {"process": "mmpp", "intensity": 5.0, "share": 0.1, "length": 40.0}
FRAMES = {"process": "frames", "jitter": 0.25}
SENSOR = {"process": "frames", "sensor_rate": 3.5, "jitter_s": 0.04}


def test_same_seed_draws_the_same_requests_at_every_load_and_deadline(scenario, drawn):
    low, high = (generate(scenario(load=load), seed=3) for load in (0.5, 1.1))
    tight = generate(scenario(load=0.5, slo_multiplier=2), seed=3)
    what = ("trace", "row", "priority")
    assert drawn(low, *what) == drawn(high, *what) == drawn(tight, *what)
    np.testing.assert_allclose(low.arrival_s * 0.5, high.arrival_s * 1.1, rtol=1e-12)
    assert tight.arrival_s.tolist() == low.arrival_s.tolist()
    relative = (tight.deadline_s - tight.arrival_s) / (low.deadline_s - low.arrival_s)
    np.testing.assert_allclose(relative, 2 / 10, rtol=1e-9)
    assert drawn(tight, "deadline_s") == drawn(low.with_slo(2), "deadline_s")

    assert drawn(generate(scenario(), seed=3), *what, "arrival_s") == drawn(
        generate(scenario(), seed=3), *what, "arrival_s"
    )
    other = generate(scenario(load=0.5), seed=4)
    for field in (*what, "arrival_s"):
        assert drawn(other, field) != drawn(low, field)


def test_streams_are_independent(scenario, drawn):
    base = generate(scenario(), seed=0)
    ranked = generate(scenario(priorities=[1, 2]), seed=0)
    assert drawn(ranked, "arrival_s", "trace", "row") == drawn(base, "arrival_s", "trace", "row")
    longer = generate(scenario(requests=300), seed=0)
    for field in ("arrival_s", "trace", "row", "priority"):
        assert drawn(longer, field)[0][:200] == drawn(base, field)[0]
    weighed = generate(scenario(load=None, rate=20, traces={"bert": 5, "gpt2": 1}), seed=0)
    assert drawn(weighed, "priority") == drawn(base, "priority")
    same = weighed.trace == base.trace
    assert 0 < same.sum() < 200
    assert weighed.row[same].tolist() == base.row[same].tolist()


def test_load_weights_and_priorities_on_average(scenario):
    workloads = [generate(scenario(requests=1000), seed) for seed in range(40)]
    load = np.mean([w.isolated_s.sum() / w.arrival_s[-1] for w in workloads])
    assert load == pytest.approx(0.8, rel=0.02)
    share = np.mean([(w.trace == 1).mean() for w in workloads])  # gpt2 weighs 2 of 3
    assert share == pytest.approx(2 / 3, rel=0.02)
    for priority in (1, 3, 9):
        rank = np.mean([(w.priority == priority).mean() for w in workloads])
        assert rank == pytest.approx(1 / 3, rel=0.03)


def test_load_is_isolated_latency_times_rate(scenario):
    traces = scenario().store().traces
    bert, gpt2 = (trace.isolated_s[trace.rows("test")].mean() for trace in traces)
    assert mean_isolated_s(scenario()) == pytest.approx((bert + 2 * gpt2) / 3)
    assert arrival_rate(scenario()) == pytest.approx(0.8 / ((bert + 2 * gpt2) / 3))
    assert arrival_rate(scenario(load=None, rate=7)) == 7


@pytest.mark.parametrize(
    ("split", "reference"), [("train", "train"), ("test", "train"), ("all", "all")]
)
def test_requests_stay_in_their_split(scenario, split, reference):
    workload = generate(scenario(requests=2000), seed=0, split=split)
    assert workload.reference == reference
    for index, trace in enumerate(workload.store.traces):
        assert set(workload.row[workload.trace == index]) == set(trace.rows(split))


def test_draws_that_cannot_be(scenario, refused):
    with refused("seed", "-1", "0 or more"):
        generate(scenario(), seed=-1)
    with refused("split", "'tset'", "train", "test", "all"):
        generate(scenario(), seed=0, split="tset")


def drawn_by_numpy(chosen, seed, split, recorded=()):
    """Columns of `Workload` and the deadlines, as the scenario's words say, one by one."""
    store, process, total = chosen.store(), chosen.arrivals, chosen.requests
    rate = arrival_rate(chosen, split)
    weights = np.array(list(chosen.traces.values()))
    weights = weights / weights.sum()
    rows = [trace.rows(split) for trace in store.traces]
    gaps, networks, inputs, ranks = np.random.default_rng(seed).spawn(4)
    average = store.averages(reference_split(split)).isolated_s[store.model_of]
    start_s = None
    if process.process == "poisson":
        arrival_s = np.cumsum(gaps.exponential(size=total)) / rate
    elif process.process == "replay":
        recorded_rate = (len(recorded) - 1) / (recorded[-1] - recorded[0])
        total = len(recorded)
        arrival_s = (recorded - recorded[0]) * (recorded_rate / rate)
    elif process.process == "mmpp":
        gaps, states = gaps.spawn(2)
        work = np.cumsum(gaps.exponential(size=total))
        rates = [(1 - process.share * process.intensity) / (1 - process.share), process.intensity]
        stays = np.array([1 / process.share - 1, 1]) * process.length / process.intensity
        state = int(states.random() < process.share)
        time, done = [0.0], [0.0]
        while done[-1] < work[-1]:
            stay = states.exponential(stays[state])
            time.append(time[-1] + stay)
            done.append(done[-1] + stay * rates[state])
            state = 1 - state
        arrival_s = np.interp(work, done, time) / rate
    else:
        average = 1 / (rate * weights)
        own, stretch = list(chosen.traces.values()), sum(chosen.traces.values()) / rate
        phases = gaps.random(len(rows))
        frames = []
        for index, late in enumerate(gaps.spawn(len(rows))):
            begin, unit = phases[index] + np.arange(total), average[index]
            place, jitter = begin, process.jitter or process.jitter_s * own[index]
            if process.sensor_rate:
                begin, unit = np.arange(total), stretch / process.sensor_rate
                ticks = Fraction(str(process.sensor_rate)) / Fraction(str(own[index]))  # a frame
                place = np.array([math.ceil(k * ticks) for k in range(total)], np.float64)
                jitter = process.jitter_s * process.sensor_rate
                jitter = jitter or process.jitter * (process.sensor_rate / own[index])
            shown = (place + jitter * late.random(total)) * unit
            frames += zip(shown, [index] * total, begin * average[index], strict=True)
        arrival_s, trace, start_s = (np.array(c) for c in zip(*sorted(frames)[:total], strict=True))
    if start_s is None:
        start_s = arrival_s
        trace = np.searchsorted(np.cumsum(weights), networks.random(total), side="right")
    row = [rows[t][int(u * len(rows[t]))] for t, u in zip(trace, inputs.random(total), strict=True)]
    priority = np.array(chosen.priorities)[ranks.integers(len(chosen.priorities), size=total)]
    deadline_s = start_s + chosen.slo_multiplier * average[trace]
    return arrival_s, trace, np.array(row), priority, deadline_s


PROCESSES = {
    "poisson": {"process": "poisson"},
    "mmpp": BURSTS,
    "mmpp, calm at 0": BURSTS | {"intensity": 10.0, "length": 2.0},
    "frames": FRAMES,
    "frames in time": {"process": "frames"},
    "frames, jitter in seconds": {"process": "frames", "jitter_s": 0.04},
    "frames of a sensor": {"process": "frames", "sensor_rate": 4, "jitter": 0.25},
    "frames of a sensor, jitter in seconds": SENSOR,
    "frames of a sensor in time": {"process": "frames", "sensor_rate": 3},
    "replay": {"process": "replay"},
}


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_draws_are_those_of_numpy(scenario, tmp_path, name, split):
    recorded = np.cumsum(np.random.default_rng(0).exponential(size=50)) + 3
    arrivals = PROCESSES[name]
    if name == "replay":
        np.savetxt(tmp_path / "requests.csv", recorded, "%.17g", header="arrival_s", comments="")
        arrivals = arrivals | {"file": str(tmp_path / "requests.csv")}
    traces = {"gpt2": 3, "bart": 1, "bert": 0.7}
    for seed, changes in itertools.product(
        (0, 7, 2**32 - 1, 2**64 - 1, 2**64, 2**170 + 3),
        (
            {},
            {"requests": 2},
            {"load": None, "rate": 11.0, "priorities": [1.0, 2.5, 4.0, 7.0, 8.0]},
        ),
    ):
        chosen = scenario(arrivals=arrivals, traces=traces, **changes)
        workload = generate(chosen, seed, split=split)
        columns = (workload.arrival_s, workload.trace, workload.row, workload.priority)
        expected = drawn_by_numpy(chosen, seed, split, recorded[: chosen.requests])
        for column, values in zip((*columns, workload.deadline_s), expected, strict=True):
            np.testing.assert_array_equal(column, values, strict=True)


@compiled(
    types.void(PLAN_TYPE, types.int64[::1], types.float64[:, :, ::1], types.int64[:, :, ::1]),
    cache=False,
)
def draw_all(plan, seeds, floats, ints):
    for i in range(seeds.size):
        requests = Requests(
            floats[i, 0], ints[i, 0], ints[i, 1], floats[i, 1], floats[i, 2], floats[i, 3]
        )
        draw(plan, pool(seeds[i], 0), requests)


@pytest.mark.parametrize("arrivals", [{"process": "poisson"}, BURSTS, FRAMES, SENSOR])
def test_compiled_code_draws_the_same_workloads(scenario, drawn, arrivals):
    chosen = scenario(arrivals=arrivals)
    seeds = np.array([0, 5, 2**31 - 1])
    floats, ints = np.empty((3, 4, 200)), np.empty((3, 2, 200), np.int64)
    made = plan(chosen, "train")
    draw_all(made, seeds, floats, ints)
    for i, seed in enumerate(seeds.tolist()):
        workload = generate(chosen, seed, split="train")
        assert drawn(workload, "trace", "row") == ints[i].tolist()
        assert drawn(workload, "arrival_s", "priority") == floats[i, :2].tolist()
        deadline_s = floats[i, 2] + made.slo_multiplier * floats[i, 3]
        assert workload.deadline_s.tolist() == deadline_s.tolist()


def test_a_faster_accelerator_takes_less_time(scenario, drawn):
    slow, fast = (generate(scenario(load=None, rate=9, speed=s), 0) for s in (1.0, 4.0))
    np.testing.assert_allclose(slow.isolated_s, 4 * fast.isolated_s)
    assert drawn(slow, "arrival_s", "row") == drawn(fast, "arrival_s", "row")
    assert mean_isolated_s(scenario(speed=4.0)) == pytest.approx(mean_isolated_s(scenario()) / 4)


def test_machine_options_reach_the_workload(scenario):
    workload = generate(scenario(queue_limit=64, preemption_cost_s=1e-3), 0)
    assert (workload.queue_limit, workload.preemption_cost_s) == (64, 1e-3)
    assert generate(scenario(queue_limit=2**70), 0).queue_limit == 2**70
