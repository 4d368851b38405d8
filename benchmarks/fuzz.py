"""Hostile files: made from good ones by changing them, and read as a command reads them.

``python -m benchmarks.fuzz KIND --count 20000`` makes so many files of a kind, by a seed, and reads
each in this process, which is given so much memory and no more. Reading must end within seconds,
with what the file says or a `dysta_gym.DystaError` of one line, and run nothing: an audit hook
notes whatever is imported, unpickled, compiled, started, opened to be written or removed meanwhile.
What fails is kept in a folder. `tests/test_hostile.py` reads those of ``tests/corpus/hostile`` so.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import faulthandler
import gc
import gzip
import io
import json
import os
import pickle
import random
import shutil
import signal
import sqlite3
import struct
import sys
import tempfile
import time
import traceback
import unicodedata  # noqa: F401  which what is being read asks for at times
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import dysta_gym.rule_files  # noqa: F401  which a policy in a file asks for
from benchmarks.tearing import torn
from dysta_gym import DystaError
from dysta_gym.errors import LONGEST

try:
    import resource
except ImportError:  # on Windows, where memory is neither seen nor limited here
    resource = None  # type: ignore[assignment]

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"

SECONDS = 10.0
"""Of this process's work in which a file is read or refused; six times that on the clock."""

MEMORY = 2**30
"""Bytes that reading one may take, beside what the process had."""


# --- what is seen --------------------------------------------------------------------------------


class Watch:
    """Notes what is done while it is asked to that no reader may do.

    Attributes:
        seen: What was done.
        plain: What pickles may name.
    """

    plain: frozenset[str] = frozenset()

    def __init__(self, allowed: Path) -> None:
        self.seen: list[str] = []
        self._allowed, self._on = str(allowed), False
        sys.addaudithook(self._note)  # for good

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Look on within the block."""
        self.seen = []
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            path, mode, flags = arguments
            written = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if (written or set(str(mode)) & set("wax+")) and not self._is_allowed(path):
                self.seen.append(f"open {path!r} {mode}")
        elif event in ("compile", "exec"):
            by = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0]
            if by not in _COMPILERS:
                self.seen.append(f"{event} {arguments[0]!r:.80} by {by}")
        elif event == "import":
            self.seen.append(f"import {arguments[0]}")
        elif event in _CHANGES:
            path, folder = arguments[0], arguments[-1]
            if isinstance(folder, int) and folder >= 0 and event != "os.truncate":
                path = Path(f"/proc/self/fd/{folder}").readlink() / path
            if not self._is_allowed(path):
                self.seen.append(f"{event} {path!r}")
        elif event == "pickle.find_class" and ".".join(arguments) in self.plain:
            pass
        elif event.startswith(_RUNS) and event != "socket.gethostname":  # as logs are called
            self.seen.append(event)

    def _is_allowed(self, path: object) -> bool:
        return isinstance(path, int) or os.fsdecode(path).startswith(self._allowed)


_COMPILERS = {"ast", "cma", "collections", "dataclasses", "inspect", "typing"}
"""Modules that compile texts of code that they make themselves, or, as ``ast`` does, run none."""

_CHANGES = {f"os.{name}" for name in ("mkdir", "remove", "rmdir", "rename", "truncate", "utime")}
_CHANGES |= {f"os.{name}" for name in ("chmod", "chown", "link", "symlink")} | {"shutil.rmtree"}
_RUNS = (
    *(
        "pickle.",
        "marshal.",
        "subprocess.",
        "socket.",
        "ctypes.",
        "code.",
        "webbrowser.",
        "shutil.",
    ),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill"),
    *("sqlite3.enable_load_extension", "sqlite3.load_extension", "urllib.", "cpython.run_"),
)


class Hang(BaseException):
    """A file took too long."""


def outcome(watch: Watch, read: Callable[[Path], object], path: Path) -> tuple[str, str]:
    """What comes of reading a file: ``read``, ``refused`` or ``failed``, and in which words."""
    peak = _peak()
    _alarm(6 * SECONDS)
    faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
    begin = time.process_time()
    try:
        with warnings.catch_warnings(record=True) as said, watch():
            warnings.simplefilter("always")
            try:
                read(path)
                found = ("read", "")
            except DystaError as error:
                found = ("refused", str(error))
    except Hang:
        return "failed", "does not end"
    except BaseException as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        ours = [each for each in traceback.extract_tb(error.__traceback__) if "dysta" in each[0]]
        at = ours[-1] if ours else line
        told = f"{Path(at.filename).name}:{at.lineno}: {type(error).__name__}: {error}"
        return "failed", told[:300]
    finally:
        _alarm(0)
        faulthandler.cancel_dump_traceback_later()
    took = _peak() - peak
    message = found[1]
    if len(message.splitlines()) > 1 or len(message) > LONGEST or not message.isprintable():
        return "failed", f"is refused in no line: {message[:200]!r}"
    if watch.seen:
        return "failed", f"runs code: {', '.join(sorted(set(watch.seen)))[:300]}"
    if said:
        return "failed", f"warns: {said[0].category.__name__}: {said[0].message}"[:300]
    if took > MEMORY:
        return "failed", f"takes {took >> 20} MiB"
    if time.process_time() - begin > SECONDS:
        return "failed", f"takes more than {SECONDS:g} s"
    return found


def _hang(number: int, frame: Any) -> None:
    raise Hang


def _alarm(seconds: float) -> None:
    """Have `Hang` raised after so many seconds; 0 for never, as always where no alarms are."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _hang)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _peak() -> int:
    """Bytes that this process has had at most; 0 where nobody says."""
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has, where that can be limited."""
    statm = Path("/proc/self/statm")
    if resource is None or not statm.exists():
        return
    size = int(statm.read_text("ascii").split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + more, most))


# --- readers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """Files of a kind.

    Attributes:
        name: What such a file is called.
        seeds: Good ones.
        change: Changes one.
        read: Reads one, as a command does.
        mode: Mode of the file.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    change: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], object]
    mode: int = 0o644


def command(*arguments: object) -> None:
    """Run a command in this process, which must end well, or with one line of error.

    Raises:
        DystaError: In which it ended.
    """
    from dysta_gym import cli

    out, error, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["dysta-gym", *map(str, arguments)]
    status: object = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            try:
                cli.main()
            except SystemExit as ended:
                status = ended.code
    finally:
        sys.argv = before
    # Whatever is printed must have an encoding, unless it is replaced, as on standard output.
    lines = error.getvalue().splitlines()
    if status in (0, None) and not lines:
        return
    if status == 2 and len(lines) == 1 and lines[0].startswith("dysta-gym: error: "):
        raise DystaError(lines[0].removeprefix("dysta-gym: error: "))
    raise AssertionError(f"ends with {status}, and says {lines[:5]}")


def _read_scenario(path: Path) -> None:
    from dysta_gym import generate, load_scenario

    scenario = load_scenario(path)
    generate(scenario.varied(requests=min(20, scenario.requests)), 0, split="all")


def _read_track(path: Path) -> None:
    from dysta_gym.tracks import load_track

    load_track(path).conditions()


def _read_sweep(path: Path) -> None:
    from dysta_gym.sweeps import load_sweep
    from dysta_gym.sweeps.travelling import carried

    found, folder = load_sweep(path)
    found.grid(folder)
    carried(found.specs(folder), trust=False)


def _read_entry(path: Path) -> None:
    from dysta_gym.entries import load_entry

    with load_entry(path).scheduler():
        pass


def _read_recipe(path: Path) -> None:
    from dysta_gym.agents.recipes import load_recipe

    load_recipe(path)


def _read_trace(path: Path) -> None:
    from dysta_gym import load_scenario, load_trace

    trace = load_trace(path)
    fields = {"name": "n", "load": 0.5, "trace_dir": str(path.parent)}
    for accelerator in (trace.accelerator, "ideal"):
        for name in (path.stem, f"{path.stem}_whole"):
            with contextlib.suppress(DystaError):
                load_scenario(fields | {"accelerator": accelerator, "traces": {name: 1}}).store()


def _read_checkpoint(path: Path) -> None:
    from dysta_gym import find

    find(str(path))


def _read_state(path: Path) -> None:
    from dysta_gym.agents import training

    training.train(_RECIPE, path.parent, seed=0, resume=True, report=lambda report: None)


_RECIPE = {
    "name": "tried",
    "method": "evolution",
    "workloads": {"scenarios": ["arvr-hands"], "loads": [0.8], "requests": 5, "validation": 1},
    "network": {"kind": "tiny", "width": 1},
    "steps": 2,
    "validate_every": 1,
    "population": 4,
    "pool": 2,
    "batch": 1,
}


def _read_artifact(path: Path) -> None:
    from dysta_gym.traces import read_artifact_trace

    read_artifact_trace(path, "sanger")


_STORES: list[Any] = []


def _read_requests(path: Path) -> None:
    from dysta_gym.traces import read_artifact_traces
    from dysta_gym.workloads import read_requests

    if not _STORES:
        _STORES.append(read_artifact_traces(GOLDEN / "sanger", "sanger"))
    read_requests(path, _STORES[0], 10.0)


_COMMANDS: list[str] = []


def _read_store(path: Path) -> None:
    from dysta_gym.sweeps import frames, opened
    from dysta_gym.sweeps.export import to_csv

    folder, kind = path.parent, sum(path.read_bytes()) % 20
    if kind and _COMMANDS:
        with opened(folder) as store:
            list(frames([store]))
            store.done()
            to_csv(frames([store]), folder / "out.csv", store.about["origin"])
        return
    _COMMANDS.append("results")  # the first of all, which imports what others need
    command("results", folder, *["--json"] * (path.stat().st_size % 2), "--csv", folder / "out.csv")


def _read_model(path: Path) -> None:
    from dysta_gym.agent_files import agent_of
    from dysta_gym.agents.pickles import PLAIN

    Watch.plain = PLAIN
    agent_of(str(path))


def _read_statistics(path: Path) -> None:
    from dysta_gym.agents.models import _statistics
    from dysta_gym.agents.pickles import PLAIN

    Watch.plain = PLAIN
    _statistics(path, trust=False)


# --- trees of values -----------------------------------------------------------------------------

ODD: Sequence[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3.5, -0.0, 1e308, 5e-324, 1e-9, 1e9, 1.0000001e9, 0.1),
    *(float("nan"), float("inf"), -float("inf"), 2**31, 2**63, 2**64, -(2**63) - 1, 10**30),
    *(10**400, "", " ", "x" * 5000, "\ud800", "\x00", "\x1b[31m", "a\nb", "\u2028", "../../x"),
    *("/dev/zero", "~", "inf", "nan", "1_0", "own", "dysta", "dysta@*", "heavy", "sanger", "ideal"),
    *([], {}, [[]], [{}], {"": 1}, {"a": {}}, [0] * 1000, [[[[[[[[1]]]]]]]], "seed", "policy"),
    *(
        "antt",
        "scenario",
        "%s%n",
        "$(id)",
        "{}",
        "[red]",
        "!!python/name:os.system",
        "*",
        "<<",
        "=",
    ),
]


def _paths(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree: what holds it, and its key or index there."""
    found = []
    left = [tree]
    while left:
        node = left.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            found.append((node, key))
            if isinstance(node[key], dict | list):
                left.append(node[key])
    return found


def bent(tree: Any, rng: random.Random) -> Any:
    """A tree of lists and mappings with something else in some places."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = _paths(tree)
        if not places:
            return rng.choice(ODD)
        holder, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind <= 3:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif kind == 4:
            del holder[key]
        elif kind == 5:
            other, at = rng.choice(places)
            holder[key] = copy.deepcopy(other[at])
        elif kind == 6 and isinstance(holder, dict):
            value = holder.pop(key)
            holder[rng.choice(["", "name", "a" * 300, "\u0661", str(key).upper(), "seeds"])] = value
        elif isinstance(holder, list):
            holder.extend(copy.deepcopy([holder[key]] * rng.choice([1, 3, 200])))
        else:
            holder[key] = [holder[key]]
    return tree


# --- YAML ----------------------------------------------------------------------------------------


def _change_yaml(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.6:
        with contextlib.suppress(Exception):
            tree = bent(yaml.safe_load(content), rng)
            content = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode()
            if rng.random() < 0.7:
                return content
    return torn(content, rng)


def _yaml_seeds(*paths: Path) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for path in paths]


def _entry_seeds() -> list[bytes]:
    from dysta_gym.agents.checkpoints import SHIPPED

    entries = ROOT / "entries"
    head = "\n".join((entries / "dqn.yaml").read_text("utf-8").splitlines()[:8]) + "\n"
    import base64

    held = base64.b64encode((SHIPPED / "evolved.npz").read_bytes()).decode()
    return [
        head.encode(),
        head.replace("policy: dqn", f"checkpoint: {held}").replace("name: dqn", "name: m").encode(),
        head.replace("policy: dqn", "rule: 'import os; os.system(\"id\")'")
        .replace("name: dqn", "name: m")
        .encode(),
    ]


_TRACK = b"""name: mine
seeds: {first: 7000, count: 2}
split: test
blocks:
  - scenarios: [multi-attnn, arvr-hands]
    loads: [0.8, heavy]
    slos: [own, 5]
  - scenarios: [multi-cnn]
    changes: {queue_limit: 8}
    suffix: -few
"""

_SWEEP = b"""name: mine
scenarios: [multi-attnn, {name: n, accelerator: sanger, traces: {mpnet: 1}, load: 0.5}]
policies: [fcfs, dysta]
loads: [0.8, heavy]
slos: [5.0]
vary:
  speed: [1, 2]
  decision_cost.fixed_s: {none: 0, some: 1.0e-4}
seeds: {first: 0, count: 3}
requests: 20
bounds: false
"""


# --- npz -----------------------------------------------------------------------------------------

Members = dict[str, bytes]


def npy(array: Any) -> bytes:
    """An array as an npy file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array))
    return file.getvalue()


def packed(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An npz file of npy files."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def _members(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}


def lied(content: bytes, rng: random.Random) -> bytes:
    """A zip file with other numbers in the heads of its members."""
    data = bytearray(content)
    for mark, fields in (
        (b"PK\x01\x02", (8, 10, 16, 20, 24, 28, 30, 32, 42)),
        (b"PK\x03\x04", (6, 8, 14, 18, 22, 26, 28)),
        (b"PK\x05\x06", (4, 8, 10, 12, 16, 20)),
    ):
        at = data.find(mark)
        while at >= 0:
            if rng.random() < 0.15:
                where = at + rng.choice(fields)
                number = rng.choice([0, 1, 2**15, 2**31 - 1, 2**32 - 1, rng.getrandbits(32)])
                data[where : where + 4] = struct.pack("<I", number)[: len(data) - where]
            at = data.find(mark, at + 4)
    return bytes(data)


def _odd_array(content: bytes, rng: random.Random) -> bytes:
    """Another npy file."""
    array = np.lib.format.read_array(io.BytesIO(content))
    kind = rng.randrange(9)
    if array.dtype.kind == "U" and array.ndim == 0 and kind < 7:
        tree = bent(json.loads(str(array)), rng) if str(array)[:1] == "{" else rng.choice(ODD)
        text = json.dumps(tree)
        return npy(text if rng.random() < 0.8 else torn(text.encode(), rng).decode("latin"))
    if kind == 0:
        return npy(array.astype(rng.choice("?bBhHiIlLefdgFDSU"), casting="unsafe"))
    if kind == 1 and array.dtype.kind in "fiub" and array.size:
        changed = array.astype(rng.choice([float, array.dtype])).copy()
        odd = rng.choice([np.nan, np.inf, -1.0, 0, 1e308, 5e-324, 1e7, 2.0, 0.5])
        with np.errstate(all="ignore"):
            changed.flat[rng.randrange(array.size)] = np.float64(odd).astype(changed.dtype)
        return npy(changed)
    if kind == 2:
        return npy(array[..., None] if rng.random() < 0.5 else array.ravel()[:1])
    if kind == 3:
        return npy(np.repeat(array.ravel(), rng.choice([0, 2, 50])))
    if kind == 4:
        return npy(np.asfortranarray(array))
    if kind == 5:
        return npy(rng.choice([0, -1, 2**62, "x", [[]], 1e300]))
    head = content.index(b"{")
    end = content.index(b"\n", head)
    text = content[head:end]
    if kind == 6:
        text = text.replace(b"'shape': (", rng.choice([b"'shape': (9" + b"9" * 18, b"'shape': (-"]))
    elif kind == 7:
        text = text.replace(b"<", rng.choice([b">", b"|", b"=", b"<,"]))
    else:
        text = torn(text, rng)
    return content[: head - 2] + struct.pack("<H", len(text) % 65536) + text + content[end:]


def _change_npz(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.7:
        members = _members(content)
        for _ in range(rng.choice([1, 1, 2])):
            name = rng.choice(list(members))
            what = rng.random()
            if what < 0.7:
                with contextlib.suppress(Exception):
                    members[name] = _odd_array(members[name], rng)
            elif what < 0.8 and len(members) > 1:
                del members[name]
            elif what < 0.9:
                members[name] = torn(members[name], rng)
            else:
                members[rng.choice([*_EXTRAS, name])] = members[name]
        methods = [zipfile.ZIP_DEFLATED] * 6 + [0, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
        content = packed(members, rng.choice(methods))
        if rng.random() < 0.6:
            return content
    return lied(content, rng) if rng.random() < 0.5 else torn(content, rng)


_EXTRAS = ["sample_ids", "length", "condition", "query_length", "density", "valid_macs", "pickled"]


def _trace_seeds() -> list[bytes]:
    from dysta_gym.traces import shipped_traces

    found = []
    for name in ("minilm", "mobilenet_unstructured80", "whisper_tiny"):
        files = shipped_traces()
        path = files.get(name) or next(path for each, path in files.items() if name[:5] in each)
        members = _members(path.read_bytes())
        arrays = {
            key: np.lib.format.read_array(io.BytesIO(content)) for key, content in members.items()
        }
        inputs = len(arrays["latency_s"])
        few = {
            key: array[:4] if array.ndim and len(array) == inputs else array
            for key, array in arrays.items()
        }
        found.append(packed({key: npy(array) for key, array in few.items()}))
    return found


def _checkpoint_seeds() -> list[bytes]:
    from dysta_gym.agents.checkpoints import SHIPPED

    found = []
    for name in ("evolved", "ppo"):
        members = _members((SHIPPED / f"{name}.npz").read_bytes())
        record = json.loads(str(np.lib.format.read_array(io.BytesIO(members["record"]))))
        kept = ("name", "network", "width", "features", "level", "seed", "objective")
        members["record"] = npy(json.dumps({k: v for k, v in record.items() if k in kept}))
        found.append(packed(members))
    return found


def _state_seeds() -> list[bytes]:
    from dysta_gym.agents import training

    with tempfile.TemporaryDirectory() as folder:
        training.train(_RECIPE, folder, seed=0, report=lambda report: None)
        return [Path(folder, "state.npz").read_bytes()]


# --- CSV -----------------------------------------------------------------------------------------

_CELLS = [
    *(
        "",
        " ",
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e308",
        "1e-320",
        "9" * 400,
        "0x10",
        "1_0",
        "True",
    ),
    *("1e400", "0.1.2", '"', '""', '"a', 'a"b', "'", "\x00", "\t", "\ud800", "\u0661", "x" * 3000),
    *(
        "9007199254740993",
        "18446744073709551615",
        "-9223372036854775809",
        "bert",
        "=1+1",
        "#",
        "1;2",
    ),
    *("2**3", "NA", "None", "null", "\r", "1,2", "1e5", "1.0", "+3", "0b1", "1d3", "½", "\ufeff"),
]


def _change_csv(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.6:
        rows = [line.split(",") for line in content.decode().splitlines()]
        for _ in range(rng.choice([1, 1, 2, 4])):
            row = rng.choice(rows)
            kind = rng.randrange(8)
            if kind <= 3:
                row[rng.randrange(len(row))] = rng.choice(_CELLS)
            elif kind == 4:
                row.append(rng.choice(_CELLS))
            elif kind == 5 and len(row) > 1:
                del row[rng.randrange(len(row))]
            elif kind == 6:
                rows.insert(rng.randrange(len(rows)), list(row))
            else:
                for each in rows:
                    each.insert(rng.randrange(len(each) + 1), rng.choice(_CELLS))
        end = rng.choice(["\n", "\n", "\n", "\r\n", "\r", "\n\n"])
        content = end.join(map(",".join, rows)).encode("utf-8", "surrogatepass")
        if rng.random() < 0.7:
            return content
    return torn(content, rng)


# --- stores of sweeps ----------------------------------------------------------------------------


def _serialized(database: sqlite3.Connection) -> bytes:
    return database.serialize()


def _store_seeds() -> list[bytes]:
    from dysta_gym.sweeps import sweep

    grid = yaml.safe_load(_SWEEP) | {"seeds": {"first": 0, "count": 2}, "requests": 5}
    grid |= {"scenarios": ["arvr-hands"], "loads": [0.8], "vary": {"speed": [1, 2]}}
    with tempfile.TemporaryDirectory() as folder:
        sweep(grid, folder, jobs=1)
        with contextlib.closing(sqlite3.connect(Path(folder, "cells.sqlite"))) as database:
            database.execute("PRAGMA journal_mode = DELETE")
            return [_serialized(database)]


_STATEMENTS = [
    "CREATE TRIGGER t AFTER INSERT ON cells BEGIN DELETE FROM cells; END",
    "CREATE VIEW v AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
    "SELECT * FROM n",
    "CREATE INDEX i ON cells (layout)",
    "DROP TABLE cells",
    "DROP TABLE about",
    "DELETE FROM about",
    "DELETE FROM layouts",
    "INSERT INTO about VALUES (zeroblob(1000000))",
    "UPDATE about SET content = zeroblob(100000)",
    "UPDATE about SET content = NULL",
    "UPDATE about SET content = CAST(x'ff00fe' AS TEXT)",
    "UPDATE cells SET metrics = zeroblob(5000000)",
    "UPDATE cells SET metrics = 'x' WHERE at = 1",
    "UPDATE cells SET metrics = randomblob(length(metrics))",
    "UPDATE cells SET metrics = substr(metrics, 9)",
    "UPDATE cells SET at = 9223372036854775807 WHERE at = 1",
    "UPDATE cells SET at = -at",
    "UPDATE cells SET layout = 7",
    "UPDATE cells SET layout = 'x'",
    "UPDATE layouts SET id = 'x'",
    "PRAGMA application_id = 5",
    "PRAGMA user_version = 2",
    "PRAGMA encoding",
    "INSERT INTO layouts (labels) VALUES ('[]')",
    "DELETE FROM cells",
    "ALTER TABLE cells ADD COLUMN more GENERATED ALWAYS AS (at + 1) VIRTUAL",
]


def _change_store(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.75:
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(content)
            with contextlib.suppress(sqlite3.Error, UnicodeEncodeError, ValueError):
                for _ in range(rng.choice([1, 1, 2])):
                    kind = rng.random()
                    if kind < 0.45:
                        (text,) = database.execute("SELECT content FROM about").fetchone()
                        text = json.dumps(bent(json.loads(text), rng))
                        if rng.random() < 0.1:
                            text = torn(text.encode(), rng).decode("latin")
                        database.execute("UPDATE about SET content = ?", (text,))
                    elif kind < 0.7:
                        found = database.execute("SELECT id, labels FROM layouts").fetchall()
                        key, text = rng.choice(found)
                        text = json.dumps(bent(json.loads(text), rng))
                        database.execute("UPDATE layouts SET labels = ? WHERE id = ?", (text, key))
                    else:
                        database.execute(rng.choice(_STATEMENTS))
                database.commit()
            content = _serialized(database)
        if rng.random() < 0.9:
            return content
    return torn(content, rng)


# --- models --------------------------------------------------------------------------------------


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo run by a pickle >&2",)


def _model_seeds() -> list[bytes]:
    import base64

    code = base64.b64encode(pickle.dumps(_Runs())).decode()
    data = {"policy_class": {":type:": "<class>", ":serialized:": code}, "seed": 0, "gamma": 0.9}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("policy.pth", pickle.dumps(_Runs()))
    return [file.getvalue(), *_trained()[:2]]


def _trained() -> list[bytes]:
    """A model of Stable-Baselines3, one of normalised observations, and what normalises them."""
    from stable_baselines3 import A2C
    from stable_baselines3.common.vec_env import VecNormalize

    from dysta_gym.agents import SparseMultiDNNVecEnv

    told = {"slots": 4, "requests": 5, "decisions": "events", "level": "sized"}
    more = {"device": "cpu", "seed": 0, "n_steps": 8, "policy_kwargs": {"net_arch": [4]}}
    with tempfile.TemporaryDirectory() as folder:
        envs = SparseMultiDNNVecEnv(2, **told), VecNormalize(SparseMultiDNNVecEnv(2, **told))
        for name, env in zip("ab", envs, strict=True):
            A2C("MlpPolicy", env, **more).learn(16).save(Path(folder, f"{name}.zip"))
        envs[1].save(str(Path(folder, "c.pkl")))
        return [path.read_bytes() for path in sorted(Path(folder).iterdir())]


def _statistics_seeds() -> list[bytes]:
    return [pickle.dumps(_Runs()), _trained()[2]]


def _change_model(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.7:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        if rng.random() < 0.8:
            members["data"] = json.dumps(bent(json.loads(members["data"]), rng)).encode()
        else:
            name = rng.choice(list(members))
            members[name] = torn(members[name], rng)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, each in members.items():
                archive.writestr(name, each)
        return file.getvalue()
    return lied(content, rng) if rng.random() < 0.5 else torn(content, rng)


_DATA = ROOT / "dysta_gym" / "data"
_RECIPES = ROOT / "agents" / "recipes"

KINDS = {
    "scenario": Kind(
        "mine.yaml",
        _yaml_seeds(
            ROOT / "tests" / "corpus" / "yaml" / "good.yaml",
            *(_DATA / "scenarios" / f"{name}.yaml" for name in ("arvr-hands", "language-bursts")),
        ),
        _change_yaml,
        _read_scenario,
    ),
    "track": Kind("mine.yaml", lambda: [_TRACK], _change_yaml, _read_track),
    "sweep": Kind("mine.yaml", lambda: [_SWEEP], _change_yaml, _read_sweep),
    "entry": Kind("mine.yaml", _entry_seeds, _change_yaml, _read_entry),
    "recipe": Kind(
        "mine.yaml",
        _yaml_seeds(*(_RECIPES / f"{name}.yaml" for name in ("dqn", "evolved", "ppo"))),
        _change_yaml,
        _read_recipe,
    ),
    "trace": Kind("mine.npz", _trace_seeds, _change_npz, _read_trace),
    "checkpoint": Kind("mine.npz", _checkpoint_seeds, _change_npz, _read_checkpoint),
    "state": Kind("state.npz", _state_seeds, _change_npz, _read_state),
    "artifact": Kind(
        "bert.csv",
        _yaml_seeds(ROOT / "tests" / "corpus" / "sanger" / "good.csv"),
        _change_csv,
        _read_artifact,
    ),
    "requests": Kind(
        "requests.csv",
        _yaml_seeds(*(ROOT / "tests" / "corpus" / "csv" / f"good{x}.csv" for x in ("", "-spaces"))),
        _change_csv,
        _read_requests,
    ),
    "store": Kind("cells.sqlite", _store_seeds, _change_store, _read_store),
    "model": Kind("mine.zip", _model_seeds, _change_model, _read_model),
    "statistics": Kind("vecnormalize.pkl", _statistics_seeds, torn, _read_statistics),
}


# --- runs ----------------------------------------------------------------------------------------


def placed(kind: Kind, content: bytes, folder: Path) -> Path:
    """The file that a reader of this kind is given, alone in a folder."""
    path = folder / kind.name
    path.write_bytes(content)
    path.chmod(kind.mode)
    return path


def warmed(kind: Kind, folder: Path) -> None:
    """Read the good files, so that all is imported that reading needs."""
    for content in kind.seeds():
        with contextlib.suppress(DystaError):
            kind.read(placed(kind, content, folder))


def fuzz(name: str, count: int, seed: int, keep: Path) -> int:
    """Read so many files of a kind; how many of them failed."""
    kind, began = KINDS[name], time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="dysta-gym-fuzz-") as place:
        tempfile.tempdir = place
        folder = Path(place, "file")
        folder.mkdir()
        warmed(kind, folder)
        seeds = kind.seeds()
        watch = Watch(Path(place))
        limit_memory(2**31)
        base, counts = _peak(), dict.fromkeys(("read", "refused", "failed"), 0)
        known: dict[str, int] = {}
        for number in range(count):
            rng = random.Random(f"{seed}/{name}/{number}")
            content = rng.choice(seeds)
            for _ in range(rng.choice([1, 1, 2])):
                try:
                    content = kind.change(content, rng)
                except Exception:
                    content = torn(content, rng)
            path = placed(kind, content, folder)
            shutil.copyfile(path, keep / f"{name}-last")
            found, told = outcome(watch, kind.read, path)
            counts[found] += 1
            if found == "failed":
                mark = "".join(c for c in told if not c.isdigit())[:70]
                known[mark] = known.get(mark, 0) + 1
                if known[mark] <= 2:
                    kept = keep / f"{name}-{number}-{kind.name}"
                    shutil.copyfile(path, kept)
                    print(f"{name} {number}: {told}", flush=True)
                gc.collect()
            for other in folder.iterdir():
                if other.is_file():
                    other.unlink()
        seconds = time.perf_counter() - began
        print(f"{name}: {counts}, {(_peak() - base) >> 20} MiB more, {seconds:.0f} s", flush=True)
        print({mark: n for mark, n in known.items() if n > 2}, flush=True)
        os.environ.pop("TMPDIR", None)
        tempfile.tempdir = None
    return counts["failed"]


def corpus(folder: Path, names: Sequence[str]) -> None:
    """Read the files of a folder for each of some kinds; print a line of JSON for each.

    What their names begin with ``good`` is read first, so that all is imported that reading needs.
    """
    with tempfile.TemporaryDirectory(prefix="dysta-gym-fuzz-") as place:
        tempfile.tempdir = place
        files = [(name, path) for name in names for path in sorted((folder / name).iterdir())]
        at = Path(place, "file")

        def given(name: str, path: Path) -> Path:
            shutil.rmtree(at, ignore_errors=True)
            at.mkdir()
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            return placed(KINDS[name], content, at)

        for name in names:
            first = [path for each, path in files if each == name]
            for path in [each for each in first if each.name.startswith("good")] or first[:1]:
                with contextlib.suppress(DystaError):
                    KINDS[name].read(given(name, path))
        watch = Watch(Path(place))
        limit_memory(2 * MEMORY)
        base = _peak()
        for name, path in files:
            found, told = outcome(watch, KINDS[name].read, given(name, path))
            said = {"file": f"{name}/{path.name}", "outcome": found, "said": told}
            print(json.dumps(said | {"mib": (_peak() - base) >> 20}), flush=True)
        tempfile.tempdir = None


def main() -> None:
    """Fuzz, or read files that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS, nargs="+")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--corpus", type=Path, help="read what is there instead")
    given = parser.parse_args()
    if given.corpus:
        corpus(given.corpus, given.kind)
        return
    given.keep.mkdir(parents=True, exist_ok=True)
    failed = sum(fuzz(kind, given.count, given.seed, given.keep) for kind in given.kind)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
