"""What it costs that all numbers that enter a product are rounded, see `utils.snap`."""

import numpy as np

from task2 import gradients_on_grid
from task2a import Activation, Array, Weights, backward, forward
from utils import snap


def rounding_share(X: Array, Y: Array, ws: Weights, activation: Activation) -> Array:
    """Return how far the grid of a training moves gradients, as a share of their size, [layers].

    Args:
        X, Y, ws, activation: as for `forward` and `backward`.
    """
    exact = backward(Y, forward(X, ws, activation), ws, activation)
    rounded, _, _ = gradients_on_grid(snap(X), Y, ws, activation)
    norm = np.linalg.norm
    return np.array([norm(a - b) / norm(b) for a, b in zip(rounded, exact, strict=True)])
