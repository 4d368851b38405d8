"""What the commands print at the width of a terminal."""

import json
import os
import re
import subprocess
import sys

import pytest

from dysta_gym.comparison import DEFAULT_POLICIES

NAMES = {
    "traces": "model",
    **dict.fromkeys(
        ["accelerators", "policies", "scenarios", "tracks", "features", "rewards"], "name"
    ),
}
"""Commands that list, and what of an item stands first in its line."""

LONG = ("dysta-tuned@sized/kalman", "moore-hodgson-tuned@sized/kalman")
COMPARE = (
    *("compare", "--requests", 30, "--seeds", 5, "--load", 0.8),
    *("--load", 1.05),
    *(part for name in (*DEFAULT_POLICIES[:7], "ppo", *LONG) for part in ("--policy", name)),
    *("--scenario", "multi-attnn"),
)
POLICIES = [*DEFAULT_POLICIES[:7], "ppo", *LONG]


@pytest.fixture
def at(run, monkeypatch):
    """``at(width, *arguments)``: what a command prints through a pipe with ``COLUMNS`` set."""

    def at(width, *arguments):
        if width is not None:
            monkeypatch.setenv("COLUMNS", str(width))
        status, output, _ = run(*arguments)
        assert status == 0
        assert "\x1b" not in output and "…" not in output
        assert max(map(len, output.splitlines())) <= (width or 160)
        return output

    return at


@pytest.mark.parametrize("command", NAMES)
def test_a_listing_has_a_line_each(at, run, command):
    names = [item[NAMES[command]] for item in json.loads(run(command, "--json")[1])]
    names = list(dict.fromkeys(names))
    for width in (40, 60, 80, 120, None):
        lines = at(width, command).splitlines()
        found = [line.split()[0] for line in lines if not line.startswith(" ")]
        assert [each for each in found if each in names] == names
        assert len(lines) == len(names) + 2 or width == 40  # where a head may be broken


@pytest.mark.parametrize("command", NAMES)
def test_verbose_listings_say_all(at, run, command):
    listed = json.loads(run(command, "--json")[1])
    said = " ".join(at(80, command, "--verbose").split())
    for item in listed:
        assert item["name"] in said
        for key in ("summary", "description", "meaning", "published", "source"):
            if not item.get("alias_of"):
                assert " ".join(item.get(key, "").split()) in said
        for parameter, about in item.get("parameters", {}).items():
            assert f"{parameter}=" in said and about["description"] in said
        for network in item.get("models", ()):
            assert network in said
        if command == "traces":
            assert item["provenance"]["network"] in said
            assert f"{item['mean_sparsity']:.3f}" in said
    assert at(80, command, "-v") == at(80, command, "--verbose")
    assert run(command, "-v", "--json") == run(command, "--json")


def rows_of(text):
    rows = [line.strip("│| ").replace("│", "|").split("|") for line in text.splitlines()]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) > 1]
    return [row for row in cells if row[0] in POLICIES]


@pytest.mark.parametrize("bounds", ["--bounds", "--no-bounds"])
def test_a_policy_is_a_line_of_a_comparison(at, tmp_path, bounds):
    arguments = (*COMPARE, bounds, "--out", tmp_path)
    whole = at(None, *arguments)
    shown = rows_of(whole)
    assert [row[0] for row in shown] == 3 * POLICIES and "±" not in whole
    assert shown == rows_of((tmp_path / "results.md").read_text(encoding="utf-8"))
    columns = len(shown[0])
    for width in (120, 100, 80, 64, 60):
        output = at(width, *arguments)
        rows = rows_of(output)
        assert [row[0] for row in rows] == 3 * POLICIES
        assert len(rows[0]) <= columns  # the narrower, the fewer
        columns = len(rows[0])
        assert f"No room at {width} columns for: " in output or width > 100
        assert "All of it takes" in output
        for row, wanted in zip(rows, shown, strict=True):
            values = [cell.split(" ")[0] for cell in row]
            everything = iter(cell.split(" ")[0] for cell in wanted)
            assert all(value in everything for value in values)  # in this order
    narrow = " ".join(at(40, *arguments).split())
    for note in ("Mean over 5 seeds;", "Marked *: best", "In hindsight"):
        assert (note in narrow) == (note != "In hindsight" or bounds == "--bounds")
    for gone in ("Way:", "Wins:", "differences to"):
        assert gone not in narrow


def test_what_columns_there_are_at_80(at):
    usual = [part for name in DEFAULT_POLICIES for part in ("--policy", name)]
    usual = ("compare", "--scenario", "multi-attnn", "--seeds", 5, "--requests", 60, *usual)
    output = at(80, *usual)
    head = next(line for line in output.splitlines() if "policy" in line)
    heads = [each.strip() for each in head.strip("┃").split("┃")]
    assert heads == ["policy", "viol. (%)", "diff.", "ANTT", "diff."]
    assert "Mean over 5 seeds ± the longer side of the 95 % interval" in output
    said = " ".join(output.split())
    assert "No room at 80 columns for: p99 NTT, way (%)" in said
    needed = int(re.search(r"All of it takes (\d+) columns", said)[1])
    assert "[95 % interval]; differences" in at(needed, *usual)
    assert "±" in at(needed - 1, *usual)


def test_a_half_of_an_interval_is_its_longer_side(at, run):
    rows = {(row["load"], row["policy"]): row for row in json.loads(run(*COMPARE, "--json")[1])}
    loads = sorted({load for load, _ in rows})
    shown = rows_of(at(110, *COMPARE, "--no-bounds"))
    for at_row, (policy, late, *_) in enumerate(shown[: 2 * len(POLICIES)]):
        row = rows[loads[at_row // len(POLICIES)], policy]
        value, low, high = (100 * row[f"violation_rate{end}"] for end in ("", "_low", "_high"))
        found, half = late.replace("*", "").split(" ±")
        assert float(found) == pytest.approx(value, abs=0.051)
        assert float(half) == pytest.approx(max(value - low, high - value), abs=0.11)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_pipe_that_has_no_boxes(encoding):
    compare = (*COMPARE[:7], "--policy", "fcfs", "--policy", "dysta", "--scenario", "multi-attnn")
    for arguments in (compare, ("policies",), ("traces", "-v")):
        done = subprocess.run(
            [sys.executable, "-m", "dysta_gym", *map(str, arguments)], capture_output=True,
            timeout=300, check=True,
            env=os.environ | {"COLUMNS": "90", "PYTHONIOENCODING": encoding},
        )  # fmt: skip
        text = done.stdout.decode(encoding)
        assert "\x1b" not in text and "?" not in text
        assert max(map(len, text.splitlines())) <= 90
        if arguments is compare:
            half = "+-" if encoding == "ascii" else "±"
            assert f"5 seeds {half} the longer side" in text
            assert [row[0] for row in rows_of(text)] == ["fcfs", "dysta"]
            assert ("│" in text) == (encoding == "utf-8")


def cells_of(text):
    lines = [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line] for line in lines]


def test_classes_of_requests_are_split_where_there_is_no_room(at):
    arguments = ("show", "--requests", 20, "--policy", "fcfs", "--policy", "dysta-tuned@sized")
    wide = cells_of(at(None, *arguments))
    narrow = cells_of(at(60, *arguments))
    for name in ("fcfs", "dysta-tuned@sized"):
        cells = [cell for row in wide if row[0] == name for cell in row[1:]]
        assert cells == [cell for row in narrow if row[0] == name for cell in row[1:]]
