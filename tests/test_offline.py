"""Nothing is fetched at run time: with every connection refused, all goes as it always does."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SITE = """
import os
import socket
import sys

EVENTS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}

def refuse(event, arguments):
    if event not in EVENTS:
        return
    if isinstance(arguments[0], socket.socket) and arguments[0].family == socket.AF_UNIX:
        return  # no network, but processes of one machine
    with open(os.environ["TRIED"], "a") as file:
        file.write(f"{event} {arguments[1:]}\\n")
    raise RuntimeError(f"{event} is refused")

sys.addaudithook(refuse)
"""
"""A module that Python runs first in each process, also in those that are started by others."""

PLAYED = """
import gymnasium as gym
import numpy as np
import dysta_gym

env = gym.make("SparseMultiDNN-v0", requests=5, render_mode="rgb_array")
env.reset(seed=0)
while not env.step(0)[2]:
    env.render()
envs = gym.make_vec("SparseMultiDNN-v0", num_envs=4, requests=5)
envs.reset(seed=0)
envs.step(np.zeros(4, np.int64))
"""
TRAINED = """
from dysta_gym.agents import SparseMultiDNNVecEnv
from sb3_contrib import MaskablePPO

env = SparseMultiDNNVecEnv(2, requests=20, slots=8, decisions="events")
model = MaskablePPO("MlpPolicy", env, n_steps=8, batch_size=16, device="cpu")
model.learn(16)
model.save("model.zip")
"""
COMMAND = Path(sysconfig.get_path("scripts")) / "dysta-gym"
MAIN = [COMMAND, "compare", "--seeds", "2", "--requests", "50", "--out", "results"]
"""The main job of ``make run``, with fewer requests, and a report beside it."""


@pytest.fixture
def offline(tmp_path):
    """``offline(*command)``: run it where nothing can be reached; what was tried all the same."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    (tmp_path / "run").mkdir()
    tried = tmp_path / "tried"

    def offline(*command):
        done = subprocess.run(
            command, cwd=tmp_path / "run", capture_output=True, text=True, timeout=300,
            env={
                **os.environ, "PYTHONPATH": str(tmp_path / "site"), "TRIED": str(tried),
                "OMP_NUM_THREADS": "1",
            },
        )  # fmt: skip
        return done, tried.read_text().splitlines() if tried.exists() else []

    return offline


def test_the_main_job_and_what_goes_with_it(offline, tmp_path):
    for command in (
        [*MAIN, "--report", "results/report.html"],
        [COMMAND, "show", "--requests", "20", "--out", "shown"],
        [COMMAND, "traces"],
        [COMMAND, "reproduce", "figure2", "--out", "figures"],
        [sys.executable, "-c", PLAYED],
    ):
        done, tried = offline(*command)
        assert (done.returncode, tried) == (0, []), done.stderr
    assert (tmp_path / "run" / "results" / "results.csv").stat().st_size > 1000


def test_training_and_judging_a_model(offline):
    pytest.importorskip("sb3_contrib")
    few = ["--scenario", "multi-attnn", "--seeds", "1", "--requests", "20"]
    for command in (
        [sys.executable, "-c", TRAINED],
        [COMMAND, "compare", *few, "--policy", "dysta", "--policy", "model.zip"],
    ):
        done, tried = offline(*command)
        assert (done.returncode, tried) == (0, []), done.stderr


def test_what_is_tried_is_noticed(offline):
    """Also where the error is taken for a network that is down, and by a process of a process."""
    code = """
import socket, subprocess, sys
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
except Exception:
    pass
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "again"], check=True)
"""
    done, tried = offline(sys.executable, "-c", f"import runpy, pathlib\npathlib.Path('try.py')"
                          f".write_text({json.dumps(code)})\nrunpy.run_path('try.py')")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(tried) == 2 and all(line.startswith("socket.") for line in tried)
