"""Fair timings on a shared machine: the sides of a ratio take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Side = Callable[[], float]
"""Does its work once and returns the seconds that count."""

core_s = time.thread_time
"""Seconds that a core worked for this thread: the clock for work on one core, which does not go on
while other processes have the core."""

_TURN = 0.02
"""A side repeats its work for so many seconds before the next side has its turn."""


@dataclass(frozen=True)
class Timing:
    """How long repeats of the same work took, in seconds."""

    seconds: tuple[float, ...]

    @property
    def fastest(self) -> float:
        """The fastest: the least disturbed by whatever else the machine did."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """How much longer than the fastest the median one took, as a share."""
        return median(self.seconds) / self.fastest - 1


def race(
    sides: Mapping[str, Side], budget_s: float, *, rounds: int = 1, turn_s: float = _TURN
) -> dict[str, Timing]:
    """Time the sides of a ratio in turn, so that noise meets them alike.

    Args:
        sides: The sides by name.
        budget_s: No further round begins after so many seconds.
        rounds: Rounds at least.
        turn_s: A side repeats its work for so long in each round, and does it at least once.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    end, done = time.perf_counter() + budget_s, 0
    while done < rounds or time.perf_counter() < end:
        for name, side in sides.items():
            over = time.perf_counter() + turn_s
            seconds[name].append(side())
            while time.perf_counter() < over:
                seconds[name].append(side())
        done += 1
    return {name: Timing(tuple(each)) for name, each in seconds.items()}


def spread_of(timings: Iterable[Timing]) -> str:
    """What a section says of the spread of its timings."""
    spreads = [each.spread for each in timings if len(each.seconds) > 1]
    return (
        f"The median repeat took {100 * median(spreads):.0f} % longer than the fastest, which "
        f"counts; at worst {100 * max(spreads):.0f} %."
        if spreads
        else "Each was timed once."
    )


def fresh(code: str, **environment: str) -> Any:
    """What ``code`` prints last, as JSON, run in a process of its own at the repository's root."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"a process of the benchmark failed:\n{code}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def memory(field: str) -> int:
    """A figure of this process's memory in bytes: ``VmRSS``, held now, or ``VmHWM``, at the peak.

    `resource.getrusage` would not do: Linux lets a child process begin with its parent's peak.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no field {field}")


class Others:
    """How busy other processes kept the machine since this was made."""

    def __init__(self) -> None:
        self._start = self._seen()

    @staticmethod
    def _seen() -> tuple[float, float]:
        """Seconds since boot, and seconds that cores spent on other processes since then."""
        ticks = os.sysconf("SC_CLK_TCK")
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
        user, nice, system = (int(field) / ticks for field in line.split()[1:4])
        own = os.times()
        ours = own.user + own.system + own.children_user + own.children_system
        return time.monotonic(), user + nice + system - ours

    def cores(self) -> float:
        """Cores that they used, on average."""
        (start, before), (now, spent) = self._start, self._seen()
        return max(0.0, (spent - before) / (now - start))


def progress(text: str) -> None:
    """Say on stderr what is being measured."""
    print(f"  {text}", file=sys.stderr, flush=True)
