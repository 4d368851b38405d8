"""Any network, of an ONNX file or in PyTorch, on any inputs: its trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError, one_of, shown
from dysta_gym.extras import extra
from dysta_gym.profiling.attention import (
    THRESHOLD,
    AttentionProfile,
    LayerShapes,
    count_kept_scores,
)
from dysta_gym.profiling.cnn import CnnProfile, Counter, profile_of_rows
from dysta_gym.profiling.finite import NotFinite
from dysta_gym.profiling.found_attention import Attention, without_padding
from dysta_gym.profiling.writing import Progress, each_of, label_inputs
from dysta_gym.traces import ACCELERATORS, WHOLE, Trace

if TYPE_CHECKING:
    import torch

    from dysta_gym.profiling.onnx_runs import Graph
    from dysta_gym.profiling.torch_runs import Module

_LONGEST = 240
"""Bytes of a trace's name: file systems take 255, with what follows it in a file's."""

Labels = tuple[list[str], list[str], list[str]]


def profile_network(
    network: torch.nn.Module | Graph | str | Path,
    inputs: Iterable[Any],
    *,
    accelerator: str,
    name: str,
    pattern: str = "dense",
    max_length: int | None = None,
    threshold: float = THRESHOLD,
    input_name: Sequence[str] | None = None,
    condition: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Trace:
    """Measure a network on inputs; ``save`` of what this returns writes a file for scenarios.

    On ``eyerissv2`` its layers are convolutions (over one axis or two) and fully connected ones: of
    a PyTorch network its modules `nn.Conv1d`, `nn.Conv2d` and `nn.Linear`, of a file the operators
    Conv, Gemm and MatMul with weights. On ``sanger`` they are its attention, which is found by
    itself: `scaled_dot_product_attention`, `nn.MultiheadAttention`, or a softmax between two
    products. Padding is left out: what an input ``attention_mask``, ``key_padding_mask`` or
    ``src_key_padding_mask`` says is none, and keys that nothing attends to.

    Args:
        network: An ONNX file, or a PyTorch module, which is put into evaluation mode.
        inputs: One after the other, batches of one: what the module takes, where a tuple is
            several arguments and a mapping has them by name; of a file a mapping from its inputs to
            arrays, or an array where it has one. A DataLoader gives them with ``batch_size=1``.
        accelerator: ``eyerissv2`` or ``sanger``.
        name: The network's name. The trace is called so, too, followed by its pattern if that is
            not ``dense``.
        pattern: How its weights were pruned, by whoever made it.
        max_length: The longest input that the task allows, in tokens; the longest one that is
            given, padding included, if this is None.
        threshold: Probability above which Sanger keeps a score.
        input_name: Their names; numbers by default.
        condition: The data set of each; by default all are of one.
        group: What each was made from. Inputs of a group are on one side of the split; by default
            each is a group of its own.
        provenance: What the trace says of itself beyond that.
        seed: Of the split: half of the inputs are ``train``.
        progress: Whether a bar is shown, or what is told how far it is.

    Raises:
        DystaError: If there are fewer than two inputs, they do not fit the network, it has nothing
            that the accelerator runs, layers differ from input to input, or inputs, weights or what
            enters a layer are not finite.
    """
    check_names(name, pattern)
    if accelerator not in ACCELERATORS:
        raise one_of("accelerator", accelerator, ACCELERATORS)
    if max_length is not None and accelerator != "sanger":
        raise DystaError(
            f"max_length: {shown(max_length)} is for attention, on sanger; {accelerator} has no "
            "tokens, leave it out"
        )
    inputs = list(inputs)
    if len(inputs) < 2:
        raise DystaError(f"inputs: {len(inputs)} given; expected 2 or more, half of them to learn")
    labels = label_inputs(name, len(inputs), input_name, condition, group)
    runs = _runnable(network)
    runs.check(accelerator)
    if getattr(runs, _WHAT[accelerator]) == 0:
        raise DystaError(_nothing(runs, accelerator))
    steps = each_of(labels[0], inputs, name, progress)
    profile: CnnProfile | AttentionProfile
    if accelerator == "eyerissv2":
        profile = _convolutions(runs, steps, name, pattern, labels)
    else:
        profile = _attention(runs, steps, name, labels, max_length, threshold)
    meta = {"name": trace_name(name, pattern), "model": name, "pattern": pattern}
    return profile.trace({**(provenance or {}), **meta}, seed=seed)


def _runnable(network: Any) -> Graph | Module:
    with extra("profile", "profile_network"):
        if isinstance(network, str | Path):
            from dysta_gym.profiling.onnx_runs import Graph

            return Graph(network)
        if hasattr(network, "sha256"):
            return cast("Graph", network)
        from dysta_gym.profiling.torch_runs import Module

        return Module(network)


def trace_name(name: str, pattern: str) -> str:
    """What the trace of a network is called."""
    return name if pattern == "dense" else f"{name}_{pattern}"


def check_names(name: str, pattern: str) -> None:
    """See that a file and a scenario may have the name of this network's trace.

    Raises:
        DystaError: If they may not.
    """
    _check_name(name, "name")
    _check_name(pattern, "pattern")
    whole = trace_name(name, pattern)
    if name.endswith(WHOLE) or whole.endswith(WHOLE):
        field, value = ("name", name) if name.endswith(WHOLE) else ("pattern", pattern)
        raise DystaError(
            f"{field} is {value!r}; expected another one, as names that end with {WHOLE} are of "
            "whole networks"
        )
    if len(whole.encode()) > _LONGEST:
        raise DystaError(
            f"name is {shown(name)}, and with the pattern the trace's has {len(whole.encode())} "
            f"bytes; expected {_LONGEST} or fewer, as files have such names"
        )


def _check_name(name: str, field: str) -> None:
    if (
        not name
        or name.startswith(".")
        or not all(each.isalnum() or each in "._-" for each in name)
    ):
        raise DystaError(f"{field} is {shown(name)}; expected letters, digits, and '.', '_' or '-'")


@contextmanager
def _on(entry: str) -> Iterator[None]:
    """Have it said on which input a value is not finite."""
    try:
        yield
    except NotFinite as error:
        raise DystaError(f"input {entry}: {error}") from None


# --- convolutional networks ----------------------------------------------------------------------


def _convolutions(
    runs: Graph | Module,
    steps: Iterator[tuple[str, Any]],
    name: str,
    pattern: str,
    labels: Labels,
) -> CnnProfile:
    counter = Counter()
    rows = []
    for entry, given in steps:
        with _on(entry):
            runs.count(given, counter)
        row = counter.columns()
        if not row["layer"]:
            raise DystaError(_nothing(runs, "eyerissv2", entry))
        rows.append(row)
    layers = rows[0]["layer"]
    columns = zip(*(counter.moved[layer] for layer in layers), strict=True)
    moved = zip(("weights", "values_in", "values_out"), columns, strict=True)
    # A layer that runs twice has its weights once.
    once = [layer for layer in layers if layer in counter.weights]
    nonzero = sum(counter.moved[layer][0] for layer in once)
    return profile_of_rows(
        rows,
        name=name,
        pattern=pattern,
        labels=labels,
        weight_sparsity=1 - nonzero / sum(counter.weights[layer] for layer in once),
        moved={field: np.array(column, np.int64) for field, column in moved},
    )


# --- attention networks --------------------------------------------------------------------------


def _attention(
    runs: Graph | Module,
    steps: Iterator[tuple[str, Any]],
    name: str,
    labels: Labels,
    max_length: int | None,
    threshold: float,
) -> AttentionProfile:
    kept, subrows, sizes, full = [], [], [], []
    first: list[Attention] = []
    for entry, given in steps:
        with _on(entry):
            found = runs.attention(given)
        if not found:
            raise DystaError(_nothing(runs, "sanger", entry))
        full.append([layer.probability.shape[1:] for layer in found])
        layers = without_padding(found, given)
        if any(0 in layer.probability.shape for layer in layers):
            raise DystaError(f"input {entry} is padding alone; expected a token or more")
        first = first or layers
        _check_alike(layers, first, entry)
        counts = [count_kept_scores(layer.probability, threshold) for layer in layers]
        kept.append([int(count.kept.sum()) for count in counts])
        subrows.append([int(count.subrows.sum()) for count in counts])
        sizes.append([layer.probability.shape[1:] for layer in layers])
    heads = first[0].probability.shape[0]
    width = heads * first[0].head_width
    shapes = _shapes(np.array(sizes, np.int64), np.array(full, np.int64), max_length, labels[0])
    square = all(
        (side == shapes.queries[:, :1]).all() for side in (shapes.queries, shapes.keys)
    )  # all that the length says
    longest = int(shapes.max_queries[0])
    return AttentionProfile(
        name=name,
        input_name=labels[0],
        condition=labels[1],
        group=labels[2],
        length=shapes.queries[:, 0],
        kept=np.array(kept, np.int64),
        subrows=np.array(subrows, np.int64),
        heads=heads,
        width=width,
        max_length=longest,
        threshold=threshold,
        rectangles=None if square else shapes,
        network_shapes=runs.network_shapes(heads, width) if square else None,
    )


def _check_alike(layers: Sequence[Attention], first: Sequence[Attention], entry: str) -> None:
    if len(layers) != len(first):
        raise DystaError(
            f"input {entry} has {len(layers)} layers of attention, other than the {len(first)} of "
            "the first one; expected the same layers for every input"
        )
    heads, width = first[0].probability.shape[0], first[0].head_width
    for layer in layers:
        if (layer.probability.shape[0], layer.head_width) != (heads, width):
            raise DystaError(
                f"{layer.name} has {layer.probability.shape[0]} heads of width {layer.head_width}; "
                f"expected {heads} of width {width}, as {first[0].name} has"
            )


def _shapes(
    sizes: NDArray[np.int64],
    full: NDArray[np.int64],
    max_length: int | None,
    names: Sequence[str],
) -> LayerShapes:
    """The layers' shapes, from those without and with padding, (inputs, layers, 2) each."""
    most = full.max(axis=0)
    if max_length is not None:
        length = sizes[:, :1, :1]
        follows = (sizes == length).all(axis=0)  # the input's length, on every input
        longest = int(length.max())
        if longest > max_length:
            entry = names[int(length.argmax())]
            raise DystaError(
                f"input {entry} has {longest} tokens; max_length is {max_length}, expected "
                f"{longest} or more"
            )
        most = np.where(follows, max_length, most)
    cross = (sizes[:, :, 0] != sizes[:, :, 1]).any(axis=0)
    return LayerShapes(
        [f"layer.{i}.{'cross_' * bool(other)}attention" for i, other in enumerate(cross)],
        sizes[:, :, 0],
        sizes[:, :, 1],
        most[:, 0],
        most[:, 1],
    )


# --- what is not there ---------------------------------------------------------------------------

_WHAT = {"eyerissv2": "layers", "sanger": "attentions"}
_NAMED = {
    "eyerissv2": "no convolution and no fully connected layer",
    "sanger": "no attention (a softmax between two products of activations)",
}


def _nothing(runs: Graph | Module, accelerator: str, entry: str = "") -> str:
    """That the network has nothing that an accelerator runs, and which one would run something."""
    (other,) = (each for each in _WHAT if each != accelerator)
    what = f"ran {_NAMED[accelerator]} on input {entry}" if entry else f"has {_NAMED[accelerator]}"
    if getattr(runs, _WHAT[other]) == 0:
        told = f"the network {what}, which {accelerator} charges, nor anything that {other} does"
        skipped = ", ".join(runs.unmeasured)
        return f"{told}; not measured: {skipped}" if skipped else told
    return f"the network {what}, which {accelerator} charges; try {other}"
