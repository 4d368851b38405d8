"""Who asks for what, when, and by when.

A `Scenario` describes a deployment: the accelerator, the networks that share it, how requests
arrive, how much load they offer and how tight their deadlines are. It is a YAML file checked by a
schema. A `Workload` is one draw from it, or a recorded file: the requests themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from importlib import resources
from operator import index
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pydantic
from numba import types
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import FLOATS_TYPE, INTS_TYPE, Floats, Ints, borrow, type_of
from dysta_gym.compiled.streams import (
    POOL_TYPE,
    STREAM_TYPE,
    WIDTH,
    Pool,
    Stream,
    absorbed,
    exponential,
    integers,
    pool_of,
    random,
    seeded,
)
from dysta_gym.configs import Positive, Strict, content_of, told
from dysta_gym.errors import DystaError
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

Weight = Annotated[float, Field(gt=0, le=1e9, strict=True)]

PAPER_PRIORITIES = (1.0, 3.0, 9.0)
"""Priorities of the published comparison, drawn uniformly (Sparse-DySta, after PREMA)."""


LOADS: Mapping[str, float] = {"light": 0.5, "moderate": 0.8, "heavy": 0.95, "overload": 1.05}
"""Named loads. A load is offered work over capacity, counted on the requests' own isolated
latencies, so a name means the same share of the accelerator in every scenario and split."""


class Poisson(Strict):
    """Independent arrivals: exponential gaps of mean 1 / rate."""

    process: Literal["poisson"] = "poisson"


class MMPP(Strict):
    """Poisson arrivals whose rate switches between two values, calm and burst, at random times.

    The two-state Markov-modulated Poisson process (Fischer and Meier-Hellstern, The
    Markov-modulated Poisson process cookbook, Performance Evaluation 18, 1993), in terms that do
    not depend on the rate. The calm rate follows from the others.

    Attributes:
        intensity: Rate within a burst over the mean rate, above 1.
        share: Share of the time spent in bursts, at most ``1 / intensity``.
        length: Mean number of requests in a burst, 1 or more.
    """

    process: Literal["mmpp"]
    intensity: float = Field(4.0, gt=1, allow_inf_nan=False, strict=True)
    share: float = Field(0.1, gt=0, lt=1, strict=True)
    length: float = Field(50.0, ge=1, allow_inf_nan=False, strict=True)

    @pydantic.model_validator(mode="after")
    def _calm_rate_is_not_negative(self) -> MMPP:
        if self.intensity * self.share > 1:
            raise ValueError(
                f"share: {self.share} is not allowed; it must be at most 1 / intensity, "
                f"{1 / self.intensity:g}, or bursts alone exceed the mean rate"
            )
        return self

    def rates(self) -> tuple[float, float]:
        """Rate when calm and in a burst, at a mean rate of 1."""
        return (1 - self.share * self.intensity) / (1 - self.share), self.intensity

    def stays(self) -> tuple[float, float]:
        """Mean time in the calm state and in a burst, at a mean rate of 1."""
        calm, burst = (1 / self.share - 1) * self.length, self.length
        return calm / self.intensity, burst / self.intensity


class Frames(Strict):
    """Periodic frames, a stream a trace, each due when the next one of its stream starts.

    The weights of the scenario's traces are their frames a second, as in XRBench (Kwon et al.,
    MLSys 2023), and are scaled where the scenario's load or rate says so. Streams start at
    independent phases.

    Attributes:
        jitter: A frame arrives up to this share of its period late, uniformly; its deadline stays.
    """

    process: Literal["frames"]
    jitter: float = Field(0.0, ge=0, lt=1, strict=True)


class Replay(Strict):
    """Recorded arrivals, from a CSV file.

    The column ``arrival_s`` is needed; time starts at the first arrival. Where the columns
    ``model`` (the name of a trace) and ``sample`` (one of its `Trace.sample_ids`), or ``priority``
    are absent, they are drawn as for the other processes. A load or a rate stretches or shrinks the
    time between requests.

    Attributes:
        file: The CSV, relative to the scenario file. Its first `Scenario.requests` rows count, or
            all if there are fewer.
    """

    process: Literal["replay"]
    file: str


Arrivals = Annotated[Poisson | MMPP | Frames | Replay, Field(discriminator="process")]

_PROCESSES: Mapping[str, type[BaseModel]] = {
    "poisson": Poisson,
    "mmpp": MMPP,
    "frames": Frames,
    "replay": Replay,
}


class Scenario(Strict):
    """A deployment, from which workloads are drawn; `load_scenario` makes one.

    Attributes:
        name: Its name.
        description: What it stands for, in a line or two.
        accelerator: ``sanger`` or ``eyerissv2``.
        traces: Weight of each trace: requests ask for it in this proportion.
        trace_dir: Folder of the trace files (npz, or CSVs of the artifact), relative to the
            scenario file; None for the traces in the package.
        arrivals: The arrival process: `Poisson`, `MMPP`, `Frames` or `Replay`.
        load: Offered work over capacity, mean isolated latency times arrival rate: a number, or a
            name of `LOADS`. Either this ...
        rate: ... or the arrival rate, in requests a second; frames and recorded requests have one
            of their own where neither is given.
        slo_multiplier: Deadline of a request after its arrival, in average isolated latencies; of
            a frame after its start, in periods.
        priorities: Priorities, drawn uniformly.
        requests: Number of requests.
        speed: How many times faster the accelerator is than the one that was measured, as an ideal
            array of so many times the size would be: latencies are divided by it.
        preemption_cost_s: Time in seconds lost whenever an unfinished request is set aside for
            another one.
        queue_limit: Requests that the scheduler sees at most; later ones wait outside, in order of
            arrival, until one in the queue finishes. None for no limit; the scheduler of
            Sparse-DySta has 64 entries.
        sources: Where the figures come from.
    """

    name: str
    description: str = ""
    accelerator: Accelerator
    traces: dict[str, Weight] = Field(min_length=1)
    trace_dir: str | None = None
    arrivals: Arrivals = Poisson()
    load: Positive | None = None
    rate: Positive | None = None
    slo_multiplier: Positive = 10.0
    priorities: tuple[Positive, ...] = Field(PAPER_PRIORITIES, min_length=1)
    requests: int = Field(1000, gt=0, le=10_000_000, strict=True)
    speed: Positive = 1.0
    preemption_cost_s: float = Field(0.0, ge=0, allow_inf_nan=False, strict=True)
    queue_limit: int | None = Field(None, gt=0, strict=True)
    sources: tuple[str, ...] = ()

    @pydantic.field_validator("load", mode="before")
    @classmethod
    def _named_load(cls, load: object) -> object:
        if isinstance(load, str):
            if load not in LOADS:
                raise ValueError(f"choose a number above 0, or one of: {', '.join(LOADS)}")
            return LOADS[load]
        return load

    @pydantic.model_validator(mode="after")
    def _one_of_load_and_rate(self) -> Scenario:
        if self.load is not None and self.rate is not None:
            raise ValueError("load, rate: both are given; give one of the two")
        if (self.load, self.rate) == (None, None) and isinstance(self.arrivals, Poisson | MMPP):
            raise ValueError("load, rate: neither is given; give one of the two")
        return self

    def varied(
        self,
        *,
        load: float | str | None = None,
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
        changes: dict[str, Any] = {
            key: value.item() if isinstance(value, np.generic) else value
            for key, value in given.items()
            if value is not None
        }
        if "load" in changes or "rate" in changes:
            changes = {"load": None, "rate": None, **changes}
        return _checked({**self.model_dump(), **changes}, f"scenario {self.name!r}", None)

    def store(self) -> TraceStore:
        """The traces that this scenario draws from.

        Raises:
            DystaError: If a trace is absent, damaged or of another accelerator.
        """
        return _store(self.accelerator, tuple(self.traces), self.trace_dir, self.speed)


@cache
def _store(
    accelerator: str, names: tuple[str, ...], trace_dir: str | None, speed: float
) -> TraceStore:
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
    if speed != 1:
        traces = [replace(trace, latency_s=trace.latency_s / speed) for trace in traces]
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
    return _checked(*content_of(source, "scenario", shipped_scenarios()))


def _checked(content: Mapping[str, Any], where: str, folder: Path | None) -> Scenario:
    try:
        scenario = Scenario.model_validate(dict(content))
    except pydantic.ValidationError as error:
        raise DystaError(f"{where}: {_first_fault(error)}") from None
    if folder is not None and scenario.trace_dir is not None:
        scenario = scenario.model_copy(update={"trace_dir": str(folder / scenario.trace_dir)})
    if folder is not None and isinstance(scenario.arrivals, Replay):
        arrivals = Replay(process="replay", file=str(folder / scenario.arrivals.file))
        scenario = scenario.model_copy(update={"arrivals": arrivals})
    return scenario


def _first_fault(error: pydantic.ValidationError) -> str:
    """The first fault that pydantic found, as ``field: value is ...; what would be right``."""
    fault = error.errors()[0]
    path = [str(part) for part in fault["loc"]]
    model: type[BaseModel] = Scenario
    if path[:1] == ["arrivals"] and len(path) > 1:
        model = _PROCESSES[path.pop(1)]  # pydantic puts the process between the two
    return told(fault, path, model, "arrivals.process", _PROCESSES, "{process: poisson}")


class Due(NamedTuple):
    """What deadlines are counted from and in, each shape ``(requests,)``, in seconds.

    Attributes:
        start_s: The deadline is this ...
        period_s: ... plus the SLO multiplier times this.
    """

    start_s: NDArray[np.float64]
    period_s: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Workload:
    """Requests, in order of arrival, and the queue that they meet.

    Attributes:
        store: The traces that they ask for.
        reference: Split of the store's inputs that averages are taken over.
        arrival_s: Arrival in seconds, shape ``(requests,)``, never decreasing.
        trace: Index of the trace in the store, same shape.
        row: Row of the input in that trace, same shape.
        priority: Priority, same shape.
        slo_multiplier: The deadline is the arrival plus this many average isolated latencies.
        due: Where deadlines are otherwise counted from and in; None for the above.
        preemption_cost_s: See `Scenario`.
        queue_limit: See `Scenario`.

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
    due: Due | None = None
    preemption_cost_s: float = 0.0
    queue_limit: int | None = None

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
        _check_arrivals(self.arrival_s)
        _check_priorities(self.priority)
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
        if self.due is not None:
            columns = [
                _column(f"due.{name}", values, np.float64, total)
                for name, values in zip(Due._fields, self.due, strict=True)
            ]
            for name, values in zip(Due._fields, columns, strict=True):
                _require(np.isfinite(values), f"due.{name}", values, "finite")
            object.__setattr__(self, "due", Due(*columns))
        cost, limit = self.preemption_cost_s, self.queue_limit
        if not isinstance(cost, int | float) or not (math.isfinite(cost) and cost >= 0):
            raise DystaError(
                f"preemption_cost_s: {cost!r} is not allowed; it must be finite and not negative"
            )
        whole = isinstance(limit, int | np.integer) and not isinstance(limit, bool)
        if limit is not None and not (whole and limit >= 1):
            raise DystaError(
                f"queue_limit: {limit!r} is not allowed; it must be a whole number above 0, or None"
            )

    def __len__(self) -> int:
        return len(self.arrival_s)

    @cached_property
    def model(self) -> NDArray[np.int64]:
        """Index of each request's model in the store, shape ``(requests,)``."""
        return self.store.model_of[self.trace]

    @cached_property
    def deadline_s(self) -> NDArray[np.float64]:
        """Deadline of each request in seconds, shape ``(requests,)``."""
        if self.due is not None:
            return self.due.start_s + self.slo_multiplier * self.due.period_s
        average = self.store.averages(self.reference).isolated_s
        return self.arrival_s + self.slo_multiplier * average[self.model]

    @cached_property
    def isolated_s(self) -> NDArray[np.float64]:
        """True isolated latency of each request in seconds, shape ``(requests,)``."""
        return self.store.isolated_s(self.trace, self.row)

    def with_slo(self, multiplier: float) -> Workload:
        """The same requests with other deadlines."""
        return replace(self, slo_multiplier=multiplier)


def _column(name: str, values: Any, kind: type[np.generic], total: int) -> NDArray[Any]:
    """A column of a workload as an array of its own, writable and contiguous as compiled."""
    alike = isinstance(values, np.ndarray) and values.dtype == kind
    try:
        column = np.array(values, kind if alike else np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DystaError(f"workload: {name} does not hold numbers ({error})") from None
    if column.shape != (total,):
        raise DystaError(f"workload: {name} has shape {column.shape}, expected ({total},)")
    if column.dtype == kind:
        return column
    whole = np.isfinite(column) & (column == np.floor(column))
    _require(whole, name, column, "a whole number")
    return column.astype(kind)


def _check_arrivals(arrival_s: NDArray[np.float64]) -> None:
    good = np.isfinite(arrival_s) & (arrival_s >= 0)
    _require(good, "arrival_s", arrival_s, "finite and not negative")
    late = np.flatnonzero(np.diff(arrival_s) < 0)
    if late.size:
        at = int(late[0]) + 1
        raise DystaError(
            f"workload: arrival_s of request {at + 1} is {arrival_s[at]:g}, before "
            f"request {at} at {arrival_s[at - 1]:g}; sort the requests by arrival"
        )


def _check_priorities(priority: NDArray[np.float64]) -> None:
    _require(np.isfinite(priority) & (priority > 0), "priority", priority, "finite and above 0")


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
    recorded = _recorded(scenario) if isinstance(scenario.arrivals, Replay) else {}
    if "row" in recorded:
        return float(store.isolated_s(recorded["trace"], recorded["row"]).mean())
    weights = _weights(scenario)
    means = [trace.isolated_s[trace.rows(split)].mean() for trace in store.traces]
    return float(np.dot(weights, means))


def _weights(scenario: Scenario) -> NDArray[np.float64]:
    weights = np.array(list(scenario.traces.values()))
    return weights / weights.sum()


def arrival_rate(scenario: Scenario, split: str = "test") -> float:
    """Arrival rate in requests a second: the scenario's ``rate``, or what its ``load`` means.

    Without either, that of its frames or of its recorded requests.
    """
    if scenario.rate is not None:
        return scenario.rate
    if scenario.load is not None:
        return scenario.load / mean_isolated_s(scenario, split)
    if isinstance(scenario.arrivals, Replay):
        return _recorded_rate(scenario)
    return float(sum(scenario.traces.values()))


def _recorded_rate(scenario: Scenario) -> float:
    arrival_s = _recorded(scenario)["arrival_s"]
    return float((len(arrival_s) - 1) / arrival_s[-1])


# --- drawing -------------------------------------------------------------------------------------

POISSON, BURSTS, FRAMES, RECORDED = range(4)
"""Kinds of `Plan.process`: `Poisson`, `MMPP`, `Frames`, `Replay`."""


class Plan(NamedTuple):
    """All that `draw` needs of a scenario and a split, as plain numbers; `plan` makes it.

    Attributes:
        process: `POISSON`, `BURSTS`, `FRAMES` or `RECORDED`.
        requests: Number of requests.
        rate: Mean number of arrivals a second.
        share: `MMPP.share`.
        rates: `MMPP.rates`, shape ``(2,)``.
        stays: `MMPP.stays`, shape ``(2,)``.
        jitter: `Frames.jitter`.
        cumulative: Share of the requests of a trace and of those before it, shape ``(traces,)``.
        first: Where the inputs of each trace start in ``rows``; their end, shape ``(traces + 1,)``.
        rows: Rows of the split's inputs, trace after trace.
        period: What the deadlines of each trace's requests are counted in, in seconds, shape
            ``(traces,)``: the period of its stream of `Frames`, or else the average isolated
            latency of its model.
        priorities: Priorities, drawn uniformly.
        recorded_arrival: Recorded arrivals in seconds, shape ``(requests,)``. This and the
            following are empty where they are drawn.
        recorded_trace: Recorded traces, same shape.
        recorded_row: Recorded rows, same shape.
        recorded_priority: Recorded priorities, same shape.
        slo_multiplier: See `Scenario`.
        preemption_cost: See `Scenario`, in seconds.
        queue_limit: Requests in the queue at most, no more than there are.
    """

    process: int
    requests: int
    rate: float
    share: float
    rates: Floats
    stays: Floats
    jitter: float
    cumulative: Floats
    first: Ints
    rows: Ints
    period: Floats
    priorities: Floats
    recorded_arrival: Floats
    recorded_trace: Ints
    recorded_row: Ints
    recorded_priority: Floats
    slo_multiplier: float
    preemption_cost: float
    queue_limit: int


class Requests(NamedTuple):
    """What `draw` fills, each shape ``(requests,)``, in order of arrival.

    Attributes:
        arrival: Arrival in seconds.
        trace: Index of the trace in the store.
        row: Row of the input in that trace.
        priority: Priority.
        start: What the deadline is counted from, in seconds: the frame's start, or the arrival.
        period: What it is counted in, in seconds: it is ``start + slo_multiplier * period``.
    """

    arrival: Floats
    trace: Ints
    row: Ints
    priority: Floats
    start: Floats
    period: Floats


PLAN_TYPE, REQUESTS_TYPE = type_of(Plan), type_of(Requests)


def plan(scenario: Scenario, split: str = "test") -> Plan:
    """What workloads of this scenario are drawn from; made once, and again when a file changes.

    Raises:
        DystaError: If the split is unknown, or a trace or a recorded request is not usable.
    """
    arrivals = scenario.arrivals
    stamp = _stamp(arrivals) if isinstance(arrivals, Replay) else 0
    given = {**scenario.__dict__, "traces": tuple(scenario.traces.items())}
    return _plan(_Draws((*given.values(), split, stamp), scenario, split))


@dataclass(frozen=True)
class _Draws:
    """A scenario, which cannot be hashed, and a split: the same where ``key`` is."""

    key: tuple[Any, ...]
    scenario: Scenario = field(compare=False)
    split: str = field(compare=False)


@lru_cache(maxsize=64)
def _plan(draws: _Draws) -> Plan:
    scenario, split = draws.scenario, draws.split
    store, process = scenario.store(), scenario.arrivals
    rows = [trace.rows(split) for trace in store.traces]
    rate = arrival_rate(scenario, split)
    recorded: dict[str, NDArray[Any]] = {}
    if isinstance(process, Replay):
        recorded = dict(_recorded(scenario))
        _check_split(scenario, recorded, split)
        recorded["arrival_s"] = recorded["arrival_s"] * (_recorded_rate(scenario) / rate)
    bursts = process if isinstance(process, MMPP) else None
    if isinstance(process, Frames):
        period = _periods_s(scenario, split)
    else:
        period = store.averages(reference_split(split)).isolated_s[store.model_of]
    requests = len(recorded["arrival_s"]) if recorded else scenario.requests
    return Plan(
        process=[Poisson, MMPP, Frames, Replay].index(type(process)),
        requests=requests,
        rate=rate,
        share=bursts.share if bursts else 0.0,
        rates=np.array(bursts.rates() if bursts else ()),
        stays=np.array(bursts.stays() if bursts else ()),
        jitter=process.jitter if isinstance(process, Frames) else 0.0,
        cumulative=np.cumsum(_weights(scenario)),
        first=np.cumsum([0, *map(len, rows)]),
        rows=np.concatenate(rows),
        period=period,
        priorities=np.array(scenario.priorities),
        recorded_arrival=np.array(recorded.get("arrival_s", ()), np.float64),
        recorded_trace=np.array(recorded.get("trace", ()), np.int64),
        recorded_row=np.array(recorded.get("row", ()), np.int64),
        recorded_priority=np.array(recorded.get("priority", ()), np.float64),
        slo_multiplier=scenario.slo_multiplier,
        preemption_cost=scenario.preemption_cost_s,
        queue_limit=min(requests, scenario.queue_limit or requests),
    )


@compiled(types.void(POOL_TYPE, STREAM_TYPE, types.float64, FLOATS_TYPE))
def _draw_poisson(pool: Pool, stream: Stream, rate: float, arrival: Floats) -> None:
    seeded(pool, stream)
    time = 0.0
    for request in range(arrival.size):
        time += exponential(stream)
        arrival[request] = time / rate


@compiled(
    types.void(
        POOL_TYPE,
        STREAM_TYPE,
        STREAM_TYPE,
        types.float64,
        types.float64,
        FLOATS_TYPE,
        FLOATS_TYPE,
        FLOATS_TYPE,
    )
)
def _draw_bursts(
    pool: Pool,
    stream: Stream,
    states: Stream,
    rate: float,
    share: float,
    rates: Floats,
    stays: Floats,
    arrival: Floats,
) -> None:
    # A Poisson process of rate 1, run on a clock that goes as fast as the rate of the state.
    seeded(absorbed(pool, 0), stream)
    seeded(absorbed(pool, 1), states)
    state = 0 if random(states) < share else 1  # turned over before the first stay
    start = end = 0.0  # of the stay
    before = after = work = 0.0  # the clock at its start, at its end, and at the request
    for request in range(arrival.size):
        work += exponential(stream)
        while after <= work:
            state = 1 - state
            stay = exponential(states) * stays[state]
            start, end = end, end + stay
            before, after = after, after + stay * rates[state]
        time = (end - start) / (after - before) * (work - before) + start
        arrival[request] = time / rate


@compiled(
    types.void(
        POOL_TYPE, STREAM_TYPE, types.float64, FLOATS_TYPE, FLOATS_TYPE, INTS_TYPE, FLOATS_TYPE
    )
)
def _draw_frames(
    pool: Pool,
    stream: Stream,
    jitter: float,
    period: Floats,
    arrival: Floats,
    trace: Ints,
    start: Floats,
) -> None:
    """The first frames of all streams together; of those at once, the first trace's first."""
    traces = period.size
    late = np.empty((traces, WIDTH), np.uint64)
    phase, frame = np.empty(traces), np.empty(traces)
    begins, shows = np.empty(traces), np.empty(traces)  # the next frame of each stream
    seeded(pool, stream)
    for each in range(traces):
        seeded(absorbed(pool, each), late[each])
        phase[each] = random(stream)
        frame[each] = shows[each] = 0.0
    for request in range(-traces, arrival.size):  # before the first, each stream's first frame
        chosen = request + traces
        if request >= 0:
            chosen = 0
            for each in range(1, traces):
                chosen = each if shows[each] < shows[chosen] else chosen
            arrival[request], start[request] = shows[chosen], begins[chosen]
            trace[request] = chosen
        begin = phase[chosen] + frame[chosen]
        frame[chosen] += 1
        begins[chosen] = begin * period[chosen]
        shown = (begin + jitter * random(late[chosen])) * period[chosen]
        shows[chosen] = max(shows[chosen], shown)  # rounding must not let one overtake another


@compiled(types.void(POOL_TYPE, STREAM_TYPE, FLOATS_TYPE, INTS_TYPE))
def _draw_traces(pool: Pool, stream: Stream, cumulative: Floats, trace: Ints) -> None:
    seeded(pool, stream)
    for request in range(trace.size):
        drawn, chosen = random(stream), 0
        for each in range(cumulative.size - 1):  # the last is 1, or by rounding a little less
            chosen += cumulative[each] <= drawn
        trace[request] = chosen


@compiled(types.void(POOL_TYPE, STREAM_TYPE, INTS_TYPE, INTS_TYPE, INTS_TYPE, INTS_TYPE))
def _draw_rows(pool: Pool, stream: Stream, first: Ints, rows: Ints, trace: Ints, row: Ints) -> None:
    seeded(pool, stream)
    for request in range(row.size):
        begin, end = first[trace[request]], first[trace[request] + 1]
        row[request] = rows[begin + np.int64(random(stream) * (end - begin))]


@compiled(types.void(POOL_TYPE, STREAM_TYPE, FLOATS_TYPE, FLOATS_TYPE))
def _draw_priorities(pool: Pool, stream: Stream, priorities: Floats, priority: Floats) -> None:
    seeded(pool, stream)
    for request in range(priority.size):
        priority[request] = priorities[integers(stream, priorities.size)]


@compiled(types.void(PLAN_TYPE, POOL_TYPE, REQUESTS_TYPE))
def draw(plan: Plan, pool: Pool, requests: Requests) -> None:
    """Draw a workload from ``plan`` into ``requests``: that of `generate` for the pool's seed.

    Args:
        plan: From `plan`.
        pool: The seed, from `streams.pool` or `streams.pool_of`.
        requests: Columns of shape ``(plan.requests,)``, to be filled.
    """
    plan, requests = borrow(plan), borrow(requests)  # the caller holds them
    arrival, trace = requests.arrival, requests.trace
    times = absorbed(pool, 0)
    stream, other = np.empty(WIDTH, np.uint64), np.empty(WIDTH, np.uint64)
    if plan.process == FRAMES:
        _draw_frames(times, stream, plan.jitter, plan.period, arrival, trace, requests.start)
    elif plan.process == POISSON:
        _draw_poisson(times, stream, plan.rate, arrival)
    elif plan.process == BURSTS:
        _draw_bursts(times, stream, other, plan.rate, plan.share, plan.rates, plan.stays, arrival)
    else:
        for request in range(plan.requests):
            arrival[request] = plan.recorded_arrival[request]
    if plan.process != FRAMES:
        if plan.recorded_trace.size:
            for request in range(plan.requests):
                trace[request] = plan.recorded_trace[request]
        else:
            _draw_traces(absorbed(pool, 1), stream, plan.cumulative, trace)
        for request in range(plan.requests):
            requests.start[request] = arrival[request]
    for request in range(plan.requests):
        requests.period[request] = plan.period[trace[request]]
    if plan.recorded_row.size:
        for request in range(plan.requests):
            requests.row[request] = plan.recorded_row[request]
    else:
        _draw_rows(absorbed(pool, 2), stream, plan.first, plan.rows, trace, requests.row)
    if plan.recorded_priority.size:
        for request in range(plan.requests):
            requests.priority[request] = plan.recorded_priority[request]
    else:
        _draw_priorities(absorbed(pool, 3), stream, plan.priorities, requests.priority)


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
    chosen = plan(scenario, split)
    times, whole = np.empty((4, chosen.requests)), np.empty((2, chosen.requests), np.int64)
    drawn = Requests(times[0], whole[0], whole[1], times[1], times[2], times[3])
    draw(chosen, pool_of(index(seed)), drawn)
    framed = chosen.process == FRAMES
    return Workload(
        store=scenario.store(),
        reference=reference_split(split),
        arrival_s=drawn.arrival,
        trace=drawn.trace,
        row=drawn.row,
        priority=drawn.priority,
        slo_multiplier=scenario.slo_multiplier,
        due=Due(drawn.start, drawn.period) if framed else None,
        preemption_cost_s=scenario.preemption_cost_s,
        queue_limit=scenario.queue_limit,
    )


def _check_split(scenario: Scenario, recorded: Mapping[str, NDArray[Any]], split: str) -> None:
    """Refuse recorded inputs of the other half, which schedulers may have learned from."""
    if "row" not in recorded:
        return
    assert isinstance(scenario.arrivals, Replay)
    for position, trace in enumerate(scenario.store().traces):
        mine = np.flatnonzero(recorded["trace"] == position)
        outside = mine[~np.isin(recorded["row"][mine], trace.rows(split))]
        if outside.size:
            at = int(outside[0])
            raise DystaError(
                f"request file {scenario.arrivals.file!r}, row {at + 1}: sample "
                f"{trace.sample_ids[recorded['row'][at]]} of {trace.name!r} is not one of its "
                f"{split!r} inputs; run it with split 'all'"
            )


def _periods_s(scenario: Scenario, split: str) -> NDArray[np.float64]:
    """Period of each trace's stream of frames in seconds, shape ``(traces,)``."""
    return 1 / (arrival_rate(scenario, split) * _weights(scenario))


def _recorded(scenario: Scenario) -> Mapping[str, NDArray[Any]]:
    """The columns of a replayed file, as those of `Workload`, from its first arrival on."""
    assert isinstance(scenario.arrivals, Replay)
    path = Path(scenario.arrivals.file)
    where = f"request file {str(path)!r}"
    columns = {
        name: values[: scenario.requests]
        for name, values in _replayed(path, _stamp(scenario.arrivals), scenario.store()).items()
    }
    arrival_s = columns["arrival_s"] - columns["arrival_s"][0]
    if arrival_s[-1] <= 0:
        raise DystaError(
            f"{where}: all arrivals are at {columns['arrival_s'][0]:g} s; they must span some time"
        )
    return {**columns, "arrival_s": arrival_s}


def _stamp(replay: Replay) -> int:
    """When the replayed file last changed."""
    try:
        return Path(replay.file).stat().st_mtime_ns
    except OSError:
        raise DystaError(f"request file {str(Path(replay.file))!r} does not exist") from None


@lru_cache(maxsize=8)
def _replayed(path: Path, stamp: int, store: TraceStore) -> dict[str, NDArray[Any]]:
    """`_request_columns`, read again when the file has changed."""
    return _request_columns(path, store, ("arrival_s",))


def draws_nothing(scenario: Scenario) -> bool:
    """Whether every seed gives the same workload: all of it is recorded."""
    return isinstance(scenario.arrivals, Replay) and {"row", "priority"} <= set(_recorded(scenario))


def read_requests(path: str | Path, store: TraceStore, slo_multiplier: float) -> Workload:
    """Read recorded requests: a CSV of ``arrival_s, model, sample, priority``, sorted by arrival.

    ``model`` is the name of a trace and ``sample`` one of its `Trace.sample_ids`. Averages are
    taken over all inputs of the store.

    Raises:
        DystaError: If the file or a column is missing, a value is not usable, a model or a sample
            is unknown, or the arrivals are not sorted.
    """
    _check_slo(slo_multiplier)
    columns = _request_columns(path, store, ("arrival_s", "sample", "priority", "model"))
    return Workload(
        store,
        "all",
        columns["arrival_s"],
        columns["trace"],
        columns["row"],
        columns["priority"],
        slo_multiplier,
    )


def _request_columns(
    path: str | Path, store: TraceStore, needed: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Columns ``arrival_s``, ``trace`` and ``row``, and ``priority`` of a file, where it has them.

    The file's columns ``needed`` must be there; ``model`` and ``sample`` only come together.
    """
    where = f"request file {str(path)!r}"
    frame = read_csv(path, where, dtype={"model": str}, keep_default_na=False)
    found = [name for name in ("arrival_s", "sample", "priority") if name in frame.columns]
    numbers = {
        name: numeric_column(frame, name, where)
        for name in dict.fromkeys([*found, *(name for name in needed if name != "model")])
    }
    if "model" not in frame.columns and ("model" in needed or "sample" in numbers):
        raise DystaError(f"{where}: column 'model' is missing")
    columns: dict[str, NDArray[Any]] = {
        name: numbers[name] for name in ("arrival_s", "priority") if name in numbers
    }
    if not len(frame):
        raise DystaError(f"{where} holds no request; at least one is needed")
    try:
        _check_arrivals(columns["arrival_s"])
        if "priority" in columns:
            _check_priorities(columns["priority"])
    except DystaError as error:
        raise DystaError(f"{where}: {error}") from None
    if "model" not in frame.columns:
        return columns
    sample = numbers["sample"] if "sample" in numbers else numeric_column(frame, "sample", where)
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
    return {**columns, "trace": trace, "row": row}


def requests_under(
    scenario: Scenario, columns: Mapping[str, Sequence[Any]], split: str
) -> Workload:
    """`requests_from` plain columns, which meet the scenario's machine and deadlines.

    Under `Frames`, a request is due as many periods of its trace's stream after it arrives as the
    scenario's ``slo_multiplier`` says.
    """
    given = requests_from(
        columns, scenario.store(), reference_split(split), scenario.slo_multiplier
    )
    due = None
    if isinstance(scenario.arrivals, Frames):
        due = Due(given.arrival_s, _periods_s(scenario, split)[given.trace])
    return replace(
        given,
        due=due,
        preemption_cost_s=scenario.preemption_cost_s,
        queue_limit=scenario.queue_limit,
    )


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
