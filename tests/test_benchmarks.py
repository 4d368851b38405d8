"""The benchmarks: what they compare is comparable."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import KINDS, Case, coverage
from benchmarks.episodes import PLAIN, Compiled, plain_side
from benchmarks.page import Goal, Section, duration, goals, short
from benchmarks.timing import race
from benchmarks.training import Stopwatch
from dysta_gym.policies import find
from dysta_gym.workloads import generate, load_scenario


@pytest.mark.parametrize("load", [0.7, 1.5])
@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_loop_makes_the_schedule_of_the_compiled_one(name: str, load: float) -> None:
    workload = generate(load_scenario("multi-attnn").varied(load=load, requests=200), 1)
    compiled = Compiled(workload, find(name))
    assert compiled() > 0
    plain_side(workload, find(name), PLAIN[name], compiled.schedule)()


def test_a_plain_loop_with_another_schedule_is_refused() -> None:
    workload = generate(load_scenario("multi-attnn").varied(load=1.5, requests=50), 1)
    compiled = Compiled(workload, find("sjf"))
    compiled()
    with pytest.raises(SystemExit, match="another schedule"):
        plain_side(workload, find("sjf"), PLAIN["fcfs"], compiled.schedule)()


def test_sides_take_turns() -> None:
    calls: list[str] = []
    seconds = iter([3.0, 30.0, 1.0, 10.0, 2.0, 20.0])

    def side(name: str) -> float:
        calls.append(name)
        return next(seconds)

    timings = race({"a": lambda: side("a"), "b": lambda: side("b")}, 0.0, rounds=3, turn_s=0.0)
    assert calls == ["a", "b"] * 3
    assert timings["a"].fastest == 1.0
    assert timings["b"].spread == 1.0


def test_a_missed_goal_is_shown_as_missed() -> None:
    section = Section("A", goals=[Goal("fast", "slow", False), Goal("small", "small", True)])
    assert goals([section]).splitlines()[2:] == [
        "| fast | slow | **no** |",
        "| small | small | yes |",
    ]


def test_numbers_keep_three_digits() -> None:
    assert [short(n) for n in (0.123, 12.34, 999.6, 1e6, 2.345e9)] == [
        "0.12", "12.3", "1.00 k", "1.00 M", "2.35 G"
    ]  # fmt: skip
    assert [duration(s) for s in (12.0, 0.99996, 1.5e-3, 2e-8)] == [
        "12.0 s", "1.00 s", "1.50 ms", "20.0 ns"
    ]  # fmt: skip


def test_a_call_within_another_is_counted_once() -> None:
    class Agent:
        def outer(self) -> float:
            return self.inner()

        def inner(self) -> float:
            return float(np.sort(np.arange(1e5)).sum())

    agent, stopwatch = Agent(), Stopwatch()
    with stopwatch.watched:
        stopwatch.watch("environment", agent, "outer")
        stopwatch.watch("torch: forward", agent, "inner")
        agent.outer()
        assert stopwatch.seconds["environment"] > 0
        assert stopwatch.seconds["torch: forward"] == 0
        agent.inner()
        assert stopwatch.seconds["torch: forward"] > 0
    assert "inner" not in vars(agent)


def test_kinds_of_intervals_are_scipys() -> None:
    values = np.random.default_rng(0).lognormal(size=30)
    for name, method in (("percentile", "percentile"), ("BCa", "BCa")):
        found = np.ravel(KINDS[name](values[None]))
        expected = stats.bootstrap(
            (values,), np.mean, method=method, rng=np.random.default_rng(1)
        ).confidence_interval
        assert found == pytest.approx([*expected], rel=0.06), name
    expected = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
    assert np.ravel(KINDS["t"](values[None])) == pytest.approx(expected)


def test_coverage_of_normal_values_is_as_it_says() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    cases = [Case("ANTT, difference", "made up", values), Case("ANTT", "constant", values * 0)]
    found = coverage(iter(cases), 400).set_index(["interval", "seeds"])
    assert set(found["where"]) == {"made up"}
    for name in ("t", "t, skewness", "studentised"):
        assert 0.9 < found.loc[(name, 20), "covered"] < 0.98
    assert found.loc[("percentile", 5), "covered"] < 0.9
    assert found.loc[("t", 50), "width"] == pytest.approx(1.02, abs=0.02)
