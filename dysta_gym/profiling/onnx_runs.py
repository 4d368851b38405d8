"""Any ONNX file, run by ONNX Runtime: what enters its layers, and what its attention attends to.

The tensors in question are made outputs of the graph, which is otherwise run as it is, unoptimised.

- Layers are the operators Conv, Gemm and MatMul with weights that do not depend on the input.
- Attention is a Softmax over the last axis, of scores that a product of two activations has made
  and that are the left factor of another one; or the operator Attention of ONNX 23.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from dysta_gym.errors import DystaError, shown
from dysta_gym.lazy import cached_property
from dysta_gym.operations import NetworkShapes
from dysta_gym.profiling import fused_attention
from dysta_gym.profiling.cnn import Counter
from dysta_gym.profiling.finite import check_finite
from dysta_gym.profiling.found_attention import Attention, attention, check_scores
from dysta_gym.profiling.own_inputs import GraphInput, describe, fitting
from dysta_gym.profiling.shapes import Product, shapes_of_products
from dysta_gym.provenance import file_digest

PLUMBING = frozenset(
    {
        *("ArgMax", "And", "Cast", "CastLike", "Concat", "Constant", "ConstantOfShape", "Cos"),
        *("Dropout", "Equal", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
        *("Greater", "GreaterOrEqual", "Identity", "IsNaN", "Less", "LessOrEqual", "NonZero"),
        *("Not", "OneHot", "Or", "Pad", "Range", "Reshape", "ScatterElements", "ScatterND"),
        *("Shape", "Sin", "Size", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Trilu"),
        *("Unsqueeze", "Where"),
    }
)
"""Operators that move values and compute none to speak of."""

_WEIGHTED = ("Conv", "FusedConv", "Gemm", "MatMul")
_PRODUCTS = ("MatMul", "Gemm", "Einsum", "FusedMatMul")
_BEFORE = frozenset(
    {
        *("Add", "Cast", "Clip", "Div", "Dropout", "Expand", "Identity", "Max", "Min", "Mul"),
        *("Neg", "Reshape", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where"),
    }
)
"""What may stand between a product and the softmax of it."""

_AFTER = frozenset(
    {
        *("Cast", "Dropout", "Identity", "Mul", "Reshape", "Squeeze", "Unsqueeze", "Where"),
    }
)
"""What may stand between a softmax and the product with the values."""

_LIMIT = 2**31 - 2**20
"""Bytes of a graph that are handed over: protobuf takes 2 GiB."""


class _Layer(NamedTuple):
    """A Conv, Gemm or MatMul: the tensors that it takes, and the node."""

    name: str
    activations: str
    weights: str
    node: Any
    left: bool = False  # whether the weights are the left factor of a MatMul


class _Softmax(NamedTuple):
    """An attention: its operator, and the tensors of its probabilities and of one a head wide.

    They are empty where the operator keeps them to itself.
    """

    name: str
    node: Any
    probability: str = ""
    values: str = ""
    heads: int | None = None  # of which `values` has all in its last axis
    scores: str = ""  # what a Softmax is of


class Graph:
    """An ONNX file that can be run.

    Attributes:
        path: The file.
        inputs: Its inputs.
        opset: Version of its operators.
        sha256: Of the file.

    Raises:
        DystaError: If it is no ONNX file, has no inputs or some that are no tensors, or an operator
            takes what there is not.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._where = f"model {str(path)!r}"
        try:
            # Large weights may be in files beside it; they are read where they are needed.
            model = onnx.load(self.path, load_external_data=False)
            if model.functions:
                model = onnx.inliner.inline_local_functions(model)
        except FileNotFoundError:
            raise DystaError(f"{self._where} does not exist") from None
        except IsADirectoryError:
            raise DystaError(f"{self._where} is a folder; expected an ONNX file") from None
        except Exception as error:  # protobuf's errors have no common base class
            raise DystaError(f"{self._where} is not an ONNX file ({_told(error)})") from None
        if not model.graph.node:
            raise DystaError(f"{self._where} is not an ONNX file, or a graph without operators")
        self.sha256 = file_digest(self.path)
        self.opset = max(
            (each.version for each in model.opset_import if not each.domain), default=1
        )
        self._model = model
        self._weights = {each.name: each for each in model.graph.initializer}
        self.inputs = tuple(
            self._input(each) for each in model.graph.input if each.name not in self._weights
        )
        if not self.inputs:
            raise DystaError(f"{self._where} takes no input; expected a network with one or more")
        self._nodes = list(model.graph.node)
        self._made_by = {name: node for node in self._nodes for name in node.output}
        self._used_by: dict[str, list[Any]] = {}
        for node in self._nodes:
            for name in node.input:
                self._used_by.setdefault(name, []).append(node)
        self._check_made()
        self._dynamic = self._find_dynamic()
        self._layers = tuple(self._find_layers())
        self._softmaxes = tuple(self._find_softmaxes())
        known = {id(each.node) for each in self._softmaxes}
        self._hidden = [
            node.op_type
            for node in self._nodes
            if node.op_type.endswith("Attention") and id(node) not in known
        ]
        self._arrays: dict[str, NDArray[Any]] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._sessions: dict[tuple[str, ...], Any] = {}

    @property
    def layers(self) -> int:
        """Convolutions and fully connected layers."""
        return len(self._layers)

    @property
    def attentions(self) -> int:
        """Attention layers, those that cannot be looked into among them."""
        return len(self._softmaxes) + len(self._hidden)

    def uncharged(self, accelerator: str) -> list[str]:
        """The kinds of operators that an accelerator does not charge, in the order of the graph."""
        if accelerator == "sanger":  # which charges an attention with its four projections
            charged = {id(node) for each in self._softmaxes for node in self._around(each)}
        else:
            charged = {id(layer.node) for layer in self._layers}
        kinds = [
            self._kind(node)
            for node in self._nodes
            if id(node) not in charged and node.op_type not in PLUMBING
            and any(name in self._dynamic for name in node.output)
        ]  # fmt: skip
        return list(dict.fromkeys(kinds))

    @property
    def unmeasured(self) -> list[str]:
        """The kinds of operators with weights that are no layers here."""
        layers = {id(layer.node) for layer in self._layers}
        kinds = [
            self._kind(node)
            for node in self._nodes
            if node.op_type in (*_PRODUCTS, "ConvTranspose") and id(node) not in layers
            and sum(name in self._dynamic for name in node.input[:2]) == 1
        ]  # fmt: skip
        return list(dict.fromkeys(kinds))

    def _kind(self, node: Any) -> str:
        """What the kind of an operator is called."""
        given = [] if node.op_type != "MatMul" else [each for each in node.input if each]
        axes = [
            len(self._weights[name].dims)
            for name in given
            if name in self._weights and not self._is_matrix(name)
        ]
        return f"MatMul (weights with {axes[0]} axes)" if axes else str(node.op_type)

    def check(self, accelerator: str) -> None:
        """See that nothing that the accelerator charges is out of reach, and weights are finite.

        Raises:
            DystaError: If a layer is in the body of an If, Loop or Scan, or a weight is not finite.
        """
        for node in self._nodes:
            for inner in _within(node):
                kind = inner.op_type
                attends = kind == "Softmax" or kind.endswith("Attention")
                if attends if accelerator == "sanger" else kind in _WEIGHTED:
                    raise DystaError(
                        f"{self._where}: {_name(node)} is an operator {node.op_type} with a {kind} "
                        "in its body, which cannot be looked into; export the network without "
                        "branches and loops"
                    )
        if accelerator == "sanger":  # else they are looked at when they are counted
            for layer in self._layers:
                if layer.weights in self._weights:
                    what = f"{self._where}: layer {layer.name}: its weight"
                    check_finite(self._read(layer.weights), what)

    def count(self, given: Any, counter: Counter) -> None:
        """Run it on an input, and have each layer counted."""
        feeds = self._feeds(given)
        wanted = {layer.activations for layer in self._layers}
        wanted |= {each.weights for each in self._layers if self._is_computed(each.weights)}
        values = self._run(feeds, sorted(wanted))
        for layer in self._layers:
            weights = (
                values[layer.weights] if layer.weights in values else self._array(layer.weights)
            )
            self._count(layer, values[layer.activations], weights, counter)

    def attention(self, given: Any) -> list[Attention]:
        """Run it on an input; its attention layers in the order of the graph."""
        if self._hidden:
            raise DystaError(
                f"{self._where}: the operator {self._hidden[0]} keeps its attention to itself; "
                "export the network without fused operators"
            )
        feeds = self._feeds(given)
        wanted = {
            name
            for each in self._softmaxes
            for name in ((each.probability, each.values) if each.probability else each.node.input)
        }
        wanted |= {name for each in self._dense() for name in (each.activations, each.weights)}
        values = self._run(feeds, sorted(wanted - set(self._weights) - {""}))
        self._check_attention(feeds, values)
        self._sizes = {name: array.shape for name, array in values.items()}
        return [
            attention(each.name, *self._probabilities(each, values)) for each in self._softmaxes
        ]

    def _check_attention(
        self, feeds: Mapping[str, NDArray[Any]], values: Mapping[str, NDArray[Any]]
    ) -> None:
        """See that what it attends by are numbers, but where all scores are hidden."""
        lost = []
        for each in self._softmaxes:
            where = f"{self._where}: {each.name}"
            if each.scores:
                probability = values[each.probability]
                self._check_axis(each, probability.ndim)
                if np.isnan(probability).any():
                    lost.append(each)
            elif not each.probability or np.isnan(values[each.probability]).any():
                for name in each.node.input[:3]:  # before masks
                    if name in values:
                        check_finite(values[name], f"{where}: its input {name}")
                    elif name in self._weights:
                        check_finite(self._array(name), f"{where}: its weight {name}")
        if lost:
            scores = self._run(feeds, sorted({each.scores for each in lost}))
            for each in lost:
                where = f"{self._where}: {each.name}"
                check_scores(scores[each.scores], values[each.probability], where)

    def _probabilities(
        self, each: _Softmax, values: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[Any], int]:
        """What an attention attends to, and the width of a head."""
        if each.probability:
            return values[each.probability], values[each.values].shape[-1] // (each.heads or 1)
        given = [
            None if not name else values[name] if name in values else self._array(name)
            for name in each.node.input
        ]
        options = {one.name: helper.get_attribute_value(one) for one in each.node.attribute}
        return fused_attention.probabilities(each.name, each.node.op_type, options, given)

    def network_shapes(self, heads: int, width: int) -> NetworkShapes | None:
        """Those of its blocks, if they are alike; after it has run."""
        products: dict[int, Product | None] = {}
        places = {id(node): place for place, node in enumerate(self._nodes)}
        for softmax in self._softmaxes:
            products[places[id(softmax.node)]] = None
        for layer in self._dense():
            given = self._sizes[layer.activations]
            known = self._weights.get(layer.weights)
            sizes = tuple(known.dims) if known is not None else self._sizes[layer.weights]
            options = {each.name: each.i for each in layer.node.attribute}
            inputs, outputs = sizes[-2:] if not options.get("transB") else sizes[::-1]
            rows = int(np.prod(given)) // inputs
            products[places[id(layer.node)]] = Product(rows, inputs, outputs)
        return shapes_of_products([products[place] for place in sorted(products)], heads, width)

    def _dense(self) -> list[_Layer]:
        return [each for each in self._layers if each.node.op_type in ("MatMul", "Gemm")]

    # --- what is in the graph --------------------------------------------------------------------

    def _input(self, value: Any) -> GraphInput:
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or kind.elem_type == onnx.TensorProto.STRING:
            raise DystaError(f"{self._where}: input {value.name!r} is no tensor of numbers")
        if not kind.HasField("shape"):
            raise DystaError(
                f"{self._where}: input {value.name!r} has no shape; export it with one"
            )
        shape = tuple(
            axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None
            for axis in kind.shape.dim
        )
        return GraphInput(value.name, shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))

    def _check_made(self) -> None:
        """See that all that operators take is there."""
        there = {each.name for each in self.inputs} | set(self._weights) | set(self._made_by)
        there |= {each.values.name for each in self._model.graph.sparse_initializer} | {""}
        for node in self._nodes:
            for name in node.input:
                if name not in there:
                    raise DystaError(
                        f"{self._where}: the operator {node.op_type} {_name(node)} takes "
                        f"{shown(name)}, which is no input, no weight, and made by no operator"
                    )

    def _find_dynamic(self) -> set[str]:
        """Tensors that depend on the input."""
        dynamic = {each.name for each in self.inputs}
        for node in self._nodes:
            nested = any(each.type == onnx.AttributeProto.GRAPH for each in node.attribute)
            if nested or any(name in dynamic for name in node.input):
                dynamic.update(name for name in node.output if name)
        return dynamic

    def _find_layers(self) -> Iterator[_Layer]:
        for node in self._nodes:
            if node.op_type not in _WEIGHTED or len(node.input) < 2:
                continue
            first, second = node.input[:2]
            if first in self._dynamic and second not in self._dynamic:
                if node.op_type not in ("MatMul", "Gemm") or self._is_matrix(second):
                    yield _Layer(_name(node, second), first, second, node)
            elif (
                node.op_type == "MatMul"
                and first not in self._dynamic
                and second in self._dynamic
                and self._is_matrix(first)
            ):
                yield _Layer(_name(node, first), second, first, node, left=True)

    def _is_matrix(self, name: str) -> bool:
        """Whether weights are known to be a matrix, or nothing is known of them."""
        if name not in self._weights:
            return True
        sizes = self._weights[name].dims
        return len(sizes) >= 2 and all(size == 1 for size in sizes[:-2])

    def _find_softmaxes(self) -> Iterator[_Softmax]:
        for node in self._nodes:
            if (
                node.op_type == "Softmax"
                and self._of_scores(node.input[0])
                and self._is_over_the_last(node)
            ):
                product = self._product_after(node.output[0])
                if product is not None:
                    operands = [name for name in product.input if name in self._dynamic]
                    yield _Softmax(
                        _name(node), node, node.output[0], operands[1], scores=node.input[0]
                    )
            elif node.op_type == "Attention" and node.domain in ("", "ai.onnx"):
                yield self._fused(node)
            elif node.op_type in fused_attention.KINDS and node.domain == fused_attention.DOMAIN:
                yield _Softmax(_name(node), node)

    def _is_over_the_last(self, node: Any) -> bool:
        """Whether a Softmax is over the last axis, or has one of which that is not known."""
        axis = self._axis(node)
        if axis < 0:
            return axis == -1
        rank = self._ranks.get(node.input[0])
        return rank is None or axis == rank - 1

    def _axis(self, node: Any) -> int:
        """The axis of a Softmax; before opset 13, all that follow are with it."""
        given = [each.i for each in node.attribute if each.name == "axis"]
        return int(given[0]) if given else -1 if self.opset >= 13 else 1

    def _check_axis(self, each: _Softmax, rank: int) -> None:
        axis = self._axis(each.node)
        if axis not in (-1, rank - 1):
            raise DystaError(
                f"{self._where}: {each.name} is a softmax over axis {axis} of {rank}; expected "
                "the last one, as in attention"
            )

    @cached_property
    def _ranks(self) -> dict[str, int]:
        """How many axes tensors have, as far as it follows from the graph."""
        if self._model.ByteSize() > _LIMIT:
            return {}
        try:
            graph = onnx.shape_inference.infer_shapes(self._model).graph
        except Exception:  # it has no common base class for them; what is wrong shows in a run
            return {}
        return {
            each.name: len(each.type.tensor_type.shape.dim)
            for each in (*graph.input, *graph.value_info, *graph.output)
            if each.type.tensor_type.HasField("shape")
        }

    def _of_scores(self, name: str) -> bool:
        """Whether a tensor is a product of two activations, and little more."""
        seen: set[str] = set()
        ahead = [name]
        while ahead:
            name = ahead.pop()
            node = self._made_by.get(name)
            if node is None or name in seen or name not in self._dynamic or len(seen) > 64:
                continue
            seen.add(name)
            if node.op_type in _PRODUCTS:
                if sum(each in self._dynamic for each in node.input[:2]) == 2:
                    return True
            elif node.op_type in _BEFORE:
                ahead += node.input
        return False

    def _product_after(self, name: str) -> Any:
        """The product with another activation whose left factor a tensor is, if there is one."""
        ahead = [name]
        seen: set[str] = set()
        while ahead:
            name = ahead.pop()
            if name in seen:
                continue
            seen.add(name)
            for node in self._used_by.get(name, ()):
                if node.op_type in _PRODUCTS:
                    if node.input[0] == name and node.input[1] in self._dynamic:
                        return node
                elif node.op_type in _AFTER:
                    ahead += node.output
        return None

    def _fused(self, node: Any) -> _Softmax:
        """An operator Attention, made to say its probabilities, too."""
        while len(node.output) < 4:
            node.output.append("")
        if not node.output[3]:
            node.output[3] = f"{node.output[0]}.probabilities"
        kept = [each for each in node.attribute if each.name != "qk_matmul_output_mode"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("qk_matmul_output_mode", 3)])
        heads = {each.name: each.i for each in kept}.get("q_num_heads")
        return _Softmax(_name(node), node, node.output[3], node.output[0], heads=heads)

    def _around(self, each: _Softmax) -> list[Any]:
        """The operators of an attention and of its four projections, as far as they are found."""
        last = (each.probability and self._product_after(each.probability)) or each.node
        found = [each.node, last]
        self._up(found, [*each.node.input, *last.input])
        self._down(found, list(last.output[:1]))
        return found

    def _up(self, found: list[Any], ahead: list[str]) -> None:
        """Add what the scores and the values are made of, up to the projections."""
        seen: set[str] = set()
        while ahead:
            name = ahead.pop()
            node = self._made_by.get(name)
            if node is None or name in seen or name not in self._dynamic:
                continue
            seen.add(name)
            product = node.op_type in _PRODUCTS
            if product or node.op_type in _BEFORE:
                found.append(node)
            of_two = product and all(each in self._dynamic for each in node.input[:2])
            if of_two or node.op_type in _BEFORE or node.op_type in PLUMBING:
                ahead += node.input

    def _down(self, found: list[Any], ahead: list[str]) -> None:
        """Add the projection of what is attended to."""
        while ahead:
            for node in self._used_by.get(ahead.pop(), ()):
                if node.op_type in _PRODUCTS:
                    found.append(node)
                elif node.op_type in PLUMBING:
                    ahead += node.output

    # --- what it computes ------------------------------------------------------------------------

    def _feeds(self, given: Any) -> dict[str, NDArray[Any]]:
        if not isinstance(given, Mapping):
            if len(self.inputs) != 1 or isinstance(given, tuple | list):
                raise DystaError(
                    f"inputs: a {type(given).__name__} is given; expected a mapping from "
                    f"{', '.join(each.name for each in self.inputs)} to arrays"
                )
            given = {self.inputs[0].name: given}
        for each in self.inputs:
            if each.name not in given:
                raise DystaError(
                    f"inputs: {each.name!r} is missing; the network takes {describe(self.inputs)}"
                )
        return {name: fitting(self.inputs, name, array) for name, array in given.items()}

    def _is_computed(self, name: str) -> bool:
        """Whether weights are in no tensor of the file, but follow from some that are."""
        return name not in self._weights

    def _array(self, name: str) -> NDArray[Any]:
        """A tensor of the file."""
        if name not in self._arrays:
            self._arrays[name] = self._read(name)
        return self._arrays[name]

    def _read(self, name: str) -> NDArray[Any]:
        try:
            return numpy_helper.to_array(self._weights[name], str(self.path.parent))
        except Exception as error:
            raise DystaError(
                f"{self._where}: the weights {name!r} cannot be read ({_told(error)})"
            ) from None

    def _run(
        self, feeds: Mapping[str, NDArray[Any]], wanted: Collection[str]
    ) -> dict[str, NDArray[Any]]:
        """The tensors `wanted`, by name; those that are inputs as they were given."""
        made = [name for name in wanted if name not in feeds]
        try:
            if made and tuple(made) not in self._sessions:
                self._sessions[tuple(made)] = self._new_session(made)
            values = self._sessions[tuple(made)].run(made, dict(feeds)) if made else []
        except DystaError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise DystaError(f"{self._where} cannot be run: {_told(error)}") from None
        return {**{name: feeds[name] for name in wanted if name in feeds}, **dict(
            zip(made, values, strict=True)
        )}  # fmt: skip

    def _new_session(self, made: Sequence[str]) -> Any:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        there = {each.name for each in model.graph.output}
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in made if name not in there
        )
        if model.ByteSize() > _LIMIT:
            raise DystaError(
                f"{self._where} has {model.ByteSize()} bytes; export it with its weights in a file "
                "beside it (external data)"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path",
            str(self.path.parent.absolute()),
        )
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def _count(
        self, layer: _Layer, given: NDArray[Any], weights: NDArray[Any], counter: Counter
    ) -> None:
        node = layer.node
        options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type in ("Conv", "FusedConv"):
            if weights.ndim not in (3, 4):
                raise DystaError(
                    f"{self._where}: {layer.name} is a convolution over {weights.ndim - 2} axes; "
                    "expected 1 or 2"
                )
            self._see(counter, layer, given, weights, **_convolution(options, given, weights))
            return
        if weights.ndim < 2 or any(size != 1 for size in weights.shape[:-2]):
            raise DystaError(
                f"{self._where}: {layer.name} has weights of shape {weights.shape}; expected a "
                "matrix"
            )
        if node.op_type == "Gemm":
            given = given.T if options.get("transA") else given
            weights = weights if options.get("transB") else weights.T
        elif layer.left:
            given, weights = np.swapaxes(given, -1, -2), weights.reshape(weights.shape[-2:])
        else:
            weights = weights.reshape(weights.shape[-2:]).T
        self._see(counter, layer, given, weights)

    def _see(self, counter: Counter, layer: _Layer, *given: Any, **options: Any) -> None:
        """Have a layer counted; errors name the file, too."""
        try:
            counter.see(layer.name, *given, **options)
        except DystaError as error:
            raise type(error)(f"{self._where}: {error}") from None


def _within(node: Any) -> Iterator[Any]:
    """The operators in the bodies of one, and in theirs."""
    for each in node.attribute:
        for body in (each.g, *each.graphs):
            for inner in body.node:
                yield inner
                yield from _within(inner)


def _convolution(
    options: Mapping[str, Any], given: NDArray[Any], weights: NDArray[Any]
) -> dict[str, Any]:
    """The options of a convolution, as `Counter.see` takes them."""
    axes = weights.ndim - 2
    stride = tuple(options.get("strides", [1] * axes))
    dilation = tuple(options.get("dilations", [1] * axes))
    pads = list(options.get("pads", [0] * 2 * axes))
    automatic = options.get("auto_pad", b"NOTSET").decode()
    if automatic == "VALID":
        pads = [0] * 2 * axes
    elif automatic.startswith("SAME"):
        sizes = zip(given.shape[2:], weights.shape[2:], stride, dilation, strict=True)
        for axis, (size, kernel, step, apart) in enumerate(sizes):
            reach = (-(-size // step) - 1) * step + (kernel - 1) * apart + 1
            less, more = max(reach - size, 0) // 2, (max(reach - size, 0) + 1) // 2
            before = less if automatic == "SAME_UPPER" else more
            pads[axis], pads[axis + axes] = before, less + more - before
    return {
        "stride": stride,
        "padding": tuple(pads),
        "dilation": dilation,
        "groups": options.get("group", 1),
    }


def _name(node: Any, weights: str = "") -> str:
    """What a layer is called: after its weights, as PyTorch does, or after the node."""
    if weights.endswith(".weight"):
        return weights.removesuffix(".weight").replace("#", "_")
    parts = [part for part in node.name.split("/") if part]
    if len(parts) > 1 and parts[-1].startswith(node.op_type):
        parts = parts[:-1]
    return ".".join(parts).replace("#", "_") or str(node.output[0]).replace("#", "_")


def _told(error: Exception) -> str:
    """What an error says, without its library's number for it."""
    words = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", words)
