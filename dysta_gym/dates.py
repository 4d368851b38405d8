"""The date of what is written."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from dysta_gym.errors import DystaError, shown


def now() -> datetime:
    """Now, in UTC; where SOURCE_DATE_EPOCH is set, that many seconds since 1970.

    Source: https://reproducible-builds.org/specs/source-date-epoch/.

    Raises:
        DystaError: If the variable is no number of seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.now(UTC)
    try:
        if not (epoch.isascii() and epoch.isdecimal()):
            raise ValueError
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        raise DystaError(
            f"SOURCE_DATE_EPOCH: {shown(epoch)} is not allowed; it must be seconds since 1970"
        ) from None
