"""Learned scores against what their docstrings say, in plain NumPy, and against torch."""

import warnings
from dataclasses import replace

import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numba import types

from dysta_gym import Machine, compare, simulate
from dysta_gym.agents import Checkpoint, evaluate
from dysta_gym.agents.networks import NETWORKS
from dysta_gym.compiled.functions import compiled
from dysta_gym.describing import describer
from dysta_gym.features import DEFAULT, SCHEDULING, TABLE, select
from dysta_gym.machine.queue import QUEUE_TYPE
from dysta_gym.uncertainty import gittins_index

with warnings.catch_warnings():  # what they warn of while they are imported is not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pytest.importorskip("stable_baselines3")
    contrib = pytest.importorskip("sb3_contrib")

    from dysta_gym.agents import ScoringPolicy, SparseMultiDNNVecEnv
    from dysta_gym.agents.reinforcement import MaskedDQN
    from dysta_gym.agents.scoring import Scorer, ScoringQPolicy, Sight

SEEN_OF_A_REQUEST, SEEN_OF_THE_QUEUE = 8, 4
LEAST = 1e-3
ALL = tuple(name for name, each in TABLE.own.items() if not each.environment_only)
SHOWN = ("present", *SCHEDULING)
LEVELS = ("static", "sized/kalman", "monitored", "monitored/kalman", "clairvoyant")


# --- in plain NumPy ------------------------------------------------------------------------------


def features(machine):
    """Features of each request, shape ``(requests, 8)``, and of the queue, shape ``(4,)``."""
    queue, now, unit, size = machine.queue, machine.now, machine.mean_isolated_s, machine.size
    columns = (
        "arrival", "deadline", "remaining", "isolated", "correction", "executed", "layers",
        "last_run",
    )  # fmt: skip
    arrival, deadline, remaining, isolated, correction, executed, layers, last_run = (
        getattr(queue, name)[:size] for name in columns
    )
    whole = isolated * correction
    margin = deadline - now - remaining
    slack = margin / np.maximum(whole, LEAST * unit)
    on_time = remaining[margin >= 0].sum()
    of_requests = [
        np.log(np.maximum(remaining / unit, LEAST)) / 2,
        np.log(np.maximum(whole / unit, LEAST)) / 2,
        margin < 0,
        slack / (1 + abs(slack)),
        slack / (8 + abs(slack)),
        (last_run > arrival) & (last_run == now),
        margin / np.maximum(abs(margin) + on_time, LEAST * unit),
        executed / layers,
    ]
    of_queue = [
        np.log(1 + remaining.sum() / unit) / 2,
        np.log(1 + on_time / unit) / 2,
        np.log(1 + size) / 2,
        np.mean(margin >= 0),
    ]
    return (
        np.stack(of_requests, 1).astype(np.float32).astype(float),
        np.array(of_queue, np.float32).astype(float),
    )


def split(weights, *shapes):
    """Arrays of these shapes, one after the other."""
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    assert ends[-1] == len(weights)
    parts = np.split(weights, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def tiny(x, c, width, weights, tilt):
    f, k = SEEN_OF_A_REQUEST, SEEN_OF_THE_QUEUE
    hidden, line = split(weights, (width, f + k + 2), (f,))
    of_x, of_c, bias, out = np.split(hidden, [f, f + k, f + k + 1], axis=1)
    a = x @ of_x.T + of_c @ c + bias[:, 0]
    return x @ line + a / (1 + abs(a)) @ out[:, 0] + tilt * x[:, :2].sum(1)


def conditioned(x, c, width, weights, preference):
    f, k = SEEN_OF_A_REQUEST + 1, SEEN_OF_THE_QUEUE + 1  # doubt, and the preference
    hidden, line, turned = split(weights, (width, f + k + 3), (f,), (f,))
    of_x, of_c, rest = np.split(hidden, [f, f + k], axis=1)
    a = x @ of_x.T + of_c @ [*c, preference] + rest[:, 0]
    out = rest[:, 1] + preference * rest[:, 2]
    return (1 - preference) * (x @ (line + preference * turned) + a / (1 + abs(a)) @ out)


def pooled(x, c, width, weights, tilt):
    f, k, square = SEEN_OF_A_REQUEST, SEEN_OF_THE_QUEUE, (width, width)
    embed, bias, inner, inner_bias, pool, out, offset, skip = split(
        weights, (width, f + k), (width,), square, (width,), square, (width,), (), (f,)
    )
    e = np.maximum(x @ embed[:, :f].T + embed[:, f:] @ c + bias, 0)
    hidden = np.maximum(e @ inner.T + pool @ e.mean(axis=0) + inner_bias, 0)
    return tilt * x[:, :2].sum(1) - (x @ skip + offset + hidden @ out)


def products(machine, level):
    """``R I`` of the requests that wait, and ``G`` in its place where sizes are uncertain."""
    certain = machine.queue.remaining[: machine.size] * machine.queue.isolated[: machine.size]
    workload, waiting = machine.workload, machine.queue.request[: machine.size]
    index = gittins_index(workload.store, level, workload.reference)
    cells = machine.jobs.first_cell[waiting] + machine.queue.executed[: machine.size]
    return certain, index[cells]


def doubt(certain, index):
    """The last feature that a conditioned network sees."""
    known = (certain > 0) & (index > 0)
    ratio = np.divide(index, certain, out=np.ones_like(index), where=known)
    return np.clip(np.log(ratio) / 2, -3.5, 3.5)


PLAIN = {"tiny": tiny, "conditioned": conditioned, "pooled": pooled}


def count(kind, width):
    return NETWORKS[kind].weights(width, select(SCHEDULING))


@pytest.mark.parametrize(
    ("kind", "width"),
    [
        ("tiny", 0),
        ("tiny", 8),
        ("conditioned", 0),
        ("conditioned", 5),
        ("pooled", 1),
        ("pooled", 5),
    ],
)
@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), level=st.sampled_from(LEVELS))
def test_scores_are_those_of_the_formulas(workloads, kind, width, data, seed, level):
    workload = data.draw(workloads(max_requests=20, idle_layers=True, limits=True))
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=NETWORKS[kind].weights(width, select(SCHEDULING))) * rng.choice(
        [0.3, 3.0]
    )
    turned = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    of = {"preference" if kind == "conditioned" else "tilt": turned}
    policy = Checkpoint("mine", kind, width, SCHEDULING, weights, level).policy().at(level, **of)
    always = replace(policy, events=False)  # asked after every layer
    machine = Machine(workload, level)
    values = policy.values(machine.mean_isolated_s)
    assert values.tolist() == [machine.mean_isolated_s, turned, width, *weights]
    values = machine.values_for(policy)
    while not machine.done:
        scores = np.full(machine.size + 1, np.nan)
        policy.score(machine.queue, machine.size, machine.now, values, scores)
        assert np.isnan(scores[machine.size])
        x, c = features(machine)
        certain, index = products(machine, level)
        if kind == "conditioned":
            x = np.hstack([x, doubt(certain, index)[:, None]])
        if kind == "conditioned" and turned == 1:
            expected = index  # that of `gittins`, to the last bit
            assert scores[:-1].tolist() == expected.tolist()
        else:
            expected = PLAIN[kind](x, c, width, weights, turned)
            if kind == "conditioned":
                least = np.log(np.maximum(index / machine.mean_isolated_s**2, 1e-300))
                expected = expected + turned * 3.5 * least
            np.testing.assert_allclose(scores[:-1], expected, rtol=1e-6, atol=1e-6)
        chosen = machine.choose(always)  # by the compiled rule
        assert expected[chosen] <= expected.min() + 1e-6 * (1 + abs(expected.min()))
        machine.step(chosen)


@pytest.mark.parametrize(("kind", "width"), [("tiny", 3), ("conditioned", 3), ("pooled", 3)])
@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_the_compiled_rule_makes_the_schedule_of_the_plain_one(workloads, kind, width, data, seed):
    workload = data.draw(workloads(idle_layers=True))
    weights = np.random.default_rng(seed).normal(
        size=NETWORKS[kind].weights(width, select(SCHEDULING))
    )
    policy = Checkpoint("mine", kind, width, SCHEDULING, weights, "monitored").policy()
    one, other = (
        simulate(workload, each, record=True)
        for each in (policy, replace(policy, interpreted=True))
    )
    assert one.ran.tolist() == other.ran.tolist()
    assert one.finish_s.tolist() == other.finish_s.tolist()


# --- in torch ------------------------------------------------------------------------------------

WIDTH, SLOTS = 6, 60
NETWORK = {"width": WIDTH, "features": SHOWN}


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small are slower with more, and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("names", [SHOWN, DEFAULT, ("present", *ALL)], ids=["few", "usual", "all"])
@pytest.mark.parametrize("scenario", ["multi-attnn", "multi-cnn", "language-bursts"])
def test_what_is_trained_on_is_what_is_decided_on(scenario, names):
    """Features to the last bit of float32, and so the scores of torch and of the compiled rule."""
    names = tuple(dict.fromkeys(names))
    usual = {"level": "sized/kalman", "decisions": "events", "requests": SLOTS, "slots": SLOTS}
    env = gym.make("SparseMultiDNN-v0", scenario=scenario, load=1.05, features=names, **usual)
    torch.manual_seed(0)
    sight = Sight(names)
    scorer = Scorer(WIDTH, sight.policy)
    with torch.no_grad():
        for part in scorer.parameters():
            part.normal_()
    policy = Checkpoint(
        "mine", "pooled", WIDTH, sight.policy.names, scorer.weights(), usual["level"]
    ).policy()
    describe = compiled_describer(sight.policy)
    rng, shown = np.random.default_rng(0), 0
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        ended = False
        while not ended:
            machine = env.unwrapped.machine
            seen, size = sight(torch.as_tensor(observation)[None]), machine.size
            assert seen.count == len(seen.requests) == size
            of_requests = np.empty(len(sight.policy.requests) * size, np.float32)
            of_queue = np.empty(len(sight.policy.queue), np.float32)
            describe(
                machine.queue, size, machine.now, machine.mean_isolated_s, of_requests, of_queue
            )
            assert of_requests.reshape(-1, size).T.tolist() == seen.requests.tolist()
            assert of_queue.tolist() == seen.queue[0].tolist()
            scores = np.empty(size)
            with torch.no_grad():
                trained = scorer(seen).numpy()
            view = machine.queue, size, machine.now
            policy.score(*view, policy.values(machine.mean_isolated_s), scores)
            assert (-scores).astype(np.float32).tolist() == trained.tolist()
            shown += size
            observation, _, ended, _, _ = env.step(int(rng.integers(min(size, 4))))
    assert shown > 300


def compiled_describer(selection):
    """The features as compiled rules compute them."""
    describe = describer(selection)
    single = types.float32[::1]
    signature = types.void(QUEUE_TYPE, types.int64, *(types.float64,) * 2, single, single)

    def run(queue, size, now, unit, requests, whole):
        describe(queue, size, now, unit, requests, whole)

    return compiled(signature, cache=False)(run)


def test_sights_that_are_refused(refused):
    with refused("features", "'present'", "missing"):
        Sight(SCHEDULING)
    with refused("features", "request"):
        Sight(["present", "priority", "length"])
    with refused("features", "7 numbers", "5 of the queue"):
        Sight([*SHOWN, "behind"])(torch.zeros(2, 7))


def of_itself(level):
    sight = Sight(SHOWN)
    scorer = Scorer(WIDTH, sight.policy)

    def greedy(observations, masks):
        seen = sight(torch.as_tensor(observations))
        assert np.array_equal(seen.taken.numpy(), masks)
        with torch.no_grad():
            return seen.scores(scorer(seen)).argmax(1).numpy()

    return greedy, scorer


def of_ppo(level):
    env = SparseMultiDNNVecEnv(1, level=level, slots=SLOTS, decisions="events", features=SHOWN)
    usual = {"n_steps": 8, "policy_kwargs": NETWORK, "device": "cpu", "seed": 1}
    model = contrib.MaskablePPO(ScoringPolicy, env, **usual)
    return model, model.policy.scorer


def of_dqn(level):
    env = SparseMultiDNNVecEnv(1, level=level, slots=SLOTS, decisions="events", features=SHOWN)
    usual = {"buffer_size": 8, "policy_kwargs": NETWORK, "device": "cpu", "seed": 2}
    model = MaskedDQN(ScoringQPolicy, env, **usual)
    return model, model.q_net.scorer


@pytest.mark.parametrize("level", ["sized/kalman", "monitored"])
@pytest.mark.parametrize("make", [of_itself, of_ppo, of_dqn])
def test_what_is_trained_is_what_is_judged(make, level):
    torch.manual_seed(0)
    agent, scorer = make(level)
    with torch.no_grad():
        for part in scorer.parameters():  # as they are made, all requests score about the same
            part.normal_()
    usual = {
        "scenarios": ["multi-attnn", "multi-cnn", "datacenter-vision"],
        "loads": [1.05],
        "seeds": range(8),
        "requests": SLOTS,  # so that all of them can be chosen from
    }
    checkpoint = Checkpoint("mine", "pooled", WIDTH, SCHEDULING, scorer.weights(), level)
    mine = compare(policies=[checkpoint.policy(), "fcfs"], **usual)
    judged, first_come = (mine[mine["policy"] == name] for name in mine["policy"].unique())
    seen = {"level": level, "slots": SLOTS, "decisions": "events", "features": SHOWN}
    trained = evaluate(agent, **seen, **usual)
    metrics = ["violation_rate", "antt", "preemptions"]
    ours, theirs, others = (each[metrics].to_numpy() for each in (judged, trained, first_come))
    # Actions go by scores in float32, so what ties in it may be broken in another way: seldom.
    assert (ours == theirs).all(axis=1).mean() >= 0.95, (ours, theirs)
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), rtol=0.001)
    assert np.isclose(ours, others, rtol=1e-3).all(axis=1).mean() <= 0.1
