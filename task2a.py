"""Tasks 2a, 2b and 2d: one fully connected network, forwards and backwards, as pure functions.

A network is a list of weight matrices `ws`, `ws[l]` of shape [inputs, outputs] of layer l, and one
activation for all hidden layers; the output layer is a softmax. Depth is the length of the list.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

NUM_PIXELS = 28 * 28
NUM_CLASSES = 10
# multiplications in a matrix product up to which OpenBLAS has a quicker way, given AVX-512
SMALL = 1_000_000

Array = npt.NDArray[np.float64]
Weights = list[Array]
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]


class Activation(NamedTuple):
    """The activation of a hidden layer, a = function(z), and da/dz = slope(a), both elementwise."""

    name: str
    function: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def mean_X(X: npt.NDArray) -> float:
    """Return the mean over all pixels of all images X [N, 784]."""
    return float(np.mean(X, dtype=np.float64))


def std_X(X: npt.NDArray) -> float:
    """Return the (population) standard deviation over all pixels of all images X [N, 784]."""
    return float(np.std(X, dtype=np.float64))


def pre_process_images(X: npt.NDArray, mean: float, std: float) -> Array:
    """Normalise images and append the constant 1 of the bias trick.

    Args:
        X: images [N, 784], in grey levels.
        mean, std: of the *training* images, whichever images these are.
    Returns:
        (X - mean) / std with a last column of ones, [N, 785].
    Raises:
        ValueError: X is not [N, 784], or std is not positive.
    """
    if X.ndim != 2 or X.shape[1] != NUM_PIXELS:
        raise ValueError(f"images have shape {X.shape}, expected [N, {NUM_PIXELS}]: flatten them")
    if not 0 < std < np.inf:
        raise ValueError(f"std is {std}, expected a positive number: use that of the training set")
    inputs = np.ones((len(X), NUM_PIXELS + 1))
    pixels = inputs[:, :-1]  # changed in place: copies of all images cost more than the arithmetic
    pixels[:] = X
    pixels -= mean
    pixels /= std
    return inputs


def one_hot_encode(Y: npt.NDArray, num_classes: int = NUM_CLASSES) -> Array:
    """Return the rows of the identity that the labels Y [N, 1] name, [N, num_classes].

    Raises:
        ValueError: Y is not [N, 1], or not of whole numbers from 0 to num_classes - 1.
    """
    if Y.ndim != 2 or Y.shape[1] != 1:
        raise ValueError(f"labels have shape {Y.shape}, expected [N, 1]: reshape them to (-1, 1)")
    strange = Y if Y.dtype.kind not in "buif" else Y[~np.isin(Y, np.arange(num_classes))]
    if strange.size:
        raise ValueError(
            f"label {strange[0]} is no class, expected whole numbers from 0 to {num_classes - 1}"
        )
    return np.equal(Y, np.arange(num_classes)).astype(np.float64)


def sigmoid(z: Array) -> Array:
    """Return the logistic function 1 / (1 + exp(-z)), elementwise."""
    with np.errstate(over="ignore"):  # an infinite exp(-z) gives the 0 that is right
        return 1 / (1 + np.exp(-z))


def sigmoid_slope(a: Array) -> Array:
    """Return the slope where the logistic function's value is a, elementwise."""
    return a * (1 - a)


SIGMOID = Activation("sigmoid", sigmoid, sigmoid_slope)


def softmax(z: Array) -> Array:
    """Return the probabilities exp(z_k) / sum_k' exp(z_k') of every row of z [N, K], [N, K]."""
    exp = np.exp(z - z.max(axis=1, keepdims=True))  # same quotient, and exp cannot overflow
    return exp / exp.sum(axis=1, keepdims=True)


def cross_entropy_loss(targets: Array, outputs: Array) -> float:
    """Return the mean over the examples of -sum_k y_k ln(yhat_k), in nats.

    Args:
        targets: one-hot labels y [N, K].
        outputs: probabilities yhat [N, K]; less than the least normal float64 counts as that.
    Raises:
        ValueError: the shapes differ.
    """
    if targets.shape != outputs.shape:
        raise ValueError(f"targets have shape {targets.shape}, expected {outputs.shape}: encode Y")
    log_outputs = np.log(np.maximum(outputs, np.finfo(np.float64).tiny))
    return float(-np.sum(targets * log_outputs) / len(targets))


def uniform(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draw one layer's weights [inputs, outputs] uniformly from [-1, 1)."""
    return rng.uniform(-1, 1, shape)


def initialize_weights(
    neurons_per_layer: Sequence[int],
    rng: np.random.Generator,
    draw: Draw = uniform,
    num_inputs: int = NUM_PIXELS + 1,
) -> Weights:
    """Draw one weight matrix per layer.

    Args:
        neurons_per_layer: widths of the layers after the input, the last one the classes.
        rng, draw: `draw(rng, shape)` returns the weights of a layer.
        num_inputs: columns of the input, that of the bias included.
    Returns:
        Matrices of the shapes (num_inputs, n_1), (n_1, n_2), ...
    Raises:
        ValueError: there is no layer, or a width is not a positive whole number.
    """
    sizes = [num_inputs, *neurons_per_layer]
    if len(sizes) < 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in sizes):
        raise ValueError(f"layers are {sizes}, expected an input and widths of at least 1 after it")
    return [draw(rng, shape) for shape in pairwise(sizes)]


def product(a: Array, b: Array) -> Array:
    """Return a b, in halves of the longer axis of a where they are small and the whole is not."""
    if not SMALL < a.size * b.shape[1] <= 2 * SMALL:
        return a @ b
    rows, inner = a.shape
    half = max(rows, inner) // 2
    if inner > rows:
        result = a[:, :half] @ b[:half]
        result += a[:, half:] @ b[half:]
        return result
    result = np.empty((rows, b.shape[1]), np.result_type(a, b))
    np.matmul(a[:half], b, out=result[:half])
    np.matmul(a[half:], b, out=result[half:])
    return result


def weighted_sums(x: Array, w: Array) -> Array:
    """Return z = x w, by columns in memory for more examples than inputs, which is faster then."""
    return np.matmul(x, w, order="F") if len(x) > len(w) else product(x, w)


def forward(
    X: Array,
    ws: Weights,
    activation: Activation = SIGMOID,
    output: Callable[[Array], Array] = softmax,
) -> list[Array]:
    """Return the values of every layer: the input, the hidden activations, the probabilities.

    Args:
        X: inputs [N, inputs].
        ws: one matrix per layer.
        activation: of the hidden layers.
        output: of the last one.
    Returns:
        [X, a_1, ..., yhat], with yhat [N, K]; layer l's input is entry l, its output entry l + 1.
    """
    *hidden, last = ws
    values = [X]
    for w in hidden:
        values.append(activation.function(weighted_sums(values[-1], w)))
    return [*values, output(weighted_sums(values[-1], last))]


def unrounded(values: Array) -> Array:
    """Return the values as they are, where a training puts them on a grid."""
    return values


def layer_errors(
    Y: Array,
    values: list[Array],
    ws: Weights,
    activation: Activation = SIGMOID,
    rounding: Callable[[Array], Array] = unrounded,
) -> list[Array]:
    """Return delta = dC/dz of every layer, where C is the mean cross entropy (Tasks 1a and 1b).

    Args:
        Y: one-hot labels [N, K].
        values: what `forward` returned for these weights and this activation.
        ws: one matrix per layer.
        activation: of the hidden layers.
        rounding: of each error, none by default.
    Returns:
        [delta_1, ..., delta_L], each of the shape of that layer's output.
    Raises:
        ValueError: the labels are not of the shape of the outputs.
    """
    *hidden, outputs = values[1:]
    if Y.shape != outputs.shape:
        raise ValueError(f"labels have shape {Y.shape}, expected {outputs.shape}: encode them")
    deltas = [rounding(rounding(outputs - Y) / len(Y))]
    for a, w in zip(hidden[::-1], ws[:0:-1], strict=True):
        deltas.append(rounding(activation.slope(a) * (deltas[-1] @ w.T)))
    return deltas[::-1]


def backward(
    Y: Array,
    values: list[Array],
    ws: Weights,
    activation: Activation = SIGMOID,
    rounding: Callable[[Array], Array] = unrounded,
) -> list[Array]:
    """Return dC/dw of the mean cross entropy C for every w in `ws`, of the same shapes.

    Args and errors are those of `layer_errors`.
    """
    deltas = layer_errors(Y, values, ws, activation, rounding)
    return [product(x.T, delta) for x, delta in zip(values[:-1], deltas, strict=True)]


def gradient_approximation_test(
    X: Array,
    Y: Array,
    ws: Weights,
    activation: Activation = SIGMOID,
    *,
    rng: np.random.Generator,
    entries: int = 50,
    step: float = 1e-5,
    tolerance: float = 1e-6,
) -> Array:
    """Compare `backward` with central differences (C(w + step) - C(w - step)) / (2 step).

    Every layer is visited: its last row (the bias row in the first layer), and random entries.
    With ReLU take few examples, since a kink within a step is an error of the approximation.

    Args:
        X: inputs [N, inputs].
        Y: one-hot labels [N, K].
        ws, activation: the network.
        rng: draws the entries.
        entries: how many random entries per layer.
        step: change of one weight.
        tolerance: largest difference allowed, as a share of the layer's largest gradient.
    Returns:
        That share, the largest of each layer, [layers].
    Raises:
        AssertionError: a difference is larger; the message names the weight and both values.
    """

    def loss(layer: int, index: tuple[int, int], change: float) -> float:
        w = ws[layer].copy()
        w[index] += change
        return cross_entropy_loss(Y, forward(X, [*ws[:layer], w, *ws[layer + 1 :]], activation)[-1])

    worst = np.zeros(len(ws))
    for layer, gradient in enumerate(backward(Y, forward(X, ws, activation), ws, activation)):
        rows, columns = gradient.shape
        largest = np.abs(gradient).max() or 1.0
        last_row = [(rows - 1, column) for column in range(columns)]
        for index in last_row + [tuple(rng.integers((rows, columns))) for _ in range(entries)]:
            approximation = (loss(layer, index, step) - loss(layer, index, -step)) / (2 * step)
            error = abs(gradient[index] - approximation) / largest
            if not error <= tolerance:
                raise AssertionError(
                    f"layer {layer}, weight {tuple(map(int, index))}: gradient is "
                    f"{gradient[index]:.6e}, expected {approximation:.6e}; off by {error:.1e} "
                    f"of the layer's largest, allowed {tolerance:.0e}"
                )
            worst[layer] = max(worst[layer], error)
    return worst


def count_parameters(ws: Weights, *, bias_in_every_layer: bool = False) -> int:
    """Count the entries of all weight matrices, the bias row of the first one included (Task 2d).

    Args:
        ws: one matrix per layer.
        bias_in_every_layer: count also a bias for each unit of the later layers, which the
            textbook's network has and this one has not.
    """
    later_biases = sum(w.shape[1] for w in ws[1:]) if bias_in_every_layer else 0
    return sum(w.size for w in ws) + later_biases
