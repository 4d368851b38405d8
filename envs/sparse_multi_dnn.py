"""``SparseMultiDNN-v0``: several sparse neural networks share one accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any, NamedTuple, SupportsFloat, SupportsIndex

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numba import types
from numpy.typing import NDArray

from dysta_gym.compiling import borrow, compiled, type_of
from dysta_gym.errors import DystaError, one_of
from dysta_gym.information import ALL_LEVELS
from dysta_gym.metrics import measure
from dysta_gym.policies import Policy, find
from dysta_gym.simulator import (
    FINISHED,
    JOBS_TYPE,
    QUEUE_TYPE,
    RUNNING,
    SIZE,
    STATE_TYPE,
    TABLES_TYPE,
    Jobs,
    Machine,
    Queue,
    State,
    Tables,
    admit,
    execute,
)
from dysta_gym.traces import SPLITS, reference_split
from dysta_gym.workloads import Workload, generate, load_scenario, requests_under

REQUEST_FEATURES = (
    "present",
    "remaining",
    "isolated",
    "slack",
    "time to deadline",
    "waited",
    "age",
    "priority",
    "progress",
    "correction",
    "next layer",
    "ran last",
)
"""What is observed of each slot, in this order."""

SYSTEM_FEATURES = ("queue", "behind", "overdue", "late", "backlog", "finished")
"""What is observed of the whole system, after all slots."""

_WIDTH = len(REQUEST_FEATURES)

REWARDS = ("objective", "turnaround", "violations", "final")
"""Names of the reward functions."""


class SparseMultiDNNEnv(gym.Env[NDArray[np.float32], np.int64]):
    r"""Several sparse neural networks share one accelerator; the agent says whose layer runs next.

    ## Description

    Requests for inference arrive at an accelerator that runs one layer at a time and never
    interrupts it. Whenever it is free and requests wait, the agent chooses the request that runs
    its next layer. How long that takes depends on how sparse the layer turns out to be: on pruned
    weights, which are known, and on the input, which is not. The machine and its traces are those
    of ``dysta-gym compare``; the semantics are those of Sparse-DySta (MICRO'23).

    ## Action Space

    ``Discrete(slots)``. Slots hold the unfinished requests in order of arrival; those beyond the
    last slot wait behind and move up as requests finish. Choosing an empty slot never raises: it
    runs the oldest request, and ``info["invalid_action"]`` says so. `action_masks` and
    ``info["action_mask"]`` tell which slots are taken.

    ## Observation Space

    A ``Box`` of float32, shape ``(12 * slots + 6,)``: twelve numbers a slot, slot after slot, then
    six of the whole system. An empty slot is all zeros. ``R``, ``I``, ``N`` and ``g`` are what
    ``level`` knows of remaining, isolated and next layer's latency and of the correction; ``S`` is
    the time to the deadline, ``unit`` the mean isolated latency of the scenario's traces, and
    ``soft(x) = x / (1 + |x|)``. No feature depends on the unit of time.

    | Num | Of a slot        | Meaning                                       | Min | Max |
    |-----|------------------|-----------------------------------------------|-----|-----|
    | 0   | present          | 1 if the slot is taken                        | 0   | 1   |
    | 1   | remaining        | log10(R / unit) / 3, clipped                  | -1  | 1   |
    | 2   | isolated         | log10(I / unit) / 3, clipped                  | -1  | 1   |
    | 3   | slack            | soft((S - R) / I)                             | -1  | 1   |
    | 4   | time to deadline | soft(S / I)                                   | -1  | 1   |
    | 5   | waited           | soft((now - last run) / I)                    | 0   | 1   |
    | 6   | age              | soft((now - arrival) / I)                     | 0   | 1   |
    | 7   | priority         | priority over the greatest of the workload    | 0   | 1   |
    | 8   | progress         | layers run over layers                        | 0   | 1   |
    | 9   | correction       | log2(g) / 4, clipped                          | -1  | 1   |
    | 10  | next layer       | N / R                                         | 0   | 1   |
    | 11  | ran last         | 1 if its layer was the last one to run        | 0   | 1   |

    | Num | Of the system    | Meaning                                       | Min | Max |
    |-----|------------------|-----------------------------------------------|-----|-----|
    | 0   | queue            | log10(1 + requests in the queue) / 4, clipped | 0   | 1   |
    | 1   | behind           | log10(1 + unfinished requests without a slot) / 4 | 0 | 1 |
    | 2   | overdue          | share of the queue past its deadline          | 0   | 1   |
    | 3   | late             | share of the queue with S < R                 | 0   | 1   |
    | 4   | backlog          | log10(1 + sum of R / unit) / 4, clipped       | 0   | 1   |
    | 5   | finished         | requests finished over requests               | 0   | 1   |

    ## Rewards

    The return of a finished episode, undiscounted, is

    - ``objective``: ``-(ANTT + penalty * violation rate)``, paid as it accrues: each unfinished
      request costs its share of ANTT for every second that it is in the system, and its share of
      the violation rate at the moment when its deadline passes;
    - ``turnaround``: ``-ANTT``, paid as it accrues;
    - ``violations``: ``-penalty * violation rate``, paid as it accrues;
    - ``final``: as ``objective``, but paid in one sum by the last step.

    ## Starting State

    `reset` draws a workload and admits its first request. The workload of ``reset(seed=s)`` is
    that of ``generate(scenario, s)``, the same that ``dysta-gym compare`` runs; without a seed it
    is drawn from the environment's generator. ``reset(options={"workload": w})`` replays ``w``: a
    `Workload`, or a mapping of the columns ``arrival_s``, ``trace`` (names), ``row``, ``priority``,
    which meets the scenario's machine and deadlines; a frame is then due a period after it arrives.

    ## Episode End

    Termination when every request is finished; there is no truncation. The number of steps is the
    number of layers of all requests.

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
    | `reward`         | str           | `"objective"`   | see Rewards                             |
    | `penalty`        | float         | `100.0`         | ANTT that a violation rate of 1 weighs  |
    | `split`          | str           | `"train"`       | inputs that requests are drawn from     |

    ## Version History

    * v0: first version
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012, as Gymnasium declares it

    def __init__(
        self,
        scenario: str | Mapping[str, Any] = "multi-attnn",
        *,
        load: float | str | None = None,
        rate: float | None = None,
        slo_multiplier: float | None = None,
        requests: int | None = None,
        level: str = "monitored",
        slots: int = 128,
        reward: str = "objective",
        penalty: float = 100.0,
        split: str = "train",
    ) -> None:
        """Raises `DystaError` if an argument is not allowed."""
        for name, value, choices in (
            ("level", level, ALL_LEVELS),
            ("reward", reward, REWARDS),
            ("split", split, SPLITS),
        ):
            if value not in choices:
                raise one_of(name, value, choices)
        if isinstance(slots, bool) or not isinstance(slots, int | np.integer) or slots < 1:
            raise DystaError(f"slots: {slots!r} is not allowed; it must be a whole number above 0")
        if not isinstance(penalty, int | float) or not (np.isfinite(penalty) and penalty >= 0):
            raise DystaError(
                f"penalty: {penalty!r} is not allowed; it must be finite and 0 or more"
            )
        self.scenario = load_scenario(scenario).varied(
            load=load, rate=rate, slo_multiplier=slo_multiplier, requests=requests
        )
        self.level, self.slots, self.split = level, int(slots), split
        self.reward, self.penalty = reward, float(penalty)
        self.store = self.scenario.store()
        self._unit_s = self.store.mean_isolated_s(reference_split(split))
        self.action_space = spaces.Discrete(self.slots)
        low = np.zeros(_WIDTH, np.float32)
        low[[1, 2, 3, 4, 9]] = -1
        low = np.concatenate([np.tile(low, slots), np.zeros(len(SYSTEM_FEATURES), np.float32)])
        self.observation_space = spaces.Box(low, np.ones_like(low), dtype=np.float32)
        self.machine: Machine | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; see Starting State.

        Raises:
            DystaError: If an option is unknown or its workload is not usable.
        """
        super().reset(seed=seed)
        workload = self._workload(seed, options or {})
        self.machine = machine = Machine(workload, self.level)
        isolated_s = workload.isolated_s
        self._ledger = Ledger(
            share=1 / (isolated_s * len(workload)),
            by_deadline=np.argsort(machine.jobs.deadline, kind="stable"),
            passed=np.zeros(1, np.int64),
            entered=np.searchsorted(workload.arrival_s, [machine.now], side="right"),
            rate=np.zeros(1),
            priority_scale=np.array([1 / workload.priority.max()]),
        )
        self._ledger.rate[0] = self._ledger.share[: self._ledger.entered[0]].sum()
        self._return = 0.0
        return self._observe(), self._info(invalid=False)

    def _workload(self, seed: int | None, options: Mapping[str, Any]) -> Workload:
        for key in options:
            if key != "workload":
                raise one_of("options", key, ["workload"])
        workload = options.get("workload")
        if workload is None:
            drawn = int(self.np_random.integers(2**31)) if seed is None else seed
            return generate(self.scenario, drawn, split=self.split)
        if isinstance(workload, Workload):
            return workload
        if not isinstance(workload, Mapping):
            raise DystaError(
                f"options: workload is a {type(workload).__name__}; "
                "it must be a Workload or a mapping of columns"
            )
        return requests_under(self.scenario, workload, self.split)

    def step(
        self, action: SupportsIndex
    ) -> tuple[NDArray[np.float32], SupportsFloat, bool, bool, dict[str, Any]]:
        """Run the next layer of the request in slot ``action``.

        Raises:
            DystaError: If the action is not in the action space, or no episode is running.
        """
        machine = self.machine
        if machine is None or machine.done:
            raise DystaError("step: no episode is running; call reset first")
        try:
            slot = index(action)
        except TypeError:
            slot = -1
        if not 0 <= slot < self.slots:
            raise DystaError(
                f"action: {action!r} is not allowed; it must be a slot, 0 to {self.slots - 1}"
            )
        invalid = slot >= machine.size
        turnaround, violations = _advance(
            machine.jobs,
            machine.tables,
            machine.state,
            machine.queue,
            self._ledger,
            0 if invalid else slot,
        )
        reward = 0.0
        if self.reward != "violations":
            reward -= turnaround
        if self.reward != "turnaround":
            reward -= self.penalty * violations
        self._return += reward
        if self.reward == "final":
            reward = self._return if machine.done else 0.0
        info = self._info(invalid)
        if machine.done:
            info["metrics"] = measure(machine.schedule())
        return self._observe(), reward, machine.done, False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Which slots are taken, shape ``(slots,)`` (the name that sb3-contrib looks for)."""
        return np.arange(self.slots) < (self.machine.size if self.machine else 0)

    def action_of(self, policy: Policy | str) -> int:
        """The slot that a policy would choose, at this environment's level of information.

        To be asked once a step: some policies remember what they have seen. Only slots can be
        chosen, so an episode equals that of `dysta_gym.simulate` where the queue fits into them.
        """
        if self.machine is None or self.machine.done:
            raise DystaError("action_of: no episode is running; call reset first")
        rule = find(policy) if isinstance(policy, str) else policy
        return self.machine.choose(rule, among=self.slots)

    def _info(self, invalid: bool) -> dict[str, Any]:
        assert self.machine is not None
        return {
            "time_s": self.machine.now,
            "queue_size": self.machine.size,
            "action_mask": self.action_masks(),
            "invalid_action": invalid,
        }

    def _observe(self) -> NDArray[np.float32]:
        assert self.machine is not None
        observation = np.zeros(self.observation_space.shape or (0,), np.float32)
        _observe(
            self.machine.queue,
            self.machine.state,
            self._ledger,
            self._unit_s,
            self.slots,
            observation,
        )
        return observation


class Ledger(NamedTuple):
    """What the rewards are counted with.

    Attributes:
        share: What a second in the system costs of ANTT, for each request, shape ``(requests,)``.
        by_deadline: The requests in order of their deadlines, same shape.
        passed: ``[deadlines that have passed]``.
        entered: ``[requests that have arrived, in the queue or outside it]``.
        rate: ``[sum of the shares of the unfinished ones of these]``.
        priority_scale: ``[1 / greatest priority]``.
    """

    share: NDArray[np.float64]
    by_deadline: NDArray[np.int64]
    passed: NDArray[np.int64]
    entered: NDArray[np.int64]
    rate: NDArray[np.float64]
    priority_scale: NDArray[np.float64]


_LEDGER_TYPE = type_of(
    Ledger(
        share=np.zeros(1),
        by_deadline=np.zeros(1, np.int64),
        passed=np.zeros(1, np.int64),
        entered=np.zeros(1, np.int64),
        rate=np.zeros(1),
        priority_scale=np.zeros(1),
    )
)


@compiled(
    types.UniTuple(types.float64, 2)(
        JOBS_TYPE, TABLES_TYPE, STATE_TYPE, QUEUE_TYPE, _LEDGER_TYPE, types.int64
    )
)
def _advance(
    jobs: Jobs, tables: Tables, state: State, queue: Queue, ledger: Ledger, slot: int
) -> tuple[float, float]:
    """Run one layer; the ANTT and the violation rate that accrue until it ends."""
    jobs, tables, state, queue = borrow(jobs), borrow(tables), borrow(state), borrow(queue)
    ledger = borrow(ledger)
    request = queue.request[slot]
    finished = state.counters[FINISHED]
    start = state.clock[0]
    execute(jobs, tables, state, queue, slot)
    end = state.clock[0]
    admit(jobs, tables, state, queue)
    turnaround = (end - start) * ledger.rate[0]
    entered = ledger.entered[0]
    while entered < jobs.arrival.size and jobs.arrival[entered] <= state.clock[0]:
        turnaround += max(0.0, end - jobs.arrival[entered]) * ledger.share[entered]
        ledger.rate[0] += ledger.share[entered]
        entered += 1
    ledger.entered[0] = entered
    if state.counters[FINISHED] > finished:
        ledger.rate[0] -= ledger.share[request]
        if state.counters[SIZE] == 0:
            ledger.rate[0] = 0.0
    violations = 0
    passed = ledger.passed[0]
    while passed < jobs.deadline.size and jobs.deadline[ledger.by_deadline[passed]] < end:
        due = ledger.by_deadline[passed]
        if not state.finish[due] <= jobs.deadline[due]:  # NaN: still unfinished
            violations += 1
        passed += 1
    ledger.passed[0] = passed
    return turnaround, violations / jobs.deadline.size


@compiled(types.float64(types.float64), inline=True)
def _soft(x: float) -> float:
    return x / (1.0 + abs(x))


@compiled(types.float64(types.float64, types.float64), inline=True)
def _clipped(x: float, low: float) -> float:
    return min(1.0, max(low, x))


@compiled(
    types.void(QUEUE_TYPE, STATE_TYPE, _LEDGER_TYPE, types.float64, types.int64, types.float32[::1])
)
def _observe(
    queue: Queue, state: State, ledger: Ledger, unit_s: float, slots: int, out: NDArray[np.float32]
) -> None:
    """Fill ``out``, zeros before, with the features of the class docstring."""
    queue, state, ledger, out = borrow(queue), borrow(state), borrow(ledger), borrow(out)
    now, size = state.clock[0], state.counters[SIZE]
    unfinished = ledger.entered[0] - state.counters[FINISHED]
    tiny = 1e-30
    overdue = late = 0
    backlog = 0.0
    for i in range(size):
        remaining = queue.remaining[i]
        slack = queue.deadline[i] - now
        backlog += remaining
        overdue += slack < 0.0
        late += slack < remaining
        if i >= slots:
            continue
        isolated = queue.isolated[i]
        at = i * _WIDTH
        out[at] = 1.0
        out[at + 1] = _clipped(np.log10(max(tiny, remaining / unit_s)) / 3.0, -1.0)
        out[at + 2] = _clipped(np.log10(max(tiny, isolated / unit_s)) / 3.0, -1.0)
        out[at + 3] = _soft((slack - remaining) / isolated)
        out[at + 4] = _soft(slack / isolated)
        out[at + 5] = _soft((now - queue.last_run[i]) / isolated)
        out[at + 6] = _soft((now - queue.arrival[i]) / isolated)
        out[at + 7] = queue.priority[i] * ledger.priority_scale[0]
        out[at + 8] = queue.executed[i] / queue.layers[i]
        out[at + 9] = _clipped(np.log2(max(tiny, queue.correction[i])) / 4.0, -1.0)
        out[at + 10] = _clipped(queue.next_layer[i] / max(tiny, remaining), 0.0)
        out[at + 11] = queue.request[i] == state.counters[RUNNING]
    at = slots * _WIDTH
    out[at] = _clipped(np.log10(1.0 + size) / 4.0, 0.0)
    out[at + 1] = _clipped(np.log10(1.0 + max(0, unfinished - slots)) / 4.0, 0.0)
    out[at + 2] = overdue / max(1, size)
    out[at + 3] = late / max(1, size)
    out[at + 4] = _clipped(np.log10(1.0 + backlog / unit_s) / 4.0, 0.0)
    out[at + 5] = state.counters[FINISHED] / state.finish.size
