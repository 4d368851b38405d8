"""Averages, intervals, paired tests and marks, against SciPy, naive loops and made-up truth."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dysta_gym.comparison import CELL
from dysta_gym.errors import DystaError
from dysta_gym.statistics import aggregate, mean_interval, share_interval, summarise


def table(scores, metric="violation_rate", **columns):
    """A table like that of `compare`, of ``scores[policy][condition][seed]``.

    Policies are called a, b, c ..., conditions have the loads 0, 1, 2 ...
    """
    scores = np.asarray(scores, float)
    policy, load, seed = (axis.ravel() for axis in np.indices(scores.shape))
    frame = pd.DataFrame({"load": load, "policy": [chr(ord("a") + p) for p in policy]})
    frame = frame.assign(scenario="s", rate=10.0 * load, slo=10.0, seed=seed, **columns)
    return frame.assign(**{metric: scores.ravel()})


def described(frame, metric="violation_rate", by=summarise, **options):
    """The columns of ``metric`` as a dictionary of arrays, a value for each row."""
    summary = by(frame, [metric], **options)
    return {
        name.removeprefix(metric).removeprefix("_"): summary[name].to_numpy()
        for name in summary
        if name.startswith(metric)
    }


def noise(shape, seed=0, *, common=1.0):
    """Normal values, of which a part is common to the policies."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + common * rng.normal(size=(1, *shape[1:]))


# --- averages and intervals ----------------------------------------------------------------------


def test_interquartile_mean_by_hand():
    one = [100.0, 1.0, 4.0, 2.0, -50.0, 3.0, 6.0, 5.0]  # the middle half of it: 2, 3, 4, 5
    five = [9.0, 1.0, 2.0, 6.0, 70.0]  # a quarter of five is one whole value: 2, 6, 9 stay
    assert described(table([[one]]), statistic="iqm")[""] == pytest.approx([3.5])
    assert described(table([[one]]))[""] == pytest.approx([71 / 8])
    assert described(table([[five]]), statistic="iqm")[""] == pytest.approx([17 / 3])
    pooled = described(table([[one[:4], one[4:]]]), by=aggregate, statistic="iqm")
    assert pooled[""] == pytest.approx([3.5])


@pytest.mark.parametrize("statistic", ["mean", "iqm"])
def test_aggregate_is_the_naive_jackknife(statistic):
    """A seed is left out of all policies and conditions at once."""
    scores = noise((3, 4, 6)) + 5
    found = described(table(scores), by=aggregate, reference="b", statistic=statistic)
    cut = {"mean": 0.0, "iqm": 0.25}[statistic]

    def average(scores):
        """Of ``scores`` of the shape (policies, conditions, seeds)."""
        return stats.trim_mean(scores.reshape(len(scores), -1), cut, axis=-1)

    whole = average(scores)
    np.testing.assert_allclose(found[""], whole)
    np.testing.assert_allclose(found["diff"], whole - whole[1], atol=1e-12)
    without = np.array([average(np.delete(scores, seed, axis=2)) for seed in range(6)]).T
    pseudo = whole[:, None] + 5 * (without.mean(axis=1, keepdims=True) - without)
    for name, values in (("", pseudo), ("diff_", pseudo - pseudo[1])):
        for end, expected in zip(("low", "high"), mean_interval(values), strict=True):
            np.testing.assert_allclose(found[f"{name}{end}"], expected, atol=1e-12)
    won = (scores < scores[1]) + (scores == scores[1]) / 2
    np.testing.assert_allclose(found["wins"], won.mean(axis=(1, 2)))
    assert found["wins"][1] == 0.5
    for end, expected in zip(("low", "high"), share_interval(won.mean(axis=1)), strict=True):
        np.testing.assert_allclose(found[f"wins_{end}"], expected)


def test_without_skewness_an_interval_is_students():
    values = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [-4.0, -1.0, 0.0, 0.0, 1.0, 4.0]])
    expected = stats.t.interval(0.95, 5, values.mean(axis=1), stats.sem(values, axis=1))
    np.testing.assert_allclose(mean_interval(values), expected)


def test_skewness_is_taken_out_by_halls_cubic():
    """The ends are where the bent statistic, which is near to normal, reaches Student's t."""
    values = np.random.default_rng(0).lognormal(size=(1, 20))
    mean, deviation, skewness = values.mean(), values.std(), stats.skew(values[0])
    bent = []
    for (end,) in mean_interval(values):
        x = (mean - end) / deviation
        bent.append(x + skewness * x**2 / 3 + skewness**2 * x**3 / 27 + skewness / 120)
    t = stats.t.ppf(0.975, 19) / np.sqrt(19)
    assert bent == pytest.approx([t, -t])


def test_a_share_has_the_interval_of_its_trials():
    """Wilson's, with t for z: of 20 trials, whether or not they differ from seed to seed."""
    for won in (np.eye(1, 20)[0], np.ones(20), np.zeros(20)):
        low, high = (end[0] for end in share_interval(won[None]))
        t, rate = stats.t.ppf(0.975, 19), won.mean()
        for end in (low, high):
            if 0 < end < 1:
                assert (end - rate) ** 2 == pytest.approx(t**2 * end * (1 - end) / 20, rel=1e-9)
        assert 0 <= low <= rate <= high <= 1 and high - low > 0.1
    low, high = share_interval(np.tile([0.2, 0.3], (1, 10)))  # as of 20 * 0.25 * 0.75 / 0.05**2
    assert (high - low) / 2 == pytest.approx(t * np.sqrt(0.25 * 0.75 / 1500), rel=0.01)


@pytest.mark.parametrize("statistic", ["mean", "iqm"])
def test_intervals_cover_the_truth_as_often_as_they_say(statistic):
    """Of 400 conditions of 40 seeds each, whose truth is 0."""
    found = described(table(noise((1, 400, 40), common=0)), statistic=statistic)
    covered = ((found["low"] < 0) & (found["high"] > 0)).mean()
    assert 0.91 < covered < 0.98


@pytest.mark.parametrize("seeds", [10, 20])
def test_intervals_of_skewed_values_cover_as_well(seeds):
    """Log-normal ones, as turnaround under bursts; Student's cover 85 and 86 of 100."""
    values = np.random.default_rng(0).lognormal(sigma=1.0, size=(1, 2000, seeds))
    found = described(table(values, "antt"), "antt")
    truth = np.exp(0.5)
    assert ((found["low"] < truth) & (found["high"] > truth)).mean() > 0.9


def test_intervals_stay_within_what_a_metric_can_be():
    few = described(table([[[0.9, 0.1]], [[0.0, 0.3]]]), reference="a")
    assert few["low"].tolist() == [0, 0] and few["high"].tolist() == [1, 1]
    assert few["diff_low"][1] == -1
    slow = described(table([[[1.5, 9.0]]], "antt"), "antt")
    assert slow["low"] == [1] and slow["high"] > 9


def test_aggregate_counts_a_seed_once_however_many_conditions_share_it():
    """A seed is lucky in all conditions; drawing each by itself would give a quarter the width."""
    scores = np.random.default_rng(1).normal(size=(200, 1, 20)) + np.zeros((1, 16, 1))
    many = described(renamed(table(scores)), by=aggregate, statistic="mean")
    one = described(renamed(table(scores[:, :1])), by=aggregate, statistic="mean")
    np.testing.assert_allclose(many["low"], one["low"], atol=1e-12)
    np.testing.assert_allclose(many["high"], one["high"], atol=1e-12)
    assert 0.88 < ((many["low"] < 0) & (many["high"] > 0)).mean() < 0.98


def test_aggregate_trims_no_condition_away():
    """The hardest of four decides most of a mean, and nothing of an interquartile mean."""
    rates = np.array([0.0, 0.01, 0.02, 0.9])[:, None] + np.zeros((1, 4, 5))
    better = rates - np.array([0, 0, 0, 0.4])[:, None]
    frame = table(np.concatenate([rates, better]))
    assert described(frame, by=aggregate)[""] == pytest.approx([0.2325, 0.1325])
    trimmed = described(frame, by=aggregate, statistic="iqm")[""]
    assert trimmed == pytest.approx([0.015, 0.015])
    antt = np.array([[2.0, 2.0], [3.0, 5.0]])  # means 2 and 4: a factor counts anywhere alike
    frame = table([antt, antt * [[4], [1]], antt * [[1], [4]]], "antt")
    expected = np.sqrt(8) * np.array([1, 2, 2])
    assert described(frame, "antt", aggregate)[""] == pytest.approx(expected)


def renamed(frame):
    return frame.assign(policy=frame["policy"].map(lambda name: f"p{ord(name)}"))


def test_summary_pairs_differences_by_seed():
    spread = np.array([10.0, 30.0, 80.0])
    frame = table([[spread, spread], [spread + 4 * 0.5, spread + 4 * 0.9]], "antt")
    shuffled = pd.concat(  # within a policy, the order of the seeds must not matter
        [frame[frame["policy"] == "a"], frame[frame["policy"] == "b"].iloc[::-1]]
    )
    summary = summarise(shuffled, ["antt"], "a").set_index(["load", "policy"])
    assert len(summary) == 4
    for load, more in ((0, 2.0), (1, 3.6)):
        one, other = summary.loc[(load, "a")], summary.loc[(load, "b")]
        assert (one["antt"], other["antt"]) == pytest.approx((40, 40 + more))
        assert one["antt_low"] < 20 and one["antt_high"] > 60  # wide, and yet ...
        for end in ("", "_low", "_high"):
            assert one[f"antt_diff{end}"] == 0
            assert other[f"antt_diff{end}"] == pytest.approx(more)


def test_aggregate_brings_conditions_to_one_scale():
    bound = np.array([[2.0], [8.0]]) * np.ones((2, 2, 3))
    frame = table([bound[0] * 1.5, bound[0] * 2], "antt", antt_lower_bound=bound.ravel())
    assert described(frame, "antt", aggregate)[""] == pytest.approx([1.5, 2])
    served = table(np.full((1, 2, 2), 7.0), "throughput").assign(rate=[7.0, 7.0, 14.0, 14.0])
    assert described(served, "throughput", aggregate)[""] == pytest.approx([0.75])


# --- tests and marks -----------------------------------------------------------------------------


def test_p_values_are_those_of_paired_t_tests_adjusted_by_hand():
    scores = noise((4, 1, 6)) + np.array([1.0, 0.0, 4.0, 1.5])[:, None, None]
    best = scores.mean(axis=(1, 2)).argmin()
    raw = [stats.ttest_rel(scores[p, 0], scores[best, 0]).pvalue for p in range(4) if p != best]
    found = described(table(scores))
    assert found["p"][best] == 1 and found["best"][best]
    least, middle, most = sorted(raw)
    adjusted = [3 * least, max(3 * least, 2 * middle), max(3 * least, 2 * middle, most)]
    others = np.delete(found["p"], best)
    assert sorted(others) == pytest.approx(np.minimum(adjusted, 1))
    assert (np.argsort(others) == np.argsort(raw)).all()
    assert (found["best"] == (found["p"] >= 0.05)).all()
    assert len({*found["best"]}) == 2


def test_turnaround_is_compared_by_ratio():
    """A heavy seed multiplies everybody's turnaround: a constant factor is certain."""
    heavy = np.array([3.0, 4.0, 5.0, 9.0, 30.0])
    for metric, certain in (("antt", True), ("violation_rate", False)):
        found = described(table([[heavy], [1.5 * heavy]], metric), metric)
        assert (found["p"][1] < 1e-6) == certain and found["best"][1] != certain


def test_less_is_better_or_more_is():
    scores = noise((3, 1, 5), common=5) * 0.1 + np.array([1.0, 9.0, 5.0])[:, None, None]
    assert described(table(scores))["best"].tolist() == [True, False, False]
    frame = table(scores, "fairness")
    assert described(frame, "fairness")["best"].tolist() == [False, True, False]
    assert described(frame, "fairness", aggregate, reference="c")["wins"].tolist() == [0, 1, 0.5]


@pytest.mark.parametrize("statistic", ["mean", "iqm"])
@pytest.mark.parametrize("metric", ["violation_rate", "antt"])
def test_ties_and_differences_without_spread(metric, statistic):
    base = np.array([4.0, 2.0, 8.0, 2.0, 5.0])
    rounding = base * (1 + 1e-15)
    found = described(
        table([[base], [base], [rounding], [2 * base]], metric), metric, statistic=statistic
    )
    assert found["p"][:3].tolist() == [1, 1, 1] and found["best"].tolist()[:3] == [True] * 3
    constant = described(table([[base * 0 + 2], [base * 0 + 3]], metric), metric)
    assert constant["p"].tolist() == [1, 0] and constant["best"].tolist() == [True, False]
    none = described(table(np.zeros((2, 1, 3))))
    assert none["p"].tolist() == [1, 1]


def test_a_single_seed_has_no_interval_and_no_test():
    frame = table([[[3.0], [2.0]], [[1.0], [2.0]]], "antt", antt_lower_bound=1.0)
    frame = frame.iloc[::-1]
    summary = summarise(frame, ["antt"])
    columns = ["antt", "antt_low", "antt_high", "antt_p", "antt_best"]
    assert list(summary) == [*CELL, "policy", *columns]
    assert summary["policy"].tolist() == ["b", "a", "b", "a"]  # as in the results
    assert summary["antt"].tolist() == [2, 2, 1, 3]
    for found in (summary, aggregate(frame, ["antt"], "a")):
        assert found[["antt_low", "antt_high", "antt_p"]].isna().all(axis=None)
        assert not found["antt_best"].any()
    assert aggregate(frame, ["antt"], "a")["antt_wins"].tolist() == [0.75, 0.5]


def test_seeds_without_the_metric_are_left_out():
    values = np.array([3.0, 1.0, 2.0])
    for gap in (values[:0], [np.nan], [np.nan, np.nan]):
        found = described(table([[[*values, *gap]], [[*(values + 1), *gap]]]), reference="a")
        assert found[""] == pytest.approx([2, 3])
        assert found["diff_low"] == pytest.approx([0, 1])
    nothing = described(table(np.full((2, 1, 3), np.nan)), reference="a")
    assert np.isnan(nothing[""]).all() and not nothing["best"].any()


@pytest.mark.parametrize("metric", ["violation_rate", "antt"])
def test_false_alarms_are_as_rare_as_they_should_be(metric):
    """Of two equal policies one is told apart from the other in 5 of 100 cases."""
    frame = table(noise((2, 600, 5)) * 0.3 + 8, metric)
    alarms = 1 - described(frame, metric)["best"].reshape(600, 2).all(axis=1).mean()
    assert 0.02 < alarms < 0.08


def test_the_truly_best_is_nearly_always_marked():
    """Although the best of the sample, which it is compared with, is the luckiest of seven."""
    found = described(table(noise((7, 400, 5))))["best"].reshape(400, 7)
    assert found[:, 0].mean() > 0.95
    worse = noise((7, 400, 5)) + np.array([0, 0, 9, 9, 9, 9, 9])[:, None, None]
    marked = described(table(worse))["best"].reshape(400, 7)
    assert marked[:, 0].mean() > 0.95 and marked[:, 2:].mean() < 0.05


def test_wins_leave_out_what_the_averages_leave_out():
    scores = noise((2, 2, 6))
    gap = scores.copy()
    gap[0, 1, 3] = np.nan  # one policy lacks one seed of one condition
    kept = np.delete(scores, 3, axis=2)
    for name in ("", "wins", "wins_low"):
        found = described(table(gap), by=aggregate, reference="a")[name]
        np.testing.assert_allclose(
            found, described(table(kept), by=aggregate, reference="a")[name], err_msg=name
        )


def test_among_equal_policies_few_lose_their_mark():
    """One or more of seven, which Holm's method does not bound, as the best is chosen by luck."""
    found = described(table(noise((7, 600, 5))))["best"].reshape(600, 7)
    assert 0.04 < 1 - found.all(axis=1).mean() < 0.15


def test_aggregate_tests_over_seeds():
    """Sixteen copies of a condition say no more than one."""
    scores = noise((3, 1, 6)) + np.array([0.0, 0.7, 2.0])[:, None, None]
    copies = scores + np.zeros((1, 16, 1))
    for statistic in ("mean", "iqm"):
        one = described(table(scores), by=aggregate, statistic=statistic)
        many = described(table(copies), by=aggregate, statistic=statistic)
        if statistic == "mean":
            assert many["p"] == pytest.approx(one["p"])
        assert many["p"][1] > 1e-3


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [summarise, aggregate])
def test_refusals(refused, by):
    frame = table(noise((2, 2, 3)))
    with refused("reference", "'c'", "a", "b"):
        by(frame, ["violation_rate"], "c")
    with refused("statistic", "'median'", "mean", "iqm"):
        by(frame, ["violation_rate"], statistic="median")
    with refused("results", "'a'", "0 rows", "seed 1", "load 1"):
        by(frame.drop(index=4), ["violation_rate"])
    with refused("results", "'b'", "2 rows", "seed 2", "load 1"):
        by(pd.concat([frame, frame.tail(1)]), ["violation_rate"])


def test_of_several_references_the_best_counts_in_each_condition():
    """Here c in the first condition and b in the second, seed by seed."""
    frame = table([[[5.0, 6.0], [1.0, 2.0]], [[4.0, 4.0], [3.0, 5.0]], [[2.0, 3.0], [9.0, 9.0]]])
    for statistic in ("mean", "iqm"):
        found = described(frame, reference=["b", "c"], statistic=statistic)
        assert found["reference"].tolist() == ["c"] * 3 + ["b"] * 3
        np.testing.assert_allclose(found["diff"], [3, 1.5, 0, -2.5, 0, 5])
    pooled = described(frame, by=aggregate, reference=["b", "c"])
    best = np.array([[2.0, 3.0], [3.0, 5.0]])
    np.testing.assert_allclose(pooled["diff"], [0.25, 4 - best.mean(), 5.75 - best.mean()])
    np.testing.assert_allclose(pooled["wins"], [0.5, 0.25, 0.25])
    alone = described(frame, reference="b")
    np.testing.assert_array_equal(alone["diff"], described(frame, reference=["b"])["diff"])
    with pytest.raises(DystaError, match="'z' was not run; choose one of: a, b, c"):
        summarise(frame, ["violation_rate"], ["b", "z"])
    with pytest.raises(DystaError, match="reference: there is none"):
        summarise(frame, ["violation_rate"], [])


@pytest.mark.parametrize("statistic", ["mean", "iqm"])
def test_conditions_together_are_each_by_itself_to_the_last_bit(statistic):
    rng = np.random.default_rng(0)
    frame = table(1 + rng.exponential(size=(3, 24, 7)), "antt")
    frame["violation_rate"] = rng.integers(0, 4, len(frame)) / 7
    frame["ntt_p99"] = np.where(rng.random(len(frame)) < 0.1, np.nan, frame["antt"] ** 2)
    frame["fairness"] = np.where(frame["load"] % 3 == 0, np.nan, 0.25)  # as of another scenario
    frame = frame[(frame["load"] % 5 > 0) | (frame["seed"] < 6)].sample(frac=1, random_state=1)
    ordered = frame[frame["load"] > 9].sort_values(["load", "seed", "policy"])
    frame = pd.concat([frame[frame["load"] <= 9], ordered])
    metrics = ["antt", "violation_rate", "ntt_p99", "fairness"]
    together = summarise(frame, metrics, ["c", "a"], statistic)
    alone = [
        summarise(each, metrics, ["c", "a"], statistic)
        for _, each in frame.groupby(CELL, sort=False)
    ]
    pd.testing.assert_frame_equal(together, pd.concat(alone, ignore_index=True), check_exact=True)


def test_many_conditions_take_no_time_each():
    frame = table(1 + noise((3, 10_000, 3)) ** 2, "antt")
    began = time.perf_counter()
    assert len(summarise(frame, ["antt"], "a")) == 30_000
    assert time.perf_counter() - began < 5  # 0.3 s; a condition after another, 20 s
