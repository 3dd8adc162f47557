"""The sheet: points by task and row, and what a person reads."""

import json

import pytest

from course.rubric import PROSE, REPORT, ROWS, TASKS
from course.sheet import Cell, headings, plain, section_tasks, sheet, sheet_lines

FULL = sum(row.points for row in ROWS)
CODED = [task for task in TASKS if any(row.task == task for row in ROWS)]
ALL = [Cell(f"Cell {n}", [task], None) for n, task in enumerate(CODED)]


def failing(*tasks):
    """Return why rows fail, for all rows of these tasks."""
    return {row.key: "no" for row in ROWS if row.task in tasks}


def test_sheet_of_all_that_is_right():
    result = sheet({}, ALL)
    assert (result["points"], result["of"], result["human"]) == (85, 85, 15)
    assert result["report"] == {"points": REPORT, "of": REPORT, "passed": 13, "failed": {}}
    assert result["tasks"]["2b"] == {
        "points": 18,
        "of": 18,
        "human": 0,
        "passed": 10,
        "failed": {},
    }
    assert result["tasks"]["1a"] == {"points": 0, "of": 0, "human": 4, "passed": 0, "failed": {}}
    assert result["notes"] == []
    assert sum(PROSE.values()) + FULL == 100


def test_numbers_are_whole_where_they_are_and_have_no_more_than_two_digits():
    result = sheet({"2c uniform weights": "no", "4e saturation by layer": "no"}, ALL)
    assert json.dumps([result["points"], result["of"]]) == "[84, 85]"
    assert json.dumps(sheet({"2c uniform weights": "no"}, ALL)["points"]) == "84.5"
    assert json.dumps(sheet({}, ALL)["report"]["points"]) == "10"


def test_a_row_costs_its_points():
    result = sheet({"2b softmax": "has not the values expected"}, ALL)
    assert result["points"] == 83
    assert result["tasks"]["2b"]["passed"] == 9
    assert result["tasks"]["2b"]["failed"] == {"softmax": "has not the values expected"}
    assert "       softmax: has not the values expected" in sheet_lines(result)


def test_a_cell_that_differs_costs_the_report():
    result = sheet({}, [*ALL, Cell("Cell 99", [], "differs")])
    assert (result["points"], result["report"]["points"]) == (85, 0)
    assert result["report"]["failed"] == {"Cell 99": "differs"}
    assert result["report"]["passed"] == len(ALL)


def test_a_notebook_that_was_not_run_has_no_points_yet():
    report = sheet({}, None)["report"]
    assert report == {"points": None, "of": REPORT, "passed": 0, "failed": {}}


@pytest.mark.parametrize(("task", "points"), [("2d", 5), ("2b", 18), ("4a", 1)])
def test_sections_of_code_without_points_report_nothing(task, points):
    failed = failing(*(other for other in CODED if other != task))
    assert sheet(failed, ALL)["report"]["points"] == round(10 * points / 85, 1)


def test_only_sections_with_cells_report():
    cells = [cell for cell in ALL if cell.tasks == ["2b"]]
    assert sheet({}, cells)["report"]["points"] == round(10 * 18 / 85, 1)
    assert sheet({}, [cells[0]._replace(tasks=["2b", "2d"])])["report"]["points"] == round(
        10 * 23 / 85, 1
    )


@pytest.mark.parametrize(
    ("heading", "tasks"),
    [
        *(("## Task 2a)", ["2a"]), ("# Oppgave 2a)", ["2a"]), ("### 2 A: mean", ["2a"])),
        *(("## Tasks 4a and 4b", ["4a", "4b"]), ("## Results", []), ("## Task 9z", [])),
        *(("## 12a", []), ("Task 2a", []), ("## version 1.2a", []), ("## Task 1f", [])),
        *(("   ## Task 2a", ["2a"]), ("    ## Task 2a", []), ("###### 2a", ["2a"])),
        *(("####### 2a", []), ("##2a", []), ("text\n## 2a\ntext 3a", ["2a"])),
    ],
)
def test_headings_name_tasks(heading, tasks):
    cells = [{"cell_type": "markdown", "source": heading}, {"cell_type": "code", "source": "1"}]
    assert section_tasks(cells) == [tasks, tasks]


def test_what_is_below_a_task_belongs_to_it():
    sources = ["## Task 2a", "### Why", "#### So", "# Results", "# 2b", "## How", ["## 3", "c\n"]]
    cells = [{"cell_type": "markdown", "source": source} for source in sources]
    assert section_tasks(cells) == [["2a"], ["2a"], ["2a"], [], ["2b"], [], ["3c"]]


@pytest.mark.parametrize(
    ("source", "task"),
    [
        ("Task 2a\n-------", "2a"),
        ("Task 2a\n===  ", "2a"),
        ("<h2>Task 2a</h2>", "2a"),
        ("  <H3 class='x'>Task 2a</H3>", "2a"),
        ("#### 2a", "2a"),
        ("## 2a\n- one\n---", "2a"),
        ("## 2a\n```python\n# now 3b:\n```", "2a"),
        ("## 2a\n~~~\n# load data\n```\n# 3b\n~~~~\n", "2a"),
        ("## 2a\n````\n```\n# 3b\n````", "2a"),
        ("```\n# 3b\n```\n## 2a", "2a"),
        ("## 2a\n``` \n```python\n# 3b\n```", "2a"),
        ("of 2a\n\n<header>2a</header>", "1a"),
        ("#2a", "1a"),
        ("    ## 2a", "1a"),
    ],
)
def test_what_a_heading_is_in_markdown(source, task):
    cells = [{"cell_type": "markdown", "source": text} for text in ("## 1a", source)]
    assert section_tasks(cells) == [["1a"], [task]]


def test_headings_have_levels():
    text = "# a\n### b ###\n<h2>c</h2>\nd\n===\ne\n---\n###### f\n#"
    assert [*headings(text)] == [
        *((1, "# a"), (3, "### b ###"), (2, "<h2>c</h2>"), (3, "d"), (3, "e"), (6, "###### f")),
        (1, "#"),
    ]


def test_code_and_raw_text_are_no_headings():
    sources = [("markdown", "## 2a"), ("code", "## 2b"), ("raw", "## 2c"), ("a", "## 2d")]
    cells = [{"cell_type": kind, "source": source} for kind, source in sources]
    assert section_tasks(cells) == [["2a"]] * 4


def test_what_a_hand_in_says_is_plain_and_short():
    said = plain("\x1b[2J\r code 85/85\n" + "0.123456789 " * 1000 + "123456")
    assert said.isprintable()
    assert said == f"[2J code 85/85{' #' * 66} ..."
    assert len(plain("words " * 999)) == 147


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("is -0.25e-3 or 12345", "is # or #"),
        ("is 1234, shape (5, 4)", "is 1234, shape (5, 4)"),
        ("a\tb\n\n c", "a b c"),
        ("ø" * 150, "ø" * 150),
        ("x " * 75, ("x " * 75).strip()),
        (" " * 1499 + "end", "e"),
    ],
)
def test_long_numbers_are_hidden_and_spaces_are_one(text, shown):
    assert plain(text) == shown


LINES = """\
task   points
2a       10/10
2b       16/18
       softmax: has not the values expected
2c      5.5/6
       uniform weights: is not from -1 to 1
2d        5/5
3a        6/6
3b        9/9
3c        7/7
4a        1/1
4b        1/1
4c       14/14
4d        3/3
4e        3/3
4f        2/2
code   82.5/85   by rows
prose     -/15   for a person: 1a 4, 4a 2, 4b 2, 4d 2, 4e 3, 4f 2
report    0/10   beside these 100: reproduces what it shows of code with points
       Cell 0: differs
       Cell 1: differs
       Cell 2: differs
       Cell 3: differs
       Cell 4: differs
       and 2 more cells
note: it was late
"""


def test_a_sheet_is_read():
    failed = {
        "2b softmax": "has not the values expected",
        "2c uniform weights": "is not from -1 to 1",
    }
    cells = [Cell(f"Cell {n}", ["2a"], "differs") for n in range(7)]
    lines = sheet_lines(sheet(failed, cells, ["it was late"]))
    assert "".join(f"{line}\n" for line in lines) == LINES


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        (None, "report not run   beside these 100"),
        (ALL, "report   10/10   beside these 100"),
        (ALL[:2], "report  3.3/10   beside these 100"),
    ],
)
def test_the_reports_line_stands_in_its_column(cells, line):
    assert [text[:33] for text in sheet_lines(sheet({}, cells)) if "report" in text] == [line]


@pytest.mark.parametrize(
    ("number", "last"),
    [
        (4, "Cell 3: differs"),
        (5, "Cell 4: differs"),
        (6, "and 1 more cells"),
        (9, "and 4 more cells"),
    ],
)
def test_five_cells_that_differ_are_named(number, last):
    cells = [Cell(f"Cell {n}", ["2a"], "differs") for n in range(number)]
    assert list(sheet_lines(sheet({}, cells)))[-1] == f"       {last}"
