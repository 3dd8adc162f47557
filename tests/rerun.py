"""What is asked of the project's own notebook after all of its cells have run.

Each cell runs once more, the last one first, and must show the same, so that no cell depends on
what a later one has left behind. And each answer is given once more for each of its facts, with
another run's numbers in it, and must stop.
"""

import ast
from collections.abc import Iterator, Sequence

import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

NOT_AGAIN = "train_all"  # takes minutes, and needs nothing but the names of the cells above it

# what the cells below are given: numbers with which a fact does not hold
FALSE_NUMBERS = """
def with_other_numbers(claim, measured, new, old, measure):
    numbers = measured[old][measure]
    if claim == "alike":
        found = (m[measure] for m in measured.values() if measure in m)
        numbers = next(other for other in found if separation(other, numbers))
    return measured | {new: measured[new] | {measure: numbers}}, new, old, measure
"""


class FalseFact(IPyNbCell):
    """An answer with one false fact, which must stop and say so."""

    def runtest(self) -> None:
        """Fail if the answer is given."""
        with pytest.raises(NbCellError) as stopped:
            super().runtest()
        assert "AssertionError" in stopped.value.inner_traceback
        assert "not so" in stopped.value.inner_traceback

    def reportinfo(self) -> tuple[object, int, str]:
        """Name the test."""
        return self.path, self.cell_num, self.name


def items_after(file: IPyNbFile, cells: Sequence[IPyNbCell]) -> Iterator[pytest.Item]:
    """Return the tests that follow those of all cells."""
    for item in reversed(cells):
        if NOT_AGAIN not in item.cell.source:
            yield copy_of(item, IPyNbCell, f"{item.name} again", item.cell.source)
    for item in cells:
        for number, source in enumerate(with_false_facts(item.cell.source), start=1):
            yield copy_of(item, FalseFact, f"{item.name} without fact {number}", source)


def copy_of(item: IPyNbCell, kind: type[IPyNbCell], name: str, source: str) -> IPyNbCell:
    """Return another test of a cell, with this source."""
    cell = NotebookNode({**item.cell, "source": source})
    return kind.from_parent(
        item.parent, name=name, cell_num=item.cell_num, cell=cell, options=item.options
    )


def with_false_facts(source: str) -> list[str]:
    """Return a cell's source once for each fact of its answers, with that one made false."""
    if "answer(" not in source:
        return []
    facts = len(facts_of(ast.parse(source)))
    sources = []
    for number in range(facts):
        tree = ast.parse(source)
        call, place = facts_of(tree)[number]
        call.args[place] = falsified(call.args[place])
        sources.append(FALSE_NUMBERS + ast.unparse(ast.fix_missing_locations(tree)))
    return sources


def facts_of(tree: ast.Module) -> list[tuple[ast.Call, int]]:
    """Return where the facts are: calls of `answer`, and the places of their arguments."""
    calls = [node for node in ast.walk(tree) if is_call(node, "answer")]
    return [(call, place) for call in calls for place in range(1, len(call.args))]


def is_call(node: ast.AST, name: str) -> bool:
    """Tell whether a node calls a function of this name."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == name


def falsified(fact: ast.expr) -> ast.expr:
    """Return a fact, or several of a comprehension, with what does not hold."""
    if isinstance(fact, ast.Starred):
        fact.value.elt = falsified(fact.value.elt)
        return fact
    claim, condition = fact.func.id, fact.args[1]
    if claim == "Fact":
        return ast.Call(fact.func, [fact.args[0], ast.UnaryOp(ast.Not(), condition)], [])
    numbers = ast.Call(ast.Name("with_other_numbers"), [ast.Constant(claim), *fact.args], [])
    return ast.Call(fact.func, [ast.Starred(numbers)], [])
