"""Rules and formulas that do what they may not do: each is one line that names it."""

import functools
from collections.abc import Callable
from dataclasses import replace
from types import FunctionType, ModuleType, SimpleNamespace

import gymnasium as gym
import numba
import numpy as np
import pytest

from dysta_gym import DystaError, Feature, Machine, Policy, Reward, compare, find, simulate
from dysta_gym.agents.networks import NETWORKS
from dysta_gym.agents.protocol import Bench
from dysta_gym.envs import SparseMultiDNNEnv
from dysta_gym.features import TABLE as FEATURES
from dysta_gym.features import select
from dysta_gym.policies import names
from dysta_gym.rewards import TABLE as REWARDS
from dysta_gym.workloads import generate, load_scenario

ID = "SparseMultiDNN-v0"
WAYS = {
    "plain": {},
    "interpreted": {"interpreted": True},
    "stable": {"stable": True},
    "drift": {"drift": lambda parameters: 0.0},
    "events": {"events": True},
}


# --- rules ---------------------------------------------------------------------------------------


def returns_scores(queue, size, now, parameters, scores):
    return queue.remaining[:size] + now


def fills_and_returns(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.arrival[i]
    if now > 2:
        return 1
    return None


def fills_none(queue, size, now, parameters, scores):
    pass


def fills_some(queue, size, now, parameters, scores):
    for i in range(size):
        if queue.request[i] != 4:
            scores[i] = queue.arrival[i]


def gives_nan(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = np.nan if queue.request[i] == 5 else queue.arrival[i]


def reads_beyond(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.arrival[i] + queue.remaining[i + (queue.request[i] == 3) * size]


def reads_far_before(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.arrival[i - size - 1]


def reads_beyond_parameters(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.arrival[i] * parameters[1]


def writes_beyond(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = queue.arrival[i]
    scores[size] = 0.0


def writes_a_column(queue, size, now, parameters, scores):
    for i in range(size):
        queue.request[i] = 10**9
        scores[i] = queue.arrival[i]


def writes_a_whole_column(queue, size, now, parameters, scores):
    left = queue.deadline
    left -= now
    for i in range(size):
        scores[i] = left[i]


def writes_parameters(queue, size, now, parameters, scores):
    parameters[0] += 1.0
    for i in range(size):
        scores[i] = queue.arrival[i]


RETURNS, UNSET, OUTSIDE, READ = "returns a value", "NaN", "outside its arrays", "may only read"
RULES = {
    returns_scores: RETURNS,
    fills_and_returns: RETURNS,
    fills_none: UNSET,
    fills_some: UNSET,
    gives_nan: UNSET,
    reads_beyond: OUTSIDE,
    reads_far_before: OUTSIDE,
    reads_beyond_parameters: OUTSIDE,
    writes_beyond: OUTSIDE,
    writes_a_column: READ,
    writes_a_whole_column: READ,
    writes_parameters: READ,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules_that_are_refused(workload, refused, rule, way):
    policy = Policy("mine", rule, **WAYS[way])
    words = "policy 'mine'", "rule", RULES[rule]
    with refused(*words):
        simulate(workload, policy)
    with refused(*words):
        machine = Machine(workload, policy.level)
        while not machine.done:
            machine.step(machine.choose(policy))
    assert simulate(workload, "fcfs").decisions == 14  # nothing of it is left


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("rule", [returns_scores, reads_beyond, fills_some, writes_a_column])
def test_wherever_a_rule_is_asked(refused, rule, interpreted):
    policy = Policy("mine", rule, interpreted=interpreted)
    words = "policy 'mine'", "rule", RULES[rule]
    for jobs in (1, 2):
        with refused(*words):
            compare(["multi-attnn"], [policy], seeds=range(3), requests=20, jobs=jobs)
    with refused(*words):
        Bench([load_scenario("multi-attnn").varied(requests=20)], [0, 1]).measure(policy)
    env = gym.make(ID, requests=20).unwrapped
    env.reset(seed=0)
    with refused(*words):
        for _ in range(10_000):
            env.step(env.action_of(policy))


@numba.njit
def _entry(column, i):
    return column[i]


@numba.njit
def _of_next(column, i):
    return _entry(column, i + 1)


@numba.njit("float64(float64)")
def _doubled(x):
    return 2.0 * x


def _made(helper: Callable[..., float]) -> Callable[..., None]:
    def calls(queue, size, now, parameters, scores):
        for i in range(size):
            scores[i] = _doubled(helper(queue.arrival, i))

    return calls


def test_what_a_rule_calls_is_checked_too(workload, refused):
    with refused("policy 'mine'", OUTSIDE):
        simulate(workload, Policy("mine", _made(_of_next)))
    expected = simulate(workload, "fcfs").finish_s.tolist()
    assert simulate(workload, Policy("mine", _made(_entry))).finish_s.tolist() == expected


def _plain(x: float) -> float:
    return x


@numba.njit
def _of_plain(x):
    return _plain(x)


def calls_a_plain_function(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = _plain(queue.arrival[i])


def calls_one_that_does(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = _of_plain(queue.arrival[i])


def calls_a_module_s(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = HELPERS.plain(queue.arrival[i])


@pytest.mark.parametrize(
    ("rule", "called"),
    [
        (calls_a_plain_function, "_plain"),
        (calls_one_that_does, "_plain"),
        (calls_a_module_s, "helpers.plain"),
        (_made(_plain), "helper"),
    ],
)
def test_a_plain_function_that_a_rule_calls_is_named(workload, refused, rule, called):
    with refused(
        "policy 'mine': its rule", f"call {called}; a function of yours needs @numba.njit"
    ):
        simulate(workload, Policy("mine", rule))


def whole_columns(queue, size, now, parameters, scores):
    scores[:] = queue.arrival - queue.arrival.mean() + 0.0 * queue.remaining[-1]
    queue.memory[:] += 1.0
    if not (len(scores) == len(queue.request) == queue.length == size):
        scores[:] = np.nan


@pytest.mark.parametrize("way", ["plain", "interpreted", "events"])
def test_columns_are_as_long_as_the_queue(workload, way):
    schedule = simulate(workload, Policy("mine", whole_columns, **WAYS[way]))
    assert schedule.finish_s.tolist() == simulate(workload, "fcfs").finish_s.tolist()


def test_a_rule_of_ours_without_its_parameters(workload, refused):
    rules = [find("dysta").score, find("evolved").score]
    for policy in (Policy("mine", rule, interpreted=each) for rule in rules for each in (0, 1)):
        for way in (simulate, lambda *given: Machine(given[0], "static").choose(given[1])):
            with refused("policy 'mine'", OUTSIDE, "parameters"):
                way(workload, policy)


def theirs(function: FunctionType) -> FunctionType:
    """The same function, as if it were of another package."""
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__module__ = "theirs"
    return copy


@pytest.mark.parametrize("name", names())
def test_rules_of_ours_keep_to_the_rules(name):
    """They run without the checks that rules of others get."""
    policy = find(name)
    checked = replace(policy, score=theirs(policy.score))
    for scenario, load in (("multi-attnn", 1.05), ("multi-cnn", 1.5)):
        workload = generate(load_scenario(scenario).varied(load=load, requests=100), 0)
        one, other = (simulate(workload, each, record=True) for each in (policy, checked))
        assert one.ran.tolist() == other.ran.tolist()


# --- features and rewards ------------------------------------------------------------------------


def feature_reads_beyond(queue, i, whole):
    return queue.remaining[i + whole.length]


def feature_reads_far(queue, whole):
    return queue.remaining[whole.length]


def feature_writes(queue, i, whole):
    queue.request[i] = 0
    return 1.0


def feature_writes_kept(queue, i, whole):
    whole.kept[i] = False
    return 1.0


def feature_writes_room(queue, whole):
    whole.room[:] = 0.0
    return 1.0


def feature_reads_room(queue, i, whole):
    return 1.0 if whole.kept[i] and whole.room[i] > queue.remaining[i] else 0.0


OFFICE = SimpleNamespace(room=1.0)


def feature_reads_the_room_of_another(queue, i, whole):
    return whole.length * OFFICE.room


def feature_reads_room_of_more(queue, i, whole, more=1.0):
    return more if whole.room[i] > queue.remaining[i] else 0.0


def feature_calls(queue, i, whole):
    return _of_next(queue.remaining, i + whole.length)


def reward_reads_beyond(accrued, queue, memory):
    return queue.remaining[queue.length]


def reward_writes_beyond(accrued, queue, memory):
    memory[int(8 + accrued.turnaround)] = 1.0
    return 0.0


def reward_writes(accrued, queue, memory):
    queue.remaining[:] = 0.0
    return 0.0


SHOWN = {
    "request": Feature("mine", "", feature_reads_beyond),
    "kept": Feature("mine", "", feature_reads_beyond, kept=True),
    "queue": Feature("mine", "", feature_reads_far, of_queue=True),
    "writes": Feature("mine", "", feature_writes),
    "writes kept": Feature("mine", "", feature_writes_kept, planned=True),
    "writes room": Feature("mine", "", feature_writes_room, of_queue=True, planned=True),
    "calls": Feature("mine", "", feature_calls),
}
PAID = {
    "reads": Reward("mine", "", reward_reads_beyond),
    "memory": Reward("mine", "", reward_writes_beyond),
    "writes": Reward("mine", "", reward_writes),
}


def play(vectorized, **arguments):
    usual = {"requests": 5, "slots": 4, **arguments}
    if vectorized:
        env = gym.make_vec(ID, num_envs=3, vectorization_mode="vector_entry_point", **usual)
    else:
        env = gym.make(ID, **usual).unwrapped
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros(3, np.int64) if vectorized else 0)


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("case", SHOWN)
def test_features_that_are_refused(refused, vectorized, case):
    how = "only read" if case.startswith("writes") else "IndexError"
    with refused("feature 'mine'", "formula", how):
        play(vectorized, features=["size", SHOWN[case], "length"])


def seen_by_a_network(features, **ways):
    network, selection = NETWORKS["tiny"], select(features)
    weights = (1.0, 0.0, 1.0, *np.linspace(-1.0, 1.0, network.weights(1, selection)))
    return Policy("mine", network.rule(selection), "monitored", weights=weights, **ways)


@pytest.mark.parametrize("interpreted", [False, True])
def test_who_can_be_on_time_is_to_be_read_and_asked_for(refused, workload, interpreted):
    for case in ("writes kept", "writes room"):
        policy = seen_by_a_network(["given_up", SHOWN[case]], interpreted=interpreted)
        with refused("policy 'mine'", "rule", READ):
            simulate(workload, policy)
    formulas = (feature_reads_room, False), (feature_reads_room_of_more, False)
    for formula, of_queue in (*formulas, (feature_writes_room, True)):
        with refused("feature 'reads'", "planned is False", "planned=True"):
            Feature("reads", "", formula, of_queue=of_queue)
    assert not Feature("other", "", feature_reads_the_room_of_another).planned
    with refused("feature 'reads'", "planned is 'yes'", "True or False"):
        Feature("reads", "", feature_reads_room, planned="yes")
    asked = Feature("reads", "", feature_reads_room, planned=True)
    for seen in (["size", asked], ["disturbs", asked]):
        policy = seen_by_a_network(seen, interpreted=interpreted)
        assert simulate(workload, policy).decisions == 14
    with pytest.raises(DystaError, match=r"feature 'mine' fails \(IndexError: [^;]*; correct it"):
        play(interpreted, features=["disturbs", asked, SHOWN["request"]])


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("case", PAID)
def test_rewards_that_are_refused(refused, vectorized, case):
    how = "only read" if case == "writes" else "IndexError"
    with refused("reward 'mine'", "formula", how):
        play(vectorized, reward=PAID[case])


def test_formulas_of_ours_keep_to_the_rules():
    features = [replace(each, formula=theirs(each.formula)) for each in FEATURES.own.values()]
    for name, reward in REWARDS.own.items():
        checked = replace(reward, formula=theirs(reward.formula))
        ours, others = (
            gym.make(ID, requests=20, slots=4, load=1.3, features=shown, reward=paid).unwrapped
            for shown, paid in ((list(FEATURES.own), name), (features, checked))
        )
        ended = False
        assert np.array_equal(ours.reset(seed=0)[0], others.reset(seed=0)[0])
        while not ended:
            one, other = ours.step(0), others.step(0)
            assert np.array_equal(one[0], other[0]) and one[1] == other[1]
            ended = one[2]


# --- ways round ----------------------------------------------------------------------------------

HELPERS = ModuleType("helpers")
HELPERS.beyond = numba.njit(lambda array, i: array[i])
HELPERS.plain = _plain


def by_a_module(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = HELPERS.beyond(queue.remaining, i + 1)


def by_flat(queue, size, now, parameters, scores):
    queue.remaining.flat[0] = 1e9
    for i in range(size):
        scores[i] = queue.remaining[i]


def by_a_copy_that_is_none(queue, size, now, parameters, scores):
    same = np.ascontiguousarray(queue.remaining)
    for i in range(size):
        scores[i], same[i] = queue.remaining[i], 0.0


@functools.wraps(find("sjf").score)
def wrapped(queue, size, now, parameters, scores):
    for i in range(size - 1):
        scores[i] = queue.remaining[i]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (by_a_module, ["'mine'", "outside"]),
        (by_flat, ["by_flat", "flat", "indices"]),
        (by_a_copy_that_is_none, ["by_a_copy_that_is_none", "ascontiguousarray", "indices"]),
        (wrapped, ["'mine'", "unset"]),
    ],
)
def test_ways_round_the_checks(refused, rule, words):
    workload = generate(load_scenario("multi-attnn").varied(requests=60, load=1.5), 0)
    with refused(*words):
        simulate(workload, Policy("mine", rule))


def test_a_reward_that_is_no_number_is_refused(refused):
    def formula(accrued, queue, memory):
        return np.nan

    env = SparseMultiDNNEnv(requests=9, slots=4, reward=Reward("mine", "no number", formula))
    with refused("mine", "NaN"):
        env.reset(seed=0)
        env.step(0)
