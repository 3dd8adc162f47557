"""A trainer as deep-learning frameworks have them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import task2a
from task2a import SIGMOID, uniform
from utils import batch_loader


class SGD:
    def __init__(self, learning_rate):
        self.learning_rate = learning_rate

    def step(self, ws, gradients):
        return [w - g * self.learning_rate for w, g in zip(ws, gradients)]


def gradient_descent(ws, vs, gradients, learning_rate):
    return SGD(learning_rate).step(ws, gradients), vs


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


def calculate_accuracy(targets, outputs):
    return float((np.argmax(targets, 1) == np.argmax(outputs, 1)).mean())


def evaluate(targets, outputs):
    return [task2a.cross_entropy_loss(targets, outputs), calculate_accuracy(targets, outputs)]


class EarlyStopping:
    def __init__(self, patience):
        self.patience, self.best, self.bad = patience, float("inf"), 0

    def update(self, loss):
        self.bad = 0 if loss < self.best else self.bad + 1
        self.best = min(self.best, loss)
        return self.bad >= self.patience


def should_stop(val_losses, patience=50):
    stopping = EarlyStopping(patience)
    stop = False
    for loss in val_losses:
        stop = stopping.update(loss)
    return stop


@dataclass
class Run:
    steps: list = field(default_factory=list)
    train_loss: list = field(default_factory=list)
    train_accuracy: list = field(default_factory=list)
    val_loss: list = field(default_factory=list)
    val_accuracy: list = field(default_factory=list)
    best_weights: list | None = None
    last_weights: list | None = None


def descend(batches, ws, vs, experiment):
    targets, outputs = [], []
    for x, y in batches:
        values = task2a.forward(x, ws, experiment.activation)
        gradients = task2a.backward(y, values, ws, experiment.activation)
        ws, vs = experiment.update(ws, vs, gradients, experiment.learning_rate)
        targets.append(y)
        outputs.append(values[-1])
    return ws, vs, np.concatenate(targets), np.concatenate(outputs)


class Trainer:
    def __init__(self, experiment, data, seed):
        self.experiment = experiment
        self.X_train, self.Y_train, self.X_val, self.Y_val = data
        self.rng = np.random.default_rng(seed)
        self.ws = list(
            task2a.initialize_weights(
                experiment.neurons_per_layer, self.rng, experiment.draw, self.X_train.shape[1]
            )
        )
        self.vs = [0 * w for w in self.ws]
        self.run = Run(best_weights=self.ws)
        self.stopping = EarlyStopping(50)

    def validate(self, step, targets, outputs):
        run = self.run
        values = task2a.forward(self.X_val, self.ws, self.experiment.activation)
        loss, accuracy = evaluate(self.Y_val, values[-1])
        if loss < self.stopping.best:
            run.best_weights = self.ws
        for history, value in zip(
            (run.steps, run.train_loss, run.train_accuracy, run.val_loss, run.val_accuracy),
            (step, *evaluate(targets, outputs), loss, accuracy),
        ):
            history.append(value)
        return self.stopping.update(loss)

    def fit(self):
        step = 0
        for _ in range(self.experiment.epochs):
            batches = list(
                batch_loader(self.X_train, self.Y_train, self.experiment.batch_size, self.rng)
            )
            parts = max(1, len(batches) // 5)
            for start in range(0, len(batches), parts):
                part = batches[start : start + parts]
                self.ws, self.vs, *seen = descend(part, self.ws, self.vs, self.experiment)
                step += len(part)
                if self.validate(step, *seen):
                    return self.finish()
        return self.finish()

    def finish(self):
        self.run.last_weights = self.ws
        return self.run


def train(experiment, X_train, Y_train, X_val, Y_val, seed, keep_at=(), on_validation=None):
    return Trainer(experiment, (X_train, Y_train, X_val, Y_val), seed).fit()
