"""A BERT out of a packed file: its blocks of 4 bits, its tokenizer, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from dysta_gym.errors import DystaError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from dysta_gym.profiling import packed_bert  # noqa: E402

WIDTH, LAYERS, HEADS, FORWARD, POSITIONS = 32, 2, 4, 64, 16
PIECES = {"<s>": 0, "<pad>": 0, "</s>": 0, "<unk>": 0, "▁": -3, "▁a": -2, "b": -4, "ab": -2.5,
          "▁ab": -4.6, "c": -4}  # fmt: skip


def packed(numbers: np.ndarray) -> bytes:
    """Numbers from -8 to 7 with scale 1/16, in blocks as the file has them."""
    content = b""
    for block in numbers.reshape(-1, 32).astype(int) + 8:
        pairs = block[:16] | block[16:] << 4
        content += struct.pack("<e16B", 1 / 16, *pairs)
    return content


def write(path: Path) -> dict[str, np.ndarray]:
    """A small network; returned are its weights, by the file's names."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (len(PIECES), WIDTH),
        "emb.pos": (POSITIONS, WIDTH),
        "emb.type": (2, WIDTH),
    } | dict.fromkeys(("emb.ln.w", "emb.ln.b"), (WIDTH,))
    for k in range(LAYERS):
        for name in ("q", "k", "v", "ao"):
            shapes |= {f"l{k}.{name}.w": (WIDTH, WIDTH), f"l{k}.{name}.b": (WIDTH,)}
        shapes |= {f"l{k}.fi.w": (FORWARD, WIDTH), f"l{k}.fi.b": (FORWARD,)}
        shapes |= {f"l{k}.fo.w": (WIDTH, FORWARD), f"l{k}.fo.b": (WIDTH,)}
        for name in ("aln", "oln"):
            shapes |= dict.fromkeys((f"l{k}.{name}.w", f"l{k}.{name}.b"), (WIDTH,))
    arrays = {}
    parts = {}
    for name, shape in shapes.items():
        in_bits = name == "emb.word" or (len(shape) == 2 and name.startswith("l"))
        whole = rng.integers(-8, 8, shape)
        arrays[name] = (whole / 16).astype(np.float32)
        parts[name] = (in_bits, packed(whole) if in_bits else arrays[name].tobytes())
    pieces = [piece.encode() for piece in PIECES]
    head = struct.pack("<4sI7ifi", b"E5S1", 1, WIDTH, LAYERS, HEADS, FORWARD, len(PIECES),
                       POSITIONS, 2, 1e-12, 32)  # fmt: skip
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, sum(map(len, pieces)))
    offsets = np.cumsum([0, *map(len, pieces)])
    head += offsets.astype("<u4").tobytes()
    head += np.array(list(PIECES.values()), "<f4").tobytes() + b"".join(pieces)
    by = struct.pack("<IB2I", ord("½"), 2, ord("a"), ord("b")) + struct.pack("<IB", ord("\n"), 0)
    head += struct.pack("<iI", 2, len(by)) + by + struct.pack("<i", len(parts))
    start = len(head) + sum(2 + len(name) + 21 for name in parts)
    directory = data = b""
    for name, (in_bits, part) in parts.items():
        directory += struct.pack(f"<H{len(name)}sBIQQ", len(name), name.encode(), in_bits,
                                 arrays[name].size, start + len(data), len(part))  # fmt: skip
        data += part
    path.write_bytes(head + directory + data)
    return arrays


def test_weights_find_their_places(tmp_path: Path) -> None:
    arrays = write(tmp_path / "small.bin")
    model, tokenizer = packed_bert.load_packed_bert(tmp_path / "small.bin")
    assert not model.training
    found = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for ours, name in (
        ("emb.word", "embeddings.word_embeddings.weight"),
        ("emb.ln.b", "embeddings.LayerNorm.bias"),
        ("l1.k.w", "encoder.layer.1.attention.self.key.weight"),
        ("l0.ao.b", "encoder.layer.0.attention.output.dense.bias"),
        ("l1.fo.w", "encoder.layer.1.output.dense.weight"),
        ("l0.fi.w", "encoder.layer.0.intermediate.dense.weight"),
        ("l0.aln.w", "encoder.layer.0.attention.output.LayerNorm.weight"),
    ):
        np.testing.assert_array_equal(found[name], arrays[ours])
    with torch.inference_mode():
        output = model(**tokenizer("ab c", max_length=8), output_attentions=True)
    assert [tuple(each.shape) for each in output.attentions] == [(1, HEADS, 5, 5)] * LAYERS


def test_a_text_becomes_its_likeliest_pieces(tmp_path: Path) -> None:
    write(tmp_path / "small.bin")
    _, tokenizer = packed_bert.load_packed_bert(tmp_path / "small.bin")

    def pieces(text: str, max_length: int = 16) -> list[str]:
        found = tokenizer(text, max_length=max_length)
        assert (found["attention_mask"] == 1).all()
        return [list(PIECES)[token] for token in found["input_ids"][0].tolist()]

    # "▁ab" at -4.6 is likelier than "▁", "ab" at -5.5 and "▁a", "b" at -6.
    assert pieces("ab") == ["<s>", "▁ab", "</s>"]
    assert pieces("abb") == ["<s>", "▁ab", "b", "</s>"]
    assert pieces("½\n  c") == ["<s>", "▁ab", "▁", "c", "</s>"]
    assert pieces("az") == ["<s>", "▁a", "<unk>", "</s>"]
    assert pieces("ab c c c", 4) == ["<s>", "▁ab", "▁", "</s>"]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "small.bin"
    with pytest.raises(DystaError, match=r"path is .*small\.bin; expected a file"):
        packed_bert.load_packed_bert(path)
    write(path)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[:-500], whole[:40] + b"\x10" + whole[41:]):
        path.write_bytes(content)
        with pytest.raises(DystaError, match=r"network small\.bin is damaged: ."):
            packed_bert.load_packed_bert(path)
