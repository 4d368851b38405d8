"""What users of Gymnasium and of what is built on it expect of ``SparseMultiDNN-v0``."""

import importlib.util
import math
import subprocess
import sys
import warnings
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dysta_gym import measure
from dysta_gym.envs import SparseMultiDNNEnv, SparseMultiDNNVectorEnv

ID = "SparseMultiDNN-v0"
SMALL = {"requests": 3, "slots": 3, "load": 1.3}
MODES = [mode.value for mode in AutoresetMode]


def assert_same(one, other, where=None, path="result"):
    """Equal in keys, types, dtypes, shapes and bits; infos where their masks say that they are."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            mask = other.get(f"_{key}")
            assert_same(one[key], other[key], mask, f"{path}[{key}]")
    elif isinstance(one, tuple | list):
        assert len(one) == len(other), path
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, path=f"{path}[{number}]")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), path
        if where is not None:
            one, other = one[where], other[where]
        for mine, theirs in zip(one, other, strict=True) if one.dtype == object else ():
            assert_same(mine, theirs, path=path)
        assert one.dtype == object or one.tobytes() == other.tobytes(), path
    elif hasattr(one, "numpy"):
        assert_same(np.asarray(one), np.asarray(other), where, path)
    else:
        assert one == other or one is other or math.isnan(one), path


# --- arguments of Gymnasium's own ----------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_make_vec_truncates_as_so_many_single_environments(mode):
    arguments = {"render_mode": None, "max_episode_steps": 6, "decisions": "events", **SMALL}
    many = gym.make_vec(ID, num_envs=4, autoreset_mode=mode, **arguments)
    assert type(many) is SparseMultiDNNVectorEnv
    make = partial(gym.make, ID, **arguments)
    singles = SyncVectorEnv([make] * 4, autoreset_mode=mode)
    rng = np.random.default_rng(0)
    assert_same(many.reset(seed=3), singles.reset(seed=3))
    seen = np.zeros((2, 2), int)
    mask = None
    for _ in range(400):
        if mask is not None:
            options = [{"reset_mask": mask.copy()} for _ in "ab"]
            assert_same(many.reset(options=options[0]), singles.reset(options=options[1]))
        actions = rng.integers(3, size=4)
        one, other = many.step(actions), singles.step(actions)
        assert_same(one, other)
        for pair in zip(one[2].astype(int), one[3].astype(int), strict=True):
            seen[pair] += 1
        ended = one[2] | one[3]
        mask = ended if mode == "Disabled" and ended.any() else None
    assert (seen > 0).all()  # a step may end an episode in both ways
    again = gym.make_vec(gym.envs.registration.EnvSpec.from_json(many.spec.to_json()))
    again.reset(seed=0)
    if mode == "Disabled":
        return
    assert [again.step(np.zeros(4, int))[3].any() for _ in range(6)][-2:] == [False, True]


def test_limits_of_steps_that_are_refused(refused):
    for steps in (0, 2.5, True, "ten", -2):
        with refused("max_episode_steps", repr(steps), "whole number"):
            gym.make_vec(ID, max_episode_steps=steps, **SMALL)
    assert gym.make_vec(ID, max_episode_steps=-1, **SMALL)  # as in gym.make: none


def test_a_limit_and_a_render_mode_of_none_are_taken():
    env = gym.make(ID, render_mode=None, max_episode_steps=10, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    assert env.render_mode is None
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(10)] == [False] * 9 + [True]


# --- what cannot be set --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [SparseMultiDNNEnv, SparseMultiDNNVectorEnv])
def test_what_would_change_nothing_cannot_be_set(refused, make):
    env, other = make(**SMALL), make(**SMALL)
    names = ["scenario", "load", "rate", "slo_multiplier", "requests", "level", "slots", "features"]
    names += ["reward", "split", "decisions", "store", "settings", "render_mode"]
    if make is SparseMultiDNNVectorEnv:
        names += ["num_envs", "autoreset_mode", "threads", "max_episode_steps"]
    else:
        names += ["metrics"]
    for name in names:
        with refused(name, "'other'", "make a new one"):
            setattr(env, name, "other")
    for name in ("level", "reward", "anything"):
        with refused(name, "'other'", "make a new one"):
            setattr(env.settings, name, "other")
    assert_same(env.reset(seed=0), other.reset(seed=0))
    for name in ("level", "slots", "reward", "split", "decisions", "scenario", "store"):
        assert getattr(env, name) == getattr(other, name)
    env.penalty = 3.5
    assert env.penalty == env.settings.penalty == 3.5
    with refused("penalty", "-1"):
        env.penalty = -1
    env.mine = "yours"  # what is not ours may be kept there
    with refused("reward", "make a new one"):
        gym.make(ID, **SMALL).set_wrapper_attr("reward", "final")


def test_a_penalty_of_the_vector_environment_is_that_of_a_new_one():
    envs, dear = (gym.make_vec(ID, num_envs=3, penalty=p, **SMALL) for p in (1.0, 70.0))
    envs.reset(seed=0), dear.reset(seed=0)
    envs.unwrapped.penalty = 70.0
    for _ in range(50):
        assert_same(envs.step(np.zeros(3, int)), dear.step(np.zeros(3, int)))


# --- wrappers ------------------------------------------------------------------------------------

TORCH = {"ArrayConversion", "JaxToNumpy", "JaxToTorch", "NumpyToTorch"}
"""They need packages that are not ours."""

NOT_FOR_THIS = {  # for images, actions that are no numbers of a slot, or what is drawn
    "vector", "AtariPreprocessing", "GrayscaleObservation", "ResizeObservation", "ClipAction",
    "DiscretizeAction", "RescaleAction", "AddRenderObservation", "AddWhiteNoise", "ObstructView",
    "RenderCollection", "RecordVideo", "HumanRendering",
}  # fmt: skip
NOT_FOR_VECTORS = NOT_FOR_THIS | {"FilterObservation"}  # of a dictionary

_timed = partial(wrappers.TimeLimit, max_episode_steps=40)
SINGLE = {
    "DelayObservation": {"delay": 2},
    "DtypeObservation": {"dtype": np.float64},
    "DiscretizeObservation": {"bins": 2},
    "FrameStackObservation": {"stack_size": 3},
    "TransformObservation": {"func": lambda each: each, "observation_space": None},
    "MaxAndSkipObservation": {"skip": 2},
    "ReshapeObservation": {"shape": (6, 7)},
    "RescaleObservation": {"min_obs": np.float32(0), "max_obs": np.float32(1)},
    "TransformAction": {"func": lambda action: 0, "action_space": None},
    "StickyAction": {"repeat_action_probability": 0.5},
    "RepeatAction": {"num_repeats": 3},
    "ClipReward": {"min_reward": -1.0, "max_reward": 0.0},
    "TransformReward": {"func": lambda reward: reward},
    "TimeLimit": {"max_episode_steps": 7},
    "FilterObservation": {"filter_keys": ["obs"]},
    "NumpyToTorch": {},
    "ArrayConversion": {"env_xp": np, "target_xp": np},
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # of a space's bounds
@pytest.mark.parametrize("name", sorted({*wrappers.__all__, *TORCH} - NOT_FOR_THIS))
@pytest.mark.parametrize("metrics", ["end", "always"])
def test_every_wrapper_of_single_environments(name, metrics):
    if name in TORCH:
        pytest.importorskip("array_api_compat")
    if name.startswith("Jax"):
        pytest.skip("of environments that are written in JAX")
    env = SparseMultiDNNEnv(metrics=metrics, **SMALL)
    if name in ("TimeAwareObservation", "FilterObservation"):
        env = _timed(env)
    if name == "FilterObservation":
        env = wrappers.TimeAwareObservation(env, flatten=False)
    try:
        wrapped = getattr(wrappers, name)(env, **SINGLE.get(name, {}))
    except TypeError as error:
        pytest.fail(f"{name} is not known to this test: {error}")
    action = 0
    if name == "NumpyToTorch":
        action = pytest.importorskip("torch").tensor(0)
    observation, info = wrapped.reset(seed=0)
    ends = 0
    while ends < 3:
        if name not in TORCH:
            assert wrapped.observation_space.contains(observation)
            keys = {"time_s", "queue_size", "action_mask", "invalid_action"}
            assert keys <= set(info)
        observation, _, terminated, truncated, info = wrapped.step(action)
        assert ("metrics" in info) == (terminated or metrics == "always")
        if terminated or truncated:
            ends += 1
            if name != "Autoreset":
                observation, info = wrapped.reset()
    wrapped.close()


VECTOR = {
    "VectorizeTransformObservation": {"wrapper": wrappers.FlattenObservation},
    "VectorizeTransformAction": {
        "wrapper": wrappers.TransformAction, "func": lambda action: 0, "action_space": None,
    },
    "VectorizeTransformReward": {
        "wrapper": wrappers.ClipReward, "min_reward": -1.0, "max_reward": 0.0,
    },
    "TransformObservation": {"func": lambda each: each},
    "ReshapeObservation": {"shape": (6, 7)},
    "RescaleObservation": {"min_obs": np.float32(0), "max_obs": np.float32(1)},
    "DtypeObservation": {"dtype": np.float64},
    "TransformAction": {"func": lambda actions: actions},
    "TransformReward": {"func": lambda rewards: rewards},
    "ClipReward": {"min_reward": -1.0, "max_reward": 0.0},
    "ArrayConversion": {"env_xp": np, "target_xp": np},
}  # fmt: skip


def _untimed(infos):
    """Infos without the clock on the wall."""
    for each in infos if isinstance(infos, list) else [infos]:
        for where in (each, each.get("final_info", {})):
            where.get("episode", {}).pop("t", None)
    return infos


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("name", sorted({*wrappers.vector.__all__} - NOT_FOR_VECTORS))
def test_every_wrapper_of_vectors_sees_so_many_single_environments(name, mode):
    if name in TORCH:
        pytest.importorskip("array_api_compat")
    if name.startswith("Jax"):
        pytest.skip("of environments that are written in JAX")
    wrapper = partial(getattr(wrappers.vector, name), **VECTOR.get(name, {}))
    many = SparseMultiDNNVectorEnv(2, autoreset_mode=mode, **SMALL)
    singles = SyncVectorEnv([partial(SparseMultiDNNEnv, **SMALL)] * 2, autoreset_mode=mode)
    try:
        mine, theirs = wrapper(many), wrapper(singles)
    except (AssertionError, ValueError) as error:
        assert mode == "SameStep", error
        with pytest.raises(type(error)):  # it takes no vector of this mode
            wrapper(singles)
        return
    rng = np.random.default_rng(0)
    assert_same(_pair(mine.reset(seed=0)), _pair(theirs.reset(seed=0)))
    for _ in range(60):
        actions = rng.integers(3, size=2)
        if name == "NumpyToTorch":
            actions = pytest.importorskip("torch").tensor(actions)
        try:
            expected = theirs.step(actions)
        except (BufferError, TypeError) as error:  # of the objects in `final_obs`
            assert mode == "SameStep" and name in TORCH
            with pytest.raises(type(error)):
                mine.step(actions)
            return
        assert_same(_pair(mine.step(actions)), _pair(expected))


def _pair(result):
    return (*result[:-1], _untimed(result[-1]))


# --- recorders -----------------------------------------------------------------------------------


def test_metrics_in_every_step_have_the_same_names():
    env, usual = SparseMultiDNNEnv(metrics="always", **SMALL), SparseMultiDNNEnv(**SMALL)
    for seed in (0, 1):
        _, info = env.reset(seed=seed)
        usual.reset(seed=seed)
        ended = False
        while not ended:
            assert all(map(math.isnan, info["metrics"].values()))
            names = list(info["metrics"])
            info["metrics"].clear()  # it is the caller's own
            *mine, info = env.step(0)
            *theirs, plain = usual.step(0)
            ended = theirs[2]
            assert_same(tuple(mine), tuple(theirs))
            assert_same({**info, "metrics": 0}, {**plain, "metrics": 0})
        assert info["metrics"] == plain["metrics"] == measure(env.machine.schedule())
        assert list(info["metrics"]) == names


def test_when_metrics_are_told_is_checked(refused):
    with refused("metrics", "'never'", "end", "always"):
        SparseMultiDNNEnv(metrics="never")


RECORDED = """
import gymnasium as gym, minari, numpy as np

env = gym.make("dysta_gym:SparseMultiDNN-v0", metrics="always", requests=3, slots=3)
env = minari.DataCollector(env, record_infos=True)
told = []
for seed in (0, 1):
    env.reset(seed=seed)
    ended = False
    while not ended:
        *_, ended, _, info = env.step(0)
    told.append(info["metrics"])
env.reset(seed=2)
env.step(0)  # an episode that is cut
dataset = env.create_dataset("dysta/small-v0", eval_env="SparseMultiDNN-v0")
assert dataset.total_episodes == 3
for episode, metrics in zip(dataset.iterate_episodes([0, 1]), told):
    steps, recorded = len(episode.rewards) + 1, episode.infos["metrics"]
    assert {key: each[-1] for key, each in recorded.items()} == metrics
    assert recorded["antt"].shape == (steps,) and np.isnan(recorded["antt"][:-1]).all()
    assert episode.infos["action_mask"].shape == (steps, 3)
"""


def test_minari_records_infos(tmp_path, monkeypatch):
    for package in ("minari", "jax", "h5py"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not there")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    run(tmp_path, RECORDED)


# --- other processes, other systems --------------------------------------------------------------


def run(folder, script):
    """What a script in a file prints, in an interpreter of its own."""
    path = folder / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


SPAWNED = """
import gymnasium as gym

def make():
    return gym.make("dysta_gym:SparseMultiDNN-v0", requests=3, slots=3)

if __name__ == "__main__":
    envs = gym.vector.AsyncVectorEnv([make] * 2, context="spawn")
    print(envs.reset(seed=0)[0].tobytes().hex())
    envs.close()
"""
STABLE = """
import warnings
warnings.simplefilter("ignore")
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

if __name__ == "__main__":
    envs = make_vec_env("dysta_gym:SparseMultiDNN-v0", 2, seed=0, vec_env_cls=SubprocVecEnv,
                        vec_env_kwargs={"start_method": "spawn"},
                        env_kwargs={"requests": 3, "slots": 3})
    print(envs.reset().tobytes().hex())
    envs.close()
"""


@pytest.mark.parametrize("script", [SPAWNED, STABLE], ids=["Gymnasium", "Stable-Baselines3"])
def test_spawned_processes_find_it_by_its_package(tmp_path, script):
    if script is STABLE:
        pytest.importorskip("stable_baselines3")
    expected = SparseMultiDNNVectorEnv(2, requests=3, slots=3).reset(seed=0)[0]
    assert run(tmp_path, script).strip() == expected.tobytes().hex()


BARE = '''
import os, signal, sys

for name in """register_at_fork fork forkpty getuid geteuid getgid getegid getgroups getpgid setsid
        setpgid killpg sched_getaffinity sched_setaffinity sched_yield O_NOFOLLOW O_CLOEXEC
        O_DIRECTORY O_NONBLOCK fchmod fchown chown lchown mkfifo mknod waitid pread pwrite
        posix_fallocate posix_fadvise sysconf getloadavg nice openpty sendfile sync fdatasync
        chroot""".split():
    vars(os).pop(name, None)
for name in """SIGPIPE SIGHUP SIGALRM SIGKILL SIGUSR1 SIGUSR2 SIGCHLD SIGQUIT SIGSTOP SIGCONT
        SIGTSTP alarm setitimer pthread_kill pthread_sigmask siginterrupt sigwait pause""".split():
    vars(signal).pop(name, None)

class Missing:
    names = {"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "readline", "syslog"}

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in Missing.names:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Missing())
'''
PLAYED = """
import gymnasium as gym
import numpy as np
import dysta_gym

env = gym.make("SparseMultiDNN-v0", requests=4, slots=4)
env.reset(seed=0)
total, ended = 0.0, False
while not ended:
    _, reward, ended, _, info = env.step(0)
    total += reward
print(total, info)
envs = gym.make_vec("SparseMultiDNN-v0", num_envs=256, requests=4, slots=4, threads=3)
envs.reset(seed=0)
print(sum(envs.step(np.zeros(256, np.int64))[1].sum() for _ in range(50)))
table = dysta_gym.compare(["multi-attnn"], ["dysta", "fcfs"], loads=[1.0], seeds=[0], requests=20)
print(table["antt"].tolist())
"""


def test_a_system_without_what_only_posix_has(tmp_path):
    """As on Windows, where also nobody forks."""
    assert run(tmp_path, BARE + PLAYED) == run(tmp_path, PLAYED)
