"""The published artifact's own schedulers, in its names, on its file formats (golden/README.md)."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dysta_gym import measure, simulate
from dysta_gym.traces import read_artifact_traces
from dysta_gym.workloads import read_requests

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".requests.csv") for path in GOLDEN.glob("*.requests.csv"))
POLICIES = [
    *("fcfs", "sjf", "sjf_sparse", "prema", "prema_sparse", "planaria"),
    *("sdrm3", "sdrm3_sparse", "dysta_naive", "dysta", "dysta_oracle"),
]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def workload_of(case):
    folder = "sanger" if case.startswith("attnn") else "eyerissv2"
    store = read_artifact_traces(GOLDEN / folder, folder)
    return read_requests(GOLDEN / f"{case}.requests.csv", store, float(case.partition("slo")[2]))


def test_all_cases_and_policies_are_there():
    assert len(CASES) == 8
    for case in CASES:
        assert list(rows(GOLDEN / f"{case}.finish.csv")[0]) == POLICIES


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("case", CASES)
def test_matches_the_artifact(case, policy):
    schedule = simulate(workload_of(case), policy)
    expected = [float(row[policy]) for row in rows(GOLDEN / f"{case}.finish.csv")]
    np.testing.assert_allclose(schedule.finish_s, expected, rtol=1e-9, atol=0)

    summaries = rows(GOLDEN / f"{case.partition('_')[0]}.summary.csv")
    (summary,) = (row for row in summaries if (row["case"], row["policy"]) == (case, policy))
    metrics = measure(schedule)
    for name, column in (
        ("violation_rate", "violation_rate"),
        ("antt", "antt"),
        ("throughput", "stp_per_s"),
    ):
        assert metrics[name] == pytest.approx(float(summary[column]), rel=1e-9, abs=0), name
