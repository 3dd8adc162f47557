"""Task 2c: how a network learns, by mini-batch gradient descent with early stopping."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from multiprocessing import parent_process
from threading import Thread
from time import sleep
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_limits

from task2a import (
    SIGMOID,
    Activation,
    Array,
    Draw,
    Weights,
    backward,
    cross_entropy_loss,
    forward,
    gradient_approximation_test,
    initialize_weights,
    uniform,
)
from utils import batch_loader, progress

VALIDATIONS_PER_EPOCH = 5
PATIENCE = 50  # validations without improvement before training stops
SNAP_BITS = 16
ACCEPTED_RISK = 0.01  # of a difference between two machines, in one run
MOMENTS = (0, 100, 1250, 5000)  # gradient steps after which weights are kept, to look inside
EVALUATED_TOGETHER = 1000  # examples whose activations stay in the processor's cache

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
    change: str = ""  # in words, what is new
    neurons_per_layer: tuple[int, ...] = (64, 10)
    draw: Draw = uniform
    activation: Activation = SIGMOID
    update: Update = gradient_descent
    learning_rate: float = 0.1
    batch_size: int = 32
    epochs: int = 50
    line: tuple[str, str] = ("black", "-")  # colour, and mark and dash, in every figure

    @property
    def label(self) -> str:
        """Name, topology and what is new, as legends and tables show them."""
        groups = [(width, len(list(same))) for width, same in groupby(self.neurons_per_layer)]
        widths = (f"{n} x {width}" if n > 2 else ", ".join([f"{width}"] * n) for width, n in groups)
        return f"{self.name} [{', '.join(widths)}] {self.change}".rstrip()


TASK_2C = Experiment("Task 2c")


class History(NamedTuple):
    """What was measured at every validation, each an array [validations]."""

    steps: Array  # gradient steps done
    train_loss: Array  # of the batches since the validation before, each before its update
    train_accuracy: Array  # likewise
    val_loss: Array  # cross entropy per example, nats
    val_accuracy: Array

    @property
    def best(self) -> int:
        """Index of the validation with the least loss, the first of equals."""
        return int(np.argmin(self.val_loss))


class Run(NamedTuple):
    """A finished training; `best_weights` are those of validation `history.best`."""

    experiment: Experiment
    seed: int
    epochs: int  # begun, until it stopped
    history: History
    best_weights: Weights
    last_weights: Weights
    best_train: tuple[float, float]  # loss and accuracy of the best weights, all training examples
    last_train: tuple[float, float]  # and of the last ones
    snapshots: dict[int, Weights]


def snap(values: Array, bits: int = SNAP_BITS, out: Array | None = None) -> Array:
    """Round to the nearest multiple of 2**-bits, into a new array or `out`.

    BLAS libraries sum in different orders, and training amplifies the last bit. Rounded gradients
    are the same on every machine, unless a value lies within that last bit of a tie.
    """
    mantissa = np.finfo(values.dtype).nmant
    shift = values.dtype.type(1.5 * 2.0 ** (mantissa - bits))  # leaves no room for finer digits
    snapped = np.add(values, shift, out=out)
    snapped -= shift
    return snapped


def snap_accidents(
    X: Array, Y: Array, ws: Weights, activation: Activation, rng: np.random.Generator
) -> float:
    """Estimate how many gradient entries of one update another machine would snap elsewhere.

    Another order of the examples and of the inputs stands for another machine: it rounds the same
    sums differently. A difference moves an entry across a tie with the probability that it is of
    the grid's step.

    Args:
        X: inputs of a batch [N, inputs].
        Y: its one-hot labels [N, K].
        ws, activation: the network.
        rng: draws the other order.
    """
    examples, inputs = rng.permutation(len(X)), rng.permutation(X.shape[1])
    here = backward(Y, forward(X, ws, activation), ws, activation)
    here[0] = here[0][inputs]
    X, Y, ws = X[examples][:, inputs], Y[examples], [ws[0][inputs], *ws[1:]]
    there = backward(Y, forward(X, ws, activation), ws, activation)
    return sum(float(np.abs(g - h).sum()) for g, h in zip(here, there, strict=True)) * 2**SNAP_BITS


def weights_digest(*runs: Run) -> str:
    """Return the SHA-256 of all bits of the best and the last weights of one run, or of several."""
    weights = [w for run in runs for w in (*run.best_weights, *run.last_weights)]
    return hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest()


def count_parameters(ws: Weights, *, bias_in_every_layer: bool = False) -> int:
    """Count the entries of all weight matrices, the bias row of the first one included.

    Args:
        ws: one matrix per layer.
        bias_in_every_layer: count also a bias for each unit of the later layers, which the
            textbook's network has and this one has not.
    """
    later_biases = sum(w.shape[1] for w in ws[1:]) if bias_in_every_layer else 0
    return sum(w.size for w in ws) + later_biases


def calculate_accuracy(targets: Array, outputs: Array) -> float:
    """Return the share of examples whose largest output (the first of equals) is the target's.

    Args:
        targets: one-hot labels [N, K].
        outputs: probabilities [N, K].
    """
    hits = outputs.argmax(axis=1) == targets.argmax(axis=1)
    return np.count_nonzero(hits) / len(hits)


def evaluate(X: Array, Y: Array, ws: Weights, activation: Activation) -> tuple[float, float]:
    """Return the mean cross entropy and the accuracy for inputs [N, inputs], labels [N, K]."""
    parts = (X[i : i + EVALUATED_TOGETHER] for i in range(0, len(X), EVALUATED_TOGETHER))
    outputs = np.vstack([forward(part, ws, activation, order="F")[-1] for part in parts])
    return cross_entropy_loss(Y, outputs), calculate_accuracy(Y, outputs)


def should_stop(val_losses: Sequence[float], patience: int = PATIENCE) -> bool:
    """Tell whether the last `patience` validations all failed to improve on the best before."""
    return len(val_losses) - 1 - int(np.argmin(val_losses)) >= patience


def train_step(
    X: Array, Y: Array, ws: Weights, vs: Weights, experiment: Experiment
) -> tuple[Weights, Weights, Array]:
    """Do one update on a batch of inputs [N, inputs] and one-hot labels [N, K].

    Returns:
        The new weights and velocities, and the outputs [N, K] *before* the update.
    """
    values = forward(X, ws, experiment.activation)
    gradients = [snap(g, out=g) for g in backward(Y, values, ws, experiment.activation)]
    ws, vs = experiment.update(ws, vs, gradients, experiment.learning_rate)
    return ws, vs, values[-1]


def descend(
    experiment: Experiment, ws: Weights, X: Array, Y: Array, rng: np.random.Generator
) -> Iterator[tuple[Weights, Array, Array]]:
    """Yield the weights after every gradient step of all epochs, and its batch's Y and outputs.

    To limit BLAS to one thread, since matrices this small gain nothing from more, is up to the
    caller.
    """
    vs = [np.zeros_like(w) for w in ws]
    np.empty(4_000_000)  # freed at once: from then on glibc keeps freed memory of up to this size
    for _ in range(experiment.epochs):
        for x, y in batch_loader(X, Y, experiment.batch_size, rng):
            ws, vs, outputs = train_step(x, y, ws, vs, experiment)
            yield ws, y, outputs


class Checkpoint(NamedTuple):
    """What a training has reached when it is time to validate."""

    step: int
    epoch: int  # begun
    ws: Weights
    train_scores: tuple[float, float]  # loss and accuracy since the checkpoint before
    snapshots: dict[int, Weights]


def checkpoints(
    experiment: Experiment,
    initial: Weights,
    X: Array,
    Y: Array,
    rng: np.random.Generator,
    snapshots_at: Collection[int],
) -> Iterator[Checkpoint]:
    """Yield what `descend` has reached, `VALIDATIONS_PER_EPOCH` times an epoch.

    Args:
        experiment: the settings.
        initial: weights, one matrix per layer.
        X: inputs [N, inputs].
        Y: one-hot labels [N, K].
        rng: draws the order of the examples.
        snapshots_at: as for `train`.
    """
    batches_per_epoch = -(-len(X) // experiment.batch_size)
    snapshots = {0: initial} if 0 in snapshots_at else {}
    batches = []
    for step, (ws, *batch) in enumerate(descend(experiment, initial, X, Y, rng), start=1):
        batches.append(batch)
        if step in snapshots_at:
            snapshots = {**snapshots, step: ws}
        if step * VALIDATIONS_PER_EPOCH % batches_per_epoch < VALIDATIONS_PER_EPOCH:
            seen = [np.vstack(arrays) for arrays in zip(*batches, strict=True)]
            batches.clear()
            scores = cross_entropy_loss(*seen), calculate_accuracy(*seen)
            yield Checkpoint(step, -(-step // batches_per_epoch), ws, scores, snapshots)


def prefetched(items: Iterator[Checkpoint]) -> Iterator[Checkpoint]:
    """Yield the items, each made in a second thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item


def train(
    experiment: Experiment,
    X_train: Array,
    Y_train: Array,
    X_val: Array,
    Y_val: Array,
    seed: int,
    snapshots_at: Collection[int] = (),
    on_validation: Callable[..., None] = lambda epoch, **measures: None,
    overlap: bool = False,
) -> Run:
    """Train until the epochs are over or the validation loss has stopped improving.

    Args:
        experiment: the settings.
        X_train, X_val: preprocessed inputs [N, inputs].
        Y_train, Y_val: one-hot labels [N, K].
        seed: of the initial weights and of the order of the examples.
        snapshots_at: gradient steps after which the weights are kept, 0 for the initial ones.
        on_validation: called as on_validation(epoch, loss=..., accuracy=...) after each of them.
        overlap: while the weights are validated, go on to the next validation in a second thread,
            which is faster where a core is to spare; the results are the same.
    Raises:
        ValueError: no epoch, no validation example, or an impossible batch size.
        FloatingPointError: the loss is no longer a finite number.
    """
    if experiment.epochs < 1:
        raise ValueError(f"{experiment.label}: epochs is {experiment.epochs}, expected 1 or more")
    if not len(X_val):
        raise ValueError(f"X_val has shape {X_val.shape}, expected one example or more")
    batch_loader(X_train, Y_train, experiment.batch_size)  # says at once what is wrong with them
    rng = np.random.default_rng(seed)
    drawn = initialize_weights(experiment.neurons_per_layer, rng, experiment.draw, X_train.shape[1])
    initial = [snap(w) for w in drawn]  # the normal distribution rests on libm
    reached = checkpoints(experiment, initial, X_train, Y_train, rng, snapshots_at)
    records = []
    with (
        threadpool_limits(limits=1, user_api="blas"),
        closing(prefetched(reached) if overlap else reached) as reached,
    ):
        for at in reached:
            loss, accuracy = evaluate(X_val, Y_val, at.ws, experiment.activation)
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"{experiment.label}: validation loss is {loss} after {at.step} steps, "
                    "expected a finite number: lower the learning rate "
                    f"{experiment.learning_rate}, unless the inputs are not finite"
                )
            records.append((at.step, *at.train_scores, loss, accuracy))
            history = History(*np.array(records).T)
            if history.best == len(records) - 1:
                best = at
            on_validation(at.epoch, loss=loss, accuracy=accuracy)
            if should_stop(history.val_loss):
                break
        last_train = best_train = evaluate(X_train, Y_train, at.ws, experiment.activation)
        if best is not at:
            best_train = evaluate(X_train, Y_train, best.ws, experiment.activation)
    return Run(
        experiment, seed, at.epoch, history, best.ws, at.ws, best_train, last_train, at.snapshots
    )


def check_gradients(experiment: Experiment, X: Array, Y: Array, seed: int) -> Array:
    """Return `gradient_approximation_test` for an experiment's network as it is drawn."""
    rng = np.random.default_rng(seed)
    ws = initialize_weights(experiment.neurons_per_layer, rng, experiment.draw, X.shape[1])
    return gradient_approximation_test(X, Y, ws, experiment.activation, rng=rng)


def end_with_parent() -> None:
    """Have this worker end soon after the process that started it, however that ended."""
    parent = parent_process()

    def watch() -> None:
        if os.name == "nt":  # where the parent's number stays, and there is a handle to wait for
            parent.join()
        else:
            while os.getppid() == parent.pid:
                sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def train_all(
    experiments: Sequence[Experiment],
    *data: Array,
    seeds: Iterable[int],
    snapshots_at: Collection[int] = (),
    jobs: int = -1,
) -> dict[str, list[Run]]:
    """Train every experiment once a seed, side by side, each in a process with one BLAS thread.

    A few runs for many cores validate in a second thread, see `train`.
    At the end joblib's workers, which are shared by all of this process, are ended.

    Args:
        experiments: of different names.
        data, snapshots_at: as for `train`, shared by all of them.
        seeds: one for each run of an experiment; without any there are none.
        jobs: processes, as joblib counts them: -1 is one a core; 1 trains in this process.
    Returns:
        The runs of each experiment's name, in the order of the seeds; they do not depend on `jobs`.
    Raises:
        ValueError: two experiments have one name.
        FloatingPointError: one of them diverged.
    """
    runs: dict[str, list[Run]] = {experiment.name: [] for experiment in experiments}
    if len(runs) < len(experiments):
        raise ValueError(
            f"experiments are {[e.name for e in experiments]}, expected a different name for each"
        )
    seeds = list(seeds)  # to go through once for each experiment
    largest_first = sorted(experiments, key=lambda e: -sum(e.neurons_per_layer))  # fills the end
    pairs = [(experiment, seed) for experiment in largest_first for seed in seeds]
    overlap = len(pairs) < 2 * effective_n_jobs(jobs)  # more leave cores idle only at the end
    trainings = [delayed(train)(e, *data, s, snapshots_at, overlap=overlap) for e, s in pairs]
    try:
        with progress("runs", len(trainings)) as show:
            finished = Parallel(jobs, return_as="generator", initializer=end_with_parent)(trainings)
            for done, run in enumerate(finished, start=1):
                runs[run.experiment.name].append(run)
                show(done, last=run.experiment.label, loss=run.history.val_loss[run.history.best])
    finally:  # an idle worker would keep the task files as they were, whatever is edited since
        if jobs != 1:
            get_reusable_executor(reuse=True).shutdown(kill_workers=True)
    return runs
