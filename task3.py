"""Task 3: three tricks of LeCun et al., "Efficient BackProp" (1998), added one after another."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from task2 import Experiment, Run
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


def steps_until(run: Run, loss: float) -> float:
    """Return the gradient steps until the validation loss is at most `loss`, inf if it never is."""
    reached = run.history.steps[run.history.val_loss <= loss]
    return reached[0] if reached.size else np.inf


def at_best(runs: Sequence[Run], measure: str) -> Array:
    """Return a field of `History` at each run's best validation, [runs]."""
    return np.array([getattr(run.history, measure)[run.history.best] for run in runs])


def compare(values: Sequence[float], baseline: Sequence[float], digits: int = 4) -> str:
    """Say how values differ from a baseline's of the same seeds, in words.

    A difference is called one only where every seed agrees on its sign.
    """
    differences = np.subtract(values, baseline)
    mean, n = differences.mean(), len(differences)
    word = "lower" if mean < 0 else "higher"
    agreeing = int(np.sum(np.sign(differences) == np.sign(mean)))
    claim = f"**{word}** in" if agreeing == n else f"**not clearly different**: {word} in only"
    return f"{claim} {agreeing} of {n} seeds, by {abs(mean):.{digits}f} on average"


TASK_2C = Experiment("Task 2c")
TASK_3 = add_one_by_one(
    TASK_2C,
    [
        {"name": "Task 3a", "draw": fan_in_normal, "line": ("#E69F00", "--")},
        {"name": "Task 3b", "activation": IMPROVED_SIGMOID, "line": ("#56B4E9", "-.")},
        {
            "name": "Task 3c",
            "update": momentum,
            "learning_rate": 0.02,
            "line": ("#0072B2", "-"),
        },
    ],
)
