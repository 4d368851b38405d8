"""How policies look in pictures, and which of many a picture shows."""

import re

import numpy as np
import pandas as pd
import pytest

from dysta_gym import figures
from dysta_gym.information import LEVELS
from dysta_gym.policies import names
from dysta_gym.styles import rule_styles, rules_and_levels
from dysta_gym.thinning import FEW, frontier, listed, told_apart

MANY = [
    *names(),
    *(f"dysta:beta=0.{at}" for at in range(1, 60)),
    *(f"mine {at}" for at in range(60)),
]


def test_no_two_rules_share_a_colour():
    styles = rule_styles(MANY)
    assert len(styles) > 130
    assert len({style.colour for style in styles.values()}) == len(styles)
    assert all(re.fullmatch("#[0-9A-F]{6}", style.colour) for style in styles.values())
    alone = rule_styles(["ppo", "dysta"])
    assert alone == {rule: styles[rule] for rule in ("ppo", "dysta")}  # alike everywhere


def test_no_two_policies_look_alike():
    run = [f"{name}@{level}" for name in ("sjf", "evolved", "dysta", "mine") for level in LEVELS]
    run += ["sjf@sized/kalman", "evolved", "evolved@sized", "mine@sized/kalman", "dysta:beta=0.05"]
    parts = rules_and_levels(dict.fromkeys(run))
    assert len(set(parts.values())) == len(parts)


@pytest.mark.parametrize("name", ["evolved", "ppo", "dqn", "gittins"])
def test_an_agent_is_called_by_its_name(name):
    assert rules_and_levels([name, "fcfs"]) == {name: (name, "sized"), "fcfs": ("fcfs", "static")}


def test_the_frontier_is_what_none_beats():
    random = np.random.default_rng(0)
    values = random.integers(1, 12, (60, 2)).astype(float)
    values = np.vstack([values, values[:7]])
    found = frontier(values)
    for index, one in enumerate(values):
        beaten = any((two <= one).all() and (two < one).any() for two in values)
        before = any((two == one).all() for two in values[:index])
        assert found[index] == (not beaten and not before)


def test_few_markers_are_all_drawn_and_of_a_crowd_those_that_are_kept():
    at = np.zeros((FEW, 2))
    nothing = np.zeros(FEW + 1, np.bool_)
    assert told_apart(at, nothing[:-1]).all()
    crowd = np.zeros((FEW + 1, 2))
    crowd[-1] = 100
    kept = nothing.copy()
    kept[[2, 3, 4]] = True
    assert told_apart(crowd, kept).nonzero()[0].tolist() == [2, 3, 4, FEW]
    assert told_apart(crowd, nothing).nonzero()[0].tolist() == [0, 1, FEW]


def test_what_is_left_out_is_named_in_few_words():
    run = ["fcfs", *(f"sjf@{level}" for level in LEVELS), *(f"llf@{level}" for level in LEVELS)]
    said = listed(["fcfs", "sjf@static", "sjf@sized", *run[6:]], run, rules_and_levels(run))
    assert said == "fcfs, sjf@static,sized, llf@*"


def results_of(points):
    """Results in which each policy has one place."""
    rows = [
        {"scenario": "s", "load": 1.0, "rate": 1.0, "slo": 10.0, "policy": name, "seed": seed,
         "violation_rate": late, "antt": slow}
        for name, (late, slow) in points.items()
        for seed in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_picture_says_what_it_leaves_out():
    points = {f"crowd{at}": (0.2, 5.0) for at in range(12)} | {"best": (0.01, 2.0), "far": (0.9, 9)}
    figure = figures.trade_off(results_of(points), ["crowd7"])
    (axis,) = figure.axes
    drawn = [line for line in axis.lines if len(line.get_xdata()) == 1]
    assert len(drawn) == 4  # the best, the one that is kept, one more beside it, and the far one
    (note,) = [text.get_text() for text in axis.texts]
    left_out = re.sub(r"\s+", " ", note).partition("): ")[2].split(", ")
    assert len(left_out) == 10 and "crowd7" not in left_out
    assert note.startswith("Left out, on others (10): ")
    (legend,) = figure.legends
    grey = {text.get_text() for text in legend.get_texts() if text.get_color() == "0.6"}
    assert grey == set(left_out)


def test_curves_of_many_say_what_they_leave_out():
    points = {f"bad{at}": (0.2 + at / 100, 5.0) for at in range(12)} | {"best": (0.01, 2.0)}
    frame = pd.concat([results_of(points).assign(load=load) for load in (0.5, 1.0)])
    summary = figures.summarise(frame, ["violation_rate", "antt"])
    figure = figures.few_curves(
        summary, "load", "load", ["violation_rate", "antt"], ("scenario", "slo"), ["bad3"]
    )
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["bad3", "best"]
    assert "(11): bad0, bad1, bad2, bad4" in figure.get_supxlabel()
