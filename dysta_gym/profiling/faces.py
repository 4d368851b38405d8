"""Pictures for a face detector: half of them show people up close, the others are of all sorts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dysta_gym.profiling import images
from dysta_gym.profiling.cnn import FACE_API
from dysta_gym.profiling.images import Picture, low_light_copies, open_picture, resize
from dysta_gym.profiling.sources import fetch

# Photographs of three to five people, and where the faces are: centre and size in pixels.
# fmt: off
PHOTOS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "demo/sample1.jpg": ((502, 473, 238), (933, 530, 224), (1575, 317, 236)),
    "demo/sample2.jpg": ((435, 263, 247), (975, 337, 223), (1543, 275, 242)),
    "demo/sample3.jpg": ((684, 466, 269), (1184, 363, 296), (1598, 430, 283)),
    "demo/sample4.jpg": (
        (336, 307, 249), (755, 181, 262), (1073, 292, 226), (1351, 261, 256),
    ),
    "demo/sample5.jpg": (
        (463, 1011, 297), (680, 540, 248), (864, 215, 211), (1191, 317, 235), (1489, 525, 275),
    ),
    "demo/sample6.jpg": (
        (354, 613, 295), (759, 473, 306), (1273, 445, 273), (1591, 410, 297),
    ),
}
# fmt: on

# A camera looks at each person from several distances: sides of a square, in sizes of the face.
DISTANCES = (2.0, 3.0, 4.0)
# Longest side that is kept; face detectors take no larger pictures.
LONG_SIDE = 512

PACKAGES = (FACE_API, *images.PACKAGES)


def load_pictures(cache: Path, limit: int | None = None) -> list[Picture]:
    """People, their low-light copies, and every second picture of `dysta_gym.profiling.images`.

    Of people there are the whole photographs and views of each person; every second one has a
    low-light copy, and all that was made from one photograph is of one group. The packages are
    fetched into `cache`. `limit` takes only so many, spread over the list. Raises DystaError if a
    package or a file of one cannot be had.
    """
    folder = fetch(FACE_API, cache)
    people = []
    for file, faces in PHOTOS.items():
        stem = f"face-api/{file.rsplit('.', 1)[0]}"
        for view, pixels in _views(folder / file, faces):
            people.append(Picture(f"{stem}/{view}", "people", stem, pixels))
    pictures = people + low_light_copies(people) + images.load_pictures(cache)[::2]
    if limit is None or limit >= len(pictures):
        return pictures
    return [pictures[i] for i in np.linspace(0, len(pictures) - 1, limit).astype(int)]


def _views(
    path: Path, faces: tuple[tuple[int, int, int], ...]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The photograph, and what a camera sees of each person, from near to far."""
    whole = np.asarray(open_picture(path))
    yield "whole", _shrink(whole)
    for person, (x, y, size) in enumerate(faces, 1):
        for distance in DISTANCES:
            side = min(round(distance * size), *whole.shape[:2])
            top, left = (
                min(max(centre - side // 2, 0), length - side)
                for centre, length in zip((y, x), whole.shape[:2], strict=True)
            )
            view = whole[top : top + side, left : left + side]
            yield f"person{person}/{distance:g}", _shrink(view)


def _shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = min(LONG_SIDE / max(height, width), 1.0)
    return resize(pixels, round(height * scale), round(width * scale))
