"""Trained schedulers in files: what is written is what is read, and nothing else is."""

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

from dysta_gym import DystaError, cli, compare, find
from dysta_gym.agents import Checkpoint, load, load_recipe
from dysta_gym.agents.checkpoints import FORMAT, SHIPPED, shipped, trained
from dysta_gym.agents.networks import NETWORKS
from dysta_gym.features import SCHEDULING, select

AGENTS = ("dqn", "evolved", "pareto", "ppo")
RECORD = {"seed": 3, "seconds": 1.5, "versions": {"numpy": "2"}, "history": [{"step": 1}, {}]}


def made(kind="tiny", width=2, level="monitored/kalman", **record):
    weights = np.random.default_rng(width).normal(
        size=NETWORKS[kind].weights(width, select(SCHEDULING))
    )
    weights[:3] = -0.0, 5e-324, 1 / 3
    return Checkpoint("mine", kind, width, SCHEDULING, weights, level, {**RECORD, **record})


@pytest.fixture
def path(tmp_path):
    """A checkpoint's file."""
    made().save(tmp_path / "mine.npz")
    return tmp_path / "mine.npz"


def same(one, other):
    """Whether two checkpoints are equal, their weights to the last bit."""
    fields = ("name", "network", "width", "features", "level", "record")
    return one.weights.tobytes() == other.weights.tobytes() and all(
        getattr(one, field) == getattr(other, field) for field in fields
    )


@pytest.mark.parametrize(("kind", "width"), [("tiny", 0), ("tiny", 7), ("pooled", 16)])
def test_a_round_trip(tmp_path, kind, width):
    written = made(kind, width)
    for _ in range(2):  # the second time, over the first
        written.save(tmp_path / "new" / "mine.npz")
        assert same(load(tmp_path / "new" / "mine.npz"), written)
        assert [each.name for each in (tmp_path / "new").iterdir()] == ["mine.npz"]


def test_the_network_of_a_policy_is_all_of_it(path, refused):
    assert trained(find("dysta")) is None
    for spec in (str(path), f"{path}:tilt=0,time_unit=1"):
        assert trained(find(spec)).weights.tobytes() == made().weights.tobytes()
    for spec, key in ((f"{path}:tilt=2", "tilt"), ("pareto:preference=0.3", "preference")):
        with refused(find(spec).spec, f"sets {key}", "leave it out"):
            trained(find(spec))


def test_it_is_a_policy_by_its_path(path):
    policy = find(str(path))
    assert policy.name == str(path) and policy.level == "monitored/kalman"
    assert policy.summary and policy.events
    assert policy.values(2.0).tolist() == [2.0, 0.0, 2.0, *made().weights]
    assert find(f"{path}@static").level == "static"
    assert find(f"{path}:time_unit=3").values(2.0)[0] == 6.0
    for spec in (str(path), f"{path}@sized/kalman:time_unit=0.5"):
        assert find(find(spec).spec) == find(spec)
    frame = compare(["multi-attnn"], [str(path), "dysta"], requests=60, seeds=range(2))
    assert set(frame["policy"]) == {str(path), "dysta"}
    again = compare(["multi-attnn"], [made().policy(), "dysta"], requests=60, seeds=range(2))
    unnamed = [each.drop(columns="policy") for each in (frame, again)]
    pd.testing.assert_frame_equal(*unnamed, check_exact=True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"network": "huge"}, ["network", "'huge'", "tiny", "pooled"]),
        ({"level": "psychic"}, ["level", "'psychic'", "sized/kalman"]),
        ({"features": ("size", "colour")}, ["features", "'colour'", "slack"]),
        ({"features": (*SCHEDULING, "behind")}, ["features", "'behind'", "environment"]),
        ({"features": ("length",)}, ["features", "request"]),
        ({"features": [1]}, ["features", "1"]),
        ({"width": -1}, ["width", "-1"]),
        ({"width": 2.0}, ["width", "2.0"]),
        ({"width": 3}, ["weights", "(36,)", "width 3", "50 floats"]),
        ({"weights": np.zeros((2, 18))}, ["weights", "(2, 18)", "36 floats"]),
        ({"weights": np.zeros(36, np.float32)}, ["weights", "float32", "36 floats"]),
        ({"weights": np.full(36, np.nan)}, ["weights", "finite"]),
    ],
    ids=str,
)
def test_what_cannot_be(refused, fields, words):
    usual = {"name": "mine", "network": "tiny", "width": 2, "level": "static"}
    usual["features"] = SCHEDULING
    with refused(*words):
        Checkpoint(**{**usual, "weights": np.zeros(36), **fields})


# --- files that are refused ----------------------------------------------------------------------


def archive(format=FORMAT, weights=None, **record):
    """A file that may be wrong; a field of the record that is ``...`` is left out."""
    usual = {"name": "mine", "network": "tiny", "width": 2, "level": "static"}
    whole = {**usual, "features": list(SCHEDULING), **RECORD, **record}
    text = json.dumps({key: value for key, value in whole.items() if value is not ...})
    weights = np.zeros(36) if weights is None else weights
    file = io.BytesIO()
    np.savez(file, format=format, weights=weights, record=text)
    return file.getvalue()


def without(content, name):
    file = io.BytesIO()
    with np.load(io.BytesIO(content)) as arrays:
        np.savez(file, **{key: arrays[key] for key in arrays.files if key != name})
    return file.getvalue()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name, content in members.items():
            target.writestr(f"{name}.npy", content)
    return file.getvalue()


def scrambled(content):
    noise = np.random.default_rng(0).integers(256, size=100, dtype=np.uint8).tobytes()
    middle = len(content) // 2
    return content[:middle] + noise + content[middle + len(noise) :]


def array_file():
    file = io.BytesIO()
    np.save(file, np.zeros(36))
    return file.getvalue()


GOOD = archive()
HEADER = b"\x93NUMPY\x01\x00\x14\x00{'descr': '<f8', \n ("

BAD = {
    "empty": (b"", ["damaged"]),
    "text": (b"hello\n", ["damaged"]),
    "half": (GOOD[: len(GOOD) // 2], ["damaged"]),
    "scrambled": (scrambled(GOOD), ["damaged"]),
    "one array": (array_file(), ["damaged"]),
    "no arrays": (zipped(format=b"1", weights=b"1", record=b"1"), ["damaged"]),
    "odd header": (zipped(format=HEADER, weights=HEADER, record=HEADER), ["damaged"]),
    "no record": (without(GOOD, "record"), ["damaged", "record"]),
    "no format": (without(GOOD, "format"), ["damaged", "format"]),
    "pickled": (archive(weights=np.array([{}] * 36)), ["damaged", "allow_pickle"]),
    "pickled record": (archive(format=np.array({})), ["damaged", "allow_pickle"]),
    "other format": (
        archive(format=FORMAT + 1),
        [f"format {FORMAT + 1}", f"reads {FORMAT}", "again"],
    ),
    "no name": (archive(name=...), ["record", "no 'name'"]),
    "no width": (archive(width=...), ["record", "no 'width'"]),
    "no level": (archive(level=...), ["record", "no 'level'"]),
    "no network": (archive(network=...), ["record", "no 'network'"]),
    "too few": (archive(weights=np.zeros(35)), ["weights", "(35,)", "36 floats"]),
    "whole numbers": (archive(weights=np.zeros(36, int)), ["weights", "int64", "36 floats"]),
    "words": (archive(weights=np.full(36, "a")), ["weights", "36 floats"]),
    "nan": (archive(weights=np.full(36, np.nan)), ["weights", "finite"]),
    "inf": (archive(weights=np.full(36, np.inf)), ["weights", "finite"]),
    "unknown network": (
        archive(network="huge"),
        ["network", "'huge'", "tiny, conditioned, pooled"],
    ),
    "networks": (archive(network=["tiny"]), ["network", "['tiny']"]),
    "unknown level": (archive(level="psychic"), ["level", "'psychic'", "sized/kalman"]),
    "nameless": (archive(name=None), ["name", "None"]),
    "wide": (archive(width=10**9), ["width", "1000000000"]),
    "width in words": (archive(width="2"), ["width", "'2'"]),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_refused(refused, tmp_path, case):
    content, words = BAD[case]
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    for read in (load, lambda path: find(f"{path}@static")):
        with refused(repr(str(path)), *words):
            read(path)


def test_files_that_are_not_there(refused, tmp_path):
    for read in (load, lambda path: find(str(path))):
        with refused(repr(str(tmp_path / "no.npz")), "does not exist"):
            read(tmp_path / "no.npz")
        with refused(repr(str(tmp_path / "no" / "no.npz")), "does not exist"):
            read(tmp_path / "no" / "no.npz")
    (tmp_path / "folder.npz").mkdir()
    with refused("folder.npz", "damaged"):
        load(tmp_path / "folder.npz")
    with refused("blocked", "written"):
        (tmp_path / "blocked").write_text("")
        made().save(tmp_path / "blocked" / "mine.npz")


@pytest.mark.parametrize("flip", [0x01, 0x18, 0xFF])
def test_a_byte_that_has_changed_is_noticed_or_does_not_matter(path, flip):
    expected, content = load(path), path.read_bytes()
    unnoticed = 0
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
        try:
            found = load(path)
        except DystaError as error:
            assert repr(str(path)) in str(error) and len(str(error).splitlines()) == 1
        else:
            unnoticed += 1
            assert same(found, expected), at
    assert 0 < unnoticed < len(content) / 3  # dates, for instance


def test_a_file_that_was_cut_off_is_refused(refused, path):
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with refused(repr(str(path)), "damaged"):
            load(path)


@pytest.mark.parametrize("case", ["missing", "text", "half", "other format", "nan"])
def test_the_command_line_refuses_it_in_a_line(monkeypatch, capsys, tmp_path, case):
    path = tmp_path / "bad.npz"
    if case != "missing":
        path.write_bytes(BAD[case][0])
    arguments = ["dysta-gym", "compare", "--policy", str(path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    output, errors = capsys.readouterr()
    assert ended.value.code == 2 and output == ""
    assert errors.startswith("dysta-gym: error: checkpoint") and len(errors.splitlines()) == 1
    assert "bad.npz" in errors
    assert not (tmp_path / "out").exists()


# --- the agents in the package -------------------------------------------------------------------


def test_all_of_them_have_a_recipe_and_a_policy():
    assert sorted(each.stem for each in SHIPPED.glob("*")) == list(AGENTS)


@pytest.mark.parametrize("name", AGENTS)
def test_a_shipped_agent(name):
    checkpoint, policy = shipped(name), find(name)
    assert checkpoint.name == policy.name == name
    assert policy.level == checkpoint.level
    assert policy.weights == (checkpoint.width, *checkpoint.weights)
    assert policy.score is NETWORKS[checkpoint.network].rule(checkpoint.seen)
    assert policy.summary and "train" in policy.source
    assert (SHIPPED / f"{name}.npz").stat().st_size < 50_000


@pytest.mark.parametrize("name", AGENTS)
def test_its_record_says_how_it_was_trained_and_what_it_was_worth(name):
    checkpoint, recipe = shipped(name), load_recipe(name)
    shape, record = recipe.network, checkpoint.record
    assert (checkpoint.network, checkpoint.width) == (shape.kind, shape.width)
    assert checkpoint.level == recipe.level
    assert load_recipe(record["recipe"]) == recipe
    assert record["seed"] >= 0 and record["seconds"] > 0
    # Stable-Baselines3 learns in whole rollouts, the last of which may go beyond.
    rollout = sum(recipe.counts()) * recipe.n_steps if name == "ppo" else 1
    assert 0 < record["step"] < record["steps"] + rollout
    assert {"python", "numpy", "numba", "dysta-gym"} <= set(record["versions"])
    assert record["split"] == "train"
    first, last = record["seeds"]["validation"]
    assert 100 < first <= last < record["seeds"]["training, from"]
    assert last - first + 1 == recipe.workloads.validation
    assert recipe.workloads.distribution == "random"
    assert len(record["validation"]) == recipe.workloads.mixes
    if name == "pareto":
        assert record["hypervolume"] == pytest.approx(1 - record["objective"])
    for row in record["validation"]:
        assert 0 <= row["violation_rate"] <= 1 <= row["antt"]
        assert 0 <= row["sptp_violation_rate"] <= 1 <= row["sptp_antt"]
    objectives = {each["step"]: each["objective"] for each in record["history"]}
    assert list(objectives) == sorted(objectives) and max(objectives) >= record["steps"]
    imitate = getattr(recipe, "imitate", None)
    imitated = imitate.steps if imitate else -1
    assert record["objective"] == objectives[record["step"]]
    assert record["objective"] == min(o for step, o in objectives.items() if step > imitated)


def test_they_run_without_what_trains_them(tmp_path):
    program = """
import json, sys

BLOCKED = {"torch", "stable_baselines3", "sb3_contrib", "cma", "tensorboard"}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Blocked())
from dysta_gym import compare
names = sys.argv[1:]
frame = compare(["multi-attnn"], names, seeds=range(1), requests=50)
print(json.dumps(frame.set_index("policy")["antt"].to_dict()))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *AGENTS, str(SHIPPED / "evolved.npz")],
        cwd=tmp_path,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    antt = json.loads(done.stdout)
    expected = compare(["multi-attnn"], AGENTS, seeds=range(1), requests=50)
    assert antt.pop(str(SHIPPED / "evolved.npz")) == antt["evolved"]
    assert antt == expected.set_index("policy")["antt"].to_dict()
