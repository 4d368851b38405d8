"""Environments of several conditions as one, and rewards that are scaled."""

import copy
import pickle
import warnings
from itertools import chain

import numpy as np
import pytest

from dysta_gym import generate, load_scenario

with warnings.catch_warnings():  # what they warn of while they are imported is not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pytest.importorskip("stable_baselines3")
    contrib = pytest.importorskip("sb3_contrib")
    from stable_baselines3.common.monitor import Monitor

    from dysta_gym.agents import MixedVecEnv, ScoringPolicy, SparseMultiDNNVecEnv
    from dysta_gym.agents.mixing import Scaled

SLOTS, SEED = 5, 40
SHARED = {"slots": SLOTS, "load": 1.3, "slo_multiplier": 3.0, "decisions": "events"}
PARTS = [
    (2, {"scenario": "multi-attnn", "requests": 6, "penalty": 20.0}),
    (1, {"scenario": "multi-cnn", "requests": 3, "penalty": 5.0}),
    (3, {"scenario": "mobile-assistant", "requests": 4, "level": "clairvoyant", "penalty": 60.0}),
]
COUNTS = [count for count, _ in PARTS]
TOTAL = sum(COUNTS)
FIRST = [sum(COUNTS[:part]) for part in range(len(PARTS))]
PART = np.repeat(np.arange(len(PARTS)), COUNTS)
GAMMA = 0.9


def parts():
    return [SparseMultiDNNVecEnv(count, **SHARED, **more) for count, more in PARTS]


def split(values):
    """Those of each part."""
    return [values[first : first + count] for first, count in zip(FIRST, COUNTS, strict=True)]


def same(one, other):
    """Whether infos, at any depth, are equal to the last bit, but for times."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(one[key], other[key]) for key in one if key != "t"
        )
    return type(one) is type(other) and np.array_equal(one, other)


def walk(env, steps, seed=0):
    """What it returns for actions that are possible, chosen at random."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        masks = env.env_method("action_masks")
        yield env.step(np.array([rng.choice(np.flatnonzero(mask)) for mask in masks]))


def check_steps(mixed, alone, steps=120):
    """Step the mixture, and its parts alone, with the same actions; how many episodes end."""
    rng, ended = np.random.default_rng(1), 0
    for _ in range(steps):
        masks = mixed.action_masks()
        assert np.array_equal(masks, np.concatenate([env.action_masks() for env in alone]))
        actions = rng.integers(SLOTS, size=TOTAL)  # now and then an empty slot
        observations, rewards, dones, infos = mixed.step(actions)
        steps = [env.step(chosen) for env, chosen in zip(alone, split(actions), strict=True)]
        *arrays, reports = zip(*steps, strict=True)
        for have, want in zip((observations, rewards, dones), arrays, strict=True):
            assert have.dtype == want[0].dtype and np.array_equal(have, np.concatenate(want))
        assert all(map(same, infos, chain(*reports)))
        assert all(map(same, mixed.reset_infos, chain(*(env.reset_infos for env in alone))))
        ended += dones.sum()
    return ended


def test_it_is_its_parts_side_by_side():
    mixed, alone = MixedVecEnv(parts()), parts()
    assert mixed.num_envs == TOTAL and len(mixed.parts) == 3
    assert mixed.observation_space == alone[0].observation_space
    assert mixed.action_space == alone[0].action_space
    for seed in (SEED, None, SEED + 1):  # without one, of each environment's own stream
        if seed is not None:
            mixed.seed(seed)
            for env, first in zip(alone, FIRST, strict=True):
                env.seed(seed + first)
        observations = mixed.reset()
        assert np.array_equal(observations, np.concatenate([env.reset() for env in alone]))
        assert all(map(same, mixed.reset_infos, chain(*(env.reset_infos for env in alone))))
        assert check_steps(mixed, alone) > 5 * TOTAL
    mixed.close()


def test_options_are_for_the_right_part_and_the_next_reset(refused):
    mixed, alone = MixedVecEnv(parts()), parts()
    given = [
        {"workload": generate(load_scenario(more["scenario"]).varied(requests=count + 2), 9)}
        for count, more in PARTS
        for _ in range(count)
    ]
    given[FIRST[1]] = {}  # for the second part, there are none
    for options in (given, None):
        mixed.seed(SEED)
        mixed.set_options(options)
        for env, first, own in zip(alone, FIRST, split(given), strict=True):
            env.seed(SEED + first)
            env.set_options(own if options else None)
        for _ in range(2):  # the second time, drawn
            observations = mixed.reset()
            assert np.array_equal(observations, np.concatenate([env.reset() for env in alone]))
            check_steps(mixed, alone, 20)
    with refused("options", "2", str(TOTAL)):
        mixed.set_options([{}, {}])
    with refused("options", "'worklod'"):
        mixed.set_options({"worklod": 3})
        mixed.reset()


def test_attributes_and_methods_are_those_of_the_right_part(refused):
    mixed = MixedVecEnv(parts())
    mixed.reset()
    names = [more["scenario"] for count, more in PARTS for _ in range(count)]
    assert [scenario.name for scenario in mixed.get_attr("scenario")] == names
    assert mixed.get_attr("penalty") == [20.0, 20.0, 5.0, 60.0, 60.0, 60.0]
    assert mixed.get_attr("level", [2, 5]) == ["monitored", "clairvoyant"]
    mixed.set_attr("tag", "odd", indices=[1, 2])
    mixed.set_attr("tag", "last", indices=5)
    mixed.set_attr("tag", "other", indices=[0, 3, 4])
    assert mixed.get_attr("tag") == ["other", "odd", "odd", "other", "other", "last"]
    assert mixed.get_attr("tag", [5, 0]) == ["last", "other"]
    assert mixed.env_is_wrapped(Monitor) == [True] * TOTAL
    assert mixed.env_is_wrapped(Monitor, [4]) == [True]
    for indices in (None, 3, [5, 1]):
        chosen = mixed.action_masks()[range(TOTAL) if indices is None else np.atleast_1d(indices)]
        assert np.array_equal(mixed.env_method("action_masks", indices=indices), chosen)
    with pytest.raises(AttributeError):
        mixed.get_attr("nothing")
    with refused("set_attr", "'level'"):
        mixed.set_attr("level", "static")


def test_mixtures_that_are_refused(refused):
    with refused("parts", "none"):
        MixedVecEnv([])
    with refused("parts", "Discrete(5)", "Discrete(6)", "slots"):
        MixedVecEnv([*parts(), SparseMultiDNNVecEnv(1, **{**SHARED, "slots": 6})])
    with refused("parts", "features"):
        MixedVecEnv([*parts(), SparseMultiDNNVecEnv(1, **SHARED, features=["size"])])


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],
    ids=["copy", "pickle"],
)
def test_a_copy_goes_on(duplicate):
    env = Scaled(MixedVecEnv(parts()), GAMMA)
    env.seed(SEED)
    env.reset()
    for _ in walk(env, 50):
        pass
    twin = duplicate(env)
    for penalty in (20.0, 40.0):
        for each in (env, twin):
            each.venv.parts[0].penalty = penalty
        for one, other in zip(walk(env, 40), walk(twin, 40), strict=True):
            assert all(map(np.array_equal, one[:3], other[:3]))
            assert all(map(same, one[3], other[3]))
    env.venv.parts[0].penalty = 20.0  # which is nothing to the twin
    assert twin.get_attr("penalty", 0) == [40.0]


# --- rewards -------------------------------------------------------------------------------------


def beside_plain(steps):
    """Rewards of `Scaled`, and of a plain mixture; and where episodes end."""
    env, plain = Scaled(MixedVecEnv(parts()), GAMMA), MixedVecEnv(parts())
    for each in (env, plain):
        each.seed(SEED)
    assert np.array_equal(env.reset(), plain.reset())
    scaled, plainly, ends = [], [], []
    for one, other in zip(walk(env, steps), walk(plain, steps), strict=True):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[2], other[2])
        assert all(map(same, one[3], other[3]))
        scaled.append(one[1])
        plainly.append(other[1])
        ends.append(one[2])
    return np.array(scaled), np.array(plainly), np.array(ends)


def test_rewards_are_of_one_size():
    scaled, plainly, ended = beside_plain(200)
    # What is expected step by step: the reward over the root of the mean square of the part's
    # discounted returns so far.
    returns, squares = np.zeros(TOTAL), []
    for step, paid in enumerate(plainly):
        returns = GAMMA * returns + paid
        squares.append([np.mean(of_part**2) for of_part in split(returns)])
        scale = np.sqrt(np.mean(squares, axis=0))[PART]
        np.testing.assert_allclose(scaled[step] * scale, paid, rtol=1e-4, atol=1e-5)
        returns[ended[step]] = 0
    assert ended.sum() > 5 * TOTAL
    # No condition outweighs the others.
    spread = [np.sqrt(np.mean(of_part**2)) for of_part in split(scaled.T)]
    paid = [np.sqrt(np.mean(of_part**2)) for of_part in split(plainly.T)]
    assert max(spread) / min(spread) < 2 < max(paid) / min(paid)


def test_maskable_ppo_learns_on_it():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    env = Scaled(MixedVecEnv(parts()), GAMMA)
    usual = {"n_steps": 16, "batch_size": 24, "n_epochs": 2, "seed": 0, "device": "cpu"}
    model = contrib.MaskablePPO(ScoringPolicy, env, policy_kwargs={"width": 4}, **usual)
    before = model.policy.scorer.weights()
    model.learn(2 * 16 * TOTAL)
    assert np.isfinite(model.policy.scorer.weights()).all()
    assert not np.array_equal(model.policy.scorer.weights(), before)
    assert len(model.ep_info_buffer) > 0
    torch.set_num_threads(threads)
