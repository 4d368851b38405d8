"""Scenarios, the workloads drawn from them, and recorded requests."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numba import types

from dysta_gym import Workload, compare, generate, load_scenario, shipped_scenarios
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.streams import pool
from dysta_gym.information import LEVELS
from dysta_gym.simulation import simulate
from dysta_gym.traces import read_artifact_traces, reference_split
from dysta_gym.workloads import (
    LOADS,
    PLAN_TYPE,
    Requests,
    arrival_rate,
    draw,
    mean_isolated_s,
    plan,
    read_requests,
    requests_from,
)

GOLDEN = Path(__file__).parent / "golden"
TINY = {
    "name": "tiny",
    "accelerator": "sanger",
    "traces": {"bert": 1, "gpt2": 2},
    "trace_dir": str(GOLDEN / "sanger"),
    "load": 0.8,
    "requests": 200,
}


BURSTS = {"process": "mmpp", "intensity": 5.0, "share": 0.1, "length": 40.0}
FRAMES = {"process": "frames", "jitter": 0.25}


def scenario(**changes):
    """`TINY` with other fields; a field that is None is left out."""
    return load_scenario({k: v for k, v in (TINY | changes).items() if v is not None})


# --- scenarios -----------------------------------------------------------------------------------


def test_scenarios_of_the_paper_are_shipped():
    assert {"multi-attnn", "multi-cnn"} <= set(shipped_scenarios())


@pytest.mark.parametrize("name", shipped_scenarios())
def test_shipped_scenario_is_sound(name):
    loaded = load_scenario(name)
    assert loaded.name == name and loaded.description and loaded.sources
    assert loaded == load_scenario(shipped_scenarios()[name])
    workload = generate(loaded, seed=0)
    assert len(workload) == loaded.requests
    assert set(workload.trace) == set(range(len(loaded.traces)))
    assert all(np.isfinite(simulate(workload, f"dysta@{level}").finish_s).all() for level in LEVELS)


def test_defaults_are_those_of_the_published_comparison():
    assert scenario(requests=None).requests == 1000
    assert scenario().slo_multiplier == 10
    assert scenario().priorities == (1, 3, 9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slo_multiplyer": 5}, ["'slo_multiplyer'", "slo_multiplier"]),
        ({"arrivals": {"proces": "poisson"}}, ["arrivals.process", "missing", "'poisson'"]),
        ({"arrivals": {"process": "bursty"}}, ["arrivals.process", "'bursty'", "'poisson'"]),
        ({"load": None, "rate": -3}, ["rate", "-3", "greater than 0"]),
        ({"load": 0}, ["load", "0", "greater than 0"]),
        ({"load": float("nan")}, ["load", "nan", "finite"]),
        ({"arrivals": {"process": "poisson", "rate": 3}}, ["'arrivals.rate'", "process"]),
        ({"load": "hefty"}, ["load", "'hefty'", "number", "heavy"]),
        ({"rate": 3}, ["load, rate", "both", "one of the two"]),
        ({"load": None}, ["load, rate", "neither", "one of the two"]),
        ({"traces": {"bert": 1, "gpt2": -2}}, ["traces.gpt2", "-2", "greater than 0"]),
        ({"traces": {}}, ["traces", "at least 1"]),
        ({"traces": ["bert"]}, ["traces", "dictionary"]),
        ({"traces": None}, ["'traces'", "missing"]),
        ({"name": None}, ["'name'", "missing"]),
        ({"accelerator": "tpu"}, ["accelerator", "'tpu'", "'sanger'", "'eyerissv2'"]),
        ({"arrivals": BURSTS | {"share": 0.3}}, ["arrivals", "share", "0.3", "0.2"]),
        ({"arrivals": BURSTS | {"intensity": 1}}, ["arrivals.intensity", "1", "greater than 1"]),
        ({"arrivals": FRAMES | {"jitter": 1.0}}, ["arrivals.jitter", "1.0", "less than 1"]),
        ({"arrivals": {"process": "replay"}}, ["'arrivals.file'", "missing"]),
        ({"arrivals": BURSTS | {"length": 0.5}}, ["arrivals.length", "0.5", "equal to 1"]),
        ({"arrivals": "poisson"}, ["arrivals", "'poisson'", "mapping", "process"]),
        ({"requests": 10**9}, ["requests", "1000000000", "10000000"]),
        ({"traces": {"bert": 1e300}}, ["traces.bert", "1e+300", "1000000000"]),
        ({"speed": 0}, ["speed", "0", "greater than 0"]),
        ({"queue_limit": 0}, ["queue_limit", "0", "greater than 0"]),
        ({"queue_limit": 2.5}, ["queue_limit", "2.5", "integer"]),
        ({"preemption_cost_s": -1}, ["preemption_cost_s", "-1", "greater than or equal to 0"]),
        ({"requests": 0}, ["requests", "0", "greater than 0"]),
        ({"requests": 1.5}, ["requests", "1.5", "integer"]),
        ({"slo_multiplier": -1}, ["slo_multiplier", "-1", "greater than 0"]),
        ({"priorities": []}, ["priorities", "at least 1"]),
        ({"priorities": [1, -3]}, ["priorities.1", "-3", "greater than 0"]),
    ],
)
def test_scenario_that_does_not_fit(refused, changes, words):
    with refused("'tiny'", *words) if "name" not in changes else refused(*words):
        scenario(**changes)


def test_scenario_of_absent_traces(refused, tmp_path):
    with refused("traces", "roberta.npz"):
        scenario(traces={"bert": 1, "roberta": 1}).store()
    with refused("trace", "'no_such_net'"):
        scenario(traces={"no_such_net": 1}, trace_dir=None).store()
    with refused("bert.csv", "'sim_lat'", "missing"):  # a trace of another accelerator
        scenario(accelerator="eyerissv2").store()


def test_scenario_of_another_accelerator(refused, tmp_path):
    meta = '{"format": 1, "name": "n", "model": "n", "pattern": "dense", "accelerator": "sanger"}'
    np.savez(
        tmp_path / "n.npz",
        meta=np.array(meta),
        latency_s=np.ones((2, 1)),
        sparsity=np.zeros((2, 1)),
        train=np.array([True, False]),
        layer_name=np.array(["attention"]),
    )
    fields = {"traces": {"n": 1}, "trace_dir": str(tmp_path)}
    assert scenario(**fields).store().accelerator == "sanger"
    with refused("traces", "'n'", "'sanger'", "'eyerissv2'"):
        scenario(**fields, accelerator="eyerissv2").store()


def test_scenario_files(tmp_path, refused):
    path = tmp_path / "mine.yaml"
    (tmp_path / "traces").symlink_to(GOLDEN / "sanger")
    path.write_text(
        "name: mine\naccelerator: sanger\ntrace_dir: traces\ntraces: {bert: 1}\nload: 0.5\n"
    )
    for source in (path, str(path)):  # the folder is relative to the file
        assert load_scenario(source).store().models == ("bert",)
    assert load_scenario(load_scenario(path)) == load_scenario(path)

    for text, words in (
        ("- bert\n- gpt2\n", ["list", "mapping"]),
        ("", ["mapping"]),
        ("bert", ["str", "mapping"]),
        ("name: {", ["YAML"]),
        ("traces: {bert: 1, gpt2: 1, bert: 9}", ["'bert'", "more than once"]),
        ("[" * 5000, ["nested too deeply"]),
        ("name: a\n\tload: 1\n", ["YAML"]),
        ("name: mine\nload: 0.5\n", ["'accelerator'", "missing"]),
    ):
        path.write_text(text)
        with refused("mine.yaml", *words):
            load_scenario(path)
    path.write_bytes(b"name: \xff\xfe\n")
    with refused("mine.yaml"):
        load_scenario(path)
    with refused("absent.yaml", "does not exist"):
        load_scenario(tmp_path / "absent.yaml")
    with refused("scenario", "'multi-atnn'", "multi-attnn", "YAML"):
        load_scenario("multi-atnn")


# --- drawn workloads -----------------------------------------------------------------------------


def drawn(workload, *fields):
    return [getattr(workload, field).tolist() for field in fields]


def test_same_seed_draws_the_same_requests_at_every_load_and_deadline():
    low, high = (generate(scenario(load=load), seed=3) for load in (0.5, 1.1))
    tight = generate(scenario(load=0.5, slo_multiplier=2), seed=3)
    what = ("trace", "row", "priority")
    assert drawn(low, *what) == drawn(high, *what) == drawn(tight, *what)
    np.testing.assert_allclose(low.arrival_s * 0.5, high.arrival_s * 1.1, rtol=1e-12)
    assert tight.arrival_s.tolist() == low.arrival_s.tolist()
    relative = (tight.deadline_s - tight.arrival_s) / (low.deadline_s - low.arrival_s)
    np.testing.assert_allclose(relative, 2 / 10, rtol=1e-9)
    assert drawn(tight, "deadline_s") == drawn(low.with_slo(2), "deadline_s")

    assert drawn(generate(scenario(), seed=3), *what, "arrival_s") == drawn(
        generate(scenario(), seed=3), *what, "arrival_s"
    )
    other = generate(scenario(load=0.5), seed=4)
    for field in (*what, "arrival_s"):
        assert drawn(other, field) != drawn(low, field)


def test_streams_are_independent():
    base = generate(scenario(), seed=0)
    ranked = generate(scenario(priorities=[1, 2]), seed=0)
    assert drawn(ranked, "arrival_s", "trace", "row") == drawn(base, "arrival_s", "trace", "row")
    longer = generate(scenario(requests=300), seed=0)
    for field in ("arrival_s", "trace", "row", "priority"):
        assert drawn(longer, field)[0][:200] == drawn(base, field)[0]
    weighed = generate(scenario(load=None, rate=20, traces={"bert": 5, "gpt2": 1}), seed=0)
    assert drawn(weighed, "priority") == drawn(base, "priority")
    same = weighed.trace == base.trace
    assert 0 < same.sum() < 200
    assert weighed.row[same].tolist() == base.row[same].tolist()


def test_load_weights_and_priorities_on_average():
    workloads = [generate(scenario(requests=1000), seed) for seed in range(40)]
    load = np.mean([w.isolated_s.sum() / w.arrival_s[-1] for w in workloads])
    assert load == pytest.approx(0.8, rel=0.02)
    share = np.mean([(w.trace == 1).mean() for w in workloads])  # gpt2 weighs 2 of 3
    assert share == pytest.approx(2 / 3, rel=0.02)
    for priority in (1, 3, 9):
        rank = np.mean([(w.priority == priority).mean() for w in workloads])
        assert rank == pytest.approx(1 / 3, rel=0.03)


def test_load_is_isolated_latency_times_rate():
    traces = scenario().store().traces
    bert, gpt2 = (trace.isolated_s[trace.rows("test")].mean() for trace in traces)
    assert mean_isolated_s(scenario()) == pytest.approx((bert + 2 * gpt2) / 3)
    assert arrival_rate(scenario()) == pytest.approx(0.8 / ((bert + 2 * gpt2) / 3))
    assert arrival_rate(scenario(load=None, rate=7)) == 7


@pytest.mark.parametrize(
    ("split", "reference"), [("train", "train"), ("test", "train"), ("all", "all")]
)
def test_requests_stay_in_their_split(split, reference):
    workload = generate(scenario(requests=2000), seed=0, split=split)
    assert workload.reference == reference
    for index, trace in enumerate(workload.store.traces):
        assert set(workload.row[workload.trace == index]) == set(trace.rows(split))


def test_draws_that_cannot_be(refused):
    with refused("seed", "-1", "0 or more"):
        generate(scenario(), seed=-1)
    with refused("split", "'tset'", "train", "test", "all"):
        generate(scenario(), seed=0, split="tset")


def drawn_by_numpy(chosen, seed, split, recorded=()):
    """Columns of `Workload` and the deadlines, as the scenario's words say, one by one."""
    store, process, total = chosen.store(), chosen.arrivals, chosen.requests
    rate = arrival_rate(chosen, split)
    weights = np.array(list(chosen.traces.values()))
    weights = weights / weights.sum()
    rows = [trace.rows(split) for trace in store.traces]
    gaps, networks, inputs, ranks = np.random.default_rng(seed).spawn(4)
    average = store.averages(reference_split(split)).isolated_s[store.model_of]
    start_s = None
    if process.process == "poisson":
        arrival_s = np.cumsum(gaps.exponential(size=total)) / rate
    elif process.process == "replay":
        recorded_rate = (len(recorded) - 1) / (recorded[-1] - recorded[0])
        total = len(recorded)
        arrival_s = (recorded - recorded[0]) * (recorded_rate / rate)
    elif process.process == "mmpp":
        gaps, states = gaps.spawn(2)
        work = np.cumsum(gaps.exponential(size=total))
        rates = [(1 - process.share * process.intensity) / (1 - process.share), process.intensity]
        stays = np.array([1 / process.share - 1, 1]) * process.length / process.intensity
        state = int(states.random() < process.share)
        time, done = [0.0], [0.0]
        while done[-1] < work[-1]:
            stay = states.exponential(stays[state])
            time.append(time[-1] + stay)
            done.append(done[-1] + stay * rates[state])
            state = 1 - state
        arrival_s = np.interp(work, done, time) / rate
    else:
        average = 1 / (rate * weights)
        phases = gaps.random(len(rows))
        frames = []
        for index, late in enumerate(gaps.spawn(len(rows))):
            begin = phases[index] + np.arange(total)
            shown = (begin + process.jitter * late.random(total)) * average[index]
            frames += zip(shown, [index] * total, begin * average[index], strict=True)
        arrival_s, trace, start_s = (np.array(c) for c in zip(*sorted(frames)[:total], strict=True))
    if start_s is None:
        start_s = arrival_s
        trace = np.searchsorted(np.cumsum(weights), networks.random(total), side="right")
    row = [rows[t][int(u * len(rows[t]))] for t, u in zip(trace, inputs.random(total), strict=True)]
    priority = np.array(chosen.priorities)[ranks.integers(len(chosen.priorities), size=total)]
    deadline_s = start_s + chosen.slo_multiplier * average[trace]
    return arrival_s, trace, np.array(row), priority, deadline_s


PROCESSES = {
    "poisson": {"process": "poisson"},
    "mmpp": BURSTS,
    "mmpp, calm at 0": BURSTS | {"intensity": 10.0, "length": 2.0},
    "frames": FRAMES,
    "frames in time": {"process": "frames"},
    "replay": {"process": "replay"},
}


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_draws_are_those_of_numpy(tmp_path, name, split):
    recorded = np.cumsum(np.random.default_rng(0).exponential(size=50)) + 3
    arrivals = PROCESSES[name]
    if name == "replay":
        np.savetxt(tmp_path / "requests.csv", recorded, "%.17g", header="arrival_s", comments="")
        arrivals = arrivals | {"file": str(tmp_path / "requests.csv")}
    traces = {"gpt2": 3, "bart": 1, "bert": 0.7}
    for seed, changes in itertools.product(
        (0, 7, 2**32 - 1, 2**64 - 1, 2**64, 2**170 + 3),
        (
            {},
            {"requests": 2},
            {"load": None, "rate": 11.0, "priorities": [1.0, 2.5, 4.0, 7.0, 8.0]},
        ),
    ):
        chosen = scenario(arrivals=arrivals, traces=traces, **changes)
        workload = generate(chosen, seed, split=split)
        columns = (workload.arrival_s, workload.trace, workload.row, workload.priority)
        expected = drawn_by_numpy(chosen, seed, split, recorded[: chosen.requests])
        for column, values in zip((*columns, workload.deadline_s), expected, strict=True):
            np.testing.assert_array_equal(column, values, strict=True)


@compiled(
    types.void(PLAN_TYPE, types.int64[::1], types.float64[:, :, ::1], types.int64[:, :, ::1]),
    cache=False,
)
def draw_all(plan, seeds, floats, ints):
    for i in range(seeds.size):
        requests = Requests(
            floats[i, 0], ints[i, 0], ints[i, 1], floats[i, 1], floats[i, 2], floats[i, 3]
        )
        draw(plan, pool(seeds[i], 0), requests)


@pytest.mark.parametrize("arrivals", [{"process": "poisson"}, BURSTS, FRAMES])
def test_compiled_code_draws_the_same_workloads(arrivals):
    chosen = scenario(arrivals=arrivals)
    seeds = np.array([0, 5, 2**31 - 1])
    floats, ints = np.empty((3, 4, 200)), np.empty((3, 2, 200), np.int64)
    made = plan(chosen, "train")
    draw_all(made, seeds, floats, ints)
    for i, seed in enumerate(seeds.tolist()):
        workload = generate(chosen, seed, split="train")
        assert drawn(workload, "trace", "row") == ints[i].tolist()
        assert drawn(workload, "arrival_s", "priority") == floats[i, :2].tolist()
        deadline_s = floats[i, 2] + made.slo_multiplier * floats[i, 3]
        assert workload.deadline_s.tolist() == deadline_s.tolist()


# --- arrival processes ---------------------------------------------------------------------------


def test_named_loads_are_numbers():
    assert [scenario(load=name).load for name in LOADS] == sorted(LOADS.values())
    assert scenario().varied(load="overload").load == 1.05
    assert scenario(load=None, rate=3).varied(load="heavy").rate is None


def test_bursts_have_the_mean_rate_and_the_variance_of_their_model():
    times = np.array(
        [generate(scenario(arrivals=BURSTS, requests=4000), seed).arrival_s for seed in range(60)]
    )
    rate = arrival_rate(scenario(arrivals=BURSTS))
    assert 4000 / times[:, -1].mean() == pytest.approx(rate, rel=0.05)
    # Long-run index of dispersion of a two-state MMPP: 1 + 2 p q (r1 - r2)^2 / ((a + b) mean rate),
    # with the stationary shares p and q, and the rates a and b at which the states are left.
    calm = (1 - 0.1 * 5) / 0.9
    leave_burst = 5 / 40
    leave_calm = leave_burst * 0.1 / 0.9
    expected = 1 + 2 * 0.1 * 0.9 * (5 - calm) ** 2 / (leave_burst + leave_calm)
    window = 1000 / rate  # many times longer than a burst
    counts = [np.histogram(t, np.arange(0, t[-1], window))[0] for t in times]
    dispersion = np.var(np.concatenate(counts)) / np.mean(np.concatenate(counts))
    assert dispersion == pytest.approx(expected, rel=0.35)
    smooth = [generate(scenario(requests=4000), seed).arrival_s for seed in range(60)]
    counts = [np.histogram(t, np.arange(0, t[-1], window))[0] for t in smooth]
    assert np.var(np.concatenate(counts)) / np.mean(np.concatenate(counts)) < 2


def test_bursts_all_the_time_they_have():
    full = BURSTS | {"intensity": 10.0}  # the calm rate is 0
    gaps = np.diff(generate(scenario(arrivals=full, requests=4000), 0).arrival_s)
    assert (gaps > 100 * np.median(gaps)).sum() > 10


def test_frames_come_in_their_periods_and_are_due_at_the_next():
    rates = {"bert": 30, "gpt2": 60}
    chosen = scenario(arrivals=FRAMES, traces=rates, load=None, slo_multiplier=1)
    assert arrival_rate(chosen) == 90
    workload = generate(chosen, seed=1)
    assert len(workload) == 200 and (np.diff(workload.arrival_s) >= 0).all()
    for index, (name, rate) in enumerate(rates.items()):
        assert workload.store.traces[index].name == name
        mine = workload.trace == index
        assert mine.sum() == pytest.approx(200 * rate / 90, abs=3)
        order = np.argsort(workload.deadline_s[mine])
        due = workload.deadline_s[mine][order]
        np.testing.assert_allclose(np.diff(due), 1 / rate, rtol=1e-9)  # no frame is missing
        late = workload.arrival_s[mine][order] - (due - 1 / rate)
        assert (late >= -1e-12).all() and (late <= 0.25 / rate).all() and late.std() > 0.04 / rate
    two_periods = workload.with_slo(2).deadline_s - workload.deadline_s
    np.testing.assert_allclose(two_periods, np.array([1 / 30, 1 / 60])[workload.trace])


@pytest.mark.parametrize("arrivals", [BURSTS, FRAMES])
def test_load_scales_time_and_more_requests_come_after(arrivals):
    low, high = (generate(scenario(arrivals=arrivals, load=load), 3) for load in (0.5, 1.0))
    assert drawn(low, "trace", "row", "priority") == drawn(high, "trace", "row", "priority")
    np.testing.assert_allclose(low.arrival_s, 2 * high.arrival_s, rtol=1e-9)
    longer = generate(scenario(arrivals=arrivals, load=0.5, requests=300), 3)
    for field in ("arrival_s", "trace", "row", "priority"):
        assert drawn(longer, field)[0][:200] == drawn(low, field)[0]
    assert drawn(generate(scenario(arrivals=arrivals, load=0.5), 4), "arrival_s") != drawn(
        low, "arrival_s"
    )


def test_replayed_arrivals(tmp_path, refused):
    path = tmp_path / "requests.csv"
    replay = {"arrivals": {"process": "replay", "file": str(path)}, "load": None}
    path.write_text("arrival_s\n0.5\n1\n4\n")
    workload = generate(scenario(**replay), 0)
    assert workload.arrival_s.tolist() == [0, 0.5, 3.5]  # time starts with the first request
    assert arrival_rate(scenario(**replay)) == 2 / 3.5
    again = generate(scenario(**replay), 1)
    assert drawn(again, "trace", "row", "priority") != drawn(workload, "trace", "row", "priority")
    scaled = generate(scenario(**replay).varied(rate=2), 0)
    np.testing.assert_allclose(scaled.arrival_s, [0, 1 / 7, 1])
    assert len(generate(scenario(**replay).varied(requests=2), 0)) == 2

    path.write_text("arrival_s,model,sample,priority\n0,gpt2,15,9\n2,bert,3,1\n")
    workload = generate(scenario(**replay), 0)
    assert [workload.store.traces[t].name for t in workload.trace] == ["gpt2", "bert"]
    assert workload.row.tolist() == [15, 3] and workload.priority.tolist() == [9, 1]
    # the load is that of the recorded requests, whatever the weights of the traces
    work = workload.isolated_s.sum() / 2
    assert mean_isolated_s(scenario(**replay)) == pytest.approx(work)
    loaded = generate(scenario(**replay).varied(load=0.5), 0)
    assert loaded.arrival_s[1] == pytest.approx(work / 0.5)
    with refused("requests.csv", "row 2", "sample 3", "'bert'", "'train'", "split 'all'"):
        generate(scenario(**replay), 0, split="train")
    with refused("seeds", "3", "recorded", "give 1"):
        compare([scenario(**replay)], ["fcfs"], seeds=range(3))
    assert len(compare([scenario(**replay)], ["fcfs"], seeds=[0])) == 1
    for text, words in (
        ("arrival_s\n3\n3\n", ["all arrivals are at 3"]),
        ("arrival_s\n5\n3\n", ["request 2 is 3", "request 1 at 5", "sort"]),
        ("arrival_s\n-5\n3\n", ["-5", "not negative"]),
        ("arrival_s,priority\n0,1\n3,0\n", ["priority", "0", "above 0"]),
        ("arrival_s,priority\n0,1\n3,1,7\n", ["CSV"]),
        ("model,sample\nbert,1\n", ["'arrival_s'", "missing"]),
        ("arrival_s,sample\n1,1\n", ["'model'", "missing"]),
        ("arrival_s,model\n1,bert\n", ["'sample'", "missing"]),
        ("arrival_s\n", ["no request"]),
    ):
        path.write_text(text)
        with refused("requests.csv", *words):
            generate(scenario(**replay), 0)


def test_replayed_file_stands_beside_the_scenario(tmp_path):
    (tmp_path / "requests.csv").write_text("arrival_s\n1\n2\n")
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\naccelerator: eyerissv2\ntraces: {resnet50_dense: 1}\n"
        "arrivals: {process: replay, file: requests.csv}\n"
    )
    assert generate(load_scenario(path), 0).arrival_s.tolist() == [0, 1]


def test_a_faster_accelerator_takes_less_time():
    slow, fast = (generate(scenario(load=None, rate=9, speed=s), 0) for s in (1.0, 4.0))
    np.testing.assert_allclose(slow.isolated_s, 4 * fast.isolated_s)
    assert drawn(slow, "arrival_s", "row") == drawn(fast, "arrival_s", "row")
    assert mean_isolated_s(scenario(speed=4.0)) == pytest.approx(mean_isolated_s(scenario()) / 4)


def test_machine_options_reach_the_workload():
    workload = generate(scenario(queue_limit=64, preemption_cost_s=1e-3), 0)
    assert (workload.queue_limit, workload.preemption_cost_s) == (64, 1e-3)
    assert generate(scenario(queue_limit=2**70), 0).queue_limit == 2**70


# --- recorded requests ---------------------------------------------------------------------------

REQUESTS = """arrival_s,model,sample,priority
0.5,bert,3,1
0.5,gpt2,15,9
2.0,bart,0,0.5
"""


@pytest.fixture(scope="module")
def sanger():
    return read_artifact_traces(GOLDEN / "sanger", "sanger")


def test_recorded_requests(tmp_path, sanger):
    path = tmp_path / "requests.csv"
    path.write_text(REQUESTS)
    workload = read_requests(path, sanger, slo_multiplier=5.0)
    assert workload.arrival_s.tolist() == [0.5, 0.5, 2.0]
    assert [sanger.traces[t].name for t in workload.trace] == ["bert", "gpt2", "bart"]
    assert workload.row.tolist() == [3, 15, 0]
    assert workload.priority.tolist() == [1, 9, 0.5]
    expected = [
        arrival + 5 * sanger.traces[t].isolated_s.mean()
        for arrival, t in zip(workload.arrival_s, workload.trace, strict=True)
    ]
    np.testing.assert_allclose(workload.deadline_s, expected, rtol=1e-12)

    path.write_text("arrival_s,model,sample,priority\n0.12345678901234567,bert,3,1\n")
    assert read_requests(path, sanger, 5.0).arrival_s[0] == 0.12345678901234567


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2.0,bart", "0.25,bart", ["arrival_s", "request 3", "0.25", "0.5", "sort"]),
        ("0.5,bert", "-0.5,bert", ["arrival_s", "-0.5", "not negative"]),
        ("gpt2", "gpt3", ["row 2", "model", "'gpt3'", "bart, bert, gpt2"]),
        ("gpt2", "", ["row 2", "model", "bart, bert, gpt2"]),
        (",15,", ",99,", ["row 2", "sample 99", "'gpt2'", "0 to 15"]),
        (",15,", ",1.5,", ["row 2", "sample 1.5", "'gpt2'", "0 to 15"]),
        (",15,", ",,", ["'sample'", "row 2 is ''", "finite"]),
        (",9\n", ",high\n", ["'priority'", "row 2 is 'high'", "finite"]),
        (",9\n", ",inf\n", ["'priority'", "row 2 is inf", "finite"]),
        (",9\n", ",-9\n", ["priority", "request 2", "-9", "above 0"]),
        (",9\n", ",0\n", ["priority", "request 2", "0", "above 0"]),
        (",9\n", ",9,7,7\n", ["CSV"]),
        ("arrival_s", "arrival", ["'arrival_s'", "missing"]),
        ("model", "net", ["'model'", "missing"]),
        ("sample", "input", ["'sample'", "missing"]),
        ("priority", "rank", ["'priority'", "missing"]),
        (REQUESTS, "", ["CSV"]),
        (REQUESTS, "arrival_s,model,sample,priority\n", ["no request"]),
    ],
)
def test_recorded_requests_that_do_not_fit(tmp_path, sanger, refused, old, new, words):
    path = tmp_path / "requests.csv"
    path.write_text(REQUESTS.replace(old, new))
    with refused("requests.csv", *words):
        read_requests(path, sanger, slo_multiplier=5.0)


def test_recorded_requests_that_are_absent(tmp_path, sanger, refused):
    with refused("absent.csv", "does not exist"):
        read_requests(tmp_path / "absent.csv", sanger, slo_multiplier=5.0)


# --- requests from columns -----------------------------------------------------------------------

COLUMNS = {
    "arrival_s": [0.0, 1.0, 1.0],
    "trace": ["small_dense", "large_dense", "small_block20"],
    "row": [2, 1, 0],
    "priority": [1, 3, 9],
}


def test_requests_from_columns(store):
    workload = requests_from(COLUMNS, store, "train", slo_multiplier=3.0)
    assert len(workload) == 3
    assert drawn(workload, "arrival_s", "trace", "row", "priority") == [
        [0, 1, 1], [0, 2, 1], [2, 1, 0], [1, 3, 9],
    ]  # fmt: skip
    assert workload.isolated_s.tolist() == [6, 15, 2]
    assert workload.model.tolist() == [0, 1, 0]
    # `train` holds inputs 0 and 2 of small_dense, 0 of the others: A is (3 + 6 + 2) / 3 and 15
    np.testing.assert_allclose(workload.deadline_s, [11, 46, 12], rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arrival_s": [0.0, 2.0, 1.0]}, ["arrival_s", "request 3", "1", "2", "sort"]),
        ({"arrival_s": [-1.0, 2.0, 3.0]}, ["arrival_s", "-1", "not negative"]),
        ({"arrival_s": [0.0, 2.0, np.nan]}, ["arrival_s", "nan", "finite"]),
        ({"arrival_s": [0.0, 2.0, "soon"]}, ["arrival_s", "soon"]),
        ({"arrival_s": [0.0, 1.0]}, ["trace", "(3,)", "(2,)"]),
        ({"trace": ["small_dense", "huge", "large_dense"]}, ["trace", "'huge'", "small_block20"]),
        ({"row": [0, 2, 0]}, ["row", "2", "'large_dense'", "0 to 1"]),
        ({"row": [-1, 0, 0]}, ["row", "-1", "'small_dense'", "0 to 2"]),
        ({"row": [0.5, 0, 0]}, ["row", "0.5", "whole"]),
        ({"row": [0, 0]}, ["row", "(2,)", "(3,)"]),
        ({"priority": [1, 0, 1]}, ["priority", "0", "above 0"]),
        ({"priority": [1, -3, 1]}, ["priority", "-3", "above 0"]),
        ({"priority": [1, np.inf, 1]}, ["priority", "inf", "finite"]),
        ({"priority": [[1, 1, 1]]}, ["priority", "(1, 3)", "(3,)"]),
        ({name: [] for name in COLUMNS}, ["no request"]),
    ],
)
def test_columns_that_do_not_fit(store, refused, changes, words):
    with refused("workload", *words) if "huge" not in str(changes) else refused(*words):
        requests_from(COLUMNS | changes, store, "all", slo_multiplier=3.0)


@pytest.mark.parametrize("missing", COLUMNS)
def test_columns_that_are_missing(store, refused, missing):
    columns = {name: column for name, column in COLUMNS.items() if name != missing}
    with refused("workload", repr(missing), "missing"):
        requests_from(columns, store, "all", slo_multiplier=3.0)


@pytest.mark.parametrize("slo_multiplier", [0.0, -1.0, np.nan, np.inf])
def test_slo_multiplier_that_does_not_fit(store, refused, slo_multiplier):
    with refused("slo_multiplier", f"{slo_multiplier:g}", "above 0"):
        requests_from(COLUMNS, store, "all", slo_multiplier)


def test_workload_keeps_its_own_columns(store):
    arrival_s = np.zeros(2)
    workload = Workload(store, "all", arrival_s, [0, 0], [0, 1], [1, 1], 10.0)
    arrival_s[:] = 7
    assert workload.arrival_s.tolist() == [0, 0]
    assert workload.row.dtype == np.int64 and workload.priority.dtype == np.float64
