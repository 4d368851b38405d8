"""A schedule request by request, and by network and priority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysta_gym.machine.machine import Schedule
from dysta_gym.metrics import written
from dysta_gym.tables import Table
from dysta_gym.timeline.segments import late, runs_of, segments_of


def request_table(schedule: Schedule) -> pd.DataFrame:
    """A row a request, in order of arrival; times in seconds, on the workload's clock.

    Raises:
        DystaError: If who ran when has not been recorded.
    """
    workload, runs = schedule.workload, runs_of(segments_of(schedule))
    store = workload.store
    total = len(workload)
    start_s = np.full(total, np.nan)
    start_s[runs.request[::-1]] = runs.start_s[::-1]  # the first that it ran is written last
    return pd.DataFrame(
        {
            "request": np.arange(total),
            "model": [store.models[index] for index in workload.model],
            "trace": [store.traces[index].name for index in workload.trace],
            "row": workload.row,
            "priority": workload.priority,
            "arrival_s": workload.arrival_s,
            "start_s": start_s + workload.origin_s,
            "finish_s": schedule.finish_s,
            "deadline_s": workload.deadline_s,
            "isolated_s": workload.isolated_s,
            "ntt": schedule.ntt,
            "late": late(schedule),
            "preemptions": np.bincount(runs.request, minlength=total) - 1,
        }
    )


def class_tables(requests: Mapping[str, pd.DataFrame], models: Sequence[str]) -> list[Table]:
    """Violations and ANTT of all requests, of each network and of each priority; a row a policy.

    Args:
        requests: What `request_table` gives, by the names of the policies.
        models: The networks of the store, in its order; those that do not occur are left out.
    """
    first = next(iter(requests.values()))
    classes = [("all", np.ones(len(first), np.bool_))]
    for model in models:
        chosen = (first["model"] == model).to_numpy()
        if chosen.any():
            classes.append((model, chosen))
    for priority in np.unique(first["priority"]):
        chosen = (first["priority"] == priority).to_numpy()
        classes.append((f"priority {written(priority)}", chosen))
    head = ["policy", *(name for name, _ in classes)]
    tables = []
    for title, column, scale, form in (
        ("violations (%)", "late", 100, ".1f"),
        ("ANTT", "ntt", 1, ".2f"),
    ):
        rows = [
            [name, *(f"{scale * table[column][mine].mean():{form}}" for _, mine in classes)]
            for name, table in requests.items()
        ]
        tables.append(Table(title, head, rows))
    counts = [["(requests)", *(str(int(mine.sum())) for _, mine in classes)]]
    return [Table(each.title, each.head, [*each.rows, *counts]) for each in tables]
