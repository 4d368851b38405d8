"""Trained models of Stable-Baselines3 in files: ``dysta-gym compare --policy model.zip``."""

from __future__ import annotations

import base64
import inspect
import json
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from dysta_gym.agents.evaluation import batches, environments, play, settings
from dysta_gym.agents.pickles import strange
from dysta_gym.agents.threads import one_thread
from dysta_gym.archives import TEXT_LIMIT, opened_archive, read_member
from dysta_gym.comparison import Cell, Rows
from dysta_gym.errors import DystaError
from dysta_gym.extras import extra
from dysta_gym.files import NotOwn, flaw_of_way, open_own, open_regular

STATISTICS = "vecnormalize.pkl"
"""The file beside a model with what its observations are normalised by, as RL-Zoo calls it."""

_UNUSED = {"learning_rate": 0.0, "lr_schedule": None, "clip_range": 0.0, "buffer_size": 1}
_UNUSED["weights"] = None
"""What only learning needs of a model: functions that another Python cannot read, and memory. The
weights, of ARS, are also those of its policy."""


_LARGEST = 64 * 2**20
"""Bytes of `STATISTICS` at most."""


class ModelInFile:
    """A model in a file, a `dysta_gym.agent_files.Agent`.

    Attributes:
        spec: Its file and level.
        level: The level that it was trained at.
        notes: What is read beside its file.
        files: All that is read.
    """

    def __init__(self, path: str, model: Any, seen: Mapping[str, Any], beside: Path | None) -> None:
        self._model, self._seen = model, seen
        self.files = (path,) if beside is None else (path, str(beside))
        said = f"{path}: its observations are normalised by {beside}"
        self.notes = () if beside is None else (said,)
        self.level = str(seen["level"])
        self.spec = f"{path}@{self.level}"

    def play(self, cells: Sequence[Cell]) -> Iterator[tuple[int, Rows]]:
        """Play each of the workloads: its index and its row, without bounds, as each ends."""
        first = 0
        for together in batches(cells):
            envs = environments(together, self._seen)
            for at, rows in play(envs, self._model, together, bounds=False):
                yield first + at, rows
            first += len(together)


def model_of_file(path: str, trust: bool) -> ModelInFile:
    """The model in a zip file of Stable-Baselines3 or sb3-contrib.

    Args:
        path: The file. Reading it may run code that is in it.
        trust: Read it whoever may have written it, and whatever code is in it.

    Raises:
        DystaError: If it cannot be read, or somebody else may have written it, or it names more
            than `dysta_gym.agents.pickles.PLAIN`.
        MissingExtra: If Stable-Baselines3 is not installed.
    """
    with warnings.catch_warnings():  # of what is read for learning alone
        warnings.simplefilter("ignore")
        model = loaded_model(path, trust)
        try:
            seen = settings(model, {})
        except DystaError as error:
            raise DystaError(f"{error}, to dysta_gym.agents.evaluate in Python") from None
        beside = Path(path).with_name(STATISTICS) if is_normalised(model) else None
        if beside is not None:
            model = _Normalised(model, _statistics(beside, trust))
    return ModelInFile(path, model, seen, beside)


def loaded_model(path: str, trust: bool) -> Any:
    """The model in a zip file, as Stable-Baselines3 loads it, for what is no learning.

    Args:
        path: As of `model_of_file`.
        trust: Likewise.

    Raises:
        DystaError: As of `model_of_file`.
        MissingExtra: Likewise.
    """
    with warnings.catch_warnings():  # of those libraries, and of what is read for learning alone
        warnings.simplefilter("ignore")
        with extra("agents", f"policy {path!r}"):
            import sb3_contrib  # noqa: F401
            import stable_baselines3  # noqa: F401
        with _opened(Path(path), trust, "it") as file:
            return _loaded(file, trust)


def _opened(path: Path, trust: bool, called: str) -> IO[bytes]:
    """A file that runs code when it is read; errors call it so.

    Raises:
        DystaError: If there is none, or somebody else may have written it.
    """
    try:
        if path.exists() and not path.is_file():
            raise DystaError(f"{called} is no regular file")
        if trust:
            return open_regular(path, called)
        file = open_own(path)
        if why := flaw_of_way(path):
            file.close()
            raise NotOwn(why)
        return file
    except NotOwn as error:
        raise DystaError(
            f"{called} {error.strerror}, and runs code when it is read; give --trust (in "
            "Python, trust=True) if you know whose it is"
        ) from None
    except DystaError:
        raise
    except (OSError, ValueError) as error:  # of a path that can be none, too
        reason = getattr(error, "strerror", None) or str(error)
        raise DystaError(f"{called} cannot be read ({reason})") from None


def _check_plain(names: Sequence[str], called: str) -> None:
    """Raise a `DystaError` if pickles name what may be code of their own."""
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise DystaError(
            f"{called} runs code of its own when it is read ({', '.join(names[:3])}{more}); give "
            "--trust (in Python, trust=True) if you know whose it is"
        )


def _loaded(file: IO[bytes], trust: bool) -> Any:
    """The model in an open file.

    Raises:
        DystaError: If there is none, or it may run code and is not trusted.
    """
    from stable_baselines3.common.save_util import json_to_data

    try:
        with opened_archive(file) as archive:
            member = archive.getinfo("data")
            if member.file_size > TEXT_LIMIT:
                raise ValueError(f"its data take {member.file_size} bytes")
            data = json.loads(bytes(read_member(archive, member)).decode())
        if not trust:
            pickles = [
                base64.b64decode(value[":serialized:"])
                for key, value in data.items()
                if key not in _UNUSED and isinstance(value, dict) and ":serialized:" in value
            ]
            _check_plain(sorted({name for each in pickles for name in strange(each)}), "it")
        policy = json_to_data(json.dumps({"policy_class": data["policy_class"]}))["policy_class"]
    except DystaError:
        raise
    except Exception as error:  # a damaged file raises anything
        raise _damaged(error) from None
    kind = _algorithm(policy, data)
    try:
        file.seek(0)
        with one_thread():  # in which a network begins with weights that are then replaced
            return kind.load(file, device="cpu", custom_objects=_UNUSED)
    except Exception as error:
        raise _damaged(error) from None


_ADVICE = "Weights only load failed"
"""How torch begins when it does not read weights; it goes on with how to run what is in them."""

_UNKNOWN = re.compile(r"\bGLOBAL ([\w.]+)")
"""What it says there of a name that it does not look up, which are all but those of tensors."""


def _damaged(error: Exception) -> DystaError:
    told = " ".join(f"{type(error).__name__}: {error}".split())
    if _ADVICE in told:
        if name := _UNKNOWN.search(told):
            return DystaError(
                f"it runs code of its own when it is read ({name[1]}), among its weights, where "
                "--trust allows none either"
            )
        told = "weights that torch does not read"
    return DystaError(
        f"it is damaged, no model of Stable-Baselines3, or of code that is missing here ({told})"
    )


def _algorithm(policy: Any, data: dict[str, Any]) -> Any:
    """The class of a model, which its file does not name.

    Of the algorithms that have policies such as the model's, the one whose constructor takes most
    of what is in the file, and least of what is not.

    Raises:
        DystaError: If there is none.
    """
    import sb3_contrib
    import stable_baselines3
    from stable_baselines3.common.base_class import BaseAlgorithm

    found = {}
    ancestors = inspect.getmro(policy) if isinstance(policy, type) else ()
    for kind in (*vars(stable_baselines3).values(), *vars(sb3_contrib).values()):
        if isinstance(kind, type) and issubclass(kind, BaseAlgorithm):
            near = [ancestors.index(a) for a in kind.policy_aliases.values() if a in ancestors]
            takes = inspect.signature(kind).parameters
            known = sum(1 if name in data else -1 for name in takes)
            if near:
                found[kind] = -min(near), known
    if not found:
        raise DystaError(
            f"its policy, {getattr(policy, '__name__', policy)!r}, is of no algorithm of "
            "Stable-Baselines3 or sb3-contrib; load it in Python, and give it to "
            "dysta_gym.agents.evaluate"
        )
    return max(found, key=lambda kind: found[kind])


# --- normalised observations ---------------------------------------------------------------------


def is_normalised(model: Any) -> bool:
    """Whether a model last saw what the environment cannot show, as `VecNormalize` makes of it.

    Its file says nothing else of that.
    """
    seen, space = getattr(model, "_last_obs", None), model.observation_space
    if not isinstance(seen, np.ndarray) or seen.shape[1:] != getattr(space, "shape", None):
        return False
    return bool(((seen < space.low) | (seen > space.high)).any())


class _Normalised:
    """A model that is shown normalised observations."""

    def __init__(self, model: Any, statistics: Any) -> None:
        self._statistics = statistics
        self.observation_space, self.action_space = model.observation_space, model.action_space
        self.predict = model.predict

    def get_vec_normalize_env(self) -> Any:
        """What normalises them."""
        return self._statistics


def _statistics(path: Path, trust: bool) -> Any:
    """What observations are normalised by.

    Raises:
        DystaError: If there is no such file, or nothing of that kind in it.
    """
    from stable_baselines3.common.vec_env import VecNormalize

    if not path.exists():
        raise DystaError(
            f"it was trained on normalised observations, and there is no {str(path)!r}; write "
            f"what normalised them beside it, by env.save({str(path)!r})"
        )
    try:
        with _opened(path, trust, repr(str(path))) as file:
            content = file.read(_LARGEST)
        if not trust:
            _check_plain(strange(content), repr(str(path)))
        found = pickle.loads(content)
    except DystaError:
        raise
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise DystaError(f"{str(path)!r} is damaged ({told})") from None
    if not isinstance(found, VecNormalize):
        raise DystaError(
            f"{str(path)!r} holds a {type(found).__name__}; it must be what VecNormalize.save wrote"
        )
    return found
