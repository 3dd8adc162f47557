"""Hints say what a person may want to look at, whatever a source is made to be."""

import time

import pytest

from course.hints import digests, equal_to, imported, own_cells, unneeded_imports

STARTER = {"cells": [{"cell_type": "markdown", "source": "## Task 1a"}]}


def cell(kind, source):
    return {"cell_type": kind, "source": source}


def notebook(*sources, kind="code"):
    return {"cells": [*STARTER["cells"], *(cell(kind, source) for source in sources)]}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import os", ["os"]),
        ("import numpy as np, os.path as p", ["numpy", "os"]),
        ("    from urllib.request import urlopen", ["urllib"]),
        ("x = 1  # import os", []),
        ("important = 1", []),
        ("__import__('os')", ["__import__"]),
        ("def f(:\n  import os", ["os"]),
        ("", []),
        ("x=1;import os", ["os"]),
        ("if 1: import os", ["os"]),
        ("import\\\nos", ["os"]),
        ("from\\\n os import\\\n path", ["os"]),
        ("from.os import(path)", [""]),
        ("from os import(path)", ["os"]),
        ("import\fos", ["os"]),
        ("# a check\rimport os", ["os"]),
        ("import ｏｓ", ["os"]),  # noqa: RUF001, Python takes these letters for the usual ones
        ("raise A from b; import os", ["os"]),
        ("yield from numbers", []),
        ("s = 'import os'; t = \"import os\"", []),
        ('"""It\'s\nimport os\n"""\nimport sys', ["sys"]),
        (r"""s = '\''; t = "'"; import os""", ["os"]),
        ("r'\\'; import os; '", []),
        ("'''\nimport os", ["os"]),
        ('f(:\n"""\nimport os', ["os"]),
        ("x.import_module()", []),
    ],
)
def test_imports_are_found(source, names):
    assert list(imported(source)) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("!ls", ["!ls"]),
        ("  !!ls -l /tmp", ["!!ls -l"]),
        ("found = !ls", ["!ls"]),
        ("a != b", []),
        ("%run -m os", ["%run -m"]),
        ("x = %run evil.py", ["%run evil.py"]),
        ("%run task2.py\n%reload_ext autoreload\n%autoreload 2\n%run utils.py", []),
        ("%run\\\n evil.py", ["%run evil.py"]),
        ("%load_ext evil", ["%load_ext evil"]),
        ("%%bash\nls", ["%%bash"]),
        ("%time import os", ["os"]),
        ("!echo '''\nimport os", ["os", "!echo '''"]),
        ("%autoreload 2 \\\n'''\nimport os", ["os"]),
        ("x = (7\n     % 2)", []),
        ("exec('import os')", ["exec"]),
        ("f = eval", ["eval"]),
        ("f\"{exec('x')}\"", ["exec"]),
        ("ｅｘｅｃ('x')", ["exec"]),  # noqa: RUF001, as above
        ("model.eval(); evaluate(); re.compile('x')", []),
        ("'It may eval or exec'", []),
        ("__builtins__['ex' + 'ec']", ["__builtins__"]),
        ("get_ipython().system('ls')", ["get_ipython"]),
    ],
)
def test_commands_and_what_runs_texts_are_found(source, names):
    assert list(imported(source)) == names


@pytest.mark.parametrize(
    "source",
    [
        *('"\\' * 300_000, '"""\\' * 200_000, '\\"""' * 200_000, "'" * 10**6, "=" + " " * 10**6),
        *("\\\n" * 500_000, "from" + " " * 10**6, "import a," * 100_000, "exec" + " " * 10**6),
        *('#\\\n"""' * 150_000, "%a\\\n" * 200_000, "'exec  " * 150_000, "\ufdfa" * 300_000),
        *("=!" * 500_000, "from a " * 150_000, "= " * 500_000, "'\\\n" * 300_000, '""""' * 250_000),
    ],
)
def test_no_source_takes_long(source):
    start = time.process_time()
    list(imported(source))
    assert time.process_time() - start < 3


def test_code_that_is_too_long_is_named():
    (hint,) = unneeded_imports({"notebook": "#\n" * 10**7 + "import os"})
    assert hint.endswith("need: more than 3000000 letters (notebook)")


def test_imports_that_a_report_needs_are_no_hint():
    source = "import numpy as np\nimport matplotlib.pyplot as plt\nfrom task2 import train\n"
    assert list(unneeded_imports({"task2.py": source})) == []


def test_imports_that_no_report_needs_are_named_with_their_file():
    sources = {"task2.py": "import os", "notebook": "from torch import nn"}
    (hint,) = unneeded_imports(sources)
    assert (
        hint == "imports or commands that a report does not need: os (task2.py), torch (notebook)"
    )


def test_many_imports_are_a_short_hint():
    (hint,) = unneeded_imports({"task2.py": "".join(f"import m{n}\n" for n in range(1000))})
    assert hint.endswith(" and 992 more")


@pytest.mark.parametrize("source", [" " * 10**6, "import " * 10**5, "from " + "a." * 10**6])
def test_long_lines_are_searched_to_their_end(source):
    (hint,) = unneeded_imports({"task2.py": f"{source}\nimport os"})
    assert "os (task2.py)" in hint


def test_own_cells_are_those_that_the_starter_has_not():
    assert own_cells(notebook("x = 1", ""), STARTER) == {"code": ["x=1"], "text": []}


def test_spaces_and_line_breaks_make_no_other_notebook():
    assert digests(notebook("x = 1"), STARTER) == digests(notebook("x  =\n1"), STARTER)
    assert digests(notebook("x = 1"), STARTER) != digests(notebook("x = 2"), STARTER)


def test_code_and_text_are_told_apart():
    assert digests(notebook("same"), STARTER).keys() == {"code"}
    assert digests(notebook("same", kind="markdown"), STARTER).keys() == {"text"}


def test_a_blank_starter_is_equal_to_nobody():
    assert digests(STARTER, STARTER) == {}


def test_owners_of_the_same_are_named():
    assert list(equal_to({"code": "1", "text": "2"}, {"1": ["bob"], "2": ["eve"]})) == [
        "its notebook has the code of bob",
        "its notebook has the text of eve",
    ]
    assert list(equal_to({"code": "1"}, {"2": ["bob"]})) == []
