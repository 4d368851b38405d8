"""Networks of one's own: an ONNX file by the command line, a PyTorch module in Python."""

import numpy as np
import pytest

from dysta_gym import compare, load_trace
from dysta_gym.accelerators import eyerissv2_layer_counts
from dysta_gym.profiling.attention import AttentionProfile, count_kept_scores
from dysta_gym.traces import whole_trace

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

HEADS, WIDTH, WORDS = 4, 32, 50


@pytest.fixture
def within(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def info(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def write(path, nodes, weights, inputs, outputs, opset=17, **options):
    """An ONNX file of nodes ``(operator, inputs, output, attributes)``."""
    made = [
        helper.make_node(operator, given.split(), [made], **attributes)
        for operator, given, made, attributes in nodes
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(made, "net", inputs, outputs, initializers)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=10), path, **options)


def cnn(path, *, batch="n", kind=np.float32, **options):
    """Two convolutions and a fully connected layer; returns the weights."""
    rng = np.random.default_rng(0)
    shapes = {"one": (4, 3, 3, 3), "two": (8, 4, 3, 3), "head": (5, 8)}
    weights = {f"{name}.weight": rng.normal(size=size) for name, size in shapes.items()}
    weights["two.weight"][:, 1] = 0
    weights = {name: array.astype(kind) for name, array in weights.items()}
    nodes = [
        ("Conv", "x one.weight", "a", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("Relu", "a", "b", {}),
        ("Conv", "b two.weight", "c", {"pads": [1, 1, 1, 1]}),
        ("Relu", "c", "d", {}),
        ("GlobalAveragePool", "d", "e", {}),
        ("Flatten", "e", "f", {}),
        ("Gemm", "f head.weight", "y", {"transB": 1}),
    ]
    of = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    write(path, nodes, weights, [info("x", [batch, 3, 8, 8], of)], [info("y", None, of)], **options)
    return weights


def transformer(path, *, batch="n", length="l"):
    """One block of self-attention on words with a mask, and a feed-forward half."""
    rng = np.random.default_rng(0)
    weights = {name: 3 * rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5 for name in "qkvo"}
    weights |= {"words": rng.normal(size=(WORDS, WIDTH)), "up": rng.normal(size=(WIDTH, 64))}
    weights |= {"down": rng.normal(size=(64, WIDTH))}
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    numbers = {
        "apart": np.array([0, -1, HEADS, WIDTH // HEADS]), "again": np.array([0, -1, WIDTH]),
        "axes": np.array([1, 2]), "low": np.float32(-1e9), "one": np.float32(1),
        "root": np.float32((WIDTH // HEADS) ** 0.5),
    }  # fmt: skip
    nodes = [
        ("Gather", "words ids", "x", {}),
        ("Cast", "mask", "kept", {"to": TensorProto.FLOAT}),
        ("Sub", "one kept", "gone", {}),
        ("Mul", "gone low", "added", {}),
        ("Unsqueeze", "added axes", "bias", {}),
    ]
    for name in "qkv":
        order = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes += [
            ("MatMul", f"x {name}", f"{name}1", {}),
            ("Reshape", f"{name}1 apart", f"{name}2", {}),
            ("Transpose", f"{name}2", f"{name}3", {"perm": order}),
        ]
    nodes += [
        ("MatMul", "q3 k3", "product", {}),
        ("Div", "product root", "scores", {}),
        ("Add", "scores bias", "masked", {}),
        ("Softmax", "masked", "probability", {"axis": -1}),
        ("MatMul", "probability v3", "seen", {}),
        ("Transpose", "seen", "turned", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "turned again", "joined", {}),
        ("MatMul", "joined o", "out", {}),
        ("MatMul", "out up", "y1", {}),
        ("Relu", "y1", "y2", {}),
        ("MatMul", "y2 down", "y", {}),
        ("Softmax", "y", "z", {"axis": -1}),  # no attention
    ]
    inputs = [info(name, [batch, length], TensorProto.INT64) for name in ("ids", "mask")]
    write(path, nodes, weights | numbers, inputs, [info("z", None)])
    return weights


def attended(weights, ids):
    """Probabilities of one text, by hand; (heads, tokens, tokens)."""
    x = weights["words"][ids]
    q, k, _ = (
        (x @ weights[name]).reshape(len(ids), HEADS, -1).transpose(1, 0, 2) for name in "qkv"
    )
    scores = np.exp(q @ k.transpose(0, 2, 1) / (WIDTH // HEADS) ** 0.5)
    return scores / scores.sum(axis=-1, keepdims=True)


def test_a_cnn_from_its_file_to_a_table(within, run):
    weights = cnn(within / "small.onnx")
    pictures = np.random.default_rng(1).normal(size=(6, 3, 8, 8))
    np.savez(within / "inputs.npz", pictures)
    status, shown, errors = run("profile", "small.onnx", "--inputs", "inputs.npz")
    assert (status, errors) == (0, "")
    for word in ("layers", "6: 3 train, 3 test", "ms", "spread", "Relu, GlobalAveragePool"):
        assert word in shown
    assert shown.endswith("  dysta-gym compare --scenario traces/small.yaml\n")

    trace = load_trace("traces/small.npz")
    assert (trace.name, trace.accelerator, trace.layer_names) == (
        "small", "eyerissv2", ("one", "two", "head"),
    )  # fmt: skip
    assert trace.train.sum() == 3
    given = pictures.astype(np.float32)
    counts = eyerissv2_layer_counts(
        given, weights["one.weight"], stride=(2, 2), padding=(0, 0, 1, 1)
    )
    with np.load("traces/small.npz") as file:
        np.testing.assert_array_equal(file["valid_macs"][:, 0], counts[0])
        np.testing.assert_array_equal(file["address_checks"][:, 0], counts[1])
        assert file["weights"].tolist() == [4 * 27, 8 * 27, 40]
        assert file["values_in"].tolist() == [192, 64, 8]
        assert file["values_out"].tolist() == [64, 128, 5]
    assert trace.sparsity[:, 1].min() > 0.2 and trace.sparsity[:, 0].max() == 0
    assert trace.provenance["settings"]["weight_sparsity"] == pytest.approx(72 / 436, abs=1e-6)

    status, shown, _ = run(
        *("compare", "--scenario", "traces/small.yaml", "--policy", "fcfs", "--policy", "sjf"),
        *("--seeds", 1, "--requests", 20),
    )
    assert status == 0 and "small" in shown and "fcfs" in shown
    # With its counts, the file is charged for any accelerator, memory included.
    scenario = {
        "name": "other", "accelerator": {"model": "ideal", "bandwidth": 1e9},
        "trace_dir": "traces", "traces": {"small": 1}, "load": 0.5,
    }  # fmt: skip
    assert len(compare([scenario], ["fcfs"], seeds=[0], requests=20)) == 1


def test_a_transformer_from_its_file_to_a_table(within, run):
    weights = transformer(within / "words.onnx")
    rng = np.random.default_rng(1)
    tokens = rng.integers(5, 70, 8)
    ids = rng.integers(0, WORDS, (8, 80))
    np.savez(within / "texts.npz", ids=ids.astype(np.int32), mask=np.arange(80) < tokens[:, None])
    status, shown, errors = run(
        *("profile", "words.onnx", "--inputs", "texts.npz", "--model", "sanger", "--out", "own"),
        *("--name", "mine", "--max-length", 128),
    )
    assert (status, errors) == (0, "")
    assert "not charged" in shown and "MatMul, Relu, Softmax" in shown and "mine_whole" in shown
    trace = load_trace("own/mine.npz")
    assert trace.length.tolist() == tokens.tolist()
    counts = [
        count_kept_scores(attended(weights, row[:count]))
        for row, count in zip(ids, tokens, strict=True)
    ]
    expected = AttentionProfile(
        "mine", *[list("abcdefgh")] * 3, length=tokens,
        kept=np.array([[count.kept.sum()] for count in counts]),
        subrows=np.array([[count.subrows.sum()] for count in counts]),
        heads=HEADS, width=WIDTH, max_length=128,
    )  # fmt: skip
    np.testing.assert_allclose(trace.latency_s, expected.latency_s, rtol=1e-3)
    np.testing.assert_allclose(trace.sparsity, expected.sparsity, atol=1e-4)
    run_of = ("--policy", "gittins", "--seeds", 1, "--requests", 20)
    status, shown, _ = run("compare", "--scenario", "own/mine.yaml", *run_of)
    assert status == 0 and "gittins" in shown

    run("profile", "words.onnx", "--inputs", "texts.npz", "--out", "own", "--name", "b", "--whole")
    status, shown, _ = run("compare", "--scenario", "own/b_whole.yaml", *run_of)
    assert status == 0 and "b_whole" in shown
    dense = whole_trace("own/mine.npz").latency_s - trace.latency_s
    padded = -(-tokens // 64) * 64
    np.testing.assert_allclose(dense[:, 0], padded * 2 * WIDTH * 64 * 2 / 2048e9, rtol=1e-9)

    # A batch and a length that are fixed, and a folder with a file an input: the same.
    transformer(within / "fixed.onnx", batch=1, length=80)
    (within / "files").mkdir()
    for index, (row, count) in enumerate(zip(ids, tokens, strict=True)):
        mask = np.arange(80) < count
        np.savez(within / "files" / f"{index}.npz", ids=row, mask=mask[None])
    run("profile", "fixed.onnx", "--inputs", "files", "--out", "own", "--max-length", 128)
    fixed = load_trace("own/fixed.npz")
    np.testing.assert_array_equal(fixed.latency_s, trace.latency_s)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_resized_and_scaled(within, run, channels):
    image = pytest.importorskip("PIL.Image")
    weights = {"w": np.ones((2, channels, 1, 1), np.float32)}
    shape = [1, channels, 4, 6]
    write(within / "eye.onnx", [("Conv", "x w", "y", {})], weights, [info("x", shape)],
          [info("y", None)])  # fmt: skip
    (within / "pictures").mkdir()
    for index, value in enumerate((0, 51, 102, 255)):
        pixels = np.full((9, 9, 3), value, np.uint8)
        image.fromarray(pixels).save(within / "pictures" / f"{index}.png")
    (within / "pictures" / "notes.txt").write_text("no picture")
    status, _, errors = run(
        *("profile", "eye.onnx", "--inputs", "pictures", "--mean", "0.2", "--std", "0.5")
    )
    assert (status, errors) == (0, "")
    trace = load_trace("traces/eye.npz")
    assert trace.sparsity[:, 0].tolist() == [0, 1, 0, 0]  # of 51 / 255 - 0.2


def test_half_precision_and_weights_beside_the_file(within, run):
    cnn(within / "half.onnx", batch=1, kind=np.float16)
    cnn(within / "beside.onnx", save_as_external_data=True, location="w", size_threshold=0)
    np.save(within / "x.npy", np.random.default_rng(1).normal(size=(4, 3, 8, 8)))
    for name in ("half", "beside"):
        status, _, errors = run("profile", f"{name}.onnx", "--inputs", "x.npy")
        assert (status, errors) == (0, ""), name
    half, whole = load_trace("traces/half.npz"), load_trace("traces/beside.npz")
    np.testing.assert_allclose(half.latency_s, whole.latency_s, rtol=0.02)


def test_what_cannot_be_measured_is_a_line_and_leaves_nothing(within, run):
    cnn(within / "small.onnx")
    cnn(within / "four.onnx", batch=4)
    transformer(within / "words.onnx")
    write(within / "none.onnx", [("Relu", "x", "y", {})], {}, [info("x", ["n", 2])],
          [info("y", None)])  # fmt: skip
    (within / "broken.onnx").write_bytes((within / "small.onnx").read_bytes()[:-300])
    x = np.ones((4, 3, 8, 8), np.float32)
    np.savez(within / "x.npz", x=x)
    np.savez(within / "one.npz", x=x[:1])
    np.savez(within / "wide.npz", x=np.ones((4, 3, 8, 9)))
    np.savez(within / "two.npz", ids=np.ones((4, 5)), other=np.ones((4, 5)))
    np.savez(within / "parts.npz", ids=np.full((4, 5), 0.5), mask=np.ones((4, 5)))
    np.savez(within / "far.npz", ids=np.full((4, 5), WORDS), mask=np.ones((4, 5)))
    (within / "empty").mkdir()
    (within / "folder.onnx").mkdir()
    np.savez(within / "void.npz")
    write(within / "alone.onnx", [("Relu", "c", "y", {})], {"c": x}, [], [info("y", None)])
    write(within / "wide.onnx", [("Conv", "x w", "y", {})],
          {"w": np.ones((2, 3, 1, 17), np.float32)}, [info("x", ["n", 3, 8, 30])],
          [info("y", None)])  # fmt: skip
    np.savez(within / "long.npz", x=np.ones((4, 3, 8, 30)))
    cases = {
        ("folder.onnx", "x.npz"): ["folder.onnx", "is a folder"],
        ("empty", "x.npz"): ["empty", "is a folder"],
        ("alone.onnx", "x.npz"): ["alone.onnx", "takes no input"],
        ("wide.onnx", "long.npz"): ["model 'wide.onnx': layer", "kernel_width is 17"],
        ("small.onnx", ""): ["inputs", "--inputs FILE.npz"],
        ("small.onnx", "nowhere"): ["nowhere", "does not exist"],
        ("small.onnx", "a" * 5000): ["aaa", "does not exist"],
        ("small.onnx", "void.npz"): ["void.npz", "holds no array"],
        ("small.onnx", "x.npz", "--name", "a" * 250): ["name is 'aaa", "240 or fewer"],
        ("small.onnx", "x.npz", "--pattern", "whole"): ["pattern is 'whole'", "whole networks"],
        ("small.onnx", "x.npz", "--max-length", "9"): ["max_length: 9", "sanger"],
        ("small.onnx", "x.npz", "--mean", "nan,1,1"): ["mean: 'nan,1,1' is not allowed"],
        ("small.onnx", "x.npz", "--std", "inf"): ["std: 'inf' is not allowed", "above 0"],
        ("small.onnx", "x.npz", "--std", "0"): ["std: '0' is not allowed", "above 0"],
        ("small.onnx", "x.npz", "--mean", "1,2"): ["mean: (1.0, 2.0)", "for pictures"],
        ("small.onnx", "x.npz", "--size", "9"): ["size: (9, 9)", "for pictures"],
        ("small.onnx", "x.npz", "--size", "99999999"): ["size: '99999999'", "1 to 8192"],
        ("absent.onnx", "x.npz"): ["absent.onnx", "does not exist"],
        ("broken.onnx", "x.npz"): ["broken.onnx", "not an ONNX file"],
        ("small.onnx", None): ["inputs", "--inputs FILE.npz"],
        ("small.onnx", "absent.npz"): ["absent.npz", "does not exist"],
        ("small.onnx", "small.onnx"): ["small.onnx", "neither an npz file nor a folder"],
        ("small.onnx", "empty"): ["empty", "no npy or npz file and no picture"],
        ("small.onnx", "one.npz"): ["inputs: 1 given", "2 or more"],
        ("small.onnx", "wide.npz"): ["x has shape (1, 3, 8, 9)", "(?, 3, 8, 8)"],
        ("four.onnx", "x.npz"): ["batch is fixed at 4"],
        ("words.onnx", "two.npz"): ["no array 'mask'", "'ids' (? x ?, int64)"],
        ("words.onnx", "parts.npz"): ["ids holds values that are no int64"],
        ("words.onnx", "far.npz"): ["words.onnx", "cannot be run", "Gather"],
        ("small.onnx", "x.npz", "--model", "sanger"): ["no attention", "try eyerissv2"],
        ("none.onnx", "x.npz", "--model", "sanger"): ["x has shape"],
        ("small.onnx", "x.npz", "--model", "gpu"): ["model: 'gpu' is unknown", "sanger"],
        ("small.onnx", "x.npz", "--name", "a/b"): ["name is 'a/b'"],
        ("small.onnx", "x.npz", "--name", "a_whole"): ["name is 'a_whole'"],
        ("small.onnx", "x.npz", "--mean", "a"): ["mean: 'a' is not allowed"],
        ("words.onnx", "x.npz", "small.onnx"): ["one model at a time"],
        ("small.onnx", "x.npz", "--whole"): ["whole", "small.onnx", "blocks"],
        ("small.onnx", "x.npz", "--scale", "0"): ["scale: 0", "above 0"],
        ("mpnet", "3", "--model", "sanger"): ["model", "an ONNX file"],
        ("mpnet", "x.npz"): ["inputs: 'x.npz' is not a number"],
    }
    for (model, inputs, *others), words in cases.items():
        given = () if inputs is None else ("--inputs", inputs)
        status, shown, errors = run("profile", model, *given, *others)
        assert (status, shown) == (2, ""), (model, inputs, others)
        assert len(errors.splitlines()) == 1, errors
        assert all(word in errors for word in words), errors
    assert not (within / "traces").exists()
    np.savez(within / "flat.npz", x=np.ones((4, 2)))
    _, _, errors = run("profile", "none.onnx", "--inputs", "flat.npz")
    assert "no convolution" in errors and "nor anything that sanger does" in errors
    write(within / "own.onnx", [("OwnAttention", "x", "y", {"domain": "com.microsoft"})], {},
          [info("x", ["n", 2])], [info("y", None)])  # fmt: skip
    _, _, errors = run("profile", "own.onnx", "--inputs", "flat.npz")
    assert "OwnAttention keeps its attention to itself" in errors
    run("profile", "small.onnx", "--inputs", "x.npz")
    before = (within / "traces" / "small.npz").read_bytes()
    _, _, errors = run("profile", "small.onnx", "--inputs", "wide.npz")
    assert "is there already" in errors and "--force" in errors
    assert run("profile", "small.onnx", "--inputs", "wide.npz", "--force")[0] == 2
    assert (within / "traces" / "small.npz").read_bytes() == before
    assert run("profile", "small.onnx", "--inputs", "x.npz", "--force")[0] == 0


def small_attention(path, axis=-1, opset=17):
    nodes = [
        ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
        ("MatMul", "x t", "scores", {}),
        ("Softmax", "scores", "p", {} if axis is None else {"axis": axis}),
        ("MatMul", "p x", "seen", {}),
        ("MatMul", "seen out.weight", "y", {}),
    ]
    weights = {"out.weight": np.eye(4, dtype=np.float32)}
    write(path, nodes, weights, [info("x", ["n", 5, 4])], [info("y", None)], opset=opset)


@pytest.mark.parametrize(
    ("axis", "opset", "attends"),
    [(-1, 17, True), (2, 17, True), (1, 17, False), (-2, 17, False), (None, 17, True),
     (2, 11, True), (None, 11, False)],
)  # fmt: skip
def test_attention_is_a_softmax_over_the_last_axis(within, run, axis, opset, attends):
    small_attention(within / "net.onnx", axis, opset)
    np.save(within / "x.npy", np.random.default_rng(0).normal(size=(4, 5, 4)))
    status, shown, errors = run("profile", "net.onnx", "--inputs", "x.npy")
    assert (status, errors) == (0, "")
    assert load_trace("traces/net.npz").accelerator == ("sanger" if attends else "eyerissv2")
    assert ("Softmax" in shown) == (not attends)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_inputs_that_are_not_finite_are_refused(within, run, refused, value, kind):
    from dysta_gym.profiling import profile_network

    cnn(within / "small.onnx")
    small_attention(within / "words.onnx")
    for name, shape in (("small", (4, 3, 8, 8)), ("words", (4, 5, 4))):
        x = np.ones(shape, kind)
        x[(2, *[1] * (len(shape) - 1))] = value
        np.save(within / "x.npy", x)
        place = str((0, *[1] * (len(shape) - 1)))
        status, _, errors = run("profile", f"{name}.onnx", "--inputs", "x.npy")
        assert status == 2 and len(errors.splitlines()) == 1
        assert f"input 2: x is {value} at {place}; expected finite numbers" in errors
        accelerator = "sanger" if name == "words" else "eyerissv2"
        with refused("input net:2", f"x is {value} at {place}", "finite numbers"):
            profile_network(f"{name}.onnx", list(x[:, None]), accelerator=accelerator, name="net")


def test_values_that_become_infinite_in_a_network_are_refused(within, refused):
    from dysta_gym.profiling import profile_network

    weights = cnn(within / "small.onnx")
    with refused("input net:0", "small.onnx", "layer two: its input is", "finite numbers"):
        profile_network("small.onnx", [np.full((1, 3, 8, 8), 3e38, np.float32)] * 2,
                        accelerator="eyerissv2", name="net")  # fmt: skip
    weights["two.weight"][0, 0, 0, 0] = np.nan
    nodes = [("Conv", "x two.weight", "y", {})]
    write(within / "lost.onnx", nodes, weights, [info("x", ["n", 4, 8, 8])], [info("y", None)])
    with refused("lost.onnx", "layer two: its weight is nan at (0, 0, 0, 0)"):
        profile_network("lost.onnx", [np.ones((1, 4, 8, 8))] * 2,
                        accelerator="eyerissv2", name="net")  # fmt: skip
    small_attention(within / "words.onnx")
    with refused("input net:0", "model 'words.onnx'", "score", "inf", "finite numbers"):
        profile_network("words.onnx", [np.full((1, 5, 4), 3e38, np.float32)] * 2,
                        accelerator="sanger", name="net")  # fmt: skip


def test_queries_that_may_attend_to_nothing_are_no_fault(within, run):
    nodes = [
        ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
        ("MatMul", "x t", "scores", {}),
        ("Add", "scores mask", "hidden", {}),
        ("Softmax", "hidden", "p", {"axis": -1}),
        ("MatMul", "p x", "y", {}),
    ]
    inputs = [info("x", ["n", 5, 4]), info("mask", ["n", 5, 5])]
    write(within / "net.onnx", nodes, {}, inputs, [info("y", None)])
    mask = np.zeros((4, 5, 5), np.float32)
    mask[:, 3:] = mask[:, :, 3:] = -np.inf
    x = np.random.default_rng(0).normal(size=(4, 5, 4))
    np.savez(within / "x.npz", x=x, mask=mask)
    status, _, errors = run("profile", "net.onnx", "--inputs", "x.npz")
    assert (status, errors) == (0, "")
    assert load_trace("traces/net.npz").length.tolist() == [3] * 4


def test_a_scenario_that_is_there(within, run):
    cnn(within / "net.onnx")
    np.save(within / "x.npy", np.ones((4, 3, 8, 8)))
    scenario = within / "traces" / "net.yaml"
    assert run("profile", "net.onnx", "--inputs", "x.npy")[0] == 0
    (within / "traces" / "net.npz").unlink()
    scenario.write_text(scenario.read_text().replace("load: 0.9", "load: 0.5"))
    status, shown, _ = run("profile", "net.onnx", "--inputs", "x.npy")
    assert status == 0 and "was there, and is left" in shown and "0.5" in scenario.read_text()
    (within / "traces" / "net.npz").unlink()
    scenario.write_text(scenario.read_text().replace("eyerissv2", "sanger"))
    status, shown, errors = run("profile", "net.onnx", "--inputs", "x.npy")
    assert (status, shown) == (2, "") and "'sanger', not eyerissv2" in errors
    assert not (within / "traces" / "net.npz").exists()
    scenario.write_text(
        scenario.read_text().replace("sanger", "eyerissv2").replace(": .\n", ": a\n")
    )
    _, _, errors = run("profile", "net.onnx", "--inputs", "x.npy")
    assert "takes traces from 'a', not from its own folder" in errors
    assert run("profile", "net.onnx", "--inputs", "x.npy", "--force")[0] == 0
    assert run("compare", "--scenario", scenario, "--policy", "fcfs", "--seeds", 1,
               "--requests", 20)[0] == 0  # fmt: skip


def test_functions_of_a_file_are_written_out(within, run):
    weights = {"w": np.ones((2, 3, 3, 3), np.float32)}
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function(
        "own", "F", ["a", "b"], ["c"], [helper.make_node("Conv", ["a", "b"], ["c"])], opsets[:1]
    )
    graph = helper.make_graph(
        [helper.make_node("F", ["x", "w"], ["y"], domain="own")], "net",
        [info("x", ["n", 3, 8, 8])], [info("y", None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    made = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=8)
    onnx.save(made, within / "net.onnx")
    np.save(within / "x.npy", np.ones((4, 3, 8, 8)))
    status, _, errors = run("profile", "net.onnx", "--inputs", "x.npy")
    assert (status, errors) == (0, "")
    assert load_trace("traces/net.npz").latency_s.shape == (4, 1)


def test_layers_out_of_reach_are_named(within, run):
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(3, 3, 3, 3)), "deep": rng.normal(size=(3, 8, 5))}
    weights |= {"m": rng.normal(size=(8, 5)), "yes": np.array(1.0)}
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    weights["yes"] = weights["yes"].astype(bool)
    given, made = [info("x", ["n", 3, 8, 8])], [info("y", None)]
    body = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["z"])], "body", [],
                             [info("z", None)])  # fmt: skip
    np.save(within / "x.npy", rng.normal(size=(4, 3, 8, 8)))
    cases = {
        ("If", "yes"): ["an operator If with a Conv in its body"],
        ("Conv", "nothing w"): ["Conv y takes 'nothing'", "made by no operator"],
        ("MatMul", "x deep"): ["not measured: MatMul (weights with 3 axes)"],
        ("Einsum", "x m"): ["not measured: Einsum"],
    }
    for (operator, names), words in cases.items():
        options = {"Einsum": {"equation": "nchi,ij->nchj"},
                   "If": {"then_branch": body, "else_branch": body}}  # fmt: skip
        node = (operator, names, "y", options.get(operator, {}))
        write(within / "net.onnx", [node], weights, given, made)
        status, shown, errors = run("profile", "net.onnx", "--inputs", "x.npy")
        assert (status, shown, len(errors.splitlines())) == (2, "", 1)
        assert all(word in errors for word in words), errors
    write(within / "net.onnx", [("Conv", "x w", "c", {}), ("Einsum", "x m", "y", {
        "equation": "nchi,ij->nchj"})], weights, given, made)  # fmt: skip
    _, shown, _ = run("profile", "net.onnx", "--inputs", "x.npy")
    assert "Einsum" in shown


def test_the_operator_attention(within, run):
    nodes = [("Attention", "q k v", "y", {"q_num_heads": 2, "kv_num_heads": 2, "is_causal": 1})]
    inputs = [info(name, ["n", "l", 8]) for name in "qkv"]
    write(within / "fused.onnx", nodes, {}, inputs, [info("y", None)], opset=23)
    rng = np.random.default_rng(0)
    np.savez(within / "x.npz", **{name: np.ones((4, 70, 8)) for name in "qk"},
             v=rng.normal(size=(4, 70, 8)))  # fmt: skip
    assert run("profile", "fused.onnx", "--inputs", "x.npz")[0] == 0
    with np.load("traces/fused.npz") as file:  # all scores above 1/70 are kept, below the diagonal
        assert file["density"][0, 0] == pytest.approx(70 * 71 / 2 / 128**2)
        assert file["length"].tolist() == [70] * 4


@pytest.mark.parametrize("kind", ["Attention", "MultiHeadAttention"])
def test_operators_that_keep_their_attention_to_themselves(within, run, kind):
    import onnxruntime

    from dysta_gym.profiling.onnx_runs import Graph

    rng = np.random.default_rng(0)
    given = {"x": ["n", "l", WIDTH], "mask": ["n", "l"]}
    weights = {"shift": rng.normal(size=3 * WIDTH).astype(np.float32)}
    names = "x x x shift mask"
    if kind == "Attention":
        weights["w"] = rng.normal(size=(WIDTH, 3 * WIDTH)).astype(np.float32) / 4
        names = "x w shift mask"
    options = {"num_heads": HEADS, "unidirectional": 1, "domain": "com.microsoft"}
    of = [TensorProto.FLOAT, TensorProto.INT32]
    inputs = [info(*each, kind) for each, kind in zip(given.items(), of, strict=True)]
    write(within / "fused.onnx", [(kind, names, "y", options)], weights, inputs, [info("y", None)])
    x = rng.normal(size=(3, 20, WIDTH)).astype(np.float32)
    mask = np.arange(20) < np.array([[20], [12], [7]])
    np.savez(within / "x.npz", x=x, mask=mask)
    assert run("profile", "fused.onnx", "--inputs", "x.npz")[0] == 0
    assert load_trace("traces/fused.npz").length.tolist() == [20, 12, 7]

    feeds = {"x": x[1:2], "mask": mask[1:2].astype(np.int32)}
    (found,) = Graph("fused.onnx").attention(feeds)
    (expected,) = onnxruntime.InferenceSession("fused.onnx").run(["y"], feeds)
    values = x[1] @ weights["w"] if kind == "Attention" else np.tile(x[1], 3)
    values = (values + weights["shift"])[:, -WIDTH:].reshape(20, HEADS, -1).transpose(1, 0, 2)
    made = (found.probability @ values).transpose(1, 0, 2).reshape(20, WIDTH)
    np.testing.assert_allclose(made, expected[0], atol=1e-5)


# --- PyTorch -------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch


def by_hand(torch, layers, lengths):
    """The profile of probabilities (heads, tokens, tokens), an input's layers after another's."""
    counts = [[count_kept_scores(each) for each in layers_of] for layers_of in layers]
    heads, inputs = layers[0][0].shape[0], len(layers)
    return AttentionProfile(
        "net", [str(i) for i in range(inputs)], ["a"] * inputs, [str(i) for i in range(inputs)],
        length=np.array(lengths),
        kept=np.array([[each.kept.sum() for each in row] for row in counts]),
        subrows=np.array([[each.subrows.sum() for each in row] for row in counts]),
        heads=heads, width=WIDTH, max_length=max(lengths),
    )  # fmt: skip


def encoder(torch, **options):
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True, **options)
    model = torch.nn.TransformerEncoder(layer, 2)
    with torch.no_grad():
        for each in model.layers:
            each.self_attn.in_proj_weight.mul_(4)
    return model


def test_a_transformer_encoder_is_found_by_itself(torch):
    from dysta_gym.profiling import profile_network

    model = encoder(torch)
    lengths = [9, 40, 66, 5]
    inputs = []
    for length in lengths:
        mask = torch.arange(66)[None] >= length
        inputs.append({"src": torch.randn(1, 66, WIDTH), "src_key_padding_mask": mask})
    trace = profile_network(model, inputs, accelerator="sanger", name="net")

    def layers(src, src_key_padding_mask):
        count = int((~src_key_padding_mask).sum())
        x = src[:, :count]
        for layer in model.layers:
            made, weights = layer.self_attn(x, x, x, average_attn_weights=False)
            yield weights[0].numpy()
            x = layer.norm1(x + made)
            x = layer.norm2(x + layer.linear2(torch.relu(layer.linear1(x))))

    with torch.inference_mode():
        expected = by_hand(torch, [list(layers(**each)) for each in inputs], lengths)
    assert trace.length.tolist() == lengths
    assert trace.layer_names == ("layer.0.attention", "layer.1.attention")
    np.testing.assert_allclose(trace.latency_s, expected.latency_s, rtol=1e-3)
    np.testing.assert_allclose(trace.sparsity, expected.sparsity, atol=1e-3)
    assert torch.backends.mha.get_fastpath_enabled()


def test_any_way_to_attend_is_found(torch):
    from dysta_gym.profiling import profile_network

    class Net(torch.nn.Module):
        def __init__(self, way, causal):
            super().__init__()
            self.way, self.causal = way, causal

        def forward(self, x):
            heads = x.reshape(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2)
            return self.way(heads, self.causal)

    def fused(x, causal):
        return torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=causal)

    def shared(x, causal):
        keys = x[:, ::2].repeat_interleave(2, 1)[:, ::2]  # one for two heads
        return torch.nn.functional.scaled_dot_product_attention(
            x, keys, keys, is_causal=causal, enable_gqa=True
        )

    def written(x, causal):
        scores = torch.matmul(x, x.transpose(-1, -2)) / x.shape[-1] ** 0.5
        if causal:
            scores = scores + torch.full(scores.shape[-2:], -torch.inf).triu(1)
        weights = torch.nn.functional.dropout(scores.softmax(dim=-1), training=False)
        return torch.einsum("bhqk,bhkd->bhqd", weights, x)

    inputs = [2 * torch.randn(1, length, WIDTH) for length in (7, 70, 33, 20)]
    for causal in (False, True):
        one, two = (
            profile_network(Net(way, causal), inputs, accelerator="sanger", name="net")
            for way in (fused, written)
        )
        np.testing.assert_allclose(one.latency_s, two.latency_s, rtol=1e-3)
        assert one.length.tolist() == [7, 70, 33, 20]
        by = profile_network(Net(shared, causal), inputs, accelerator="sanger", name="net")
        assert by.latency_s.shape == (4, 1)


def test_a_file_and_its_module_are_alike(torch, within, run, recwarn):
    from dysta_gym.profiling import profile_network

    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Conv2d(6, 6, 3, stride=2, groups=3), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(54, 5),
    )  # fmt: skip
    waves = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 5, padding="same"), torch.nn.ReLU(),
                                torch.nn.Conv1d(4, 2, 3, stride=2, padding=1))  # fmt: skip
    for name, network, shape, accelerator in (
        ("cnn", model, (3, 8, 8), "eyerissv2"),
        ("waves", waves, (1, 40), "eyerissv2"),
        ("encoder", encoder(torch), (20, WIDTH), "sanger"),
    ):
        network.eval()
        inputs = torch.randn(4, 1, *shape)
        torch.onnx.export(network, (inputs[0],), f"{name}.onnx", input_names=["x"], dynamo=False)
        np.save("x.npy", inputs[:, 0].numpy())
        status, _, errors = run("profile", f"{name}.onnx", "--inputs", "x.npy")
        assert (status, errors) == (0, "")
        of_file = load_trace(f"traces/{name}.npz")
        of_module = profile_network(network, list(inputs), accelerator=accelerator, name=name)
        of_module.save("module.npz")
        again = load_trace("module.npz")
        assert again.layer_names == of_file.layer_names
        np.testing.assert_allclose(again.latency_s, of_file.latency_s, rtol=1e-3)
        np.testing.assert_allclose(again.sparsity, of_file.sparsity, atol=1e-3)
        assert (again.train == of_file.train).all()
        with np.load("module.npz") as one, np.load(f"traces/{name}.npz") as other:
            assert sorted(one.files) == sorted(other.files)
        assert again.provenance.get("shapes") == of_file.provenance.get("shapes")
    assert of_file.provenance["shapes"]["feed_forward"] == 64


def test_what_a_module_lacks_is_said(torch, refused):
    from dysta_gym.profiling import profile_network

    inputs = [torch.ones(1, 4, 8)] * 2
    settings = {"name": "net"}
    with refused("no attention", "try eyerissv2"):
        profile_network(torch.nn.Linear(8, 8), inputs, accelerator="sanger", **settings)
    with refused("no convolution", "try sanger"):
        profile_network(torch.nn.ReLU(), inputs, accelerator="eyerissv2", **settings)
    with refused("inputs: 1 given", "2 or more"):
        profile_network(torch.nn.ReLU(), inputs[:1], accelerator="eyerissv2", **settings)
    with refused("accelerator: 'gpu' is unknown", "sanger"):
        profile_network(torch.nn.ReLU(), inputs, accelerator="gpu", **settings)
    lost = [torch.full((1, 4, 8), torch.nan)] * 2
    with refused("input net:0", "input is nan at (0, 0, 0)", "finite numbers"):
        profile_network(torch.nn.Linear(8, 8), lost, accelerator="eyerissv2", **settings)
    huge = torch.nn.Sequential(torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 8))
    torch.nn.init.constant_(huge[0].weight, 1e38)
    with refused("input net:0", "layer 1: its input is inf", "finite numbers"):
        profile_network(huge, [10 * each for each in inputs], accelerator="eyerissv2", **settings)
    torch.nn.init.constant_(huge[1].weight, torch.inf)
    with refused("parameter 1.weight is inf at (0, 0)", "finite numbers"):
        profile_network(huge, inputs, accelerator="eyerissv2", **settings)
    with refused("max_length: 9", "sanger"):
        profile_network(huge, inputs, accelerator="eyerissv2", max_length=9, **settings)
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with refused("input net:0", "query is nan", "finite numbers"):
        profile_network(attention, [(each,) * 3 for each in lost], accelerator="sanger", **settings)
    twice = [(torch.ones(2, 4, 8),) * 3] * 2
    with refused("shape (2, 2, 4, 4)", "(1, heads, queries, keys)"):
        profile_network(attention, twice, accelerator="sanger", **settings)
    once = [(torch.ones(1, 4, 8),) * 3] * 2
    with refused("has 4 tokens", "max_length is 3"):
        profile_network(attention, once, accelerator="sanger", max_length=3, **settings)
    # Queries and keys of other lengths are a rectangle.
    crossed = [(torch.ones(1, n, 8), *[torch.ones(1, 6, 8)] * 2) for n in (3, 4)]
    trace = profile_network(attention, crossed, accelerator="sanger", **settings)
    assert trace.layer_names == ("layer.0.cross_attention",)
    assert trace.counts["key_length"].tolist() == [[6], [6]]


def test_networks_of_hugging_face_are_measured_as_the_shipped_ones(torch):
    transformers = pytest.importorskip("transformers")
    from dysta_gym.profiling import profile_network
    from dysta_gym.profiling.attention import profile_attention

    texts = [
        {"input_ids": torch.randint(9, (1, 70)), "attention_mask": (torch.arange(70) < n)[None]}
        for n in (70, 9, 33, 66)
    ]
    sizes = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": 2}
    for kind in ("bert", "llama"):
        config = transformers.AutoConfig.for_model(
            kind, **sizes, vocab_size=9, intermediate_size=64
        )
        if kind == "llama":
            config.num_key_value_heads = 2
        found = []
        for way in ("eager", "sdpa"):
            torch.manual_seed(0)
            config.initializer_range = 0.3
            model = transformers.AutoModel.from_config(config, attn_implementation=way)
            found.append(profile_network(model, texts, accelerator="sanger", name="net"))
            if way == "eager":
                shipped = profile_attention(model, texts, name="net", max_length=70).trace()
                np.testing.assert_array_equal(found[0].latency_s, shipped.latency_s)
                assert found[0].length.tolist() == [70, 9, 33, 66]
                assert found[0].provenance["shapes"] == shipped.provenance["shapes"]
        np.testing.assert_allclose(found[0].latency_s, found[1].latency_s, rtol=1e-3)
