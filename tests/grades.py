"""Sort tests and notebook cells by task of the rubric, and give each task its points.

Every report of pytest carries its tasks as user properties, which pytest-xdist hands on and the
JUnit XML shows. The sheet is made from the reports alone, when all have ended.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import pytest
from nbval.plugin import IPyNbCell

RUBRIC = {  # task: points by tests and cells, points that a person gives for prose
    **{"1a": (0, 4), "1b": (0, 0)},
    **{"2a": (10, 0), "2b": (18, 0), "2c": (6, 0), "2d": (5, 0)},
    **{"3a": (6, 0), "3b": (9, 0), "3c": (7, 0)},
    **{"4a": (1, 2), "4b": (1, 2), "4c": (14, 0), "4d": (3, 2), "4e": (3, 3), "4f": (2, 2)},
}
LEGEND = "A task gets all its points if tests and cells of it ran and none failed, otherwise none."
SHOWN = 3  # failures of a task; the JSON has all
CELL = re.compile(r"\.ipynb::Cell \d+$")
# a cell renumbered is a cell moved: that is the notebook's affair, not the next task's
PROBLEM = re.compile(r"(cell (\d+) \(.*?\)): (?!execution count|its result counts)(.*)")


class Result(NamedTuple):
    """What became of a test, a cell, or a file that cannot be read; without tasks it is shared."""

    name: str
    tasks: Sequence[str] = ()
    why: str | None = None  # it failed


def grade(results: Iterable[Result]) -> dict[str, Any]:
    """Return the sheet, ready for JSON; points are None where tests or cells did not run."""
    results = list(results)
    notebook = any(CELL.search(result.name) for result in results)
    tasks = {task: grade_task(task, results, notebook=notebook) for task in RUBRIC}
    return {
        "points": sum(entry["points"] or 0 for entry in tasks.values()),
        "of": sum(entry["of"] for entry in tasks.values()),
        "human": sum(entry["human"] for entry in tasks.values()),
        "tasks": tasks,
        "whole report": count([result for result in results if not result.tasks]),
    }


def grade_task(task: str, results: Sequence[Result], *, notebook: bool) -> dict[str, Any]:
    """Return a task's line of the sheet; a notebook that ran must have a section for the task."""
    mine = [result for result in results if task in result.tasks]
    ran = {bool(CELL.search(result.name)) for result in mine}
    if notebook and True not in ran:
        mine.append(Result("notebook", why=f"has no cell under a heading 'Task {task})'"))
    entry, (automatic, human) = count(mine), RUBRIC[task]
    points = 0 if entry["failed"] else automatic if ran == {True, False} else None
    return {"points": points, "of": automatic, "human": human, **entry}


def count(results: Iterable[Result]) -> dict[str, Any]:
    """Return how many passed, and why each of the others failed, by name."""
    results = list(results)
    failed = {result.name: result.why for result in results if result.why is not None}
    return {"passed": len({result.name for result in results} - failed.keys()), "failed": failed}


def sheet_lines(sheet: dict[str, Any]) -> Iterator[str]:
    """Write a sheet as text, a line for each task and for each failure."""
    yield "task    points  passed"
    for task, entry in sheet["tasks"].items():
        points = "not run" if entry["points"] is None else f"{entry['points']}/{entry['of']}"
        yield f"{task}  {points if entry['of'] else '-':>10}  {entry['passed']:>6}"
        yield from failure_lines(entry["failed"])
    yield f"total {sheet['points']:>4}/{sheet['of']}   by tests and cells, of 100 in all"
    human = ", ".join(f"{task} {e['human']}" for task, e in sheet["tasks"].items() if e["human"])
    yield f"prose    -/{sheet['human']}   for a person to judge: {human}"
    yield f"whole report, without points: {sheet['whole report']['passed']} passed"
    yield from failure_lines(sheet["whole report"]["failed"])
    yield LEGEND


def failure_lines(failed: dict[str, str]) -> Iterator[str]:
    """Write why something failed, a line each."""
    for name, why in list(failed.items())[:SHOWN]:
        yield f"      {shorten(f'{name}: {why}', 150)}"
    if len(failed) > SHOWN:
        yield f"      and {len(failed) - SHOWN} more"


def cell_tasks(cells: Iterable[dict]) -> list[list[str]]:
    """Return for each cell of a notebook the task whose heading stands above it, if any."""
    all_tasks, tasks = [], []
    for cell in cells:
        lines = "".join(cell["source"]).splitlines() if cell["cell_type"] == "markdown" else ()
        for line in lines:
            if heading := re.match(r"##? +(?:Task (\d[a-z])\b)?", line):
                tasks = [task for task in heading.groups() if task in RUBRIC]
        all_tasks.append(tasks)
    return all_tasks


def file_tasks(path: Path) -> list[str]:
    """Return the tasks that lose their points if a file cannot be read: those it is marked with.

    Those before the task that the file is named after have tests in files of their own.
    """
    if path.suffix == ".ipynb":
        return list(RUBRIC)
    own = re.match(r"test_task(\d[a-z]?)", path.name)
    marked = set(re.findall(r'\btask\("(\d[a-z])"\)', path.read_text("utf-8")))
    return [task for task in RUBRIC if task in marked and task >= (own[1] if own else "")]


def results_of(reports: Iterable[Any], root: Path) -> Iterator[Result]:
    """Return what pytest's reports say, their files being in `root`."""
    for report in reports:
        path = root / report.nodeid.split("::")[0]
        tasks = [task for name, task in getattr(report, "user_properties", ()) if name == "task"]
        if report.failed or (report.skipped and CELL.search(report.nodeid)):
            if report.when in ("collect", "???"):  # ???: it took pytest-xdist's worker with it
                tasks = file_tasks(path) if path.is_file() else []
            yield Result(report.nodeid, tasks, reason(report))
            if report.nodeid.endswith(".ipynb::file"):
                of_cells = cell_tasks(json.loads(path.read_text("utf-8"))["cells"])
                for name, number, why in PROBLEM.findall(report.longreprtext):
                    if tasks := of_cells[int(number) - 1]:
                        yield Result(name, tasks, why)
        elif report.passed and report.when == "call":
            yield Result(report.nodeid, tasks)


def reason(report: Any) -> str:
    """Return in one line why a test or a cell failed, or why a file cannot be read."""
    if report.skipped:
        return "skipped"
    text = re.sub(r"\x1b\[[\d;]*m", "", report.longreprtext).strip()
    if crash := getattr(report.longrepr, "reprcrash", None):
        text = crash.message.strip()
        if not text.startswith('File "'):  # as the message of a SyntaxError does
            return shorten(text, 200)  # NumPy says more in its second line
    if cell := re.search(r"^Cell \d+: (.*)", text, re.MULTILINE):
        return f"{cell[1]}: {text.splitlines()[-1]}" if "\nTraceback:\n" in text else cell[1]
    last = text.rpartition("\n")[2].removeprefix("E ").strip()
    where = re.findall(r'^(?:E +)?File ".*?([^/\\"]+)", line (\d+)', text, re.MULTILINE)
    return last + "".join(f" ({name}, line {number})" for name, number in where[-1:])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the JSON."""
    parser.addoption("--grades", metavar="FILE", help="write the grade sheet as JSON")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep a test's or a cell's tasks where its reports take them from."""
    tasks = [marker.args[0] for marker in item.iter_markers("task")]
    if isinstance(item, IPyNbCell):
        cells = item.parent.nb.cells
        tasks += next(t for t, c in zip(cell_tasks(cells), cells, strict=True) if c is item.cell)
    item.user_properties += [("task", task) for task in dict.fromkeys(tasks)]


@pytest.hookimpl(wrapper=True, tryfirst=True)  # the last to write
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Iterator[None]:
    """Show the sheet if a notebook was tested, and write its JSON if asked to."""
    yield
    reports = [
        report
        for of_outcome in terminalreporter.stats.values()
        for report in of_outcome
        if isinstance(report, pytest.TestReport | pytest.CollectReport)
    ]
    file = config.getoption("--grades")
    if file or any(report.nodeid.split("::")[0].endswith(".ipynb") for report in reports):
        sheet = grade(results_of(reports, config.rootpath))
        terminalreporter.section("grade sheet")
        terminalreporter.write("".join(f"{line}\n" for line in sheet_lines(sheet)))
        if file:
            Path(file).write_text(json.dumps(sheet, indent=1) + "\n", encoding="utf-8")
