"""``dysta-gym leaderboard``: the page's rows, without running them, and one's own beside them."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import dysta_gym
from dysta_gym import board, leaderboard
from dysta_gym.entries import load_entry, shipped_entries
from dysta_gym.provenance import KEY
from dysta_gym.tracks import load_track, shipped_tracks

LISTED, ENTERED = pd.read_csv(board.ROWS)["policy"].nunique(), len(shipped_entries())
PAGE = (Path(__file__).parents[1] / "docs" / "leaderboard.md").read_text(encoding="utf-8")
RULE = """\
def score(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.remaining[i] / queue.priority[i]
"""


def table_of(heading, column):
    """Rows of the first table with this column under a heading of the page."""
    blocks = PAGE.split(f"\n{heading}\n", 1)[1].split("\n\n")
    block = next(each for each in blocks if each.startswith("|") and column in each)
    return [line.strip("| ").replace("`", "").split(" | ") for line in block.splitlines()]


@pytest.fixture(scope="module")
def everything():
    return leaderboard(everything=True)


def test_the_shipped_rows_are_those_of_the_page(everything):
    (_, *tracks), _, *rows, reached, bounds = table_of("## Everything in one table", "policy")
    assert list(everything["track"].unique()) == tracks and set(tracks) == set(shipped_tracks())
    for at, track in enumerate(tracks, 1):
        part = everything[everything["track"] == track]
        cells = {
            row["policy"]: f"{100 * row['violation_rate']:.2f} / {row['antt_over_bound']:.3f}"
            for row in part.to_dict("records")
        }
        assert cells == {row[0]: row[at] for row in rows}
        assert reached[at] == f"{100 * part['violation_rate_in_hindsight'].iloc[0]:.2f}"
        assert bounds[at] == f"{100 * part['violation_rate_lower_bound'].iloc[0]:.2f} / 1"
        ordered = [cells[row[0]] for row in table_of(f"### {track}", "wins")[2:]]
        assert [cells[name] for name in part["policy"]] == ordered  # equals in either order
        assert part["rank"].tolist() == [*range(1, len(rows) + 1)]


def test_the_entries_are_those_in_the_package(everything):
    entries = leaderboard()
    assert set(entries["entry"]) == set(shipped_entries())
    for name in shipped_entries():
        claims = pd.DataFrame([claim.model_dump() for claim in load_entry(name).claims])
        wanted = claims.groupby("track")["violation_rate"].mean()
        found = entries[entries["entry"] == name].set_index("track")["violation_rate"]
        pd.testing.assert_series_equal(found.sort_index(), wanted, check_exact=False, rtol=1e-12)
    assert len(everything) > len(entries) and not everything["run_here"].any()


def test_the_conditions_are_those_of_the_tracks():
    listed = pd.read_csv(board.CONDITIONS)
    for name, part in listed.groupby("track"):
        seeds = part["antt_lower_bound"].str.split().map(len)
        assert set(seeds) == {load_track(name).seeds.count}
    claims = pd.DataFrame([claim.model_dump() for claim in load_entry("dysta").claims])
    where = ["track", "scenario", "load", "slo", "workloads"]
    pd.testing.assert_frame_equal(listed[where], claims[where], check_exact=False, rtol=1e-15)
    for path in (board.ROWS, board.CONDITIONS):
        said = json.loads(path.with_name(f"{path.name}-metadata.json").read_text())
        assert said["schema:sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_run_stands_beside_the_same_shipped_row():
    told = []
    found = leaderboard(["sjf"], ["paper"], jobs=2, progress=lambda *at: told.append(at))
    assert told[-1] == (240, 240)
    (shipped,) = found[found["entry"] == "sjf"].to_dict("records")
    (mine,) = found[found["run_here"]].to_dict("records")
    assert (mine["policy"], mine["entry"], mine["rank"]) == ("sjf", "", shipped["rank"] + 1)
    for metric in ("violation_rate", "antt_over_bound"):
        assert mine[metric] == pytest.approx(shipped[metric], rel=1e-12)
    assert len(found) == 1 + len(shipped_entries())
    made = found.attrs[KEY]
    assert set(made["scenarios"]) == {"multi-attnn", "multi-cnn"} and "mpnet" in made["traces"]
    assert set(made["leaderboard"]) == {"rows.csv", "conditions.csv"}
    assert found.copy().attrs == json.loads(json.dumps(found.attrs))


def test_ones_own_rule_in_the_table(run, tmp_path):
    rule = tmp_path / "folder" / "mine.py"
    rule.parent.mkdir()
    rule.write_text(RULE)
    command = ("leaderboard", "--track", "paper", "--policy", f"{rule}@sized", "--all")
    status, output, _ = run(*command, "--out", tmp_path / "out")
    assert status == 0
    table = pd.read_csv(tmp_path / "out" / "leaderboard.csv")
    (mine,) = table[table["run_here"]].to_dict("records")
    assert mine["policy"] == f"{rule}@sized" and len(table) == LISTED + 1
    (row,) = (line for line in output.splitlines() if "│ >" in line)
    shown = f"{100 * mine['violation_rate']:.2f} / {mine['antt_over_bound']:.3f}"
    assert row.split()[1:5] == [">", str(mine["rank"]), "mine.py@sized", "│"] and shown in row
    ranks = [line.split()[1] for line in output.splitlines() if "static" in line]
    assert len(ranks) > 5 and f"> mine.py@sized: rank {mine['rank']} of {LISTED + 1}." in output
    said = json.loads((tmp_path / "out" / "leaderboard.csv-metadata.json").read_text())
    used = {each["schema:name"] for each in said["prov:wasGeneratedBy"]["prov:used"]}
    assert {"multi-cnn", "mpnet", "rows.csv"} <= used
    status, output, errors = run(*command, "--json")
    assert (status, errors) == (0, "") and json.loads(output) == table.fillna("").to_dict("records")


@pytest.mark.parametrize("options", [[], ["--all"], ["--all", "--track", "long"]], ids=str)
@pytest.mark.parametrize("width", [80, 160])
def test_a_row_is_a_line_however_wide_the_terminal(run, monkeypatch, options, width):
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    monkeypatch.setattr("dysta_gym.cli.terminal.console", lambda **_: console)
    assert run("leaderboard", *options)[0] == 0
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width and "…" not in stream.getvalue()
    tracks = ["long"] if "--track" in options else list(shipped_tracks())
    heads = [line for line in lines if line.startswith("┃")]
    assert sorted(name for name in " ".join(heads).split() if name in tracks) == tracks
    rows = [line for line in lines if line.startswith("│")]
    assert len(rows) == len(heads) * ((LISTED if "--all" in options else ENTERED) + 2)
    assert f"Shipped rows: dysta-gym {dysta_gym.__version__}, 20" in stream.getvalue()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A copy of the shipped rows that may be changed: their folder."""
    folder = tmp_path / "leaderboard"
    shutil.copytree(board.ROWS.parent, folder)
    monkeypatch.setattr(board, "ROWS", folder / "rows.csv")
    monkeypatch.setattr(board, "CONDITIONS", folder / "conditions.csv")
    return folder


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_other_traces_or_scenarios_are_refused_by_name(elsewhere, run):
    command = ("leaderboard", "--policy", "sjf", "--track", "paper")

    def refused(what):
        status, output, errors = run(*command)
        assert (status, output, len(errors.splitlines())) == (2, "", 1)
        assert f"track 'paper': {what} is not the one that the shipped rows" in errors
        assert f"version {dysta_gym.__version__}" in errors

    listed = pd.read_csv(board.CONDITIONS)
    workloads = listed[listed["track"] == "paper"]["workloads"].iloc[0]
    edit(board.CONDITIONS, workloads, "0" * 12)
    refused("scenario 'multi-attnn' at load 0.8 and SLO multiplier 5")
    origin = board.measured_with()
    companion = elsewhere / "rows.csv-metadata.json"
    edit(companion, origin["scenarios"]["multi-attnn"], "0" * 64)
    refused("scenario 'multi-attnn'")
    edit(companion, origin["traces"]["whisper"], "1" * 64)
    refused("trace 'whisper'")
    edit(board.CONDITIONS, "paper,multi-attnn,0.8,5.0", "paper,multi-attnn,0.7,5.0")
    refused("its list of conditions")
    assert run("leaderboard", "--track", "paper")[0] == 0  # nothing is run beside them


def test_bad_arguments(run, tmp_path, refused):
    for arguments, words in (
        (["--track", "papre"], ["track", "'papre'", "paper"]),
        (["--track", "long", "--track", "long"], ["track", "'long'", "more than once"]),
        (["--policy", "nope"], ["policy", "'nope'"]),
        (["--out", __file__], ["out", "file"]),
    ):
        status, output, errors = run("leaderboard", *arguments)
        assert (status, output, len(errors.splitlines())) == (2, "", 1)
        for word in words:
            assert word in errors
    with refused("policies", "must be a list"):
        leaderboard("sjf")
