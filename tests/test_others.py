import numpy as np
import pytest

from report.measures import measures_of
from report.others import (
    PUBLISHED,
    PUBLISHED_MEASURES,
    REFERENCE,
    REFERENCE_MEAN,
    REFERENCE_STD,
    between,
    outside,
    published,
    published_table,
    reference_table,
)
from tests.runs import a_run, data

# as the assignment quotes them, the accuracies in per cent
HAND_INS = """
    Task 2c      | 0.288 to 0.298 | 91.5 to 91.8 | 47 to 50
    Task 3a      | 0.137 to 0.148 | 95.5 to 95.9 | 42 to 50
    Task 3b      | 0.135 to 0.186 | 96.0 to 96.4 | 15 to 28
    Task 3c      | 0.136 to 0.184 | 95.8 to 96.5 | 13 to 19
    Task 4a      | 0.19 to 0.224  | 94.5 to 95.2 | 15 to 25
    Task 4b      | 0.121 to 0.131 | 96.6 to 97.0 | 17 to 29
    Task 4d      | 0.172          | 96.4 to 96.5 | 15
    Task 4e      | 0.229 to 0.236 | 94.8         | 32
    Task 4f deep | 0.21 to 0.25   | 96.3 to 96.7 | -
"""


def test_published_ranges_are_those_that_the_assignment_quotes():
    assert len(PUBLISHED) == HAND_INS.count("Task")
    for line in HAND_INS.strip().splitlines():
        name, *cells = (cell.strip() for cell in line.split("|"))
        for limits, cell, unit in zip(PUBLISHED[name], cells, (1, 100, 1), strict=True):
            quoted = [float(value) / unit for value in cell.split(" to ")] if cell != "-" else None
            assert limits == (quoted and pytest.approx((quoted[0], quoted[-1]), rel=1e-12))


def test_the_reference_hand_in_is_quoted_as_it_was_handed_in():
    assert REFERENCE == {
        "training loss": 0.01875,
        "validation loss": 0.14715,
        "training accuracy": 0.99605,
        "validation accuracy": 0.9575,
    }


def test_what_the_reference_hand_in_was_normalised_with_is_that_of_the_training_images(mnist):
    pixels = mnist[0].astype(float)
    found = np.array([REFERENCE_MEAN, REFERENCE_STD])
    np.testing.assert_allclose(found, [pixels.mean(), pixels.std()], rtol=1e-9)


def test_whatever_others_have_published_is_measured_of_our_runs_too():
    X, Y = data(9)
    found = measures_of(a_run([2, 1]), X, Y, X)
    assert {*PUBLISHED_MEASURES, *REFERENCE} <= found.keys()


def test_published_are_the_loss_the_accuracy_and_the_epoch_at_the_end():
    words = ("final validation loss", "final validation accuracy", "last epoch")
    assert words == PUBLISHED_MEASURES


def measured_for(values):
    """Return measures of all networks published, where `values` are by place in PUBLISHED."""
    return {
        name: dict(zip(PUBLISHED_MEASURES, map(np.array, values), strict=True))
        for name in PUBLISHED
    }


MEASURED = measured_for([[0.1, 0.125, 0.3], [0.9, 0.98, 0.91], [10, 20, 11]])


def rows(measured):
    lines = [line.strip("| ").split(" | ") for line in published_table(measured).data.splitlines()]
    return {line[0]: line[1:] for line in lines}


def test_our_range_stands_beside_the_published_one_bold_where_they_have_nothing_in_common():
    found = rows(MEASURED)
    inside = ["0.100 to 0.300", "0.288 to 0.298", "0.900 to 0.980", "0.915 to 0.918"]
    assert found["Task 2c"] == [*inside, "**10 to 20**", "47 to 50"]
    assert found["Task 4d"][:2] == ["0.100 to 0.300", "0.172"]
    assert found["Task 4d"][-2:] == ["10 to 20", "15"]
    assert found["Task 4f deep"][-2:] == ["10 to 20", "not given"]
    bold = {name for name, cells in found.items() if "**" in "".join(cells)}
    assert bold == {"Task 2c", "Task 3a", "Task 4e"}


def test_each_measure_stands_under_its_heading_and_each_network_in_its_row():
    header, _, *networks = published_table(MEASURED).data.splitlines()
    cells = [cell for measure in PUBLISHED_MEASURES for cell in (measure, "published")]
    assert header == f"| network | {' | '.join(cells)} |"
    assert [line.split(" | ")[0] for line in networks] == [f"| {name}" for name in PUBLISHED]


def test_each_network_is_compared_with_what_is_published_of_it():
    measured = {
        name: {measure: np.array([n, 0.5 + n]) for measure in PUBLISHED_MEASURES}
        for n, name in enumerate(PUBLISHED)
    }
    found = [
        (name, measure, values[0], ours) for name, measure, values, ours in published(measured)
    ]
    assert found == [
        (name, measure, n, limits)
        for n, (name, ranges) in enumerate(PUBLISHED.items())
        for measure, limits in zip(PUBLISHED_MEASURES, ranges, strict=True)
    ]


@pytest.mark.parametrize("end", [0, -1], ids=["least", "greatest"])
def test_the_ends_of_a_published_range_belong_to_it(end):
    measured = {
        name: {
            measure: np.array([limits[end] if limits else 99])
            for measure, limits in zip(PUBLISHED_MEASURES, ranges, strict=True)
        }
        for name, ranges in PUBLISHED.items()
    }
    assert "**" not in published_table(measured).data


@pytest.mark.parametrize(
    ("values", "limits", "is_outside"),
    [
        ([0.15, 0.1, 0.3], (0.2, 0.22), False),  # the mean is inside, no run is
        ([0.2, 0.1, 0.19], (0.2, 0.22), False),
        ([0.1, 0.12, 0.19], (0.2, 0.22), True),
        ([0.9, 0.23, 0.3], (0.2, 0.22), True),
        ([0.9, 0.2204, 0.3], (0.2, 0.22), False),  # 0.220 to the digits that are given
        ([0.9, 0.2206, 0.3], (0.2, 0.22), True),
        ([0.1, 0.1994], (0.2, 0.22), True),
        ([0.1, 0.1996], (0.2, 0.22), False),
        ([0.9, 1.2], (0.2, 0.22), True),
        ([1.2, 1.4], (0.9, 1.0), True),
        ([2.4], (1, 2), False),
        ([51, 60], (47, 50), True),
        ([12, 46], (47, 50), True),
        ([12, 47], (47, 50), False),
    ],
)
def test_a_range_is_outside_if_none_of_it_is_published(values, limits, is_outside):
    assert outside(np.array(values), limits) == is_outside


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.1234, 0.5678, "0.123 to 0.568"),
        (0.1234, 0.1231, "0.123"),
        (0.915, 1.0, "0.915 to 1.000"),
        (9, 50, "9 to 50"),
        (32, 32, "32"),
        (1, 2, "1 to 2"),
    ],
)
def test_a_range_in_words_has_three_digits_or_none(low, high, text):
    assert between(low, high) == text


def test_the_reference_hand_in_stands_beside_the_network_named():
    ours = {measure: np.array([n + 0.5, n + 0.75]) for n, measure in enumerate(REFERENCE)}
    theirs = {measure: values + 7 for measure, values in ours.items()}
    text = reference_table({"Task 3c": theirs, "wide": ours}, "wide").data
    header, _, *lines = text.replace("\u00a0", " ").splitlines()
    assert header == "| wide | reference hand-in | here |"
    assert lines == [
        "| training loss | 0.01875 | 0.6250 ± 0.1768 |",
        "| validation loss | 0.14715 | 1.6250 ± 0.1768 |",
        "| training accuracy | 0.99605 | 2.6250 ± 0.1768 |",
        "| validation accuracy | 0.9575 | 3.6250 ± 0.1768 |",
    ]
