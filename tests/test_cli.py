"""The command line, run as users run it."""

import csv
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import image
from rich.console import Console

import dysta_gym
from dysta_gym import (
    generate,
    load_scenario,
    measure,
    shipped_scenarios,
    shipped_traces,
    simulate,
)
from dysta_gym.charging import TABLE
from dysta_gym.comparison import DEFAULT_POLICIES, compare
from dysta_gym.features import DEFAULT
from dysta_gym.features import TABLE as FEATURES
from dysta_gym.information import LEVELS
from dysta_gym.metrics import METRICS
from dysta_gym.policies import names
from dysta_gym.rewards import TABLE as REWARDS
from dysta_gym.statistics import aggregate, summarise
from dysta_gym.traces import trace_names

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".requests.csv") for path in GOLDEN.glob("*.requests.csv"))
CONDITION = ["scenario", "load", "rate", "slo", "policy", "seed"]


def shell(*arguments, cwd):
    """The installed command in a process of its own: status, standard output, standard error."""
    command = Path(sysconfig.get_path("scripts")) / "dysta-gym"
    done = subprocess.run(
        [command, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    said = done.stderr.splitlines(keepends=True)
    # The first command that needs something says that it is compiled.
    said = "".join(line for line in said if "compiling what this run" not in line)
    return done.returncode, done.stdout, said


@pytest.fixture
def refuses(run):
    """``refuses(*arguments)``: the one line that bad input gets, with status 2 and nothing else."""

    def refuses(*arguments):
        status, output, errors = run(*arguments)
        assert status == 2, errors
        assert output == ""
        assert errors.startswith("dysta-gym: error: ")
        assert errors.endswith("\n") and len(errors.splitlines()) == 1, errors
        return errors

    return refuses


def read(path):
    """A table, with every number exactly as it stands in the file."""

    def value(text):
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                pass
        return text or np.nan

    with path.open(newline="") as file:
        return pd.DataFrame(
            [{name: value(text) for name, text in row.items()} for row in csv.DictReader(file)]
        )


def files(folder):
    """Everything in a folder, by path, with its content."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


# --- compare -------------------------------------------------------------------------------------

POLICIES = ("fcfs", "dysta", "dysta:beta=0.05", "sjf@monitored", "dysta_oracle")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """A comparison over all axes by the installed command: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("comparison")
    options = [
        *("--scenario", "multi-attnn", "--scenario", "multi-cnn"),
        *(part for policy in POLICIES for part in ("--policy", policy)),
        *("--load", 0.8, "--load", 1.05, "--rate", 3, "--slo", 5, "--slo", 10),
        *("--seeds", 2, "--first-seed", 7, "--requests", 100, "--jobs", 2, "--out", "new/results"),
    ]
    status, output, errors = shell("compare", *options, cwd=folder)
    assert (status, errors) == (0, "")
    return folder / "new" / "results", output, options[:-3]


def test_compare_writes_one_row_per_combination(comparison):
    folder, _, _ = comparison
    assert set(files(folder)) == {
        Path(name)
        for name in ("results.csv", "results.csv-metadata.json", "results.md", "trade-off.png")
    }
    frame = read(folder / "results.csv")
    assert list(frame.columns[:6]) == CONDITION
    assert list(frame.columns[6 : 6 + len(METRICS)]) == list(METRICS)
    assert frame[[*CONDITION, *METRICS]].notna().all(axis=None)
    assert len(frame) == 2 * 3 * 2 * 2 * len(POLICIES)
    assert not frame.duplicated(CONDITION).any()
    assert set(frame["policy"]) == set(POLICIES)
    assert set(frame["seed"]) == {7, 8}
    assert set(frame["slo"]) == {5, 10}

    cells = frame.groupby(["scenario", "load", "rate", "slo"]).ngroups
    assert cells == 2 * 3 * 2
    given = frame[frame["load"].isin([0.8, 1.05])]
    asked = frame[frame["rate"] == 3]
    assert len(given) + len(asked) == len(frame) and len(asked) * 2 == len(given)
    # load and rate say the same, whichever of them was given
    for _, panel in frame.groupby("scenario"):
        work = panel["load"] / panel["rate"]
        np.testing.assert_allclose(work, work.iloc[0])


def test_compare_runs_every_policy_on_the_same_workloads(comparison):
    frame = read(comparison[0] / "results.csv")
    cells = frame.groupby(["scenario", "load", "rate", "slo", "seed"])
    assert (cells["antt_lower_bound"].nunique() == 1).all()
    assert (frame["antt"] >= frame["antt_lower_bound"] * (1 - 1e-9)).all()
    bounds = frame.drop_duplicates(["scenario", "load", "rate", "seed"])["antt_lower_bound"]
    assert bounds.is_unique and (bounds >= 1).all()  # but other seeds and loads are other workloads


def test_compare_measures_what_the_simulator_does(comparison):
    frame = read(comparison[0] / "results.csv")
    picked = frame.sample(12, random_state=0)
    for row in picked.to_dict("records"):
        offer = {"rate": 3} if row["rate"] == 3 else {"load": row["load"]}
        scenario = load_scenario(row["scenario"]).varied(
            slo_multiplier=row["slo"], requests=100, **offer
        )
        workload = generate(scenario, row["seed"], split="test")
        expected = measure(simulate(workload, row["policy"]))
        assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("jobs", [1, 3])
def test_compare_does_not_depend_on_the_jobs(comparison, run, tmp_path, jobs):
    folder, output, options = comparison
    options = [*options[: options.index("--jobs")], "--jobs", jobs, "--out", tmp_path]
    status, again, _ = run("compare", *options)
    assert status == 0
    for name in ("results.csv", "results.md"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert again.split("Wrote")[0] == output.split("Wrote")[0]


def cells_of(row):
    return [cell.strip() for cell in row.strip("|│").replace("│", "|").split("|")]


def test_compare_prints_means_intervals_and_paired_differences(comparison):
    folder, output, _ = comparison
    frame = read(folder / "results.csv")
    tables = (folder / "results.md").read_text().split("### ")[1:]
    panels = list(frame.groupby(["scenario", "load", "rate", "slo"], sort=False))
    assert len(tables) == len(panels) + 1 == 13
    summary = summarise(frame, ["violation_rate", "antt", "ntt_p99"])
    for table, ((scenario, load, rate, slo), panel) in zip(tables[:-1], panels, strict=True):
        title, _, head, rule, *rows = table.rstrip("\n").split("\n")
        for part in (scenario, f"{load:.3g}", f"{rate:.4g}", f"{slo:g}"):
            assert part in title
        assert title in output
        assert len(cells_of(head)) == len(cells_of(rule)) == 8
        base = panel[panel["policy"] == "dysta"].set_index("seed")
        *rows, hindsight, bound = rows
        assert [cells_of(row)[0] for row in rows] == list(POLICIES)
        for row in rows:
            policy, violations, violations_diff, way, antt, antt_diff, antt_way, p99 = cells_of(row)
            mine = panel[panel["policy"] == policy].set_index("seed")
            where = summary[["scenario", "load", "slo", "policy"]] == [scenario, load, slo, policy]
            (marks,) = summary[where.all(axis=1)].to_dict("records")
            assert ("*" in violations, "*" in antt, "*" in p99) == (
                marks["violation_rate_best"],
                marks["antt_best"],
                marks["ntt_p99_best"],
            )
            for cell, metric, scale in ((violations, "violation_rate", 100), (antt, "antt", 1)):
                mean, low, high = (float(part.strip("[],*")) for part in cell.split())
                values = scale * mine[metric]
                assert mean == pytest.approx(values.mean(), abs=0.06)
                # with two seeds: Student's t with one degree of freedom, within what is possible
                half = 12.7062 * (values.max() - values.min()) / 2
                limits = (0, 100) if metric == "violation_rate" else (1, np.inf)
                ends = np.clip([values.mean() - half, values.mean() + half], *limits)
                assert [low, high] == pytest.approx(ends, abs=0.06)
            for cell, metric, scale in (
                (violations_diff, "violation_rate", 100),
                (antt_diff, "antt", 1),
            ):
                if policy == "dysta":
                    assert cell == ""
                    continue
                difference = scale * (mine[metric] - base[metric]).mean()
                assert float(cell.split(" ")[0]) == pytest.approx(difference, abs=0.06)
            for cell, metric in ((way, "violation_rate"), (antt_way, "antt")):
                whole = (base[metric] - base[f"{metric}_lower_bound"]).mean()
                if policy == "dysta" or whole == 0:
                    assert cell == ""
                    continue
                gone = (base[metric] - mine[metric]).mean()
                assert float(cell) == pytest.approx(100 * gone / whole, abs=0.51)
            assert float(p99.strip("*")) == pytest.approx(mine["ntt_p99"].mean(), abs=0.06)
        for row, columns in (
            (hindsight, ["violation_rate_in_hindsight"]),
            (bound, ["violation_rate_lower_bound", "antt_lower_bound"]),
        ):
            shown = [cells_of(row)[at] for at in (1, 4)][: len(columns)]
            assert "*" not in row
            for cell, column in zip(shown, columns, strict=True):
                scale = 1 if column.startswith("antt") else 100
                mean = float(cell.split()[0])
                assert mean == pytest.approx(scale * base[column].mean(), abs=0.06)


def test_compare_without_bounds(run, tmp_path):
    arguments = ["--scenario", "multi-attnn", "--policy", "dysta", "--policy", "edf", "--seeds", 2]
    loads = ["--load", 0.8, "--load", 1.05, "--requests", 60]
    run("compare", *arguments, *loads, "--no-bounds", "--out", tmp_path)
    assert not [name for name in read(tmp_path / "results.csv") if "bound" in name]
    page = (tmp_path / "results.md").read_text()
    assert "bound" not in page and "hindsight" not in page and "| ANTT |" in page


def test_compare_prints_an_aggregate_and_says_what_it_means(comparison):
    folder, output, _ = comparison
    *_, table = (folder / "results.md").read_text().split("### ")
    title, _, _, _, *rows = table.partition("\n\nMean over")[0].split("\n")
    assert title.startswith("all conditions") and title in output
    found = aggregate(read(folder / "results.csv"), ["violation_rate", "antt"], "dysta")
    for row, expected in zip(rows, found.to_dict("records"), strict=True):
        policy, violations, wins, antt, _ = cells_of(row)
        share = "" if policy == "dysta" else f"{100 * expected['violation_rate_wins']:.0f} ["
        assert policy == expected["policy"]
        assert violations.startswith(f"{100 * expected['violation_rate']:.1f}")
        assert antt.startswith(f"{expected['antt']:.2f}")
        assert ("*" in antt) == expected["antt_best"]
        assert wins.startswith(share)
    for text in ("Nothing is marked as the best", "5 seeds or more", "12 x 2 workloads"):
        assert text in table and text in output


@pytest.mark.parametrize("seeds", [1, 4, 5])
def test_compare_marks_the_best_with_five_seeds_or_more(run, tmp_path, seeds):
    policies = [part for name in ("fcfs", "dysta", "ppo") for part in ("--policy", name)]
    arguments = ["--scenario", "multi-attnn", "--requests", 60, "--load", 0.8, "--load", 1.05]
    _, output, _ = run("compare", *policies, *arguments, "--seeds", seeds, "--out", tmp_path)
    page = (tmp_path / "results.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(("| fcfs", "| dysta", "| ppo"))]
    assert len(rows) == 9
    frame = read(tmp_path / "results.csv")
    found = summarise(frame, ["violation_rate", "antt", "ntt_p99"])
    for row, expected in zip(rows[:6], found.to_dict("records"), strict=True):
        cells = [cells_of(row)[at] for at in (1, 4, 7)]
        metrics = ("violation_rate", "antt", "ntt_p99")
        assert ["*" in cell for cell in cells] == [expected[f"{each}_best"] for each in metrics]
    assert any("*" in row for row in rows) == (seeds >= 5)
    for text in ("Marked *", "paired t-test", "Holm"):
        assert (text in page) == (text in output) == (seeds >= 5)
    assert ("Nothing is marked" in page) == ("Nothing is marked" in output) == (seeds < 5)


def test_compare_fits_a_terminal_and_takes_a_statistic(run, monkeypatch):
    arguments = ("compare", "--scenario", "multi-attnn", "--seeds", 4, "--requests", 60)
    wide = run(*arguments)[1]
    robust = run(*arguments, "--statistic", "iqm")[1]
    assert "Mean over 4 seeds" in wide and "Interquartile mean over 4 seeds" in robust
    assert wide.splitlines()[4:10] != robust.splitlines()[4:10]
    monkeypatch.setattr("dysta_gym.cli.terminal.console", lambda **_: Console(width=100))
    narrow = run(*arguments)[1]
    assert max(map(len, narrow.splitlines())) <= 100 < max(map(len, wide.splitlines()))
    lines = [[line for line in each.splitlines() if "│" in line] for each in (narrow, wide)]
    assert len(lines[0]) == len(lines[1])  # no cell is broken


def test_compare_draws_the_trade_off(comparison):
    path = comparison[0] / "trade-off.png"
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = (255 * image.imread(path)).astype(int)
    height, width = picture.shape[:2]
    assert height > 500 and width > 500
    colours, count = np.unique(picture[..., :3] @ [1, 256, 256**2], return_counts=True)
    assert len(colours) > 50 and count.max() < 0.98 * height * width


SMALL = ["compare", "--scenario", "multi-attnn", "--requests", 60, "--seeds", 5,
         "--policy", "fcfs", "--policy", "dysta", "--policy", "evolved"]  # fmt: skip


def test_compare_prints_json_and_nothing_else(run, tmp_path):
    status, output, errors = run(*SMALL, "--json", "--out", tmp_path)
    assert (status, errors) == (0, "")
    rows = json.loads(output, parse_constant=pytest.fail)
    frame = read(tmp_path / "results.csv")
    metrics = [name for name in frame if name not in CONDITION]
    expected = summarise(frame, metrics, "dysta")
    assert [list(row) for row in rows] == 3 * [list(expected)]
    for row, wanted in zip(rows, expected.to_dict("records"), strict=True):
        for name, value in wanted.items():
            assert row[name] == (None if value != value else value), name
    assert {"antt", "violation_rate_best", "antt_diff_low", "ntt_p50"} <= set(rows[0])


def test_json_has_no_number_that_is_none(run):
    status, output, _ = run(*SMALL[:5], "--seeds", 1, "--json")
    assert status == 0
    assert json.loads(output, parse_constant=pytest.fail)[0]["antt_low"] is None


def test_compare_prints_latex(run, tmp_path):
    status, output, errors = run(
        *SMALL, "--load", 0.8, "--load", 1.05, "--latex", "--out", tmp_path
    )
    assert (status, errors) == (0, "")
    assert (tmp_path / "results.tex").read_text() == output
    found = [line for line in output.splitlines() if not line.startswith("%")]
    begun = re.findall(r"\\begin\{(\w+)\}", "\n".join(found))
    assert begun == re.findall(r"\\begin\{(\w+)\}", output) == 3 * ["table", "tabular"]
    assert output.count(r"\toprule") == output.count(r"\midrule") == 3
    assert output.count(r"\bottomrule") == 3
    rows = [line.strip() for line in found if line.endswith(r" \\")]
    page = (tmp_path / "results.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        shown = row.removesuffix(r" \\").replace(r"\%", "%").replace("$-$", "-").replace(r"\_", "_")
        shown = re.sub(r"\\textbf\{(.*?)\}", r"\1*", shown)
        cells = [re.sub(r"\{([^{}])\}", r"\1", cell).strip() for cell in shown.split("&")]
        assert cells == cells_of(line)
    assert r"\textbf{" in output and output.startswith("% \\usepackage{booktabs}")


@pytest.mark.parametrize(
    ("format", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_compare_draws_what_is_asked_for(run, tmp_path, format, start):
    names = ["trade-off", "curves", "levels", "dots"]
    figures = [part for name in names for part in ("--figure", name)]
    arguments = [*SMALL, "--load", 0.8, "--load", 1.05, *figures, "--format", format]
    status, output, errors = run(*arguments, "--out", tmp_path)
    assert (status, errors) == (0, "")
    pictures = [f"{name}.{format}" for name in names]
    tables = {"results.csv", "results.csv-metadata.json", "results.md"}
    assert {path.name for path in tmp_path.iterdir()} == {*tables, *pictures}
    assert all((tmp_path / name).read_bytes().startswith(start) for name in pictures)
    said = " ".join(output.split())
    assert all(name in said for name in pictures)
    if format == "svg":
        drawn = {name: (tmp_path / name).read_bytes() for name in pictures}
        assert run(*arguments, "--out", tmp_path)[0] == 0
        assert drawn == {name: (tmp_path / name).read_bytes() for name in pictures}
        text = drawn["trade-off.svg"].decode()
        assert ">evolved<" in text and "kalman" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "jpg", "--out", "here"], ["format", "'jpg'", "png, pdf, svg"]),
        (["--format", "pdf"], ["format", "'pdf'", "--out"]),
        (["--figure", "dots"], ["figure", "'dots'", "--out"]),
        (["--figure", "pie", "--out", "here"], ["figure", "'pie'", "trade-off, curves"]),
        (["--figure", "curves", "--out", "here"], ["figure", "'curves'", "--load"]),
        (["--json", "--latex"], ["json", "latex", "one of the two"]),
    ],
    ids=str,
)
def test_compare_refuses_what_it_cannot_write(refuses, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    error = refuses(*SMALL, *arguments)
    assert all(word in error for word in words)
    assert files(tmp_path) == {}


def test_compare_without_options(tmp_path):
    status, output, errors = shell("compare", cwd=tmp_path)
    assert (status, errors) == (0, "")
    assert files(tmp_path) == {}
    for name in ("multi-attnn", "multi-cnn"):
        assert f"{name}: load" in output
    rows = [cells_of(line)[0] for line in output.splitlines() if line.startswith("│")]
    for bound in ("(in hindsight)", "(lower bound)"):
        assert rows.count(bound) == 2
        rows = [row for row in rows if row != bound]
    assert rows == 3 * list(DEFAULT_POLICIES)  # two conditions, and both together
    published = {"fcfs", "sjf", "prema", "planaria", "sdrm3", "dysta", "dysta_oracle"}
    dysta = {"dysta-cycles", "dysta-rtl", "dysta-tuned"}
    textbook = {"gittins", "slack-index", "moore-hodgson"}
    assert {*rows} == published | dysta | textbook | {"pareto", "evolved", "ppo", "dqn"}
    said = " ".join(output.split())
    assert "best of dysta, dysta-cycles, dysta-rtl and dysta-tuned." in said
    assert "differences to the reference" in said
    assert "5 seeds" in output


def test_compare_reaches_every_policy_at_every_level(run, tmp_path):
    specs = [f"{name}@*" for name in names()]
    arguments = [part for spec in [*specs, "dysta@*:beta=0.05"] for part in ("--policy", spec)]
    arguments += ["--scenario", "multi-attnn", "--requests", 60, "--seeds", 1]
    status, output, errors = run("compare", *arguments, "--out", tmp_path)
    assert (status, errors) == (0, "")
    frame = read(tmp_path / "results.csv")
    assert list(frame["policy"]) == [
        *(f"{name}@{level}" for name in names() for level in LEVELS),
        *(f"dysta@{level}:beta=0.05" for level in LEVELS),
    ]
    by_policy = frame.set_index("policy")["antt"]
    assert by_policy["dysta_oracle@static"] == by_policy["dysta@static"]
    assert by_policy["sjf@static"] != by_policy["sjf@clairvoyant"]
    assert by_policy["dysta@monitored:beta=0.05"] != by_policy["dysta@monitored"]
    assert "[" not in output.split("Mean over")[0]  # one seed has no interval


def test_compare_reference_and_split(run, tmp_path):
    arguments = ["--policy", "fcfs", "--policy", "sjf", "--requests", 50, "--seeds", 2]
    frames = {}
    for split in ("train", "test", "all"):
        status, output, _ = run(
            "compare", *arguments, "--split", split, "--reference", "sjf", "--out", tmp_path / split
        )
        assert status == 0 and "differences to sjf" in output and f"split {split}" in output
        frames[split] = read(tmp_path / split / "results.csv")
    assert len({tuple(frame["antt"]) for frame in frames.values()}) == 3
    pd.testing.assert_frame_equal(
        frames["train"],
        compare(policies=["fcfs", "sjf"], requests=50, seeds=range(2), split="train"),
        check_exact=True,
        check_like=True,
    )


def write_scenario(folder, **changes):
    fields = {
        "name": "mine",
        "accelerator": "sanger",
        "trace_dir": "traces",
        "traces": {"bert": 1, "gpt2": 2},
        "load": 0.9,
        "requests": 50,
    } | changes
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in fields.items() if v is not None}))
    return path


@pytest.mark.parametrize("kind", ["sanger", "eyerissv2", "npz"])
def test_compare_on_a_scenario_of_ones_own(run, tmp_path, monkeypatch, kind):
    folder = tmp_path / "deployment"
    if kind == "npz":
        (folder / "traces").mkdir(parents=True)
        for name in ("minilm", "mpnet"):
            shutil.copy(shipped_traces()[name], folder / "traces")
        path = write_scenario(folder, traces={"minilm": 1, "mpnet": 3})
        models = {"minilm", "mpnet"}
    elif kind == "sanger":
        shutil.copytree(GOLDEN / "sanger", folder / "traces")
        path = write_scenario(folder)
        models = {"bert", "gpt2"}
    else:
        shutil.copytree(GOLDEN / "eyerissv2", folder / "traces")
        patterns = [f"mobilenet_{p}_sparse20" for p in ("filter", "block4")]
        traces = dict.fromkeys([*patterns, "vgg16_filter_sparse20"], 1)
        path = write_scenario(folder, traces=traces, accelerator="eyerissv2")
        models = {"mobilenet", "vgg16"}
    monkeypatch.chdir(tmp_path)  # the folder of traces is relative to the scenario's
    status, _, errors = run(
        "compare", "--scenario", path.relative_to(tmp_path), "--seeds", 1, "--out", "results"
    )
    assert (status, errors) == (0, "")
    frame = read(tmp_path / "results" / "results.csv")
    assert set(frame["scenario"]) == {"mine"} and list(frame["policy"]) == list(DEFAULT_POLICIES)
    prefix = "violation_rate_model_"
    assert {name.removeprefix(prefix) for name in frame if name.startswith(prefix)} == models


# --- replay --------------------------------------------------------------------------------------


def replay_arguments(case, policy, out):
    folder = "sanger" if case.startswith("attnn") else "eyerissv2"
    return (
        "replay",
        *("--traces", GOLDEN / folder, "--accelerator", folder),
        *("--requests", GOLDEN / f"{case}.requests.csv", "--policy", policy),
        *("--slo", case.partition("slo")[2], "--out", out),
    )


def check_replay(case, policy, out, output):
    finish = read(out)
    assert list(finish.columns) == ["finish_s"]
    expected = read(GOLDEN / f"{case}.finish.csv")[policy]
    np.testing.assert_allclose(finish["finish_s"], expected, rtol=1e-9, atol=0)
    summary = read(GOLDEN / f"{case.partition('_')[0]}.summary.csv")
    (wanted,) = summary[(summary["case"] == case) & (summary["policy"] == policy)].to_dict(
        "records"
    )
    shown = dict(cells_of(line) for line in output.splitlines() if line.startswith("│"))
    for name, column in (
        ("violation_rate", "violation_rate"),
        ("antt", "antt"),
        ("throughput", "stp_per_s"),
    ):
        assert float(shown[name]) == pytest.approx(wanted[column], rel=1e-5), name


@pytest.mark.parametrize("case", CASES)
def test_replay_matches_the_artifact(run, tmp_path, case):
    policies = list(read(GOLDEN / f"{case}.finish.csv"))
    assert len(policies) == 11
    for policy in policies:
        status, output, errors = run(*replay_arguments(case, policy, tmp_path / "finish.csv"))
        assert (status, errors) == (0, "")
        check_replay(case, policy, tmp_path / "finish.csv", output)


def test_replay_by_the_installed_command(tmp_path):
    assert len(CASES) == 8
    for case, policy, column in (
        (CASES[0], "dysta_oracle", "dysta_oracle"),
        (CASES[-1], "prema@monitored", "prema_sparse"),
    ):
        out = tmp_path / "new" / f"{case}.csv"
        status, output, errors = shell(*replay_arguments(case, policy, out), cwd=tmp_path)
        assert (status, errors) == (0, "")
        check_replay(case, column, out, output)
    assert len(files(tmp_path / "new")) == 4  # each with its companion


# --- listings ------------------------------------------------------------------------------------


LISTINGS = {
    "traces": trace_names,
    "accelerators": TABLE.names,
    "policies": names,
    "scenarios": shipped_scenarios,
    "features": FEATURES.names,
    "rewards": REWARDS.names,
}


@pytest.mark.parametrize("what", LISTINGS)
def test_listings(run, what):
    status, text, errors = run(what, "--json")
    assert (status, errors) == (0, "")
    listed = json.loads(text)
    assert isinstance(listed, list) and all(isinstance(item, dict) for item in listed)
    found = [item["name"] for item in listed]
    assert found == list(LISTINGS[what]())
    status, table, errors = run(what)
    assert (status, errors) == (0, "")
    if what == "traces":
        found = list(dict.fromkeys(item["model"] for item in listed))
    assert [line.split()[0] for line in table.splitlines()[2:]] == found


def test_listed_traces_say_what_they_hold(run):
    for trace in json.loads(run("traces", "--json")[1]):
        assert trace["inputs"] >= 200 and trace["layers"] > 1
        assert trace["mean_isolated_s"] > 0 and trace["isolated_spread"] > 0
        assert 0 < trace["mean_sparsity"] < 1
        assert {"network", "inputs"} <= set(trace["provenance"])


def test_listed_scenarios_say_what_they_offer(run):
    listed = {item["name"]: item for item in json.loads(run("scenarios", "--json")[1])}
    assert listed["multi-attnn"]["offered_load"] == 0.95
    hands = listed["arvr-hands"]  # no load of its own: its frames make one
    assert hands["load"] is None and hands["offered_rate"] == sum(hands["traces"].values())
    assert 0 < hands["offered_load"] < 1.2


def test_listed_features_and_rewards_say_what_they_mean(run):
    listed = {item["name"]: item for item in json.loads(run("features", "--json")[1])}
    shown = [name for name, item in listed.items() if item["shown_by_default"]]
    assert sorted(shown) == sorted(DEFAULT)
    for name, item in listed.items():
        feature = FEATURES.find(name)
        assert (item["low"], item["high"]) == (feature.low, feature.high)
        assert item["of"] == ("queue" if feature.of_queue else "request")
    _, table, _ = run("rewards")
    assert "-(ANTT + penalty * violation rate), paid as it accrues" in table


def test_listed_policies_are_the_promised_ones(run):
    listed = {item["name"]: item for item in json.loads(run("policies", "--json")[1])}
    published = {"fcfs", "sjf", "prema", "planaria", "sdrm3", "dysta"}
    others = {"edf", "llf", "sptp", "round_robin", "random"}
    others |= {f"dysta-{form}" for form in ("cycles", "rtl", "tuned", "fp16")}
    others |= {f"{rule}-tuned" for rule in ("prema", "sdrm3", "moore-hodgson")}
    learned = {"evolved", "pareto", "ppo", "dqn"}
    aliases = {"sjf_sparse", "prema_sparse", "sdrm3_sparse", "dysta_naive", "dysta_oracle"}
    assert published | others | learned | aliases <= set(listed)
    assert all(listed[name]["summary"] for name in published | others | learned)
    assert listed["dysta_oracle"]["alias_of"] == "dysta@clairvoyant"
    assert listed["dysta"]["parameters"]["beta"]["default"] == 0.01


OPTIONS = {
    "compare": (
        *("--scenario", "--policy", "--load", "--rate", "--slo", "--seeds", "--first-seed"),
        *("--requests", "--split", "--jobs", "--out"),
    ),
    "replay": ("--traces", "--accelerator", "--requests", "--policy", "--slo", "--out"),
    "train": ("--steps", "--seed", "--resume", "--out"),
    "traces": ("-v, --verbose", "--json"),
    "policies": ("-v, --verbose", "--json"),
    "scenarios": ("-v, --verbose", "--json"),
    "features": ("-v, --verbose", "--json"),
    "rewards": ("-v, --verbose", "--json"),
}


def test_help(run):
    for arguments in ((), ("--help",), ("-h",)):
        status, text, errors = run(*arguments)
        assert (status, errors) == (0, "")
        assert all(f"  {command} " in text for command in OPTIONS)
        assert max(map(len, text.splitlines())) <= 80
        assert "..." not in text.partition("Commands:")[2]
    for command, options in OPTIONS.items():
        status, text, errors = run(command, "--help")
        assert (status, errors) == (0, "")
        assert all(f"  {option} " in text for option in options)
        assert not re.search(r"<\w+[\[>]|TEXT|FLOAT\b", text)  # Python's or Typer's own types
        assert run(command, "-h") == (status, text, errors)


def test_version(run, tmp_path):
    expected = (0, f"dysta-gym {dysta_gym.__version__}\n", "")
    assert run("--version") == expected
    assert shell("--version", cwd=tmp_path) == expected
    done = subprocess.run(
        [sys.executable, "-m", "dysta_gym", "--version"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == expected


def test_shell_completion(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    status, script, errors = shell("--show-completion", cwd=tmp_path)
    assert (status, errors) == (0, "") and "complete" in script
    status, output, errors = shell("--install-completion", "nope", cwd=tmp_path)
    assert (status, output, len(errors.splitlines())) == (2, "", 1) and "'nope'" in errors
    assert not list(tmp_path.rglob("*.sh"))
    assert shell("--install-completion", cwd=tmp_path)[0] == 0
    (installed,) = (path for path in tmp_path.rglob("*") if path.name == "dysta-gym.sh")
    assert installed.read_text().strip() == script.strip()
    for words, found in (
        ("dysta-gym re", ["results", "replay", "reproduce", "rewards"]),
        ("dysta-gym tra", ["traces", "tracks", "train"]),  # of dysta_gym.agents
        ("dysta-gym policies --j", ["--json"]),
    ):
        monkeypatch.setenv("_DYSTA_GYM_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        status, output, errors = shell(cwd=tmp_path)
        assert (status, output.split(), errors) == (0, found, "")


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "multi-atnn"], ["scenario", "'multi-atnn'", "multi-attnn"]),
        (["--scenario", "absent.yaml"], ["scenario", "'absent.yaml'", "does not exist"]),
        (["--scenario", "multi-cnn", "--scenario", "multi-cnn"], ["scenario", "once"]),
        (["--policy", "dista"], ["policy", "'dista'", "dysta"]),
        (["--policy", "dysta@oracle"], ["level", "'oracle'", *LEVELS]),
        (["--policy", "dysta:gamma=1"], ["'gamma'", "beta"]),
        (["--policy", "dysta:beta=big"], ["'beta=big'", "number"]),
        (["--policy", "dysta:beta=-1"], ["'beta'", "-1", "at least 0"]),
        (["--policy", "dysta", "--policy", "dysta@*", "--policy", "dysta"], ["policy", "once"]),
        (["--policy", "fcfs", "--reference", "sjf"], ["reference", "'sjf'", "fcfs"]),
        (["--statistic", "median"], ["statistic", "'median'", "mean", "iqm"]),
        (["--split", "validation"], ["split", "'validation'", "train", "test", "all"]),
        (["--load", "-1"], ["load", "-1", "greater than 0"]),
        (["--load", "0"], ["load", "0", "greater than 0"]),
        (["--load", "nan"], ["load", "nan", "finite"]),
        (["--load", "hefty"], ["load", "'hefty'", "heavy"]),
        (["--load", "0.8", "--load", "0.8"], ["load", "0.8", "once"]),
        (["--rate", "-3"], ["rate", "-3", "greater than 0"]),
        (["--rate", "inf"], ["rate", "inf", "finite"]),
        (["--rate", "3", "--rate", "3"], ["rate", "3", "once"]),
        (["--slo", "-1"], ["slo", "-1", "greater than 0"]),
        (["--slo", "nan"], ["slo", "nan", "finite"]),
        (["--slo", "5", "--slo", "5"], ["slo", "5", "once"]),
        (["--seeds", "0"], ["seeds", "0", "1 or more"]),
        (["--seeds", "-2"], ["seeds", "-2", "1 or more"]),
        (["--seeds", "2.5"], ["--seeds", "integer"]),
        (["--first-seed", "-1"], ["seed", "-1", "0 or more"]),
        (["--requests", "0"], ["requests", "0", "greater than 0"]),
        (["--jobs", "0"], ["jobs", "0", "1 or more"]),
        (["--jobs", "-1"], ["jobs", "-1", "1 or more"]),
        (["--polcy", "dysta"], ["--polcy", "--policy"]),
        (["--policy"], ["--policy", "argument"]),
        (["dysta"], ["dysta", "argument"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_compare_refuses(refuses, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    defaults = {"--requests": "20", "--seeds": "1", "--out": "results"}
    given = [p for o, v in defaults.items() if o not in arguments for p in (o, v)]
    message = refuses("compare", *given, *arguments)
    for word in words:
        assert word in message, message
    assert files(tmp_path) == {}


@pytest.mark.parametrize("out", ["occupied", "occupied/results", "folders"])
def test_compare_refuses_a_folder_it_cannot_write(run, tmp_path, out):
    (tmp_path / "occupied").touch()  # a file where a folder should be, and the other way round
    (tmp_path / "folders" / "results.csv").mkdir(parents=True)
    before = files(tmp_path)
    arguments = ["--policy", "sjf", "--requests", 20, "--seeds", 1, "--out", tmp_path / out]
    status, _, errors = run("compare", *arguments)
    assert status == 2
    assert errors.startswith("dysta-gym: error: ") and len(errors.splitlines()) == 1
    assert out in errors
    # What was computed is kept for the same command, once there is room.
    left = {path: content for path, content in files(tmp_path).items() if "sqlite" not in path.name}
    assert left == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slo_multiplyer": 5}, ["'slo_multiplyer'", "slo_multiplier"]),
        ({"load": None, "rate": -3}, ["rate", "-3", "greater than 0"]),
        ({"rate": 3}, ["load", "rate", "both"]),
        ({"load": None}, ["load", "rate", "neither"]),
        ({"traces": {"bert": 1, "roberta": 1}}, ["traces", "roberta"]),
        ({"traces": {"bert": 1, "gpt2": -1}}, ["traces.gpt2", "-1", "greater than 0"]),
        ({"trace_dir": "nowhere"}, ["trace_dir", "nowhere", "folder"]),
        ({"trace_dir": None}, ["trace", "'bert'", "mpnet"]),
        ({"accelerator": "tpu"}, ["accelerator", "'tpu'", "sanger", "eyerissv2"]),
        ({"accelerator": "eyerissv2"}, ["bert.csv", "'sim_lat'", "missing"]),
    ],
    ids=str,
)
def test_compare_refuses_a_scenario(refuses, tmp_path, changes, words):
    shutil.copytree(GOLDEN / "sanger", tmp_path / "traces")
    path = write_scenario(tmp_path, **changes)
    before = files(tmp_path)
    message = refuses("compare", "--scenario", path, "--out", tmp_path / "results")
    for word in words:
        assert word in message, message
    assert files(tmp_path) == before


def truncated(content):
    return content[: len(content) // 2]


def scrambled(content):
    noise = np.random.default_rng(0).integers(256, size=1000, dtype=np.uint8).tobytes()
    at = len(content) // 8  # among the latencies; what nobody reads may be as it likes
    return content[:at] + noise + content[at + len(noise) :]


@pytest.mark.parametrize(
    "damage", [truncated, scrambled, lambda content: b"", lambda content: b"hello"]
)
def test_compare_refuses_a_damaged_trace(refuses, tmp_path, damage):
    (tmp_path / "traces").mkdir()
    content = shipped_traces()["mpnet"].read_bytes()
    (tmp_path / "traces" / "mpnet.npz").write_bytes(damage(content))
    path = write_scenario(tmp_path, traces={"mpnet": 1})
    message = refuses("compare", "--scenario", path, "--out", tmp_path / "results")
    assert "mpnet.npz" in message and "damaged" in message
    assert not (tmp_path / "results").exists()


@pytest.fixture
def recorded(tmp_path):
    """A folder with traces and requests, and the options of `replay` over them."""
    shutil.copytree(GOLDEN / "sanger", tmp_path / "traces")
    shutil.copy(GOLDEN / f"{CASES[0]}.requests.csv", tmp_path / "requests.csv")
    return {
        "--traces": tmp_path / "traces",
        "--accelerator": "sanger",
        "--requests": tmp_path / "requests.csv",
        "--policy": "dysta",
        "--slo": "10",
        "--out": tmp_path / "finish.csv",
    }


def edit(path, change):
    """Change a CSV: a function of its list of rows, each a dict."""
    with path.open(newline="") as file:
        rows = change(list(csv.DictReader(file)))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue())


def at(index, **values):
    """Set values of one row; dashes in a column's name are written as underscores."""

    def change(rows):
        for name, value in values.items():
            rows[index][name.replace("_", "-") if name not in rows[index] else name] = value
        return rows

    return change


def without(column):
    return lambda rows: [{k: v for k, v in row.items() if k != column} for row in rows]


def refuse_replay(refuses, tmp_path, options, words):
    (tmp_path / "finish.csv").write_text("the result of yesterday")
    before = files(tmp_path)
    message = refuses("replay", *(part for option in options.items() for part in option))
    for word in words:
        assert word in message, message
    assert files(tmp_path) == before
    return message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"--accelerator": "tpu"}, ["accelerator", "'tpu'", "sanger", "eyerissv2"]),
        ({"--accelerator": "eyerissv2"}, ["'sim_lat'", "missing"]),
        ({"--policy": "dista"}, ["policy", "'dista'", "dysta"]),
        ({"--policy": "dysta@all"}, ["level", "'all'", *LEVELS]),
        ({"--policy": "dysta:b=1"}, ["'b'", "beta"]),
        ({"--slo": "-1"}, ["slo", "-1"]),
        ({"--slo": "0"}, ["slo", "0"]),
        ({"--slo": "nan"}, ["slo", "nan"]),
        ({"--slo": "tight"}, ["--slo"]),
        ({"--traces": "nowhere"}, ["traces", "'nowhere'"]),
        ({"--requests": "nowhere.csv"}, ["'nowhere.csv'", "does not exist"]),
        ({"--requests": "{folder}/traces"}, ["traces"]),
        ({"--traces": "{folder}/requests.csv"}, ["traces", "requests.csv", "folder"]),
        ({"--traces": "{folder}"}, [".csv", "'overall-sparsity'", "missing"]),
        ({"--out": "{folder}/requests.csv/finish.csv"}, ["requests.csv/finish.csv"]),
        ({"--out": "{folder}/traces"}, ["traces"]),
    ],
    ids=str,
)
def test_replay_refuses(refuses, tmp_path, recorded, options, words):
    given = {option: value.format(folder=tmp_path) for option, value in options.items()}
    message = refuse_replay(refuses, tmp_path, recorded | given, words)
    if "--slo" in options:
        assert "requests.csv" not in message  # it is not the file's fault


@pytest.mark.parametrize("option", OPTIONS["replay"])
def test_replay_needs_every_option(refuses, tmp_path, recorded, option):
    del recorded[option]
    refuse_replay(refuses, tmp_path, recorded, [f"'{option}'", "Missing"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("overall-sparsity"), ["'overall-sparsity'", "missing"]),
        (without("50%-skip"), ["'50%-skip'", "missing"]),
        (without("layer-indx"), ["'layer-indx'", "missing"]),
        (lambda rows: rows[:5] + rows[6:], ["layer 5", "input 0", "once"]),
        (lambda rows: rows[:-1], ["layer", "once"]),
        (lambda rows: [*rows, rows[3]], ["layer 3", "input 0", "2 times", "once"]),
        (at(4, overall_sparsity="nan"), ["'overall-sparsity'", "row 5", "nan"]),
        (at(4, overall_sparsity="dense"), ["'overall-sparsity'", "row 5", "dense"]),
        (at(4, overall_sparsity="1.5"), ["'overall-sparsity'", "row 5", "1.5"]),
        (at(4, **{"50%-skip": "0"}), ["'50%-skip'", "row 5", "0"]),
        (at(4, layer_indx="-1"), ["'layer-indx'", "row 5", "-1", "whole number"]),
        (at(4, layer_indx="1e9"), ["'layer-indx'", "numbered from 0"]),
        (at(4, batch_indx="0.5"), ["'batch-indx'", "row 5", "0.5", "whole number"]),
    ],
)
def test_replay_refuses_a_trace(refuses, tmp_path, recorded, change, words):
    edit(tmp_path / "traces" / "bert.csv", change)
    refuse_replay(refuses, tmp_path, recorded, ["bert.csv", *words])


@pytest.mark.parametrize(
    ("value", "words"),
    [("-0.001", ["-0.001", "0 or more"]), ("nan", ["nan"]), ("inf", ["inf"])],
)
def test_replay_refuses_a_latency(refuses, tmp_path, recorded, value, words):
    shutil.copytree(GOLDEN / "eyerissv2", tmp_path / "cnn")
    edit(tmp_path / "cnn" / "vgg16_filter_sparse20.csv", at(4, sim_lat=value))
    case = next(name for name in CASES if name.startswith("cnn"))
    options = recorded | {
        "--traces": tmp_path / "cnn",
        "--accelerator": "eyerissv2",
        "--requests": GOLDEN / f"{case}.requests.csv",
    }
    refuse_replay(refuses, tmp_path, options, ["vgg16_filter_sparse20.csv", "lat", *words])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("arrival_s"), ["'arrival_s'", "missing"]),
        (without("model"), ["'model'", "missing"]),
        (without("sample"), ["'sample'", "missing"]),
        (without("priority"), ["'priority'", "missing"]),
        (lambda rows: [rows[1], rows[0], *rows[2:]], ["arrival_s", "sort"]),
        (at(2, model="roberta"), ["row 3", "model", "'roberta'", "bert"]),
        (at(2, model=""), ["row 3", "model"]),
        (at(2, sample="1000"), ["row 3", "sample", "1000"]),
        (at(2, sample="-1"), ["row 3", "sample", "-1"]),
        (at(2, sample="0.5"), ["row 3", "sample", "0.5"]),
        (at(2, sample="first"), ["row 3", "'sample'", "first"]),
        (at(2, arrival_s="nan"), ["'arrival_s'", "row 3", "nan"]),
        (at(0, arrival_s="-1"), ["arrival_s", "negative"]),
        (at(2, priority="0"), ["priority", "3 is 0", "above 0"]),
        (at(2, priority="high"), ["'priority'", "row 3", "high"]),
    ],
)
def test_replay_refuses_requests(refuses, tmp_path, recorded, change, words):
    edit(tmp_path / "requests.csv", change)
    refuse_replay(refuses, tmp_path, recorded, ["requests.csv", *words])


@pytest.mark.parametrize("name", ["requests.csv", "traces/bert.csv"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n1,2,3\n", b'a,b\n"1,2\n'], ids=str
)
def test_replay_refuses_what_is_not_a_table(refuses, tmp_path, recorded, name, content):
    (tmp_path / name).write_bytes(content)
    refuse_replay(refuses, tmp_path, recorded, [name])


def test_replay_refuses_a_file_without_rows(refuses, tmp_path, recorded):
    for name, words in (("requests.csv", ["no request"]), ("traces/bert.csv", ["no rows"])):
        path = tmp_path / name
        content = path.read_text()
        path.write_text(content.splitlines()[0] + "\n")
        refuse_replay(refuses, tmp_path, recorded, [name, *words])
        path.write_text(content)


def test_unknown_command(refuses):
    assert "'compete'" in refuses("compete")


def test_bad_input_to_the_installed_command(tmp_path):
    status, output, errors = shell("compare", "--policy", "dista", "--out", "results", cwd=tmp_path)
    assert (status, output) == (2, "")
    assert errors.startswith("dysta-gym: error: policy: 'dista'")
    assert len(errors.splitlines()) == 1
    assert files(tmp_path) == {}


INTERRUPTED = """
import ctypes, signal, sys, time
import dysta_gym_start
from dysta_gym import comparison
from dysta_gym.machine.machine import Machine
def interrupt():
    signal.raise_signal(signal.{0})
@ctypes.CFUNCTYPE(None)
def callback():
    interrupt()
def generated(*given, generate=comparison.generate, **options):
    if given[1] == 1:
        {1}
    return generate(*given, **options)
comparison.generate = generated
dysta_gym_start.main()
"""
LOST = {
    "in C": "callback()",
    "by what catches all": """
        while True:
            try:
                interrupt()
                time.sleep(1)
            except BaseException:
                pass
""",
    "by becoming another error": """
        try:
            interrupt()
        except BaseException:
            raise ValueError from None
""",
    "as the end of a rule": "Machine.run = lambda *given: interrupt()",
}


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("SIGINT", "in C"),
        ("SIGINT", "by what catches all"),
        ("SIGTERM", "by becoming another error"),
        ("SIGTERM", "as the end of a rule"),
    ],
)
def test_interrupt(tmp_path, name, lost):
    """Also when it is lost; while the second workload is measured, so that the first is kept."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", INTERRUPTED.format(name, LOST[lost]), "compare"),
            *("--seeds", "5000", "--requests", "100", "--jobs", "1", "--out", "results"),
            *("--policy", "fcfs", "--no-bounds"),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.returncode == 128 + getattr(signal, name)
    assert re.fullmatch(
        r"dysta-gym: interrupted; \d+ of 10000 cells are in results; the same command goes on from "
        r"there\n",
        done.stderr,
    )
    assert done.stdout == ""
    there = {path.name for path in (tmp_path / "results").iterdir()}
    assert {re.sub("-(wal|shm|journal)$", "", name) for name in there} == {
        "cells.sqlite",
        "writer.sqlite",
    }


@pytest.mark.parametrize(
    ("scenario", "policy", "said"),
    [
        ("multi-attnn", "dysta", True),
        ("multi-attnn", "dysta_oracle:time_unit=1e-6", False),
        ("multi-attnn", "dysta-cycles", False),
        ("multi-cnn", "dysta", False),
    ],
)
def test_compare_says_where_the_unit_of_dysta_does_not_suit(run, scenario, policy, said):
    arguments = ["--scenario", scenario, "--requests", 20, "--seeds", 1, "--policy", policy]
    status, output, _ = run("compare", *arguments)
    assert status == 0
    assert ("Dysta in seconds" in output) == said
