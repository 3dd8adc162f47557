"""Task 3: three tricks of LeCun et al., "Efficient BackProp" (1998), added one after another."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from IPython.display import Markdown

from task2 import TASK_2C, Experiment, Run, axpy, count_parameters
from task2a import Activation, Array, Weights, forward
from utils import table

SCALE = 1.7159  # the improved sigmoid's limits; with STRETCH, f(1) is 1 and f(-1) is -1
STRETCH = 2 / 3
GAMMA = 0.9
SATURATED = 0.1  # of the steepest slope
TARGET_LOSSES = 0.35, 0.2  # validation losses: all of Task 3 reach the first, its tricks both
SEED_REPORT = {  # the final network of the seed report, Task 3c here
    "training loss": 0.01875,
    "validation loss": 0.14715,
    "training accuracy": 0.99605,
    "validation accuracy": 0.9575,
}


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
    vs = [axpy(gamma, v, g) for v, g in zip(vs, gradients, strict=True)]
    return [axpy(-learning_rate, v, w) for v, w in zip(vs, ws, strict=True)], vs


def add_one_by_one(
    baseline: Experiment, additions: Sequence[Mapping[str, Any]]
) -> list[Experiment]:
    """Return the baseline, the baseline with the first addition, with the first two, and so on."""
    return list(accumulate(additions, lambda sofar, new: sofar._replace(**new), initial=baseline))


def steps_until(run: Run, loss: float) -> float:
    """Return the gradient steps until the validation loss is at most `loss`, inf if it never is."""
    reached = run.history.steps[run.history.val_loss <= loss]
    return int(reached[0]) if reached.size else np.inf


def saturation(X: Array, ws: Weights, activation: Activation) -> Array:
    """Return the share of each hidden layer's activations that are saturated, [hidden layers].

    Saturated is where the slope is below a tenth of that just above z = 0, the steepest of all;
    for ReLU that is where a unit is off.

    Args:
        X: inputs [N, inputs].
        ws, activation: the network.
    """
    steepest = activation.slope(activation.function(np.array(1e-9)))
    hidden = forward(X, ws, activation)[1:-1]
    return np.array([np.mean(activation.slope(a) < SATURATED * steepest) for a in hidden])


def measure(run: Run, X: Array) -> dict[str, Any]:
    """Return what the report's tables tell of a run, at its best weights unless they say otherwise.

    Args:
        run: a finished training.
        X: inputs [N, inputs] on which to look at its hidden units.
    """
    history = run.history
    val_loss, val_accuracy = history.val_loss[history.best], history.val_accuracy[history.best]
    train_loss, train_accuracy = run.best_train
    saturated = saturation(X, run.last_weights, run.experiment.activation)
    return {
        "network": run.experiment.label,
        "parameters": count_parameters(run.best_weights),
        **{f"steps to loss {loss}": steps_until(run, loss) for loss in TARGET_LOSSES},
        "best step": int(history.steps[history.best]),
        "last step": int(history.steps[-1]),
        "last epoch": run.epochs,
        "training loss": train_loss,
        "validation loss": val_loss,
        "training accuracy": train_accuracy,
        "validation accuracy": val_accuracy,
        "last validation loss": history.val_loss[-1],
        "last validation accuracy": history.val_accuracy[-1],
        "gap": val_loss - train_loss,
        "gap at the end": history.val_loss[-1] - run.last_train[0],
        "saturation at the end": saturated.mean() if saturated.size else 0.0,
    }


def measure_all(runs: Mapping[str, Sequence[Run]], X: Array) -> dict[str, list[dict[str, Any]]]:
    """Return `measure` of every run, by the name of the experiment."""
    return {name: [measure(run, X) for run in runs[name]] for name in runs}


def column(measured: Sequence[Mapping[str, Any]], name: str) -> Array:
    """Return one of the measures of the runs of an experiment, [runs]."""
    return np.array([measures[name] for measures in measured])


def measures_table(
    measured: Mapping[str, Sequence[Mapping[str, Any]]], columns: Sequence[str]
) -> Markdown:
    """Return a table with the mean and, over several seeds, the standard deviation.

    Args:
        measured: what `measure` returned for the runs of each experiment.
        columns: which of it to show.
    """
    rows = [
        [of_one[0]["network"], *(spread(column(of_one, name)) for name in columns)]
        for of_one in measured.values()
    ]
    return table(["network", *columns], rows)


def shown_digits(values: Array) -> int:
    """Return how many decimal places tables show: none of counts."""
    return 0 if np.issubdtype(values.dtype, np.integer) else 4


def spread(values: Array) -> str:
    """Return mean and, of different values, standard deviation; counts without digits.

    Infinite is what never happened, as `steps_until` returns it.
    """
    happened = np.isfinite(values)
    if not happened.all():
        return f"in {happened.sum()} of {len(values)} seeds" if happened.any() else "never"
    digits = shown_digits(values)
    std = f"\u00a0±\u00a0{np.std(values, ddof=1):,.{digits}f}" if len(set(values)) > 1 else ""
    return f"{np.mean(values):,.{digits}f}{std}"


def compare(
    measured: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]], name: str
) -> str:
    """Say in words how a measure differs from a baseline's.

    It is called lower or higher only where all pairs of runs, one a seed, agree on that.
    """
    pairs = min(len(measured), len(baseline))
    new, old = (column(of_one[:pairs], name) for of_one in (measured, baseline))
    if not np.isfinite([new, old]).all():
        return f"no comparison of {name} (some runs never reach it)"
    differences = new - old
    if not differences.any():
        return f"the same {name}"
    word, sign = ("lower", -1) if differences.mean() < 0 else ("higher", 1)
    by = f"by {spread(differences * sign)}"
    agreeing, equal = (np.sum(np.sign(differences) == s) for s in (sign, 0))
    if agreeing == pairs:
        return f"**{word} {name}** ({by})"
    ties = f", equal in {equal}" if equal else ""
    return (
        f"no clear difference in {name} "
        f"({word} {by}, but in {agreeing} of {pairs} seeds only{ties})"
    )


def claims(
    measured: Mapping[str, Sequence[Mapping[str, Any]]],
    pairs: Sequence[tuple[str, str]],
    names: Sequence[str],
) -> Markdown:
    """Return one item a pair (experiment, baseline), saying how each named measure differs."""
    return Markdown(
        "\n".join(
            f"- **{new}** against {old}, over {len(measured[new])} seeds: "
            + ", ".join(compare(measured[new], measured[old], name) for name in names)
            + "."
            for new, old in pairs
        )
    )


TASK_3 = add_one_by_one(
    TASK_2C,
    [
        {
            "name": "Task 3a",
            "change": "improved init",
            "draw": fan_in_normal,
            "line": ("#E69F00", "--"),
        },
        {
            "name": "Task 3b",
            "change": "+ improved sigmoid",
            "activation": IMPROVED_SIGMOID,
            "line": ("#56B4E9", "-."),
        },
        {
            "name": "Task 3c",
            "change": "+ momentum",
            "update": momentum,
            "learning_rate": 0.02,
            "line": ("#0072B2", "o-"),
        },
    ],
)
