"""The gradebook: a row for each student, from sheets, a roster, and points that people give.

Tables that people write are read with all their mistakes named, and never written to. What is
written is UTF-8 with a mark that spreadsheets know it by, and no cell of it is a formula.
"""

import csv
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from course.folder import name_of, sheet_path, stored_sheet
from course.hints import equal_to
from course.rubric import PROSE, ROWS
from course.sheet import whole

ROSTER = ("student", "file", "group", "extension", "handed in")
MANUAL = ("student", "task", "of", "points", "grader", "comment")
FORMULA = "[=+@＝＋－＠-]"  # noqa: RUF001, some spreadsheets take these wide ones, too
# where a cell begins, or would for who takes semicolons for separators
BEGINNING = re.compile(rf'(^|;["\s]*)(?={FORMULA})')
NUMBER = re.compile(r"[0-9]+([.,][0-9]*)?")
CODE_TASKS = sorted({row.task for row in ROWS})
HUNDREDTH = timedelta(hours=0.01)  # in which lateness is counted
MAX_MISTAKES = 20  # that are named


class Student(NamedTuple):
    """A row of the roster, or who a zip is named after."""

    name: str
    path: Path | None  # of the zip
    group: str = ""
    extension: float = 0  # hours
    handed_in: datetime | None = None  # if another time than that of the file
    listed: bool = True  # in the roster, if there is one


class Given(NamedTuple):
    """Points that a person gave for prose."""

    points: float
    grader: str
    comment: str


def one_line(text: str) -> str:
    """Return a text without line breaks and what cannot be seen."""
    text = unicodedata.normalize("NFC", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def cell(text: str) -> str:
    """Return a text as a spreadsheet shows it: in one line, and never a formula.

    A cell of a cell is the same, so that names may be written and read again.
    """
    return BEGINNING.sub(r"\1'", one_line(text))


def file_cell(file: str) -> str:
    """Return a file's name as a spreadsheet shows it, its ending in small letters."""
    stem, dot, ending = file.rpartition(".")
    return f"{cell(stem)}{dot}{ending.lower()}"


def read_table(
    path: Path, columns: Sequence[str], needed: Sequence[str]
) -> list[tuple[str, dict[str, str]]]:
    """Return the rows of a CSV that a person wrote, and where each is, as a spreadsheet counts.

    Args:
        path: of the file, whose separator may be a comma, a semicolon or a tab.
        columns: that it may have.
        needed: those that it must have.

    Raises:
        ValueError: it is no such table.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in UTF-8 (byte {error.start}), expected what spreadsheets call "
            '"CSV UTF-8": save it as that'
        ) from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV ({error}): save it as one again") from error
    head = [name.strip().lower() for name in table[0]] if table else []
    wrong = [*(n for n in head if n not in columns), *(n for n in needed if n not in head)]
    if wrong or len(set(head)) < len(head):
        raise ValueError(
            f"{path}, row 1 has the columns {', '.join(head) or 'none'}, expected "
            f"{', '.join(needed)}, and any of {', '.join(c for c in columns if c not in needed)}"
        )
    rows = []
    for number, row in enumerate(table[1:], start=2):
        place = f"{path}, row {number}"
        if len(row) > len(head) and any(row[len(head) :]):
            raise ValueError(f"{place} has {len(row)} cells, expected {len(head)}")
        entry = dict.fromkeys(columns, "") | dict(zip(head, row, strict=False))
        if any(text.strip() for text in entry.values()):
            rows.append((place, {name: text.strip() for name, text in entry.items()}))
    return rows


def number(text: str, least: float, most: float) -> float | None:
    """Return a number within bounds, or None; its decimal point may be a comma."""
    if not NUMBER.fullmatch(text):
        return None
    value = float(text.replace(",", "."))
    return value if least <= value <= most else None


def refuse(mistakes: Sequence[str]) -> None:
    """Raise a ValueError that names mistakes, if there are any."""
    if mistakes:
        more = len(mistakes) - MAX_MISTAKES
        lines = [*mistakes[:MAX_MISTAKES], *([f"and {more} more"] if more > 0 else [])]
        raise ValueError("\n".join(lines))


def moment(text: str) -> datetime:
    """Return a time, of this computer's zone if it names none.

    Raises:
        ValueError: it is none.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!r} is no time, expected one as 2026-03-06 23:59, or with +01:00 behind it"
        ) from error


def without_roster(paths: Iterable[Path]) -> list[Student]:
    """Return a student for each zip, named after it, so that no two have one name."""
    names = {path: (cell(path.stem) or name_of(path), name_of(path)) for path in paths}
    known = Counter(name for two in names.values() for name in {*map(str.casefold, two)})
    return [
        Student(name if known[name.casefold()] == 1 else made, path)
        for path, (name, made) in names.items()
    ]


def read_roster(roster: Path, paths: Sequence[Path]) -> list[Student]:
    """Return the students of a roster, and after them who has handed in and is not in it.

    A student's zip is that of the column `file`, else the one named after the student or the group.

    Raises:
        ValueError: names every mistake in it.
    """
    files: dict[str, list[Path]] = {}
    for path in paths:
        files.setdefault(file_cell(path.name), []).append(path)
    students: dict[str, Student] = {}
    places: dict[str, str] = {}
    owners: dict[Path | None, Student] = {}
    mistakes = []
    for place, row in read_table(roster, ROSTER, ROSTER[:1]):
        name, group = cell(row["student"]), cell(row["group"])
        extension = number(row["extension"] or "0", 0, 10_000)
        handed_in = None
        if not name:
            mistakes.append(f"{place} has no student, expected a name or number")
        elif name in students:
            mistakes.append(f"{place}: {name!r} is in {places[name]}, too, expected one row each")
        if extension is None:
            mistakes.append(f"{place}: extension is {row['extension']!r}, expected hours")
        if row["file"] and file_cell(row["file"]) not in files:
            mistakes.append(f"{place}: file is {row['file']!r}, expected a zip in the folder")
        if row["handed in"]:
            try:
                handed_in = moment(row["handed in"])
            except ValueError as error:
                mistakes.append(f"{place}: handed in: {error}")
        own = [row["file"]] if row["file"] else [f"{n}.zip" for n in (name, group) if n]
        found = next((files[key] for key in map(file_cell, own) if key in files), [None])
        if len(found) > 1:
            same = " and ".join(ascii(path.name) for path in found)
            mistakes.append(f"{place}: {same} look the same, expected one: rename the others")
        path = found[0]
        students[name] = Student(name, path, group, extension or 0, handed_in)
        other = owners.setdefault(path, students[name])
        if path and other.name != name and (not group or other.group != group):
            what = f"{path.name!r} is of {other.name!r}, too"
            mistakes.append(f"{place}: {what}, expected one group for both")
        places[name] = place
    refuse(mistakes)
    taken = {student.path for student in students.values()}
    unlisted = without_roster(path for path in paths if path not in taken)
    for student in unlisted:
        name = student.name
        while name in students:
            name = f"{name}, not in the roster"
        students[name] = student._replace(name=name, listed=False)
    return list(students.values())


def read_manual(manual: Path, students: Sequence[Student]) -> dict[tuple[str, str], Given]:
    """Return the points that people gave, by student and task; rows without points are left out.

    Raises:
        ValueError: names every mistake in them.
    """
    known = {student.name for student in students}
    given: dict[tuple[str, str], Given] = {}
    places: dict[tuple[str, str], str] = {}
    mistakes = []
    for place, row in read_table(manual, MANUAL, ("student", "task", "points")):
        name, task = cell(row["student"]), row["task"].lower()
        if name not in known:
            mistakes.append(f"{place}: {name!r} is no student, expected one as in the template")
        if task not in PROSE:
            mistakes.append(f"{place}: task is {task!r}, expected one of {', '.join(PROSE)}")
        if not row["points"]:
            continue
        most = PROSE.get(task, math.inf)
        points = number(row["points"], 0, most)
        if points is None:
            mistakes.append(
                f"{place}: {name!r} has {row['points']!r} points in {task}, expected 0 to {most:g}"
            )
        elif (name, task) in given:
            before = given[name, task]
            mistakes.append(
                f"{place}: {name!r} has points in {task} from {cell(row['grader']) or 'nobody'} "
                f"({points:g}), and in {places[name, task]} from {before.grader or 'nobody'} "
                f"({before.points:g}): leave one of the rows"
            )
        else:
            given[name, task] = Given(points, cell(row["grader"]), one_line(row["comment"]))
            places[name, task] = place
    refuse(mistakes)
    return given


def csv_bytes(head: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> bytes:
    """Return a table as a CSV for spreadsheets: texts in quotes, numbers without."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([cell(name) for name in head])
    for row in rows:
        texts = ("" if value is None else value for value in row)
        writer.writerow([cell(v) if isinstance(v, str) else v for v in texts])
    return file.getvalue().encode("utf-8-sig")


def hours_late(student: Student, deadline: datetime | None) -> float | None:
    """Return by how many hours a hand-in came after the student's own deadline, or None."""
    if deadline is None or student.path is None:
        return None
    handed_in = student.handed_in
    if handed_in is None:
        handed_in = datetime.fromtimestamp(student.path.lstat().st_mtime).astimezone()
    late = handed_in - deadline - timedelta(hours=student.extension)
    return max(0, whole(math.ceil(late / HUNDREDTH) / 100))


class Entry(NamedTuple):
    """A student, and all that the gradebook and the feedback say."""

    student: Student
    sheet: dict[str, Any] | None  # None where there is no hand-in, or it was not graded
    given: dict[str, Given]  # by task
    late: float | None  # hours
    remarks: list[str]  # for a person who grades

    @property
    def missing(self) -> list[str]:
        """Return the tasks whose prose has no points yet."""
        return [task for task in PROSE if task not in self.given]

    @property
    def total(self) -> float | None:
        """Return the points of code and prose, once all are there."""
        if self.sheet is None or self.missing:
            return None
        return whole(self.sheet["points"] + sum(given.points for given in self.given.values()))


def entries(
    students: Sequence[Student],
    out: Path,
    failed: Mapping[Path, str],
    given: Mapping[tuple[str, str], Given],
    deadline: datetime | None = None,
) -> list[Entry]:
    """Return an entry for each student.

    Args:
        students: of the class.
        out: where the sheets are.
        failed: why there is no sheet of a zip, if so.
        given: the points that people gave.
        deadline: of all who have no extension.
    """
    paths = dict.fromkeys(student.path for student in students if student.path)
    sheets = {p: stored_sheet(sheet_path(out, p)) for p in paths if p not in failed}
    owners: dict[str, list[Path]] = {}
    for path, sheet in sheets.items():
        for digest in sheet["notebook"].values() if sheet else ():
            owners.setdefault(digest, []).append(path)
    found = []
    for student in students:
        sheet = sheets.get(student.path)
        remarks = [] if student.listed else ["not in the roster"]
        if student.path is None:
            remarks.append("handed in nothing")
        elif sheet is None:
            remarks.append(f"not graded: {failed.get(student.path, 'there is no sheet')}")
        else:
            others = {
                digest: (cell(path.name) for path in owners[digest] if path != student.path)
                for digest in sheet["notebook"].values()
            }
            remarks += [*sheet["notes"], *sheet["hints"], *equal_to(sheet["notebook"], others)]
        points = {
            task: given[student.name, task] for task in PROSE if (student.name, task) in given
        }
        found.append(Entry(student, sheet, points, hours_late(student, deadline), remarks))
    return found


def template(entries: Iterable[Entry]) -> bytes:
    """Return the table for people to fill in: a row for each who handed in, and prose task."""
    rows = []
    for student, _, given, *_ in entries:
        for task, most in PROSE.items() if student.path else ():
            points, grader, comment = given.get(task, (None, "", ""))
            shown = None if points is None else whole(points)
            rows.append((student.name, task, most, shown, grader, comment))
    return csv_bytes(MANUAL, rows)


def is_filled(template: Path, manual: Path | None, entries: Sequence[Entry]) -> bool:
    """Tell whether a template is not to be written anew, since a person has worked in it."""
    if not template.exists():
        return False
    if manual and manual.samefile(template):
        return True
    known = {
        (entry.student.name, task): (points, grader, cell(comment))
        for entry in entries
        for task, (points, grader, comment) in entry.given.items()
    }
    try:
        rows = [row for _, row in read_table(template, MANUAL, MANUAL)]
    except (OSError, ValueError):
        return True
    for row in rows:
        work = number(row["points"], 0, math.inf), cell(row["grader"]), cell(row["comment"])
        key = cell(row["student"]), row["task"].lower()
        if any((row["points"], *work[1:])) and known.get(key) != work:
            return True
    return False


def grades(entries: Iterable[Entry], late: Callable[[float, float], float] | None = None) -> bytes:
    """Return the gradebook as a CSV.

    Args:
        entries: one for each student.
        late: what a teacher makes of a total that is so many hours late.
    """
    head = ["student", "group", "file", "hours late", "code", "report", "prose", "total"]
    head += [*CODE_TASKS, *(f"prose {task}" for task in PROSE), "prose missing", "for a person"]
    return csv_bytes(head, (row_of(entry, late) for entry in entries))


def row_of(
    entry: Entry, late: Callable[[float, float], float] | None
) -> Iterator[str | float | None]:
    """Return a student's row of the gradebook."""
    student, sheet, total = entry.student, entry.sheet, entry.total
    if late and total is not None and entry.late is not None:
        total = late(total, entry.late)
    yield from (student.name, student.group, student.path.name if student.path else "", entry.late)
    yield from (sheet["points"], sheet["report"]["points"]) if sheet else (None, None)
    prose = sum(given.points for given in entry.given.values())
    yield from (whole(prose) if entry.given else None, total)
    yield from (sheet["tasks"][task]["points"] if sheet else None for task in CODE_TASKS)
    points = (entry.given[task].points if task in entry.given else None for task in PROSE)
    yield from (None if point is None else whole(point) for point in points)
    yield ", ".join(entry.missing) if student.path else ""
    yield "; ".join(entry.remarks)
