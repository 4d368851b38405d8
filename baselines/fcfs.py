"""First come, first served."""

from dysta_gym.policies import Policy


def score(queue, size, now, parameters, scores):
    """Least arrival time."""
    for i in range(size):
        scores[i] = queue.arrival[i]


FCFS = Policy("fcfs", score, summary="earliest arrival: first come, first served")
