"""Comparing policies from Python, and the picture of what comes out."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from dysta_gym import Parameter, Policy, find, generate, load_scenario, measure, simulate
from dysta_gym.comparison import CELL, compare, in_order_of_conditions
from dysta_gym.figures import save, trade_off
from dysta_gym.hindsight import BOUNDS
from dysta_gym.metrics import METRICS


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


def test_compare_does_not_depend_on_jobs():
    usual = {"policies": ["fcfs", own(), "dysta"], "seeds": range(6), "requests": 3}
    one, two = (compare(**usual, loads=[0.5, 2], slos=[4, 10], jobs=jobs) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    # of so few requests, many ask for only some of the networks and priorities
    classes = one.drop(columns=list(BOUNDS)).filter(like="violation_rate_")
    classes = classes.set_axis(one["scenario"])
    assert classes.isna().any().all() and not classes.isna().all().any()
    asked = generate(load_scenario("multi-attnn").varied(requests=3), 0)
    metrics = list(measure(simulate(asked, "fcfs")))
    metrics[len(METRICS) : len(METRICS)] = BOUNDS
    first = [*CELL, "policy", "seed", *metrics]
    assert list(in_order_of_conditions(one))[: len(first)] == first


def test_a_frame_shows_who_and_how_well_first_and_where():
    frame = compare(["multi-attnn"], ["fcfs", "sjf"], seeds=range(2), requests=30)
    assert list(frame)[:3] == ["policy", "antt", "violation_rate"]
    assert sorted(frame) == sorted(in_order_of_conditions(frame))
    shown = repr(frame).splitlines()[0].split()
    assert shown == ["policy", "antt", "violation_rate", "...", "seed", "scenario", "load"]
    page = frame._repr_html_()  # what a notebook shows
    assert page.index("<th>policy</th>") < page.index("<th>antt</th>") < page.index("<th>load</th>")


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
        ({"policies": "dysta"}, ["policies", "'dysta'", "list"]),
        ({"scenarios": load_scenario("multi-attnn")}, ["scenarios", "'multi-attnn'", "list"]),
        ({"loads": 0.9}, ["loads", "0.9", "list"]),
        ({"seeds": 3}, ["seeds", "3", "list"]),
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
    assert {"dysta", "sjf", "fcfs", "@monitored", "@clairvoyant"} <= legend
    assert {"lower bounds", "in hindsight"} <= legend
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
