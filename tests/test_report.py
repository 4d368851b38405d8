"""The page that says all of a comparison: what is in it, and what a browser makes of it."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dysta_gym import cli, generate, load_scenario, report, simulate
from dysta_gym.cli.results import caption, condition_tables
from dysta_gym.comparison import CELL, cells_of, run
from dysta_gym.text import printable

POLICIES = ["fcfs", "dysta", "dysta_oracle", "sjf@monitored", "evolved"]
ARGUMENTS = [
    *("--load", "0.8", "--load", "1.05", "--seeds", "5", "--requests", "80"),
    *(part for policy in POLICIES for part in ("--policy", policy)),
]
HOSTILE = [
    "</script><script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "<b>'&amp;\"", "a\nb",
    "\x1b[31m", "{{ 7 * 7 }}", "</style>", "__proto__", "ü" * 90,
]  # fmt: skip


class Page(HTMLParser):
    """Elements with their attributes, and tables as rows of texts, by the heading before them."""

    VOID = ("meta", "br", "path", "line", "rect")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.tables = [], [], []
        self.texts, self.heading, self.cell = [], "", None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "h3":
            self.heading = ""
        if tag == "table":
            self.tables.append((self.heading, []))
        if tag == "tr":
            self.tables[-1][1].append([])
        if tag in ("td", "th"):
            self.tables[-1][1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if "h3" in self.open:
            self.heading += data
        if self.open and {"td", "th"} & {*self.open}:
            self.tables[-1][1][-1][-1] += data


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report by the command, beside its other files."""
    folder = tmp_path_factory.mktemp("report")
    path = folder / "new" / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["compare", *ARGUMENTS, "--report", path, "--out", folder]
        patch.setattr(sys, "argv", ["dysta-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert not ended.value.code
    return path, pd.read_csv(folder / "results.csv"), folder


def self_contained(page):
    """Assert that a page loads nothing."""
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "image")
        assert not {"src", "srcset", "xlink:href", "action", "data"} & {*attributes}, attributes
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
        assert "url(" not in attributes.get("style", "")
    text = "".join(page.texts)
    assert not re.search(r"https?://|url\(|@import|\bfetch\(|XMLHttpRequest|\bimport\(", text)


def test_a_report_has_everything_and_loads_nothing(made):
    path, results, folder = made
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    self_contained(page)
    said = "".join(page.texts)
    titles = [f"{name}: load {load:.3g} (" for name, load, *_ in results.groupby(CELL).groups]
    assert len(titles) == 4
    for title in titles:
        # the picture, the table, the distributions, and two tables of classes
        assert said.count(title) == 5
    charts = [attributes for tag, attributes in page.elements if attributes.get("class") == "chart"]
    assert len(charts) == 4
    assert said.count("lower bounds: violations") == said.count("in hindsight: violations") == 4
    for policy in POLICIES:
        assert len(
            [row for _, rows in page.tables for row in rows if row[0].strip() == policy]
        ) == (
            5 + 4 + 8 + 1  # tables, distributions, classes, what each policy is
        )
    for words in ("--load 0.8 --load 1.05 --seeds 5", "0 to 4", "numba", "sized/kalman"):
        assert words in said
    assert {path.name for path in folder.iterdir()} == {
        "new", "results.csv", "results.csv-metadata.json", "results.md", "trade-off.png"
    }  # fmt: skip
    assert [each.name for each in path.parent.iterdir()] == ["page.html"]  # nothing half written


def test_the_numbers_of_a_report_are_those_of_the_tables(made):
    path, results, folder = made
    page = Page(path.read_text(encoding="utf-8"))
    sections = (folder / "results.md").read_text().split("### ")[1:]
    assert len(sections) == 5
    for section in sections:
        title, _, _, _, *lines = section.partition("\n\nMean over")[0].rstrip("\n").split("\n")
        wanted = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        (rows,) = [
            [[" ".join(cell.split()) for cell in row] for row in rows[1:]]
            for heading, rows in page.tables
            if heading == title and len(rows[0]) == len(wanted[0]) and rows[0][-1] != "p99"
        ]
        assert rows == wanted
    keys = [*CELL, "policy"]
    means = results.groupby(keys, sort=False).mean(numeric_only=True)
    spread = [rows for _, rows in page.tables if rows[0][-1] == "p99"]
    assert len(spread) == 4
    for _, row in means.iterrows():
        assert any(
            [line[2], line[3], line[4]]
            == [f"{row['ntt_p50']:.2f}", f"{row['ntt_p95']:.1f}", f"{row['ntt_p99']:.1f}"]
            for rows in spread
            for line in rows[1:]
        )
    for (scenario, load, *_), group in means.groupby(CELL, sort=False):
        rows = page_rows(page, f"{scenario}: load {load:.3g}", ": violations (%)")
        columns = [name for name in group if "_model_" in name or "_priority_" in name]
        columns = [name for name in columns if group[name].notna().any()]
        columns.sort(key=lambda name: "_priority_" in name)
        for line, (_, row) in zip(rows[1:], group.iterrows(), strict=True):
            assert line[1:] == [f"{100 * row[name]:.1f}" for name in columns]


def page_rows(page, start, end):
    (rows,) = [
        rows for heading, rows in page.tables if heading.startswith(start) and heading.endswith(end)
    ]
    return [[" ".join(cell.split()) for cell in row] for row in rows]


def test_spreads_are_those_of_the_schedules():
    spreads = report.Spreads()
    cells = cells_of(["multi-cnn"], seeds=range(3), requests=60)
    run(cells, ["fcfs", "dysta"], bounds=False, watch=spreads.watch, jobs=2)
    table = spreads.table().set_index("policy")
    for policy in ("fcfs", "dysta"):
        medians, averages = [], []
        for seed in range(3):
            workload = generate(load_scenario("multi-cnn").varied(requests=60), seed, split="test")
            finish = simulate(workload, policy).finish_s
            ntt = (finish - workload.arrival_s) / workload.isolated_s
            medians.append(np.median(ntt))
            averages.append(ntt[workload.priority == 3].mean())
        assert table.loc[policy, "ntt_0.5"] == pytest.approx(np.mean(medians), rel=1e-9)
        assert table.loc[policy, "antt_priority_3"] == pytest.approx(np.mean(averages), rel=1e-9)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report in which every name is hostile."""
    spreads = report.Spreads()
    cells = cells_of(["multi-attnn"], seeds=range(2), requests=40)
    one = run(cells, ["sjf"], watch=spreads.watch).assign(scenario=HOSTILE[0])
    table = spreads.table().assign(scenario=HOSTILE[0])
    results = pd.concat([one.assign(policy=name) for name in HOSTILE], ignore_index=True)
    path = tmp_path_factory.mktemp("hostile") / "page.html"
    report.write(
        path,
        results,
        condition_tables(results, HOSTILE[:1], "mean"),
        caption(results, HOSTILE[:1], "mean", "test"),
        pd.concat([table.assign(policy=name) for name in HOSTILE], ignore_index=True),
        settings={name: name for name in HOSTILE},
    )
    return path


def test_names_are_text(hostile):
    page = Page(hostile.read_text(encoding="utf-8"))
    self_contained(page)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert [tag for tag, _ in page.elements].count("style") == 1
    said = "".join(page.texts)
    for name in HOSTILE:
        assert said.count(printable(name)) >= 5
    assert "alert(1)" not in re.search("<script>(.*?)</script>", hostile.read_text(), re.S)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--report", "page.txt"], ["report", "'page.txt'", ".html"]),
        (["--report", "folder.html"], ["report", "'folder.html'", "is a folder"]),
        (["--report", "file/page.html"], ["report", "'file/page.html'", "is a file"]),
    ],
    ids=str,
)
def test_a_report_that_cannot_be_written(monkeypatch, capsys, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["dysta-gym", "compare", *ARGUMENTS, *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    output, errors = capsys.readouterr()
    assert ended.value.code == 2 and output == "" and len(errors.splitlines()) == 1
    assert all(word in errors for word in words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.html"]


# --- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium, driven by the WebDriver protocol."""
    driver = shutil.which("chromedriver")
    if not driver or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs chromium and chromedriver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(path, body=None, method="POST"):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", json.dumps(body or {}).encode(), method=method
        )
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    options = {
        "args": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 f"--user-data-dir={tmp_path_factory.mktemp('browser')}"],
    }  # fmt: skip
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    try:
        for _ in range(50):
            try:
                opener.open(f"http://127.0.0.1:{port}/status", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        session = (
            "/session/" + call("/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        )

        def show(path, width=1400, scripts=True):
            command = f"{session}/goog/cdp/execute"
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            call(command, {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
            call(f"{session}/url", {"url": path.as_uri()})

        def does(script):
            return call(f"{session}/execute/sync", {"script": script, "args": []})

        yield SimpleNamespace(
            show=show, does=does, complaints=lambda: call(f"{session}/se/log", {"type": "browser"})
        )
        call(session, method="DELETE")
    finally:
        process.terminate()
        process.wait()


CELLS = """
const table = document.querySelectorAll("table.sortable")[0];
const column = (at) => [...table.tBodies[0].rows].map((row) => row.cells[at].textContent.trim());
"""


def test_a_browser_sorts_the_tables(browser, made):
    browser.show(made[0])
    given = browser.does(CELLS + "return column(0)")
    assert given == POLICIES
    click = "table.tHead.rows[0].cells[1].querySelector('button').click();"
    state = "return [column(0), column(1), table.tHead.rows[0].cells[1].getAttribute('aria-sort')]"
    for turn in ("ascending", "descending"):
        names, values, sort = browser.does(CELLS + click + state)
        numbers = [float(re.match(r"[\d.]+", value)[0]) for value in values]
        assert sort == turn and sorted(names) == sorted(POLICIES)
        assert numbers == sorted(numbers, reverse=turn == "descending")
    by_difference = CELLS + "table.tHead.rows[0].cells[2].querySelector('button').click();"
    names, *_ = browser.does(by_difference + state)
    assert names[-1] == "dysta"  # which has none, being the reference
    names = "return [...table.tFoot.rows].map((row) => row.cells[0].innerText)"
    assert browser.does(CELLS + names) == ["(in hindsight)", "(lower bound)"]
    assert browser.complaints() == []


def test_a_browser_shows_what_a_point_is(browser, made):
    browser.show(made[0])
    browser.does("document.querySelector('.point').focus()")
    said = browser.does(
        "const tip = document.getElementById('tip'); return [tip.hidden, tip.innerText]"
    )
    assert said[0] is False
    assert re.match(rf"({'|'.join(map(re.escape, POLICIES))})\nviolations [\d.]+ %", said[1])
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("which", ["made", "hostile"])
def test_a_page_fits_its_window(browser, request, which, width):
    path = request.getfixturevalue(which)
    browser.show(path[0] if which == "made" else path, width)
    assert browser.does("return document.documentElement.scrollWidth") <= width
    assert browser.does("return document.querySelectorAll('.point').length") > 0
    assert browser.does("return performance.getEntriesByType('resource').length") == 0
    assert browser.complaints() == []
