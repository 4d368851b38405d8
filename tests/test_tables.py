"""Tables on pages and terminals."""

import io

from rich.console import Console

from dysta_gym.tables import Table, half_width, interval, markdown, marked

HEAD = ["policy", "", "ANTT"]
ROWS = [["sjf", "shortest", "1.50*"], ["fcfs", "", "12.00"]]


def test_markdown():
    assert markdown(HEAD, ROWS, words=2).splitlines() == [
        "| policy |  | ANTT |",
        "| --- | --- | ---: |",
        "| sjf | shortest | 1.50* |",
        "| fcfs |  | 12.00 |",
    ]
    assert markdown(HEAD, iter([["a", 1, 2.5]]), tight=True).splitlines()[1:] == [
        "|---|---:|---:|",
        "| a | 1 | 2.5 |",
    ]
    assert markdown(["one"], []) == "| one |\n| --- |"
    page = Table("Title", HEAD, ROWS).for_page()
    assert page == f"### Title\n\n{markdown(HEAD, ROWS, tight=True)}\n"


def test_latex_shows_names_as_they_are():
    rows = [["a_b & 100% $x^2$ [#1] {~}\\\\", "-1.5* [-2.0, +1.0]", ""], ["--", "+2.0", "1"]]
    lines = Table("load < 1", HEAD, rows).for_latex().splitlines()
    assert r"\caption{load \textless{} 1}" in lines[2]
    assert r"\begin{tabular}{lrr}" in lines[3]
    assert lines[7].strip() == (
        r"a\_b \& 100\% \$x\textasciicircum{}2\$ {[}\#1{]} \{\textasciitilde{}\}"
        r"\textbackslash{}\textbackslash{} & \textbf{$-$1.5} [$-$2.0, +1.0] &  \\"
    )
    assert lines[8].strip() == r"-{}-{} & +2.0 & 1 \\"
    for line in lines:  # braces that are no text are paired
        bare = line.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")


def test_a_terminal_shows_numbers_to_the_right_and_what_is_marked_in_bold():
    console = Console(width=60, file=io.StringIO(), record=True)
    console.print(Table("Title", HEAD, ROWS).for_terminal())
    styled = console.export_text(styles=True, clear=False)
    assert "\x1b[1m1.50*" in styled and "\x1b[1m12.00" not in styled
    cells = [line.split("│")[1:4] for line in console.export_text().splitlines() if "│" in line]
    assert cells == [[" sjf    ", " shortest ", " 1.50* "], [" fcfs   ", "          ", " 12.00 "]]


def test_a_metric_is_its_average_its_mark_and_its_interval():
    row = {"antt": 0.12, "antt_low": 0.1, "antt_high": 0.25, "antt_best": True}
    assert interval(row, "antt", ".1f", 100) == "12.0* [10.0, 25.0]"
    assert marked(row, "antt", "+.2f") == "+0.12*"
    alone = {"antt": 0.12, "antt_low": float("nan"), "antt_high": float("nan")}
    assert interval(alone, "antt", ".2f") == "0.12"


def test_an_interval_is_its_longer_side_where_it_must_be_short():
    assert half_width("12.0* [10.0, 25.0]") == "12.0* ±13.0"
    assert half_width("-0.85 [-1.59, -0.36]", "+-") == "-0.85 +-0.74"
    for cell in ("12.0*", "", "a [b, c]", "a.py [1, 2]"):
        assert half_width(cell) == cell
