"""Sweeps and training on a Ray cluster of three nodes, of which one is killed amid the work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dysta_gym.sweeps import frames, opened, sweep

pytest.importorskip("ray")

SCRIPT = Path(__file__).with_name("cluster.py")
LONG = pytest.mark.skipif(
    not os.environ.get("DYSTA_GYM_TEST_CLUSTER"),
    reason="DYSTA_GYM_TEST_CLUSTER is not set; it takes a minute",
)

RULE = """
def score(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.remaining[i]
"""


@pytest.fixture
def parts(tmp_path, ray_place):
    """``parts(*names)``: what parts of cluster.py print, and the folder that they worked in."""
    (tmp_path / "mine.py").write_text(RULE)

    def run(*names):
        done = subprocess.run(
            [sys.executable, SCRIPT, tmp_path, *names],
            cwd=tmp_path, capture_output=True, text=True, timeout=280, env=ray_place,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return {key: value for line in lines for key, value in json.loads(line).items()}

    return run


def test_a_sweep_whose_node_dies_keeps_what_one_process_keeps(parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parts("sweep") == {"sweep": 400}
    grid = json.loads((tmp_path / "grid.json").read_text())
    sweep(grid, "here", jobs=1)
    tables = []
    for folder in ("ray", "here"):
        with opened(folder) as store:
            tables.append(pd.concat(list(frames([store])), ignore_index=True))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@LONG
@pytest.mark.parametrize("part", ["rllib", "tune"])
def test_a_training_whose_node_dies_goes_on(parts, part):
    for package in ("torch", "tree", "lz4", "ormsgpack", "tensorboardX"):
        pytest.importorskip(package)
    found = parts(part)[part]
    if part == "tune":
        assert found["begun"] == 4  # three, and the one whose node died
        assert len(found["resumed"]) == 1 and found["resumed"][0] > 0  # from its state
    else:  # trained on while a runner was gone, and with it when it was back
        assert found[0] == 0 and found[-1] >= 1 and len(found) == 6
