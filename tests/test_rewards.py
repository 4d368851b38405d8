"""The table of rewards: what episodes return, shaping, and rewards of one's own."""

import copy

import gymnasium as gym
import numpy as np
import pytest

from dysta_gym import Reward, generate, load_scenario
from dysta_gym.envs import SparseMultiDNNEnv
from dysta_gym.rewards import TABLE, Accrued

ID = "SparseMultiDNN-v0"
USUAL = {"requests": 40, "slots": 60, "load": 1.3, "slo_multiplier": 3.0, "decisions": "events"}


def owed(env, penalty):
    """What is owed for a queue, as the docstrings of `dysta_gym.rewards` say, in plain Python."""
    machine = env.machine
    queue, now, size = machine.queue, machine.now, machine.size
    unit = env.store.mean_isolated_s("train")
    remaining, isolated, due = queue.remaining[:size], queue.isolated[:size], queue.deadline[:size]
    finish = turnaround = violations = 0.0
    for i in np.argsort(remaining * isolated, kind="stable"):
        finish += remaining[i]
        slack = due[i] - now
        turnaround += finish / max(isolated[i], unit / 1000)
        if slack < 0:
            continue  # has been paid for
        if slack < remaining[i]:
            violations += 1
            continue
        unsure = 0.1 * slack + 0.2 * remaining[i] + 1e-6 * unit
        violations += 1 / (1 + np.exp(np.clip((slack - finish) / unsure, -30, 30)))
    return (turnaround + penalty * violations) / len(machine.workload)


@pytest.mark.parametrize("scenario", ["multi-attnn", "multi-cnn", "arvr-hands"])
def test_shaped_rewards_are_paid_for_what_changes_of_what_is_owed(scenario):
    shaped = SparseMultiDNNEnv(scenario, reward="shaped", penalty=30.0, **USUAL)
    plain = SparseMultiDNNEnv(scenario, penalty=30.0, **USUAL)
    rng = np.random.default_rng(0)
    for seed in range(3):
        shaped.reset(seed=seed)
        plain.reset(seed=seed)
        before = start = owed(plain, 30.0)
        total = accrued = 0.0
        ended, changed = False, False
        while not ended:
            action = int(rng.integers(min(60, plain.machine.size)))
            _, reward, ended, *_ = shaped.step(action)
            _, plainly, _, _, _ = plain.step(action)
            after = 0.0 if ended else owed(plain, plain.penalty)
            assert reward == pytest.approx(plainly + before - after, rel=1e-9, abs=1e-9)
            total, accrued, before = total + reward, accrued + plainly, after
            if seed == 2 and not changed and not ended and plain.machine.now > 0:
                # A change is no reward: the next step is paid as if it had been so before.
                shaped.penalty = plain.penalty = 90.0
                before, changed = owed(plain, 90.0), True
        if not changed:
            assert total == pytest.approx(accrued + start, rel=1e-9)


def test_what_is_owed_for_one_request_can_be_worked_out():
    scenario = load_scenario("multi-attnn").varied(requests=1)
    workload = generate(scenario, 0, split="train")
    for penalty in (0.0, 50.0):
        env = SparseMultiDNNEnv(
            scenario, level="clairvoyant", reward="shaped", penalty=penalty, decisions="events"
        )
        env.reset(options={"workload": workload})
        assert owed(env, penalty) == pytest.approx(1.0, abs=0.01)  # it runs alone, and is in time
        _, reward, ended, _, info = env.step(0)
        assert ended and info["metrics"]["antt"] == pytest.approx(1.0)
        assert reward == pytest.approx(owed_at_start(workload, penalty) - 1.0, abs=1e-12)


def owed_at_start(workload, penalty):
    env = SparseMultiDNNEnv("multi-attnn", level="clairvoyant")
    env.reset(options={"workload": workload})
    return owed(env, penalty)


# --- rewards of one's own ------------------------------------------------------------------------


def _steps_and_queue(accrued, queue, memory):
    """Counts steps, and shows all that there is to read."""
    if accrued.begins:
        memory[1] = accrued.now
    memory[0] += 1.0
    waiting = 0.0
    for i in range(queue.length):
        waiting += queue.remaining[i] / accrued.unit
    end = 1000.0 if accrued.ended else 0.0
    return end + memory[0] + waiting + accrued.violations * accrued.requests + 0.0 * memory[1]


def _broken(accrued, queue, memory):
    return accrued.colour


MINE = Reward("mine", "steps and work", _steps_and_queue)


@pytest.mark.parametrize("number", [1, 5])
def test_a_reward_of_ones_own(number):
    usual = {**USUAL, "reward": MINE, "requests": 12}
    env = gym.make(ID, **usual).unwrapped
    envs = gym.make_vec(ID, num_envs=number, vectorization_mode="vector_entry_point", **usual)
    assert env.reward == "mine"
    for _ in range(2):  # memory starts anew
        env.reset(seed=1)
        envs.reset(seed=1)
        steps, ended = 1, False
        while not ended:
            twin = copy.deepcopy(env)
            _, reward, ended, _, _ = env.step(0)
            assert twin.step(0)[1] == reward
            _, rewards, *_ = envs.step(np.zeros(number, np.int64))
            assert rewards[0] == reward
            steps += 1
            machine, unit = env.machine, env.store.mean_isolated_s("train")
            work = machine.queue.remaining[: machine.size].sum() / unit
            late = reward - steps - work - 1000 * ended
            assert late == pytest.approx(round(late), abs=1e-9) and late >= -1e-9


def test_formulas_run_as_plain_python():
    accrued = Accrued(0.5, 0.25, 8.0, 1.0, 1.0, 4, False, True)
    memory = np.zeros(8)
    queue = SparseMultiDNNEnv(**USUAL)
    queue.reset(seed=0)
    paid = {
        name: reward.formula(accrued, queue.machine.queue, memory)
        for name, reward in TABLE.own.items()
    }
    assert paid["objective"] == paid["final"] == -2.5
    assert (paid["turnaround"], paid["violations"]) == (-0.5, -2.0)


def test_rewards_that_are_refused(refused):
    with refused("reward", "'sum'", *TABLE.own):
        SparseMultiDNNEnv(reward="sum")
    with refused("reward", "3", *TABLE.own):
        SparseMultiDNNEnv(reward=3)
    with refused("reward 'mine'", "formula", "cannot be compiled"):
        SparseMultiDNNEnv(reward=Reward("mine", "", _broken))
    with refused("reward 'mine'", "formula", "it must return a number", "not None"):
        SparseMultiDNNEnv(reward=Reward("mine", "", lambda accrued, queue, memory: None))
    with refused("reward", "name", "''"):
        Reward("", "", _broken)
    with pytest.raises(AttributeError):
        SparseMultiDNNEnv().reward = "final"  # which would change nothing
