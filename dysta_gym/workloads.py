"""Who asks for what, when, and by when.

A `Scenario` describes a deployment: the accelerator, the networks that share it, how requests
arrive, how much load they offer and how tight their deadlines are. It is a YAML file checked by a
schema. A `Workload` is one draw from it, or a recorded file: the requests themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dysta_gym.errors import DystaError, one_of
from dysta_gym.traces import (
    Accelerator,
    TraceStore,
    load_trace,
    numeric_column,
    read_artifact_trace,
    read_csv,
    reference_split,
    shipped_trace,
)

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]

PAPER_PRIORITIES = (1.0, 3.0, 9.0)
"""Priorities of the published comparison, drawn uniformly (Sparse-DySta, after PREMA)."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Poisson(_Strict):
    """Independent arrivals: exponential gaps of mean 1 / rate."""

    process: Literal["poisson"] = "poisson"

    def unit_gaps(self, requests: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Gaps before each request at a rate of 1, shape ``(requests,)``."""
        return rng.exponential(size=requests)


class Scenario(_Strict):
    """A deployment, from which workloads are drawn.

    Attributes:
        name: Its name.
        description: What it stands for, in a line or two.
        accelerator: ``sanger`` or ``eyerissv2``.
        traces: Weight of each trace: requests ask for it in this proportion.
        trace_dir: Folder of the trace files (npz, or CSVs of the artifact), relative to the
            scenario file; None for the traces in the package.
        arrivals: The arrival process.
        load: Offered work over capacity: mean isolated latency times arrival rate. Either this ...
        rate: ... or the arrival rate, in requests a second.
        slo_multiplier: Deadline of a request after its arrival, in average isolated latencies.
        priorities: Priorities, drawn uniformly.
        requests: Number of requests.
        sources: Where the figures come from.
    """

    name: str
    description: str = ""
    accelerator: Accelerator
    traces: dict[str, Positive] = Field(min_length=1)
    trace_dir: str | None = None
    arrivals: Poisson = Poisson()
    load: Positive | None = None
    rate: Positive | None = None
    slo_multiplier: Positive = 10.0
    priorities: tuple[Positive, ...] = Field(PAPER_PRIORITIES, min_length=1)
    requests: int = Field(1000, gt=0, strict=True)
    sources: tuple[str, ...] = ()

    @pydantic.model_validator(mode="after")
    def _one_of_load_and_rate(self) -> Scenario:
        if (self.load is None) == (self.rate is None):
            given = "neither" if self.load is None else "both"
            raise ValueError(f"load, rate: {given} is given; give one of the two")
        return self

    def varied(
        self,
        *,
        load: float | None = None,
        rate: float | None = None,
        slo_multiplier: float | None = None,
        requests: int | None = None,
    ) -> Scenario:
        """This scenario with another load or rate, SLO multiplier or number of requests.

        What is None stays. A load replaces the scenario's rate, and a rate its load.

        Raises:
            DystaError: If a value is not allowed, or both load and rate are given.
        """
        given = {"load": load, "rate": rate, "slo_multiplier": slo_multiplier, "requests": requests}
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if "load" in changes or "rate" in changes:
            changes = {"load": None, "rate": None, **changes}
        return _checked({**self.model_dump(), **changes}, f"scenario {self.name!r}", None)

    def store(self) -> TraceStore:
        """The traces that this scenario draws from.

        Raises:
            DystaError: If a trace is absent, damaged or of another accelerator.
        """
        return _store(self.accelerator, tuple(self.traces), self.trace_dir)


@cache
def _store(accelerator: str, names: tuple[str, ...], trace_dir: str | None) -> TraceStore:
    if trace_dir is None:
        traces = [shipped_trace(name) for name in names]
    else:
        folder = Path(trace_dir)
        traces = []
        for name in names:
            npz, csv = folder / f"{name}.npz", folder / f"{name}.csv"
            if not npz.exists() and not csv.exists():
                raise DystaError(f"traces: there is neither {str(npz)!r} nor a CSV of that name")
            traces.append(
                load_trace(npz) if npz.exists() else read_artifact_trace(csv, accelerator)
            )
    for trace in traces:
        if trace.accelerator != accelerator:
            raise DystaError(
                f"traces: {trace.name!r} was measured on {trace.accelerator!r}, "
                f"but the scenario's accelerator is {accelerator!r}"
            )
    return TraceStore(traces)


def shipped_scenarios() -> dict[str, Path]:
    """Name and file of every scenario in the package, sorted by name."""
    folder = Path(str(resources.files("dysta_gym"))) / "data" / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_scenario(source: str | Path | Mapping[str, Any] | Scenario) -> Scenario:
    """A scenario by name, from a YAML file, or from a mapping of its fields.

    Raises:
        DystaError: If there is none of that name, or a field is missing, unknown or not allowed.
    """
    if isinstance(source, Scenario):
        return source
    if isinstance(source, Mapping):
        return _checked(source, f"scenario {source.get('name', '')!r}", None)
    if not isinstance(source, str | Path):
        raise DystaError(
            f"scenario: {source!r} is not allowed; it must be a name, a YAML file or a mapping"
        )
    shipped = shipped_scenarios()
    if str(source) in shipped:
        path = shipped[str(source)]
    elif Path(source).suffix in {".yaml", ".yml"}:
        path = Path(source)
    else:
        raise one_of("scenario", str(source), [*shipped, "a YAML file"])
    where = f"scenario file {str(path)!r}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DystaError(f"{where} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DystaError(f"{where} cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise DystaError(f"{where} is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, Mapping):
        raise DystaError(f"{where} holds a {type(content).__name__}; it must hold a mapping")
    return _checked(content, where, path.parent)


def _checked(content: Mapping[str, Any], where: str, folder: Path | None) -> Scenario:
    try:
        scenario = Scenario.model_validate(dict(content))
    except pydantic.ValidationError as error:
        raise DystaError(f"{where}: {_first_fault(error)}") from None
    if folder is not None and scenario.trace_dir is not None:
        scenario = scenario.model_copy(update={"trace_dir": str(folder / scenario.trace_dir)})
    return scenario


def _first_fault(error: pydantic.ValidationError) -> str:
    """The first fault that pydantic found, as ``field: value is ...; what would be right``."""
    fault = error.errors()[0]
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(Scenario.model_fields if len(fault["loc"]) == 1 else Poisson.model_fields)
        return f"key {name!r} is unknown; choose one of: {known}"
    if fault["type"] == "missing":
        return f"key {name!r} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if not name:
        return message
    return f"{name}: {fault['input']!r} is not allowed; {message[:1].lower()}{message[1:]}"


@dataclass(frozen=True, eq=False)
class Workload:
    """Requests, in order of arrival.

    Attributes:
        store: The traces that they ask for.
        reference: Split of the store's inputs that averages are taken over.
        arrival_s: Arrival in seconds, shape ``(requests,)``, never decreasing.
        trace: Index of the trace in the store, same shape.
        row: Row of the input in that trace, same shape.
        priority: Priority, same shape.
        slo_multiplier: The deadline is the arrival plus this many average isolated latencies.

    Raises:
        DystaError: If there is no request, arrivals decrease, or a column has another length.
    """

    store: TraceStore
    reference: str
    arrival_s: NDArray[np.float64]
    trace: NDArray[np.int64]
    row: NDArray[np.int64]
    priority: NDArray[np.float64]
    slo_multiplier: float

    def __post_init__(self) -> None:
        total = np.size(self.arrival_s)
        if not total:
            raise DystaError("workload: there is no request; at least one is needed")
        for name, kind in (
            ("arrival_s", np.float64),
            ("trace", np.int64),
            ("row", np.int64),
            ("priority", np.float64),
        ):
            object.__setattr__(self, name, _column(name, getattr(self, name), kind, total))
        _require(np.isfinite(self.arrival_s) & (self.arrival_s >= 0), "arrival_s", self.arrival_s,
                 "finite and not negative")  # fmt: skip
        _require(np.isfinite(self.priority) & (self.priority > 0), "priority", self.priority,
                 "finite and above 0")  # fmt: skip
        late = np.flatnonzero(np.diff(self.arrival_s) < 0)
        if late.size:
            at = int(late[0]) + 1
            raise DystaError(
                f"workload: arrival_s of request {at + 1} is {self.arrival_s[at]:g}, before "
                f"request {at} at {self.arrival_s[at - 1]:g}; sort the requests by arrival"
            )
        traces = len(self.store.traces)
        _require((self.trace >= 0) & (self.trace < traces), "trace", self.trace,
                 f"0 to {traces - 1}, a trace of the store")  # fmt: skip
        inputs = np.array([len(trace.train) for trace in self.store.traces])[self.trace]
        outside = np.flatnonzero((self.row < 0) | (self.row >= inputs))
        if outside.size:
            at = int(outside[0])
            raise DystaError(
                f"workload: row of request {at + 1} is {self.row[at]}; it must be "
                f"0 to {inputs[at] - 1}, an input of {self.store.traces[self.trace[at]].name!r}"
            )
        _check_slo(self.slo_multiplier)

    def __len__(self) -> int:
        return len(self.arrival_s)

    @cached_property
    def model(self) -> NDArray[np.int64]:
        """Index of each request's model in the store, shape ``(requests,)``."""
        return self.store.model_of[self.trace]

    @cached_property
    def deadline_s(self) -> NDArray[np.float64]:
        """Deadline of each request in seconds, shape ``(requests,)``."""
        average = self.store.averages(self.reference).isolated_s
        return self.arrival_s + self.slo_multiplier * average[self.model]

    @cached_property
    def isolated_s(self) -> NDArray[np.float64]:
        """True isolated latency of each request in seconds, shape ``(requests,)``."""
        result = np.empty(len(self))
        for index, trace in enumerate(self.store.traces):
            mine = self.trace == index
            result[mine] = trace.isolated_s[self.row[mine]]
        return result

    def with_slo(self, multiplier: float) -> Workload:
        """The same requests with other deadlines."""
        return replace(self, slo_multiplier=multiplier)


def _column(name: str, values: Any, kind: type[np.generic], total: int) -> NDArray[Any]:
    """A column of a workload as an array of its own, writable and contiguous as compiled."""
    try:
        column = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise DystaError(f"workload: {name} does not hold numbers ({error})") from None
    if column.shape != (total,):
        raise DystaError(f"workload: {name} has shape {column.shape}, expected ({total},)")
    if kind is np.int64:
        whole = np.isfinite(column) & (column == np.floor(column))
        _require(whole, name, column, "a whole number")
    return column.astype(kind)


def _check_slo(multiplier: float) -> None:
    if not (np.isfinite(multiplier) and multiplier > 0):
        raise DystaError(
            f"slo_multiplier: {multiplier} is not allowed; it must be finite and above 0"
        )


def _require(good: NDArray[np.bool_], name: str, values: NDArray[Any], expected: str) -> None:
    if not good.all():
        at = int(np.flatnonzero(~good)[0])
        raise DystaError(
            f"workload: {name} of request {at + 1} is {values[at]:g}; it must be {expected}"
        )


def mean_isolated_s(scenario: Scenario, split: str = "test") -> float:
    """Mean isolated latency of a request of this scenario in seconds: its load at 1 request/s."""
    store = scenario.store()
    weights = _weights(scenario)
    means = [trace.isolated_s[trace.rows(split)].mean() for trace in store.traces]
    return float(np.dot(weights, means))


def _weights(scenario: Scenario) -> NDArray[np.float64]:
    weights = np.array(list(scenario.traces.values()))
    return weights / weights.sum()


def arrival_rate(scenario: Scenario, split: str = "test") -> float:
    """Arrival rate in requests a second: the scenario's ``rate``, or what its ``load`` means."""
    if scenario.rate is not None:
        return scenario.rate
    assert scenario.load is not None
    return scenario.load / mean_isolated_s(scenario, split)


def generate(scenario: Scenario, seed: int, *, split: str = "test") -> Workload:
    """Draw a workload.

    The same seed gives the same requests in the same order at any load and SLO multiplier; only
    their spacing and their deadlines scale. Arrivals, networks, inputs and priorities come from
    independent streams, so changing one leaves the others as they were.

    Args:
        scenario: What to draw from.
        seed: Seed of the draw, 0 or more.
        split: Inputs that requests are drawn from: ``train``, ``test`` or ``all``. Averages are
            taken over ``train`` where requests are drawn from ``test``.

    Raises:
        DystaError: If the seed is negative, the split is unknown, or a trace is absent.
    """
    if seed < 0:
        raise DystaError(f"seed: {seed} is not allowed; it must be 0 or more")
    store = scenario.store()
    rows = [trace.rows(split) for trace in store.traces]
    gaps, networks, inputs, ranks = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(4)
    )
    total = scenario.requests
    arrival_s = np.cumsum(scenario.arrivals.unit_gaps(total, gaps)) / arrival_rate(scenario, split)
    cumulative = np.cumsum(_weights(scenario))
    trace = np.searchsorted(cumulative, networks.random(total), side="right")
    trace = np.minimum(trace, len(rows) - 1)  # the sum of the weights may round to less than 1
    counts = np.array([len(each) for each in rows])
    drawn = (inputs.random(total) * counts[trace]).astype(np.int64)
    row = np.array([rows[t][i] for t, i in zip(trace, drawn, strict=True)], np.int64)
    priority = np.array(scenario.priorities)[ranks.integers(len(scenario.priorities), size=total)]
    return Workload(
        store=store,
        reference=reference_split(split),
        arrival_s=arrival_s,
        trace=trace,
        row=row,
        priority=priority,
        slo_multiplier=scenario.slo_multiplier,
    )


def read_requests(path: str | Path, store: TraceStore, slo_multiplier: float) -> Workload:
    """Read recorded requests: a CSV of ``arrival_s, model, sample, priority``, sorted by arrival.

    ``model`` is the name of a trace and ``sample`` one of its `Trace.sample_ids`. Averages are
    taken over all inputs of the store.

    Raises:
        DystaError: If the file or a column is missing, a value is not usable, a model or a sample
            is unknown, or the arrivals are not sorted.
    """
    where = f"request file {str(path)!r}"
    _check_slo(slo_multiplier)
    frame = read_csv(path, where, dtype={"model": str})
    arrival_s, sample, priority = (
        numeric_column(frame, name, where) for name in ("arrival_s", "sample", "priority")
    )
    if "model" not in frame.columns:
        raise DystaError(f"{where}: column 'model' is missing")
    positions = [{int(s): i for i, s in enumerate(t.sample_ids)} for t in store.traces]
    trace = np.empty(len(frame), np.int64)
    row = np.empty(len(frame), np.int64)
    for line, (name, wanted) in enumerate(zip(frame["model"], sample, strict=True)):
        try:
            trace[line] = store.index(name)
        except DystaError as error:
            raise DystaError(f"{where}, row {line + 1}: model: {error}") from None
        known = positions[trace[line]]
        if wanted not in known:
            raise DystaError(
                f"{where}, row {line + 1}: sample {wanted:g} is not an input of model {name!r}; "
                f"its {len(known)} inputs are numbered {min(known)} to {max(known)}"
            )
        row[line] = known[int(wanted)]
    try:
        return Workload(store, "all", arrival_s, trace, row, priority, slo_multiplier)
    except DystaError as error:
        raise DystaError(f"{where}: {error}") from None


def requests_from(
    columns: Mapping[str, Sequence[Any]], store: TraceStore, reference: str, slo_multiplier: float
) -> Workload:
    """A workload from plain columns ``arrival_s``, ``trace`` (names), ``row`` and ``priority``.

    Raises:
        DystaError: If a column is missing, or see `Workload`.
    """
    for name in ("arrival_s", "trace", "row", "priority"):
        if name not in columns:
            raise DystaError(f"workload: column {name!r} is missing")
    return Workload(
        store=store,
        reference=reference,
        arrival_s=columns["arrival_s"],  # type: ignore[arg-type]  # Workload converts and checks
        trace=np.array([store.index(name) for name in columns["trace"]], np.int64),
        row=columns["row"],  # type: ignore[arg-type]
        priority=columns["priority"],  # type: ignore[arg-type]
        slo_multiplier=slo_multiplier,
    )
