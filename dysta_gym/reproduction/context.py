"""What the figures are made from: traces, and simulations that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dysta_gym.archives import ARRAY_LIMIT, read_arrays
from dysta_gym.comparison import compare
from dysta_gym.errors import DystaError
from dysta_gym.files import visible
from dysta_gym.provenance import provenance
from dysta_gym.traces import HELD_OUT, Trace, load_trace, read_csv, shipped_trace, shipped_traces
from dysta_gym.workloads import Scenario, load_scenario

Kind = Literal["attention", "cnn"]

ACCELERATOR: Mapping[Kind, str] = {"attention": "sanger", "cnn": "eyerissv2"}
SCENARIO: Mapping[Kind, str] = {"attention": "multi-attnn", "cnn": "multi-cnn"}

LOADS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
FAST_LOADS = (0.5, 0.8, 0.95, 1.05, 1.2)
MAIN_LOADS = (0.95, 1.05)
"""Loads for the paper's arrival rates: our networks are others, so its rates mean nothing here."""

METRICS = ("violation_rate", "antt")
"""The two metrics of the paper's comparison."""

PAPER_RATES: Mapping[Kind, tuple[float, ...]] = {
    "attention": (10.0, 20.0, 30.0, 40.0),
    "cnn": (2.0, 3.0, 4.0, 5.0, 6.0),
}
PAPER_MAIN_RATES: Mapping[Kind, tuple[float, float]] = {
    "attention": (30.0, 40.0),
    "cnn": (3.0, 4.0),
}
"""Requests a second in the artifact's scripts (dysta_scheduler/script)."""


Findings = Mapping[str, Any]
"""What a figure says, in numbers; its own module knows what stands where."""


@dataclass(frozen=True)
class Result:
    """One figure or table, made.

    Attributes:
        frame: The numbers behind it, one observation a row.
        draw: Makes the picture of `frame`.
        findings: What it says, in numbers.
    """

    frame: pd.DataFrame
    draw: Callable[[], Figure]
    findings: Findings


@dataclass(frozen=True)
class Deployment:
    """Traces of one accelerator, and the scenario that schedules them.

    Attributes:
        kind: ``attention`` or ``cnn``.
        traces: All traces of the accelerator, in the order of their names.
        files: File of each trace, by its name.
        scenario: What is simulated; it may leave out some of the traces.
        offered: Whether `offers` are loads or arrival rates in requests a second.
        offers: What Figure 15 sweeps over.
        main: The two of them that the other figures are drawn at.
    """

    kind: Kind
    traces: tuple[Trace, ...]
    files: Mapping[str, Path]
    scenario: Scenario
    offered: Literal["load", "rate"]
    offers: tuple[float, ...]
    main: tuple[float, float]

    def measure(self, trace: Trace, name: str) -> NDArray[Any] | None:
        """Array ``name`` of the trace's npz file, or None where it has none (as in a CSV)."""
        path = self.files[trace.name]
        if path.suffix != ".npz":
            return None
        where = f"trace file {str(path)!r}"
        return read_arrays(path, where, {name: ARRAY_LIMIT}, "no npz file ({})").get(name)

    def by_model(self) -> dict[str, list[Trace]]:
        """The traces of each model, by its name."""
        grouped: dict[str, list[Trace]] = {}
        for trace in self.traces:
            grouped.setdefault(trace.model, []).append(trace)
        return grouped

    def dense(self) -> list[Trace]:
        """One trace a model: the dense one, else the first."""
        return [
            next((trace for trace in traces if trace.pattern == "dense"), traces[0])
            for traces in self.by_model().values()
        ]


class Setting(NamedTuple):
    """What a deployment's scenario is changed to.

    Attributes:
        queue_limit: Its queue's greatest length, None for no limit.
        speed: Its accelerator's speed; an offered rate is multiplied by it, as a load is by itself.
    """

    queue_limit: int | None = None
    speed: float = 1.0


Condition = tuple[Kind, float, float, Setting]
"""Kind, load or rate, SLO multiplier and setting of a workload."""


AS_IT_IS = Setting()


@dataclass(frozen=True)
class Runs:
    """Simulations that a figure asks for: every policy at every offer and SLO multiplier."""

    kind: Kind
    offers: tuple[float, ...]
    slos: tuple[float, ...]
    policies: tuple[str, ...]
    setting: Setting = AS_IT_IS

    def conditions(self) -> list[Condition]:
        """The conditions that are asked for."""
        return [
            (self.kind, offer, slo, self.setting) for offer, slo in product(self.offers, self.slos)
        ]


class Context:
    """Traces, settings and the simulations done so far.

    Args:
        traces: Folder of the artifact's CSVs or of npz files, themselves in it or in its
            sub-folders ``sanger`` and ``eyerissv2``; None for the traces in the package.
        fast: Fewer requests, seeds and points.
        jobs: Workloads simulated at a time, None for one a core.
        progress: Called with steps done and steps in all: workloads, and what `plan` adds.

    Raises:
        DystaError: If the folder holds nothing usable.
    """

    def __init__(
        self,
        traces: str | Path | None = None,
        *,
        fast: bool = False,
        jobs: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.folder = None if traces is None else Path(traces)
        self.fast = fast
        self.jobs = jobs
        self.seeds = range(2 if fast else 5)
        self.requests = 200 if fast else None
        self.slos = (10.0, 50.0, 150.0) if fast else tuple(float(m) for m in range(10, 151, 10))
        self.deployments = _shipped(fast) if traces is None else _from_folder(Path(traces), fast)
        self._policies: dict[Condition, dict[str, None]] = {}
        self._done: dict[Condition, pd.DataFrame] = {}
        self._progress = progress
        self._steps = 0
        self._extra_steps = 0

    def plan(self, runs: Iterable[Runs], extra_steps: int = 0) -> None:
        """Say beforehand what will be asked for, so that every workload is simulated once.

        ``extra_steps`` are other steps of the progress, each taken by `step`.
        """
        self._extra_steps += extra_steps
        for each in runs:
            for condition in each.conditions():
                self._policies.setdefault(condition, {}).update(dict.fromkeys(each.policies))

    def origin(self) -> dict[str, Any]:
        """What the figures are made with and of, `dysta_gym.provenance.provenance`."""
        used = self.deployments.values()
        files = [(trace.name, each.files[trace.name]) for each in used for trace in each.traces]
        return provenance((each.scenario for each in used), traces=files)

    def step(self) -> None:
        """Report a step of the progress."""
        self._steps += 1
        if self._progress:
            workloads = len(self._policies) * len(self.seeds)
            self._progress(self._steps, workloads + self._extra_steps)

    def results(self, runs: Sequence[Runs]) -> pd.DataFrame:
        """What `dysta_gym.comparison.compare` says of ``runs``, simulating what is not yet done."""
        self.plan(runs)
        missing = [
            condition
            for each in runs
            for condition in each.conditions()
            if condition not in self._done
            or not set(each.policies) <= set(self._done[condition]["policy"])
        ]
        self._simulate(list(dict.fromkeys(missing)))
        parts = []
        for each in runs:
            for condition in each.conditions():
                frame = self._done[condition]
                parts.append(frame[frame["policy"].isin(each.policies)])
        return pd.concat(parts, ignore_index=True)

    def _simulate(self, conditions: Sequence[Condition]) -> None:
        """Simulate ``conditions`` in as few comparisons as they allow."""
        slos: dict[tuple[Kind, Setting, tuple[str, ...], float], list[float]] = {}
        for kind, offer, slo, setting in conditions:
            policies = tuple(self._policies[kind, offer, slo, setting])
            slos.setdefault((kind, setting, policies, offer), []).append(slo)
        grids: dict[tuple[Kind, Setting, tuple[str, ...], tuple[float, ...]], list[float]] = {}
        for (kind, setting, policies, offer), multipliers in slos.items():
            grids.setdefault((kind, setting, policies, tuple(multipliers)), []).append(offer)
        for (kind, setting, policies, wanted), offers in grids.items():
            deployment = self.deployments[kind]
            by_load = deployment.offered == "load"
            scale = 1.0 if by_load else setting.speed
            frame = compare(
                [deployment.scenario.model_copy(update=setting._asdict())],
                policies,
                loads=offers if by_load else (),
                rates=() if by_load else [scale * offer for offer in offers],
                slos=wanted,
                seeds=self.seeds,
                requests=self.requests,
                jobs=self.jobs,
                progress=lambda done, total: self.step(),
            )
            for offer, slo in product(offers, wanted):
                same = np.isclose(frame[deployment.offered], scale * offer)
                self._done[kind, offer, slo, setting] = frame[same & (frame["slo"] == slo)]


@dataclass(frozen=True)
class Item:
    """A figure or a table: one of the paper's, or one that it lacks.

    Attributes:
        name: ``figure12``, ``table5``, ``scale``.
        title: What ours shows, in one line.
        paper: What the paper's shows, or has to say on it.
        make: Makes it.
        kind: Traces that it cannot do without, None for either.
        runs: Simulations that it will ask for.
        section: What its template, ``templates/NAME.md.j2``, is filled with: from its findings, and
            from those of all that was made, by name.
        heading: What its section of the page is called, None for its name: short, so that links to
            it last.
    """

    name: str
    title: str
    paper: str
    make: Callable[[Context], Result]
    kind: Kind | None = None
    runs: Callable[[Context], Sequence[Runs]] = field(default=lambda context: ())
    section: Callable[[Findings, Mapping[str, Findings]], Mapping[str, Any]] = field(
        default=lambda found, made: {"found": found}
    )
    heading: str | None = None


# --- where traces come from ----------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    """What may be traces, by its suffix."""
    return [path for suffix in ("csv", "npz") for path in visible(folder, f"*.{suffix}")]


def _shipped(fast: bool) -> dict[Kind, Deployment]:
    files = shipped_traces()
    traces = [trace for trace in map(shipped_trace, files) if trace.model not in HELD_OUT]
    return {
        kind: Deployment(
            kind=kind,
            traces=tuple(trace for trace in traces if trace.accelerator == accelerator),
            files=files,
            scenario=load_scenario(SCENARIO[kind]),
            offered="load",
            offers=FAST_LOADS if fast else LOADS,
            main=MAIN_LOADS,
        )
        for kind, accelerator in ACCELERATOR.items()
    }


def _from_folder(folder: Path, fast: bool) -> dict[Kind, Deployment]:
    if not folder.is_dir():
        raise DystaError(f"traces: {str(folder)!r} is not a folder")
    inner = {kind: folder / name for kind, name in ACCELERATOR.items()}
    nested = any(path.is_dir() for path in inner.values())
    for path in _files(folder) if nested else ():
        if _is_trace(path):
            raise DystaError(
                f"traces: folder {str(folder)!r} holds the trace {path.name!r} beside a sub-folder "
                "'sanger' or 'eyerissv2'; it must hold traces either in itself or in these"
            )
    found: dict[Kind, Deployment] = {}
    for kind, accelerator in ACCELERATOR.items():
        where = inner[kind] if nested else folder
        files: dict[str, Path] = {}
        for path in _files(where):
            if path.stem in files:
                raise DystaError(
                    f"traces: folder {str(where)!r} holds both {files[path.stem].name!r} and "
                    f"{path.name!r}; a trace must be one file"
                )
            if nested or _accelerator(path) == accelerator:
                files[path.stem] = path
        if files:
            found[kind] = _deployment(kind, where, files, fast)
    if not found:
        raise DystaError(
            f"traces: folder {str(folder)!r} holds no trace; it must hold the artifact's CSVs "
            "or npz files, in itself or in sub-folders 'sanger' and 'eyerissv2'"
        )
    return found


def _deployment(kind: Kind, folder: Path, files: Mapping[str, Path], fast: bool) -> Deployment:
    artifact = all(path.suffix == ".csv" for path in files.values())
    loads = FAST_LOADS if fast else LOADS
    main = PAPER_MAIN_RATES[kind] if artifact else MAIN_LOADS
    scenario = load_scenario(
        {
            "name": SCENARIO[kind],
            "accelerator": ACCELERATOR[kind],
            "traces": dict.fromkeys(sorted(files), 1.0),
            "trace_dir": str(folder),
            "rate" if artifact else "load": main[0],
        }
    )
    traces = scenario.store().traces
    return Deployment(
        kind=kind,
        traces=traces,
        files={trace.name: files[name] for name, trace in zip(sorted(files), traces, strict=True)},
        scenario=scenario,
        offered="rate" if artifact else "load",
        offers=PAPER_RATES[kind] if artifact else loads,
        main=main,
    )


def _is_trace(path: Path) -> bool:
    try:
        return bool(_accelerator(path))
    except DystaError:
        return False


def _accelerator(path: Path) -> str:
    """The accelerator of a trace file: an npz says so, a CSV of the artifact by its columns."""
    if path.suffix == ".npz":
        return load_trace(path).accelerator
    where = f"trace file {str(path)!r}"
    columns = set(read_csv(path, where, nrows=0).columns)
    if "50%-skip" in columns:
        return "sanger"
    if "sim_lat" in columns:
        return "eyerissv2"
    raise DystaError(
        f"{where} has neither column '50%-skip' (Sanger) nor 'sim_lat' (Eyeriss v2); "
        "it is no trace of the artifact"
    )
