"""The template of a package, installed as its README says, and found by name."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from dysta_gym import load_trace

TEMPLATE = Path(__file__).parents[1] / "examples" / "own_package"
COMMAND = Path(sysconfig.get_path("scripts")) / "dysta-gym"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """``run(*command)``: a command where the package is installed: output and errors."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(TEMPLATE, folder / "source")  # for a build leaves files behind
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index")
    options = ("--no-deps", "--no-build-isolation", "--target", folder / "installed")
    subprocess.run([sys.executable, *pip, *options, folder / "source"], check=True, timeout=300)

    def run(*command):
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=300,
            env=os.environ | {"PYTHONPATH": str(folder / "installed")},
        )  # fmt: skip
        said = [line for line in done.stderr.splitlines() if "compiling" not in line]
        assert (done.returncode, said) == (0, [])
        return done.stdout

    return run


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("policies", "hurried"),
        ("rewards", "punctual"),
        ("accelerators", "my-chip"),
        ("traces", "tiny-net"),
        ("scenarios", "my-chip-mix"),
    ],
)
def test_it_is_listed(run, what, name):
    names = [each["name"] for each in json.loads(run(COMMAND, what, "--json"))]
    assert names.count(name) == 1 and len(names) > 2
    assert what == "policies" or names[-1] == name  # after ours; policies go by the alphabet
    assert name in run(COMMAND, what)


def test_it_is_compared(run):
    few = ("--seeds", "2", "--requests", "40")
    policies = ("--policy", "dysta", "--policy", "hurried:share=0.2")
    table = run(COMMAND, "compare", "--scenario", "my-chip-mix", *policies, *few)
    assert "my-chip-mix: load 0.9" in table and "│ hurried:share=0.2" in table
    # A scenario of this package, by the model of that one.
    program = """
import gymnasium as gym
import dysta_gym
env = gym.make("SparseMultiDNN-v0", scenario="my-chip-mix", reward="punctual", requests=20)
env.reset(seed=0)
total, ended = 0.0, False
while not ended:
    _, reward, ended, _, info = env.step(0)
    total += reward
metrics, penalty = info["metrics"], env.unwrapped.penalty
assert abs(total + metrics["antt"] + 2 * penalty * metrics["violation_rate"]) < 1e-6 * abs(total)
fields = {"name": "n", "load": 0.5, "traces": {"mpnet": 1, "tiny-net": 1}}
fast = {"model": "my-chip", "macs_per_s": 1e12}
assert dysta_gym.load_scenario(fields | {"accelerator": "my-chip"}).store().models
try:
    dysta_gym.load_scenario(fields | {"accelerator": fast}).store()
except dysta_gym.DystaError as error:
    print(error)
"""
    assert "'tiny-net' was measured on 'my-chip'" in run(sys.executable, "-c", program)


def test_its_trace_is_what_its_program_writes(tmp_path):
    shutil.copytree(TEMPLATE, tmp_path / "source")
    made = tmp_path / "source" / "my_chip" / "tiny-net.npz"
    made.unlink()
    subprocess.run([sys.executable, tmp_path / "source" / "measure.py"], check=True, timeout=100)
    kept = load_trace(TEMPLATE / "my_chip" / "tiny-net.npz")
    np.testing.assert_allclose(load_trace(made).latency_s, kept.latency_s, rtol=1e-9)
