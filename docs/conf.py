"""How the pages become a site: ``make docs``.

The sources are the repository's own pages, at their own places, so that links read the same here
and where the code is hosted. Nothing that is built loads anything from elsewhere.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import dysta_gym

ROOT = Path(__file__).parents[1]

project = "Dysta Gym"
author = "The Dysta Gym authors"
project_copyright = author
version = release = dysta_gym.__version__

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "examples/own_package/README.md",
    "docs/**.md",
    "docs/notebooks/*.ipynb",
]
exclude_patterns = [
    "docs/paper",  # the README has it
    ".*",
    "build",
    "dist",
    "runs",
    "results",
    "reproduction",
]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
nb_execution_mode = "off"  # a notebook is kept with what it showed, and a test runs it
nb_ipywidgets_js: dict[str, Any] = {}  # would come from elsewhere
myst_heading_anchors = 4
myst_enable_extensions = ["fieldlist"]
copybutton_prompt_text = "$ "

# Types of other libraries lead nowhere, for their indices are elsewhere, and a name in backticks
# may be that of an argument. Links between pages and terms of the glossary are checked.
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]
suppress_warnings = ["ref.python"]  # a name that two modules have

default_role = "py:obj"
add_module_names = False
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "Dysta Gym"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["start"]  # index.html, which leads to the first page
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5f8a",
        "color-brand-content": "#0b5f8a",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cb8e0",
        "color-brand-content": "#6cb8e0",
    },
}
html_show_sphinx = False
html_copy_source = False


FOLDER = re.compile(r"\[([^\]]+)\]\(([\w./-]+)\)")


def _prepare(app: Sphinx, page: str, source: list[str]) -> None:
    """Make links to folders links to their pages, and leave out what may yet come.

    Tables that `compare --out` writes get a title, and are in no list.
    """
    here = (ROOT / page).parent

    def linked(link: re.Match[str]) -> str:
        text, target = link.groups()
        if not (here / target).is_dir():
            return link[0]
        return f"[{text}]({target}/README.md)" if (here / target / "README.md").exists() else text

    text = FOLDER.sub(linked, source[0])
    if page == root_doc:
        text = "\n".join(
            line for line in text.split("\n") if not line.endswith("*") or any(here.glob(line))
        )
    if page.endswith("/results"):
        text = "---\norphan: true\n---\n\n# Tables\n\n" + text.replace("### ", "## ")
    source[0] = text


def _reworked(app: Sphinx, what: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
    """Docstrings in Markdown: those of the environments are a page, others have code."""
    if "```python" in lines and name.startswith("dysta_gym.envs."):
        lines[:] = [lines[0], "", "Its page: :doc:`/docs/environment`."]
    inside = False
    for at, line in enumerate(lines):
        if line.startswith("```"):
            inside = not inside
            lines[at] = ".. code-block:: python\n" if inside else ""
        elif inside:
            lines[at] = f"   {line}"
    lines[:] = "\n".join(lines).split("\n")


ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
PREFIX = re.compile(r"~?\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])|~")
ARRAY = re.compile(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[([^\]]+)\]\]")


def _short(
    app: Sphinx, what: str, name: str, it: Any, options: Any, arguments: str, gives: str
) -> tuple[str, str]:
    """Signatures without modules."""
    arguments, gives = (
        ALIAS.sub(r"\1", ARRAY.sub(r"NDArray[\1]", PREFIX.sub("", each))) if each else each
        for each in (arguments, gives)
    )
    return arguments and arguments.replace("<factory>", "..."), gives


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _prepare)
    app.connect("autodoc-process-docstring", _reworked)
    app.connect("autodoc-process-signature", _short)
