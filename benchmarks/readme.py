"""Put the table of `make run` into the README, between its two marks.

make readme
"""

from __future__ import annotations

import sys
from pathlib import Path

from dysta_gym.files import replacing

START, END = "<!-- table: make readme -->\n", "<!-- /table -->"


def between(page: Path, start: str, end: str, part: str) -> None:
    """Replace what stands between two marks of a page."""
    before, first, rest = page.read_text(encoding="utf-8").partition(start)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise SystemExit(f"{page} lacks the marks {start.strip()} and {end}")
    with replacing(page) as scratch:
        scratch.write_text(f"{before}{start}\n{part.strip()}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    between(Path(sys.argv[1]), START, END, Path(sys.argv[2]).read_text(encoding="utf-8"))
