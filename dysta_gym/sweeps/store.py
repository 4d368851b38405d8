"""Where the cells of a sweep are kept as they come: an SQLite database, ``cells.sqlite``.

SQLite, with a write-ahead log, for what is asked of it: a transaction is there or is not, whenever
the process is killed; any number of readers look on while one writes; it is one file, of a format
that every language reads, without a server; and Python brings it along. Parquet, which the results
are exported to, would be a file for each batch, and a list of them that has to be kept whole.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd

from dysta_gym.comparison import CELL, Rows, tabled
from dysta_gym.errors import DystaError, shown
from dysta_gym.files import is_file
from dysta_gym.metrics import METRICS
from dysta_gym.sweeps.grid import MOST_CELLS
from dysta_gym.sweeps.packing import packed, unpacked
from dysta_gym.traces import SPLITS
from dysta_gym.writers import WRITER, check_beside, only_writer

FILE = "cells.sqlite"
FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm", WRITER)
"""What a store takes in its folder."""

FORMAT = 2
"""Version of the store's format; the first said conditions at length, and is read, too."""

_APPLICATION = 0x64797374
"""What SQLite files of this kind are marked with: ``dyst``."""

_SCHEMA = """
CREATE TABLE about (content TEXT NOT NULL);
CREATE TABLE layouts (id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE);
CREATE TABLE cells (at INTEGER PRIMARY KEY, layout INTEGER NOT NULL, metrics BLOB NOT NULL);
"""

MOST_TEXT, MOST_BLOB = 32 * 2**20, 16 * 2**20
"""Bytes of what a store says of itself, and of the metrics of a cell, at most."""

_STEPS = 16
"""Steps of SQLite's machine that a query takes for each byte of a store at most: where pages are
found in several places, it would go on for ever."""

_HUGE = 1e100
"""Beyond every metric."""

_CONDITIONS = {*CELL, "policy", "seed"}
"""Columns of a table that are no metrics."""

_DOUBLES = np.dtype("<f8")


class Store:
    """The cells of a sweep in a folder; a context, which closes it.

    Use `created` to write, `opened` to read.

    Attributes:
        path: Its file.
        about: What it is of, see `dysta_gym.sweeps.running`.
    """

    def __init__(self, path: Path, database: sqlite3.Connection, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, about
        self._database = database
        self._layouts: dict[tuple[str, ...], int] = {}
        self._lock: sqlite3.Connection | None = None
        self._about_text: object = ()
        self._seen: object = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # --- what is there ---------------------------------------------------------------------------

    @property
    def policies(self) -> list[str]:
        """Names of the policies, in the order of the rows of a cell."""
        return list(self.about["policies"])

    @property
    def seeds(self) -> list[int]:
        """Seeds of each condition."""
        return list(self.about["seeds"])

    @property
    def total(self) -> int:
        """How many cells there will be."""
        return len(self.about["conditions"]) * len(self.seeds)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """A context in which the store is what it was at its beginning, whoever writes meanwhile.

        Raises:
            DystaError: If it is damaged.
        """
        if self._database.in_transaction:
            yield
            return
        try:
            self._database.execute("BEGIN")
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from None
        try:
            if self._lock is None:  # else nobody can have given it more seeds
                self._read_about()
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._database.rollback()

    def _read_about(self) -> None:
        row = next(self._ask(f"SELECT substr(content, 1, {MOST_TEXT}) FROM about"), None)
        text = row and row[0]
        if text != self._about_text:
            self.about = _checked(self._json(text, "about"), self)
            self._about_text = text

    def done(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of the cells are there, shape ``(total,)``."""
        with self.snapshot():
            there = np.zeros(self.total, bool)
            for (at,) in self._ask("SELECT at FROM cells ORDER BY at"):
                self._check_number(at)
                there[at] = True
        return there

    def count(self) -> int:
        """How many of the cells are there."""
        return int(next(self._ask("SELECT count(*) FROM cells"))[0])

    def rows(self) -> Iterator[tuple[int, Rows]]:
        """The cells that are there, by their numbers, in order.

        Raises:
            DystaError: If the store is damaged.
        """
        layouts = self._layouts_there()
        count = len(self.policies)
        query = (
            f"SELECT at, layout, CASE WHEN length(metrics) <= {MOST_BLOB} THEN metrics END "
            "FROM cells ORDER BY at"
        )
        last = -1
        for at, layout, metrics in self._ask(query):
            self._check_number(at)
            if at <= last:
                raise self._damaged(f"cell {at} is there more than once")
            last = at
            labels = layouts.get(layout)
            if labels is None or not isinstance(metrics, bytes):
                raise self._damaged(f"cell {shown(at)} has no metrics")
            if len(metrics) != count * len(labels) * _DOUBLES.itemsize:
                raise self._damaged(f"cell {at} has {len(metrics)} bytes of metrics")
            values = np.frombuffer(metrics, _DOUBLES).reshape(count, len(labels))
            if (np.abs(values) > _HUGE).any():  # NaN is what does not occur
                raise self._damaged(f"cell {at} has a metric that is larger than {_HUGE:g}")
            yield at, Rows(labels, values.astype(np.float64))

    def _layouts_there(self) -> dict[int, tuple[str, ...]]:
        query = f"SELECT id, substr(labels, 1, {MOST_TEXT}) FROM layouts ORDER BY id"
        found = {}
        for key, text in self._ask(query):
            labels = self._json(text, "labels")
            if not isinstance(labels, list) or not all(map(_is_text, labels)):
                raise self._damaged("labels are no list of names")
            if len(set(labels)) < len(labels) or not set(METRICS) <= set(labels):
                raise self._damaged("labels are not those of metrics, each once")
            if not _CONDITIONS.union(varied([self])).isdisjoint(labels):
                raise self._damaged("labels are those of conditions")
            found[key] = tuple(labels)
        return found

    def _check_number(self, at: object) -> None:
        if not isinstance(at, int) or not 0 <= at < self.total:
            raise self._damaged(f"there is no cell {shown(at)}")

    def _ask(self, query: str) -> Iterator[Any]:
        try:
            size = 1
            for name in ("page_count", "page_size"):
                size *= self._database.execute(f"PRAGMA {name}").fetchone()[0]
            left = itertools.count(_STEPS * size // 1000 + 100, -1)
            self._database.set_progress_handler(lambda: next(left) < 0, 1000)
            yield from self._database.execute(query)
            if self._seen is not None and self._seen != _state(self.path):
                raise DystaError(
                    f"{str(self.path)!r} was written meanwhile; give the same command again"
                )
        except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
            raise _unreadable(self.path, error) from None
        finally:
            with contextlib.suppress(sqlite3.Error):  # if it is closed
                self._database.set_progress_handler(None, 0)

    def _json(self, text: object, what: str) -> Any:
        try:
            if not isinstance(text, str):
                raise ValueError(f"{what} is no text")
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, why: str) -> DystaError:
        return _damaged(self.path, why)

    def remove(self) -> None:
        """Close it, and remove it from its folder."""
        self.__exit__(None, None, None)
        for name in FILES:
            self.path.with_name(name).unlink(missing_ok=True)

    # --- what comes ------------------------------------------------------------------------------

    def add(self, cells: Iterable[tuple[int, Rows]]) -> None:
        """Keep some cells, all of them or none.

        Raises:
            DystaError: If they cannot be written.
        """
        try:
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO cells VALUES (?, ?, ?)",
                    [
                        (at, self._layout(rows.labels), rows.values.astype(_DOUBLES).tobytes())
                        for at, rows in cells
                    ],
                )
        except sqlite3.Error as error:
            self._layouts.clear()
            raise _unwritable(self.path, error) from None

    def _layout(self, labels: tuple[str, ...]) -> int:
        """Number of a layout; it is kept once."""
        if labels not in self._layouts:
            text = json.dumps(labels)
            self._database.execute("INSERT OR IGNORE INTO layouts (labels) VALUES (?)", (text,))
            query = "SELECT id FROM layouts WHERE labels = ?"
            self._layouts[labels] = self._database.execute(query, (text,)).fetchone()[0]
        return self._layouts[labels]


def _unwritable(path: Path, error: sqlite3.Error) -> DystaError:
    return DystaError(
        f"out: {str(path)!r} cannot be written ({error}); once it can be, the same command goes on"
    )


def _damaged(path: Path, why: str) -> DystaError:
    return DystaError(f"{str(path)!r} is damaged, or no store of cells ({why})")


def _unreadable(path: Path, error: Exception) -> DystaError:
    """What is said of a store that SQLite does not read: for what is in it, or for want of room."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what it specifies
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN):
        return DystaError(f"{str(path)!r} cannot be read ({error}); see that its disk has room")
    return _damaged(path, str(error))


class _Empty(DystaError):
    """A store was begun, and nothing is in it."""


def created(folder: Path, about: Mapping[str, Any]) -> Store:
    """The store in a folder, made if there is none, to be written by this process alone.

    Args:
        folder: The folder.
        about: What it is of, as JSON has it.

    One without a cell becomes a store of what is given, whatever it was of.

    Raises:
        DystaError: If it cannot be written, another process writes it, it has cells of something
            else, or there is more to say than a store keeps.
    """
    text = _text(about)  # before anything is made
    path = folder / FILE
    lock = None
    try:
        lock = only_writer(folder)
        there = path.exists() and path.stat().st_size > 0
        without_cells = False
        grown: dict[str, Any] | None = None
        if there:
            try:
                with opened(folder) as old:
                    without_cells = not old.count()
                    grown = None if without_cells else _grown(old, about, folder)
                    fewer = len(old.seeds)
            except _Empty:  # who began it was killed, or found no room
                there = False
        check_beside(path)
        database = sqlite3.connect(path, isolation_level="DEFERRED")
        _restrict(database)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        if not there:
            with database:
                database.execute("BEGIN IMMEDIATE")
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    database.execute(statement)
                database.execute("INSERT INTO about VALUES (?)", (text,))
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.execute(f"PRAGMA user_version = {FORMAT}")
        elif without_cells:  # as a rule leaves it that cannot be compiled
            with database:
                _tell(database, text)
        elif grown:
            _add_seeds(database, fewer, grown)
    except OSError as error:
        if lock:
            lock.close()
        raise DystaError(f"out: {str(folder)!r} cannot be written ({error.strerror})") from None
    except sqlite3.Error as error:
        if lock:
            lock.close()
        raise _unwritable(path, error) from None
    except DystaError:
        if lock:
            lock.close()
        raise
    store = Store(path, database, json.loads(json.dumps(about)))
    store._lock = lock
    return store


def opened(folder: str | Path) -> Store:
    """The store in a folder, to be read; somebody may write it meanwhile.

    Raises:
        DystaError: If there is none, or it is damaged, or of another format.
    """
    path = Path(folder) / FILE
    if not is_file(path):
        raise DystaError(f"{str(folder)!r} holds no sweep: there is no {FILE}")
    store = None
    try:
        check_beside(path)
        store = _readable(path)
        database = store._database
        (kind,), (form,) = (
            database.execute(f"PRAGMA {name}").fetchone()
            for name in ("application_id", "user_version")
        )
        if kind != _APPLICATION:
            if not kind and next(store._ask("SELECT count(*) FROM sqlite_schema"))[0] == 0:
                raise _Empty(f"{str(folder)!r} holds no sweep: nothing is in {FILE} yet")
            raise store._damaged("it is not marked as one")
        if not 1 <= form <= FORMAT:
            raise DystaError(f"{str(path)!r} is of format {form}; this version reads 1 to {FORMAT}")
        query = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
        tables = list(itertools.islice(store._ask(query), 10))
        wanted = [(text.split()[2], text) for text in map(str.strip, _SCHEMA.split(";")) if text]
        if sorted(tables, key=str) != sorted(wanted):
            raise store._damaged("its tables are not those of a store")
        store._read_about()
        return store
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        if store:
            store.__exit__(None, None, None)
        raise _unreadable(path, error) from None
    except DystaError:
        if store:
            store.__exit__(None, None, None)
        raise


def _readable(path: Path) -> Store:
    """A store whose database can be read, for all that is known.

    Where it cannot be by somebody who may not write beside it, it is taken for one that does not
    change, and looked at after each query whether it has (https://sqlite.org/wal.html).

    Raises:
        DystaError: If some of it is in a log, which SQLite reads only where it may write.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        database = sqlite3.connect(uri, uri=True, timeout=30)
        try:
            database.execute("PRAGMA application_id")  # which looks at what is beside it
            _restrict(database)
            return Store(path, database, {})
        except sqlite3.Error:
            database.close()
            raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
    seen = _state(path)
    for log in seen[1:]:
        if log:
            raise DystaError(
                f"{str(path)!r} has cells in a log beside it, which only somebody who may write to "
                f"{str(path.parent)!r} can read; copy that folder to where you may"
            )
    database = sqlite3.connect(f"{uri}&immutable=1", uri=True)
    try:
        _restrict(database)
    except sqlite3.Error:
        database.close()
        raise
    store = Store(path, database, {})
    store._seen = seen
    return store


def _state(path: Path) -> tuple[object, int, int]:
    """What changes when somebody writes a database, and the sizes of the logs beside it."""
    about = path.stat()
    logs = [Path(f"{path.resolve()}{suffix}") for suffix in ("-wal", "-journal")]
    wal, journal = (log.stat().st_size if log.exists() else 0 for log in logs)
    return (about.st_ino, about.st_size, about.st_mtime_ns), wal, journal


def _restrict(database: sqlite3.Connection) -> None:
    """Have a database that others may have made run nothing of its own, and take no more memory."""
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TEXT)


def _is_text(value: object) -> bool:
    """Whether it is a text that can be written, and not endless."""
    return (
        isinstance(value, str) and len(value) < 10_000 and not re.search("[\ud800-\udfff]", value)
    )


def _checked(about: Any, store: Store) -> dict[str, Any]:
    """What a store says of itself, if it is all there."""
    kinds = {"version": str, "policies": dict, "seeds": list, "conditions": list, "split": str}
    if isinstance(about, dict) and isinstance(about.get("conditions"), dict):
        try:
            about = unpacked(about)
        except ValueError as error:
            raise store._damaged(str(error)) from None
    if not isinstance(about, dict) or any(
        not isinstance(about.get(key), kind) for key, kind in kinds.items()
    ):
        raise store._damaged("it does not say what it is of")
    for condition in about["conditions"]:
        where: Any = condition.get("where") if isinstance(condition, dict) else None
        ok = (
            isinstance(where, list)
            and len(where) == len(CELL)
            and _is_text(where[0])
            and all(type(each) in (int, float) and 0 <= each < _HUGE for each in where[1:])
            and isinstance(condition.get("varied"), dict)
            and all(map(_is_text, itertools.chain(*condition["varied"].items())))
            and _CONDITIONS.isdisjoint(condition["varied"])
            and _is_text(condition.get("workloads"))
        )
        if not ok:
            raise store._damaged("a condition is not whole")
        condition["where"] = [where[0], *map(float, where[1:])]
    origin = about.get("origin")
    if not isinstance(origin, dict) or not {"version", "date", "packages"} <= set(origin):
        raise store._damaged("it does not say what it was made with")
    if not all(_is_text_or_texts(part) for part in origin.values()):
        raise store._damaged("what it was made with is no text")
    for what, part in (("field of a scenario", "scenarios"), ("file of a policy", "files")):
        told = about.get(part, {})
        if not isinstance(told, dict) or not all(
            isinstance(each, dict) and all(map(_is_text, itertools.chain([name], *each.items())))
            for name, each in told.items()
        ):
            raise store._damaged(f"a {what} is no text")
    policies, seeds = about["policies"], about["seeds"]
    if not all(map(_is_text, itertools.chain(*policies.items(), [about["version"]]))):
        raise store._damaged("a policy is no name")
    if not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise store._damaged("a seed is no number")
    if about["split"] not in SPLITS or not all((policies, seeds, about["conditions"])):
        raise store._damaged("it is of no workloads")
    if len(seeds) * len(about["conditions"]) > MOST_CELLS:
        raise store._damaged(f"it is of more than {MOST_CELLS} cells")
    return about


def _is_text_or_texts(part: object) -> bool:
    """Whether it is a text, or a mapping of names to texts."""
    if isinstance(part, dict):
        return all(map(_is_text, itertools.chain(*part.items())))
    return _is_text(part)


def _grown(old: Store, about: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """What a store is of with more seeds, if its own are the first of these; None if they are all.

    Raises:
        DystaError: If anything else differs, which it names.
    """
    seeds, there = list(about["seeds"]), old.seeds
    grows = len(there) < len(seeds) and seeds[: len(there)] == there
    here = {**about, "seeds": there if grows else seeds}
    found = difference(old.about, json.loads(json.dumps(here)))
    if found is not None:
        raise DystaError(f"out: {str(folder)!r} holds other cells: {found}; give another folder")
    if not grows:
        return None
    old.done()  # which looks at the numbers of the cells
    return {**old.about, "seeds": seeds}


def _add_seeds(database: sqlite3.Connection, before: int, about: Mapping[str, Any]) -> None:
    """Number the cells as they are with more seeds a condition, all of them or none."""
    after = len(about["seeds"])
    with database:
        database.execute("BEGIN IMMEDIATE")
        # By way of numbers that no cell has.
        moved = f"-1 - (at / {before} * {after} + at % {before})"
        database.execute(f"UPDATE cells SET at = {moved}")
        database.execute("UPDATE cells SET at = -1 - at")
        _tell(database, _text(about))


def _tell(database: sqlite3.Connection, text: str) -> None:
    """Have a store say what it is of, within a transaction."""
    database.execute("UPDATE about SET content = ?", (text,))
    database.execute(f"PRAGMA user_version = {FORMAT}")


def _text(about: Mapping[str, Any]) -> str:
    """What a store says it is of.

    Raises:
        DystaError: If that is more than it keeps.
    """
    try:
        text = json.dumps(packed(about), separators=(",", ":"))
    except ValueError as error:
        raise DystaError(f"sweep: {error}; give fewer conditions, or shorter names") from None
    if len(text) > MOST_TEXT - 1000:  # a row and its head are no longer, either
        raise DystaError(
            f"sweep: what is to be kept of its {len(about['conditions'])} conditions, seeds and "
            f"policies is {len(text)} bytes, and may be {MOST_TEXT - 1000}; give fewer of them"
        )
    return text


def difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """The first thing in which two stores differ, in words; None if there is none."""
    old: Any
    new: Any
    for field in ("version", "policies", "split", "bounds"):
        old, new = there.get(field), here.get(field)
        if field == "policies" and isinstance(old, dict) and isinstance(new, dict):
            if list(old.items()) == list(new.items()):
                continue
            if list(old) != list(new):
                return f"policies: they are {', '.join(old)} there, {', '.join(new)} here"
            name = next(name for name in old if old[name] != new[name])
            was, now = ((about.get("files") or {}).get(name, {}) for about in (there, here))
            if told := _file_difference(name, was, now):
                return f"policies: {told}"
            return (
                f"policies: {name!r}, its {'file' if now else 'package'} or its parameters, is not "
                f"what it was, {new[name]} instead of {old[name]}"
            )
        if old == new:
            continue
        return f"{field}: it is {shown(old)} there, {shown(new)} here"
    old, new = there.get("code"), here.get("code")
    if old != new and None not in (old, new):  # who has none keeps no word of it
        return f"code: the Python files of dysta_gym are {shown(old)} there, {shown(new)} here"
    if there["seeds"] != here["seeds"]:
        return f"seeds: they are {_range(there['seeds'])} there, {_range(here['seeds'])} here"
    old, new = ([each["where"] for each in about["conditions"]] for about in (there, here))
    told = _field_difference(there, here)
    if old != new:
        return told or _condition_difference(old, new)
    for was, now in zip(there["conditions"], here["conditions"], strict=True):
        if was["workloads"] != now["workloads"]:
            return told or (
                f"traces or scenario: the workloads of {_said(now['where'])} are not what they "
                f"were, {now['workloads']} instead of {was['workloads']}"
            )
    return None


def _file_difference(policy: str, there: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """The first file beside a policy's own in which two stores differ, in words."""
    own = next(iter(here), "")
    for name in sorted({*there, *here}) if there.get(own) == here.get(own) else ():
        old, new = there.get(name), here.get(name)
        if old is None or new is None:
            return f"{name!r} beside {policy!r} is only {'here' if old is None else 'there'}"
        if old != new:
            return f"{name!r} beside {policy!r} is not what it was, {new} instead of {old}"
    return None


def _field_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """The first field in which a scenario of two stores differs, in words, as far as they tell.

    By itself it is no difference: paths of files may differ whose contents do not.
    """
    for name, new in (here.get("scenarios") or {}).items():
        old = (there.get("scenarios") or {}).get(name, new)
        for field, value in sorted(new.items(), key=lambda each: each[0] == "trace_dir"):
            if old.get(field) != value:
                was = _short(old.get(field, "missing"))
                return f"{field}: it is {was} there, {_short(value)} here, in scenario {name!r}"
    return None


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-90:]}"


def _condition_difference(there: Sequence[Any], here: Sequence[Any]) -> str:
    """The first condition in which two stores differ, in words."""
    for (name, load, rate, slo), (its, *other) in zip(there, here, strict=False):
        # Traces say what load a rate is, or what rate a load is.
        if name == its and slo == other[2] and (load == other[0]) != (rate == other[1]):
            if load == other[0]:
                given, was, now = f"load {load!r}", f"{rate!r} requests a second", other[1]
            else:
                given, was, now = f"rate {rate!r}", f"load {load!r}", other[0]
            return f"traces or scenario: {given} of {name!r} was {was} there, and is {now!r} here"
    old, new = set(map(tuple, there)), set(map(tuple, here))
    gone = next((each for each in there if tuple(each) not in new), None)
    only = next((each for each in here if tuple(each) not in old), None)
    same = gone is not None and only is not None and _said(gone) == _said(only)
    told = [] if only is None else [f"{_said(only, exactly=same)} is only here"]
    told += [] if gone is None else [f"{_said(gone, exactly=same)} only there"]
    return f"conditions: {', '.join(told) or 'their order differs'}"


def _said(where: Sequence[Any], *, exactly: bool = False) -> str:
    name, load, _, slo = where
    if exactly:
        return f"{name!r} at load {load!r} and SLO multiplier {slo!r}"
    return f"{name!r} at load {load:.3g} and SLO multiplier {slo:g}"


def _range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else ", ".join(map(str, seeds))


# --- tables --------------------------------------------------------------------------------------

BATCH = 2_000
"""Cells that are made a table of at a time."""


def varied(stores: Sequence[Store]) -> list[str]:
    """The fields that vary in a sweep, of which the scenarios' names tell, too."""
    conditions = stores[0].about["conditions"]
    return list(dict.fromkeys(name for each in conditions for name in each["varied"]))


def frames(stores: Sequence[Store], batch: int = BATCH) -> Iterator[pd.DataFrame]:
    """The cells of stores of the same sweep, as `dysta_gym.compare` returns them, part after part.

    All of it is as it was when the first part was asked for. Where a cell is in several, it has to
    be the same in all. The fields that vary come behind the
    conditions, as text.

    Raises:
        DystaError: If they are not of the same sweep, a cell differs, or one is damaged.
    """
    with contextlib.ExitStack() as stack:
        for store in stores:
            stack.enter_context(store.snapshot())
        yield from _frames(stores, batch)


def _frames(stores: Sequence[Store], batch: int) -> Iterator[pd.DataFrame]:
    first = stores[0]
    for other in stores[1:]:
        found = difference(first.about, other.about)
        if found is not None:
            fewer = min(first, other, key=lambda store: len(store.seeds))
            if difference(first.about, {**other.about, "seeds": first.seeds}) is None:
                found += f"; give the sweep of {str(fewer.path.parent)!r} the same, too"
            raise DystaError(f"{str(other.path.parent)!r} is of another sweep: {found}")
    layouts = _layouts(stores)
    fields = varied(stores)
    seeds, conditions = first.seeds, first.about["conditions"]
    part: list[tuple[int, Rows]] = []

    def made() -> pd.DataFrame:
        chosen = [conditions[at // len(seeds)] for at, _ in part]
        frame = tabled(
            [tuple(each["where"]) for each in chosen],
            [seeds[at % len(seeds)] for at, _ in part],
            first.policies,
            [rows for _, rows in part],
            layouts,
            first.about["origin"],
        )
        for field in fields:
            labels = [each["varied"].get(field, "") for each in chosen]
            frame[field] = np.repeat(np.array(labels, object), len(first.policies))
        return frame

    for at, rows in _merged(stores):
        part.append((at, rows))
        if len(part) == batch:
            yield made()
            part = []
    if part:
        yield made()


def _layouts(stores: Sequence[Store]) -> list[tuple[str, ...]]:
    """Labels of the metrics, in the order in which cells first have them."""
    first: dict[tuple[str, ...], int] = {}
    for store in stores:
        there = store._layouts_there()
        for key, at in store._ask("SELECT layout, min(at) FROM cells GROUP BY layout"):
            if key not in there:
                raise store._damaged(f"there is no layout {shown(key)}")
            first[there[key]] = min(at, first.get(there[key], at))
    return sorted(first, key=lambda labels: first[labels])


def _merged(stores: Sequence[Store]) -> Iterator[tuple[int, Rows]]:
    """The cells of stores in order, each once."""
    last: tuple[int, Rows] | None = None
    for at, rows in heapq.merge(*(store.rows() for store in stores), key=lambda each: each[0]):
        if last is not None and last[0] == at:
            same = (
                last[1].labels == rows.labels and last[1].values.tobytes() == rows.values.tobytes()
            )
            if not same:
                raise DystaError(f"cell {at} is not the same in two of the stores")
            continue
        yield at, rows
        last = at, rows
