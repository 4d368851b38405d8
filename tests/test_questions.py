"""docs/questions.md: every answer has a report, lines that show it, and tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
SECTIONS = dict(part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
LAST = "What is not so here"


def test_the_last_section_says_what_is_missing():
    assert list(SECTIONS)[-1] == LAST and len(SECTIONS) > 12


@pytest.mark.parametrize("title", [title for title in SECTIONS if title != LAST])
def test_an_answer(title):
    text = SECTIONS[title]
    assert text.lstrip().startswith("Elsewhere: ") and "\nHere " in text
    assert re.search(r"\]\(https://github\.com/[\w./-]+/(issues|pull)/\d+\)", text)
    (lines,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert "\nassert " in lines or "    assert " in lines
    compile(lines, title, "exec")
    tests = re.findall(r"\]\(\.\./(tests/[\w/]+\.py)\)", text)
    assert tests or "Tests: none" in text
    for test in tests:
        assert (ROOT / test).is_file(), test
