"""What the tests of the course share: the solution's references, starters, and broken hand-ins."""

import functools
import io
import shutil
import zipfile
from pathlib import Path

import pytest

from course import box
from course.asking import Patience
from course.grading import grade, references
from course.rubric import ROWS
from course.starter import starter_files, write

ROOT = Path(__file__).resolve().parent.parent
SEED = 41
PATIENCE = Patience()
SHORT = Patience(statement=1, row=0.6, total=10)
needs_box = pytest.mark.skipif(box.why_no_box() is not None, reason=str(box.why_no_box()))


@functools.cache
def expected():
    return references(ROOT, SEED)


@functools.cache
def starter():
    return starter_files(ROOT)


def unpack(folder, files=None):
    """Lay files over the starter, the solution's where they are None."""
    write(starter(), folder)
    for name, text in (files or {}).items():
        if text is None:
            shutil.copy(ROOT / name, folder / name)
        else:
            (folder / name).write_text(text, "utf-8")
    return folder


def lost(folder, *, boxed=False, patience=PATIENCE):
    """Return why, for each row without points."""
    results = grade(folder, SEED, expected(), boxed=boxed, patience=patience)
    return {row.key: why for row, why in results if why is not None}


def points(folder):
    without = lost(folder, boxed=True, patience=SHORT)
    return sum(row.points for row in ROWS if row.key not in without)


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()
