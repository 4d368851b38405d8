"""What the commands print, and what becomes of it where it cannot be printed."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from dysta_gym import agents, figures
from dysta_gym.text import printable

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
COMMAND = Path(sysconfig.get_path("scripts")) / "dysta-gym"
GOLDEN = Path(__file__).parent / "golden"
REQUESTS = next(path for path in sorted(GOLDEN.glob("*.requests.csv")) if "cnn" not in path.name)
COMPARE = ("compare", "--scenario", "multi-attnn", "--policy", "fcfs", "--policy", "sjf", "--seeds",
           "2", "--requests", "30", "--out", "results")  # fmt: skip
REPLAY = ("replay", "--traces", GOLDEN / "sanger", "--accelerator", "sanger",
          "--requests", REQUESTS, "--policy", "fcfs", "--slo", "10",
          "--out", "finish.csv")  # fmt: skip
REPRODUCE = ("reproduce", "figure2", "--fast", "--out", "made")
SHOW = ("show", "--requests", "5", "--policy", "fcfs", "--out", "shown")
PRINTING = {
    COMPARE: ["results/results.csv", "results/results.md", "results/trade-off.png"],
    REPLAY: ["finish.csv"],
    REPRODUCE: ["made/figure2.csv", "made/figure2.png"],
    SHOW: ["shown/timeline.png", "shown/requests.csv", "shown/fcfs.trace.json"],
    ("traces",): [],
    ("traces", "--json"): [],
    ("policies",): [],
    ("scenarios", "--json"): [],
    ("--version",): [],
    ("compare", "--help"): [],
}


def start(*arguments, **options):
    return subprocess.Popen(
        [COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize(("arguments", "files"), PRINTING.items(), ids=lambda each: str(each[:2]))
def test_a_pipe_that_is_closed_ends_a_command_quietly(tmp_path, arguments, files):
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*arguments, stdout=writing, cwd=tmp_path)
    os.close(writing)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (141, "")
    for name in files:
        assert (tmp_path / name).stat().st_size > 0


def test_a_table_into_a_pipe_that_is_closed_is_no_error(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ["replay", *REPLAY[1:-1], f"/dev/fd/{writing}"]
    process = start(*arguments, pass_fds=[writing], cwd=tmp_path)
    os.close(writing)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (141, "")


def test_a_pipe_that_is_closed_may_be_an_invalid_argument():
    """As Windows has it."""
    program = """
import errno, io, os, stat, sys
from dysta_gym import cli

class Pipe(io.RawIOBase):
    def writable(self):
        return True
    def fileno(self):
        return 1
    def write(self, data):
        if stat.S_ISFIFO(os.fstat(1).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        return os.write(1, data)

sys.stdout = io.TextIOWrapper(io.BufferedWriter(Pipe()), encoding="utf-8")
cli._CLOSED = {errno.EPIPE, errno.EINVAL}
sys.argv[1:] = ["policies"]
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("arguments", "files"), PRINTING.items(), ids=lambda each: str(each[:2]))
def test_a_full_disk_is_one_line(tmp_path, arguments, files):
    with Path("/dev/full").open("w") as full:
        process = start(*arguments, stdout=full, cwd=tmp_path)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert errors == (
        "dysta-gym: error: standard output cannot be written (No space left on device)\n"
    )
    for name in files:
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=str,
)
def test_what_a_terminal_cannot_show_is_replaced(tmp_path, settings):
    name = "ünï [v2] [/x] a|b $\\foo$ \x1b[31m"
    scenario = tmp_path / "mine.yaml"
    text = name.replace("\\", "\\\\").replace("\x1b", "\\e")
    scenario.write_text(
        f'name: "{text}"\naccelerator: sanger\ntraces: {{minilm: 1}}\nload: 0.9\nrequests: 30\n',
        encoding="utf-8",
    )
    arguments = ["compare", "--scenario", "mine.yaml", *COMPARE[3:]]
    process = start(
        *arguments, stdout=subprocess.PIPE, cwd=tmp_path, env={**os.environ, **settings}
    )
    output, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    assert output.isascii() and "\x1b" not in output
    assert printable(name).encode("ascii", "replace").decode() in output
    page = (tmp_path / "results" / "results.md").read_text(encoding="utf-8")
    assert page.startswith(r"### ünï \[v2] \[/x] a\|b \$\\foo\$ \\x1b\[31m: load 0.9")
    table = (tmp_path / "results" / "results.csv").read_text(encoding="utf-8")
    assert name in table


@pytest.fixture
def run(run, monkeypatch, tmp_path):
    """``run(*arguments)``, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return run


def test_a_fault_in_a_picture_does_not_lose_the_numbers(run, monkeypatch, tmp_path):
    def fault(*arguments):
        raise RuntimeError("no\nfont")

    monkeypatch.setattr(figures, "trade_off", fault)
    status, output, errors = run(*COMPARE)
    assert status == 2
    assert errors == (
        "dysta-gym: error: 'results/trade-off.png' cannot be drawn (RuntimeError: no font)\n"
    )
    assert "multi-attnn: load" in output and "Wrote" not in output
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"results.csv", "results.csv-metadata.json", "results.md"}
    monkeypatch.setattr(figures, "save", fault)
    status, _, errors = run(
        "reproduce", "2", "table2", "--fast", "--page", "page.md", "--out", "made"
    )
    assert status == 2 and "'made/figure2.png' cannot be drawn" in errors
    names = {path.name for path in (tmp_path / "made").glob("*.csv")}
    assert names == {"figure2.csv", "table2.csv"} and (tmp_path / "page.md").exists()


def test_results_that_cannot_be_written_are_still_shown(run, monkeypatch):
    import pandas as pd

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    status, output, errors = run(*COMPARE)
    assert status == 2 and "multi-attnn: load" in output
    assert errors == (
        "dysta-gym: error: 'results/results.csv' cannot be written (No space left on device)\n"
    )


def test_errors_command_no_terminal(run):
    for name in ("\x1b[31mred", "a\nb", "\x9b2J"):
        status, output, errors = run("compare", "--scenario", name)
        assert (status, output) == (2, "")
        assert "\x1b" not in errors and "\x9b" not in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize("command", ["compare", "reproduce"])
def test_jobs_are_bounded(run, command):
    for jobs in (10**9, 10**30, 1025):
        status, _, errors = run(command, "--jobs", jobs)
        assert status == 2 and errors == (
            f"dysta-gym: error: jobs: {jobs} is not allowed; it must be 1024 or less\n"
        )


@pytest.mark.parametrize("seeds", [10**9, 10**30, 100_001])
def test_seeds_are_bounded(run, refused, seeds):
    from dysta_gym import compare

    status, _, errors = run("compare", "--seeds", seeds)
    assert status == 2 and errors == (
        f"dysta-gym: error: seeds: {seeds} is not allowed; it must be 100000 or less\n"
    )
    with refused("seeds", "100000 or less"):
        compare(seeds=range(seeds))


# --- interrupts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start", [("-m", "dysta_gym"), ("-c", "import dysta_gym_start as s; s.main()")]
)
@pytest.mark.parametrize("module", ["gymnasium", "numpy.linalg", "typer", "pandas", "matplotlib"])
def test_an_interrupt_while_importing_is_one_line(tmp_path, start, module):
    """Ctrl-C when a module is asked for, of which some make another error of it."""
    (tmp_path / "sitecustomize.py").write_text(f"""
import signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r} and "dysta_gym" in sys.modules:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("as some make of it") from None
sys.meta_path.insert(0, Interrupt())
""")
    done = subprocess.run(
        [sys.executable, *start, *COMPARE], capture_output=True, text=True, timeout=120,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "dysta-gym: interrupted\n"


def test_an_interrupt_that_is_ignored_stays_so(tmp_path):
    """As in the background of a shell without job control."""
    process = start(
        *COMPARE, stdout=subprocess.PIPE, cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "") and "Wrote" in output


# --- policies in files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["u@h/c.npz", "C.NPZ", "a:b/c.npz", "p@static/c:1.Npz", "dysta@x.npz"]
)
def test_what_is_a_file_is_tried_as_a_file_first(tmp_path, monkeypatch, refused, name):
    from dysta_gym import find
    from dysta_gym.information import LEVELS
    from dysta_gym.policies import expand

    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    if name.startswith("dysta@"):
        with refused("level", "'x.npz'"):
            find(name)
    else:
        for spec in (name, f"{name}@static", f"{name}:time_unit=2"):
            with refused(repr(name), "does not exist"):
                find(spec)
    shipped = Path(agents.__file__).parent / "checkpoints" / "ppo.npz"
    path.write_bytes(shipped.read_bytes())
    policy = find(name)
    assert policy.name == name and policy.weights == find("ppo").weights
    assert find(f"{name}@static").level == "static"
    assert find(f"{name}@sized:time_unit=2").settings == {"time_unit": 2}
    assert find(policy.spec).spec == policy.spec
    assert expand(name) == [name]
    assert expand(f"{name}@*:time_unit=2") == [f"{name}@{each}:time_unit=2" for each in LEVELS]
    with refused("level", "'nowhere'"):
        find(f"{name}@nowhere")


# --- figures without pyplot ----------------------------------------------------------------------


def test_figures_leave_the_callers_pyplot_alone(tmp_path):
    program = """
import matplotlib
matplotlib.use("svg")
from matplotlib import pyplot
from dysta_gym import compare, figures, reproduction
figures.save(figures.trade_off(compare(["multi-attnn"], ["fcfs"], requests=30)), "picture.png")
reproduction.reproduce(["figure2", "table2", "figure9"], "made", fast=True)
assert matplotlib.get_backend() == "svg", matplotlib.get_backend()
assert pyplot.get_fignums() == []
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300, cwd=tmp_path)


def test_nothing_imports_pyplot():
    root = Path(__file__).parents[1]
    for folder in ("dysta_gym", "envs", "agents", "baselines", "benchmarks", "examples"):
        for path in (root / folder).rglob("*.py"):
            assert "pyplot" not in path.read_text(encoding="utf-8").replace("caller's pyplot", "")
