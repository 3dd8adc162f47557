import math
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import task2a
from task2a import (
    SIGMOID,
    Activation,
    backward,
    count_parameters,
    cross_entropy_loss,
    forward,
    gradient_approximation_test,
    initialize_weights,
    layer_errors,
    mean_X,
    one_hot_encode,
    pre_process_images,
    product,
    sigmoid,
    softmax,
    std_X,
    uniform,
    weighted_sums,
)

no_warnings = pytest.mark.filterwarnings("error")

# the project's activation, then value and slope as functions of one number z
SIGMOIDS = (SIGMOID, lambda z: 1 / (1 + math.exp(-z)), lambda z: 1 / (2 + 2 * math.cosh(z)))
TANHS = (
    Activation(
        "tanh", lambda z: 1.7159 * np.tanh(2 * z / 3), lambda a: 2 / 3 * (1.7159 - a * a / 1.7159)
    ),
    lambda z: 1.7159 * math.tanh(2 * z / 3),
    lambda z: 1.7159 * 2 / 3 / math.cosh(2 * z / 3) ** 2,
)
RELUS = (
    Activation("ReLU", lambda z: np.maximum(0, z), lambda a: 1.0 * (a > 0)),
    lambda z: max(0, z),
    lambda z: 1 if z > 0 else 0,
)
every_activation = pytest.mark.parametrize(
    "functions", [SIGMOIDS, TANHS, RELUS], ids=["sigmoid", "tanh", "relu"]
)
every_depth = pytest.mark.parametrize(
    "hidden",
    [
        pytest.param((4,), id="1 hidden"),
        pytest.param((8, 4), id="2 hidden"),
        pytest.param((3, 3, 3), id="3 equal"),
        pytest.param((4, 8) * 5, id="10 hidden"),
    ],
)
unequal = (8, 4, 5)
# of the weights: ten layers of sigmoids need large ones, or the first gradient drowns in rounding
SCALES = {"sigmoid": 6, "tanh": 1.5, "ReLU": 1.5}


# ---- Task 2a: statistics, preprocessing, labels


def test_mean_and_std_are_over_all_pixels():
    X = np.array([[0, 1, 2], [5, 10, 18]], np.uint8)
    assert mean_X(X) == 6
    assert std_X(X) == pytest.approx(math.sqrt((36 + 25 + 16 + 1 + 16 + 144) / 6), rel=1e-15)


def test_mean_and_std_of_the_training_images(mnist):
    assert mean_X(mnist[0]) == pytest.approx(33.552745535714286, rel=1e-13)
    assert std_X(mnist[0]) == pytest.approx(78.875500707846947, rel=1e-13)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_mean_and_std_of_every_dtype(dtype):
    X = np.full((300, 784), 255, dtype)
    X[::2] = 254
    assert mean_X(X) == pytest.approx(254.5, rel=1e-6)
    assert std_X(X) == pytest.approx(0.5, rel=1e-4)


def test_mean_and_std_are_of_fractions_too():
    X = np.array([[0.25, 0.5], [-0.25, 0.75]])
    assert mean_X(X) == 0.3125
    assert std_X(X) == pytest.approx(math.sqrt(0.9375 / 4 - 0.3125**2), rel=1e-14)


@pytest.mark.parametrize("row", [0, 1_000, 5_000, 19_999])
def test_mean_and_std_are_over_all_of_many_images(row):
    X = np.zeros((20_000, 2), np.uint8)
    X[row] = 200
    assert mean_X(X) == pytest.approx(0.01, rel=1e-12)
    assert std_X(X) == pytest.approx(200 * math.sqrt(0.00005 * 0.99995), rel=1e-12)


def test_mean_and_std_ignore_the_order_and_repetition_of_the_images():
    X = np.random.default_rng(0).integers(0, 256, (10, 784), np.uint8)
    for other in (X[::-1], np.vstack([X, X]), X[:, ::-1]):
        assert mean_X(other) == pytest.approx(mean_X(X), rel=1e-14)
        assert std_X(other) == pytest.approx(std_X(X), rel=1e-14)


def test_preprocessing_by_hand():
    X = np.zeros((2, 784), np.uint8)
    X[0, 0], X[1, 783] = 255, 30
    expected = np.full((2, 785), -30 / 15)
    expected[0, 0], expected[1, 783], expected[:, 784] = 15, 0, 1
    np.testing.assert_allclose(pre_process_images(X, 30, 15), expected, rtol=1e-15)


def test_preprocessing_uses_the_mean_and_std_it_is_given(mnist):
    # a validation set of one image: whatever its own statistics, those of the training set count
    X = mnist[2][:1]
    processed = pre_process_images(X, 33.5, 78.9)
    np.testing.assert_allclose(processed[:, :-1] * 78.9 + 33.5, X, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(processed, pre_process_images(mnist[2][:9], 33.5, 78.9)[:1])


def test_preprocessing_with_their_own_statistics_normalises_images(mnist):
    X = mnist[0][:500]
    pixels = pre_process_images(X, mean_X(X), std_X(X))[:, :-1]
    assert pixels.mean() == pytest.approx(0, abs=1e-12)
    assert pixels.std() == pytest.approx(1, abs=1e-12)


def test_the_bias_trick_appends_exact_ones(mnist):
    processed = pre_process_images(mnist[0][:50], 33.5, 78.9)
    assert processed.shape == (50, 785)
    assert processed.dtype == np.float64
    assert (processed[:, 784] == 1).all()


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_preprocessing_does_not_depend_on_the_dtype(dtype):
    X = np.random.default_rng(0).integers(0, 256, (3, 784), np.uint8)
    expected = pre_process_images(X, 33.5, 78.9)
    np.testing.assert_allclose(
        pre_process_images(X.astype(dtype), 33.5, 78.9), expected, rtol=1e-12
    )


def test_preprocessing_takes_grey_levels_between_and_beyond_the_bytes():
    X = np.random.default_rng(0).uniform(-300, 600, (3, 784))
    np.testing.assert_allclose(pre_process_images(X, 0, 1)[:, :-1], X, rtol=1e-15)


def test_preprocessing_leaves_the_images_unchanged():
    X = np.random.default_rng(0).uniform(0, 255, (3, 784))
    before = X.copy()
    processed = pre_process_images(X, 33.5, 78.9)
    processed += 1
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("shape", [(784,), (2, 28, 28), (2, 785), (2, 783), (784, 2), (2, 784, 1)])
def test_preprocessing_names_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=rf"{shape[-1]},?\), expected \[N, 784\]: flatten"):
        pre_process_images(np.zeros(shape), 33.5, 78.9)


@pytest.mark.parametrize("std", [0.0, -1.0, math.inf, math.nan])
def test_preprocessing_names_an_impossible_std(std):
    with pytest.raises(ValueError, match=rf"std is {std}, expected a positive number.*training"):
        pre_process_images(np.zeros((2, 784)), 33.5, std)


def test_preprocessing_takes_any_positive_std():
    assert pre_process_images(np.ones((1, 784)), 0, 0.25)[0, 0] == 4


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
def test_one_hot_of_every_label_is_a_row_of_the_identity(dtype):
    labels = np.arange(10, dtype=dtype).reshape(-1, 1)
    np.testing.assert_array_equal(one_hot_encode(labels), np.eye(10))


@given(arrays(np.uint8, st.tuples(st.integers(1, 30), st.just(1)), elements=st.integers(0, 9)))
def test_one_hot_rows_name_their_label(labels):
    encoded = one_hot_encode(labels)
    assert encoded.shape == (len(labels), 10)
    np.testing.assert_array_equal(encoded.sum(axis=1), 1)
    np.testing.assert_array_equal(encoded[np.arange(len(labels)), labels.ravel()], 1)


def test_one_hot_of_labels_that_are_true_or_false():
    assert one_hot_encode(np.array([[True], [False]]), 2).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.float32])
def test_one_hot_has_a_single_one_however_many_classes_there_are(dtype):
    encoded = one_hot_encode(np.array([[0], [1], [1]]).astype(dtype), 600)
    assert encoded.shape == (3, 600)
    assert encoded.argmax(axis=1).tolist() == [0, 1, 1]
    assert encoded.sum() == 3


def test_one_hot_is_of_floats_to_calculate_with():
    assert one_hot_encode(np.array([[2]], np.uint8)).dtype == np.float64


def test_one_hot_keeps_a_column_for_a_missing_class():
    labels = np.array([[2], [0], [2]])
    assert one_hot_encode(labels, 4).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert labels.tolist() == [[2], [0], [2]]


def test_one_hot_names_every_one_of_the_training_labels(mnist):
    np.testing.assert_array_equal(one_hot_encode(mnist[1]).argmax(axis=1), mnist[1].ravel())


def test_preprocessing_is_of_every_one_of_many_images(mnist):
    processed = pre_process_images(mnist[0], 33.5, 78.9)
    for part in (slice(0, 5), slice(4_998, 5_003), slice(9_998, 10_003), slice(19_995, 20_000)):
        np.testing.assert_array_equal(
            processed[part], pre_process_images(mnist[0][part], 33.5, 78.9)
        )


def test_one_hot_counts_the_training_labels(mnist):
    counts = [1994, 2281, 1929, 2076, 1945, 1775, 1971, 2093, 1922, 2014]
    assert one_hot_encode(mnist[1]).sum(axis=0).tolist() == counts


@pytest.mark.parametrize("label", [10, -1, 255, 2.5, math.nan])
def test_one_hot_names_a_label_that_is_no_class(label):
    with pytest.raises(ValueError, match=rf"label {label}.* is no class.*from 0 to 9"):
        one_hot_encode(np.array([[3], [label], [9], [77]]))


@pytest.mark.parametrize("classes", [1, 3, 12])
def test_one_hot_has_as_many_classes_as_it_is_told(classes):
    labels = np.arange(classes).reshape(-1, 1)
    assert one_hot_encode(labels, classes).tolist() == np.eye(classes).tolist()
    with pytest.raises(ValueError, match=rf"label {classes} is no class.* 0 to {classes - 1}$"):
        one_hot_encode(labels + 1, classes)


def test_one_hot_names_labels_that_are_no_numbers():
    with pytest.raises(ValueError, match=r"label \['3'\] is no class"):
        one_hot_encode(np.array([["3"], ["4"]]))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 2), (3, 0), (3, 1, 1), ()])
def test_one_hot_names_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"labels have shape .*, expected \[N, 1\]: reshape"):
        one_hot_encode(np.zeros(shape, int))


# ---- Task 2b: sigmoid, softmax, cross entropy


def test_sigmoid_by_hand():
    z = np.array([[0, math.log(3)], [-math.log(3), math.log(9)]])
    np.testing.assert_allclose(sigmoid(z), [[0.5, 0.75], [0.25, 0.9]], rtol=1e-14)


def test_sigmoid_matches_the_logistic_function():
    z = np.linspace(-20, 20, 401)
    expected = [1 / (1 + math.exp(-x)) for x in z]
    np.testing.assert_allclose(sigmoid(z), expected, rtol=0, atol=1e-12)


@no_warnings
def test_sigmoid_survives_extremes():
    z = np.array([-1000.0, -40, 0, 40, 1000])
    np.testing.assert_allclose(sigmoid(z), [0, 0, 0.5, 1, 1], rtol=0, atol=1e-12)
    assert z.tolist() == [-1000, -40, 0, 40, 1000]


@pytest.mark.parametrize("z", [-20, -31, -40, -100, -700])
def test_sigmoid_is_not_clipped(z):
    np.testing.assert_allclose(sigmoid(np.array([z])), math.exp(z), rtol=1e-8)


@given(st.floats(-1e3, 1e3))
def test_sigmoid_is_odd_about_one_half(z):
    total = sigmoid(np.array([z])) + sigmoid(np.array([-z]))
    np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_sigmoid_slope_takes_the_activation():
    a = np.array([[0, 0.5, 0.75, 1]])
    np.testing.assert_allclose(SIGMOID.slope(a), [[0, 0.25, 0.1875, 0]], rtol=1e-14)
    assert a.tolist() == [[0, 0.5, 0.75, 1]]


def test_sigmoid_slope_matches_central_differences():
    z, h = np.linspace(-4, 4, 41), 1e-5
    approximation = (SIGMOID.function(z + h) - SIGMOID.function(z - h)) / (2 * h)
    slopes = SIGMOID.slope(SIGMOID.function(z))
    np.testing.assert_allclose(slopes, approximation, rtol=0, atol=1e-10)


def test_softmax_by_hand():
    z = np.log([[1, 2, 5], [3, 3, 2]])
    np.testing.assert_allclose(softmax(z), [[0.125, 0.25, 0.625], [0.375, 0.375, 0.25]], rtol=1e-14)


matrices = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e3, 1e3)
)


@given(matrices)
def test_softmax_rows_are_probabilities(z):
    p = softmax(z)
    assert p.shape == z.shape
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)


@given(matrices, st.floats(-100, 100))
def test_softmax_ignores_a_shift_of_a_row(z, shift):
    # a shift rounds z itself to 1e-13
    np.testing.assert_allclose(softmax(z + shift), softmax(z), rtol=1e-11, atol=1e-300)


@given(matrices)
def test_softmax_of_a_row_ignores_the_other_rows(z):
    alone = np.vstack([softmax(row[np.newaxis]) for row in z])
    np.testing.assert_allclose(softmax(z), alone, rtol=1e-12)


@given(arrays(np.float64, (2, 4), elements=st.floats(-100, 100)))
def test_softmax_keeps_ratios_and_its_argument(z):
    before = z.copy()
    p = softmax(z)
    np.testing.assert_allclose(p / p[:, :1], np.exp(z - z[:, :1]), rtol=1e-11)
    np.testing.assert_array_equal(z, before)


@no_warnings
def test_softmax_survives_large_inputs():
    z = np.array([[1000.0, 0, -1000], [-1000, -1000, -1000], [1000, 1000, 0], [1, 1, 1]])
    expected = [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0], [1 / 3] * 3]
    np.testing.assert_allclose(softmax(z), expected, rtol=1e-15, atol=1e-300)


def test_cross_entropy_by_hand():
    outputs = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])
    targets = np.array([[0, 1, 0], [0, 0, 1.0]])
    expected = (math.log(4) - math.log(0.7)) / 2
    assert cross_entropy_loss(targets, outputs) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("examples", [1, 5, 32, 100])
def test_cross_entropy_of_a_guess_is_the_log_of_the_classes(classes, examples):
    targets = np.eye(classes)[np.arange(examples) % classes]
    loss = cross_entropy_loss(targets, np.full((examples, classes), 1 / classes))
    assert loss == pytest.approx(math.log(classes), rel=1e-13)


def test_cross_entropy_ignores_repetition_and_order():
    outputs = softmax(np.random.default_rng(0).normal(size=(5, 3)))
    targets = np.eye(3)[[0, 1, 1, 2, 0]]
    loss = cross_entropy_loss(targets, outputs)
    assert cross_entropy_loss(targets[::-1], outputs[::-1]) == pytest.approx(loss, rel=1e-14)
    repeated = cross_entropy_loss(np.vstack([targets] * 3), np.vstack([outputs] * 3))
    assert repeated == pytest.approx(loss, rel=1e-14)


# bool has no minus, and that of an unsigned integer wraps
every_dtype_of_labels = pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int8, np.uint64, np.int64, np.float16, np.float32]
)


@every_dtype_of_labels
def test_cross_entropy_takes_targets_of_any_type(dtype):
    targets = np.eye(3)[[0, 1, 1, 2, 0]]
    outputs = softmax(np.random.default_rng(0).normal(size=(5, 3)))
    loss = cross_entropy_loss(targets.astype(dtype), outputs)
    assert loss == pytest.approx(cross_entropy_loss(targets, outputs), rel=1e-14)


def test_cross_entropy_is_over_all_of_many_examples():
    outputs = np.full((20_000, 2), 0.5)
    targets = np.eye(2)[np.arange(20_000) % 2]
    for row in (0, 999, 5_000, 12_345, 19_999):  # whose target has a 16th instead of a half
        outputs[row, row % 2] = 1 / 16
    expected = math.log(2) * (20_000 + 5 * 3) / 20_000
    assert cross_entropy_loss(targets, outputs) == pytest.approx(expected, rel=1e-12)


@no_warnings
def test_cross_entropy_of_exact_zeros_and_ones():
    targets = np.eye(2)
    assert cross_entropy_loss(targets, np.eye(2)) == 0
    wrong = cross_entropy_loss(targets, np.eye(2)[::-1])
    assert 690 < wrong < 750  # - ln of the least float64


@pytest.mark.parametrize("exponent", [1, 3, 8, 12, 16, 100, 300])
def test_cross_entropy_is_not_clipped(exponent):
    outputs = np.array([[10.0**-exponent, 1]])
    loss = cross_entropy_loss(np.array([[1.0, 0]]), outputs)
    assert loss == pytest.approx(exponent * math.log(10), rel=1e-14)
    assert outputs.tolist() == [[10.0**-exponent, 1]]


def test_cross_entropy_takes_the_least_number_of_single_precision_as_it_is():
    least = np.finfo(np.float32).smallest_subnormal
    loss = cross_entropy_loss(np.array([[1.0, 0]]), np.array([[least, 1]], np.float32))
    assert loss == pytest.approx(149 * math.log(2), rel=1e-6)


def test_cross_entropy_does_not_hide_nan():
    assert math.isnan(cross_entropy_loss(np.eye(2), np.full((2, 2), math.nan)))


@pytest.mark.parametrize("shape", [(4, 1), (4,), (3, 3), (4, 10)])
def test_cross_entropy_names_differing_shapes(shape):
    with pytest.raises(ValueError, match=r"targets have shape .*, expected \(4, 3\): encode"):
        cross_entropy_loss(np.zeros(shape), np.full((4, 3), 1 / 3))


# ---- Task 2b: weights


def test_weights_have_a_matrix_for_each_layer():
    ws = initialize_weights([64, 10], np.random.default_rng(0))
    assert [w.shape for w in ws] == [(785, 64), (64, 10)]


@pytest.mark.parametrize("layers", [(64, 10), (32, 10), (59, 59, 10), (*[64] * 10, 10), (10,)])
def test_weights_are_what_is_drawn_layer_after_layer(layers):
    rng, sizes = np.random.default_rng(0), (785, *layers)
    expected = [uniform(rng, shape) for shape in pairwise(sizes)]
    for w, drawn in zip(
        initialize_weights(layers, np.random.default_rng(0)), expected, strict=True
    ):
        np.testing.assert_array_equal(w, drawn)


def test_weights_of_any_number_of_layers():
    ws = initialize_weights((8, 4, 5, 3), np.random.default_rng(0), num_inputs=6)
    assert [w.shape for w in ws] == [(6, 8), (8, 4), (4, 5), (5, 3)]
    assert [w.shape for w in initialize_weights([3], np.random.default_rng(0))] == [(785, 3)]
    thin = initialize_weights([1, 1], np.random.default_rng(0), num_inputs=1)
    assert [w.shape for w in thin] == [(1, 1), (1, 1)]


def test_uniform_weights_are_uniform_from_minus_1_to_1_in_every_layer():
    for w in initialize_weights([100, 100, 100], np.random.default_rng(0), uniform, 100):
        counts, _ = np.histogram(w, bins=8, range=(-1, 1))
        assert counts.sum() == w.size  # none outside
        assert np.abs(counts - 1250).max() < 150  # standard deviation 33
        assert abs(w.mean()) < 0.03
        assert w.std() == pytest.approx(1 / math.sqrt(3), rel=0.03)
        assert len(np.unique(w)) == w.size


def test_layers_do_not_share_their_weights():
    first, second = initialize_weights([50, 50], np.random.default_rng(0), num_inputs=50)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1  # standard deviation 0.02


def test_equal_seeds_give_equal_weights_and_different_seeds_different_ones():
    first, again, other = (
        initialize_weights([8, 3], np.random.default_rng(seed), num_inputs=6) for seed in (1, 1, 2)
    )
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).all()


def test_a_generator_is_used_up_by_drawing():
    rng = np.random.default_rng(0)
    first, second = (initialize_weights([8, 3], rng, num_inputs=6) for _ in range(2))
    assert (first[0] != second[0]).all()


@pytest.mark.parametrize("seed", [1234, 99])
def test_weights_neither_read_nor_change_the_global_random_state(seed):
    expected = initialize_weights([3], np.random.default_rng(0), num_inputs=6)[0]
    np.random.seed(seed)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    drawn = initialize_weights([3], np.random.default_rng(0), num_inputs=6)[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.testing.assert_array_equal(drawn, expected)


def test_every_layer_is_drawn_by_the_function_given():
    ws = initialize_weights([4, 3], None, lambda _, shape: np.full(shape, shape[0]), 6)
    assert [w.tolist() for w in ws] == [[[6] * 4] * 6, [[4] * 3] * 4]


@pytest.mark.parametrize("layers", [[0, 10], [64, 0], [-1], [2.5, 10], [], ["64"], [None]])
def test_weights_name_an_impossible_width(layers):
    named = str([785, *layers]).replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(ValueError, match=f"layers are {named}, expected"):
        initialize_weights(layers, np.random.default_rng(0))


# ---- Tasks 1a and 1b: one step by hand, and the sums against the matrices


@pytest.fixture
def by_hand():
    # z_j = 0, so a_j = 1/2 and f'(z_j) = 1/4; z_k = (ln 2, 0), so yhat = (2/3, 1/3)
    X, Y = np.array([[3.0, 1]]), np.array([[0.0, 1]])
    return X, Y, [np.zeros((2, 2)), np.array([[2 * math.log(2), 0], [0, 0]])]


def test_forward_by_hand(by_hand):
    X, _, ws = by_hand
    np.testing.assert_allclose(forward(X, ws)[-1], [[2 / 3, 1 / 3]], rtol=1e-14)


def test_backward_by_hand(by_hand):
    # delta_k = (2/3, -2/3) and delta_j = 1/4 * (2 ln 2 * 2/3, 0)
    X, Y, ws = by_hand
    first, last = backward(Y, forward(X, ws), ws)
    np.testing.assert_allclose(last, [[1 / 3, -1 / 3], [1 / 3, -1 / 3]], rtol=1e-14)
    np.testing.assert_allclose(first, [[math.log(2), 0], [math.log(2) / 3, 0]], rtol=1e-14)


@every_activation
def test_matrices_equal_the_sums_of_task_1a(tiny, sums, assert_close, functions):
    activation, f, slope = functions
    X, Y, ws = tiny([8])
    outputs, gradients = sums(X, Y, ws, f, slope)
    values = forward(X, ws, activation)
    assert_close([values[-1]], [outputs])
    assert_close(backward(Y, values, ws, activation), gradients)


# ---- Tasks 2b and 4c: forward and backward, at any depth


@every_depth
@every_activation
def test_forward_equals_the_elementwise_sums(tiny, sums, assert_close, hidden, functions):
    activation, f, slope = functions
    X, Y, ws = tiny(hidden, scale=2)
    assert_close([forward(X, ws, activation)[-1]], [sums(X, Y, ws, f, slope)[0]])


@every_depth
@every_activation
@pytest.mark.parametrize("examples", [1, 7])
def test_backward_equals_the_elementwise_sums(
    tiny, sums, assert_close, hidden, functions, examples
):
    activation, f, slope = functions
    X, Y, ws = tiny(hidden, examples, scale=2)
    gradients = backward(Y, forward(X, ws, activation), ws, activation)
    assert_close(gradients, sums(X, Y, ws, f, slope)[1])


@every_depth
@every_activation
def test_backward_matches_central_differences(tiny, hidden, functions):
    activation, h = functions[0], 1e-5
    X, Y, ws = tiny(hidden, scale=SCALES[activation.name])
    for w, gradient in zip(
        ws, backward(Y, forward(X, ws, activation), ws, activation), strict=True
    ):
        approximation = np.zeros_like(w)
        for index in np.ndindex(w.shape):  # the bias row included
            kept = w[index]
            w[index] = kept + h
            above = cross_entropy_loss(Y, forward(X, ws, activation)[-1])
            w[index] = kept - h
            below = cross_entropy_loss(Y, forward(X, ws, activation)[-1])
            w[index] = kept
            approximation[index] = (above - below) / (2 * h)
        assert np.abs(gradient - approximation).max() <= 1e-6 * np.abs(gradient).max()


@every_activation
def test_a_network_without_hidden_layer_is_softmax_regression(tiny, functions):
    X, Y, ws = tiny(())
    values = forward(X, ws, functions[0])
    np.testing.assert_allclose(values[-1], softmax(X @ ws[0]), rtol=1e-12)
    (gradient,) = backward(Y, values, ws, functions[0])
    np.testing.assert_allclose(gradient, X.T @ (values[-1] - Y) / len(X), rtol=1e-12, atol=1e-15)


@every_depth
@every_activation
def test_forward_returns_probabilities(tiny, hidden, functions):
    X, _, ws = tiny(hidden)
    outputs = forward(X, ws, functions[0])[-1]
    assert outputs.shape == (7, 3)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-12)


def test_forward_returns_the_values_of_every_layer(tiny):
    X, _, ws = tiny(unequal)
    values = forward(X, ws)
    np.testing.assert_array_equal(values[0], X)
    assert [v.shape for v in values] == [(7, 6), (7, 8), (7, 4), (7, 5), (7, 3)]


def test_every_hidden_layer_has_the_activation(tiny):
    X, _, ws = tiny(unequal)
    values = forward(X, ws, Activation("plus 100", lambda z: z + 100, None))
    for before, w, after in zip(values[:-2], ws[:-1], values[1:-1], strict=True):
        np.testing.assert_allclose(after, before @ w + 100, rtol=1e-12)


@every_depth
def test_forward_of_an_example_ignores_the_rest_of_the_batch(tiny, hidden):
    X, _, ws = tiny(hidden)
    alone = np.vstack([forward(x[np.newaxis], ws)[-1] for x in X])
    np.testing.assert_allclose(forward(X, ws)[-1], alone, rtol=1e-12)


@pytest.mark.parametrize("examples", [1_001, 12_000])
def test_forward_of_many_examples_is_that_of_each_of_them(tiny, assert_close, examples):
    X, _, ws = tiny([8, 4], examples)
    parts = [forward(part, ws) for part in np.array_split(X, examples // 7)]
    whole = forward(X, ws)
    assert {values.dtype for values in whole} == {np.dtype(np.float64)}
    assert_close(whole, [np.vstack(values) for values in zip(*parts, strict=True)])


@every_depth
@every_activation
def test_gradients_have_the_shapes_of_the_weights(tiny, hidden, functions):
    X, Y, ws = tiny(hidden)
    gradients = backward(Y, forward(X, ws, functions[0]), ws, functions[0])
    assert [g.shape for g in gradients] == [w.shape for w in ws]


@every_depth
@every_activation
def test_the_gradient_of_a_repeated_batch_is_the_same(tiny, assert_close, hidden, functions):
    activation = functions[0]
    X, Y, ws = tiny(hidden)
    once = backward(Y, forward(X, ws, activation), ws, activation)
    X, Y = np.vstack([X] * 5), np.vstack([Y] * 5)
    assert_close(backward(Y, forward(X, ws, activation), ws, activation), once)


@every_depth
@every_activation
def test_the_gradient_is_the_mean_of_the_examples_gradients(tiny, assert_close, hidden, functions):
    activation = functions[0]
    X, Y, ws = tiny(hidden, examples=33)
    each = [
        backward(y[None], forward(x[None], ws, activation), ws, activation)
        for x, y in zip(X, Y, strict=True)
    ]
    whole = backward(Y, forward(X, ws, activation), ws, activation)
    assert_close(whole, [sum(gradients) / 33 for gradients in zip(*each, strict=True)])


@every_depth
def test_a_class_that_is_missing_from_the_batch_still_has_a_gradient(
    tiny, sums, assert_close, hidden
):
    X, Y, ws = tiny(hidden, scale=2)
    Y = np.eye(3)[[0, 2, 2, 0, 0, 2, 2]]
    gradients = backward(Y, forward(X, ws), ws)
    assert_close(gradients, sums(X, Y, ws, *SIGMOIDS[1:])[1])
    assert (gradients[-1][:, 1] != 0).all()


@every_depth
@every_activation
@no_warnings
def test_forward_and_backward_survive_extremes(tiny, hidden, functions):
    X, Y, ws = tiny(hidden)
    values = forward(1000 * X, ws, functions[0])
    gradients = backward(Y, values, ws, functions[0])
    assert all(np.isfinite(array).all() for array in chain(values, gradients))
    assert np.isfinite(cross_entropy_loss(Y, values[-1]))


@every_depth
@every_activation
def test_forward_and_backward_leave_their_arguments_unchanged(tiny, hidden, functions):
    X, Y, ws = tiny(hidden)
    values = forward(X, ws, functions[0])
    given = [X, Y, *ws, *values]
    before = [array.copy() for array in given]
    forward(X, ws, functions[0])
    backward(Y, values, ws, functions[0])
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_networks_do_not_share_state(tiny):
    X, Y, ws = tiny([4])
    other_X, other_Y, other_ws = tiny([8], examples=3, seed=1)
    values = forward(X, ws)
    before = backward(Y, values, ws)
    backward(other_Y, forward(other_X, other_ws, TANHS[0]), other_ws, TANHS[0])
    for g, again in zip(before, backward(Y, values, ws), strict=True):
        np.testing.assert_array_equal(g, again)


def test_backward_takes_as_many_weights_as_there_are_layers(tiny):
    X, Y, ws = tiny([8, 4])
    with pytest.raises(ValueError, match=r"argument 2 is longer|matmul"):
        backward(Y, forward(X, ws), [ws[0], *ws])


@pytest.mark.parametrize("shape", [(7, 1), (7,), (6, 3), (7, 10)])
def test_backward_names_labels_of_a_wrong_shape(tiny, shape):
    X, _, ws = tiny([4])
    with pytest.raises(ValueError, match=r"labels have shape .*, expected \(7, 3\): encode"):
        backward(np.zeros(shape), forward(X, ws), ws)


@every_dtype_of_labels
def test_backward_takes_labels_of_any_type(tiny, assert_close, dtype):
    X, Y, ws = tiny([4])
    values = forward(X, ws)
    assert_close(backward(Y.astype(dtype), values, ws), backward(Y, values, ws))


@pytest.mark.parametrize("examples", [1_000, 5_000])
def test_every_one_of_many_examples_counts(tiny, assert_close, examples):
    X, Y, ws = tiny([4], examples)
    whole = backward(Y, forward(X, ws), ws)
    halves = [
        backward(Y[half], forward(X[half], ws), ws)
        for half in (slice(examples // 2), slice(examples // 2, None))
    ]
    assert_close(whole, [(a + b) / 2 for a, b in zip(*halves, strict=True)])


@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [
        *[(32, 785, 64), (785, 32, 64), (32, 784, 64), (1001, 2, 800), (2, 1001, 800)],
        *[(100, 100, 100), (101, 100, 100), (100, 101, 100), (200, 100, 101)],
        *[(1, 1, 1), (3, 0, 2)],
    ],
)
def test_products_are_those_of_the_whole_matrices(rows, inner, columns):
    rng = np.random.default_rng(rows)
    a = rng.integers(-9, 9, (rows, inner)).astype(float)
    b = rng.integers(-9, 9, (inner, columns)).astype(float)
    np.testing.assert_array_equal(product(a, b), a @ b)
    np.testing.assert_array_equal(product(np.asfortranarray(a), b.astype(np.float32)), a @ b)
    thirds = b / 3  # which are other numbers in another precision
    np.testing.assert_allclose(product(a.astype(np.float32), thirds), a @ thirds, 0, atol=1e-9)


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((32, 785, 64), [(32, 392, 64), (32, 393, 64)]),
        ((785, 32, 64), [(392, 32, 64), (393, 32, 64)]),
        ((100, 100, 100), [(100, 100, 100)]),
        ((101, 100, 100), [(50, 100, 100), (51, 100, 100)]),
        ((101, 101, 100), [(50, 101, 100), (51, 101, 100)]),
        ((100, 101, 100), [(100, 50, 100), (100, 51, 100)]),
        ((200, 100, 100), [(100, 100, 100), (100, 100, 100)]),
        ((200, 100, 101), [(200, 100, 101)]),
    ],
)
def test_products_of_a_certain_size_are_computed_in_halves(shape, parts):
    multiplied = []

    class Recorded(np.ndarray):
        def __array_ufunc__(self, ufunc, method, a, b, **options):
            if ufunc is np.matmul:
                multiplied.append((*a.shape, b.shape[1]))
            return getattr(ufunc, method)(np.asarray(a), b, **options)

    rows, inner, columns = shape
    product(np.ones((rows, inner)).view(Recorded), np.ones((inner, columns)))
    assert multiplied == parts


def test_weighted_sums_lie_by_columns_for_more_examples_than_inputs():
    w = np.arange(6.0).reshape(3, 2)
    for examples, by_columns in [(2, False), (3, False), (4, True), (900, True)]:
        z = weighted_sums(np.ones((examples, 3)), w)
        assert (z.tolist(), z.flags.f_contiguous) == ([[6, 9]] * examples, by_columns)


def test_the_output_layer_may_have_another_function(tiny):
    X, _, ws = tiny([4])
    values = forward(X, ws, SIGMOID, lambda z: z + 100)
    np.testing.assert_allclose(values[-1], values[1] @ ws[1] + 100, rtol=1e-14)


# ---- errors of the layers


def test_layer_errors_by_hand(by_hand):
    X, Y, ws = by_hand
    first, last = layer_errors(Y, forward(X, ws), ws)
    np.testing.assert_allclose(last, [[2 / 3, -2 / 3]], rtol=1e-14)
    np.testing.assert_allclose(first, [[math.log(2) / 3, 0]], rtol=1e-14)


@every_depth
@every_activation
def test_layer_errors_are_those_of_the_layers_above(tiny, assert_close, hidden, functions):
    # and the gradient of the first layer, if every example has an input of its own
    _, Y, ws = tiny(hidden, examples=6)
    values = forward(np.eye(6), ws, functions[0])
    first, *others = layer_errors(Y, values, ws, functions[0])
    assert_close(others, layer_errors(Y, values[1:], ws[1:], functions[0]))
    assert_close([first], backward(Y, values, ws, functions[0])[:1])


def test_layer_errors_are_rounded_wherever_they_enter_a_product(tiny, assert_close):
    X, Y, ws = tiny([8, 4])
    values = forward(X, ws)
    last = np.round(np.round(values[-1] - Y, 3) / 7, 3)
    second = np.round(values[2] * (1 - values[2]) * (last @ ws[2].T), 3)
    first = np.round(values[1] * (1 - values[1]) * (second @ ws[1].T), 3)
    found = layer_errors(Y, values, ws, SIGMOID, lambda v: np.round(v, 3))
    assert_close(found, [first, second, last])
    gradients = backward(Y, values, ws, SIGMOID, lambda v: np.round(v, 3))
    products = [x.T @ delta for x, delta in zip(values, found, strict=False)]
    assert_close(gradients, products)


def test_errors_of_the_outputs_are_rounded_before_they_are_divided_too():
    outputs = np.array([[0.3, 0.7], [0.7, 0.3]])
    (found,) = layer_errors(
        np.eye(2)[::-1], [None, outputs], [None], rounding=lambda v: np.round(4 * v) / 4
    )
    assert found.tolist() == [[0, 0], [0, 0]]  # 0.25 / 2 is a tie, 0.3 / 2 would be rounded up


# ---- Tasks 2b and 4c: the gradient check itself


@every_depth
@every_activation
def test_gradient_check_passes_and_returns_its_error(tiny, hidden, functions):
    X, Y, ws = tiny(hidden, scale=SCALES[functions[0].name])
    worst = gradient_approximation_test(X, Y, ws, functions[0], rng=np.random.default_rng(0))
    assert worst.shape == (len(ws),)
    assert ((worst > 0) & (worst < 1e-6)).all()


def test_gradient_check_passes_three_unequal_hidden_layers(tiny):
    X, Y, ws = tiny(unequal, examples=33, scale=2)
    before = [w.copy() for w in ws]
    gradient_approximation_test(X, Y, ws, TANHS[0], rng=np.random.default_rng(0))
    for w, copy in zip(ws, before, strict=True):
        np.testing.assert_array_equal(w, copy)


@pytest.mark.parametrize(
    "slope",
    [
        lambda a: a * a,
        lambda a: 1 - a * a,
        lambda a: a,
        np.ones_like,
        lambda a: 0.9999 * a * (1 - a),
    ],
)
def test_gradient_check_notices_a_wrong_slope(tiny, slope):
    X, Y, ws = tiny([4])
    wrong = Activation("wrong", sigmoid, slope)
    with pytest.raises(AssertionError, match=r"layer 0, weight \(\d, \d\)"):
        gradient_approximation_test(X, Y, ws, wrong, rng=np.random.default_rng(0))


@pytest.fixture
def wrong_backward(monkeypatch):
    def replace(layer, change):
        def wrong(*args):
            gradients = [g.copy() for g in backward(*args)]
            change(gradients[layer])
            return gradients

        monkeypatch.setattr(task2a, "backward", wrong)

    return replace


def scale_all(g):
    g *= 1.0001


def scale_slightly(g):
    g *= 1.00001


def scale_by_three_times_the_tolerance(g):
    g *= 1 + 3e-6


def add_to_the_rows_above_the_bias(g):
    g[:-1] += 1


def lower_all(g):
    g -= 1e-4 * np.abs(g).max()


def drop_the_last_row(g):
    g[-1] = 0


def change_one_bias(g):
    g[-1, 2] *= 1.01


def turn_to_nan(g):
    g[:] = math.nan


@pytest.mark.parametrize(
    "layer",
    [0, 1, 2, 3],
)
@pytest.mark.parametrize(
    "change",
    [
        scale_all,
        scale_slightly,
        scale_by_three_times_the_tolerance,
        lower_all,
        add_to_the_rows_above_the_bias,
        drop_the_last_row,
        change_one_bias,
        turn_to_nan,
    ],
)
def test_gradient_check_names_the_wrong_layer(tiny, wrong_backward, layer, change):
    X, Y, ws = tiny(unequal)
    wrong_backward(layer, change)
    with pytest.raises(AssertionError, match=rf"layer {layer}, weight \(\d, \d\): gradient is"):
        gradient_approximation_test(X, Y, ws, rng=np.random.default_rng(0))


@pytest.mark.parametrize("index", [np.s_[0, :-1], np.s_[:-1, 0], np.s_[-2, :], np.s_[:-1, -1]])
def test_gradient_check_draws_from_all_rows_and_columns(tiny, wrong_backward, index):
    X, Y, ws = tiny([4])

    def change(g):
        g[index] += 1

    wrong_backward(0, change)
    with pytest.raises(AssertionError, match="layer 0"):
        gradient_approximation_test(X, Y, ws, rng=np.random.default_rng(0), entries=300)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_gradient_check_visits_all_of_the_last_row_of_every_layer(tiny, wrong_backward, layer):
    X, Y, ws = tiny(unequal)
    for column in range(ws[layer].shape[1]):
        wrong_backward(layer, lambda g, column=column: g[-1].put(column, 9))
        with pytest.raises(AssertionError, match=rf"layer {layer}, weight \(\d, {column}\)"):
            gradient_approximation_test(X, Y, ws, rng=np.random.default_rng(0), entries=0)


def test_gradient_check_does_not_write_into_its_arguments(tiny):
    X, Y, ws = tiny([4])
    for array in (X, Y, *ws):
        array.flags.writeable = False
    gradient_approximation_test(X, Y, ws, rng=np.random.default_rng(0))


def test_gradient_check_names_the_weight_and_both_values(tiny, wrong_backward):
    X, Y, ws = tiny([4])
    right = backward(Y, forward(X, ws), ws)[0][5, 2]
    wrong_backward(0, change_one_bias)
    named = rf"layer 0, weight \(5, 2\): gradient is {1.01 * right:.6e}, expected {right:.6e}"
    with pytest.raises(AssertionError, match=named.replace("+", r"\+")):
        gradient_approximation_test(X, Y, ws, rng=np.random.default_rng(0), entries=0)


def test_gradient_check_takes_a_gradient_that_is_zero(tiny):
    X, Y, ws = tiny([])
    rng = np.random.default_rng(0)
    assert gradient_approximation_test(0 * X, Y, ws, rng=rng, tolerance=0).tolist() == [0]


def test_gradient_check_measures_against_1_where_all_gradients_are_zero(tiny, wrong_backward):
    X, Y, ws = tiny([4])
    right = backward(Y, forward(X, ws), ws)[0][5, 0]
    wrong_backward(0, lambda g: g.fill(0))
    with pytest.raises(AssertionError, match=f"off by {abs(right):.1e} of the layer's largest"):
        gradient_approximation_test(X, Y, ws, rng=np.random.default_rng(0))


def test_gradient_check_returns_the_largest_error_of_each_layer(tiny, wrong_backward):
    X, Y, ws = tiny(unequal, scale=4)

    def scale_by_a_little(g):
        g *= 1 + 5e-7

    wrong_backward(2, scale_by_a_little)
    worst = gradient_approximation_test(X, Y, ws, rng=np.random.default_rng(0), entries=300)
    assert worst[2] == pytest.approx(5e-7, rel=0.1)
    assert (worst[[0, 1, 3]] < 1e-7).all()


@pytest.mark.parametrize("example", [0, 9, 39])
def test_gradient_check_takes_all_examples(tiny, monkeypatch, example):
    X, Y, ws = tiny([4], examples=40)

    def forgetful(Y, values, *rest):
        kept = np.arange(40) != example
        gradients = backward(Y[kept], [v[kept] for v in values], *rest)
        return [g * 39 / 40 for g in gradients]

    monkeypatch.setattr(task2a, "backward", forgetful)
    with pytest.raises(AssertionError, match="layer 0"):
        gradient_approximation_test(X, Y, ws, rng=np.random.default_rng(0))


# ---- Task 2d


@pytest.mark.parametrize(
    ("shapes", "as_implemented", "with_every_bias"),
    [
        ([(785, 64), (64, 10)], 50_880, 50_890),
        ([(785, 59), (59, 59), (59, 10)], 50_386, 50_455),
        ([(785, 60), (60, 60), (60, 10)], 51_300, 51_370),
        ([(785, 10)], 7_850, 7_850),
        ([(6, 4), (4, 5), (5, 3)], 59, 67),
        ([(785, 64), *[(64, 64)] * 9, (64, 10)], 87_744, 88_330),
        ([(3, 2), *[(2, 2)] * 20, (2, 3)], 92, 135),
    ],
)
def test_parameters_are_counted_from_the_weights(shapes, as_implemented, with_every_bias):
    ws = [np.zeros(shape) for shape in shapes]
    assert count_parameters(ws) == as_implemented
    assert count_parameters(ws, bias_in_every_layer=True) == with_every_bias


def test_biases_of_every_layer_are_asked_for_by_name():
    with pytest.raises(TypeError, match="positional"):
        count_parameters([np.zeros((6, 4))], True)
