"""What is left of a pruned network's outputs and activations, before and after its repair.

Writes docs/pruning.md from benchmarks/pruned.json and the shipped traces. From the repository's
root:

python -m benchmarks.pruned > docs/pruning.md

With a folder of packages (fetched if they are not there), the networks are repaired again first, at
one rate after the other until they work, and the records written anew. Needs the extra `profile`
and a GPU, where it takes an hour or so:

python -m benchmarks.pruned CACHE > docs/pruning.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dysta_gym.traces import HELD_OUT, shipped_trace, shipped_traces

RECORDS = Path(__file__).with_suffix(".json")
KINDS = ("unstructured", "block", "filter")
WORKS = 0.9  # correlation from which on a pruned network is shipped

HEAD = f"""# What pruning leaves, and what repairs it

Pruning a trained network by magnitude leaves little of what it computes. The shipped CNNs are
therefore repaired after pruning, by the dense network and without labels, on inputs for training
alone (`dysta_gym/profiling/repair.py`): layer by layer the weights that are left are fitted by
least squares to the dense layer's outputs, biases and batch normalisations are renewed, and where
it helps all are then trained together to give the dense network's outputs. Zero weights stay zero.

How near the outputs come: the correlation with the dense network's of all output values over the
inputs for testing, each value less its mean over the inputs. At 1 the network is unharmed, at 0 its
output has nothing to do with what it was. A pattern is shipped from {WORKS} on: at 20 %, and at the
highest rate found that reaches it; 10 % where 20 % does not. Rates that are not listed were not
tried: another might do, of ResNet-50 and SSD-MobileNetV2 above all. Written by
`benchmarks/pruned.py`.
"""

RATES = """## Correlations

`pruned` is by magnitude and not repaired; `refitted` after least squares; `repaired` in the end.
Where no steps are given, training came no nearer on views of the training inputs, and what least
squares left was kept. Filters that are repaired were chosen by what they change in the outputs, a
depthwise layer's go with its input's, and output layers keep theirs. Seconds are of a repair that
shared its GPU with five others; those on a CPU had no training and fewer rows to fit on.
"""

ACTIVATIONS = """## Activations

The share of zeros in a layer's input, as a mean over layers: its mean over the inputs for testing,
and its standard deviation from picture to picture, in percentage points. `not repaired` is of
networks pruned at the same rate, where it was measured; the columns of dense networks repeat for
comparison. A network that computes noise reacts little to what it is shown: unrepaired, the four
mobile networks at 60 % vary from picture to picture by less than 30 % of what they do dense.
What is shipped, repaired, varies by three quarters of that or more. Filters that are gone leave
channels of zeros, hence more of them.
"""


def main(cache: Path | None) -> None:
    """Print the page; with `cache`, after repairing all networks again."""
    if cache is not None:
        rows = [json.dumps(record) for record in _records(cache)]
        RECORDS.write_text("[\n " + ",\n ".join(rows) + "\n]\n", "utf-8")
    records = json.loads(RECORDS.read_text("utf-8"))
    shipped = shipped_traces()
    print(HEAD)
    print(RATES)
    print("| network | pattern | pruned | refitted | repaired | steps | seconds | on | shipped |")
    print("|---|---|---:|---:|---:|---:|---:|---|---|")
    for row in records:
        yes = "yes" if f"{row['network']}_{row['pattern']}" in shipped else ""
        print(
            f"| {row['network']} | {row['pattern']} | {row['pruned']:.2f} | {row['refitted']:.2f} "
            f"| {row['distilled']:.2f} | {row['steps'] or ''} | {row['seconds']} "
            f"| {row['device']} | {yes} |"
        )
    print()
    print(ACTIVATIONS)
    print(
        "| network | pattern | zeros, % | not repaired | dense | varies by | not repaired | dense |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for row in records:
        name = f"{row['network']}_{row['pattern']}"
        columns = [
            _sparsity(name) if name in shipped else None,
            row["unrepaired"],
            _sparsity(f"{row['network']}_dense"),
        ]
        if columns[0] is None and columns[1] is None:
            continue
        cells = [
            f"{100 * column[k]:.{k + 1}f}" if column else "" for k in (0, 1) for column in columns
        ]
        print(f"| {row['network']} | {row['pattern']} | {' | '.join(cells)} |")


def _sparsity(name: str) -> tuple[float, float]:
    """Mean and deviation over the test inputs of a trace's sparsity, a mean over layers."""
    trace = shipped_trace(name)
    means = trace.sparsity[trace.rows("test")].mean(axis=1)
    return float(means.mean()), float(means.std())


def _records(cache: Path) -> list[dict[str, Any]]:
    """Repair every network at falling rates, as far as they are needed; a row a try."""
    from dysta_gym.profiling import cnn

    records = []
    for name, network in cnn._NETWORKS.items():
        if name in HELD_OUT:
            continue
        pictures, tensors = network.inputs(cache, None)
        for kind in KINDS:
            for rates in ((20, 10), (60, 50, 40, 30)):
                for rate in rates:
                    pattern = f"{kind}{rate}"
                    print(f"{name} {pattern}", file=sys.stderr)
                    model = network.load(cnn.fetched(network, cache))
                    found = cnn.repaired(name, pattern, model, pictures, tensors, cache)
                    unrepaired = _unrepaired(network, pattern, pictures, tensors, cache)
                    records.append(
                        {"network": name, "pattern": pattern, **found, "unrepaired": unrepaired}
                    )
                    if found["distilled"] >= WORKS:
                        break
    return records


def _unrepaired(
    network: Any, pattern: str, pictures: Any, tensors: Any, cache: Path
) -> tuple[float, float]:
    """What `_sparsity` says, of the network pruned and not repaired."""
    import torch

    from dysta_gym.profiling import cnn
    from dysta_gym.profiling.pruning import prune
    from dysta_gym.profiling.repair import layers
    from dysta_gym.profiling.writing import split_by_group

    model = network.load(cnn.fetched(network, cache))
    prune(model, pattern)
    shares: list[float] = []
    for module in layers(model).values():
        module.register_forward_pre_hook(
            lambda _, args: shares.append(float((args[0] == 0).float().mean()))
        )
    train = split_by_group([p.group for p in pictures], [p.condition for p in pictures])
    means = []
    with torch.inference_mode():
        for tensor, learned in zip(tensors, train, strict=True):
            if not learned:
                shares.clear()
                model(tensor)
                means.append(np.mean(shares))
    return round(float(np.mean(means)), 4), round(float(np.std(means)), 4)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
