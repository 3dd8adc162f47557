"""What the README shows and says must be what there is."""

import base64
import re
from pathlib import Path

import nbformat

from tests.outputs import same_picture

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_picture_is_the_figure_of_task_3():
    notebook = nbformat.read(ROOT / "assignment2.ipynb", as_version=4)
    (cell,) = (cell for cell in notebook.cells if cell.id == "task-3-figure")
    (figure,) = (o for o in cell.outputs if "image/png" in o.get("data", {}))
    shown = base64.b64encode((ROOT / "docs" / "task3.png").read_bytes()).decode()
    assert same_picture(figure.data["image/png"], shown)


def test_ci_finds_the_test_command():
    pattern = re.search(r"grep -m 1 '(.+)' README.md", (ROOT / ".ci" / "run").read_text())[1]
    commands = re.findall(pattern, README, re.MULTILINE)
    assert len(commands) == 1


def test_named_files_exist():
    names = re.findall(r"`([\w./]+\.(?:py|ipynb|txt)|\w+/)`", README)
    assert len(names) > 8
    names += re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert [name for name in names if not (ROOT / name).exists()] == []
