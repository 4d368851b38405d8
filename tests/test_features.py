"""The table of features: its rows in plain Python, compiled, and shown; and rows of one's own."""

import copy
import math
import pickle
import subprocess
import sys
from dataclasses import replace

import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numba import config, types

from dysta_gym import (
    DystaError,
    Feature,
    Machine,
    Policy,
    Reward,
    compare,
    find,
    generate,
    load_scenario,
    simulate,
)
from dysta_gym.agents.networks import NETWORKS
from dysta_gym.compiled.functions import compiled
from dysta_gym.describing import column_writer, planner, whole_of, whole_writer
from dysta_gym.envs import SparseMultiDNNEnv
from dysta_gym.features import DEFAULT, SCHEDULING, TABLE, select
from dysta_gym.machine.queue import QUEUE_TYPE

ID = "SparseMultiDNN-v0"
LEVELS = ("static", "sized/kalman", "monitored", "clairvoyant")
PLAIN = {name: each for name, each in TABLE.own.items() if not each.environment_only}
OF_REQUEST = tuple(each for each in PLAIN.values() if not each.of_queue)
OF_QUEUE = tuple(each for each in PLAIN.values() if each.of_queue)


def half_log(x):
    return math.log(max(x, 1e-3)) / 2


def plan(queue, now):
    """Who is in Moore and Hodgson's set, and what the others of it can spare each request."""
    order = sorted(range(queue.length), key=lambda k: queue.deadline[k])
    kept, end = [], now
    for k in order:
        if now + queue.remaining[k] <= queue.deadline[k]:
            end += queue.remaining[k]
            longest = max([k, *kept], key=lambda j: queue.remaining[j])
            kept.append(k)
            if end > queue.deadline[k]:
                kept.remove(longest)
                end -= queue.remaining[longest]
    room, end, least = {}, now, math.inf
    for k in kept:
        room[k], end = least, end + queue.remaining[k]
        least = min(least, queue.deadline[k] - end)
    everyone = range(queue.length)
    return [k in kept for k in everyone], [room.get(k, least) for k in everyone]


def expected(queue, i, now, unit):
    """The features of a request as the page of the environment says, written a second time."""
    remaining, isolated, g = queue.remaining[i], queue.isolated[i], queue.correction[i]
    due = queue.deadline[i] - now
    on_time = sum(
        queue.remaining[k]
        for k in range(queue.length)
        if queue.deadline[k] - now >= queue.remaining[k]
    )
    margin, floor = due - remaining, unit / 1000
    s, d = margin / max(isolated * g, floor), due / max(isolated, floor)
    waited = (now - queue.last_run[i]) / max(isolated, floor)
    age = (now - queue.arrival[i]) / max(isolated, floor)
    everyone = range(queue.length)
    left = [queue.deadline[k] - now - queue.remaining[k] for k in everyone]
    keys = [queue.remaining[k] * queue.isolated[k] * queue.correction[k] for k in everyone]
    shorter = sum(queue.remaining[k] for k in everyone if keys[k] < keys[i])
    earlier = sum(
        queue.remaining[k]
        for k in everyone
        if queue.deadline[k] < queue.deadline[i] and left[k] >= 0
    )
    behind = [(margin - each) / max(isolated * g, floor) for each in (shorter, earlier)]
    kept, room = plan(queue, now)
    spare = (room[i] - remaining) / max(isolated * g, floor)
    endangered = sum(0 <= left[k] < remaining for k in everyone if k != i)
    return {
        "present": 1,
        "remaining": half_log(remaining / unit),
        "size": half_log(isolated * g / unit),
        "progress": queue.executed[i] / queue.layers[i],
        "correction": math.log(max(g, 1e-3)) / 2,
        "next_layer": queue.next_layer[i] / remaining if remaining else 0,
        "ran_last": queue.arrival[i] < queue.last_run[i] == now,
        "late": margin < 0,
        "work": math.log(max(remaining / unit, 1e-9)) / 2,
        "whole_work": math.log(max(isolated * g / unit, 1e-9)) / 2,
        "slack_behind_shorter": behind[0] / (1 + abs(behind[0])),
        "slack_behind_earlier": behind[1] / (1 + abs(behind[1])),
        "endangers": math.log(1 + endangered) / 2,
        "given_up": not kept[i],
        "disturbs": remaining > room[i],
        "room": 1 if math.isinf(spare) else spare / (1 + abs(spare)),
        "slack": s / (1 + abs(s)),
        "wide_slack": s / (8 + abs(s)),
        "slack_over_backlog": margin / max(abs(margin) + on_time, floor),
        "time_to_deadline": d / (1 + abs(d)),
        "waited": waited / (1 + waited),
        "age": age / (1 + age),
    }


@compiled(types.void(QUEUE_TYPE, *(types.float64,) * 2, *(types.float32[::1],) * 2), cache=False)
def written(queue, now, unit, requests, whole):
    """All that a policy can see, compiled."""
    size = queue.length
    seen = whole_of(queue, size, now, unit, 0, 0, 0, 0, 0.0, PLANNED(queue, size, now))
    COLUMNS(queue, size, seen, requests)
    WHOLE(queue, seen, whole, 0)


COLUMNS, WHOLE = column_writer(OF_REQUEST), whole_writer(OF_QUEUE)
PLANNED = planner((*OF_REQUEST, *OF_QUEUE))


@settings(max_examples=60)
@given(data=st.data(), level=st.sampled_from(LEVELS), seed=st.integers(0, 2**31))
def test_formulas_are_those_of_the_page(workloads, data, level, seed):
    machine = Machine(data.draw(workloads(idle_layers=True, limits=True)), level)
    rng = np.random.default_rng(seed)
    while not machine.done:
        queue, now, unit, size = machine.queue, machine.now, machine.mean_isolated_s, machine.size
        requests = np.full(len(OF_REQUEST) * size, np.nan, np.float32)
        whole = np.full(len(OF_QUEUE), np.nan, np.float32)
        written(queue, now, unit, requests, whole)
        shown = requests.reshape(len(OF_REQUEST), size)
        plan = PLANNED(queue, size, now)
        seen = whole_of(queue, size, now, unit, 0, 0, 0, 0, 0.0, plan)
        for i in range(size):
            wanted = expected(queue, i, now, unit)
            for feature, value in zip(OF_REQUEST, shown[:, i], strict=True):
                plain = np.clip(feature.formula(queue, i, seen), feature.low, feature.high)
                want = np.clip(wanted[feature.name], feature.low, feature.high)
                assert value == np.float32(plain), feature.name
                assert value == pytest.approx(want, rel=1e-6, abs=1e-6), feature.name
        for feature, value in zip(OF_QUEUE, whole, strict=True):
            assert value == np.float32(feature.formula(queue, seen)), feature.name
        machine.step(int(rng.integers(size)))


def test_the_page_shows_the_table():
    page = SparseMultiDNNEnv.__doc__
    for name, feature in TABLE.own.items():
        assert f"`{name}`" in page and feature.meaning in page
    space = gym.make(ID, slots=2).observation_space
    shown = select(DEFAULT)
    low = [min(0, each.low) for each in shown.requests] * 2 + [each.low for each in shown.queue]
    assert space.low.tolist() == np.array(low, np.float32).tolist()


# --- some of them, and one's own -----------------------------------------------------------------


def _hurry(queue, i, whole):
    return queue.priority[i] * (whole.now - queue.arrival[i]) / whole.unit


def _crowd(queue, whole):
    total = 0.0
    for i in range(whole.length):
        total += queue.priority[i]
    return total / (10.0 + total)


def _broken(queue, i, whole):
    return queue.colour[i]


def _undefined(queue, i, whole):
    return math.nan if i % 2 else math.inf


HURRY = Feature("hurry", "time since arrival, times priority", _hurry, 0, 5)
CROWD = Feature("crowd", "sum of priorities", _crowd, of_queue=True)
ODD = Feature("odd", "NaN or infinite", _undefined, -2, 3)


@pytest.mark.parametrize("number", [1, 3])
def test_an_environment_shows_what_it_is_asked_for(number):
    features = ("length", HURRY, "remaining", ODD, CROWD, "finished")
    usual = {"features": features, "slots": 4, "requests": 20, "load": 1.3}
    envs = gym.make_vec(ID, num_envs=number, vectorization_mode="vector_entry_point", **usual)
    env = gym.make(ID, **usual).unwrapped
    many, _ = envs.reset(seed=3)
    one, info = env.reset(seed=3)
    assert one.shape == (3 * 4 + 3,) and many.shape == (number, 15)
    for step in range(1000):
        assert np.array_equal(many[0], one) and env.observation_space.contains(one)
        queue, now, size = env.machine.queue, env.machine.now, min(4, env.machine.size)
        unit = env.store.mean_isolated_s("train")
        rows, whole = one[:12].reshape(4, 3), one[12:]
        for i in range(size):
            hurry = queue.priority[i] * (now - queue.arrival[i]) / unit
            assert rows[i].tolist() == [
                np.float32(min(hurry, 5)),
                np.float32(half_log(queue.remaining[i] / unit)),
                -2 if i % 2 else 3,
            ]
        assert not rows[size:].any()
        total = queue.priority[: env.machine.size].sum()
        assert whole.tolist() == pytest.approx(
            [math.log1p(env.machine.size) / 2, total / (10 + total), whole[2]], rel=1e-6
        )
        action = step % max(1, size)
        many, *_ = envs.step(np.full(number, action))
        one, _, ended, _, info = env.step(action)
        if ended:
            break
    assert ended and info["metrics"] and one[-1] == 1
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(gym.make(ID, features=["size"])))):
        twin.reset(seed=0)


def test_a_network_sees_features_of_ones_own():
    selection = select([HURRY, "remaining", CROWD])
    rule = NETWORKS["tiny"].rule(selection)
    assert rule is NETWORKS["tiny"].rule(select([HURRY, "remaining", CROWD]))
    policy = Policy(
        "mine", rule, level="monitored", weights=(1.0, 0.0, 0.0, 1.0, 2.0, 0.1, -0.2, 0, 1)
    )
    plain = replace(policy, name="plain", interpreted=True)
    frame = compare(["multi-attnn"], [policy, plain], requests=40, seeds=[0])
    assert frame["antt"].nunique() == 1


def _pair(queue, i, whole):
    return 1.0, 2.0


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (["remaining", "colour"], ["features", "'colour'", "slack", "backlog"]),
        (["size", "size"], ["features", "'size'", "once"]),
        ([], ["features", "none"]),
        ("size", ["features", "'size'", "list"]),
        (3, ["features", "3", "list"]),
        ([None], ["features", "None"]),
        ([_hurry], ["features", "_hurry", "function", "Feature"]),
        ([Feature("mine", "", _broken)], ["mine", "formula", "cannot be compiled"]),
        *(
            (
                ["size", Feature("mine", "", _pair, **how)],
                ["'mine'", "formula", "must return a number"],
            )
            for how in ({}, {"clipped": False}, {"kept": True})
        ),
        ([Feature("mine", "", lambda queue, i, whole: "a")], ["'mine'", "number", "a text"]),
        ([Feature("mine", "", lambda queue, i, whole: None)], ["'mine'", "number", "None"]),
        (["size", Feature("mine", "", _broken)], ["'mine'", "formula", "cannot be compiled"]),
        ([Feature("mine", "", _broken, kept=True)], ["mine", "formula", "cannot be compiled"]),
    ],
)
def test_features_that_are_refused(refused, features, words):
    with refused(*words):
        SparseMultiDNNEnv(features=features)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "no name"}, ["name", "'no name'"]),
        ({"name": "class"}, ["name", "'class'"]),
        ({"low": 2.0}, ["bounds", "2 to 1"]),
        ({"high": math.inf}, ["high", "inf"]),
        ({"low": "a"}, ["low", "'a'", "number"]),
        ({"low": math.nan}, ["low", "nan", "number"]),
        ({"formula": None}, ["formula", "None", "function"]),
        ({"formula": math.sin}, ["formula", "sin", "function"]),
        ({"of_queue": True, "kept": True, "formula": _crowd}, ["kept"]),
        ({"of_queue": True}, ["formula", "(queue, i, whole)", "(queue, whole)"]),
    ],
)
def test_rows_that_cannot_be(refused, fields, words):
    with refused(*words):
        Feature(**{"name": "mine", "meaning": "", "formula": _hurry, **fields})


def test_what_only_an_environment_knows_is_not_for_policies():
    with pytest.raises(DystaError, match=r"'behind'.*environment"):
        NETWORKS["tiny"].rule(select([*SCHEDULING, "behind"]))
    assert set(TABLE.names()) >= set(TABLE.own)


# --- what changes, what fails, and other processes -----------------------------------------------

SCALE, ADDED = 1.0, np.array([1.0])


def _scaled(queue, i, whole):
    return SCALE + ADDED[0]


def _scaled_size(queue, i, whole):
    return SCALE * queue.isolated[i] / whole.unit


def _paid(accrued, queue, memory):
    return SCALE


def test_a_global_that_a_formula_reads_may_change():
    global SCALE
    feature, reward = Feature("scaled", "", _scaled, 0, 99), Reward("paid", "", _paid)
    kept = Feature("kept", "", _scaled, 0, 99, kept=True)
    try:
        for scale, added in ((1.0, 1.0), (7.0, 1.0), (7.0, 5.0)):
            SCALE, ADDED[0] = scale, added
            env = SparseMultiDNNEnv(features=[feature, kept], reward=reward, slots=1)
            observation, _ = env.reset(seed=0)
            assert observation.tolist() == [scale + added] * 2
            assert env.step(0)[1] == scale
    finally:
        SCALE, ADDED[0] = 1.0, 1.0


def test_a_network_looks_again_at_what_its_features_read(tmp_path, monkeypatch):
    """Plain Python always does."""
    global SCALE
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))  # so that nothing has been compiled
    selection = select([Feature("scaled", "", _scaled_size, -99, 99), "remaining"])
    weights = np.random.default_rng(3).normal(size=NETWORKS["tiny"].weights(1, selection))
    rule = NETWORKS["tiny"].rule(selection)
    usual = {"level": "monitored", "weights": (1.0, 0.0, 1.0, *weights.tolist())}
    policy = Policy("mine", rule, **usual)
    plain, antts = replace(policy, name="plain", interpreted=True), []
    try:
        for scale in (1.0, -7.0, 1.0):
            SCALE = scale
            frame = compare(["multi-attnn"], [policy, plain], requests=40, seeds=[0])
            assert frame["antt"].nunique() == 1
            antts.append(frame["antt"][0])
    finally:
        SCALE = 1.0
    assert antts[0] != antts[1] and antts[0] == antts[2]
    assert NETWORKS["tiny"].rule(selection) is rule


def _longest(queue, whole):
    return queue.remaining[: whole.length].max() / whole.unit  # of an empty queue: an error


@pytest.mark.parametrize("count", [1, 2, 256])
def test_a_formula_that_fails_is_told_and_hangs_nothing(refused, count):
    longest = Feature("longest", "", _longest, 0, 99, of_queue=True)
    usual = {"features": [longest], "requests": 2, "slots": 2}
    envs = gym.make_vec(
        ID, num_envs=count, vectorization_mode="vector_entry_point", threads=2, **usual
    )
    for _ in range(2):
        envs.reset(seed=0)
        with refused("formula", "ValueError"):
            for _ in range(100):
                envs.step(np.zeros(count, np.int64))
        with refused("reset"):
            envs.step(np.zeros(count, np.int64))


def test_dozens_of_features():
    many = [Feature(f"f{number}", "", _hurry, 0, 5) for number in range(70)]
    of_queue = [Feature(f"q{number}", "", _crowd, of_queue=True) for number in range(40)]
    env = SparseMultiDNNEnv(features=[*many, *of_queue], slots=2, requests=5, load=2.0)
    env.reset(seed=0)
    observation = env.step(0)[0]
    assert len(set(observation[:70])) == 1 and len(set(observation[140:])) == 1
    assert observation[0] > 0 and observation[140] > 0


def test_episodes_and_policies_go_on_in_another_process(tmp_path):
    env = gym.make(ID, requests=8, slots=8, reward="shaped").unwrapped
    envs = gym.make_vec(
        ID, num_envs=2, vectorization_mode="vector_entry_point", requests=8, slots=8
    )
    fresh_envs = gym.make_vec(ID, num_envs=2, vectorization_mode="vector_entry_point", requests=8)
    for each in (env, envs):
        each.reset(seed=3)
        for _ in range(5):
            each.step(0 if each is env else [0, 0])
    policy = find("evolved")
    (tmp_path / "state").write_bytes(pickle.dumps((env, envs, fresh_envs, policy)))
    program = """
import pickle, sys
import numpy as np, dysta_gym
env, envs, others, policy = pickle.loads(open(sys.argv[1], "rb").read())
others.reset(seed=0)
print([env.step(0)[1] for _ in range(9)], [envs.step([0, 0])[1].tolist() for _ in range(9)])
workload = dysta_gym.generate(dysta_gym.load_scenario("multi-attnn"), 0)
print(dysta_gym.simulate(workload, policy).finish_s.tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "state")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    went_on, finish = done.stdout.splitlines()
    ours = [env.step(0)[1] for _ in range(9)], [envs.step([0, 0])[1].tolist() for _ in range(9)]
    assert went_on == f"{ours[0]} {ours[1]}"
    workload = generate(load_scenario("multi-attnn"), 0)
    assert finish == str(simulate(workload, policy).finish_s.tolist())
