"""Kill training runs at random moments, resume them, and see what comes out.

    python -m benchmarks.killing [--kills 10] [--seed SEED]

For every method, `dysta-gym train` with a small recipe is killed (SIGKILL) again and again: while
it starts, between two steps, while it writes its state. Then it goes on to its end, and its
network, its record and its logs are compared with those of a run that nobody has disturbed. Prints
a table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dysta_gym.agents import Checkpoint, load
from dysta_gym.agents.runs import CHECKPOINT, STATE
from dysta_gym.features import SCHEDULING
from dysta_gym.files import is_scratch
from dysta_gym.tables import markdown

_WORKLOADS = {"scenarios": ["multi-attnn", "multi-cnn"], "loads": [1.05], "validation": 5}
_IN_ENVIRONMENTS = {
    "workloads": {**_WORKLOADS, "requests": 60},
    "network": {"kind": "pooled", "width": 8},
    "environments": 4,
    "slots": 8,
    "validate_every": 400,
    "steps": 12_000,
}
_PPO = {**_IN_ENVIRONMENTS, "method": "ppo", "n_steps": 16, "batch_size": 64}
RECIPES: dict[str, dict[str, Any]] = {
    "evolution": {
        "method": "evolution",
        "workloads": {**_WORKLOADS, "requests": 100},
        "network": {"kind": "tiny", "width": 4},
        "steps": 120,
        "validate_every": 4,
        "population": 8,
        "pool": 6,
        "batch": 2,
    },
    "pareto": {
        "method": "pareto",
        "workloads": {"distribution": "random", "mixes": 4, "validation": 2},
        "features": list(SCHEDULING),
        "network": {"kind": "conditioned", "width": 4},
        "steps": 240,
        "validate_every": 4,
        "population": 6,
        "separable": True,
        "pool": 4,
        "batch": 1,
        "preferences": [0.0, 1.0],
    },
    "imitation": {**_PPO, "imitate": {"teacher": "evolved", "steps": 11_000}},
    "ppo": _PPO,
    "dqn": {
        **_IN_ENVIRONMENTS,
        **{"method": "dqn", "n_steps": 4, "batch_size": 64},
        **{"learning_starts": 400, "buffer_size": 2000, "exploration_initial_eps": 0.2},
    },
}
"""A small run of each method; the third part of what reinforcement learning does, the imitation of
another agent, takes up nearly all of a run of its own."""


class Session:
    """The command, from its start to its end or its death."""

    def __init__(self, recipe: Path, folder: Path) -> None:
        program = "import sys; from dysta_gym.cli import main; main()"
        command = [sys.executable, "-W", "ignore", "-c", program]
        command += ["train", str(recipe), "--out", str(folder), "--resume"]
        self._running = subprocess.Popen(
            command, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def steps(self) -> Iterator[int]:
        """Steps of its validations, as it tells of them."""
        assert self._running.stderr is not None  # it is a pipe
        for line in self._running.stderr:
            if line.startswith("step "):
                yield int(line.split()[1].replace(",", ""))

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._running.poll() is not None

    def kill(self) -> None:
        """End it at once."""
        self._running.kill()
        self._running.communicate()

    def wait(self) -> None:
        """Let it come to its end.

        Raises:
            RuntimeError: If that is none.
        """
        _, errors = self._running.communicate()
        if self._running.returncode:
            raise RuntimeError(errors)


def _killed(session: Session, folder: Path, target: float, kind: int, wait: float) -> str | None:
    """Kill a session; where it was then, None if it was over before.

    Args:
        session: The session.
        folder: Its run's.
        target: Steps from which on it is killed.
        kind: 0 for while it starts, 1 for between two steps, 2 for while it writes its state.
        wait: Seconds to wait for, more than 0.
    """
    if kind == 0:
        time.sleep(wait)
        session.kill()
        return "while it started"
    if not any(step >= target for step in session.steps()):
        session.wait()
        return None
    if kind == 1:
        time.sleep(wait)
    before = (folder / STATE).stat().st_mtime_ns if (folder / STATE).exists() else 0
    while kind == 2 and not session.over and not list(folder.glob(f".{STATE}.*.scratch")):
        time.sleep(1e-4)
    if session.over:
        session.wait()
        return None
    session.kill()
    after = (folder / STATE).stat().st_mtime_ns if (folder / STATE).exists() else 0
    if any(is_scratch(path) for path in folder.iterdir()):
        return "while it wrote a file"
    return "between two steps" if kind == 1 or before == after else "right after it had saved"


def logged(folder: Path) -> Counter[tuple[str, int, float]]:
    """What the logs of a run say, each as often as it is said; but for what a clock says."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told: Counter[tuple[str, int, float]] = Counter()
    for path in folder.glob("events.out.tfevents.*"):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            if not tag.startswith("time/"):
                told.update((tag, each.step, each.value) for each in events.Scalars(tag))
    return told


def _record(checkpoint: Checkpoint) -> str:
    """A checkpoint's record, but for the time that it took."""
    kept = {key: value for key, value in checkpoint.record.items() if key != "seconds"}
    return json.dumps(kept, sort_keys=True)


def _row(method: str, kills: int, rng: np.random.Generator, place: Path) -> list[str]:
    """What came out for a method."""
    recipe = place / f"{method}.yaml"
    recipe.write_text(yaml.safe_dump({"name": method, **RECIPES[method]}), encoding="utf-8")
    whole, torn = place / f"{method}-whole", place / f"{method}-killed"
    began = time.perf_counter()
    Session(recipe, whole).wait()
    seconds = time.perf_counter() - began
    where: Counter[str] = Counter()
    while sum(where.values()) < kills:
        done = sum(where.values())
        # Two while it starts, the others spread over the run; every other one in a write.
        kind = 0 if done in (0, kills // 2) else 1 + done % 2
        wait = rng.uniform(0, 0.3 * seconds if kind == 0 else 0.1)
        target = 0.9 * RECIPES[method]["steps"] * done / kills
        session = Session(recipe, torn)
        found = _killed(session, torn, target, kind, wait)
        if found is None:
            break
        where[found] += 1
        print(f"{method}: killed {found}, after step {target:.0f}", file=sys.stderr)
    Session(recipe, torn).wait()
    ours, theirs = load(torn / CHECKPOINT), load(whole / CHECKPOINT)
    left = [path.name for path in torn.iterdir() if is_scratch(path)]
    return [
        method,
        f"{sum(where.values())}: " + ", ".join(f"{n} {what}" for what, n in sorted(where.items())),
        _same(ours.weights.tobytes() == theirs.weights.tobytes()),
        _same(_record(ours) == _record(theirs)),
        _same(logged(torn) == logged(whole)),
        _same(not left),
        f"{(whole / STATE).stat().st_size / 1000:,.0f} kB",
    ]


def _same(is_same: bool) -> str:
    return "yes" if is_same else "**no**"


def main() -> None:
    """Kill, resume, compare, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.killing", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=10, help="kills of each run [10]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    parser.add_argument("--only", choices=RECIPES, nargs="+", default=list(RECIPES))
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for method in arguments.only:
            rows.append(_row(method, arguments.kills, rng, Path(place)))
            print(*rows[-1], sep=" | ", file=sys.stderr)
    names = [
        "method",
        "killed",
        "same weights",
        "same record",
        "same logs",
        "nothing left",
        "state",
    ]
    table = markdown(names, rows, words=6)
    print(table)
    if "**no**" in table:
        sys.exit(1)


if __name__ == "__main__":
    main()
