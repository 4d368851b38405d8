"""The machine against another one: plain Python, from the definition alone."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dysta_gym import Queue, find, generate, load_scenario, measure, simulate
from dysta_gym.compiled.records import blank
from dysta_gym.information import estimates

COLUMNS = [name for name in Queue._fields if name != "length"]


class Request:
    """A request in the queue."""

    def __init__(self, workload, number, known):
        store, trace = workload.store, workload.trace[number]
        self.number = number
        self.latency = store.traces[trace].latency_s[workload.row[number]].tolist()
        self.cell = store.first_cell[trace] + workload.row[number] * len(self.latency)
        self.known, self.executed, self.memory = known, 0, 0.0
        self.last_run = workload.arrival_s[number]
        self.isolated = known.remaining[self.cell]

    def column(self, name, workload):
        known = {"remaining": 0, "next_layer": 1, "correction": 2}
        if name in known:
            return self.known[known[name]][self.cell + self.executed]
        columns = {
            "request": self.number,
            "arrival": workload.arrival_s[self.number],
            "deadline": workload.deadline_s[self.number],
            "priority": workload.priority[self.number],
            "layers": len(self.latency),
        }
        return columns[name] if name in columns else getattr(self, name)


def plain(workload, policy):
    """Finish times, preemptions and questions asked."""
    known = estimates(workload.store, policy.level, workload.reference)
    values = policy.values(workload.store.mean_isolated_s(workload.reference))
    waiting, queue, finish = list(range(len(workload))), [], {}
    limit = workload.queue_limit or len(workload)
    now = preemptions = asked = 0
    running = chosen = None
    expected = news = None
    while waiting or queue:
        if not queue:
            now = max(now, workload.arrival_s[waiting[0]])
        while waiting and len(queue) < limit and workload.arrival_s[waiting[0]] <= now:
            queue.append(Request(workload, waiting.pop(0), known))
            news = True
        stands = policy.events and running is chosen is not None and not news
        if not stands or chosen.column("remaining", workload) > expected:
            view = blank(Queue, len(queue))._replace(length=len(queue))
            for name in COLUMNS:
                getattr(view, name)[:] = [each.column(name, workload) for each in queue]
            scores = np.full(len(queue), np.nan)
            policy.score(view, len(queue), now, values, scores)
            for each, memory in zip(queue, view.memory.tolist(), strict=True):
                each.memory = memory
            chosen = queue[int(np.argmin(scores))]
            expected, news = chosen.column("remaining", workload), False
            asked += 1
            now += workload.decision_fixed_s + workload.decision_per_request_s * len(queue)
        if running is not None and running is not chosen:
            preemptions += 1
            now += workload.preemption_cost_s
        now += chosen.latency[chosen.executed]
        chosen.executed += 1
        chosen.last_run = now
        running = chosen
        if chosen.executed == len(chosen.latency):
            finish[chosen.number] = now
            queue.remove(chosen)
            running = None
    return [finish[number] for number in range(len(workload))], preemptions, asked


RULES = [
    "fcfs", "sjf", "sjf@sized/kalman", "dysta", "dysta-tuned@clairvoyant", "prema@pattern",
    "sdrm3", "planaria", "edf-triage", "moore-hodgson", "slack-index@monitored", "evolved",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(data=st.data(), name=st.sampled_from(RULES))
def test_schedules_are_those_of_another_machine(workloads, data, name):
    """Preemption costs, queue limits, idle layers and decisions that take time included."""
    workload = data.draw(workloads(max_requests=12, idle_layers=True, limits=True))
    schedule = simulate(workload, name)
    finish, preemptions, asked = plain(workload, find(name))
    assert schedule.finish_s == pytest.approx(finish, rel=1e-12)
    assert (schedule.preemptions, schedule.asked) == (preemptions, asked)


@pytest.mark.parametrize("name", ["sjf", "dysta", "edf", "ppo"])
def test_what_is_promised_changes_no_charge(name):
    """Rules with and without a promise pay alike; one that is asked at events pays for those."""
    cost = {"fixed_s": 1e-5, "per_request_s": 1e-6}
    given = load_scenario("multi-attnn").varied(requests=200, decision_cost=cost)
    workload = generate(given, 0)
    schedule = simulate(workload, name)
    finish, _, asked = plain(workload, find(name))
    assert schedule.finish_s == pytest.approx(finish, rel=1e-12)
    assert measure(schedule)["decisions"] == asked
    assert (asked == schedule.decisions) == (name != "ppo")
