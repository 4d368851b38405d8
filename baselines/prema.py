"""PREMA: tokens decide who may run, the shortest of those runs."""

from dataclasses import replace

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Parameter, Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R`` among the requests with enough tokens.

    At the first decision that sees it, a request gets ``priority`` tokens; at every later one it
    earns ``rate * priority * W / (g * I)`` more. The threshold is the first of ``high`` and
    ``middle`` that the richest request already seen reaches, else ``low``; the published ones are
    9, 3 and 1. Where nobody has that many tokens, the earliest runs. The tokens are kept in the
    queue's ``memory``, which is 0 until a decision has seen the request.
    """
    high, middle, low, rate = parameters[0], parameters[1], parameters[2], parameters[3]
    tokens = queue.memory
    reach_high = reach_middle = 0
    for i in range(size):
        held, waited = tokens[i], now - queue.last_run[i]
        expected = queue.correction[i] * queue.isolated[i]
        # Layers of zeros only make a request expect nothing: no 0 / 0.
        earned = rate * queue.priority[i] * waited / expected if waited > 0.0 else 0.0
        grown = held + earned if held != 0.0 else queue.priority[i]
        tokens[i] = grown
        reach_high += held != 0.0 and grown >= high
        reach_middle += held != 0.0 and grown >= middle
    threshold = high if reach_high else middle if reach_middle else low
    for i in range(size):
        scores[i] = queue.remaining[i] if tokens[i] >= threshold else float("inf")


def _parameters(high: float, middle: float, low: float, rate: float) -> dict[str, Parameter]:
    return {
        "high": Parameter(high, "tokens needed once somebody has them", low=0.0),
        "middle": Parameter(middle, "tokens needed once somebody has these, not those", low=0.0),
        "low": Parameter(low, "tokens needed otherwise", low=0.0),
        "rate": Parameter(rate, "tokens earned by a wait of g I, over the priority", positive=True),
    }


PREMA = Policy(
    "prema",
    score,
    summary="least R among the requests with enough tokens, earned by priority and waiting",
    parameters=_parameters(9.0, 3.0, 1.0, 1.0),
    source="Choi and Rhu, PREMA, HPCA 2020, as compared in Sparse-DySta, MICRO 2023",
)
PREMA_SPARSE = PREMA.at("monitored")
PREMA_TUNED = replace(
    PREMA,
    name="prema-tuned",
    summary="as prema, with its thresholds and rate tuned on train inputs",
    # python -m benchmarks.tune prema-tuned; thresholds below the least priority keep nobody out
    parameters=_parameters(0.533, 0.281, 0.245, 5.01),
)
