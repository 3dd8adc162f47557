import base64
import codecs
import errno
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from PIL import Image, ImageOps

import handin

compile_typst = handin.typst.compile

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="70pt" height="35pt"><path d="M0 0L9 9"/></svg>'
)
PNG = io.BytesIO()
Image.new("RGB", (8, 4)).save(PNG, "png")
PNG = base64.b64encode(PNG.getvalue()).decode()


def shown(data, **metadata):
    return new_output("display_data", data, metadata=metadata)


def code(source, *outputs, count=1):
    return new_code_cell(source, outputs=list(outputs), execution_count=count)


def notebook(*cells):
    cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    return new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


REPORT = notebook(
    "# A *title* with $\\alpha$\nFirst words.",
    code("%load_ext autoreload"),
    "## Task 1\n$$\\begin{aligned} a &= \\mathbf{b} \\\\ &= c \\end{aligned}$$",
    code("print(2)", new_output("stream", text="second words\n"), shown({"text/html": ""})),
    "### Task 1a\nA note[^1].\n\n[^1]: Third words",
    code("table()", shown({"text/markdown": "| net | loss |\n|---|---:|\n| 3c | 0.1471 |\n"})),
    code("plot()", shown({"image/svg+xml": SVG, "image/png": PNG, "text/plain": "<Figure>"})),
    "## Task 2\nLast words",
)


def typst(*cells, show_code=True):
    """What becomes of cells in Typst, before anything had to be given up."""
    sources = []

    def keep(source, **_):
        sources.append(source.decode())
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handin.typst, "compile", keep)
        with suppress(KeyboardInterrupt):
            handin.export(notebook(*cells), Path("Untitled.ipynb"), {}, code=show_code)
    return readable(sources[-1])


def readable(source):
    """Typst without what is only there in case that it is refused."""
    source = re.sub(r"#\{//.*\n\s*let to = .*label\((.*?)\).*\n\s*to\[", r"#link(\1)[", source)
    source = re.sub(r"#\{//.*\n\s*let to = it => it\n\s*to\[", "[", source)
    source = re.sub(r"#\{//\x02.*\n\s*(.*)\n\s*\};", r"\1", source)
    return re.sub(r"(?m)^//\x02.*\n|^\s*\};", "", source)


def exported(*cells, path=Path("Untitled.ipynb"), **about):
    """A notebook's PDF, and the Typst that it was made of after all that had to be given up."""
    sources = []

    def compile_and_keep(source, **options):
        sources.append(source.decode())
        return compile_typst(source, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handin.typst, "compile", compile_and_keep)
        pdf = handin.export(notebook(*cells), path, about)
    return pdf, readable(sources[-1])


def is_accessible(pdf):
    return b"<pdfuaid:part>1</pdfuaid:part>" in pdf


def content(directory):
    files = (path for path in directory.iterdir() if path.is_file())
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture
def place(tmp_path):
    """Make a notebook and older results, which a failure must not touch."""

    def make(*cells):
        nbformat.write(notebook(*cells), tmp_path / "report.ipynb")
        (tmp_path / "report.pdf").write_text("old")
        (tmp_path / "report.zip").write_text("old")
        return content(tmp_path)

    return make


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory):
    """A notebook that was executed and exported from the command line."""
    directory = tmp_path_factory.mktemp("handed_in")
    for name in ("task2.py", "conftest.py", "handin.py", "utils.py", "requirements.txt"):
        (directory / name).write_text("ANSWER = 42\n")
    loop = "from task2 import ANSWER\nfor i in range(9): print(i, flush=True)"
    nb = notebook("# Title", new_code_cell(loop), new_code_cell("ANSWER"))
    nb.metadata.kernelspec = {"name": "other", "display_name": ".venv (Python 3)"}
    nbformat.write(nb, directory / "report.ipynb")
    command = [sys.executable, handin.__file__, directory / "report.ipynb", "--author=Ada L."]
    subprocess.run([*command, "--id=group 7"], check=False, capture_output=True)
    subprocess.run(command, check=True, capture_output=True)
    return directory


def run(directory, *options):
    """Hand in a directory's notebook as it is stored."""
    return handin.main([str(directory / "report.ipynb"), "--no-execute", *options])


# ---- handing in


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_counts_cells_in_a_terminal_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    handin.execute(notebook("# A", code("1")), tmp_path, fresh=False)
    *_, last, rest = sys.stderr.getvalue().split("\r")
    assert "1/2" in sys.stderr.getvalue()
    assert (last.strip(), rest) == ("", "")


def test_hand_in_writes_pdf_zip_and_executed_notebook(handed_in):
    made = {"report.ipynb", "report.pdf", "report.zip"}
    assert made <= content(handed_in).keys()
    assert is_accessible(content(handed_in)["report.pdf"])
    cell = nbformat.read(handed_in / "report.ipynb", 4).cells[2]
    assert cell.outputs[0].data["text/plain"] == "42"


def test_hand_in_stores_neither_times_nor_pieces_of_a_stream(handed_in):
    cell = nbformat.read(handed_in / "report.ipynb", 4).cells[1]
    assert len(cell.outputs) == 1
    assert cell.metadata == {}


def test_hand_in_stores_the_kernel_that_ran_and_not_an_editors_name_for_it(handed_in):
    metadata = nbformat.read(handed_in / "report.ipynb", 4).metadata
    assert metadata.kernelspec == handin.KERNELSPEC
    assert metadata.keys() == {"kernelspec", "language_info"}


def test_zip_holds_the_executed_notebook_and_what_else_students_edit(handed_in):
    with zipfile.ZipFile(handed_in / "report.zip") as file:
        assert file.namelist() == ["report.ipynb", "task2.py"]
        assert file.read("report.ipynb") == content(handed_in)["report.ipynb"]


def test_two_runs_give_the_same_bytes(handed_in, tmp_path):
    for name in content(handed_in).keys() - {"report.pdf", "report.zip"}:
        (tmp_path / name).write_bytes((handed_in / name).read_bytes())
    assert handin.main([str(tmp_path / "report.ipynb"), "--author=Ada L."]) == 0
    assert content(tmp_path) == content(handed_in)


def test_modules_beside_the_notebook_win(tmp_path, monkeypatch):
    for folder in ("mine", "theirs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "words.py").write_text(f"said = {folder!r}\n")
    (tmp_path / "theirs" / "more.py").write_text("said = 'more'\n")
    source = "import words, more\nwords.said, more.said"
    nbformat.write(notebook(code(source)), tmp_path / "mine" / "a.ipynb")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "theirs"))
    assert handin.main([str(tmp_path / "mine" / "a.ipynb")]) == 0
    (cell,) = nbformat.read(tmp_path / "mine" / "a.ipynb", 4).cells
    assert cell.outputs[0].data["text/plain"] == "('mine', 'more')"


def test_files_in_the_zip_are_for_all_to_read_whatever_system_made_it():
    content = handin.archive(handin.NOTEBOOK, b"{}")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        entries = file.infolist()
    assert len(entries) == 5
    unix = 3
    assert {(e.create_system, e.external_attr) for e in entries} == {(unix, 0o644 << 16)}


@pytest.mark.parametrize(
    ("options", "said", "variable"), [([], "1 of 3", None), (["--fresh"], "0 of 3", "renew")]
)
def test_trainings_that_were_remembered_are_counted(
    options, said, variable, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "trainings"
    folder.mkdir()
    for name in ("used.npz", "other.npz"):
        (folder / name).touch()
        os.utime(folder / name, (9, 9))
    monkeypatch.setattr(handin, "trainings_folder", lambda: folder)
    monkeypatch.delenv("REMEMBERED_TRAININGS")
    source = f"""import os, pathlib
    for name in ("used.npz", "new.npz", "newer.npz"):
        (pathlib.Path({str(folder)!r}) / name).touch()
    print(os.environ.get("REMEMBERED_TRAININGS"))"""
    nbformat.write(notebook(code(source.replace("\n    ", "\n"))), tmp_path / "report.ipynb")
    assert handin.main([str(tmp_path / "report.ipynb"), *options]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{said} trainings were remembered, in {folder}"
    sizes = {name: len(held) for name, held in sorted(content(tmp_path).items())}
    del sizes["report.ipynb"]
    assert lines == [f"{tmp_path / name}: {size:,} bytes" for name, size in sizes.items()]
    (cell,) = nbformat.read(tmp_path / "report.ipynb", 4).cells
    assert cell.outputs[0].text == f"{variable}\n"


def test_no_execute_leaves_the_notebook_alone(tmp_path):
    nbformat.write(REPORT, tmp_path / "report.ipynb")
    os.utime(tmp_path / "report.ipynb", (0, 0))
    assert run(tmp_path) == 0
    assert (tmp_path / "report.ipynb").stat().st_mtime == 0
    assert content(tmp_path).keys() == {"report.ipynb", "report.pdf", "report.zip"}


@pytest.mark.parametrize("output", ["out", "out/report.pdf"])
def test_output_names_a_directory_or_a_file(output, tmp_path):
    nbformat.write(REPORT, tmp_path / "report.ipynb")
    (tmp_path / "out").mkdir()
    assert run(tmp_path, f"--output={tmp_path / output}") == 0
    assert content(tmp_path / "out").keys() == {"report.pdf", "report.zip"}


@pytest.mark.parametrize("name", ["group-7", "group.1", "7.zip"])
def test_id_and_date_stand_in_the_names_and_in_the_pdf(name, tmp_path, capsys):
    nbformat.write(notebook("# Title"), tmp_path / "report.ipynb")
    assert run(tmp_path, f"--id={name}", "--date=2026-11-26") == 0
    files = {"report.ipynb", f"report_{name}.pdf", f"report_{name}.zip"}
    assert content(tmp_path).keys() == files
    pdf = content(tmp_path)[f"report_{name}.pdf"]
    assert f"/Author ({name})".encode() in pdf
    assert b"/CreationDate (D:20261126" in pdf


@pytest.mark.parametrize("name", ["a/b", "../x", "a b", "é:"])
def test_id_that_names_no_file_is_refused(name, place, tmp_path, capsys):
    before = place("# Title")
    assert run(tmp_path, f"--id={name}") == 1
    assert f"--id is '{name}', expected letters, digits and . - _ only" in capsys.readouterr().err
    assert content(tmp_path) == before


@pytest.mark.parametrize("day", ["26.11.2026", "soon", "2026-02-30"])
def test_date_that_is_none_is_refused(day, place, tmp_path, capsys):
    before = place("# Title")
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, f"--date={day}")
    error = capsys.readouterr().err
    assert "[--date YYYY-MM-DD]" in error
    assert f"'{day}'" in error
    assert content(tmp_path) == before


def test_no_code_leaves_out_code_and_keeps_outputs():
    source = typst(*REPORT.cells, show_code=False)
    assert "print(2)" not in source
    assert "second words" in source


def test_no_code_of_the_command_line_reaches_the_exporter(tmp_path):
    nbformat.write(REPORT, tmp_path / "report.ipynb")
    sizes = []
    for options in ([], ["--no-code"]):
        run(tmp_path, *options)
        sizes.append((tmp_path / "report.pdf").stat().st_size)
    assert sizes[0] > sizes[1]


def test_tag_hides_the_source_of_a_cell_and_not_its_output():
    cells = [code(f"{tag} = 1", new_output("stream", text=f"by {tag}")) for tag in "abc"]
    for cell, tag in zip(cells, ("hide-input", "remove-input", "hide-cell"), strict=True):
        cell.metadata.tags = [tag]
    source = typst(*cells)
    assert [f"{tag} = 1" in source for tag in "abc"] == [False, False, True]
    assert all(f"by {tag}" in source for tag in "abc")


def test_pieces_of_a_stream_become_one_output():
    nb = notebook(code("1", *(new_output("stream", text=text) for text in ("a\n", "b\r", "c\n"))))
    _, source = exported(*nb.cells)
    assert "```output\na\nc\n```" in source
    assert len(nb.cells[0].outputs) == 3


@pytest.mark.parametrize(
    ("options", "authors"),
    [([], ["Ada", "Alan"]), (["--author=Emmy"], ["Emmy"]), (["--id=7"], ["Ada", "Alan"])],
)
def test_author_of_the_notebook_yields_to_the_one_given(options, authors, tmp_path):
    nb = notebook("x")
    nb.metadata.authors = [{"name": "Ada"}, {"name": "Alan"}]
    nbformat.write(nb, tmp_path / "report.ipynb")
    assert run(tmp_path, *options) == 0
    pdf = next(tmp_path.glob("*.pdf")).read_bytes()
    assert b"/Author (%b" % ", ".join(authors).encode() in pdf


@pytest.mark.parametrize(("option", "author"), [("--no-code", b"Anonymous"), ("--id=7", b"7")])
def test_who_hands_in_without_a_name_is_anonymous_or_the_id(option, author, tmp_path):
    nbformat.write(notebook("x"), tmp_path / "report.ipynb")
    assert run(tmp_path, option) == 0
    assert b"/Author (%b)" % author in next(tmp_path.glob("*.pdf")).read_bytes()


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_notebook_with_a_byte_order_mark_is_read_and_zipped_without(mark, tmp_path):
    encoding = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(
        mark, "utf-8"
    )
    text = nbformat.writes(notebook("# Størrelse"))
    (tmp_path / "report.ipynb").write_bytes(mark + text.encode(encoding))
    assert run(tmp_path) == 0
    with zipfile.ZipFile(tmp_path / "report.zip") as file:
        assert file.read("report.ipynb").decode() == text


def test_project_lies_anywhere(tmp_path):
    place = tmp_path / "min + øving-2"
    shutil.copytree(handin.REPORT, place / "report")
    shutil.copy(handin.__file__, place)
    nbformat.write(REPORT, place / "report.ipynb")
    command = [sys.executable, place / "handin.py", place / "report.ipynb", "--no-execute"]
    result = subprocess.run(command, capture_output=True)
    assert b"missing alt text, so the PDF is not PDF/UA-1" in result.stderr
    assert result.returncode == 0


def test_look_compiles_by_itself():
    look = handin.REPORT / "report.typ"
    assert compile_typst(str(look), ignore_system_fonts=True).startswith(b"%PDF")


# ---- other people's settings

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
CHATTER = {
    "an outdated key of matplotlib": (PLOT, {".config/matplotlib/matplotlibrc": "no.key: 1"}, {}),
    "its file elsewhere": (PLOT, {"rc": "no.key: 1"}, {"MATPLOTLIBRC": "{home}/rc"}),
    "its folder": (PLOT, {"mpl/matplotlibrc": "no.key: 1"}, {"MPLCONFIGDIR": "{home}/mpl"}),
    "its backend": (PLOT, {}, {"MPLBACKEND": "Agg"}),
    "no home": (PLOT, {}, {"HOME": "/dev/null"}),
    "IPython's start": ("1", {".ipython/profile_default/startup/a.py": "print = None; x = 1"}, {}),
    "its profile": (
        "1",
        {".ipython/profile_default/ipython_config.py": "c.InteractiveShell.xmode = 1"},
        {},
    ),
    "Python's start": ("1", {"a.py": "x = 1"}, {"PYTHONSTARTUP": "{home}/a.py"}),
    "its warnings": (
        "import warnings\nwarnings.warn('y', ImportWarning)",
        {},
        {"PYTHONWARNINGS": "always"},
    ),
}


@pytest.mark.parametrize(("source", "files", "settings"), CHATTER.values(), ids=CHATTER)
def test_settings_of_others_do_not_reach_the_report(source, files, settings, place, tmp_path):
    place(new_code_cell(source), new_code_cell("assert 'x' not in globals()\nprint(1)"))
    for name, text in files.items():
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).write_text(text)
    own = {name: value.format(home=tmp_path / "home") for name, value in settings.items()}
    environment = {**os.environ, "HOME": str(tmp_path / "home"), **own}
    command = [sys.executable, handin.__file__, tmp_path / "report.ipynb"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    first, second = nbformat.read(tmp_path / "report.ipynb", 4).cells
    types = [mime for output in first.outputs for mime in output.get("data", [output.get("name")])]
    assert types == {PLOT: ["image/png", "text/plain"], "1": ["text/plain"]}.get(source, [])
    assert [output.text for output in second.outputs] == ["1\n"]


# ---- printing decides nothing


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_console_that_lacks_a_letter_fails_nothing(encoding, tmp_path, monkeypatch):
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
    (tmp_path / "Łódź").mkdir()
    nbformat.write(notebook("$\\undefined{Ł}$"), tmp_path / "Łódź" / "report.ipynb")
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", errors)
    assert run(tmp_path / "Łódź") == 0
    assert b"report.pdf: " in output.buffer.getvalue()
    assert b"undefined" in errors.buffer.getvalue()


@pytest.mark.parametrize("streams", [">/dev/full", "2>/dev/full", "<&- >&- 2>&-"])
def test_console_that_is_full_or_closed_fails_nothing(streams, tmp_path):
    nbformat.write(notebook("$\\undefined$", new_code_cell("print(1)")), tmp_path / "report.ipynb")
    command = f'"{sys.executable}" "{handin.__file__}" "{tmp_path / "report.ipynb"}" {streams}'
    assert subprocess.run(command, shell=True).returncode == 0
    assert (tmp_path / "report.pdf").exists()


def test_console_that_has_gone_fails_nothing(tmp_path):
    nbformat.write(notebook("$\\undefined$"), tmp_path / "report.ipynb")
    command = [sys.executable, handin.__file__, tmp_path / "report.ipynb", "--no-execute"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.close()
        process.stderr.close()
        assert process.wait() == 0
    assert (tmp_path / "report.pdf").exists()


# ---- failing, without touching a file


def test_failing_cell_is_shown_and_stops(place, tmp_path, capsys):
    before = place("# Title", new_code_cell("1"), new_code_cell("x = 1 / 0"), new_code_cell("2"))
    assert handin.main([str(tmp_path / "report.ipynb")]) == 1
    error = capsys.readouterr().err
    for part in ("cell 3 of 4 failed", "\nx = 1 / 0\n", "ZeroDivisionError: division by zero"):
        assert part in error
    assert content(tmp_path) == before


def test_dying_kernel_stops(place, tmp_path, capsys):
    before = place(new_code_cell("import os; os._exit(1)"))
    assert handin.main([str(tmp_path / "report.ipynb")]) == 1
    assert "cell 1 of 1 failed" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_terminated_process_touches_no_file(place, tmp_path, tmp_path_factory):
    started = tmp_path_factory.mktemp("elsewhere") / "started"
    before = place(new_code_cell(f"import time\nopen({str(started)!r}, 'x')\ntime.sleep(60)"))
    command = [sys.executable, handin.__file__, tmp_path / "report.ipynb"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not started.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        error = process.stderr.read()
    assert process.returncode
    assert "Traceback" not in error
    assert content(tmp_path) == before


def test_interrupted_export_has_no_traceback(place, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    before = place("# Title")
    monkeypatch.setattr(handin, "export", interrupted)
    assert handin.main([str(tmp_path / "report.ipynb"), "--no-execute"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert content(tmp_path) == before


def test_missing_notebook_is_named(tmp_path, capsys):
    assert handin.main([str(tmp_path / "none.ipynb")]) == 1
    assert "none.ipynb is no notebook, or cannot be read" in capsys.readouterr().err
    assert content(tmp_path) == {}


def test_file_that_is_no_notebook_is_named(tmp_path, capsys):
    (tmp_path / "x.ipynb").write_text("{")
    assert handin.main([str(tmp_path / "x.ipynb")]) == 1
    assert "x.ipynb is no notebook" in capsys.readouterr().err


def test_notebook_never_executed_is_not_exported(place, tmp_path, capsys):
    before = place("# Title", code("1", count=None))
    assert handin.main([str(tmp_path / "report.ipynb"), "--no-execute"]) == 1
    assert "never executed" in capsys.readouterr().err
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "cells",
    [[code("x = 1")], [code("1", new_output("stream", text="1\n"), count=None)], []],
    ids=["without outputs", "without counts", "without code"],
)
def test_notebook_executed_in_any_way_is_exported(cells, tmp_path):
    nbformat.write(notebook("# Title", *cells), tmp_path / "report.ipynb")
    assert run(tmp_path) == 0


@pytest.mark.parametrize("name", ["out.txt", "out.PDF", "out", "no/out.pdf"])
def test_output_that_is_no_pdf_in_a_directory_is_refused(name, place, tmp_path, capsys):
    before = place("# Title")
    assert run(tmp_path, f"--output={tmp_path / name}") == 1
    assert "expected a directory that exists, or *.pdf in one" in capsys.readouterr().err
    assert content(tmp_path) == before


LATIN_1 = nbformat.writes(notebook("# Øving")).encode("latin-1")


@pytest.mark.parametrize(
    "held", [b"{", b"\xff\xfe\xff", '{"ø": 1}'.encode("latin-1"), LATIN_1], ids=range(4)
)
def test_file_that_is_no_notebook_is_named_whatever_it_holds(held, tmp_path, capsys):
    (tmp_path / "report.ipynb").write_bytes(held)
    assert run(tmp_path) == 1
    assert "report.ipynb is no notebook" in capsys.readouterr().err
    assert content(tmp_path) == {"report.ipynb": held}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EACCES, "close it where it is open"),
        (errno.EROFS, "give another --output"),
        (errno.EIO, "give another --output"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_write_that_fails_touches_no_file_and_gets_its_own_advice(
    call, number, advice, place, tmp_path, capsys, monkeypatch
):
    def fail(*_):
        raise OSError(number, "Some reason")

    before = place("# Title")
    monkeypatch.setattr(os if call == "fsync" else handin.Path, call, fail)
    assert run(tmp_path) == 1
    error = capsys.readouterr().err
    assert "report.pdf cannot be written (Some reason)" in error
    assert advice in error
    assert content(tmp_path) == before


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO])
def test_disk_that_allows_nothing_at_all_is_named(number, place, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError(number, "Some reason")

    before = place("# Title")
    nb = handin.read(tmp_path / "report.ipynb")
    monkeypatch.setattr(handin, "read", lambda _: nb)
    for call in ("open", "unlink", "replace"):
        monkeypatch.setattr(handin.Path, call, fail)
    assert run(tmp_path) == 1
    monkeypatch.undo()
    assert "report.pdf cannot be written (Some reason)" in capsys.readouterr().err
    assert content(tmp_path) == before


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Open"), KeyboardInterrupt()])
def test_second_file_that_is_not_moved_takes_the_first_back(
    error, old, place, tmp_path, monkeypatch
):
    def replace(self, target):
        if target.suffix == ".zip":
            raise error
        return move(self, target)

    before, move = place("# Title"), handin.Path.replace
    if not old:
        (tmp_path / "report.pdf").unlink()
        del before["report.pdf"]
    monkeypatch.setattr(handin.Path, "replace", replace)
    assert run(tmp_path) in (1, 130)
    assert content(tmp_path) == before


def test_file_that_is_replaced_keeps_its_mode(place, tmp_path):
    place("# Title")
    (tmp_path / "report.zip").chmod(0o640)
    assert run(tmp_path) == 0
    assert (tmp_path / "report.zip").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_file_system_without_fsync_is_no_failure(number, place, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(number, "Not supported")

    before = place("# Title")
    monkeypatch.setattr(os, "fsync", fail)
    assert run(tmp_path) == 0
    assert content(tmp_path)["report.pdf"] != before["report.pdf"]


@pytest.mark.parametrize("name", ["report.pdf", "report.zip"])
def test_target_that_cannot_be_written_is_found_before_executing(name, place, tmp_path, capsys):
    place(new_code_cell("open('ran', 'w')"))
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    before = content(tmp_path)
    assert handin.main([str(tmp_path / "report.ipynb")]) == 1
    assert f"{name} cannot be written" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_file_that_is_open_elsewhere_is_found_before_executing(
    place, tmp_path, capsys, monkeypatch
):
    def open_file(self, mode="r", *args, **options):
        if self.name == "report.pdf" and mode == "r+b":  # as Windows does, by a viewer
            raise PermissionError(errno.EACCES, "Used by another process")
        return opened(self, mode, *args, **options)

    opened = handin.Path.open
    before = place(new_code_cell("open('ran', 'w')"))
    monkeypatch.setattr(handin.Path, "open", open_file)
    assert handin.main([str(tmp_path / "report.ipynb")]) == 1
    assert (
        "report.pdf cannot be written (Used by another process), close it"
        in capsys.readouterr().err
    )
    assert content(tmp_path) == before


def test_output_in_no_directory_is_refused_before_executing(place, tmp_path, capsys):
    before = place(new_code_cell("1 / 0"))
    assert handin.main([str(tmp_path / "report.ipynb"), f"--output={tmp_path}/no/x.pdf"]) == 1
    assert "--output is" in capsys.readouterr().err
    assert content(tmp_path) == before


# ---- the document


def test_everything_keeps_its_order():
    source = typst(*REPORT.cells)
    parts = "First words", "%load_ext autoreload", "= Task 1\n", "bold(b)", "second words"
    parts += "== Task 1a\n", "Third words", "0.1471", "plot()", "image(", "= Task 2\n"
    places = [source.index(part) for part in (*parts, "Last words")]
    assert places == sorted(places)


def test_title_is_the_first_heading_and_appears_once():
    source = typst(*REPORT.cells)
    assert "A #emph[title] with formula($alpha$)], .." in source
    assert source.count("#emph[title]") == 1


def test_title_without_a_heading_is_the_name():
    assert "title: [Untitled]" in typst("Text")


def test_levels_of_headings_begin_with_one_and_leave_none_out():
    source = typst("# Title\n# A\n### B\n#### C\n## D\n# E")
    assert re.findall(r"(?m)^(=+) (\w)", source) == [
        *(("=", "A"), ("==", "B"), ("===", "C"), ("==", "D"), ("=", "E"))
    ]
    assert re.findall(r"(?m)^(=+) (\w)", typst("# Title\n### A\n#### B")) == [
        ("=", "A"),
        ("==", "B"),
    ]


def test_empty_output_leaves_nothing():
    with_empty = typst(code("1", shown({"text/html": ""}), shown({"text/plain": ""})))
    assert with_empty == typst(code("1"))


@pytest.mark.parametrize("other", [{"image/png": PNG}, {"application/pdf": "JVBERi0="}])
def test_svg_is_preferred(other, capsys):
    pdf, _ = exported(code("plot()", shown({**other, "image/svg+xml": SVG}, alt="a line")))
    assert b"/Subtype /Image" not in pdf
    assert is_accessible(pdf)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "metadata", [{"alt": 'a "b" \\c'}, {"image/svg+xml": {"alt": 'a "b" \\c'}}]
)
def test_alternative_text_reaches_the_pdf(metadata):
    pdf, _ = exported(code("plot()", shown({"image/svg+xml": SVG}, **metadata)))
    assert b'/Alt (a "b" \\\\c)' in pdf


@pytest.mark.parametrize(
    ("width", "expected"),
    [("30", "0.3125in"), ("50%", "50.0%"), ("3cm", "3cm"), ("9999px", "100%"), ("x", None)],
)
def test_width_of_a_picture_is_kept_within_the_page(width, expected):
    picture = f'<img src="data:image/png;base64,{PNG}" alt="a" width="{width}">'
    found = re.search(r"width: ([\w.%]+)", typst(picture))
    assert (found and found[1]) == expected


def test_local_and_attached_pictures_are_shown(tmp_path):
    cell = new_markdown_cell("![x](attachment:a.png) ![y](<attachment:b c.svg>) ![z](d%20e.jpg)")
    svg = base64.b64encode(SVG.encode()).decode()  # as JupyterLab attaches it
    cell.attachments = {"a.png": {"image/png": PNG}, "b c.svg": {"image/svg+xml": svg}}
    (tmp_path / "d e.jpg").write_bytes(base64.b64decode(PNG))
    pdf, _ = exported(cell, path=tmp_path / "report.ipynb")
    assert [alt for alt in b"xyz" if b"/Alt (%c)" % alt in pdf] == list(b"xyz")


def test_attachment_of_another_cell_is_not_shown(capsys):
    cell = new_markdown_cell("![x](attachment:a.png)")
    cell.attachments = {"a.png": {"image/png": PNG}}
    exported("# Title", cell, "![x](attachment:a.png)")
    errors = capsys.readouterr().err
    assert "cell 3: cannot be set, its source is shown: picture [x: attachment:a.png]" in errors
    assert "cell 2" not in errors


def test_picture_beside_a_notebook_in_a_folder_of_any_name_is_shown(tmp_path):
    place = tmp_path / "a:b; ø"
    place.mkdir()
    (place / "d.png").write_bytes(base64.b64decode(PNG))
    assert b"/Alt (x)" in exported("![x](d.png)", path=place / "report.ipynb")[0]


def test_picture_elsewhere_is_not_fetched(capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"//127.0.0.1:{server.getsockname()[1]}/a.png"
        exported("# Title", f"![x](http:{place}) ![x]({place})")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has connected
            server.accept()
    assert capsys.readouterr().err.count("cannot be set") == 2


def test_alternative_text_with_a_formula_has_its_source():
    picture = f"![of $x$](data:image/png;base64,{PNG})"
    assert b"/Alt (of $x$)" in exported(picture)[0]


def test_markdown_output_is_set_like_prose():
    output = shown({"text/markdown": "Loss **0.1471** $x^2$", "text/plain": "<Markdown>"})
    assert "Loss #strong[0.1471] formula($x^2$)" in typst(code("1", output))


def test_tables_of_markdown_and_html_are_tables_with_headings():
    html = '<table class="dataframe"><tr><th>a</th></tr><tr><td>1.5</td></tr></table>'
    for data in ({"text/html": html, "text/plain": "a 1.5"}, {"text/markdown": "|a|\n|-:|\n|1.5|"}):
        source = typst(code("1", shown(data)))
        assert "align: (right,)" in source
        assert re.search(r"table.header\(.*\[a\],\)", source)
        assert "[1.5]," in source
        assert "a 1.5" not in source


def test_outputs_are_told_from_code():
    source = typst(code("print(1)", new_output("stream", text="to stdout")))
    assert "```python\nprint(1)\n```" in source
    assert "```output\nto stdout\n```" in source


def test_code_with_backticks_and_colours_stays_text():
    cell = code("'```' + '$#*'", new_output("stream", text="\x1b[31mred\x1b[0m ``` #x"))
    assert "red ``` #x" in exported(cell)[1]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_code_has_the_lines_that_python_reads(end):
    source = typst(code(f"# the check{end}print(99.9)"), new_raw_cell(f"a{end}b"))
    assert "```python\n# the check\nprint(99.9)\n```" in source
    assert "```output\na\nb\n```" in source


def test_no_colour_hides_code():
    assert "(1 # [\n+ 98)" in typst(code("(1 # \x1b[\n+ 98)"))


INJECTED = '#show "1.5": "99.9";'
ATTRIBUTE_NAMES = [
    *("typst:width", "typst:text:fill", "typst:align", "typst:figure:kind", "TYPST:width"),
    *("data-typst:width", "data-typst:text:fill", "lang", "typst-label", "width", "align"),
]
ATTRIBUTES = [f"{name}='1pt)[] {INJECTED} #block(width: 1pt'" for name in ATTRIBUTE_NAMES]
ELEMENTS = [
    *("<div {}>x</div>", "<p {}>x</p>", "<section {}><p>x</p></section>", "<h2 {}>x</h2>"),
    *("a <span {}>x</span>", "a <mark {}>x</mark>", "a <code {}>x</code>", "<pre {}>x</pre>"),
    *("<pre><code {}>x</code></pre>", "a <a href='http://a.no' {}>x</a>", "<img src='x' {}>"),
    *("<div {}><h2>x</h2></div>", "<figure {}><p>x</p><figcaption>y</figcaption></figure>"),
    *("<dl><dt {}>x</dt><dd {0}>y</dd></dl>", "<ol {}><li {0}>x</li></ol>"),
    *(f"<table><tr><td><div {{}}>{part}</div></table>" for part in ("x", "<p>x</p>")),
    "<table {}><thead {0}><tr {0}><th {0}>x</th></tr></thead><tbody {0}><tr {0}><th {0}>x</th>"
    "</tr><tr><td {0}>y</td></tr></tbody><tfoot {0}><tr {0}><td {0}>z</td></tr></tfoot></table>",
    "<table {}><caption {0}><p {0}>x</p></caption><tr><td {0}>x</td></tr></table>",
    "a footnote[^1]\n\n[^1]: <span {}>x</span>",
]


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_no_attribute_is_typst(attribute):
    texts = [element.replace("{}", "{0}").format(attribute) for element in ELEMENTS]
    outputs = (shown({"text/html": text}) for text in texts)
    assert INJECTED not in typst("# Title", *texts, code("f()", *outputs))


@pytest.mark.parametrize(
    "text",
    [
        *("~~~ ```#show:x\ny\n~~~", "<pre class='```#show:x'>y</pre>", "~~~ a```\ny\n~~~"),
        *(
            "a <code class='`#show:x'>y</code>",
            "<pre><code class='language-```#show:x'>y</code></pre>",
        ),
        *("<div id='a> #show:x'>y</div>", "<p id='a%22)#show:x'>y</p>", '## a") #show:x'),
        "<h2 typst-label='a> #show:x'>y</h2>",
    ],
)
def test_no_language_of_code_and_no_name_is_typst(text):
    source = re.sub(r'"(\\.|[^"\\])*"', "", typst("# Title", text))
    assert "#show:x" not in source.replace("#show: report", "").replace("\\#show", "")
    assert "a```" not in source


def test_no_text_looks_like_an_output():
    source = typst("# Title", "```output\n99.9\n```", "<pre class='error'>1</pre>")
    assert "```output" not in source
    assert "```error" not in source


def test_raw_cell_is_shown_as_it_is():
    assert "<b> $x$" in typst(new_raw_cell("<b> $x$"))


FORMULAS = {
    r"$ x $": "$x$",
    r"\\(x_1\\)": "$x_1$",
    r"\\[x_1\\]": "$ x_1 $",
    r"<math><mi>y</mi></math>": "formula($y$)",
    r"\begin{align} a &= b \end{align}": "$ a & = b $",
    r"$\newcommand{\v}[1]{\mathbf{#1}}$ $\v{x}$": "$upright(bold(x))$",
    r"$\def\R{\mathbb{R}}$ $\R$": "$bb(R)$",
    r"$\def\w#1{\mathbf{#1}}$ $\w{x}$": "$upright(bold(x))$",
    r"$\DeclareMathOperator{\Tr}{Tr} \Tr A$": '$"Tr" A$',
    r"$\providecommand{\set}[1]{\left\{#1\right\}}$ $\set{x}$": "${x}$",
    r"${\bf x_{i}}$": "$upright(bold(x_i))$",
    r"$|x|$": 'class("normal", |) x class("normal", |)$',
    r"$\|x\|_2$": 'class("normal", ‖) x class("normal", ‖)_2$',
    r"$\left\lVert x \right\rVert$": 'class("normal", ‖) x class("normal", ‖)',
    r"$\bigl\langle x$": "$lr(size: #120%, chevron.l) x$",
    r"$\begin{cases} a & b \\ c & d \end{cases}$": "a & quad b, c & quad d",
    r"$\begin{aligned} a &= b & c &= d \end{aligned}$": "a & = b & quad c & = d",
    r"$\begin{aligned} f(a) &= b, & c &= d \\ e &= f & g &= h\end{aligned}$": (
        r"$f \( a \) & = b \, & quad c & = d\ e & = f & quad g & = h$"
    ),
    r"$\begin{Vmatrix} 1 \\ \end{Vmatrix}$": '$mat(delim: "‖", 1)$',
    r"$\left\{\begin{array}{rl} a & b \\ c & d \end{array}\right.$": "a & quad b, c & quad d",
    r"$x = \begin{matrix} a & b \\ c & d \end{matrix}$": "x = mat(delim: #none, a, b; c, d)",
    r"$\begin{array}{c|@{}c} a & b \end{array}$": "$mat(delim: #none, a, b)$",
    r"$\begin{array}{rcl} a & = & b \end{array}$": "$mat(delim: #none, a, =, b)$",
    r"\begin{gather} a\phantom{b} \\ c \end{gather}": r"a #hide[b]\ c",
    r"$\begin{bmatrix} a\phantom{b} \\ c \end{bmatrix}$": "a #hide[b] ; c",
    r"$x \tag{3}\label{x}$": r"$x #h(2em) \( 3 \)$",
    r"\$5 and \$6": r"\$5 and \$6",
    "| a |\n|---|\n| $|y|$ and `$` |": 'y class("normal", |)$) and `$`]',
    "`$a$` ``$`b`$``\n\n```sh\n$c$\n```\n\n    $d$ e\n": "$d$ e",
    "<div>a &lt; $x < y$ and $$z$$ <code>$z$</code></div>": (
        r"a \< formula($x < y$) and formula($ z $) `$z$`"
    ),
    r"\`a` $b$ `c": "`$b$`c",
    "<kbd>$x$</kbd> <b>$y$</b>": "formula($x$) #strong[formula($y$)]",
    "[$x$](https://example.com)": '#link("https://example.com")[formula($x$)]',
    "## On $x$\n[$x$ **$y$**](#On-x)": "formula($x$) #strong[formula($y$)]",
}


@pytest.fixture(scope="module")
def formulas_by_cell():
    """What becomes of each formula in a cell of its own, by one run of pandoc."""
    return typst(*(f"{tex}\n\n<hr>" for tex in FORMULAS)).split("#horizontalrule")


@pytest.mark.parametrize("number", range(len(FORMULAS)), ids=list(FORMULAS))
def test_mathematics_of_jupyter_is_translated(number, formulas_by_cell):
    assert list(FORMULAS.values())[number] in formulas_by_cell[number]


def test_all_these_formulas_are_set_and_spoken(capfd):
    pdf, source = exported("# Title", *FORMULAS)
    assert not re.search(r"(?<!#)raw\(", source)
    assert is_accessible(pdf)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("tex", "spoken"),
    [
        (r"a_j = f(z_j)/2", b"a sub j equals f ( z sub j ) / 2"),
        (r"\frac{a}{b + 1}", b"fraction a over b plus 1 end"),
        (r"x^{n + 1}", b"x to the power of n plus 1 end"),
        (r"\sqrt{x} \neq \sqrt[3]{y}", b"root of x end is not root 3 root of y end"),
        (r"\hat{y}_{k'}", b"y hat sub k prime"),
        (
            r"\begin{cases} 1 & z > 0 \\ 0 & z < 0 \end{cases}",
            b"cases 1 z is greater than 0 ; 0 z is less than 0 ; end",
        ),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", b"matrix 1 2 ; 3 4 ; end"),
        (r"\boxed{w := w - 1}", b"w becomes w minus 1"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", b"a equals b ; c equals d"),
    ],
)
def test_formula_is_read_aloud_in_words(tex, spoken):
    pdf, _ = exported(f"# Title\n${tex}$")
    alts = (
        b"".join(re.findall(rb"/Alt \((.*?)\)\n", pdf)).replace(b"\\(", b"(").replace(b"\\)", b")")
    )
    assert spoken in alts


def test_html_and_markdown_mix_as_in_a_browser():
    cell = 'H<sub>2</sub>O <b>*x*</b>[^1]<br>\n\n<div id="d">\n\n- a\n\n</div>\n\n[^1]: A *note*.'
    source = typst(cell)
    assert "H#sub[2]O #strong[#emph[x]]#footnote[A #emph[note].]" in source
    assert re.search(r"#block\[\n- a\n+\] <d>", source)


def test_mathematics_of_html_output_is_that_of_a_browser():
    html = "<p>$a &lt; b$ costs \\$5 <code>$d$</code></p>"
    source = typst(code("1", shown({"text/html": html})))
    assert r"formula($a < b$) costs \$5 `$d$`" in source


def test_language_of_code_in_markdown_stays():
    assert "```sh\nls $HOME\n```" in typst("```sh\nls $HOME\n```")


def test_definition_alone_shows_nothing():
    assert "formula(" not in typst("$\\newcommand{\\v}{x}$ $$\\def\\R{x}$$")


def test_caption_of_a_figure_stays():
    picture = f'<img src="data:image/png;base64,{PNG}" alt="a cat">'
    source = typst(f"<figure>{picture}<figcaption>A cat</figcaption></figure>")
    assert re.search(r"caption: \[\s*A cat", source)


def test_footnotes_of_two_cells_stay_apart():
    source = typst("a[^1]\n\n[^1]: first note", "b[^1]\n\n[^1]: second note")
    assert "a#footnote[first note]" in source
    assert "b#footnote[second note]" in source


@pytest.mark.parametrize(
    "unclosed", ['<div class="note"><b>open', "```\nopen", "> $$ open", "<!--"]
)
def test_what_is_unclosed_ends_with_its_cell(unclosed):
    assert "\n= Heading\n" in typst("# Title", unclosed, "## Heading")


@pytest.mark.parametrize(
    "row",
    [
        ["0.123456789"] * 15,
        ["x" * 200],
        ["x" * 40] * 4,
        ["some words " * 20, "7", "a_long_name" * 9, "b " * 50],
    ],
)
def test_wide_table_stays_between_the_margins(row, monkeypatch):
    monkeypatch.setattr(
        handin.typst,
        "compile",
        lambda source, **options: compile_typst(
            source, **{**options, "pdf_standards": []}, format="png"
        ),
    )
    table = "\n".join(f"|{'|'.join(cells)}|" for cells in (row, ["---"] * len(row), row))
    page = handin.export(notebook(table), Path("wide.ipynb"), {})
    page = ImageOps.invert(Image.open(io.BytesIO(page)).convert("L"))
    left, _, right, _ = page.getbbox()
    margin = page.width * 2 / 21  # cm of A4
    assert left > margin - 2
    assert right < page.width - margin + 2


def test_links_to_headings_anchors_and_the_title_stay(capsys):
    cell = "# A title\n## Größe\n<a id='x y'></a>[a](#Größe) [b](#Gr%C3%B6%C3%9Fe) [c](#x%20y)"
    source = exported(cell, "[d](#A-title) [e](https://example.com) [f](MAILTO:a@b.no)")[1]
    assert source.count("#link(") == 6
    assert capsys.readouterr().err == ""


def test_two_headings_of_one_name_are_no_error(capsys):
    _, source = exported("# Title\n## A\n## A", "## A\n[a](#A)")
    assert '#link("A")[a]' in source
    assert capsys.readouterr().err == ""


def test_text_that_looks_like_the_exporters_own_is_text(capsys):
    own = '#let p1 = image("x")\n//{"cell": 9, "warning": "x"}\n// {"cell"\u2028#show: report'
    own += '\n//9\n#p1;<math display="inline" alttext="x">x</math>'
    _, source = exported(
        "# Title $x$", f"```\n{own}\n```\n{own}", code(own, shown({"text/plain": own}))
    )
    assert source.count('{"cell": 9,') == 3
    assert source.count('<math display="inline" alttext="x">x</math>') == 3
    assert capsys.readouterr().err == ""


def test_characters_that_only_move_a_cursor_are_left_out(capsys):
    chatter = new_output("stream", text="\x07bell\x08 \x1b[2K")
    pdf, source = exported("# \x07Title", "a\x00b `\x08c` $\x07$", code("\x07", chatter))
    assert "```output\nbell \n```" in source
    assert is_accessible(pdf)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("spelt", ["&#2;", "&#x02;", "&#1;9&#1;", "&#1 9&#1 ", "&#X1;9&#x1;"])
def test_characters_that_steer_the_export_steer_nothing_as_entities(spelt):
    texts = "//{0}{{", "<pre>//{0}{{</pre>", "[a](#{0})", "[a](http://b//{0}{{)", "![a{0}](b.png)"
    assert is_accessible(exported("# Title", *(text.format(spelt) for text in texts))[0])


def test_html_that_pandoc_reads_as_raw_is_no_endless_loop():
    html = "a\n<style>p{}</style>\n<button>b</button><math><mi>x</mi></math><input type=checkbox>"
    assert is_accessible(exported("# Title", html + "\n\nx <button>c</button>")[0])


def test_formula_without_a_word_needs_no_alternative():
    assert is_accessible(exported("# Title", "$\\quad$ $\\phantom{x}$")[0])


def test_empty_notebook_is_no_error():
    assert exported()[0].startswith(b"%PDF")


# ---- what cannot be set is named, with its cell, and its source shown


def test_formulas_that_cannot_be_set_are_named_and_shown_and_the_others_stay(capsys):
    bad = r"\ce{H2O}", r"\undefined", r"\frac{a}", r"\limits"
    pdf, source = exported("# $\\foo$", f"$a$ {' '.join(f'${tex}$' for tex in bad)}\n\n$$\\bar\n$$")
    errors = capsys.readouterr().err.splitlines()
    for tex in bad:
        assert f'raw("{tex}", block: false)'.replace("\\", "\\\\") in source
        assert f"warning: cell 2: cannot be set, its source is shown: formula {tex}" in errors
    assert "warning: cell 1: cannot be set, its source is shown: formula \\foo" in errors
    assert 'raw("\\\\bar", block: true)' in source
    assert "formula($a$)" in source
    assert is_accessible(pdf)


@pytest.mark.parametrize("tag", ["iframe", "video"])
def test_html_that_cannot_be_set_is_named_and_shown(tag, capsys):
    assert f'<{tag} src="a">' in typst(code("1", shown({"text/html": f'<{tag} src="a"></{tag}>'})))
    assert f"cell 1: <{tag}> cannot be set" in capsys.readouterr().err


def test_html_that_shows_nothing_is_named(capsys):
    typst(code("1", shown({"text/html": "<script>plot()</script>", "text/plain": "a plot"})))
    assert "cell 1: its HTML shows nothing on paper" in capsys.readouterr().err


def test_output_that_cannot_be_set_is_named_and_shown(capsys):
    assert "alert(1)" in typst(code("1", shown({"application/javascript": "alert(1)"})))
    assert "cell 1: application/javascript output cannot be set" in capsys.readouterr().err


def test_output_that_is_no_text_is_shown_as_json(capsys):
    data = {"application/geo+json": {"type": "Point", "at": [1, 2]}}
    assert 'geo+json: {"at":[1,2],"type":"Point"}' in typst(code("1", shown(data)))
    assert "cell 1: application/geo+json output cannot be set" in capsys.readouterr().err


def test_output_falls_back_to_its_plain_text_by_name(capsys):
    data = {"application/pdf": "JVBERi0=", "text/plain": "a plot"}
    assert "```output\na plot" in typst(code("1", shown(data)))
    assert "application/pdf output cannot be set, text/plain is shown" in capsys.readouterr().err


def test_pictures_that_are_not_there_or_cannot_be_decoded_are_named_and_their_text_shown(capsys):
    places = "https://example.com/a.png", "none.png", "data:image/png,x", "attachment:no", "."
    places += "a%00b.png", "data:image/png;base64,x"
    figure = code("1", shown({"image/svg+xml": "<no"}, alt="a plot"))
    pdf, source = exported("# Title", *(f"![a cat]({place})" for place in places), figure)
    errors = capsys.readouterr().err
    for cell, place in enumerate(places, 2):
        assert f'"[a cat: {place}]"' in source
        assert (
            f"cell {cell}: cannot be set, its source is shown: picture [a cat: {place}]" in errors
        )
    assert '"[a plot: data:image/svg+xml,%3Cno]"' in source
    assert is_accessible(pdf)


def test_picture_without_alternative_text_is_named_and_makes_the_pdf_a_plain_one(capsys):
    pdf, _ = exported("# Title", code("plot()", shown({"image/png": PNG})))
    assert (
        "warning: cell 2: missing alt text, so the PDF is not PDF/UA-1" in capsys.readouterr().err
    )
    assert b"/Subtype /Image" in pdf
    assert not is_accessible(pdf)


def test_link_that_leads_nowhere_is_named_and_others_stay(capsys):
    _, source = exported(
        "# Title", "## A task\n[good](#A-task) [bad](#B-task) [none]() [top](#)\n\n<div>x</div>"
    )
    assert re.search(r'#link\("A-task"\)\[good]\s+\[bad]\s+\[none]\s+\[top]', source)
    errors = capsys.readouterr().err
    assert "cell 2: link to '#B-task' leads nowhere" in errors
    assert "cell 2: link to '' leads nowhere" in errors


@pytest.mark.parametrize(
    "target",
    [
        *("javascript:alert(1)", "JavaScript:x", "file:///etc/passwd", "data/README.md", "//b.no"),
        *(
            "&#106;avascript:x",
            "java&#9;script:x",
            "&#32;javascript:x",
            "vbscript:x",
            "data:text,x",
        ),
    ],
)
def test_link_to_no_page_of_the_net_is_named_and_its_text_stays(target, capsys):
    for cell in (f"a <a href='{target}'>*shown*</a>", f"# A title <a href='{target}'>shown</a>"):
        _, source = exported("# Title" if cell[0] == "a" else "x", cell)
        assert "#link(" not in source
        assert "shown" in source
        assert "leads nowhere, its text is shown" in capsys.readouterr().err


def test_link_that_nobody_sees_is_not_named(capsys):
    assert is_accessible(exported("# Title", "a [](#none) <a href='#none'></a>")[0])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("character", ["中", "\U000f0000"])
def test_character_that_the_embedded_fonts_lack_is_named(character, capsys):
    pdf, _ = exported(
        "# Title", "Ελληνικά, кириллица, ✓", f"a {character}\n\n```\n{character}\n```"
    )
    errors = capsys.readouterr().err
    assert "cell 3: the text" in errors
    assert "could not be displayed" in errors
    assert "cell 2" not in errors
    assert pdf.startswith(b"%PDF")


def test_character_that_the_fonts_lack_in_the_title_is_named_with_its_cell(capsys):
    exported("a", "# \U000f0000", "$x$")
    assert "cell 2: the text" in capsys.readouterr().err


def test_stored_error_is_named_and_shown(capsys):
    error = new_output("error", ename="ValueError", evalue="x", traceback=["\x1b[31mValueError: x"])
    assert "```error\nValueError: x" in typst(code("1", error))
    assert "cell 1: its output is an error, ValueError" in capsys.readouterr().err


def test_output_on_stderr_is_named_and_left_out(capsys):
    chatter = new_output("stream", name="stderr", text="/home/me: Warning\n  old key")
    assert "old key" not in typst(code("1", chatter))
    assert (
        "cell 1: its output on stderr is left out: /home/me: Warning old" in capsys.readouterr().err
    )


def test_look_that_does_not_compile_is_an_error_that_says_why(tmp_path, place, capsys, monkeypatch):
    before = place("# Title")
    shutil.copytree(handin.REPORT, tmp_path / "report")
    with (tmp_path / "report" / "report.typ").open("a") as file:
        file.write("#nothing")
    monkeypatch.setattr(handin, "REPORT", tmp_path / "report")
    assert run(tmp_path) == 1
    assert "unknown variable: nothing" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_notebook_stays_as_it_was():
    before = json.dumps(REPORT)
    handin.export(REPORT, Path("report.ipynb"), {})
    assert json.dumps(REPORT) == before


# ---- what Typst refuses


class RefusedError(Exception):
    def __init__(self, diagnostic):
        super().__init__(diagnostic)
        self.diagnostic = diagnostic


GLYPH = 'error: PDF/UA-1 error: the text "𓀀" could not be displayed with any font\n  <bytes>:2:1\n'
MISSING = "error: PDF/UA-1 error: missing alt text\n  <bytes>:2:1\nhelp: more\n"
LINES = ['a //\2{"cell": 3}', "𓀀", 'b //\2{"instead": "c", "what": "d"}', "e"]


def typesetting(monkeypatch, *refusals, lines=LINES):
    """Return the options and lines of each attempt when Typst refuses some in this way."""
    left, attempts = [*refusals], []

    def compile_or_refuse(content, **options):
        attempts.append((options, content.decode().split("\n")))
        if left:
            raise RefusedError(left.pop(0))
        return b"%PDF"

    typst = SimpleNamespace(compile=compile_or_refuse, TypstError=RefusedError)
    monkeypatch.setattr(handin, "typst", typst)
    assert handin.typeset([*lines], root="/r") == b"%PDF"
    return attempts


UA1 = {"root": "/r", "ignore_system_fonts": True, "pdf_standards": ["ua-1"]}


def test_a_pdf_is_for_screen_readers_and_in_the_wheels_fonts(monkeypatch, capsys):
    assert typesetting(monkeypatch) == [(UA1, LINES)]
    assert capsys.readouterr().err == ""


def test_a_glyph_is_looked_for_in_the_systems_fonts_and_then_the_standard_is_given_up(
    monkeypatch, capsys
):
    attempts = typesetting(monkeypatch, GLYPH, GLYPH)
    changes = {"ignore_system_fonts": False}, {"ignore_system_fonts": False, "pdf_standards": []}
    assert attempts == [(UA1, LINES), *((UA1 | change, LINES) for change in changes)]
    what = 'warning: cell 3: the text "𓀀" could not be displayed with any font'
    assert capsys.readouterr().err == (
        f"{what}, this system's fonts are tried\n{what}, so the PDF is not PDF/UA-1\n"
    )


def test_other_demands_of_the_standard_give_it_up_at_once(monkeypatch, capsys):
    attempts = typesetting(monkeypatch, MISSING)
    assert attempts == [(UA1, LINES), (UA1 | {"pdf_standards": []}, LINES)]
    said = "warning: cell 3: missing alt text, so the PDF is not PDF/UA-1\n"
    assert capsys.readouterr().err == said


def test_what_is_wrong_with_no_line_is_of_no_cell(monkeypatch, capsys):
    typesetting(monkeypatch, "error: PDF/UA-1 error: missing title\n")
    said = "warning: cell ?: missing title, so the PDF is not PDF/UA-1\n"
    assert capsys.readouterr().err == said


def test_a_line_that_is_refused_is_replaced(monkeypatch, capsys):
    refusal = "error: not to be displayed\n  <bytes>:4:1\nerror: else\n  <bytes>:1:1\n"
    attempts = typesetting(monkeypatch, refusal)
    assert attempts == [(UA1, LINES), (UA1, [*LINES[:3], "c"])]
    assert capsys.readouterr().err == "warning: cell 3: d\n"


@pytest.mark.parametrize("where", ["", "  <bytes>:1:1\n"])
def test_what_cannot_be_replaced_is_an_error(where, monkeypatch):
    lines = ['{"instead": "c"}', *LINES]
    with pytest.raises(RefusedError):
        typesetting(monkeypatch, f"error: unknown\n{where}", lines=lines)
