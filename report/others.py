"""What others have handed in, to compare with: figures quoted as they print them."""

from collections.abc import Iterator

import numpy.typing as npt
from IPython.display import Markdown

from report.answers import table
from report.measures import Measures, in_words

# the reference hand-in: the report of this edition from which this one has grown, one run
REFERENCE_MEAN, REFERENCE_STD = 33.55274553571429, 78.87550070784701
REFERENCE = {  # the final network of its Task 3
    "training loss": 0.01875,
    "validation loss": 0.14715,
    "training accuracy": 0.99605,
    "validation accuracy": 0.9575,
}

# what correct public hand-ins report, from the least to the greatest; mostly for the last weights
PUBLISHED_MEASURES = (
    "final validation loss",
    "final validation accuracy",
    "last epoch",
)
PUBLISHED = {
    "Task 2c": ((0.288, 0.298), (0.915, 0.918), (47, 50)),
    "Task 3a": ((0.137, 0.148), (0.955, 0.959), (42, 50)),
    "Task 3b": ((0.135, 0.186), (0.960, 0.964), (15, 28)),
    "Task 3c": ((0.136, 0.184), (0.958, 0.965), (13, 19)),
    "Task 4a": ((0.19, 0.224), (0.945, 0.952), (15, 25)),
    "Task 4b": ((0.121, 0.131), (0.966, 0.970), (17, 29)),
    "Task 4d": ((0.172, 0.172), (0.964, 0.965), (15, 15)),
    "Task 4e": ((0.229, 0.236), (0.948, 0.948), (32, 32)),
    "Task 4f deep": ((0.21, 0.25), (0.963, 0.967), None),
}


def reference_table(measured: Measures, name: str) -> Markdown:
    """Return a table of one experiment beside the reference hand-in's network."""
    rows = [
        [measure, f"{said:g}", in_words(measured[name][measure])]
        for measure, said in REFERENCE.items()
    ]
    return table([name, "reference hand-in", "here"], rows)


def published(
    measured: Measures,
) -> Iterator[tuple[str, str, npt.NDArray, tuple[float, float] | None]]:
    """Yield network, measure, our values [seeds] and the limits of what is published, if it is."""
    for name, ranges in PUBLISHED.items():
        for measure, limits in zip(PUBLISHED_MEASURES, ranges, strict=True):
            yield name, measure, measured[name][measure], limits


def outside(values: npt.NDArray, limits: tuple[float, float]) -> bool:
    """Tell whether the range of the values does not touch the limits, as far as these are given."""
    digits = 0 if values.max() > 1 else 3
    return values.min().round(digits) > limits[1] or values.max().round(digits) < limits[0]


def published_table(measured: Measures) -> Markdown:
    """Return a table of our ranges beside those that are published; bold is outside of these."""
    rows: dict[str, list[str]] = {name: [name] for name in PUBLISHED}
    for name, _, values, limits in published(measured):
        text = between(values.min(), values.max())
        rows[name] += (
            [f"**{text}**" if outside(values, limits) else text, between(*limits)]
            if limits
            else [text, "not given"]
        )
    header = [text for measure in PUBLISHED_MEASURES for text in (measure, "published")]
    return table(["network", *header], list(rows.values()))


def between(low: float, high: float) -> str:
    """Return a range in words."""
    first, last = (f"{number:.0f}" if high > 1 else f"{number:.3f}" for number in (low, high))
    return first if first == last else f"{first} to {last}"
