"""Results say what they were made with and of: in a data frame's attributes, beside every CSV."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dysta_gym
from dysta_gym import compare, compare_on, load_scenario, shipped_traces, summarise
from dysta_gym.agents import evaluate
from dysta_gym.metrics import METRICS
from dysta_gym.provenance import KEY, provenance

GOLDEN = Path(__file__).parent / "golden"
REPLAY = (
    "replay", "--traces", GOLDEN / "sanger", "--accelerator", "sanger",
    "--requests", GOLDEN / "attnn_rate35_slo10.requests.csv", "--policy", "dysta", "--slo", 10,
)  # fmt: skip
SMALL = ("--requests", 40, "--policy", "fcfs", "--policy", "sjf")
EPOCH, DATE = "1700000000", "2023-11-14T22:13:20Z"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told(path):
    """What the companion of a CSV says, by the terms that it is said in."""
    said = json.loads(path.with_name(f"{path.name}-metadata.json").read_text("ascii"))
    made = said["prov:wasGeneratedBy"]
    assert said["@context"] == "http://www.w3.org/ns/csvw"
    assert said["url"] == path.name and said["schema:sha256"] == digest(path)
    return {
        "date": said["dc:created"]["@value"],
        "command": made.get("schema:description"),
        "software": {
            each["schema:name"]: each["schema:softwareVersion"]
            for each in made["prov:wasAssociatedWith"]
        },
        "used": {
            (each["schema:additionalType"], each["schema:name"]): each["schema:sha256"]
            for each in made["prov:used"]
        },
    }


def test_a_frame_says_what_it_was_made_with_and_of(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    few = {"scenarios": ["multi-attnn"], "seeds": [0], "requests": 40}
    frame = compare(policies=["sjf"], loads=[0.8, 1.05], **few)
    found = frame.attrs["provenance"]
    assert json.loads(json.dumps(found)) == found
    assert (found["version"], found["date"]) == (dysta_gym.__version__, DATE)
    assert found["packages"]["numpy"] == np.__version__ and "numba" in found["packages"]
    shipped, used = shipped_traces(), load_scenario("multi-attnn").traces
    assert found["traces"] == {name: digest(shipped[name]) for name in used}
    assert list(found["scenarios"]) == ["multi-attnn"]
    for same in (
        frame.copy(),
        summarise(frame, ["antt"]),
        evaluate(lambda observations, masks: masks.argmax(axis=1), **few),
        pd.concat([frame, compare(policies=["fcfs"], slos=[3], **few)]),
    ):
        assert same.attrs[KEY] == found


def test_what_a_digest_of_a_scenario_stands_for(tmp_path):
    base = load_scenario("multi-attnn")

    def seen(scenario):
        (value,) = provenance([scenario])["scenarios"].values()
        return value

    for change in ({"load": 0.5}, {"slo_multiplier": 3.0}):  # the rows say these
        assert seen(base.varied(**change)) == seen(base)
    assert seen(base.replaced(name="other", description="words")) == seen(base)
    columns = "arrival_s,model,sample,priority\n"
    files = [tmp_path / name / "requests.csv" for name in ("one", "two", "three")]
    for path, arrival in zip(files, ("0.2", "0.2", "0.3"), strict=True):
        path.parent.mkdir()
        path.write_text(f"{columns}0,mpnet,1,1\n{arrival},mpnet,2,1\n")
    one, two, three = (
        base.replaced(arrivals={"process": "replay", "file": str(path)}) for path in files
    )
    assert seen(one) == seen(two)  # wherever it lies
    chip = {"model": "sanger", "clock_hz": 2e9}
    others = [
        base.varied(requests=7), base.replaced(queue_limit=3), base.replaced(speed=2.0),
        base.replaced(accelerator=chip), base.replaced(priorities=(1.0,)), one, three,
    ]  # fmt: skip
    assert len({seen(base), *map(seen, others)}) == 1 + len(others)
    assert list(provenance([base, one])["scenarios"]) == ["multi-attnn", "multi-attnn (2)"]


def test_tracks_name_all_their_scenarios():
    blocks = [
        {"scenarios": [name], "changes": {"requests": 20}, "suffix": "-s"}
        for name in ("multi-attnn", "multi-cnn")
    ]
    track = {"name": "t", "seeds": {"count": 1}, "blocks": blocks}
    found = compare_on([track], ["sjf"], bounds=False).attrs[KEY]
    assert list(found["scenarios"]) == ["multi-attnn-s", "multi-cnn-s"]
    assert {"mpnet", "vgg16_dense"} <= set(found["traces"])


def test_the_same_command_writes_the_same_but_for_the_date(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command = ("compare", *SMALL, "--seeds", 2, "--out", "here")
    path = tmp_path / "here" / "results.csv"
    written = []
    for epoch in (EPOCH, str(1 + int(EPOCH))):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        assert run(*command)[0] == 0
        written.append((path.read_bytes(), told(path)))
    (first, said), (second, again) = written
    assert first == second
    assert said["date"] == DATE and again["date"] == DATE.replace(":20Z", ":21Z")
    assert said | {"date": ""} == again | {"date": ""}
    assert said["command"] == " ".join(map(str, ("dysta-gym", *command)))
    assert said["software"]["dysta-gym"] == dysta_gym.__version__
    assert {"Python", "numpy", "numba"} < set(said["software"])
    assert said["used"]["traces", "mpnet"] == digest(shipped_traces()["mpnet"])
    assert ("scenarios", "multi-cnn") in said["used"]


def test_every_command_that_writes_a_table_says_what_of(run, tmp_path):
    traces = shipped_traces()
    assert run("show", *SMALL, "--out", tmp_path)[0] == 0
    assert run("reproduce", "figure2", "--fast", "--out", tmp_path)[0] == 0
    assert run(*REPLAY, "--out", tmp_path / "finish.csv")[0] == 0
    assert told(tmp_path / "requests.csv")["used"]["traces", "mpnet"] == digest(traces["mpnet"])
    figure = told(tmp_path / "figure2.csv")
    assert figure["command"].startswith("dysta-gym reproduce figure2")
    assert figure["used"]["traces", "mpnet"] == digest(traces["mpnet"])
    used = told(tmp_path / "finish.csv")["used"]
    assert used["traces", "bert"] == digest(GOLDEN / "sanger" / "bert.csv")
    assert used["requests", REPLAY[6].name] == digest(REPLAY[6])


def test_listings_say_what_the_digests_are_here(run):
    found = provenance([load_scenario("multi-attnn")])
    for what, wanted in (("traces", found["traces"]), ("scenarios", found["scenarios"])):
        listed = {each["name"]: each["sha256"] for each in json.loads(run(what, "--json")[1])}
        assert listed.items() >= wanted.items()


def test_names_of_files_are_those_that_the_companion_points_to(run, tmp_path):
    out = tmp_path / "a table.csv"
    assert run(*REPLAY, "--out", out)[0] == 0
    said = json.loads((tmp_path / "a table.csv-metadata.json").read_text())
    assert said["url"] == "a%20table.csv"


def test_what_is_no_file_has_no_companion(tmp_path, run):
    (tmp_path / "out").symlink_to("/dev/null")
    assert run(*REPLAY, "--out", tmp_path / "out")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_date_that_is_none_is_refused_before_anything_runs(monkeypatch, run, tmp_path):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    status, output, errors = run("compare", *SMALL, "--out", tmp_path)
    assert (status, output) == (2, "") and list(tmp_path.iterdir()) == []
    assert errors == (
        "dysta-gym: error: SOURCE_DATE_EPOCH: 'today' is not allowed; it must be seconds since "
        "1970\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [("SOURCE_DATE_EPOCH", "-5", 2), ("SOURCE_DATE_EPOCH", "", 0), ("COLUMNS", "\u00b2", 0)],
)
def test_variables_that_say_nothing(name, value, status):
    done = subprocess.run(
        [sys.executable, "-m", "dysta_gym", "leaderboard", "--track", "long"],
        capture_output=True, encoding="utf-8", env={**os.environ, name: value},
    )  # fmt: skip
    assert done.returncode == status
    assert [line for line in done.stderr.splitlines() if name not in line] == []


def test_replay_does_not_replace_what_it_reads(run, tmp_path):
    requests = tmp_path / "requests.csv"
    requests.write_bytes(REPLAY[6].read_bytes())
    arguments = [requests if each == REPLAY[6] else each for each in REPLAY]
    status, _, errors = run(*arguments, "--out", requests)
    assert status == 2 and "is read, too; give another file" in errors
    assert requests.read_bytes() == REPLAY[6].read_bytes()


def test_replay_prints_json_and_nothing_else(run, tmp_path):
    status, table, _ = run(*REPLAY, "--out", tmp_path / "finish.csv")
    status, output, errors = run(*REPLAY, "--out", tmp_path / "again.csv", "--json")
    assert (status, errors) == (0, "")
    found = json.loads(output, parse_constant=pytest.fail)
    assert found.pop("policy") == "dysta" and set(METRICS) <= set(found)
    for name, value in found.items():
        assert f"{value:.6g}" in next(line for line in table.splitlines() if f" {name} " in line)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "finish.csv").read_bytes()
