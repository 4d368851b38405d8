"""Draw the pictures of docs/seeing.md: ``python -m benchmarks.seeing [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium as gym
from PIL import Image

import dysta_gym
from dysta_gym import figures
from dysta_gym.files import replacing
from dysta_gym.timeline.picture import gantt

POLICIES = ("fcfs", "dysta", "evolved")
STEPS = 700
"""Layers after which the environment is drawn."""


def timeline() -> None:
    """What ``dysta-gym show --load 1.2 --requests 60 --seed 1`` draws for `POLICIES`."""
    scenario = dysta_gym.load_scenario("multi-attnn").varied(load=1.2, requests=60)
    workload = dysta_gym.generate(scenario, 1, split="test")
    schedules = {name: dysta_gym.simulate(workload, name, record=True) for name in POLICIES}
    title = "multi-attnn: load 1.2, SLO x 10, 60 requests, seed 1"
    figures.draw(lambda: gantt(schedules, title), FOLDER / "timeline.png")


def frame() -> None:
    """What the environment shows amid an episode."""
    env = gym.make("SparseMultiDNN-v0", load=1.3, requests=100, render_mode="rgb_array")
    env.reset(seed=1)
    for _ in range(STEPS):
        env.step(env.unwrapped.action_of("dysta"))  # type: ignore[attr-defined]
    with replacing(FOLDER / "frame.png") as scratch:
        Image.fromarray(env.render()).save(scratch, optimize=True)


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/seeing")
    timeline()
    frame()
