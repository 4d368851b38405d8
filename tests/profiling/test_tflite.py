"""TensorFlow Lite graphs as PyTorch modules: against a plain computation, and the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dysta_gym.errors import DystaError

pytest.importorskip("torch")
pytest.importorskip("onnx")
tflite = pytest.importorskip("tflite")
flatbuffers = pytest.importorskip("flatbuffers")

from dysta_gym.profiling.cnn import profile_cnn  # noqa: E402
from dysta_gym.profiling.tflite_graph import load_tflite  # noqa: E402

HEIGHT, WIDTH = 8, 7


class File:
    """Writes a TensorFlow Lite file, tensor by tensor and operator by operator."""

    def __init__(self) -> None:
        self.tensors: list[tuple[str, tuple[int, ...], int, bytes]] = []
        self.operators: list[tuple[str, list[int], int, str | None, dict[str, Any]]] = []

    def tensor(self, name: str, shape: tuple[int, ...]) -> int:
        self.tensors.append((name, shape, tflite.TensorType.FLOAT32, b""))
        return len(self.tensors) - 1

    def constant(self, name: str, values: np.ndarray) -> int:
        kinds = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32", "int8": "INT8"}
        kind = getattr(tflite.TensorType, kinds[values.dtype.name])
        self.tensors.append((name, values.shape, kind, values.tobytes()))
        return len(self.tensors) - 1

    def operator(
        self,
        name: str,
        inputs: list[int],
        output: tuple[str, tuple[int, ...]],
        kind: str | None = None,  # of the options: Conv2D
        **options: Any,
    ) -> int:
        index = self.tensor(*output)
        self.operators.append((name, inputs, index, kind, options))
        return index

    def content(self, outputs: list[int]) -> bytes:
        b = flatbuffers.Builder(1024)

        def vector(start: Any, entries: list[int], integers: bool = True) -> int:
            start(b, len(entries))
            for entry in reversed(entries):
                (b.PrependInt32 if integers else b.PrependUOffsetTRelative)(entry)
            return b.EndVector()

        buffers, tensors, codes, operators = [], [], [], []
        for number, (name, shape, kind, data) in enumerate([("", (), 0, b""), *self.tensors]):
            values = b.CreateByteVector(data) if data else None
            tflite.BufferStart(b)
            if values is not None:
                tflite.BufferAddData(b, values)
            buffers.append(tflite.BufferEnd(b))
            if number == 0:  # the first buffer is empty by convention
                continue
            text = b.CreateString(name)
            axes = vector(tflite.TensorStartShapeVector, list(shape))
            tflite.TensorStart(b)
            tflite.TensorAddShape(b, axes)
            tflite.TensorAddType(b, kind)
            tflite.TensorAddBuffer(b, number)
            tflite.TensorAddName(b, text)
            tensors.append(tflite.TensorEnd(b))
        for number, (name, inputs, output, kind, options) in enumerate(self.operators):
            code = getattr(tflite.BuiltinOperator, name)
            tflite.OperatorCodeStart(b)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
            tflite.OperatorCodeAddBuiltinCode(b, code)
            tflite.OperatorCodeAddVersion(b, 1)
            codes.append(tflite.OperatorCodeEnd(b))
            given = vector(tflite.OperatorStartInputsVector, inputs)
            taken = vector(tflite.OperatorStartOutputsVector, [output])
            table = None
            if kind is not None:
                getattr(tflite, f"{kind}OptionsStart")(b)
                for field, value in options.items():
                    getattr(tflite, f"{kind}OptionsAdd{field}")(b, value)
                table = getattr(tflite, f"{kind}OptionsEnd")(b)
            tflite.OperatorStart(b)
            tflite.OperatorAddOpcodeIndex(b, number)
            tflite.OperatorAddInputs(b, given)
            tflite.OperatorAddOutputs(b, taken)
            if table is not None:
                tflite.OperatorAddBuiltinOptionsType(
                    b, getattr(tflite.BuiltinOptions, f"{kind}Options")
                )
                tflite.OperatorAddBuiltinOptions(b, table)
            operators.append(tflite.OperatorEnd(b))
        lists = [
            vector(tflite.SubGraphStartTensorsVector, tensors, integers=False),
            vector(tflite.SubGraphStartOperatorsVector, operators, integers=False),
            vector(tflite.SubGraphStartInputsVector, [0]),
            vector(tflite.SubGraphStartOutputsVector, outputs),
        ]
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, lists[0])
        tflite.SubGraphAddOperators(b, lists[1])
        tflite.SubGraphAddInputs(b, lists[2])
        tflite.SubGraphAddOutputs(b, lists[3])
        graphs = vector(tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(b)], integers=False)
        stored = vector(tflite.ModelStartBuffersVector, buffers, integers=False)
        known = vector(tflite.ModelStartOperatorCodesVector, codes, integers=False)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, known)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddBuffers(b, stored)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "conv": rng.normal(size=(6, 3, 3, 3)).astype(np.float16),
        "conv_bias": rng.normal(size=6).astype(np.float16),
        "depthwise": rng.normal(size=(1, 2, 3, 12)).astype(np.float32),
        "factor": rng.normal(size=12).astype(np.float32),
        "dense": rng.normal(size=(5, 24)).astype(np.float32),
        "dense_bias": rng.normal(size=5).astype(np.float32),
    }


def network() -> bytes:
    """A small network of nearly every operator, with two outputs."""
    w = weights()
    none, relu, relu6 = (
        getattr(tflite.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6")
    )
    same, valid = tflite.Padding.SAME, tflite.Padding.VALID
    f = File()
    image = f.tensor("image", (1, HEIGHT, WIDTH, 3))
    kernel, bias = (
        f.operator("DEQUANTIZE", [f.constant(name, values)], (f"{name}_dequantize", values.shape))
        for name, values in (
            ("net/first/Conv2D", w["conv"]),
            ("net/first/bias", w["conv_bias"]),
        )
    )
    # 8 x 7 at stride 2: SAME pads no row above and one below, and a column on either side.
    x = f.operator(
        "CONV_2D",
        [image, kernel, bias],
        ("net/first/Relu6;net/other/Conv2D", (1, 4, 4, 6)),
        "Conv2D",
        Padding=same,
        StrideH=2,
        StrideW=2,
        FusedActivationFunction=relu6,
    )
    pads = f.constant("pads", np.array([[0, 0], [1, 0], [0, 2], [0, 0]], np.int32))
    x = f.operator("PAD", [x, pads], ("padded", (1, 5, 6, 6)))
    kernel = f.constant("net/other/FusedBatchNorm;net/second/depthwise", w["depthwise"])
    bias = f.constant("no bias", np.zeros(12, np.float32))
    x = f.operator(
        "DEPTHWISE_CONV_2D",
        [x, kernel, bias],
        ("net/second/Relu", (1, 4, 2, 12)),
        "DepthwiseConv2D",
        Padding=valid,
        StrideH=1,
        StrideW=1,
        DepthMultiplier=2,
        DilationHFactor=1,
        DilationWFactor=2,
        FusedActivationFunction=relu,
    )
    pool = {"Padding": same, "FilterHeight": 3, "FilterWidth": 2, "StrideH": 2, "StrideW": 1}
    largest = f.operator("MAX_POOL_2D", [x], ("largest", (1, 2, 2, 12)), "Pool2D", **pool)
    average = f.operator("AVERAGE_POOL_2D", [x], ("average", (1, 2, 2, 12)), "Pool2D", **pool)
    factor = f.constant("factor", w["factor"])
    x = f.operator(
        "MUL", [average, factor], ("scaled", (1, 2, 2, 12)), "Mul", FusedActivationFunction=none
    )
    x = f.operator("ADD", [x, largest], ("sum", (1, 2, 2, 12)), "Add", FusedActivationFunction=relu)
    x = f.operator("CONCATENATION", [x, largest], ("both", (1, 2, 2, 24)), "Concatenation", Axis=3)
    axes = f.constant("axes", np.array([1, 2], np.int32))
    mean = f.operator("MEAN", [x, axes], ("mean", (1, 24)), "Reducer", KeepDims=False)
    x = f.operator(
        "FULLY_CONNECTED",
        [mean, f.constant("net/dense/MatMul", w["dense"]), f.constant("bias", w["dense_bias"])],
        ("net/dense/BiasAdd", (1, 5)),
        "FullyConnected",
    )
    x = f.operator("LOGISTIC", [x], ("score", (1, 5)))
    shape = f.constant("shape", np.array([2, 12], np.int32))
    y = f.operator("RESHAPE", [mean, shape], ("reshaped", (2, 12)), "Reshape")
    return f.content([x, y])


def reference(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network computes, position by position."""
    w = weights()
    # Padding of 8 x 7 at stride 2 by hand: 0 + 1 rows, 1 + 1 columns.
    padded = np.pad(image[0], ((0, 1), (1, 1), (0, 0)))
    first = np.zeros((4, 4, 6))
    for r in range(4):
        for c in range(4):
            part = padded[2 * r : 2 * r + 3, 2 * c : 2 * c + 3]
            first[r, c] = np.einsum("hwi,ohwi->o", part, w["conv"].astype(float)) + w["conv_bias"]
    wide = np.pad(np.clip(first, 0, 6), ((1, 0), (0, 2), (0, 0)))
    second = np.zeros((4, 2, 12))
    for r in range(4):
        for c in range(2):
            part = wide[r : r + 2, c : c + 5 : 2]
            for channel in range(12):
                kernel = w["depthwise"][0, :, :, channel]
                second[r, c, channel] = max((part[:, :, channel // 2] * kernel).sum(), 0)
    largest, average = np.zeros((2, 2, 2, 12))
    for r in range(2):
        for c in range(2):
            # 4 x 2 under windows of 3 x 2 at stride (2, 1): the odd row and column at the end.
            part = second[2 * r : 2 * r + 3, c : c + 2]
            largest[r, c], average[r, c] = part.max((0, 1)), part.mean((0, 1))
    total = np.maximum(average * w["factor"] + largest, 0)
    mean = np.concatenate([total, largest], 2).mean((0, 1))
    score = 1 / (1 + np.exp(-(w["dense"] @ mean + w["dense_bias"])))
    return score[None], mean.reshape(2, 12)


def test_graph_computes_what_the_operators_define(tmp_path: Path) -> None:
    import torch

    image = np.random.default_rng(6).normal(size=(1, HEIGHT, WIDTH, 3)).astype(np.float32)
    path = tmp_path / "network.data"
    path.write_bytes(b"header" + network())
    model = load_tflite(path, start=6)
    assert model.input_shape == (1, HEIGHT, WIDTH, 3)
    outputs = [value.numpy() for value in model(torch.from_numpy(image))]
    for output, expected in zip(outputs, reference(image), strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)

    profile = profile_cnn(model, [torch.from_numpy(image)], name="net")
    assert profile.layer_name == ["net/first", "net/second", "net/dense"]
    # Of 8 x 7 pixels without a zero, each filter sees 3 x 3 less what is outside of the image.
    rows, columns = 3 + 3 + 3 + 2, 2 + 3 + 3 + 2
    assert profile.valid_macs[0, 0] == rows * columns * 3 * 6
    with pytest.raises(DystaError, match=r"input has shape \(1, 4, 4, 3\); expected \(1, 8, 7, 3"):
        model(torch.zeros(1, 4, 4, 3))


def test_graph_agrees_with_the_interpreter(tmp_path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    import torch

    content = network()
    path = tmp_path / "network.tflite"
    path.write_bytes(content)
    model = load_tflite(path)
    interpreter = litert.Interpreter(
        model_content=content,
        # The delegate that is the default reads 16-bit weights as zeros where all are kept.
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    inputs: list[float] = []
    for layer in model.layers.values():
        layer.register_forward_pre_hook(
            lambda _, args: inputs.append(float((args[0] == 0).float().mean()))
        )
    rng = np.random.default_rng(7)
    for _ in range(5):
        inputs.clear()
        image = rng.normal(size=(1, HEIGHT, WIDTH, 3)).astype(np.float32)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        for output, detail in zip(
            model(torch.from_numpy(image)), interpreter.get_output_details(), strict=True
        ):
            expected = interpreter.get_tensor(detail["index"])
            np.testing.assert_allclose(output.numpy(), expected, rtol=1e-5, atol=1e-6)
        zeros = [
            float((interpreter.get_tensor(int(operator["inputs"][0])) == 0).mean())
            for operator in interpreter._get_ops_details()
            if operator["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
        ]
        assert inputs == pytest.approx(zeros, abs=1e-6)
        assert max(zeros) > 0.1


def with_one(name: str, constant: np.ndarray | None = None, *rest: Any, **options: Any) -> bytes:
    f = File()
    image = f.tensor("image", (1, HEIGHT, WIDTH, 3))
    inputs = [image] if constant is None else [image, f.constant("weight", constant)]
    return f.content(
        [f.operator(name, inputs, ("result", (1, HEIGHT, WIDTH, 3)), *rest, **options)]
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_one("SOFTMAX"), r"node 'result' \(SOFTMAX\): the operator is unknown"),
        (
            lambda: with_one("CONV_2D", np.ones((3, 1, 1, 3), np.int8), "Conv2D", StrideH=1),
            r"node 'result' \(CONV_2D\): input 'weight' is not a constant of floats",
        ),
        (
            lambda: with_one("CONV_2D", np.ones((3, 1, 1, 3), np.float32), "Conv2D", StrideH=1,
                             StrideW=1, FusedActivationFunction=tflite.ActivationFunctionType.TANH),
            r"fused_activation_function is 4; expected 0 or 1 or 3",
        ),
        (lambda: b"PK\3\4 not a network", r"expected a TensorFlow Lite file, which has 'TFL3'"),
    ],
)  # fmt: skip
def test_graph_refuses_what_it_does_not_know(tmp_path: Path, make: Any, message: str) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(make())
    with pytest.raises(DystaError, match=message):
        load_tflite(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DystaError, match="there is none"):
        load_tflite(tmp_path / "none.tflite")
