"""What nbval itself makes of a small notebook, told to be lax and to split it among processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
FILES = "conftest.py pyproject.toml tests/outputs.py tests/prose.py tests/rerun.py tests/strict.py"
TASK = """
import base64
import io
import os

from IPython.display import display
from PIL import Image

told = [name for name in os.environ if "PYTEST" in name]


def draw():
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "png")
    picture = {"image/png": base64.b64encode(file.getvalue()).decode()}
    display(picture, metadata={"image/png": {"alt": "a square"}}, raw=True)


def progress():
    bar = display({"text/html": ""}, raw=True, display_id=True)
    for html in ("<b>a half</b>", ""):
        bar.update({"text/html": html}, raw=True)
"""
SETUP = "%load_ext autoreload\n%autoreload 2\n%run task_small.py"
TEXT = "print(1 + 1)\ndisplay('between')\nprint(2 + 2)"
UPDATE = "shown = display('first', display_id=True)\nshown.update('second')"
REFUSED = {
    "number": (TEXT, lambda cell: cell.outputs[0].update(text="3\n")),
    "order": (TEXT, lambda cell: cell.outputs.reverse()),
    "place": (TEXT, lambda cell: cell.outputs[0].update(text="2\n4\n") or cell.outputs.pop()),
    "overwritten": (TEXT, lambda cell: cell.outputs[0].update(text="3\r2\n")),
    "picture": ("draw()", lambda cell: cell.outputs[0].data.update({"image/png": "AAAA"})),
    "alt": ("draw()", lambda cell: cell.outputs[0].metadata["image/png"].update(alt="97")),
    "count": (TEXT, lambda cell: cell.update(execution_count=77)),
    "source": (TEXT, lambda cell: cell.update(source="print(1 + 2)")),
    "updated": (UPDATE, lambda cell: cell.outputs[0].data.update({"text/plain": "'first'"})),
}
CELLS = {
    "first": SETUP,
    "text": TEXT,
    "figure": "draw()",
    "update": UPDATE,
    "progress": "progress()",
    "asks": "print(told)",
    **{name: source for name, (source, _) in REFUSED.items()},
}


@pytest.fixture(scope="module")
def nbval_report(tmp_path_factory):
    """What failed, by cell, and all that was printed."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "tests").mkdir()
    shutil.copytree(ROOT / "course", folder / "course")
    for name in FILES.split():
        shutil.copy(ROOT / name, folder / name)
    (folder / "task_small.py").write_text(TASK)
    cells = [nbformat.v4.new_code_cell(source, id=name) for name, source in CELLS.items()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    untold = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    NotebookClient(notebook, resources={"metadata": {"path": folder}}).execute(env=untold)
    for cell in notebook.cells:
        if cell.id in REFUSED:
            REFUSED[cell.id][1](cell)
    nbformat.write(notebook, folder / "small.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-n2", str(folder)]
    command += ["--junitxml=report.xml", "-p", "no:hypothesispytest"]  # which is slow to start
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    cases = ElementTree.parse(folder / "report.xml").iter("testcase")
    failed = {case.get("name"): case.find("failure") for case in cases}
    of_file = failed.pop("file").text
    names = [
        name for name, failure in zip(CELLS, failed.values(), strict=True) if failure is not None
    ]
    names += [name for name in CELLS if f"({name})" in of_file]
    return names, run.stdout


@pytest.mark.parametrize(
    "message", ["line 1 is '3\\n', rerun: '2\\n'", "execution count is 77, expected 13"]
)
def test_nbval_says_what_is_refused(nbval_report, message):
    assert message in nbval_report[1]


@pytest.mark.parametrize("name", CELLS)
def test_nbval_refuses_the_tampered_cells_only(nbval_report, name):
    failed, output = nbval_report
    assert (name in failed) == (name in REFUSED), output
