"""A small scenario of recorded traces, which the tests change as they need it."""

from pathlib import Path

import pytest

from dysta_gym import load_scenario

TINY = {
    "name": "tiny",
    "accelerator": "sanger",
    "traces": {"bert": 1, "gpt2": 2},
    "trace_dir": str(Path(__file__).parents[1] / "golden" / "sanger"),
    "load": 0.8,
    "requests": 200,
}


def _scenario(**changes):
    return load_scenario({k: v for k, v in (TINY | changes).items() if v is not None})


def _drawn(workload, *fields):
    return [getattr(workload, field).tolist() for field in fields]


@pytest.fixture(scope="session")
def scenario():
    """``scenario(field=...)``: `TINY` with other fields; a field that is None is left out."""
    return _scenario


@pytest.fixture(scope="session")
def drawn():
    """``drawn(workload, field, ...)``: columns of a workload as lists."""
    return _drawn
