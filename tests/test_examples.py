"""The examples, run as they stand, but for few steps."""

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

RAYS = {
    "rllib_ppo.py": ("ray", "tree", "lz4", "ormsgpack"),
    "ray_tune.py": ("ray", "tensorboardX"),
}
"""What those that use Ray, which says what it likes, need beside the other libraries."""


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_an_example(tmp_path, name, ray_place):
    steps, policies = SHOWN[name]
    on_ray = name in RAYS
    for package in RAYS.get(name, ()):
        pytest.importorskip(package)
    if name != "own_policy.py":
        for package in ("torch", "stable_baselines3", "sb3_contrib"):
            pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, steps)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**ray_place, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "compiling" not in line]
    assert done.returncode == 0 and (on_ray or not said), done.stderr
    assert not list(tmp_path.iterdir())
    shown = done.stdout[done.stdout.index(" violation_rate") :]
    rows = [line.split() for line in shown.splitlines()]
    assert {"violation_rate", "antt"} <= set(rows[0])
    measured = [(*row[-3:-2], *map(float, row[-2:])) for row in rows if "." in row[-1]]
    names = [row[0].partition("@")[0] for row in measured]
    assert names == policies * (len(measured) // len(policies)) and names
    for _, violation_rate, antt in measured:
        assert 0 <= violation_rate <= 1 <= antt
