"""The accelerator as a Gymnasium environment, reached with ``gym.make("SparseMultiDNN-v0")``."""

from dysta_gym.envs.sparse_multi_dnn import SparseMultiDNNEnv

__all__ = ["SparseMultiDNNEnv"]
