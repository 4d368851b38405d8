"""Agents in files: ``--policy model.zip``, what no scoring rule is, and only an environment runs.

The entry-point group ``dysta_gym.agent_files`` names, for a suffix, a function that reads such a
file: ``read(path, trust)`` gives an `Agent`, or raises a `DystaError` of which the path is no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dysta_gym.errors import DystaError, shown
from dysta_gym.plugins import described, load
from dysta_gym.policies import agent_reader, split

if TYPE_CHECKING:
    from dysta_gym.comparison import Cell, Rows


@runtime_checkable
class Agent(Protocol):
    """What plays workloads in a way of its own.

    Attributes:
        spec: What it is called in a table: its file, and the level that it was trained at.
        level: That level.
        notes: What its user should know, a line each.

    Where it is read from more than its file, ``files`` has the paths of all that is read, which
    travel with it to other machines. There, they are gone once the agent is made.
    """

    spec: str
    level: str
    notes: tuple[str, ...]

    def play(self, cells: Sequence[Cell]) -> Iterator[tuple[int, Rows]]:
        """Play each of the workloads: its index and its row, without bounds, as each ends."""


def agent_of(spec: str, *, trust: bool = False) -> Agent | None:
    """The agent in a file, ``PATH[@LEVEL]``; None if that is a policy's name.

    Args:
        spec: The path; with a level, it must be the one that the agent was trained at.
        trust: Read it whoever may have written it: reading runs code in it.

    Raises:
        DystaError: If the file cannot be read, somebody else may have written it, or the agent was
            trained at another level.
    """
    path, level, settings = split(spec)
    reader = agent_reader(path)
    if reader is None:
        return None
    if settings is not None:
        raise DystaError(
            f"policy {spec!r}: {shown(settings)} is not allowed; an agent has no parameters"
        )
    try:
        agent = load(reader)(path, trust)
    except DystaError as error:
        if isinstance(error, ImportError):
            raise  # which names an extra
        raise DystaError(f"policy {path!r}: {error}") from None
    if not isinstance(agent, Agent):
        raise DystaError(
            f"policy {path!r}: {described(reader)} gives a {type(agent).__name__}; "
            "it must be a dysta_gym.agent_files.Agent"
        )
    if level not in (None, agent.level):
        raise DystaError(
            f"policy {spec!r}: level {level!r} is not allowed; the agent was trained at "
            f"{agent.level!r}, and is judged at no other"
        )
    return agent
