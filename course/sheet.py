"""The grade sheet: points by task and row, why some are missing, and what is left to a person."""

import re
from collections.abc import Iterable, Iterator, Sequence
from textwrap import shorten
from typing import Any, NamedTuple

from course.rubric import PROSE, REPORT, ROWS, TASKS

# where a line of Markdown is a heading, underlines one or begins or ends code
HEADING = re.compile(r" {0,3}(?:`{3,}|~{3,}|#{1,6}(?=\s|$)|<h[1-6]\b|=+\s*$|-+\s*$)", re.IGNORECASE)
LABEL = re.compile(r"(?<![\w.])([1-4]) ?([a-f])(?![\w])", re.IGNORECASE)
HIDDEN = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?|\d{5,}", re.IGNORECASE)


class Cell(NamedTuple):
    """What became of a code cell of the notebook: `tasks` of its section, `why` if it failed."""

    name: str
    tasks: Sequence[str]
    why: str | None


def plain(text: str, width: int = 150) -> str:
    """Return what a hand-in said as one line without control characters and long numbers."""
    visible = "".join(c if c.isprintable() else " " for c in text[: 10 * width])
    return shorten(HIDDEN.sub("#", visible), width, placeholder=" ...")


def headings(text: str) -> Iterator[tuple[int, str]]:
    """Yield level and text of each heading in Markdown; in fenced code there are none.

    What is underlined has the level 3, since there a rule may be meant.
    """
    fence, above = "", ""
    for line in text.splitlines():
        found = HEADING.match(line)
        mark = found[0].strip() if found else ""
        if fence:
            if mark.startswith(fence) and not line.strip(" \t`~"):
                fence = ""
        elif mark.startswith(("`", "~")):
            fence = mark
        elif mark.startswith("#"):
            yield len(mark), line
        elif mark.startswith("<"):
            yield int(mark[-1]), line
        elif mark:
            yield 3, above
        above = line


def section_tasks(cells: Iterable[dict]) -> list[list[str]]:
    """Return for each cell the tasks that the last heading above it names."""
    found: list[list[str]] = []
    tasks: list[str] = []
    for cell in cells:
        text = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
        for level, heading in headings(text):
            named = ["".join(label).lower() for label in LABEL.findall(heading)]
            if named or level < 3:  # what is below a task's own heading belongs to it
                tasks = [task for task in named if task in TASKS]
        found.append(tasks)
    return found


def sheet(
    failed: dict[str, str], cells: Sequence[Cell] | None, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the sheet, ready for JSON.

    Args:
        failed: why, for each row without points.
        cells: the notebook's, None if it was not run.
        notes: for the person who grades.
    """
    tasks = {task: task_entry(task, failed) for task in TASKS}
    return {
        "points": whole(sum(entry["points"] for entry in tasks.values())),
        "of": whole(sum(entry["of"] for entry in tasks.values())),
        "human": sum(PROSE.values()),
        "tasks": tasks,
        "report": report_entry(tasks, cells),
        "notes": list(notes),
    }


def whole(points: float) -> float:
    """Return points as a whole number where they are one."""
    return int(points) if float(points).is_integer() else points


def task_entry(task: str, failed: dict[str, str]) -> dict[str, Any]:
    """Return a task's line of the sheet."""
    rows = [row for row in ROWS if row.task == task]
    passed = [row for row in rows if row.key not in failed]
    return {
        "points": whole(sum(row.points for row in passed)),
        "of": whole(sum(row.points for row in rows)),
        "human": PROSE.get(task, 0),
        "passed": len(passed),
        "failed": {row.name: failed[row.key] for row in rows if row.key in failed},
    }


def report_entry(tasks: dict[str, Any], cells: Sequence[Cell] | None) -> dict[str, Any]:
    """Return the report's line: points in proportion to the code's in its sections, if all agrees.

    A section without code that has points reports on nothing, whatever its cells print.
    """
    if cells is None:
        return {"points": None, "of": REPORT, "passed": 0, "failed": {}}
    failed = {cell.name: cell.why for cell in cells if cell.why is not None}
    shown = {task for cell in cells if cell.why is None for task in cell.tasks}
    reported = sum(entry["points"] for task, entry in tasks.items() if task in shown)
    share = reported / sum(entry["of"] for entry in tasks.values())
    points = 0 if failed else round(REPORT * share, 1)
    return {
        "points": whole(points),
        "of": REPORT,
        "passed": len(cells) - len(failed),
        "failed": failed,
    }


def sheet_lines(graded: dict[str, Any]) -> Iterator[str]:
    """Write a sheet as text: a line for each task, and one for each row without points."""
    yield "task   points"
    for task, entry in graded["tasks"].items():
        if entry["of"]:
            yield f"{task}    {entry['points']:>5g}/{entry['of']:g}"
        for name, why in entry["failed"].items():
            yield f"       {name}: {why}"
    yield f"code  {graded['points']:>5g}/{graded['of']:g}   by rows"
    human = ", ".join(f"{task} {e['human']}" for task, e in graded["tasks"].items() if e["human"])
    yield f"prose     -/{graded['human']}   for a person: {human}"
    report = graded["report"]
    points = "not run" if report["points"] is None else f"{report['points']:g}/{report['of']}"
    yield f"report {points:>7}   beside these 100: reproduces what it shows of code with points"
    for name, why in list(report["failed"].items())[:5]:
        yield f"       {name}: {why}"
    if len(report["failed"]) > 5:
        yield f"       and {len(report['failed']) - 5} more cells"
    for note in graded["notes"]:
        yield f"note: {note}"
