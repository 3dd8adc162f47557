"""Does the file of a notebook hold anything that no rerun could check?

A rerun computes the outputs anew, and tests/outputs.py compares them. The rest is allowed here or
refused: metadata that hide and change nothing, text as in tests/prose.py, and code that uses the
names of the task files and of `report/`.
"""

import ast
import builtins
import io
import json
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import AnyStr, NamedTuple

import nbformat

from tests.outputs import describe
from tests.prose import PARTS_OF_OUTPUTS, STATED, TYPED, markdown_problems, text_problems

# What hides and changes nothing: the bookkeeping of JupyterLab, VS Code, PyCharm, Colab, Kaggle,
# Deepnote, Azure, Databricks, SageMaker, Vertex, CoCalc, Emacs, papermill and nbextensions, as
# {pattern of the value as JSON: paths of metadata}; what is off or empty needs no pattern, see
# `says_nothing`. A kernel's name is its owner's affair, since tests and handin.py use this Python.
FLAG, EMPTY, WORD, VERSION = "true|false", r"\{\}", r'"[\w/+=-]*"', r'"\d\.\d+(\.\w+)?(\+|-\w+)?"'
PLACE, SIZE = r'"[\w./:+=@-]*"', r'"(calc\([\d.%px +-]*\)|[\d.]+(px|%)|auto|initial)?"'
FILE = r'"([\w .,()/:+-]|\\u[\da-f]{4}|\\\\)*\.ipynb"'
WORDS = r'\[("\w+"(, (?="))?)*\]'
RECORD = r'\{("\w+": ("[\w ./:#+=-]*"|-?\d+|true|false|null)(, (?="))?)*\}'
RECORDS = rf"\[({RECORD}(, (?=\{{))?)*\]"
TIME = r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[-+]\d\d:?\d\d)?"'
WIDGETS = "widgets.application/vnd.jupyter.widget-state+json"
NOTEBOOK_METADATA = {
    FLAG: "colab.include_colab_link colab.private_outputs colab.toc_visible kaggle.isDbEnabled "
    "kaggle.isGpuEnabled kaggle.isInternetEnabled kernelspec.metadata.debugger "
    "microsoft.host.AzureML.notebookHasBeenCompleted toc-showcode toc-showmarkdowntxt toc-showtags "
    "toc.markTocItemOnScroll toc.moveMenuLeft toc.navigate_menu toc.sideBar toc.skip_h1_title "
    "toc.toc_section_display toc.toc_window_display toc.widenNotebook varInspector.window_display "
    "latex_envs.LaTeX_envs_menu_present latex_envs.autoclose latex_envs.autocomplete "
    "latex_envs.eqLabelWithNumbers latex_envs.labels_anchors latex_envs.latex_user_defs "
    "latex_envs.user_envs_cfg nbTranslate.langInMainMenu nbTranslate.useGoogleTranslate "
    "rise.scroll",
    WORD: "accelerator azdata_notebook_guid colab.authorship_tag colab.background_execution "
    "colab.cell_execution_strategy colab.gpuType colab.machine_shape colab.mount_file_id "
    "deepnote_app_layout deepnote_notebook_id gpuClass interpreter.hash kaggle.accelerator "
    "kaggle.language kaggle.sourceType kernel_info.name kernelspec.interrupt_mode "
    "kernelspec.metadata.supported_encryption metadata.interpreter.hash microsoft.language "
    "microsoft.language_group microsoft.ms_spell_check.ms_spell_check_language "
    "latex_envs.cite_by nbTranslate.hotkey noteable.last_transaction_id selected_hardware_size "
    "vscode.interpreter.hash",
    PLACE: "colab.last_runtime.build_target colab.last_runtime.kind environment.kernel "
    "environment.name environment.type environment.uri kernel_info.jupyter_kernel_name "
    "kernelspec.metadata.cocalc.url latex_envs.bibliofile kernelspec.resource_dir signature",
    SIZE: "toc.nav_menu.height toc.nav_menu.width toc.toc_position.height toc.toc_position.left "
    "toc.toc_position.right toc.toc_position.top toc.toc_position.width",
    WORDS: "varInspector.types_to_exclude",
    RECORD: "latex_envs.hotkeys toc.colors varInspector.cols",
    r'\{"python": \{[\w",:.() ]*\}, "r": \{[\w",:.() ]*\}\}': "varInspector.kernels_config",
    '"[a-z]{2}"': "nbTranslate.sourceLang nbTranslate.targetLang",
    r'\["\*"\]': "nbTranslate.displayLangs",
    RECORDS: "availableInstances colab.provenance kaggle.dataSources",
    VERSION: "language_info.version",
    r"\d": f"orig_nbformat language_info.codemirror_mode.version {WIDGETS}.version_major "
    f"{WIDGETS}.version_minor toc.threshold version "
    "application/vnd.databricks.v1+notebook.notebookMetadata.pythonIndentUnit",
    r'\d|"\d"': "toc.base_numbering",
    r"\d+": "kaggle.dockerImageVersionId kernelspec.metadata.cocalc.priority "
    "latex_envs.current_citInitial latex_envs.eqNumInitial "
    "application/vnd.databricks.v1+notebook.notebookOrigID",
    r"\d+(\.\d+)?": "papermill.duration",
    EMPTY: f"colab kernelspec.env kernelspec.metadata microsoft nteract papermill.parameters "
    f"toc.nav_menu toc.toc_position vscode {WIDGETS}.state",
    r"\[\]": "colab.collapsed_sections",
    "false": "hide_input toc-autonumbering toc.number_sections toc.toc_cell",
    TIME: "deepnote_persisted_session.createdAt papermill.end_time papermill.start_time",
    '".*"': "kernelspec.display_name kernelspec.name",
    '"python"': "kernelspec.language language_info.name language_info.nbconvert_exporter "
    "npconvert_exporter application/vnd.databricks.v1+notebook.language",
    '"i?python[23]?"': "language_info.codemirror_mode language_info.codemirror_mode.name "
    "language_info.pygments_lexer pygments_lexer",
    r'"\.py"': "file_extension language_info.file_extension",
    '"text/x-python"': "language_info.mimetype mimetype",
    FILE: "colab.name papermill.input_path papermill.output_path",
    f'"python"|{FILE}': "name",
    r'"[\w ]+"': "application/vnd.databricks.v1+notebook.notebookName celltoolbar "
    "kernelspec.metadata.cocalc.description",
    r'"nteract[\w-]*@[\d.]+"': "nteract.version",
    r'"\d[\d.]*"': "colab.version papermill.version",
    r'"ml(\.\w+)+"': "instance_type",
    '"raw"': "pycharm.stem_cell.cell_type",
    '"(Table of )?Contents"': "toc.title_cell toc.title_sidebar",
}
TEXT_METADATA = {
    FLAG: "deepnote_to_be_reexecuted deletable editable jupyter.is_executing "
    "nteract.transient.deleting pycharm.is_executing trusted",
    WORD: "_cell_guid _uuid azdata_cell_guid cell_id colab_type datalore.node_id datalore.type "
    "deepnote_cell_type id jukit_cell_id microsoft.language microsoft.language_group "
    "noteable.cell_type nuid owner_user_id source_hash application/vnd.databricks.v1+cell.nuid",
    "false": "collapsed heading_collapsed hidden hide_input inputHidden outputHidden "
    "jp-MarkdownHeadingCollapsed jupyter.outputs_hidden jupyter.source_hidden "
    "application/vnd.databricks.v1+cell.showTitle",
    '"false"': "Collapsed",
    'false|"auto"': "scrolled",
    r"\d+": "deepnote_app_coordinates.h deepnote_app_coordinates.w deepnote_app_coordinates.x "
    "deepnote_app_coordinates.y execution_context_id execution_millis execution_start "
    "gather.logged lines_to_next_cell application/vnd.databricks.v1+cell.cellMetadata.byteLimit "
    "application/vnd.databricks.v1+cell.cellMetadata.rowLimit",
    r"\d+(\.\d+)?": "deepnote_cell_height papermill.duration",
    EMPTY: "colab jupyter nteract papermill pycharm run_control slideshow vscode",
    r"\[\]": "code_folding hidden_ranges tags",
    '"(python|markdown)"': "dotnet_interactive.language language polyglot_notebook.kernelName "
    "vscode.languageId",
    '"(-|slide|subslide|fragment)?"': "slideshow.slide_type",
    r'"#%%( md)?( |\\n)*"': "pycharm.name",
    TIME: "papermill.end_time papermill.start_time",
    '"(completed|pending)"': "papermill.status",
    r'"\d*"': "notebookRunGroups.groupValue",
    r'"worksheet-\d+"': "ein.tags",
    '"[a-z]{2}"': "lang",
    "true": "deepnote_app_block_visible",
}
CODE_METADATA = {
    **TEXT_METADATA,
    r"\[\]": "code_folding hidden_ranges",
    r'\["hide-input"\]|\[\]': "tags",  # the PDF leaves the code out, the notebook keeps it
    EMPTY: f"{TEXT_METADATA[EMPTY]} ExecuteTime execution executionInfo executionInfo.user",
    TIME: "execution.iopub.execute_input execution.iopub.status.busy execution.iopub.status.idle "
    "execution.shell.execute_reply execution.shell.execute_reply.started "
    "ExecuteTime.start_time ExecuteTime.end_time papermill.end_time papermill.start_time",
    WORD: f"{TEXT_METADATA[WORD]} executionInfo.status executionInfo.user.userId outputId",
    r"-?\d+": "executionInfo.elapsed executionInfo.timestamp executionInfo.user_tz",
    FLAG: f"{TEXT_METADATA[FLAG]} colab.autoexec.startup colab.background_save init_cell "
    "keep_output run_control.frozen run_control.marked run_control.read_only",
    r"\d": "colab.autoexec.wait_interval",
    '"(both|code)"': "cellView",
    '".*"': "executionInfo.user.displayName",
    r"\d{2,}": "colab.height",
    r"\[((null|\d{2,}(\.\d+)?)(, (?=.*\d\]|null\]))?)*\]": "deepnote_output_heights",
    WORDS: "colab.referenced_widgets",
    PLACE: "executionInfo.user.photoUrl",
    r'"https://localhost:\d+/"': "colab.base_uri",
}
HIDING = re.compile(r"(?i)kernelspec\.|collaps|exclu|fold|hid|ignor|remov|skip|suppress")
SHOWING = re.compile("(?i)display|expand|inclu|open|print|render|show|visib|view")
LEFTOVERS = {"jetTransient", "transient"}  # of PyCharm and nteract, in outputs
INNER = {"cells", "outputs"}  # what of a notebook holds its parts
FORMATS = [(4, minor) for minor in range(6)]  # in later ones nbformat tolerates unknown keys
MIME_TYPES = {
    *"text/plain text/markdown text/latex text/html image/png image/jpeg image/svg+xml".split(),
    "application/pdf",
}

RUN = ("task*.py", "utils.py")  # whose names %run pours into the notebook
MAGIC = re.compile(r"%(?:re)?load_ext autoreload|%autoreload 2|%run (task\w*|utils)\.py")
BUILTINS = {
    *"abs all any bool dict enumerate filter float int isinstance len list map max min".split(),
    *"print range repr reversed round set slice sorted str sum tuple zip".split(),
    *"AssertionError Exception ValueError".split(),
}
POURED = {"Markdown", "display", "np"}  # of what these import
RESERVED = {*dir(builtins), *POURED, "In", "Out", "get_ipython"}
ATTRIBUTES = {  # of NumPy, its arrays and generators, and of Python's own types
    *"T all allclose any arange argmax argmin argsort array array_equal asarray astype".split(),
    *"bincount ceil clip column_stack concatenate copy corrcoef cumsum default_rng diff".split(),
    *"dtype e exp eye float64 flatten floor full hstack inf isclose isfinite isnan item".split(),
    *"linalg linspace log log10 log2 logspace max maximum mean median min minimum nan".split(),
    *"ndim newaxis nonzero norm ones outer percentile pi prod ptp quantile random ravel".split(),
    *"repeat reshape round shape sign size sort sqrt square squeeze stack std sum take".split(),
    *"tanh tolist transpose unique unravel_index var vstack where zeros zeros_like".split(),
    *"choice integers normal permutation shuffle standard_normal uniform".split(),
    *"append capitalize count endswith extend get index items join keys ljust lower pop".split(),
    *"replace rjust split startswith strip title update upper values".split(),
    *"_asdict _fields _replace".split(),
}
IDENTIFIER = re.compile(r"(?:\w|[æøåÆØÅαβγδεηθλμπρσφψωΔ])+", re.ASCII)
FORMAT_SPEC = re.compile(r"[<>^]?[-+]?\d*[,_]?(\.\d+)?[defgs%]?")


class Names(NamedTuple):
    """What cells may use, and what they may not give another meaning."""

    known: set[str]
    fields: set[str]
    importable: set[str]
    reserved: set[str]


def names_for(sources: Iterable[str], root: Path) -> Names:
    """Return the names for cells of code, beside the project in `root`."""
    project = task_names(root)
    return Names(
        known=BUILTINS | POURED | project | own_names(sources),
        fields=ATTRIBUTES | field_names(root),
        importable=project,
        reserved=RESERVED | project | imported_names(root),
    )


def file_problems(notebook: dict, root: Path) -> list[str]:
    """Return what a notebook holds that no rerun can check, a line each.

    Args:
        notebook: its JSON.
        root: where the task files and `report/` are, whose names its cells may use.
    """
    version = notebook.get("nbformat"), notebook.get("nbformat_minor")
    if version not in FORMATS:
        return [f"notebook: of format {version[0]}.{version[1]}, expected 4.0 to 4.5"]
    leftovers = {*LEFTOVERS, "id"} if version in FORMATS[:5] else LEFTOVERS
    try:
        nbformat.validate(nbformat.from_dict(without_leftovers(notebook, leftovers)))
    except nbformat.ValidationError as error:
        return [f"notebook: not of the notebook format: {str(error).splitlines()[0]}"]
    found = metadata_problems(notebook["metadata"], NOTEBOOK_METADATA)
    problems = [*unread_problems(root), *(f"notebook: {text}" for text in found)]
    code = [source(cell) for cell in notebook["cells"] if is_code(cell)]
    names = names_for(code, root)
    count = 0
    for number, cell in enumerate(notebook["cells"], start=1):
        count += is_code(cell) and bool(source(cell).strip())
        found = cell_problems(cell, count, names, root)
        problems += [f"cell {number} ({cell.get('id')}): {text}" for text in found]
    return problems


def without_leftovers(part: object, leftovers: set[str]) -> object:
    """Return JSON without what editors leave where the format of notebooks has no place for it."""
    match part:
        case list():
            return [without_leftovers(one, leftovers) for one in part]
        case dict():
            kept = {name: value for name, value in part.items() if name not in leftovers}
            inner = {n: without_leftovers(kept[n], leftovers) for n in kept.keys() & INNER}
            return kept | inner
    return part


def unread_problems(root: Path) -> Iterator[str]:
    """Name the task files and those of `report/` whose names cannot be known."""
    for path in own_files(root, *RUN, "report/*.py"):
        if parsed(path.read_bytes()) is NOT_PYTHON:
            yield f"{path.relative_to(root)}: is not Python, expected it in UTF-8: save it as such"


def source(cell: dict) -> str:
    """Return what a cell says, with the ends of lines of every system."""
    return "".join(cell["source"]).replace("\r\n", "\n")


def is_code(cell: dict) -> bool:
    """Tell whether a cell is one of code."""
    return cell["cell_type"] == "code"


def cell_problems(cell: dict, count: int, names: Names, root: Path) -> Iterator[str]:
    """Check a cell; `count` is the number of code cells with something in them up to here."""
    if cell.get("attachments"):
        yield f"has attachments {sorted(cell['attachments'])}, expected none"
    match cell["cell_type"]:
        case "code":
            yield from metadata_problems(cell["metadata"], CODE_METADATA)
            if source(cell).strip():
                yield from executed_problems(cell, count)
                yield from code_problems(source(cell), names, root)
            elif cell["outputs"] or cell["execution_count"] is not None:  # JupyterLab leaves one
                yield "is empty, expected no outputs and no execution count"
        case "markdown":
            yield from metadata_problems(cell["metadata"], TEXT_METADATA)
            yield from prose_problems(source(cell))
        case other:
            yield f"is a {other} cell, expected code or markdown"


def metadata_problems(metadata: dict, allowed: dict[str, str], path: str = "") -> Iterator[str]:
    """Check metadata, level by level, against the paths that are allowed, by pattern."""
    patterns = {name: pattern for pattern, names in allowed.items() for name in names.split()}
    for key, value in metadata.items():
        name, text = path + key, json.dumps(value)
        is_level = any(known.startswith(f"{name}.") for known in patterns)
        if is_level and isinstance(value, dict) and value:
            yield from metadata_problems(value, allowed, f"{name}.")
        elif name not in patterns and not is_level and says_nothing(name, value):
            continue
        elif not re.fullmatch(patterns.get(name, ""), text):
            yield f"metadata {name} is {text}, expected {patterns.get(name, 'none of that name')}"


def says_nothing(name: str, value: object) -> bool:
    """Tell whether metadata of any name are off or empty, and hide nothing by that."""
    match value:
        case dict() if value:
            return all(says_nothing(f"{name}.{key}", part) for key, part in value.items())
        case {} | []:
            return not HIDING.search(name)  # which an editor in JavaScript takes for true
        case False | None | "":
            return not SHOWING.search(name) or bool(HIDING.search(name))
    return False


def executed_problems(cell: dict, count: int) -> Iterator[str]:
    """Check that a cell was executed as number `count`, without a complaint."""
    if cell["execution_count"] != count:
        yield f"execution count is {cell['execution_count']}, expected {count}: run all, in order"
    for output in cell["outputs"]:
        if output["output_type"] == "error" or output.get("name") == "stderr":
            yield f"holds {describe(output)}, expected no complaint"
        data = output.get("data", {})
        if unknown := data.keys() - MIME_TYPES:
            yield f"shows {', '.join(sorted(unknown))}, which may do more than show"
        if any(data.get("text/html", "")):
            yield "shows HTML, which may hide or change more than its output"
        markdown = "".join(data.get("text/markdown", ""))
        for problem in markdown_problems(markdown, PARTS_OF_OUTPUTS):
            yield f"its output {problem}"
        if output.get("execution_count", count) != count:
            yield f"its result counts {output['execution_count']}, expected {count}"


def prose_problems(text: str) -> Iterator[str]:
    """Check that a cell of text holds no numbers, pictures or code of its own."""
    yield from text_problems(text)
    yield from markdown_problems(text)
    for node in ast.walk(parsed(text)):
        is_label = isinstance(node, ast.AnnAssign) and node.value is None  # "Answer: momentum"
        is_statement = isinstance(node, ast.stmt) and not isinstance(node, ast.Expr)
        if isinstance(node, ast.Call) or (is_statement and not is_label):
            yield "is code in a cell of text, so that nothing runs it"
            return


def code_problems(text: str, names: Names, root: Path) -> Iterator[str]:
    """Check that code uses what it may, and shows nothing that was typed."""
    tree = parsed(text)
    if tree is NOT_PYTHON:
        yield "is not Python, so that nothing in it can be checked"
        return
    for line in text.splitlines():
        if line.startswith(("%", "!")) and not MAGIC.fullmatch(line):
            yield f"runs {line}, expected autoreload or %run of a task file"
    for token in tokenize.generate_tokens(io.StringIO(without_magics(text)).readline):
        if token.type == tokenize.COMMENT:
            yield from text_problems(token.string)
        elif token.type == tokenize.NAME and not IDENTIFIER.fullmatch(token.string):
            yield f"has the name {token.string}, with letters that may look like others"
    for node in ast.walk(tree):
        yield from name_problems(node, names)
    yield from shown_problems(tree, root)


def name_problems(node: ast.AST, names: Names) -> Iterator[str]:
    """Check that a node uses names and attributes that it may, each in the sense that it has."""
    for name in given_names([node]):
        if name in names.reserved or re.match("_.", name):
            yield f"gives {name} another meaning, expected a new name"
    match node:
        case ast.ImportFrom(module=name, level=0) if name.partition(".")[0] == "report":
            for alias in node.names:
                if alias.asname or alias.name not in names.importable:
                    yield f"imports {ast.unparse(alias)}, expected names that report/ defines"
        case ast.Import() | ast.ImportFrom():
            yield f"has {ast.unparse(node)}, expected imports from report, and %run, only"
        case ast.Match():
            yield "has a match statement, which may read any attribute: expected if"
        case ast.Name(id=name) if name not in names.known:
            yield f"uses {name}, which neither the task files nor the notebook define"
        case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
            yield f"changes .{name}, expected a new value instead"
        case ast.Attribute(attr=name) if name not in names.fields:
            yield f"uses .{name}, expected a field of the project or ATTRIBUTES of tests/strict.py"


def shown_problems(tree: ast.Module, root: Path) -> Iterator[str]:
    """Check that code shows no result that was typed, and with Markdown no file and no page."""
    nodes = list(ast.walk(tree))
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    specs = [n.format_spec for n in nodes if isinstance(n, ast.FormattedValue) and n.format_spec]
    in_specs = {id(part) for spec in specs for part in ast.walk(spec)}
    for node in nodes:
        match node:
            case ast.Name(id="Markdown" | "display" as name) if id(node) not in called:
                yield f"hands {name} on, expected a call of it"
            case ast.Call(func=ast.Name(id="Markdown"), args=args, keywords=keywords):
                starred = any(isinstance(arg, ast.Starred) for arg in args)
                if keywords or starred or len(args) != 1:
                    yield "gives Markdown more than a text, which may show what nothing computes"
            case ast.FormattedValue(value=ast.Constant(value=value)):
                yield f"formats {value!r}, {TYPED}"
            case ast.JoinedStr(values=parts) if id(node) not in in_specs:
                if any(map(is_split_number, pairwise(parts))):
                    yield f"has digits beside a value in {ast.unparse(node)}, read as one number"
            case ast.Constant(value=str(text)) if id(node) in in_specs:
                if not FORMAT_SPEC.fullmatch(text):
                    yield f"has the format {text!r}, expected width, precision and defgs%"
            case ast.Constant(value=str(text)):
                if text.startswith("http") or names_file(root, text):
                    yield f"names {text}, which Markdown would show"
                yield from text_problems(text.replace("\t", " "))
            case ast.Constant(value=bytes() | int() | float() | complex() as number):
                if not (isinstance(number, bool) or is_stated(number)):
                    yield f"has {number}, {TYPED}"


def is_split_number(parts: tuple[ast.expr, ast.expr]) -> bool:
    """Tell whether of two neighbours in an f-string one is a value, the other digits beside it."""
    match parts:
        case ast.Constant(value=text), ast.FormattedValue():
            return bool(re.search(r"\d[.,]\d*$", text))  # but "Task 4{letter}" is none
        case ast.FormattedValue(), ast.Constant(value=text):
            return bool(re.match(r"[.,]?\d", text))
    return False


def is_stated(number: object) -> bool:
    """Tell whether a number may be typed, without or with commas."""
    text = str(number).removesuffix(".0")
    return text in STATED or re.sub(r"(?=(\d{3})+$)", ",", text) in STATED


def names_file(root: Path, text: str) -> bool:
    """Tell whether a text is the name of a file beside the notebook."""
    try:
        return (root / text).is_file()
    except OSError:  # it is too long for a name
        return False


def without_magics(text: str) -> str:
    """Return the Python lines of a cell, the others emptied."""
    lines = text.splitlines()
    return "\n".join("" if line.startswith(("%", "!")) else line for line in lines)


NOT_PYTHON = ast.Module([])


@cache  # a hundred copies of one notebook are asked about in the tests
def parsed(text: AnyStr) -> ast.Module:
    """Return the Python of a cell or a file, an empty module, NOT_PYTHON, if it isn't."""
    try:
        return ast.parse(without_magics(text) if isinstance(text, str) else text)
    except (SyntaxError, ValueError):  # the latter for a null character, before Python 3.12
        return NOT_PYTHON


def own_files(root: Path, *patterns: str) -> list[Path]:
    """Return the project's files of these names."""
    return [path for pattern in patterns for path in root.glob(pattern)]


def modules(root: Path, *patterns: str) -> list[ast.Module]:
    """Return the project's files, decoded as Python does; what isn't Python is empty."""
    return [parsed(path.read_bytes()) for path in own_files(root, *patterns)]


def task_names(root: Path) -> set[str]:
    """Return the names that the task files and `report/` define, without what they import."""
    names: set[str] = set()
    for node in (node for module in modules(root, *RUN, "report/*.py") for node in module.body):
        reads_files = re.search(r"__file__|Path\(", ast.unparse(node))
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                names |= given_names([node])
            case ast.Assign(targets=targets) if not reads_files:
                names |= given_names(part for target in targets for part in ast.walk(target))
            case ast.AnnAssign(target=target) if not reads_files:
                names |= given_names([target])
    return names


def field_names(root: Path) -> set[str]:
    """Return the public fields and methods of the project's classes."""
    nodes = (node for module in modules(root, *RUN, "report/*.py") for node in ast.walk(module))
    parts = (part for node in nodes if isinstance(node, ast.ClassDef) for part in node.body)
    names = given_names(getattr(part, "target", part) for part in parts)
    return {name for name in names if not name.startswith("_")}


def imported_names(root: Path) -> set[str]:
    """Return the names that the task files import, and %run pours into the notebook."""
    nodes = (node for module in modules(root, *RUN) for node in ast.walk(module))
    imports = (node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))
    return {alias.asname or alias.name for node in imports for alias in node.names}


def own_names(sources: Iterable[str]) -> set[str]:
    """Return the names that the cells themselves give a meaning to."""
    return given_names(node for text in sources for node in ast.walk(parsed(text)))


def given_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names to which these very nodes give a meaning, or take it away."""
    names: set[str] = set()
    for node in nodes:
        match node:
            case (
                ast.Name(id=name, ctx=ast.Store() | ast.Del())
                | ast.arg(arg=name)
                | ast.FunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=str(name))
            ):
                names.add(name)
    return names
