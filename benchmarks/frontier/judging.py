"""What is computed of measured violations and turnaround: how much of the plane is covered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from dysta_gym.agents.frontier import BOX, LEAST_RATE, covered
from dysta_gym.agents.judging import LEAST_RI
from dysta_gym.comparison import CELL
from dysta_gym.hindsight import BOUND_OF, BOUNDS
from dysta_gym.statistics import ALPHA, mean_interval

Floats = NDArray[np.float64]
Where = tuple[str, float, float, float]
"""A condition: its values of the columns `CELL`."""

REFERENCE = LEAST_RI
"""The rule whose violations and ANTT the box of the hypervolume is made of."""

MOST_LATE, LEAST_ANTT, MOST_ANTT = BOX


@dataclass(frozen=True)
class Board:
    """Policies under conditions, seed by seed.

    Attributes:
        conditions: The conditions.
        policies: Names of the policies.
        late: Violation rates, shape ``(policies, conditions, seeds)``.
        antt: ANTT, the same shape.
        bounds: Those of `BOUNDS`, by name, shape ``(conditions, seeds)``.
    """

    conditions: tuple[Where, ...]
    policies: tuple[str, ...]
    late: Floats
    antt: Floats
    bounds: dict[str, Floats]

    @classmethod
    def of(cls, results: pd.DataFrame) -> Board:
        """Of what `dysta_gym.compare` returns with bounds."""
        policies = tuple(dict.fromkeys(results["policy"]))
        conditions = tuple(
            dict.fromkeys(map(tuple, results[CELL].itertuples(index=False, name=None)))
        )
        at_policy = results["policy"].map({name: at for at, name in enumerate(policies)})
        at_condition = results.groupby(CELL, sort=False).ngroup()
        seeds = sorted(results["seed"].unique())
        at_seed = results["seed"].map({seed: at for at, seed in enumerate(seeds)})
        shape = (len(policies), len(conditions), len(seeds))
        where = (at_policy.to_numpy(), at_condition.to_numpy(), at_seed.to_numpy())

        def filled(metric: str) -> Floats:
            values = np.full(shape, np.nan)
            values[where] = results[metric].to_numpy()
            return values

        bounds = {name: np.nanmax(filled(name), axis=0) for name in BOUNDS}
        return cls(conditions, policies, filled("violation_rate"), filled("antt"), bounds)

    def at(self, names: Sequence[str]) -> list[int]:
        """Where policies are."""
        return [self.policies.index(name) for name in names]

    def only(self, keep: Callable[[Where], bool]) -> Board:
        """Those of its conditions that are kept."""
        chosen = [at for at, where in enumerate(self.conditions) if keep(where)]
        return self._chosen(chosen, slice(None))

    def without_seed(self, seed: int) -> Board:
        """All but one of its seeds, by its place."""
        seeds = [at for at in range(self.late.shape[2]) if at != seed]
        return self._chosen(list(range(len(self.conditions))), seeds)

    def _chosen(self, conditions: list[int], seeds: Any) -> Board:
        return Board(
            tuple(self.conditions[at] for at in conditions),
            self.policies,
            self.late[:, conditions][:, :, seeds],
            self.antt[:, conditions][:, :, seeds],
            {name: each[conditions][:, seeds] for name, each in self.bounds.items()},
        )

    @property
    def means(self) -> tuple[Floats, Floats]:
        """Violation rates and ANTT, means over seeds, each shape ``(policies, conditions)``."""
        return self.late.mean(axis=2), self.antt.mean(axis=2)

    def bound(self, metric: str) -> Floats:
        """The bound of a metric, mean over seeds, shape ``(conditions,)``."""
        return self.bounds[BOUND_OF[metric]].mean(axis=1)


def hypervolume(late: Floats, antt: Floats, reference: tuple[float, float]) -> float:
    """Share of the box that lies above and to the right of one of some points.

    Args:
        late: Violation rates of the points, shape ``(points,)``.
        antt: Their ANTT, the same shape.
        reference: Violation rate and ANTT that the box is made of.
    """
    points = np.stack([late, antt], axis=-1)[:, None]
    return float(covered(points, np.array([reference]))[0])


def with_hypervolume(board: Board) -> list[int]:
    """Which conditions have a hypervolume: those in which the reference has violations."""
    late = board.means[0][board.at([REFERENCE])[0]]
    return np.flatnonzero(late >= LEAST_RATE).tolist()


def hypervolumes(board: Board, names: Sequence[str], conditions: Sequence[int]) -> list[float]:
    """The hypervolume of some policies in each of some conditions, given by their places."""
    late, antt = board.means
    base, chosen = board.at([REFERENCE])[0], board.at(names)
    return [
        hypervolume(late[chosen, at], antt[chosen, at], (late[base, at], antt[base, at]))
        for at in conditions
    ]


def mean_hypervolume(boards: Sequence[Board], names: Sequence[str]) -> tuple[float, float]:
    """The mean over the conditions of boards with the same seeds, and half of its 95 % interval.

    The interval is of the jackknife, one seed left out at a time; NaN with fewer than three seeds.
    """
    conditions = list(map(with_hypervolume, boards))

    def mean(boards: Sequence[Board]) -> float:
        found = [
            hypervolumes(each, names, own) for each, own in zip(boards, conditions, strict=True)
        ]
        return float(np.mean(np.concatenate(found)))

    seeds = min(each.late.shape[2] for each in boards)
    if seeds < 3:
        return mean(boards), np.nan
    without = [mean([each.without_seed(seed) for each in boards]) for seed in range(seeds)]
    return mean(boards), jackknife(without)


def jackknife(without: Sequence[float] | Floats) -> float:
    """Half of a number's 95 % interval, of what it is with one seed or group left out at a time."""
    count = len(without)
    error = np.sqrt((count - 1) * np.var(without))
    return float(stdtrit(count - 1, 1 - ALPHA / 2) * error)


AHEAD, LEVEL, BEHIND = "ahead", "level", "behind"

NEAR_LATE, NEAR_ANTT = 0.001, 0.005
"""What is behind by less is told apart: a violation rate, and a share of the ANTT."""


class Verdict(NamedTuple):
    """A family against one policy in one condition.

    Attributes:
        outcome: `AHEAD` if a member is worse on neither axis by more than noise and better on one
            by more than noise; `LEVEL` if one is worse on neither; else `BEHIND`.
        in_the_mean: Whether the means alone say so: a member is worse on neither axis, however
            little, and better on one.
        late_at_its_antt: How many more violations (a rate) the best member has among those whose
            ANTT is not above the policy's by more than noise; NaN if there is none.
        antt_at_its_late: How much more ANTT, as a share of the policy's, the best member has among
            those that have not more violations by more than noise; NaN if there is none.
        undercut: Whether the policy has fewer violations, by more than noise, than every member
            whose ANTT is not above its own by more than noise, or, where there is none, than the
            member of least ANTT.
        near: Whether a member is worse by `NEAR_LATE` and `NEAR_ANTT` at most.
    """

    outcome: str
    in_the_mean: bool
    late_at_its_antt: float
    antt_at_its_late: float
    undercut: bool
    near: bool


def verdict(late: Floats, antt: Floats, its_late: Floats, its_antt: Floats) -> Verdict:
    """How a family stands to one policy in a condition.

    Args:
        late: Violation rates of its members, shape ``(members, seeds)``.
        antt: Their ANTT.
        its_late: The policy's violation rates on the same workloads, shape ``(seeds,)``.
        its_antt: Its ANTT.
    """
    more_late, more_antt = late - its_late, antt - its_antt
    # What differs by rounding alone is the same.
    more_antt = np.where(np.abs(more_antt) < 1e-9 * its_antt, 0.0, more_antt)
    (low_late, high_late), (low_antt, high_antt) = map(mean_interval, (more_late, more_antt))
    few, quick = ~(low_late > 0), ~(low_antt > 0)
    fits = few & quick
    better = (high_late < 0) | (high_antt < 0)
    mean_late, mean_antt = more_late.mean(axis=1), more_antt.mean(axis=1)
    in_the_mean = (mean_late <= 0) & (mean_antt <= 0) & ((mean_late < 0) | (mean_antt < 0))
    compared = quick if quick.any() else mean_antt == mean_antt.min()
    return Verdict(
        AHEAD if (fits & better).any() else LEVEL if fits.any() else BEHIND,
        bool(in_the_mean.any()),
        float(mean_late[quick].min()) if quick.any() else np.nan,
        float(mean_antt[few].min() / its_antt.mean()) if few.any() else np.nan,
        bool((low_late[compared] > 0).all()),
        bool(((mean_late <= NEAR_LATE) & (mean_antt <= NEAR_ANTT * its_antt.mean())).any()),
    )


def verdicts(board: Board, family: Sequence[str], rules: Sequence[str]) -> pd.DataFrame:
    """A family against each of some policies in each condition.

    Returns:
        A row each, with the columns `CELL`, ``policy``, those of `Verdict`, and the ``antt`` and
        ``late`` of the policy.
    """
    members, others = board.at(family), board.at(rules)
    rows = []
    for at, where in enumerate(board.conditions):
        late, antt = board.late[members, at], board.antt[members, at]
        for other in others:
            its_late, its_antt = board.late[other, at], board.antt[other, at]
            found = verdict(late, antt, its_late, its_antt)
            rows.append((*where, board.policies[other], *found, its_late.mean(), its_antt.mean()))
    return pd.DataFrame(rows, columns=[*CELL, "policy", *Verdict._fields, "late", "antt"])


def least_late_at(late: Floats, antt: Floats, limit: float) -> float:
    """Violations of a curve at an ANTT, linear between its points.

    Args:
        late: Violation rates of its points, shape ``(points,)``.
        antt: Their ANTT.
        limit: The ANTT; below all points, the violations of the first count.
    """
    order = np.argsort(antt)
    lowest = np.minimum.accumulate(late[order])
    return float(np.interp(limit, antt[order], lowest))
