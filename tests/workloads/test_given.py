"""Workloads of requests that are given as plain columns."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from dysta_gym import TraceStore, Workload, generate, load_scenario, measure, simulate
from dysta_gym.bounds import antt_lower_bound
from dysta_gym.workloads import requests_from
from dysta_gym.workloads.workload import Due

COLUMNS = {
    "arrival_s": [0.0, 1.0, 1.0],
    "trace": ["small_dense", "large_dense", "small_block20"],
    "row": [2, 1, 0],
    "priority": [1, 3, 9],
}


def test_requests_from_columns(drawn, store):
    workload = requests_from(COLUMNS, store, "train", slo_multiplier=3.0)
    assert len(workload) == 3
    assert drawn(workload, "arrival_s", "trace", "row", "priority") == [
        [0, 1, 1], [0, 2, 1], [2, 1, 0], [1, 3, 9],
    ]  # fmt: skip
    assert workload.isolated_s.tolist() == [6, 15, 2]
    assert workload.model.tolist() == [0, 1, 0]
    # `train` holds inputs 0 and 2 of small_dense, 0 of the others: A is (3 + 6 + 2) / 3 and 15
    np.testing.assert_allclose(workload.deadline_s, [11, 46, 12], rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arrival_s": [0.0, 2.0, 1.0]}, ["arrival_s", "request 3", "1", "2", "sort"]),
        ({"arrival_s": [-1.0, 2.0, 3.0]}, ["arrival_s", "-1", "not negative"]),
        ({"arrival_s": [0.0, 2.0, np.nan]}, ["arrival_s", "nan", "finite"]),
        ({"arrival_s": [0.0, 2.0, "soon"]}, ["arrival_s", "soon"]),
        ({"arrival_s": [0.0, 1.0]}, ["trace", "(3,)", "(2,)"]),
        ({"trace": ["small_dense", "huge", "large_dense"]}, ["trace", "'huge'", "small_block20"]),
        ({"row": [0, 2, 0]}, ["row", "2", "'large_dense'", "0 to 1"]),
        ({"row": [-1, 0, 0]}, ["row", "-1", "'small_dense'", "0 to 2"]),
        ({"row": [0.5, 0, 0]}, ["row", "0.5", "whole"]),
        ({"row": [0, 0]}, ["row", "(2,)", "(3,)"]),
        ({"priority": [1, 0, 1]}, ["priority", "0", "above 0"]),
        ({"priority": [1, -3, 1]}, ["priority", "-3", "above 0"]),
        ({"priority": [1, np.inf, 1]}, ["priority", "inf", "finite"]),
        ({"priority": [[1, 1, 1]]}, ["priority", "(1, 3)", "(3,)"]),
        ({name: [] for name in COLUMNS}, ["no request"]),
    ],
)
def test_columns_that_do_not_fit(store, refused, changes, words):
    with refused("workload", *words) if "huge" not in str(changes) else refused(*words):
        requests_from(COLUMNS | changes, store, "all", slo_multiplier=3.0)


@pytest.mark.parametrize("missing", COLUMNS)
def test_columns_that_are_missing(store, refused, missing):
    columns = {name: column for name, column in COLUMNS.items() if name != missing}
    with refused("workload", repr(missing), "missing"):
        requests_from(columns, store, "all", slo_multiplier=3.0)


@pytest.mark.parametrize("slo_multiplier", [0.0, -1.0, np.nan, np.inf])
def test_slo_multiplier_that_does_not_fit(store, refused, slo_multiplier):
    with refused("slo_multiplier", f"{slo_multiplier:g}", "above 0"):
        requests_from(COLUMNS, store, "all", slo_multiplier)


def test_workload_keeps_its_own_columns(store):
    arrival_s = np.zeros(2)
    workload = Workload(store, "all", arrival_s, [0, 0], [0, 1], [1, 1], 10.0)
    arrival_s[:] = 7
    assert workload.arrival_s.tolist() == [0, 0]
    assert workload.row.dtype == np.int64 and workload.priority.dtype == np.float64


@pytest.mark.parametrize(
    "column",
    [
        np.array([1 + 1j, 1, 1]),
        [1, 1j, 1],
        ["1", "1", "1"],
        [True, True, False],
        [1, None, 1],
        [[1], [1, 2], [1]],
    ],
    ids=range(6),
)
def test_columns_that_would_lose_something(store, refused, column):
    for name in ("arrival_s", "row", "priority"):
        with refused("workload", name):
            requests_from(COLUMNS | {name: column}, store, "all", slo_multiplier=3.0)


def test_numbers_of_numpy_are_numbers(store):
    given = Workload(
        *(store, "all", [0.0], [0], [0], [1], np.float32(2.5)),
        preemption_cost_s=np.float32(0.5),
        queue_limit=np.int64(3),
    )
    expected = Workload(store, "all", [0], [0], [0], [1], 2.5, None, 0.5, 3)
    assert given.deadline_s == expected.deadline_s
    assert simulate(given, "fcfs").finish_s == simulate(expected, "fcfs").finish_s


def test_what_was_checked_cannot_be_changed(store, workload):
    derived = (workload.model, workload.deadline_s, workload.isolated_s)
    arrays = [workload.arrival_s, workload.trace, workload.row, workload.priority, *derived]
    arrays += [store.latency_s, store.layers, store.first_cell, store.model_of]
    arrays += [*store.averages("all").latency_s, store.averages("all").isolated_s]
    for trace in store.traces:
        arrays += [trace.latency_s, trace.sparsity, trace.train, trace.sample_ids, trace.isolated_s]
    frames = replace(workload, due=Due(np.zeros(6), np.ones(6)))
    arrays += [*frames.due, frames.deadline_s]
    for again in (workload, pickle.loads(pickle.dumps(workload, 5))):
        arrays += [again.row, again.store.latency_s, again.store.traces[0].sparsity]
        assert measure(simulate(again, "dysta")) == measure(simulate(workload, "dysta"))
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 10**9 if array.dtype.kind == "i" else array[0]


def test_the_arrays_of_whoever_gives_them_stay_his(store):
    latency_s = np.ones((2, 1))
    trace = replace(
        store.traces[0],
        **{"latency_s": latency_s, "sparsity": np.zeros((2, 1)), "train": [1, 0]},
        **{"sample_ids": np.arange(2), "layer_names": ("a",)},
    )
    latency_s[:] = np.nan
    assert trace.latency_s.tolist() == [[1], [1]] and trace.train.tolist() == [True, False]


# --- the clock -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn_workload():
    return generate(load_scenario("multi-attnn").varied(requests=300), 0)


@pytest.mark.parametrize("policy", ["fcfs", "dysta", "prema", "sjf@clairvoyant"])
@pytest.mark.parametrize("start_s", [1.7e9, 1.7e9 + 0.3, 1e7])
def test_a_workload_is_the_same_whenever_it_starts(drawn_workload, start_s, policy):
    # Times of the day as they are written there: those that a float64 holds.
    arrival_s = np.round(drawn_workload.arrival_s * 2**20) / 2**20
    arrival_s -= arrival_s[0]
    early, late = (replace(drawn_workload, arrival_s=arrival_s + s) for s in (0, start_s))
    rounded = np.spacing(start_s)
    first, other = simulate(early, policy, record=True), simulate(late, policy, record=True)
    for name, value in measure(first).items():
        assert measure(other)[name] == pytest.approx(value, rel=1e-3 if rounded > 1e-8 else 1e-6)
    if start_s != 1.7e9 + 0.3:  # all arrivals are exact there
        assert measure(first) == measure(other)
        assert other.ran.tolist() == first.ran.tolist()
    # what is seen stays on the clock of the file
    np.testing.assert_allclose(other.finish_s - start_s, first.finish_s, rtol=0, atol=2 * rounded)
    np.testing.assert_allclose(other.started_s - start_s, first.started_s, rtol=0, atol=2 * rounded)
    np.testing.assert_allclose(
        late.deadline_s - start_s, early.deadline_s, rtol=0, atol=2 * rounded
    )
    bounds = [antt_lower_bound(each.arrival_s, each.isolated_s) for each in (early, late)]
    assert bounds[1] == pytest.approx(bounds[0], rel=1e-4)


def test_the_environment_starts_with_the_first_request(drawn_workload):
    gym = pytest.importorskip("gymnasium")
    env = gym.make("SparseMultiDNN-v0", scenario="multi-attnn", split="test")
    seen = []
    for start_s in (0, 2.0**30):
        arrival_s = (
            np.round((drawn_workload.arrival_s - drawn_workload.arrival_s[0]) * 2**20) / 2**20
        )
        given = replace(drawn_workload, arrival_s=arrival_s + start_s)
        observation, _ = env.reset(options={"workload": given})
        total, done = [observation], False
        while not done:
            observation, reward, done, *_ = env.step(0)
            total += [observation, reward]
        seen.append(np.concatenate([np.ravel(each) for each in total]))
    np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize("start_s", [1.7e12, 1.7e18, 1e300])
def test_a_clock_that_cannot_tell_layers_apart_is_refused(drawn_workload, refused, start_s):
    with refused("workload", "arrival_s", f"{start_s:g}", "seconds"):
        replace(drawn_workload, arrival_s=drawn_workload.arrival_s + start_s)


def test_a_workload_longer_than_its_clock_is_refused(make_trace, refused):
    store = TraceStore([make_trace("net", [[1e-9, 1.0], [1e-9, 1.0]])])
    assert len(Workload(store, "all", [0, 1e6], [0, 0], [0, 0], [1, 1], 10.0)) == 2
    with refused("arrival_s", "1e+08", "shortest layer", "1e-09"):
        Workload(store, "all", [0, 1e8], [0, 0], [0, 0], [1, 1], 10.0)
