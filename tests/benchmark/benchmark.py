"""Time this project's training against other implementations of the same network.

    python tests/benchmark/benchmark.py                      # the table and the targets
    python tests/benchmark/benchmark.py --scaling            # how the cost grows
    python tests/benchmark/benchmark.py --whole              # several trainings on all cores
    python tests/benchmark/benchmark.py --plot speed.svg     # the first two also as a figure

The network is that of Task 3c. Every row runs in a process of its own, with one thread, on the same
data, batches and initial weights. Seconds are CPU time, so that other programs count little, and a
second thread would count double. The processes take turns, epoch by epoch, so that a busy machine
is busy for all of them, and ratios are medians over the rounds; with `--scaling` epochs are too
short for that, and the least counts. In double precision all rows must reach the same validation
loss, but for scikit-learn's, which is another network (see there), and ours, whose numbers
are on a grid; ours off the grid must reach it.

With `--whole` the rows have all cores, as their users start them: ours a process for each of them,
the others the threads that they start by themselves. Seconds are those on the clock then, from the
first training's beginning to the last one's end, compilation and the start of workers included;
the rest of the machine should be idle.

`OPENBLAS_CORETYPE`, if set, holds back NumPy and not the others: compare without it.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from importlib.metadata import distributions
from itertools import groupby
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

# of a row's process; read when the libraries are imported
os.environ.setdefault("BENCHMARK_THREADS", "1")
os.environ.update(
    OMP_NUM_THREADS=os.environ["BENCHMARK_THREADS"],
    OPENBLAS_NUM_THREADS=os.environ["BENCHMARK_THREADS"],
    MKL_NUM_THREADS=os.environ["BENCHMARK_THREADS"],
    VECLIB_MAXIMUM_THREADS=os.environ["BENCHMARK_THREADS"],
    NPROC=os.environ["BENCHMARK_THREADS"],
    JAX_PLATFORMS="cpu",
    CUDA_VISIBLE_DEVICES="",
    TORCHINDUCTOR_COMPILE_THREADS="1",
    MPLBACKEND="agg",
    REMEMBERED_TRAININGS="leave",
)
if os.environ["BENCHMARK_THREADS"] == "1":
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import joblib
import numpy as np
from matplotlib import pyplot as plt
from threadpoolctl import threadpool_info

import task2
from report.parallel import train_all
from task2 import VALIDATIONS_PER_EPOCH, calculate_accuracy, descend, evaluate, predict
from task2a import (
    Array,
    Weights,
    initialize_weights,
    mean_X,
    one_hot_encode,
    pre_process_images,
    std_X,
)
from task3 import GAMMA, SCALE, STRETCH, TASK_3C
from task4 import TASK_4A, TASK_4B, TASK_4E, within_budget
from utils import NUM_TRAIN, read_split, small_matrices

ALPHA = TASK_3C.learning_rate
SEED = 0
QUICK = {"images": 2_000, "validation_images": 1_000}
PACKAGES = ["numpy", "jax", "torch", "scikit-learn"]


class Problem(NamedTuple):
    """What every implementation is given."""

    X: Array  # training inputs [N, 785], the last column ones
    Y: Array  # one-hot [N, 10]
    X_val: Array
    Y_val: Array
    ws: Weights  # the initial ones
    batch_size: int = TASK_3C.batch_size


Train = Callable[[np.ndarray], None]  # on the examples of these indices, in this order
Validate = Callable[[], tuple[float, float]]  # loss and accuracy


class Implementation(NamedTuple):
    """One row: `prepare` returns how it trains and how it validates."""

    name: str
    precision: str
    prepare: Callable[[Problem], tuple[Train, Validate]]

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}"


def batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut an order [n] into batches; the last one holds what is left."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def scores(x, ws: Weights, tanh: Callable):
    """Return the inputs of the softmax, for the arrays of any library."""
    for w in ws[:-1]:
        x = SCALE * tanh(STRETCH * (x @ w))
    return x @ ws[-1]


def updated(ws, vs, gradients) -> tuple[list, list]:
    """Return weights and velocities after a step, likewise."""
    vs = [g + GAMMA * v for g, v in zip(gradients, vs, strict=True)]
    return [w - ALPHA * v for w, v in zip(ws, vs, strict=True)], vs


# The implementations


def ours(problem: Problem) -> tuple[Train, Validate]:
    """As the tasks use it: numbers on the grid, loss and accuracy of every batch recorded."""
    X, Y, X_val, Y_val, ws, batch_size = problem
    X, vs = task2.snap(X), [np.zeros_like(w) for w in ws]
    with small_matrices():  # as in `train`: what it does to memory lasts
        pass

    def train(order):
        nonlocal ws, vs
        given = (
            (X.take(batch, axis=0), Y.take(batch, axis=0)) for batch in batches(order, batch_size)
        )
        ws, vs, *seen = descend(given, ws, vs, TASK_3C)
        evaluate(*seen)

    return train, lambda: evaluate(Y_val, predict(X_val, ws, TASK_3C.activation))


def ours_off_grid(problem: Problem) -> tuple[Train, Validate]:
    """Shows what the grid costs, and that else it computes what the other rows compute."""
    task2.snap = lambda values: values  # this process is the row's own
    task2.settled = lambda function, z: (function(z),) * 2
    return ours(problem)


class HandInModel:
    """A network in the style of public hand-ins: state on `self`, nothing shared or saved."""

    def __init__(self, ws):
        self.ws = [w.copy() for w in ws]
        self.velocities = [np.zeros_like(w) for w in ws]
        self.grads = [np.zeros_like(w) for w in ws]

    def improved_sigmoid(self, z):
        return SCALE * np.tanh(STRETCH * z)

    def improved_sigmoid_derivative(self, z):
        return SCALE * STRETCH * (1 - np.tanh(STRETCH * z) ** 2)

    def forward(self, X):
        self.zs, self.activations = [], [X]
        for w in self.ws[:-1]:
            self.zs.append(np.dot(self.activations[-1], w))
            self.activations.append(self.improved_sigmoid(self.zs[-1]))
        exp = np.exp(np.dot(self.activations[-1], self.ws[-1]))
        return exp / np.sum(exp, axis=1, keepdims=True)

    def backward(self, X, outputs, targets):
        delta = -(targets - outputs)
        self.grads[-1] = np.dot(self.activations[-1].T, delta) / X.shape[0]
        for i in range(len(self.ws) - 2, -1, -1):
            delta = self.improved_sigmoid_derivative(self.zs[i]) * np.dot(delta, self.ws[i + 1].T)
            self.grads[i] = np.dot(self.activations[i].T, delta) / X.shape[0]

    def loss(self, outputs, targets):
        return np.mean(-np.sum(targets * np.log(outputs), axis=1))

    def train_step(self, X, Y):
        outputs = self.forward(X)
        self.backward(X, outputs, Y)
        for i in range(len(self.ws)):
            self.velocities[i] = self.grads[i] + GAMMA * self.velocities[i]
            self.ws[i] = self.ws[i] - ALPHA * self.velocities[i]
        return self.loss(outputs, Y)


def hand_in(problem: Problem) -> tuple[Train, Validate]:
    """Plain NumPy, one class."""
    X, Y, X_val, Y_val, ws, batch_size = problem
    model = HandInModel(ws)

    def train(order):
        for batch in batches(order, batch_size):
            model.train_step(X[batch], Y[batch])

    def validate():
        outputs = model.forward(X_val)
        return model.loss(outputs, Y_val), calculate_accuracy(Y_val, outputs)

    return train, validate


def torch_tensors(problem: Problem) -> list:
    """Return inputs and labels of both splits, sharing the memory of the arrays."""
    import torch

    torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
    X, Y, X_val, Y_val = problem[:4]
    return [torch.from_numpy(a) for a in (X, Y.argmax(axis=1), X_val, Y_val.argmax(axis=1))]


def torch_evaluate(X, Y, ws) -> tuple[float, float]:
    import torch

    with torch.no_grad():
        z = scores(X, ws, torch.tanh)
        loss = torch.nn.functional.cross_entropy(z, Y)
    return float(loss), float((z.argmax(axis=1) == Y).double().mean())


def torch_eager(problem: Problem) -> tuple[Train, Validate]:
    """PyTorch's autograd, loss and optimiser, one call after another."""
    import torch

    X, Y, X_val, Y_val = torch_tensors(problem)
    ws = [torch.tensor(w, requires_grad=True) for w in problem.ws]
    optimizer = torch.optim.SGD(ws, lr=ALPHA, momentum=GAMMA)

    def train(order):
        for batch in map(torch.from_numpy, batches(order, problem.batch_size)):
            optimizer.zero_grad()
            z = scores(X[batch], ws, torch.tanh)
            torch.nn.functional.cross_entropy(z, Y[batch]).backward()
            optimizer.step()

    return train, lambda: torch_evaluate(X_val, Y_val, ws)


def torch_compiled(problem: Problem) -> tuple[Train, Validate]:
    """PyTorch's functional gradients, a whole step compiled, which needs a C++ compiler."""
    import torch

    X, Y, X_val, Y_val = torch_tensors(problem)
    ws = [torch.tensor(w) for w in problem.ws]
    vs = [torch.zeros_like(w) for w in ws]

    def loss(ws, x, y):
        return torch.nn.functional.cross_entropy(scores(x, ws, torch.tanh), y)

    @torch.compile
    def step(ws, vs, batch):
        gradients, batch_loss = torch.func.grad_and_value(loss)(ws, X[batch], Y[batch])
        return *updated(ws, vs, gradients), batch_loss

    def train(order):
        nonlocal ws, vs
        for batch in map(torch.from_numpy, batches(order, problem.batch_size)):
            ws, vs, _ = step(ws, vs, batch)

    return train, lambda: torch_evaluate(X_val, Y_val, ws)


@cache
def jax_functions() -> tuple[Callable, Callable]:
    """Return what trains and what evaluates, compiled once for all networks of one shape."""
    import jax
    from jax import numpy as jnp

    def loss(ws, x, y):
        return -jnp.sum(y * jax.nn.log_softmax(scores(x, ws, jnp.tanh))) / len(x)

    @jax.jit
    def descend(state, X, Y, batches):
        def step(state, batch):
            ws, vs = state
            batch_loss, gradients = jax.value_and_grad(loss)(ws, X[batch], Y[batch])
            return updated(ws, vs, gradients), batch_loss

        return jax.lax.scan(step, state, batches)

    @jax.jit
    def evaluate(ws, X, Y):
        return loss(ws, X, Y), jnp.mean(scores(X, ws, jnp.tanh).argmax(axis=1) == Y.argmax(axis=1))

    return descend, evaluate


def jax_scan(problem: Problem) -> tuple[Train, Validate]:
    """JAX: all batches of a call in one compiled loop."""
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_enable_x64", problem.X.dtype == np.float64)
    X, Y, X_val, Y_val, ws = jax.device_put(problem[:5])
    state = ws, [jnp.zeros_like(w) for w in ws]
    descend, evaluate = jax_functions()

    def train(order):
        nonlocal state
        for size, group in groupby(batches(order, problem.batch_size), len):
            state, _ = descend(state, X, Y, np.reshape([*group], (-1, size)))
        jax.block_until_ready(state)

    return train, lambda: tuple(map(float, evaluate(state[0], X_val, Y_val)))


def sklearn_mlp(problem: Problem) -> tuple[Train, Validate]:
    """scikit-learn's MLPClassifier, which comes nearest, but is another network.

    It has tanh(z) for 1.7159 tanh(2 z / 3) and a bias in the output layer too. It starts as the
    same function, from rescaled weights, and then learns in other proportions. It has no validation
    of this kind, so that is made of `predict_proba`.
    """
    from sklearn.neural_network import MLPClassifier

    X, X_val, Y = problem.X[:, :-1], problem.X_val[:, :-1], problem.Y.argmax(axis=1)
    model = MLPClassifier(
        [w.shape[1] for w in problem.ws[:-1]],
        activation="tanh",
        solver="sgd",
        alpha=0,
        batch_size=problem.batch_size,
        learning_rate_init=ALPHA,
        momentum=GAMMA,
        nesterovs_momentum=False,
        shuffle=False,  # it is handed the order
        random_state=SEED,
    )
    start = slice(0, problem.batch_size)
    model.partial_fit(X[start], Y[start], classes=np.arange(problem.Y.shape[1]))  # makes its arrays
    for layer, w in enumerate(problem.ws):
        w = w * (1 if layer == 0 else SCALE) * (1 if layer == len(problem.ws) - 1 else STRETCH)
        model.coefs_[layer][:] = w if layer else w[:-1]
        model.intercepts_[layer][:] = 0 if layer else w[-1]

    def validate():
        outputs = model.predict_proba(X_val)
        return evaluate(problem.Y_val, outputs)

    def train(order):
        for part in batches(order, 50 * problem.batch_size):  # spares it a copy of all images
            model.partial_fit(X[part], Y[part])

    return train, validate


PEAK_SIZE = 1024


def floor(problem: Problem) -> tuple[Train, Validate]:
    """As many floating-point operations as the network's products, in large square ones."""
    square = np.ones((PEAK_SIZE, PEAK_SIZE), problem.X.dtype)
    product = np.empty_like(square)
    forward = sum(2 * w.size for w in problem.ws)  # operations an example
    backward = 2 * forward - 2 * problem.ws[0].size  # dC/dw, and dC/dx but for the input

    def compute(operations):
        rows = round(operations / (2 * square.size))
        for start in range(0, rows, PEAK_SIZE):
            part = slice(0, min(PEAK_SIZE, rows - start))
            np.matmul(square[part], square, out=product[part])
        return np.nan, np.nan

    def train(order):
        compute(len(order) * (forward + backward))

    return train, lambda: compute(len(problem.X_val) * forward)


DOUBLE, SINGLE = "float64", "float32"
ROWS = [
    Implementation(name, precision, prepare)
    for name, prepare in {
        "ours": ours,
        "ours, off the grid": ours_off_grid,
        "JAX jit + scan": jax_scan,
        "PyTorch compiled": torch_compiled,
        "PyTorch eager": torch_eager,
        "scikit-learn": sklearn_mlp,
        "class-based NumPy": hand_in,
        "floor": floor,
    }.items()
    for precision in (DOUBLE, SINGLE)
    if (name, precision) != ("ours", SINGLE)  # whose sums would not be exact
]

TARGETS = [  # the time of one row over that of another, validating or not
    ("JAX jit + scan, float64", "ours, float64", True, "at least", 1.0),
    ("PyTorch eager, float64", "ours, float64", True, "at least", 2.5),
    ("scikit-learn, float64", "ours, float64", False, "at least", 1.5),
    ("ours, float64", "floor, float64", False, "at most", 2.4),
]


# Measuring


def make_problem(
    images: int = NUM_TRAIN,
    validation_images: int = 10_000,
    neurons_per_layer: Sequence[int] = TASK_3C.neurons_per_layer,
    batch_size: int = TASK_3C.batch_size,
) -> Problem:
    """Return Task 3c's problem, or a smaller or larger one, in double precision."""
    (X, Y), (X_val, Y_val) = (read_split(split) for split in ("train", "t10k"))
    mean, std = mean_X(X[:images]), std_X(X[:images])
    return Problem(
        pre_process_images(X[:images], mean, std),
        one_hot_encode(Y[:images]),
        pre_process_images(X_val[:validation_images], mean, std),
        one_hot_encode(Y_val[:validation_images]),
        initialize_weights(neurons_per_layer, np.random.default_rng(SEED), TASK_3C.draw),
        batch_size,
    )


def in_precision(problem: Problem, precision: str) -> Problem:
    """Return the problem with arrays of that precision."""
    *data, ws, batch_size = problem
    return Problem(
        *(array.astype(precision) for array in data), [w.astype(precision) for w in ws], batch_size
    )


class Measurement(NamedTuple):
    """What one row took, by round."""

    training: Array  # seconds an epoch, without validation
    validating: Array  # with VALIDATIONS_PER_EPOCH of them
    loss: Array  # of the last validation
    memory: Array  # peak of the process, MB


def peak_memory() -> float:
    """Return the largest memory this process has had, in MB; nan on Windows."""
    try:
        import resource
    except ImportError:
        return np.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def validated_epoch(
    train: Train, validate: Validate, order: np.ndarray, batch_size: int
) -> tuple[float, float]:
    """Train on all examples, with validations between; return the last one's loss and accuracy."""
    steps = -(-len(order) // batch_size)
    parts = range(1, VALIDATIONS_PER_EPOCH)
    cuts = [-(-steps * part // VALIDATIONS_PER_EPOCH) * batch_size for part in parts]
    for part in np.split(order, cuts):
        if len(part):  # an epoch may have fewer batches than validations
            train(part)
        found = validate()
    return found


def timed_epochs(row: Implementation, path: Path) -> Iterator[tuple[float, float, float]]:
    """Yield seconds of an epoch, seconds of one with validations, and the last validation loss."""
    problem = joblib.load(path)
    train, validate = row.prepare(problem)
    rng = np.random.default_rng(SEED)
    while True:
        orders = [rng.permutation(len(problem.X)) for _ in range(2)]
        start = process_time()
        train(orders[0])
        middle = process_time()
        loss, _ = validated_epoch(train, validate, orders[1], problem.batch_size)
        yield middle - start, process_time() - middle, loss


def work(connection: Connection, row: Implementation, path: Path) -> None:
    """Do a round for every message and answer with what it took, or with why it failed, as text."""
    epochs = timed_epochs(row, path)
    while connection.recv():
        try:
            answer = *next(epochs), peak_memory()
        except Exception as error:
            answer = f"{type(error).__name__}: {error}".splitlines()[0]
        connection.send(answer)


def ask(connection: Connection) -> tuple | str:
    """Have a row's process do a round, and return its answer."""
    try:
        connection.send("go on")
        return connection.recv()
    except (EOFError, OSError):
        return "its process has died"


def summary(answers: list[tuple | str]) -> Measurement | str:
    """Return why a row failed, or what it took once it was warm."""
    failures = (answer for answer in answers if isinstance(answer, str))
    return next(failures, None) or Measurement(*np.array(answers[1:]).T)


def measure(
    rows: Sequence[Implementation], rounds: int, **sizes: object
) -> dict[str, Measurement | str]:
    """Let the rows take turns, once to warm up and then `rounds` times.

    Args:
        rows, rounds: what to measure, and how often.
        sizes: of the problem, as for `make_problem`.
    Returns:
        By row, what it took, or why it failed.
    """
    context, answers = get_context("spawn"), {str(row): [] for row in rows}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        connections = {}
        for row in rows:
            connections[str(row)], theirs = context.Pipe()
            path = Path(directory) / row.precision
            process = context.Process(target=work, args=(theirs, row, path))
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(process.kill)
        problem = make_problem(**sizes)  # now, since a new process starts from our peak memory
        for precision in {row.precision for row in rows}:
            joblib.dump(in_precision(problem, precision), Path(directory) / precision)
        for _ in range(rounds + 1):
            for row, connection in connections.items():
                answers[row].append(ask(connection))
    return {row: summary(got) for row, got in answers.items()}


def ratio(one: Measurement, other: Measurement, validating: bool) -> float:
    """Return how many times as long the one takes as the other, the median over the rounds."""
    times = [row.validating if validating else row.training for row in (one, other)]
    return float(np.median(np.divide(*times)))


# The whole work

WHOLE_ROWS = ["ours", "JAX jit + scan", "PyTorch eager"]
WHOLE_SEEDS = (1, 2)


def whole_networks(quick: bool) -> dict[str, tuple[int, ...]]:
    """Return the layers of the report's networks that differ from Task 3c's in these alone."""
    networks = {e.name: e.neurons_per_layer for e in (TASK_3C, TASK_4A, TASK_4B, TASK_4E)}
    networks["Task 4d"] = within_budget(hidden_layers=2)
    return dict([*networks.items()][:2]) if quick else networks


def whole_work(connection: Connection, row: Implementation, epochs: int, quick: bool) -> None:
    """Train every network from every seed with validations; answer with the seconds it took."""
    sizes = QUICK if quick else {}
    problem = in_precision(make_problem(**sizes), row.precision)
    networks = whole_networks(quick)
    start = perf_counter()
    if row.prepare is ours:
        experiments = [
            TASK_3C._replace(name=name, neurons_per_layer=layers, epochs=epochs)
            for name, layers in networks.items()
        ]
        train_all(experiments, *problem[:4], seeds=WHOLE_SEEDS)
    else:
        for layers in networks.values():
            for seed in WHOLE_SEEDS:
                rng = np.random.default_rng(seed)
                ws = initialize_weights(layers, rng, TASK_3C.draw)
                ws = [w.astype(row.precision) for w in ws]
                functions = row.prepare(problem._replace(ws=ws))
                for _ in range(epochs):
                    validated_epoch(*functions, rng.permutation(len(problem.X)), problem.batch_size)
    connection.send(perf_counter() - start)


def measure_whole(rounds: int, epochs: int, quick: bool) -> dict[str, Array]:
    """Return the seconds on the clock of every row, [rounds], nan if it failed."""
    os.environ["BENCHMARK_THREADS"] = str(joblib.cpu_count())  # of the processes started here
    context, rows = get_context("spawn"), [row for row in ROWS if row.name in WHOLE_ROWS]
    seconds = {str(row): np.full(rounds, np.nan) for row in rows}
    for turn in range(rounds):
        for row in rows:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=whole_work, args=(sender, row, epochs, quick))
            process.start()
            sender.close()
            try:
                seconds[str(row)][turn] = receiver.recv()
            except EOFError:
                print(f"{row}: its process has died", file=sys.stderr)
            process.join()
    return seconds


# Showing


def machine() -> str:
    """Return the processor, its cores, and for which processor NumPy's BLAS has been written."""
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = next(line for line in about.splitlines() if line.startswith("model name"))
        name = name.partition(":")[2].strip()
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    blas = [f"{p['internal_api']} {p.get('architecture', '')}" for p in threadpool_info()]
    return ", ".join([f"{name} with {joblib.cpu_count()} cores", *dict.fromkeys(blas)])


def versions() -> str:
    """Return what was compared, and what the environment tells NumPy's BLAS alone."""
    installed = {d.name.lower(): d.version for d in distributions()}
    packages = [f"{p} {installed[p]}" for p in PACKAGES if p in installed]
    kernels = "OPENBLAS_CORETYPE"
    forced = [f"{kernels}={os.environ[kernels]}"] if kernels in os.environ else []
    return ", ".join([f"Python {platform.python_version()}", *packages, *forced])


def whole_table(seconds: dict[str, Array]) -> Iterator[str]:
    """Yield the lines of a Markdown table: seconds and ratios, medians over the rounds."""
    yield "| implementation | seconds | times ours |\n|---|---:|---:|"
    for row, of_row in seconds.items():
        times = np.median(of_row / seconds["ours, float64"])
        yield f"| {row} | {np.median(of_row):.1f} | {times:.2f} |"


def table(measured: dict[str, Measurement | str]) -> Iterator[str]:
    """Yield the lines of a Markdown table: medians over the rounds, and ratios."""
    yield (
        "| implementation | training, s an epoch | with five validations | times ours | with them "
        "| times the floor | peak memory, MB | validation loss |"
    )
    yield "|---" + "|---:" * 7 + "|"
    for row, result in measured.items():
        if isinstance(result, str):
            yield f"| {row} | {result} |" + " |" * 6
            continue
        ours, floor = measured["ours, float64"], measured[f"floor, {row.rsplit(', ')[-1]}"]
        cells = [
            f"{np.median(result.training):.3f}",
            f"{np.median(result.validating):.3f}",
            f"{ratio(result, ours, False):.2f}",
            f"{ratio(result, ours, True):.2f}",
            f"{ratio(result, floor, False):.2f}",
            f"{result.memory[-1]:.0f}",
            f"{result.loss[-1]:.8f}",
        ]
        yield " | ".join([f"| {row}", *cells]) + " |"


def targets(measured: dict[str, Measurement | str]) -> Iterator[str]:
    """Yield a line for every target whose rows were measured."""
    for one, other, validating, bound, wanted in TARGETS:
        if isinstance(measured[one], str) or isinstance(measured[other], str):
            continue
        found = ratio(measured[one], measured[other], validating)
        verdict = "met" if (found >= wanted) == (bound == "at least") else "MISSED"
        kind = "with validations" if validating else "training alone"
        yield f"- {one} / {other}, {kind}: {found:.2f}, wanted {bound} {wanted}: {verdict}"


def plot_table(measured: dict[str, Measurement | str]) -> None:
    """Draw the seconds of an epoch, validations on top of training."""
    rows = {row: result for row, result in measured.items() if not isinstance(result, str)}
    training = np.array([np.median(result.training) for result in rows.values()])
    both = np.array([np.median(result.validating) for result in rows.values()])
    colors = np.where([DOUBLE in row for row in rows], "C0", "C1")
    _, ax = plt.subplots(figsize=(7, 0.35 * len(rows) + 0.8), layout="constrained")
    ax.barh([*rows], both, color=colors, alpha=0.4, label="five validations an epoch")
    ax.barh([*rows], training, color=colors, label="training")
    ax.invert_yaxis()
    ax.margins(y=0.01)
    ax.set_title(machine(), fontsize="small")
    ax.set_xlabel("seconds an epoch of 20,000 images, one thread")
    ax.legend()


SCALING_ROWS = ["ours", "JAX jit + scan", "PyTorch eager", "class-based NumPy", "floor"]
AXES = {
    "hidden units": {n: {"neurons_per_layer": (n, 10)} for n in (32, 64, 256, 1024, 4096)},
    "hidden layers": {n: {"neurons_per_layer": (64,) * n + (10,)} for n in (1, 2, 5, 10, 20)},
    "batch size": {n: {"batch_size": n} for n in (8, 32, 128, 512, 1024)},
    "training images": {n: {"images": n} for n in (5_000, 10_000, 20_000, 40_000, 60_000)},
}


def measure_scaling(rounds: int, quick: bool) -> Iterator[tuple[str, int, str, float]]:
    """Yield axis, value, row and microseconds of training an image, the least over the rounds."""
    rows = [row for row in ROWS if row.precision == DOUBLE and row.name in SCALING_ROWS]
    for axis, values in AXES.items():
        for value, changes in [*values.items()][: 2 if quick else None]:
            sizes = {"images": 2_048, "validation_images": 32} | changes
            for row, result in measure(rows, rounds, **sizes).items():
                if failed := isinstance(result, str):
                    print(f"{row}, {axis} {value}: {result}", file=sys.stderr)
                seconds = np.nan if failed else np.min(result.training)
                yield axis, value, row, 1e6 * seconds / sizes["images"]


def plot_scaling(points: Sequence[tuple[str, int, str, float]]) -> None:
    """Draw the cost of an image along every axis, one line a row."""
    figure, axes = plt.subplots(2, 2, figsize=(7, 5.5), sharey="row", layout="constrained")
    rows = dict.fromkeys(row for _, _, row, _ in points)
    for ax, axis in zip(axes.flat, AXES, strict=True):
        for row, marker in zip(rows, "osD^v", strict=True):
            line = [(x, y) for name, x, label, y in points if (name, label) == (axis, row)]
            ax.loglog(*zip(*line, strict=True), marker=marker, markersize=4, label=row)
        ax.set_xticks([*AXES[axis]], [f"{value:,}" for value in AXES[axis]], fontsize="x-small")
        ax.set_xticks([], minor=True)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")
        ax.set_xlabel(axis)
        ax.set_ylabel("training, µs an image")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.supxlabel(machine(), fontsize="small")


def main() -> None:
    """Read the command line, measure, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scaling", action="store_true", help="how cost grows with each size")
    parser.add_argument("--whole", action="store_true", help="several trainings on all cores")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw it, as .svg or .png")
    parser.add_argument("--quick", action="store_true", help="little data, one round: does it run?")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each kind (default: 5)")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    print(machine(), versions(), sep="\n", end="\n\n")
    if options.whole:
        epochs = 1 if options.quick else 5
        seconds = measure_whole(rounds, epochs, options.quick)
        print(f"{[*whole_networks(options.quick)]}, seeds {WHOLE_SEEDS}, {epochs} epochs each\n")
        print(*whole_table(seconds), sep="\n")
        return
    if options.scaling:
        points = []
        print("| axis | value | implementation | training, µs an image |\n|---|---:|---|---:|")
        for axis, value, row, cost in measure_scaling(rounds, options.quick):
            points.append((axis, value, row, cost))
            print(f"| {axis} | {value} | {row} | {cost:.2f} |", flush=True)
        plot_scaling(points)
    else:
        sizes = QUICK if options.quick else {}
        measured = measure(ROWS, rounds, **sizes)
        print(*table(measured), "", *targets(measured), sep="\n")
        plot_table(measured)
    if options.plot:
        plt.savefig(options.plot)


if __name__ == "__main__":
    main()
