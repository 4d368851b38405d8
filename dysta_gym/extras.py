"""Libraries of the package's extras, which need not be installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dysta_gym.errors import DystaError


class MissingExtra(DystaError, ImportError):
    """A library that an extra installs is missing; an `ImportError`, too.

    Attributes:
        name: The library, as it is imported; None where nobody says which.
    """

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.msg, self.name = str(self.args[0]), name


@contextmanager
def extra(extra: str, what: str) -> Iterator[None]:
    """Within the block, libraries are imported that ``extra`` installs.

    Args:
        extra: The extra.
        what: What needs them, for the error.

    Raises:
        MissingExtra: If one is missing.
    """
    try:
        yield
    except MissingExtra:
        raise
    except ImportError as error:
        # Libraries report what they miss as a plain ImportError, too, without a module's name.
        missing = error.name or " ".join(str(error).strip().partition("\n")[0].split())
        if missing.partition(".")[0] == "dysta_gym":  # which no extra installs
            raise
        raise MissingExtra(
            f'{what}: {missing} is missing; pip install "dysta-gym[{extra}]"', error.name
        ) from None
