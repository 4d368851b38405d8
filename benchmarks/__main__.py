"""Measure the speed of everything in one run; print the page and write it.

    python -m benchmarks [--quick] [--only SECTION ...] [--out PAGE]

A whole run writes ``docs/speed.md``, one of less ``build/speed.md``, if it is not told otherwise.
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
from benchmarks.timing import Others
from dysta_gym.cores import cores
from dysta_gym.errors import DystaError
from dysta_gym.files import check_folder, replacing

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


def _page(sections: list[Section], seconds: float, others: float, how: str) -> str:
    judged = any(section.goals for section in sections)
    return "\n\n".join(
        [
            "# Speed",
            wrapped(
                f"Measured in one run of `{how}`, {seconds / 60:.1f} minutes on {_machine()}. The "
                "sides of every ratio took turns in the same process, so that whatever else the "
                f"machine did met both; other processes kept {others:.1f} cores busy. "
                "k, M and G are thousands, millions and billions."
            ),
            *(["## Goals", goals(sections)] if judged else []),
            *map(str, sections),
        ]
    )


def main() -> None:
    """Measure, print the page and write it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="a rougher run in under a minute")
    parser.add_argument(
        "--only",
        choices=SECTIONS,
        nargs="+",
        default=SECTIONS,
        metavar="SECTION",
        help=f"any of {', '.join(SECTIONS)}; all by default",
    )
    parser.add_argument("--out", type=Path, metavar="PAGE", help="where the page goes")
    arguments = parser.parse_args()
    less = ["--quick"] * arguments.quick
    if arguments.only != SECTIONS:
        less += ["--only", *arguments.only]
    how = " ".join(["python -m benchmarks", *less]) if less else "make benchmark"
    out = arguments.out or Path("build/speed.md" if less else "docs/speed.md")
    try:
        check_folder(out.parent)
    except DystaError as error:
        parser.error(str(error))
    start, others = time.perf_counter(), Others()
    sections: list[Section] = []
    for name in arguments.only:
        print(f"{name} ({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True)
        topic = importlib.import_module(f"benchmarks.{name}")
        sections += topic.measure(arguments.quick, out.with_suffix(""))
    seconds = time.perf_counter() - start
    page = _page(sections, seconds, others.cores(), how)
    with replacing(out) as scratch:
        scratch.write_text(page + "\n", encoding="utf-8")
    print(page)
    print(f"{out} ({seconds:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
