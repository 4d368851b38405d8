"""One writer a folder: what keeps others out, until it is closed, or its process ends.

An SQLite file of the folder that is locked, for these locks are the system's own, which a process
cannot leave behind, and hold on the file systems that the nodes of a cluster share.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

from dysta_gym.errors import DystaError

WRITER = "writer.sqlite"
"""The file."""


def only_writer(folder: Path) -> sqlite3.Connection:
    """What keeps other writers out of a folder, made if need be, until it is closed.

    Raises:
        DystaError: If another process writes to it, or its file is not what it should be.
        OSError: If the folder cannot be made.
        sqlite3.OperationalError: If nothing can be locked there.
    """
    path = folder / WRITER
    folder.mkdir(parents=True, exist_ok=True)
    check_beside(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise DystaError(f"out: {str(path)!r} is not a regular file; remove it")
    lock = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        lock.execute("PRAGMA journal_mode = MEMORY")  # else it has a file, too
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise DystaError(
                f"out: another process writes to {str(folder)!r}; wait for its end, or give "
                "another folder"
            ) from None
        raise
    except sqlite3.DatabaseError as error:
        lock.close()
        raise DystaError(
            f"out: {str(path)!r} is not one of ours ({error}); remove it, or give another folder"
        ) from None
    return lock


_SUPER = bytes.fromhex("d9d505f920a163d7")
"""Ends a journal that names another one, which SQLite removes once it has rolled back: whatever
file that is. Journals of ours end otherwise (https://sqlite.org/fileformat.html)."""


def check_beside(path: Path) -> None:
    """Look at what SQLite opens unasked beside a database.

    Raises:
        DystaError: If it is no regular file, or would have another file removed.
        OSError: If it cannot be looked at.
    """
    for suffix in ("-wal", "-shm", "-journal"):
        beside = Path(f"{path.resolve()}{suffix}")
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(beside.lstat().st_mode):
                raise DystaError(f"{str(beside)!r} is not a regular file; remove it")
            if suffix == "-journal":
                with beside.open("rb") as stream:
                    stream.seek(max(0, stream.seek(0, os.SEEK_END) - len(_SUPER)))
                    if stream.read() == _SUPER:
                        raise DystaError(f"{str(beside)!r} names other files; remove it")
