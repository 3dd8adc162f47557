"""Change the code in one place at a time, and see whether the tests notice.

    python tests/mutation/mutation.py               # all files
    python tests/mutation/mutation.py task3.py report/parallel.py     # some of them

Cosmic Ray (https://cosmic-ray.readthedocs.io) makes the mutants, of functions as of module-level
data. Each is tested in a copy, by a process forked where pytest, NumPy and matplotlib are already
imported, so that a mutant takes a second or two and the working tree is never touched. Survivors
must be those that `equivalents.toml` lists with a reason, all of them. Windows cannot fork.
"""

import argparse
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from difflib import unified_diff
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from resource import RLIMIT_CPU, RUSAGE_CHILDREN, getrusage, setrlimit
from signal import SIGKILL, SIGTERM, default_int_handler, signal
from time import perf_counter
from typing import NamedTuple

from cosmic_ray.commands import init
from cosmic_ray.config import load_config
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec
from tqdm import tqdm

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIG = HERE / "cosmic-ray.toml"
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__")
PRELOADED = (
    *("hypothesis.extra.numpy", "IPython", "joblib.externals.loky", "nbval.plugin", "pytest"),
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "matplotlib.figure"),
    *("matplotlib.style", "numpy.random", "typst"),
)
OPTIONS = ("-x", "-q", "--tb=short", "-p", "no:cacheprovider")
ENDLESS = 3  # times the processor time of the unmutated code
COLUMNS = ("mutants", "killed", "timed out", "listed", "unlisted")


class Mutant(NamedTuple):
    """A mutant, named so that the name lasts when lines move."""

    file: str  # relative to the project
    place: str  # the function or class, if any
    was: str  # the changed lines
    now: str


def copy_project(directory: Path) -> Path:
    """Return a copy of the project, of which nothing else is read from then on."""
    return shutil.copytree(ROOT, directory / "pristine", ignore=LEFT_OUT)


def find_mutants(files: list[str], pristine: Path, excluded: str) -> list[MutationSpec]:
    """Return where and how to change the files, other than by the excluded operators."""
    paths = [pristine / file for file in files]
    with use_db(str(pristine.with_name("session.sqlite"))) as work:
        init(paths, work, {})
        specs = [mutation for item in work.work_items for mutation in item.mutations]
    specs = [spec for spec in specs if not re.match(excluded, spec.operator_name)]
    return sorted(specs, key=lambda spec: (paths.index(spec.module_path), spec.start_pos))


def mutate(spec: MutationSpec, pristine: Path) -> tuple[Mutant, str]:
    """Return a mutant and its file's text."""
    code = spec.module_path.read_text(encoding="utf-8")
    mutated = mutate_code(code, get_operator(spec.operator_name)(), spec.occurrence)
    diff = list(unified_diff(code.splitlines(), mutated.splitlines(), n=0))[2:]
    was, now = (" ".join(d[1:].strip() for d in diff if d[0] == sign) for sign in "-+")
    file = spec.module_path.relative_to(pristine).as_posix()
    return Mutant(file, spec.definition_name or "", was, now), mutated


def prepare(pristine: Path) -> None:
    """Make a worker's own copy, and import what all its mutants need."""
    for name in PRELOADED:
        import_module(name)
    gc.freeze()  # or pytest, which collects garbage at its end, visits all of it for each mutant
    os.chdir(shutil.copytree(pristine, f"{pristine}-{os.getpid()}"))


def run_tests(tests: list[str], cpu_seconds: int) -> None:
    """Run tests on the code of the current directory until one fails."""
    os.setsid()
    setrlimit(RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.dont_write_bytecode = True  # that of the unmutated files came with the copy
    pytest = import_module("pytest")
    sys.exit(pytest.main([*OPTIONS, *tests]))


def fate(
    spec: MutationSpec,
    pristine: Path,
    tests: dict[str, list[str]],
    limit: float,
    cpu_seconds: dict[str, int],
) -> tuple[Mutant, str]:
    """Tell what becomes of a mutant in this worker's copy: survived, killed or timed out."""
    mutant, code = mutate(spec, pristine)
    unmutated = Path(mutant.file).rename("unmutated")
    Path(mutant.file).write_text(code, encoding="utf-8")
    arguments = tests[mutant.file], cpu_seconds[mutant.file]
    process = get_context("fork").Process(target=run_tests, args=arguments)
    process.start()
    try:
        process.join(limit)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, SIGKILL)  # and what it has started
        process.join()
    unmutated.replace(mutant.file)
    return mutant, {0: "survived", -SIGKILL: "timed out"}.get(process.exitcode, "killed")


def cpu_limit(pristine: Path, tests: list[str]) -> int:
    """Return how many seconds of processor time are too many, by tests of the unmutated code."""
    before = getrusage(RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, "-m", "pytest", *OPTIONS, *tests], cwd=pristine, check=True)
    return round(ENDLESS * (getrusage(RUSAGE_CHILDREN).ru_utime - before)) + 10


def only_checks_less(mutant: Mutant) -> bool:
    """Tell whether a mutant only goes without a check that depends on how the code is written.

    That is the check of lengths, which Ruff demands of every zip (where it can fail, a test has the
    very error that it raises), or that an argument is given by its name.
    """
    less = {"strict=True": "strict=False", " *, ": " /, "}
    return any(mutant.now == mutant.was.replace(*two) != mutant.was for two in less.items())


def read_equivalents(files: list[str]) -> set[Mutant]:
    """Return the listed mutants of the files."""
    listed = tomllib.loads((HERE / "equivalents.toml").read_text(encoding="utf-8"))
    return {
        Mutant(group["file"], group.get("in", ""), was, now)
        for group in listed["equivalent"]
        for was, now in group["mutants"]
        if group["file"] in files
    }


def main() -> None:
    """Test all mutants, and print what became of them by file."""
    config = load_config(CONFIG)
    tests = config["tests"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="file", help=f"of {', '.join(tests)}")
    files = parser.parse_args().files or [*tests]
    signal(SIGTERM, default_int_handler)  # clears up as after Ctrl-C
    start, equivalents, survivors = perf_counter(), read_equivalents(files), set()
    counts: dict[str, Counter[str]] = {file: Counter() for file in files}
    with tempfile.TemporaryDirectory() as directory:
        pristine = copy_project(Path(directory))
        os.environ["GOLDEN_FIGURES"] = directory
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the copies take it from this run
        cpu_seconds = {file: cpu_limit(pristine, tests[file]) for file in files}
        with ProcessPoolExecutor(
            mp_context=get_context("spawn"), initializer=prepare, initargs=(pristine,)
        ) as workers:
            fates = [
                workers.submit(fate, spec, pristine, tests, config.timeout, cpu_seconds)
                for spec in find_mutants(files, pristine, "|".join(config["exclude-operators"]))
            ]
            try:
                for done in tqdm(as_completed(fates), "mutants", len(fates), leave=False):
                    mutant, became = done.result()
                    if became == "survived":
                        survivors.add(mutant)
                        known = mutant in equivalents or only_checks_less(mutant)
                        became = "listed" if known else "unlisted"
                    if became == "unlisted":
                        tqdm.write("SURVIVED  {}: {}\n  - {}\n  + {}".format(*mutant))
                    counts[mutant.file].update([became, "mutants"])
            except BaseException:
                workers.shutdown(cancel_futures=True)
                raise
    stale = equivalents - survivors
    for mutant in sorted(stale):
        print("LISTED, BUT NO SURVIVOR  {}: {}\n  - {}\n  + {}".format(*mutant))
    print(f"{'file':20}" + "".join(f"{column:>10}" for column in COLUMNS))
    for file, of_file in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{file:20}" + "".join(f"{of_file[column]:>10}" for column in COLUMNS))
    print(f"{perf_counter() - start:,.0f} s with {os.cpu_count()} processes")
    if of_file["unlisted"] or stale:
        sys.exit(f"{of_file['unlisted']} unlisted survivors, {len(stale)} listed are none")


if __name__ == "__main__":
    main()
