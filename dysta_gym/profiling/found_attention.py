"""What a network attends to, in whichever way it was found, and how much of it Sanger keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError
from dysta_gym.profiling.finite import check_finite

_KEPT_WHERE: Mapping[str, bool] = {
    "attention_mask": True,
    "src_key_padding_mask": False,
    "key_padding_mask": False,
}
"""Inputs by which networks are told of padding, and which value in them is a token."""


class Attention(NamedTuple):
    """An attention layer on one input: ``(heads, queries, keys)``, and the width of a head."""

    name: str
    probability: NDArray[np.float32]
    head_width: int


def attention(name: str, probability: NDArray[Any], head_width: int) -> Attention:
    """The layer, whose probabilities may have an axis of one for the batch, or none for one head.

    Raises:
        DystaError: If they have other axes.
    """
    shape = probability.shape
    if len(shape) == 4 and shape[0] == 1:
        probability = probability[0]
    elif len(shape) == 2:
        probability = probability[None]
    elif len(shape) != 3:
        raise DystaError(
            f"{name}: the attention has shape {shape}; expected (1, heads, queries, keys): "
            "inputs one at a time, and no windows"
        )
    # Rows of NaN are of queries that may attend to nothing; others have been refused.
    return Attention(name, np.nan_to_num(probability.astype(np.float32)), head_width)


def check_scores(scores: Any, probability: Any, where: str) -> None:
    """See that NaN among probabilities is of queries all of whose scores are hidden.

    Args:
        scores: What the softmax was of, an array.
        probability: What it made.
        where: The layer, for the message.

    Raises:
        NotFinite: If scores are NaN or infinite.
    """
    lost = np.isnan(probability).any(axis=-1)
    if lost.any() and not np.isneginf(np.asarray(scores)[lost]).all():
        seen = np.where(lost[..., None], scores, 0)
        check_finite(seen, f"{where}: a score", masks=True)


def without_padding(layers: Sequence[Attention], given: Any) -> list[Attention]:
    """The layers without the padding of their input.

    Padding is what an attention mask among the inputs `given` says, or a key that no query of any
    layer attends to. Where queries are the keys, they are left out likewise.
    """
    kept: dict[int, NDArray[np.bool_]] = {}
    for layer in layers:
        attended = np.asarray((layer.probability > 0).any(axis=(0, 1)))
        keys = layer.probability.shape[2]
        kept[keys] = kept[keys] | attended if keys in kept else attended
    for name, token in _KEPT_WHERE.items():
        mask = given.get(name) if isinstance(given, Mapping) else None
        if mask is not None:
            values = np.asarray(mask.detach().cpu() if hasattr(mask, "detach") else mask)
            if values.ndim == 2 and len(values) == 1 and values.shape[1] in kept:
                said = (values[0] != 0) == token
                kept[values.shape[1]] = said
    square = {layer.probability.shape[1] for layer in layers if _is_square(layer)}
    cut = []
    for layer in layers:
        _, queries, keys = layer.probability.shape
        probability = layer.probability
        if queries in square and queries in kept:
            probability = probability[:, kept[queries]]
        cut.append(layer._replace(probability=probability[:, :, kept[keys]]))
    return cut


def _is_square(layer: Attention) -> bool:
    _, queries, keys = layer.probability.shape
    return queries == keys
