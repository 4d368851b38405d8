"""Sweeps: what is kept is what `compare` gives, however it was interrupted, spread and merged."""

import contextlib
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import sqlite3
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dysta_gym import DystaError, compare, load_scenario, shipped_trace, shipped_traces
from dysta_gym.agents.checkpoints import shipped
from dysta_gym.companions import origin_of
from dysta_gym.files import packaged
from dysta_gym.plugins import entries
from dysta_gym.signals import ENDING
from dysta_gym.sweeps import frames, load_sweep, opened, sweep
from dysta_gym.sweeps.code import package_digest
from dysta_gym.sweeps.export import to_parquet
from dysta_gym.sweeps.store import FILE, created
from dysta_gym.sweeps.travelling import carried
from dysta_gym.sweeps.work import TASK_S, TaskQueue, Work

GRID = {
    "scenarios": ["multi-attnn", "arvr-hands"],
    "policies": ["fcfs", "dysta"],
    "loads": [0.8, 1.05],
    "slos": [5.0, 10.0],
    "seeds": {"first": 3, "count": 4},
    "requests": 20,
    "bounds": False,
}

RULE = """
def score(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = {}queue.remaining[i]
"""


def read(*folders):
    stores = [opened(folder) for folder in folders]
    return pd.concat(list(frames(stores)), ignore_index=True)


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """``file(**changes)``: the grid as a file."""
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="module")
def whole():
    """What `compare` gives of the grid."""
    return compare(
        GRID["scenarios"], GRID["policies"], loads=GRID["loads"], slos=GRID["slos"],
        seeds=range(3, 7), requests=20, bounds=False,
    )  # fmt: skip


def test_it_keeps_what_compare_gives(file, whole):
    seen = []
    sweep(file(), "one", jobs=1, progress=lambda *counts: seen.append(counts))
    assert seen[0] == (0, 32) and seen[-1] == (32, 32) and seen == sorted(seen)
    pd.testing.assert_frame_equal(read("one"), whole, check_exact=True)
    sweep(file(), "one", jobs=1, progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (32, 32) and seen.count((32, 32)) == 2  # none is done twice


def test_processes_and_shards_give_the_same(file, whole):
    for part in ("2/3", "1/3", "3/3"):
        sweep(file(), part[0], jobs=1, shard=part)
        assert len(read(part[0])) < len(whole)
    sweep(file(), "two", jobs=2)
    pd.testing.assert_frame_equal(read("two"), whole, check_exact=True)
    pd.testing.assert_frame_equal(read("2", "1", "3"), whole, check_exact=True)
    pd.testing.assert_frame_equal(read("2", "two"), whole, check_exact=True)


def test_any_field_of_a_scenario_varies(file):
    varied = {
        "queue_limit": [None, 2],
        "decision_cost.fixed_s": [0, 0.01],
        "arrivals": {"even": {"process": "poisson"}, "bursts": {"process": "mmpp"}},
    }
    path = file(scenarios=["multi-attnn"], slos=[], loads=[], vary=varied, bounds=True)
    sweep(path, "out", jobs=1)
    frame = read("out")
    assert len(frame) == 8 * 4 * 2
    assert set(frame["queue_limit"]) == {"none", "2"} and set(frame["arrivals"]) == {
        "even",
        "bursts",
    }
    means = frame[frame["policy"] == "dysta"].groupby("decision_cost.fixed_s")["antt"].mean()
    assert means["0.01"] > means["0"]
    own = load_sweep(path)[0].grid().cell(4 * 7).scenario
    assert own.name == "multi-attnn:queue_limit=2,decision_cost.fixed_s=0.01,arrivals=bursts"
    assert (own.queue_limit, own.decision_cost.fixed_s) == (2, 0.01)


def test_parts_of_a_field_are_those_of_what_it_became(file, refused):
    wide, whole = {"accelerator.bandwidth": [1e10, 8e10]}, {"accelerator": ["ideal"]}
    few = {"scenarios": ["multi-attnn"], "loads": [], "slos": []}
    for vary in ({**wide, **whole}, {**whole, **wide}):
        grid = load_sweep(file(**few, vary=vary))[0].grid()
        made = [each.scenario.accelerator for each in grid.conditions]
        assert made == [{"model": "ideal", "bandwidth": each} for each in (1e10, 8e10)]
    burst = {"arrivals.burst": [2], "arrivals": {"bursts": {"process": "mmpp"}}}
    with refused("scenario 'multi-attnn:arrivals.burst=2,arrivals=bursts': key 'arrivals.burst'"):
        sweep(file(**few, vary=burst), "out", jobs=1)
    with refused("vary.arrivals.burst: arrivals of scenario 'multi-attnn' is None", "no fields"):
        sweep(file(**few, vary={**burst, "arrivals": [None]}), "out", jobs=1)


def test_seeds_that_all_give_the_same_are_refused(file, refused, run):
    trace = next(iter(load_scenario("multi-attnn").traces))
    chosen = shipped_trace(trace)
    sample = chosen.sample_ids[chosen.rows("test")[0]]
    rows = "".join(f"{n},{trace},{sample},1\n" for n in range(9))
    Path("rec.csv").write_text("arrival_s,model,sample,priority\n" + rows)
    few = {"scenarios": ["multi-attnn"], "loads": [], "slos": [], "requests": None}
    vary = {"arrivals": {"rec": {"process": "replay", "file": "rec.csv"}}}
    with refused("seeds: 4 workloads of scenario 'multi-attnn:arrivals=rec' would be the same"):
        sweep(file(**few, vary=vary), "out", jobs=1)
    sweep(file(**few, vary=vary, seeds={"count": 1}), "out", jobs=1)


def test_rules_in_files_travel(file, tmp_path):
    (tmp_path / "mine.py").write_text(RULE.format(""))
    path = file(policies=["mine.py", "sjf@static", "mine.py@clairvoyant"])
    sweep(path, "one", jobs=1)
    sweep(path, "two", jobs=2)
    pd.testing.assert_frame_equal(read("one"), read("two"), check_exact=True)
    antt = read("one").pivot(
        index=["scenario", "load", "slo", "seed"], columns="policy", values="antt"
    )
    assert (antt["mine.py"] == antt["sjf@static"]).all()
    assert (antt["mine.py@clairvoyant"] != antt["sjf@static"]).any()


def test_what_a_rule_has_beside_it_travels_and_is_compared(file, refused, tmp_path):
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "mine.py").write_text(
        "import json\nfrom pathlib import Path\nimport helper_of_mine\n"
        "SIGN = json.loads((Path(__file__).parent / 'sign.json').read_text())\n"
        + RULE.format("SIGN * helper_of_mine.weight * ")
    )
    (folder / "helper_of_mine.py").write_text(
        "from weights.chosen import weight as whole\nfrom bare.deep.chosen import half\n"
        "weight = whole * half * 2\n"
    )
    chosen = folder / "bare" / "deep" / "chosen.py"  # in folders without __init__.py
    for each, text in ((folder / "weights" / "chosen.py", "weight = 1.0"), (chosen, "half = 0.5")):
        each.parent.mkdir(parents=True)
        each.write_text(text)
    (folder / "weights" / "__init__.py").write_text("")
    (folder / "sign.json").write_text("1")
    path = file(policies=["rules/mine.py", "sjf@static"])
    sweep(path, "one", jobs=1)
    sweep(path, "two", jobs=2)
    pd.testing.assert_frame_equal(read("one"), read("two"), check_exact=True)
    mine, other = (frame["antt"].to_numpy() for _, frame in read("one").groupby("policy"))
    np.testing.assert_array_equal(mine, other)
    chosen.write_text("half = -0.5")
    with refused("policies: 'bare/deep/chosen.py' beside 'rules/mine.py' is not what it was"):
        sweep(path, "one", jobs=1)
    sweep(path, "three", jobs=1)
    assert (read("three").query("policy != 'sjf@static'")["antt"].to_numpy() != mine).any()


def test_files_under_what_wraps_them_travel_and_are_compared(file, refused, tmp_path, monkeypatch):
    """They start from the sweep's folder, and a policy's name is that one, whatever lies there."""
    monkeypatch.chdir(tmp_path)
    trained, few = shipped("evolved"), ":candidates=2,futures=2,horizon=3"
    scaled = replace(trained, weights=-trained.weights)
    wrapping = "from dysta_gym import find\nPOLICY = find({!r})\n"
    folder = tmp_path / "own"
    folder.mkdir()
    files = [folder / name for name in ("c.npz", "mine.py", "over.py")]
    c, mine, over = files
    policies = [f"rollout-c.npz{few}", "over.py", "fcfs"]
    grid = GRID | {"scenarios": ["multi-attnn"], "slos": [5.0], "seeds": {"count": 2}}
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid | {"policies": policies}))
    for each in ("fcfs", "own/fcfs"):
        (tmp_path / each).write_text("no policy")
    (tmp_path / "mine.py").write_text(RULE.format("-"))  # which nobody means
    scaled.save("c.npz")

    def write():
        trained.save(c)
        mine.write_text(RULE.format(""))
        over.write_text(wrapping.format(str(c)))

    def gone(*_):
        for each in files:
            each.unlink(missing_ok=True)

    write()
    sweep("own/grid.yaml", "out", progress=gone, jobs=1)
    write()
    monkeypatch.chdir(folder)
    sweep("grid.yaml", "../out", jobs=1)  # which is the same
    monkeypatch.chdir(tmp_path)
    named = [f"rollout{few}", "evolved", "fcfs"]  # which they are copies of
    whole = compare(
        ["multi-attnn"], named, loads=GRID["loads"], slos=[5.0], seeds=range(2), requests=20,
        bounds=False,
    )  # fmt: skip
    pd.testing.assert_frame_equal(
        read("out").drop(columns="policy"), whole.drop(columns="policy"), check_exact=True
    )
    with opened("out") as store:
        assert list(store.about["files"]["over.py"]) == ["over.py", "c.npz"]
        assert str(tmp_path) not in json.dumps(store.about)
    scaled.save(c)
    with refused(f"policies: '{policies[0]}', its file or its parameters, is not what it was"):
        sweep("own/grid.yaml", "out", jobs=1)
    asked = grid | {"policies": ["rollout-mine.py"]}  # which takes long to compile
    (folder / "grid.yaml").write_text(yaml.safe_dump(asked))
    with pytest.raises(ZeroDivisionError):
        sweep("own/grid.yaml", "rules", jobs=1, progress=lambda *_: 1 / 0)
    with opened("rules") as store:
        assert store.about["files"]["rollout-mine.py"] == {"mine.py": digest_of(mine)}
    mine.unlink()  # and that of another folder is not meant
    with refused("mine.py': the file cannot be read (No such file or directory)"):
        sweep("own/grid.yaml", "rules", jobs=1)


def test_all_paths_of_a_sweep_start_from_its_folder(file, refused, tmp_path, monkeypatch):
    """Wherever it is called from, and whatever lies there."""
    monkeypatch.chdir(tmp_path)
    own, other = tmp_path / "own", tmp_path / "other"
    for place, gap, name in ((own, 2, "minilm"), (other, 3, "mpnet")):
        (place / "tr").mkdir(parents=True)
        shutil.copy(shipped_traces()[name], place / "tr" / "mine.npz")
        (place / "rec.csv").write_text("arrival_s\n" + "".join(f"{gap * n}\n" for n in range(20)))
    fields = {"name": "inline", "accelerator": "sanger", "traces": {"mine": 1}, "requests": 20}
    recorded = {"process": "replay", "file": "rec.csv"}
    grid = {
        "scenarios": [
            {**fields, "trace_dir": "tr", "arrivals": recorded},
            {**fields, "name": "other", "trace_dir": "no", "load": 0.8, "priorities": [1.0]},
        ],
        "policies": ["fcfs"],
        "vary": {"trace_dir": {"own": "tr"}, "arrivals": {"rec": recorded}},
        "seeds": {"count": 2},
    }
    inline = {**grid, "scenarios": grid["scenarios"][:1], "vary": {"arrivals.file": ["rec.csv"]}}
    for name, each in (("varied", grid), ("inline", inline)):
        (own / f"{name}.yaml").write_text(yaml.safe_dump(each, sort_keys=False))
        told = []
        for place, out in ((other, "a"), (own, "b")):
            monkeypatch.chdir(place)
            sweep(os.path.relpath(own / f"{name}.yaml"), tmp_path / out, jobs=1)
        for out in "ab":
            with opened(tmp_path / out) as store:
                about = dict(store.about)
                about["origin"].pop("date")
                told.append(about)
        assert told[0] == told[1]
        pd.testing.assert_frame_equal(read(tmp_path / "a"), read(tmp_path / "b"), check_exact=True)
        monkeypatch.chdir(own)
        sweep(each, tmp_path / "a", jobs=1)  # in Python, from the folder that one is in
        shutil.rmtree(tmp_path / "a")
        shutil.rmtree(tmp_path / "b")
    monkeypatch.chdir(other)
    (own / "rec.csv").unlink()
    with refused("request file", "own/rec.csv' does not exist"):
        sweep("../own/inline.yaml", "new", jobs=1)


def test_comparing_takes_a_policy_by_its_name(file, run):
    for name in ("fcfs", "ppo", "rollout-sptp"):
        Path(name).write_text("no policy")
    asked = ["compare", "--policy", "fcfs", "--policy", "ppo", "--seeds", "1", "--requests", "9"]
    asked += ["--policy", "rollout-sptp", "--scenario", "multi-attnn", "--no-bounds"]
    assert run(*asked, "--out", "out")[0] == 0


PLUGGED = """
from dysta_gym import Parameter, Policy
from plugged.beside import FACTOR

def score(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.remaining[i] * parameters[0] * FACTOR

MINE = Policy("mine", score, parameters={"share": Parameter(6.0, "a share", 0, 10)})
"""


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    """``plugged(old, new)``: a package of policies, in which something is edited."""
    folder = tmp_path / "package"

    def write(old="", new="", folder=folder):
        info = folder / "plugged-1.0.dist-info"  # as an installer makes it
        (folder / "plugged").mkdir(parents=True, exist_ok=True)
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[dysta_gym.policies]\nmine = plugged:MINE\n")
        (folder / "plugged" / "__init__.py").write_text(PLUGGED.replace(old, new))
        (folder / "plugged" / "beside.py").write_text("FACTOR = 1.0".replace(old, new))
        for name in ("plugged", "plugged.beside"):
            sys.modules.pop(name, None)
        package_digest.cache_clear()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(folder)
    write()
    entries.cache_clear()
    yield write
    entries.cache_clear()
    for name in ("plugged", "plugged.beside"):
        sys.modules.pop(name, None)


def test_a_package_is_compared_by_what_its_files_hold(
    file, refused, plugged, command, tmp_path, monkeypatch
):
    path, seen = file(policies=["mine", "fcfs"]), {"rollout-mine@monitored"}
    sweep(path, "out", jobs=1, shard="1/32")
    for old, new in (("FACTOR = 1.0", "FACTOR = 1.5"), ("Parameter(6.0", "Parameter(6.5")):
        plugged(old, new)
        with refused("policies: 'mine', its package or its parameters, is not what it was"):
            sweep(path, "out", jobs=1, shard="1/32")
        (over,) = carried([("rollout-mine", "rollout-mine")])
        assert over.digest not in seen
        seen.add(over.digest)
    plugged()
    with monkeypatch.context() as edited:
        edited.setattr("dysta_gym.sweeps.running.package_digest", lambda package: "edited")
        with refused("code: the Python files of dysta_gym are '", "there, 'edited' here"):
            sweep(path, "out", jobs=1, shard="1/32")
    plugged(folder=tmp_path / "elsewhere")
    asked = ("sweep", path, "--out", "../out", "--jobs", "2", "--shard", "2/32")
    where = {"PYTHONPATH": str(tmp_path / "elsewhere"), "PYTHONHASHSEED": "5"}
    process = command(*asked, cwd=tmp_path / "elsewhere", env={**os.environ, **where})
    _, said = process.communicate()
    assert process.returncode == 0 and kept("out") == 2, said


def test_what_a_rule_keeps_while_it_runs_makes_it_no_other(file, whole, tmp_path):
    rule = RULE.format("seen.setdefault(i, norm.cdf(0.5)) * ").replace("\ndef", "\nseen = {}\ndef")
    rule = f"from scipy.stats import norm\nfrom dysta_gym import Policy\n{rule}"
    rule += '\nmine = Policy("mine", score, level="monitored", interpreted=True)\n'
    (tmp_path / "mine.py").write_text(rule)
    path = file(policies=["mine.py:mine"])
    for shard in ("1/4", "2/4"):
        sweep(path, "out", jobs=1, shard=shard)
    assert kept("out") == 16


def test_a_folder_without_a_cell_takes_what_is_new(file, run, tmp_path):
    mine, path = tmp_path / "mine.py", file(policies=["mine.py"])
    mine.write_text(RULE.format("nowhere * "))
    status, _, said = run("sweep", path, "--out", "out", "--jobs", "1")
    assert status == 2 and "its rule cannot be compiled" in said and kept("out") == 0
    mine.write_text(RULE.format(""))
    path = file(policies=["mine.py", "fcfs"], seeds={"first": 1, "count": 2})
    assert run("sweep", path, "--out", "out", "--jobs", "1", "--shard", "1/16")[0] == 0
    assert run("sweep", path, "--out", "new", "--jobs", "1", "--shard", "1/16")[0] == 0
    pd.testing.assert_frame_equal(read("out"), read("new"), check_exact=True)
    mine.write_text(RULE.format("-"))
    status, _, said = run("sweep", path, "--out", "out", "--jobs", "1")
    assert status == 2 and "out: 'out' holds other cells: policies: 'mine.py', its file" in said


RAISING = {
    "its rule raises an error (ValueError: now)": RULE.format("").replace(
        "    for", "    if now > 0.1:\n        raise ValueError('now')\n    for"
    ),
    "the file cannot be run, line 3 (RuntimeError: in a worker)": (
        "import multiprocessing\nif multiprocessing.parent_process():\n"
        "    raise RuntimeError('in a worker')\n" + RULE.format("")
    ),
}


@pytest.mark.parametrize("said", RAISING)
def test_a_rule_that_fails_is_told_of_as_one_process_does(file, refused, tmp_path, capfd, said):
    (tmp_path / "mine.py").write_text(RAISING[said])
    path = file(policies=["mine.py"])
    for jobs in (1, 2) if "its rule" in said else (2,):
        with refused(f"mine.py': {said}"):
            sweep(path, "out", jobs=jobs)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": {"first": 3, "count": 2}}, "seeds: they are 3 to 6 there, 3 to 4 here"),
        ({"seeds": {"first": 2, "count": 6}}, "seeds: they are 3 to 6 there, 2 to 7 here"),
        ({"policies": ["dysta", "fcfs"]}, "policies: they are fcfs, dysta there, dysta, fcfs here"),
        ({"policies": ["fcfs", "dysta:beta=0.02"]}, "policies: they are"),
        (
            {"loads": [0.8]},
            "'multi-attnn' at load 1.05 and SLO multiplier 5 only there",
        ),
        (
            {"loads": [0.8, 1.0500000000000003]},
            "conditions: 'multi-attnn' at load 1.0500000000000003 and SLO multiplier 5.0 is only "
            "here, 'multi-attnn' at load 1.05 and SLO multiplier 5.0 only there",
        ),
        ({"split": "train"}, "split: it is 'test' there, 'train' here"),
        ({"bounds": True}, "bounds: it is False there, True here"),
        ({"requests": 21}, "requests: it is 20 there, 21 here, in scenario 'multi-attnn'"),
    ],
)
def test_a_folder_of_another_grid_is_refused(file, refused, changes, said):
    sweep(file(), "out", jobs=1, shard="1/32")
    with refused("out: 'out' holds other cells", said, "give another folder"):
        sweep(file(**changes), "out", jobs=1)


@pytest.mark.parametrize(
    ("offered", "place", "said"),
    [
        ({"loads": [0.8]}, 2, "load 0.8 of 'multi-attnn' was 1.0 requests a second there, and is"),
        ({"loads": [], "rates": [70]}, 1, "rate 70.0 of 'multi-attnn' was load 1.0 there, and is"),
    ],
)
def test_what_traces_make_of_a_load_or_a_rate_is_told(file, refused, offered, place, said):
    path = file(**offered)
    sweep(path, "out", jobs=1, shard="1/16")
    with sqlite3.connect(Path("out", FILE)) as database:
        about = json.loads(database.execute("SELECT content FROM about").fetchone()[0])
        about["conditions"]["rows"][0][place] = 1.0
        database.execute("UPDATE about SET content = ?", (json.dumps(about),))
    database.close()
    with refused("out: 'out' holds other cells: traces or scenario: " + said):
        sweep(path, "out", jobs=1)


def test_an_edited_rule_and_another_version_are_refused(file, refused, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(RULE.format(""))
    path = file(policies=["mine.py"])
    sweep(path, "out", jobs=1, shard="1/32")
    (tmp_path / "mine.py").write_text(RULE.format("-"))
    with refused("policies: 'mine.py', its file or its parameters, is not what it was"):
        sweep(path, "out", jobs=1)
    (tmp_path / "mine.py").write_text(RULE.format(""))
    monkeypatch.setattr("dysta_gym.__version__", "9.9")
    with refused("version: it is", "there, '9.9' here"):
        sweep(path, "out", jobs=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scenario": []}, ["key 'scenario' is unknown", "scenarios"]),
        ({"scenarios": []}, ["scenarios"]),
        ({"scenarios": ["nowhere"]}, ["scenario: 'nowhere' is unknown"]),
        ({"policies": ["nobody"]}, ["nobody"]),
        ({"policies": ["dysta", "dysta"]}, ["'dysta'", "more than once"]),
        ({"loads": [-1.0]}, ["loads.0: -1.0"]),
        ({"loads": [0.8, 0.8]}, ["load", "more than once"]),
        ({"seeds": {"count": 0}}, ["seeds.count: 0"]),
        ({"scenarios": [5]}, ["scenarios.0: 5 is not allowed; it must be a name, a YAML file, or"]),
        ({"scenarios": "a"}, ["scenarios: 'a' is not allowed; it must be a list of scenarios"]),
        ({"vary": {"queue_limit": 16}}, ["vary.queue_limit: 16", "it must be a list of values"]),
        ({"vary": [1]}, ["vary: [1]", "a mapping of fields to lists"]),
        ({"vary": {3: [1]}}, ["vary.3: 3 is not allowed; it must be the name of a field"]),
        ({"seeds": 5}, ["seeds: 5 is not allowed; it must be a mapping, like {first: 0"]),
        ({"seeds": {"count": "x"}}, ["seeds.count: 'x'", "it must be a whole number"]),
        ({"policies": "fcfs"}, ["policies: 'fcfs'", "like [fcfs, dysta]"]),
        ({"vary": {"load": [1]}}, ["yaml': vary.load: it is not allowed; give loads"]),
        ({"vary": {"colour": [1]}}, ["vary.colour: unknown", "queue_limit"]),
        ({"vary": {"queue_limit": []}}, ["vary.queue_limit: there is no value"]),
        ({"vary": {"queue_limit": [-1]}}, ["queue_limit: -1"]),
        ({"vary": {"speed.inner": [1]}}, ["vary.speed.inner", "has no fields"]),
        ({"requests": 0}, ["requests: 0"]),
        ({"bounds": "no"}, ["bounds: 'no'"]),
    ],
)
def test_what_is_wrong_in_a_file_is_named(file, refused, changes, words):
    with refused(*words):
        sweep(file(**changes), "out", jobs=1)
    assert not Path("out").exists()


def test_a_sweep_grows_by_seeds(file, whole):
    sweep(file(seeds={"first": 3, "count": 1}), "out", jobs=1)
    sweep(file(seeds={"first": 3, "count": 3}), "out", jobs=1, shard="2/5")
    first = {tuple(row) for row in read("out")[["scenario", "load", "slo", "seed"]].to_numpy()}
    with opened("out") as store, store.snapshot():
        there, seeds = store.done(), store.seeds
        seen = []
        sweep(file(), "out", jobs=1, progress=lambda done, total: seen.append(done))
        assert store.seeds == seeds and len(store.done()) == 24  # as it was
    assert seen[0] == there.sum() == len(first) < 24
    pd.testing.assert_frame_equal(read("out"), whole, check_exact=True)


def test_shards_of_a_sweep_that_grows_are_merged_once_all_have_grown(file, refused, whole):
    few, seen = {"seeds": {"first": 3, "count": 2}}, []
    for part in ("1/2", "2/2"):
        sweep(file(**few), part[0], jobs=1, shard=part)
    sweep(file(), "1", jobs=1, shard="1/2", progress=lambda done, _: seen.append(done))
    assert (seen[0], seen[-1], kept("1")) == (8, 16, 16)  # all that it had done counts
    for folders in (("1", "2"), ("2", "1")):
        with refused("of another sweep: seeds: they are 3 to", "give the sweep of '2' the same"):
            read(*folders)
    sweep(file(), "2", jobs=1, shard="2/2")
    pd.testing.assert_frame_equal(read("2", "1"), whole, check_exact=True)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/2/3", (1, 0)])
def test_a_shard_is_one_of_some(file, refused, shard):
    with refused("shard", "K/N"):
        sweep(file(), "out", shard=shard)


def test_only_one_writes(file, refused):
    sweep(file(), "out", jobs=1, shard="1/2")
    lock = sqlite3.connect("out/writer.sqlite", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with refused("another process writes to 'out'"):
        sweep(file(), "out", jobs=1)
    assert len(read("out")) == 32  # others read
    lock.close()
    sweep(file(), "out", jobs=1)


def test_a_foreign_file_and_no_folder_are_named(file, refused, run):
    Path("out").mkdir()
    Path("out/writer.sqlite").write_text("mine" * 100)
    with refused("out: 'out/writer.sqlite' is not one of ours", "remove it"):
        sweep(file(), "out", jobs=1)
    with refused("out: '' is not allowed; it must be a folder"):
        sweep(file(), "", jobs=1)
    for command in (["sweep", "grid.yaml"], ["compare", "--seeds", "1"]):
        status, _, said = run(*command, "--out", "")
        assert status == 2 and "out: '' is not allowed; it must be a folder" in said


# --- killed, interrupted, without room -----------------------------------------------------------


SAID = "dysta-gym: interrupted; {} of {} cells are in out; the same command goes on from there"


def kept(folder):
    try:
        with opened(folder) as store:
            return store.count()
    except Exception:
        return 0


@pytest.mark.parametrize(("jobs", "kills"), [(1, 4), (2, 2)])
def test_killed_at_any_moment_it_goes_on(file, command, jobs, kills):
    many = {"seeds": {"count": 100}, "requests": 60, "slos": [5.0]}
    path = file(**many)
    rng = random.Random(jobs)
    for _ in range(kills):
        before = kept("out")
        process = command("sweep", path, "--out", "out", "--jobs", jobs)
        while process.poll() is None and kept("out") == before:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert kept("out") > before or before == 400
    sweep(path, "out", jobs=2)
    sweep(path, "whole", jobs=1)
    pd.testing.assert_frame_equal(read("out"), read("whole"), check_exact=True)


KILLING = """
import os, sqlite3
connect = sqlite3.connect

def watched(*arguments, **options):
    database = connect(*arguments, **options)
    database.set_trace_callback(lambda sql: "SET content" in sql and os.kill(os.getpid(), 9))
    return database

sqlite3.connect = watched
from dysta_gym_start import main; main()
"""


def test_killed_while_it_grows_it_goes_on(file, command, run):
    many = {"requests": 60, "slos": [5.0], "bounds": False}
    sweep(file(**many, seeds={"count": 10}), "out", jobs=1)
    before = read("out")
    path = file(**many, seeds={"count": 100})
    process = command("sweep", path, "--out", "out", "--jobs", 1, start=KILLING)
    assert process.wait() == -signal.SIGKILL  # while cells are numbered anew
    process.communicate()
    pd.testing.assert_frame_equal(read("out"), before, check_exact=True)
    at_once = "import dysta_gym.sweeps.running as running; running.KEPT_S = 0\n"
    at_once += "from dysta_gym_start import main; main()"
    process, seen = command("sweep", path, "--out", "out", "--jobs", 1, start=at_once), [before]
    while process.poll() is None and kept("out") <= 40:
        time.sleep(0.01)
    for _ in range(2):
        seen.append(read("out"))
    process.kill()
    process.communicate()
    assert run("results", "out", "--csv", "part.csv")[0] == 0
    seen.append(read("out"))
    assert 80 < len(seen[-1]) == len(pd.read_csv("part.csv"))
    sweep(path, "out", jobs=1)
    sweep(path, "whole", jobs=1)
    pd.testing.assert_frame_equal(read("out"), read("whole"), check_exact=True)
    key = ["scenario", "load", "slo", "seed", "policy"]
    everything = read("whole").set_index(key)
    for frame in seen:  # whoever looks on sees some of it, and nothing else
        frame = frame.set_index(key)
        pd.testing.assert_frame_equal(frame, everything.loc[frame.index], check_exact=True)


def test_what_was_killed_before_its_store_was_made_begins(file, refused, whole):
    Path("out").mkdir()
    store = sqlite3.connect(f"out/{FILE}")
    store.execute("PRAGMA journal_mode = WAL")  # which writes a page
    store.close()
    assert Path("out", FILE).stat().st_size
    with refused("'out' holds no sweep", "nothing is in"):
        opened("out")
    sweep(file(), "out", jobs=1)
    pd.testing.assert_frame_equal(read("out"), whole, check_exact=True)
    store = sqlite3.connect("other.sqlite")
    store.execute("CREATE TABLE mine (x)")
    store.close()
    Path("other.sqlite").replace(f"out/{FILE}")
    with refused("not marked"):
        sweep(file(), "out", jobs=1)


@pytest.mark.parametrize("number", ENDING)
def test_interrupted_it_says_how_to_go_on(file, command, ended, number):
    path = file(seeds={"count": 5000}, requests=200)
    process = command("sweep", path, "--out", "out", "--jobs", 2)
    while not kept("out"):
        time.sleep(0.05)
    (said,) = ended(process, number)
    assert said == SAID.format(kept("out"), 40000)


def starting(process):
    """Whether a process has begun to start others that work."""
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="it looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "wait_s"), [(signal.SIGINT, 0), (signal.SIGINT, 0.15), (signal.SIGTERM, 0.15)]
)
def test_interrupted_while_workers_start_it_says_no_more(
    file, command, ended, tmp_path, number, wait_s
):
    path = file(seeds={"count": 5000}, requests=200)
    (tmp_path / "temporary").mkdir()
    process = command(
        "sweep", path, "--out", "out", "--jobs", 2,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    while not starting(process):
        time.sleep(0.01)
    time.sleep(wait_s)
    assert len(list(Path("temporary").iterdir())) == 1
    (said,) = ended(process, number)
    assert said == SAID.format(kept("out"), 40000)
    assert not list(Path("temporary").iterdir())


def test_without_room_it_ends_and_goes_on_later(file, command):
    path = file(seeds={"count": 50}, requests=30)
    limit = 48 * 2**10
    start = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))\n"
    start += "from dysta_gym_start import main; main()"
    process = command("sweep", path, "--out", "out", "--jobs", 1, start=start.format(limit))
    _, said = process.communicate()
    assert process.returncode == 2, said
    assert "cannot be written" in said and "the same command goes on" in said
    assert len([line for line in said.splitlines() if "error" in line]) == 1
    assert "Traceback" not in said
    sweep(path, "out", jobs=1)
    sweep(path, "whole", jobs=1)
    pd.testing.assert_frame_equal(read("out"), read("whole"), check_exact=True)


def test_compare_goes_on_where_it_was_interrupted(file, command, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ["compare", "--policy", "fcfs", "--policy", "dysta", "--seeds", "2000"]
    asked += ["--requests", "60", "--no-bounds", "--scenario", "multi-attnn"]
    process = command(*asked, "--out", "out", cwd=tmp_path)
    while kept("out") < 20:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    there = kept("out")
    assert 20 <= there < 2000
    status, _, said = run(*asked, "--slo", "3", "--out", "out")
    assert status == 2 and "holds other cells" in said
    assert run(*asked, "--out", "out")[0] == 0
    assert not list((tmp_path / "out").glob("*.sqlite*"))
    assert run(*asked, "--out", "whole", "--jobs", "1")[0] == 0
    for name in ("results.csv", "results.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_compare_keeps_its_cells_until_its_results_are_written(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "results.md").mkdir(parents=True)
    few = ["compare", "--scenario", "multi-attnn", "--requests", 20, "--seeds", 2]
    few += ["--policy", "fcfs", "--out", "out"]
    status, _, said = run(*few)
    assert status == 2 and "results.md" in said and (tmp_path / "out" / FILE).exists()
    (tmp_path / "out" / "results.md").rmdir()
    status, _, _ = run(*few)
    assert status == 0 and not (tmp_path / "out" / FILE).exists()
    grid = {"scenarios": ["multi-attnn"], "policies": ["fcfs"], "requests": 20}
    sweep({**grid, "seeds": {"count": 2}}, "kept", jobs=1)
    assert run(*few[:-1], "kept")[0] == 0 and kept("kept") == 2  # what a sweep has kept stays


@pytest.mark.parametrize("jobs", [1, 2])
def test_traces_that_change_meanwhile_end_it(file, refused, tmp_path, jobs):
    (tmp_path / "traces").mkdir()
    own, other = Path("traces/mpnet.npz"), Path("other.npz")
    own.write_bytes(packaged("traces", "mpnet.npz").read_bytes())
    with np.load(own) as arrays:
        np.savez(other, **{**arrays, "latency_s": 2 * arrays["latency_s"]})
    scenario = {"name": "mine", "accelerator": "sanger", "traces": {"mpnet": 1}, "load": 0.9}
    scenario["trace_dir"] = str(tmp_path / "traces")
    grid = file(scenarios=[scenario], loads=[0.9], slos=[5.0], policies=["fcfs"],
                seeds={"count": 400}, requests=200)  # fmt: skip

    def changing(done, total):
        if done and other.exists():
            other.replace(own)

    with refused("scenario 'mine", "traces", "have changed", "put them back"):
        sweep(grid, "out", jobs=jobs, progress=changing)
    there = read("out")
    own.write_bytes(packaged("traces", "mpnet.npz").read_bytes())
    sweep(grid, "out", jobs=jobs)
    sweep(grid, "whole", jobs=1)
    whole = read("whole")
    pd.testing.assert_frame_equal(read("out"), whole, check_exact=True)
    pd.testing.assert_frame_equal(
        there, whole[whole["seed"].isin(there["seed"])].reset_index(drop=True), check_exact=True
    )


def test_a_task_is_as_long_as_its_requests(file):
    """So that it takes about as long, wherever workloads are of other sizes."""
    grid, _ = load_sweep(file())
    cells = grid.grid(None)
    queue = TaskQueue(Work(cells, (), False), range(len(cells)))
    assert queue.take() == [0]
    queue.saw([(0, None)], TASK_S / 4)
    assert queue.take() == [1, 2, 3, 4]
    queue.saw([(1, None)], 2 * TASK_S)
    assert queue.take() == [5]


def test_results_spare_the_sweep_that_they_are_of(file, run):
    sweep(file(), "one", jobs=1)
    before = Path("one", FILE).read_bytes()
    for option in ("--csv", "--parquet"):
        status, _, said = run("results", "one", option, f"one/{FILE}")
        assert status == 2 and "it is the sweep's own" in said
    status, _, said = run("results", "one", "--csv", "same.x", "--parquet", "same.x")
    assert status == 2 and "that of csv" in said
    assert Path("one", FILE).read_bytes() == before
    assert run("results", "one", "--csv", "one/all.csv")[0] == 0


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({"decision_cost.fixed_s.x": [1]}, ["decision_cost", "has no fields"]),
        ({"decision_cost.fixed_s.x.y": [1]}, ["fixed_s", "has no fields"]),
        ({"queue_limit": {"x" * 5000: 4}}, ["queue_limit", "at most 200 characters"]),
    ],
)
def test_fields_that_cannot_vary_so(file, refused, vary, words):
    with refused(*words):
        sweep(file(vary=vary), "one", jobs=1)


# --- results -------------------------------------------------------------------------------------


def test_results_are_shown_and_exported(file, run, whole):
    sweep(file(), "a", jobs=1, shard="1/2")
    status, text, said = run("results", "a")
    assert status == 0 and "arvr-hands" in text
    assert (
        "16 of 32 cells are there; none of the conditions is whole; shown are the 4 of 8 that "
        in said
    )
    assert said.endswith("have the same seeds, with 2 of 4 seeds\n")
    sweep(file(), "b", jobs=1, shard="2/2")
    status, text, _ = run(
        "results", "b", "a", "--csv", "all.csv", "--parquet", "all.parquet", "--json"
    )
    assert status == 0
    assert {row["policy"] for row in json.loads(text)} == {"fcfs", "dysta"}
    flat = pd.read_csv("all.csv")
    assert len(flat) == 64
    with opened("a") as store:
        assert origin_of(Path("all.csv"))["policies"] == store.about["policies"]
    np.testing.assert_array_equal(flat["antt"], whole["antt"])
    pd.testing.assert_frame_equal(pd.read_parquet("all.parquet"), flat, check_dtype=False)
    status, _, said = run("results", "a", "--reference", "sjf")
    assert status == 2 and "'sjf' was not run" in said
    status, _, said = run("results", "nowhere")
    assert status == 2 and "'nowhere' holds no sweep" in said


@pytest.fixture
def store_of(file):
    """``store_of(name, numbers)``: a sweep that has come as far as these cells."""

    def made(name, numbers):
        sweep(file(), name, jobs=1)
        with sqlite3.connect(Path(name, FILE)) as database:
            database.execute(f"DELETE FROM cells WHERE at NOT IN ({','.join(map(str, numbers))})")
        database.close()
        return name

    return made


def test_results_of_a_part_are_of_what_can_be_compared(file, run, store_of):
    status, text, said = run("results", store_of("some", [0, 1, 2, 3, 4]), "--csv", "some.csv")
    assert status == 0 and len(pd.read_csv("some.csv")) == 10
    assert "5 of 32 cells are there; shown are the 1 conditions that are whole" in said
    assert "load 0.8" in text and "1.05" not in text
    status, text, said = run("results", store_of("apart", [0, 5, 6, 9, 10]))
    assert status == 0 and "multi-attnn" in text
    assert "none of the conditions is whole; shown are the 2 of 3 that have the same seeds" in said
    assert "with 2 of 4 seeds" in said
    status, _, said = run("results", store_of("none", []), "--csv", "none.csv")
    assert status == 2 and "there is no cell yet" in said and not Path("none.csv").exists()


def test_of_many_conditions_the_first_are_printed_and_all_exported(file, run):
    path = file(
        scenarios=["arvr-hands"], policies=["fcfs"], loads=[], slos=[], seeds={"count": 1},
        vary={"queue_limit": list(range(1, 206))}, requests=2,
    )  # fmt: skip
    sweep(path, "many", jobs=1)
    status, text, _ = run("results", "many", "--csv", "many.csv")
    assert status == 0 and len(pd.read_csv("many.csv")) == 205
    assert text.count("arvr-hands:queue_limit=") == 200 and "queue_limit=201:" not in text
    assert text.count("all conditions: means") == 1
    assert "Left out are the tables of 5 more conditions; --csv and --json have them." in text
    assert "205 x 1 workloads" in text
    status, text, _ = run("results", "many", "--json")
    assert len(json.loads(text)) == 205


@pytest.mark.skipif(os.name != "posix", reason="modes of folders")
def test_a_folder_that_one_may_only_read_is_read(file, command):
    sweep(file(), "out", jobs=1)
    shutil.copytree("out", "logged")
    with contextlib.closing(sqlite3.connect(Path("logged", FILE))) as database:
        database.execute("DELETE FROM cells WHERE at = 3")
        database.commit()
        shutil.copyfile(f"logged/{FILE}-wal", "log")
    Path("log").replace(f"logged/{FILE}-wal")
    assert not Path(f"logged/{FILE}-shm").exists()

    # Who may write anywhere drops that; others cannot.
    start = "import ctypes, os\n"
    start += "for each in (1, 2) if os.geteuid() == 0 else ():\n"
    start += "    assert ctypes.CDLL(None).prctl(24, each, 0, 0, 0) == 0\n"
    start += "import sys; program = 'from dysta_gym_start import main; main()'\n"
    start += "os.execv(sys.executable, [sys.executable, '-c', program, *sys.argv[1:]])"
    for folder in ("out", "logged"):
        Path(folder).chmod(0o555)
    try:
        done = {each: command("results", each, "--json", start=start) for each in ("out", "logged")}
        said = {each: process.communicate() for each, process in done.items()}
    finally:
        for folder in ("out", "logged"):
            Path(folder).chmod(0o755)
    assert done["out"].returncode == 0, said["out"]
    assert len(json.loads(said["out"][0])) == 16 and not said["out"][1]
    assert done["logged"].returncode == 2 and len(said["logged"][1].splitlines()) == 1
    assert "has cells in a log beside it" in said["logged"][1]
    assert "copy that folder to where you may" in said["logged"][1]


def test_a_store_that_is_taken_not_to_change_is_looked_at_again(file, refused, monkeypatch):
    sweep(file(), "out", jobs=1)
    real = sqlite3.connect

    def connect(name, **options):
        if "immutable" not in str(name):
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error
        return real(name, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    with opened("out") as store:
        assert store.count() == 32
        os.utime(store.path, (0, 0))
        with refused("was written meanwhile"):
            list(frames([store]))


def test_seeds_that_parquet_has_no_numbers_for(file, run):
    sweep(file(seeds={"first": 2**63 - 1, "count": 2}), "out", jobs=1)
    status, _, said = run("results", "out", "--csv", "all.csv", "--parquet", "all.parquet")
    assert status == 2 and len(said.splitlines()) == 1
    assert f"parquet: seed {2**63} is not allowed" in said and "--csv" in said
    assert not Path("all.parquet").exists() and not Path("all.csv").exists()
    assert run("results", "out", "--csv", "all.csv", "--json")[0] == 0
    assert f",{2**63}," in Path("all.csv").read_text()
    with pytest.raises(DystaError, match="parquet: seed"):
        to_parquet(frames([opened("out")]), Path("all.parquet"))
    assert [each for each in Path().iterdir() if "parquet" in each.name] == []


@pytest.mark.parametrize("kind", ["nan", "negative", "extreme"])
def test_metrics_that_are_no_metrics_are_shown_in_silence(file, run, kind):
    sweep(file(bounds=True, seeds={"count": 5}), "out", jobs=1)
    with sqlite3.connect(Path("out", FILE)) as database:
        for at, metrics in database.execute("SELECT at, metrics FROM cells").fetchall():
            values = np.frombuffer(metrics)
            odd = {"nan": values * np.nan, "negative": -values, "extreme": values * 0 - 1e100}
            query = "UPDATE cells SET metrics = ? WHERE at = ?"
            database.execute(query, (odd[kind].tobytes(), at))
        about = json.loads(database.execute("SELECT content FROM about").fetchone()[0])
        about["conditions"]["rows"][0][1] = 10**99
        database.execute("UPDATE about SET content = ?", (json.dumps(about),))
    database.close()
    for options in ([], ["--statistic", "iqm"], ["--json", "--parquet", "odd.parquet"]):
        status, text, said = run("results", "out", *options)
        assert (status, said) == (0, "") and "nan" not in text.lower()


def test_what_many_conditions_have_in_common_is_kept_once(file, refused):
    sweep(file(), "out", jobs=1)
    with opened("out") as store:
        about = store.about
    fields = [*enumerate(("queue_limit", "decision_cost.fixed_s", "arrivals", "speed"))]
    named = [
        {field: "a long name " * 12 + str(at // 10**place % 10) for place, field in fields}
        for at in range(10_000)
    ]
    names = ["multi-attnn:" + ",".join(f"{k}={v}" for k, v in each.items()) for each in named]
    about["conditions"] = [
        {"where": [name, 0.95, 186.1234567, float(slo)], "varied": varied, "workloads": "0" * 12}
        for name, varied in zip(names, named, strict=True)
        for slo in range(1, 4)  # 42 MiB, at length
    ]
    about["origin"]["scenarios"] = dict.fromkeys(names, "0" * 64)
    created(Path("many"), about).__exit__(None, None, None)
    assert Path("many", FILE).stat().st_size < 4 * 2**20
    with opened("many") as store:
        assert store.about == about and store.total == 120_000
    del about["conditions"][10_000:]
    for at, each in enumerate(about["conditions"]):
        each["where"][0] = f"{at}".ljust(6800)
    with refused("sweep: the names of its scenarios have more than", "give fewer conditions"):
        created(Path("more"), about)
    assert not Path("more").exists()


def test_a_store_of_the_first_format_is_read_and_goes_on(file, run, whole):
    sweep(file(seeds={"first": 3, "count": 2}), "out", jobs=1)
    with opened("out") as store:
        about = json.dumps(store.about)
    with sqlite3.connect(Path("out", FILE)) as database:
        database.execute("UPDATE about SET content = ?", (about,))
        database.execute("PRAGMA user_version = 1")
    database.close()
    assert len(read("out")) == 32
    sweep(file(), "out", jobs=1)
    pd.testing.assert_frame_equal(read("out"), whole, check_exact=True)
    with contextlib.closing(sqlite3.connect(Path("out", FILE))) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)


def test_steps_of_pandas_do_not_copy_what_a_table_was_made_with(file):
    # There is a digest of each scenario, and tables are made in a step a condition.
    sweep(file(), "out", jobs=1)
    frame = read("out")
    told = frame.attrs["provenance"]
    assert frame[["antt"]].head(3).attrs["provenance"] is told
    again = pickle.loads(pickle.dumps(frame)).attrs["provenance"]
    assert again == told and type(again) is dict  # for whoever has no such package


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "text": lambda path: path.write_bytes(b"no database" * 100),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(40_000)),
}

STATEMENTS = {
    "number": "UPDATE cells SET at = 10000 WHERE at = 3",
    "negative": "UPDATE cells SET at = -1 WHERE at = 3",
    "layout": "UPDATE cells SET layout = 7 WHERE at = 3",
    "short": "UPDATE cells SET metrics = x'00' WHERE at = 3",
    "huge": "UPDATE cells SET metrics = zeroblob(100000000) WHERE at = 3",
    "words": "UPDATE cells SET metrics = 'text' WHERE at = 3",
    "labels": "UPDATE layouts SET labels = '{' WHERE id = 1",
    "deep": "UPDATE layouts SET labels = replace(hex(zeroblob(50000)), '00', '[') WHERE id = 1",
    "about": "UPDATE about SET content = '[]'",
    "none": "DELETE FROM about",
    "where": """UPDATE about SET content = replace(content, '0.8', '"x"')""",
    "nan": "UPDATE about SET content = replace(content, '0.8', 'NaN')",
    "row": """UPDATE about SET content = replace(content, '"rows":[[0,', '"rows":[[9,')""",
    "row of text": """UPDATE about SET content = replace(content, '"rows":[[', '"rows":["x",[')""",
    "shapes": """UPDATE about SET content = replace(content, '"shapes":[[0', '"shapes":[[0,"x"')""",
    "texts": """UPDATE about SET content = replace(content, '"texts":["', '"texts":[7,"')""",
    "names": """UPDATE about SET content = replace(replace(content, '"scenarios":[[0,0',
        '"scenarios":[' || replace(hex(zeroblob(40000)), '00', '[0,0],') || '[0,0'),
        '"texts":["', '"texts":["' || hex(zeroblob(4000)))""",
    "mark": "PRAGMA application_id = 1",
    "format": "PRAGMA user_version = 99",
    "trigger": "CREATE TRIGGER t AFTER INSERT ON cells BEGIN DELETE FROM cells; END",
    "view": "DROP TABLE cells; CREATE VIEW cells AS SELECT 1 AS at, 1 AS layout, x'00' AS metrics",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "out"
    sweep(GRID | {"seeds": {"count": 1}}, folder, jobs=1)
    return (folder / FILE).read_bytes()


@pytest.mark.parametrize("damage", [*DAMAGE, *STATEMENTS])
def test_a_damaged_store_is_refused_in_a_line(small, tmp_path, run, damage):
    folder = tmp_path / "bad"
    folder.mkdir()
    path = folder / FILE
    path.write_bytes(small)
    if damage in DAMAGE:
        DAMAGE[damage](path)
    else:
        with sqlite3.connect(path) as database:
            database.executescript(STATEMENTS[damage])
        database.close()
    status, _, said = run("results", folder)
    assert status == 2, said
    assert len(said.splitlines()) == 1 and str(folder) in said, said
