"""Shapes of networks, read off their weights.

Those of an attention network are in its trace file. Those of the shipped convolutional networks are
in ``data/convolutions.json``, which ``python -m dysta_gym.profiling.shapes CACHE`` writes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dysta_gym.errors import DystaError
from dysta_gym.files import packaged, write_text
from dysta_gym.operations import NetworkShapes, Stem

# What weights are called: BERT and MiniLM or DINOv2, MPNet, and Llama, SmolLM2, Whisper or DINOv2.
_INPUT = (
    r"attention\.(?:self|attention)\.{0}|attention\.attn\.{1}|(?:self_attn|attention)\.{1}_proj"
)
_MATRICES = {
    "query": _INPUT.format("query", "q"),
    "key": _INPUT.format("key", "k"),
    "value": _INPUT.format("value", "v"),
    "output": r"attention\.output\.dense|attention\.attn\.o|"
    r"(?:self_attn|attention)\.(?:o|out)_proj",
    "up": r"intermediate\.dense|mlp\.up_proj|(?:mlp\.)?fc1",
    "down": r"output\.dense|mlp\.down_proj|(?:mlp\.)?fc2",
    "gate": r"mlp\.gate_proj",
}
_HEAD = re.compile(r"(?:lm_head|proj_out)\.weight")


def network_shapes(
    weights: Mapping[str, Sequence[int]],
    heads: int,
    *,
    head_rows: Literal["all", "last"] = "last",
    stem: Sequence[Stem] = (),
) -> NetworkShapes | None:
    """The shapes of a network from those of its weights, (outputs, inputs) each, by their names.

    The names are those of Hugging Face's `transformers`; None where they are others. `heads` is
    the number of query heads, which weights do not tell. Blocks must all be alike.

    Raises:
        DystaError: If they are not, or matrices do not fit each other.
    """
    found: dict[str, list[tuple[int, ...]]] = {
        matrix: [
            tuple(shape)
            for name, shape in weights.items()
            if re.fullmatch(rf".*layers?\.\d+\.(?:{pattern})\.weight", name)
        ]
        for matrix, pattern in _MATRICES.items()
    }
    blocks = len(found["query"])
    if not blocks or not found["up"]:
        return None
    one = {}
    for matrix, shapes in found.items():
        if not shapes and matrix == "gate":
            continue
        if len(shapes) != blocks or len(set(shapes)) > 1:
            raise DystaError(
                f"weights: {len(shapes)} {matrix} matrices of shapes {sorted(set(shapes))}; "
                f"expected {blocks} alike"
            )
        one[matrix] = shapes[0]
    inner, width = one["query"]
    shared, hidden = one["key"][0], one["up"][0]
    expected = {
        "query": (inner, width),
        "key": (shared, width),
        "value": (shared, width),
        "output": (width, inner),
        "up": (hidden, width),
        "gate": (hidden, width),
        "down": (width, hidden),
    }
    for matrix, shape in one.items():
        if shape != expected[matrix]:
            raise DystaError(f"weights: {matrix} has shape {shape}; expected {expected[matrix]}")
    if inner != width or width % heads or shared % (width // heads):
        raise DystaError(
            f"weights: query has shape {one['query']} and key {one['key']}; expected heads, of "
            f"which the queries have {heads}, that make up the width"
        )
    vocabulary = [shape[0] for name, shape in weights.items() if _HEAD.fullmatch(name)]
    return NetworkShapes(
        width=width,
        heads=heads,
        key_value_heads=shared // (width // heads),
        head_width=width // heads,
        feed_forward=hidden,
        feed_forward_matrices=3 if "gate" in one else 2,
        blocks=blocks,
        vocabulary=vocabulary[0] if vocabulary else None,
        head_rows=head_rows if vocabulary else "all",
        stem=tuple(stem),
    )


def shapes_of_model(model: Any, **others: Any) -> NetworkShapes | None:
    """The shapes of a network in PyTorch, in the style of `transformers`; see `network_shapes`.

    Raises:
        DystaError: If its blocks differ, or it shares keys and values under names that are unknown.
    """
    config = getattr(model, "config", None)
    heads = getattr(config, "num_attention_heads", None)
    state: Mapping[str, Any] = getattr(model, "state_dict", dict)()
    shapes = heads and network_shapes(
        {name: tuple(tensor.shape) for name, tensor in state.items()}, int(heads), **others
    )
    if not shapes and getattr(config, "num_key_value_heads", heads) != heads:
        raise DystaError(
            "model: its keys and values have fewer heads than its queries, under names that are "
            "unknown here; give network_shapes"
        )
    return shapes or None


class Product(NamedTuple):
    """A product of ``rows`` with a dense matrix."""

    rows: int
    inputs: int
    outputs: int


def shapes_of_products(
    products: Sequence[Product | None], heads: int, width: int
) -> NetworkShapes | None:
    """The shapes of a network from the products that it computes, None for each attention.

    None where they are other than blocks that are alike, each an attention with its projections
    and a feed-forward half, and a head at most. A square matrix for one row, which pools, is left
    out.
    """
    parts: list[list[Product]] = [[]]
    for each in products:
        if each is None:
            parts.append([])
        else:
            parts[-1].append(each)
    blocks = len(parts) - 1
    sizes = [[(each.inputs, each.outputs) for each in part] for part in parts]
    projections, first, last = sizes[0], sizes[1], sizes[-1]
    matrices = 3 if len(first) > 3 and first[1] == first[2] else 2
    block = first[: 1 + matrices]
    if len(block) != 1 + matrices or any(each != block + projections for each in sizes[1:-1]):
        return None
    hidden, head_width = block[1][1], width // heads
    half = [(width, width), *[(width, hidden)] * (matrices - 1), (hidden, width)]
    shared, odd = divmod(sum(outputs for _, outputs in projections) - width, 2)
    if (
        block != half
        or last[: len(block)] != block
        or any(inputs != width for inputs, _ in projections)
        or odd
        or shared < 1
        or shared % head_width
    ):
        return None
    rest = [
        each for each in parts[-1][len(block) :] if each.rows > 1 or each.outputs != each.inputs
    ]
    if len(rest) > 1 or any(each.inputs != width for each in rest):
        return None
    return NetworkShapes(
        width=width,
        heads=heads,
        key_value_heads=shared // head_width,
        head_width=head_width,
        feed_forward=hidden,
        feed_forward_matrices=3 if matrices == 3 else 2,
        blocks=blocks,
        vocabulary=rest[0].outputs if rest else None,
        head_rows="last" if rest and rest[0].rows == 1 else "all",
    )


def convolution_shapes(network: Any, cache: Path) -> dict[str, list[int]]:
    """Weights, and activations read and written, of each layer of a shipped convolutional network.

    By the layers' names in a trace, in the order in which they run. `network` is one of
    `dysta_gym.profiling.cnn`, and its packages are in `cache`, or fetched.
    """
    import torch

    from dysta_gym.profiling import cnn
    from dysta_gym.profiling.sources import fetch

    model = network.load([fetch(package, cache) for package in network.packages])
    black = network.preprocess(np.zeros((*network.image_size, 3), np.uint8))

    shapes: dict[str, list[int]] = {}
    runs: dict[str, int] = {}

    def see(name: str, module: Any, given: Any, made: Any) -> None:
        runs[name] = runs.get(name, 0) + 1
        key = name if runs[name] == 1 else f"{name}#{runs[name]}"
        shapes[key] = [module.weight.numel(), given.numel(), made.numel()]

    with torch.inference_mode(), cnn.watched(model, see):
        model.eval()(torch.from_numpy(np.ascontiguousarray(black[None])))
    return shapes


def main(cache: Path) -> None:
    """Write the file of the shipped networks' shapes again, from the packages in `cache`."""
    from dysta_gym.profiling import cnn

    lines = [
        f"{json.dumps(name)}: {json.dumps(convolution_shapes(network, cache))}"
        for name, network in cnn._NETWORKS.items()
    ]
    path = packaged("convolutions.json")
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
