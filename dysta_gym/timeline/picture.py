"""The same workload under several policies as one Gantt picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.figures import empty, legend, plain
from dysta_gym.machine.machine import Schedule
from dysta_gym.metrics import measure
from dysta_gym.timeline.colours import LATE, colour_of
from dysta_gym.timeline.segments import lanes, late, runs_of, segments_of

_WAITING = "#B8BEC4"
_LEAST, _MOST, _LANE = 0.9, 3.0, 0.115
"""Height of a panel, at least and at most, and of a lane of it, in inches."""
_WIDTH, _LEFT, _RIGHT = 11.0, 1.15, 0.15
"""Width of the picture and of what stands beside the panels, in inches."""
_ABOVE, _BELOW, _TITLE, _LINE = 0.3, 0.5, 0.35, 0.24
"""Height of what stands above a panel, below the last one, above all, and of a legend's line."""
_LONGEST = 60
"""Characters of a name that are shown."""


def gantt(schedules: Mapping[str, Schedule], title: str = "") -> Figure:
    """A panel a policy, over one axis of time.

    Each request has a lane from its arrival to its finish: grey as it waits, red from its deadline
    on, in the colour of its network as it runs. As many lanes are taken as requests are in the
    system. Below them, the accelerator.

    Args:
        schedules: Recorded schedules of one workload, by the names of their policies.
        title: What stands above them.

    Raises:
        DystaError: If who ran when has not been recorded.
    """
    placed = {name: lanes(s.workload.moments.arrival, s.elapsed_s) for name, s in schedules.items()}
    store = next(iter(schedules.values())).workload.store
    handles = _handles(store.models)
    heights = [min(max(_LANE * (1 + lane.max()) + 0.3, _LEAST), _MOST) for lane in placed.values()]
    widest = 0.7 + 0.068 * max(len(str(each.get_label())) for each in handles)
    columns = max(1, min(len(handles), int((_WIDTH - _RIGHT) / widest)))
    bottom = _BELOW + _LINE * -(-len(handles) // columns)
    whole = (_TITLE if title else 0.0) + sum(heights) + _ABOVE * len(heights) + bottom
    figure = empty(_WIDTH, whole)
    figure.set_layout_engine("none")  # all sizes are known
    axes: list[Axes] = []
    top = whole - (_TITLE if title else 0.0)
    for height in heights:
        top -= _ABOVE + height
        share = (1 - (_LEFT + _RIGHT) / _WIDTH, height / whole)
        beside = axes[0] if axes else None
        axes.append(figure.add_axes((_LEFT / _WIDTH, top / whole, *share), sharex=beside))
    start = min(float(s.workload.moments.arrival[0]) for s in schedules.values())
    end = max(float(s.elapsed_s.max()) for s in schedules.values())
    scale, unit = (1e3, "ms") if end - start < 2 else (1.0, "s")
    for axis, height, (name, schedule) in zip(axes, heights, schedules.items(), strict=True):
        _panel(axis, height, schedule, placed[name], scale)
        axis.set_title(_short(name), fontsize=11, loc="left", fontweight="bold", pad=4)
        axis.set_title(_said(schedule), fontsize=9.5, loc="right", pad=4)
        axis.tick_params(labelbottom=axis is axes[-1])
    axes[-1].set_xlim(scale * start, scale * (end + 0.005 * (end - start)))
    axes[-1].set_xlabel(f"time ({unit})")
    if title:
        figure.suptitle(plain(title), fontsize=11, y=1 - 0.1 / whole, va="top")
    legend(figure, handles, loc="lower center", ncols=columns, frameon=False, fontsize=9)
    return figure


def _short(name: str) -> str:
    shown = name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}"
    return plain(shown)


def _handles(models: Sequence[str]) -> list[Artist]:
    """What the colours and marks mean."""
    return [
        *(Patch(color=colour_of(model), label=name) for model, name in enumerate(models)),
        Line2D([], [], color=_WAITING, linewidth=2, label="waits"),
        Line2D([], [], color=LATE, linewidth=2, label="is overdue"),
        Line2D([], [], color=LATE, marker="X", linestyle="", markeredgecolor="white",
               markersize=9, label="finishes late"),
    ]  # fmt: skip


def _said(schedule: Schedule) -> str:
    found = measure(schedule)
    missed, total = int(late(schedule).sum()), len(schedule.workload)
    return (
        f"{missed} of {total} late   ANTT {found['antt']:.2f}   {schedule.preemptions} preemptions"
    )


def _panel(axis: Axes, height: float, schedule: Schedule, lane: Ints, scale: float) -> None:
    workload, runs = schedule.workload, runs_of(segments_of(schedule))
    arrival, deadline = workload.moments
    finish, missed = schedule.elapsed_s, late(schedule)
    count = int(lane.max()) + 1
    strip = 0.2 / height * (count + 1)  # as high in all panels
    points = 72 * height / (count + strip + 1)  # a lane's

    def lines(start: Floats, end: Floats, at: Ints, colour: str, width: float) -> None:
        ends = np.stack([np.stack([start, at], 1), np.stack([end, at], 1)], 1)
        axis.add_collection(
            LineCollection(list(ends), colors=colour, linewidths=width, capstyle="butt")
        )

    lines(scale * arrival, scale * finish, lane, _WAITING, min(1.6, 0.3 * points))
    lines(
        scale * np.maximum(arrival, deadline)[missed], scale * finish[missed], lane[missed],
        LATE, min(2.2, 0.45 * points),
    )  # fmt: skip
    left, right = scale * runs.start_s, scale * runs.end_s
    model = workload.model[runs.request]
    for index in np.unique(model):
        mine = model == index
        for low, high in (
            (lane[runs.request[mine]] - 0.36, lane[runs.request[mine]] + 0.36),
            (np.full(mine.sum(), -0.9 - strip), np.full(mine.sum(), -0.9)),
        ):
            corners = [(left[mine], low), (left[mine], high), (right[mine], high),
                       (right[mine], low)]  # fmt: skip
            boxes = np.stack([np.stack(each, 1) for each in corners], 1)
            axis.add_collection(PolyCollection(list(boxes), facecolors=colour_of(index), zorder=2))
    axis.plot(
        scale * finish[missed], lane[missed], "X", color=LATE, zorder=3, clip_on=False,
        markersize=min(8.0, max(3.0, 1.25 * points)), markeredgecolor="white",
        markeredgewidth=0.5,
    )  # fmt: skip
    axis.set_ylim(-1.1 - strip, count - 0.3)
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    shown = [tick for tick in axis.get_yticks() if 0 < tick <= count]
    axis.set_yticks(
        [-0.9 - strip / 2, *(tick - 1 for tick in shown)],
        ["accelerator", *(f"{tick:.0f}" for tick in shown)],
        fontsize=9,
    )
    axis.tick_params(left=False)
    axis.set_ylabel("requests in\nthe system", fontsize=9)
    axis.yaxis.set_label_coords(
        -0.6 / (_WIDTH - _LEFT - _RIGHT), (strip + 1 + count / 2) / (strip + 1 + count)
    )
    axis.grid(axis="x", alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
