"""Hand in: execute the notebook, export it as a PDF without TeX or a browser, zip the code.

The way of a notebook: its cells and outputs become a list of parts, pandoc with report/report.lua
makes it Typst, and Typst sets the PDF with the look of report/report.typ. Whatever cannot make the
way is named on stderr with its cell.
"""

import argparse
import base64
import codecs
import errno
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from html import escape, unescape
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote
from urllib.request import urlopen

import nbformat
import pypandoc
import typst
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert.exporters import Exporter, TemplateExporter
from nbconvert.filters import strip_ansi
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from tqdm import tqdm
from traitlets import List, Unicode

# the wheel's pandoc, not a newer one of the system that writes for another Typst
os.environ.setdefault("PYPANDOC_PANDOC", str(Path(pypandoc.__file__).with_name("files") / "pandoc"))

NOTEBOOK = Path(__file__).with_name("assignment2.ipynb")
LOOK = Path(__file__).with_name("report")
STUDENTS_FILES = "task*.py"  # beside the notebook
HIDING = {"hide-input", "remove-input"}  # tags of code cells whose source the PDF leaves out
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")  # vectors first
KINDS = {  # of parts, by type; in an output the first is preferred
    "text/markdown": "markdown",
    "text/latex": "markdown",
    **dict.fromkeys(IMAGES, "picture"),
    "text/html": "html",
    "text/plain": "output",
}
UNSEEN = re.compile(r"(?is)<(script|style)\b.*?</\1>|<(?!img|svg|iframe|video)[^>]*>|\s+")
# code, which stays as it is; what no paper can show; formulas as Jupyter finds them
SPECIAL = re.compile(
    r"""(?msx)
    ^[ >]*(?P<fence>`{3,}|~{3,}).*?(?:^[ >]*(?P=fence)|\Z)
    | (?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`) | <(?P<code>pre|code|script|style)\b.*?</(?P=code)>
    | <(?P<tag>audio|canvas|embed|form|iframe|object|video)\b(?:.*?</(?P=tag)>|[^>]*>) | \\\$
    | \$\$(?P<display>.+?)\$\$ | (?P<environment>\\begin\{(?P<name>\w+\*?)\}.*?\\end\{(?P=name)\})
    | \$(?P<inline>(?:\\.|[^$\\\n]|\n(?!\s*\n))+)\$ | \\\\\((?P<round>.+?)\\\\\)
    """
)


def say(message: str, stream: TextIO | None = None) -> None:
    """Print as much of a message as the console can write: printing decides nothing."""
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(message.encode(encoding, "replace").decode(encoding), file=stream, flush=True)
    except (OSError, ValueError):  # nor may what it still holds fail at the end
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def report(cell: object, message: str) -> None:
    """Name on stderr what the PDF shows otherwise than the notebook, and in which cell."""
    say(f"warning: cell {cell}: {' '.join(message.split())}", sys.stderr)


def marked(text: str, cell: int, *, html: bool) -> str:
    """Return Markdown or HTML with its formulas in the way by which pandoc knows them."""

    def mark(found: re.Match) -> str:
        if found["tag"]:
            report(cell, f"<{found['tag']}> cannot be set, its source is shown: {found[0]:.300}")
            return f"<code>{escape(found[0])}</code>"
        display = found["display"] or found["environment"]
        tex = display or found["inline"] or found["round"]
        if not tex:
            return "$" if html and found[0] == r"\$" else found[0]
        if html:
            mode = "; mode=display" if display else ""
            return f'<script type="math/tex{mode}">{unescape(tex)}</script>'
        # not to end cells of a table, nor a paragraph
        tex = " ".join(re.sub(r"\|", r"\\vert ", re.sub(r"(?<!\\)\\\|", r"\\Vert ", tex)).split())
        return f"````{tex}````{{={'DisplayMath' if display else 'InlineMath'}}}"

    return SPECIAL.sub(mark, text)


def part(cell: int, kind: str, text: str, **about: str) -> dict:
    """Return what report.lua reads: Markdown, HTML, the name of a picture, or else a listing."""
    if kind in ("markdown", "html"):
        text = marked(text, cell, html=kind == "html")
    elif kind != "picture":
        text = strip_ansi(text).strip("\n")
    return {"cell": cell, "kind": kind, "text": text, **about}


def output_part(cell: int, index: int, output: NotebookNode) -> dict:
    """Return an output as the first of its types that paper can show, empty for stderr."""
    if output.output_type == "error":
        report(cell, f"its output is an error, {output.ename}")
        return part(cell, "error", "\n".join(output.traceback))
    if output.output_type == "stream":
        if output.name == "stderr":
            report(cell, f"its output on stderr is left out: {output.text:.300}")
        return part(cell, "output", "" if output.name == "stderr" else output.text)
    data = {mime: text for mime, text in output.data.items() if text}
    seen = [m for m in KINDS if m in data and (m != "text/html" or UNSEEN.sub("", data[m]))]
    mime = seen[0] if seen else None
    if mime in ("text/plain", None):
        for other in sorted(data.keys() - {mime}):
            report(cell, f"{other} output cannot be set, its {mime or 'source'} is shown")
    if mime in IMAGES:
        about = {"alt": "", "width": "", **output.metadata, **output.metadata.get(mime, {})}
        options = {name: str(about[name]) for name in ("alt", "width")}
        return part(cell, "picture", f"output:{index}/{mime}", **options)
    source = "\n".join(f"{mime}: {str(text)[:300]}" for mime, text in data.items())
    return part(cell, KINDS[mime], data[mime]) if mime else part(cell, "output", source)


def parts(nb: NotebookNode, *, code: bool) -> Iterator[dict]:
    """Yield the parts of a notebook, with or without the sources of code cells."""
    language = nb.metadata.get("language_info", {}).get("name", "python")
    for number, cell in enumerate(nb.cells, 1):
        if cell.cell_type == "markdown":
            yield part(number, "markdown", cell.source)
        elif cell.cell_type == "raw":
            mime = cell.metadata.get("raw_mimetype") or cell.metadata.get("format")
            yield part(number, KINDS.get(mime, "output"), cell.source)
        elif code and not HIDING & set(cell.metadata.get("tags", ())):
            yield part(number, language, cell.source)
        for index, output in enumerate(cell.get("outputs", ())):
            yield output_part(number, index, output)


def typst_source(nb: NotebookNode, name: str, *, code: bool = True) -> list[str]:
    """Return the lines of a notebook's Typst; the name is the title if no heading is one."""
    content = {"title": nb.metadata.get("title", ""), "name": name}
    content["parts"] = [part for part in parts(nb, code=code) if part["text"]]
    options = ("--wrap=none", "--syntax-highlighting=idiomatic", "--quiet")
    reader = str(LOOK / "report.lua")
    source = pypandoc.convert_text(
        json.dumps(content), "typst", reader, options, verify_format=False, sandbox=True
    )
    lines = source.splitlines()
    for line in lines:
        if line.startswith("// warning: "):
            say(line.removeprefix("// "), sys.stderr)
    return ['#import "report.typ": *', *lines]


def picture(nb: NotebookNode, base: Path, cell: int, source: str) -> bytes:
    """Return the file of a picture that a cell shows, empty if there is none.

    Args:
        nb: the notebook.
        base: where its own relative paths start.
        cell: the cell's number.
        source: an address, or "output:", the output's index, "/" and its type.
    """
    kind, _, name = unquote(source).partition(":")
    with suppress(OSError, ValueError, LookupError, AttributeError):
        if kind == "data":
            return urlopen(source).read()
        if kind not in ("output", "attachment"):
            return (base / unquote(source)).read_bytes()
        index, _, mime = name.partition("/")
        output = kind == "output"
        data = nb.cells[cell - 1]
        data = data.outputs[int(index)].data if output else data.attachments[name]
        mime = mime if output else next(iter(data))
        return data[mime].encode() if "svg" in mime else base64.b64decode(data[mime])
    return b""


def complaints(diagnostic: str, lines: list[str]) -> dict[tuple[int, str], tuple[int, dict]]:
    """Return what Typst complains of by cell: the line, and what is known of it."""
    found = {}
    for text in re.split("(?m)^error: ", diagnostic)[1:]:
        if place := re.search(r"┌─ (?:main.typ:(\d+)|(p\d+):)", text):
            starts = [i for i, line in enumerate(lines) if line.startswith(f"#let {place[2]} ")]
            at = int(place[1]) - 1 if place[1] else starts[0]
            cells = re.findall(r"^// cell (\d+)$", "\n".join(lines[:at]), re.MULTILINE)
            about = {"cell": int(cells[-1]) if cells else 1, "what": "text"}
            if lines[at].startswith("#let "):
                about = json.loads(lines[at - 1].removeprefix("// "))
            found[about["cell"], text.partition("\n")[0]] = at, about
    return found


def compile_pdf(lines: list[str], directory: str, about: dict) -> bytes:
    """Return the PDF: PDF/UA-1 in the wheel's fonts, unless something that is named prevents it.

    Raises:
        ValueError: Typst cannot set the document; says why.
    """
    lines, options = [*lines], {"ignore_system_fonts": True, "pdf_standards": ["ua-1"]}
    inputs, main = {"about": json.dumps(about)}, Path(directory, "main.typ")
    while True:
        main.write_text("\n".join(lines), "utf-8")
        try:
            return typst.compile(str(main), sys_inputs=inputs, **options)
        except typst.TypstError as error:
            found = complaints(error.diagnostic, lines)
            glyphs = {key: place for key, place in found.items() if "be displayed" in key[1]}
            if glyphs and options["ignore_system_fonts"]:
                options["ignore_system_fonts"] = False
                for cell, text in glyphs:
                    report(cell, f"{text}, this system's are tried")
            elif found and error.message.startswith("PDF/UA"):
                options["pdf_standards"] = []
                for (cell, text), (_, about) in found.items():
                    report(cell, f"{about['what']} keeps the PDF from being PDF/UA-1: {text}")
            elif found and all("source" in piece for _, piece in found.values()):
                for (cell, _), (at, piece) in found.items():
                    report(cell, f"{piece['what']} cannot be set, its source is shown: {piece['source']:.300}")
                    lines[at] = lines[at].partition("=")[0] + "= " + instead(piece)
            else:
                raise ValueError(f"Typst cannot set the document: {error.diagnostic}") from error


def instead(piece: dict) -> str:
    """Return Typst for what Typst refuses."""
    source = json.dumps(piece["source"], ensure_ascii=False)
    if piece["what"] == "formula":
        return f"raw({source}, block: {json.dumps(piece['block'])})"
    return json.dumps(f"[{piece['alt'] or 'picture'}: {piece['source']:.80}]", ensure_ascii=False)


class TypstExporter(TemplateExporter):
    """Exports a notebook to a PDF by way of pandoc and Typst, both from pip."""

    export_from_notebook = "PDF via Typst"
    output_mimetype = "application/pdf"
    file_extension = ".pdf"
    authors = List(Unicode(), help="default: what the notebook's metadata say").tag(config=True)
    id = Unicode(help="who hands in, as the course names them").tag(config=True)
    date = Unicode(help="YYYY-MM-DD; default: none").tag(config=True)
    language = Unicode("en", help="in which it is read aloud").tag(config=True)

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict | None = None, **kw: object
    ) -> tuple[bytes, dict]:
        """Return the PDF of a notebook, and nbconvert's resources.

        Raises:
            ValueError: Typst cannot set the document; says why.
        """
        nb, resources = Exporter.from_notebook_node(self, nb, resources, **kw)
        nb, resources = CoalesceStreamsPreprocessor().preprocess(nb, resources)
        known = resources.get("metadata", {})
        lines = typst_source(nb, known.get("name") or "Notebook", code=not self.exclude_input)
        authors = self.authors or [author["name"] for author in nb.metadata.get("authors", [])]
        about = {"authors": authors, "id": self.id, "date": self.date, "lang": self.language}
        base = Path(known.get("path") or ".")
        with tempfile.TemporaryDirectory() as directory:
            shutil.copy(LOOK / "report.typ", directory)
            for line, typst_line in zip(lines, lines[1:], strict=False):
                if found := re.match(r'#let p\d+ = picture\("(\w+)"', typst_line):
                    piece = json.loads(line.removeprefix("// "))
                    content = picture(nb, base, piece["cell"], piece["source"])
                    Path(directory, found[1]).write_bytes(content)
            return compile_pdf(lines, directory, about), resources


def read(path: Path) -> tuple[NotebookNode, bytes]:
    """Return a notebook, and its file in UTF-8 without a byte order mark.

    Raises:
        OSError, ValueError: there is none, or it is no notebook.
    """
    try:
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig")
        return nbformat.reads(text, as_version=4), text.encode()
    except OSError as error:
        why = f"{path} cannot be read ({error.strerror}), expected a notebook"
        raise OSError(why) from error
    except Exception as error:  # nbformat's errors have no base class of their own
        raise ValueError(f"{path} is no notebook ({error!r:.80}), expected .ipynb in UTF-8") from error


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
            nb.metadata.kernelspec = dict(KERNELSPEC)  # whatever an editor has written there
        # an interrupt ends the kernel, and then sometimes nbclient's own clean-up
        except (CellExecutionError, DeadKernelError, AssertionError) as error:
            what = f"cell {bar.n + 1} of {len(nb.cells)} failed, nothing was written"
            raise RuntimeError(f"{what}. {strip_ansi(str(error)) or 'Interrupted'}") from error


def archive(notebook: Path, content: bytes) -> bytes:
    """Return a zip, always the same, of a notebook with this content and a student's files."""
    files = {path.name: path.read_bytes() for path in notebook.parent.glob(STUDENTS_FILES)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in sorted((files | {notebook.name: content}).items()):
            info = zipfile.ZipInfo(name)  # of 1980, not of now
            info.create_system, info.external_attr = 3, 0o644 << 16
            file.writestr(info, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room for it"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "close it where it is open, and allow writing"),
    errno.EROFS: "its disk is read-only, give --output elsewhere",
    errno.EISDIR: "a folder has its name, rename one of them",
    errno.ENAMETOOLONG: "give a shorter --output",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in an error which file it is about, and what to do."""
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno, "give another --output")
        raise OSError(f"{path} cannot be written ({error.strerror}), {advice}") from error


def write(path: Path, content: bytes) -> None:
    """Write a new file and have it on the disk, where that can be known."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                raise


def beside(path: Path, what: str) -> Path:
    """Return a name of our own in a file's folder."""
    return path.with_name(f".{path.name}.{os.getpid()}.{what}")


def try_targets(paths: Iterable[Path]) -> None:
    """Find out whether files can be written or replaced, and change nothing.

    Raises:
        OSError: one cannot.
    """
    for path in paths:
        with writing(path):
            if path.exists():
                path.open("r+b").close()
            try:
                write(beside(path, "new"), b"")
            finally:
                beside(path, "new").unlink(missing_ok=True)


def replace_all(files: dict[Path, bytes]) -> None:
    """Write every file beside its place and, once all are on the disk, move them there.

    Raises:
        OSError: one cannot be written; all are as they were.
    """
    moved = []
    try:
        for path, content in files.items():
            with writing(path):
                write(beside(path, "new"), content)
                if path.exists():
                    shutil.copy2(path, beside(path, "old"))
                    shutil.copymode(path, beside(path, "new"))
        for path in files:
            with writing(path):
                beside(path, "new").replace(path)
            moved.append(path)
    except OSError:
        for path in moved:
            if beside(path, "old").exists():
                beside(path, "old").replace(path)
            else:
                path.unlink()
        raise
    finally:
        for path in files:
            for what in ("new", "old"):
                beside(path, what).unlink(missing_ok=True)


def hand_in(
    notebook: Path, pdf: Path, *, run: bool = True, **options: object
) -> list[Path]:
    """Write the PDF, the zip beside it and, if it ran, the notebook; return them.

    Args:
        notebook: what is handed in.
        pdf: where.
        run: whether to execute the notebook.
        options: of the exporter.

    Raises:
        OSError, ValueError, RuntimeError: it cannot be done; no file was touched.
    """
    nb, content = read(notebook)
    stored = [cell.execution_count or cell.outputs for cell in nb.cells if "outputs" in cell]
    if pdf.suffix != ".pdf" or not pdf.parent.is_dir():
        raise ValueError(f"--output is {pdf}, expected a directory that exists, or *.pdf in one")
    if stored and not any(stored) and not run:
        raise ValueError(f"{notebook} was never executed, expected outputs: omit --no-execute")
    targets = [pdf, pdf.with_suffix(".zip"), *([notebook] if run else [])]
    try_targets(targets)
    if run:
        execute(nb, notebook.parent)
        content = (nbformat.writes(nb) + "\n").encode()
    about = {"name": notebook.stem, "path": str(notebook.parent)}
    exported, _ = TypstExporter(**options).from_notebook_node(nb, {"metadata": about})
    contents = exported, archive(notebook, content), content
    replace_all(dict(zip(targets, contents, strict=False)))
    return targets[:2]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="handin.py",
        description="Execute the notebook in a fresh kernel, store its outputs, and write its PDF "
        "and a zip of what a student edits: the notebook and the task*.py beside it. Existing "
        "files are replaced only if all went well; what the PDF cannot show is named on stderr.",
    )
    option = parser.add_argument
    option("notebook", type=Path, nargs="?", default=NOTEBOOK, help=f"default: {NOTEBOOK.name}")
    option("--output", type=Path, help="the PDF or its directory; default: beside the notebook")
    option("--author", action="append", help="repeatable; default: metadata, or Anonymous")
    option("--id", default="", help="who hands in, as the course names them; part of the names")
    option("--date", default="", help="YYYY-MM-DD or today; default: none, for equal bytes")
    option("--language", default="en", help="in which the PDF is read aloud; default: en")
    option("--no-execute", dest="run", action="store_false", help="export what is stored")
    option("--no-code", dest="code", action="store_false", help="leave the code out of the PDF")
    args = parser.parse_args(argv)
    notebook = args.notebook.resolve()
    pdf = (args.output or notebook.parent).resolve()
    stem = f"{notebook.stem}_{args.id}" if args.id else notebook.stem
    pdf = pdf / f"{stem}.pdf" if pdf.is_dir() else pdf
    try:
        if re.search(r"[^\w.-]", args.id):
            raise ValueError(f"--id is {args.id!r}, expected letters, digits, dots and - or _ only")
        today = date.today()
        day = today if args.date == "today" else args.date and date.fromisoformat(args.date)
        options = {"authors": args.author or [], "id": args.id, "date": str(day)}
        options |= {"language": args.language, "exclude_input": not args.code}
        for path in hand_in(notebook, pdf, run=args.run, **options):
            say(f"{path}: {path.stat().st_size:,} bytes")
    except (OSError, ValueError, RuntimeError) as error:
        say(f"error: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted", sys.stderr)
        return 130  # as shells count it
    return 0


if __name__ == "__main__":
    sys.exit(main())
