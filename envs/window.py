"""Where an environment is watched: a window, or the terminal."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from dysta_gym.envs.scene import Scene

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
"""Variables one of which says that there is a display, on Linux."""

_CLEAR = "\x1b[H\x1b[2J"
_HINT = '(a window needs pygame and a display: pip install "dysta-gym[render]")\n'


class Window:
    """Shows scenes in a window; without pygame or a display, as text on standard output.

    A window that is closed stays so. Copies open one of their own.

    Args:
        fps: Scenes a second, at most.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._pygame: Any = None  # once there has been a window
        self._tried = self._closed = False
        self._shown_at = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        return Window, (self._fps,)

    def show(self, scene: Scene) -> None:
        """Show a scene, not before the last one has been seen."""
        if self._closed:
            return
        surface = self._surface()
        left_s = self._shown_at + 1 / self._fps - time.monotonic()
        if surface is None:
            self._print(scene, left_s)
        else:
            self._paint(scene, surface, left_s)
        self._shown_at = time.monotonic()

    def _surface(self) -> Any:
        """The window, which all of a process share; None if there cannot be one."""
        if self._pygame is None and self._tried:
            return None
        self._tried = True
        if sys.platform == "linux" and not any(map(os.environ.get, _DISPLAYS)):
            return None  # SDL would draw where nobody sees it
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ImportError:
            return None
        from dysta_gym.envs.pixels import SIZE

        surface = pygame.display.get_surface() if pygame.display.get_init() else None
        if surface is None or surface.get_size() != SIZE:
            try:
                pygame.display.init()
                surface = pygame.display.set_mode(SIZE)
                pygame.display.set_caption("SparseMultiDNN-v0")
            except pygame.error:  # there is no display
                return None
        self._pygame = pygame
        return surface

    def _print(self, scene: Scene, left_s: float) -> None:
        from dysta_gym.envs.ansi import as_text

        tty = sys.stdout.isatty()
        if tty and left_s > 0:
            time.sleep(left_s)
        text = as_text(scene, coloured=tty)
        print(f"{_CLEAR}{text}{_HINT}" if tty else text, flush=True)

    def _paint(self, scene: Scene, surface: Any, left_s: float) -> None:
        from dysta_gym.envs.pixels import as_pixels

        pygame = self._pygame
        if left_s > 0:
            time.sleep(left_s)
        if any(event.type == pygame.QUIT for event in pygame.event.get()):
            self.close()
            return
        pixels = as_pixels(scene).swapaxes(0, 1)
        surface.blit(pygame.surfarray.make_surface(pixels), (0, 0))
        pygame.display.flip()

    def close(self) -> None:
        """Close the window, for good."""
        if self._pygame is not None:
            self._pygame.display.quit()
        self._pygame, self._closed = None, True
