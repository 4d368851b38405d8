"""PREMA: tokens decide who may run, the shortest of those runs."""

from dysta_gym.compiled.records import Floats
from dysta_gym.machine.queue import Queue
from dysta_gym.policies import Policy


def score(queue: Queue, size: int, now: float, parameters: Floats, scores: Floats) -> None:
    """Least ``R`` among the requests with enough tokens.

    At the first decision that sees it, a request gets ``priority`` tokens; at every later one it
    earns ``priority * W / (g * I)`` more. The threshold is the greatest of 9, 3 and 1 that the
    richest request already seen reaches. The tokens are kept in the queue's ``memory``, which is 0
    until a decision has seen the request.
    """
    tokens = queue.memory
    nines = threes = 0
    for i in range(size):
        held, waited = tokens[i], now - queue.last_run[i]
        expected = queue.correction[i] * queue.isolated[i]
        # Layers of zeros only make a request expect nothing: no 0 / 0.
        earned = queue.priority[i] * waited / expected if waited > 0.0 else 0.0
        grown = held + earned if held != 0.0 else queue.priority[i]
        tokens[i] = grown
        nines += held != 0.0 and grown >= 9.0
        threes += held != 0.0 and grown >= 3.0
    threshold = 9.0 if nines else 3.0 if threes else 1.0
    for i in range(size):
        scores[i] = queue.remaining[i] if tokens[i] >= threshold else float("inf")


PREMA = Policy(
    "prema",
    score,
    summary="least R among the requests with enough tokens, earned by priority and waiting",
    source="Choi and Rhu, PREMA, HPCA 2020, as compared in Sparse-DySta, MICRO 2023",
)
PREMA_SPARSE = PREMA.at("monitored")
