"""Hand in: execute the notebook, export it as a PDF without TeX or a browser, zip the code.

The way of a notebook: nbconvert reads it, its Markdown and outputs become HTML, pandoc turns that
into Typst, Typst sets the PDF. Whatever cannot make the way is named on stderr with its cell.
"""

import argparse
import base64
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
import zlib
from contextlib import suppress
from functools import partial
from html import escape, unescape
from pathlib import Path
from urllib.parse import unquote
from urllib.request import urlopen

import nbformat
import pypandoc
import typst
from bs4 import BeautifulSoup, Tag
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from mistune import HTMLRenderer
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert.exporters import Exporter, TemplateExporter
from nbconvert.filters import strip_ansi
from nbconvert.filters.markdown_mistune import (
    InvalidNotebook,
    IPythonRenderer,
    MarkdownWithMath,
    import_plugin,
)
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from tqdm import tqdm
from traitlets import List, Unicode

# the wheel's pandoc, not a newer one of the system that writes for another Typst
os.environ.setdefault("PYPANDOC_PANDOC", str(Path(pypandoc.__file__).with_name("files") / "pandoc"))

NOTEBOOK = Path(__file__).with_name("assignment2.ipynb")
ANONYMOUS = "Anonymous"

IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")  # vectors first
PREFERRED = ("text/markdown", "text/latex", *IMAGES, "text/html", "text/plain")
INVISIBLE = "script:not([type^='math/tex']), style, link, meta, .anchor-link"
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
NOT_ON_PAPER = ("audio", "canvas", "embed", "form", "iframe", "object", "svg", "video")


def spread(environment: re.Match) -> str:
    """Return `aligned` with TeX's space between pairs of columns, `cases` between columns."""
    step = 1 if "cases" in environment[1] else 2
    rows = [re.split(r"(?<!\\)&", row) for row in environment[0].split(r"\\")]
    for row in rows:
        row[step::step] = [r"\quad " + cell for cell in row[step::step]]
    return r"\\".join("&".join(row) for row in rows)


MARK = "\ue000"  # for private use: nobody else's text
# what MathJax knows and pandoc does not, or says in another way than Typst expects; a matrix
# without delimiters would merge with what is around it
MACROS = r"""
\newcommand{\label}[1]{}\newcommand{\tag}[1]{\qquad(#1)}\newcommand{\hbox}[1]{\text{#1}}
\newcommand{\cfrac}[2]{\dfrac{#1}{#2}}\newcommand{\textcolor}[2]{#2}\newcommand{\require}[1]{}
\newcommand{\hphantom}[1]{\phantom{#1}}\newcommand{\vphantom}[1]{}\newcommand{\smash}[1]{#1}
\newcommand{\fbox}[1]{\boxed{\text{#1}}}\newcommand{\mathbbm}[1]{\mathbb{#1}}
\newcommand{\notag}{}\newenvironment{dcases}{\begin{cases}}{\end{cases}}
\newenvironment{matrix}{\begin{pmatrix}\text{MARK}}{\end{pmatrix}}
\newenvironment{smallmatrix}{\begin{pmatrix}\text{MARK}}{\end{pmatrix}}
""".replace("MARK", MARK)
BRACES = r"\{(?:\\.|[^{}\\])*\}"
for _ in range(4):  # regular expressions do not count: braces within braces within braces
    BRACES = rf"\{{(?:\\.|[^{{}}\\]|{BRACES})*\}}"
COMMAND = r"\\(?:\w*command|DeclareMathOperator)\*?\s*\{?\\\w+\}?\s*(?:\[\d\]\s*)?"
DEFINITION = re.compile(COMMAND + BRACES, re.DOTALL)
FONTS = "bf|rm|cal|it|sf|tt"
NORM = r"(?<!\\)\\\|"
INNER = r"((?s:(?!\\begin).)+?)"  # within an environment that has none within it
BEHIND_BRACE = rf"\\left\s*\\\{{\s*\\begin\{{(?:%s)\}}{INNER}\\end\{{\w+\}}\s*\\right\s*\."
REWRITES = (
    (r"\\def\s*(\\\w+)\s*(?=\{)", r"\\newcommand{\1}"),
    (r"\\def\s*(\\\w+)\s*#1\s*(?=\{)", r"\\newcommand{\1}[1]"),
    (rf"\{{\\({FONTS})\b", r"\\math\1{"),
    (rf"\\({FONTS})\s*\{{", r"\\math\1{"),
    (r"\\(?:m?kern|[mh]?skip)\s*-?[\d.]+\s*(?:mu|pt|em|ex|cm)", r"\\,"),
    (r"\\(?:tiny|small|large|Large|LARGE|huge|Huge)\b", ""),
    (r"\\(left|right)\s*\\(?:\||[lr]Vert)", r"\\\1\\Vert "),
    (rf"{NORM}(.+?){NORM}", r"\\lVert \1\\rVert "),
    (r"\n\s*\n", "\n"),
    (r"(\\begin\{\w+\})\s*\[[tbc]\]", r"\1"),
    (rf"\\begin\{{array\}}\s*\{{rcl\}}{INNER}\\end\{{array\}}", r"\\begin{split}\1\\end{split}"),
    (rf"\\begin\{{array\}}\s*{BRACES}", r"\\begin{matrix}"),
    (r"\\end\{array\}", r"\\end{matrix}"),
    (BEHIND_BRACE % "matrix", r"\\begin{cases}\1\\end{cases}"),
    (rf"\\begin\{{(d?cases|align(?:ed)?\*?)\}}{INNER}\\end\{{\1\}}", spread),
    (BEHIND_BRACE % "aligned|split|gathered", r"\\begin{cases}\1\\end{cases}"),
)
CORRECTIONS = (  # of pandoc's Typst
    (r'delim: "\|\|"', 'delim: "‖"'),
    (rf'delim: "\(", upright\("{MARK}"\)', "delim: #none,"),
    (rf'vec\(upright\("{MARK}"\)', "vec(delim: #none,"),
    (r"; #none\)", ")"),  # no row after a last line break
    (r"(?<=[])]);", " ;"),  # ends a row, not the code before it
    (r"(#scale\([^)]*\))\[(\\.|[^]]+)\]", r"\1[$\2$]"),  # delimiters, not their names
    (r" ?\\\|", ' class("normal", |)'),  # no relation
    (r"#box\(stroke: black, inset: 3pt", "#box(stroke: 0.5pt, inset: 3pt, baseline: 50% - 0.25em"),
)

# a pandoc template: $$ is one dollar
TEMPLATE = r"""
#let authors = json(bytes(sys.inputs.authors))
#set document(title: [$title$], author: authors, date: none)
#set page(paper: "a4", margin: (x: 2cm, top: 2cm, bottom: 2.3cm), footer: context {
  set text(9pt, fill: luma(35%))
  authors.join(", ")
  h(1fr)
  counter(page).display("1 / 1", both: true)
})
#set text(font: "New Computer Modern", size: 10.5pt, lang: "en", hyphenate: false)
#set text(ligatures: false) // of this font's, one makes a dash of two hyphens
#set par(justify: true, leading: 0.6em, spacing: 1.05em)
#set smartquote(enabled: false)
#let horizontalrule = line(length: 100%, stroke: 0.5pt + luma(60%))
#show link: set text(fill: rgb("#1a4b8c"))
#show heading: set block(above: 1.6em, below: 0.9em)
#show heading.where(level: 1): set text(14pt)
#show heading.where(level: 2): set text(12pt)
#show quote.where(block: true): it => block(
  inset: (x: 10pt, y: 3pt), stroke: (left: 2pt + luma(80%)), it.body,
)

// what is too long for a line is wrapped: an empty box may end one, and is not copied as text
#show regex("\S{60,}"): token => token.text.clusters().join(box())

// code is boxed, an output has a bar on its left
#show raw: set text(font: "DejaVu Sans Mono")
#show raw.where(block: false): set text(0.84em)
#show raw.where(block: true): set text(7.8pt)
#show raw.where(block: true): set par(justify: false, leading: 0.55em)
#show raw.where(block: true): it => {
  let bars = (output: luma(70%), stderr: rgb("#c0392b"))
  let look = if it.lang in bars.keys() {
    (stroke: (left: 1.5pt + bars.at(it.lang)))
  } else {
    (fill: luma(96%), radius: 2pt, sticky: it.lines.len() < 13)
  }
  block(width: 100%, inset: (x: 6pt, y: 5pt), breakable: it.lines.len() > 12, ..look, it)
}

#show figure: set block(above: 1.2em, below: 1.2em)
#show figure.where(kind: table): set block(breakable: true)
#show figure.where(kind: table): set figure.caption(position: top)
#set table(stroke: none, inset: (x: 0.6em, y: 0.35em))
#set table.hline(stroke: 0.5pt)
#set table.cell(breakable: false)
#show table: set par(justify: false)
// a table that is too wide gets narrow headings, may break words of 20 characters, and is set
// smaller, a bit to keep its lines, more to keep its words
#show table: it => layout(area => {
  let width(content) = calc.max(1pt, measure({ show image: none; content }).width)
  let narrow = if width(it) <= area.width { it } else {
    show table.cell.where(y: 0): cell => {
      show regex(".{4,}? "): part => part.text.trim() + linebreak()
      cell
    }
    show regex("\S{20,}"): word => word.text.clusters().join(box())
    it
  }
  let words = {
    show " ": linebreak()
    show regex("\S{20,}"): word => word.text.clusters().slice(0, 20).join()
    it
  }
  let size = calc.max(0.85, area.width / width(narrow))
  set text(size: 1em * calc.min(1, size, area.width / width(words)))
  let long = measure(narrow, width: area.width).height > area.height / 2
  align(center, block(stroke: (y: 0.8pt), breakable: long, { set align(start); narrow }))
})

// as in a browser, a picture is no wider than its place
#let image(width: auto, ..options) = std.image(
  width: if type(width) == length and width > 17cm { 100% } else { width }, ..options,
)

#set math.mat(column-gap: 1em)
#show selector.or(math.mat, math.vec, math.cases): it => math.display(it) // as TeX: not smaller
#set scale(reflow: true) // pandoc's large delimiters
// an equation wider than the page is set smaller
#show math.equation.where(block: true): it => layout(area => {
  let width = measure(it).width
  if width <= area.width { it } else { scale(100% * (area.width / width), reflow: true, it) }
})

#align(center)[
  #show title: set text(18pt)
  #title()
  #authors.join([, ], last: [ and ])
  #v(1em)
]
#let block = block.with(width: 100%) // pandoc's, for HTML's <div>
$body$
"""


def formula_html(tex: str, display: bool = False) -> str:
    """Return a formula in the way by which pandoc knows it."""
    mode = "; mode=display" if display else ""
    return f'<script type="math/tex{mode}">{tex}</script>'


class Renderer(IPythonRenderer):
    """Jupyter's Markdown as HTML that tells pandoc mathematics, footnotes and code apart."""

    notes = ""  # pandoc needs identifiers that no other cell has
    inline_math = staticmethod(formula_html)
    block_math = staticmethod(partial(formula_html, display=True))

    def latex_environment(self, name: str, body: str) -> str:
        """Mark an environment that stands without dollars."""
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Leave a missing attachment to whoever looks for pictures."""
        with suppress(InvalidNotebook):
            return super().image(text, url, title)
        return HTMLRenderer.image(self, text, url, title)

    def block_html(self, html: str) -> str:
        """Mark formulas that stand within HTML."""
        return html_math(html)

    def block_code(self, code: str, info: str | None = None) -> str:
        """Leave highlighting to Typst."""
        return listing(code, (info or "").strip().partition(" ")[0])

    def footnote_ref(self, key: str, index: int) -> str:
        """Mark where a footnote belongs."""
        return f'<a epub:type="noteref" href="#{self.notes}-{index}">{index}</a>'

    def footnote_item(self, text: str, key: str, index: int) -> str:
        """Mark what a footnote says."""
        return f'<aside epub:type="footnote" id="{self.notes}-{index}">{text}</aside>'

    def footnotes(self, text: str) -> str:
        """Leave placing to Typst."""
        return text


def markdown_html(source: str, attachments: dict | None = None) -> str:
    """Return the HTML of a cell's or an output's Markdown."""
    renderer = Renderer(escape=False, anchor_link_text="", attachments=attachments)
    renderer.notes = f"note-{zlib.crc32(source.encode())}"
    plugins = (*MarkdownWithMath.DEFAULT_PLUGINS, "footnotes")
    return MarkdownWithMath(renderer, plugins=map(import_plugin, plugins)).render(source)


def html_math(html: str) -> str:
    """Return HTML with the formulas of its text marked, as MathJax finds them."""

    def mark(found: re.Match) -> str:
        return formula_html(unescape(found[2]), bool(found[1])) if found[2] else "$"

    soup = BeautifulSoup(html, "html.parser")
    for text in soup.find_all(string=re.compile(r"\$")):
        if not text.find_parent(["pre", "code", "script", "style"]):
            marked = re.sub(r"(?s)\\\$|\$(\$?)(.+?)(?<!\\)\$\1", mark, escape(text))
            text.replace_with(BeautifulSoup(marked, "html.parser"))
    return str(soup)


def listing(text: str, language: str) -> str:
    """Return the HTML of preformatted text; empty text leaves nothing."""
    text = strip_ansi(text).strip("\n")
    return text and f'<pre class="{escape(language)}">{escape(text)}</pre>\n'


def data_html(mime: str, data: str, metadata: dict) -> str:
    """Return the HTML of data of one of the preferred types, empty if nothing can be seen of it."""
    if mime in IMAGES:
        data = base64.b64encode(data.encode()).decode() if mime == "image/svg+xml" else data
        about = {**metadata, **metadata.get(mime, {})}
        names = [name for name in ("alt", "width") if name in about]
        attributes = "".join(f' {name}="{escape(str(about[name]))}"' for name in names)
        return f'<p><img class="output" src="data:{mime};base64,{data}"{attributes}></p>\n'
    if mime == "text/html":
        soup = BeautifulSoup(data, "html.parser")
        return html_math(data) if soup.get_text(strip=True) or soup(["img", *NOT_ON_PAPER]) else ""
    return listing(data, "output") if mime == "text/plain" else markdown_html(data)


def output_html(output: NotebookNode, cell: int) -> str:
    """Return the HTML of an output, of the first of its types that paper can show."""
    if output.output_type == "stream":
        return listing(output.text, "stderr" if output.name == "stderr" else "output")
    if output.output_type == "error":
        report(cell, f"its output is an error, {output.ename}")
        return listing("\n".join(output.traceback), "stderr")
    data = {mime: content for mime, content in output.data.items() if content}
    shown = {
        mime: data_html(mime, data[mime], output.metadata) for mime in PREFERRED if mime in data
    }
    best = next((mime for mime in shown if shown[mime]), None)
    if best in ("text/plain", None):
        for other in sorted(data.keys() - {best}):
            report(cell, f"{other} output cannot be set, its {best or 'source'} is shown")
    source = "\n".join(f"{mime}: {str(content)[:300]}" for mime, content in data.items())
    return shown[best] if best else listing(source, "output")


def cell_html(cell: NotebookNode, number: int, language: str) -> str:
    """Return the HTML of a cell and its outputs; no language leaves the code out."""
    if cell.cell_type == "markdown":
        return markdown_html(cell.source, cell.get("attachments"))
    if cell.cell_type == "raw":
        mime = cell.metadata.get("raw_mimetype") or cell.metadata.get("format")
        mime = mime if mime in ("text/markdown", "text/html") else "text/plain"
        return data_html(mime, cell.source, {})
    code = listing(cell.source, language) if language else ""
    return code + "".join(output_html(output, number) for output in cell.outputs)


def report(where: Tag | int | str, message: str) -> None:
    """Name on stderr what the PDF shows otherwise than the notebook, and in which cell."""
    cell = where.find_parent("cell")["n"] if isinstance(where, Tag) else where
    print(f"warning: cell {cell}: {message}", file=sys.stderr)


def show_source(tag: Tag, source: str, what: str) -> None:
    """Put in place of a tag the source that cannot be translated."""
    report(tag, f"{what} cannot be set, its source is shown: {source.strip()[:300]}")
    name = "pre" if "display" in tag.get("type", "") else "code"
    tag.replace_with(BeautifulSoup(f"<{name}>{escape(source.strip())}</{name}>", "html.parser"))


def pandoc(html: str, directory: str, *options: str) -> tuple[str, list[str]]:
    """Translate HTML to Typst, and return also the formulas that pandoc gave up on."""
    log = Path(directory, "pandoc.json")
    body = pypandoc.convert_text(
        html,
        "typst",
        "html+epub_html_exts-auto_identifiers",
        ["--wrap=none", "--syntax-highlighting=idiomatic", "--quiet", f"--log={log}", *options],
        verify_format=False,
        sandbox=True,
    )
    failures = [m["contents"] for m in json.loads(log.read_text("utf-8")) if "TeX" in m["type"]]
    return body, failures


def failing(lines: list[str], directory: str) -> set[int]:
    """Return the indices of the lines of Typst that cannot be compiled."""
    file, bad = Path(directory, "lines.typ"), set()
    while True:
        file.write_text(
            "\n".join("" if i in bad else line for i, line in enumerate(lines)), "utf-8"
        )
        try:
            typst.compile(str(file), ignore_system_fonts=True)
            return bad
        except typst.TypstError as error:
            places = re.findall(r"([\w.-]+):(\d+):\d+\n", error.diagnostic)  # a line or its picture
            found = {int(n) - 1 for name, n in places if name == file.name}
            for name, _ in places:
                found |= {i for i, line in enumerate(lines) if f'"{name}"' in line}
            if found <= bad:
                raise
            bad |= found


def set_formulas(soup: BeautifulSoup, directory: str) -> list[str]:
    """Put a mark where each formula was, or its source if it cannot be set; return their Typst."""
    tags, macros = [], MACROS
    for tag in soup.select("script[type^='math/tex']"):
        formula = tag["source"] = tag.string or ""
        for pattern, replacement in REWRITES:
            formula = re.sub(pattern, replacement, formula)
        macros += "".join(DEFINITION.findall(formula))
        formula = DEFINITION.sub("", formula).strip()
        if formula:
            tags.append(tag)
            tag.string = macros + formula
        else:
            tag.decompose()
    typst_source, failures = pandoc("\n".join(f"<p>{tag}</p>" for tag in tags), directory)
    lines = [" ".join(paragraph.split()) for paragraph in typst_source.strip().split("\n\n")]
    for pattern, replacement in CORRECTIONS:
        lines = [re.sub(pattern, replacement, line) for line in lines]
    bad = failing(lines, directory) | {i for i, tag in enumerate(tags) if tag.string in failures}
    for i, tag in enumerate(tags):
        if i in bad:
            show_source(tag, tag["source"], "formula")
        else:
            tag.replace_with(f"{MARK}{i}{MARK}")
    return lines


def set_tables(soup: BeautifulSoup) -> None:
    """Align numbers as pandas does, and set headings bold."""
    for cell in soup.select("table.dataframe td"):
        cell["style"] = "text-align: right"
    for cell in soup.select("thead th"):
        strong = soup.new_tag("strong")
        strong.extend(list(cell.contents))
        cell.append(strong)


def set_links(soup: BeautifulSoup) -> None:
    """Keep only the identifiers that Typst can find, and the links that lead somewhere."""
    targets = set()
    for tag in soup.select("[id]:not(aside)"):
        target = unquote(tag.attrs.pop("id"))
        if target not in targets and tag.name in ("div", *HEADINGS):
            tag["id"] = target
            targets.add(target)
    for tag in soup.select("a:not([epub\\:type])"):
        target = unquote(tag.get("href", ""))
        if target.startswith("#") and target[1:] in targets:
            tag["href"] = target
        elif target in ("", "#") or target.startswith("#"):
            if tag.get_text(strip=True):
                report(tag, f"link to {target!r} leads nowhere, its text is shown")
            tag.unwrap()


def set_images(soup: BeautifulSoup, directory: str, base: Path) -> dict[str, str]:
    """Put every picture into a file; return the files' names with their alternative texts."""
    tags = soup("img")
    for number, tag in enumerate(tags):
        source, content = tag.get("src", ""), b""
        with suppress(OSError, ValueError):  # no such file, or no data: no picture
            data = source.startswith("data:")
            content = urlopen(source).read() if data else (base / unquote(source)).read_bytes()
        tag["data-source"] = source.partition(";base64")[0][:80]
        tag["src"] = f"{'output' if 'output' in tag.get('class', ()) else 'image'}-{number}"
        Path(directory, tag["src"]).write_bytes(content)
        del tag["height"]
    for i in sorted(failing([f'#image("{tag["src"]}")' for tag in tags], directory)):
        report(tags[i], f"image {tags[i]['data-source']!r} cannot be shown, its text is shown")
        tags[i].replace_with(f"[{tags[i].get('alt') or 'image'}: {tags[i]['data-source']}]")
    return {tag["src"]: tag.get("alt", "") for tag in tags}


def set_title(soup: BeautifulSoup, title: str, otherwise: str) -> None:
    """Put a title, or the first heading of level 1, or something else at the start, above all."""
    first = soup.h1
    if first and title in ("", first.get_text(strip=True)):
        heading = first.extract()
    else:
        heading = soup.new_tag("h1", string=title or otherwise)
    if soup.h1:  # sections of the title's level: all go one down
        for tag in soup(HEADINGS[:5]):
            tag.name = f"h{int(tag.name[1]) + 1}"
    heading.attrs = {}
    (soup.cell or soup).insert(0, heading)


def translate(nb: NotebookNode, directory: str, title: str, base: Path, code: bool = True) -> str:
    """Return a notebook's Typst source, and put the pictures that it shows into a directory.

    Args:
        nb: the notebook.
        directory: where Typst will run.
        title: for a notebook without a title in its metadata and without a heading of level 1.
        base: where the notebook's own relative paths start.
        code: whether to show code cells' sources.
    """
    language = nb.metadata.get("language_info", {}).get("name", "python")
    soup = BeautifulSoup("", "html.parser")
    for number, cell in enumerate(nb.cells, 1):
        html = cell_html(cell, number, language if code else "")
        tag = soup.new_tag("cell", n=number)
        tag.extend(list(BeautifulSoup(html, "html.parser").contents))
        soup.append(tag)
    for tag in soup.select(INVISIBLE):
        tag.decompose()
    for tag in soup(NOT_ON_PAPER):
        show_source(tag, str(tag), f"<{tag.name}>")
    set_title(soup, nb.metadata.get("title", ""), title)
    set_tables(soup)
    set_links(soup)
    formulas = set_formulas(soup, directory)
    alts = set_images(soup, directory, base)
    for tag in soup("cell"):
        tag.unwrap()
    template = Path(directory, "template.typ")
    template.write_text(TEMPLATE, "utf-8")
    options = (f"--template={template}", "--shift-heading-level-by=-1")
    source, _ = pandoc(str(soup), directory, *options)
    source = re.sub(f"{MARK}(\\d+){MARK}", lambda mark: formulas[int(mark[1])], source)
    source = source.replace('#box(image("output', '#figure(image("output')
    for name, alt in alts.items():
        text = json.dumps(" ".join(alt.split()), ensure_ascii=False)
        source = source.replace(f'image("{name}"', f'image("{name}", alt: {text}')
    return source


def missing_characters(file: Path, **options: object) -> str:
    """Return the characters that no font has: what only archival PDF complains about."""
    try:
        typst.compile(str(file), pdf_standards="a-2b", **options)
    except typst.TypstError as error:
        found = "".join(re.findall(r'the text `"(.+?)"` could not be displayed', error.diagnostic))
        found = re.sub(r"\\u\{(\w+)\}", lambda escaped: chr(int(escaped[1], 16)), found)
        return "".join(dict.fromkeys(found))
    return ""


def compile_pdf(file: Path, authors: list[str], nb: NotebookNode) -> bytes:
    """Return the PDF, with this system's fonts only if the wheel's lack a character.

    Raises:
        ValueError: Typst cannot set the document; says why.
    """
    options = {"ignore_system_fonts": True, "sys_inputs": {"authors": json.dumps(authors)}}
    if missing := missing_characters(file, **options):
        options["ignore_system_fonts"] = False
        boxes = missing_characters(file, **options)
        texts = [json.dumps(cell, ensure_ascii=False) for cell in nb.cells]
        cells = [str(n) for n, text in enumerate(texts, 1) if any(c in text for c in missing)]
        use = "this system's are used" + (f", {boxes} is an empty box" if boxes else "")
        report(", ".join(cells), f"Typst's fonts lack {missing}, {use}")
    try:
        return typst.compile(str(file), **options)
    except typst.TypstError as error:
        raise ValueError(f"Typst cannot set the document: {error.diagnostic}") from error


class TypstExporter(TemplateExporter):
    """Exports a notebook to a PDF by way of pandoc and Typst, both from pip."""

    export_from_notebook = "PDF via Typst"
    output_mimetype = "application/pdf"
    file_extension = ".pdf"
    authors = List(Unicode(), help="default: what the notebook's metadata say").tag(config=True)

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict | None = None, **kw: object
    ) -> tuple[bytes, dict]:
        """Return the PDF of a notebook, and nbconvert's resources.

        Raises:
            ValueError: Typst cannot set the document; says why.
        """
        nb, resources = Exporter.from_notebook_node(self, nb, resources, **kw)
        nb, resources = CoalesceStreamsPreprocessor().preprocess(nb, resources)
        about = resources.get("metadata", {})
        title, base = about.get("name") or "Notebook", Path(about.get("path") or ".")
        authors = self.authors or [author["name"] for author in nb.metadata.get("authors", [])]
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "main.typ")
            source = translate(nb, directory, title, base, code=not self.exclude_input)
            file.write_text(source, "utf-8")
            return compile_pdf(file, authors or [ANONYMOUS], nb), resources


def read(path: Path) -> NotebookNode:
    """Read a notebook file.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is no notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        why = f"{path} cannot be read ({error.strerror}), expected a notebook"
        raise OSError(why) from error
    except Exception as error:  # nbformat's errors have no base class of their own
        raise ValueError(f"{path} is no notebook ({error!r:.80}), expected .ipynb") from error


def execute(nb: NotebookNode, directory: Path) -> None:
    """Run all cells in a fresh kernel of this Python, in place, with a bar in a terminal.

    Raises:
        RuntimeError: a cell failed; shows its number, source and error.
    """
    with tqdm(total=len(nb.cells), unit="cell", leave=False, disable=None) as bar:

        def start(cell: NotebookNode, cell_index: int) -> None:
            bar.n = cell_index  # unlike update, also where there is no terminal
            bar.set_description(f"cell {cell_index + 1}")

        client = NotebookClient(
            nb,
            timeout=None,
            record_timing=False,  # times differ from run to run, and so do pieces of a stream
            coalesce_streams=True,
            on_cell_start=start,
            resources={"metadata": {"path": str(directory)}},
            extra_arguments=["--log-level=CRITICAL"],  # errors of cells reach us by themselves
        )
        # without directories there is no kernel but this Python's, whatever the user installed
        specs = KernelSpecManager(kernel_dirs=[])
        client.km = AsyncKernelManager(kernel_name=NATIVE_KERNEL_NAME, kernel_spec_manager=specs)
        try:
            client.execute()
        # an interrupt ends the kernel, and then sometimes nbclient's own clean-up
        except (CellExecutionError, DeadKernelError, AssertionError) as error:
            what = f"cell {bar.n + 1} of {len(nb.cells)} failed, nothing was written"
            raise RuntimeError(f"{what}. {strip_ansi(str(error)) or 'Interrupted'}") from error


def archive(notebook: Path, content: bytes) -> bytes:
    """Return a zip of the notebook with this content and the code beside it, always the same."""
    patterns = ("*.py", "requirements.txt", "README.md")
    paths = [path for pattern in patterns for path in notebook.parent.glob(pattern)]
    files = {path.name: path.read_bytes() for path in paths} | {notebook.name: content}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name)  # of 1980, not of now
            info.create_system, info.external_attr = 3, 0o644 << 16
            file.writestr(info, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def replace_all(files: dict[Path, bytes]) -> None:
    """Write every file beside its place and, once all are on the disk, move them there.

    Raises:
        OSError: one cannot be written; no file was touched.
    """
    staged = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in files}
    try:
        for path, temporary in staged.items():
            with temporary.open("xb") as file:
                file.write(files[path])
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, temporary)
        for path, temporary in staged.items():
            temporary.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror}), make room for it") from error
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


def hand_in(
    notebook: Path, pdf: Path, authors: list[str], *, run: bool = True, code: bool = True
) -> list[Path]:
    """Write the PDF, the zip beside it and, if it ran, the notebook; return them.

    Raises:
        OSError, ValueError, RuntimeError: it cannot be done; no file was touched.
    """
    nb, content = read(notebook), notebook.read_bytes()
    stored = [cell.execution_count or cell.outputs for cell in nb.cells if "outputs" in cell]
    if pdf.suffix != ".pdf" or not pdf.parent.is_dir():
        raise ValueError(f"--output is {pdf}, expected a directory that exists, or *.pdf in one")
    if run:
        execute(nb, notebook.parent)
        content = (nbformat.writes(nb) + "\n").encode()
    elif stored and not any(stored):
        raise ValueError(f"{notebook} was never executed, expected outputs: omit --no-execute")
    about = {"name": notebook.stem, "path": str(notebook.parent)}
    exporter = TypstExporter(authors=authors, exclude_input=not code)
    files = {
        pdf: exporter.from_notebook_node(nb, {"metadata": about})[0],
        pdf.with_suffix(".zip"): archive(notebook, content),
    }
    replace_all(files | ({notebook: content} if run else {}))
    return list(files)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="handin.py",
        description="Execute the notebook in a fresh kernel, store its outputs, and write its PDF "
        "and a zip of the notebook, the *.py beside it, requirements.txt and README.md (not the "
        "data, which the course has, nor the tests). Existing files are replaced only if all went "
        "well; what the PDF cannot show is named on stderr.",
    )
    option = parser.add_argument
    option("notebook", type=Path, nargs="?", default=NOTEBOOK, help=f"default: {NOTEBOOK.name}")
    option("--output", type=Path, help="the PDF or its directory; default: beside the notebook")
    option("--author", action="append", help=f"repeatable; default: metadata, or {ANONYMOUS}")
    option("--no-execute", dest="run", action="store_false", help="export what is stored")
    option("--no-code", dest="code", action="store_false", help="leave the code out of the PDF")
    args = parser.parse_args(argv)
    notebook = args.notebook.resolve()
    pdf = (args.output or notebook.parent).resolve()
    pdf = pdf / f"{notebook.stem}.pdf" if pdf.is_dir() else pdf
    try:
        for path in hand_in(notebook, pdf, args.author or [], run=args.run, code=args.code):
            print(f"{path}: {path.stat().st_size:,} bytes")
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # as shells count it
    return 0


if __name__ == "__main__":
    sys.exit(main())
