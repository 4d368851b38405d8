"""The leaderboard: what rules and agents reach on the shipped tracks, and one's own beside them.

The shipped rows were measured once (`benchmarks/leaderboard.py`) and travel in the package, with a
list of the conditions and, for every seed, the bound of ANTT, so that what is run beside them needs
none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dysta_gym.agent_files import Agent
from dysta_gym.companions import origin_of
from dysta_gym.comparison import Condition
from dysta_gym.errors import DystaError, one_of
from dysta_gym.files import packaged
from dysta_gym.hindsight import BOUND_OF
from dysta_gym.policies import Policy
from dysta_gym.provenance import KEY, provenance
from dysta_gym.statistics import aggregate
from dysta_gym.tracks import compare_on, digest, shipped_track

ROWS = packaged("leaderboard", "rows.csv")
"""By track and policy: the entry that the policy is, `VALUES` and `LIMITS`."""

CONDITIONS = packaged("leaderboard", "conditions.csv")
"""By condition: `dysta_gym.tracks.digest` of what is run, and the bounds of ANTT, one a seed."""

VALUES = [
    f"{name}{end}"
    for name in ("violation_rate", "antt_over_bound")
    for end in ("", "_low", "_high")
]
"""Averages over conditions and seeds with their intervals, as `dysta_gym.aggregate` has them."""

LIMITS = ["violation_rate_lower_bound", "violation_rate_in_hindsight"]
"""What there is for comparison, whatever the policy."""


def leaderboard(
    policies: Sequence[str | Policy | Agent] = (),
    tracks: Sequence[str] = (),
    *,
    everything: bool = False,
    jobs: int | None = None,
    trust: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """The shipped rows of the leaderboard, and policies that are run beside them.

    Args:
        policies: What to run, as of `dysta_gym.compare`; nothing, unless something is given.
        tracks: Names of shipped tracks; all, if there is none.
        everything: Whether to list all policies at all levels that were run, not only the entries.
        jobs: As of `dysta_gym.compare`.
        trust: As of `dysta_gym.compare`.
        progress: As of `dysta_gym.compare`.

    Returns:
        A row per track and policy, the best first, with the columns ``track``, ``rank``,
        ``policy``, ``entry`` (its name, empty for none), ``run_here`` (whether it is one of
        ``policies``), ``violation_rate`` and ``antt_over_bound``, as `dysta_gym.aggregate` has
        them, each with the ends of its interval, ``_low`` and ``_high``,
        ``violation_rate_lower_bound`` and ``violation_rate_in_hindsight``. They are sorted by
        violations in per cent plus ANTT over its bound. ``attrs`` as of `dysta_gym.compare`.

    Raises:
        DystaError: If an argument is not usable, or a track that policies are run on is not what
            the shipped rows were measured on.
    """
    shipped, conditions = _read(ROWS), _read(CONDITIONS)
    shipped.insert(3, "run_here", False)
    names = list(tracks) or list(dict.fromkeys(shipped["track"]))
    for name in names:
        if name not in set(shipped["track"]):
            raise one_of("track", name, dict.fromkeys(shipped["track"]))
        if names.count(name) > 1:
            raise DystaError(f"track: {name!r} is given more than once; give it once")
    rows = shipped if everything else shipped[shipped["entry"] != ""]
    origin = provenance([])
    if policies:
        listed = {name: conditions[conditions["track"] == name] for name in names}
        here = _run(policies, listed, jobs=jobs, trust=trust, progress=progress)
        origin = here.attrs[KEY]
        here = here.merge(shipped[["track", *LIMITS]].drop_duplicates("track"))
        rows = pd.concat([rows, here.assign(entry="", run_here=True)], ignore_index=True)
    parts = []
    for name in names:
        part = rows[rows["track"] == name]
        part = part.loc[cost(part).sort_values(kind="stable").index]  # of equals, the shipped one
        part.insert(1, "rank", range(1, len(part) + 1))
        parts.append(part)
    board = pd.concat(parts, ignore_index=True)
    used = provenance([], leaderboard=[(path.name, path) for path in (ROWS, CONDITIONS)])
    board.attrs[KEY] = origin | {"leaderboard": used["leaderboard"]}
    return board


def _read(path: Path) -> pd.DataFrame:
    """A shipped table, every number to its last bit, which older pandas do not read by default."""
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = [name for name in ("load", "slo", *VALUES, *LIMITS) if name in found]
    return found.assign(**{name: found[name].map(float) for name in numbers})


def cost(rows: pd.DataFrame) -> pd.Series[float]:
    """What rows are sorted by: violations in per cent plus ANTT over its bound, but for noise."""
    return (100 * rows["violation_rate"] + rows["antt_over_bound"]).round(9)


def measured_with() -> dict[str, Any]:
    """What the shipped rows were made with and of (`dysta_gym.provenance.provenance`)."""
    return origin_of(ROWS)


def pooled(results: pd.DataFrame) -> pd.DataFrame:
    """`VALUES` and `LIMITS`, as far as these are there, by track and policy.

    Args:
        results: What `dysta_gym.compare_on` returns, with the bound of ANTT.
    """
    limits = [name for name in LIMITS if name in results]
    parts = []
    for track, part in results.groupby("track", sort=False):
        found = aggregate(part, ["violation_rate", "antt", *limits])
        found = found.rename(columns=lambda name: name.replace("antt", "antt_over_bound"))
        found = found[["policy", *VALUES, *limits]]
        found.insert(0, "track", track)
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


def _run(
    policies: Sequence[str | Policy | Agent], listed: Mapping[str, pd.DataFrame], **options: Any
) -> pd.DataFrame:
    """Rows of policies on tracks, whose conditions are given; no `LIMITS`."""
    for name, conditions in listed.items():
        _check_same(name, conditions)
    results = compare_on(list(map(shipped_track, listed)), policies, bounds=False, **options)
    origin, results.attrs = results.attrs, {}
    bound = BOUND_OF["antt"]
    texts = " ".join(" ".join(conditions[bound]) for conditions in listed.values())
    bounds = np.array(texts.split(), float)
    # A workload after another, and in each all policies.
    results[bound] = np.repeat(bounds, len(results) // len(bounds))
    found = pooled(results)
    found.attrs = origin
    return found


def _check_same(name: str, listed: pd.DataFrame) -> None:
    """Raise a `DystaError` unless a track is what the shipped rows were measured on."""
    track = shipped_track(name)
    conditions = track.conditions()
    shipped = [*zip(listed["scenario"], listed["load"], listed["slo"], strict=True)]
    wheres = [condition.where for condition in conditions]
    if shipped != [(scenario, load, slo) for scenario, load, _, slo in wheres]:
        raise _not_the_same(name, "its list of conditions")
    for condition, workloads in zip(conditions, listed["workloads"], strict=True):
        if digest(condition, track.seeds) != workloads:
            raise _not_the_same(name, _difference(condition))


def _not_the_same(name: str, what: str) -> DystaError:
    version = measured_with()["version"]
    return DystaError(
        f"track {name!r}: {what} is not the one that the shipped rows were measured on, with "
        f"version {version}; install that, or compare with others by: compare --track {name}"
    )


def _difference(condition: Condition) -> str:
    """What of a condition differs from that of the shipped rows."""
    then, now = measured_with(), provenance([condition.scenario])
    for what in ("traces", "scenarios"):
        for name, found in now[what].items():
            if then[what].get(name) != found:
                return f"{what.removesuffix('s')} {name!r}"
    scenario, load, _, slo = condition.where
    return f"scenario {scenario!r} at load {load:g} and SLO multiplier {slo:g}"
