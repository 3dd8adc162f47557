"""What a hand-in's functions returned is compared: what is told apart, and in what words."""

import math

import numpy as np
import pytest

from course.judge import difference, misshapen, problem, read, reference
from course.rubric import ROWS


def packed(array):
    """Return an array as a worker answers with it."""
    array = np.asarray(array, float)
    return {"numbers": array.ravel().tolist(), "shape": list(array.shape)}


def row(judge="equal", **settings):
    return ROWS[0]._replace(judge=judge, **settings)


def why(judge, value, expected=None, **settings):
    """Return what is wrong with what a worker answered."""
    expected = value if expected is None else expected
    return problem(row(judge, **settings), value, reference(row(judge), expected))


# what a worker answers


def test_what_is_read_has_its_shape():
    value = np.arange(6.0).reshape(2, 3)
    assert read(packed(value)).tolist() == value.tolist()
    assert read(3).shape == ()
    assert read(True) == 1


def test_arrays_of_one_shape_are_read_as_one():
    assert read([packed([1, 2]), packed([3, 4])]).tolist() == [[1, 2], [3, 4]]
    assert read([1, 2.5]).tolist() == [1, 2.5]
    assert read([[1, 2], [3, 4]]).shape == (2, 2)


def test_arrays_of_several_shapes_are_read_as_a_list():
    found = read([packed([1, 2]), packed([3])])
    assert isinstance(found, list)
    assert [a.tolist() for a in found] == [[1, 2], [3]]
    assert [len(part) for part in read([[1, [2, 3]], [[1, 2], 3]])] == [2, 2]
    assert read([]) == []


@pytest.mark.parametrize(
    "value",
    [
        *("text", ["text"], {}, {"numbers": [1]}, {"shape": [1]}, {"numbers": 1, "shape": ["a"]}),
        *({"numbers": [1, 2], "shape": [3]}, {"numbers": [1], "shape": [10**30]}),
        *(None, [None, {}], {"numbers": [[1], [1, 2]], "shape": [2]}, 10**400),
    ],
)
@pytest.mark.parametrize("judge", ["equal", "shuffled", "uniform", "normal", "normal_layers"])
def test_what_is_no_array_is_said_to_be_none(judge, value):
    expected = [packed(np.ones((3, 4)))] * 3
    assert problem(row(judge), value, reference(row(judge), expected)) is not None


def test_a_text_is_no_array():
    assert why("equal", "text", 1.0) == "is no array and no list of arrays"


def test_what_is_nested_without_end_is_no_array():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert why("equal", deep, 1.0) == "is no array and no list of arrays"


def test_of_drawn_weights_only_the_shapes_are_told():
    weights = [packed(np.ones((2, 3))), packed(np.ones((4, 5)))]
    assert reference(row("normal_layers"), weights) == [(2, 3), (4, 5)]
    assert reference(row("uniform"), weights) == [(2, 3), (4, 5)]
    assert reference(row("equal"), weights) is weights
    assert reference(row("shuffled"), weights) is weights


# equal values


@pytest.mark.parametrize(
    ("found", "expected", "atol", "equal"),
    [
        *((1000.0009, 1000, 0, True), (1000.0011, 1000, 0, False), (999.9989, 1000, 0, False)),
        *((1.9e-6, 0, 2e-6, True), (2.1e-6, 0, 2e-6, False), (-2.1e-6, 0, 2e-6, False)),
        *((1.0002, 1, 1e-4, False), (1.00005, 1, 1e-4, True)),
    ],
)
def test_values_are_equal_up_to_tolerances(found, expected, atol, equal):
    said = None if equal else "has not the values expected"
    assert why("equal", found, expected, atol=atol) == said
    assert why("equal", packed([1, found]), packed([1, expected]), atol=atol) == said


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), "is an array of shape (2, 3), expected an array of s"),
        (np.ones(3), 1, "is an array of shape (3,), expected a number"),
        (np.ones(0), 1, "is an array of shape (0,), expected a number"),
        (np.ones((1, 1)), 1, None),
        (2 * np.ones((1, 1)), 1, "has not the values expected"),
        (1, np.ones((1, 1)), "is a number, expected an array of shape (1, 1)"),
        (np.ones((1, 1)), np.ones(1), "is an array of shape (1, 1), expected an array of shape"),
        (math.nan, 1, "is not finite"),
        (np.array([1, -math.inf]), np.ones(2), "is not finite"),
    ],
)
def test_shapes_and_infinities_are_told_apart(found, expected, said):
    assert (why("equal", packed(found), packed(expected)) or "").startswith(said or "")
    assert (why("equal", packed(found), packed(expected)) is None) == (said is None)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (1, "is a number, expected a list of 2"),
        ([1, 2, 3], "is an array of shape (3,), expected a list of 2"),
        ([[1, 2], [3], [4]], "is a list of 3, expected a list of 2"),
        ([[1, 2], 3], "is a number, expected an array of shape (1,) in entry 1"),
        ([[1, 2], [3]], None),
        ([[1, 2]], "is an array of shape (1, 2), expected a list of 2"),
        ([], "is a list of 0, expected a list of 2"),
        ([[[1], [2, 3]], [3]], "is a list of 2, expected an array of shape (2,) in entry 0"),
    ],
)
def test_lists_are_told_from_arrays(found, said):
    assert why("equal", found, [[1, 2], [3]]) == said


def test_a_list_of_arrays_may_be_one_array():
    expected = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    assert difference(np.array([[1.0, 2.0], [3.0, 4.0]]), expected, 0) is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([[1, 2], [3]], None),
        ([[1, 9], [3]], "has not the values expected in entry 1 of entry 0"),
        ([[9, 9], [3]], "has not the values expected in entries 0, 1 of entry 0"),
        ([[1, 2], [9]], "has not the values expected in entry 0 of entry 1"),
        ([[9, 2], [9]], "has not the values expected in entry 0 of entries 0, 1"),
        ([[9, 2], [3, 4]], "has not the values expected in entry 0 of entry 0"),
        ([[1, 2], [3, 4]], "is a list of 2, expected a list of 1 in entry 1"),
        ([[1, math.inf], [3]], "is not finite in entry 1 of entry 0"),
    ],
)
def test_all_places_of_the_first_difference_are_named(found, said):
    as_arrays = [[np.array(float(value)) for value in values] for values in found]
    expected = [[np.array(1.0), np.array(2.0)], [np.array(3.0)]]
    assert difference(as_arrays, expected, 1e-9) == said


def test_three_places_are_named_too():
    expected = [np.zeros(1), np.zeros(2), np.zeros(3), np.zeros(4)]
    found = [a + (a.size > 1) for a in expected]
    assert difference(found, expected, 0) == "has not the values expected in entries 1, 2, 3"


# trainings on examples in another order


LAYERS = [np.array([[0.0, -3.0], [0.2, 0.3]]), np.array([[0.5]])]


def test_an_order_moves_weights_by_less_than_a_third_of_the_largest():
    expected = [[packed(w) for w in LAYERS], [packed(w / 4) for w in LAYERS]]

    def moved(*by):
        of_seeds = zip(expected, by, strict=True)
        found = [[packed(read(w) + off) for w in layers] for layers, off in of_seeds]
        return why("shuffled", found, expected)

    assert [moved(by, 0.0) for by in (0.9, -0.9, 0.0)] == [None] * 3
    assert [moved(0.0, by) for by in (0.9, -0.9)] == [None] * 2
    for by in (1.1, -1.1):
        assert "has not the values expected" in moved(by, 0.0)
        assert "has not the values expected" in moved(0.0, by)


@pytest.mark.parametrize(("by", "same"), [(0, True), (2e-9, True), (-2e-9, True), (4e-9, False)])
def test_another_seed_moves_weights_at_all(by, same):
    expected = [[packed(w) for w in LAYERS]] * 2
    found = [expected[0], [packed(w + by) for w in LAYERS]]
    said = "is the same with another seed" if same else None
    assert why("shuffled", found, expected) == said


# drawn weights

SHAPE = (20, 120)
SIZE = 2400


def three_points(nonzero, deviation=1.0, size=SIZE):
    """Return values of mean 0, this deviation and the kurtosis size / nonzero."""
    values = np.zeros(size)
    values[:nonzero] = math.sqrt(size / nonzero) * deviation
    values[: nonzero // 2] *= -1
    return values


@pytest.mark.parametrize(("shift", "fits"), [(0.1, 1), (0.105, 0), (-0.1, 1), (-0.105, 0)])
@pytest.mark.parametrize("deviation", [1, 0.2, 5])
def test_the_mean_is_0_within_five_of_its_errors(shift, fits, deviation):
    said = misshapen(three_points(800, deviation) + shift * deviation, deviation, 3)
    assert said == (None if fits else "has another mean than 0")


@pytest.mark.parametrize(("factor", "fits"), [(1.07, 1), (1.075, 0), (0.93, 1), (0.925, 0)])
@pytest.mark.parametrize("deviation", [1, 0.2, 5])
def test_the_deviation_is_right_within_five_of_its_errors(factor, fits, deviation):
    said = misshapen(three_points(800, factor * deviation), deviation, 3)
    assert said == (None if fits else "has another standard deviation than expected")


def test_the_deviation_of_a_uniform_distribution_is_known_better():
    flat = np.linspace(-1, 1, SIZE)  # five errors are 4.6 %
    assert [misshapen(factor * flat, 3**-0.5, 9 / 5) for factor in (1.04, 0.96)] == [None] * 2
    for factor in (1.05, 0.95):
        assert "deviation" in misshapen(factor * flat, 3**-0.5, 9 / 5)


@pytest.mark.parametrize(("nonzero", "fits"), [(650, 1), (648, 0), (1038, 1), (1046, 0)])
def test_the_kurtosis_is_right_within_seven_of_its_errors(nonzero, fits):
    said = misshapen(three_points(nonzero), 1, 3)
    assert said == (None if fits else "is of another form")


@pytest.mark.parametrize(
    "values",
    [
        [1.5, -0.5] * 50,  # of 100 with deviation 1 the mean may be 0.5
        [1.5, -1.5] * 25,  # of 50 the deviation may be 1.5
    ],
)
def test_the_mean_and_the_deviation_may_be_off_by_just_five_errors(values):
    assert misshapen(np.array(values, float), 1.0, 3) is None


def normal(seed, shape=SHAPE):
    return np.random.default_rng(seed).normal(0, shape[0] ** -0.5, shape)


def uniform(seed, shape=SHAPE):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def drawn(kind, *weights):
    expected = [packed(np.ones(SHAPE))] * 3
    return why(kind, [packed(w) for w in weights], expected)


@pytest.mark.parametrize(("kind", "draw"), [("uniform", uniform), ("normal", normal)])
def test_drawn_weights_are_told_from_others(kind, draw):
    one, other = draw(1), draw(2)
    assert drawn(kind, one, one, other) is None
    for by in (0.01, -0.01):
        nudged = one + by * (np.arange(SHAPE[1]) == 7)
        assert "is not the same with the same seed" in drawn(kind, one, nudged, other)
    assert drawn(kind, one, one, one).startswith("is the same with another seed")
    assert drawn(kind, one, one) == f"has the shapes {[SHAPE] * 2}, expected {[SHAPE] * 3}"
    assert "has the shapes" in drawn(kind, one.T, one.T, other.T)
    assert drawn(kind, one, one, np.where(other > 0, other, math.nan)) == "is not finite"
    assert drawn(kind, one, one, np.where(one > 9, one, math.inf)) == "is not finite"
    for change, said in ((lambda w: 0.95 * w + 0.05, "mean"), (lambda w: 0.9 * w, "deviation")):
        assert said in drawn(kind, *map(change, (one, one, other)))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("kind", "draw"), [("uniform", uniform), ("normal", normal)])
def test_what_is_drawn_rightly_fits(kind, draw, seed):
    assert drawn(kind, draw(seed), draw(seed), draw(seed + 1)) is None


def test_some_weights_may_be_the_same_by_chance():
    one, other = normal(1), normal(2)
    for share, said in ((24, None), (25, "is the same with another seed: draw by the generator g")):
        mixed = np.where(np.arange(SIZE).reshape(SHAPE) < share, one, other)
        assert (drawn("normal", one, one, mixed) or "").startswith(said or "")
        assert (drawn("normal", one, one, mixed) is None) == (said is None)


def test_uniform_weights_end_at_1_and_normal_ones_do_not():
    one, other = uniform(1), uniform(2)
    one[0, 0] = other[0, 0] = 1.01
    assert drawn("uniform", one, one, other) == "is not from -1 to 1"
    one[0, 0] = other[0, 0] = -1.0
    assert drawn("uniform", one, one, other) is None
    one[0, 0] = -1.01
    assert drawn("uniform", one, one, other) == "is not from -1 to 1"
    assert "deviation" in drawn("normal", one, one, other)


@pytest.mark.parametrize(
    ("kind", "nonzero", "fits"),
    [
        *(("uniform", 2400, 0), ("uniform", 1022, 0), ("uniform", 1066, 1), ("uniform", 1500, 1)),
        *(("normal", 2400, 0), ("normal", 800, 1)),
    ],
)
def test_drawn_weights_have_the_form_of_their_distribution(kind, nonzero, fits):
    one = three_points(nonzero, {"uniform": 3, "normal": SHAPE[0]}[kind] ** -0.5)
    order = np.random.default_rng(0)
    other = order.permutation(one) + 1e-6 * order.normal(size=SIZE)
    said = drawn(kind, *(w.reshape(SHAPE) for w in (one, one, other)))
    assert said == (None if fits else "is of another form")


def test_every_layer_has_the_deviation_of_its_own_inputs():
    shapes = [(90, 40), (40, 100)]
    expected = [packed(np.ones(shape)) for shape in shapes]
    right = [normal(1, shape) for shape in shapes]
    assert why("normal_layers", [packed(w) for w in right], expected) is None
    as_first = [right[0], right[1] * (40 / 90) ** 0.5]
    said = why("normal_layers", [packed(w) for w in as_first], expected)
    assert said == "has another standard deviation than expected"
    said = why("normal_layers", [packed(w) for w in [2 * right[0], right[1]]], expected)
    assert said == "has another standard deviation than expected"
