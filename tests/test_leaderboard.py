"""The leaderboard on file is what the package measures."""

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import leaderboard
from dysta_gym.agents.protocol import SCENARIOS

ROOT = Path(__file__).parents[1]
CONDITIONS = [(scenario, load) for scenario in SCENARIOS for load in leaderboard.LOADS]
SOME = ["dysta@monitored", "sjf@monitored", "evolved@sized/kalman", "evolved@monitored"]


@pytest.fixture(scope="module")
def again():
    """A part of the leaderboard, measured anew."""
    return leaderboard.measure(SOME)


def rows_of(text, heading):
    """Cells by the first one, of the table that follows a heading."""
    lines = text.split(f"{heading}\n", 1)[1].split("\n\n## ", 1)[0].split("\n\n### ", 1)[0]
    table = [line.strip("| ").split(" | ") for line in lines.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in table[2:]}


def test_its_numbers_are_measured_again(again):
    page = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    mean = leaderboard.means(again)
    headings = re.findall(r"^### (.*), load (\S+) \(", page, re.MULTILINE)
    assert [(name, float(load)) for name, load in headings] == CONDITIONS
    for scenario, load in CONDITIONS:
        (heading,) = re.findall(rf"^### {scenario}, load {load:g} .*", page, re.MULTILINE)
        table = rows_of(page, heading)
        assert set(table) == set(leaderboard.LISTED)
        for policy in SOME:
            row = mean.loc[(scenario, load, policy)]
            violations, _, antt, _, bound = table[policy]
            shown = [float(cell.split()[0].strip("*")) for cell in (violations, antt, bound)]
            measured = [
                100 * row["violation_rate"],
                row["antt"],
                row["antt"] / row["antt_lower_bound"],
            ]
            assert shown == pytest.approx(measured, abs=0.00501)  # two digits


def test_the_readme_says_the_same(again):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = text.partition(leaderboard.BEGIN)[2].partition(leaderboard.END)[0]
    mean = leaderboard.means(again)
    table = [line.strip("| ").split(" | ") for line in part.splitlines() if line[:1] == "|"]
    assert [(row[0], float(row[1])) for row in table[2:]] == CONDITIONS
    for row in table[2:]:
        cells = dict(zip(leaderboard.SUMMARY, row[2:], strict=False))
        for policy in set(SOME) & set(cells):
            assert cells[policy] == leaderboard.pair(mean.loc[(row[0], float(row[1]), policy)])


def test_a_policy_that_is_beaten_on_both_is_named():
    frame = pd.DataFrame(
        {
            "scenario": "s",
            "load": 1.0,
            "policy": ["mine", "better", "mixed", "same"],
            "violation_rate": [0.2, 0.1, 0.1, 0.2],
            "antt": [3.0, 2.0, 4.0, 3.0],
            "antt_lower_bound": 1.0,
            "violation_rate_lower_bound": 0.0,
        }
    )
    others = ["better", "mixed", "same"]
    assert leaderboard.beaten(leaderboard.means(frame), "mine", others) == ["better in s at 1"]
