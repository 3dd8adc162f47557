"""What a stored notebook must hold, beyond what nbval compares, for a pass to be trusted.

nbval compares texts by kind, but neither their order nor images, metadata and prose. Here are the
two questions it leaves open: is the rerun's output all that the stored notebook shows, and does
the file itself hold anything that no rerun could check?
"""

import ast
import base64
import builtins
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE_INFO = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")

# what the assignment itself states: all other numbers must be computed by the cell that shows them
ASSIGNMENT_NUMBERS = {
    *map(str, range(11)),
    *"0.02 0.1 0.9 1.7159 16 32 50 58 59 64 100 128 512 784 789 1000 5000".split(),
    *"0.002 10,000 12 20,000 20,001 60,000 1e-12".split(),
    *"1998 2010 2015".split(),  # years of the references
}
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[-+]?\d+)?(?:\s*\\?%)?")
NAMES_WITH_DIGITS = re.compile(r"TDT4265|\b[1-4][a-f]\b")
MARKUP = re.compile(r"<[a-zA-Z/!]|!\[|^\s*(```|~~~)", re.MULTILINE)
MARKER = re.compile(r"nbval|pytest", re.IGNORECASE)

MAGIC = re.compile(r"%load_ext autoreload|%autoreload 2|%run \w+\.py")
BUILTINS = {name for name in dir(builtins) if not name.startswith("_")} - {
    *"breakpoint compile delattr dir eval exec exit getattr globals hasattr help id input".split(),
    *"locals memoryview open quit setattr vars".split(),
}
POURED = {"Markdown", "display", "np"}  # what else %run brings into the notebook
UNSAFE_ATTRIBUTE = re.compile(
    r"_(?!replace$)|(os|sys|modules|ctypeslib|f2py)$|load|fromfile|memmap|format"
)


def merge_streams(outputs: list) -> list:
    """Join adjacent texts of one stream, which a kernel splits wherever it likes."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else {}
        is_stream = output["output_type"] == "stream" == last.get("output_type")
        if is_stream and output["name"] == last["name"]:
            merged[-1] = {**last, "text": last["text"] + output["text"]}
        else:
            merged.append(output)
    return [nbformat.from_dict(output) for output in merged]


def output_differences(stored: list, rerun: list) -> list[str]:
    """Return what differs between a cell's stored outputs and those of its rerun, a line each."""
    problems = []
    pairs = zip_longest(merge_streams(stored), merge_streams(rerun))
    for number, (one, other) in enumerate(pairs, start=1):
        if one is None or other is None:
            where = "the rerun only" if one is None else "the stored notebook only"
            problems.append(f"output {number} ({describe(one or other)}) is in {where}")
        elif describe(one) != describe(other):
            problems.append(f"output {number} is {describe(one)}, rerun: {describe(other)}")
        else:
            problems += [f"output {number}: {text}" for text in content_differences(one, other)]
    return problems


def describe(output: dict) -> str:
    """Name an output's kind and its parts."""
    parts = [output["name"]] if "name" in output else sorted(output.get("data", ()))
    return " ".join([output["output_type"], *parts])


def content_differences(stored: dict, rerun: dict) -> Iterator[str]:
    """Say what differs between two outputs of the same kind and parts."""
    if stored.get("metadata", {}) != rerun.get("metadata", {}):
        yield f"metadata is {stored.get('metadata')}, rerun: {rerun.get('metadata')}"
    if stored.get("text") != rerun.get("text"):
        yield f"text {first_difference(stored['text'], rerun['text'])}"
    for mime, content in stored.get("data", {}).items():
        if mime.startswith("image/") and mime != "image/svg+xml":
            if not same_picture(content, rerun["data"][mime]):
                yield f"{mime} shows another picture"
        elif content != rerun["data"][mime]:
            yield f"{mime} {first_difference(content, rerun['data'][mime])}"


def first_difference(stored: object, rerun: object) -> str:
    """Show the first line in which two values differ, around where they do."""
    pairs = zip_longest(str(stored).splitlines(True), str(rerun).splitlines(True), fillvalue="")
    line, (one, other) = next((i, p) for i, p in enumerate(pairs, start=1) if p[0] != p[1])
    at = next((i for i, p in enumerate(zip(one, other, strict=False)) if p[0] != p[1]), 0)
    part = slice(max(0, at - 30), at + 50)
    return f"line {line} is {one[part]!r}, rerun: {other[part]!r}"


def same_picture(stored: str, rerun: str) -> bool:
    """Compare base64 images as seen; encoders differ between machines, pixels hardly."""
    if stored.strip() == rerun.strip():
        return True
    try:
        pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in (stored, rerun)]
        frames = [getattr(picture, "n_frames", 1) for picture in pictures]
        pixels = [np.asarray(picture.convert("RGBA"), int) for picture in pictures]
    except Exception:  # whatever a file may be that is no picture
        return False
    same_shape = frames == [1, 1] and pixels[0].shape == pixels[1].shape
    return same_shape and np.abs(pixels[0] - pixels[1]).max() <= 2


def file_problems(notebook: dict, root: Path) -> list[str]:
    """Return what a notebook holds that no rerun can check, a line each.

    Args:
        notebook: its JSON.
        root: where the task files are, whose names its cells may use.
    """
    try:
        nbformat.validate(nbformat.from_dict(notebook))
    except nbformat.ValidationError as error:
        return [f"notebook: not of the notebook format: {str(error).splitlines()[0]}"]
    problems = [f"notebook: {text}" for text in metadata_problems(notebook["metadata"])]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    known = BUILTINS | POURED | task_names(root) | own_names("".join(c["source"]) for c in code)
    count = 0
    for number, cell in enumerate(notebook["cells"], start=1):
        found, source = list(cell_problems(cell)), "".join(cell["source"])
        if cell["cell_type"] == "code":
            count += 1
            found += executed_problems(cell, count)
            found += code_problems(source, known)
        else:
            found += prose_problems(source)
        problems += [f"cell {number} ({cell['id']}): {text}" for text in found]
    return problems


def metadata_problems(metadata: dict) -> Iterator[str]:
    """Check that the notebook's metadata are those of a Python notebook and no more."""
    if metadata.keys() - {"kernelspec", "language_info"}:
        yield f"metadata {sorted(metadata)}, expected kernelspec and language_info"
    if metadata.get("kernelspec") != KERNELSPEC:
        yield f"kernelspec is {metadata.get('kernelspec')}, expected {KERNELSPEC}"
    language = dict(metadata.get("language_info", {}))
    version = language.pop("version", "")
    if language != LANGUAGE_INFO or not re.fullmatch(r"3\.\d+\.\w+", version):
        yield f"language_info is {metadata.get('language_info')}, expected that of IPython"


def cell_problems(cell: dict) -> Iterator[str]:
    """Check that a cell is of text or code, with nothing attached to it and nothing hidden."""
    if cell["cell_type"] not in ("code", "markdown"):
        yield f"is a {cell['cell_type']} cell, expected code or markdown"
    if "attachments" in cell:
        yield f"has attachments {sorted(cell['attachments'])}, expected none"
    times = cell["metadata"].get("execution", {}).values()  # which nbconvert records
    if cell["metadata"].keys() - {"execution"} or not all(map(TIMESTAMP.fullmatch, times)):
        yield f"metadata is {cell['metadata']}, expected none"


def executed_problems(cell: dict, count: int) -> Iterator[str]:
    """Check that a cell was executed as number `count`, without a complaint."""
    if cell["execution_count"] != count:
        yield f"execution count is {cell['execution_count']}, expected {count}: run all, in order"
    for output in cell["outputs"]:
        if output["output_type"] == "error" or output.get("name") == "stderr":
            yield f"holds {describe(output)}, expected no complaint"
        if output.get("execution_count", count) != count:
            yield f"its result counts {output['execution_count']}, expected {count}"


def prose_problems(source: str) -> Iterator[str]:
    """Check that a cell of text holds no numbers, pictures or code of its own."""
    yield from text_problems(source)
    nodes = ast.walk(parsed(source))
    if any(isinstance(node, ast.Call | ast.Assign | ast.Import) for node in nodes):
        yield "is code in a cell of text, so that nothing runs it"


def text_problems(text: str) -> Iterator[str]:
    """Check text that a reader sees as it was typed."""
    if found := MARKUP.search(text):
        yield f"has markup, {found[0].strip()!r}: expected Markdown text and mathematics"
    if found := MARKER.search(text):
        yield f"speaks of {found[0]}, under which it may be running"
    if strange := {c for c in text if not c.isprintable() and c != "\n"}:
        yield f"has unprintable characters {sorted(strange)}"
    digits = [c for c in text if c.isnumeric() and not c.isascii()]
    for number in NUMBER.findall(NAMES_WITH_DIGITS.sub("", text)) + digits:
        if number not in ASSIGNMENT_NUMBERS:
            yield f"states {number}, which is typed: expected a cell that computes and shows it"


def code_problems(source: str, known: set[str]) -> Iterator[str]:
    """Check that code uses the task files and NumPy only, and shows no number that was typed."""
    for line in source.splitlines():
        if line.startswith(("%", "!")) and not MAGIC.fullmatch(line):
            yield f"runs {line}, expected autoreload or %run of a task file"
    for token in tokenize.generate_tokens(io.StringIO(without_magics(source)).readline):
        if token.type == tokenize.COMMENT:
            yield from text_problems(token.string)
    nodes = list(ast.walk(parsed(source)))
    formats = {
        id(part)
        for node in nodes
        if isinstance(node, ast.FormattedValue) and node.format_spec
        for part in ast.walk(node.format_spec)
    }
    for node in nodes:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield f"has {ast.unparse(node)}, expected %run of the task files only"
            case ast.Name(id=name) if name not in known:
                yield f"uses {name}, which neither the task files nor the notebook define"
            case ast.Attribute(attr=name) if UNSAFE_ATTRIBUTE.match(name):
                yield f"uses .{name}, which a report does not need"
            case ast.Constant(value=str(text)) if id(node) not in formats:
                yield from text_problems(text)
            case ast.Constant(value=int(number) | float(number)):
                if not isinstance(number, bool) and f"{number:g}" not in ASSIGNMENT_NUMBERS:
                    yield f"has {number}, which is typed: expected a name from the task files"


def without_magics(source: str) -> str:
    """Return the Python lines of a cell, the others emptied."""
    lines = source.splitlines()
    return "\n".join("" if line.startswith(("%", "!")) else line for line in lines)


@cache  # a hundred copies of one notebook are asked about in the tests
def parsed(source: str) -> ast.Module:
    """Return the Python of a cell or a file, an empty module if it isn't Python."""
    try:
        return ast.parse(without_magics(source))
    except SyntaxError:
        return ast.Module([])


def task_names(root: Path) -> set[str]:
    """Return the names that the top-level Python files define, without what they import."""
    names: set[str] = set()
    for path in root.glob("*.py"):
        for node in parsed(path.read_text(encoding="utf-8")).body:  # a broken file defines nothing
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                names |= stored_names(ast.walk(node))
    return names


def own_names(sources: Iterable[str]) -> set[str]:
    """Return the names that the cells themselves give values to."""
    names: set[str] = set()
    for source in sources:
        nodes = list(ast.walk(parsed(source)))
        names |= stored_names(nodes) | {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {name for name in names if not name.startswith("__")}


def stored_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that these nodes give values to."""
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
