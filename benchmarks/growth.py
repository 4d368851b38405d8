"""How cost grows: with the queue's length, and with the number of requests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.episodes import SCENARIO, Compiled
from benchmarks.page import Goal, Section, duration, short
from benchmarks.timing import Timing, fresh, memory, progress, race, spread_of
from dysta_gym.machine.machine import Schedule
from dysta_gym.metrics import measure as metrics_of
from dysta_gym.policies import find
from dysta_gym.simulation import simulate
from dysta_gym.tables import markdown
from dysta_gym.workloads import Workload, generate, load_scenario

POLICIES = (
    "fcfs", "edf", "llf", "sjf", "sptp", "round_robin", "random", "prema", "planaria", "sdrm3",
    "dysta",
)  # fmt: skip
LIMITS = (10, 100, 1000, 10_000)
LOGARITHMIC = ("fcfs", "sjf", "sptp")
"""Policies whose cost may grow with the logarithm of the queue, and no faster."""
AT_ONCE = 1e6
"""A load at which all requests arrive before the first one finishes."""
REQUESTS = (1000, 10_000, 100_000, 1_000_000)
LONG = ("fcfs", "sjf", "dysta", "prema", "sdrm3")


def measure(quick: bool, folder: Path) -> list[Section]:
    """The sections on the queue's length and on the number of requests."""
    return [_queue(LIMITS[:-1] if quick else LIMITS, quick, folder), _requests(quick)]


class Point(NamedTuple):
    """What a decision costs at a length of the queue."""

    queue: float
    seconds: float


def _limited(limit: int, requests: int) -> Workload:
    scenario = load_scenario(SCENARIO).model_dump()
    scenario |= {"load": AT_ONCE, "requests": requests, "queue_limit": limit}
    return generate(load_scenario(scenario), 0)


def _mean_queue(schedule: Schedule, limit: int) -> float:
    """Requests in the queue, on average over time, where all arrived at once."""
    finish = np.sort(schedule.finish_s)
    queue = np.minimum(limit, np.arange(len(finish), 0, -1))
    return float(np.average(queue, weights=np.diff(finish, prepend=0.0)))


def _queue(limits: tuple[int, ...], quick: bool, folder: Path) -> Section:
    requests = 2 * limits[-1]
    workloads = {limit: _limited(limit, requests) for limit in limits}
    points: dict[str, list[Point]] = {}
    timings: list[Timing] = []
    for name in POLICIES:
        progress(f"{name} by the queue's length")
        policy = find(name)
        sides = {limit: Compiled(workload, policy) for limit, workload in workloads.items()}
        raced = race({str(limit): side for limit, side in sides.items()}, 0.1 if quick else 0.5)
        timings += raced.values()
        points[name] = [
            Point(
                _mean_queue(side.schedule, limit),
                raced[str(limit)].fastest / side.schedule.decisions,
            )
            for limit, side in sides.items()
        ]
    picture = folder / "queue.png"
    _draw(points, picture)
    rows, goals = [], []
    for name, path in points.items():
        grown = path[-1].seconds / path[0].seconds
        allowed = np.log(path[-1].queue) / np.log(path[0].queue)
        exponent = np.polyfit(*np.log(np.array(path)).T, 1)[0]
        costs = [duration(point.seconds) for point in path]
        rows.append([name, *costs, f"{path[-1].queue:,.0f}", f"{grown:,.1f}", f"{exponent:.2f}"])
        if name in LOGARITHMIC:
            goals.append(
                Goal(
                    f"{name}: a decision's cost grows no faster than the logarithm of the queue, "
                    f"{allowed:.1f} times from {limits[0]} to {limits[-1]:,} places",
                    f"{grown:.1f} times",
                    grown <= allowed,
                )
            )
    head = ["policy", *(f"{limit:,}" for limit in limits), "mean queue", "growth", "exponent"]
    text = [
        f"What a decision costs with 10 to {limits[-1]:,} requests in the queue. {requests:,} "
        "requests, the same in all columns, arrive at once; the queue admits only so many, and "
        "the next one whenever one finishes. It stays full until the last ones drain it: the mean "
        "queue is that of the last column. Growth is the last column's cost over "
        f"the first one's, to be compared with {limits[-1] / limits[0]:,.0f} for a rule that looks "
        "at every request; the exponent is that of a power of the mean queue, fitted to the "
        "columns. Time is what the core worked. " + spread_of(timings),
        markdown(head, rows),
        f"![Cost of a decision by the queue's length]({folder.name}/{picture.name})",
    ]
    return Section("Growth with the queue", text, goals)


def _draw(points: dict[str, list[Point]], path: Path) -> None:
    from dysta_gym.figures import save, subplots
    from dysta_gym.styles import rule_styles

    styles = rule_styles(list(points))
    figure, axis = subplots(figsize=(6.4, 4.0))
    for name, style in styles.items():
        queue, seconds = np.array(points[name]).T
        axis.loglog(
            queue, 1e9 * seconds, color=style.colour, marker=style.marker, markersize=5,
            linewidth=1.2, label=name, **style.face(),
        )  # fmt: skip
    axis.set_xlabel("requests in the queue, mean over time")
    axis.set_ylabel("cost of a decision (ns)")
    axis.grid(alpha=0.25, linewidth=0.6)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    save(figure, path)


def episode(name: str, requests: int) -> dict[str, Any]:
    """Generate, simulate and measure one episode in this process: seconds and bytes."""
    policy, scenario = find(name), load_scenario(SCENARIO)

    def run(total: int) -> tuple[int, list[float]]:
        times = [time.perf_counter()]
        workload = generate(scenario.varied(load=0.95, requests=total), 0)
        times.append(time.perf_counter())
        schedule = simulate(workload, policy)
        times.append(time.perf_counter())
        metrics_of(schedule)
        times.append(time.perf_counter())
        return schedule.decisions, np.diff(times).tolist()

    run(10)  # loads compiled code and traces
    before = memory("VmHWM")
    decisions, seconds = run(requests)
    peak = memory("VmHWM")
    for _ in range(min(10, 100_000 // requests)):  # short ones are easily disturbed
        seconds = np.minimum(seconds, run(requests)[1]).tolist()
    return {"decisions": decisions, "seconds": seconds, "peak": peak, "more": peak - before}


def _requests(quick: bool) -> Section:
    rows, longest = [], []
    sizes = REQUESTS[::3] if quick else REQUESTS
    for name in LONG[:3] if quick else LONG:
        for requests in sizes:
            progress(f"{name}, {requests:,} requests")
            seen = fresh(
                "import json; from benchmarks.growth import episode; "
                f"print(json.dumps(episode({name!r}, {requests})))"
            )
            generated, simulated, measured = seen["seconds"]
            total = generated + simulated + measured
            rows.append(
                [
                    name,
                    f"{requests:,}",
                    *map(duration, (generated, simulated, measured, total)),
                    short(seen["decisions"] / simulated),
                    f"{seen['peak'] / 2**20:,.0f}",
                    f"{seen['more'] / requests:,.0f}",
                ]
            )
            if requests == sizes[-1]:
                longest.append((total, seen["peak"], name))
    slowest, largest = max(longest), max(longest, key=lambda each: each[1])
    goal = Goal(
        f"an episode of {sizes[-1]:,} requests in 10 s and 1 GiB, drawn, run and measured",
        f"{slowest[0]:.1f} s ({slowest[2]}), {largest[1] / 2**30:.2f} GiB at the peak",
        slowest[0] < 10 and largest[1] < 2**30,
    )
    head = [
        "policy", "requests", "generate", "simulate", "measure", "together", "decisions/s",
        "peak memory (MiB)", "bytes a request",
    ]  # fmt: skip
    text = [
        f"One episode of {SCENARIO} at load 0.95 from the scenario to its metrics, each in a fresh "
        "process that has run ten requests before. The peak is the whole process's, with Python "
        "and the compiled code; bytes a request are what the episode added to it.",
        markdown(head, rows),
    ]
    return Section("Growth with the number of requests", text, [goal])
