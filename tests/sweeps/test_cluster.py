"""Sweeps and training on a Ray cluster of three nodes, of which one is killed amid the work."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from dysta_gym import DystaError
from dysta_gym.sweeps import frames, opened, sweep

pytest.importorskip("ray")

SCRIPT = Path(__file__).with_name("cluster.py")
LONG = pytest.mark.skipif(
    not os.environ.get("DYSTA_GYM_TEST_CLUSTER"),
    reason="DYSTA_GYM_TEST_CLUSTER is not set; it takes a minute",
)

RULE = """
from weights_of_mine import WEIGHT
def score(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = WEIGHT * queue.remaining[i]
"""

RAISING = """
def score(queue, size, now, parameters, scores):
    if now > 0.1:
        raise ValueError('now')
    for i in range(size):
        scores[i] = queue.remaining[i]
"""


@pytest.fixture
def parts(tmp_path, ray_place):
    """``parts(*names)``: what parts of cluster.py print, and the folder that they worked in."""
    (tmp_path / "mine.py").write_text(RULE)
    (tmp_path / "raising.py").write_text(RAISING)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "weights_of_mine.py").write_text("WEIGHT = 2.0")

    def run(*names):
        done = subprocess.run(
            [sys.executable, SCRIPT, tmp_path, *names],
            cwd=tmp_path, capture_output=True, text=True, timeout=280,
            env={**ray_place, "TMPDIR": str(temporary)},
        )  # fmt: skip
        assert not list(temporary.glob("dysta-gym-*"))
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return {key: value for line in lines for key, value in json.loads(line).items()}

    return run


def test_a_sweep_whose_node_dies_keeps_what_one_process_keeps(parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count, told = parts("sweep")["sweep"]
    assert count == 400
    assert told == "policy 'raising.py': its rule raises an error (ValueError: now)"
    grid = json.loads((tmp_path / "grid.json").read_text())
    sweep(grid, "here", jobs=1)
    tables = []
    for folder in ("ray", "here"):
        with opened(folder) as store:
            tables.append(pd.concat(list(frames([store])), ignore_index=True))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_a_sweep_on_ray_ends_at_once(tmp_path, command, ended, ray_place, number):
    """While Ray starts, whose own code loses interrupts (SIGINT), and while cells come (SIGTERM).

    They are sent to the whole group, to which processes of Ray's would belong.
    """
    (tmp_path / "grid.yaml").write_text(
        "{scenarios: [multi-attnn], policies: [fcfs], requests: 500, seeds: {count: 9999}}"
    )
    (tmp_path / "temporary").mkdir()
    ray_place["TMPDIR"] = str(tmp_path / "temporary")
    process = command(
        "sweep", "grid.yaml", "--out", "out", "--ray", "local", cwd=tmp_path, env=ray_place
    )
    place = Path(ray_place["RAY_TMPDIR"])
    while not list(place.glob("ray/session_2*/sockets")) or (
        number == signal.SIGTERM and not kept(tmp_path / "out")
    ):
        assert process.poll() is None
        time.sleep(0.02)
    said = [line for line in ended(process, number) if line.startswith("dysta-gym: ")]
    assert len(said) == 1 and "9999 cells are in out; the same command goes on" in said[0]
    assert not list((tmp_path / "temporary").glob("dysta-gym-*"))
    until = time.monotonic() + 5  # Ray's agents would stay for a minute
    while left := processes(place):
        assert time.monotonic() < until, left
        time.sleep(0.1)


def kept(folder):
    with contextlib.suppress(DystaError), opened(folder) as store:
        return store.count()


def processes(place):
    """Processes that know a folder by their environment."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(each.name) != os.getpid() and str(place).encode() in (
                (each / "environ").read_bytes()
            ):
                found.append((each / "cmdline").read_bytes())
    return [each for each in found if each]


def test_an_address_where_no_cluster_is_is_an_error(tmp_path, command, refused, ray_place):
    grid = {"scenarios": ["multi-attnn"], "policies": ["fcfs"], "requests": 50}
    for address in ("127.0.0.1:1", "nowhere.invalid:1234"):
        with refused("ray", repr(address), "give the address that `ray start` printed"):
            sweep(grid, tmp_path / "out", ray=address)
    (tmp_path / "grid.yaml").write_text(json.dumps(grid))
    start = "from dysta_gym.sweeps import cluster; cluster.ANSWERED_S = 2; "
    with socket.create_server(("127.0.0.1", 0)) as server:  # which says nothing
        address = f"127.0.0.1:{server.getsockname()[1]}"
        process = command(
            "sweep", "grid.yaml", "--out", "out", "--ray", address,
            start=start + "from dysta_gym_start import main; main()", cwd=tmp_path, env=ray_place,
        )  # fmt: skip
        _, said = process.communicate(timeout=40)
    assert process.returncode == 2
    assert f"ray: '{address}' is no cluster that can be worked on (no answer in 2 s)" in said


@LONG
@pytest.mark.parametrize("part", ["rllib", "tune"])
def test_a_training_whose_node_dies_goes_on(parts, part):
    for package in ("torch", "tree", "lz4", "ormsgpack", "tensorboardX"):
        pytest.importorskip(package)
    found = parts(part)[part]
    if part == "tune":
        assert found["begun"] == 4  # three, and the one whose node died
        assert len(found["resumed"]) == 1 and found["resumed"][0] > 0  # from its state
    else:  # trained on while a runner was gone, and with it when it was back
        assert found[0] == 0 and found[-1] >= 1 and len(found) == 6
