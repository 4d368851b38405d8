"""Run docs/notebooks and keep what they show: ``python -m benchmarks.notebooks [NAME...]``.

A notebook is run in a kernel of its own, in an empty folder. What is kept depends on nothing but
its cells and the versions: no times, no paths, no names of machines, so that a second run changes
little.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

from dysta_gym.files import replacing

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
PARAMETERS = "parameters"
"""Tag of the cell with what a run may set, as Papermill has it."""

TIMEOUT_S = 1200


def execute(
    notebook: nbformat.NotebookNode, folder: str | Path, settings: Mapping[str, Any] | None = None
) -> None:
    """Run the cells of a notebook, and put what they show in it.

    Args:
        notebook: The notebook.
        folder: Where its kernel runs.
        settings: Values for this run of variables that its cell of parameters sets. They are set
            again in a cell behind that one, which stays in the notebook.

    Raises:
        CellExecutionError: If a cell raises.
    """
    if settings:
        told = [PARAMETERS in cell.metadata.get("tags", []) for cell in notebook.cells]
        set_again = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
        cell = nbformat.v4.new_code_cell(set_again, metadata={"tags": ["injected-parameters"]})
        notebook.cells.insert(told.index(True) + 1, cell)
    with tempfile.TemporaryDirectory() as sockets:  # whose names may not be long
        config = Config()
        if sys.platform == "linux":  # no network, not even this machine's
            config.KernelManager.transport = "ipc"
            config.KernelManager.ip = str(Path(sockets) / "kernel")
        NotebookClient(
            notebook,
            timeout=TIMEOUT_S,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            config=config,
        ).execute()


def standard(notebook: nbformat.NotebookNode) -> None:
    """Leave out what differs from one run or machine to another, and name the cells in order."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for at, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{at:02}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        # The line that says what is compiled, where nothing has been yet.
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]


def said(notebook: nbformat.NotebookNode) -> list[str]:
    """Lines that cells wrote to standard error, but for the one that says what is compiled."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    texts = [each.text for cell in cells for each in cell.outputs if each.get("name") == "stderr"]
    return [line for line in "".join(texts).splitlines() if "dysta-gym: compiling" not in line]


def main(names: list[str]) -> None:
    """Run the notebooks of these names, or all."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, folder)
        if lines := said(notebook):
            raise SystemExit(f"{path.name}: it writes to standard error: {lines[0]}")
        standard(notebook)
        nbformat.validate(notebook)
        with replacing(path) as scratch:
            nbformat.write(notebook, scratch)


if __name__ == "__main__":
    main(sys.argv[1:])
