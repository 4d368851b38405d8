"""Entries of the leaderboard: whatever an entry claims is run again, or refused in one line."""

import math
import os

import pytest
import yaml

from dysta_gym import DystaError, compare_on
from dysta_gym import entries as module
from dysta_gym.agents.checkpoints import SHIPPED
from dysta_gym.entries import METRICS, Part, entered, load_entry, shipped_entries, verify
from dysta_gym.tracks import load_track

TRACKS = {
    name: load_track(
        {
            "name": name,
            "seeds": {"first": 5000, "count": 2},
            "blocks": [
                {
                    "scenarios": [scenario],
                    "loads": [0.8, 1.05],
                    "changes": {"requests": 40},
                    "suffix": "-s",
                }
            ],
        }
    )
    for name, scenario in (("one", "multi-attnn"), ("two", "multi-cnn"))
}
RULE = '''\
"""Short requests of high priority first."""

def score(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.remaining[i] / queue.priority[i]

def other(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.deadline[i]  # as EDF: no "more"
'''


@pytest.fixture(autouse=True)
def tracks(monkeypatch):
    """Two small tracks instead of the shipped ones."""
    monkeypatch.setattr(module, "shipped_tracks", lambda: TRACKS)
    monkeypatch.setattr(module, "shipped_track", TRACKS.__getitem__)


@pytest.fixture
def rule_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(RULE)
    return path


@pytest.mark.parametrize(
    "spec",
    [
        "dysta",
        "dysta_oracle",
        "dysta-tuned@pattern:beta=0.02",
        "random",
        "checkpoint",
        "curve",
        "rule",
    ],
)
def test_an_entry_is_verified_from_its_file_alone(spec, tmp_path, rule_file, run):
    spec = {
        "checkpoint": f"{SHIPPED / 'evolved.npz'}@monitored",
        "curve": f"{SHIPPED / 'pareto.npz'}:preference=0.5",  # which reads an index of ours
        "rule": f"{rule_file}@sized",
    }.get(spec, spec)
    out = tmp_path / "entry.yaml"
    named = ["--name", "mine"] if ".npz" in spec else []
    status, output, _ = run("enter", spec, "--out", out, *named)
    assert status == 0 and "4 conditions of one, two" in output
    rule_file.unlink()
    status, output, errors = run("verify", out, "--trust")
    assert (status, errors) == (0, "")
    assert "4 of 4 conditions run again" in " ".join(output.split())
    status, output, _ = run("verify", out, "--trust", "--part", "2/3")
    assert status == 0 and "1 of 4 conditions" in output


def test_what_is_claimed_is_the_mean_over_the_seeds():
    entry = entered("sjf@sized", ["two"])
    results = compare_on([TRACKS["two"]], ["sjf@sized"], bounds=False)
    for claim, (load, part) in zip(entry.claims, results.groupby("load"), strict=True):
        assert (claim.track, claim.scenario, claim.load) == ("two", "multi-cnn-s", load)
        for metric in METRICS:
            assert getattr(claim, metric) == math.fsum(part[metric]) / 2


def test_which_rule_of_a_file(rule_file, tmp_path):
    for name in ("score", "other"):
        entry = entered(f"{rule_file}:{name}", ["one"])
        assert (entry.object, entry.name, entry.rule) == (name, "mine", RULE)
        entry.save(tmp_path / "entry.yaml")
        assert load_entry(tmp_path / "entry.yaml") == entry
        assert verify(entry, trust=True) == 2
    fewer, more = (entered(f"{rule_file}:{name}", ["one"]).claims for name in ("score", "other"))
    assert fewer != more


def test_what_is_written_is_read_as_it_was(sjf, tmp_path):
    odd = changed(sjf, 0, workloads="12e456789012", scenario="1e5", violation_rate=5e-05)
    odd = odd.model_copy(update={"name": "no", "version": "1_000"})
    odd.save(tmp_path / "entry.yaml")
    assert load_entry(tmp_path / "entry.yaml") == odd
    assert yaml.safe_load((tmp_path / "entry.yaml").read_text())["claims"][0] == {
        **odd.claims[0].model_dump()
    }


def test_source_runs_only_where_it_is_trusted(tmp_path, run):
    entry = entered("fcfs", ["one"]).model_copy(
        update={
            "policy": None,
            "name": "mine",
            "rule": f"open({str(tmp_path / 'ran')!r}, 'w')\n" + RULE,
        }
    )
    entry.save(tmp_path / "entry.yaml")
    status, _, errors = run("verify", tmp_path / "entry.yaml")
    assert status == 2 and "--trust" in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def changed(entry, at, **changes):
    claims = list(entry.claims)
    claims[at] = claims[at].model_copy(update=changes)
    return entry.model_copy(update={"claims": tuple(claims)})


@pytest.fixture(scope="module")
def sjf():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "shipped_track", TRACKS.__getitem__)
        return entered("sjf", ["one", "two"])


def test_a_wrong_claim_is_refused_by_its_last_bit(sjf, tmp_path, run):
    for metric in METRICS:
        right = getattr(sjf.claims[2], metric)
        wrong = math.nextafter(right, 9)
        with pytest.raises(
            DystaError, match=f"claims: {metric} of scenario 'multi-cnn-s'"
        ) as error:
            verify(changed(sjf, 2, **{metric: wrong}))
        assert repr(wrong) in str(error.value) and repr(right) in str(error.value)
    changed(sjf, 3, antt=1.5).save(tmp_path / "entry.yaml")
    status, output, errors = run("verify", tmp_path / "entry.yaml")
    assert (status, output, len(errors.splitlines())) == (2, "", 1)
    assert "entry.yaml" in errors and "claimed to be 1.5" in errors
    assert run("verify", tmp_path / "entry.yaml", "--part", "3/4")[0] == 0  # of another condition


def test_what_an_entry_must_be(sjf):
    for wrong, words in (
        (sjf.model_copy(update={"version": "0.0.9"}), "version: '0.0.9' is not allowed"),
        (sjf.model_copy(update={"claims": sjf.claims[:3]}), "is missing; an entry covers whole"),
        (sjf.model_copy(update={"claims": sjf.claims + sjf.claims[:1]}), "more than once"),
        (changed(sjf, 0, workloads="0" * 12), "measured on workloads '000000000000'"),
        (changed(sjf, 0, load=0.81), "at load 0.8 and SLO multiplier 10.0 .* is missing"),
        (sjf.model_copy(update={"policy": "nope"}), "policy: 'nope' is unknown; choose one of"),
        (sjf.model_copy(update={"policy": None, "checkpoint": "?"}), "not in base64"),
        (sjf.model_copy(update={"policy": None, "checkpoint": "aGFsbG8="}), "no checkpoint"),
        (sjf.model_copy(update={"policy": None, "checkpoint": "é"}), "not in base64"),
        (sjf.model_copy(update={"settings": {"x": 1.0}}), "parameter 'x' is unknown"),
    ):
        with pytest.raises(DystaError, match=words):
            verify(wrong)
    extra = sjf.claims[0].model_copy(update={"load": 0.9})
    with pytest.raises(DystaError, match=r"load 0\.9 .* is no condition of it"):
        verify(sjf.model_copy(update={"claims": (*sjf.claims, extra)}))
    with pytest.raises(DystaError, match="part: 3/2 is not allowed"):
        Part(3, 2)
    with pytest.raises(DystaError, match="part: 5/9 has none of the 4 conditions; K must be 4 or"):
        verify(sjf, part=Part(5, 9))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda e: e.pop("version"), ["'version'", "missing"]),
        (lambda e: e.pop("level"), ["'level'", "missing"]),
        (lambda e: e.pop("policy"), ["policy, rule, checkpoint", "0 of them"]),
        (lambda e: e.update(rule=RULE), ["policy, rule, checkpoint", "2 of them"]),
        (lambda e: e.update(format=2), ["format", "2", "1"]),
        (lambda e: e.update(format=True), ["format", "True"]),
        (lambda e: e.update(object="score"), ["object", "without a rule"]),
        (lambda e: e.update(name="ppo"), ["name", "'ppo'", "installed policy"]),
        (lambda e: e.update(level="sised"), ["level", "'sised'", "sized"]),
        (lambda e: e.update(claims=[]), ["claims"]),
        (lambda e: e["claims"][1].pop("antt"), ["'claims.1.antt'", "missing"]),
        (lambda e: e["claims"][1].update(antt="2"), ["claims.1.antt", "'2'"]),
        (lambda e: e["claims"][1].update(anntt=2.0), ["'claims.1.anntt'", "unknown", "antt"]),
        (lambda e: e.update(levle=1), ["'levle'", "unknown", "level"]),
    ],
)
def test_bad_files_are_refused_in_a_line(edit, words, sjf, tmp_path, run):
    path = tmp_path / "entry.yaml"
    sjf.save(path)
    content = yaml.safe_load(path.read_text())
    edit(content)
    path.write_text(yaml.safe_dump(content))
    status, output, errors = run("verify", path)
    assert (status, output, len(errors.splitlines())) == (2, "", 1)
    for word in words:
        assert word in errors


def test_bad_arguments(tmp_path, run):
    (tmp_path / "entry.yaml").write_text("format: 1\n")
    for arguments, words in (
        (["verify", tmp_path / "no.yaml"], ["no.yaml", "does not exist"]),
        (["verify", tmp_path / "no.txt"], ["no.txt", "YAML"]),
        (["verify", tmp_path / "entry.yaml", "--part", "x"], ["part", "'x'", "1/8"]),
        (["enter", "nope", "--out", tmp_path / "new.yaml"], ["policy", "'nope'"]),
        (["enter", "sjf", "--out", tmp_path / "new.txt"], ["out", ".yaml"]),
        (["enter", "sjf", "--out", tmp_path / "no" / "new.yaml"], ["out", "folder"]),
    ):
        status, output, errors = run(*arguments)
        assert (status, output, len(errors.splitlines())) == (2, "", 1)
        for word in words:
            assert word in errors
    assert not (tmp_path / "new.yaml").exists()


def test_what_a_rule_may_not_do(rule_file, tmp_path, run):
    """Be entered as it no longer is, look into the store, end the program, or judge others."""
    good, bad, ends, spoils = (tmp_path / f"{name}.yaml" for name in ("a", "b", "c", "d"))
    assert run("enter", rule_file, "--track", "one", "--out", good, "--name", "good")[0] == 0
    time = rule_file.stat().st_mtime_ns
    rule_file.write_text(RULE.replace("remaining[i] /", "remaining[i] *"))
    os.utime(rule_file, ns=(time, time))
    entry = entered(str(rule_file), ["one"])
    assert "remaining[i] *" in entry.rule and verify(entry, trust=True) == 2
    assert entry.claims != load_entry(good).claims
    changed(entry, 0, antt=1.5).save(bad)
    index = "\nfrom dysta_gym import Policy\nP = Policy('p', score, index=lambda s, l, r: 1 / 0)\n"
    with pytest.raises(DystaError, match="rule: it has an index"):
        verify(entry.model_copy(update={"rule": RULE + index, "object": "P"}), trust=True)
    stop = "import sys\ndef score(queue, size, now, parameters, scores):\n    sys.exit(0)\n"
    stop += "from dysta_gym import Policy\nP = Policy('p', score, interpreted=True)\n"
    entry.model_copy(update={"rule": stop, "object": "P"}).save(ends)
    patch = "import dysta_gym.entries\ndysta_gym.entries._compare = lambda *a: None\n"
    entry.model_copy(update={"rule": patch + RULE}).save(spoils)
    status, _, errors = run("verify", ends, "--trust")
    assert status == 2 and "its rule ends the program (0)" in errors
    (tmp_path / "x.py").write_text("x = 1")
    status, output, errors = run("enter", tmp_path / "x.py", "--out", tmp_path / "x.yaml")
    assert (status, output) == (2, "") and "no rule" in errors


@pytest.mark.parametrize("name", shipped_entries())
def test_shipped_entries(name, monkeypatch):
    """A part of the conditions, another one for each, against what the package makes of them."""
    monkeypatch.undo()
    entry = load_entry(name)
    assert entry.name == name
    number = 1 + list(shipped_entries()).index(name) % 12
    assert verify(entry, part=Part(number, 12), trust=True) > 0
