"""Measure sweeps, kill them, starve them of room, and see what comes out: a part of docs/sweeps.md.

    python -m benchmarks.sweeping [--cells 1000] [--many 100000] [--kills 10] [--ray] [--check]

Every sweep's table is compared, byte for byte, with that of one that nobody has disturbed. Minutes.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from benchmarks.readme import between
from dysta_gym.cores import cores
from dysta_gym.errors import DystaError
from dysta_gym.sweeps import frames, load_sweep, opened
from dysta_gym.sweeps.engines import in_this_process
from dysta_gym.sweeps.export import to_csv
from dysta_gym.sweeps.running import about
from dysta_gym.sweeps.store import created
from dysta_gym.sweeps.travelling import carried
from dysta_gym.sweeps.work import TASK_S, Work
from dysta_gym.tables import markdown

START, END = "<!-- sweeping: python -m benchmarks.sweeping -->\n", "<!-- /sweeping -->"
PAGE = Path(__file__).parents[1] / "docs" / "sweeps.md"

WORKERS = (1, 2, 4, 16, 64, 256, 1024)
"""Workers that are modelled."""

LONGER = 5
"""How many times as many cells a sweep has that tells, beside the other, how long a cell takes."""

RAY = "Ray on this machine"


def grid(cells: int, requests: int, bounds: bool = False) -> dict[str, Any]:
    """A sweep of so many cells, four conditions among them."""
    return {
        "scenarios": ["multi-attnn", "multi-cnn"],
        "policies": ["fcfs", "sjf@monitored", "dysta", "slack-index", "evolved"],
        "loads": [0.8, 1.05],
        "seeds": {"count": cells // 4},
        "requests": requests,
        "bounds": bounds,
    }


class Sweeping:
    """Sweeps of one file in folders of one place."""

    def __init__(self, place: Path, content: dict[str, Any]) -> None:
        self.place, self.file = (
            place,
            place / f"{content['seeds']['count']}-{content['requests']}.yaml",
        )
        self.file.write_text(yaml.safe_dump(content), encoding="utf-8")
        self._n = 0

    def folder(self) -> Path:
        """A folder that nothing is in."""
        self._n += 1
        return self.place / f"{self.file.stem}-{self._n}"

    def start(self, out: Path, *options: str, limit: int | None = None) -> subprocess.Popen[str]:
        """Start the command."""
        program = "import resource\n" if limit else ""
        program += (
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n" if limit else ""
        )
        program += "from dysta_gym_start import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", program, "sweep", str(self.file), "--out", str(out), *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, out: Path, *options: str) -> float:
        """Run it to its end; seconds."""
        began = time.perf_counter()
        process = self.start(out, *options)
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(said)
        return time.perf_counter() - began


def bytes_of(out: Path) -> bytes:
    """The table of what is kept, as CSV."""
    path = out / "table.csv"
    with opened(out) as store:
        to_csv(frames([store]), path, store.about["origin"])
    return path.read_bytes()


def kept(out: Path) -> int:
    """Cells that are kept; 0 as long as there is no store."""
    try:
        with opened(out) as store:
            return store.count()
    except DystaError:
        return 0


def killed(sweeping: Sweeping, kills: int, options: Sequence[str], rng: Any, span_s: float) -> Path:
    """A sweep that was killed, with all its workers, so often at random moments, then went on."""
    out = sweeping.folder()
    for _ in range(kills):
        process = sweeping.start(out, *options)
        time.sleep(rng.uniform(0, span_s))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    sweeping.run(out, *options)
    return out


def starved(sweeping: Sweeping) -> tuple[Path, str]:
    """A sweep that ran out of room, then went on; and what it said."""
    out = sweeping.folder()
    process = sweeping.start(out, "--jobs", "1", limit=64 * 2**10)
    _, said = process.communicate()
    if process.returncode != 2:
        raise SystemExit(f"it found room: {said}")
    sweeping.run(out, "--jobs", "1")
    return out, said.strip().splitlines()[-1]


def store_share(content: dict[str, Any], place: Path) -> float:
    """The share of a sweep's time that keeping its cells takes."""
    sweep, folder = load_sweep(content)
    work = Work(sweep.grid(folder), tuple(carried(sweep.specs(folder))), sweep.bounds)
    began, keeping, last = time.perf_counter(), 0.0, time.perf_counter()
    came: list[Any] = []
    with created(place / "share", about(work)) as store:
        for some in in_this_process(work, range(len(work.grid))):
            came += some
            now = time.perf_counter()
            if now - last > 0.5:
                store.add(came)
                came, last = [], time.perf_counter()
                keeping += last - now
        now = time.perf_counter()
        store.add(came)
        keeping += time.perf_counter() - now
    return keeping / (time.perf_counter() - began)


class Look(NamedTuple):
    """How a command does.

    Attributes:
        at_s: When that was.
        memory_mib: What it and its workers hold, pages that they share counted once.
        used_s: Processor time that it has used, without its workers.
    """

    at_s: float
    memory_mib: float
    used_s: float


@contextmanager
def watched(process: subprocess.Popen[str]) -> Iterator[list[Look]]:
    """Looks at a command, one a second, as long as it runs."""
    seen: list[Look] = []
    yield seen
    while process.poll() is None:
        with suppress(OSError):  # it may just have ended
            seen.append(Look(time.perf_counter(), resident(process.pid), used(process.pid)))
        time.sleep(1.0)


def used(pid: int) -> float:
    """Seconds of processor time that a process has used, without those that it started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB that a process and those that it started hold, their proportional set sizes."""
    total = 0.0
    for each in [pid, *children(pid)]:
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**10
    return total


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        found = [int(each) for task in tasks for each in (task / "children").read_text().split()]
    except OSError:
        return []
    return [*found, *(each for child in found for each in children(child))]


def modelled(rates: Mapping[int, float], handing_s: float) -> str:
    """Cells a second by workers: as many as they do, or as the one that hands out can keep."""
    rows = [
        [
            str(count),
            f"{rates[count]:,.0f}" if count in rates else "",
            f"{count * rates[1]:,.0f}",
            f"{min(count * rates[1], 1 / handing_s):,.0f}",
        ]
        for count in WORKERS
    ]
    return markdown(["workers", "measured", "without loss", "modelled"], rows)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweeping")
    parser.add_argument("--cells", type=int, default=1_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--ray", action="store_true", help="on a Ray cluster on this machine, too")
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    ways = {"1 process": ["--jobs", "1"], "2 processes": ["--jobs", "2"]}
    rates: dict[int, float] = {}
    if given.ray:
        ways[RAY] = ["--ray", "local"]
    text = []
    with tempfile.TemporaryDirectory() as name:
        sweeping = Sweeping(Path(name), grid(given.cells, 1_000))
        sweeping.run(sweeping.folder(), "--jobs", "1")  # compiles what is to be compiled
        longer = Sweeping(Path(name), grid(LONGER * given.cells, 1_000))
        rows, truth = [], b""
        for way, options in ways.items():
            out = sweeping.folder()
            seconds = sweeping.run(out, *options)
            rate = (LONGER - 1) * given.cells / (longer.run(longer.folder(), *options) - seconds)
            if way != RAY:
                rates[int(options[-1])] = rate
            truth = truth or bytes_of(out)
            same = [bytes_of(out) == truth]
            out = killed(sweeping, given.kills, options, rng, seconds)
            same.append(bytes_of(out) == truth)
            said = ["yes" if each else "**no**" for each in same]
            rows.append([way, f"{seconds:.1f}", f"{rate:.0f}", *said])
            print(*rows[-1], sep=" | ", file=sys.stderr)
        out, said = starved(sweeping)
        full = "the same" if bytes_of(out) == truth else "**another one**"
        head = ["", "seconds", "cells/s, then", "same table", f"same, killed {given.kills} times"]
        text += [
            f"A sweep of {given.cells:,} cells of 1,000 requests under five policies, with all "
            f"that starting takes; how many cells a second {LONGER} times as many take beside it, "
            "without that; and the table of the first, and of one that was killed (SIGKILL) at "
            "moments drawn over its time, then run to its end, beside that of 1 process:",
            markdown(head, rows),
            f"Without room on the disk it ended with one line and status 2; with room again the "
            f"table was {full}.",
        ]
        share = store_share(grid(given.cells, 1_000), Path(name))
        many = Sweeping(Path(name), grid(given.many, 10))
        out = many.folder()
        began = time.perf_counter()
        process = many.start(out, "--jobs", "2")
        with watched(process) as seen:
            pass
        process.communicate()
        seconds = time.perf_counter() - began
        tenth = seen[len(seen) // 10 : 2 * len(seen) // 10 + 1]
        last = seen[-(len(seen) // 10) - 1 :]
        memory = [max(look.memory_mib for look in looks) for looks in (tenth, last)]
        pace = given.many / (seen[-1].at_s - seen[0].at_s)
        handing_s = (last[0].used_s - tenth[0].used_s) / (last[0].at_s - tenth[0].at_s) / pace
        text += [
            f"Keeping cells takes {share:.1%} of the time of these cells. {given.many:,} cells "
            f"of 10 requests, on two processes: {seconds:.0f} s, {given.many / seconds:,.0f} cells "
            f"a second; the command and its workers held {memory[0]:.0f} MiB in the second tenth "
            f"of the time and {memory[1]:.0f} MiB in the last, and the store "
            f"{(out / 'cells.sqlite').stat().st_size / 2**20:.0f} MiB.",
            "How it grows with workers: measured as above, on a machine with "
            f"{cores()} cores; and as a model, in which each worker does what one alone does, and "
            f"the process that hands out and keeps cells needs {1e3 * handing_s:.2g} ms a cell, "
            "what it used of a processor in the sweep of small cells. That it needs no more "
            "than that with more workers, whose network and disk keep up, is the assumption. "
            f"Tasks take about {TASK_S:g} s, so that handing over does not count.",
            modelled(rates, handing_s),
        ]
    between(PAGE, START, END, "\n\n".join(text))


if __name__ == "__main__":
    main()
