"""The paper's claims, each judged by a criterion that is stated beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from dysta_gym.comparison import CELL, PAPER_POLICIES
from dysta_gym.reproduction.context import METRICS, Result
from dysta_gym.reproduction.scheduling import ORACLE

Verdict = Literal["holds", "holds in part", "does not hold"]

DYSTA = "dysta"
OTHERS = tuple(policy for policy in PAPER_POLICIES if policy not in (DYSTA, ORACLE))
RIVALS = ("prema", "planaria", "sdrm3")
STATE_OF_THE_ART = "prema, planaria and sdrm3"
"""The state of the art that the paper compares with; `OTHERS` has FCFS and shortest first too."""

POINTS, FACTOR = 0.10, 4.0
"""What Dysta is said to gain: violations, as a share of the requests, and a factor of ANTT."""

BEHIND_POINTS, BEHIND_FACTOR = 0.01, 1.05
"""How far behind the best other it may fall elsewhere."""

NEAR_POINTS, NEAR_FACTOR = 0.01, 1.10
"""How near its Oracle counts as near."""


class Claim(NamedTuple):
    """A claim of the paper beside what is found.

    Attributes:
        paper: What the paper says.
        here: What is found, in numbers.
        verdict: Whether it holds.
        criterion: What decides that.
    """

    paper: str
    here: str
    verdict: Verdict
    criterion: str


SIGNIFICANT = 0.05
"""Greatest p-value of the paired test that counts as a difference."""


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


def _violations(frame: pd.DataFrame) -> Claim:
    points = list(_points(frame, "violation_rate"))
    (lag, behind), (lead, there) = _extremes(
        (min(at[p] for p in OTHERS) - at[DYSTA], where) for where, at in points
    )
    _, (ahead, elsewhere) = _extremes(
        (min(at[p] for p in RIVALS) - at[DYSTA], where) for where, at in points
    )
    most, rival = max((at[p] - at[DYSTA], p) for _, at in points for p in RIVALS)
    verdict: Verdict = (
        "holds" if lead >= POINTS and lag >= -BEHIND_POINTS
        else "holds in part" if ahead >= POINTS
        else "does not hold"
    )  # fmt: skip
    here = (
        f"Against the best of {STATE_OF_THE_ART} at each point: up to {100 * ahead:.1f} points "
        f"lower ({elsewhere}). Against the best of all five others: up to {100 * lead:.1f} points "
        f"lower ({there}), and {_behind(-100 * lag, 'points higher', behind)}. Against one alone: "
        f"up to {100 * most:.1f} points ({rival})."
    )
    criterion = (
        f"Holds if Dysta's violations are {100 * POINTS:g} points below those of the best of the "
        f"five others at some point of Figures 14 and 15, and nowhere more than "
        f"{100 * BEHIND_POINTS:g} point above; in part if they are {100 * POINTS:g} points below "
        f"those of the best of {STATE_OF_THE_ART}."
    )
    return Claim("Dysta lowers violations by up to 10 points against the state of the art.",
                 here, verdict, criterion)  # fmt: skip


def _turnaround(frame: pd.DataFrame) -> Claim:
    points = list(_points(frame, "antt"))
    (lag, behind), (lead, there) = _extremes(
        (min(at[p] for p in OTHERS) / at[DYSTA], where) for where, at in points
    )
    _, (ahead, elsewhere) = _extremes(
        (min(at[p] for p in RIVALS) / at[DYSTA], where) for where, at in points
    )
    most, rival = max((at[p] / at[DYSTA], p) for _, at in points for p in RIVALS)
    verdict: Verdict = (
        "holds" if lead >= FACTOR and lag >= 1 / BEHIND_FACTOR
        else "holds in part" if ahead >= FACTOR
        else "does not hold"
    )  # fmt: skip
    here = (
        f"Against the best of {STATE_OF_THE_ART} at each point: up to {ahead:.2f} times lower "
        f"({elsewhere}). Against the best of all five others: up to {lead:.2f} times lower "
        f"({there}), and {_behind(1 / lag, 'times as high', behind, 1.0)}. Against one alone: up "
        f"to {most:.1f} times ({rival})."
    )
    criterion = (
        f"Holds if Dysta's ANTT is {FACTOR:g} times below that of the best of the five others at "
        f"some point of Figures 14 and 15, and nowhere more than {100 * (BEHIND_FACTOR - 1):.0f} % "
        f"above; in part if it is {FACTOR:g} times below that of the best of {STATE_OF_THE_ART}."
    )
    return Claim("Dysta lowers ANTT by up to 4x against the state of the art.",
                 here, verdict, criterion)  # fmt: skip


def widest_lead(frame: pd.DataFrame) -> tuple[str, Mapping[str, float], float]:
    """Where Dysta's ANTT is the most times below the best other's: each ANTT, and its bound."""
    bounds = dict(_points(frame, "antt_lower_bound"))
    where, at = max(
        _points(frame, "antt"), key=lambda point: min(point[1][p] for p in OTHERS) / point[1][DYSTA]
    )
    return where, at, bounds[where][DYSTA]


def _extremes(values: Iterable[tuple[float, str]]) -> tuple[tuple[float, str], tuple[float, str]]:
    """The least and the greatest, and where they are."""
    ordered = sorted(values)
    return ordered[0], ordered[-1]


def _behind(value: float, unit: str, where: str, even: float = 0.0) -> str:
    return f"at worst {value:.2f} {unit} ({where})" if value > even else "nowhere higher"


def _everywhere(frame: pd.DataFrame) -> Claim:
    parts, shares = [], []
    for scenario, mine in frame.groupby("scenario", sort=False):
        ahead = {
            metric: [
                at[DYSTA] <= min(at[p] for p in OTHERS) for _, at in _points(mine, metric)
            ]
            for metric in METRICS
        }  # fmt: skip
        total = len(ahead["antt"])
        parts.append(
            f"`{scenario}`: least violations at {sum(ahead['violation_rate'])} and least ANTT at "
            f"{sum(ahead['antt'])} of {total} points"
        )
        shares += [sum(won) / total for won in ahead.values()]
    verdict: Verdict = (
        "holds" if min(shares) == 1 else "holds in part" if max(shares) >= 0.5 else "does not hold"
    )
    return Claim(
        "Dysta is the best scheduler but for its Oracle, from tight to loose deadlines and from "
        "low to high arrival rates.",
        "; ".join(parts) + ".",
        verdict,
        "Holds if it is the best, or level, at every point of Figures 14 and 15 in both metrics; "
        "in part if at half of them in one metric of one workload.",
    )


def _near_oracle(frame: pd.DataFrame) -> Claim:
    parts, near = [], []
    for scenario, mine in frame.groupby("scenario", sort=False):
        violations = dict(_points(mine, "violation_rate"))
        points, factors = [], []
        for where, antt in _points(mine, "antt"):
            short = where.partition(" at ")[2]
            points.append((violations[where][DYSTA] - violations[where][ORACLE], short))
            factors.append((antt[DYSTA] / antt[ORACLE], short))
        close = [
            abs(difference) <= NEAR_POINTS and 1 / NEAR_FACTOR <= factor <= NEAR_FACTOR
            for (difference, _), (factor, _) in zip(points, factors, strict=True)
        ]
        near += close
        (less, first), (more, second) = _extremes(points)
        (least, third), (most, fourth) = _extremes(factors)
        parts.append(
            f"`{scenario}`: near at {sum(close)} of {len(close)} points; violations from "
            f"{signed(100 * less)} points ({first}) to {signed(100 * more)} ({second}), ANTT from "
            f"{signed(100 * (least - 1))} % ({third}) to {signed(100 * (most - 1))} % ({fourth})"
        )
    verdict: Verdict = (
        "holds" if all(near) else "holds in part" if 2 * sum(near) >= len(near) else "does not hold"
    )
    return Claim(
        "Dysta is near its Oracle.",
        "Dysta over its Oracle: " + "; ".join(parts) + ".",
        verdict,
        f"Holds if it is within {100 * NEAR_POINTS:g} point of violations and "
        f"{100 * (NEAR_FACTOR - 1):.0f} % of ANTT, to either side, at every point of Figures 12, "
        "14 and 15; in part if at half of them.",
    )


def _monitoring(findings: Mapping[str, Any]) -> Claim:
    parts, better, best = [], [], []
    for where, rules in findings.items():
        gains = rules[DYSTA]["monitored_less"]["static"]
        beyond = rules[DYSTA]["monitored_less"]["pattern"]
        better.append(_lower(gains))
        best.append(_lower(gains) and _lower(beyond))
        scenario, _, rest = where.partition(", ")
        parts.append(
            f"`{scenario}`, {rest}: violations {signed(100 * gains['violation_rate']['change'])} "
            f"points, ANTT {signed(gains['antt']['change'], 2)}, of which beyond knowing the "
            f"pattern {signed(100 * beyond['violation_rate']['change'])} and "
            f"{signed(beyond['antt']['change'], 2)}"
        )
    verdict: Verdict = "holds" if all(best) else "holds in part" if any(better) else "does not hold"
    return Claim(
        "The monitored level adds to the static one.",
        "Dysta monitored less static: " + "; ".join(parts) + ".",
        verdict,
        "Holds if on every workload of Figure 13 monitoring is better than the static level, and "
        "than knowing the pattern alone: one metric significantly lower, and none higher; in part "
        "if it is better than the static level on one.",
    )


def _lower(gains: Mapping[str, Any]) -> bool:
    """Whether one metric is significantly lower and none significantly higher."""
    changes = [gain["change"] for gain in gains.values() if gain["p"] < SIGNIFICANT]
    return bool(changes) and max(changes) < 0


def signed(value: float, digits: int = 1) -> str:
    """With its sign, or 0 without one."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else "0"
