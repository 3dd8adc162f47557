"""Task files are executed as far as they can be, and say where and why they cannot."""

import numpy as np
import pytest

from course.asking import Patience, Request, ask_all
from course.worker import Broken, encode
from tests.course_files import ROOT, lost, needs_box, unpack

SOLVED = dict.fromkeys(["task2a.py", "task2.py", "task3.py", "task4.py"])


def answers(tmp_path, expression, *, boxed=False, **files):
    """Return the answer to an expression, by a starter with these task files."""
    folder = unpack(tmp_path, {f"{name}.py": text for name, text in files.items()})
    return ask_all(folder, [Request("a", expression, {})], boxed=boxed)["a"]


USES = [
    *("relu + 1", "1 + relu", "relu - 1", "2 * relu", "np.ones(2) * relu", "relu @ np.eye(2)"),
    *(
        "relu / 2",
        "1 / relu",
        "relu // 2",
        "relu % 2",
        "relu ** 2",
        "2 ** relu",
        "-relu",
        "abs(relu)",
    ),
    *("relu < 1", "1 < relu", "relu >= 1", "relu[0]", "1 in relu", "[*relu]", "len(relu)"),
    *("bool(relu)", "relu and 1", "not relu", "int(relu)", "float(relu)", "range(relu)"),
    *(
        "np.asarray(relu)",
        "np.array([relu, 1.0]).sum()",
        "relu(1)",
        "relu.shape",
        "sum(relu)",
        "abs(relu)",
    ),
]


@pytest.mark.parametrize("use", USES)
def test_what_could_not_be_defined_says_why_whenever_it_is_used(use):
    relu = Broken("relu is missing: task4.py: line 3 takes too long")
    with pytest.raises(NameError, match=r"^relu is missing: task4\.py: line 3 takes too long$"):
        eval(use, {"relu": relu, "np": np})


def test_a_name_that_failed_says_why_in_whatever_uses_it(tmp_path):
    task4 = (
        "data = open('nothing')\nwidth = data.shape[1] + 1\n\n\ndef relu(z):\n    return z * width"
    )
    answer = answers(tmp_path, "relu(2)", task4=task4)
    assert answer.error == (
        "width is missing: task4.py: data is missing: task4.py: FileNotFoundError: [Errno 2] "
        "No such file or directory: 'nothing' (task4.py, line 1) (task4.py, line 2) "
        "(task4.py, line 6)"
    )


def test_errors_name_the_last_line_of_a_task_file(tmp_path):
    task3 = "import numpy as np\n\n\ndef fan_in_normal(a, b):\n    return np.ones(2) @ np.ones(3)\n"
    task4 = "from task3 import fan_in_normal\n\n\ndef relu(z):\n    return fan_in_normal(z, 1)\n"
    answer = answers(tmp_path, "relu(2)", task3=task3, task4=task4)
    assert answer.error.startswith("ValueError: matmul: ")
    assert answer.error.endswith(" (task3.py, line 5)")
    assert answers(tmp_path, "relu(2) + [1][2]", task4="def relu(z): return z").error == (
        "IndexError: list index out of range"
    )


FALLBACKS = {
    "import": "try:\n    from task2a import quick\nexcept ImportError:\n    quick = abs\n",
    "in any case": "try:\n    from task2a import quick\nexcept Exception:\n    quick = abs\n",
    "use": "import task2a\ntry:\n    quick = task2a.quick\nexcept Exception:\n    quick = abs\n",
}


@pytest.mark.parametrize("fallback", FALLBACKS.values(), ids=FALLBACKS)
def test_what_is_tried_may_be_missing(tmp_path, fallback):
    text = f"{fallback}\n\ndef relu(z):\n    return quick(z)\n"
    assert answers(tmp_path, "relu(-2)", task4=text).value == 2


def test_a_file_that_is_missing_is_named(tmp_path):
    folder = unpack(tmp_path)
    (folder / "task4.py").unlink()
    answer = ask_all(folder, [Request("a", "relu(1)", {})], boxed=False)["a"]
    assert answer.error == "relu is missing: there is no task4.py"


def test_a_name_that_is_missing_costs_itself_only(tmp_path):
    task4 = "from task2a import SIGMOID, quick\n\n\ndef relu(z):\n    return SIGMOID.name, z\n"
    folder = unpack(tmp_path, {"task4.py": f"{task4}\n\ndef relu_slope(a):\n    return quick(a)\n"})
    asked = [Request("a", "len(relu(2))", {}), Request("b", "relu_slope(2)", {})]
    found = ask_all(folder, asked, boxed=False)
    assert found["a"].value == 2
    assert found["b"].error == ("quick is missing: task2a.py does not define it (task4.py, line 9)")


COMPOUND = [
    "if 1 / 0:\n    def relu(z):\n        return z\n",
    "if 1 / 0:\n    pass\nelse:\n    from math import sqrt as relu\n",
    "try:\n    relu = 1 / 0\nfinally:\n    pass\n",
    "with 1 / 0 as relu:\n    pass\n",
    "for relu in 1 / 0:\n    pass\n",
]


@pytest.mark.parametrize("task4", COMPOUND)
def test_what_a_statement_was_to_define_is_known_wherever_in_it_it_is(tmp_path, task4):
    error = answers(tmp_path, "relu(1)", task4=task4).error
    assert "ZeroDivisionError: division by zero (task4.py, line" in error


def test_what_a_tried_statement_imports_is_not_tried_itself(tmp_path):
    task3 = "from task2a import SIGMOID, quick\n\n\ndef fan_in_normal(a, b):\n    return 3\n"
    task4 = "try:\n    import task3\nexcept ImportError:\n    task3 = None\n\n\n"
    answer = answers(
        tmp_path,
        "relu(1)",
        task3=task3,
        task4=f"{task4}def relu(z): return task3.fan_in_normal(1, 2)",
    )
    assert answer.value == 3


def test_layers_may_come_as_an_array_of_objects():
    layers = np.empty(2, object)
    layers[:] = [np.ones((2, 3)), np.zeros((3, 1))]
    assert encode(layers) == [encode(layer) for layer in layers]
    with pytest.raises(TypeError, match="array of object, expected numbers"):
        encode(np.array(None, object))
    with pytest.raises(TypeError, match="returned str, expected numbers"):
        encode(np.array(["a", 1], object))


STOPS = [
    "    if not val_losses:\n        return False\n"
    "    return len(val_losses) - 1 - val_losses.index(min(val_losses)) >= patience\n",
    "    before, last = val_losses[:-patience], val_losses[-patience:]\n"
    "    return before != [] and len(last) == patience and min(before + last) in before\n",
    "    return len(val_losses) - 1 - int(np.argmin(val_losses)) >= patience\n",
]


@pytest.mark.parametrize("body", STOPS)
def test_losses_come_as_a_list(tmp_path, body):
    solution = (ROOT / "task2.py").read_text("utf-8")
    was = "    return len(val_losses) - 1 - int(np.argmin(val_losses)) >= patience\n"
    assert was in solution
    folder = unpack(tmp_path, SOLVED | {"task2.py": solution.replace(was, body)})
    assert lost(folder) == {}


@needs_box
def test_files_can_be_written_beside_which_rows_are_evaluated(tmp_path):
    task4 = "import numpy as np\n\n\ndef relu(z):\n    np.save('best.npy', z)\n"
    task4 += "    return np.load('best.npy') + 1\n"
    assert answers(tmp_path, "relu(2)", boxed=True, task4=task4).value["numbers"] == [3]


ENDS_AT = "import os\n\n\ndef relu(z):\n    return os._exit(0) if z == {} else z\n"


def ask_relu(folder, *inputs):
    own = frozenset({"relu"})
    asked = [Request(str(z), f"relu({z})", {}, "relu", own) for z in inputs]
    other = Request("other", "relu_slope(relu(3))", {}, "relu_slope", own | {"relu_slope"})
    return ask_all(folder, [other, *asked], boxed=False)


def test_a_function_that_has_answered_is_asked_again_after_it_ended_the_process(tmp_path):
    task4 = ENDS_AT.format(2) + "\n\ndef relu_slope(a):\n    return 10 * a\n"
    found = ask_relu(unpack(tmp_path, {"task4.py": task4}), 1, 2, 3)
    assert found["2"].error == "relu ends or crashes the process, or answers too much"
    assert [found[key].value for key in ("1", "3", "other")] == [1, 3, 30]


def test_what_may_use_a_function_that_only_ends_the_process_is_not_asked(tmp_path):
    task4 = ENDS_AT.format(1) + "\n\ndef relu_slope(a):\n    return 10 * a\n"
    found = ask_relu(unpack(tmp_path, {"task4.py": task4}), 1, 3)
    assert found["1"].error.startswith("relu ends or crashes the process")
    for key in ("3", "other"):
        assert found[key].error.startswith("not asked, since it may use relu, which ends or")


def test_a_row_that_writes_lines_of_its_own_has_no_more_time_than_others(tmp_path):
    task4 = """
import os
import time


def relu(z):
    while True:
        for stream in range(3, 12):
            try:
                os.write(stream, b"{}\\n")
            except OSError:
                pass
        time.sleep(0.2)


def relu_slope(a):
    return 10 * a
"""
    folder = unpack(tmp_path, {"task4.py": task4})
    asked = [Request("a", "relu(1)", {}, "relu"), Request("b", "relu_slope(2)", {}, "relu_slope")]
    found = ask_all(folder, asked, boxed=False, patience=Patience(row=1, total=20))
    assert found["a"].error == "relu takes too long"
    assert found["b"].value == 20
