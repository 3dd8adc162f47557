"""Of a zip only the task files and one notebook are read, whatever else it is."""

import io
import json
import stat
import struct
import tracemalloc
import warnings
import zipfile

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, writes

from course.handed import MAX_CODE, MAX_DIRECTORY, MAX_ENTRIES, MAX_PARTS, read_zip
from tests.course_files import zipped

CODE = {f"{name}.py": f"# {name}\n" for name in ("task2a", "task2", "task3", "task4")}
NOTEBOOK = writes(new_notebook(cells=[new_markdown_cell("# A"), new_code_cell("1")]))


@pytest.fixture
def read(tmp_path):
    def of(content):
        path = tmp_path / "hand-in.zip"
        path.write_bytes(content if isinstance(content, bytes) else zipped(content))
        return read_zip(path)

    return of


def info(name, mode):
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, mode << 16
    return entry


@pytest.mark.parametrize("folder", ["", "assignment2/", "group 7/Øving 2/", "./"])
def test_files_may_lie_at_the_top_or_in_a_folder(read, folder):
    files = {folder + name: text for name, text in (CODE | {"My report.ipynb": NOTEBOOK}).items()}
    handed = read(files)
    assert {name: content.decode() for name, content in handed.code.items()} == CODE
    assert [cell.source for cell in handed.notebook.cells] == ["# A", "1"]
    assert handed.notes == []


@pytest.mark.parametrize(
    "other",
    [
        *("conftest.py", "tests/test_x.py", "course/rubric.py", "utils.py", "sitecustomize.py"),
        *(".git/config", "numpy.py", "data/x.gz", "pytest.ini", "assignment2.pdf", "a.pth"),
    ],
)
def test_other_files_are_not_looked_at(read, other):
    handed = read(CODE | {"a.ipynb": NOTEBOOK, other: "x"})
    assert handed.code.keys() == CODE.keys()
    assert f"not looked at: '{other}'" in handed.notes


@pytest.mark.parametrize(
    "extra",
    ["__MACOSX/._task2a.py", ".ipynb_checkpoints/a-checkpoint.ipynb", "__MACOSX/x/task2.py"],
)
def test_what_computers_add_is_no_file_of_ours(read, extra):
    handed = read(CODE | {"a.ipynb": NOTEBOOK, extra: "x"})
    assert handed.code["task2.py"].decode() == CODE["task2.py"]
    assert handed.notebook


@pytest.mark.parametrize("folder", [".ipynb_checkpoints", ".git/x", "__MACOSX/y"])
@pytest.mark.parametrize("around", ["", "report/"])
def test_a_report_elsewhere_counts_whatever_is_hidden(read, folder, around):
    extra = dict.fromkeys([f"{around}{folder}/a.ipynb", f"{around}{folder}/task2.py"], NOTEBOOK)
    handed = read(in_folder("code/", CODE) | {"report/a.ipynb": NOTEBOOK} | extra)
    assert handed.code["task2.py"].decode() == CODE["task2.py"]
    assert handed.notebook


def test_a_folder_of_old_files_below_is_left_out(read):
    handed = read(CODE | {"a.ipynb": NOTEBOOK, "old/task2a.py": "raise", "old/b.ipynb": "x"})
    assert handed.code["task2a.py"] == b"# task2a\n"
    assert "of 2 folders with such files, only the top counts" in handed.notes


def in_folder(folder, files):
    return {folder + name: text for name, text in files.items()}


LAYOUTS = {
    "code and report apart": in_folder("x/code/", CODE) | {"x/report/a.ipynb": NOTEBOOK},
    "code below the report": in_folder("x/src/", CODE) | {"x/a.ipynb": NOTEBOOK},
    "report below the code": in_folder("x/", CODE) | {"x/notebooks/a.ipynb": NOTEBOOK},
    "another course above": in_folder("x/assignment2/", CODE | {"a.ipynb": NOTEBOOK})
    | {"x/assignment1.ipynb": "no notebook"},
    "another exercise beside": in_folder("assignment2/", CODE | {"a.ipynb": NOTEBOOK})
    | {"assignment1/task2.py": "raise", "assignment1/b.ipynb": "no notebook"},
    "a colon": in_folder("TDT4265: assignment 2/", CODE | {"a.ipynb": NOTEBOOK}),
}


@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS)
def test_the_folder_with_all_task_files_counts(read, files):
    handed = read(files)
    assert {name: content.decode() for name, content in handed.code.items()} == CODE
    assert [cell.source for cell in handed.notebook.cells] == ["# A", "1"]


def test_of_incomplete_folders_the_uppermost_counts(read):
    some = {name: CODE[name] for name in ("task2a.py", "task2.py", "task3.py")}
    handed = read(in_folder("a/", {"task3.py": CODE["task3.py"]}) | in_folder("a/b/", some))
    assert handed.code.keys() == {"task3.py"}
    assert "of 2 folders with such files, only 'a' counts" in handed.notes


def test_two_complete_folders_side_by_side_are_refused(read):
    handed = read(in_folder("a/", CODE) | in_folder("b/", CODE) | {"a.ipynb": NOTEBOOK})
    assert handed.code == {}
    assert handed.notes == ["has task files in 2 folders, expected one"]


def test_of_two_notebooks_elsewhere_none_is_taken(read):
    handed = read(in_folder("x/", CODE) | {"y/a.ipynb": NOTEBOOK, "z/a.ipynb": NOTEBOOK})
    assert handed.notebook is None
    assert "holds 0 notebooks, expected one" in handed.notes


def test_two_folders_side_by_side_are_refused(read):
    handed = read({"a/task2a.py": "", "b/task2.py": ""})
    assert handed.code == {}
    assert handed.notes == ["has task files in 2 folders, expected one"]


@pytest.mark.parametrize("place", ["../task2a.py", "/task2a.py", "C:/task2a.py", "..\\task2a.py"])
def test_places_outside_are_no_places(read, place):
    handed = read({place: "x = 1"})
    assert handed.code.keys() <= {"task2a.py"}
    assert all("/" not in name and "\\" not in name for name in handed.code)


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices_are_refused(read, mode):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(info("task2a.py", mode), "/etc/passwd")
        file.writestr("task2.py", "x = 1")
    handed = read(buffer.getvalue())
    assert handed.code == {"task2.py": b"x = 1"}
    assert "task2a.py is no regular file" in handed.notes


def test_a_file_that_is_there_twice_is_refused(read):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("task2a.py", "x = 1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("task2a.py", "x = 2")
    assert read(buffer.getvalue()).notes == ["task2a.py is in it twice, expected once"]


@pytest.mark.parametrize("way", ["encrypted", "compressed in another way", "a link", "large"])
@pytest.mark.parametrize("first", ["task2a.py", "./task2a.py"])
def test_a_first_file_that_cannot_be_read_makes_no_room_for_a_second(first, way, read):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        mode = stat.S_IFLNK if way == "a link" else stat.S_IFREG
        method = zipfile.ZIP_BZIP2 if way == "compressed in another way" else zipfile.ZIP_STORED
        text = bytes(MAX_CODE + 1) if way == "large" else b"x = 1"
        file.writestr(info(first, mode | 0o644), text, method)
        with warnings.catch_warnings(action="ignore"):
            file.writestr("task2a.py", "x = 2")
    content = bytearray(buffer.getvalue())
    if way == "encrypted":
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
    handed = read(bytes(content))
    assert handed.code == {}
    assert handed.notes == ["task2a.py is in it twice, expected once"]


@pytest.mark.parametrize("claimed", [None, 10])
def test_a_bomb_is_not_unpacked(read, claimed):
    content = zipped({"task2a.py": bytes(60 * MAX_CODE)})
    if claimed:  # the size in the directory is a lie
        place = content.rindex(b"PK\x01\x02") + 24
        content = content[:place] + struct.pack("<I", claimed) + content[place + 4 :]
    tracemalloc.start()
    handed = read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MAX_CODE
    assert handed.code.get("task2a.py", b"") == b""
    assert any(note.startswith("task2a.py") for note in handed.notes)


def test_too_many_files_are_refused(read):
    handed = read({f"{n}.txt": "" for n in range(MAX_ENTRIES)} | CODE)
    assert handed.code == {}


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("comment", [b"", b"a comment"])
def test_a_large_directory_is_not_read(comment, zip64, read, monkeypatch):
    monkeypatch.setattr("zipfile.ZipFile", lambda *arguments: pytest.fail("read"))
    entry = b"PK\1\2" + bytes(42)
    directory = entry * (MAX_DIRECTORY // len(entry) + 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, len(directory), 0, len(comment))
    if zip64:
        at, size = len(directory), len(directory)
        directory += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 9, 9, size, 0)
        directory += struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 2**32 - 1, 0, len(comment))
    assert read(directory + end + comment).notes == [
        f"holds too many files, expected {MAX_ENTRIES} at most"
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(read, method):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("task2a.py", "x = 1")
    assert read(buffer.getvalue()).code == {}


def test_an_encrypted_file_is_named(read):
    content = bytearray(zipped({"task2a.py": "x = 1"}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert any("task2a.py is encrypted" in note for note in read(bytes(content)).notes)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18), zipped(CODE)[:-40]])
def test_what_is_no_zip_is_a_note(read, content):
    handed = read(content)
    assert handed.code == {}
    assert handed.notebook is None
    assert handed.notes


def test_a_missing_zip_is_a_note(tmp_path):
    assert "cannot be read" in read_zip(tmp_path / "none.zip").notes[0]


@pytest.mark.parametrize("size", [20, 50, 80, 100])
def test_a_damaged_file_costs_no_other(read, size):
    content = bytearray(zipped({"task2a.py": "y = 2\n" * 999, "task2.py": "x = 1"}))
    content[size] ^= 255
    handed = read(bytes(content))
    assert handed.code.get("task2.py", b"x = 1") == b"x = 1"


@pytest.mark.parametrize(
    "notebook",
    [
        *("", "[]", "{}", "null", "[" * 100_000, '{"cells": 1}', "\0", "{" * 1000),
        json.dumps({"cells": [1], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}),
        json.dumps({"cells": [{"cell_type": "code"}], "nbformat": 4, "nbformat_minor": 5}),
        json.dumps({"nbformat": 10**30, "cells": []}),
        *(NOTEBOOK.replace('"nbformat_minor": 5', f'"nbformat_minor": {n}') for n in (6, 99, 5.5)),
        NOTEBOOK.replace("# A", r"\ud800"),
        NOTEBOOK.replace('"metadata": {}', r'"attachments": {"\udc00": {}}, "metadata": {}', 1),
    ],
)
def test_a_notebook_that_is_none_costs_no_code(read, notebook):
    handed = read(CODE | {"a.ipynb": notebook})
    assert handed.code.keys() == CODE.keys()
    assert handed.notebook is None
    assert any("notebook cannot be read" in note for note in handed.notes)


@pytest.mark.parametrize("notebooks", [[], ["a.ipynb", "b.ipynb"]])
def test_one_notebook_is_expected(read, notebooks):
    handed = read(CODE | dict.fromkeys(notebooks, NOTEBOOK))
    assert handed.notebook is None
    assert f"holds {len(notebooks)} notebooks, expected one" in handed.notes


def test_many_notebooks_are_not_unpacked(read, monkeypatch):
    monkeypatch.setattr("course.handed.read_entry", lambda file, entry: pytest.fail(entry.filename))
    assert read({f"{n}.ipynb": "" for n in range(9)}).notebook is None


@pytest.mark.parametrize("part", ["{}", "[]", "1"])
def test_a_notebook_of_too_many_parts_is_not_parsed(part, read, monkeypatch):
    monkeypatch.setattr("nbformat.reads", lambda *arguments, **options: pytest.fail("parsed"))
    handed = read(CODE | {"a.ipynb": f"[{','.join([part] * (MAX_PARTS + 2))}]"})
    assert f"its notebook has more than {MAX_PARTS} parts" in handed.notes


def test_metadata_of_a_notebook_go(read):
    cell = new_code_cell("1", metadata={"tags": ["nbval-skip", "raises-exception"]})
    notebook = new_notebook(
        cells=[cell], metadata={"kernelspec": {"name": "mine", "display_name": "Mine"}}
    )
    handed = read({"a.ipynb": writes(notebook)})
    assert (handed.notebook.metadata, handed.notebook.cells[0].metadata) == ({}, {})
