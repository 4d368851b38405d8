"""Training an agent: a recipe, a method, a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from dysta_gym.agents.checkpoints import Checkpoint
from dysta_gym.agents.recipes import Recipe, Reinforcement, load_recipe
from dysta_gym.agents.runs import Interrupted, Report, Run
from dysta_gym.errors import DystaError
from dysta_gym.extras import extra

_METHODS = {
    "evolution": ("dysta_gym.agents.evolution", "evolve"),
    "pareto": ("dysta_gym.agents.evolution", "evolve"),
    "ppo": ("dysta_gym.agents.reinforcement", "ppo"),
    "dqn": ("dysta_gym.agents.reinforcement", "dqn"),
}
"""Where the function is that trains by a method."""


def train(
    recipe: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
    report: Callable[[Report], None] = lambda report: None,
) -> Checkpoint | None:
    """Train an agent.

    The folder holds ``recipe.yaml``, ``checkpoint.npz``, the network that did best on the
    validation workloads, logs for TensorBoard, ``state.npz``, which resuming reads, and
    ``writer.sqlite``, which is locked as long as a process trains there. A run that was
    interrupted or killed, at whatever moment, and is resumed gives what it would have given
    otherwise. The state is plain arrays: no code in it is run.

    Args:
        recipe: Name of a recipe in the package, YAML file, or mapping of its fields.
        out: Folder for the run, empty unless it is resumed.
        steps: Steps in all; None for the recipe's, or those of the run that is resumed.
        seed: Seed of the run.
        resume: Go on with the run in the folder, or begin it where nothing is yet.
        report: Called with a `Report` after each step.

    Returns:
        The network that did best on the validation workloads; None if the run was interrupted
        (SIGINT, and SIGTERM or SIGHUP where the program handles them), which saves its state.

    Raises:
        DystaError: If an argument is not allowed, a package is missing, or what is in the folder is
            no run, damaged, or of another recipe or seed, or another process trains there.
    """
    try:
        return trained(recipe, out, steps, seed, resume, report)
    except Interrupted:
        return None


def trained(
    recipe: str | Path | Mapping[str, Any], out: str | Path, steps: int | None, seed: int,
    resume: bool, report: Callable[[Report], None],
) -> Checkpoint:  # fmt: skip
    """What `train` returns.

    Raises:
        DystaError: As of `train`.
        Interrupted: If the run was interrupted, and has saved its state.
    """
    chosen = load_recipe(recipe)
    for name, value, least in (("steps", steps, 1), ("seed", seed, 0)):
        if value is not None and (type(value) is not int or not least <= value < 2**31):
            raise DystaError(
                f"{name}: {value!r} is not allowed; it must be a whole number, {least} or more"
            )
    method = _method(chosen.method)
    _check_teacher(chosen)
    with Run(chosen, seed, Path(out), steps, resume=resume, report=report) as run:
        with run.interruptible():
            method(run)
        return run.close()


def _check_teacher(recipe: Recipe) -> None:
    """Raise a `DystaError` if whom a recipe imitates cannot be imitated."""
    if isinstance(recipe, Reinforcement) and recipe.imitate:
        from dysta_gym.agents.imitation import Teacher

        try:
            Teacher(recipe.imitate.teacher, recipe.seen)
        except DystaError as error:
            raise DystaError(f"imitate.teacher: {error}") from None


def _method(name: str) -> Callable[[Run], None]:
    """The function that trains by a method.

    Raises:
        MissingExtra: If a package that it needs is missing.
    """
    module, function = _METHODS[name]
    with extra("agents", "train"):
        for needed in ("tensorboard", "stable_baselines3.common.logger"):
            import_module(needed)
        trainer: Callable[[Run], None] = getattr(import_module(module), function)
    return trainer
