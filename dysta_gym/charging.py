"""What an accelerator charges for a layer: an open table of models, and memory as a roofline.

A model is a function from an operation, with what was counted on each input and its shapes
(`dysta_gym.operations.Operation`), to seconds. The models of any installed package plug in beside
the two published ones through the entry-point group ``dysta_gym.accelerators``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dysta_gym.accelerators import (
    EYERISSV2_CLOCK_HZ,
    EYERISSV2_CYCLES_PER_MAC,
    EYERISSV2_PES,
    SANGER_CLOCK_HZ,
    SANGER_MULTIPLIERS,
    SANGER_TILE,
    eyerissv2_layer_latency_s,
    sanger_dense_latency_s,
    sanger_layer_latency_s,
    sanger_padded_length,
)
from dysta_gym.errors import DystaError, shown
from dysta_gym.operations import KINDS, Layers, Operation
from dysta_gym.parameters import Parameter
from dysta_gym.plugins import OpenTable

ENTRY_POINTS = "dysta_gym.accelerators"
"""Entry-point group in which models register: ``name = "module:OBJECT"``."""


@dataclass(frozen=True, eq=False)
class Accelerator:
    """A model of an accelerator: what it charges for an operation.

    Attributes:
        name: Its name, as scenarios give it.
        latency_s: ``latency_s(operation, parameters)``: seconds for each input, an array of shape
            ``(inputs,)`` or a number. ``parameters`` has a value for each of `parameters`.
        kinds: Kinds of operations that it charges, of ``attention``, ``dense`` and ``convolution``.
        summary: What it stands for, in one line.
        parameters: What a scenario may set, by name.
        peak_macs_per_s: Its peak in multiplications a second, from the parameters; None if unknown.
        published: What the published chip has and reaches.
        weight_bits: Bits of a weight in memory, unless a scenario says otherwise.
        activation_bits: Bits of an activation in memory, likewise.
        source: Where its formula is from.
    """

    name: str
    latency_s: Callable[[Operation, Mapping[str, float]], ArrayLike]
    kinds: tuple[str, ...]
    summary: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    peak_macs_per_s: Callable[[Mapping[str, float]], float] | None = None
    published: str = ""
    weight_bits: int = 8
    activation_bits: int = 8
    source: str = ""

    def __post_init__(self) -> None:
        where = f"accelerator {shown(self.name)}"
        if not isinstance(self.name, str) or not self.name:
            raise DystaError(f"{where}: name must be a text")
        if not callable(self.latency_s):
            raise DystaError(
                f"{where}: latency_s is {shown(self.latency_s)}; it must be a function of an "
                "operation and parameters"
            )
        for kind in self.kinds:
            if kind not in KINDS:
                raise DystaError(
                    f"{where}: kinds has {shown(kind)}; choose from: {', '.join(KINDS)}"
                )
        for name in self.parameters:
            if name in ("model", *MEMORY):
                raise DystaError(f"{where}: parameter {name!r} has a meaning for every model")

    def __str__(self) -> str:
        return self.name

    @property
    def defaults(self) -> dict[str, float]:
        """The parameters' defaults, by name."""
        return {name: parameter.default for name, parameter in self.parameters.items()}


MEMORY: Mapping[str, Parameter] = {
    "bandwidth": Parameter(
        math.inf, "bytes a second between memory and chip; none is charged without", 1, 1e15
    ),
    "weight_bits": Parameter(8, "bits of a weight in memory", 1, 64, whole=True),
    "activation_bits": Parameter(8, "bits of an activation in memory", 1, 64, whole=True),
}
"""What every model takes: memory as a roofline."""


# --- the models of this package ------------------------------------------------------------------

_CLOCK = Parameter(SANGER_CLOCK_HZ, "cycles a second", 1, 1e12)


def _sanger(operation: Operation, parameters: Mapping[str, float]) -> NDArray[np.float64]:
    clock_hz = parameters["clock_hz"]
    if operation.kind == "dense":
        rows, weights = operation["rows"], operation["weights"]
        return sanger_dense_latency_s(rows, weights, clock_hz=clock_hz)
    return sanger_layer_latency_s(
        operation["density"],
        operation["load_balance"],
        sanger_padded_length(operation["queries"]),
        operation["width"],
        sanger_padded_length(operation["keys"]),
        key_value_width=operation["key_value_width"],
        clock_hz=clock_hz,
    )


SANGER = Accelerator(
    "sanger",
    _sanger,
    ("attention", "dense"),
    "sparse attention on an array of 64 x 64 positions with 16 multipliers a row",
    {"clock_hz": _CLOCK},
    lambda parameters: SANGER_TILE * SANGER_MULTIPLIERS * parameters["clock_hz"],
    "peak 1.02e12 MAC/s (1,024 multipliers at 1 GHz); on BERT's attention 4.64 times as fast as a "
    "V100 GPU and 1.47 times as SpAtten",
    16,
    16,
    "Lu et al., MICRO 2021, and its artifact's bench_sanger_v2.py",
)


def _eyerissv2(operation: Operation, parameters: Mapping[str, float]) -> NDArray[np.float64]:
    return eyerissv2_layer_latency_s(
        operation["valid_macs"], operation["address_checks"], **parameters
    )


EYERISSV2 = Accelerator(
    "eyerissv2",
    _eyerissv2,
    ("convolution",),
    "convolutions on processing elements that skip zero weights and activations",
    {
        "pes": Parameter(EYERISSV2_PES, "processing elements", 1, 1e6, whole=True),
        "clock_hz": Parameter(EYERISSV2_CLOCK_HZ, "cycles a second", 1, 1e12),
        "cycles_per_mac": Parameter(
            EYERISSV2_CYCLES_PER_MAC, "cycles a multiplication takes; the chip's peak is 0.5",
            0.01, 1000,
        ),
    },
    lambda parameters: (
        parameters["pes"] * parameters["clock_hz"] / parameters["cycles_per_mac"]
    ),
    "peak 7.68e10 MAC/s (two a cycle in each of 192 PEs at 200 MHz), eight times this model's, "
    "whose 4 cycles a MAC are the artifact's; sparse MobileNet at 1470.6 inferences/s",
    8,
    8,
    "Chen et al., JETCAS 2019; the formula of Sparse-DySta's hw_eyerissv2.py",
)  # fmt: skip


def _ideal(operation: Operation, parameters: Mapping[str, float]) -> NDArray[np.float64]:
    return operation.macs / (parameters["macs_per_cycle"] * parameters["clock_hz"])


IDEAL = Accelerator(
    "ideal",
    _ideal,
    KINDS,
    "every multiplication that no zero spares, at the peak: no array is faster",
    {
        "macs_per_cycle": Parameter(
            SANGER_TILE * SANGER_MULTIPLIERS, "multiplications a cycle", 1, 1e9
        ),
        "clock_hz": _CLOCK,
    },
    lambda parameters: parameters["macs_per_cycle"] * parameters["clock_hz"],
    "no chip",
    8,
    8,
    "the operations alone",
)

TABLE = OpenTable("accelerator", ENTRY_POINTS, Accelerator)
TABLE.own.update({model.name: model for model in (SANGER, EYERISSV2, IDEAL)})


# --- one that is chosen --------------------------------------------------------------------------


class Charge(NamedTuple):
    """A model with its parameters, and the memory behind it; equal where all of it is.

    Attributes:
        model: The model.
        values: Name and value of each parameter.
        bandwidth: Bytes a second, None where memory is not charged.
        weight_bits: Bits of a weight.
        activation_bits: Bits of an activation.
    """

    model: Accelerator
    values: tuple[tuple[str, float], ...]
    bandwidth: float | None
    weight_bits: float
    activation_bits: float

    @property
    def as_published(self) -> bool:
        """Whether it is what a trace that was measured for the model has in its file."""
        return self.bandwidth is None and dict(self.values) == self.model.defaults

    def layer_latency_s(self, layers: Layers) -> NDArray[np.float64]:
        """Latency of each layer in seconds, shape ``(inputs, layers)``.

        Of each operation, the greater of what the model says and, with a bandwidth, the time to
        read its weights and activations and to write its results.

        Raises:
            DystaError: If the model does not charge one of the operations, or a count is not there.
        """
        columns = [
            sum((self._operation_s(each, layers.inputs) for each in does), np.zeros(layers.inputs))
            for does in layers.operations
        ]
        return np.stack(columns, axis=1)

    def _operation_s(self, operation: Operation, inputs: int) -> NDArray[np.float64]:
        model = self.model
        if operation.kind not in model.kinds:
            raise DystaError(
                f"accelerator {model.name!r} charges no {operation.kind}, which {operation.name!r} "
                f"is; choose one that does: {', '.join(_charging(operation.kind))}"
            )
        found = np.asarray(model.latency_s(operation, dict(self.values)))
        if found.dtype.kind not in "fiu" or found.shape not in ((), (inputs,)):
            raise DystaError(
                f"accelerator {model.name!r}: latency_s gives {found.dtype} of shape "
                f"{found.shape} for {operation.name!r}; it must be numbers of shape ({inputs},)"
            )
        latency_s = np.broadcast_to(found, inputs).astype(np.float64)
        if self.bandwidth is None:
            return latency_s
        return np.maximum(latency_s, self.bytes_of(operation) / self.bandwidth)

    def bytes_of(self, operation: Operation) -> NDArray[np.float64]:
        """Bytes that an operation reads and writes: each value once, weights other than zero.

        Raises:
            DystaError: If the trace does not say how many there are.
        """
        for name in ("weights", "values_in", "values_out"):
            if name not in operation:
                raise DystaError(
                    f"accelerator.bandwidth: {operation.name!r} has no {name!r} in its trace, "
                    "without which its bytes are unknown; leave bandwidth out, or profile it again"
                )
        values = np.asarray(operation["values_in"]) + operation["values_out"]
        bits = operation["weights"] * self.weight_bits + values * self.activation_bits
        return np.asarray(bits / 8, np.float64)


def _charging(kind: str) -> list[str]:
    return [name for name, model in TABLE.own.items() if kind in model.kinds]


def charge_of(given: object) -> Charge:
    """What a scenario gives as its accelerator: a name, a model, or a mapping with ``model``.

    Raises:
        DystaError: If there is no such model, or a key or a value is not allowed.
    """
    return _charge(given) if isinstance(given, str | Accelerator) else _charge_of(given)


def _charge_of(given: Any) -> Charge:
    fields: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"model": given}
    if "model" not in fields:
        raise DystaError(f"model: is missing; choose one of: {', '.join(TABLE.names())}")
    wanted = fields.pop("model")
    if isinstance(wanted, str) and not is_model(wanted):
        raise DystaError(f"model: {shown(wanted)} is unknown; choose one of: {listed_names()}")
    model = TABLE.find(wanted)
    memory = {
        **MEMORY,
        "weight_bits": _with_default(MEMORY["weight_bits"], model.weight_bits),
        "activation_bits": _with_default(MEMORY["activation_bits"], model.activation_bits),
    }
    known = {**model.parameters, **memory}
    values = {}
    for key, value in fields.items():
        if key not in known:
            raise DystaError(
                f"key {shown(key)} is unknown for {model.name!r}; choose from: "
                f"{', '.join(('model', *known))}"
            )
        if key == "bandwidth" and (value is None or value == math.inf):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DystaError(f"{key}: {shown(value)} is not allowed; it must be a number")
        known[key].check(key, value)
        values[key] = float(value)
    bits = {key: values.pop(key, memory[key].default) for key in ("weight_bits", "activation_bits")}
    bandwidth = values.pop("bandwidth", None)
    return Charge(model, tuple({**model.defaults, **values}.items()), bandwidth, **bits)


_charge = cache(_charge_of)  # workloads ask for it again and again


def is_model(name: str) -> bool:
    """Whether there is a model of this name."""
    return name in TABLE.own or name in TABLE.names()


@cache
def measured_on(name: str) -> Charge:
    """An accelerator of which there is no model, and only latencies that were measured on it."""
    return Charge(Accelerator(name, _nothing, ()), (), None, 8, 8)


def _nothing(operation: Operation, parameters: Mapping[str, float]) -> ArrayLike:
    raise AssertionError  # of a model that charges no kind of operation


def listed_names() -> str:
    """The names of all models, quoted, for messages."""
    return ", ".join(map(repr, TABLE.names()))


def _with_default(parameter: Parameter, default: float) -> Parameter:
    return Parameter(
        default, parameter.description, parameter.low, parameter.high, whole=parameter.whole
    )
