"""Hand in: execute the notebook, export it as a PDF without TeX or a browser, zip the code.

The way of a notebook: its cells and outputs become a list of parts, pandoc with report/report.lua
makes that Typst, and Typst a PDF that looks as report/report.typ says and that screen readers can
read (PDF/UA-1). Whatever cannot make the way is named on stderr with its cell.
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
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from html import escape, unescape
from itertools import pairwise
from pathlib import Path
from typing import TextIO
from urllib.parse import quote, unquote
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
REPORT = Path(__file__).with_name("report")
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
HIDING = {"hide-input", "remove-input"}  # tags of code cells whose source the PDF leaves out
IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")  # vectors first
KINDS = {  # of what to set, by type; of an output the first of its types
    **dict.fromkeys(("text/markdown", "text/latex"), "markdown"),
    **dict.fromkeys(IMAGES, "picture"),
    **{"text/html": "html", "text/plain": "output"},
}

# code, which stays as it is; what no paper can show; formulas as Jupyter finds them
SPECIAL = re.compile(
    r"""(?msx)
    ^[ >]*(?P<fence>`{3,}|~{3,}).*?(?:^[ >]*(?P=fence)|\Z)
    | (?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`) | <(?P<code>pre|code|script|style)\b.*?</(?P=code)>
    | <(?P<tag>audio|canvas|embed|form|iframe|object|video)\b(?:.*?</(?P=tag)>|[^>]*>) | \\\$
    | \$\$(?P<display>.+?)\$\$ | (?P<environment>\\begin\{(?P<name>\w+\*?)\}.*?\\end\{(?P=name)\})
    | \$(?P<inline>(?:\\.|[^$\\\n]|\n(?!\s*\n))+)\$ | \\\\\((?P<round>.+?)\\\\\)
    | \\\\\[(?P<square>.+?)\\\\\]
    """
)
UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ue000]")  # what moves a cursor, and our own mark
COMMENT = "//\ue000"  # begins those of report.lua, which are JSON
ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room for it"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "close it where it is open, and allow writing"),
    errno.EROFS: "its disk is read-only, give another --output",
    errno.EISDIR: "a folder has its name, give another --output",
    errno.ENAMETOOLONG: "give a shorter --output",
}


def say(message: str, stream: TextIO | None = None) -> None:
    """Print what the console can write of a message, and never fail."""
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with suppress(OSError, ValueError):  # a console that is full or closed
        print(message.encode(encoding, "replace").decode(encoding), file=stream, flush=True)


def open_streams() -> None:
    """Lead standard streams that are closed to nowhere, since kernels and bars need some."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


def warn(cell: int, message: str) -> None:
    """Name on stderr what the PDF shows otherwise than the notebook, and in which cell."""
    say(f"warning: cell {cell}: {' '.join(message.split())}", sys.stderr)


def marked(text: str, cell: int, kind: str) -> str:
    """Return Markdown or HTML whose formulas are hidden from pandoc, as report.lua knows them."""

    def mark(found: re.Match) -> str:
        if found["tag"]:
            warn(cell, f"<{found['tag']}> cannot be set, its source is shown: {found[0]:.300}")
            return f"<code>{escape(found[0])}</code>"
        display = found["display"] or found["square"] or found["environment"]
        tex = display or found["inline"] or found["round"]
        if not tex:
            return "$" if kind == "html" and found[0] == r"\$" else found[0]
        tex = unescape(tex) if kind == "html" else tex
        return f"\ue000{'d' if display else 'i'}{tex.strip().encode().hex()}\ue000"

    return SPECIAL.sub(mark, text)


def address(mime: str, data: str) -> str:
    """Return a picture as the address of itself."""
    data = base64.b64encode(data.encode()).decode() if data.lstrip().startswith("<") else data
    return f"data:{mime};base64,{''.join(data.split())}"


def output_part(output: NotebookNode, cell: int) -> dict:
    """Return what paper can show of an output, of the first of its types."""
    if output.output_type == "error":
        warn(cell, f"its output is an error, {output.ename}")
        return {"kind": "error", "text": "\n".join(output.traceback)}
    if output.get("name") == "stderr":
        warn(cell, f"its output on stderr is left out: {output.text:.300}")
        return {"kind": "output", "text": ""}
    data = output.get("data") or {"text/plain": output.get("text")}
    data = {mime: content for mime, content in data.items() if content}
    mime = next((mime for mime in KINDS if mime in data), "its source")
    if mime in ("text/plain", "its source"):
        for other in sorted(data.keys() - {mime}):
            warn(cell, f"{other} output cannot be set, {mime} is shown")
    text = data.get(mime) or "".join(f"{mime}: {str(data[mime])[:300]}\n" for mime in data)
    about = {**output.get("metadata", {}), **output.get("metadata", {}).get(mime, {})}
    options = {name: str(about.get(name, "")) for name in ("alt", "width")}
    text = address(mime, text) if mime in IMAGES else text
    return {"kind": KINDS.get(mime, "output"), "text": text, **options}


def parts(nb: NotebookNode, *, code: bool) -> Iterator[dict]:
    """Yield what of a notebook to set, with or without the sources of code cells."""
    language = nb.metadata.get("language_info", {}).get("name", "python")
    for number, cell in enumerate(nb.cells, 1):
        source, kind = cell.source, {"markdown": "markdown", "code": language}.get(cell.cell_type)
        for name, data in cell.get("attachments", {}).items():
            for spelt in {name, quote(name)}:
                source = source.replace(f"attachment:{spelt}", address(*next(iter(data.items()))))
        if kind != language or (code and not HIDING & set(cell.metadata.get("tags", ()))):
            yield {"cell": number, "kind": kind or "output", "text": source}
        for output in cell.get("outputs", ()):
            yield {"cell": number, **output_part(output, number)}


def typst_lines(nb: NotebookNode, name: str, *, code: bool = True) -> list[str]:
    """Return a notebook's Typst; a name is its title if no heading is."""
    shown = []
    for part in parts(nb, code=code):
        text = UNSEEN.sub("", strip_ansi(part["text"])).strip("\n")
        if part["kind"] in ("markdown", "html"):
            text = marked(text, part["cell"], part["kind"])
        shown += [{**part, "text": text}] if text else []
    content = json.dumps({"name": name, "parts": shown})
    reader, options = str(REPORT / "report.lua"), ("--wrap=none", "--syntax-highlighting=idiomatic")
    source = pypandoc.convert_text(
        content, "typst", reader, options, verify_format=False, sandbox=True
    )
    lines = re.split("\r\n|[\n\v\f\r\x85\u2028\u2029]", source)  # as Typst numbers them
    for about in map(known, lines):
        if "warning" in about:
            warn(about["cell"], about["warning"])
    return lines


def known(line: str) -> dict:
    """Return what report.lua says in a line of its comments, nothing for others."""
    return json.loads(line[len(COMMENT) :]) if line.startswith(COMMENT) else {}


def amend(diagnostic: str, lines: list[str], options: dict) -> bool:
    """Name what Typst refuses and change lines or options so that it will not; tell if one can."""
    problems, starts = [], [line.partition(" = ")[0] for line in lines]
    for text in re.split("(?m)^error: ", diagnostic)[1:]:
        place = re.search(r"┌─ .*?(?:main\.typ:(\d+)|\b(p\d+)):", text)
        at = -1 if not place else int(place[1] or starts.index(f"#let {place[2]}") + 1) - 1
        about = next(filter(None, map(known, lines[at::-1] if place else ())), {"cell": "?"})
        problems.append((text.partition("\n")[0], at, about))
    glyphs = [problem for problem in problems if "could not be displayed" in problem[0]]
    fonts = glyphs and options["ignore_system_fonts"]
    messages = {}  # a set that keeps its order
    for text, at, about in glyphs if fonts else problems:
        reason, what = text.removeprefix("PDF/UA-1 error: "), about.get("what", "the document")
        if fonts:
            message, options["ignore_system_fonts"] = f"{reason}, this system's are tried", False
        elif reason != text:
            message, options["pdf_standards"] = f"no PDF/UA-1 for {what}: {reason}", []
        elif "instead" in about and not lines[at].endswith(about["instead"]):
            lines[at] = lines[at].partition(" = ")[0] + " = " + about["instead"]
            message = f"cannot be set, its source is shown: {what}"
        else:
            return False
        messages[about["cell"], message] = None
    for cell, message in messages:
        warn(cell, message)
    return True


def compile_pdf(lines: list[str], base: Path, about: dict) -> bytes:
    """Return the PDF: PDF/UA-1 in the wheel's fonts, unless something that is named prevents it.

    Args:
        lines: Typst.
        base: where relative paths of pictures start.
        about: authors, id and date.

    Raises:
        ValueError: Typst cannot set the document; says why.
    """
    options = {"ignore_system_fonts": True, "pdf_standards": ["ua-1"]}
    inputs = {"about": json.dumps(about)}
    with tempfile.TemporaryDirectory() as directory:
        main = Path(shutil.copy(REPORT / "report.typ", directory)).with_name("main.typ")
        for comment, line in pairwise(lines):
            if source := known(comment).get("source"):
                content = b""
                with suppress(OSError, ValueError):  # no such file, or no data: no picture
                    path = base / unquote(source)
                    data = source.startswith("data:")
                    content = urlopen(source).read() if data else path.read_bytes()
                main.with_name(line.split()[1]).write_bytes(content)
        while True:
            main.write_text("\n".join(lines), "utf-8")
            try:
                return typst.compile(str(main), sys_inputs=inputs, **options)
            except typst.TypstError as error:
                if not amend(error.diagnostic, lines, options):
                    raise ValueError(f"Typst cannot set it: {error.diagnostic}") from error


class TypstExporter(TemplateExporter):
    """Exports a notebook to a PDF by way of pandoc and Typst, both from pip."""

    export_from_notebook = "PDF via Typst"
    output_mimetype = "application/pdf"
    file_extension = ".pdf"
    authors = List(Unicode(), help="default: what the notebook's metadata say").tag(config=True)
    id = Unicode(help="who hands in, as the course names them").tag(config=True)
    date = Unicode(help="YYYY-MM-DD; default: none").tag(config=True)

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict | None = None, **kw: object
    ) -> tuple[bytes, dict]:
        """Return the PDF of a notebook, and nbconvert's resources.

        Raises:
            ValueError: Typst cannot set the document; says why.
        """
        nb, resources = Exporter.from_notebook_node(self, nb, resources, **kw)
        nb, resources = CoalesceStreamsPreprocessor().preprocess(nb, resources)
        place = resources.get("metadata", {})
        named = [author for author in nb.metadata.get("authors", []) if "name" in author]
        authors = self.authors or [author["name"] for author in named]
        authors = authors or ([] if self.id else ["Anonymous"])
        about = {"authors": authors, "id": self.id, "date": self.date}
        lines = typst_lines(nb, place.get("name") or "Notebook", code=not self.exclude_input)
        return compile_pdf(lines, Path(place.get("path") or "."), about), resources


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
        raise ValueError(
            f"{path} is no notebook ({error!r:.80}), expected .ipynb in UTF-8"
        ) from error


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
    files = {path.name: path.read_bytes() for path in notebook.parent.glob("task*.py")}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in sorted((files | {notebook.name: content}).items()):
            info = zipfile.ZipInfo(name)  # of 1980, not of now
            info.create_system, info.external_attr = 3, 0o644 << 16
            file.writestr(info, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def replace_all(files: dict[Path, bytes], *, rehearse: bool = False) -> None:
    """Write every file beside its place and, once all are on the disk, move them there.

    Args:
        files: their contents.
        rehearse: whether to move none, but only find out.

    Raises:
        OSError: one cannot be written; all are as they were.
    """
    new = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in files}
    old = {path: path.with_name(f".{path.name}.{os.getpid()}.old") for path in files}
    moved = []
    try:
        for path, content in files.items():
            with new[path].open("xb") as file:
                file.write(content)
                file.flush()
                try:
                    os.fsync(file.fileno())
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                        raise
            if path.exists():
                path.open("r+b").close()  # neither read-only nor locked by a viewer
                shutil.copy2(path, old[path])
                shutil.copymode(path, new[path])
        for path in () if rehearse else files:
            new[path].replace(path)
            moved.append(path)
    except BaseException as error:  # an interrupt among them
        for done in moved:
            old[done].replace(done) if old[done].exists() else done.unlink()
        if not isinstance(error, OSError):
            raise
        advice = ADVICE.get(error.errno, "give another --output")
        raise OSError(f"{path} cannot be written ({error.strerror}), {advice}") from error
    finally:
        for temporary in (*new.values(), *old.values()):
            temporary.unlink(missing_ok=True)


def hand_in(notebook: Path, pdf: Path, *, run: bool = True, **options: object) -> list[Path]:
    """Write the PDF, the zip beside it and, if it ran, the notebook; return the first two.

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
    targets = [pdf, pdf.with_suffix(".zip"), notebook][: 3 if run else 2]
    replace_all(dict.fromkeys(targets, b""), rehearse=True)
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
    option("--no-execute", dest="run", action="store_false", help="export what is stored")
    option("--no-code", dest="code", action="store_false", help="leave the code out of the PDF")
    open_streams()
    args = parser.parse_args(argv)
    notebook = args.notebook.resolve()
    pdf = (args.output or notebook.parent).resolve()
    stem = f"{notebook.stem}_{args.id}" if args.id else notebook.stem
    pdf = pdf / f"{stem}.pdf" if pdf.is_dir() else pdf
    try:
        if re.search(r"[^\w.-]", args.id):
            raise ValueError(f"--id is {args.id!r}, expected letters, digits and . - _ only")
        day = str(date.today()) if args.date == "today" else args.date
        if not re.fullmatch(r"|\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])", day):
            raise ValueError(f"--date is {day!r}, expected YYYY-MM-DD or today")
        about = {"authors": args.author or [], "id": args.id, "date": day}
        for path in hand_in(notebook, pdf, run=args.run, exclude_input=not args.code, **about):
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
