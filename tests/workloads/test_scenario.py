"""Descriptions of deployments."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from dysta_gym import DystaError, Trace, generate, load_scenario, measure, shipped_scenarios
from dysta_gym.information import LEVELS
from dysta_gym.simulation import simulate
from dysta_gym.traces import shipped_traces
from dysta_gym.workloads import LOADS

GOLDEN = Path(__file__).parents[1] / "golden"
BURSTS = {"process": "mmpp", "intensity": 5.0, "share": 0.1, "length": 40.0}
FRAMES = {"process": "frames", "jitter": 0.25}


def test_scenarios_of_the_paper_are_shipped():
    assert {"multi-attnn", "multi-cnn"} <= set(shipped_scenarios())


@pytest.mark.parametrize("name", shipped_scenarios())
def test_shipped_scenario_is_sound(name):
    loaded = load_scenario(name)
    assert loaded.name == name and loaded.description and loaded.sources
    assert loaded == load_scenario(shipped_scenarios()[name])
    workload = generate(loaded, seed=0)
    assert len(workload) == loaded.requests
    assert set(workload.trace) == set(range(len(loaded.traces)))
    assert all(np.isfinite(simulate(workload, f"dysta@{level}").finish_s).all() for level in LEVELS)


def test_defaults_are_those_of_the_published_comparison(scenario):
    assert scenario(requests=None).requests == 1000
    assert scenario().slo_multiplier == 10
    assert scenario().priorities == (1, 3, 9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slo_multiplyer": 5}, ["'slo_multiplyer'", "slo_multiplier"]),
        ({"arrivals": {"proces": "poisson"}}, ["arrivals.process", "missing", "'poisson'"]),
        ({"arrivals": {"process": "bursty"}}, ["arrivals.process", "'bursty'", "'poisson'"]),
        ({"load": None, "rate": -3}, ["rate", "-3", "greater than 0"]),
        ({"load": 0}, ["load", "0", "greater than 0"]),
        ({"load": float("nan")}, ["load", "nan", "finite"]),
        ({"arrivals": {"process": "poisson", "rate": 3}}, ["'arrivals.rate'", "process"]),
        ({"load": "hefty"}, ["load", "'hefty'", "number", "heavy"]),
        ({"rate": 3}, ["load, rate", "both", "one of the two"]),
        ({"load": None}, ["load, rate", "neither", "one of the two"]),
        ({"traces": {"bert": 1, "gpt2": -2}}, ["traces.gpt2", "-2", "greater than 0"]),
        ({"traces": {}}, ["traces", "at least 1"]),
        ({"traces": ["bert"]}, ["traces", "dictionary"]),
        ({"traces": None}, ["'traces'", "missing"]),
        ({"name": None}, ["'name'", "missing"]),
        ({"accelerator": "tpu"}, ["accelerator", "'tpu'", "'sanger'", "'eyerissv2'"]),
        ({"arrivals": BURSTS | {"share": 0.3}}, ["arrivals", "share", "0.3", "0.2"]),
        ({"arrivals": BURSTS | {"intensity": 1}}, ["arrivals.intensity", "1", "greater than 1"]),
        ({"arrivals": FRAMES | {"jitter": 1.0}}, ["arrivals.jitter", "1.0", "less than 1"]),
        ({"arrivals": FRAMES | {"jitter_s": 0.1}}, ["arrivals.jitter, jitter_s", "both", "one"]),
        (
            {"arrivals": {"process": "frames", "sensor_rate": 1.5}},
            ["tiny", "arrivals.sensor_rate: 1.5 is not", "at least the 2", "'gpt2'"],
        ),
        (
            {"arrivals": {"process": "frames", "jitter_s": 0.5}},
            ["arrivals.jitter_s: 0.5 is not", "less than 0.5"],
        ),
        (
            {"arrivals": {"process": "frames", "sensor_rate": 10, "jitter_s": 0.1}},
            ["arrivals.jitter_s: 0.1 is not", "less than 0.1"],
        ),
        ({"arrivals": {"process": "replay"}}, ["'arrivals.file'", "missing"]),
        ({"arrivals": BURSTS | {"length": 0.5}}, ["arrivals.length", "0.5", "equal to 1"]),
        ({"arrivals": "poisson"}, ["arrivals", "'poisson'", "mapping", "process"]),
        ({"requests": 10**9}, ["requests", "1000000000", "10000000"]),
        ({"traces": {"bert": 1e300}}, ["traces.bert", "1e+300", "1e+09"]),
        ({"speed": 0}, ["speed", "0", "greater than 0"]),
        ({"queue_limit": 0}, ["queue_limit", "0", "greater than 0"]),
        ({"queue_limit": 2.5}, ["queue_limit", "2.5", "integer"]),
        ({"preemption_cost_s": -1}, ["preemption_cost_s", "-1", "greater than or equal to 0"]),
        ({"requests": 0}, ["requests", "0", "greater than 0"]),
        ({"requests": 1.5}, ["requests", "1.5", "integer"]),
        ({"slo_multiplier": -1}, ["slo_multiplier", "-1", "greater than 0"]),
        ({"priorities": []}, ["priorities", "at least 1"]),
        ({"priorities": [1, -3]}, ["priorities.1", "-3", "greater than 0"]),
        ({"load": 1e-300}, ["load", "1e-300", "1e-09 and 1e+09"]),
        ({"load": None, "rate": 1e300}, ["rate", "1e+300", "1e-09 and 1e+09"]),
        ({"preemption_cost_s": 1e308}, ["preemption_cost_s", "1e+308", "1000"]),
        ({"preemption_cost_s": 1e-300}, ["preemption_cost_s", "1e-300", "1e-09"]),
        ({"slo_multiplier": 1e308}, ["slo_multiplier", "1e+308", "1e+09"]),
        ({"priorities": [1, 1e-320]}, ["priorities.1", "1e-320", "1e-09"]),
        ({"speed": 1e300}, ["speed", "1e+300", "1e+09"]),
        ({"arrivals": BURSTS | {"share": 1e-300}}, ["arrivals.share", "1e-300", "1e-09"]),
        ({"arrivals": BURSTS | {"length": 1e300}}, ["arrivals.length", "1e+300", "1000000000"]),
        ({"arrivals": FRAMES | {"jitter": 1e-300}}, ["arrivals.jitter", "1e-300", "1e-09"]),
        ({"load": np.ones((2, 2))}, ["load", "[[1.0, 1.0], [1.0, 1.0]]", "number"]),
    ],
)
def test_scenario_that_does_not_fit(scenario, refused, changes, words):
    with refused("'tiny'", *words) if "name" not in changes else refused(*words):
        scenario(**changes)


def test_scenario_of_absent_traces(scenario, refused, tmp_path):
    with refused("traces", "roberta.npz"):
        scenario(traces={"bert": 1, "roberta": 1}).store()
    with refused("trace", "'no_such_net'"):
        scenario(traces={"no_such_net": 1}, trace_dir=None).store()
    with refused("bert.csv", "'sim_lat'", "missing"):  # a trace of another accelerator
        scenario(accelerator="eyerissv2").store()


def test_scenario_of_another_accelerator(scenario, refused, tmp_path):
    meta = '{"format": 1, "name": "n", "model": "n", "pattern": "dense", "accelerator": "sanger"}'
    np.savez(
        tmp_path / "n.npz",
        meta=np.array(meta),
        latency_s=np.ones((2, 1)),
        sparsity=np.zeros((2, 1)),
        train=np.array([True, False]),
        layer_name=np.array(["attention"]),
    )
    fields = {"traces": {"n": 1}, "trace_dir": str(tmp_path)}
    assert scenario(**fields).store().accelerator == "sanger"
    with refused("traces", "'n'", "'sanger'", "'eyerissv2'"):
        scenario(**fields, accelerator="eyerissv2").store()


def test_traces_that_are_not_in_the_folder_are_the_packages(scenario, refused, tmp_path):
    shutil.copy(shipped_traces()["minilm"], tmp_path / "mine.npz")
    mixed = scenario(traces={"mine": 1, "mpnet_whole": 1}, trace_dir=str(tmp_path))
    assert [file.path and file.path.name for file in mixed.trace_files()] == ["mine.npz", None]
    with refused("traces", "'minilm' stands more than once"):  # as its file says
        scenario(traces={"mine": 1, "minilm": 1}, trace_dir=str(tmp_path)).store()
    with refused("traces", "neither", "other.npz"):
        scenario(traces={"mine": 1, "other": 1}, trace_dir=str(tmp_path)).store()


def test_scenario_of_an_accelerator_that_was_measured(scenario, refused, tmp_path):
    for name, accelerator in (("one", "my chip"), ("two", "my chip"), ("other", "sanger")):
        Trace(
            name=name,
            model=name,
            pattern="dense",
            accelerator=accelerator,
            latency_s=np.array([[0.1, 0.2], [0.3, 0.1]]),
            sparsity=np.full((2, 2), 0.5),
            train=np.array([True, False]),
            sample_ids=np.arange(2),
            layer_names=("a", "b"),
        ).save(tmp_path / f"{name}.npz")
    fields = {"trace_dir": str(tmp_path), "accelerator": "my chip"}
    mine = scenario(**fields, traces={"one": 1, "two": 1}, speed=2)
    store = mine.varied(load=0.5).store()
    assert (store.accelerator, store.models) == ("my chip", ("one", "two"))
    np.testing.assert_array_equal(store.traces[0].latency_s, [[0.05, 0.1], [0.15, 0.05]])
    assert generate(mine, 0).store is mine.store()
    assert mine.model_dump(mode="json")["accelerator"] == "my chip"
    words = ["accelerator", "'my chip'", "no model", "'sanger'", "'eyerissv2'"]
    with refused(*words, "'other'", "measured on 'sanger'"):
        scenario(**fields, traces={"one": 1, "other": 1})
    with refused("traces", "'one'", "measured on 'my chip'", "charged for 'sanger'"):
        scenario(trace_dir=str(tmp_path), traces={"one": 1}).store()
    with refused(*words, "'mpnet'", "measured on 'sanger'"):
        scenario(accelerator="my chip", traces={"mpnet": 1}, trace_dir=None)
    with refused("accelerator.model", "'my chip'", "unknown"):
        scenario(**fields | {"accelerator": {"model": "my chip"}}, traces={"one": 1})
    with refused("accelerator", "''", "name"):
        scenario(**fields | {"accelerator": ""}, traces={"one": 1})


def test_scenario_files(tmp_path, refused):
    path = tmp_path / "mine.yaml"
    (tmp_path / "traces").symlink_to(GOLDEN / "sanger")
    path.write_text(
        "name: mine\naccelerator: sanger\ntrace_dir: traces\ntraces: {bert: 1}\nload: 0.5\n"
    )
    for source in (path, str(path)):  # the folder is relative to the file
        assert load_scenario(source).store().models == ("bert",)
    assert load_scenario(load_scenario(path)) == load_scenario(path)

    for text, words in (
        ("- bert\n- gpt2\n", ["list", "mapping"]),
        ("", ["mapping"]),
        ("bert", ["str", "mapping"]),
        ("name: {", ["YAML"]),
        ("traces: {bert: 1, gpt2: 1, bert: 9}", ["'bert'", "more than once"]),
        ("[" * 5000, ["nested too deeply"]),
        ("name: a\n\tload: 1\n", ["YAML"]),
        ("name: mine\nload: 0.5\n", ["'accelerator'", "missing"]),
    ):
        path.write_text(text)
        with refused("mine.yaml", *words):
            load_scenario(path)
    path.write_bytes(b"name: \xff\xfe\n")
    with refused("mine.yaml"):
        load_scenario(path)
    with refused("absent.yaml", "does not exist"):
        load_scenario(tmp_path / "absent.yaml")
    with refused("scenario", "'multi-atnn'", "multi-attnn", "YAML"):
        load_scenario("multi-atnn")


def test_named_loads_are_numbers(scenario):
    assert [scenario(load=name).load for name in LOADS] == sorted(LOADS.values())
    assert scenario().varied(load="overload").load == 1.05
    assert scenario(load=None, rate=3).varied(load="heavy").rate is None


@pytest.mark.parametrize("load", [1e-9, 1e9])
@pytest.mark.parametrize("changes", [{}, {"preemption_cost_s": 1e3}, {"speed": 1e-3}])
def test_what_is_allowed_gives_numbers_or_is_refused(scenario, load, changes):
    try:
        workload = generate(scenario(load=load, **changes), 0)
    except DystaError as error:
        assert "arrival_s" in str(error)
        return
    metrics = measure(simulate(workload, "dysta"))
    assert all(np.isfinite(value) for value in metrics.values()), metrics


def test_fields_may_be_numbers_of_numpy(scenario):
    fields = {"load": 0.75, "slo_multiplier": 5.0, "requests": 30, "speed": 2.0, "queue_limit": 8}
    arrays = {"priorities": [1.0, 3.0], "traces": {"bert": 1.0, "gpt2": 2.0}}
    given = {key: np.array(value)[()] for key, value in fields.items()}
    given |= {"priorities": np.array([1.0, 3.0]), "load": np.float32(0.75)}
    given |= {"traces": {"bert": np.float64(1), "gpt2": np.int8(2)}}
    given |= {"arrivals": {"process": "frames", "jitter": np.float32(0.25)}}
    assert scenario(**given) == scenario(**fields, **arrays, arrivals=FRAMES)
    varied = scenario().varied(load=np.float32(0.5), slo_multiplier=np.int64(3))
    assert varied == scenario().varied(load=0.5, slo_multiplier=3)
