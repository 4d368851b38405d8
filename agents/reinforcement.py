"""Training a pooled network in the environment: imitation, then MaskablePPO, or DQN."""

from __future__ import annotations

import io
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import set_random_seed
from torch import Tensor

from dysta_gym.agents.features import C, F
from dysta_gym.agents.mixing import MixedVecEnv, Priced
from dysta_gym.agents.networks import FIRST, NETWORKS, ROW
from dysta_gym.agents.protocol import (
    Bench,
    conditions,
    costs,
    relative,
    training_bench,
    training_seed,
)
from dysta_gym.agents.recipes import DQN as DQNRecipe
from dysta_gym.agents.recipes import PPO as PPORecipe
from dysta_gym.agents.recipes import Imitation, Price
from dysta_gym.agents.runs import Run
from dysta_gym.agents.scoring import NEVER, Scorer, ScoringPolicy, ScoringQPolicy, Seen, see
from dysta_gym.agents.vec_env import SparseMultiDNNVecEnv
from dysta_gym.errors import DystaError
from dysta_gym.policies import Policy, find

Recipe = PPORecipe | DQNRecipe


def ppo(run: Run) -> None:
    """Train by MaskablePPO as the run's recipe says."""
    recipe = run.recipe
    assert isinstance(recipe, PPORecipe)

    def begin(env: Priced) -> MaskablePPO:
        return MaskablePPO(
            ScoringPolicy,
            env,
            n_steps=recipe.n_steps,
            batch_size=recipe.batch_size,
            n_epochs=recipe.n_epochs,
            gamma=recipe.gamma,
            gae_lambda=recipe.gae_lambda,
            learning_rate=_Falling(recipe.learning_rate),
            clip_range=recipe.clip_range,
            ent_coef=recipe.ent_coef,
            target_kl=recipe.target_kl,
            policy_kwargs={"width": recipe.network.width, "optimizer_kwargs": {"eps": 1e-5}},
            seed=run.seed,
            device="cpu",
        )

    _learn(run, recipe, MaskablePPO, begin)


def dqn(run: Run) -> None:
    """Train by DQN as the run's recipe says."""
    recipe = run.recipe
    assert isinstance(recipe, DQNRecipe)

    def begin(env: Priced) -> MaskedDQN:
        return MaskedDQN(
            ScoringQPolicy,
            env,
            gamma=recipe.gamma,
            learning_rate=_Falling(recipe.learning_rate),
            buffer_size=recipe.buffer_size,
            batch_size=recipe.batch_size,
            train_freq=recipe.train_freq,
            gradient_steps=recipe.gradient_steps,
            learning_starts=recipe.learning_starts,
            target_update_interval=recipe.target_update_interval,
            n_steps=recipe.n_steps,
            exploration_initial_eps=recipe.exploration_initial_eps,
            exploration_fraction=recipe.exploration_fraction,
            exploration_final_eps=recipe.exploration_final_eps,
            policy_kwargs={"width": recipe.network.width},
            seed=run.seed,
            device="cpu",
        )

    _learn(run, recipe, MaskedDQN, begin)


class MaskedDQN(DQN):
    """DQN that explores among the slots that are taken; its network knows which these are."""

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        """As `DQN.predict`."""
        exploring = not kwargs.get("deterministic", False) and self.exploration_rate > 0
        rate, self.exploration_rate = self.exploration_rate, 0.0
        actions, state = super().predict(observation, *args, **kwargs)
        self.exploration_rate = rate
        if exploring:
            taken = see(torch.as_tensor(observation)).taken
            astray, where = torch.rand(2, len(actions))
            anywhere = (where * taken.sum(1)).long()  # the taken slots are the first ones
            actions = np.where(astray.numpy() < rate, anywhere.numpy(), actions)
        return actions, state

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        # The exploration rate is 1 while learning has not started.
        return super()._sample_action(0, action_noise, n_envs)


class _Falling:
    """A learning rate that falls to 0 in a line; a class, so that it can be pickled."""

    def __init__(self, first: float) -> None:
        self.first = first

    def __call__(self, left: float) -> float:
        return self.first * max(left, 0.0)


def _scorer(model: Any) -> Scorer:
    """The network of a model that schedules."""
    scorer: Scorer = model.q_net.scorer if isinstance(model, DQN) else model.policy.scorer
    return scorer


def _learn(run: Run, recipe: Recipe, kind: Any, begin: Callable[[Priced], Any]) -> None:
    """Train a model of Stable-Baselines3 from its beginning, or from where the run goes on.

    With one thread: more gain little with nets this small, and how sums are split among them would
    show in the result.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _learn_alone(run, recipe, kind, begin)
    finally:
        torch.set_num_threads(threads)


def _learn_alone(run: Run, recipe: Recipe, kind: Any, begin: Callable[[Priced], Any]) -> None:
    bench = training_bench(recipe.workloads, run.seed, recipe.price.pool)
    pupil, model, env = _restored(kind, run.restored)
    begun = model is not None
    if not begun:
        pupil = pupil or _pupil(recipe, run.seed, bench)
        if pupil:
            _imitate(run, pupil)
        env = _priced(recipe, bench, _environment(recipe, run.seed))
        model = begin(env)
        env.seed(_first_seed(recipe, run.seed))  # the model has given it the run's own seed
        if pupil:
            _take(model, pupil.scorer)
    imitated = recipe.imitate.steps if recipe.imitate else 0
    callback = _Callback(run, recipe, bench, env, imitated)
    model.set_logger(run.logger)
    left = run.steps - imitated - model.num_timesteps
    if left > 0:
        model.learn(left, callback=callback, reset_num_timesteps=not begun)
        callback.advance()


def _take(model: Any, scorer: Scorer) -> None:
    """Let a model go on from what has been learned by imitation."""
    _scorer(model).load_state_dict(scorer.state_dict())
    if isinstance(model, DQN):
        model.q_net_target.load_state_dict(model.q_net.state_dict())


class _Callback(BaseCallback):
    """Where training meets the run: between two rollouts, when there is least to keep."""

    def __init__(self, run: Run, recipe: Recipe, bench: Bench, env: Priced, imitated: int) -> None:
        super().__init__()
        self.run, self.recipe, self.bench, self.env = run, recipe, bench, env
        self.imitated = imitated
        self._priced = -1

    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        self._priced = self.model.num_timesteps // self.recipe.validate_every

    def _on_rollout_start(self) -> None:
        self.advance()

    def advance(self) -> None:
        """Set the prices, validate and save, where it is time to."""
        model, recipe = self.model, self.recipe
        epoch = model.num_timesteps // recipe.validate_every
        if epoch > self._priced and recipe.price.rate:
            self._priced = epoch
            policy = self.run.checkpoint(self._weights()).policy()
            _reprice(recipe.price, self.bench, self.env, policy)
        self.run.advance(self.imitated + model.num_timesteps, self._weights, self._state)

    def _weights(self) -> NDArray[np.float64]:
        return _scorer(self.model).weights()

    def _state(self) -> dict[str, Any]:
        model = self.model
        file = io.BytesIO()
        model.save(file)
        return {
            "model": file.getvalue(),
            "env": pickle.dumps(self.env),
            "replay": pickle.dumps(getattr(model, "replay_buffer", None)),
            "actions": pickle.dumps(model.action_space),
            "random": _random_state(),
        }


def _restored(kind: Any, state: dict[str, Any] | None) -> tuple[Pupil | None, Any, Any]:
    """A pupil, or a model and its environments, as they were saved; None for what was not."""
    if state is None:
        return None, None, None
    if "pupil" in state:
        _set_random_state(state["random"])
        return pickle.loads(state["pupil"]), None, None
    env = pickle.loads(state["env"])
    model = kind.load(io.BytesIO(state["model"]), env=env, device="cpu", force_reset=False)
    model.action_space = pickle.loads(state["actions"])
    replay = pickle.loads(state["replay"])
    if replay is not None:
        model.replay_buffer = replay
    _set_random_state(state["random"])
    return None, model, env


def _random_state() -> Any:
    """The state of the global generators, which Stable-Baselines3 draws from."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def _set_random_state(state: Any) -> None:
    python, numpy, torches = state
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    torch.set_rng_state(torches)


def _environment(recipe: Recipe, seed: int) -> MixedVecEnv:
    """Environments of every condition, with training seeds."""
    env = MixedVecEnv(
        SparseMultiDNNVecEnv(
            count,
            scenario=condition,
            level=recipe.level,
            slots=recipe.slots,
            decisions="events",
        )
        for condition, count in zip(conditions(recipe.workloads), recipe.counts(), strict=True)
    )
    env.seed(_first_seed(recipe, seed))
    return env


def _first_seed(recipe: Recipe, run: int) -> int:
    """First seed of a run's environments, after those of the workloads that set the prices."""
    return training_seed(run) + recipe.price.pool


def _priced(recipe: Recipe, bench: Bench, env: MixedVecEnv) -> Priced:
    rate, antt = bench.reference.mean(axis=1).T
    price = recipe.price
    first = np.clip(price.start * antt / np.maximum(rate, 0.02), price.least, price.most)
    requests = np.array([condition.requests for condition in bench.conditions], float)
    return Priced(env, first, requests, recipe.gamma)


def _reprice(price: Price, bench: Bench, env: Priced, policy: Policy) -> None:
    """Set the prices after a look at what the network does on training workloads."""
    v, a = relative(bench.measure(policy), bench.reference)
    room = np.clip((price.antt - a) / 0.02, -1, 1)
    change = np.where((room > 0) & (v < price.violations), 0, room)
    env.price(np.clip(env.prices * np.exp(price.rate * change), price.least, price.most))


class Pupil:
    """A network that learns to choose as a teacher does, in the states that it gets into itself.

    The teacher says what it would have done where the pupil has gone (DAgger: Ross, Gordon and
    Bagnell, A reduction of imitation learning and structured prediction to no-regret online
    learning, AISTATS 2011), and how much it minds: its scores over a temperature are the
    probabilities that the pupil's are compared with.

    Attributes:
        scorer: The network.
        steps: Steps that its environments have made.
    """

    def __init__(
        self, env: MixedVecEnv, scorer: Scorer, how: Imitation, tilts: NDArray[np.float64]
    ) -> None:
        """Raises `DystaError` if the teacher has no ``tiny`` network.

        Args:
            env: Environments to walk through.
            scorer: The network.
            how: Whom to imitate and how long.
            tilts: See `Imitation`, of each part of ``env``.
        """
        counts = [part.num_envs for part in env.parts]
        self.tilts = torch.tensor(np.repeat(tilts, counts), dtype=torch.float32)
        self.teacher, self.how = Teacher(how.teacher), how
        self.env, self.scorer, self.steps = env, scorer, 0
        self.optimiser = torch.optim.Adam(scorer.parameters(), lr=how.learning_rate)
        self.observations: Any = env.reset()

    def learn(self) -> None:
        """Walk eight steps in every environment, and learn from them."""
        done = self.steps / self.how.steps
        shown = []
        for _ in range(8):
            seen = see(torch.as_tensor(self.observations))
            shown.append(torch.as_tensor(self.observations))
            with torch.no_grad():
                wanted = seen.scores(-self.teacher(seen, self.tilts))
                mine = seen.scores(self.scorer(seen))
            followed = torch.rand(len(mine)) >= min(0.8, 2 * done)
            actions = torch.where(followed, wanted.argmax(1), mine.argmax(1))
            self.observations = self.env.step(actions.numpy())[0]
        self.steps += 8 * self.env.num_envs
        seen = see(torch.cat(shown))
        with torch.no_grad():
            scores = self.teacher(seen, self.tilts.repeat(len(shown)))
            wanted = torch.softmax(seen.scores(-scores / self.how.temperature), 1)
        for group in self.optimiser.param_groups:
            group["lr"] = self.how.learning_rate * max(0.0, 1 - done)
        for _ in range(3):
            chances = torch.log_softmax(seen.scores(self.scorer(seen)), 1).clamp_min(NEVER)
            loss = -(wanted * chances).sum(1).mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()


def _pupil(recipe: Recipe, seed: int, bench: Bench) -> Pupil | None:
    how = recipe.imitate
    if how is None:
        return None
    teacher = find(how.teacher).at(recipe.level)
    measured = bench.measure_all([_tilted(teacher, tilt) for tilt in how.tilts])
    best = costs(measured, bench.reference, how.antt).argmin(axis=0)
    set_random_seed(seed)
    env = _environment(recipe, seed)
    return Pupil(env, Scorer(recipe.network.width), how, np.array(how.tilts)[best])


def _tilted(teacher: Policy, tilt: float) -> Policy:
    """A ``tiny`` network with other weights of the first two features, remaining and size."""
    weights = np.array(teacher.weights)
    weights[-F : -F + 2] += tilt
    return replace(teacher, weights=tuple(weights.tolist()))


def _imitate(run: Run, pupil: Pupil) -> None:
    def state() -> dict[str, Any]:
        return {"pupil": pickle.dumps(pupil), "random": _random_state()}

    while pupil.steps < min(pupil.how.steps, run.steps):
        pupil.learn()
        step = min(pupil.steps, pupil.how.steps)
        run.advance(step, pupil.scorer.weights, state, candidate=False)


class Teacher:
    """A ``tiny`` network in torch."""

    def __init__(self, name: str) -> None:
        policy = find(name)
        if policy.score is not NETWORKS["tiny"].rule:
            raise DystaError(f"{name!r} is no 'tiny' network; choose an evolved agent")
        width = int(policy.weights[0])
        weights = torch.tensor(policy.weights[FIRST - 1 :], dtype=torch.float32)
        hidden = weights[: width * ROW].reshape(width, ROW)
        self.requests, self.queue = hidden[:, :F].T, hidden[:, F : F + C].T
        self.bias, self.out, self.line = hidden[:, F + C], hidden[:, F + C + 1], weights[-F:]

    def __call__(self, seen: Seen, tilts: Tensor) -> Tensor:
        """Scores, the least running first, shape ``(M,)``, for tilts of shape ``(N,)``."""
        a = seen.requests @ self.requests + (seen.queue @ self.queue + self.bias)[seen.owner]
        tilted = tilts[seen.owner] * seen.requests[:, :2].sum(1)
        return (a / (1 + a.abs())) @ self.out + seen.requests @ self.line + tilted
