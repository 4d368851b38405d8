"""Trained schedulers in files: plain arrays, and the record of how they were trained.

A checkpoint is an npz file without pickled objects: ``format``, ``weights``, and ``record``, which
is JSON. It is a policy wherever a policy is asked for by name: ``--policy run/checkpoint.npz``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.agents.networks import NETWORKS, kind_of
from dysta_gym.archives import ARRAY_LIMIT, TEXT_LIMIT, read_arrays
from dysta_gym.errors import DystaError, one_of, shown
from dysta_gym.features import Selection, select
from dysta_gym.files import replacing
from dysta_gym.information import ALL_LEVELS
from dysta_gym.policies import Parameter, Policy

FORMAT = 2
"""Version of the files' format, and of what the features and networks mean."""

DECISIONS, _USUAL = ("layers", "events"), "events"
"""When a network is asked, and when it is if its file does not say so."""

SHIPPED = Path(__file__).parent / "checkpoints"

_UNIT = Parameter(
    1.0, "unit in which times are counted, in mean isolated latencies", positive=True, relative=True
)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network.

    Attributes:
        name: Name of its recipe.
        network: Kind of the network (`dysta_gym.agents.networks`).
        width: Its width.
        features: Names of the features that it sees (`dysta_gym.features`).
        weights: Its weights, shape ``(weights,)``.
        level: Level of information that it was trained at.
        record: How it was trained: recipe, seed, steps, seconds, versions, and what it was worth on
            the validation workloads.
        decisions: When it is asked, as of ``SparseMultiDNN-v0``.

    Raises:
        DystaError: If the weights do not fit the network, or a field is not allowed.
    """

    name: str
    network: str
    width: int
    features: tuple[str, ...]
    weights: NDArray[np.float64]
    level: str
    record: Mapping[str, Any] = field(default_factory=dict)
    decisions: str = _USUAL

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise DystaError(f"name: {self.name!r} is not allowed; it must be text")
        if not isinstance(self.network, str) or self.network not in NETWORKS:
            raise one_of("network", self.network, NETWORKS)
        if self.level not in ALL_LEVELS:
            raise one_of("level", self.level, ALL_LEVELS)
        if self.decisions not in DECISIONS:
            raise one_of("decisions", self.decisions, DECISIONS)
        self.seen.check_for_policies()
        if type(self.width) is not int or not 0 <= self.width <= 4096:
            raise DystaError(f"width: {self.width!r} is not allowed; it must be 0 to 4096")
        count = NETWORKS[self.network].weights(self.width, self.seen)
        if self.weights.shape != (count,) or self.weights.dtype != np.float64:
            raise DystaError(
                f"weights: an array of {self.weights.dtype} and shape {self.weights.shape} is not "
                f"allowed; a network {self.network!r} of width {self.width} has {count} floats"
            )
        if not np.isfinite(self.weights).all():
            raise DystaError("weights: some are not finite; they must be numbers")

    @property
    def seen(self) -> Selection:
        """The features that it sees."""
        return select(self.features)

    def policy(self, name: str | None = None, *, summary: str = "", source: str = "") -> Policy:
        """The trained network as a policy, by its own name unless given one."""
        network = NETWORKS[self.network]
        return Policy(
            name or self.name,
            network.rule(self.seen),
            level=self.level,
            summary=summary or f"least score of a {self.network} network",
            parameters={"time_unit": _UNIT, **network.parameters},
            events=self.decisions == "events",
            weights=(float(self.width), *self.weights.tolist()),
            index=network.indexed,
            spares_index=network.indexed is not None,
            source=source,
        )

    def save(self, path: str | Path) -> None:
        """Write the checkpoint.

        Raises:
            DystaError: If the file cannot be written.
        """
        record = {
            **self.record,
            "name": self.name,
            "network": self.network,
            "width": self.width,
            "features": list(self.features),
            "level": self.level,
            **({} if self.decisions == _USUAL else {"decisions": self.decisions}),
        }
        with replacing(path) as scratch, scratch.open("wb") as file:
            np.savez_compressed(
                file, format=FORMAT, weights=self.weights, record=json.dumps(record)
            )


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DystaError: If there is none, it is damaged, or of another version.
    """
    where = f"checkpoint {str(path)!r}"
    content = read_arrays(path, where, _ARRAYS, "no checkpoint ({})")
    try:
        version = int(content["format"])
        record = dict(json.loads(str(content["record"])))
    except Exception as error:  # a damaged file raises anything
        told = " ".join(str(error).split()) or type(error).__name__
        raise DystaError(f"{where} is damaged or no checkpoint ({told})") from None
    if version != FORMAT:
        raise DystaError(
            f"{where} is of format {shown(version)}; this version reads {FORMAT}: train it again, "
            "or install the version that wrote it"
        )
    try:
        own = {key: record.pop(key) for key in ("name", "network", "width", "features", "level")}
        if not isinstance(own["features"], list):
            raise DystaError(f"features: {own['features']!r} is not allowed; it must be a list")
        own["features"] = tuple(own["features"])
        own["decisions"] = record.pop("decisions", _USUAL)
        return Checkpoint(**own, weights=content["weights"], record=record)
    except KeyError as error:
        raise DystaError(f"{where}: its record has no {error}; train it again") from None
    except DystaError as error:
        raise DystaError(f"{where}: {error}") from None
    except (TypeError, ValueError) as error:  # a field of a kind that nobody writes
        raise DystaError(f"{where} is damaged or no checkpoint ({error})") from None


_ARRAYS = {"format": TEXT_LIMIT, "weights": ARRAY_LIMIT, "record": TEXT_LIMIT}
"""The arrays that are read, and the bytes that they may take."""


def trained(policy: Policy) -> Checkpoint | None:
    """The network that a policy decides by; None if it is no such policy.

    Raises:
        DystaError: If the policy sets what no checkpoint holds, such as a ``tilt``.
    """
    made = kind_of(policy.score)
    if made is None:
        return None
    for key, value in policy.settings.items():
        if value != policy.parameters[key].default:
            raise DystaError(
                f"{policy.spec!r} sets {key}, which is not of its network; leave it out"
            )
    (kind, selection), (width, *weights) = made, policy.weights
    decisions = "events" if policy.events else "layers"
    return Checkpoint(
        policy.name,
        kind,
        int(width),
        selection.names,
        np.array(weights),
        policy.level,
        decisions=decisions,
    )


def shipped(name: str) -> Checkpoint:
    """A checkpoint in the package."""
    return load(SHIPPED / f"{name}.npz")


def policy_of_file(path: str) -> Policy:
    """The policy in a checkpoint, called by its path, as `dysta_gym.find` asks for it."""
    return load(path).policy(path)
