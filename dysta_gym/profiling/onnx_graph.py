"""Plain ONNX graphs of convolutional networks as PyTorch modules.

Every convolution and every product with constant weights becomes an `nn.Conv2d` or an `nn.Linear`
of its own, so that a network from an ONNX file is profiled and pruned like any other. Whatever a
graph contains beyond `OPERATORS` is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from dysta_gym.errors import DystaError
from dysta_gym.profiling.padding import PaddedConv2d

Values = list[torch.Tensor]


@dataclass(frozen=True)
class _Step:
    """One node: what it computes, from which values, and into which."""

    compute: Callable[[Values], torch.Tensor]
    inputs: tuple[str, ...]
    output: str
    last_use: tuple[str, ...] = ()  # values that no later step needs


class OnnxNetwork(nn.Module):
    """An ONNX graph with one input and one output, whose weights are modules in `layers`.

    `input_shape` is what the file declares, None where an axis is free.
    """

    input_shape: tuple[int | None, ...]

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        graph = model.graph
        domains = {item.domain: item.version for item in model.opset_import}
        constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        inputs = [item for item in graph.input if item.name not in constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise DystaError(
                f"the graph has {len(inputs)} inputs and {len(graph.output)} outputs; "
                "expected one of each"
            )
        self.input_shape = tuple(
            axis.dim_value or None for axis in inputs[0].type.tensor_type.shape.dim
        )
        self._input = inputs[0].name
        self._output = graph.output[0].name
        self.layers = nn.ModuleDict()

        builder = _Builder(constants, domains.get("", 0), self.layers)
        steps: list[_Step] = []
        for node in graph.node:
            if node.op_type == "Constant":
                (attribute,) = node.attribute
                if attribute.name != "value":
                    raise DystaError(f"{_where(node)}: no {attribute.name}; expected value")
                constants[node.output[0]] = numpy_helper.to_array(attribute.t)
                continue
            build = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if build is None:
                raise DystaError(
                    f"{_where(node)}: the operator is unknown; expected one of "
                    f"{', '.join(sorted(OPERATORS))}"
                )
            if len([name for name in node.output if name]) != 1:
                raise DystaError(f"{_where(node)}: {len(node.output)} outputs; expected 1")
            layers = len(self.layers)
            compute = build(builder, node)
            # A layer has its weights already, and takes its one activation.
            taken = node.input[:1] if len(self.layers) > layers else node.input
            steps.append(_Step(compute, tuple(name for name in taken if name), node.output[0]))
        self._constants: dict[str, torch.Tensor] = {}
        known = {self._input}
        for step in steps:
            for name in step.inputs:
                if name in constants:
                    self._constants[name] = _tensor(constants[name])
                elif name not in known:
                    raise DystaError(f"the graph uses {name!r} before it is computed")
            known.add(step.output)
        if self._output not in known:
            raise DystaError(f"the graph's output {self._output!r} is never computed")
        self._steps = _with_last_uses(steps, keep={self._output, *constants})

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Compute the graph's output from its input."""
        values = {**self._constants, self._input: input}
        for step in self._steps:
            values[step.output] = step.compute([values[name] for name in step.inputs])
            for name in step.last_use:
                del values[name]
        return values[self._output]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        # Shapes stay where they are computed with.
        self._constants = {
            name: fn(value) if value.is_floating_point() else value
            for name, value in self._constants.items()
        }
        return super()._apply(fn, recurse)


def load_onnx(path: Path) -> OnnxNetwork:
    """Read a convolutional network from an ONNX file, in evaluation mode.

    Raises DystaError if there is no such file, if it is not an ONNX file, or for an operator or an
    option of one that is not supported.
    """
    try:
        model = onnx.load(path)
    except FileNotFoundError:
        raise DystaError(f"path is {path}; expected an ONNX file, but there is none") from None
    except Exception as error:  # protobuf's errors have no common base class
        raise DystaError(f"path is {path}; expected an ONNX file: {error}") from error
    network = OnnxNetwork(model)
    network.eval()
    return network


def _with_last_uses(steps: list[_Step], keep: set[str]) -> list[_Step]:
    """Note where each value is used for the last time, so that memory is freed early."""
    seen = set(keep)
    annotated = []
    for step in reversed(steps):
        used = dict.fromkeys((*step.inputs, step.output))
        done = tuple(name for name in used if name not in seen)
        seen.update(done)
        annotated.append(_Step(step.compute, step.inputs, step.output, done))
    return annotated[::-1]


def _where(node: onnx.NodeProto) -> str:
    return f"node {node.name or node.output[0]!r} ({node.op_type})"


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _attributes(node: onnx.NodeProto, **defaults: Any) -> dict[str, Any]:
    """The node's attributes over their defaults; one that is not named there is an error."""
    found = dict(defaults)
    for attribute in node.attribute:
        if attribute.name not in defaults:
            raise DystaError(f"{_where(node)}: attribute {attribute.name} is not supported")
        value = onnx.helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _window(node: onnx.NodeProto, **defaults: Any) -> dict[str, Any]:
    """The attributes of an operator that slides a window, with its padding spelled out."""
    window = {"kernel_shape": None, "strides": [1, 1], "pads": [0, 0, 0, 0], "auto_pad": "NOTSET"}
    options = _attributes(node, **window, **defaults)
    _expect(node, "auto_pad", options["auto_pad"], "NOTSET")
    return options


def _expect(node: onnx.NodeProto, field: str, value: object, *allowed: object) -> None:
    if value not in allowed:
        raise DystaError(
            f"{_where(node)}: {field} is {value!r}; expected {' or '.join(map(repr, allowed))}"
        )


@dataclass
class _Builder:
    """Turns nodes into functions; one method an operator, or a few that differ by a function."""

    constants: dict[str, np.ndarray[Any, Any]]
    opset: int
    layers: nn.ModuleDict

    def conv(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        options = _window(node, dilations=[1, 1], group=1)
        weight = self._constant(node, 1)
        bias = self._constant(node, 2) if len(node.input) > 2 and node.input[2] else None
        if weight.ndim != 4:
            raise DystaError(f"{_where(node)}: the weight has {weight.ndim} axes; expected 4")
        module = PaddedConv2d(
            weight.shape[1] * options["group"],
            weight.shape[0],
            (weight.shape[2], weight.shape[3]),
            stride=tuple(options["strides"]),
            dilation=tuple(options["dilations"]),
            groups=options["group"],
            bias=bias is not None,
        )
        top, left, bottom, right = options["pads"]
        module.sides = (top, left, bottom, right)
        return self._layer(node, module, weight, bias)

    def matmul(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        _attributes(node)
        if node.input[1] not in self.constants:
            return lambda values: values[0] @ values[1]
        weight = self._constant(node, 1)
        _expect(node, "axes of the weight", weight.ndim, 2)
        return self._linear(node, weight.T, None)

    def gemm(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        options = _attributes(node, alpha=1.0, beta=1.0, transA=0, transB=0)
        for field, value in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
            _expect(node, field, options[field], value)
        weight = self._constant(node, 1)
        bias = self._constant(node, 2) if len(node.input) > 2 and node.input[2] else None
        weight = weight if options["transB"] else weight.T
        if bias is not None:
            bias = np.broadcast_to(bias, (1, weight.shape[0]))[0]
        return self._linear(node, weight, bias)

    def batch_norm(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        options = _attributes(node, epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1)
        _expect(node, "training_mode", options["training_mode"], 0)
        _expect(node, "spatial", options["spatial"], 1)
        epsilon = options["epsilon"]
        return lambda values: functional.batch_norm(
            values[0], values[3], values[4], values[1], values[2], eps=epsilon
        )

    def max_pool(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        options = _window(node, dilations=[1, 1], ceil_mode=0, storage_order=0)
        _expect(node, "ceil_mode", options["ceil_mode"], 0)
        top, left, bottom, right = options["pads"]
        kernel, stride = tuple(options["kernel_shape"]), tuple(options["strides"])
        dilation = tuple(options["dilations"])

        def compute(values: Values) -> torch.Tensor:
            padded = functional.pad(values[0], (left, right, top, bottom), value=-torch.inf)
            return functional.max_pool2d(padded, kernel, stride, dilation=dilation)

        return compute

    def average_pool(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        options = _window(node, ceil_mode=0, count_include_pad=0)
        _expect(node, "ceil_mode", options["ceil_mode"], 0)
        _expect(node, "pads", list(options["pads"]), [0, 0, 0, 0])
        kernel, stride = tuple(options["kernel_shape"]), tuple(options["strides"])
        return lambda values: functional.avg_pool2d(values[0], kernel, stride)

    def global_average_pool(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        _attributes(node)
        return lambda values: values[0].mean(dim=(2, 3), keepdim=True)

    def clip(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        options = _attributes(node, min=None, max=None)
        bounds = [options["min"], options["max"]]
        for position in (1, 2):
            if len(node.input) > position and node.input[position]:
                bounds[position - 1] = float(self._constant(node, position))
        low, high = bounds
        return lambda values: values[0].clamp(low, high)

    def softmax(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        # Before version 13 the axes from `axis` on are normalised together.
        axis = _attributes(node, axis=-1 if self.opset >= 13 else 1)["axis"]
        together = self.opset < 13

        def compute(values: Values) -> torch.Tensor:
            if together and axis % values[0].dim() != values[0].dim() - 1:
                raise DystaError(f"{_where(node)}: axis is {axis}; expected the last one")
            return values[0].softmax(axis)

        return compute

    def flatten(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        _expect(node, "axis", _attributes(node, axis=1)["axis"], 1)
        return lambda values: values[0].flatten(1)

    def transpose(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        order = _attributes(node, perm=None)["perm"]
        return lambda values: values[0].permute(*(order or range(values[0].dim() - 1, -1, -1)))

    def reshape(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        _expect(node, "allowzero", _attributes(node, allowzero=0)["allowzero"], 0)

        def compute(values: Values) -> torch.Tensor:
            old = values[0].shape
            new = [int(size) or old[axis] for axis, size in enumerate(values[1])]
            return values[0].reshape(new)

        return compute

    def shape(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        _attributes(node)
        return lambda values: torch.tensor(values[0].shape)

    def gather(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        _expect(node, "axis", _attributes(node, axis=0)["axis"], 0)
        return lambda values: values[0][values[1]]

    def slice(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        _attributes(node)
        if not 3 <= len(node.input) <= 5:
            raise DystaError(f"{_where(node)}: {len(node.input)} inputs; expected 3 to 5")
        bounds = [self._constant(node, k).tolist() for k in range(1, len(node.input))]
        starts, ends = bounds[:2]
        axes = bounds[2] if len(bounds) > 2 else list(range(len(starts)))
        steps = bounds[3] if len(bounds) > 3 else [1] * len(starts)
        for step in steps:
            if step < 1:
                raise DystaError(f"{_where(node)}: step is {step}; expected 1 or more")

        def compute(values: Values) -> torch.Tensor:
            index = [slice(None)] * values[0].dim()
            for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
                index[axis] = slice(start, end, step)
            return values[0][tuple(index)]

        return compute

    def concat(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        axis = _attributes(node, axis=None)["axis"]
        return lambda values: torch.cat(values, dim=axis)

    def cast(self, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        target = _attributes(node, to=None, saturate=1)["to"]
        kinds = {
            onnx.TensorProto.FLOAT: torch.float32,
            onnx.TensorProto.INT32: torch.int32,
            onnx.TensorProto.INT64: torch.int64,
        }
        _expect(node, "to", target, *kinds)
        return lambda values: values[0].to(kinds[target])

    def _constant(self, node: onnx.NodeProto, position: int) -> np.ndarray[Any, Any]:
        name = node.input[position]
        if name not in self.constants:
            raise DystaError(f"{_where(node)}: input {name!r} is computed; expected a constant")
        return self.constants[name]

    def _linear(
        self,
        node: onnx.NodeProto,
        weight: np.ndarray[Any, Any],
        bias: np.ndarray[Any, Any] | None,
    ) -> Callable[[Values], torch.Tensor]:
        module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        return self._layer(node, module, weight, bias)

    def _layer(
        self,
        node: onnx.NodeProto,
        module: nn.Conv2d | nn.Linear,
        weight: np.ndarray[Any, Any],
        bias: np.ndarray[Any, Any] | None,
    ) -> Callable[[Values], torch.Tensor]:
        module.weight = nn.Parameter(_tensor(weight), requires_grad=False)
        if bias is not None:
            module.bias = nn.Parameter(_tensor(bias), requires_grad=False)
        self.layers[_layer_name(node, set(self.layers))] = module
        return lambda values: module(values[0])


def _layer_name(node: onnx.NodeProto, taken: set[str]) -> str:
    """The node's own name without what converters wrap around it, and unlike those `taken`."""
    # Where the converter has only numbered a node, its output still has a name.
    numbered = re.fullmatch(rf"{node.op_type}_*[0-9]*", node.name)
    path = node.output[0].split(":")[0] if numbered else node.name
    wrappers = {"BiasAdd", "MatMul", "Conv", "Conv2D", "FusedBatchNormV3", "Gemm"}
    parts = [part for part in path.split("/") if part and part not in wrappers]
    # A module's name takes no dot.
    name = (parts[-1] if parts else node.op_type).replace(".", "_")
    unique, k = name, 2
    while unique in taken:
        unique, k = f"{name}_{k}", k + 1
    return unique


def _same(function: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    """An operator without options that is one PyTorch function of its inputs."""

    def build(builder: _Builder, node: onnx.NodeProto) -> Callable[[Values], torch.Tensor]:
        if builder.opset < 7 and len(node.input) > 1:
            raise DystaError(f"{_where(node)}: operator set {builder.opset}; expected 7 or later")
        _attributes(node)
        return lambda values: function(*values)

    return build


OPERATORS: dict[str, Callable[[_Builder, onnx.NodeProto], Callable[[Values], torch.Tensor]]] = {
    "Add": _same(torch.add),
    "AveragePool": _Builder.average_pool,
    "BatchNormalization": _Builder.batch_norm,
    "Cast": _Builder.cast,
    "Clip": _Builder.clip,
    "Concat": _Builder.concat,
    "Conv": _Builder.conv,
    "Flatten": _Builder.flatten,
    "Gather": _Builder.gather,
    "Gemm": _Builder.gemm,
    "GlobalAveragePool": _Builder.global_average_pool,
    "Identity": _same(lambda value: value),
    "MatMul": _Builder.matmul,
    "MaxPool": _Builder.max_pool,
    "Mul": _same(torch.mul),
    "Relu": _same(torch.relu),
    "Reshape": _Builder.reshape,
    "Shape": _Builder.shape,
    "Sigmoid": _same(torch.sigmoid),
    "Slice": _Builder.slice,
    "Softmax": _Builder.softmax,
    "Sub": _same(torch.sub),
    "Transpose": _Builder.transpose,
}
