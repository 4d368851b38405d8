"""What a model is worth while it learns, logged and printed, and how training ends early."""

import re
import signal
import threading
import warnings

import gymnasium as gym
import numpy as np
import pytest

from dysta_gym import compare, load_scenario
from dysta_gym.agents import evaluate

with warnings.catch_warnings():  # what they warn of while they are imported is not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    sb3 = pytest.importorskip("stable_baselines3")
    contrib = pytest.importorskip("sb3_contrib")
    pytest.importorskip("tensorboard")
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.vec_env import DummyVecEnv
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from dysta_gym.agents import (
        MixedVecEnv,
        ScoringPolicy,
        SparseMultiDNNVecEnv,
        ValidationCallback,
    )

SEEN = {"level": "sized", "slots": 32, "decisions": "events"}
VALIDATED = {"seeds": range(1000, 1002), "split": "train"}
METRICS = ["violation_rate", "antt"]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def mixed():
    loaded = [
        load_scenario(name).varied(load=load, slo_multiplier=2, requests=30)
        for name, load in (("multi-attnn", 1.05), ("multi-attnn", 1.3), ("multi-cnn", 1.05))
    ]
    return MixedVecEnv([SparseMultiDNNVecEnv(2, scenario=each, **SEEN) for each in loaded])


def singles():
    make = [
        lambda: gym.make("SparseMultiDNN-v0", load=1.3, slo_multiplier=2, requests=30, **SEEN)
    ] * 2
    return DummyVecEnv(make)


KINDS = {
    "a scoring network": (mixed, contrib.MaskablePPO, ScoringPolicy),
    "a network of the usual kind": (singles, sb3.PPO, "MlpPolicy"),
}


def learned(kind, callback, steps=600, folder=None):
    env, algorithm, policy = KINDS[kind]
    model = algorithm(policy, env(), n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
    if folder:
        model.set_logger(configure(str(folder), ["tensorboard"]))
    return model.learn(steps, callback=callback)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_logged_is_what_the_model_is_worth(kind, tmp_path, capsys):
    callback = ValidationCallback(workloads=2, every=200, share=1)
    model = learned(kind, callback, folder=tmp_path)
    (path,) = tmp_path.glob("events*")
    events = EventAccumulator(str(path)).Reload()
    steps = [each["step"] for each in callback.history]
    for name in callback.history[-1].keys() - {"step"}:
        logged = [(each.step, each.value) for each in events.Scalars(name)]
        expected = [(each["step"], np.float32(each[name])) for each in callback.history]
        assert logged == expected, name
    assert steps[-1] == model.num_timesteps
    # What only an environment plays waits for its share of the time, to the end if need be.
    assert len(steps) >= (2 if kind == "a scoring network" else 1)
    # The last is that of the model which learn() returns, by the public ways to judge it.
    last, conditions = callback.history[-1], callback._bench.conditions
    assert len(conditions) == len({(each.name, each.load) for each in conditions})
    tables = [
        (evaluate(model, [each], **VALIDATED), compare([each], ["dysta"], **VALIDATED))
        for each in conditions
    ]
    for each, (mine, dysta) in zip(conditions, tables, strict=True):
        for metric in METRICS:
            name, mean = f"{each.name} {each.load:g}", mine[metric].mean()
            assert last[f"{name}/{metric}"] == pytest.approx(mean)
            assert last[f"{name}/reference_{metric}"] == pytest.approx(dysta[metric].mean())
            if bound := mine[f"{metric}_lower_bound"].mean():
                assert last[f"{name}/{metric}_over_bound"] == pytest.approx(mean / bound)
    for metric in METRICS:
        mean, bound = (
            np.mean([mine[column].mean() for mine, _ in tables])
            for column in (metric, f"{metric}_lower_bound")
        )
        assert last[f"validation/{metric}"] == pytest.approx(mean)
        assert last[f"validation/{metric}_over_bound"] == pytest.approx(mean / bound)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(steps)
    assert re.match(rf"step {steps[-1]} of 600: violations \d+\.\d+ % \(dysta .*bound", lines[-1])
    # And what is learned does not depend on it.
    alone = learned(kind, None)
    for one, other in zip(model.policy.parameters(), alone.policy.parameters(), strict=True):
        assert torch.equal(one, other)


class Interrupt(BaseCallback):
    """Sends SIGINT so many times, at the tenth step."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def _on_step(self):
        if self.n_calls == 10:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return True


def test_training_that_is_interrupted_keeps_the_model(capsys):
    handler = signal.getsignal(signal.SIGINT)
    callback = ValidationCallback(workloads=1)
    model = learned("a scoring network", [Interrupt(1), callback], steps=10_000)
    assert signal.getsignal(signal.SIGINT) is handler
    assert model.num_timesteps == 60 == callback.history[-1]["step"]
    assert "Stopping" in capsys.readouterr().out
    assert learned("a scoring network", callback, steps=100).num_timesteps >= 100  # goes on
    with pytest.raises(KeyboardInterrupt):
        learned("a scoring network", [Interrupt(2), callback], steps=10_000)
    assert signal.getsignal(signal.SIGINT) is handler
    # In another thread nobody can be told of signals; it trains all the same.
    thread = threading.Thread(target=learned, args=("a scoring network", callback, 100))
    thread.start()
    thread.join()
    assert callback.history[-1]["step"] >= 100


def test_what_takes_too_much_time_is_put_off():
    callback = ValidationCallback(workloads=1, every=1, share=0, verbose=0)
    model = learned("a scoring network", callback)
    assert [each["step"] for each in callback.history] == [0, model.num_timesteps]
    model = learned("a network of the usual kind", callback)
    assert [each["step"] for each in callback.history[2:]] == [model.num_timesteps]
    learned("a network of the usual kind", [Interrupt(1), callback])
    assert len(callback.history) == 3


def test_what_is_refused(refused):
    for arguments in ({"every": 0}, {"workloads": 1.5}, {"share": 2}):
        with refused(*arguments, *map(str, arguments.values())):
            ValidationCallback(**arguments)
    with refused("conditions", "multi-attnn", "list"):
        ValidationCallback("multi-attnn")
    with refused("mine", "scenario"):
        ValidationCallback(["mine"])
    poles = sb3.PPO("MlpPolicy", gym.make("CartPole-v1"), n_steps=8, batch_size=8, device="cpu")
    with refused("level", "give"):
        poles.learn(8, callback=ValidationCallback())
