"""The machine: invariants of every schedule, and a plain reference for what each rule may pick."""

import copy
import subprocess
import sys
from dataclasses import replace
from functools import cache

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from dysta_gym import (
    Machine,
    Parameter,
    Policy,
    TraceStore,
    Workload,
    antt_lower_bound,
    generate,
    load_scenario,
    measure,
    simulate,
)
from dysta_gym.information import LEVELS
from dysta_gym.policies import find, names

# Every installed rule at every level; aliases are points of this grid.
RULES = sorted({find(name).name for name in names()})
GRID = [f"{rule}@{level}" for rule in RULES for level in LEVELS]


def layer_latencies(workload):
    """True latencies of each request's layers, in order."""
    return [
        workload.store.traces[t].latency_s[r].tolist()
        for t, r in zip(workload.trace, workload.row, strict=True)
    ]


def one_trace_workload(trace, requests, arrival_s=0.0, **fields):
    """``requests`` requests for the inputs of one trace in turn."""
    columns = {
        "store": TraceStore([trace]),
        "reference": "all",
        "arrival_s": np.broadcast_to(arrival_s, requests),
        "trace": np.zeros(requests),
        "row": np.arange(requests) % len(trace.train),
        "priority": np.ones(requests),
        "slo_multiplier": 10.0,
    }
    return Workload(**(columns | fields))


# --- invariants ----------------------------------------------------------------------------------


def busy_periods(workload, schedule):
    """Check that a recorded schedule is one that the machine can run; return its busy periods."""
    arrival, layers = workload.arrival_s.tolist(), layer_latencies(workload)
    executed, finish = [0] * len(workload), [None] * len(workload)
    preemptions, periods, end, running = 0, [], None, None
    limit = workload.queue_limit or len(workload)
    ran, started = schedule.ran.tolist(), schedule.started_s.tolist()
    assert len(ran) == schedule.decisions == sum(map(len, layers))
    for request, start in zip(ran, started, strict=True):
        waiting = [i for i, f in enumerate(finish) if f is None]
        first = min(arrival[i] for i in waiting)
        # busy as soon as the last layer has ended and a request is there
        decided = first if end is None else max(end, first)
        assert arrival[request] <= decided
        assert request in waiting[:limit]  # it has been let into the queue
        set_aside = running is not None and running != request
        preemptions += set_aside
        seen = sum(arrival[i] <= decided for i in waiting[:limit])
        asking = workload.decision_fixed_s + workload.decision_per_request_s * seen
        lost = workload.preemption_cost_s if set_aside else 0.0
        # Those that are asked at events may not have been asked.
        assert start in (decided + asking + lost, decided + lost)
        if decided != end:
            periods.append([start, start])
        end = start + layers[request][executed[request]]
        periods[-1][1] = end
        executed[request] += 1
        if executed[request] == len(layers[request]):
            finish[request] = end
        running = None if finish[request] is not None else request
    assert executed == [len(each) for each in layers]
    assert schedule.finish_s.tolist() == finish
    assert schedule.preemptions == preemptions
    return periods


@settings(max_examples=60)
@given(data=st.data())
def test_every_policy_runs_a_possible_schedule(workloads, data):
    workload = data.draw(workloads(idle_layers=True, limits=True))
    lower = antt_lower_bound(workload.arrival_s, workload.isolated_s)
    assert lower >= 1 - 1e-12
    reference = None
    for spec in GRID:
        schedule = simulate(workload, spec, record=True)
        periods = np.array(busy_periods(workload, schedule))
        # work is conserved: what is left to do at any time does not depend on the policy
        wasted = workload.preemption_cost_s + workload.decision_fixed_s
        wasted += workload.decision_per_request_s
        reference = periods if reference is None or wasted else reference
        np.testing.assert_allclose(periods, reference, rtol=1e-9, err_msg=spec)
        assert measure(schedule)["antt"] >= lower * (1 - 1e-9), spec
        unrecorded = simulate(workload, spec)
        assert unrecorded.finish_s.tolist() == schedule.finish_s.tolist()
        assert unrecorded.ran.size == unrecorded.started_s.size == 0


def least_antt(workload):
    """Least ANTT over all orders of layers on a machine that is never idle while work waits."""
    arrival, isolated = workload.arrival_s.tolist(), workload.isolated_s.tolist()
    layers = layer_latencies(workload)

    @cache
    def best(now, executed):
        left = [i for i, done in enumerate(executed) if done < len(layers[i])]
        if not left:
            return 0.0
        now = max(now, min(arrival[i] for i in left))
        costs = []
        for i in left:
            if arrival[i] <= now:
                end = now + layers[i][executed[i]]
                after = (*executed[:i], executed[i] + 1, *executed[i + 1 :])
                finished = after[i] == len(layers[i])
                cost = (end - arrival[i]) / isolated[i] if finished else 0.0
                costs.append(cost + best(end, after))
        return min(costs)

    return best(0.0, (0,) * len(layers)) / len(layers)


@settings(max_examples=40)
@given(data=st.data())
def test_bound_optimum_and_policies_stand_in_this_order(workloads, data):
    workload = data.draw(workloads(max_requests=4))
    optimum = least_antt(workload)
    bound = antt_lower_bound(workload.arrival_s, workload.isolated_s)
    assert bound <= optimum * (1 + 1e-9)
    for spec in GRID:
        assert optimum <= measure(simulate(workload, spec))["antt"] * (1 + 1e-9), spec


@settings(max_examples=30)
@given(data=st.data())
def test_plain_python_and_single_steps_give_the_compiled_schedule(workloads, data):
    workload = data.draw(workloads(idle_layers=True, limits=True))
    for spec in GRID:
        policy = find(spec)
        plain = replace(policy, interpreted=True)
        compiled = simulate(workload, policy, record=True)
        with np.errstate(over="ignore"):  # the hash of `random` wraps around
            assert simulate(workload, plain, record=True).ran.tolist() == compiled.ran.tolist()
            machine = Machine(workload, policy.level, record=True)
            values = machine.values_for(plain)
            while not machine.done:
                scores = np.empty(machine.size)
                memory = machine.queue.memory.copy()  # PREMA remembers: ask it once a decision
                plain.score(machine.queue, machine.size, machine.now, values, scores)
                machine.queue.memory[:] = memory
                slot = machine.choose(plain)
                # the least score; among equals the earliest arrival
                arrival = machine.queue.arrival[: machine.size]
                least = min(range(machine.size), key=lambda i: (scores[i], arrival[i], i))
                assert slot == least or policy.events  # which goes on with what it chose before
                machine.step(slot)
        stepped = machine.schedule()
        assert stepped.ran.tolist() == compiled.ran.tolist()
        assert stepped.finish_s.tolist() == compiled.finish_s.tolist()
        assert stepped.preemptions == compiled.preemptions


def test_equal_requests_are_served_in_order_of_arrival(make_trace):
    trace = make_trace("net", [[0.1, 0.2, 0.3], [0.3, 0.1, 0.7]])  # inexact sums
    workload = one_trace_workload(trace, 12, np.arange(12) / 100)
    expected = simulate(workload, "fcfs").finish_s.tolist()
    for spec in ("sjf@static", "sjf@pattern", "sptp@static", "dysta@static:beta=0"):
        assert simulate(workload, spec).finish_s.tolist() == expected, spec


def test_a_time_of_arrival_at_the_end_of_a_layer_is_in_time(make_trace):
    store = TraceStore([make_trace("long", [[1.0, 1.0]]), make_trace("short", [[0.5]])])
    for late, order in ((0.0, [0, 1, 0]), (1e-9, [0, 0, 1])):
        workload = Workload(store, "all", [0.0, 1.0 + late], [0, 1], [0, 0], [1.0, 1.0], 10.0)
        assert simulate(workload, "sjf", record=True).ran.tolist() == order


def test_a_full_queue_hides_what_waits_outside(make_trace):
    # Three long requests fill the queue; the short ones that come later wait until one is done.
    store = TraceStore([make_trace("long", [[4.0]]), make_trace("short", [[1.0]])])
    columns = ([0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0] * 5, [1] * 5)
    unlimited = Workload(store, "all", *columns, 10.0)
    limited = replace(unlimited, queue_limit=3)
    assert simulate(unlimited, "sjf").finish_s.tolist() == [4, 10, 14, 5, 6]
    # at 4, request 3 comes in and runs at once; then request 4
    assert simulate(limited, "sjf").finish_s.tolist() == [4, 10, 14, 5, 6]
    endless = replace(unlimited, queue_limit=2**70)
    assert simulate(endless, "sjf").finish_s.tolist() == [4, 10, 14, 5, 6]
    assert simulate(replace(unlimited, queue_limit=2), "sjf").finish_s.tolist() == [4, 8, 14, 9, 10]
    # one entry: first come, first served, whatever the rule
    single = replace(unlimited, queue_limit=1)
    assert simulate(single, "sjf").finish_s.tolist() == [4, 8, 12, 13, 14]


def test_setting_a_request_aside_costs_time(make_trace):
    store = TraceStore([make_trace("long", [[2.0, 2.0]]), make_trace("short", [[1.0]])])
    free = Workload(store, "all", [0, 1], [0, 1], [0, 0], [1, 1], 10.0)
    costly = replace(free, preemption_cost_s=0.25)
    schedule = simulate(costly, "sjf", record=True)
    assert simulate(free, "sjf").finish_s.tolist() == [5, 3]
    # nothing is lost when the short one ends and the long one goes on
    assert schedule.finish_s.tolist() == [5.25, 3.25]
    assert schedule.started_s.tolist() == [0, 2.25, 3.25]
    assert schedule.preemptions == 1
    assert simulate(costly, "fcfs").finish_s.tolist() == [4, 5]  # which never does


def test_random_is_one_schedule_a_seed(make_trace):
    workload = one_trace_workload(make_trace("net", [[1.0] * 5]), 30, np.arange(30) / 2)
    runs = {
        seed: [simulate(workload, f"random:seed={seed}", record=True).ran.tolist() for _ in "ab"]
        for seed in range(5)
    }
    assert all(first == again for first, again in runs.values())
    assert len({tuple(first) for first, _ in runs.values()}) == 5


# --- loops that do not look at the whole queue ---------------------------------------------------

PROMISING = sorted({policy.name for policy in map(find, names()) if policy.stable or policy.drift})


def assert_as_by_looking_at_everyone(workload, policy):
    """The machine that trusts the rule's promises does what the one that trusts none does."""
    trusting = simulate(workload, policy, record=True)
    plain = simulate(workload, replace(policy, stable=False, drift=None), record=True)
    assert trusting.ran.tolist() == plain.ran.tolist(), policy.spec
    assert trusting.started_s.tolist() == plain.started_s.tolist(), policy.spec
    assert trusting.finish_s.tolist() == plain.finish_s.tolist(), policy.spec
    assert trusting.preemptions == plain.preemptions, policy.spec
    assert simulate(workload, policy).finish_s.tolist() == plain.finish_s.tolist(), policy.spec


@settings(max_examples=150)
@given(data=st.data())
def test_promises_change_no_schedule(workloads, data):
    workload = data.draw(workloads(max_requests=24, idle_layers=True, limits=True))
    for rule in PROMISING:
        for level in LEVELS:
            assert_as_by_looking_at_everyone(workload, find(rule).at(level))


def some_numbers(queue, size, now, parameters, scores):
    for i in range(size):
        bits = (queue.request[i] * 7 + queue.executed[i] * 3) % 11
        number = float(bits // 2)  # many are alike
        if bits < 3:
            number = np.inf
        elif bits == 3:
            number = -np.inf
        elif bits == 4:
            number = -0.0
        scores[i] = number


def time_left(queue, size, now, parameters, scores):
    """The promise to the brim: falls by the weight, and in proportion to the queue's length."""
    for i in range(size):
        left = max(0.0, queue.deadline[i] - now)
        left = parameters[0] * left + (now - queue.last_run[i]) / queue.length
        scores[i] = left if queue.request[i] % 5 else np.inf


OWN = (
    Policy("some_numbers", some_numbers, stable=True),
    Policy(
        "time_left",
        time_left,
        parameters={"weight": Parameter(1.0, "of the time left")},
        drift=lambda parameters: parameters[0],
    ),
)


@settings(max_examples=150)
@given(data=st.data(), weight=st.sampled_from([0.0, 1e-3, 1.0, 1e3]))
def test_promises_of_own_rules(workloads, data, weight):
    workload = data.draw(workloads(max_requests=24, idle_layers=True, limits=True))
    stable, drifting = OWN
    assert_as_by_looking_at_everyone(workload, stable)
    assert_as_by_looking_at_everyone(workload, drifting.at("monitored", weight=weight))


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    orders=st.sampled_from([0, 1, 3, 6]),
    gap=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    start=st.sampled_from([0.0, 1e3, 1e7]),
    slo=st.sampled_from([0.5, 1.0, 3.0, 100.0, 1e8]),
    beta=st.sampled_from([0.0, 1e-6, 0.01, 0.3, 10.0, 1e6]),
    unit=st.sampled_from([1e-12, 1e-6, 1e-3, 1.0, 1e6]),
    level=st.sampled_from(LEVELS),
)
def test_dysta_looks_when_it_must(make_trace, seed, orders, gap, start, slo, beta, unit, level):
    """Latencies that differ by orders of magnitude, deadlines far and near, any weights."""
    rng = np.random.default_rng(seed)
    traces = []
    for number in range(rng.integers(1, 4)):
        shape = (rng.integers(2, 5), rng.choice([1, 3, 10, 40]))
        latency_s = 10.0 ** rng.uniform(-orders, 0, shape)
        latency_s[:, : shape[1] // 2] *= rng.choice([0.0, 1e-6, 1.0])
        traces.append(make_trace(f"net{number}", latency_s, rng.uniform(0, 0.95, shape)))
    trace = rng.integers(0, len(traces), 25)
    gaps = gap * traces[0].isolated_s.mean() * rng.exponential(1, 25) * (rng.random(25) < 0.6)
    row = rng.integers(0, [len(traces[t].train) for t in trace])
    store = TraceStore(traces)
    # a clock on which the shortest layers take no time is refused
    assume(np.spacing(start + 200 * store.longest_s) < 0.25 * min(store.shortest_s))
    workload = Workload(
        store=store,
        reference="train",
        arrival_s=start + np.cumsum(gaps),
        trace=trace,
        row=row,
        priority=np.ones(25),
        slo_multiplier=slo,
    )
    policy = find("dysta").at(level, beta=beta, time_unit=unit)
    assert_as_by_looking_at_everyone(workload, policy)


def test_dysta_looks_again_where_rounding_decides(make_trace):
    """A slack runs out while an estimate of next to nothing runs on: what is left is close."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        beta, left = 10.0 ** rng.uniform(-3, 3), 10.0 ** rng.uniform(-12, -7)
        a_little_less = left * (1 - 10.0 ** rng.uniform(-9, -3))
        store = TraceStore(
            [  # estimated from their first inputs, run on their second ones
                make_trace("brief", [[left] * 129, [1 / 128] * 128 + [0.5]]),
                make_trace("long", [[100.0, a_little_less]] * 2),
            ]
        )
        due = (101 + a_little_less) / (100 + a_little_less)  # a second after the first long layer
        workload = Workload(store, "train", [0.0, 100.0], [1, 0], [1, 1], [1, 1], due)
        policy = find("dysta").at("static", beta=beta, time_unit=1e-15)
        assert_as_by_looking_at_everyone(workload, policy)


@pytest.mark.parametrize("scenario", ["multi-attnn", "multi-cnn", "arvr-hands"])
@pytest.mark.parametrize(
    "limits",
    [{}, {"preemption_cost_s": 1e-4}, {"queue_limit": 20, "preemption_cost_s": 1e-5}],
    ids=["free", "cost", "limit"],
)
def test_promises_in_long_queues(scenario, limits):
    drawn = generate(load_scenario(scenario).varied(load=1.3, requests=1000), 4)
    workload = replace(drawn, **limits)
    for rule in PROMISING:
        for level in ("static", "monitored"):
            assert_as_by_looking_at_everyone(workload, find(rule).at(level))
    for beta, unit in ((0.0, 1.0), (10.0, 1.0), (0.3, 1e-3), (1e-3, 1e-6)):
        policy = find("dysta").at("clairvoyant", beta=beta, time_unit=unit)
        assert_as_by_looking_at_everyone(workload, policy)


@settings(max_examples=50)
@given(data=st.data(), steps=st.integers(0, 20), seed=st.integers(0, 99))
def test_a_machine_that_has_begun_runs_on_as_promised(workloads, data, steps, seed):
    workload = data.draw(workloads(max_requests=16, limits=True))
    for rule in PROMISING:
        policy = find(rule).at("monitored")
        schedules = []
        for trusted in (policy, replace(policy, stable=False, drift=None)):
            machine, rng = Machine(workload, "monitored", record=True), np.random.default_rng(seed)
            for _ in range(steps):
                if not machine.done:
                    machine.step(int(rng.integers(machine.size)))
            machine.run(trusted)
            schedules.append(machine.schedule().ran.tolist())
        assert schedules[0] == schedules[1], rule


# --- rules that are asked only at events ---------------------------------------------------------


def at_events(spec):
    return replace(find(spec), events=True, stable=False, drift=None)


def asked_at_events(workload, policy):
    """The schedule of a machine in single steps, its rule asked in plain Python at events alone."""
    machine = Machine(workload, policy.level, record=True)
    values = machine.values_for(policy)
    waiting, chosen, expected = [], None, None
    while not machine.done:
        queue, size = machine.queue, machine.size
        before, waiting = waiting, queue.request[:size].tolist()
        # someone came or went, or more is left to do than was thought
        asked = waiting != before or queue.remaining[waiting.index(chosen)] > expected
        if asked:
            scores = np.empty(size)
            policy.score(queue, size, machine.now, values, scores)
            slot = min(range(size), key=lambda i: (scores[i], i))
            chosen, expected = waiting[slot], queue.remaining[slot]
        machine.step(waiting.index(chosen), asked=asked)
    return machine.schedule()


def assert_same_schedule(one, other, spec):
    assert one.ran.tolist() == other.ran.tolist(), spec
    assert one.started_s.tolist() == other.started_s.tolist(), spec
    assert one.finish_s.tolist() == other.finish_s.tolist(), spec
    assert one.preemptions == other.preemptions, spec


@settings(max_examples=80)
@given(data=st.data(), level=st.sampled_from((*LEVELS, "monitored", "monitored/last")))
def test_a_rule_is_asked_at_events_alone(workloads, data, level):
    workload = data.draw(workloads(max_requests=16, idle_layers=True, limits=True))
    for rule in RULES:
        policy = at_events(rule).at(level)
        with np.errstate(over="ignore"):  # the hash of `random` wraps around
            expected = asked_at_events(workload, policy)
            plain = simulate(workload, replace(policy, interpreted=True), record=True)
        machine = Machine(workload, level, record=True)
        while not machine.done:
            machine.step(machine.choose(policy))
        for schedule in (simulate(workload, policy, record=True), plain, machine.schedule()):
            assert_same_schedule(schedule, expected, policy.spec)


@settings(max_examples=80)
@given(data=st.data(), level=st.sampled_from((*LEVELS, "monitored", "monitored/last")))
def test_what_ranks_no_lower_as_it_runs_needs_no_other_questions(workloads, data, level):
    workload = data.draw(workloads(max_requests=24, idle_layers=True, limits=True))
    workload = replace(workload, decision_fixed_s=0.0, decision_per_request_s=0.0)
    for rule in ("fcfs", "edf", "sjf", "sptp"):
        policy = find(rule).at(level)
        always, rarely = (
            simulate(workload, each, record=True) for each in (policy, at_events(policy.spec))
        )
        assert_same_schedule(rarely, always, policy.spec)


@pytest.mark.parametrize(
    ("level", "times"),
    [
        ("pattern", [0, 3, 5, 9]),
        # At 1 s, four layers are expected to take 1.6 s each; five took 1 s each before.
        ("monitored", [0, 1, 3, 5, 9]),
    ],
)
def test_times_of_the_questions_by_hand(make_trace, level, times):
    asked = []

    def score(queue, size, now, parameters, scores):
        asked.append(now)
        scores[:size] = queue.arrival[:size]

    sparsity = [[0.2] * 5, [0.8] * 5]
    store = TraceStore(
        [make_trace("long", np.ones((2, 5)), sparsity), make_trace("short", [[0.5]])]
    )
    workload = Workload(store, "all", [0.0, 2.5, 9.0], [0, 1, 1], [0, 0, 0], [1, 1, 1], 10.0)
    simulate(workload, Policy("mine", score, level=level, interpreted=True, events=True))
    assert asked == times


@settings(max_examples=40)
@given(data=st.data(), steps=st.integers(0, 20))
def test_a_machine_that_has_begun_asks_no_sooner(workloads, data, steps):
    workload = data.draw(workloads(max_requests=16))
    for rule in ("sdrm3", "llf", "round_robin"):
        policy, other = at_events(rule), at_events("sjf").at("static")
        expected = asked_at_events(workload, policy)
        machine = Machine(workload, policy.level, record=True)
        for _ in range(steps):
            if not machine.done:
                machine.step(machine.choose(policy))
        machine.run(policy)
        assert_same_schedule(machine.schedule(), expected, rule)
        assert machine.choose(policy) == machine.choose(other) == 0  # nobody is left
        machine = Machine(workload, policy.level)
        machine.step(machine.choose(policy))
        if not machine.done:  # what one says is no answer of the other
            copies = [copy.deepcopy(machine) for _ in range(2)]
            copies[0].choose(policy)
            assert copies[0].choose(other) == copies[1].choose(other)


def test_fewer_questions_set_aside_fewer_requests():
    workload = generate(load_scenario("multi-attnn").varied(load=1.1, requests=300), 4)
    for rule in ("llf", "random", "round_robin", "sdrm3"):
        always, rarely = simulate(workload, rule), simulate(workload, at_events(rule))
        assert rarely.preemptions < always.preemptions / 2, rule


# --- choosing and stepping -----------------------------------------------------------------------


@given(scores=st.lists(st.sampled_from([np.inf, -np.inf, -1.0, 0.0, 0.5]) | st.floats(0, 1),
                       min_size=1, max_size=13))  # fmt: skip
def test_chooses_the_first_least_score(make_trace, scores):
    def given_scores(queue, size, now, parameters, out):
        out[:size] = scores

    workload = one_trace_workload(make_trace("net", [[1.0]]), len(scores))
    slot = Machine(workload, "static").choose(Policy("given", given_scores, interpreted=True))
    assert slot == scores.index(min(scores))


@pytest.mark.parametrize(
    "promise", [{}, {"stable": True}, {"drift": lambda values: 0.0}, {"events": True}]
)
def test_what_a_compiled_rule_raises_is_passed_on(workload, promise):
    def score(queue, size, now, parameters, scores):
        for i in range(size):
            if queue.request[i] == 3:
                raise ValueError("three are enough")
            scores[i] = queue.arrival[i]

    policy = Policy("impatient", score, **promise)
    with pytest.raises(ValueError, match="three are enough"):
        simulate(workload, policy)
    machine = Machine(workload, policy.level)
    with pytest.raises(ValueError, match="three are enough"):
        while True:
            machine.step(machine.choose(policy))


@pytest.mark.parametrize("slot", [-1, 1, 6])
def test_slot_outside_the_queue(workload, refused, slot):
    machine = Machine(workload, "static")
    assert (machine.size, machine.arrived, machine.now) == (1, 1, 0.0)
    with refused("slot", str(slot), "must be 0 to 0"):
        machine.step(slot)
    assert (machine.size, machine.arrived, machine.now) == (1, 1, 0.0)


def test_step_after_the_last_layer(workload, refused):
    machine = Machine(workload, "static")
    machine.run(find("fcfs"))
    assert machine.done and not np.isnan(machine.schedule().finish_s).any()
    with refused("slot", "0", "finished"):
        machine.step(0)


def test_schedule_of_an_unfinished_machine(workload):
    machine = Machine(workload, "static", record=True)
    machine.step(0)
    so_far = machine.schedule()
    machine.step(0)
    assert so_far.decisions == 1
    assert so_far.ran.tolist() == [0] and so_far.started_s.tolist() == [0.0]
    assert np.isnan(so_far.finish_s).all()
    machine.run(find("fcfs"))
    assert np.isnan(so_far.finish_s).all()


def test_overdue_requests_rank_low_and_no_time_left_ranks_first(make_trace):
    # Deadlines are one second after arrival. At 1 s, request 1 has no time left; at 2 s, request 2
    # is overdue in spite of its priority and request 3 is not.
    workload = one_trace_workload(
        make_trace("net", [[1.0]]), 4, np.array([0.0, 0.0, 0.5, 1.5]),
        priority=np.array([1.0, 1.0, 9.0, 1.0]), slo_multiplier=1.0,
    )  # fmt: skip
    for spec in ("planaria", "sdrm3:alpha=0"):
        assert simulate(workload, spec, record=True).ran.tolist() == [0, 1, 3, 2], spec


@pytest.mark.parametrize(
    ("first", "second", "priorities", "order"),
    [
        # At 1 s the first has just run and keeps its 3 (9) tokens, a threshold that the new one
        # does not reach; at 2 s the second has waited twice its latency and just reaches it.
        ("long", "short", (3.0, 1.0), [0, 0, 1, 0]),
        ("long", "short", (9.0, 3.0), [0, 0, 1, 0]),
        # The tokens of the new one set no threshold.
        ("pair", "long", (1.0, 9.0), [0, 0, 1, 1, 1]),
    ],
)
def test_prema_tokens_by_hand(make_trace, first, second, priorities, order):
    latencies = {"long": [[1.0, 1.0, 1.0]], "pair": [[1.0, 1.0]], "short": [[0.5]]}
    store = TraceStore([make_trace(name, latencies[name]) for name in (first, second)])
    workload = Workload(store, "all", [0.0, 1.0], [0, 1], [0, 0], priorities, 10.0)
    for level in LEVELS:
        assert simulate(workload, f"prema@{level}", record=True).ran.tolist() == order


def test_prema_between_its_extremes():
    """Whom no threshold keeps out is served the shortest first; with too few tokens, in turn."""
    workload = generate(load_scenario("multi-attnn").varied(load=1.0, requests=200), 0)
    never, at_once = "high=1e9,middle=1e9", "high=1e9,middle=1e9,low=1e9"
    for given_values, other in ((never, "sjf"), (at_once, "fcfs")):
        both = [
            simulate(workload, spec).finish_s.tolist() for spec in (f"prema:{given_values}", other)
        ]
        assert both[0] == both[1]
    published = simulate(workload, "prema").finish_s.tolist()
    same = "high=9,middle=3,low=1,rate=1"
    assert simulate(workload, f"prema-tuned:{same}").finish_s.tolist() == published
    assert simulate(workload, "prema:rate=0.1").finish_s.tolist() != published


def test_prema_runs_a_request_whose_layers_were_all_zeros_so_far(make_trace):
    # After its first layer, request 0 has g = 0: nothing is expected to remain, and it has not
    # waited, so it earns no token (0 / 0) and stays the least R.
    trace = make_trace("net", np.ones((2, 3)), [[1.0, 0.5, 0.5], [0.0, 0.5, 0.5]])
    workload = one_trace_workload(trace, 2, priority=np.array([9.0, 9.0]))
    assert simulate(workload, "prema_sparse", record=True).ran.tolist()[:2] == [0, 0]


# --- reference -----------------------------------------------------------------------------------

CLOSE = 1e-9
FORMULAS = (
    *("fcfs", "edf", "llf", "sjf", "sptp", "round_robin"),
    *("prema", "planaria", "sdrm3", "dysta"),
)


class Reference:
    """The queue in dicts and the rules of docs/policies in formulas, one request at a time.

    It decides nothing: it is told what ran, and says whether that was a least score.
    """

    def __init__(self, workload, level):
        self.now, self.workload = 0.0, workload
        traces = workload.store.traces
        inputs = [t.rows(workload.reference) for t in traces]
        self.queue, self.future = {}, []
        for number in range(len(workload)):
            trace, row = int(workload.trace[number]), int(workload.row[number])
            mine = traces[trace]
            of_model = [i for i, t in enumerate(traces) if t.model == mine.model]

            def average(table, over, layer):
                values = [table(traces[t])[i][layer] for t in over for i in inputs[t]]
                return sum(values) / len(values)

            layers = range(mine.latency_s.shape[1])
            static = [average(lambda t: t.latency_s, of_model, layer) for layer in layers]
            pattern = [average(lambda t: t.latency_s, [trace], layer) for layer in layers]
            true = mine.latency_s[row].tolist()
            arrival = float(workload.arrival_s[number])
            self.future.append(
                {
                    "arrival": arrival,
                    "deadline": arrival + workload.slo_multiplier * sum(static),
                    "priority": float(workload.priority[number]),
                    "true": true,
                    "e": {"static": static, "clairvoyant": true}.get(level, pattern),
                    "s": mine.sparsity[row].tolist() if level == "monitored" else None,
                    "avg_s": [average(lambda t: t.sparsity, [trace], layer) for layer in layers],
                    "executed": 0,
                    "last_run": arrival,
                    "token": None,
                }
            )
        self.future = dict(enumerate(self.future))
        self.admit()

    def admit(self):
        if not self.queue and self.future:
            self.now = max(self.now, min(r["arrival"] for r in self.future.values()))
        for number in [n for n, r in self.future.items() if r["arrival"] <= self.now]:
            self.queue[number] = self.future.pop(number)

    def run(self, number):
        request = self.queue[number]
        self.now += request["true"][request["executed"]]
        request["executed"] += 1
        request["last_run"] = self.now
        if request["executed"] == len(request["true"]):
            del self.queue[number]
        self.admit()

    def known(self, r):
        """``R, N, I, W, S, g`` of a request."""
        done = r["executed"]
        g = 1.0
        if r["s"] is not None and done:
            g = sum((1 - r["s"][i]) / (1 - r["avg_s"][i]) for i in range(done)) / done
        remaining = g * sum(r["e"][done:])
        next_layer = g * r["e"][done]
        waited = self.now - r["last_run"]
        return remaining, next_layer, sum(r["e"]), waited, r["deadline"] - self.now, g

    def score(self, rule, r):
        remaining, next_layer, isolated, waited, slack, _ = self.known(r)
        if rule == "fcfs":
            return r["arrival"]
        if rule == "edf":
            return r["deadline"]
        if rule == "llf":
            return slack - remaining
        if rule == "sjf":
            return remaining
        if rule == "sptp":
            return remaining * isolated
        if rule == "round_robin":
            return r["last_run"]
        if rule == "planaria":
            return -r["priority"] / slack if slack else -np.inf
        if rule == "sdrm3":
            return -((min(1, remaining / slack) if slack else 1) + waited / next_layer)
        assert rule == "dysta"
        fair = waited / (isolated * len(self.queue))
        return remaining + 0.01 * (max(0, slack - remaining) + fair)

    def allows(self, rule, chosen):
        """Whether ``chosen`` has a least score, as far as rounding lets one say."""
        if rule == "prema":
            return self.prema_allows(chosen)
        if rule in ("planaria", "sdrm3"):  # these jump where the slack changes its sign
            slacks = [r["deadline"] - self.now for r in self.queue.values()]
            if any(0 < abs(slack) < CLOSE for slack in slacks):
                return True
        scores = {number: self.score(rule, r) for number, r in self.queue.items()}
        least = min(scores.values())
        return scores[chosen] == least or scores[chosen] <= least + CLOSE * (1 + abs(least))

    def prema_allows(self, chosen):
        richest = 0.0
        for r in self.queue.values():
            if r["token"] is None:
                r["token"] = r["priority"]
            else:
                _, _, isolated, waited, _, g = self.known(r)
                r["token"] += r["priority"] * waited / (g * isolated)
                richest = max(richest, r["token"])

        def allowed(richest):
            threshold = 9 if richest >= 9 else 3 if richest >= 3 else 1
            remaining = {number: self.known(r)[0] for number, r in self.queue.items()}
            sure = [n for n, r in self.queue.items() if r["token"] >= threshold * (1 + CLOSE)]
            sure += [n for n, r in self.queue.items() if r["token"] == threshold]
            least = min((remaining[n] for n in sure), default=np.inf)
            enough = self.queue[chosen]["token"] >= threshold * (1 - CLOSE)
            return enough and remaining[chosen] <= least * (1 + CLOSE)

        return any(allowed(richest * (1 + nudge)) for nudge in (-CLOSE, 0, CLOSE))


@settings(max_examples=30)
@given(data=st.data())
def test_every_decision_is_the_one_that_the_formulas_make(workloads, data):
    workload = data.draw(workloads(max_requests=16))
    for rule in FORMULAS:
        for level in LEVELS:
            schedule = simulate(workload, f"{rule}@{level}", record=True)
            reference = Reference(workload, level)
            for decision, chosen in enumerate(schedule.ran.tolist()):
                at = f"{rule}@{level}, decision {decision}, request {chosen}"
                assert schedule.started_s[decision] == pytest.approx(reference.now), at
                assert chosen in reference.queue, at
                assert reference.allows(rule, chosen), at
                reference.run(chosen)
            assert not reference.queue and not reference.future


def test_the_reference_refuses_the_schedules_of_chance(workload):
    """Guards the test above: a rule that picked at random would be found out."""
    for rule in FORMULAS:
        refused = 0
        for seed in range(10):
            schedule = simulate(workload, f"random:seed={seed}", record=True)
            reference = Reference(workload, "static")
            for chosen in schedule.ran.tolist():
                refused += not reference.allows(rule, chosen)
                reference.run(chosen)
        assert refused, rule


# --- interruptions -------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [1, 100, 1000])
@pytest.mark.parametrize("policy", ["sjf", "edf", "dysta", "prema", "sdrm3", "ppo", "random"])
def test_a_loop_that_comes_back_often_runs_the_same_schedule(monkeypatch, policy, turn):
    """Stable, drifting, remembering and scanning rules, and one asked at events."""
    workload = generate(load_scenario("multi-attnn").varied(load=1.1, requests=200), 3)
    whole = simulate(workload, policy, record=True)
    turns = []
    monkeypatch.setattr("dysta_gym.machine.machine._LEAST_TURN", turn)
    monkeypatch.setattr("dysta_gym.machine.machine._TURNS", {})
    monkeypatch.setattr(
        "dysta_gym.machine.machine.next_turn", lambda *_: turns.append(turn) or turn
    )
    assert_same_schedule(simulate(workload, policy, record=True), whole, policy)
    assert len(turns) > 2


@pytest.mark.parametrize(
    "call",
    [
        "simulate(long, 'sdrm3')",
        "simulate(long, 'rollout')",
        "compare([overload], ['sdrm3'], seeds=range(2), jobs=1)",
        "compare([overload], ['sdrm3'], seeds=range(2), jobs=2)",
    ],
)
def test_ctrl_c_stops_compiled_loops(call):
    """In well under a second, where the schedule would take a minute; the machine may be busy."""
    code = f"""
import signal, threading, time
from dysta_gym import compare, generate, load_scenario, simulate
signal.signal(signal.SIGINT, signal.default_int_handler)
overload = load_scenario("multi-attnn").varied(load=2.0, requests=200_000)
long = generate(overload, 0)
for policy in ("sdrm3", "rollout"):
    simulate(generate(overload.varied(requests=50), 0), policy)
sent = []
def interrupt():
    sent.append(time.monotonic())
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
threading.Timer(1.5, interrupt).start()
try:
    {call}
except KeyboardInterrupt:
    print(time.monotonic() - sent[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2
