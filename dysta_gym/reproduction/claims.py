"""The paper's claims, each judged by a criterion of numbers; the words stand in templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from dysta_gym.comparison import CELL, PAPER_POLICIES
from dysta_gym.reproduction.context import METRICS, Findings, Result
from dysta_gym.reproduction.scheduling import DYSTA, ORACLE
from dysta_gym.statistics import ALPHA

Verdict = Literal["holds", "holds in part", "does not hold"]

OTHERS = tuple(policy for policy in PAPER_POLICIES if policy not in (DYSTA, ORACLE))
RIVALS = ("prema", "planaria", "sdrm3")
"""The state of the art that the paper compares with; `OTHERS` has FCFS and shortest first too."""

POINTS, FACTOR = 0.10, 4.0
"""What Dysta is said to gain: violations, as a share of the requests, and a factor of ANTT."""

BEHIND_POINTS, BEHIND_FACTOR = 0.01, 1.05
"""How far behind the best other it may fall elsewhere."""

RARE = 0.01
"""Violation rate below which a change of it in per cent says nothing."""

NEAR_POINTS, NEAR_FACTOR = 0.01, 1.10
"""How near its Oracle counts as near."""


class Claim(NamedTuple):
    """A claim of the paper, judged.

    Attributes:
        name: Of its template, ``templates/claims/NAME.md.j2``: what the paper says, what is found,
            what decides, and how it comes out under each way to read it.
        verdict: Whether it holds.
        numbers: What is found and, under ``limits``, what decides.
    """

    name: str
    verdict: Verdict
    numbers: Mapping[str, Any]


Point = tuple[float, str]
"""A number, and where it is found."""


def judge(made: Mapping[str, Result]) -> list[Claim]:
    """The claims that the items in ``made`` allow to judge, by their names."""
    claims = []
    swept = _every_point(made, ("figure14", "figure15"))
    if swept is not None:
        claims += [_violations(swept), _turnaround(swept), _everywhere(swept)]
    points = _every_point(made, ("figure12", "figure14", "figure15"))
    if points is not None:
        claims.append(_near_oracle(points))
    if "figure13" in made:
        claims.append(_monitoring(made["figure13"].findings))
    return claims


def _every_point(made: Mapping[str, Result], names: Sequence[str]) -> pd.DataFrame | None:
    """All points of some figures, each once; None if none is made."""
    frames = [made[name].frame for name in names if name in made]
    return pd.concat(frames).drop_duplicates([*CELL, "policy"]) if frames else None


def _points(frame: pd.DataFrame, metric: str) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Where, and each policy's value, for every condition."""
    for condition, group in frame.groupby(CELL, sort=False):
        scenario, load, _, slo = condition
        where = f"`{scenario}` at load {load:.3g}, SLO x {slo:g}"
        yield where, dict(zip(group["policy"], group[metric], strict=True))


def _extremes(values: Iterable[Point]) -> tuple[Point, Point]:
    """The least and the greatest, and where they are."""
    ordered = sorted(values)
    return ordered[0], ordered[-1]


def _violations(frame: pd.DataFrame) -> Claim:
    points = list(_points(frame, "violation_rate"))
    (lag, behind), lead = _extremes(
        (min(at[p] for p in OTHERS) - at[DYSTA], where) for where, at in points
    )
    _, ahead = _extremes((min(at[p] for p in RIVALS) - at[DYSTA], where) for where, at in points)
    verdict: Verdict = (
        "holds" if lead[0] >= POINTS and lag >= -BEHIND_POINTS
        else "holds in part" if ahead[0] >= POINTS
        else "does not hold"
    )  # fmt: skip
    numbers = {
        "rivals": RIVALS,
        "ahead_of_rivals": ahead,
        "ahead_of_others": lead,
        "behind": (-lag, behind),
        "ahead_of_one": max((at[p] - at[DYSTA], p) for _, at in points for p in RIVALS),
        "alone": {p: max((at[p] - at[DYSTA], where) for where, at in points) for p in RIVALS},
        "relative": max(
            (
                (1 - at[DYSTA] / best, where)
                for where, at in points
                if (best := min(at[p] for p in RIVALS)) >= RARE
            ),
            default=None,
        ),
        "limits": {"points": 100 * POINTS, "behind": 100 * BEHIND_POINTS, "rare": RARE},
    }
    return Claim("violations", verdict, numbers)


def _turnaround(frame: pd.DataFrame) -> Claim:
    points = list(_points(frame, "antt"))
    (lag, behind), lead = _extremes(
        (min(at[p] for p in OTHERS) / at[DYSTA], where) for where, at in points
    )
    _, ahead = _extremes((min(at[p] for p in RIVALS) / at[DYSTA], where) for where, at in points)
    verdict: Verdict = (
        "holds" if lead[0] >= FACTOR and lag >= 1 / BEHIND_FACTOR
        else "holds in part" if ahead[0] >= FACTOR
        else "does not hold"
    )  # fmt: skip
    numbers = {
        "rivals": RIVALS,
        "ahead_of_rivals": ahead,
        "ahead_of_others": lead,
        "behind": (1 / lag, behind),
        "ahead_of_one": max((at[p] / at[DYSTA], p) for _, at in points for p in RIVALS),
        "alone": {p: max((at[p] / at[DYSTA], where) for where, at in points) for p in RIVALS},
        "limits": {"factor": FACTOR, "behind": BEHIND_FACTOR - 1},
    }
    return Claim("turnaround", verdict, numbers)


def widest_lead(frame: pd.DataFrame) -> tuple[str, Mapping[str, float], float]:
    """Where Dysta's ANTT is the most times below the best other's: each ANTT, and its bound."""
    bounds = dict(_points(frame, "antt_lower_bound"))
    where, at = max(
        _points(frame, "antt"), key=lambda point: min(point[1][p] for p in OTHERS) / point[1][DYSTA]
    )
    return where, at, bounds[where][DYSTA]


def _everywhere(frame: pd.DataFrame) -> Claim:
    won: dict[str, Any] = {}
    for scenario, mine in frame.groupby("scenario", sort=False):
        ahead = {
            metric: [
                at[DYSTA] <= min(at[p] for p in OTHERS) for _, at in _points(mine, metric)
            ]
            for metric in METRICS
        }  # fmt: skip
        won[str(scenario)] = {metric: sum(each) for metric, each in ahead.items()}
        won[str(scenario)]["points"] = len(ahead["antt"])
    shares = [each[metric] / each["points"] for each in won.values() for metric in METRICS]
    verdict: Verdict = (
        "holds" if min(shares) == 1 else "holds in part" if max(shares) >= 0.5 else "does not hold"
    )
    return Claim("everywhere", verdict, {"won": won})


def _near_oracle(frame: pd.DataFrame) -> Claim:
    found: dict[str, Any] = {}
    near: list[bool] = []
    for scenario, mine in frame.groupby("scenario", sort=False):
        differences, ratios = _beside_oracle(mine)
        close = [
            abs(difference) <= NEAR_POINTS and 1 / NEAR_FACTOR <= ratio <= NEAR_FACTOR
            for (difference, _), (ratio, _) in zip(differences, ratios, strict=True)
        ]
        near += close
        found[str(scenario)] = {
            "near": sum(close),
            "points": len(close),
            "differences": _extremes(differences),
            "ratios": _extremes(ratios),
        }
    verdict: Verdict = (
        "holds" if all(near) else "holds in part" if 2 * sum(near) >= len(near) else "does not hold"
    )
    limits = {"points": 100 * NEAR_POINTS, "share": NEAR_FACTOR - 1}
    return Claim("near_oracle", verdict, {"beside": found, "limits": limits})


def _beside_oracle(frame: pd.DataFrame) -> tuple[list[Point], list[Point]]:
    """Of one scenario at every point: Dysta's violations less its Oracle's, and ANTT over its."""
    violations = dict(_points(frame, "violation_rate"))
    differences, ratios = [], []
    for where, antt in _points(frame, "antt"):
        short = where.partition(" at ")[2]
        differences.append((violations[where][DYSTA] - violations[where][ORACLE], short))
        ratios.append((antt[DYSTA] / antt[ORACLE], short))
    return differences, ratios


def _monitoring(findings: Findings) -> Claim:
    less = {where: rules[DYSTA]["monitored_less"] for where, rules in findings.items()}
    lower = {
        where: {beside: _lower(each[beside]) for beside in each} for where, each in less.items()
    }
    better = [each["static"] for each in lower.values()]
    best = [each["static"] and each["pattern"] for each in lower.values()]
    verdict: Verdict = "holds" if all(best) else "holds in part" if any(better) else "does not hold"
    return Claim("monitoring", verdict, {"less": less, "lower": lower})


def _lower(gains: Mapping[str, Any]) -> bool:
    """Whether one metric is significantly lower and none significantly higher."""
    changes = [gain["change"] for gain in gains.values() if gain["p"] < ALPHA]
    return bool(changes) and max(changes) < 0
