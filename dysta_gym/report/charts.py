"""What the page draws, as numbers and names: its template makes pictures of them."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dysta_gym.comparison import CELL, title
from dysta_gym.hindsight import BOUNDS
from dysta_gym.report.spreads import SHARES, quantile
from dysta_gym.statistics import summarise
from dysta_gym.styles import rule_styles, rules_and_levels
from dysta_gym.text import printable
from dysta_gym.thinning import frontier, listed, told_apart

WIDTH, HEIGHT = 480, 340
"""Of a panel, in its own units, about pixels."""

LEFT, RIGHT, TOP, BOTTOM = 50, 466, 12, 292
"""Where its frame is."""

_PERCENT_TICKS = (0, 1, 2, 5, 10, 20, 50, 100)

_SHAPES: Mapping[str, str] = {
    "static": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    "pattern": "M-4.6,-4.6h9.2v9.2h-9.2z",
    "sized": "M0,-6.2L6.2,0L0,6.2L-6.2,0z",
    "monitored": "M0,-5.8L5.6,4.4H-5.6z",
    "clairvoyant": "M"
    + "L".join(
        f"{radius * math.sin(at * math.pi / 5):.2f},{-radius * math.cos(at * math.pi / 5):.2f}"
        for at, radius in enumerate([7.5, 3.0] * 5)
    )
    + "z",
}
"""Outlines of the markers of each level, about the origin."""


@dataclass(frozen=True)
class Look:
    """How a policy is drawn: the number of its colour, and the outline of its marker."""

    colour: int
    shape: str
    hollow: bool


def looks(names: Sequence[str]) -> tuple[dict[str, Look], list[tuple[str, str]]]:
    """How each policy is drawn; and the colours, on a light page and on a dark one."""
    parts, styles = rules_and_levels(names), rule_styles(names)
    number = {rule: at for at, rule in enumerate(styles)}
    found = {
        name: Look(number[rule], _SHAPES[level], styles[rule].fill != "full")
        for name, (rule, level) in parts.items()
    }
    return found, [(style.colour, _on_dark(style.colour)) for style in styles.values()]


def _on_dark(colour: str) -> str:
    """The same hue, as light as it was dark."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(*parts)
    again = colorsys.hls_to_rgb(hue, 0.93 - 0.5 * lightness, saturation)
    return "#" + "".join(f"{round(255 * part):02X}" for part in again)


def trade_off(results: pd.DataFrame, keep: Sequence[str]) -> list[dict[str, Any]]:
    """Panels of violation rate against ANTT, one a condition."""
    bounds = [name for name in BOUNDS if name in results]
    summary = summarise(results, ["violation_rate", "antt", *bounds])
    names = list(summary["policy"].unique())
    parts = rules_and_levels(names)
    return [
        _panel(title(condition), panel, parts, keep, bool(bounds))
        for condition, panel in summary.groupby(CELL, sort=False)
    ]


def _panel(
    where: str,
    panel: pd.DataFrame,
    parts: Mapping[str, tuple[str, str]],
    keep: Sequence[str],
    bounds: bool,
) -> dict[str, Any]:
    first = panel.iloc[0]
    shown = panel[["antt", "antt_low", "antt_high", *["antt_lower_bound"] * bounds]].to_numpy()
    least, most = float(np.nanmin(shown)), float(np.nanmax(shown))
    margin = max((most / least) ** 0.05, 1.02)
    down = _logarithmic(least / margin, most * margin)
    names = list(panel["policy"])
    at = np.array([[across(x), down(y)] for x, y in zip(*_values(panel), strict=True)])
    kept = frontier(panel[["violation_rate", "antt"]].to_numpy()) | panel["policy"].isin(keep)
    seen = told_apart(at, np.asarray(kept))
    sequence = list(_SHAPES)
    order = sorted(np.flatnonzero(seen), key=lambda row: -sequence.index(parts[names[row]][1]))
    rows = panel.to_dict("records")
    left_out = [names[row] for row in np.flatnonzero(~seen)]
    lines = {}
    if bounds:
        lines = {
            "slow": down(first["antt_lower_bound"]),
            "late": across(first["violation_rate_lower_bound"]),
            "reached": across(first["violation_rate_in_hindsight"]),
            "said": f"lower bounds: violations {100 * first['violation_rate_lower_bound']:.1f} %, "
            f"ANTT {first['antt_lower_bound']:.2f}",
            "said_reached": "in hindsight: violations "
            f"{100 * first['violation_rate_in_hindsight']:.1f} %",
        }
    return {
        "title": printable(where),
        "points": [_point(rows[row], at[row], down) for row in order],
        "across": [(across(tick / 100), f"{tick}") for tick in _PERCENT_TICKS],
        "down": [(down(tick), f"{tick:g}") for tick in ticks(least / margin, most * margin)],
        "bounds": lines,
        "left_out": len(left_out),
        "listed": printable(listed(left_out, names, parts)),
    }


def _values(panel: pd.DataFrame) -> tuple[Any, Any]:
    return panel["violation_rate"], panel["antt"]


def _point(row: Mapping[Any, Any], at: Any, down: Callable[[float], float]) -> dict[str, Any]:
    late, slow = f"{100 * row['violation_rate']:.1f} %", f"{row['antt']:.2f}"
    interval = None
    if row["antt_low"] == row["antt_low"]:
        interval = [
            across(row["violation_rate_low"]), across(row["violation_rate_high"]),
            down(row["antt_low"]), down(row["antt_high"]),
        ]  # fmt: skip
        late += f" [{100 * row['violation_rate_low']:.1f}, {100 * row['violation_rate_high']:.1f}]"
        slow += f" [{row['antt_low']:.2f}, {row['antt_high']:.2f}]"
    return {
        "policy": row["policy"],
        "x": float(at[0]),
        "y": float(at[1]),
        "interval": interval,
        "said": f"{printable(row['policy'])}\nviolations {late}\nANTT {slow}",
    }


def across(share: float) -> float:
    """Where a violation rate is: linear up to 1 %, logarithmic above."""
    percent = 100 * min(max(share, 0.0), 1.0)
    place = 0.55 * percent if percent <= 1 else 0.55 + math.log10(percent)
    return LEFT + (RIGHT - LEFT) * place / 2.55


def _logarithmic(least: float, most: float) -> Callable[[float], float]:
    """Where an ANTT is, from the bottom to the top."""

    def down(value: float) -> float:
        share = math.log(value / least) / math.log(most / least)
        return BOTTOM - (BOTTOM - TOP) * min(max(share, 0.0), 1.0)

    return down


def ticks(least: float, most: float) -> list[float]:
    """Round numbers between two others, few enough to be written beside one another."""
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), [1 + at / 10 for at in range(90)]):
        powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
        found = [digit * 10.0**power for power in powers for digit in digits]
        found = [tick for tick in found if least <= tick <= most]
        if len(found) >= 4:
            break
    return found[:: -(-len(found) // 9)] if found else [least]


def spreads(table: pd.DataFrame, results: pd.DataFrame) -> list[dict[str, Any]]:
    """Distributions of normalised turnaround, a list of policies a condition, as shares of 1."""
    panels = []
    antt = summarise(results, ["antt"]).set_index([*CELL, "policy"])["antt"].to_dict()
    columns = [quantile(share) for share in SHARES]
    for condition, panel in table.groupby(CELL, sort=False):
        most = float(panel[columns].to_numpy().max()) * 1.05
        least = min(1.0, float(panel[columns].to_numpy().min()))

        def place(value: float, least: float = least, most: float = most) -> float:
            return 100 * math.log(value / least) / math.log(most / least)

        rows = []
        for row in panel.to_dict("records"):
            values = {share: row[quantile(share)] for share in SHARES}
            mean = antt[*condition, row["policy"]]
            said = ", ".join(f"p{100 * share:g} {value:.2f}" for share, value in values.items())
            rows.append(
                {
                    "policy": row["policy"],
                    "at": {f"p{100 * share:g}": place(value) for share, value in values.items()},
                    "mean": place(mean),
                    "cells": [f"{values[0.5]:.2f}", f"{values[0.95]:.1f}", f"{values[0.99]:.1f}"],
                    "said": f"{printable(row['policy'])}\n{said}\nmean {mean:.2f}",
                }
            )
        panels.append(
            {
                "title": printable(title(condition)),
                "rows": rows,
                "ticks": [(place(tick), f"{tick:g}") for tick in ticks(least, most)],
            }
        )
    return panels
