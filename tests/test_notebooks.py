"""The notebooks of docs/notebooks: what is stored is theirs, and they run as they stand."""

import copy
import re
from pathlib import Path

import nbformat
import pytest

from benchmarks.notebooks import execute, said, standard

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
SHORTER = {
    "first-look": {"SEEDS": 2},
    "own-scheduler": {"SEEDS": 2},
    "own-agent": {"STEPS": 4096, "VALIDATION": 1, "SEEDS": 1},
}
"""What each is run with: workloads and steps are not what is tested."""

MOST_BYTES = 300_000
LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell shows, but for what stands in it, and for what is said of compiling."""
    shown = [each for each in cell.outputs if each.get("name") != "stderr"]
    return [(each.output_type, *sorted(each.get("data", {}))) for each in shown]


def test_every_notebook_is_run():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SHORTER)


@pytest.mark.parametrize("name", SHORTER)
def test_what_is_stored_is_what_its_cells_showed(name):
    notebook, cells = read(name), code(read(name))
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [each for cell in cells for each in cell.outputs]
    assert {each.output_type for each in outputs} <= {"stream", "display_data", "execute_result"}
    assert {each.name for each in outputs if each.output_type == "stream"} <= {"stdout"}
    assert any("image/png" in each.get("data", {}) for each in outputs)
    for cell in cells:  # what a cell ends with is shown by itself
        given = [each for each in cell.outputs if each.output_type == "execute_result"]
        assert [each.execution_count for each in given] in ([], [cell.execution_count])
    stored = copy.deepcopy(notebook)
    standard(stored)
    assert stored == notebook  # nothing of the machine or the moment
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", SHORTER)
def test_its_links_lead_somewhere(name):
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            for link in LINK.findall(cell.source):
                path = link.partition("#")[0]
                assert re.match(r"[a-z]+:", link) or (FOLDER / path).exists(), link


@pytest.mark.parametrize("name", SHORTER)
def test_it_runs(name, tmp_path, monkeypatch):
    """In a fresh kernel, with no word on standard error but that of what is compiled."""
    if name == "own-agent":
        pytest.importorskip("sb3_contrib")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = read(name)
    stored = [cell.source for cell in notebook.cells]
    for cell in code(notebook):
        cell.outputs, cell.execution_count = [], None
    execute(notebook, tmp_path, SHORTER[name])
    assert said(notebook) == []
    (at,) = [at for at, cell in enumerate(notebook.cells) if "injected" in str(cell.metadata)]
    given = notebook.cells.pop(at).source.splitlines()
    assert notebook.cells[at - 1].metadata.tags == ["parameters"]
    assert all(re.search(rf"^{line.split()[0]} = ", stored[at - 1], re.M) for line in given)
    assert [cell.source for cell in notebook.cells] == stored
    for cell, kept in zip(code(notebook), code(read(name)), strict=True):
        assert kinds(cell) == kinds(kept), cell.source
