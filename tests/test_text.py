"""Names that somebody chose: text is text on terminals, on pages and in pictures."""

import io
import re

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given
from rich.console import Console

from dysta_gym import Policy, compare, figures
from dysta_gym.cli import terminal
from dysta_gym.statistics import summarise
from dysta_gym.tables import Table
from dysta_gym.text import for_markdown, printable

HOSTILE = [
    "[v2]", "[/x]", "[bold]", ":warning:", "a|b", "a\\|b", "$\\foo$", "$x^2$", "a_b $ c$",
    "\\$5\\$", "*a* _b_ `c`", "<b>", "&amp;", "~~x~~", "[a](b)", "\x1b[31mred\x1b[0m", "\x9b2J",
    "a\nb", "\r", "\u202eabc", "_hidden", "ünï", "{}", "%s", "\\",
]  # fmt: skip


def shown(text):
    """What a reader sees of a line of Markdown."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)


def cells(line):
    """Cells of a row of a Markdown table, as GitHub has them."""
    return [part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]]


@given(st.text())
def test_printable_text_commands_no_terminal(text):
    found = printable(text)
    assert found.isprintable()
    assert printable(found) == found
    if text.isprintable():
        assert found == text


def test_printable_text_is_escaped_as_python_does_it():
    assert printable("\x1b[31m\n\ud800é") == "\\x1b[31m\\n\\ud800é"
    assert printable(3) == "3"


@given(st.text(st.sampled_from("ab1 _*|\\`[]<>&~$:-+")))
def test_markdown_shows_text_as_it_is(text):
    found = for_markdown(text)
    assert shown(found) == text
    # whatever could open or close something has a backslash before it
    assert not re.search(r"(?<!\\)(?:\\\\)*[*`<\[|&~$]", found)
    assert not re.search(r"(?<![a-z0-9\\])(?:\\\\)*_", found)


@pytest.mark.parametrize(
    "name",
    ["dysta@monitored:beta=0.05,time_unit=1", "round_robin", "sjf@sized/kalman", "a-b.c (2)"],
)
def test_usual_names_stay_as_they_are(name):
    assert for_markdown(name) == printable(name) == figures.plain(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_tables_show_names_as_they_are(name):
    table = Table(f"{name}: load 1", ["policy", "ANTT"], [[name, "1.0*"], ["other", name]])
    for console in (Console(file=io.StringIO(), width=100), None):
        file = io.StringIO()
        if console is None:
            console = terminal.console()
        console.file = file
        console.print(table.for_terminal())
        title, *_, one, other, _ = file.getvalue().splitlines()
        assert title.rstrip() == f"{printable(name)}: load 1".rstrip()
        assert one.split("│")[1].strip() == printable(name).strip()
        assert other.split("│")[2].strip() == printable(name).strip()
    title, _, head, _, one, other = table.for_page().rstrip("\n").split("\n")
    assert shown(title) == f"### {printable(name)}: load 1"
    assert len(cells(head)) == len(cells(one)) == len(cells(other)) == 2
    assert shown(cells(one)[0]) == printable(name).strip()


def test_a_line_is_said_as_it_is(capsys):
    for name in HOSTILE:
        terminal.say(f"Wrote {name}.")
        assert capsys.readouterr().out == f"Wrote {printable(name)}.\n"


def longest(queue, size, now, parameters, scores):
    for i in range(size):
        scores[i] = -queue.remaining[i]


SCENARIO = "$\\foo$ [v2]|_x_ \x1b[31m"


@pytest.fixture(scope="module")
def results():
    """A comparison in which everything has a hostile name."""
    measured = compare(["multi-attnn"], ["sjf"], seeds=range(2), requests=30)
    measured["scenario"] = SCENARIO
    return pd.concat([measured.assign(policy=name) for name in HOSTILE], ignore_index=True)


def drawn(texts):
    """What texts of a picture show, and whether any of it is set as a formula."""
    found = [text._preprocess_math(text.get_text()) for text in texts]
    return [text for text, _ in found], any(formula for _, formula in found)


def test_pictures_show_names_as_they_are(results, tmp_path):
    summary = summarise(results, ["violation_rate", "antt"])
    wanted = list(map(printable, HOSTILE))
    for make in (
        lambda: figures.trade_off(results),
        lambda: figures.dots(summary, ["antt"]),
        lambda: figures.curves(summary, "slo", "SLO", ["antt"], ("scenario", "load")),
        lambda: figures.by_level(summary, ["antt"]),
    ):
        figure = make()
        figures.save(figure, tmp_path / "picture.png")
        titles = [axes.title for axes in figure.axes] + [axes._left_title for axes in figure.axes]
        said, formula = drawn(titles)
        assert f"{printable(SCENARIO)}, load 0.95" in "".join(said) and not formula
        names = [text for legend in figure.legends for text in legend.get_texts()]
        said, formula = drawn(names or figure.axes[0].get_yticklabels())
        assert said[: len(wanted)] == wanted and not formula


def test_a_policy_object_of_any_name_is_drawn(tmp_path):
    policies = [Policy(name, longest) for name in ("_mine", "a@b", "$\\foo$", "x:y|z")]
    found = compare(["multi-attnn"], policies, seeds=range(2), requests=30)
    figure = figures.trade_off(found)
    figures.save(figure, tmp_path / "picture.png")
    (legend,) = figure.legends
    said, formula = drawn(legend.get_texts())
    assert said[:4] == ["_mine", "a@b", "$\\foo$", "x:y|z"] and not formula
