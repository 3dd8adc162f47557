"""Task 4: other topologies, their parameter counts, ReLU, and what happens layer by layer."""

from itertools import count

import numpy as np

from task2a import NUM_CLASSES, Activation, Array, Weights, backward, forward, initialize_weights
from task3 import TASK_3


def count_parameters(ws: Weights, *, bias_in_every_layer: bool = False) -> int:
    """Count the entries of all weight matrices, the bias row of the first one included.

    Args:
        ws: one matrix per layer.
        bias_in_every_layer: count also a bias for each unit of the later layers, which the
            textbook's network has and this one has not.
    """
    later_biases = sum(w.shape[1] for w in ws[1:]) if bias_in_every_layer else 0
    return sum(w.size for w in ws) + later_biases


def largest_width(budget: int, hidden_layers: int, *, bias_in_every_layer: bool = False) -> int:
    """Return the largest width of equal hidden layers whose network stays within the budget.

    Args:
        budget: parameters, as `count_parameters` counts them.
        hidden_layers: how many of that width.
    Raises:
        ValueError: the budget is too small for a width of 1.
    """
    for width in count(1):
        ws = initialize_weights(
            [width] * hidden_layers + [NUM_CLASSES], None, lambda _, shape: np.empty(shape)
        )
        parameters = count_parameters(ws, bias_in_every_layer=bias_in_every_layer)
        if parameters > budget:
            break
    if width == 1:
        raise ValueError(f"budget is {budget}, expected {parameters} parameters or more")
    return width - 1


def relu(z: Array) -> Array:
    """Return max(0, z), elementwise."""
    return np.maximum(0, z)


RELU = Activation("ReLU", relu, lambda a: (a > 0).astype(a.dtype))

SATURATED = 0.1  # of the steepest slope


def gradient_rms(X: Array, Y: Array, ws: Weights, activation: Activation) -> Array:
    """Return the root mean square of each layer's gradient entries, [layers].

    Args:
        X: inputs [N, inputs].
        Y: one-hot labels [N, K].
        ws, activation: the network.
    """
    gradients = backward(Y, forward(X, ws, activation), ws, activation)
    return np.array([np.sqrt(np.mean(g**2)) for g in gradients])


def saturation(X: Array, ws: Weights, activation: Activation) -> Array:
    """Return each hidden layer's share of saturated activations, [hidden layers].

    Saturated is where the slope is below a tenth of that just above z = 0, the steepest of all;
    for ReLU that is where a unit is off.
    """
    steepest = activation.slope(activation.function(np.array(1e-9)))
    hidden = forward(X, ws, activation)[1:-1]
    return np.array([np.mean(activation.slope(a) < SATURATED * steepest) for a in hidden])


TASK_3C = TASK_3[-1]
TASK_4A = TASK_3C._replace(name="4a", neurons_per_layer=(32, 10))
TASK_4B = TASK_3C._replace(name="4b", neurons_per_layer=(128, 10))
TASK_4D = TASK_3C._replace(name="4d", neurons_per_layer=(59, 59, 10))
TASK_4E = TASK_3C._replace(name="4e", neurons_per_layer=(64,) * 10 + (10,))
TASK_4F_SHALLOW = TASK_3C._replace(name="4f: ReLU", activation=RELU)
TASK_4F_DEEP = TASK_4E._replace(name="4f: ReLU", activation=RELU)
