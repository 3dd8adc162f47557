"""Make what students get from the solution: the same files without what the assignment asks for."""

import ast
import io
import re
import tokenize
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course.rubric import FUNCTIONS
from course.worker import TASK_FILES

COPIED = (
    "utils.py",
    "handin.py",
    "conftest.py",
    "start.py",
    "requirements.txt",
    "constraints.txt",
    "pyproject.toml",
    "tests/__init__.py",
    ".gitignore",
    "LICENSE",
    "report/*",
    "course/*",
)
STAFF = "starter __main__ handed folder gradebook feedback hints paper"
AUTHORS = {
    *("course/student.md", "report/rounding.py"),
    *(f"course/{name}.py" for name in STAFF.split()),
}
# by which the solution rounds, and is quick
OWN_ARGUMENTS = {"output", "rounding"}  # each has a line of its own
OWN_NAMES = {"SMALL", "FEW", "RESERVE", "EXACT_BELOW", "in_digits", "settled", "snap"}
OWN_WORDS = rf"\b(?:grid|digits|exact|{'|'.join(OWN_ARGUMENTS)}):?\b"
ENTRY = r"\n {8}\S.*(?:\n {12}.*)*"  # of a docstring's list
PARAGRAPH = r"\n\n {4}(?!Args|Returns|Raises)\S.*(?:\n {4}\S.*)*(?=\n\n|\n {4}\"\"\")"
NOTEBOOK = "assignment2.ipynb"
HEADING = re.compile(r"#+ +Task \d")


def read(path: Path) -> tuple[str, str]:
    """Return the text of a Python file, and its encoding.

    Raises:
        ValueError: it is in another than it states.
    """
    try:
        with tokenize.open(path) as file:
            return file.read(), file.encoding
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path} is not in the encoding that it states ({error}): save it as UTF-8"
        ) from error


def blank(source: str, gone: Collection[str] = ()) -> str:
    """Return a task file in which the bodies of its functions are not written yet.

    Args:
        source: of the file.
        gone: functions of the task files that go altogether, being the solution's own.
    """
    lines = io.StringIO(source).readlines()
    for node in reversed(ast.parse(source).body):
        place = slice(first_line(node) - 1, node.end_lineno)
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names if alias.name not in OWN_NAMES]
            if node.module in TASK_FILES:
                names = [name for name in names if name not in gone]
            elif node.module != "utils":  # what only the bodies used goes with them
                left = "".join(lines[node.end_lineno :])
                names = [name for name in names if re.search(rf"\b{name}\b", left)]
            lines[place] = [import_line(node.module, names)] if names else []
        elif isinstance(node, ast.FunctionDef) and node.name in gone:
            lines[place] = []
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in OWN_NAMES:
            above = place.start
            while lines[above - 1].startswith("#"):
                above -= 1
            lines[above : place.stop] = []
        elif isinstance(node, ast.FunctionDef):
            for argument in node.args.args:
                if argument.arg in OWN_ARGUMENTS:
                    lines[argument.lineno - 1] = ""
            documented = ast.get_docstring(node) is not None
            top = first_line(node.body[0]) - 1
            above = node.body[0].end_lineno if documented else top
            todo = f'    raise NotImplementedError("{node.name}")\n'
            text = without_own_words("".join(lines[top:above]))
            lines[top : node.end_lineno] = [text, todo]
    return re.sub(r"\n{4,}", "\n\n\n", "".join(lines))


def without_own_words(docstring: str) -> str:
    """Return a docstring without paragraphs and entries that speak of the solution's rounding."""
    text = re.sub(
        f"{ENTRY}|{PARAGRAPH}",
        lambda part: "" if re.search(OWN_WORDS, part[0]) else part[0],
        docstring,
    )
    return re.sub(r'\n {4}(?:Args|Raises):(?=\n {4}(?:Returns|Raises|"""))', "", text)


def import_line(module: str, names: list[str]) -> str:
    """Return the import of these names."""
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) > 100:
        line = f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"
    return line


def own_functions(root: Path) -> set[str]:
    """Return the functions of the task files that neither the assignment nor `report/` asks for."""
    trees = [ast.parse(read(root / f"{name}.py")[0]) for name in TASK_FILES]
    defined = {n.name for tree in trees for n in tree.body if isinstance(n, ast.FunctionDef)}
    given = (p for p in root.glob("report/*.py") if p.relative_to(root).as_posix() not in AUTHORS)
    used = {
        alias.name
        for path in given
        for node in ast.walk(ast.parse(read(path)[0]))
        if isinstance(node, ast.ImportFrom) and node.module in TASK_FILES
        for alias in node.names
    }
    return defined - FUNCTIONS.keys() - used


def first_line(node: ast.stmt) -> int:
    """Return the line on which a statement begins, its decorators included."""
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def blank_notebook(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the headings and questions of the tasks, each with an empty cell below it."""
    cells = []
    for cell in notebook.cells:
        text = "\n\n".join(asked(cell.source)) if cell.cell_type == "markdown" else ""
        if text:
            cells.append(new_markdown_cell(text))
            if "**Question" in text:
                cells.append(new_code_cell())
        elif cell.cell_type == "code" and "%run" in cell.source and not cells:
            lines = [line for line in cell.source.splitlines() if line.startswith("%")]
            cells.append(new_code_cell("\n".join(lines)))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return new_notebook(
        cells=[new_markdown_cell("# TDT4265 Assignment 2", id="title"), *cells],
        metadata={"kernelspec": notebook.metadata.get("kernelspec", {})},
    )


def asked(source: str) -> Iterator[str]:
    """Return the headings and questions of a cell of text."""
    for paragraph in re.split(r"\n\s*\n", source):
        if HEADING.match(paragraph) or paragraph.startswith("**Question"):
            yield paragraph


def comparison(root: Path) -> list[str]:
    """Return the files of `tests/` that conftest.py takes its comparison of notebooks from."""
    files = ["conftest.py"]
    for file in files:
        names = re.findall(r"^from tests\.(\w+) import", read(root / file)[0], re.M)
        files += [name for name in (f"tests/{name}.py" for name in names) if name not in files]
    return files[1:]


def starter_files(root: Path) -> dict[str, bytes]:
    """Return all of the starter but the data, by their places.

    Args:
        root: where the solution is.
    """
    if unknown := [pattern for pattern in COPIED if not [*root.glob(pattern)]]:
        raise ValueError(f"there is no {unknown[0]} in {root}, expected all of the solution")
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for pattern in (*COPIED, *comparison(root))
        for path in sorted(root.glob(pattern))
        if path.is_file()
    }
    files = {name: content for name, content in files.items() if name not in AUTHORS}
    gone = own_functions(root)
    for name in TASK_FILES:
        source, encoding = read(root / f"{name}.py")
        files[f"{name}.py"] = blank(source, gone).encode(encoding)
    notebook = nbformat.read(root / NOTEBOOK, as_version=4)
    files[NOTEBOOK] = (nbformat.writes(blank_notebook(notebook)) + "\n").encode()
    files["README.md"] = (root / "course" / "student.md").read_bytes()
    return files


def starter_zip(root: Path) -> bytes:
    """Return the zip to hand out, always the same for the same solution."""
    data = {f"data/{path.name}": path.read_bytes() for path in sorted(root.glob("data/*"))}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in sorted((starter_files(root) | data).items()):
            info = zipfile.ZipInfo(f"assignment2/{name}")  # of 1980, not of now
            info.create_system, info.external_attr = 3, 0o644 << 16
            file.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def write(files: dict[str, bytes], folder: Path) -> None:
    """Write files to their places in a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
