"""The PDF of a hand-in's report as it is stored, made in the box: nothing of it is executed."""

import subprocess
import sys
import tempfile
from pathlib import Path

from course import box

LIMITS = box.Limits(memory=1536 * box.MB, files=64 * box.MB, threads=32, seconds=60)
EXPORT = """
import os, pathlib, sys
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}  # or as many as cores
import handin
path, about = pathlib.Path(sys.argv[1]), {"authors": [], "id": sys.argv[2], "date": ""}
sys.stdout.buffer.write(handin.export(handin.read(path)[0], path, about))
"""
MAX_WARNINGS = 3  # of the export that are passed on


def report_pdf(notebook: Path, folder: Path, name: str, *, boxed: bool) -> tuple[bytes, list[str]]:
    """Return the PDF of a notebook, and what the export warns of.

    Args:
        notebook: the file.
        folder: the starter's files, which hold the exporter.
        name: of who hands in, to be shown: letters, digits and a few signs.
        boxed: whether to make it in the box.

    Raises:
        RuntimeError: it cannot be made; says why.
    """
    place = f"{box.INSIDE}/report.ipynb" if boxed else str(notebook)
    command = [sys.executable, "-B", "-c", EXPORT, place, name]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": errors}
        if boxed:
            process = box.start(command, folder, LIMITS, "--ro-bind", notebook, place, **streams)
        else:
            process = box.start_unprotected(command, folder, LIMITS, **streams)
        watch = box.Watch(process, LIMITS)
        watch.allow(LIMITS.seconds)
        watch.start()
        try:
            status = process.wait()
        finally:
            watch.end()
        out.seek(0)
        errors.seek(0)
        pdf, said = out.read(), errors.read(100_000).decode(errors="replace").splitlines()
    if status or not pdf.startswith(b"%PDF-"):
        errors_said = [line for line in said if "rror" in line or "panic" in line]
        why = watch.why or next(reversed(errors_said), f"ends with status {status}")
        raise RuntimeError(f"no PDF of the report: its export {why}")
    return pdf, [f"PDF: {line}" for line in said if line.startswith("warning: ")][:MAX_WARNINGS]
