"""Reading traces: npz files of the profilers, CSV files of the artifact, the shipped ones."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dysta_gym import DystaError, Trace, TraceStore, load_trace, shipped_trace, shipped_traces
from dysta_gym.accelerators import eyerissv2_layer_latency_s, sanger_layer_latency_s
from dysta_gym.traces import HELD_OUT, SPLITS, read_artifact_trace, read_artifact_traces

GOLDEN = Path(__file__).parent / "golden"

# --- npz files -----------------------------------------------------------------------------------

META = {
    "format": 1,
    "name": "net_block20",
    "model": "net",
    "pattern": "block20",
    "accelerator": "eyerissv2",
    "network": "a made-up one",
}
ARRAYS = {
    "latency_s": np.arange(1.0, 7).reshape(3, 2) / 7,
    "sparsity": np.arange(6.0).reshape(3, 2) / 10,
    "train": np.array([True, False, True]),
    "layer_name": np.array(["conv", "fc"]),
    "input_name": np.array(["a", "b", "c"]),
    "condition": np.array(["day", "night", "day"]),
    "length": np.array([64, 128, 100]),
}


def write(path, about=(), **changes):
    """A trace file of the profilers; a change to None leaves the array out."""
    arrays = {**ARRAYS, "meta": np.array(json.dumps(META | dict(about))), **changes}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(path, **arrays)
    return path


def test_npz_round_trip(tmp_path):
    trace = load_trace(write(tmp_path / "any.npz"))
    for name in ("latency_s", "sparsity", "train", "length"):
        array = getattr(trace, name)
        np.testing.assert_array_equal(array, ARRAYS[name])
    assert (trace.name, trace.model, trace.pattern) == ("net_block20", "net", "block20")
    assert trace.accelerator == "eyerissv2"
    assert trace.layer_names == ("conv", "fc")
    assert trace.condition == ("day", "night", "day")
    assert trace.sample_ids.tolist() == [0, 1, 2]
    assert trace.provenance["network"] == "a made-up one"
    np.testing.assert_array_equal(trace.isolated_s, ARRAYS["latency_s"].sum(axis=1))
    TraceStore([trace])

    bare = load_trace(write(tmp_path / "bare.npz", condition=None, length=None, input_name=None))
    assert bare.length is None and bare.condition == ()


def test_npz_cut_short_anywhere_is_refused(tmp_path, refused):
    whole = write(tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "cut.npz"
    for size in (0, 1, 4, *range(10, len(whole), 37), len(whole) - 1):
        path.write_bytes(whole[:size])
        with refused("cut.npz", "rebuild"):
            load_trace(path)


def test_npz_with_a_damaged_byte_is_read_or_refused(tmp_path):
    whole = write(tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "damaged.npz"
    surprises = set()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            load_trace(path)
        except DystaError:
            pass
        except Exception as error:
            surprises.add(type(error))
    assert not surprises


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({name: None}, [name, "missing"]) for name in
          ("latency_s", "sparsity", "train", "layer_name", "meta")),
        ({"meta": {"format": 2}}, ["format", "2", "rebuild"]),
        ({"meta": {"format": None}}, ["format", "None"]),
        ({"meta": np.array("{")}, ["meta"]),
        ({"meta": np.array("[1]")}, ["meta"]),
        ({"meta": np.array('{"format": 1, "name": "x", "model": "x"}')}, ["meta", "pattern"]),
        ({"meta": {"accelerator": ""}}, ["accelerator", "''", "text"]),
        ({"meta": {"accelerator": 5}}, ["accelerator", "5", "text"]),
        ({"meta": {"accelerator": "\ud800"}}, ["meta", "surrogates"]),
        ({"sample_ids": np.arange(4)}, ["sample_ids", "(4,)", "(3,)"]),
        ({"sample_ids": np.array([0, 1, 2.5])}, ["sample_ids", "2.5", "whole"]),
        ({"sample_ids": np.array([4, 1, 4])}, ["sample_ids", "4", "more than once"]),
        ({"sparsity": np.array([[{}] * 2] * 3)}, ["rebuild"]),  # an object array: a pickle
        ({"sparsity": np.zeros((3, 3))}, ["sparsity", "(3, 3)", "(3, 2)"]),
        ({"sparsity": ARRAYS["sparsity"] + 0.8},
         ["sparsity", "input 1, layer 1", "1.1", "between 0 and 1"]),
        ({"sparsity": ARRAYS["sparsity"] * np.nan}, ["sparsity", "nan", "between 0 and 1"]),
        ({"train": np.ones(4, bool)}, ["train", "(4,)", "(3,)"]),
        ({"layer_name": np.array(["conv"])}, ["layer_name", "(1,)", "(2,)"]),
        ({"length": np.arange(5)}, ["length", "(5,)", "(3,)"]),
        ({"condition": np.array(["day"])}, ["condition", "(1,)", "(3,)"]),
        ({"latency_s": np.ones(3)}, ["latency_s", "(3,)", "(inputs, layers)"]),
        ({"latency_s": np.array(1.0)}, ["latency_s"]),
        ({"latency_s": np.ones((0, 2))}, ["latency_s", "(0, 2)"]),
        ({"latency_s": np.array([["a", "b"]] * 3)}, ["type"]),
        ({"latency_s": -ARRAYS["latency_s"]}, ["latency_s", "-0.14", "0 or more"]),
        ({"latency_s": ARRAYS["latency_s"] * np.inf}, ["latency_s", "inf", "finite"]),
        ({"latency_s": ARRAYS["latency_s"] * [[1], [0], [1]]}, ["input 1", "no time"]),
    ],
)  # fmt: skip
def test_npz_that_does_not_fit(tmp_path, refused, changes, words):
    meta = changes.get("meta")
    if isinstance(meta, dict):
        changes = {"meta": np.array(json.dumps(META | meta))}
    path = write(tmp_path / "odd.npz", **changes)
    with refused("odd.npz", *words):
        load_trace(path)


def test_files_that_are_no_npz(tmp_path, refused):
    with refused("absent.npz", "does not exist"):
        load_trace(tmp_path / "absent.npz")
    with refused(str(tmp_path), "not an npz"):
        load_trace(tmp_path)
    for name, content in (("text.npz", b"latency_s\n1.0\n"), ("zip.npz", b"PK\x03\x04 no")):
        path = tmp_path / name
        path.write_bytes(content)
        with refused(name, "not an npz"):
            load_trace(path)
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.ones(3))  # one bare array
    with refused("array.npz", "not an npz"):
        load_trace(tmp_path / "array.npz")


# --- latencies of one's own ----------------------------------------------------------------------

OWN = {
    "name": "net",
    "model": "net",
    "pattern": "dense",
    "accelerator": "my chip, revision 2",
    "latency_s": ARRAYS["latency_s"],
    "sparsity": ARRAYS["sparsity"],
    "train": ARRAYS["train"],
    "sample_ids": np.array([7, 3, 5]),
    "layer_names": ("conv", "fc"),
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"length": ARRAYS["length"], "condition": ("day", "night", "day")},
        {"sample_ids": np.arange(3), "provenance": {"board": np.float64(2.5), "runs": (1, 2)}},
        {"layer_names": ("", "Schicht \u2460"), "provenance": {"format": 99, "name": "other"}},
    ],
    ids=str,
)
def test_a_trace_that_is_saved_is_the_one_that_is_loaded(tmp_path, more):
    trace = Trace(**OWN | more)
    trace.save(tmp_path / "net.npz")
    found = load_trace(tmp_path / "net.npz")
    for name in ("latency_s", "sparsity", "train", "sample_ids", "length"):
        one, other = getattr(found, name), getattr(trace, name)
        if other is None:
            assert one is None
        else:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
    for name in ("name", "model", "pattern", "accelerator", "layer_names", "condition"):
        assert getattr(found, name) == getattr(trace, name)
    told = {"format": 1, **{key: OWN[key] for key in ("name", "model", "pattern", "accelerator")}}
    given = {"board": 2.5, "runs": [1, 2]} if "board" in trace.provenance else {}
    assert found.provenance == given | told
    found.save(tmp_path / "again.npz")
    assert load_trace(tmp_path / "again.npz").provenance == found.provenance
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "net.npz"]


def test_a_shipped_trace_keeps_its_latencies(tmp_path):
    trace = shipped_trace("mpnet")
    trace.save(tmp_path / "mpnet.npz")
    found = load_trace(tmp_path / "mpnet.npz")
    np.testing.assert_array_equal(found.latency_s, trace.latency_s)
    assert found.provenance == trace.provenance and found.condition == trace.condition


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        ("net", {}, ["'net'", "path", "end with .npz"]),
        ("net.csv", {}, ["path", "net.csv", "end with .npz"]),
        ("net.npz", {"provenance": {"board": {1, 2}}}, ["provenance", "JSON", "set"]),
        ("net.npz", {"provenance": {(1, 2): 3}}, ["provenance", "JSON", "tuple"]),
        ("file/net.npz", {}, ["net.npz", "cannot be written"]),
    ],
)
def test_what_cannot_be_saved(tmp_path, refused, path, changes, words):
    (tmp_path / "file").touch()
    with refused(*words):
        Trace(**OWN | changes).save(tmp_path / path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accelerator": ""}, ["'net'", "accelerator", "''", "text"]),
        ({"accelerator": None}, ["'net'", "accelerator", "None", "text"]),
        ({"model": "half \ud800"}, ["'net'", "model", "half of a character"]),
    ],
)
def test_names_that_no_file_could_hold(refused, changes, words):
    with refused(*words):
        Trace(**OWN | changes)


# --- CSV files of the artifact -------------------------------------------------------------------

SANGER = """50%-skip,overall-sparsity,batch-indx,layer-indx
0.5,0.2,3,0
0.8,0.4,3,1
0.6,0.25,9,0
1,1,9,1
"""
EYERISS = """sim_lat,overall-sparsity,batch-indx,layer-indx
0.001,0.5,0,0
0.002,0.25,0,1
0.003,0.0,1,1
0.004,1.0,1,0
"""


def test_artifact_sanger_by_hand(tmp_path):
    path = tmp_path / "bert_large.csv"
    path.write_text(SANGER)
    trace = read_artifact_trace(path, "sanger")
    assert (trace.name, trace.model, trace.pattern) == ("bert_large", "bert_large", "dense")
    assert trace.sample_ids.tolist() == [3, 9]
    np.testing.assert_allclose(trace.sparsity, [[0.8, 0.6], [0.75, 0]], rtol=1e-12)
    # density 0.2 at load balance 0.5, length 512, width 768 (the formula of policies.md)
    subrows = 0.2 / 0.5 / 0.25 * 512
    linear = 512 * 768 * 768 * 2 * 3 / 1e9 / 2048
    project = 512 * 768 * 768 * 2 / 1e9 / 2048 * 0.2 / 0.5
    scores = (subrows / 64) * ((768 + 64) + (subrows + 64)) * (512 / 64) / 1e9
    assert trace.latency_s[0, 0] == pytest.approx(linear + scores + project, rel=1e-12)


def test_artifact_eyerissv2_by_hand(tmp_path):
    path = tmp_path / "vgg16_block4_sparse20.csv"
    path.write_text(EYERISS)
    trace = read_artifact_trace(path, "eyerissv2")
    assert (trace.name, trace.model, trace.pattern) == (path.stem, "vgg16", "block4_sparse20")
    np.testing.assert_array_equal(trace.latency_s, [[0.001, 0.002], [0.004, 0.003]])
    np.testing.assert_array_equal(trace.sparsity, [[0.5, 0.25], [1, 0]])
    assert read_artifact_traces(tmp_path, "eyerissv2").models == ("vgg16",)


@pytest.mark.parametrize(
    ("accelerator", "old", "new", "words"),
    [
        ("sanger", "50%-skip", "skip", ["'50%-skip'", "missing"]),
        ("sanger", "overall-sparsity", "density", ["'overall-sparsity'", "missing"]),
        ("eyerissv2", "sim_lat", "lat", ["'sim_lat'", "missing"]),
        ("eyerissv2", "batch-indx", "batch", ["'batch-indx'", "missing"]),
        ("eyerissv2", "layer-indx", "layer", ["'layer-indx'", "missing"]),
        ("eyerissv2", "0.002,0.25,0,1\n", "", ["layer 1", "input 0", "0 times"]),
        ("eyerissv2", "0.003,0.0,1,1", "0.003,0.0,1,0", ["layer 0", "input 1", "2 times"]),
        ("eyerissv2", "0.003,0.0,1,1", "0.003,0.0,1,900", ["'layer-indx'", "900"]),
        ("eyerissv2", "0.003,0.0,1,1", "0.003,0.0,1,-1", ["'layer-indx'", "row 3", "-1", "whole"]),
        ("eyerissv2", "0.003,0.0,1,1", "0.003,0.0,1.5,1", ["'batch-indx'", "row 3", "1.5"]),
        ("eyerissv2", "0.003,", "nan,", ["'sim_lat'", "row 3 is nan", "finite"]),
        ("eyerissv2", "0.003,", ",", ["'sim_lat'", "row 3 is nan", "finite"]),
        ("eyerissv2", "0.003,", "fast,", ["'sim_lat'", "row 3 is 'fast'", "finite"]),
        ("eyerissv2", "0.003,", "inf,", ["'sim_lat'", "row 3 is inf", "finite"]),
        ("eyerissv2", "0.003,", "-0.003,", ["latency_s", "input 1", "-0.003", "0 or more"]),
        ("eyerissv2", "0.003,0.0", "0.003,1.5", ["sparsity", "input 1", "1.5", "0 and 1"]),
        ("eyerissv2", "0.003,0.0,1,1", "0.003,0.0,1,1,7", ["CSV"]),
        ("sanger", "0.6,0.25", "0.6,1.25", ["'overall-sparsity'", "row 3", "1.25", "at most 1"]),
        ("sanger", "0.6,0.25", "0.6,-0.25", ["'overall-sparsity'", "row 3", "-0.25", "at least 0"]),
        ("sanger", "0.6,0.25", "0,0.25", ["'50%-skip'", "row 3", "is 0", "above 0"]),
        ("sanger", "0.6,0.25", "1.01,0.25", ["'50%-skip'", "row 3", "1.01", "at most 1"]),
        ("sanger", SANGER, "", ["CSV"]),
        ("sanger", SANGER, SANGER.splitlines()[0], ["no rows"]),
    ],
)
def test_artifact_csv_that_does_not_fit(tmp_path, refused, accelerator, old, new, words):
    text = EYERISS if accelerator == "eyerissv2" else SANGER
    assert old in text
    path = tmp_path / "bert.csv"
    path.write_text(text.replace(old, new))
    with refused("bert.csv", *words):
        read_artifact_trace(path, accelerator)


def test_artifact_folders(tmp_path, refused):
    assert len(read_artifact_traces(GOLDEN / "eyerissv2", "eyerissv2").traces) == 9
    with refused("absent", "not a folder"):
        read_artifact_traces(tmp_path / "absent", "sanger")
    with refused(str(tmp_path), "no CSV"):
        read_artifact_traces(tmp_path, "sanger")
    with refused("accelerator", "'tpu'", "sanger", "eyerissv2"):
        read_artifact_traces(GOLDEN / "sanger", "tpu")
    with refused("absent.csv", "does not exist"):
        read_artifact_trace(tmp_path / "absent.csv", "sanger")


# --- stores --------------------------------------------------------------------------------------


def test_store_finds_traces_and_models(store, refused):
    assert store.models == ("small", "large")
    assert store.index("large_dense") == 2
    with refused("trace", "'huge'", "small_dense", "small_block20", "large_dense"):
        store.index("huge")


def test_stores_that_do_not_fit(make_trace, tmp_path, refused):
    net = make_trace("net", [[1.0, 2.0]])
    with refused("traces", "at least one"):
        TraceStore([])
    with refused("traces", "'net_dense'", "unique"):
        TraceStore([net, net])
    with refused("'net'", "[1, 2] layers"):
        TraceStore([net, make_trace("net", [[1.0]], pattern="block20")])
    with refused("traces", "eyerissv2", "sanger"):
        TraceStore([net, load_trace(write(tmp_path / "a.npz", {"accelerator": "sanger"}))])


def test_splits(make_trace, refused):
    trace = make_trace("net", [[1.0]] * 5, train=[1, 0, 0, 1, 0])
    assert [trace.rows(split).tolist() for split in SPLITS] == [[0, 3], [1, 2, 4], [0, 1, 2, 3, 4]]
    with refused("split", "'tset'", *SPLITS):
        trace.rows("tset")
    with refused("'net_dense'", "'test'", "no inputs", "'all'"):
        make_trace("net", [[1.0]]).rows("test")


# --- shipped traces ------------------------------------------------------------------------------


def test_five_networks_or_more_are_shipped():
    traces = [shipped_trace(name) for name in shipped_traces()]
    assert len(traces) >= 5
    assert {trace.accelerator for trace in traces} == {"sanger", "eyerissv2"}


def test_unknown_shipped_trace(refused):
    with refused("trace", "'no_such_net'", *shipped_traces()):
        shipped_trace("no_such_net")


@cache
def measures(name):
    with np.load(shipped_traces()[name], allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


NETWORKS = {
    "sanger": {"mpnet", "minilm", "smollm2", "whisper", "dinov2", "multilingual_e5"},
    "eyerissv2": {
        *("vgg16", "resnet50", "ssd_mobilenetv1", "ssd_mobilenetv2"),
        *("hand_landmark", "efficientnet_lite0", "inceptionv3", "face_resnet"),
    },
}
# Dense, and what works after its repair (docs/pruning.md). Those held out are dense alone.
PATTERNS = {
    "vgg16": "unstructured20 unstructured60 block20 block60 filter20 filter30",
    "resnet50": "unstructured20 unstructured40 block20 filter10",
    "ssd_mobilenetv1": "unstructured20 unstructured50 block20",
    "ssd_mobilenetv2": "unstructured20 unstructured40 block20",
    "hand_landmark": "unstructured20 unstructured40 block20 filter10",
    "efficientnet_lite0": "unstructured20 block10",
    "inceptionv3": "",
    "face_resnet": "",
}


def test_fourteen_networks_are_shipped_with_every_pattern_that_they_can_have():
    shipped = {(t.accelerator, t.model, t.pattern) for t in map(shipped_trace, shipped_traces())}
    assert shipped == {("sanger", model, "dense") for model in NETWORKS["sanger"]} | {
        ("eyerissv2", model, pattern)
        for model in NETWORKS["eyerissv2"]
        for pattern in ["dense", *PATTERNS[model].split()]
    }
    assert sum(path.stat().st_size for path in shipped_traces().values()) < 20e6


@pytest.mark.parametrize("model", sorted(NETWORKS["eyerissv2"] - set(HELD_OUT)))
def test_a_pattern_changes_latency_and_activations(model):
    dense = shipped_trace(f"{model}_dense")
    mean = {"dense": dense.isolated_s.mean()}
    for pattern in PATTERNS[model].split():
        trace = shipped_trace(f"{model}_{pattern}")
        mean[pattern] = trace.isolated_s.mean()
        kind, percent = pattern[:-2], int(pattern[-2:])
        milder = [each for each in mean if each.startswith(kind)][:-1] or ["dense"]
        assert mean[milder[-1]] > mean[pattern]
        settings = trace.provenance["settings"]
        assert settings["weight_sparsity"] >= percent / 100 - 0.03 or kind == "filter"
        assert settings["repair"]["distilled"] >= 0.9
        assert abs(trace.sparsity - dense.sparsity).max() > 0.01
        # Pictures differ as much as they do for the dense network.
        spread = trace.sparsity.mean(axis=1).std() / dense.sparsity.mean(axis=1).std()
        assert 0.7 < spread < 1.3


@pytest.mark.parametrize("name", shipped_traces())
class TestShipped:
    def test_is_large_enough_and_halved(self, name):
        trace = shipped_trace(name)
        inputs = len(trace.train)
        assert trace.name == name
        assert inputs >= 200 and len(set(trace.condition)) >= 2
        assert {trace.condition[i] for i in trace.rows("train")} == set(trace.condition)
        train, test = (set(trace.rows(split).tolist()) for split in ("train", "test"))
        assert not train & test and train | test == set(range(inputs))
        assert abs(len(train) - len(test)) <= 1
        # nothing that an input was made from is on both sides
        group = measures(name).get("group")
        if group is not None:
            assert not set(group[sorted(train)]) & set(group[sorted(test)])

    def test_says_where_it_comes_from(self, name):
        provenance = shipped_trace(name).provenance
        assert provenance["network"] and provenance["inputs"]
        packages = [*provenance["packages"], *provenance["input_packages"]]
        assert provenance["packages"] and provenance["input_packages"]
        for package in packages:
            assert package["name"] and package["version"] and package["licence"]

    def test_latency_follows_from_what_was_measured(self, name):
        trace, measured = shipped_trace(name), measures(name)
        if trace.accelerator == "sanger":
            settings, shapes = trace.provenance["settings"], trace.provenance["shapes"]
            # an encoder-decoder has other queries and keys in each layer
            queries = measured.get("query_length", measured["length"][:, None])
            keys = measured.get("key_length", queries)
            tile = settings["tile"]  # whole tiles are charged
            latency_s = sanger_layer_latency_s(
                measured["density"],
                measured["load_balance"],
                -(-queries // tile) * tile,
                settings["width"],
                -(-keys // tile) * tile,
                key_value_width=shapes["key_value_heads"] * shapes["head_width"],
            )
        else:
            latency_s = eyerissv2_layer_latency_s(
                measured["valid_macs"], measured["address_checks"]
            )
        np.testing.assert_allclose(trace.latency_s, latency_s, rtol=1e-6)


@pytest.mark.parametrize("name", ["mpnet", "vgg16_dense", "whisper"])
def test_a_trace_that_is_read_and_saved_keeps_what_it_was_counted_from(name, tmp_path):
    trace = load_trace(shipped_traces()[name])
    trace.save(tmp_path / "again.npz")
    with np.load(shipped_traces()[name]) as old, np.load(tmp_path / "again.npz") as new:
        assert set(old.files) <= set(new.files)
        for each in {*old.files} - {"meta"}:
            np.testing.assert_array_equal(old[each], new[each])
