"""The named conditions that rules are tuned in, and that agents are judged in, but for inputs."""

from __future__ import annotations

from dysta_gym.agents.recipes import Workloads

SCENARIOS = (
    "arvr-hands", "datacenter-language", "datacenter-vision", "language-bursts",
    "mobile-assistant", "multi-attnn", "multi-cnn",
)  # fmt: skip

POISSON = (
    "datacenter-language", "datacenter-vision", "mobile-assistant", "multi-attnn", "multi-cnn",
)  # fmt: skip
"""Those whose arrivals are Poisson's."""

LOADS = (0.8, 0.95, 1.05)

TUNED = Workloads(scenarios=SCENARIOS, loads=LOADS, slo_multiplier=10.0, validation=20)
"""What rules with constants are tuned on (docs/tuning.md)."""
