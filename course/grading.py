"""Grade the task files of a folder, row by row, against what the solution returns."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from course.asking import PATIENCE, Answer, Patience, Request, ask_all
from course.judge import problem, reference
from course.rubric import ROWS, Row, draw
from course.worker import encode

PUBLIC_SEED = 2026
PUBLIC = Path(__file__).with_name("public.json")  # the references for that seed

NUMBER = re.compile(r"\d+")
MAX_NUMBERS = 10  # of a message of an error; two shapes and a place have fewer

IS_SOLUTION = PUBLIC.with_name("starter.py").exists()  # students have none


class Result(NamedTuple):
    """What became of a row; `why` it has no points, if so."""

    row: Row
    why: str | None


def references(root: Path, seed: int) -> dict[str, Any]:
    """Return what the solution's functions give for each row: what to send, what to expect.

    Raises:
        RuntimeError: the solution has no value for a row.
    """
    givens = [
        Request(f"{row.key}/{name}", expression, encoded(row, seed))
        for row in ROWS
        for name, expression in row.given.items()
    ]
    given = ask_all(root, givens, boxed=False)
    sent = {row.key: {n: value_of(given, f"{row.key}/{n}") for n in row.given} for row in ROWS}
    values = ask_all(root, requests(seed, sent), boxed=False)
    return {
        row.key: {"given": sent[row.key], "expected": reference(row, value_of(values, row.key))}
        for row in ROWS
    }


def value_of(answers: dict[str, Answer], name: str) -> Any:
    """Return the solution's answer.

    Raises:
        RuntimeError: it has none.
    """
    if answers[name].error:
        raise RuntimeError(f"the solution has no value for {name!r}: {answers[name].error}")
    return answers[name].value


def encoded(row: Row, seed: int) -> dict[str, Any]:
    """Return a row's inputs as JSON has them."""
    return {name: encode(value) for name, value in draw(row, seed).items()}


def requests(seed: int, given: dict[str, dict[str, Any]]) -> list[Request]:
    """Return a request for each row; `given` are the inputs that the solution made."""
    return [
        Request(
            row.key,
            row.expression,
            encoded(row, seed) | given[row.key],
            row.function,
            frozenset(row.functions),
        )
        for row in ROWS
    ]


def grade(
    folder: Path,
    seed: int,
    expected: dict[str, Any],
    *,
    boxed: bool,
    patience: Patience = PATIENCE,
) -> list[Result]:
    """Return what became of every row.

    Args:
        folder: of the task files.
        seed: of the inputs.
        expected: what `references` returned for it.
        boxed: whether to run the files in the box.
        patience: how long to wait.
    """
    given = {name: entry["given"] for name, entry in expected.items()}
    answers = ask_all(folder, requests(seed, given), boxed=boxed, patience=patience)
    return [Result(row, judged(row, answers[row.key], expected[row.key])) for row in ROWS]


def judged(row: Row, answer: Answer, expected: dict[str, Any]) -> str | None:
    """Return in one line why a row has no points, if so."""
    if answer.error:
        return few_numbers(answer.error)
    return problem(row, answer.value, expected["expected"])


def few_numbers(error: str) -> str:
    """Return what a hand-in said, without numbers where so many could be its inputs."""
    return error if len(NUMBER.findall(error)) <= MAX_NUMBERS else NUMBER.sub("#", error)


def public() -> dict[str, Any]:
    """Return the references that come with the starter."""
    return json.loads(PUBLIC.read_text("utf-8"))
