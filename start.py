"""Set up, then run a command of this folder: `python3 start.py -m pytest --nbval`.

It makes a virtual environment in `.venv`, installs `requirements.txt` into it, and hands all that
follows to its Python, in this folder: one command, in every shell. Pythons as old as 3.6 can read
it, and are told which are needed.
"""

import os
import platform
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SYSTEMS = {  # that all packages have wheels for, see tests/lock.py
    "linux-x86_64": "Linux x86-64",
    "linux-aarch64": "Linux arm64",
    "macosx-x86_64": "macOS Intel",
    "macosx-arm64": "macOS arm64",
    "macosx-universal2": "macOS",
    "win-amd64": "Windows x86-64, on ARM as well",
}
OLDEST = {  # that the packages are built for, see tests/lock.py
    "linux": ("glibc", (2, 28), "use a Linux that has it, such as Debian 10 or Ubuntu 20.04"),
    "macosx": ("macOS", (10, 15), "upgrade it"),
}


def problem(version: tuple, implementation: str, system: str, pyproject: str) -> str:
    """Return what is wrong with a Python, in a line that says which will do, or nothing.

    Args:
        version, implementation: such as (3, 14), "CPython".
        system: as `sysconfig.get_platform` names it.
        pyproject: the text of pyproject.toml.
    """
    first, end = map(
        int, re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', pyproject).groups()
    )
    found = "{} {}.{} for {}".format(implementation, *version[:2], system)
    kind = re.sub(r"-[\d.]+-", "-", system)  # without the version of macOS
    if (3, first) <= tuple(version[:2]) < (3, end) and implementation == "CPython":
        if kind in SYSTEMS:
            return ""
        return f"this Python is {found}, expected one for {', '.join(SYSTEMS.values())}"
    last = f"3.{end - 1}"
    return (
        f"this Python is {found}, expected CPython 3.{first} to {last}: install one of them and "
        f"start with it, as `python{last} start.py`, on Windows `py -{last} start.py`"
    )


def problem_below(system: str, name: str, release: str) -> str:
    """Return what is wrong with what a Python rests on, in a line that says what will do.

    Args:
        system: as `sysconfig.get_platform` names it.
        name, release: such as "glibc", "2.28", of the C library on Linux; else of macOS.
    """
    needed, oldest, remedy = OLDEST.get(system.partition("-")[0], (name, (), ""))
    numbers = tuple(int(number) for number in re.findall(r"\d+", release))
    if name == needed and numbers >= oldest:
        return ""
    found = f"{name} {release}".strip() or "another C library"
    wanted = f"{needed} {'.'.join(map(str, oldest))} or newer"
    return f"this system has {found}, expected {wanted}, which the packages need: {remedy}"


def version_of(python: Path) -> str:
    """Return the version of a Python, as "3.14", or nothing if it does not start."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        said = subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, check=False).stdout
    except OSError:
        return ""
    return said.decode(errors="replace").strip()


def main(arguments: list) -> int:
    """Set up and run; return the exit status."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    kind = "free-threaded " if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    implementation = kind + platform.python_implementation()
    system = sysconfig.get_platform()
    below = ("macOS", platform.mac_ver()[0]) if sys.platform == "darwin" else platform.libc_ver()
    why = problem(sys.version_info, implementation, system, text) or problem_below(system, *below)
    if why or not arguments:
        why = why or "nothing to run, expected handin.py or -m pytest --nbval after start.py"
        print(f"error: {why}", file=sys.stderr)
        return 2
    os.chdir(str(ROOT))
    python = Path(".venv", "Scripts", "python.exe") if os.name == "nt" else Path(".venv/bin/python")
    version = "{}.{}".format(*sys.version_info)
    found = version_of(python) if os.path.lexists(str(python)) else version
    if found != version:
        what = f"Python {found}" if found else "a Python that does not start"
        why = f".venv has {what}, expected {version}, with which this was started"
        print(f"error: {why}: delete the folder .venv, and start again", file=sys.stderr)
        return 2
    install = [
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "-r",
        "requirements.txt",
    ]
    for command in ([sys.executable, "-m", "venv", ".venv"], [str(python), *install]):
        status = subprocess.run(command, check=False).returncode
        if status:
            print(f"error: {' '.join(command)} failed, see above", file=sys.stderr)
            return status
    command = [str(python), *arguments]
    if os.name != "nt":
        os.execv(command[0], command)
    with subprocess.Popen(command) as process:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the command
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
