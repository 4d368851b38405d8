"""What the artifact's accelerator models charge, beside ours, where that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dysta_gym.reproduction.formats import fixed, percent, time
from dysta_gym.traces import read_csv

FILE = "hardware-departures.csv"
"""What ``benchmarks/departures.py`` measured, where it lies beside the pictures."""


def measured(folder: Path) -> dict[str, Any]:
    """What the page says of `FILE` in ``folder``; nothing if it is not there."""
    if not (folder / FILE).exists():
        return {}
    path = folder / FILE
    frame = read_csv(path, f"departures {str(path)!r}")
    frame["ratio"] = frame["departed_ms"] / frame["ours_ms"]
    names = list(dict.fromkeys(frame["departure"]))
    return {
        "inputs": list(dict.fromkeys([frame["inputs"].min(), frame["inputs"].max()])),
        "names": names,
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
        network,
        time(1e-3 * last["ours_ms"]),
        *(fixed(ratio[name]) if name in ratio else "" for name in names),
        f"{percent(last['ours_relative_range'])} → {percent(last['departed_relative_range'])}",
    ]
