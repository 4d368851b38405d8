"""Whole-episode speed: decisions per second of every baseline, against plain Python.

Prints a Markdown table of one run: for each policy and load, the decisions per second of the
compiled event loop on one core, those of a straightforward pure-Python version of the same loop,
and their ratio. Both run the same workload and must end with the same schedule.

    python benchmarks/episodes.py
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np

from dysta_gym.information import estimates
from dysta_gym.policies import find
from dysta_gym.simulator import Machine
from dysta_gym.workloads import Workload, generate, load_scenario

POLICIES = (
    "fcfs", "edf", "llf", "sjf", "sptp", "round_robin", "random",
    "prema", "planaria", "sdrm3", "dysta", "dysta_oracle",
)  # fmt: skip


class Request:
    """One request of the plain-Python loop."""

    def __init__(self, workload: Workload, index: int, deadline: float, known: tuple) -> None:
        trace = workload.trace[index]
        row = int(workload.row[index])
        store = workload.store
        first = int(store.first_cell[trace]) + row * int(store.layers[trace])
        cells = slice(first, first + int(store.layers[trace]))
        self.index = index
        self.arrival = float(workload.arrival_s[index])
        self.deadline = deadline
        self.priority = float(workload.priority[index])
        self.latency, self.remaining, self.next_layer, self.correction = (
            table[cells].tolist() for table in (store.latency_s, *known)
        )
        self.executed = 0
        self.last_run = self.arrival
        self.token: float | None = None


def fcfs(queue, now):  # noqa: D103, as the rest of the rules: one a baseline
    return min(queue, key=lambda r: r.arrival)


def edf(queue, now):  # noqa: D103
    return min(queue, key=lambda r: r.deadline)


def llf(queue, now):  # noqa: D103
    return min(queue, key=lambda r: (r.deadline - now) - r.remaining[r.executed])


def sjf(queue, now):  # noqa: D103
    return min(queue, key=lambda r: r.remaining[r.executed])


def sptp(queue, now):  # noqa: D103
    return min(queue, key=lambda r: r.remaining[r.executed] * r.remaining[0])


def round_robin(queue, now):  # noqa: D103
    return min(queue, key=lambda r: r.last_run)


def planaria(queue, now):  # noqa: D103
    return max(queue, key=lambda r: r.priority / (r.deadline - now))


def sdrm3(queue, now):  # noqa: D103
    def score(r):
        urgency = min(1.0, r.remaining[r.executed] / (r.deadline - now))
        return urgency + (now - r.last_run) / r.next_layer[r.executed]

    return max(queue, key=score)


def dysta(queue, now):  # noqa: D103
    size = len(queue)

    def score(r):
        remaining = r.remaining[r.executed]
        slack = max(0.0, r.deadline - now - remaining)
        return remaining + 0.01 * (slack + (now - r.last_run) / (r.remaining[0] * size))

    return min(queue, key=score)


def prema(queue, now):  # noqa: D103
    richest = 0.0
    for r in queue:
        if r.token is None:
            r.token = r.priority
        else:
            expected = r.correction[r.executed] * r.remaining[0]
            r.token += r.priority * (now - r.last_run) / expected
            richest = max(richest, r.token)
    threshold = 9 if richest >= 9 else 3 if richest >= 3 else 1
    rich = [r for r in queue if r.token >= threshold]
    return min(rich, key=lambda r: r.remaining[r.executed])


PLAIN: dict[str, Callable] = {
    "fcfs": fcfs, "edf": edf, "llf": llf, "sjf": sjf, "sptp": sptp, "round_robin": round_robin,
    "prema": prema, "planaria": planaria, "sdrm3": sdrm3, "dysta": dysta, "dysta_oracle": dysta,
}  # fmt: skip


def plain_episode(requests: list[Request], choose: Callable) -> tuple[list[float], int]:
    """Finish times and decisions of the event loop as one would first write it."""
    queue: list[Request] = []
    finish = [0.0] * len(requests)
    now, arrived, decisions = 0.0, 0, 0
    while queue or arrived < len(requests):
        if not queue:
            now = max(now, requests[arrived].arrival)
        while arrived < len(requests) and requests[arrived].arrival <= now:
            queue.append(requests[arrived])
            arrived += 1
        chosen = choose(queue, now)
        now += chosen.latency[chosen.executed]
        chosen.executed += 1
        chosen.last_run = now
        decisions += 1
        if chosen.executed == len(chosen.latency):
            queue.remove(chosen)
            finish[chosen.index] = now
    return finish, decisions


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenario", default="multi-attnn")
    parser.add_argument("--load", type=float, nargs="*", default=[0.7, 0.95, 1.05])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5, help="compiled runs; the fastest counts")
    arguments = parser.parse_args()
    print(
        "# Whole-episode speed\n\nDecisions per second of the compiled event loop, and of a "
        "straightforward pure-Python version of the\nsame loop with the same schedule, in one run "
        f"(`make benchmark`):\n{arguments.scenario}, {arguments.requests} requests, one core of "
        f"{platform.machine()}, Python {platform.python_version()}.\n"
    )
    print("| policy | load | mean queue | decisions | compiled /s | plain Python /s | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in POLICIES:
        policy = find(name)
        for load in arguments.load:
            scenario = load_scenario(arguments.scenario).varied(
                load=load, requests=arguments.requests
            )
            workload = generate(scenario, 0)
            fastest = float("inf")
            for _ in range(arguments.repeats):
                machine = Machine(workload, policy.level)
                start = time.perf_counter()
                machine.run(policy)
                fastest = min(fastest, time.perf_counter() - start)
            schedule = machine.schedule()
            turnaround = schedule.finish_s - workload.arrival_s
            queue = turnaround.sum() / (schedule.finish_s.max() - workload.arrival_s[0])
            row = f"| {name} | {load:g} | {queue:.0f} | {schedule.decisions:,} "
            row += f"| {schedule.decisions / fastest:,.0f} "
            if name in PLAIN:
                known = estimates(workload.store, policy.level, workload.reference)
                deadline = workload.deadline_s.tolist()
                requests = [Request(workload, i, deadline[i], known) for i in range(len(workload))]
                start = time.perf_counter()
                finish, decisions = plain_episode(requests, PLAIN[name])
                plain = time.perf_counter() - start
                if not np.allclose(finish, schedule.finish_s, rtol=1e-9):
                    raise SystemExit(f"{name} at load {load:g}: the two schedules differ")
                row += f"| {decisions / plain:,.0f} | {plain / fastest:,.0f} |"
            else:
                row += "| | |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
