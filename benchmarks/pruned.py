"""What is left of a pruned network's outputs, pattern by pattern: docs/pruning.md.

Needs the extra `profile`. From the repository's root, with the packages in CACHE (fetched if they
are not there):

python benchmarks/pruned.py CACHE > docs/pruning.md
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dysta_gym.profiling import cnn
from dysta_gym.profiling.pruning import prune
from dysta_gym.profiling.sources import fetch

INPUTS = 24

HEAD = f"""# What pruning leaves

The shipped CNNs are pruned by magnitude and not trained afterwards, as their traces' purpose is the
cost of a pattern. How much of the dense network's output that leaves: the correlation with it of
all output values over {INPUTS} inputs, each value less its mean over the inputs. At 1 the network
is unharmed, at 0 its output has nothing to do with what it was. Written by `benchmarks/pruned.py`.
"""


def outputs(model: Any, tensors: list[torch.Tensor]) -> NDArray[np.float64]:
    """All output values for all inputs, (inputs, values)."""
    rows = []
    with torch.inference_mode():
        for tensor in tensors:
            found = model.eval()(tensor)
            parts = found if isinstance(found, tuple | list) else [found]
            rows.append(np.concatenate([part.numpy().ravel() for part in parts]))
    return np.array(rows, np.float64)


def main(cache: Path) -> None:
    """Print the page."""
    print(HEAD)
    print(f"| network | {' | '.join(cnn.PATTERNS[1:])} |")
    print("|---|" + "---:|" * len(cnn.PATTERNS[1:]))
    for name, network in cnn._NETWORKS.items():
        _, tensors = network.inputs(cache, INPUTS)
        folders = [fetch(package, cache) for package in network.packages]
        found = {}
        for pattern in cnn.PATTERNS:
            print(f"{name} {pattern}", file=sys.stderr)
            model = network.load(folders)
            prune(model, pattern)
            found[pattern] = outputs(model, tensors)
        # What all inputs have in common, such as the places of a detector's boxes, says nothing.
        apart = {pattern: (each - each.mean(axis=0)).ravel() for pattern, each in found.items()}
        dense = apart.pop("dense")
        cells = [
            f"{np.corrcoef(dense, values)[0, 1]:.2f}" if values.any() else "constant"
            for values in apart.values()
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
