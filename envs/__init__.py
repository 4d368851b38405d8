"""The accelerator as a Gymnasium environment, reached with ``gym.make("SparseMultiDNN-v0")``."""

from dysta_gym.envs.sparse_multi_dnn import SparseMultiDNNEnv
from dysta_gym.envs.vector import SparseMultiDNNVectorEnv

__all__ = ["SparseMultiDNNEnv", "SparseMultiDNNVectorEnv"]
