import ast
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.grades import RUBRIC, Result, cell_tasks, file_tasks, grade, sheet_lines
from tests.strict import own_names, parsed, task_names

ROOT = Path(__file__).resolve().parent.parent
ALL = [
    *(Result(f"tests/test_a.py::test_{task}", [task]) for task in RUBRIC),
    *(Result(f"a.ipynb::Cell {n}", [task]) for n, task in enumerate(RUBRIC, start=1)),
    Result("a.ipynb::Cell 0"),
    Result("a.ipynb::file"),
]


def points(results):
    """Return the points of the tasks that did not get all they have."""
    tasks = grade(results)["tasks"].items()
    return {task: entry["points"] for task, entry in tasks if entry["points"] != entry["of"]}


def without(ending):
    return [result for result in ALL if not result.name.endswith(ending)]


def test_rubric_is_the_assignments():
    of = {task: sum(both) for task, both in RUBRIC.items() if sum(both)}
    assert list(of) == "1a 2a 2b 2c 2d 3a 3b 3c 4a 4b 4c 4d 4e 4f".split()
    assert list(of.values()) == [4, 10, 18, 6, 5, 6, 9, 7, 3, 3, 14, 5, 6, 4]
    assert sum(of.values()) == 100


def test_every_task_has_tests():
    marked = {task for path in ROOT.glob("tests/test_task*.py") for task in file_tasks(path)}
    assert marked | {"1a", "1b"} == set(RUBRIC)


def test_all_points_are_given_if_all_passed():
    assert points(ALL) == {}
    assert grade(ALL)["points"] + grade(ALL)["human"] == 100
    assert f"total {grade(ALL)['of']:>4}/{grade(ALL)['of']}" in "\n".join(sheet_lines(grade(ALL)))


@pytest.mark.parametrize("name", ["tests/test_a.py::test_other", "a.ipynb::Cell 99"])
def test_a_failure_costs_its_own_task(name):
    results = [*ALL, Result(name, ["2b"], "2 != 3")]
    assert points(results) == {"2b": 0}
    assert f"{name}: 2 != 3" in "\n".join(sheet_lines(grade(results)))


def test_a_test_that_passes_and_then_fails_has_failed():
    results = [*ALL, Result("tests/test_a.py::test_2b", ["2b"], "teardown")]
    assert grade(results)["tasks"]["2b"]["passed"] == 1


def test_a_failure_of_the_whole_report_is_shown_and_costs_nothing():
    results = [*ALL, Result("tests/test_b.py::test_zip", [], "no zip")]
    assert points(results) == {}
    assert "tests/test_b.py::test_zip: no zip" in "\n".join(sheet_lines(grade(results)))


def test_many_failures_of_a_task_are_counted():
    results = [*ALL, *(Result(f"test_{n}", ["2b"], "no") for n in range(9))]
    assert "and 6 more" in "\n".join(sheet_lines(grade(results)))
    assert len(grade(results)["tasks"]["2b"]["failed"]) == 9


def test_a_missing_section_costs_its_task():
    results = without(f"::Cell {list(RUBRIC).index('2d') + 1}")
    assert points(results) == {"2d": 0}
    assert "no cell under a heading 'Task 2d)'" in "\n".join(sheet_lines(grade(results)))


def test_what_did_not_run_gets_no_points():
    assert points(without("test_2b")) == {"2b": None}
    tests_only = [result for result in ALL if ".ipynb" not in result.name]
    assert set(points(tests_only).values()) == {None} == set(points([]).values())
    assert "2b     not run" in "\n".join(sheet_lines(grade(tests_only)))


def test_cells_belong_to_the_heading_above():
    prose = {"# Task 4": [], "## Task 4a)": ["4a"], "### Why": ["4a"], "## Task 4b)\n### I": ["4b"]}
    prose |= {"## Task 9z)": [], "## Task 4f)": ["4f"], "# Results": [], "## All": []}
    cells = [{"cell_type": kind, "source": s} for s in prose for kind in ("markdown", "code")]
    cells[0]["source"] = ["# Task 4\n", "text"]
    assert cell_tasks(cells) == [tasks for tasks in prose.values() for _ in range(2)]


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("test_task4.py", ["4a", "4f"]),
        ("test_utils.py", ["2d", "4a", "4f"]),
        ("a.ipynb", list(RUBRIC)),
    ],
)
def test_a_file_costs_its_own_tasks_and_later_ones(tmp_path, name, tasks):
    path = tmp_path / name
    path.write_text('@pytest.mark.task("2d")\n@task("4f")\nparam(marks=task("4a"))', "utf-8")
    assert file_tasks(path) == tasks


# a small project, through pytest itself
TASKS = "2a 2b 2c 2d 4a 4b".split()
TEST = """
import numpy as np
import pytest
from {module} import f

@pytest.mark.task("{task}")
@pytest.mark.parametrize("x", [0, 1])
def test_f(x):
    np.testing.assert_equal(f(x), x)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of which only 2a is right: task4.py is broken, the others are explained below."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "tests").mkdir()
    names = (
        "conftest.py pyproject.toml tests/grades.py tests/outputs.py tests/prose.py tests/strict.py"
    )
    for name in names.split():
        shutil.copy(ROOT / name, folder / name)
    for task in TASKS:
        module = f"task{task[0]}"
        (folder / f"{module}.py").write_text("def f(x):\n    return x\n")
        test = TEST.format(module=module, task=task)
        (folder / f"tests/test_{module}{task[1]}.py").write_text(test)
    test = TEST.format(module="task2", task="3a").replace("f(x), x", "f(x), -1")
    (folder / "tests/test_task3a.py").write_text(test)
    (folder / "task4.py").write_text("def f(x):\n    return x +\n")
    run, cells = "%run task2.py\n%run task4.py", []
    for count, task in enumerate(TASKS, start=2):
        text = new_output("stream", name="stdout", text=f"{count}\n")
        call = new_code_cell(f"print(f({count}))", outputs=[text], execution_count=count)
        cells += [new_markdown_cell(f"## Task {task})"), call]
    cells.insert(0, new_code_cell(run, execution_count=1))
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    cells[4].outputs[0].text = "4\n"  # an output of 2b is not what runs
    cells[7].source += " It is 97 %."  # a number in 2d is typed
    del cells[5:7]  # 2c is missing
    nbformat.write(notebook, folder / "assignment2.ipynb")
    return folder


@pytest.fixture(scope="module")
def sheets(project):
    """What pytest says in one process and in two: its JSON, its last words and its status."""

    def run(grades, *options):
        command = [sys.executable, "-m", "pytest", "--nbval", f"--grades={grades}", *options]
        command += ["-p", "no:hypothesispytest"]  # takes its time to start
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        sheet = json.loads((project / grades).read_text("utf-8"))
        return sheet, done.stdout.partition(" grade sheet ")[2].splitlines()[1:-1], done.returncode

    with ThreadPoolExecutor() as pool:
        one = pool.submit(run, "one.json", "--junitxml=report.xml")
        two = pool.submit(run, "two.json", "-n", "2", "--dist", "loadfile")
        return one.result(), two.result()


def test_sheet_of_a_broken_project(sheets):
    sheet, lines, status = sheets[0]
    expected = {"2a": 10, "2b": 0, "2c": 0, "2d": 0, "4a": 0, "4b": 0}
    assert {task: sheet["tasks"][task]["points"] for task in TASKS} == expected, lines
    assert sheet["points"] == 10
    assert lines == list(sheet_lines(sheet))
    assert status == 1


@pytest.mark.parametrize(
    ("task", "name", "why"),
    [
        ("2b", "assignment2.ipynb::Cell 2", "output 1: text line 1 is '4\\n', rerun: '3\\n'"),
        ("2c", "notebook", "no cell under a heading 'Task 2c)'"),
        ("2d", "cell 6 (", "states 97 %, which is typed"),
        ("3a", "tests/test_task3a.py::test_f[0]", "Items are not equal: ACTUAL: 0 DESIRED: -1"),
        ("4a", "tests/test_task4a.py", "SyntaxError: invalid syntax (task4.py, line 2)"),
    ],
)
def test_sheet_says_why(sheets, task, name, why):
    failed = sheets[0][0]["tasks"][task]["failed"].items()
    assert any(name in place and why in reason for place, reason in failed), failed


def test_sheet_of_two_processes_is_the_same(sheets):
    assert sheets[0] == sheets[1]


def test_junit_xml_names_the_tasks(sheets, project):
    cases = ElementTree.parse(project / "report.xml").iter("testcase")
    tasks = [case.find("properties/property[@name='task']") for case in cases]
    assert {found.get("value") for found in tasks if found is not None} == {*TASKS, "3a"}


@pytest.mark.parametrize(
    ("tasks", "later"),
    [
        (("1a", "1b", "2a", "2b"), ("task2.py", "task3.py", "task4.py")),
        (("2c", "2d"), ("task3.py", "task4.py")),
        (("3a", "3b", "3c"), ("task4.py",)),
    ],
)
def test_cells_need_no_later_task_file_which_may_be_broken(tasks, later, tmp_path):
    for name in later:
        shutil.copy(ROOT / name, tmp_path)
    cells = nbformat.read(ROOT / "assignment2.ipynb", as_version=4).cells
    mine = [c for c, of in zip(cells, cell_tasks(cells), strict=True) if {*of} & {*tasks}]
    trees = [parsed(cell.source) for cell in mine if cell.cell_type == "code"]
    used = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert len(trees) > 2
    assert not (used - own_names(cell.source for cell in mine)) & task_names(tmp_path)
