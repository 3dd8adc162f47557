import math
import pickle

import numpy as np
import pytest

from task2 import gradient_descent, train
from task2a import (
    SIGMOID,
    Activation,
    backward,
    count_parameters,
    cross_entropy_loss,
    forward,
    gradient_approximation_test,
    initialize_weights,
)
from task3 import IMPROVED_SIGMOID, TASK_3C, fan_in_normal, momentum
from task4 import (
    RELU,
    TASK_4A,
    TASK_4B,
    TASK_4E,
    TASK_4F,
    TASK_4F_DEEP,
    activation_std,
    first_steps,
    gradient_rms,
    he_normal,
    largest_width,
    loss_along,
    network_size,
    relu,
    saturated,
    saturation,
    stuck_units,
    within_budget,
)
from utils import GRID_STEP

no_warnings = pytest.mark.filterwarnings("error")
every_depth = pytest.mark.parametrize(
    "hidden",
    [
        pytest.param((4,), id="1 hidden"),
        pytest.param((8, 4, 5), id="3 hidden"),
        pytest.param((8,) * 10, id="10 hidden"),
    ],
)


# ---- Tasks 4a, 4b, 4d, 4e: topologies and their parameters


TEN = (64,) * 10 + (10,)


EXPERIMENTS = [TASK_4A, TASK_4B, TASK_4E, TASK_4F, TASK_4F_DEEP]


@pytest.mark.parametrize(
    ("experiment", "name", "layers", "activation"),
    [
        (TASK_4A, "Task 4a", (32, 10), IMPROVED_SIGMOID),
        (TASK_4B, "Task 4b", (128, 10), IMPROVED_SIGMOID),
        (TASK_4E, "Task 4e", TEN, IMPROVED_SIGMOID),
        (TASK_4F, "Task 4f", (64, 10), RELU),
        (TASK_4F_DEEP, "Task 4f deep", TEN, RELU),
    ],
)
def test_each_experiment_has_its_topology_and_else_the_settings_of_task_3(
    experiment, name, layers, activation
):
    e = experiment
    assert (e.name, e.neurons_per_layer, e.activation) == (name, layers, activation)
    assert (e.draw, e.update, e.learning_rate) == (fan_in_normal, momentum, 0.02)
    assert (e.batch_size, e.epochs) == (32, 50)


@pytest.mark.parametrize(
    ("layers", "parameters"),
    [
        ((64, 10), 50_880),
        ((32, 10), 25_440),
        ((128, 10), 101_760),
        ((59, 59, 10), 50_386),
        (TEN, 87_744),
    ],
)
def test_parameters_of_each_topology(layers, parameters):
    assert count_parameters(initialize_weights(layers, np.random.default_rng(0))) == parameters
    assert network_size(layers) == parameters
    assert network_size(layers, bias_in_every_layer=True) == parameters + sum(layers[1:])


@pytest.mark.parametrize(
    ("function", "args"), [(network_size, [(64, 10)]), (largest_width, [9, 1])]
)
def test_biases_of_every_layer_are_asked_for_by_name(function, args):
    with pytest.raises(TypeError, match="positional"):
        function(*args, True)


def test_59_units_are_the_most_within_the_budget_of_task_3():
    assert largest_width(50_880, 2) == 59
    assert largest_width(50_890, 2, bias_in_every_layer=True) == 59


@pytest.mark.parametrize("hidden_layers", [1, 2, 3, 10])
@pytest.mark.parametrize("bias", [False, True])
def test_the_largest_width_fills_its_budget_exactly(hidden_layers, bias):
    def parameters(width):
        weights = 785 * width + (hidden_layers - 1) * width**2 + width * 10
        return weights + bias * ((hidden_layers - 1) * width + 10)

    for width in (1, 2, 17, 401, 1_501):
        budget = parameters(width)
        assert largest_width(budget, hidden_layers, bias_in_every_layer=bias) == width
        assert largest_width(budget + 1, hidden_layers, bias_in_every_layer=bias) == width
    assert largest_width(parameters(17) - 1, hidden_layers, bias_in_every_layer=bias) == 16


@pytest.mark.parametrize("budget", [-1, 0, 795])
def test_a_budget_too_small_for_one_unit_is_an_error(budget):
    with pytest.raises(ValueError, match=f"budget is {budget}, expected 796 parameters"):
        largest_width(budget, 2)


@pytest.mark.parametrize(("hidden_layers", "width"), [(1, 64), (2, 59), (3, 56), (5, 50), (10, 43)])
def test_layers_within_the_budget_of_task_3(hidden_layers, width):
    layers = within_budget(hidden_layers)
    assert layers == (*[width] * hidden_layers, 10)
    assert network_size(layers) <= 50_880 < network_size((*[width + 1] * hidden_layers, 10))


# ---- Task 4e: layer by layer


@pytest.mark.parametrize("steps", [4, 8, 20])
@pytest.mark.parametrize("experiment", [TASK_3C, TASK_4F_DEEP], ids=lambda e: e.name)
def test_first_steps_are_those_of_the_training(tiny, experiment, steps):
    X, Y, _ = tiny([], examples=100)
    few = experiment._replace(neurons_per_layer=(4, 4, 3), batch_size=5, epochs=1)
    run = train(few, X, Y, X, Y, seed=5, keep_at=[steps])
    for w, v in zip(first_steps(few, X, Y, 5, steps), run.kept_weights[steps], strict=True):
        np.testing.assert_array_equal(w, v)


def test_first_steps_are_at_most_those_of_an_epoch(tiny):
    X, Y, _ = tiny([], examples=20)
    few = TASK_3C._replace(neurons_per_layer=(4, 3), batch_size=5, epochs=1)
    expected = train(few, X, Y, X, Y, seed=5).last_weights
    for w, v in zip(first_steps(few, X, Y, 5, 99), expected, strict=True):
        np.testing.assert_array_equal(w, v)


def test_gradient_rms_by_hand():
    # the worked network of Task 1a: gradients (ln 2, 0; ln 2 / 3, 0) and (1/3, -1/3; 1/3, -1/3)
    X, Y = np.array([[3.0, 1]]), np.array([[0.0, 1]])
    ws = [np.zeros((2, 2)), np.array([[2 * math.log(2), 0], [0, 0]])]
    first = math.log(2) * math.sqrt((1 + 1 / 9) / 4)
    np.testing.assert_allclose(gradient_rms(X, Y, ws, SIGMOID), [first, 1 / 3], rtol=1e-12)


def test_gradient_rms_has_an_entry_for_each_layer(tiny):
    X, Y, ws = tiny((8,) * 10)
    gradients = backward(Y, forward(X, ws, IMPROVED_SIGMOID), ws, IMPROVED_SIGMOID)
    expected = [math.sqrt((g**2).sum() / g.size) for g in gradients]
    np.testing.assert_allclose(gradient_rms(X, Y, ws, IMPROVED_SIGMOID), expected, rtol=1e-12)


def test_activation_std_by_hand():
    # the activations of three units are (0, 3), (2, 2), (2, 2); then of one (4), (7)
    X, first = np.array([[0.0, 1], [1, 1]]), np.array([[3.0, 0, 0], [0, 2, 2]])
    assert activation_std(X, [first, np.ones((3, 1)), np.eye(1)], RELU).tolist() == [0.5, 1.5]


def test_activation_std_is_over_examples_and_not_over_units():
    # what differs from unit to unit, but not from example to example, tells nothing apart
    X, ws = np.ones((5, 1)), [np.array([[1.0, 2, 9]]), np.ones((3, 2))]
    assert activation_std(X, ws, RELU).tolist() == [0]


@pytest.mark.parametrize("measure", [activation_std, saturation, stuck_units])
def test_every_hidden_layer_is_measured(tiny, measure):
    X, _, ws = tiny((8, 4, 5), examples=50, scale=6)
    found = measure(X, ws, IMPROVED_SIGMOID)
    assert found.shape == (3,)
    for layers in (1, 2):  # the others do not depend on what is above
        fewer = measure(X, [*ws[:layers], np.zeros((ws[layers].shape[0], 2))], IMPROVED_SIGMOID)
        np.testing.assert_allclose(fewer, found[:layers], rtol=1e-12)


@pytest.mark.parametrize("row", [0, 999, 4_999, 9_999, 10_000, 19_999])
def test_every_one_of_many_examples_is_measured(row):
    X, ws, other = np.zeros((20_000, 1)), [np.ones((1, 1)), np.array([[1.0, -1]])], np.eye(2)
    X[row] = 9
    assert activation_std(X, ws, RELU)[0] == pytest.approx(9 * math.sqrt(19_999) / 20_000)
    assert saturation(X, ws, RELU)[0] == pytest.approx(19_999 / 20_000)
    assert stuck_units(X, ws, RELU)[0] == 0
    Y = np.tile(other[1], (20_000, 1))
    gradient = gradient_rms(X, Y, ws, RELU)
    assert gradient[1] == pytest.approx(9 / (1 + math.exp(-18)) / 20_000, rel=1e-9)
    losses = 19_999 * math.log(2) + 18 + math.log1p(math.exp(-18))
    assert loss_along(X, Y, ws, ws, RELU, [0])[0] == pytest.approx(losses / 20_000)


@pytest.mark.parametrize("activation", [SIGMOID, IMPROVED_SIGMOID, RELU], ids=lambda a: a.name)
def test_losses_along_a_direction_are_of_weights_moved_against_it(tiny, activation):
    X, Y, ws = tiny((8, 4))
    direction, sizes = tiny((8, 4), seed=1)[2], [0, 0.5, 0.1, -0.1]
    found = loss_along(X, Y, ws, direction, activation, sizes)
    for size, loss in zip(sizes, found, strict=True):
        moved, _ = gradient_descent(ws, ws, direction, size)
        expected = cross_entropy_loss(Y, forward(X, moved, activation)[-1])
        assert loss == pytest.approx(expected, rel=1e-12)


def test_a_direction_without_a_layer_is_refused(tiny):
    X, Y, ws = tiny((8, 4))
    with pytest.raises(ValueError, match="shorter"):
        loss_along(X, Y, ws, ws[:-1], SIGMOID, [0.1])


def test_the_loss_falls_against_the_gradient_and_rises_along_it(tiny):
    X, Y, ws = tiny((8, 4))
    gradients = backward(Y, forward(X, ws), ws)
    down, here, up = loss_along(X, Y, ws, gradients, SIGMOID, [0.1, 0, -0.1])
    assert down < here < up


def test_gradients_of_ten_plain_sigmoids_vanish_and_those_of_improved_ones_do_not():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(50, 785)), np.eye(10)[np.arange(50) % 10]
    ws = initialize_weights(TEN, rng, fan_in_normal)
    plain, improved = (gradient_rms(X, Y, ws, f) for f in (SIGMOID, IMPROVED_SIGMOID))
    assert plain[0] < 1e-4 * plain[-1]
    assert improved.max() < 5 * improved.min()


def test_ten_hidden_layers_learn_a_small_problem(tiny):
    X, Y, _ = tiny([], examples=20)
    experiment = TASK_3C._replace(neurons_per_layer=(8,) * 10 + (3,), batch_size=4, epochs=50)
    run = train(experiment, X, Y, X, Y, seed=0)
    assert [w.shape for w in run.last_weights] == [(6, 8)] + [(8, 8)] * 9 + [(8, 3)]
    assert run.val_loss.min() < 0.5 * math.log(3)


# ---- saturation


def test_saturated_sigmoids_are_those_with_a_tenth_of_the_slope():
    # a (1 - a) < 0.1 / 4 where a < 0.02566, that is z < -3.637
    z = np.array([[-9, -3.64, -3.63, 0, 3.63, 3.64, 9, 1]]).T
    assert saturation(z, [np.eye(1), np.eye(1)], SIGMOID).tolist() == [0.5]


def test_saturated_improved_sigmoids_are_those_with_a_tenth_of_the_slope():
    # 1 - tanh^2 < 0.1 where z > 1.5 artanh(sqrt(0.9)) = 2.7277
    z = np.array([[-9, -2.73, -2.72, 0, 2.72, 2.73, 2.5, 1]]).T
    assert saturation(z, [np.eye(1), np.eye(1)], IMPROVED_SIGMOID).tolist() == [0.375]


def test_a_tenth_of_the_slope_itself_is_not_saturated():
    steps = Activation("steps", lambda z: z, lambda a: np.select([a > 2, a > 1], [0.09, 0.1], 1.0))
    z = np.array([[0, 1.5, 1.6, 3]]).T
    assert saturation(z, [np.eye(1), np.eye(1)], steps).tolist() == [0.25]


def test_saturation_is_counted_in_each_hidden_layer():
    X = np.array([[1.0], [-1], [1], [1]])
    ws = [np.array([[9.0, 0]]), np.array([[9.0, 9, 0], [0, 0, 0]]), np.zeros((3, 2))]
    assert saturation(X, ws, IMPROVED_SIGMOID).tolist() == pytest.approx([1 / 2, 2 / 3])


def test_saturated_tells_which_activations_are():
    X = np.array([[1.0], [-1], [1], [0.01]])
    first, second = saturated(X, [np.array([[9.0, 1]]), np.eye(2), np.eye(2)], IMPROVED_SIGMOID)
    assert first.tolist() == [[True, False]] * 3 + [[False, False]]
    assert second.tolist() == [[False, False]] * 4


def test_units_are_stuck_if_no_example_moves_them():
    # units that are off for all, for some, and for none; the second layer's are all off
    X = np.array([[1.0, 1], [2, 1], [3, 1]])
    ws = [np.array([[-1.0, 1, 1], [0, -2, 0]]), -np.ones((3, 2)), np.eye(2)]
    assert stuck_units(X, ws, RELU).tolist() == pytest.approx([1 / 3, 1])


# ---- Task 4f: ReLU


@pytest.mark.parametrize("shape", [(785, 64), (400, 100), (64, 400)])
def test_he_weights_are_normal_with_twice_the_variance_of_fan_in(shape):
    drawn = he_normal(np.random.default_rng(0), shape)
    expected = math.sqrt(2) * fan_in_normal(np.random.default_rng(0), shape)
    np.testing.assert_allclose(drawn, expected, rtol=1e-12)


def test_relu_by_hand():
    z = np.array([[-1000, -1e-300, -0.0, 0], [1e-300, 0.5, 2, 1000]])
    assert relu(z).tolist() == [[0, 0, 0, 0], [1e-300, 0.5, 2, 1000]]
    assert z[0, 0] == -1000


@pytest.mark.parametrize("z", [1e3, 1e6, 1e300, math.inf])
def test_relu_has_no_upper_limit(z):
    assert relu(np.array([z, -z])).tolist() == [z, 0]


def test_relu_slope_is_0_where_it_is_off_and_1_where_it_is_on():
    a = np.array([[0, 1e-300], [0.5, 1000]])
    slope = RELU.slope(a)
    assert slope.tolist() == [[0, 1], [1, 1]]
    assert slope.dtype == np.float64  # of truth values there is no difference and no negative
    assert a.tolist() == [[0, 1e-300], [0.5, 1000]]


def test_relu_does_not_hide_nan():
    assert np.isnan(relu(np.array([math.nan]))).all()


@every_depth
def test_relu_networks_equal_the_elementwise_sums(tiny, sums, assert_close, hidden):
    X, Y, ws = tiny(hidden, scale=1.5)
    outputs, gradients = sums(X, Y, ws, lambda z: max(0, z), lambda z: 1 if z > 0 else 0)
    values = forward(X, ws, RELU)
    assert_close([values[-1]], [outputs])
    assert_close(backward(Y, values, ws, RELU), gradients)


@every_depth
def test_relu_networks_pass_the_gradient_check(tiny, hidden):
    X, Y, ws = tiny(hidden, scale=1.5)
    gradient_approximation_test(X, Y, ws, RELU, rng=np.random.default_rng(0))


def test_a_unit_that_is_off_for_all_examples_has_no_gradient():
    X, Y = np.array([[1.0, 1], [2, 1]]), np.eye(2)
    ws = [np.array([[1.0, -1], [0, 0]]), np.array([[1.0, 2], [3, 4]])]
    first, last = backward(Y, forward(X, ws, RELU), ws, RELU)
    assert (first[:, 1] == 0).all()
    assert (last[1] == 0).all()
    assert (first[0, 0] != 0) & (last[0] != 0).all()


def test_the_output_layer_has_no_relu():
    # its inputs are -1 and 1; a ReLU would make them 0 and 1
    outputs = forward(np.array([[1.0]]), [np.eye(1), np.array([[-1.0, 1]])], RELU)[-1]
    np.testing.assert_allclose(outputs, [[1 / (1 + math.e**2), 1 / (1 + math.e**-2)]], rtol=1e-14)


@no_warnings
def test_relu_networks_survive_extremes(tiny):
    X, Y, ws = tiny((8,) * 10, scale=1.5)
    values = forward(1000 * X, ws, RELU)
    assert math.isfinite(cross_entropy_loss(Y, values[-1]))
    assert all(np.isfinite(g).all() for g in backward(Y, values, ws, RELU))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_relu_networks_that_diverge_are_an_error(tiny):
    X, Y, _ = tiny([], examples=20)
    experiment = TASK_3C._replace(
        activation=RELU, neurons_per_layer=(8, 3), learning_rate=1e200, batch_size=4, epochs=3
    )
    with pytest.raises(FloatingPointError, match=r"Task 3c: sums reach .*learning rate 1e\+200"):
        train(experiment, X, Y, X, Y, seed=0)


def test_saturated_relus_are_those_that_are_off():
    z = np.array([[-9, -1e-9, 0, 1e-9, 9]]).T
    assert saturation(z, [np.eye(1), np.eye(1)], RELU).tolist() == [0.6]


def test_relu_training_moves_along_its_gradient(tiny):
    X, Y, _ = tiny([], examples=20)
    settings = {"neurons_per_layer": (8, 4, 3), "update": gradient_descent, "learning_rate": 0.5}
    experiment = TASK_3C._replace(activation=RELU, batch_size=20, epochs=30, **settings)
    run = train(experiment, X, Y, X, Y, seed=0, keep_at=range(31))
    for step in range(30):
        ws = run.kept_weights[step]
        gradients = backward(Y, forward(X, ws, RELU), ws, RELU)
        for w, g, moved in zip(ws, gradients, run.kept_weights[step + 1], strict=True):
            np.testing.assert_allclose(moved, w - 0.5 * g, rtol=0, atol=8 * GRID_STEP)


def test_a_network_needs_a_hidden_layer_to_have_a_width():
    with pytest.raises(ValueError, match="hidden_layers is 0, expected 1 or more"):
        largest_width(50_880, 0)


def test_experiments_are_data_for_any_pool_of_processes():
    assert pickle.loads(pickle.dumps(EXPERIMENTS)) == EXPERIMENTS
