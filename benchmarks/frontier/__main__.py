"""Judge families of policies: hypervolume, every rule, bounds, robustness: docs/frontier.md.

    python -m benchmarks.frontier [--family POLICY:PARAMETER=VALUE,VALUE,...] ...

The first family is the one that is judged; its values begin with what has the least ANTT. What was
measured is kept in build/frontier, and is measured again only where it has changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.frontier import pictures, teacher
from benchmarks.frontier.conditions import FIRST_SEED, SEEDS, Part, parts
from benchmarks.frontier.judging import BEHIND
from benchmarks.frontier.measuring import AGENTS, RULES, Family, board, measured
from benchmarks.frontier.sections import (
    Measured,
    bounds_section,
    dominance,
    dominance_section,
    hypervolume_section,
    robustness_section,
    speed_section,
    tight_section,
    where_of,
)
from benchmarks.leaderboard import TRACKS
from benchmarks.page import Section, goals, wrapped
from benchmarks.readme import between
from dysta_gym import figures
from dysta_gym.companions import write_csv
from dysta_gym.cores import cores
from dysta_gym.errors import DystaError
from dysta_gym.provenance import KEY, provenance

TILTS = "evolved:tilt=8,4,2,1,0,-0.5,-1,-2,-3"
PREFERENCES = "pareto:preference=" + ",".join(f"{at / 20:g}" for at in range(20, -1, -1))

PAGE, STORE = teacher.PAGE, Path("build/frontier")
BEGIN, END = "<!-- frontier: make frontier -->\n", "<!-- /frontier -->"

HEAD = f"""\
# The frontier

A policy with a parameter is a curve between few violations and a short turnaround, not a point.
This page judges such families: how much of the plane they cover, whether any rule is anywhere out
of their reach, how far they are from what no schedule can beat, and what becomes of them on
networks that nobody trained on. Seeds from {FIRST_SEED:,} on, which nothing else uses, and `test`
inputs. `python -m benchmarks.frontier --family POLICY:PARAMETER=VALUE,...` judges any policy.

{BEGIN}
{END}

## What the teacher sees that the score did not

{teacher.BEGIN}
{teacher.END}
"""


def families(given: Sequence[str]) -> list[Family]:
    """Those that are asked for, or those that are installed."""
    if given:
        return [Family.read(each) for each in given]
    found = []
    for text in (PREFERENCES, TILTS):
        family = Family.read(text)
        try:
            _ = family.members
        except DystaError:
            continue
        found.append(family)
    return found


def told(name: str) -> Callable[[int, int], None]:
    """Show on a terminal how far a part is."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{name}: {done} of {total} ", end="\n" * (done == total), file=sys.stderr)

    return show


def measure(
    which: Sequence[Part], chosen: Sequence[Family], store: Path, jobs: int | None
) -> Measured:
    """Run what is not there yet."""
    boards = {}
    for part in which:
        began = time.perf_counter()
        groups = [RULES, AGENTS, *(family.members for family in chosen)]
        boards[part.name] = board(part, groups, store, jobs=jobs, progress=told(part.name))
        print(f"{part.name} ({time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)
    return Measured(boards, chosen[0], tuple(chosen))


def page_part(done: Measured, folder: Path, which: Sequence[Part], *, quick: bool = False) -> str:
    """The generated part of the page; its figures and tables are written to a folder."""
    found = dominance(done)
    lost = found[found["outcome"] == BEHIND].round(6)
    lost.attrs[KEY] = provenance(each.scenario for part in which for each in part.conditions)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(lost, folder / "losses.csv", command="make frontier")
    sections = [
        hypervolume_section(done),
        dominance_section(done, found),
        tight_section(done, found),
        bounds_section(done),
        robustness_section(done),
        speed_section(done.judged, 0.1 if quick else 9.0, 100 if quick else 1000),
        understanding(done, folder, quick=quick),
    ]
    sections = [each for each in sections if each.text]
    counts = ", ".join(f"{part.name} {len(part.conditions)} x {len(part.seeds)}" for part in which)
    names = ", ".join(f"`{family.name}`" for family in done.families)
    return "\n\n".join(
        [
            wrapped(
                f"Judged: `{done.judged.name}` by its parameter `{done.judged.parameter}`; "
                f"families measured: {names}. Conditions x workloads: {counts}."
            ),
            "## Goals",
            goals(sections),
            *map(str, sections),
        ]
    )


def understanding(done: Measured, folder: Path, *, quick: bool = False) -> Section:
    """Figures of what the parameter does."""
    less = {"workloads": 1, "requests": 60} if quick else {}
    name, parameter = done.judged.name, done.judged.parameter
    section = Section("What the parameter does")

    def show(title: str, picture: str, words: str) -> None:
        section.text += [words, f"![{title}]({folder.name}/{picture})"]

    for part in ("paper", "deployments"):
        if part in done.boards and where_of(done.boards[part]):
            figures.draw(lambda part=part: pictures.fronts(done, part), folder / f"{part}.png")
            show(
                f"Violations and ANTT on the track {part}",
                f"{part}.png",
                f"The curves on the track {part}, where the most requests are late, in about the "
                "box of the hypervolume:",
            )
    if any(part in done.boards for part in ("paper", "deployments")):
        figures.draw(lambda: pictures.bounds(done), folder / "bounds.png")
        show("Distance to both bounds", "bounds.png", "How far each condition is from both bounds:")
    figures.draw(lambda: pictures.moves(done.judged, **less), folder / "moves.png")
    show(
        "Where the parameter moves requests",
        "moves.png",
        f"Where `{parameter}` moves requests: in the queues that `{name}` meets in the middle of "
        f"its curve, how much further back (red) or forward (blue) a request "
        "stands in the order of the end with the fewest violations than in that of the end with "
        "the least ANTT. Grey where fewer than ten were seen.",
    )
    figures.draw(lambda: pictures.classes(done.judged, **less), folder / "classes.png")
    show(
        "Violations and turnaround by latency",
        "classes.png",
        "Who pays for it: requests by their latency alone, at both ends and in the middle of the "
        "curve.",
    )
    return section


def main() -> None:
    """Measure what is new, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frontier", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--family", action="append", default=[], metavar="POLICY:PARAMETER=VALUE,...",
        help=f"the first is judged; {PREFERENCES} where it is installed, and {TILTS}, by default",
    )  # fmt: skip
    parser.add_argument("--track", action="append", default=[], choices=TRACKS, metavar="TRACK")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="workloads a condition, at most")
    parser.add_argument("--store", type=Path, default=STORE, help="where what was measured is kept")
    parser.add_argument("--jobs", type=int, default=cores(), help="workloads run at a time")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page")
    parser.add_argument(
        "--only-rules", action="store_true", help="measure what was not learned, and stop"
    )
    arguments = parser.parse_args()
    try:
        chosen = families(arguments.family)
        tracks = arguments.track or TRACKS
        which = parts(tracks, arguments.seeds, folder=arguments.store / "traces")
        if arguments.only_rules:
            for part in which:
                began = time.perf_counter()
                measured(part, RULES, arguments.store, jobs=arguments.jobs, bounds=True)
                seconds = time.perf_counter() - began
                print(f"{part.name} ({seconds:.0f} s)", file=sys.stderr, flush=True)
            return
        done = measure(which, chosen, arguments.store, arguments.jobs)
        written = page_part(done, arguments.out.with_suffix(""), which)
    except DystaError as error:
        parser.error(str(error))
    if not arguments.out.exists():
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(HEAD, encoding="utf-8")
    between(arguments.out, BEGIN, END, written)


if __name__ == "__main__":
    main()
