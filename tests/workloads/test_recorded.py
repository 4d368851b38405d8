"""Recorded requests, read from CSV files."""

from pathlib import Path

import numpy as np
import pytest

from dysta_gym.traces import read_artifact_traces
from dysta_gym.workloads import read_requests

GOLDEN = Path(__file__).parents[1] / "golden"


REQUESTS = """arrival_s,model,sample,priority
0.5,bert,3,1
0.5,gpt2,15,9
2.0,bart,0,0.5
"""


@pytest.fixture(scope="module")
def sanger():
    return read_artifact_traces(GOLDEN / "sanger", "sanger")


def test_recorded_requests(tmp_path, sanger):
    path = tmp_path / "requests.csv"
    path.write_text(REQUESTS)
    workload = read_requests(path, sanger, slo_multiplier=5.0)
    assert workload.arrival_s.tolist() == [0.5, 0.5, 2.0]
    assert [sanger.traces[t].name for t in workload.trace] == ["bert", "gpt2", "bart"]
    assert workload.row.tolist() == [3, 15, 0]
    assert workload.priority.tolist() == [1, 9, 0.5]
    expected = [
        arrival + 5 * sanger.traces[t].isolated_s.mean()
        for arrival, t in zip(workload.arrival_s, workload.trace, strict=True)
    ]
    np.testing.assert_allclose(workload.deadline_s, expected, rtol=1e-12)

    path.write_text("arrival_s,model,sample,priority\n0.12345678901234567,bert,3,1\n")
    assert read_requests(path, sanger, 5.0).arrival_s[0] == 0.12345678901234567


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2.0,bart", "0.25,bart", ["arrival_s", "request 3", "0.25", "0.5", "sort"]),
        ("0.5,bert", "-0.5,bert", ["arrival_s", "-0.5", "not negative"]),
        ("gpt2", "gpt3", ["row 2", "model", "'gpt3'", "bart, bert, gpt2"]),
        ("gpt2", "", ["row 2", "model", "bart, bert, gpt2"]),
        (",15,", ",99,", ["row 2", "sample 99", "'gpt2'", "0 to 15"]),
        (",15,", ",1.5,", ["row 2", "sample 1.5", "'gpt2'", "0 to 15"]),
        (",15,", ",,", ["'sample'", "row 2 is ''", "finite"]),
        (",9\n", ",high\n", ["'priority'", "row 2 is 'high'", "finite"]),
        (",9\n", ",inf\n", ["'priority'", "row 2 is inf", "finite"]),
        (",9\n", ",-9\n", ["priority", "request 2", "-9", "above 0"]),
        (",9\n", ",0\n", ["priority", "request 2", "0", "above 0"]),
        (",9\n", ",9,7,7\n", ["CSV"]),
        ("arrival_s", "arrival", ["'arrival_s'", "missing"]),
        ("model", "net", ["'model'", "missing"]),
        ("sample", "input", ["'sample'", "missing"]),
        ("priority", "rank", ["'priority'", "missing"]),
        (REQUESTS, "", ["CSV"]),
        (REQUESTS, "arrival_s,model,sample,priority\n", ["no request"]),
    ],
)
def test_recorded_requests_that_do_not_fit(tmp_path, sanger, refused, old, new, words):
    path = tmp_path / "requests.csv"
    path.write_text(REQUESTS.replace(old, new))
    with refused("requests.csv", *words):
        read_requests(path, sanger, slo_multiplier=5.0)


def test_recorded_requests_that_are_absent(tmp_path, sanger, refused):
    with refused("absent.csv", "does not exist"):
        read_requests(tmp_path / "absent.csv", sanger, slo_multiplier=5.0)
