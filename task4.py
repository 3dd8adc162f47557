"""Task 4: other topologies, their parameter counts, ReLU, and what happens layer by layer."""

from collections.abc import Sequence
from itertools import count, islice

import numpy as np

from task2 import Experiment, descend, start
from task2a import (
    NUM_CLASSES,
    Activation,
    Array,
    Weights,
    backward,
    count_parameters,
    cross_entropy_loss,
    forward,
    initialize_weights,
)
from task3 import TASK_3C
from utils import batch_loader, snap

SATURATED = 0.1  # of the steepest slope


def network_size(neurons_per_layer: Sequence[int], *, bias_in_every_layer: bool = False) -> int:
    """Return what `count_parameters` counts for these layers, without drawing their weights."""
    ws = initialize_weights(neurons_per_layer, None, lambda _, shape: np.empty(shape))
    return count_parameters(ws, bias_in_every_layer=bias_in_every_layer)


def largest_width(budget: int, hidden_layers: int, *, bias_in_every_layer: bool = False) -> int:
    """Return the largest width of equal hidden layers whose network stays within the budget.

    Args:
        budget: parameters, as `count_parameters` counts them.
        hidden_layers: how many of that width.
    Raises:
        ValueError: there is no hidden layer, or the budget is too small for a width of 1.
    """
    if hidden_layers < 1:
        raise ValueError(f"hidden_layers is {hidden_layers}, expected 1 or more")
    for width in count(1):
        neurons = [width] * hidden_layers + [NUM_CLASSES]
        parameters = network_size(neurons, bias_in_every_layer=bias_in_every_layer)
        if parameters > budget:
            break
    if width == 1:
        raise ValueError(f"budget is {budget}, expected {parameters} parameters or more")
    return width - 1


def within_budget(hidden_layers: int) -> tuple[int, ...]:
    """Return the widths of equal hidden layers and the output, with Task 3's parameters or less."""
    width = largest_width(network_size(TASK_3C.neurons_per_layer), hidden_layers)
    return (*[width] * hidden_layers, NUM_CLASSES)


def relu(z: Array) -> Array:
    """Return max(0, z), elementwise."""
    return np.maximum(0, z)


def relu_slope(a: Array) -> Array:
    """Return the slope where the value of ReLU is a, elementwise; 0 at the kink."""
    return (a > 0).astype(a.dtype)


RELU = Activation("ReLU", relu, relu_slope)


def he_normal(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draw one layer's weights [inputs, outputs], normal with std sqrt(2 / inputs) (He, 2015)."""
    return rng.normal(0, np.sqrt(2 / shape[0]), shape)


def gradient_rms(X: Array, Y: Array, ws: Weights, activation: Activation) -> Array:
    """Return the root mean square of each layer's gradient entries, [layers].

    Args:
        X: inputs [N, inputs].
        Y: one-hot labels [N, K].
        ws, activation: the network.
    """
    gradients = backward(Y, forward(X, ws, activation), ws, activation)
    return np.array([np.sqrt(np.mean(g**2)) for g in gradients])


def activation_std(X: Array, ws: Weights, activation: Activation) -> Array:
    """Return how much the units of each hidden layer tell examples apart, [hidden layers].

    That is the standard deviation of a unit's activation over the examples, the mean of a layer.

    Args:
        X: inputs [N, inputs].
        ws, activation: the network.
    """
    return np.array([a.std(axis=0).mean() for a in forward(X, ws, activation)[1:-1]])


def saturated(X: Array, ws: Weights, activation: Activation) -> list[Array]:
    """Return which activations [N, units] of each hidden layer are saturated.

    Saturated is where the slope is below a tenth of that just above z = 0, the steepest of all;
    for ReLU that is where a unit is off.

    Args:
        X: inputs [N, inputs].
        ws, activation: the network.
    """
    steepest = activation.slope(activation.function(np.array(1e-9)))
    hidden = forward(X, ws, activation)[1:-1]
    return [activation.slope(a) < SATURATED * steepest for a in hidden]


def saturation(X: Array, ws: Weights, activation: Activation) -> Array:
    """Return the share of each hidden layer's activations that are `saturated`, [hidden layers]."""
    return np.array([layer.mean() for layer in saturated(X, ws, activation)])


def stuck_units(X: Array, ws: Weights, activation: Activation) -> Array:
    """Return the share of each layer's units `saturated` by all examples, [hidden layers]."""
    return np.array([layer.all(axis=0).mean() for layer in saturated(X, ws, activation)])


def first_steps(experiment: Experiment, X: Array, Y: Array, seed: int, steps: int) -> Weights:
    """Return the weights after the first steps of a training, at most an epoch's.

    Args:
        experiment, seed: of the training.
        X: its inputs [N, inputs].
        Y: its one-hot labels [N, K].
        steps: how many.
    """
    ws, vs, order_rng = start(experiment, X.shape[1], seed)
    batches = islice(batch_loader(X, Y, experiment.batch_size, order_rng), steps)
    return descend(((snap(x), y) for x, y in batches), ws, vs, experiment)[0]


def loss_along(
    X: Array,
    Y: Array,
    ws: Weights,
    direction: Weights,
    activation: Activation,
    sizes: Sequence[float],
) -> Array:
    """Return the loss C(w - s d) for every step size s, [sizes].

    Args:
        X: inputs [N, inputs].
        Y: one-hot labels [N, K].
        ws: weights w, one matrix per layer.
        direction: d, such as the gradient, of the shapes of the weights.
        activation: of the hidden layers.
        sizes: how far to go.
    """
    stepped = ([w - s * d for w, d in zip(ws, direction, strict=True)] for s in sizes)
    return np.array([cross_entropy_loss(Y, forward(X, new, activation)[-1]) for new in stepped])


TASK_4A = TASK_3C._replace(name="Task 4a", neurons_per_layer=(32, 10))
TASK_4B = TASK_3C._replace(name="Task 4b", neurons_per_layer=(128, 10))
TASK_4E = TASK_3C._replace(name="Task 4e", neurons_per_layer=(*[64] * 10, 10))
TASK_4F = TASK_3C._replace(name="Task 4f", activation=RELU)
TASK_4F_DEEP = TASK_4E._replace(name="Task 4f deep", activation=RELU)
