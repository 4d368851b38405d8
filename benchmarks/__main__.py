"""Measure the speed of everything in one run and write the page.

    python -m benchmarks [--quick] [--only SECTION ...] [--out docs/speed.md]

Pictures go to a folder beside the page, named after it.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.page import Section, goals, wrapped
from benchmarks.timing import Others, cores
from dysta_gym.files import replacing

SECTIONS = ("episodes", "growth", "environments", "training", "start")


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("numba", "numpy", "gymnasium")
    return (
        f"{cores()} cores of {models[0] if models else platform.machine()}, "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
    )


def _page(sections: list[Section], seconds: float, others: float, quick: bool) -> str:
    how = "`python -m benchmarks --quick`, a short run" if quick else "`make benchmark`"
    return "\n\n".join(
        [
            "# Speed",
            wrapped(
                f"Measured in one run of {how}, {seconds / 60:.1f} minutes on {_machine()}. The "
                "sides of every ratio took turns in the same process, so that whatever else the "
                f"machine did met both; other processes kept {others:.1f} cores busy. "
                "k, M and G are thousands, millions and billions."
            ),
            "## Goals",
            goals(sections),
            *map(str, sections),
        ]
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="a rougher run in under a minute")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=SECTIONS, metavar="SECTION")
    parser.add_argument("--out", type=Path, default=Path("docs/speed.md"))
    arguments = parser.parse_args()
    start, others = time.perf_counter(), Others()
    sections: list[Section] = []
    for name in arguments.only:
        print(f"{name} ({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True)
        topic = importlib.import_module(f"benchmarks.{name}")
        sections += topic.measure(arguments.quick, arguments.out.with_suffix(""))
    seconds = time.perf_counter() - start
    with replacing(arguments.out) as scratch:
        page = _page(sections, seconds, others.cores(), arguments.quick)
        scratch.write_text(page + "\n", encoding="utf-8")
    print(f"{arguments.out} ({seconds:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
