"""Keras networks out of scripts: what their layers compute, and what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dysta_gym.errors import DystaError

torch = pytest.importorskip("torch")

from dysta_gym.profiling.keras_graph import load_nsfwjs  # noqa: E402

LOADER = '!function(a){"object"==typeof exports&&(module.exports=a())}(function(){return({1:['
CONVOLUTION = {
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "kernel_size": [3, 1],
    "padding": "same",
    "strides": [1, 1],
    "filters": 2,
    "use_bias": False,
    "activation": "linear",
}
POOL = {"data_format": "channels_last", "pool_size": [3, 3], "padding": "same", "strides": [1, 1]}
LAYERS: list[tuple[str, str, list[str], dict[str, Any]]] = [
    ("input_1", "InputLayer", [], {}),
    ("conv", "Conv2D", ["input_1"], CONVOLUTION),
    (
        "norm",
        "BatchNormalization",
        ["conv"],
        {"axis": 3, "center": True, "scale": False, "epsilon": 0.25},
    ),
    ("relu", "Activation", ["norm"], {"activation": "relu"}),
    ("average", "AveragePooling2D", ["relu"], POOL),
    ("both", "Concatenate", ["average", "relu"], {"axis": 3}),
    (
        "most",
        "MaxPooling2D",
        ["both"],
        POOL | {"pool_size": [4, 4], "padding": "valid", "strides": [4, 4]},
    ),
    ("flat", "Flatten", ["most"], {}),
    ("drop", "Dropout", ["flat"], {"rate": 0.5}),
    ("dense", "Dense", ["drop"], {"units": 3, "use_bias": True, "activation": "softmax"}),
]
WEIGHTS = {
    "conv/kernel": np.arange(18.0).reshape(3, 1, 3, 2) / 9 - 1,
    "norm/beta": np.array([0.5, -0.25]),
    "norm/moving_mean": np.array([0.125, 1.0]),
    "norm/moving_variance": np.array([3.75, 0.75]),
    "dense/kernel": np.arange(12.0).reshape(4, 3) / 6 - 1,
    "dense/bias": np.array([0.5, 0.0, -1.0]),
}


def write(folder: Path, layers: list[Any] = LAYERS, **weights: np.ndarray) -> Path:
    """The scripts of a network, made small as those of nsfwjs are."""
    arrays = WEIGHTS | weights
    config = {
        "layers": [
            {
                "name": name,
                "class_name": kind,
                "config": {"name": name, **options},
                "inbound_nodes": [[[source, 0, 0, {}] for source in taken]] if taken else [],
            }
            for name, kind, taken, options in layers
        ],
        "input_layers": [["input_1", 0, 0]],
        "output_layers": [[layers[-1][0], 0, 0]],
    }
    entries = [
        {"name": name, "shape": list(array.shape), "dtype": "float32"}
        for name, array in arrays.items()
    ]
    model = {
        "modelTopology": {"model_config": {"config": config}},
        "weightsManifest": [{"paths": ["part1of2", "part2of2"], "weights": entries}],
    }
    script = json.dumps(model, separators=(",", ":")).replace("true", "!0").replace("false", "!1")
    for name in ("modelTopology", "weightsManifest", "kernel_size", "rate", "epsilon"):
        script = script.replace(f'"{name}":', f"{name}:")
    script = script.replace(":0.5", ":.5").replace(":0.25", ":.25")
    data = b"".join(array.astype("<f4").tobytes() for array in arrays.values())
    parts = [data[:100], data[100:]]
    exported = {"model": script} | {
        f"part{k}of2": f'"{base64.b64encode(part).decode()}"' for k, part in enumerate(parts, 1)
    }
    for name, text in exported.items():
        content = f"{LOADER}function(a,b,c){{b.exports={text}}},{{}}]}},{{}},[1])(1)}});"
        (folder / f"{name}.min.js").write_text(content)
    return folder


def test_layers_compute_what_keras_defines(tmp_path: Path) -> None:
    network = load_nsfwjs(write(tmp_path))
    assert not network.training
    assert (list(network.layers), list(network.norms)) == (["conv", "dense"], ["norm"])
    image = np.random.default_rng(0).normal(size=(4, 4, 3)).astype(np.float32)
    kernel = WEIGHTS["conv/kernel"]
    rows = np.pad(image, ((1, 1), (0, 0), (0, 0)))
    found = sum(rows[r : r + 4] @ kernel[r, 0] for r in range(3))
    deviation = np.sqrt(WEIGHTS["norm/moving_variance"] + 0.25)
    found = (found - WEIGHTS["norm/moving_mean"]) / deviation + WEIGHTS["norm/beta"]
    found = np.maximum(found, 0)
    # An average at the border is one of fewer values.
    average = np.array(
        [
            [found[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean((0, 1)) for x in range(4)]
            for y in range(4)
        ]
    )
    most = np.concatenate([average, found], axis=2).max((0, 1))
    logits = most @ WEIGHTS["dense/kernel"] + WEIGHTS["dense/bias"]
    with torch.inference_mode():
        result = network(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(result[0].numpy(), expected, rtol=1e-5)


def replaced(layer: str, **options: Any) -> list[Any]:
    return [
        (name, options.pop("kind", kind) if name == layer else kind, taken,
         given | options if name == layer else given)
        for name, kind, taken, given in LAYERS
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (
            replaced("relu", kind="LSTM"),
            "layer 'relu': LSTM is unknown; expected one of Activation",
        ),
        (replaced("relu", activation="tanh"), "layer 'relu': activation is 'tanh'; expected"),
        (replaced("conv", strides=[2, 2]), r"layer 'conv': strides is \(2, 2\); expected \(1, 1\)"),
        (replaced("conv", dilation_rate=[2, 2]), "layer 'conv': dilation_rate"),
        (replaced("average", pool_size=[2, 2]), r"layer 'average': pool_size is \(2, 2\)"),
        (replaced("both", axis=1), "layer 'both': axis is 1; expected 3 or -1"),
        (LAYERS[:3] + LAYERS[4:], "layer 'average' uses 'relu' before it is computed"),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path: Path, layers: list[Any], words: str) -> None:
    with pytest.raises(DystaError, match=words):
        load_nsfwjs(write(tmp_path, layers))


def test_damaged_scripts_are_named(tmp_path: Path) -> None:
    with pytest.raises(DystaError, match=r"path is .*model\.min\.js; expected a file"):
        load_nsfwjs(tmp_path)
    with pytest.raises(DystaError, match=r"'norm/beta' has shape \(3,\); expected \(2,\)"):
        load_nsfwjs(write(tmp_path, **{"norm/beta": np.zeros(3)}))
    part = write(tmp_path) / "part2of2.min.js"
    for content in ("", part.read_text().replace("A", "*"), part.read_text().replace("A", "")):
        part.write_text(content)
        with pytest.raises(DystaError, match=r"network .* is damaged: "):
            load_nsfwjs(tmp_path)
    part.unlink()
    with pytest.raises(DystaError, match=r"path is .*part2of2\.min\.js; expected a file"):
        load_nsfwjs(tmp_path)
