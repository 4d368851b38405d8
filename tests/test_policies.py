"""Finding a policy by name, and writing one's own."""

from dataclasses import replace
from types import ModuleType

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dysta_gym import Machine, Parameter, Policy, TraceStore, Workload, find, simulate
from dysta_gym.information import ALL_LEVELS, LEVELS
from dysta_gym.policies import expand, names

ALIASES = {
    "sjf_sparse": "sjf@monitored",
    "prema_sparse": "prema@monitored",
    "sdrm3_sparse": "sdrm3@monitored",
    "dysta_naive": "dysta@static",
    "dysta_oracle": "dysta@clairvoyant",
}
PUBLISHED = {"dysta": "monitored", "sjf": "static", "prema": "static", "sdrm3": "static"}


def same(one, other):
    """Whether two policies are the same rule at the same level with the same parameters."""
    return (one.name, one.score, one.level, repr(one.values(2.0))) == (
        other.name, other.score, other.level, repr(other.values(2.0)),
    )  # fmt: skip


@pytest.mark.parametrize("name", names())
def test_every_installed_policy(name):
    policy = find(name)
    assert policy.summary and "\n" not in policy.summary
    assert all(parameter.description for parameter in policy.parameters.values())
    assert same(find(policy.spec), policy)
    for level in LEVELS:
        assert same(find(f"{name}@{level}"), policy.at(level))


@pytest.mark.parametrize(("alias", "spec"), ALIASES.items())
def test_aliases_are_points_of_the_grid(alias, spec):
    assert same(find(alias), find(spec))


def test_published_levels_and_parameters():
    assert {name: find(name).level for name in PUBLISHED} == PUBLISHED
    assert find("dysta").values(2.0).tolist() == [0.01, 1.0]
    assert find("sdrm3").values(2.0).tolist() == [1.0]
    assert find("dysta:time_unit=0.5,beta=2").values(2.0).tolist() == [2.0, 0.5]
    assert find("dysta_oracle:beta=0").level == "clairvoyant"
    assert find("dysta@pattern: beta = 1e-3").values(2.0).tolist() == [1e-3, 1.0]
    assert same(find("dysta").at("static", beta=0.5), find("dysta@static:beta=0.5"))


@given(
    beta=st.just(0.0) | st.floats(1e-9, 1e6),
    time_unit=st.floats(1e-9, 1e3),
    seed=st.integers(0, 2**31),
    level=st.sampled_from(LEVELS),
)
def test_the_spec_of_a_policy_finds_it_again(beta, time_unit, seed, level):
    for policy in (
        find("dysta").at(level, beta=beta, time_unit=time_unit),
        find("random").at(level, seed=seed),
    ):
        assert same(find(policy.spec), policy), policy.spec


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("dista", ["policy", "'dista'", "dysta", "sjf_sparse"]),
        ("", ["policy", "''", "dysta"]),
        ("dysta@oracle", ["level", "'oracle'", *LEVELS]),
        ("dysta@", ["level", "''", *LEVELS]),
        ("dysta@*", ["level", "'*'", *LEVELS]),
        ("dysta:gamma=1", ["'gamma'", "beta", "time_unit"]),
        ("fcfs:beta=1", ["'beta'", "no parameters"]),
        ("dysta:beta", ["'beta'", "key=value"]),
        ("dysta:beta=", ["'beta='", "key=value"]),
        ("dysta:", ["key=value"]),
        ("dysta:beta=1,", ["key=value"]),
        ("dysta:beta=1_0", ["'beta=1_0'", "key=value"]),
        ("dysta:beta=\u0661", ["beta=", "key=value"]),
        ("dysta:beta=1,beta=1", ["'beta'", "given twice"]),
        ("dysta:beta=big", ["'beta=big'", "number"]),
        ("dysta:beta=-1", ["'beta'", "-1", "at least 0"]),
        ("dysta:beta=nan", ["'beta'", "nan", "at least 0"]),
        ("dysta:beta=inf", ["'beta'", "inf", "finite"]),
        ("dysta:time_unit=0", ["'time_unit'", "0", "above 0"]),
        ("random:seed=-1", ["'seed'", "-1", "at least 0"]),
        ("random:seed=0.5", ["'seed'", "0.5", "whole"]),
        ("half \udcff.py", ["half \\udcff.py", "half of a character", "rename"]),
        ("dys\ud800ta", ["\\ud800", "half of a character"]),
    ],
)
def test_specs_that_find_nothing(refused, spec, words):
    with refused(*words):
        find(spec)


def test_policies_that_cannot_be(refused):
    with refused("'mine'", "level", "'psychic'", *LEVELS):
        Policy("mine", longest, level="psychic")
    with refused("'mine'", "'weight'", "no parameters"):
        Policy("mine", longest, settings={"weight": 1.0})
    with refused("'mine'", "'weight'", "1.0", "Parameter"):
        Policy("mine", longest, parameters={"weight": 1.0})
    for promised in (-1.0, np.nan, "slow"):
        with refused("'mine'", "drift", repr(promised), "0 or more"):
            Policy("mine", longest, drift=lambda _, given=promised: given).drift_of(np.zeros(1))
    for promise in ({"stable": True}, {"drift": lambda values: 0.0}):
        with refused("'mine'", "events", "promise"):
            Policy("mine", longest, events=True, **promise)
    for wrong in (np.nan, np.inf, -np.inf):
        with refused("'mine'", "weights", "finite"):
            Policy("mine", longest, weights=(1.0, wrong))
    with refused("'dysta'", "'beta'", "-1"):
        find("dysta").at("static", beta=-1)


def test_expand():
    assert expand("dysta@*") == [f"dysta@{level}" for level in LEVELS]
    assert expand("dysta@*:beta=1,time_unit=2") == [
        f"dysta@{level}:beta=1,time_unit=2" for level in LEVELS
    ]
    assert expand("sjf@monitored/*") == [
        f"sjf@{each}" for each in ALL_LEVELS if "monitored" in each
    ]
    assert expand("sjf@sized/*:beta=1") == ["sjf@sized:beta=1", "sjf@sized/kalman:beta=1"]
    assert expand("sjf@static/*") == ["sjf@static"]
    for spec in ("dysta", "dysta@static", "sdrm3:alpha=2", "sjf@monitored/last", "sjf@oracle/*"):
        assert expand(spec) == [spec]


@settings(max_examples=50)
@given(data=st.data(), exponent=st.integers(-20, 20), beta=st.sampled_from([0.01, 0.3, 2.0]))
def test_dysta_does_not_depend_on_the_unit_of_time(workloads, data, exponent, beta):
    workload = data.draw(workloads())
    unit = 2.0**exponent  # a power of two scales exactly, and keeps ties
    scaled = Workload(
        TraceStore(replace(t, latency_s=t.latency_s * unit) for t in workload.store.traces),
        workload.reference,
        workload.arrival_s * unit,
        workload.trace,
        workload.row,
        workload.priority,
        workload.slo_multiplier,
    )
    for level in LEVELS:
        policy = find("dysta").at(level, beta=beta)
        one = simulate(workload, policy, record=True)
        other = simulate(scaled, policy.at(level, time_unit=unit), record=True)
        assert one.ran.tolist() == other.ran.tolist()


# --- policies of one's own -----------------------------------------------------------------------


def longest(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = -parameters[0] * queue.remaining[i]


WEIGHT = {"weight": Parameter(1.0, "weight of the remaining latency")}


def linear(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = parameters[1] * queue.remaining[i] + parameters[2] * queue.arrival[i]


def test_weights_are_read_after_the_parameters(workload):
    relative = {"unit": Parameter(2.0, "a time", relative=True)}
    bare, learned = (Policy("linear", linear, weights=(0.0, 1.0), parameters=parameters)
                     for parameters in ({}, relative))  # fmt: skip
    assert bare.values(3.0).tolist() == [0.0, 1.0]
    assert learned.values(3.0).tolist() == [6.0, 0.0, 1.0]
    assert learned.at("monitored", unit=5.0).values(3.0).tolist() == [15.0, 0.0, 1.0]
    for weights, usual in (((0.0, 1.0), "fcfs"), ((1.0, 0.0), "sjf@static")):
        expected = simulate(workload, usual).finish_s.tolist()
        policy = replace(learned, weights=weights)
        assert simulate(workload, policy).finish_s.tolist() == expected


@pytest.mark.parametrize("interpreted", [False, True])
def test_own_policy(workload, interpreted):
    policy = Policy("longest", longest, parameters=WEIGHT, interpreted=interpreted)
    shortest = policy.at("clairvoyant", weight=-1.0)
    one, other, reversed_, usual = (
        simulate(workload, each).finish_s.tolist()
        for each in (shortest, "sjf@clairvoyant", policy, "sjf@static")
    )
    assert one == other
    assert reversed_ != usual


def test_a_rule_reads_its_globals_as_they_are(workload):
    namespace = {"SIGN": 1.0, "WEIGHTS": np.array([1.0, 0.0]), "helper": ModuleType("helper")}
    namespace["helper"].SIGN = 1.0
    exec(
        """
def rule(queue, size, now, parameters, scores):
    for i in range(size):
        value = WEIGHTS[0] * queue.remaining[i] + WEIGHTS[1] * queue.arrival[i]
        scores[i] = helper.SIGN * SIGN * value
""",
        namespace,
    )
    policy = Policy("mine", namespace["rule"], level="clairvoyant")

    def finished():
        one, other = (
            simulate(workload, each).finish_s.tolist()
            for each in (policy, replace(policy, interpreted=True))
        )
        assert one == other
        return one

    shortest = finished()
    assert shortest == simulate(workload, "sjf@clairvoyant").finish_s.tolist()
    namespace["SIGN"] = -1.0
    longest = finished()
    assert longest != shortest
    namespace["helper"].SIGN = -1.0
    assert finished() == shortest
    namespace["WEIGHTS"][:] = 0.0, 1.0
    assert finished() not in (shortest, longest)
    namespace["WEIGHTS"] = np.array([1.0, 0.0])
    assert finished() == shortest
    machine = Machine(workload, policy.level)
    first = machine.choose(policy)
    machine.step(first)
    namespace["SIGN"] = 1.0
    assert machine.choose(policy) == machine.choose(replace(policy, interpreted=True))


def test_own_policy_in_plain_numpy_keeps_notes_in_memory(workload):
    def least_served(queue, size, now, parameters, scores):
        scores[:size] = queue.memory[:size]
        queue.memory[np.argmin(scores[:size])] += 1

    policy = Policy("least_served", least_served, interpreted=True)
    machine = Machine(workload, policy.level)
    while not machine.done:
        served = machine.queue.executed[: machine.size].tolist()
        slot = machine.choose(policy)
        assert served[slot] == min(served)
        machine.step(slot)


def test_settings_may_be_numbers_of_numpy(refused):
    for value in (np.float64(0.05), np.float32(0.5), np.int64(1)):
        policy = find("dysta").at("static", beta=value)
        assert policy == find(policy.spec)
    assert find("dysta").at("static", beta=np.float64(0.05)).spec == "dysta@static:beta=0.05"
    for value in ("much", None, True, np.array([0.1, 0.2]), 1j, np.complex128(1)):
        with refused("'dysta'", "'beta'", "number"):
            find("dysta").at("static", beta=value)


@pytest.mark.parametrize("value", ["1e-320", "1e-16", "1e300"])
def test_numbers_of_parameters_have_bounds(refused, value):
    with refused("dysta", "beta", "1e-15", "1e+15"):
        find(f"dysta:beta={value}")
    assert find("dysta:beta=0").settings == {"beta": 0.0}


def test_there_is_one_zero():
    zeros = [find("pareto").at("static", preference=each) for each in (0.0, -0.0, np.float32(-0.0))]
    zeros += [find(f"pareto@static:preference={each}") for each in ("0", "-0", "-0.0", "-0e9")]
    assert {each.spec for each in zeros} == {"pareto@static:preference=0.0"}
    assert not np.signbit([each.values(1.0)[2] for each in zeros]).any()
