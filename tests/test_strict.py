"""Tamper with copies of the stored notebook: each must be refused, and the honest ones pass."""

import base64
import copy
import io
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image, ImageDraw

from tests.strict import (
    BUILTINS,
    POURED,
    code_problems,
    file_problems,
    output_differences,
    own_names,
    prose_problems,
    text_problems,
)

ROOT = Path(__file__).resolve().parent.parent
STORED = nbformat.read(ROOT / "assignment2.ipynb", as_version=4)


def problems(notebook: dict) -> list[str]:
    """Return what is refused in a copy whose cells, rerun, show what the stored ones do."""
    rerun = {cell["id"]: cell.get("outputs", []) for cell in STORED["cells"]}
    found = file_problems(notebook, ROOT)
    for cell in notebook["cells"]:
        found += output_differences(cell.get("outputs", []), rerun.get(cell["id"], []))
    return found


def cell_with(notebook: dict, kind: str) -> dict:
    """Return the first cell with an output of that kind: a stream's name or a mime type."""
    return next(
        cell
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if kind in (output.get("name"), *output.get("data", {}))
    )


def output_with(notebook: dict, kind: str) -> dict:
    """Return the first output of that kind."""
    outputs = cell_with(notebook, kind)["outputs"]
    return next(o for o in outputs if kind in (o.get("name"), *o.get("data", {})))


def code(notebook: dict, number: int = 1) -> dict:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"][number]


def prose(notebook: dict) -> dict:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"][1]


def add_text(cell: dict, text: str) -> None:
    cell["source"] = "".join(cell["source"]) + text


def picture(notebook: dict) -> Image.Image:
    data = base64.b64decode(output_with(notebook, "image/png")["data"]["image/png"])
    return Image.open(io.BytesIO(data)).convert("RGBA")


def store_picture(notebook: dict, image: Image.Image, **options: object) -> None:
    file = io.BytesIO()
    image.save(file, "png", **options)
    encoded = base64.b64encode(file.getvalue()).decode()
    output_with(notebook, "image/png")["data"]["image/png"] = encoded


def replace(notebook: dict, kind: str, old: str, new: str) -> None:
    """Replace a piece of text in the first output of that kind."""
    output = output_with(notebook, kind)
    place, key = (output, "text") if "text" in output else (output["data"], kind)
    text = "".join(place[key])
    assert old in text
    place[key] = text.replace(old, new, 1)


def edit_picture(notebook: dict) -> None:
    image = picture(notebook)
    ImageDraw.Draw(image).rectangle([60, 60, 63, 63], fill="red")
    store_picture(notebook, image)


def fade_picture(notebook: dict) -> None:
    image = picture(notebook)
    image.putalpha(0)
    store_picture(notebook, image)


def png_with_chunk(notebook: dict, kind: bytes, content: bytes) -> None:
    """Put a chunk into the first picture, in front of its pixels."""
    data = output_with(notebook, "image/png")["data"]
    before, mark, after = base64.b64decode(data["image/png"]).partition(b"IDAT")
    chunk = len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)
    file = before[:-4] + chunk + before[-4:] + mark + after
    data["image/png"] = base64.b64encode(file).decode()


def png_with_comment(notebook: dict) -> None:
    """Hide a chunk behind one that holds the name of the pixels' chunk."""
    png_with_chunk(notebook, b"tEXt", b"IDAT")
    data = output_with(notebook, "image/png")["data"]
    before, mark, after = base64.b64decode(data["image/png"]).rpartition(b"tEXtIDAT")
    chunk = b"gAMA" + (10).to_bytes(4)
    gamma = (4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    file = before + mark + after[:4] + gamma + after[4:]
    data["image/png"] = base64.b64encode(file).decode()


def convert_picture(notebook: dict, kind: str) -> None:
    file = io.BytesIO()
    picture(notebook).save(file, kind)
    encoded = base64.b64encode(file.getvalue()).decode()
    output_with(notebook, "image/png")["data"]["image/png"] = encoded


def set_metadata(choose: Callable[[dict], dict], metadata: dict) -> Callable[[dict], object]:
    return lambda notebook: choose(notebook)["metadata"].update(copy.deepcopy(metadata))


def append_output(output: dict) -> Callable[[dict], object]:
    return lambda notebook: code(notebook)["outputs"].append(copy.deepcopy(output))


def append_source(choose: Callable[[dict], dict], text: str) -> Callable[[dict], object]:
    return lambda notebook: add_text(choose(notebook), text)


TAMPERINGS = {
    # texts
    "stream_digit": lambda nb: replace(nb, "stdout", "True", "true"),
    "result_number": lambda nb: (
        replace(nb, "text/markdown", "50,880", "50,881")
        if "50,880" in str(output_with(nb, "text/markdown"))
        else replace(nb, "text/markdown", "0.", "1.")
    ),
    "plain_text": lambda nb: replace(nb, "text/plain", "Loss", "Gain"),
    "hidden_by_carriage_return": lambda nb: replace(nb, "stdout", "True", "False\rTrue"),
    "hidden_by_backspace": lambda nb: replace(nb, "stdout", "True", "x\bTrue"),
    "hidden_by_escape": lambda nb: replace(nb, "stdout", "True", "\x1b[8mTrue\x1b[0m"),
    "trailing_space": lambda nb: replace(nb, "stdout", "True\n", "True \n"),
    "leading_line": lambda nb: replace(nb, "text/markdown", "", "\n"),
    "stream_renamed": lambda nb: output_with(nb, "stdout").update(name="stderr"),
    # pictures
    "svg_edited": lambda nb: replace(nb, "image/svg+xml", "</svg>", "<text>97</text></svg>"),
    "svg_with_space": lambda nb: replace(nb, "image/svg+xml", "</svg>\n", "</svg>\n\n"),
    "svg_removed": lambda nb: output_with(nb, "image/svg+xml")["data"].pop("image/svg+xml"),
    "pdf_edited": lambda nb: replace(nb, "application/pdf", "JVBERi0x", "JVBERi0y"),
    "pdf_removed": lambda nb: output_with(nb, "application/pdf")["data"].pop("application/pdf"),
    "png_removed": lambda nb: output_with(nb, "image/png")["data"].pop("image/png"),
    "png_broken": lambda nb: output_with(nb, "image/png")["data"].update({"image/png": "AAAA"}),
    "png_replaced": lambda nb: store_picture(nb, Image.new("RGBA", (700, 500), "white")),
    "png_edited": edit_picture,
    "png_transparent": fade_picture,
    "png_over_text": lambda nb: output_with(nb, "text/markdown")["data"].update(
        output_with(nb, "image/png")["data"]
    ),
    "png_animated": lambda nb: store_picture(
        nb, picture(nb), save_all=True, append_images=[Image.new("RGBA", picture(nb).size, "red")]
    ),
    "png_resized": lambda nb: store_picture(nb, picture(nb).reduce(2)),
    "png_of_another_format": lambda nb: convert_picture(nb, "tiff"),
    "png_with_gamma": lambda nb: png_with_chunk(nb, b"gAMA", (10).to_bytes(4)),
    "png_rotated": lambda nb: png_with_chunk(
        nb, b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"
    ),
    "png_with_hidden_gamma": png_with_comment,
    "png_not_base64": lambda nb: replace(nb, "image/png", "iVBOR", "!iVBOR"),
    # order, additions, removals
    "outputs_reversed": lambda nb: cell_with(nb, "image/png")["outputs"].reverse(),
    "output_removed": lambda nb: cell_with(nb, "image/png")["outputs"].pop(),
    "outputs_and_count_removed": lambda nb: cell_with(nb, "stdout").update(
        outputs=[], execution_count=None
    ),
    "all_outputs_removed": lambda nb: [
        c.update(outputs=[], execution_count=None) for c in nb["cells"] if c["cell_type"] == "code"
    ],
    "output_repeated": lambda nb: cell_with(nb, "image/png")["outputs"].append(
        output_with(nb, "image/png")
    ),
    "stream_added": append_output({"output_type": "stream", "name": "stdout", "text": "passed"}),
    "stderr_added": append_output({"output_type": "stream", "name": "stderr", "text": "!"}),
    "html_added": append_output(
        {"output_type": "display_data", "data": {"text/html": "<b>97</b>"}, "metadata": {}}
    ),
    "empty_output_added": append_output(
        {"output_type": "display_data", "data": {"text/html": ""}, "metadata": {}}
    ),
    "error_added": append_output(
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
    ),
    "html_over_result": lambda nb: output_with(nb, "text/markdown")["data"].update(
        {"text/html": "<b>0.97</b>"}
    ),
    "display_for_result": lambda nb: output_with(nb, "text/markdown").update(
        output_type="display_data"
    ),
    # metadata that change what is displayed
    "output_isolated": set_metadata(
        lambda nb: output_with(nb, "text/markdown"), {"isolated": True}
    ),
    "figure_width": lambda nb: output_with(nb, "image/png")["metadata"]["image/png"].update(
        width=1
    ),
    "figure_alt": lambda nb: output_with(nb, "image/png")["metadata"]["image/png"].update(alt=""),
    "cell_collapsed": set_metadata(code, {"collapsed": True}),
    "outputs_hidden": set_metadata(code, {"jupyter": {"outputs_hidden": True}}),
    "source_hidden": set_metadata(code, {"jupyter": {"source_hidden": True}}),
    "scrolled": set_metadata(code, {"scrolled": True}),
    "tag_ignore": set_metadata(code, {"tags": ["nbval-ignore-output"]}),
    "tag_skip": set_metadata(code, {"tags": ["nbval-skip"]}),
    "tag_raises": set_metadata(code, {"tags": ["raises-exception"]}),
    "tag_remove": set_metadata(prose, {"tags": ["remove_cell"]}),
    "heading_collapsed": set_metadata(prose, {"jp-MarkdownHeadingCollapsed": True}),
    "timing_abused": set_metadata(code, {"execution": {"note": "accuracy 0.97"}}),
    "notebook_title": set_metadata(lambda nb: nb, {"title": "97 %"}),
    "notebook_widgets": set_metadata(lambda nb: nb, {"widgets": {}}),
    "kernel_other": set_metadata(
        lambda nb: nb, {"kernelspec": {"name": "mine", "display_name": ""}}
    ),
    "lexer_other": lambda nb: nb["metadata"]["language_info"].update(pygments_lexer="text"),
    "version_abused": lambda nb: nb["metadata"]["language_info"].update(version="accuracy"),
    # execution counts
    "counts_scrambled": lambda nb: code(nb, 1).update(execution_count=3),
    "counts_missing": lambda nb: code(nb, 1).update(execution_count=None),
    "counts_shifted": lambda nb: [
        c.update(execution_count=c["execution_count"] + 1)
        for c in nb["cells"]
        if c["cell_type"] == "code"
    ],
    "result_count": lambda nb: output_with(nb, "text/markdown").update(execution_count=99),
    # markers, and cells that know where they run
    "marker_ignore": append_source(code, "\n# NBVAL_IGNORE_OUTPUT"),
    "marker_skip": append_source(code, "\n# NBVAL_SKIP"),
    "marker_old": append_source(code, "\n#PYTEST_VALIDATE_IGNORE_OUTPUT"),
    "asks_by_import": append_source(code, "\nimport random"),
    "asks_by_import_from": append_source(code, "\nfrom random import seed"),
    "asks_by_builtin": append_source(code, "\n__import__('os')"),
    "asks_by_format": append_source(code, "\n'{0.__globals__[os]}'.format(train)"),
    "asks_by_own_dunder": append_source(code, "\n__name__ = __name__"),
    "asks_below_magic": append_source(lambda nb: code(nb, 0), "\nimport random"),
    "asks_environment": append_source(code, "\nimport os\nos.environ.get('X')"),
    "asks_modules": append_source(code, "\nimport sys; sys.modules"),
    "asks_through_numpy": append_source(code, "\nnp.os"),
    "asks_kernel": append_source(code, "\nget_ipython().parent_header"),
    "asks_history": append_source(code, "\nlen(In)"),
    "asks_by_getattr": append_source(code, "\ngetattr(np, 'o' + 's')"),
    "asks_by_dunder": append_source(code, "\nnp.__builtins__"),
    "asks_shell": append_source(code, "\n!env"),
    "marker_in_bytes": append_source(code, '\nb"""\n# NBVAL_IGNORE_OUTPUT\n"""'),
    "marker_in_format": append_source(code, '\nf"{mean:# NBVAL_SKIP}"'),
    "asks_in_help": append_source(code, "\nimport os\nshow?"),
    "asks_in_indented_magic": append_source(code, "\n !env"),
    "asks_in_assigned_magic": append_source(code, "\nx = %env"),
    "asks_in_autocall": append_source(code, "\n,eval os"),
    "asks_by_own_builtin": append_source(code, "\neval = eval"),
    "asks_by_own_module": append_source(code, "\nio = io"),
    "asks_by_own_history": append_source(code, "\n_ih = _ih"),
    "asks_by_argument": append_source(code, "\n(lambda get_ipython=get_ipython: 0)()"),
    "asks_by_pattern": append_source(code, "\nmatch np:\n    case object(os=found): found"),
    "asks_by_frame": append_source(code, "\n(x for x in []).gi_frame.f_builtins"),
    "asks_through_a_path": append_source(code, "\nDATA.with_name('assignment2').stat()"),
    "asks_through_cython": append_source(code, "\nnp.random.bit_generator.re.enum"),
    "asks_by_operator": append_source(code, "\nnp.random.mtrand.operator"),
    "asks_by_like_letters": append_source(code, "\nmeаn = 1"),  # noqa: RUF001
    "reads_a_file": append_source(code, "\nnp.genfromtxt('claims')"),
    "shows_a_file": append_source(code, "\nMarkdown('README.md')"),
    "shows_a_page": append_source(code, "\nMarkdown('https://a.b')"),
    "shows_by_keyword": append_source(code, "\nMarkdown(url=mean)"),
    "shows_by_star": append_source(code, "\nMarkdown(*[None, None, mean])"),
    "shows_by_attribute": append_source(code, "\nMarkdown('').filename"),
    "shows_by_position": append_source(code, "\nMarkdown(None, None, None)"),
    "captures": lambda nb: code(nb).update(source="%%capture\n" + "".join(code(nb)["source"])),
    # numbers that nothing computes
    "number_in_prose": append_source(prose, " The accuracy is 0.9712."),
    "percent_in_prose": append_source(prose, " It is 5 %."),
    "count_in_prose": append_source(prose, " It stops after 31,250 steps."),
    "number_in_mathematics": append_source(prose, " $C = 0.1471$"),
    "number_in_other_digits": append_source(prose, " \uff19\uff17"),
    "number_in_comment": append_source(code, "\n# accuracy 0.9712"),
    "number_in_string": append_source(code, "\nMarkdown('accuracy 0.9712')"),
    "number_in_fstring": append_source(code, "\nMarkdown(f'{mean} 0.9712')"),
    "number_in_code": append_source(code, "\nprint(0.9712)"),
    "number_in_bytes": append_source(code, "\nprint(b'0.9712'.decode())"),
    "number_imaginary": append_source(code, "\nprint(0.9712j)"),
    "number_close_to_one_stated": append_source(code, "\nprint(0.9000004)"),
    "number_in_format": append_source(code, "\nf'{mean:accuracy 0.9712}'"),
    "number_in_emphasis": append_source(prose, " 0.9**7**1"),
    "number_in_pieces": append_source(prose, " $0.9\\,7 1$"),
    "number_by_entity": append_source(prose, " 0.9&#55;"),
    "number_by_command": append_source(prose, " $\\unicode{x37}$"),
    "number_in_boxes": append_source(prose, r" $0.9\mathrm{7}$"),
    "number_in_link": append_source(prose, " 0.9[7](https://a.b)"),
    "number_with_escaped_point": append_source(prose, r" 9\.7"),
    "number_with_braced_point": append_source(prose, " $9{,}7$"),
    "number_with_wide_point": append_source(prose, " 9．7"),  # noqa: RUF001
    "percent_in_wide_letters": append_source(prose, " 9 ％"),  # noqa: RUF001
    "percent_in_words": append_source(prose, " It is ninety-seven per cent."),
    "percent_apart": append_source(prose, " It is 5$\\%$."),
    # cells
    "attachment": lambda nb: prose(nb).update(attachments={"a.png": {"image/png": "AAAA"}}),
    "picture_in_prose": append_source(prose, "\n\n![accuracy](a.png)"),
    "markup_in_prose": append_source(prose, "\n<style>.output {display: none}</style>"),
    "comment_in_prose": append_source(prose, "\n<!-- hidden -->"),
    "fence_in_prose": append_source(prose, "\n```\nresult\n```"),
    "fence_in_quote": append_source(prose, "\n\n> ```\n> result\n> ```"),
    "indented_code": append_source(prose, "\n\n    result"),
    "indented_code_first": lambda nb: prose(nb).update(source="    Accuracy: all agree"),
    "indented_code_in_quote": append_source(prose, "\n\n>     True"),
    "definition_in_quote": append_source(prose, "\n\n> [//]: # (hidden)"),
    "box_in_prose": append_source(prose, r" $\colorbox{black}{hidden}$"),
    "instruction_in_prose": append_source(prose, "\n<? hidden ?>"),
    "definition_in_prose": append_source(prose, "\n\n[//]: # (hidden)"),
    "phantom_in_prose": append_source(prose, " $\\phantom{hidden}$"),
    "style_in_prose": append_source(prose, " $\\style{display: none}{hidden}$"),
    "filler_in_prose": append_source(prose, "\u3164"),
    "accent_in_prose": append_source(prose, "\u0336"),
    "empty_cell_with_output": lambda nb: nb["cells"].append(
        nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", text="passed")])
    ),
    "script_in_output": append_output(
        nbformat.v4.new_output("display_data", {"application/javascript": "document.body.remove()"})
    ),
    "style_in_output": append_output(
        nbformat.v4.new_output("display_data", {"text/markdown": "<style>p {}</style>"})
    ),
    "invisible_in_prose": append_source(prose, "\u200b"),
    "code_to_text": lambda nb: (
        [code(nb).pop(key) for key in ("outputs", "execution_count")]
        + [code(nb).update(cell_type="markdown")]
    ),
    "raw_cell": lambda nb: nb["cells"].append(
        {"cell_type": "raw", "id": "raw", "metadata": {}, "source": "a remark"}
    ),
    "code_in_prose": lambda nb: prose(nb).update(source="print(accuracy)"),
    "assignment_in_prose": lambda nb: prose(nb).update(source="accuracy = best"),
    "counting_in_prose": lambda nb: prose(nb).update(source="accuracy += best"),
    "function_in_prose": lambda nb: prose(nb).update(source="def accuracy(): ..."),
    "import_in_prose": lambda nb: prose(nb).update(source="import task_2"),
    "not_of_the_format": lambda nb: code(nb).update(note="accuracy"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampered_notebook_is_refused(name):
    notebook = copy.deepcopy(STORED)
    TAMPERINGS[name](notebook)
    assert problems(notebook)


def test_stored_notebook_is_accepted():
    assert problems(STORED) == []


def test_streams_split_elsewhere_are_accepted():
    notebook = copy.deepcopy(STORED)
    cell = cell_with(notebook, "stdout")
    text = "".join(cell["outputs"][0]["text"])
    cell["outputs"] = [{**cell["outputs"][0], "text": part} for part in (text[:5], text[5:])]
    assert problems(notebook) == []


def test_picture_encoded_otherwise_is_accepted():
    notebook = copy.deepcopy(STORED)
    store_picture(notebook, picture(notebook), compress_level=1)
    assert problems(notebook) == []


@pytest.mark.parametrize(("difference", "accepted"), [(2, True), (3, False)])
def test_picture_rounded_otherwise_is_accepted(difference, accepted):
    notebook = copy.deepcopy(STORED)
    image = picture(notebook)
    red, *others = image.getpixel((60, 60))
    image.putpixel((60, 60), (red - difference, *others))
    store_picture(notebook, image)
    assert (problems(notebook) == []) == accepted


def test_what_editors_add_is_accepted():
    notebook = copy.deepcopy(STORED)
    prose(notebook)["metadata"] = {"editable": True, "slideshow": {"slide_type": ""}, "tags": []}
    code(notebook)["metadata"] = {"vscode": {"languageId": "python"}}
    notebook["cells"].append(nbformat.v4.new_code_cell())
    assert problems(notebook) == []


@pytest.mark.parametrize(
    "name", ["style_in_output", "script_in_output", "html_added", "empty_cell_with_output"]
)
def test_what_hides_or_adds_is_refused_even_if_every_rerun_shows_it(name):
    notebook = copy.deepcopy(STORED)
    TAMPERINGS[name](notebook)
    assert file_problems(notebook, ROOT)


@pytest.mark.parametrize("name", ["stderr_added", "error_added"])
def test_complaint_is_refused_even_if_every_rerun_complains(name):
    notebook = copy.deepcopy(STORED)
    TAMPERINGS[name](notebook)
    assert file_problems(notebook, ROOT)


def test_names_of_a_broken_task_file_are_unknown(tmp_path):
    (tmp_path / "task2.py").write_text("def train(")
    assert any("uses train, which" in problem for problem in file_problems(STORED, tmp_path))


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


@pytest.mark.parametrize(
    ("stored", "rerun", "message"),
    [
        ([stream("a\nb\n")], [stream("a\nc\n")], r"output 1: text line 2 is 'b\n', rerun: 'c\n'"),
        ([stream("x" * 99)], [stream("x" * 98 + "y")], f"'{'x' * 31}', rerun: '{'x' * 30}y'"),
        ([stream("a")], [], "output 1 (stream stdout) is in the stored notebook only"),
        ([], [stream("a")], "output 1 (stream stdout) is in the rerun only"),
        ([stream("a")], [stream("a", "stderr")], "is stream stdout, rerun: stream stderr"),
        ([stream("a"), stream("b", "stderr")], [stream("ab")], "rerun: 'ab'"),
    ],
)
def test_message_says_what_differs_and_where(stored, rerun, message):
    assert message in output_differences(stored, rerun)[0]


@pytest.mark.parametrize(
    ("time", "accepted"),
    [
        ("2026-01-31T12:00:00.123456Z", True),
        ("2026-01-31T12:00:00+00:00", True),
        ("2026-01-31T12:00:00Z accuracy", False),
    ],
)
def test_recorded_times_are_accepted(time, accepted):
    notebook = copy.deepcopy(STORED)
    code(notebook)["metadata"]["execution"] = {"shell.execute_reply": time}
    assert (problems(notebook) == []) == accepted


TYPED = [
    "$[97,12]$",
    r"\{0,97\}",
    "1 %",
    "a\tb",
    "a\n ```",
    *r"11 0.12 1e5 $1\% ½ ٣ <b> </b> <!-- ![ ~~~ NBVAL Pytest &lt; \vphantom{x} \color{x}".split(),
]
UNNEEDED = [
    *"open eval exec compile globals locals vars dir id input help hasattr setattr delattr".split(),
    *"breakpoint memoryview quit exit __import__ np.os np.sys np.a.modules np.ctypeslib".split(),
    *"np.f2py np._core np._replaced np.load np.fromfile np.memmap ''.format 11 1.1".split(),
    *["show?", " !ls", "x = %ls", "x = !ls", ",print np", "print(", "f'{np:# NBVAL_SKIP}'"],
    *["f'{np:11} 11'", "%run ../utils.py", "%load_ext mine", "%autoreload 0", "!ls", "%ls"],
]
NEEDED = [
    *["%run utils.py", "np.mean", "[]._replace", "True", "f'{np:11}'", "print('1e-12, 10,000')"],
    "display(Markdown('Task 4a of TDT4265'))",
    *["np.random.default_rng(1)", "np._asdict()", "20_000", "def f(): f()", "f'{np:,.2f}{np:>8}'"],
    'def f(x):\n    """Return x.\n\n    Args:\n        x: it.\n    """',
    "print('a', sep='\\t')",
    "try:\n    1\nexcept ValueError as error:\n    error",
]
READ = [
    r"With $i<j$ and $0 < x$, $\frac{2}{3}$, $\begin{aligned} a &= 1; \\ 0 & 1 \end{aligned}$.",
    r"$[0,1]$, $[64,10]$, $w_{1,2}$, $20{,}000$, $i<j \le n$, $0<x < 1$, 2 * 3.",
    r"R&D; $\frac{1}{2} x$ and $\mathcal{N}(0,1)$.",
    "Mu\u0308ller: the answer\n\n1. one\n\n    continued",
    "- 1\n- 2\n    - a list\n\n    - in a list\n\n| 1 | 2 |\n|---|---|",
]


@pytest.mark.parametrize("text", TYPED)
def test_typed_text_is_refused(text):
    assert list(text_problems(text))


@pytest.mark.parametrize("text", READ)
def test_text_and_mathematics_are_accepted(text):
    assert not list(prose_problems(text))


def test_a_label_is_no_code():
    assert not list(prose_problems("Answer: momentum"))


@pytest.mark.parametrize("source", UNNEEDED)
def test_code_that_a_report_does_not_need_is_refused(source):
    assert list(code_problems(source, BUILTINS | POURED))


@pytest.mark.parametrize("source", NEEDED)
def test_code_of_a_report_is_accepted(source):
    assert not list(code_problems(source, BUILTINS | POURED | own_names([source])))


def test_message_names_cell_and_difference():
    notebook = copy.deepcopy(STORED)
    TAMPERINGS["number_in_prose"](notebook)
    (message,) = problems(notebook)
    assert prose(notebook)["id"] in message
    assert "0.9712" in message


# what nbval itself makes of a small notebook that uses our functions
TEXT = "print(1 + 1)\ndisplay(Markdown('between'))\nprint(2 + 2)"
FIGURE = "show(plot_layers({'a': {'b': [1, 2]}}, 'value', 'linear'), 'a line')"
UPDATE = "shown = display('first', display_id=True)\nshown.update('second')"
REFUSED = {
    "number": (TEXT, lambda cell: cell.outputs[0].update(text="3\n")),
    "order": (TEXT, lambda cell: cell.outputs.reverse()),
    "place": (TEXT, lambda cell: cell.outputs[0].update(text="2\n4\n") or cell.outputs.pop()),
    "overwritten": (TEXT, lambda cell: cell.outputs[0].update(text="3\r2\n")),
    "picture": (FIGURE, lambda cell: cell.outputs[0].data.update({"image/png": "AAAA"})),
    "alt": (FIGURE, lambda cell: cell.outputs[0].metadata["image/png"].update(alt="97")),
    "count": (TEXT, lambda cell: cell.update(execution_count=77)),
    "source": (TEXT, lambda cell: cell.update(source="print(1 + 2)")),
    "updated": (UPDATE, lambda cell: cell.outputs[0].data.update({"text/plain": "'first'"})),
}
CELLS = {
    "first": "%run utils.py",
    "text": TEXT,
    "figure": FIGURE,
    "update": UPDATE,
    "progress": "with progress('steps', 2) as show_step:\n    show_step(1)",
    "asks": "%run asks.py\nprint(told)",
    **{name: source for name, (source, _) in REFUSED.items()},
}
ASKS = "import os\ntold = [name for name in os.environ if 'PYTEST' in name]\n"


@pytest.fixture(scope="module")
def nbval_report(tmp_path_factory):
    """What failed, by cell, and all that was printed, by a pytest told to be lax and to split."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "tests").mkdir()
    shutil.copytree(ROOT / "course", folder / "course")
    for name in ("conftest.py", "pyproject.toml", "utils.py", "tests/strict.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "asks.py").write_text(ASKS)
    cells = [nbformat.v4.new_code_cell(source, id=name) for name, source in CELLS.items()]
    metadata = {"kernelspec": STORED["metadata"]["kernelspec"]}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    untold = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    NotebookClient(notebook, resources={"metadata": {"path": folder}}).execute(env=untold)
    for cell in notebook.cells:
        if cell.id in REFUSED:
            REFUSED[cell.id][1](cell)
    nbformat.write(notebook, folder / "small.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-n2", str(folder)]
    command += ["--junitxml=report.xml", "-p", "no:hypothesispytest"]  # which is slow to start
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    cases = ElementTree.parse(folder / "report.xml").iter("testcase")
    failed = {case.get("name"): case.find("failure") for case in cases}
    of_file = failed.pop("file").text
    names = [
        name for name, failure in zip(CELLS, failed.values(), strict=True) if failure is not None
    ]
    names += [name for name in CELLS if f"({name})" in of_file]
    return names, run.stdout


@pytest.mark.parametrize(
    "message",
    ["line 1 is '3\\n', rerun: '2\\n'", "execution count is 77, expected 13", "grade sheet"],
)
def test_nbval_says_what_is_refused(nbval_report, message):
    assert message in nbval_report[1]


@pytest.mark.parametrize("name", CELLS)
def test_nbval_refuses_the_tampered_cells_only(nbval_report, name):
    failed, output = nbval_report
    assert (name in failed) == (name in REFUSED), output
