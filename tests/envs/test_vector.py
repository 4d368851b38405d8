"""``SparseMultiDNN-v0`` vectorised: it is so many single environments, to the last bit."""

import copy
import gc
import pickle
from functools import partial

import gymnasium as gym
import hypothesis.strategies as st
import numba
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as wrappers
from hypothesis import given, settings

from dysta_gym import TraceStore, Workload, generate, load_scenario, shipped_scenarios
from dysta_gym.envs import SparseMultiDNNEnv, SparseMultiDNNVectorEnv
from dysta_gym.information import ALL_LEVELS

ID = "SparseMultiDNN-v0"
MODES = [mode.value for mode in AutoresetMode]
REWARDS = ("objective", "turnaround", "violations", "final")
SMALL = {"scenario": "multi-attnn", "requests": 4, "slots": 3, "load": 1.3}


def make(count, mode="NextStep", **kwargs):
    return gym.make_vec(
        ID,
        num_envs=count,
        vectorization_mode="vector_entry_point",
        autoreset_mode=mode,
        **{**SMALL, **kwargs},
    )


class _Own(gym.Wrapper):
    """One of many: takes its own workload out of the option ``workloads``."""

    def __init__(self, number, kwargs):
        super().__init__(SparseMultiDNNEnv(**kwargs))
        self.number = number

    def reset(self, *, seed=None, options=None):
        options = dict(options or {})
        if "workloads" in options:
            options["workload"] = options.pop("workloads")[self.number]
        return self.env.reset(seed=seed, options=options)


class Twins:
    """A vector environment and as many single ones, which must do alike."""

    def __init__(self, count, mode="NextStep", **kwargs):
        kwargs = {**SMALL, **kwargs}
        self.count, self.mode, self.slots = count, mode, kwargs["slots"]
        self.many = make(count, mode, **kwargs)
        singles = [partial(_Own, number, kwargs) for number in range(count)]
        self.singles = SyncVectorEnv(singles, autoreset_mode=mode)
        self.finished = 0

    def reset(self, seed=None, **options):
        given = self.many.reset(seed=seed, options=dict(options))
        expected = self.singles.reset(seed=seed, options=dict(options))
        assert_same(given, expected)

    def step(self, actions):
        given, expected = self.many.step(actions), self.singles.step(actions)
        assert_same(given, expected)
        ended = given[2]
        self.finished += int(ended.sum())
        where = given[4].get("final_info", {}) if self.mode == "SameStep" else given[4]
        assert ("metrics" in where) == ended.any()
        return ended

    def play(self, rng, steps):
        """Random actions; environments that do not start over are reset, and others with them."""
        for _ in range(steps):
            ended = self.step(rng.integers(self.slots, size=self.count))
            if self.mode == "Disabled" and ended.any():
                mask = ended | (rng.random(self.count) < 0.2)
                seeds = [None if rng.random() < 0.7 else int(rng.integers(2**40)) for _ in ended]
                self.reset([None, seeds][rng.integers(2)], reset_mask=mask)


def assert_same(one, other, where=None, path="result"):
    """Results equal in keys, types, shapes and bits; infos where their masks say that they are."""
    if isinstance(other, tuple):
        assert len(one) == len(other), path
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, theirs, path=f"{path}[{number}]")
    elif isinstance(other, dict):
        assert one.keys() == other.keys(), path
        for key in other:
            mask = other.get(f"_{key}")
            assert_same(one[key], other[key], mask, f"{path}[{key}]")
    else:
        assert type(one) is type(other) is np.ndarray and one.shape == other.shape, path
        assert one.dtype == other.dtype, path
        if where is not None:
            one, other = one[where], other[where]
        if one.dtype == object:
            for mine, theirs in zip(one, other, strict=True):
                assert_same(mine, theirs, path=path)
        else:
            assert one.tobytes() == other.tobytes(), f"{path}: {one} is not {other}"


# --- as so many single environments --------------------------------------------------------------


def replayed(folder, columns):
    """A scenario that replays a file."""
    lines = {
        "arrival_s,model,sample,priority": ["0,mpnet,1,3", "0.01,smollm2,3,1", "0.01,mpnet,1,2"],
        "arrival_s": ["3.5", "3.501", "3.501", "3.6"],
    }[columns]
    (folder / "requests.csv").write_text("\n".join([columns, *lines]))
    fields = load_scenario("multi-attnn").model_dump()
    arrivals = {"process": "replay", "file": str(folder / "requests.csv")}
    return {**fields, "load": None, "rate": None, "arrivals": arrivals}


@pytest.fixture(params=[*shipped_scenarios(), "recorded", "recorded arrivals"])
def scenario(request, tmp_path):
    """Arguments of every scenario in the package, and of recorded ones."""
    if request.param in shipped_scenarios():
        return {"scenario": request.param}
    complete = request.param == "recorded"
    columns = "arrival_s,model,sample,priority" if complete else "arrival_s"
    return {"scenario": replayed(tmp_path, columns), "load": None, "requests": None, "split": "all"}


@pytest.mark.parametrize("mode", MODES)
def test_every_scenario(scenario, mode):
    number = MODES.index(mode)
    level, reward = ALL_LEVELS[number + len(str(scenario)) % 7], REWARDS[number]
    twins = Twins(3, mode, **scenario, level=level, reward=reward, slots=2 + number)
    rng = np.random.default_rng(number)
    twins.reset(5)
    twins.play(rng, 60)  # and a reset in the middle
    for seed in (None, [7, None, 2**63], [None, 0, None]):
        twins.reset(seed)
        twins.play(rng, 250)
    assert twins.finished > 3


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("level", ALL_LEVELS)
def test_every_level_and_reward(level, reward):
    mode = MODES[(REWARDS.index(reward) + ALL_LEVELS.index(level)) % 3]
    twins = Twins(2, mode, level=level, reward=reward, penalty=3.25, slo_multiplier=2.0, requests=3)
    twins.reset(2**31 - 1)
    twins.play(np.random.default_rng(1), 150)


@settings(max_examples=60)
@given(
    data=st.data(),
    count=st.integers(1, 4),
    mode=st.sampled_from(MODES),
    slots=st.sampled_from([1, 2, 5]),
    level=st.sampled_from(ALL_LEVELS),
    reward=st.sampled_from(REWARDS),
    seed=st.integers(0, 2**31),
)
def test_any_workloads(workloads, data, count, mode, slots, level, reward, seed):
    some = workloads(max_requests=6, idle_layers=True, limits=True)
    twins = Twins(count, mode, slots=slots, level=level, reward=reward, requests=1)
    rng = np.random.default_rng(seed)
    twins.reset(seed)
    twins.reset(workloads=[data.draw(some) for _ in range(count)])
    twins.play(rng, 40)
    mask = rng.random(count) < 0.5
    mask[rng.integers(count)] = True
    twins.reset([None] * (count - 1) + [3], workload=data.draw(some), reset_mask=mask)
    twins.play(rng, 40)


@pytest.mark.parametrize("mode", MODES)
def test_workloads_of_networks_and_priorities_that_the_scenario_has_not(make_trace, mode):
    """Their metrics have other names, and there are more of them."""
    traces = [make_trace(f"net{number}", [[0.1], [0.2]]) for number in range(40)]
    columns = (np.zeros(40), np.arange(40), np.zeros(40), np.arange(1, 41))
    strange = Workload(TraceStore(traces), "all", *columns, 20.0)
    usual = generate(load_scenario("multi-attnn").varied(requests=2), 3)
    twins = Twins(3, mode)
    twins.reset(0)
    twins.reset(workloads=[strange, usual, strange])
    twins.play(np.random.default_rng(0), 400)
    assert twins.finished > 6


# --- bad input -----------------------------------------------------------------------------------

WORKLOAD = {"arrival_s": [0.0, 0.5], "trace": ["mpnet", "smollm2"], "row": [0, 1],
            "priority": [1, 9]}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *(({"num_envs": n}, ["num_envs", repr(n), "above 0"]) for n in (0, -1, True, 2.0, "2")),
        *(
            ({"autoreset_mode": mode}, ["autoreset_mode", repr(mode), *MODES])
            for mode in ("Next", 3, None, [])
        ),
        ({"slots": 2.5}, ["slots", "2.5", "whole number"]),
        ({"level": "oracle"}, ["level", "'oracle'", *ALL_LEVELS]),
    ],
    ids=str,
)
def test_arguments_that_are_refused(refused, arguments, words):
    with refused(*words):
        SparseMultiDNNVectorEnv(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, ["seed", "-1", "0 to 2**64 - 1"]),
        ({"seed": 2**64}, ["seed", str(2**64), "0 to 2**64 - 1"]),
        ({"seed": [3, -2]}, ["seed", "-2", "0 to 2**64 - 1"]),
        ({"seed": [3]}, ["seed", "there are 1", "one or 2"]),
        *(
            ({"seed": seed}, ["seed", repr(seed), "whole number"])
            for seed in (1.5, "a", [1, "a"], [1, 2.0])
        ),
        *(
            ({"options": options}, ["options", repr(options), "mapping"])
            for options in (5, ["workload"], "workload")
        ),
        ({"options": {"worklod": WORKLOAD}}, ["options", "'worklod'", "workloads", "reset_mask"]),
        ({"options": {"workload": [WORKLOAD] * 2}}, ["workload", "list", "mapping"]),
        ({"options": {"workload": WORKLOAD, "workloads": [WORKLOAD] * 2}}, ["both"]),
        ({"options": {"workloads": 3}}, ["workloads", "int", "sequence"]),
        ({"options": {"workloads": WORKLOAD}}, ["workloads", "dict", "sequence"]),
        ({"options": {"workloads": [WORKLOAD]}}, ["workloads", "1", "2"]),
        ({"options": {"workloads": [WORKLOAD, None]}}, ["workload", "NoneType", "mapping"]),
        ({"options": {"workloads": [WORKLOAD, {}]}}, ["'arrival_s'", "missing"]),
        *(
            ({"options": {"reset_mask": mask}}, ["reset_mask", repr(mask), "2 booleans"])
            for mask in ([True], [1, 0], [False, False], [[True], [True, False]], "ab", 3)
        ),
    ],
    ids=str,
)
def test_resets_that_are_refused(refused, arguments, words):
    envs, other = make(2), make(2)
    envs.reset(seed=0)
    other.reset(seed=0)
    with refused(*words):
        envs.reset(**arguments)
    for _ in range(60):  # and change nothing
        assert_same(envs.step([0, 1]), other.step([0, 1]))
    assert_same(envs.reset(), other.reset())


def test_a_first_reset_of_some_is_refused(refused):
    envs = make(2)
    with refused("reset_mask", "never been reset"):
        envs.reset(seed=0, options={"reset_mask": np.array([True, False])})


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ([0, 3], ["3", "0 to 2"]),
        ([-1, 0], ["-1", "0 to 2"]),
        (np.array([0, 2**64 - 1], np.uint64), [str(2**64 - 1), "0 to 2"]),
        ([0, 2**70], ["object", "2 slots"]),
        ([0.0, 1.0], ["float64", "2 slots"]),
        ([True, False], ["bool", "2 slots"]),
        ([0], ["(1,)", "2 slots"]),
        ([[0], [0]], ["(2, 1)", "2 slots"]),
        ([0, [1]], ["object", "2 slots"]),
        (1, ["()", "2 slots"]),
        (None, ["object", "2 slots"]),
    ],
    ids=str,
)
def test_actions_that_are_refused(refused, actions, words):
    envs = make(2)
    with refused("step", "reset"):
        envs.step([0, 0])
    _, infos = envs.reset(seed=0)
    with refused("actions", *words):
        envs.step(actions)
    assert_same(infos, make(2).reset(seed=0)[1])  # nothing ran


def test_an_ended_environment_that_does_not_start_over(refused):
    envs = make(2, "Disabled", requests=1)
    envs.reset(seed=[0, 0], options={"workload": WORKLOAD})
    envs.reset(seed=1, options={"reset_mask": np.array([False, True])})
    ended = np.zeros(2, bool)
    while not ended.any():
        *_, ended, _, _ = envs.step([0, 0])
    with refused("step", f"environment {np.argmax(ended)} has ended", "reset_mask"):
        envs.step([0, 0])
    envs.reset(options={"reset_mask": ended})
    envs.step([0, 0])
