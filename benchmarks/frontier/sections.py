"""The generated sections of docs/frontier.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.episodes import Compiled
from benchmarks.frontier.conditions import FIRST_SEED, SYNTHETIC, TIGHT
from benchmarks.frontier.judging import (
    AHEAD,
    BEHIND,
    LEAST_RATE,
    LEVEL,
    NEAR_ANTT,
    NEAR_LATE,
    REFERENCE,
    Board,
    Floats,
    Where,
    hypervolume,
    least_late_at,
    mean_hypervolume,
    verdicts,
    with_hypervolume,
)
from benchmarks.frontier.measuring import AGENTS, RULES, Family
from benchmarks.named import POISSON
from benchmarks.page import Goal, Section, short
from benchmarks.timing import race, spread_of
from dysta_gym.agents.recipes import PENALTY
from dysta_gym.comparison import CELL
from dysta_gym.policies import find
from dysta_gym.tables import markdown
from dysta_gym.workloads import generate, load_scenario

MAIN = ("deployments", "paper")
"""The tracks whose hypervolume is judged."""

LEAST_HYPERVOLUME, MOST_OVER_BOUND, LEAST_GAIN, LEAST_SPEED = 0.60, 1.30, 0.03, 0.5
"""The goals."""

LEAST_BOUND = 0.001
"""Lower bounds on the violation rate below which nobody is compared with them."""

MOST_ROWS = 40
"""Rows of a list of losses; all of them are in the CSV beside the page."""


@dataclass(frozen=True)
class Measured:
    """All that is judged.

    Attributes:
        boards: By the name of the part.
        judged: The family that is judged.
        families: All families, the judged one among them.
    """

    boards: Mapping[str, Board]
    judged: Family
    families: tuple[Family, ...]

    @property
    def rules(self) -> list[str]:
        """The names of the rules in tables."""
        return [find(name).spec for name in RULES]

    @property
    def agents(self) -> list[str]:
        """The names of the agents in tables."""
        return [find(name).spec for name in AGENTS]

    @property
    def main(self) -> list[Board]:
        """The boards whose hypervolume is judged, as far as they were measured."""
        return [self.boards[name] for name in MAIN if name in self.boards]

    @property
    def tracks(self) -> dict[str, Board]:
        """The boards of tracks."""
        return {
            name: each for name, each in self.boards.items() if name not in ("deadlines", "made-up")
        }


def said(where: Sequence[object]) -> list[str]:
    """A condition in three cells."""
    scenario, load, _, slo = where
    return [str(scenario), f"{load:.3g}", f"{slo:g}"]


def pair(late: float, antt: float) -> str:
    """Violations in per cent / ANTT."""
    return f"{100 * late:.2f} / {antt:.2f}"


def judged_conditions(boards: Sequence[Board]) -> int:
    """In how many conditions of boards there is a hypervolume."""
    return sum(len(with_hypervolume(each)) for each in boards)


def mean_of_limits(boards: Sequence[Board]) -> tuple[float, float]:
    """Mean hypervolumes of both lower bounds at once, and of what a planner reaches.

    That is the violations of the schedule in hindsight at the ANTT of `REFERENCE`.
    """
    found = []
    for board in boards:
        late, antt = (each[board.at([REFERENCE])[0]] for each in board.means)
        least, quickest = board.bound("violation_rate"), board.bound("antt")
        reached = board.bounds["violation_rate_in_hindsight"].mean(axis=1)
        found += [
            [
                hypervolume(violations[[at]], turnaround[[at]], (late[at], antt[at]))
                for violations, turnaround in ((least, quickest), (reached, antt))
            ]
            for at in with_hypervolume(board)
        ]
    both, planned = np.mean(found, axis=0)
    return float(both), float(planned)


def hypervolume_section(measured: Measured) -> Section:
    """Hypervolume of the rules, the agents, the families, and everything."""
    sets = {
        f"rules that were not learned ({len(measured.rules)})": measured.rules,
        "the agents as points (" + ", ".join(f"`{name}`" for name in AGENTS) + ")": measured.agents,
        **{
            f"`{family.name}`, {family.parameter} {_values(family)}": family.names
            for family in measured.families
        },
    }
    everything = list(dict.fromkeys(name for names in sets.values() for name in names))
    sets[f"everything together ({len(everything)})"] = everything
    columns: dict[str, list[Board]] = {" and ".join(MAIN): measured.main}
    columns |= {name: [each] for name, each in measured.tracks.items() if name not in MAIN}
    if "deadlines" in measured.boards:
        tight = measured.boards["deadlines"].only(lambda where: where[3] in TIGHT)
        columns["SLO x 2, 3, 5"] = [tight]
        columns["SLO x 10"] = [measured.boards["deadlines"].only(lambda where: where[3] == 10)]
    if "made-up" in measured.boards:
        columns["made-up networks"] = [measured.boards["made-up"]]
    columns = {name: each for name, each in columns.items() if judged_conditions(each)}
    rows, reached = [], {}
    for told, names in sets.items():
        cells = []
        for column, boards in columns.items():
            mean, half = mean_hypervolume(boards, names)
            cells.append(f"{mean:.3f}" + (f" ± {half:.3f}" if half == half else ""))
            reached[told, column] = mean
        rows.append([told, *cells])
    limits = [mean_of_limits(boards) for boards in columns.values()]
    for at, told in enumerate(
        ("(both lower bounds at once)", f"(violations in hindsight, ANTT of `{REFERENCE}`)")
    ):
        rows.append([told, *(f"{each[at]:.3f}" for each in limits)])
    heads = [f"{name} ({judged_conditions(boards)})" for name, boards in columns.items()]
    section = Section("Hypervolume")
    section.text = [
        "The share that is covered of the box from 0 to 1.1 of the violations of "
        f"`{REFERENCE}` and from 0.98 to 1.2 of its ANTT: of all points at least as good in both "
        "as a member of the set, means over seeds. Averaged over the conditions (their number in "
        f"brackets) in which that rule has {LEAST_RATE:.1%} violations or more. 95 % intervals by "
        "leaving out one seed at a time. A set is the better the more members it has, and what it "
        "has is chosen after the fact, by the same seeds.",
        markdown(["set", *heads], rows),
    ]
    if measured.main:
        mine = f"`{measured.judged.name}`, {measured.judged.parameter} {_values(measured.judged)}"
        found = reached[mine, " and ".join(MAIN)]
        section.goals.append(
            Goal(
                f"hypervolume of `{measured.judged.name}` on the tracks {' and '.join(MAIN)} at "
                f"least {LEAST_HYPERVOLUME:.2f}",
                f"{found:.3f}",
                found >= LEAST_HYPERVOLUME,
            )
        )
    return section


def _values(family: Family) -> str:
    return ", ".join(f"{value:g}" for value in family.values)


def dominance(measured: Measured) -> pd.DataFrame:
    """The judged family against every rule in every condition, with a column ``part``."""
    found = []
    for name, each in measured.boards.items():
        part = verdicts(each, measured.judged.names, measured.rules)
        part.insert(0, "part", name)
        found.append(part)
    return pd.concat(found, ignore_index=True)


def dominance_section(measured: Measured, found: pd.DataFrame) -> Section:
    """Whether the judged family has, for every rule in every condition, a member not worse."""
    name, parameter = measured.judged.name, measured.judged.parameter
    on_tracks = found[found["part"].isin(measured.tracks)]
    section = Section("Against every rule in every condition")
    rows = []
    for part, own in found.groupby("part", sort=False):
        counts = own["outcome"].value_counts()
        rows.append(
            [
                part,
                own.groupby(CELL).ngroups,
                own.groupby(CELL)["outcome"].apply(lambda each: (each != BEHIND).all()).sum(),
                len(own),
                *(int(counts.get(outcome, 0)) for outcome in (AHEAD, LEVEL, BEHIND)),
                int((own["near"] & (own["outcome"] == BEHIND)).sum()),
                int(own["in_the_mean"].sum()),
            ]
        )
    lost = on_tracks[on_tracks["outcome"] == BEHIND]
    section.text = [
        f"For each of the {len(measured.rules)} rules that were not learned and do not know the "
        f"future, at their levels, in each condition: is there a value of `{parameter}` at which "
        f"`{name}` is not worse on either axis by more than noise, and better on one? Noise is the "
        "95 % interval of the mean paired difference, seed by seed, Student's with its skewness "
        "taken out (docs/statistics.md), axis by axis, and not adjusted for how many are asked. "
        "*ahead*: not worse on either beyond noise, better on one beyond noise; *level*: not worse "
        "beyond noise, and no better than noise; *behind*: at every value worse on one; *by "
        f"little*: of these, those where a value is worse by {100 * NEAR_LATE:g} points of per "
        f"cent and {NEAR_ANTT:.1%} of ANTT at most, for paired differences over many workloads are "
        "told from nothing however small. *in the mean*: means alone, however little: not worse on "
        "either, and better on one.",
        markdown(
            [
                "part",
                "conditions",
                "behind nobody",
                "pairs",
                AHEAD,
                LEVEL,
                BEHIND,
                "by little",
                "in the mean",
            ],
            rows,
        ),
    ]
    section.text += losses(found, "Every pair is in [losses.csv](frontier/losses.csv).")
    section.goals.append(
        Goal(
            f"in every condition of every track, for every rule, `{name}` is at some value of "
            f"`{parameter}` not worse on both axes by more than noise, and better on one",
            f"behind in {len(lost)} of {len(on_tracks)} pairs, in "
            f"{lost.groupby(CELL).ngroups if len(lost) else 0} of "
            f"{on_tracks.groupby(CELL).ngroups} conditions; level, and better only within noise or "
            f"equal, in {(on_tracks['outcome'] == LEVEL).sum()}",
            lost.empty,
        )
    )
    return section


def losses(found: pd.DataFrame, more: str = "") -> list[str]:
    """To whom a family loses: by rule, and by condition."""
    lost = found[found["outcome"] == BEHIND]
    if lost.empty:
        return [f"It is behind nobody. {more}".strip()]
    head = ["violations at its ANTT", "ANTT at its violations"]
    by_rule = [
        [
            f"`{rule}`",
            len(own),
            _points(own["late_at_its_antt"].max()),
            _share(own["antt_at_its_late"].max()),
            ", ".join(sorted({str(each) for each in own["scenario"]})[:4]),
        ]
        for rule, own in sorted(
            lost.groupby("policy"), key=lambda item: (-len(item[1]), str(item[0]))
        )
    ]
    groups = sorted(
        lost.groupby(["part", *CELL], sort=False),
        key=lambda item: -item[1]["late_at_its_antt"].fillna(0).max(),
    )
    rows = []
    for (part, *where), own in groups[:MOST_ROWS]:
        cells = [part, *said(where), len(own)]
        for column, show in (("late_at_its_antt", _points), ("antt_at_its_late", _share)):
            known = own[own[column].notna()]
            if known.empty:
                cells += ["-"]
                continue
            worst = known.loc[known[column].idxmax()]
            its = pair(worst["late"], worst["antt"])
            cells += [f"{show(worst[column])} to `{worst['policy']}` ({its})"]
        rows.append(cells)
    shown = f"the {len(rows)} worst of {len(groups)}" if len(groups) > len(rows) else "all of them"
    return [
        "To whom: how many more violations (points of per cent) it has at the best value whose "
        "ANTT is not above the rule's by more than noise, and how much more ANTT at the best whose "
        "violations are not, the most in any condition; a dash where there is no such value.",
        markdown(["rule", "conditions", *head, "scenarios, some"], by_rule),
        f"In which conditions, {shown}: behind how many rules, and the most of both, with what "
        f"that rule reaches there. {more}".strip(),
        markdown(["part", "scenario", "load", "SLO x", "rules", *head], rows, words=2),
    ]


def _points(rate: float) -> str:
    return "-" if rate != rate else f"{100 * rate:+.2f}"


def _share(share: float) -> str:
    return "-" if share != share else f"{100 * share:+.1f} %"


def tight_section(measured: Measured, found: pd.DataFrame) -> Section:
    """SLO multipliers 2, 3 and 5."""
    section = Section("At tight deadlines")
    own = found[(found["part"] == "deadlines") & found["slo"].isin(TIGHT)]
    if own.empty:
        return section
    board, name = measured.boards["deadlines"], measured.judged.name
    late, antt = board.means
    members = board.at(measured.judged.names)
    rows = []
    for condition, part in own.groupby(CELL, sort=False):
        at = board.conditions.index(condition)
        fewest, quickest = (members[int(np.argmin(each[members, at]))] for each in (late, antt))
        lost = part[part["undercut"]].sort_values("late_at_its_antt", ascending=False)
        told = [f"`{row.policy}` {_points(row.late_at_its_antt)}" for row in lost.itertuples()]
        rows.append(
            [
                *said(condition),
                *(pair(late[each, at], antt[each, at]) for each in (quickest, fewest)),
                *(pair(late[each, at], antt[each, at]) for each in board.at(measured.agents[:2])),
                ", ".join(told[:3]) + (f", {len(told) - 3} more" if len(told) > 3 else ""),
            ]
        )
    count, beaten = len(rows), sum(bool(row[-1]) for row in rows)
    section.text = [
        f"The seven scenarios that rules were tuned in, at SLO multipliers 2, 3 and 5: `{name}` at "
        "its least ANTT and at its fewest violations (per cent / ANTT), two agents, and the rules "
        f"that have fewer violations, by more than noise, than `{name}` at every value whose ANTT "
        "is not above theirs by more than noise, with how many more it has at the best of these.",
        markdown(
            ["scenario", "load", "SLO x", f"`{name}`, least ANTT", "fewest violations",
             *(f"`{each}`" for each in AGENTS[:2]), "rules with fewer at no more ANTT"],
            rows,
        ),
    ]  # fmt: skip
    section.goals.append(
        Goal(
            "at SLO multipliers 2, 3 and 5 no rule has fewer violations at no more ANTT",
            f"some rule has in {beaten} of {count} conditions",
            not beaten,
        )
    )
    return section


def bounds_section(measured: Measured) -> Section:
    """How far violations are above their lower bound, and what both goals cost together."""
    section = Section("Above the lower bound, and both goals in one number")
    if "deadlines" in measured.boards:
        board = measured.boards["deadlines"].only(
            lambda where: where[3] == 10 and where[0] in POISSON
        )
        bound = board.bound("violation_rate")
        board = board.only(lambda where: bound[board.conditions.index(where)] >= LEAST_BOUND)
        if board.conditions:  # a few workloads may have nobody who has to be late
            section.text += _over_bound(measured, board, section)
    section.text += _cost(measured, section)
    section.title = section.title if section.text else ""
    return section


def _over_bound(measured: Measured, board: Board, section: Section) -> list[str]:
    late, antt = board.means
    bound = board.bound("violation_rate")
    reached = board.bounds["violation_rate_in_hindsight"].mean(axis=1)
    (evolved,) = board.at([find("evolved").spec])
    curve = {
        family.name: np.array(
            [
                least_late_at(
                    late[board.at(family.names), at], antt[board.at(family.names), at],
                    antt[evolved, at],
                )
                for at in range(len(board.conditions))
            ]
        )
        for family in measured.families
    }  # fmt: skip
    points = ["dysta@sized/kalman", *measured.agents]
    head = [
        "scenario", "load", "SLO x", "lower bound", "in hindsight", "ANTT of `evolved`",
        *(f"`{each}` there" for each in curve), *(f"`{each}`" for each in points),
    ]  # fmt: skip
    rows: list[list[str]] = [
        [
            *said(where),
            *(f"{100 * each[at]:.2f}" for each in (bound, reached)),
            f"{antt[evolved, at]:.2f}",
            *(f"{100 * each[at]:.2f}" for each in curve.values()),
            *(f"{100 * late[each, at]:.2f}" for each in board.at(points)),
        ]
        for at, where in enumerate(board.conditions)
    ]
    total = bound.sum()
    rows.append(
        [
            "sum over sum of bounds", "", "", "1", f"{reached.sum() / total:.2f}", "",
            *(f"{each.sum() / total:.2f}" for each in curve.values()),
            *(f"{late[each].sum() / total:.2f}" for each in board.at(points)),
        ]
    )  # fmt: skip
    found = curve[measured.judged.name].sum() / total
    section.goals.append(
        Goal(
            f"violations of `{measured.judged.name}` at most {MOST_OVER_BOUND:.2f} times the lower "
            "bound at the ANTT of `evolved`, summed over conditions",
            f"{found:.2f} times, over {len(board.conditions)} conditions",
            bool(found <= MOST_OVER_BOUND),
        )
    )
    return [
        "Violations in per cent at the ANTT that `evolved` has, on the straight line between the "
        "neighbouring values of the parameter, beside what no schedule beats and what one reaches "
        "in hindsight. The conditions: the five scenarios with Poisson arrivals at loads 0.8, 0.95 "
        "and 1.05 and SLO multiplier 10 in which the bound is 0.1 % or more. (The other two are "
        "judged elsewhere: in `arvr-hands` nobody is late at ten periods, and in "
        "`language-bursts` the queue is full, of which the bound knows nothing.)",
        markdown(head, rows),
    ]


def cost(board: Board, names: Sequence[str]) -> Floats:
    """ANTT + `PENALTY` V, means over seeds, shape ``(policies, conditions)``."""
    late, antt = board.means
    chosen = board.at(names)
    costs: Floats = antt[chosen] + PENALTY * late[chosen]
    return costs


def _cost(measured: Measured, section: Section) -> list[str]:
    boards = {"deployments": "deployments", "paper": "paper", "SLO x 10": "deadlines"}
    chosen = {
        told: measured.boards[part] for told, part in boards.items() if part in measured.boards
    }
    if "SLO x 10" in chosen:
        chosen["SLO x 10"] = chosen["SLO x 10"].only(lambda where: where[3] == 10)
    if not chosen:
        return []
    against = [find("evolved").spec]

    def ratios(names: Sequence[str], boards: Sequence[Board]) -> Floats:
        return np.concatenate([cost(each, names) / cost(each, against) for each in boards], axis=1)

    main = [each for told, each in chosen.items() if told != "SLO x 10"] or [*chosen.values()]
    rows = []
    for told, names in {
        **{f"`{name}`": [name] for name in (REFERENCE, *measured.agents)},
        "the best rule of each condition": measured.rules,
    }.items():
        rows.append(
            [told, *(f"{ratios(names, [each]).min(axis=0).mean():.3f}" for each in chosen.values())]
        )
    best = {}
    for family in measured.families:
        means = ratios(family.names, main).mean(axis=1)
        at = int(np.argmin(means))
        best[family.name] = means[at]
        for told, names in (
            (f"`{family.names[at]}`, the best value for all", [family.names[at]]),
            (f"`{family.name}`, the best value of each condition", family.names),
        ):
            means_of = [ratios(names, [each]).min(axis=0).mean() for each in chosen.values()]
            rows.append([told, *(f"{mean:.3f}" for mean in means_of)])
    found = best[measured.judged.name]
    section.goals.append(
        Goal(
            f"ANTT + {PENALTY:g} V of `{measured.judged.name}`, at one value for all conditions, "
            f"{100 * LEAST_GAIN:g} % below `evolved`",
            f"{100 * (1 - found):.1f} % below",
            bool(found <= 1 - LEAST_GAIN),
        )
    )
    return [
        f"ANTT + {PENALTY:g} V (V the violation rate, from 0 to 1) over that of `evolved`, means "
        "over the conditions of the tracks, and over the scenarios that rules were tuned in, at "
        "loads 0.8, 0.95 and 1.05 and SLO multiplier 10:",
        markdown(["", *chosen], rows),
    ]


def robustness_section(measured: Measured) -> Section:
    """Networks that nobody trained on, and such as nobody has."""
    section = Section("Networks that nobody trained on")
    parts = [name for name in ("made-up", "unseen-networks") if name in measured.boards]
    if not parts:
        section.title = ""
        return section
    name, rows, worse, unreached = measured.judged.name, [], 0, 0
    for part in parts:
        board = measured.boards[part]
        late, antt = board.means
        (base,) = board.at([REFERENCE])
        found = verdicts(board, measured.judged.names, [REFERENCE])
        for at, row in enumerate(found.itertuples()):
            more = row.late_at_its_antt
            unreached += more != more
            worse += row.undercut and more == more
            rows.append(
                [
                    *said(board.conditions[at]),
                    pair(late[base, at], antt[base, at]),
                    "-" if more != more else f"{100 * (row.late + more):.2f}",
                    *(pair(late[each, at], antt[each, at]) for each in board.at(measured.agents)),
                    row.outcome,
                ]
            )
    section.text = [
        "Made-up networks, which are drawn with a seed of their own "
        "(`benchmarks/frontier/conditions.py`): `" + SYNTHETIC[0] + "`, three networks of 200 "
        "small layers each, whose inputs take 1 to 86 times the least latency by Pareto's law "
        f"with exponent 1.5; `{SYNTHETIC[1]}` and `{SYNTHETIC[2]}`, three networks whose latencies "
        "are as 1, 31.6 and 1000, asked for equally often, or the large ones 13 and 178 times less "
        "often. Then the track of unseen networks. Violations (per cent) and ANTT; "
        f"`{name}` at the value with the fewest violations whose ANTT is not above that of "
        f"`{REFERENCE}` by more than noise (a dash where there is none), and how it "
        "stands to that rule.",
        markdown(
            ["scenario", "load", "SLO x", f"`{REFERENCE}`", f"`{name}` at its ANTT",
             *(f"`{each}`" for each in AGENTS), "outcome"],
            rows,
        ),
    ]  # fmt: skip
    section.goals.append(
        Goal(
            f"on unseen and made-up networks never more violations than `{REFERENCE}` at its ANTT",
            f"more, beyond noise, in {worse} of {len(rows)} conditions; in {unreached} its ANTT is "
            "not reached, within noise",
            not worse and not unreached,
        )
    )
    return section


def speed_section(family: Family, seconds: float = 5.0, requests: int = 1000) -> Section:
    """Decisions a second beside those of ``ppo``, in turns."""
    rows, timings, ratios = [], [], []
    for scenario, load in (("multi-attnn", 0.95), ("multi-attnn", 1.05), ("multi-cnn", 0.95)):
        varied = load_scenario(scenario).varied(load=load, requests=requests)
        workload = generate(varied, FIRST_SEED, split="test")
        sides = {
            "judged": Compiled(workload, family.close(0.5)),
            "ppo": Compiled(workload, find("ppo")),
        }
        for side in sides.values():
            side()
        timing = race(sides, seconds / 3, rounds=3)
        timings += timing.values()
        speed = {
            each: sides[each].schedule.asked / timing[each].fastest for each in ("judged", "ppo")
        }
        ratios.append(speed["judged"] / speed["ppo"])
        rows.append(
            [scenario, f"{load:g}", short(speed["judged"]), short(speed["ppo"]),
             f"{ratios[-1]:.2f}"]
        )  # fmt: skip
    section = Section("Speed")
    section.text = [
        f"Decisions a second in whole episodes of the compiled loop, on one core, `{family.name}` "
        "and `ppo` in turns in one process; a decision scores the whole queue. "
        + spread_of(timings),
        markdown(["scenario", "load", f"`{family.name}`", "`ppo`", "ratio"], rows),
    ]
    section.goals.append(
        Goal(
            f"compiled scores of `{family.name}` at no less than {LEAST_SPEED:g} of the speed of "
            "`ppo`",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            min(ratios) >= LEAST_SPEED,
        )
    )
    return section


def where_of(board: Board) -> list[Where]:
    """The conditions of a board in which anybody is late, the most by `REFERENCE` first."""
    late = board.means[0][board.at([REFERENCE])[0]]
    return [
        board.conditions[at] for at in sorted(with_hypervolume(board), key=lambda at: -late[at])
    ]
