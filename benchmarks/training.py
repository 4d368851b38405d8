"""Training: steps per second of MaskablePPO, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium as gym

import dysta_gym  # noqa: F401, registers the environment
from benchmarks.environments import OURS
from benchmarks.page import Goal, Section, short
from benchmarks.timing import Timing, progress, race, spread_of
from dysta_gym.tables import markdown

ROLLOUT = 8192
SETTINGS = {"batch_size": 1024, "n_epochs": 4, "seed": 0, "device": "cpu"}
DUMMIES = (8, 64)
MANY = (*DUMMIES, 256)
SEEDS = 20
PARTS = ("environment", "torch: forward", "torch: backward", "torch: optimiser")


class Stopwatch:
    """Adds up what calls of some functions take; a call within another one is part of that."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.watched = ExitStack()
        self._inside = False

    def watch(self, part: str, owner: object, name: str) -> None:
        """Count the calls of ``owner.name`` as a part."""
        inner: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return inner(*args, **kwargs)
            self._inside, start = True, time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[part] += time.perf_counter() - start
                self._inside = False

        self.watched.enter_context(mock.patch.object(owner, name, counted))


class Training:
    """A side that trains a fresh agent for so many steps."""

    def __init__(self, environments: int, make: Callable[[], Any], steps: int) -> None:
        self.environments, self.make, self.steps = environments, make, steps
        self.profiles: list[tuple[float, dict[str, float]]] = []

    def __call__(self) -> float:
        """Train; the profile of the run is kept."""
        from sb3_contrib import MaskablePPO

        envs = self.make()
        model = MaskablePPO("MlpPolicy", envs, n_steps=ROLLOUT // self.environments, **SETTINGS)
        with watching(model) as stopwatch:
            start = time.perf_counter()
            model.learn(self.steps)
            seconds = time.perf_counter() - start
        envs.close()
        self.profiles.append((seconds, stopwatch.seconds))
        return seconds


@contextmanager
def watching(model: Any) -> Iterator[Stopwatch]:
    """Count what the environment and torch take of a model's training."""
    import torch

    stopwatch = Stopwatch()
    with stopwatch.watched:
        for name in ("step", "reset", "env_method"):
            stopwatch.watch("environment", model.env, name)
        for name in ("forward", "predict_values", "evaluate_actions"):
            stopwatch.watch("torch: forward", model.policy, name)
        stopwatch.watch("torch: backward", torch.Tensor, "backward")
        stopwatch.watch("torch: optimiser", torch.nn.utils, "clip_grad_norm_")
        for name in ("step", "zero_grad"):
            stopwatch.watch("torch: optimiser", model.policy.optimizer, name)
        yield stopwatch


def _dummies(number: int) -> Any:
    from stable_baselines3.common.vec_env import DummyVecEnv

    return DummyVecEnv([lambda: gym.make(OURS)] * number)


def _judging(quick: bool) -> tuple[str, Goal]:
    """What judging an agent takes, and whether that is seconds."""
    from sb3_contrib import MaskablePPO

    from dysta_gym.agents import SparseMultiDNNVecEnv, evaluate

    requests = 100 if quick else 1000
    progress(f"judging an agent on {SEEDS} seeds")
    model = MaskablePPO("MlpPolicy", SparseMultiDNNVecEnv(8), n_steps=8, seed=0, device="cpu")
    start = time.perf_counter()
    evaluate(model, ["multi-attnn"], seeds=range(SEEDS), requests=requests)
    together = time.perf_counter() - start
    env = gym.make(OURS, requests=requests, split="test")
    observation, info = env.reset(seed=0)
    ended, start = False, time.perf_counter()
    while not ended:
        masks = info["action_mask"]
        action, _ = model.predict(observation, action_masks=masks, deterministic=True)
        observation, _, ended, _, info = env.step(action)
    alone = (time.perf_counter() - start) * SEEDS
    text = (
        f"Judging such an agent on {SEEDS} workloads of {requests:,} requests took "
        f"{together:.1f} s with `dysta_gym.agents.evaluate`, side by side; one after the other in "
        f"a single environment, {alone:.0f} s ({SEEDS} times what one of them took): "
        f"{alone / together:.1f} times as long."
    )
    goal = f"an agent is judged on {SEEDS} workloads of {requests:,} requests in less than 30 s"
    return text, Goal(goal, f"{together:.1f} s", together < 30)


def measure(quick: bool, _: Path) -> list[Section]:
    """The section on training, or what it needs."""
    title = "Training"
    try:
        import sb3_contrib  # noqa: F401
        import torch

        from dysta_gym.agents import SparseMultiDNNVecEnv
    except ImportError as error:
        return [Section(title, [f"Not measured: it needs the extra `agents` ({error.name})."])]

    # More threads gain a net this small little, and wait for each other where others want a core.
    torch.set_num_threads(1)
    steps = ROLLOUT if quick else 4 * ROLLOUT
    kinds = (("SB3's `DummyVecEnv`", _dummies), ("`SparseMultiDNNVecEnv`", SparseMultiDNNVecEnv))
    sides = {
        f"{kind} of {number}": Training(number, partial(make, number), steps)
        for (kind, make), numbers in zip(kinds, (DUMMIES, MANY), strict=True)
        for number in numbers
    }
    progress(f"{steps:,} steps of each")
    timings: dict[str, Timing] = race(sides, 0.0, rounds=1 if quick else 2)
    rows, profiles, goals = [], [], []
    dummy = {
        side.environments: timings[name].fastest
        for name, side in list(sides.items())[: len(DUMMIES)]
    }
    for name, side in sides.items():
        seconds, parts = min(side.profiles)
        shares = [parts[part] / seconds for part in PARTS]
        other = dummy.get(side.environments)
        ratio = f"{other / seconds:.2f}" if other else ""
        rows.append([name, short(steps / seconds), ratio])
        profiles.append([name, *(f"{100 * share:.1f}" for share in (*shares, 1 - sum(shares)))])
    environment, torches = shares[0], sum(shares[1:])
    goals.append(
        Goal(
            f"MaskablePPO with {MANY[-1]} environments spends its time in torch, not in them",
            f"{100 * torches:.0f} % in torch, {100 * environment:.1f} % in the environments",
            torches > 0.5 and environment < 0.1,
        )
    )
    judged, seconds_goal = _judging(quick)
    goals.append(seconds_goal)
    text = [
        f"sb3-contrib's MaskablePPO with its default net, {steps:,} steps in rollouts of "
        f"{ROLLOUT:,}, {SETTINGS['n_epochs']} epochs of minibatches of {SETTINGS['batch_size']:,}, "
        "torch and the environments on one thread each. " + spread_of(timings.values()),
        markdown(["environments", "steps/s", "over `DummyVecEnv` of as many"], rows),
        "Where the wall time went, in percent of the same runs; the rest is SB3's own Python and "
        "NumPy: rollout buffers, advantages, minibatches.",
        markdown(["environments", *PARTS, "the rest"], profiles),
        judged,
    ]
    return [Section(title, text, goals)]
