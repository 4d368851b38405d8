"""What profilers share: naming and splitting inputs, going on after a stop, writing a trace."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dysta_gym.errors import DystaError
from dysta_gym.files import replacing
from dysta_gym.traces import FORMAT


def split_by_group(
    group: Sequence[str], condition: Sequence[str], seed: int = 0
) -> NDArray[np.bool_]:
    """Choose half of the inputs for training, so that no group is on both sides.

    `group` (inputs,) names what an input was made from (a passage, a photograph): two inputs of one
    group are alike, and a scheduler that has learned from one of them must not be judged on the
    other. `condition` (inputs,) names its data set; each is halved as evenly as its groups allow.
    Returns a mask (inputs,) with exactly `inputs // 2` true.

    Raises:
        DystaError: If the two differ in length, or if no union of groups is half of the inputs.
    """
    if len(group) != len(condition):
        raise DystaError(
            f"condition has {len(condition)} entries; expected one for each of the "
            f"{len(group)} entries of group"
        )
    inputs = len(group)
    half = inputs // 2
    members: dict[str, list[int]] = {}
    for i, name in enumerate(group):
        members.setdefault(name, []).append(i)
    names = sorted(members)
    order = np.random.default_rng(seed).permutation(len(names))
    # Large groups first: the small ones that are left then even out what the large ones cannot.
    shuffled = sorted((names[k] for k in order), key=lambda name: -len(members[name]))

    train = np.zeros(inputs, np.bool_)
    lead = dict.fromkeys(condition, 0)  # inputs of the condition in training, less those in test
    for name in shuffled:
        imbalance = sum(lead[condition[i]] for i in members[name])
        # Ties go by the total, so that the odd inputs of several conditions cancel.
        to_train = (imbalance, sum(lead.values())) < (0, 0)
        train[members[name]] = to_train
        for i in members[name]:
            lead[condition[i]] += 1 if to_train else -1
    _make_exact(train, shuffled, members, half, seed)
    return train


def _make_exact(
    train: NDArray[np.bool_],
    names: Sequence[str],
    members: Mapping[str, Sequence[int]],
    half: int,
    seed: int,
) -> None:
    """Move groups across until exactly `half` inputs are in training."""
    missing = half - int(train.sum())
    if missing == 0:
        return
    source = missing < 0  # too many in training: move out of it
    excess = abs(missing)
    # Subset sum over the groups of the fuller side, smallest first: `reach[total]` is a set of
    # groups that hold `total` inputs.
    reach: dict[int, tuple[str, ...]] = {0: ()}
    for name in reversed(names):
        if bool(train[members[name][0]]) != source:
            continue
        for total, chosen in list(reach.items()):
            more = total + len(members[name])
            if more <= excess and more not in reach:
                reach[more] = (*chosen, name)
        if excess in reach:
            break
    if excess not in reach:
        raise DystaError(
            f"seed {seed} leaves no union of whole groups with {half} inputs; "
            "expected smaller groups or another seed"
        )
    for name in reach[excess]:
        train[members[name]] = not source


def write_trace(
    path: Path,
    *,
    meta: Mapping[str, Any],
    latency_s: ArrayLike,
    sparsity: ArrayLike,
    train: ArrayLike,
    input_name: Sequence[str],
    condition: Sequence[str],
    layer_name: Sequence[str],
    **measures: ArrayLike,
) -> None:
    """Write one trace file, format 1, without pickles; the file appears only when it is complete.

    `latency_s` and `sparsity` are (inputs, layers): seconds, and the share of zeros that the
    monitor sees. `train` (inputs,) marks the inputs that schedulers may learn from; `input_name`,
    `condition` (inputs,) and `layer_name` (layers,) name them. `measures` are what the latencies
    were computed from, (inputs,), (layers,) or (inputs, layers). `meta` says where the trace comes
    from, and must name at least the model, the pattern and the accelerator.

    Raises:
        DystaError: Where a shape or a value is wrong.
    """
    latency_s = np.asarray(latency_s, np.float64)
    arrays: dict[str, Any] = {
        "latency_s": latency_s,
        "sparsity": np.asarray(sparsity, np.float64),
        "train": np.asarray(train, np.bool_),
        "input_name": np.asarray(input_name, np.str_),
        "condition": np.asarray(condition, np.str_),
        "layer_name": np.asarray(layer_name, np.str_),
    }
    if latency_s.ndim != 2 or 0 in latency_s.shape:
        raise DystaError(f"latency_s has shape {latency_s.shape}; expected (inputs, layers)")
    inputs, layers = latency_s.shape
    shapes = {
        "sparsity": (inputs, layers),
        "train": (inputs,),
        "input_name": (inputs,),
        "condition": (inputs,),
        "layer_name": (layers,),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise DystaError(f"{name} has shape {arrays[name].shape}; expected {shape}")
    if not (np.isfinite(latency_s).all() and (latency_s >= 0).all()):
        raise DystaError(
            f"latency_s lies in {latency_s.min()} to {latency_s.max()}; "
            "expected finite seconds, 0 or more"
        )
    sparse = arrays["sparsity"]
    if not ((sparse >= 0) & (sparse <= 1)).all():
        raise DystaError(
            f"sparsity lies in {sparse.min()} to {sparse.max()}; expected values from 0 to 1"
        )
    if len(set(arrays["input_name"].tolist())) != inputs:
        raise DystaError("input_name has entries that occur twice; expected unique names")
    for name, measure in measures.items():
        values = np.asarray(measure)
        if values.shape not in ((inputs,), (layers,), (inputs, layers)):
            raise DystaError(
                f"{name} has shape {values.shape}; expected ({inputs},), ({layers},) "
                f"or ({inputs}, {layers})"
            )
        if values.dtype.kind not in "biufU":
            raise DystaError(f"{name} has dtype {values.dtype}; expected numbers or strings")
        arrays[name] = values
    record = {"format": FORMAT, **meta}
    for key in ("name", "model", "pattern", "accelerator"):
        if not isinstance(record.get(key), str):
            raise DystaError(f"meta[{key!r}] is {record.get(key)!r}; expected a string")
    arrays["meta"] = np.asarray(json.dumps(record, sort_keys=True))

    with replacing(path) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, **arrays)


class Partial(dict[str, dict[str, Any]]):
    """What has been measured so far, by input, kept in a file so that a profiler can go on.

    `path` is a file of JSON lines, or None to keep nothing. A line that was cut short is dropped.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self._path = path
        if path is None or not path.exists():
            return
        complete = 0
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                complete += len(line)
                row = json.loads(line)
                self[row.pop("name")] = row
        os.truncate(path, complete)

    def keep(self, name: str, row: dict[str, Any]) -> None:
        """Add what was measured of input `name`."""
        self[name] = row
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(json.dumps({"name": name, **row}).encode() + b"\n")


def digest(parts: Any) -> str:
    """Names what measurements depend on, as 12 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def label_inputs(
    name: str,
    count: int,
    input_name: Sequence[str] | None,
    condition: Sequence[str] | None,
    group: Sequence[str] | None,
) -> tuple[list[str], list[str], list[str]]:
    """Names, conditions and groups of `count` inputs; numbered, alike and apart by default.

    Raises:
        DystaError: If there is no input, or a list has another number of entries.
    """
    if count == 0:
        raise DystaError("inputs is empty; expected one or more")
    names = [f"{name}:{i}" for i in range(count)] if input_name is None else list(input_name)
    conditions = [name] * count if condition is None else list(condition)
    groups = names if group is None else list(group)
    for field, entries in (("input_name", names), ("condition", conditions), ("group", groups)):
        if len(entries) != count:
            raise DystaError(f"{field} has {len(entries)} entries; expected one for {count} inputs")
    return names, conditions, groups
