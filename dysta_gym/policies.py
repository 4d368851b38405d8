"""What a policy is, and finding one by name: ``NAME[@LEVEL][:key=value[,key=value]]``.

A policy is a scoring rule over the queue, ``score(queue, size, now, parameters, scores)``: it
writes a score for each of the first ``size`` requests of the queue that it is given (see
`dysta_gym.Queue`), and the least score runs next. How a rule ranks is separate from what
it knows: any rule runs at any level of information (`dysta_gym.information`).

Policies are found through the entry-point group ``dysta_gym.policies``, so that the policies of any
installed package plug in beside the baselines. A ``NAME`` may also be a file, of a kind that a
package reads: the entry-point group ``dysta_gym.policy_files`` names, for a suffix, a function from
a path to a policy. ``NAME-BASE`` may be a policy that is made of another one, ``BASE``: the group
``dysta_gym.policies_over`` names the function from the one to the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError, one_of, shown
from dysta_gym.files import is_file
from dysta_gym.information import ALL_LEVELS, LEVELS
from dysta_gym.parameters import Parameter as Parameter
from dysta_gym.plugins import described, entries, load
from dysta_gym.sources import given, note, note_file, scratch_folder

ENTRY_POINTS = "dysta_gym.policies"
"""Entry-point group in which policies register: ``name = "module:OBJECT"``."""

_LEAST, _GREATEST = 1e-15, 1e15
"""Parameters are no smaller and no larger, so that what scores are made of stays finite."""

_MOST_WRAPPED = 100
"""Times that a name may say to make another policy of one."""

FILE_ENTRY_POINTS = "dysta_gym.policy_files"
"""Entry-point group for policies in files: ``suffix = "module:function"``, without the dot."""

OVER_ENTRY_POINTS = "dysta_gym.policies_over"
"""Entry-point group for what makes a policy of another one: ``name = "module:function"``, from a
policy to a policy, which is called ``NAME-BASE``."""

AGENT_ENTRY_POINTS = "dysta_gym.agent_files"
"""Entry-point group for files of what is no policy, see `dysta_gym.agent_files`."""


@dataclass(frozen=True)
class Policy:
    """A scoring rule, the level of information it runs at, and its parameters.

    Attributes:
        name: Name of the rule.
        score: ``score(queue, size, now, parameters, scores)``; fills all of ``scores[:size]`` with
            numbers, infinite ones or not, of which the least runs, and returns nothing. The
            columns, of ``size`` entries each, and the parameters can only be read, but for the
            column ``memory``. A NaN, a value that is returned, a write to what is read, or an index
            outside an array is a `DystaError`; what else the rule raises is passed on.
        level: Level of information.
        summary: What it runs next, in one line.
        parameters: Its parameters by name, in the order in which the rule reads them.
        settings: Values that differ from the defaults.
        interpreted: Run ``score`` as plain Python instead of compiling it with Numba.
        stable: A promise about the rule: the score of a request changes only when one of its own
            layers runs. It depends neither on ``now``, nor on the other requests, nor on the
            queue's length or order, and the rule does not use ``memory``. The machine then keeps
            the queue in a heap, and gives the rule parts of it, in no order.
        drift: A promise about the rule, as a function of the parameters' values: scores are 0 or
            more; that of a waiting request falls by at most this much a second, and at most in
            proportion when arrivals lengthen the queue, from ``Q`` to ``Q'`` to no less than
            ``Q / Q'`` of it. The machine then looks at the whole queue only where the request that
            runs comes near, and otherwise gives the rule single requests; it may not use
            ``memory``. None if nothing is promised.
        events: Ask the rule only at events: when a request enters the queue, when one finishes, and
            when the one that runs turns out to have more to do than when it was chosen. Otherwise
            it runs on. A rule with a promise needs no such thing, and may not ask for it.
        effort: How long such a rule takes to decide, as a function of the parameters' values: so
            many times what a plain rule takes, for each request that has to wait. The machine then
            comes back to Python as often, and can be interrupted. None for what takes no notice.
        weights: Numbers that were learned; the rule reads them after its parameters.
        index: A number for each cell of a store's tables, ``index(store, level, reference)``, shape
            ``(cells,)``, for rules that rank by more of what their level knows than the queue
            shows. They read that of the layer which request ``i`` runs next by
            ``index_of(queue, i, parameters, first)`` (`dysta_gym.machine.rule`). None for none.
        spares_index: A promise about a rule with an index: where nothing stands behind its
            parameters and weights, it does without, as in rollouts, where sizes are certain.
        source: Where the rule was published.
    """

    name: str
    score: Callable[[Any, int, float, NDArray[np.float64], NDArray[np.float64]], None]
    level: str = "static"
    summary: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    settings: Mapping[str, float] = field(default_factory=dict)
    interpreted: bool = False
    stable: bool = False
    drift: Callable[[NDArray[np.float64]], float] | None = None
    events: bool = False
    effort: Callable[[NDArray[np.float64]], float] | None = None
    weights: tuple[float, ...] = ()
    index: Callable[[Any, str, str], NDArray[np.float64]] | None = None
    spares_index: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.level, str) or self.level not in ALL_LEVELS:
            raise one_of(f"policy {self.name!r}: level", self.level, ALL_LEVELS)
        for key, parameter in self.parameters.items():
            if not isinstance(parameter, Parameter):
                raise DystaError(
                    f"policy {self.name!r}: parameter {key!r} is {parameter!r}; it must be a "
                    "Parameter, and its value may stand in settings"
                )
        for key, value in self.settings.items():
            if key not in self.parameters:
                choices = ", ".join(self.parameters) or "none; it has no parameters"
                raise DystaError(
                    f"policy {self.name!r}: parameter {key!r} is unknown; choose one of: {choices}"
                )
            what = f"policy {self.name!r}: parameter {key!r}"
            if isinstance(value, bool) or not isinstance(
                value, int | float | np.integer | np.floating
            ):
                raise DystaError(f"{what} is {shown(value)}; it must be a number")
            self.parameters[key].check(what, value)
            if value and not self.parameters[key].whole and not _LEAST <= abs(value) <= _GREATEST:
                raise DystaError(
                    f"{what} is {value:g}; in size, it must lie within {_LEAST:g} and {_GREATEST:g}"
                )
        plain = {  # as `spec` writes it
            key: value.item() if isinstance(value, np.generic) else value
            for key, value in self.settings.items()
        }
        plain = {key: value if value else abs(value) for key, value in plain.items()}  # -0.0 is 0.0
        object.__setattr__(self, "settings", plain)
        if self.events and (self.stable or self.drift):
            raise DystaError(
                f"policy {self.name!r}: events is True, beside a promise; give one of the two"
            )
        if not all(map(math.isfinite, self.weights)):
            raise DystaError(f"policy {self.name!r}: weights must be finite numbers")

    def __hash__(self) -> int:
        return hash(self.spec)

    def __getstate__(self) -> dict[str, Any]:
        # A function that was made by another one is no name in a module: keep how it was made.
        made_by = getattr(self.score, "made_by", None)
        return vars(self) if made_by is None else {**vars(self), "score": None, "made_by": made_by}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        make, arguments = state.pop("made_by", (None, ()))
        vars(self).update({**state, "score": make(*arguments)} if make else state)

    def values(self, mean_isolated_s: float) -> NDArray[np.float64]:
        """What the rule reads: its parameters, in their order, then its weights.

        The shape is ``(max(1, parameters + weights),)``; NaN where there is nothing to read.
        ``mean_isolated_s`` is the networks' mean isolated latency in seconds
        (`TraceStore.mean_isolated_s`), the unit of relative parameters.
        """
        values = [
            self.settings.get(key, p.default) * (mean_isolated_s if p.relative else 1.0)
            for key, p in self.parameters.items()
        ]
        return np.array([*values, *self.weights] or [math.nan], np.float64)

    def drift_of(self, values: NDArray[np.float64]) -> float:
        """The promised `drift` at these values of the parameters, infinity without a promise.

        Raises:
            DystaError: If the promise is no number, or below 0.
        """
        if self.drift is None:
            return math.inf
        promised = self.drift(values)
        if not isinstance(promised, int | float | np.number) or not promised >= 0:
            raise DystaError(
                f"policy {self.name!r}: drift gives {promised!r}; it must give a number, 0 or more"
            )
        return float(promised)

    def effort_of(self, values: NDArray[np.float64]) -> float:
        """The `effort` at these values of the parameters, 0 without one."""
        return 0.0 if self.effort is None else float(self.effort(values))

    @property
    def spec(self) -> str:
        """The name that `find` makes this policy from."""
        settings = ",".join(f"{key}={value!r}" for key, value in self.settings.items())
        return f"{self.name}@{self.level}" + (f":{settings}" if settings else "")

    def at(self, level: str, **settings: float) -> Policy:
        """The same rule at another level, with other parameters."""
        return replace(self, level=level, settings={**self.settings, **settings})

    def compiled(self) -> Any:
        """The rule compiled for the event loop, or None if it is interpreted.

        It is compiled with the globals that it reads as they are now: once one has changed, anew.

        Raises:
            DystaError: If it cannot be compiled.
        """
        if self.interpreted:
            return None
        from dysta_gym.machine.rule import compiled_rule  # here, for it takes Numba to load

        return compiled_rule(self.score, f"policy {self.name!r}: its rule")


def names() -> list[str]:
    """Names of all installed policies and aliases, sorted."""
    return sorted(entries(ENTRY_POINTS))


def split(spec: str) -> tuple[str, str | None, str | None]:
    """``NAME[@LEVEL][:SETTINGS]`` in its parts, None for one that is not there.

    The path of a file that can be read is a name, whatever is in it; what looks like the path of
    one is a name where there is no such policy.

    Raises:
        DystaError: If it is no text that a table can hold.
    """
    try:
        spec.encode()
    except UnicodeEncodeError:
        raise DystaError(
            f"policy {shown(spec)}: half of a character is not allowed in a name; rename the file"
        ) from None
    ends = [at for at, letter in enumerate(spec) if letter in "@:"] + [len(spec)]
    files = [at for at in ends if _reader(spec[:at])]
    end = next((at for at in reversed(files) if _leads_to_file(spec[:at])), None)
    if end is None:
        name = spec[: ends[0]]
        end = files[0] if files and name not in entries(ENTRY_POINTS) else ends[0]
    after = next((at for at in ends if at > end), end)
    if in_file(spec[:after])[0] == spec[:end]:
        end = after
    head, colon, settings = spec[end:].partition(":")
    return spec[:end], head[1:] if head else None, settings if colon else None


def in_file(name: str) -> tuple[str, str | None]:
    """The file that a policy's name names, and which of its policies: ``FILE.py:NAME``."""
    path, colon, wanted = name.rpartition(":")
    if colon and path.lower().endswith(".py") and wanted.isidentifier() and not _is_there(name):
        return path, wanted
    return name, None


def agent_reader(name: str) -> EntryPoint | None:
    """What reads this file, if it is one of an agent."""
    reader = _reader(name)
    ours = reader is not None and reader.group == AGENT_ENTRY_POINTS
    return reader if ours and (_is_there(name) or name not in entries(ENTRY_POINTS)) else None


def _is_there(name: str) -> bool:
    """Whether there is such a file, or what was in it is given."""
    return given(name) is not None or is_file(name)


def _leads_to_file(name: str) -> bool:
    """Whether there is a file of this name, or of what another policy is made of."""
    makers = entries(OVER_ENTRY_POINTS)
    while not _is_there(name):
        first, _, name = name.partition("-")
        if first not in makers:
            return False
    return True


def from_folder(spec: str, folder: Path) -> str:
    """The policy that is called so where paths start from a folder.

    What a policy in a file is wrapped in stays; names of installed policies stand for themselves.
    """
    wrapped = ""
    while True:
        path = in_file(split(str(folder / spec))[0])[0]
        name = in_file(split(spec)[0])[0]
        first, _, base = spec.partition("-")
        if _reader(path) and _is_there(path):
            return f"{wrapped}{folder / spec}"
        if name in entries(ENTRY_POINTS) or not _reader(name):
            return wrapped + spec
        if first not in entries(OVER_ENTRY_POINTS):
            return f"{wrapped}{folder / spec}"
        wrapped, spec = f"{wrapped}{first}-", base


def _reader(name: str) -> EntryPoint | None:
    """What reads files with this suffix, in capital letters or not."""
    readers = {**entries(AGENT_ENTRY_POINTS), **entries(FILE_ENTRY_POINTS)}
    suffix = PurePath(name).suffix.removeprefix(".").partition(":")[0]
    return readers.get(suffix) or readers.get(suffix.lower())


def expand(spec: str) -> list[str]:
    """``NAME@*`` as that rule at each level, ``NAME@LEVEL/*`` with each of a level's options.

    Any other name stands for itself. The level without an option is among its options.
    """
    name, level, settings = split(spec)
    if not level or "*" not in level:
        return [spec]
    chosen = [level]
    if level == "*":
        chosen = list(LEVELS)
    elif level.endswith("/*"):
        base = level.removesuffix("/*")
        chosen = [each for each in ALL_LEVELS if each.partition("/")[0] == base] or chosen
    tail = "" if settings is None else f":{settings}"
    return [f"{name}@{each}{tail}" for each in chosen]


def find(spec: str) -> Policy:
    """The policy called ``NAME[@LEVEL][:key=value[,key=value]]``.

    ``NAME`` is an installed policy or alias, or a file such as ``run/checkpoint.npz`` or
    ``mine.py``, which is read (``mine.py:NAME`` where it has several), or either of them after what
    makes another policy of it, as in ``rollout-sptp``; ``LEVEL`` is one of
    `dysta_gym.information.ALL_LEVELS` (default: the policy's own), ``key`` one of the policy's
    parameters.

    Raises:
        DystaError: If the policy, the level or a parameter is unknown, or a value is not allowed.
    """
    name, level, given = split(spec)
    policy = _named(name)
    if level is not None and level not in ALL_LEVELS:
        raise one_of(f"policy {spec!r}: level", level, ALL_LEVELS)
    own: dict[str, float] = {}
    for item in () if given is None else given.split(","):
        key, _, text = item.partition("=")
        try:
            if "_" in text or not text.isascii():  # which Python takes for numbers, too
                raise ValueError
            value = float(text)
        except ValueError:
            raise DystaError(
                f"policy {spec!r}: {item!r} is not a parameter; write key=value with a number"
            ) from None
        if key.strip() in own:
            raise DystaError(f"policy {spec!r}: {key.strip()!r} is given twice; give it once")
        own[key.strip()] = value
    settings = {**policy.settings, **own}
    return replace(policy, level=level or policy.level, settings=settings)


def _named(name: str) -> Policy:
    """The policy in this file, or of this name."""
    registered = entries(ENTRY_POINTS)
    reader, entry = _reader(name), registered.get(name)
    first, _, base = name.partition("-")
    maker = entries(OVER_ENTRY_POINTS).get(first)
    there = reader is not None and _is_there(name)
    if maker and not entry and not there and (base in registered or _reader(base)):
        if name.count(f"{first}-") > _MOST_WRAPPED:
            raise DystaError(
                f"policy {shown(name)}: {first!r} stands there too often; give it once"
            )
        made: Policy = load(maker)(_named(base))
        return made
    if agent_reader(name):
        raise DystaError(
            f"policy {name!r}: an agent in a file is no scoring rule; only dysta_gym.compare and "
            "the command compare can run it"
        )
    if reader is not None and (entry is None or there):
        policy, origin = _read(reader, name), reader
    elif entry is not None:
        policy, origin = load(entry), entry
    else:
        raise one_of("policy", name, sorted(registered))
    if not isinstance(policy, Policy):
        raise DystaError(
            f"policy {name!r}: {described(origin)} gives a {type(policy).__name__}; "
            "it must be a dysta_gym.policies.Policy"
        )
    return policy


def _read(reader: EntryPoint, name: str) -> Any:
    """What a package reads from a file, or from what was in it."""
    read, source = load(reader), given(name)
    if in_file(name)[0].lower().endswith(".py"):
        return read(name)  # which knows what is given, and notes more than this file
    if source is None:
        policy = read(name)
        note_file(name)
        return policy
    note(source)
    with scratch_folder() as own:
        path = Path(own, Path(source.path).name)
        path.write_bytes(source.content)
        policy = read(str(path))
    ours = isinstance(policy, Policy) and policy.name == str(path)
    return replace(policy, name=name) if ours else policy
