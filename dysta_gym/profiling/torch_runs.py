"""Any network in PyTorch: what enters its layers, and its attention, whatever module computes it.

Attention is found as it is computed: calls of `scaled_dot_product_attention` and
`multi_head_attention_forward` (which is `nn.MultiheadAttention` and what is made of it), and a
softmax over the last axis that is the left factor of a product with another activation. Hugging
Face's networks are one or the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dysta_gym.operations import NetworkShapes
from dysta_gym.profiling.cnn import Counter, counted_by, watched
from dysta_gym.profiling.finite import check_finite, is_mask
from dysta_gym.profiling.found_attention import Attention, attention, check_scores
from dysta_gym.profiling.shapes import Product, shapes_of_products

_PRODUCTS = frozenset(("matmul", "__matmul__", "bmm", "einsum"))
_BETWEEN = frozenset(
    {
        *("clone", "contiguous", "double", "dropout", "float", "half", "masked_fill", "mul"),
        *("__mul__", "nan_to_num", "reshape", "squeeze", "to", "type", "type_as", "unsqueeze"),
        *("view", "where"),
    }
)
"""What may stand between a softmax and the product with the values."""

_Call = Callable[..., Any]


class Calls(TorchFunctionMode):
    """Notes every attention in `found` while it lasts, and dense matrices in `products`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Attention] = []
        self.products: list[Product | None] = []  # None for each attention
        # Of what became of a softmax, by the tensor's id: that tensor, so that it lives, the
        # probabilities, and what they are of where some are NaN.
        self._softmaxes: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, and note what it is of attention; this mode is off within."""
        kwargs = kwargs or {}
        if func is functional.multi_head_attention_forward:
            return self._multi_head(func, *args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            self._note(*_scaled_dot_product(*args, **kwargs))
        made = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "softmax":
            if _over_the_last(made, *args, **kwargs):
                scores = kwargs["input"] if "input" in kwargs else args[0]
                self._softmaxes[id(made)] = made, made, scores if made.isnan().any() else None
        elif func is functional.linear or (name == "addmm" and len(args) == 3):
            self._note_product(*args[-2:] if name == "addmm" else (args[0], args[1].T))
        elif self._softmaxes and isinstance(made, torch.Tensor):
            self._follow(name, made, args)
        return made

    def _note_product(self, given: torch.Tensor, weights: torch.Tensor) -> None:
        inputs, outputs = weights.shape
        self.products.append(Product(given.numel() // inputs, inputs, outputs))

    def _follow(self, name: str, made: torch.Tensor, args: Any) -> None:
        """See what becomes of a softmax."""
        if name == "einsum" and isinstance(args[-1], list | tuple):
            args = args[-1]
        operands = [each for each in args if isinstance(each, torch.Tensor)]
        known = [self._softmaxes[id(each)][1:] for each in operands if id(each) in self._softmaxes]
        if known and name in _BETWEEN:
            self._softmaxes[id(made)] = made, *known[0]
        elif (
            name in _PRODUCTS
            and len(operands) == 2
            and id(operands[0]) in self._softmaxes
            and known[0][0].dim() > 2
            and not isinstance(operands[1], torch.nn.Parameter)
        ):
            probability, scores = known[0]
            self._note(probability, operands[1].shape[-1], scores)
            self._softmaxes.clear()

    def _note(
        self, probability: torch.Tensor, head_width: int, scores: torch.Tensor | None = None
    ) -> None:
        values = probability.detach().float().cpu().numpy()
        name = f"layer {len(self.found)}"
        if scores is not None:
            check_scores(scores.detach().float().cpu().numpy(), values, name)
        self.found.append(attention(name, values, head_width))
        self.products.append(None)

    def _multi_head(self, func: _Call, *args: Any, **kwargs: Any) -> Any:
        call = inspect.signature(func).bind(*args, **kwargs)
        call.apply_defaults()
        asked, averaged = (
            call.arguments[name] for name in ("need_weights", "average_attn_weights")
        )
        call.arguments.update(need_weights=True, average_attn_weights=False)
        made, weights = func(*call.args, **call.kwargs)
        width, heads = call.arguments["embed_dim_to_check"], call.arguments["num_heads"]
        keys = call.arguments["key"].shape[-1]
        if weights.isnan().any():  # of padding, if it was given numbers
            for name in ("query", "key"):
                check_finite(call.arguments[name], f"layer {len(self.found)}: its {name}")
        rows = weights.shape[-2], weights.shape[-1], weights.shape[-1]
        self.products += [
            Product(count, inputs, width)
            for count, inputs in zip(rows, (width, keys, keys), strict=True)
        ]
        self._note(weights, width // heads)
        self.products.append(Product(weights.shape[-2], width, width))
        if not asked:
            return made, None
        return made, weights.mean(dim=-3) if averaged else weights


def _scaled_dot_product(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[torch.Tensor, int, torch.Tensor]:
    """What `scaled_dot_product_attention` keeps to itself.

    Its probabilities, the width of a head, and the scores that they are of.
    """
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = query.float() @ key.float().transpose(-2, -1) * scale
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1), value.shape[-1], scores


def _over_the_last(
    made: Any, input: torch.Tensor, dim: int | None = None, *args: Any, **kwargs: Any
) -> bool:
    return isinstance(made, torch.Tensor) and dim in (-1, made.dim() - 1)


class Module:
    """A network in PyTorch that can be run, as `dysta_gym.profiling.onnx_runs.Graph` is."""

    layers = attentions = None  # how many there are is known once it runs
    unmeasured: tuple[str, ...] = ()

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module.eval()
        self._products: list[Product | None] = []

    def check(self, accelerator: str) -> None:
        """See that its parameters are finite.

        Raises:
            DystaError: If one is not.
        """
        for name, parameter in self._module.named_parameters():
            if not torch.nn.parameter.is_lazy(parameter):
                check_finite(parameter, f"the network's parameter {name}")

    def count(self, given: Any, counter: Counter) -> None:
        """Run it on an input, and have each layer counted."""
        with watched(self._module, counted_by(counter)):
            self._run(given)

    def attention(self, given: Any) -> list[Attention]:
        """Run it on an input; its attention layers in the order in which they run."""
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # which hides its attention
        try:
            with Calls() as calls:
                self._run(given)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        self._products = calls.products
        return calls.found

    def network_shapes(self, heads: int, width: int) -> NetworkShapes | None:
        """Those of its blocks, if they are alike; after it has run."""
        return shapes_of_products(self._products, heads, width)

    def _run(self, given: Any) -> None:
        self._check_given(given)
        with torch.inference_mode():
            if isinstance(given, Mapping):
                self._module(**given)
            elif isinstance(given, tuple | list):
                self._module(*given)
            else:
                self._module(given)

    def _check_given(self, given: Any) -> None:
        """See that what it is run on is finite, but for masks."""
        if isinstance(given, Mapping):
            named = list(given.items())
        else:
            several = given if isinstance(given, tuple | list) else (given,)
            names = [*inspect.signature(self._module.forward).parameters, *[""] * len(several)]
            named = list(zip(names, several, strict=False))
        for name, value in named:
            if isinstance(value, torch.Tensor):
                check_finite(value, name or "an argument", masks=is_mask(name))
