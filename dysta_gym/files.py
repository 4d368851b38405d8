"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dysta_gym.errors import DystaError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A scratch file beside ``path`` that takes its place when the block ends without an error.

    Raises:
        DystaError: If the folder cannot be made or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
    except OSError as error:
        raise DystaError(f"{str(path)!r} cannot be written ({error.strerror})") from None
    os.close(descriptor)
    scratch = Path(name)
    try:
        yield scratch
        scratch.chmod(0o644)  # scratch files are for their owner alone
        try:
            scratch.replace(path)
        except OSError as error:
            raise DystaError(f"{str(path)!r} cannot be written ({error.strerror})") from None
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


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
