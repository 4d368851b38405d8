"""``SparseMultiDNN-v0`` vectorised: it is so many single environments, to the last bit."""

import copy
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from functools import partial

import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as wrappers
from hypothesis import given, settings

from dysta_gym import (
    TraceStore,
    Workload,
    find,
    generate,
    load_scenario,
    measure,
    shipped_scenarios,
)
from dysta_gym.envs import SparseMultiDNNEnv, SparseMultiDNNVectorEnv
from dysta_gym.envs.vector import _WORTH_THREADS
from dysta_gym.information import ALL_LEVELS

ID = "SparseMultiDNN-v0"
MODES = [mode.value for mode in AutoresetMode]
REWARDS = ("objective", "turnaround", "violations", "final")
DECISIONS = ("layers", "events")
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
    decisions = DECISIONS[(number + len(str(scenario))) % 2]
    arguments = {"level": level, "reward": reward, "decisions": decisions, "slots": 2 + number}
    twins = Twins(3, mode, **scenario, **arguments)
    rng = np.random.default_rng(number)
    twins.reset(5)
    twins.play(rng, 60)  # and a reset in the middle
    for seed in (None, [7, None, 2**63], [None, 0, None]):
        twins.reset(seed)
        twins.play(rng, 250)
    assert twins.finished > 3


@pytest.mark.parametrize("decisions", DECISIONS)
@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("level", ALL_LEVELS)
def test_every_level_and_reward(level, reward, decisions):
    mode = MODES[(REWARDS.index(reward) + ALL_LEVELS.index(level)) % 3]
    arguments = {"level": level, "reward": reward, "decisions": decisions}
    twins = Twins(2, mode, **arguments, penalty=3.25, slo_multiplier=2.0, requests=3)
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
    decisions=st.sampled_from(DECISIONS),
    seed=st.integers(0, 2**31),
)
def test_any_workloads(workloads, data, count, mode, slots, level, reward, decisions, seed):
    some = workloads(max_requests=6, idle_layers=True, limits=True)
    arguments = {"level": level, "reward": reward, "decisions": decisions}
    twins = Twins(count, mode, slots=slots, **arguments, requests=1)
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
    for workload in (strange, usual, strange):  # in place of an episode that has just ended
        ended = np.zeros(3, bool)
        while not ended.any():
            ended = twins.step([0, 1, 2])
        twins.reset(workload=workload, reset_mask=ended)
    twins.play(np.random.default_rng(0), 100)


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
        ({"decisions": "sometimes"}, ["decisions", "'sometimes'", *DECISIONS]),
        ({"penalty": -1}, ["penalty", "-1", "0 or more"]),
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


# --- a penalty that changes ----------------------------------------------------------------------

LATE = {"requests": 20, "slo_multiplier": 2.0}


def rewards_of(envs, actions):
    return np.array([envs.step(each)[1] for each in actions])


@pytest.mark.parametrize("decisions", DECISIONS)
@pytest.mark.parametrize(
    "duplicate",
    [lambda envs: envs, copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))],
    ids=["itself", "copy", "pickle"],
)
def test_a_new_penalty_holds_from_the_next_step_on(duplicate, decisions):
    envs, cheap, dear = (make(3, penalty=p, decisions=decisions, **LATE) for p in (5.0, 5.0, 70.0))
    given = generate(load_scenario("multi-attnn").varied(requests=30, slo_multiplier=1.5), 3)
    for each in (envs, cheap, dear):  # one of them plays a workload from elsewhere
        each.reset(seed=1)
        each.reset(options={"workload": given, "reset_mask": np.array([False, True, False])})
    rng = np.random.default_rng(0)
    actions = rng.integers(3, size=(400, 3))
    begun = [rewards_of(each, actions[:100]) for each in (envs, cheap, dear)]
    assert np.array_equal(begun[0], begun[1])
    changed = duplicate(envs)
    changed.settings.penalty = 70.0
    assert changed.settings.penalty == 70.0
    later = [rewards_of(each, actions) for each in (changed, cheap, dear)]
    assert np.array_equal(later[0], later[2])  # over the ends of episodes, too
    assert (later[0] != later[1]).any(axis=0).all()
    if changed is not envs:
        assert envs.settings.penalty == 5.0
        assert np.array_equal(rewards_of(envs, actions), later[1])


@pytest.mark.parametrize("penalty", [-1, np.nan, np.inf, 10**400, "high", None, True], ids=str)
def test_penalties_that_are_refused(refused, penalty):
    envs, other = (make(2, penalty=5.0, **LATE) for _ in "ab")
    with refused("penalty", repr(penalty), "finite and 0 or more"):
        envs.settings.penalty = penalty
    assert envs.settings.penalty == 5.0
    assert_same(envs.reset(seed=0), other.reset(seed=0))
    assert np.array_equal(*(rewards_of(each, [[0, 1]] * 100) for each in (envs, other)))


# --- copies, arrays, threads ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))],
    ids=["copy", "pickle"],
)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_running_episodes_go_on_in_a_copy(mode, duplicate):
    twins = Twins(3, mode)
    twins.reset(1)
    mask = np.array([False, True, False])
    given = generate(load_scenario("multi-attnn").varied(requests=9), 3)
    rng = np.random.default_rng(4)
    twins.play(rng, 30)
    twins.reset(workload=given, reset_mask=mask)
    twins.play(rng, 10)
    original = twins.many
    twins.many = duplicate(original)
    for _ in range(20):  # the original does not move meanwhile, but another copy of it does
        duplicate(original).step([0, 0, 0])
    other = duplicate(original)
    actions = rng.integers(3, size=(400, 3))
    for each in actions:
        twins.step(each)
    assert twins.finished > 6
    for each in actions:
        assert_same(original.step(each), other.step(each))
    twins.reset()
    assert_same(original.reset(), other.reset())


def test_a_shallow_copy_that_goes_leaves_the_original_whole():
    twins = Twins(3)
    twins.reset(1)
    copy.copy(twins.many)
    gc.collect()
    # Reading freed memory would not fail for sure.
    own = [placed.address for placed in twins.many._batch._homes]
    shared = twins.many._batch._shared
    assert shared.homes.tolist() == shared.episodes.tolist() == own
    twins.play(np.random.default_rng(0), 300)


def arrays_of(result):
    """All arrays in what a step or a reset returns."""
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, tuple):
        return [array for each in result for array in arrays_of(each)]
    return [result]


@pytest.mark.parametrize("mode", MODES)
def test_arrays_stay_as_they_are_for_a_step_or_for_ever(mode):
    borrowed, own = make(2, mode, requests=2, copy=False), make(2, mode, requests=2)
    kept = []
    results = [borrowed.reset(seed=0)], [own.reset(seed=0)]
    ended = np.zeros(2, bool)
    for number in range(150):
        if mode == "Disabled" and ended.any():
            options = [{"reset_mask": ended.copy()} for _ in "ab"]
            results = [borrowed.reset(options=options[0])], [own.reset(options=options[1])]
        else:
            results = [borrowed.step([1, 0])], [own.step([1, 0])]
            ended = results[0][0][2].copy()
        assert_same(results[0][0], results[1][0])
        kept.append((results[0][0], copy.deepcopy(results[0][0]), results[1][0]))
        for first, then, _ in kept[-2:]:  # this step and the one before
            assert_same(first, then)
        if number:
            assert kept[-2][2][0] is not kept[-1][2][0]
    for _, then, always in kept:
        assert_same(always, then)
    # What one step returns shares no memory with what the next one does.
    for one, other in ((kept[-1][2], kept[-2][2]), (kept[-1][0], kept[-2][0])):
        for mine in arrays_of(one):
            assert not any(np.shares_memory(mine, theirs) for theirs in arrays_of(other))


@pytest.mark.parametrize("count", [_WORTH_THREADS - 1, _WORTH_THREADS, 2 * _WORTH_THREADS + 1])
def test_the_number_of_threads_changes_nothing(count):
    results = []
    for threads in (1, 2, 5, None):
        envs = make(count, "SameStep", requests=2, threads=threads)
        results.append([envs.reset(seed=3)])
        rng = np.random.default_rng(0)
        for _ in range(120):
            results[-1].append(envs.step(rng.integers(3, size=count)))
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            assert_same(one, other)


CONCURRENT = f"""
import threading
import numpy as np
from dysta_gym.envs import SparseMultiDNNVectorEnv

def work():
    envs = SparseMultiDNNVectorEnv({_WORTH_THREADS}, requests=20, slots=4)
    envs.reset(seed=0)
    for _ in range(200):
        envs.step(np.zeros({_WORTH_THREADS}, np.int64))
        shared.step(np.zeros({_WORTH_THREADS}, np.int64))

shared = SparseMultiDNNVectorEnv({_WORTH_THREADS}, requests=20, slots=4, threads=3)
shared.reset(seed=0)
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_python_threads_may_step_at_once():
    subprocess.run([sys.executable, "-c", CONCURRENT], check=True, timeout=120)


def _steps(count):
    envs = make(count, threads=2)
    return [envs.reset(seed=3), *(envs.step(np.zeros(count, np.int64)) for _ in range(50))]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # which is the point
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_steps_them_too():
    expected = _steps(_WORTH_THREADS)
    assert any(each.name == "dysta-gym helper" for each in threading.enumerate())
    with multiprocessing.get_context("fork").Pool(1) as pool:
        results = pool.map_async(_steps, [_WORTH_THREADS]).get(timeout=60)
    for one, other in zip(results[0], expected, strict=True):
        assert_same(one, other)


FORKED = f"""
import os, threading
import numpy as np
from dysta_gym.envs import SparseMultiDNNVectorEnv

envs = SparseMultiDNNVectorEnv({_WORTH_THREADS}, requests=20, slots=4, threads=3)
actions = np.zeros({_WORTH_THREADS}, np.int64)
envs.reset(seed=0)

def work():
    while not over:
        envs.step(actions)

over = False
threading.Thread(target=work, daemon=True).start()
for _ in range(20):
    child = os.fork()
    if not child:
        envs.reset(seed=0)
        [envs.step(actions) for _ in range(3)]
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
over = True
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_process_forked_in_the_middle_of_a_step_waits_for_nobody():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)


ALONE = f"""
import threading

def start(thread):
    raise RuntimeError("can't start new thread")

threading.Thread.start = start
import numpy as np
from dysta_gym.envs import SparseMultiDNNVectorEnv

envs = SparseMultiDNNVectorEnv({_WORTH_THREADS}, requests=20, slots=4, threads=3)
envs.reset(seed=0)
rewards = sum(envs.step(np.zeros({_WORTH_THREADS}, np.int64))[1].sum() for _ in range(20))
print(rewards, threading.active_count())
"""


def test_without_threads_that_could_help():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], check=True, timeout=60, capture_output=True, text=True
    )
    envs = SparseMultiDNNVectorEnv(_WORTH_THREADS, requests=20, slots=4, threads=1)
    envs.reset(seed=0)
    steps = (envs.step(np.zeros(_WORTH_THREADS, np.int64))[1].sum() for _ in range(20))
    assert done.stdout.split()[1] == "1"
    assert float(done.stdout.split()[0]) == sum(steps)


def test_many_are_as_many_singles():
    twins = Twins(_WORTH_THREADS + 8, "SameStep", requests=2)
    twins.reset(0)
    twins.play(np.random.default_rng(0), 60)
    assert twins.finished > _WORTH_THREADS


def test_a_machine_that_someone_else_has_run_to_its_end(refused):
    env = SparseMultiDNNEnv(**SMALL)
    env.reset(seed=0)
    env.step(0)
    env.machine.run(find("sjf"))
    _, reward, ended, _, info = env.step(0)  # there is nothing that could run
    assert (reward, ended, info["queue_size"]) == (0.0, True, 0)
    assert info["metrics"] == measure(env.machine.schedule())
    with refused("step", "reset"):
        env.step(0)


# --- Gymnasium -----------------------------------------------------------------------------------


def test_seeds_are_the_streams_own_where_none_is_given():
    envs, other = make(3, requests=1), make(3, requests=1)
    starts = [each.reset()[1]["time_s"].tolist() for each in (envs, other, envs, envs)]
    assert len(np.unique(starts)) == 4 * 3  # first arrivals
    twin = copy.deepcopy(envs)
    assert_same(envs.reset(), twin.reset())
    partly, single = make(3), SparseMultiDNNEnv(**SMALL)
    observations, _ = partly.reset(seed=[None, 6, None])
    assert observations[1].tobytes() == single.reset(seed=6)[0].tobytes()


def test_make_vec_takes_it_by_itself_and_the_spec_round_trips():
    envs = gym.make_vec(ID, num_envs=3, autoreset_mode="SameStep", **SMALL)
    assert type(envs) is SparseMultiDNNVectorEnv
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert envs.unwrapped.autoreset_mode is AutoresetMode.SAME_STEP
    again = gym.make_vec(EnvSpec.from_json(envs.spec.to_json()))
    assert type(again) is SparseMultiDNNVectorEnv
    assert again.spec == envs.spec and again.metadata == envs.metadata and again.num_envs == 3
    assert_same(envs.reset(seed=4), again.reset(seed=4))
    assert envs.observation_space == again.observation_space
    assert envs.observation_space.contains(envs.step(envs.action_space.sample())[0])
    assert make(np.int64(2)).num_envs == 2
    assert make(2, AutoresetMode.DISABLED).metadata["autoreset_mode"] is AutoresetMode.DISABLED
    masks = envs.action_masks()
    assert masks.shape == (3, 3) and masks.any(axis=1).all()
    envs.close()
    assert envs.closed


@pytest.mark.parametrize(
    ("wrapper", "mode"),
    [
        (wrappers.RecordEpisodeStatistics, "NextStep"),
        (wrappers.RecordEpisodeStatistics, "SameStep"),
        (wrappers.NormalizeReward, "NextStep"),
        (wrappers.NormalizeReward, "SameStep"),
        (wrappers.NormalizeObservation, "NextStep"),
        (partial(wrappers.ClipReward, min_reward=-1.0, max_reward=0.0), "SameStep"),
        (wrappers.DictInfoToList, "NextStep"),
        (wrappers.DictInfoToList, "SameStep"),
    ],
    ids=str,
)
def test_wrappers_of_vectors_see_no_difference(wrapper, mode):
    singles = [partial(SparseMultiDNNEnv, **SMALL) for _ in range(2)]
    wrapped = [wrapper(make(2, mode)), wrapper(SyncVectorEnv(singles, autoreset_mode=mode))]
    rng = np.random.default_rng(0)
    results = [each.reset(seed=0) for each in wrapped]
    for _ in range(150):
        first, second = ([*result] for result in results)
        infos, expected = first.pop(), second.pop()
        assert_same(tuple(first), tuple(second))
        if isinstance(infos, dict):
            for times in (infos, expected):
                times.get("episode", {}).pop("t", None)  # by the clock on the wall
            assert_same(infos, expected)
        else:  # one a single environment
            assert [set(each) for each in infos] == [set(each) for each in expected]
        actions = rng.integers(3, size=2)
        results = [each.step(actions) for each in wrapped]


def test_masks_are_right_after_a_call_that_was_broken_off(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    envs = gym.make_vec(
        "SparseMultiDNN-v0",
        num_envs=8,
        vectorization_mode="vector_entry_point",
        **{"requests": 50, "load": 2.0, "slots": 16},
    )
    envs.reset(seed=0)
    with monkeypatch.context() as patched:
        patched.setattr(envs.unwrapped._batch, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            envs.step(np.zeros(8, int))
    _, info = envs.reset(seed=5)
    for _ in range(200):
        taken = info["queue_size"].clip(1, 16)
        assert (info["action_mask"].sum(axis=1) == taken).all()
        _, _, _, _, info = envs.step(np.zeros(8, int))
