"""What a pickle names, found without loading it: what is loaded may run any of that."""

from __future__ import annotations

import io
import pickle
from typing import Any

_MOST = 2**26
"""Bytes of a pickle that is looked into at most."""


class _Anything:
    """Stands for whatever a pickle names, and for what comes of calling it."""

    def __new__(cls, *arguments: object, **more: object) -> _Anything:
        """Another one, whatever it is made of."""
        return object.__new__(_Anything)

    def _taken(self, *arguments: object, **more: object) -> _Anything:
        return self

    __call__ = __setstate__ = __setitem__ = append = extend = update = add = _taken
    __hash__ = object.__hash__


class _Reader(pickle._Unpickler):
    """Follows a pickle, in Python: the one in C takes memory for whatever it is told."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Nothing is imported."""
        self.names.add(f"{module}.{name}")
        return _Anything()

    def persistent_load(self, key: object) -> Any:
        return _Anything()


def named(content: bytes) -> set[str]:
    """The names, with their modules, of all that a pickle would have looked up.

    Raises:
        Exception: If it is damaged, or too large.
    """
    if len(content) > _MOST:
        raise ValueError(f"a pickle has {len(content)} bytes; {_MOST} are allowed")
    reader = _Reader(io.BytesIO(content))
    reader.load()
    return reader.names


PLAIN = frozenset(
    [
        "builtins.bytearray",
        "builtins.complex",
        "builtins.frozenset",
        "builtins.set",
        "collections.OrderedDict",
        "collections.deque",
        "dysta_gym.agents.scoring.ScoringPolicy",
        "dysta_gym.agents.scoring.ScoringQPolicy",
        "gymnasium.spaces.box.Box",
        "gymnasium.spaces.dict.Dict",
        "gymnasium.spaces.discrete.Discrete",
        "gymnasium.spaces.multi_binary.MultiBinary",
        "gymnasium.spaces.multi_discrete.MultiDiscrete",
        "gymnasium.spaces.tuple.Tuple",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy._core.numeric._frombuffer",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy.random._pcg64.PCG64",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._pickle.__generator_ctor",
        "numpy.random.bit_generator.SeedSequence",
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
        "sb3_contrib.ars.policies.ARSLinearPolicy",
        "sb3_contrib.ars.policies.ARSPolicy",
        "sb3_contrib.common.maskable.buffers.MaskableDictRolloutBuffer",
        "sb3_contrib.common.maskable.buffers.MaskableRolloutBuffer",
        "sb3_contrib.common.maskable.policies.MaskableActorCriticPolicy",
        "sb3_contrib.common.maskable.policies.MaskableMultiInputActorCriticPolicy",
        "sb3_contrib.common.recurrent.policies.RecurrentActorCriticPolicy",
        "sb3_contrib.common.recurrent.policies.RecurrentMultiInputActorCriticPolicy",
        "sb3_contrib.qrdqn.policies.MultiInputPolicy",
        "sb3_contrib.qrdqn.policies.QRDQNPolicy",
        "stable_baselines3.common.buffers.DictReplayBuffer",
        "stable_baselines3.common.buffers.DictRolloutBuffer",
        "stable_baselines3.common.buffers.ReplayBuffer",
        "stable_baselines3.common.buffers.RolloutBuffer",
        "stable_baselines3.common.policies.ActorCriticPolicy",
        "stable_baselines3.common.policies.MultiInputActorCriticPolicy",
        "stable_baselines3.common.running_mean_std.RunningMeanStd",
        "stable_baselines3.common.torch_layers.CombinedExtractor",
        "stable_baselines3.common.torch_layers.FlattenExtractor",
        "stable_baselines3.common.type_aliases.TrainFreq",
        "stable_baselines3.common.type_aliases.TrainFrequencyUnit",
        "stable_baselines3.common.utils.ConstantSchedule",
        "stable_baselines3.common.utils.FloatSchedule",
        "stable_baselines3.common.utils.LinearSchedule",
        "stable_baselines3.common.vec_env.vec_normalize.VecNormalize",
        "stable_baselines3.dqn.policies.DQNPolicy",
        "stable_baselines3.dqn.policies.MultiInputPolicy",
        "torch.nn.modules.activation.ELU",
        "torch.nn.modules.activation.GELU",
        "torch.nn.modules.activation.LeakyReLU",
        "torch.nn.modules.activation.ReLU",
        "torch.nn.modules.activation.SiLU",
        "torch.nn.modules.activation.Tanh",
        "torch.optim.adam.Adam",
        "torch.optim.adamw.AdamW",
        "torch.optim.rmsprop.RMSprop",
        "torch.optim.sgd.SGD",
    ]
)
"""What models are made of that are nobody's own: calling it runs nothing that a file brings along.

Whole names, for what a module has imported is reached through it, too."""


def strange(content: bytes) -> list[str]:
    """What a pickle names beyond `PLAIN`, sorted.

    Raises:
        Exception: See `named`.
    """
    names = {each.replace("numpy.core.", "numpy._core.", 1) for each in named(content)}
    return sorted(names - PLAIN)
