"""Training a pooled network in the environment: imitation, then MaskablePPO, or DQN."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from dysta_gym.agents.imitation import Pupil, imitate, pupil_of
from dysta_gym.agents.mixing import MixedVecEnv, Scaled
from dysta_gym.agents.protocol import Bench, conditions, relative, training_bench, training_seed
from dysta_gym.agents.randomness import random_state, set_random_state
from dysta_gym.agents.recipes import DQNRecipe, Penalty, PPORecipe
from dysta_gym.agents.runs import PICKLED, Run, pickled
from dysta_gym.agents.scoring import Scorer, ScoringPolicy, ScoringQPolicy
from dysta_gym.agents.vec_env import SparseMultiDNNVecEnv
from dysta_gym.policies import Policy

TRAINING_FEATURES = ("behind", "finished")
"""What environments show beside what the network sees, to judge what a queue is worth: only they
know it, so the network that schedules does not see it."""

Recipe = PPORecipe | DQNRecipe


def ppo(run: Run) -> None:
    """Train by MaskablePPO as the run's recipe says."""
    recipe = run.recipe
    assert isinstance(recipe, PPORecipe)

    def begin(env: Scaled) -> MaskablePPO:
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
            policy_kwargs={**_networks(recipe), "optimizer_kwargs": {"eps": 1e-5}},
            seed=run.seed,
            device="cpu",
        )

    _learn(run, recipe, MaskablePPO, begin)


def dqn(run: Run) -> None:
    """Train by DQN as the run's recipe says."""
    recipe = run.recipe
    assert isinstance(recipe, DQNRecipe)

    def begin(env: Scaled) -> MaskedDQN:
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
            policy_kwargs=_networks(recipe),
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
            taken = self.q_net.see(torch.as_tensor(observation)).taken
            astray, where = torch.rand(2, len(actions))
            anywhere = (where * taken.sum(1)).long()  # the taken slots are the first ones
            actions = np.where(astray.numpy() < rate, anywhere.numpy(), actions)
        return actions, state

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        # The exploration rate is 1 while learning has not started.
        return super()._sample_action(0, action_noise, n_envs)


def _shown(recipe: Recipe) -> tuple[str, ...]:
    """What environments show: what the network sees, and what it helps to know in training."""
    return ("present", *recipe.features, *TRAINING_FEATURES)


def _networks(recipe: Recipe) -> dict[str, Any]:
    """How its policy makes its networks."""
    return {"width": recipe.network.width, "features": _shown(recipe)}


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


def _learn(run: Run, recipe: Recipe, kind: Any, begin: Callable[[Scaled], Any]) -> None:
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


def _learn_alone(run: Run, recipe: Recipe, kind: Any, begin: Callable[[Scaled], Any]) -> None:
    bench = training_bench(recipe.workloads, run.seed, recipe.penalty.pool)
    pupil, model, env = _restored(run, kind)
    begun = model is not None
    if not begun:
        pupil = pupil or pupil_of(recipe, run.seed, bench, lambda: _environment(recipe, run.seed))
        if pupil:
            imitate(run, pupil)
        env = _scaled(recipe, bench, _environment(recipe, run.seed))
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

    def __init__(self, run: Run, recipe: Recipe, bench: Bench, env: Scaled, imitated: int) -> None:
        super().__init__()
        self.run, self.recipe, self.bench, self.env = run, recipe, bench, env
        self.imitated = imitated
        self._adapted = -1

    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        self._adapted = self.model.num_timesteps // self.recipe.validate_every

    def _on_rollout_start(self) -> None:
        self.advance()

    def advance(self) -> None:
        """Adapt the penalties, validate and save, where it is time to."""
        model, recipe = self.model, self.recipe
        epoch = model.num_timesteps // recipe.validate_every
        if epoch > self._adapted and recipe.penalty.rate:
            self._adapted = epoch
            policy = self.run.checkpoint(self._weights()).policy()
            _adapt(recipe.penalty, self.bench, self.env, policy)
        self.run.advance(self.imitated + model.num_timesteps, self._weights, self._state)

    def _weights(self) -> NDArray[np.float64]:
        return _scorer(self.model).weights()

    def _state(self) -> dict[str, NDArray[np.uint8]]:
        model = self.model
        file = io.BytesIO()
        model.save(file)
        return pickled(
            {
                "model": file.getvalue(),
                "env": self.env,
                "replay": getattr(model, "replay_buffer", None),
                "actions": model.action_space,
                "random": random_state(),
            }
        )


def _restored(run: Run, kind: Any) -> tuple[Pupil | None, Any, Any]:
    """A pupil, or a model and its environments, as they were saved; None for what was not.

    Both the pickle and, in it, the model run code when they are read: the run has seen to it that
    they may be.
    """
    if run.restored is None:
        return None, None, None
    try:
        state = pickle.loads(run.restored[PICKLED].data)
        pupil, model, env = state.get("pupil"), None, state.get("env")
        if pupil is None:
            file = io.BytesIO(state["model"])
            model = kind.load(file, env=env, device="cpu", force_reset=False)
            model.action_space = state["actions"]
            if state["replay"] is not None:
                model.replay_buffer = state["replay"]
        set_random_state(state["random"])
    except Exception as error:  # a damaged pickle raises anything
        raise run.damaged(error) from None
    return pupil, model, env


def _environment(recipe: Recipe, seed: int) -> MixedVecEnv:
    """Environments of every condition, with training seeds."""
    env = MixedVecEnv(
        SparseMultiDNNVecEnv(
            count,
            scenario=condition,
            level=recipe.level,
            slots=recipe.slots,
            decisions="events",
            features=_shown(recipe),
            reward="shaped",
        )
        for condition, count in zip(conditions(recipe.workloads), recipe.counts(), strict=True)
    )
    env.seed(_first_seed(recipe, seed))
    return env


def _first_seed(recipe: Recipe, run: int) -> int:
    """First seed of a run's environments, after those of the workloads that set the penalties."""
    return training_seed(run) + recipe.penalty.pool


def _scaled(recipe: Recipe, bench: Bench, env: MixedVecEnv) -> Scaled:
    rate, antt = bench.reference.mean(axis=1).T
    penalty = recipe.penalty
    first = np.clip(penalty.start * antt / np.maximum(rate, 0.02), penalty.least, penalty.most)
    return Scaled(env, first, recipe.gamma)


def _adapt(penalty: Penalty, bench: Bench, env: Scaled, policy: Policy) -> None:
    """Set the penalties after a look at what the network does on training workloads."""
    v, a = relative(bench.measure(policy), bench.reference)
    room = np.clip((penalty.antt - a) / 0.02, -1, 1)
    change = np.where((room > 0) & (v < penalty.violations), 0, room)
    new = env.penalties * np.exp(penalty.rate * change)
    env.penalise(np.clip(new, penalty.least, penalty.most))
