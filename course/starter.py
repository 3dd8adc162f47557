"""Make what students get from the solution: the same files without what the assignment asks for."""

import ast
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course.rubric import FUNCTIONS
from course.worker import TASK_FILES

COPIED = (
    "utils.py",
    "handin.py",
    "conftest.py",
    "requirements.txt",
    "pyproject.toml",
    ".gitignore",
    "LICENSE",
    "jupyter_nbconvert_config.py",
    "report/*",
    "tests/strict.py",
    "course/*",
)
AUTHORS = {"course/starter.py", "course/__main__.py", "course/handed.py", "course/student.md"}
NOTEBOOK = "assignment2.ipynb"
HEADING = re.compile(r"#+ +Task \d")


def blank(source: str) -> str:
    """Return a task file in which what the assignment asks for is not written yet.

    Signatures and docstrings stay. Other functions are the solution's own, and go.
    """
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        if not isinstance(node, ast.FunctionDef):
            continue
        if node.name in FUNCTIONS:
            first = node.body[1] if ast.get_docstring(node) is not None else node.body[0]
            todo = f'    raise NotImplementedError("{node.name}")\n'
            lines[first_line(first) - 1 : node.end_lineno] = [todo]
        else:
            lines[first_line(node) - 1 : node.end_lineno] = []
    return re.sub(r"\n{4,}", "\n\n\n", "".join(lines))


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
            cells.append(new_code_cell(cell.source))
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


def starter_files(root: Path) -> dict[str, bytes]:
    """Return all of the starter but the data, by their places.

    Args:
        root: where the solution is.
    """
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for pattern in COPIED
        for path in sorted(root.glob(pattern))
        if path.is_file()
    }
    files = {name: content for name, content in files.items() if name not in AUTHORS}
    for name in TASK_FILES:
        source = (root / f"{name}.py").read_text("utf-8")
        files[f"{name}.py"] = blank(source).encode()
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
