"""A little of everything, for an environment with other versions than the tests are run with.

It needs nothing but the installed package: ``python tests/smoke.py``.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np

import dysta_gym

ID = "SparseMultiDNN-v0"
SMALL = {"requests": 20, "slots": 8}


def simulated():
    """A rule decides alike in its loop and one decision at a time, and better than none."""
    scenario = dysta_gym.load_scenario("multi-attnn").model_copy(update={"requests": 100})
    workload = dysta_gym.generate(scenario, 0)
    dysta = dysta_gym.simulate(workload, "dysta")
    policy = dysta_gym.find("dysta")
    machine = dysta_gym.Machine(workload, policy.level)
    while not machine.done:
        machine.step(machine.choose(policy))
    assert machine.schedule().finish_s.tolist() == dysta.finish_s.tolist()
    one, other = (
        dysta_gym.measure(each)["antt"] for each in (dysta, dysta_gym.simulate(workload, "fcfs"))
    )
    assert one < other


def stepped():
    """Many environments are as many single ones."""
    count = 128  # so many share a step among threads
    envs = gym.make_vec(ID, num_envs=count, vectorization_mode="vector_entry_point", **SMALL)
    env = gym.make(ID, **SMALL)
    seen, _ = envs.reset(seed=0)
    alone, _ = env.reset(seed=0)
    ended = False
    while not ended:
        assert seen[0].tolist() == alone.tolist()
        seen, rewards, *_ = envs.step(np.zeros(count, np.int64))
        alone, reward, ended, *_ = env.step(0)
        assert reward == rewards[0]
    envs.close()


def compared():
    """The command line says what it can do, and writes a table, its numbers and its picture."""
    command = Path(sys.executable).with_name("dysta-gym")
    subprocess.run([command, "compare", "--help"], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["compare", "--seeds", "1", "--requests", "50", "--out", folder]
        subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)
        assert {path.suffix for path in Path(folder).iterdir()} == {".csv", ".md", ".png"}


def seen():
    """An environment is drawn, and a workload shown in pictures and files."""
    env = gym.make(ID, render_mode="rgb_array", **SMALL)
    env.reset(seed=0)
    env.step(0)
    assert len(np.unique(env.render().reshape(-1, 3), axis=0)) > 20
    command = Path(sys.executable).with_name("dysta-gym")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["show", "--requests", "20", "--out", folder]
        subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)
        assert {path.suffix for path in Path(folder).iterdir()} == {".csv", ".json", ".md", ".png"}


if __name__ == "__main__":
    for part in (simulated, stepped, compared, seen):
        print(f"{part.__name__}: {part.__doc__}", file=sys.stderr)
        part()
