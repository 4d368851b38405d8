"""docs/bring-your-own.md, run from top to bottom."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = Path(sysconfig.get_path("scripts")) / "dysta-gym"
SHORTER = {
    "learn(200_000)": "learn(1)",
    "VecEnv(64,": "VecEnv(2,",
    "batch_size=1024": "batch_size=64",
}
"""A training is not what is tested."""

NEEDS = {"A trained model": ["sb3_contrib"], "A network": ["torch", "onnxruntime"]}
"""Libraries of extras, by section."""

SECTIONS = {
    title: BLOCK.findall(text)
    for title, text in (part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
}
LINES = {
    "A rule": ["dysta", "mine.py", "mine.py@monitored"],
    "A trained model": ["dysta", "sjf@sized", "model.zip@sized"],
    "A network": ["fcfs", "sjf@monitored"],
    "Latencies of one's own": ["fcfs", "sjf@monitored"],
    "An accelerator": ["dysta-tuned", "fcfs"],
}
"""The policies that a section's last command shows."""


def test_every_section_is_run():
    assert list(SECTIONS) == [*LINES, "A package"]  # which tests/test_own_package.py installs
    assert all(blocks for blocks in SECTIONS.values())


@pytest.mark.parametrize("title", LINES)
def test_a_section(tmp_path, title):
    for library in NEEDS.get(title, ()):
        pytest.importorskip(library)
    shown = ""
    for language, text in SECTIONS[title]:
        if language != "sh":
            name, content = re.fullmatch(r"# file: (\S+)\n(.*)", text, re.DOTALL).groups()
            for long, short in SHORTER.items():
                content = content.replace(long, short)
            (tmp_path / name).write_text(content, encoding="utf-8")
            continue
        for line in text.splitlines():
            program, *arguments = line.split()
            few = ["--requests", "30"] if arguments[0] == "compare" else []
            done = subprocess.run(
                [{"dysta-gym": COMMAND, "python": sys.executable}[program], *arguments, *few],
                cwd=tmp_path, capture_output=True, text=True, timeout=300,
                env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            )  # fmt: skip
            said = [each for each in done.stderr.splitlines() if "compiling" not in each]
            assert (done.returncode, said) == (0, []), line
            shown = done.stdout
    rows = [re.findall(r"[^\s│]+", each) for each in shown.splitlines()]
    found = [row[0] for row in rows if row and row[0] in LINES[title]]
    assert found[: len(LINES[title])] == LINES[title], shown
