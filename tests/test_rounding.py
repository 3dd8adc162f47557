"""What the grid costs: gradients of a network by hand, with and without it."""

import numpy as np
import pytest

from report.rounding import rounding_share
from task2 import gradients_on_grid
from task2a import SIGMOID, backward, forward, sigmoid
from utils import snap


@pytest.fixture
def few():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(8, 5)), np.eye(3)[rng.integers(0, 3, 8)]
    return X, Y, [rng.normal(size=shape) for shape in [(5, 4), (4, 4), (4, 3)]]


def test_the_grid_moves_gradients_by_little(few):
    shares = rounding_share(*few, SIGMOID)
    assert shares.shape == (3,)
    assert (shares > 1e-8).all()
    assert (shares < 1e-3).all()


def test_errors_below_the_grid_are_a_gradient_that_is_lost(few):
    X, Y, ws = few
    small = [ws[0], ws[1], ws[2] * 2.0**-24]
    first, second, last = rounding_share(X, Y, small, SIGMOID)
    assert (first, second) == (1, 1)
    assert last < 0.1


def test_the_share_is_of_the_gradient_that_training_takes(few):
    X, Y, ws = few
    exact = backward(Y, forward(X, ws), ws)
    taken, _, _ = gradients_on_grid(snap(X), Y, ws, SIGMOID)
    for share, g, e in zip(rounding_share(X, Y, ws, SIGMOID), taken, exact, strict=True):
        assert share == pytest.approx(np.sqrt(((g - e) ** 2).sum() / (e**2).sum()), rel=1e-12)


def test_inputs_weights_activations_and_errors_are_on_the_grid_and_outputs_are_not(few):
    X, Y, ws = few
    x = snap(X)
    gradients, values, rounded = gradients_on_grid(x, Y, ws, SIGMOID)
    for w, found in zip(ws, rounded, strict=True):
        np.testing.assert_array_equal(found, snap(w))
    a_1 = snap(sigmoid(x @ rounded[0]))
    a_2 = snap(sigmoid(a_1 @ rounded[1]))
    np.testing.assert_array_equal(values[1], a_1)
    np.testing.assert_array_equal(values[2], a_2)
    exp = np.exp(a_2 @ rounded[2])
    np.testing.assert_allclose(values[3], exp / exp.sum(axis=1, keepdims=True), rtol=1e-14)
    delta = snap(snap(values[3] - Y) / 8)
    np.testing.assert_array_equal(gradients[2], a_2.T @ delta)
    delta = snap(a_2 * (1 - a_2) * (delta @ rounded[2].T))
    np.testing.assert_array_equal(gradients[1], a_1.T @ delta)
    delta = snap(a_1 * (1 - a_1) * (delta @ rounded[1].T))
    np.testing.assert_array_equal(gradients[0], x.T @ delta)


def test_inputs_are_rounded_too(few):
    X, Y, ws = few
    assert (rounding_share(X, Y, ws, SIGMOID) != rounding_share(snap(X), Y, ws, SIGMOID)).any()
