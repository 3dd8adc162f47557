"""What is measured of finished trainings, as arrays over the seeds, and how it is put in words."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt

from report import remembered
from task2 import Experiment, Run, evaluate, predict
from task2a import Activation, Array, Weights, backward, count_parameters, forward
from task4 import loss_along, saturation
from utils import small_matrices

Measures = dict[str, dict[str, npt.NDArray]]  # values [seeds] by experiment and measure

SOURCE = Path(__file__).read_bytes()  # of the code here, whatever is edited later
TARGET_LOSS = 0.2  # of the validation: all networks with the tricks of Task 3 reach it


def settings_in_words(experiment: Experiment) -> dict[str, str]:
    """Return what each setting of an experiment but its name is called in a legend."""
    hidden = experiment.neurons_per_layer[:-1]
    groups = [(width, len(list(same))) for width, same in groupby(hidden)]
    widths = ", ".join(f"{n} × {width}" if n > 1 else f"{width}" for width, n in groups)
    return {
        "neurons_per_layer": f"{widths or 'no hidden'} units",
        "draw": f"{experiment.draw.__name__.replace('_', ' ')} weights",
        "activation": experiment.activation.name,
        "update": experiment.update.__name__.replace("_", " "),
        "learning_rate": f"rate {experiment.learning_rate:g}",
        "batch_size": f"batches of {experiment.batch_size}",
        "epochs": f"at most {experiment.epochs} epochs",
    }


def labels(experiments: Sequence[Experiment]) -> dict[str, str]:
    """Return a label for each experiment's name: it, and the settings in which they differ."""
    words = {experiment.name: settings_in_words(experiment) for experiment in experiments}
    differing = [
        setting
        for setting in next(iter(words.values()), ())
        if len({of_one[setting] for of_one in words.values()}) > 1
    ]
    return {
        name: f"{name}: {', '.join(of_one[setting] for setting in differing)}".removesuffix(": ")
        for name, of_one in words.items()
    }


def steps_until(run: Run, loss: float) -> float:
    """Return the gradient steps until the validation loss is at most `loss`, inf if it never is."""
    reached = run.steps[run.val_loss <= loss]
    return reached[0] if reached.size else np.inf


def evaluate_network(
    X: Array, Y: Array, ws: Weights, activation: Activation
) -> tuple[float, float]:
    """Return loss and accuracy of a network for inputs [N, inputs] and one-hot labels [N, K]."""
    return evaluate(Y, predict(X, ws, activation))


def measures_of(run: Run, X_train: Array, Y_train: Array, X_val: Array) -> dict[str, float]:
    """Return what the report tells of a run, at its best weights unless the name says otherwise.

    Args:
        run: a finished training.
        X_train, Y_train: all that it was trained on.
        X_val: inputs on which to look at its hidden units.
    """
    f, best = run.experiment.activation, run.best
    train_loss, train_accuracy = evaluate_network(X_train, Y_train, run.best_weights, f)
    end_loss, end_accuracy = evaluate_network(X_train, Y_train, run.last_weights, f)
    saturated = saturation(X_val, run.last_weights, f)
    return {
        "parameters": count_parameters(run.best_weights),
        f"steps to loss {TARGET_LOSS}": steps_until(run, TARGET_LOSS),
        "best step": int(run.steps[best]),
        "last step": int(run.steps[-1]),
        "last epoch": run.epochs,
        "training loss": train_loss,
        "validation loss": run.val_loss[best],
        "training accuracy": train_accuracy,
        "validation accuracy": run.val_accuracy[best],
        "final training loss": end_loss,
        "final validation loss": run.val_loss[-1],
        "final training accuracy": end_accuracy,
        "final validation accuracy": run.val_accuracy[-1],
        "overfitting": run.val_loss[-1] - end_loss,
        "final saturation": saturated.mean() if saturated.size else 0.0,
    }


def accuracy_of(run: Run, X: Array, Y: Array) -> dict[str, float]:
    """Return the accuracy of a run at its best weights."""
    return {"accuracy": evaluate_network(X, Y, run.best_weights, run.experiment.activation)[1]}


def of_every_run(
    runs: Mapping[str, Sequence[Run]], function: Callable[..., Mapping[str, float]], *data: Array
) -> Measures:
    """Return function(run, *data) of all runs as arrays over the seeds, computed side by side.

    What was measured before, by the same code of the same runs, is taken from `remembered`.
    """
    asked = [run for of_one in runs.values() for run in of_one]
    places = remembered.places_of_measures(function, asked, data)
    found = [remembered.load(place) for place in places]
    missing = [i for i, of_run in enumerate(found) if of_run is None]
    # a run a thread, since NumPy lets others compute meanwhile
    with small_matrices(), ThreadPoolExecutor(joblib.cpu_count()) as threads:
        measured = [*threads.map(lambda i: function(asked[i], *data), missing)]
    for i, of_run in zip(missing, measured, strict=True):
        found[i] = of_run
        remembered.store(places[i], of_run)
    in_order = iter(found)
    return {name: by_measure([*islice(in_order, len(of_one))]) for name, of_one in runs.items()}


def measure_all(
    runs: Mapping[str, Sequence[Run]], X_train: Array, Y_train: Array, X_val: Array
) -> Measures:
    """Return `measures_of` all runs, as arrays over the seeds by experiment and measure."""
    return of_every_run(runs, measures_of, X_train, Y_train, X_val)


def accuracies(runs: Mapping[str, Sequence[Run]], X: Array, Y: Array) -> dict[str, npt.NDArray]:
    """Return the accuracy of every run at its best weights, [seeds] by experiment."""
    return {name: of["accuracy"] for name, of in of_every_run(runs, accuracy_of, X, Y).items()}


def by_measure(of_runs: Sequence[Mapping[str, float]]) -> dict[str, npt.NDArray]:
    """Return what was measured of the runs of one experiment as arrays [runs] by measure."""
    return {name: np.array([of_one[name] for of_one in of_runs]) for name in of_runs[0]}


def layer_statistics(run: Run, statistic: Callable[..., Array], *data: Array) -> dict[str, Array]:
    """Return statistic(*data, weights, activation) of the weights kept, by the steps done."""
    f = run.experiment.activation
    return {f"{step:,} steps": statistic(*data, ws, f) for step, ws in run.kept_weights.items()}


def crossed(
    base: Experiment, lines: Mapping[str, Mapping], points: Mapping[float, Mapping]
) -> dict[str, dict[float, Experiment]]:
    """Return variations of an experiment, by the settings of each line and of each point."""
    return {
        line: {
            point: base._replace(name=f"{line}, {point:g}", **settings, **others)
            for point, others in points.items()
        }
        for line, settings in lines.items()
    }


def of_crossed(
    measured: Measures, crossing: Mapping[str, Mapping[float, Experiment]], measure: str
) -> dict[str, dict[float, npt.NDArray]]:
    """Return a measure [seeds] of each of the `crossed` experiments, by line and point."""
    return {
        line: {point: measured[e.name][measure] for point, e in points.items()}
        for line, points in crossing.items()
    }


def scan(
    X: Array, Y: Array, weights: Sequence[Weights], activation: Activation, sizes: Sequence[float]
) -> dict[float, Array]:
    """Return the loss along the gradient as a share of that before, [networks] by size of the step.

    Args:
        X: inputs [N, inputs].
        Y: one-hot labels [N, K].
        weights: of some networks of this activation.
        sizes: of the steps.
    """
    losses = []
    with small_matrices():
        for ws in weights:
            gradients = backward(Y, forward(X, ws, activation), ws, activation)
            losses.append(loss_along(X, Y, ws, gradients, activation, [0, *sizes]))
    before, *after = np.transpose(losses)
    return {size: values / before for size, values in zip(sizes, after, strict=True)}


def confusion(targets: Array, outputs: Array) -> npt.NDArray[np.int64]:
    """Count how often class k (row) was taken for class l (column), [K, K].

    Args:
        targets: one-hot labels [N, K].
        outputs: probabilities [N, K].
    """
    return (targets.T @ np.eye(targets.shape[1])[outputs.argmax(axis=1)]).astype(np.int64)


def most_confident_mistakes(targets: Array, outputs: Array, most: int) -> npt.NDArray[np.int64]:
    """Return the indices of the mistakes with the largest probabilities, largest first, [<= most].

    Args:
        targets: one-hot labels [N, K].
        outputs: probabilities [N, K].
        most: how many at most.
    """
    wrong = np.flatnonzero(outputs.argmax(axis=1) != targets.argmax(axis=1))
    order = np.argsort(-np.round(outputs[wrong].max(axis=1), 12), kind="stable")
    return wrong[order[:most]]


def in_words(values: npt.NDArray, digits: int = 4, spread: bool = True) -> str:
    """Return the mean in words; whole numbers get no digits.

    Args:
        values: of some runs [runs]; infinite is what never happened, as in `steps_until`.
        digits: of other numbers.
        spread: whether the standard deviation follows, if the values differ.
    """
    happened = np.isfinite(values)
    if not happened.all():
        return f"in {happened.sum()} of {len(values)} runs" if happened.any() else "never"
    digits = 0 if (values == values.round()).all() and values.max() > 1 else digits
    std = f"\u00a0±\u00a0{np.std(values, ddof=1):,.{digits}f}" if len(set(values)) > 1 else ""
    return f"{np.mean(values):,.{digits}f}{std if spread else ''}"


def separation(new: npt.NDArray, old: npt.NDArray) -> int:
    """Return 1 or -1 where every run of `new` is above, or below, every run of `old`, else 0."""
    return int(new.min() > old.max()) - int(new.max() < old.min())
