"""What training validates a network by, and chooses it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from dysta_gym.agents.checkpoints import Checkpoint
from dysta_gym.agents.frontier import JUDGED, Floats, hypervolume
from dysta_gym.agents.networks import PREFERENCE
from dysta_gym.agents.protocol import objective
from dysta_gym.agents.recipes import ParetoRecipe, Recipe
from dysta_gym.policies import Policy

LEAST_RI = "sptp@sized/kalman"
"""What networks are compared with: least ``R I`` first, with all that agents know."""


class Judge(Protocol):
    """How the networks of a recipe are judged.

    Attributes:
        reference: Name of the policy that they are compared with.
        shown: Which of the policies is shown while training.
        preference: The preference of that one; NaN if it has none.
    """

    reference: str
    shown: int
    preference: float

    def policies(self, network: Checkpoint) -> list[Policy]:
        """What a network is judged as."""

    def objective(self, measured: Floats, reference: Floats) -> float:
        """What is to be small.

        Args:
            measured: Of the policies, shape ``(policies, conditions, seeds, 2)``.
            reference: Shape ``(conditions, seeds, 2)``.
        """

    def record(self, measured: Floats, reference: Floats) -> dict[str, Any]:
        """What a checkpoint tells of that beside."""


class _Point:
    """A network that is one policy, for which a violation rate of 1 weighs so much ANTT."""

    reference, shown, preference = LEAST_RI, 0, np.nan

    def __init__(self, penalty: float) -> None:
        self._penalty = penalty

    def policies(self, network: Checkpoint) -> list[Policy]:
        return [network.policy()]

    def objective(self, measured: Floats, reference: Floats) -> float:
        return float(objective(measured[0], reference, self._penalty))

    def record(self, measured: Floats, reference: Floats) -> dict[str, Any]:
        return {}


class _Curve:
    """A network that is a policy for each preference."""

    reference, preference = LEAST_RI, PREFERENCE.default
    shown = JUDGED.index(preference)

    def policies(self, network: Checkpoint) -> list[Policy]:
        policy = network.policy()
        return [policy.at(policy.level, preference=each) for each in JUDGED]

    def objective(self, measured: Floats, reference: Floats) -> float:
        return 1 - hypervolume(measured.mean(axis=-2), reference.mean(axis=-2))

    def record(self, measured: Floats, reference: Floats) -> dict[str, Any]:
        points, base = measured.mean(axis=-2), reference.mean(axis=-2)
        return {
            "hypervolume": hypervolume(points, base),
            "frontier": [
                {
                    "preference": preference,
                    "violation_rate": float(each[:, 0].mean()),
                    "antt_over_reference": float(np.mean(each[:, 1] / base[:, 1])),
                }
                for preference, each in zip(JUDGED, points, strict=True)
            ],
        }


def judge_of(recipe: Recipe) -> Judge:
    """How a recipe's networks are judged."""
    return _Curve() if isinstance(recipe, ParetoRecipe) else _Point(recipe.penalty)
