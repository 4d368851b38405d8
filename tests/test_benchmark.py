"""Comparing policies from Python, intervals and paired differences, and the picture of them."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from dysta_gym import Parameter, Policy, find, generate, load_scenario, measure, simulate
from dysta_gym.benchmark import CELL, bootstrap_interval, compare, summarise
from dysta_gym.figures import save, trade_off


def test_interval_of_many_values_is_the_normal_one():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = bootstrap_interval(values)
    standard_error = values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.1 * standard_error)
    assert high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.1 * standard_error)
    low_90, high_90 = bootstrap_interval(values, confidence=0.9)
    assert high_90 - low_90 == pytest.approx(2 * 1.645 * standard_error, rel=0.05)
    assert low < low_90 < values.mean() < high_90 < high
    assert bootstrap_interval(values) == (low, high)


def test_interval_of_few_values():
    for values in ([], [3.0]):
        assert all(math.isnan(end) for end in bootstrap_interval(np.array(values)))
    assert bootstrap_interval(np.array([1.0, 4.0])) == (1, 4)  # each is drawn twice in 1 of 4
    assert bootstrap_interval(np.full(7, 2.5)) == (2.5, 2.5)
    values = np.array([0.0, 1.0, 5.0, 2.0, 3.0])
    low, high = bootstrap_interval(values)
    assert 0 < low < values.mean() < high < 5
    assert bootstrap_interval(3 * values) == pytest.approx((3 * low, 3 * high))


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    ends = np.array([bootstrap_interval(rng.normal(size=40), resamples=500) for _ in range(400)])
    covered = ((ends[:, 0] < 0) & (ends[:, 1] > 0)).mean()
    assert 0.9 < covered < 0.98


def results(rows):
    """A table like that of `compare`: rows of condition (load), policy, seed and ``antt``."""
    frame = pd.DataFrame(rows, columns=["load", "policy", "seed", "antt"])
    return frame.assign(scenario="s", rate=frame["load"] * 10, slo=10.0)


def test_summary_pairs_differences_by_seed():
    rows = [
        (load, policy, seed, 0.0) for load in (0.5, 0.9) for policy in "ab" for seed in (5, 0, 9)
    ]
    frame = results(rows)
    spread = frame["seed"].map({5: 10.0, 0: 30.0, 9: 80.0})
    frame["antt"] = spread + (frame["policy"] == "b") * 4 * frame["load"]
    shuffled = pd.concat(  # within a policy, the order of the seeds must not matter
        [frame[frame["policy"] == "a"], frame[frame["policy"] == "b"].iloc[::-1]]
    )
    summary = summarise(shuffled, ["antt"], "a").set_index(["load", "policy"])
    assert len(summary) == 4
    for load in (0.5, 0.9):
        one, other = summary.loc[(load, "a")], summary.loc[(load, "b")]
        assert (one["antt"], other["antt"]) == pytest.approx((40, 40 + 4 * load))
        assert one["antt_low"] < 20 and one["antt_high"] > 60  # wide, and yet ...
        for end in ("", "_low", "_high"):
            assert one[f"antt_diff{end}"] == 0
            assert other[f"antt_diff{end}"] == pytest.approx(4 * load)


def test_summary_without_reference_and_with_a_wrong_one(refused):
    frame = results([(0.5, "b", 0, 3.0), (0.5, "a", 0, 1.0)])
    summary = summarise(frame, ["antt"])
    assert list(summary) == [*CELL, "policy", "antt", "antt_low", "antt_high"]
    assert list(summary["policy"]) == ["b", "a"]
    assert summary[["antt_low", "antt_high"]].isna().all(axis=None)
    with refused("reference", "'c'", "a", "b"):
        summarise(frame, ["antt"], "c")


# --- compare -------------------------------------------------------------------------------------


def weighted(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = parameters[0] * queue.remaining[i] + (now - queue.arrival[i]) * parameters[1]


def own(**changes):
    parameters = {"work": Parameter(1.0, "weight of R"), "age": Parameter(0.0, "weight of age")}
    fields = {"name": "weighted", "score": weighted, "parameters": parameters} | changes
    return Policy(**fields)


def test_compare_takes_policies_of_ones_own():
    policies = [
        "sjf",
        own(),
        own(name="plain", interpreted=True),
        own(settings={"work": 0.0, "age": -1.0}),
        "fcfs",
        own(level="clairvoyant"),
        find("sjf@clairvoyant"),
    ]
    progress = []
    frame = compare(
        ["multi-attnn", load_scenario("multi-cnn")],
        policies,
        loads=[0.9],
        seeds=[3, 1],
        requests=40,
        jobs=2,
        progress=lambda *counts: progress.append(counts),
    )
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    specs = [policy if isinstance(policy, str) else policy.spec for policy in policies]
    assert list(frame["policy"]) == 4 * specs
    assert frame[["scenario", "seed"]].drop_duplicates().to_numpy().tolist() == [
        ["multi-attnn", 3], ["multi-attnn", 1], ["multi-cnn", 3], ["multi-cnn", 1],
    ]  # fmt: skip
    antt = frame.pivot(index=["scenario", "seed"], columns="policy", values="antt")
    assert antt["weighted@static"].tolist() == antt["sjf"].tolist()
    assert antt["plain@static"].tolist() == antt["sjf"].tolist()
    assert antt[policies[3].spec].tolist() == antt["fcfs"].tolist()
    assert antt["weighted@clairvoyant"].tolist() == antt["sjf@clairvoyant"].tolist()
    assert antt["sjf"].tolist() != antt["sjf@clairvoyant"].tolist()
    assert antt["sjf"].tolist() != antt["fcfs"].tolist()


def test_compare_is_generate_simulate_measure():
    scenario = load_scenario("multi-cnn").varied(rate=1.5, slo_multiplier=4, requests=40)
    frame = compare([scenario], ["dysta"], seeds=[6], split="train")
    expected = measure(simulate(generate(scenario, 6, split="train"), "dysta"))
    (row,) = frame.to_dict("records")
    assert {name: row[name] for name in expected} == expected
    assert (row["rate"], row["slo"], row["seed"]) == (1.5, 4, 6)
    again = compare([scenario], ["dysta"], loads=[row["load"]], seeds=[6], split="train")
    assert again["antt"].item() == pytest.approx(row["antt"], rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scenarios": []}, ["scenario", "at least one"]),
        ({"policies": []}, ["policy", "at least one"]),
        ({"seeds": []}, ["seeds", "at least one"]),
        ({"policies": ["dysta", "dysta"]}, ["policy", "'dysta'", "once"]),
        ({"policies": [own(), own()]}, ["policy", "'weighted@static'", "once"]),
        ({"scenarios": ["multi-attnn", "multi-attnn"]}, ["scenario", "'multi-attnn'", "once"]),
        ({"seeds": [0, 0]}, ["seed", "0", "once"]),
        ({"loads": [0.8, 0.9, 0.8]}, ["load", "0.8", "once"]),
        ({"slos": [4, 4]}, ["slo", "4", "once"]),
        ({"seeds": [-1]}, ["seed", "-1"]),
        ({"jobs": 0}, ["jobs", "0", "1 or more"]),
        ({"requests": 0}, ["requests", "0"]),
        ({"loads": [0.0]}, ["load", "0.0", "greater than 0"]),
        ({"rates": [float("nan")]}, ["rate", "nan", "finite"]),
        ({"split": "half"}, ["split", "'half'"]),
        ({"policies": ["dista"]}, ["policy", "'dista'"]),
        ({"scenarios": [{"name": "mine"}]}, ["'mine'", "missing"]),
    ],
    ids=str,
)
def test_compare_refuses(refused, arguments, words):
    usual = {"scenarios": ["multi-attnn"], "policies": ["sjf"], "seeds": [0], "requests": 5}
    with refused(*words):
        compare(**(usual | arguments))


def test_a_fault_in_a_policy_reaches_the_caller():
    def broken(queue, size, now, parameters, scores):
        raise ZeroDivisionError("my own fault")

    policy = Policy("broken", broken, interpreted=True)
    with pytest.raises(ZeroDivisionError, match="my own fault"):
        compare(["multi-attnn"], [policy], seeds=range(50), requests=5, jobs=2)


# --- the picture ---------------------------------------------------------------------------------


def panels_of(frame):
    figure = trade_off(frame)
    try:
        panels = [axes for axes in figure.axes if axes.get_visible()]
        legend = {text.get_text() for each in figure.legends for text in each.get_texts()}
        drawn = [
            [[float(line.get_xdata()[0]), float(line.get_ydata()[0])] for line in axes.lines]
            for axes in panels
        ]
        return [axes.get_title() for axes in panels], drawn, legend
    finally:
        plt.close(figure)


@pytest.mark.parametrize("seeds", [1, 3])
def test_picture_shows_every_mean(seeds):
    frame = compare(
        policies=["dysta", "sjf@monitored", "dysta_oracle", "fcfs"],
        loads=[0.8, 1.1],
        seeds=range(seeds),
        requests=50,
    )
    titles, drawn, legend = panels_of(frame)
    groups = frame.groupby(CELL, sort=False)
    assert len(titles) == groups.ngroups == 4
    assert {"dysta", "sjf", "fcfs", "@monitored", "@clairvoyant", "lower bound"} <= legend
    for title, points, ((scenario, load, _, slo), panel) in zip(titles, drawn, groups, strict=True):
        assert scenario in title and f"{load:g}" in title and f"{slo:g}" in title
        means = panel.groupby("policy")[["violation_rate", "antt"]].mean() * [100, 1]
        for mean in means.to_numpy():
            assert any(np.allclose(mean, point, rtol=1e-9) for point in points)


def test_picture_of_policies_of_ones_own(tmp_path):
    frame = compare(["multi-attnn"], [own(), "sjf@monitored"], seeds=[0], requests=20)
    _, _, legend = panels_of(frame)
    assert {"weighted", "sjf"} <= legend
    for suffix, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        path = tmp_path / "new" / f"picture{suffix}"
        save(trade_off(frame), path)
        assert path.read_bytes().startswith(start)
    assert plt.get_fignums() == []
