"""An environment as text, for a terminal."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import numpy as np

from dysta_gym.compiled.records import Floats
from dysta_gym.envs.scene import Scene, scale_of
from dysta_gym.text import printable
from dysta_gym.timeline.colours import LATE, colour_of, ink_on, letter_of, rgb

_WIDTH = 72
"""Columns of the strip."""


def as_text(scene: Scene, *, coloured: bool = True) -> str:
    """The scene in lines of text.

    Args:
        scene: The scene.
        coloured: Whether networks have colours, by escape sequences.
    """
    scale, unit = scale_of(scene.unit_s)

    def painted(text: str, model: int) -> str:
        if not coloured or not text:
            return text
        colour = colour_of(model)
        return f"\x1b[38;5;{_code(ink_on(colour))};48;5;{_code(colour)}m{text}\x1b[0m"

    def marked(text: str) -> str:
        return f"\x1b[1;38;5;{_code(LATE)}m{text}\x1b[0m" if coloured and text.strip() else text

    late = f"late {scene.late}"
    lines = [
        f"time {scale * scene.now_s:.2f} {unit}   queue {scene.size}   "
        f"finished {scene.finished} of {scene.total}   {marked(late) if scene.late else late}",
        "",
    ]
    if scene.last is None:
        lines.append("ran   nothing yet")
    else:
        last = scene.last
        lines.append(
            f"ran   {painted(f' {letter_of(last.model)} ', last.model)} #{last.request} "
            f"{printable(scene.models[last.model])}, layer {last.layer + 1} of {last.layers} "
            f"({printable(last.name)}): {scale * last.latency_s:.3g} {unit}, "
            f"sparsity {last.sparsity:.3f}"
        )
    lines += [
        "",
        f"{'slot':>4}  {'request':<26}{'priority':>8}  {'layers':>8}  "
        f"{'due in (' + unit + ')':>12}  {'slack (' + unit + ')':>12}",
    ]
    for slot, row in enumerate(scene.queue):
        name = f"#{row.request} {printable(scene.models[row.model])}"[:21]
        times = f"{scale * row.due_s:>12.2f}  {scale * row.slack_s:>12.2f}"
        state = "late" if row.due_s < 0 else "too late" if row.slack_s < 0 else ""
        progress = f"{row.executed}/{row.layers}"
        lines.append(
            f"{slot:>4}{'>' if row.ran else ' '} {painted(f' {letter_of(row.model)} ', row.model)} "
            f"{name:<22}{row.priority:>8g}  {progress:>8}  "
            f"{marked(times) if row.due_s < 0 else times}  {marked(state)}".rstrip()
        )
    if scene.size > len(scene.queue):
        lines.append(f"      and {scene.size - len(scene.queue)} more")
    lines += ["", *_strip(scene, painted, marked)]
    lines.append(
        "  ".join(
            f"{painted(f' {letter_of(model)} ', model)} {printable(name)}"
            for model, name in enumerate(scene.models)
        )
    )
    return "\n".join(lines) + "\n"


def _strip(
    scene: Scene, painted: Callable[[str, int], str], marked: Callable[[str], str]
) -> list[str]:
    """The last stretch, a column a part of it: the network that ran, deadlines that were missed."""
    scale, unit = scale_of(scene.unit_s)
    span = scene.now_s - scene.since_s
    per_s = _WIDTH / span if span else 0.0

    def column(time_s: Floats) -> list[int]:
        at: list[int] = np.clip(per_s * (time_s - scene.since_s), 0, _WIDTH).astype(int).tolist()
        return at

    models = [-1] * _WIDTH
    runs = scene.runs
    each = zip(scene.ran.tolist(), column(runs.start_s), column(runs.end_s), strict=True)
    for model, start, end in each:
        for at in range(start, min(max(end, start + 1), _WIDTH)):
            models[at] = model
    missed = [" "] * _WIDTH
    for at in column(scene.missed_s):
        missed[min(at, _WIDTH - 1)] = "!"
    parts = [
        painted(letter_of(model) * count, model) if model >= 0 else " " * count
        for model, count in ((model, len(list(same))) for model, same in groupby(models))
    ]
    return [
        f"last {scale * span:.4g} {unit}",
        f"|{''.join(parts)}|",
        f" {marked(''.join(missed)).rstrip()}",
        "",
    ]


def _code(colour: str) -> int:
    """The nearest of a terminal's 256 colours."""
    red, green, blue = (round(5 * part / 255) for part in rgb(colour))
    return 16 + 36 * red + 6 * green + blue
