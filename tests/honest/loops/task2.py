import math
from typing import NamedTuple

import numpy as np
from task2a import (
    SIGMOID,
    backward,
    cross_entropy_loss,
    forward,
    initialize_weights,
    uniform,
)


def gradient_descent(ws, vs, gradients, learning_rate):
    new = []
    for w, gradient in zip(ws, gradients):
        new.append(w - learning_rate * gradient)
    return new, vs


class Experiment(NamedTuple):
    name: str
    neurons_per_layer: tuple = (64, 10)
    draw: object = uniform
    activation: object = SIGMOID
    update: object = gradient_descent
    learning_rate: float = 0.1
    batch_size: int = 32
    epochs: int = 50


TASK_2C = Experiment("Task 2c")


class Run(NamedTuple):
    experiment: Experiment
    seed: int
    epochs: int
    steps: list
    train_loss: list
    train_accuracy: list
    val_loss: list
    val_accuracy: list
    best_weights: list
    last_weights: list
    kept_weights: dict


def calculate_accuracy(targets, outputs):
    correct = 0
    for target, output in zip(targets, outputs):
        if list(target).index(max(target)) == list(output).index(max(output)):
            correct += 1
    return correct / len(targets)


def evaluate(targets, outputs):
    return cross_entropy_loss(targets, outputs), calculate_accuracy(targets, outputs)


def should_stop(val_losses, patience=50):
    best = math.inf
    since = 0
    for loss in val_losses:
        since += 1
        if loss < best:
            best = loss
            since = 0
    return since >= patience


def descend(batches, ws, vs, experiment):
    targets, outputs = [], []
    for x, y in batches:
        values = forward(x, ws, experiment.activation)
        gradients = backward(y, values, ws, experiment.activation)
        ws, vs = experiment.update(ws, vs, gradients, experiment.learning_rate)
        targets.extend(y)
        outputs.extend(values[-1])
    return ws, vs, targets, outputs


def train(experiment, X_train, Y_train, X_val, Y_val, seed, keep_at=(), on_validation=None):
    rng = np.random.default_rng(seed)
    ws = initialize_weights(
        experiment.neurons_per_layer, rng, experiment.draw, X_train.shape[1]
    )
    vs = [np.zeros(w.shape) for w in ws]
    batches = len(X_train) // experiment.batch_size
    steps, losses, accuracies, train_losses, train_accuracies = [], [], [], [], []
    kept = {}
    best, step = ws, 0
    for epoch in range(experiment.epochs):
        order = rng.permutation(len(X_train))
        for b in range(batches):
            chosen = order[b * experiment.batch_size : (b + 1) * experiment.batch_size]
            batch = [(X_train[chosen], Y_train[chosen])]
            ws, vs, targets, outputs = descend(batch, ws, vs, experiment)
            step += 1
            if step % max(1, batches // 5) == 0:
                loss, accuracy = evaluate(Y_val, forward(X_val, ws, experiment.activation)[-1])
                if not losses or loss < min(losses):
                    best = ws
                train_loss, train_accuracy = evaluate(targets, outputs)
                steps.append(step)
                losses.append(loss)
                accuracies.append(accuracy)
                train_losses.append(train_loss)
                train_accuracies.append(train_accuracy)
                if step in keep_at:
                    kept[step] = ws
                if should_stop(losses):
                    print("early stopping")
                    return Run(experiment, seed, epoch + 1, steps, train_losses,
                               train_accuracies, losses, accuracies, best, ws, kept)
    return Run(experiment, seed, experiment.epochs, steps, train_losses,
               train_accuracies, losses, accuracies, best, ws, kept)
