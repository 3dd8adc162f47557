"""Make nbval compare all that a reader of the notebook sees, and end with the grade sheet.

The rules are in tests/strict.py and tests/grades.py.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbval import plugin
from nbval.plugin import IPyNbCell, IPyNbFile

from tests.strict import file_problems, merge_streams, output_differences

pytest_plugins = ["tests.grades"]
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


def collect(self: IPyNbFile) -> Iterator[pytest.Item]:
    """Collect the file's own test, and then its cells."""
    yield NotebookFile.from_parent(self, name="file")
    yield from nbval_collect(self)


def setup(self: IPyNbFile) -> None:
    """Start a kernel that cannot tell by its environment that it runs under pytest."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if "PYTEST" in name}
    try:
        nbval_setup(self)
    finally:
        os.environ.update(hidden)


def compare_outputs(self: IPyNbCell, test: list, ref: list, skip_compare: object = None) -> bool:
    """Tell whether the rerun's outputs are the stored ones, and keep what differs."""
    self.comparison_traceback = output_differences(stored=ref, rerun=test)
    return not self.comparison_traceback


nbval_collect, nbval_setup = IPyNbFile.collect, IPyNbFile.setup
IPyNbFile.collect, IPyNbFile.setup = collect, setup
IPyNbCell.compare_outputs = compare_outputs
plugin.coalesce_streams = merge_streams  # its own loses the order, and what \r hides
