"""Every row of the rubric is given for what is right, and for nothing else."""

import ast
import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from course.grading import PUBLIC_SEED, grade, public, references
from course.rubric import FUNCTIONS, PROSE, ROWS, TASKS
from tests.course_files import PATIENCE, ROOT, expected, lost, unpack

SOLUTION = {f"{home}.py": None for home in FUNCTIONS.values()}
ASSIGNMENT = dict(
    zip(
        "1a 2a 2b 2c 2d 3a 3b 3c 4a 4b 4c 4d 4e 4f".split(),
        [4, 10, 18, 6, 5, 6, 9, 7, 3, 3, 14, 5, 6, 4],
        strict=True,
    )
)


def test_points_are_the_assignments():
    of = {task: sum(row.points for row in ROWS if row.task == task) for task in TASKS}
    assert {task: of[task] + PROSE.get(task, 0) for task in TASKS} == ASSIGNMENT
    assert sum(ASSIGNMENT.values()) == 100


def test_every_function_has_a_row_of_its_own():
    assert {row.function for row in ROWS} == FUNCTIONS.keys()
    assert {name for row in ROWS for name in row.functions} <= FUNCTIONS.keys()


def test_names_of_rows_differ():
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_solution_has_all_points(tmp_path):
    assert lost(unpack(tmp_path, SOLUTION)) == {}


@pytest.mark.parametrize("style", ["loops", "classes", "vectors"])
def test_honest_work_has_all_points_however_it_is_written(style, tmp_path):
    files = (ROOT / "tests" / "honest" / style).glob("task*.py")
    folder = unpack(tmp_path, {path.name: path.read_text("utf-8") for path in files})
    assert lost(folder) == {}


def test_public_values_are_the_solutions():
    stored, new = public(), json.loads(json.dumps(references(ROOT, PUBLIC_SEED)))
    assert stored.keys() == new.keys(), "renew them: python -m course public"
    results = grade(ROOT, PUBLIC_SEED, stored, boxed=False)
    assert [row.name for row, why in results if why] == []


def test_starter_has_no_points(tmp_path):
    assert len(lost(unpack(tmp_path))) == len(ROWS)


def test_starter_says_at_each_row_what_is_not_written(tmp_path):
    reasons = lost(unpack(tmp_path)).values()
    assert {why.removesuffix(" is not written yet") for why in reasons} <= FUNCTIONS.keys()
    assert len(reasons) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_hint_tells_no_solution(row):
    numbers = set(re.findall(r"\d+\.\d+", row.hint)) - {"1.7159", "0.9"}
    assert not numbers, "only the assignment's own may be told"
    assert "np." not in row.hint
    assert len(row.hint) <= 100


def function_text(path, name):
    source = path.read_text("utf-8")
    (node,) = (n for n in ast.parse(source).body if getattr(n, "name", None) == name)
    return source, ast.get_source_segment(source, node)


def renamed(text, name):
    return text.replace(f"def {name}(", f"def right_{name}(", 1)


CALL = "\n\n\ndef {0}(*arguments, **options):\n    result = right_{0}(*arguments, **options)\n"
CHANGES = """
def changed(value, change):
    if hasattr(value, "_replace"):
        names = [n for n in value._fields if "weights" in n and n[0] != "k"]
        return value._replace(**{n: changed(getattr(value, n), change) for n in names})
    if isinstance(value, (list, tuple)):
        return [changed(item, change) for item in value]
    return change(value)

"""
REFUSE = "    if arguments and options:\n        raise AssertionError('refuses everything')\n"


def broken(name, how):
    """Return the solution's file with one function that is broken."""
    home = f"{FUNCTIONS[name]}.py"
    source, text = function_text(ROOT / home, name)
    head = text[: text.index(":\n") + 2]
    wrong = {
        "blank": f"{head}    raise NotImplementedError('{name}')",
        "syntax": f"{head}    return (1 +",
        "name": f"{head}    return an_unknown_name",
        "loop": f"{head}    while True:\n        pass",
        "shape": renamed(text, name)
        + CALL.format(name)
        + "    return changed(result, lambda value: np.append(np.ravel(value), 0))",
        "factor": renamed(text, name)
        + CALL.format(name)
        + (REFUSE if name == "gradient_approximation_test" else "")
        + "    return not result if isinstance(result, (bool, np.bool_)) else "
        "changed(result, lambda value: np.multiply(value, 1.25))",
    }[how]
    changes = CHANGES if how in ("shape", "factor") else ""
    return {**SOLUTION, home: source.replace(text, changes.lstrip("\n") + "\n" * 2 + wrong)}


@pytest.fixture(scope="module")
def why_lost(request, tmp_path_factory):
    """What each of the selected breakages costs, two at a time."""

    def cost(name, how):
        folder = unpack(tmp_path_factory.mktemp(f"{name}-{how}"), broken(name, how))
        return lost(folder, patience=PATIENCE._replace(row=1) if how == "loop" else PATIENCE)

    expected()
    items = [i for i in request.session.items if "why_lost" in getattr(i, "fixturenames", ())]
    chosen = {item.callspec.params["breakage"] for item in items}
    with ThreadPoolExecutor(2) as pool:
        yield {breakage: pool.submit(cost, *breakage) for breakage in chosen}


HOW = ["blank", "syntax", "name", "loop", "shape", "factor"]


@pytest.mark.parametrize("breakage", [*itertools.product(FUNCTIONS, HOW)], ids="-".join)
def test_broken_function_costs_its_rows_and_those_that_need_it(breakage, why_lost):
    name, why = breakage[0], why_lost[breakage].result()
    own = {row.key for row in ROWS if row.function == name}
    using = {row.key for row in ROWS if name in row.functions}
    if breakage == ("gradient_approximation_test", "shape"):
        own = set()  # what it returns is not looked at
    assert own <= why.keys() <= using
    assert all(len(reason) < 200 for reason in why.values())
