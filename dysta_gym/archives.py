"""Arrays in npz files, read without surprises: no pickles, and nothing larger than it may be."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dysta_gym.errors import DystaError
from dysta_gym.files import open_regular

ARRAY_LIMIT = 256 * 2**20
"""Bytes that an array of numbers may take; a trace in the package takes a hundred kilobytes."""

TEXT_LIMIT = 16 * 2**20
"""Bytes that a text may take."""

_PART = 2**20
"""Bytes that are read at a time at most: of an array, or of the list of a file's members."""

_HEADER = 2**14
"""Bytes of the head of an array at most; NumPy takes 10,000 characters."""

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(
    source: str | Path | IO[bytes],
    where: str,
    limits: Mapping[str, int],
    advice: str,
    together: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Those of the known arrays that an npz file holds; others are not even unpacked.

    Args:
        source: The file, by its path or open.
        where: What an error calls it.
        limits: The known arrays, and the bytes that each may take.
        advice: What an error says of a damaged file.
        together: Bytes that all may take; None for what the largest of them may.

    Raises:
        DystaError: If there is no such file, it is no regular one or damaged, or an array is a
            pickle or they are too large.
    """
    try:
        with _opened(source, where) as stream, opened_archive(stream) as archive:
            there = {member.filename: member for member in archive.infolist()}
            members = {name: there.get(f"{name}.npy") for name in limits}
            for name, member in members.items():
                if member is not None and member.file_size > limits[name]:
                    raise DystaError(
                        f"{where}: array {name!r} unpacks to {member.file_size} bytes; "
                        f"it may take {limits[name]}"
                    )
            total = sum(member.file_size for member in members.values() if member is not None)
            most = max(limits.values()) if together is None else together
            if total > most:
                raise DystaError(
                    f"{where}: its arrays unpack to {total} bytes; they may take {most} together"
                )
            return {
                name: _array(name, read_member(archive, member))
                for name, member in members.items()
                if member is not None
            }
    except DystaError:
        raise
    except FileNotFoundError:
        raise DystaError(f"{where} does not exist") from None
    except Exception as error:  # a damaged file raises anything
        told = " ".join(str(error).split()) or type(error).__name__
        raise DystaError(f"{where} is damaged or {advice.format(told)}") from None


def arrays_in(source: str | Path | IO[bytes], where: str, advice: str) -> frozenset[str]:
    """Names of what an npz file holds; arguments and errors as of `read_arrays`."""
    try:
        with _opened(source, where) as stream, opened_archive(stream) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except DystaError:
        raise
    except Exception as error:  # a damaged file raises anything
        told = " ".join(str(error).split()) or type(error).__name__
        raise DystaError(f"{where} is damaged or {advice.format(told)}") from None


def _opened(source: str | Path | IO[bytes], where: str) -> AbstractContextManager[IO[bytes]]:
    """The file, closed afterwards if it was opened here."""
    return open_regular(source, where) if isinstance(source, str | Path) else nullcontext(source)


class _InParts:
    """A file of which nobody reads much at once, as `zipfile` does of the list of its members."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """As of a file.

        Raises:
            ValueError: If it is too much.
        """
        content = self._stream.read(_PART + 1 if size < 0 else min(size, _PART + 1))
        if len(content) > _PART:
            raise ValueError(f"the list of what is in it takes more than {_PART} bytes")
        return content


def opened_archive(stream: IO[bytes]) -> zipfile.ZipFile:
    """A zip file in an open file, with a list of members that is not too long.

    Raises:
        Exception: If it is damaged.
    """
    return zipfile.ZipFile(_InParts(stream))


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> memoryview:
    """What a member of a zip file unpacks to, and never more than it says that this is.

    Raises:
        Exception: If it is damaged, or packed otherwise than NumPy does.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # The others unpack all at once, however much that is.
        raise ValueError(f"{member.filename!r} is packed by method {member.compress_type}")
    # It takes memory only as it is filled.
    content, at = np.empty(member.file_size, np.uint8).data, 0
    with archive.open(member) as file:
        while part := file.read(min(_PART, member.file_size - at)):  # unpacks no more than that
            content[at : at + len(part)] = part
            at += len(part)
    if at != member.file_size:
        raise ValueError(f"{member.filename!r} unpacks to {at} bytes instead of {member.file_size}")
    return content.toreadonly()


def _array(name: str, content: memoryview) -> NDArray[Any]:
    """The array in an npy file of which no more is believed than what follows its header."""
    stream = io.BytesIO(content[:_HEADER])
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"array {name!r} is of format {version}")
    shape, fortran, kind = _HEADERS[version](stream)
    if kind.hasobject:
        raise ValueError(f"array {name!r} holds objects, which allow_pickle=False refuses")
    rest = content[stream.tell() :]
    if not kind.itemsize or math.prod(shape) * kind.itemsize != len(rest):
        raise ValueError(f"array {name!r} has {len(rest)} bytes, which is not its shape {shape}")
    return np.frombuffer(rest, kind).reshape(shape, order="F" if fortran else "C")
