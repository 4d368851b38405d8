"""Steps per second and memory of the environment, alone and many at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import dysta_gym  # noqa: F401, registers the environment
from benchmarks.page import Goal, Section, short
from benchmarks.timing import (
    Side,
    Timing,
    core_s,
    fresh,
    memory,
    progress,
    race,
    spread_of,
)
from dysta_gym.cores import cores
from dysta_gym.tables import markdown

OURS, CARTPOLE = "SparseMultiDNN-v0", "CartPole-v1"
MANY = (1, 64, 256, 1024)
ACTIONS = ("oldest", "random")
Actions = NDArray[np.int64]


def measure(quick: bool, _: Path) -> list[Section]:
    """The sections on one environment, on many, and on their memory."""
    return [_single(quick), _vector(quick), _memory(quick)]


def chosen(how: str, queue: NDArray[Any], draws: np.random.Generator) -> Actions:
    """The oldest request, or any in a slot, for each environment with such a queue."""
    if how == "oldest":
        return np.zeros(len(queue), np.int64)
    taken = np.minimum(queue, 128)
    return (draws.random(len(queue)) * taken).astype(np.int64)


def _played(how: str, steps: int) -> tuple[list[int], float]:
    """Actions of the first steps of an episode, and the mean queue."""
    env, draws = gym.make(OURS).unwrapped, np.random.default_rng(0)
    _, info = env.reset(seed=0)
    actions, queue = [], 0
    for _ in range(steps):
        actions.append(int(chosen(how, np.array([info["queue_size"]]), draws)[0]))
        queue += info["queue_size"]
        *_, info = env.step(np.int64(actions[-1]))
    return actions, queue / steps


def _replay(env: gym.Env[Any, Any], actions: list[int]) -> Side:
    """Steps through the same actions from the same start; resets on the way do not count."""

    def side() -> float:
        seconds, done, total = 0.0, 0, len(actions)
        env.reset(seed=0)
        while done < total:
            step, ended = env.step, False
            start = core_s()
            while not ended and done < total:
                _, _, terminated, truncated, _ = step(actions[done])
                ended = terminated or truncated
                done += 1
            seconds += core_s() - start
            if done < total:
                env.reset()
        return seconds

    return side


def _single(quick: bool) -> Section:
    progress("one environment")
    steps = 4000 if quick else 17_000
    played = {how: _played(how, steps) for how in ACTIONS}
    pushes = np.random.default_rng(0).integers(0, 2, steps).tolist()
    sides: dict[str, Side] = {}
    for wrapped in (True, False):
        for name, env_id, actions in (
            (CARTPOLE, CARTPOLE, pushes),
            *((how, OURS, played[how][0]) for how in ACTIONS),
        ):
            made = gym.make(env_id)
            sides[f"{name} {wrapped}"] = _replay(made if wrapped else made.unwrapped, actions)
    timings = race(sides, 1.0 if quick else 5.0, rounds=3)
    speed = {name: steps / timing.fastest for name, timing in timings.items()}
    rows, goals = [], []
    for wrapped, made in ((True, "`gym.make`"), (False, "unwrapped")):
        cartpole = speed[f"{CARTPOLE} {wrapped}"]
        rows.append([made, CARTPOLE, "", short(cartpole), "1"])
        for how in ACTIONS:
            ours = speed[f"{how} {wrapped}"]
            queue = f"{played[how][1]:.0f}"
            rows.append([made, f"{how} request", queue, short(ours), f"{ours / cartpole:.2f}"])
        slowest = min(speed[f"{how} {wrapped}"] for how in ACTIONS) / cartpole
        goals.append(
            Goal(
                f"a step of one environment, {made}: at least CartPole's speed",
                f"{slowest:.1f} times",
                slowest >= 1,
            )
        )
    text = [
        f"The first {steps:,} steps of the default episode (1,000 requests, load 0.95, 128 slots, "
        "1,542 numbers observed), running the oldest request or any at random, beside as many "
        "steps of CartPole under random pushes. Actions are drawn beforehand; neither resets nor "
        "waiting for the core count. " + spread_of(timings.values()),
        markdown(
            ["made by", "what steps", "mean queue", "steps/s", "over CartPole"], rows, words=2
        ),
    ]
    return Section("One environment", text, goals)


class Stepping:
    """Environments that step on and on, a window of steps a run; only `step` counts."""

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any], how: str, steps: int) -> None:
        self.envs, self.how, self.steps = envs, how, steps
        self.draws = np.random.default_rng(0)
        self.queues: list[float] = []
        _, self.infos = envs.reset(seed=0)

    def actions(self) -> Actions:
        """What runs next, or for CartPole a random push."""
        if self.how == CARTPOLE:
            return self.draws.integers(0, 2, self.envs.num_envs)
        return chosen(self.how, self.infos["queue_size"], self.draws)

    def __call__(self) -> float:
        """Step through a window, and return the seconds of the calls of `step`."""
        seconds = 0.0
        for _ in range(self.steps):
            actions = self.actions()
            start = time.perf_counter()
            *_, self.infos = self.envs.step(actions)
            seconds += time.perf_counter() - start
            if "queue_size" in self.infos:
                self.queues.append(float(self.infos["queue_size"].mean()))
        return seconds


def _made(env_id: str, number: int, mode: str, **settings: object) -> Any:
    return gym.make_vec(env_id, num_envs=number, vectorization_mode=mode, **settings)


def _vector(quick: bool) -> Section:
    rows, goals, timings = [], [], list[Timing]()
    used = sorted({1, cores()})
    cases: list[tuple[int, str, dict[str, Any]]] = [
        (number, "oldest", {}) for number in (MANY[:-1] if quick else MANY)
    ]
    cases += [(256, "random", {}), (256, "oldest", {"load": 1.5}), (256, "oldest", {"copy": True})]
    for number, how, settings in cases:
        progress(f"{number} environments, {how} request {settings or ''}")
        steps = max(20, (20_000 if quick else 100_000) // number)
        sides: dict[str, Stepping] = {}
        for threads in used:
            own = {"threads": threads, "copy": False, **settings}
            envs = _made(OURS, number, "vector_entry_point", **own)
            sides[f"{threads}"] = Stepping(envs, how, steps)
        shared = {key: value for key, value in settings.items() if key != "copy"}
        envs = _made(OURS, number, "sync", **shared)
        sides["sync"] = Stepping(envs, how, max(5, steps // 20))
        envs = _made(CARTPOLE, number, "vector_entry_point")
        sides["cartpole"] = Stepping(envs, CARTPOLE, steps)
        for threads in used:  # queues begin empty
            for _ in range((1000 if quick else 6000) // steps + 1):
                sides[f"{threads}"]()
        timing = race(sides, 0.5 if quick else 3.0, rounds=3)
        timings += timing.values()
        speed = {name: number * sides[name].steps / each.fastest for name, each in timing.items()}
        best = max(speed[f"{threads}"] for threads in used)
        queue = np.mean(sides["1"].queues[-len(timing["1"].seconds) * steps :])
        rows.append(
            [
                f"{how} request" + "".join(f", {k} {v}" for k, v in settings.items()),
                f"{number:,}",
                f"{queue:.0f}",
                *(short(speed[f"{threads}"]) for threads in used),
                short(speed["sync"]),
                f"{best / speed['sync']:.1f}",
                short(speed["cartpole"]),
                f"{best / speed['cartpole']:.2f}",
            ]
        )
        if number == 256 and not settings:
            goals.append(
                Goal(
                    f"256 environments with full observations, {how} request: 3 M steps/s on "
                    f"{used[-1]} cores",
                    f"{short(speed[f'{used[-1]}'])} on {used[-1]}, {short(speed['1'])} on one",
                    speed[f"{used[-1]}"] >= 3e6,
                )
            )
        for side in sides.values():
            side.envs.close()
    head = [
        "action", "environments", "mean queue",
        *(f"{threads} core{'s' if threads > 1 else ''}" for threads in used),
        "SyncVectorEnv", "ratio", "CartPoleVectorEnv", "ratio",
    ]  # fmt: skip
    text = [
        "Environment steps a second of the vector environment, of Gymnasium's `SyncVectorEnv` of "
        "as many single ones, and of its `CartPoleVectorEnv`, which computes in NumPy. Windows of "
        "steps of each take turns; only the calls of `step` count, by the clock on the wall, and "
        "the fastest window of each. The default scenario, 128 slots, 1,542 numbers observed an "
        "environment; the mean queue is that of the windows (queues begin empty; `SyncVectorEnv` "
        "takes fewer steps, with shorter queues, which favours it; it copies its observations, "
        "which does not). Ratios are the better of the columns of cores over the other side. "
        + spread_of(timings),
        markdown(head, rows),
    ]
    return Section("Many environments", text, goals)


def held(number: int, steps: int) -> int:
    """Memory of this process, in bytes, once so many environments have taken so many steps."""
    envs = _made(OURS, number, "vector_entry_point")
    envs.reset(seed=0)
    oldest = np.zeros(number, np.int64)
    for _ in range(steps):
        envs.step(oldest)
    return memory("VmRSS")


def _memory(quick: bool) -> Section:
    steps = 1000 if quick else 18_500
    few, many = 64, 1088
    progress("memory")
    seen = {
        number: fresh(f"from benchmarks.environments import held; print(held({number}, {steps}))")
        for number in (few, many)
    }
    each = (seen[many] - seen[few]) / (many - few)
    text = [
        f"Resident memory of a fresh process with {few} and with {many:,} environments of 1,000 "
        f"requests and 128 slots, after {steps:,} steps each, the oldest request running"
        + ("" if quick else ", which is more than an episode")
        + ".",
        markdown(
            ["environments", "memory (MiB)"],
            [[f"{number:,}", f"{bytes_ / 2**20:,.0f}"] for number, bytes_ in seen.items()],
        ),
        f"That is {each / 1024:,.0f} KiB an environment.",
    ]
    return Section("Memory of an environment", text)
