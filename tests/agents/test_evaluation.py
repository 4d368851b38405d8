"""Judging agents in batches, against `compare` and against the environment, one at a time."""

import warnings

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest

from dysta_gym import Feature, aggregate, compare, generate, load_scenario, summarise
from dysta_gym.agents import evaluate
from dysta_gym.features import DEFAULT
from dysta_gym.figures import trade_off

ID = "SparseMultiDNN-v0"
TINY = {"scenarios": ["multi-attnn"], "requests": 5, "slots": 4, "seeds": range(3)}
NARROW = {"requests": 5, "slots": 4}
USUAL = {"level": "monitored", "features": DEFAULT, "decisions": "layers"}
"""What environments show unless they are told otherwise."""


def oldest(observations, masks):
    return np.zeros(len(observations), np.int64)


def shortest(observations, masks):
    """The request of least remaining latency, as far as a float32 tells."""
    slots = masks.shape[1]
    remaining = observations[:, : 12 * slots].reshape(len(masks), slots, 12)[:, :, 1]
    return np.where(masks, remaining, 2).argmin(axis=1)


@pytest.mark.parametrize("batch", [256, 7, 1])
@pytest.mark.parametrize("requests", [20, 2])
def test_first_come_is_that_of_compare(batch, requests):
    usual = {
        "scenarios": ["multi-attnn", load_scenario("mobile-assistant"), "arvr-hands"],
        "slos": [2, 10],
        "seeds": [4, 0, 9],
        "requests": requests,
    }
    offers = {"loads": [0.8, "heavy"]} if batch != 7 else {"rates": [80.0], "split": "train"}
    progress = []
    mine = evaluate(
        oldest, **usual, **offers, batch=batch, name="fcfs", progress=lambda *n: progress.append(n)
    )
    theirs = compare(policies=["fcfs@monitored"], **usual, **offers)
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    assert progress == [(done, len(mine)) for done in range(1, len(mine) + 1)]


def test_a_column_of_compare_is_as_good_as_a_policy():
    usual = {"scenarios": ["multi-attnn", "multi-cnn"], "requests": 60, "seeds": range(4)}
    frame = pd.concat(
        [compare(policies=["fcfs", "sjf@monitored"], **usual), evaluate(shortest, **usual)]
    )
    antt = frame.pivot(index=["scenario", "seed"], columns="policy", values="antt")
    mine = antt["shortest@monitored"]
    assert mine.to_numpy() == pytest.approx(antt["sjf@monitored"].to_numpy(), rel=0.02)
    by_scenario = antt.groupby("scenario").mean()
    assert (by_scenario["shortest@monitored"] < by_scenario["fcfs"]).all()
    assert set(summarise(frame, ["antt"])["policy"]) == set(antt)
    assert set(aggregate(frame, ["antt"])["policy"]) == set(antt)


@pytest.mark.parametrize("level", ["static", "clairvoyant"])
@pytest.mark.parametrize("slots", [2, 16])
def test_it_plays_what_a_single_environment_plays(level, slots):
    scenario = load_scenario("multi-attnn").varied(requests=12, load=1.4)
    frame = evaluate(shortest, [scenario], seeds=range(9), level=level, slots=slots, split="all")
    env = gym.make("SparseMultiDNN-v0", scenario=scenario, level=level, slots=slots, split="all")
    for row in frame.to_dict("records"):
        workload = generate(scenario, row["seed"], split="all")
        observation, info = env.reset(options={"workload": workload})
        ended = False
        while not ended:
            action = shortest(observation[None], info["action_mask"][None])[0]
            observation, _, ended, _, info = env.step(action)
        assert {name: row[name] for name in info["metrics"]} == info["metrics"]


class Model:
    """What a model of Stable-Baselines3 looks like."""

    def __init__(self, choose=shortest, *, slots=4):
        self.choose = choose
        self.action_space = gym.spaces.Discrete(slots)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        slots = self.action_space.n
        return self.choose(observation, observation[:, : 12 * slots : 12] > 0), None


class Masked(Model):
    def predict(
        self, observation, state=None, episode_start=None, deterministic=False, action_masks=None
    ):
        assert deterministic
        return self.choose(observation, action_masks), None


class Recurrent(Model):
    """Takes turns between the two oldest requests."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        turn = np.zeros(len(observation), np.int64) if state is None else state
        assert (state is None) == (episode_start is None)
        return turn, 1 - turn


def same_metrics(one, other):
    pd.testing.assert_frame_equal(one.drop(columns="policy"), other.drop(columns="policy"))


def test_models():
    expected = evaluate(shortest, **TINY)
    for model in (Model(), Masked()):
        frame = evaluate(model, **TINY, **USUAL)
        assert set(frame["policy"]) == {f"{type(model).__name__}@monitored"}
        same_metrics(frame, expected)
    turns = []

    def in_turn(observations, masks):
        turns.append(len(turns) % 2)
        return np.full(len(masks), turns[-1])

    same_metrics(evaluate(Recurrent(), **TINY, **USUAL), evaluate(in_turn, **TINY))


def test_models_of_stable_baselines():
    with warnings.catch_warnings():  # what they warn of while they are imported is not ours
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        ppo = pytest.importorskip("stable_baselines3").PPO
        masked = pytest.importorskip("sb3_contrib").MaskablePPO
        from stable_baselines3.common.vec_env import VecNormalize

        from dysta_gym.agents import SparseMultiDNNVecEnv
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    env = SparseMultiDNNVecEnv(2, **NARROW)
    normalised = VecNormalize(env)
    usual = {"n_steps": 32, "batch_size": 64, "device": "cpu", "seed": 0}
    model = masked("MlpPolicy", env, **usual)
    seen = []

    def by_hand(observations, masks):
        seen.append(masks.any(axis=1).all())
        return model.predict(observations, action_masks=masks, deterministic=True)[0]

    same_metrics(evaluate(model, **TINY), evaluate(by_hand, **TINY))
    assert all(seen)
    unmasked = ppo("MlpPolicy", normalised, **usual).learn(64)
    before = normalised.obs_rms.mean.copy()

    def normalising(observations, masks):
        return unmasked.predict(normalised.normalize_obs(observations), deterministic=True)[0]

    same_metrics(evaluate(unmasked, **TINY), evaluate(normalising, **TINY))
    assert np.array_equal(normalised.obs_rms.mean, before)
    torch.set_num_threads(threads)


def test_a_model_is_judged_on_what_it_was_trained_on(tmp_path, refused):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        ppo = pytest.importorskip("stable_baselines3").PPO
        masked = pytest.importorskip("sb3_contrib").MaskablePPO
        from stable_baselines3.common.monitor import Monitor
        from stable_baselines3.common.vec_env import (
            DummyVecEnv,
            SubprocVecEnv,
            VecFrameStack,
            VecNormalize,
        )

        from dysta_gym.agents import MixedVecEnv, ScoringPolicy, SparseMultiDNNVecEnv
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    scoring = {"n_steps": 8, "batch_size": 8, "device": "cpu", "seed": 0}
    told = {"level": "sized/kalman", "slots": 4, "decisions": "events", "requests": 5}
    told["features"] = ["present", "size", "remaining", "slack", "length"]
    seen = {key: value for key, value in told.items() if key != "requests"}
    workloads = {key: value for key, value in TINY.items() if key != "slots"}
    many, single = (
        SparseMultiDNNVecEnv(2, **told),
        lambda: Monitor(gym.make(f"dysta_gym:{ID}", **told)),
    )
    for kind, policy, env in (
        (ppo, "MlpPolicy", gym.make(ID, **told)),
        (ppo, "MlpPolicy", VecNormalize(DummyVecEnv([single] * 2), norm_obs=False)),
        (ppo, "MlpPolicy", SubprocVecEnv([single])),
        (masked, ScoringPolicy, many),
        (masked, ScoringPolicy, MixedVecEnv([many, SparseMultiDNNVecEnv(1, **told)])),
    ):
        model = kind(policy, env, **scoring)
        model.save(tmp_path / "model.zip")
        saved = kind.load(tmp_path / "model.zip", device="cpu")
        frame = evaluate(model, **workloads)
        assert set(frame["policy"]) == {f"{kind.__name__}@sized/kalman"}
        pd.testing.assert_frame_equal(evaluate(saved, **workloads, **seen), frame)
        with refused("level", "'monitored'", "'sized/kalman'"):
            evaluate(saved, **workloads, level="monitored")
        env.close()
    assert "@sized" in {text.get_text() for text in trade_off(frame).legends[0].get_texts()}
    # Where it learns at two levels, or goes on at another one, nobody knows which counts.
    other = SparseMultiDNNVecEnv(1, **{**told, "level": "monitored"})
    both = masked(ScoringPolicy, MixedVecEnv([many, other]), **scoring)
    went_on = masked.load(tmp_path / "model.zip", other, device="cpu")
    for model in (both, went_on):
        with refused("agent", "give level"):
            evaluate(model, **workloads)
        pd.testing.assert_frame_equal(
            evaluate(model, **workloads, level="sized/kalman"),
            evaluate(model, **workloads, **seen),
        )
    with refused("features", "['present', 'size']", "'length'"):
        masked(ScoringPolicy, many, policy_kwargs={"features": ["present", "size"]}, **scoring)
    with refused("features", "'hurry'", "policy_kwargs"):
        masked(ScoringPolicy, SparseMultiDNNVecEnv(1, features=["present", HURRY]), **scoring)
    stacked = ppo("MlpPolicy", VecFrameStack(many, 2), **scoring)
    with refused("agent", "give level, features, decisions"):
        evaluate(stacked, **workloads)
    torch.set_num_threads(threads)


def test_an_interruption_reaches_the_caller():
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(oldest, **TINY, progress=interrupt)
    assert len(evaluate(oldest, **TINY)) == 3


class Stacked(Model):
    observation_space = gym.spaces.Box(0, 1, (108,))


class Told(Model):
    """A model with the space that an environment gave it."""

    def __init__(self, **changes):
        super().__init__()
        told = {"level": "sized/kalman", "slots": 4, "decisions": "events", **changes}
        self.observation_space = gym.make(ID, **told).observation_space


def _hurry(queue, i, whole):
    return queue.priority[i]


HURRY = Feature("hurry", "", _hurry, 0, 9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"agent": 3}, ["agent", "3", "predict", "function"]),
        ({"agent": Model(slots=8), **USUAL}, ["agent", "Discrete(8)", "slots=4", "slots=8"]),
        ({"agent": Stacked(), **USUAL}, ["agent", "(108,)", "(54,)"]),
        ({"agent": Model()}, ["agent", "give level, features, decisions"]),
        ({"agent": Model(), "level": "static"}, ["agent", "give features, decisions"]),
        ({"agent": Told(), "level": "static"}, ["level", "'static'", "'sized/kalman'"]),
        ({"agent": Told(), "decisions": "layers"}, ["decisions", "'layers'", "'events'"]),
        ({"agent": Told(), "features": ["present"]}, ["features", "['present']", "'remaining'"]),
        ({"agent": Told(), "slots": 5}, ["slots", "5", "trained with 4"]),
        ({"agent": Told(features=[HURRY, "present"])}, ["agent", "'hurry'", "give features"]),
        ({"agent": lambda seen, masks: masks}, ["actions", "bool"]),
        ({"agent": lambda seen, masks: np.full(len(masks), 4)}, ["actions", "4", "0 to 3"]),
        ({"batch": 0}, ["batch", "0", "above 0"]),
        ({"batch": 2.5}, ["batch", "2.5", "whole"]),
        ({"level": "oracle"}, ["level", "'oracle'"]),
        ({"slots": 0}, ["slots", "0"]),
        ({"scenarios": []}, ["scenario", "at least one"]),
        ({"seeds": []}, ["seeds", "at least one"]),
        ({"seeds": [1, 1]}, ["seed", "1", "once"]),
        ({"loads": [0.0]}, ["load", "0.0"]),
        ({"split": "half"}, ["split", "'half'"]),
    ],
    ids=lambda each: "-".join(each),
)
def test_arguments_that_are_refused(refused, arguments, words):
    usual = {"agent": oldest, **TINY}
    with refused(*words):
        evaluate(**(usual | arguments))
