"""What an agent's observation space says of the environment that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysta_gym.features import select

TOLD = ("level", "slots", "features", "decisions")
"""What an environment is told that decides on what an agent sees, and when it is asked."""


def settings_of(space: Any) -> dict[str, Any]:
    """What the environment was told, as far as its space says; `TOLD` and ``own_features``."""
    settings = getattr(space, "settings", None)
    return dict(settings) if isinstance(settings, Mapping) else {}


def common(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """That in which all agree."""
    first = settings[0]
    return {
        name: value
        for name, value in first.items()
        if all(name in each and each[name] == value for each in settings)
    }


def differs(name: str, given: Any, known: Mapping[str, Any]) -> bool:
    """Whether what is given is known to be something else.

    Raises:
        DystaError: If features are given that cannot be.
    """
    if name not in known:
        return False
    value = select(given).names if name == "features" else given
    return bool(value != known[name])
