"""The pooled network in torch: as a policy of MaskablePPO, and as the Q network of DQN.

It reads the features that an environment shows, which are those that its compiled form,
`dysta_gym.agents.networks`, computes of the queue, to the last bit. It computes in float64 as that
does, and scores in float32, so that it is trained on slots and then runs over the whole queue with
the same scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn

from dysta_gym.agents.spaces import differs, settings_of
from dysta_gym.errors import DystaError, shown
from dysta_gym.features import DEFAULT, Feature, Selection, select

NEVER = -1e8
"""Score of a slot that is not taken."""


class Seen(NamedTuple):
    """What the observations of ``N`` environments show of ``M`` requests in all.

    Attributes:
        requests: Features of each request that a policy can see, shape ``(M, F)``.
        queue: Features of each queue that a policy can see, shape ``(N, C)``.
        more: All features of each request, shape ``(M, ...)``.
        whole: All features of each queue, shape ``(N, ...)``.
        owner: Environment of each request, shape ``(M,)``.
        taken: Which slots they are in, shape ``(N, slots)``.
        count: Requests of each, at least 1, shape ``(N, 1)``.
    """

    requests: Tensor
    queue: Tensor
    more: Tensor
    whole: Tensor
    owner: Tensor
    taken: Tensor
    count: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """Sums over each environment's requests; from ``(M, ...)`` to ``(N, ...)``."""
        shape = (len(self.taken), *values.shape[1:])
        return torch.zeros(shape, dtype=values.dtype).index_add(0, self.owner, values)

    def scores(self, values: Tensor) -> Tensor:
        """What each slot scores, shape ``(N, slots)``; `NEVER` if it is empty."""
        return torch.full(self.taken.shape, NEVER).masked_scatter(self.taken, values)


class Sight:
    """How the features of an observation are read.

    Args:
        features: The features that the environment shows; ``present`` must be among them.

    Attributes:
        policy: Those of them that a policy can see, a `Selection`.
        more: How many of a request there are in all, but for ``present``.
        whole: How many of the queue there are in all.

    Raises:
        DystaError: If ``present`` is missing, or there is nothing of a request to score by.
    """

    def __init__(self, features: Iterable[str | Feature]) -> None:
        shown = select(features)
        self._shown, names = shown, [each.name for each in shown.requests]
        if "present" not in names:
            raise DystaError(
                "features: 'present' is missing; a network that scores requests must be shown it"
            )
        self.policy: Selection = shown.for_policies().without("present")
        self.policy.check_for_policies()
        self._present = names.index("present")
        self._more = [at for at in range(len(names)) if at != self._present]
        self._requests = [names.index(each.name) for each in self.policy.requests]
        self._queue = [shown.queue.index(each) for each in self.policy.queue]
        self.more, self.whole = len(self._more), len(shown.queue)

    def __call__(self, observations: Tensor) -> Seen:
        """What observations show, of requests that have a slot.

        Raises:
            DystaError: If they hold other features.
        """
        width = len(self._shown.requests)
        slots, rest = divmod(observations.shape[1] - self.whole, width)
        if rest or slots < 1:
            raise DystaError(
                f"features: observations of {observations.shape[1]} numbers do not hold "
                f"{width} a slot and {self.whole} of the queue; give the features that the "
                "environment shows, for instance policy_kwargs={'features': ...}"
            )
        table = observations[:, : width * slots].reshape(-1, slots, width)
        taken = table[:, :, self._present] > 0
        rows, whole = table[taken], observations[:, width * slots :]
        return Seen(
            requests=rows[:, self._requests],
            queue=whole[:, self._queue],
            more=rows[:, self._more],
            whole=whole,
            owner=taken.nonzero()[:, 0],
            taken=taken,
            count=taken.sum(1, keepdim=True).clamp_min(1),
        )


class Scorer(nn.Module):
    """The ``pooled`` network; the greatest runs, as torch's policies have it."""

    def __init__(self, width: int, selection: Selection) -> None:
        super().__init__()
        of_request, of_queue = len(selection.requests), len(selection.queue)
        self.embed = nn.Linear(of_request + of_queue, width)
        self.inner = nn.Linear(width, width)
        self.pool = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, 1)
        self.skip = nn.Linear(of_request, 1, bias=False)
        self.double()

    def forward(self, seen: Seen) -> Tensor:
        """Scores of the requests, float32 of shape ``(M,)``."""
        requests, queue = seen.requests.double(), seen.queue.double()
        embedded = torch.relu(self.embed(torch.cat([requests, queue[seen.owner]], 1)))
        mean = seen.sums(embedded) / seen.count
        hidden = torch.relu(self.inner(embedded) + self.pool(mean)[seen.owner])
        return (self.out(hidden) + self.skip(requests)).squeeze(1).float()

    def weights(self) -> NDArray[np.float64]:
        """The weights as `dysta_gym.agents.networks` reads them."""
        parts: Sequence[Tensor] = (
            self.embed.weight, self.embed.bias, self.inner.weight, self.inner.bias,
            self.pool.weight, self.out.weight, self.out.bias, self.skip.weight,
        )  # fmt: skip
        return np.concatenate([part.detach().numpy().ravel() for part in parts])


class Worth(nn.Module):
    """What a queue is worth: mean and sum of embedded requests, then two layers."""

    def __init__(self, width: int, sight: Sight) -> None:
        super().__init__()
        self.embed = nn.Linear(sight.more + sight.whole, width)
        self.inner = nn.Linear(2 * width + sight.whole, 2 * width)
        self.out = nn.Linear(2 * width, 1)

    def forward(self, seen: Seen) -> Tensor:
        """Values, shape ``(N, 1)``."""
        both = torch.cat([seen.more, seen.whole[seen.owner]], 1)
        total = seen.sums(torch.relu(self.embed(both)))
        known = torch.cat([total / seen.count, total / 16, seen.whole], 1)
        value: Tensor = self.out(torch.relu(self.inner(known)))
        return value


class _Scoring:
    """What both kinds of policies are told beside what Stable-Baselines3 tells them."""

    def __init__(
        self,
        observation_space: Any,
        *args: Any,
        width: int = 16,
        features: Sequence[str | Feature] | None = None,
        **kwargs: Any,
    ) -> None:
        self.width, self.features = width, _features(observation_space, features)
        super().__init__(observation_space, *args, **kwargs)  # type: ignore[call-arg]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        given: dict[str, Any] = super()._get_constructor_parameters()  # type: ignore[misc]
        return {**given, "width": self.width, "features": self.features}


def _features(space: Any, given: Sequence[str | Feature] | None) -> Sequence[str | Feature]:
    """The features that an environment shows.

    Raises:
        DystaError: If others are given, or they are known by no name and have to be.
    """
    known = settings_of(space)
    if given is not None:
        if differs("features", given, known):
            raise DystaError(
                f"features: {shown(given)} is not allowed; the environment shows "
                f"{shown(known['features'])}: leave it out"
            )
        return given
    own = known.get("own_features")
    if own:
        raise DystaError(
            f"features: {own[0]!r} is known by no name; give all that the environment shows, for "
            "instance policy_kwargs={'features': ...}"
        )
    features: Sequence[str | Feature] = known.get("features", DEFAULT)
    return features


class ScoringPolicy(_Scoring, MaskableActorCriticPolicy):
    """Scores as logits, and their worth: ``MaskablePPO(ScoringPolicy, env)``.

    Slots that are empty score next to nothing, so that `PPO` and `A2C`, which know no masks, choose
    none of them either.

    ``policy_kwargs`` has ``width``, that of the networks, and ``features``, those that the
    environment shows, where its space does not say so or some are one's own.
    """

    def __init__(self, *args: Any, use_sde: bool = False, **kwargs: Any) -> None:
        # Algorithms without masks say whether they explore by a state, which is for other actions.
        if use_sde:
            raise DystaError(f"use_sde: {use_sde!r} is not allowed; slots are chosen, not numbers")
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        self.see = Sight(self.features)
        self.scorer = Scorer(self.width, self.see.policy)
        self.worth = Worth(2 * self.width, self.see)
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

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
        seen = self.see(obs)
        distribution = self._distribution(seen, action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.worth(seen), distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: Tensor, actions: Tensor, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values, logarithms of the actions' probabilities, and entropies."""
        seen = self.see(obs)
        distribution = self._distribution(seen, action_masks)
        return self.worth(seen), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: Tensor, action_masks: NDArray[np.bool_] | None = None) -> Any:
        """The distribution of actions."""
        return self._distribution(self.see(obs), action_masks)

    def predict_values(self, obs: Tensor) -> Tensor:
        """Values."""
        value: Tensor = self.worth(self.see(obs))
        return value


class QNet(nn.Module):
    """``Q = worth + score - mean score``, after the dueling networks of Wang et al., ICML 2016."""

    def __init__(self, width: int, sight: Sight) -> None:
        super().__init__()
        self.see = sight
        self.scorer, self.worth = Scorer(width, sight.policy), Worth(2 * width, sight)

    def forward(self, obs: Tensor) -> Tensor:
        """Values of the slots, shape ``(N, slots)``."""
        seen = self.see(obs)
        scores = self.scorer(seen)
        mean = seen.sums(scores[:, None]) / seen.count
        return seen.scores(scores + (self.worth(seen) - mean)[seen.owner, 0])

    def _predict(self, observation: Tensor, deterministic: bool = True) -> Tensor:
        return self(observation).argmax(dim=1)

    def set_training_mode(self, mode: bool) -> None:
        """As Stable-Baselines3 calls it."""
        self.train(mode)


class ScoringQPolicy(_Scoring, DQNPolicy):
    """`QNet` for DQN; ``policy_kwargs`` as of `ScoringPolicy`."""

    def make_q_net(self) -> Any:
        """A network."""
        return QNet(self.width, Sight(self.features)).to(self.device)
