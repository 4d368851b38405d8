"""The two mobile networks: their structure, TensorFlow's padding, their checkpoints, and faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dysta_gym.errors import DystaError

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402

from dysta_gym.profiling import mobile  # noqa: E402
from dysta_gym.profiling.cnn import profile_cnn  # noqa: E402
from dysta_gym.profiling.padding import same_sides  # noqa: E402


class Drawn(mobile.Weights):
    """A checkpoint with whatever weights are asked for, drawn at random, and kept."""

    def __init__(self) -> None:
        super().__init__("drawn", {})

    def take(self, name: str, *shape: int) -> torch.Tensor:
        assert name not in self.tensors, f"{name} is asked for twice"
        rng = torch.Generator().manual_seed(len(self.tensors))
        values = torch.randn(shape, generator=rng) / max(np.prod(shape[1:]), 1) ** 0.5
        self.tensors[name] = values.abs() + 0.5 if "var" in name else values
        return super().take(name, *shape)


def macs_by_layer(network: torch.nn.Module, size: int) -> dict[str, int]:
    """Multiplications of each layer for one picture, from the sizes of its output."""
    macs = {}

    def note(name: str) -> Any:
        def hook(module: Any, args: Any, output: torch.Tensor) -> None:
            positions = output[0, 0].numel() if output.dim() == 4 else 1
            macs[name] = positions * module.weight.numel()

        return hook

    for name, module in network.layers.items():
        module.register_forward_hook(note(name))
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, size, size))
    return macs


def test_efficientnet_lite0_is_the_published_one() -> None:
    drawn = Drawn()
    network = mobile.EfficientNetLite0(drawn)
    macs = macs_by_layer(network, 224)
    assert len(macs) == 50
    assert sum("depthwise" in name for name in macs) == 16
    # Tan and Le (2019), Table 2: 0.39 billion for EfficientNet-B0, whose convolutions these are.
    # The release of EfficientNet-Lite says 407 million, more than B0 has, and 4.7 million
    # parameters.
    assert sum(macs.values()) / 1e9 == pytest.approx(0.39, abs=0.005)
    trained = [value for name, value in drawn.tensors.items() if "running" not in name]
    assert sum(value.numel() for value in trained) / 1e6 == pytest.approx(4.7, abs=0.05)
    # By hand: the stem has 112 * 112 outputs of 32 * 3 * 9, the fifth stage's first depthwise
    # convolution 14 * 14 of 480 * 25, and the head 7 * 7 of 1,280 * 320.
    assert macs["stem"] == 10_838_016
    assert macs["block8_depthwise"] == 2_352_000
    assert macs["head"] == 20_070_400


def test_ssd_mobilenetv1_has_the_published_backbone() -> None:
    network = mobile.SsdMobileNetV1(Drawn())
    macs = macs_by_layer(network, 512)
    assert len(macs) == 47
    assert sum("depthwise" in name for name in macs) == 13
    backbone = sum(
        count for name, count in macs.items() if name.startswith(("conv", "depthwise", "pointwise"))
    )
    # Howard et al. (2017), Table 8: 569 million at 224 x 224 with 1,024 * 1,000 of a FC layer.
    assert (backbone * (224 / 512) ** 2 + 1_024_000) / 1e6 == pytest.approx(569, abs=0.5)
    with torch.inference_mode():
        boxes, logits = network(torch.zeros(1, 3, 512, 512))
    # 32, 16, 8, 4, 2 and 1 positions a side, the first with 3 anchors and the others with 6.
    anchors = 3 * 32**2 + 6 * (16**2 + 8**2 + 4**2 + 2**2 + 1)
    assert boxes.shape == (1, anchors, 4)
    assert logits.shape == (1, anchors, 3)


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 4))
def test_same_padding_is_the_least_and_the_odd_one_comes_after(
    size: int, kernel: int, stride: int
) -> None:
    before, after = same_sides(size, kernel, stride)
    assert 0 <= after - before <= 1
    # As many outputs as inputs that a stride lands on.
    wanted = len(range(0, size, stride))

    def outputs(total: int) -> int:
        return len(range(0, size + total - kernel + 1, stride))

    least = next(total for total in range(kernel) if outputs(total) >= wanted)
    assert before + after == least


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "sides"),
    [(224, 3, 2, (0, 1)), (112, 5, 2, (1, 2)), (7, 3, 2, (1, 1)), (14, 3, 1, (1, 1))],
)
def test_same_padding_of_known_cases(
    size: int, kernel: int, stride: int, sides: tuple[int, int]
) -> None:
    assert same_sides(size, kernel, stride) == sides


def test_first_layers_compute_what_tensorflow_defines() -> None:
    drawn = Drawn()
    network = mobile.EfficientNetLite0(drawn)
    network.eval()
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = network.run("stem", image)
    weight = drawn.tensors["_conv_stem.weight"]
    scale, offset, mean, variance = (
        drawn.tensors[f"_bn0.{field}"]
        for field in ("weight", "bias", "running_mean", "running_var")
    )
    # Output (y, x) of filter f, from the definition: the window starts at (2 y, 2 x), and what is
    # below or to the right of the picture is zero.
    for f, y, x in ((0, 0, 0), (7, 3, 111), (31, 111, 111), (12, 111, 40)):
        value = 0.0
        for c in range(3):
            for r in range(3):
                for s in range(3):
                    if 2 * y + r < 224 and 2 * x + s < 224:
                        value += float(weight[f, c, r, s] * image[0, c, 2 * y + r, 2 * x + s])
        value = (value - float(mean[f])) / (float(variance[f]) + 1e-3) ** 0.5
        value = value * float(scale[f]) + float(offset[f])
        assert float(found[0, f, y, x]) == pytest.approx(value, abs=1e-4)


def test_tensorflow_layouts_are_turned() -> None:
    drawn = Drawn()
    network = mobile.SsdMobileNetV1(drawn)
    depthwise = drawn.tensors["MobilenetV1/Conv2d_1_depthwise/depthwise_weights"]
    pointwise = drawn.tensors["MobilenetV1/Conv2d_1_pointwise/weights"]
    assert network.layers["depthwise1"].weight[5, 0, 1, 2] == depthwise[1, 2, 5, 0]
    assert network.layers["pointwise1"].weight[40, 3, 0, 0] == pointwise[0, 0, 3, 40]
    image = torch.rand(1, 32, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = network.layers["pointwise1"](image)
        bias = drawn.tensors["MobilenetV1/Conv2d_1_pointwise/convolution_bn_offset"]
        expected = torch.einsum("nchw,cf->nfhw", image, pointwise[0, 0]) + bias[:, None, None]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_profile_counts_with_the_networks_own_padding() -> None:
    network = mobile.EfficientNetLite0(Drawn())
    profile = profile_cnn(network, [torch.ones(1, 3, 224, 224)], name="small")
    assert profile.layer_name[:3] == ["stem", "block0_depthwise", "block0_project"]
    # 112 x 112 outputs of 32 * 3 * 9 MACs, but for one column and one row of padding.
    rows = 112 * 3 - 1
    assert profile.valid_macs[0, 0] == 32 * 3 * rows * rows


def write_tfjs(folder: Path, quantized: bytes) -> Path:
    (folder / "a.bin").write_bytes(quantized)
    (folder / "b.bin").write_bytes(np.array([0.5, -1.5], "<f4").tobytes())
    manifest = folder / "model.json"
    entries = [
        {
            "name": "kernel",
            "shape": [2, 2],
            "dtype": "float32",
            # Byte 127 stands for zero, which single precision misses with these numbers.
            "quantization": {
                "dtype": "uint8",
                "scale": 0.0026856216729856004,
                "min": -0.34107395246917127,
            },
        },
        {"name": "bias", "shape": [2], "dtype": "float32"},
    ]
    manifest.write_text(json.dumps([{"paths": ["a.bin", "b.bin"], "weights": entries}]))
    return manifest


def test_tfjs_weights_are_decoded(tmp_path: Path) -> None:
    weights = mobile.read_tfjs(write_tfjs(tmp_path, bytes([127, 0, 255, 128])))
    kernel = weights["kernel"].numpy()
    assert kernel[0, 0] == 0.0
    scale = 0.0026856216729856004
    np.testing.assert_allclose(kernel, [[0, -127 * scale], [128 * scale, scale]], rtol=1e-9)
    assert weights["bias"].tolist() == [0.5, -1.5]


def test_damaged_and_foreign_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(DystaError, match=r"path is .*none\.json; expected a file"):
        mobile.load_ssd_mobilenetv1(tmp_path / "none.json")
    for data in (bytes(3), bytes(5)):
        manifest = write_tfjs(tmp_path, data)
        with pytest.raises(DystaError, match=r"manifest model\.json is damaged: "):
            mobile.load_ssd_mobilenetv1(manifest)
    manifest = write_tfjs(tmp_path, bytes(4))
    with pytest.raises(DystaError, match=r"model\.json has no weight 'MobilenetV1/Conv2d_0"):
        mobile.load_ssd_mobilenetv1(manifest)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(DystaError, match=r"path is .*a\.bin; expected a file"):
        mobile.load_ssd_mobilenetv1(manifest)
    manifest.write_text("{")
    with pytest.raises(DystaError, match=r"manifest model\.json is damaged: "):
        mobile.load_ssd_mobilenetv1(manifest)

    checkpoint = tmp_path / "model.pth"
    with pytest.raises(DystaError, match=r"path is .*model\.pth; expected a file"):
        mobile.load_efficientnet_lite0(checkpoint)
    for content in (b"", b"not a checkpoint"):
        checkpoint.write_bytes(content)
        with pytest.raises(DystaError, match=r"checkpoint model\.pth is damaged: ."):
            mobile.load_efficientnet_lite0(checkpoint)
    torch.save([torch.zeros(1)], checkpoint)
    with pytest.raises(DystaError, match=r"model\.pth holds a list; expected a state dict"):
        mobile.load_efficientnet_lite0(checkpoint)
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 5, 5)}, checkpoint)
    with pytest.raises(
        DystaError,
        match=r"'_conv_stem\.weight' has shape \(32, 3, 5, 5\); expected \(32, 3, 3, 3\)",
    ):
        mobile.load_efficientnet_lite0(checkpoint)


def test_state_dict_is_loaded(tmp_path: Path) -> None:
    drawn = Drawn()
    expected = mobile.EfficientNetLite0(drawn).eval()
    torch.save(dict(drawn.tensors), tmp_path / "model.pth")
    found = mobile.load_efficientnet_lite0(tmp_path / "model.pth")
    assert not found.training
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(found(image), expected(image))
        assert functional.softmax(found(image), dim=1).isfinite().all()


def test_every_view_of_a_person_shows_the_face(
    people_in: Callable[[float], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dysta_gym.profiling import faces, images

    folder = people_in(1)
    others = [
        images.Picture(f"other{i}", "photo", f"other{i}", np.zeros((8, 8, 3), np.uint8))
        for i in range(7)
    ]
    monkeypatch.setattr(faces, "fetch", lambda package, cache: folder)
    monkeypatch.setattr(images, "load_pictures", lambda cache: others)
    pictures = faces.load_pictures(folder)
    assert len({picture.name for picture in pictures}) == len(pictures)
    people = [picture for picture in pictures if picture.condition == "people"]
    low_light = [picture for picture in pictures if picture.condition == "people, low light"]
    count = sum(len(people) for people in faces.PHOTOS.values())
    assert len(people) == len(faces.PHOTOS) + count * len(faces.DISTANCES)
    assert len(low_light) == len(people) // 2
    assert len(pictures) == len(people) + len(low_light) + 4
    for picture in people:
        height, width = picture.pixels.shape[:2]
        assert max(height, width) <= 512
        if not picture.name.endswith("whole"):
            distance = float(picture.name.rsplit("/", 1)[1])
            # The face fills its share, unless the view had to be no larger than the photograph.
            assert (picture.pixels[:, :, 0] > 128).mean() >= 0.95 / distance**2
    assert len({picture.pixels.tobytes() for picture in people}) == len(people)
    groups = {picture.group for picture in people}
    assert len(groups) == len(faces.PHOTOS)
    assert {picture.group for picture in low_light} == groups
    assert len(faces.load_pictures(folder, 5)) == 5
