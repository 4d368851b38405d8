"""Compiled code kept on disk, one file under the digest of everything that it was made of.

Numba's own cache looks only at the text of the file that a function stands in, writes into the
installed package, and believes whatever it finds there. Here the name of a file is a digest of what
the function is made of (`dysta_gym.compiled.digest`), of the versions and of the processor. So a
file under the right name is right whatever its age, and nothing needs to be locked: two processes
that compile the same function at worst do the work twice. What is read is run: so only what nobody
but the user, or the machine's owner, can have written is read.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import llvmlite
import numba
import numpy as np
from numba.core import caching, config
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from dysta_gym.files import flaw_of, flaw_of_way, open_own

_UNUSED_DAYS = 30
"""A file that no process has read for so long is removed when another one is written."""

_MOST = 64 * 2**20
"""Bytes of a file at most; compiled code takes some hundred thousand."""

_SUFFIX = ".compiled"

_ANY_SETTING = {
    "CACHE_DIR",
    "CACHE_LOCATOR_CLASSES",
    "COLOR_SCHEME",
    "DEBUG_CACHE",
    "NUMBA_DEFAULT_NUM_THREADS",
    "NUMBA_NUM_THREADS",
}
"""Numba's settings that leave compiled code as it is."""


def folder() -> Path | None:
    """Where compiled code is kept; None if there is no place for it.

    Below ``NUMBA_CACHE_DIR`` where that is set, otherwise in the user's cache by the XDG base
    directory specification.
    """
    chosen = vars(config)["CACHE_DIR"]
    if chosen:
        return Path(chosen, "dysta-gym")
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():
        return given / "dysta-gym"
    with contextlib.suppress(OSError, RuntimeError):
        home = Path.home()
        if home.is_dir():
            return home / ".cache" / "dysta-gym"
    return None


def flaw(place: Path) -> str | None:
    """Why files are not kept in a folder, which is made if need be; None if they are."""
    with contextlib.suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _trusted(place.stat()):
            return "belongs to another user, or others may write into it"
        if way := flaw_of_way(place):
            return way
        if os.access(place, os.W_OK | os.X_OK):
            return None
    return "cannot be written"


class Cache(caching.NullCache):
    """Where Numba keeps and finds the code of one function.

    A file that is missing, damaged or cannot be read is compiled again; one that cannot be written
    is not kept. Neither is an error.

    Args:
        name: What the function is called.
        key: What it is made of (see `dysta_gym.compiled.digest`).
    """

    def __init__(self, name: str, key: str) -> None:
        self._name = re.sub(r"[^\w.]+", "", name)[-80:]
        self._key = key

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code of a function, or None if it is to be compiled."""
        target_context.refresh()
        path = self._path(target_context)
        if path is None:
            return None
        with contextlib.suppress(Exception):  # whatever a damaged file leads to
            found = CompileResult._rebuild(target_context, *pickle.loads(_read(path)))
            # A class that was made at a prompt is another one each time.
            if found.signature.args == tuple(normalize_signature(sig)[0]):
                caching._cache_log("[cache] data loaded from %r", str(path))
                return found
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code of a function."""
        path = self._path(data.target_context)
        if path is None or flaw(path.parent):
            return
        if data.library.has_dynamic_globals or any(not loop.can_cache for loop in data.lifted):
            return  # it holds addresses of this process
        with contextlib.suppress(Exception):  # a full disk, a value that cannot be pickled
            _write(path, dumps(data._reduce()))
            caching._cache_log("[cache] data saved to %r", str(path))
            _prune(path.parent)

    def _path(self, target: Any) -> Path | None:
        place = folder()
        if place is None:
            return None
        settings = {
            name: value
            for name, value in vars(config).items()
            if name.isupper() and name not in _ANY_SETTING and not name.startswith(("_", "CUDA_"))
        }
        versions = numba.__version__, llvmlite.__version__, np.__version__
        machine = sys.implementation.cache_tag, target.codegen().magic_tuple()
        whole = repr((self._key, versions, machine, sorted(settings.items())))
        digest = blake2b(whole.encode(), digest_size=20).hexdigest()
        return place / f"{self._name}-{digest}{_SUFFIX}"


def _trusted(seen: os.stat_result) -> bool:
    """Whether nobody but the user, or the machine's owner, can put files into a folder."""
    return stat.S_ISDIR(seen.st_mode) and flaw_of(seen) is None


def _sum(name: str, data: bytes) -> bytes:
    """A checksum of a file: LLVM would crash on a damaged one."""
    return blake2b(name.encode() + data, digest_size=20).digest()


def _read(path: Path) -> bytes:
    """What was written into a file.

    Raises:
        OSError: If it cannot be read, is damaged, or somebody else may have written it.
    """
    with _opened(path.parent) as folder, _own_file(path, folder) as file:
        seen = os.fstat(file.fileno())
        if seen.st_size > _MOST:
            raise OSError(f"{path}: not to be trusted")
        stored = file.read(seen.st_size)
        if seen.st_mtime < time.time() - 86400:
            with contextlib.suppress(OSError):
                os.utime(file.fileno() if os.utime in os.supports_fd else path)  # it is used
    data = stored[20:]
    if stored[:20] != _sum(path.name, data):
        raise OSError(f"{path}: damaged")
    return data


_way = cache(flaw_of_way)
"""Looked at once: what is read is a file of one's own, in a folder of one's own, in any case."""


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[int | None]:
    """The number of a folder, opened: whatever its path leads to later, this is what is looked at.

    None where folders cannot be opened.

    Raises:
        OSError: If it cannot be opened, or is not to be trusted.
    """
    opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY) if hasattr(os, "O_DIRECTORY") else None
    try:
        if not _trusted(place.stat() if opened is None else os.fstat(opened)) or _way(place):
            raise OSError(f"{place}: not to be trusted")
        yield opened
    finally:
        if opened is not None:
            os.close(opened)


def _own_file(path: Path, folder: int | None) -> IO[bytes]:
    return open_own(path) if folder is None else open_own(Path(path.name), folder)


def _write(path: Path, data: bytes) -> None:
    """Replace a file, whole; it is the user's alone."""
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_sum(path.name, data) + data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _prune(place: Path) -> None:
    """Remove what no process has used for long: code of other versions, edited functions."""
    oldest = time.time() - _UNUSED_DAYS * 86400
    for path in place.glob(f"*{_SUFFIX}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < oldest:
                path.unlink()
