"""What rollouts see that a score did not: a section of docs/frontier.md.

    python -m benchmarks.frontier.teacher [--base POLICY] ...

The teacher is `rollout` over a learned score, its base. In states that the base gets into, it says
which request it would run instead, and what that is worth; the section says how often that is, what
those requests have in common, and how much of it a score could have known.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.frontier.looking import (
    CLIP,
    KINDS,
    VISIBLE,
    Played,
    Seen,
    comparisons,
    differences,
    kinds,
    look,
    picked,
    play,
    ratio,
    scores,
    worth_of,
)
from benchmarks.named import LOADS, POISSON
from benchmarks.page import duration, wrapped
from benchmarks.readme import between
from dysta_gym.agents.checkpoints import trained
from dysta_gym.agents.recipes import PENALTY
from dysta_gym.compiled.records import Floats
from dysta_gym.errors import DystaError
from dysta_gym.features import TABLE
from dysta_gym.policies import Policy, find
from dysta_gym.rollouts import PARAMETERS, over
from dysta_gym.statistics import mean_interval
from dysta_gym.tables import markdown
from dysta_gym.workloads import generate, load_scenario

PAGE = Path("docs/frontier.md")
BEGIN, END = "<!-- teacher: make teacher -->\n", "<!-- /teacher -->"

BASES = ("evolved", "pareto")

FIRST_SEED = 910_000
DEADLINES = (3.0, 10.0)


@dataclass(frozen=True)
class Size:
    """How much is looked at.

    Attributes:
        seeds: Workloads of each condition.
        requests: Requests of each.
        every: Of the events at which two or more requests wait, one in so many is a state.
    """

    seeds: int = 2
    requests: int = 1000
    every: int = 20


class Where(NamedTuple):
    """A condition."""

    scenario: str
    load: float
    slo_multiplier: float


CONDITIONS = tuple(
    Where(name, load, slo) for name in POISSON for load in LOADS for slo in DEADLINES
)


def percent(found: tuple[float, float], places: int = 1) -> str:
    """``12.3 ± 0.4``, of shares."""
    return number((100 * found[0], 100 * found[1]), places)


def number(found: tuple[float, float], places: int = 2, sign: str = "") -> str:
    """``1.23 ± 0.45``; a dash where there is nothing."""
    value, half = found
    if value != value:
        return "-"
    return f"{value:{sign}.{places}f}" + (f" ± {half:.{places}f}" if half == half else "")


def within(values: Floats) -> str:
    """The mean of paired shares over workloads, in per cent, and its interval."""
    low, high = mean_interval(values[None])
    ends = f" [{100 * low[0]:.1f}, {100 * high[0]:.1f}]" if low[0] == low[0] else ""
    return f"{100 * values.mean():.1f}{ends}"


def where_table(seen: Seen, own: Played, taught: Played, conditions: Sequence[Where]) -> str:
    """How often it departs, what it gains, and what the policy reaches, by parts of conditions."""
    saved = 1 - taught.cost / own.cost
    groups: dict[str, list[bool]] = {"all": [True] * len(conditions)}
    for name in dict.fromkeys(each.scenario for each in conditions):
        groups[name] = [each.scenario == name for each in conditions]
    for load in dict.fromkeys(each.load for each in conditions):
        groups[f"load {load:g}"] = [each.load == load for each in conditions]
    for slo in dict.fromkeys(each.slo_multiplier for each in conditions):
        groups[f"SLO x {slo:g}"] = [each.slo_multiplier == slo for each in conditions]
    rows = []
    for told, kept in groups.items():
        within_group = np.array(kept)[seen.workload]
        workload, departs = seen.workload[within_group], seen.departs[within_group] * 1.0
        gained, at = seen.gained[within_group], np.array(kept)
        rows.append(
            [
                told,
                f"{len(workload):,}",
                percent(ratio(departs, np.ones(len(departs)), workload)),
                number(ratio(gained, departs, workload)),
                number(ratio(gained, np.ones(len(departs)), workload), 3),
                f"{100 * own.late[at].mean():.2f} / {own.antt[at].mean():.2f}",
                f"{100 * taught.late[at].mean():.2f} / {taught.antt[at].mean():.2f}",
                within(saved[at]),
            ]
        )
    return markdown(
        ["conditions", "states", "departs (%)", "gain of a departure", "gain of a decision",
         "base: violations / ANTT", "`rollout`", f"less ANTT + {PENALTY:g} V (%)"],
        rows,
    )  # fmt: skip


def kinds_table(seen: Seen) -> str:
    """What departures do."""
    which, departs = kinds(seen), seen.departs
    workload, gained = seen.workload[departs], seen.gained[departs]
    in_time, one = seen.in_time[departs], np.ones(len(which))
    rows = []
    for at, told in enumerate(KINDS):
        own = (which == at) * 1.0
        rows.append(
            [
                told,
                percent(ratio(own, one, workload)),
                number(ratio(gained * own, own, workload)),
                number(ratio(in_time * own, own, workload)),
                percent(ratio(gained * own, gained, workload)),
            ]
        )
    rows.append(
        ["all", "100", number(ratio(gained, one, workload)),
         number(ratio(in_time, one, workload)), "100"]
    )  # fmt: skip
    head = ["kind", "departures (%)", "gain of one", "of it by fewer late", "of the gain (%)"]
    return markdown(head, rows)


def features_table(seen: Seen, names: Sequence[str]) -> str:
    """How the teacher's choices differ."""
    rows = []
    for each in differences(seen):
        meaning = TABLE.find(each.name).meaning
        rows.append(
            [
                f"`{each.name}`",
                meaning,
                "yes" if each.name in names else "no",
                number(each.of_base, sign="+"),
                number(each.of_others, sign="+"),
            ]
        )
    head = ["feature", "meaning", "the base sees it", "from the base's choice", "from the others"]
    return markdown(head, rows, words=3)


def scores_table(seen: Seen, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """How much of the gain is to be had from features; and the shares in per cent, by name."""
    every, rows, shares = VISIBLE.names, [], {}
    for told, terms in (
        ("a score of what the base sees", scores(seen, names)),
        ("a score of all features", scores(seen, every)),
        ("a comparison by what the base sees", comparisons(seen, names)),
        ("a comparison by all features", comparisons(seen, every)),
    ):
        picks = picked(seen, terms)
        found = worth_of(seen, picks)
        shares[told] = percent(found)
        one = np.ones(len(picks))
        rows.append(
            [told, f"{terms.shape[-1]:,}", percent(ratio((picks > 0) * 1.0, one, seen.workload)),
             percent(found)]
        )  # fmt: skip
    one = np.ones(len(seen.chosen))
    departs = percent(ratio(seen.departs * 1.0, one, seen.workload))
    rows.append(["the teacher, in futures", "", departs, "100"])
    return markdown(["chosen by", "terms", "departs (%)", "of the gain (%)"], rows), shares


def base_part(
    base: Policy, seen: Seen, own: Played, taught: Played, conditions: Sequence[Where]
) -> str:
    """The page's part of a base."""
    network = trained(base)
    names = network.seen.names if network else ()
    departs, gained = seen.departs, seen.gained[seen.departs]
    one = np.ones(len(seen.chosen))
    share = percent(ratio(departs * 1.0, one, seen.workload))
    kept = ratio((gained > 0) * 1.0, np.ones(len(gained)), seen.workload[departs])
    by_score, shares = scores_table(seen, names)
    alone, whole = (shares[f"a score of {what}"] for what in ("what the base sees", "all features"))
    more = shares["a comparison by all features"]
    saved = within(1 - taught.cost / own.cost)
    return "\n\n".join(
        [
            f"### Over `{base.spec}`",
            wrapped(
                f"In {share} % of {len(departs):,} decisions the teacher runs another request than "
                f"`{base.name}`; in the futures that it did not choose by, {percent(kept)} % of "
                "these choices cost less than the base's. As a policy it takes "
                f"{duration(taught.seconds)} a decision, where `{base.name}` takes "
                f"{duration(own.seconds)}, and has {saved} % less ANTT + {PENALTY:g} V."
            ),
            where_table(seen, own, taught, conditions),
            wrapped("What the departures do; of several kinds, the first counts:"),
            kinds_table(seen),
            wrapped(
                "How the requests that it runs instead differ from the base's choice, and from the "
                "mean of the other candidates, those that neither runs: means over departures, in "
                "standard deviations of the feature over all candidates. The base's choice differs "
                "from any other request as it does because the base chose it; what tells the "
                "teacher's choice from the rest is in the last column."
            ),
            features_table(seen, names),
            wrapped(
                "How much of that a score could have known: the worth of each candidate over the "
                f"base's choice, within {CLIP:g} slowdowns, regressed on its features and their "
                "products of two (ridge; the workloads in five folds, each judged by what was "
                "learned in the others), and the best by that is run. A score adds up terms of one "
                "request and of the queue, and is compared with another's; a comparison knows both "
                "requests at once."
            ),
            by_score,
            wrapped(
                f"So, of the teacher's gain, a score of this form and of what `{base.name}` sees "
                f"takes {alone} %, one of all features {whole} %, and a comparison by all features "
                f"{more} %. What is left is seen in the futures, or by a function of the features "
                "that is no sum of products of two, or that more states would teach."
            ),
        ]
    )


def told(what: str, total: int) -> Callable[[int], None]:
    """Show on a terminal how far something is."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{what}: {done} of {total} ", end="\n" * (done == total), file=sys.stderr)

    return show


def section(
    bases: Sequence[Policy],
    size: Size,
    conditions: Sequence[Where] = CONDITIONS,
    **settings: float,
) -> str:
    """The generated section, without its heading.

    Args:
        bases: Whom the teacher is over.
        size: How much is looked at.
        conditions: Under which conditions.
        settings: Of the teacher.
    """
    each_of = [where for where in conditions for _ in range(size.seeds)]
    workloads = [
        generate(
            load_scenario(name).varied(load=load, slo_multiplier=slo, requests=size.requests),
            FIRST_SEED + at,
            split="test",
        )
        for name, load, slo in conditions
        for at in range(size.seeds)
    ]  # fmt: skip
    parts = []
    for base in bases:
        began, count = time.perf_counter(), len(workloads)
        seen = look(
            workloads, base, size.every, progress=told(f"{base.name}, states", count), **settings
        )
        own = play(workloads, base)
        policy = over(base).at(base.level, **settings)
        taught = play(workloads, policy, told(f"{base.name}, policy", count))
        parts.append(base_part(base, seen, own, taught, each_of))
        seconds = time.perf_counter() - began
        print(f"{base.spec} ({seconds:.0f} s)", file=sys.stderr, flush=True)
    default = {**{key: each.default for key, each in PARAMETERS.items()}, **settings}
    futures = f"{default['futures']:g}"
    intro = (
        "The teacher is [rollout](policies/rollout.md): it follows the requests that its base puts "
        f"first, {default['candidates']:g} at most, through sampled futures, at the "
        "same information, and departs from the base where another costs less by more than "
        f"{default['confidence']:g} standard error. Here it is asked in states that the "
        f"base itself gets into: {len(conditions)} conditions, {', '.join(_listed(conditions))}, "
        f"of {size.seeds} workloads each with {size.requests:,} requests, seeds from "
        f"{FIRST_SEED:,} on and `test` inputs; one in {size.every} of the arrivals and completions "
        f"after which two or more requests wait. It chooses by {futures} futures, as the policy "
        f"does, and what its choices are worth is measured in {futures} others. A gain is in "
        f"slowdowns, a late request counting {default['weight']:g}. Intervals are of 95 %, "
        "by leaving out one workload at a time; of the policy, by workloads in pairs. "
        "`make teacher` writes this section, in about two minutes a base."
    )
    return "\n\n".join([wrapped(intro), *parts])


def _listed(conditions: Sequence[Where]) -> list[str]:
    """What the conditions are, in words."""
    columns = [dict.fromkeys(each) for each in zip(*conditions, strict=True)]
    names, loads, slos = ([f"{each:g}" if isinstance(each, float) else f"`{each}`" for each in own]
                          for own in columns)  # fmt: skip
    return [f"{_and(names)} at loads {_and(loads)} and SLO multipliers {_and(slos)}"]


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def installed(names: Sequence[str]) -> list[Policy]:
    """Those of some policies that are there; of the others, it is said why not."""
    found = []
    for name in names:
        try:
            found.append(find(name))
        except DystaError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not found:
        raise DystaError("base: none of them is installed")
    return found


def main() -> None:
    """Look, and write the section."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frontier.teacher", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--base", action="append", default=[], metavar="POLICY",
        help=f"a learned score; {' and '.join(BASES)}, if they are there, by default",
    )  # fmt: skip
    usual = Size()
    parser.add_argument("--seeds", type=int, default=usual.seeds, help="workloads a condition")
    parser.add_argument("--requests", type=int, default=usual.requests, help="requests of each")
    parser.add_argument("--every", type=int, default=usual.every, help="events a state")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page")
    arguments = parser.parse_args()
    try:
        bases = [find(each) for each in arguments.base] or installed(BASES)
        size = Size(arguments.seeds, arguments.requests, arguments.every)
        between(arguments.out, BEGIN, END, section(bases, size))
    except DystaError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
