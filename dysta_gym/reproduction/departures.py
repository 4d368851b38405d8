"""Where the artifact departs from a correct simulation, and what that does to the results.

The artifact (Sparse-DySta's public code) is emulated one departure at a time, on workloads that are
simulated correctly beside it. More concern its accelerator models; they need the networks
themselves and are measured by ``benchmarks/departures.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numba import types

from dysta_gym.accelerators import sanger_layer_latency_s, sanger_padded_length
from dysta_gym.comparison import CELL, PAPER_POLICIES
from dysta_gym.compiled.functions import address_of, compiled
from dysta_gym.compiled.records import Floats, borrow, invoke, on_stack
from dysta_gym.figures import COLOURS, condition_title
from dysta_gym.information import estimates
from dysta_gym.machine.loops import LOOP_TYPES
from dysta_gym.machine.machine import Machine
from dysta_gym.machine.queue import ARRIVED, SIZE, Jobs, Queue, State, Tables, admit, execute
from dysta_gym.machine.rule import View, first_least
from dysta_gym.metrics import measure
from dysta_gym.policies import Policy, find
from dysta_gym.reproduction.context import (
    METRICS,
    Context,
    Deployment,
    Findings,
    Item,
    Result,
)
from dysta_gym.reproduction.formats import fixed, points, signed, signed_points
from dysta_gym.reproduction.scheduling import DYSTA, PAPER_SLO
from dysta_gym.statistics import summarise
from dysta_gym.traces import Trace, TraceStore
from dysta_gym.workloads import Scenario, Workload, arrival_rate, generate, mean_isolated_s

ARTIFACT_INPUTS = 7
"""Inputs of each trace that its sampler draws: the length of a table that has seven keys."""


@dataclass(frozen=True)
class Departure:
    """One departure: the policies that it concerns, and how one of them runs with it.

    Attributes:
        title: What the artifact does.
        policies: Policies that it touches.
        run: The machine after a workload has run under a policy with the departure, or None for a
            workload that it does not concern.
    """

    title: str
    policies: Sequence[str]
    run: Callable[[Deployment, Workload, Policy], Machine | None]


# --- (a) the sampler -----------------------------------------------------------------------------


def _first_inputs(deployment: Deployment, workload: Workload, policy: Policy) -> Machine:
    """Every request has one of the trace's first inputs, in about equal shares."""
    row = np.empty_like(workload.row)
    for index, trace in enumerate(workload.store.traces):
        drawn = np.sort(trace.rows("test"))
        mine = workload.trace == index
        place = np.searchsorted(drawn, workload.row[mine])
        row[mine] = place * min(ARTIFACT_INPUTS, len(trace.train)) // len(drawn)
    return _after(replace(workload, row=row), policy)


def _first_inputs_at_the_load(
    deployment: Deployment, workload: Workload, policy: Policy
) -> Machine:
    """The same, with arrivals as far apart as keeps the load."""
    means = [trace.isolated_s[:ARTIFACT_INPUTS].mean() for trace in workload.store.traces]
    at_the_load = replace(workload, arrival_s=_arrivals(deployment, workload, means))
    return _first_inputs(deployment, at_the_load, policy)


def _arrivals(deployment: Deployment, workload: Workload, charged: Sequence[float]) -> Floats:
    """Arrivals that keep the load where the traces take ``charged`` seconds in the mean."""
    weights = np.array(list(deployment.scenario.traces.values()))
    means = [trace.isolated_s[trace.rows("test")].mean() for trace in workload.store.traces]
    scale: float = np.dot(weights, charged) / np.dot(weights, means)
    return workload.arrival_s * scale


# --- (b) the clock -------------------------------------------------------------------------------


@compiled(types.void(*LOOP_TYPES))
def _run_backwards(
    jobs: Jobs,
    tables: Tables,
    state: State,
    queue: Queue,
    rule: int,
    parameters: Floats,
    scores: Floats,
) -> None:
    """The event loop, with a clock that an empty queue sets to the next arrival, even backwards."""
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    scores = borrow(scores)
    view = on_stack(View(queue, borrow(parameters), scores))
    while state.counters[SIZE] > 0:
        size = state.counters[SIZE]
        invoke(rule, (view, size, 0, size, state.clock[0]))
        execute(jobs, tables, state, queue, first_least(scores, size))
        arrived = state.counters[ARRIVED]
        if state.counters[SIZE] == 0 and arrived < jobs.arrival.size:
            state.clock[0] = jobs.arrival[arrived]
        admit(jobs, tables, state, queue)


class _BackwardsMachine(Machine):
    def run(self, policy: Policy) -> None:
        values = policy.values(self.mean_isolated_s)
        scores = np.empty(len(self.workload))
        _run_backwards(*self.parts, address_of(policy.compiled()), values, scores)


def _backwards(deployment: Deployment, workload: Workload, policy: Policy) -> Machine:
    machine = _BackwardsMachine(workload, policy.level)
    machine.run(policy)
    return machine


# --- (c) prema_sparse ----------------------------------------------------------------------------


def _one_correction(deployment: Deployment, workload: Workload, policy: Policy) -> Machine:
    """All candidates are ranked with one request's ``g``: as without, for it moves all alike."""
    machine = Machine(workload, policy.level)
    pattern = estimates(workload.store, "pattern", workload.reference)
    machine.tables = machine.tables._replace(remaining=pattern.remaining)
    machine.run(policy)
    return machine


# --- (d) planaria --------------------------------------------------------------------------------


def _score_last_overdue(
    queue: Queue, size: int, now: float, parameters: Floats, scores: Floats
) -> None:
    """Greatest ``priority / S``; where all are overdue, the latest arrival.

    A running maximum that starts below 0 is replaced by whatever comes next while it is negative.
    """
    for i in range(size):
        slack = queue.deadline[i] - now
        if slack < 0.0:
            scores[i] = 1.0 * (size - i)
        else:
            scores[i] = -queue.priority[i] / slack if slack > 0.0 else -np.inf


LAST_OVERDUE = Policy("planaria", _score_last_overdue)


def _last_overdue(deployment: Deployment, workload: Workload, policy: Policy) -> Machine:
    return _after(workload, LAST_OVERDUE)


# --- (e) what Sanger charges ---------------------------------------------------------------------


def full_length(deployment: Deployment, trace: Trace) -> Trace | None:
    """The trace as the artifact charges it: density among an input's own tokens, at full length.

    None where its file does not tell density, balance and lengths, or has layers whose queries and
    keys differ.
    """
    density, balance = (deployment.measure(trace, name) for name in ("density", "load_balance"))
    settings = trace.provenance.get("settings", {})
    longest, width = (settings.get(name) for name in ("max_length", "width"))
    known = density is not None and balance is not None and trace.length is not None
    square = deployment.measure(trace, "query_length") is None
    if not (known and square and longest and width):
        return None
    padded = sanger_padded_length(trace.length)  # type: ignore[type-var]
    own = np.minimum(1, density * ((padded / trace.length) ** 2)[:, None])  # type: ignore[operator]
    charged = sanger_padded_length(longest)
    latency_s = sanger_layer_latency_s(own, balance, charged, width)  # type: ignore[arg-type]
    return replace(trace, latency_s=latency_s)


def _full_store(deployment: Deployment) -> TraceStore | None:
    """The scenario's store with the traces of `full_length`; None if that changes none."""
    store = deployment.scenario.store()
    key = "traces at full length"
    if key not in store.cached:
        changed = [full_length(deployment, trace) for trace in store.traces]
        store.cached[key] = (
            TraceStore([new or old for new, old in zip(changed, store.traces, strict=True)])
            if any(changed)
            else None
        )
    result: TraceStore | None = store.cached[key]
    return result


def _full_length(deployment: Deployment, workload: Workload, policy: Policy) -> Machine | None:
    """The same requests, as far apart as keeps the load."""
    store = _full_store(deployment)
    if store is None:
        return None
    charged = [trace.isolated_s[trace.rows("test")].mean() for trace in store.traces]
    arrival_s = _arrivals(deployment, workload, charged)
    return _after(replace(workload, store=store, arrival_s=arrival_s), policy)


DEPARTURES: Mapping[str, Departure] = {
    "first inputs": Departure(
        f"the sampler draws only the first {ARTIFACT_INPUTS} inputs of every trace; at the same "
        "arrival rate",
        PAPER_POLICIES,
        _first_inputs,
    ),
    "first inputs, same load": Departure(
        "the same, with arrivals as far apart as keeps the load",
        PAPER_POLICIES,
        _first_inputs_at_the_load,
    ),
    "clock": Departure(
        "when the queue empties, the clock is set to the next arrival, even backwards",
        PAPER_POLICIES,
        _backwards,
    ),
    "one correction": Departure(
        "prema_sparse ranks every candidate with the last queued request's g",
        ("prema_sparse",),
        _one_correction,
    ),
    "last overdue": Departure(
        "planaria runs the latest arrival where all requests are overdue",
        ("planaria",),
        _last_overdue,
    ),
    "full length": Departure(
        "Sanger is charged the full length at the density of the input's own tokens; at the same "
        "load",
        PAPER_POLICIES,
        _full_length,
    ),
}


# --- measuring -----------------------------------------------------------------------------------

CORRECT, DEPARTED = "correct", "departed"


def _departures(context: Context) -> Result:
    parts = []
    for deployment in context.deployments.values():
        for offer in deployment.main:
            workloads = [(seed, _workload(context, deployment, offer, seed))
                         for seed in context.seeds]  # fmt: skip
            correct: dict[tuple[str, int], dict[str, float]] = {}
            for name, departure in DEPARTURES.items():
                for policy in departure.policies:
                    rows = []
                    for seed, workload in workloads:
                        machine = departure.run(deployment, workload, find(policy))
                        if machine is None:
                            break
                        if (policy, seed) not in correct:
                            correct[policy, seed] = _measured(_after(workload, find(policy)))
                        rows += [
                            {"seed": seed, "policy": CORRECT, **correct[policy, seed]},
                            {"seed": seed, "policy": DEPARTED, **_measured(machine)},
                        ]
                    if rows:
                        where = _where(deployment, offer)
                        parts.append(_beside(where, name, policy, pd.DataFrame(rows)))
    frame = pd.concat(parts, ignore_index=True)
    return Result(frame, partial(_draw, frame), _findings(context, frame))


def _workload(context: Context, deployment: Deployment, offer: float, seed: int) -> Workload:
    scenario = _offering(deployment, offer).varied(
        slo_multiplier=PAPER_SLO, requests=context.requests
    )
    return generate(scenario, seed)


def _offering(deployment: Deployment, offer: float) -> Scenario:
    by_load = deployment.offered == "load"
    return deployment.scenario.varied(
        load=offer if by_load else None, rate=None if by_load else offer
    )


def _where(deployment: Deployment, offer: float) -> dict[str, Any]:
    """Columns `CELL`, as `dysta_gym.comparison.compare` has them."""
    scenario = _offering(deployment, offer)
    rate = arrival_rate(scenario)
    load = scenario.load or rate * mean_isolated_s(scenario)
    return {"scenario": scenario.name, "load": load, "rate": rate, "slo": PAPER_SLO}


def _after(workload: Workload, policy: Policy) -> Machine:
    machine = Machine(workload, policy.level)
    machine.run(policy)
    return machine


def _measured(machine: Machine) -> dict[str, float]:
    """The metrics, and the share of the time from the first arrival on that is work."""
    schedule = machine.schedule()
    metrics = measure(schedule)
    isolated = machine.workload.isolated_s
    arrival = machine.workload.arrival_s
    offered = isolated.sum() / (arrival[-1] * (len(arrival) + 1) / len(arrival))
    return {**{name: metrics[name] for name in METRICS}, "offered": float(offered)}


def _beside(
    where: Mapping[str, Any], departure: str, policy: str, rows: pd.DataFrame
) -> pd.DataFrame:
    """One row: each metric without and with the departure, and the difference, paired by seed."""
    columns = {name: np.full(len(rows), value) for name, value in where.items()}
    summary = summarise(rows.assign(**columns)[[*CELL, *rows]], METRICS, CORRECT)
    summary = summary.set_index("policy")
    offered = rows.groupby("policy")["offered"].mean()
    found: dict[str, Any] = {**where, "departure": departure, "policy": policy}
    for metric in METRICS:
        found[f"{metric}_correct"] = summary.loc[CORRECT, metric]
        for end in ("", "_diff", "_diff_low", "_diff_high"):
            found[f"{metric}{end}"] = summary.loc[DEPARTED, f"{metric}{end}"]
    found["offered_ratio"] = offered[DEPARTED] / offered[CORRECT]
    return pd.DataFrame([found])


def _findings(context: Context, frame: pd.DataFrame) -> dict[str, Any]:
    """Rows by departure, and what full length does to the dependence of latency on length."""
    found: dict[str, Any] = {
        str(name): mine.to_dict("records") for name, mine in frame.groupby("departure", sort=False)
    }
    if "attention" in context.deployments:
        deployment = context.deployments["attention"]
        charged = {}
        for trace in deployment.traces:
            full = full_length(deployment, trace)
            if full is not None and trace.length is not None and np.ptp(trace.length):
                charged[trace.model] = {
                    "correlation": float(np.corrcoef(trace.length, trace.isolated_s)[0, 1]),
                    "correlation_departed": float(np.corrcoef(trace.length, full.isolated_s)[0, 1]),
                }
        found["latency and length"] = charged
    return found


# --- the picture ---------------------------------------------------------------------------------


def _draw(frame: pd.DataFrame) -> Figure:
    labels = list(dict.fromkeys(zip(frame["departure"], frame["policy"], strict=True)))
    scenarios = list(dict.fromkeys(frame["scenario"]))
    figure, axes = plt.subplots(
        1, 2, figsize=(9.6, 0.24 * len(labels) + 1.5), layout="constrained", sharey=True
    )
    for axis, metric in zip(axes, METRICS, strict=True):
        for index, scenario in enumerate(scenarios):
            mine = frame[frame["scenario"] == scenario]
            for turn, (_, values) in enumerate(mine.groupby("load", sort=True)):
                places = zip(values["departure"], values["policy"], strict=True)
                y = np.array([labels.index(place) for place in places])
                y = y + 0.2 * (index + 0.5 * turn - 0.75)
                base = values[f"{metric}_correct"] if metric == "antt" else 1
                x, low, high = (
                    100 * values[f"{metric}_diff{end}"] / base for end in ("", "_low", "_high")
                )
                colour = COLOURS[index]
                axis.hlines(y, low, high, color=colour, linewidth=1, alpha=0.6)
                axis.plot(x, y, "o", color=colour, markersize=4,
                          markerfacecolor="white" if turn else colour)  # fmt: skip
        axis.axvline(0, color="0.3", linewidth=0.9)
        axis.set_xscale("symlog", linthresh=1, linscale=0.6)
        most = max(abs(value) for value in axis.get_xlim())
        ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000) if tick <= most]
        axis.set_xticks([-t for t in ticks[::-1]] + [0] + ticks,
                        [f"-{t}" for t in ticks[::-1]] + ["0"] + [f"+{t}" for t in ticks],
                        fontsize=8)  # fmt: skip
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.25, linewidth=0.6, axis="x")
        change = "SLO violations: change (points)" if metric == METRICS[0] else "ANTT: change (%)"
        axis.set_xlabel(change + ",\nlinear between -1 and 1, logarithmic beyond")
        for edge in range(1, len(labels)):
            if labels[edge][0] != labels[edge - 1][0]:
                axis.axhline(edge - 0.5, color="0.6", linewidth=0.8)
    axes[0].set_yticks(
        range(len(labels)),
        [
            f"{departure}:  {policy}" if not at or labels[at - 1][0] != departure else policy
            for at, (departure, policy) in enumerate(labels)
        ],
        fontsize=8,
    )
    axes[0].set_ylim(len(labels) - 0.5, -0.5)
    handles = []
    for index, scenario in enumerate(scenarios):
        loads = sorted(frame[frame["scenario"] == scenario]["load"].unique())
        for turn, load in enumerate(loads):
            handles.append(
                Line2D([], [], color=COLOURS[index], marker="o", linestyle="", markersize=4,
                           markerfacecolor="white" if turn else COLOURS[index],
                           label=condition_title({"scenario": scenario, "load": load}))
            )  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


# --- the section of the page ---------------------------------------------------------------------


def _section(found: Findings, made: Mapping[str, Findings]) -> dict[str, Any]:
    """The departures, what each moves most, what the first inputs offer and what length costs."""
    first = found.get("first inputs", ())
    return {
        "titles": {name: each.title for name, each in DEPARTURES.items() if name in found},
        "rows": [row for name in DEPARTURES for row in _rows(name, found.get(name, ()))],
        "offered": list(
            dict.fromkeys((row["scenario"], round(row["offered_ratio"], 4)) for row in first)
        ),
        "correlations": found.get("latency and length", {}),
    }


def _rows(name: str, rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """By workload: what a departure moves most and, where that is another, how it moves Dysta."""
    said = []
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        mine = [row for row in rows if row["scenario"] == scenario]
        own = [row for row in mine if row["policy"] == DYSTA]
        moved = _most_moved(mine)
        said.append([name, f"`{scenario}`", *moved])
        if own and _most_moved(own) != moved:
            said.append(["", "", *_most_moved(own)])
    return said


def _most_moved(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The greatest change of each metric among ``rows``."""
    rate = max(rows, key=lambda row: abs(row["violation_rate_diff"]))
    antt = max(rows, key=lambda row: abs(row["antt_diff"] / row["antt_correct"]))
    return [
        f"{rate['policy']}, load {rate['load']:.3g}: {points(rate['violation_rate_correct'])} → "
        f"{points(rate['violation_rate'])} [{signed_points(rate['violation_rate_diff_low'])}, "
        f"{signed_points(rate['violation_rate_diff_high'])}]",
        f"{antt['policy']}, load {antt['load']:.3g}: {fixed(antt['antt_correct'])} → "
        f"{fixed(antt['antt'])} [{signed(antt['antt_diff_low'], 2)}, "
        f"{signed(antt['antt_diff_high'], 2)}]",
    ]


ITEMS = (
    Item(
        "departures",
        "What the artifact's departures from a correct simulation do to the results",
        "The paper's numbers come from this artifact.",
        _departures,
        section=_section,
        heading="Departures of the artifact",
    ),
)
