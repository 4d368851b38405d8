"""What files hold that are read while a policy is found: noted, and given back elsewhere.

Whatever a policy of a file is wrapped in, its file is read by `dysta_gym.policies`, or by a rule in
another file; so what is noted here is all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dysta_gym.errors import DystaError
from dysta_gym.files import is_file, temporary_folder

LARGEST = 256 * 2**20
"""Bytes of a file that is noted, at most."""


@dataclass(frozen=True)
class Source:
    """A file as it was read, with what is read beside it.

    Attributes:
        name: What it was found as.
        path: Where it lies, in full.
        content: What is in it.
        beside: The files beside it and what is in them; the files by their paths from its folder.
    """

    name: str
    path: str
    content: bytes
    beside: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class _Given:
    """Files that are not to be read, by name, and a folder for what is made of them."""

    sources: Mapping[str, Source]
    place: Path | None


_given: ContextVar[_Given] = ContextVar("_given", default=_Given({}, None))  # noqa: B039, frozen

_noted: ContextVar[list[Source] | None] = ContextVar("_noted", default=None)


@contextmanager
def noting() -> Iterator[list[Source]]:
    """Files that are read in this context."""
    found: list[Source] = []
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def note(source: Source) -> None:
    """Note a file, if that is asked for."""
    noted = _noted.get()
    if noted is not None and source not in noted:
        noted.append(source)


def note_file(name: str) -> None:
    """Note a file that has been read, if that is asked for.

    Raises:
        DystaError: If it cannot be read, or is too large.
    """
    if _noted.get() is not None and is_file(name):  # a reader may need no file
        note(Source(name, str(Path(name).absolute()), content_of(Path(name))))


def content_of(path: Path) -> bytes:
    """What is in a file.

    Raises:
        DystaError: If it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise DystaError(f"policy {str(path)!r}: it cannot be read ({error.strerror})") from None
    if len(content) > LARGEST:
        raise DystaError(f"policy {str(path)!r}: it is larger than {LARGEST} bytes")
    return content


@contextmanager
def as_they_were(sources: Sequence[Source], place: Path | None = None) -> Iterator[None]:
    """A context in which files hold what they held, also where there are no such files.

    Args:
        sources: The files.
        place: A folder for files that have to be made anew for that; None for the system's.
    """
    token = _given.set(_Given({each.name: each for each in sources}, place))
    try:
        yield
    finally:
        _given.reset(token)


def given(name: str) -> Source | None:
    """What a file held, where that is given."""
    return _given.get().sources.get(name)


def scratch_folder(place: Path | None = None) -> AbstractContextManager[str | Path]:
    """A folder for files that are made anew, and read at once."""
    place = place or _given.get().place
    return TemporaryDirectory(dir=place) if place else temporary_folder()
