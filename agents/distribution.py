"""Random scenarios from seeds: a distribution to train and to choose on, apart from any test.

A *mix* is what shares an accelerator: networks of those that the shipped scenarios train on, in
random shares, some of them stretched to other sizes. A *demand* is what is asked of it: arrivals,
load, deadlines, priorities, queue, length. Each workload of a mix has a demand of its own. No
scenario in the package, and none of a track, is among what comes out, but by a chance that nobody
need wait for; networks that the tracks keep for the end are never drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dysta_gym.lazy import cached_property
from dysta_gym.traces import Trace, TraceStore
from dysta_gym.workloads import Scenario, Workload, generate, load_scenario
from dysta_gym.workloads.load import shares
from dysta_gym.workloads.workload import Due

_T = TypeVar("_T")

Floats = NDArray[np.float64]

ATTENTION = ("mpnet", "smollm2", "whisper")
"""Networks of the training scenarios whose attention alone is charged, on Sanger."""

WHOLE_ATTENTION = ("minilm_whole", "mpnet_whole", "smollm2_whole", "whisper_whole")
"""Those that are charged whole."""

CONVOLUTIONAL = (
    "efficientnet_lite0_dense", "efficientnet_lite0_unstructured20", "hand_landmark_block20",
    "resnet50_block20", "resnet50_dense", "resnet50_filter10", "resnet50_unstructured20",
    "resnet50_unstructured40", "ssd_mobilenetv1_block20", "ssd_mobilenetv1_dense",
    "ssd_mobilenetv1_unstructured20", "ssd_mobilenetv1_unstructured50", "ssd_mobilenetv2_block20",
    "ssd_mobilenetv2_dense", "ssd_mobilenetv2_unstructured20", "ssd_mobilenetv2_unstructured40",
    "vgg16_block20", "vgg16_block60", "vgg16_dense", "vgg16_filter20", "vgg16_filter30",
    "vgg16_unstructured20", "vgg16_unstructured60",
)  # fmt: skip
"""Those of the training scenarios that run on Eyeriss v2."""

PRIORITIES = ([1], [1, 3, 9], [1, 2], [1, 2, 4, 8])

_CROWD = 60
"""Requests that overload may leave in a queue without a limit: longer ones only take time."""

_BURSTS, _WARPED = 0.25, 0.2
"""Shares of the workloads whose requests come in bursts, or in waves, on a ramp or in batches."""

FRAMES, MOST_FRAMES = 0.15, 1 - _BURSTS - _WARPED
"""Share of those whose requests are frames, unless another is asked for, and the most there can be;
what is left is Poisson's."""

_MIX, _DEMAND, _SPREAD = 17, 18, 19
"""What keeps these seeds apart from each other, and from all other seeds."""


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number of three digits, uniform in its logarithm."""
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def one_of(rng: np.random.Generator, choices: Sequence[_T]) -> _T:
    """One of these."""
    return choices[int(rng.integers(len(choices)))]


def weighted(
    rng: np.random.Generator, names: Sequence[str], most: int = 8, largest: float = 8.0
) -> dict[str, float]:
    """Two or more of these networks, and the weight of each."""
    count = int(rng.integers(2, min(len(names), most) + 1))
    chosen = sorted(rng.choice(len(names), count, replace=False).tolist())
    return {names[each]: between(rng, 1, largest) for each in chosen}


def bursts(rng: np.random.Generator) -> dict[str, Any]:
    """Arrivals in bursts."""
    intensity = between(rng, 1.5, 6.0)
    return {
        "process": "mmpp",
        "intensity": intensity,
        "share": between(rng, 0.02, 0.9 / intensity),
        "length": between(rng, 10, 200),
    }


@dataclass(frozen=True, eq=False)
class Mix:
    """Networks on an accelerator.

    Attributes:
        name: Its name.
        accelerator: The accelerator.
        traces: Weight of each network's trace.
        speed: See `Scenario`.
        factors: What the latencies of each trace are stretched by.
        frames: Share of its workloads whose requests are frames.
        spread: Standard deviation of the logarithm of what each input is stretched by, beside: what
            nothing tells at arrival, and the sparsity of the layers does once they run.
        seed: What decides which.
    """

    name: str
    accelerator: str
    traces: dict[str, float]
    speed: float
    factors: tuple[float, ...]
    frames: float = FRAMES
    spread: float = 0.0
    seed: tuple[int, ...] = ()

    @cached_property
    def store(self) -> TraceStore:
        """Its traces, stretched."""
        traces = self._plain.store().traces
        if set(self.factors) == {1.0} and not self.spread:
            return self._plain.store()
        rng = np.random.default_rng(self.seed)
        return TraceStore(
            self._stretched(trace, factor, rng)
            for trace, factor in zip(traces, self.factors, strict=True)
        )

    def _stretched(self, trace: Trace, factor: float, rng: np.random.Generator) -> Trace:
        if not self.spread:
            return replace(trace, latency_s=trace.latency_s * factor)
        apart = np.exp(rng.normal(0, self.spread, (len(trace.latency_s), 1)))
        latency_s = trace.latency_s * (factor * apart)
        most = latency_s.max(axis=0)
        density = np.divide(latency_s, most, out=np.ones_like(latency_s), where=most > 0)
        return replace(trace, latency_s=latency_s, sparsity=1 - density)

    @cached_property
    def _plain(self) -> Scenario:
        return self.scenario({"load": 0.8})

    @cached_property
    def stretched(self) -> float:
        """Mean isolated latency over that of the traces as they are."""
        return self._mean(self.store) / self._mean(self._plain.store())

    def _mean(self, store: TraceStore) -> float:
        means = [float(trace.isolated_s[trace.rows("train")].mean()) for trace in store.traces]
        return float(np.dot(shares(self._plain), means))

    @property
    def mean_isolated_s(self) -> float:
        """Mean isolated latency of a request, in seconds."""
        return self._mean(self.store)

    def scenario(self, fields: dict[str, Any]) -> Scenario:
        """A scenario of its networks as they are; times in it are stretched by `workload`."""
        return load_scenario(
            {
                "name": self.name,
                "accelerator": self.accelerator,
                "traces": self.traces,
                "speed": self.speed,
                **fields,
            }
        )

    def deployment(self, seed: int) -> Scenario:
        """A scenario with the demand of this seed, for environments: nothing in it is stretched."""
        fields, _ = demand(self._rng(seed), self)
        fields["preemption_cost_s"] = fields.pop("preemption_cost") * self._mean(
            self._plain.store()
        )
        return self.scenario(fields)

    def _rng(self, seed: int) -> np.random.Generator:
        return np.random.default_rng([_DEMAND, seed, *self.name.encode()])

    def workload(self, seed: int) -> Workload:
        """The workload of the demand of this seed."""
        rng = self._rng(seed)
        fields, warp = demand(rng, self)
        cost = fields.pop("preemption_cost")
        drawn = generate(self.scenario(fields), int(rng.integers(2**31)), split="train")
        arrival, due = drawn.arrival_s * self.stretched, drawn.due
        if due is not None:
            due = Due(due.start_s * self.stretched, due.period_s * self.stretched)
        return replace(
            drawn,
            store=self.store,
            arrival_s=warp(arrival),
            due=due,
            preemption_cost_s=cost * self.mean_isolated_s,
        )


def mixes(count: int, seed: int, frames: float = FRAMES, uncertain: float = 0.0) -> list[Mix]:
    """So many random mixes.

    Args:
        count: How many.
        seed: The first seed of the workloads that are drawn of them: others have other mixes.
        frames: Share of their workloads whose requests are frames.
        uncertain: Share of the mixes whose inputs take times that nothing tells at arrival.
    """
    found = []
    for at in range(count):
        mix = _mix(np.random.default_rng([_MIX, seed, at]), f"random-{at:03}")
        own = (_SPREAD, seed, at)
        # Evenly among all; what is added is more than products may be short of a whole number.
        some = int((at + 1) * uncertain + 1e-9) > int(at * uncertain + 1e-9)
        spread = between(np.random.default_rng(own), 0.25, 1.5) if some else 0.0
        found.append(replace(mix, frames=frames, spread=spread, seed=own))
    return found


def _mix(rng: np.random.Generator, name: str) -> Mix:
    accelerator = one_of(rng, ["sanger", "eyerissv2", "ideal"])
    names = {
        "sanger": one_of(rng, [ATTENTION, WHOLE_ATTENTION]),
        "eyerissv2": CONVOLUTIONAL,
        "ideal": (*WHOLE_ATTENTION, *CONVOLUTIONAL),
    }[accelerator]
    traces, speed = weighted(rng, names), between(rng, 0.25, 64)
    # Networks of a size are stretched alike: deadlines are counted in the mean of all patterns.
    widest = one_of(rng, [1.0, 1.0, 4.0, 30.0])
    own = {trace.split("_")[0]: between(rng, 1 / widest, widest) for trace in traces}
    factors = [own[trace.split("_")[0]] if widest > 1 else 1.0 for trace in traces]
    # The large are rare, as in heavy tails; or as frequent as the small.
    rarer = one_of(rng, [0.0, 0.7])
    weights = {
        trace: float(f"{weight * factor**-rarer:.4g}")
        for (trace, weight), factor in zip(traces.items(), factors, strict=True)
    }
    return Mix(name, accelerator, weights, speed, tuple(factors))


def demand(rng: np.random.Generator, mix: Mix) -> tuple[dict[str, Any], Callable[[Floats], Floats]]:
    """Fields of a scenario, and what moves its arrivals.

    Beside those of a `Scenario`, ``preemption_cost`` is in mean isolated latencies.
    """
    fields: dict[str, Any] = {
        "load": between(rng, 0.4, 1.3),
        "slo_multiplier": between(rng, 1.5, 50),
        "priorities": one_of(rng, PRIORITIES),
        "requests": 4000 if rng.random() < 0.05 else int(between(rng, 200, 1500)),
        "preemption_cost": between(rng, 1e-4, 0.05) if rng.random() < 0.3 else 0.0,
    }
    limit = one_of(rng, [16, 32, 64, 64, None, None])
    if limit is None and (fields["load"] - 1) * fields["requests"] > _CROWD:
        limit = 64
    fields["queue_limit"] = limit
    kind = rng.random()
    warp: Callable[[Floats], Floats] = _as_it_is
    if kind < _BURSTS:
        fields["arrivals"] = bursts(rng)
    elif kind < _BURSTS + mix.frames:
        # Their deadlines are counted in periods, of which a stream has as many isolated latencies
        # as there are streams at the load.
        periods = fields["slo_multiplier"] * fields["load"] / len(mix.traces)
        fields["slo_multiplier"] = float(f"{max(0.5, periods):.3g}")
        fields["arrivals"] = {"process": "frames", "jitter": one_of(rng, [0.0, 0.1, 0.5])}
    elif kind < _BURSTS + _WARPED + mix.frames:
        warp = one_of(rng, [_waves, _ramp, _batches])(rng)
    return fields, warp


def _as_it_is(arrival: Floats) -> Floats:
    return arrival


def _waves(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """A rate that rises and falls, as over days."""
    count, depth = between(rng, 1, 20), rng.uniform(0.2, 0.95)

    def warp(arrival: Floats) -> Floats:
        time = np.linspace(0, 1, 4096)
        turns = 2 * np.pi * count
        done = time - depth * (np.cos(turns * time) - 1) / turns
        return _through(arrival, done, time)

    return warp


def _ramp(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """A rate that grows, or falls, from one end to the other."""
    slope = rng.uniform(-0.9, 0.9)

    def warp(arrival: Floats) -> Floats:
        time = np.linspace(0, 1, 4096)
        return _through(arrival, time + slope * (time * time - time), time)

    return warp


def _batches(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """Requests that come together."""
    together = between(rng, 2, 16)

    def warp(arrival: Floats) -> Floats:
        tick = together * arrival[-1] / len(arrival)
        return np.ceil(arrival / tick) * tick

    return warp


def _through(arrival: Floats, done: Floats, time: Floats) -> Floats:
    """Arrivals at which as much work has been offered as there was at a constant rate."""
    end = arrival[-1]
    moved: Floats = np.interp(arrival / end, done / done[-1], time) * end
    return np.maximum.accumulate(moved)
