"""`dqn`: a network that pools the queue, trained by DQN; ``dysta-gym train dqn``."""

from dysta_gym.agents.checkpoints import shipped

POLICY = shipped("dqn").policy(
    summary="least score of a network that pools the queue, trained by DQN",
    source="dysta-gym train dqn",
)
