"""The command ``dysta-gym leaderboard``: the shipped rows, and one's own beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dysta_gym.cli import terminal
from dysta_gym.cli.comparison import Policies, agents_in

if TYPE_CHECKING:
    import pandas as pd

    from dysta_gym.tables import Table

FILE = "leaderboard.csv"


def leaderboard(
    policy: Policies = None,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Track to show; may be repeated [all]."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every policy at every level that was run.")
    ] = False,
    jobs: terminal.Jobs = None,
    trust: terminal.Trust = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help=f"Folder for {FILE}.", parser=terminal.folder),
    ] = None,
    as_json: terminal.AsJson = False,
) -> None:
    """Show the leaderboard, with policies of one's own beside it.

    Its entries, or with --all every policy at every level. A rule takes seconds a track; a model
    plays every decision, and takes minutes.
    """
    from dysta_gym import board
    from dysta_gym.companions import SUFFIX, write_csv
    from dysta_gym.files import check_folder
    from dysta_gym.policies import expand

    if out is not None:
        check_folder(out)
    names = [name for spec in policy or () for name in expand(spec)]
    agents = agents_in(names, trust, jobs)
    policies = [agents.get(name, name) for name in names]

    def beside(progress: terminal.Progress | None = None) -> pd.DataFrame:
        return board.leaderboard(
            policies, track or (), everything=everything, jobs=jobs, trust=trust, progress=progress
        )

    found = terminal.with_progress("workloads", beside) if names else beside()
    if out is not None:
        write_csv(found, out / FILE, command=terminal.command())
    if as_json:
        print(json.dumps(found.to_dict("records"), indent=2, allow_nan=False))
        return
    for line in _show(found):
        terminal.say(line)
    if out is not None:
        terminal.say(f"Wrote {FILE} and {FILE}{SUFFIX} to {out}.")


def _show(found: pd.DataFrame) -> list[str]:
    """Print the tables, as many tracks in each as there is room for; what is to be said below."""
    from dysta_gym import board

    tracks = list(dict.fromkeys(found["track"]))
    found = found.assign(cost=board.cost(found))
    costs = found.groupby(["policy", "entry", "run_here"])["cost"].mean()
    ranked = costs.reset_index().sort_values(["cost", "run_here"], kind="stable")
    order = list(ranked[["policy", "entry", "run_here"]].itertuples(index=False, name=None))
    console = terminal.console()
    for count in range(len(tracks), 0, -1):
        blocks = [tracks[at : at + count] for at in range(0, len(tracks), count)]
        tables = [_table(found, order, block) for block in blocks]
        unlimited = console.options.update(width=1000)
        shown = [table.for_terminal() for table in tables]
        if all(console.measure(each, options=unlimited).maximum <= console.width for each in shown):
            break
    for each in shown:
        console.print(each)
    then = board.measured_with()
    lines = [
        "Violations in per cent / ANTT over its bound, means over the conditions of a track;",
        f"sorted by the sum of the two{', averaged over the tracks' * (len(tracks) > 1)}.",
        "NAME@LEVEL says what a policy knows; the more it knows, the better it can be.",
        f"Shipped rows: dysta-gym {then['version']}, {then['date'][:10]}.",
    ]
    for rank, (policy, _, run_here) in enumerate(order, 1):
        if run_here:
            lines.append(f"> {_short(policy)}: rank {rank} of {len(order)}.")
    return lines


def _table(
    found: pd.DataFrame,
    order: Sequence[tuple[str, str, bool]],
    tracks: Sequence[str],
) -> Table:
    """Policies x tracks."""
    from dysta_gym.tables import Table

    cells = {
        (row["policy"], row["run_here"], row["track"]): (
            f"{100 * row['violation_rate']:.2f} / {row['antt_over_bound']:.3f}"
        )
        for row in found.to_dict("records")
    }
    rows = [
        [
            f"{'>' * run_here:1}{rank:3}  " + (_short(policy) if run_here else policy),
            *(cells[policy, run_here, track] for track in tracks),
        ]
        for rank, (policy, _, run_here) in enumerate(order, 1)
    ]
    limits = found.drop_duplicates("track").set_index("track").loc[list(tracks)]
    reached = [f"{100 * each:.2f}" for each in limits["violation_rate_in_hindsight"]]
    bounds = [f"{100 * each:.2f} / 1" for each in limits["violation_rate_lower_bound"]]
    rows += [["      (in hindsight)", *reached], ["      (lower bounds)", *bounds]]
    return Table("Leaderboard", ["  #   policy", *tracks], rows)


def _short(spec: str) -> str:
    """A policy without the folders of its file."""
    from dysta_gym.policies import in_file, split

    path = in_file(split(spec)[0])[0]
    return spec.removeprefix(path[: len(path) - len(Path(path).name)])
