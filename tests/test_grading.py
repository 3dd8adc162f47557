"""A hand-in's notebook runs in a kernel in the box; the sheet says what became of all."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course import box
from course.rubric import REPORT, ROWS
from course.sheet import sheet_lines
from tests.course_files import ROOT, needs_box, zipped

SOLUTION = {
    f"{name}.py": (ROOT / f"{name}.py").read_text("utf-8")
    for name in ("task2a", "task2", "task3", "task4")
}
RUN = ("%run task2a.py\n%run task2.py\n%run task3.py\n%run task4.py", "")
GOOD = [
    RUN,
    "## Oppgave 2a)",
    ("print(mean_X([1, 2]))", "1.5\n"),
    "## 4 f",
    ("print(relu(-1))", "0\n"),
]
SECTIONS = [f"## Task {task}" for task in "1a 2a 2b 2c 2d 3a 3b 3c 4a 4b 4c 4d 4e 4f".split()]


def notebook(*parts, executed=True, tags=()):
    """Return a notebook of headings and (code, printed text)."""
    cells, number = [], 0
    for part in parts:
        if isinstance(part, str):
            cells.append(new_markdown_cell(part))
            continue
        number += 1
        code, text = part
        outputs = [new_output("stream", name="stdout", text=text)] if text and executed else []
        cell = new_code_cell(code, outputs=outputs, metadata={"tags": list(tags)} if tags else {})
        cell.execution_count = number if executed else None
        cells.append(cell)
    return nbformat.writes(new_notebook(cells=cells))


def told(code, text="ok\n"):
    return {**SOLUTION, "a.ipynb": notebook(*GOOD, (code, text))}


HAND_INS = {
    "good": {
        **{f"group 7/{name}": text for name, text in SOLUTION.items()},
        "group 7/My report.ipynb": notebook(*GOOD),
        "group 7/conftest.py": "raise SystemExit",
    },
    "nothing but a dummy notebook": {
        "a.ipynb": notebook(
            *(part for head in SECTIONS for part in (head, ("print(100)", "100\n")))
        )
    },
    "no notebook": SOLUTION,
    "a notebook that was never executed": {**SOLUTION, "a.ipynb": notebook(*GOOD, executed=False)},
    "an invented output": told("print(1 + 1)", "3\n"),
    "an output that is its own": told(
        "import json, glob\nfor name in glob.glob('/hand-in/*.ipynb') + glob.glob('*.ipynb'):\n"
        "    print(json.load(open(name))['cells'][-1]['outputs'][0]['text'][0])",
        "accuracy 1.0\n",
    ),
    "marks": {
        **SOLUTION,
        "a.ipynb": notebook(
            *GOOD,
            ("# NBVAL_SKIP\nprint(1)", "2\n"),
            ("# NBVAL_IGNORE_OUTPUT\nprint(1)", "2\n"),
            tags=("nbval-skip", "nbval-ignore-output", "raises-exception"),
        ),
    },
    "a kernel that leaves": told("import os; print('ok', flush=True); os._exit(0)"),
    "a cell without an end": told("while True: pass"),
    "text without an end": told("while True: print('x' * 10**6)"),
    "a message too large": told("print('x' * 10**8)"),
    "a forged reply": told(
        "from IPython import get_ipython\nk = get_ipython().kernel\n"
        "for _ in range(10**6):\n    k.session.send(k.iopub_socket, 'status', "
        "{'execution_state': 'busy'}, parent=None, ident=b'x')\nprint('ok')"
    ),
    "files and processes elsewhere": told(
        "import os, pathlib, subprocess\n"
        f"for folder in ('{ROOT}', '/tmp', '{box.Path.home()}', '/var/tmp', '/usr'):\n"
        "    try: pathlib.Path(folder, 'written by a hand-in').write_text('x')\n"
        "    except OSError: pass\n"
        "p = subprocess.Popen(['sleep', '31415'], start_new_session=True)\nprint('ok')"
    ),
    "what a terminal obeys": told(
        "from IPython import get_ipython\nk = get_ipython().kernel\n"
        "k.session.send(k.iopub_socket, '\x1b]0;mine\x07', {}, parent=k.get_parent())\n"
        "raise ValueError('\x1b]0;mine\x07' * 10000)  # \x1b]0;mine\x07"
    ),
    "many processes": told(
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    ),
    "a file beside it, workers and a figure": told(
        "import matplotlib.pyplot as plt\nfrom joblib import Parallel, delayed\n"
        "plt.plot([1, 2]); plt.savefig('figure.png'); plt.close()\n"
        "print(Parallel(2)(delayed(abs)(n) for n in (-1, -2)))",
        "[1, 2]\n",
    ),
    "data": told(
        "from utils import load_unseen_mnist\nprint(len(load_unseen_mnist()[0]))", "40000\n"
    ),
}
FULL = sum(row.points for row in ROWS)
OF_GOOD = 1.4  # of ten: the sections of 2a and 4f, 12 of 85


@pytest.fixture(scope="module")
def graded(request, tmp_path_factory):
    """The sheet as JSON and as text of each hand-in that is asked for, two at a time."""
    folder = tmp_path_factory.mktemp("graded")

    def grade(name):
        path = folder / f"{name}.zip"
        path.write_bytes(zipped(HAND_INS[name]))
        sheet = path.with_suffix(".json")
        command = [sys.executable, "-m", "course", "grade", str(path), f"--grades={sheet}"]
        command += ["--seed=5", "--nbval-cell-timeout=6", "-p", "no:cacheprovider"]
        command += ["-p", "no:hypothesispytest"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        before, _, text = done.stdout.partition(" grade sheet ")
        return json.loads(sheet.read_text()), before * (name == "what a terminal obeys") + text

    items = [i for i in request.session.items if "graded" in getattr(i, "fixturenames", ())]
    names = {
        item.callspec.params.get("name", "good") if hasattr(item, "callspec") else "good"
        for item in items
    }
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(grade, name) for name in sorted(names)}


@needs_box
@pytest.mark.parametrize("name", [n for n in HAND_INS if n != "nothing but a dummy notebook"])
def test_notebook_costs_no_code(name, graded):
    result, text = graded[name].result()
    assert result["points"] == FULL, text


@needs_box
@pytest.mark.parametrize(
    "name",
    [
        *("a notebook that was never executed", "an invented output", "an output that is its own"),
        *("marks", "a kernel that leaves", "a cell without an end", "text without an end"),
        *("a message too large", "many processes", "no notebook", "nothing but a dummy notebook"),
    ],
)
def test_report_has_no_points(name, graded):
    result, text = graded[name].result()
    assert result["report"]["points"] == 0, text


@needs_box
@pytest.mark.parametrize("name", ["good", "a file beside it, workers and a figure", "data"])
def test_report_has_points_for_what_it_shows(name, graded):
    result, text = graded[name].result()
    assert result["report"]["points"] == OF_GOOD, text


@needs_box
@pytest.mark.parametrize("name", ["files and processes elsewhere", "a forged reply"])
def test_nothing_is_left(name, graded):
    result, text = graded[name].result()
    assert result["report"]["points"] in (0, OF_GOOD), text
    for folder in (ROOT, box.Path("/tmp"), box.Path.home(), box.Path("/var/tmp")):
        assert not list(folder.glob("written by a hand-in"))
    processes = [p.info["cmdline"] for p in box.psutil.process_iter(["cmdline"])]
    assert ["sleep", "31415"] not in processes


@needs_box
@pytest.mark.parametrize("name", ["what a terminal obeys"])
def test_terminal_is_not_spoken_to(name, graded):
    result, text = graded[name].result()
    assert result["report"]["points"] == 0
    assert all(character.isprintable() or character == "\n" for character in text)


@needs_box
@pytest.mark.parametrize("name", ["nothing but a dummy notebook"])
def test_a_dummy_notebook_has_no_points(name, graded):
    result, text = graded[name].result()
    assert result["points"] == 0
    assert "note: task2a.py is missing" in text


@needs_box
@pytest.mark.parametrize("name", ["good"])
def test_text_is_the_sheet(name, graded):
    result, text = graded[name].result()
    assert list(sheet_lines(result)) == text.splitlines()[1 : 1 + len(list(sheet_lines(result)))]
    assert "note: not looked at: 'group 7/conftest.py'" in text


def run(*options, path=None, cwd=ROOT):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    environment = {**box.os.environ} | ({"PATH": path} if path else {})
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture
def good_zip(tmp_path):
    path = tmp_path / "good.zip"
    path.write_bytes(zipped(HAND_INS["good"]))
    return path


def test_without_a_box_trust_is_asked_for(good_zip, tmp_path):
    done = run(f"--hand-in={good_zip}", path=str(tmp_path))
    assert done.returncode == 4
    assert "bwrap is not installed (Debian, Ubuntu: apt install bubblewrap)" in done.stderr
    assert box.UNPROTECTED in done.stderr


def test_with_trust_there_is_no_box(good_zip, tmp_path):
    done = run("--nbval", f"--hand-in={good_zip}", "--trust", path=str(tmp_path))
    assert f"code     {FULL:g}/{FULL:g}" in done.stdout, done.stdout
    assert f"report  {OF_GOOD}/{REPORT}" in done.stdout
    assert "note: graded without a box, since bwrap is not installed" in done.stdout


@needs_box
@pytest.mark.parametrize(
    "given", [["--hand-in=../a b.zip"], ["--hand-in", "../ø.zip"], ["--hand-in=Ø/c.zip"]]
)
def test_a_zip_is_found_from_where_pytest_is_started(given, good_zip, tmp_path):
    (tmp_path / "else where" / "Ø").mkdir(parents=True)
    for name in ("a b.zip", "ø.zip", "else where/Ø/c.zip"):
        shutil.copy(good_zip, tmp_path / name)
    done = run(*given, str(ROOT), cwd=tmp_path / "else where")
    assert f"code     {FULL:g}/{FULL:g}" in done.stdout, done.stdout + done.stderr


def test_students_seed_is_refused(good_zip):
    done = run(f"--hand-in={good_zip}", "--seed=2026")
    assert done.returncode == 4
    assert "which students have: take another one" in done.stderr


@needs_box
def test_zero_is_a_seed(good_zip, tmp_path):
    run(f"--hand-in={good_zip}", "--seed=0", f"--grades={tmp_path / 'sheet.json'}")
    assert json.loads((tmp_path / "sheet.json").read_text())["seed"] == 0


def test_several_processes_are_refused(good_zip):
    done = run(f"--hand-in={good_zip}", "-n", "2")
    assert done.returncode == 4
    assert "graded in one process" in done.stderr


def test_what_lies_here_is_graded_in_seconds(tmp_path):
    done = run("course/rubric.py", f"--grades={tmp_path / 'sheet.json'}")
    result = json.loads((tmp_path / "sheet.json").read_text())
    assert (result["points"], result["report"]["points"]) == (FULL, None), done.stdout


def test_rubric_named_on_the_command_line_is_tested():
    done = run("course/rubric.py")
    assert f"code     {FULL:g}/{FULL:g}" in done.stdout, done.stdout


@pytest.mark.parametrize("given", [[], ["course"], ["tests/test_hints.py"]])
def test_rubric_that_nobody_names_is_not(given):
    done = run("--collect-only", *given)
    assert "course/rubric.py::" not in done.stdout, done.stdout


@needs_box
@pytest.mark.parametrize("name", ["nothing but a dummy notebook"])
def test_rows_of_a_file_that_is_missing_say_so(name, graded):
    result, text = graded[name].result()
    (why,) = {
        why for row, why in result["tasks"]["2a"]["failed"].items() if row.startswith("mean of all")
    }
    assert why.startswith("mean_X is missing: there is no task2a.py"), text
    assert "not written yet" not in text


def test_sections_are_found_once_for_all_cells(tmp_path, monkeypatch):
    cells = [part for n in range(30) for part in ("## Task 2a", (f"print({n})", f"{n}\n"))]
    (tmp_path / "a.ipynb").write_text(notebook(*cells))
    (tmp_path / "count.py").write_text(
        "import course.plugin as p\nusual, calls = p.section_tasks, []\n"
        "def counted(cells):\n    calls.append(1)\n    return usual(cells)\n"
        "p.section_tasks = counted\n"
        "def pytest_terminal_summary():\n    print(len(calls), 'calls')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    files = "tests/test_hints.py", str(tmp_path / "a.ipynb")  # the first, for its conftest.py
    done = run("--nbval", "--collect-only", "-p", "count", *files)
    assert "\n1 calls\n" in done.stdout, done.stdout
