"""How much work a scenario offers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dysta_gym.workloads.scenario import Scenario
from dysta_gym.workloads.workload import Columns


def mean_isolated_s(scenario: Scenario, split: str = "test") -> float:
    """Mean isolated latency of a request of this scenario in seconds: its load at 1 request/s."""
    store, columns = scenario.store(), recorded(scenario)
    if "row" in columns:
        return float(store.isolated_s(columns["trace"], columns["row"]).mean())
    means = [trace.isolated_s[trace.rows(split)].mean() for trace in store.traces]
    return float(np.dot(shares(scenario), means))


def arrival_rate(scenario: Scenario, split: str = "test") -> float:
    """Arrival rate in requests a second: the scenario's ``rate``, or what its ``load`` means.

    Without either, that of its frames or of its recorded requests.
    """
    if scenario.rate is not None:
        return scenario.rate
    if scenario.load is not None:
        return scenario.load / mean_isolated_s(scenario, split)
    return scenario.arrivals.own_rate(scenario.traces.values(), recorded(scenario))


def shares(scenario: Scenario) -> NDArray[np.float64]:
    """Share of the requests that ask for each trace, shape ``(traces,)``."""
    weights = np.array(list(scenario.traces.values()))
    return weights / weights.sum()


def stream_periods_s(scenario: Scenario, split: str) -> NDArray[np.float64]:
    """Period of each trace's stream in seconds, shape ``(traces,)``."""
    return 1 / (arrival_rate(scenario, split) * shares(scenario))


def recorded(scenario: Scenario) -> Columns:
    """The columns of its requests that are recorded; see `Process.recorded`."""
    return scenario.arrivals.recorded(scenario.store, scenario.requests)
