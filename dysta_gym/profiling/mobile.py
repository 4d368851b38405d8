"""Two mobile networks from their checkpoints: SSD-MobileNetV1 for faces, and EfficientNet-Lite0.

Checkpoints hold weights and no graph, so the networks are written down here, by their papers; every
weight is asked for by its name and its shape. Batch normalisation stays outside the convolutions
unless the checkpoint has folded it in, so that pruning compares the weights that were trained.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.functional import relu6

from dysta_gym.errors import DystaError
from dysta_gym.profiling.padding import PaddedConv2d, same_sides

BATCH_NORM_EPSILON = 1e-3  # of both networks


@dataclass(frozen=True)
class Weights:
    """The weights of a checkpoint by their names; `title` is what errors call it."""

    title: str
    tensors: Mapping[str, torch.Tensor]

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """The weight `name`. Raises DystaError if there is none, or if it has another shape."""
        if name not in self.tensors:
            raise DystaError(f"{self.title} has no weight {name!r}; is it another network's?")
        tensor = self.tensors[name]
        if tuple(tensor.shape) != shape:
            raise DystaError(
                f"{self.title}: weight {name!r} has shape {tuple(tensor.shape)}; expected {shape}"
            )
        return tensor.float()


def _convolution(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    size: int,
    *,
    stride: int = 1,
    depthwise: bool = False,
) -> PaddedConv2d:
    """A convolution with padding SAME on images of `size` x `size`.

    `weight` is (filters, channels, kernel, kernel), with one channel if it is `depthwise`.
    """
    filters, channels, kernel, _ = weight.shape
    groups = filters if depthwise else 1
    module = PaddedConv2d(
        channels * groups, filters, kernel, stride=stride, groups=groups, bias=bias is not None
    )
    before, after = same_sides(size, kernel, stride)
    module.sides = (before, before, after, after)
    module.weight = fixed(weight.contiguous())
    if bias is not None:
        module.bias = fixed(bias)
    return module


def _batch_norm(
    scale: torch.Tensor, offset: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor
) -> nn.BatchNorm2d:
    module = nn.BatchNorm2d(len(scale), eps=BATCH_NORM_EPSILON)
    module.weight = fixed(scale)
    module.bias = fixed(offset)
    module.running_mean = mean
    module.running_var = variance
    return module


def fixed(values: torch.Tensor) -> nn.Parameter:
    """Weights that are not trained."""
    return nn.Parameter(values, requires_grad=False)


class _Network(nn.Module):
    """Layers by their names, and by the same names the batch normalisations after some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.norms = nn.ModuleDict()

    def run(self, name: str, image: torch.Tensor) -> torch.Tensor:
        """What the layer `name` makes of (pictures, channels, height, width)."""
        image = self.layers[name](image)
        return self.norms[name](image) if name in self.norms else image


class SsdMobileNetV1(_Network):
    """Finds faces in a 512 x 512 picture: 47 convolutions.

    MobileNetV1 (Howard et al., 2017), whose last two resolutions feed the SSD detector (Liu et al.,
    2016) together with four more that are computed from them. The names of the weights are those
    of TensorFlow's object detection library.
    """

    SIZE = 512
    # fmt: off
    # Channels and stride of the 13 pairs of a depthwise and a pointwise convolution.
    PAIRS = (
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1),
        (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
    )
    # Channels, kernel and stride of the convolutions after them.
    EXTRAS = (
        (256, 1, 1), (512, 3, 2), (128, 1, 1), (256, 3, 2),
        (128, 1, 1), (256, 3, 2), (64, 1, 1), (128, 3, 2),
    )
    # fmt: on
    # The outputs that faces are looked for in, and the anchors at each position there.
    SEEN: ClassVar[dict[str, int]] = {
        "pointwise11": 3,
        "pointwise13": 6,
        "extra1": 6,
        "extra3": 6,
        "extra5": 6,
        "extra7": 6,
    }
    CLASSES = 3  # background, face, and one that is never used

    def __init__(self, weights: Weights) -> None:
        super().__init__()

        def convolution(
            path: str, shape: tuple[int, int, int], size: int, stride: int = 1, *, bias: str
        ) -> PaddedConv2d:
            kernel, channels, filters = shape
            weight = weights.take(f"{path}/weights", kernel, kernel, channels, filters)
            offset = weights.take(f"{path}/{bias}", filters)
            return _convolution(weight.permute(3, 2, 0, 1), offset, size, stride=stride)

        bias = "convolution_bn_offset"  # what a batch normalisation leaves that is folded in
        shapes: dict[str, tuple[int, int]] = {}  # channels and size of a layer's output
        channels, size = 32, self.SIZE // 2
        path = "MobilenetV1/Conv2d_0_pointwise"
        self.layers["conv0"] = convolution(path, (3, 3, channels), self.SIZE, 2, bias=bias)
        for i, (filters, stride) in enumerate(self.PAIRS, 1):
            path = f"MobilenetV1/Conv2d_{i}_depthwise"
            weight = weights.take(f"{path}/depthwise_weights", 3, 3, channels, 1)
            self.layers[f"depthwise{i}"] = _convolution(
                weight.permute(2, 3, 0, 1), None, size, stride=stride, depthwise=True
            )
            fields = ("gamma", "beta", "moving_mean", "moving_variance")
            self.norms[f"depthwise{i}"] = _batch_norm(
                *(weights.take(f"{path}/BatchNorm/{field}", channels) for field in fields)
            )
            size //= stride
            self.layers[f"pointwise{i}"] = convolution(
                f"MobilenetV1/Conv2d_{i}_pointwise", (1, channels, filters), size, bias=bias
            )
            channels = filters
            shapes[f"pointwise{i}"] = channels, size
        for i, (filters, kernel, stride) in enumerate(self.EXTRAS):
            path = f"Prediction/Conv2d_{i}_pointwise"
            shape = (kernel, channels, filters)
            self.layers[f"extra{i}"] = convolution(path, shape, size, stride, bias=bias)
            channels, size = filters, size // stride
            shapes[f"extra{i}"] = channels, size
        for i, (seen, anchors) in enumerate(self.SEEN.items()):
            channels, size = shapes[seen]
            for head, path, values in (
                ("box", "BoxEncodingPredictor", 4),
                ("class", "ClassPredictor", self.CLASSES),
            ):
                path = f"Prediction/BoxPredictor_{i}/{path}"
                shape = (1, channels, anchors * values)
                self.layers[f"{head}{i}"] = convolution(path, shape, size, bias="biases")

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Box encodings (pictures, anchors, 4) and class logits (pictures, anchors, 3).

        `input` is (pictures, 3, 512, 512), RGB from -1 to 1. A face's logit is the second.
        """
        image = input
        seen = []
        for name in self.layers:
            if name.startswith(("box", "class")):
                break
            image = relu6(self.run(name, image))
            if name in self.SEEN:
                seen.append(image)

        def predict(head: str, values: int) -> torch.Tensor:
            found = [self.run(f"{head}{i}", image) for i, image in enumerate(seen)]
            return torch.cat(
                [one.permute(0, 2, 3, 1).reshape(len(one), -1, values) for one in found], dim=1
            )

        return predict("box", 4), predict("class", self.CLASSES)


def load_ssd_mobilenetv1(manifest: Path) -> SsdMobileNetV1:
    """Read the face detector from a TensorFlow.js manifest, with the weights' file beside it.

    Raises DystaError if a file is missing or damaged, or holds another network.
    """
    network = SsdMobileNetV1(Weights(manifest.name, read_tfjs(manifest)))
    network.eval()
    return network


def read_tfjs(manifest: Path) -> dict[str, torch.Tensor]:
    """The weights that a TensorFlow.js manifest describes, in double precision.

    Weights kept in 8 bits are `scale * byte + min`. In single precision that misses zero by a
    rounding error for the byte that stands for it, and a zero weight would count as none.

    Raises DystaError if a file is missing or damaged.
    """
    weights: dict[str, torch.Tensor] = {}
    try:
        for group in json.loads(manifest.read_text("utf-8")):
            data = b"".join((manifest.parent / name).read_bytes() for name in group["paths"])
            weights |= tfjs_weights(group["weights"], data)
    except FileNotFoundError as error:
        raise DystaError(f"path is {error.filename}; expected a file, but there is none") from None
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise DystaError(f"manifest {manifest.name} is damaged: {error}") from error
    return weights


def tfjs_weights(entries: Sequence[Mapping[str, Any]], data: bytes) -> dict[str, torch.Tensor]:
    """The weights in `data` by their names, as the `entries` of a manifest describe them.

    Raises KeyError, TypeError or ValueError if the two do not fit each other.
    """
    weights: dict[str, torch.Tensor] = {}
    start = 0
    for entry in entries:
        quantization = entry.get("quantization")
        kind = np.dtype(quantization["dtype"] if quantization else entry["dtype"])
        kind = kind.newbyteorder("<")
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(data, kind, count, start).astype(np.float64)
        start += count * kind.itemsize
        if quantization:
            values = values * quantization["scale"] + quantization["min"]
        weights[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))
    if start != len(data):
        raise ValueError(f"{len(data)} bytes of weights; expected {start}")
    return weights


class EfficientNetLite0(_Network):
    """Classifies a 224 x 224 picture, ImageNet's 1,000 classes: 49 convolutions and a FC layer.

    EfficientNet-B0 (Tan and Le, 2019, Table 1) without squeeze-and-excitation and with ReLU6 for
    Swish. The names of the weights are those of its usual PyTorch port.
    """

    SIZE = 224
    CLASSES = 1000
    STEM = 32
    HEAD = 1280
    # Of each stage: blocks, kernel, stride of the first block, expansion, channels.
    STAGES = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self, weights: Weights) -> None:
        super().__init__()

        def add(
            name: str,
            paths: tuple[str, str],  # of the convolution and its batch normalisation
            shape: tuple[int, int, int],
            size: int,
            stride: int = 1,
            *,
            depthwise: bool = False,
        ) -> None:
            path, norm = paths
            filters, channels, kernel = shape
            weight = weights.take(f"{path}.weight", filters, channels, kernel, kernel)
            self.layers[name] = _convolution(weight, None, size, stride=stride, depthwise=depthwise)
            fields = ("weight", "bias", "running_mean", "running_var")
            self.norms[name] = _batch_norm(
                *(weights.take(f"{norm}.{field}", filters) for field in fields)
            )

        add("stem", ("_conv_stem", "_bn0"), (self.STEM, 3, 3), self.SIZE, 2)
        channels, size = self.STEM, self.SIZE // 2
        self._residual: list[bool] = []  # whether a block's input is added to its output
        for blocks, kernel, first_stride, expansion, filters in self.STAGES:
            for stride in (first_stride, *[1] * (blocks - 1)):
                name, path = f"block{len(self._residual)}", f"_blocks.{len(self._residual)}."
                wide = channels * expansion
                if expansion > 1:
                    paths = f"{path}_expand_conv", f"{path}_bn0"
                    add(f"{name}_expand", paths, (wide, channels, 1), size)
                paths = f"{path}_depthwise_conv", f"{path}_bn1"
                add(f"{name}_depthwise", paths, (wide, 1, kernel), size, stride, depthwise=True)
                size //= stride
                paths = f"{path}_project_conv", f"{path}_bn2"
                add(f"{name}_project", paths, (filters, wide, 1), size)
                self._residual.append(stride == 1 and channels == filters)
                channels = filters
        add("head", ("_conv_head", "_bn1"), (self.HEAD, channels, 1), size)
        classifier = nn.Linear(self.HEAD, self.CLASSES)
        classifier.weight = fixed(weights.take("_fc.weight", self.CLASSES, self.HEAD))
        classifier.bias = fixed(weights.take("_fc.bias", self.CLASSES))
        self.layers["classifier"] = classifier

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Class logits (pictures, 1000).

        `input` is (pictures, 3, 224, 224), RGB of 0 to 255, minus 127 and divided by 128.
        """
        image = relu6(self.run("stem", input))
        for i, residual in enumerate(self._residual):
            wide = image
            if f"block{i}_expand" in self.layers:
                wide = relu6(self.run(f"block{i}_expand", image))
            wide = relu6(self.run(f"block{i}_depthwise", wide))
            narrow = self.run(f"block{i}_project", wide)
            image = image + narrow if residual else narrow
        image = relu6(self.run("head", image))
        return self.run("classifier", image.mean(dim=(2, 3)))


def load_efficientnet_lite0(checkpoint: Path) -> EfficientNetLite0:
    """Read EfficientNet-Lite0 from a PyTorch state dict.

    Raises DystaError if the file is missing or damaged, or holds another network.
    """
    try:
        tensors: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DystaError(f"path is {checkpoint}; expected a file, but there is none") from None
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n")[0] or "it ends too early"
        raise DystaError(f"checkpoint {checkpoint.name} is damaged: {reason}") from error
    if not isinstance(tensors, Mapping):
        raise DystaError(
            f"checkpoint {checkpoint.name} holds a {type(tensors).__name__}; expected a state dict"
        )
    network = EfficientNetLite0(Weights(checkpoint.name, tensors))
    network.eval()
    return network
