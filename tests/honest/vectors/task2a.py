"""As few lines as possible: einsum, broadcasting, single precision where it does."""

from collections import namedtuple
from functools import reduce
from itertools import accumulate

import numpy as np

Activation = namedtuple("Activation", "name function slope")
Array = np.ndarray


def mean_X(X):
    return np.average(X.astype(np.float64))


def std_X(X):
    return np.sqrt(np.var(X.astype(np.float64), keepdims=True))


def pre_process_images(X, mean, std):
    return np.pad((X - mean) / std, ((0, 0), (0, 1)), constant_values=1).astype(np.float32)


def one_hot_encode(Y, num_classes=10):
    return np.identity(num_classes, dtype=np.float32)[Y.ravel()]


def sigmoid(z):
    return (1 + np.tanh(z / 2)) / 2


def sigmoid_slope(a):
    return 0.25 - (a - 0.5) ** 2


SIGMOID = Activation("sigmoid", sigmoid, sigmoid_slope)


def softmax(z):
    log = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    return np.exp(log)


def cross_entropy_loss(targets, outputs):
    return -np.einsum("nk,nk->n", targets, np.log(outputs + 1e-15)).mean(keepdims=True)


def uniform(rng, shape):
    return rng.integers(-(2**30), 2**30, shape) / 2**30


def initialize_weights(neurons_per_layer, rng, draw=uniform, num_inputs=785):
    return list(map(lambda i, o: draw(rng, (i, o)), [num_inputs, *neurons_per_layer], neurons_per_layer))


def forward(X, ws, activation=SIGMOID):
    step = lambda x, w: activation.function(np.einsum("ni,ij->nj", x, w))  # noqa: E731
    values = list(accumulate(ws[:-1], step, initial=X))
    return values + [softmax(values[-1] @ ws[-1])]


def layer_errors(Y, values, ws, activation=SIGMOID):
    first = np.subtract(values[-1], Y) / Y.shape[0]
    back = lambda ds, aw: [  # noqa: E731
        activation.slope(aw[0]) * np.einsum("nk,jk->nj", ds[0], aw[1]), *ds
    ]
    return reduce(back, list(zip(values[1:-1], ws[1:]))[::-1], [first])


def backward(Y, values, ws, activation=SIGMOID):
    return [np.tensordot(x, d, (0, 0)) for x, d in zip(values, layer_errors(Y, values, ws, activation))]


def gradient_approximation_test(X, Y, ws, activation=SIGMOID, *, rng, entries=1, step=1e-5):
    """Along random directions instead of one weight after another."""
    gradients = backward(Y, forward(X, ws, activation), ws, activation)
    for layer, gradient in enumerate(gradients):
        direction = rng.standard_normal(gradient.shape)
        cost = [
            cross_entropy_loss(
                Y, forward(X, [*ws[:layer], ws[layer] + s * direction, *ws[layer + 1 :]], activation)[-1]
            )
            for s in (-step, step)
        ]
        np.testing.assert_allclose((cost[1] - cost[0]) / (2 * step), np.sum(gradient * direction), 1e-4, 1e-6)


def count_parameters(ws, *, bias_in_every_layer=False):
    return np.concatenate([np.ravel(w) for w in ws]).size + bias_in_every_layer * sum(
        np.size(w, 1) for w in ws[1:]
    )
