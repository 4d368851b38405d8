"""Workloads of requests that are given as plain columns."""

import numpy as np
import pytest

from dysta_gym import Workload
from dysta_gym.workloads import requests_from

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
