"""The paper's claims, each judged by a criterion that is stated beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import pandas as pd

from dysta_gym.benchmark import CELL, PAPER_POLICIES
from dysta_gym.reproduction.context import Result
from dysta_gym.reproduction.scheduling import ORACLE

Verdict = Literal["holds", "holds in part", "does not hold"]

DYSTA = "dysta"
OTHERS = tuple(policy for policy in PAPER_POLICIES if policy not in (DYSTA, ORACLE))
RIVALS = ("prema", "planaria", "sdrm3")
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


def judge(made: Mapping[str, Result]) -> list[Claim]:
    """The claims that the items in ``made`` allow to judge, by their names."""
    claims = []
    swept = [made[name].frame for name in ("figure14", "figure15") if name in made]
    if swept:
        points = pd.concat(swept).drop_duplicates([*CELL, "policy"])
        claims += [_violations(points), _turnaround(points), _everywhere(points)]
    if "figure12" in made:
        claims.append(_near_oracle(made["figure12"].frame))
    if "figure13" in made:
        claims.append(_monitoring(made["figure13"].findings))
    return claims


def _points(frame: pd.DataFrame, metric: str) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Where, and each policy's value, for every condition."""
    for condition, group in frame.groupby(CELL, sort=False):
        scenario, load, _, slo = condition
        where = f"`{scenario}` at load {load:.3g}, SLO x {slo:g}"
        yield where, dict(zip(group["policy"], group[metric], strict=True))


def _violations(frame: pd.DataFrame) -> Claim:
    points = list(_points(frame, "violation_rate"))
    leads = [(min(at[p] for p in OTHERS) - at[DYSTA], where) for where, at in points]
    against = [(at[p] - at[DYSTA], p, where) for where, at in points for p in RIVALS]
    (lead, there), (lag, behind) = max(leads), min(leads)
    most, rival, elsewhere = max(against)
    verdict: Verdict = (
        "holds" if lead >= POINTS and lag >= -BEHIND_POINTS
        else "holds in part" if most >= POINTS
        else "does not hold"
    )  # fmt: skip
    here = (
        f"Against the best of the five others at each point: at most {100 * lead:.1f} points lower "
        f"({there}), and {_behind(-100 * lag, 'points higher', behind)}. Against one of "
        f"{', '.join(RIVALS)}: up to {100 * most:.1f} points lower ({rival}, {elsewhere})."
    )
    criterion = (
        f"Holds if Dysta's violations are {100 * POINTS:g} points below the best other's at some "
        f"point of Figures 14 and 15 and nowhere more than {100 * BEHIND_POINTS:g} point above; in "
        f"part if they are {100 * POINTS:g} points below those of one of {', '.join(RIVALS)}."
    )
    return Claim("Dysta lowers violations by up to 10 points against the state of the art.",
                 here, verdict, criterion)  # fmt: skip


def _turnaround(frame: pd.DataFrame) -> Claim:
    points = list(_points(frame, "antt"))
    factors = [(min(at[p] for p in OTHERS) / at[DYSTA], where) for where, at in points]
    against = [(at[p] / at[DYSTA], p, where) for where, at in points for p in RIVALS]
    (lead, there), (lag, behind) = max(factors), min(factors)
    most, rival, elsewhere = max(against)
    verdict: Verdict = (
        "holds" if lead >= FACTOR and lag >= 1 / BEHIND_FACTOR
        else "holds in part" if most >= FACTOR
        else "does not hold"
    )  # fmt: skip
    here = (
        f"Against the best of the five others at each point: at most {lead:.2f} times lower "
        f"({there}), and {_behind(1 / lag, 'times as high', behind, 1.0)}. Against one of "
        f"{', '.join(RIVALS)}: up to {most:.1f} times lower ({rival}, {elsewhere})."
    )
    criterion = (
        f"Holds if Dysta's ANTT is {FACTOR:g} times below the best other's at some point of "
        f"Figures 14 and 15 and nowhere more than {100 * (BEHIND_FACTOR - 1):.0f} % above; in part "
        f"if it is {FACTOR:g} times below that of one of {', '.join(RIVALS)}."
    )
    return Claim("Dysta lowers ANTT by up to 4x against the state of the art.",
                 here, verdict, criterion)  # fmt: skip


def _behind(value: float, unit: str, where: str, even: float = 0.0) -> str:
    return f"at worst {value:.2f} {unit} ({where})" if value > even else "nowhere higher"


def _everywhere(frame: pd.DataFrame) -> Claim:
    parts, shares = [], []
    for scenario, mine in frame.groupby("scenario", sort=False):
        ahead = {
            metric: [
                at[DYSTA] <= min(at[p] for p in OTHERS) for _, at in _points(mine, metric)
            ]
            for metric in ("violation_rate", "antt")
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
    violations = dict(_points(frame, "violation_rate"))
    for where, antt in _points(frame, "antt"):
        rate = violations[where]
        difference, factor = rate[DYSTA] - rate[ORACLE], antt[DYSTA] / antt[ORACLE]
        near.append(
            abs(difference) <= NEAR_POINTS and 1 / NEAR_FACTOR <= factor <= NEAR_FACTOR
        )  # fmt: skip
        parts.append(
            f"{where}: violations {signed(100 * difference)} points, ANTT "
            f"{signed(100 * (factor - 1))} %"
        )
    verdict: Verdict = (
        "holds" if all(near) else "holds in part" if any(near) else "does not hold"
    )  # fmt: skip
    return Claim(
        "Dysta is near its Oracle.",
        "Dysta over its Oracle: " + "; ".join(parts) + ".",
        verdict,
        f"Holds if it is within {100 * NEAR_POINTS:g} point of violations and "
        f"{100 * (NEAR_FACTOR - 1):.0f} % of ANTT at every point of Figure 12; in part if at one.",
    )


def _monitoring(findings: Mapping[str, Any]) -> Claim:
    parts, better, best = [], [], []
    for where, rules in findings.items():
        gains = rules[DYSTA]["monitored_less"]["static"]
        beyond = rules[DYSTA]["monitored_less"]["pattern"]
        better.append(_lower(gains))
        best.append(_lower(gains) and _lower(beyond))
        parts.append(
            f"{where}: violations {signed(100 * gains['violation_rate']['change'])} points, ANTT "
            f"{signed(gains['antt']['change'], 2)}, of which beyond knowing the pattern "
            f"{signed(100 * beyond['violation_rate']['change'])} and "
            f"{signed(beyond['antt']['change'], 2)}"
        )
    verdict: Verdict = "holds" if all(best) else "holds in part" if any(better) else "does not hold"
    return Claim(
        "The monitored level adds to the static one.",
        "Dysta monitored less static: " + "; ".join(parts) + ".",
        verdict,
        "Holds if on every workload of Figure 13 monitoring is better than the static level, and "
        "than knowing the pattern alone: one metric lower, its 95 % interval below 0, and none "
        "higher; in part if it is better than the static level on one.",
    )


def _lower(gains: Mapping[str, Any]) -> bool:
    """Whether one metric is surely lower and none surely higher."""
    return any(gain["high"] < 0 for gain in gains.values()) and not any(
        gain["low"] > 0 for gain in gains.values()
    )


def signed(value: float, digits: int = 1) -> str:
    """With its sign, and 0 without."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else "0"
