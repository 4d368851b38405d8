"""``SparseMultiDNN-v0``: its contract with Gymnasium, with agents, and with the simulator."""

import copy
import json
import math
import pickle
import warnings
from collections import Counter
from dataclasses import replace

import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings

from dysta_gym import DystaError, generate, load_scenario, measure, shipped_scenarios, simulate
from dysta_gym.envs import SparseMultiDNNEnv
from dysta_gym.information import ALL_LEVELS, estimates
from dysta_gym.policies import find, names

ID = "SparseMultiDNN-v0"
REWARDS = ("objective", "turnaround", "violations", "final")
DECISIONS = ("layers", "events")
SMALL = {"scenario": "multi-attnn", "requests": 30, "slots": 8, "load": 1.3}
CNN = {**SMALL, "scenario": "multi-cnn", "level": "clairvoyant", "reward": "final"}
EVENTS = {**SMALL, "decisions": "events"}


def make(**changes):
    return gym.make(ID, **{**SMALL, **changes})


def same(one, other):
    """Whether two observations, infos or steps are equal to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


def rollout(env, actions):
    """The steps that the actions give, up to the end of the episode."""
    steps = []
    for action in actions:
        steps.append(env.step(action))
        if steps[-1][2]:
            break
    return steps


def random_actions(seed, slots, count=10_000):
    return np.random.default_rng(seed).integers(slots, size=count).tolist()


# --- Gymnasium's contract ------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [SMALL, CNN, EVENTS], ids=["attnn", "cnn", "events"])
def test_gymnasium_finds_no_fault(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(ID, **kwargs).unwrapped)


def test_default_arguments():
    env = gym.make(ID).unwrapped
    assert env.scenario == load_scenario("multi-attnn")
    assert (env.slots, env.level, env.reward, env.split) == (128, "monitored", "objective", "train")
    assert (env.decisions, env.penalty) == ("layers", 100.0)
    assert env.observation_space.shape == (12 * 128 + 6,)


@pytest.mark.parametrize("name", shipped_scenarios())
def test_spec_goes_to_json_and_back(name):
    scenario = json.loads(load_scenario(name).model_dump_json())
    made = make(scenario=scenario, rate=None, level="pattern", penalty=3.5, split="all")
    text = made.spec.to_json()
    again = gym.make(EnvSpec.from_json(text))
    assert again.spec.to_json() == text
    assert same(made.reset(seed=4), again.reset(seed=4))
    actions = random_actions(0, 8, 50)
    assert same(tuple(rollout(made, actions)), tuple(rollout(again, actions)))
    assert again.unwrapped.scenario == made.unwrapped.scenario


def test_same_seeds_give_the_same_episodes():
    one, other = make(), make()
    for seed in (7, None, 7, None):  # without a seed, drawn from the environment's generator
        assert same(one.reset(seed=seed), other.reset(seed=seed))
        actions = random_actions(seed, 8)
        first, second = rollout(one, actions), rollout(other, actions)
        assert first[-1][2] and same(tuple(first), tuple(second))
    workloads = []
    for seed in (7, None, None, 8, 7):
        one.reset(seed=seed)
        workloads.append(one.unwrapped.machine.workload.arrival_s.tolist())
    assert workloads[0] == workloads[4]
    assert len({tuple(workload) for workload in workloads}) == 4


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],
    ids=["copy", "pickle"],
)
def test_a_running_episode_goes_on_in_a_copy(duplicate):
    env = make(penalty=7.0)
    env.reset(seed=1)
    actions = random_actions(2, 8)
    rollout(env, actions[:100])
    twin = duplicate(env)
    expected = rollout(env, actions[100:])
    assert expected[-1][2]
    assert same(tuple(rollout(twin, actions[100:])), tuple(expected))  # and did not move meanwhile
    assert same(twin.reset(), env.reset())


def test_vector_environment():
    envs = gym.make_vec(ID, num_envs=2, vectorization_mode="sync", **{**SMALL, "requests": 4})
    envs.reset(seed=0)
    ended = 0
    for action in random_actions(3, 8, 300):
        observation, _, terminated, _, info = envs.step(np.full(2, action))
        assert envs.observation_space.contains(observation)
        ended += int(terminated.sum())
        assert ("metrics" in info) == terminated.any()
    assert ended >= 2


# --- the machine behind it -----------------------------------------------------------------------


class Ledger:
    """The machine of the issue's text in plain Python: what ran, who waits, and what it costs."""

    def __init__(self, workload, level):
        self.workload, self.store = workload, workload.store
        self.tables = estimates(self.store, level, workload.reference)
        self.first_cell = (
            self.store.first_cell[workload.trace] + workload.row * self.store.layers[workload.trace]
        )
        self.layers = self.store.layers[workload.trace]
        self.executed = np.zeros(len(workload), int)
        self.last_run = workload.arrival_s.copy()
        self.finish = np.full(len(workload), math.inf)
        self.now, self.end, self.ran_last = 0.0, 0.0, None
        self.queue = []
        self.admit()

    def admit(self):
        arrival = self.workload.arrival_s
        waiting = np.flatnonzero(np.isinf(self.finish))
        if len(waiting):
            self.now = max(self.now, arrival[waiting[0]])
        arrived = [r for r in waiting if arrival[r] <= self.now]
        self.queue = arrived[: self.workload.queue_limit]
        self.outside = len(arrived) - len(self.queue)

    def run(self, slot, asked=True):
        request = self.queue[slot]
        if asked:
            self.now += self.workload.decision_fixed_s
            self.now += self.workload.decision_per_request_s * len(self.queue)
        if self.ran_last not in (None, request):
            self.now += self.workload.preemption_cost_s
        self.now += self.store.latency_s[self.first_cell[request] + self.executed[request]]
        self.end = self.now
        self.executed[request] += 1
        self.last_run[request] = self.now
        self.ran_last = request
        if self.executed[request] == self.layers[request]:
            self.finish[request] = self.now
            self.ran_last = None
        self.admit()

    def remaining(self, slot):
        request = self.queue[slot]
        return self.tables.remaining[self.first_cell[request] + self.executed[request]]

    def run_on(self, slot):
        """Run layers until someone comes or goes, or more is left to do than at the start."""
        queue, expected = list(self.queue), self.remaining(slot)
        self.run(slot)
        while list(self.queue) == queue and self.remaining(slot) <= expected:
            self.run(slot, asked=False)

    def cost(self):
        """ANTT and violation rate accrued up to the end of the last layer."""
        workload = self.workload
        stayed = np.maximum(np.minimum(self.finish, self.end) - workload.arrival_s, 0)
        late = np.minimum(self.finish, self.end) > workload.deadline_s
        return (stayed / workload.isolated_s).mean(), late.mean()

    def observation(self, slots, unit_s):
        """The features of the environment's page, written a second time."""
        workload, now, queue = self.workload, self.now, self.queue
        cells = self.first_cell[queue] + self.executed[queue]
        remaining = self.tables.remaining[cells]
        isolated = self.tables.remaining[self.first_cell[queue]]
        following = self.tables.next_layer[cells]
        slack = workload.deadline_s[queue] - now

        floor = unit_s / 1000
        correction = self.tables.correction[cells]
        margin, size = slack - remaining, isolated * correction

        def soft(x):
            return x / (1 + np.abs(x))

        def half_log(time):
            return np.clip(np.log(np.maximum(time, floor) / unit_s) / 2, -3.5, 3.5)

        with np.errstate(invalid="ignore"):
            share = np.nan_to_num(following / remaining)  # nothing of nothing counts as 0
        columns = [
            np.ones(len(queue)),
            half_log(remaining),
            half_log(size),
            workload.priority[queue] / workload.priority.max(),
            self.executed[queue] / self.layers[queue],
            np.clip(np.log(correction) / 2, -1.5, 1.5),
            share,
            (workload.arrival_s[queue] < self.last_run[queue]) & (self.last_run[queue] == now),
            soft(margin / np.maximum(size, floor)),
            soft(slack / np.maximum(isolated, floor)),
            soft((now - self.last_run[queue]) / np.maximum(isolated, floor)),
            soft((now - workload.arrival_s[queue]) / np.maximum(isolated, floor)),
        ]
        requests = np.zeros((slots, 12))
        requests[: len(queue)] = np.transpose(columns)[:slots]
        n = max(1, len(queue))
        whole = [
            math.log(1 + len(queue)) / 2,
            math.log(1 + max(0, len(queue) + self.outside - slots)) / 2,
            (slack < 0).sum() / n,
            (slack >= remaining).sum() / n,
            math.log(1 + remaining.sum() / unit_s) / 2,
            np.isfinite(self.finish).mean(),
        ]
        return np.concatenate([requests.ravel(), whole])


def follow(env, workload, actions, *, features=True):
    """Play an episode beside the plain `Ledger`, and compare everything after every step."""
    ledger = Ledger(workload, env.level)
    unit_s = np.mean([trace.isolated_s[trace.rows("train")].mean() for trace in env.store.traces])
    observation, info = env.reset(options={"workload": workload})
    total, ended = 0.0, False
    for action in actions:
        queue = len(ledger.queue)
        assert env.observation_space.contains(observation)  # finite, too
        assert np.isfinite(observation).all()
        assert info["time_s"] == pytest.approx(ledger.now, rel=1e-12, abs=1e-12)
        assert info["queue_size"] == queue
        taken = [slot < max(1, queue) for slot in range(env.slots)]  # at the end, the first
        assert info["action_mask"].dtype == np.int8 and env.action_masks().dtype == np.bool_
        assert info["action_mask"].tolist() == env.action_masks().tolist() == taken
        if features:
            np.testing.assert_allclose(
                observation, ledger.observation(env.slots, unit_s), rtol=1e-5, atol=1e-5
            )
        if ended:
            break
        turn = ledger.run if env.decisions == "layers" else ledger.run_on
        turn(action if action < queue else 0)
        observation, reward, ended, truncated, info = env.step(action)
        assert info["invalid_action"] == (action >= queue)
        assert type(reward) is float and type(ended) is bool and truncated is False
        assert ended == (not ledger.queue) == ("metrics" in info)
        total += reward
        antt, violations = ledger.cost()
        objective = -(antt * (env.reward != "violations")) - env.penalty * violations * (
            env.reward != "turnaround"
        )
        accrued = objective if env.reward != "final" or ended else 0.0
        assert total == pytest.approx(accrued, rel=1e-9, abs=1e-9)
    assert ended
    metrics = info["metrics"]
    assert metrics == measure(env.machine.schedule())
    assert metrics["antt"] == pytest.approx(antt, rel=1e-9)
    assert metrics["violation_rate"] == pytest.approx(violations, rel=1e-12)
    return total, metrics


@settings(max_examples=60)
@given(
    data=st.data(),
    slots=st.sampled_from([1, 2, 5, 16]),
    level=st.sampled_from(ALL_LEVELS),
    reward=st.sampled_from(REWARDS),
    penalty=st.sampled_from([0.0, 1.0, 100.0, 12345.678]),
    decisions=st.sampled_from(DECISIONS),
    seed=st.integers(0, 2**31),
)
def test_any_episode_of_any_workload(
    workloads, data, slots, level, reward, penalty, decisions, seed
):
    workload = data.draw(workloads(idle_layers=True, limits=True))
    env = SparseMultiDNNEnv(
        slots=slots, level=level, reward=reward, penalty=penalty, decisions=decisions
    )
    total, metrics = follow(env, workload, random_actions(seed, slots))
    expected = {
        "objective": -(metrics["antt"] + penalty * metrics["violation_rate"]),
        "turnaround": -metrics["antt"],
        "violations": -penalty * metrics["violation_rate"],
        "final": -(metrics["antt"] + penalty * metrics["violation_rate"]),
    }
    assert total == pytest.approx(expected[reward], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("scenario", shipped_scenarios())
@pytest.mark.parametrize("slots", [4, 64])
def test_overload_on_real_traces(scenario, slots):
    env = SparseMultiDNNEnv(scenario, load=1.3, requests=120, slots=slots, slo_multiplier=4)
    workload = generate(env.scenario, 3, split="train")
    outcomes = {}
    for seed, actions in enumerate(([0] * 100_000, random_actions(0, slots, 100_000))):
        outcomes[seed] = follow(env, workload, actions, features=seed == 0)
    assert outcomes[0] != outcomes[1]
    assert max(metrics["violation_rate"] for _, metrics in outcomes.values()) > 0.2  # overloaded


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("scenario", shipped_scenarios())
def test_a_policy_finishes_as_in_the_simulator(scenario, name):
    policy = find(name)
    env = SparseMultiDNNEnv(scenario, load=1.1, requests=60, slots=60, level=policy.level)
    workload = generate(env.scenario, 5, split="test")
    env.reset(options={"workload": workload})
    ended = False
    while not ended:
        _, _, ended, _, info = env.step(env.action_of(policy))
        assert not info["invalid_action"]
    expected = simulate(workload, policy)
    assert env.machine.schedule().finish_s.tolist() == expected.finish_s.tolist()
    assert info["metrics"] == measure(expected) | {"decisions": expected.decisions}
    with pytest.raises(DystaError, match="reset"):
        env.action_of(policy)


@pytest.mark.parametrize("spec", ["dysta", "prema@monitored", "sdrm3@sized", "random", "llf"])
@pytest.mark.parametrize("scenario", shipped_scenarios())
def test_a_policy_that_decides_at_events_finishes_as_in_the_simulator(scenario, spec):
    policy = replace(find(spec), events=True, stable=False, drift=None)
    arguments = {"load": 1.1, "requests": 60, "slots": 60, "level": policy.level, "penalty": 7.0}
    layers = SparseMultiDNNEnv(scenario, **arguments)
    events = SparseMultiDNNEnv(scenario, **arguments, decisions="events")
    workload = generate(events.scenario, 5, split="test")
    expected = simulate(workload, policy)
    # At events, any rule is asked at events; at layers, the policy itself keeps to them.
    for env, asked in ((events, find(spec)), (events, policy), (layers, policy)):
        env.reset(options={"workload": workload})
        total, steps, ended = 0.0, 0, False
        while not ended:
            _, reward, ended, _, info = env.step(env.action_of(asked))
            total, steps = total + reward, steps + 1
        assert env.machine.schedule().finish_s.tolist() == expected.finish_s.tolist()
        metrics = measure(expected)
        assert info["metrics"] == metrics | {"decisions": steps}
        assert total == pytest.approx(-(metrics["antt"] + 7 * metrics["violation_rate"]))
        assert steps == expected.decisions if env is layers else steps < expected.decisions / 2


@pytest.mark.parametrize("level", ["static", "monitored", "clairvoyant"])
def test_the_shortest_request_first_loses_nothing_with_decisions_at_events(level):
    env = SparseMultiDNNEnv(**{**EVENTS, "slots": 30, "level": level})
    env.reset(seed=0)
    steps, ended = 0, False
    while not ended:
        remaining = env.machine.queue.remaining[: env.machine.size]
        _, _, ended, _, info = env.step(int(np.argmin(remaining)))
        steps += 1
    expected = simulate(env.machine.workload, f"sjf@{level}")
    assert info["metrics"] == measure(expected) | {"decisions": steps}
    if level != "monitored":  # estimates only fall: arrivals and departures, at most
        assert steps < 2 * 30 < expected.decisions / 5


def test_a_policy_chooses_among_the_slots_and_knows_what_the_environment_knows():
    env = SparseMultiDNNEnv("multi-attnn", load=1.3, requests=60, slots=3, level="static")
    env.reset(seed=0)
    ended, chosen = False, Counter()
    while not ended:
        queue = env.machine.queue
        shortest = int(np.argmin(queue.remaining[: min(3, env.machine.size)]))
        assert env.action_of("sjf@clairvoyant") == env.action_of("sjf") == shortest
        chosen[shortest] += 1
        _, _, ended, _, _ = env.step(shortest)
    assert set(chosen) == {0, 1, 2}


# --- workloads -----------------------------------------------------------------------------------


def columns(workload):
    """A workload as plain data."""
    return {
        "arrival_s": workload.arrival_s.tolist(),
        "trace": [workload.store.traces[index].name for index in workload.trace],
        "row": workload.row.tolist(),
        "priority": workload.priority.tolist(),
    }


@pytest.mark.parametrize("split", ["train", "test", "all"])
@pytest.mark.parametrize("seed", [0, 11])
def test_reset_with_a_seed_draws_what_generate_draws(split, seed):
    env = make(split=split, slo_multiplier=3).unwrapped
    env.reset(seed=seed)
    drawn = env.machine.workload
    expected = generate(
        load_scenario("multi-attnn").varied(load=1.3, requests=30, slo_multiplier=3),
        seed,
        split=split,
    )
    assert columns(drawn) == columns(expected)
    assert drawn.deadline_s.tolist() == expected.deadline_s.tolist()


def test_explicit_workload_is_replayed():
    env, other = make(), make()
    workload = generate(load_scenario("multi-attnn").varied(requests=25), 2, split="train")
    plain = json.loads(json.dumps(columns(workload)))
    actions = random_actions(9, 8)
    drawn = gym.make(ID, **{**SMALL, "requests": 25, "load": None})
    start = env.reset(options={"workload": workload})
    assert same(start, other.reset(seed=1, options={"workload": plain}))
    assert same(start, drawn.reset(seed=2))
    steps = tuple(rollout(env, actions))
    assert steps[-1][2]
    assert same(steps, tuple(rollout(other, actions)))
    assert same(steps, tuple(rollout(drawn, actions)))


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scenario": "multi-atnn"}, ["scenario", "'multi-atnn'", "multi-attnn"]),
        ({"scenario": {"name": "mine"}}, ["'mine'", "'accelerator'", "missing"]),
        ({"scenario": 3}, ["scenario", "3"]),
        ({"load": -1}, ["load", "-1", "greater than 0"]),
        ({"load": float("inf")}, ["load", "inf", "finite"]),
        ({"load": None, "rate": 0}, ["rate", "0", "greater than 0"]),
        ({"rate": 3.0}, ["load", "rate", "both"]),
        ({"slo_multiplier": 0}, ["slo_multiplier", "0", "greater than 0"]),
        ({"requests": 0}, ["requests", "0", "greater than 0"]),
        ({"requests": 2.5}, ["requests", "2.5", "integer"]),
        ({"level": "oracle"}, ["level", "'oracle'", *ALL_LEVELS]),
        ({"reward": "sum"}, ["reward", "'sum'", *REWARDS]),
        ({"split": "validation"}, ["split", "'validation'", "train", "test", "all"]),
        ({"decisions": "sometimes"}, ["decisions", "'sometimes'", *DECISIONS]),
        ({"slots": 0}, ["slots", "0", "above 0"]),
        ({"slots": 2.5}, ["slots", "2.5", "whole number"]),
        ({"penalty": -1}, ["penalty", "-1", "0 or more"]),
        ({"penalty": float("nan")}, ["penalty", "nan", "finite"]),
        ({"penalty": 10**400}, ["penalty", "000 is", "finite"]),
        ({"penalty": "high"}, ["penalty", "'high'"]),
        ({"penalty": None}, ["penalty", "None"]),
        ({"penalty": True}, ["penalty", "True"]),
    ],
    ids=str,
)
def test_arguments_that_are_refused(refused, changes, words):
    with refused(*words):
        SparseMultiDNNEnv(**{**SMALL, **changes})


WORKLOAD = {
    "arrival_s": [0.0, 0.5],
    "trace": ["mpnet", "smollm2"],
    "row": [0, 1],
    "priority": [1, 9],
}


def test_columns_meet_the_machine_and_deadlines_of_the_scenario():
    columns = {"arrival_s": [0.0, 0.001], "row": [0, 0], "priority": [1, 1]}
    phone = SparseMultiDNNEnv("mobile-assistant")
    phone.reset(options={"workload": columns | {"trace": ["minilm_whole", "whisper_whole"]}})
    assert phone.machine.workload.preemption_cost_s == phone.scenario.preemption_cost_s > 0
    assert phone.machine.workload.queue_limit == phone.scenario.queue_limit == 64
    glasses = SparseMultiDNNEnv("arvr-hands")
    rates = glasses.scenario.traces
    names = list(rates)[:2]
    glasses.reset(options={"workload": columns | {"trace": names}})
    workload = glasses.machine.workload
    due = workload.deadline_s - workload.arrival_s
    np.testing.assert_allclose(due, [1 / rates[name] for name in names])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"worklod": WORKLOAD}, ["options", "'worklod'", "workload"]),
        ({"workload": 3}, ["workload", "int", "mapping"]),
        ({"workload": {}}, ["workload", "'arrival_s'", "missing"]),
        *(
            ({"workload": {k: v for k, v in WORKLOAD.items() if k != name}}, [f"'{name}'"])
            for name in WORKLOAD
        ),
        *(
            ({"workload": WORKLOAD | change}, ["workload", *words])
            for change, words in (
                ({"arrival_s": [0.5, 0.0]}, ["arrival_s", "sort"]),
                ({"arrival_s": [0.0, float("nan")]}, ["arrival_s", "finite"]),
                ({"arrival_s": [-1.0, 0.0]}, ["arrival_s", "negative"]),
                ({"arrival_s": [0.0, "soon"]}, ["soon"]),
                ({"arrival_s": 0.0}, []),
                ({"row": [0, 10**6]}, ["row", str(10**6), "smollm2"]),
                ({"row": [0, -1]}, ["row", "-1"]),
                ({"row": [0, 0.5]}, ["row", "0.5"]),
                ({"row": [0]}, ["row", "shape"]),
                ({"row": [0, [1, 2]]}, []),
                ({"priority": [1, 0]}, ["priority", "above 0"]),
                ({"priority": [1, float("inf")]}, ["priority", "finite"]),
                ({name: [] for name in WORKLOAD}, ["no request"]),
            )
        ),
        ({"workload": WORKLOAD | {"trace": ["mpnet", "bert"]}}, ["trace", "'bert'", "mpnet"]),
        ({"workload": WORKLOAD | {"trace": [0, 1]}}, ["trace", "0", "mpnet"]),
    ],
)
def test_options_that_are_refused(refused, options, words):
    env = make().unwrapped
    env.reset(seed=0)
    with refused(*words):
        env.reset(options=options)


@pytest.mark.parametrize("action", [-1, 8, 10**9, 1.5, float("nan"), None, "first"])
def test_actions_that_are_refused(refused, action):
    env = make().unwrapped
    env.reset(seed=0)
    with refused("action", repr(action), "0 to 7"):
        env.step(action)
    assert env.machine.now == env.machine.workload.arrival_s[0]  # nothing ran


def test_an_empty_slot_runs_the_oldest_request():
    env, other = make(), make()
    _, info = env.reset(seed=0)
    other.reset(seed=0)
    assert info["invalid_action"] is False
    ended = False
    while not ended:
        free = np.flatnonzero(info["action_mask"] == 0)
        action = int(free[-1]) if len(free) else 0
        observation, reward, ended, _, info = env.step(action)
        assert info["invalid_action"] is bool(len(free))
        expected = other.step(np.int64(0))
        assert same((observation, reward), expected[:2])


def test_step_needs_a_running_episode(refused):
    env = make(requests=1).unwrapped
    with refused("step", "reset"):
        env.step(0)
    with refused("action_of", "reset"):
        env.action_of("sjf")
    assert not env.action_masks().any()
    env.reset(seed=0)
    while not env.step(0)[2]:
        pass
    assert env.action_masks().tolist() == [True] + [False] * 7  # something must be there to choose
    with refused("step", "reset"):
        env.step(0)
    env.reset()
    env.step(0)


def test_a_negative_seed_is_refused():
    env = make()
    with pytest.raises((DystaError, gym.error.Error), match=r"(?i)seed.*(zero|0)"):
        env.reset(seed=-1)


# --- agents --------------------------------------------------------------------------------------


def optional(name):
    """An optional package; what it warns of while it is imported is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


@pytest.mark.parametrize("kwargs", [SMALL, CNN, EVENTS], ids=["attnn", "cnn", "events"])
def test_stable_baselines_finds_no_fault(kwargs):
    checker = optional("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(gym.make(ID, **kwargs), warn=True)
        checker.check_env(SparseMultiDNNEnv(**kwargs), warn=True)


class Watched(gym.Wrapper):
    """Counts the actions by whether they were valid."""

    def __init__(self, env):
        super().__init__(env)
        self.seen = Counter()

    def step(self, action):
        result = self.env.step(action)
        self.seen[result[-1]["invalid_action"]] += 1
        return result


def test_stock_ppo_learns_without_a_fault():
    ppo = optional("stable_baselines3").PPO
    env = Watched(make(requests=5))
    agent = ppo("MlpPolicy", env, n_steps=128, batch_size=64, n_epochs=1, seed=0, device="cpu")
    agent.learn(384)
    assert env.seen[True] and env.seen[False]  # unmasked, it tries empty slots
    action, _ = agent.predict(env.reset(seed=0)[0], deterministic=True)
    env.step(action)


def test_maskable_ppo_keeps_to_the_taken_slots():
    optional("stable_baselines3")
    contrib = optional("sb3_contrib")
    env = Watched(make(requests=5))
    agent = contrib.MaskablePPO(
        "MlpPolicy", env, n_steps=128, batch_size=64, n_epochs=1, seed=0, device="cpu"
    )
    agent.learn(384)
    assert env.seen[False] >= 384 and not env.seen[True]
    observation, info = env.reset(seed=0)
    ended = False
    while not ended:
        action, _ = agent.predict(observation, action_masks=info["action_mask"])
        observation, _, ended, _, info = env.step(action)
    assert not env.seen[True] and info["metrics"]["antt"] >= 1


def test_a_penalty_may_be_a_number_of_numpy():
    for number in (np.float32(50), np.float16(50), np.int8(50)):
        assert SparseMultiDNNEnv(penalty=number).penalty == 50
