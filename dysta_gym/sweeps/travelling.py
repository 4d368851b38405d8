"""Policies that travel: names and the content of their files, for workers that have no such files.

What is run is what the files held when the sweep began, whatever becomes of them meanwhile. Rules,
which are code, are run as the files that they were read from; all others are files anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dysta_gym.agent_files import Agent, agent_of
from dysta_gym.comparison import Lineup
from dysta_gym.errors import DystaError
from dysta_gym.policies import Policy, find, split
from dysta_gym.sources import Source, as_they_were, content_of, noting, scratch_folder
from dysta_gym.sweeps.code import code_of


@dataclass(frozen=True)
class Carried:
    """A policy, by its name, or by its file's.

    Attributes:
        name: What a table calls it.
        spec: How it is found.
        said: Its name, level and parameters; of one in a file, what stands behind its path.
        code: Of one of another package, a digest of that package's code.
        sources: The files that are read for it, its own first.
        agent: Whether it is an agent, whose file is the only one.
    """

    name: str
    spec: str
    said: str
    code: str = ""
    sources: tuple[Source, ...] = ()
    agent: bool = False

    @property
    def files(self) -> dict[str, str]:
        """By name, a digest of each of its files, its own first; empty if it has none."""
        found: dict[str, str] = {}
        for each in self.sources:
            for file, content in ((Path(each.path).name, each.content), *each.beside):
                found.setdefault(file, hashlib.sha256(content).hexdigest()[:16])
        return found

    @property
    def digest(self) -> str:
        """What says whether it is still the same: what its files hold, or its package's."""
        if not self.sources and not self.code:
            return self.said
        made = hashlib.sha256(self.code.encode())
        for each in self.sources:
            made.update(each.content)
            for name, content in each.beside:
                made.update(f"\0{name}\0".encode() + content)
        return f"{self.said}#{made.hexdigest()[:16]}"


def carried(specs: Sequence[tuple[str, str]], *, trust: bool = False) -> list[Carried]:
    """Policies as they can travel.

    Args:
        specs: What tables call each, and how it is found now.
        trust: As of `dysta_gym.compare`.

    Raises:
        DystaError: If one cannot be found or read, or two have one name.
    """
    found = [_carried(name, spec, trust) for name, spec in specs]
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise DystaError(f"policy: {name!r} is given more than once; give it once")
    return found


def _carried(name: str, spec: str, trust: bool) -> Carried:
    agent = agent_of(spec, trust=trust)
    if agent is None:
        with noting() as sources:
            policy = find(spec)
        said = policy.spec.removeprefix(policy.name) if sources else policy.spec
        return Carried(name, spec, said, "" if sources else code_of(policy), tuple(sources))
    path = split(spec)[0]
    level = spec.removeprefix(path)
    if not name.endswith(f"@{agent.level}"):  # a table calls it by its level, too
        name = f"{name}@{agent.level}"
    beside = [each for each in map(Path, getattr(agent, "files", ())) if each != Path(path)]
    source = Source(
        path,
        str(Path(path).absolute()),
        content_of(Path(path)),
        tuple((each.name, content_of(each)) for each in beside),
    )
    return Carried(name, spec, level, sources=(source,), agent=True)


def unpacked(policies: Sequence[Carried], place: Path | None = None) -> Lineup:
    """The policies, read from files that are made for that alone.

    Whether to trust them was asked where they were packed.

    Args:
        policies: The policies.
        place: A folder to make another one in, for their files; None for the system's.

    Raises:
        DystaError: If one cannot be read.
    """
    runs: dict[str, Policy | Agent] = {}
    for each in policies:
        if each.agent:
            runs[each.name] = _agent_anew(each, place)
            continue
        with as_they_were(each.sources, place):
            policy = find(each.spec)
        # What errors call it does not depend on where its file was found.
        runs[each.name] = replace(policy, name=split(each.name)[0]) if each.sources else policy
    return Lineup(runs)


def _agent_anew(each: Carried, place: Path | None) -> Agent:
    (source,) = each.sources
    with scratch_folder(place) as own:
        path = Path(own, Path(source.path).name)
        for name, content in ((path.name, source.content), *source.beside):
            Path(own, name).write_bytes(content)
        agent = agent_of(f"{path}{each.spec.removeprefix(source.name)}", trust=True)
    assert agent is not None  # as it was
    return agent
