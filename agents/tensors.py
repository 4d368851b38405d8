"""Networks and their optimisers as arrays, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn


def weights_of(network: nn.Module) -> dict[str, NDArray[Any]]:
    """All that a network learns, arrays by name."""
    return {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}


def set_weights(network: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Give a network what `weights_of` gave of one like it."""
    network.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in arrays.items()})


def moments_of(optimiser: torch.optim.Adam) -> dict[str, NDArray[Any]]:
    """What Adam remembers of each parameter, zeros before its first step; arrays by name."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, parameter in enumerate(_parameters(optimiser)):
        known = optimiser.state.get(parameter) or _blank(parameter)
        arrays |= {f"{index}.{name}": tensor.detach().numpy() for name, tensor in known.items()}
    return arrays


def set_moments(optimiser: torch.optim.Adam, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Give Adam what `moments_of` gave of one like it."""
    for index, parameter in enumerate(_parameters(optimiser)):
        optimiser.state[parameter] = {
            name: torch.from_numpy(arrays[f"{index}.{name}"].copy()) for name in _blank(parameter)
        }


def _parameters(optimiser: torch.optim.Adam) -> list[nn.Parameter]:
    return [each for group in optimiser.param_groups for each in group["params"]]


def _blank(parameter: nn.Parameter) -> dict[str, torch.Tensor]:
    zeros = torch.zeros_like(parameter)
    return {"step": torch.zeros(()), "exp_avg": zeros, "exp_avg_sq": zeros}
