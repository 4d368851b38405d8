"""Faces as a detector hands them to a recogniser: square parts of photographs, some larger."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from dysta_gym.profiling import faces
from dysta_gym.profiling.cnn import FACE_API
from dysta_gym.profiling.images import Picture, in_rounds, low_light_copies, open_picture, resize
from dysta_gym.profiling.sources import fetch

# Boxes around a face are never quite the same: their sides, in sizes of the face.
SIDES = (1.0, 1.2, 1.4, 1.6)
# Longest side that is kept.
LONG_SIDE = 256

PACKAGES = (FACE_API,)


def load_pictures(cache: Path, limit: int | None = None) -> list[Picture]:
    """Every face of `dysta_gym.profiling.faces` in several boxes, mirrored too; some in low light.

    Every second picture has a low-light copy, and all that was made from one photograph is of one
    group. The package is fetched into `cache`. `limit` takes only so many, from as many photographs
    as it can. Raises DystaError if the package or a file of it cannot be had.
    """
    folder = fetch(FACE_API, cache)
    pictures = []
    for file, places in faces.PHOTOS.items():
        stem = f"face-api/{file.rsplit('.', 1)[0]}"
        whole = np.asarray(open_picture(folder / file))
        for person, (x, y, size) in enumerate(places, 1):
            for mirrored, side in itertools.product((False, True), SIDES):
                length = min(round(side * size), *whole.shape[:2])
                top, left = (
                    min(max(centre - length // 2, 0), most - length)
                    for centre, most in zip((y, x), whole.shape[:2], strict=True)
                )
                kept = min(length, LONG_SIDE)
                box = resize(whole[top : top + length, left : left + length], kept, kept)
                name = f"{stem}/face{person}/{side:g}"
                if mirrored:
                    name, box = f"{name}/mirrored", np.ascontiguousarray(box[:, ::-1])
                pictures.append(Picture(name, "face", stem, box))
    pictures += low_light_copies(pictures)
    if limit is None or limit >= len(pictures):
        return pictures
    return [pictures[i] for i in sorted(in_rounds(pictures)[:limit])]
