"""Task 3: three tricks of LeCun et al., "Efficient BackProp" (1998), added one after another."""

import numpy as np

from task2 import TASK_2C, axpy
from task2a import Activation, Array, Weights

SCALE = 1.7159  # the improved sigmoid's limits; with STRETCH, f(1) is 1 and f(-1) is -1
STRETCH = 2 / 3
GAMMA = 0.9


def fan_in_normal(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draw one layer's weights [inputs, outputs], normal with mean 0 and std 1 / sqrt(inputs)."""
    return rng.normal(0, 1 / np.sqrt(shape[0]), shape)


def improved_sigmoid(z: Array) -> Array:
    """Return 1.7159 tanh(2 z / 3), elementwise."""
    return SCALE * np.tanh(STRETCH * z)


def improved_sigmoid_slope(a: Array) -> Array:
    """Return the slope where the improved sigmoid's value is a, elementwise (Task 3b)."""
    return STRETCH / SCALE * (SCALE**2 - a**2)


IMPROVED_SIGMOID = Activation("improved sigmoid", improved_sigmoid, improved_sigmoid_slope)


def momentum(
    ws: Weights, vs: Weights, gradients: list[Array], learning_rate: float, gamma: float = GAMMA
) -> tuple[Weights, Weights]:
    """Return v := g + gamma v and w := w - alpha v of every layer, as (weights, velocities)."""
    vs = [axpy(gamma, v, g) for v, g in zip(vs, gradients, strict=True)]
    return [axpy(-learning_rate, v, w) for v, w in zip(vs, ws, strict=True)], vs


TASK_3A = TASK_2C._replace(name="Task 3a", draw=fan_in_normal)
TASK_3B = TASK_3A._replace(name="Task 3b", activation=IMPROVED_SIGMOID)
TASK_3C = TASK_3B._replace(name="Task 3c", update=momentum, learning_rate=0.02)
