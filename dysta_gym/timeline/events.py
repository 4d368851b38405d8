"""A schedule as a file of trace events, which Perfetto and chrome://tracing open.

The format is Google's Trace Event Format: complete events (``X``), counters (``C``), instants
(``i``) and names (``M``); times are in microseconds, here to the nanosecond.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dysta_gym.compiled.records import Floats, Ints
from dysta_gym.files import replacing
from dysta_gym.machine.machine import Schedule
from dysta_gym.timeline.segments import Runs, Segments, late, runs_of, segments_of

_ACCELERATOR, _REQUESTS = 1, 2
"""Processes: what they hold is shown together."""


def write_trace(schedule: Schedule, path: str | Path, name: str) -> None:
    """Write a recorded schedule as trace events, whole or not at all.

    The process ``accelerator`` has a track of runs, and counters of the requests in the system and
    of violations so far. The process ``requests`` has a track for each: from its arrival to its
    finish, with its layers within, and a mark at a deadline that was missed.

    Args:
        schedule: The schedule.
        path: The file.
        name: What the policy is called.

    Raises:
        DystaError: If who ran when has not been recorded, or the file cannot be written.
    """
    layers = segments_of(schedule)
    with (
        replacing(path) as scratch,
        scratch.open("w", encoding="ascii", newline="\n") as file,
    ):
        file.write('{"displayTimeUnit":"ns","otherData":')
        file.write(json.dumps({"policy": name}))
        file.write(',"traceEvents":[\n')
        separator = ""
        for event in _events(schedule, layers):
            file.write(separator + json.dumps(event, separators=(",", ":")))
            separator = ",\n"
        file.write("\n]}\n")


def _events(schedule: Schedule, layers: Segments) -> Iterator[dict[str, Any]]:
    yield from _names(schedule)
    yield from _of_accelerator(schedule, runs_of(layers))
    yield from _counters(schedule)
    yield from _of_requests(schedule)
    yield from _of_layers(schedule, layers)


def _us(time_s: Floats) -> list[float]:
    """Times in microseconds, to the nanosecond: what ends where another begins still does."""
    listed: list[float] = (np.round(1e9 * time_s) / 1e3).tolist()
    return listed


def _durations(start_s: Floats, end_s: Floats) -> list[float]:
    listed: list[float] = ((np.round(1e9 * end_s) - np.round(1e9 * start_s)) / 1e3).tolist()
    return listed


def _title(schedule: Schedule, request: int) -> str:
    workload = schedule.workload
    return f"#{request} {workload.store.models[workload.model[request]]}"


def _names(schedule: Schedule) -> Iterator[dict[str, Any]]:
    def name(kind: str, pid: int, tid: int, **args: Any) -> dict[str, Any]:
        return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": args}

    for pid, title in ((_ACCELERATOR, "accelerator"), (_REQUESTS, "requests")):
        yield name("process_name", pid, 0, name=title)
        yield name("process_sort_index", pid, 0, sort_index=pid)
    yield name("thread_name", _ACCELERATOR, 1, name="runs")
    for request in range(len(schedule.workload)):
        yield name("thread_name", _REQUESTS, request + 1, name=_title(schedule, request))
        yield name("thread_sort_index", _REQUESTS, request + 1, sort_index=request)


def _of_accelerator(schedule: Schedule, runs: Runs) -> Iterator[dict[str, Any]]:
    starts, durations = _us(runs.start_s), _durations(runs.start_s, runs.end_s)
    for at, request in enumerate(runs.request.tolist()):
        yield {
            "ph": "X",
            "name": _title(schedule, request),
            "cat": "run",
            "pid": _ACCELERATOR,
            "tid": 1,
            "ts": starts[at],
            "dur": durations[at],
            "args": {
                "request": request,
                "first_layer": int(runs.layer[at]),
                "layers": int(runs.layers[at]),
            },
        }


def _counters(schedule: Schedule) -> Iterator[dict[str, Any]]:
    """Requests in the system whenever one comes or goes, and violations as deadlines pass."""
    workload, finish = schedule.workload, schedule.elapsed_s
    arrival, deadline = workload.moments
    missed = late(schedule)
    ones = np.ones(len(workload), np.int64)
    passed = np.maximum(deadline[missed], arrival[missed])
    yield from _counter("requests in the system", [(arrival, ones), (finish, -ones)], arrival[0])
    yield from _counter("violations", [(passed, ones[missed])], arrival[0])


def _counter(
    name: str, changes: list[tuple[Floats, Ints]], start_s: float
) -> Iterator[dict[str, Any]]:
    times = np.concatenate([[start_s], *(each for each, _ in changes)])
    order = np.argsort(times, kind="stable")
    values = np.cumsum(np.concatenate([[0], *(by for _, by in changes)])[order])
    times = np.round(1e9 * times[order])
    last = np.flatnonzero(np.diff(times, append=np.inf))  # of those at one time
    for ts, value in zip((times[last] / 1e3).tolist(), values[last].tolist(), strict=True):
        yield {
            "ph": "C",
            "name": name,
            "pid": _ACCELERATOR,
            "ts": ts,
            "args": {name: value},
        }


def _of_requests(schedule: Schedule) -> Iterator[dict[str, Any]]:
    workload, finish, missed = schedule.workload, schedule.elapsed_s, late(schedule)
    arrival, deadline = workload.moments
    starts, durations = _us(arrival), _durations(arrival, finish)
    due = _us(np.maximum(arrival, deadline))
    for request in range(len(workload)):
        common = {"pid": _REQUESTS, "tid": request + 1}
        alone = float(workload.isolated_s[request])
        yield {
            "ph": "X",
            "name": f"{_title(schedule, request)}{' (late)' if missed[request] else ''}",
            "cat": "request",
            **common,
            "ts": starts[request],
            "dur": durations[request],
            "args": {
                "trace": workload.store.traces[workload.trace[request]].name,
                "priority": float(workload.priority[request]),
                "deadline_us": float(1e6 * deadline[request]),
                "isolated_us": 1e6 * alone,
                "ntt": float(finish[request] - arrival[request]) / alone,
                "late": bool(missed[request]),
            },
        }
        if missed[request]:
            yield {
                "ph": "i",
                "name": "deadline missed",
                "cat": "violation",
                **common,
                "ts": due[request],
                "s": "t",
            }


def _of_layers(schedule: Schedule, layers: Segments) -> Iterator[dict[str, Any]]:
    workload = schedule.workload
    traces = workload.store.traces
    starts, durations = _us(layers.start_s), _durations(layers.start_s, layers.end_s)
    each = zip(layers.request.tolist(), layers.layer.tolist(), strict=True)
    for at, (request, layer) in enumerate(each):
        trace = traces[workload.trace[request]]
        yield {
            "ph": "X",
            "name": trace.layer_names[layer],
            "cat": "layer",
            "pid": _REQUESTS,
            "tid": request + 1,
            "ts": starts[at],
            "dur": durations[at],
            "args": {
                "layer": layer,
                "sparsity": round(float(trace.sparsity[workload.row[request], layer]), 4),
            },
        }
