"""Whatever stands in a file, what comes of it is what it says, or one short line: soon."""

import io
import itertools
import json
import os
import random
import re
import time
import zipfile
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tearing import torn
from dysta_gym import DystaError, Policy, generate, load_scenario, measure, simulate
from dysta_gym.configs import content_of
from dysta_gym.errors import LONGEST
from dysta_gym.policies import find
from dysta_gym.traces import _ARRAYS, load_trace, read_artifact_trace, read_artifact_traces
from dysta_gym.workloads import read_requests
from dysta_gym.workloads.arrivals.table import PROCESSES
from dysta_gym.workloads.scenario import DecisionCost, Scenario

CORPUS = Path(__file__).parent / "corpus"
GOLDEN = Path(__file__).parent / "golden"
SECONDS = 1.5
"""What each fuzzer takes; what is not tried in one run is tried in none: the order is fixed."""

BUDGET = 3.0
"""Seconds of work in which the worst of files is refused."""


def read_scenario(path):
    return load_scenario(path)


@cache
def sanger():
    return read_artifact_traces(GOLDEN / "sanger", "sanger")


def read_recorded(path):
    return read_requests(path, sanger(), 10.0)


def read_sanger(path):
    return read_artifact_trace(path, "sanger")


def read_checkpoint(path):
    checkpoints = pytest.importorskip("dysta_gym.agents.checkpoints")
    return checkpoints.load(path)


def refusal(read, path):
    """The line in which a file is refused, None if it is not."""
    begin = time.process_time()
    try:
        read(path)
    except DystaError as error:
        message = str(error)
        assert len(message.splitlines()) == 1 and len(message) <= LONGEST, message[:200]
        assert message.isprintable(), message
        message.encode()
        return message
    finally:
        assert time.process_time() - begin < BUDGET
    return None


# --- YAML ----------------------------------------------------------------------------------------


def fields(tmp_path, text):
    path = tmp_path / "any.yaml"
    path.write_text(text, encoding="utf-8")
    return content_of(path, "scenario", {})[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1.5e2", 150.0), ("5e-5", 5e-5), ("1.e3", 1000.0), (".5", 0.5), ("-.inf", -np.inf)),
        *(("0o17", 15), ("017", 17), ("0x1F", 31), ("+7", 7), ("10_000_000", 10_000_000)),
        *(("12:30:00", "12:30:00"), ("1_0", "1_0"), ("0b11", "0b11"), ("1.5_0", "1.5_0")),
        *(("true", True), ("False", False), ("yes", "yes"), ("on", "on"), ("no", "no")),
        *(("~", None), ("null", None), ("", None), ("2024-02-30", "2024-02-30"), ("=", "=")),
        *(("!!str 5", "5"), ("!!float 5", 5.0), ("'5'", "5"), ("<<", "<<")),
    ],
)
def test_yaml_scalars_are_those_of_its_core_schema(tmp_path, text, value):
    (read,) = fields(tmp_path, f"key: {text}\n").values()
    assert (type(read), read) == (type(value), value)


def test_yaml_keys_that_look_like_truth_values_are_names(tmp_path, refused):
    assert list(fields(tmp_path, "no: 1\non: 2\n")) == ["no", "on"]
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nno: 1\naccelerator: sanger\ntraces: {bert: 1}\n"
    )
    with refused("mine.yaml", "'no'", "unknown", "accelerator"):
        load_scenario(tmp_path / "mine.yaml")


def test_yaml_merge_keys(tmp_path, refused):
    merged = fields(
        tmp_path,
        "base: &base {x: 1, y: 2}\nmore: &more {<<: *base, y: 3, z: 4}\n"
        "one: {<<: *more, x: 5}\nboth: {<<: [*base, *more], z: 0}\n",
    )
    assert merged["more"] == {"x": 1, "y": 3, "z": 4}
    assert merged["one"] == {"x": 5, "y": 3, "z": 4}
    assert merged["both"] == {"x": 1, "y": 2, "z": 0}  # what is named first comes first
    with refused("any.yaml", "merg", "line 1"):
        fields(tmp_path, "a: {<<: 1}\n")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, ["more than 10000 values", "line"]),
        (LAUGHS.replace("[x", "{<<: {x: 1}, y: [x").replace("x]\n", "x]}\n"), ["values", "line"]),
        ("a: &a [*a]\n", ["'a'", "itself", "line 1"]),
        ("".join(f"k{i}: 1\n" for i in range(8000)), ["values"]),
        ("a: {" + ", ".join(f"k{i % 4000}: 1" for i in range(4001)) + "}", ["'k0'", "once"]),
        ("[" * 200_000, ["nested too deeply", "line 1"]),
        ("- " * 200_000, ["nested too deeply", "line 1"]),
        ("{a: " * 200_000, ["nested too deeply", "line 1"]),
        (f"name: a\nload: {'9' * 5000}\n", ["5000 digits", "line 2"]),
        (f"name: a\nload: 1e{'9' * 5000}\n", ["digits", "line 2"]),
        ("name: a\nload: !!int abc\n", ["'abc'", "int", "line 2"]),
        ("name: a\nload: !!bool maybe\n", ["'maybe'", "bool", "line 2"]),
        ("name: a\nload: !!timestamp 2024-02-30\n", ["timestamp", "line 2"]),
        ("name: !!python/object/apply:os.getcwd []\n", ["python/object", "line 1"]),
        ('name: "\\ud800"\n', ["\\ud800", "line 1"]),
        ('name: "\\UFFFFFFFF"\n', ["any.yaml"]),
        ("? [1, 2]\n: 3\n", ["line 1"]),
        ("a: 1\n---\nb: 2\n", ["line 2"]),
        ("name: \x1b[31m\n", ["any.yaml"]),
        ("a: " + "x" * 2**20, ["larger than 1048576 bytes"]),
    ],
    ids=range(20),
)
def test_yaml_that_is_refused_at_once(tmp_path, text, words):
    (tmp_path / "any.yaml").write_text(text, encoding="utf-8")
    message = refusal(lambda path: content_of(path, "scenario", {}), tmp_path / "any.yaml")
    assert message is not None
    for word in ("any.yaml", *words):
        assert word in message, message


def test_a_mapping_that_is_nested_without_an_end_is_refused(refused):
    deep = {}
    for _ in range(100_000):
        deep = {"a": deep}
    within = {"name": "n", "accelerator": "sanger", "load": 0.5}
    within["traces"] = within
    for scenario in (deep, within):
        with refused("scenario", "nested too deeply"):
            load_scenario(scenario)
    half = {}
    for _ in range(300):
        half = {"a": half}
    with refused("traces"):
        load_scenario({**within, "traces": half})


def test_a_long_value_is_not_repeated_in_full(refused):
    with refused("name", "...") as _:
        load_scenario({"name": ["x" * 10**6] * 1000, "accelerator": "sanger", "traces": {"b": 1}})
    assert len(str(DystaError("x" * 10**6))) <= LONGEST
    assert str(DystaError("a\x1b[31m\nb\ud800")) == r"a\x1b[31m\nb\ud800"


# --- what the pages say --------------------------------------------------------------------------

DOCS = Path(__file__).parents[1] / "docs"


def table(page, head):
    """The rows of the table with this head on a page, as lists of cells."""
    lines = (DOCS / page).read_text("utf-8").splitlines()
    at = lines.index(head) + 2
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[at:])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_yaml_is_read_as_the_page_says(tmp_path):
    rows = table("scenarios.md", "| written | read |")
    for written, read in rows:
        (value,) = fields(tmp_path, f"key: {written[1:-1]}\n").values()
        assert repr(value) == read[1:-1]
    assert len(rows) > 10


SCENARIO = {"name": "n", "accelerator": "sanger", "traces": {"mpnet": 1}, "rate": 1}


def with_number(field, value):
    """A scenario with this number in this field of the page's table."""
    frames = {"jitter", "jitter_s", "sensor_rate"}
    process = "frames" if field.removeprefix("arrivals.") in frames else "mmpp"
    if field == "traces":
        return SCENARIO | {"traces": {"mpnet": value}}
    if field == "priorities":
        return SCENARIO | {"priorities": [1, value]}
    if field == "load":
        return SCENARIO | {"load": value, "rate": None}
    if field.startswith("decision_cost."):
        return SCENARIO | {"decision_cost": {field.removeprefix("decision_cost."): value}}
    if field.startswith("arrivals."):
        arrivals = {"process": process, field.removeprefix("arrivals."): value}
        if field == "arrivals.intensity":
            arrivals["share"] = 1e-9
        return SCENARIO | {"arrivals": arrivals}
    return SCENARIO | {field: value}


def test_numbers_of_scenarios_have_the_bounds_that_the_page_says():
    rows = {row[0].split("`")[1]: row[1:] for row in table("scenarios.md", BOUNDS)}
    numbers = {
        f"{prefix}{name}"
        for prefix, model in (
            ("", Scenario),
            ("decision_cost.", DecisionCost),
            *(("arrivals.", each) for each in PROCESSES.values()),
        )
        for name, field in model.model_fields.items()
        if re.search(r"int|float", str(field.annotation))
    }
    assert set(rows) == numbers
    for field, (least, greatest) in rows.items():
        if least.endswith("or 0"):
            load_scenario(with_number(field, 0))
        for inside, outside in (at_bound(least, -1), at_bound(greatest, 1)):
            load_scenario(with_number(field, inside))
            if outside is not None:
                with pytest.raises(DystaError, match=field.rpartition(".")[2]):
                    load_scenario(with_number(field, outside))


BOUNDS = "| field | least | greatest |"


def at_bound(text, way):
    """A number that is still allowed by a bound of the table, and one that is not any more."""
    text = text.removesuffix(" or 0").replace("1 / intensity", "0.25")  # by default
    text = text.replace("the greatest weight", "1").replace("1 / 1", "1")  # that of `SCENARIO`
    if text == "none":
        return 10**6, None
    if re.fullmatch(r"[\d_]+", text):
        return int(text), int(text) + way
    *open_end, number = text.split()  # above 1, below 1
    value = float(number)
    within, beyond = value * (1 - 0.001 * way), value * (1 + 0.001 * way)
    return (within, value) if open_end else (value, beyond)


def test_the_page_names_the_arrays_that_are_read():
    rows = table("traces.md", "| array | shape | |")
    assert {row[0].strip("`") for row in rows} == set(_ARRAYS)


def test_the_clock_may_start_anywhere(tmp_path, refused):
    lines = (GOLDEN / "attnn_rate35_slo10.requests.csv").read_text().splitlines()
    path = tmp_path / "requests.csv"

    def moved(by):
        rows = (line.partition(",") for line in lines[1:])
        path.write_text("\n".join([lines[0], *(f"{float(t) + by!r},{r}" for t, _, r in rows)]))
        return measure(simulate(read_recorded(path), "dysta"))

    at_zero, at_unix = moved(0), moved(1.7e9)
    assert at_unix["antt"] == pytest.approx(at_zero["antt"], rel=1e-5)
    for by in (1.7e12, 1.7e18):
        with refused("requests.csv", "arrival_s", "at most 1e+11"):
            moved(by)


# --- CSV -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("arrival_s,model,sample,Priority", ["'priority'", "missing", "'Priority'"]),
        ("arrival_s,model,sample,priority,note", ["'note'", "unknown", "arrival_s, model"]),
        ("arrival_s,model,sample,priority,priority", ["'priority'", "more than once"]),
        ("arrival_s,model,sample,priority, arrival", ["'arrival'", "unknown", "'arrival_s'"]),
    ],
)
def test_csv_columns_that_are_not_what_they_seem(tmp_path, refused, header, words):
    path = tmp_path / "requests.csv"
    path.write_text(f"{header}\n0.5,bert,3,9{',1' * (header.count(',') - 3)}\n")
    with refused("requests.csv", *words):
        read_recorded(path)


@pytest.mark.skipif(os.name != "posix", reason="there are no such devices")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for read in (read_recorded, read_sanger, read_checkpoint, load_trace):
        assert "is not a regular file" in refusal(read, Path("/dev/zero"))
        assert "is not a regular file" in refusal(read, pipe)


def test_csv_with_spaces_is_read_as_without(tmp_path):
    path = tmp_path / "requests.csv"
    path.write_text("arrival_s , model, sample, priority\n0.5, bert , 3, 9\n 1.5, gpt2, 15, 1\n")
    workload = read_recorded(path)
    assert workload.priority.tolist() == [9, 1] and workload.row.tolist() == [3, 15]
    replay = {"process": "replay", "file": str(path)}
    scenario = {"name": "n", "accelerator": "sanger", "traces": {"bert": 1, "gpt2": 1}}
    scenario |= {"trace_dir": str(GOLDEN / "sanger"), "arrivals": replay}
    assert generate(load_scenario(scenario), 0, split="all").priority.tolist() == [9, 1]
    path.write_text("arrival_s,Priority\n0.5,9\n1.5,1\n")
    with pytest.raises(DystaError, match="'Priority' is unknown; did you mean 'priority'"):
        generate(load_scenario(scenario), 0)


def test_csv_numbers_have_all_their_digits(tmp_path, refused):
    path = tmp_path / "requests.csv"
    times = np.sort(np.random.default_rng(0).uniform(0, 1000, 300))
    rows = "".join(f"{t!r},bert,3,1\n" for t in times.tolist())
    path.write_text("arrival_s,model,sample,priority\n" + rows)
    assert read_recorded(path).arrival_s.tolist() == times.tolist()
    for value, words in (
        ("True", ["'priority'", "True"]),
        ("1_0", ["'priority'", "'1_0'"]),
        ("0x10", ["'priority'", "'0x10'"]),
        ("9007199254740993", ["'priority'", "9007199254740993"]),
    ):
        path.write_text(f"arrival_s,model,sample,priority\n0.5,bert,3,{value}\n")
        with refused("requests.csv", "row 1", *words):
            read_recorded(path)


# --- npz -----------------------------------------------------------------------------------------


def header(shape, kind="<f8"):
    file = io.BytesIO()
    text = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, text)
    return file.getvalue()


def archive(path, **members):
    """An npz file of the bytes, or of the arrays, that are given."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            with target.open(f"{name}.npy", "w", force_zip64=True) as file:
                if isinstance(content, tuple):
                    head, block, times = content
                    file.write(head)
                    for _ in range(times):
                        file.write(block)
                elif isinstance(content, bytes):
                    file.write(content)
                else:
                    np.lib.format.write_array(file, np.asarray(content))
    return path


META = {"format": 1, "name": "n", "model": "n", "pattern": "dense", "accelerator": "sanger"}
TRACE = {
    "meta": json.dumps(META),
    "latency_s": np.ones((2, 1)),
    "sparsity": np.zeros((2, 1)),
    "train": [True, False],
    "layer_name": ["attention"],
}
MEGABYTE = bytes(2**20)


def test_npz_arrays_that_nobody_knows_cost_nothing(tmp_path):
    bomb = (header((300 * 2**17,)), MEGABYTE, 300)
    path = archive(tmp_path / "bomb.npz", **TRACE, unused=bomb)
    begin = time.process_time()
    assert load_trace(path).name == "n"
    assert time.process_time() - begin < 0.3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latency_s": (header((300 * 2**17,)), MEGABYTE, 300)}, ["latency_s", "unpacks to"]),
        ({"latency_s": header((2**40, 2**20))}, ["latency_s", "shape"]),
        ({"latency_s": header((2, 1), "|O") + b"cos\ngetcwd\n(tR."}, ["objects"]),
        ({"layer_name": header((2**40,), "<U0")}, ["layer_name", "shape"]),
        ({"meta": "[" * 200_000}, ["meta"]),
        ({"meta": '{"format":' * 200_000}, ["meta"]),
        ({"meta": json.dumps(META | {"name": "\ud800"})}, ["meta"]),
        ({"meta": json.dumps(META | {"name": ["n"]})}, ["meta", "name", "['n']"]),
        ({"meta": json.dumps(META | {"format": 10**4000})}, ["format"]),
        ({"length": [64.5, 70]}, ["length", "64.5", "whole"]),
        ({"length": [np.nan, 70]}, ["length", "nan", "whole"]),
        ({"train": [0.5, np.nan]}, ["train", "0.5", "True or False"]),
        ({"train": [2, 0]}, ["train", "2", "True or False"]),
        ({"train": ["a", "b"]}, ["train", "type"]),
        ({"latency_s": np.ones((2, 1), complex)}, ["latency_s", "complex128", "type"]),
        ({"layer_name": [1.5]}, ["layer_name", "type", "texts"]),
    ],
    ids=range(16),
)
def test_npz_that_is_refused_at_once(tmp_path, changes, words):
    message = refusal(load_trace, archive(tmp_path / "odd.npz", **(TRACE | changes)))
    assert message is not None
    for word in ("odd.npz", *words):
        assert word in message, message


def test_checkpoint_bombs_are_refused_at_once(tmp_path):
    for changes, word in (
        ({"weights": (header((300 * 2**17,)), MEGABYTE, 300)}, "unpacks to"),
        ({"record": "[" * 200_000}, "damaged"),
        ({"format": [1, 2]}, "damaged"),
    ):
        members = {"format": 2, "weights": np.zeros(3), "record": "{}"} | changes
        message = refusal(read_checkpoint, archive(tmp_path / "odd.npz", **members))
        assert message is not None and word in message


# --- caches --------------------------------------------------------------------------------------


def test_scenarios_of_one_name_in_two_folders_have_their_own_traces(tmp_path, monkeypatch):
    for folder, latency_s in (("a", 1.0), ("b", 2.0)):
        (tmp_path / folder / "traces").mkdir(parents=True)
        arrays = TRACE | {"latency_s": np.full((2, 1), latency_s)}
        archive(tmp_path / folder / "traces" / "n.npz", **arrays)
        (tmp_path / folder / "requests.csv").write_text(f"arrival_s\n0\n{latency_s}\n")
        (tmp_path / folder / "mine.yaml").write_text(
            "name: mine\naccelerator: sanger\ntraces: {n: 1}\ntrace_dir: traces\n"
            "arrivals: {process: replay, file: requests.csv}\n"
        )
    loaded = {}
    for folder in ("a", "b"):
        monkeypatch.chdir(tmp_path / folder)
        loaded[folder] = load_scenario("mine.yaml")
    for folder, latency_s in (("a", 1.0), ("b", 2.0)):  # from wherever one is now
        assert loaded[folder].store().latency_s.tolist() == [latency_s] * 2
        assert generate(loaded[folder], 0).arrival_s.tolist() == [0, latency_s]
    as_mapping = {"name": "n", "accelerator": "sanger", "traces": {"n": 1}, "trace_dir": "traces"}
    for folder, latency_s in (("a", 1.0), ("b", 2.0)):
        monkeypatch.chdir(tmp_path / folder)
        assert load_scenario(as_mapping | {"load": 1}).store().latency_s[0] == latency_s


def test_a_trace_that_was_rewritten_is_read_again(tmp_path):
    scenario = load_scenario(
        {"name": "n", "accelerator": "sanger", "traces": {"n": 1}, "load": 0.5, "requests": 5}
        | {"trace_dir": str(tmp_path)}
    )
    seen = []
    for latency_s in (1.0, 2.0):
        archive(tmp_path / "new.npz", **(TRACE | {"latency_s": np.full((2, 1), latency_s)}))
        (tmp_path / "new.npz").replace(tmp_path / "n.npz")
        seen.append(generate(scenario, 0))
        assert scenario.store() is scenario.store()
    assert [workload.store.latency_s[0] for workload in seen] == [1, 2]
    np.testing.assert_allclose(seen[1].arrival_s, 2 * seen[0].arrival_s)


def test_stores_are_not_kept_for_ever():
    from dysta_gym.workloads.scenario import _store

    assert _store.cache_parameters()["maxsize"] <= 16


# --- fuzzers -------------------------------------------------------------------------------------


def changes(content, rng):
    """Changed versions of a file, without an end."""
    while True:
        yield torn(content, rng)


READERS = {
    "yaml": (read_scenario, "mine.yaml"),
    "csv": (read_recorded, "requests.csv"),
    "sanger": (read_sanger, "bert.csv"),
    "npz": (load_trace, "n.npz"),
    "checkpoints": (read_checkpoint, "mine.npz"),
}


@pytest.mark.parametrize("kind", READERS)
def test_the_corpus_is_read_or_refused_in_a_line(kind):
    read, _ = READERS[kind]
    files = sorted((CORPUS / kind).iterdir())
    outcomes = {path.name: refusal(read, path) for path in files}
    assert [name for name, message in outcomes.items() if message is None] == [
        path.name for path in files if path.name.startswith("good")
    ]


@pytest.mark.parametrize("kind", READERS)
def test_whatever_a_file_holds_it_is_read_or_refused_in_a_line(tmp_path, kind):
    read, name = READERS[kind]
    path, rng = tmp_path / name, random.Random(kind)
    sources = [changes(file.read_bytes(), rng) for file in sorted((CORPUS / kind).iterdir())]
    tried, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        path.write_bytes(next(sources[tried % len(sources)]))
        refusal(read, path)
        tried += 1
    assert tried > 10


def test_whatever_a_policy_is_called_it_is_found_or_refused_in_a_line():
    rng = random.Random(0)
    seeds = [b"dysta", b"sjf@monitored", b"dysta@sized/kalman:beta=0.1", b"run/checkpoint.npz", b""]
    seeds += [b"dysta:beta=nan", b"fcfs@*", b"prema:x=1,y=2", b"@:=,"]
    sources = [changes(seed, rng) for seed in seeds]
    tried, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        name = next(sources[tried % len(sources)]).decode("utf-8", "surrogateescape")
        refusal(find, name)
        tried += 1
    assert tried > 50


def test_a_level_that_is_an_array_is_refused_in_a_line(refused, workload):
    with refused("level", "array([1, 2])", "static"):
        find("dysta").at(np.array([1, 2]))
    with refused("level", "[1, 2]", "static"):
        Policy("mine", lambda *_: None, level=[1, 2])


def test_a_deep_copy_of_what_cannot_change_is_itself(workload):
    assert deepcopy(workload) is workload and deepcopy(workload.store) is workload.store
