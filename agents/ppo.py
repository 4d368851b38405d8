"""`ppo`: a network that pools the queue, trained by MaskablePPO; ``dysta-gym train ppo``."""

from dysta_gym.agents.checkpoints import shipped

POLICY = shipped("ppo").policy(
    summary="least score of a network that pools the queue, trained by MaskablePPO",
    source="dysta-gym train ppo",
)
