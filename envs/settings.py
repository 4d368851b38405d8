"""What the arguments of ``SparseMultiDNN-v0`` mean, alone and vectorised."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dysta_gym.envs.engine import (
    DECISIONS,
    REWARDS,
    SYSTEM_FEATURES,
    WIDTH,
    Rules,
    kept_features,
)
from dysta_gym.errors import DystaError, one_of
from dysta_gym.information import ALL_LEVELS, estimates
from dysta_gym.machine.queue import Tables
from dysta_gym.traces import SPLITS, TraceStore, reference_split
from dysta_gym.workloads import Workload, load_scenario, requests_under


class Settings:
    """The arguments of ``SparseMultiDNN-v0``, checked; see `dysta_gym.envs.SparseMultiDNNEnv`.

    Attributes:
        scenario: The scenario, at the load asked for.
        store: Its traces.
        level: Level of information.
        slots: Requests that can be chosen from.
        reward: Name of the reward function.
        penalty: ANTT that a violation rate of 1 weighs.
        split: Inputs that requests are drawn from.
        decisions: When an action is asked for.

    Raises:
        DystaError: If an argument is not allowed.
    """

    def __init__(
        self,
        scenario: str | Mapping[str, Any],
        *,
        load: float | str | None,
        rate: float | None,
        slo_multiplier: float | None,
        requests: int | None,
        level: str,
        slots: int,
        reward: str,
        penalty: float,
        split: str,
        decisions: str,
    ) -> None:
        for name, value, choices in (
            ("level", level, ALL_LEVELS),
            ("reward", reward, REWARDS),
            ("split", split, SPLITS),
            ("decisions", decisions, DECISIONS),
        ):
            if value not in choices:
                raise one_of(name, value, choices)
        self.scenario = load_scenario(scenario).varied(
            load=load, rate=rate, slo_multiplier=slo_multiplier, requests=requests
        )
        self.store: TraceStore = self.scenario.store()
        self.level, self.slots, self.split = level, at_least_one("slots", slots), split
        self.reward, self.decisions = reward, decisions
        self._penalty = np.zeros(1)
        self.penalty = penalty

    @property
    def penalty(self) -> float:
        """ANTT that a violation rate of 1 weighs; setting it changes all `rules` made before."""
        return float(self._penalty[0])

    @penalty.setter
    def penalty(self, penalty: float) -> None:
        number = isinstance(penalty, int | float) and not isinstance(penalty, bool)
        if not number or not 0 <= penalty <= sys.float_info.max:
            raise DystaError(
                f"penalty: {penalty!r} is not allowed; it must be finite and 0 or more"
            )
        self._penalty[0] = penalty

    def action_space(self) -> spaces.Discrete:
        """A slot."""
        return spaces.Discrete(self.slots)

    def observation_space(self) -> spaces.Space[NDArray[np.float32]]:
        """The features of every slot, then those of the system."""
        low = np.zeros(WIDTH, np.float32)
        low[[1, 2, 5, 8, 9]] = -1
        low = np.concatenate([np.tile(low, self.slots), np.zeros(len(SYSTEM_FEATURES), np.float32)])
        return spaces.Box(low, np.ones_like(low), dtype=np.float32)

    def rules(self, store: TraceStore, reference: str) -> Rules:
        """What compiled code reads of these settings, for workloads on the given traces."""
        tables = Tables(store.latency_s, *estimates(store, self.level, reference))
        unit_s = self.store.mean_isolated_s(reference_split(self.split))
        key = ("features", self.level, reference, unit_s)
        if key not in store.cached:
            store.cached[key] = kept_features(store, tables, unit_s)
        return Rules(
            tables=tables,
            features=store.cached[key],
            slots=self.slots,
            unit_s=unit_s,
            penalty=self._penalty,
            reward=REWARDS.index(self.reward),
            decisions=DECISIONS.index(self.decisions),
        )

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


def at_least_one(field: str, value: Any) -> int:
    """A whole number above 0, and at most a million.

    Raises:
        DystaError: If it is none.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 1 <= value <= 10**6:
        raise DystaError(
            f"{field}: {value!r} is not allowed; it must be a whole number above 0, "
            "at most a million"
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
