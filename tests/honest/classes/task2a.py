"""A class does it all; what the assignment asks for is made of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Activation(NamedTuple):
    name: str
    function: Callable
    slope: Callable


class Statistics:
    def __init__(self, X):
        self.pixels = np.asarray(X, dtype=float).reshape(-1)

    @property
    def mean(self):
        return self.pixels.sum() / self.pixels.size

    @property
    def std(self):
        return ((self.pixels - self.mean) ** 2).mean() ** 0.5


def mean_X(X):
    return Statistics(X).mean


def std_X(X):
    return Statistics(X).std


def pre_process_images(X, mean, std):
    return np.c_[(X - mean) / std, np.ones(X.shape[0])]


def one_hot_encode(Y, num_classes=10):
    return (Y.flatten()[:, None] == np.arange(num_classes)[None, :]).astype(int)


class Sigmoid:
    def __call__(self, z):
        return np.exp(z) / (1 + np.exp(z))

    def derivative(self, a):
        return a - a**2


sigmoid = Sigmoid()


def sigmoid_slope(a):
    return sigmoid.derivative(a)


SIGMOID = Activation("sigmoid", sigmoid, sigmoid_slope)


class Softmax:
    def __call__(self, z):
        e = np.exp(z - np.max(z))
        return e / e.sum(axis=-1)[:, np.newaxis]


def softmax(z):
    return Softmax()(z)


def cross_entropy_loss(targets, outputs):
    return np.mean([-np.log(output[target == 1]) for target, output in zip(targets, outputs)])


def uniform(rng, shape):
    return rng.uniform(low=-1.0, high=1.0, size=shape)


@dataclass
class Layer:
    w: np.ndarray
    function: Callable
    slope: Callable | None
    value: np.ndarray | None = None
    delta: np.ndarray | None = None

    def run(self, x):
        self.value = self.function(np.dot(x, self.w))
        return self.value


class Network:
    def __init__(self, ws, activation):
        hidden = [Layer(w, activation.function, activation.slope) for w in ws[:-1]]
        self.layers = [*hidden, Layer(ws[-1], softmax, None)]

    def run(self, X):
        values = [X]
        for layer in self.layers:
            values.append(layer.run(values[-1]))
        return values

    def errors(self, Y, values):
        for layer, value in zip(self.layers, values[1:]):
            layer.value = value
        above = None
        for layer in reversed(self.layers):
            if above is None:
                layer.delta = (layer.value - Y) / Y.shape[0]
            else:
                layer.delta = np.dot(above.delta, above.w.T) * layer.slope(layer.value)
            above = layer
        return tuple(layer.delta for layer in self.layers)


def initialize_weights(neurons_per_layer, rng, draw=uniform, num_inputs=785):
    sizes = (num_inputs,) + tuple(neurons_per_layer)
    return tuple(draw(rng, (sizes[i], sizes[i + 1])) for i in range(len(sizes) - 1))


def forward(X, ws, activation=SIGMOID):
    return tuple(Network(ws, activation).run(X))


def layer_errors(Y, values, ws, activation=SIGMOID):
    return Network(ws, activation).errors(Y, values)


def backward(Y, values, ws, activation=SIGMOID, verbose=False):
    deltas = Network(ws, activation).errors(Y, values)
    return tuple(np.dot(np.transpose(x), delta) for x, delta in zip(values, deltas))


class GradientChecker:
    epsilon = 1e-3

    def __init__(self, X, Y, ws, activation):
        self.X, self.Y, self.ws, self.activation = X, Y, [w.copy() for w in ws], activation

    def cost(self):
        return cross_entropy_loss(self.Y, forward(self.X, self.ws, self.activation)[-1])

    def difference(self, layer, index):
        w = self.ws[layer]
        old = w[index]
        w[index] = old + self.epsilon
        plus = self.cost()
        w[index] = old - self.epsilon
        minus = self.cost()
        w[index] = old
        return (plus - minus) / 2 / self.epsilon


def gradient_approximation_test(X, Y, ws, activation=SIGMOID, *, rng=None, entries=10):
    checker = GradientChecker(X, Y, ws, activation)
    gradients = backward(Y, forward(X, ws, activation), ws, activation)
    for layer, gradient in enumerate(gradients):
        for _ in range(entries):
            index = (rng.integers(gradient.shape[0]), rng.integers(gradient.shape[1]))
            if abs(checker.difference(layer, index) - gradient[index]) > 1e-4:
                raise AssertionError(f"layer {layer}, {index}")
    return True


def count_parameters(ws, *, bias_in_every_layer=False):
    return sum(np.prod(w.shape) for w in ws) + bias_in_every_layer * sum(
        len(w[0]) for w in ws[1:]
    )
