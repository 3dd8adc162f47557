"""Task 2c: how a network learns, by mini-batch gradient descent with early stopping."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise
from typing import NamedTuple

import numpy as np

from task2a import (
    SIGMOID,
    Activation,
    Array,
    Draw,
    Weights,
    backward,
    cross_entropy_loss,
    forward,
    initialize_weights,
    layer_errors,
    softmax,
    uniform,
)
from utils import EXACT_BELOW, batch_loader, in_digits, settled, small_matrices, snap

VALIDATIONS_PER_EPOCH = 5
PATIENCE = 50  # validations without improvement before training stops
FEW = 1_000  # examples, whose activations in ten layers take a few megabytes
RESERVE = 4  # times that sums may grow between two of the batches in which they are looked at

Update = Callable[[Weights, Weights, list[Array], float], tuple[Weights, Weights]]


def axpy(a: float, x: Array, y: Array) -> Array:
    """Return a x + y, as BLAS calls it, in a single new array: a second one takes as long again."""
    result = a * x
    result += y
    return result


def gradient_descent(
    ws: Weights, vs: Weights, gradients: list[Array], learning_rate: float
) -> tuple[Weights, Weights]:
    """Return w := w - alpha g for every layer, and the velocities `vs`, which it does not use."""
    return [axpy(-learning_rate, g, w) for w, g in zip(ws, gradients, strict=True)], vs


class Experiment(NamedTuple):
    """The settings of one training; those of Task 2c are the defaults."""

    name: str
    neurons_per_layer: tuple[int, ...] = (64, 10)
    draw: Draw = uniform
    activation: Activation = SIGMOID
    update: Update = gradient_descent
    learning_rate: float = 0.1
    batch_size: int = 32
    epochs: int = 50


TASK_2C = Experiment("Task 2c")


class Run(NamedTuple):
    """A finished training; the arrays are [validations]."""

    experiment: Experiment
    seed: int
    epochs: int  # begun, until it stopped
    steps: Array  # gradient steps done at each validation
    train_loss: Array  # of the batches since the validation before, each before its update
    train_accuracy: Array  # likewise
    val_loss: Array  # cross entropy per example, nats
    val_accuracy: Array
    best_weights: Weights  # of the least validation loss
    last_weights: Weights
    kept_weights: dict[int, Weights]  # by the steps done

    @property
    def best(self) -> int:
        """Index of the validation with the least loss, the first of equals."""
        return int(np.argmin(self.val_loss))


def calculate_accuracy(targets: Array, outputs: Array) -> float:
    """Return the share of examples whose largest output (the first of equals) is the target's.

    Args:
        targets: one-hot labels [N, K].
        outputs: probabilities [N, K].
    """
    hits = outputs.argmax(axis=1) == targets.argmax(axis=1)
    return np.count_nonzero(hits) / len(hits)


def predict(X: Array, ws: Weights, activation: Activation) -> Array:
    """Return the outputs [N, K] for inputs X [N, inputs], one or more.

    A few examples at a time, since activations of all of them would be new memory each time.
    """
    parts = (X[first : first + FEW] for first in range(0, len(X), FEW))
    return np.vstack([forward(x, ws, activation)[-1] for x in parts])


def evaluate(targets: Array, outputs: Array) -> tuple[float, float]:
    """Return mean cross entropy and accuracy of outputs [N, K] for one-hot labels [N, K]."""
    return cross_entropy_loss(targets, outputs), calculate_accuracy(targets, outputs)


def should_stop(val_losses: Sequence[float], patience: int = PATIENCE) -> bool:
    """Tell whether the last `patience` validations all failed to improve on the best before."""
    return len(val_losses) - 1 - int(np.argmin(val_losses)) >= patience


def gradients_on_grid(
    x: Array, y: Array, ws: Weights, activation: Activation
) -> tuple[list[Array], list[Array], Weights]:
    """Return gradients, with all numbers that enter a product on the grid.

    Args:
        x, y: inputs [N, inputs] on the grid and one-hot labels [N, K].
        ws, activation: the network.
    Returns:
        The gradients, the values of every layer and the rounded weights that they are of.
    """
    on_grid = activation._replace(function=lambda z: settled(activation.function, z)[1])
    rounded = [snap(w) for w in ws]
    values = forward(x, rounded, on_grid, lambda z: settled(softmax, z)[0])
    return backward(y, values, rounded, activation, snap), values, rounded


def descend(
    batches: Iterable[tuple[Array, Array]], ws: Weights, vs: Weights, experiment: Experiment
) -> tuple[Weights, Weights, Array, Array]:
    """Update the weights once a batch.

    Gradients are those on the grid, and so are the inputs. The weights themselves keep all their
    digits, so that no update is too small to add up.

    Args:
        batches: inputs [N, inputs] and one-hot labels [N, K] of each, one or more.
        ws, vs: weights and velocities, one matrix per layer each.
        experiment: the settings.
    Returns:
        The new weights and velocities; and of all examples in these batches the labels and the
        outputs, [examples, K], those of a batch computed *before* its update.
    Raises:
        ValueError: there is no batch.
        FloatingPointError: sums are, or are soon, too large to be exact.
    """
    f, seen = experiment.activation, []
    for x, y in batches:
        gradients, values, rounded = gradients_on_grid(x, y, ws, f)
        ws, vs = experiment.update(ws, vs, gradients, experiment.learning_rate)
        seen.append((y, values[-1]))
    if not seen:
        raise ValueError(f"{experiment.name}: there are no batches, expected one or more")
    deltas = layer_errors(y, values, rounded, f, snap)
    require_exact_sums(factors(values, deltas, rounded), experiment)
    targets, outputs = (np.vstack(arrays) for arrays in zip(*seen, strict=True))
    return ws, vs, targets, outputs


def factors(values: list[Array], deltas: list[Array], ws: Weights) -> Iterator[tuple[Array, Array]]:
    """Iterate over what `forward` and `backward` multiply, as pairs of matrices.

    Args:
        values: of every layer, as `forward` returns them.
        deltas: of every layer, as `layer_errors` returns them.
        ws: one matrix per layer.
    """
    inputs = values[:-1]
    yield from zip(inputs, ws, strict=True)
    yield from ((delta, w.T) for delta, w in zip(deltas[1:], ws[1:], strict=True))
    yield from ((x.T, delta) for x, delta in zip(inputs, deltas, strict=True))


def require_exact_sums(pairs: Iterable[tuple[Array, Array]], experiment: Experiment) -> None:
    """Raise an error unless the products of these matrices are far from being rounded.

    Args:
        pairs: matrices on the grid, [rows, terms] and [terms, columns].
        experiment: whose they are.
    Raises:
        FloatingPointError: the absolute terms of a sum add up to more than a `RESERVE`th of
            what stays exact.
    """
    largest = np.max([(np.abs(a) @ np.abs(b)).max() for a, b in pairs])  # nan, if one is
    if not largest < EXACT_BELOW / RESERVE:
        raise FloatingPointError(
            f"{experiment.name}: sums reach {largest:,.0f}, expected less than "
            f"{EXACT_BELOW / RESERVE:,.0f}: lower the learning rate {experiment.learning_rate}, "
            "unless the inputs are too large or not finite"
        )


def start(
    experiment: Experiment, num_inputs: int, seed: int
) -> tuple[Weights, Weights, np.random.Generator]:
    """Return initial weights on the grid, velocities of zero, and what draws the order of examples.

    Weights and order are drawn by two generators, so that experiments of one seed share the order.
    """
    weights_rng, order_rng = np.random.default_rng(seed).spawn(2)
    layers = experiment.neurons_per_layer
    ws = [snap(w) for w in initialize_weights(layers, weights_rng, experiment.draw, num_inputs)]
    return ws, [np.zeros_like(w) for w in ws], order_rng


def require_possible(
    experiment: Experiment, X_train: Array, Y_train: Array, X_val: Array, Y_val: Array
) -> None:
    """Raise errors of `train` of which training would only know later, or not at all."""
    if experiment.epochs < 1:
        raise ValueError(f"{experiment.name}: epochs is {experiment.epochs}, expected 1 or more")
    expected = (len(X_val), *X_train.shape[1:]), (len(X_val), *Y_train.shape[1:])
    if not len(X_val) or (X_val.shape, Y_val.shape) != expected:
        raise ValueError(
            f"{experiment.name}: X_val and Y_val have the shapes {X_val.shape} and {Y_val.shape}, "
            f"expected one example or more, and {expected[0]} and {expected[1]}, since X_train and "
            f"Y_train have {X_train.shape} and {Y_train.shape}"
        )
    if strange := X_val.size - np.count_nonzero(np.isfinite(X_val)):
        raise ValueError(
            f"{experiment.name}: {strange} numbers of X_val are not finite, expected none: look "
            "at how the images are preprocessed"
        )
    try:
        experiment.activation.function(in_digits(np.array([0.5])))
    except (AttributeError, TypeError) as error:
        raise TypeError(
            f"{experiment.name}: the activation {experiment.activation.name} cannot be computed "
            f"with more digits ({error}), expected what utils.Digits can do: add to it"
        ) from error
    batch_loader(X_train, Y_train, experiment.batch_size)  # says at once what is wrong with them


def train(
    experiment: Experiment,
    X_train: Array,
    Y_train: Array,
    X_val: Array,
    Y_val: Array,
    seed: int,
    keep_at: Collection[int] = (),
) -> Run:
    """Train until the epochs are over or the validation loss has stopped improving.

    The network is validated after every fifth of an epoch's steps, rounded down, and at the end,
    but not before the first step. After each validation `should_stop` is asked.

    Args:
        experiment: the settings.
        X_train, X_val: preprocessed inputs [N, inputs].
        Y_train, Y_val: one-hot labels [N, K].
        seed: of the initial weights and of the order of the examples.
        keep_at: validations, named by their gradient steps, whose weights are kept if they are
            reached; 0 names the initial weights.
    Raises:
        ValueError: no epoch, no validation example, shapes that do not fit, no such validation,
            an impossible batch size.
        TypeError: the activation cannot be computed with more digits, see `utils.settled`.
        FloatingPointError: sums are, or are soon, too large to be exact, as when it diverges; or
            the validation loss is no finite number.
    """
    require_possible(experiment, X_train, Y_train, X_val, Y_val)
    steps_per_epoch = -(-len(X_train) // experiment.batch_size)
    interval = max(1, steps_per_epoch // VALIDATIONS_PER_EPOCH)
    last = experiment.epochs * steps_per_epoch
    validations = [*range(interval, last, interval), last]
    if strange := {step for step in keep_at if step < last} - {0, *validations}:
        raise ValueError(f"keep_at names step {min(strange)}, expected multiples of {interval}")

    X_train = snap(X_train)
    farthest = np.maximum(X_train.max(axis=0), -X_train.min(axis=0))[np.newaxis]
    ws, vs, order_rng = start(experiment, X_train.shape[1], seed)
    kept = {0: ws} if 0 in keep_at else {}
    epochs = range(experiment.epochs)
    orders = (batch_loader(X_train, Y_train, experiment.batch_size, order_rng) for _ in epochs)
    batches = chain.from_iterable(orders)
    rows, val_losses = [], []
    with small_matrices():
        for done, step in pairwise([0, *validations]):
            ws, vs, *seen = descend(islice(batches, step - done), ws, vs, experiment)
            require_exact_sums([(farthest, ws[0])], experiment)
            loss, accuracy = evaluate(Y_val, predict(X_val, ws, experiment.activation))
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"{experiment.name}: validation loss is {loss} after {step} steps, expected a "
                    "finite number: look at the validation inputs"
                )
            rows.append((step, *evaluate(*seen), loss, accuracy))
            val_losses.append(loss)
            if np.argmin(val_losses) == len(val_losses) - 1:
                best = ws
            if step in keep_at:
                kept[step] = ws
            if should_stop(val_losses):
                break
    begun = -(-step // steps_per_epoch)
    return Run(experiment, seed, begun, *np.array(rows).T, best, ws, kept)
