"""What profilers share: naming and splitting inputs, going on after a stop, the trace."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError
from dysta_gym.traces import Trace


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


def trace_of(
    meta: Mapping[str, Any],
    *,
    input_name: Sequence[str],
    group: Sequence[str],
    layer_name: Sequence[str],
    condition: Sequence[str],
    counts: Mapping[str, NDArray[Any]],
    **measured: Any,
) -> Trace:
    """A trace of inputs with names and groups, whose provenance is `meta`.

    `meta` names the trace, the model, the pattern and the accelerator; `counts` and what is
    `measured` are fields of a `Trace`.

    Raises:
        DystaError: If two inputs have one name, or a shape or a value is wrong.
    """
    if len(set(input_name)) != len(input_name):
        raise DystaError("input_name has entries that occur twice; expected unique names")
    identity = {key: meta[key] for key in ("name", "model", "pattern", "accelerator")}
    names = {"input_name": np.array(input_name, np.str_), "group": np.array(group, np.str_)}
    return Trace(
        **identity,
        sample_ids=np.arange(len(input_name)),
        layer_names=tuple(layer_name),
        condition=tuple(condition),
        provenance=dict(meta),
        counts={**names, **counts},
        **measured,
    )


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


Progress = bool | Callable[[int, int], None]
"""Whether a bar is shown, or what is told how many inputs are done, and how many there are."""


def each_of(
    names: Sequence[str], inputs: Sequence[Any], what: str, progress: Progress
) -> Iterator[tuple[str, Any]]:
    """The inputs with their names, and how far it has come."""
    pairs = zip(names, inputs, strict=True)
    if isinstance(progress, bool):
        from rich.progress import track

        yield from track(pairs, what, total=len(names), disable=not progress)
        return
    for done, pair in enumerate(pairs, start=1):
        yield pair
        progress(done, len(names))


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
