"""What the artifact's departures from a correct simulation do to the results.

The workloads are simulated correctly beside each departure, with the same seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dysta_gym.comparison import CELL
from dysta_gym.figures import condition_title, subplots
from dysta_gym.machine.machine import Machine
from dysta_gym.metrics import measure
from dysta_gym.policies import find
from dysta_gym.reproduction.artifact import DEPARTURES, full_length, run
from dysta_gym.reproduction.context import METRICS, Context, Deployment, Findings, Item, Result
from dysta_gym.reproduction.formats import fixed, points, signed, signed_points
from dysta_gym.reproduction.scheduling import DYSTA, PAPER_SLO
from dysta_gym.statistics import summarise
from dysta_gym.styles import COLOURS
from dysta_gym.workloads import Scenario, Workload, arrival_rate, generate, mean_isolated_s

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
                            correct[policy, seed] = _measured(run(workload, find(policy)))
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
    figure, axes = subplots(1, 2, figsize=(9.6, 0.24 * len(labels) + 1.5), sharey=True)
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
