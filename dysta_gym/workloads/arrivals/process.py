"""What every arrival process has."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from numba import types

from dysta_gym.compiled.records import FLOATS_TYPE, INTS_TYPE, Floats, Ints
from dysta_gym.compiled.streams import POOL_TYPE, Pool
from dysta_gym.configs import Strict
from dysta_gym.traces import TraceStore
from dysta_gym.workloads.workload import Columns

DRAWS_TYPE = types.void(POOL_TYPE, FLOATS_TYPE, FLOATS_TYPE, INTS_TYPE, FLOATS_TYPE)
"""Compiled type of `Process.draws`."""


class Offer(NamedTuple):
    """What a scenario offers an accelerator, as far as arrivals depend on it.

    Attributes:
        store: The traces.
        split: Split of the inputs that requests are drawn from.
        weights: Weight of each trace, as the scenario gives it, shape ``(traces,)``.
        rate: Mean number of arrivals a second.
        period: What the deadlines of each trace's requests are counted in, in seconds, shape
            ``(traces,)``.
        recorded: What `Process.recorded` says.
    """

    store: TraceStore
    split: str
    weights: Floats
    rate: float
    period: Floats
    recorded: Columns


class Process(Strict):
    """How requests arrive: a part of a scenario, and what draws arrivals from it.

    A process adds a field ``process``, which holds its name and nothing else, its parameters,
    `draws` and `numbers`, and what else it does in another way than is said here.

    Attributes:
        draws: Compiled (`DRAWS_TYPE`): ``draws(pool, numbers, arrival, trace, start)``, where
            ``pool`` is the seed and ``numbers`` those of `numbers`. It fills ``arrival``, in
            seconds; where the process is periodic, also ``trace``, the trace of each frame, and
            ``start``, the start of its period in seconds. All three have the shape ``(requests,)``.
        periodic: Whether each trace is a stream of frames of its own, as many a second as its
            weight says. Deadlines are then counted in periods, from a frame's start.
        paced: Whether it has an `own_rate`, where a scenario gives neither a load nor a rate.
    """

    draws: ClassVar[Callable[[Pool, Floats, Floats, Ints, Floats], None]]
    periodic: ClassVar[bool] = False
    paced: ClassVar[bool] = False

    def fits(self, weights: Mapping[str, float]) -> None:
        """Whether its parameters go with these weights of the traces.

        Raises:
            ValueError: If they do not: ``arrivals.field: value is ...; what would be right``.
        """

    def numbers(self, offer: Offer) -> Floats:
        """What `draws` needs to know, in an order that both agree on.

        Raises:
            DystaError: If what is recorded does not fit the offer.
        """
        raise NotImplementedError

    def own_rate(self, weights: Iterable[float], recorded: Columns) -> float:
        """Arrivals a second by these weights of the traces or these recorded columns."""
        raise NotImplementedError

    def recorded(self, store: Callable[[], TraceStore], requests: int) -> Columns:
        """Recorded columns of so many requests, or of all if there are fewer.

        Args:
            store: Gives the traces that they ask for.
            requests: Number of requests.

        Returns:
            ``arrival_s``, ``trace`` and ``row``, ``priority``, as far as they are not drawn.

        Raises:
            DystaError: If they are not usable.
        """
        return {}

    def beside(self, folder: Path) -> Self:
        """The same process as a scenario file in ``folder`` means it."""
        return self

    def stamp(self) -> Hashable:
        """What changes when what it has recorded does.

        Raises:
            DystaError: If that is absent.
        """
        return None
