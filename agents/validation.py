"""A callback of Stable-Baselines3 that says what a model is worth while it learns."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysta_gym.agents.evaluation import evaluate, settings
from dysta_gym.agents.exporting import export
from dysta_gym.agents.protocol import REFERENCE, VALIDATION, Bench
from dysta_gym.errors import DystaError
from dysta_gym.extras import extra
from dysta_gym.policies import Policy
from dysta_gym.workloads import Scenario, load_scenario

with extra("agents", "ValidationCallback"):
    from stable_baselines3.common.callbacks import BaseCallback


class ValidationCallback(BaseCallback):
    """Judges a model on fixed workloads as it learns: ``learn(n, callback=ValidationCallback())``.

    The return of an episode misleads while others go on: short ones finish first, and which
    these are depends on the schedule. So every so many steps the model schedules the same
    workloads, which nothing is trained on (the traces' ``train`` inputs, seeds from 1,000), and the
    model's logger, for TensorBoard or what else it has, is told

    - ``validation/violation_rate`` and ``validation/antt``, means over all of them;
    - ``validation/reference_violation_rate`` and ``validation/reference_antt``, those of Dysta;
    - ``validation/violation_rate_over_bound`` and ``validation/antt_over_bound``, over those of the
      bounds that no schedule beats, the first of them where some requests have to be late;
    - all of these of each condition, ``multi-attnn 1.05/antt`` for instance.

    A network that `export` makes a checkpoint of runs inside the compiled loop, in milliseconds;
    others play as in `evaluate`. Nothing that is learned depends on it.

    A first Ctrl-C (SIGINT) ends the training as if it were over, so that what is done with the
    model after it is done; a second one interrupts.

    Args:
        conditions: Scenarios to validate on, as `dysta_gym.load_scenario` takes them; none for
            those of the training environments.
        workloads: How many of each.
        requests: Requests a workload; None for the scenario's own number.
        every: Steps from one validation to the next, at least.
        share: Share of the training's time that they may take; what would take more is put off.
            The one at the end never is, unless the training was interrupted and it takes long.
        verbose: 1 to print a line for each, 0 for none.
        **told: ``level``, ``slots``, ``features`` and ``decisions`` of a model whose observation
            space does not say so, as of `evaluate`.

    Attributes:
        history: A mapping for each validation: ``step``, and by their names what was logged.

    Raises:
        DystaError: If an argument is not usable; when training starts, if the model is for no
            environment of this package.
    """

    def __init__(
        self,
        conditions: Sequence[str | Path | Mapping[str, Any] | Scenario] = (),
        *,
        workloads: int = 4,
        requests: int | None = None,
        every: int = 10_000,
        share: float = 0.03,
        verbose: int = 1,
        **told: Any,
    ) -> None:
        super().__init__(verbose)
        for name, value in (("workloads", workloads), ("every", every)):
            if type(value) is not int or value < 1:
                raise DystaError(f"{name}: {value!r} is not allowed; it must be 1 or more")
        if not 0 <= share <= 1:
            raise DystaError(f"share: {share!r} is not allowed; it must be 0 to 1")
        if isinstance(conditions, str | Path | Mapping | Scenario):
            raise DystaError(f"conditions: {conditions!r} is not allowed; it must be a list")
        self._given = [load_scenario(each) for each in conditions]
        self._workloads, self._requests, self._told = workloads, requests, told
        self._every, self._share = every, share
        self.history: list[dict[str, float]] = []
        self._bench: Bench | None = None
        self._judged: list[Scenario] = []
        self._compiled = self._stopping = False
        self._before: Any = None

    def _on_training_start(self) -> None:
        network = self._network()
        self._compiled = network is not None
        if network is not None:
            network.compiled()
        else:
            settings(self.model, dict(self._told))  # which raises what is to be told at once
        if self._bench is None:
            self._judged = self._conditions()
            self._bench = Bench(self._judged, range(VALIDATION, VALIDATION + self._workloads))
            _ = self._bench.reference, self._bench.bounds
        self._last, self._at = -1, self.num_timesteps if not self._compiled else -self._every
        self._took = 0.0 if self._compiled else self._estimate(self._bench)
        self._began, self._spent = time.perf_counter(), 0.0
        self._stopping = False
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        self._stopping = True
        self._restore()
        if self.verbose:
            print("Stopping; Ctrl-C again interrupts.", flush=True)

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _on_rollout_start(self) -> None:
        if self.num_timesteps - self._at < self._every:
            return
        if self._spent + self._took <= self._share * (time.perf_counter() - self._began):
            self._validate()

    def _on_step(self) -> bool:
        return not self._stopping

    def _on_training_end(self) -> None:
        self._restore()
        # Who has interrupted waits for what takes its time no more.
        if self.num_timesteps != self._last and (self._compiled or not self._stopping):
            self._validate()

    def _validate(self) -> None:
        start = time.perf_counter()
        assert self._bench is not None
        scores = self._bench.scores(self._measured(self._bench))
        step = self._last = self._at = self.num_timesteps
        self.history.append({"step": step, **scores})
        for name, value in scores.items():
            # Tables on a terminal have room for the whole alone.
            own = not name.startswith("validation/")
            self.logger.record(name, value, exclude="stdout" if own else None)
        self.logger.dump(step)
        if self.verbose:
            print(self._line(step, scores), flush=True)
        self._took = time.perf_counter() - start
        self._spent += self._took

    def _line(self, step: int, scores: Mapping[str, float]) -> str:
        assert self._bench is not None
        late, antt = self._bench.bounds.mean(axis=(0, 1))
        rate, theirs = (
            100 * scores[f"validation/{each}violation_rate"] for each in ("", "reference_")
        )
        return (
            f"step {step:,} of {self.model._total_timesteps:,}: "
            f"violations {rate:.2f} % ({REFERENCE} {theirs:.2f}, bound {100 * late:.2f}), "
            f"ANTT {scores['validation/antt']:.2f} "
            f"({REFERENCE} {scores['validation/reference_antt']:.2f}, bound {antt:.2f})"
        )

    def _conditions(self) -> list[Scenario]:
        """The scenarios given, or those of the training environments, each once."""
        found = self._given
        if not found:
            try:
                found = self.training_env.get_attr("scenario")
            except AttributeError:
                raise DystaError(
                    "conditions: there is none, and the environments have no scenario of their "
                    "own; give some"
                ) from None
            found = [each for at, each in enumerate(found) if each not in found[:at]]
        if self._requests is None:
            return found
        return [each.varied(requests=self._requests) for each in found]

    def _network(self) -> Policy | None:
        """The model as a policy of the compiled loop; None if it is none."""
        try:
            return export(self.model).policy()
        except DystaError as error:
            if isinstance(error, ImportError):
                raise
            return None

    def _measured(self, bench: Bench) -> NDArray[np.float64]:
        """Violation rate and ANTT on each workload, as `Bench.measure` gives them."""
        if network := self._network():
            return bench.measure(network)
        return np.array([self._played(each, bench.seeds) for each in self._judged])

    def _played(self, condition: Scenario, seeds: Sequence[int]) -> NDArray[np.float64]:
        """The same of one condition, for what only an environment runs."""
        usual: dict[str, Any] = {"seeds": seeds, "split": "train", "bounds": False}
        found = evaluate(self.model, [condition], **usual, **self._told)
        return found[["violation_rate", "antt"]].to_numpy()

    def _estimate(self, bench: Bench) -> float:
        """Seconds that playing them all takes, about: of a twentieth of the requests, times 20."""
        first = self._judged[0]
        try:
            short = first.varied(requests=-(-first.requests // 20))
        except DystaError:  # recorded requests are as many as they are
            return 0.0
        start = time.perf_counter()
        self._played(short, bench.seeds)
        return 20 * len(self._judged) * (time.perf_counter() - start)
