import base64
import errno
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from functools import partial

import nbformat
import pytest
from nbconvert.exporters import get_exporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from PIL import Image, ImageOps

import handin

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


@pytest.fixture
def typst(tmp_path):
    """What becomes of cells: Typst source and, beside it, pictures."""

    def translate(*cells, show_code=True):
        nb = notebook(*cells)
        return handin.translate(nb, str(tmp_path), "Untitled", tmp_path, code=show_code)

    return translate


@pytest.fixture
def pdf():
    return lambda *cells, **options: handin.TypstExporter(**options).from_notebook_node(
        notebook(*cells)
    )[0]


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
    (directory / "task.py").write_text("ANSWER = 42\n")
    (directory / "requirements.txt").write_text("numpy\n")
    cells = (
        "# Title",
        new_code_cell("from task import ANSWER\nfor i in range(9): print(i, flush=True)"),
    )
    nbformat.write(notebook(*cells, new_code_cell("ANSWER")), directory / "report.ipynb")
    command = [sys.executable, handin.__file__, directory / "report.ipynb", "--author=Ada L."]
    subprocess.run(command, check=True, capture_output=True)
    return directory


# ---- handing in


def test_hand_in_writes_pdf_zip_and_executed_notebook(handed_in):
    names = ["report.ipynb", "report.pdf", "report.zip", "requirements.txt", "task.py"]
    assert sorted(content(handed_in)) == names
    assert content(handed_in)["report.pdf"].startswith(b"%PDF")
    cell = nbformat.read(handed_in / "report.ipynb", 4).cells[2]
    assert cell.outputs[0].data["text/plain"] == "42"


def test_hand_in_stores_neither_times_nor_pieces_of_a_stream(handed_in):
    cell = nbformat.read(handed_in / "report.ipynb", 4).cells[1]
    assert len(cell.outputs) == 1
    assert cell.metadata == {}


def test_zip_holds_the_code_the_executed_notebook_and_the_requirements(handed_in):
    with zipfile.ZipFile(handed_in / "report.zip") as file:
        assert file.namelist() == ["report.ipynb", "requirements.txt", "task.py"]
        assert file.read("report.ipynb") == content(handed_in)["report.ipynb"]


def test_two_runs_give_the_same_bytes(handed_in, tmp_path):
    for name in ("report.ipynb", "requirements.txt", "task.py"):
        (tmp_path / name).write_bytes((handed_in / name).read_bytes())
    assert handin.main([str(tmp_path / "report.ipynb"), "--author=Ada L."]) == 0
    assert content(tmp_path) == content(handed_in)


def test_no_execute_leaves_the_notebook_alone(tmp_path):
    nbformat.write(REPORT, tmp_path / "report.ipynb")
    os.utime(tmp_path / "report.ipynb", (0, 0))
    assert handin.main([str(tmp_path / "report.ipynb"), "--no-execute"]) == 0
    assert (tmp_path / "report.ipynb").stat().st_mtime == 0
    assert content(tmp_path).keys() == {"report.ipynb", "report.pdf", "report.zip"}


@pytest.mark.parametrize("output", ["out", "out/report.pdf"])
def test_output_names_a_directory_or_a_file(output, tmp_path):
    nbformat.write(REPORT, tmp_path / "report.ipynb")
    (tmp_path / "out").mkdir()
    arguments = [tmp_path / "report.ipynb", "--no-execute", "--output", tmp_path / output]
    assert handin.main(list(map(str, arguments))) == 0
    assert content(tmp_path / "out").keys() == {"report.pdf", "report.zip"}


def test_no_code_leaves_out_code_and_keeps_outputs(typst):
    source = typst(*REPORT.cells, show_code=False)
    assert "print(2)" not in source
    assert "second words" in source


def test_no_code_of_the_command_line_reaches_the_exporter(tmp_path):
    nbformat.write(REPORT, tmp_path / "report.ipynb")
    sizes = []
    for options in ([], ["--no-code"]):
        handin.main([str(tmp_path / "report.ipynb"), "--no-execute", *options])
        sizes.append((tmp_path / "report.pdf").stat().st_size)
    assert sizes[0] > sizes[1]


def test_nbconvert_knows_the_exporter():
    exporter = get_exporter("handin.TypstExporter")()
    pdf, resources = exporter.from_notebook_node(REPORT)
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    assert resources["output_extension"] == ".pdf"


def test_pieces_of_a_stream_become_one_output(monkeypatch):
    monkeypatch.setattr(handin, "compile_pdf", lambda file, *_: file.read_text("utf-8"))
    nb = notebook(code("1", *(new_output("stream", text=text) for text in ("a\n", "b\r", "c\n"))))
    source, _ = handin.TypstExporter().from_notebook_node(nb)
    assert "```output\na\nc\n```" in source
    assert len(nb.cells[0].outputs) == 3


def test_author_of_the_notebook_yields_to_the_one_given(monkeypatch):
    nb, seen = notebook("x"), []
    monkeypatch.setattr(handin, "compile_pdf", lambda _file, authors, _nb: seen.append(authors))
    handin.TypstExporter().from_notebook_node(nb)
    nb.metadata.authors = [{"name": "Ada"}, {"name": "Alan"}]
    handin.TypstExporter().from_notebook_node(nb)
    handin.TypstExporter(authors=["Emmy"]).from_notebook_node(nb)
    assert seen == [["Anonymous"], ["Ada", "Alan"], ["Emmy"]]


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
    monkeypatch.setattr(handin, "compile_pdf", interrupted)
    assert handin.main([str(tmp_path / "report.ipynb"), "--no-execute"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert content(tmp_path) == before


def test_missing_notebook_is_named(tmp_path, capsys):
    assert handin.main([str(tmp_path / "none.ipynb")]) == 1
    assert "none.ipynb cannot be read" in capsys.readouterr().err
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


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_touches_no_file(call, place, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = place(*REPORT.cells)
    monkeypatch.setattr(os if call == "fsync" else handin.Path, call, fail)
    assert handin.main([str(tmp_path / "report.ipynb"), "--no-execute"]) == 1
    assert "report.pdf cannot be written (No space left on device)" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_output_in_no_directory_is_refused_before_executing(place, tmp_path, capsys):
    before = place(new_code_cell("1 / 0"))
    assert handin.main([str(tmp_path / "report.ipynb"), f"--output={tmp_path}/no/x.pdf"]) == 1
    assert "--output is" in capsys.readouterr().err
    assert content(tmp_path) == before


# ---- the document


def test_everything_keeps_its_order(typst):
    source = typst(*REPORT.cells)
    parts = "First words", "%load_ext autoreload", "= Task 1\n", "bold(b)", "second words"
    parts += "== Task 1a\n", "Third words", "0.1471", "plot()", "output-0", "= Task 2\n"
    places = [source.index(part) for part in (*parts, "Last words")]
    assert places == sorted(places)


def test_title_is_the_first_heading_and_appears_once(typst):
    source = typst(*REPORT.cells)
    assert "document(title: [A #emph[title] with $alpha$]" in source
    assert source.count("#emph[title]") == 1


def test_sections_of_the_title_level_go_below_it(typst):
    source = typst("# Title\n# Section\n## Subsection")
    assert "\n= Section\n" in source
    assert "\n== Subsection\n" in source


def test_title_without_a_heading_is_the_name(typst):
    assert "title: [Untitled]" in typst("Text")


def test_empty_output_leaves_nothing(typst):
    with_empty = typst(code("1", shown({"text/html": ""}), shown({"text/plain": ""})))
    assert with_empty == typst(code("1"))


def test_svg_is_preferred_to_png(typst, tmp_path):
    assert '#figure(image("output-0"' in typst(*REPORT.cells)
    assert (tmp_path / "output-0").read_text() == SVG


def test_svg_is_preferred_to_pdf_too(typst, tmp_path, capsys):
    typst(code("plot()", shown({"application/pdf": "JVBERi0=", "image/svg+xml": SVG})))
    assert (tmp_path / "output-0").read_text() == SVG
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "metadata", [{"alt": 'a "b" \\c'}, {"image/svg+xml": {"alt": 'a "b" \\c'}}]
)
def test_alternative_text_reaches_the_pdf(metadata, typst, pdf):
    cell = code("plot()", shown({"image/svg+xml": SVG}, **metadata))
    assert r'image("output-0", alt: "a \"b\" \\c")' in typst(cell)
    assert b'/Alt (a "b" \\\\c)' in pdf(cell)


def test_local_and_attached_pictures_are_shown(typst, tmp_path):
    cell = new_markdown_cell("![x](attachment:a.png) ![local](b%20c.jpg)")
    cell.attachments = {"a.png": {"image/png": PNG}}
    (tmp_path / "b c.jpg").write_bytes(base64.b64decode(PNG))
    source = typst(cell)
    assert 'image("image-0", alt: "x")' in source
    assert 'image("image-1", alt: "local")' in source


def test_markdown_output_is_set_like_prose(typst):
    output = shown({"text/markdown": "Loss **0.1471** $x^2$", "text/plain": "<Markdown>"})
    assert "Loss #strong[0.1471] $x^2$" in typst(code("1", output))


def test_table_of_html_is_a_table(typst):
    table = '<table class="dataframe"><tr><th>a</th></tr><tr><td>1.5</td></tr></table>'
    source = typst(code("1", shown({"text/html": table, "text/plain": "a 1.5"})))
    assert "table.cell(align: right)[1.5]" in source
    assert "a 1.5" not in source


def test_outputs_are_told_from_code_and_errors_from_outputs(typst):
    streams = [new_output("stream", name=name, text=f"to {name}") for name in ("stdout", "stderr")]
    source = typst(code("print(1)", *streams))
    for block in ("```python\nprint(1)", "```output\nto stdout", "```stderr\nto stderr"):
        assert block in source


def test_code_with_backticks_and_colours_stays_text(typst, pdf):
    cell = code("'```' + '$#*'", new_output("stream", text="\x1b[31mred\x1b[0m ``` #x"))
    assert "red ``` #x" in typst(cell)
    assert pdf(cell)


def test_raw_cell_is_shown_as_it_is(typst):
    assert "<b> $x$" in typst(new_raw_cell("<b> $x$"))


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"$ x $", "$x$"),
        (r"\begin{align} a &= b \end{align}", "$ a & = b $"),
        (r"$\newcommand{\v}[1]{\mathbf{#1}}$ $\v{x}$", "$upright(bold(x))$"),
        (r"$\def\R{\mathbb{R}}$ $\R$", "$bb(R)$"),
        (r"$\def\v#1{\mathbf{#1}}$ $\v{x}$", "$upright(bold(x))$"),
        (r"$\DeclareMathOperator{\Tr}{Tr} \Tr A$", '$"Tr" A$'),
        (r"$\providecommand{\set}[1]{\left\{#1\right\}}$ $\set{x}$", "${x}$"),
        (r"${\bf x_{i}}$", "$upright(bold(x_i))$"),
        (r"$|x|$", 'class("normal", |) x class("normal", |)$'),
        (r"$\|x\|_2$", "$lr(bar.v.double x bar.v.double)_2$"),
        (r"$\left\lVert x \right\rVert$", "$lr(bar.v.double x bar.v.double)$"),
        (r"$\bigl\langle x$", "[$chevron.l$] x$"),
        (r"$\begin{cases} a & b \\ c & d \end{cases}$", "a & quad b, c & quad d"),
        (r"$\begin{aligned} a &= b & c &= d \end{aligned}$", "a & = b & quad c & = d"),
        (r"$\begin{Vmatrix} 1 \\ \end{Vmatrix}$", '$mat(delim: "‖", 1)$'),
        (r"$\left\{\begin{array}{rl} a & b \\ c & d \end{array}\right.$", "a & quad b, c & quad d"),
        (r"$\left\{\begin{aligned} a &= b \\ c &= d \end{aligned}\right.$", "a & = b, c & = d"),
        (r"$x = \begin{matrix} a & b \\ c & d \end{matrix}$", "x = mat(delim: #none, a, b; c, d)"),
        (r"$\begin{array}{c|@{}c} a & b \end{array}$", "$mat(delim: #none, a, b)$"),
        (r"$\begin{array}{rcl} a & = & b \end{array}$", "$a & = & b$"),
        (r"\begin{gather} a\phantom{b} \\ c \end{gather}", r"a #hide[b]\ c"),
        (r"$\begin{bmatrix} a\phantom{b} \\ c \end{bmatrix}$", "a #hide[b] ; c"),
        (r"$x \tag{3}$", r"$x #h(2em) \( 3 \)$"),
        (r"\$5 and \$6", r"\$5 and \$6"),
    ],
)
def test_mathematics_of_jupyter_is_translated(tex, expected, typst, capsys):
    assert expected in typst(tex)
    assert capsys.readouterr().err == ""


def test_mathematics_within_html_is_translated(typst):
    html = "<div>a &lt; $x < y$ and $$z$$ <code>$z$</code></div>"
    for cell in (html, code("1", shown({"text/html": html}))):
        source = typst(cell)
        assert "a \\< $x < y$ and $ z $ `$z$`" in source


def test_footnotes_of_two_cells_stay_apart(typst):
    source = typst("a[^1]\n\n[^1]: first note", "b[^1]\n\n[^1]: second note")
    assert "a#footnote[first note]" in source
    assert "b#footnote[second note]" in source


def test_unclosed_html_ends_with_its_cell(typst):
    assert "\n= Heading\n" in typst("# Title", '<div class="note"><b>open', "## Heading")


@pytest.mark.parametrize(
    "row",
    [["0.123456789"] * 15, ["x" * 200], ["some words " * 20, "7", "a_long_name" * 9, "b " * 50]],
)
def test_wide_table_stays_between_the_margins(row, pdf, monkeypatch):
    monkeypatch.setattr(handin.typst, "compile", partial(handin.typst.compile, format="png"))
    page = pdf("\n".join(f"|{'|'.join(cells)}|" for cells in (row, ["---"] * len(row), row)))
    page = ImageOps.invert(Image.open(io.BytesIO(page)).convert("L"))
    left, _, right, _ = page.getbbox()
    margin = page.width * 2 / 21  # cm of A4
    assert left > margin - 2
    assert right < page.width - margin + 2


# ---- what cannot be set is named, with its cell, and its source shown


@pytest.mark.parametrize("tex", [r"\ce{H2O}", r"\undefined", r"\sqrt"])
def test_formula_that_cannot_be_set_is_named_and_shown(tex, typst, capsys):
    assert f"`{tex}`" in typst("# Title", f"$a$ ${tex}$ $b$")
    assert f"cell 2: formula cannot be set, its source is shown: {tex}" in capsys.readouterr().err


@pytest.mark.parametrize("tag", ["iframe", "video"])
def test_html_that_cannot_be_set_is_named_and_shown(tag, typst, capsys):
    assert f'<{tag} src="a">' in typst(code("1", shown({"text/html": f'<{tag} src="a"></{tag}>'})))
    assert f"cell 1: <{tag}> cannot be set" in capsys.readouterr().err


def test_output_that_cannot_be_set_is_named_and_shown(typst, capsys):
    assert "alert(1)" in typst(code("1", shown({"application/javascript": "alert(1)"})))
    assert "cell 1: application/javascript output cannot be set" in capsys.readouterr().err


def test_output_falls_back_to_its_plain_text_by_name(typst, capsys):
    data = {"text/html": "<script>plot()</script>", "text/plain": "a plot"}
    assert "```output\na plot" in typst(code("1", shown(data)))
    assert "text/html output cannot be set, its text/plain is shown" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", ["https://example.com/a.png", "none.png", "data:image/png,x", "attachment:no"]
)
def test_picture_that_is_not_there_is_named_and_its_text_shown(address, typst, capsys):
    assert "a cat" in typst(f"![a cat]({address})")
    assert address in capsys.readouterr().err


def test_picture_that_cannot_be_decoded_is_named(typst, capsys):
    assert "[a plot: data:image" in typst(code("1", shown({"image/svg+xml": "<no"}, alt="a plot")))
    assert "cell 1: image 'data:image/svg+xml' cannot be shown" in capsys.readouterr().err


def test_formula_in_the_title_is_named_too(typst, capsys):
    assert r"title: [A `\foo`]" in typst("text", r"# A $\foo$")
    assert "formula cannot be set" in capsys.readouterr().err


def test_link_to_a_heading_with_other_letters_stays(typst, capsys):
    assert "#link(<Größe>)[size]" in typst("# Title\n## Größe\n[size](#Größe)")
    assert capsys.readouterr().err == ""


def test_link_to_the_title_is_no_error(pdf):
    assert pdf("# Title\n[up](#Title)")


def test_empty_notebook_is_no_error(pdf):
    assert pdf()


def test_link_that_leads_nowhere_is_named_and_others_stay(typst, pdf, capsys):
    cell = "# Title\n## A task\n[good](#A-task) [bad](#B-task)"
    assert "#link(<A-task>)[good] bad" in typst(cell)
    assert "cell 1: link to '#B-task' leads nowhere" in capsys.readouterr().err
    assert pdf(cell)


@pytest.mark.parametrize("character", ["中", "\U000f0000"])
def test_character_that_the_embedded_fonts_lack_is_named(character, pdf, capsys):
    assert pdf("Ελληνικά, кириллица, ✓", character)
    error = capsys.readouterr().err
    assert f"cell 2: Typst's fonts lack {character}," in error
    assert "cell 1" not in error


def test_stored_error_is_named_and_shown(typst, capsys):
    error = new_output("error", ename="ValueError", evalue="x", traceback=["\x1b[31mValueError: x"])
    assert "```stderr\nValueError: x" in typst(code("1", error))
    assert "cell 1: its output is an error, ValueError" in capsys.readouterr().err


def test_notebook_stays_as_it_was():
    before = json.dumps(REPORT)
    handin.TypstExporter().from_notebook_node(REPORT)
    assert json.dumps(REPORT) == before
