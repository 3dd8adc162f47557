"""Evaluate expressions on the functions of task files: runs beside them, and decides nothing.

`python -I worker.py FOLDER`, told what to do by lines of JSON on stdin, answers by lines of JSON on
stdout. Whatever a task file does, here or to this process, only those lines come out.

A task file is executed statement by statement, so that one that fails costs its own names only.
"""

import __future__

import ast
import importlib.abc
import importlib.util
import io
import itertools
import json
import os
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from traceback import extract_tb
from types import CodeType, ModuleType
from typing import Any, BinaryIO, NoReturn

import numpy as np

TASK_FILES = ("task2a", "task2", "task3", "task4")
FILES = {f"{name}.py" for name in TASK_FILES}
MAX_NUMBERS, MAX_ITEMS = 100_000, 10_000  # of an array and a list in an answer
ANNOTATIONS = __future__.annotations.compiler_flag  # a name missing in one is no reason to fail
OUTERMOST = re.compile(r"(?!(?:else|elif|except|finally)\b)[^\s#)\]}]")
MAX_LINES = 200  # without indentation, of one statement
DEFINED = re.compile(r"^(?:@.*\n)*(?:async +)?(?:def|class) +(\w+)|^(\w+) *[:=][^=]")


class Broken:
    """Stands for what a task file could not define, and says why whenever it is used."""

    def __init__(self, why: str) -> None:
        self._why = why

    def _say(self, *args: object, **kwargs: object) -> NoReturn:
        raise NameError(self._why)

    def __getattr__(self, name: str) -> NoReturn:
        """Say why, but to who only asks what this is."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise NameError(self._why)


for use in """call add radd sub rsub mul rmul matmul rmatmul truediv rtruediv floordiv rfloordiv mod
    pow rpow neg abs lt le gt ge bool int float index array len iter getitem setitem contains
    enter exit""".split():
    setattr(Broken, f"__{use}__", Broken._say)


def describe(error: BaseException) -> str:
    """Return an error in one line, in the words of its author, and where a task file raised it."""
    if isinstance(error, NotImplementedError):
        return f"{error} is not written yet"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} (line {error.lineno})"
    text = str(error) if isinstance(error, NameError) else f"{type(error).__name__}: {error}"
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename in FILES]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return text[:300] + where


def decoded(content: bytes) -> str:
    """Return a file's text, in the encoding that it states, with the ends of lines of every system.

    Python minds no strange bytes in comments, and so do we.

    Raises:
        SyntaxError, ValueError: it states no encoding that there is; it holds null bytes.
    """
    if b"\0" in content:
        raise ValueError("it holds null bytes, as UTF-16 does")
    known = io.BytesIO(content.decode("utf-8", "replace").encode())
    encoding, _ = tokenize.detect_encoding(known.readline)
    text = content.decode(encoding, "replace")
    return io.IncrementalNewlineDecoder(None, translate=True).decode(text, final=True)


def statements(source: str, file: str) -> Iterator[tuple[int, str, CodeType | SyntaxError]]:
    """Split a file into its outermost statements, of which any may be no Python.

    Returns:
        The first line, the text, and the code or what is wrong with it, of each.
    """
    lines = io.StringIO(source).readlines()  # unlike splitlines, as Python counts them
    starts = [n for n, line in enumerate(lines) if OUTERMOST.match(line)]
    ends = [*starts[1:], len(lines)]
    first = 0
    while first < len(starts):
        for last in range(first, min(first + MAX_LINES, len(starts))):
            text = "".join(lines[starts[first] : ends[last]])
            code = compiled(text, file, starts[first])
            if isinstance(code, CodeType):  # else a longer one may be: decorated, or a long text
                break
        else:
            last = first
            text = "".join(lines[starts[first] : ends[first]])
            code = compiled(text, file, starts[first])
        yield starts[first] + 1, text, code
        first = last + 1


def compiled(text: str, file: str, line: int) -> CodeType | SyntaxError:
    """Compile a statement that stands in a file below so many lines."""
    try:
        return compile("\n" * line + text, file, "exec", ANNOTATIONS, dont_inherit=True)
    except SyntaxError as error:
        return error
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return SyntaxError(str(error), ("", line + 1, 0, ""))


def defined_names(text: str) -> list[str]:
    """Return the names that a statement was to define."""
    try:
        (node,) = ast.parse(text).body
    except (SyntaxError, ValueError):
        found = DEFINED.match(text)
        return [found[1] or found[2]] if found else []
    names, parts = [], [node]
    while parts:
        part = parts.pop()
        if isinstance(part, ast.Import | ast.ImportFrom):
            names += [alias.asname or alias.name.partition(".")[0] for alias in part.names]
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(part.name)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            names.append(part.id)
        else:
            parts += ast.iter_child_nodes(part)
    return names


class TaskFiles(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the task files of a folder, however broken they are."""

    def __init__(self, folder: Path, skip: dict[str, str], answers: BinaryIO) -> None:
        self.folder, self.skip, self.answers = folder, skip, answers
        self.guarded = False  # a statement is executed that says itself what to do if one fails

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        """Find a task file."""
        return importlib.util.spec_from_loader(name, self) if name in TASK_FILES else None

    def create_module(self, spec: object) -> None:
        """Leave that to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute what can be, and let the other names say what happened to them."""
        file = f"{module.__name__}.py"
        module.__file__ = str(self.folder / file)
        source, why_not = self.source(file)

        def missing(name: str) -> Broken:
            if name.startswith("__") or self.guarded:
                raise AttributeError(name)
            return Broken(f"{name} is missing: {why_not or f'{file} does not define it'}")

        module.__getattr__ = missing
        around = self.guarded
        for line, text, code in statements(source, file):
            self.guarded = text.startswith("try:")
            why = self.told_to_skip(file, line) or self.execute(code, module)
            if why:
                for name in defined_names(text):
                    vars(module)[name] = Broken(f"{name} is missing: {file}: {why}")
        self.guarded = around

    def source(self, file: str) -> tuple[str, str]:
        """Return the text of a file, or why it cannot be read."""
        if why := self.told_to_skip(file, 0):
            return "", f"{file}: {why}"
        try:
            return decoded((self.folder / file).read_bytes()), ""
        except FileNotFoundError:
            return "", f"there is no {file}"
        except (OSError, SyntaxError, ValueError) as error:
            return "", f"{file} cannot be read ({error}), expected UTF-8"

    def told_to_skip(self, file: str, line: int) -> str | None:
        """Say where we are, and return why not to go on, if it is known."""
        tell(self.answers, {"at": f"{file}:{line}"})
        return self.skip.get(f"{file}:{line}")

    def execute(self, code: CodeType | SyntaxError, module: ModuleType) -> str | None:
        """Execute a statement; return why it failed, if it did."""
        if isinstance(code, SyntaxError):
            return describe(code)
        try:
            exec(code, vars(module))
        except BaseException as error:  # whatever it is, it is no reason to end here
            return describe(error)
        return None


def tell(answers: BinaryIO, message: dict) -> None:
    """Write a line of JSON."""
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()


def encode(value: Any) -> Any:
    """Return a value as JSON has it: a number, an array as shape and numbers, or a list of such.

    Raises:
        TypeError, ValueError: it is none, or too large.
    """
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind == "O" and value.shape:
            return [encode(item) for item in value[:MAX_ITEMS]]
        if value.dtype.kind not in "buif":
            raise TypeError(f"returned an array of {value.dtype}, expected numbers")
        if value.size > MAX_NUMBERS:
            raise ValueError(f"returned {value.size} numbers, expected {MAX_NUMBERS} at most")
        array = np.asarray(value, np.float64 if value.dtype.kind == "f" else None)
        return {"shape": array.shape, "numbers": array.ravel().tolist(), "type": array.dtype.name}
    if isinstance(value, str | bytes | dict) or not hasattr(value, "__iter__"):
        raise TypeError(f"returned {type(value).__name__}, expected numbers")
    return [encode(item) for item in itertools.islice(value, MAX_ITEMS)]


def decode(value: Any) -> Any:
    """Return what `encode` was given."""
    if isinstance(value, dict):
        return np.array(value["numbers"], value["type"]).reshape(value["shape"])
    return [decode(item) for item in value] if isinstance(value, list) else value


def answer(request: dict, names: dict[str, Any]) -> dict:
    """Evaluate one expression, `names` and the request's own inputs being known to it."""
    try:
        inputs = {name: decode(value) for name, value in request["inputs"].items()}
        value = eval(request["expression"], {**names, **inputs})
        return {"id": request["id"], "value": encode(value)}
    except BaseException as error:  # SystemExit among them
        return {"id": request["id"], "error": describe(error)}


def main(folder: Path) -> None:
    """Load the task files, then answer until there are no more requests."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    tell(answers, {"ready": True})
    told = json.loads(requests.readline())
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, TaskFiles(folder, told["skip"], answers))
    modules = {name: importlib.import_module(name) for name in TASK_FILES}
    names: dict[str, Any] = {"np": np}
    exec(told["setup"], names)
    names |= {name: getattr(modules[home], name) for name, home in told["functions"].items()}
    tell(answers, {"loaded": True})
    for line in requests:
        tell(answers, answer(json.loads(line), names))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
