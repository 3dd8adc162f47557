"""Make nbval compare all that a reader of the notebook sees, and end with the grade sheet.

The rules are in tests/strict.py, tests/prose.py and tests/outputs.py; the rubric, its rows and the
sheet in course/.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbval import plugin
from nbval.plugin import IPyNbCell, IPyNbFile

import course.plugin
from course.grading import IS_SOLUTION
from tests.outputs import merge_streams, output_differences
from tests.rerun import items_after
from tests.strict import file_problems

ROOT = Path(__file__).resolve().parent
NOTEBOOK = ROOT / "assignment2.ipynb"
os.environ["REMEMBERED_TRAININGS"] = "leave"  # what is remembered proves nothing


class NotebookFile(pytest.Item):
    """The test of the notebook's file itself, before anything is executed."""

    def runtest(self) -> None:
        """Fail with a line for each problem."""
        problems = file_problems(json.loads(self.path.read_text(encoding="utf-8-sig")), ROOT)
        if problems:
            pytest.fail("\n".join(problems), pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test."""
        return self.path, None, f"{self.path.name}::file"


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Take in the rubric's part, here since only the outermost conftest may say pytest_plugins."""
    pluginmanager.register(course.plugin, "course.plugin")


def pytest_configure(config: pytest.Config) -> None:
    """Test the notebook if notebooks are to be tested, in one process, by this very Python."""
    if getattr(config.option, "dist", None) in ("load", "loadgroup", "worksteal"):
        config.option.dist = "loadfile"  # cells share a kernel
    config.option.nbval_current_env = not config.option.nbval_kernel_name
    by_default = config.args_source == pytest.Config.ArgsSource.TESTPATHS
    notebooks = config.option.nbval or config.option.nbval_lax
    if by_default and notebooks and not config.getoption("--hand-in", None):
        config.args.append(str(NOTEBOOK))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a process of pytest-xdist that `pytest_configure` has seen to its cells."""
    node.workerinput["mainargv"] = [*node.workerinput["mainargv"], "--dist=loadfile"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the cells of a notebook together and in their order, whatever plugins have made of it.

    The rows of the rubric stay together, too, since they are evaluated all at once.
    """
    together: dict[pytest.Collector, list[pytest.Item]] = {}
    for item in session.items:
        is_cell = isinstance(item.parent, IPyNbFile | course.plugin.Rubric)
        together.setdefault(item.parent if is_cell else item, []).append(item)
    for items in together.values():
        items.sort(key=lambda item: getattr(item, "place", ""))  # of some all have one, else none
    session.items[:] = itertools.chain.from_iterable(together.values())


def collect(self: IPyNbFile) -> Iterator[pytest.Item]:
    """Collect the file's own test, its cells, which are compared even if asked lax, and more."""
    self.compare_outputs = True
    started = getattr(self.config, "workerinput", {"mainargv": ["loadfile"]})["mainargv"]
    if not re.search("loadfile|loadscope", " ".join(started)):
        raise self.CollectError(
            f"pytest -n would part the cells of {self.path.name}, which share a kernel, since it "
            f"was started outside {ROOT}: start it there, or add --dist=loadfile"
        )
    try:
        cells = list(nbval_collect(self))
    except ValueError as error:  # of the decoder, of JSON
        raise self.CollectError(
            f"{self.path} is no notebook in UTF-8 without a byte order mark ({error!s:.60}): "
            f"`handin.py {self.path.name}` stores it so"
        ) from error
    items: list[pytest.Item] = [*cells]
    if IS_SOLUTION:  # what its rules forbid is a student's own affair
        items.insert(0, NotebookFile.from_parent(self, name="file"))
    if self.path == NOTEBOOK and IS_SOLUTION:
        items += items_after(self, cells)
    for place, item in enumerate(items):
        item.place = place
        yield item


def setup(self: IPyNbFile) -> None:
    """Start a kernel that cannot tell by its environment that it runs under pytest.

    It finds the files beside the notebook before others of their names.
    """
    self.displays = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if "PYTEST" in name:
                patch.delenv(name)
        patch.setenv("PYTHONPATH", str(self.path.parent), prepend=os.pathsep)
        nbval_setup(self)


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
        match message["msg_type"]:
            case "update_display_data":
                for shown, key in itertools.product(self.displays.get(display_id, ()), parts):
                    shown[key].clear()
                    shown[key].update(parts[key])
            case _:
                content.update(parts)  # nbval keeps these very objects
                self.displays.setdefault(display_id, []).append(content)
    return message


nbval_get_kernel_message = IPyNbFile.get_kernel_message
IPyNbFile.get_kernel_message = get_kernel_message
nbval_collect, nbval_setup = IPyNbFile.collect, IPyNbFile.setup
IPyNbFile.collect, IPyNbFile.setup = collect, setup
IPyNbCell.compare_outputs = compare_outputs
plugin.coalesce_streams = merge_streams  # its own loses the order, and what \r hides
