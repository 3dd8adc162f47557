"""Finished trainings made up for tests: small, and so uneven that no two values are alike."""

from itertools import pairwise

import numpy as np

from task2 import Run
from task3 import TASK_3C


def weights(rng, layers, inputs=4):
    """Return random matrices of these widths, one per layer."""
    return [rng.normal(0, 2, shape) for shape in pairwise([inputs, *layers])]


def a_run(val_loss, experiment=TASK_3C, seed=0, **fields):
    """Return a run with this validation loss, all else random unless `fields` names it.

    Validations are 500 steps apart.
    """
    rng = np.random.default_rng([seed, len(val_loss)])
    n, layers = len(val_loss), (3, 5, 2)
    made_up = {
        "experiment": experiment,
        "seed": seed,
        "epochs": -(-n // 5),
        "steps": 500.0 * np.arange(1, n + 1),
        "train_loss": rng.uniform(0.1, 3, n),
        "train_accuracy": rng.uniform(0.1, 0.9, n),
        "val_loss": np.array(val_loss, dtype=float),
        "val_accuracy": rng.uniform(0.1, 0.9, n),
        "best_weights": weights(rng, layers),
        "last_weights": weights(rng, layers),
        "kept_weights": {step: weights(rng, layers) for step in (0, 500, 1500)},
    }
    return Run(**made_up | fields)


def data(examples, seed=0, inputs=4, classes=2):
    """Return random inputs [examples, inputs] and one-hot labels [examples, classes]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(examples, inputs)), np.eye(classes)[rng.integers(0, classes, examples)]
