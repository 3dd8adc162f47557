"""The box that a hand-in's code runs in: bubblewrap, limits, and somebody who watches.

In it there is no network, no other process, nothing of this project but what is handed out, and
nothing that can be written but memory that ends with it. Without bubblewrap there are the limits
of the system only.
"""

import os
import platform
import secrets
import shutil
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import psutil

MB = 2**20
WALL = 3  # a busy machine takes longer, and so does one that sleeps
MAX_SHARED, MAX_FILES = MB, 100  # of the folder that a kernel shares with us
INSIDE = "/hand-in"  # where its files are
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
OF_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "localtime")
UNPROTECTED = (
    "the hand-in can read and change your files, the solution, other hand-ins and its own grade, "
    "use the network, and leave processes behind; only its time and memory are limited"
)


class Limits(NamedTuple):
    """What a hand-in may use; sizes in bytes, times in seconds."""

    memory: int  # of all its processes
    files: int  # that it writes, all together
    threads: int  # of all its processes
    seconds: float  # of a processor
    alone: bool = False  # one process only


ROWS = Limits(memory=1024 * MB, files=64 * MB, threads=32, seconds=120, alone=True)
NOTEBOOK = Limits(
    memory=psutil.virtual_memory().total * 3 // 4,  # what processes share counts for each
    files=1024 * MB,
    threads=1024,
    seconds=4 * 3600,
)

# numbers of system calls on x86_64 and aarch64
FORKS = {"x86_64": "57 58", "aarch64": ""}  # fork, vfork
REFUSED = {
    # shmget, semget, msgget (memory that is nobody's), ptrace, unshare, setns, mount, umount2,
    # pivot_root, keyctl, add_key, request_key, bpf, perf_event_open, userfaultfd, io_uring_setup,
    # memfd_create, process_vm_readv, process_vm_writev
    "x86_64": "29 64 68 101 272 308 165 166 155 250 248 249 321 298 323 425 319 310 311",
    "aarch64": "194 190 186 117 97 268 40 39 41 219 217 218 280 241 282 425 279 270 271",
}
ARCHITECTURES = {"x86_64": (0xC000003E, 56, 435), "aarch64": (0xC00000B7, 220, 435)}
CLONE_THREAD, CLONE_NAMESPACES = 0x00010000, 0x7E020080


def seccomp(alone: bool) -> bytes | None:
    """Return a filter of system calls, as Linux takes it, or None for another processor.

    Args:
        alone: refuse further processes, but not threads.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        return None
    audit, clone, clone3 = ARCHITECTURES[machine]
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, refuse, unknown = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026  # EPERM, ENOSYS
    program = [(load, 0, 0, 4), (equal, 1, 0, audit), (give, 0, 0, kill), (load, 0, 0, 0)]
    program += [(at_least, 0, 1, 0x40000000), (give, 0, 0, kill)]  # another numbering
    for number in f"{REFUSED[machine]} {FORKS[machine] if alone else ''}".split():
        program += [(equal, 0, 1, int(number)), (give, 0, 0, refuse)]
    program += [(equal, 0, 1, clone3), (give, 0, 0, unknown)]  # its flags cannot be seen
    program += [(equal, 1, 0, clone), (give, 0, 0, allow), (load, 0, 0, 16)]
    program += [(any_bit, 0, 1, CLONE_NAMESPACES), (give, 0, 0, refuse)]
    if alone:
        program += [(any_bit, 1, 0, CLONE_THREAD), (give, 0, 0, refuse)]
    program += [(give, 0, 0, allow)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def python_folders() -> list[Path]:
    """Return what this Python consists of, beside the system.

    Raises:
        RuntimeError: the project is in it, so that the solution would be seen.
    """
    names = [Path(sys.prefix), Path(sys.base_prefix)]
    folders = {*names, *(name.resolve() for name in names)}  # a link leads from one to the other
    root = Path(__file__).resolve().parent.parent
    for folder in {*folders, Path("/usr")}:
        if root.is_relative_to(folder):
            raise RuntimeError(
                f"the project is in {folder}, which the box shows for its Python, the solution "
                "included: use a virtual environment in a folder of its own, as the README does"
            )
    return [folder for folder in sorted(folders) if not folder.is_relative_to("/usr")]


def boxed(
    command: list[str], folder: Path, limits: Limits, *binds: str
) -> tuple[list[str], list[int]]:
    """Return what runs a command in the box: another one, and file descriptors to pass to it.

    Args:
        command: what to run; the folder's files are in `INSIDE`.
        folder: what to show; several processes work in a copy of it, a single one in /tmp.
        limits: for all that runs.
        binds: further options of bubblewrap.
    """
    option = ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", "65534"]
    option += ["--gid", "65534", "--hostname", "box", "--die-with-parent", "--new-session"]
    option += ["--cap-drop", "ALL", "--clearenv", "--ro-bind", "/usr", "/usr"]
    variables = {"PATH": "/usr/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "MPLBACKEND": "Agg"}
    if limits.alone:
        variables |= {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
    else:
        del variables["MPLBACKEND"]
    for name, value in variables.items():
        option += ["--setenv", name, value]
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            option += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            option += ["--ro-bind", str(path), str(path)]
    for name in OF_ETC:
        option += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    option += ["--proc", "/proc", "--dev", "/dev"]
    for place in ("/tmp", "/dev/shm", *([] if limits.alone else [INSIDE])):
        option += ["--size", str(limits.files), "--tmpfs", place]
    for python in map(str, python_folders()):
        option += ["--ro-bind", python, python]
    place = INSIDE if limits.alone else "/starter"
    option += ["--ro-bind", str(folder), place, *binds]
    option += ["--chdir", "/tmp" if limits.alone else INSIDE]
    option += ["--remount-ro", "/dev", "--remount-ro", "/"]
    memory = limits.memory if limits.alone else limits.memory // 2
    limit = [f"--as={memory}", f"--fsize={limits.files}", f"--cpu={limits.seconds:.0f}"]
    limit += ["--nofile=1024", "--core=0", "--msgqueue=0", "--memlock=65536", "--nproc=4096"]
    copy = [] if limits.alone else ["sh", "-c", f'cp -r /starter/. {INSIDE} && exec "$@"', "sh"]
    program = seccomp(limits.alone)
    descriptors = [passed(program)] if program else []
    for descriptor in descriptors:
        option += ["--seccomp", str(descriptor)]
    return ["bwrap", *option, "--", *copy, "prlimit", *limit, "--", *command], descriptors


def start(
    command: list[str], folder: Path, limits: Limits, *binds: str, **options: Any
) -> subprocess.Popen:
    """Start a command in the box (see `boxed`) with these options of Popen."""
    boxed_command, descriptors = boxed(command, folder, limits, *binds)
    try:
        return subprocess.Popen(boxed_command, pass_fds=descriptors, **options)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def start_unprotected(
    command: list[str], folder: Path, limits: Limits, **options: Any
) -> subprocess.Popen:
    """Start a command in a folder, with these options of Popen and in no box."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
    variables = os.environ | {"MPLBACKEND": "Agg"} | (threads if limits.alone else {})
    return subprocess.Popen(command, cwd=folder, env=variables, **options)


def why_no_box() -> str | None:
    """Return why bubblewrap cannot be used here, if it cannot."""
    if not shutil.which("bwrap"):
        return "bwrap is not installed (Debian, Ubuntu: apt install bubblewrap)"
    if not shutil.which("prlimit"):
        return "prlimit is not installed (Debian, Ubuntu: apt install util-linux)"
    process = start(["true"], Path(__file__).parent, ROWS, stderr=subprocess.PIPE, text=True)
    why = process.communicate(timeout=60)[1].strip()
    return f"bwrap does not work here: {why[:200]}" if process.returncode else None


class Watch(threading.Thread):
    """Ends a process and all that it has started when it takes too much or too long."""

    def __init__(
        self, process: subprocess.Popen, limits: Limits, folder: Path | None = None
    ) -> None:
        super().__init__(daemon=True)
        self.process, self.limits, self.folder = process, limits, folder
        self.allow(600)
        self.over = threading.Event()
        self.why: str | None = None  # it was ended

    def allow(self, seconds: float) -> None:
        """Give it so many seconds of a processor from now on, and no more than thrice the time."""
        self.seconds, self.begun = seconds, None
        self.deadline = time.monotonic() + WALL * seconds

    def run(self) -> None:
        """Look ten times a second."""
        while not self.over.wait(0.1) and self.process.poll() is None:
            try:
                self.why = self.excess()
            except Exception as error:  # what nobody watches has no limits
                self.why = f"cannot be watched ({type(error).__name__})"
            if self.why:
                self.end()

    def excess(self) -> str | None:
        """Return of what there is too much."""
        if time.monotonic() > self.deadline:
            return "takes too long"
        threads = memory = processor = 0
        for process in family(self.process.pid):
            with suppress(psutil.Error):
                threads += process.num_threads()
                memory += process.memory_info().rss
                processor += sum(process.cpu_times()[:2])
        if self.begun is None:
            self.begun = processor
        if processor - self.begun > self.seconds:
            return "takes too long"
        if threads > self.limits.threads:
            return f"starts {threads} processes and threads, expected {self.limits.threads} at most"
        if memory > self.limits.memory:
            return f"takes more than {self.limits.memory // MB} MB of memory"
        if self.folder and is_filled(self.folder):
            return "fills the folder of its sockets"
        return None

    def end(self) -> None:
        """End everything; the first process last, for it to see to what is left of the others."""
        self.over.set()
        for process in reversed(family(self.process.pid)[1:]):
            with suppress(psutil.Error):
                process.kill()
        if self.process.args[0] == "bwrap":
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=2)
        self.process.kill()
        self.process.wait()


def is_filled(folder: Path) -> bool:
    """Tell whether there is more in a folder than sockets: any folder is, which could be closed."""
    size = 0
    try:
        with os.scandir(folder) as entries:
            some = [*islice(entries, MAX_FILES + 1)]
    except OSError:
        return True
    for entry in some:
        with suppress(FileNotFoundError):  # it has vanished
            if entry.is_dir(follow_symlinks=False):
                return True
            status = entry.stat(follow_symlinks=False)
            size += max(status.st_size, 512 * status.st_blocks)
    return size > MAX_SHARED or len(some) > MAX_FILES


def remove(top: Path) -> None:
    """Remove a folder, however deep others are nested in it, and whatever their modes are.

    Each is moved to the top first, since neither calls nor paths may be as deep as folders.
    """
    folders = [top]
    for folder in folders:
        with suppress(OSError):
            folder.chmod(0o700)
            for path in [*folder.iterdir()]:
                with suppress(OSError):
                    if path.is_dir() and not path.is_symlink():
                        path.chmod(0o700)  # what is closed cannot be moved
                        folders.append(path.rename(top / secrets.token_hex(8)))
                    else:
                        path.unlink()
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that descend from it."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def passed(data: bytes) -> int:
    """Return a file descriptor that another process can read these bytes from."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading
