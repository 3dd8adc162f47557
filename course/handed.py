"""Read what was handed in, and nothing else: four task files and one notebook from a zip."""

import json
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import nbformat

from course.box import MB
from course.worker import TASK_FILES

CODE = tuple(f"{name}.py" for name in TASK_FILES)
MAX_ZIP, MAX_ENTRIES, MAX_CODE, MAX_NOTEBOOK = 100 * MB, 5000, MB, 30 * MB
MAX_DIRECTORY = 4 * MB  # of a zip, which zipfile reads as a whole
MAX_PARTS = 500_000  # of a notebook's JSON, each of which takes much more memory than file
MAX_MINOR = 5  # of nbformat 4; for later ones nbformat allows whatever there is
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class HandIn(NamedTuple):
    """The files that count, by name, and what was left out or is wrong, a line each."""

    code: dict[str, bytes]
    notebook: nbformat.NotebookNode | None
    notes: list[str]


def read_zip(path: Path) -> HandIn:
    """Return what is in a zip; whatever is wrong with it is a note and no error."""
    try:
        if path.stat().st_size > MAX_ZIP:
            return HandIn({}, None, [f"{path.name} has more than {MAX_ZIP // MB} MB"])
        with path.open("rb") as stream:
            end = zipfile._EndRecData(stream)  # what ZipFile itself goes by
            if end and end[zipfile._ECD_SIZE] > MAX_DIRECTORY:
                return HandIn({}, None, [f"holds too many files, expected {MAX_ENTRIES} at most"])
            with zipfile.ZipFile(stream) as file:
                return read_entries(file)
    except OSError as error:
        return HandIn({}, None, [f"{path.name} cannot be read ({error.strerror})"])
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        return HandIn({}, None, [f"{path.name} is no zip that can be read ({error!s:.80})"])


def read_entries(file: zipfile.ZipFile) -> HandIn:
    """Return the files that count: of the uppermost folder that has all task files, or any.

    The notebook is the one beside them or, if there is none, the only one elsewhere.
    """
    if len(entries := file.infolist()) > MAX_ENTRIES:
        return HandIn({}, None, [f"holds {len(entries)} files, expected {MAX_ENTRIES} at most"])
    ours = {entry: place for entry in entries if (place := our_place(entry.filename))}
    names: dict[PurePosixPath, set[str]] = {}  # of task files by folder
    for place in ours.values():
        names.setdefault(place.parent, set()).update({place.name} & set(CODE))
    complete = [folder for folder, files in names.items() if len(files) == len(CODE)]
    some = complete or [folder for folder, files in names.items() if files] or [*names]
    folders = sorted(some, key=lambda folder: (len(folder.parts), folder))
    notes = []
    if len(folders) > 1:
        depths = Counter(len(folder.parts) for folder in folders)
        if depths[len(folders[0].parts)] > 1:
            return HandIn({}, None, [f"has task files in {len(folders)} folders, expected one"])
    if len(names) > 1:
        only = "the top" if folders[0] == PurePosixPath() else repr(str(folders[0]))[:40]
        notes.append(f"of {len(names)} folders with such files, only {only} counts")
    chosen = {entry: place for entry, place in ours.items() if place.parent == folders[0]}
    all_notebooks = {e: place for e, place in ours.items() if place.suffix == ".ipynb"}
    if len(all_notebooks) == 1:  # wherever it is
        chosen |= all_notebooks
    notebooks = [entry for entry in chosen if entry in all_notebooks]
    # several are not read, which could be as many as fill the memory
    unread = set(notebooks) if len(notebooks) > 1 else set()
    times = Counter(place.name for place in chosen.values())
    if twice := [name for name, number in times.items() if number > 1]:
        return HandIn({}, None, [f"{name} is in it twice, expected once" for name in twice])
    contents: dict[str, bytes] = {}
    for entry, place in chosen.items():
        if entry not in unread:
            content = read_entry(file, entry)
            if isinstance(content, str):
                notes.append(f"{place.name} {content}")
            else:
                contents[place.name] = content
    notes += left_out([entry.filename for entry in entries if entry not in ours])
    code = {name: content for name, content in contents.items() if name in CODE}
    notes += [f"{name} is missing" for name in CODE if name not in code]
    if len(notebooks) != 1:
        return HandIn(code, None, [*notes, f"holds {len(notebooks)} notebooks, expected one"])
    read = contents.get(chosen[notebooks[0]].name)
    notebook, why = read_notebook(read) if read is not None else (None, [])
    return HandIn(code, notebook, notes + why)


def our_place(name: str) -> PurePosixPath | None:
    """Return where a task file or a notebook lies in the zip, None for all other files."""
    place = PurePosixPath(name.replace("\\", "/"))
    hidden = any(part.startswith((".", "__MACOSX")) for part in place.parts)
    if hidden or place.is_absolute() or re.match("[A-Za-z]:", name) or name.endswith("/"):
        return None
    return place if place.name in CODE or place.suffix == ".ipynb" else None


def left_out(names: list[str]) -> Iterator[str]:
    """Say what is not looked at."""
    others = [n for n in names if not n.endswith("/") and not n.startswith("__MACOSX")]
    if others:
        some = ", ".join(f"{name!r:.40}" for name in others[:4])
        more = f" and {len(others) - 4} more" if len(others) > 4 else ""
        yield f"not looked at: {some}{more}"


def read_entry(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes | str:
    """Return the content of a file, or in words why not."""
    limit = MAX_CODE if entry.filename.endswith(".py") else MAX_NOTEBOOK
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is no regular file"
    if entry.flag_bits & 1 or entry.compress_type not in READABLE:
        return "is encrypted, or compressed in another way than zips usually are"
    try:
        with file.open(entry) as stream:
            content = stream.read(limit + 1)
    except Exception as error:  # of a damaged zip, zipfile raises whatever it stumbles over
        return f"cannot be read ({error!s:.60})"
    return content if len(content) <= limit else f"has more than {limit // MB} MB"


def read_notebook(content: bytes) -> tuple[nbformat.NotebookNode | None, list[str]]:
    """Return a notebook with what counts in it, or in words why there is none.

    All metadata go: they could tell a test to skip a cell, and its kernel what to be.
    """
    if max(map(content.count, (b"{", b"[", b","))) > MAX_PARTS:
        return None, [f"its notebook has more than {MAX_PARTS} parts"]
    try:
        notebook = nbformat.reads(content.decode("utf-8-sig"), as_version=4)
        if notebook.nbformat_minor > MAX_MINOR:
            raise ValueError(f"nbformat_minor is {notebook.nbformat_minor}")
        for cell in notebook.cells:
            cell.metadata = nbformat.NotebookNode()
        notebook.metadata = nbformat.NotebookNode()
        nbformat.validate(notebook)
        json.dumps(notebook, ensure_ascii=False).encode()  # half a character cannot be written
    except Exception as error:  # nbformat's have no base class of their own
        return None, [f"its notebook cannot be read ({type(error).__name__}: {error!s:.60})"]
    return notebook, []
