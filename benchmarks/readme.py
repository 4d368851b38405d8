"""Put the table of `make run` into the README, between its two marks.

make readme
"""

from __future__ import annotations

import sys
from pathlib import Path

START, END = "<!-- table: make readme -->\n", "<!-- /table -->"


def main(readme: Path, table: Path) -> None:
    """Replace what stands between the marks of ``readme`` with ``table``."""
    text = readme.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"{readme} lacks the marks {START.strip()} and {END}")
    rows = table.read_text(encoding="utf-8").strip()
    readme.write_text(f"{before}{START}\n{rows}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
