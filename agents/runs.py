"""A training run: a folder that it lives in, what it validates and keeps, and how it goes on."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import signal
import sqlite3
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from dysta_gym.agents.checkpoints import Checkpoint, load
from dysta_gym.agents.judging import judge_of
from dysta_gym.agents.protocol import REFERENCE, VALIDATION, bench, training_seed
from dysta_gym.agents.recipes import Recipe, Reinforcement, Workloads, load_recipe, without_idle
from dysta_gym.archives import TEXT_LIMIT, arrays_in, read_arrays
from dysta_gym.errors import DystaError, shown
from dysta_gym.files import check_folder, is_file, is_scratch, replacing, visible, write_text
from dysta_gym.lazy import cached_property
from dysta_gym.plugins import warn
from dysta_gym.provenance import scenario_digest
from dysta_gym.signals import ENDING
from dysta_gym.workloads import Scenario, load_scenario
from dysta_gym.writers import WRITER, only_writer

CHECKPOINT, STATE, RECIPE = "checkpoint.npz", "state.npz", "recipe.yaml"
"""Files of a run: the best network so far, what resuming needs, and what is trained how."""

FORMAT = 3
"""Version of the state's format."""

_OLD_STATE = "state.pkl"
"""Where the state of format 1 was, all of it a pickle."""

_LOGS = "events.out.tfevents.*"
"""The files that TensorBoard reads."""

_TEXTS = {"format": TEXT_LIMIT, "record": TEXT_LIMIT}

_HEADER = 1024
"""Bytes that an npy file may take beside its numbers."""

_ADVICE = "no state of a run ({}); start again in another folder"

_T = TypeVar("_T")

Arrays = Mapping[str, NDArray[Any]]
"""What a method keeps, by name."""

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
        reference: Name of the reference.
        preference: What violations and ANTT are shown at, of a network that is told a preference;
            NaN of any other.
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
    reference: str = REFERENCE
    preference: float = np.nan


class Interrupted(Exception):
    """The run has been asked to stop, and has saved its state.

    Attributes:
        number: The signal that asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Run:
    """A training run; a context, outside which others may write to its folder.

    Attributes:
        recipe: How it trains.
        seed: Its seed.
        steps: Steps in all.
        kept: Names of the arrays that the method kept at the step that the run goes on from; none
            at the start.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        out: Path,
        steps: int | None,
        *,
        resume: bool,
        report: Callable[[Report], None],
    ) -> None:
        self.recipe, self.seed, self.out, self.steps = recipe, seed, out, steps or recipe.steps
        self.kept: frozenset[str] = frozenset()
        self._report = report
        self._logs: dict[str, int] = {}
        self._pending: dict[str, float] = {}
        self._best, self._validated, self._spent = np.inf, -1, 0.0
        self._history: list[dict[str, float]] = []
        self._stopping: int | None = None
        self._lock: sqlite3.Connection | None = None
        try:
            self._origin = _origin(recipe)
            self._open(resume, steps)
            self._began = time.monotonic() - self._spent
            self.judge = judge_of(recipe)
            validation = recipe.workloads.validation
            self._bench = bench(recipe.workloads, VALIDATION, validation, self.judge.reference)
            reference = self.judge.reference
            self._last = Report(max(0, self._validated), self.steps, reference=reference)
            self._report(self._last)
        except BaseException:
            self.__exit__()
            raise

    def _open(self, resume: bool, steps: int | None) -> None:
        """Make the run's folder, or read the state in it."""
        check_folder(self.out)
        self._check_folder(resume)
        try:
            self._lock = only_writer(self.out)
        except sqlite3.OperationalError as error:  # some file systems of clusters have no locks
            warn(f"out: {str(self.out)!r} cannot be locked ({error}); see that only this run is in")
        except OSError as error:
            reason = error.strerror or str(error)
            raise DystaError(f"out: {str(self.out)!r} cannot be written ({reason})") from None
        state = self.out / STATE
        if resume and state.exists():
            self._read(state, steps)
            return
        if resume and (self.out / CHECKPOINT).exists():  # kept before there was a state
            record = load(self.out / CHECKPOINT).record
            its = {key: record.get(key) for key in self._identity()}
            self._check(self.out / CHECKPOINT, its)
        # What stopped before there was anything to keep starts over.
        self._write_recipe()

    def _check_folder(self, resume: bool) -> None:
        """Refuse a folder that holds what is not this run's, before anything is written to it."""
        there = set[str]()
        if self.out.exists():
            there = {path.name for path in self.out.iterdir() if not is_scratch(path)}
        if resume and STATE in there:
            return
        if resume and _OLD_STATE in there:
            raise DystaError(
                f"resume: {str(self.out / _OLD_STATE)!r} is of format 1; this version reads "
                f"{FORMAT}: start again in another folder, or install the version that wrote it"
            )
        if not resume and there and not (WRITER in there and there <= self._without_numbers()):
            raise DystaError(
                f"out: {str(self.out)!r} is not empty; resume the run in it with --resume, or "
                "choose another folder"
            )
        if resume and there - {WRITER} and RECIPE not in there:
            raise DystaError(
                f"resume: there is no run in {str(self.out)!r}; choose the folder of one, or a "
                "new one"
            )
        if resume and not there:  # it may have been stopped before there was anything
            warn(f"resume: nothing is in {str(self.out)!r} yet; the run begins there")

    def _without_numbers(self) -> set[str]:
        """What is in the folder of a run that has kept no network yet."""
        return {WRITER, RECIPE, *(path.name for path in self._log_files())}

    def _check(self, path: Path, its: Mapping[str, Any]) -> None:
        """Refuse to go on beside a file of the folder that is of another recipe or seed."""
        its = {"recipe": _as_written_now(its["recipe"]), "seed": its["seed"]}
        for key, mine in self._identity().items():
            if mine != its[key]:
                there = "there" if self._recipe_there() == its["recipe"] else "as it was"
                raise DystaError(
                    f"resume: the {key} is not that of {str(path)!r} "
                    f"({_difference(mine, its[key])}); resume it with {RECIPE} {there} and seed "
                    f"{its['seed']}, or choose another folder"
                )

    def _check_origin(self, its: Mapping[str, str]) -> None:
        """Refuse to go on with files that the recipe names, and that have changed."""
        for name, digest in self._origin.items():
            if its.get(name, digest) != digest:
                raise DystaError(
                    f"resume: {name} is not what it was when the run in {str(self.out)!r} began; "
                    "put it back, or choose another folder"
                )

    def _recipe_there(self) -> Any:
        """What stands in the folder's recipe, as far as it can be read."""
        try:
            return load_recipe(self.out / RECIPE).model_dump(mode="json")
        except (DystaError, OSError):
            return None

    def _write_recipe(self) -> None:
        write_text(self.out / RECIPE, yaml.safe_dump(self._identity()["recipe"], sort_keys=False))

    def _identity(self) -> dict[str, Any]:
        """What a run that is resumed must have in common with this one."""
        return {"recipe": self.recipe.model_dump(mode="json"), "seed": self.seed}

    def _read(self, state: Path, steps: int | None) -> None:
        """Go on from a saved state; with as many steps as it had, unless told otherwise."""
        where = f"resume: {str(state)!r}"
        texts = read_arrays(state, where, _TEXTS, _ADVICE)
        try:
            version = int(texts["format"])
            if version != FORMAT:
                raise DystaError(
                    f"{where} is of format {shown(version)}; this version reads {FORMAT}: "
                    "start again in another folder, or install the version that wrote it"
                )
            record = json.loads(str(texts["record"]))
            self._check(state, record)
            self._check_origin(record.get("origin", {}))
            self.steps = steps or int(record["steps"])
            done = min(int(record["validated"]), int(record["steps"]))
            if self.steps < done:
                raise DystaError(
                    f"steps: {self.steps} is not allowed, for the run in {str(self.out)!r} has "
                    f"done {done}; give more, or leave it out"
                )
            self._best, self._spent = float(record["best"]), float(record["spent"])
            self._validated, self._history = int(record["validated"]), list(record["history"])
            self._logs = {str(name): int(size) for name, size in record["logs"].items()}
            self._pending = {str(name): float(value) for name, value in record["pending"].items()}
        except DystaError:
            raise
        except Exception as error:  # a damaged file raises anything
            raise self.damaged(error) from None
        self.kept = arrays_in(state, where, _ADVICE) - set(_TEXTS)
        mine = self._identity()["recipe"]
        if (there := self._recipe_there()) != mine:
            if (self.out / RECIPE).exists():
                told = _difference(there, mine) if there else "it cannot be read"
                warn(f"resume: {RECIPE} was not that of the run ({told}); it is written again")
            self._write_recipe()

    def restored(self, like: Arrays, rows: Mapping[str, int] | None = None) -> dict[str, Any]:
        """The arrays that the method kept.

        Args:
            like: Arrays of the same names, types and shapes.
            rows: Of which arrays the first axis may be of another length, and how long it may be.

        Raises:
            DystaError: If the file holds others, or none.
        """
        where, most = f"resume: {str(self.out / STATE)!r}", rows or {}
        limits = {
            name: _HEADER + array.nbytes
            if name not in most
            else _HEADER + most[name] * array.itemsize * math.prod(array.shape[1:])
            for name, array in like.items()
        }
        for name in sorted(self.kept - set(like)):
            raise self.damaged(ValueError(f"array {shown(name)} is unknown"))
        found = read_arrays(self.out / STATE, where, limits, _ADVICE, together=sum(limits.values()))
        for name, array in like.items():
            if name not in found:
                raise self.damaged(ValueError(f"array {name!r} is missing"))
            there, first = found[name], int(name in most)
            same = there.ndim == array.ndim and there.shape[first:] == array.shape[first:]
            if not same or there.dtype != array.dtype:
                raise self.damaged(
                    ValueError(
                        f"array {name!r} is of {there.dtype} and shape {there.shape}, not of "
                        f"{array.dtype} and shape {array.shape}"
                    )
                )
            if first and len(there) > most[name]:
                raise self.damaged(
                    ValueError(f"array {name!r} has {len(there)} rows; it may have {most[name]}")
                )
        return found

    def damaged(self, error: Exception) -> DystaError:
        """What is said of a state that cannot be used."""
        told = " ".join(str(error).split()) or type(error).__name__
        where = f"resume: {str(self.out / STATE)!r}"
        return DystaError(f"{where} is damaged or {_ADVICE.format(told)}")

    def advance(
        self,
        step: int,
        weights: Callable[[], NDArray[np.float64]],
        state: Callable[[], Arrays],
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
        asked = self._stopping if step < self.steps else None
        if due or asked is not None:
            self._save(state())
        self._last = self._last._replace(step=step)
        self._report(self._last)
        if asked is not None:
            raise Interrupted(asked)

    def _validate(self, step: int, weights: NDArray[np.float64], candidate: bool) -> None:
        policies = self.judge.policies(self.checkpoint(weights))
        points, reference = self._bench.measure_all(policies), self._bench.reference
        with warnings.catch_warnings():  # the mean of no numbers
            warnings.simplefilter("ignore", RuntimeWarning)
            cost = self.judge.objective(self._bench.apart(points), self._bench.apart(reference))
        if math.isnan(cost):
            raise DystaError(
                "workloads: nobody is late in validation, so nothing can be compared; give more "
                + ("mixes" if self._bench.random else "requests, load,")
                + " or workloads of validation"
            )
        measured = points[self.judge.shown]
        mean, base = (each.mean(axis=(0, 1)).tolist() for each in (measured, reference))
        self._history.append(
            {"step": step, "violation_rate": mean[0], "antt": mean[1], "objective": cost}
        )
        if candidate and cost < self._best:
            self._best = cost
            record = self._record(step, points, cost)
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
            reference=self.judge.reference,
            preference=self.judge.preference,
        )
        scores = self._bench.scores(measured)
        own = {"validation/objective": cost, "validation/best": self._best}
        for name, value in (scores | own).items():
            self.logger.record(name, value)
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

    def _record(self, step: int, points: NDArray[np.float64], cost: float) -> dict[str, Any]:
        """How the network was trained, and what it is worth."""
        bench, judge = self._bench, self.judge
        mean, base = points[judge.shown].mean(axis=1), bench.reference.mean(axis=1)
        slo = self.recipe.workloads.slo_multiplier
        against = judge.reference.partition("@")[0]
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "step": step,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "versions": {"python": platform.python_version(), **_versions()},
            "seeds": {
                "training, from": training_seed(self.seed),
                "validation": [bench.seeds[0], bench.seeds[-1]],
            },
            "split": "train",
            "objective": cost,
            **judge.record(bench.apart(points), bench.apart(bench.reference)),
            "validation": [
                {
                    "scenario": condition.name,
                    **(
                        {"load": condition.load, "slo": slo}
                        if isinstance(condition, Scenario)
                        else {}
                    ),
                    "violation_rate": ours[0],
                    "antt": ours[1],
                    f"{against}_violation_rate": theirs[0],
                    f"{against}_antt": theirs[1],
                }
                for condition, ours, theirs in zip(
                    bench.conditions, mean.tolist(), base.tolist(), strict=True
                )
            ],
            "history": self._history,
        }

    def close(self) -> Checkpoint:
        """Add to the best checkpoint's record what came after it; the checkpoint."""
        best = load(self.out / CHECKPOINT)
        last = {"steps": self.steps, "seconds": round(self.seconds, 1), "history": self._history}
        record = {**best.record, **last}
        best = replace(best, record=record)
        best.save(self.out / CHECKPOINT)
        return best

    @property
    def seconds(self) -> float:
        """Time that the run has taken so far, without what lay between its sessions."""
        return time.monotonic() - self._began

    @cached_property
    def logger(self) -> Any:
        """Stable-Baselines3's, which writes for TensorBoard.

        It goes on where the saved state was: what a session that was killed has logged after that
        is logged again.
        """
        for path in self._log_files():
            size = self._logs.get(path.name, 0)
            if not size:
                path.unlink()
            elif size < path.stat().st_size:
                os.truncate(path, size)
        logger = _logger(self.out)
        for name, value in self._pending.items():
            logger.record(name, value)
        return logger

    def _log_files(self) -> list[Path]:
        """The run's logs; what a link leads to is none of its own."""
        return [p for p in visible(self.out, _LOGS) if stat.S_ISREG(p.lstat().st_mode)]

    def _logged(self) -> dict[str, Any]:
        """Sizes of the logs, and what will be logged next."""
        values, excluded = self.logger.name_to_value, self.logger.name_to_excluded
        return {
            "logs": {path.name: path.stat().st_size for path in self._log_files()},
            "pending": {
                name: float(value)
                for name, value in values.items()
                if "tensorboard" not in excluded[name]
            },
        }

    def _save(self, method: Arrays) -> None:
        record = {
            **self._identity(),
            "origin": self._origin,
            "steps": self.steps,
            "best": self._best,
            "validated": self._validated,
            "spent": self.seconds,
            "history": self._history,
            **self._logged(),
        }
        arrays: dict[str, Any] = {"format": FORMAT, "record": json.dumps(record), **method}
        with replacing(self.out / STATE) as scratch:
            np.savez(scratch, **arrays)
            # Others may not write into it, whatever the process gives new files.
            scratch.chmod(scratch.stat().st_mode & 0o755)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within this block, a first interrupt asks the run to stop, and a second one stops it.

        That is SIGINT, and what else somebody handles of what ends a process, as the command does.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {}

        def ask(number: int, frame: Any) -> None:
            self._stopping = number
            give_back()

        def give_back() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        for number in ENDING:
            if callable(handler := signal.getsignal(number)):
                before[number] = handler
        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            give_back()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def under(name: str, arrays: Mapping[str, _T]) -> dict[str, _T]:
    """Arrays, or what is said of them, with their part's name before their own."""
    return {f"{name}.{own}": array for own, array in arrays.items()}


def part_of(arrays: Arrays, name: str) -> dict[str, NDArray[Any]]:
    """Those that `under` has named so, by their own names."""
    first = f"{name}."
    return {own.removeprefix(first): a for own, a in arrays.items() if own.startswith(first)}


def _origin(recipe: Recipe) -> dict[str, str]:
    """Digests of what a recipe names, by what an error calls it."""
    found = {}
    for name in recipe.workloads.scenarios:
        scenario = load_scenario(name)
        if recipe.workloads.requests is not None:
            scenario = scenario.replaced(requests=recipe.workloads.requests)
        called = f"scenario {name!r} (its file, traces or recorded requests)"
        found[called] = scenario_digest(scenario)
    if isinstance(recipe, Reinforcement) and recipe.imitate:
        teacher = recipe.imitate.teacher
        if is_file(teacher):
            network = load(teacher)
            made = hashlib.sha256(network.weights.tobytes())
            made.update(repr((network.network, network.width, network.features)).encode())
            found[f"teacher {teacher!r}"] = made.hexdigest()
    return found


def _as_written_now(recipe: Any) -> Any:
    """A recipe in a record; earlier versions had fewer fields, and wrote some that do not count."""
    workloads = recipe.get("workloads") if isinstance(recipe, Mapping) else None
    if not isinstance(workloads, Mapping):
        return recipe
    unsaid = {name: field.default for name, field in Workloads.model_fields.items()}
    return {**recipe, "workloads": without_idle({**unsaid, **workloads})}


def _difference(mine: Any, its: Any) -> str:
    """Where two trees are apart first: the place, what is there, and what should be."""
    path: list[str] = []
    while isinstance(mine, Mapping) and isinstance(its, Mapping):
        # A field may be missing in what another version has written.
        pairs = ((key, mine.get(key, ...), its.get(key, ...)) for key in (*mine, *its))
        key, mine, its = next(pair for pair in pairs if pair[1] != pair[2])
        path.append(str(key))
    one, other = ("nothing" if each is ... else shown(each) for each in (mine, its))
    return f"{'.'.join(path)}{': ' if path else ''}{one}, not {other}"


def warn_of_rounding() -> None:
    """Say that a run goes on where numbers come out a little different."""
    warn(
        "resume: this processor rounds in another way than the one that the run began on; "
        "it goes on, but not to the last bit as it would have there"
    )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("dysta-gym", *PACKAGES)}


def _logger(out: Path) -> Any:
    from stable_baselines3.common.logger import Logger, make_output_format

    class Checked(Logger):
        """One that says in a line that it cannot write."""

        def dump(self, step: int = 0) -> None:
            with _logging_to(out):
                super().dump(step)

    with _logging_to(out):
        return Checked(str(out), [make_output_format("tensorboard", str(out))])


@contextmanager
def _logging_to(out: Path) -> Iterator[None]:
    """Within this block, logs are written: by a thread, which dies if it cannot.

    Raises:
        DystaError: If they cannot be written.
    """

    def died(of: threading.ExceptHookArgs) -> None:
        if getattr(of.thread, "exception", None) is not of.exc_value:
            before(of)

    before, threading.excepthook = threading.excepthook, died
    try:
        yield
    except OSError as error:  # the thread's, which it has left for us
        reason = error.strerror or str(error)
        raise DystaError(f"the logs in {str(out)!r} cannot be written ({reason})") from None
    finally:
        for thread in threading.enumerate():
            if getattr(thread, "exception", None) is not None:
                thread.join()
        threading.excepthook = before
