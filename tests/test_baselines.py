"""What is special to single baseline policies; their golden cases stand in `test_golden`."""

from itertools import combinations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dysta_gym import (
    Queue,
    TraceStore,
    Workload,
    compare,
    find,
    generate,
    load_scenario,
    measure,
    simulate,
)
from dysta_gym.baselines.dysta_fp16 import rounded
from dysta_gym.compiled.records import blank
from dysta_gym.uncertainty import gittins_index

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


def order_by_hw_design(workload, clock_hz):
    """Requests in the order of their layers, by the artifact's `scheduler.sv` and `calc_score.sv`.

    Its tables by model, pattern and layer are averages over inputs; ``linear_rate_lut`` and
    ``exe_clk_lut`` hold a number a request.
    """
    tables = []
    for trace in workload.store.traces:
        rows = trace.rows(workload.reference)
        cycles = trace.latency_s[rows].mean(axis=0) * clock_hz
        tables.append((cycles, 1 - trace.sparsity[rows].mean(axis=0)))
    arrival = (workload.arrival_s * clock_hz).tolist()
    deadline = (workload.deadline_s * clock_hz).tolist()
    linear_rate_lut, exe_clk_lut = [1.0] * len(arrival), list(arrival)
    layer, order, sys_clk = [0] * len(arrival), [], 0.0
    layers = [len(tables[at][0]) for at in workload.trace]
    while len(order) < sum(layers):
        left = [i for i in range(len(arrival)) if layer[i] < layers[i]]
        sys_clk = max(sys_clk, min(arrival[i] for i in left))
        best, least = None, None
        for i in left:
            if arrival[i] > sys_clk:
                continue
            cycles, _ = tables[workload.trace[i]]
            estimated_lat = linear_rate_lut[i] * cycles[layer[i] :].sum()
            penalty = (sys_clk - exe_clk_lut[i]) / cycles.sum()
            score = estimated_lat + 0.01 * (max(0, deadline[i] - sys_clk) + penalty)
            if least is None or score < least:
                best, least = i, score
        trace, row = workload.store.traces[workload.trace[best]], workload.row[best]
        sys_clk += trace.latency_s[row, layer[best]] * clock_hz
        nonzero = 1 - trace.sparsity[row, layer[best]]
        linear_rate_lut[best] = nonzero / tables[workload.trace[best]][1][layer[best]]
        exe_clk_lut[best] = sys_clk
        layer[best] += 1
        order.append(best)
    return order


@pytest.mark.parametrize("clock_hz", [200e6, 100.0])  # in slow cycles, waiting decides as well
def test_dysta_rtl_runs_what_the_hardware_design_runs(make_trace, clock_hz):
    rng = np.random.default_rng(0)
    store = TraceStore(
        make_trace(
            f"net{i}", 0.004 * 3**i * rng.exponential(1.0, (8, 5)), rng.uniform(0, 0.9, (8, 5))
        )
        for i in range(3)
    )
    orders = {}
    for slo in (2.0, 10.0):
        arrival_s = np.cumsum(rng.exponential(0.1, 150))
        picks = (rng.integers(3, size=150), rng.integers(8, size=150), np.ones(150))
        workload = Workload(store, "all", arrival_s, *picks, slo)
        expected = order_by_hw_design(workload, clock_hz)
        policy = find(f"dysta-rtl:clock_hz={clock_hz}")
        assert simulate(workload, policy, record=True).ran.tolist() == expected
        for other in ("dysta", "dysta-cycles", "dysta-cycles@monitored/last"):
            orders[other] = simulate(workload, other, record=True).ran.tolist()
            assert orders[other] != expected, other


def test_dysta_in_cycles_counts_those_of_200_mhz():
    workload = generate(load_scenario("multi-attnn").varied(load=1.0, requests=200), seed=0)
    same = [
        simulate(workload, spec).finish_s.tolist()
        for spec in ("dysta-cycles", "dysta:time_unit=5e-9")
    ]
    assert same[0] == same[1] != simulate(workload, "dysta").finish_s.tolist()


# --- rules with triage ---------------------------------------------------------------------------


def queues(most=7):
    """Queues with the columns that these rules read, and the time."""
    number = st.floats(0.01, 20)

    def queue_of(rows):
        remaining, more, slack, correction = map(np.array, zip(*rows, strict=True))
        queue = blank(Queue, len(rows))
        columns = {
            "remaining": remaining,
            "isolated": remaining + more,
            "deadline": 100.0 + slack,
            "correction": correction,
        }
        return queue._replace(length=len(rows), **columns)

    row = st.tuples(number, number, st.floats(-20, 60), st.floats(0.5, 2))
    return st.lists(row, min_size=1, max_size=most).map(queue_of)


def scores_of(name, queue, now=100.0):
    policy = find(name)
    scores = np.full(queue.length, np.nan)
    policy.score(queue, queue.length, now, policy.values(1.0), scores)
    assert not np.isnan(scores).any()
    return scores


@given(queue=queues())
def test_triage_puts_last_who_cannot_make_it(queue):
    slack = queue.deadline - 100.0
    makes = [bool(s >= r) for s, r in zip(slack, queue.remaining, strict=True)]
    keys = [
        (not can, due if can else rest)
        for can, due, rest in zip(makes, queue.deadline, queue.remaining, strict=True)
    ]
    assert np.argsort(scores_of("edf-triage", queue)).tolist() == sorted(
        range(queue.length), key=lambda i: keys[i]
    ) or len(set(keys)) < len(keys)


@given(queue=queues())
def test_slack_rules_are_their_formulas(queue):
    expected = queue.isolated * queue.correction
    slack = (queue.deadline - 100.0 - queue.remaining) / expected
    late, bend, width = find("slack-index").values(1.0)
    index = np.log(queue.remaining) + late * (slack < 0) + bend * slack / (width + abs(slack))
    assert scores_of("slack-index", queue) == pytest.approx(index, rel=1e-12, abs=1e-12)
    push, most, width = find("slack-pull").values(1.0)
    pull = np.where(slack < 0, push, 1 / (1 + most * np.exp(-np.maximum(slack, 0) / width)))
    product = queue.remaining * queue.isolated
    assert scores_of("slack-pull", queue) == pytest.approx(product * pull, rel=1e-12)


def largest_sets_on_time(queue, now=100.0):
    """All sets of the greatest size that are on time in order of deadline, by trying each."""
    due = sorted(range(queue.length), key=lambda i: queue.deadline[i])
    for size in range(queue.length, -1, -1):
        found = []
        for chosen in combinations(due, size):
            ends = now + np.cumsum(queue.remaining[list(chosen)])
            if (ends <= queue.deadline[list(chosen)]).all():
                found.append(set(chosen))
        if found:
            return found
    return []


@given(queue=queues())
def test_moore_and_hodgson_sacrifice_as_few_as_can_be(queue):
    """Nobody outside a set of theirs is worth less than a disturbance."""
    scores = scores_of("moore-hodgson:sacrificed=1e3", queue)
    weight = scores / queue.remaining
    given_up = {i for i in range(queue.length) if round(np.log10(weight[i])) in (3, 12)}
    kept = set(range(queue.length)) - given_up
    assert kept in largest_sets_on_time(queue)
    # What may run out of turn leaves the set on time.
    first = int(np.argmin(scores))
    if weight[first] < 1e8:
        rest = [i for i in sorted(kept, key=lambda i: queue.deadline[i]) if i != first]
        ends = 100.0 + queue.remaining[first] + np.cumsum(queue.remaining[rest])
        assert (ends <= queue.deadline[rest] + 1e-9).all()


def test_rules_with_triage_miss_few_deadlines():
    """At 1.05 of the capacity, less than half of what earliest deadline first misses."""
    workload = generate(load_scenario("multi-attnn").varied(load=1.05, requests=1000), seed=0)
    late = {
        name: measure(simulate(workload, name))["violation_rate"]
        for name in ("edf", "edf-triage", "moore-hodgson", "slack-index", "slack-pull")
    }
    edf = late.pop("edf")
    assert max(late.values()) < edf / 2, late


# --- Gittins' index ------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["multi-attnn", "multi-cnn"])
@pytest.mark.parametrize("load", [0.8, 1.05])
def test_gittins_with_nothing_uncertain_is_least_slowdown_first(scenario, load):
    workload = generate(load_scenario(scenario).varied(load=load, requests=500), 1)
    both = [simulate(workload, f"{rule}@clairvoyant", record=True) for rule in ("gittins", "sptp")]
    assert both[0].ran.tolist() == both[1].ran.tolist()
    assert both[0].finish_s.tolist() == both[1].finish_s.tolist()


def test_gittins_index_by_hand(make_trace):
    """Two sizes, 2 and 6, in one layer: what ends soon may be tried, or the whole be finished."""
    trace = make_trace("net", [[2.0], [6.0]] * 8)
    store = TraceStore([trace])
    # Of 16 quantiles half are 2 and half 6. Until 2: 1/2 x 1/2 over 2; until 6: the mean of 1/X
    # over the mean of X.
    tried, whole = 0.5 * 0.5 / 2.0, (0.5 / 2 + 0.5 / 6) / 4.0
    assert tried > whole
    assert gittins_index(store, "static", "all") == pytest.approx(np.full(16, 1 / tried))


@pytest.mark.parametrize("scenario", ["multi-attnn", "multi-cnn", "datacenter-vision"])
@pytest.mark.parametrize("level", ["static", "pattern", "sized"])
def test_gittins_has_the_lowest_slowdown_of_rules_that_learn_nothing(scenario, level):
    """Under Poisson arrivals, within a hundredth, on the geometric mean of some workloads."""
    rules = ["fcfs", "sjf", "sptp", "prema", "edf-triage", "slack-index", "dysta-tuned"]
    specs = [f"{rule}@{level}" for rule in ["gittins", *rules]]
    frame = compare([scenario], specs, loads=[0.8, 0.95], seeds=range(20), bounds=False)
    antt = frame.assign(log=np.log(frame["antt"])).groupby(["policy", "load"])["log"].mean()
    antt = np.exp(antt.unstack())
    assert (antt.loc[specs[0]] <= 1.01 * antt.min()).all()
