"""How normalised turnaround is distributed, which the metrics do not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dysta_gym.comparison import CELL

if TYPE_CHECKING:
    from dysta_gym.comparison import Cell
    from dysta_gym.machine.machine import Schedule

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Which quantiles are kept."""


class Spreads:
    """Quantiles of normalised turnaround, and its averages of each network and priority.

    They are taken from the schedules as they come, so that a schedule need not be kept, nor made
    again, and nobody pays for them who does not ask.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[object, ...], dict[str, float]] = {}

    def watch(self, cell: Cell, policy: str, schedule: Schedule) -> None:
        """Look at a schedule; may be called from several threads at once."""
        workload = schedule.workload
        ntt = schedule.ntt
        row = {quantile(share): value for share, value in zip(SHARES, _of(ntt), strict=True)}
        for index in np.unique(workload.model):
            mine = ntt[workload.model == index]
            row[f"antt_model_{workload.store.models[index]}"] = float(mine.mean())
        for priority in np.unique(workload.priority):
            mine = ntt[workload.priority == priority]
            row[f"antt_priority_{priority:g}"] = float(mine.mean())
        self._rows[*cell.condition.where, policy, cell.seed] = row

    def table(self) -> pd.DataFrame:
        """Means over seeds: a row a condition and policy, with the columns `CELL` and ``policy``.

        Those of `SHARES` are called `quantile`, averages ``antt_model_M`` and ``antt_priority_P``.
        """
        keys = [*CELL, "policy", "seed"]
        if not self._rows:  # only agents were run, of which there are no schedules
            return pd.DataFrame(columns=[*CELL, "policy", *map(quantile, SHARES)])
        ordered = sorted(self._rows.items(), key=lambda item: item[0][-1])  # type: ignore[arg-type,return-value]
        frame = pd.DataFrame([{**dict(zip(keys, key, strict=True)), **row} for key, row in ordered])
        return (
            frame.drop(columns="seed").groupby([*CELL, "policy"], sort=False).mean().reset_index()
        )


def quantile(share: float) -> str:
    """What the column of a quantile is called."""
    return f"ntt_{share:g}"


def _of(ntt: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    found: list[float] = np.quantile(ntt, SHARES).tolist()
    return found
