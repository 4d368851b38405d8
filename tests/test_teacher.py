"""What rollouts see that a score did not: benchmarks/frontier/looking.py and teacher.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.frontier import looking, teacher
from benchmarks.frontier.looking import (
    KINDS,
    VISIBLE,
    Seen,
    comparisons,
    differences,
    kinds,
    look,
    picked,
    ratio,
    scores,
    worth_of,
)
from benchmarks.frontier.teacher import CONDITIONS, Size, section
from benchmarks.readme import between
from dysta_gym.errors import DystaError
from dysta_gym.machine.machine import Machine
from dysta_gym.policies import find
from dysta_gym.rollouts import over
from dysta_gym.workloads import generate, load_scenario

BASE = find("evolved")
FEW = {"futures": 6, "horizon": 10}


def workload(seed=1, requests=80):
    scenario = load_scenario("multi-attnn").varied(load=1.05, requests=requests)
    return generate(scenario, seed, split="test")


@pytest.fixture(scope="module")
def seen() -> Seen:
    return look([workload(seed) for seed in range(4)], BASE, 5, **FEW)


def test_the_choice_is_the_policys() -> None:
    """With what it is asked for here, the teacher chooses as it does in the compiled loop."""
    one = workload()
    found = look([one], BASE, 1, **FEW)
    policy = replace(over(BASE).at(BASE.level, **FEW), events=False)
    agreed = []
    for at, machine in enumerate(looking.states(one, BASE, 1)):
        slot = machine.choose(policy)
        first, its = (found.remaining[at, each] for each in (0, found.chosen[at]))
        assert first == machine.queue.remaining[machine.choose(replace(BASE, events=False))]
        agreed.append(its == machine.queue.remaining[slot])
    assert len(agreed) > 60
    assert np.mean(agreed) > 0.95  # the policy may have given up one that would come out ahead


def test_what_is_seen_is_of_the_candidates(seen: Seen) -> None:
    count = len(seen.workload)
    assert count > 40 and seen.departs.sum() > 5
    assert seen.requests.shape == (count, 4, len(VISIBLE.requests))
    some = np.isfinite(seen.remaining)
    assert (np.isfinite(seen.requests).all(axis=2) == some).all() and some[:, :2].all()
    assert not seen.gain[:, 0].any()
    names = [each.name for each in VISIBLE.requests]
    assert (seen.requests[:, :, names.index("late")][some] == (seen.margin[some] < 0)).all()
    unit = Machine(workload(), BASE.level).mean_isolated_s
    expected = np.log(np.maximum(seen.remaining[some] / unit, 1e-3)) / 2
    np.testing.assert_allclose(
        seen.requests[:, :, names.index("remaining")][some], expected, atol=1e-6
    )  # fmt: skip
    # What fewer late requests are worth is so many times the weight in the mean of six futures.
    assert np.allclose(seen.in_time * 6 / 30, np.round(seen.in_time * 6 / 30), atol=1e-6)
    assert not seen.in_time[~seen.departs].any() and seen.in_time.any()


def test_kinds_are_of_departures(seen: Seen) -> None:
    which = kinds(seen)
    assert which.shape == (seen.departs.sum(),)
    assert ((which >= 0) & (which < len(KINDS))).all()
    departs = np.flatnonzero(seen.departs)
    for at, kind in zip(departs, which, strict=True):
        theirs, its = seen.remaining[at, seen.chosen[at]], seen.remaining[at, 0]
        if KINDS[kind].endswith("shorter one pass"):
            assert theirs < its
        elif KINDS[kind].endswith("longer one"):
            assert theirs >= its
        rescued = 0 <= seen.margin[at, seen.chosen[at]] < its
        assert rescued == (kind == 0)


def test_differences_are_in_standard_deviations(seen: Seen) -> None:
    found = {each.name: each for each in differences(seen)}
    assert {*found} == {each.name for each in VISIBLE.requests}
    sizes = [abs(each.of_base[0]) for each in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    at = [each.name for each in VISIBLE.requests].index("remaining")
    values = seen.requests[:, :, at]
    moved = (seen.at(values, seen.chosen) - values[:, 0])[seen.departs]
    assert found["remaining"].of_base[0] == pytest.approx(moved.mean() / np.nanstd(values))


def test_a_ratio_of_one_group_less_at_a_time() -> None:
    estimate, half = ratio(np.arange(4.0), np.ones(4), np.arange(4))
    assert estimate == 1.5
    # Student's t with three degrees of freedom, times the standard error of a mean.
    assert half == pytest.approx(3.18245 * np.std(np.arange(4), ddof=1) / 2, rel=1e-5)
    assert np.isnan(ratio(np.zeros(2), np.zeros(2), np.arange(2))).all()


def made(worth, states=600, seed=0) -> Seen:
    """States in which what a candidate is worth follows from features; the teacher knows it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(states, 4, len(VISIBLE.requests)))
    q = rng.normal(size=(states, len(VISIBLE.queue)))
    gain = worth(x, q, rng)
    gain = gain - gain[:, :1]
    nothing = np.zeros((states, 4))
    return Seen(
        np.arange(states) % 10, x, q, nothing, nothing, gain, gain,
        np.argmax(gain, axis=1), np.zeros(states),
    )  # fmt: skip


def test_what_a_score_could_know_is_told_from_what_it_cannot() -> None:
    names = ("remaining", "late", "slack", "backlog")
    at = [each.name for each in VISIBLE.requests].index("late")
    where = [each.name for each in VISIBLE.queue].index("backlog")
    of_score = made(lambda x, q, _: (x[..., at] ** 2 + x[..., at] * q[:, [where]]) / 4)
    assert worth_of(of_score, picked(of_score, scores(of_score, names)))[0] > 0.99
    assert worth_of(of_score, picked(of_score, scores(of_score, ["age"])))[0] < 0.3
    of_both = made(lambda x, q, _: x[..., at] * x[:, :1, at] / 4)
    assert worth_of(of_both, picked(of_both, scores(of_both, names)))[0] < 0.5
    assert worth_of(of_both, picked(of_both, comparisons(of_both, names)))[0] > 0.99
    of_none = made(lambda x, q, rng: rng.normal(size=x.shape[:2]))
    assert worth_of(of_none, picked(of_none, comparisons(of_none, names)))[0] < 0.3


def test_the_section_goes_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "FOLDS", 3)
    monkeypatch.setattr(looking, "PENALTIES", (0.03,))
    part = section([BASE], Size(2, 60, 4), CONDITIONS[-2:], **FEW)
    for each in VISIBLE.requests:
        assert part.count(f"| `{each.name}` |") == 1
    for kind in KINDS:
        assert part.count(f"| {kind} |") == 1
    page = tmp_path / "frontier.md"
    page.write_text(f"before\n{teacher.BEGIN}\n{teacher.END}\nafter\n", encoding="utf-8")
    between(page, teacher.BEGIN, teacher.END, part)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and part.strip() in text
    assert teacher.BEGIN in teacher.PAGE.read_text(encoding="utf-8")


def test_bases_that_are_not_there_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert [each.name for each in teacher.installed(["evolved", "nobody"])] == ["evolved"]
    assert "'nobody'" in capsys.readouterr().err
    with pytest.raises(DystaError, match="none of them"):
        teacher.installed(["nobody"])
