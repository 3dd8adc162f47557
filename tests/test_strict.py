"""Tamper with copies of a small notebook: each must be refused, and the honest ones pass."""

import ast
import copy
import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.prose import NUMBER, STATED, as_read
from tests.strict import (
    ATTRIBUTES,
    BUILTINS,
    code_problems,
    file_problems,
    metadata_problems,
    names_for,
    parsed,
    prose_problems,
    task_names,
)

ROOT = Path(__file__).resolve().parent.parent
PROJECT = {
    "task2a.py": """
import math
import os
import statistics as st
from pathlib import Path
from typing import NamedTuple

import numpy as np

DATA = Path("data")
HERE = os.path.dirname(__file__)
OTHER: Path = Path("data")
SEEDS = [number for number in range(3)]
RATE: float = 0.1
FIRST, *REST = SEEDS

class Run(NamedTuple):
    steps: int

    def _hidden(self): ...

    def last(self): ...

def mean_X(X):
    inside = X.mean()
    return inside
""",
    "utils.py": "from itertools import chain\n\ndef progress(): ...\n",
    "report/figures.py": "import matplotlib as mpl\n\ndef answer(said, *facts): ...\n",
    "report/measures.py": "TARGET = 1\n\nclass Measured:\n    loss: float = 1\n",
    "handin.py": "NOTEBOOK = 'assignment2.ipynb'\n",
    "claims": "The accuracy is 0.97.",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with task files and a report, beside which a notebook may be."""
    root = tmp_path_factory.mktemp("project")
    (root / "report").mkdir()
    for name, text in PROJECT.items():
        (root / name).write_text(text)
    return root


def output(text="agree: True\n"):
    return new_output("stream", text=text)


def result(text, count):
    data = {"text/markdown": text, "text/plain": "<Markdown>"}
    return new_output("execute_result", data, execution_count=count)


SETUP = "%load_ext autoreload\n%autoreload 2\n%run task2a.py\nfrom report.figures import answer"
CODE = "runs = [Run(n) for n in SEEDS]\nprint('agree:', all(run.steps > 0 for run in runs))"
BAR = new_output("display_data", {"text/html": ""})
FIGURE = new_output("display_data", {"image/png": "iVBO", "text/plain": "a line"})
NOTEBOOK = new_notebook(
    cells=[
        new_markdown_cell("# A report\n\nIt computes what it shows."),
        new_code_cell(SETUP, execution_count=1),
        new_markdown_cell("## Task 2a)\n\n**Question.** Find the mean of 784 pixels."),
        new_code_cell(CODE, execution_count=2, outputs=[output()]),
        new_code_cell("answer('It agrees.', runs)", execution_count=3, outputs=[BAR, FIGURE]),
        new_code_cell("answer", execution_count=4, outputs=[result("| a |\n|---|\n| 0.97 |", 4)]),
        new_markdown_cell("All of them agree."),
        new_code_cell("\n"),
    ],
    metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
)
PROSE, CALL, RESULT, EMPTY = 2, 3, 5, 7


def changed(tamper):
    """Return a copy of the notebook after it was tampered with."""
    notebook = copy.deepcopy(NOTEBOOK)
    tamper(notebook)
    return notebook


def cell(number, **values):
    """Change what a cell holds."""
    return lambda notebook: notebook["cells"][number].update(copy.deepcopy(values))


def metadata(number, **values):
    return lambda notebook: notebook["cells"][number]["metadata"].update(values)


def of_notebook(**values):
    return lambda notebook: notebook["metadata"].update(values)


def add(number, output):
    return lambda notebook: notebook["cells"][number]["outputs"].append(output)


def prose(text):
    return cell(PROSE, source=f"## Task 2a)\n\n{text}")


def to_text(notebook):
    del notebook["cells"][CALL]["outputs"], notebook["cells"][CALL]["execution_count"]
    notebook["cells"][CALL].update(cell_type="markdown")


def labelled(notebook):
    cell(PROSE, source="wrong: label")(notebook)
    cell(CALL, source="wrong")(notebook)


def newer(notebook):
    notebook.update(nbformat_minor=6, note="97")


def display(mime, content):
    return new_output("display_data", {mime: content})


SHIFTED = [cell(n, execution_count=count) for n, count in ((1, 2), (CALL, 3), (4, 4), (RESULT, 5))]
RAW = nbformat.from_dict({"cell_type": "raw", "id": "a", "metadata": {}, "source": "97"})
STATE = "application/vnd.jupyter.widget-state+json"
CELL = "application/vnd.databricks.v1+cell"
MODE = {"name": "python", "codemirror_mode": {"version": "97"}}
ERROR = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
TAMPERINGS = {
    # executed in order, without complaints, and nothing but shown
    "count scrambled": (cell(CALL, execution_count=7), "execution count is 7, expected 2"),
    "count missing": (cell(CALL, execution_count=None), "execution count is None, expected 2"),
    "counts shifted": (lambda n: [shift(n) for shift in SHIFTED], "count is 2, expected 1"),
    "count of result": (
        cell(RESULT, outputs=[result("a", 99)]),
        "its result counts 99, expected 4",
    ),
    "count of result, low": (
        cell(RESULT, outputs=[result("a", 2)]),
        "its result counts 2, expected 4",
    ),
    "never executed": (cell(CALL, outputs=[], execution_count=None), "is None, expected 2"),
    "stderr": (add(CALL, {**output("!"), "name": "stderr"}), "holds stream stderr, expected no"),
    "error": (add(CALL, ERROR), "holds error, expected no complaint"),
    "html": (add(CALL, display("text/html", "<b>97</b>")), "shows HTML"),
    "html of a space": (add(CALL, display("text/html", " ")), "shows HTML"),
    "html in lines": (add(CALL, display("text/html", ["", "<b>"])), "shows HTML"),
    "script": (add(CALL, display("application/javascript", "a")), "shows application/javascript"),
    "widget": (add(CALL, display("application/vnd.jupyter.widget-view+json", {})), "shows applic"),
    "style": (add(CALL, display("text/markdown", "<style>p {}</style>")), "its output has block_h"),
    "tag in a line": (add(CALL, display("text/markdown", "a <b>c</b>")), "its output has inline_"),
    "picture": (add(CALL, display("text/markdown", "![a](b.png)")), "its output has image"),
    "output that looks like one": (add(CALL, display("text/markdown", "    97")), "has block_code"),
    "output in a block": (add(CALL, display("text/markdown", "```\n97\n```")), "has block_code"),
    "hidden definition": (add(CALL, display("text/markdown", "[//]: # (a)")), "output defines //"),
    "empty with output": (cell(EMPTY, outputs=[output()]), "is empty, expected no outputs"),
    "empty with count": (cell(EMPTY, execution_count=5), "is empty, expected no outputs"),
    # cells
    "raw": (lambda n: n["cells"].append(RAW), "is a raw cell, expected code or markdown"),
    "attachment": (
        cell(PROSE, attachments={"a.png": {"image/png": "AAAA"}}),
        "has attachments ['a.png']",
    ),
    "not of the format": (cell(CALL, note="97"), "notebook format: Additional properties"),
    "of a future format": (newer, "notebook: of format 4.6, expected 4.0 to 4.5"),
    "a name that is none": (cell(CALL, id="a b"), "notebook format: 'a b' does not match"),
    "outputs of another kind": (cell(CALL, outputs=97), "notebook: not of the notebook format"),
    "of an old format": (lambda n: n.update(nbformat=3), "notebook: of format 3.5, expected"),
    "of no format": (lambda n: n.pop("nbformat"), "notebook: of format None.5, expected"),
    "code to text": (to_text, "is code in a cell of text"),
    "call in text": (cell(PROSE, source="print(accuracy)"), "is code in a cell of text"),
    "assignment in text": (cell(PROSE, source="accuracy = best"), "is code in a cell of text"),
    "typed label in text": (cell(PROSE, source="accuracy: float = best"), "is code in a cell of"),
    "counting in text": (cell(PROSE, source="accuracy += best"), "is code in a cell of text"),
    "function in text": (cell(PROSE, source="def f(): ..."), "is code in a cell of text"),
    "import in text": (cell(PROSE, source="import task_2"), "is code in a cell of text"),
    "magic in text": (cell(PROSE, source="%run task2a.py\nprint(a)"), "is code in a cell of text"),
    "number in text": (prose("It is 0.9712."), "states 0.9712,"),
    "number in lines": (cell(PROSE, source=["It is\n", "0.9712."]), "states 0.9712,"),
    "block in text": (prose("    True"), "has block_code"),
    "number in code": (cell(CALL, source="print(0.9712)"), "has 0.9712, which is typed"),
    "name of a file": (cell(CALL, source="answer('claims')"), "names claims, which Markdown"),
    "name of a later cell's": (cell(CALL, source="wrong"), "uses wrong, which neither"),
    "name of a label": (labelled, "uses wrong, which neither"),
    # metadata
    "collapsed": (metadata(CALL, collapsed=True), "metadata collapsed is true, expected false"),
    "collapsed behind what is empty": (
        metadata(CALL, other={}, collapsed=True),
        "metadata collapsed is true, expected false",
    ),
    "scrolled": (metadata(CALL, scrolled=True), "metadata scrolled is true, expected false|"),
    "outputs hidden": (metadata(CALL, jupyter={"outputs_hidden": True}), "jupyter.outputs_hidden"),
    "source hidden": (metadata(CALL, jupyter={"source_hidden": True}), "jupyter.source_hidden is"),
    "source hidden, nearly": (metadata(CALL, jupyter={"source_hidden": "false"}), "source_hidden"),
    "hidden by an extension": (metadata(CALL, hide_input=True), "metadata hide_input is true"),
    "hidden by an object": (metadata(CALL, hide_input={}), "metadata hide_input is {}"),
    "hidden in Colab": (metadata(CALL, cellView="form"), "metadata cellView is"),
    "low in Colab": (metadata(CALL, colab={"height": 1}), "metadata colab.height is 1"),
    "hidden in slides": (metadata(CALL, slideshow={"slide_type": "skip"}), "slideshow.slide_type"),
    "heading collapsed": (metadata(PROSE, **{"jp-MarkdownHeadingCollapsed": True}), "jp-Markdown"),
    "heading collapsed before": (metadata(PROSE, heading_collapsed=True), "heading_collapsed is"),
    "hidden below": (metadata(PROSE, hidden=True), "metadata hidden is true"),
    "hidden in Kaggle": (metadata(CALL, **{"_kg_hide-output": True}), "_kg_hide-output is true"),
    "hidden in Deepnote": (metadata(CALL, is_output_hidden=True), "is_output_hidden is true"),
    "low in Deepnote": (metadata(CALL, deepnote_output_heights=[1]), "output_heights is [1]"),
    "folded": (metadata(CALL, code_folding=[0]), "metadata code_folding is [0]"),
    "hidden by an unknown object": (metadata(CALL, hideAll={}), "metadata hideAll is {}"),
    "not shown": (metadata(CALL, showInput=False), "metadata showInput is false, expected none"),
    "not shown below": (metadata(CALL, a={"b": None, "visible": False}), "metadata a is"),
    "note below": (metadata(CALL, a={"b": False, "c": "97"}), "metadata a is"),
    "title in Databricks": (metadata(CALL, **{CELL: {"title": "97 %"}}), "v1+cell.title is"),
    "tag to ignore": (metadata(CALL, tags=["nbval-ignore-output"]), "metadata tags is"),
    "tag to skip": (metadata(CALL, tags=["nbval-skip"]), 'tags is ["nbval-skip"]'),
    "tag to raise": (metadata(CALL, tags=["raises-exception"]), "tags is"),
    "tag beside": (metadata(CALL, tags=["hide-input", "remove_cell"]), "tags is"),
    "tag to hide the output": (metadata(CALL, tags=["hide-output"]), "tags is"),
    "tag on text": (metadata(PROSE, tags=["hide-input"]), r"expected \[\]"),
    "times on text": (metadata(PROSE, ExecuteTime={"start_time": "97"}), "ExecuteTime is"),
    "time abused": (metadata(CALL, execution={"shell.execute_reply": "97 %"}), "execute_reply is"),
    "time with a remark": (
        metadata(CALL, execution={"shell.execute_reply": "2026-01-31T12:00:00Z accuracy"}),
        'shell.execute_reply is "2026-01-31T12:00:00Z accuracy"',
    ),
    "cell's name in PyCharm": (metadata(CALL, pycharm={"name": "97 %"}), "pycharm.name is"),
    "elapsed": (metadata(CALL, executionInfo={"elapsed": "97 %"}), "executionInfo.elapsed is"),
    "page in Colab": (metadata(CALL, colab={"base_uri": "97 %"}), "colab.base_uri is"),
    "id in Colab": (metadata(CALL, id="97 %"), "metadata id is"),
    "note for a level": (metadata(CALL, pycharm="97 %"), "metadata pycharm is"),
    "note": (metadata(CALL, execution={"note": "97"}), "execution.note is"),
    "own metadata": (metadata(CALL, note="97"), 'note is "97", expected none of that name'),
    "language": (metadata(CALL, vscode={"languageId": "html"}), "vscode.languageId is"),
    "name": (metadata(CALL, name="97"), "metadata name is"),
    "title": (of_notebook(title="97 %"), 'notebook: metadata title is "97 %"'),
    "authors": (of_notebook(authors=[{"name": "97"}]), "metadata authors is"),
    "widgets": (of_notebook(widgets={}), "metadata widgets is {}, expected none"),
    "state of widgets": (of_notebook(widgets={STATE: {"state": {"a": {}}}}), "json.state is"),
    "toolbar": (of_notebook(celltoolbar="97 %"), "metadata celltoolbar is"),
    "editor": (of_notebook(nteract={"version": "97 %"}), "metadata nteract.version is"),
    "hash": (of_notebook(vscode={"interpreter": {"hash": "97 %"}}), "vscode.interpreter.hash is"),
    "all code hidden": (of_notebook(hide_input=True), "metadata hide_input is true"),
    "sections collapsed": (of_notebook(colab={"collapsed_sections": ["a"]}), "collapsed_sections"),
    "paired with a text": (of_notebook(jupytext={"formats": "ipynb,py"}), "metadata jupytext is"),
    "numbered": (of_notebook(**{"toc-autonumbering": True}), "metadata toc-autonumbering is"),
    "kernel": (of_notebook(kernelspec={**NOTEBOOK.metadata.kernelspec, "argv": []}), "argv is"),
    "language of the kernel": (
        of_notebook(kernelspec={**NOTEBOOK.metadata.kernelspec, "language": "R"}),
        'kernelspec.language is "R", expected',
    ),
    "numbered by an extension": (of_notebook(toc={"number_sections": True}), "number_sections is"),
    "table of contents": (of_notebook(toc={"title_cell": "97 %"}), "toc.title_cell is"),
    "file of papermill": (of_notebook(papermill={"input_path": "97 %"}), "input_path is"),
    "parameters": (of_notebook(papermill={"parameters": {"a": 97}}), "papermill.parameters is"),
    "code of another language": (
        metadata(CALL, polyglot_notebook={"kernelName": "html"}),
        "polyglot_notebook.kernelName is",
    ),
    "language of all": (of_notebook(language_info={"name": "html"}), "language_info.name is"),
    "lexer": (of_notebook(language_info={"name": "python", "pygments_lexer": "text"}), "lexer is"),
    "version abused": (of_notebook(language_info={"name": "python", "version": "97 %"}), "version"),
    "extension": (of_notebook(language_info={"name": "python", "file_extension": "a"}), "extens"),
    "mime type": (of_notebook(language_info={"name": "python", "mimetype": "text/a"}), "mimetype"),
    "mode": (of_notebook(language_info=MODE), "mode.version is"),
    "name in Colab": (of_notebook(colab={"name": "97 %"}), "metadata colab.name is"),
    "exporter": (of_notebook(language_info={"name": "python", "nbconvert_exporter": "a"}), "expor"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampered_notebook_is_refused_by_the_rule_for_it(name, project):
    tamper, words = TAMPERINGS[name]
    assert words in "\n".join(file_problems(changed(tamper), project))


def test_honest_notebook_is_accepted(project):
    assert file_problems(NOTEBOOK, project) == []


def test_stored_notebook_is_accepted():
    notebook = json.loads((ROOT / "assignment2.ipynb").read_text(encoding="utf-8"))
    assert file_problems(notebook, ROOT) == []


def numbers_of(cell):
    """Return the numbers that are typed in a cell."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return set(NUMBER.findall(as_read(text)))
    constants = [n.value for n in ast.walk(parsed(text)) if isinstance(n, ast.Constant)]
    comments = [line.partition("#")[2] for line in text.splitlines()]
    typed = [*comments, *map(str, constants), *(f"{n:,}" for n in constants if type(n) is int)]
    return {n.removesuffix(".0") for text in typed for n in NUMBER.findall(as_read(text))}


def test_no_number_may_be_typed_that_is_not():
    notebook = json.loads((ROOT / "assignment2.ipynb").read_text(encoding="utf-8"))
    assert not STATED - set().union(*map(numbers_of, notebook["cells"]))


def test_message_names_the_cell(project):
    (message,) = file_problems(changed(prose("It is 0.9712.")), project)
    assert message.startswith(f"cell 3 ({NOTEBOOK['cells'][PROSE]['id']}): states 0.9712, which")


LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
PYTHON = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
LITE = {"name": "python", "codemirror_mode": "python", "version": "3.13.1"}
TIME = "2026-01-31T12:00:00"
OF_EDITORS = [
    {},
    {"kernelspec": PYTHON, "language_info": {**LANGUAGE, "version": "3.11.7"}},
    # VS Code
    {"kernelspec": {**PYTHON, "display_name": ".venv (3.11.7)"}},
    {"kernelspec": {**PYTHON, "display_name": "Python 3.11.7 ('.venv': venv)"}, "orig_nbformat": 4},
    {"vscode": {"interpreter": {"hash": "31f2aee4e71d21fbe5cf8b01ff0e069b9275f58929596ceb"}}},
    # JupyterLab, nbextensions
    {"toc-showcode": False, "toc-showmarkdowntxt": True, "toc-showtags": False},
    {"celltoolbar": "Edit Metadata", "hide_input": False, "anaconda-cloud": {}},
    {"widgets": {STATE: {"state": {}, "version_major": 2, "version_minor": 0}}},
    {"nteract": {"version": "nteract@0.15.0"}, "vscode": {}, "colab": {}},
    {"interpreter": {"hash": "31f2aee4e71d21fb"}},
    {"language_info": {**LANGUAGE, "version": "3.14.0rc2"}},
    {"toc-autonumbering": False, "kernelspec": {"name": "python3", "display_name": "a", "env": {}}},
    {
        "toc": {
            **{"base_numbering": 1, "nav_menu": {}, "number_sections": False, "sideBar": True},
            **{"skip_h1_title": False, "title_cell": "Table of Contents", "toc_cell": False},
            **{"title_sidebar": "Contents", "toc_position": {}, "toc_window_display": False},
        }
    },
    # VS Code, conda, JupyterLite
    {"kernelspec": {"name": ".venv", "display_name": ".venv (3.13.0)", "language": "python"}},
    {"kernelspec": {"name": "conda-env-py 3.12-py", "display_name": "Python [conda env:a b]"}},
    {"kernelspec": {"name": "python", "display_name": "Python (Pyodide)"}, "language_info": LITE},
    {"metadata": {"interpreter": {"hash": "31f2aee4"}}, "language_info": LITE},
    {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "version": 3},
    {"npconvert_exporter": "python", "pygments_lexer": "ipython3"},
    {"language_info": {**LANGUAGE, "version": "3.8.5-final"}},
    {"language_info": {**LANGUAGE, "version": "3.12"}},
    {"kernelspec": {**PYTHON, "interrupt_mode": "signal"}},
    {"kernelspec": {**PYTHON, "metadata": {"debugger": True, "supported_encryption": "curve"}}},
    # Kaggle, Deepnote, Azure, SageMaker, papermill
    {"kaggle": {"dataSources": [{"sourceId": 861, "sourceType": "competition"}, {"datasetId": 3}]}},
    {"deepnote_persisted_session": {"createdAt": f"{TIME}.000Z"}, "deepnote": {"reactive": False}},
    {"nteract": {"version": "nteract-front-end@1.0.0"}, "microsoft": {"language": "python"}},
    {"kernel_info": {"name": "jupyter", "jupyter_kernel_name": "python3.11"}},
    {"availableInstances": [{"category": "General purpose", "gpuNum": 0, "name": "ml.t3.medium"}]},
    {"environment": {"name": "common-cpu.m104", "uri": "gcr.io/deeplearning/base-cpu:m104"}},
    {"papermill": {"input_path": "./in/a (1).ipynb", "output_path": "C:\\Ø\\b.ipynb"}},
    {"application/vnd.databricks.v1+notebook": {"dashboards": [], "notebookName": "Task 2"}},
    {"azdata_notebook_guid": "b1076dfc-b9ad", "noteable": {"last_transaction_id": "a-b"}},
    # CoCalc, Emacs, nbextensions
    {"kernelspec": {**PYTHON, "metadata": {"cocalc": {"url": "https://www.python.org/"}}}},
    {"name": "Øving 2.ipynb", "kernelspec": {**PYTHON, "resource_dir": "/ext/kernels/python3"}},
    {"rise": {"scroll": True}, "livereveal": {"autolaunch": False}, "hide_code_all_hidden": False},
    {"toc": {"toc_position": {"right": "10px", "top": "initial"}}},
    {"toc": {"base_numbering": "1", "colors": {"sidebar_border": "#EEEEEE"}, "threshold": 4}},
    {"varInspector": {"cols": {"lenName": 16}, "types_to_exclude": ["module", "_Feature"]}},
    {
        "varInspector": {
            "kernels_config": {"python": {"library": "a.py"}, "r": {"cmd": "cat(a()) "}}
        }
    },
    {
        "latex_envs": {
            **{"LaTeX_envs_menu_present": True, "autoclose": False, "autocomplete": True},
            **{"bibliofile": "biblio.bib", "cite_by": "apalike", "current_citInitial": 1},
            **{"eqLabelWithNumbers": True, "eqNumInitial": 1, "hotkeys": {"equation": "Ctrl-E"}},
            **{"labels_anchors": False, "latex_user_defs": False, "user_envs_cfg": False},
        }
    },
    {
        "nbTranslate": {
            **{"displayLangs": ["*"], "hotkey": "alt-t", "langInMainMenu": True},
            **{"sourceLang": "en", "targetLang": "fr", "useGoogleTranslate": True},
        }
    },
    {
        "toc": {
            **{"markTocItemOnScroll": True, "moveMenuLeft": True, "navigate_menu": True},
            **{"nav_menu": {"height": "12px", "width": "252px"}, "toc_section_display": True},
            **{"toc_position": {"height": "calc(100% - 180px)", "left": "0px", "width": "23.5%"}},
            **{"skip_h1_title": True, "widenNotebook": True},
        }
    },
    {"kaggle": {"accelerator": "none", "dataSources": [], "isGpuEnabled": False}},
    {"kaggle": {"dockerImageVersionId": 30787, "language": "python", "sourceType": "notebook"}},
    {"deepnote": {}, "deepnote_notebook_id": "c2b2-1", "deepnote_execution_queue": []},
    {"kernel_info": {"name": "python3"}, "instance_type": "ml.t3.medium"},
    {"microsoft": {"host": {"AzureML": {"notebookHasBeenCompleted": True}}}, "signature": "a:b"},
    {"papermill": {"duration": 3.25, "exception": None, "input_path": "a.ipynb", "version": "2.6"}},
    {"papermill": {"end_time": "2026-01-31T12:00:00.123456", "parameters": {}}},
    # PyCharm
    {
        "pycharm": {
            "stem_cell": {"cell_type": "raw", "source": [], "metadata": {"collapsed": False}}
        }
    },
    {"language_info": {**LANGUAGE, "version": "2.7.6", "pygments_lexer": "ipython2"}},
    {"kernelspec": {"name": "python3", "display_name": "Python (blåbær)", "language": "python"}},
    {"kernelspec": {"name": "python3", "display_name": ""}, "language_info": {"name": "python"}},
    # Colab
    {"colab": {"provenance": [], "toc_visible": True, "name": "assignment2.ipynb"}},
    {"colab": {"authorship_tag": "ABX9TyN+a/b", "gpuType": "T4", "collapsed_sections": []}},
    {"accelerator": "GPU", "gpuClass": "standard"},
    {"colab": {"provenance": [{"file_id": "1AbC-d_e", "timestamp": 1666}], "name": "Ø (1).ipynb"}},
    {"colab": {"last_runtime": {"kind": "private"}, "cell_execution_strategy": "setup"}},
    {"colab": {"include_colab_link": True, "private_outputs": True, "machine_shape": "hm"}},
    {"colab": {"version": "0.3.2", "views": {}, "default_view": {}, "provenance": []}},
]
OF_EDITED_CELLS = [
    # JupyterLab, and what executes a notebook
    {"editable": True, "slideshow": {"slide_type": ""}, "tags": []},
    {"jupyter": {"outputs_hidden": False, "source_hidden": False}, "trusted": True},
    {"collapsed": False, "scrolled": False, "deletable": False},
    {"tags": ["hide-input"]},
    {"execution": {"iopub.status.busy": f"{TIME}.123456Z", "shell.execute_reply": f"{TIME}Z"}},
    {"execution": {"iopub.execute_input": f"{TIME}+00:00", "iopub.status.idle": f"{TIME}+0100"}},
    {"execution": {"shell.execute_reply.started": f"{TIME}-05:00"}},
    # VS Code, PyCharm
    {"vscode": {"languageId": "python"}},
    {"pycharm": {"name": "#%%\n", "is_executing": False}},
    {"pycharm": {"name": "#%% md\n"}, "slideshow": {"slide_type": "slide"}},
    {"pycharm": {}, "jupyter": {}, "vscode": {}, "slideshow": {"slide_type": "subslide"}},
    {"execution": {}, "executionInfo": {}, "colab": {}, "slideshow": {}},
    {"inputHidden": False, "outputHidden": False},
    {"ExecuteTime": {"start_time": f"{TIME}.1Z", "end_time": f"{TIME}.123456500Z"}},
    {"dotnet_interactive": {"language": "python"}, "polyglot_notebook": {"kernelName": "python"}},
    {"notebookRunGroups": {"groupValue": "1"}, "scrolled": "auto", "jupyter": {}},
    # Kaggle, Deepnote, Azure, papermill, nbextensions, Jupytext
    {"_cell_guid": "b1076dfc-b9ad", "_uuid": "8f2839f25d086af7", "trusted": False},
    {"cell_id": "a1b2", "deepnote_cell_type": "code", "deepnote_to_be_reexecuted": False},
    {"source_hash": "9ac", "execution_start": 1700000000000, "execution_millis": 12},
    {"gather": {"logged": 1700000000000}, "nteract": {"transient": {"deleting": False}}},
    {"papermill": {"duration": 0.01, "exception": False, "start_time": TIME, "tags": []}},
    {"papermill": {"status": "completed", "exception": None}, "lines_to_next_cell": 2},
    {"init_cell": True, "run_control": {"frozen": False, "read_only": False}},
    {"_kg_hide-input": False, "run_control": {}, "ExecuteTime": {}, "keep_output": True},
    {
        "deepnote_cell_height": 9.5,
        "deepnote_output_heights": [21, None, 40.5],
        "owner_user_id": "a",
    },
    {"deepnote_app_coordinates": {"h": 5, "x": 0}, "deepnote_app_block_visible": True},
    {CELL: {"cellMetadata": {"byteLimit": 2048000}, "showTitle": False, "title": "", "nuid": "a"}},
    {"azdata_cell_guid": "b1076dfc", "language": "python", "microsoft": {"language": "python"}},
    {"datalore": {"node_id": "aB1", "type": "CODE", "hide_input_from_viewers": False}},
    # Emacs, Vim, nbextensions
    {"ein.tags": "worksheet-0", "ein.hycell": False, "autoscroll": False, "jukit_cell_id": "aB1"},
    {"Collapsed": "false", "hideCode": False, "hidePrompt": False, "variables": {}, "lang": "en"},
    {"code_folding": [], "hidden_ranges": [], "run_control": {"marked": True}},
    {"slideshow": {"slide_type": "fragment"}},
    {"notebookRunGroups": {"groupValue": ""}, "pycharm": {"name": "#%% \n"}},
    # Colab
    {"executionInfo": {"user": {"photoUrl": "https://lh3.googleusercontent.com/a-/AOh14Gg=s64"}}},
    {"executionInfo": {"user": {}}, "colab": {"referenced_widgets": ["a1b2", "c3"]}},
    {"cellView": "both", "colab": {"autoexec": {"startup": False, "wait_interval": 0}}},
    {"id": "x-Y_1", "outputId": "ab-12", "colab_type": "code"},
    {"colab": {"base_uri": "https://localhost:8080/", "height": 34}},
    {
        "executionInfo": {
            "elapsed": 3,
            "status": "ok",
            "timestamp": 1700000000000,
            "user": {"displayName": "Å. Ås", "userId": "0123"},
            "user_tz": -60,
        }
    },
]
OF_EDITED_TEXT = [
    {"editable": False, "slideshow": {"slide_type": "-"}, "tags": []},
    {"jp-MarkdownHeadingCollapsed": False, "heading_collapsed": False, "hidden": False},
    {"pycharm": {"name": "#%% md\n"}, "vscode": {"languageId": "markdown"}},
    {"cell_id": "a", "is_collapsed": False, "formattedRanges": [], "toc-hr-collapsed": False},
    {"id": "x-Y_1", "colab_type": "text", "pycharm": {}, "jupyter": {}, "slideshow": {}},
]


@pytest.mark.parametrize("found", OF_EDITORS)
def test_an_editors_bookkeeping_is_accepted(found, project):
    notebook = {**copy.deepcopy(NOTEBOOK), "metadata": found}
    assert file_problems(notebook, project) == []


@pytest.mark.parametrize(
    ("number", "found"),
    [*((CALL, found) for found in OF_EDITED_CELLS), *((PROSE, found) for found in OF_EDITED_TEXT)],
)
def test_an_editors_bookkeeping_of_cells_is_accepted(number, found, project):
    assert file_problems(changed(cell(number, metadata=found)), project) == []


def old_format(notebook):
    notebook["nbformat_minor"] = 4
    for cell in notebook["cells"]:
        del cell["id"]


def of_old_format_with_ids(notebook):
    notebook["nbformat_minor"] = 4


def without_ids(notebook):
    for cell in notebook["cells"]:
        del cell["id"]


def of_pycharm(notebook):
    for output in (o for cell in notebook["cells"] for o in cell.get("outputs", [])):
        output["jetTransient"] = {"display_id": None}


def with_newlines_at_ends(notebook):
    for cell in notebook["cells"]:
        cell["source"] += "\n\n"


def crlf(notebook):
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")


def in_lines(notebook):
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)


@pytest.mark.parametrize(
    "edit",
    [
        old_format,
        of_old_format_with_ids,
        pytest.param(without_ids, marks=pytest.mark.filterwarnings("ignore:Cell is missing")),
        of_pycharm,
        with_newlines_at_ends,
        crlf,
        in_lines,
        cell(PROSE, attachments={}),
        add(CALL, display("text/markdown", "```python\ndef f(): return 0.97\n```")),
        lambda notebook: notebook["cells"].insert(2, new_code_cell(" \n")),
        lambda notebook: notebook["cells"].append(new_markdown_cell()),
        prose("Answer: momentum"),
        cell(PROSE, source="Answer: momentum"),
        cell(PROSE, source="momentum"),
    ],
)
def test_an_honest_variation_is_accepted(edit, project):
    assert file_problems(changed(edit), project) == []


def test_every_level_of_metadata_is_named():
    (message,) = metadata_problems({"a": {"b": {"c": 1}}}, {"2": "a.b.c"})
    assert message == "metadata a.b.c is 1, expected 2"


# code, and words of the message that it must get
UNNEEDED = {
    # imports and magics
    "import random": "has import random, expected imports from report",
    "import numpy as np": "has import numpy as np, expected",
    "import report": "has import report, expected",
    "import report.figures as f": "has import report.figures as f, expected",
    "from random import seed": "has from random import seed, expected",
    "from reporter import answer": "has from reporter import answer",
    "from . import answer": "has from . import answer",
    "from .report import answer": "has from .report import answer",
    "from report import figures": "imports figures, expected names that",
    "from report.figures import *": "imports *, expected names that",
    "from report.figures import mpl": "imports mpl, expected names that",
    "from report.figures import answer as print": "imports answer as print",
    "from report.figures import os.path": "is not Python",
    "def f():\n    import random": "has import random",
    "!ls": "runs !ls, expected",
    "%ls": "runs %ls, expected",
    "%%capture": "runs %%capture, expected",
    "%run ../utils.py": "runs %run ../utils.py",
    "%run -i utils.py": "runs %run -i utils.py",
    "%run handin.py": "runs %run handin.py",
    "%load_ext mine": "runs %load_ext mine",
    "%autoreload 0": "runs %autoreload 0",
    "%autoreload 2\nimport random": "has import random",
    "answer?": "is not Python",
    " !ls": "is not Python",
    "x = %ls": "is not Python",
    "x = !ls": "is not Python",
    ",print np": "is not Python",
    "print(": "is not Python",
    "'\0'": "is not Python",
    # names
    **{
        name: f"uses {name}, which neither"
        for name in (
            "open eval exec compile globals locals vars dir id input help hasattr getattr setattr "
            "delattr breakpoint memoryview quit exit __import__ chr ord type object super format "
            "hex bytes get_ipython In Out _ih __name__ os math chain inside number _hidden DATA "
            "HERE OTHER NOTEBOOK mpl figures st statistics"
        ).split()
    },
    "eval = eval": "gives eval another meaning",
    "math = math": "gives math another meaning",
    "st = st": "gives st another meaning",
    "chain = chain": "gives chain another meaning",
    "get_ipython = get_ipython": "gives get_ipython another meaning",
    "In = []": "gives In another meaning",
    "Out = []": "gives Out another meaning",
    "_ih = _ih": "gives _ih another meaning",
    "__name__ = __name__": "gives __name__ another meaning",
    "print = answer": "gives print another meaning",
    "np = answer": "gives np another meaning",
    "mean_X = answer": "gives mean_X another meaning",
    "answer = print": "gives answer another meaning",
    "def answer(*facts): ...": "gives answer another meaning",
    "class answer: ...": "gives answer another meaning",
    "for answer in []: ...": "gives answer another meaning",
    "(answer := print)": "gives answer another meaning",
    "[answer for answer in []]": "gives answer another meaning",
    "with print() as answer: ...": "gives answer another meaning",
    "try: 1\nexcept ValueError as answer: 1": "gives answer another meaning",
    "del answer": "gives answer another meaning",
    "(lambda get_ipython=1: 0)()": "gives get_ipython another meaning",
    "def f(*eval): ...": "gives eval another meaning",
    "def f(**eval): ...": "gives eval another meaning",
    "me\u0430n = 1": "has the name me\u0430n, with letters",
    "\uff4dean = 1": "has the name \uff4dean, with letters",
    "Α = 1": "has the name Α, with letters",  # noqa: RUF001
    # attributes
    **{
        f"{name}.{attribute}": f"uses .{attribute}, expected"
        for name, attributes in {
            "np": "os sys load save fromfile memmap genfromtxt loadtxt ctypeslib f2py _core lib "
            "testing vectorize set_printoptions printoptions __builtins__ _replaced rec ma char",
            "''": "format format_map __class__ encode translate",
            "[]": "tofile dump ctypes gi_frame f_builtins read_text _hidden _ipython_display_",
        }.items()
        for attribute in attributes.split()
    },
    "np.random.bit_generator.re.enum": "uses .enum, expected",
    "np.random.mtrand.operator": "uses .operator, expected",
    "f'{np.os}'": "uses .os, expected",
    "np.mean = np.max": "changes .mean, expected",
    "del np.mean": "changes .mean, expected",
    "np.size += 1": "changes .size, expected",
    "match np:\n    case object(os=found): found": "has a match statement",
    # Markdown
    "Markdown(url=SEEDS)": "gives Markdown more than a text",
    "Markdown('', filename=SEEDS)": "gives Markdown more than a text",
    "Markdown(*SEEDS)": "gives Markdown more than a text",
    "Markdown('', SEEDS)": "gives Markdown more than a text",
    "Markdown()": "gives Markdown more than a text",
    "Markdown('claims')": "names claims, which Markdown would show",
    "Markdown('report/figures.py')": "names report/figures.py, which",
    "Markdown('https://a.b')": "names https://a.b, which",
    "m = Markdown": "hands Markdown on",
    "list(map(Markdown, SEEDS))": "hands Markdown on",
    "d = display": "hands display on",
    # numbers and texts
    "21": "has 21, which is typed",
    "1.1": "has 1.1, which is typed",
    "0.9712": "has 0.9712,",
    "0.9000004": "has 0.9000004,",
    "0.9712j": "has 0.9712j,",
    "b'0.9712'": "has b'0.9712',",
    "b'1'": "has b'1',",
    "20001000": "has 20001000,",
    "-0.97": "has 0.97,",
    "0x61": "has 97,",
    "# accuracy 0.9712": "states 0.9712,",
    "'accuracy 0.9712'": "states 0.9712,",
    "answer('It is 0.9712.')": "states 0.9712,",
    "f'{np} 0.9712'": "states 0.9712,",
    "f'{np:accuracy 0.9712}'": "has the format 'accuracy 0.9712'",
    "f'{np:9>5}'": "has the format '9>5'",
    "f'{np:c}'": "has the format 'c'",
    "f'{9}'": "formats 9, which is typed",
    "f'a{str()}{\"b\"}'": "formats 'b', which is typed",
    "f'{np:11} 21'": "states 21,",
    "f'{np:{21}}'": "has 21,",
    "f'{np:# NBVAL_SKIP}'": "has the format '# NBVAL_SKIP'",
    "# NBVAL_IGNORE_OUTPUT": "speaks of NBVAL",
    "#PYTEST_VALIDATE_IGNORE_OUTPUT": "speaks of PYTEST",
    "'<b>'": "has markup",
    r"'$\\phantom{a}$'": r"has \phantom",
    "'\\x1b[8m'": "has the characters",
    "'\\r'": "has the characters",
    "'\\u200b'": "has the characters",
    '"""\n# NBVAL_SKIP\n"""': "speaks of NBVAL",
    "f'0.9{np}'": "has digits beside a value in f'0.9{np}'",
    "f'{np}97'": "has digits beside a value",
    "f'{np}{np}7'": "has digits beside a value",
    "f'0.{np}'": "has digits beside a value",
    "f'{np}.7'": "has digits beside a value",
}
NEEDED = [
    "%run utils.py",
    "from report.figures import answer\nfrom report.measures import TARGET, Measured",
    "from report import answer",
    "answer('Better weights gain most.', mean_X(SEEDS), RATE, FIRST, REST, progress())",
    "Run(1)._replace(steps=2).last(), Measured.loss",
    "np.mean(np.random.default_rng(1).normal(size=3)).round(4).T @ np.eye(10)",
    "np._asdict(), ''.join([]), {}.items()",
    "True, None, 20_000, 20000, 1e-12, 1.7159, 10.0, '\\n'",
    repr("a" * 9999),
    "print('1e-12, 10,000', sep='\\t', end='\\n')",
    "display(Markdown('Task 4a of TDT4265'))",
    "Markdown(f'**Answer.** {np:.4f}')",
    "f'{np:11}', f'{np:,.2f}{np:>8}', f'{np:{SEEDS}}', f'{np:1{SEEDS}}', f'{np:{SEEDS}.2f}'",
    "f'seed {np}, {np} of 3', f'{np}, 2', f'Task 4{np}', f'{np}. 2 {np}'",
    'def f(x):\n    """Return x.\n\n    Args:\n        x: it.\n    """\n    return x\n\n\nf(1)',
    "def f(*args, **options):\n    return args, options",
    "try:\n    1\nexcept ValueError as error:\n    error\nexcept Exception:\n    2",
    "for _, (a, *b) in []:\n    a += b\nelse:\n    del a",
    "class Pair:\n    first = 1",
    "with progress() as bar:\n    bar",
    "[x for x in SEEDS if (y := x)], (lambda z: z), {k: v for k, v in {}}",
    "δ_k, x_æøå = 1, 2",
    "# a comment, with 64 units",
    "print(1) if 1 < 2 else print(2)",
]


@pytest.mark.parametrize(("source", "words"), UNNEEDED.items())
def test_code_that_a_report_does_not_need_is_refused_by_the_rule_for_it(source, words, project):
    found = code_problems(source, names_for([source], project), project)
    assert words in "\n".join(found)


@pytest.mark.parametrize("source", NEEDED)
def test_code_of_a_report_is_accepted(source, project):
    assert list(code_problems(source, names_for([source], project), project)) == []


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_builtins_that_a_report_needs_are_python_s(name):
    assert eval(name)


def test_attributes_are_of_numpy_and_of_python_s_own_types():
    import numpy as np

    owners = np, np.linalg, np.random, np.random.Generator, np.ndarray, str, list, dict, set
    public = {name for name in ATTRIBUTES if not name.startswith("_")}
    assert [name for name in sorted(public) if not any(hasattr(o, name) for o in owners)] == []


def test_names_of_a_cell_reach_the_others(project):
    assert not list(code_problems("a", names_for(["a = 1", "a"], project), project))


@pytest.mark.parametrize("said", ["Answer: momentum", "momentum", "True"])
def test_a_label_or_a_word_is_no_code(said):
    assert not list(prose_problems(said))


CONTENT = "# Müller\nNAME = 'ø'\n\n\ndef f(x):\n    return x\n"
ENCODED = {
    "byte order mark": b"\xef\xbb\xbf" + CONTENT.encode(),
    "CRLF": CONTENT.replace("\n", "\r\n").encode(),
    "both": b"\xef\xbb\xbf" + CONTENT.replace("\n", "\r\n").encode(),
    "latin-1": b"# -*- coding: latin-1 -*-\n" + CONTENT.encode("latin-1"),
    "CR": CONTENT.replace("\n", "\r").encode(),
    "form feed": b"\x0c" + CONTENT.encode(),
    "latin-1 in a comment": CONTENT.encode() + "# \xf8\n".encode("latin-1"),
}


@pytest.mark.parametrize("content", ENCODED.values(), ids=ENCODED)
@pytest.mark.parametrize("name", ["task2a.py", "utils.py", "report/figures.py"])
def test_files_are_decoded_as_python_does(name, content, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / name).write_bytes(content)
    try:
        compile(content, name, "exec")
    except SyntaxError:  # Python 3.14 takes no comment in another encoding
        assert sys.version_info >= (3, 14)
        assert "# \xf8".encode("latin-1") in content
        assert task_names(tmp_path) == set()
    else:
        assert task_names(tmp_path) == {"NAME", "f"}


@pytest.mark.parametrize("content", [b"def train(", b"def train(): '\xff'", b"train = 1\0"])
def test_a_broken_file_defines_nothing(content, tmp_path):
    (tmp_path / "task2.py").write_bytes(content)
    assert task_names(tmp_path) == set()


@pytest.mark.parametrize("content", [b"def train(", b"'\xff'", "x = 1".encode("utf-16")])
@pytest.mark.parametrize("name", ["task2.py", "utils.py", "report/figures.py"])
def test_a_broken_file_is_named(name, content, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / name).write_bytes(content)
    problem, *_ = file_problems(NOTEBOOK, tmp_path)
    assert problem == f"{name}: is not Python, expected it in UTF-8: save it as such"
