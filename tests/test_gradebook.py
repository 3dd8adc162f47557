"""The gradebook: rosters and points by people are checked, and no cell is a formula."""

import csv
import io
import itertools
import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from course.feedback import page
from course.folder import name_of
from course.gradebook import (
    Given,
    Student,
    cell,
    entries,
    grades,
    hours_late,
    is_filled,
    moment,
    read_manual,
    read_roster,
    template,
    without_roster,
)
from course.rubric import PROSE, ROWS
from course.sheet import sheet
from tests.classroom import NAMES

FULL = sum(row.points for row in ROWS)
ANNA, BOB = Student("anna", None), Student("bob", None)
ALL = {("anna", task): Given(most, "kari", "") for task, most in PROSE.items()}


@pytest.fixture
def zips(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).write_bytes(b"")
        return [tmp_path / name for name in names]

    return make


@pytest.fixture
def table(tmp_path):
    def write(*lines, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes("\n".join(lines).encode(encoding))
        return path

    return write


def graded(out, *paths, failed=(), notes=(), **more):
    """Write a sheet for each zip."""
    from course.folder import sheet_path, write

    (out / "sheets").mkdir(exist_ok=True)
    for path in paths:
        result = sheet(dict(failed), None, notes) | {"hints": [], "notebook": {}, "made": {}} | more
        write(sheet_path(out, path), json.dumps(result).encode())


def rows(content):
    text = content.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


# cells
@pytest.mark.parametrize("name", NAMES)
def test_no_cell_is_a_formula(name):
    assert cell(name)[:1] not in {"=", "+", "-", "@"}
    assert cell(name).isprintable()
    assert cell(cell(name)) == cell(name)


@pytest.mark.parametrize("text", ["=1+1", "\t=1+1", " =1+1", "\r\n@SUM(1)", "＝1+1", "\u200b=1+1"])  # noqa: RUF001
def test_no_space_hides_a_formula(text):
    assert cell(text).startswith("'")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_no_formula_begins_where_another_separator_is_taken(separator, zips, tmp_path):
    paths = zips("a;=1+1;b.zip", "a,=1+1,b.zip", 'a";"=1+1.zip')
    text = grades(entries(without_roster(paths), tmp_path, {}, {})).decode("utf-8-sig")
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
        assert not any(value.startswith(("=", "+", "-", "@")) for value in row)


def test_gradebook_is_utf8_with_a_mark(zips, tmp_path):
    content = grades(entries(without_roster(zips("Åse 李.zip")), tmp_path, {}, {}))
    assert content.startswith(b"\xef\xbb\xbf")
    assert rows(content)[0]["student"] == "Åse 李"


# who hands in
def test_without_a_roster_students_are_named_after_zips(zips):
    assert [s.name for s in without_roster(zips("anna.zip", "=1+1.zip"))] == ["anna", "'=1+1"]


def test_names_that_would_be_the_same_are_kept_apart(zips):
    paths = zips("anna.zip", "Anna.zip", "anna.ZIP", "an\u200bna.zip", "bob.zip")
    names = [student.name for student in without_roster(paths)]
    assert len({name.casefold() for name in names}) == len(paths)
    assert names[-1] == "bob"


def test_a_name_may_be_the_one_that_is_made_for_another(zips):
    made = f"{name_of(Path('Bob.zip'))}.zip"
    paths = zips("Bob.zip", "bob.zip", made, made.lower(), f"{name_of(Path(made))}.zip")
    for order in itertools.permutations(paths):
        names = [student.name.casefold() for student in without_roster(order)]
        assert len(set(names)) == len(paths)


@pytest.mark.parametrize("other", ["\u200bbob.zip", " bob.zip"])
@pytest.mark.parametrize("row", ["bob,,", "bob,bob.zip,", "anna,,bob"])
def test_zips_that_look_the_same_are_a_mistake_where_a_roster_means_one(row, other, zips, table):
    for paths in itertools.permutations(zips("bob.zip", other)):
        with pytest.raises(ValueError, match=r"row 2: .* look the same") as error:
            read_roster(table("student,file,group", row), paths)
        assert f"{other!a}" in str(error.value)
        assert "'bob.zip'" in str(error.value)


def test_zips_that_look_the_same_may_be_those_of_nobody(zips, table):
    students = read_roster(table("student", "anna"), zips("bob.zip", "\u200bbob.zip"))
    assert len({student.name for student in students}) == 3


def test_a_roster_says_whose_a_zip_is(zips, table):
    paths = zips("17.zip", "bob.zip", "group 1.zip")
    students = read_roster(
        table(
            "student,file,group,extension",
            *("anna,17.zip,,", "bob,,,48", "carl,,group 1,", "dora,,group 1,", "emil,,,"),
        ),
        paths,
    )
    found = {s.name: s.path.name if s.path else None for s in students}
    assert found == {
        **{"anna": "17.zip", "bob": "bob.zip", "carl": "group 1.zip", "dora": "group 1.zip"},
        "emil": None,
    }
    assert students[1].extension == 48


@pytest.mark.parametrize("row", ["anna,,", "anna,ANNA.zip,", "bob,,anna"])
def test_the_ending_of_a_zip_may_be_in_capitals(row, zips, table):
    path = "ANNA.ZIP" if "ANNA" in row else "anna.ZIP"
    (student,) = read_roster(table("student,file,group", row), zips(path))
    assert student.path.name == path


def test_a_zip_without_a_name_is_of_nobody_who_has_no_group(zips, table):
    students = read_roster(table("student,group", "anna,", "bob,"), zips("\u200b.zip"))
    assert [student.path is None for student in students] == [True, True, False]


def test_who_is_not_in_the_roster_comes_last(zips, table, tmp_path):
    students = read_roster(table("student", "bob"), zips("anna.zip", "bob.zip"))
    found = rows(grades(entries(students, tmp_path, {}, {})))
    assert [row["student"] for row in found] == ["bob", "anna"]
    assert "not in the roster" in found[1]["for a person"]


def test_a_zip_named_after_somebody_else_takes_nobodys_place(zips, table):
    paths = zips("17.zip", "anna.zip")
    students = read_roster(table("student,file", "anna,17.zip"), paths)
    assert [(s.name, s.path.name) for s in students] == [
        *(("anna", "17.zip"), ("anna, not in the roster", "anna.zip"))
    ]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["student,file", "anna,", "bob,anna.zip"], "row 3: 'anna.zip' is of 'anna', too"),
        (["student,file", "anna,x.zip"], "row 2: file is 'x.zip', expected a zip in the folder"),
        (["student", "anna", "", "anna"], "row 4: 'anna' is in "),
        (["student,extension", "anna,two days"], "row 2: extension is 'two days', expected hours"),
        (["student,extension", "anna,-1"], "extension is '-1', expected hours"),
        (["student,extension", "anna,nan"], "extension is 'nan', expected hours"),
        (["student,handed in", "anna,yesterday"], "row 2: handed in: 'yesterday' is no time"),
        (["student,group", ",7"], "row 2 has no student, expected a name or number"),
        (["name,file", "anna,a.zip"], "row 1 has the columns name, file, expected student"),
        (["student,extention", "anna,2"], "row 1 has the columns student, extention"),
        (["student,student", "anna,2"], "row 1 has the columns student, student"),
        ([], "row 1 has the columns none"),
        (["student", "anna,bob,carl"], "row 2 has 3 cells, expected 1"),
        (["student", '"anna'], "is no CSV"),
    ],
)
def test_a_mistake_in_a_roster_is_named(lines, says, zips, table):
    with pytest.raises(ValueError, match=r"table\.csv") as error:
        read_roster(table(*lines), zips("anna.zip"))
    assert says in str(error.value)


def test_all_mistakes_are_named_at_once(zips, table):
    with pytest.raises(ValueError, match="row 2") as error:
        read_roster(table("student,file,extension", "anna,x.zip,", "bob,,x"), zips("anna.zip"))
    assert "row 3" in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_may_be_as_spreadsheets_write_them(encoding, separator, zips, table):
    lines = [separator.join(row) for row in (["student", "extension"], ["Åse", "1.5"], ["", ""])]
    students = read_roster(table(*lines, encoding=encoding), zips("Åse.zip"))
    assert [(s.name, s.extension, s.path.name) for s in students] == [("Åse", 1.5, "Åse.zip")]


def test_letters_may_be_put_together_in_either_way(zips, table):
    (student,) = read_roster(table("student", "\u00c5se"), zips("A\u030ase.zip"))
    assert student.path.name == "A\u030ase.zip"


def test_another_encoding_is_named(zips, table):
    with pytest.raises(ValueError, match=r'not in UTF-8 .*"CSV UTF-8": save it as that'):
        read_roster(table("student", "Åse", encoding="latin-1"), zips("a.zip"))


# late
@pytest.mark.parametrize(
    ("after", "extension", "late"),
    [
        *((-1, 0, 0), (0, 0, 0), (5.5, 0, 5.5), (5.5, 4, 1.5), (2, 4, 0)),
        *((1.1, 0, 1.1), (0.55, 0, 0.55), (2.2, 1.1, 1.1), (1 / 3600, 0, 0.01)),
    ],
)
def test_hours_late_are_after_the_own_deadline(after, extension, late, zips):
    (path,) = zips("anna.zip")
    deadline = moment("2026-03-06T23:59")
    seconds = (deadline + timedelta(hours=after)).timestamp()
    os.utime(path, (seconds, seconds))
    assert hours_late(Student("anna", path, extension=extension), deadline) == late


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be chosen")
def test_times_are_of_the_zone_as_it_is_then(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        assert moment("2026-03-06T23:59") == datetime.fromisoformat("2026-03-06T23:59+01:00")
        assert moment("2026-07-06T23:59") == datetime.fromisoformat("2026-07-06T23:59+02:00")
        assert moment("2026-07-06T23:59+05:00").timestamp() == 1783364340
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_roster_may_know_better_when(zips, table):
    line = "anna,2026-03-07T00:59:00+01:00"
    (student,) = read_roster(table("student,handed in", line), zips("anna.zip"))
    assert hours_late(student, datetime.fromisoformat("2026-03-06T23:29:00+01:00")) == 1.5


def test_a_teacher_says_what_late_hours_cost(zips, tmp_path):
    paths = zips("anna.zip")
    graded(tmp_path, *paths)
    os.utime(paths[0], (7200, 7200))
    found = entries(
        without_roster(paths), tmp_path, {}, ALL, datetime.fromtimestamp(0).astimezone()
    )
    (row,) = rows(grades(found, late=lambda total, hours: total - 10 * hours))
    assert (row["hours late"], row["total"]) == ("2", "80")


# points by people
def manual(*lines):
    return ["student,task,points,grader,comment", *lines]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["anna,1a,5,kari,"], "row 2: 'anna' has '5' points in 1a, expected 0 to 4"),
        (["anna,1a,-1,kari,"], "'-1' points in 1a, expected 0 to 4"),
        (["anna,1a,nan,kari,"], "'nan' points in 1a, expected 0 to 4"),
        (["anna,1a,inf,kari,"], "'inf' points in 1a, expected 0 to 4"),
        (["anna,1a,0_1,kari,"], "'0_1' points in 1a, expected 0 to 4"),
        (["anna,1a,good,kari,"], "'good' points in 1a, expected 0 to 4"),
        (["eve,1a,1,kari,"], "row 2: 'eve' is no student, expected one as in the template"),
        (["anna,2a,1,kari,"], "row 2: task is '2a', expected one of 1a, "),
        (["anna,1a,2,kari,", "anna,1a,3,ola,"], "from ola (3), and in "),
        (["anna,1a,2,kari,", "anna,1A,2,ola,"], "row 2 from kari (2): leave one of the rows"),
    ],
)
def test_a_mistake_in_points_is_named(lines, says, table):
    with pytest.raises(ValueError, match=r"table\.csv, row") as error:
        read_manual(table(*manual(*lines)), [ANNA, BOB])
    assert says in str(error.value)


def test_rows_without_points_are_not_graded_yet(table):
    given = read_manual(table(*manual("anna,1a,,,", "anna,4a,2,kari,good")), [ANNA])
    assert given == {("anna", "4a"): Given(2, "kari", "good")}


def test_a_decimal_comma_is_a_point(table):
    given = read_manual(table("student;task;points", "anna;1a;2,5"), [ANNA])
    assert given["anna", "1a"].points == 2.5


def test_a_filled_template_is_read(zips, tmp_path, table):
    students = without_roster(zips(*(f"{name}.zip" for name in NAMES)))
    text = template(entries(students, tmp_path, {}, {})).decode("utf-8-sig")
    filled = text.replace('"","",""\r\n', '1.5,"kari","=good"\r\n')
    given = read_manual(table(filled), students)
    assert len(given) == len(NAMES) * len(PROSE)
    assert set(given.values()) == {Given(1.5, "kari", "=good")}


def test_template_has_a_row_for_each_student_and_prose_task(zips, tmp_path):
    found = rows(template(entries(without_roster(zips("anna.zip")), tmp_path, {}, {})))
    assert [(row["student"], row["task"], row["of"], row["points"]) for row in found] == [
        ("anna", task, str(most), "") for task, most in PROSE.items()
    ]


def test_a_template_that_was_filled_in_is_left(zips, tmp_path):
    path, students = tmp_path / "template.csv", without_roster(zips("anna.zip"))
    found = entries(students, tmp_path, {}, {})
    path.write_bytes(template(found))
    assert not is_filled(path, None, found)
    path.write_bytes(path.read_bytes().replace(b'"1a",4,"",', b'"1a",4,3,'))
    assert is_filled(path, None, found)
    assert not is_filled(path, None, entries(students, tmp_path, {}, read_manual(path, students)))
    assert is_filled(path, path, entries(students, tmp_path, {}, read_manual(path, students)))


def test_a_comment_that_looks_as_a_formula_is_no_work_once_it_was_read(zips, tmp_path, table):
    path, students = tmp_path / "template.csv", without_roster(zips("anna.zip"))
    given = read_manual(table(*manual("anna,1a,3,kari,- fine")), students)
    found = entries(students, tmp_path, {}, given)
    path.write_bytes(template(found))
    assert not is_filled(path, None, found)


@pytest.mark.parametrize("work", ['"","kari",""', '"","","fine"', '"?","",""', '0,"",""'])
def test_whatever_a_person_wrote_into_a_template_is_left(work, zips, tmp_path):
    path, students = tmp_path / "template.csv", without_roster(zips("anna.zip"))
    found = entries(students, tmp_path, {}, {})
    path.write_text(template(found).decode("utf-8-sig").replace('4,"","",""', f"4,{work}", 1))
    assert is_filled(path, None, found)


# grades
def test_total_is_there_once_all_prose_is_graded(zips, tmp_path):
    paths = zips("anna.zip")
    graded(tmp_path, *paths, failed={"2b softmax": "is not finite"})
    (row,) = rows(grades(entries(without_roster(paths), tmp_path, {}, ALL)))
    assert (row["code"], row["2b"], row["prose"], row["total"]) == ("83", "16", "15", "98")
    some = {key: given for key, given in ALL.items() if key[1] != "1a"}
    (row,) = rows(grades(entries(without_roster(paths), tmp_path, {}, some)))
    assert (row["prose"], row["total"], row["prose missing"]) == ("11", "", "1a")


def test_what_was_not_graded_has_its_reason_and_no_points(zips, tmp_path):
    paths = zips("anna.zip")
    (row,) = rows(grades(entries(without_roster(paths), tmp_path, {paths[0]: "is a link"}, {})))
    assert (row["code"], row["total"]) == ("", "")
    assert row["for a person"] == "not graded: is a link"


def test_equal_notebooks_are_pointed_at_and_groups_are_not(zips, tmp_path, table):
    paths = zips("a.zip", "b.zip", "c.zip")
    graded(tmp_path, *paths[:2], notebook={"code": "c", "text": "t"})
    graded(tmp_path, paths[2], notebook={"code": "other"})
    students = read_roster(
        table("student,file,group", "anna,a.zip,1", "bob,a.zip,1", "eve,b.zip,"), paths
    )
    found = [row["for a person"] for row in rows(grades(entries(students, tmp_path, {}, {})))]
    assert found[:3] == [f"its notebook has the code and text of {n}.zip" for n in "bba"]
    assert found[3] == "not in the roster"


# feedback
def feedback(out, path, given=ALL, **sheet_parts):
    graded(out, path, **sheet_parts)
    (entry,) = entries(without_roster([path]), out, {}, given)
    return page(entry)


def test_feedback_names_row_reason_call_and_hint(zips, tmp_path):
    hint = next(row.hint for row in ROWS if row.name == "softmax")
    why = "shapes (3, 4) and (4, 3) (task2a.py, line 5)"
    text = feedback(tmp_path, *zips("anna.zip"), failed={"2b softmax": f"{why} ({hint})"})
    for said in (f"softmax (2 points): {why}.", "<code>softmax(z)</code>", hint):
        assert said in text
    assert text.count(hint) == 1


def test_names_in_hints_are_code(zips, tmp_path):
    text = feedback(tmp_path, *zips("anna.zip"), failed={"2c when to stop": "is not finite"})
    assert "Hint: true once the last <code>patience</code> validations have all failed" in text


def test_feedback_tells_causes_from_what_follows(zips, tmp_path):
    names = ["2b errors of every layer", "2b gradients of both layers", "2c gradient descent"]
    text = feedback(tmp_path, *zips("anna.zip"), failed=dict.fromkeys(names, "is not finite"))
    causes, _, effects = text.partition("What may follow")
    assert "<h3><code>layer_errors</code> in task2a.py</h3>" in causes
    assert "<h3><code>gradient_descent</code> in task2.py</h3>" in causes
    assert "gradients of both layers" not in causes
    assert "gradients of both layers" in effects
    assert "It uses <code>layer_errors</code>." in effects


def test_feedback_has_no_seed_and_nothing_for_graders(zips, tmp_path):
    text = feedback(
        *(tmp_path, *zips("anna.zip")),
        **{"seed": 987654321, "hints": ["imports os"], "made": {"seed": 987654321}},
    )
    assert "987654321" not in text
    assert "imports os" not in text


@pytest.mark.parametrize("name", NAMES)
def test_feedback_shows_what_a_hand_in_says_as_text(name, zips, tmp_path):
    said = f"{name}<script>alert(1)</script>\x1b[2J0.123456789"
    text = feedback(
        *(tmp_path, *zips(f"{name}.zip")),
        failed={"2b softmax": said},
        notes=[said],
        given={("x", "1a"): Given(1, "kari", said)},
    )
    assert "<script" not in text
    assert "<img" not in text
    assert "0.123456789" not in text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_feedback_of_what_could_not_be_graded_says_so(zips, tmp_path):
    paths = zips("anna.zip")
    (entry,) = entries(without_roster(paths), tmp_path, {paths[0]: "is a link"}, {})
    assert "could not be graded" in page(entry)


@pytest.mark.parametrize("comment", ["- fine", "= what was asked; -1 for the sign"])
def test_feedback_has_comments_as_they_were_written(comment, zips, tmp_path, table):
    path = table(*manual(f'anna,1a,3,kari,"{comment}"'))
    given = read_manual(path, [ANNA])
    assert f"1a: {comment}<" in feedback(tmp_path, *zips("anna.zip"), given=given)


def test_feedback_has_points_and_comments_of_people(zips, tmp_path):
    given = {("anna", "1a"): Given(3, "kari", "the second sum runs over k")}
    text = feedback(tmp_path, *zips("anna.zip"), given=given)
    assert "3 of 4" in text
    assert "the second sum runs over k" in text
    assert "kari" not in text
