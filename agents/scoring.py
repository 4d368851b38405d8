"""The pooled network in torch: as a policy of MaskablePPO, and as the Q network of DQN.

It scores what an observation of ``SparseMultiDNN-v0`` shows, from the features that its compiled
form, `dysta_gym.agents.networks.pooled`, computes of the queue, so that it is trained on slots and
then runs over the whole queue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn

from dysta_gym.agents.features import LEAST, C, F
from dysta_gym.envs.engine import DECADES, OCTAVES, REQUEST_FEATURES, SYSTEM_FEATURES, WIDTH

_AT = {name: place for place, name in enumerate(REQUEST_FEATURES)}

NEVER = -1e8
"""Score of a slot that is not taken."""


class Seen(NamedTuple):
    """What the observations of ``N`` environments show of ``M`` requests in all.

    Attributes:
        requests: Features of each request, shape ``(M, F)``.
        owner: Environment of each request, shape ``(M,)``.
        taken: Which slots they are in, shape ``(N, slots)``.
        queue: Features of each queue, shape ``(N, C)``.
        count: Requests of each, at least 1, shape ``(N, 1)``.
        system: The system's features, shape ``(N, 6)``.
    """

    requests: Tensor
    owner: Tensor
    taken: Tensor
    queue: Tensor
    count: Tensor
    system: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """Sums over each environment's requests; from ``(M, ...)`` to ``(N, ...)``."""
        return torch.zeros(len(self.taken), *values.shape[1:]).index_add(0, self.owner, values)

    def scores(self, values: Tensor) -> Tensor:
        """What each slot scores, shape ``(N, slots)``; `NEVER` if it is empty."""
        return torch.full(self.taken.shape, NEVER).masked_scatter(self.taken, values)


def see(observations: Tensor) -> Seen:
    """The features of `dysta_gym.agents.features`, of requests that have a slot."""
    slots = (observations.shape[1] - len(SYSTEM_FEATURES)) // WIDTH
    table = observations[:, : WIDTH * slots].reshape(-1, slots, WIDTH)
    taken = table[:, :, _AT["present"]] > 0
    rows = table[taken]
    owner = taken.nonzero()[:, 0]
    decades = DECADES * math.log(10)
    remaining = decades * rows[:, _AT["remaining"]]
    correction = torch.exp2(OCTAVES * rows[:, _AT["correction"]])
    size = decades * rows[:, _AT["isolated"]] + correction.log()
    soft = rows[:, _AT["slack"]]
    slack = soft / (1 - soft.abs()).clamp_min(1e-6) / correction
    late = (slack < 0).float()
    margin = slack * size.exp()
    work = remaining.exp()
    sums = torch.zeros(len(taken), 4).index_add(
        0, owner, torch.stack([work, work * (1 - late), torch.ones_like(late), 1 - late], 1)
    )
    backlog, on_time, count, makes_it = sums.unbind(1)
    some = count.clamp_min(1)
    requests = torch.stack(
        [
            remaining / 2,
            size / 2,
            late,
            slack / (1 + slack.abs()),
            slack / (8 + slack.abs()),
            rows[:, _AT["ran last"]],
            margin / (margin.abs() + on_time[owner]).clamp_min(LEAST),
            rows[:, _AT["progress"]],
        ],
        1,
    )
    queue = torch.stack(
        [backlog.log1p() / 2, on_time.log1p() / 2, count.log1p() / 2, makes_it / some], 1
    )
    return Seen(requests, owner, taken, queue, some[:, None], observations[:, WIDTH * slots :])


class Scorer(nn.Module):
    """The ``pooled`` network; the greatest runs, as torch's policies have it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(F + C, width)
        self.inner = nn.Linear(width, width)
        self.pool = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, 1)
        self.skip = nn.Linear(F, 1, bias=False)

    def forward(self, seen: Seen) -> Tensor:
        """Scores of the requests, shape ``(M,)``."""
        both = torch.cat([seen.requests, seen.queue[seen.owner]], 1)
        embedded = torch.relu(self.embed(both))
        mean = seen.sums(embedded) / seen.count
        hidden = torch.relu(self.inner(embedded) + self.pool(mean)[seen.owner])
        return (self.out(hidden) + self.skip(seen.requests)).squeeze(1)

    def weights(self) -> NDArray[np.float64]:
        """The weights as `dysta_gym.agents.networks.pooled` reads them."""
        parts: Sequence[Tensor] = (
            self.embed.weight, self.embed.bias, self.inner.weight, self.inner.bias,
            self.pool.weight, self.out.weight, self.out.bias, self.skip.weight,
        )  # fmt: skip
        return np.concatenate([part.detach().numpy().astype(np.float64).ravel() for part in parts])


class Worth(nn.Module):
    """What a queue is worth: mean and sum of embedded requests, then two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(F + C, width)
        self.inner = nn.Linear(2 * width + C + len(SYSTEM_FEATURES), 2 * width)
        self.out = nn.Linear(2 * width, 1)

    def forward(self, seen: Seen) -> Tensor:
        """Values, shape ``(N, 1)``."""
        both = torch.cat([seen.requests, seen.queue[seen.owner]], 1)
        total = seen.sums(torch.relu(self.embed(both)))
        known = torch.cat([total / seen.count, total / 16, seen.queue, seen.system], 1)
        value: Tensor = self.out(torch.relu(self.inner(known)))
        return value


class ScoringPolicy(MaskableActorCriticPolicy):
    """Scores as logits, and their worth: ``MaskablePPO(ScoringPolicy, env)``.

    ``policy_kwargs`` has ``width``, that of the networks.
    """

    def __init__(self, *args: Any, width: int = 16, **kwargs: Any) -> None:
        self.width = width
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        self.scorer, self.worth = Scorer(self.width), Worth(2 * self.width)
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "width": self.width}

    def _distribution(self, seen: Seen, masks: NDArray[np.bool_] | None) -> Any:
        logits = seen.scores(self.scorer(seen))
        distribution = self.action_dist.proba_distribution(action_logits=logits)
        if masks is not None:
            distribution.apply_masking(masks)
        return distribution

    def forward(
        self,
        obs: Tensor,
        deterministic: bool = False,
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values and logarithms of the actions' probabilities."""
        seen = see(obs)
        distribution = self._distribution(seen, action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.worth(seen), distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: Tensor, actions: Tensor, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values, logarithms of the actions' probabilities, and entropies."""
        seen = see(obs)
        distribution = self._distribution(seen, action_masks)
        return self.worth(seen), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: Tensor, action_masks: NDArray[np.bool_] | None = None) -> Any:
        """The distribution of actions."""
        return self._distribution(see(obs), action_masks)

    def predict_values(self, obs: Tensor) -> Tensor:
        """Values."""
        value: Tensor = self.worth(see(obs))
        return value


class QNet(nn.Module):
    """``Q = worth + score - mean score``, after the dueling networks of Wang et al., ICML 2016."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scorer, self.worth = Scorer(width), Worth(2 * width)

    def forward(self, obs: Tensor) -> Tensor:
        """Values of the slots, shape ``(N, slots)``."""
        seen = see(obs)
        scores = self.scorer(seen)
        mean = seen.sums(scores[:, None]) / seen.count
        return seen.scores(scores + (self.worth(seen) - mean)[seen.owner, 0])

    def _predict(self, observation: Tensor, deterministic: bool = True) -> Tensor:
        return self(observation).argmax(dim=1)

    def set_training_mode(self, mode: bool) -> None:
        """As Stable-Baselines3 calls it."""
        self.train(mode)


class ScoringQPolicy(DQNPolicy):
    """`QNet` for DQN; ``policy_kwargs`` has ``width``, that of the networks."""

    def __init__(self, *args: Any, width: int = 16, **kwargs: Any) -> None:
        self.width = width
        super().__init__(*args, **kwargs)

    def make_q_net(self) -> Any:
        """A network."""
        return QNet(self.width).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "width": self.width}
