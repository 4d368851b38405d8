"""Training a pooled network in the environment: imitation, then MaskablePPO, or DQN."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from dysta_gym.agents.imitation import PUPIL, Pupil, imitate, pupil_of, restored_pupil
from dysta_gym.agents.mixing import Scaled
from dysta_gym.agents.protocol import deployed_bench, deployments, training_seed
from dysta_gym.agents.randomness import random_state, set_random_state
from dysta_gym.agents.recipes import DQNRecipe, PPORecipe
from dysta_gym.agents.recording import RecordedEnvs, RecordedVecEnv
from dysta_gym.agents.runs import Arrays, Run, part_of, under
from dysta_gym.agents.scoring import Scorer, ScoringPolicy, ScoringQPolicy
from dysta_gym.agents.tensors import moments_of, set_moments, set_weights, weights_of
from dysta_gym.agents.threads import one_thread

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
            learning_rate=_falling(recipe.learning_rate),
            clip_range=recipe.clip_range,
            ent_coef=recipe.ent_coef,
            target_kl=recipe.target_kl,
            policy_kwargs={**_networks(recipe), "optimizer_kwargs": {"eps": 1e-5}},
            seed=run.seed,
            device="cpu",
        )

    _learn(run, recipe, begin)


def dqn(run: Run) -> None:
    """Train by DQN as the run's recipe says."""
    recipe = run.recipe
    assert isinstance(recipe, DQNRecipe)

    def begin(env: Scaled) -> MaskedDQN:
        return MaskedDQN(
            ScoringQPolicy,
            env,
            gamma=recipe.gamma,
            learning_rate=_falling(recipe.learning_rate),
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

    _learn(run, recipe, begin)


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


def _falling(first: float) -> Callable[[float], float]:
    """A learning rate that falls to 0 in a line."""
    return lambda left: first * max(left, 0.0)


def _scorer(model: Any) -> Scorer:
    """The network of a model that schedules."""
    scorer: Scorer = model.q_net.scorer if isinstance(model, DQN) else model.policy.scorer
    return scorer


def _learn(run: Run, recipe: Recipe, begin: Callable[[Scaled], Any]) -> None:
    """Train a model of Stable-Baselines3 from its beginning, or from where the run goes on."""
    with one_thread():
        _learn_alone(run, recipe, begin)


def _learn_alone(run: Run, recipe: Recipe, begin: Callable[[Scaled], Any]) -> None:
    pupil, begun = None, bool(run.kept)
    if any(name.startswith(f"{PUPIL}.") for name in run.kept):
        pupil, begun = restored_pupil(run, recipe, _environment(recipe, run.seed)), False
    elif not begun:
        pupil = _pupil(run, recipe)
    if pupil:
        imitate(run, pupil)
    envs = _environment(recipe, run.seed)
    env = Scaled(envs, recipe.gamma)
    model = begin(env)
    env.seed(_first_seed(recipe, run.seed))  # the model has given it the run's own seed
    if begun:
        _restore(run, model, env, envs)
    elif pupil:
        _take(model, pupil.scorer)
    imitated = recipe.imitate.steps if recipe.imitate else 0
    left = run.steps - imitated - model.num_timesteps
    if left > 0:
        callback = _Callback(run, env, envs, imitated)
        model.set_logger(run.logger)
        model.learn(left, callback=callback, reset_num_timesteps=not begun)
        callback.advance()


def _pupil(run: Run, recipe: Recipe) -> Pupil | None:
    """The pupil that a recipe asks for, if any, at its beginning."""
    if recipe.imitate is None:
        return None
    pool, reference = recipe.imitate.pool, run.judge.reference
    bench = deployed_bench(recipe.workloads, run.seed, pool, reference)
    return pupil_of(recipe, run.seed, bench, _environment(recipe, run.seed))


def _take(model: Any, scorer: Scorer) -> None:
    """Let a model go on from what has been learned by imitation."""
    _scorer(model).load_state_dict(scorer.state_dict())
    if isinstance(model, DQN):
        model.q_net_target.load_state_dict(model.q_net.state_dict())


class _Callback(BaseCallback):
    """Where training meets the run: between two rollouts, when there is least to keep."""

    def __init__(self, run: Run, env: Scaled, envs: RecordedEnvs, imitated: int) -> None:
        super().__init__()
        self.run, self.env, self.envs, self.imitated = run, env, envs, imitated

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.advance()

    def advance(self) -> None:
        """Validate and save, where it is time to."""
        self.run.advance(self.imitated + self.model.num_timesteps, self._weights, self._state)

    def _weights(self) -> NDArray[np.float64]:
        return _scorer(self.model).weights()

    def _state(self) -> dict[str, NDArray[Any]]:
        return _state(self.model, self.env, self.envs)


# --- what is kept --------------------------------------------------------------------------------

_MODEL, _REPLAY = "model", "replay"
"""What the arrays of a model, and of what it replays, are named after."""

_REPLAYED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
"""The arrays of a replay buffer."""


def _state(model: Any, env: Scaled, envs: RecordedEnvs) -> dict[str, NDArray[Any]]:
    """What `_restore` needs, arrays by name."""
    episodes = [[info[key] for key in _EPISODE] for info in model.ep_info_buffer or ()]
    arrays = {
        "steps": np.array(model.num_timesteps),
        "updates": np.array(model._n_updates),
        "episodes": np.array(model._episode_num),
        "last_episodes": np.array(episodes, float).reshape(-1, len(_EPISODE)),
        "starts": np.array(model._last_episode_starts),
        "left": np.array(float(model._current_progress_remaining)),
        **under("policy", weights_of(model.policy)),
        **under("optimiser", moments_of(model.policy.optimizer)),
        **under("scaled", env.state()),
        **under("envs", envs.state(model._last_obs)),
        **under("random", random_state()),
    }
    if isinstance(model, DQN):
        arrays["calls"] = np.array(model._n_calls)
        arrays["exploration_rate"] = np.array(float(model.exploration_rate))
        buffer: Any = model.replay_buffer
        arrays[f"{_REPLAY}.at"] = np.array(buffer.pos)
        arrays |= {
            f"{_REPLAY}.{each}": getattr(buffer, each)[: buffer.size()] for each in _REPLAYED
        }
    return under(_MODEL, arrays)


_EPISODE = ("r", "l", "t")
"""What Stable-Baselines3 keeps of the last episodes: return, length and time."""


def _restore(run: Run, model: Any, env: Scaled, envs: RecordedEnvs) -> None:
    """Bring a fresh model and its environments to where they were saved.

    Raises:
        DystaError: If what was saved can be no state.
    """
    model._last_obs = env.reset()
    model._last_episode_starts = np.ones(env.num_envs, np.bool_)
    most = {"last_episodes": model._stats_window_size, **under("envs", envs.most())}
    if isinstance(model, DQN):
        size = model.replay_buffer.buffer_size  # type: ignore[union-attr]
        most |= dict.fromkeys((f"{_REPLAY}.{each}" for each in _REPLAYED), size)
    like = _state(model, env, envs)
    state = part_of(run.restored(like, under(_MODEL, most)), _MODEL)
    try:
        model.num_timesteps, model._n_updates = int(state["steps"]), int(state["updates"])
        model._episode_num = int(state["episodes"])
        model._current_progress_remaining = float(state["left"])
        model.ep_success_buffer = deque(maxlen=model._stats_window_size)
        model.ep_info_buffer = deque(
            (
                {"r": each, "l": int(length), "t": seconds}
                for each, length, seconds in state["last_episodes"].tolist()
            ),
            maxlen=model._stats_window_size,
        )
        model._last_episode_starts = state["starts"].copy()
        set_weights(model.policy, part_of(state, "policy"))
        set_moments(model.policy.optimizer, part_of(state, "optimiser"))
        env.restore(part_of(state, "scaled"))
        model._last_obs = envs.restore(part_of(state, "envs"), model.num_timesteps)
        if isinstance(model, DQN):
            model._n_calls = int(state["calls"])
            model.exploration_rate = float(state["exploration_rate"])
            _refill(model, part_of(state, _REPLAY))
        set_random_state(part_of(state, "random"))
    except Exception as error:  # of what can be no state
        raise run.damaged(error) from None


def _refill(model: Any, arrays: Arrays) -> None:
    """Give the empty replay buffer of a model what one like it held.

    Raises:
        ValueError: If it cannot have held that.
    """
    buffer, slots = model.replay_buffer, model.action_space.n
    at, count = int(arrays["at"]), len(arrays["actions"])
    if not (count == buffer.buffer_size > at >= 0 or count == at < buffer.buffer_size):
        raise ValueError(f"a buffer of {buffer.buffer_size} holds {count} and is at {at}")
    if count and not 0 <= arrays["actions"].min() <= arrays["actions"].max() < slots:
        raise ValueError("it replays actions that are no slots")
    for name in _REPLAYED:
        if len(arrays[name]) != count:
            raise ValueError(f"of {count} steps it has {len(arrays[name])} {name}")
        getattr(buffer, name)[:count] = arrays[name]
    buffer.pos, buffer.full = at, count == buffer.buffer_size


# --- environments --------------------------------------------------------------------------------


def _environment(recipe: Recipe, seed: int) -> RecordedEnvs:
    """Environments of every condition, with training seeds."""
    env = RecordedEnvs(
        RecordedVecEnv(
            count,
            scenario=condition,
            level=recipe.level,
            slots=recipe.slots,
            decisions="events",
            features=_shown(recipe),
            reward="shaped",
            penalty=recipe.penalty,
        )
        for condition, count in zip(
            deployments(recipe.workloads, seed), recipe.counts(), strict=True
        )
    )
    env.seed(_first_seed(recipe, seed))
    return env


def _first_seed(recipe: Recipe, run: int) -> int:
    """First seed of a run's environments, after those of the workloads that set tilts."""
    return training_seed(run) + (recipe.imitate.pool if recipe.imitate else 0)
