"""What accelerators charge: as published to the last bit, with parameters, with memory, mixed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysta_gym import (
    Accelerator,
    Operation,
    Parameter,
    generate,
    load_scenario,
    measure,
    shipped_trace,
    shipped_traces,
    simulate,
)
from dysta_gym.charging import charge_of
from dysta_gym.operations import Layers, read_layers
from dysta_gym.traces import whole_network

SMALL = ("minilm", "hand_landmark_filter10")


def one(operation, inputs=2):
    """A network of one layer that is one operation."""
    return Layers((operation.name,), ((operation,),), (0,), inputs)


def charged(operation, accelerator):
    return charge_of(accelerator).layer_latency_s(one(operation))[:, 0]


CONVOLUTION = Operation(
    "conv",
    "convolution",
    valid_macs=np.array([25, 1000]),
    address_checks=np.array([46, 10]),
    weights=90,
    values_in=400,
    values_out=10,
)
DENSE = Operation("ff", "dense", rows=np.array([1, 65]), weights=2048, values_in=0, values_out=0)


@pytest.mark.parametrize("name", shipped_traces())
def test_defaults_give_the_shipped_latencies_to_the_last_bit(name):
    trace = shipped_trace(name)
    layers, _ = read_layers(shipped_traces()[name])
    found = charge_of(trace.accelerator).layer_latency_s(layers)
    np.testing.assert_array_equal(found, trace.latency_s)


def test_eyeriss_v2_by_hand():
    # (4 * 25 + 46) / 192 cycles of 5 ns; with 384 elements at 400 MHz, a quarter of it.
    assert charged(CONVOLUTION, "eyerissv2")[0] == pytest.approx(146 / 192 * 5e-9, rel=1e-12)
    larger = {"model": "eyerissv2", "pes": 384, "clock_hz": 4e8}
    assert charged(CONVOLUTION, larger)[0] == pytest.approx(146 / 384 * 2.5e-9, rel=1e-12)
    peak = {"model": "eyerissv2", "cycles_per_mac": 0.5}
    assert charged(CONVOLUTION, peak)[0] == pytest.approx((12.5 + 46) / 192 * 5e-9, rel=1e-12)


def test_sanger_and_ideal_by_hand():
    # One row and 65 rows take one tile and two of 64; 1,024 multiplications a cycle.
    assert charged(DENSE, "sanger").tolist() == pytest.approx([128e-9, 256e-9], rel=1e-12)
    assert charged(DENSE, {"model": "sanger", "clock_hz": 2e9})[0] == pytest.approx(64e-9)
    assert charged(DENSE, "ideal").tolist() == pytest.approx([2e-9, 130e-9], rel=1e-12)
    few = {"model": "ideal", "macs_per_cycle": 5, "clock_hz": 1e3}
    assert charged(CONVOLUTION, few).tolist() == pytest.approx([5e-3, 0.2], rel=1e-12)


def test_memory_is_a_roofline_by_hand():
    # 90 weights and 410 activations of a byte: 500 bytes, 5 us at 100 MB/s; the multiplications
    # take 3.8 ns and 104 ns.
    slow = {"model": "eyerissv2", "bandwidth": 1e8}
    assert charged(CONVOLUTION, slow).tolist() == pytest.approx([5e-6, 5e-6], rel=1e-12)
    wide = slow | {"weight_bits": 16, "activation_bits": 4}
    assert charged(CONVOLUTION, wide)[0] == pytest.approx((180 + 205) / 1e8, rel=1e-12)
    between = slow | {"bandwidth": 1e10}  # 50 ns
    assert charged(CONVOLUTION, between).tolist() == pytest.approx(
        [50e-9, 4010 / 192 * 5e-9], rel=1e-12
    )


@pytest.mark.parametrize("name", [*SMALL, "whisper"])
def test_without_a_bound_on_bandwidth_memory_costs_nothing(name):
    layers, _ = read_layers(shipped_traces()[name])
    model = shipped_trace(name).accelerator
    off = charge_of(model).layer_latency_s(layers)
    for bandwidth in (None, float("inf"), 1e15):
        found = charge_of({"model": model, "bandwidth": bandwidth}).layer_latency_s(layers)
        np.testing.assert_array_equal(found, off)


@settings(max_examples=25)
@given(st.sampled_from(SMALL), st.floats(1e6, 1e12), st.integers(1, 16))
def test_a_layer_takes_no_less_than_its_work_or_its_bytes(name, bandwidth, bits):
    model = shipped_trace(name).accelerator
    path = shipped_traces()[name]
    layers = whole_network(path) if model == "sanger" else read_layers(path)[0]
    charge = charge_of({"model": model, "bandwidth": bandwidth, "weight_bits": bits})
    found = charge.layer_latency_s(layers)
    moved = [sum(charge.bytes_of(each) for each in does) for does in layers.operations]
    bytes_of = np.stack([np.broadcast_to(each, layers.inputs) for each in moved], axis=1)
    assert (found >= charge_of(model).layer_latency_s(layers)).all()
    assert (found >= bytes_of / bandwidth * (1 - 1e-12)).all()


@settings(max_examples=25)
@given(st.sampled_from(SMALL), st.integers(1, 4096), st.sampled_from([None, 1e7, 1e9, 1e11]))
def test_twice_the_array_at_most_halves_a_layer(name, size, bandwidth):
    model = shipped_trace(name).accelerator
    layers, _ = read_layers(shipped_traces()[name])

    def latency_s(times):
        key = {"eyerissv2": "pes", "sanger": "clock_hz"}[model]
        given = {"model": model, key: size * times, "bandwidth": bandwidth}
        return charge_of(given).layer_latency_s(layers)

    once, twice = latency_s(1), latency_s(2)
    assert (twice >= once / 2 * (1 - 1e-12)).all() and (twice <= once).all()
    if bandwidth is None:
        np.testing.assert_allclose(twice, once / 2, rtol=1e-12)


def fields(accelerator, *traces):
    return {
        "name": "tiny",
        "accelerator": accelerator,
        "traces": dict.fromkeys(traces, 1),
        "load": 0.9,
        "requests": 30,
    }


def test_a_scenario_has_an_accelerator_of_its_own():
    name = "resnet50_block20"
    plain = load_scenario(fields("eyerissv2", name))
    same = load_scenario(fields({"model": "eyerissv2", "pes": 192}, name))
    assert plain.store().traces[0] is same.store().traces[0] is shipped_trace(name)
    large = load_scenario(fields({"model": "eyerissv2", "pes": 384, "clock_hz": 4e8}, name))
    found = large.store().traces[0]
    np.testing.assert_allclose(found.latency_s, shipped_trace(name).latency_s / 4, rtol=1e-12)
    np.testing.assert_array_equal(found.sparsity, shipped_trace(name).sparsity)
    assert large.varied(load=0.5).accelerator == large.accelerator
    assert load_scenario(large.model_dump(mode="json")) == large
    assert large.store() is large.varied(load=0.5).store()
    faster = load_scenario(fields(large.accelerator, name) | {"speed": 2})
    np.testing.assert_array_equal(faster.store().traces[0].latency_s, found.latency_s / 2)
    slow = {"model": "eyerissv2", "bandwidth": 1e7}
    assert load_scenario(fields(slow, name)).store().longest_s > plain.store().longest_s


def rows_and_columns(operation, parameters):
    """Multiplications at a rate, and a start for each operation."""
    return operation.macs / parameters["rate"] + parameters["start_s"]


MINE = Accelerator(
    "mine",
    rows_and_columns,
    ("attention", "dense", "convolution"),
    parameters={
        "rate": Parameter(1e12, "multiplications a second", positive=True),
        "start_s": Parameter(0, "seconds before each operation", 0, 1),
    },
)


@pytest.mark.parametrize("model", ["ideal", MINE])
def test_one_model_charges_networks_of_all_kinds(model):
    scenario = load_scenario(fields({"model": model}, "smollm2_whole", "vgg16_dense", "minilm"))
    workload = generate(scenario, seed=0)
    assert {trace.accelerator for trace in workload.store.traces} == {str(model)}
    assert measure(simulate(workload, "dysta"))["antt"] >= 1
    macs = sum(each.macs for does in whole_network(shipped_traces()["smollm2"]).operations
               for each in does)  # fmt: skip
    rate = 1.024e12 if model == "ideal" else 1e12
    np.testing.assert_allclose(workload.store.traces[0].isolated_s, macs / rate, rtol=1e-12)
    assert scenario.varied(load=0.5).charge == scenario.charge
    assert scenario.model_dump(mode="json")["accelerator"] == {"model": str(model)}
    if model is MINE:
        assert load_scenario(fields(MINE, "minilm")).store().accelerator == "mine"
        late = load_scenario(fields({"model": MINE, "start_s": 0.5}, "minilm")).store()
        assert late.traces[0].isolated_s.min() > 6 * 0.5


@pytest.mark.parametrize(
    ("accelerator", "words"),
    [
        ("tpu", ["accelerator", "'tpu'", "'sanger'", "'eyerissv2'", "'ideal'"]),
        (5, ["accelerator", "5", "name", "model: sanger"]),
        ({"pes": 5}, ["accelerator.model", "missing", "eyerissv2"]),
        ({"model": "tpu"}, ["accelerator.model", "'tpu'", "'sanger'", "'ideal'"]),
        ({"model": "sanger", "pes": 5}, ["accelerator", "'pes'", "clock_hz", "bandwidth"]),
        ({"model": "eyerissv2", "pes": 0}, ["accelerator.pes", "0", "at least 1"]),
        ({"model": "eyerissv2", "pes": 2.5}, ["accelerator.pes", "2.5", "whole"]),
        ({"model": "eyerissv2", "pes": 1e9}, ["accelerator.pes", "1000000000 ", "1e+06"]),
        ({"model": "eyerissv2", "pes": True}, ["accelerator.pes", "True", "number"]),
        ({"model": "eyerissv2", "clock_hz": "fast"}, ["accelerator.clock_hz", "'fast'"]),
        ({"model": "sanger", "clock_hz": float("nan")}, ["accelerator.clock_hz", "nan"]),
        ({"model": "sanger", "bandwidth": 0}, ["accelerator.bandwidth", "0", "at least 1"]),
        ({"model": "sanger", "weight_bits": 7.5}, ["accelerator.weight_bits", "7.5", "whole"]),
    ],
)
def test_accelerators_that_do_not_fit(refused, accelerator, words):
    with refused("'tiny'", *words):
        load_scenario(fields(accelerator, "minilm"))


def test_traces_that_a_model_cannot_charge(refused, tmp_path):
    with refused("traces", "'vgg16_dense'", "'sanger'", "convolution", "eyerissv2", "ideal"):
        load_scenario(fields("sanger", "minilm", "vgg16_dense")).store()
    (tmp_path / "bert.csv").write_text("50%-skip,overall-sparsity,batch-indx,layer-indx\n1,1,0,0\n")
    folder = {"trace_dir": str(tmp_path)}
    with refused("traces", "'bert'", "CSV", "'sanger'"):
        load_scenario(fields({"model": "sanger", "clock_hz": 1e8}, "bert") | folder).store()

    with np.load(shipped_traces()["vgg16_dense"]) as file:
        arrays = dict(file)
    own = str(arrays["meta"]).replace('"model": "vgg16"', '"model": "own"')
    np.savez(tmp_path / "own.npz", **arrays | {"meta": np.array(own)})
    memory = {"model": "eyerissv2", "bandwidth": 1e9}
    with refused("traces", "'own'", "bandwidth", "'weights'", "profile it again"):
        load_scenario(fields(memory, "own") | folder).store()
    layers = arrays["latency_s"].shape[1]
    moved = {name: np.full(layers, 1e9) for name in ("weights", "values_in", "values_out")}
    np.savez(tmp_path / "own.npz", **arrays | {"meta": np.array(own)} | moved)
    store = load_scenario(fields(memory, "own") | folder).store()
    assert store.traces[0].isolated_s.min() == pytest.approx(3 * layers, rel=1e-12)

    for odd, words in (
        (np.ones((3, 3)), ["valid_macs", "(3, 3)", f"(228, {layers})"]),
        (np.full(arrays["valid_macs"].shape, "a"), ["valid_macs", "numbers"]),
        (-arrays["valid_macs"], ["valid_macs", "below 0"]),
    ):
        np.savez(tmp_path / "own.npz", **arrays | {"valid_macs": odd})
        with refused("own", *words):
            load_scenario(fields("ideal", "own") | folder).store()
    del arrays["valid_macs"]
    np.savez(tmp_path / "own.npz", **arrays)
    with refused("traces", "'own'", "no counts", "profile it again"):
        load_scenario(fields("ideal", "own") | folder).store()


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        (lambda operation, parameters: np.ones(3), ["'odd'", "(3,)", "(240,)"]),
        (lambda operation, parameters: "fast", ["'odd'", "numbers"]),
        (lambda operation, parameters: -1.0, ["latency_s", "-1.0", "0 or more"]),
        (lambda operation, parameters: operation["cells"], ["'cells'", "density"]),
    ],
)
def test_models_that_give_no_latencies(refused, formula, words):
    odd = Accelerator("odd", formula, ("attention",))
    with refused("minilm", *words):
        load_scenario(fields(odd, "minilm")).store()


def test_models_that_do_not_fit(refused):
    with refused("'odd'", "kinds", "'matrix'", "dense"):
        Accelerator("odd", rows_and_columns, ("matrix",))
    with refused("'odd'", "latency_s", "5", "function"):
        Accelerator("odd", 5, ("dense",))
    with refused("'odd'", "'bandwidth'"):
        Accelerator("odd", rows_and_columns, (), parameters={"bandwidth": Parameter(1, "")})
