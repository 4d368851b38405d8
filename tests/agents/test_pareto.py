"""Random scenarios, and a network for the whole trade-off."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from dysta_gym import Workload, find, measure, simulate
from dysta_gym.agents.distribution import mixes
from dysta_gym.agents.frontier import hypervolume, loss
from dysta_gym.traces import Trace, TraceStore

pytest.importorskip("cma")
pytest.importorskip("stable_baselines3")

from dysta_gym.agents import train
from dysta_gym.agents.cli import _told

SPTP = "sptp@sized/kalman"
RANDOM = {"distribution": "random", "mixes": 3, "validation": 2}
SMALL = {
    "name": "small",
    "method": "pareto",
    "network": {"kind": "conditioned", "width": 2},
    "features": ["work", "whole_work", "slack", "slack_behind_shorter", "length"],
    "workloads": RANDOM,
    "steps": 6,
    "validate_every": 2,
    "population": 4,
    "pool": 4,
    "batch": 1,
    "sample": 2,
    "preferences": [0, 1],
}


# --- random scenarios ----------------------------------------------------------------------------


def test_random_workloads_are_those_of_their_seeds():
    some, again, others = mixes(8, 70), mixes(8, 70), mixes(8, 71)
    for one, two in zip(some, again, strict=True):
        assert (one.name, one.traces, one.factors) == (two.name, two.traces, two.factors)
        first, second = one.workload(5), two.workload(5)
        for column in ("arrival_s", "trace", "row", "priority"):
            assert getattr(first, column).tolist() == getattr(second, column).tolist()
        assert first.slo_multiplier == second.slo_multiplier
        other = one.workload(6)
        assert len(other) != len(first) or other.arrival_s.tolist() != first.arrival_s.tolist()
    assert {str(each.traces) for each in some}.isdisjoint(str(each.traces) for each in others)


def test_random_workloads_are_of_many_kinds_and_of_train_inputs_alone():
    loads, multipliers, sizes, streams, limits = [], [], [], 0, set()
    for mix in mixes(30, 72):
        workload = mix.workload(0)
        for at, trace in enumerate(workload.store.traces):
            assert trace.train[workload.row[workload.trace == at]].all()
        isolated = workload.isolated_s
        loads.append(isolated.sum() / workload.arrival_s[-1])
        sizes.append(isolated.max() / isolated.min())
        limits.add(workload.queue_limit)
        assert 200 <= len(workload) <= 4000
        if workload.due is None:
            multipliers.append(workload.slo_multiplier)
        else:
            streams += 1
    assert min(loads) < 0.6 and 1.0 < max(loads) < 2.0
    assert 1.5 <= min(multipliers) < 3 and 25 < max(multipliers) <= 50
    assert min(sizes) < 20 and max(sizes) > 200 and streams >= 2 and {16, 64, None} <= limits


def test_some_inputs_take_times_that_nothing_tells_at_arrival():
    plain, mixed = mixes(10, 75), mixes(10, 75, uncertain=0.3)
    assert [mix.name for mix in mixed if mix.spread] == ["random-003", "random-006", "random-009"]
    for one, other in zip(plain, mixed, strict=True):
        assert (one.traces, one.factors) == (other.traces, other.factors)
        for known, trace in zip(one.store.traces, other.store.traces, strict=True):
            apart = trace.latency_s / known.latency_s
            assert apart == pytest.approx(np.repeat(apart[:, :1], apart.shape[1], axis=1))
            assert (np.ptp(apart[:, 0]) > 0) == bool(other.spread)
            assert trace.sparsity.min() >= 0 and trace.sparsity.max() < 1
            again = mixes(10, 75, uncertain=0.3)[int(other.name[-3:])].store
            assert (again.traces[0].latency_s == other.store.traces[0].latency_s).all()


def test_as_many_mixes_are_uncertain_as_one_asks_for():
    for count, share, some in ((100, 0.29, 29), (100, 0.57, 57), (60, 0.2, 12), (7, 1.0, 7)):
        assert sum(mix.spread > 0 for mix in mixes(count, 77, uncertain=share)) == some


def test_frames_are_as_many_as_one_asks_for():
    def streams(share):
        return sum(mix.workload(0).due is not None for mix in mixes(60, 76, frames=share))

    assert streams(0.0) == 0 and 20 < streams(0.5) < 40


# --- what is made small --------------------------------------------------------------------------


def test_a_hypervolume_is_the_share_of_the_box():
    reference = np.array([[0.1, 2.0], [0.001, 2.0]])  # the second has nothing to violate
    low, middle = 0.98 * 2, 1.09 * 2  # ANTT, half of the box's width apart
    points = np.array([[[0.11, low]] * 2, [[0.055, middle]] * 2, [[0.0, 9.0]] * 2])
    assert hypervolume(points, reference) == pytest.approx(0.25)
    points[0, 0] = 0.055, low
    assert hypervolume(points, reference) == pytest.approx(0.5)
    assert hypervolume(reference[None], reference) == pytest.approx(0.1 / 1.1 * 0.2 / 0.22)


def test_what_is_made_small_asks_for_both_ends():
    reference = np.array([[0.1, 2.0]])
    curve = np.array([[[0.05, 2.2]], [[0.1, 2.0]]])  # preferences 0 and 1
    assert loss(curve, reference, (0, 1)) < loss(curve[::-1], reference, (0, 1))
    better = np.array([curve, curve - [0.01, 0], curve - [0, 0.1]])
    base, *others = loss(better, reference, (0, 1)).tolist()
    assert max(others) < base


def as_earlier_versions_wrote(folder):
    """Have a run's files say what does not count, too, and nothing of what came later."""
    idle = {"loads": [0.8, 0.95, 1.05], "slo_multiplier": 10.0, "requests": None}
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    later = {"frames": 0.15, "uncertain": 0.0}
    assert recipe["workloads"] == {**RANDOM, "scenarios": [], **later}
    recipe["workloads"] = {**RANDOM, "scenarios": [], **idle}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    arrays = dict(np.load(folder / "state.npz"))
    record = json.loads(str(arrays["record"]))
    record["recipe"]["workloads"] = recipe["workloads"]
    np.savez(folder / "state.npz", **{**arrays, "record": json.dumps(record)})


# --- training ------------------------------------------------------------------------------------


def test_it_is_the_same_however_it_comes_about(tmp_path, monkeypatch):
    reports = []
    whole = train(SMALL, tmp_path / "whole", report=reports.append)
    assert "at preference 0.2, 1 - hypervolume" in _told(reports[-1])
    assert len(_told(reports[-1], brief=True)) <= 52
    assert whole.record["step"] in (2, 4, 6) and 0 < whole.record["hypervolume"] < 1
    assert [each["preference"] for each in whole.record["frontier"]][::5] == [0, 0.5, 1]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    train(SMALL, tmp_path / "parts", steps=2)
    as_earlier_versions_wrote(tmp_path / "parts")
    parts = train(SMALL, tmp_path / "parts", steps=6, resume=True)
    assert parts.weights.tolist() == whole.weights.tolist()
    drop = {"seconds"}
    assert {k: v for k, v in parts.record.items() if k not in drop} == {
        k: v for k, v in whole.record.items() if k not in drop
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"kind": "tiny", "width": 2}}, ["network.kind", "'tiny'", "'conditioned'"]),
        ({"preferences": [0, 2]}, ["preferences.1", "2"]),
        ({"sample": 4}, ["sample", "4", "3 mixes"]),
        ({"workloads": {"distribution": "random", "scenarios": ["multi-cnn"]}}, ["scenarios"]),
        ({"workloads": {**RANDOM, "loads": [0.9]}}, ["workloads.loads", "[0.9]", "leave it out"]),
        ({"workloads": {**RANDOM, "slo_multiplier": 5}}, ["workloads.slo_multiplier", "5.0"]),
        ({"workloads": {**RANDOM, "requests": 99}}, ["workloads.requests", "99", "random"]),
        ({"workloads": {"scenarios": ["multi-cnn"], "mixes": 3}}, ["workloads.mixes", "3"]),
        ({"workloads": {"scenarios": ["multi-cnn"], "frames": 0.3}}, ["workloads.frames", "0.3"]),
        ({"workloads": {"scenarios": ["multi-cnn"], "uncertain": 1}}, ["workloads.uncertain", "1"]),
        ({"workloads": {**RANDOM, "frames": 0.6}}, ["workloads.frames", "0.6", "0.55"]),
        ({"workloads": {**RANDOM, "uncertain": -1}}, ["workloads.uncertain", "-1", "equal to 0"]),
        (
            {"workloads": {**RANDOM, "uncertain": 0.2}},
            ["workloads.uncertain", "0.2 of 3", "not one"],
        ),
        ({"preferences": 0.2}, ["preferences", "0.2", "a list"]),
        ({"workloads": {"distribution": "normal"}}, ["workloads.distribution", "'normal'"]),
    ],
    ids=[
        *("network", "preference", "sample", "scenarios", "loads", "slo_multiplier", "requests"),
        *("mixes", "frames", "uncertain", "most frames", "least uncertain", "none"),
        *("a list", "distribution"),
    ],
)
def test_recipes_that_are_refused(refused, tmp_path, changes, words):
    with refused(*words):
        train({**SMALL, **changes}, tmp_path / "run")


# --- what is shipped -----------------------------------------------------------------------------


def means(policies, workloads):
    """Violation rate and ANTT over that of the first policy, means over workloads."""
    rows = np.array(
        [
            [[m["violation_rate"], m["antt"]] for m in (measure(simulate(w, p)) for p in policies)]
            for w in workloads
        ]
    )
    return rows[..., 0].mean(axis=0), (rows[..., 1] / rows[:, :1, 1]).mean(axis=0)


def test_a_preference_is_what_counts(refused):
    workloads = [mix.workload(3) for mix in mixes(12, 73)]
    policies = [find(SPTP), *(find(f"pareto:preference={p}") for p in (1, 0.5, 0))]
    rates, antts = means(policies, workloads)
    assert rates.tolist() == sorted(rates, reverse=True) and antts[1:].tolist() == sorted(antts[1:])
    assert rates[3] < 0.9 * rates[0] and antts[1] < 1.001
    for beyond in ("1.5", "1.0000000000000002"):
        with refused("'pareto'", "'preference'", f"{beyond} is", "at most 1"):
            find(f"pareto:preference={beyond}")


def test_at_preference_1_it_is_least_ri_to_the_last_bit():
    policy, rng = find("pareto:preference=1"), np.random.default_rng(5)
    remaining, isolated = 0.1 / 3 * rng.integers(1, 4, (2, 50))  # which a logarithm takes for ties
    queue = SimpleNamespace(remaining=remaining, isolated=isolated)
    scores = np.empty(50)
    policy.score(queue, 50, 0.0, policy.values(0.01), scores)  # without an index: all is certain
    assert scores.tolist() == (remaining * isolated).tolist()


def test_at_preference_1_it_is_gittins_where_sizes_are_uncertain():
    always = replace(find("pareto:preference=1"), events=False)  # asked after every layer
    apart = 0
    for mix in mixes(6, 74, uncertain=1):
        workload = mix.workload(1)
        its, mine, certain = (
            simulate(workload, policy).finish_s.tolist()
            for policy in (find("gittins"), always, find(SPTP))
        )
        assert mine == its
        apart += its != certain
    assert apart >= 3


@pytest.mark.parametrize("agent", ["evolved", "ppo", "dqn"])
def test_a_tilt_moves_an_agent_along_the_trade_off(agent):
    workloads = [mix.workload(3) for mix in mixes(12, 73)]
    plain, none, most = (find(spec) for spec in (agent, f"{agent}:tilt=0", f"{agent}:tilt=40"))
    (rate, same, high), antts = means([plain, none, most], workloads)
    assert rate == same and antts[1] == 1
    assert rate < high and antts[2] < 1


def test_it_breaks_on_no_sizes():
    """Two hundred small layers, sizes with a heavy tail, the largest a thousand times the least."""
    rng = np.random.default_rng(4)
    traces = []
    for at, scale in enumerate(np.geomspace(1, 1000, 6)):
        latency = rng.lognormal(0, 0.5, (40, 200)) * rng.lognormal(0, 0.5, (40, 1)) * scale * 1e-7
        train_half = np.arange(40) % 2 == 0
        names = tuple(f"layer{layer}" for layer in range(200))
        of = f"net{at}", f"net{at}", "dense", "mine"
        traces.append(Trace(*of, latency, np.zeros((40, 200)), train_half, np.arange(40), names))
    store = TraceStore(traces)
    weights = np.geomspace(1, 1000, 6) ** -0.8
    workloads = []
    for load in (0.8, 0.95, 1.05):
        trace = rng.choice(6, 1000, p=weights / weights.sum())
        row = rng.choice(np.arange(40)[traces[0].train], 1000)
        size = store.isolated_s(trace, row).mean()
        arrival = np.cumsum(rng.exponential(size / load, 1000))
        workloads.append(Workload(store, "train", arrival, trace, row, np.ones(1000), 10.0))
    for workload in workloads:
        rates, antts = means([find(SPTP), find("pareto:preference=1")], [workload])
        assert rates[1] <= rates[0] and antts[1] < 1.01


BESIDE = {
    "evolution": {
        **{"network": {"kind": "tiny", "width": 1}, "population": 4},
        **{"pool": 2, "batch": 1, "steps": 2, "validate_every": 2},
    },
    "ppo": {
        **{"network": {"kind": "pooled", "width": 2}, "environments": 1, "slots": 8},
        **{"penalty": 20, "n_steps": 16, "batch_size": 16},
        **{"steps": 64, "validate_every": 64},
    },
}


@pytest.mark.parametrize("method", BESIDE)
def test_others_train_on_random_scenarios_too(tmp_path, method):
    recipe = {"name": "mine", "method": method, "workloads": SMALL["workloads"], **BESIDE[method]}
    trained = train(recipe, tmp_path / "run")
    assert len(trained.record["validation"]) == 3
    assert all("sptp_antt" in each for each in trained.record["validation"])


def test_what_has_nobody_late_is_refused(tmp_path, refused):
    few = {**SMALL["workloads"], "mixes": 1, "validation": 1}
    with refused("workloads", "nobody is late in validation", "more mixes"):
        train({**SMALL, "workloads": few, "sample": None}, tmp_path / "run")
