"""Packages that plug in, sound and broken, as the installed command meets them."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from dysta_gym import Trace, shipped_scenarios, shipped_traces
from dysta_gym.traces import trace_names

MODULE = """
import typer
from dysta_gym import Feature, Policy, Reward

def score(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.remaining[i]

MINE = Policy("mine", score, summary="least R")
THEIRS = Policy("theirs", score, summary="least R")
NUMBER = 5

def hello(name: str = "you") -> None:
    "Greet."
    typer.echo(f"hello, {name}")

def odd(what: int | str) -> None:
    "Takes what no command line can give."

def read(path):
    return MINE

def _age(queue, i, whole):
    return (whole.now - queue.arrival[i]) / whole.unit

def _steps(accrued, queue, memory):
    return -1.0

AGE = Feature("aged", "time since arrival, in units", _age, 0, 99)
STEPS = Reward("steps", "minus the number of steps", _steps)
"""

SOUND = {
    "dysta_gym.policies": {"mine": "sound:MINE"},
    "dysta_gym.policy_files": {"rule": "sound:read"},
    "dysta_gym.commands": {"hello": "sound:hello"},
    "dysta_gym.features": {"aged": "sound:AGE", "wrong": "sound:NUMBER", "gone": "nowhere:AGE"},
    "dysta_gym.rewards": {"steps": "sound:STEPS", "wrong": "sound:NUMBER"},
}


def install(folder, package, groups):
    """Make a package known as an installer does."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def shell(tmp_path):
    """``shell(*arguments)``: the command beside the packages in ``tmp_path``: output and errors."""
    (tmp_path / "sound.py").write_text(MODULE)

    def shell(*arguments, status=0):
        done = subprocess.run(
            [Path(sysconfig.get_path("scripts")) / "dysta-gym", *arguments],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout, done.stderr.splitlines()

    return shell


def listed(output):
    return {each["name"]: each["summary"] for each in json.loads(output)}


def test_a_package_plugs_in(tmp_path, shell):
    install(tmp_path, "a-sound-one", SOUND)
    assert shell("hello", "--name", "there") == ("hello, there\n", [])
    assert "Greet." in shell("-h")[0]
    output, errors = shell("policies", "--json")
    assert listed(output)["mine"] == "least R" and not errors
    few = ("--scenario", "multi-attnn", "--requests", "20", "--seeds", "1")
    output, _ = shell("compare", *few, "--policy", "mine", "--policy", "some.rule")
    assert "│ mine" in output and "│ some.rule" in output


def test_what_is_broken_costs_a_line_and_nothing_else(tmp_path, shell):
    install(tmp_path, "a-sound-one", SOUND)
    install(
        tmp_path,
        "a-bad-one",
        {
            "dysta_gym.policies": {
                "gone": "no_such_module:RULE",
                "absent": "sound:NOTHING",
                "number": "sound:NUMBER",
            },
            "dysta_gym.policy_files": {"bad": "no_such_module:read"},
            "dysta_gym.commands": {"quit": "quits:command", "odd": "sound:odd"},
        },
    )
    (tmp_path / "quits.py").write_text("raise SystemExit('on\\nimport')\n")
    _, commands = shell("traces")
    assert len(commands) == 2
    for line, words in zip(
        commands, [("'quit'", "SystemExit: on import"), ("'odd'", "no command")], strict=True
    ):
        assert line.startswith("dysta-gym: warning: dysta_gym.commands: ")
        assert "package 'a-bad-one'" in line and all(word in line for word in words)
    assert shell("hello") == ("hello, you\n", commands)

    output, errors = shell("policies", "--json")
    assert {"mine", "dysta", "evolved"} <= set(listed(output))
    assert not {"gone", "absent", "number"} & set(listed(output))
    assert errors[:2] == commands and len(errors) == 5
    for line, words in zip(
        errors[2:],
        [("'absent'", "NOTHING"), ("'gone'", "no_such_module"), ("'number'", "int", "Policy")],
        strict=True,
    ):
        assert "package 'a-bad-one'" in line and all(word in line for word in words)

    for name in ("gone", "some.bad"):  # asked for by name, it is an error
        _, errors = shell("compare", "--policy", name, status=2)
        assert errors[2].startswith("dysta-gym: error: dysta_gym.polic") and len(errors) == 3
        assert "ModuleNotFoundError" in errors[2] and "package 'a-bad-one'" in errors[2]


def test_of_two_that_share_a_name_ours_or_the_first_is_used(tmp_path, shell):
    clash = {
        "dysta_gym.policies": {"sjf": "sound:THEIRS", "mine": "sound:THEIRS"},
        "dysta_gym.commands": {"compare": "sound:hello", "train": "sound:hello"},
    }
    install(tmp_path, "another", clash)
    install(tmp_path, "zoo", {"dysta_gym.policies": {"mine": "sound:MINE"}})
    output, errors = shell("policies", "--json")
    rules = {each["name"]: each["alias_of"] for each in json.loads(output)}
    assert rules["sjf"] is None and rules["mine"] == "theirs@static"
    assert len(errors) == 4
    for line, words in zip(
        errors,
        [
            ("'train'", "'dysta-gym' and 'another'", "'dysta-gym' is used"),
            ("'compare'", "'another'", "dysta-gym has"),
            ("'sjf'", "'dysta-gym' and 'another'", "'dysta-gym' is used"),
            ("'mine'", "'another' and 'zoo'", "'another' is used"),
        ],
        strict=True,
    ):
        assert line.startswith("dysta-gym: warning: ") and all(word in line for word in words)
    assert "--scenario" in shell("compare", "-h")[0]


def test_features_and_rewards_plug_in(tmp_path, shell):
    install(tmp_path, "sound", SOUND)
    program = """
import gymnasium as gym
import dysta_gym

usual = {"reward": "steps", "features": ["aged", "size"], "slots": 3, "requests": 10}
env = gym.make("SparseMultiDNN-v0", **usual)
envs = gym.make_vec("SparseMultiDNN-v0", 2, **usual)
observation, _ = env.reset(seed=0)
assert observation.shape == (6,) and envs.reset(seed=0)[0].tolist()[0] == observation.tolist()
total, steps, ended = 0.0, 0, False
while not ended:
    observation, reward, ended, _, _ = env.step(0)
    total, steps = total + reward, steps + 1
assert total == -steps
again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
assert again.observation_space == env.observation_space
for wrong, words in (
    ({"features": ["wrong"]}, ["features", "'wrong'", "sound", "int", "Feature"]),
    ({"features": ["gone"]}, ["features", "'gone'", "nowhere", "sound"]),
    ({"features": ["none"]}, ["features", "'none'", "aged", "slack"]),
    ({"reward": "wrong"}, ["reward", "'wrong'", "sound", "int", "Reward"]),
    ({"reward": "none"}, ["reward", "'none'", "steps", "objective"]),
):
    try:
        gym.make("SparseMultiDNN-v0", **wrong)
    except dysta_gym.DystaError as error:
        assert all(word in str(error) for word in words), error
        assert len(str(error).splitlines()) == 1
    else:
        raise AssertionError(wrong)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


SCENARIO = "name: {}\naccelerator: {}\ntraces: {{{}: 1}}\nload: 0.5\nrequests: 20\n"


def test_scenarios_and_traces_plug_in(tmp_path, shell):
    for name in ("net", "nowhere", "mpnet"):  # of an accelerator that there is no model of
        Trace(
            name=name, model=name, pattern="dense", accelerator="a chip",
            latency_s=np.array([[0.1, 0.2], [0.3, 0.1]]), sparsity=np.full((2, 2), 0.5),
            train=np.array([True, False]), sample_ids=np.arange(2), layer_names=("a", "b"),
        ).save(tmp_path / f"{name}.npz")  # fmt: skip
    (tmp_path / "whole.npz").write_bytes(shipped_traces()["minilm"].read_bytes())
    for name, accelerator, trace in (
        ("mix", "a chip", "net"),
        ("all", "sanger", "whole_whole"),
        ("odd", "a chip", "minilm"),
        ("lost", "a chip", "gone"),
        ("multi-cnn", "sanger", "minilm"),
    ):
        (tmp_path / f"{name}.yaml").write_text(SCENARIO.format(name, accelerator, trace))
    (tmp_path / "named.yaml").write_text(SCENARIO.format("otherwise", "sanger", "minilm"))
    names = ["mix", "all", "odd", "lost", "named", "multi-cnn"]
    (tmp_path / "filed.py").write_text(
        "from pathlib import Path\n"
        "HERE = Path(__file__).parent\n"
        "NET, MPNET, WHOLE = HERE / 'net.npz', HERE / 'mpnet.npz', str(HERE / 'whole.npz')\n"
        "GONE, NUMBER = HERE / 'gone.npz', 5\n"
        + "".join(f"{name.replace('-', '')} = HERE / '{name}.yaml'\n" for name in names)
    )
    traces = {"net": "NET", "mpnet": "MPNET", "whole": "WHOLE", "gone": "GONE", "number": "NUMBER",
              "other": "NET", "absent": "NOTHING"}  # fmt: skip
    scenarios = {name: f"filed:{name.replace('-', '')}" for name in names}
    install(
        tmp_path,
        "filed",
        {
            "dysta_gym.traces": {name: f"filed:{value}" for name, value in traces.items()},
            "dysta_gym.scenarios": {**scenarios, "nobody": "no_such_module:NAME"},
        },
    )
    output, errors = shell("traces", "--json")
    listed = {each["name"]: each for each in json.loads(output)}
    assert [*listed][:-2] == list(trace_names()) and [*listed][-2:] == ["net", "whole"]
    assert listed["net"]["accelerator"] == "a chip"
    for line, words in zip(
        sorted(errors),
        [("'absent'", "NOTHING"), ("'mpnet'", "not used"), ("gone.npz", "does not exist"),
         ("'number'", "int", "path"), ("'other'", "net.npz", "called other.npz")],
        strict=True,
    ):  # fmt: skip
        assert "warning" in line and all(word in line for word in words), line
    output, errors = shell("scenarios", "--json")
    assert [each["name"] for each in json.loads(output)] == [*shipped_scenarios(), "mix", "all"]
    found = [word for line in errors for word in ("multi-cnn", "odd", "lost", "named", "nobody")
             if f"'{word}'" in line or f"{word}.yaml" in line]  # fmt: skip
    assert sorted(found) == ["lost", "multi-cnn", "named", "nobody", "odd"] and len(errors) == 5
    output, errors = shell("compare", "--scenario", "mix", "--scenario", "all", "--seeds", "1",
                           "--policy", "fcfs")  # fmt: skip
    assert "mix: load 0.5" in output and "all: load 0.5" in output and not errors
    _, errors = shell("compare", "--scenario", "odd", status=2)
    assert len(errors) == 1 and "'minilm' was measured on 'sanger'" in errors[0]
    _, errors = shell("compare", "--scenario", "nobody", status=2)
    assert len(errors) == 1 and "package 'filed'" in errors[0]


def test_accelerators_plug_in(tmp_path):
    (tmp_path / "chip.py").write_text(
        "from dysta_gym import Accelerator, Parameter\n"
        "def cost(operation, parameters):\n"
        "    return operation.macs / parameters['rate']\n"
        "CHIP = Accelerator('chip', cost, ('attention', 'dense', 'convolution'),\n"
        "                   parameters={'rate': Parameter(1e9, 'MACs a second', 1)})\n"
        "NUMBER = 5\n"
    )
    entries = {"chip": "chip:CHIP", "odd": "chip:NUMBER"}
    install(tmp_path, "a-chip", {"dysta_gym.accelerators": entries})
    program = """
import dysta_gym
fields = {"name": "n", "load": 0.5, "traces": {"minilm": 1, "vgg16_dense": 2}}
chip = {"model": "chip", "rate": 2e9}
store = dysta_gym.load_scenario(fields | {"accelerator": chip}).store()
plain = dysta_gym.load_scenario(fields | {"accelerator": "chip"}).store()
assert store.accelerator == "chip"
assert (store.latency_s == plain.latency_s / 2).all()
try:
    dysta_gym.load_scenario(fields | {"accelerator": "odd"})
except dysta_gym.DystaError as error:
    assert "'odd'" in str(error) and "int" in str(error) and "Accelerator" in str(error), error
else:
    raise AssertionError
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
