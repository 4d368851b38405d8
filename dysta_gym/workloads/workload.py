"""Requests in order of arrival: who asks for what, when, by when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dysta_gym.compiled.functions import compiled
from dysta_gym.configs import GREATEST, LEAST
from dysta_gym.errors import DystaError, shown
from dysta_gym.lazy import cached_property
from dysta_gym.sealing import Sealed, opened, sealed
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


class Moments(NamedTuple):
    """When requests arrive and are due, in seconds on a machine's clock; each ``(requests,)``.

    Attributes:
        arrival: Arrival.
        deadline: Deadline.
    """

    arrival: NDArray[np.float64]
    deadline: NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Workload(Sealed):
    """Requests, in order of arrival, and the queue that they meet.

    Its arrays are copies of those given, and read-only.

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
        decision_fixed_s: See `DecisionCost`.
        decision_per_request_s: See `DecisionCost`.

    Raises:
        DystaError: If there is no request, arrivals decrease, a column has another length, or a
            layer is too short for the clock.
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
    decision_fixed_s: float = 0.0
    decision_per_request_s: float = 0.0

    def __post_init__(self) -> None:
        try:
            total = np.size(self.arrival_s)
        except ValueError as error:
            raise DystaError(f"workload: arrival_s does not hold numbers ({error})") from None
        if not total:
            raise DystaError("workload: there is no request; at least one is needed")
        for name, kind in (
            ("arrival_s", np.float64),
            ("trace", np.int64),
            ("row", np.int64),
            ("priority", np.float64),
        ):
            column = _column(name, getattr(self, name), kind, total)
            object.__setattr__(self, name, sealed(column))
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
        check_clock(self.arrival_s, self.store)
        if self.due is not None:
            columns = [
                _column(f"due.{name}", values, np.float64, total)
                for name, values in zip(Due._fields, self.due, strict=True)
            ]
            for name, values in zip(Due._fields, columns, strict=True):
                _require(np.isfinite(values), f"due.{name}", values, "finite")
            object.__setattr__(self, "due", Due(*map(sealed, columns)))
        for name in ("preemption_cost_s", "decision_fixed_s", "decision_per_request_s"):
            cost = getattr(self, name)
            if not _is_number(cost) or not 0 <= cost <= LONGEST_COST_S:
                raise DystaError(
                    f"{name}: {shown(cost)} is not allowed; it must be 0 or more, and at "
                    f"most {LONGEST_COST_S:g}"
                )
        limit = self.queue_limit
        whole = isinstance(limit, int | np.integer) and not isinstance(limit, bool)
        if limit is not None and not (whole and limit >= 1):
            raise DystaError(
                f"queue_limit: {shown(limit)} is not allowed; it must be a whole number above 0, "
                "or None"
            )

    def __len__(self) -> int:
        return len(self.arrival_s)

    def __repr__(self) -> str:
        lasted = float(self.arrival_s[-1] - self.arrival_s[0])
        return f"<Workload: {len(self)} requests in {lasted:.4g} s, of {self.store!r}>"

    @cached_property
    def model(self) -> NDArray[np.int64]:
        """Index of each request's model in the store, shape ``(requests,)``."""
        return sealed(self.store.model_of[self.trace])

    @cached_property
    def deadline_s(self) -> NDArray[np.float64]:
        """Deadline of each request in seconds, shape ``(requests,)``."""
        return sealed(self.moments.deadline + self.origin_s)

    @cached_property
    def isolated_s(self) -> NDArray[np.float64]:
        """True isolated latency of each request in seconds, shape ``(requests,)``."""
        return sealed(self.store.isolated_s(self.trace, self.row))

    @property
    def origin_s(self) -> float:
        """Where a machine's clock starts: at the first arrival, if that is beyond `NEAR_S`, or 0.

        Layers are added up on a clock that starts there, and keep their digits.
        """
        return origin_of(self.arrival_s)

    @cached_property
    def moments(self) -> Moments:
        """Arrivals and deadlines from `origin_s` on, for compiled code to read."""
        origin = self.origin_s
        arrival = self.arrival_s - origin if origin else opened(self.arrival_s)
        if self.due is not None:
            start, period = self.due.start_s - origin, opened(self.due.period_s)
        else:
            start = arrival
            period = self.store.averages(self.reference).isolated_s[self.model]
        return Moments(arrival, np.array(deadline(start, period, self.slo_multiplier)))

    def with_slo(self, multiplier: float) -> Workload:
        """The same requests with other deadlines."""
        return replace(self, slo_multiplier=multiplier)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _column(name: str, values: Any, kind: type[np.generic], total: int) -> NDArray[Any]:
    """A column of a workload as an array of its own, contiguous as compiled code reads it."""
    try:
        given = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DystaError(f"workload: {name} does not hold numbers ({error})") from None
    if given.shape != (total,):
        raise DystaError(f"workload: {name} has shape {given.shape}, expected ({total},)")
    if given.dtype.kind not in "iuf":
        for at, value in enumerate(values):
            if not _is_number(value):
                raise DystaError(
                    f"workload: {name} of request {at + 1} is {shown(value)}; it must be a number"
                )
        given = given.astype(np.float64)
    if kind is np.int64 and given.dtype.kind == "f":
        whole = np.isfinite(given) & (given == np.floor(given)) & (np.abs(given) < 2**53)
        _require(whole, name, given, "a whole number")
    return np.array(given, kind, order="C")


NEAR_S = 86_400.0
"""A first arrival within a day is near 0: what is added there is rounded to 7e-12 s."""

LATEST_S = 1e11
"""The latest arrival, in seconds, some 3,000 years."""

LONGEST_COST_S = 1e3
"""The greatest cost of a preemption, in seconds."""


def origin_of(arrival_s: NDArray[np.float64]) -> float:
    """See `Workload.origin_s`."""
    return float(arrival_s[0]) if arrival_s[0] > NEAR_S else 0.0


def check_clock(arrival_s: NDArray[np.float64], store: TraceStore) -> None:
    """Refuse arrivals at which a float64 cannot tell a layer's end from its start.

    Layers end on a clock that starts at `origin_of` the arrivals; the arrivals themselves are as
    exact as they were given.
    """
    layer, isolated = store.shortest_s
    last = float(arrival_s[-1])
    end = last - origin_of(arrival_s) + len(arrival_s) * store.longest_s
    if last > LATEST_S:
        raise DystaError(
            f"workload: arrival_s reaches {last:g}; it must be at most {LATEST_S:g} seconds"
        )
    for what, time, shortest in (
        ("the shortest request", last, isolated),
        ("the shortest layer", end, layer),
    ):
        if np.spacing(time) > 0.25 * shortest:
            raise DystaError(
                f"workload: with arrival_s up to {last:g} s, time reaches {time:.3g} s, where a "
                f"float64 tells {np.spacing(time):.1g} s apart; {what} takes {shortest:.1g} s"
            )


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
    """Refuse priorities that are not finite or not above 0, or out of bounds."""
    good = (priority >= LEAST) & (priority <= GREATEST)
    expected = f"finite and above 0, between {LEAST:g} and {GREATEST:g}"
    _require(good, "priority", priority, expected)


def check_slo(multiplier: float) -> None:
    """Refuse an SLO multiplier that is no number above 0, or out of bounds."""
    if not _is_number(multiplier) or not LEAST <= multiplier <= GREATEST:
        raise DystaError(
            f"slo_multiplier: {shown(multiplier)} is not allowed; it must be finite and above 0, "
            f"between {LEAST:g} and {GREATEST:g}"
        )


def _require(good: NDArray[np.bool_], name: str, values: NDArray[Any], expected: str) -> None:
    if not good.all():
        at = int(np.flatnonzero(~good)[0])
        raise DystaError(
            f"workload: {name} of request {at + 1} is {values[at]:g}; it must be {expected}"
        )
