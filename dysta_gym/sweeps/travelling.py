"""Policies that travel: names and the content of their files, for workers that have no such files.

What is run is what the files held when the sweep began, whatever becomes of them meanwhile. Rules,
which are code, are run as the files that they were read from; models are files anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dysta_gym.agent_files import Agent, agent_of
from dysta_gym.comparison import Lineup
from dysta_gym.errors import DystaError
from dysta_gym.files import is_file, temporary_folder
from dysta_gym.policies import Policy, find, in_file, split
from dysta_gym.rule_files import Source, as_they_were, noting

LARGEST = 256 * 2**20
"""Bytes of a file that a policy is in, at most."""


@dataclass(frozen=True)
class Carried:
    """A policy, by its name, or by its file's.

    Attributes:
        name: What a table calls it.
        spec: How it is found; of one whose file is made anew, what stands behind the file's path.
        file: Name of that file, or None.
        content: What is in it.
        beside: The files beside it that are read with it, by name.
        rules: The files of rules that are read for it.
    """

    name: str
    spec: str
    file: str | None = None
    content: bytes = b""
    beside: tuple[tuple[str, bytes], ...] = ()
    rules: tuple[Source, ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """By name, a digest of each of its files, its own first; empty if it has none."""
        own = self.rules or (() if self.file is None else (self,))
        found: dict[str, str] = {}
        for each in own:
            name = Path(each.path).name if isinstance(each, Source) else str(each.file)
            for file, content in ((name, each.content), *each.beside):
                found.setdefault(file, hashlib.sha256(content).hexdigest()[:16])
        return found

    @property
    def digest(self) -> str:
        """What says whether it is still the same: its parameters, or what its files hold."""
        made = hashlib.sha256()
        spec = self.spec
        for each in self.rules or (self,):
            made.update(each.content)
            for name, content in each.beside:
                made.update(f"\0{name}\0".encode() + content)
        for source in self.rules:
            spec = spec.removeprefix(source.name)
        if self.file is None and not self.rules:
            return find(spec).spec
        return f"{spec}#{made.hexdigest()[:16]}"


def carried(specs: Sequence[tuple[str, str]], *, trust: bool = False) -> list[Carried]:
    """Policies as they can travel.

    Args:
        specs: What tables call each, and how it is found now.
        trust: As of `dysta_gym.compare`.

    Raises:
        DystaError: If one cannot be found or read, or two have one name.
    """
    found = []
    for name, spec in specs:
        agent = agent_of(spec, trust=trust)
        rules: list[Source] = []
        if agent is None:
            with noting() as rules:
                find(spec)
        else:  # a table calls it by its level, too
            name = name if name.endswith(f"@{agent.level}") else f"{name}@{agent.level}"
        head = split(spec)[0]
        path = Path(in_file(head)[0])
        if rules or not is_file(path):
            found.append(Carried(name, spec, rules=tuple(rules)))
            continue
        read = map(Path, getattr(agent, "files", ()))
        found.append(
            Carried(
                name,
                spec[len(str(in_file(head)[0])) :],
                path.name,
                _read(path),
                tuple((each.name, _read(each)) for each in read if each != path),
            )
        )
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise DystaError(f"policy: {name!r} is given more than once; give it once")
    return found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise DystaError(f"policy {str(path)!r}: it cannot be read ({error.strerror})") from None
    if len(content) > LARGEST:
        raise DystaError(f"policy {str(path)!r}: it is larger than {LARGEST} bytes")
    return content


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
        if each.file is None:
            with as_they_were(each.rules):
                runs[each.name] = find(each.spec)
            continue
        with TemporaryDirectory(dir=place) if place else temporary_folder() as own:
            for name, content in ((each.file, each.content), *each.beside):
                Path(own, name).write_bytes(content)
            spec = f"{Path(own, each.file)}{each.spec}"
            runs[each.name] = agent_of(spec, trust=True) or find(spec)
    return Lineup(runs)
