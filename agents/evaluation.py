"""Judging a learned scheduler on the workloads that `dysta_gym.compare` runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
from gymnasium import spaces
from numpy.typing import NDArray

from dysta_gym.agents.spaces import TOLD, common, differs, settings_of
from dysta_gym.agents.threads import one_thread
from dysta_gym.comparison import DEFAULT_SCENARIOS, Cell, Rows, cells_of, table
from dysta_gym.errors import DystaError, shown
from dysta_gym.features import Feature
from dysta_gym.provenance import provenance
from dysta_gym.signatures import takes
from dysta_gym.workloads import Scenario

Choice = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.int64]]
"""Actions, shape ``(environments,)``, for observations, shape ``(environments, features)``, and
action masks, shape ``(environments, slots)``."""


@takes(cells_of)
def evaluate(
    agent: Any,
    scenarios: Sequence[str | Path | Mapping[str, Any] | Scenario] = DEFAULT_SCENARIOS,
    *,
    level: str | None = None,
    slots: int | None = None,
    features: Sequence[str | Feature] | None = None,
    decisions: str | None = None,
    name: str | None = None,
    batch: int = 256,
    bounds: bool = True,
    progress: Callable[[int, int], None] | None = None,
    **workloads: Any,
) -> pd.DataFrame:
    """Run an agent on the workloads of `dysta_gym.compare`, many at a time.

    ```python
    pd.concat([compare(policies=["dysta"], seeds=range(20)), evaluate(model, seeds=range(20))])
    ```

    is one table, for `dysta_gym.summarise` and `dysta_gym.aggregate`.

    A model is shown what it was trained on: the observation space of ``SparseMultiDNN-v0``, which a
    model of Stable-Baselines3 keeps, in its zip file, too, says at which ``level``, with how many
    ``slots``, of which ``features`` and for which ``decisions``. What differs from that is refused.
    Where a wrapper has put another space in its place, all four are to be given, and so are
    features of one's own. A function is shown what it is told, and otherwise what the environment
    shows by default. While a model chooses, torch takes one thread; a function says how many.

    Args:
        agent: A model of Stable-Baselines3, or anything whose ``predict(observations,
            deterministic=True)`` gives actions and a state; ``action_masks`` go to a ``predict``
            that has such an argument, and the state comes back to it if it is not None; a
            `VecNormalize` of its environment is applied, which a model that was saved has only if
            it is loaded with that environment. Or a function that gives actions, integers of shape
            ``(environments,)``, for observations, shape ``(environments, features)``, and action
            masks, shape ``(environments, slots)``; it may neither change nor keep them. Where a
            workload is finished before others, its row goes on with another one, which does not
            count.
        scenarios: As `dysta_gym.compare` takes them.
        level: What the agent knows, a level of ``SparseMultiDNN-v0``; None for that of its
            training, as below.
        slots: Requests that it can choose from.
        features: What it observes, as of ``SparseMultiDNN-v0``.
        decisions: When it is asked, as of ``SparseMultiDNN-v0``.
        name: What it is called in the column ``policy``, before ``@`` and its level; by default,
            the name of its class or of the function.
        batch: Workloads run at a time, at most. The result does not depend on it if an action does
            not depend on other rows, not even by rounding.
        bounds: As of `dysta_gym.compare`.
        progress: Called with workloads done and workloads in all, after each.
        **workloads: Which workloads, see `dysta_gym.compare`.

    Returns:
        A row per workload, with the columns of `compare`.

    Raises:
        DystaError: If an argument is not usable, the agent was trained on something else, or does
            not say on what.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise DystaError(f"batch: {batch!r} is not allowed; it must be a whole number above 0")
    cells = cells_of(scenarios, **workloads)
    told = {"level": level, "slots": slots, "features": features, "decisions": decisions}
    seen = settings(agent, {each: value for each, value in told.items() if value is not None})
    origin = provenance(cell.scenario for cell in cells)
    parts: list[Rows] = []
    for together in batches(cells, batch):
        envs = environments(together, seen)
        played: dict[int, Rows] = {}
        for at, rows in play(envs, agent, together, bounds=bounds):
            played[at] = rows
            if progress:
                progress(len(parts) + len(played), len(cells))
        parts += [played[at] for at in range(len(together))]
        called = _called(name or _name(agent), settings_of(envs.single_observation_space))
    return table(cells, [called], parts, origin)


def _called(name: str, settings: Mapping[str, Any]) -> str:
    """A name with its level, which otherwise figures would not know."""
    level = f"@{settings['level']}"
    return name if name.endswith(level) else name + level


def settings(agent: Any, told: dict[str, Any]) -> dict[str, Any]:
    """What an agent is shown: arguments of the environment.

    Args:
        agent: The agent.
        told: Those of `TOLD` that are given.

    Raises:
        DystaError: If they are not those that a model was trained with, or not known.
    """
    if not hasattr(agent, "predict"):
        return told
    known = _trained_with(agent)
    for name, given in told.items():
        if differs(name, given, known):
            raise DystaError(
                f"{name}: {shown(given)} is not allowed; the agent was trained with "
                f"{shown(known[name])}: leave it out, or judge it as a function of your own"
            )
    own = known.pop("own_features", ())
    if own and "features" not in told:
        raise DystaError(
            f"agent: it was trained on {own[0]!r}, a feature that is known by no name; give "
            "features, all that it was trained on"
        )
    space = getattr(agent, "action_space", None)
    choices = {"slots": int(space.n)} if isinstance(space, spaces.Discrete) else {}
    seen = {**choices, **known, **told}
    missing = [name for name in TOLD if name not in seen]
    if missing:
        raise DystaError(
            "agent: there is no telling what it was trained with, for its observation space does "
            "not say so, or not the same as that of the environment that it now has; give "
            + ", ".join(missing)
        )
    return seen


def _trained_with(agent: Any) -> dict[str, Any]:
    """What a model was trained with, as far as it says.

    A model may have been given other environments since, of which nobody knows whether it has
    learned from them.
    """
    known = settings_of(getattr(agent, "observation_space", None))
    since = settings_of(getattr(getattr(agent, "env", None), "observation_space", None))
    return common([known, since]) if since else known


def batches(cells: Sequence[Cell], most: int = 256) -> Iterator[Sequence[Cell]]:
    """Workloads that are played together: at most so many, of one scenario."""
    for _, group in groupby(cells, lambda cell: cell.scenario.name):
        yield from _chunks(list(group), most)


def environments(cells: Sequence[Cell], seen: Mapping[str, Any]) -> Any:
    """An environment for each of these workloads, which shows what an agent is to see."""
    return gym.make_vec(
        "SparseMultiDNN-v0",
        num_envs=len(cells),
        vectorization_mode="vector_entry_point",
        autoreset_mode="SameStep",
        threads=1,  # the others are for whoever chooses the actions
        scenario=cells[0].scenario,
        split=cells[0].split,
        copy=False,
        **seen,
    )


def _chunks(cells: Sequence[Cell], most: int) -> list[Sequence[Cell]]:
    """As few runs of at most so many cells as there can be, of about the same length."""
    count = -(-len(cells) // most)
    ends = [len(cells) * chunk // count for chunk in range(count + 1)]
    return [cells[start:end] for start, end in pairwise(ends)]


def play(
    envs: Any, agent: Any, cells: Sequence[Cell], *, bounds: bool
) -> Iterator[tuple[int, Rows]]:
    """Play the workload of each cell once; its index and its row, as each ends.

    Raises:
        DystaError: If the agent is none, or one for other environments.
    """
    choose = _choice(agent, envs)
    workloads = [cell.workload() for cell in cells]
    observations, infos = envs.reset(options={"workloads": workloads})
    running = np.ones(len(cells), np.bool_)
    while running.any():
        actions = choose(observations, infos["action_mask"].view(np.bool_))
        observations, _, ended, _, infos = envs.step(actions)
        for at in np.flatnonzero(ended & running).tolist():
            rows = _rows(infos["final_info"]["metrics"], at)
            yield at, rows.with_bounds(workloads[at]) if bounds else rows
        # Those that have ended go on with workloads of their own, which nobody looks at.
        running &= ~ended


def _rows(metrics: Mapping[str, Any], at: int) -> Rows:
    """The metrics of one environment."""
    labels = tuple(key for key in metrics if not key.startswith("_") and metrics[f"_{key}"][at])
    return Rows(labels, np.array([[metrics[label][at] for label in labels]]))


def _name(agent: Any) -> str:
    return str(getattr(agent, "__name__", type(agent).__name__))


def _choice(agent: Any, envs: Any) -> Choice:
    """The agent as a function.

    Raises:
        DystaError: If it is no agent, or one for another environment.
    """
    if not hasattr(agent, "predict"):
        if callable(agent):
            return agent
        raise DystaError(
            f"agent: {agent!r} is not allowed; it must have a method predict, or be a function of "
            "observations and action masks"
        )
    _check_fit(agent, envs)
    return _Model(agent)


def _check_fit(agent: Any, envs: Any) -> None:
    """Raise a `DystaError` if a model's spaces are known and are not those of the environment."""
    theirs, ours = getattr(agent, "action_space", None), envs.single_action_space
    if theirs is not None and theirs != ours:
        fit = f"give slots={theirs.n}" if hasattr(theirs, "n") else "it is for other environments"
        raise DystaError(f"agent: it chooses from {theirs}, but slots={ours.n} has {ours}; {fit}")
    theirs, ours = getattr(agent, "observation_space", None), envs.single_observation_space
    if theirs is not None and theirs.shape != ours.shape:
        raise DystaError(
            f"agent: it observes an array of shape {theirs.shape}, but one of shape {ours.shape} "
            "is shown; what changed it in training must be done in a function of one's own"
        )
    if isinstance(theirs, spaces.Box) and theirs != ours:
        raise DystaError(
            "agent: it observes features of other bounds than are shown; give features=, those "
            "that it was trained on"
        )


class _Model:
    """A model of Stable-Baselines3 as a `Choice`."""

    def __init__(self, model: Any) -> None:
        self._predict = partial(model.predict, deterministic=True)
        parameters = inspect.signature(model.predict).parameters
        self._masked = "action_masks" in parameters
        self._state: Any = None
        normalised = getattr(model, "get_vec_normalize_env", lambda: None)()
        self._seen = normalised.normalize_obs if normalised else lambda observations: observations

    def __call__(
        self, observations: NDArray[np.float32], masks: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        more: dict[str, Any] = {"action_masks": masks} if self._masked else {}
        if self._state is not None:
            more |= {"state": self._state, "episode_start": np.zeros(len(masks), np.bool_)}
        actions: NDArray[np.int64]
        # Not around all of the workloads: between them, others may have torch do something.
        with one_thread():
            actions, self._state = self._predict(self._seen(observations), **more)
        return actions
