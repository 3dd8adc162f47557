"""Grade a folder of zips, side by side, each by the command for one, and go on where it stopped.

What became of a hand-in lies in the folder OUT: `sheets/NAME.json` and `reports/NAME.pdf`. A sheet
says what it was made of, by digests, and is written last; one that fits is not made again.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from joblib import Parallel, delayed
from tqdm import tqdm

from course import box
from course.grading import PUBLIC_SEED
from course.handed import MAX_ZIP
from course.sheet import plain
from course.starter import starter_files

ROOT = Path(__file__).resolve().parent.parent
DECIDING = ("course/handed.py", "course/hints.py", "course/paper.py", "course/starter.py")
RERUN = ("all", "sample", "none")
ONE_IN = 10  # of a sample
PLAIN = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")
TO_ITS_END = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
MAX_SECONDS = 1800  # for a hand-in without its report, whatever happens


class Options(NamedTuple):
    """How to grade a class."""

    seed: int  # of the hidden inputs, and of the sample
    rubric: str  # digest of all that decides
    rerun: str = "all"  # whose reports: one of RERUN
    others: tuple[str, ...] = ()  # options of pytest


class Outcome(NamedTuple):
    """What became of a hand-in: `why` there is no sheet, if so, and whether it was graded now."""

    path: Path
    why: str | None = None
    new: bool = True


def safe_name(text: str) -> str:
    """Return a file name for a text, another one for each, on every system."""
    if PLAIN.fullmatch(text):
        return text
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9_.-]+", "-", letters.removesuffix(".zip")).strip("-.")
    return f"{words[:40]}~{hashlib.sha256(os.fsencode(text)).hexdigest()[:16]}"  # ~ is not plain


def name_of(path: Path) -> str:
    """Return what the files about a hand-in are called, without their endings."""
    return safe_name(path.name).removesuffix(".zip")


def sheet_path(out: Path, path: Path) -> Path:
    """Return where a hand-in's sheet is."""
    return out / "sheets" / f"{name_of(path)}.json"


def hand_ins(folder: Path) -> list[Path]:
    """Return the zips of a folder, whatever else they are.

    Raises:
        ValueError: there are none.
    """
    paths = sorted(path for path in folder.iterdir() if is_hand_in(path))
    if not paths:
        raise ValueError(f"{folder} holds no *.zip, expected one for each hand-in")
    return paths


def is_hand_in(path: Path) -> bool:
    """Tell whether a file is named as a hand-in, not as what computers add to one."""
    return path.suffix.lower() == ".zip" and not path.name.startswith("._")


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def zip_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as far as one is read that is not too large.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no file, but what could lead elsewhere or never end.
    """
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "no file"
        raise ValueError(f"is {kind}, expected a zip")
    digest, left = hashlib.sha256(), MAX_ZIP + 1
    with path.open("rb") as file:
        while chunk := file.read(min(left, box.MB)):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def rubric_digest(root: Path = ROOT) -> str:
    """Return the SHA-256 of all that decides about points."""
    files = {f"starter/{name}": content for name, content in starter_files(root).items()}
    for path in [*root.glob("task*.py"), *(root / name for name in DECIDING)]:
        files[path.name] = path.read_bytes()
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def class_seed(out: Path, seed: int | None) -> int:
    """Return the seed of a class: what is given, else what it had before, else a new one.

    Raises:
        ValueError: students have it, or the file that keeps it is damaged.
    """
    file = out / "seed.txt"
    if seed is None:
        try:
            seed = int(file.read_text("utf-8"))
        except FileNotFoundError:
            seed = secrets.randbits(64)
        except ValueError as error:
            raise ValueError(f"{file} holds no number: delete it, or give --seed=N") from error
    if seed == PUBLIC_SEED or seed < 0:
        what = "students have it" if seed == PUBLIC_SEED else "it is negative"
        raise ValueError(f"--seed is {seed}, expected another number: {what}")
    write(file, f"{seed}\n".encode())
    return seed


def reran(path: Path, options: Options) -> bool:
    """Tell whether a hand-in's report is to be executed; a sample does not depend on the others."""
    drawn = hashlib.sha256(f"{options.seed} {name_of(path)}".encode()).digest()
    sampled = options.rerun == "sample" and int.from_bytes(drawn) % ONE_IN == 0
    return sampled or options.rerun == "all"


def pytest_command(path: Path, options: Sequence[str], *, notebook: bool) -> list[str]:
    """Return the command that grades one zip, and ends with the process that runs it."""
    ended = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    command = [*ended, sys.executable, "-m", "pytest", "-q", "--no-header"]
    # with =, since pytest takes a file that stands alone for one of the project to be tested
    return [*command, f"--hand-in={path.absolute()}", *options, *(["--nbval"] if notebook else [])]


def stored_sheet(file: Path) -> dict[str, Any] | None:
    """Return a sheet, or None where there is none."""
    with suppress(OSError, ValueError):
        sheet = json.loads(file.read_text("utf-8"))
        if isinstance(sheet, dict) and isinstance(sheet.get("made"), dict):
            return sheet
    return None


def grade_one(path: Path, out: Path, options: Options) -> Outcome:
    """Write a hand-in's sheet and the PDF of its report, unless there is a sheet that fits.

    Raises:
        ValueError: pytest does not take the options, which are those of all.
    """
    file = sheet_path(out, path)
    pdf = out / "reports" / f"{name_of(path)}.pdf"
    notebook = reran(path, options)
    try:
        made = {"zip": zip_digest(path), "rubric": options.rubric, "seed": options.seed}
    except OSError as error:
        return Outcome(path, f"cannot be read ({error.strerror})")
    except ValueError as error:
        return Outcome(path, str(error))
    made |= {"options": list(options.others), "rerun": notebook}
    stored = stored_sheet(file)
    if stored and stored["made"] in (made, made | {"rerun": True}):
        return Outcome(path, new=False)
    sheet_part, pdf_part = (p.with_name(f".{p.name}.part") for p in (file, pdf))
    for part in (sheet_part, pdf_part):
        part.unlink(missing_ok=True)
    command = pytest_command(
        path,
        [
            *(f"--seed={options.seed}", f"--grades={sheet_part}", f"--report-pdf={pdf_part}"),
            *("-p", "no:cacheprovider", *options.others),
        ],
        notebook=notebook,
    )
    seconds = MAX_SECONDS + (box.WALL * box.NOTEBOOK.seconds if notebook else 0)
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        done = subprocess.run(command, cwd=ROOT, timeout=seconds, check=False, **streams)
    except subprocess.TimeoutExpired:
        return Outcome(path, f"was not graded within {seconds:.0f} seconds")
    said = done.stdout.decode(errors="replace").strip() or "it said nothing"
    if done.returncode == pytest.ExitCode.USAGE_ERROR:
        raise ValueError(said)
    try:
        if done.returncode not in TO_ITS_END:  # interrupted, it may have left half a sheet
            raise ValueError
        sheet = json.loads(sheet_part.read_text("utf-8"))
    except (OSError, ValueError):
        exit_said = re.search(r"Exit: (.*?) !*$", said, re.MULTILINE)  # by pytest.exit
        why = exit_said[1] if exit_said else said.rpartition("\n")[2]
        return Outcome(path, plain(f"grading ended with status {done.returncode}: {why}"))
    if pdf_part.exists():
        pdf_part.replace(pdf)
    else:
        pdf.unlink(missing_ok=True)
    write(file, (json.dumps(sheet | {"made": made}, indent=1) + "\n").encode())
    sheet_part.unlink(missing_ok=True)
    return Outcome(path)


def grade_all(paths: Sequence[Path], out: Path, options: Options, jobs: int = -1) -> list[Outcome]:
    """Grade hand-ins side by side, with a bar and a line for each; return what became of them.

    Args:
        paths: of the zips.
        out: where sheets and reports go.
        options: of grading.
        jobs: as joblib counts them. Its backend may be another one, Dask's for a cluster, if all
            computers have the same folders.
    """
    for name in ("sheets", "reports"):
        (out / name).mkdir(parents=True, exist_ok=True)
    tasks = [delayed(grade_one)(path, out, options) for path in paths]
    outcomes = []
    with tqdm(total=len(paths), unit="hand-in", ncols=100, disable=None) as bar:
        for outcome in Parallel(jobs, prefer="threads", return_as="generator_unordered")(tasks):
            outcomes.append(outcome)
            if outcome.new:
                bar.write(line(outcome, out), file=sys.stderr)
            bar.update()
    return outcomes


def line(outcome: Outcome, out: Path) -> str:
    """Say what became of a hand-in."""
    name = plain(outcome.path.name)
    if outcome.why:
        return f"{name}: not graded: {outcome.why}"
    sheet = stored_sheet(sheet_path(out, outcome.path))
    notes = f" ({plain('; '.join(sheet['notes']))})" if sheet["notes"] else ""
    return f"{name}: {sheet['points']:g}/{sheet['of']:g}{notes}"
