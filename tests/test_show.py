"""``dysta-gym show``: a workload under several policies, to look at."""

import csv
import json
import re
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib import image

import dysta_gym
from dysta_gym import generate, load_scenario, measure, simulate
from dysta_gym.cli.showing import file_names
from dysta_gym.timeline import text
from dysta_gym.timeline.colours import LATE, colour_of, rgb
from dysta_gym.timeline.events import write_trace
from dysta_gym.timeline.requests import request_table
from dysta_gym.timeline.segments import lanes, runs_of, segments_of


@pytest.fixture
def show(run):
    """``show(*arguments)``: status, standard output, standard error of the command."""
    return partial(run, "show")


@pytest.fixture
def schedules(workload):
    """Three schedules of six requests, some of them late."""
    return {name: simulate(workload, name, record=True) for name in ("fcfs", "sjf", "round_robin")}


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["multi-attnn", "multi-cnn"])
def test_files_of_show_are_what_simulate_does(show, tmp_path, scenario):
    out = tmp_path / "new" / "folder"
    options = ("--scenario", scenario, "--load", 1.3, "--slo", 4, "--requests", 30, "--seed", 5)
    policies = [part for name in ("fcfs", "dysta", "sjf@*") for part in ("--policy", name)]
    status, output, errors = show(*options, *policies, "--out", out)
    assert (status, errors) == (0, "")
    names = ["fcfs", "dysta", *(f"sjf@{each}" for each in dysta_gym.information.LEVELS)]
    traces = {f"{name}.trace.json" for name in names}
    written = {path.name for path in out.iterdir()}
    assert written == {
        "timeline.png", "requests.csv", "requests.csv-metadata.json", "classes.md", *traces
    }  # fmt: skip
    for name in written:
        assert name in output.replace("\n", " ")
    assert "violations (%)" in output and "ANTT" in output

    with (out / "requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    varied = load_scenario(scenario).varied(load=1.3, slo_multiplier=4, requests=30)
    workload = generate(varied, 5, split="test")
    store = workload.store
    assert list(dict.fromkeys(row["policy"] for row in rows)) == names
    for name in names:
        mine = [row for row in rows if row["policy"] == name]
        schedule = simulate(workload, name)
        found = measure(schedule)
        assert [float(row["finish_s"]) for row in mine] == schedule.finish_s.tolist()
        assert [float(row["arrival_s"]) for row in mine] == workload.arrival_s.tolist()
        assert [float(row["deadline_s"]) for row in mine] == workload.deadline_s.tolist()
        assert [row["model"] for row in mine] == [store.models[index] for index in workload.model]
        ntt = [float(row["ntt"]) for row in mine]
        assert np.mean(ntt) == pytest.approx(found["antt"], rel=1e-12)
        late = [row["late"] == "True" for row in mine]
        assert np.mean(late) == pytest.approx(found["violation_rate"])
        assert sum(int(row["preemptions"]) for row in mine) == schedule.preemptions
        for row in mine:
            assert float(row["arrival_s"]) <= float(row["start_s"]) < float(row["finish_s"])
        for model in set(store.models) & {row["model"] for row in mine}:
            share = np.mean([row["late"] == "True" for row in mine if row["model"] == model])
            assert share == pytest.approx(found[f"violation_rate_model_{model}"])
    picture = image.imread(out / "timeline.png")
    colours = np.unique((255 * picture[..., :3]).round().astype(int).reshape(-1, 3), axis=0)
    assert len(colours) > 50
    for colour in (LATE, *(colour_of(index) for index in np.unique(workload.model))):
        assert (colours == rgb(colour)).all(1).any(), colour


def test_without_a_folder_show_prints_a_picture(show, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, output, errors = show("--load", 1.4, "--requests", 20, "--policy", "fcfs")
    assert (status, errors) == (0, "")
    assert output.startswith("multi-attnn: load 1.4 (")
    assert "fcfs  " in output and "accelerator " in output and " A  mpnet" in output
    assert "violations (%)" in output and "priority 9" in output
    assert max(map(len, output.splitlines())) <= 160
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policy", "nobody"], ["policy", "'nobody'", "fcfs"]),
        (["--policy", "sjf@all"], ["'sjf@all'", "level"]),
        (["--scenario", "nowhere"], ["'nowhere'"]),
        (["--requests", "0"], ["requests", "0", "1 to 10000"]),
        (["--requests", "10001"], ["requests", "10001"]),
        (["--load", "enormous"], ["load", "enormous"]),
        (["--load", "1", "--rate", "2"], ["load", "rate"]),
        (["--slo", "0"], ["slo_multiplier", "0"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--split", "half"], ["split", "'half'", "test"]),
        (["--out", "file/folder"], ["out", "is a file"]),
    ],
)
def test_bad_input_is_one_line(show, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    status, output, errors = show(*arguments)
    assert (status, output) == (2, "")
    assert errors.startswith("dysta-gym: error: ") and len(errors.splitlines()) == 1
    for word in words:
        assert word in errors


def test_names_of_files_are_safe_and_no_two_alike():
    names = ["dysta:beta=0.5", "DYSTA:beta=0.5", "runs/a b/../x.npz", "..", "a\nb", "\u202e" * 300]
    found = file_names(names)
    assert list(found) == names
    assert len({each.casefold() for each in found.values()}) == len(names)
    for file in found.values():
        assert re.fullmatch(r"[\w@=+,-][\w@=+,.-]*\.trace\.json", file, re.ASCII), file
        assert len(file) < 130
    reserved = file_names(["con", "NUL.x", "lpt1", "console", "aux_rule"])  # by Windows
    assert list(reserved.values()) == [
        f"{stem}.trace.json" for stem in ("policy-con", "policy-NUL.x", "policy-lpt1", "console",
                                          "aux_rule")
    ]  # fmt: skip
    assert file_names(["sjf@monitored"]) == {"sjf@monitored": "sjf@monitored.trace.json"}


# --- segments ------------------------------------------------------------------------------------


def test_segments_are_the_layers_in_order(schedules):
    for schedule in schedules.values():
        found = segments_of(schedule)
        workload, store = schedule.workload, schedule.workload.store
        assert len(found.request) == schedule.decisions
        assert (found.end_s[:-1] <= found.start_s[1:]).all()
        for request in range(len(workload)):
            mine = found.request == request
            trace = store.traces[workload.trace[request]]
            assert found.layer[mine].tolist() == list(range(trace.latency_s.shape[1]))
            took = found.end_s[mine] - found.start_s[mine]
            np.testing.assert_allclose(took, trace.latency_s[workload.row[request]])
            assert found.end_s[mine][-1] == schedule.elapsed_s[request]
        runs = runs_of(found)
        assert runs.layers.sum() == schedule.decisions
        assert len(runs.request) == len(workload) + schedule.preemptions
        assert all(one != two for one, two in pairwise(runs.request))


def test_what_has_not_been_recorded_is_refused(workload, refused):
    with refused("schedule", "record=True"):
        segments_of(simulate(workload, "fcfs"))


def test_lanes_are_taken_by_one_at_a_time():
    rng = np.random.default_rng(0)
    arrival = np.sort(rng.integers(0, 50, 60) / 4)
    finish = arrival + rng.integers(1, 30, 60) / 4
    lane = lanes(arrival, finish)
    for at in range(60):
        for other in range(at):
            apart = finish[other] <= arrival[at]
            assert apart or lane[at] != lane[other]
    most = max(((arrival <= t) & (t < finish)).sum() for t in arrival)
    assert lane.max() + 1 == most


# --- trace events --------------------------------------------------------------------------------


def test_trace_events_are_the_schedule(schedules, tmp_path):
    for name, schedule in schedules.items():
        workload = schedule.workload
        store, total = workload.store, len(workload)
        write_trace(schedule, tmp_path / "trace.json", name)
        content = json.loads((tmp_path / "trace.json").read_text("utf-8"))
        assert content["otherData"] == {"policy": name}
        events = content["traceEvents"]
        for event in events:
            assert event["ph"] in "XMCi" and isinstance(event["name"], str)
            assert isinstance(event["pid"], int) and isinstance(event.get("tid", 0), int)
            assert event["ph"] == "M" or event["ts"] >= 0
            assert ("dur" in event) == (event["ph"] == "X")
            assert event["ph"] != "i" or event["s"] in "gpt"
        kinds = {kind: [e for e in events if e.get("cat") == kind] for kind in
                 ("layer", "run", "request", "violation")}  # fmt: skip
        titles = {
            (event["pid"], event["tid"]): event["args"]["name"]
            for event in events
            if event["ph"] == "M" and event["name"] == "thread_name"
        }
        assert len(titles) == total + 1 and len(kinds["request"]) == total
        for request, whole in enumerate(kinds["request"]):
            track = (whole["pid"], whole["tid"])
            assert titles[track] == f"#{request} {store.models[workload.model[request]]}"
            layers = [e for e in kinds["layer"] if (e["pid"], e["tid"]) == track]
            trace = store.traces[workload.trace[request]]
            assert [e["args"]["layer"] for e in layers] == list(range(len(trace.layer_names)))
            assert [e["name"] for e in layers] == list(trace.layer_names)
            row = workload.row[request]
            assert [e["args"]["sparsity"] for e in layers] == trace.sparsity[row].tolist()
            assert [e["dur"] for e in layers] == pytest.approx(1e6 * trace.latency_s[row])
            served = sum(event["dur"] for event in layers)
            assert served == pytest.approx(1e6 * workload.isolated_s[request])
            for one, two in pairwise(layers):
                assert one["ts"] + one["dur"] <= two["ts"] + 1e-6
            assert whole["ts"] == pytest.approx(1e6 * workload.arrival_s[request])
            assert layers[0]["ts"] >= whole["ts"]
            end = whole["ts"] + whole["dur"]
            assert end == pytest.approx(1e6 * schedule.finish_s[request])
            assert layers[-1]["ts"] + layers[-1]["dur"] == pytest.approx(end)
            late = schedule.finish_s[request] > workload.deadline_s[request]
            assert whole["args"]["late"] == late
            marks = [e for e in kinds["violation"] if (e["pid"], e["tid"]) == track]
            assert len(marks) == late
        for one, two in pairwise(sorted(kinds["run"], key=lambda event: event["ts"])):
            assert one["ts"] + one["dur"] <= two["ts"] + 1e-6
        assert sum(event["args"]["layers"] for event in kinds["run"]) == schedule.decisions

        counters = [event for event in events if event["ph"] == "C"]
        queue = [e for e in counters if e["name"] == "requests in the system"]
        for event in queue:
            at = event["ts"] / 1e6
            there = (workload.arrival_s <= at + 1e-9) & (schedule.finish_s > at + 1e-9)
            assert event["args"] == {"requests in the system": there.sum()}
        assert queue[-1]["args"]["requests in the system"] == 0
        missed = [event["args"]["violations"] for event in counters if event not in queue]
        late = (schedule.finish_s > workload.deadline_s).sum()
        assert missed == sorted(missed) and missed[0] == 0 and missed[-1] == late


# --- text ----------------------------------------------------------------------------------------

GOLDEN = {
    "fcfs": """\
fcfs  4 of 6 late, 0 preemptions
         5     ─────────────────────BBBBBBBBBBBBBBB✗
         4    ───────━━━━━━━━━━━AAAA✗
         3  ────────━━━━━━━━━AAA✗
         2  ────────━━━━━━AAA✗
         1  BBBBBBBBBBBBBB                        ─AAAAAA
accelerator BBBBBBBBBBBBBBAAAAAAAAAAABBBBBBBBBBBBBBAAAAAA
            0 s                                       47 s
""",
    "sjf": """\
sjf  3 of 6 late, 1 preemptions
         5     ─────────────────────BBBBBBBBBBBBBBB✗
         4    ───────AAAAA✗
         3  ──────AAA✗
         2  ───AAA
         1  BBB───────────BBBBBBBBBB              ─AAAAAA
accelerator BBBBAAAAAAAAAABBBBBBBBBBBBBBBBBBBBBBBBBAAAAAA
            0 s                                       47 s
""",
    "round_robin": """\
round_robin  5 of 6 late, 6 preemptions
         5     -----------BBBBBB----------BBBBBBBBB!
         4    ----AAA=============AA!
         3  ----AA--==============A!
         2  ---A----============AA!
         1  BBB------BBBBB----------BBBBBB!       -AAAAAA
accelerator BBBBAAAAAABBBBBBBBBBAAAAABBBBBBBBBBBBBBAAAAAA
            0 s                                       47 s
""",
}


def lines(name, schedule, **options):
    found = text.gantt(name, schedule, 58, **options)
    return "".join(f"{line.plain.rstrip()}\n" for line in found)


@pytest.mark.parametrize("name", GOLDEN)
def test_text_is_a_gantt_picture(schedules, name):
    marks = text.ASCII if GOLDEN[name].isascii() else text.UNICODE
    assert lines(name, schedules[name], marks=marks) == GOLDEN[name]


def test_text_is_one_colour_a_network_and_red_where_something_is_late(schedules):
    found = text.gantt("sjf", schedules["sjf"], 60)
    styles = {str(span.style) for line in found for span in line.spans}
    assert {f"on {colour_of(index).lower()}" for index in (0, 1)} <= {
        style[style.index("on ") :] for style in styles if "on " in style
    }
    assert any(LATE.lower() in style for style in styles)


@pytest.mark.parametrize("width", [1, 24, 79, 200])
def test_text_fits_its_width(schedules, width):
    for name, schedule in schedules.items():
        for marks in (text.UNICODE, text.ASCII):
            found = text.gantt(name, schedule, width, marks=marks)
            assert all(len(line.plain) <= max(width, 22) for line in found[1:])
            assert marks is text.UNICODE or all(line.plain.isascii() for line in found)


def test_marks_are_those_that_an_encoding_has():
    for encoding in ("utf-8", "UTF8", "utf-16"):
        assert text.marks_for(encoding) is text.UNICODE
    for encoding in ("ascii", "latin-1", "unknown", None):
        assert text.marks_for(encoding) is text.ASCII


def test_rows_beyond_the_most_are_counted(schedules):
    found = lines("fcfs", schedules["fcfs"], rows=2).splitlines()
    assert "(3 more rows)" in found[1] and len(found) == 6


# --- any workload --------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=40)
def test_any_schedule_is_shown(data, workloads):
    workload = data.draw(workloads(idle_layers=True, limits=True))
    name = data.draw(st.sampled_from(["fcfs", "round_robin", "dysta"]))
    schedule = simulate(workload, name, record=True)
    found = segments_of(schedule)
    runs = runs_of(found)
    assert (found.end_s[:-1] <= found.start_s[1:]).all()
    assert len(runs.request) == len(workload) + schedule.preemptions
    table = request_table(schedule)
    assert table["preemptions"].sum() == schedule.preemptions
    assert (table["start_s"] >= table["arrival_s"]).all()
    assert table["late"].mean() == pytest.approx(measure(schedule)["violation_rate"])
    width = data.draw(st.integers(40, 120))
    assert all(len(line.plain) <= width for line in text.gantt(name, schedule, width)[1:])
    with TemporaryDirectory() as folder:
        write_trace(schedule, Path(folder) / "trace.json", name)
        events = json.loads((Path(folder) / "trace.json").read_text("utf-8"))["traceEvents"]
    served = sum(event["dur"] for event in events if event.get("cat") == "layer")
    assert served == pytest.approx(1e6 * workload.isolated_s.sum(), abs=1e-3 * len(found.request))


def test_requests_that_arrive_far_from_zero_keep_their_digits(workload):
    far = replace(workload, arrival_s=workload.arrival_s + 1e9)
    for policy in ("fcfs", "round_robin"):
        one, other = (simulate(each, policy, record=True) for each in (far, workload))
        for mine, theirs in zip(segments_of(one), segments_of(other), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert text.gantt("a", one, 60)[1:-1] == text.gantt("a", other, 60)[1:-1]
