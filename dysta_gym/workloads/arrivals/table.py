"""The arrival processes that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import Field

from dysta_gym.workloads.arrivals.frames import Frames
from dysta_gym.workloads.arrivals.mmpp import MMPP
from dysta_gym.workloads.arrivals.poisson import Poisson
from dysta_gym.workloads.arrivals.process import Process
from dysta_gym.workloads.arrivals.replay import Replay

Arrivals = Annotated[Poisson | MMPP | Frames | Replay, Field(discriminator="process")]
"""The part of a scenario that says how requests arrive: of one of these processes."""

PROCESSES: Mapping[str, type[Process]] = {
    name: process
    for process in get_args(get_args(Arrivals)[0])
    for name in get_args(process.model_fields["process"].annotation)
}
"""The processes by their names."""
