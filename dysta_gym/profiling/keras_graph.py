"""Convolutional networks from Keras, bundled as scripts, as PyTorch modules.

nsfwjs ships its networks as scripts for browsers: the graph as a JavaScript object, and the weights
in Base64. Every convolution and every dense layer becomes an `nn.Conv2d` or an `nn.Linear` of its
own. Whatever a graph contains beyond `OPERATORS` is an error, never a guess.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dysta_gym.errors import DystaError
from dysta_gym.profiling.mobile import Weights, fixed, tfjs_weights
from dysta_gym.profiling.padding import PaddedConv2d, same_padding

Compute = Callable[[list[torch.Tensor]], torch.Tensor]


class KerasNetwork(nn.Module):
    """A Keras model with one input and one output, whose weights are modules in `layers`.

    Batch normalisations are modules in `norms`. Both have the names that they have in the model.
    """

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        ends = [[layer[0] for layer in config[f"{side}_layers"]] for side in ("input", "output")]
        if [len(side) for side in ends] != [1, 1]:
            raise DystaError(
                f"the graph has {len(ends[0])} inputs and {len(ends[1])} outputs; "
                "expected one of each"
            )
        (self._input,), (self._output,) = ends
        self._steps: list[tuple[str, list[str], Compute]] = []
        known = {self._input: 3}  # values and their channels
        for layer in config["layers"]:
            name, kind = layer["name"], layer["class_name"]
            if name == self._input:
                continue
            if kind not in OPERATORS:
                raise DystaError(
                    f"layer {name!r}: {kind} is unknown; expected one of "
                    f"{', '.join(sorted(OPERATORS))}"
                )
            (node,) = layer["inbound_nodes"]
            taken = [source[0] for source in node]
            for source in taken:
                if source not in known:
                    raise DystaError(f"layer {name!r} uses {source!r} before it is computed")
            options = _Options(layer["config"])
            channels = [known[source] for source in taken]
            compute, known[name] = OPERATORS[kind](self, options, weights, channels)
            self._steps.append((name, taken, compute))
        if self._output not in known:
            raise DystaError(f"the graph's output {self._output!r} is never computed")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Compute the output of pictures (pictures, 3, height, width)."""
        values = {self._input: input}
        for name, taken, compute in self._steps:
            values[name] = compute([values[source] for source in taken])
        return values[self._output]


class _Options(dict[str, Any]):
    """A layer's options; those that a graph must not have are refused."""

    def expect(self, name: str, *allowed: object) -> Any:
        value = self.get(name)
        value = tuple(value) if isinstance(value, list) else value
        if value not in allowed:
            raise DystaError(
                f"layer {self['name']!r}: {name} is {value!r}; expected "
                f"{' or '.join(map(repr, allowed))}"
            )
        return value


def load_nsfwjs(folder: Path) -> KerasNetwork:
    """Read a network from the scripts of nsfwjs in `folder`, in evaluation mode.

    Raises DystaError if a file is missing or damaged, or for a layer or an option of one that is
    not supported.
    """
    try:
        model = json.loads(_as_json(_exported(folder / "model.min.js")))
        (manifest,) = model["weightsManifest"]
        parts = [_exported(folder / f"{name}.min.js") for name in manifest["paths"]]
        data = b"".join(base64.b64decode(part.strip('"'), validate=True) for part in parts)
        weights = tfjs_weights(manifest["weights"], data)
        config = model["modelTopology"]["model_config"]["config"]
        network = KerasNetwork(config, Weights(folder.name, weights))
    except FileNotFoundError as error:
        raise DystaError(f"path is {error.filename}; expected a file, but there is none") from None
    except (KeyError, OSError, TypeError, ValueError, binascii.Error) as error:
        raise DystaError(f"network {folder.name} is damaged: {error!r}") from error
    network.eval()
    return network


def _exported(script: Path) -> str:
    """What a bundled script exports, as it stands there."""
    found = re.search(r"\bexports=(.*)\},\{\}\]\},\{\},\[1\]\)", script.read_text("utf-8"), re.S)
    if found is None:
        raise ValueError(f"{script.name} exports nothing")
    # The bundle has a loader in front, which assigns to `exports`, too.
    return found[1].rpartition("exports=")[2]


# In a script that was made small, names stand without quotes, and numbers without a leading zero.
_SHORT = re.compile(r'"(?:[^"\\]|\\.)*"|!0|!1|(?<=[{,])[A-Za-z_]\w*(?=:)|(?<![\w.])\.(?=\d)')


def _as_json(script: str) -> str:
    def written_out(found: re.Match[str]) -> str:
        short = found[0]
        if short in ("!0", "!1", "."):
            return {"!0": "true", "!1": "false", ".": "0."}[short]
        return short if short.startswith('"') else f'"{short}"'

    return _SHORT.sub(written_out, script)


Built = tuple[Compute, int]  # what a layer computes, and the channels of that


def _convolution(
    network: KerasNetwork, options: _Options, weights: Weights, channels: list[int]
) -> Built:
    name, kernel, filters = options["name"], options["kernel_size"], options["filters"]
    options.expect("data_format", "channels_last")
    options.expect("dilation_rate", (1, 1))
    biased = options.expect("use_bias", True, False)
    stride = tuple(options["strides"])
    module = PaddedConv2d(channels[0], filters, kernel, stride=stride, bias=biased)
    module.sides = _sides(options, kernel, stride)
    weight = weights.take(f"{name}/kernel", *kernel, channels[0], filters)
    module.weight = fixed(weight.permute(3, 2, 0, 1).contiguous())
    if biased:
        module.bias = fixed(weights.take(f"{name}/bias", filters))
    network.layers[name] = module
    activation = _activation(options)
    return lambda values: activation(module(values[0])), filters


def _dense(
    network: KerasNetwork, options: _Options, weights: Weights, channels: list[int]
) -> Built:
    name, outputs = options["name"], options["units"]
    options.expect("use_bias", True)
    module = nn.Linear(channels[0], outputs)
    module.weight = fixed(weights.take(f"{name}/kernel", channels[0], outputs).T.contiguous())
    module.bias = fixed(weights.take(f"{name}/bias", outputs))
    network.layers[name] = module
    activation = _activation(options)
    return lambda values: activation(module(values[0])), outputs


def _batch_norm(
    network: KerasNetwork, options: _Options, weights: Weights, channels: list[int]
) -> Built:
    name = options["name"]
    options.expect("axis", 3, -1)
    options.expect("center", True)
    module = nn.BatchNorm2d(channels[0], eps=options["epsilon"])
    scaled = options.expect("scale", True, False)
    module.weight = fixed(
        weights.take(f"{name}/gamma", channels[0]) if scaled else torch.ones(channels[0])
    )
    module.bias = fixed(weights.take(f"{name}/beta", channels[0]))
    module.running_mean = weights.take(f"{name}/moving_mean", channels[0])
    module.running_var = weights.take(f"{name}/moving_variance", channels[0])
    network.norms[name] = module
    return lambda values: module(values[0]), channels[0]


def _pool(
    pool: Callable[..., torch.Tensor],
) -> Callable[[KerasNetwork, _Options, Weights, list[int]], Built]:
    def build(
        network: KerasNetwork, options: _Options, weights: Weights, channels: list[int]
    ) -> Built:
        options.expect("data_format", "channels_last")
        kernel, stride = tuple(options["pool_size"]), tuple(options["strides"])
        top, left, bottom, right = _sides(options, kernel, stride)
        if (top, left) != (bottom, right):
            raise DystaError(
                f"layer {options['name']!r}: pool_size is {kernel}; expected odd numbers"
            )
        padding = (top, left)
        return lambda values: pool(values[0], kernel, stride, padding), channels[0]

    return build


def _average(
    values: torch.Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> torch.Tensor:
    return functional.avg_pool2d(values, kernel, stride, padding, count_include_pad=False)


def _concatenation(
    network: KerasNetwork, options: _Options, weights: Weights, channels: list[int]
) -> Built:
    options.expect("axis", 3, -1)
    return lambda values: torch.cat(values, dim=1), sum(channels)


def _flatten(
    network: KerasNetwork, options: _Options, weights: Weights, channels: list[int]
) -> Built:
    def compute(values: list[torch.Tensor]) -> torch.Tensor:
        if values[0].shape[2:] != (1, 1):
            raise DystaError(
                f"layer {options['name']!r}: {tuple(values[0].shape[2:])} positions; expected one"
            )
        return values[0].flatten(1)

    return compute, channels[0]


def _activated(
    network: KerasNetwork, options: _Options, weights: Weights, channels: list[int]
) -> Built:
    activation = _activation(options)
    return lambda values: activation(values[0]), channels[0]


def _unchanged(
    network: KerasNetwork, options: _Options, weights: Weights, channels: list[int]
) -> Built:
    return lambda values: values[0], channels[0]


def _sides(
    options: _Options, kernel: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Zeros (top, left, bottom, right) around a layer's input."""
    if options.expect("padding", "same", "valid") == "valid":
        return 0, 0, 0, 0
    options.expect("strides", (1, 1))  # otherwise they depend on the size of the picture
    top, left, bottom, right = same_padding(kernel, (1, 1))
    return top, left, bottom, right


def _activation(options: _Options) -> Callable[[torch.Tensor], torch.Tensor]:
    activations: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "linear": lambda values: values,
        "relu": torch.relu,
        "softmax": lambda values: values.softmax(-1),
    }
    return activations[options.expect("activation", *activations)]


OPERATORS: dict[str, Callable[[KerasNetwork, _Options, Weights, list[int]], Built]] = {
    "Activation": _activated,
    "AveragePooling2D": _pool(_average),
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenation,
    "Conv2D": _convolution,
    "Dense": _dense,
    "Dropout": _unchanged,
    "Flatten": _flatten,
    "MaxPooling2D": _pool(functional.max_pool2d),
}
