"""Numbers that are a user's to choose, within bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dysta_gym.errors import DystaError


@dataclass(frozen=True)
class Parameter:
    """A number that a policy can be tuned by, or an accelerator be built with.

    Attributes:
        default: Its published or usual value.
        description: What it means, with its unit.
        low: Least value allowed.
        high: Greatest value allowed.
        positive: Whether it must be above 0.
        whole: Whether it must be a whole number.
        relative: Whether it is a time, given in mean isolated latencies of the workload's networks;
            the rule reads it in seconds.
    """

    default: float
    description: str
    low: float = -math.inf
    high: float = math.inf
    positive: bool = False
    whole: bool = False
    relative: bool = False

    def check(self, field_name: str, value: float) -> None:
        """Raise a `DystaError` if the value is not allowed."""
        fits = math.isfinite(value) and self.low <= value <= self.high
        if not fits or (self.positive and value <= 0) or (self.whole and value % 1):
            bound = (
                " above 0" if self.positive
                else "" if math.isinf(self.low)
                else f", at least {self.low:g}"
            ) + ("" if math.isinf(self.high) else f" and at most {self.high:g}")  # fmt: skip
            kind = "a whole number" if self.whole else "a finite number"
            given = repr(float(value)).removesuffix(".0")
            raise DystaError(f"{field_name}: {given} is not allowed; it must be {kind}{bound}")
