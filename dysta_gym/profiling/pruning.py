"""Pruning by weight magnitude, or of the filters that matter least; no training afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dysta_gym.errors import DystaError

BLOCK = 4


def prune(model: nn.Module, pattern: str, example: torch.Tensor | None = None) -> float:
    """Set the weights of least magnitude in every convolution and linear layer of `model` to zero.

    `pattern` is ``dense``, which leaves the model alone, or a kind and a percentage:
    ``unstructured20`` takes single weights, ``block60`` takes 4 neighbouring input channels of one
    filter and kernel position together, by their mean magnitude, and ``filter20`` whole filters
    likewise. Every layer loses the same share, to the nearest unit: the artifact of Sparse-DySta
    (MICRO'23) sets the rate layer by layer too, and a threshold common to all layers would thin out
    the late layers, with their many small weights, and leave the early ones dense. Biases stay.

    With `example`, inputs of `model`, filters go as they do from a network that is to work on
    without them: those whose variation over the inputs and positions matters least to the network's
    outputs (the Taylor expansion of Molchanov et al., CVPR'19). Layers that nothing follows keep
    theirs, which are the outputs. In a depthwise layer, the filters go whose input has gone. And a
    filter takes its bias along, so that what it computed is zero from there on.

    Returns the share of zeros among all those weights. Raises DystaError for another pattern.
    """
    kind, share = parse_pattern(pattern)
    if kind == "filter" and example is not None:
        _prune_filters(model, share, example)
        kind = "dense"
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


def _prune_filters(model: nn.Module, share: float, example: torch.Tensor) -> None:
    """Take `share` of the filters of every layer but the last ones, as `prune` says."""
    importance = _filter_importance(model, example)

    def before_layer(module: Any, args: tuple[torch.Tensor, ...]) -> None:
        weight, order = module.weight, importance[module]
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            gone = (args[0] == 0).all(dim=3).all(dim=2).all(dim=0)
            order = order.where(~gone.repeat_interleave(len(order) // len(gone)), -1.0)
        kept = _keep(order, share)
        weight.mul_(kept.reshape(-1, *[1] * (weight.dim() - 1)))
        if module.bias is not None:
            module.bias.mul_(kept)

    def before_norm(module: Any, args: tuple[torch.Tensor, ...]) -> None:
        kept = (args[0] != 0).any(dim=3).any(dim=2).any(dim=0)
        module.weight.mul_(kept)
        module.bias.mul_(kept)

    handles = [module.register_forward_pre_hook(before_layer) for module in importance]
    handles += [
        module.register_forward_pre_hook(before_norm)
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()


def _filter_importance(
    model: nn.Module, example: torch.Tensor, draws: int = 8
) -> dict[Any, torch.Tensor]:
    """What each filter's variation changes in the outputs, of all layers that others follow.

    The outputs' values are weighted at random, `draws` times, and differentiated by the output of
    each layer: how far that is from its mean, times the derivative, summed over positions, is the
    change to first order. Returned is its mean square over inputs and draws, (filters,) a layer.
    """
    runs: list[tuple[Any, torch.Tensor, torch.Tensor]] = []

    def note(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        runs.append((module, args[0], output))

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [module.register_forward_hook(note) for module in layers]
    try:
        with torch.enable_grad():
            found = model(example.detach().clone().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    made = [output for _, _, output in runs]
    later = torch.stack([given.sum() for _, given, _ in runs]).sum()
    used = torch.autograd.grad(later, made, allow_unused=True, retain_graph=True)
    runs = [run for run, derivative in zip(runs, used, strict=True) if derivative is not None]
    made = [output for _, _, output in runs]
    parts = [part.flatten(1) for part in (found if isinstance(found, tuple | list) else [found])]
    values = torch.cat(parts, dim=1)
    values = values / values.detach().std(dim=0).square().sum().sqrt().clamp_min(1e-12)
    importance: dict[Any, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for _ in range(draws):
        chances = torch.randn(values.shape, generator=generator).to(values.device)
        derivatives = torch.autograd.grad(values, made, chances, retain_graph=True)
        for (module, _, output), derivative in zip(runs, derivatives, strict=True):
            axis = -1 if isinstance(module, nn.Linear) else 1
            rest = [k for k in range(output.dim()) if k != axis % output.dim()]
            apart = output.detach() - output.detach().mean(dim=rest, keepdim=True)
            change = (apart * derivative).movedim(axis, 1)
            change = change.reshape(*change.shape[:2], -1).sum(dim=2)
            importance[module] = importance.get(module, 0) + change.square().mean(dim=0) / draws
    return importance


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
