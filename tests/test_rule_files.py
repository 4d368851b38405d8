"""Rules in files of one's own, wherever a policy is named."""

import os
import sys
import textwrap
from pathlib import Path, PureWindowsPath

import pandas as pd
import pytest

from dysta_gym import DystaError, Policy, cli, compare, find, policies, simulate
from dysta_gym.policies import expand, split

RULE = """
def score(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.remaining[i]
"""
TWO = RULE.replace("score(", "shortest(") + RULE.replace("score(", "longest(").replace(
    "= queue", "= -queue"
)
POLICIES = (
    RULE
    + """
from dysta_gym import Parameter, Policy
MINE = Policy("mine", score, level="sized", stable=True)
def weighted(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.remaining[i] / queue.priority[i] ** parameters[0]
WEIGHTED = Policy("weighted", weighted, parameters={"power": Parameter(1.0, "exponent")})
"""
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="mine.py"):
        (tmp_path / name).write_text(textwrap.dedent(text))
        return name

    return write


def test_a_rule_is_a_policy_like_any_other(write):
    write(RULE)
    for spec in ("mine.py@static", "mine.py@sized", "mine.py:score@sized"):
        assert find(spec).spec == spec
    assert find("mine.py").spec == "mine.py@static"
    table = compare(
        ["multi-attnn"], ["mine.py", "mine.py@clairvoyant", *expand("mine.py@*")][:3],
        seeds=[3], requests=60,
    )  # fmt: skip
    own = compare(
        ["multi-attnn"],
        [Policy("a", find("mine.py").score), Policy("b", find("mine.py").score, "clairvoyant")],
        seeds=[3], requests=60,
    )  # fmt: skip
    columns = [name for name in own if name != "policy"]
    pd.testing.assert_frame_equal(table[columns][:2], own[columns], check_exact=True)


def test_which_of_several(write, workload):
    write(TWO, "two.py")
    finish = {
        name: simulate(workload, f"two.py:{name}@sized").finish_s.tolist()
        for name in ("shortest", "longest")
    }
    assert finish["shortest"] != finish["longest"]
    write(POLICIES, "objects.py")
    assert (
        find("objects.py:MINE").spec == "objects.py:MINE@sized" and find("objects.py:MINE").stable
    )
    weighted = find("objects.py:WEIGHTED@monitored:power=0.5")
    assert weighted.settings == {"power": 0.5} and weighted.level == "monitored"
    assert expand("objects.py:MINE@sized/*")[0] == "objects.py:MINE@sized"
    assert split("objects.py:WEIGHTED:power=2") == ("objects.py:WEIGHTED", None, "power=2")


@pytest.mark.parametrize("there", [True, False])
def test_a_drive_is_no_level_and_no_parameter(monkeypatch, there):
    file = "C:\\Users\\a@b\\mine.py"
    monkeypatch.setattr(policies, "PurePath", PureWindowsPath)
    monkeypatch.setattr(policies, "is_file", lambda name: there and name == file)
    assert split(file) == (file, None, None)
    assert split(f"{file}@sized/*:power=2") == (file, "sized/*", "power=2")
    assert split(f"{file}:NAME@static:power=2") == (f"{file}:NAME", "static", "power=2")
    assert policies.in_file(f"{file}:NAME") == (file, "NAME")
    assert policies.in_file(file) == (file, None)
    for other in ("D:run\\checkpoint.npz", "\\\\server\\share\\my.PY", "C:/a b/model.zip"):
        assert split(f"{other}@monitored") == (other, "monitored", None)


def test_a_file_is_read_again_when_it_has_changed(write, workload):
    write(TWO)
    first = simulate(workload, "mine.py:longest").finish_s.tolist()
    seen = Path("mine.py").stat()
    write(TWO.replace("= -queue", "=  queue"))
    os.utime("mine.py", ns=(seen.st_atime_ns, seen.st_mtime_ns))  # and is as large
    assert simulate(workload, "mine.py:longest").finish_s.tolist() != first


def test_modules_beside_a_file_are_its_own(write, workload, tmp_path):
    sign = "helper_of_mine.sign * queue"
    found = []
    for folder, text in (("a", "sign = 1.0"), ("b", "sign = -1.0"), ("a", "sign = -1.0 ")):
        (tmp_path / folder).mkdir(exist_ok=True)
        write("import helper_of_mine, random\nrandom.seed\n" + RULE.replace("queue.", f"{sign}."),
              f"{folder}/mine.py")  # fmt: skip
        write("import nothing_there", f"{folder}/random.py")  # Python's own is meant
        write(text, f"{folder}/helper_of_mine.py")
        found.append(simulate(workload, f"{folder}/mine.py@sized").finish_s.tolist())
    assert found[0] != found[1] == found[2]
    assert "helper_of_mine" not in sys.modules


@pytest.mark.parametrize(
    ("text", "spec", "words"),
    [
        (RULE, "mine.py:nope", ["'nope'", "score"]),
        (TWO, "mine.py", ["2 rules", ":shortest", ":longest"]),
        (POLICIES, "mine.py", [":MINE", ":WEIGHTED"]),
        ("x = 1", "mine.py", ["no rule", "score(queue, size, now, parameters, scores)"]),
        ("x = 1", "mine.py:x", ["x is 1", "plain function"]),
        ("class C:\n    def __call__(self): ...\nscore = C()", "mine.py:score", ["plain function"]),
        ("def score(queue, scores): ...", "mine.py", ["(queue, scores)", "now"]),
        ("import nope_nope", "mine.py", ["line 1", "ModuleNotFoundError"]),
        ("x = 1\ny = [", "mine.py", ["line 2", "SyntaxError"]),
        ("\n\nraise SystemExit(3)", "mine.py", ["line 3", "SystemExit"]),
        (RULE, "no.py", ["no.py", "No such file"]),
        (RULE, "mine.py@nope", ["level", "'nope'"]),
        (RULE, "mine.py:beta=1", ["'beta'", "no parameters"]),
    ],
)
def test_what_is_wrong_is_told_in_a_line(text, spec, words, write):
    write(text)
    with pytest.raises(DystaError) as error:
        find(spec)
    assert len(str(error.value).splitlines()) == 1
    for word in words:
        assert word in str(error.value)


def test_a_parameter_that_nobody_gave_is_no_number(write, workload):
    write(RULE.replace("queue.remaining[i]", "queue.remaining[i] * parameters[0]"))
    with pytest.raises(DystaError, match="NaN"):
        simulate(workload, "mine.py")


def test_what_a_file_defines_comes_before_what_it_imports(write):
    write("from dysta_gym.baselines.fcfs import FCFS\n" + RULE)
    assert find("mine.py").score.__module__ != "dysta_gym.baselines.fcfs"
    write("from dysta_gym.baselines.fcfs import FCFS\n", "alone.py")
    assert find("alone.py").stable  # as FCFS is
    write("from functools import partial\nscore = partial(print)", "odd.py")
    with pytest.raises(DystaError, match=r"score is .*plain function"):
        find("odd.py")


def test_a_rule_that_raises_is_named_in_a_line(write, monkeypatch, capsys):
    write("def score(queue, size, now, parameters, scores):\n    raise ValueError('no')\n")
    options = ["--policy", "mine.py", "--seeds", "1", "--requests", "20"]
    monkeypatch.setattr("sys.argv", ["dysta-gym", "compare", *options])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    told = "dysta-gym: error: policy 'mine.py': its rule raises an error (ValueError: no)"
    assert capsys.readouterr().err.splitlines()[-1] == told
