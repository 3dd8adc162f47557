"""Pytest's part: the rubric's rows and a hand-in's notebook as tests, and the sheet at the end.

A report of pytest carries its row, or its cell's tasks, as user properties, which pytest-xdist
hands on. The sheet is made from the reports alone, when all have ended.
"""

import json
import re
import secrets
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile
from PIL import Image

from course import box
from course.grading import IS_SOLUTION, PUBLIC_SEED, grade, public, references
from course.rubric import ROWS, Row
from course.sheet import Cell, plain, section_tasks, sheet, sheet_lines

ROOT = Path(__file__).resolve().parent.parent
ANSI = re.compile(r"\x1b\[[\d;]*m")
MAX_FAILURE = 5000  # characters of what a cell says
MAX_PIXELS = 10_000_000  # of a picture that is compared
RUBRIC = ROOT / "course" / "rubric.py"


class Graded(NamedTuple):
    """A hand-in that is being graded: where its files are laid over the starter, and the rest."""

    folder: Path
    notebook: Path | None
    notes: list[str]
    seed: int
    boxed: bool
    looked_at: dict[str, Any]  # for a person, see hints.py


GRADED = pytest.StashKey[Graded]()
SECTIONS = pytest.StashKey[tuple[Any, dict[int, list[str]]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of grading."""
    group = parser.getgroup("grading")
    option = group.addoption
    option("--grades", metavar="FILE", help="write the grade sheet as JSON")
    option("--hand-in", type=Path, metavar="FILE.zip", help="grade this instead of what is here")
    option(
        "--report-pdf", type=Path, metavar="FILE", help="write --hand-in's report as it is stored"
    )
    option("--seed", type=int, help="of the hidden inputs of --hand-in; default: another each time")
    option("--trust", action="store_true", help="--hand-in without a box where there is none")


def pytest_configure(config: pytest.Config) -> None:
    """Make a hand-in ready to be graded."""
    path = config.getoption("--hand-in", None)  # none where the project is a folder of the root
    if path is None:
        return
    if not IS_SOLUTION:
        raise pytest.UsageError("--hand-in needs the course's solution, and here is a starter")
    if config.getoption("numprocesses", None):
        raise pytest.UsageError("--hand-in is graded in one process, omit -n")
    seed = config.getoption("--seed")
    if seed == PUBLIC_SEED:
        raise pytest.UsageError(f"--seed is {seed}, which students have: take another one")
    why = box.why_no_box()
    if why and not config.getoption("--trust"):
        raise pytest.UsageError(f"{why}. With --trust there is no box: {box.UNPROTECTED}")
    from course.handed import CODE, read_zip
    from course.starter import NOTEBOOK, starter_files, write

    # whoever has asked for grades is gone: end in good order, with all that was started
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # twice as many are an error
    handed = read_zip(path)
    folder = Path(tempfile.mkdtemp(prefix="hand-in-"))
    config.add_cleanup(lambda: box.remove(folder))
    files = starter_files(ROOT)
    if why:
        files |= {f"data/{data.name}": data.read_bytes() for data in ROOT.glob("data/*")}
    given = {name: content for name, content in files.items() if name not in CODE}
    write(given | handed.code, folder / "files")  # a task file that is missing is no blank one
    notebook = folder / ("files" if why else "") / NOTEBOOK if handed.notebook else None
    if notebook:
        nbformat.write(handed.notebook, notebook)
    notes = handed.notes + ([f"graded without a box, since {why}"] if why else [])
    config.stash[GRADED] = Graded(
        folder / "files",
        notebook,
        [plain(note) for note in notes],
        secrets.randbits(64) if seed is None else seed,
        not why,
        looked_at(handed, files[NOTEBOOK]),
    )
    config.args = [str(RUBRIC)]


def looked_at(handed: Any, starter_notebook: bytes) -> dict[str, Any]:
    """Return hints on a hand-in, and digests of its notebook, by which it is found elsewhere."""
    from course.hints import digests, equal_to, unneeded_imports
    from course.starter import NOTEBOOK

    sources = {name: text.decode(errors="replace") for name, text in handed.code.items()}
    found, owners = {}, {}
    if handed.notebook:
        starter = json.loads(starter_notebook)
        cells = [cell.source for cell in handed.notebook.cells if cell.cell_type == "code"]
        sources["notebook"] = "\n".join(cells)
        found = digests(handed.notebook, starter)
        solution = json.loads((ROOT / NOTEBOOK).read_text("utf-8"))
        owners = {digest: ["the solution"] for digest in digests(solution, starter).values()}
    hints = [*unneeded_imports(sources), *equal_to(found, owners)]
    return {"hints": [plain(hint) for hint in hints], "notebook": found}


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the rubric where notebooks are tested, and where it is named itself."""
    option = parent.config.option
    by_name = parent.config.args_source == pytest.Config.ArgsSource.ARGS
    asked = option.nbval or getattr(option, "hand_in", None) or getattr(option, "grades", None)
    asked = asked or (by_name and parent.session.isinitpath(file_path))
    return Rubric.from_parent(parent, path=file_path) if asked and file_path == RUBRIC else None


class Rubric(pytest.File):
    """The rows of the rubric and, of a hand-in, the notebook."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Collect a test for each row, and the notebook."""
        for row in ROWS:
            yield RowItem.from_parent(self, name=row.key, row=row)
        graded = self.config.stash.get(GRADED, None)
        if graded and graded.notebook and self.config.option.nbval:
            yield HandInNotebook.from_parent(self, path=graded.notebook)

    def setup(self) -> None:
        """Find out why rows have no points, for all of them at once."""
        if graded := self.config.stash.get(GRADED, None):
            try:
                expected = references(ROOT, graded.seed)
                results = grade(graded.folder, graded.seed, expected, boxed=graded.boxed)
            except Exception as error:  # ours, and no reason for a hand-in to have no points
                pytest.exit(f"it could not be graded: {plain(str(error))}")
        else:
            results = grade(ROOT, PUBLIC_SEED, public(), boxed=False)
        self.failed = {row.key: why for row, why in results if why is not None}


class RowItem(pytest.Item):
    """A row of the rubric."""

    def __init__(self, row: Row, **options: Any) -> None:
        super().__init__(**options)
        self.row = row
        self.user_properties.append(("row", row.key))

    def runtest(self) -> None:
        """Fail with what is wrong and the hint."""
        why = self.parent.failed.get(self.row.key)
        if why is not None:
            pytest.fail(f"{plain(why)} ({self.row.hint})", pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test."""
        return self.path, None, f"{self.row.key} ({self.row.points:g})"


class HandInNotebook(IPyNbFile):
    """A hand-in's notebook, of which every cell is compared, in a kernel in the box."""

    def collect(self) -> Iterator[pytest.Item]:
        """Collect the cells, whatever they say about how to test them."""
        for item in super().collect():
            if isinstance(item, IPyNbCell):
                item.options.update(skip=False, check=True, check_exception=False)
                item.repr_failure = partial(plain_failure, item)
                yield item

    def setup(self) -> None:
        """Start the kernel in the box."""
        graded = self.config.stash[GRADED]
        self.displays: dict[str, list] = {}
        self.setup_sanitize_files()
        if graded.boxed:
            from course.kernel import BoxedKernel

            self.kernel = BoxedKernel(graded.folder, ROOT / "data")
        else:
            super().setup()

    def teardown(self) -> None:
        """Stop the kernel, or what is left of it."""
        self.kernel.stop()


def plain_failure(item: IPyNbCell, excinfo: pytest.ExceptionInfo) -> str:
    """Return why a cell failed, without what a terminal would obey."""
    lines = str(IPyNbCell.repr_failure(item, excinfo))[:MAX_FAILURE].splitlines()
    return "\n".join(plain(ANSI.sub("", line)) for line in lines)


def tasks_by_cell(notebook: IPyNbFile) -> dict[int, list[str]]:
    """Return the tasks of each cell's section by the cell's id, found once for all cells."""
    known, tasks = notebook.stash.get(SECTIONS, (None, {}))
    if known is not notebook.nb:
        cells = notebook.nb.cells
        tasks = dict(zip(map(id, cells), section_tasks(cells), strict=True))
        notebook.stash[SECTIONS] = notebook.nb, tasks
    return tasks


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep the tasks of a cell's section where its reports take them from."""
    if isinstance(item, IPyNbCell):
        tasks = tasks_by_cell(item.parent).get(id(item.cell))
        if tasks is None:  # a test of something else than a cell as it stands
            return
        blank = not item.cell.source.strip()
        item.user_properties.append(("cell", " ".join(["-"] if blank else tasks)))
        if isinstance(item.parent, HandInNotebook) or not IS_SOLUTION:
            item.executed = blank or item.cell.execution_count is not None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Refuse a cell that was never executed: nbval takes it for one without outputs."""
    if not getattr(item, "executed", True):
        pytest.fail("was not executed, expected a notebook that was run to its end", pytrace=False)


def cell_of(report: Any) -> Cell:
    """Return what a report says of a cell."""
    tasks = next(value for name, value in report.user_properties if name == "cell").split()
    name = report.nodeid.rpartition("::")[2]
    return Cell(name, tasks, None if report.passed else plain(reason(report)))


def reason(report: Any) -> str:
    """Return in one line why a cell failed."""
    text = ANSI.sub("", report.longreprtext).strip()
    if found := re.search(r"^Cell \d+: (.*)", text, re.MULTILINE):
        return f"{found[1]}: {text.splitlines()[-1]}" if "\nTraceback:\n" in text else found[1]
    return text.rpartition("\n")[2].removeprefix("pytest plugin exception: ")


def final(reports: list[Any], name: str) -> dict[str, Any]:
    """Return of each test with a user property of this name the report that decides."""
    decisive: dict[str, Any] = {}
    for report in reports:
        has = any(name == key for key, _ in getattr(report, "user_properties", ()))
        if has and (report.when == "call" or not report.passed):
            decisive.setdefault(report.nodeid, report)
    return decisive


@pytest.hookimpl(wrapper=True, tryfirst=True)  # the last to write
def pytest_terminal_summary(
    terminalreporter: Any, exitstatus: int, config: pytest.Config
) -> Iterator[None]:
    """Show the sheet if the rubric was tested, and write its JSON if asked to."""
    yield
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    rows = {
        value: report
        for report in final(reports, "row").values()
        for name, value in report.user_properties
        if name == "row"
    }
    if not rows:
        return
    cells = [cell_of(report) for report in final(reports, "cell").values()]
    failed = {
        row.key: reason_of_row(rows.get(row.key))
        for row in ROWS
        if row.key not in rows or not rows[row.key].passed
    }
    graded = config.stash.get(GRADED, None)
    ran = cells or (graded and config.option.nbval)
    result = sheet(failed, cells if ran else None, graded.notes if graded else ())
    if graded:
        result |= graded.looked_at
        if exitstatus != pytest.ExitCode.INTERRUPTED:
            result["notes"] += write_pdf(graded, config.option)
    terminalreporter.section("grade sheet")
    terminalreporter.write("".join(f"{line}\n" for line in sheet_lines(result)))
    if file := config.getoption("--grades", None):
        result["seed"] = graded.seed if graded else PUBLIC_SEED
        Path(file).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def write_pdf(graded: Graded, option: Any) -> list[str]:
    """Write the PDF of the report as it is stored, if asked to; return notes on it."""
    path = option.report_pdf
    if path is None or graded.notebook is None:
        return []
    from course.folder import name_of
    from course.paper import report_pdf

    try:
        name = name_of(option.hand_in)
        pdf, notes = report_pdf(graded.notebook, graded.folder, name, boxed=graded.boxed)
    except RuntimeError as error:
        return [plain(str(error))]
    path.write_bytes(pdf)
    return [plain(note) for note in notes]


def reason_of_row(report: Any) -> str:
    """Return why a row has no points."""
    return report.longreprtext.strip() if report else "not run"
