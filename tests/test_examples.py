"""The examples, run as they stand, but for few steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOWN = {
    "own_policy.py": ([], ["dysta", "mine"]),
    "stock_ppo.py": ([2048], ["fcfs", "dysta", "PPO"]),
    "rllib_ppo.py": ([1], ["dysta", "rllib-ppo"]),
    "ray_tune.py": ([1, 1], ["dysta", "tuned"]),
    "masked_ppo.py": ([4096], ["dysta", "evolved", "MaskablePPO"]),
}
"""The steps that each is given, and the policies in its table."""


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_an_example(tmp_path, name):
    steps, policies = SHOWN[name]
    if steps:
        for package in ("torch", "stable_baselines3", "sb3_contrib"):
            pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, steps)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "compiling" not in line]
    assert (done.returncode, said) == (0, [])
    assert not list(tmp_path.iterdir())
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {"violation_rate", "antt"} <= set(rows[0])
    measured = [(*row[-3:-2], *map(float, row[-2:])) for row in rows if "." in row[-1]]
    names = [row[0].partition("@")[0] for row in measured]
    assert names == policies * (len(measured) // len(policies)) and names
    for _, violation_rate, antt in measured:
        assert 0 <= violation_rate <= 1 <= antt
