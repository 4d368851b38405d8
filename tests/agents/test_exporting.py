"""Trained scoring networks as checkpoints: the same schedules, without torch."""

import os
import subprocess
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import pytest

from dysta_gym import compare
from dysta_gym.agents import evaluate, load

with warnings.catch_warnings():  # what they warn of while they are imported is not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    sb3 = pytest.importorskip("stable_baselines3")
    contrib = pytest.importorskip("sb3_contrib")
    from stable_baselines3.common.vec_env import VecNormalize

    from dysta_gym.agents import ScoringPolicy, SparseMultiDNNVecEnv, export
    from dysta_gym.agents.scoring import ScoringQPolicy

SLOTS = 40
ON_POLICY = {"n_steps": 16, "batch_size": 16}
OFF_POLICY = {"buffer_size": 200, "learning_starts": 8}
KINDS = {
    "MaskablePPO": (contrib.MaskablePPO, ScoringPolicy, ON_POLICY),
    "PPO": (sb3.PPO, ScoringPolicy, ON_POLICY),
    "A2C": (sb3.A2C, ScoringPolicy, {"n_steps": 16}),
    "DQN": (sb3.DQN, ScoringQPolicy, OFF_POLICY),
}
COMMAND = Path(sysconfig.get_path("scripts")) / "dysta-gym"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained(kind, *, policy=None, wrap=lambda env: env, **seen):
    algorithm, scoring, more = KINDS[kind]
    seen = {"level": "sized", "slots": SLOTS, "requests": SLOTS, "decisions": "events", **seen}
    env = wrap(SparseMultiDNNVecEnv(2, load=1.05, **seen))
    model = algorithm(policy or scoring, env, device="cpu", seed=0, **more)
    model.learn(64)
    if not policy:
        with torch.no_grad():  # as they are made, all requests score about the same
            for part in (model.q_net if kind == "DQN" else model.policy).scorer.parameters():
                part.normal_(generator=torch.Generator().manual_seed(1))
    return model


def run(*arguments):
    done = subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize("decisions", ["events", "layers"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_network_makes_the_same_schedules(tmp_path, kind, decisions):
    features = ["present", "size", "slack", "remaining", "length", "behind"]  # one an agent's alone
    model = trained(kind, decisions=decisions, features=features)
    model.save(tmp_path / "model.zip")
    export(tmp_path / "model.zip").save(tmp_path / "checkpoint.npz")
    made = load(tmp_path / "checkpoint.npz")
    assert (made.name, made.level, made.decisions) == ("model", "sized", decisions)
    assert made.record["exported"]["slots"] == SLOTS
    assert made.weights.tolist() == export(model).weights.tolist()
    workloads = {"loads": [1.05], "seeds": range(4), "requests": SLOTS, "bounds": False}
    scenarios = ["multi-attnn", "language-bursts"]
    mine = compare(scenarios, [str(tmp_path / "checkpoint.npz"), "fcfs"], **workloads)
    theirs = evaluate(model, scenarios, **workloads)
    ours, first_come = mine.iloc[::2], mine.iloc[1::2]
    metrics = [name for name in theirs if theirs[name].dtype == float and name in ours]
    np.testing.assert_array_equal(ours[metrics].to_numpy(), theirs[metrics].to_numpy())
    assert (ours["antt"].to_numpy() != first_come["antt"].to_numpy()).all()


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained("DQN").save("model.zip")
    status, said, errors = run("export", "model.zip", "--out", "mine.npz")
    assert (status, errors) == (0, []) and "mine.npz: ScoringQPolicy after 64 steps" in said
    status, said, _ = run(
        *("compare", "--policy", "mine.npz", "--policy", "fcfs"),
        *("--scenario", "multi-attnn", "--seeds", "1", "--requests", "20"),
    )
    assert status == 0 and "mine.npz" in said
    status, _, (line,) = run("export", "model.zip", "--out", "mine.zip")
    assert status == 2 and "mine.zip" in line and ".npz" in line
    Path("model.zip").chmod(0o666)
    status, _, (line,) = run("export", "model.zip")
    assert status == 2 and "model.zip" in line and "--trust" in line
    assert run("export", "model.zip", "--trust")[0] == 0 and Path("model.npz").exists()


def test_what_is_no_scoring_network_is_refused(tmp_path, refused):
    other = trained("PPO", policy="MlpPolicy")
    with refused("ActorCriticPolicy", "no scoring network", "ScoringPolicy", "zip file"):
        export(other)
    other.save(tmp_path / "other.zip")
    with refused("model", "other.zip", "no scoring network"):
        export(tmp_path / "other.zip")
    with refused("absent.zip", "cannot be read"):
        export(tmp_path / "absent.zip")
    with refused("its policy, NoneType, is no scoring network"):
        export(5)
    with refused("normalised", "norm_obs"):
        export(trained("MaskablePPO", wrap=lambda env: VecNormalize(env, norm_reward=False)))
