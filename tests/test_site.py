"""The site of the pages: it builds without a warning, and loads nothing from elsewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import dysta_gym
from benchmarks import pages

ROOT = Path(__file__).parents[1]
LOADING = {"stylesheet", "preload", "icon", "shortcut", "modulepreload", "prefetch", "manifest"}
ELSEWHERE = re.compile(r"^\s*(?:[a-z]+:)?//", re.I)
IN_STYLES = re.compile(r"@import\s+(?:url\()?['\"]?([^'\";)]+)|url\(\s*['\"]?([^'\")]+)", re.I)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for needed in ("sphinx", "furo", "myst_nb", "sphinx_copybutton", "torch", "sb3_contrib"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("site")
    # As `make docs` does; the copy of what was parsed stands beside the pages, not in them.
    options = ("-W", "--keep-going", "-n", "-q", "-c", ROOT / "docs", "-d", folder / "parsed")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ROOT, folder / "html"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # as it is not after a warning
    return folder / "html"


class _Loaded(HTMLParser):
    """What a page makes a browser fetch, and the styles in it."""

    def __init__(self):
        super().__init__()
        self.found, self.styles, self._in_style = [], [], False

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._in_style = tag == "style"
        self.found += [given[key] for key in ("src", "poster", "data") if given.get(key)]
        self.found += [part.split()[0] for part in (given.get("srcset") or "").split(",") if part]
        if tag == "link" and LOADING & set((given.get("rel") or "").split()):
            self.found.append(given["href"])
        self.styles.append(given.get("style") or "")

    def handle_data(self, data):
        if self._in_style:
            self.styles.append(data)
        self._in_style = False


def in_styles(text):
    return [first or second for first, second in IN_STYLES.findall(text)]


def test_nothing_is_loaded_from_elsewhere(site):
    html, css = [*site.rglob("*.html")], [*site.rglob("*.css")]
    assert len(html) > 60 and css
    for page in html:
        loaded = _Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        fetched = loaded.found + in_styles("\n".join(loaded.styles))
        assert not [each for each in fetched if ELSEWHERE.match(each)], page
    for sheet in css:
        fetched = in_styles(sheet.read_text(encoding="utf-8"))
        assert not [each for each in fetched if ELSEWHERE.match(each)], sheet


def test_every_public_name_is_in_the_api(site):
    text = "".join(page.read_text("utf-8") for page in (site / "docs" / "api").glob("*.html"))
    for room in (dysta_gym, dysta_gym.envs, dysta_gym.agents):
        for name in room.__all__:
            assert f'id="{room.__name__}.{name}"' in text, name


def test_every_policy_has_a_page_and_every_page_a_policy():
    rules = {rule.name for rule in pages.rules()}
    assert {path.stem for path in (ROOT / pages.POLICIES).glob("*.md")} == rules | {"index", "own"}
    index = (ROOT / pages.POLICIES / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[`([\w-]+)`\]\(\1\.md\)", index, re.M)) == rules


def test_what_pages_take_from_the_code_is_what_it_says():
    """`make pages` would change nothing."""
    assert (ROOT / pages.ENVIRONMENT).read_text(encoding="utf-8") == pages.environment()
    board = (ROOT / pages.LEADERBOARD).read_text(encoding="utf-8")
    for rule in pages.rules():
        page = (ROOT / pages.POLICIES / f"{rule.name}.md").read_text(encoding="utf-8")
        assert page.count(f"{pages.START}\n{pages.part(rule, board)}\n\n{pages.END}") == 1, rule
