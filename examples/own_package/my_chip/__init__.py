"""What `dysta_gym` finds by name once this package is installed: see ``pyproject.toml``."""

from pathlib import Path

from dysta_gym import Accelerator, Parameter, Policy, Reward

HERE = Path(__file__).parent


def score(queue, size, now, parameters, scores):
    """The least score runs next: little left to do, or little time left to do it in."""
    for i in range(size):
        slack = queue.deadline[i] - now - queue.remaining[i]
        scores[i] = queue.remaining[i] + parameters[0] * slack


HURRIED = Policy(
    "hurried",
    score,
    level="monitored",
    summary="least of remaining latency and a share of the slack",
    parameters={"share": Parameter(0.1, "weight of the slack", 0, 10)},
)


def paid(accrued, queue, memory):
    """What a step pays: deadlines that pass weigh twice as much as by default."""
    return -accrued.turnaround - 2 * accrued.penalty * accrued.violations


PUNCTUAL = Reward("punctual", "-(ANTT + 2 x penalty x violation rate)", paid)


def latency_s(operation, parameters):
    """Seconds of an operation: each multiplication that no zero spares, at one rate."""
    return operation.macs / parameters["macs_per_s"]


CHIP = Accelerator(
    "my-chip",
    latency_s,
    ("attention", "dense", "convolution"),
    summary="so many multiplications a second",
    parameters={"macs_per_s": Parameter(2e11, "multiplications a second", 1)},
)

TINY_NET = HERE / "tiny-net.npz"  # written by measure.py
MIX = HERE / "my-chip-mix.yaml"
