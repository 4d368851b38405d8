"""How often intervals over seeds cover the truth, on these metrics: docs/statistics.md.

    make statistics

Many workloads of each condition are drawn once, and their mean is taken as the truth. Groups of a
few of them, drawn with replacement, then stand for what somebody has who runs that many seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from benchmarks.page import wrapped
from dysta_gym.comparison import CELL, compare
from dysta_gym.statistics import ALPHA, mean_interval, share_interval
from dysta_gym.tables import markdown

SCENARIOS = ("multi-attnn", "language-bursts", "arvr-hands")
LOADS = (0.8, 0.95, 1.05)
POLICIES = ("dysta", "sjf", "edf", "slack-index")
REFERENCE = POLICIES[0]
METRICS = {"violation_rate": "violations", "antt": "ANTT"}
SEEDS = (5, 10, 20, 50)
FIRST_SEED = 1_000_000
"""Far from every seed that is trained, tuned or judged on."""

RESAMPLES = 1000

Floats: TypeAlias = NDArray[np.float64]
Bounds: TypeAlias = tuple[Floats, Floats]


class Case(NamedTuple):
    """Values whose mean is to be covered.

    Attributes:
        kind: What they are, as the page calls it.
        where: The condition and the policy.
        values: One a workload, shape ``(workloads,)``; or one a condition and workload, shape
            ``(conditions, workloads)``, where the geometric mean over conditions is to be covered.
    """

    kind: str
    where: str
    values: Floats


# --- kinds of intervals, each of the mean of every row of values, shape (groups, seeds) ----------


@cache
def _counts(seeds: int) -> Floats:
    """How often each resample draws each seed, shape ``(seeds, RESAMPLES)``."""
    draws = np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds))
    return (draws[:, :, None] == np.arange(seeds)).sum(axis=1).T.astype(float)


def _moments(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard error of every row."""
    seeds = values.shape[1]
    return values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(seeds)


def _resampled(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard error of every resample, shapes ``(groups, RESAMPLES)``."""
    seeds = values.shape[1]
    centre = values.mean(axis=1, keepdims=True)
    shares = _counts(seeds) / seeds
    mean = (values - centre) @ shares
    variance = np.maximum((values - centre) ** 2 @ shares - mean**2, 0.0)
    return mean + centre, np.sqrt(variance / (seeds - 1))


def _t(seeds: int) -> float:
    return float(stdtrit(seeds - 1, 1 - ALPHA / 2))


def percentile(values: Floats) -> Bounds:
    """Quantiles of the resampled means."""
    low, high = np.quantile(_resampled(values)[0], [ALPHA / 2, 1 - ALPHA / 2], axis=1)
    return low, high


def bca(values: Floats) -> Bounds:
    """Bias-corrected and accelerated (Efron, JASA 1987); as scipy.stats.bootstrap has it."""
    drawn = np.sort(_resampled(values)[0], axis=1)
    centred = values - values.mean(axis=1, keepdims=True)
    below = ((drawn < values.mean(axis=1)[:, None]).mean(axis=1)).clip(1e-3, 1 - 1e-3)
    spread = (centred**2).sum(axis=1) ** 1.5
    acceleration = np.divide(
        (centred**3).sum(axis=1), 6 * spread, out=np.zeros_like(spread), where=spread > 0
    )
    bias = ndtri(below)
    ends = []
    for share in (ALPHA / 2, 1 - ALPHA / 2):
        z = bias + ndtri(share)
        at = ndtr(bias + z / (1 - acceleration * z))
        place = np.clip((at * RESAMPLES).astype(int), 0, RESAMPLES - 1)
        ends.append(drawn[np.arange(len(drawn)), place])
    return ends[0], ends[1]


def _studentised(values: Floats, logarithms: bool) -> Bounds:
    """Quantiles of the resamples' t; those without spread say nothing of it and are left out."""
    mean, error = _moments(values)
    drawn, drawn_error = _resampled(values)
    centre = mean[:, None]
    if logarithms:
        difference, drawn_error = np.log(drawn / centre), drawn_error / drawn
    else:
        difference = drawn - centre
    spread = drawn_error > 1e-12 * np.abs(centre)
    t = np.divide(difference, drawn_error, out=np.full_like(drawn, np.nan), where=spread)
    with np.errstate(invalid="ignore"):
        upper, lower = (
            np.nan_to_num(each)
            for each in np.nanquantile(
                np.where(spread.any(axis=1, keepdims=True), t, 0.0),
                [1 - ALPHA / 2, ALPHA / 2],
                axis=1,
            )
        )
    if logarithms:
        relative = error / mean
        with np.errstate(over="ignore"):
            return mean * np.exp(-upper * relative), mean * np.exp(-lower * relative)
    return mean - upper * error, mean - lower * error


def studentised(values: Floats) -> Bounds:
    """The studentised bootstrap (Efron and Tibshirani, Section 12.5)."""
    return _studentised(values, logarithms=False)


def studentised_logarithms(values: Floats) -> Bounds:
    """Likewise, of the logarithm of the mean."""
    return _studentised(values, logarithms=True)


def t_interval(values: Floats) -> Bounds:
    """Student's."""
    mean, error = _moments(values)
    width = _t(values.shape[1]) * error
    return mean - width, mean + width


def t_logarithms(values: Floats) -> Bounds:
    """Student's, of the logarithm of the mean, by the delta method."""
    mean, error = _moments(values)
    factor = np.exp(
        _t(values.shape[1]) * np.divide(error, mean, out=np.zeros_like(error), where=mean > 0)
    )
    return mean / factor, mean * factor


Interval: TypeAlias = Callable[[Floats], Bounds]

KINDS: Mapping[str, Interval] = {
    "percentile": percentile,
    "BCa": bca,
    "studentised": studentised,
    "t": t_interval,
    "t of log": t_logarithms,
    "studentised, log": studentised_logarithms,
    "Wilson": share_interval,
    "t, skewness": mean_interval,
}
OF_POSITIVE = ("t of log", "studentised, log")
OF_SHARES = ("Wilson",)
SHARES = ("violations", "violations, all", "wins")
"""Cases that the kinds above are for, by how their names end."""


# --- what is to be covered ------------------------------------------------------------------------


def drawn(workloads: int) -> pd.DataFrame:
    """Every policy on every workload of every condition."""
    seeds = range(FIRST_SEED, FIRST_SEED + workloads)
    return compare(SCENARIOS, POLICIES, loads=LOADS, seeds=seeds, bounds=False)


def cases(results: pd.DataFrame) -> Iterator[Case]:
    """Each metric of each policy in each condition and in all; differences, and shares won."""
    columns = {metric: _by_condition(results, metric) for metric in METRICS}
    for metric, name in METRICS.items():
        for where, values in columns[metric].items():
            for policy in POLICIES:
                yield Case(name, f"{where}, {policy}", values[policy])
                if policy != REFERENCE:
                    difference = values[policy] - values[REFERENCE]
                    yield Case(f"{name}, difference", f"{where}, {policy}", difference)
        everywhere = list(columns[metric].values())
        for policy in POLICIES:
            of_all = np.array([values[policy] for values in everywhere])
            base = np.array([values[REFERENCE] for values in everywhere])
            if metric == "antt":
                yield Case(f"{name}, all", policy, of_all)
            else:
                yield Case(f"{name}, all", policy, of_all.mean(axis=0))
            if policy != REFERENCE:
                won = (1 + np.sign(base - of_all)) / 2
                yield Case(f"{name}, wins", policy, won.mean(axis=0))


def _by_condition(results: pd.DataFrame, metric: str) -> dict[str, dict[str, Floats]]:
    """Values of the metric by condition and policy, in the order of the seeds."""
    return {
        f"{condition[0]} at {condition[1]:.3g}": {
            str(policy): mine.sort_values("seed")[metric].to_numpy()
            for policy, mine in group.groupby("policy", sort=False)
        }
        for condition, group in results.groupby(CELL, sort=False)
    }


# --- how often it is covered ----------------------------------------------------------------------


def coverage(of: Iterator[Case], groups: int) -> pd.DataFrame:
    """How often each kind of interval covers each case, and how wide it is.

    Returns:
        A row per case, number of seeds and kind, with the columns ``kind``, ``where``, ``skewness``
        of the values, ``mean``, ``seeds``, ``interval``, ``covered``, ``below`` and ``above`` (the
        truth), and ``width``: the median width, in those of an interval of normal values of known
        spread. Cases without spread are left out.
    """
    rng = np.random.default_rng(0)
    rows = []
    for kind, where, values in of:
        linear = _linear(values)
        truth, spread = float(linear.mean()), float(linear.std())
        if spread < 1e-12:
            continue
        skewness = float(((linear - truth) ** 3).mean() / spread**3)
        for seeds in SEEDS:
            sample = _sample(values, rng.integers(len(linear), size=(groups, seeds)))
            normal = -2 * float(ndtri(ALPHA / 2)) * spread / np.sqrt(seeds)
            for name, interval in KINDS.items():
                if name in OF_POSITIVE and kind not in METRICS.values():
                    continue
                if name in OF_POSITIVE and not (values > 0).all():
                    continue
                if name in OF_SHARES and not kind.endswith(SHARES):
                    continue
                low, high = interval(sample)
                rows.append(
                    {
                        "kind": kind, "where": where, "skewness": skewness, "mean": truth,
                        "seeds": seeds, "interval": name,
                        "covered": ((low <= truth) & (truth <= high)).mean(),
                        "width": float(np.median(high - low)) / normal,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def _linear(values: Floats) -> Floats:
    """What each workload adds to the average, to first order, shape ``(workloads,)``."""
    if values.ndim == 1:
        return values
    means = values.mean(axis=1, keepdims=True)
    return float(np.exp(np.log(means).mean())) * (values / means).mean(axis=0)


def _sample(values: Floats, draws: NDArray[np.int64]) -> Floats:
    """The seeds' values, or the jackknife's pseudo-values, shape as that of ``draws``."""
    if values.ndim == 1:
        return values[draws]
    seeds, chosen = draws.shape[1], values[:, draws]
    means = chosen.mean(axis=2, keepdims=True)
    average = np.exp(np.log(means).mean(axis=0))
    without_one = np.exp(np.log((seeds * means - chosen) / (seeds - 1)).mean(axis=0))
    return average + (seeds - 1) * (without_one.mean(axis=1, keepdims=True) - without_one)


# --- the page -------------------------------------------------------------------------------------


def overview(found: pd.DataFrame) -> str:
    """Coverage by kind of interval, in the mean of the cases and in the worst."""
    rows = []
    for kind, mine in found.groupby("kind", sort=False):
        for name in KINDS:
            part = mine[mine["interval"] == name].groupby("seeds")
            if not len(part):
                continue
            mean, worst, width = (
                part["covered"].mean(),
                part["covered"].min(),
                part["width"].median(),
            )
            rows.append(
                [
                    kind if name == next(iter(KINDS)) else "",
                    f"**{name}**" if name == used(str(kind)) else name,
                    *(f"{100 * mean[n]:.0f} ({100 * worst[n]:.0f})" for n in SEEDS),
                    *(f"{width[n]:.2f}" if width[n] < 10 else "> 10" for n in (10, 20)),
                ]
            )
    head = ["of", "interval", *(f"{n} seeds" for n in SEEDS), "width, 10", "width, 20"]
    return markdown(head, rows, words=2)


def used(kind: str) -> str:
    """The kind of interval that `dysta_gym.statistics` uses."""
    return "Wilson" if kind.endswith("wins") else "t, skewness"


def hardest(found: pd.DataFrame, fewest: int = 20, most: int = 10) -> str:
    """The cases that the intervals in use cover least often."""
    mine = found[found["interval"] == found["kind"].map(used)]
    wide = mine.pivot(index=["kind", "where"], columns="seeds", values="covered")
    about = mine.drop_duplicates(["kind", "where"]).set_index(["kind", "where"])
    rows = [
        [
            *case,
            f"{about.loc[case, 'mean']:.3g}",
            f"{about.loc[case, 'skewness']:.1f}",
            *(f"{100 * wide.loc[case, n]:.0f}" for n in SEEDS),
        ]
        for case in wide.sort_values(fewest).index[:most]
    ]
    head = ["of", "where", "mean", "skewness", *(f"{n} seeds" for n in SEEDS)]
    return markdown(head, rows, words=2)


def page(found: pd.DataFrame, workloads: int, groups: int) -> str:
    """The whole page."""
    mine = found[found["interval"] == found["kind"].map(used)]
    by_seeds = mine.groupby("seeds")["covered"]
    old = found[found["interval"] == "percentile"].groupby("seeds")["covered"]
    bursts = found[(found["kind"] == "ANTT") & found["where"].str.startswith("language-bursts")]
    bursty = bursts.groupby(["interval", "seeds"])["covered"].mean()
    enough = {n: (by_seeds.get_group(n) >= 0.9).mean() for n in SEEDS}
    of_seeds = [
        [
            str(n),
            f"{100 * by_seeds.mean()[n]:.1f}",
            f"{100 * enough[n]:.0f}",
            f"{100 * by_seeds.min()[n]:.0f}",
            f"{100 * bursty['t, skewness', n]:.0f}",
            f"{100 * old.mean()[n]:.1f}",
            f"{100 * bursty['percentile', n]:.0f}",
        ]
        for n in SEEDS
    ]
    parts = [
        "# Statistics",
        wrapped(
            "What the brackets in tables and pictures are, and how often they hold. Written by "
            "`make statistics`."
        ),
        "## What is used",
        wrapped(
            "*An average over seeds*, in one condition or over all, and a difference to the "
            "reference, paired by seed: Student's interval, the skewness of the seeds taken out by "
            "a cubic (Hall, 1992), cut off at what the metric can be. Where the average is no "
            "mean (interquartile, or the geometric mean over conditions), of the jackknife's "
            "pseudo-values. *A share of workloads won*: Wilson's interval (1927), of as many "
            "trials as would spread as the seeds do, and of one a seed where these do not differ. "
            "Both are formulas; nothing is drawn at random."
        ),
        wrapped(
            "*Over all conditions* each condition counts alike and none is trimmed: violations by "
            "the mean over conditions, ANTT over its lower bound by the geometric mean of the "
            "conditions' means over seeds, so that a factor counts the same under overload as "
            "elsewhere. `--statistic iqm` has interquartile means, which leave out the hardest "
            "quarter of the workloads and the easiest."
        ),
        "## How it was measured",
        wrapped(
            f"{', '.join(f'`{each}`' for each in SCENARIOS)} at loads "
            f"{', '.join(map(str, LOADS))}, {workloads} workloads of each with seeds from "
            f"{FIRST_SEED} on, under {', '.join(f'`{each}`' for each in POLICIES)}. The mean of "
            f"all is taken as the truth. {groups} groups of 5 to 50 of the workloads, drawn with "
            "replacement, stand for what one has who runs so many seeds; coverage is the share of "
            "groups whose interval of nominally 95 % holds the truth. Differences and wins are to "
            f"`{REFERENCE}`, paired by seed."
        ),
        "## With how many seeds they can be trusted",
        wrapped(
            "Over all cases of the table below. The last two columns are the percentile bootstrap, "
            "which this package used before."
        ),
        markdown(
            [
                "seeds",
                "covered (%)",
                "cases covered by 90 % or more (%)",
                "worst case (%)",
                "ANTT under bursts (%)",
                "percentile (%)",
                "ANTT under bursts (%)",
            ],
            of_seeds,
        ),
        wrapped(
            "With 20 seeds or more the intervals say what they should but for the cases below; "
            "with 5 they are a hint. Two kinds of cases stay hard. Where a few seeds hold most of "
            "the mean (turnaround under bursts), whoever has not drawn one of them cannot know: "
            "take 50 seeds. Where less than one request in a thousand is late, most seeds have "
            "none, and a few seeds without any say less than their interval of no width does."
        ),
        "The cases that are covered least often with 20 seeds:",
        hardest(found),
        "## Every kind of interval",
        wrapped(
            "Per cent of groups whose interval holds the truth, in the mean of the cases, in "
            "brackets in the worst of them; the width in those of an interval of normal values "
            "whose spread is known. Bold: in use. Logarithms are tried where no value is 0, which "
            "spares them the hardest cases of violations, and Wilson's on shares. BCa is Efron's, "
            "bias-corrected and accelerated; the studentised bootstrap resamples t. It covers "
            "about as often as the interval in use and is as wide from 10 seeds on, but draws at "
            "random, and is not defined where a resample has no spread."
        ),
        overview(found),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage")
    parser.add_argument("--workloads", type=int, default=2000)
    parser.add_argument("--groups", type=int, default=1000)
    arguments = parser.parse_args()
    found = coverage(cases(drawn(arguments.workloads)), arguments.groups)
    print(page(found, arguments.workloads, arguments.groups), end="")


if __name__ == "__main__":
    main()
