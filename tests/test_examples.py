"""The examples, run as they stand, but for few steps."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOWN = {
    "own_policy.py": ([], ["dysta", "mine"]),
    "stock_ppo.py": ([2048], ["fcfs", "dysta", "PPO"]),
    "rllib_ppo.py": ([1], ["dysta", "rllib-ppo"]),
    "ray_tune.py": ([1, 1], ["dysta", "tuned"]),
    "masked_ppo.py": ([4096], ["dysta", "evolved", "exported", "MaskablePPO"]),
    "cleanrl_ppo.py": ([1], ["dysta", "one-file-ppo"]),
    "torchrl_ppo.py": ([1], ["dysta", "torchrl-ppo"]),
    "tianshou_ppo.py": ([1], ["dysta", "tianshou-ppo"]),
    "pufferlib_ppo.py": ([1], ["dysta", "pufferlib-ppo"]),
}
"""The steps that each is given, and the policies in its table."""
LIBRARIES = {
    "rllib_ppo.py": "ray",
    "ray_tune.py": "ray",
    "torchrl_ppo.py": "torchrl",
    "tianshou_ppo.py": "tianshou",
    "pufferlib_ppo.py": "pufferlib",
}
"""What no extra for tests brings along: these are run where it is there."""


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_an_example(tmp_path, name):
    steps, policies = SHOWN[name]
    if steps:
        for package in ("torch", "stable_baselines3", "sb3_contrib"):
            pytest.importorskip(package)
    if name in LIBRARIES and not find_spec(LIBRARIES[name]):
        pytest.skip(f"{LIBRARIES[name]} is not installed")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, steps)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "compiling" not in line]
    assert (done.returncode, said) == (0, [])
    assert not list(tmp_path.iterdir())
    rows = [line.split() for line in done.stdout.splitlines()]
    rows = rows[rows.index(["violation_rate", "antt"]) :]  # after what tells of the training
    measured = [(*row[-3:-2], *map(float, row[-2:])) for row in rows if "." in row[-1]]
    names = [row[0].partition("@")[0] for row in measured]
    assert names == policies * (len(measured) // len(policies)) and names
    for _, violation_rate, antt in measured:
        assert 0 <= violation_rate <= 1 <= antt
