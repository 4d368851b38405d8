"""Inputs for an ONNX file: arrays or pictures, as files have them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError, shown
from dysta_gym.files import visible
from dysta_gym.profiling.finite import check_finite, is_mask

ARRAYS = (".npy", ".npz")
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


class GraphInput(NamedTuple):
    """An input of a graph: its shape, None for an axis of any size, and the type of its values."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


def describe(inputs: Sequence[GraphInput]) -> str:
    """The inputs of a graph in words, for messages."""
    return ", ".join(
        f"{shown(each.name)} ({' x '.join(str(axis or '?') for axis in each.shape)}, {each.dtype})"
        for each in inputs
    )


@dataclass(frozen=True)
class Scaling:
    """How a picture's values, 0 to 255, become what a network takes.

    Attributes:
        scale: What they are multiplied by first.
        mean: What is subtracted then: one number, or one a channel.
        deviation: What is divided by in the end, likewise.
        size: Height and width, where the network takes any; None where it has its own.
    """

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pixels (height, width, channels) as the network takes them.

        Raises:
            DystaError: If there is another number of channels.
        """
        for name, values in (("mean", self.mean), ("std", self.deviation)):
            if len(values) not in (1, pixels.shape[2]):
                raise DystaError(
                    f"{name} has {len(values)} numbers; expected 1, or {pixels.shape[2]} for the "
                    "channels"
                )
        mean, deviation = (np.array(each, np.float32) for each in (self.mean, self.deviation))
        # Divided as frameworks do, so that no value differs in its last bit.
        with np.errstate(all="ignore"):  # what is not finite is refused
            return (pixels.astype(np.float32) / np.float32(1 / self.scale) - mean) / deviation


@dataclass
class Inputs:
    """Inputs by name: a mapping from the graph's inputs to arrays each."""

    names: list[str] = field(default_factory=list)
    arrays: list[dict[str, NDArray[Any]]] = field(default_factory=list)

    def add(self, name: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Add one."""
        self.names.append(name)
        self.arrays.append(arrays)


def read_inputs(path: Path, wanted: Sequence[GraphInput], scaling: Scaling) -> Inputs:
    """The inputs in an npz file, or a folder of npy and npz files, or of pictures.

    The first axis of an array is the inputs'. A file in a folder may also hold a single one,
    without that axis.

    Raises:
        DystaError: If there are none, or they do not fit the graph.
    """
    inputs = Inputs()
    if not os.path.exists(path):  # noqa: PTH110, as a path's own fails where it is too long
        raise DystaError(f"inputs: {str(path)!r} does not exist; expected an npz file, or a folder")
    if path.is_dir():
        files = [each for each in visible(path, "*") if each.suffix.lower() in ARRAYS + PICTURES]
        pictures = {each.suffix.lower() in PICTURES for each in files}
        if len(pictures) != 1:
            held = "both arrays and pictures" if files else "no npy or npz file and no picture"
            raise DystaError(f"inputs: folder {str(path)!r} holds {held}; expected one of the two")
        if pictures != {True}:
            _check_unscaled(scaling, "arrays")
        for file in files:
            if pictures == {True}:
                inputs.add(file.stem, {wanted[0].name: _picture(file, wanted, scaling)})
            else:
                _add(inputs, file, wanted, single=True)
    elif path.suffix.lower() in ARRAYS:
        _check_unscaled(scaling, "arrays")
        _add(inputs, path, wanted, single=False)
    else:
        raise DystaError(
            f"inputs: {str(path)!r} is neither an npz file nor a folder; expected one of the two"
        )
    if len(set(inputs.names)) < len(inputs.names):
        inputs.names = [f"{name}:{i}" for i, name in enumerate(inputs.names)]
    return inputs


def _check_unscaled(scaling: Scaling, given: str, *, sized: bool = False) -> None:
    """See that nothing is asked for that is for pictures alone, but for a size if it is `sized`."""
    usual = Scaling()
    for option, value, default in (
        ("scale", scaling.scale, usual.scale),
        ("mean", scaling.mean, usual.mean),
        ("std", scaling.deviation, usual.deviation),
        ("size", scaling.size, scaling.size if sized else None),
    ):
        if value != default:
            raise DystaError(
                f"{option}: {shown(value)} is for pictures; the inputs are {given}, "
                "which are taken as they are"
            )


def _add(inputs: Inputs, file: Path, wanted: Sequence[GraphInput], *, single: bool) -> None:
    where = f"inputs: {str(file)!r}"
    arrays = _by_input(_loaded(file, where), wanted, where)
    counts = {}
    for each in wanted:
        array, rank = arrays[each.name], len(each.shape)
        if array.ndim == rank - 1 and single:
            arrays[each.name] = array[None]
        elif array.ndim == rank + 1:
            arrays[each.name] = array
        elif array.ndim != rank or rank == 0:
            raise DystaError(
                f"{where}: {each.name} has shape {array.shape}; expected the inputs along its "
                f"first axis, of shape {_wanted(each)} each"
            )
        counts[each.name] = len(arrays[each.name])
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise DystaError(f"{where}: there are {told}; expected equally many")
    count = next(iter(counts.values()))
    for index in range(count):
        one = {}
        for each in wanted:
            array = arrays[each.name]
            one[each.name] = array[index] if array.ndim > len(each.shape) else array[index][None]
            of = where if count == 1 else f"{where}, input {index}"
            fitting(wanted, each.name, one[each.name], of)
        inputs.add(file.stem if single and count == 1 else f"{file.stem}:{index}", one)


def _loaded(file: Path, where: str) -> Mapping[str, NDArray[Any]]:
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"": found}
        with found:
            arrays = {name: found[name] for name in found.files}
    except FileNotFoundError:
        raise DystaError(f"{where} does not exist") from None
    except Exception as error:  # a damaged file raises anything
        told = " ".join(str(error).split())
        raise DystaError(f"{where} is damaged, or not an npz file ({told})") from None
    if not arrays:
        raise DystaError(f"{where} holds no array; expected one for each input of the network")
    return arrays


def _by_input(
    found: Mapping[str, NDArray[Any]], wanted: Sequence[GraphInput], where: str
) -> dict[str, NDArray[Any]]:
    if len(found) == 1 == len(wanted):  # whatever it is called
        return {wanted[0].name: next(iter(found.values()))}
    names = {each.name for each in wanted}
    for name in (*sorted(names - set(found)), *sorted(set(found) - names)):
        fault = f"has no array {name!r}" if name in names else f"has an array {shown(name)} more"
        raise DystaError(f"{where} {fault}; the network takes {describe(wanted)}")
    return dict(found)


def fitting(
    inputs: Sequence[GraphInput], name: str, given: Any, where: str = "inputs"
) -> NDArray[Any]:
    """An array as one of the inputs takes it, of its type if that loses nothing.

    Raises:
        DystaError: If there is no such input, or it takes another shape or other values.
    """
    wanted = next((each for each in inputs if each.name == name), None)
    if wanted is None:
        raise DystaError(f"{where}: {shown(name)} is unknown; expected {describe(inputs)}")
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    fits = array.ndim == len(wanted.shape) and all(
        axis in (None, size) for axis, size in zip(wanted.shape, array.shape, strict=True)
    )
    if not fits:
        batch = ""
        if array.ndim == len(wanted.shape) and wanted.shape[0] not in (None, 1):
            batch = f"; its batch is fixed at {wanted.shape[0]}, export it with 1 or any"
        raise DystaError(
            f"{where}: {name} has shape {array.shape}; expected {_wanted(wanted)}{batch}"
        )
    what = name if where == "inputs" else f"{where}: {name}"  # whoever runs it says on which input
    check_finite(array, what, masks=is_mask(name))
    if array.dtype == wanted.dtype:
        return array
    if array.dtype.kind not in "biuf":
        raise DystaError(f"{where}: {name} holds {array.dtype}; expected {wanted.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(wanted.dtype)
    whole = wanted.dtype.kind in "biu"
    if (cast != array).any() if whole else (np.isinf(cast) != np.isinf(array)).any():
        raise DystaError(f"{where}: {name} holds values that are no {wanted.dtype}")
    return cast


def _wanted(each: GraphInput) -> str:
    return f"({', '.join(str(axis or '?') for axis in each.shape)})"


def _picture(file: Path, wanted: Sequence[GraphInput], scaling: Scaling) -> NDArray[Any]:
    """A picture, a batch of one."""
    from PIL import Image

    shape = wanted[0].shape
    if len(wanted) != 1 or len(shape) != 4 or shape[0] not in (None, 1):
        raise DystaError(
            f"inputs: pictures are for a network with one input, of a picture; this one takes "
            f"{describe(wanted)}"
        )
    last = shape[1] not in (None, 1, 3) and shape[3] in (1, 3)  # channels
    channels, *sizes = (shape[3], *shape[1:3]) if last else shape[1:]
    if channels not in (None, 1, 3):
        raise DystaError(f"inputs: the network takes {channels} channels; a picture has 1 or 3")
    height, width = scaling.size or sizes
    if height is None or width is None:
        raise DystaError("inputs: the network takes pictures of any size; give --size, like 224")
    try:
        with Image.open(file) as image:
            coloured = image.convert("L" if channels == 1 else "RGB")
            resized = coloured.resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DystaError(f"inputs: {str(file)!r} is not a picture ({error})") from None
    pixels = np.asarray(resized).reshape(height, width, -1)
    values: NDArray[Any] = pixels
    if wanted[0].dtype.kind == "f":
        values = scaling.apply(pixels)
    else:
        _check_unscaled(scaling, f"whole numbers ({wanted[0].dtype})", sized=True)
    batch = values[None] if last else values.transpose(2, 0, 1)[None]
    return fitting(wanted, wanted[0].name, batch, f"inputs: {str(file)!r}")
