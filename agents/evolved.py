"""`evolved`: 120 weights found by an evolution strategy; ``dysta-gym train evolved``."""

from dysta_gym.agents.checkpoints import shipped

POLICY = shipped("evolved").policy(
    summary="least score of a tiny network, found by an evolution strategy",
    source="dysta-gym train evolved",
)
