"""What is judged under which conditions: the tracks, other deadlines, and made-up networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.named import LOADS, SCENARIOS
from dysta_gym.comparison import Condition
from dysta_gym.traces import Trace
from dysta_gym.tracks import load_track
from dysta_gym.workloads import load_scenario

FIRST_SEED = 930_000
"""Tracks begin at 5,000; training at 10,000 and, a run each, at every million after it."""

SEEDS = 20

DEADLINES = (2.0, 3.0, 5.0, 10.0)
TIGHT = DEADLINES[:3]

SYNTHETIC = ("heavy-tail", "sizes-1000-even", "sizes-1000-rare")
"""Scenarios of made-up networks."""

SYNTHETIC_SEED = 900_001
INPUTS = 400


@dataclass(frozen=True)
class Part:
    """Conditions that are measured together.

    Attributes:
        name: Its name.
        conditions: The conditions.
        seeds: Seeds of the workloads of each.
    """

    name: str
    conditions: tuple[Condition, ...]
    seeds: tuple[int, ...]


def parts(tracks: Sequence[str], seeds: int = SEEDS, *, folder: Path) -> list[Part]:
    """The tracks with seeds of their own here, the deadlines, and the made-up networks.

    Args:
        tracks: Names of tracks; they have as many seeds as they say, and ``seeds`` at most.
        seeds: Seeds of each condition.
        folder: Where traces of made-up networks are written.
    """
    found = []
    for name in tracks:
        track = load_track(name)
        count = min(seeds, track.seeds.count)
        found.append(Part(name, tuple(track.conditions()), _seeds(count)))
    deadlines = [
        Condition(load_scenario(name).varied(load=load, slo_multiplier=slo), "test")
        for name in SCENARIOS
        for load in LOADS
        for slo in DEADLINES
    ]
    found.append(Part("deadlines", tuple(deadlines), _seeds(seeds)))
    made_up = [
        Condition(scenario.varied(load=load, slo_multiplier=slo), "test")
        for scenario in map(load_scenario, synthetic(folder))
        for load in LOADS
        for slo in (5.0, 10.0)
    ]
    found.append(Part("made-up", tuple(made_up), _seeds(seeds)))
    return found


def _seeds(count: int) -> tuple[int, ...]:
    return tuple(range(FIRST_SEED, FIRST_SEED + count))


def synthetic(folder: Path) -> list[dict[str, object]]:
    """The scenarios of made-up networks; their traces are written to a folder.

    - ``heavy-tail``: three networks of 200 small layers each, of which an input takes 1 to 86
      times the least, as Pareto's law with exponent 1.5 has it; nothing tells at arrival, and the
      sparsity of the layers does once they run.
    - ``sizes-1000-even`` and ``sizes-1000-rare``: three networks whose latencies are as 1, 31.6 and
      1000, asked for equally often; or the larger ones 13 and 178 times less often, by
      their latencies to the power of 3/4.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for trace in (*heavy_tailed(), *of_sizes()):
        trace.save(folder / f"{trace.name}.npz")
    tail, sizes = ([trace.name for trace in made] for made in (heavy_tailed(), of_sizes()))
    shared = {
        "accelerator": "made-up", "trace_dir": str(folder.absolute()), "requests": 1000,
        "priorities": [1, 3, 9], "load": 0.95, "slo_multiplier": 10,
    }  # fmt: skip
    return [
        {"name": SYNTHETIC[0], "traces": dict.fromkeys(tail, 1), **shared},
        {"name": SYNTHETIC[1], "traces": dict.fromkeys(sizes, 1), **shared},
        {
            "name": SYNTHETIC[2],
            "traces": dict(zip(sizes, (1000**0.75, 1000**0.375, 1), strict=True)),
            **shared,
        },
    ]


def heavy_tailed() -> list[Trace]:
    """Three networks of 200 layers, whose inputs have a heavy tail."""
    rng = np.random.default_rng(SYNTHETIC_SEED)
    made = []
    # Quantiles, so that both halves of the inputs have the tail.
    sizes = (1 - (np.arange(INPUTS) + 0.5) / INPUTS) ** (-1 / 1.5)
    for at, least_s in enumerate((0.5e-3, 1e-3, 2e-3)):
        made.append(_trace(f"tail{at}", least_s * sizes, 200, rng, lengths=None))
    return made


def of_sizes() -> list[Trace]:
    """Three networks of 30 layers, whose mean latencies are as 1, 31.6 and 1000."""
    rng = np.random.default_rng(SYNTHETIC_SEED + 1)
    made = []
    for at, mean_s in enumerate(1e-3 * np.array([1.0, 1000**0.5, 1000.0])):
        lengths = rng.integers(50, 151, INPUTS)
        sizes = mean_s * lengths / 100 * np.exp(rng.normal(0, 0.1, INPUTS))
        made.append(_trace(f"size{at}", sizes, 30, rng, lengths=lengths))
    return made


def _trace(
    name: str,
    isolated_s: np.ndarray,
    layers: int,
    rng: np.random.Generator,
    lengths: np.ndarray | None,
) -> Trace:
    """A network of so many layers; the more a layer has to do, the less sparse it is."""
    shares = rng.dirichlet(np.full(layers, 20.0)) * np.exp(rng.normal(0, 0.1, (INPUTS, layers)))
    latency_s = isolated_s[:, None] * shares / shares.sum(axis=1, keepdims=True)
    density = latency_s / latency_s.max(axis=0)
    return Trace(
        name=name,
        model=name,
        pattern="dense",
        accelerator="made-up",
        latency_s=latency_s,
        sparsity=1 - density,
        train=np.arange(INPUTS) % 2 == 0,
        sample_ids=np.arange(INPUTS),
        layer_names=tuple(f"layer{at}" for at in range(layers)),
        length=lengths,
    )
