"""The commands ``dysta-gym sweep`` and ``dysta-gym results``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dysta_gym.cli import terminal
from dysta_gym.cli.interrupts import resumable
from dysta_gym.errors import DystaError

if TYPE_CHECKING:
    import pandas as pd

    from dysta_gym.sweeps import Store


GOES_ON = "the same command goes on from there"


def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="What to run.")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Where cells are kept; what is there is not run.",
            parser=terminal.folder,
        ),
    ],
    jobs: Annotated[
        int | None, typer.Option(metavar="INTEGER", help="Processes to work in [one a core].")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Only the Kth of N parts.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work on a Ray cluster: its address, auto or local."),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Read models in files that others may have written."),
    ] = False,
) -> None:
    """Run a grid of cells, or what is left of it, and keep them.

    docs/sweeps.md says what the file has. Rules that it names are code, and are run.
    """
    from dysta_gym import sweeps

    shows = f"dysta-gym results {out} shows them"
    with resumable(lambda: interrupted(out, shows), abrupt=ray is not None):
        terminal.with_progress(
            "cells",
            lambda progress: sweeps.sweep(
                file, out, jobs=jobs, shard=shard, ray=ray, trust=trust, progress=progress
            ),
            rates=True,
        )
    terminal.say(f"{kept(out)[0]}; {shows}.")


def interrupted(out: Path, complete: str = GOES_ON) -> str:
    """What a command says that keeps cells in a folder.

    Args:
        out: The folder.
        complete: What there is to do when all of them are there.
    """
    there, whole = kept(out)
    return f"interrupted; {there}; {complete if whole else GOES_ON}"


def kept(out: Path) -> tuple[str, bool]:
    """How much a folder holds, in words, and whether that is all."""
    from dysta_gym.sweeps import opened

    try:
        with opened(out) as store:
            count, total = store.count(), store.total
    except DystaError:
        return f"no cells are in {out}", False
    return f"{count} of {total} cells are in {out}", count == total


def results(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="What sweep wrote; shards together.")
    ],
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a row a cell and policy.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the same as Parquet.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(metavar="POLICY", help="Policy to take differences to; may be repeated."),
    ] = None,
    statistic: Annotated[
        str,
        typer.Option(metavar="NAME", help="Average: mean, or iqm for the interquartile mean."),
    ] = "mean",
    as_json: terminal.AsJson = False,
) -> None:
    """Show and export what a sweep has kept."""
    import pandas as pd

    from dysta_gym import comparison
    from dysta_gym.cli.outputs import Found, Outputs, deliver
    from dysta_gym.files import check_file
    from dysta_gym.statistics import share_cut
    from dysta_gym.sweeps import frames, opened
    from dysta_gym.sweeps.export import check_seeds, to_csv, to_parquet
    from dysta_gym.sweeps.store import FILES, varied

    share_cut(statistic)
    for path, field in ((csv, "csv"), (parquet, "parquet")):
        if path is not None:
            check_file(path, field)
            if path.resolve() in [(each / name).resolve() for each in folders for name in FILES]:
                raise DystaError(f"{field}: {str(path)!r} is not allowed; it is the sweep's own")
    if csv is not None and parquet is not None and csv.resolve() == parquet.resolve():
        raise DystaError(f"parquet: {str(parquet)!r} is not allowed; it is that of csv")
    with ExitStack() as stack:
        stores: list[Store] = [stack.enter_context(opened(folder)) for folder in folders]
        policies = stores[0].policies
        for name in reference or ():
            if name not in policies:
                raise DystaError(
                    f"reference: {name!r} was not run; choose one of: {', '.join(policies)}"
                )
        if parquet is not None:
            check_seeds(stores[0].seeds)
        parts = list(frames(stores))
        fields, about = varied(stores), stores[0].about
        seeds, total = stores[0].seeds, stores[0].total
    if not parts:
        raise DystaError(f"{', '.join(map(str, folders))}: there is no cell yet")
    if csv is not None:
        origin = {**about["origin"], "policies": about["policies"]}
        to_csv(parts, csv, origin, command=terminal.command())
    if parquet is not None:
        to_parquet(parts, parquet)
    split = str(about["split"])
    whole = pd.concat(parts, ignore_index=True).drop(columns=fields)
    del parts
    there = len(whole) // len(policies)
    shown, said = (whole, "") if as_json or there == total else _comparable(whole, seeds)
    if there < total:
        terminal.note(f"{there} of {total} cells are there{said}")
    to = reference or comparison.references(policies)
    found = Found(
        shown, to, statistic, split, whole_in="--json has", all_in="--csv and --json have"
    )
    deliver(found, Outputs(as_json=as_json), lambda path: None)


def _comparable(rows: pd.DataFrame, seeds: Sequence[int]) -> tuple[pd.DataFrame, str]:
    """What can be compared of a part of a sweep: conditions with the same seeds, and in words.

    These are the conditions that are whole, or, if none is, those that have the same seeds: of such
    groups the one with most cells.
    """
    from dysta_gym.comparison import CELL

    seen = {
        where: frozenset(group) for where, group in rows.groupby(list(CELL), sort=False)["seed"]
    }
    alike: dict[frozenset[int], list[Any]] = {}
    for where, own in seen.items():
        alike.setdefault(own, []).append(where)
    best = max(alike, key=lambda own: (len(own) == len(seeds), len(own) * len(alike[own])))
    chosen = rows.set_index(list(CELL)).index.isin(alike[best])
    count, total = len(alike[best]), len(seen)
    if len(best) == len(seeds):
        return rows[chosen], f"; shown are the {count} conditions that are whole"
    of = "that there are" if count == total else f"of {total} that have the same seeds"
    return rows[chosen], (
        f"; none of the conditions is whole; shown are the {count} {of}, with {len(best)} of "
        f"{len(seeds)} seeds"
    )
