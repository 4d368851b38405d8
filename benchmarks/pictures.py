"""Draw the pictures of docs/machine.md: ``python -m benchmarks.pictures [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import dysta_gym
from dysta_gym import figures
from dysta_gym.machine.machine import Machine
from dysta_gym.timeline.colours import LATE, colour_of
from dysta_gym.timeline.picture import gantt
from dysta_gym.timeline.segments import late, runs_of, segments_of

POLICIES = ("fcfs", "dysta")
WAITS = "#B8BEC4"
LAYER = 260
"""Layers after which the queue is looked at."""


def layers() -> Figure:
    """What the layers of a network take on three inputs, and how sparse they are."""
    trace = dysta_gym.shipped_trace("mpnet")
    order = np.argsort(trace.isolated_s)
    figure, (above, below) = figures.subplots(2, 1, figsize=(8, 4.2), sharex=True)
    places = np.arange(trace.latency_s.shape[1])
    for at, (name, row) in enumerate(
        {"shortest": order[0], "median": order[len(order) // 2], "longest": order[-1]}.items()
    ):
        label = f"{name} input: {1e3 * trace.isolated_s[row]:.2f} ms"
        above.plot(places, trace.sparsity[row], "o-", color=colour_of(at), label=label)
        below.bar(places + 0.27 * (at - 1), 1e3 * trace.latency_s[row], 0.25, color=colour_of(at))
    above.set_ylabel("sparsity")
    below.set_ylabel("latency (ms)")
    below.set_xlabel("layer of mpnet")
    below.set_xticks(places, [str(place) for place in places])
    above.legend(frameon=False, fontsize=9)
    return _open(figure)


def queue() -> Figure:
    """A queue amid a workload: what is known of each request, and what Dysta makes of it."""
    workload, policy = _workload(), dysta_gym.find("dysta")
    machine = Machine(workload, policy.level)
    for _ in range(LAYER):
        machine.step(machine.choose(policy))
    columns, size, now = machine.queue, machine.size, machine.now
    scores = np.empty(size)
    policy.score(columns, size, now, policy.values(machine.mean_isolated_s), scores)
    figure, (left, right) = figures.subplots(
        1, 2, figsize=(8, 0.8 + 0.32 * size), sharey=True, width_ratios=(2, 1)
    )
    places = np.arange(size)
    colours = [colour_of(workload.model[request]) for request in columns.request[:size]]
    left.barh(places, 1e3 * columns.remaining[:size], 0.6, color=colours)
    due = 1e3 * (columns.deadline[:size] - now)
    left.plot(due, places, "|", color="black", markersize=13, markeredgewidth=2)
    names = [
        f"{workload.store.models[workload.model[request]]} {request + 1}"
        for request in columns.request[:size]
    ]
    left.set_yticks(places, names, fontsize=9)
    left.axvline(0, color="black", linewidth=0.8)
    left.set_xlabel("from now (ms): bar, R; mark, the deadline")
    best = int(np.argmin(scores))
    right.barh(places, 1e3 * scores, 0.6, color=["black" if i == best else WAITS for i in places])
    right.set_xlabel("Dysta's score (thousandths)")
    right.annotate(
        "runs next", (1e3 * scores[best], best), (4, 0), textcoords="offset points", va="center"
    )
    left.invert_yaxis()
    return _open(figure)


def schedules() -> Figure:
    """The workload under two policies."""
    done = {name: dysta_gym.simulate(_workload(), name, record=True) for name in POLICIES}
    return gantt(done, "multi-attnn: load 1.2, SLO x 10, 60 requests, seed 1")


def violation() -> Figure:
    """The life of one request that is late, under Dysta."""
    schedule = dysta_gym.simulate(_workload(), "dysta", record=True)
    workload, runs = schedule.workload, runs_of(segments_of(schedule))
    count = np.bincount(runs.request, minlength=len(workload))
    request = int(np.argmax(late(schedule) * count))
    arrival, deadline = (1e3 * moment[request] for moment in workload.moments)
    finish = 1e3 * schedule.elapsed_s[request]
    figure = figures.empty(8, 1.9)
    axis = figure.subplots()
    axis.plot([arrival, deadline], [0, 0], color=WAITS, linewidth=3, zorder=1)
    axis.plot([deadline, finish], [0, 0], color=LATE, linewidth=3, zorder=1)
    for start, end in zip(runs.start_s, runs.end_s, strict=True):
        mine = runs.request[runs.start_s == start][0] == request
        if mine:
            axis.barh(
                0, 1e3 * (end - start), 0.5, left=1e3 * start,
                color=colour_of(workload.model[request]),
            )  # fmt: skip
    for moment, name in ((arrival, "arrives"), (deadline, "is due"), (finish, "finishes")):
        axis.plot([moment, moment], [-0.5, 0.5], color="black", linewidth=1)
        axis.annotate(name, (moment, 0.5), (0, 4), textcoords="offset points", ha="center")
    axis.set_ylim(-0.6, 1.1)
    axis.set_yticks([])
    model = workload.store.models[workload.model[request]]
    isolated = 1e3 * workload.isolated_s[request]
    axis.set_xlabel(
        f"time (ms); {model}, {isolated:.1f} ms alone, {finish - arrival:.1f} ms here: "
        f"NTT {schedule.ntt[request]:.1f}"
    )
    return _open(figure)


def _workload() -> dysta_gym.Workload:
    scenario = dysta_gym.load_scenario("multi-attnn").varied(load=1.2, requests=60)
    return dysta_gym.generate(scenario, 1, split="test")


def _open(figure: Figure) -> Figure:
    for axis in figure.axes:
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/machine")
    for make in (layers, queue, schedules, violation):
        figures.draw(make, FOLDER / f"{make.__name__}.png")
