"""Memory: an episode leaves nothing behind."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc, os, sys
import gymnasium as gym
import numpy as np
import dysta_gym

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

many = sys.argv[1] == "many"
settings = {"requests": 50, "decisions": "events"}
if many:
    env = gym.make_vec("SparseMultiDNN-v0", num_envs=8, **settings)
    actions = np.zeros(8, np.int64)
else:
    env = gym.make("SparseMultiDNN-v0", **settings)

def play(episodes):
    ended = 0
    observation, _ = env.reset()
    while ended < episodes:
        _, _, terminated, _, _ = env.step(actions if many else 0)
        ended += np.sum(terminated)
        if terminated is True:
            env.reset()

env.reset(seed=0)
play(300)
before = resident()
play(1500)
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it asks Linux what is in memory")
@pytest.mark.parametrize("which", ["one", "many"])
def test_episodes_leave_nothing_behind(which):
    """Of 1,500 episodes, of which a workload alone takes some kilobytes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, which], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1500 * 1000
