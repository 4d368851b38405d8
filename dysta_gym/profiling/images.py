"""Pictures to run convolutional networks on, from public packages, some of them in low light."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dysta_gym.errors import DystaError
from dysta_gym.profiling.sources import Package, fetch

FOOLBOX = Package(
    "pypi",
    "foolbox",
    "3.3.4",
    "MIT",
    "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
)
GRADIO = Package(
    "pypi",
    "gradio",
    "6.31.0",
    "Apache-2.0",
    "7b50b9b6a2d23cd02851ad4c8b1c8312c88d8b911d1f29c93f9761c98348a64a",
)
SCIKIT_IMAGE = Package("pypi", "scikit-image", "0.26.0", "BSD-3-Clause")
SCIKIT_LEARN = Package("pypi", "scikit-learn", "1.9.1", "BSD-3-Clause")
OPENCV = Package("debian", "opencv-doc", "4.6.0+dfsg-12", "Apache-2.0 AND BSD-3-Clause")
LOMIRI_16 = Package(
    "debian", "lomiri-wallpapers-16.04", "20.04.0-2", "CC-BY-4.0 AND CC-BY-SA-4.0 AND CC0-1.0"
)
LOMIRI_20 = Package("debian", "lomiri-wallpapers-20.04", "20.04.0-2", "CC-BY-SA-3.0")
MATE = Package("debian", "mate-backgrounds", "1.26.0-1", "GPL-2+ AND CC-BY-SA-4.0")

_OPENCV_EXAMPLES = "usr/share/doc/opencv-doc/examples"
_BACKGROUNDS = "usr/share/backgrounds"

# Photographs, not drawings or test patterns; of a stereo pair or a series, one: the package, a
# folder in it, and the files there.
# fmt: off
PHOTOS: tuple[tuple[Package, str, tuple[str, ...]], ...] = (
    (FOOLBOX, "foolbox/data", (
        "imagenet_00_243.jpg", "imagenet_01_559.jpg", "imagenet_02_438.jpg", "imagenet_03_990.jpg",
        "imagenet_04_949.jpg", "imagenet_05_853.jpg", "imagenet_06_609.jpg", "imagenet_07_609.jpg",
        "imagenet_08_915.jpg", "imagenet_09_455.jpg", "imagenet_10_541.jpg", "imagenet_11_630.jpg",
        "imagenet_12_741.jpg", "imagenet_13_471.jpg", "imagenet_14_129.jpg", "imagenet_15_99.jpg",
        "imagenet_16_251.jpg", "imagenet_17_22.jpg", "imagenet_18_317.jpg", "imagenet_19_305.jpg",
    )),
    (SCIKIT_IMAGE, "skimage/data", (
        "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png",
        "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
        "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
    )),
    (SCIKIT_LEARN, "sklearn/datasets/images", ("china.jpg", "flower.jpg")),
    (GRADIO, "gradio", (
        "media_assets/images/cheetah.jpg", "media_assets/images/cheetah1.jpg",
        "media_assets/images/groot.jpeg", "media_assets/images/lion.jpg",
        "media_assets/images/tower.jpg", "test_data/cheetah2.jpg",
    )),
    (OPENCV, _OPENCV_EXAMPLES, (
        "data/aero1.jpg", "data/aloeL.jpg", "data/apple.jpg", "data/baboon.jpg",
        "data/basketball1.png", "data/board.jpg", "data/box_in_scene.png", "data/building.jpg",
        "data/butterfly.jpg", "data/chicky_512.png", "data/ela_original.jpg", "data/fruits.jpg",
        "data/graf1.png", "data/home.jpg", "data/left.jpg", "data/leuvenA.jpg",
        "data/licenseplate_motion.jpg", "data/messi5.jpg", "data/orange.jpg",
        "data/rubberwhale1.png", "data/smarties.png", "data/squirrel_cls.jpg", "data/stuff.jpg",
        "data/sudoku.png",
        "alphamat/input_images/plant.jpg", "dnn_superres/butterfly.png", "reg/home.png",
        "hfs/data/000.jpg", "hfs/data/001.jpg", "hfs/data/002.jpg",
        "text/scenetext01.jpg", "text/scenetext02.jpg", "text/scenetext03.jpg",
        "text/scenetext04.jpg", "text/scenetext05.jpg", "text/scenetext06.jpg",
        "text/scenetext_segmented_word01.jpg", "text/scenetext_segmented_word02.jpg",
        "text/scenetext_segmented_word03.jpg", "text/scenetext_segmented_word04.jpg",
        "text/scenetext_segmented_word05.jpg",
    )),
    (LOMIRI_16, _BACKGROUNDS, (
        "Bridge_by_Sander_Klootwijk.jpg", "Dragonfly_by_Bolly.jpg",
        "Picture_0B_by_freespace.jpg", "Picture_1A_by_freespace.jpg",
        "Wine_by_Jakkub_Mede.jpg", "aitzgorri_by_Aitzol_Berasategi.jpg",
        "free_by_Peter_Nerlich.jpg", "friends_by_Aitzol_Berasategi.jpg",
        "greentock_by_Peter_Nerlich.jpg", "life_by_Aitzol_Berasategi.jpg",
        "picosdeeuropa_by_Aitzol_Berasategi.jpg", "seeding_by_Clements_Engelhardt.jpg",
        "sunset_by_Aitzol_Berasategi.jpg",
    )),
    (LOMIRI_20, _BACKGROUNDS, ("Kleiber_by_Lukas_Baubkus.jpg",)),
    (MATE, f"{_BACKGROUNDS}/mate/nature", (
        "Aqua.jpg", "Blinds.jpg", "Dune.jpg", "FreshFlower.jpg", "Garden.jpg", "GreenMeadow.jpg",
        "LadyBird.jpg", "RainDrops.jpg", "Storm.jpg", "TwoWings.jpg", "Wood.jpg",
        "YellowFlower.jpg",
    )),
)
# fmt: on

# A street, seen by a camera that does not move: 795 frames at 10 frames a second.
VIDEO = (OPENCV, f"{_OPENCV_EXAMPLES}/data/vtest.avi")
VIDEO_SPACING = 20  # frames; people walk on in two seconds
VIDEO_SEGMENT = 100  # frames that stay on one side of the train/test split
# Whole frames are all alike, so each segment looks at a part of the street, half as wide and half
# as high, as a camera of its own would: 4 places from left to right, above and below.
VIDEO_VIEWS = (4, 2)

# Pictures are kept at the size that ImageNet's are cropped from.
SHORT_SIDE = 256

# Parts of the photographs as the packages have them, where a network is to learn from more than one
# picture each: how many, and the shorter sides of the photograph that they are long.
CLOSE_UPS = 8
_CLOSE_UP = (0.3, 0.95)

# Every second picture has a copy that is underexposed by something between these factors of two.
LOW_LIGHT_STOPS = (2.0, 5.0)
# Noise of the darkened picture: in electrons, with a sensor that saturates at 4,000 of them.
_FULL_WELL = 4000.0
_READ_NOISE = 4.0

PACKAGES = tuple(package for package, _, _ in PHOTOS)  # the video comes with one of them


@dataclass(frozen=True)
class Picture:
    """One input: `pixels` is (height, width, 3), uint8 RGB.

    `name` is unique; `condition` is ``photo`` or ``street video``, with ``, low light`` where that
    holds; `group` is shared by pictures that must not be split between training and test: a
    picture and its darkened copy, and the frames of a video segment.
    """

    name: str
    condition: str
    group: str
    pixels: NDArray[np.uint8]


def load_pictures(cache: Path, limit: int | None = None) -> list[Picture]:
    """All pictures, in a fixed order: photographs, video frames, and then the low-light copies.

    The packages are fetched into `cache`. `limit` takes only so many, from as many groups as it
    can. Raises DystaError if a package or a file of one cannot be had.
    """
    pictures = []
    for package, folder, names in PHOTOS:
        root = fetch(package, cache) / folder
        for name in names:
            stem = f"{package.name}/{name.rsplit('.', 1)[0]}"
            pictures.append(
                Picture(stem, "photo", stem, _shrink(np.asarray(open_picture(root / name))))
            )
    package, video = VIDEO
    for index, pixels in _frames(fetch(package, cache) / video):
        first = index // VIDEO_SEGMENT * VIDEO_SEGMENT
        pictures.append(
            Picture(
                f"{package.name}/vtest/part/{index:03d}",
                "street video",
                f"{package.name}/vtest/part/{first:03d}-{first + VIDEO_SEGMENT - 1:03d}",
                pixels,
            )
        )
    pictures += low_light_copies(pictures)
    if limit is None or limit >= len(pictures):
        return pictures
    return [pictures[i] for i in sorted(in_rounds(pictures)[:limit])]


def load_close_ups(cache: Path, groups: Collection[str]) -> list[NDArray[np.uint8]]:
    """Square parts of the photographs whose group is one of `groups`, `CLOSE_UPS` of each.

    They are at most `SHORT_SIDE` wide, (side, side, 3). Raises as `load_pictures` does.
    """
    parts = []
    for package, folder, names in PHOTOS:
        for name in names:
            stem = f"{package.name}/{name.rsplit('.', 1)[0]}"
            if stem not in groups:
                continue
            photo = open_picture(fetch(package, cache) / folder / name)
            rng = np.random.default_rng(zlib.crc32(stem.encode()))
            for _ in range(CLOSE_UPS):
                side = rng.uniform(*_CLOSE_UP) * min(photo.size)
                left, top = (rng.uniform(0, length - side) for length in photo.size)
                kept = int(min(side, SHORT_SIDE))
                box = (left, top, left + side, top + side)
                part = photo.resize((kept, kept), Image.Resampling.LANCZOS, box=box)
                parts.append(np.asarray(part))
    return parts


def in_rounds(pictures: Sequence[Picture]) -> list[int]:
    """Indices: those of the first picture of every group, then of the second, and so on."""
    seen: dict[str, int] = {}
    turn = []  # how many of its group come before it
    for picture in pictures:
        turn.append(seen.setdefault(picture.group, 0))
        seen[picture.group] += 1
    return sorted(range(len(pictures)), key=lambda i: (turn[i], i))


def low_light_copies(pictures: Sequence[Picture]) -> list[Picture]:
    """Every second picture once more, darkened, in the group of the picture itself."""
    return [
        Picture(
            f"{picture.name}/low-light",
            f"{picture.condition}, low light",
            picture.group,
            darken(picture.pixels, seed=zlib.crc32(picture.name.encode())),
        )
        for picture in pictures[::2]
    ]


def darken(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The picture as if exposed too little, without brightening it again.

    In linear light (sRGB's transfer function undone), every value is divided by two to the power of
    the number of stops, drawn between 2 and 5 with `seed`; shot noise and read noise are
    added, and the result is encoded in 8 bits again. It is mostly black, as photographs taken at
    night with a short exposure are.
    """
    rng = np.random.default_rng(seed)
    encoded = pixels.astype(np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    electrons = linear * 2 ** -rng.uniform(*LOW_LIGHT_STOPS) * _FULL_WELL
    deviation = np.sqrt(electrons + _READ_NOISE**2)
    noisy = np.clip((electrons + rng.normal(size=pixels.shape) * deviation) / _FULL_WELL, 0, 1)
    encoded = np.where(noisy <= 0.0031308, noisy * 12.92, 1.055 * noisy ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize to `height` x `width`, whatever the aspect ratio, by antialiased interpolation."""
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def open_picture(path: Path) -> Image.Image:
    """A picture from a package, in RGB; raises DystaError if it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise DystaError(f"picture {path.name} cannot be read from its package: {error}") from error


def _shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    if scale >= 1:
        return pixels
    return resize(pixels, max(round(height * scale), 1), max(round(width * scale), 1))


def _part(pixels: NDArray[np.uint8], segment: int) -> NDArray[np.uint8]:
    """What segment number `segment` sees of a frame."""
    row, column = divmod(segment % (VIDEO_VIEWS[0] * VIDEO_VIEWS[1]), VIDEO_VIEWS[0])
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    left = (pixels.shape[1] - width) * column // (VIDEO_VIEWS[0] - 1)
    top = (pixels.shape[0] - height) * row // (VIDEO_VIEWS[1] - 1)
    return pixels[top : top + height, left : left + width]


def _frames(path: Path) -> list[tuple[int, NDArray[np.uint8]]]:
    """The part that is looked at of every `VIDEO_SPACING`-th frame, with the frame's index."""
    import cv2  # only the one video needs it

    capture: Any = cv2.VideoCapture(str(path))
    frames = []
    index = 0
    try:
        while capture.grab():
            if index % VIDEO_SPACING == 0:
                found, pixels = capture.retrieve()
                if not found:
                    break
                part = _part(pixels[:, :, ::-1], index // VIDEO_SEGMENT)
                frames.append((index, _shrink(np.ascontiguousarray(part))))
            index += 1
    finally:
        capture.release()
    if not frames:
        raise DystaError(f"video {path.name} cannot be read from its package")
    return frames
