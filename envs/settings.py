"""What the arguments of ``SparseMultiDNN-v0`` mean, alone and vectorised."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiled.digest import fresh
from dysta_gym.compiled.functions import address_of, compiled_or_refused
from dysta_gym.compiled.guarding import own
from dysta_gym.compiled.records import Placed, blank, read_only, reader
from dysta_gym.describing import NOBODY, NOWHERE, column_writer
from dysta_gym.envs.episode import (
    DECISIONS,
    OUTCOME_TYPE,
    Episode,
    Singles,
    Terms,
    kept_of,
    new_outcome,
    observer,
    payer,
)
from dysta_gym.envs.guarded import Guarded
from dysta_gym.errors import DystaError, one_of, shown
from dysta_gym.features import DEFAULT, Feature, Whole, select
from dysta_gym.information import ALL_LEVELS, estimates
from dysta_gym.machine.queue import QUEUE_TYPE, Queue, Tables
from dysta_gym.rewards import TABLE as REWARDS
from dysta_gym.rewards import Reward
from dysta_gym.sealing import opened
from dysta_gym.traces import SPLITS, TraceStore, reference_split
from dysta_gym.workloads import Scenario, Workload, load_scenario, requests_under

RENDER_MODES = ("human", "rgb_array", "ansi")
"""How an environment can be drawn."""


class _FixedError(DystaError, AttributeError):
    """An attribute that cannot be set."""


class Settings:
    """The arguments of ``SparseMultiDNN-v0``, checked; see `dysta_gym.envs.SparseMultiDNNEnv`.

    Attributes:
        scenario: The scenario, at the load asked for.
        store: Its traces.
        level: Level of information.
        slots: Requests that can be chosen from.
        features: What is observed, a `dysta_gym.features.Selection`.
        reward: The reward function.
        penalty: ANTT that a violation rate of 1 weighs.
        split: Inputs that requests are drawn from.
        decisions: When an action is asked for.
        render_mode: How it is drawn, None for not at all.

    All but the penalty stay as they are: spaces, tables and compiled code are made from them.

    Raises:
        DystaError: If an argument is not allowed.
    """

    def __init__(
        self,
        scenario: str | Mapping[str, Any] | Scenario = "multi-attnn",
        *,
        load: float | str | None = None,
        rate: float | None = None,
        slo_multiplier: float | None = None,
        requests: int | None = None,
        level: str = "monitored",
        slots: int = 128,
        features: Iterable[str | Feature] = DEFAULT,
        reward: str | Reward = "objective",
        penalty: float = 100.0,
        split: str = "train",
        decisions: str = "layers",
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode, RENDER_MODES)
        for name, value, choices in (
            ("level", level, ALL_LEVELS),
            ("split", split, SPLITS),
            ("decisions", decisions, DECISIONS),
        ):
            if not isinstance(value, str) or value not in choices:
                raise one_of(name, value, choices)
        self.scenario = load_scenario(scenario).varied(
            load=load, rate=rate, slo_multiplier=slo_multiplier, requests=requests
        )
        self.store: TraceStore = self.scenario.store()
        self.level, self.slots, self.split = level, at_least_one("slots", slots), split
        self.features = select(features)
        self.reward, self.decisions = REWARDS.find(reward), decisions
        self.render_mode = render_mode
        self._penalty = np.zeros(1)
        self.penalty = penalty
        self._compile()

    def _compile(self) -> None:
        self._pay, self._observe = payer(self.reward), observer(self.features)
        self._keep = keeper(kept_of(self.features))

    def __setattr__(self, name: str, value: Any) -> None:
        if "_keep" in vars(self) and name != "penalty":  # the last that is made
            raise fixed(name, value)
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        compiled = ("_pay", "_observe", "_keep")
        return {key: value for key, value in vars(self).items() if key not in compiled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._compile()

    @property
    def penalty(self) -> float:
        """ANTT that a violation rate of 1 weighs; setting it changes all `terms` made before."""
        return float(self._penalty[0])

    @penalty.setter
    def penalty(self, penalty: float) -> None:
        number = isinstance(penalty, int | float | np.number) and not isinstance(penalty, bool)
        plain = penalty.item() if isinstance(penalty, np.generic) else penalty
        if not number or not 0 <= plain <= sys.float_info.max:
            raise DystaError(
                f"penalty: {penalty!r} is not allowed; it must be finite and 0 or more"
            )
        self._penalty[0] = penalty

    def action_space(self) -> spaces.Discrete:
        """A slot."""
        return spaces.Discrete(self.slots)

    def observation_space(self) -> spaces.Space[NDArray[np.float32]]:
        """The features of every slot, then those of the queue.

        Its attribute ``settings`` says, in plain values, what decides on what an agent sees and
        when; ``own_features`` are names that only say what they mean where they come from.
        """
        of_request, of_queue = self.features.requests, self.features.queue
        # An empty slot is all zeros, whatever the bounds of what would stand there.
        low = [min(0.0, each.low) for each in of_request] * self.slots
        high = [max(0.0, each.high) for each in of_request] * self.slots
        low += [each.low for each in of_queue]
        high += [each.high for each in of_queue]
        space = spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)
        # An agent keeps the space that it was trained on, in files, too, and so knows what it saw.
        space.settings = {  # type: ignore[attr-defined]
            "level": self.level,
            "slots": self.slots,
            "features": self.features.names,
            "own_features": self.features.own,
            "decisions": self.decisions,
        }
        return space

    def observed(self) -> int:
        """Numbers in an observation."""
        return self.features.size(self.slots)

    def terms(self, store: TraceStore, reference: str) -> Terms:
        """What compiled code reads of these settings, for workloads on the given traces."""
        tables = Tables(opened(store.latency_s), *estimates(store, self.level, reference))
        unit_s = self.store.mean_isolated_s(reference_split(self.split))
        kept = kept_of(self.features)
        key = ("kept features", self.level, reference, unit_s, self._keep)
        if key not in store.cached:
            store.cached[key] = _kept(store, tables, unit_s, kept)
        return Terms(
            tables=tables,
            kept=store.cached[key],
            kept_width=len(kept),
            slots=self.slots,
            unit_s=unit_s,
            penalty=self._penalty,
            **self.addresses(),
            decisions=DECISIONS.index(self.decisions),
        )

    def fault(self, at: int, to: int, index: int, error: Exception | None = None) -> str:
        """Which formula fails for an environment, and how; arguments as of `turn`.

        ``error`` is what it has raised, if that is known: it may not raise it again.
        """
        try:
            self._pay(at, to, index, 0.0, 0.0, False)
        except Exception as again:
            return _fails(f"reward {self.reward.name!r}", again)
        for each in (*self.features.requests, *self.features.queue):
            if each.kept or own(each.formula):
                continue
            if self.features.planned:  # whoever asks for it, it reads what is there for all
                each = replace(each, planned=True)
            alone = select([each])
            observed = new_outcome(1, self.slots, alone.size(self.slots))
            placed = Placed(observed, OUTCOME_TYPE)  # which must live as long as it is written to
            try:
                observer(alone)(at, placed.address, 0)
            except Exception as again:
                return _fails(f"feature {each.name!r}", again)
        whose = "a feature or of the reward"
        return _fails(whose, error) if error else f"the formula of {whose} fails, but not again"

    def addresses(self) -> dict[str, Any]:
        """Where the code is that `Terms` lead to, in this process."""
        return {"reward": address_of(self._pay), "observe": address_of(self._observe)}

    def here(self, episode: Episode) -> Episode:
        """An episode that may come from another process, with the addresses of this one."""
        return episode._replace(terms=episode.terms._replace(**self.addresses()))

    def workload(self, given: object) -> Workload:
        """A workload as an option of ``reset`` gives it.

        Raises:
            DystaError: If it is neither a `Workload` nor a mapping of columns, or not usable.
        """
        if isinstance(given, Workload):
            return given
        if not isinstance(given, Mapping):
            raise DystaError(
                f"options: workload is a {type(given).__name__}; "
                "it must be a Workload or a mapping of columns"
            )
        return requests_under(self.scenario, given, self.split)


def check_render_mode(mode: object, modes: Sequence[str]) -> None:
    """Refuse a render mode that is none of ``modes``, nor None.

    Raises:
        DystaError: If it is.
    """
    if mode is not None and mode not in modes:
        raise one_of("render_mode", mode, (*modes, None))


def _fails(whose: str, error: Exception) -> str:
    return f"the formula of {whose} fails ({type(error).__name__}: {error})"


def fixed(name: str, value: object) -> DystaError:
    """The error where somebody sets what an environment keeps."""
    return _FixedError(
        f"{name}: {shown(value)} cannot be set in an environment that is there; "
        f"make a new one with the {name} that it should have"
    )


FIXED = frozenset({*inspect.signature(Settings).parameters, "settings", "store"} - {"penalty"})
"""Attributes of environments that stay as they are."""


class Told(Guarded):
    """An environment that shows what it has been told, and keeps to it."""

    settings: Settings
    _fixed: ClassVar[frozenset[str]] = FIXED

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed and "settings" in vars(self):
            raise fixed(name, value)
        super().__setattr__(name, value)

    @property
    def scenario(self) -> Scenario:
        """The scenario, at the load asked for."""
        return self.settings.scenario

    @property
    def store(self) -> TraceStore:
        """Its traces."""
        return self.settings.store

    @property
    def level(self) -> str:
        """The level of information that is observed."""
        return self.settings.level

    @property
    def slots(self) -> int:
        """Requests that can be chosen from."""
        return self.settings.slots

    @property
    def reward(self) -> str:
        """Name of the reward."""
        return self.settings.reward.name

    @property
    def split(self) -> str:
        """Inputs that requests are drawn from."""
        return self.settings.split

    @property
    def decisions(self) -> str:
        """When an action is asked for."""
        return self.settings.decisions

    @property
    def penalty(self) -> float:
        """ANTT that a violation rate of 1 weighs; the only argument that may be set, from now on.

        Raises:
            DystaError: If it is set to what is no number, not finite or below 0.
        """
        return self.settings.penalty

    @penalty.setter
    def penalty(self, penalty: float) -> None:
        with self._lock:
            self.settings.penalty = penalty


def _kept(
    store: TraceStore, tables: Tables, unit_s: float, features: tuple[Feature, ...]
) -> Singles:
    """The kept features of a request about to run each cell, ``(cells * features,)``."""
    layers = np.concatenate([np.full(t.latency_s.size, t.latency_s.shape[1]) for t in store.traces])
    inputs = [len(trace.train) for trace in store.traces]
    executed = np.concatenate(
        [np.tile(np.arange(count), of) for count, of in zip(store.layers, inputs, strict=True)]
    )
    cells = len(executed)
    queue: Queue = blank(Queue, cells)._replace(
        length=cells,
        remaining=tables.remaining,
        next_layer=tables.next_layer,
        isolated=tables.remaining[np.arange(cells) - executed],
        correction=tables.correction,
        executed=executed,
        layers=layers,
    )
    table = np.zeros((len(features), cells), np.float32)
    placed = Placed(queue, QUEUE_TYPE)  # which must live as long as it is read
    try:
        keeper(features)(placed.address, cells, unit_s, table.ravel())
    except Exception as fault:
        for each in features:
            try:
                keeper((each,))(placed.address, cells, unit_s, table[0])
            except Exception as error:
                told = f"{_fails(f'feature {each.name!r}', error)}; correct it"
                raise DystaError(told) from error
        raise fault
    return np.ascontiguousarray(table.T).ravel()


_read_queue = reader(QUEUE_TYPE)


@fresh(lambda features: [each.formula for each in features])
def keeper(features: tuple[Feature, ...]) -> Any:
    """What computes kept features: ``keep(queue, size, unit, out)``, one after the other.

    ``queue`` is the address of a `Queue`.
    """
    columns = column_writer(features)

    def keep(at: int, size: int, unit: float, out: Singles) -> None:
        queue = read_only(_read_queue(at), None)
        whole = Whole(0.0, unit, size, 0.0, 0.0, 0, 0, 0, 0, 0, 0, 0.0, NOBODY, NOWHERE)
        columns(queue, size, whole, out)

    signature = types.void(types.intp, types.int64, types.float64, types.float32[::1])
    names = ", ".join(repr(each.name) for each in features)
    return compiled_or_refused(signature, keep, f"features {names}: the formula of one")


def at_least_one(field: str, value: Any, most: int = 10**6) -> int:
    """A whole number above 0, and at most ``most``.

    Raises:
        DystaError: If it is none.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 1 <= value <= most:
        raise DystaError(
            f"{field}: {value!r} is not allowed; it must be a whole number above 0, at most {most}"
        )
    return int(value)


def checked_options(given: object, known: Sequence[str]) -> Mapping[str, Any]:
    """The options of ``reset``, none if None.

    Raises:
        DystaError: If they are no mapping, or one of them is unknown.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise DystaError(f"options: {given!r} is not allowed; it must be a mapping")
    for key in given:
        if key not in known:
            raise one_of("options", key, known)
    return given
