"""Sums that do not depend on their order: the grid, its limit, and ties decided by more digits."""

import math
import re
from decimal import Decimal, getcontext, localcontext
from itertools import pairwise

import numpy as np
import pytest

import task2
import utils
from task2 import (
    RESERVE,
    TASK_2C,
    Experiment,
    descend,
    factors,
    require_exact_sums,
    train,
)
from task2a import (
    SIGMOID,
    Activation,
    forward,
    initialize_weights,
    layer_errors,
    mean_X,
    one_hot_encode,
    pre_process_images,
    product,
    sigmoid,
    softmax,
    std_X,
    weighted_sums,
)
from task3 import SCALE, STRETCH, TASK_3C, improved_sigmoid
from task4 import RELU, TASK_4E, TASK_4F_DEEP, he_normal, relu
from utils import (
    DIGITS,
    DOUBT,
    EXACT_BELOW,
    GRID_BITS,
    GRID_STEP,
    Digits,
    batch_loader,
    settled,
    snap,
)

NETWORKS = [
    TASK_2C,
    TASK_3C,
    TASK_4E,
    TASK_4F_DEEP,
    TASK_4F_DEEP._replace(name="Task 4f deep, He", draw=he_normal),
]
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda e: e.name)


def as_it_is(values):
    return values


# ---- the grid


def test_the_constants_of_the_grid():
    assert (GRID_BITS, GRID_STEP, EXACT_BELOW) == (19, 2.0**-19, 32_768)
    assert utils.GRID_SHIFT == 3 * 2.0**32
    assert np.spacing(utils.GRID_SHIFT) == GRID_STEP


def test_snap_rounds_to_the_nearest_multiple():
    values = np.random.default_rng(0).normal(0, 3, (50, 20))
    before = values.copy()
    multiples = snap(values) / GRID_STEP
    np.testing.assert_array_equal(multiples, np.round(multiples))
    assert np.abs(multiples - values / GRID_STEP).max() <= 0.5
    np.testing.assert_array_equal(values, before)


def test_snap_rounds_ties_to_even_and_both_signs_alike():
    multiples = np.array([0, 0.4, 0.5, 0.6, 1, 1.5, 2.5, 3.5, 1e6 + 0.5])
    expected = np.array([0, 0, 0, 1, 1, 2, 2, 4, 1e6])
    np.testing.assert_array_equal(snap(multiples * GRID_STEP), expected * GRID_STEP)
    np.testing.assert_array_equal(snap(-multiples * GRID_STEP), -expected * GRID_STEP)


@pytest.mark.parametrize("largest", [1e-5, 1, 1e3, EXACT_BELOW, 2.0**31])
def test_snapping_twice_is_snapping_once_up_to_far_beyond_the_limit(largest):
    values = np.random.default_rng(0).uniform(-largest, largest, 1_000)
    once = snap(values)
    np.testing.assert_array_equal(snap(once), once)
    assert np.abs(once - values).max() <= GRID_STEP / 2


def test_snap_does_not_hide_nan_and_inf():
    np.testing.assert_array_equal(
        snap(np.array([np.nan, np.inf, -np.inf])), [np.nan, np.inf, -np.inf]
    )


def test_no_grey_level_of_the_training_images_lies_near_a_tie(mnist):
    # another machine's last bits of their mean and standard deviation would show in no input
    grey = np.zeros((1, 784))
    grey[0, :256] = np.arange(256)
    inputs = pre_process_images(grey, mean_X(mnist[0]), std_X(mnist[0]))
    assert np.abs(inputs - snap(inputs)).max() < GRID_STEP / 2 - 1e-10


# ---- sums in any order


@pytest.fixture(scope="module")
def digits(mnist):
    # a thousand of MNIST's images: X, Y, X_val, Y_val
    images, labels = mnist[0][:1_000], mnist[1][:1_000]
    X, Y = pre_process_images(images, mean_X(images), std_X(images)), one_hot_encode(labels)
    return X[:640], Y[:640], X[640:], Y[640:]


@pytest.fixture(scope="module")
def trained(digits):
    return {e: train(e._replace(epochs=2), *digits, seed=0, keep_at=[0]) for e in NETWORKS}


def products(X, Y, ws, activation, rounded):
    """All sums of a step: forwards, backwards and gradients, of the layers one after another."""
    f = activation._replace(function=lambda z: rounded(activation.function(z)))
    values = forward(X, ws, f)
    deltas = layer_errors(Y, values, ws, f, rounded)
    return (
        [weighted_sums(x, w) for x, w in zip(values[:-1], ws, strict=True)],
        [delta @ w.T for delta, w in zip(deltas, ws, strict=True)],
        [product(x.T, delta) for x, delta in zip(values[:-1], deltas, strict=True)],
    )


def permutations(ws, rng):
    """One order for the inputs of every layer; the classes keep theirs."""
    return [rng.permutation(len(w)) for w in ws] + [np.arange(ws[-1].shape[1])]


def all_equal_in_another_order(X, Y, ws, activation, rounded, seed=0):
    rng = np.random.default_rng(seed)
    examples, units = rng.permutation(len(X)), permutations(ws, rng)
    moved = [w[np.ix_(*of)] for w, of in zip(ws, pairwise(units), strict=True)]
    here = products(X, Y, ws, activation, rounded)
    there = products(X[np.ix_(examples, units[0])], Y[examples], moved, activation, rounded)
    orders = (
        [(examples, of) for of in units[1:]],
        [(examples, of) for of in units[:-1]],
        list(pairwise(units)),
    )
    return all(
        np.array_equal(a[np.ix_(*order)], b)
        for of_kind in zip(here, there, orders, strict=True)
        for a, b, order in zip(*of_kind, strict=True)
    )


@every_network
@pytest.mark.parametrize("steps", ["untrained", "trained"])
@pytest.mark.parametrize("examples", [1, 32, 640])
def test_every_product_is_the_same_to_the_bit_in_any_order(
    digits, trained, network, steps, examples
):
    run, X, Y = trained[network], snap(digits[0][:examples]), digits[1][:examples]
    ws = [snap(w) for w in (run.kept_weights[0] if steps == "untrained" else run.last_weights)]
    assert all_equal_in_another_order(X, Y, ws, network.activation, snap)


@every_network
def test_without_the_grid_the_order_would_matter(digits, network):
    drawn = initialize_weights(network.neurons_per_layer, np.random.default_rng(0), network.draw)
    X, Y = digits[0][:32], digits[1][:32]
    assert not all_equal_in_another_order(X, Y, drawn, network.activation, as_it_is)


def train_in_another_order(experiment, data, monkeypatch):
    """Train with examples, inputs and hidden units in another order; put the weights back."""
    rng = np.random.default_rng(1)
    sizes = [785, *experiment.neurons_per_layer]
    units = [*map(rng.permutation, sizes[:-1]), np.arange(sizes[-1])]
    orders = pairwise(units)

    def draw(draws, shape):
        return experiment.draw(draws, shape)[np.ix_(*next(orders))]

    def loader(*args):
        for x, y in batch_loader(*args):
            examples = rng.permutation(len(x))
            yield x[examples], y[examples]

    monkeypatch.setattr(task2, "batch_loader", loader)
    X, Y, X_val, Y_val = data
    moved = X[:, units[0]], Y, X_val[:, units[0]], Y_val
    run = train(experiment._replace(draw=draw), *moved, seed=0)
    return [
        w[np.ix_(*map(np.argsort, of))]
        for w, of in zip(run.last_weights, pairwise(units), strict=True)
    ]


@every_network
def test_a_training_is_the_same_to_the_bit_in_any_order(digits, trained, network, monkeypatch):
    there = train_in_another_order(network._replace(epochs=2), digits, monkeypatch)
    for w, v in zip(trained[network].last_weights, there, strict=True):
        np.testing.assert_array_equal(w, v)


@every_network
def test_without_the_grid_a_training_would_depend_on_the_order(digits, network, monkeypatch):
    one = network._replace(epochs=1)
    monkeypatch.setattr(task2, "snap", as_it_is)
    monkeypatch.setattr(task2, "settled", lambda function, z: (function(z), function(z)))
    here = train(one, *digits, seed=0).last_weights
    there = train_in_another_order(one, digits, monkeypatch)
    assert any((w != v).any() for w, v in zip(here, there, strict=True))


@every_network
def test_all_numbers_that_enter_a_product_are_on_the_grid(digits, network, monkeypatch):
    entered, backward = [], task2.backward

    def noted(Y, values, ws, activation, rounded):
        entered.extend([*values[:-1], *ws, *layer_errors(Y, values, ws, activation, rounded)])
        return backward(Y, values, ws, activation, rounded)

    monkeypatch.setattr(task2, "backward", noted)
    train(network._replace(epochs=1), *digits, seed=0)
    assert len(entered) == 20 * 3 * len(network.neurons_per_layer)
    for values in entered:
        np.testing.assert_array_equal(values * 2.0**19, np.round(values * 2.0**19))


# ---- the limit


LINEAR = Activation("linear", lambda z: z, np.ones_like)
SMALL = Experiment("small", (4, 3), activation=LINEAR, batch_size=4, epochs=3)
ignore_overflow = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def sums_reach(values, deltas, ws):
    with pytest.raises(FloatingPointError) as caught:
        require_exact_sums(factors(values, deltas, ws), SMALL)
    return re.search("^small: sums reach (.*), expected less than 8,192: lower", str(caught.value))[
        1
    ]


def test_the_largest_sum_is_found_forwards():
    ws = [np.array([[1000.0], [-2000]]), np.array([[0.5]])]
    values = [np.array([[1.0, 1], [-3, 4]]), np.array([[2.0], [3]]), None]
    assert sums_reach(values, [np.zeros((2, 1))] * 2, ws) == "11,000"


def test_the_largest_sum_is_found_in_the_layers_above():
    ws = [np.array([[1.0], [2]]), np.array([[-5000.0, 7]])]
    values = [np.array([[1.0, 1], [-3, 4]]), np.array([[2.0], [-3]]), None]
    assert sums_reach(values, [np.zeros((2, 1)), np.zeros((2, 2))], ws) == "15,000"


def test_the_largest_sum_is_found_backwards():
    ws = [np.zeros((2, 1)), np.array([[-5000.0, 700]])]
    values = [np.zeros((2, 2)), np.zeros((2, 1)), None]
    deltas = [np.zeros((2, 1)), np.array([[0.5, -1], [-2, 3]])]
    assert sums_reach(values, deltas, ws) == "12,100"


@pytest.mark.parametrize("layer", [0, 1])
def test_the_largest_sum_is_found_among_the_gradients(layer):
    ws, values = [np.zeros((2, 2)), np.zeros((2, 2))], [np.zeros((3, 2))] * 2 + [None]
    deltas = [np.zeros((3, 2)), np.zeros((3, 2))]
    values[layer] = np.array([[0, 100.0], [0, -1000], [0, 10_000]])
    deltas[layer] = np.array([[2.0, 0], [3, 0], [-4, 0]])
    assert sums_reach(values, deltas, ws) == "43,200"


@pytest.mark.parametrize("missing", [0, 1, 2], ids=["values", "deltas", "weights"])
def test_sums_are_of_as_many_values_errors_and_weights(missing):
    given = [[np.ones((3, 2)), np.ones((3, 2)), None], [np.ones((3, 2))] * 2, [np.ones((2, 2))] * 2]
    given[missing] = given[missing][:-1]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        list(factors(*given))


@pytest.mark.parametrize("largest", [0.0, 100, 8_191.9])
def test_sums_below_the_limit_are_let_through(largest):
    assert EXACT_BELOW / RESERVE == 8_192
    require_exact_sums([(np.ones((1, 1)), np.array([[largest]]))], SMALL)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("value", [8_192.0, -1e6, math.nan, math.inf])
def test_sums_from_the_limit_on_are_an_error_that_says_what_to_do(value, place):
    named = (
        f"small: sums reach {abs(value):,.0f}, expected less than 8,192: lower the learning rate"
    )
    one = np.ones((1, 1))
    with pytest.raises(FloatingPointError, match=f"{named} 0.1, unless the inputs are too large"):
        require_exact_sums([(one, value * one if i == place else one) for i in range(3)], SMALL)


@pytest.fixture
def few(tiny):
    X, Y, _ = tiny([], examples=40)
    return [X, Y, X[:7], Y[:7]]


@ignore_overflow
@pytest.mark.parametrize("rate", [1e4, 1e10, 1e200, math.nan, math.inf])
@pytest.mark.parametrize("activation", [LINEAR, SIGMOID, RELU], ids=lambda a: a.name)
def test_a_learning_rate_far_too_high_is_an_error(few, rate, activation):
    wild = SMALL._replace(name="wild", activation=activation, learning_rate=rate)
    with pytest.raises(FloatingPointError, match=r"wild: sums reach .* learning rate"):
        train(wild, *few, seed=0)


@ignore_overflow
@pytest.mark.parametrize("value", [1e5, -1e5, 1e12, 1e300, math.nan, math.inf])
@pytest.mark.parametrize("activation", [LINEAR, SIGMOID, RELU], ids=lambda a: a.name)
def test_inputs_far_too_large_are_an_error(few, value, activation):
    few[0] = np.where(few[0] == 1, 1, value)
    with pytest.raises(FloatingPointError, match=r"small: sums reach .* inputs are too large"):
        train(SMALL._replace(activation=activation), *few, seed=0)


@pytest.mark.parametrize("value", [1e6, -1e6])
def test_a_single_input_far_too_large_is_an_error_wherever_it_is_met(few, value):
    X, *rest = few
    refused = []
    for row in range(40):
        too_large = X.copy()
        too_large[row, 2] = value
        try:
            train(SMALL._replace(activation=SIGMOID, epochs=1), too_large, *rest, seed=0)
        except FloatingPointError:
            refused.append(row)
    assert refused == list(range(40))


# ---- ties


def near_ties(function, inverse, lowest, highest, count=300):
    """Inputs [count, 1] whose values lie within some units of the last place of a tie."""
    rng = np.random.default_rng(0)
    ties = (rng.integers(lowest / GRID_STEP, highest / GRID_STEP, count) + 0.5) * GRID_STEP
    z = np.array([inverse(tie) for tie in ties])[:, np.newaxis]
    values = function(z)[:, 0]
    assert (np.abs(values - ties) < DOUBT / 4 * np.maximum(1, ties)).all()
    return z, ties


def logit(p):
    return math.log(p / (1 - p))


def softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def two_classes(z):
    return softmax(np.hstack([z, z - z]))[:, :1]


def moved_by(function, ulps):
    """The function as another machine might compute it: the last bits differ."""

    def moved(z):
        values = function(z)
        return values if values.dtype == object else values + ulps * np.spacing(values)

    return moved


KINDS = {
    "sigmoid": (sigmoid, logit, 0.1, 0.9),
    "improved sigmoid": (improved_sigmoid, lambda a: 1.5 * math.atanh(a / 1.7159), -1.2, 1.2),
    "softmax": (two_classes, logit, 0.1, 0.9),
    "softplus": (softplus, lambda a: a + math.log(-math.expm1(-a)), 1.0, 10.0),
    "large softplus": (softplus, lambda a: a + math.log(-math.expm1(-a)), 16.0, 500.0),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("ulps", [1, 2, 4])
def test_ties_are_decided_alike_whatever_the_last_bits(kind, ulps):
    function = KINDS[kind][0]
    z, ties = near_ties(*KINDS[kind])
    up, down = (settled(moved_by(function, by), z) for by in (ulps, -ulps))
    np.testing.assert_array_equal(up, down)
    for side in up:  # and as the exact value lies, to the unit of the last place
        assert np.abs(side[:, 0] - ties).max() <= GRID_STEP / 2


@every_kind
def test_without_more_digits_ties_would_be_decided_by_the_last_bits(kind):
    function = KINDS[kind][0]
    z, _ = near_ties(*KINDS[kind])
    up, down = (snap(moved_by(function, by)(z)) for by in (2, -2))
    assert np.mean(up != down) > 0.5


@every_kind
def test_a_tie_is_decided_as_the_exact_value_lies(kind):
    function = KINDS[kind][0]
    z, _ = near_ties(*KINDS[kind])
    _, snapped = settled(moved_by(function, 3), z)
    exact = in_digits(function, z)
    for value, e in zip(snapped.ravel(), exact, strict=True):
        rounding = 2.0**-53 * max(1, value)  # of the exact value to a double
        assert abs(float(Decimal(value) - e)) <= GRID_STEP / 2 + rounding


@pytest.mark.parametrize("order", ["C", "F"])
def test_only_rows_in_doubt_are_computed_anew(order):
    rows = []

    def noted(z):
        if z.dtype == object:
            rows.append([float(x) for x in z[0]])
            assert getcontext().prec == 40
        return sigmoid(z)

    near, _ = near_ties(sigmoid, logit, 0.1, 0.9, count=2)
    z = np.zeros((40, 3), order=order)
    z[7, 2], z[31, 0] = near[:, 0]
    values, snapped = settled(noted, z)
    assert rows == z[[7, 31]].tolist()
    np.testing.assert_allclose(values, sigmoid(z), rtol=1e-15)
    np.testing.assert_array_equal(snapped, snap(values))


@pytest.mark.parametrize(
    ("distance", "doubtful"), [(0, True), (0.9, True), (-0.9, True), (1.1, False), (-1.1, False)]
)
@pytest.mark.parametrize("middle", [0.25, -0.5, 8, -64, 511])
def test_doubt_reaches_as_far_as_it_says(middle, distance, doubtful):
    assert is_looked_at(middle + GRID_STEP / 2 + distance * max(1, abs(middle)) * DOUBT) == doubtful


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int64, np.uint8, bool])
def test_numbers_of_any_kind_are_rounded_as_doubles(kind):
    values = np.array([[1, 2.5, 0.4, 3 * GRID_STEP]]).astype(kind)
    snapped = snap(values)
    assert snapped.dtype == np.float64
    np.testing.assert_array_equal(snapped, snap(values.astype(np.float64)))
    assert (np.abs(snapped - values) <= GRID_STEP / 2).all()


def test_doubt_does_not_reach_its_own_end():
    assert not is_looked_at(GRID_STEP / 2 + DOUBT)


def is_looked_at(value):
    asked = []

    def constant(z):
        asked.append(z.dtype == object)
        return np.full(z.shape, value)

    settled(constant, np.zeros((1, 1)))
    return any(asked)


@pytest.mark.parametrize("distance", [0.4 * GRID_STEP, GRID_STEP / 2 - 512 * DOUBT])
def test_where_no_value_below_512_could_be_in_doubt_it_is_not_looked_for(distance, monkeypatch):
    z = np.array([[0, distance]])
    monkeypatch.setattr(utils, "DOUBT", None)  # who looks for it multiplies
    _, snapped = settled(relu, z)
    assert (snapped == 0).all()


def test_exact_ties_go_to_even():
    z = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 3.0, 0.0]]) * GRID_STEP
    _, snapped = settled(relu, z)
    assert (snapped / GRID_STEP).tolist() == [[0, 2, 2, 0, 0, 3, 0]]


def test_settled_values_are_those_of_the_function_where_nothing_is_in_doubt():
    z = np.random.default_rng(0).normal(0, 3, (2_000, 10))
    for function in (sigmoid, improved_sigmoid, relu, softmax):
        values, snapped = settled(function, z)
        np.testing.assert_allclose(values, function(z), rtol=1e-15)
        np.testing.assert_array_equal(snapped, snap(function(z)))


@ignore_overflow
def test_settled_does_not_hide_nan_and_inf():
    values, snapped = settled(relu, np.array([[math.nan, math.inf, 1]]))
    np.testing.assert_array_equal(values, [[math.nan, math.inf, 1]])
    np.testing.assert_array_equal(snapped, [[math.nan, math.inf, 1]])


@pytest.mark.parametrize("activation", [SIGMOID, RELU], ids=lambda a: a.name)
def test_a_step_settles_every_activation_and_the_outputs(tiny, activation, monkeypatch):
    X, Y, ws = tiny((8, 4))
    asked = []
    monkeypatch.setattr(task2, "settled", lambda f, z: asked.append(f) or settled(f, z))
    descend([(snap(X), Y)], [snap(w) for w in ws], ws, SMALL._replace(activation=activation))
    assert asked == [activation.function, activation.function, softmax]


@pytest.mark.parametrize("side", [-1, 1])
def test_a_label_subtracted_moves_no_value_across_a_tie(side):
    # 1 - p is coarser than p, by far less than what counts as doubt
    ties = (np.random.default_rng(0).integers(0, 2**18, 1_000) + 0.5) * GRID_STEP
    for off in (-1e-15, 1e-15):
        p = ties + side * 1.01 * DOUBT + off
        np.testing.assert_array_equal(snap(p - 1) + 1, snap(p))


# ---- more digits, and how far NumPy's functions are from them


def in_digits(function, z):
    """Values [N] of a function for z [N, units], with more digits than anything here needs."""
    with localcontext(prec=60):
        rows = [function(np.array([[*map(Digits, row)]], object)) for row in z.tolist()]
        return [value for row in rows for value in row.ravel()]


def by_decimals(z, formula):
    with localcontext(prec=60):
        return [formula(Decimal(x)) for x in np.ravel(z).tolist()]


def exact_tanh(x):
    return (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())


STRETCHED, SCALED = Decimal(STRETCH), Decimal(SCALE)
FORMULAS = {  # as in the tasks, of their very constants
    "sigmoid": (sigmoid, lambda x: 1 / (1 + (-x).exp())),
    "improved sigmoid": (improved_sigmoid, lambda x: SCALED * exact_tanh(STRETCHED * x)),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_digits_do_the_arithmetic_of_activations(kind):
    function, formula = FORMULAS[kind]
    z = np.concatenate([np.linspace(-30, 30, 201), np.array([1e-9, -1e-9, 2.0**-38, 700, -700])])
    with localcontext(prec=DIGITS):
        found = function(np.array([[*map(Digits, z.tolist())]], object))[0]
    for value, exact in zip(found, by_decimals(z, formula), strict=True):
        assert abs(value - exact) < Decimal("1e-30")


def test_digits_do_the_arithmetic_of_the_softmax():
    z = np.random.default_rng(0).normal(0, 9, (50, 10))
    for row in z:
        exps = by_decimals(row, Decimal.exp)
        with localcontext(prec=DIGITS):
            found = softmax(np.array([[*map(Digits, row.tolist())]], object))[0]
            assert all(
                abs(p - e / sum(exps)) < Decimal("1e-30") for p, e in zip(found, exps, strict=True)
            )


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "sqrt", "tanh"])
def test_functions_of_digits_are_those_of_floats(name):
    x = np.array([0.1, 0.75, 3.0])
    with localcontext(prec=DIGITS):
        (found,) = getattr(np, name)(utils.in_digits(x))
    assert {type(value) for value in found} == {Digits}
    np.testing.assert_allclose(found.astype(float), getattr(np, name)(x), rtol=1e-14)


@pytest.mark.parametrize("other", [3, 0.1, Decimal("0.1"), np.float64(0.1)])
def test_digits_calculate_with_numbers_of_any_kind(other):
    with localcontext(prec=DIGITS):
        a, b = Digits("0.7"), Decimal(other)
        found = [a + other, other + a, a - other, other - a, a * other, other * a]
        found += [a / other, other / a, -a, a.log()]
        expected = [a + b, b + a, a - b, b - a, a * b, b * a, a / b, b / a, a * -1, Decimal.ln(a)]
        assert found == expected
        assert {type(value) for value in found} == {Digits}


@pytest.mark.parametrize(("function", "lowest"), [("exp", -700), ("exp", -40), ("tanh", -20)])
def test_numpys_functions_err_by_at_most_two_units_in_the_last_place(function, lowest):
    x = np.random.default_rng(0).uniform(lowest, -lowest / 40, 4_000)
    x[:1_000] /= 100
    values = getattr(np, function)(x)
    exact = by_decimals(x, Decimal.exp if function == "exp" else exact_tanh)
    errors = np.array([float(Decimal(v) - e) for v, e in zip(values.tolist(), exact, strict=True)])
    assert np.all(np.abs(errors) <= 2 * np.spacing(np.abs(values)))


def off_by(function, units):
    return lambda z: function(z) + units * np.spacing(np.abs(function(z)))


def test_doubt_is_ten_to_twenty_times_what_comes_of_two_units(monkeypatch):
    z, errors = np.random.default_rng(0).normal(0, 3, (200, 10)), []
    signs = np.random.default_rng(1).choice([-2, 2], z.shape)
    for function in (sigmoid, improved_sigmoid, softmax):
        exact = in_digits(function, z)
        with monkeypatch.context() as patch:
            for name in ("exp", "tanh"):
                patch.setattr(np, name, off_by(getattr(np, name), signs))
            values = function(z).ravel().tolist()
        errors += [abs(float(Decimal(v) - e)) for v, e in zip(values, exact, strict=True)]
    assert DOUBT / 20 < max(errors) < DOUBT / 10
