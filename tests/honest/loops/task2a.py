import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Activation(NamedTuple):
    name: str
    function: Callable
    slope: Callable


def mean_X(X):
    total = 0
    for image in X:
        for pixel in image:
            total += int(pixel)
    return total / X.size


def std_X(X):
    mean = mean_X(X)
    total = 0
    for image in X:
        for pixel in image:
            total += (int(pixel) - mean) ** 2
    return math.sqrt(total / X.size)


def pre_process_images(X, mean, std):
    rows = []
    for image in X:
        rows.append([(float(pixel) - mean) / std for pixel in image] + [1])
    return np.array(rows)


def one_hot_encode(Y, num_classes=10):
    encoded = []
    for label in Y:
        row = [0] * num_classes
        row[int(label[0])] = 1
        encoded.append(row)
    return np.array(encoded)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def sigmoid_slope(a):
    return a * (1 - a)


SIGMOID = Activation("sigmoid", sigmoid, sigmoid_slope)


def softmax(z):
    result = []
    for row in z:
        exps = [math.exp(value) for value in row]
        result.append([exp / sum(exps) for exp in exps])
    return np.array(result)


def cross_entropy_loss(targets, outputs):
    total = 0
    for target, output in zip(targets, outputs):
        for t, o in zip(target, output):
            if t:
                total -= t * math.log(o)
    return total / len(targets)


def uniform(rng, shape):
    return rng.random(shape) * 2 - 1


def initialize_weights(neurons_per_layer, rng, draw=uniform, num_inputs=785):
    ws = []
    before = num_inputs
    for neurons in neurons_per_layer:
        ws.append(draw(rng, (before, neurons)))
        before = neurons
    return ws


def forward(X, ws, activation=SIGMOID):
    values = [X]
    for i in range(len(ws)):
        z = np.zeros((len(values[-1]), ws[i].shape[1]))
        for n in range(z.shape[0]):
            for j in range(z.shape[1]):
                for k in range(ws[i].shape[0]):
                    z[n, j] += values[-1][n][k] * ws[i][k, j]
        if i == len(ws) - 1:
            values.append(softmax(z))
        else:
            values.append(activation.function(z))
    return values


def layer_errors(Y, values, ws, activation=SIGMOID):
    N = len(Y)
    deltas = [None] * len(ws)
    deltas[-1] = (values[-1] - Y) / N
    for layer in range(len(ws) - 2, -1, -1):
        a = values[layer + 1]
        slope = activation.slope(a)
        delta = np.zeros(a.shape)
        for n in range(N):
            for j in range(a.shape[1]):
                for k in range(ws[layer + 1].shape[1]):
                    delta[n, j] += ws[layer + 1][j, k] * deltas[layer + 1][n, k]
                delta[n, j] *= slope[n, j]
        deltas[layer] = delta
    return deltas


def backward(Y, values, ws, activation=SIGMOID):
    deltas = layer_errors(Y, values, ws, activation)
    gradients = []
    for layer, w in enumerate(ws):
        gradient = np.zeros(w.shape)
        for i in range(w.shape[0]):
            for j in range(w.shape[1]):
                for n in range(len(Y)):
                    gradient[i, j] += values[layer][n][i] * deltas[layer][n, j]
        gradients.append(gradient)
    return gradients


def gradient_approximation_test(X, Y, ws, activation=SIGMOID, *, rng):
    epsilon = 1e-4
    gradients = backward(Y, forward(X, ws, activation), ws, activation)
    for layer in range(len(ws)):
        for i in range(ws[layer].shape[0]):
            for j in range(ws[layer].shape[1]):
                original = ws[layer][i, j]
                ws[layer][i, j] = original + epsilon
                above = cross_entropy_loss(Y, forward(X, ws, activation)[-1])
                ws[layer][i, j] = original - epsilon
                below = cross_entropy_loss(Y, forward(X, ws, activation)[-1])
                ws[layer][i, j] = original
                approximation = (above - below) / (2 * epsilon)
                assert abs(approximation - gradients[layer][i, j]) < epsilon**2


def count_parameters(ws, *, bias_in_every_layer=False):
    parameters = 0
    for number, w in enumerate(ws):
        parameters += w.shape[0] * w.shape[1]
        if bias_in_every_layer and number > 0:
            parameters += w.shape[1]
    return parameters
