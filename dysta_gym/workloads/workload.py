"""Requests in order of arrival: who asks for what, when, by when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.compiled.functions import compiled
from dysta_gym.errors import DystaError
from dysta_gym.traces import TraceStore

Columns = Mapping[str, NDArray[Any]]
"""Columns of a `Workload` by name, each shape ``(requests,)``."""


@compiled(None, inline=True)
def deadline(start: Any, period: Any, slo_multiplier: Any) -> Any:
    """Deadline of a request, or of each, from what it is counted from and in; in seconds.

    Where nothing else is `Due`, that is its arrival and its model's average isolated latency.
    """
    return start + slo_multiplier * period


class Due(NamedTuple):
    """What deadlines are counted from and in, each shape ``(requests,)``, in seconds.

    Attributes:
        start_s: The deadline is this ...
        period_s: ... plus the SLO multiplier times this.
    """

    start_s: NDArray[np.float64]
    period_s: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Workload:
    """Requests, in order of arrival, and the queue that they meet.

    Attributes:
        store: The traces that they ask for.
        reference: Split of the store's inputs that averages are taken over.
        arrival_s: Arrival in seconds, shape ``(requests,)``, never decreasing.
        trace: Index of the trace in the store, same shape.
        row: Row of the input in that trace, same shape.
        priority: Priority, same shape.
        slo_multiplier: The deadline is the arrival plus this many average isolated latencies.
        due: Where deadlines are otherwise counted from and in; None for the above.
        preemption_cost_s: See `Scenario`.
        queue_limit: See `Scenario`.

    Raises:
        DystaError: If there is no request, arrivals decrease, or a column has another length.
    """

    store: TraceStore
    reference: str
    arrival_s: NDArray[np.float64]
    trace: NDArray[np.int64]
    row: NDArray[np.int64]
    priority: NDArray[np.float64]
    slo_multiplier: float
    due: Due | None = None
    preemption_cost_s: float = 0.0
    queue_limit: int | None = None

    def __post_init__(self) -> None:
        total = np.size(self.arrival_s)
        if not total:
            raise DystaError("workload: there is no request; at least one is needed")
        for name, kind in (
            ("arrival_s", np.float64),
            ("trace", np.int64),
            ("row", np.int64),
            ("priority", np.float64),
        ):
            object.__setattr__(self, name, _column(name, getattr(self, name), kind, total))
        check_arrivals(self.arrival_s)
        check_priorities(self.priority)
        traces = len(self.store.traces)
        _require((self.trace >= 0) & (self.trace < traces), "trace", self.trace,
                 f"0 to {traces - 1}, a trace of the store")  # fmt: skip
        inputs = np.array([len(trace.train) for trace in self.store.traces])[self.trace]
        outside = np.flatnonzero((self.row < 0) | (self.row >= inputs))
        if outside.size:
            at = int(outside[0])
            raise DystaError(
                f"workload: row of request {at + 1} is {self.row[at]}; it must be "
                f"0 to {inputs[at] - 1}, an input of {self.store.traces[self.trace[at]].name!r}"
            )
        check_slo(self.slo_multiplier)
        if self.due is not None:
            columns = [
                _column(f"due.{name}", values, np.float64, total)
                for name, values in zip(Due._fields, self.due, strict=True)
            ]
            for name, values in zip(Due._fields, columns, strict=True):
                _require(np.isfinite(values), f"due.{name}", values, "finite")
            object.__setattr__(self, "due", Due(*columns))
        cost, limit = self.preemption_cost_s, self.queue_limit
        if not isinstance(cost, int | float) or not (math.isfinite(cost) and cost >= 0):
            raise DystaError(
                f"preemption_cost_s: {cost!r} is not allowed; it must be finite and not negative"
            )
        whole = isinstance(limit, int | np.integer) and not isinstance(limit, bool)
        if limit is not None and not (whole and limit >= 1):
            raise DystaError(
                f"queue_limit: {limit!r} is not allowed; it must be a whole number above 0, or None"
            )

    def __len__(self) -> int:
        return len(self.arrival_s)

    @cached_property
    def model(self) -> NDArray[np.int64]:
        """Index of each request's model in the store, shape ``(requests,)``."""
        return self.store.model_of[self.trace]

    @cached_property
    def deadline_s(self) -> NDArray[np.float64]:
        """Deadline of each request in seconds, shape ``(requests,)``."""
        if self.due is not None:
            return deadline(*self.due, self.slo_multiplier)
        average = self.store.averages(self.reference).isolated_s
        return deadline(self.arrival_s, average[self.model], self.slo_multiplier)

    @cached_property
    def isolated_s(self) -> NDArray[np.float64]:
        """True isolated latency of each request in seconds, shape ``(requests,)``."""
        return self.store.isolated_s(self.trace, self.row)

    def with_slo(self, multiplier: float) -> Workload:
        """The same requests with other deadlines."""
        return replace(self, slo_multiplier=multiplier)


def _column(name: str, values: Any, kind: type[np.generic], total: int) -> NDArray[Any]:
    """A column of a workload as an array of its own, writable and contiguous as compiled."""
    alike = isinstance(values, np.ndarray) and values.dtype == kind
    try:
        column = np.array(values, kind if alike else np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DystaError(f"workload: {name} does not hold numbers ({error})") from None
    if column.shape != (total,):
        raise DystaError(f"workload: {name} has shape {column.shape}, expected ({total},)")
    if column.dtype == kind:
        return column
    whole = np.isfinite(column) & (column == np.floor(column))
    _require(whole, name, column, "a whole number")
    return column.astype(kind)


def check_arrivals(arrival_s: NDArray[np.float64]) -> None:
    """Refuse arrivals that are not finite, negative or not sorted."""
    good = np.isfinite(arrival_s) & (arrival_s >= 0)
    _require(good, "arrival_s", arrival_s, "finite and not negative")
    late = np.flatnonzero(np.diff(arrival_s) < 0)
    if late.size:
        at = int(late[0]) + 1
        raise DystaError(
            f"workload: arrival_s of request {at + 1} is {arrival_s[at]:g}, before "
            f"request {at} at {arrival_s[at - 1]:g}; sort the requests by arrival"
        )


def check_priorities(priority: NDArray[np.float64]) -> None:
    """Refuse priorities that are not finite or not above 0."""
    _require(np.isfinite(priority) & (priority > 0), "priority", priority, "finite and above 0")


def check_slo(multiplier: float) -> None:
    """Refuse an SLO multiplier that is not finite or not above 0."""
    if not (np.isfinite(multiplier) and multiplier > 0):
        raise DystaError(
            f"slo_multiplier: {multiplier} is not allowed; it must be finite and above 0"
        )


def _require(good: NDArray[np.bool_], name: str, values: NDArray[Any], expected: str) -> None:
    if not good.all():
        at = int(np.flatnonzero(~good)[0])
        raise DystaError(
            f"workload: {name} of request {at + 1} is {values[at]:g}; it must be {expected}"
        )
