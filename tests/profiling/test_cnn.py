"""Eyeriss v2's counts against brute force, and the CNN profiler, pruning and ONNX graphs."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from dysta_gym.accelerators import (
    eyerissv2_layer_counts,
    eyerissv2_layer_latency_s,
    eyerissv2_mapping,
)
from dysta_gym.errors import DystaError


def test_latency_of_a_layer_by_hand() -> None:
    # (4 * 960 + 192) / 192 = 21 cycles of 5 ns.
    assert eyerissv2_layer_latency_s(960, 192) == pytest.approx(105e-9, rel=1e-15)
    assert eyerissv2_layer_latency_s([[0, 48]], [[192, 0]]).tolist() == [[5e-9, 5e-9]]


@pytest.mark.parametrize(
    ("channels", "filters", "kernel_width", "expected"),
    [
        (64, 128, 3, (4, 16)),  # 4 * 3 = 12 activations, 12 * 16 = 192 weights
        (64, 128, 1, (16, 12)),
        (3, 64, 7, (2, 13)),  # 14 activations, 182 weights
        (3, 64, 3, (3, 21)),
        (1, 1, 3, (1, 1)),  # depthwise
        (1, 64, 3, (1, 32)),  # as many filters as partial sums
        (256, 8, 16, (1, 8)),
    ],
)
def test_mapping_fits_the_scratch_pads(
    channels: int, filters: int, kernel_width: int, expected: tuple[int, int]
) -> None:
    assert tuple(eyerissv2_mapping(channels, filters, kernel_width)) == expected


def test_mapping_refuses_a_kernel_wider_than_the_scratch_pad() -> None:
    with pytest.raises(DystaError, match=r"kernel_width is 17; expected 1 to 16"):
        eyerissv2_mapping(8, 8, 17)
    with pytest.raises(DystaError, match="channels is 0"):
        eyerissv2_mapping(0, 8, 3)


def test_counts_of_a_small_layer_by_hand() -> None:
    # One channel, 3 x 3, with one non-zero pixel in the middle; a 2 x 2 kernel with 3 weights.
    activations = np.zeros((1, 1, 3, 3))
    activations[0, 0, 1, 1] = 5.0
    weights = np.array([[[[1.0, 0.0], [2.0, -3.0]]]])
    macs, checks = eyerissv2_layer_counts(activations, weights)
    # The pixel lies under each weight once. Of 4 output positions with 2 kernel rows each, 4
    # columns hold the pixel: 8 + 2 * 4.
    assert macs.tolist() == [3]
    assert checks.tolist() == [16]
    # At stride 2 and with a border of zeros, the outputs are 2 x 2, and the pixel is met by one.
    macs, checks = eyerissv2_layer_counts(activations, weights, stride=(2, 2), padding=(1, 1, 0, 0))
    assert macs.tolist() == [1]  # the last weight
    assert checks.tolist() == [8 + 2 * 1]


def test_address_checks_of_the_documented_example() -> None:
    weights = np.ones((32, 8, 3, 3))
    for value, cycles in ((0, 12), (1, 36)):
        activations = np.full((1, 8, 3, 3), value)
        macs, checks = eyerissv2_layer_counts(activations, weights)
        assert checks.tolist() == [cycles]
        assert macs.tolist() == [value * 32 * 8 * 9]


def test_counts_of_a_fully_connected_layer() -> None:
    rng = np.random.default_rng(3)
    activations = rng.normal(size=(2, 40)) * (rng.random((2, 40)) < 0.2)
    weights = rng.normal(size=(30, 40)) * (rng.random((30, 40)) < 0.7)
    macs, checks = eyerissv2_layer_counts(activations[:, :, None, None], weights[:, :, None, None])
    assert macs.tolist() == [((weights != 0) & (row != 0)).sum() for row in activations]
    # Columns of 16, 16 and 8 activations; 30 filters at 12 a time pass them three times.
    for row, check in zip(activations, checks, strict=True):
        nonempty = sum(bool((row[k : k + 16] != 0).any()) for k in (0, 16, 32))
        assert check == 3 * (3 + 2 * nonempty)


def brute_force(
    activations: np.ndarray,
    weights: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
) -> tuple[int, int]:
    """Both counts of one input, MAC by MAC and column by column, straight from the definition."""
    _, height, width = activations.shape
    filters, channels, kernel_height, kernel_width = weights.shape
    top, left, bottom, right = padding
    padded = np.pad(activations, ((0, 0), (top, bottom), (left, right)))
    rows = (height + top + bottom - dilation[0] * (kernel_height - 1) - 1) // stride[0] + 1
    columns = (width + left + right - dilation[1] * (kernel_width - 1) - 1) // stride[1] + 1
    filters_per_group = filters // groups
    c0, m0 = eyerissv2_mapping(channels, filters_per_group, kernel_width)
    passes = math.ceil(filters_per_group / m0)
    macs = checks = 0
    for g, y, x, r in itertools.product(
        range(groups), range(rows), range(columns), range(kernel_height)
    ):
        row = y * stride[0] + r * dilation[0]
        under = [x * stride[1] + s * dilation[1] for s in range(kernel_width)]
        for first in range(0, channels, c0):
            tile = range(first, min(first + c0, channels))
            column = [padded[g * channels + c, row, position] for c in tile for position in under]
            checks += passes * (1 + (2 if any(value != 0 for value in column) else 0))
        for f, c, s in itertools.product(
            range(filters_per_group), range(channels), range(kernel_width)
        ):
            weight = weights[g * filters_per_group + f, c, r, s]
            macs += bool(weight != 0 and padded[g * channels + c, row, under[s]] != 0)
    return macs, checks


LAYERS = [
    # channels, filters, kernel, stride, padding, dilation, groups
    (3, 4, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (3, 4, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
    (6, 5, (3, 3), (2, 1), (0, 1, 1, 2), (1, 1), 1),
    (5, 35, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1),
    (20, 6, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (4, 3, (2, 3), (1, 2), (2, 0, 0, 1), (2, 1), 1),
    (3, 2, (5, 7), (2, 2), (2, 3, 2, 3), (1, 1), 1),
    (6, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 6),
    (4, 8, (3, 3), (2, 2), (0, 0, 1, 1), (1, 1), 4),
    (12, 40, (3, 3), (1, 1), (1, 1, 1, 1), (1, 2), 2),
]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("density", [0.0, 0.15, 0.6, 1.0])
def test_counts_equal_brute_force(layer: tuple, density: float) -> None:
    channels, filters, kernel, stride, padding, dilation, groups = layer
    rng = np.random.default_rng(0)
    activations = rng.normal(size=(2, channels, 7, 8))
    activations *= rng.random(activations.shape) < density
    weights = rng.normal(size=(filters, channels // groups, *kernel))
    weights *= rng.random(weights.shape) < 0.7
    macs, checks = eyerissv2_layer_counts(
        activations, weights, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    expected = [
        brute_force(image, weights, stride, padding, dilation, groups) for image in activations
    ]
    assert macs.dtype == checks.dtype == np.int64
    assert list(zip(macs.tolist(), checks.tolist(), strict=True)) == expected


def test_counts_stay_exact_above_the_integers_of_float32() -> None:
    # 4,097 * 4,099 MACs: odd, and above 2 ** 24.
    macs, _ = eyerissv2_layer_counts(np.ones((1, 4097, 1, 1)), np.ones((4099, 4097, 1, 1)))
    assert macs.tolist() == [4097 * 4099]


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((2, 4, 4), (1, 2, 3, 3)), {}, "activations has shape"),
        (((1, 2, 4, 4), (1, 2, 3)), {}, "weights has shape"),
        (((1, 3, 4, 4), (1, 2, 3, 3)), {}, "activations has 3 channels; expected 2"),
        (((1, 4, 4, 4), (3, 2, 3, 3)), {"groups": 2}, "groups is 2"),
        (((1, 2, 4, 4), (1, 2, 3, 3)), {"stride": (0, 1)}, "stride is"),
        (((1, 2, 4, 4), (1, 2, 3, 3)), {"padding": (0, -1, 0, 0)}, "padding is"),
        (((1, 2, 2, 4), (1, 2, 3, 3)), {}, "activations are 2 x 4"),
    ],
)
def test_counts_name_what_does_not_fit(shapes: tuple, options: dict, message: str) -> None:
    with pytest.raises(DystaError, match=message):
        eyerissv2_layer_counts(np.ones(shapes[0]), np.ones(shapes[1]), **options)


def test_profile_of_a_module(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from dysta_gym.profiling.cnn import profile_cnn

    torch.manual_seed(0)
    shared = torch.nn.Conv2d(4, 4, 3, padding="same")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        shared,
        torch.nn.ReLU(),
        shared,
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 5),
    )
    inputs = [torch.randn(1, 3, 8, 8).relu() for _ in range(4)]
    partial = tmp_path / "partial.jsonl"
    first = profile_cnn(model, inputs[:3], name="small", partial=partial)
    assert first.layer_name == ["0", "2", "2#2", "7"]

    macs, checks = eyerissv2_layer_counts(
        inputs[1].numpy(), model[0].weight.detach().numpy(), stride=(2, 2), padding=(1, 1, 1, 1)
    )
    assert first.valid_macs[1, 0] == macs[0]
    assert first.address_checks[1, 0] == checks[0]
    assert first.sparsity[1, 0] == pytest.approx(float((inputs[1] == 0).float().mean()))
    with torch.inference_mode():
        last = model[:-1](inputs[1])
    assert first.valid_macs[1, -1] == 5 * int((last != 0).sum())
    np.testing.assert_array_equal(
        first.latency_s, eyerissv2_layer_latency_s(first.valid_macs, first.address_checks)
    )

    # With what the first three have left, only the fourth is measured.
    runs = []
    handle = model.register_forward_hook(lambda *_: runs.append(1))
    second = profile_cnn(model, inputs, name="small", partial=partial)
    handle.remove()
    assert len(runs) == 1
    np.testing.assert_array_equal(second.valid_macs[:3], first.valid_macs)

    second.write(tmp_path / "small_dense.npz")
    with np.load(tmp_path / "small_dense.npz", allow_pickle=False) as trace:
        assert trace["train"].sum() == 2
        np.testing.assert_array_equal(trace["valid_macs"], second.valid_macs)


def test_profile_refuses_what_it_cannot_count() -> None:
    torch = pytest.importorskip("torch")
    from dysta_gym.profiling.cnn import profile_cnn

    image = torch.ones(1, 3, 8, 8)
    with pytest.raises(DystaError, match=r"layer 0 is a ConvTranspose2d"):
        profile_cnn(torch.nn.Sequential(torch.nn.ConvTranspose2d(3, 4, 3)), [image], name="up")
    with pytest.raises(DystaError, match="padding_mode 'reflect'"):
        reflecting = torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        profile_cnn(reflecting, [image], name="reflecting")
    with pytest.raises(DystaError, match="expected a batch of one"):
        profile_cnn(torch.nn.Conv2d(3, 4, 3), [torch.ones(2, 3, 8, 8)], name="two")
    with pytest.raises(DystaError, match=r"ran no nn\.Conv2d"):
        profile_cnn(torch.nn.ReLU(), [image], name="nothing")
    with pytest.raises(DystaError, match="inputs is empty"):
        profile_cnn(torch.nn.Conv2d(3, 4, 3), [], name="none")


def test_pruning_takes_the_least_magnitudes() -> None:
    torch = pytest.importorskip("torch")
    from dysta_gym.profiling.pruning import prune

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(10, 5, 3), torch.nn.Linear(20, 10))
    before = [layer.weight.detach().clone() for layer in model]
    assert prune(model, "dense") == 0
    assert prune(model, "unstructured20") == pytest.approx(0.2)
    for layer, weight in zip(model, before, strict=True):
        gone = layer.weight == 0
        assert int(gone.sum()) == round(0.2 * weight.numel())
        assert weight[gone].abs().max() < weight[~gone].abs().min()
        assert torch.equal(layer.weight[~gone], weight[~gone])


def test_structured_pruning_takes_whole_blocks_and_filters() -> None:
    torch = pytest.importorskip("torch")
    from dysta_gym.profiling.pruning import prune

    torch.manual_seed(0)
    model = torch.nn.Conv2d(10, 5, 3)
    prune(model, "filter40")
    assert (model.weight == 0).flatten(1).all(1).sum() == 2
    model = torch.nn.Conv2d(10, 5, 3)
    prune(model, "block50")
    gone = model.weight == 0
    # Blocks of channels 0 to 3, 4 to 7, and 8 to 9.
    for first, last in ((0, 4), (4, 8), (8, 10)):
        block = gone[:, first:last]
        assert torch.equal(block.all(1), block.any(1))
    assert sum(int(gone[:, k].sum()) for k in (0, 4, 8)) == round(0.5 * 5 * 3 * 9)


@pytest.mark.parametrize("pattern", ["unstructured", "unstructured0", "rows20", "filter100"])
def test_pruning_refuses_other_patterns(pattern: str) -> None:
    torch = pytest.importorskip("torch")
    from dysta_gym.profiling.pruning import prune

    with pytest.raises(DystaError, match=f"pattern is '{pattern}'"):
        prune(torch.nn.Linear(2, 2), pattern)


def onnx_model(nodes: list, weights: dict[str, np.ndarray], output: list) -> object:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 9, 10, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(model)
    return model


def test_onnx_graph_computes_what_onnx_defines(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    from dysta_gym.profiling.cnn import profile_cnn
    from dysta_gym.profiling.onnx_graph import load_onnx

    rng = np.random.default_rng(0)
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node(
            "Conv", ["t", "w1", "b1"], ["c1"], "net/first/Conv", pads=[0, 1, 2, 1], strides=[2, 1]
        ),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], "net/second", pads=[1, 1, 1, 1], group=3),
        node("Add", ["c2", "r1"], ["a"]),
        node("MaxPool", ["a"], ["m"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Clip", ["m", "", "six"], ["k"]),
        node("Shape", ["k"], ["s"]),
        node("Slice", ["s", "zero", "one"], ["batch"]),
        node("Concat", ["batch", "rest"], ["shape"], axis=0),
        node("Reshape", ["k", "shape"], ["f"]),
        node("MatMul", ["f", "w3"], ["p"], "net/third/MatMul"),
        node("Mul", ["p", "b3"], ["q"]),
        node("Gemm", ["q", "w4", "b4"], ["g"], "net/fourth", transB=1),
        node("Softmax", ["g"], ["y"]),
    ]
    weights = {  # small ones, lest the softmax saturates
        "w1": rng.normal(scale=0.2, size=(6, 4, 3, 3)).astype(np.float32),
        "b1": rng.normal(size=6).astype(np.float32),
        "w2": rng.normal(scale=0.2, size=(6, 2, 3, 3)).astype(np.float32),
        "six": np.float32(6).reshape(()),
        "zero": np.array([0]),
        "one": np.array([1]),
        "rest": np.array([-1]),
        "w3": rng.normal(scale=0.2, size=(60, 7)).astype(np.float32),
        "b3": rng.normal(size=7).astype(np.float32),
        "w4": rng.normal(scale=0.2, size=(5, 7)).astype(np.float32),
        "b4": rng.normal(size=5).astype(np.float32),
    }
    model = onnx_model(nodes, weights, ["n", 5])
    path = tmp_path / "network.onnx"
    onnx.save(model, path)
    network = load_onnx(path)
    assert network.input_shape == (None, 9, 10, 4)
    assert list(network.layers) == ["first", "second", "third", "fourth"]
    image = rng.normal(size=(2, 9, 10, 4)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": image})
    with torch.inference_mode():
        found = network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)

    profile = profile_cnn(network, [torch.from_numpy(image[:1])], name="network")
    assert profile.layer_name == ["first", "second", "third", "fourth"]
    macs, checks = eyerissv2_layer_counts(
        image[:1].transpose(0, 3, 1, 2), weights["w1"], stride=(2, 1), padding=(0, 1, 2, 1)
    )
    assert (profile.valid_macs[0, 0], profile.address_checks[0, 0]) == (macs[0], checks[0])


@pytest.mark.parametrize(
    ("operator", "options", "message"),
    [
        ("Elu", {}, r"\(Elu\): the operator is unknown"),
        ("Conv", {"auto_pad": "SAME_UPPER"}, "auto_pad is 'SAME_UPPER'; expected 'NOTSET'"),
        ("MaxPool", {"kernel_shape": [2, 2], "ceil_mode": 1}, "ceil_mode is 1; expected 0"),
        ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}, "pads is"),
    ],
)
def test_onnx_graph_refuses_what_it_does_not_know(
    operator: str, options: dict, message: str
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from onnx import helper

    from dysta_gym.profiling.onnx_graph import OnnxNetwork

    inputs = ["x", "w"] if operator == "Conv" else ["x"]
    weights = {"w": np.ones((1, 9, 2, 2), np.float32)}
    model = onnx_model([helper.make_node(operator, inputs, ["y"], **options)], weights, [])
    with pytest.raises(DystaError, match=message):
        OnnxNetwork(model)


def test_missing_onnx_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from dysta_gym.profiling.onnx_graph import load_onnx

    with pytest.raises(DystaError, match=r"none\.onnx; expected an ONNX file, but there is none"):
        load_onnx(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(DystaError, match=r"text\.onnx; expected an ONNX file"):
        load_onnx(tmp_path / "text.onnx")


def test_low_light_is_darker_and_repeatable() -> None:
    pytest.importorskip("PIL")
    from dysta_gym.profiling.images import darken

    pixels = np.full((16, 16, 3), 200, np.uint8)
    dark = darken(pixels, seed=1)
    assert dark.dtype == np.uint8
    # Between 2 and 5 stops: linear light 0.578 / 4 to 0.578 / 32, encoded.
    assert 34 < dark.mean() < 107
    np.testing.assert_array_equal(dark, darken(pixels, seed=1))
    assert (dark != darken(pixels, seed=2)).any()
