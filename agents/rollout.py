"""`rollout`: a few choices at each event, each followed by `evolved` in sampled futures."""

from dysta_gym.agents.evolved import POLICY as BASE
from dysta_gym.rollouts import over

POLICY = over(
    BASE, "rollout", source="Tesauro and Galperin, NIPS 1996; Bertsekas et al., J. Heuristics 1997"
)
