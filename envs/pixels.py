"""An environment as a picture."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dysta_gym.compiled.records import Floats
from dysta_gym.envs.scene import ROWS, Scene, Waiting, scale_of
from dysta_gym.text import printable
from dysta_gym.timeline.colours import LATE, colour_of

SIZE = (960, 544)
"""Width and height: whole blocks of 16, as video encoders have them."""

_INK, _FAINT, _RULE, _PAPER = "#1F2933", "#7B8794", "#D9DEE3", "#FFFFFF"
_HEAD, _TINT, _RAN, _IN_TIME = "#F3F5F7", "#FBE9EC", "#EAF1F8", "#A9B4BF"
_MARGIN = 24
_ROW = 23
_TABLE = 138
"""Where the queue starts, from above."""
_STRIP = 458
"""Where the strip of the last stretch starts."""

_SLOT, _REQUEST, _PRIORITY, _LAYERS, _DUE, _SLACK = 24, 70, 322, 348, 560, 660
_AXIS, _REACH = 800, 130
"""Where a slack of 0 is, and how far the bars go to either side."""


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu, which comes with Matplotlib, or what Pillow has itself."""
    spec = importlib.util.find_spec("matplotlib")
    for place in (spec and spec.submodule_search_locations) or ():
        path = Path(place) / "mpl-data/fonts/ttf" / f"DejaVuSans{'-Bold' * bold}.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    return ImageFont.load_default(size)


def as_pixels(scene: Scene) -> NDArray[np.uint8]:
    """The scene as red, green and blue, shape ``(height, width, 3)``."""
    image = Image.new("RGB", SIZE, _PAPER)
    draw = ImageDraw.Draw(image)
    _head(draw, scene)
    _queue(draw, scene)
    _strip(draw, scene)
    return np.array(image)


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    colour: str = _INK,
    *,
    size: int = 13,
    bold: bool = False,
    anchor: str = "lm",
) -> None:
    draw.text(at, text, fill=colour, font=_font(size, bold), anchor=anchor)


def _head(draw: ImageDraw.ImageDraw, scene: Scene) -> None:
    """The time and what has been counted, and the layer that ran last."""
    scale, unit = scale_of(scene.unit_s)
    draw.rectangle((0, 0, SIZE[0], 52), fill=_HEAD)
    values = (
        ("time", f"{scale * scene.now_s:.1f} {unit}", _INK),
        ("in the queue", f"{scene.size}", _INK),
        ("finished", f"{scene.finished} of {scene.total}", _INK),
        ("deadlines missed", f"{scene.late}", LATE if scene.late else _INK),
    )
    for index, (name, value, colour) in enumerate(values):
        at = _MARGIN + 234 * index
        _write(draw, (at, 15), name, _FAINT, size=11)
        _write(draw, (at, 35), value, colour, size=17, bold=True)
    if scene.last is None:
        _write(draw, (_MARGIN, 80), "nothing has run yet", _FAINT)
        return
    last = scene.last
    _write(draw, (_MARGIN, 70), "ran last", _FAINT, size=11)
    draw.rectangle((_MARGIN, 83, _MARGIN + 13, 96), fill=colour_of(last.model))
    said = f"#{last.request} {printable(scene.models[last.model])}"
    _write(draw, (_MARGIN + 22, 90), _cut(said, 34), bold=True)
    _write(draw, (330, 70), f"layer {last.layer + 1} of {last.layers}", _FAINT, size=11)
    _write(draw, (330, 90), _cut(printable(last.name), 24))
    _write(draw, (560, 70), "took", _FAINT, size=11)
    _write(draw, (560, 90), f"{scale * last.latency_s:.3g} {unit}")
    _write(draw, (680, 70), "sparsity", _FAINT, size=11)
    _write(draw, (680, 90), f"{last.sparsity:.3f}")
    draw.rectangle((732, 84, 936, 96), fill=_HEAD, outline=_RULE)
    draw.rectangle((732, 84, 732 + round(204 * last.sparsity), 96), fill=colour_of(last.model))


def _queue(draw: ImageDraw.ImageDraw, scene: Scene) -> None:
    """The queue: how far each request is, when it is due, and its slack as a bar around 0."""
    _, unit = scale_of(scene.unit_s)
    heads = (
        (_SLOT, "slot", "lm"), (_REQUEST, "request", "lm"), (_PRIORITY, "priority", "rm"),
        (_LAYERS, "layers", "lm"), (_DUE, f"due in ({unit})", "rm"),
        (_SLACK, f"slack ({unit})", "rm"), (_AXIS, "0", "mm"),
    )  # fmt: skip
    for at, name, anchor in heads:
        _write(draw, (at, _TABLE - 14), name, _FAINT, size=11, anchor=anchor)
    draw.line((_MARGIN, _TABLE - 3, SIZE[0] - _MARGIN, _TABLE - 3), fill=_RULE)
    for slot, row in enumerate(scene.queue):
        _row(draw, scene, slot, row)
    bottom = _TABLE + _ROW * len(scene.queue)
    draw.line((_AXIS, _TABLE - 3, _AXIS, bottom), fill=_FAINT)
    if scene.size > len(scene.queue):
        _write(
            draw, (_REQUEST, _TABLE + _ROW * ROWS + 9),
            f"and {scene.size - len(scene.queue)} more", _FAINT, size=11,
        )  # fmt: skip
    if not scene.size:
        _write(draw, (_REQUEST, _TABLE + 14), "nobody waits", _FAINT)


def _row(draw: ImageDraw.ImageDraw, scene: Scene, slot: int, row: Waiting) -> None:
    scale, _ = scale_of(scene.unit_s)
    top, middle = _TABLE + _ROW * slot, _TABLE + _ROW * slot + _ROW / 2
    late, hopeless = row.due_s < 0, row.slack_s < 0
    if late or row.ran:
        fill = _TINT if late else _RAN
        draw.rectangle((_MARGIN - 8, top, SIZE[0] - _MARGIN + 8, top + _ROW - 2), fill=fill)
    colour = LATE if late else _INK
    if row.ran:
        draw.polygon([(8, middle - 5), (8, middle + 5), (15, middle)], fill=_INK)
    _write(draw, (_SLOT, middle), f"{slot}", _FAINT)
    draw.rectangle((_REQUEST, middle - 6, _REQUEST + 12, middle + 6), fill=colour_of(row.model))
    name = _cut(f"#{row.request} {printable(scene.models[row.model])}", 24)
    _write(draw, (_REQUEST + 21, middle), name, bold=row.ran)
    _write(draw, (_PRIORITY, middle), f"{row.priority:g}", anchor="rm")
    done = round(80 * row.executed / row.layers)
    draw.rectangle((_LAYERS, middle - 5, _LAYERS + 80, middle + 5), fill=_HEAD, outline=_RULE)
    if done:
        draw.rectangle((_LAYERS, middle - 5, _LAYERS + done, middle + 5), fill=_IN_TIME)
    _write(draw, (_LAYERS + 88, middle), f"{row.executed}/{row.layers}", _FAINT, size=11)
    _write(draw, (_DUE, middle), f"{scale * row.due_s:.1f}", colour, anchor="rm", bold=late)
    shown = LATE if hopeless else _INK
    _write(draw, (_SLACK, middle), f"{scale * row.slack_s:.1f}", shown, anchor="rm", bold=late)
    # Half of the width for ten isolated latencies, ever less for more.
    share = row.slack_s / (abs(row.slack_s) + 10 * scene.unit_s)
    ends = sorted((_AXIS, _AXIS + _REACH * share))
    draw.rectangle((ends[0], middle - 5, ends[1], middle + 5), fill=LATE if hopeless else _IN_TIME)


def _strip(draw: ImageDraw.ImageDraw, scene: Scene) -> None:
    """Who ran in the last stretch, and when deadlines were missed."""
    scale, unit = scale_of(scene.unit_s)
    left, right = _MARGIN, SIZE[0] - _MARGIN
    span = scene.now_s - scene.since_s
    per_s = (right - left) / span if span else 0.0

    def across(time_s: Floats) -> list[int]:
        at: list[int] = (
            np.clip(left + per_s * (time_s - scene.since_s), left, right).round().astype(int)
        ).tolist()
        return at

    _write(draw, (left, _STRIP), f"the last {scale * span:.4g} {unit}", _FAINT, size=11)
    top, bottom = _STRIP + 24, _STRIP + 50
    draw.rectangle((left, top, right, bottom), fill=_HEAD)
    runs = scene.runs
    each = zip(scene.ran.tolist(), across(runs.start_s), across(runs.end_s), strict=True)
    for model, start, end in each:
        draw.rectangle((start, top, max(end - 1, start), bottom), fill=colour_of(model))
    for at in across(scene.missed_s):
        middle = _STRIP + 16
        for x in (-4, 4):
            draw.line((at - x, middle - 4, at + x, middle + 4), fill=LATE, width=3)
        draw.line((at, top, at, bottom), fill=LATE, width=2)
    at = left
    for model, name in enumerate(scene.models):
        text = _cut(printable(name), 20)
        draw.rectangle((at, bottom + 12, at + 11, bottom + 23), fill=colour_of(model))
        _write(draw, (at + 18, bottom + 18), text, size=11)
        at += 42 + round(_font(11).getlength(text))
        if at > right - 260:
            break
    for x in (-4, 4):
        draw.line((right - 110 - x, bottom + 14, right - 110 + x, bottom + 22), fill=LATE, width=3)
    _write(draw, (right, bottom + 18), "deadline missed", size=11, anchor="rm")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
