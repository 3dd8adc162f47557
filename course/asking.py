"""Ask a process for the values of the rubric's rows, and go on where it hangs or ends."""

import json
import math
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from course import box
from course.rubric import FUNCTIONS, GIVEN, SETUP

WORKER = Path(__file__).with_name("worker.py")
MAX_BYTES = 32 * box.MB  # that a process may answer
MAX_LINES = 5000
MAX_PARTS, MAX_KEPT = 120_000, 1_000_000  # of one answer, and of all together
PART = 32  # bytes, which a number may take as text


class Patience(NamedTuple):
    """How many seconds of a processor things may take, and in all how many seconds."""

    statement: float = 20  # one of a task file; matplotlib's import is one
    row: float = 10
    total: float = 180


PATIENCE = Patience()


class Request(NamedTuple):
    """An expression to be evaluated on inputs, which are as JSON has them."""

    key: str
    expression: str
    inputs: dict[str, Any]
    function: str = ""  # that it is about
    functions: frozenset[str] = frozenset()  # that it may use, this one included


class Answer(NamedTuple):
    """A value as JSON has it, or why there is none."""

    value: Any = None
    error: str | None = None


def parts(line: bytes) -> int:
    """Return how large a line of JSON is, whose small parts take much more memory than text."""
    return max(len(line) // PART, sum(map(line.count, (b"[", b"{", b","))))


class EndedError(Exception):
    """A worker has ended, and the reason why."""


class Worker:
    """A process that evaluates expressions on the functions of a folder."""

    def __init__(self, folder: Path, *, boxed: bool) -> None:
        inside = Path(box.INSIDE) if boxed else folder
        script = inside / "course" / "worker.py" if boxed else WORKER
        command = [sys.executable, "-I", "-B", str(script), str(inside)]
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the worker
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        start = box.start if boxed else box.start_unprotected
        self.process = start(command, folder, box.ROWS, **pipes)
        self.watch = box.Watch(self.process, box.ROWS)
        self.watch.start()
        self.parts = 0  # of the last line
        self.lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self.watch.end()
        self.errors.close()

    def read(self) -> None:
        """Take in what it writes, up to a limit."""
        left = MAX_BYTES
        with suppress(ValueError, OSError):
            for _ in range(MAX_LINES):
                line = self.process.stdout.readline(min(left, PART * (MAX_PARTS + 1)))
                left -= len(line)
                if not line.endswith(b"\n") and parts(line) <= MAX_PARTS:
                    break
                self.lines.put(line)
        self.lines.put(b"")

    def send(self, message: dict) -> None:
        """Write a line of JSON."""
        self.watch.allow(10)
        with suppress(OSError):  # it has ended: who reads then is told
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def receive(self, seconds: float, end: float = math.inf) -> dict:
        """Return the next line of JSON.

        Raises:
            EndedError: none came in that time, or before the end, or none that is an object.
        """
        seconds = max(0, min(seconds, end - time.monotonic()))
        self.watch.allow(seconds)
        why = None
        try:
            line = self.lines.get(timeout=box.WALL * seconds + 2)
            self.parts = parts(line)
            if self.parts > MAX_PARTS:
                why = "answers too much"
            elif isinstance(message := json.loads(line), dict):
                return message
        except queue.Empty:
            why = "takes too long"
        except (ValueError, RecursionError):
            pass
        self.watch.end()
        raise EndedError(
            why or self.watch.why or "ends or crashes the process, or answers too much"
        )

    def load(self, skip: dict[str, str], patience: Patience, end: float) -> None:
        """Have it execute the task files but for some statements.

        Args:
            skip: the statements by file and line, and why they are left out. The one during which
                the worker ends is added, or line 0 for all of its file.
            patience: for each of them.
            end: of all waiting.
        Raises:
            EndedError: it has ended.
            RuntimeError: it did not even start.
        """
        try:
            self.receive(60)
        except EndedError as error:
            self.errors.seek(0)
            said = self.errors.read(500).decode(errors="replace")
            raise RuntimeError(f"the process that grades does not start: {said}") from error
        where = ""
        try:
            self.send({"skip": skip, "setup": SETUP, "functions": FUNCTIONS | GIVEN})
            while "loaded" not in (message := self.receive(patience.statement, end)):
                where = str(message.get("at"))[:40]
        except EndedError as error:
            file, _, line = where.partition(":")
            skip[where if where not in skip else f"{file}:0"] = f"line {line} {error}"
            raise

    def ask(self, request: Request, patience: Patience, end: float) -> Answer:
        """Return the answer to a request, waiting until an end of all waiting at most.

        Raises:
            EndedError: it has ended.
        """
        self.send({"id": request.key, "expression": request.expression, "inputs": request.inputs})
        end = min(end, time.monotonic() + patience.row)
        while (message := self.receive(patience.row, end)).get("id") != request.key:
            pass
        error = message.get("error")
        return Answer(message.get("value"), None if error is None else str(error))


def ask_all(
    folder: Path, requests: Iterable[Request], *, boxed: bool, patience: Patience = PATIENCE
) -> dict[str, Answer]:
    """Return the answers to all requests by their keys, whatever the task files do.

    Requests that may use few functions come first, so that it is known which one it was when the
    process takes too long, or ends. What may use that one, too, is not asked then.

    Args:
        folder: of the task files.
        requests: of different keys.
        boxed: whether to run the files in the box.
        patience: how long to wait.
    """
    pending = sorted(requests, key=lambda request: len(request.functions))
    answers: dict[str, Answer] = {}
    skip: dict[str, str] = {}
    sound: set[str] = set()  # functions that have answered
    fatal: dict[str, str] = {}  # functions that have not, and why
    end = time.monotonic() + patience.total
    left = MAX_KEPT
    stuck = False
    while pending and time.monotonic() < end and left > 0 and not stuck:
        skipped = dict(skip)
        with suppress(EndedError), closing(Worker(folder, boxed=boxed)) as worker:
            stuck = True
            worker.load(skip, patience, end)
            stuck = False
            while pending and time.monotonic() < end and left > 0:
                request = pending.pop(0)
                if known := sorted(fatal.keys() & request.functions):
                    why = f"not asked, since it may use {known[0]}, which {fatal[known[0]]}"
                    answers[request.key] = Answer(error=why)
                    continue
                try:
                    answers[request.key] = worker.ask(request, patience, end)
                    left -= worker.parts
                    sound.add(request.function)
                except EndedError as error:
                    answers[request.key] = Answer(error=f"{request.function} {error}")
                    if request.function not in sound:
                        fatal[request.function] = str(error)
                    raise
        stuck = stuck and skip == skipped
    late = f"the {patience.total:g} seconds of a hand-in were over"
    if left <= 0:
        late = "the answers of the hand-in are too large"
    if stuck:
        late = "the task files end the process wherever they are begun"
    return answers | {request.key: Answer(error=f"not asked: {late}") for request in pending}
