"""Descriptions of deployments, from which workloads are drawn.

A scenario names the accelerator, the networks that share it, how requests arrive, how much load
they offer and how tight their deadlines are. It is a YAML file checked by a schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pydantic
from pydantic import AfterValidator, BaseModel, Field, PlainSerializer

from dysta_gym.charging import (
    Accelerator,
    Charge,
    charge_of,
    is_model,
    listed_names,
    measured_on,
)
from dysta_gym.configs import NotNegative, Positive, Strict, content_of, plain, told
from dysta_gym.errors import DystaError, shown
from dysta_gym.files import packaged
from dysta_gym.operations import Layers, read_layers
from dysta_gym.plugins import OpenFiles
from dysta_gym.traces import (
    TRACES,
    WHOLE,
    Trace,
    TraceStore,
    load_trace,
    read_artifact_trace,
    shipped_trace,
    shipped_traces,
    trace_names,
    whole_network,
    whole_trace,
)
from dysta_gym.workloads.arrivals.poisson import Poisson
from dysta_gym.workloads.arrivals.table import PROCESSES, Arrivals
from dysta_gym.workloads.workload import LONGEST_COST_S

PAPER_PRIORITIES = (1.0, 3.0, 9.0)
"""Priorities of the published comparison, drawn uniformly (Sparse-DySta, after PREMA)."""


LOADS: Mapping[str, float] = {"light": 0.5, "moderate": 0.8, "heavy": 0.95, "overload": 1.05}
"""Named loads. A load is offered work over capacity, counted on the requests' own isolated
latencies, so a name means the same share of the accelerator in every scenario and split."""


class DecisionCost(Strict):
    """Time that a decision takes, in which the accelerator waits.

    It passes whenever a policy is really asked: before every layer, or at events. What a policy
    promises of its scores (`dysta_gym.Policy.stable`, `drift`) saves the simulator's time, and
    changes nothing here. Requests that arrive meanwhile are not seen before the next decision.

    Attributes:
        fixed_s: Seconds a decision, whatever the queue ...
        per_request_s: ... and seconds for each request in it.
    """

    fixed_s: NotNegative = Field(default=0.0, le=LONGEST_COST_S)
    per_request_s: NotNegative = Field(default=0.0, le=LONGEST_COST_S)


def _accelerator(given: Any) -> Any:
    """An accelerator as it is given, if there is one and its parameters are allowed."""
    if not isinstance(given, str | Mapping | Accelerator) or given == "":
        raise ValueError("it must be a name, or a mapping, like {model: sanger}")
    if not _of_no_model(given):
        charge_of(given)
    return dict(given) if isinstance(given, Mapping) else given


def _of_no_model(given: Any) -> bool:
    """Whether it is the name of an accelerator that nothing charges for, here or in a package."""
    return isinstance(given, str) and not is_model(given)


def _written(given: Any) -> Any:
    """An accelerator as JSON has it: a model that is a Python object by its name."""
    if isinstance(given, Mapping):
        return {**given, "model": str(given["model"])}
    return str(given)


class Scenario(Strict):
    """A deployment, from which workloads are drawn; `load_scenario` makes one.

    Attributes:
        name: Its name.
        description: What it stands for, in a line or two.
        accelerator: What charges the layers: the name of a model (``sanger``, ``eyerissv2``,
            ``ideal``, one that a package plugs in), a `dysta_gym.Accelerator`, or a mapping with
            ``model`` and its parameters, ``bandwidth`` among them (`dysta_gym.charging`). Traces
            that were measured for the model as published keep the latencies in their files; all
            others are charged from their counts. Any other name is that of an accelerator without
            a model, which all of the traces have to be measured on.
        traces: Weight of each trace: requests ask for it in this proportion.
        trace_dir: Folder of the trace files (npz, or CSVs of the artifact), relative to the
            scenario file; traces that are not in it, or all if it is None, are the package's.
        arrivals: The arrival process, one of `PROCESSES`.
        load: Offered work over capacity, mean isolated latency times arrival rate: a number, or a
            name of `LOADS`. Either this ...
        rate: ... or the arrival rate, in requests a second; frames and recorded requests have one
            of their own where neither is given.
        slo_multiplier: Deadline of a request after its arrival, in average isolated latencies; of
            a frame after its start, in periods.
        priorities: Priorities, drawn uniformly.
        requests: Number of requests.
        speed: An ideal factor that latencies are divided by, as if so many arrays shared each layer
            without loss, and memory kept up. What a larger or faster array does for a layer is the
            accelerator's parameters' to say.
        preemption_cost_s: Time in seconds lost whenever an unfinished request is set aside for
            another one.
        queue_limit: Requests that the scheduler sees at most; later ones wait outside, in order of
            arrival, until one in the queue finishes. None for no limit; the scheduler of
            Sparse-DySta has 64 entries.
        decision_cost: Time that a decision takes, a `DecisionCost`; none by default.
        sources: Where the figures come from.
    """

    name: str
    description: str = ""
    accelerator: Annotated[
        Any, AfterValidator(_accelerator), PlainSerializer(_written, when_used="json")
    ]
    traces: dict[str, Positive] = Field(min_length=1)
    trace_dir: str | None = None
    arrivals: Arrivals = Poisson()
    load: Positive | None = None
    rate: Positive | None = None
    slo_multiplier: Positive = 10.0
    priorities: tuple[Positive, ...] = Field(PAPER_PRIORITIES, min_length=1)
    requests: int = Field(1000, gt=0, le=10_000_000, strict=True)
    speed: Positive = 1.0
    preemption_cost_s: NotNegative = Field(0.0, le=LONGEST_COST_S)
    queue_limit: int | None = Field(None, gt=0, strict=True)
    decision_cost: DecisionCost = DecisionCost()
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
        if (self.load, self.rate) == (None, None) and not self.arrivals.paced:
            raise ValueError("load, rate: neither is given; give one of the two")
        return self

    @pydantic.model_validator(mode="after")
    def _arrivals_of_these_traces(self) -> Scenario:
        self.arrivals.fits(self.traces)
        return self

    def varied(
        self,
        *,
        load: float | str | None = None,
        rate: float | None = None,
        slo_multiplier: float | None = None,
        requests: int | None = None,
        decision_cost: Mapping[str, float] | None = None,
    ) -> Scenario:
        """This scenario with another load or rate, SLO multiplier, length or cost of decisions.

        What is None stays. A load replaces the scenario's rate, and a rate its load.

        Raises:
            DystaError: If a value is not allowed, or both load and rate are given.
        """
        given: dict[str, Any] = {
            "load": load,
            "rate": rate,
            "slo_multiplier": slo_multiplier,
            "requests": requests,
            "decision_cost": decision_cost,
        }
        changes: dict[str, Any] = {
            key: plain(value) for key, value in given.items() if value is not None
        }
        if "load" in changes or "rate" in changes:
            changes = {"load": None, "rate": None, **changes}
        return self.replaced(**changes)

    def replaced(self, **changes: Any) -> Scenario:
        """This scenario with other values of some fields.

        Raises:
            DystaError: If there is no such field, or a value is not allowed.
        """
        fields = {name: getattr(self, name) for name in type(self).model_fields} | changes
        return _checked(fields, f"scenario {fields['name']!r}", None)

    def store(self) -> TraceStore:
        """The traces that this scenario draws from.

        Raises:
            DystaError: If a trace is absent or damaged, or the accelerator cannot charge it.
        """
        return _store(self.charge, self.trace_files(), self.speed)

    @property
    def charge(self) -> Charge:
        """The accelerator's model with its parameters."""
        if _of_no_model(self.accelerator):
            return measured_on(self.accelerator)
        return charge_of(self.accelerator)

    def trace_files(self) -> tuple[TraceFile, ...]:
        """The files of its traces, as they are now.

        Raises:
            DystaError: If a trace is absent.
        """
        if self.trace_dir is None:
            return tuple(map(named_trace, self.traces))
        return tuple(_file(Path(self.trace_dir), name) for name in self.traces)


class TraceFile(NamedTuple):
    """A trace by its name, and where it is read from; equal as long as the file stays as it is.

    Attributes:
        name: Name.
        path: The file, None for a trace in the package.
        stamp: Its device, inode, size and time of change.
    """

    name: str
    path: Path | None
    stamp: tuple[int, ...]


def named_trace(name: str) -> TraceFile:
    """A trace of this package, or of another one."""
    for each in (name, name.removesuffix(WHOLE)):
        path = TRACES.elsewhere(each)
        if path is not None:
            file = _stamped(name, path.absolute())
            if file is None:
                raise DystaError(f"traces: {name!r} is {str(path)!r}, which does not exist")
            return file
    return TraceFile(name, None, ())


def _stamped(name: str, path: Path) -> TraceFile | None:
    """A trace in this file, if there is one."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return TraceFile(name, path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def _is_folder(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except (OSError, ValueError):  # of a path that can be none
        return False


def _file(folder: Path, name: str) -> TraceFile:
    for path in (
        *(folder.absolute() / f"{name}{suffix}" for suffix in (".npz", ".csv")),
        *([folder.absolute() / f"{name.removesuffix(WHOLE)}.npz"] * name.endswith(WHOLE)),
    ):
        file = _stamped(name, path)
        if file is not None:
            return file
    if not _is_folder(folder):
        raise DystaError(f"trace_dir: {shown(str(folder))} is no folder; give one with traces")
    base = name.removesuffix(WHOLE)
    if name in trace_names() or TRACES.elsewhere(name) or TRACES.elsewhere(base):
        return named_trace(name)
    raise DystaError(
        f"traces: there is neither {str(folder / f'{name}.npz')!r} nor a CSV of that name"
    )


@lru_cache(maxsize=16)
def _store(charge: Charge, files: tuple[TraceFile, ...], speed: float) -> TraceStore:
    traces = [_charged(charge, file) for file in files]
    if speed != 1:
        traces = [replace(trace, latency_s=trace.latency_s / speed) for trace in traces]
    return TraceStore(traces)


def _charged(charge: Charge, file: TraceFile) -> Trace:
    """The trace in a file, with the latencies that an accelerator charges for it."""
    name, path, _ = file
    accelerator = charge.model.name
    if path is not None and path.suffix == ".csv":
        if not charge.as_published:
            raise DystaError(
                f"traces: {name!r} is a CSV of the artifact, whose latencies are as published; "
                f"give the accelerator as a name, {accelerator!r}"
            )
        return read_artifact_trace(path, accelerator)
    trace = _measured(file)
    if trace.accelerator == accelerator and charge.as_published:
        return trace
    try:
        with np.errstate(all="ignore"):  # what is infinite, or no number, is refused below
            latency_s = charge.layer_latency_s(_layers(name, path))
    except DystaError as error:
        raise DystaError(
            f"traces: {name!r} was measured on {trace.accelerator!r}, and cannot be charged for "
            f"{accelerator!r} ({error})"
        ) from None
    return replace(trace, latency_s=latency_s, accelerator=accelerator)


def _measured(file: TraceFile) -> Trace:
    """The trace in a file, with the latencies that it has there."""
    name, path, _ = file
    if path is None:
        return shipped_trace(name)
    with np.errstate(all="ignore"):  # likewise
        return _of_file(name, path)


def _of_file(name: str, path: Path) -> Trace:
    return whole_trace(path) if path.stem != name else load_trace(path)


def _layers(name: str, path: Path | None) -> Layers:
    """What the layers of a trace consist of."""
    base = name.removesuffix(WHOLE)
    if path is None:
        files = shipped_traces()
        return whole_network(files[base]) if name not in files else read_layers(files[name])[0]
    return whole_network(path) if path.stem != name else read_layers(path)[0]


def shipped_scenarios() -> dict[str, Path]:
    """Name and file of every scenario in the package, sorted by name."""
    return {path.stem: path for path in sorted(packaged("scenarios").glob("*.yaml"))}


ENTRY_POINTS = "dysta_gym.scenarios"
"""Entry-point group for scenario files of other packages: ``name = "module:PATH"``."""

SCENARIOS = OpenFiles("scenario", ENTRY_POINTS, shipped_scenarios)
"""The scenario files by name, those of this package and those of others."""


def load_scenario(source: str | Path | Mapping[str, Any] | Scenario) -> Scenario:
    """A scenario by name, of this package or another one, from a YAML file, or from a mapping.

    Raises:
        DystaError: If there is none of that name, or a field is missing, unknown or not allowed.
    """
    if isinstance(source, Scenario):
        return source
    content, where, folder = content_of(source, "scenario", SCENARIOS)
    scenario = _checked(content, where, folder)
    if isinstance(source, str) and source != scenario.name and source in SCENARIOS:
        raise DystaError(f"{where}: name is {scenario.name!r}; it must be {source!r}, as the file")
    return scenario


def _checked(content: Mapping[str, Any], where: str, folder: Path | None) -> Scenario:
    try:
        scenario = Scenario.model_validate(dict(content))
    except pydantic.ValidationError as error:
        raise DystaError(f"{where}: {_first_fault(error)}") from None
    folder = folder and folder.absolute()  # which `os.chdir` does not change
    if folder is not None and scenario.trace_dir is not None:
        scenario = scenario.model_copy(update={"trace_dir": str(folder / scenario.trace_dir)})
    if folder is not None:
        arrivals = scenario.arrivals.beside(folder)
        scenario = scenario.model_copy(update={"arrivals": arrivals})
    if _of_no_model(scenario.accelerator):
        _check_measured(scenario, where)
    return scenario


def _check_measured(scenario: Scenario, where: str) -> None:
    """Raise a `DystaError` if an accelerator without a model is not what all traces are of."""
    try:
        faults = [_fault(file, scenario.accelerator) for file in scenario.trace_files()]
    except DystaError as error:
        raise DystaError(f"{where}: {error}") from None
    for fault in faults:
        if fault:
            raise DystaError(
                f"{where}: accelerator: {shown(scenario.accelerator)} is no model that charges "
                f"layers, and {fault}; choose one of: {listed_names()}, or give traces that were "
                "all measured on it"
            )


def _fault(file: TraceFile, accelerator: str) -> str:
    """What a trace is of, if not of this accelerator."""
    if file.path is not None and file.path.suffix == ".csv":
        return f"trace {file.name!r} is a CSV of the artifact"
    found = _measured(file).accelerator
    return "" if found == accelerator else f"trace {file.name!r} was measured on {found!r}"


def _first_fault(error: pydantic.ValidationError) -> str:
    """The first fault that pydantic found, as ``field: value is ...; what would be right``."""
    fault = error.errors()[0]
    path = [str(part) for part in fault["loc"]]
    model: type[BaseModel] = Scenario
    if path[:1] == ["arrivals"] and len(path) > 1:
        model = PROCESSES[path.pop(1)]  # pydantic puts the process between the two
    return told(fault, path, model, "arrivals.process", PROCESSES, "{process: poisson}")
