"""Work on a disk that gets full ends in a line, and goes on to the same result when it has room."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("full_disk.py")
OWN = ["unshare", "--user", "--map-root-user", "--mount"]
"""Begins a command that may mount what it wants, for itself."""


@pytest.fixture(scope="module", autouse=True)
def mountable(tmp_path_factory):
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare")
    mount = ["mount", "-t", "tmpfs", "tmpfs", tmp_path_factory.mktemp("disk")]
    if subprocess.run([*OWN, *mount], capture_output=True).returncode:
        pytest.skip("users may not mount anything for themselves")


@pytest.mark.parametrize("part", ["sweep", "train"])
def test_a_full_disk(tmp_path, part):
    needed = ("cma", "torch", "stable_baselines3", "sb3_contrib", "tensorboard")
    if part == "train" and not all(map(importlib.util.find_spec, needed)):
        pytest.skip("training needs the extra agents")
    done = subprocess.run(
        [*OWN, sys.executable, "-W", "ignore", SCRIPT, tmp_path, part],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    for each in map(json.loads, done.stdout.splitlines()):
        *steps, last = each["said"]
        assert each["same"] and each["status"] == 2, each
        assert all(line.startswith("step ") for line in steps), each
        assert last.startswith("dysta-gym: error: ") and "cannot be written (" in last, each
        if part == "sweep":
            assert "the same command goes on" in last
        else:
            assert "No space left on device" in last
