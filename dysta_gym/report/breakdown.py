"""How each network and each priority fared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dysta_gym.comparison import CELL, title
from dysta_gym.text import printable

KINDS: Mapping[str, str] = {"model": "", "priority": "priority "}
"""Classes of requests, as columns call them, and what stands before their names on the page."""

METRICS: Mapping[str, tuple[str, float, str]] = {
    "violation_rate": ("violations (%)", 100, ".1f"),
    "antt": ("ANTT", 1, ".2f"),
}
"""What is told of each class: its name, what it is multiplied by, how it is written."""


def breakdowns(results: pd.DataFrame, spreads: pd.DataFrame) -> list[dict[str, Any]]:
    """Tables of policies by network and priority, one a condition and metric; means over seeds."""
    late = results.groupby([*CELL, "policy"], sort=False)[
        [name for name in results if str(name).startswith(("violation_rate_m", "violation_rate_p"))]
    ].mean()
    both = late.join(spreads.set_index([*CELL, "policy"]))
    return [
        {
            "title": printable(title(condition)),
            "tables": [_table(panel, metric) for metric in METRICS],
        }
        for condition, panel in both.groupby(CELL, sort=False)
    ]


def _classes(panel: pd.DataFrame, metric: str) -> dict[str, str]:
    """Names of the classes that occur, by their columns."""
    prefixes = {f"{metric}_{kind}_": before for kind, before in KINDS.items()}
    return {
        name: printable(before + name.removeprefix(prefix))
        for prefix, before in prefixes.items()
        for name in map(str, panel)
        if name.startswith(prefix) and panel[name].notna().any()
    }


def _table(panel: pd.DataFrame, metric: str) -> dict[str, Any]:
    label, scale, spec = METRICS[metric]
    classes = _classes(panel, metric)
    columns = list(classes)
    most = float(panel[columns].max().max()) or 1.0
    return {
        "caption": label,
        "head": list(classes.values()),
        "rows": [
            {
                "policy": index[-1],
                "cells": [
                    {"text": f"{scale * value:{spec}}", "share": value / most}
                    if value == value
                    else {"text": "", "share": 0.0}
                    for value in row
                ],
            }
            for index, row in zip(panel.index, panel[columns].to_numpy().tolist(), strict=True)
        ],
    }
