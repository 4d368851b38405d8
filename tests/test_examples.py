"""The examples, run as they stand, but for few steps."""

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
    "rllib_ppo.py": ("ray", "tree", "lz4", "ormsgpack"),
    "ray_tune.py": ("ray", "tensorboardX"),
    "torchrl_ppo.py": ("torchrl",),
    "tianshou_ppo.py": ("tianshou",),
    "pufferlib_ppo.py": ("pufferlib",),
}
"""What they need beside the other libraries."""


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_an_example(tmp_path, name, ray_place):
    steps, policies = SHOWN[name]
    on_ray = "ray" in LIBRARIES.get(name, ())
    if name != "own_policy.py":
        for package in ("torch", "stable_baselines3", "sb3_contrib"):
            pytest.importorskip(package)
    for package in LIBRARIES.get(name, ()):
        if not find_spec(package):  # importing some of them warns
            pytest.skip(f"{package} is not installed")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, steps)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**ray_place, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "compiling" not in line]
    assert done.returncode == 0 and (on_ray or not said), done.stderr
    assert not list(tmp_path.iterdir())
    rows = [line.split() for line in done.stdout.splitlines()]
    rows = rows[rows.index(["violation_rate", "antt"]) :]  # after what tells of the training
    measured = [(*row[-3:-2], *map(float, row[-2:])) for row in rows if "." in row[-1]]
    names = [row[0].partition("@")[0] for row in measured]
    assert names == policies * (len(measured) // len(policies)) and names
    for _, violation_rate, antt in measured:
        assert 0 <= violation_rate <= 1 <= antt
