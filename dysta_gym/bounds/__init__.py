"""What no schedule can beat."""

from dysta_gym.bounds.turnaround import antt_lower_bound
from dysta_gym.bounds.violations import on_time, violation_rate_lower_bound

__all__ = ["antt_lower_bound", "on_time", "violation_rate_lower_bound"]
