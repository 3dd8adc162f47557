"""Compare what a hand-in's functions returned with what the solution's did, both as JSON has them.

What differs is described without telling the solution's values.
"""

from typing import Any

import numpy as np

from course.rubric import RTOL, Row

SIGMAS = 5  # that the mean and the deviation of drawn weights may be off by
SIGMAS_OF_FORM = 7  # that their kurtosis may be, which is far from normally distributed


def read(value: Any) -> Any:
    """Return a worker's value as an array, or a list of such.

    Raises:
        ValueError, TypeError, KeyError: it is no value.
    """
    if isinstance(value, dict):
        return np.array(value["numbers"], np.float64).reshape(value["shape"])
    if not isinstance(value, list):
        return np.array(value, np.float64)
    items = [read(item) for item in value]
    shapes = {np.shape(item) if isinstance(item, np.ndarray) else None for item in items}
    return np.array(items) if len(shapes) == 1 and None not in shapes else items


def reference(row: Row, value: Any) -> Any:
    """Return what `problem` needs of the solution's value: of drawn weights only the shapes."""
    return value if row.judge in ("equal", "shuffled") else [np.shape(w) for w in read(value)]


def problem(row: Row, value: Any, expected: Any) -> str | None:
    """Return what is wrong with a hand-in's value, if anything is.

    Args:
        row: of the rubric.
        value: what the hand-in's worker answered.
        expected: the `reference` to the solution.
    """
    try:
        found = read(value)
        match row.judge:
            case "equal":
                return difference(found, read(expected), row.atol)
            case "shuffled":
                return unshuffled(found, read(expected))
            case kind:
                return misdrawn(kind, found, expected)
    except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError):
        return "is no array and no list of arrays"  # but what only a forged answer holds


def form(value: Any) -> str:
    """Describe a value's type and shape."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"an array of shape {value.shape}" if value.shape else "a number"


def difference(found: Any, expected: Any, atol: float) -> str | None:
    """Return in what two values differ, if they do; one number may be an array of one."""
    if isinstance(expected, list):
        if (isinstance(found, np.ndarray) and not found.shape) or len(found) != len(expected):
            return f"is {form(found)}, expected {form(expected)}"
        differences = [difference(*pair, atol) for pair in zip(found, expected, strict=True)]
        if not any(differences):
            return None
        first = next(filter(None, differences))
        numbers = [str(number) for number, why in enumerate(differences) if why == first]
        where = f"{'entries' if numbers[1:] else 'entry'} {', '.join(numbers)}"
        return f"{first} {'of' if ' in entr' in first else 'in'} {where}"
    if isinstance(found, list) or found.shape != expected.shape:
        if isinstance(found, np.ndarray) and found.size == 1 and not expected.shape:
            return difference(found.reshape(()), expected, atol)
        return f"is {form(found)}, expected {form(expected)}"
    if not np.isfinite(found).all():
        return "is not finite"
    return None if np.allclose(found, expected, RTOL, atol) else "has not the values expected"


def unshuffled(found: Any, expected: Any) -> str | None:
    """Return what says that two trainings differ by more than the order of the examples, or not."""
    largest = max(np.abs(layer).max() for layer in expected[0])
    if different := difference(found, expected, largest / 3):
        return different
    same = difference(found[0], found[1], 1e-9 * largest) is None
    return "is the same with another seed" if same else None


def misdrawn(kind: str, found: Any, shapes: list) -> str | None:
    """Return what says that weights are not drawn as they should be.

    Args:
        kind: "uniform" or "normal", three draws of which two have one seed, or "normal_layers".
        found: the weights.
        shapes: that they should have.
    """
    forms = [np.shape(w) if isinstance(w, np.ndarray) else None for w in found]
    if forms != (expected := [tuple(shape) for shape in shapes]):
        return f"has the shapes {forms}, expected {expected}"
    if not all(np.isfinite(w).all() for w in found):
        return "is not finite"
    if kind == "normal_layers":
        return next(filter(None, (misshapen(w, len(w) ** -0.5, 3) for w in found)), None)
    first, again, other = found
    if (first != again).any():
        return "is not the same with the same seed: draw by the generator given, and by no other"
    if (first == other).mean() > 0.01:  # some may be, if they are rounded
        return "is the same with another seed: draw by the generator given"
    both = np.stack([first, other])
    if kind == "normal":
        return misshapen(both, len(first) ** -0.5, 3)
    return "is not from -1 to 1" if np.abs(both).max() > 1 else misshapen(both, 3**-0.5, 9 / 5)


def misshapen(values: Any, deviation: float, kurtosis: float) -> str | None:
    """Return in what the moments of values are not those of a distribution of mean zero.

    Args:
        values: an array.
        deviation, kurtosis: of the distribution, the latter 3 for a normal one.
    """
    size = values.size
    if abs(values.mean()) > SIGMAS * deviation / np.sqrt(size):
        return "has another mean than 0"
    if abs(values.std() / deviation - 1) > SIGMAS * np.sqrt((kurtosis - 1) / 4 / size):
        return "has another standard deviation than expected"
    fourth = np.mean((values / values.std()) ** 4)
    return (
        None
        if abs(fourth - kurtosis) < SIGMAS_OF_FORM * np.sqrt(24 / size)
        else "is of another form"
    )
