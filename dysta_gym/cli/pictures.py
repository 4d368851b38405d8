"""The pictures of ``dysta-gym compare``, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dysta_gym.errors import DystaError, one_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from dysta_gym.comparison import Cell

FORMATS = ("png", "pdf", "svg")

METRICS = ("violation_rate", "antt")
"""What curves, levels and dots show."""

Draw = Callable[["pd.DataFrame", Sequence[str]], "Figure"]
"""Draws results; the policies that are named stay, where there are too many to show."""


def _trade_off(results: pd.DataFrame, keep: Sequence[str]) -> Figure:
    from dysta_gym import figures

    return figures.trade_off(results, keep)


def _curves(results: pd.DataFrame, keep: Sequence[str]) -> Figure:
    from dysta_gym import figures
    from dysta_gym.statistics import summarise

    along, panels = _along(results)
    label = {"load": "load", "slo": "SLO multiplier"}[along]
    summary = summarise(results, METRICS).sort_values(along, kind="stable")
    return figures.few_curves(summary, along, label, METRICS, panels, keep)


def _along(results: pd.DataFrame) -> tuple[str, tuple[str, str]]:
    """The column that curves follow, and those that their panels have in common."""
    several = results.groupby(["scenario", "slo"])["load"].nunique().max() > 1
    return ("load", ("scenario", "slo")) if several else ("slo", ("scenario", "load"))


def _levels(results: pd.DataFrame, keep: Sequence[str]) -> Figure:
    from dysta_gym import figures
    from dysta_gym.statistics import summarise

    return figures.by_level(summarise(results, METRICS), METRICS)


def _dots(results: pd.DataFrame, keep: Sequence[str]) -> Figure:
    from dysta_gym import figures
    from dysta_gym.statistics import summarise

    return figures.dots(summarise(results, METRICS), METRICS)


PICTURES: Mapping[str, Draw] = {
    "trade-off": _trade_off,
    "curves": _curves,
    "levels": _levels,
    "dots": _dots,
}
"""Violations against ANTT; both along the load or the SLO multiplier; both by what the scheduler
knows; both as a list of policies."""


def chosen(names: Sequence[str], format: str, cells: Sequence[Cell]) -> list[str]:
    """Which pictures are asked for.

    Raises:
        DystaError: If there is none of a name, the format is unknown, or there is nothing to draw.
    """
    if format not in FORMATS:
        raise one_of("format", format, FORMATS)
    for name in names:
        if name not in PICTURES:
            raise one_of("figure", name, PICTURES)
    if "curves" in names:
        conditions = {cell.condition.where for cell in cells}
        if len(conditions) == len({scenario for scenario, *_ in conditions}):
            raise DystaError(
                "figure: 'curves' is not allowed where each scenario has one load and one SLO "
                "multiplier; give several --load, --rate or --slo"
            )
    return list(dict.fromkeys(names))
