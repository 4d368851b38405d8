"""Dysta Gym: scheduling sparse neural networks that share one accelerator.

Importing this package registers the environment ``SparseMultiDNN-v0`` with Gymnasium. The names
below are loaded when they are first used, so that the import stays quick.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING

if ("-m", "dysta_gym") in pairwise(sys.orig_argv):  # what follows takes a while
    import dysta_gym_start

    dysta_gym_start.end_when_interrupted()

import gymnasium

from dysta_gym.lazy import lazily

if TYPE_CHECKING:
    from dysta_gym.board import leaderboard
    from dysta_gym.bounds.turnaround import antt_lower_bound
    from dysta_gym.bounds.violations import violation_rate_lower_bound
    from dysta_gym.charging import Accelerator
    from dysta_gym.comparison import compare
    from dysta_gym.errors import DystaError
    from dysta_gym.features import Feature
    from dysta_gym.hindsight import bounds_of, in_hindsight
    from dysta_gym.machine.machine import Machine, Schedule
    from dysta_gym.machine.queue import Queue
    from dysta_gym.metrics import measure
    from dysta_gym.operations import Operation
    from dysta_gym.parameters import Parameter
    from dysta_gym.policies import Policy, find
    from dysta_gym.rewards import Reward
    from dysta_gym.simulation import simulate
    from dysta_gym.statistics import aggregate, summarise
    from dysta_gym.traces import Trace, TraceStore, load_trace, shipped_trace, shipped_traces
    from dysta_gym.tracks import compare_on, load_track, shipped_tracks
    from dysta_gym.workloads import Scenario, Workload, generate, load_scenario, shipped_scenarios

__version__ = "0.1.0"

_HOME = {
    "Accelerator": "charging",
    "DystaError": "errors",
    "Feature": "features",
    "Machine": "machine.machine",
    "Operation": "operations",
    "Parameter": "parameters",
    "Policy": "policies",
    "Queue": "machine.queue",
    "Reward": "rewards",
    "Scenario": "workloads.scenario",
    "Schedule": "machine.machine",
    "Trace": "traces",
    "TraceStore": "traces",
    "Workload": "workloads.workload",
    "aggregate": "statistics",
    "antt_lower_bound": "bounds.turnaround",
    "bounds_of": "hindsight",
    "compare": "comparison",
    "compare_on": "tracks",
    "find": "policies",
    "generate": "workloads.drawing",
    "in_hindsight": "hindsight",
    "leaderboard": "board",
    "load_scenario": "workloads.scenario",
    "load_trace": "traces",
    "load_track": "tracks",
    "measure": "metrics",
    "shipped_scenarios": "workloads.scenario",
    "shipped_trace": "traces",
    "shipped_traces": "traces",
    "shipped_tracks": "tracks",
    "simulate": "simulation",
    "summarise": "statistics",
    "violation_rate_lower_bound": "bounds.violations",
}

__all__ = [
    "Accelerator",
    "DystaError",
    "Feature",
    "Machine",
    "Operation",
    "Parameter",
    "Policy",
    "Queue",
    "Reward",
    "Scenario",
    "Schedule",
    "Trace",
    "TraceStore",
    "Workload",
    "aggregate",
    "antt_lower_bound",
    "bounds_of",
    "compare",
    "compare_on",
    "find",
    "generate",
    "in_hindsight",
    "leaderboard",
    "load_scenario",
    "load_trace",
    "load_track",
    "measure",
    "shipped_scenarios",
    "shipped_trace",
    "shipped_traces",
    "shipped_tracks",
    "simulate",
    "summarise",
    "violation_rate_lower_bound",
]

_ROOMS = ("agents", "baselines", "bounds", "envs", "profiling", "reproduction", "workloads")

__getattr__, __dir__ = lazily(globals(), _HOME, rooms=_ROOMS)


gymnasium.register(
    id="SparseMultiDNN-v0",
    entry_point="dysta_gym.envs:SparseMultiDNNEnv",
    vector_entry_point="dysta_gym.envs:SparseMultiDNNVectorEnv",
)
