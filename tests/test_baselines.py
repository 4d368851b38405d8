"""What is special to single baseline policies; their golden cases stand in `test_golden`."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dysta_gym import TraceStore, Workload, generate, load_scenario, simulate
from dysta_gym.baselines.dysta_fp16 import rounded

HALF, SINGLE = (11, 5), (24, 8)


@given(
    st.floats().filter(lambda x: not 2.0**900 <= abs(x) < np.inf)
    | st.floats(-1e-3, 1e-3)
    | st.floats(-7e4, 7e4)
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_rounding_is_that_of_ieee_754(x):
    for (significand, exponent), kind in ((HALF, np.float16), (SINGLE, np.float32)):
        expected = float(kind(x))
        got = rounded(x, significand, exponent)
        assert got == expected or (np.isnan(got) and np.isnan(expected))


def test_rounding_to_eight_bits_and_fewer():
    # 1.0625 lies half-way between 1 and 1.125, the even one of which is 1; 2^-9 is subnormal.
    assert [rounded(x, 4, 4) for x in (1.0625, 1.1, 2**-9, 2**-10, 2**-9 * 1.51, 250.0)] == [
        1.0, 1.125, 2**-9, 0.0, 2**-8, np.inf,
    ]  # fmt: skip


def test_the_published_rule_is_the_limit_of_more_precision():
    for name in ("multi-attnn", "multi-cnn"):
        workload = generate(load_scenario(name).varied(load=1.0, requests=300), seed=0)
        exact = simulate(workload, "dysta").finish_s
        fine = simulate(workload, "dysta-fp16:significand=51,exponent=8").finish_s
        coarse = simulate(workload, "dysta-fp16:significand=4,exponent=8").finish_s
        assert (fine == exact).mean() > 0.95 > (coarse == exact).mean()


def test_half_precision_cannot_tell_close_requests_apart(make_trace):
    # 1.0002 and 1 are one number in half precision, so the earlier one runs first.
    store = TraceStore([make_trace("long", [[1.0002]]), make_trace("short", [[1.0]])])
    workload = Workload(store, "all", [0, 0], [0, 1], [0, 0], [1, 1], 10.0)
    assert simulate(workload, "dysta").finish_s.argmin() == 1
    assert simulate(workload, "dysta-fp16").finish_s.argmin() == 0
    assert simulate(workload, "dysta-fp16:significand=24,exponent=8").finish_s.argmin() == 1


def test_dysta_tuned_does_not_depend_on_the_unit_of_time(make_trace):
    rng = np.random.default_rng(0)
    latency_s = rng.exponential(1.0, (3, 8, 4)) * np.array([1, 3, 9])[:, None, None]
    sparsity = rng.uniform(0, 0.9, (3, 8, 4))
    arrival_s = np.cumsum(rng.exponential(12.0, 200))
    picks = (rng.integers(3, size=200), rng.integers(8, size=200), np.ones(200))
    orders = {"dysta": [], "dysta-tuned": []}
    for scale in (1e-3, 1.0, 1e3):
        store = TraceStore(
            make_trace(f"net{i}", scale * latency_s[i], sparsity[i]) for i in range(3)
        )
        workload = Workload(store, "all", scale * arrival_s, *picks, 10.0)
        for policy, order in orders.items():
            order.append(simulate(workload, policy, record=True).ran.tolist())
    assert orders["dysta-tuned"][0] == orders["dysta-tuned"][1] == orders["dysta-tuned"][2]
    assert orders["dysta"][0] != orders["dysta"][1]
