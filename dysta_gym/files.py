"""Files: written so that a reader never sees half of one, and read where they are one's own."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import IO, BinaryIO

from dysta_gym.errors import DystaError

_SCRATCH = re.compile(r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.scratch")
"""What scratch folders are called; in them a file has the name that it will have, so that nothing
that looks for files of a kind finds one that is half written."""

_TEMPORARY = re.compile(r"dysta-gym-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-\w{8}")
"""What folders of `temporary_folder` are called."""

_FLAGS = ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK")
"""How one's own file is opened, where the platform has it: a FIFO would keep its reader waiting."""

_STALE_S = 3600.0
"""Age from which a scratch folder is one that a process left behind, whichever it was."""

_WINDOWS = os.name == "nt"

_PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if _WINDOWS else ()
"""After which a file is put into another's place again: Windows does not as long as somebody, such
as a virus scanner, has one of the two open."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A scratch file that takes the place of ``path`` when the block ends without an error.

    The block makes the file. A new file has the mode that the process gives to new files, one that
    is replaced keeps its own; it is on the disk when this ends. A link goes on to point where it
    does, and what it points to is replaced; what is no regular file, such as a pipe or
    ``/dev/stdout``, is written to.

    Raises:
        DystaError: If the folder or the file cannot be made or written to.
        BrokenPipeError: If nobody reads any more what is written to.
    """
    try:
        target = _target(Path(path))
        if isinstance(target, int) or (target.exists() and not target.is_file()):
            with tempfile.TemporaryDirectory() as place:
                scratch = Path(place) / Path(path).name
                yield scratch
                _write_through(scratch, target)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        folder = _scratch_folder(target)
        scratch = folder / Path(path).name  # as it is asked for, since its suffix may mean a format
        try:
            # On Windows, a file stays as private as the folder that it was made in.
            folder.mkdir(mode=0o777 if _WINDOWS else 0o700)
            yield scratch
            _put(scratch, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise DystaError(f"{str(path)!r} cannot be written ({reason})") from error


def write_text(path: str | Path, text: str) -> None:
    """Replace a file by a text, the same bytes on any system; what UTF-8 has not is escaped.

    Raises:
        DystaError: If it cannot be written.
    """
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def is_scratch(path: str | Path) -> bool:
    """Whether a path is what `replacing` leaves behind if its process is killed."""
    return bool(_SCRATCH.fullmatch(Path(path).name))


def open_regular(path: str | Path, where: str) -> BinaryIO:
    """A file, opened to be read: a device may have no end, and a pipe is read but once.

    Args:
        path: The file.
        where: What an error calls it.

    Raises:
        DystaError: If it is no regular file.
        OSError: If it cannot be opened.
    """
    flags = getattr(os, "O_NONBLOCK", 0)  # a pipe would keep its reader waiting
    stream = open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise DystaError(f"{where} is not a regular file")
    return stream


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; no path could be as long as some texts are."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def visible(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder that a pattern fits, sorted, without hidden ones."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def is_ordinary(path: Path) -> bool:
    """Whether a path leads to a file that `replacing` makes, not to a pipe or an open one."""
    target = _target(path)
    return isinstance(target, Path) and target.is_file()


def _target(path: Path) -> Path | int:
    """Where a path leads, links followed: a path, or the number of an open file."""
    opened = {os.path.realpath("/proc/self/fd"), "/dev/fd"}
    for _ in range(40):
        if path.name.isdigit() and os.path.realpath(path.parent) in opened:
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    return path


def _write_through(scratch: Path, target: Path | int) -> None:
    if isinstance(target, int):
        for stream in filter(None, (sys.stdout, sys.stderr)):  # what was said before comes before
            stream.flush()
    into = os.fdopen(os.dup(target), "wb") if isinstance(target, int) else target.open("wb")
    with scratch.open("rb") as source, into as sink:
        shutil.copyfileobj(source, sink)


def _put(scratch: Path, target: Path) -> None:
    """Put a whole file into the place of another, for good."""
    _sync(scratch, os.O_RDWR)
    if target.exists() and not _WINDOWS:  # whose modes only say that a file may not be changed
        scratch.chmod(stat.S_IMODE(target.stat().st_mode) & 0o777)
    for pause_s in (*_PAUSES_S, None):
        try:
            scratch.replace(target)
            break
        except PermissionError:
            if pause_s is None:
                raise
            time.sleep(pause_s)
    if hasattr(os, "O_DIRECTORY"):  # else folders cannot be opened
        _sync(target.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    """Have a file or a folder written to the disk, as far as its file system can."""
    try:
        opened = os.open(path, flags)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise


# --- scratch folders -----------------------------------------------------------------------------


def _host() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _stem(target: Path) -> str:
    """A scratch folder's name up to its process, short enough for any file system."""
    return f".{target.name[:40]}.{zlib.crc32(os.fsencode(target.name)):08x}"


def _scratch_folder(target: Path) -> Path:
    own = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(f"{_stem(target)}.{own}.scratch")


def _sweep(target: Path) -> None:
    """Remove what killed processes left of this file: those that are dead, or began long ago."""
    with os.scandir(target.parent) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(f"{_stem(target)}.")]
    for folder in map(Path, left):
        match = _SCRATCH.fullmatch(folder.name)
        with contextlib.suppress(OSError):
            if match and _is_left(folder.lstat(), match["host"], int(match["pid"])):
                held = list(folder.iterdir())
                if len(held) == 1:  # we put no more into one
                    held[0].unlink()
                folder.rmdir()


def _is_left(seen: os.stat_result, host: str, pid: int) -> bool:
    if not _is_own_folder(seen):
        return False
    return time.time() - seen.st_mtime > _STALE_S or _is_dead(host, pid)


def _is_own_folder(seen: os.stat_result) -> bool:
    return stat.S_ISDIR(seen.st_mode) and (not hasattr(os, "getuid") or seen.st_uid == os.getuid())


def _is_dead(host: str, pid: int) -> bool:
    """Whether a process of this machine is no more; of others, nobody here knows."""
    if host != _host() or os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of this process alone, as long as the block lasts.

    Those of processes that were killed before they could remove theirs are removed.
    """
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            with contextlib.suppress(OSError):
                if (
                    match
                    and _is_own_folder(entry.stat(follow_symlinks=False))
                    and _is_dead(match["host"], int(match["pid"]))
                ):
                    shutil.rmtree(entry.path, ignore_errors=True)
    own = f"dysta-gym-{_host()}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=own, ignore_cleanup_errors=True) as place:
        yield Path(place)


def check_folder(folder: str | Path) -> None:
    """See that ``folder`` can be made and written to, without making it: before long work.

    Raises:
        DystaError: If it cannot.
    """
    nearest = Path(folder).absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise DystaError(f"out: {str(folder)!r} cannot be a folder, because {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise DystaError(f"out: {str(folder)!r} cannot be written, because {nearest} is protected")


def check_file(path: Path, field: str, such: str = "") -> None:
    """See that a file can be written, without making it: before long work.

    Args:
        path: The file.
        field: What it is asked for as, for messages.
        such: What it might be, for the message that it is a folder.

    Raises:
        DystaError: If it cannot.
    """
    if path.is_dir():
        raise DystaError(f"{field}: {str(path)!r} is a folder; it must be a file{such}")
    try:
        check_folder(path.parent)
    except DystaError as error:
        reason = str(error).partition(": ")[2]
        raise DystaError(f"{field}: {str(path)!r} cannot be written; {reason}") from None


def packaged(*parts: str) -> Path:
    """A file or folder of the package's data."""
    return Path(str(resources.files("dysta_gym")), "data", *parts)


# --- what is run when it is read -----------------------------------------------------------------


class NotOwn(OSError):
    """Somebody else may have written a file; ``strerror`` says why."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EPERM, why)


def flaw_of(seen: os.stat_result) -> str | None:
    """Why others than the user, or the machine's owner, can change what this is of; else None."""
    if not hasattr(os, "geteuid"):
        return None  # where modes say nothing
    if seen.st_uid not in (os.geteuid(), 0):
        return "belongs to another user"
    return "may be written to by others" if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def flaw_of_way(path: Path) -> str | None:
    """Why a stranger can put something else into a path's place; None if none can.

    Links on the way have to belong to the user, or the machine's owner, and folders on it may only
    be written to by everybody, or by a group that is not the user's first one, where their sticky
    bit keeps what is in them in its place, as that of ``/tmp``.

    Raises:
        OSError: If it cannot be looked at.
    """
    if sys.platform == "win32" or not hasattr(os, "getegid"):
        return None
    parts, way, links = list(reversed(path.absolute().parts)), Path(), 0
    while parts:
        part = parts.pop()
        way = way.parent if part == ".." else way / part
        seen = way.lstat()
        if stat.S_ISLNK(seen.st_mode):
            links += 1
            if links > 40:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if seen.st_uid not in (os.geteuid(), 0):
                return f"is reached by {way}, a link of another user"
            parts += reversed(way.readlink().parts)
            way = way.parent
        elif parts and not seen.st_mode & stat.S_ISVTX:
            others = stat.S_IWOTH | (stat.S_IWGRP if seen.st_gid != os.getegid() else 0)
            if seen.st_mode & others:
                return f"lies in {way}, in which others may replace it"
    return None


def open_own(path: Path, folder: int | None = None) -> IO[bytes]:
    """Open a file that nobody but the user, or the machine's owner, can have written.

    What is looked at is what has been opened, whatever the path leads to by now.

    Args:
        path: The file.
        folder: Number of an open folder that the path starts from.

    Raises:
        NotOwn: If it is a link or no regular file, or somebody else can have written it.
        OSError: If it cannot be opened.
    """
    flags = sum(getattr(os, flag, 0) for flag in _FLAGS)
    try:
        opened = os.open(path, os.O_RDONLY | flags, dir_fd=folder)
    except OSError as error:
        raise NotOwn("is a link") if error.errno == errno.ELOOP else error from None
    seen = os.fstat(opened)
    why = flaw_of(seen) if stat.S_ISREG(seen.st_mode) else "is no regular file"
    if why:
        os.close(opened)
        raise NotOwn(why)
    return os.fdopen(opened, "rb")
