"""Tuning: one search for all rules, and the constants on its page are those that are shipped."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tune
from benchmarks.tune import FIXED, TUNABLE, benches, search
from dysta_gym.agents.protocol import TRAINING, VALIDATION, conditions
from dysta_gym.agents.recipes import Workloads
from dysta_gym.plugins import entries
from dysta_gym.policies import ENTRY_POINTS, find

PAGE = Path(__file__).parents[1] / "docs" / "tuning.md"
BOX = {"weight": (1e-4, 10.0), "shift": (-2.0, 2.0)}


def bowl(settings):
    """Least, 0, at a weight of 0.02 and a shift of 0.7."""
    return np.array([np.log(s["weight"] / 0.02) ** 2 + (s["shift"] - 0.7) ** 2 for s in settings])


def test_the_search_finds_the_least_in_three_digits_and_again():
    asked = []

    def of(settings):
        asked.extend(tuple(each.values()) for each in settings)
        return bowl(settings)

    found = search(of, {"weight": 1.0, "shift": 0.0}, BOX)
    assert found["weight"] == pytest.approx(0.02, rel=0.1)
    assert found["shift"] == pytest.approx(0.7, abs=0.1)
    assert (1.0, 0.0) in asked[: 4 + 4 * len(BOX)]
    assert len(set(asked)) == len(asked)  # none is measured twice
    for weight, shift in asked:
        assert (float(f"{weight:.3g}"), float(f"{shift:.3g}")) == (weight, shift)
        assert 1e-4 <= weight <= 10 and abs(shift) <= 2
    assert search(bowl, {"weight": 1.0, "shift": 0.0}, BOX) == found


def test_the_search_keeps_constants_that_nothing_beats():
    before = {"weight": 0.02, "shift": 0.7}
    assert search(bowl, before, BOX) == before
    assert search(lambda each: np.ones(len(each)), before, BOX, generations=2) == before


def test_constants_that_fall_are_measured_in_their_order():
    box = {"high": (0.1, 10.0), "rate": (0.1, 10.0), "low": (0.1, 10.0)}
    before = {"high": 3.0, "rate": 1.0, "low": 2.0}

    def of(settings):
        assert all(each["high"] >= each["low"] for each in settings)
        return np.array([abs(each["rate"] - 2 * each["low"]) for each in settings])

    assert list(search(of, before, box, ("high", "low"))) == list(box)


def test_every_rule_with_constants_is_tuned_or_it_is_said_why_not():
    rules = {
        entry.name: find(entry.name)
        for entry in entries(ENTRY_POINTS).values()
        if entry.value.startswith("dysta_gym.baselines.")
    }
    with_constants = {policy.name for policy in rules.values() if policy.parameters}
    assert not set(TUNABLE) & set(FIXED)
    assert set(TUNABLE) | set(FIXED) == with_constants


@pytest.mark.parametrize("tunable", TUNABLE.values(), ids=TUNABLE)
def test_a_search_starts_within_its_box_at_what_the_rule_had(tunable):
    policy = find(tunable.rule)
    assert list(tunable.before) == list(tunable.box) == list(policy.parameters)
    for name, (low, high) in tunable.box.items():
        assert low <= tunable.before[name] <= high
        for end in (low, high):
            policy.at("static", **{name: end})  # is allowed
    if tunable.rule in ("sdrm3-tuned", "prema-tuned"):
        published = find(tunable.published)
        assert published.score is policy.score
        assert published.values(1.0).tolist() == list(tunable.before.values())


def test_the_page_has_the_constants_that_are_shipped():
    part = PAGE.read_text(encoding="utf-8").partition(tune.BEGIN)[2].partition(tune.END)[0]
    rows = re.findall(r"^\| `(\S+)@(\S+)` \| (.*) \| (.*) \| (found|before) \|$", part, re.M)
    assert [row[0] for row in rows] == list(TUNABLE)
    for rule, level, before, found, kept in rows:
        shipped = find(rule)
        constants = dict(
            pair.rsplit(" ", 1) for pair in (found if kept == "found" else before).split(", ")
        )
        assert level == shipped.level
        assert {key: float(value) for key, value in constants.items()} == {
            key: parameter.default for key, parameter in shipped.parameters.items()
        }


@pytest.fixture(scope="module")
def small():
    return benches(
        Workloads(scenarios=("multi-attnn",), loads=(1.0,), requests=60, validation=2), 3
    )


def test_rules_are_tuned_on_what_the_page_says(monkeypatch):
    class Asked(Exception):
        pass

    def asked(workloads, pool):
        raise Asked(workloads)

    monkeypatch.setattr(tune, "benches", asked)
    with pytest.raises(Asked) as caught:
        tune.main(["slack-index"])
    (workloads,) = caught.value.args
    where = [each.name for each in conditions(workloads)]
    assert len(where) == 21 and len({*where}) == 7  # scenarios, at three loads each
    assert "Seven scenarios at loads 0.8, 0.95 and 1.05" in PAGE.read_text(encoding="utf-8")


def test_no_workload_is_one_that_is_reported(small):
    training, validation = small
    assert [*training.seeds] == [*range(TRAINING, TRAINING + 3)]
    assert [*validation.seeds] == [VALIDATION, VALIDATION + 1]
    for bench in small:
        for workload in bench.workloads[0]:
            for trace, row in zip(workload.trace, workload.row, strict=True):
                assert workload.store.traces[trace].train[row]


def test_a_rule_is_tuned_at_the_level_that_is_asked_for(small):
    told = []
    found = tune.tune(TUNABLE["sdrm3-tuned"], "pattern", *small, 2, lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]
    assert found.before.spec == "sdrm3-tuned@pattern:alpha=1.0"
    assert found.after.level == "pattern"
    assert found.training[1] <= found.training[0]
    assert found.published == pytest.approx(found.validation[0])
    assert found.kept in (found.before, found.after)
    assert found._replace(validation=np.array([1.0, 1.0])).kept is found.before
    shown = tune.tables([found])
    assert "| `sdrm3-tuned@pattern` | alpha 1 |" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dysta"], ["RULE", "'dysta'", "sdrm3-tuned"]),
        (["--level", "oracle"], ["--level", "'oracle'", "static"]),
        (["sdrm3-tuned", "--out", "page.md"], ["--out"]),
    ],
)
def test_bad_arguments_are_refused(arguments, words, capsys):
    with pytest.raises(SystemExit) as left:
        tune.main(arguments)
    assert left.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert all(word in said for word in words)


def test_an_interrupt_leaves_what_was_found(small, monkeypatch, capsys):
    calls = iter([tune.tune(TUNABLE["slack-pull"], "static", *small, 1)])

    def interrupted(*_, **__):
        for found in calls:
            return found
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "benches", lambda *_: small)
    monkeypatch.setattr(tune, "tune", interrupted)
    assert tune.main(["slack-pull", "slack-index"]) == 130
    assert "`slack-pull@static`" in capsys.readouterr().out
