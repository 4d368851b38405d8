"""Running a sweep, or what is left of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd

import dysta_gym
from dysta_gym.comparison import Cell
from dysta_gym.cores import workers
from dysta_gym.errors import DystaError, shown
from dysta_gym.provenance import provenance
from dysta_gym.sweeps.code import OWN, package_digest
from dysta_gym.sweeps.engines import in_processes, in_this_process, in_threads
from dysta_gym.sweeps.grid import Grid, Sweep, load_sweep
from dysta_gym.sweeps.store import Store, created, frames, opened
from dysta_gym.sweeps.travelling import carried
from dysta_gym.sweeps.work import Done, Work
from dysta_gym.tracks import Seeds, digest

TOLD, TOLD_EACH = 2**20, 2**10
"""Characters of scenarios' fields that a store keeps, to say what differs: of all, else it keeps
none, and of one."""

KEPT_S = 0.5
"""How long finished cells wait for others to be kept together with them."""

_BY = "by"
"""Where a store says that `compare_into` began it."""

Engine = Callable[[Work, Sequence[int]], Generator[Done, None, None]]
"""Does cells of some work, given by their numbers, in any order."""


def sweep(
    source: str | Path | Mapping[str, Any] | Sweep,
    out: str | Path,
    *,
    jobs: int | None = None,
    shard: str | tuple[int, int] | None = None,
    ray: str | None = None,
    trust: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Run a sweep, or what is left of it, and keep its cells in a folder as they come.

    Args:
        source: A YAML file, a mapping of its fields, or a `Sweep`.
        out: The folder; `dysta_gym.sweeps.frames` reads what is in it, at any time.
        jobs: Processes to work in, None for one a core; 1 for this process. The result does not
            depend on it.
        shard: ``"K/N"`` or ``(K, N)``: do only the Kth of N parts, counted from 1. Which part
            a cell is of does not depend on how many seeds there are.
        ray: Address of a Ray cluster to work on instead, ``"auto"`` for the one that is found,
            ``"local"`` for one that is started.
        trust: As of `dysta_gym.compare`.
        progress: Called with cells done, of those that there are to do, and their number.

    Returns:
        The folder.

    Raises:
        DystaError: If something is not usable, the folder holds another sweep, or another process
            writes to it.
        MissingExtra: If Ray is asked for and not installed.
    """
    if not str(out):
        raise DystaError("out: '' is not allowed; it must be a folder, which is made if need be")
    found, folder = load_sweep(source)
    work = Work(found.grid(folder), tuple(carried(found.specs(folder), trust=trust)), found.bounds)
    engine = _engine(jobs, ray)
    with created(Path(out), _with_code(work)) as store:
        run_left(store, work, engine, part_of(shard), progress)
    return Path(out)


def compare_into(
    folder: Path,
    cells: Sequence[Cell],
    policies: Sequence[str],
    *,
    jobs: int | None = None,
    bounds: bool = True,
    trust: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """What `dysta_gym.comparison.run` returns, on the way kept in a folder, and gone on from there.

    It stays there until `done_with` removes it.

    Args:
        folder: The folder.
        cells: All seeds of each condition.
        policies: Policies by name.
        jobs: As of `dysta_gym.compare`.
        bounds: As of `dysta_gym.compare`.
        trust: As of `dysta_gym.compare`.
        progress: Called with workloads done and workloads in all.

    Raises:
        DystaError: As `sweep` does.
    """
    workers(jobs)  # before anything is written
    specs = [(name, name) for name in policies]
    work = Work(Grid.of(cells), tuple(carried(specs, trust=trust)), bounds)
    with created(folder, {**_with_code(work), _BY: "compare"}) as store:
        run_left(store, work, lambda work, left: in_threads(work, left, jobs), progress=progress)
        return pd.concat(list(frames([store])), ignore_index=True)


def done_with(folder: Path) -> None:
    """Remove what `compare_into` has kept in a folder, unless it is a sweep's."""
    with opened(folder) as store:
        if store.about.get(_BY) == "compare":
            store.remove()


def _engine(jobs: int | None, ray: str | None) -> Engine:
    if ray is not None:
        if jobs is not None:
            raise DystaError(
                f"jobs: {jobs} is not allowed beside ray, which knows its own; leave it out"
            )
        from dysta_gym.sweeps.cluster import on_ray

        return lambda work, numbers: on_ray(work, numbers, ray)
    count = workers(jobs)
    return (
        in_this_process if count == 1 else lambda work, numbers: in_processes(work, numbers, count)
    )


def part_of(shard: str | tuple[int, int] | None) -> tuple[int, int]:
    """A shard as ``(K, N)``.

    Raises:
        DystaError: If it is none.
    """
    if shard is None:
        return 1, 1
    try:
        first, of = map(int, shard.split("/")) if isinstance(shard, str) else shard
        if not 1 <= first <= of:
            raise ValueError
    except (ValueError, TypeError):
        raise DystaError(
            f"shard: {shown(shard)} is not allowed; it must be K/N with K from 1 to N, like 1/4"
        ) from None
    return first, of


def _with_code(work: Work) -> dict[str, Any]:
    return {**about(work), "code": package_digest(OWN)}


def about(work: Work) -> dict[str, Any]:
    """What the cells of some work are of, as a store keeps it: what has to be the same."""
    grid = work.grid
    seeds = Seeds.model_construct(first=grid.seeds[0], count=1)  # what is wrong is said later
    return {
        "version": dysta_gym.__version__,
        "origin": provenance(condition.scenario for condition in grid.conditions),
        "split": grid.conditions[0].split,
        "bounds": work.bounds,
        "seeds": list(grid.seeds),
        "policies": {each.name: each.digest for each in work.policies},
        "files": {each.name: each.files for each in work.policies if each.files},
        "conditions": [
            {
                "where": list(condition.where),
                "varied": dict(grid.varied.get(condition.scenario.name, {})),
                "workloads": digest(condition, seeds),
            }
            for condition in grid.conditions
        ],
        "scenarios": _fields(grid),
    }


def _fields(grid: Grid) -> dict[str, dict[str, str]]:
    """By scenario, its fields that are the same in all of its conditions, as JSON."""
    varied = {"name", "description", "sources", "load", "rate", "slo_multiplier"}
    found: dict[str, dict[str, str]] = {}
    size = 0
    for scenario in (condition.scenario for condition in grid.conditions):
        if scenario.name not in found:
            content = scenario.model_dump(mode="json", exclude=varied)
            texts = {key: json.dumps(value) for key, value in content.items()}
            found[scenario.name] = {k: text for k, text in texts.items() if len(text) < TOLD_EACH}
            size += sum(map(len, found[scenario.name].values()))
        if size > TOLD:
            return {}
    return found


def run_left(
    store: Store,
    work: Work,
    engine: Engine,
    part: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Do the cells of a part that are not there yet.

    Args:
        store: Where they are kept.
        work: What they are of.
        engine: Who does them.
        part: ``(K, N)``, as of `Grid.part`.
        progress: As of `sweep`.

    Raises:
        DystaError: If a policy does what it may not do, or cells cannot be kept.
    """
    there = store.done()
    mine = work.grid.part(*part)
    left = [at for at in mine if not there[at]]
    done = len(mine) - len(left)
    if progress:
        progress(done, len(mine))
    if not left:
        return
    came: Done = []
    kept = monotonic()
    cells = engine(work, left)
    try:
        for some in cells:
            came += some
            done += len(some)
            if monotonic() - kept > KEPT_S:
                store.add(came)
                came, kept = [], monotonic()
            if progress:
                progress(done, len(mine))
    finally:
        with closing(cells):  # an exception would hold it, and with it processes
            if came:
                store.add(came)
