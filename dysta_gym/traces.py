"""What every layer of every network costs, and how sparse it is, on every input.

A `Trace` is one network with one pattern of pruned weights, measured on one accelerator over many
inputs. A `TraceStore` holds the traces that a workload draws its requests from, flattened so that
the compiled event loop reads them as plain arrays.

Traces come from the npz files shipped with the package (`shipped_traces`), from npz files of one's
own (`Trace.save`, `load_trace`), from other packages (`TRACES`), and from the CSV files of the
Sparse-DySta artifact (`read_artifact_traces`).
"""

from __future__ import annotations

import difflib
import json
import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from dysta_gym.accelerators import sanger_layer_latency_s
from dysta_gym.archives import ARRAY_LIMIT, TEXT_LIMIT, read_arrays
from dysta_gym.charging import charge_of
from dysta_gym.configs import plain
from dysta_gym.errors import DystaError, one_of, shown
from dysta_gym.files import open_regular, packaged, replacing, visible
from dysta_gym.lazy import cached_property
from dysta_gym.operations import COUNTED, Layers, Steps, read_layers, whole_layers
from dysta_gym.plugins import OpenFiles
from dysta_gym.sealing import Sealed, sealed

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "test", "all"]

ACCELERATORS = ("sanger", "eyerissv2")
"""Those that the artifact's traces are for, and the shipped ones."""

SPLITS: tuple[str, ...] = get_args(Split)

FORMAT = 1
"""Version of the npz layout, stored in every file and checked when one is read."""

HELD_OUT = ("dinov2", "face_resnet", "inceptionv3", "multilingual_e5")
"""Shipped networks that nothing has learned from: they are in no scenario that agents train in, and
in no figure of the reproduction."""

LONGEST_LAYER_S = 1e6
"""What a layer may take at most, in seconds: twelve days."""

ARTIFACT_SEQUENCE_LENGTH = 512
"""Padded sequence length that the artifact's Sanger traces were measured at."""


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Sealed):
    """One network with one sparsity pattern, layer by layer and input by input.

    Its arrays are copies of those given, and read-only.

    Attributes:
        name: Unique name, by which scenarios refer to the trace.
        model: The network, shared by its patterns; deadlines and static averages are per model.
        pattern: How its weights were pruned (``dense``, ``unstructured20``, ...).
        accelerator: What the latencies are of: the model that charged them, ``sanger``,
            ``eyerissv2`` or another one (`dysta_gym.charging`), or any other name, of an
            accelerator that they were measured on.
        latency_s: Latency of each layer in seconds, shape ``(inputs, layers)``.
        sparsity: What the monitor sees of each layer as it runs, in [0, 1], same shape.
        train: Which inputs belong to the ``train`` half, shape ``(inputs,)``; the rest is ``test``.
        sample_ids: Name of each input in recorded request files, shape ``(inputs,)``.
        layer_names: One name a layer.
        length: Length of each input as known at arrival: tokens of a text, 20 ms frames of speech;
            shape ``(inputs,)``, or None where inputs have none.
        condition: Data set or capture condition of each input.
        provenance: Where it comes from: network, packages and their licences, inputs, settings.
        counts: What the latencies were counted from (`dysta_gym.operations`), and what else was
            measured, by name: arrays ``(inputs,)``, ``(layers,)`` or ``(inputs, layers)``. With
            them, a file charges other accelerators, too. They stay in the file when it is read.
    """

    name: str
    model: str
    pattern: str
    accelerator: str
    latency_s: NDArray[np.float64]
    sparsity: NDArray[np.float64]
    train: NDArray[np.bool_]
    sample_ids: NDArray[np.int64]
    layer_names: tuple[str, ...]
    length: NDArray[np.int64] | None = None
    condition: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"trace {self.name!r}"
        for label in _IDENTITY:
            _check_text(f"{where}: {label}", getattr(self, label))
        for label, kind in (
            ("latency_s", np.float64),
            ("sparsity", np.float64),
            ("train", np.bool_),
            ("sample_ids", np.int64),
            ("length", np.int64),
        ):
            given = getattr(self, label)
            if given is not None:
                object.__setattr__(self, label, sealed(_copied(given, kind, f"{where}: {label}")))
        shape = self.latency_s.shape
        if len(shape) != 2 or 0 in shape:
            raise DystaError(f"{where}: latency_s has shape {shape}; it must be (inputs, layers)")
        for label, array, expected in (
            ("sparsity", self.sparsity, shape),
            ("train", self.train, shape[:1]),
            ("sample_ids", self.sample_ids, shape[:1]),
            ("layer_name", np.asarray(self.layer_names), shape[1:]),
            ("length", self.train if self.length is None else self.length, shape[:1]),
            ("condition", np.asarray(self.condition) if self.condition else self.train, shape[:1]),
        ):
            if array.shape != expected:
                raise DystaError(f"{where}: {label} has shape {array.shape}, expected {expected}")
        self._seal_counts(where)
        numbers, count = np.unique(self.sample_ids, return_counts=True)
        if (count > 1).any():
            raise DystaError(
                f"{where}: sample_ids has {numbers[np.argmax(count)]} more than once; "
                "each input needs its own"
            )
        self._require(
            (self.latency_s >= 0) & (self.latency_s <= LONGEST_LAYER_S),
            "latency_s",
            self.latency_s,
            f"a finite number of seconds, 0 or more, and at most {LONGEST_LAYER_S:g}",
        )
        self._require(
            (self.sparsity >= 0) & (self.sparsity <= 1),
            "sparsity",
            self.sparsity,
            "between 0 and 1",
        )
        if self.length is not None and not (self.length >= 1).all():
            row = int(np.argmin(self.length))
            raise DystaError(
                f"{where}: length of input {self.sample_ids[row]} is {self.length[row]}; "
                "it must be 1 or more"
            )
        if not (self.latency_s.sum(axis=1) > 0).all():
            row = int(np.argmin(self.latency_s.sum(axis=1)))
            raise DystaError(f"{where}: input {self.sample_ids[row]} takes no time in any layer")

    def __repr__(self) -> str:
        inputs, layers = self.latency_s.shape
        mean = float(self.isolated_s.mean())
        return (
            f"<Trace {self.name!r} on {self.accelerator!r}: {inputs} inputs x {layers} layers, "
            f"{1e3 * mean:.4g} ms>"
        )

    def _seal_counts(self, where: str) -> None:
        inputs, layers = self.latency_s.shape
        counts = {name: sealed(np.array(array)) for name, array in self.counts.items()}
        for name, array in counts.items():
            if name in _ARRAYS:
                raise DystaError(f"{where}: counts has {name!r}, which is an array of every trace")
            if array.shape not in ((inputs,), (layers,), (inputs, layers)):
                raise DystaError(
                    f"{where}: {name} has shape {array.shape}, expected ({inputs},), ({layers},) "
                    f"or ({inputs}, {layers})"
                )
            if array.dtype.kind not in "biufU":
                raise DystaError(f"{where}: {name} is {array.dtype}; it must be numbers or texts")
        object.__setattr__(self, "counts", counts)

    def _require(
        self, good: NDArray[np.bool_], label: str, values: NDArray[Any], expected: str
    ) -> None:
        if not good.all():
            row, layer = (int(index[0]) for index in np.nonzero(~good))
            raise DystaError(
                f"trace {self.name!r}: {label} of input {self.sample_ids[row]}, layer {layer} "
                f"is {values[row, layer]}; it must be {expected}"
            )

    @cached_property
    def isolated_s(self) -> NDArray[np.float64]:
        """True isolated latency of each input in seconds, shape ``(inputs,)``."""
        return sealed(self.latency_s.sum(axis=1))

    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of the inputs in ``split`` (``train``, ``test`` or ``all``).

        Raises:
            DystaError: If the split is unknown or empty.
        """
        if split not in SPLITS:
            raise one_of("split", split, SPLITS)
        chosen = np.ones_like(self.train) if split == "all" else self.train == (split == "train")
        if not chosen.any():
            raise DystaError(
                f"trace {self.name!r}: split {split!r} has no inputs; "
                "a trace needs two or more inputs to be split, use 'all'"
            )
        return np.flatnonzero(chosen)

    def save(self, path: str | Path) -> None:
        """Write an npz file that `load_trace` reads, and scenarios by their ``trace_dir``.

        A scenario finds the trace ``net`` in the file ``net.npz``. Without `counts`, the file holds
        for the one accelerator that its latencies are of.

        Args:
            path: The file, which ends with ``.npz``.

        Raises:
            DystaError: If the path ends with something else, the provenance is not what JSON can
                hold, an array is larger than `load_trace` reads, or the file cannot be written.
        """
        where = f"trace {self.name!r}"
        if Path(path).suffix != ".npz":
            raise DystaError(f"{where}: path is {str(path)!r}; it must end with .npz")
        identity = {key: getattr(self, key) for key in _IDENTITY}
        try:
            meta = json.dumps({**plain(self.provenance), "format": FORMAT, **identity})
        except (TypeError, ValueError, RecursionError) as error:
            raise DystaError(
                f"{where}: provenance is not what JSON can hold ({error}); "
                "give texts, numbers, lists and mappings"
            ) from None
        arrays = {
            "meta": np.array(meta),
            "latency_s": self.latency_s,
            "sparsity": self.sparsity,
            "train": self.train,
            "layer_name": np.array([str(name) for name in self.layer_names]),
        }
        if not np.array_equal(self.sample_ids, np.arange(len(self.sample_ids))):
            arrays["sample_ids"] = self.sample_ids
        if self.length is not None:
            arrays["length"] = self.length
        if self.condition:
            arrays["condition"] = np.array([str(each) for each in self.condition])
        arrays.update(self.counts)
        for name, array in arrays.items():
            limit = _ARRAYS.get(name, ARRAY_LIMIT)
            if array.nbytes > limit:
                raise DystaError(
                    f"{where}: {name} takes {array.nbytes} bytes in a file; it may take {limit}"
                )
        if (total := sum(array.nbytes for array in arrays.values()) + 2**10 * len(arrays)) > (
            ARRAY_LIMIT
        ):
            raise DystaError(
                f"{where}: its arrays take {total} bytes in a file; they may take {ARRAY_LIMIT} "
                "together"
            )
        with replacing(path) as scratch:
            np.savez_compressed(scratch, **arrays)  # type: ignore[arg-type]


def _check_text(what: str, value: object) -> None:
    """Raise a `DystaError` if this is no text, an empty one, or one that has no encoding."""
    if not isinstance(value, str) or not value:
        raise DystaError(f"{what} is {shown(value)}; it must be a text")
    if re.search("[\ud800-\udfff]", value):
        raise DystaError(f"{what} is {value!a}, which holds half of a character")


def _copied(values: Any, kind: Any, what: str) -> NDArray[Any]:
    """The values as a new array of this kind, if that loses nothing.

    Raises:
        DystaError: If it does.
    """
    given = np.asarray(values)
    usable = {np.float64: "fiu", np.int64: "iuf", np.bool_: "biuf"}[kind]
    if given.dtype.kind not in usable:
        raise DystaError(f"{what} has a wrong type ({given.dtype}); it must be {kind.__name__}")
    with np.errstate(invalid="ignore", over="ignore"):
        copied = np.array(given, kind, order="C")
    lost = copied != given
    if given.dtype.kind == "f" and kind is np.float64:
        lost &= given == given  # NaN is none of our business
    if lost.any():
        value = given[lost].ravel()[0]
        raise DystaError(f"{what}: {value} is not allowed; it must be {_KINDS[kind]}")
    return copied


_KINDS = {np.float64: "a number", np.int64: "a whole number", np.bool_: "True or False"}


class Averages(NamedTuple):
    """Averages over a store's reference inputs: what is known before a request runs.

    Attributes:
        latency_s: Per trace, the average latency of each layer, ``(layers,)``.
        sparsity: Per trace, the average sparsity of each layer, ``(layers,)``.
        model_latency_s: Per model, the average latency of each layer over inputs and patterns.
        isolated_s: Per model, the average isolated latency ``A``, shape ``(models,)``.
    """

    latency_s: tuple[NDArray[np.float64], ...]
    sparsity: tuple[NDArray[np.float64], ...]
    model_latency_s: tuple[NDArray[np.float64], ...]
    isolated_s: NDArray[np.float64]


def cell_of(first_cell: Any, row: Any, layers: Any) -> Any:
    """Cell of the first layer of a row, or of each, in a `TraceStore`; compiled code takes it, too.

    Args:
        first_cell: First cell of the row's trace.
        row: Row of the trace.
        layers: Layers of the trace.
    """
    return first_cell + row * layers


class TraceStore(Sealed):
    """The traces of one accelerator, flattened for the event loop.

    The layers of all inputs of all traces stand one after the other in one row of *cells*: layer
    ``l`` of row ``i`` of trace ``t`` is cell ``cell_of(first_cell[t], i, layers[t]) + l``.

    Attributes:
        traces: The traces, in the order given.
        models: Names of the distinct models.
        model_of: Index into `models` for each trace, shape ``(traces,)``.
        layers: Layers of each trace, shape ``(traces,)``.
        first_cell: First cell of each trace, shape ``(traces,)``.
        latency_s: True latency of every cell in seconds, shape ``(cells,)``.

    Raises:
        DystaError: If there is no trace, a name stands twice, accelerators are mixed, or the
            patterns of one model differ in their number of layers.
    """

    def __init__(self, traces: Iterable[Trace]) -> None:
        self.traces = tuple(traces)
        if not self.traces:
            raise DystaError("traces: there is none; at least one is needed")
        names = [trace.name for trace in self.traces]
        for name in names:
            if names.count(name) > 1:
                raise DystaError(f"traces: {name!r} stands more than once; names must be unique")
        accelerators = sorted({trace.accelerator for trace in self.traces})
        if len(accelerators) > 1:
            raise DystaError(f"traces: accelerators {accelerators} are mixed; one is needed")
        self.accelerator = accelerators[0]
        self.models = tuple(dict.fromkeys(trace.model for trace in self.traces))
        self.model_of = sealed(
            np.array([self.models.index(t.model) for t in self.traces], np.int64)
        )
        self.layers = sealed(np.array([t.latency_s.shape[1] for t in self.traces], np.int64))
        for index, model in enumerate(self.models):
            counts = set(self.layers[self.model_of == index].tolist())
            if len(counts) > 1:
                raise DystaError(
                    f"model {model!r}: its patterns have {sorted(counts)} layers; "
                    "they must have the same number"
                )
        cells = np.array([t.latency_s.size for t in self.traces], np.int64)
        self.first_cell = sealed(np.concatenate([[0], np.cumsum(cells)[:-1]]).astype(np.int64))
        self.latency_s = sealed(np.concatenate([t.latency_s.ravel() for t in self.traces]))
        self._index = {name: index for index, name in enumerate(names)}
        self._averages: dict[str, Averages] = {}
        self.cached: dict[Any, Any] = {}  # tables that others derive from this store

    def __repr__(self) -> str:
        names = ", ".join(trace.name for trace in self.traces[:3])
        more = f" and {len(self.traces) - 3} more" * (len(self.traces) > 3)
        return f"<TraceStore on {self.accelerator!r}: {names}{more}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "cached": {}}  # derived again where they are needed

    def index(self, name: str) -> int:
        """Position of the trace called ``name``.

        Raises:
            DystaError: If there is none of that name.
        """
        if name not in self._index:
            raise one_of("trace", name, self._index)
        return self._index[name]

    def averages(self, reference: str) -> Averages:
        """Averages over the inputs of split ``reference``, patterns weighted by their inputs."""
        if reference not in self._averages:
            kept = [
                (t.latency_s[rows], t.sparsity[rows])
                for t in self.traces
                for rows in [t.rows(reference)]
            ]
            per_model = tuple(
                np.concatenate([kept[t][0] for t in np.flatnonzero(self.model_of == index)]).mean(
                    axis=0
                )
                for index in range(len(self.models))
            )
            self._averages[reference] = Averages(
                latency_s=tuple(sealed(latency.mean(axis=0)) for latency, _ in kept),
                sparsity=tuple(sealed(sparsity.mean(axis=0)) for _, sparsity in kept),
                model_latency_s=tuple(map(sealed, per_model)),
                isolated_s=sealed(np.array([latency.sum() for latency in per_model])),
            )
        return self._averages[reference]

    def isolated_s(self, trace: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.float64]:
        """True isolated latency in seconds of row ``row`` of trace ``trace``, both (requests,)."""
        result = np.empty(len(trace))
        for index, each in enumerate(self.traces):
            mine = trace == index
            result[mine] = each.isolated_s[row[mine]]
        return result

    @cached_property
    def shortest_s(self) -> tuple[float, float]:
        """The shortest layer that takes any time, and the shortest input, in seconds."""
        layer = self.latency_s[self.latency_s > 0].min()
        return float(layer), float(min(trace.isolated_s.min() for trace in self.traces))

    @cached_property
    def longest_s(self) -> float:
        """The input that takes longest, in seconds."""
        return float(max(trace.isolated_s.max() for trace in self.traces))

    def mean_isolated_s(self, reference: str) -> float:
        """Mean over the traces of their models' average isolated latency ``A``, in seconds.

        The scale of time of these networks, as a scheduler knows it beforehand.
        """
        return float(self.averages(reference).isolated_s[self.model_of].mean())


def reference_split(split: str) -> str:
    """Where averages come from when requests are drawn from ``split``: never from ``test``."""
    if split not in SPLITS:
        raise one_of("split", split, SPLITS)
    return "train" if split == "test" else split


# --- npz files -----------------------------------------------------------------------------------


def load_trace(path: str | Path) -> Trace:
    """Read a trace that a profiler or `Trace.save` wrote.

    Raises:
        DystaError: If the file is missing, truncated, of another version or inconsistent.
    """
    path = Path(path)
    where = f"trace file {str(path)!r}"
    content = read_arrays(path, where, {**_ARRAYS, **_COUNTS}, "not an npz file ({}); rebuild it")
    try:
        meta = json.loads(str(content["meta"]))
        version = meta["format"]
        identity = {key: meta[key] for key in _IDENTITY}
        for key, value in identity.items():
            if not isinstance(value, str):
                raise TypeError(f"{key} is {shown(value)}, no text")
            value.encode()
    except Exception as error:  # what is nested deeply or holds half a character raises more
        missing = "" if "meta" in content else "missing or "
        told = f"{type(error).__name__}: {error}"
        raise DystaError(f"{where}: meta is {missing}not valid ({told}); rebuild it") from None
    if version != FORMAT:
        raise DystaError(
            f"{where}: format is {shown(version)}; this version reads {FORMAT}, rebuild it"
        )

    def array(name: str) -> NDArray[Any]:
        if name not in content:
            raise DystaError(f"array {name!r} is missing")
        return content[name]

    def numbers(name: str) -> NDArray[Any]:
        given, most = array(name), ARRAY_LIMIT // 8
        if given.size > most:  # which take more once they are all as wide as they are kept
            raise DystaError(f"array {name!r} holds {given.size} numbers; {most} are allowed")
        return given

    def texts(name: str) -> tuple[str, ...]:
        given = array(name)
        if given.dtype.kind != "U":
            raise DystaError(f"array {name!r} has a wrong type ({given.dtype}); it must hold texts")
        return tuple(given.ravel().tolist()) if given.ndim == 1 else ()

    try:
        latency_s, sparsity = numbers("latency_s"), numbers("sparsity")
        large = max(latency_s.size, sparsity.size) > 2**20
        if large and sparsity.shape != latency_s.shape:  # before either is copied
            raise DystaError(
                f"trace {identity['name']!r}: sparsity has shape {sparsity.shape}, expected "
                f"{latency_s.shape}"
            )
        numbered = np.arange(len(latency_s) if latency_s.ndim else 0, dtype=np.int64)
        return Trace(
            **identity,
            latency_s=latency_s,
            sparsity=sparsity,
            train=numbers("train"),
            sample_ids=numbers("sample_ids") if "sample_ids" in content else numbered,
            layer_names=texts("layer_name"),
            length=numbers("length") if "length" in content else None,
            condition=texts("condition") if "condition" in content else (),
            provenance=meta,
            counts={name: content[name] for name in _COUNTS if name in content},
        )
    except DystaError as error:
        raise DystaError(f"{where}: {error}") from None
    except (ValueError, UnicodeError) as error:
        raise DystaError(f"{where} is damaged ({error}); rebuild it") from None


_IDENTITY = ("name", "model", "pattern", "accelerator")
"""What a file's meta says of a trace besides its provenance."""

_ARRAYS: Mapping[str, int] = {
    **dict.fromkeys(("latency_s", "sparsity", "train", "length", "sample_ids"), ARRAY_LIMIT),
    **dict.fromkeys(("meta", "layer_name", "condition"), TEXT_LIMIT),
}
"""The arrays that are read, and the bytes that they may take."""

_COUNTS: Mapping[str, int] = {
    **dict.fromkeys(COUNTED, ARRAY_LIMIT),
    **dict.fromkeys(("group", "input_name"), TEXT_LIMIT),
}
"""Those that are kept as they are."""


WHOLE = "_whole"
"""Ends the name of a whole network, of whose attention alone there is a trace file."""


def whole_trace(path: str | Path, steps: Steps = "blocks") -> Trace:
    """The whole network, from the trace file of its attention: ``NAME_whole`` of ``NAME``.

    What is added is dense: the feed-forward halves of the blocks, a language model's head,
    convolutions before the first layer. Their latencies follow from the lengths and the shapes in
    the file. Dense layers have a sparsity of 0, which says nothing of the input.

    Args:
        path: The file.
        steps: What nothing interrupts: ``blocks``, each an attention layer with the dense work
            after it, or ``layers``.

    Raises:
        DystaError: If the file is damaged, or has no shapes.
    """
    base = load_trace(path)
    layers = whole_network(path, steps)
    nothing = np.zeros(len(base.train))
    columns = [nothing if of is None else base.sparsity[:, of] for of in layers.measured]
    name = f"{base.name}{WHOLE}"
    network = base.provenance.get("network", base.name)
    return replace(
        base,
        name=name,
        model=name,
        latency_s=charge_of(base.accelerator).layer_latency_s(layers),
        sparsity=np.stack(columns, axis=1),
        layer_names=layers.names,
        provenance={**base.provenance, "name": name, "model": name, "network": f"{network}; whole"},
        counts={},  # which are of the attention alone
    )


def whole_network(path: str | Path, steps: Steps = "blocks") -> Layers:
    """What the layers of a whole network consist of; see `whole_trace`.

    Raises:
        DystaError: If the file is damaged, or has no shapes.
    """
    layers, shapes = read_layers(path)
    if shapes is None:
        raise DystaError(
            f"trace file {str(path)!r} has no shapes in its meta, from which the whole network "
            "follows; profile it again"
        )
    return whole_layers(layers, shapes, steps)


def shipped_traces() -> dict[str, Path]:
    """Name and file of every trace file in the package, sorted by name."""
    return {path.stem: path for path in sorted(packaged("traces").glob("*.npz"))}


ENTRY_POINTS = "dysta_gym.traces"
"""Entry-point group for trace files of other packages: ``name = "module:PATH"``."""

TRACES = OpenFiles("trace", ENTRY_POINTS, shipped_traces)
"""The trace files by name, those of this package and those of others."""


@cache
def trace_names() -> tuple[str, ...]:
    """Names of all traces in the package: those in files, and the whole networks."""
    names = []
    for name, path in shipped_traces().items():
        meta = read_arrays(path, f"trace file {str(path)!r}", {"meta": TEXT_LIMIT}, "no npz ({})")
        names += [name] + [f"{name}{WHOLE}"] * ("shapes" in json.loads(str(meta["meta"])))
    return tuple(names)


@cache
def shipped_trace(name: str) -> Trace:
    """The trace called ``name`` of the package, read once.

    Raises:
        DystaError: If there is none of that name.
    """
    files = shipped_traces()
    if name in files:
        return load_trace(files[name])
    if name not in trace_names():
        raise one_of("trace", name, trace_names())
    return whole_trace(files[name.removesuffix(WHOLE)])


# --- CSV files of the Sparse-DySta artifact ------------------------------------------------------

_ARTIFACT_COLUMNS: Mapping[str, Sequence[str]] = {
    "sanger": ("overall-sparsity", "50%-skip"),
    "eyerissv2": ("sim_lat", "overall-sparsity"),
}


def read_artifact_trace(path: str | Path, accelerator: str) -> Trace:
    """Read one CSV of the Sparse-DySta artifact: a row per (input, layer).

    ``batch-indx`` is the input and ``layer-indx`` the layer. For Sanger, ``overall-sparsity`` is
    the *density* in spite of its name and ``50%-skip`` the load balance, at sequence length 512;
    for Eyeriss-V2, ``sim_lat`` is the latency in seconds and ``overall-sparsity`` the sparsity of
    the layer's input. The file's name up to the first ``_`` is the model and the rest the pattern,
    but for Sanger, whose files have one pattern a model: there the whole name is the model.

    Raises:
        DystaError: If a column or a layer is missing, a row stands twice, or a value is not usable.
    """
    path = Path(path)
    where = f"trace file {str(path)!r}"
    if accelerator not in ACCELERATORS:
        raise one_of("accelerator", accelerator, ACCELERATORS)
    columns = (*_ARTIFACT_COLUMNS[accelerator], "batch-indx", "layer-indx")
    frame = read_csv(path, where, columns)
    values = {name: numeric_column(frame, name, where) for name in columns}
    if not len(frame):
        raise DystaError(f"{where} has no rows")
    for name in ("batch-indx", "layer-indx"):
        whole = (values[name] == np.floor(values[name])) & (values[name] < 2**53)
        bad = np.flatnonzero((values[name] < 0) | ~whole)
        if bad.size:
            raise DystaError(
                f"{where}: column {name!r}, row {bad[0] + 1} is "
                f"{values[name][bad[0]]:g}; it must be a whole number"
            )
    sample_ids, row = np.unique(values["batch-indx"].astype(np.int64), return_inverse=True)
    layer = values["layer-indx"].astype(np.int64)
    shape = (len(sample_ids), int(layer.max()) + 1)
    most = min(100 * len(frame), _MOST_VALUES)
    if shape[0] * shape[1] > most:  # a stray index, before a table of that size is made
        raise DystaError(
            f"{where}: column 'layer-indx' reaches {shape[1] - 1} with only "
            f"{len(frame)} rows; layers must be numbered from 0"
        )
    count = np.zeros(shape, np.int64)
    np.add.at(count, (row, layer), 1)
    if (count != 1).any():
        at, which = (int(index[0]) for index in np.nonzero(count != 1))
        raise DystaError(
            f"{where}: layer {which} of input {sample_ids[at]} stands "
            f"{count[at, which]} times; every input needs each layer once"
        )

    def table(name: str) -> NDArray[np.float64]:
        result = np.empty(shape)
        result[row, layer] = values[name]
        return result

    if accelerator == "sanger":
        model, pattern = path.stem, "dense"
        for name, low in (("overall-sparsity", 0.0), ("50%-skip", np.nextafter(0, 1))):
            outside = np.flatnonzero((values[name] < low) | (values[name] > 1))
            if outside.size:
                raise DystaError(
                    f"{where}: column {name!r}, row {outside[0] + 1} is "
                    f"{values[name][outside[0]]:g}; it must be "
                    f"{'above' if low else 'at least'} 0 and at most 1"
                )
        density, balance = table("overall-sparsity"), table("50%-skip")
        with np.errstate(over="ignore"):  # what is infinite is refused below
            latency_s = sanger_layer_latency_s(density, balance, ARTIFACT_SEQUENCE_LENGTH)
        sparsity = 1 - density
    else:
        model, _, pattern = path.stem.partition("_")
        latency_s, sparsity = table("sim_lat"), table("overall-sparsity")
    try:
        return Trace(
            name=path.stem,
            model=model,
            pattern=pattern or "dense",
            accelerator=accelerator,
            latency_s=latency_s,
            sparsity=sparsity,
            train=np.arange(shape[0]) % 2 == 0,
            sample_ids=sample_ids,
            layer_names=tuple(f"layer {index}" for index in range(shape[1])),
            provenance={"network": path.stem, "inputs": f"artifact CSV {path.name}"},
        )
    except DystaError as error:
        raise DystaError(f"{where}: {error}") from None


def read_artifact_traces(folder: str | Path, accelerator: str) -> TraceStore:
    """Read every CSV in ``folder`` (see `read_artifact_trace`), sorted by name.

    Raises:
        DystaError: If the folder is missing or holds no CSV, or a file in it is not usable.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DystaError(f"traces: {str(folder)!r} is not a folder")
    files = visible(folder, "*.csv")
    if not files:
        raise DystaError(f"traces: folder {str(folder)!r} holds no CSV file")
    return TraceStore(read_artifact_trace(path, accelerator) for path in files)


def read_csv(
    path: str | Path,
    where: str,
    needed: Collection[str] = (),
    known: Collection[str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """A CSV file as a data frame, spaces around its names and before its values left out.

    Args:
        path: The file.
        where: What an error calls it.
        needed: Columns that it must have.
        known: Columns that it may have; None for any.
        **options: Of ``pandas.read_csv``.

    Raises:
        DystaError: If there is no such file, it is no regular one or no CSV, or a column is
            missing, unknown or there twice.
    """
    import pandas as pd

    try:
        with warnings.catch_warnings(), open_regular(path, where) as stream:
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more fields
            if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
                # Later ones read each number as the nearest float by themselves.
                options["float_precision"] = "round_trip"
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # which `numeric_column` sees
            if len(stream.readline(_WIDEST + 1)) > _WIDEST:
                raise DystaError(f"{where}: its first line is longer than {_WIDEST} bytes")
            stream.seek(0)
            # The header is read as a row, for pandas would give equal names other ones.
            header = pd.read_csv(stream, header=None, nrows=1, dtype=str, keep_default_na=False)
            names = [str(name).strip() for name in header.iloc[0]]
            _check_columns(names, where, needed, known)
            _check_size(stream, len(names), where)
            stream.seek(0)
            frame = pd.read_csv(
                stream, index_col=False, skipinitialspace=True, names=names, header=0, **options
            )
    except FileNotFoundError:
        raise DystaError(f"{where} does not exist") from None
    except DystaError:
        raise
    except Exception as error:  # pandas lists none
        raise DystaError(f"{where} is not a CSV file ({' '.join(str(error).split())})") from None
    return frame


_WIDEST, _MOST_COLUMNS = 2**16, 1_000
"""Bytes of the first line of a CSV file at most, and columns."""

_MOST_BYTES, _MOST_VALUES = 2**30, 50_000_000
"""Bytes of a CSV file at most; rows times columns, which a row takes whatever is in it."""


def _check_size(stream: BinaryIO, columns: int, where: str) -> None:
    """Refuse a file that takes more memory than such files need, before it is read."""
    size = stream.seek(0, 2)
    if size > _MOST_BYTES:
        raise DystaError(f"{where} has {size} bytes; {_MOST_BYTES} are allowed")
    if size * columns <= _MOST_VALUES:
        return
    rows = 1
    stream.seek(0)
    while part := stream.read(2**20):
        rows += part.count(b"\n") + part.count(b"\r")
    if rows * columns > _MOST_VALUES:
        raise DystaError(
            f"{where} has {rows} lines of {columns} values; {_MOST_VALUES} values are allowed"
        )


def _check_columns(
    names: Sequence[str], where: str, needed: Collection[str], known: Collection[str] | None
) -> None:
    """Refuse columns that are missing, there twice or unknown, and too many."""
    if len(names) > _MOST_COLUMNS:
        raise DystaError(f"{where} has {len(names)} columns; {_MOST_COLUMNS} are allowed")
    for name in needed:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; is it {shown(near[0])}?" if near else ""
            raise DystaError(f"{where}: column {name!r} is missing{hint}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DystaError(f"{where}: column {shown(twice)} is there more than once")
    if known is None:
        return
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it may have: {', '.join(known)}"
            raise DystaError(f"{where}: column {shown(name)} is unknown; {hint}")


def numeric_column(frame: pd.DataFrame, name: str, where: str) -> NDArray[np.float64]:
    """Column ``name`` of a data frame as finite float64, or a `DystaError` naming the first fault.

    The file named in ``where`` is quoted in the message; rows are counted from 1, without header.
    """
    if name not in frame.columns:
        raise DystaError(f"{where}: column {name!r} is missing")
    column = frame[name]
    if column.dtype.kind in "iuf":
        values = column.to_numpy(np.float64)
        whole = column.to_numpy()
        with np.errstate(invalid="ignore"):  # of what is larger than the greatest whole number
            differs = values.astype(whole.dtype) != whole
        if whole.dtype.kind != "f" and differs.any():
            lost = int(np.argmax(differs))
            raise DystaError(
                f"{where}: column {name!r}, row {lost + 1} is {column.iloc[lost]}; it must "
                f"be at most {2**53} in size"
            )
    else:  # pandas has found something that is no number, and left the texts as they are
        values = np.array([_number(text) for text in column.tolist()], np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise DystaError(
            f"{where}: column {name!r}, row {bad[0] + 1} is "
            f"{shown(column.tolist()[bad[0]])}; it must be a finite number"
        )
    return values


def _number(text: object) -> float:
    """The number that a text is, NaN if it is none."""
    try:
        return np.nan if isinstance(text, bool) or "_" in str(text) else float(str(text))
    except ValueError:
        return np.nan
