"""A little of everything, for other systems and versions than all tests are run on.

It needs nothing but the installed package: ``python tests/smoke.py``.
"""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np

import dysta_gym

ID = "SparseMultiDNN-v0"
SMALL = {"requests": 20, "slots": 8}


def run(*arguments, status=0):
    """What the command prints and what it says on standard error."""
    suffix = ".exe" if sys.platform == "win32" else ""
    command = Path(sysconfig.get_path("scripts"), f"dysta-gym{suffix}")
    done = subprocess.run(
        [command, *arguments], capture_output=True, encoding="utf-8", errors="replace"
    )
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


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


def spawned():
    """Worker processes that begin anew, as those of macOS and Windows do, find the environment."""
    envs = gym.vector.AsyncVectorEnv([made] * 2, context="spawn")
    seen, _ = envs.reset(seed=0)
    envs.close()
    alone, _ = made().reset(seed=0)
    assert seen[0].tolist() == alone.tolist()


def made():
    """What a worker makes."""
    return gym.make(f"dysta_gym:{ID}", **SMALL)


def compared():
    """The command line says what it can do, and writes a table, its numbers and its picture."""
    run("compare", "--help")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["compare", "--seeds", "1", "--requests", "50", "--out", folder]
        for _ in range(2):  # files that are there are replaced
            run(*arguments)
        assert {path.suffix for path in Path(folder).iterdir()} == {".csv", ".json", ".md", ".png"}
        assert b"\r" not in Path(folder, "results.csv").read_bytes()


def seen():
    """An environment is drawn, and a workload shown in pictures and files."""
    env = gym.make(ID, render_mode="rgb_array", **SMALL)
    env.reset(seed=0)
    env.step(0)
    assert len(np.unique(env.render().reshape(-1, 3), axis=0)) > 20
    with tempfile.TemporaryDirectory() as folder:
        run("show", "--requests", "20", "--out", folder)
        assert {path.suffix for path in Path(folder).iterdir()} == {".csv", ".json", ".md", ".png"}


def found():
    """A rule in a file runs by its path, and what is installed says which version it is."""
    version = importlib.metadata.version("dysta-gym")
    assert dysta_gym.__version__ == version
    assert run("--version")[0] == f"dysta-gym {version}\n"
    with tempfile.TemporaryDirectory() as folder:
        rule = Path(folder, "rules.py").absolute()  # on Windows, a colon follows the drive
        rule.write_text(RULE, encoding="utf-8")
        few = ["--scenario", "multi-attnn", "--seeds", "1", "--requests", "20", "--no-bounds"]
        policies = ["--policy", "fcfs", "--policy", f"{rule}:LATEST@static"]
        table = json.loads(run("compare", *few, *policies, "--json")[0])
        assert [row["policy"] for row in table] == policies[1::2]


RULE = """
from dysta_gym import Policy

def latest(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = -queue.arrival[i]

LATEST = Policy("latest", latest)
"""


def refused():
    """What needs an extra that is not installed says so in a line."""
    for command, library, extra in (
        (["train", "evolved"], "stable_baselines3", "agents"),
        (["profile", "mpnet"], "torch", "profile"),
    ):
        if importlib.util.find_spec(library):
            continue
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder, "out"))
            _, errors = run(*command, "--out", out, status=2)
        (line,) = errors.splitlines()
        assert f'pip install "dysta-gym[{extra}]"' in line


if __name__ == "__main__":
    for part in (simulated, stepped, spawned, compared, seen, found, refused):
        print(f"{part.__name__}: {part.__doc__}", file=sys.stderr)
        part()
