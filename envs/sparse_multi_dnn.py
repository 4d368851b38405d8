"""``SparseMultiDNN-v0``: several sparse neural networks share one accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any, SupportsFloat, SupportsIndex

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dysta_gym.compiled.records import Placed
from dysta_gym.envs.episode import (
    EPISODE_TYPE,
    OUTCOME_TYPE,
    episode_of,
    new_outcome,
    start,
    turn,
)
from dysta_gym.envs.settings import Settings, checked_options
from dysta_gym.errors import DystaError
from dysta_gym.features import DEFAULT, TABLE, page, select
from dysta_gym.machine.machine import Machine
from dysta_gym.metrics import measure
from dysta_gym.policies import Policy, find
from dysta_gym.rewards import page as rewards_page
from dysta_gym.signatures import takes
from dysta_gym.traces import TraceStore
from dysta_gym.workloads import Scenario, Workload, generate

_PLACES = {"_at", "_to", "_observation", "_mask"}
"""Attributes that are places in memory, and are not copied."""


@takes(Settings)
class SparseMultiDNNEnv(gym.Env[NDArray[np.float32], np.int64]):
    """Several sparse neural networks share one accelerator; the agent says whose layer runs next.

    ## Description

    Requests for inference arrive at an accelerator that runs one layer at a time and never
    interrupts it. Whenever it is free and requests wait, the agent chooses the request that runs
    its next layer. How long that takes depends on how sparse the layer turns out to be: on pruned
    weights, which are known, and on the input, which is not. The machine and its traces are those
    of ``dysta-gym compare``; the semantics are those of Sparse-DySta (MICRO'23).

    ## Action Space

    ``Discrete(slots)``. Slots hold the unfinished requests in order of arrival; those beyond the
    last slot wait behind and move up as requests finish. Choosing an empty slot never raises: it
    runs the oldest request, and ``info["invalid_action"]`` says so. `action_masks` (booleans) and
    ``info["action_mask"]`` (int8, as ``action_space.sample(mask=...)`` asks) tell which slots are
    taken; at the end of an episode, the first slot counts as taken.

    With ``decisions="layers"`` an action is asked for after every layer. With ``"events"``, the
    request that was chosen runs on until something happens: it finishes, another one enters the
    queue, or it turns out to have more to do than when it was chosen, as far as ``level`` knows
    (see `dysta_gym.Policy.events`). That makes about two steps a request, however many layers
    it has.

    ## Observation Space

    A ``Box`` of float32, shape ``({width} * slots + {rest},)`` by default: {width} numbers a slot,
    slot after slot, then {rest} of the queue. An empty slot is all zeros. ``R``, ``I``, ``N`` and
    ``g`` are what ``level`` knows of remaining, isolated and next layer's latency and of the
    correction; ``S`` is the time to the deadline, ``unit`` the mean isolated latency of the
    scenario's traces, ``B`` the sum of ``R`` over the requests with ``S >= R``. Numbers are clipped
    to their bounds. No feature depends on the unit of time.

    {default}

    ``features`` says which are shown, in this order, those of a request before those of the queue;
    there are also

    {others}

    and one's own, a `dysta_gym.Feature` in place of a name. (Only names let ``env.spec`` become
    JSON: a package gives its own a name, see `dysta_gym.features`.)

    ## Rewards

    The return of a finished episode, undiscounted, is

    {rewards}

    ``reward`` may also be one's own, a `dysta_gym.Reward`.

    ## Starting State

    `reset` draws a workload and admits its first request. The workload of ``reset(seed=s)`` is
    that of ``generate(scenario, s)``, the same that ``dysta-gym compare`` runs; without a seed it
    is drawn from the environment's generator. ``reset(options={"workload": w})`` replays ``w``: a
    `Workload`, or a mapping of the columns ``arrival_s``, ``trace`` (names), ``row``, ``priority``,
    which meets the scenario's machine and deadlines; a frame is then due a period after it arrives.

    ## Episode End

    Termination when every request is finished; there is no truncation. With decisions at layers,
    the number of steps is the number of layers of all requests.

    ## Info

    ``time_s``, ``queue_size``, ``action_mask``, ``invalid_action``; in the last step ``metrics``,
    as of `dysta_gym.metrics.measure`.

    ## Arguments

    ```python
    import gymnasium as gym
    import dysta_gym

    env = gym.make("SparseMultiDNN-v0", scenario="multi-attnn", load=1.05, slots=64)
    ```

    | Parameter        | Type          | Default         | Description                             |
    |------------------|---------------|-----------------|-----------------------------------------|
    | `scenario`       | str or dict   | `"multi-attnn"` | name, YAML file, or its fields          |
    | `load`           | float or str  | scenario's      | offered work over capacity, or its name |
    | `rate`           | float         | scenario's      | requests a second, instead of `load`    |
    | `slo_multiplier` | float         | scenario's      | deadline in average isolated latencies  |
    | `requests`       | int           | scenario's      | requests an episode                     |
    | `level`          | str           | `"monitored"`   | level of information that is observed   |
    | `slots`          | int           | `128`           | requests that can be chosen from        |
    | `features`       | list          | see above       | names of features, or one's own         |
    | `reward`         | str or Reward | `"objective"`   | see Rewards                             |
    | `penalty`        | float         | `100.0`         | ANTT that a violation rate of 1 weighs  |
    | `split`          | str           | `"train"`       | inputs that requests are drawn from     |
    | `decisions`      | str           | `"layers"`      | see Action Space                        |

    ## Version History

    * v0: first version
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012, as Gymnasium declares it

    def __init__(
        self, scenario: str | Mapping[str, Any] | Scenario = "multi-attnn", **settings: Any
    ) -> None:
        """Raises `DystaError` if an argument is not allowed."""
        self.settings = Settings(scenario, **settings)
        self.action_space = self.settings.action_space()
        self.observation_space = self.settings.observation_space()
        self.machine: Machine | None = None
        self._slots = self.settings.slots
        self._outcome = new_outcome(1, self.settings.slots, self.settings.observed())

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
        """ANTT that a violation rate of 1 weighs, from now on."""
        return self.settings.penalty

    @penalty.setter
    def penalty(self, penalty: float) -> None:
        self.settings.penalty = penalty

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; see Starting State.

        Raises:
            DystaError: If an option is unknown or its workload is not usable.
        """
        super().reset(seed=seed)
        workload = self._workload(seed, options)
        terms = self.settings.terms(workload.store, workload.reference)
        machine = Machine(workload, self.level)
        self._episode = episode_of(machine, terms)
        self._place()
        self.machine = machine
        try:
            start(self._at.address, self._to.address, 0)
        except Exception as error:
            raise self._fault() from error
        return self._observation.copy(), self._info()

    def _place(self) -> None:
        """Put the episode and its outcomes where compiled code reads and writes them."""
        self._at = Placed(self._episode, EPISODE_TYPE)
        self._to = Placed(self._outcome, OUTCOME_TYPE)
        # Views that every step would have to take again.
        self._observation = self._outcome.observations[0]
        self._mask = self._outcome.masks[0].view(np.int8)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in _PLACES}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.machine is not None:
            self._episode = self.settings.here(self._episode)
            self._place()

    def _workload(self, seed: int | None, options: Mapping[str, Any] | None) -> Workload:
        workload = checked_options(options, ["workload"]).get("workload")
        if workload is None:
            drawn = int(self.np_random.integers(2**31)) if seed is None else seed
            return generate(self.scenario, drawn, split=self.split)
        return self.settings.workload(workload)

    def step(
        self, action: SupportsIndex
    ) -> tuple[NDArray[np.float32], SupportsFloat, bool, bool, dict[str, Any]]:
        """Run the next layer of the request in slot ``action``, or, with events, go on to the next.

        Raises:
            DystaError: If the action is not in the action space, no episode is running, or the
                formula of a feature or of the reward fails.
        """
        outcome = self._outcome
        if self.machine is None or outcome.terminated[0]:
            raise DystaError("step: no episode is running; call reset first")
        try:
            slot = index(action)
        except TypeError:
            slot = -1
        if not 0 <= slot < self._slots:
            raise DystaError(
                f"action: {action!r} is not allowed; it must be a slot, 0 to {self._slots - 1}"
            )
        try:
            turn(self._at.address, self._to.address, 0, slot)
        except Exception as error:
            raise self._fault() from error
        info = self._info()
        terminated = outcome.terminated.item()
        if terminated:
            info["metrics"] = measure(self.machine.schedule())
        return self._observation.copy(), outcome.rewards.item(), terminated, False, info

    def _fault(self) -> DystaError:
        """What is raised where a formula fails."""
        told = self.settings.fault(self._at.address, self._to.address, 0)
        return DystaError(f"{told}; correct it, and reset")

    def action_masks(self) -> NDArray[np.bool_]:
        """Which slots may be chosen, shape ``(slots,)`` (the name that sb3-contrib looks for)."""
        return self._outcome.masks[0].copy()

    def action_of(self, policy: Policy | str) -> int:
        """The slot that a policy would choose, at this environment's level of information.

        To be asked once a step: some policies remember what they have seen. Only slots can be
        chosen, so an episode equals that of `dysta_gym.simulate` where the queue fits into them.
        """
        if self.machine is None or self.machine.done:
            raise DystaError("action_of: no episode is running; call reset first")
        rule = find(policy) if isinstance(policy, str) else policy
        return self.machine.choose(rule, among=self.slots)

    def _info(self) -> dict[str, Any]:
        outcome = self._outcome
        return {
            "time_s": outcome.time_s.item(),
            "queue_size": outcome.queue_size.item(),
            "action_mask": self._mask.copy(),
            "invalid_action": outcome.invalid.item(),
        }


def _documented(text: str) -> str:
    """The page of the environment, with the tables of features and rewards filled in."""
    shown = select(DEFAULT)
    others = [each for name, each in TABLE.own.items() if name not in DEFAULT]
    parts = {
        "{default}": page(shown.requests) + "\n\n" + page(shown.queue),
        "{others}": page(others),
        "{rewards}": rewards_page(),
        "{width}": str(len(shown.requests)),
        "{rest}": str(len(shown.queue)),
    }
    for key, part in parts.items():
        text = text.replace(key, part.replace("\n", "\n    "))
    return text


SparseMultiDNNEnv.__doc__ = _documented(SparseMultiDNNEnv.__doc__ or "")
