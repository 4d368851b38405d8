"""Recorded arrivals."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.compiled.streams import Pool
from dysta_gym.errors import DystaError
from dysta_gym.traces import TraceStore
from dysta_gym.workloads.arrivals.process import DRAWS_TYPE, Offer, Process
from dysta_gym.workloads.recorded import request_columns
from dysta_gym.workloads.workload import Columns


@compiled(DRAWS_TYPE)
def _draw(pool: Pool, numbers: Floats, arrival: Floats, trace: Ints, start: Floats) -> None:
    for request in range(arrival.size):
        arrival[request] = numbers[request]


class Replay(Process):
    """Recorded arrivals, from a CSV file.

    The column ``arrival_s`` is needed; time starts at the first arrival. Where the columns
    ``model`` (the name of a trace) and ``sample`` (one of its `Trace.sample_ids`), or ``priority``
    are absent, they are drawn as for the other processes. A load or a rate stretches or shrinks the
    time between requests.

    Attributes:
        file: The CSV, relative to the scenario file. Its first `Scenario.requests` rows count, or
            all if there are fewer.
    """

    process: Literal["replay"]
    file: str

    draws, paced = _draw, True

    def numbers(self, offer: Offer) -> Floats:
        """The arrivals in seconds, at the rate that is offered."""
        self._check_split(offer)
        return offer.recorded["arrival_s"] * (self.own_rate((), offer.recorded) / offer.rate)

    def own_rate(self, weights: Iterable[float], recorded: Columns) -> float:
        """Recorded requests a second, from the first to the last."""
        arrival_s = recorded["arrival_s"]
        return float((len(arrival_s) - 1) / arrival_s[-1])

    def recorded(self, store: Callable[[], TraceStore], requests: int) -> Columns:
        """The columns of the file, from its first arrival on."""
        path = Path(self.file)
        whole = _columns(path, self.stamp(), store())
        columns = {name: values[:requests] for name, values in whole.items()}
        arrival_s = columns["arrival_s"] - columns["arrival_s"][0]
        if arrival_s[-1] <= 0:
            raise DystaError(
                f"request file {str(path)!r}: all arrivals are at {columns['arrival_s'][0]:g} s; "
                "they must span some time"
            )
        return {**columns, "arrival_s": arrival_s}

    def beside(self, folder: Path) -> Replay:
        """That of the file in ``folder``."""
        return Replay(process="replay", file=str(folder / self.file))

    def stamp(self) -> tuple[object, ...]:
        """The file and its state."""
        path = Path(self.file).absolute()
        try:
            found = path.stat()
            return path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        except (OSError, ValueError):
            raise DystaError(f"request file {str(Path(self.file))!r} does not exist") from None

    def _check_split(self, offer: Offer) -> None:
        """Refuse recorded inputs of the other half, which schedulers may have learned from."""
        recorded = offer.recorded
        if "row" not in recorded:
            return
        for position, trace in enumerate(offer.store.traces):
            mine = np.flatnonzero(recorded["trace"] == position)
            outside = mine[~np.isin(recorded["row"][mine], trace.rows(offer.split))]
            if outside.size:
                at = int(outside[0])
                raise DystaError(
                    f"request file {self.file!r}, row {at + 1}: sample "
                    f"{trace.sample_ids[recorded['row'][at]]} of {trace.name!r} is not one of its "
                    f"{offer.split!r} inputs; run it with split 'all'"
                )


@lru_cache(maxsize=8)
def _columns(path: Path, stamp: Hashable, store: TraceStore) -> Columns:
    """`request_columns`, read again when the file has changed."""
    return request_columns(path, store, ("arrival_s",))
