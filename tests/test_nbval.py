"""What nbval itself makes of a small notebook, told to be lax and to split it among processes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient

from course.rubric import ROWS

ROOT = Path(__file__).resolve().parent.parent
OF_TESTS = ("__init__", "outputs", "prose", "rerun", "strict")
FILES = ["conftest.py", "pyproject.toml", *(f"tests/{name}.py" for name in OF_TESTS)]
TASK = """
import base64
import io
import os

from IPython.display import display
from PIL import Image

told = [name for name in os.environ if "PYTEST" in name]
remembering = os.environ["REMEMBERED_TRAININGS"]


def draw():
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "png")
    picture = {"image/png": base64.b64encode(file.getvalue()).decode()}
    display(picture, metadata={"image/png": {"alt": "a square"}}, raw=True)


def twice():
    shown = display("first", display_id=True)
    shown.display("again")
    shown.update("second")


def progress():
    bar = display({"text/html": ""}, raw=True, display_id=True)
    for html in ("<b>a half</b>", ""):
        bar.update({"text/html": html}, raw=True)
"""
KERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
OF_OTHERS = {"REMEMBERED_TRAININGS": "by another kernel"}
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
    "updated-first": (
        "twice()",
        lambda cell: cell.outputs[0].data.update({"text/plain": "'first'"}),
    ),
    "updated": (UPDATE, lambda cell: cell.outputs[0].data.update({"text/plain": "'first'"})),
}
CELLS = {
    "first": SETUP,
    "text": TEXT,
    "figure": "draw()",
    "update": UPDATE,
    "update-of-two": "twice()",
    "progress": "progress()",
    "asks": "print(told)",
    "remembers": "print(remembering)",
    **{name: source for name, (source, _) in REFUSED.items()},
}


def copy_of_project(folder):
    """Fill a folder with what tests notebooks."""
    (folder / "tests").mkdir()
    shutil.copytree(ROOT / "course", folder / "course")
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def execute(notebook, folder):
    untold = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    NotebookClient(notebook, resources={"metadata": {"path": folder}}).execute(env=untold)


@pytest.fixture(scope="module")
def nbval_report(tmp_path_factory):
    """What failed, by cell, and all that was printed."""
    folder = copy_of_project(tmp_path_factory.mktemp("small"))
    (folder / "task_small.py").write_text(TASK)
    cells = [nbformat.v4.new_code_cell(source, id=name) for name, source in CELLS.items()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    execute(notebook, folder)
    for cell in notebook.cells:
        if cell.id in REFUSED:
            REFUSED[cell.id][1](cell)
    nbformat.write(notebook, folder / "small.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-n2", str(folder)]
    command += ["--junitxml=report.xml", "-p", "no:hypothesispytest"]  # which is slow to start
    installed = folder / "kernels" / "python3"  # by somebody, for other work
    installed.mkdir(parents=True)
    foreign = {"display_name": "Python 3", "language": "python", "argv": KERNEL, "env": OF_OTHERS}
    (installed / "kernel.json").write_text(json.dumps(foreign))
    env = os.environ | {"JUPYTER_PATH": str(folder)}
    run = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    cases = ElementTree.parse(folder / "report.xml").iter("testcase")
    failed = {case.get("name"): case.find("failure") for case in cases}
    of_file = failed.pop("file").text
    names = [
        name for name, failure in zip(CELLS, failed.values(), strict=True) if failure is not None
    ]
    names += [name for name in CELLS if f"({name})" in of_file]
    return names, run.stdout


OTHER_COUNT = f"execution count is 77, expected {[*CELLS].index('count') + 1}"


@pytest.mark.parametrize("message", ["line 1 is '3\\n', rerun: '2\\n'", OTHER_COUNT])
def test_nbval_says_what_is_refused(nbval_report, message):
    assert message in nbval_report[1]


def test_what_is_refused_is_said_without_the_code_that_refuses(nbval_report):
    assert "conftest.py" not in nbval_report[1]


@pytest.mark.parametrize("name", CELLS)
def test_nbval_refuses_the_tampered_cells_only(nbval_report, name):
    failed, output = nbval_report
    assert (name in failed) == (name in REFUSED), output


# ---- wherever it is started, and whatever else is asked

SHUFFLE = """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    yield
    items.sort(key=lambda item: hash(item.name[-1]))
    items.reverse()
"""
USED = {
    "utils.py": "word = 'mine'\n",
    "task2.py": "from utils import word\n",
    "report/__init__.py": "",
    "report/words.py": "import task2\n\nsaid = task2.word\n",
}
FOREIGN = dict.fromkeys(USED, "raise ImportError('a foreign file')\n")
FOREIGN |= {"tests/__init__.py": "", "course/__init__.py": ""}


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A folder, its parent being empty, with two notebooks whose cells count on each other."""
    folder = tmp_path_factory.mktemp("above") / "project"
    folder.mkdir()
    copy_of_project(folder)
    (folder / "tests" / "test_few.py").write_text("def test_a(): ...\ndef test_b(): ...\n")
    (folder / "report").mkdir()
    for name, text in USED.items():
        (folder / name).write_text(text)
    count = ["from report.words import said\nn0 = 0"]
    count += [f"n{n} = n{n - 1} + 1\nprint(said, n{n})" for n in range(1, 7)]
    for name in ("assignment2", "other"):
        notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, count)])
        execute(notebook, folder)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder


def outcomes(folder, *options, **variables):
    """Return how many tests of notebooks and of Python files passed, and all that failed."""
    file = folder / "report.xml"
    command = [Path(sys.executable).with_name("pytest"), "-p", "no:hypothesispytest"]
    done = subprocess.run(
        [*command, f"--junitxml={file}", *options],
        env=os.environ | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert file.exists(), done.stdout + done.stderr
    cases = list(ElementTree.parse(file).iter("testcase"))
    file.unlink()
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    return len(cases), [name for name in failed if not re.match("[1-4][a-f] ", name)]  # of rows


NOTEBOOK = 1 + 7 + 7  # the file, its cells, and each again
OTHER = 1 + 7


@pytest.mark.parametrize("options", ["-n2 --dist=worksteal", "-n2 --dist=loadgroup", "-p shuffle"])
def test_cells_stay_together_and_in_order(options, counting, tmp_path):
    (tmp_path / "shuffle.py").write_text(SHUFFLE)
    asked = ["--nbval", *options.split(), "assignment2.ipynb", "tests/test_few.py", "other.ipynb"]
    found = outcomes(counting, *asked, PYTHONPATH=str(tmp_path), PYTHONHASHSEED="1")
    assert found == (NOTEBOOK + 2 + OTHER, [])


@pytest.mark.parametrize("name", ["a", "assignment2", "other"])
def test_cells_are_listed_behind_the_file_and_in_order(name, counting, tmp_path):
    (tmp_path / "shuffle.py").write_text(SHUFFLE)
    shutil.copy(counting / "other.ipynb", counting / "a.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "--collect-only", "-q", "-p", "shuffle"]
    env = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": "1"}
    listing = subprocess.run(
        [*command, f"{name}.ipynb"], cwd=counting, env=env, capture_output=True, text=True
    )
    (counting / "a.ipynb").unlink()
    listed = re.findall("(?m)::(.+)$", listing.stdout)
    assert listed[:8] == ["file", *(f"Cell {n}" for n in range(7))], listing.stdout
    assert len(listed) == (NOTEBOOK if name == "assignment2" else OTHER)


def test_without_xdist_all_is_tested(counting):
    assert outcomes(counting, "-p", "no:xdist") == (2, [])


def test_without_nbval_what_is_no_notebook_is_tested(counting):
    assert outcomes(counting) == (2, [])


@pytest.mark.parametrize("options", [[], ["--rootdir=/", "./project/../project"]])
def test_a_folder_above_will_do(options, counting):
    found = outcomes(counting.parent, "--nbval", *options)
    assert found == (NOTEBOOK + 2 + OTHER + len(ROWS), [])


def test_cells_that_would_be_parted_are_an_error_that_says_what_to_do(counting):
    pytest_above = [sys.executable, "-m", "pytest", "--nbval", "-n2", "-k", "Cell"]
    run = subprocess.run(pytest_above, cwd=counting.parent, capture_output=True, check=False)
    assert run.returncode == 1
    assert b"would part the cells of other.ipynb, which share a kernel" in run.stdout
    assert f"outside {counting}: start it there, or add --dist=loadfile".encode() in run.stdout


def test_the_project_s_own_files_are_found_before_others_of_their_names(counting, tmp_path):
    for name, text in FOREIGN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = outcomes(counting, "--nbval", PYTHONPATH=str(tmp_path))
    assert found == (NOTEBOOK + 2 + len(ROWS), [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_notebook_that_cannot_be_read_is_named(encoding, counting):
    text = (counting / "other.ipynb").read_text("utf-8")
    (counting / "stored.ipynb").write_text(text, encoding)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest", "--nbval"]
    run = subprocess.run(
        [*command, "stored.ipynb"], cwd=counting, capture_output=True, text=True, check=False
    )
    (counting / "stored.ipynb").unlink()
    assert run.returncode == 1
    assert "stored.ipynb is no notebook in UTF-8 without a byte order mark (" in run.stdout
    assert "`handin.py stored.ipynb` stores it so" in run.stdout
