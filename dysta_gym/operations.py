"""What the layers of a network are made of: what was counted on each input, and shapes.

A layer, which nothing interrupts, is one operation or several, one after the other: attention,
products with dense matrices, or a convolution. From these an accelerator's model has the latency
(`dysta_gym.charging`), so that a trace is charged for any accelerator without being measured again.

A trace file of an attention network has its attention layers. The whole network follows from them
and from the shapes in the file (`NetworkShapes`): what else it computes is dense, and depends on
the lengths alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field

from dysta_gym.accelerators import sanger_padded_length
from dysta_gym.archives import ARRAY_LIMIT, TEXT_LIMIT, read_arrays
from dysta_gym.configs import Strict, told
from dysta_gym.errors import DystaError
from dysta_gym.files import packaged

KINDS = ("attention", "dense", "convolution")
"""Kinds of operations."""

Size = Annotated[int, Field(gt=0, le=2**31, strict=True)]


class Stem(Strict):
    """A convolution over time before the first layer, as a product with one dense matrix.

    Attributes:
        rows: Positions of its output.
        inputs: Values under its kernel at one position.
        outputs: Channels of its output.
        values_in: Values of its whole input, each of which is read once.
    """

    rows: Size
    inputs: Size
    outputs: Size
    values_in: Size


class NetworkShapes(Strict):
    """Shapes of an attention network, as its weights have them; biases and norms are left out.

    Attributes:
        width: Hidden size.
        heads: Query heads.
        key_value_heads: Heads of keys and values; fewer than `heads` where these are shared.
        head_width: Width of a head.
        feed_forward: Hidden size of the feed-forward half of a block.
        feed_forward_matrices: Its matrices: 2, or 3 where it is gated (SwiGLU).
        blocks: Blocks, of the encoder and the decoder together.
        vocabulary: Outputs of a language model's head; None without one.
        head_rows: For which positions the head is computed: all, or the last one alone.
        stem: Convolutions before the first layer.
    """

    width: Size
    heads: Size
    key_value_heads: Size
    head_width: Size
    feed_forward: Size
    feed_forward_matrices: Literal[2, 3]
    blocks: Size
    vocabulary: Size | None = None
    head_rows: Literal["all", "last"] = "all"
    stem: tuple[Stem, ...] = Field(default=(), max_length=100)


class Operation(dict[str, Any]):
    """What the accelerator does in a layer or a part of one: counts of each input, and shapes.

    A mapping from names to numbers, or to arrays of shape ``(inputs,)``:

    =================== ===========================================================================
    attention           ``queries``, ``keys`` (tokens), ``density``, ``load_balance`` (as
                        `dysta_gym.accelerators.sanger_layer_latency_s` has them), ``width``,
                        ``key_value_width``
    dense               ``rows`` (tokens)
    convolution         ``valid_macs``, ``address_checks`` (as `eyerissv2_layer_counts` counts them)
    all, where known    ``weights`` (other than zero), ``values_in``, ``values_out`` (activations
                        that are read and written)
    =================== ===========================================================================

    Attributes:
        name: Its name in the trace.
        kind: One of `KINDS`.
    """

    def __init__(self, name: str, kind: str, /, **values: Any) -> None:
        super().__init__(values)
        self.name, self.kind = name, kind

    def __missing__(self, key: str) -> Any:
        raise DystaError(
            f"{self.kind} {self.name!r} has no {key!r} in its trace; it has: {', '.join(self)}"
        )

    @property
    def macs(self) -> NDArray[np.float64]:
        """Multiplications that are left, those with a zero not counted; shape ``(inputs,)``."""
        if self.kind == "convolution":
            return np.asarray(self["valid_macs"], np.float64)
        if self.kind == "dense":
            return np.asarray(self["rows"], np.float64) * self["weights"]
        queries, keys = (np.asarray(self[name], np.float64) for name in ("queries", "keys"))
        width, shared = self["width"], self["key_value_width"]
        kept = (
            self["density"] * sanger_padded_length(queries) * sanger_padded_length(keys)
        )  # mean over the heads
        return np.asarray(2 * width * (queries * width + keys * shared + kept), np.float64)


class Layers(NamedTuple):
    """The layers of a network, in the order in which they run.

    Attributes:
        names: One name a layer.
        operations: What each consists of.
        measured: Column of each layer's sparsity in the trace file, None for one that is dense.
        inputs: Number of inputs.
    """

    names: tuple[str, ...]
    operations: tuple[tuple[Operation, ...], ...]
    measured: tuple[int | None, ...]
    inputs: int


Steps = Literal["blocks", "layers"]


def whole_layers(attention: Layers, shapes: NetworkShapes, steps: Steps = "blocks") -> Layers:
    """The layers of a whole network, from its attention layers.

    The feed-forward half of a block follows its last attention layer. In steps of blocks, the two
    are one layer: nothing is interrupted between them, and each layer has a sparsity that a monitor
    sees. In steps of layers, they are two. A stem and a head are layers of their own.

    Raises:
        DystaError: If the layers are of another number of blocks.
    """
    names: list[str] = []
    operations: list[tuple[Operation, ...]] = []
    measured: list[int | None] = []

    def add(name: str, does: tuple[Operation, ...], column: int | None = None) -> None:
        names.append(name)
        operations.append(does)
        measured.append(column)

    for index, stem in enumerate(shapes.stem):
        name = f"stem.{index}"
        rows = np.full(attention.inputs, float(stem.rows))
        convolution = _dense(name, rows, (stem.inputs, stem.outputs))
        convolution["values_in"] = np.full(attention.inputs, float(stem.values_in))
        add(name, (convolution,))
    blocks = 0
    for index, (name, does) in enumerate(zip(attention.names, attention.operations, strict=True)):
        after = attention.names[index + 1 : index + 2]
        if after and after[0].endswith(_CROSS):  # of the same block
            add(name, does, index)
            continue
        blocks += 1
        half = name.rpartition(".")[0] + ".feed_forward"
        sizes = (shapes.width, shapes.feed_forward, shapes.width)
        forward = _dense(half, does[-1]["queries"], sizes, shapes.feed_forward_matrices - 1)
        if steps == "blocks":
            add(f"{name}+feed_forward", (*does, forward), index)
        else:
            add(name, does, index)
            add(half, (forward,))
    if blocks != shapes.blocks:
        raise DystaError(f"shapes: blocks is {shapes.blocks}; the layers are of {blocks}")
    if shapes.vocabulary is not None:
        rows = np.asarray(attention.operations[-1][-1]["queries"], np.float64)
        rows = rows if shapes.head_rows == "all" else np.ones_like(rows)
        add("head", (_dense("head", rows, (shapes.width, shapes.vocabulary)),))
    return Layers(tuple(names), tuple(operations), tuple(measured), attention.inputs)


_CROSS = ".cross_attention"


def _dense(
    name: str, rows: NDArray[np.float64], sizes: tuple[int, ...], first: int = 1
) -> Operation:
    """Matrices from each size to the next one, ``first`` of them from the first size.

    What lies between two matrices stays on the chip.
    """
    weights = sum(a * b for a, b in pairwise(sizes))
    weights += (first - 1) * sizes[0] * sizes[1]
    return Operation(
        name,
        "dense",
        rows=rows,
        weights=weights,
        values_in=rows * sizes[0],
        values_out=rows * sizes[-1],
    )


def read_layers(path: str | Path) -> tuple[Layers, NetworkShapes | None]:
    """The layers in a trace file, of an attention network or a convolutional one, and its shapes.

    Raises:
        DystaError: If the file is damaged or keeps no counts, or its shapes are not usable.
    """
    path = Path(path)
    where = f"trace file {str(path)!r}"
    content = read_arrays(path, where, _ARRAYS, "not an npz file ({}); rebuild it")
    meta = json.loads(str(content["meta"]))
    names = tuple(content["layer_name"].tolist())
    inputs, layers = content["latency_s"].shape
    for name, array in content.items():
        shapes_of = _COUNTS.get(name, ())
        expected = [tuple({"i": inputs, "l": layers}[axis] for axis in each) for each in shapes_of]
        if expected and (array.shape not in expected or array.dtype.kind not in "fiu"):
            raise DystaError(
                f"{where}: {name} is {array.dtype} of shape {array.shape}; it must be numbers of "
                f"shape {' or '.join(map(str, expected))}"
            )
        if expected and not ((array > 0) if name == "load_balance" else (array >= 0)).all():
            raise DystaError(f"{where}: {name} holds numbers below 0, or none; rebuild it")
        if expected and array.itemsize < 8:  # which what it is multiplied by does not fit into
            content[name] = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    if "density" in content and "load_balance" in content:
        shapes = _shapes(meta, where)
        return _attention(content, names, meta, shapes, where), shapes
    if "valid_macs" in content and "address_checks" in content:
        return _convolutions(content, names, meta), None
    raise DystaError(
        f"{where} keeps no counts of its layers: density and load_balance, or valid_macs and "
        "address_checks; profile it again"
    )


def _shapes(meta: Mapping[str, Any], where: str) -> NetworkShapes | None:
    if "shapes" not in meta:
        return None
    try:
        return NetworkShapes.model_validate(meta["shapes"])
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        path = [str(part) for part in fault["loc"]]
        reason = told(fault, path, NetworkShapes, "", (), "{width: 768, ...}")
        raise DystaError(f"{where}: shapes: {reason}; rebuild it") from None


def _setting(meta: Mapping[str, Any], name: str) -> Any:
    settings = meta.get("settings")
    return settings.get(name) if isinstance(settings, Mapping) else None


def _attention(
    content: Mapping[str, NDArray[Any]],
    names: tuple[str, ...],
    meta: Mapping[str, Any],
    shapes: NetworkShapes | None,
    where: str,
) -> Layers:
    inputs = len(content["latency_s"])
    if shapes is not None:
        width, shared = shapes.width, shapes.key_value_heads * shapes.head_width
    else:
        width = shared = _setting(meta, "width")
        if not isinstance(width, int) or width < 1:
            raise DystaError(f"{where}: shapes is missing, and settings.width; rebuild it")
    lengths = []
    for side in ("query", "key"):
        length = content.get(f"{side}_length", content.get("length"))
        if length is None:
            raise DystaError(f"{where}: length is missing, or {side}_length; rebuild it")
        lengths.append(np.broadcast_to(length.reshape(inputs, -1), (inputs, len(names))))
    operations = []
    for index, name in enumerate(names):
        queries, keys = (length[:, index] for length in lengths)
        density, balance = content["density"][:, index], content["load_balance"][:, index]
        # Queries, keys, values and scores stay on the chip; cross attention also reads what its
        # keys and values are projected from.
        read = queries + keys if name.endswith(_CROSS) else queries
        attention = Operation(
            name,
            "attention",
            queries=queries,
            keys=keys,
            density=density,
            load_balance=balance,
            width=width,
            key_value_width=shared,
            weights=2 * width * (width + shared),
            values_in=read * width,
            values_out=queries * width,
        )
        operations.append((attention,))
    return Layers(names, tuple(operations), tuple(range(len(names))), inputs)


def _convolutions(
    content: Mapping[str, NDArray[Any]], names: tuple[str, ...], meta: Mapping[str, Any]
) -> Layers:
    """Each a layer; what is read and written is known where the file has it, or of shipped ones.

    Of the latter, each layer is taken to have the network's share of zero weights, as they are
    pruned.
    """
    inputs = len(content["latency_s"])
    shipped = shipped_convolutions().get(meta.get("model", ""), {})
    zeros = _setting(meta, "weight_sparsity")
    operations = []
    for index, name in enumerate(names):
        moved: dict[str, float] = {}
        if all(key in content for key in _MOVED):
            moved = {key: float(content[key][index]) for key in _MOVED}
        elif name in shipped and isinstance(zeros, int | float):
            weights, *values = shipped[name]
            moved = dict(zip(_MOVED, [weights * (1 - zeros), *values], strict=True))
        macs, checks = content["valid_macs"][:, index], content["address_checks"][:, index]
        operations.append(
            (Operation(name, "convolution", valid_macs=macs, address_checks=checks, **moved),)
        )
    return Layers(names, tuple(operations), tuple(range(len(names))), inputs)


@cache
def shipped_convolutions() -> Mapping[str, Mapping[str, list[int]]]:
    """Of each layer of the shipped convolutional networks: weights, values read, values written."""
    path = packaged("convolutions.json")
    found: dict[str, dict[str, list[int]]] = json.loads(path.read_text(encoding="utf-8"))
    return found


_MOVED = ("weights", "values_in", "values_out")
_COUNTS: Mapping[str, Sequence[str]] = {  # and their shapes: (inputs, layers), (layers,), (inputs,)
    **dict.fromkeys(("density", "load_balance", "valid_macs", "address_checks"), ("il",)),
    **dict.fromkeys(_MOVED, ("l",)),
    "length": ("i",),
    **dict.fromkeys(("query_length", "key_length"), ("il",)),
}
COUNTED = tuple(name for name in _COUNTS if name != "length")
"""Arrays of a trace file that its latencies are counted from."""

_ARRAYS: Mapping[str, int] = {
    **dict.fromkeys(("latency_s", *_COUNTS), ARRAY_LIMIT),
    **dict.fromkeys(("meta", "layer_name"), TEXT_LIMIT),
}
