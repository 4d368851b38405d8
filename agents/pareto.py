"""`pareto`: a network for a whole trade-off, by evolution; ``dysta-gym train pareto``."""

from dysta_gym.agents.checkpoints import shipped

POLICY = shipped("pareto").policy(
    summary="least score of a network that is told what counts, violations or ANTT",
    source="dysta-gym train pareto",
)
