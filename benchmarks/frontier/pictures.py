"""The figures of docs/frontier.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from benchmarks.frontier.conditions import FIRST_SEED
from benchmarks.frontier.judging import LEAST_ANTT, MOST_ANTT, REFERENCE, Board, Floats
from benchmarks.frontier.measuring import AGENTS, Family
from benchmarks.frontier.sections import Measured, where_of
from dysta_gym import figures
from dysta_gym.machine.machine import Machine
from dysta_gym.policies import Policy, find
from dysta_gym.simulation import simulate
from dysta_gym.styles import COLOURS, rule_styles
from dysta_gym.timeline.segments import late
from dysta_gym.workloads import Workload, generate, load_scenario

LOOKED_AT = (("multi-attnn", 0.95), ("multi-cnn", 0.95), ("datacenter-language", 1.05))
"""Scenarios and loads at which it is shown where requests go."""

GREY = "#B8BEC4"
FAMILY_COLOURS = (COLOURS[3], COLOURS[0], COLOURS[2])
PLACES = (0.0, 0.5, 1.0)
FEWEST = 3
"""Requests in a queue whose order is looked at."""


def fronts(measured: Measured, part: str, most: int = 12) -> Figure:
    """Violations against ANTT in the conditions with the most violations of a part."""
    board = measured.boards[part]
    chosen = [board.conditions.index(where) for where in where_of(board)[:most]]
    chosen.sort()
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = figures.subplots(
        rows, columns, figsize=(2.9 * columns, 2.5 * rows + 0.6), squeeze=False
    )
    styles = rule_styles(list(measured.agents))
    for axis, at in zip(axes.flat, chosen, strict=False):
        _front(axis, measured, board, at)
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("ANTT over that of sptp")
    for axis in axes[-1]:
        axis.set_xlabel("violations (%)")
    handles = [
        Line2D([], [], color=colour, marker=".", label=f"{family.name}, {family.parameter}")
        for family, colour in zip(measured.families, FAMILY_COLOURS, strict=False)
    ]
    handles += [
        Line2D([], [], linestyle="", marker=style.marker, color=style.colour, label=name,
               **style.face())
        for name, style in zip(AGENTS, styles.values(), strict=True)
    ]  # fmt: skip
    handles += [
        Line2D([], [], linestyle="", marker=".", color=GREY, label="rules"),
        Line2D([], [], linestyle="", marker="+", color="black", label="sptp@sized/kalman"),
        Line2D([], [], linestyle="--", color="0.4", label="lower bounds"),
        Line2D([], [], linestyle=":", color="0.4", label="in hindsight"),
    ]
    figures.legend(
        figure, handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8
    )
    return figure


def _front(axis: Axes, measured: Measured, board: Board, at: int) -> None:
    """One condition."""
    violations, antt = (each[:, at] for each in board.means)
    (base,) = board.at([REFERENCE])
    scale = antt[base]
    rules = board.at(measured.rules)
    axis.plot(100 * violations[rules], antt[rules] / scale, ".", color=GREY, markersize=4)
    for family, colour in zip(measured.families, FAMILY_COLOURS, strict=False):
        own = board.at(family.names)
        axis.plot(
            100 * violations[own], antt[own] / scale, ".-", color=colour, markersize=5, linewidth=1
        )
    axis.plot(100 * violations[base], 1, "+", color="black", markersize=9)
    for each, style in zip(
        board.at(measured.agents), rule_styles(measured.agents).values(), strict=True
    ):
        axis.plot(
            100 * violations[each], antt[each] / scale, linestyle="", marker=style.marker,
            color=style.colour, markersize=5, **style.face(),
        )  # fmt: skip
    line: dict[str, Any] = {"color": "0.4", "linewidth": 0.9, "zorder": 1}
    axis.axvline(100 * board.bound("violation_rate")[at], linestyle="--", **line)
    reached = board.bounds["violation_rate_in_hindsight"][at].mean()
    axis.axvline(100 * reached, linestyle=":", **line)
    axis.axhline(board.bound("antt")[at] / scale, linestyle="--", **line)
    axis.set_xlim(0, 130 * violations[base])
    axis.set_ylim(LEAST_ANTT - 0.03, MOST_ANTT + 0.05)
    name, load, _, slo = board.conditions[at]
    axis.set_title(figures.plain(f"{name}, {load:.3g}, SLO x {slo:g}"), fontsize=8)
    axis.grid(alpha=0.25, linewidth=0.6)


def bounds(measured: Measured) -> Figure:
    """How far each condition is from both of its bounds: rules, agents, and the judged family."""
    rows = []
    for name, board in measured.tracks.items():
        if name in ("deployments", "paper"):
            rows += [(board, board.conditions.index(where)) for where in where_of(board)]
    figure, axes = figures.subplots(
        1, 2, figsize=(10, 0.19 * len(rows) + 1.4), sharey=True, width_ratios=(1, 1)
    )
    styles = rule_styles(measured.agents)
    for row, (board, at) in enumerate(rows):
        violations, antt = (each[:, at] for each in board.means)
        least = 100 * board.bound("violation_rate")[at]
        reached = 100 * board.bounds["violation_rate_in_hindsight"][at].mean()
        scaled = (100 * violations - least, antt / board.bound("antt")[at])
        axes[0].plot(reached - least, row, "|", color="0.4", markersize=8)
        for axis, values in zip(axes, scaled, strict=True):
            best = values[board.at(measured.rules)].min()
            axis.plot(best, row, "d", color=GREY, markersize=5)
            own = values[board.at(measured.judged.names)]
            axis.plot([own.min(), min(own.max(), 1e3)], [row, row], "-", color=FAMILY_COLOURS[0],
                      linewidth=2, alpha=0.7)  # fmt: skip
            for each, style in zip(board.at(measured.agents[:2]), styles.values(), strict=False):
                axis.plot(
                    values[each], row, linestyle="", marker=style.marker, color=style.colour,
                    markersize=4, **style.face(),
                )  # fmt: skip
    ends = [max(axis.get_xlim()[1], 1.5) for axis in axes]
    axes[0].set_xscale("symlog", linthresh=0.5, linscale=0.6)
    axes[0].set_xticks([0, 0.5, 1, 2, 5, 10, 20, 50], ["0", "0.5", "1", "2", "5", "10", "20", "50"])
    axes[1].set_xscale("log")
    axes[1].set_xticks([1, 1.5, 2, 3, 5, 10, 20], ["1", "1.5", "2", "3", "5", "10", "20"])
    axes[1].xaxis.set_minor_locator(NullLocator())
    axes[0].set_xlim(-0.02, ends[0])
    axes[1].set_xlim(0.98, ends[1])
    axes[0].set_xlabel("violations above the lower bound (points of per cent)")
    axes[1].set_xlabel("ANTT over its lower bound")
    labels = []
    for board, at in rows:
        name, load, _, slo = board.conditions[at]
        labels.append(figures.plain(f"{name}, {load:.3g}, x {slo:g}"))
    axes[0].set_yticks(range(len(rows)), labels, fontsize=7)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    for axis in axes:
        axis.grid(alpha=0.25, linewidth=0.6)
    handles = [
        Line2D([], [], color=FAMILY_COLOURS[0], linewidth=2,
               label=f"{measured.judged.name}, its whole curve"),
        *(
            Line2D([], [], linestyle="", marker=style.marker, color=style.colour, label=name,
                   **style.face())
            for name, style in zip(AGENTS[:2], styles.values(), strict=False)
        ),
        Line2D([], [], linestyle="", marker="d", color=GREY, label="the best rule on this axis"),
        Line2D([], [], linestyle="", marker="|", color="0.4", label="in hindsight"),
    ]  # fmt: skip
    figures.legend(
        figure, handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=8
    )
    return figure


def _workloads(scenario: str, load: float, count: int, requests: int | None) -> list[Workload]:
    varied = load_scenario(scenario).varied(load=load, requests=requests)
    return [generate(varied, FIRST_SEED + at, split="test") for at in range(count)]


def scores(machine: Machine, policy: Policy) -> Floats:
    """What a policy makes of a machine's queue."""
    found = np.empty(machine.size)
    policy.score(machine.queue, machine.size, machine.now, machine.values_for(policy), found)
    return found


def ranks(machine: Machine, policy: Policy) -> Floats:
    """Places in a policy's order of a machine's queue, from 0 for what runs next to 1."""
    order = np.argsort(scores(machine, policy), kind="stable")
    places = np.empty(len(order))
    places[order] = np.arange(len(order)) / (len(order) - 1)
    return places


def moved(family: Family, workloads: Sequence[Workload], every: int = 11) -> Floats:
    """How the order of queues changes from the first of a family to its last.

    The queues are those that its middle member meets.

    Returns:
        A row a request of a queue: slack over its whole latency, remaining over the mean isolated
        latency, and by how much of the queue it moves back.
    """
    first, middle, last = (family.close(place) for place in PLACES)
    found = []
    for workload in workloads:
        machine, step = Machine(workload, middle.level), 0
        while not machine.done:
            if step % every == 0 and machine.size >= FEWEST:
                queue, size = machine.queue, machine.size
                remaining = queue.remaining[:size]
                whole = queue.isolated[:size] * queue.correction[:size]
                slack = (queue.deadline[:size] - machine.now - remaining) / whole
                back = ranks(machine, last) - ranks(machine, first)
                found.append(np.stack([slack, remaining / machine.mean_isolated_s, back], axis=1))
            machine.step(machine.choose(middle))
            step += 1
    return np.concatenate(found)


SLACKS = np.array([-np.inf, -10, -3, -1, 0, 1, 2, 3, 5, 8, 12, np.inf])
REMAINING = np.array([0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0, np.inf])


def moves(family: Family, workloads: int = 3, requests: int | None = None) -> Figure:
    """Where the parameter moves requests: mean change of place over slack and remaining latency."""
    figure, axes = figures.subplots(
        1, len(LOOKED_AT), figsize=(4.1 * len(LOOKED_AT), 3.3), sharey=True, squeeze=False
    )
    for axis, (scenario, load) in zip(axes[0], LOOKED_AT, strict=True):
        table = moved(family, _workloads(scenario, load, workloads, requests))
        across = np.clip(np.searchsorted(SLACKS, table[:, 0], "right") - 1, 0, len(SLACKS) - 2)
        up = np.clip(np.searchsorted(REMAINING, table[:, 1], "right") - 1, 0, len(REMAINING) - 2)
        shape = (len(REMAINING) - 1, len(SLACKS) - 1)
        total, count = np.zeros(shape), np.zeros(shape)
        np.add.at(total, (up, across), table[:, 2])
        np.add.at(count, (up, across), 1)
        mean = np.where(count >= 10, total / np.maximum(count, 1), np.nan)
        image = axis.imshow(
            100 * mean, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-50, vmax=50
        )
        axis.set_facecolor("0.85")
        axis.set_xticks(
            np.arange(1, len(SLACKS) - 1) - 0.5, [f"{each:g}" for each in SLACKS[1:-1]], fontsize=8
        )
        axis.set_yticks(
            np.arange(1, len(REMAINING) - 1) - 0.5,
            [f"{each:g}" for each in REMAINING[1:-1]],
            fontsize=8,
        )
        axis.set_title(figures.plain(f"{scenario}, load {load:g}"), fontsize=9)
        axis.set_xlabel("slack over whole latency (late to the left of 0)")
    axes[0, 0].set_ylabel("remaining over mean latency")
    bar = figure.colorbar(image, ax=list(axes[0]), pad=0.01)
    bar.set_label("moves back by (% of the queue)")
    return figure


def classes(family: Family, workloads: int = 10, requests: int | None = None) -> Figure:
    """Who pays: violations and turnaround of requests by their latency alone, at three members."""
    figure, axes = figures.subplots(
        2, len(LOOKED_AT), figsize=(3.6 * len(LOOKED_AT) + 0.6, 5.0), squeeze=False
    )
    members = [*dict.fromkeys(family.close(place) for place in PLACES)]
    for column, (scenario, load) in enumerate(LOOKED_AT):
        made = _workloads(scenario, load, workloads, requests)
        alone = np.concatenate([each.isolated_s for each in made])
        ends = np.quantile(alone, [0.2, 0.4, 0.6, 0.8])
        group = np.searchsorted(ends, alone)
        for at, policy in enumerate([find(REFERENCE), *members]):
            done = [simulate(each, policy) for each in made]
            missed = np.concatenate([late(each) for each in done])
            turnaround = np.concatenate([each.ntt for each in done])
            count = np.bincount(group, minlength=5)
            colour = "black" if not at else COLOURS[(2, 1, 3)[at - 1]]
            value = "sptp" if not at else f"{family.name}: {_value(policy)}"
            for row, values in enumerate((100.0 * missed, turnaround)):
                axes[row, column].plot(
                    range(5), np.bincount(group, values, minlength=5) / count,
                    "+:" if not at else "o-", color=colour, markersize=5, linewidth=1.2,
                    label=figures.plain(value),
                )  # fmt: skip
        axes[0, column].set_title(figures.plain(f"{scenario}, load {load:g}"), fontsize=9)
        for axis in axes[:, column]:
            axis.set_xticks(range(5), ["shortest", "", "", "", "longest"], fontsize=8)
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.25, linewidth=0.6)
        axes[1, column].set_xlabel("fifth of the requests, by latency alone")
    axes[0, 0].set_ylabel("late (%)")
    axes[1, 0].set_ylabel("mean normalised turnaround")
    axes[0, -1].legend(frameon=False, fontsize=8)
    return figure


def _value(policy: Policy) -> str:
    """The setting of a member, as it is called."""
    settings = ", ".join(f"{key}={value:g}" for key, value in policy.settings.items())
    return settings or policy.spec.partition("@")[0].partition(":")[2]
