"""A training run: a folder that it lives in, what it validates and keeps, and how it goes on."""

from __future__ import annotations

import json
import pickle
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from dysta_gym.agents.checkpoints import Checkpoint, load
from dysta_gym.agents.protocol import (
    REFERENCE,
    VALIDATION,
    Bench,
    conditions,
    objective,
    training_seed,
)
from dysta_gym.agents.recipes import Recipe
from dysta_gym.archives import ARRAY_LIMIT, TEXT_LIMIT, read_arrays
from dysta_gym.errors import DystaError, shown
from dysta_gym.files import NotOwn, check_folder, is_scratch, open_own, open_regular, replacing

CHECKPOINT, STATE, RECIPE = "checkpoint.npz", "state.npz", "recipe.yaml"
"""Files of a run: the best network so far, what resuming needs, and what is trained how."""

FORMAT = 2
"""Version of the state's format."""

_OLD_STATE = "state.pkl"
"""Where the state of format 1 was, all of it a pickle."""

PICKLED = "pickled"
"""The array of a state that is a pickle: its bytes, which run code when they are unpickled."""

_PICKLE_LIMIT = 2**36
"""Bytes that a pickle may take: a replay buffer is large."""

_TEXTS = {"format": TEXT_LIMIT, "record": TEXT_LIMIT}

_ADVICE = "no state of a run ({}); start again in another folder"

_KEPT = {"evolution": ("costs", "mean", "sigma")}
"""The arrays of a method's state; those of other methods are a pickle."""

PACKAGES = ("numpy", "numba", "cma", "torch", "stable-baselines3", "sb3-contrib")


class Report(NamedTuple):
    """How a run is doing.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        validated: Step of the last validation; -1 before the first one.
        violation_rate: Mean over the validation workloads of all conditions; NaN before the first
            validation, as the next four.
        antt: Likewise.
        reference_violation_rate: The reference's on the same.
        reference_antt: Likewise.
        objective: See `dysta_gym.agents.protocol.objective`.
        best: The least objective so far.
    """

    step: int
    steps: int
    validated: int = -1
    violation_rate: float = np.nan
    antt: float = np.nan
    reference_violation_rate: float = np.nan
    reference_antt: float = np.nan
    objective: float = np.nan
    best: float = np.nan


class Interrupted(Exception):
    """The run has been asked to stop, and has saved its state."""


class Run:
    """A training run.

    Attributes:
        recipe: How it trains.
        seed: Its seed.
        steps: Steps in all.
        restored: State of the method at the step that the run goes on from, arrays by name; None
            at the start.
        logger: Stable-Baselines3's, which writes for TensorBoard.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        out: Path,
        steps: int | None,
        *,
        resume: bool,
        trust: bool,
        report: Callable[[Report], None],
    ) -> None:
        self.recipe, self.seed, self.out, self.steps = recipe, seed, out, steps or recipe.steps
        self.restored: dict[str, NDArray[Any]] | None = None
        self._report, self._trust = report, trust
        self._best, self._validated, self._spent = np.inf, -1, 0.0
        self._history: list[dict[str, float]] = []
        self._stopping = False
        self._open(resume, steps)
        self._began = time.monotonic() - self._spent
        validation = range(VALIDATION, VALIDATION + recipe.workloads.validation)
        self._bench = Bench(conditions(recipe.workloads), validation)
        self.logger = _logger(out)
        self._last = Report(max(0, self._validated), self.steps)
        self._report(self._last)

    def _open(self, resume: bool, steps: int | None) -> None:
        """Make the run's folder, or read the state in it."""
        check_folder(self.out)
        state = self.out / STATE
        mine = self._identity()
        if resume and state.exists():
            self._read(state, mine, steps)
            return
        if resume and (self.out / _OLD_STATE).exists():
            raise DystaError(
                f"resume: {str(self.out / _OLD_STATE)!r} is of format 1; this version reads "
                f"{FORMAT}: start again in another folder, or install the version that wrote it"
            )
        if resume and not (self.out / RECIPE).exists():
            raise DystaError(
                f"resume: there is no run in {str(self.out)!r}; start without --resume"
            )
        # What stopped before there was anything to keep starts over.
        if not resume and self.out.exists() and not all(map(is_scratch, self.out.iterdir())):
            raise DystaError(
                f"out: {str(self.out)!r} is not empty; resume the run in it with --resume, or "
                "choose another folder"
            )
        with replacing(self.out / RECIPE) as scratch:
            scratch.write_text(yaml.safe_dump(mine["recipe"], sort_keys=False), encoding="utf-8")

    def _identity(self) -> dict[str, Any]:
        """What a run that is resumed must have in common with this one."""
        return {"recipe": self.recipe.model_dump(mode="json"), "seed": self.seed}

    def _read(self, state: Path, mine: Mapping[str, Any], steps: int | None) -> None:
        """Go on from a saved state; with as many steps as it had, unless told otherwise."""
        where, kept = f"resume: {str(state)!r}", _KEPT.get(self.recipe.method, (PICKLED,))
        try:
            # What is looked at before it is trusted is what is read.
            own = PICKLED in kept and not self._trust
            with open_own(state) if own else open_regular(state, where) as file:
                texts = read_arrays(file, where, _TEXTS, _ADVICE)
                version = int(texts["format"])
                if version != FORMAT:
                    raise DystaError(
                        f"{where} is of format {shown(version)}; this version reads {FORMAT}: "
                        "start again in another folder, or install the version that wrote it"
                    )
                record = json.loads(str(texts["record"]))
                for key, value in mine.items():
                    if record[key] != value:
                        raise DystaError(
                            f"resume: the {key} is not that of the run in {str(self.out)!r}; "
                            f"resume it with {RECIPE} there and seed {record['seed']}"
                        )
                self.steps = steps or int(record["steps"])
                self._best, self._spent = float(record["best"]), float(record["spent"])
                self._validated, self._history = int(record["validated"]), list(record["history"])
                limit = _PICKLE_LIMIT if PICKLED in kept else ARRAY_LIMIT
                found = read_arrays(file, where, dict.fromkeys(kept, limit), _ADVICE)
                self.restored = {name: found[name] for name in kept}
        except NotOwn as error:
            raise DystaError(
                f"{where} {error.strerror}, and a state of {self.recipe.method!r} runs code when "
                "it is read; resume it with --trust (in Python, trust=True) if you know whose it is"
            ) from None
        except DystaError:
            raise
        except Exception as error:  # a damaged file raises anything
            raise self.damaged(error) from None

    def damaged(self, error: Exception) -> DystaError:
        """What is said of a state that cannot be used."""
        told = " ".join(str(error).split()) or type(error).__name__
        where = f"resume: {str(self.out / STATE)!r}"
        return DystaError(f"{where} is damaged or {_ADVICE.format(told)}")

    def advance(
        self,
        step: int,
        weights: Callable[[], NDArray[np.float64]],
        state: Callable[[], Mapping[str, NDArray[Any]]],
        *,
        candidate: bool = True,
    ) -> None:
        """Say that a step is done: validate, save and report where it is time to.

        Args:
            step: Steps done.
            weights: Gives the weights of the network.
            state: Gives what the method needs to go on from here, arrays by name.
            candidate: Whether the network may be the one that is kept, before the last step.

        Raises:
            Interrupted: If the run has been asked to stop.
        """
        every = self.recipe.validate_every
        due = step // every > self._validated // every or step >= self.steps
        if due and step > self._validated:
            self._validated = step
            self._validate(step, weights(), candidate or step >= self.steps)
        stop = self._stopping and step < self.steps
        if due or stop:
            self._save(state())
        self._last = self._last._replace(step=step)
        self._report(self._last)
        if stop:
            raise Interrupted

    def _validate(self, step: int, weights: NDArray[np.float64], candidate: bool) -> None:
        measured = self._bench.measure(self.checkpoint(weights).policy())
        cost = float(objective(measured, self._bench.reference))
        mean, base = (each.mean(axis=(0, 1)).tolist() for each in (measured, self._bench.reference))
        self._history.append(
            {"step": step, "violation_rate": mean[0], "antt": mean[1], "objective": cost}
        )
        if candidate and cost < self._best:
            self._best = cost
            record = self._record(step, measured, cost)
            self.checkpoint(weights, record).save(self.out / CHECKPOINT)
        self._last = Report(
            step=step,
            steps=self.steps,
            validated=step,
            violation_rate=mean[0],
            antt=mean[1],
            reference_violation_rate=base[0],
            reference_antt=base[1],
            objective=cost,
            best=self._best,
        )
        for name, value in list(self._last._asdict().items())[3:]:
            self.logger.record(f"validation/{name}", value)
        self.logger.dump(step)

    def checkpoint(
        self, weights: NDArray[np.float64], record: Mapping[str, Any] | None = None
    ) -> Checkpoint:
        """The recipe's network with these weights."""
        recipe, network = self.recipe, self.recipe.network
        seen = recipe.seen.names
        return Checkpoint(
            recipe.name, network.kind, network.width, seen, weights, recipe.level, record or {}
        )

    def _record(self, step: int, measured: NDArray[np.float64], cost: float) -> dict[str, Any]:
        """How the network was trained, and what it is worth."""
        mean, base = measured.mean(axis=1), self._bench.reference.mean(axis=1)
        workloads = self.recipe.workloads
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "step": step,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "versions": {"python": platform.python_version(), **_versions()},
            "seeds": {
                "training, from": training_seed(self.seed),
                "validation": [self._bench.seeds[0], self._bench.seeds[-1]],
            },
            "split": "train",
            "objective": cost,
            "validation": [
                {
                    "scenario": condition.name,
                    "load": condition.load,
                    "slo": workloads.slo_multiplier,
                    "violation_rate": ours[0],
                    "antt": ours[1],
                    f"{REFERENCE}_violation_rate": theirs[0],
                    f"{REFERENCE}_antt": theirs[1],
                }
                for condition, ours, theirs in zip(
                    self._bench.conditions, mean.tolist(), base.tolist(), strict=True
                )
            ],
            "history": self._history,
        }

    def close(self) -> Checkpoint:
        """Add to the best checkpoint's record what came after it; the checkpoint."""
        best = load(self.out / CHECKPOINT)
        record = {**best.record, "seconds": round(self.seconds, 1), "history": self._history}
        best = replace(best, record=record)
        best.save(self.out / CHECKPOINT)
        return best

    @property
    def seconds(self) -> float:
        """Time that the run has taken so far, without what lay between its sessions."""
        return time.monotonic() - self._began

    def _save(self, method: Mapping[str, NDArray[Any]]) -> None:
        record = {
            **self._identity(),
            "steps": self.steps,
            "best": self._best,
            "validated": self._validated,
            "spent": self.seconds,
            "history": self._history,
        }
        arrays: dict[str, Any] = {"format": FORMAT, "record": json.dumps(record), **method}
        with replacing(self.out / STATE) as scratch:
            np.savez(scratch, **arrays)
            # Others may not write into it, whatever the process gives new files: see `open_own`.
            scratch.chmod(scratch.stat().st_mode & 0o755)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within this block, a first SIGINT asks the run to stop, and a second one stops it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            self._stopping = True
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def pickled(state: object) -> dict[str, NDArray[np.uint8]]:
    """The state of a method whose libraries have no other way to keep it."""
    return {PICKLED: np.frombuffer(pickle.dumps(state), np.uint8)}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("dysta-gym", *PACKAGES)}


def _logger(out: Path) -> Any:
    from stable_baselines3.common.logger import configure

    return configure(str(out), ["tensorboard"])
