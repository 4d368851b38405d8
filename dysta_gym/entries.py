"""Entries of the leaderboard: a scheduler and what it claims, in one file that anyone can check.

An entry names an installed policy, or carries a rule's source or a trained network, with the level
it runs at, the version of this package that its numbers were measured with, and, for every
condition of one or more tracks, violation rate and ANTT. To verify it is to run it again: the
numbers must agree to the last bit.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pydantic
import yaml
from pydantic import Field

import dysta_gym
from dysta_gym import policies
from dysta_gym.comparison import CELL, Condition
from dysta_gym.configs import LARGEST, Finite, NotNegative, Strict, content_of, told
from dysta_gym.errors import DystaError, one_of, shown
from dysta_gym.files import is_file, packaged, temporary_folder, write_text
from dysta_gym.information import ALL_LEVELS
from dysta_gym.policies import Policy, in_file
from dysta_gym.tracks import Track, digest, run_on, shipped_track, shipped_tracks

FORMAT = 1
"""Version of the files' format."""

METRICS = ("violation_rate", "antt")
"""What is claimed: means over the seeds of a condition."""


class Claim(Strict):
    """What an entry claims of one condition.

    Attributes:
        track: The track.
        scenario: The scenario ...
        load: ... its load ...
        slo: ... and its SLO multiplier.
        workloads: What was run, `dysta_gym.tracks.digest`.
        violation_rate: Mean over the seeds of the share of requests that finish late.
        antt: Mean over the seeds of the mean turnaround over isolated latency.
    """

    track: str
    scenario: str
    load: NotNegative
    slo: NotNegative
    workloads: str
    violation_rate: NotNegative
    antt: NotNegative

    @property
    def condition(self) -> tuple[str, float, float]:
        """Scenario, load and SLO multiplier."""
        return self.scenario, self.load, self.slo


class Entry(Strict):
    """A scheduler and what it claims; `load_entry` reads one, and `measured` makes one.

    Attributes:
        format: Version of the file's format.
        name: What it is called.
        policy: Name of an installed policy; this, or ...
        rule: ... the source of a file as `dysta_gym.rule_files` reads it, or ...
        checkpoint: ... a checkpoint (`dysta_gym.agents.checkpoints`), in base64.
        object: Which of the policies in ``rule``, where it has several.
        level: Level of information that it runs at.
        settings: Parameters that differ from the defaults.
        version: Version of this package that it was measured with.
        claims: What it claims, condition by condition, of whole tracks.
    """

    format: int = Field(strict=True, ge=FORMAT, le=FORMAT)
    name: str = Field(min_length=1)
    policy: str | None = None
    rule: str | None = None
    checkpoint: str | None = None
    object: str | None = Field(default=None, pattern=r"^[^\W\d]\w*$")
    level: str
    settings: dict[str, Finite] = Field(default_factory=dict)
    version: str
    claims: tuple[Claim, ...] = Field(min_length=1)

    @pydantic.field_validator("level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level not in ALL_LEVELS:
            raise ValueError(f"choose one of: {', '.join(ALL_LEVELS)}")
        return level

    @pydantic.model_validator(mode="after")
    def _one_scheduler(self) -> Entry:
        given = [each for each in (self.policy, self.rule, self.checkpoint) if each is not None]
        if len(given) != 1:
            raise ValueError(
                f"policy, rule, checkpoint: {len(given)} of them are given; give one of the three"
            )
        if self.object is not None and self.rule is None:
            raise ValueError("object: it is given without a rule; leave it out")
        if self.name in policies.names() and self.name != self.policy:
            raise ValueError(
                f"name: {self.name!r} is that of an installed policy, which this is not; choose "
                "another one"
            )
        return self

    def tracks(self) -> list[str]:
        """The tracks that it makes claims of."""
        return list(dict.fromkeys(claim.track for claim in self.claims))

    @contextmanager
    def scheduler(self, *, trust: bool = False) -> Iterator[Policy]:
        """The policy that it enters, as long as the context lasts.

        Args:
            trust: Whether to run the source that it carries.

        Raises:
            DystaError: If there is none, it is damaged, or carries source that is not trusted.
        """
        if self.policy is not None:
            if self.policy not in policies.names():
                raise one_of("policy", self.policy, policies.names())
            yield self._set(policies.find(self.policy))
            return
        if self.rule is not None and not trust:
            raise DystaError(
                "rule: the entry carries Python source, which can do whatever you can; read it, "
                "and give --trust to run it"
            )
        with temporary_folder() as folder:
            path = folder / ("rule.py" if self.rule is not None else "checkpoint.npz")
            path.write_bytes(self._content())
            policy = policies.find(str(path) + (f":{self.object}" if self.object else ""))
            if self.rule is not None and policy.index is not None:
                raise DystaError(
                    "rule: it has an index, which is given the whole store and so can see what its "
                    "level does not know; an entry may have none"
                )
            yield self._set(policy)

    def _content(self) -> bytes:
        """The file that it carries."""
        if self.rule is not None:
            return self.rule.encode()
        try:
            return base64.b64decode("".join((self.checkpoint or "").split()), validate=True)
        except ValueError as error:  # binascii.Error is one
            raise DystaError(f"checkpoint: it is not in base64 ({error})") from None

    def _set(self, policy: Policy) -> Policy:
        settings = {**policy.settings, **self.settings}
        return replace(policy, name=self.name, level=self.level, settings=settings)

    def save(self, path: str | Path) -> None:
        """Write the entry.

        Raises:
            DystaError: If the file cannot be written.
        """
        head = self.model_dump(mode="json", exclude={"claims"}, exclude_none=True)
        if not head["settings"]:
            del head["settings"]
        lines = [yaml.dump(head, Dumper=_Dumper, sort_keys=False, allow_unicode=True), "claims:\n"]
        lines += [f"  - {_flow(claim.model_dump())}\n" for claim in self.claims]
        size = sum(len(line.encode()) for line in lines)
        if size > LARGEST:
            raise DystaError(f"entry: it has {size} bytes; {LARGEST} are allowed")
        write_text(path, "".join(lines))


class _Dumper(yaml.SafeDumper):
    """Text of several lines as it is."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _flow(fields: dict[str, Any]) -> str:
    """A mapping in one line; numbers keep all digits, and text is none of them."""
    written = (
        f"{key}: {_number(value) if isinstance(value, float) else json.dumps(value)}"
        for key, value in fields.items()
    )
    return "{" + ", ".join(written) + "}"


def _number(value: float) -> str:
    """All digits of a number, as YAML 1.1 and 1.2 both read one."""
    digits, e, exponent = repr(value).partition("e")
    return repr(value) if not e or "." in digits else f"{digits}.0e{exponent}"


def shipped_entries() -> dict[str, Path]:
    """Name and file of every entry in the package, sorted by name."""
    return {path.stem: path for path in sorted(packaged("entries").glob("*.yaml"))}


def load_entry(source: str | Path) -> Entry:
    """An entry in the package by its name, or one from a YAML file.

    Raises:
        DystaError: If there is none, or a field is missing, unknown or not allowed.
    """
    content, where, _ = content_of(source, "entry", shipped_entries())
    if type(content.get("format")) is int and content["format"] != FORMAT:
        raise DystaError(
            f"{where}: format: {content['format']} is not allowed; this version reads {FORMAT}"
        )
    return _checked(content, where)


def _checked(content: Mapping[str, Any], where: str) -> Entry:
    try:
        return Entry.model_validate(dict(content))
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        at = [str(part) for part in fault["loc"]]
        model = Claim if at[:1] == ["claims"] and len(at) > 2 else Entry
        message = told(fault, at, model, "", (), "{track: paper, scenario: multi-attnn, ...}")
        raise DystaError(f"{where}: {message}") from None


def entered(
    spec: str,
    tracks: Sequence[str] = (),
    *,
    name: str | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Entry:
    """Run a policy on tracks, and enter what comes out.

    Args:
        spec: The policy, as `dysta_gym.find` takes it: installed, a rule's file, or a checkpoint.
        tracks: Names of the tracks; all, if there is none.
        name: What the entry is called; by default, the policy's name, or its file's.
        jobs: As of `dysta_gym.compare`.
        progress: As of `dysta_gym.compare`.

    Raises:
        DystaError: If an argument is not usable.
    """
    if name is not None and not name.strip():
        raise DystaError(f"name: {name!r} is not allowed; it must be text")
    for each in tracks:
        if list(tracks).count(each) > 1:
            raise DystaError(f"track: {each!r} is given more than once; give it once")
    chosen = [shipped_track(each) for each in tracks or shipped_tracks()]
    given, _, _ = policies.split(spec)
    path, wanted = in_file(given)
    content = Path(path).read_bytes() if is_file(path) else None
    policy = policies.find(spec)
    fields: dict[str, Any] = {"name": name or Path(path).stem, "policy": given}
    if content is not None:
        fields |= {"policy": None, **_carried(path, wanted, content)}
    head: dict[str, Any] = {
        "format": FORMAT,
        "level": policy.level,
        "settings": {key: float(value) for key, value in policy.settings.items()},
        "version": dysta_gym.__version__,
        **fields,
    }
    _checked(head | {"claims": [_NOTHING]}, "entry")  # before anything is run
    parts = [(track, track.conditions()) for track in chosen]
    claims = [
        claim
        for track, conditions, results in run_on(
            parts, [policy], jobs=jobs, bounds=False, progress=progress
        )
        for claim in claims_of(track, results, conditions)
    ]
    if content is not None and Path(path).read_bytes() != content:
        raise DystaError(f"policy {spec!r}: the file has changed meanwhile; enter it again")
    return _checked(head | {"claims": claims}, "entry")


_NOTHING = Claim(track="", scenario="", load=1, slo=1, workloads="", violation_rate=0, antt=1)


def _carried(path: str, wanted: str | None, content: bytes) -> dict[str, Any]:
    """A file as an entry carries it."""
    if not path.lower().endswith(".py"):
        return {"checkpoint": base64.encodebytes(content).decode()}
    try:
        return {"rule": content.decode(), "object": wanted}
    except UnicodeDecodeError:
        raise DystaError(f"rule: the file {path!r} is not in UTF-8, in which entries are") from None


def claims_of(
    track: Track, results: pd.DataFrame, conditions: Sequence[Condition] | None = None
) -> list[Claim]:
    """What can be claimed of a track, or of some of its conditions.

    Args:
        track: The track.
        results: Rows of `dysta_gym.compare_on` of one policy, under each of the conditions.
        conditions: The conditions; None for all.
    """
    chosen = track.conditions() if conditions is None else conditions
    groups = results.groupby(CELL, sort=False)
    return [
        Claim(
            track=track.name,
            scenario=condition.where[0],
            load=condition.where[1],
            slo=condition.where[3],
            workloads=digest(condition, track.seeds),
            **{metric: math.fsum(part[metric]) / len(part) for metric in METRICS},
        )
        for condition, (_, part) in zip(chosen, groups, strict=True)
    ]


@dataclass(frozen=True)
class Part:
    """Every ``of``-th condition, from the ``number``-th of all on, counted from 1."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise DystaError(
                f"part: {self.number}/{self.of} is not allowed; it must be K/N, with K from 1 to N"
            )


def verify(
    entry: Entry,
    *,
    part: Part = Part(),
    trust: bool = False,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Run an entry again, and compare to the last bit; how many conditions were run.

    Args:
        entry: The entry.
        part: Which of its conditions to run; the claims of all are checked for completeness.
        trust: Whether to run source that it carries.
        jobs: As of `dysta_gym.compare`.
        progress: As of `dysta_gym.compare`.

    Raises:
        DystaError: If it is of another version, of other workloads, lacks a condition of a track
            that it makes claims of, or a number is another one.
    """
    if entry.version != dysta_gym.__version__:
        raise DystaError(
            f"version: {shown(entry.version)} is not allowed; this is {dysta_gym.__version__}: "
            "verify the entry with its own version, or measure it again"
        )
    known = {name: shipped_track(name) for name in entry.tracks()}
    pairs = [(track, condition) for track in known.values() for condition in track.conditions()]
    _check_complete(entry, pairs)
    chosen = pairs[part.number - 1 :: part.of]
    if not chosen:
        raise DystaError(
            f"part: {part.number}/{part.of} has none of the {len(pairs)} conditions; K must be "
            f"{len(pairs)} or less"
        )
    claimed = {(claim.track, claim.condition): claim for claim in entry.claims}
    parts = [
        (track, [condition for each, condition in chosen if each is track])
        for track in known.values()
    ]
    with entry.scheduler(trust=trust) as policy:
        for track, conditions, results in run_on(
            [part for part in parts if part[1]],
            [policy],
            jobs=jobs,
            bounds=False,
            progress=progress,
        ):
            for found in claims_of(track, results, conditions):
                _compare(claimed[found.track, found.condition], found)
    return len(chosen)


def _check_complete(entry: Entry, pairs: Sequence[tuple[Track, Condition]]) -> None:
    """Raise a `DystaError` unless each condition of each track is claimed once, as it is now."""
    claims: dict[tuple[str, tuple[str, float, float]], Claim] = {}
    for claim in entry.claims:
        key = claim.track, claim.condition
        if key in claims:
            raise DystaError(f"claims: {_of(claim)} is claimed more than once; claim it once")
        claims[key] = claim
    for track, condition in pairs:
        scenario, load, _, slo = condition.where
        found = claims.pop((track.name, (scenario, load, slo)), None)
        if found is None:
            raise DystaError(
                f"claims: scenario {scenario!r} at load {load!r} and SLO multiplier {slo!r} of "
                f"track {track.name!r} is missing; an entry covers whole tracks"
            )
        now = digest(condition, track.seeds)
        if found.workloads != now:
            raise DystaError(
                f"claims: {_of(found)} was measured on workloads {shown(found.workloads)}; here "
                f"they are {now!r}: measure it again"
            )
    for claim in claims.values():
        raise DystaError(f"claims: {_of(claim)} is no condition of it; leave it out")


def _of(claim: Claim) -> str:
    scenario, load, slo = claim.condition
    return (
        f"scenario {scenario!r} at load {load!r} and SLO multiplier {slo!r} of track "
        f"{claim.track!r}"
    )


def _compare(claim: Claim, found: Claim) -> None:
    for metric in METRICS:
        claimed, now = getattr(claim, metric), getattr(found, metric)
        if claimed != now:
            raise DystaError(
                f"claims: {metric} of {_of(claim)} is claimed to be {claimed!r}; run again, it is "
                f"{now!r}"
            )
