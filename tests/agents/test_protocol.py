"""What agents are chosen by is what is reported."""

from dysta_gym import find, generate, load_scenario, measure, simulate
from dysta_gym.agents.protocol import Bench


def test_a_bench_measures_what_measure_does():
    conditions = [load_scenario("multi-cnn").varied(load=load, requests=80) for load in (0.9, 1.2)]
    measured = Bench(conditions, range(3)).measure(find("dysta"))
    for condition, by_seed in zip(conditions, measured.tolist(), strict=True):
        for seed, found in enumerate(by_seed):
            metrics = measure(simulate(generate(condition, seed, split="train"), "dysta"))
            assert found == [metrics["violation_rate"], metrics["antt"]]
