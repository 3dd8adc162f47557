"""The first command: it tells a Python that will not do, and every package has its version."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import start
from tests import lock

ROOT = Path(__file__).resolve().parent.parent
TEXTS_WITH_COMMANDS = ("README.md", "course/student.md", "course/feedback.py")
TEXTS = {
    name: (ROOT / name).read_text("utf-8")
    for name in (*TEXTS_WITH_COMMANDS, "pyproject.toml", "start.py")
}
LINUX = "linux-x86_64"


def told(version=(3, 12), implementation="CPython", system=LINUX):
    return start.problem(version, implementation, system, TEXTS["pyproject.toml"])


@pytest.mark.parametrize("python", lock.pythons())
@pytest.mark.parametrize(
    "system", [LINUX, "linux-aarch64", "macosx-11.0-arm64", "macosx-10.15-x86_64", "win-amd64"]
)
def test_a_python_that_will_do_is_not_spoken_of(python, system):
    assert told(tuple(map(int, python.split("."))), system=system) == ""


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 10), (3, 15), (4, 0)])
def test_a_python_that_is_too_old_or_too_new_is_told_which_will_do(version):
    words = f"this Python is CPython {version[0]}.{version[1]} for linux-x86_64, expected CPython "
    assert told(version).startswith(f"{words}3.11 to 3.14: install one of them and start with it")


@pytest.mark.parametrize("name", ["PyPy", "free-threaded CPython"])
def test_another_python_is_told_which_will_do(name):
    assert told(implementation=name).startswith(f"this Python is {name} 3.12 for linux-x86_64, exp")


@pytest.mark.parametrize("system", ["win-arm64", "win32", "linux-riscv64", "linux-i686"])
def test_another_system_is_told_which_will_do(system):
    assert f"for {system}, expected one for Linux x86-64, Linux arm64, mac" in told(system=system)


@pytest.mark.parametrize(
    ("system", "below"),
    [
        *((LINUX, ("glibc", release)) for release in ("2.28", "2.36", "3.0")),
        *(("macosx-11.0-arm64", ("macOS", release)) for release in ("10.15", "11.7.1", "26.1")),
        ("win-amd64", ("", "")),
    ],
)
def test_a_system_that_will_do_is_not_spoken_of(system, below):
    assert start.problem_below(system, *below) == ""


@pytest.mark.parametrize(
    ("system", "below", "words"),
    [
        (LINUX, ("glibc", "2.17"), "has glibc 2.17, expected glibc 2.28 or newer"),
        (LINUX, ("musl", "1.2.5"), "has musl 1.2.5, expected glibc 2.28 or newer"),
        ("linux-aarch64", ("", ""), "has another C library, expected glibc 2.28 or newer, which"),
        ("macosx-10.9-universal2", ("macOS", "10.14.6"), "macOS 10.14.6, expected macOS 10.15 or"),
    ],
)
def test_a_system_that_is_too_old_or_other_is_told_what_will_do(system, below, words):
    assert words in start.problem_below(system, *below)


@pytest.mark.parametrize(
    ("version", "arguments", "words"),
    [((3, 15, 0), ["handin.py"], "CPython 3.15"), ((3, 12, 0), [], "nothing to run, expected han")],
)
def test_nothing_is_begun_then(version, arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(start.sys, "version_info", version)
    monkeypatch.setattr(start.subprocess, "run", None)
    assert start.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_nothing_is_begun_on_a_system_that_will_not_do(monkeypatch, capsys):
    monkeypatch.setattr(start.sys, "platform", "linux")
    monkeypatch.setattr(start.sysconfig, "get_platform", lambda: LINUX)
    monkeypatch.setattr(start.platform, "libc_ver", lambda: ("musl", "1.2.5"))
    monkeypatch.setattr(start.subprocess, "run", None)
    assert start.main(["handin.py"]) == 2
    assert "error: this system has musl 1.2.5, expected glibc 2.28" in capsys.readouterr().err


@pytest.mark.parametrize("version", [(3, 6), (3, 8)])
def test_old_pythons_can_read_it(version):
    ast.parse(TEXTS["start.py"], feature_version=version)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder that needs no packages."""
    folder = tmp_path_factory.mktemp("a folder")
    for name in ("start.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements.txt").write_text("")
    return folder


def started(folder, code):
    command = [sys.executable, folder / "start.py", "-c", code]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def test_what_is_asked_for_runs_in_the_folder_s_own_environment(small):
    done = started(small, "import os, sys; print(sys.prefix, os.getcwd()); sys.exit(5)")
    assert (done.returncode, done.stdout) == (5, f"{small / '.venv'} {small}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there a Python is an *.exe")
@pytest.mark.parametrize(
    ("start_line", "words"),
    [
        ("#!/bin/echo 3.10", ".venv has Python 3.10 "),
        ("#!/bin/false", ".venv has a Python that does not start, "),
        ("#!/nowhere/python3.12", ".venv has a Python that does not start, "),
    ],
)
def test_an_environment_of_another_python_is_not_used(start_line, words, small, tmp_path):
    shutil.copytree(small, tmp_path / "a", ignore=shutil.ignore_patterns(".venv"))
    python = tmp_path / "a" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"{start_line}\n")
    python.chmod(0o755)
    done = started(tmp_path / "a", "print('begun')")
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "delete the folder .venv, and start again" in done.stderr


def test_what_cannot_be_installed_ends_it(small):
    (small / "requirements.txt").write_text("./nowhere\n")
    done = started(small, "print('begun')")
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install -q --disable-pip-version-check -r requirements.txt failed" in done.stderr


# ---- what it installs, and what is said of it


def pins(name):
    """Return what a file requires, without comments and options."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if re.match(r"\w", line)]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_is_locked_and_as_required():
    locked = {(pin.name, str(pin.specifier)) for pin in pins("constraints.txt")}
    required = {(pin.name, str(pin.specifier)) for pin in pins("requirements.txt")}
    assert len(required) > 20
    assert required <= locked
    assert all(re.fullmatch(r"==[\w.]+", specifier) for _, specifier in locked)


def test_what_a_package_needs_is_locked_too():
    locked = {pin.name for pin in pins("constraints.txt")}
    needed = [(pin.name, frozenset(pin.extras)) for pin in pins("requirements.txt")]
    for name, extras in needed:
        for other in map(Requirement, requires(name) or ()):
            wanted = [{"extra": extra} for extra in extras or {""}]
            if other.marker is None or any(map(other.marker.evaluate, wanted)):
                one = canonical(other.name), frozenset(other.extras)
                needed += [one] if one not in needed else []
    assert len(needed) > 80
    assert {name for name, _ in needed} - locked == set()


def test_requirements_are_installed_as_locked():
    assert "\n-c constraints.txt\n" in (ROOT / "requirements.txt").read_text("utf-8")


@pytest.mark.parametrize("name", ["README.md", "course/student.md"])
def test_pythons_are_those_of_pyproject(name):
    first, *_, last = lock.pythons()
    assert re.findall(r"Python (3\.\d+) to (3\.\d+)", TEXTS[name]) == [(first, last)]


def test_systems_are_those_that_are_checked():
    assert lock.SYSTEMS.keys() <= {words.partition(",")[0] for words in start.SYSTEMS.values()}
    assert (
        len(lock.tomllib.loads(TEXTS["pyproject.toml"])["tool"]["uv"]["required-environments"]) == 5
    )


def test_systems_of_the_readme_are_those_that_are_checked():
    glibc, macos = (".".join(map(str, start.OLDEST[name][1])) for name in ("linux", "macosx"))
    told = " ".join(TEXTS["README.md"].split())
    assert f"Linux (x86-64, arm64; glibc {glibc} or newer), macOS (Intel, arm64; {macos} or" in told
    assert lock.SYSTEMS["Linux arm64"][0].endswith(f"manylinux_{glibc.replace('.', '_')}")
    assert lock.SYSTEMS["macOS Intel"][1] == macos


# ---- every shell takes the commands as they stand, but in a block that says which shell it is for

PROGRAM = r"python3?|py|pip|jupyter|\.venv[/\\]\w+[/\\]\w+"
# none has a meaning of its own to a shell; PowerShell would part -a.b
WORD = r"[\w.][\w./\\-]*|-\w+|--[\w-]+(=[\w./-]+)?"


def commands(name):
    """Return the commands in a text, in blocks for every shell and in lines."""
    blocks = re.findall(r"(?ms)^```(?:sh|bat)\n(.+?)^```", TEXTS[name])
    inline = re.findall(rf"`((?:{PROGRAM})\s[^`]+)`", re.sub(r"(?ms)^```.+?^```", "", TEXTS[name]))
    inline += re.findall(rf"<code>((?:{PROGRAM}) [^<]+)</code>", TEXTS[name])
    return [*(line for block in blocks for line in block.splitlines()), *map(one_line, inline)]


def one_line(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", TEXTS_WITH_COMMANDS)
def test_commands_are_such_as_every_shell_takes(name):
    assert commands(name)
    assert {*re.findall(r"(?m)^ *```(.*)$", TEXTS[name])} <= {"", "sh", "bat", "bash"}
    for command in commands(name):
        assert re.fullmatch(rf"({WORD})( ({WORD}))*", command), command


@pytest.mark.parametrize("name", TEXTS_WITH_COMMANDS)
def test_commands_start_the_python_that_was_set_up(name):
    programs = {command.partition(" ")[0] for command in commands(name)} - {"cp"}
    assert programs <= {"python3", "py", ".venv/bin/python", ".venv/bin/jupyter"}
    assert re.search(r"`py`|<code>py<|py start\.py", TEXTS[name])
    assert (r".venv\Scripts" in TEXTS[name]) == (".venv/bin/" in TEXTS[name])


@pytest.mark.parametrize("name", TEXTS_WITH_COMMANDS[1:])
def test_commands_for_the_rubric_collect_it(name):
    found = [command for command in commands(name) if "course/rubric.py" in command]
    assert found
    assert all("--nbval" in command or "--grades" in command for command in found)


@pytest.mark.skipif(sys.platform == "win32", reason="there the programs are *.exe")
@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "fish", "ksh", "pwsh", "tcsh", "zsh"])
def test_a_shell_hands_over_the_words_as_they_stand(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for program in ("python3", "py", ".venv/bin/python", ".venv/bin/jupyter"):
        (tmp_path / program).write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        (tmp_path / program).chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    for command in (c for name in TEXTS_WITH_COMMANDS for c in commands(name) if c[:2] != "cp"):
        said = subprocess.check_output([shell, "-c", command], cwd=tmp_path, env=env, text=True)
        assert said.splitlines() == command.split()[1:]
