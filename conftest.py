"""Make nbval compare all that a reader of the notebook sees; the rules are in tests/strict.py."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbval import plugin

from tests.strict import file_problems, merge_streams, output_differences

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


class StrictFile(plugin.IPyNbFile):
    """A notebook whose kernel cannot tell that it runs under pytest."""

    def collect(self) -> Iterator[pytest.Item]:
        """Collect the file's own test, and then its cells."""
        yield NotebookFile.from_parent(self, name="file")
        yield from super().collect()

    def setup(self) -> None:
        """Start the kernel without pytest's environment variables."""
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if "PYTEST" in name}
        try:
            super().setup()
        finally:
            os.environ.update(hidden)


class StrictCell(plugin.IPyNbCell):
    """A cell of which all outputs are compared, in their order."""

    def compare_outputs(self, test: list, ref: list, skip_compare: object = None) -> bool:
        """Tell whether the rerun's outputs `test` are the stored `ref`, and keep what differs."""
        self.comparison_traceback = output_differences(ref, test)
        return not self.comparison_traceback


plugin.IPyNbFile = StrictFile
plugin.IPyNbCell = StrictCell
plugin.coalesce_streams = merge_streams  # its own loses the order and what \r hides
