"""An environment as it is drawn: what draws it is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dysta_gym.envs.scene import Scene

FPS = 15
"""Steps a second in a window or a video."""


def warn_of_no_mode(modes: Sequence[str]) -> None:
    """Say, as Gymnasium does, why `render` gives nothing."""
    gym.logger.warn(
        "render: nothing is drawn; make the environment with a render_mode, "
        f"one of {', '.join(modes)}"
    )


def drawn(scene: Scene, mode: str) -> NDArray[np.uint8] | str:
    """A scene as render mode ``rgb_array`` or ``ansi`` has it."""
    if mode == "ansi":
        from dysta_gym.envs.ansi import as_text

        return as_text(scene)
    from dysta_gym.envs.pixels import as_pixels

    return as_pixels(scene)
