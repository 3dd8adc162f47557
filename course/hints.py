"""What a person may want to look at in a hand-in: never a verdict, and no points depend on it."""

import hashlib
import re
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
IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([\w., \t]+))", re.M)
SHOWN = 8  # imports that are named


def imported(source: str) -> Iterator[str]:
    """Return the packages that a source imports, in its order.

    It is searched, not parsed: a source may be made to break a parser.
    """
    for found in IMPORT.finditer(source):
        for name in (found[1] or found[2]).split(","):
            if name.strip():
                yield name.split()[0].partition(".")[0]
    if "__import__" in source:
        yield "__import__"


def unneeded_imports(sources: Mapping[str, str]) -> Iterator[str]:
    """Say which imports of the sources, by the name of each, no report needs."""
    names = {name: files for files, text in sources.items() for name in imported(text)}
    others = sorted(name for name in names.keys() - NEEDED if name)
    if others:
        some = ", ".join(f"{name:.30} ({names[name]})" for name in others[:SHOWN])
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        yield f"imports that a report does not need: {some}{more}"


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
