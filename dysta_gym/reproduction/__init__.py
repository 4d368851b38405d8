"""The figures and tables of the Sparse-DySta paper (MICRO'23), made again from traces.

`FIGURES` lists them, `reproduce` makes and writes them: from the traces in the package, or from a
folder of the artifact's CSVs or of one's own npz files. Where networks and inputs are ours, the
figures answer the paper's questions, not with its numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dysta_gym import figures
from dysta_gym.companions import write_csv
from dysta_gym.cores import workers
from dysta_gym.errors import DystaError, one_of
from dysta_gym.files import check_file, check_folder
from dysta_gym.provenance import KEY
from dysta_gym.reproduction import (
    characterisation,
    correlation,
    departures,
    hardware,
    patterns,
    prediction,
    scale,
    scheduling,
    worth,
)
from dysta_gym.reproduction.context import ACCELERATOR, Context, Item, Result
from dysta_gym.reproduction.page import write_page

_ORDER = (
    "figure2", "figure3", "table2", "figure4", "figure9", "figure12", "figure13", "table4",
    "predictors", "table5", "figure14", "figure15", "precision", "scale", "departures",
)  # fmt: skip
_PARTS = (
    characterisation, patterns, correlation, scheduling, prediction, worth, hardware, scale,
    departures,
)  # fmt: skip
_ITEMS = {item.name: item for part in _PARTS for item in part.ITEMS}

FIGURES: Mapping[str, Item] = {name: _ITEMS[name] for name in _ORDER}
"""What can be made, by its name: in the paper's order, and then what the paper lacks."""

FORMATS = ("png", "pdf")

PAGE = "reproduction.md"
"""Name of the page that says what was found."""


def reproduce(
    names: Sequence[str] = (),
    out: str | Path = "reproduction",
    *,
    page: str | Path | None = None,
    traces: str | Path | None = None,
    fast: bool = False,
    format: str = "png",
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str | None = None,
) -> dict[str, Result]:
    """Make figures and tables, and write each as a picture and its numbers as a CSV.

    Each is written as soon as it is made: ``NAME.csv`` with its companion, which says what it was
    made with and of (`dysta_gym.companions`), and ``NAME.png`` or ``NAME.pdf``. The page,
    written last, sets what the paper says beside what was found.

    Args:
        names: Names in `FIGURES`, or as `item_name` takes them; without any, all that the traces
            allow.
        out: Folder to write to.
        page: File for the page; None for `PAGE` in ``out`` where no names are given, else for none.
        traces: Folder of traces (see `Context`); None for those in the package.
        fast: Fewer requests, seeds and points: a look, not a result.
        format: ``png`` or ``pdf``.
        jobs: Workloads simulated at a time, None for one a core.
        progress: Called with steps done and steps in all.
        command: The command that asks for it, for the companions.

    Returns:
        Each `Result` by its name, in the paper's order.

    Raises:
        DystaError: If a name or the format is unknown, the number of jobs is not possible, a folder
            or the page cannot be used, or the traces do not suffice for a figure that was named;
            if a picture cannot be drawn, when all else is done.
    """
    chosen = {item_name(name) for name in names} or set(FIGURES)
    if format not in FORMATS:
        raise one_of("format", format, FORMATS)
    check_folder(out)
    workers(jobs)
    if page is not None:
        check_file(Path(page), "page", f", such as {PAGE!r}")
    elif not names:
        page = Path(out) / PAGE
    context = Context(traces, fast=fast, jobs=jobs, progress=progress)
    items = [item for name, item in FIGURES.items() if name in chosen]
    for item in items:
        if names and item.kind and item.kind not in context.deployments:
            raise DystaError(
                f"{item.name}: {str(traces)!r} has no trace of the accelerator it needs, "
                f"{ACCELERATOR[item.kind]!r}"
            )
    items = [item for item in items if item.kind is None or item.kind in context.deployments]
    context.plan((runs for item in items for runs in item.runs(context)), extra_steps=len(items))
    origin = context.origin()
    made, faults = {}, []
    for item in items:
        made[item.name] = item.make(context)
        try:
            made[item.name].frame.attrs[KEY] = origin
            _write(made[item.name], Path(out) / item.name, format, command)
        except figures.NotDrawn as fault:
            faults.append(fault)
        context.step()
    if page is not None:
        write_page(Path(page), made, FIGURES, context, Path(out), format)
    if faults:
        raise faults[0]
    return made


def item_name(text: str) -> str:
    """The name in `FIGURES` that ``text`` means: ``figure12``, ``Fig. 12``, ``12``, ``table5``.

    A bare number is a figure, or a table where there is no figure of that number.

    Raises:
        DystaError: If there is none of that name.
    """
    if text.strip().lower() in FIGURES:
        return text.strip().lower()
    match = re.fullmatch(r"(fig|table|)(?:ure)?[\s._-]*(\d+)", text.strip().lower())
    for kind in ("figure", "table") if match else ():
        assert match
        name = f"{kind}{int(match[2])}"
        if kind.startswith(match[1]) and name in FIGURES:
            return name
    raise one_of("figure", text, FIGURES)


def _write(result: Result, path: Path, format: str, command: str | None) -> None:
    write_csv(result.frame, path.with_suffix(".csv"), command=command)
    figures.draw(result.draw, path.with_suffix(f".{format}"))
