"""Who asks for what, when, and by when.

A `Scenario` describes a deployment: the accelerator, the networks that share it, how requests
arrive, how much load they offer and how tight their deadlines are. A `Workload` is one draw from
it, or a recorded file: the requests themselves.
"""

from dysta_gym.workloads.drawing import REQUESTS_TYPE, Requests, draw, draws_nothing, generate
from dysta_gym.workloads.given import requests_from, requests_under
from dysta_gym.workloads.load import arrival_rate, mean_isolated_s
from dysta_gym.workloads.planning import PLAN_TYPE, Plan, plan
from dysta_gym.workloads.recorded import read_requests
from dysta_gym.workloads.scenario import LOADS, Scenario, load_scenario, shipped_scenarios
from dysta_gym.workloads.workload import Workload, deadline

__all__ = [
    "LOADS",
    "PLAN_TYPE",
    "REQUESTS_TYPE",
    "Plan",
    "Requests",
    "Scenario",
    "Workload",
    "arrival_rate",
    "deadline",
    "draw",
    "draws_nothing",
    "generate",
    "load_scenario",
    "mean_isolated_s",
    "plan",
    "read_requests",
    "requests_from",
    "requests_under",
    "shipped_scenarios",
]
