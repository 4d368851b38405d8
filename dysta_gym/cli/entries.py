"""The commands ``dysta-gym enter`` and ``verify``: entries of the leaderboard."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dysta_gym.cli import terminal
from dysta_gym.errors import DystaError, shown
from dysta_gym.files import check_folder

if TYPE_CHECKING:
    from dysta_gym.entries import Entry, Part


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
    jobs: terminal.Jobs = None,
) -> None:
    """Run a policy on tracks, and write a leaderboard entry."""
    from dysta_gym.entries import entered

    if out.suffix not in {".yaml", ".yml"}:
        raise DystaError(f"out: {shown(str(out))} is not allowed; its name must end with .yaml")
    if not out.parent.is_dir():
        raise DystaError(f"out: there is no folder {str(out.parent)!r}")
    check_folder(out.parent)
    entry = terminal.with_progress(
        "workloads",
        lambda progress: entered(policy, track or (), name=name, jobs=jobs, progress=progress),
    )
    entry.save(out)
    terminal.say(f"Wrote {out}: {len(entry.claims)} conditions of {', '.join(entry.tracks())}.")


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="NAME_OR_FILE", help="Entries.")],
    part: Annotated[
        str, typer.Option(metavar="K/N", help="Run every N-th condition, from the K-th on.")
    ] = "1/1",
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the Python source that an entry carries.")
    ] = False,
    jobs: terminal.Jobs = None,
) -> None:
    """Run leaderboard entries again.

    Their numbers must agree to the last bit.
    """
    from dysta_gym.entries import load_entry

    chosen = _part(part)
    wrong: list[DystaError] = []
    for file in files:
        try:
            entry = load_entry(file)
            if entry.rule is not None and len(files) > 1:
                _alone(file, part, trust, jobs)  # it could change what the others are judged by
            else:
                _again(file, entry, chosen, trust, jobs)
        except DystaError as error:
            if len(files) == 1:
                raise
            wrong.append(error)
            terminal.note(str(error))
    if wrong:
        raise DystaError(f"{len(wrong)} of {len(files)} entries do not agree, or cannot be run")


def _again(file: Path, entry: Entry, part: Part, trust: bool, jobs: int | None) -> None:
    """Run an entry again in this process.

    Raises:
        DystaError: If it does not agree, or cannot be run.
    """
    from dysta_gym.entries import verify as run_again

    def again(progress: terminal.Progress) -> int:
        return run_again(entry, part=part, trust=trust, jobs=jobs, progress=progress)

    try:
        count = terminal.with_progress("workloads", again)
    except DystaError as error:
        raise DystaError(f"entry file {str(file)!r}: {error}") from None
    what = f"policy {entry.policy}" if entry.policy else "a rule" if entry.rule else "a checkpoint"
    terminal.say(
        f"{file}: {entry.name} ({what}) @{entry.level} agrees, "
        f"{count} of {len(entry.claims)} conditions run again."
    )


def _alone(file: Path, part: str, trust: bool, jobs: int | None) -> None:
    """Run an entry again in a process of its own.

    Raises:
        DystaError: If it does not agree, or cannot be run.
    """
    command = [sys.executable, "-m", "dysta_gym", "verify", str(file), "--part", part]
    command += ["--trust"] * trust + (["--jobs", str(jobs)] if jobs is not None else [])
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace",
        env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "9999"},  # the line is broken here
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise DystaError(said[-1].partition("error: ")[2] or said[-1])
    terminal.say(done.stdout.strip())


def _part(text: str) -> Part:
    from dysta_gym.entries import Part

    number, slash, of = text.partition("/")
    try:
        return Part(int(number), int(of if slash else "1"))
    except ValueError as error:
        if isinstance(error, DystaError):
            raise
        raise DystaError(f"part: {shown(text)} is not allowed; write K/N, like 1/8") from None
