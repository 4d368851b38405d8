"""The commands ``dysta-gym enter`` and ``verify``: entries of the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dysta_gym.cli import terminal
from dysta_gym.errors import DystaError, shown

if TYPE_CHECKING:
    from dysta_gym.entries import Entry, Part

Jobs = Annotated[
    int | None, typer.Option(metavar="INTEGER", help="Workloads at a time [one a core].")
]


def enter(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY", help="NAME[@LEVEL][:key=value], where NAME may be a file."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="YAML file to write.")],
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Track to run; may be repeated [all]."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the entry is called.")
    ] = None,
    jobs: Jobs = None,
) -> None:
    """Run a policy on tracks, and write an entry of the leaderboard."""
    from dysta_gym.entries import entered

    if out.suffix not in {".yaml", ".yml"}:
        raise DystaError(f"out: {shown(str(out))} is not allowed; its name must end with .yaml")
    if not out.parent.is_dir():
        raise DystaError(f"out: there is no folder {str(out.parent)!r}")
    entry = terminal.with_progress(
        "workloads",
        lambda progress: entered(policy, track or (), name=name, jobs=jobs, progress=progress),
    )
    entry.save(out)
    terminal.say(f"Wrote {out}: {len(entry.claims)} conditions of {', '.join(entry.tracks())}.")


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Entries.")],
    part: Annotated[
        str, typer.Option(metavar="K/N", help="Run every N-th condition, from the K-th on.")
    ] = "1/1",
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the Python source that an entry carries.")
    ] = False,
    jobs: Jobs = None,
) -> None:
    """Run entries of the leaderboard again: their numbers must agree to the last bit."""
    from dysta_gym.entries import load_entry
    from dysta_gym.entries import verify as run_again

    chosen = _part(part)
    for file in files:
        entry = load_entry(file)

        def again(progress: terminal.Progress, entry: Entry = entry) -> int:
            return run_again(entry, part=chosen, trust=trust, jobs=jobs, progress=progress)

        try:
            count = terminal.with_progress("workloads", again)
        except DystaError as error:
            raise DystaError(f"entry file {str(file)!r}: {error}") from None
        terminal.say(
            f"{file}: {entry.name}@{entry.level} agrees, "
            f"{count} of {len(entry.claims)} conditions run again."
        )


def _part(text: str) -> Part:
    from dysta_gym.entries import Part

    number, slash, of = text.partition("/")
    try:
        return Part(int(number), int(of if slash else "1"))
    except ValueError as error:
        if isinstance(error, DystaError):
            raise
        raise DystaError(f"part: {shown(text)} is not allowed; write K/N, like 1/8") from None
