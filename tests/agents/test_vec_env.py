"""The adapter for Stable-Baselines3 against its `DummyVecEnv` of single environments."""

import copy
import pickle
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest

from dysta_gym import generate, load_scenario

with warnings.catch_warnings():  # what they warn of while they are imported is not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pytest.importorskip("stable_baselines3")
    contrib = pytest.importorskip("sb3_contrib")
    from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
    from stable_baselines3 import DQN, PPO
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import (
        DummyVecEnv,
        VecFrameStack,
        VecMonitor,
        VecNormalize,
    )

from dysta_gym.agents import SparseMultiDNNVecEnv

ID = "SparseMultiDNN-v0"
TINY = {"requests": 5, "slots": 4, "load": 1.2}
CNN = {**TINY, "scenario": "multi-cnn", "requests": 2, "level": "clairvoyant", "reward": "final"}
EVENTS = {**TINY, "decisions": "events"}
CUT = {**EVENTS, "max_episode_steps": 10}
MASKED = contrib.MaskablePPO
ON_POLICY = {"n_steps": 64, "batch_size": 48, "n_epochs": 2}
OFF_POLICY = {"learning_starts": 30, "train_freq": 4, "buffer_size": 300, "exploration_fraction": 1}


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small are slower with more, and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def dummy(count, **kwargs):
    return DummyVecEnv([lambda: Monitor(gym.make(ID, **kwargs))] * count)


def same(one, other):
    """Whether infos, at any depth, are equal to the last bit, and of the same types."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and np.array_equal(one, other)


def rollout(env, steps, rng):
    """What an environment returns, kept until the end, with random actions, now and then empty."""
    kept = [env.reset()]
    reset_infos = [env.reset_infos]
    for _ in range(steps):
        masks = get_action_masks(env)
        actions = rng.integers(masks.shape[1], size=env.num_envs)
        kept.append((masks, *env.step(actions)))
        reset_infos.append(list(env.reset_infos))
    return kept, reset_infos


@pytest.mark.parametrize("kwargs", [TINY, CNN, EVENTS, CUT], ids=["attnn", "cnn", "events", "cut"])
@pytest.mark.parametrize("count", [1, 3, 9])  # the last in parallel
def test_steps_are_those_of_single_environments(kwargs, count):
    mine, theirs = SparseMultiDNNVecEnv(count, **kwargs), dummy(count, **kwargs)
    assert mine.observation_space == theirs.observation_space
    assert mine.action_space == theirs.action_space
    ended = 0
    for seed in (5, None, 8):  # without one, of each environment's own stream
        for env in (mine, theirs):
            if seed is not None:
                env.seed(seed)
        (start, *steps), begun = rollout(mine, 250, np.random.default_rng(count))
        (other, *others), began = rollout(theirs, 250, np.random.default_rng(count))
        assert np.array_equal(start, other)
        for infos, expected in zip(begun, began, strict=True):
            assert all(map(same, infos, expected))
        for step, expected in zip(steps, others, strict=True):
            for have, want in zip(step[:-1], expected[:-1], strict=True):
                assert have.dtype == want.dtype and np.array_equal(have, want)
            for done, info, full in zip(step[3], step[4], expected[4], strict=True):
                if not done:
                    assert info == {}
                    continue
                ended += 1
                assert 0 <= info["episode"].pop("t") <= 60
                full["episode"].pop("t")
                assert same(info, full)
                assert info["TimeLimit.truncated"] or "antt" in info["metrics"]
    assert ended > 3 * count


def workloads(count):
    scenario = load_scenario("multi-attnn").varied(requests=5)
    return [generate(scenario, seed) for seed in range(count)]


def test_options_are_for_the_next_reset():
    mine, theirs = SparseMultiDNNVecEnv(2, **TINY), dummy(2, **TINY)
    given = workloads(2)
    for options in ({"workload": given[0]}, [{"workload": each} for each in given], None):
        for env in (mine, theirs):
            env.seed(3)
            env.set_options(options)
        for _ in range(2):  # the second time, drawn
            (start, *steps), _ = rollout(mine, 100, np.random.default_rng(1))
            (other, *others), _ = rollout(theirs, 100, np.random.default_rng(1))
            assert np.array_equal(start, other)
            assert all(np.array_equal(a[1], b[1]) for a, b in zip(steps, others, strict=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([{}], ["options", "1", "3"]),
        ({"worklod": 3}, ["options", "'worklod'", "workload"]),
        ({"workload": 3}, ["workload", "int"]),
        ([{"workload": "?"}, {}, {}], ["environment 1", "workload"]),
    ],
    ids=str,
)
def test_options_that_are_refused(refused, options, words):
    env = SparseMultiDNNVecEnv(3, **TINY)
    with refused(*words):
        env.set_options(options)
        env.reset()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_envs": 0}, ["num_envs", "0"]),
        ({"slots": 0}, ["slots", "0"]),
        ({"copy": True}, ["copy", "True"]),
        ({"autoreset_mode": "NextStep"}, ["autoreset_mode", "'NextStep'"]),
    ],
    ids=str,
)
def test_arguments_that_are_refused(refused, arguments, words):
    with refused(*words):
        SparseMultiDNNVecEnv(**arguments)


def test_attributes_and_methods():
    mine, theirs = SparseMultiDNNVecEnv(3, **TINY), dummy(3, **TINY)
    for env in (mine, theirs):
        env.seed(0)
        env.reset()
        assert is_masking_supported(env) and not env.has_attr("nothing")
        env.set_attr("tag", "odd", indices=1)
        env.set_attr("tag", "even", indices=[0, 2])
        assert env.get_attr("tag") == ["even", "odd", "even"]
        assert env.get_attr("tag", [1, 0]) == ["odd", "even"]
        assert env.get_attr("render_mode", 2) == [env.render_mode] == [None]
        assert [spec.id for spec in env.get_attr("spec")] == [ID] * 3
        assert env.env_is_wrapped(Monitor) == [True] * 3
        assert env.env_is_wrapped(gym.wrappers.TimeLimit, [0]) == [False]
        with pytest.raises(AttributeError):
            env.env_method("nothing")
    for name in ("slots", "level", "reward", "penalty", "split", "decisions", "scenario"):
        assert mine.get_attr(name) == theirs.get_attr(name)
    assert mine.get_attr("action_space") == theirs.get_attr("action_space")
    for indices in (None, 1, [2, 0]):
        calls = [env.env_method("action_masks", indices=indices) for env in (mine, theirs)]
        assert np.array_equal(*calls)
    assert np.array_equal(mine.action_masks(), get_action_masks(theirs))
    mine.close()


def test_the_environment_itself_cannot_be_changed(refused):
    env = SparseMultiDNNVecEnv(2, **TINY)
    for name in ("action_masks", "observation_space", "level"):
        with refused("set_attr", repr(name), "another one"):
            env.set_attr(name, 3)
    with refused("set_attr", "'penalty'", "property penalty"):
        env.set_attr("penalty", 3, indices=0)
    assert env.get_attr("penalty") == [100.0, 100.0]


@pytest.mark.parametrize(
    "duplicate",
    [lambda env: env, copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],
    ids=["itself", "copy", "pickle"],
)
def test_the_penalty_may_be_changed_for_all(refused, duplicate):
    late = {**TINY, "requests": 20, "slo_multiplier": 2.0}
    env, cheap, dear = (SparseMultiDNNVecEnv(3, **late, penalty=p) for p in (5, 5, 70.0))
    for each in (env, cheap, dear):
        each.seed(0)
        rollout(each, 50, np.random.default_rng(1))
    changed = duplicate(env)
    changed.penalty = 70
    with refused("penalty", "nan"):
        changed.penalty = np.nan
    assert changed.penalty == 70.0 and changed.get_attr("penalty", [2, 0]) == [70.0, 70.0]
    assert VecNormalize(changed).unwrapped is changed
    rng = np.random.default_rng(2)
    differ = np.zeros(3, bool)
    for actions in rng.integers(4, size=(300, 3)):
        rewards = [each.step(actions)[1] for each in (changed, cheap, dear)]
        assert np.array_equal(rewards[0], rewards[2])
        differ |= rewards[0] != rewards[1]
    assert differ.all()
    assert env.penalty == (70.0 if changed is env else 5.0)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],
    ids=["copy", "pickle"],
)
def test_a_copy_goes_on(duplicate):
    env = SparseMultiDNNVecEnv(2, **TINY)
    env.seed(0)
    env.reset()
    for _ in range(30):
        env.step(np.zeros(2, np.int64))
    twin = duplicate(env)
    for _ in range(100):
        assert np.array_equal(get_action_masks(env), get_action_masks(twin))
        (one, *_, mine), (other, *_, theirs) = (e.step(np.array([1, 0])) for e in (env, twin))
        assert np.array_equal(one, other)
        for info in (*mine, *theirs):
            info.get("episode", {}).pop("t", None)
        assert all(map(same, mine, theirs))


# --- with the algorithms -------------------------------------------------------------------------


def trained(algorithm, wrap, env, settings):
    settings = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", "seed": 4, **settings}
    return algorithm("MlpPolicy", wrap(env), **settings).learn(2 * 64 * env.num_envs)


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [(MASKED, ON_POLICY), (PPO, ON_POLICY), (DQN, OFF_POLICY)],
    ids=["maskable ppo", "ppo", "dqn"],
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: env,
        VecNormalize,
        lambda env: VecFrameStack(env, 2),
        lambda env: VecNormalize(VecFrameStack(env, 2)),
    ],
    ids=["plain", "normalised", "stacked", "both"],
)
def test_training_is_that_on_single_environments(algorithm, settings, wrap):
    short = {**TINY, "requests": 2}
    models = [
        trained(algorithm, wrap, env, settings)
        for env in (SparseMultiDNNVecEnv(3, **short), dummy(3, **short))
    ]
    mine, theirs = (model.policy.state_dict() for model in models)
    assert models[0]._n_updates == models[1]._n_updates > 1
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    episodes = [[(e["r"], e["l"]) for e in model.ep_info_buffer] for model in models]
    assert len(episodes[0]) > 3 and episodes[0] == episodes[1]


def test_its_episodes_are_those_of_the_monitors():
    env = SparseMultiDNNVecEnv(2, **TINY)
    model = MASKED("MlpPolicy", env, n_steps=8, batch_size=16, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.seed(0)
        mean, _ = evaluate_policy(model, env, 4)
    assert -1e6 < mean < 0
    with pytest.warns(UserWarning, match="already wrapped"):
        watched = VecMonitor(env)
    watched.seed(0)
    watched.reset()
    ended = []
    while len(ended) < 4:
        *_, infos = watched.step(np.zeros(2, np.int64))
        ended += [info for info in infos if info]
    for info in ended:
        objective = info["metrics"]["antt"] + 100 * info["metrics"]["violation_rate"]
        assert info["episode"]["r"] == pytest.approx(-objective, rel=1e-4)


def test_without_stable_baselines():
    program = """
import sys
sys.modules["stable_baselines3"] = None
import numpy as np
from dysta_gym import DystaError, agents
print(len(agents.evaluate(lambda seen, masks: masks.argmax(1), ["multi-attnn"], requests=2)))
try:
    agents.SparseMultiDNNVecEnv
except DystaError as error:
    print(error)
    assert isinstance(error, ImportError) and error.name == "stable_baselines3.common"
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    rows, message, torch_loaded = done.stdout.splitlines()
    assert (rows, torch_loaded) == ("5", "False")
    assert (
        "stable_baselines3.common is missing" in message
        and 'pip install "dysta-gym[agents]"' in message
    )
