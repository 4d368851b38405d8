"""A network that tells faces apart, from its checkpoint: ResNet-34 with fewer and narrower layers.

The network is that of the library dlib, as face-api carries it. The checkpoint holds weights and no
graph, so the network is written down here; every weight is asked for by its name and its shape.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from dysta_gym.profiling.mobile import Weights, fixed, read_tfjs


class FaceResNet(nn.Module):
    """Describes a face of 150 x 150 pixels by 128 numbers: 29 convolutions and a FC layer.

    Two pictures of one person come out near each other. The residual blocks are those of ResNet-34
    (He et al., 2016), 14 in place of 16 with half as many filters; where a block halves the
    picture, the way around it is an average, and channels that this lacks are zeros. What is left
    of batch normalisations is a scale and an offset for each channel.
    """

    SIZE = 150
    NUMBERS = 128
    # Name, filters, and whether the block halves the picture.
    BLOCKS = (
        *((f"conv32_{i}", 32, False) for i in (1, 2, 3)),
        ("conv64_down", 64, True),
        *((f"conv64_{i}", 64, False) for i in (1, 2, 3)),
        ("conv128_down", 128, True),
        *((f"conv128_{i}", 128, False) for i in (1, 2)),
        ("conv256_down", 256, True),
        *((f"conv256_{i}", 256, False) for i in (1, 2)),
        ("conv256_down_out", 256, True),
    )

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.norms = nn.ModuleDict()

        def add(name: str, path: str, filters: int, channels: int, kernel: int, down: bool) -> None:
            module = nn.Conv2d(
                channels,
                filters,
                kernel,
                stride=2 if down else 1,
                padding=0 if down else kernel // 2,
            )
            weight = weights.take(f"{path}/conv/filters", kernel, kernel, channels, filters)
            module.weight = fixed(weight.permute(3, 2, 0, 1).contiguous())
            module.bias = fixed(weights.take(f"{path}/conv/bias", filters))
            norm = nn.BatchNorm2d(filters, eps=0)  # of mean 0 and variance 1: a scale, an offset
            norm.weight = fixed(weights.take(f"{path}/scale/weights", filters))
            norm.bias = fixed(weights.take(f"{path}/scale/biases", filters))
            self.layers[name] = module
            self.norms[name] = norm

        channels = 32
        add("conv32_down", "conv32_down", channels, 3, 7, True)
        for block, filters, down in self.BLOCKS:
            add(f"{block}_conv1", f"{block}/conv1", filters, channels, 3, down)
            add(f"{block}_conv2", f"{block}/conv2", filters, filters, 3, False)
            channels = filters
        numbers = nn.Linear(channels, self.NUMBERS, bias=False)
        numbers.weight = fixed(weights.take("fc", channels, self.NUMBERS).T.contiguous())
        self.layers["numbers"] = numbers

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Describe faces, (pictures, 128).

        `input` is (pictures, 3, 150, 150), RGB of 0 to 255 less (122.782, 117.001, 104.298),
        divided by 255.
        """
        image = functional.max_pool2d(self._run("conv32_down", input).relu(), 3, 2)
        for block, filters, down in self.BLOCKS:
            found = self._run(f"{block}_conv1", image).relu()
            found = self._run(f"{block}_conv2", found)
            if down:
                image = functional.avg_pool2d(image, 2)
                missing = image.shape[2] - found.shape[2]
                found = functional.pad(found, (0, missing, 0, missing))
                image = functional.pad(image, (0, 0, 0, 0, 0, filters - image.shape[1]))
            image = (image + found).relu()
        numbers: torch.Tensor = self.layers["numbers"](image.mean(dim=(2, 3)))
        return numbers

    def _run(self, name: str, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norms[name](self.layers[name](image))
        return found


def load_face_resnet(manifest: Path) -> FaceResNet:
    """Read the network from a TensorFlow.js manifest, with the weights' file beside it.

    Raises DystaError if a file is missing or damaged, or holds another network.
    """
    network = FaceResNet(Weights(manifest.name, read_tfjs(manifest)))
    network.eval()
    return network
