"""Task 4: other topologies, their parameter counts, ReLU, and what happens layer by layer."""

from collections.abc import Mapping, Sequence
from itertools import count

import numpy as np
from IPython.display import Markdown

from task2 import Run, evaluate
from task2a import (
    NUM_CLASSES,
    SIGMOID,
    Activation,
    Array,
    Weights,
    backward,
    forward,
    initialize_weights,
)
from task3 import TASK_3, at_best
from utils import table


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


def spread(values: Array, digits: int) -> str:
    """Return the mean and, of several runs, the standard deviation, as text."""
    std = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{std}"


def results_table(runs: Mapping[str, Sequence[Run]], X_train: Array, Y_train: Array) -> Markdown:
    """Return a table of all runs, at their best weights, mean and standard deviation over seeds.

    Args:
        runs: the runs of each experiment, one a seed.
        X_train, Y_train: inputs [N, inputs] and one-hot labels [N, K] they were trained on.
    """
    header = ["network", "parameters", "steps", "epochs", "training loss", "validation loss"]
    rows = []
    for of_one in runs.values():
        experiment = of_one[0].experiment
        steps = np.array([run.history.steps[-1] for run in of_one])
        train = [evaluate(X_train, Y_train, r.best_weights, experiment.activation) for r in of_one]
        train_loss, train_accuracy = np.transpose(train)
        rows.append(
            [
                experiment.label,
                f"{count_parameters(of_one[0].best_weights):,}",
                f"{steps.mean():,.0f}",
                f"{steps.mean() * experiment.batch_size / len(X_train):.1f}",
                spread(train_loss, 4),
                spread(at_best(of_one, "val_loss"), 4),
                spread(100 * train_accuracy, 2),
                spread(100 * at_best(of_one, "val_accuracy"), 2),
            ]
        )
    return table([*header, "training accuracy (%)", "validation accuracy (%)"], rows)


# (validation loss, accuracy, epoch of the stop) that correct public hand-ins report, single runs
PUBLISHED = {
    "Task 2c": ("0.288 to 0.298", "91.5 to 91.8 %", "47 to 50"),
    "Task 3a": ("0.137 to 0.148", "95.5 to 95.9 %", "42 to 50"),
    "Task 3b": ("0.135 to 0.186", "96.0 to 96.4 %", "15 to 28"),
    "Task 3c": ("0.136 to 0.184", "95.8 to 96.5 %", "13 to 19"),
    "Task 4a": ("0.19 to 0.224", "94.5 to 95.2 %", "15 to 25"),
    "Task 4b": ("0.121 to 0.131", "96.6 to 97.0 %", "17 to 29"),
    "Task 4d": ("0.172", "96.4 to 96.5 %", "15"),
    "Task 4e": ("0.229 to 0.236", "94.8 %", "32"),
    "Task 4f, ten layers": ("0.21 to 0.25", "96.3 to 96.7 %", "not given"),
}
SEED_REPORT = {  # the final network of the seed report, Task 3c here
    "training loss": 0.01875,
    "validation loss": 0.14715,
    "training accuracy": 0.99605,
    "validation accuracy": 0.9575,
}

TASK_3C = TASK_3[-1]
TEN_LAYERS = (*[64] * 10, NUM_CLASSES)
TASK_4A = TASK_3C._replace(name="Task 4a", neurons_per_layer=(32, 10), line=("#CC79A7", "--"))
TASK_4B = TASK_3C._replace(name="Task 4b", neurons_per_layer=(128, 10), line=("#000000", "-."))
TASK_4D = TASK_3C._replace(name="Task 4d", neurons_per_layer=(59, 59, 10), line=("#E69F00", "--"))
TASK_4E = TASK_3C._replace(name="Task 4e", neurons_per_layer=TEN_LAYERS, line=("#D55E00", "--"))
PLAIN_SIGMOID = TASK_4E._replace(
    name="Task 4e, plain sigmoid", activation=SIGMOID, line=("#000000", ":")
)
TASK_4F = [
    TASK_3C._replace(name="Task 4f", activation=RELU, line=("#56B4E9", "-.")),
    TASK_4E._replace(name="Task 4f, ten layers", activation=RELU, line=("#009E73", ":")),
]
TASK_4 = [TASK_4A, TASK_4B, TASK_4D, TASK_4E, PLAIN_SIGMOID, *TASK_4F]
