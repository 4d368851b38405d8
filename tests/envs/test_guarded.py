"""Environments that threads share, that a process forks with, and whose calls are broken off."""

import os
import subprocess
import sys

import pytest

ALONE = """
from dysta_gym.envs import SparseMultiDNNEnv
def make(): return SparseMultiDNNEnv(requests=20, slots=4)
action = 0
"""
VECTOR = """
import numpy as np
from dysta_gym.envs import SparseMultiDNNVectorEnv
def make(): return SparseMultiDNNVectorEnv(128, requests=2, slots=4, threads=2)
action = np.zeros(128, np.int64)
"""
BOTH = pytest.mark.parametrize("kind", [ALONE, VECTOR], ids=["alone", "vector"])


def run(script, **options):
    """What a script prints, in an interpreter of its own: a crash would end this one."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, **options
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return done.stdout


HAMMERED = """
import copy, pickle, random, threading, time
from dysta_gym import DystaError
env = make()
env.reset(seed=0)
env.step(action)
for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env)), copy.copy(env)):
    twin.step(action)

def play(twin):
    for _ in range(3):
        try:
            env.action_masks(), twin.step(action)
        except DystaError as error:
            assert "reset" in str(error)

calls = {
    "reset": lambda: env.reset(seed=random.randrange(9)),
    "step": lambda: [env.step(action) for _ in range(20)],
    "copy": lambda: play(copy.deepcopy(env)),
    "pickle": lambda: play(pickle.loads(pickle.dumps(env))),
    "masks": lambda: env.action_masks().sum(),
    "penalty": lambda: setattr(env, "penalty", random.random()),
    "close": lambda: env.close(),
}
if hasattr(env, "action_of"):
    calls["policy"] = lambda: env.step(env.action_of("dysta"))
done, faults = dict.fromkeys(calls, 0), []

def hammer(number):
    choose = random.Random(number)
    while time.monotonic() < end and not faults:
        name = choose.choice(list(calls))
        try:
            calls[name]()
            done[name] += 1
        except DystaError as error:
            if "call reset" not in str(error):
                faults.append(error)
        except BaseException as error:
            faults.append(error)

end = time.monotonic() + 4
threads = [threading.Thread(target=hammer, args=[number]) for number in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not faults, repr(faults)
assert all(done.values()), done
fresh = make()
for one, other in zip(env.reset(seed=5), fresh.reset(seed=5)):
    assert str(one) == str(other)
"""


@BOTH
def test_threads_may_call_anything_at_any_time(kind):
    run(kind + HAMMERED)


RACED = """
import sys, threading
sys.setswitchinterval(1e-6)
env = make()
env.reset(seed=0)
seen = [env.step(action)[-1]["time_s"] for _ in range(40)]
env.reset(seed=0)
told = []

def work():
    for _ in range(10):
        told.append(env.step(action)[-1]["time_s"])

threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
key = repr if isinstance(action, int) else lambda times: times.tobytes()
assert sorted(map(key, told)) == sorted(map(key, seen))  # every step is told, to one thread
"""


@BOTH
def test_what_a_call_returns_is_its_own(kind):
    run(kind + RACED)


FORKED = """
import copy, os, threading, time
from dysta_gym import DystaError
env = make()
env.reset(seed=0)
expected = str(make().reset(seed=5))

def work():
    while not over:
        try:
            [env.step(action) for _ in range(50)]
        except DystaError:
            env.reset(seed=0)

over, outcomes = False, set()
thread = threading.Thread(target=work, daemon=True)
thread.start()
for number in range(60):
    time.sleep(0.001 * (number % 7))
    child = os.fork()
    if not child:
        status = 1
        try:
            try:
                env.step(action)
                went_on = 2
            except DystaError as error:
                assert "no episode is running; call reset first" in str(error)
                went_on = 3
            copy.deepcopy(env)
            if str(env.reset(seed=5)) == expected:
                env.step(action)
                status = went_on
        finally:
            os._exit(status)
    end = time.monotonic() + 20
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        assert time.monotonic() < end, "a child hangs"
        time.sleep(0.001)
    outcomes.add(os.waitstatus_to_exitcode(status))
over = True
thread.join()
assert outcomes <= {2, 3}, outcomes
env.reset()
env.step(action)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@BOTH
def test_a_process_may_fork_while_another_thread_steps(kind):
    run(kind + FORKED)


INTERRUPTED = """
import random, signal, threading, time, _thread
from dysta_gym import DystaError
signal.signal(signal.SIGINT, signal.default_int_handler)

def key(result):
    info = result[-1]
    return repr(result[0].tobytes()), repr(info["time_s"]), repr(info["queue_size"])

def played(env, seed):
    keys = [key(env.reset(seed=seed))]
    for _ in range(400):
        try:
            keys.append(key(env.step(action)))
        except DystaError:
            break
    return keys

reference = {seed: played(make(), seed) for seed in range(3)}
env = make()
env.reset(seed=0)
env.step(action)
choose = random.Random(0)
over = broken = resumed = refused = 0

def interrupt():
    while True:
        asked.wait()
        asked.clear()
        if over:
            return
        time.sleep(choose.random() * 0.004)
        _thread.interrupt_main()

asked = threading.Event()
thread = threading.Thread(target=interrupt, daemon=True)
thread.start()
for _ in range(200):
    seed, at, resets = 0, 0, choose.random() < 0.5
    env.reset(seed=0)
    possible = {0: {0}}
    try:
        asked.set()
        while True:
            if resets or at > 300:
                seed = (seed + 1) % 3
                possible = {seed: {0}, (seed - 1) % 3: {at}}
                env.reset(seed=seed)
                at = 0
            else:
                possible = {seed: {at, at + 1}}
                env.step(action)
                at += 1
            if at >= len(reference[seed]) - 1:
                possible = {0: {0}, seed: {at}}
                env.reset(seed=0)
                seed = at = 0
    except KeyboardInterrupt:
        broken += 1
    # The interrupt may also have come between two calls: one more has then been possible.
    nexts = {(seed, at)} | {(s, a) for s, of in possible.items() for a in of}
    nexts |= {(s, a + 1) for s, a in nexts}
    try:
        told = key(env.step(action))
        assert any(told == reference[s][a + 1] for s, a in nexts if a + 1 < len(reference[s]))
        resumed += 1
    except DystaError as error:
        assert "no episode is running; call reset first" in str(error)
        refused += 1
    keys = [key(env.reset(seed=1)), *(key(env.step(action)) for _ in range(5))]
    assert keys == reference[1][:6]
over = 1
asked.set()
thread.join()
assert broken == 200 == resumed + refused
assert played(env, 2) == reference[2]
print(resumed, refused)
"""


@BOTH
def test_after_an_interrupt_it_goes_on_or_asks_for_a_reset(kind):
    run(kind + INTERRUPTED)


def test_a_formula_that_raises_ends_the_episode(refused):
    from dysta_gym import Reward
    from dysta_gym.envs import SparseMultiDNNEnv

    def formula(accrued, queue, memory):
        memory[0] += 1
        if memory[0] == 4:
            raise ValueError("four")
        return 0.0

    env = SparseMultiDNNEnv(requests=9, slots=4, reward=Reward("mine", "nothing", formula))
    env.reset(seed=0)
    env.step(0), env.step(0)
    with refused("fails", "four"):
        env.step(0)
    with refused("step", "no episode is running; call reset first"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
