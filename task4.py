"""Task 4: other topologies, their parameter counts, ReLU, and what happens layer by layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from IPython.display import Markdown
from threadpoolctl import threadpool_limits

from task2 import Run, count_parameters, descend, evaluate
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
from task3 import TASK_3, column, saturation, shown_digits, spread
from utils import table


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


def relu(z: Array) -> Array:
    """Return max(0, z), elementwise."""
    return np.maximum(0, z)


def relu_slope(a: Array) -> Array:
    """Return the slope where the value of ReLU is a, elementwise; 0 at the kink."""
    return (a > 0).astype(a.dtype)


RELU = Activation("ReLU", relu, relu_slope)


def gradient_rms(X: Array, Y: Array, ws: Weights, activation: Activation) -> Array:
    """Return the root mean square of each layer's gradient entries, [layers].

    Args:
        X: inputs [N, inputs].
        Y: one-hot labels [N, K].
        ws, activation: the network.
    """
    gradients = backward(Y, forward(X, ws, activation), ws, activation)
    return np.array([np.sqrt(np.mean(g**2)) for g in gradients])


def activation_spread(X: Array, ws: Weights, activation: Activation) -> Array:
    """Return how much the units of each hidden layer tell examples apart, [hidden layers].

    That is the standard deviation of a unit's activation over the examples, the mean of a layer.

    Args:
        X: inputs [N, inputs].
        ws, activation: the network.
    """
    return np.array([a.std(axis=0).mean() for a in forward(X, ws, activation)[1:-1]])


def train_on(run: Run, step: int, learning_rate: float, X: Array, Y: Array) -> Weights:
    """Return the weights after one more epoch, from those that a run kept and with no velocity.

    Args:
        run: a finished training; its seed also draws the order of this epoch's batches.
        step: of the weights kept.
        learning_rate: of this epoch.
        X: training inputs [N, inputs].
        Y: one-hot labels [N, K].
    """
    epoch = run.experiment._replace(learning_rate=learning_rate, epochs=1)
    rng = np.random.default_rng(run.seed)
    with threadpool_limits(limits=1, user_api="blas"):
        for ws, *_ in descend(epoch, run.snapshots[step], X, Y, rng):
            last = ws
    return last


def one_more_epoch(
    run: Run, step: int, learning_rate: float, X: Array, Y: Array, X_val: Array
) -> dict[str, Any]:
    """Return measures of the first layer and the loss before and after `train_on` (see there).

    Args:
        X_val: inputs [N, inputs] on which to look at the hidden units.
    """
    f = run.experiment.activation
    measures: dict[str, Any] = {"network": f"{run.experiment.name}, rate {learning_rate}"}
    ends = {"before": run.snapshots[step], "after": train_on(run, step, learning_rate, X, Y)}
    for when, ws in ends.items():
        measures[f"training loss {when}"] = evaluate(X, Y, ws, f)[0]
        measures[f"layer 1 saturated {when}"] = saturation(X_val, ws, f)[0]
    return measures


def snapshots_by_layer(
    run: Run, statistic: Callable[[Weights, Activation], Array]
) -> dict[str, Array]:
    """Return a statistic [layers] of the weights kept during training, by the steps done."""
    return {
        f"{step:,} steps": statistic(ws, run.experiment.activation)
        for step, ws in run.snapshots.items()
    }


# what correct public hand-ins report, from the least to the greatest; mostly for the last weights
PUBLISHED_MEASURES = ("last validation loss", "last validation accuracy", "last epoch")
PUBLISHED = {
    "Task 2c": ((0.288, 0.298), (0.915, 0.918), (47, 50)),
    "Task 3a": ((0.137, 0.148), (0.955, 0.959), (42, 50)),
    "Task 3b": ((0.135, 0.186), (0.960, 0.964), (15, 28)),
    "Task 3c": ((0.136, 0.184), (0.958, 0.965), (13, 19)),
    "Task 4a": ((0.19, 0.224), (0.945, 0.952), (15, 25)),
    "Task 4b": ((0.121, 0.131), (0.966, 0.970), (17, 29)),
    "Task 4d": ((0.172, 0.172), (0.964, 0.965), (15, 15)),
    "Task 4e": ((0.229, 0.236), (0.948, 0.948), (32, 32)),
    "Task 4f deep": ((0.21, 0.25), (0.963, 0.967), None),
}


def published(
    measured: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterator[tuple[str, str, Array, tuple[float, float] | None]]:
    """Yield network, measure, our values [seeds] and the limits of what is published, if it is."""
    for name, ranges in PUBLISHED.items():
        for measure, limits in zip(PUBLISHED_MEASURES, ranges, strict=True):
            yield name, measure, column(measured[name], measure), limits


def published_table(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> Markdown:
    """Return a table of our means beside what is published; bold is outside of it."""
    rows = {name: [name] for name in PUBLISHED}
    for name, _, values, limits in published(measured):
        low, high = limits or (-np.inf, np.inf)
        inside = low <= values.mean().round(shown_digits(values)) <= high
        text = f"{low:g} to {high:g}" if low < high else f"{low:g}"
        rows[name] += [
            spread(values) if inside else f"**{spread(values)}**",
            text if limits else "not given",
        ]
    header = [text for measure in PUBLISHED_MEASURES for text in (measure, "published")]
    return table(["network", *header], list(rows.values()))


def published_reasons(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return, in words, which published ranges our seeds' own range does not touch."""
    apart = []
    for name, measure, values, limits in published(measured):
        if limits and (values.max() < limits[0] or values.min() > limits[1]):
            low, high = spread(values.min(keepdims=True)), spread(values.max(keepdims=True))
            apart.append(f"{measure} of {name} (ours {low} to {high})")
    return f"No value in common for: {'; '.join(apart) or 'nothing'}."


def confusion(targets: Array, outputs: Array) -> npt.NDArray[np.int64]:
    """Count how often class k (row) was taken for class l (column), [K, K].

    Args:
        targets: one-hot labels [N, K].
        outputs: probabilities [N, K].
    """
    return (targets.T @ np.eye(targets.shape[1])[outputs.argmax(axis=1)]).astype(np.int64)


def most_confident_mistakes(targets: Array, outputs: Array, count: int) -> npt.NDArray[np.int64]:
    """Return the indices of the mistakes with the largest probabilities, largest first, [<= count].

    Args:
        targets: one-hot labels [N, K].
        outputs: probabilities [N, K].
        count: how many at most.
    """
    wrong = np.flatnonzero(outputs.argmax(axis=1) != targets.argmax(axis=1))
    order = np.argsort(-np.round(outputs[wrong].max(axis=1), 12), kind="stable")
    return wrong[order[:count]]


TASK_3C = TASK_3[-1]
BUDGET = network_size(TASK_3C.neurons_per_layer)
WIDTH_4D = largest_width(BUDGET, hidden_layers=2)
SWEPT_EPOCHS = 2  # of shorter trainings, which show a trend
SHALLOW = TASK_3C._replace(change="")
DEEP = SHALLOW._replace(name="Task 4e", neurons_per_layer=(*[64] * 10, 10), line=("#D55E00", "--"))
DEEP_SLOW = DEEP._replace(
    name="Task 4e, rate 0.002", learning_rate=0.002, epochs=6, line=("#332288", "-.")
)
DEEP_SIGMOID = DEEP._replace(
    name="Task 4e sigmoid", change="plain sigmoid", activation=SIGMOID, epochs=SWEPT_EPOCHS
)
TASK_4 = [
    SHALLOW._replace(name="Task 4a", neurons_per_layer=(32, 10), line=("#CC79A7", "--")),
    SHALLOW._replace(name="Task 4b", neurons_per_layer=(128, 10), line=("#117733", "-.")),
    SHALLOW._replace(
        name="Task 4d", neurons_per_layer=(WIDTH_4D, WIDTH_4D, 10), line=("#882255", "--")
    ),
    DEEP,
    DEEP_SLOW,
    SHALLOW._replace(name="Task 4f", change="ReLU", activation=RELU, line=("#44AA99", "-.")),
    DEEP._replace(name="Task 4f deep", change="ReLU", activation=RELU, line=("#661100", ":")),
]
WIDTHS = {
    n: SHALLOW._replace(name=f"{n} units", neurons_per_layer=(n, 10), epochs=SWEPT_EPOCHS)
    for n in (4, 8, 16, 32, 64, 128, 256)
}
DEPTHS = {
    n: SHALLOW._replace(
        name=f"depth {n}",
        neurons_per_layer=(*[largest_width(BUDGET, n)] * n, 10),
        epochs=SWEPT_EPOCHS,
    )
    for n in (1, 2, 3, 5, 10)
}
RATES = {  # learning rate, words: experiment
    rate: {
        words: experiment._replace(name=f"{words}, rate {rate}", learning_rate=rate, epochs=1)
        for words, experiment in {"one hidden layer": SHALLOW, "ten hidden layers": DEEP}.items()
    }
    for rate in (0.002, 0.005, 0.01, 0.02, 0.05)
}
