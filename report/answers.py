"""Answers that rest on facts, and the tables that show them."""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import NamedTuple

import numpy.typing as npt
from IPython.display import Markdown

from report.measures import Measures, in_words, separation

ARROWS = {-1: "▼", 0: "≈", 1: "▲"}


def chance_of_separation(new: int, old: int) -> float:
    """Return how often runs of two experiments that differ in nothing separate completely."""
    return 2 / comb(new + old, new)


class Fact(NamedTuple):
    """What an answer rests on: a claim in words, and whether what was measured bears it out."""

    claim: str
    holds: bool


def lower(measured: Measures, new: str, old: str, measure: str) -> Fact:
    """Claim that every run of one experiment is below every run of another in a measure."""
    claim = f"{measure} of every run of {new} is below that of every run of {old}"
    return Fact(claim, separation(measured[new][measure], measured[old][measure]) < 0)


def higher(measured: Measures, new: str, old: str, measure: str) -> Fact:
    """Claim that every run of one experiment is above every run of another in a measure."""
    claim = f"{measure} of every run of {new} is above that of every run of {old}"
    return Fact(claim, separation(measured[new][measure], measured[old][measure]) > 0)


def alike(measured: Measures, new: str, old: str, measure: str) -> Fact:
    """Claim that the runs of two experiments overlap in a measure."""
    claim = f"{measure} of the runs of {new} and {old} overlap"
    return Fact(claim, separation(measured[new][measure], measured[old][measure]) == 0)


def answer(sentence: str, *facts: Fact) -> Markdown:
    """Return an answer in words, all of whose facts hold.

    Raises:
        ValueError: no facts are given.
        AssertionError: a fact does not hold; names each of them.
    """
    if not facts:
        raise ValueError(f"the answer {sentence!r} rests on no fact, expected at least one")
    if wrong := [fact.claim for fact in facts if not fact.holds]:
        raise AssertionError(f"not so: {'; '.join(wrong)}. Write an answer that holds")
    return Markdown(f"**Answer.** {sentence}")


def unparted(text: str) -> str:
    """Return text whose words stay on one line."""
    return text.replace(" ", "\u00a0")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Markdown:
    """Return a Markdown table: the first column is text, the others are aligned as numbers."""
    columns = zip(header, *rows, strict=True)
    text, *numbers = (max(len(str(cell)) for cell in column) for column in columns)
    # pandoc, on its way to LaTeX, takes the widths of columns from these dashes; text may wrap
    dashes = ["-" * max(3, text // 2), *("-" * max(2, number) + ":" for number in numbers)]
    lines = [header, dashes, *rows]
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def measures_table(
    measured: Measures, columns: Sequence[str], names: Mapping[str, str] | None = None
) -> Markdown:
    """Return a table with the mean and, over several seeds, the standard deviation.

    Args:
        measured: values by experiment and measure.
        columns: which measures to show.
        names: what to call which experiments; by default all, by their names.
    """
    names = names or {name: name for name in measured}
    rows = [
        [text, *(in_words(measured[name][column]) for column in columns)]
        for name, text in names.items()
    ]
    return table(["network", *columns], rows)


def change(new: npt.NDArray, old: npt.NDArray) -> str:
    """Return both means, with an arrow where the runs separate completely."""
    before, after = (in_words(values, spread=False) for values in (old, new))
    return f"{before} → {after} {ARROWS[separation(new, old)]}"


def changes_table(
    measured: Measures, pairs: Mapping[str, tuple[str, str]], columns: Sequence[str]
) -> Markdown:
    """Return a table of how measures change.

    Args:
        measured: values by experiment and measure.
        pairs: an experiment and its baseline for each row, by what to call the row.
        columns: which measures to show.
    """
    rows = [
        [text, *(unparted(change(measured[new][m], measured[old][m])) for m in columns)]
        for text, (new, old) in pairs.items()
    ]
    return table(["from → to", *columns], rows)


class Finding(NamedTuple):
    """A line of the findings: what was found, and the measure that shows it first."""

    task: str
    sentence: str
    shown_by: str
    before: npt.NDArray  # [runs]
    after: npt.NDArray
    arrow: str


def findings_table(findings: Sequence[Finding]) -> Markdown:
    """Return a table of findings, each with its primary measure.

    Raises:
        AssertionError: a measure does not change as its finding says.
    """
    rows = []
    for finding in findings:
        numbers = change(finding.after, finding.before)
        if finding.arrow != ARROWS[separation(finding.after, finding.before)]:
            raise AssertionError(
                f"Task {finding.task}: {finding.shown_by} is {numbers}, expected "
                f"{finding.arrow}. Write a finding that holds"
            )
        rows.append([f"**{finding.task}** {finding.sentence}", finding.shown_by, unparted(numbers)])
    return table(["finding", "shown by", "from → to"], rows)


def statements_table(
    measured: Measures, statements: Sequence[tuple[str, str, str, str]]
) -> Markdown:
    """Return a table of statements (words, experiment, baseline, measure) and what was measured."""
    rows = [
        [
            f'"{words}"',
            f"{measure}, {old} → {new}",
            unparted(change(measured[new][measure], measured[old][measure])),
        ]
        for words, new, old, measure in statements
    ]
    return table(["statement", "measured", "found"], rows)


def source(*functions: Callable) -> None:
    """Print functions as they stand in their files, without docstrings and annotations."""
    print("\n\n".join(map(listing, functions)))


def listing(function: Callable) -> str:
    """Return the text of a function, see `source`.

    Raises:
        OSError: its file cannot be read.
    """
    try:
        text = inspect.getsource(function)
    except OSError as error:
        file = inspect.getsourcefile(function)
        raise OSError(f"{file} cannot be read as text, expected UTF-8: save it as such") from error
    [node] = ast.parse(text).body
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    first, *others = node.body
    # with the comments between the docstring and the first statement
    start = first.end_lineno if ast.get_docstring(node) and others else first.lineno - 1
    lines = text.split("\n")[start : node.end_lineno]
    return "\n".join([f"def {node.name}({ast.unparse(node.args)}):", *lines])
