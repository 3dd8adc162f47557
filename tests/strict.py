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
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path

import mistune
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
    *"0.02 0.1 0.9 1.7159 16 32 50 58 59 64 100 128 784 789 1000 5000".split(),
    *"0.002 10,000 12 20,000 20,001 60,000 1e-12".split(),
    *"1998 2010 2015".split(),  # years of the references
    "0,1",  # an interval
}
NUMBER = re.compile(
    r"\d+(?:[.,\u066b\uff0e]\d+)*(?:e[-+]?\d+)?(?:\s*(?:\\?%|[\uff05\u066a\u2030]))?"
)
POINT = re.compile(  # within a number
    r"(?<=\d)(?:\{([.,])\}|\\(\.)|(\.)(?:\\[,;:!> ]|[{}~])+)(?=\d)"
)
LISTED = re.compile(r"(?:\[|\\\{|_\{)\d+(?:,\d+)+(?=\]|\\?\})")  # several, as in [64,10]
NAMES_WITH_DIGITS = re.compile(r"TDT4265|\b[1-4][a-f]\b")
JOINED = re.compile(  # pieces that are read as one number
    r"\d(?!\}\{| \* |\} )(?:[ *_`~${}]|\\[,;:!> _]|\\(?:math|text|relax|[hm]box|hspace)[a-z]*)+"
    r"(?:\d|\\?%)|\d\[[\d.]+\]\(|\d\]\([^)]*\)\d"
)
SPOKEN = re.compile(r"\bper ?cent", re.IGNORECASE)
MARKUP = re.compile(  # tags, comments, images, fences, entities
    r"</?[a-zA-Z][\w-]*(?=[\s/][^>]*>|/?>)|^ *</?[a-zA-Z][\w-]*(?=\s|$)|<[!?]|!\[|```|~~~"
    r"|&#\w+;|&\w{2,};",
    re.MULTILINE,
)
TEX = re.compile(  # hides what is written, or shows what is not
    r"\\(?:unicode|char|style|class|cssId|href|require|[hv]?phantom|(?:text|define)?color"
    r"|f?colorbox|bbox|mmlToken|(?:math)?[rlc]lap|toggle|texttip|enclose)(?![a-zA-Z])"
)
FOREIGN = re.compile(r"[^\x00-\x7fæøåÆØÅ\u0391-\u03c9]")  # nor Greek: may look like other letters
MARKER = re.compile(r"nbval|pytest", re.IGNORECASE)

MAGIC = re.compile(r"%load_ext autoreload|%autoreload 2|%run \w+\.py")
BUILTINS = {name for name in dir(builtins) if not name.startswith("_")} - {
    *"breakpoint compile delattr dir eval exec exit getattr globals hasattr help id input".split(),
    *"locals memoryview open quit setattr vars".split(),
}
POURED = {"Markdown", "display", "np"}  # what else %run brings into the notebook
NOT_OWN = {*dir(builtins), "In", "Out", "get_ipython"} - BUILTINS
UNSAFE_ATTRIBUTE = re.compile(
    r"_(?!replace$|asdict$|fields$)"
    r"|(os|sys|modules|re|enum|bltns|operator|warnings|ctypes(lib)?|f2py|lib|core|ma|testing)$"
    r"|(polynomial|fft|rec|char|strings|emath|mtrand|bit_generator|filename|url|reload)$"
    r"|load|from(file|regex)|genfromtxt|memmap|format|save|dump|tofile|show_|(gi|cr|ag|tb|f)_"
)
SHOWN = {
    *"text/plain text/markdown text/latex text/html image/png image/jpeg image/svg+xml".split(),
    "application/pdf",
}
FORMAT = re.compile(r"[<>^]?[-+]?\d*[,_]?(\.\d+)?[a-zA-Z%]?")
EDITED = {  # metadata of JupyterLab and VS Code that change nothing
    "editable": True,
    "slideshow": {"slide_type": ""},
    "tags": [],
    "vscode": {"languageId": "python"},
}
# chunks of a PNG that change what is seen
SEEN = b"gAMA cHRM iCCP cICP mDCV cLLI eXIf acTL".split()


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
        (kind, one), (other_kind, other) = map(read_picture, (stored, rerun))
    except Exception:  # whatever a file may be that is no picture
        return False
    return kind == other_kind and one.shape == other.shape and np.abs(one - other).max() <= 2


def read_picture(data: str) -> tuple[tuple, np.ndarray]:
    """Return what else decides how a base64 image is seen, and its pixels [height, width, 4]."""
    file = base64.b64decode("".join(data.split()), validate=True)
    image = Image.open(io.BytesIO(file))
    kind = (
        image.format,
        image.mode.startswith("I"),
        getattr(image, "n_frames", 1),
        seen_chunks(file),
    )
    return kind, np.asarray(image.convert("RGBA"), int)


def seen_chunks(file: bytes) -> list[bytes]:
    """Return the chunks of a PNG, beside those of its pixels, that change how it is seen."""
    found, at = [], 8
    while at < len(file):  # of each: length, kind, content, checksum
        end = at + 12 + int.from_bytes(file[at : at + 4])
        found += [file[at:end]] if file[at + 4 : at + 8] in SEEN else []
        at = end
    return found


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
    own = own_names("".join(c["source"]) for c in code) - NOT_OWN - imported_names(root)
    known = BUILTINS | POURED | task_names(root) | own
    count = 0
    for number, cell in enumerate(notebook["cells"], start=1):
        found, source = list(cell_problems(cell)), "".join(cell["source"])
        if cell["cell_type"] == "code" and source.strip():
            count += 1
            found += executed_problems(cell, count)
            found += code_problems(source, known)
            found += file_name_problems(source, root)
        elif cell["cell_type"] == "code":  # JupyterLab leaves one at the end
            if cell["outputs"] or cell["execution_count"] is not None:
                found.append("is empty, expected no outputs and no execution count")
        else:
            found += prose_problems(source)
        problems += [f"cell {number} ({cell.get('id')}): {text}" for text in found]
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
    metadata = {k: v for k, v in cell["metadata"].items() if EDITED.get(k) != v}
    if cell["cell_type"] == "code" and metadata.get("tags") == ["hide-input"]:
        del metadata["tags"]  # the PDF leaves its source out, the notebook shows it
    times = metadata.pop("execution", {}).values()  # which nbconvert records
    if metadata or not all(map(TIMESTAMP.fullmatch, times)):
        yield f"metadata is {cell['metadata']}, expected none"


def executed_problems(cell: dict, count: int) -> Iterator[str]:
    """Check that a cell was executed as number `count`, without a complaint."""
    if cell["execution_count"] != count:
        yield f"execution count is {cell['execution_count']}, expected {count}: run all, in order"
    for output in cell["outputs"]:
        if output["output_type"] == "error" or output.get("name") == "stderr":
            yield f"holds {describe(output)}, expected no complaint"
        data = output.get("data", {})
        if unknown := data.keys() - SHOWN:
            yield f"shows {', '.join(sorted(unknown))}, which may do more than show"
        if any(data.get("text/html", "")) or MARKUP.search("".join(data.get("text/markdown", ""))):
            yield "shows markup, which may hide or change more than its output"
        if output.get("execution_count", count) != count:
            yield f"its result counts {output['execution_count']}, expected {count}"


def prose_problems(source: str) -> Iterator[str]:
    """Check that a cell of text holds no numbers, pictures or code of its own."""
    yield from text_problems(source)
    yield from block_problems(source)
    for node in ast.walk(parsed(source)):
        is_label = isinstance(node, ast.AnnAssign) and node.value is None  # "Answer: momentum"
        is_statement = isinstance(node, ast.stmt) and not isinstance(node, ast.Expr)
        if isinstance(node, ast.Call) or (is_statement and not is_label):
            yield "is code in a cell of text, so that nothing runs it"
            return


def block_problems(source: str) -> Iterator[str]:
    """Check that Markdown has no code block, which looks like an output, and defines no link."""
    blocks, state = mistune.create_markdown(renderer=None).parse(source)
    if state.env["ref_links"]:
        yield f"defines {', '.join(state.env['ref_links'])}, which nobody sees"
    while blocks:
        block = blocks.pop()
        blocks += block.get("children", [])
        if block["type"] == "block_code":
            yield f"has a block of code, {block['raw'].strip()!r}: expected text and mathematics"


def text_problems(text: str) -> Iterator[str]:
    """Check text that a reader sees as it was typed."""
    text = unicodedata.normalize("NFC", text)
    if found := MARKUP.search(text):
        yield f"has markup, {found[0].strip()!r}: expected Markdown text and mathematics"
    if found := MARKER.search(text):
        yield f"speaks of {found[0]}, under which it may be running"
    if found := TEX.search(text):
        yield f"has {found[0]}: expected mathematics that shows what is written"
    if strange := {c for c in text if c != "\n" and invisible(c)}:
        yield f"has unprintable characters {sorted(strange)}"
    if found := JOINED.search(text) or SPOKEN.search(text):
        yield f"states {found[0]}, which is typed: expected a cell that computes and shows it"
    text = LISTED.sub(lambda several: several[0].replace(",", ", "), POINT.sub(r"\1\2\3", text))
    digits = [c for c in text if c.isnumeric() and not c.isascii()]
    for number in NUMBER.findall(NAMES_WITH_DIGITS.sub("", text)) + digits:
        if number not in ASSIGNMENT_NUMBERS:
            yield f"states {number}, which is typed: expected a cell that computes and shows it"


def invisible(character: str) -> bool:
    """Tell whether a character shows nothing of its own."""
    blank = character in "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol without ink
    return blank or not character.isprintable() or unicodedata.category(character) in ("Mn", "Me")


def code_problems(source: str, known: set[str]) -> Iterator[str]:
    """Check that code uses the task files and NumPy only, and shows no number that was typed."""
    if parsed(source) is NOT_PYTHON:
        yield "is not Python, so that nothing in it can be checked"
        return
    for line in source.splitlines():
        if line.startswith(("%", "!")) and not MAGIC.fullmatch(line):
            yield f"runs {line}, expected autoreload or %run of a task file"
    for token in tokenize.generate_tokens(io.StringIO(without_magics(source)).readline):
        if token.type == tokenize.COMMENT:
            yield from text_problems(token.string)
        elif token.type == tokenize.NAME and FOREIGN.search(token.string):
            yield f"has the name {token.string}, with letters that may look like others"
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
            case ast.MatchClass(kwd_attrs=[name, *_]):
                yield f"matches .{name}, which a report does not need"
            case ast.Constant(value=str(text)):
                if id(node) not in formats or not FORMAT.fullmatch(text):
                    yield from text_problems(text.replace("\t", " "))
            case ast.Constant(value=bytes() | int() | float() | complex() as number):
                if not (isinstance(number, bool) or is_stated(number)):
                    yield f"has {number}, which is typed: expected a name from the task files"


def is_stated(number: bytes | complex) -> bool:
    """Tell whether the assignment states a number, without or with commas."""
    text = str(number).removesuffix(".0")
    return (
        text in ASSIGNMENT_NUMBERS
        or re.sub(r"(?<=\d)(?=(\d{3})+$)", ",", text) in ASSIGNMENT_NUMBERS
    )


def file_name_problems(source: str, root: Path) -> Iterator[str]:
    """Check that Markdown, which also shows a file or a page, is given a text that is neither."""
    for node in ast.walk(parsed(source)):
        match node:
            case ast.keyword(arg="filename" | "url" | "raw"):
                yield f"gives {node.arg}, which may show what nothing computes"
            case ast.Call(func=ast.Name(id="Markdown"), args=[_, _, *_] | [ast.Starred(), *_]):
                yield "gives Markdown more than a text, which may show what nothing computes"
            case ast.Constant(value=str(text)) if text.startswith("http") or names_file(root, text):
                yield f"names {text}, which Markdown would show"


def names_file(root: Path, text: str) -> bool:
    """Tell whether a text is the name of a file beside the notebook."""
    return bool(re.fullmatch(r"[^\n\0]{1,200}", text)) and (root / text).is_file()


def without_magics(source: str) -> str:
    """Return the Python lines of a cell, the others emptied."""
    lines = source.splitlines()
    return "\n".join("" if line.startswith(("%", "!")) else line for line in lines)


NOT_PYTHON = ast.Module([])


@cache  # a hundred copies of one notebook are asked about in the tests
def parsed(source: str) -> ast.Module:
    """Return the Python of a cell or a file, an empty module, NOT_PYTHON, if it isn't."""
    try:
        return ast.parse(without_magics(source))
    except (SyntaxError, ValueError):  # the latter for a null character, before Python 3.12
        return NOT_PYTHON


def task_names(root: Path) -> set[str]:
    """Return the names that the top-level Python files define, without what they import."""
    names: set[str] = set()
    for path in root.glob("*.py"):
        for node in parsed(path.read_text(encoding="utf-8")).body:  # a broken file defines nothing
            is_path = "__file__" in ast.unparse(node)  # by which to read a file
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and not is_path:
                names |= stored_names(ast.walk(node))
    return names


def imported_names(root: Path) -> set[str]:
    """Return the names that the top-level Python files import, and %run pours into the notebook."""
    nodes = (n for p in root.glob("*.py") for n in ast.walk(parsed(p.read_text(encoding="utf-8"))))
    imports = (node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))
    return {alias.asname or alias.name for node in imports for alias in node.names}


def own_names(sources: Iterable[str]) -> set[str]:
    """Return the names that the cells themselves give values to."""
    names: set[str] = set()
    for source in sources:
        nodes = list(ast.walk(parsed(source)))
        names |= stored_names(nodes) | {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {name for name in names if name == "_" or not name.startswith("_")}


def stored_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that these nodes give values to."""
    names: set[str | None] = set()
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case (
                ast.FunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=name)
                | ast.MatchAs(name=name)
                | ast.MatchStar(name=name)
                | ast.MatchMapping(rest=name)
            ):
                names.add(name)
    return {name for name in names if name}
