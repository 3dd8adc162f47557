import math

import numpy as np
import pytest

from task2 import TASK_2C, gradient_descent, train
from task2a import (
    SIGMOID,
    backward,
    forward,
    gradient_approximation_test,
    initialize_weights,
    uniform,
)
from task3 import (
    GAMMA,
    IMPROVED_SIGMOID,
    SCALE,
    STRETCH,
    TASK_3A,
    TASK_3B,
    TASK_3C,
    fan_in_normal,
    improved_sigmoid,
    improved_sigmoid_slope,
    momentum,
)
from utils import GRID_STEP

no_warnings = pytest.mark.filterwarnings("error")
every_depth = pytest.mark.parametrize(
    "hidden",
    [
        pytest.param((4,), id="1 hidden"),
        pytest.param((8, 4), id="2 hidden"),
        pytest.param((4, 8) * 5, id="10 hidden"),
    ],
)


# ---- Task 3a: the initial weights


@pytest.mark.parametrize("shape", [(785, 64), (400, 100), (64, 400), (100, 400)])
def test_weights_are_normal_with_std_by_fan_in(shape):
    z = fan_in_normal(np.random.default_rng(0), shape) * math.sqrt(shape[0])
    assert abs(z.mean()) < 5 / math.sqrt(z.size)
    assert z.std() == pytest.approx(1, rel=0.015)
    for limit, share, error in [(1, 0.3173, 0.015), (2, 0.0455, 0.006), (3, 0.0027, 0.0015)]:
        assert np.mean(np.abs(z) > limit) == pytest.approx(share, abs=error)


def test_normal_weights_have_the_tails_of_the_normal_distribution():
    # of half a million, 31.7 are expected beyond 4 standard deviations
    z = fan_in_normal(np.random.default_rng(0), (500, 1_000)) * math.sqrt(500)
    assert 10 < np.count_nonzero(np.abs(z) > 4) < 60


def test_the_std_is_exactly_one_over_the_root_of_the_fan_in():
    # the same standard normal numbers, once for 4 inputs and once for 785
    few, many = (fan_in_normal(np.random.default_rng(0), (n, 1)) for n in (4, 785))
    np.testing.assert_allclose(few * 2, many[:4] * math.sqrt(785), rtol=1e-12)


def test_every_layer_has_the_std_of_its_own_fan_in():
    widths = [400, 100, 400, 50]
    ws = initialize_weights(widths, np.random.default_rng(0), fan_in_normal)
    for w, fan_in in zip(ws, [785, *widths], strict=False):
        assert w.std() * math.sqrt(fan_in) == pytest.approx(1, rel=0.03)


def test_weights_depend_on_the_generator_alone():
    first, again, other = (fan_in_normal(np.random.default_rng(seed), (8, 4)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    assert len(np.unique(first)) == 32


def test_training_starts_from_these_weights():
    X, Y = np.ones((4, 900)), np.eye(3)[[0, 1, 2, 0]]
    experiment = TASK_3A._replace(neurons_per_layer=(100, 3), epochs=1, batch_size=4)
    first, last = train(experiment, X, Y, X, Y, seed=0, keep_at=[0]).kept_weights[0]
    assert first.std() == pytest.approx(1 / 30, rel=0.02)
    assert np.abs(first).max() > 3 / 30  # uniform weights of that std end at 1.7 / 30
    assert last.std() == pytest.approx(1 / 10, rel=0.15)


# ---- Task 3b: the improved sigmoid


def test_improved_sigmoid_by_hand():
    # 1.7159 tanh(2/3) and 1.7159 tanh(20/3), to 30 digits by exact arithmetic
    z = np.array([[0, 1, 10], [-0.0, -1, -10]])
    expected = np.array([0, 0.999997255922478975, 1.71589444187673006])
    np.testing.assert_allclose(improved_sigmoid(z), [expected, -expected], rtol=1e-14)


def test_improved_sigmoid_matches_its_formula():
    z = np.linspace(-8, 8, 161)
    expected = [1.7159 * math.tanh(2 * x / 3) for x in z]
    np.testing.assert_allclose(improved_sigmoid(z), expected, rtol=1e-12)


@no_warnings
def test_improved_sigmoid_survives_extremes():
    z = np.array([-1000.0, 1000])
    np.testing.assert_allclose(improved_sigmoid(z), [-1.7159, 1.7159], rtol=1e-14)
    np.testing.assert_allclose(improved_sigmoid_slope(improved_sigmoid(z)), 0, rtol=0, atol=1e-12)


def test_slope_of_the_improved_sigmoid_by_hand():
    # at a = 0 it is 1.7159 * 2/3, at a = 1 it is 2/3 (1.7159 - 1 / 1.7159)
    expected = [1.14393333333333333, 0.755410303630747713, 0, 0]
    slopes = improved_sigmoid_slope(np.array([0, 1, 1.7159, -1.7159]))
    np.testing.assert_allclose(slopes, expected, rtol=1e-13, atol=1e-15)


def test_slope_of_the_improved_sigmoid_takes_the_activation():
    z = np.linspace(-4, 4, 81)
    expected = [1.7159 * 2 / 3 / math.cosh(2 * x / 3) ** 2 for x in z]
    np.testing.assert_allclose(improved_sigmoid_slope(improved_sigmoid(z)), expected, rtol=1e-11)


def test_slope_of_the_improved_sigmoid_matches_central_differences():
    z, h = np.linspace(-4, 4, 41), 1e-5
    approximation = (IMPROVED_SIGMOID.function(z + h) - IMPROVED_SIGMOID.function(z - h)) / (2 * h)
    slopes = IMPROVED_SIGMOID.slope(IMPROVED_SIGMOID.function(z))
    np.testing.assert_allclose(slopes, approximation, rtol=0, atol=1e-9)


def test_improved_sigmoid_leaves_its_argument_unchanged():
    z = np.array([-1.0, 0, 2])
    improved_sigmoid(z)
    improved_sigmoid_slope(z)
    assert z.tolist() == [-1, 0, 2]


@every_depth
def test_improved_sigmoid_networks_equal_the_elementwise_sums(tiny, sums, assert_close, hidden):
    X, Y, ws = tiny(hidden, scale=2)
    outputs, gradients = sums(
        X,
        Y,
        ws,
        lambda z: 1.7159 * math.tanh(2 * z / 3),
        lambda z: 1.7159 * 2 / 3 / math.cosh(2 * z / 3) ** 2,
    )
    values = forward(X, ws, IMPROVED_SIGMOID)
    assert_close([values[-1]], [outputs])
    assert_close(backward(Y, values, ws, IMPROVED_SIGMOID), gradients)


@every_depth
def test_improved_sigmoid_networks_pass_the_gradient_check(tiny, hidden):
    X, Y, ws = tiny(hidden)
    gradient_approximation_test(X, Y, ws, IMPROVED_SIGMOID, rng=np.random.default_rng(0))


# ---- Task 3c: momentum


def test_momentum_over_three_steps_by_hand():
    # v = 1, then 10 + 0.9, then 100 + 9 + 0.81; their sum is 121.71
    ws, vs = [np.array([[1.0, -2]]), np.array([[3.0], [4]])], [np.zeros((1, 2)), np.zeros((2, 1))]
    for g, sum_of_velocities in [(1, 1), (10, 11.9), (100, 121.71)]:
        ws, vs = momentum(ws, vs, [np.array([[g, 0.0]]), np.array([[-g], [2.0 * g]])], 0.02)
        np.testing.assert_allclose(ws[0], [[1 - 0.02 * sum_of_velocities, -2]], rtol=1e-12)
        expected = [[3 + 0.02 * sum_of_velocities], [4 - 0.04 * sum_of_velocities]]
        np.testing.assert_allclose(ws[1], expected, rtol=1e-12)


def test_a_steady_gradient_ends_ten_times_faster():
    ws, vs = [np.zeros((1, 1))], [np.zeros((1, 1))]
    for _ in range(500):
        before = ws[0]
        ws, vs = momentum(ws, vs, [np.ones((1, 1))], 0.02)
    assert (before - ws[0]).item() == pytest.approx(0.02 / (1 - 0.9), rel=1e-9)


def test_without_gamma_momentum_is_gradient_descent():
    ws, vs = [np.array([[1.0]])], [np.zeros((1, 1))]
    plain = ws
    for g in (1.0, -2, 5):
        ws, vs = momentum(ws, vs, [np.array([[g]])], 0.1, gamma=0)
        plain, _ = gradient_descent(plain, None, [np.array([[g]])], 0.1)
    np.testing.assert_allclose(ws[0], plain[0], rtol=1e-14)


def test_every_layer_has_a_velocity_of_its_own():
    ws, vs = [np.zeros((1, 1))] * 5, [np.zeros((1, 1))] * 5
    for _ in range(2):
        gradients = [np.full((1, 1), 10.0**n) for n in range(5)]
        ws, vs = momentum(ws, vs, gradients, 0.02)
    np.testing.assert_allclose(
        [w.item() for w in ws], [-0.02 * 2.9 * 10**n for n in range(5)], rtol=1e-12
    )


@pytest.mark.parametrize("too_many", [0, 1, 2], ids=["weights", "velocities", "gradients"])
def test_every_layer_needs_weights_velocity_and_gradient(too_many):
    given = [[np.ones((1, 1))] * (2 if n == too_many else 1) for n in range(3)]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        momentum(*given, 0.1)


def test_momentum_leaves_its_arguments_unchanged():
    ws, vs, gradients = [np.ones((2, 2))], [np.full((2, 2), 2.0)], [np.full((2, 2), 3.0)]
    momentum(ws, vs, gradients, 0.1)
    assert (ws[0] == 1).all()
    assert (vs[0] == 2).all()
    assert (gradients[0] == 3).all()


def test_the_velocity_is_a_fading_sum_of_hundreds_of_gradients():
    gradients = np.random.default_rng(0).normal(size=(300, 5, 4))
    ws, vs = [np.ones((5, 4))], [np.zeros((5, 4))]
    for g in gradients:
        ws, vs = momentum(ws, vs, [g], 0.02)
    ages = 1 + np.arange(300)[::-1, np.newaxis, np.newaxis]
    np.testing.assert_allclose(vs[0], (0.9 ** (ages - 1) * gradients).sum(axis=0), rtol=1e-9)
    moved = (0.02 * (1 - 0.9**ages) / (1 - 0.9) * gradients).sum(axis=0)
    np.testing.assert_allclose(1 - ws[0], moved, rtol=1e-9)


@pytest.mark.parametrize("layers", [(4, 3), (8, 4, 3), (4,) * 10 + (3,)])
def test_velocity_lasts_through_all_epochs_of_a_training(tiny, layers):
    # one batch an epoch, so that the order does not matter; v = sum of 0.9^age g
    X, Y, _ = tiny([], examples=20)
    experiment = TASK_3C._replace(neurons_per_layer=layers, batch_size=20, epochs=30)
    run = train(experiment, X, Y, X, Y, seed=0, keep_at=range(31))
    vs = [0] * len(layers)
    for step in range(30):
        ws = run.kept_weights[step]
        gradients = backward(Y, forward(X, ws, IMPROVED_SIGMOID), ws, IMPROVED_SIGMOID)
        vs = [g + 0.9 * v for g, v in zip(gradients, vs, strict=True)]
        for w, v, moved in zip(ws, vs, run.kept_weights[step + 1], strict=True):
            np.testing.assert_allclose(moved, w - 0.02 * v, rtol=0, atol=2 * GRID_STEP)
            assert (moved != w).any()


def test_no_velocity_is_left_for_the_next_training(tiny):
    X, Y, _ = tiny([], examples=20)
    experiment = TASK_3C._replace(neurons_per_layer=(4, 3), batch_size=4, epochs=3)
    first, second = (train(experiment, X, Y, X, Y, seed=0) for _ in range(2))
    np.testing.assert_array_equal(first.last_weights[0], second.last_weights[0])


# ---- Task 3: the experiments


def test_the_constants_are_those_of_the_paper():
    assert (SCALE, STRETCH, GAMMA) == (1.7159, 2 / 3, 0.9)
    assert ("improved sigmoid", improved_sigmoid, improved_sigmoid_slope) == IMPROVED_SIGMOID


@pytest.mark.parametrize(
    ("experiment", "settings"),
    [
        (TASK_2C, ("Task 2c", uniform, SIGMOID, gradient_descent, 0.1)),
        (TASK_3A, ("Task 3a", fan_in_normal, SIGMOID, gradient_descent, 0.1)),
        (TASK_3B, ("Task 3b", fan_in_normal, IMPROVED_SIGMOID, gradient_descent, 0.1)),
        (TASK_3C, ("Task 3c", fan_in_normal, IMPROVED_SIGMOID, momentum, 0.02)),
    ],
)
def test_each_experiment_adds_one_trick(experiment, settings):
    e = experiment
    assert (e.name, e.draw, e.activation, e.update, e.learning_rate) == settings
    assert (e.neurons_per_layer, e.batch_size, e.epochs) == ((64, 10), 32, 50)
