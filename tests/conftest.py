"""Small made-up networks and workloads that the tests run on."""

import contextlib
import os
import shutil
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from dysta_gym import DystaError, Trace, TraceStore, Workload

hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")

# Tables are those of a pipe, whatever terminal tests run in. GNU readline, which pytest imports,
# sets the variable for processes that are started, behind Python's back.
os.environ.pop("COLUMNS", None)
os.unsetenv("COLUMNS")

# What nohup has them ignore, processes that are started ignore, too; what is handled they do not.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)


def _trace(model, latency_s, sparsity=None, *, pattern="dense", train=None, name=None):
    latency_s = np.array(latency_s, np.float64)
    inputs, layers = latency_s.shape
    return Trace(
        name=name or f"{model}_{pattern}",
        model=model,
        pattern=pattern,
        accelerator="eyerissv2",
        latency_s=latency_s,
        sparsity=np.full(latency_s.shape, 0.5) if sparsity is None else np.array(sparsity, float),
        train=np.arange(inputs) % 2 == 0 if train is None else np.array(train, bool),
        sample_ids=np.arange(inputs),
        layer_names=tuple(f"layer {index}" for index in range(layers)),
    )


@pytest.fixture(scope="session")
def make_trace():
    """``make_trace(model, latency_s, sparsity, pattern=..., train=..., name=...)``."""
    return _trace


@pytest.fixture(scope="session")
def store():
    """Two networks, ``small`` with two patterns; every input has its own latency and sparsity."""
    return TraceStore(
        [
            _trace("small", [[1, 2], [3, 2], [2, 4]], [[0.5, 0.2], [0.1, 0.3], [0.4, 0.7]]),
            _trace("small", [[1, 1], [2, 1]], [[0.9, 0.6], [0.5, 0.8]], pattern="block20"),
            _trace("large", [[4, 5, 6], [6, 5, 4]], [[0.1, 0.2, 0.3], [0.3, 0.2, 0.6]]),
        ]
    )


@pytest.fixture(scope="session")
def workload(store):
    """Six requests, two of them at once and one for each input of ``small_dense``."""
    return Workload(
        store=store,
        reference="all",
        arrival_s=np.array([0.0, 1.0, 1.0, 2.5, 4.0, 40.0]),
        trace=np.array([2, 0, 1, 0, 2, 0]),
        row=np.array([0, 0, 1, 1, 1, 2]),
        priority=np.array([1.0, 3.0, 9.0, 1.0, 3.0, 9.0]),
        slo_multiplier=2.0,
    )


@st.composite
def _workloads(draw, max_requests=12, idle_layers=False, limits=False):
    """Any small workload; with ``limits``, some have a preemption cost and a queue limit.

    On the grid, times are multiples of 1/8 and so exact: many requests arrive together or exactly
    when a layer ends, many are alike, and many scores tie. Off the grid, nothing ties.
    """
    on_grid = draw(st.booleans())
    models = draw(st.integers(1, 3))
    requests = draw(st.integers(1, max_requests))
    spacing = draw(st.sampled_from([0.0, 0.5, 1.0, 3.0]))  # gaps, in mean isolated latencies
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def latencies(shape):
        if not on_grid:
            return rng.exponential(0.02, shape) + 1e-4
        drawn = rng.integers(0 if idle_layers else 1, 5, shape) / 8
        drawn[:, -1] = np.maximum(drawn[:, -1], 1 / 8)  # every input takes some time
        return drawn

    traces = []
    for model in range(models):
        layers = rng.integers(1, 5)
        for pattern in range(rng.integers(1, 3)):
            shape = (rng.integers(2, 5), layers)
            sparsity = rng.integers(0, 4, shape) / 4 if on_grid else rng.uniform(0, 0.95, shape)
            traces.append(_trace(f"net{model}", latencies(shape), sparsity, pattern=f"p{pattern}"))
    gaps = spacing * np.mean([t.isolated_s.mean() for t in traces]) * rng.exponential(1, requests)
    trace = rng.integers(0, len(traces), requests)
    return Workload(
        store=TraceStore(traces),
        reference=draw(st.sampled_from(["all", "train"])),
        arrival_s=np.cumsum(np.round(gaps * 8) / 8 if on_grid else gaps),
        trace=trace,
        row=rng.integers(0, [len(traces[t].train) for t in trace]),
        priority=rng.choice([1.0, 3.0, 9.0], requests),
        slo_multiplier=draw(st.sampled_from([1.0, 2.0, 10.0])),
        preemption_cost_s=draw(st.sampled_from([0.0, 0.0, 0.125])) if limits else 0.0,
        queue_limit=draw(st.sampled_from([None, 1, 2, 5])) if limits else None,
        decision_fixed_s=draw(st.sampled_from([0.0, 0.0, 0.0625])) if limits else 0.0,
        decision_per_request_s=draw(st.sampled_from([0.0, 0.0, 0.03125])) if limits else 0.0,
    )


@pytest.fixture(scope="session")
def workloads():
    """``workloads(max_requests=..., idle_layers=..., limits=...)``: a strategy of `Workload`."""
    return _workloads


@pytest.fixture(scope="session")
def refused():
    """``with refused(*words)``: a `DystaError` of one line that has all the words in it."""

    @contextmanager
    def check(*words):
        with pytest.raises(DystaError) as caught:
            yield
        message = str(caught.value)
        assert len(message.splitlines()) == 1, message
        for word in words:
            assert word in message, message

    return check


@pytest.fixture
def run(monkeypatch, capsys):
    """``run(*arguments)``: status, standard output, standard error of a command in this process."""
    from dysta_gym import cli

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["dysta-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed, said = capsys.readouterr()
        return ended.value.code or 0, printed, without_compiling(said)

    return run


def without_compiling(said):
    """What a command says, but for that it compiles, which the first to need something does."""
    return "".join(
        line for line in said.splitlines(keepends=True) if "compiling what this run" not in line
    )


@pytest.fixture
def ray_place():
    """Environment variables of a process that uses Ray, of which nothing stays.

    The folder's name is short because those of sockets in it must be.
    """
    folder = tempfile.mkdtemp(prefix="ray")
    try:
        yield {**os.environ, "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
    finally:
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if folder.encode() in (each / "cmdline").read_bytes():
                    os.kill(int(each.name), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
