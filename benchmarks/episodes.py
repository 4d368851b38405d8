"""Whole episodes: decisions per second of every policy, against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.page import Goal, Section, short
from benchmarks.timing import Side, Timing, core_s, progress, race, spread_of
from dysta_gym.information import Estimates, estimates
from dysta_gym.machine.machine import Machine, Schedule
from dysta_gym.policies import Policy, find
from dysta_gym.tables import markdown
from dysta_gym.traces import cell_of
from dysta_gym.workloads import Workload, generate, load_scenario

SCENARIO = "multi-attnn"
POLICIES = (
    "fcfs", "edf", "llf", "sjf", "sptp", "round_robin", "random", "prema", "planaria", "sdrm3",
    "dysta", "dysta_oracle", "dysta-tuned", "dysta-fp16", "evolved", "ppo", "dqn",
)  # fmt: skip
CONDITIONS = ((0.7, 1000), (0.95, 1000), (1.05, 1000), (1.5, 1000), (1.05, 10_000))
"""Loads, and how many requests."""
QUICK = ((0.95, 1000), (1.5, 1000))
MINUTES = {("random", 10_000)}
"""Policies and requests for which the plain loop would take minutes."""


class Request:
    """One request of the plain-Python loop."""

    def __init__(self, workload: Workload, index: int, deadline: float, known: Estimates) -> None:
        trace = workload.trace[index]
        row = int(workload.row[index])
        store = workload.store
        first = int(cell_of(store.first_cell[trace], row, store.layers[trace]))
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


def random(queue, now):  # noqa: D103
    bits = (1 << 64) - 1
    tick = int(now * 1e9) * 0xD1342543DE82EF95

    def draw(r):
        mixed = (tick ^ (r.index * 0xBF58476D1CE4E5B9)) & bits
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & bits
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & bits
        return (mixed ^ (mixed >> 31)) >> 11

    return min(queue, key=draw)


PLAIN: dict[str, Callable] = {
    "fcfs": fcfs, "edf": edf, "llf": llf, "sjf": sjf, "sptp": sptp, "round_robin": round_robin,
    "random": random,
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


class Compiled:
    """The event loop alone, as a side: the machine is made before the clock starts."""

    def __init__(self, workload: Workload, policy: Policy) -> None:
        self.workload, self.policy = workload, policy
        policy.compiled()

    def __call__(self) -> float:
        """Run the episode once."""
        self._machine = Machine(self.workload, self.policy.level)
        start = core_s()
        self._machine.run(self.policy)
        return core_s() - start

    @property
    def schedule(self) -> Schedule:
        """What the last run made."""
        return self._machine.schedule()


def plain_side(workload: Workload, policy: Policy, rule: Callable, schedule: Schedule) -> Side:
    """The same in plain Python; stops the benchmark if its schedule is another one."""
    known = estimates(workload.store, policy.level, workload.reference)
    deadline = workload.deadline_s.tolist()

    def side() -> float:
        requests = [Request(workload, i, deadline[i], known) for i in range(len(workload))]
        start = core_s()
        finish, decisions = plain_episode(requests, rule)
        seconds = core_s() - start
        same = np.allclose(finish, schedule.finish_s, rtol=1e-9, atol=0)
        if decisions != schedule.decisions or not same:
            raise SystemExit(f"{policy.spec}: the plain loop makes another schedule")
        return seconds

    return side


def mean_queue(workload: Workload, schedule: Schedule) -> float:
    """Requests in the system, on average over time."""
    turnaround = schedule.finish_s - workload.arrival_s
    return float(turnaround.sum() / (schedule.finish_s.max() - workload.arrival_s[0]))


def measure(quick: bool, _: Path) -> list[Section]:
    """The section on whole episodes."""
    rows, timings, goals = [], list[Timing](), list[Goal]()
    for name in POLICIES:
        progress(name)
        policy = find(name)
        for load, requests in QUICK if quick else CONDITIONS:
            scenario = load_scenario(SCENARIO).varied(load=load, requests=requests)
            workload = generate(scenario, 0)
            compiled = Compiled(workload, policy)
            compiled()
            schedule = compiled.schedule
            sides: dict[str, Side] = {"compiled": compiled}
            if name in PLAIN and (name, requests) not in MINUTES:
                sides["plain"] = plain_side(workload, policy, PLAIN[name], schedule)
            timing = race(sides, 0.1 if quick else 0.5)
            timings += timing.values()
            queue = mean_queue(workload, schedule)
            speed = {side: schedule.decisions / each.fastest for side, each in timing.items()}
            row = [name, f"{load:g}", f"{requests:,}", f"{queue:.0f}", short(speed["compiled"])]
            if "plain" in speed:
                ratio = speed["compiled"] / speed["plain"]
                row += [short(speed["plain"]), f"{ratio:,.0f}"]
                if name == "dysta" and load > 1:
                    goals.append(
                        Goal(
                            f"dysta at load {load:g}, {requests:,} requests (mean queue "
                            f"{queue:.0f}): 1,000 times the pure-Python loop on one core",
                            f"{ratio:,.0f} times",
                            ratio >= 1000,
                        )
                    )
            else:
                row += ["", ""]
            rows.append(row)
    head = ["policy", "load", "requests", "mean queue", "decisions/s", "plain Python /s", "ratio"]
    text = [
        f"Whole episodes of {SCENARIO} on one core: the compiled event loop, and a straightforward "
        "pure-Python loop (`benchmarks/episodes.py`) that scores the queue at every decision. "
        "Both run the same workload, and must end with the same schedule to a relative 1e-9. "
        "A decision runs one layer of one request. Time is what the core worked; waiting for it "
        "does not count. " + spread_of(timings),
        markdown(head, rows),
        "The plain loop is left out where it would take minutes, and for the rules that it does "
        "not know: variants of dysta, and learned ones. These are asked only at events, so that "
        "most layers cost them no decision.",
    ]
    return [Section("Whole episodes", text, goals)]
