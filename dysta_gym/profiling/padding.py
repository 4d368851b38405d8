"""Convolutions whose padding differs from side to side, as TensorFlow and ONNX have them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


def same_sides(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of length `size` under TensorFlow's padding SAME.

    As many as make `ceil(size / stride)` outputs; of an odd number, the odd one comes after.
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Zeros before each axis, then after each, that keep its length at stride 1, as PyTorch has it.

    Of an image, that is top, left, bottom, right.
    """
    sides = [
        same_sides(1, step * (length - 1) + 1, 1)
        for length, step in zip(kernel, dilation, strict=True)
    ]
    return (*(before for before, _ in sides), *(after for _, after in sides))


class PaddedConv2d(nn.Conv2d):
    """A convolution whose padding may differ from side to side, as ONNX allows.

    `sides` is (top, left, bottom, right).
    """

    sides: tuple[int, int, int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve `input` (inputs, channels, height, width), padded."""
        top, left, bottom, right = self.sides
        if (top, left) == (bottom, right):
            padding = (top, left)
        else:
            input = functional.pad(input, (left, right, top, bottom))
            padding = (0, 0)
        return functional.conv2d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )
