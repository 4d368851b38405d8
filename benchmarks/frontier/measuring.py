"""Running policies under conditions, and keeping what they reach: only what is new is run."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.frontier.conditions import Part
from benchmarks.frontier.judging import Board
from benchmarks.leaderboard import AGENTS as LEARNED
from benchmarks.leaderboard import KNOWING, LISTED
from dysta_gym.comparison import CELL, Lineup
from dysta_gym.compiled.digest import Digest
from dysta_gym.errors import DystaError
from dysta_gym.hindsight import BOUNDS
from dysta_gym.policies import Policy, find, split
from dysta_gym.sweeps.grid import Grid
from dysta_gym.sweeps.running import about, run_left
from dysta_gym.sweeps.store import created, frames
from dysta_gym.sweeps.work import Done, Work

AGENTS = tuple(name for name in LEARNED if name != "pareto")
"""Those that are points. (`pareto` is a family.)"""

RULES = tuple(
    dict.fromkeys(
        [
            *(
                name
                for name in LISTED
                if split(name)[0] not in LEARNED and split(name)[1] != "clairvoyant"
            ),
            *(f"gittins@{level}" for level in ("static", "pattern", "sized")),
            f"slack-pull@{KNOWING}:push=2.5,pull=8.0,width=1.5",
            f"slack-pull@{KNOWING}:push=5.5,pull=32.0,width=1.5",
        ]
    )
)
"""What was not learned, and does not know the future."""

KEPT = [*CELL, "policy", "seed", "violation_rate", "antt"]


@dataclass(frozen=True)
class Family:
    """A policy at several values of a parameter.

    Attributes:
        name: What tables call it.
        policy: The policy.
        parameter: Its parameter.
        values: The values, from what has the least ANTT to what has the fewest violations.
    """

    name: str
    policy: str
    parameter: str
    values: tuple[float, ...]

    @classmethod
    def read(cls, text: str) -> Family:
        """Of ``POLICY:PARAMETER=VALUE,VALUE,...``.

        Raises:
            DystaError: If it is not of this form.
        """
        head, equals, values = text.partition("=")
        policy, colon, parameter = head.rpartition(":")
        try:
            if not (equals and colon and policy and parameter):
                raise ValueError
            return cls(policy, policy, parameter, tuple(map(float, values.split(","))))
        except ValueError:
            raise DystaError(
                f"family: {text!r} is not allowed; it must be POLICY:PARAMETER=VALUE,VALUE,..."
            ) from None

    def member(self, value: float) -> Policy:
        """The policy at a value."""
        return find(f"{self.policy}:{self.parameter}={value}")

    @property
    def members(self) -> list[Policy]:
        """The policy at every value, in their order."""
        return [self.member(value) for value in self.values]

    @property
    def names(self) -> list[str]:
        """What tables call the members."""
        return [each.spec for each in self.members]

    def close(self, wanted: float) -> Policy:
        """The member whose place among all, from 0 for the first to 1, is next to this."""
        return self.members[round(wanted * (len(self.values) - 1))]


def known(policies: Sequence[str | Policy]) -> list[Policy]:
    """Policies, those that were named found."""
    return [each if isinstance(each, Policy) else find(each) for each in policies]


def key(policy: Policy) -> str:
    """What says whether a policy is still what it was: all that decides on its schedules."""
    plain = [  # which run as Python
        inspect.getsource(each) for each in (policy.index, policy.drift) if each is not None
    ]
    told = (policy.spec, policy.stable, policy.events, policy.weights, policy.values(1.0).tolist())
    made = hashlib.sha256(repr((Digest(policy.score).key, plain, told)).encode())
    return f"{policy.spec}#{made.hexdigest()[:16]}"


def measured(
    part: Part,
    policies: Sequence[str | Policy],
    folder: Path,
    *,
    jobs: int | None = None,
    bounds: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """What policies reach under the conditions of a part, as `dysta_gym.compare` returns it.

    What is run is kept in a folder below ``folder`` that is named after all that it was made of; a
    run that was interrupted goes on, and what is there is read.

    Args:
        part: The part.
        policies: The policies.
        folder: Where all is kept.
        jobs: As of `dysta_gym.compare`.
        bounds: Whether to compute bounds, too.
        progress: Called with workloads done and workloads in all.
    """
    found = known(policies)
    lineup = Lineup({each.spec: each for each in found})
    grid = Grid(part.conditions, part.seeds, {})
    work = Work(grid, (), bounds)
    told = {**about(work), "policies": {each.spec: key(each) for each in found}}
    decisive = {name: value for name, value in told.items() if name != "origin"}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]

    def engine(_: Work, left: Sequence[int]) -> Iterator[Done]:
        cells = [grid.cell(at) for at in left]
        played = lineup.play(cells, jobs=jobs, bounds=bounds)
        for at, rows in zip(left, played, strict=True):
            yield [(at, rows)]

    with created(folder / f"{part.name}-{digest}", told) as store:
        run_left(store, work, engine, progress=progress)
        whole = pd.concat(list(frames([store])), ignore_index=True)
    whole.attrs = {}
    return whole[[*KEPT, *(BOUNDS if bounds else ())]]


def board(
    part: Part,
    groups: Sequence[Sequence[str | Policy]],
    folder: Path,
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Board:
    """Groups of policies under the conditions of a part, each kept by itself.

    The first group has the bounds beside it. What is in several groups counts once.
    """
    seen: set[str] = set()
    frames_of = []
    for at, group in enumerate(groups):
        new = [each for each in known(group) if each.spec not in seen]
        if not new:
            continue
        seen.update(each.spec for each in new)
        frames_of.append(measured(part, new, folder, jobs=jobs, bounds=not at, progress=progress))
    return Board.of(pd.concat(frames_of, ignore_index=True))
