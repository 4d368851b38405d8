"""Recorded requests, read from CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError
from dysta_gym.traces import TraceStore, numeric_column, read_csv
from dysta_gym.workloads.workload import (
    Columns,
    Workload,
    check_arrivals,
    check_clock,
    check_priorities,
    check_slo,
)

COLUMNS = ("arrival_s", "model", "sample", "priority")
"""Columns that a file may have."""


def read_requests(path: str | Path, store: TraceStore, slo_multiplier: float) -> Workload:
    """Read recorded requests: a CSV of ``arrival_s, model, sample, priority``, sorted by arrival.

    ``model`` is the name of a trace and ``sample`` one of its `Trace.sample_ids`. Averages are
    taken over all inputs of the store.

    Raises:
        DystaError: If the file or a column is missing, a value is not usable, a model or a sample
            is unknown, or the arrivals are not sorted.
    """
    check_slo(slo_multiplier)
    columns = request_columns(path, store, ("arrival_s", "sample", "priority", "model"))
    return Workload(
        store,
        "all",
        columns["arrival_s"],
        columns["trace"],
        columns["row"],
        columns["priority"],
        slo_multiplier,
    )


def request_columns(path: str | Path, store: TraceStore, needed: Sequence[str]) -> Columns:
    """Columns ``arrival_s``, ``trace`` and ``row``, and ``priority`` of a file, where it has them.

    The file's columns ``needed`` must be there; ``model`` and ``sample`` only come together.

    Raises:
        DystaError: See `read_requests`.
    """
    where = f"request file {str(path)!r}"
    frame = read_csv(path, where, needed, COLUMNS, dtype={"model": str}, keep_default_na=False)
    found = [name for name in ("arrival_s", "sample", "priority") if name in frame.columns]
    numbers = {
        name: numeric_column(frame, name, where)
        for name in dict.fromkeys([*found, *(name for name in needed if name != "model")])
    }
    if "model" not in frame.columns and ("model" in needed or "sample" in numbers):
        raise DystaError(f"{where}: column 'model' is missing")
    columns: dict[str, NDArray[Any]] = {
        name: numbers[name] for name in ("arrival_s", "priority") if name in numbers
    }
    if not len(frame):
        raise DystaError(f"{where} holds no request; at least one is needed")
    try:
        check_arrivals(columns["arrival_s"])
        check_clock(columns["arrival_s"], store)
        if "priority" in columns:
            check_priorities(columns["priority"])
    except DystaError as error:
        raise DystaError(f"{where}: {error}") from None
    if "model" not in frame.columns:
        return columns
    sample = numbers["sample"] if "sample" in numbers else numeric_column(frame, "sample", where)
    positions = [{int(s): i for i, s in enumerate(t.sample_ids)} for t in store.traces]
    trace = np.empty(len(frame), np.int64)
    row = np.empty(len(frame), np.int64)
    for line, (name, wanted) in enumerate(zip(frame["model"].str.strip(), sample, strict=True)):
        try:
            trace[line] = store.index(name)
        except DystaError as error:
            raise DystaError(f"{where}, row {line + 1}: model: {error}") from None
        known = positions[trace[line]]
        if wanted not in known:
            raise DystaError(
                f"{where}, row {line + 1}: sample {wanted:g} is not an input of model {name!r}; "
                f"its {len(known)} inputs are numbered {min(known)} to {max(known)}"
            )
        row[line] = known[int(wanted)]
    return {**columns, "trace": trace, "row": row}
