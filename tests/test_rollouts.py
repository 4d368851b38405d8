"""Rollouts: what choices cost in sampled futures, and the policy that goes by it."""

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dysta_gym import Machine, Workload, find, measure, simulate
from dysta_gym.agents.checkpoints import SHIPPED
from dysta_gym.machine.queue import Queue
from dysta_gym.rollouts import Futures, choice, costs_at, costs_under, over
from dysta_gym.workloads import generate, load_scenario

BASES = ["sjf", "edf", "dysta", "prema", "slack-pull", "evolved"]


# --- what choices cost ---------------------------------------------------------------------------


def some_queue(rng, size):
    layers = rng.integers(1, 6, size)
    executed = rng.integers(0, layers)
    isolated = rng.exponential(1.0, size) + 0.05
    remaining = isolated * (layers - executed) / layers
    arrival = np.sort(rng.uniform(0.0, 5.0, size))
    return Queue(
        size,
        request=np.sort(rng.permutation(20)[:size]).astype(np.int64),
        arrival=arrival,
        deadline=arrival + isolated * rng.uniform(1.0, 12.0, size),
        priority=rng.choice([1.0, 3.0, 9.0], size),
        remaining=remaining,
        next_layer=remaining / (layers - executed),
        isolated=isolated,
        correction=np.ones(size),
        last_run=arrival + (5.0 - arrival) * (executed > 0),
        executed=executed,
        layers=layers,
        memory=np.zeros(size),
    )


def some_futures(rng, count, horizon):
    arrival = 5.0 + np.cumsum(rng.exponential(0.8, (count, horizon)), axis=1).ravel()
    isolated = rng.exponential(1.0, count * horizon) + 0.05
    return Futures(
        arrival,
        isolated,
        arrival + isolated * rng.uniform(1.0, 12.0, count * horizon),
        rng.choice([1.0, 3.0, 9.0], count * horizon),
        rng.integers(1, 6, count * horizon),
    )


def followed(base, values, queue, slot, now, future, weight):
    """The cost of a choice in one future, to its very end, in plain Python."""
    waiting = [dict(zip(queue._fields[1:], row, strict=True)) for row in zip(*queue[1:])]  # noqa: B905
    future, time, cost, newest = list(zip(*future)), now, 0.0, max(queue.request)  # noqa: B905
    while waiting or future:
        if not waiting:
            time = max(time, future[0][0])
        while future and future[0][0] <= time:
            arrival, isolated, deadline, priority, layers = future.pop(0)
            newest += 1
            waiting.append(
                {
                    "request": newest, "arrival": arrival, "deadline": deadline,
                    "priority": priority, "remaining": isolated, "next_layer": isolated / layers,
                    "isolated": isolated, "correction": 1.0, "last_run": arrival, "executed": 0,
                    "layers": layers, "memory": 0.0,
                }
            )  # fmt: skip
        if slot is None and len(waiting) > 1:
            size, scores = len(waiting), np.full(len(waiting), np.nan)
            columns = [np.array([each[name] for each in waiting]) for name in Queue._fields[1:]]
            base.score(Queue(size, *columns), size, time, values, scores)
            slot = int(np.argmin(scores))
            for each, memory in zip(waiting, columns[-1], strict=True):
                each["memory"] = memory
        one = waiting[slot or 0]
        slot = None
        layer = one["remaining"] / (one["layers"] - one["executed"])
        ends = time + one["remaining"]
        while one["executed"] < one["layers"]:  # to the end of a layer in which somebody arrives
            one["executed"] += 1
            one["remaining"] = layer * (one["layers"] - one["executed"])
            time = ends - one["remaining"]
            if future and future[0][0] <= time:
                break
        one["last_run"], one["next_layer"] = time, layer
        if one["executed"] == one["layers"]:
            waiting.remove(one)
            cost += (time - max(now, one["arrival"])) / one["isolated"]
            cost += weight * (time > one["deadline"])
    return cost


@pytest.mark.parametrize("name", BASES)
def test_costs_are_those_of_plain_simulations(name):
    base, rng = find(name), np.random.default_rng(len(name))
    values, costs = base.values(1.0), costs_under(base.score)
    differing = 0
    for _ in range(12):
        size, horizon, count = int(rng.integers(2, 7)), int(rng.integers(1, 9)), 3
        queue, futures = some_queue(rng, size), some_futures(rng, count, horizon)
        out = np.zeros(size * count)
        costs(queue, size, 5.0, values, futures, horizon, size, 30.0, math.inf, out)
        for m in range(count):
            future = [column[m * horizon : (m + 1) * horizon] for column in futures]
            whole = [followed(base, values, queue, slot, 5.0, future, 30.0) for slot in range(size)]
            expected = np.array(whole) - whole[0]
            np.testing.assert_allclose(out.reshape(size, count)[:, m], expected, atol=1e-7)
            differing += (abs(expected) > 1e-7).sum()
    assert differing > 50


def test_hopeless_candidates_are_given_up():
    base, rng = find("sjf"), np.random.default_rng(0)
    queue, futures = some_queue(rng, 6), some_futures(rng, 32, 8)
    out = {each: np.zeros(6 * 32) for each in (0.0, math.inf)}
    for hopeless, into in out.items():
        costs_under(base.score)(
            queue, 6, 5.0, base.values(1.0), futures, 8, 6, 30.0, hopeless, into
        )
    tried = np.isfinite(out[0.0])
    assert tried.reshape(6, 32)[:, :4].all() and not tried.all()
    assert np.isfinite(out[math.inf]).all()
    assert (out[0.0] == out[math.inf])[tried].all()


def test_costs_at_a_machine_are_what_the_policy_goes_by():
    workload = generate(load_scenario("multi-attnn").varied(load=1.1, requests=150), 3)
    policy = replace(find("rollout:futures=16,candidates=3"), events=False)
    base = replace(find("evolved"), events=False)
    machine, departures, agreed = Machine(workload, policy.level), 0, []
    while not machine.done:
        slot = machine.choose(policy)
        order, costs = costs_at(machine, policy)
        assert sorted(order) == list(range(machine.size))
        assert order[0] == machine.choose(base)
        assert costs.shape == (min(3, machine.size), 16) and not costs[0].any()
        gains = -costs.mean(axis=1)
        gains[gains <= costs.std(axis=1, ddof=1) / 4.0 + 1e-9] = 0.0
        agreed.append(slot == order[np.argmax(gains)])
        departures += slot != order[0]
        machine.step(slot)
    assert departures > 20
    assert np.mean(agreed) > 0.97  # it may have given up one that would have come out ahead


def test_a_choice_must_cost_less_by_more_than_noise():
    costs = -np.array([[0.0, 0, 0, 0], [1, 1, 1, 2], [5, -5, 5, -1], [-1, -1, -1, -2]])
    assert choice(costs, 1.0) == (1, 1.25)
    assert choice(costs[[0, 2, 3]], 1.0) == (0, 0.0)
    assert choice(costs[[0, 2, 3]], 0.1) == (1, 1.0)
    # Of what is the same in all futures, a gain is no noise; who was given up is not chosen.
    assert choice(np.array([[0.0, 0, 0], [-1, -1, -1], [-9, -9, np.nan]]), 1e9) == (1, 1.0)


# --- the policy ----------------------------------------------------------------------------------


@given(data=st.data(), before=st.integers(1, 30), seed=st.integers(0, 2**16))
@settings(max_examples=25)
def test_decisions_do_not_depend_on_what_has_not_arrived(data, before, seed):
    """Whatever comes from some request on, and whenever: what is decided till then is the same."""
    scenario = load_scenario("multi-attnn").varied(load=1.2, requests=40)
    one = generate(scenario, seed)
    columns = {"arrival_s", "trace", "row", "priority"}
    whole = {name: np.array(getattr(one, name)) for name in columns}
    order = data.draw(st.permutations(range(before, 40)))
    for name in columns - {"arrival_s"}:
        whole[name][before:] = whole[name][order]
    scale = data.draw(st.sampled_from([0.0, 0.3, 1.0, 4.0]))
    start = one.arrival_s[before - 1]
    whole["arrival_s"][before:] = start + scale * (one.arrival_s[before:] - start)
    dropped = data.draw(st.integers(0, 39 - before))
    other = Workload(
        store=one.store, reference=one.reference, slo_multiplier=one.slo_multiplier,
        **{name: column[: 40 - dropped] for name, column in whole.items()},
    )  # fmt: skip
    policy = find("rollout:futures=6,horizon=10")
    schedules = [simulate(each, policy, record=True) for each in (one, other)]
    until = min(one.arrival_s[before], other.arrival_s[before])
    seen = [
        list(zip(each.ran.tolist(), each.started_s.tolist(), strict=True)) for each in schedules
    ]
    assert len(seen[0]) > 5
    assert [each for each in seen[0] if each[1] < until] == [
        each for each in seen[1] if each[1] < until
    ]


def test_the_same_everywhere():
    workloads = [
        generate(load_scenario("multi-attnn").varied(load=1.1, requests=120), seed)
        for seed in range(4)
    ]
    policy = find("rollout:futures=8")
    alone = [simulate(each, policy).finish_s.tolist() for each in workloads]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda each: simulate(each, policy).finish_s.tolist(), workloads * 2)
        assert [*together] == alone * 2
    copied = pickle.loads(pickle.dumps(policy))
    assert copied.score is policy.score
    small = generate(load_scenario("multi-attnn").varied(load=1.1, requests=25), 5)
    plain = replace(find("rollout:futures=3"), interpreted=True)
    expected = simulate(small, find("rollout:futures=3")).finish_s.tolist()
    assert simulate(small, plain).finish_s.tolist() == expected


def test_it_betters_its_base():
    """In the mean over the same workloads: slowdown, and 30 for each late request."""
    scenario = load_scenario("multi-attnn").varied(load=0.95, requests=400)
    gains = []
    for seed in range(50, 58):
        workload = generate(scenario, seed)
        cost = {}
        for name in ("evolved", "rollout"):
            found = measure(simulate(workload, name))
            cost[name] = found["antt"] + 30 * found["violation_rate"]
        gains.append(1 - cost["rollout"] / cost["evolved"])
    assert np.mean(gains) > 0.02


def test_over_another_base(refused):
    workload = generate(load_scenario("multi-cnn").varied(load=1.05, requests=60), 2)
    policy = over(find("slack-pull:pull=5"))
    assert (policy.name, policy.level) == ("rollout-slack-pull", "sized/kalman")
    assert policy.values(2.0).tolist()[5:] == find("slack-pull:pull=5").values(2.0).tolist()
    found = find("rollout-slack-pull:pull=5")
    assert (found.score, found.spec) == (policy.score, policy.spec)
    assert find(found.spec) == found
    never = simulate(workload, policy.at(policy.level, confidence=1e9))
    assert never.finish_s.tolist() == simulate(workload, "slack-pull:pull=5").finish_s.tolist()
    checkpoint = find(f"rollout-{SHIPPED / 'evolved.npz'}@sized")
    assert (checkpoint.score, checkpoint.level) == (find("rollout").score, "sized")
    with refused("policy", "'rollout-nothing'", "fcfs"):
        find("rollout-nothing")
    with refused("'gittins'", "index"):
        over(find("gittins"))
    with refused("'fcfs'", "interpreted"):
        over(replace(find("fcfs"), interpreted=True))
    with refused("'rollout'", "index"):
        over(find("rollout"))
    with refused("'dysta'", "no rollouts"):
        costs_at(Machine(workload, "static"), find("dysta"))


def test_compare_says_what_a_decision_takes(run):
    status, out, _ = run(
        "compare", "--scenario", "multi-attnn", "--requests", "40", "--seeds", "1",
        "--policy", "fcfs", "--policy", "rollout:futures=4",
    )  # fmt: skip
    assert status == 0
    (line,) = [line for line in out.splitlines() if "to decide" in line]
    assert line.startswith("rollout:futures=4 takes ") and " us to decide" in line
