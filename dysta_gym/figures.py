"""Pictures of results."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from dysta_gym.comparison import CELL
from dysta_gym.errors import DystaError
from dysta_gym.files import replacing
from dysta_gym.hindsight import BOUNDS
from dysta_gym.information import LEVELS
from dysta_gym.statistics import FEWEST_MARKED, summarise
from dysta_gym.styles import COLOURS, RuleStyle, rule_styles, rules_and_levels
from dysta_gym.text import printable
from dysta_gym.thinning import FEW, frontier, listed, told_apart

_MARKERS = {"static": "o", "pattern": "s", "sized": "D", "monitored": "^", "clairvoyant": "*"}
_SIZES = {"clairvoyant": 12.0, "static": 8.0, "pattern": 6.5, "sized": 5.5, "monitored": 5.5}
"""Least size of each level's marker, in points, in the order in which they are drawn."""
_SEQUENCE = tuple(_SIZES)
_REACH = {"pattern": 1.1, "sized": 1.1}
"""Diameter of what a level's marker covers, over its size, where it is more than that."""
_RING = 2.4
_MOST = 24.0
"""What a marker is wider by than one of another rule on it, and the greatest size, in points."""
_PANEL = (3.1, 2.8)
"""About how large a panel of `trade_off` is, in inches."""

# Good policies crowd at a few percent: linear up to 1 %, logarithmic above.
_PERCENT: Mapping[str, Any] = {"linthresh": 1, "linscale": 0.5}
_PERCENT_TICKS = [0, 1, 2, 5, 10, 20, 50, 100]


def empty(width: float, height: float) -> Figure:
    """A figure of so many inches that the caller's pyplot knows nothing of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def subplots(
    rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], **options: Any
) -> tuple[Figure, Any]:
    """`empty`, and its ``rows`` x ``columns`` panels, as `Figure.subplots` gives them."""
    figure = empty(*figsize)
    return figure, figure.subplots(rows, columns, **options)


def plain(text: object) -> str:
    """A name as a picture shows it: not as a formula."""
    return printable(text).replace("$", r"\$")


def legend(figure: Figure, handles: Sequence[Artist], **options: Any) -> Legend:
    """The legend of a figure, from the labels of its handles: names, shown as they are."""
    # Matplotlib leaves out labels that begin with an underscore.
    made = figure.legend(handles, [str(at) for at in range(len(handles))], **options)
    for text, handle in zip(made.get_texts(), handles, strict=True):
        text.set_text(plain(handle.get_label()))
    return made


def trade_off(results: pd.DataFrame, keep: Sequence[str] = (), columns: int = 3) -> Figure:
    """Violation rate against ANTT, a panel a scenario, load and SLO multiplier.

    Means over seeds with 95 % intervals; the colour and what fills the marker are the
    rule, its shape the level of information. No schedule comes below or to the left of the dashed
    lines, the lower bounds; the dotted line is what a schedule in hindsight reaches. A marker that
    another one would hide is larger than it. Of many policies, where more lie on one another than
    can be told apart, those stay that no other one beats; what is left out stands below the panel,
    and is grey in the legend if no panel has it.

    Args:
        results: What `dysta_gym.comparison.compare` returns.
        keep: Policies that are drawn in any case.
        columns: Panels beside one another, at most.
    """
    bounds = [name for name in BOUNDS if name in results]
    summary = summarise(results, ["violation_rate", "antt", *bounds])
    parts = rules_and_levels(summary["policy"].unique())
    styles = rule_styles(list(parts))
    panels = list(summary.groupby(CELL, sort=False))
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = subplots(
        rows, columns, figsize=(3.6 * columns + 2.0, 3.4 * rows + 0.4),
        squeeze=False,
    )  # fmt: skip
    drawn: set[str] = set()
    lines: list[int] = []
    for axis, (condition, panel) in zip(axes.flat, panels, strict=False):
        axis.set_xscale("symlog", **_PERCENT)
        axis.set_xlim(0, 100)
        axis.set_xticks(_PERCENT_TICKS, [f"{tick}" for tick in _PERCENT_TICKS])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_yscale("log")
        values = panel[["violation_rate", "antt"]].to_numpy() * [100, 1]
        axis.update_datalim([*values, *_ends(panel)])
        if bounds:
            _bounds(axis, panel.iloc[0])
        axis.autoscale_view(scalex=False)
        _logarithmic(axis)
        at, names = _places(axis, values), list(panel["policy"])
        seen = told_apart(at, frontier(values) | panel["policy"].isin(keep).to_numpy())
        order = sorted(np.flatnonzero(seen), key=lambda row: _SEQUENCE.index(parts[names[row]][1]))
        points = [_draw_point(axis, panel.iloc[row], styles, parts) for row in order]
        _let_all_be_seen(points, at[order], [parts[names[row]] for row in order])
        left_out = [names[row] for row in np.flatnonzero(~seen)]
        lines.append(_say_left_out(axis, left_out, names, parts))
        drawn.update(names[row] for row in order)
        axis.set_title(_title(CELL, condition), fontsize=10)
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.set_xlabel("SLO violation rate (%), logarithmic above 1 %")
        axis.set_ylabel("ANTT, logarithmic")
    more = sum(max(lines[at : at + columns]) for at in range(0, len(lines), columns))
    figure.set_figheight(figure.get_figheight() + more * _LINE)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    handles = [
        Line2D([], [], linestyle="", markersize=7, label=rule, **_point(style, "static"))
        for rule, style in styles.items()
    ]
    handles += [
        Line2D([], [], color="0.3", marker=_MARKERS[level], linestyle="", label=f"@{level}")
        for level in LEVELS
        if level in {level for _, level in parts.values()}
    ]
    if bounds:
        handles.append(Line2D([], [], color="0.4", linestyle="--", label="lower bounds"))
        handles.append(Line2D([], [], color="0.4", linestyle=":", label="in hindsight"))
    figure.set_figheight(max(figure.get_figheight(), 0.2 * (len(handles) + 1)))
    made = legend(figure, handles, loc="outside right upper", frameon=False, fontsize=9)
    shown = {parts[name][0] for name in drawn}
    for rule, text in zip(styles, made.get_texts(), strict=False):
        if rule not in shown:
            text.set_color("0.6")
    return figure


def _ends(panel: pd.DataFrame) -> NDArray[np.float64]:
    """Ends of the intervals, as points, as far as there are any."""
    low, high = (
        panel[[f"violation_rate_{end}", f"antt_{end}"]].to_numpy() * [100, 1]
        for end in ("low", "high")
    )
    ends = np.concatenate([low, high])
    found: NDArray[np.float64] = ends[~np.isnan(ends).any(axis=1)]
    return found


def _places(axis: Axes, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where values are in a panel, in points, its scales and limits being set."""
    return (axis.transScale + axis.transLimits).transform(values) * 72 * np.array(_PANEL)


def _draw_point(
    axis: Axes,
    row: pd.Series[Any],
    styles: Mapping[str, RuleStyle],
    parts: Mapping[str, tuple[str, str]],
) -> Line2D:
    """A policy's marker and its interval."""
    rule, level = parts[row["policy"]]
    x, y = 100 * row["violation_rate"], row["antt"]
    if row["antt_low"] == row["antt_low"]:  # else NaN: one seed has no interval
        axis.errorbar(
            x, y,
            xerr=[
                [x - 100 * row["violation_rate_low"]],
                [100 * row["violation_rate_high"] - x],
            ],
            yerr=[[y - row["antt_low"]], [row["antt_high"] - y]],
            fmt="none", ecolor=styles[rule].colour, elinewidth=0.7, zorder=2,
        )  # fmt: skip
    (point,) = axis.plot(x, y, linestyle="", clip_on=False, zorder=3, **_point(styles[rule], level))
    return point


_LINE = 0.115
"""Height of a line of small print, in inches."""


def _say_left_out(
    axis: Axes, left_out: Sequence[str], run: Sequence[str], parts: Mapping[str, tuple[str, str]]
) -> int:
    """Say below a panel which policies it leaves out; how many lines that takes."""
    if not left_out:
        return 0
    said = f"Left out, on others ({len(left_out)}): {listed(left_out, run, parts)}"
    lines = wrap(printable(said), 62, break_on_hyphens=False)
    axis.annotate(
        "\n".join(map(plain, lines)), (0, 0), xycoords="axes fraction", xytext=(0, -34),
        textcoords="offset points", va="top", fontsize=6.5, color="0.4",
    )  # fmt: skip
    return len(lines)


def _bounds(axis: Axes, row: pd.Series[float]) -> None:
    """What no schedule can reach, and what one does in hindsight."""
    late, reached = (
        100 * row[f"violation_rate_{name}"] for name in ("lower_bound", "in_hindsight")
    )
    line: dict[str, Any] = {"color": "0.4", "linewidth": 0.9, "zorder": 1}
    axis.axhline(row["antt_lower_bound"], linestyle="--", **line)
    axis.axvline(late, linestyle="--", **line)
    axis.axvline(reached, linestyle=":", **line)


def _point(style: RuleStyle, level: str) -> dict[str, Any]:
    """A marker whose shape is the level: its edge sets it off where markers lie on one another."""
    full = style.fill == "full"
    return {
        "marker": _MARKERS[level],
        "color": style.colour,
        **style.face(),
        "markeredgecolor": "white" if full else style.colour,
        "markeredgewidth": 0.6 if full else 1.3,
    }


def _let_all_be_seen(
    points: Sequence[Line2D], at: NDArray[np.float64], parts: Sequence[tuple[str, str]]
) -> None:
    """Set marker sizes so that each juts out by a ring from under those drawn after it.

    Args:
        points: One marker each, in the order in which they are drawn.
        at: Where they are, in points, shape ``(markers, 2)``.
        parts: Rule and level of each.
    """
    rule = np.array([rule for rule, _ in parts])
    level = [level for _, level in parts]
    edge = np.array([line.get_markeredgewidth() for line in points])
    sizes = np.array([_SIZES[each] for each in level])
    reach = np.array([_REACH.get(each, 1.0) for each in level])
    for index in reversed(range(len(points))):
        later = slice(index + 1, None)
        distance = np.hypot(*(at[later] - at[index]).T)
        ring = np.where(rule[later] == rule[index], 0.2 * _RING, _RING)
        needed = sizes[later] * reach[later] + edge[later] + ring - 2 * distance
        sizes[index] = min(max(needed.max(initial=0), sizes[index]), _MOST)
    for line, size in zip(points, sizes, strict=True):
        line.set_markersize(size)


@dataclass(frozen=True)
class Quantity:
    """How a metric is drawn: its label, what it is multiplied by, and its axis."""

    label: str
    scale: float = 1
    axis: Literal["linear", "log", "percent"] = "linear"


QUANTITIES: Mapping[str, Quantity] = {
    "violation_rate": Quantity("SLO violations (%)", 100, "percent"),
    "antt": Quantity("ANTT", axis="log"),
    "throughput": Quantity("throughput (requests/s)"),
}


def curves(
    summary: pd.DataFrame, along: str, label: str, metrics: Sequence[str], panels: Sequence[str]
) -> Figure:
    """Metrics of each policy along a condition: a row of panels a metric.

    Means over seeds as lines, 95 % intervals as bands. The colour and the marker are the
    rule; a dashed line is a clairvoyant scheduler.

    Args:
        summary: What `dysta_gym.statistics.summarise` returns.
        along: Column on the horizontal axes.
        label: Its label.
        metrics: Metrics, among `QUANTITIES`.
        panels: Columns whose values set the columns of panels apart.
    """
    names = list(dict.fromkeys(summary["policy"]))
    styles = _curves(names)
    groups = list(summary.groupby(list(panels), sort=False))
    figure, axes = subplots(
        len(metrics), len(groups), figsize=(2.9 * len(groups) + 1.7, 2.5 * len(metrics) + 0.5),
        squeeze=False, sharex="col",
    )  # fmt: skip
    for column, (condition, group) in enumerate(groups):
        for row, metric in enumerate(metrics):
            axis, quantity = axes[row, column], QUANTITIES[metric]
            for name, mine in group.groupby("policy", sort=False):
                style = styles[str(name)]
                x = mine[along].to_numpy()
                first = _first(str(name), names)
                axis.plot(
                    x, quantity.scale * mine[metric], markersize=4 + 3 * first,
                    linewidth=1 + 1.6 * first, clip_on=False, zorder=3, **style,
                )  # fmt: skip
                axis.fill_between(
                    x, quantity.scale * mine[f"{metric}_low"],
                    quantity.scale * mine[f"{metric}_high"],
                    color=style["color"], alpha=0.10, linewidth=0,
                )  # fmt: skip
            scale_axis(axis, quantity)
            axis.grid(alpha=0.25, linewidth=0.6)
            if column == 0:
                axis.set_ylabel(axis_label(quantity))
        axes[0, column].set_title(_title(panels, condition), fontsize=10)
        axes[-1, column].set_xlabel(label)
    handles = [Line2D([], [], markersize=5, label=name, **style) for name, style in styles.items()]
    legend(figure, handles, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def few_curves(
    summary: pd.DataFrame,
    along: str,
    label: str,
    metrics: Sequence[str],
    panels: Sequence[str],
    keep: Sequence[str] = (),
) -> Figure:
    """`curves`, but of many policies only those that some condition has no better one than.

    What is left out stands below.

    Args:
        summary: As of `curves`.
        along: As of `curves`.
        label: As of `curves`.
        metrics: As of `curves`, of which less is better.
        panels: As of `curves`.
        keep: Policies that are drawn in any case.
    """
    names = list(dict.fromkeys(summary["policy"]))
    best = set(keep)
    for _, group in summary.groupby(CELL, sort=False):
        best |= set(group["policy"][frontier(group[list(metrics)].to_numpy())])
    left_out = [name for name in names if name not in best] if len(names) > FEW else []
    figure = curves(summary[~summary["policy"].isin(left_out)], along, label, metrics, panels)
    if left_out:
        said = f"Left out, nowhere among the best ({len(left_out)}): "
        said += listed(left_out, names, rules_and_levels(names))
        width = int(18 * figure.get_figwidth())
        lines = wrap(printable(said), width, break_on_hyphens=False)
        figure.set_figheight(figure.get_figheight() + _LINE * (len(lines) + 1))
        figure.supxlabel("\n".join(map(plain, lines)), x=0.01, ha="left", fontsize=6.5, color="0.4")
    return figure


def _curves(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each policy's line: dashed and with white markers where it knows everything.

    A rule at several other levels has its colour at the first, and at the others one of their own.
    """
    parts = rules_and_levels(names)
    called: dict[str, str] = {}
    for name, (rule, level) in parts.items():
        free = level == "clairvoyant" or rule not in called.values()
        called[name] = rule if free else f"{rule} at {level}"
    styles = rule_styles(list(called.values()))
    return {name: _curve(styles[called[name]], parts[name][1]) for name in names}


def _curve(style: RuleStyle, level: str) -> dict[str, Any]:
    knows_all = level == "clairvoyant"
    return {
        "color": style.colour,
        "marker": style.marker,
        **(style._replace(fill="hollow") if knows_all else style).face(),
        "linestyle": "--" if knows_all else "-",
    }


def by_level(summary: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """What each level of information adds to each rule: a row of panels a metric.

    Args:
        summary: What `dysta_gym.statistics.summarise` returns, of rules at several levels.
        metrics: Metrics, among `QUANTITIES`.
    """
    names = list(dict.fromkeys(summary["policy"]))
    parts, styles = rules_and_levels(names), rule_styles(names)
    groups = list(summary.groupby(CELL, sort=False))
    rules = list(styles)
    figure, axes = subplots(
        len(metrics), len(groups), squeeze=False, sharex=True,
        figsize=(0.9 * len(LEVELS) * len(groups) + 1.6, 2.6 * len(metrics) + 0.5),
    )  # fmt: skip
    for column, (condition, group) in enumerate(groups):
        for row, metric in enumerate(metrics):
            axis, quantity = axes[row, column], QUANTITIES[metric]
            for index, rule in enumerate(rules):
                # Beside one another, so that one interval does not hide the next.
                shift = min(0.12, 0.8 / len(rules)) * (index - (len(rules) - 1) / 2)
                chosen = [parts[name][0] == rule for name in group["policy"]]
                mine = group[chosen]
                x = np.array([LEVELS.index(parts[name][1]) for name in mine["policy"]])
                y, low, high = (
                    quantity.scale * mine[metric + end].to_numpy() for end in ("", "_low", "_high")
                )
                axis.errorbar(
                    x + shift, y, yerr=None if np.isnan(low).any() else [y - low, high - y],
                    color=styles[rule].colour, marker=styles[rule].marker, markersize=5.5,
                    linewidth=1.0, elinewidth=1.0, linestyle=":", **styles[rule].face(),
                )  # fmt: skip
            scale_axis(axis, quantity)
            axis.set_xticks(range(len(LEVELS)), LEVELS, fontsize=9)
            axis.set_xlim(-0.5, len(LEVELS) - 0.5)
            axis.grid(alpha=0.25, linewidth=0.6, axis="y")
            if column == 0:
                axis.set_ylabel(axis_label(quantity))
        axes[0, column].set_title(_title(CELL, condition), fontsize=10)
        axes[-1, column].set_xlabel("what the scheduler knows")
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, linestyle=":", label=rule,
               **style.face())
        for rule, style in styles.items()
    ]  # fmt: skip
    legend(figure, handles, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def dots(summary: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """A table of policies as dots with their 95 % intervals: a column of panels a metric.

    Args:
        summary: What `dysta_gym.statistics.summarise` returns.
        metrics: Metrics, among `QUANTITIES`.
    """
    names = list(dict.fromkeys(summary["policy"]))
    groups = list(summary.groupby(CELL, sort=False))
    figure, axes = subplots(
        len(groups), len(metrics), squeeze=False, sharey=True,
        figsize=(2.9 * len(metrics) + 1.0, (0.28 * len(names) + 0.95) * len(groups)),
    )  # fmt: skip
    for row, (condition, group) in enumerate(groups):
        ordered = group.set_index("policy").loc[names]
        for column, metric in enumerate(metrics):
            axis, quantity = axes[row, column], QUANTITIES[metric]
            x, low, high = (
                quantity.scale * ordered[metric + end].to_numpy() for end in ("", "_low", "_high")
            )
            axis.hlines(range(len(names)), low, high, color=COLOURS[0], linewidth=2, alpha=0.5)
            axis.plot(x, range(len(names)), "o", color=COLOURS[0], markersize=5)
            best = ordered[f"{metric}_best"].to_numpy()
            for at, value in enumerate(x):
                axis.annotate(
                    f"{value:.3g}", (value if np.isnan(high[at]) else high[at], at),
                    xytext=(6, 0), textcoords="offset points", va="center", fontsize=8,
                    fontweight="bold" if best[at] else "normal",
                )  # fmt: skip
            most = np.nanmax([x, high])
            if quantity.axis == "log":
                axis.set_xscale("log")
                axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.xaxis.set_minor_locator(NullLocator())
                axis.xaxis.set_major_formatter("{x:g}")
                axis.set_xlim(right=2 * most)
            else:
                axis.set_xlim(0, 1.22 * most)
            axis.set_yticks(range(len(names)), list(map(plain, names)))
            axis.set_ylim(len(names) - 0.5, -0.5)
            axis.grid(alpha=0.25, linewidth=0.6)
            if row == len(groups) - 1:
                axis.set_xlabel(
                    quantity.label + (", logarithmic" if quantity.axis == "log" else "")
                )
        axes[row, 0].set_title(_title(CELL, condition), fontsize=10, loc="left")
    figure.supxlabel(
        marked_note(
            summary, metrics, "bold: the best, or not significantly different from it", "bold"
        ),
        fontsize=9,
    )
    return figure


def marked_note(summary: pd.DataFrame, metrics: Sequence[str], note: str, mark: str) -> str:
    """What a picture says of its marks: ``note``, or why nothing has any."""
    if any(summary[f"{metric}_best"].any() for metric in metrics):
        return note
    return f"nothing is {mark}: to mark the best\ntakes {FEWEST_MARKED} seeds or more"


def _first(name: str, names: Sequence[str]) -> float:
    """How early ``name`` stands: what is drawn first is drawn larger, so that it is not hidden."""
    return 1 - names.index(name) / len(names)


def condition_title(condition: Mapping[str, object]) -> str:
    """``multi-attnn, load 0.95, SLO x 10``, as far as the conditions are given."""
    parts = []
    for name, form in (("scenario", "{}"), ("load", "load {:.3g}"), ("slo", "SLO x {:g}")):
        if name in condition:
            parts.append(form.format(condition[name]))
    return ", ".join(parts)


def _title(columns: Sequence[str], condition: Sequence[object]) -> str:
    return plain(condition_title(dict(zip(columns, condition, strict=True))))


def scale_axis(axis: Axes, quantity: Quantity) -> None:
    """Set the scale, limits and ticks of the vertical axis."""
    if quantity.axis == "log":
        _logarithmic(axis)
    elif quantity.axis == "percent":
        axis.set_yscale("symlog", **_PERCENT)
        axis.set_ylim(0, 100)
        axis.set_yticks(_PERCENT_TICKS, [f"{tick}" for tick in _PERCENT_TICKS])
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        axis.set_ylim(bottom=0)


def axis_label(quantity: Quantity) -> str:
    """The label of a vertical axis, which says where it is not linear."""
    notes = {"log": ",\nlogarithmic", "percent": ",\nlogarithmic above 1 %", "linear": ""}
    return quantity.label + notes[quantity.axis]


def _logarithmic(axis: Axes) -> None:
    """A logarithmic vertical axis with ticks at 1, 2 and 5, and more where it is short."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    subs = (1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 4, 5, 7)
    axis.yaxis.set_major_locator(LogLocator(subs=subs))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")


class NotDrawn(DystaError):
    """A picture cannot be drawn: not for its numbers, but for a name, a style or a font."""


def draw(make: Callable[[], Figure], path: str | Path) -> None:
    """Make a figure and `save` it.

    Raises:
        NotDrawn: If it cannot be drawn.
        DystaError: If it cannot be written.
    """
    try:
        save(make(), path)
    except DystaError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise NotDrawn(f"{str(path)!r} cannot be drawn ({reason})") from error


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to ``path`` (PNG, PDF or SVG by its suffix), whole or not at all.

    Raises:
        DystaError: If it cannot be written.
    """
    with replacing(path) as scratch, warnings.catch_warnings():
        # A name may have letters that the font lacks; it has a box for them.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        if scratch.suffix == ".svg":  # which says when, and what random names it has, unless told
            with rc_context({"svg.hashsalt": "dysta-gym", "svg.fonttype": "none"}):
                figure.savefig(scratch, metadata={"Date": None})
        else:
            figure.savefig(scratch, dpi=150)
