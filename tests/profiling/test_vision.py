"""DINOv2 out of an ONNX file, and the pictures that it is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dysta_gym.errors import DystaError

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

from dysta_gym.profiling import vision  # noqa: E402

MATRICES = {
    "attention/attention/query": "attention.q_proj",
    "attention/attention/key": "attention.k_proj",
    "attention/attention/value": "attention.v_proj",
    "attention/output/dense": "attention.o_proj",
    "mlp/fc1": "mlp.fc1",
    "mlp/fc2": "mlp.fc2",
}


def write(path: Path, left_out: str = "nothing") -> dict[str, np.ndarray]:
    """A small network as an exporter writes it: products have lost the names of their weights."""
    rng = np.random.default_rng(0)
    width, patches = 12, 9
    arrays: dict[str, np.ndarray] = {
        "onnx::Concat_1": rng.normal(size=(1, 1, width)),
        "onnx::Reshape_2": rng.normal(size=(1, patches, width)),
        "backbone.embeddings.cls_token": rng.normal(size=(1, 1, width)),
        "backbone.embeddings.patch_embeddings.projection.weight": rng.normal(
            size=(width, 3, 14, 14)
        ),
        "backbone.embeddings.patch_embeddings.projection.bias": rng.normal(size=width),
        "backbone.layernorm.weight": rng.normal(size=width),
        "backbone.layernorm.bias": rng.normal(size=width),
        "decoder.final_conv.bias": rng.normal(size=1),
    }
    nodes = []
    for k in range(2):
        for name in MATRICES:
            outputs = 4 * width if name == "mlp/fc1" else width
            inputs = 4 * width if name == "mlp/fc2" else width
            unnamed = f"onnx::MatMul_{len(arrays)}"
            arrays[unnamed] = rng.normal(size=(inputs, outputs)) / 4
            node = helper.make_node("MatMul", ["x", unnamed], ["y"])
            node.name = f"/backbone/encoder/layer.{k}/{name}/MatMul"
            nodes.append(node)
            dotted = name.replace("/", ".")
            arrays[f"backbone.encoder.layer.{k}.{dotted}.bias"] = rng.normal(size=outputs)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            arrays[f"backbone.encoder.layer.{k}.{name}"] = rng.normal(size=width)
        for name in ("layer_scale1.lambda1", "layer_scale2.lambda1"):
            arrays[f"backbone.encoder.layer.{k}.{name}"] = rng.normal(size=width)
    initializers = [
        numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in arrays.items()
        if left_out not in name
    ]
    onnx.save(helper.make_model(helper.make_graph(nodes, "toy", [], [], initializers)), path)
    return arrays


def test_weights_find_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(vision, "_HEADS", 3)
    arrays = write(tmp_path / "small.onnx")
    model = vision.load_dinov2(tmp_path / "small.onnx")
    assert not model.training
    layer = model.encoder.layer[1]
    unnamed = [array for name, array in arrays.items() if name.startswith("onnx::MatMul")]
    found = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    for name, array in zip(MATRICES.values(), unnamed[len(MATRICES) :], strict=True):
        np.testing.assert_allclose(found[f"{name}.weight"], array.T.astype(np.float32))
    np.testing.assert_allclose(
        found["attention.k_proj.bias"],
        arrays["backbone.encoder.layer.1.attention.attention.key.bias"].astype(np.float32),
    )
    shapes = vision.network_shapes(model)
    assert shapes is not None
    assert (shapes.width, shapes.heads, shapes.blocks, shapes.feed_forward) == (12, 3, 2, 48)
    with torch.inference_mode():
        output = model(pixel_values=torch.zeros(1, 3, 224, 224), output_attentions=True)
    assert [tuple(each.shape) for each in output.attentions] == [(1, 3, 257, 257)] * 2


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(vision, "_HEADS", 3)
    path = tmp_path / "other.onnx"
    with pytest.raises(DystaError, match=r"path is .*other\.onnx; expected an ONNX file"):
        vision.load_dinov2(path)
    for missing in ("cls_token", "Reshape_2", "norm2.weight"):
        write(path, missing)
        with pytest.raises(DystaError, match=r"other\.onnx; expected the weights of DINOv2"):
            vision.load_dinov2(path)


def test_pictures_are_fitted_into_a_black_square() -> None:
    found = vision.preprocess(np.full((100, 400, 3), 255, np.uint8))
    assert (found.shape, found.dtype) == ((3, 224, 224), np.float32)
    light = (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    black = -np.array([0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found[:, 84:140], np.tile(light[:, None, None], (56, 224)), 1e-5)
    np.testing.assert_allclose(found[:, :84], np.tile(black[:, None, None], (84, 224)), 1e-5)
    np.testing.assert_allclose(found[:, 140:], np.tile(black[:, None, None], (84, 224)), 1e-5)
