"""Crops around hands, made from pictures that stand in for those of the packages."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("cv2")

from dysta_gym.profiling import hands, images  # noqa: E402
from dysta_gym.profiling.writing import split_by_group  # noqa: E402

SKIN = (200, 120, 90)
WALL = (120, 130, 140)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fetched packages, in which every hand is an upright bar of skin with a dark spot."""

    def place(package: hands.Package, file: str) -> Path:
        path = tmp_path / f"{package.registry}-{package.name}-{package.version}" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    for hand in hands.HANDS:
        size = (640, 640) if hand.package is hands.FINGERPOSE or hand.lean else (200, 200)
        pixels = np.full((*size, 3), WALL, np.uint8)
        left, top, right, bottom = hand.box
        x, y = (left + right) // 2, (top + bottom) // 2
        pixels[top + 4 : bottom - 4, left + 10 : right - 10] = SKIN
        spot = size[0] // 40
        pixels[y - spot : y + spot, x - spot : x + spot] = 0
        # A PNG, whatever its name: nothing is lost, and the colours stay what they are.
        Image.fromarray(pixels).save(place(hand.package, hand.file), format="PNG")
    frames = [Image.new("RGB", (320, 240), (k, k, 99)) for k in range(43)]
    frames[0].save(
        place(*hands.VIDEO), format="GIF", save_all=True, append_images=frames[1:], duration=100
    )
    # Backgrounds, each of one colour: its blue is its number.
    photos = [
        images.Picture(f"p/{k}", "photo", f"p/{k}", np.full((256, 300, 3), (0, 90, k), np.uint8))
        for k in range(100)
    ]
    monkeypatch.setattr(images, "load_pictures", lambda cache: photos)
    for name, value in (("CROPS", 2), ("PLACES", 3), ("EMPTY", 6)):  # fewer, to be quick
        monkeypatch.setattr(hands, name, value)
    return tmp_path


def test_crops_of_hands(cache: Path) -> None:
    pictures = hands.load_pictures(cache)
    assert len({picture.name for picture in pictures}) == len(pictures)
    assert {picture.pixels.shape for picture in pictures} == {(hands.SIDE, hands.SIDE, 3)}
    count = collections.Counter(picture.condition for picture in pictures)
    kinds = ("hand photo", "hand on photo", "hand video", "no hand")
    assert [count[kind] for kind in kinds] == [9 * hands.CROPS, 8 * hands.PLACES, 43, hands.EMPTY]
    assert 2 * sum(count[kind] for kind in kinds) == pytest.approx(4 * len(pictures) / 3, abs=2)

    # Nobody's background is another's, and everything that one hand is in has one group.
    behind = collections.defaultdict(set)
    for picture in pictures:
        if picture.condition == "hand on photo":
            number = int(np.median(picture.pixels[:4, :, 2]))
            assert picture.name.endswith(f"/on/p/{number}")
            behind[number].add(picture.group)
            assert picture.name.split("/")[1] in (picture.group.split("/")[1], "handDst")
        elif picture.condition == "no hand":
            behind[int(picture.pixels[0, 0, 2])].add(picture.group)
    assert len(behind) == 8 * hands.PLACES + hands.EMPTY
    assert all(len(groups) == 1 for groups in behind.values())
    train = split_by_group([p.group for p in pictures], [p.condition for p in pictures])
    assert train.sum() == len(pictures) // 2

    again = hands.load_pictures(cache, 16)
    assert len({picture.group for picture in again}) == 16  # 10 with hands and 6 without
    for one, other in zip(pictures, again, strict=False):
        assert one.name == other.name and np.array_equal(one.pixels, other.pixels)

    for picture in pictures:
        if picture.condition not in ("hand photo", "hand on photo"):
            continue
        skin = (np.abs(picture.pixels.astype(int) - SKIN) < 12).all(2)
        extent = max(np.ptp(np.flatnonzero(skin.any(axis))) for axis in (0, 1))
        # Between a half and five sixths of the crop, but for the lean and the offset.
        assert 0.4 < extent / hands.SIDE <= 1, picture.name
        # The wall was cut off, the dark spot inside of the hand was not.
        wall = (np.abs(picture.pixels.astype(int) - WALL) < 3).all(2).mean()
        assert (wall == 0) == (picture.condition == "hand on photo"), picture.name
        assert (picture.pixels.max(2) < 40).any(), picture.name


def test_a_damaged_picture_is_named(cache: Path) -> None:
    from dysta_gym.errors import DystaError

    (path,) = cache.rglob("halfcurl.jpg")
    path.write_bytes(b"nothing")
    with pytest.raises(DystaError, match=r"picture halfcurl\.jpg cannot be read"):
        hands.load_pictures(cache)
