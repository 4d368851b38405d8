"""Long work of compiled code, done in turns, so that it can be stopped between two of them."""

from __future__ import annotations

from concurrent.futures import CancelledError
from threading import Event

_BREATH_S = 0.1
"""How long compiled code may run before Python looks whether it has been interrupted."""

_FASTER = 16.0
"""How much longer a turn may be than the one before."""


def go_on(stop: Event | None) -> None:
    """Raise a `CancelledError` if ``stop`` is set, for then nobody waits for the end."""
    if stop is not None and stop.is_set():
        raise CancelledError


def next_turn(turn: int, seconds: float, least: int) -> int:
    """How much fits into the next turn, ``least`` or more, where ``turn`` took so many seconds."""
    return max(least, int(turn * min(_FASTER, _BREATH_S / max(seconds, 1e-9))))
