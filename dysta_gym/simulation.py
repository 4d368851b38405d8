"""Running a whole workload under a policy."""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import suppress
from threading import Event
from time import thread_time

from dysta_gym.machine.machine import Machine, Schedule
from dysta_gym.machine.queue import ASKED
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


class _Until(Event):
    """Set once this thread has worked for so many seconds from now on."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = thread_time() + seconds

    def is_set(self) -> bool:
        return thread_time() > self._end


def decision_time_s(workload: Workload, policy: Policy, within_s: float = 0.5) -> float:
    """Processor time that a policy takes to decide, in seconds, in the mean over a workload.

    Args:
        workload: The requests.
        policy: The policy; compiled before it is measured.
        within_s: About how long to measure, if the workload takes longer.
    """
    policy.compiled()
    machine = Machine(workload, policy.level)
    began = thread_time()
    with suppress(CancelledError):  # what it has done till then is enough
        machine.run(policy, _Until(within_s))
    return (thread_time() - began) / max(1, int(machine.state.counters[ASKED]))
