"""Pruned networks that still work: repaired by their dense network, on inputs without labels.

Pruning by magnitude alone leaves little of a network's outputs. Three steps bring them back; none
of them makes a zero weight anything else:

1. `refit`: layer by layer, in the order in which they run, the weights that are left are fitted by
   least squares to what the dense layer computes, on the inputs that the layer has in the pruned
   network so far. Biases and the statistics of batch normalisations are renewed on the way. He et
   al. (ICCV'17) do this for channels; fitting to the layer's input as the pruned network has it
   keeps errors from adding up.
2. `distil`: weights, biases and the scales of batch normalisations are trained together, so that
   outputs and the outputs of all layers come near the dense network's (Hinton et al., 2015; Romero
   et al., ICLR'15), on random views of the inputs.
3. `correlation` says how much of the dense network's output there is in the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

# Least squares: inputs that are run at once, rows that a layer is fitted on, what the old weights
# count against the data (in mean squares of the layer's input; more where rows are few for the
# weights of a filter), and steps of conjugate gradients.
INPUTS = 256
ROWS = 50_000
RIDGE = 1e-4
FEW_ROWS_RIDGE = 0.03
SOLVER_STEPS = 60

# Distillation: steps, inputs a step, the size of a step (in root mean squares of a filter's
# weights), what the layers' errors count against the outputs', and which layers those are.
STEPS = 600
BATCH = 32
STEP_SIZE = 0.003
LAYERS_SHARE = 0.5
EVERY_LAYER = 3


class Scale(NamedTuple):
    """What black and white are in a network's input, a value for each channel, (channels,)."""

    black: torch.Tensor
    white: torch.Tensor


class Repaired(NamedTuple):
    """What `repair` did: correlations on views of its inputs after either step, and the last one.

    `steps` is 0 where distillation came no nearer, and what `refit` left was kept.
    """

    refitted: float
    distilled: float
    steps: int


class _Seen(NamedTuple):
    """What a dense layer computes: some outputs, and where they are."""

    rows: torch.Tensor  # (rows, filters)
    picks: torch.Tensor  # positions, (inputs, positions an input)


def repair(
    model: nn.Module,
    dense: nn.Module,
    inputs: torch.Tensor,
    scale: Scale,
    *,
    steps: int = STEPS,
    seed: int = 0,
    after_refit: Callable[[], object] = lambda: None,
) -> Repaired:
    """Bring the outputs of `model`, which is `dense` after pruning, near those of `dense`.

    `inputs` (inputs, ...), on the device of both networks, are all that it learns from; `scale`
    says what is black and white in them. Zero weights stay zero. `after_refit` is called between
    the two steps.
    """
    generator = torch.Generator().manual_seed(seed)
    held = views(inputs[:INPUTS], scale, generator)
    wanted = outputs(dense, held)
    shown = inputs[:INPUTS]
    while len(shown) < INPUTS:
        shown = torch.cat([shown, views(inputs, scale, generator)[: INPUTS - len(shown)]])
    refit(model, dense, shown, seed=seed)
    after_refit()
    refitted = correlation(wanted, outputs(model, held))
    before = {name: values.clone() for name, values in model.state_dict().items()}
    distil(model, dense, inputs, scale, steps=steps, seed=seed)
    distilled = correlation(wanted, outputs(model, held))
    if steps and not distilled > refitted:
        model.load_state_dict(before)
        steps = 0
    return Repaired(refitted, distilled, steps)


def layers(model: nn.Module) -> dict[str, Any]:
    """The convolutions and linear layers of `model` by their names."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def outputs(model: nn.Module, inputs: torch.Tensor, batch: int = 32) -> NDArray[np.float64]:
    """All output values for each of `inputs` (inputs, ...), as (inputs, values)."""
    with torch.no_grad():
        parts = [_joined(model(part)).float().cpu() for part in inputs.split(batch)]
    return torch.cat(parts).double().numpy()


def correlation(dense: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """How much of the dense network's outputs (inputs, values) there is in `found`, -1 to 1.

    The correlation of all values over all inputs, each less its mean over the inputs: what inputs
    have in common, such as the places of a detector's boxes, says nothing. 0 if `found` is the
    same for all inputs.
    """
    apart = [(values - values.mean(axis=0)).ravel() for values in (dense, found)]
    if not all(values.any() for values in apart):
        return 0.0
    return float(np.corrcoef(*apart)[0, 1])


def _joined(found: Any) -> torch.Tensor:
    """A network's outputs side by side, (inputs, values)."""
    parts = found if isinstance(found, tuple | list) else [found]
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def refit(
    model: nn.Module,
    dense: nn.Module,
    inputs: torch.Tensor,
    *,
    seed: int = 0,
    rows: int = ROWS,
) -> None:
    """Fit the weights that `model` has left to what the layers of `dense` compute on `inputs`.

    `model` is `dense` after pruning; `inputs` (inputs, ...) are run at once. Zero weights stay, and
    a filter without weights keeps its bias. `rows` are drawn from a layer's inputs and positions.
    A layer without a bias is given one, unless a batch normalisation follows: then its statistics
    change so that mean and variance after it are the dense network's.
    """
    generator = torch.Generator().manual_seed(seed)
    seen, moments, follows = _watch_dense(dense, inputs, rows, generator)
    handles = []
    done: set[str] = set()

    def fit(name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def hook(module: Any, args: tuple[Any, ...]) -> None:
            if name not in done:
                done.add(name)
                _fit_layer(module, args[0], seen.pop(name), name not in follows.values())

        return hook

    def renew(name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def hook(module: Any, args: tuple[Any, ...]) -> None:
            mean, variance = moments[name]
            found_variance, found_mean = torch.var_mean(args[0], dim=(0, 2, 3), correction=0)
            alive = found_variance > 1e-6 * variance
            ratio = torch.where(alive, found_variance / variance.clamp_min(1e-30), 1.0)
            old_mean, old_variance = module.running_mean, module.running_var
            new_variance = (old_variance + module.eps) * ratio - module.eps
            module.running_mean = found_mean - (mean - old_mean) * ratio.sqrt()
            module.running_var = new_variance.clamp_min(0)

        return hook

    for name, module in layers(model).items():
        handles.append(module.register_forward_pre_hook(fit(name)))
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(renew(name)))
    _run_hooked(model, inputs, handles)


def _watch_dense(
    dense: nn.Module, inputs: torch.Tensor, rows: int, generator: torch.Generator
) -> tuple[dict[str, _Seen], dict[str, tuple[torch.Tensor, torch.Tensor]], dict[str, str]]:
    """What layers compute; of normalisations, the moments before, and which layer they follow."""
    seen: dict[str, _Seen] = {}
    moments: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    follows: dict[str, str] = {}
    last: list[Any] = ["", None]
    handles = []

    def after(name: str) -> Callable[[Any, Any, torch.Tensor], None]:
        def hook(module: Any, args: Any, output: torch.Tensor) -> None:
            last[:] = name, output
            if name in seen:
                return
            flat = _positions(module, output)
            count, _, places = flat.shape
            wanted = min(places, math.ceil(rows / count))
            picks = torch.stack(
                [torch.randperm(places, generator=generator)[:wanted] for _ in range(count)]
            ).to(flat.device)
            picked = flat.gather(2, picks[:, None].expand(-1, flat.shape[1], -1))
            seen[name] = _Seen(picked.transpose(1, 2).flatten(0, 1), picks)

        return hook

    def before(name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def hook(module: Any, args: tuple[Any, ...]) -> None:
            if last[1] is args[0]:
                follows[name] = last[0]
            variance, mean = torch.var_mean(args[0], dim=(0, 2, 3), correction=0)
            moments[name] = mean, variance

        return hook

    for name, module in layers(dense).items():
        handles.append(module.register_forward_hook(after(name)))
    for name, module in dense.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(before(name)))
    _run_hooked(dense, inputs, handles)
    return seen, moments, follows


def _run_hooked(model: nn.Module, inputs: torch.Tensor, handles: list[Any]) -> None:
    """Run a network once, for its hooks, and take these away."""
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()


def _positions(module: Any, values: torch.Tensor) -> torch.Tensor:
    """A layer's output, or a linear layer's input, as (inputs, channels, positions)."""
    if isinstance(module, nn.Linear):
        return values.reshape(len(values), -1, values.shape[-1]).transpose(1, 2)
    return values.flatten(2)


def _columns(module: Any, values: torch.Tensor, picks: torch.Tensor) -> torch.Tensor:
    """What lies under the kernel at the picked positions: (groups, rows, weights of a filter)."""
    if isinstance(module, nn.Linear):
        flat = _positions(module, values)
        rows = flat.gather(2, picks[:, None].expand(-1, flat.shape[1], -1))
        return rows.transpose(1, 2).flatten(0, 1)[None]
    sides = getattr(module, "sides", None)
    if sides is None:
        vertical, horizontal = module.padding
        sides = (vertical, horizontal, vertical, horizontal)
    top, left, bottom, right = sides
    padded = functional.pad(values, (left, right, top, bottom))
    width = padded.shape[3]
    reach = module.dilation[1] * (module.kernel_size[1] - 1) + 1
    columns = (width - reach) // module.stride[1] + 1
    corner = picks // columns * module.stride[0] * width + picks % columns * module.stride[1]
    flat = padded.flatten(2)
    channels = flat.shape[1]
    parts = []
    for r in range(module.kernel_size[0]):
        for s in range(module.kernel_size[1]):
            places = corner + r * module.dilation[0] * width + s * module.dilation[1]
            part = flat.gather(2, places[:, None].expand(-1, channels, -1))
            parts.append(part.transpose(1, 2).flatten(0, 1))
    rows = torch.stack(parts, dim=2)  # (rows, channels, kernel positions)
    return rows.reshape(len(rows), module.groups, -1).transpose(0, 1)


def _fit_layer(module: Any, values: torch.Tensor, target: _Seen, own_bias: bool) -> None:
    """Fit one layer to `target` on its input `values`; `own_bias`: no normalisation follows."""
    weight = module.weight.detach()
    columns = _columns(module, values, target.picks)
    groups, count, size = columns.shape
    mean = columns.mean(dim=1, keepdim=True)
    columns = columns - mean
    wanted = target.rows.reshape(count, groups, -1).permute(1, 2, 0)
    wanted_mean = wanted.mean(dim=2, keepdim=True)
    gram = columns.transpose(1, 2) @ columns / count
    cross = (wanted - wanted_mean) @ columns / count
    start = weight.reshape(groups, -1, size)
    fitted = least_squares(gram, cross, start, start != 0, count)
    if own_bias:
        # Least squares makes every filter's output vary less than the dense one's.
        found = ((fitted @ gram) * fitted).sum(dim=2, keepdim=True)
        ratio = (wanted - wanted_mean).square().mean(dim=2, keepdim=True) / found.clamp_min(1e-30)
        fitted = fitted * torch.where(found > 0, ratio.sqrt().clamp(1, 2), 1.0)
    module.weight.data.copy_(fitted.reshape(weight.shape))
    alive = (fitted != 0).any(dim=2).flatten()
    offset = (wanted_mean - fitted @ mean.transpose(1, 2)).flatten()
    if module.bias is not None:
        module.bias.data.copy_(torch.where(alive, offset, module.bias))
    elif own_bias:
        module.bias = nn.Parameter(torch.where(alive, offset, 0.0), requires_grad=False)


def least_squares(
    gram: torch.Tensor, cross: torch.Tensor, start: torch.Tensor, mask: torch.Tensor, rows: int
) -> torch.Tensor:
    """Weights (groups, filters, size) that fit best, zero where `mask` is: masked ridge regression.

    `gram` (groups, size, size) holds the mean products of the columns with each other, and `cross`
    (groups, filters, size) with what each filter should give, over `rows` rows. The ridge holds on
    to `start`. By conjugate gradients, all filters at once, scaled by the columns' squares.
    """
    diagonal = gram.diagonal(dim1=1, dim2=2)
    share = RIDGE + FEW_ROWS_RIDGE * gram.shape[2] / rows
    ridge = share * diagonal.mean(dim=1)[:, None, None] + 1e-20
    inverse = 1 / (diagonal[:, None, :] + ridge)
    weights = start * mask

    def product(vector: torch.Tensor) -> torch.Tensor:
        return (vector @ gram + ridge * vector) * mask

    residual = (cross + ridge * start) * mask - product(weights)
    scaled = inverse * residual
    direction = scaled
    square = (residual * scaled).sum(dim=2, keepdim=True)
    for _ in range(SOLVER_STEPS):
        moved = product(direction)
        curvature = (direction * moved).sum(dim=2, keepdim=True)
        step = torch.where(curvature > 0, square / curvature.clamp_min(1e-38), 0.0)
        weights = weights + step * direction
        residual = residual - step * moved
        scaled = inverse * residual
        before, square = square, (residual * scaled).sum(dim=2, keepdim=True)
        turn = torch.where(before > 0, square / before.clamp_min(1e-38), 0.0)
        direction = scaled + turn * direction
    return weights


def views(inputs: torch.Tensor, scale: Scale, generator: torch.Generator) -> torch.Tensor:
    """Random views of `inputs`: parts, mirrored, brighter or darker, in other colours, mixed.

    `inputs` is (inputs, channels, height, width) or has its channels last; on any device. Draws are
    made with `generator`, of the CPU.
    """
    last = inputs.shape[1] > inputs.shape[-1]
    images = inputs.permute(0, 3, 1, 2) if last else inputs
    count, channels = images.shape[:2]
    device = images.device

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return (low + (high - low) * torch.rand(shape, generator=generator)).to(device)

    size = draw(0.55, 1.0, count)
    mirrored = torch.where(draw(0, 1, count) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = size * mirrored
    theta[:, 1, 1] = size * draw(0.85, 1.15, count)
    theta[:, :, 2] = draw(-1, 1, count, 2) * (1 - size[:, None])
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(
        images, grid.to(images.dtype), padding_mode="reflection", align_corners=False
    )
    black, white = (values.to(device).reshape(1, channels, 1, 1) for values in scale)
    light = (moved - black) / (white - black)
    # One in four is as dark as the low-light copies.
    gain = torch.where(
        draw(0, 1, count, 1, 1, 1) < 0.25,
        torch.exp2(-draw(0.5, 3, count, 1, 1, 1)),
        draw(0.7, 1.3, count, 1, 1, 1),
    )
    light = (light * gain * draw(0.85, 1.15, count, channels, 1, 1)).clamp(0, 1)
    # One in four is a mixture of two.
    share = torch.where(draw(0, 1, count, 1, 1, 1) < 0.25, draw(0.5, 1, count, 1, 1, 1), 1.0)
    light = share * light + (1 - share) * light.roll(1, 0)
    images = black + light * (white - black)
    return images.permute(0, 2, 3, 1) if last else images


@contextmanager
def _outputs_noted(model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Keep every layer's output of the latest run while the context lasts."""
    noted: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Callable[[Any, Any, torch.Tensor], None]:
        return lambda module, args, output: noted.__setitem__(name, output)

    handles = [module.register_forward_hook(hook(name)) for name, module in layers(model).items()]
    try:
        yield noted
    finally:
        for handle in handles:
            handle.remove()


def distil(
    model: nn.Module,
    dense: nn.Module,
    inputs: torch.Tensor,
    scale: Scale,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> None:
    """Train what is left of `model` to compute what `dense` does on views of `inputs`.

    Zero weights stay, and so does the bias of a filter that has none left. By Adam, whose steps are
    in units of a filter's weights, with a cosine decay; on a GPU in bfloat16.
    """
    generator = torch.Generator().manual_seed(seed)
    device = inputs.device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    students = layers(model)
    matched = list(students)[::-EVERY_LAYER]
    alive = {name: (module.weight.flatten(1) != 0).any(1) for name, module in students.items()}
    with torch.no_grad(), _outputs_noted(dense) as theirs:
        total = _joined(dense(inputs[: 2 * BATCH])).var(dim=0).sum()
        deviation = {
            name: _positions(module, theirs[name]).std(dim=(0, 2)).clamp_min(1e-6)
            for name, module in layers(dense).items()
        }
    trained = _trained(model, alive, deviation)
    tensors = [values for values, _ in trained]
    units = [torch.empty_like(values).copy_(unit) for values, unit in trained]
    first = [torch.zeros_like(values) for values in tensors]
    second = [torch.zeros_like(values) for values in tensors]
    for values in tensors:
        values.requires_grad_(True)
    with _outputs_noted(dense) as theirs, _outputs_noted(model) as ours:
        for step in range(1, steps + 1):
            picks = torch.randint(len(inputs), (BATCH,), generator=generator).to(device)
            view = views(inputs[picks], scale, generator)
            with autocast:
                with torch.no_grad():
                    wanted = _joined(dense(view)).float()
                found = _joined(model(view)).float()
                loss = (found - wanted).square().sum(dim=1).mean() / total
                errors = []
                for name in matched:
                    error = _positions(students[name], (ours[name] - theirs[name]).float())
                    share = error.square().mean(dim=(0, 2)) / deviation[name].square()
                    kept = alive[name]
                    errors.append((share * kept).sum() / kept.sum().clamp_min(1))
                loss = loss + LAYERS_SHARE * torch.stack(errors).mean()
            gradients = torch.autograd.grad(loss, tensors)
            rate = STEP_SIZE * min(1.0, step / 20) * (1 + math.cos(math.pi * step / steps)) / 2
            rate *= math.sqrt(1 - 0.99**step) / (1 - 0.9**step)
            with torch.no_grad():
                for values, gradient, unit, mean, square in zip(
                    tensors, gradients, units, first, second, strict=True
                ):
                    mean.lerp_(gradient, 0.1)
                    square.lerp_(gradient.square(), 0.01)
                    values.sub_(rate * unit * mean / (square.sqrt() + 1e-12))
    for values in tensors:
        values.requires_grad_(False)


def _trained(
    model: nn.Module, alive: dict[str, torch.Tensor], deviation: dict[str, torch.Tensor]
) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """What is trained, each with the unit of its steps: 0 where it must stay."""
    trained: list[tuple[nn.Parameter, torch.Tensor]] = []
    for name, module in layers(model).items():
        weight = module.weight
        kept = (weight != 0).float()
        square = weight.square().flatten(1).sum(1) / kept.flatten(1).sum(1).clamp_min(1)
        trained.append((weight, square.sqrt().reshape(-1, *[1] * (weight.dim() - 1)) * kept))
        if module.bias is not None:
            trained.append((module.bias, deviation[name] * alive[name]))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            unit = module.weight.detach().abs().clone()
            trained += [(module.weight, unit), (module.bias, unit)]
    return trained
