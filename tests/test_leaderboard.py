"""The leaderboard on file is what the package measures."""

import csv
import re
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

import dysta_gym
from benchmarks import leaderboard
from dysta_gym.comparison import CELL
from dysta_gym.tracks import load_track, shipped_tracks

ROOT = Path(__file__).parents[1]
SOME = [*leaderboard.REFERENCE, "sjf@monitored", "evolved@sized/kalman", "ppo@sized/kalman"]


@pytest.fixture(scope="module")
def again():
    """The track of the paper, for a few policies, measured anew."""
    return leaderboard.measure(SOME, ["paper"])


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")


def table_after(text, heading, within=""):
    """Rows of the first table with this column that follows a heading, cells by the first one."""
    part = text.split(f"\n{heading}\n", 1)[1]
    for block in part.split("\n\n"):
        if block.startswith("|") and within in block:
            rows = [line.strip("| ").split(" | ") for line in block.splitlines()]
            return rows[0], {row[0].strip("`"): row[1:] for row in rows[2:]}
    raise AssertionError(heading)


def test_every_track_and_policy_is_there(page):
    assert set(leaderboard.TRACKS) == set(shipped_tracks())
    head, table = table_after(page, "## Everything in one table")
    assert head[1:] == list(leaderboard.TRACKS)
    assert list(table) == [*leaderboard.LISTED, "(in hindsight)", "(lower bounds)"]
    for track in leaderboard.TRACKS:
        assert set(table_after(page, f"### {track}", "wins")[1]) == set(leaderboard.LISTED)
        heading = f"#### {track}, condition by condition"
        rows = page.split(heading, 1)[1].split("\n\n")[1].splitlines()[2:]
        found = [tuple(row.strip("| ").split(" | ")[:3]) for row in rows]
        assert found == [
            (name, f"{load:.3g}", f"{slo:g}")
            for name, load, _, slo in (each.where for each in load_track(track).conditions())
        ]


def test_its_numbers_are_measured_again(again, page):
    part = leaderboard.pooled(again)
    _, table = table_after(page, "### paper", "wins")
    _, everything = table_after(page, "## Everything in one table")
    for policy in SOME:
        row = part.loc[policy]
        numbers = [float(re.match(r"[-+.0-9]+", cell)[0]) for cell in table[policy]]
        late, way, wins, weighted, slow, _, slow_wins = numbers
        assert late == pytest.approx(100 * row["violation_rate"], abs=0.00501)
        assert weighted == pytest.approx(100 * row["weighted_violation_rate"], abs=0.00501)
        assert slow == pytest.approx(row["antt"], abs=0.000501)
        assert wins == pytest.approx(100 * row["violation_rate_wins"], abs=0.501)
        assert slow_wins == pytest.approx(100 * row["antt_wins"], abs=0.501)
        best = row["violation_rate"] - row["violation_rate_diff"]
        gone = (best - row["violation_rate"]) / (best - row["violation_rate_lower_bound"])
        assert way == pytest.approx(100 * gone, abs=0.501)
        shown = everything[policy][list(leaderboard.TRACKS).index("paper")]
        assert shown == f"{100 * row['violation_rate']:.2f} / {row['antt']:.3f}"


def test_the_goals_are_judged_against_the_best_form_at_equal_information(again):
    mean = leaderboard.means(again)
    for level, forms in leaderboard.FORMS.items():
        best = leaderboard.best_form(mean, level)
        for condition, row in best.iterrows():
            by_hand = again[(again[CELL] == list(condition)).all(axis=1)]
            by_hand = by_hand[by_hand["policy"].isin(forms)].groupby("policy")
            for metric in ("violation_rate", "antt"):
                assert row[metric] == by_hand[metric].mean().min()


def test_a_policy_that_is_beaten_on_both_is_named():
    frame = pd.DataFrame(
        {
            **dict(zip(CELL, ("s", 1.0, 10.0, 10.0), strict=True)),
            "policy": ["mine", "better", "mixed", "same"],
            "violation_rate": [0.2, 0.1, 0.1, 0.2],
            "antt": [3.0, 2.0, 4.0, 3.0],
            "weighted_violation_rate": 0.0,
            "antt_lower_bound": 1.0,
            "violation_rate_lower_bound": 0.0,
        }
    )
    others = ["better", "mixed", "same"]
    assert leaderboard.beaten(leaderboard.means(frame), "mine", others) == {"better": 1}


def test_the_readme_shows_a_part_of_it(page):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = text.partition(leaderboard.BEGIN)[2].partition(leaderboard.END)[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line[:1] == "|"]
    head, everything = table_after(page, "## Everything in one table")
    assert rows[0][1:] == head[1:]
    names = [row[0].strip("`") for row in rows[2:]]
    assert names == [*leaderboard.SUMMARY, "(in hindsight)", "(lower bounds)"]
    for name, row in zip(names, rows[2:], strict=True):
        assert row[1:] == everything[name]


def test_looks_are_recorded(page):
    with (ROOT / "docs" / "looks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(row["why"].strip() and date.fromisoformat(row["date"]) for row in rows)
    assert set(rows[-1]["tracks"].split()) == set(shipped_tracks())
    assert rows[-1]["version"] == dysta_gym.__version__
    for row in rows:
        assert row["why"].replace("|", "\\|") in page
