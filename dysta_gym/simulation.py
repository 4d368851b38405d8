"""Running a whole workload under a policy."""

from __future__ import annotations

from dysta_gym.machine.machine import Machine, Schedule
from dysta_gym.policies import Policy, find
from dysta_gym.workloads import Workload


def simulate(workload: Workload, policy: Policy | str, *, record: bool = False) -> Schedule:
    """Run a whole workload under a policy.

    Args:
        workload: The requests.
        policy: A policy, or a name such as ``"dysta"`` or ``"sjf@monitored"``.
        record: Whether to keep who ran when (`Schedule.ran`, `Schedule.started_s`).

    Raises:
        DystaError: If there is no policy of that name.
    """
    rule = find(policy) if isinstance(policy, str) else policy
    machine = Machine(workload, rule.level, record=record)
    machine.run(rule)
    return machine.schedule()
