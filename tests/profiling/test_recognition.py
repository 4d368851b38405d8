"""The network that tells faces apart, and the faces that it is shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dysta_gym.profiling import recognition  # noqa: E402
from dysta_gym.profiling.mobile import Weights  # noqa: E402


class Drawn(Weights):
    """A checkpoint with whatever weights are asked for, drawn at random, and kept."""

    def __init__(self) -> None:
        super().__init__("drawn", {})

    def take(self, name: str, *shape: int) -> torch.Tensor:
        assert name not in self.tensors, f"{name} is asked for twice"
        rng = torch.Generator().manual_seed(len(self.tensors))
        values = torch.randn(shape, generator=rng) / max(np.prod(shape[:-1]), 1) ** 0.5
        self.tensors[name] = values.abs() + 0.5 if name.endswith("scale/weights") else values
        return super().take(name, *shape)


def test_a_residual_block_by_its_definition() -> None:
    drawn = Drawn()
    network = recognition.FaceResNet(drawn).eval()
    assert len(network.layers) == 30
    sizes: dict[str, tuple[int, ...]] = {}
    kept = {}

    def hook(name: str) -> None:
        def note(module: object, args: tuple[torch.Tensor], output: torch.Tensor) -> None:
            sizes[name] = tuple(output.shape[1:])
            kept[name] = args[0][0].numpy().transpose(1, 2, 0)

        network.layers[name].register_forward_hook(note)

    for name in list(network.layers)[:-1]:
        hook(name)
    image = torch.randn(1, 3, 150, 150, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert network(image).shape == (1, 128)
    # By hand: 72 after the first convolution, 35 after the pooling, halves and a 1 less from then.
    assert sizes["conv32_down"] == (32, 72, 72)
    assert sizes["conv32_1_conv1"] == (32, 35, 35)
    assert [sizes[f"conv{name}_conv2"] for name in ("64_3", "128_2", "256_2")] == [
        (64, 17, 17),
        (128, 8, 8),
        (256, 4, 4),  # padded from 3, for the way around is 4
    ]
    # The block that goes from 8 to 4, whose convolutions come to 3.
    given = kept["conv256_down_conv1"]

    def convolved(values: np.ndarray, path: str, step: int, around: int) -> np.ndarray:
        names = ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
        weight, bias, scale, offset = (drawn.tensors[f"{path}/{n}"].numpy() for n in names)
        values = np.pad(values, ((around, around), (around, around), (0, 0)))
        places = (len(values) - 3) // step + 1
        found = sum(
            values[r : r + step * places : step, s : s + step * places : step][:places, :places]
            @ weight[r, s]
            for r in range(3)
            for s in range(3)
        )
        return (found + bias) * scale + offset

    inner = np.maximum(convolved(given, "conv256_down/conv1", 2, 0), 0)
    inner = np.pad(convolved(inner, "conv256_down/conv2", 1, 1), ((0, 1), (0, 1), (0, 0)))
    inner[:, :, :128] += given.reshape(4, 2, 4, 2, 128).mean(axis=(1, 3))
    expected = np.maximum(inner, 0)
    np.testing.assert_allclose(kept["conv256_1_conv1"], expected, rtol=1e-3, atol=1e-4)


def test_portraits_show_every_face_in_the_middle(
    people_in: Callable[[float], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dysta_gym.profiling import faces, portraits

    folder = people_in(0.5)
    monkeypatch.setattr(portraits, "fetch", lambda package, cache: folder)
    pictures = portraits.load_pictures(folder)
    people = sum(map(len, faces.PHOTOS.values()))
    assert len(pictures) == people * len(portraits.SIDES) * 2 * 3 // 2
    assert len({picture.name for picture in pictures}) == len(pictures)
    assert {picture.condition for picture in pictures} == {"face", "face, low light"}
    assert {picture.group for picture in pictures} == {
        f"face-api/{file.rsplit('.', 1)[0]}" for file in faces.PHOTOS
    }
    for picture in pictures:
        if "low" not in picture.condition:
            height, width = picture.pixels.shape[:2]
            assert height == width <= portraits.LONG_SIDE
            assert picture.pixels[height // 2, width // 2].min() > 200
    assert len(portraits.load_pictures(folder, 12)) == 12
    groups = {picture.group for picture in portraits.load_pictures(folder, 12)}
    assert len(groups) == len(faces.PHOTOS)


# The packages of `make traces`, where they are: the folder that `dysta-gym profile --cache` names.
PACKAGES = os.environ.get("DYSTA_GYM_PACKAGES")


@pytest.mark.skipif(PACKAGES is None, reason="the network's package is not there")
def test_the_trained_network_tells_people_apart() -> None:
    from dysta_gym.profiling import cnn, portraits

    network = cnn._NETWORKS["face_resnet"]
    cache = Path(str(PACKAGES))
    pictures = [p for p in portraits.load_pictures(cache) if "low" not in p.condition]
    model = network.load(cnn.fetched(network, cache))
    with torch.inference_mode():
        found = model(torch.cat([network.tensor(p.pixels) for p in pictures])).numpy()
    person = np.array([p.name.split("/face")[-1].split("/")[0] + p.group for p in pictures])
    apart = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (person[apart.argmin(axis=1)] == person).mean() > 0.95
    np.fill_diagonal(apart, 0)
    same = person[:, None] == person
    assert apart[same].mean() < 0.65 * apart[~same].mean()
