import math
import re
from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import task2
from task2 import (
    PATIENCE,
    TASK_2C,
    VALIDATIONS_PER_EPOCH,
    Experiment,
    Run,
    axpy,
    calculate_accuracy,
    descend,
    evaluate,
    gradient_descent,
    predict,
    should_stop,
    start,
    train,
)
from task2a import (
    SIGMOID,
    Activation,
    backward,
    count_parameters,
    cross_entropy_loss,
    forward,
    softmax,
    uniform,
)
from task3 import TASK_3C
from task4 import RELU, TASK_4E, TASK_4F_DEEP, he_normal
from utils import GRID_STEP, batch_loader, snap

no_warnings = pytest.mark.filterwarnings("error")


def zeros(_, shape):
    return np.zeros(shape)


# ---- settings


def test_the_experiment_of_task_2c():
    assert Experiment("Task 2c") == TASK_2C
    assert TASK_2C.neurons_per_layer == (64, 10)
    assert (TASK_2C.draw, TASK_2C.activation) == (uniform, SIGMOID)
    assert TASK_2C.update is gradient_descent
    assert (TASK_2C.learning_rate, TASK_2C.batch_size, TASK_2C.epochs) == (0.1, 32, 50)
    assert (VALIDATIONS_PER_EPOCH, PATIENCE) == (5, 50)


def test_the_network_that_task_2c_trains_has_50880_parameters():
    X, Y = np.zeros((32, 785)), np.eye(10)[[0] * 32]
    run = train(TASK_2C._replace(epochs=1), X, Y, X, Y, seed=0)
    assert [w.shape for w in run.best_weights] == [(785, 64), (64, 10)]
    assert count_parameters(run.best_weights) == 50_880


# ---- the update


def test_axpy_by_hand():
    x, y = np.array([[1.0, -2]]), np.array([[10.0, 20]])
    assert axpy(-3, x, y).tolist() == [[7, 26]]
    assert (x.tolist(), y.tolist()) == ([[1, -2]], [[10, 20]])


def test_one_weight_moves_against_its_gradient():
    # w_ji := w_ji - alpha delta_j x_i with delta_j = 0.5, x_i = 3, alpha = 0.1
    (w,), _ = gradient_descent([np.array([[2.0]])], [np.zeros((1, 1))], [np.array([[1.5]])], 0.1)
    assert w[0, 0] == pytest.approx(1.85, rel=1e-15)


def test_gradient_descent_over_three_steps_by_hand():
    ws, vs = [np.array([[1.0, -2]]), np.array([[3.0], [4]])], [np.zeros((1, 2)), np.zeros((2, 1))]
    for g in (1, 10, 100):
        ws, vs = gradient_descent(ws, vs, [np.array([[g, 0.0]]), np.array([[-g], [2.0 * g]])], 0.1)
    np.testing.assert_allclose(ws[0], [[1 - 11.1, -2]], rtol=1e-14)
    np.testing.assert_allclose(ws[1], [[3 + 11.1], [4 - 22.2]], rtol=1e-14)


def test_gradient_descent_moves_every_layer():
    ws, gradients = [np.full((1, 1), n) for n in (1.0, 2, 3, 4)], [np.ones((1, 1))] * 4
    moved, _ = gradient_descent(ws, [np.zeros((1, 1))] * 4, gradients, 0.5)
    assert [w.item() for w in moved] == [0.5, 1.5, 2.5, 3.5]


def test_gradient_descent_leaves_its_arguments_unchanged():
    ws, vs, gradients = [np.ones((2, 2))], [np.zeros((2, 2))], [np.full((2, 2), 3.0)]
    gradient_descent(ws, vs, gradients, 0.1)
    assert (ws[0] == 1).all()
    assert (vs[0] == 0).all()
    assert (gradients[0] == 3).all()


def test_a_layer_without_gradient_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        gradient_descent([np.ones((1, 1))] * 2, [], [np.ones((1, 1))], 0.1)


# ---- accuracy and evaluation


def test_accuracy_by_hand():
    outputs = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3], [0.4, 0.3, 0.3]])
    assert calculate_accuracy(np.eye(3)[[0, 2, 1, 1]], outputs) == 0.75
    assert calculate_accuracy(np.eye(3)[[0, 2, 1, 0]], outputs) == 1
    assert calculate_accuracy(np.eye(3)[[1, 0, 2, 2]], outputs) == 0
    assert calculate_accuracy(np.eye(3)[[2]], outputs[:1]) == 0


def test_accuracy_takes_the_first_of_equal_outputs():
    outputs = np.array([[1 / 3] * 3, [0.2, 0.4, 0.4]])
    assert calculate_accuracy(np.eye(3)[[0, 1]], outputs) == 1
    assert calculate_accuracy(np.eye(3)[[1, 2]], outputs) == 0


def test_accuracy_ignores_repetition():
    outputs = softmax(np.random.default_rng(0).normal(size=(7, 3)))
    targets = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    expected = calculate_accuracy(targets, outputs)
    repeated = calculate_accuracy(np.vstack([targets] * 3), np.vstack([outputs] * 3))
    assert repeated == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.float32])
def test_accuracy_takes_targets_of_any_type(dtype):
    # 300 hits: more than a byte counts
    targets = np.eye(3)[np.arange(400) % 3]
    outputs = targets.copy()
    outputs[300:] = np.roll(targets[300:], 1, axis=1)
    assert calculate_accuracy(targets.astype(dtype), outputs) == 0.75


@pytest.mark.parametrize("row", [0, 999, 1_000, 9_999, 10_000, 19_999, 39_999])
def test_every_one_of_many_examples_is_evaluated(row):
    targets, outputs = np.eye(2)[[0] * 40_000], np.tile([0.75, 0.25], (40_000, 1))
    outputs[row] = [1 / 16, 15 / 16]
    loss, accuracy = evaluate(targets, outputs)
    assert loss == pytest.approx(math.log(4 / 3) + math.log(12) / 40_000, rel=1e-12)
    assert accuracy == 39_999 / 40_000


def test_evaluation_is_loss_and_accuracy_by_hand():
    outputs, targets = np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([[0.0, 1], [0, 1]])
    loss, accuracy = evaluate(targets, outputs)
    assert loss == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-14)
    assert accuracy == 0.5


# ---- early stopping


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3], False),
        ([3, 2, 1, 0.5, 0.4], False),
        ([3, 2, 2, 2], False),
        ([3, 2, 2, 2, 2], True),  # a plateau is no improvement
        ([3, 2, 4, 3, 2.5], True),  # better than the last, not than the best
        ([3, 2, 4, 3, 1.9], False),
        ([1, 1, 1, 0.9, 1, 1], False),
        ([2, 3, 4, 5], True),
        ([2, 3, 4], False),
    ],
)
def test_stop_after_three_validations_without_improvement(losses, expected):
    assert should_stop(losses, 3) == expected
    assert should_stop(np.array(losses), 3) == expected


def test_without_patience_the_next_validation_is_the_last():
    assert should_stop([2, 1], 0)
    assert not should_stop([2, 1], 1)


def test_patience_is_50_validations():
    assert not should_stop([1] + [2] * 49)
    assert should_stop([1] + [2] * 50)
    assert should_stop([1] + [2] * 60)


@pytest.mark.parametrize("before", [3, 7, 250])
def test_patience_is_the_same_however_long_it_has_been_going(before):
    losses = [3 - n / 1000 for n in range(before)]
    assert not should_stop(losses + [3] * 49)
    assert should_stop(losses + [3] * 50)


def test_the_best_loss_is_that_of_all_validations_however_long_ago():
    assert should_stop([0.5] + [3 - n / 1000 for n in range(500)])


def test_an_improvement_counts_however_small():
    assert not should_stop([1.0] * 50 + [1 - 2**-53])


def test_nan_does_not_keep_a_training_alive():
    assert should_stop([1] + [math.nan] * 51)


def scripted(losses, per_epoch=1):
    # Weights that make the validation loss what the script says: for the input (1, 0) and the
    # first of two classes, it is ln(1 + exp(t)). The second input is 0, its weights tell the step.
    rows = iter(
        [[0, np.log(np.expm1(loss))], [step, step]] for step, loss in enumerate(losses, start=1)
    )

    def update(ws, vs, gradients, learning_rate):
        return [np.array(next(rows))], vs

    epochs = len(losses) // per_epoch
    settings = {"draw": zeros, "update": update, "batch_size": 1, "epochs": epochs}
    return Experiment("scripted", neurons_per_layer=(2,), **settings)


ONE_EXAMPLE = (np.array([[1.0, 0]]), np.array([[1.0, 0]]))
noise = np.random.default_rng(0).uniform(1.1, 2, 200).tolist()
SEQUENCES = {  # losses, validations until the stop, the best of them (from 1)
    "improving": ([3 - k / 100 for k in range(200)], 200, 200),
    "U-shaped": ([*np.linspace(2, 1, 10), *np.linspace(1.01, 9, 190)], 60, 10),
    "plateau": ([1.0] * 200, 51, 1),
    "down to a plateau": ([2.0, 1.5] + [1.0] * 198, 53, 3),
    "noise": ([*noise[:20], 1.0, *noise[:179]], 71, 21),
    "rising": ([1 + k / 100 for k in range(200)], 51, 1),
    "sawtooth": ([1.0, *[2.0, 1.9, 1.8, 1.7] * 49, 2.0, 1.9, 1.8], 51, 1),
    "improving just in time": ([1.0] + [1.1] * 49 + [0.9] + [1.2] * 149, 101, 51),
    "improving just too late": ([1.0] + [1.1] * 50 + [0.9] + [1.2] * 148, 51, 1),
    "as good as before": ([1.0] + [1.1] * 30 + [1.0] + [1.1] * 168, 51, 1),
    "twice nearly too late": ([2.0] * 50 + [1.5] * 50 + [1.0] * 100, 151, 101),
    "epochs over": ([1.0] + [1.1] * 39, 40, 1),
    "tiny improvements": ([1 - k * 1e-5 for k in range(200)], 200, 200),
    "stopping in the middle of an epoch": ([1.5, 1.4, 1.3, *[2.0] * 197], 53, 3),
}


@pytest.mark.parametrize("per_epoch", [1, 4, 5])
@pytest.mark.parametrize("name", SEQUENCES)
def test_training_stops_and_restores_the_best_weights(name, per_epoch):
    losses, stop, best = SEQUENCES[name]
    data = *(np.repeat(array, per_epoch, axis=0) for array in ONE_EXAMPLE), *ONE_EXAMPLE
    run = train(scripted(losses, per_epoch), *data, seed=0, keep_at=range(1, len(losses) + 1))
    np.testing.assert_allclose(run.val_loss, losses[:stop], rtol=0, atol=GRID_STEP)
    assert run.best + 1 == best
    assert run.best_weights[0][1].tolist() == [best, best]
    assert run.last_weights[0][1].tolist() == [stop, stop]
    assert list(run.kept_weights) == list(range(1, stop + 1))
    assert run.epochs == math.ceil(stop / per_epoch)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("after", [0, 1, 7])
def test_divergence_is_an_error_that_says_what_to_do(bad, after):
    losses = [2.0, 1, 3, 2, 1, 2, 3][:after] + [bad] * 60
    named = "scripted: sums reach (nan|inf), expected less than 8,192: lower the learning rate 0.1"
    with pytest.raises(FloatingPointError, match=named):
        train(scripted(losses), *ONE_EXAMPLE, *ONE_EXAMPLE, seed=0)


def test_the_best_validation_is_the_first_of_equals():
    losses, other = np.array([3, 1, 2, 1.0]), np.array([0.0, 1, 2, 3])
    run = Run(TASK_2C, 0, 1, other, other, other, losses, other, [], [], {})
    assert run.best == 1
    assert type(run.best) is int


# ---- the training loop, watched through its update
# The inputs are the rows of the identity and there is no hidden layer, so row i of the gradient
# is (yhat - y) / n if example i is in the batch of n, and 0 if it is not.


def watched(update=gradient_descent, **settings):
    seen = []

    def note(ws, vs, gradients, learning_rate):
        seen.append((ws[0].copy(), gradients[0].copy(), learning_rate))
        return update(ws, vs, gradients, learning_rate)

    experiment = Experiment(
        "watched", neurons_per_layer=(3,), draw=zeros, update=note, batch_size=5, epochs=3
    )
    return experiment._replace(**settings), seen


def identity(count, seed=0):
    return np.eye(count), np.eye(3)[np.random.default_rng(seed).integers(0, 3, count)]


def batches_of(seen):
    return [np.flatnonzero(np.abs(gradient).sum(axis=1)) for _, gradient, _ in seen]


def test_each_epoch_visits_each_example_once():
    experiment, seen = watched(epochs=30)
    train(experiment, *identity(17), *identity(17), seed=0)
    batches = batches_of(seen)
    assert [len(batch) for batch in batches] == [5, 5, 5, 2] * 30
    for first in range(0, 120, 4):
        assert sorted(np.concatenate(batches[first : first + 4])) == list(range(17))


def test_each_epoch_has_an_order_of_its_own():
    experiment, seen = watched(epochs=30)
    train(experiment, *identity(17), *identity(17), seed=0)
    batches = [tuple(batch) for batch in batches_of(seen)]
    assert len({tuple(batches[first : first + 4]) for first in range(0, 120, 4)}) == 30


@pytest.fixture
def rows_seen(monkeypatch):
    """What `forward` was given: the first input of every row, which numbers it."""
    seen = []

    def noted(X, *rest):
        seen.append(np.round(X[:, 0] * 2.0**19).astype(int))
        return forward(X, *rest)

    monkeypatch.setattr(task2, "forward", noted)
    return seen


def numbered(count):
    X = np.ones((count, 2))
    X[:, 0] = np.arange(count) * GRID_STEP
    return X, np.eye(2)[np.arange(count) % 2]


@pytest.mark.parametrize("count", [20_000, 70_016])  # as here, and more than MNIST has
def test_every_example_is_trained_on_in_the_order_of_the_seed(count, rows_seen):
    experiment = Experiment("many", neurons_per_layer=(2,), epochs=3)
    train(experiment, *numbered(count), *numbered(7), seed=11)
    visited = np.concatenate([rows for rows in rows_seen if len(rows) == 32])
    order = np.random.default_rng(11).spawn(2)[1]
    expected = np.concatenate([order.permutation(count) for _ in range(3)])
    np.testing.assert_array_equal(visited, expected)


@pytest.mark.parametrize("count", [10_000, 70_017])
def test_every_example_is_validated_on_each_time(count, rows_seen):
    experiment = Experiment("many", neurons_per_layer=(2,), epochs=2)
    run = train(experiment, *numbered(320), *numbered(count), seed=11)
    validated = np.concatenate([rows for rows in rows_seen if len(rows) != 32])
    assert len(run.val_loss) == 10
    np.testing.assert_array_equal(validated, np.tile(np.arange(count), 10))


def test_the_learning_rate_and_the_settings_are_the_same_in_every_one_of_many_epochs():
    experiment, seen = watched(epochs=60, learning_rate=0.0625)
    train(experiment, *identity(5), *identity(5), seed=0)
    assert [rate for *_, rate in seen] == [0.0625] * 60


def test_the_update_gets_back_what_it_returned():
    # momentum's velocity must survive from step to step and from epoch to epoch
    received = []

    def count(ws, vs, gradients, learning_rate):
        received.append([v.copy() for v in vs])
        return ws, [v + n for n, v in enumerate(vs, start=1)]

    experiment = Experiment(
        "count", neurons_per_layer=(4, 3), update=count, batch_size=5, epochs=30
    )
    X, Y = identity(17)
    train(experiment, X, Y, X, Y, seed=0)
    assert [v.shape for v in received[0]] == [(17, 4), (4, 3)]
    assert len(received) > 50
    for step, vs in enumerate(received):
        assert [np.unique(v).tolist() for v in vs] == [[step], [2 * step]]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 6, 20, 21])
def test_curves_are_what_a_second_account_finds(batch_size):
    # every example before its update, since the validation before; the validation set after it
    X, Y = identity(21)
    X_val, Y_val = np.vstack([X[:8], X[2:9]]) * 0.5, np.eye(3)[np.arange(15) % 3]
    experiment, seen = watched(batch_size=batch_size, learning_rate=0.5)
    run = train(experiment, X, Y, X_val, Y_val, seed=0)
    weights = [w for w, *_ in seen]
    losses, hits = [], []
    for w, batch in zip(weights, batches_of(seen), strict=True):
        outputs = softmax(snap(w)[batch])
        losses.append(-np.log(outputs[Y[batch] == 1]))
        hits.append(outputs.argmax(axis=1) == Y[batch].argmax(axis=1))
    for k, (previous, step) in enumerate(pairwise([0, *run.steps.astype(int)])):
        loss, accuracy = (np.concatenate(of[previous:step]).mean() for of in (losses, hits))
        assert run.train_loss[k] == pytest.approx(loss, rel=1e-12)
        assert run.train_accuracy[k] == pytest.approx(accuracy, rel=1e-12)
        if step < len(weights):
            outputs = softmax(X_val @ weights[step])
            assert run.val_loss[k] == pytest.approx(cross_entropy_loss(Y_val, outputs), rel=1e-12)
            assert run.val_accuracy[k] == calculate_accuracy(Y_val, outputs)
    assert step == len(weights) == 3 * math.ceil(21 / batch_size)


def test_every_one_of_the_4000_examples_between_two_validations_counts(tiny):
    X, Y, _ = tiny([], examples=20_000)
    still = Experiment("still", (3,), update=lambda ws, vs, *_: (ws, vs), epochs=1)
    run = train(still, X, Y, X[:5], Y[:5], seed=0)
    parts = np.random.default_rng(0).spawn(2)[1].permutation(20_000).reshape(5, 4_000)
    for k, part in enumerate(parts):
        outputs = forward(snap(X[part]), run.last_weights)[-1]
        assert run.train_loss[k] == pytest.approx(cross_entropy_loss(Y[part], outputs), rel=1e-12)
        assert run.train_accuracy[k] == calculate_accuracy(Y[part], outputs)


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (50, [*range(2, 31, 2)]),  # ten batches an epoch
        (100, [*range(4, 61, 4)]),
        (25, [*range(1, 16)]),
        (15, [*range(1, 10)]),
        (5, [1, 2, 3]),
        (60, [*range(2, 37, 2)]),  # twelve
        (70, [*range(2, 43, 2)]),  # fourteen
        (55, [*range(2, 33, 2), 33]),  # eleven; the last step of all is always validated
    ],
)
def test_validations_come_five_times_an_epoch_or_a_little_more_often(examples, expected):
    experiment, _ = watched()
    run = train(experiment, *identity(examples), *identity(examples), seed=0)
    assert run.steps.tolist() == expected


@pytest.mark.parametrize("experiment", [TASK_2C, TASK_3C, TASK_4F_DEEP], ids=lambda e: e.name)
def test_every_validation_is_of_the_network_with_its_activation(experiment):
    X, Y, X_val, Y_val = overfitting()
    few = experiment._replace(neurons_per_layer=(8, 4, 3), batch_size=8, epochs=2)
    run = train(few, X, Y, X_val, Y_val, seed=0, keep_at=range(11))
    for k, ws in enumerate(list(run.kept_weights.values())[1:]):
        expected = evaluate(Y_val, forward(X_val, ws, experiment.activation)[-1])
        assert (run.val_loss[k], run.val_accuracy[k]) == pytest.approx(expected, rel=1e-12)


def test_the_report_validates_after_every_125_steps():
    X, Y = np.zeros((20_000, 2)), np.eye(2)[[0] * 20_000]
    run = train(Experiment("a", neurons_per_layer=(2,), epochs=2), X, Y, X[:3], Y[:3], seed=0)
    assert run.steps.tolist() == list(range(125, 1_251, 125))


def test_all_epochs_are_done():
    experiment, seen = watched(epochs=45, learning_rate=0.01)
    run = train(experiment, *identity(17), *identity(17), seed=0)
    assert len(seen) == 45 * 4
    assert run.epochs == 45


@pytest.mark.parametrize(("examples", "epochs"), [(20, 3), (40, 2), (1, 7)])
def test_a_run_tells_the_epochs_that_it_took(examples, epochs):
    X, Y, X_val, Y_val = overfitting()
    experiment = SMALL._replace(epochs=epochs, batch_size=min(4, examples))
    assert train(experiment, X[:examples], Y[:examples], X_val, Y_val, seed=0).epochs == epochs


def test_training_and_validation_use_one_blas_thread(monkeypatch, blas_threads):
    threads = []

    def counting(function):
        def count(*args):
            threads.append(blas_threads())
            return function(*args)

        return count

    monkeypatch.setattr(task2, "forward", counting(forward))
    experiment, _ = watched(counting(gradient_descent))
    with threadpool_limits(limits=2, user_api="blas"):
        train(experiment, *identity(5), *identity(5), seed=0)
    assert len(threads) == 9  # three steps, their updates, three validations
    assert all(set(pools) == {1} for pools in threads)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_failed_run_leaves_the_threads_as_they_were():
    def threads():
        return [pool["num_threads"] for pool in threadpool_info()]

    with threadpool_limits(2):
        before = threads()
        with pytest.raises(FloatingPointError) as kept:
            train(scripted([math.nan] * 9), *ONE_EXAMPLE, *ONE_EXAMPLE, seed=0)
        assert threads() == before
        assert kept.tb is not None  # which keeps the frames of the run


def test_no_step_is_done_after_the_stop():
    experiment, seen = watched(lambda ws, vs, *_: (ws, vs), epochs=200)
    train(experiment, *identity(5), *identity(5), seed=0)
    assert len(seen) == 51


def test_weights_are_kept_after_the_steps_asked_for():
    experiment, seen = watched()
    run = train(experiment, *identity(17), *identity(17), seed=0, keep_at=[12, 0, 7, 1])
    assert list(run.kept_weights) == [0, 1, 7, 12]
    for step in (0, 1, 7):
        np.testing.assert_array_equal(run.kept_weights[step][0], seen[step][0])
    np.testing.assert_array_equal(run.kept_weights[12][0], run.last_weights[0])


def test_weights_are_kept_only_if_asked_for():
    experiment, _ = watched()
    assert train(experiment, *identity(17), *identity(17), seed=0).kept_weights == {}


@pytest.mark.parametrize("beyond", [33, 45, 10**6])
def test_steps_beyond_the_last_are_not_reached_and_no_error(beyond):
    experiment, _ = watched()
    run = train(experiment, *identity(50), *identity(50), seed=0, keep_at=[2, 30, beyond])
    assert list(run.kept_weights) == [2, 30]


@pytest.mark.parametrize(
    ("keep_at", "named"), [([0, 3], 3), ([2, -2], -2), ([7, 32, 2], 7), ([29, 30], 29)]
)
def test_steps_without_validation_are_not_kept(keep_at, named):
    experiment, _ = watched()
    with pytest.raises(ValueError, match=f"keep_at names step {named}, expected multiples of 2"):
        train(experiment, *identity(50), *identity(50), seed=0, keep_at=keep_at)


# ---- training real networks


def overfitting(seed=0):
    # labels without sense: the validation loss soon rises, and the training loss falls
    rng = np.random.default_rng(seed)
    X = np.hstack([rng.normal(size=(60, 5)), np.ones((60, 1))])
    Y = np.eye(3)[rng.integers(0, 3, 60)]
    return X[:40], Y[:40], X[40:], Y[40:]


SMALL = Experiment("small", neurons_per_layer=(8, 3), learning_rate=2.0, batch_size=4, epochs=50)


@pytest.fixture(scope="module")
def small_run():
    return train(SMALL, *overfitting(), seed=3, keep_at=[0, 2])


def test_best_weights_survive_a_tail_that_gets_worse(small_run):
    _, _, X_val, Y_val = overfitting()
    best, last = (
        cross_entropy_loss(Y_val, forward(X_val, ws)[-1])
        for ws in (small_run.best_weights, small_run.last_weights)
    )
    assert best == pytest.approx(small_run.val_loss.min(), rel=1e-12)
    assert last == pytest.approx(small_run.val_loss[-1], rel=1e-12)
    assert last > 1.1 * best
    assert len(small_run.val_loss) == small_run.best + 51 < 250


def test_training_loss_falls(small_run):
    losses = small_run.train_loss
    assert losses[-5:].mean() < losses[:5].mean() - 0.1


def test_a_run_knows_its_experiment_and_seed(small_run):
    assert small_run.experiment == SMALL
    assert small_run.seed == 3
    assert [w.shape for w in small_run.best_weights] == [(6, 8), (8, 3)]
    assert {len(values) for values in small_run[3:8]} == {len(small_run.steps)}


def test_initial_weights_are_drawn_as_the_experiment_says_and_snapped(small_run):
    drawn = np.random.default_rng(3).spawn(2)[0].uniform(-1, 1, 6 * 8 + 8 * 3)
    first, last = small_run.kept_weights[0]
    np.testing.assert_array_equal(first, snap(drawn[:48].reshape(6, 8)))
    np.testing.assert_array_equal(last, snap(drawn[48:].reshape(8, 3)))


@pytest.mark.parametrize("seed", [0, 2**32, 2**64 + 1])
def test_seeds_of_any_size_are_seeds_of_their_own(seed):
    (w, _), _, order_rng = start(SMALL, 6, seed)
    weights, order = np.random.default_rng(seed).spawn(2)
    np.testing.assert_array_equal(w, snap(weights.uniform(-1, 1, (6, 8))))
    np.testing.assert_array_equal(order_rng.permutation(99), order.permutation(99))


def test_negative_seeds_are_refused():
    with pytest.raises(ValueError, match="non-negative"):
        start(SMALL, 6, seed=-1)


def test_a_start_is_weights_on_the_grid_at_rest_and_a_generator_of_orders():
    ws, vs, order_rng = start(SMALL, 6, seed=3)
    assert [w.shape for w in ws] == [v.shape for v in vs] == [(6, 8), (8, 3)]
    assert not any(v.any() for v in vs)
    for w, drawn in zip(ws, kept_at_the_start(3), strict=True):
        np.testing.assert_array_equal(w, drawn)
    expected = np.random.default_rng(3).spawn(2)[1].permutation(99)
    np.testing.assert_array_equal(order_rng.permutation(99), expected)


def assert_equal_runs(run, other):
    np.testing.assert_array_equal(run[3:8], other[3:8])
    for ws, others in [
        (run.best_weights, other.best_weights),
        (run.last_weights, other.last_weights),
    ]:
        for w, v in zip(ws, others, strict=True):
            np.testing.assert_array_equal(w, v)


def test_equal_seeds_give_equal_runs_whatever_ran_between(small_run):
    train(SMALL._replace(neurons_per_layer=(4, 4, 3)), *overfitting(1), seed=5)
    np.random.seed(5)  # noqa: NPY002
    assert_equal_runs(train(SMALL, *overfitting(), seed=3), small_run)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.float32])
def test_training_takes_labels_of_any_type(small_run, dtype):
    X, Y, X_val, Y_val = overfitting()
    run = train(SMALL, X, Y.astype(dtype), X_val, Y_val.astype(dtype), seed=3)
    assert_equal_runs(run, small_run)


def kept_at_the_start(seed, experiment=SMALL, examples=40):
    X, Y, X_val, Y_val = overfitting()
    few = experiment._replace(epochs=1)
    return train(few, X[:examples], Y[:examples], X_val, Y_val, seed, keep_at=[0]).kept_weights[0]


def test_different_seeds_draw_different_weights_in_every_layer():
    drawn = [kept_at_the_start(seed) for seed in range(5)]
    for layer in (0, 1):
        assert len({ws[layer].tobytes() for ws in drawn}) == 5


def test_different_seeds_have_different_orders():
    orders = set()
    for seed in range(5):
        experiment, seen = watched(epochs=1)
        train(experiment, *identity(17), *identity(17), seed=seed)
        orders.add(str([batch.tolist() for batch in batches_of(seen)]))
    assert len(orders) == 5


def test_the_weights_drawn_do_not_depend_on_the_examples_nor_the_order_on_the_network(rows_seen):
    for w, v in zip(kept_at_the_start(0), kept_at_the_start(0, examples=12), strict=True):
        np.testing.assert_array_equal(w, v)
    rows_seen.clear()
    for layers in [(2,), (5, 4, 2)]:
        train(Experiment("a", layers, epochs=1), *numbered(320), *numbered(7), seed=0)
    batches = [rows.tolist() for rows in rows_seen if len(rows) == 32]
    assert batches[:10] == batches[10:]


def test_training_leaves_the_data_and_the_global_random_state_unchanged():
    data = overfitting()
    np.random.seed(123)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    train(SMALL._replace(epochs=2), *data, seed=0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    for array, before in zip(data, overfitting(), strict=True):
        np.testing.assert_array_equal(array, before)


def test_training_does_not_write_into_its_data():
    data = overfitting()
    for array in data:
        array.flags.writeable = False  # such as joblib's memory maps are
    train(SMALL._replace(epochs=2), *data, seed=0)


def test_inputs_are_put_on_the_grid_first():
    # another machine's last bits in the preprocessed images must not matter
    X, Y, X_val, Y_val = overfitting()
    few = SMALL._replace(epochs=5)
    run = train(few, X, Y, X_val, Y_val, seed=0)
    for other in (X * (1 + 2**-50), snap(X)):
        again = train(few, other, Y, X_val, Y_val, seed=0)
        for w, v in zip(run.last_weights, again.last_weights, strict=True):
            np.testing.assert_array_equal(w, v)


# ---- a second account of a training: other code, the same bits


def on_grid(values):
    return np.round(values * 2.0**19) / 2.0**19


def second_account(experiment, X, Y, seed):
    """Return the weights after every step; sums are written in another way."""
    weights_rng, order_rng = np.random.default_rng(seed).spawn(2)
    sizes = [X.shape[1], *experiment.neurons_per_layer]
    ws = [on_grid(experiment.draw(weights_rng, shape)) for shape in pairwise(sizes)]
    vs, f, X, after = [0] * len(ws), experiment.activation, on_grid(X), [ws]
    for _ in range(experiment.epochs):
        order = order_rng.permutation(len(X))
        for first in range(0, len(X), experiment.batch_size):
            rows = order[first : first + experiment.batch_size]
            values, rounded = [X[rows]], [on_grid(w) for w in ws]
            for w in rounded[:-1]:
                values.append(on_grid(f.function(np.einsum("ni,ij->nj", values[-1], w))))
            outputs = softmax(np.einsum("ni,ij->nj", values[-1], rounded[-1]))
            delta = on_grid(on_grid(outputs - Y[rows]) / len(rows))
            gradients = [np.einsum("ni,nj->ij", values[-1], delta)]
            for a, w, x in zip(values[:0:-1], rounded[:0:-1], values[-2::-1], strict=True):
                delta = on_grid(f.slope(a) * np.einsum("nj,ij->ni", delta, w))
                gradients.insert(0, np.einsum("ni,nj->ij", x, delta))
            gamma = 0 if experiment.update is gradient_descent else 0.9
            vs = [gamma * v + g for v, g in zip(vs, gradients, strict=True)]
            steps = [experiment.learning_rate * v for v in vs]
            ws = [w - step for w, step in zip(ws, steps, strict=True)]
            after.append(ws)
    return after


@pytest.mark.parametrize(
    ("experiment", "hidden"),
    [
        (TASK_2C, (4,)),
        (TASK_2C, ()),
        (TASK_3C, (4,)),
        (TASK_3C._replace(learning_rate=0.5), (8, 4)),
        (TASK_4E, (4,) * 10),
        (TASK_4F_DEEP, (8, 4, 5)),
        (TASK_4F_DEEP._replace(draw=he_normal), (6,) * 10),
    ],
)
def test_every_step_of_60_epochs_is_that_of_a_second_account(tiny, experiment, hidden):
    X, Y, _ = tiny([], examples=14)
    few = experiment._replace(neurons_per_layer=(*hidden, 3), batch_size=5, epochs=60)
    run = train(few, X, Y, X, Y, seed=7, keep_at=range(181))
    account = second_account(few, X, Y, seed=7)
    assert len(run.kept_weights) > 50
    for step, ws in run.kept_weights.items():
        for w, v in zip(ws, account[step], strict=True):
            np.testing.assert_array_equal(w, v)


@pytest.mark.parametrize("layers", [(4, 3), (8, 4, 3), (4,) * 10 + (3,)])
def test_training_moves_every_layer_along_its_gradient(layers):
    # one batch an epoch, so that the order does not matter
    X, Y, X_val, Y_val = overfitting()
    experiment = Experiment("deep", neurons_per_layer=layers, batch_size=40, epochs=30)
    run = train(experiment, X, Y, X_val, Y_val, seed=0, keep_at=range(31))
    for before, after in pairwise(run.kept_weights.values()):
        gradients = backward(Y, forward(X, before), before)
        for w, g, moved in zip(before, gradients, after, strict=True):
            np.testing.assert_allclose(moved, w - 0.1 * g, rtol=0, atol=2 * GRID_STEP)
            assert (moved != w).any() or np.abs(g).max() < 20 * GRID_STEP


def test_validation_data_do_not_influence_the_weights():
    X, Y, X_val, Y_val = overfitting()
    few = SMALL._replace(epochs=3)
    run = train(few, X, Y, X_val, Y_val, seed=0)
    other = train(few, X, Y, X_val[:3] * 2, Y_val[:3], seed=0)
    np.testing.assert_array_equal(run.last_weights[0], other.last_weights[0])
    assert (run.val_loss != other.val_loss).all()


def test_large_gradients_are_not_clipped():
    X, Y, X_val, Y_val = overfitting()
    one = SMALL._replace(epochs=1, batch_size=len(X))
    run = train(one, 600 * X, Y, X_val, Y_val, seed=0, keep_at=[0])
    before = run.kept_weights[0]
    gradient = backward(Y, forward(600 * X, before), before)[0]
    moved = before[0] - one.learning_rate * gradient
    assert np.abs(gradient).max() > 0.4
    # sums of 40 inputs of up to 1800 times errors that are rounded to the grid
    np.testing.assert_allclose(run.last_weights[0], moved, rtol=0, atol=1800 * GRID_STEP)


@no_warnings
def test_training_survives_large_inputs():
    X, Y, X_val, Y_val = overfitting()
    run = train(SMALL._replace(epochs=2), 100 * X, Y, 1e6 * X_val, Y_val, seed=0)
    assert np.isfinite(run[3:8]).all()


# ---- what is refused, before any training


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, 41])
def test_training_names_an_impossible_batch_size(batch_size):
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}, expected 1 to 40"):
        train(SMALL._replace(batch_size=batch_size), *overfitting(), seed=0)


@pytest.mark.parametrize("epochs", [0, -1])
def test_training_names_an_impossible_number_of_epochs(epochs):
    with pytest.raises(ValueError, match=f"small: epochs is {epochs}, expected 1 or more"):
        train(SMALL._replace(epochs=epochs), *overfitting(), seed=0)


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        (lambda X, Y: (X[:0], Y[:0]), "(0, 4) and (0, 3), expected one example or more, and (0, "),
        (lambda X, Y: (X[:, 1:], Y), "(7, 3) and (7, 3), expected one example or more, and (7, 4)"),
        (lambda X, Y: (X, Y[1:]), "(7, 4) and (6, 3), expected one example or more, and (7, 4) an"),
        (lambda X, Y: (X, Y[:, :1]), "(7, 4) and (7, 1), expected one example or more, and (7, 4)"),
        (lambda X, Y: (X, Y.argmax(1)), "(7, 4) and (7,), expected one example or more, and (7, "),
    ],
)
def test_training_names_shapes_of_validation_examples_before_the_first_step(cut, said, monkeypatch):
    monkeypatch.setattr(task2, "descend", None)
    X, Y = np.ones((40, 4)), np.eye(3)[np.arange(40) % 3]
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        train(SMALL, X, Y, *cut(X[:7], Y[:7]), seed=0)
    assert str(error.value).startswith("small: X_val and Y_val have the shapes ")
    given = len(cut(X[:7], Y[:7])[0])
    expected = (
        f"and ({given}, 4) and ({given}, 3), since X_train and Y_train have (40, 4) and (40, 3)"
    )
    assert str(error.value).endswith(expected)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_training_counts_validation_inputs_that_are_not_finite(value, monkeypatch):
    monkeypatch.setattr(task2, "descend", None)
    X, Y = np.ones((4000, 785)), np.eye(10)[np.arange(4000) % 10]
    X_val = X.copy()
    X_val[[5, 700, 700], [0, 7, -1]] = value
    with pytest.raises(ValueError, match=r"^small: 3 numbers of X_val are not finite, expected no"):
        train(SMALL, X, Y, X_val, Y, seed=0)


def test_training_names_missing_labels():
    X, Y, X_val, Y_val = overfitting()
    with pytest.raises(ValueError, match="40 inputs but 39 labels"):
        train(SMALL, X, Y[:-1], X_val, Y_val, seed=0)


def test_training_names_labels_that_are_not_one_hot():
    X, Y, X_val, Y_val = overfitting()
    with pytest.raises(ValueError, match=r"X_train and Y_train have \(40, 6\) and \(40, 1\)$"):
        train(SMALL, X, Y[:, :1], X_val, Y_val, seed=0)
    with pytest.raises(ValueError, match=r"shape \(4, 1\), expected \(4, 3\): encode"):
        train(SMALL, X, Y[:, :1], X_val, Y_val[:, :1], seed=0)


# ---- descending


@pytest.fixture
def step(tiny):
    X, Y, ws = tiny([8, 4], examples=20)
    return snap(X), Y, [snap(w) for w in ws], [np.zeros_like(w) for w in ws]


@pytest.mark.parametrize("examples", [1, 2, 999, 1000, 1001, 3500])
def test_predictions_are_the_outputs_of_all_examples_in_their_order(tiny, examples):
    X, _, ws = tiny([4, 3], examples=examples)
    outputs = predict(X, ws, RELU)
    np.testing.assert_allclose(outputs, forward(X, ws, RELU)[-1], rtol=1e-12)
    assert outputs.shape == (examples, ws[-1].shape[1])


def test_descending_returns_labels_and_outputs_before_each_update(step):
    X, Y, ws, vs = step
    batches = [(X[:12], Y[:12]), (X[12:], Y[12:])]
    once, _, targets, outputs = descend(batches[:1], ws, vs, SMALL)
    np.testing.assert_array_equal(targets, Y[:12])
    np.testing.assert_allclose(outputs, forward(X[:12], ws)[-1], rtol=0, atol=20 * GRID_STEP)
    *_, targets, outputs = descend(batches, ws, vs, SMALL)
    np.testing.assert_array_equal(targets, Y)
    later = forward(X[12:], once)[-1]
    np.testing.assert_allclose(outputs[12:], later, rtol=0, atol=20 * GRID_STEP)


def test_descending_lowers_the_loss(step):
    X, Y, ws, vs = step
    moved, _, _, outputs = descend(batch_loader(X, Y, 4), ws, vs, SMALL)
    assert cross_entropy_loss(Y, forward(X, moved)[-1]) < cross_entropy_loss(Y, outputs)


def test_updates_far_below_the_grid_add_up(step):
    X, Y, ws, vs = step
    rate = GRID_STEP / 1000
    moved, *_ = descend([(X, Y)] * 100, ws, vs, SMALL._replace(learning_rate=rate))
    for w, v, g in zip(ws, moved, backward(Y, forward(X, ws), ws), strict=True):
        np.testing.assert_allclose(w - v, 100 * rate * g, rtol=0, atol=1_000 * rate * GRID_STEP)
        assert (w != v).mean() > 0.9


def test_outputs_are_probabilities_that_are_not_rounded(step):
    X, Y, ws, vs = step
    *_, outputs = descend([(X, Y)], ws, vs, SMALL)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-14)
    assert (outputs != on_grid(outputs)).all()


def test_descending_leaves_its_arguments_unchanged(step):
    X, Y, ws, vs = step
    given = [X, Y, *ws, *vs]
    before = [array.copy() for array in given]
    descend([(X, Y)] * 3, ws, vs, TASK_3C._replace(neurons_per_layer=(8, 4, 3)))
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_descending_uses_the_activation(step):
    X, Y, ws, vs = step
    double = Activation("double", lambda z: 2 * z, lambda a: 2 + 0 * a)
    *_, outputs = descend([(X, Y)], ws, vs, SMALL._replace(activation=double))
    expected = softmax(4 * X @ ws[0] @ ws[1] @ ws[2])
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=100 * GRID_STEP)
