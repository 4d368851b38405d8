"""A scheduler of one's own in ten lines, compiled, beside Dysta.

python examples/own_policy.py
"""

from dysta_gym import Policy, compare


def score(queue, size, now, parameters, scores):
    """The shortest first, of those that can still be on time."""
    for i in range(size):
        hopeless = queue.deadline[i] - now < queue.remaining[i]
        scores[i] = queue.remaining[i] * (100 if hopeless else 1)


mine = Policy("mine", score, level="monitored")
results = compare(["multi-attnn", "multi-cnn"], ["dysta", mine], loads=[1.05], seeds=range(5))
print(results.groupby(["scenario", "policy"], sort=False)[["violation_rate", "antt"]].mean())
