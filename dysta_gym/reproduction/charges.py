"""What the artifact's accelerator models charge, beside ours, where that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dysta_gym.errors import DystaError
from dysta_gym.reproduction.formats import escaped, fixed, percent, time
from dysta_gym.traces import numeric_column, read_csv

FILE = "hardware-departures.csv"
"""What ``benchmarks/departures.py`` measured, where it lies beside the pictures."""

COLUMNS = (
    *("network", "departure", "inputs", "ours_ms", "departed_ms"),
    *("ours_relative_range", "departed_relative_range"),
)
"""Its columns, numbers from the third on."""


def measured(folder: Path) -> dict[str, Any]:
    """What the page says of `FILE` in ``folder``; nothing if it is not there.

    Raises:
        DystaError: If it is no such table.
    """
    if not (folder / FILE).exists():
        return {}
    path = folder / FILE
    where = f"departures {str(path)!r}"
    frame = read_csv(path, where, COLUMNS, COLUMNS, dtype={"network": str, "departure": str})
    if not len(frame):
        raise DystaError(f"{where} has no rows")
    for name in COLUMNS[2:]:
        values = numeric_column(frame, name, where)
        if (values <= 0).any() and not name.endswith("range"):
            row = int(np.argmax(values <= 0))
            raise DystaError(
                f"{where}: column {name!r}, row {row + 1} is {values[row]:g}; it must be above 0"
            )
        frame[name] = values.astype(np.int64) if name == "inputs" else values
    frame["ratio"] = frame["departed_ms"] / frame["ours_ms"]
    names = list(dict.fromkeys(frame["departure"]))
    return {
        "inputs": list(dict.fromkeys([frame["inputs"].min(), frame["inputs"].max()])),
        "names": [escaped(each) for each in names],
        "rows": [
            _row(str(network), mine, names)
            for network, mine in frame.groupby("network", sort=False)
        ],
        "greatest": frame.loc[int(np.argmax(np.abs(np.log(frame["ratio"]))))].to_dict(),
    }


def _row(network: str, mine: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """A network's latency, by departure how many times it is charged, and its ranges."""
    ratio = mine.set_index("departure")["ratio"]
    last = mine.iloc[-1]
    return [
        escaped(network),
        time(1e-3 * last["ours_ms"]),
        *(fixed(ratio[name]) if name in ratio else "" for name in names),
        f"{percent(last['ours_relative_range'])} → {percent(last['departed_relative_range'])}",
    ]
