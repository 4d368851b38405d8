"""Environments of several conditions as one, and rewards that are shaped and scaled."""

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
    from dysta_gym.agents.mixing import Priced, potential

SLOTS, SEED = 5, 40
SHARED = {"slots": SLOTS, "load": 1.3, "slo_multiplier": 3.0, "decisions": "events"}
PARTS = [
    (2, {"scenario": "multi-attnn", "requests": 6}),
    (1, {"scenario": "multi-cnn", "requests": 3, "penalty": 7.0}),
    (3, {"scenario": "mobile-assistant", "requests": 4, "level": "clairvoyant"}),
]
COUNTS = [count for count, _ in PARTS]
TOTAL = sum(COUNTS)
FIRST = [sum(COUNTS[:part]) for part in range(len(PARTS))]
PART = np.repeat(np.arange(len(PARTS)), COUNTS)
PRICES, REQUESTS, GAMMA = np.array([20.0, 5.0, 60.0]), np.array([6.0, 3.0, 4.0]), 0.9


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
    assert mixed.get_attr("penalty") == [100.0, 100.0, 7.0, 100.0, 100.0, 100.0]
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


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],
    ids=["copy", "pickle"],
)
def test_a_copy_goes_on(duplicate):
    env = Priced(MixedVecEnv(parts()), PRICES, REQUESTS, GAMMA)
    env.seed(SEED)
    env.reset()
    for _ in walk(env, 50):
        pass
    twin = duplicate(env)
    for prices in (PRICES, PRICES * 2):
        for each in (env, twin):
            each.price(prices)
        for one, other in zip(walk(env, 40), walk(twin, 40), strict=True):
            assert all(map(np.array_equal, one[:3], other[:3]))
            assert all(map(same, one[3], other[3]))
    env.price(PRICES)  # which is nothing to the twin
    assert twin.get_attr("penalty", 0) == [40.0]


# --- prices and rewards --------------------------------------------------------------------------


def owed(observations, prices=PRICES):
    return potential(observations, SLOTS, prices[PART]) / REQUESTS[PART]


def walk_priced(steps):
    """Rewards of `Priced`, and of a plain mixture that does the same; ends, observations, infos."""
    env, plain = Priced(MixedVecEnv(parts()), PRICES, REQUESTS, GAMMA), MixedVecEnv(parts())
    for part, price in zip(plain.parts, PRICES, strict=True):
        part.penalty = price
    for each in (env, plain):
        each.seed(SEED)
    first = env.reset()
    assert np.array_equal(first, plain.reset())
    taken = list(zip(walk(env, steps), walk(plain, steps), strict=True))
    for (*one, infos), (*other, others) in taken:
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[2], other[2])
        assert all(map(same, infos, others))
    scaled, plainly = (np.array([each[which][1] for each in taken]) for which in (0, 1))
    ended = np.array([each[0][2] for each in taken])
    return first, scaled, plainly, ended, [each[0][0] for each in taken], [t[0][3] for t in taken]


def test_shaped_rewards_sum_to_what_is_paid_and_what_was_owed():
    first, scaled, plainly, ended, observations, infos = walk_priced(200)
    # What is expected step by step: reward and change of the potential, over the root of the mean
    # square of the part's discounted returns so far.
    before, returns, squares = owed(first), np.zeros(TOTAL), []
    shaped = np.zeros_like(plainly, np.float64)
    for step, seen in enumerate(observations):
        after = owed(seen)
        shaped[step] = plainly[step] + np.where(ended[step], 0, after) - before
        returns = GAMMA * returns + shaped[step]
        squares.append([np.mean(of_part**2) for of_part in split(returns)])
        scale = np.sqrt(np.mean(squares, axis=0))[PART]
        np.testing.assert_allclose(scaled[step] * scale, shaped[step], rtol=1e-4, atol=1e-5)
        returns[ended[step]] = 0
        before = after
    # And over an episode: its return, less the potential of its first observation.
    episodes = 0
    for env in range(TOTAL):
        start, begun = 0, owed(first)[env]
        for end in np.flatnonzero(ended[:, env]):
            total = shaped[start : end + 1, env].sum()
            assert total == pytest.approx(infos[end][env]["episode"]["r"] - begun, abs=1e-4)
            start, begun = end + 1, owed(observations[end])[env]
            episodes += 1
    assert episodes > 5 * TOTAL
    # No condition outweighs the others.
    spread = [np.sqrt(np.mean(of_part**2)) for of_part in split(scaled.T)]
    paid = [np.sqrt(np.mean(of_part**2)) for of_part in split(plainly.T)]
    assert max(spread) / min(spread) < 2 < max(paid) / min(paid)


def test_prices_reach_the_environments():
    env, plain = Priced(MixedVecEnv(parts()), PRICES, REQUESTS, GAMMA), MixedVecEnv(parts())
    assert env.get_attr("penalty") == PRICES[PART].tolist()
    other = np.array([1.0, 90.0, 8.0])
    for each in (env, plain):
        each.seed(SEED)
        each.reset()
    env.price(other)
    assert env.get_attr("penalty") == other[PART].tolist() and env.prices.tolist() == other.tolist()
    for part, price in zip(plain.parts, other, strict=True):
        part.penalty = price
    ended = 0
    for (*_, infos), (*_, others) in zip(walk(env, 100), walk(plain, 100), strict=True):
        assert all(map(same, infos, others))
        ended += sum("episode" in info for info in infos)
    assert ended > TOTAL


def test_a_change_of_prices_is_no_reward():
    """The step after it is paid as if the prices had been so before."""
    steps, other = 30, PRICES * 3
    envs = [Priced(MixedVecEnv(parts()), PRICES, REQUESTS, GAMMA) for _ in range(2)]
    for env in envs:
        env.seed(SEED)
        observations = env.reset()
        for observations, *_ in walk(env, steps):  # noqa: B007
            pass
    changed, twin = envs
    before = owed(observations, other)
    changed.price(other)
    ((after, rewards, ended, _),) = walk(changed, 1, seed=2)
    plain = twin.unwrapped
    for part, price in zip(plain.parts, other, strict=True):
        part.penalty = price
    ((_, plainly, _, _),) = walk(plain, 1, seed=2)
    shaped = plainly + np.where(ended, 0, owed(after, other)) - before
    scale = [np.median(of_part) for of_part in split(rewards / shaped)]
    np.testing.assert_allclose(rewards / shaped, np.array(scale)[PART], rtol=1e-3)


def test_the_potential_of_a_queue_that_can_be_worked_out():
    env = SparseMultiDNNVecEnv(3, **SHARED, scenario="multi-attnn", requests=1, level="clairvoyant")
    env.seed(0)
    observations = env.reset()  # in each, one request that runs alone from now on
    owed = [potential(observations, SLOTS, np.full(3, price)) for price in (0.0, 1.0, 50.0)]
    assert owed[0] == pytest.approx(np.full(3, -1.0), abs=1e-4)
    # It has three isolated latencies to its deadline, and so is hardly likely to miss it.
    assert (owed[0] - owed[1] > 0).all() and (owed[0] - owed[1] < 0.05).all()
    assert owed[0] - owed[2] == pytest.approx(50 * (owed[0] - owed[1]))
    nothing = potential(np.zeros_like(observations), SLOTS, np.full(3, 50.0))
    assert nothing.tolist() == [0, 0, 0]


def test_maskable_ppo_learns_on_it():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    env = Priced(MixedVecEnv(parts()), PRICES, REQUESTS, GAMMA)
    usual = {"n_steps": 16, "batch_size": 24, "n_epochs": 2, "seed": 0, "device": "cpu"}
    model = contrib.MaskablePPO(ScoringPolicy, env, policy_kwargs={"width": 4}, **usual)
    before = model.policy.scorer.weights()
    model.learn(2 * 16 * TOTAL)
    assert np.isfinite(model.policy.scorer.weights()).all()
    assert not np.array_equal(model.policy.scorer.weights(), before)
    assert len(model.ep_info_buffer) > 0
    torch.set_num_threads(threads)
