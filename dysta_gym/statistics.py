"""What a table of results says: averages, their intervals, and which policies are the best.

Seeds are the unit of chance. Policies run on the same workloads, and a seed gives the same requests
at every load and SLO multiplier, so whatever is averaged is resampled by seed, with the same draw
for every policy and condition (common random numbers: Law, Simulation Modeling and Analysis, 5th
edition, Sections 10.2 and 11.2). rliable resamples each condition by itself, as there runs are
independent; here that would take one lucky seed for as many as there are conditions, and give
intervals that are too narrow.

*Interval.* Student's, with the skewness of the seeds taken out by a cubic (Hall, On the removal of
skewness by transformation, Journal of the Royal Statistical Society B 54, 1992), of the jackknife's
pseudo-values, which are the seeds' own values where the average is a mean. On workloads of this
package, bursts included, it covers as often as the studentised bootstrap, without drawing anything,
and more often than the percentile bootstrap that rliable uses (Agarwal et al., Deep Reinforcement
Learning at the Edge of the Statistical Precipice, NeurIPS 2021): docs/statistics.md has how often.
Shares of workloads won have Wilson's interval (Probable Inference, JASA 22, 1927), of as many
trials as would spread as the seeds do, and of one a seed where these do not differ.

*Test.* A paired t-test over the seeds against the policy with the best average, adjusted by Holm's
method for the number of policies (A simple sequentially rejective multiple test procedure,
Scandinavian Journal of Statistics 6, 1979). Rank and sign-flip tests cannot tell anything apart at
5 % before there are six seeds, for their least p-value is ``2 / 2**seeds``. Turnaround is a ratio
already, and a heavy seed multiplies everybody's, so it is compared by the logarithm of the ratio of
averages. Standard errors are the jackknife's, one seed left out at a time (Efron and Tibshirani,
Chapter 11): for a difference of means this is the ordinary paired t-test, and it serves ratios and
interquartile means as well. In simulations with 3 to 20 seeds such a test of 5 % errs in 4 to 7 %
of cases on normal values, and in up to 9 % on log-normal ones.

*Mark.* It is made for the reader who asks which policies may be the best: a truly best one keeps
its mark in 97 to 99 of 100 cases. With fewer than five seeds nearly every policy would have one, so
none is made. Holm's method pays for the number of comparisons, not for the
choice of the luckiest policy to compare with, so among seven policies that are all equal one or
more lose theirs in 7 to 11 of 100 cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from dysta_gym.comparison import CELL
from dysta_gym.errors import DystaError, one_of
from dysta_gym.metrics import METRICS

ALPHA = 0.05
"""Level of the tests; intervals are of ``1 - ALPHA``."""

FEWEST_MARKED = 5
"""Seeds below which nothing is marked as the best: the test could tell hardly anything apart."""

STATISTICS = {"mean": 0.0, "iqm": 0.25}
"""Averages by name: the share of the values that each leaves out at either end."""

SHARES = ("violation_rate", "weighted_violation_rate", "fairness", "prema_fairness")
"""Metrics that lie between 0 and 1, as do those whose names begin with one of them."""

NORMALISERS = {"antt": "antt_lower_bound", "throughput": "rate"}
"""Columns that a metric is divided by where conditions are pooled, if they are there."""

RATIOS = frozenset({"antt", "ntt_p50", "ntt_p95", "ntt_p99"})
"""Metrics that are tested by the ratio, not by the difference, of two policies' averages, and
averaged over conditions by the geometric mean."""

Floats = NDArray[np.float64]

Reference = str | Sequence[str] | None
"""Policies that others are compared with: in each condition and metric, the best of them."""


_quietly = np.errstate(divide="ignore", invalid="ignore", over="ignore")
"""What is no number, or has no logarithm, gives none: NaN, without a warning."""


def share_cut(statistic: str) -> float:
    """Share of the values that ``statistic`` leaves out at either end (`STATISTICS`)."""
    if statistic not in STATISTICS:
        choices = ", ".join(STATISTICS)
        raise DystaError(f"statistic: {statistic!r} is unknown; choose one of: {choices}")
    return STATISTICS[statistic]


@_quietly
def summarise(
    results: pd.DataFrame,
    metrics: Sequence[str],
    reference: Reference = None,
    statistic: str = "mean",
) -> pd.DataFrame:
    """Averages over seeds, condition by condition, and what differs from the best.

    Args:
        results: What `dysta_gym.comparison.compare` returns.
        metrics: Metrics to summarise.
        reference: Policy to take differences to, seed by seed; of several, the one with the best
            average of a metric in a condition; None for no differences.
        statistic: ``mean``, or ``iqm`` for the interquartile mean.

    Returns:
        A row per condition (`CELL`) and policy, in the order of ``results``; for each metric ``M``

        - ``M``, ``M_low``, ``M_high``: average and its 95 % interval, NaN for a single seed, whose
          spread is unknown;
        - ``M_p``: p-value against the condition's best policy, NaN for a single seed;
        - ``M_best``: whether the policy is the best or not significantly different from it; False
          with fewer seeds than `FEWEST_MARKED`, which cannot tell;
        - ``M_diff``, ``M_diff_low``, ``M_diff_high``: difference to the reference, and
          ``M_reference``, its name.

        Seeds whose workload lacks a metric (NaN) are left out of it. Its ``attrs`` are those of
        ``results``.

    Raises:
        DystaError: If the reference is not among the policies, the statistic is unknown, or a
            policy lacks a seed of its condition or has it more than once.
    """
    cut = share_cut(statistic)
    _check(results, metrics)
    origin, results = results.attrs, _bare(results)
    parts = []
    for rows in _alike(results):
        policies, where, shape = _placed(results.iloc[rows[0]])
        base = _positions(policies, reference)
        first = np.repeat(rows[:, 0], len(policies))
        cells = results[CELL].iloc[first].set_axis(first)
        columns: dict[str, Any] = {"policy": np.tile(np.array(policies, object), len(rows))}
        for metric in metrics:
            scores = np.empty((len(rows), len(where)))
            scores[:, where] = results[metric].to_numpy()[rows]
            told = _of_conditions(scores.reshape(-1, shape[0], shape[2]), metric, base, cut)
            best = told.pop("reference", None)
            columns |= {name: values.ravel() for name, values in told.items()}
            if best is not None:
                names = np.array(policies, object)[best[:, 0]]
                columns[f"{metric}_reference"] = np.repeat(names, len(policies))
        parts.append(pd.concat([cells, pd.DataFrame(columns, index=first)], axis=1))
    # In the order of the conditions, each by its first row.
    summary = pd.concat(parts)
    if len(parts) > 1:
        summary = summary.sort_index(kind="stable")
    summary = summary.reset_index(drop=True)
    summary.attrs = dict(origin)
    return summary


def _alike(results: pd.DataFrame) -> list[NDArray[np.intp]]:
    """Rows of conditions by their numbers, shape ``(conditions, rows)``.

    Together are those that have the same policies and seeds in the same order.
    """
    condition = results.groupby(CELL, sort=False).ngroup().to_numpy()
    policy, seed = (pd.factorize(results[name])[0] for name in ("policy", "seed"))
    order = np.argsort(condition, kind="stable")
    order = order[np.searchsorted(condition[order], 0) :]  # what is of no condition has -1
    found: dict[tuple[bytes, bytes], list[NDArray[np.intp]]] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(condition[order])) + 1):
        found.setdefault((policy[rows].tobytes(), seed[rows].tobytes()), []).append(rows)
    return [np.array(each) for each in found.values()]


def _of_conditions(
    scores: Floats, metric: str, policies: list[int], cut: float
) -> dict[str, NDArray[Any]]:
    """Columns of one metric, each of shape ``(conditions, policies)``, condition by condition.

    Args:
        scores: Shape ``(conditions, policies, seeds)``.
        metric: The metric.
        policies: Those that others are compared with; ``reference`` says which is, if there are.
        cut: As of `_averages`.
    """
    complete = np.logical_not(np.isnan(scores).any(axis=1))
    there = complete.sum(axis=1)
    columns: dict[str, NDArray[Any]] = {}
    for count in np.unique(there):  # as many seeds at a time
        chosen = np.flatnonzero(there == count)
        # A seed after another in memory, as `_complete` has them: sums are those to the last bit.
        kept = scores[chosen].transpose(0, 2, 1)[complete[chosen]]
        group = kept.reshape(len(chosen), count, scores.shape[1]).transpose(0, 2, 1)[:, :, None]
        best = _best_of(group, metric, policies, cut)
        told: dict[str, Any] = _described(group, metric, best, cut)
        if best is not None:
            told["reference"] = best
        for name, values in told.items():
            if name not in columns:
                columns[name] = np.empty((len(scores), *values.shape[1:]), values.dtype)
            columns[name][chosen] = values
    return columns


@_quietly
def aggregate(
    results: pd.DataFrame,
    metrics: Sequence[str],
    reference: Reference = None,
    statistic: str = "mean",
) -> pd.DataFrame:
    """Averages over all conditions and seeds together.

    Every condition counts alike, and none is trimmed away: the mean over conditions of the mean
    over seeds, for turnaround (`RATIOS`) the geometric mean, where a factor counts the same in
    every condition. Scores are brought to a common scale first (`NORMALISERS`): ANTT is divided by
    its lower bound, where that was computed.

    Args:
        results: What `dysta_gym.comparison.compare` returns, with the same seeds in each condition.
        metrics: Metrics to summarise.
        reference: Policy to compare each one with, workload by workload; of several, the one with
            the best average of a metric in a condition; None for none.
        statistic: ``mean``, or ``iqm`` for the interquartile mean of all workloads together, which
            leaves out the hardest quarter of them, and the easiest.

    Returns:
        A row per policy, in the order of ``results``, with the columns of `summarise`, but for
        ``M_reference``, and, given a reference, ``M_wins``, ``M_wins_low``, ``M_wins_high``: the
        share of workloads on which the policy is better than the reference, where a tie counts
        half. Unlike rliable's probability of improvement it compares what was run on the same
        workload.

    Raises:
        DystaError: As `summarise`, and if a policy lacks a seed that another condition has.
    """
    cut = share_cut(statistic)
    _check(results, metrics)
    origin, results = results.attrs, _bare(results)
    scaled = [_on_a_common_scale(results, metric) for metric in metrics]
    policies, scores = _scores(results, scaled)
    base = _positions(policies, reference)
    columns: dict[str, Any] = {"policy": policies}
    for metric, values in zip(metrics, map(_complete, scores), strict=True):
        chosen = _best_of(values[None], metric, base, cut)
        told = _described(values[None], metric, chosen, cut, pooled=True)
        columns |= {name: each[0] for name, each in told.items()}
        if chosen is not None:
            columns |= _wins(values, metric, chosen[0])
    summary = pd.DataFrame(columns)
    summary.attrs = dict(origin)
    return summary


def _bare(results: pd.DataFrame) -> pd.DataFrame:
    """The table without its ``attrs``, which pandas would copy into every part of it."""
    results = results.copy(deep=False)
    results.attrs = {}
    return results


def _on_a_common_scale(results: pd.DataFrame, metric: str) -> pd.Series[float]:
    normaliser = NORMALISERS.get(metric)
    return results[metric] / results[normaliser] if normaliser in results else results[metric]


def _check(results: pd.DataFrame, metrics: Sequence[str]) -> None:
    if results.empty:
        raise DystaError("results: there is no row; at least one is needed")
    for metric in metrics:
        if metric not in results:
            raise one_of("metric", metric, [str(name) for name in results.columns])


def _scores(results: pd.DataFrame, metrics: Sequence[pd.Series[float]]) -> tuple[list[str], Floats]:
    """Policies, and each metric of each, shape ``(metrics, policies, conditions, seeds)``."""
    policies, where, shape = _placed(results)
    scores = np.empty((len(metrics), len(where)))
    scores[:, where] = [metric.to_numpy() for metric in metrics]
    return policies, scores.reshape(len(metrics), *shape)


def _placed(results: pd.DataFrame) -> tuple[list[str], NDArray[np.intp], tuple[int, int, int]]:
    """Policies, and the place of each row in an array ``(policies, conditions, seeds)``, its shape.

    Raises:
        DystaError: If there is not one row in each place.
    """
    policy, policies = pd.factorize(results["policy"])
    seed, seeds = pd.factorize(results["seed"])
    condition = results.groupby(CELL, sort=False).ngroup().to_numpy()
    shape = (len(policies), int(condition.max()) + 1, len(seeds))
    where = np.ravel_multi_index((policy, condition, seed), shape)
    rows = np.bincount(where, minlength=int(np.prod(shape)))
    if (rows != 1).any():
        odd = int(np.argmax(rows != 1))
        p, c, s = np.unravel_index(odd, shape)
        first = results[condition == c].iloc[0]
        raise DystaError(
            f"results: policy {policies[int(p)]!r} has {rows[odd]} rows "
            + f"with seed {seeds[int(s)]} in "
            + ", ".join(f"{name} {first[name]}" for name in CELL)
            + "; it must have 1, as must every policy with every seed"
        )
    return list(policies), where, shape


def _complete(scores: Floats) -> Floats:
    """The seeds that have a score of every policy in every condition."""
    return scores[..., ~np.isnan(scores).any(axis=(0, 1))]


def _positions(policies: list[str], reference: Reference) -> list[int]:
    """Which policies are references."""
    if reference is None:
        return []
    names = [reference] if isinstance(reference, str) else list(reference)
    if not names:
        raise DystaError("reference: there is none; at least one is needed, or None")
    for name in names:
        if name not in policies:
            raise DystaError(
                f"reference: {name!r} was not run; choose one of: {', '.join(policies)}"
            )
    return [policies.index(name) for name in names]


def _best_of(
    scores: Floats, metric: str, policies: list[int], cut: float
) -> NDArray[np.intp] | None:
    """Which of some policies has the best average in each condition, None if there are none.

    Args:
        scores: Shape ``(groups, policies, conditions, seeds)``.
        metric: The metric.
        policies: Indices of those to choose from; of equals, the first is taken.
        cut: As of `_averages`.

    Returns:
        Shape ``(groups, conditions)``.
    """
    if not policies:
        return None
    groups, _, conditions, seeds = scores.shape
    each = np.ascontiguousarray(scores[:, policies].transpose(0, 2, 1, 3))
    each = each.reshape(groups * conditions, len(policies), 1, seeds)
    averages = _averages(each, np.ones((seeds, 1)), cut)[..., 0]
    best: NDArray[np.intp] = np.array(policies)[np.argmin(_sign(metric) * averages, axis=-1)]
    return best.reshape(groups, conditions)


def _described(
    scores: Floats,
    metric: str,
    base: NDArray[np.intp] | None,
    cut: float,
    *,
    pooled: bool = False,
) -> dict[str, NDArray[Any]]:
    """Columns of one metric, each of shape ``(groups, policies)``.

    Args:
        scores: Shape ``(groups, policies, conditions, seeds)``.
        metric: The metric.
        base: The reference in each condition, shape ``(groups, conditions)``; None for none.
        cut: As of `_averages`.
        pooled: Whether there are several conditions, which are taken together.
    """
    seeds = scores.shape[-1]

    def averages(scores: Floats) -> tuple[Floats, Floats]:
        """Averages of all seeds, and of all but each."""
        average = _geometric_averages if pooled and not cut and metric in RATIOS else _averages
        whole = average(scores, np.ones((seeds, 1)), cut)[..., 0]
        if seeds < 2:
            return whole, np.empty((*whole.shape, 0))
        return whole, np.concatenate(
            [
                average(scores, 1 - np.eye(seeds, some, -first), cut)
                for first, some in _batches(seeds)
            ],
            axis=-1,
        )

    average, without_one = averages(scores)
    least, most = _limits(metric, scores)
    p = _p_values(without_one, metric, average)
    columns: dict[str, NDArray[Any]] = {
        **_with_interval(metric, average, without_one, (least, most)),
        f"{metric}_p": p,
        f"{metric}_best": (p >= ALPHA) & (seeds >= FEWEST_MARKED),
    }
    if base is not None:
        its, its_without_one = averages(_reference_scores(scores, base))
        difference, widest = average - its, most - least
        columns |= _with_interval(
            f"{metric}_diff", difference, without_one - its_without_one, (-widest, widest)
        )
    return columns


def _reference_scores(scores: Floats, base: NDArray[np.intp]) -> Floats:
    """Scores of the reference of each condition, shape ``(groups, 1, conditions, seeds)``."""
    groups, conditions = base.shape
    return scores[np.arange(groups)[:, None], base, np.arange(conditions)][:, None]


def _wins(scores: Floats, metric: str, base: NDArray[np.intp]) -> dict[str, Any]:
    """Share of workloads on which each policy is better than ``base``, half of the ties."""
    ahead = _sign(metric) * np.sign(_reference_scores(scores[None], base[None])[0] - scores)
    won = ((1 + ahead) / 2).mean(axis=1)
    low, high = share_interval(won)
    share = won.mean(axis=1) if won.size else np.full(len(won), np.nan)
    name = f"{metric}_wins"
    return {name: share, f"{name}_low": low, f"{name}_high": high}


def _sign(metric: str) -> int:
    """1 if less of the metric is better, else -1."""
    return -1 if metric in METRICS and METRICS[metric].more_is_better else 1


def mean_interval(values: Floats) -> tuple[Floats, Floats]:
    """A 95 % interval of the mean of each row, from skewed values.

    Args:
        values: Shape ``(rows, seeds)``.

    Returns:
        The lower and upper ends, shapes ``(rows,)``; NaN for fewer than two seeds. Rows without
        spread have no width: nothing says what another seed would give.
    """
    rows, seeds = values.shape
    if seeds < 2:
        return np.full(rows, np.nan), np.full(rows, np.nan)
    mean = values.mean(axis=1)
    centred = values - mean[:, None]
    deviation = np.sqrt((centred**2).mean(axis=1))
    skewness = _over((centred**3).mean(axis=1), deviation**3, deviation > 0)
    # (mean - truth) / deviation is bent until it has no skewness, and Student's t is bent back.
    t = stdtrit(seeds - 1, 1 - ALPHA / 2) / np.sqrt(seeds - 1)
    skewed = np.abs(skewness) > 1e-6
    ends = []
    for straight in (t, -t):
        straight = straight - skewness / (6 * seeds)
        bent = _over(3 * (np.cbrt(1 + skewness * straight) - 1), skewness, skewed)
        ends.append(mean - deviation * np.where(skewed, bent, straight))
    return ends[0], ends[1]


def share_interval(values: Floats) -> tuple[Floats, Floats]:
    """A 95 % interval of the mean of each row, from shares: Wilson's.

    Args:
        values: Between 0 and 1, shape ``(rows, seeds)``.

    Returns:
        The lower and upper ends, shapes ``(rows,)``; NaN for fewer than two seeds.
    """
    rows, seeds = values.shape
    if seeds < 2:
        return np.full(rows, np.nan), np.full(rows, np.nan)
    mean = values.mean(axis=1)
    variance = values.var(axis=1)
    trials = np.full(rows, float(seeds))
    differ = variance > 1e-18  # by more than rounding
    np.divide(seeds * mean * (1 - mean), variance, out=trials, where=differ)
    doubt = stdtrit(seeds - 1, 1 - ALPHA / 2) ** 2 / trials
    centre = (mean + doubt / 2) / (1 + doubt)
    half = np.sqrt(doubt * mean * (1 - mean) + doubt**2 / 4) / (1 + doubt)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _over(numerator: Floats, denominator: Floats, where: NDArray[np.bool_]) -> Floats:
    """A ratio, 0 elsewhere."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=where)


def _limits(metric: str, scores: Floats) -> tuple[Floats, Floats]:
    """What an average of the metric cannot lie below or above, shapes ``(groups, 1)``."""
    values = scores.reshape(len(scores), -1)
    low, high = (values.min(axis=1), values.max(axis=1)) if values.size else (0.0, 0.0)
    share = metric.startswith(SHARES) & np.less_equal(high, 1)
    turnaround = metric.startswith(("antt", "ntt")) & np.greater_equal(low, 1)
    least = np.where(turnaround, 1.0, np.where(np.greater_equal(low, 0), 0.0, -np.inf))
    return least.reshape(-1, 1), np.where(share, 1.0, np.inf).reshape(-1, 1)


def _with_interval(
    name: str,
    average: Floats,
    without_one: Floats,
    limits: tuple[Floats | float, Floats | float] = (-np.inf, np.inf),
) -> dict[str, Floats]:
    """An average and its interval, from what it is without each seed.

    Args:
        name: The metric.
        average: Shape ``(groups, policies)``.
        without_one: Shape ``(groups, policies, seeds)``.
        limits: What the ends of the interval cannot lie below or above.
    """
    seeds = without_one.shape[-1]
    # The jackknife's pseudo-values, about the average.
    centre = without_one.sum(axis=-1, keepdims=True) / max(seeds, 1)
    values = (seeds - 1) * (centre - without_one)
    ends = mean_interval(values.reshape(average.size, seeds))
    low, high = (np.clip(average + end.reshape(average.shape), *limits) for end in ends)
    return {name: average, f"{name}_low": low, f"{name}_high": high}


def _p_values(without_one: Floats, metric: str, average: Floats) -> Floats:
    """P-values against the policy with the best average, 1 for itself.

    Args:
        without_one: Averages without each seed, shape ``(groups, policies, seeds)``.
        metric: The metric.
        average: Averages of all seeds, shape ``(groups, policies)``.

    Returns:
        Shape ``(groups, policies)``.
    """
    policies, seeds = without_one.shape[1:]
    if seeds < 2:
        return np.full(average.shape, np.nan)
    best = np.argmin(_sign(metric) * average, axis=-1)[:, None]
    least = np.take_along_axis(average, best, -1)
    # What differs by rounding alone is the same.
    same = np.abs(average - least) <= 1e-9 * np.abs(least)
    if metric in RATIOS:
        average, without_one = np.log(average), np.log(without_one)
    difference = average - np.take_along_axis(average, best, -1)
    beside = without_one - np.take_along_axis(without_one, best[..., None], 1)
    error = np.sqrt((seeds - 1) * beside.var(axis=-1))
    # A difference without spread is certain.
    t = np.divide(difference, error, out=np.full(average.shape, np.inf), where=error > 0)
    p = np.where(same, 1.0, 2 * stdtr(seeds - 1, -np.abs(t)))
    others = np.arange(policies - 1) + (np.arange(policies - 1) >= best)
    np.put_along_axis(p, others, _holm(np.take_along_axis(p, others, -1)), -1)
    return p


def _holm(p_values: Floats) -> Floats:
    """Holm's adjusted p-values: the i-th least of a row of m, times m - i + 1, not decreasing."""
    order = np.argsort(p_values, axis=-1)
    scaled = np.take_along_axis(p_values, order, -1) * np.arange(p_values.shape[-1], 0, -1)
    adjusted = np.empty(p_values.shape)
    rising = np.maximum.accumulate(scaled, axis=-1)
    np.put_along_axis(adjusted, order, np.minimum(rising, 1), -1)
    return adjusted


def _geometric_averages(scores: Floats, counts: Floats, cut: float = 0.0) -> Floats:
    """As `_averages`, of nothing cut: the geometric mean over conditions of that over seeds."""
    total = float(counts[:, 0].sum())
    if not total:
        return np.full((*scores.shape[:2], counts.shape[1]), np.nan)
    means = scores @ counts / total
    return np.exp(np.log(means).mean(axis=-2))  # a metric of 0 somewhere is 0 in all


def _batches(samples: int) -> list[tuple[int, int]]:
    """The first and the number of some samples at a time: in memory, each has all seeds."""
    size = 1000
    return [(first, min(size, samples - first)) for first in range(0, samples, size)]


_VALUES = 2**20
"""Numbers that are at work at a time where values are sorted."""


def _averages(scores: Floats, counts: Floats, cut: float) -> Floats:
    """Averages when, in the r-th sample, seed s counts ``counts[s, r]`` times.

    Args:
        scores: Shape ``(groups, policies, conditions, seeds)``.
        counts: Shape ``(seeds, samples)``, with the same sum in every sample.
        cut: Share of the values to leave out at either end, rounded down to whole values.

    Returns:
        Shape ``(groups, policies, samples)``; NaN without seeds.
    """
    groups, policies, conditions, seeds = scores.shape
    samples = counts.shape[1]
    total = conditions * float(counts[:, 0].sum())
    if not total:
        return np.full((groups, policies, samples), np.nan)
    left_out = int(cut * total)
    if not left_out:
        return scores.sum(axis=-2) @ counts / total
    averages = np.empty((groups * policies, samples))
    rows = scores.reshape(groups * policies, -1)
    some = max(1, _VALUES // (rows.shape[1] * samples))
    for first in range(0, len(rows), some):
        values = rows[first : first + some]
        order = np.argsort(values, axis=-1)
        # In a sorted sample the k-th least value takes the places ends[k] to ends[k + 1].
        ends = np.zeros((len(values), values.shape[1] + 1, samples))
        np.cumsum(counts[order % seeds], axis=1, out=ends[:, 1:])
        np.clip(ends, left_out, total - left_out, out=ends)
        ranked = np.take_along_axis(values, order, -1)[:, None]
        averages[first : first + some] = (ranked @ np.diff(ends, axis=1))[:, 0]
    return averages.reshape(groups, policies, samples) / (total - 2 * left_out)
