"""Task 3: three tricks of LeCun et al., "Efficient BackProp" (1998), added one after another."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from task2 import Experiment
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
    return STRETCH * (SCALE - a**2 / SCALE)


IMPROVED_SIGMOID = Activation("improved sigmoid", improved_sigmoid, improved_sigmoid_slope)


def momentum(
    ws: Weights, vs: Weights, gradients: list[Array], learning_rate: float, gamma: float = GAMMA
) -> tuple[Weights, Weights]:
    """Return v := g + gamma v and w := w - alpha v of every layer, as (weights, velocities)."""
    vs = [g + gamma * v for g, v in zip(gradients, vs, strict=True)]
    return [w - learning_rate * v for w, v in zip(ws, vs, strict=True)], vs


def add_one_by_one(
    baseline: Experiment, additions: Sequence[Mapping[str, Any]]
) -> list[Experiment]:
    """Return the baseline, the baseline with the first addition, with the first two, and so on."""
    return list(accumulate(additions, lambda sofar, new: sofar._replace(**new), initial=baseline))


TASK_2C = Experiment("Task 2c")
TASK_3 = add_one_by_one(
    TASK_2C,
    [
        {"name": "3a: improved init", "draw": fan_in_normal},
        {"name": "3b: + improved sigmoid", "activation": IMPROVED_SIGMOID},
        {"name": "3c: + momentum", "update": momentum, "learning_rate": 0.02},
    ],
)
