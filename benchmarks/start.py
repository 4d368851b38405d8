"""How long a user waits: imports, and first calls with a cold and a warm cache."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.page import Goal, Section, duration
from benchmarks.timing import fresh, progress
from dysta_gym.tables import markdown

IMPORTS = ("numpy", "gymnasium", "numba", "dysta_gym", "dysta_gym.simulation", "dysta_gym.envs")
_CLOCK = "import time; start, spent = time.perf_counter(), time.process_time()\n"
_STOP = "\nprint([time.perf_counter() - start, time.process_time() - spent])"
_WORKLOAD = """
import dysta_gym
workload = dysta_gym.generate(dysta_gym.load_scenario("multi-attnn"), 0)
"""
_SINGLE = """
import gymnasium as gym, dysta_gym
env = gym.make("SparseMultiDNN-v0")
env.reset(seed=0)
env.step(0)
"""
_MANY = """
import gymnasium as gym, numpy as np, dysta_gym
envs = gym.make_vec("SparseMultiDNN-v0", num_envs=64, vectorization_mode="vector_entry_point")
envs.reset(seed=0)
envs.step(np.zeros(64, np.int64))
"""
_ALL = (
    _WORKLOAD
    + """
from dysta_gym.policies import find, names
for name in names():
    schedule = dysta_gym.simulate(workload, name)
    machine = dysta_gym.Machine(workload, "monitored")
    machine.step(machine.choose(find(name)))
dysta_gym.measure(schedule)
for name in dysta_gym.shipped_scenarios():
    dysta_gym.generate(dysta_gym.load_scenario(name), 0)
"""
    + _SINGLE
    + """
env.unwrapped.action_of("dysta")
"""
    + _MANY
    + """
few = gym.make_vec("SparseMultiDNN-v0", num_envs=2, vectorization_mode="vector_entry_point")
few.reset(seed=0)
few.step(np.zeros(2, np.int64))
"""
)
ALL = "everything: all policies, scenarios, metrics, one and many environments"
CALLS = {
    "draw a workload": _WORKLOAD,
    "and simulate it under fcfs": _WORKLOAD + 'dysta_gym.simulate(workload, "fcfs")',
    "and under dysta, and measure": _WORKLOAD
    + 'dysta_gym.measure(dysta_gym.simulate(workload, "dysta"))',
    "first step of one environment": _SINGLE,
    "first step of 64 environments": _MANY,
    ALL: _ALL,
}
GOAL_S = 20


def measure(quick: bool, _: Path) -> list[Section]:
    """The sections on imports and first calls."""
    return [_imports(3 if quick else 5), _first_calls(quick)]


def _imports(repeats: int) -> Section:
    progress("imports")
    fastest = dict.fromkeys(IMPORTS, float("inf"))
    for _ in range(repeats):
        for module in IMPORTS:
            seconds, _ = fresh(f"{_CLOCK}import {module}{_STOP}")
            fastest[module] = min(fastest[module], seconds)
    text = [
        f"Seconds until a fresh process has imported a module, the fastest of {repeats}. What is "
        "below includes what it needs: `dysta_gym` needs Gymnasium and NumPy, its simulator Numba.",
        markdown(["module", "import"], [[f"`{m}`", duration(s)] for m, s in fastest.items()]),
    ]
    return Section("Import", text)


def _first_calls(quick: bool) -> Section:
    rows, goals = [], []
    for name, code in list(CALLS.items())[slice(1, 2) if quick else slice(None)]:
        progress(f"first calls: {name}")
        with tempfile.TemporaryDirectory() as cache:
            cold, *warm = (fresh(_CLOCK + code + _STOP, NUMBA_CACHE_DIR=cache) for _ in range(3))
        rows.append([name, *map(duration, (*cold, min(warm)[0]))])
        if name == ALL:
            goals.append(
                Goal(
                    f"{name}, from an empty cache and with the imports: {GOAL_S} s",
                    f"{duration(cold[0])}, of which the process computed {duration(cold[1])}",
                    cold[0] < GOAL_S,
                )
            )
    text = [
        "Seconds of a fresh Python process, imports included, until the first call has returned: "
        "with an empty cache of compiled code, once, beside what of it the processor computed for "
        "this process (less where others had the cores); and with a cache that has what is needed, "
        "the fastest of two.",
        markdown(["until", "cold", "computed", "warm"], rows),
    ]
    return Section("First calls", text, goals)
