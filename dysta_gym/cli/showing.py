"""The command ``dysta-gym show``: one workload under several policies, to look at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dysta_gym.cli import terminal
from dysta_gym.cli.comparison import Policies, number_or_name
from dysta_gym.cli.fitting import parts
from dysta_gym.errors import DystaError

if TYPE_CHECKING:
    import pandas as pd

    from dysta_gym.machine.machine import Schedule
    from dysta_gym.tables import Table

_DEFAULT_POLICIES = ("fcfs", "dysta")
_MOST_REQUESTS = 10_000
_UNSAFE = re.compile(r"[^\w@=+,.-]+", re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""What names a device on Windows, whatever follows the dot."""

_LONGEST_NAME = 100
"""Characters of a policy's name in a file's."""


def show(
    scenario: Annotated[
        str, typer.Option(metavar="NAME_OR_FILE", help="Scenario.")
    ] = "multi-attnn",
    policy: Policies = None,
    load: Annotated[
        str | None,
        typer.Option(
            metavar="LOAD",
            help="Offered work over capacity: a number, light, moderate, heavy or overload.",
        ),
    ] = None,
    rate: Annotated[float | None, typer.Option(metavar="NUMBER", help="Requests a second.")] = None,
    slo: Annotated[float | None, typer.Option(metavar="NUMBER", help="SLO multiplier.")] = None,
    seed: Annotated[int, typer.Option(metavar="INTEGER", help="Seed of the workload.")] = 0,
    requests: Annotated[
        int, typer.Option(metavar="INTEGER", help="Requests of the workload.")
    ] = 50,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Inputs to draw from: train, test or all.")
    ] = "test",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for timeline.png, POLICY.trace.json for Perfetto, requests.csv and "
            "classes.md [a picture in text].",
        ),
    ] = None,
) -> None:
    """Show who runs when: one workload under several policies.

    As a picture in text, or with --out as pictures and files.
    """
    from dysta_gym.comparison import title as words
    from dysta_gym.files import check_folder
    from dysta_gym.policies import expand, find
    from dysta_gym.provenance import provenance
    from dysta_gym.simulation import simulate
    from dysta_gym.timeline.requests import class_tables, request_table
    from dysta_gym.workloads import arrival_rate, generate, load_scenario, mean_isolated_s

    if out is not None:
        check_folder(out)
    if not 1 <= requests <= _MOST_REQUESTS:
        raise DystaError(f"requests: {requests} is not allowed; it must be 1 to {_MOST_REQUESTS}")
    names = dict.fromkeys(name for spec in policy or _DEFAULT_POLICIES for name in expand(spec))
    rules = {name: find(name) for name in names}
    chosen = load_scenario(scenario).varied(
        load=None if load is None else number_or_name(load),
        rate=rate, slo_multiplier=slo, requests=requests,
    )  # fmt: skip
    workload = generate(chosen, seed, split=split)
    schedules = {name: simulate(workload, rule, record=True) for name, rule in rules.items()}
    offered = arrival_rate(chosen)
    where = (chosen.name, offered * mean_isolated_s(chosen), offered, chosen.slo_multiplier)
    title = f"{words(where)}, {len(workload)} requests, seed {seed}, {split} inputs"
    by_request = {name: request_table(schedule) for name, schedule in schedules.items()}
    tables = class_tables(by_request, workload.store.models)
    if out is None:
        _print(schedules, title)
    else:
        origin = provenance([chosen])
        wrote = _write(out, schedules, by_request, tables, title, origin)
    for part in (part for table in tables for part in parts(table, terminal.console().width)):
        terminal.show(part)
    if out is not None:
        terminal.say(f"Wrote {', '.join(wrote)} to {out}.")


def _print(schedules: Mapping[str, Schedule], title: str) -> None:
    """The Gantt picture in text, as wide as the terminal."""
    from dysta_gym.text import printable
    from dysta_gym.timeline import text

    console = terminal.console()
    marks = text.marks_for(console.encoding)
    console.print(printable(title))
    console.print()
    for name, schedule in schedules.items():
        for line in text.gantt(name, schedule, console.width, marks=marks):
            line.rstrip()
            console.print(line, no_wrap=True, overflow="crop", crop=True)
        console.print()
    console.print(text.legend(next(iter(schedules.values())).workload.store.models, marks))
    console.print()


def _write(
    out: Path,
    schedules: Mapping[str, Schedule],
    by_request: Mapping[str, pd.DataFrame],
    tables: Iterable[Table],
    title: str,
    origin: Mapping[str, Any],
) -> list[str]:
    """Write the files, the numbers first; their names."""
    import pandas as pd

    from dysta_gym import figures
    from dysta_gym.companions import SUFFIX, write_csv
    from dysta_gym.files import write_text
    from dysta_gym.provenance import KEY
    from dysta_gym.text import for_markdown
    from dysta_gym.timeline.events import write_trace
    from dysta_gym.timeline.picture import gantt

    columns = []
    for name, table in by_request.items():
        columns.append(table.copy())
        columns[-1].insert(0, "policy", name)
    together = pd.concat(columns)
    together.attrs[KEY] = origin
    write_csv(together, out / "requests.csv", command=terminal.command())
    traces = file_names(schedules)
    for name, file in traces.items():
        write_trace(schedules[name], out / file, name)
    page = "\n".join([f"{for_markdown(title)}\n", *(table.for_page() for table in tables)])
    write_text(out / "classes.md", page)
    figures.draw(lambda: gantt(schedules, title), out / "timeline.png")
    wrote = ["timeline.png", "requests.csv", f"requests.csv{SUFFIX}", "classes.md"]
    return [*wrote, *traces.values()]


def file_names(policies: Iterable[str]) -> dict[str, str]:
    """A name for the trace file of each policy: no two alike, not even but for their case.

    They will do on any system.
    """
    files: dict[str, str] = {}
    taken: set[str] = set()
    for name in policies:
        stem = _UNSAFE.sub("_", name).strip("._")[-_LONGEST_NAME:] or "policy"
        stem = f"policy-{stem}" if _RESERVED.match(stem) else stem
        chosen, number = stem, 1
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{stem}-{number}"
        taken.add(chosen.casefold())
        files[name] = f"{chosen}.trace.json"
    return files
