from typing import Any, NamedTuple

import numpy as np
from task2a import *  # noqa: F403
from utils import batch_loader, progress


def gradient_descent(ws, vs, gradients, learning_rate):
    return [*map(lambda w, g: w - learning_rate * g, ws, gradients)], vs


class Experiment(NamedTuple):
    name: str
    neurons_per_layer: tuple = (64, 10)
    draw: Any = uniform
    activation: Any = SIGMOID
    update: Any = gradient_descent
    learning_rate: float = 0.1
    batch_size: int = 32
    epochs: int = 50


TASK_2C = Experiment("Task 2c")


class Run(NamedTuple):
    experiment: Experiment
    seed: int
    epochs: int
    steps: Array
    train_loss: Array
    train_accuracy: Array
    val_loss: Array
    val_accuracy: Array
    best_weights: list
    last_weights: list
    kept_weights: dict


def calculate_accuracy(targets, outputs):
    return np.einsum("nk,nk->n", targets, outputs == outputs.max(1, keepdims=True)).mean()


def evaluate(targets, outputs):
    return np.array([cross_entropy_loss(targets, outputs).item(), calculate_accuracy(targets, outputs)])


def should_stop(val_losses, patience=50):
    before, last = val_losses[:-patience], val_losses[-patience:]
    return len(before) > 0 and min(last) >= min(before)


def descend(batches, ws, vs, experiment):
    seen = []
    for x, y in batches:
        values = forward(x, ws, experiment.activation)
        seen.append(np.stack([y, values[-1]]))
        gradients = backward(y, values, ws, experiment.activation)
        ws, vs = experiment.update(ws, vs, gradients, experiment.learning_rate)
    return ws, vs, *np.concatenate(seen, axis=1)


def train(experiment, X_train, Y_train, X_val, Y_val, seed, keep_at=(), on_validation=lambda *a, **k: None):
    weights_rng, order_rng = np.random.default_rng(seed).spawn(2)
    ws = initialize_weights(experiment.neurons_per_layer, weights_rng, experiment.draw, X_train.shape[-1])
    vs, rows, snapshots = [w * 0 for w in ws], [], []
    with progress(experiment.name, experiment.epochs) as advance:
        for epoch in range(experiment.epochs):
            batches = list(batch_loader(X_train, Y_train, experiment.batch_size, order_rng))
            for part in range(5):
                chunk = batches[part * len(batches) // 5 : (part + 1) * len(batches) // 5]
                ws, vs, *seen = descend(chunk, ws, vs, experiment)
                step = epoch * len(batches) + (part + 1) * len(batches) // 5
                rows.append([step, *evaluate(*seen), *evaluate(Y_val, forward(X_val, ws, experiment.activation)[-1])])
                snapshots.append(ws)
                if should_stop([row[3] for row in rows]):
                    break
            else:
                advance(epoch + 1)
                continue
            break
    history = np.array(rows).T
    return Run(experiment, seed, epoch + 1, *history, snapshots[history[3].argmin()], ws, {})
