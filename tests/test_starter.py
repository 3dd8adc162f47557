"""The starter has what students need, and nothing of the solution."""

import ast
import io
import os
import re
import subprocess
import sys
import time
import zipfile

import nbformat
import pytest

from course.rubric import FUNCTIONS
from course.starter import blank, read, starter_files, starter_zip, write
from tests.course_files import ROOT, starter


def bodies(source):
    """Return of each function its statements but the docstring."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            text = ast.get_docstring(node) is not None
            found[node.name] = [ast.unparse(statement) for statement in node.body[text:]]
    return found


@pytest.mark.parametrize("home", sorted(set(FUNCTIONS.values())))
def test_functions_are_not_written(home):
    written = bodies(starter()[f"{home}.py"].decode())
    written.pop("best", None)  # of a record
    assert written == {name: [f"raise NotImplementedError('{name}')"] for name in written}
    asked = {name for name, where in FUNCTIONS.items() if where == home}
    used = "".join(path.read_text() for path in ROOT.glob("report/*.py"))
    assert asked <= written.keys()
    assert all(name in used for name in written.keys() - asked)


@pytest.mark.parametrize("home", sorted(set(FUNCTIONS.values())))
def test_signatures_and_docstrings_stay(home):
    trees = [ast.parse((ROOT / f"{home}.py").read_text()), ast.parse(starter()[f"{home}.py"])]
    before, after = ({n.name: n for n in tree.body if hasattr(n, "name")} for tree in trees)
    for name, node in after.items():
        lines = (ast.get_docstring(node) or "").splitlines()
        assert not re.search("grid|digits|exact|rounding", "".join(lines))
        of_solution = ast.get_docstring(before[name]) or ""
        assert [line for line in lines if line not in of_solution.splitlines()] == []
        if not re.search("grid|digits|exact|rounding|output:", of_solution):
            assert lines == of_solution.splitlines()
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args]
            assert names == [a.arg for a in before[name].args.args][: len(names)]


def test_no_line_of_a_body_is_left():
    files = [ROOT / f"{home}.py" for home in set(FUNCTIONS.values())]
    solved = {
        line
        for file in files
        for name, body in bodies(file.read_text()).items()
        for line in body
        if name != "best"  # of a record that is given
    }
    long = {line for text in solved for line in text.splitlines() if len(line.strip()) > 25}
    for name, content in starter().items():
        if name.startswith(("task", "course/", "README")) and not name.endswith(".json"):
            left = [line for line in long if line in content.decode()]
            assert not left, (name, left)


def test_blank_keeps_what_is_around():
    source = 'X = 1\n\n\n@decorated\ndef f(x: int = 2) -> int:\n    """Say.\n\n    More.\n    """\n'
    source += (
        "    y = x  # why\n    return y\n\n\nclass A:\n    def best(self):\n        return 1\n"
    )
    left = source.replace(
        "    y = x  # why\n    return y\n", '    raise NotImplementedError("f")\n'
    )
    assert blank(source) == left


DOCUMENTED = '''def f(a):
    """Say.

    Numbers are rounded.

    They are on the grid. This
    needs a second line.

    It rests.

    Args:
        a: one of
            the digits.
        rounding: how.
    Returns:
        What is exactly right.
    Raises:
        ValueError: it is not
            exact.
        TypeError: none.
    """
'''
LEFT = '''def f(a):
    """Say.

    Numbers are rounded.

    It rests.

    Returns:
        What is exactly right.
    Raises:
        TypeError: none.
    """
    raise NotImplementedError("f")
'''


def test_docstrings_do_not_speak_of_the_solutions_rounding():
    assert blank(DOCUMENTED + "    return a\n") == LEFT


def test_names_that_only_bodies_used_go_and_those_of_task_files_stay():
    source = "from collections.abc import A, B\nfrom os import c\nfrom utils import d, snap\n"
    source += "import numpy as np\n\n# many\n# words\nSMALL = 1\nLARGE: int = 2\n\n\n"
    source += "def f(a: A) -> None:\n    return c(B, d)\n"
    left = (
        "from collections.abc import A\nfrom utils import d\nimport numpy as np\n\nLARGE: int = 2"
    )
    assert blank(source).startswith(f"{left}\n\n\ndef f(a: A) -> None:\n    raise")


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no utils\.py in .*, expected all of the solut"):
        starter_files(tmp_path)


def test_functions_that_go_are_not_imported():
    source = (
        "from task2 import a, b, c\nfrom utils import b\n\n\ndef b():\n    return 1\n\n\nX = 2\n"
    )
    left = blank(source, {"b"})
    assert "from task2 import a, c\nfrom utils import b\n" in left
    assert "def b" not in left


TASK = '"""M\xfcller."""\n\n\ndef mean_X(X):\n    """Mean."""\n    # a\x0cb\x85c\n    return X\n'
BLANK = '"""M\xfcller."""\n\n\ndef mean_X(X):\n    """Mean."""\n'
STORED = {
    "byte order mark": ("utf-8-sig", "{}"),
    "latin-1": ("latin-1", "# coding: latin-1\n{}"),
    "UTF-8": ("utf-8", "{}"),
}


@pytest.mark.parametrize(("encoding", "form"), STORED.values(), ids=STORED)
def test_a_starter_s_file_has_the_encoding_of_the_solution_s(encoding, form, tmp_path):
    (tmp_path / "task2a.py").write_bytes(form.format(TASK).encode(encoding))
    text, found = read(tmp_path / "task2a.py")
    todo = '    raise NotImplementedError("mean_X")\n'
    assert blank(text).encode(found) == form.format(BLANK + todo).encode(encoding)


@pytest.mark.parametrize("content", [b"'\xff'", b"# coding: none\n", "x = 1".encode("utf-16")])
def test_a_file_of_another_encoding_than_it_states_is_named(content, tmp_path):
    (tmp_path / "task2a.py").write_bytes(content)
    with pytest.raises(ValueError, match=r"task2a\.py is not in the encoding .*: save it as UTF-8"):
        read(tmp_path / "task2a.py")


def test_no_test_no_git_no_author_is_in_it():
    names = starter().keys()
    kept = {name for name in names if name.startswith("tests/")}
    of_tests = "__init__", "outputs", "prose", "rerun", "strict"
    assert kept == {f"tests/{name}.py" for name in of_tests}
    assert not [name for name in names if "starter" in name or ".git/" in name or "__pyc" in name]


def test_notebook_has_questions_and_empty_cells():
    notebook = nbformat.reads(starter()["assignment2.ipynb"].decode(), as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert {cell.source.split()[0] for cell in code if cell.source} <= {"%reload_ext"}
    for task in "1a 2a 2b 2c 2d 3a 3b 3c 4a 4b 4c 4d 4e 4f".split():
        assert task in text
    assert text.count("**Question") >= 10
    assert "**Answer" not in text


@pytest.fixture(scope="module")
def unzipped(tmp_path_factory):
    """The zip, unpacked as students do, and the seconds that it took to make."""
    folder, start = tmp_path_factory.mktemp("student"), time.monotonic()
    content = starter_zip(ROOT)
    seconds = time.monotonic() - start
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        file.extractall(folder)
    return folder / "assignment2", seconds, content


def test_starter_is_made_in_seconds(unzipped):
    assert unzipped[1] < 10


def test_starter_is_always_the_same(unzipped):
    assert starter_zip(ROOT) == unzipped[2]


@pytest.mark.parametrize(
    "module", [*sorted(set(FUNCTIONS.values())), "utils", "handin", "course.plugin", "report.*"]
)
def test_modules_can_be_imported(module, unzipped):
    names = [module]
    if module == "report.*":
        names = [f"report.{path.stem}" for path in unzipped[0].glob("report/*.py")]
    code = "import " + ", ".join(names)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=unzipped[0], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


# the solution as a student might write it, with the arguments that the starter has
PLAIN = {
    "task2a": {
        "    output: Callable[[Array], Array] = softmax,\n": "",
        "output(weighted_sums(": "softmax(weighted_sums(",
        "    rounding: Callable[[Array], Array] = unrounded,\n": "",
        "rounding(rounding(outputs - Y) / len(Y))": "(outputs - Y) / len(Y)",
        "rounding(activation": "(activation",
        "activation, rounding)": "activation)",
    },
    "task2": {
        "gradients, values, rounded = gradients_on_grid(x, y, ws, f)": "values = forward(x, ws, f)"
        "\n        gradients = backward(y, values, ws, f)",
        "    deltas = layer_errors(y, values, rounded, f, snap)\n": "",
        "    require_exact_sums(factors(values, deltas, rounded), experiment)\n": "",
    },
    "task3": {},
    "task4": {},
}
REPORT = """
import numpy as np
from report.answers import answer, changes_table, higher, measures_table
from report.bits import closest_call, weights_digest
from report.figures import *
from report.measures import *
from report.parallel import train_all
from task2 import TASK_2C
from task2a import SIGMOID
from task3 import IMPROVED_SIGMOID, TASK_3C
from task4 import RELU, activation_std, first_steps, gradient_rms

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(80, 785)), np.eye(10)[np.arange(80) % 10]
experiments = [e._replace(neurons_per_layer=(6, 5, 10), epochs=2) for e in (TASK_2C, TASK_3C)]
runs = train_all(experiments, X, Y, X[:30], Y[:30], seeds=[1, 2], keep_at=[0, 1])
measured = measure_all(runs, X, Y, X)
assert set(accuracies(runs, X, Y)) == set(measured) == {"Task 2c", "Task 3c"}
run = runs["Task 3c"][0]
statistics = [layer_statistics(run, activation_std, X), layer_statistics(run, saturation, X)]
statistics.append(layer_statistics(run, gradient_rms, X, Y))
scanned = scan(X, Y, [r.last_weights for r in runs["Task 3c"]], IMPROVED_SIGMOID, [0.1, 0.5])
outputs = predict(X, run.last_weights, IMPROVED_SIGMOID)
for figure in (
    plot_runs(runs),
    plot_activations([SIGMOID, IMPROVED_SIGMOID, RELU]),
    plot_layers({"spread": {"a": statistics[0]}, "share": {"a": statistics[1]}}),
    plot_against({"loss": {"a": scanned}}, "step"),
    plot_network(["i", "j", "k"], ["x", "a", "y"]),
    plot_images(X[most_confident_mistakes(Y, outputs, 4), :-1], "abcd"),
    plot_confusion(confusion(Y, outputs)),
):
    show(figure, 1, "A figure.")
changes_table(measured, {"a": ("Task 2c", "Task 3c")}, ["validation loss"])
measures_table(measured, ["validation loss", "last step"])
closest_call(runs["Task 3c"]), weights_digest(runs["Task 3c"])
first_steps(experiments[1], X, Y, 1, 2)
"""


def test_a_report_can_use_what_is_given(tmp_path):
    write(starter(), tmp_path)
    for home, edits in PLAIN.items():
        text = (ROOT / f"{home}.py").read_text()
        for was, now in edits.items():
            assert was in text, was
            text = text.replace(was, now)
        (tmp_path / f"{home}.py").write_text(text)
    command = [sys.executable, "-W", "error", "-c", REPORT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def first_run(unzipped):
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider"]
    environment = {k: v for k, v in os.environ.items() if "PYTEST" not in k}
    return subprocess.run(
        command, cwd=unzipped[0], capture_output=True, text=True, check=False, env=environment
    ).stdout


def test_a_student_begins_with_no_points_and_a_hint_at_each_row(first_run):
    sheet = first_run.partition(" grade sheet ")[2]
    assert "code      0/85" in sheet, first_run[-3000:]
    assert "report    0/10" in sheet
    assert sheet.count(" is not written yet (") > 50


def test_a_student_sees_no_other_failure(first_run):
    assert "error" not in first_run.splitlines()[-1]
    assert "ImportError" not in first_run
