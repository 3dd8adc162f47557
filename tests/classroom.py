"""A class as it may be: `python -m tests.classroom FOLDER [COUNT]` writes its zips.

Correct hand-ins with a mistake each, the starter at all its stages, attacks, and broken zips, in
turn; the same zips each time.
"""

import functools
import io
import itertools
import json
import sys
import warnings
import zipfile
from pathlib import Path

from course.handed import MAX_CODE, MAX_ZIP
from course.rubric import FUNCTIONS
from tests.course_files import ROOT, starter, zipped
from tests.test_attacks import ATTACKS, FILES
from tests.test_mistakes import HONEST, MISTAKES

NAMES = [  # that a file may have
    *("=1+1", "@SUM(A1)", "-2", "+3", "a,b", 'say "hi"', "two\nlines", "a;=1+1;b", 'a";"=1+1'),
    *(
        "Åse Lindøy",
        "李小龙",
        "<img src=x onerror=alert(1)>",
        "**bold** _x_",
        "anna",
        "Anna",
        "ANNA",
    ),
    *("..", " ", "~", "\x1b[2Jred", "\u202etxt", "x" * 200, "con", "-rf", "--seed=1", "$(touch x)"),
    *("`id`", "%s", "{name}"),
]
NOT_WRITTEN = '\n\ndef {0}(*arguments, **options):\n    raise NotImplementedError("{0}")\n'


@functools.cache
def report():
    """Return the project's own notebook, as it is stored."""
    return json.loads((ROOT / "assignment2.ipynb").read_text("utf-8"))


def notebook(name):
    """Return it with another first cell, as if it were somebody's own."""
    first = {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": f"# Report: {name}"}
    return json.dumps(report() | {"cells": [first, *report()["cells"]]})


def mistaken(name):
    home, right, wrong, _ = MISTAKES[name]
    files = {path.name: path.read_text("utf-8") for path in HONEST.glob("*.py")}
    files[f"{home}.py"] = files[f"{home}.py"].replace(right, wrong)
    return zipped(files | {"report.ipynb": notebook(name)})


def at_stage(written):
    """Return the starter of somebody who has written so many functions."""
    files = {f"{home}.py": (ROOT / f"{home}.py").read_text("utf-8") for home in FUNCTIONS.values()}
    for name, home in list(FUNCTIONS.items())[written:]:
        files[f"{home}.py"] += NOT_WRITTEN.format(name)
    return zipped(files | {"assignment2.ipynb": starter()["assignment2.ipynb"]})


def attacking(name):
    if name in FILES:
        return zipped({"task2a.py": FILES[name]})
    code = ATTACKS[name]
    places = {"root": ROOT, "outside": "/nowhere", "home": Path.home()}
    code = code.format(**places) if "{" in code else code
    return zipped({"task2a.py": starter()["task2a.py"].decode() + "\n\n" + code})


def twice():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("task2a.py", "x = 1")
        file.writestr("task2a.py", "x = 2")
    return buffer.getvalue()


BROKEN = {
    "empty": lambda: b"",
    "a text": lambda: b"My answers are in the mail.\n",
    "half": lambda: zipped({"task2a.py": "x = 1\n" * 1000})[:60],
    "no file": lambda: zipped({}),
    "other files only": lambda: zipped({"essay.docx": "x", "../../etc/passwd": "x"}),
    "a bomb": lambda: zipped({"task2a.py": bytes(200 * MAX_CODE)}),
    "a file twice": twice,
    "a zip in a zip": lambda: zipped({"inner.zip": zipped({"task2a.py": "x = 1"})}),
    "two folders": lambda: zipped({"a/task2a.py": "x = 1", "b/task2a.py": "x = 2"}),
    "a notebook of brackets": lambda: zipped({"a.ipynb": "[" * 10**6}),
    "many files": lambda: zipped({f"{n}.txt": "" for n in range(6000)}),
    "too large": lambda: bytes(MAX_ZIP + 1),
}


def hand_ins():
    """Return the name and the content of hand-ins of all kinds, in turn, as functions."""
    kinds = [
        [(f"mistake {name}", functools.partial(mistaken, name)) for name in MISTAKES],
        [(f"stage {n}", functools.partial(at_stage, n)) for n in range(len(FUNCTIONS) + 1)],
        [(f"attack {name}", functools.partial(attacking, name)) for name in [*ATTACKS, *FILES]],
        [(f"broken {name}", make) for name, make in BROKEN.items()],
    ]
    for some in itertools.zip_longest(*kinds):
        yield from filter(None, some)


def write_class(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    students = itertools.chain(NAMES, (f"student-{n:04}" for n in itertools.count()))
    kinds = itertools.cycle(list(hand_ins()))
    written = {}
    for name, (kind, make) in itertools.islice(zip(students, kinds, strict=False), count):
        (folder / f"{name}.zip").write_bytes(make())
        written[f"{name}.zip"] = kind
    return written


if __name__ == "__main__":
    for name, kind in write_class(Path(sys.argv[1]), int((sys.argv[2:] or ["200"])[0])).items():
        print(f"{name!r}: {kind}")
