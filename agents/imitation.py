"""Learning to choose as another agent does, before learning by oneself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.utils import set_random_seed
from torch import Tensor

from dysta_gym.agents.checkpoints import trained
from dysta_gym.agents.networks import hidden_weights, tilts_of
from dysta_gym.agents.protocol import Bench, costs
from dysta_gym.agents.randomness import random_state, set_random_state
from dysta_gym.agents.recipes import Imitation, Reinforcement
from dysta_gym.agents.recording import RecordedEnvs
from dysta_gym.agents.runs import Arrays, Run, part_of, under
from dysta_gym.agents.scoring import NEVER, Scorer, Seen, Sight
from dysta_gym.agents.tensors import moments_of, set_moments, set_weights, weights_of
from dysta_gym.errors import DystaError
from dysta_gym.features import Selection
from dysta_gym.policies import find

PUPIL = "pupil"
"""What the arrays of a pupil are named after."""


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
        self, env: RecordedEnvs, width: int, how: Imitation, tilts: NDArray[np.float64]
    ) -> None:
        """Raises `DystaError` if the teacher has no ``tiny`` network.

        Args:
            env: Environments to walk through.
            width: Width of the network.
            how: Whom to imitate and how long.
            tilts: See `Imitation`, of each part of ``env``.
        """
        self._counts = [part.num_envs for part in env.parts]
        self._tilt(tilts)
        shown = env.get_attr("features", 0)[0]
        self.see = Sight((*shown.requests, *shown.queue))
        self.teacher, self.how = Teacher(how.teacher, self.see.policy), how
        self.env, self.scorer, self.steps = env, Scorer(width, self.see.policy), 0
        self.optimiser = torch.optim.Adam(self.scorer.parameters(), lr=how.learning_rate)
        self.observations: Any = env.reset()

    def _tilt(self, tilts: NDArray[np.float64]) -> None:
        self._tilts = tilts
        self.tilts = torch.tensor(np.repeat(tilts, self._counts), dtype=torch.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs, arrays by name."""
        return {
            "steps": np.array(self.steps),
            "tilts": self._tilts,
            **under("scorer", weights_of(self.scorer)),
            **under("optimiser", moments_of(self.optimiser)),
            **under("envs", self.env.state(self.observations)),
            **under("random", random_state()),
        }

    def restore(self, state: Arrays) -> None:
        """Go on from a state of a pupil like this one.

        Raises:
            Exception: If it can be none, of any kind.
        """
        self._tilt(state["tilts"])
        set_weights(self.scorer, part_of(state, "scorer"))
        set_moments(self.optimiser, part_of(state, "optimiser"))
        self.steps = int(state["steps"])
        self.observations = self.env.restore(part_of(state, "envs"), self.steps)
        set_random_state(part_of(state, "random"))

    def learn(self) -> None:
        """Walk eight steps in every environment, and learn from them."""
        done = self.steps / self.how.steps
        shown = []
        for _ in range(8):
            seen = self.see(torch.as_tensor(self.observations))
            shown.append(torch.as_tensor(self.observations))
            with torch.no_grad():
                wanted = seen.scores(-self.teacher(seen, self.tilts))
                mine = seen.scores(self.scorer(seen))
            followed = torch.rand(len(mine)) >= min(0.8, 2 * done)
            actions = torch.where(followed, wanted.argmax(1), mine.argmax(1))
            self.observations = self.env.step(actions.numpy())[0]
        self.steps += 8 * self.env.num_envs
        seen = self.see(torch.cat(shown))
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


def pupil_of(recipe: Reinforcement, seed: int, bench: Bench, environment: RecordedEnvs) -> Pupil:
    """The pupil that a recipe asks for, at its beginning.

    Args:
        recipe: The recipe, which imitates.
        seed: Of the run.
        bench: What its teacher is tilted for, condition by condition.
        environment: What it learns in.
    """
    how = recipe.imitate
    assert how is not None
    teacher = find(how.teacher)
    measured = bench.measure_all([teacher.at(recipe.level, tilt=tilt) for tilt in how.tilts])
    best = costs(measured, bench.reference, recipe.penalty).argmin(axis=0)
    set_random_seed(seed)
    return Pupil(environment, recipe.network.width, how, np.array(how.tilts)[best])


def restored_pupil(run: Run, recipe: Reinforcement, env: RecordedEnvs) -> Pupil:
    """The pupil that a run was saved with.

    Raises:
        DystaError: If there is none.
    """
    how = recipe.imitate
    if how is None:
        raise run.damaged(ValueError("it holds a pupil, and the recipe asks for none"))
    pupil = Pupil(env, recipe.network.width, how, np.zeros(len(env.parts)))
    state = run.restored(under(PUPIL, pupil.state()), under(f"{PUPIL}.envs", env.most()))
    try:
        pupil.restore(part_of(state, PUPIL))
    except Exception as error:  # of what can be no state
        raise run.damaged(error) from None
    return pupil


def imitate(run: Run, pupil: Pupil) -> None:
    """Let a pupil learn as long as its recipe says."""

    def state() -> dict[str, NDArray[Any]]:
        return under(PUPIL, pupil.state())

    while pupil.steps < min(pupil.how.steps, run.steps):
        pupil.learn()
        step = min(pupil.steps, pupil.how.steps)
        run.advance(step, pupil.scorer.weights, state, candidate=False)


class Teacher:
    """A ``tiny`` network in torch, which sees what its pupil sees.

    Args:
        name: A policy with such a network.
        selection: What the pupil sees.

    Raises:
        DystaError: If it has none, or sees what the pupil does not.
    """

    def __init__(self, name: str, selection: Selection) -> None:
        network = trained(find(name))
        if network is None or network.network != "tiny":
            raise DystaError(f"{name!r} is no 'tiny' network; choose an evolved agent")
        seen, row = network.seen, hidden_weights("tiny", network.seen)
        for each in (*seen.requests, *seen.queue):
            if each not in (*selection.requests, *selection.queue):
                raise DystaError(f"{name!r} sees {each.name!r}; give it to the pupil, too")
        self._requests = [selection.requests.index(each) for each in seen.requests]
        self._queue = [selection.queue.index(each) for each in seen.queue]
        self._tilted = tilts_of(seen)
        weights = torch.tensor(network.weights)
        hidden = weights[: network.width * row].reshape(network.width, row)
        of_request, of_both = len(seen.requests), row - 2
        self.requests, self.queue = hidden[:, :of_request].T, hidden[:, of_request:of_both].T
        self.bias, self.out, self.line = hidden[:, -2], hidden[:, -1], weights[-of_request:]

    def __call__(self, seen: Seen, tilts: Tensor) -> Tensor:
        """Scores, the least running first, float32 of shape ``(M,)``, for tilts, shape ``(N,)``."""
        x, c = seen.requests[:, self._requests].double(), seen.queue[:, self._queue].double()
        a = x @ self.requests + (c @ self.queue + self.bias)[seen.owner]
        tilted = tilts[seen.owner] * x[:, self._tilted].sum(1)
        return ((a / (1 + a.abs())) @ self.out + x @ self.line + tilted).float()
