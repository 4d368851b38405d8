"""Files that somebody made to do harm: each is read or refused in a line, and runs nothing."""

import contextlib
import importlib.util
import json
import os
import pickle
import sqlite3
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.fuzz import KINDS, MEMORY
from dysta_gym import DystaError, load_scenario, load_trace
from dysta_gym.entries import load_entry
from dysta_gym.rule_files import policy_of_file
from dysta_gym.sweeps import load_sweep, opened, sweep
from dysta_gym.sweeps.store import FILE, created
from dysta_gym.tracks import load_track

ROOT = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus" / "hostile"

HARMLESS = {
    "artifact/carriage-returns-alone.csv",
    "requests/carriage-returns.csv",
    "requests/letters-of-digits.csv",
    "trace/load-balance-too-small-to-divide-by.npz",  # by what it was measured on
    "trace/list-of-65535-members.npz",
}
"""What is odd, and read nonetheless, as what it says."""

NEEDED = {"state": "cma", "model": "sb3_contrib", "statistics": "sb3_contrib"}
"""Packages that reading some kinds takes."""


def test_the_corpus_is_read_or_refused_in_a_line_without_running_anything():
    kinds = [kind for kind in KINDS if kind not in NEEDED or importlib.util.find_spec(NEEDED[kind])]
    assert {path.name for path in CORPUS.iterdir()} == set(KINDS)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", *kinds, "--corpus", str(CORPUS)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == sum(len(list((CORPUS / kind).iterdir())) for kind in kinds)
    assert [each for each in found if each["outcome"] == "failed"] == []
    read = {each["file"] for each in found if each["outcome"] == "read"}
    good = {each["file"] for each in found if "/good" in each["file"]}
    assert read == {file for file in good | HARMLESS if file.partition("/")[0] in kinds}
    assert max(each["mib"] for each in found) < MEMORY >> 20
    assert sum(path.stat().st_size for path in CORPUS.rglob("*.*")) < 500_000


def test_the_corpus_is_read_where_nothing_limits_memory_or_sets_alarms():
    # As on Windows.
    program = """
import signal, sys
sys.modules["resource"] = None
del signal.SIGALRM, signal.setitimer
from benchmarks import fuzz
sys.argv = ["fuzz", "sweep", "--corpus", "tests/corpus/hostile"]
fuzz.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["outcome"] for each in found} == {"read", "refused"}
    assert {each["mib"] for each in found} == {0}


@pytest.mark.skipif(os.name != "posix", reason="there are no such files")
@pytest.mark.parametrize("read", [load_scenario, load_track, load_sweep, load_entry])
def test_yaml_that_is_no_regular_file_is_refused_at_once(tmp_path, refused, read):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe", "zero"):
        with refused(name, "is not a regular file"):
            read(tmp_path / f"{name}.yaml")
    with refused("folder"):
        read(tmp_path / "folder.yaml")


@pytest.mark.skipif(os.name != "posix", reason="there are no such files")
def test_a_rule_that_is_no_regular_file_is_refused_at_once(tmp_path, refused):
    os.mkfifo(tmp_path / "pipe.py")
    with refused("pipe.py", "is not a regular file"):
        policy_of_file(str(tmp_path / "pipe.py"))


def test_a_member_unpacks_to_no_more_than_it_says(tmp_path, monkeypatch):
    # A stream of 64 MiB that both heads say are 100 bytes: no more than what is asked for at a time
    # is ever unpacked.
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("latency_s.npy", bytes(2**26))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.find(b"PK\x01\x02") + 24, 100)
    path.write_bytes(data)
    asked = []
    real = zipfile._get_decompressor

    class Seen:
        def __init__(self, kind):
            self._real = real(kind)

        def __getattr__(self, name):
            return getattr(self._real, name)

        def decompress(self, content, size=0):
            asked.append(size)
            return self._real.decompress(content, size)

    monkeypatch.setattr(zipfile, "_get_decompressor", Seen)
    with pytest.raises(DystaError, match=r"bomb\.npz"):
        load_trace(path)
    assert asked and 0 < max(asked) <= 2**20


# --- stores --------------------------------------------------------------------------------------

GRID = {"scenarios": ["arvr-hands"], "policies": ["fcfs"], "requests": 5, "seeds": {"count": 1}}


@pytest.fixture
def store(tmp_path):
    return sweep(GRID | {"bounds": False}, tmp_path / "store", jobs=1)


def journal_that_removes(path):
    """A journal that says of another file that it is done with, and to be removed."""
    name, mark = os.fsencode(path), bytes.fromhex("d9d505f920a163d7")
    head = (mark + struct.pack(">5I", 0, 0, 2, 512, 4096)).ljust(512, b"\0")
    total = sum(each if each < 128 else each - 256 for each in name) & 0xFFFFFFFF
    return head + struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(
        ">2I", len(name), total
    ) + mark  # fmt: skip


@pytest.mark.parametrize("name", [FILE, "writer.sqlite"])
def test_a_journal_beside_a_store_removes_no_other_file(tmp_path, refused, store, name):
    other = tmp_path / "other.txt"
    other.write_text("mine")
    with sqlite3.connect(store / FILE) as database:  # else journals are not looked at
        database.execute("PRAGMA journal_mode = DELETE")
    database.close()
    if name != FILE:
        with sqlite3.connect(store / name) as database:
            database.execute("CREATE TABLE t (x)")
        database.close()
    beside = store / f"{name}-journal"
    beside.write_bytes(journal_that_removes(other))
    with refused(beside.name, "names other files"):
        sweep(GRID | {"bounds": False}, store, jobs=1)
    assert other.read_text() == "mine"
    if name == FILE:
        with refused(beside.name, "names other files"):
            opened(store)
        # It would have been: SQLite itself does so.
        with (
            contextlib.closing(sqlite3.connect(store / FILE)) as database,
            contextlib.suppress(sqlite3.DatabaseError),  # for its pages are cut off
        ):
            database.execute("SELECT * FROM cells").fetchall()
        assert not other.exists()


@pytest.mark.skipif(os.name != "posix", reason="there are no such files")
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_what_is_beside_a_store_is_regular(refused, store, suffix):
    os.mkfifo(store / f"{FILE}{suffix}")
    with refused(f"{FILE}{suffix}", "is not a regular file"):
        opened(store)


@pytest.mark.skipif(os.name != "posix", reason="there are no such files")
def test_the_lock_of_a_store_is_no_link(tmp_path, refused, store):
    (store / "writer.sqlite").unlink(missing_ok=True)
    (store / "writer.sqlite").symlink_to(tmp_path / "elsewhere")
    with opened(store) as there, refused("writer.sqlite", "is not a regular file"):
        created(store, there.about)
    assert not (tmp_path / "elsewhere").exists()


# --- what runs code when it is read --------------------------------------------------------------


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_the_watch_sees_code_that_runs(tmp_path):
    # Otherwise the corpus would prove nothing.
    program = """
import pickle, sys
from pathlib import Path
from benchmarks.fuzz import Watch, outcome
watch = Watch(Path("/nowhere"))
print(outcome(watch, lambda path: pickle.loads(path.read_bytes()), Path(sys.argv[1])))
print(outcome(watch, lambda path: exec(path.read_bytes()), Path(sys.argv[2])))
"""
    (tmp_path / "pickle").write_bytes(pickle.dumps(Runs(tmp_path / "made")))
    (tmp_path / "code").write_text("x = 1\n")
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "pickle", tmp_path / "code"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    assert "failed" in first and "pickle.find_class" in first and "open" in first
    assert "failed" in second and "exec" in second
