"""Dysta without units: the same rule, times counted in the networks' mean isolated latency.

Its weight and unit were tuned on train inputs; `python -m benchmarks.tune dysta-tuned` finds none
that are better (docs/tuning.md).
"""

from dataclasses import replace

from dysta_gym.baselines.dysta import DYSTA
from dysta_gym.policies import Parameter

DYSTA_TUNED = replace(
    DYSTA,
    name="dysta-tuned",
    summary="as dysta, with times in mean isolated latencies and a tuned weight",
    parameters={
        "beta": Parameter(0.003, "weight of slack and waiting", low=0.0),
        "time_unit": Parameter(
            30.0, "unit of R and S, in mean isolated latencies", positive=True, relative=True
        ),
    },
)
