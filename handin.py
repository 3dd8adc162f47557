"""Hand in: execute the notebook, export it as a PDF without TeX or a browser, zip the code.

The way of a notebook: pandoc makes it Typst with report/report.lua, and Typst a PDF that looks as
report/report.typ says and that screen readers can read (PDF/UA-1). What Typst refuses is replaced,
and whatever cannot make the way is named on stderr with its cell.
"""

import argparse
import copy
import errno
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import ExitStack, suppress
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pypandoc
import typst
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert.filters import strip_ansi
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from tqdm import tqdm

from report import trainings_folder

# the wheel's pandoc, not a newer one of the system that writes for another Typst
os.environ.setdefault("PYPANDOC_PANDOC", str(Path(pypandoc.__file__).with_name("files") / "pandoc"))

NOTEBOOK = Path(__file__).with_name("assignment2.ipynb")
REPORT = Path(__file__).with_name("report")
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# variables that set up Python and its tools for other work, except for those that say where
# packages are, which are kept
FOREIGN = re.compile(r"(?!PYTHON(PATH|HOME|USERBASE|NOUSERSITE)$)I?(PYTHON|JUPYTER|MPL|MATPLOTLIB)")
ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room for it"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "close it where it is open, and allow writing"),
}


def say(message: str, *, error: bool = False) -> None:
    """Print what the console can write of a message, and never fail."""
    stream = sys.stderr if error else sys.stdout
    with suppress(OSError, ValueError, AttributeError):  # it is full, closed or none
        encoding = stream.encoding or "utf-8"
        print(message.encode(encoding, "replace").decode(encoding), file=stream, flush=True)


def export(nb: NotebookNode, path: Path, about: dict, *, code: bool = True) -> bytes:
    """Return the PDF: PDF/UA-1 in the wheel's fonts, unless something that is named prevents it.

    Args:
        nb: the notebook.
        path: its file, whose name is the title if no heading is.
        about: authors, id and date.
        code: whether to show the sources of code cells.

    Raises:
        typst.TypstError: Typst cannot set the document, or not report.typ.
    """
    nb, _ = CoalesceStreamsPreprocessor().preprocess(copy.deepcopy(nb), {})
    reader, look = str(REPORT / "report.lua"), ("--wrap=none", "--syntax-highlighting=idiomatic")
    here = {"verify_format": False, "sandbox": True, "cworkdir": path.resolve().parent}
    with TemporaryDirectory() as folder:
        shutil.copy(REPORT / "report.typ", folder)
        given = json.dumps({"name": path.stem, "code": code, "folder": folder, **nb})
        lines = pypandoc.convert_text(given, "typst", reader, look, **here).split("\n")
        return typeset(lines, root=folder, sys_inputs={"about": json.dumps(about)})


def typeset(lines: list[str], **options: object) -> bytes:
    """Return the PDF of lines of Typst, of which those that Typst refuses are replaced.

    Args:
        lines: as report.lua writes them, with comments that tell of what cell a line is, what the
            PDF cannot show, and what to set instead of the next line.
        options: of typst.compile, whose errors of other lines are raised.
    """
    cells, attempts = ["?"], {}  # of lines, which Typst counts from 1
    for number, line in enumerate(lines, 1):
        comment = json.loads(line.partition("//\2")[2] or "{}")
        cells.append(comment.get("cell", cells[-1]))
        if "instead" in comment:
            attempts[number + 1] = comment
        elif "what" in comment:
            say(f"warning: cell {cells[number]}: {comment['what']}", error=True)
    options |= {"ignore_system_fonts": True, "pdf_standards": ["ua-1"]}
    while True:
        try:
            return typst.compile("\n".join(lines).encode(), **options)
        except typst.TypstError as error:
            why, then, named = error.diagnostic, "", {}  # each once
            forbidden = "PDF/UA-1 error" in why
            if forbidden and options["ignore_system_fonts"] and "not be displayed" in why:
                options["ignore_system_fonts"], then = False, ", this system's fonts are tried"
            elif forbidden:
                options["pdf_standards"], then = [], ", so the PDF is not PDF/UA-1"
            for reason in re.split(r"(?m)^error: (?:PDF/UA-1 error: )?", why)[1:]:
                place = re.search(r"<bytes>:(\d+):", reason)
                number = int(place[1]) if place else 0
                if then:
                    named[f"cell {cells[number]}: {reason.splitlines()[0]}{then}"] = None
                elif number in attempts:
                    lines[number - 1] = attempts[number]["instead"]
                    named[f"cell {cells[number]}: {attempts.pop(number)['what']}"] = None
            if not named:
                raise
        for what in named:
            say(f"warning: {what}", error=True)


def read(path: Path) -> tuple[NotebookNode, bytes]:
    """Return a notebook, and its file in UTF-8 without a byte order mark.

    Raises:
        ValueError: there is none, or it is no notebook.
    """
    try:
        content = path.read_bytes()
        text = content.decode(json.detect_encoding(content))
        return nbformat.reads(text, as_version=4), text.encode()
    except Exception as error:  # nbformat's errors have no base class of their own
        found = f"{path} is no notebook, or cannot be read ({error!r:.80})"
        raise ValueError(f"{found}, expected .ipynb in UTF-8") from error


def execute(nb: NotebookNode, directory: Path, *, fresh: bool) -> None:
    """Run all cells in a fresh kernel of this Python, in place, with a bar in a terminal.

    Args:
        nb: the notebook.
        directory: where.
        fresh: whether to repeat trainings that are remembered.

    Raises:
        RuntimeError: a cell failed; shows its number, source and error.
    """
    import matplotlib.font_manager  # what it says of its first start, it says here

    logging.getLogger("asyncio").disabled = True  # an interrupt leaves tasks of nbclient behind
    terminal = sys.stderr is not None and sys.stderr.isatty()
    env = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
    path = os.pathsep.join(filter(None, [str(directory), env.get("PYTHONPATH")]))
    fonts = matplotlib.get_cachedir()  # which take long to find; a new one if there is no home
    # without directories there is no kernel but this Python's, whatever the user installed
    specs = KernelSpecManager(kernel_dirs=[])
    kernel = AsyncKernelManager(kernel_name=NATIVE_KERNEL_NAME, kernel_spec_manager=specs)
    started = []
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as own,
        tqdm(total=len(nb.cells), unit="cell", leave=False, disable=not terminal) as bar,
    ):
        client = NotebookClient(
            nb,
            kernel,
            timeout=None,
            record_timing=False,  # times differ from run to run, and so do pieces of a stream
            coalesce_streams=True,
            on_cell_start=lambda cell, **_: started.append(cell) or bar.update(),
            resources={"metadata": {"path": str(directory)}},
        )
        (Path(own) / "matplotlibrc").touch()
        env |= {"PYTHONPATH": path, "IPYTHONDIR": own, "MATPLOTLIBRC": own, "MPLCONFIGDIR": fonts}
        env |= {"REMEMBERED_TRAININGS": "renew"} if fresh else {}
        try:
            client.execute(env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            nb.metadata.kernelspec = dict(KERNELSPEC)  # whatever an editor has written there
        # an interrupt ends the kernel, and then sometimes nbclient's own clean-up
        except (CellExecutionError, DeadKernelError, AssertionError) as error:
            what = f"cell {len(started)} of {len(nb.cells)} failed, nothing was written"
            raise RuntimeError(f"{what}. {strip_ansi(str(error)) or 'Interrupted'}") from error


def last_used(folder: Path) -> dict[Path, int]:
    """Return when each file of a folder was last used, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}


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
    beside = {}
    try:
        with ExitStack() as folders, ExitStack() as undo:
            for path, content in files.items():
                folder = TemporaryDirectory(dir=path.parent, prefix=".", ignore_cleanup_errors=True)
                beside[path] = Path(folders.enter_context(folder))
                with (beside[path] / "new").open("xb") as file:
                    file.write(content)
                    file.flush()
                    try:
                        os.fsync(file.fileno())
                    except OSError as error:
                        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                            raise
                if path.exists():
                    path.open("r+b").close()  # neither read-only nor locked by a viewer
                    shutil.copy2(path, beside[path] / "old")
                    shutil.copymode(path, beside[path] / "new")
            for path in () if rehearse else files:
                old = beside[path] / "old"
                (beside[path] / "new").replace(path)
                undo.callback(*(old.replace, path) if old.exists() else (path.unlink,))
            undo.pop_all()  # all are there
    except OSError as error:
        advice = ADVICE.get(error.errno, "give another --output")
        raise OSError(f"{path} cannot be written ({error.strerror}), {advice}") from error


def hand_in(args: argparse.Namespace) -> list[Path]:
    """Write the PDF, the zip beside it and, if it ran, the notebook; return the first two.

    Args:
        args: of the command line, see `main`.

    Raises:
        OSError, ValueError, RuntimeError: it cannot be done; no file was touched.
    """
    notebook = args.notebook.resolve()
    pdf = (args.output or notebook.parent).resolve()
    if pdf.is_dir():
        pdf /= f"{notebook.stem}_{args.id}.pdf" if args.id else f"{notebook.stem}.pdf"
    nb, content = read(notebook)
    executed = [cell.execution_count or cell.outputs for cell in nb.cells if "outputs" in cell]
    if re.search(r"[^\w.-]", args.id):
        raise ValueError(f"--id is {args.id!r}, expected letters, digits and . - _ only")
    if pdf.suffix != ".pdf" or not pdf.parent.is_dir():
        raise ValueError(f"--output is {pdf}, expected a directory that exists, or *.pdf in one")
    if executed and not any(executed) and not args.run:
        raise ValueError(f"{notebook} was never executed, expected outputs: omit --no-execute")
    targets = [pdf, pdf.with_suffix(".zip"), *([notebook] if args.run else [])]
    replace_all(dict.fromkeys(targets, b""), rehearse=True)
    if args.run:
        before = last_used(trainings_folder())
        execute(nb, notebook.parent, fresh=args.fresh)
        used = {path for path, when in last_used(trainings_folder()).items() - before.items()}
        remembered = 0 if args.fresh else len(used & before.keys())
        if used:
            say(f"{remembered} of {len(used)} trainings were remembered, in {trainings_folder()}")
        content = (nbformat.writes(nb) + "\n").encode()
    named = [author.name for author in nb.metadata.get("authors", []) if "name" in author]
    authors = args.author or named or ([] if args.id else ["Anonymous"])
    about = {"authors": authors, "id": args.id, "date": str(args.date or "")}
    contents = export(nb, notebook, about, code=args.code), archive(notebook, content), content
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
    option("--date", type=date.fromisoformat, metavar="YYYY-MM-DD", help="default: none")
    option("--fresh", action="store_true", help="repeat trainings, even if they are remembered")
    option("--no-execute", dest="run", action="store_false", help="export what is stored")
    option("--no-code", dest="code", action="store_false", help="leave the code out of the PDF")
    try:
        for path in hand_in(parser.parse_args(argv)):
            say(f"{path}: {path.stat().st_size:,} bytes")
    except (OSError, ValueError, RuntimeError) as error:
        say(f"error: {getattr(error, 'diagnostic', error)}", error=True)  # Typst's says where
        return 1
    except KeyboardInterrupt:
        say("interrupted", error=True)
        return 130  # as shells count it
    return 0


if __name__ == "__main__":
    sys.exit(main())
