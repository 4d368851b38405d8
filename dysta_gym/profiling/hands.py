"""Crops around a hand, as a hand tracker hands them to its landmark network.

Photographs of hands are few in public packages: nine, and a short video of a man making gestures.
Each photograph is cropped in several ways, and the hand in it is also cut out and put on other
photographs, of which each hand has its own. The video has small dots painted on the fingers by
the demonstration that it was recorded from.
"""

from __future__ import annotations

import bisect
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from dysta_gym.errors import DystaError
from dysta_gym.profiling import images
from dysta_gym.profiling.images import OPENCV, Picture, in_rounds, low_light_copies, open_picture
from dysta_gym.profiling.sources import Package, fetch

FINGERPOSE = Package(
    "npm",
    "fingerpose",
    "0.1.0",
    "MIT",
    "0d771feb4a95846a07fa5e6c43f5438e462e2a4676bc2f14a65e3a797787f056",
)

PACKAGES = (*images.PACKAGES, FINGERPOSE)

SIDE = 224  # pixels of a crop, which is square

Box = tuple[int, int, int, int]  # left, top, right, bottom


class _Hand(NamedTuple):
    """A photograph of a hand: where the hand is in it, without the arm.

    `lean` is by how many degrees the fingers point to the right of upwards.
    """

    package: Package
    file: str
    box: Box
    lean: float = 0
    frame: Box | None = None  # the photograph proper, where there is a window around it
    cut: bool = True  # whether the hand can be told from what is behind it


_OPENCV_PICTURES = "usr/share/doc/opencv-doc/opencv4/html"

HANDS = (
    _Hand(OPENCV, f"{_OPENCV_PICTURES}/handSrc.jpg", (120, 100, 570, 470), lean=90),
    _Hand(OPENCV, f"{_OPENCV_PICTURES}/handDst.jpg", (100, 30, 600, 450), lean=100),
    _Hand(OPENCV, f"{_OPENCV_PICTURES}/Histogram_Comparison_Source_0.jpg", (0, 0, 200, 175)),
    _Hand(OPENCV, f"{_OPENCV_PICTURES}/Histogram_Comparison_Source_1.jpg", (0, 0, 200, 172)),
    _Hand(
        OPENCV, f"{_OPENCV_PICTURES}/Histogram_Comparison_Source_2.jpg", (0, 0, 200, 184), cut=False
    ),
    _Hand(
        OPENCV,
        f"{_OPENCV_PICTURES}/Hull_Original_Image.jpg",
        (16, 36, 92, 158),
        frame=(2, 24, 117, 198),
    ),
    _Hand(FINGERPOSE, "assets/nocurl.jpg", (160, 85, 400, 450)),
    _Hand(FINGERPOSE, "assets/halfcurl.jpg", (140, 185, 400, 470)),
    _Hand(FINGERPOSE, "assets/fullcurl.jpg", (130, 240, 375, 480)),
)
# Two photographs of one hand in one place count as one.
_SERIES = {"handDst": "handSrc"}

VIDEO = (FINGERPOSE, "assets/fingers-lq.gif")
VIDEO_BOX = (180, 90, 285, 200)
# The frames at which the gesture changes, from thumbs up to victory and back.
_VIDEO_CHANGES = (2, 13, 24, 36)
_GESTURES = ("thumbs-up", "victory")

CROPS = 6  # of each photograph
PLACES = 8  # photographs that each hand is put on
EMPTY = 24  # crops without a hand: what a tracker sees when it has lost the hand

# A crop's side over the longer side of the hand, how far the hand is off its middle, in sides, and
# how far it leans, in degrees. A tracker aims at twice the hand's size.
_ZOOM = (1.2, 2.0)
_OFFSET = 0.08
_LEAN = 15.0


def load_pictures(cache: Path, limit: int | None = None) -> list[Picture]:
    """All crops, in a fixed order: a round of one from each group after the other, then low light.

    `pixels` is (224, 224, 3). `condition` is ``hand photo``, ``hand on photo``, ``hand video`` or
    ``no hand``, with ``, low light`` where that holds. What shows one hand shares a `group`; what
    is behind a hand that was put there is not behind another.

    The packages are fetched into `cache`. `limit` takes only the first so many. Raises DystaError
    if a package or a file of one cannot be had.
    """
    behind = [picture for picture in images.load_pictures(cache) if picture.condition == "photo"]
    order = np.random.default_rng(0).permutation(len(behind))
    backgrounds = iter([behind[i] for i in order])

    pictures = []
    for hand in HANDS:
        path = fetch(hand.package, cache) / hand.file
        stem = f"{hand.package.name}/{path.stem}"
        group = f"{hand.package.name}/{_SERIES.get(path.stem, path.stem)}"
        photo = open_picture(path).crop(hand.frame)
        for k in range(CROPS):
            name = f"{stem}/crop-{k}"
            pixels = _crop(photo, hand.box, hand.lean, _rng(name))
            pictures.append(Picture(name, "hand photo", group, pixels))
        if not hand.cut:
            continue
        cut = _cut_out(photo, hand.box)
        for _, background in zip(range(PLACES), backgrounds, strict=False):
            name = f"{stem}/on/{background.name}"
            pixels = _put(cut, hand.lean, background.pixels, _rng(name))
            pictures.append(Picture(name, "hand on photo", group, pixels))
    package, video = VIDEO
    for index, frame in enumerate(_frames(fetch(package, cache) / video)):
        gesture = _GESTURES[bisect.bisect_right(_VIDEO_CHANGES, index) % 2]
        name = f"{package.name}/fingers/{index:02d}"
        pixels = _crop(frame, VIDEO_BOX, 0, _rng(name))
        pictures.append(Picture(name, "hand video", f"{package.name}/fingers/{gesture}", pixels))
    for _, background in zip(range(EMPTY), backgrounds, strict=False):
        name = f"{background.name}/no-hand"
        pixels = _square(background.pixels, _rng(name))
        pictures.append(Picture(name, "no hand", background.group, pixels))
    dark = low_light_copies(pictures)
    ordered = [part[i] for part in (pictures, dark) for i in in_rounds(part)]
    return ordered[:limit]


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _frames(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as video:
            for frame in ImageSequence.Iterator(video):
                yield frame.convert("RGB")
    except OSError as error:
        raise DystaError(f"video {path.name} cannot be read from its package: {error}") from error


def _crop(photo: Image.Image, box: Box, lean: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A crop with the hand upright, or nearly so; beyond its edge the photograph is continued."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top) * rng.uniform(*_ZOOM)
    x, y = np.array([left + right, top + bottom]) / 2 + rng.uniform(-1, 1, 2) * _OFFSET * side
    # Only the surroundings are turned: of a square of that side, whatever way it is turned.
    reach = round(0.75 * side) + 4
    x0, y0 = int(x) - reach, int(y) - reach
    rows = np.clip(np.arange(y0, y0 + 2 * reach), 0, photo.height - 1)
    columns = np.clip(np.arange(x0, x0 + 2 * reach), 0, photo.width - 1)
    x, y = x - x0, y - y0
    turned = Image.fromarray(np.asarray(photo)[rows[:, None], columns]).rotate(
        lean + rng.uniform(-_LEAN, _LEAN), Image.Resampling.BICUBIC, center=(x, y)
    )
    region = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    crop = turned.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=region)
    return _perhaps_mirrored(crop, rng)


def _cut_out(photo: Image.Image, box: Box) -> Image.Image:
    """The hand of a photograph, transparent around it.

    Skin is redder than what is behind it: Otsu's threshold on the a* channel tells them apart.
    """
    import cv2

    pixels = np.asarray(photo)
    redness = np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[:, :, 1])
    _, skin = cv2.threshold(redness, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(skin)
    hand = parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    # Dark spots inside of it belong to it: what is behind reaches the edge.
    behind = np.pad(~hand, 1, constant_values=True).astype(np.uint8)
    cv2.floodFill(behind, None, (0, 0), 2)
    alpha = np.where(behind[1:-1, 1:-1] == 2, 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([pixels, alpha])).crop(box)


def _put(
    cut: Image.Image, lean: float, background: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The hand in front of a part of `background`."""
    scene = Image.fromarray(_square(background, rng))
    hand = cut.rotate(lean + rng.uniform(-_LEAN, _LEAN), Image.Resampling.BICUBIC, expand=True)
    hand = hand.crop(hand.getchannel("A").getbbox())
    scale = SIDE / rng.uniform(*_ZOOM) / max(hand.size)
    width, height = (max(round(length * scale), 1) for length in hand.size)
    hand = hand.resize((width, height), Image.Resampling.BILINEAR)
    x, y = (0.5 + rng.uniform(-1, 1, 2) * _OFFSET) * SIDE
    scene.paste(hand, (round(x - width / 2), round(y - height / 2)), hand)
    return _perhaps_mirrored(scene, rng)


def _square(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A square part of a picture, half as long as its short side or longer."""
    height, width = pixels.shape[:2]
    side = rng.uniform(0.5, 1) * min(height, width)
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    part = Image.fromarray(pixels).resize(
        (SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    return np.asarray(part)


def _perhaps_mirrored(image: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[:, ::-1]) if rng.random() < 0.5 else pixels
