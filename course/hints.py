"""What a person may want to look at in a hand-in: never a verdict, and no points depend on it."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from course.worker import TASK_FILES

NEEDED = {  # by a report
    *TASK_FILES,
    *("utils", "report", "numpy", "matplotlib", "mpl_toolkits", "IPython", "joblib", "tqdm"),
    *("__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "enum", "functools"),
    *("itertools", "json", "math", "numbers", "operator", "pathlib", "pprint", "random"),
    *("statistics", "string", "textwrap", "time", "types", "typing", "warnings"),
}
# what of a source is no plain code, as far as quotes end; the rest of a command is no code either
TOKEN = re.compile(
    r"""
    (?P<text> \"{3} (?: [^"\\]++ | \\. | "(?!"") )*+ \"{3} | " (?: [^"\\\n]++ | \\. )*+ "?
            | \'{3} (?: [^'\\]++ | \\. | '(?!'') )*+ \'{3} | ' (?: [^'\\\n]++ | \\. )*+ '? )
    | (?: ^[ \t]* | =[ \t]* ) (?P<command> (?: ! | %%?(?=[^\W\d]) ) (?: \\\n | [^\n] )*+ )
    | \#[^\n]*+ | (?: \\. )++
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
SPACE = r"[ \t\f]"
IMPORT = re.compile(
    rf"(?<![\w.])(?:from\b{SPACE}*([\w.]+){SPACE}+import\b|import{SPACE}+([\w., \t\f]+))"
)
# what runs any text as code; in texts only as calls, which formatted ones may hold
RUNNING = re.compile(r"(?<![\w.])(?:exec|eval|__import__|__builtins__|get_ipython)\b")
CALLING = re.compile(r"(?<![\w.])(?:exec|eval)(?=\s*\()|__import__|__builtins__")
COMMANDS = {"%autoreload", "%config", "%matplotlib", "%time", "%timeit", "%%time", "%%timeit"}
COMMANDS |= {f"%run {name}.py" for name in (*TASK_FILES, "utils")}
COMMANDS |= {"%load_ext autoreload", "%reload_ext autoreload"}
# letters that Python reads as others in names
NAMES = ((n, unicodedata.normalize("NFKC", chr(n))) for n in range(128, 0x1D800))
ALIKE = {n: name for n, name in NAMES if len(name) == 1 and name.isascii() and name.isidentifier()}
MAX_CODE = 3_000_000  # letters that are searched
SHOWN = 8  # imports that are named


def imported(source: str) -> Iterator[str]:
    """Return the packages that a source imports, in its order, and what else it may run.

    It is searched, not parsed: a source may be made to break a parser.
    """
    commands: dict[str, None] = {}

    def plain_code(found: re.Match) -> str:
        if found["command"]:
            words = found["command"][:1000].replace("\\\n", " ").split()
            name = " ".join(words[:2])
            if {words[0], name}.isdisjoint(COMMANDS):
                commands[name] = None
            return re.sub("[\"'\\\\]", " ", found[0])  # %time may be in front of code
        return f" {' '.join(CALLING.findall(found['text'] or ''))} "

    if len(source) > MAX_CODE:
        yield f"more than {MAX_CODE} letters"
    lines = source[:MAX_CODE].replace("\r\n", "\n").replace("\r", "\n")
    code = TOKEN.sub(plain_code, lines).translate(ALIKE)
    for found in IMPORT.finditer(code):
        for name in (found[1] or found[2]).split(","):
            if name.strip():
                yield name.split()[0].partition(".")[0]
    yield from commands
    yield from dict.fromkeys(RUNNING.findall(code))


def unneeded_imports(sources: Mapping[str, str]) -> Iterator[str]:
    """Say which imports and commands of the sources, by the name of each, no report needs."""
    names = {name: files for files, text in sources.items() for name in imported(text)}
    others = sorted(name for name in names.keys() - NEEDED if name)
    if others:
        some = ", ".join(f"{name:.30} ({names[name]})" for name in others[:SHOWN])
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        yield f"imports or commands that a report does not need: {some}{more}"


def own_cells(notebook: Mapping, starter: Mapping) -> dict[str, list[str]]:
    """Return what cells of code and of text say that the starter's do not, without spaces."""
    theirs = set(map(squeezed, starter["cells"]))
    cells: dict[str, list[str]] = {"code": [], "text": []}
    for cell in notebook["cells"]:
        said = squeezed(cell)
        if said and said not in theirs:
            cells["code" if cell["cell_type"] == "code" else "text"].append(said)
    return cells


def squeezed(cell: Mapping) -> str:
    """Return a cell's source without spaces and line breaks."""
    return "".join("".join(cell["source"]).split())


def digests(notebook: Mapping, starter: Mapping) -> dict[str, str]:
    """Return a digest of a notebook's own code and one of its own text, as far as it has any."""
    return {
        kind: hashlib.sha256("\n".join(cells).encode(errors="replace")).hexdigest()
        for kind, cells in own_cells(notebook, starter).items()
        if cells
    }


def equal_to(found: Mapping[str, str], owners: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Say whose notebooks have the same code or text.

    Args:
        found: the digests of one.
        owners: the names of the others that have a digest.
    """
    kinds: dict[str, list[str]] = {}
    for kind, digest in found.items():
        if names := list(islice(owners.get(digest, ()), SHOWN + 1)):
            some = ", ".join(names[:SHOWN]) + (" and others" if len(names) > SHOWN else "")
            kinds.setdefault(some, []).append(kind)
    for some, same in kinds.items():
        yield f"its notebook has the {' and '.join(same)} of {some}"
