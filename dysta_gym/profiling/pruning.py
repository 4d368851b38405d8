"""Pruning by weight magnitude, without training afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import nn

from dysta_gym.errors import DystaError

BLOCK = 4


def prune(model: nn.Module, pattern: str) -> float:
    """Set the weights of least magnitude in every convolution and linear layer of `model` to zero.

    `pattern` is ``dense``, which leaves the model alone, or a kind and a percentage:
    ``unstructured20`` takes single weights, ``block60`` takes 4 neighbouring input channels of one
    filter and kernel position together, by their mean magnitude, and ``filter20`` whole filters
    likewise. Every layer loses the same share, to the nearest unit: the artifact of Sparse-DySta
    (MICRO'23) sets the rate layer by layer too, and a threshold common to all layers would thin out
    the late layers, with their many small weights, and leave the early ones dense. Biases stay.

    Returns the share of zeros among all those weights. Raises DystaError for another pattern.
    """
    kind, share = parse_pattern(pattern)
    zeros = total = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            if kind != "dense":
                with torch.no_grad():
                    weight.mul_(_KINDS[kind](weight.detach(), share))
            zeros += int((weight == 0).sum())
            total += weight.numel()
    return zeros / total if total else 0.0


def parse_pattern(pattern: str) -> tuple[str, float]:
    """The kind of a pattern and the share that it removes: ``unstructured20`` gives 0.2."""
    if pattern == "dense":
        return "dense", 0.0
    match = re.fullmatch(r"([a-z]+)([1-9][0-9]?)", pattern)
    if match is None or match[1] not in _KINDS:
        raise DystaError(
            f"pattern is {pattern!r}; expected dense, or one of {', '.join(_KINDS)} "
            "with a percentage from 1 to 99, like unstructured20"
        )
    return match[1], int(match[2]) / 100


def _unstructured(weight: torch.Tensor, share: float) -> torch.Tensor:
    return _keep(weight.abs(), share)


def _block(weight: torch.Tensor, share: float) -> torch.Tensor:
    channels_last = weight.abs().movedim(1, -1)
    missing = -weight.shape[1] % BLOCK
    padded = nn.functional.pad(channels_last, (0, missing))
    blocks = padded.reshape(*padded.shape[:-1], -1, BLOCK)
    sizes = nn.functional.pad(torch.ones_like(channels_last), (0, missing)).reshape(blocks.shape)
    kept = _keep(blocks.sum(-1) / sizes.sum(-1), share)
    spread = kept.unsqueeze(-1).expand(blocks.shape).reshape(padded.shape)
    return spread[..., : weight.shape[1]].movedim(-1, 1)


def _filter(weight: torch.Tensor, share: float) -> torch.Tensor:
    kept = _keep(weight.abs().flatten(1).mean(1), share)
    return kept.reshape(-1, *[1] * (weight.dim() - 1))


_KINDS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "unstructured": _unstructured,
    "block": _block,
    "filter": _filter,
}


def _keep(magnitude: torch.Tensor, share: float) -> torch.Tensor:
    """A mask, 0 for the `share` of entries of least magnitude; of equal ones, the first go."""
    flat = magnitude.flatten()
    mask = torch.ones_like(flat)
    mask[flat.argsort(stable=True)[: round(share * flat.numel())]] = 0
    return mask.reshape(magnitude.shape)
