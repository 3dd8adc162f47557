import ast
import inspect
import linecache
import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

import task2
import task2a
import task3
import task4
from report.answers import (
    ARROWS,
    Fact,
    Finding,
    alike,
    answer,
    chance_of_separation,
    change,
    changes_table,
    findings_table,
    higher,
    listing,
    lower,
    measures_table,
    source,
    statements_table,
    table,
)


def plain(markdown):
    return markdown.data.replace("\u00a0", " ").splitlines()


# ---- facts


FIVE = {
    "old": [0.30, 0.32, 0.34, 0.31, 0.33],
    "below": [0.10, 0.12, 0.29, 0.11, 0.13],
    "above": [0.35, 0.42, 0.44, 0.41, 0.43],
    "mostly below": [0.10, 0.12, 0.14, 0.11, 0.305],  # four of five below all of the old ones
    "mostly above": [0.325, 0.92, 0.94, 0.91, 0.93],
    "touching": [0.10, 0.12, 0.14, 0.11, 0.30],
    "around": [0.10, 0.92, 0.34, 0.11, 0.93],
}
MEASURED = {
    name: {"other": np.array(FIVE["old"]), "loss": np.array(values), "last": -np.array(values)}
    for name, values in FIVE.items()
}


@pytest.mark.parametrize("new", FIVE)
def test_lower_higher_and_alike_hold_where_the_runs_separate_completely_or_do_not(new):
    facts = [claim(MEASURED, new, "old", "loss") for claim in (lower, higher, alike)]
    expected = {"below": [True, False, False], "above": [False, True, False]}
    assert [fact.holds for fact in facts] == expected.get(new, [False, False, True])


@pytest.mark.parametrize(("claim", "new"), [(lower, "below"), (higher, "above")])
def test_a_claim_is_of_this_order_and_this_measure(claim, new):
    assert claim(MEASURED, new, "old", "loss").holds
    assert not claim(MEASURED, "old", new, "loss").holds
    assert not claim(MEASURED, new, "old", "last").holds
    assert not claim(MEASURED, new, "old", "other").holds


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (lower, "loss of every run of a is below that of every run of b"),
        (higher, "loss of every run of a is above that of every run of b"),
        (alike, "loss of the runs of a and b overlap"),
    ],
)
def test_a_claim_in_words_names_measure_and_both_experiments(claim, words):
    measured = {name: {"loss": np.array([1.0, 2.0])} for name in "ab"}
    assert claim(measured, "a", "b", "loss").claim == words


@pytest.mark.parametrize(("new", "old"), [(1, 1), (5, 5), (5, 3), (1, 4)])
def test_the_chance_of_separation_is_counted(new, old):
    # of all ways to share the ranks 0, 1, ... between two experiments, the two that separate
    ways = list(combinations(range(new + old), new))
    separate = [way for way in ways if max(way) < new or min(way) >= old]
    assert chance_of_separation(new, old) == float(Fraction(len(separate), len(ways)))


# ---- answers


def test_an_answer_whose_facts_hold_is_its_sentence():
    markdown = answer("All is well.", Fact("a", True), Fact("b", np.bool(True)))
    assert markdown.data == "**Answer.** All is well."


@pytest.mark.parametrize("false", [{0}, {1}, {2}, {0, 2}, {0, 1, 2}])
def test_an_answer_names_each_fact_that_is_false_and_no_other(false):
    claims = ["one is low", "two is high", "three overlap"]
    facts = [Fact(claim, n not in false) for n, claim in enumerate(claims)]
    with pytest.raises(AssertionError, match=r"^not so: .+ Write an answer that holds$") as error:
        answer("All is well.", *facts)
    assert {n for n, claim in enumerate(claims) if claim in str(error.value)} == false


def test_an_answer_with_another_network_in_its_place_is_none():
    answer("It is lower.", lower(MEASURED, "below", "old", "loss"))
    with pytest.raises(AssertionError, match="loss of every run of mostly below is below that of"):
        answer("It is lower.", lower(MEASURED, "mostly below", "old", "loss"))


def test_an_answer_without_facts_is_none():
    with pytest.raises(ValueError, match=r"'All is well\.' rests on no fact, expected at least"):
        answer("All is well.")


# ---- tables


def test_table_aligns_numbers():
    lines = table(["network", "loss"], [["a", 1], ["b", 0.5]]).data.splitlines()
    assert lines == ["| network | loss |", "| --- | ----: |", "| a | 1 |", "| b | 0.5 |"]


def test_columns_of_numbers_are_as_wide_as_these_and_text_half_as_wide():
    assert "| ---- | -----: | --: |" in table(["", "n", ""], [["eight___", 12345, 6]]).data


def test_the_narrowest_columns_have_the_dashes_that_markdown_asks_for():
    assert "| --- | --: |" in table(["", "n"], [["a", 1]]).data


def test_a_row_of_another_length_is_no_table():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        table(["network", "loss"], [["a"]])


# no two of these means, deviations and directions are alike
UNEVEN = {
    "first": {
        "loss": np.array([0.5, 0.25]),
        "accuracy": np.array([0.75, 0.875]),
        "steps": np.array([1000, 3500]),
    },
    "second": {
        "loss": np.array([0.125, 0.0625, 0.2]),
        "accuracy": np.array([0.7, 0.9, 0.91]),
        "steps": np.array([4000, 4500, math.inf]),
    },
}


def test_the_table_of_measures_has_a_row_for_each_network_and_its_columns_as_named():
    assert plain(measures_table(UNEVEN, ["steps", "loss"]))[::2] == [
        "| network | steps | loss |",
        "| first | 2,250 ± 1,768 | 0.3750 ± 0.1768 |",
    ]
    assert plain(measures_table(UNEVEN, ["loss", "steps"]))[3] == (
        "| second | 0.1292 ± 0.0688 | in 2 of 3 runs |"
    )


def test_the_table_of_measures_shows_the_networks_named_as_they_are_to_be_called():
    _, _, *rows = plain(measures_table(UNEVEN, ["accuracy"], {"second": "wide", "first": "thin"}))
    assert rows == ["| wide | 0.8367 ± 0.1185 |", "| thin | 0.8125 ± 0.0884 |"]
    (row,) = plain(measures_table(UNEVEN, ["accuracy"], {"second": "wide"}))[2:]
    assert row.startswith("| wide |")


def test_tables_have_networks_and_measures_in_the_order_given_and_not_of_the_alphabet():
    measured = dict(reversed(UNEVEN.items()))
    header, _, *rows = plain(measures_table(measured, ["steps", "accuracy", "loss"]))
    assert header == "| network | steps | accuracy | loss |"
    assert [row[:9] for row in rows] == ["| second ", "| first |"]


@pytest.mark.parametrize(
    ("new", "old", "text"),
    [
        ([0.1, 0.125, 0.13], [0.25, 0.2889], "0.2694 → 0.1183 ▼"),
        ([0.25, 0.2889], [0.1, 0.125, 0.13], "0.1183 → 0.2694 ▲"),
        ([0.1, 0.1, 0.9], [0.25, 0.2889], "0.2694 → 0.3667 ≈"),
        ([0.25, 0.1], [0.25, 0.9], "0.5750 → 0.1750 ≈"),
        ([math.inf, math.inf], [4000, 4500], "4,250 → never ▲"),
        ([math.inf, 500], [4000, 4500], "4,250 → in 1 of 2 runs ≈"),
    ],
)
def test_a_change_has_an_arrow_where_the_runs_separate(new, old, text):
    assert change(np.array(new), np.array(old)) == text


def test_arrows_point_where_the_measure_goes():
    assert ARROWS == {-1: "▼", 0: "≈", 1: "▲"}


def test_changes_go_from_the_baseline_to_the_experiment_measure_by_measure():
    pairs = {"up": ("second", "first"), "back": ("first", "second")}
    header, _, there, back = plain(changes_table(UNEVEN, pairs, ["loss", "steps", "accuracy"]))
    assert header == "| from → to | loss | steps | accuracy |"
    assert there == ("| up | 0.3750 → 0.1292 ▼ | 2,250 → in 2 of 3 runs ▲ | 0.8125 → 0.8367 ≈ |")
    assert back == ("| back | 0.1292 → 0.3750 ▲ | in 2 of 3 runs → 2,250 ▼ | 0.8367 → 0.8125 ≈ |")


def finding(new, arrow, task="3a"):
    old = UNEVEN["first"]["loss"]
    return Finding(task, "Weights matter.", "validation loss", old, np.array(new), arrow)


NEW = {"▼": [0.125, 0.2], "▲": [0.75, 0.625], "≈": [0.5, 0.125]}


@pytest.mark.parametrize("arrow", NEW)
def test_a_finding_stands_with_its_task_and_its_measure(arrow):
    header, _, row = plain(findings_table([finding(NEW[arrow], arrow)]))
    assert header == "| finding | shown by | from → to |"
    numbers = f"0.3750 → {np.mean(NEW[arrow]):.4f} {arrow}"
    assert row == f"| **3a** Weights matter. | validation loss | {numbers} |"


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("measured", "said"), [*combinations(NEW, 2), *combinations("≈▲▼", 2)])
def test_a_finding_that_does_not_hold_is_named_wherever_it_stands(place, measured, said):
    findings = [finding(NEW["▼"], "▼", task) for task in ("2c", "3b", "4a")]
    findings[place] = finding(NEW[measured], said, "4x")
    message = f"Task 4x: validation loss is 0.3750 → .+ {measured}, expected {said}. Write"
    with pytest.raises(AssertionError, match=message):
        findings_table(findings)


def test_a_finding_without_an_arrow_says_nothing():
    with pytest.raises(
        AssertionError, match=r"Task 3a: validation loss is .+ ▼, expected \. Write"
    ):
        findings_table([finding(NEW["▼"], "")])


def test_findings_keep_their_order():
    findings = [finding(NEW["▼"], "▼", task) for task in ("3b", "2c", "4a")]
    rows = plain(findings_table(findings))[2:]
    assert [row[:8] for row in rows] == ["| **3b**", "| **2c**", "| **4a**"]


def test_statements_stand_beside_what_was_measured():
    statements = [
        ("It takes longer.", "first", "second", "steps"),
        ("It learns faster.", "second", "first", "loss"),
    ]
    header, _, *rows = plain(statements_table(UNEVEN, statements))
    assert header == "| statement | measured | found |"
    assert rows == [
        '| "It takes longer." | steps, second → first | in 2 of 3 runs → 2,250 ▼ |',
        '| "It learns faster." | loss, first → second | 0.3750 → 0.1292 ▼ |',
    ]


@pytest.mark.parametrize(
    "markdown",
    [
        changes_table(UNEVEN, {"up": ("second", "first")}, ["loss", "steps"]),
        findings_table([finding(NEW["▼"], "▼")]),
        statements_table(UNEVEN, [("It takes longer.", "first", "second", "steps")]),
    ],
    ids=["changes", "findings", "statements"],
)
def test_no_change_in_a_table_is_parted_at_the_end_of_a_line(markdown):
    *_, numbers = markdown.data.splitlines()[2].strip("| ").split(" | ")
    assert "→" in numbers
    assert " " not in numbers


# ---- source


# fmt: off
def long_one(
    first: int, second: str = "2", *, third: list[int], fourth: float = 0.5
) -> tuple[int, ...]:
    """Return something.

    Args:
        first, second, third: whatever.
    """
    found: int = first  # a comment is kept

    # and so is this one
    for n in third:
        if n:
            found += (
                n
                + 1
            )
    text = "no docstring"

    def inner(x: int) -> int:
        """Keep this."""
        return x

    return found, text, inner, fourth, (
        second
    )


# fmt: on


def short_one(x):
    return x


LONG_ONE = '''
def long_one(first, second='2', *, third, fourth=0.5):
    found: int = first  # a comment is kept

    # and so is this one
    for n in third:
        if n:
            found += (
                n
                + 1
            )
    text = "no docstring"

    def inner(x: int) -> int:
        """Keep this."""
        return x

    return found, text, inner, fourth, (
        second
    )
'''.strip()


def test_a_listing_is_all_of_a_function_but_docstring_and_annotations():
    assert listing(long_one) == LONG_ONE


def test_a_function_without_docstring_loses_nothing():
    assert listing(short_one) == "def short_one(x):\n    return x"


def commented(*parts: int, **others: object) -> None:
    """Do nothing."""
    # because nothing is to be done

    return print(parts, others)  # but this


def test_a_listing_has_every_comment_and_no_annotation_of_any_argument():
    assert listing(commented) == (
        "def commented(*parts, **others):\n"
        "    # because nothing is to be done\n\n"
        "    return print(parts, others)  # but this"
    )


def imported(content, folder):
    """Return the function `f` of a file with this content."""
    (folder / "stored.py").write_bytes(content)
    linecache.clearcache()
    names = {}
    exec(compile(content, str(folder / "stored.py"), "exec"), names)
    return names["f"]


STORED = "# M\xfcller\n\n\ndef f(x):\n    y = x\n    # a\x0cb\x85c\u2028d\n    return y\n"
LISTED = "def f(x):\n    y = x\n    # a\x0cb\x85c\u2028d\n    return y"


@pytest.mark.parametrize("content", [STORED.encode(), STORED.encode("utf-8-sig")])
def test_a_listing_has_the_lines_that_python_counts(content, tmp_path):
    assert listing(imported(content, tmp_path)) == LISTED


def test_a_listing_is_decoded_as_the_file_states(tmp_path):
    stated = f"# coding: latin-1\n{STORED}".replace("\u2028", "\xf8")
    function = imported(stated.encode("latin-1"), tmp_path)
    assert listing(function) == LISTED.replace("\u2028", "\xf8")


def test_a_file_that_cannot_be_listed_is_named(tmp_path):
    text = STORED.replace("\u2028", "")
    function = imported(text.encode(), tmp_path)
    (tmp_path / "stored.py").write_bytes(text.encode("latin-1"))
    with pytest.raises(OSError, match=r"stored\.py cannot be read as text, expected UTF-8"):
        listing(function)


FUNCTIONS = [
    function
    for module in (task2a, task2, task3, task4)
    for function in vars(module).values()
    if getattr(function, "__module__", "") == module.__name__ and hasattr(function, "__code__")
]


def parsed(text):
    """Return names and annotations of a function's arguments, and its statements."""
    (node,) = ast.parse(text).body
    arguments = [argument for argument in ast.walk(node.args) if isinstance(argument, ast.arg)]
    docstring = ast.get_docstring(node) is not None
    statements = [ast.dump(statement) for statement in node.body[docstring:]]
    return [a.arg for a in arguments], {a.annotation for a in arguments}, statements


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_the_listing_of_each_function_of_a_task_is_that_function(function):
    text = inspect.getsource(function)
    names, annotations, statements = parsed(listing(function))
    assert (names, statements) == (parsed(text)[0], parsed(text)[2])
    assert annotations <= {None}
    assert text.rstrip().endswith(listing(function).split("\n", 1)[1])  # comments and all


def test_sources_are_printed_one_below_the_other(capsys):
    source(short_one, long_one, short_one)
    short = "def short_one(x):\n    return x"
    assert capsys.readouterr().out == f"{short}\n\n{LONG_ONE}\n\n{short}\n"
