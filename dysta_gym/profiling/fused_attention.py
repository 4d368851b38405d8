"""Attention in one operator of ONNX Runtime's own, which keeps its probabilities to itself.

They are computed from what the operator takes: ``Attention`` and ``MultiHeadAttention`` of the
domain ``com.microsoft``, as its optimiser of transformers makes them, without a past.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError

KINDS = ("Attention", "MultiHeadAttention")
DOMAIN = "com.microsoft"

Array = NDArray[Any]


def probabilities(
    name: str, kind: str, options: Mapping[str, Any], given: Sequence[Array | None]
) -> tuple[Array, int]:
    """Probabilities (1, heads, queries, keys), and the width of a head.

    Args:
        name: What the layer is called.
        kind: One of `KINDS`.
        options: The operator's attributes.
        given: Its inputs, None for those that are left out.

    Raises:
        DystaError: If it keeps a past, packs its inputs, or has a mask of another kind.
    """
    heads = int(options["num_heads"])
    inputs = [*given, *[None] * 10]
    first = inputs[0]
    if first is None or first.ndim != 3 or len(first) != 1:
        raise DystaError(f"{name}: {kind} takes packed inputs or several; expected one at a time")
    if kind == "Attention":
        if inputs[4] is not None:
            raise DystaError(f"{name}: {kind} has a past; export the network without one")
        queries, keys, width = _projected(options, inputs)
        mask, bias = inputs[3], inputs[5]
    else:
        if inputs[6] is not None or inputs[1] is None:
            raise DystaError(f"{name}: {kind} has a past, or packed keys; export it without")
        width = first.shape[2]
        shift = inputs[3]
        queries = first[0] + (0 if shift is None else shift[:width])
        keys = inputs[1][0]
        if keys.ndim == 3:  # of another sequence, projected: (heads, keys, width of a head)
            keys = keys.transpose(1, 0, 2).reshape(keys.shape[1], width)
        elif shift is not None:
            keys = keys + shift[width : 2 * width]
        mask, bias = inputs[4], inputs[5]
    head = width // heads
    apart = queries.reshape(-1, heads, head).transpose(1, 0, 2).astype(np.float32)
    across = keys.reshape(-1, heads, head).transpose(1, 2, 0).astype(np.float32)
    scores = apart @ across * (options.get("scale") or head**-0.5)
    scores = scores + (0 if bias is None else bias[0])
    kept = _kept(name, mask, *scores.shape[1:])
    if options.get("unidirectional"):
        _, rows, columns = scores.shape
        kept = kept & np.tri(rows, columns, columns - rows, dtype=np.bool_)
    scores = np.where(kept, scores, -np.inf)
    with np.errstate(invalid="ignore"):  # of queries that see nothing
        exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return (exponents / exponents.sum(axis=-1, keepdims=True))[None], head


def _projected(options: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Array, Array, int]:
    """Queries and keys of an ``Attention``, and their width."""
    made = inputs[0][0] @ inputs[1] + (0 if inputs[2] is None else inputs[2])
    sizes = options.get("qkv_hidden_sizes") or [made.shape[1] // 3] * 3
    width = int(sizes[0])
    return made[:, :width], made[:, width : 2 * width], width


def _kept(name: str, mask: Array | None, queries: int, keys: int) -> NDArray[np.bool_]:
    """Which scores a mask leaves, (queries, keys)."""
    if mask is None:
        return np.ones((queries, keys), np.bool_)
    if mask.shape == (1,):  # the keys before padding
        return np.broadcast_to(np.arange(keys) < mask[0], (queries, keys))
    if mask.shape in ((1, keys), (1, queries, keys)):
        return np.broadcast_to(mask[0] != 0, (queries, keys))
    raise DystaError(f"{name}: the mask has shape {mask.shape}; expected one of the keys")
