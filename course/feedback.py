"""The page that a student gets: points by task, what went wrong, where to look.

It is written for each student from the sheet alone. It names no value that was hidden, no seed, and
nothing that is meant for a person who grades; what a hand-in said stands in it as text.
"""

import re
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from course.gradebook import Entry, one_line
from course.grading import PUBLIC_SEED
from course.rubric import FUNCTIONS, PROSE, ROWS, Row, draw
from course.sheet import plain

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Assignment 2: {name}</title>
<style>
body {{ font: 1rem/1.5 sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }}
td, th {{ border-bottom: 1px solid #ccc; padding: 0.2rem 0.8rem; text-align: left }}
td.n {{ text-align: right }}
code {{ background: #f3f3f3; padding: 0 0.2rem; overflow-wrap: anywhere }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
AGAIN = (
    "Every row of the rubric is an expression on your functions. To see rows fail for yourself, "
    "with other numbers than those that you were graded on, run "
    "<code>python3 start.py -m pytest --nbval course/rubric.py</code> in the folder of the "
    "assignment, on Windows with <code>py</code> instead of <code>python3</code>. "
    "(Entry 0 is the first of a list. <code>softplus</code>, log(1 + exp(z)), is an activation "
    "that no task asks for, and <code>drawn</code> draws weights that are known.)"
)
FOLLOWING = (
    "These rows use functions that are named above, and may have their points once those are right:"
)
MAX_CELLS = 10  # of a report that are named


def page(entry: Entry) -> str:
    """Return a student's page as HTML."""
    name = escape(one_line(entry.student.name))
    return PAGE.format(name=name, body="\n".join(body(entry)))


def body(entry: Entry) -> Iterator[str]:
    """Write what the page says."""
    student, sheet = entry.student, entry.sheet
    yield f"<h1>Assignment 2: {escape(one_line(student.name))}</h1>"
    if student.path is None or sheet is None:
        what = (
            "could not be graded; your teacher has been told why" if student.path else "is missing"
        )
        yield f"<p>Your hand-in {what}.</p>"
        return
    late = f", handed in {entry.late:g} hours late" if entry.late else ""
    yield f"<p>Of <code>{escape(one_line(student.path.name))}</code>{late}.</p>"
    yield from points(entry)
    yield from notes(sheet["notes"])
    yield from problems(sheet)
    yield from report(sheet["report"])
    yield from comments(entry)


def points(entry: Entry) -> Iterator[str]:
    """Write the table of points by task."""
    sheet = entry.sheet
    yield "<table>\n<tr><th>task</th><th>code</th><th>prose</th></tr>"
    for task, line in sheet["tasks"].items():
        code = f"{line['points']:g} of {line['of']:g}" if line["of"] else ""
        yield table_row(task, code, prose(entry, task) if task in PROSE else "")
    given = sum(given.points for given in entry.given.values())
    of = "not all graded yet" if entry.missing else f"{given:g} of {sheet['human']}"
    yield table_row("all", f"{sheet['points']:g} of {sheet['of']:g}", of)
    yield "</table>"
    if entry.total is not None:
        yield f"<p>Together {entry.total:g} of {sheet['of'] + sheet['human']:g} points.</p>"


def table_row(name: str, *numbers: str) -> str:
    """Return a row of the table."""
    cells = "".join(f'<td class="n">{number}</td>' for number in numbers)
    return f"<tr><td>{name}</td>{cells}</tr>"


def prose(entry: Entry, task: str) -> str:
    """Return what a task's prose was given."""
    given = entry.given.get(task)
    return f"{given.points:g} of {PROSE[task]}" if given else f"? of {PROSE[task]}"


def notes(lines: list[str]) -> Iterator[str]:
    """Write what was noticed when the hand-in was read."""
    if lines:
        yield "<h2>What your hand-in holds</h2>\n<ul>"
        yield from (f"<li>{escape(plain(line))}</li>" for line in lines)
        yield "</ul>"


def problems(sheet: dict[str, Any]) -> Iterator[str]:
    """Write why rows have no points: first by function, then those that may follow from others."""
    lost = [(row, sheet["tasks"][row.task]["failed"].get(row.name)) for row in ROWS]
    lost = [(row, why) for row, why in lost if why is not None]
    if not lost:
        yield "<p>Every row of the rubric has its points.</p>"
        return
    yield f"<h2>What went wrong</h2>\n<p>{AGAIN}</p>"
    wrong = dict.fromkeys(row.function for row, _ in lost)
    first = []  # that are wrong by themselves
    for function in wrong:
        own = [(row, why) for row, why in lost if row.function == function]
        if causes := [(row, why) for row, why in own if not wrong.keys() & row.needs.split()]:
            first.append(function)
            yield f"<h3><code>{function}</code> in {FUNCTIONS[function]}.py</h3>\n<ul>"
            for row, why in causes:
                yield from problem(row, why)
            yield "</ul>"
    if effects := [(row, why) for row, why in lost if wrong.keys() & row.needs.split()]:
        yield f"<h3>What may follow from these</h3>\n<p>{FOLLOWING}</p>\n<ul>"
        for row, why in effects:
            names = [name for name in wrong if name in row.needs.split()]
            names = [name for name in names if name in first] or names
            used = ", ".join(f"<code>{name}</code>" for name in names)
            yield f"<li>{said(row, why)}<br>It uses {used}.</li>"
        yield "</ul>"


def said(row: Row, why: str) -> str:
    """Return why a row has no points."""
    unit = "point" if row.points == 1 else "points"
    reason = plain(why.removesuffix(f" ({row.hint})"))
    return f"{row.task}, {escape(row.name)} ({row.points:g} {unit}): {escape(reason)}."


def problem(row: Row, why: str) -> Iterator[str]:
    """Write why a row has no points, the call, and where to look."""
    hint = re.sub("`(.+?)`", r"<code>\1</code>", escape(row.hint))
    yield f"<li>{said(row, why)}<br>Hint: {hint}."
    yield f"<br>Call: <code>{escape(row.expression)}</code>"
    for name, expression in row.given.items():
        yield f"<br>Here <code>{name}</code> is the right <code>{escape(expression)}</code>."
    if given := "; ".join(shapes(row)):
        yield f"<br>Shapes: {given}."
    yield "</li>"


def shapes(row: Row) -> Iterator[str]:
    """Say of what shapes the matrices are that a row's functions are called with."""
    own = re.findall(r"\b(?:for|lambda) (\w+)", row.expression)  # names of the expression itself
    for name, value in draw(row, PUBLIC_SEED).items():  # of the same shapes for every seed
        arrays = value if isinstance(value, list) else [value]
        if name not in own and all(np.ndim(array) == 2 for array in arrays):
            yield f"<code>{name}</code>: {', '.join(' × '.join(map(str, a.shape)) for a in arrays)}"


def report(entry: dict[str, Any]) -> Iterator[str]:
    """Write what became of the report."""
    yield "<h2>The report</h2>"
    if entry["points"] is None:
        yield "<p>It was not executed again, and its points are not among these.</p>"
        return
    yield (
        f"<p>{entry['points']:g} of {entry['of']} points, beside the others, for showing again "
        f"what is stored: {entry['passed']} cells do.</p>"
    )
    failed = list(entry["failed"].items())
    if failed:
        yield "<ul>"
        for name, why in failed[:MAX_CELLS]:
            yield f"<li>{escape(plain(name))}: {escape(plain(why))}</li>"
        if len(failed) > MAX_CELLS:
            yield f"<li>and {len(failed) - MAX_CELLS} more cells</li>"
        yield "</ul>"


def comments(entry: Entry) -> Iterator[str]:
    """Write what people say."""
    said = {task: given.comment for task, given in entry.given.items() if given.comment}
    if said:
        yield "<h2>Comments</h2>\n<ul>"
        for task, comment in said.items():
            yield f"<li>{task}: {escape(one_line(comment))}</li>"
        yield "</ul>"
