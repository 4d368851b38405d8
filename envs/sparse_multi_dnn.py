"""``SparseMultiDNN-v0``: several sparse neural networks share one accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any, SupportsFloat, SupportsIndex, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dysta_gym.compiled.records import Placed
from dysta_gym.envs.episode import (
    EPISODE_TYPE,
    OUTCOME_TYPE,
    PLACE_TYPE,
    Place,
    episode_of,
    new_outcome,
    start,
    turn_alone,
)
from dysta_gym.envs.rendering import FPS, drawn, warn_of_no_mode
from dysta_gym.envs.scene import Scene, scene_of
from dysta_gym.envs.settings import FIXED, RENDER_MODES, Settings, Told, checked_options
from dysta_gym.envs.window import Window
from dysta_gym.errors import DystaError, one_of
from dysta_gym.features import DEFAULT, TABLE, page, select
from dysta_gym.machine.machine import Machine
from dysta_gym.metrics import measure, unmeasured
from dysta_gym.policies import Policy, find
from dysta_gym.rewards import page as rewards_page
from dysta_gym.signatures import takes
from dysta_gym.workloads import Scenario, Workload, generate

_METRICS = ("end", "always")
"""In which steps the metrics of an episode are told."""


@takes(Settings)
class SparseMultiDNNEnv(Told, gym.Env[NDArray[np.float32], np.int64]):
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

    {planned}
    are *planned*: they ask who can be on time, which is found anew whenever somebody is asked. The
    queue is sorted by deadline for that and walked twice, and once more, as far as that, for each
    request that is given up; once, however many of them are shown, and not at all where none is. A
    feature of one's own that says ``planned=True`` reads it, too: ``whole.kept[i]``, whether
    request ``i`` is among the most that can all be on time, and ``whole.room[i]``, the seconds that
    the others of these can spare it, infinite where there are none. Both arrays can only be read,
    and only by a feature that is planned.

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

    Termination when every request is finished; truncation only after the ``max_episode_steps`` of
    ``gym.make`` or ``gym.make_vec``, if they are given one. With decisions at layers,
    the number of steps is the number of layers of all requests.

    ## Info

    ``time_s``, ``queue_size``, ``action_mask``, ``invalid_action``; who ran in the step, by
    ``request`` (an index into the workload), ``model`` (its network, an index into
    ``store.models``) and ``ran_s`` (what its layers took, in seconds), after `reset` -1, -1 and 0;
    in the last step ``metrics``, as of `dysta_gym.metrics.measure`. With ``metrics="always"``,
    every info has them, NaN before the end, for recorders that want the same keys in every step,
    such as Minari's:
    ``minari.DataCollector(gym.make("SparseMultiDNN-v0", metrics="always"), record_infos=True)``.

    ## Rendering

    `render` shows the queue with deadlines and slack, the layer that ran last and its sparsity, and
    who ran in the last stretch, one colour a network; what is late is red. ``"rgb_array"`` gives a
    picture of shape ``(544, 960, 3)``, ``"ansi"`` a text for a terminal, and ``"human"`` shows
    every step by itself: in a window, which needs pygame, or as text where there is none.
    ``gymnasium.wrappers.RecordVideo`` makes a video of pictures, which needs moviepy; the extra
    ``render`` has both. The slack of a request is the time to its deadline, less ``R``.

    ## Arguments

    ```python
    import gymnasium as gym
    import dysta_gym

    env = gym.make("SparseMultiDNN-v0", scenario="multi-attnn", load=1.05, slots=64)
    ```

    Processes that have not imported ``dysta_gym``, such as the workers of Stable-Baselines3, RLlib
    or `gymnasium.vector.AsyncVectorEnv` where they are spawned, find it by the name
    ``"dysta_gym:SparseMultiDNN-v0"``, which imports the package. What an environment has been told
    stays, but for the penalty: ``env.unwrapped.penalty`` may be set at any time. Its calls come one
    after the other, from whatever threads, and after one that was broken off it goes on, or asks
    for another `reset`.

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
    | `metrics`        | str           | `"end"`         | `"end"` or `"always"`, see Info         |
    | `render_mode`    | str           | `None`          | see Rendering                           |

    ## Version History

    * v0: first version
    """

    metadata: dict[str, Any] = {  # noqa: RUF012, as Gymnasium declares it
        "render_modes": list(RENDER_MODES),
        "render_fps": FPS,
    }

    _stays = frozenset({"_at", "_to", "_here", "_step"})  # places in memory
    _fixed = FIXED | {"metrics"}

    def __init__(
        self,
        scenario: str | Mapping[str, Any] | Scenario = "multi-attnn",
        *,
        metrics: str = "end",
        **settings: Any,
    ) -> None:
        """Raises `DystaError` if an argument is not allowed."""
        if metrics not in _METRICS:
            raise one_of("metrics", metrics, _METRICS)
        checked = Settings(scenario, **settings)
        self.render_mode = checked.render_mode
        self.settings = checked
        self.action_space = self.settings.action_space()
        self.observation_space = self.settings.observation_space()
        self.machine: Machine | None = None
        self._slots = self.settings.slots
        self._always = metrics == "always"
        self._pending: dict[str, float] | None = None  # metrics until the end, if they are told
        self._running = False
        self._window = Window(FPS) if self.render_mode == "human" else None
        self._more = self._always or self._window is not None  # to be told in every step
        self._outcome = new_outcome(1, self.settings.slots, self.settings.observed())
        self._guard()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; see Starting State.

        Raises:
            DystaError: If an option is unknown or its workload is not usable.
        """
        with self._lock:
            super().reset(seed=seed)
            workload = self._workload(seed, options)
            terms = self.settings.terms(workload.store, workload.reference)
            machine = Machine(workload, self.level, record=self.render_mode is not None)
            episode = episode_of(machine, terms)
            self._running = False  # should this be broken off
            self._episode, self.machine = episode, machine
            self._pending = unmeasured(workload) if self._always else None
            self._place()
            _, copy_observation, copy_mask = self._step
            try:
                start(self._at.address, self._to.address, 0)
            except Exception as error:
                raise self._fault(error) from error
            info = {
                "time_s": self._outcome.time_s.item(),
                "queue_size": self._outcome.queue_size.item(),
                "action_mask": copy_mask(),
                "invalid_action": False,
                "request": -1,
                "model": -1,
                "ran_s": 0.0,
            }
            if self._pending:
                info["metrics"] = self._pending.copy()
            observation = copy_observation()
            self._running = True
            if self._window:
                self._window.show(self._scene())
            return observation, info

    def _break_off(self) -> None:
        self._running = False
        self._outcome.forget(self._slots)

    def _place(self) -> None:
        if self.machine is None:
            return
        self._episode = self.settings.here(self._episode)
        self._at = Placed(self._episode, EPISODE_TYPE)
        self._to = Placed(self._outcome, OUTCOME_TYPE)
        # With what every step would have to look up again: copies of what it has written.
        observation, mask = self._outcome.observations[0], self._outcome.masks[0].view(np.int8)
        self._here = Placed(Place(self._at.address, self._to.address), PLACE_TYPE)
        self._step = self._here.address, observation.copy, mask.copy

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
        with self._lock:
            if not self._running:
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
                place, copy_observation, copy_mask = self._step
                try:
                    told = turn_alone(place, slot)
                except Exception as error:
                    raise self._fault(error) from error
                reward, terminated, invalid, time_s, size, request, model, ran_s = told
                info: dict[str, Any] = {
                    "time_s": time_s,
                    "queue_size": size,
                    "action_mask": copy_mask(),
                    "invalid_action": invalid,
                    "request": request,
                    "model": model,
                    "ran_s": ran_s,
                }
                if terminated or self._more:
                    self._tell_more(terminated, info)
                return copy_observation(), reward, terminated, False, info
            except BaseException:  # an interrupt, or what the formula of a reward raises
                self._break_off()
                raise

    def _tell_more(self, terminated: bool, info: dict[str, Any]) -> None:
        """What not every step of every environment tells."""
        if terminated:
            self._running = False
            info["metrics"] = measure(cast(Machine, self.machine).schedule())
        elif self._pending:
            info["metrics"] = self._pending.copy()
        if self._window:
            self._window.show(self._scene())

    def _fault(self, error: Exception) -> DystaError:
        """What is raised where a formula fails."""
        told = self.settings.fault(self._at.address, self._to.address, 0, error)
        return DystaError(f"{told}; correct it, and reset")

    def render(self) -> NDArray[np.uint8] | str | None:
        """Draw what there is to be seen, as ``render_mode`` has it; see Rendering.

        Raises:
            DystaError: If no episode has been started.
        """
        with self._lock:
            if self.render_mode is None:
                warn_of_no_mode(RENDER_MODES)
                return None
            scene = self._scene()
            if self._window:
                self._window.show(scene)
                return None
            return drawn(scene, self.render_mode)

    def _scene(self) -> Scene:
        if self.machine is None:
            raise DystaError("render: no episode has been started; call reset first")
        return scene_of(self._episode, self.machine.workload.store, self.level)

    def close(self) -> None:
        """Close the window, if there is one."""
        with self._lock:
            if self._window:
                self._window.close()

    def action_masks(self) -> NDArray[np.bool_]:
        """Which slots may be chosen, shape ``(slots,)`` (the name that sb3-contrib looks for)."""
        with self._lock:
            return self._outcome.masks[0].copy()

    def action_of(self, policy: Policy | str) -> int:
        """The slot that a policy would choose, at this environment's level of information.

        To be asked once a step: some policies remember what they have seen. Only slots can be
        chosen, so an episode equals that of `dysta_gym.simulate` where the queue fits into them.
        """
        with self._lock:
            machine = self.machine
            if not self._running or machine is None or machine.done:
                raise DystaError("action_of: no episode is running; call reset first")
            rule = find(policy) if isinstance(policy, str) else policy
            return machine.choose(rule, among=self.slots)


def _documented(text: str) -> str:
    """The page of the environment, with the tables of features and rewards filled in."""
    shown = select(DEFAULT)
    others = [each for name, each in TABLE.own.items() if name not in DEFAULT]
    planned = [f"``{each.name}``" for each in others if each.planned]
    parts = {
        "{default}": page(shown.requests) + "\n\n" + page(shown.queue),
        "{others}": page(others),
        "{planned}": ", ".join(planned[:-1]) + " and " + planned[-1],
        "{rewards}": rewards_page(),
        "{width}": str(len(shown.requests)),
        "{rest}": str(len(shown.queue)),
    }
    for key, part in parts.items():
        text = text.replace(key, part.replace("\n", "\n    "))
    return text


SparseMultiDNNEnv.__doc__ = _documented(SparseMultiDNNEnv.__doc__ or "")
