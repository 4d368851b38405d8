"""Dysta: remaining latency, slack and waiting, corrected by the measured sparsity."""

from dataclasses import replace

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Parameter, Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R + beta * (max(0, S - R) + W / (I * Q))``, times counted in ``time_unit``.

    Waiting counts against a request: the one that ran last has waited nothing and tends to go on,
    which spares preemptions.

    The sum adds times to a ratio, so what ``beta`` means depends on what times are counted in,
    ``time_unit``: in seconds the rule is the published one, and depends on how long the networks
    take; in mean isolated latencies it does not. Since ``R`` and ``S`` scale alike, only the weight
    of waiting moves: against the rest it is ``time_unit``, in seconds, times the published one.
    """
    beta = parameters[0]
    per_unit = 1.0 / parameters[1]
    for i in range(size):
        remaining = queue.remaining[i]
        slack = (queue.deadline[i] - now) - remaining
        slack = slack if slack > 0.0 else 0.0
        waited = (now - queue.last_run[i]) / (queue.isolated[i] * queue.length)
        scores[i] = remaining * per_unit + beta * (slack * per_unit + waited)


def drift(parameters: Floats) -> float:
    """The slack of a waiting request shrinks with time, and with it the score, by ``beta``."""
    return float(parameters[0] / parameters[1])


DYSTA = Policy(
    "dysta",
    score,
    drift=drift,
    level="monitored",
    summary="least R + beta (max(0, S - R) + W / (I Q)): short, urgent, just run",
    parameters={
        "beta": Parameter(0.01, "weight of slack and waiting", low=0.0),
        "time_unit": Parameter(1.0, "unit in which R and S are counted, in seconds", positive=True),
    },
    source="Fan et al., Sparse-DySta, MICRO 2023",
)
DYSTA_NAIVE = DYSTA.at("static")
DYSTA_ORACLE = DYSTA.at("clairvoyant")
DYSTA_CYCLES = replace(
    DYSTA,
    name="dysta-cycles",
    summary="as dysta, with times in cycles of a clock of 200 MHz",
    parameters={
        **DYSTA.parameters,
        "time_unit": replace(DYSTA.parameters["time_unit"], default=5e-9),
    },
)
