"""The judge of families of policies: benchmarks/frontier."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.frontier import __main__ as frontier
from benchmarks.frontier import conditions, measuring
from benchmarks.frontier.judging import (
    AHEAD,
    BEHIND,
    LEAST_ANTT,
    LEVEL,
    MOST_ANTT,
    MOST_LATE,
    hypervolume,
    least_late_at,
    verdict,
)
from benchmarks.frontier.measuring import Family, board, key
from benchmarks.frontier.pictures import moved
from benchmarks.frontier.sections import Measured, hypervolume_section
from dysta_gym.comparison import compare
from dysta_gym.errors import DystaError
from dysta_gym.policies import find
from dysta_gym.workloads import generate, load_scenario

# --- hypervolume ---------------------------------------------------------------------------------

GRID = 24
"""Cells of the box along an axis, on whose corners points lie."""


@given(st.lists(st.tuples(st.integers(-4, GRID + 4), st.integers(-4, GRID + 4)), max_size=8))
def test_the_hypervolume_is_the_share_of_the_box_that_is_covered(points) -> None:
    late, antt = 0.1, 4.0
    places = np.array(points, float).reshape(-1, 2) / GRID
    found = hypervolume(
        np.maximum(places[:, 0], 0) * MOST_LATE * late,
        (LEAST_ANTT + places[:, 1] * (MOST_ANTT - LEAST_ANTT)) * antt,
        (late, antt),
    )
    covered = sum(
        any(x <= across and y <= up for x, y in points)
        for across, up in product(range(GRID), range(GRID))
    )
    assert found == pytest.approx(covered / GRID**2, abs=1e-12)


def test_nothing_covers_more_than_all_or_less_than_none() -> None:
    none = np.empty(0)
    assert hypervolume(none, none, (0.1, 4.0)) == 0
    assert hypervolume(np.zeros(1), np.ones(1), (0.1, 4.0)) == 1
    assert hypervolume(np.array([0.11]), np.ones(1), (0.1, 4.0)) == pytest.approx(0)


# --- dominance -----------------------------------------------------------------------------------

NOISE = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])


def against(members: list[tuple[float, float]], noise: np.ndarray = NOISE * 0):
    """Members' means against a rule at violations 0.1 and ANTT 2, each with noise of its own."""
    late, antt = (np.array([each[at] for each in members])[:, None] for at in (0, 1))
    flat = np.full(NOISE.size, 0.1)
    return verdict(late + noise, antt - noise, flat, 20 * flat)


def test_a_member_that_is_better_on_one_axis_is_ahead() -> None:
    assert against([(0.1, 1.9)])[:2] == (AHEAD, True)
    assert against([(0.3, 1.0), (0.05, 2.0)])[:2] == (AHEAD, True)


def test_the_same_is_level() -> None:
    found = against([(0.1, 2.0)])
    assert found[:2] == (LEVEL, False)
    assert (found.late_at_its_antt, found.antt_at_its_late, found.undercut) == (0, 0, False)


def test_worse_by_less_than_noise_is_level_but_not_in_the_mean() -> None:
    assert against([(0.101, 2.0)], NOISE)[:2] == (LEVEL, False)
    assert against([(0.101, 1.0)], NOISE)[:2] == (AHEAD, False)
    assert against([(0.099, 2.0)], NOISE)[:2] == (LEVEL, True)


def test_behind_says_by_how_much() -> None:
    found = against([(0.2, 1.5), (0.15, 2.0), (0.05, 2.5)])
    assert found.outcome == BEHIND
    assert found.late_at_its_antt == pytest.approx(0.05)
    assert found.antt_at_its_late == pytest.approx(0.25)
    assert found.undercut


def test_a_rule_of_less_antt_and_more_violations_does_not_undercut() -> None:
    found = against([(0.05, 2.5), (0.01, 3.0)])
    assert found.outcome == BEHIND
    assert not found.undercut
    assert np.isnan(found.late_at_its_antt)
    assert against([(0.2, 2.5)]).undercut


def test_between_points_the_curve_is_straight() -> None:
    late, antt = np.array([0.4, 0.1, 0.2]), np.array([1.0, 3.0, 2.0])
    assert least_late_at(late, antt, 1.5) == pytest.approx(0.3)
    assert least_late_at(late, antt, 0.5) == 0.4
    assert least_late_at(np.array([0.1, 0.2]), np.array([1.0, 2.0]), 2.0) == 0.1


# --- families and what is kept -------------------------------------------------------------------

TILTS = Family.read("evolved:tilt=2,0,-1")


def test_a_family_is_read_from_text() -> None:
    family = Family.read("slack-pull:pull=1,2.5")
    assert family.names == [
        "slack-pull@sized/kalman:pull=1.0",
        "slack-pull@sized/kalman:pull=2.5",
    ]
    assert family.close(0.0).settings == {"pull": 1.0}
    for text in ("evolved", "tilt=1", "evolved:tilt=", "evolved:tilt=x"):
        with pytest.raises(DystaError, match="POLICY:PARAMETER"):
            Family.read(text)


def test_a_tilt_of_nothing_is_the_agent() -> None:
    workload = generate(load_scenario("multi-attnn").varied(requests=60), 1)
    runs = [compare([workload_scenario()], [policy], seeds=[1], bounds=False)
            for policy in ("evolved", "evolved:tilt=0")]  # fmt: skip
    assert runs[0]["antt"].tolist() == runs[1]["antt"].tolist()
    assert len(moved(TILTS, [workload], every=3)) > 10


def workload_scenario():
    return load_scenario("multi-attnn").varied(requests=60)


def test_what_is_measured_is_keyed_by_what_a_policy_is_made_of() -> None:
    policy = find("evolved:tilt=1")
    assert key(policy) == key(find("evolved:tilt=1"))
    other = replace(policy, weights=(*policy.weights[:-1], policy.weights[-1] + 1e-9))
    assert other.spec == policy.spec
    assert key(other) != key(policy)
    assert key(find("sjf")) != key(replace(find("sptp"), name="sjf", level="static"))


def few(folder: Path) -> list[conditions.Part]:
    """One condition of the paper's track, two of other deadlines, and one made up."""
    kept = []
    for part in conditions.parts(["paper"], 3, folder=folder / "traces"):
        chosen = [each for each in part.conditions if each.scenario.load == 0.95]
        tight = [each for each in chosen if each.scenario.slo_multiplier == 3]
        own = [each for each in chosen if each.scenario.slo_multiplier == 10]
        shorter = [
            replace(each, scenario=each.scenario.varied(requests=160))
            for each in [*tight[-1:], *own[-1:]]
        ]
        kept.append(replace(part, conditions=tuple(shorter)))
    return kept


def test_only_what_is_new_is_run_and_the_page_has_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = ("sjf", "sptp@sized/kalman", "dysta@sized/kalman", "edf-triage")
    for module in (measuring, frontier):
        monkeypatch.setattr(module, "RULES", rules)
    monkeypatch.setattr("benchmarks.frontier.sections.RULES", rules)
    monkeypatch.setattr("benchmarks.frontier.pictures.LOOKED_AT", (("multi-attnn", 1.05),))
    which = few(tmp_path)
    done = frontier.measure(which, [TILTS], tmp_path, 1)
    assert [*done.boards] == ["paper", "deadlines", "made-up"]
    own = done.boards["paper"]
    plain = compare(
        [part.conditions[0].scenario for part in which[:1]], ["edf-triage"],
        seeds=which[0].seeds, bounds=False,
    )  # fmt: skip
    (at,) = own.at([find("edf-triage").spec])
    assert own.antt[at, 0].tolist() == plain["antt"].tolist()

    ran = []
    monkeypatch.setattr(measuring.Lineup, "play", lambda *_, **__: ran.append(1) or iter(()))
    assert board(which[0], [rules], tmp_path).antt.tolist() == own.antt[: len(rules)].tolist()
    assert not ran
    monkeypatch.undo()
    monkeypatch.setattr("benchmarks.frontier.sections.RULES", rules)
    monkeypatch.setattr("benchmarks.frontier.pictures.LOOKED_AT", (("multi-attnn", 1.05),))

    part = frontier.page_part(done, tmp_path / "page", which, quick=True)
    for heading in ("Goals", "Hypervolume", "At tight deadlines", "Speed", "What the parameter"):
        assert f"## {heading}" in part
    assert part.count("| yes |") + part.count("| **no** |") == 7
    for name in ("bounds.png", "moves.png", "classes.png", "losses.csv"):
        assert (tmp_path / "page" / name).stat().st_size > 100
    # A family that is not there is not judged.
    section = hypervolume_section(Measured({"paper": own}, TILTS, (TILTS,)))
    assert len(section.goals) == 1


def test_made_up_networks_are_what_they_are_said_to_be() -> None:
    for trace in conditions.heavy_tailed():
        assert trace.latency_s.shape == (conditions.INPUTS, 200)
        for split in ("train", "test"):
            sizes = trace.isolated_s[trace.rows(split)]
            assert sizes.max() > 25 * np.median(sizes)
    means = [trace.isolated_s.mean() for trace in conditions.of_sizes()]
    assert means[2] / means[0] == pytest.approx(1000, rel=0.1)
    again = [trace.latency_s.tobytes() for trace in conditions.of_sizes()]
    assert again == [trace.latency_s.tobytes() for trace in conditions.of_sizes()]
