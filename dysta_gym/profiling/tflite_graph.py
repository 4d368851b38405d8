"""Float graphs of convolutional networks from TensorFlow Lite files as PyTorch modules.

Every convolution and every fully connected layer becomes an `nn.Conv2d` or an `nn.Linear` of its
own, so that a network from a TensorFlow Lite file is profiled and pruned like any other. Values
keep the file's axes, (inputs, height, width, channels); only a convolution turns them around for
itself. Whatever a graph contains beyond `OPERATORS` is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tflite
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from dysta_gym.errors import DystaError
from dysta_gym.profiling.padding import PaddedConv2d, same_sides

Values = list[torch.Tensor]
Compute = Callable[[Values], torch.Tensor]

_IDENTIFIER = b"TFL3"  # at byte 4 of every file
_NUMPY_TYPES: dict[int, np.dtype[Any]] = {
    tflite.TensorType.FLOAT32: np.dtype("<f4"),
    tflite.TensorType.FLOAT16: np.dtype("<f2"),
    tflite.TensorType.INT32: np.dtype("<i4"),
}
_ACTIVATIONS: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {
    tflite.ActivationFunctionType.NONE: lambda value: value,
    tflite.ActivationFunctionType.RELU: torch.relu,
    tflite.ActivationFunctionType.RELU6: functional.relu6,
}
_OPERATOR_NAMES = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)
}


class TfliteNetwork(nn.Module):
    """The one graph of a TensorFlow Lite file, whose weights are modules in `layers`.

    `input_shape` is (inputs, height, width, channels), as the file declares it.
    """

    input_shape: tuple[int, ...]

    def __init__(self, content: bytes) -> None:
        super().__init__()
        model = tflite.Model.GetRootAs(content, 0)
        if model.SubgraphsLength() != 1:
            raise DystaError(f"the file has {model.SubgraphsLength()} graphs; expected 1")
        graph = model.Subgraphs(0)
        if graph.InputsLength() != 1:
            raise DystaError(f"the graph has {graph.InputsLength()} inputs; expected 1")
        self._input = int(graph.Inputs(0))
        self._outputs = [int(graph.Outputs(k)) for k in range(graph.OutputsLength())]
        self.layers = nn.ModuleDict()

        builder = _Builder(model, graph, self.layers)
        self.input_shape = builder.tensors[self._input].shape
        self._steps: list[_Step] = []
        known = {self._input}
        for position in range(graph.OperatorsLength()):
            node = builder.node(position)
            if node.name not in OPERATORS:
                raise DystaError(
                    f"{node}: the operator is unknown; expected one of "
                    f"{', '.join(sorted(OPERATORS))}"
                )
            layers = len(self.layers)
            compute = OPERATORS[node.name](builder, node)
            if compute is None:
                continue
            # A layer has its weights already, and takes its one activation.
            taken = node.inputs[:1] if len(self.layers) > layers else node.inputs
            for tensor in taken:
                if tensor not in known and tensor not in builder.constants:
                    raise DystaError(f"{node}: tensor {tensor} is used before it is computed")
            known.add(node.output)
            self._steps.append(_Step(compute, taken, node.output))
        for output in self._outputs:
            if output not in known:
                raise DystaError(f"the graph's output {output} is never computed")
        self._steps = _with_last_uses(self._steps, {*self._outputs, *builder.constants})
        self._constants = {
            tensor: torch.from_numpy(builder.constants[tensor])
            for step in self._steps
            for tensor in step.inputs
            if tensor in builder.constants
        }

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the graph's outputs from one input, `input_shape` in shape, or several."""
        if tuple(input.shape[1:]) != self.input_shape[1:]:
            raise DystaError(f"input has shape {tuple(input.shape)}; expected {self.input_shape}")
        values = {**self._constants, self._input: input}
        for step in self._steps:
            values[step.output] = step.compute([values[tensor] for tensor in step.inputs])
            for tensor in step.last_use:
                del values[tensor]
        return tuple(values[output] for output in self._outputs)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._constants = {tensor: fn(value) for tensor, value in self._constants.items()}
        return super()._apply(fn, recurse)


def _with_last_uses(steps: list[_Step], keep: set[int]) -> list[_Step]:
    """Note where each value is used for the last time, so that memory is freed early."""
    seen = set(keep)
    noted = []
    for step in reversed(steps):
        done = tuple(dict.fromkeys(t for t in (*step.inputs, step.output) if t not in seen))
        seen.update(done)
        noted.append(step._replace(last_use=done))
    return noted[::-1]


def load_tflite(path: Path, start: int = 0) -> TfliteNetwork:
    """Read a convolutional network from a TensorFlow Lite file, in evaluation mode.

    The file begins at byte `start` of `path`: packages also carry it inside larger files.

    Raises DystaError if there is no such file, if it is not a TensorFlow Lite file, or for an
    operator or an option of one that is not supported.
    """
    try:
        content = path.read_bytes()[start:]
    except FileNotFoundError:
        raise DystaError(
            f"path is {path}; expected a TensorFlow Lite file, but there is none"
        ) from None
    if content[4:8] != _IDENTIFIER:
        raise DystaError(
            f"path is {path}; expected a TensorFlow Lite file, which has 'TFL3' at byte {start + 4}"
        )
    network = TfliteNetwork(content)
    network.eval()
    return network


class _Tensor(NamedTuple):
    """What the file says of a value."""

    name: str
    shape: tuple[int, ...]
    kind: int  # tflite.TensorType


class _Step(NamedTuple):
    """One operator: what it computes, from which tensors, and into which."""

    compute: Compute
    inputs: tuple[int, ...]
    output: int
    last_use: tuple[int, ...] = ()  # values that no later step needs


@dataclass(frozen=True)
class _Node:
    """An operator of the file, with one output."""

    name: str  # of the operator: CONV_2D
    inputs: tuple[int, ...]
    output: int
    output_name: str
    table: Any  # the operator in the file, which has its options

    def __str__(self) -> str:
        return f"node {self.output_name!r} ({self.name})"

    def options(self, kind: type[Any]) -> Any:
        """The operator's options; without them in the file, None."""
        table = self.table.BuiltinOptions()
        if table is None:
            return None
        options = kind()
        options.Init(table.Bytes, table.Pos)
        return options


class _Builder:
    """Turns operators into functions; one method an operator, or a few that differ by a function.

    `constants` holds the values that the file has, and those computed from them alone.
    """

    def __init__(self, model: Any, graph: Any, layers: nn.ModuleDict) -> None:
        self.layers = layers
        self._model = model
        self._graph = graph
        self.tensors: list[_Tensor] = []
        self.constants: dict[int, NDArray[Any]] = {}
        for index in range(graph.TensorsLength()):
            entry = graph.Tensors(index)
            shape = tuple(int(entry.Shape(k)) for k in range(entry.ShapeLength()))
            self.tensors.append(_Tensor((entry.Name() or b"").decode(), shape, entry.Type()))
            buffer = model.Buffers(entry.Buffer())
            if buffer.DataLength() and entry.Type() in _NUMPY_TYPES:
                values = np.frombuffer(buffer.DataAsNumpy(), _NUMPY_TYPES[entry.Type()])
                self.constants[index] = values.reshape(shape).copy()

    def node(self, position: int) -> _Node:
        table = self._graph.Operators(position)
        code = self._model.OperatorCodes(table.OpcodeIndex())
        # The old field of the file format has room for the first operators only.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == tflite.BuiltinOperator.CUSTOM:
            name = (code.CustomCode() or b"CUSTOM").decode()
        else:
            name = _OPERATOR_NAMES.get(number, f"operator {number}")
        inputs = [int(table.Inputs(k)) for k in range(table.InputsLength())]
        output = int(table.Outputs(0))
        node = _Node(
            name,
            tuple(tensor for tensor in inputs if tensor >= 0),  # -1: left out
            output,
            self.tensors[output].name,
            table,
        )
        # Custom operators, which none is known of, may well have more.
        if name in OPERATORS and table.OutputsLength() != 1:
            raise DystaError(f"{node}: {table.OutputsLength()} outputs; expected 1")
        return node

    def conv(self, node: _Node) -> Compute:
        return self._conv(node, node.options(tflite.Conv2DOptions), depthwise=False)

    def depthwise_conv(self, node: _Node) -> Compute:
        return self._conv(node, node.options(tflite.DepthwiseConv2DOptions), depthwise=True)

    def _conv(self, node: _Node, options: Any, depthwise: bool) -> Compute:
        _, height, width, channels = self._float_image(node)
        weight = self._constant(node, 1)
        # (filters, height, width, channels); depthwise, (1, height, width, filters).
        weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
        filters, group_channels, *kernel = weight.shape
        stride = (options.StrideH(), options.StrideW())
        dilation = (options.DilationHFactor(), options.DilationWFactor())
        bias = self._constant(node, 2) if len(node.inputs) > 2 else None
        module = PaddedConv2d(
            channels,
            filters,
            (kernel[0], kernel[1]),
            stride=stride,
            dilation=dilation,
            groups=channels // group_channels,
            bias=bias is not None,
        )
        extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        module.sides = _sides(options.Padding(), (height, width), extent, stride)
        self._add(node, module, weight, bias)
        activation = _activation(node, options)

        def compute(values: Values) -> torch.Tensor:
            return activation(module(values[0].permute(0, 3, 1, 2)).permute(0, 2, 3, 1))

        return compute

    def fully_connected(self, node: _Node) -> Compute:
        options = node.options(tflite.FullyConnectedOptions)
        _expect(node, "weights_format", options.WeightsFormat(), 0)
        self._expect_float(node)
        weight = self._constant(node, 1)
        bias = self._constant(node, 2) if len(node.inputs) > 2 else None
        module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        self._add(node, module, weight, bias)
        activation = _activation(node, options)
        keep = options.KeepNumDims()

        def compute(values: Values) -> torch.Tensor:
            value = values[0] if keep else values[0].reshape(-1, module.in_features)
            return activation(module(value))

        return compute

    def average_pool(self, node: _Node) -> Compute:
        kernel, stride, sides, activation = self._pool(node)
        top, left, bottom, right = sides

        def compute(values: Values) -> torch.Tensor:
            # What lies outside of the image does not count towards the average.
            image = values[0].permute(0, 3, 1, 2)
            ones = torch.ones_like(image[:1, :1])
            total, count = (
                functional.avg_pool2d(
                    functional.pad(part, (left, right, top, bottom)),
                    kernel,
                    stride,
                    divisor_override=1,
                )
                for part in (image, ones)
            )
            return activation((total / count).permute(0, 2, 3, 1))

        return compute

    def max_pool(self, node: _Node) -> Compute:
        kernel, stride, sides, activation = self._pool(node)
        top, left, bottom, right = sides

        def compute(values: Values) -> torch.Tensor:
            image = values[0].permute(0, 3, 1, 2)
            image = functional.pad(image, (left, right, top, bottom), value=-torch.inf)
            return activation(functional.max_pool2d(image, kernel, stride).permute(0, 2, 3, 1))

        return compute

    def _pool(
        self, node: _Node
    ) -> tuple[
        tuple[int, int],
        tuple[int, int],
        tuple[int, int, int, int],
        Callable[[torch.Tensor], torch.Tensor],
    ]:
        options = node.options(tflite.Pool2DOptions)
        _, height, width, _ = self._float_image(node)
        kernel = (options.FilterHeight(), options.FilterWidth())
        stride = (options.StrideH(), options.StrideW())
        sides = _sides(options.Padding(), (height, width), kernel, stride)
        return kernel, stride, sides, _activation(node, options)

    def mean(self, node: _Node) -> Compute:
        keep = bool(node.options(tflite.ReducerOptions).KeepDims())
        axes = tuple(int(axis) for axis in np.atleast_1d(self._constant(node, 1)))
        return lambda values: values[0].mean(dim=axes, keepdim=keep)

    def pad(self, node: _Node) -> Compute:
        # PyTorch lists the last axis first.
        amounts = self._constant(node, 1)[::-1].reshape(-1).tolist()
        return lambda values: functional.pad(values[0], amounts)

    def reshape(self, node: _Node) -> Compute:
        # A graph for one input serves several, which stay apart along the first axis.
        shape = self.tensors[node.output].shape
        apart = self.tensors[node.inputs[0]].shape[:1] == shape[:1]
        return lambda values: values[0].reshape(len(values[0]) if apart else -1, *shape[1:])

    def concatenation(self, node: _Node) -> Compute:
        options = node.options(tflite.ConcatenationOptions)
        axis = options.Axis()
        activation = _activation(node, options)
        return lambda values: activation(torch.cat(values, dim=axis))

    def dequantize(self, node: _Node) -> None:
        _expect_kind(node, self.tensors[node.inputs[0]].kind, tflite.TensorType.FLOAT16)
        self.constants[node.output] = self._constant(node, 0).astype(np.float32)

    def _constant(self, node: _Node, position: int) -> NDArray[Any]:
        tensor = node.inputs[position]
        if tensor not in self.constants:
            raise DystaError(
                f"{node}: input {self.tensors[tensor].name!r} is not a constant of floats or "
                "32-bit integers; expected one"
            )
        return self.constants[tensor]

    def _expect_float(self, node: _Node) -> None:
        _expect_kind(node, self.tensors[node.inputs[0]].kind, tflite.TensorType.FLOAT32)

    def _float_image(self, node: _Node) -> tuple[int, ...]:
        """The shape of the operator's first input, which must be an image."""
        self._expect_float(node)
        shape = self.tensors[node.inputs[0]].shape
        _expect(node, "axes of the input", len(shape), 4)
        return shape

    def _add(
        self,
        node: _Node,
        module: nn.Conv2d | nn.Linear,
        weight: NDArray[Any],
        bias: NDArray[Any] | None,
    ) -> None:
        weight = np.ascontiguousarray(weight, np.float32)
        module.weight = nn.Parameter(torch.from_numpy(weight), requires_grad=False)
        if bias is not None:
            bias = np.array(bias, np.float32)
            module.bias = nn.Parameter(torch.from_numpy(bias), requires_grad=False)
        name = _layer_name(self.tensors[node.inputs[1]].name, node.output_name)
        unique, k = name, 2
        while unique in self.layers:
            unique, k = f"{name}_{k}", k + 1
        self.layers[unique] = module


def _sides(
    padding: int, size: Sequence[int], extent: Sequence[int], stride: Sequence[int]
) -> tuple[int, int, int, int]:
    """Padding of a window, (top, left, bottom, right); where it is uneven, the end has more."""
    if padding == tflite.Padding.VALID:
        return 0, 0, 0, 0
    (top, bottom), (left, right) = (
        same_sides(*axis) for axis in zip(size, extent, stride, strict=True)
    )
    return top, left, bottom, right


def _activation(node: _Node, options: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function that the file has merged into the operator."""
    if options is None:  # a file may leave out what is all default
        return _ACTIVATIONS[tflite.ActivationFunctionType.NONE]
    number = options.FusedActivationFunction()
    _expect(node, "fused_activation_function", number, *_ACTIVATIONS)
    return _ACTIVATIONS[number]


def _expect(node: _Node, field: str, value: object, *allowed: object) -> None:
    if value not in allowed:
        raise DystaError(
            f"{node}: {field} is {value!r}; expected {' or '.join(map(repr, allowed))}"
        )


def _expect_kind(node: _Node, kind: int, expected: int) -> None:
    names = {value: name for name, value in vars(tflite.TensorType).items()}
    _expect(node, "type of the input", names.get(kind, kind), names[expected])


def _layer_name(weight_name: str, output_name: str) -> str:
    """The last two parts of the path of the layer whose weights and output have these names.

    A converter that merges layers joins their paths by semicolons, the weights' in any order, and
    also those of other layers that share a constant. The layer's own is the one that is most like
    the first path of its output: there, only the last part is what was merged.
    """
    paths = [path.split("/") for path in weight_name.removesuffix("_dequantize").split(";")]
    output = output_name.split(";")[0].split("/")

    def alike(path: list[str]) -> tuple[bool, int]:
        common = 0
        while common < min(len(path), len(output)) - 1 and path[common] == output[common]:
            common += 1
        return re.match("FusedBatchNorm", path[-1]) is None, common

    path = max(paths, key=alike)
    # The weights' own last part is what is done with them: Conv2D.
    return "/".join(path[:-1][-2:] or path).replace(".", "_") or "layer"  # no dot in module names


def _elementwise(function: Callable[..., torch.Tensor], options: type[Any] | None = None) -> Any:
    """An operator that is one PyTorch function of its inputs, and perhaps an activation."""

    def build(builder: _Builder, node: _Node) -> Compute:
        builder._expect_float(node)
        activation = _activation(node, None if options is None else node.options(options))
        return lambda values: activation(function(*values))

    return build


OPERATORS: dict[str, Callable[[_Builder, _Node], Compute | None]] = {
    "ADD": _elementwise(torch.add, tflite.AddOptions),
    "AVERAGE_POOL_2D": _Builder.average_pool,
    "CONCATENATION": _Builder.concatenation,
    "CONV_2D": _Builder.conv,
    "DEPTHWISE_CONV_2D": _Builder.depthwise_conv,
    "DEQUANTIZE": _Builder.dequantize,
    "FULLY_CONNECTED": _Builder.fully_connected,
    "LOGISTIC": _elementwise(torch.sigmoid),
    "MAX_POOL_2D": _Builder.max_pool,
    "MEAN": _Builder.mean,
    "MUL": _elementwise(torch.mul, tflite.MulOptions),
    "PAD": _Builder.pad,
    "RELU": _elementwise(torch.relu),
    "RELU6": _elementwise(functional.relu6),
    "RESHAPE": _Builder.reshape,
}
