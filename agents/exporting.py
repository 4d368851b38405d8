"""Trained models of Stable-Baselines3 as checkpoints, which run inside the compiled loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dysta_gym.agents.checkpoints import Checkpoint
from dysta_gym.agents.evaluation import settings
from dysta_gym.agents.models import is_normalised, loaded_model
from dysta_gym.errors import DystaError
from dysta_gym.extras import extra


def export(model: Any, name: str | None = None, *, trust: bool = False) -> Checkpoint:
    """The scoring network of a model as a checkpoint, which schedules alike and needs no torch.

    ```python
    export("model.zip").save("checkpoint.npz")
    ```

    Scores are the same; only the slots are left behind, for the network now sees the whole queue.
    So where no more requests wait than it had slots, the schedule is the same. (Models compare
    scores in float32, checkpoints in float64: what is equal in the one alone may run in another
    order. That is seldom.)

    Args:
        model: A model that was trained with `ScoringPolicy` or
            `dysta_gym.agents.scoring.ScoringQPolicy`, or its zip file. Reading it may run code that
            is in it.
        name: Name of the checkpoint; by default, that of the file or of the model's class.
        trust: Read a file whoever may have written it, and whatever code is in it.

    Returns:
        The checkpoint. Its record says under ``exported`` what of.

    Raises:
        DystaError: If there is no scoring network in it, or it cannot be read, or somebody else may
            have written it, or it does not say what it was trained at.
        MissingExtra: If Stable-Baselines3 is not installed.
    """
    if isinstance(model, str | Path):
        try:
            return _exported(loaded_model(str(model), trust), name or Path(model).stem)
        except DystaError as error:
            if isinstance(error, ImportError):
                raise  # which names an extra
            raise DystaError(f"model {str(model)!r}: {error}") from None
    return _exported(model, name or type(model).__name__)


def _exported(model: Any, name: str) -> Checkpoint:
    with extra("agents", "export"):
        from dysta_gym.agents.scoring import Scorer, ScoringPolicy, ScoringQPolicy, Sight

    policy = getattr(model, "policy", None)
    scorer: Scorer
    sight: Sight
    if isinstance(policy, ScoringPolicy):
        scorer, sight = policy.scorer, policy.see
    elif isinstance(policy, ScoringQPolicy):
        scorer, sight = policy.q_net.scorer, policy.q_net.see
    else:
        raise DystaError(
            f"its policy, {type(policy).__name__}, is no scoring network and runs in no compiled "
            "loop; train with dysta_gym.agents.ScoringPolicy, or judge it as it is: compare takes "
            "the zip file, dysta_gym.agents.evaluate the model"
        )
    normalised = getattr(model, "get_vec_normalize_env", lambda: None)()
    if is_normalised(model) or getattr(normalised, "norm_obs", False):
        raise DystaError(
            "its observations are normalised, which no compiled loop does; train without norm_obs, "
            "for what the environment shows are ratios already"
        )
    seen = settings(model, {})
    own = {
        "policy": type(policy).__name__,
        "steps": int(getattr(model, "num_timesteps", 0)),
        "slots": seen["slots"],
    }
    return Checkpoint(
        name,
        "pooled",
        policy.width,
        sight.policy.names,
        scorer.weights(),
        seen["level"],
        {"exported": own},
        decisions=seen["decisions"],
    )
