"""The rubric: what each task's points are given for, and on what inputs.

A row is an expression. It is evaluated on a hand-in's functions and on the solution's, each in a
process of its own, and the values are compared. Its names are the functions of `FUNCTIONS`, the
`SETUP` and the inputs of `draw`, each drawn anew for every row from a seed.
"""

import re
import zlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

FUNCTIONS = {  # what the assignment asks for, and where
    name: home
    for home, names in {
        "task2a": """mean_X std_X pre_process_images one_hot_encode sigmoid sigmoid_slope softmax
            cross_entropy_loss uniform initialize_weights forward layer_errors backward
            gradient_approximation_test count_parameters""",
        "task2": "gradient_descent calculate_accuracy evaluate should_stop descend train",
        "task3": "fan_in_normal improved_sigmoid improved_sigmoid_slope momentum",
        "task4": """network_size largest_width relu relu_slope gradient_rms activation_std
            saturated saturation""",
    }.items()
    for name in names.split()
}
GIVEN = {  # what the starter defines and rows use
    **{"Activation": "task2a", "SIGMOID": "task2a", "TASK_2C": "task2"},
    **{"IMPROVED_SIGMOID": "task3", "RELU": "task4"},
}
PROSE = {"1a": 4, "4a": 2, "4b": 2, "4d": 2, "4e": 3, "4f": 2}  # points that a person gives
REPORT = 10  # points beside the assignment's 100 for a report that reproduces

RTOL, ATOL = 1e-6, 2e-6  # the second is what rounding to the solution's grid may cost

# an activation that no task asks for, and what makes training the same in whatever order: every
# example is the same one
SETUP = """
def softplus(z):
    return np.log1p(np.exp(z))

def drawn(factor):
    def draw(rng, shape):  # on the grid to which the solution rounds
        entries = factor * np.sin(1 + np.arange(shape[0] * shape[1]))
        return np.round(1024 * entries).reshape(shape) / 1024
    return draw

def passes(check, *arguments, **options):
    try:
        check(*arguments, **options)
    except AssertionError:
        return False
    return True
"""
SOFTPLUS = 'Activation("softplus", softplus, lambda a: 1 - np.exp(-a))'
SCALED = 'Activation("scaled", softplus, lambda a: factor * (1 - np.exp(-a)))'


class Row(NamedTuple):
    """One item of the rubric; the name says what is right, the hint where to look if it is not."""

    task: str
    points: float
    name: str
    expression: str
    hint: str
    function: str  # whose row it is
    needs: str = ""  # other functions of the hand-in that it may use
    given: Mapping[str, str] = MappingProxyType({})  # inputs that the solution makes
    judge: str = "equal"  # a function of judge.py
    atol: float = ATOL

    @property
    def key(self) -> str:
        """Return what names the row."""
        return f"{self.task} {self.name}"

    @property
    def functions(self) -> set[str]:
        """Return all functions of a hand-in that the row may use."""
        return {self.function, *self.needs.split()}


NETWORK = "sigmoid softmax"
BACK = "sigmoid_slope layer_errors"
CHECK = "forward softmax backward layer_errors cross_entropy_loss"
TRAIN = (
    "initialize_weights gradient_descent calculate_accuracy evaluate should_stop descend forward "
    "sigmoid sigmoid_slope softmax layer_errors backward cross_entropy_loss"
)
ORDER = "the inputs, then the activations of each hidden layer, then the probabilities"
SAME = "np.tile(x, (20, 1)), np.tile(y, (20, 1))"
PAIRS = "TASK_2C._replace(draw=drawn(factor), batch_size=2, neurons_per_layer=(3, 3), epochs=1"
OPTIONS = "draw=drawn(factor), batch_size=4, neurons_per_layer="

ROWS = [
    Row("2a", 2, "mean of all pixels", "mean_X(images)", "one number, for all pixels together",
        "mean_X"),
    Row("2a", 2, "standard deviation of all pixels", "std_X(images)",
        "one number, for all pixels together, divided by their number", "std_X"),
    Row("2a", 2, "pixels normalised", "pre_process_images(images, mean, std)[:, :784]",
        "use the mean and the standard deviation that are given, whichever images these are",
        "pre_process_images"),
    Row("2a", 2, "pixels normalised, and the bias trick",
        "pre_process_images(images, mean, std)",
        "the bias trick is a last column of ones, which is not normalised", "pre_process_images"),
    Row("2a", 1, "labels encoded", "one_hot_encode(labels)", "a row for each label, 10 columns",
        "one_hot_encode"),
    Row("2a", 1, "labels of other numbers of classes encoded",
        "[one_hot_encode(few_labels, 3), one_hot_encode(few_labels, 7)]",
        "the second argument is the number of columns", "one_hot_encode"),

    Row("2b", 2, "sigmoid", "sigmoid(z)", "elementwise, of the shape of z", "sigmoid"),
    Row("2b", 2, "slope of the sigmoid", "sigmoid_slope(a)",
        "the argument is the sigmoid's value, not z", "sigmoid_slope"),
    Row("2b", 2, "softmax", "softmax(z)", "every row sums to one", "softmax"),
    Row("2b", 2, "cross entropy", "cross_entropy_loss(Y, outputs)",
        "the mean over the examples of the sum over the classes", "cross_entropy_loss"),
    Row("2b", 2, "outputs of a network", "forward(X, ws)[-1]",
        "the last entry holds the probabilities, from a softmax", "forward", NETWORK),
    Row("2b", 2, "values of every layer", "forward(X, ws)", ORDER, "forward", NETWORK),
    Row("2b", 1, "errors of every layer", "layer_errors(Y, values, ws)",
        "one for each layer of weights, of the mean cost", "layer_errors", "sigmoid_slope",
        {"values": "forward(X, ws)"}),
    Row("2b", 1, "gradient of the output layer", "backward(Y, values, ws)[-1]",
        "of the shape of the weights, and of the mean cost", "backward", BACK,
        {"values": "forward(X, ws)"}),
    Row("2b", 3, "gradients of both layers", "backward(Y, values, ws)",
        "compare with central differences, layer by layer", "backward", BACK,
        {"values": "forward(X, ws)"}),
    Row("2b", 1, "gradient check tells right from wrong",
        "[passes(gradient_approximation_test, X / 3, Y, ws, "
        f"{SCALED}, rng=np.random.default_rng(seed)) for factor in factors]",
        "it passes where the slope is right, and raises an AssertionError where it is not",
        "gradient_approximation_test", CHECK),

    Row("2c", 0.5, "uniform weights",
        "[uniform(np.random.default_rng(k), (60, 50)) for k in (seed, seed, seed + 1)]",
        "from -1 to 1, drawn by the generator given", "uniform", judge="uniform"),
    Row("2c", 0.5, "weights of each layer",
        "initialize_weights([4, 2, 3], np.random.default_rng(seed), drawn(factor), 6)",
        "draw(rng, shape) for each layer; a shape is (inputs, outputs)", "initialize_weights"),
    Row("2c", 0.5, "gradient descent", "gradient_descent(ws, vs, gradients, rate)[0]",
        "a step against the gradient, times the learning rate", "gradient_descent"),
    Row("2c", 0.5, "accuracy",
        "[calculate_accuracy(Y40[i:], outputs40[i:]) for i in (0, 9, 25)]",
        "the share of examples, between 0 and 1", "calculate_accuracy"),
    Row("2c", 0.5, "loss and accuracy", "evaluate(Y, outputs)",
        "a pair: the loss, then the accuracy", "evaluate",
        "cross_entropy_loss calculate_accuracy"),
    Row("2c", 0.5, "when to stop", "[should_stop(losses, patience) for losses in histories]",
        "true once the last `patience` validations have all failed to improve", "should_stop"),
    Row("2c", 0.5, "some steps of gradient descent",
        "descend([(x, y), (X, Y), (x, y)], ws, vs, TASK_2C)[0]",
        "one update for each batch, from the weights that the one before has left", "descend",
        "gradient_descent forward sigmoid sigmoid_slope softmax layer_errors backward",
        atol=1e-5),
    Row("2c", 1, "an epoch uses every example once",
        f"[16 * (w - drawn(factor)(None, w.shape)) for w in train({PAIRS}, learning_rate=0.003), "
        "X20, Y20, X, Y, seed).last_weights]",
        "sum the gradients of all batches: each example is in one of them", "train", TRAIN,
        atol=1e-3),
    Row("2c", 0.5, "examples are shuffled",
        f"[[10 * (w - drawn(factor)(None, w.shape)) for w in train({PAIRS}, learning_rate=0.01), "
        "X20, Y20, X, Y, k).last_weights] for k in (seed, seed + 1)]",
        "another seed is another order of the examples", "train", TRAIN, judge="shuffled"),
    Row("2c", 1, "stops early, with the best weights",
        "(lambda run: [run.steps, run.val_loss, *run.best_weights, *run.last_weights])(train("
        f"TASK_2C._replace(learning_rate=0.5, {OPTIONS}(3, 3)), {SAME}, np.tile(x, (4, 1)), "
        "np.vstack([np.tile(y, (3, 1)), np.roll(y, 1)]), seed))",
        "five validations an epoch; later updates must not change the best one's weights in place",
        "train", TRAIN, atol=1e-3),

    Row("2d", 4, "parameters", "[count_parameters(ws) for ws in networks]",
        "all entries of all matrices", "count_parameters"),
    Row("2d", 1, "parameters with a bias in every layer",
        "[count_parameters(ws, bias_in_every_layer=True) for ws in networks]",
        "the bias of the first layer is in its matrix already", "count_parameters"),

    Row("3a", 2, "normal weights",
        "[fan_in_normal(np.random.default_rng(k), (fan_in, 40)) for k in (seed, seed, seed + 1)]",
        "mean 0, standard deviation 1 / sqrt(fan-in), drawn by the generator given",
        "fan_in_normal", judge="normal"),
    Row("3a", 2, "normal weights of few inputs",
        "[fan_in_normal(np.random.default_rng(k), (12, 500)) for k in (seed, seed, seed + 1)]",
        "the fan-in is the number of inputs, the first of the shape", "fan_in_normal",
        judge="normal"),
    Row("3a", 2, "every layer by its own fan-in",
        "initialize_weights([90, 40, 100], np.random.default_rng(seed), fan_in_normal, 30)",
        "the later layers have another fan-in than the first", "fan_in_normal",
        "initialize_weights", judge="normal_layers"),

    Row("3b", 3, "improved sigmoid", "improved_sigmoid(z)", "elementwise: 1.7159 tanh(2 z / 3)",
        "improved_sigmoid"),
    Row("3b", 3, "slope of the improved sigmoid", "improved_sigmoid_slope(1.7 * (2 * a - 1))",
        "the argument is the function's value, not z; compare with a difference of two values",
        "improved_sigmoid_slope"),
    Row("3b", 1, "values of a network with it", "forward(X, ws, IMPROVED_SIGMOID)",
        "the activation is an argument of forward", "forward", "improved_sigmoid softmax"),
    Row("3b", 2, "gradients of a network with it", "backward(Y, values, ws, IMPROVED_SIGMOID)",
        "the activation is an argument of backward, and has a slope", "backward",
        "improved_sigmoid_slope layer_errors", {"values": "forward(X, ws, IMPROVED_SIGMOID)"}),

    Row("3c", 2, "velocities", "momentum(ws, vs, gradients, rate)[1]",
        "v := g + gamma v, with gamma 0.9; the learning rate is for the weights", "momentum"),
    Row("3c", 2, "weights after a step", "momentum(ws, vs, gradients, rate)[0]",
        "w := w - alpha v, with the new v", "momentum"),
    Row("3c", 2, "other gamma, and steps one after another",
        "momentum(*momentum(ws, vs, gradients, rate, 0.7), gradients, rate, gamma=0.7)",
        "weights and velocities are returned, and go into the next step", "momentum"),
    Row("3c", 1, "training with momentum",
        f"train(TASK_2C._replace(update=momentum, epochs=3, learning_rate=0.02, {OPTIONS}(3, 3)), "
        f"{SAME}, x, y, seed).last_weights",
        "the velocities live as long as the training", "momentum",
        TRAIN.replace("gradient_descent", "train"), atol=1e-4),

    Row("4a", 1, "few hidden units",
        f"train(TASK_2C._replace(epochs=2, {OPTIONS}(2, 3)), {SAME}, x, y, seed).last_weights",
        "neurons_per_layer[0] is their number", "train", TRAIN, atol=1e-4),
    Row("4b", 1, "many hidden units",
        f"train(TASK_2C._replace(epochs=2, {OPTIONS}(12, 3)), {SAME}, x, y, seed).last_weights",
        "neurons_per_layer[0] is their number", "train", TRAIN, atol=1e-4),

    Row("4c", 1, "values without a hidden layer", f"forward(X, ws1, {SOFTPLUS})", ORDER,
        "forward", "softmax"),
    Row("4c", 3, "values of three hidden layers", f"forward(X, ws4, {SOFTPLUS})", ORDER,
        "forward", "softmax"),
    Row("4c", 2, "errors of three hidden layers", f"layer_errors(Y, values, ws4, {SOFTPLUS})",
        "the same step, from each layer to the one below", "layer_errors",
        given={"values": f"forward(X, ws4, {SOFTPLUS})"}),
    Row("4c", 1, "gradient without a hidden layer", f"backward(Y, values, ws1, {SOFTPLUS})",
        "a list of one gradient", "backward", "layer_errors",
        {"values": f"forward(X, ws1, {SOFTPLUS})"}),
    Row("4c", 4, "gradients of three hidden layers", f"backward(Y, values, ws4, {SOFTPLUS})",
        "one for each matrix, the first layer's first", "backward", "layer_errors",
        {"values": f"forward(X, ws4, {SOFTPLUS})"}),
    Row("4c", 2, "gradient check of three hidden layers",
        "[passes(gradient_approximation_test, X / 3, Y, ws4, "
        f"{SCALED}, rng=np.random.default_rng(seed)) for factor in factors]",
        "check the gradients of every layer", "gradient_approximation_test", CHECK),
    Row("4c", 1, "training of three hidden layers",
        f"train(TASK_2C._replace(epochs=2, {OPTIONS}(4, 3, 4, 3)), {SAME}, x, y, seed)"
        ".last_weights",
        "nothing but the length of neurons_per_layer says how deep", "train", TRAIN, atol=1e-4),

    Row("4d", 1, "parameters of a topology",
        "[network_size(neurons) for neurons in topologies]",
        "as count_parameters counts them, with 785 inputs", "network_size",
        "count_parameters initialize_weights"),
    Row("4d", 1, "largest width within a budget",
        "[largest_width(budget, layers) for budget, layers in budgets]",
        "the next width must exceed the budget", "largest_width",
        "network_size count_parameters initialize_weights"),
    Row("4d", 1, "the same with a bias in every layer",
        "[largest_width(budget, layers, bias_in_every_layer=True) for budget, layers in budgets]",
        "count the biases of the later layers, too", "largest_width",
        "network_size count_parameters initialize_weights"),

    Row("4e", 1, "gradients by layer", f"gradient_rms(X, Y, ws4, {SOFTPLUS})",
        "the root of the mean of the squares of each matrix", "gradient_rms",
        "forward softmax layer_errors backward"),
    Row("4e", 1, "activations by layer", f"activation_std(X, ws4, {SOFTPLUS})",
        "hidden layers only; over the examples first, then the mean over the units",
        "activation_std", "forward softmax"),
    Row("4e", 0.5, "saturated activations", "saturated(8 * X, ws4, IMPROVED_SIGMOID)",
        "hidden layers only; true where the slope is below a tenth of the steepest", "saturated",
        "forward softmax improved_sigmoid improved_sigmoid_slope"),
    Row("4e", 0.5, "saturation by layer", "saturation(8 * X, ws4, IMPROVED_SIGMOID)",
        "hidden layers only; the share of their activations that are saturated", "saturation",
        "saturated forward softmax improved_sigmoid improved_sigmoid_slope"),

    Row("4f", 1, "ReLU", "relu(z)", "elementwise, of the shape of z", "relu"),
    Row("4f", 1, "slope of ReLU", "relu_slope(np.maximum(0, z - 0.5))",
        "the argument is the function's value; at the kink it is 0", "relu_slope"),
]  # fmt: skip
TASKS = sorted({row.task for row in ROWS} | PROSE.keys())


def layers(rng: np.random.Generator, *sizes: int) -> list[np.ndarray]:
    """Draw the weights of a network of these sizes."""
    return [rng.normal(0, 0.6, shape) for shape in pairwise(sizes)]


def inputs(rng: np.random.Generator, count: int, size: int = 6) -> np.ndarray:
    """Draw examples with the constant of the bias trick, [count, size]."""
    return np.hstack([rng.normal(size=(count, size - 1)), np.ones((count, 1))])


def one_hot(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw labels of three classes, of which each occurs, [count, 3]."""
    return np.eye(3)[rng.permutation(np.arange(count) % 3)]


def histories(rng: np.random.Generator) -> list[list[float]]:
    """Draw losses that have got worse some times, and improved again, and got worse again."""

    def losses(worse: int, again: int) -> list[float]:
        better = -np.sort(-rng.random(3))
        parts = better + 1, 2 + rng.random(worse), better, 2 + rng.random(again)
        return np.concatenate(parts).tolist()

    return [losses(*rng.integers(1, 8, 2)) for _ in range(24)]


def factors(rng: np.random.Generator) -> np.ndarray:
    """Draw factors that are one or not, some of both."""
    return rng.permutation([*[1.0] * 4, *rng.choice([0.5, 2.0, -1.0], 4)])


INPUTS: dict[str, Callable[[np.random.Generator], Any]] = {
    "seed": lambda rng: int(rng.integers(1, 2**31)),
    "fan_in": lambda rng: int(rng.integers(100, 200)),
    "images": lambda rng: rng.integers(0, 256, (6, 784)).astype(np.uint8),
    "mean": lambda rng: float(rng.uniform(30, 90)),
    "std": lambda rng: float(rng.uniform(40, 80)),
    "labels": lambda rng: rng.integers(0, 10, (12, 1)),
    "few_labels": lambda rng: rng.integers(0, 3, (6, 1)),
    "z": lambda rng: rng.normal(0, 3, (5, 4)),
    "a": lambda rng: rng.uniform(0.01, 0.99, (5, 4)),
    "outputs": lambda rng: rng.dirichlet(np.ones(3), 9),
    "outputs40": lambda rng: rng.dirichlet(np.ones(3), 40),
    "Y40": lambda rng: one_hot(rng, 40),
    "X": lambda rng: inputs(rng, 9),
    "Y": lambda rng: one_hot(rng, 9),
    "X20": lambda rng: inputs(rng, 20),
    "Y20": lambda rng: one_hot(rng, 20),
    "x": lambda rng: inputs(rng, 1),
    "y": lambda rng: np.eye(3)[rng.integers(3, size=1)],
    "ws": lambda rng: layers(rng, 6, 4, 3),
    "ws1": lambda rng: layers(rng, 6, 3),
    "ws4": lambda rng: layers(rng, 6, 5, 4, 5, 3),
    "vs": lambda rng: layers(rng, 6, 4, 3),
    "gradients": lambda rng: layers(rng, 6, 4, 3),
    "rate": lambda rng: float(rng.uniform(0.05, 0.5)),
    "factor": lambda rng: float(rng.uniform(0.3, 0.7)),
    "factors": factors,
    "patience": lambda rng: 4,
    "histories": histories,
    "networks": lambda rng: [layers(rng, *rng.integers(2, 9, n)) for n in (2, 3, 5)],
    "topologies": lambda rng: [rng.integers(2, 60, n).tolist() for n in (1, 2, 4)],
    "budgets": lambda rng: [(int(rng.integers(9_000, 60_000)), n) for n in (1, 2, 2, 3)],
}


def draw(row: Row, seed: int) -> dict[str, Any]:
    """Draw a row's inputs, other ones for each row and each seed."""
    words = set(re.findall(r"\w+", " ".join([row.expression, *row.given.values()])))
    rng = np.random.default_rng([seed, zlib.crc32(row.key.encode())])
    return {name: make(rng) for name, make in INPUTS.items() if name in words - row.given.keys()}
