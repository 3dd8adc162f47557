"""Make nbval compare all that a reader of the notebook sees, and end with the grade sheet.

The rules are in tests/strict.py, tests/prose.py and tests/outputs.py; the rubric, its rows and the
sheet in course/.
"""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbval import plugin
from nbval.plugin import IPyNbCell, IPyNbFile

from course.grading import IS_SOLUTION
from tests.outputs import merge_streams, output_differences
from tests.rerun import items_after
from tests.strict import file_problems

pytest_plugins = ["course.plugin"]
ROOT = Path(__file__).resolve().parent


class NotebookFile(pytest.Item):
    """The test of the notebook's file itself, before anything is executed."""

    def runtest(self) -> None:
        """Fail with a line for each problem."""
        problems = file_problems(json.loads(self.path.read_text(encoding="utf-8")), ROOT)
        if problems:
            pytest.fail("\n".join(problems), pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test."""
        return self.path, None, f"{self.path.name}::file"


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist keep the cells of a notebook together: they share a kernel."""
    if getattr(config.option, "dist", None) == "load":
        config.option.dist = "loadfile"


def collect(self: IPyNbFile) -> Iterator[pytest.Item]:
    """Collect the file's own test, its cells, which are compared even if asked lax, and more."""
    self.compare_outputs = True
    if IS_SOLUTION:  # what its rules forbid is a student's own affair
        yield NotebookFile.from_parent(self, name="file")
    cells = list(nbval_collect(self))
    yield from cells
    if self.path == ROOT / "assignment2.ipynb" and IS_SOLUTION:
        yield from items_after(self, cells)


def setup(self: IPyNbFile) -> None:
    """Start a kernel that cannot tell by its environment that it runs under pytest."""
    self.displays = {}
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if "PYTEST" in name}
    try:
        nbval_setup(self)
    finally:
        os.environ.update(hidden)


def compare_outputs(self: IPyNbCell, test: list, ref: list, skip_compare: object = None) -> bool:
    """Tell whether the rerun's outputs are the stored ones, and keep what differs."""
    self.comparison_traceback = output_differences(stored=ref, rerun=test)
    return not self.comparison_traceback


def get_kernel_message(
    self: IPyNbFile, timeout: float | None = None, stream: str = "iopub"
) -> dict:
    """Return a message of the kernel, and do what nbval leaves undone: update earlier displays."""
    message = nbval_get_kernel_message(self, timeout, stream)
    content = message["content"]
    if display_id := content.get("transient", {}).get("display_id"):
        parts = nbformat.from_dict({key: content[key] for key in ("data", "metadata")})
        if message["msg_type"] == "update_display_data":
            for shown, key in itertools.product(self.displays.get(display_id, ()), parts):
                shown[key].clear()
                shown[key].update(parts[key])
        else:
            content.update(parts)  # nbval keeps these very objects
            self.displays.setdefault(display_id, []).append(content)
    return message


nbval_get_kernel_message = IPyNbFile.get_kernel_message
IPyNbFile.get_kernel_message = get_kernel_message
nbval_collect, nbval_setup = IPyNbFile.collect, IPyNbFile.setup
IPyNbFile.collect, IPyNbFile.setup = collect, setup
IPyNbCell.compare_outputs = compare_outputs
plugin.coalesce_streams = merge_streams  # its own loses the order, and what \r hides
