"""When requests arrive."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from dysta_gym import Machine, compare, generate, load_scenario, measure
from dysta_gym.workloads import arrival_rate, mean_isolated_s
from dysta_gym.workloads.arrivals.table import PROCESSES

ROOT = Path(__file__).parents[2]
BURSTS = {"process": "mmpp", "intensity": 5.0, "share": 0.1, "length": 40.0}
FRAMES = {"process": "frames", "jitter": 0.25}
SENSOR = {"process": "frames", "sensor_rate": 5, "jitter_s": 1e-3}


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_draws_the_same_for_a_machine_and_the_vector_environment(
    scenario, tmp_path, name
):
    arrivals = {"process": name}
    if "file" in PROCESSES[name].model_fields:
        arrivals["file"] = str(tmp_path / "requests.csv")
        np.savetxt(arrivals["file"], np.geomspace(1, 9, 30), header="arrival_s", comments="")
    chosen = scenario(arrivals=arrivals, requests=30)
    fields, count = chosen.model_dump(mode="json"), 3
    envs = gym.make_vec(
        "SparseMultiDNN-v0",
        num_envs=count,
        vectorization_mode="vector_entry_point",
        scenario=fields,
        split="all",
    )
    machines = [Machine(generate(chosen, 7 + i, split="all"), "monitored") for i in range(count)]
    _, infos = envs.reset(seed=7)
    running = set(range(count))
    while running:
        for each in running:
            assert infos["time_s"][each] == machines[each].now
            assert infos["queue_size"][each] == machines[each].size
            machines[each].step(0)
        _, _, terminated, _, infos = envs.step(np.zeros(count, np.int64))
        for each in [each for each in running if machines[each].done]:
            assert terminated[each]
            for metric, value in measure(machines[each].schedule()).items():
                assert infos["metrics"][metric][each] == value, metric
            running.remove(each)


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_is_documented(name):
    assert f"- `{{process: {name}" in (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")


def test_bursts_have_the_mean_rate_and_the_variance_of_their_model(scenario):
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


def test_bursts_all_the_time_they_have(scenario):
    full = BURSTS | {"intensity": 10.0}  # the calm rate is 0
    gaps = np.diff(generate(scenario(arrivals=full, requests=4000), 0).arrival_s)
    assert (gaps > 100 * np.median(gaps)).sum() > 10


def test_frames_come_in_their_periods_and_are_due_at_the_next(scenario):
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


def test_frames_come_with_the_ticks_of_their_sensor(scenario):
    rates = {"gpt2": 45, "bart": 30, "bert": 60}
    arrivals = {"process": "frames", "sensor_rate": 60}
    chosen = scenario(arrivals=arrivals, traces=rates, load=None, slo_multiplier=1)
    workload = generate(chosen, seed=1)
    ticks = {
        "gpt2": [0, 2, 3, 4, 6, 7, 8, 10, 11, 12],  # every fourth of the sensor is left out
        "bart": [0, 2, 4, 6, 8, 10, 12, 14, 16, 18],
        "bert": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    }
    for index, (name, expected) in enumerate(ticks.items()):
        mine = workload.trace == index
        np.testing.assert_allclose(60 * workload.arrival_s[mine][:10], expected, atol=1e-9)
        due = np.arange(1, 11) / rates[name]  # when the next frame starts, whatever the tick
        np.testing.assert_allclose(workload.deadline_s[mine][:10], due, rtol=1e-9)
    assert workload.trace[:9].tolist() == [0, 1, 2, 2, 0, 1, 2, 0, 2]  # at once: in order
    again = generate(scenario(arrivals=arrivals, traces=rates, load=0.3, slo_multiplier=1), 1)
    assert again.trace.tolist() == workload.trace.tolist()
    late = scenario(arrivals=arrivals | {"jitter_s": 1e-3}, traces=rates, load=None)
    times = generate(late, 1).arrival_s * 60
    assert (times % 1 <= 0.06 + 1e-9).all() and (times % 1).std() > 0.015


@pytest.mark.parametrize("rate", [59.94, 1 / 3, 0.1, 29.97])
def test_rates_that_no_float_holds_lose_no_tick(scenario, rate):
    traces = {"gpt2": rate, "bert": rate / 3}
    chosen = scenario(
        arrivals={"process": "frames", "sensor_rate": rate}, traces=traces, load=None, requests=4000
    )
    workload = generate(chosen, 0)
    for index, each in enumerate(traces.values()):
        times = workload.arrival_s[workload.trace == index]
        np.testing.assert_allclose(times * each, np.arange(times.size), atol=1e-9)


def test_a_jitter_in_seconds_is_the_same_for_all_streams(scenario):
    rates = {"gpt2": 60, "bert": 6}
    arrivals = {"process": "frames", "jitter_s": 5e-3}
    chosen = scenario(arrivals=arrivals, traces=rates, load=None, slo_multiplier=1)
    workload = generate(chosen, seed=1)
    periods = np.array([1 / 60, 1 / 6])[workload.trace]
    late = workload.arrival_s - (workload.deadline_s - periods)
    for index in range(2):
        mine = late[workload.trace == index]
        assert (mine >= -1e-12).all() and 0.003 < mine.max() <= 0.005


@pytest.mark.parametrize("name", ["xrbench-gaming", "xrbench-social"])
def test_scenarios_of_xrbench_have_its_rates(name):
    chosen = load_scenario(name)
    assert chosen.arrivals.model_dump() == {
        "process": "frames",
        "jitter": 0,
        "jitter_s": 1e-5,
        "sensor_rate": 60,
    }
    hands = {"xrbench-gaming": [60, 60, 45], "xrbench-social": [60, 60, 30, 30]}
    assert list(chosen.traces.values()) == hands[name]
    assert (chosen.slo_multiplier, chosen.priorities) == (1, (1,))
    assert 0.8 < arrival_rate(chosen) * mean_isolated_s(chosen) < 1
    workload = generate(chosen, 0)
    assert (workload.deadline_s > workload.arrival_s + workload.isolated_s).all()


@pytest.mark.parametrize(
    "arrivals", [BURSTS, FRAMES, SENSOR, SENSOR | {"sensor_rate": None}], ids=str
)
def test_load_scales_time_and_more_requests_come_after(scenario, drawn, arrivals):
    low, high = (generate(scenario(arrivals=arrivals, load=load), 3) for load in (0.5, 1.0))
    assert drawn(low, "trace", "row", "priority") == drawn(high, "trace", "row", "priority")
    np.testing.assert_allclose(low.arrival_s, 2 * high.arrival_s, rtol=1e-9)
    longer = generate(scenario(arrivals=arrivals, load=0.5, requests=300), 3)
    for field in ("arrival_s", "trace", "row", "priority"):
        assert drawn(longer, field)[0][:200] == drawn(low, field)[0]
    assert drawn(generate(scenario(arrivals=arrivals, load=0.5), 4), "arrival_s") != drawn(
        low, "arrival_s"
    )


def test_replayed_arrivals(scenario, drawn, tmp_path, refused):
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
