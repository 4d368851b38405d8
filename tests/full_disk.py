"""What test_full_disk.py runs, in a mount namespace of its own: work on a disk that is too small.

python full_disk.py FOLDER sweep|train. The disk is FOLDER/disk. The work begins with ever more room
on it, in FOLDER/disk/run, and goes on once there is enough; FOLDER/whole has what comes of it on
FOLDER's own disk. A line of JSON for each room: it, the status, what was said, and whether what
came of it in the end is the same.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from dysta_gym import cli

PAGE = 4096

GRID = {
    "scenarios": ["arvr-hands"],
    "policies": ["fcfs", "dysta"],
    "loads": [0.8, 1.05],
    "seeds": {"count": 200},
    "requests": 5,
    "bounds": False,
}
RECIPE = {
    "name": "small",
    "method": "evolution",
    "workloads": {
        "scenarios": ["arvr-hands"], "loads": [1.05], "validation": 1, "requests": 20,
    },
    "network": {"kind": "tiny", "width": 1},
    "steps": 4,
    "validate_every": 2,
    "population": 4,
    "pool": 2,
    "batch": 1,
}  # fmt: skip
PARTS = {"sweep": (GRID, [0, 1, 2, 4, 12, 40]), "train": (RECIPE, [0, 1, 2, 3, 4])}
"""What is worked on, and the rooms in pages."""


def command(*arguments):
    """Status and lines on standard error."""
    sys.argv, said = ["dysta-gym", *map(str, arguments)], io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = cli.main()
        except SystemExit as ended:
            status = ended.code
    return status or 0, [line for line in said.getvalue().splitlines() if "compiling" not in line]


def result(part, out):
    if part == "sweep":
        assert command("results", out, "--csv", "table.csv")[0] == 0
        return Path("table.csv").read_bytes()
    from dysta_gym.agents import load

    checkpoint = load(out / "checkpoint.npz")
    return checkpoint.weights.tobytes(), checkpoint.record["history"]


def leave(room, path):
    """Fill a disk but for so many pages."""
    with path.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(PAGE))
        file.truncate(file.tell() - room * PAGE)


def main(folder, part):
    os.chdir(folder)
    Path("disk").mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", Path("disk").absolute()], check=True
    )
    content, rooms = PARTS[part]
    Path("work.yaml").write_text(yaml.safe_dump(content))
    own = {"sweep": ["--jobs", 1], "train": []}[part]
    again = {"sweep": [], "train": ["--resume"]}[part]
    work = lambda out, *more: command(part, "work.yaml", "--out", out, *own, *more)  # noqa: E731
    assert work("whole")[0] == 0
    whole, run, ballast = result(part, Path("whole")), Path("disk/run"), Path("disk/ballast")
    for room in rooms:
        leave(room, ballast)
        status, said = work(run)
        ballast.unlink()
        after, more = work(run, *again)
        assert after == 0, more
        same = result(part, run) == whole
        print(json.dumps({"room": room, "status": status, "said": said, "same": same}), flush=True)
        shutil.rmtree(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
