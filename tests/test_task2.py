import math
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import task2
from task2 import (
    ACCEPTED_RISK,
    EVALUATED_TOGETHER,
    MOMENTS,
    PATIENCE,
    SNAP_BITS,
    VALIDATIONS_PER_EPOCH,
    Experiment,
    History,
    calculate_accuracy,
    check_gradients,
    count_parameters,
    evaluate,
    gradient_descent,
    should_stop,
    snap,
    snap_accidents,
    train,
    train_all,
    train_step,
    weights_digest,
)
from task2a import SIGMOID, Activation, backward, cross_entropy_loss, forward, softmax, uniform

ROOT = Path(__file__).resolve().parent.parent
no_warnings = pytest.mark.filterwarnings("error")
GRID = 2.0**-SNAP_BITS


def zeros(_, shape):
    return np.zeros(shape)


# ---- settings and labels


def test_the_experiment_of_task_2c():
    experiment = Experiment("a name")
    assert experiment.neurons_per_layer == (64, 10)
    assert (experiment.draw, experiment.activation) == (uniform, SIGMOID)
    assert experiment.update is gradient_descent
    assert (experiment.learning_rate, experiment.batch_size, experiment.epochs) == (0.1, 32, 50)
    assert (VALIDATIONS_PER_EPOCH, PATIENCE) == (5, 50)
    assert (SNAP_BITS, ACCEPTED_RISK) == (16, 0.01)
    assert MOMENTS == (0, 100, 1250, 5000)


@pytest.mark.parametrize(
    ("layers", "label"),
    [
        ((64, 10), "a [64, 10]"),
        ((59, 59, 10), "a [59, 59, 10]"),
        ((128, 64, 128, 10), "a [128, 64, 128, 10]"),
        ((64,) * 10 + (10,), "a [10 x 64, 10]"),
        ((10,) * 4, "a [4 x 10]"),
        ((8, 8, 8, 3), "a [3 x 8, 3]"),
    ],
)
def test_label_names_the_topology(layers, label):
    assert Experiment("a", neurons_per_layer=layers).label == label


# ---- the update


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


# ---- snapping


@pytest.mark.parametrize("bits", [4, 10, 16, 24])
def test_snap_rounds_to_the_nearest_multiple(bits):
    values = np.random.default_rng(0).normal(0, 3, (50, 20))
    before = values.copy()
    multiples = snap(values, bits) * 2.0**bits
    np.testing.assert_array_equal(multiples, np.round(multiples))
    assert np.abs(multiples - values * 2.0**bits).max() <= 0.5
    np.testing.assert_array_equal(values, before)


def test_snap_rounds_ties_to_even_and_both_signs_alike():
    multiples = np.array([0, 0.4, 0.5, 0.6, 1, 1.5, 2.5, 3.5, 1e6 + 0.5])
    expected = np.array([0, 0, 0, 1, 1, 2, 2, 4, 1e6])
    np.testing.assert_array_equal(snap(multiples * GRID), expected * GRID)
    np.testing.assert_array_equal(snap(-multiples * GRID), -expected * GRID)


def test_snapping_twice_is_snapping_once():
    once = snap(np.random.default_rng(0).normal(0, 1000, 1000))
    np.testing.assert_array_equal(snap(once), once)


def test_snap_keeps_float32():
    values = np.random.default_rng(0).normal(0, 1, 1000).astype(np.float32)
    snapped = snap(values, 12)
    assert snapped.dtype == np.float32
    np.testing.assert_array_equal(snapped, np.round(values * 2.0**12) / 2.0**12)


def test_snap_writes_into_out():
    values = np.random.default_rng(0).normal(0, 3, (50, 20))
    expected = snap(values)
    assert snap(values, out=values) is values
    np.testing.assert_array_equal(values, expected)


def test_snap_does_not_hide_nan_and_inf():
    np.testing.assert_array_equal(
        snap(np.array([np.nan, np.inf, -np.inf])), [np.nan, np.inf, -np.inf]
    )


def test_snapping_is_far_finer_than_a_gradient():
    # mean |gradient| is 0.001 to 0.006; rounding errors are 1e-16
    assert 1e-10 < GRID < 1e-4


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


def test_evaluation_by_hand():
    # outputs (1/4, 3/4) and (1/2, 1/2), targets the second and the second
    X, Y = np.eye(2), np.array([[0.0, 1], [0, 1]])
    loss, accuracy = evaluate(X, Y, [np.log([[1, 3.0], [1, 1]])], SIGMOID)
    assert loss == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-14)
    assert accuracy == 0.5


@pytest.mark.parametrize("examples", [1, 999, 1000, 1001, 2345])
def test_evaluation_is_over_all_examples(tiny, examples):
    X, Y, ws = tiny([4], examples)
    outputs = forward(X, ws)[-1]
    expected = cross_entropy_loss(Y, outputs), calculate_accuracy(Y, outputs)
    assert evaluate(X, Y, ws, SIGMOID) == pytest.approx(expected, rel=1e-12)


def test_evaluation_uses_the_activation(tiny):
    X, Y, ws = tiny([4])
    double = Activation("double", lambda z: 2 * z, None)
    expected = cross_entropy_loss(Y, softmax(2 * X @ ws[0] @ ws[1]))
    assert evaluate(X, Y, ws, double)[0] == pytest.approx(expected, rel=1e-12)


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


def test_patience_is_50_validations():
    assert not should_stop([1] + [2] * 49)
    assert should_stop([1] + [2] * 50)
    assert should_stop([1] + [2] * 60)


def test_nan_does_not_keep_a_training_alive():
    assert should_stop([1] + [math.nan] * 51)


def scripted(losses):
    # Weights that make the validation loss what the script says: for the input (1, 0) and the
    # first of two classes, it is ln(1 + exp(t)). The second input is 0, its weights tell the step.
    rows = iter(
        [[0, np.log(np.expm1(loss))], [step, step]] for step, loss in enumerate(losses, start=1)
    )

    def update(ws, vs, gradients, learning_rate):
        return [np.array(next(rows))], vs

    settings = {"draw": zeros, "update": update, "batch_size": 1, "epochs": len(losses)}
    return Experiment("scripted", neurons_per_layer=(2,), **settings)


ONE_EXAMPLE = (np.array([[1.0, 0]]), np.array([[1.0, 0]]))
noise = np.random.default_rng(0).uniform(1.1, 2, 200).tolist()
SEQUENCES = {  # losses, validations until the stop, the best of them (from 1)
    "improving": ([3 - k / 100 for k in range(200)], 200, 200),
    "U-shaped": ([*np.linspace(2, 1, 10), *np.linspace(1.01, 9, 190)], 60, 10),
    "plateau": ([1.0] * 200, 51, 1),
    "down to a plateau": ([2.0, 1.5] + [1.0] * 198, 53, 3),
    "noise": ([*noise[:20], 1.0, *noise], 71, 21),
    "rising": ([1 + k / 100 for k in range(200)], 51, 1),
    "sawtooth": ([1.0] + [2.0, 1.9, 1.8, 1.7] * 50, 51, 1),
    "improving just in time": ([1.0] + [1.1] * 49 + [0.9] + [1.2] * 100, 101, 51),
    "improving just too late": ([1.0] + [1.1] * 50 + [0.9] + [1.2] * 100, 51, 1),
    "as good as before": ([1.0] + [1.1] * 30 + [1.0] + [1.1] * 100, 51, 1),
    "twice nearly too late": (([2.0] * 50 + [1.5] * 50 + [1.0] * 60), 151, 101),
    "epochs over": ([1.0] + [1.1] * 49, 50, 1),
    "tiny improvements": ([1 - k * 1e-9 for k in range(200)], 200, 200),
}


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("name", SEQUENCES)
def test_training_stops_and_restores_the_best_weights(name, overlap):
    losses, stop, best = SEQUENCES[name]
    data = *ONE_EXAMPLE, *ONE_EXAMPLE
    run = train(scripted(losses), *data, seed=0, snapshots_at=range(1, 201), overlap=overlap)
    np.testing.assert_allclose(run.history.val_loss, losses[:stop], rtol=1e-12)
    assert run.history.best + 1 == best
    assert run.best_weights[0][1].tolist() == [best, best]
    assert run.last_weights[0][1].tolist() == [stop, stop]
    assert list(run.snapshots) == list(range(1, stop + 1))
    assert run.epochs == stop


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("after", [0, 1, 7])
@pytest.mark.parametrize("overlap", [False, True])
def test_divergence_is_an_error_that_says_when_and_what_to_do(bad, after, overlap):
    losses = [2.0, 1, 3, 2, 1, 2, 3][:after] + [bad] * 60
    named = rf"scripted \[2\].*loss is nan after {after + 1} steps, expected.*learning rate 0.1"
    with pytest.raises(FloatingPointError, match=named):
        train(scripted(losses), *ONE_EXAMPLE, *ONE_EXAMPLE, seed=0, overlap=overlap)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_learning_rate_far_too_high_is_an_error(tiny):
    X, Y, _ = tiny([4])
    linear = Activation("linear", lambda z: z, np.ones_like)
    experiment = Experiment(
        "wild", neurons_per_layer=(4, 3), activation=linear, learning_rate=1e200, batch_size=2
    )
    with pytest.raises(FloatingPointError, match=r"wild \[4, 3\].*1e\+200"):
        train(experiment, X, Y, X, Y, seed=0)


def test_best_is_the_first_of_equals():
    losses = np.array([3, 1, 2, 1.0])
    assert History(losses, losses, losses, losses, losses).best == 1


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
    experiment, seen = watched()
    train(experiment, *identity(17), *identity(17), seed=0)
    batches = batches_of(seen)
    assert [len(batch) for batch in batches] == [5, 5, 5, 2] * 3
    for start in (0, 4, 8):
        assert sorted(np.concatenate(batches[start : start + 4])) == list(range(17))


def test_each_epoch_has_an_order_of_its_own():
    experiment, seen = watched(epochs=10)
    train(experiment, *identity(17), *identity(17), seed=0)
    firsts = {tuple(batch.tolist()) for batch in batches_of(seen)[::4]}
    assert len(firsts) == 10
    assert (0, 1, 2, 3, 4) not in firsts


def test_the_gradient_is_the_mean_over_the_batch_and_of_the_right_labels():
    X, Y = identity(17)
    experiment, seen = watched(lambda ws, vs, *_: (ws, vs))  # outputs stay 1/3
    train(experiment, X, Y, X, Y, seed=0)
    for (_, gradient, _), batch in zip(seen, batches_of(seen), strict=True):
        expected = (1 / 3 - Y[batch]) / len(batch)
        np.testing.assert_allclose(gradient[batch], expected, rtol=0, atol=GRID / 2)


def test_the_gradient_is_snapped_and_otherwise_exact():
    X, Y = identity(17)
    experiment, seen = watched()
    train(experiment, X, Y, X, Y, seed=0)
    for (w, gradient, _), batch in zip(seen, batches_of(seen), strict=True):
        exact = X[batch].T @ (softmax(X[batch] @ w) - Y[batch]) / len(batch)
        np.testing.assert_array_equal(gradient, np.round(exact / GRID) * GRID)


def test_the_learning_rate_stays_what_it_is():
    experiment, seen = watched(learning_rate=0.37)
    train(experiment, *identity(17), *identity(17), seed=0)
    assert {rate for *_, rate in seen} == {0.37}


def test_every_step_starts_from_the_weights_of_the_step_before():
    experiment, seen = watched()
    run = train(experiment, *identity(17), *identity(17), seed=0)
    after = [w for w, *_ in seen[1:]] + [run.last_weights[0]]
    for (w, gradient, _), moved in zip(seen, after, strict=True):
        np.testing.assert_allclose(moved, w - 0.1 * gradient, rtol=1e-12, atol=1e-15)


def test_the_update_gets_back_what_it_returned():
    # momentum's velocity must survive from step to step and from epoch to epoch
    received = []

    def count(ws, vs, gradients, learning_rate):
        received.append([v.copy() for v in vs])
        return ws, [v + n for n, v in enumerate(vs, start=1)]

    experiment = Experiment("count", neurons_per_layer=(4, 3), update=count, batch_size=5, epochs=3)
    X, Y = identity(17)
    train(experiment, X, Y, X, Y, seed=0)
    assert [v.shape for v in received[0]] == [(17, 4), (4, 3)]
    for step, vs in enumerate(received):
        assert [np.unique(v).tolist() for v in vs] == [[step], [2 * step]]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 6, 20, 21])
def test_history_is_what_a_second_account_finds(batch_size):
    # every example before its update, since the validation before; the validation set after it
    X, Y = identity(21)
    X_val, Y_val = np.vstack([X[:8], X[2:9]]) * 0.5, np.eye(3)[np.arange(15) % 3]
    experiment, seen = watched(batch_size=batch_size, learning_rate=0.5)
    history = train(experiment, X, Y, X_val, Y_val, seed=0).history
    weights = [w for w, *_ in seen]
    losses, hits = [], []
    for w, batch in zip(weights, batches_of(seen), strict=True):
        outputs = np.exp(w[batch]) / np.exp(w[batch]).sum(axis=1, keepdims=True)
        losses.append(-np.log(outputs[Y[batch] == 1]))
        hits.append(outputs.argmax(axis=1) == Y[batch].argmax(axis=1))
    previous = 0
    for k, step in enumerate(history.steps.astype(int)):
        loss, accuracy = (np.concatenate(of[previous:step]).mean() for of in (losses, hits))
        assert history.train_loss[k] == pytest.approx(loss, rel=1e-12)
        assert history.train_accuracy[k] == pytest.approx(accuracy, rel=1e-12)
        if step < len(weights):
            outputs = softmax(X_val @ weights[step])
            val_loss = -np.log(outputs[Y_val == 1]).mean()
            assert history.val_loss[k] == pytest.approx(val_loss, rel=1e-12)
            assert history.val_accuracy[k] == calculate_accuracy(Y_val, outputs)
        previous = step
    assert previous == len(weights) == 3 * math.ceil(21 / batch_size)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (50, [2, 4, 6, 8, 10]),
        (100, [4, 8, 12, 16, 20]),
        (25, [1, 2, 3, 4, 5]),
        (15, [1, 2, 3]),
        (5, [1]),
    ],
)
def test_validations_come_five_times_an_epoch(count, expected):
    experiment, _ = watched()
    steps = train(experiment, *identity(count), *identity(count), seed=0).history.steps
    epoch = expected[-1]
    assert steps.tolist() == [step + start for start in (0, epoch, 2 * epoch) for step in expected]


@pytest.mark.parametrize("batches", [6, 7, 8, 9, 11, 14, 23])
def test_validations_come_five_times_an_epoch_that_five_does_not_divide(batches):
    experiment, _ = watched()
    count = 5 * batches - 3  # the last batch is smaller
    steps = train(experiment, *identity(count), *identity(count), seed=0).history.steps
    epochs = steps.reshape(3, 5)
    assert epochs[:, -1].tolist() == [batches, 2 * batches, 3 * batches]
    assert np.ptp(np.diff(steps, prepend=0)) == 1


def test_all_epochs_are_done():
    experiment, seen = watched(epochs=7, learning_rate=0.01)
    train(experiment, *identity(17), *identity(17), seed=0)
    assert len(seen) == 7 * 4


def test_every_validation_is_announced():
    announced = []
    experiment, _ = watched()
    run = train(
        experiment,
        *identity(50),
        *identity(50, seed=1),
        seed=0,
        on_validation=lambda epoch, **measures: announced.append((epoch, measures)),
    )
    assert [epoch for epoch, _ in announced] == [1] * 5 + [2] * 5 + [3] * 5
    assert [m["loss"] for _, m in announced] == run.history.val_loss.tolist()
    assert [m["accuracy"] for _, m in announced] == run.history.val_accuracy.tolist()


@pytest.mark.parametrize("overlap", [False, True])
def test_training_and_validation_use_one_blas_thread(overlap, monkeypatch, blas_threads):
    threads = []

    def counting(function):
        def count(*args):
            threads.append(blas_threads())
            return function(*args)

        return count

    monkeypatch.setattr(task2, "evaluate", counting(evaluate))
    experiment, _ = watched(counting(gradient_descent))
    with threadpool_limits(limits=2, user_api="blas"):
        train(experiment, *identity(5), *identity(5), seed=0, overlap=overlap)
    assert len(threads) == 7  # three steps, three validations, and all training examples
    assert all(set(pools) == {1} for pools in threads)


def test_an_overlapped_run_goes_on_while_it_is_validated(monkeypatch):
    second_step = threading.Event()

    def update(ws, vs, gradients, learning_rate):
        if len(seen) == 2:
            second_step.set()
        return ws, vs

    def patient(*args):
        assert second_step.wait(timeout=60)
        return evaluate(*args)

    monkeypatch.setattr(task2, "evaluate", patient)
    experiment, seen = watched(update)
    train(experiment, *identity(5), *identity(5), seed=0, overlap=True)
    assert len(seen) == 3


def test_no_step_goes_on_when_an_overlapped_run_has_failed(monkeypatch):
    begun, ended = threading.Event(), []

    def update(ws, vs, gradients, learning_rate):
        if len(seen) == 2:
            begun.set()
            time.sleep(0.3)
        ended.append(len(seen))
        return ws, vs

    def failing(*args):
        assert begun.wait(timeout=60)
        raise ZeroDivisionError

    monkeypatch.setattr(task2, "evaluate", failing)
    experiment, seen = watched(update)
    with pytest.raises(ZeroDivisionError):
        train(experiment, *identity(5), *identity(5), seed=0, overlap=True)
    assert ended == [1, 2]


@pytest.mark.parametrize("overlap", [False, True])
def test_what_comes_after_the_stop_does_not_matter(overlap):
    stops = scripted([1.0] * 51)._replace(epochs=200)  # where the next update fails
    run = train(stops, *ONE_EXAMPLE, *ONE_EXAMPLE, seed=0, overlap=overlap)
    assert run.epochs == 51


def test_no_step_is_done_after_the_stop_unless_asked_for():
    experiment, seen = watched(lambda ws, vs, *_: (ws, vs), epochs=200)
    train(experiment, *identity(5), *identity(5), seed=0)
    assert len(seen) == 51


def test_snapshots_are_the_weights_after_so_many_steps():
    experiment, seen = watched()
    run = train(experiment, *identity(17), *identity(17), seed=0, snapshots_at=[0, 1, 7, 12, 99])
    assert list(run.snapshots) == [0, 1, 7, 12]
    for step in (0, 1, 7):
        np.testing.assert_array_equal(run.snapshots[step][0], seen[step][0])
    np.testing.assert_array_equal(run.snapshots[12][0], run.last_weights[0])


def test_there_is_no_snapshot_unless_asked_for():
    experiment, _ = watched()
    assert train(experiment, *identity(17), *identity(17), seed=0).snapshots == {}


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
    return train(SMALL, *overfitting(), seed=3, snapshots_at=[0, 1, 2])


def test_best_weights_survive_a_tail_that_gets_worse(small_run):
    _, _, X_val, Y_val = overfitting()
    history = small_run.history
    best, _ = evaluate(X_val, Y_val, small_run.best_weights, SIGMOID)
    last, _ = evaluate(X_val, Y_val, small_run.last_weights, SIGMOID)
    assert best == pytest.approx(history.val_loss.min(), rel=1e-12)
    assert last == pytest.approx(history.val_loss[-1], rel=1e-12)
    assert last > 1.1 * best
    assert len(history.val_loss) == history.best + 51 < 250


def test_training_loss_falls(small_run):
    losses = small_run.history.train_loss
    assert losses[-5:].mean() < losses[:5].mean() - 0.1


def test_a_run_knows_its_experiment_and_seed(small_run):
    assert small_run.experiment == SMALL
    assert small_run.seed == 3
    assert [w.shape for w in small_run.best_weights] == [(6, 8), (8, 3)]


def test_initial_weights_are_drawn_as_the_experiment_says(small_run):
    ws = small_run.snapshots[0]
    assert all((np.abs(w) <= 1).all() and np.abs(w).max() > 0.5 for w in ws)
    for w in ws:
        np.testing.assert_array_equal(w / GRID, np.round(w / GRID))


def assert_equal_runs(run, other):
    for a, b in zip(run.history, other.history, strict=True):
        np.testing.assert_array_equal(a, b)
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


def test_overlapping_changes_no_bit(small_run):
    assert_equal_runs(train(SMALL, *overfitting(), seed=3, overlap=True), small_run)


@pytest.mark.parametrize(
    ("runs", "workers", "expected"),
    [(1, 1, True), (2, 1, False), (3, 2, True), (4, 2, False), (9, 2, False), (5, 3, True)],
)
def test_a_few_runs_for_many_workers_are_overlapped(runs, workers, expected, monkeypatch):
    asked = []

    def train(experiment, *data, overlap):
        asked.append(overlap)
        return small._replace(seed=data[-2])

    small = task2.train(SMALL._replace(epochs=1), *overfitting(), seed=0)
    monkeypatch.setattr(task2, "train", train)
    monkeypatch.setattr(task2, "effective_n_jobs", lambda jobs: workers * jobs)
    train_all([SMALL], *overfitting(), seeds=range(runs), jobs=1)
    assert asked == [expected] * runs


def test_different_seeds_give_different_weights_and_orders(small_run):
    other = train(SMALL, *overfitting(), seed=4)
    assert np.mean(other.last_weights[0] != small_run.last_weights[0]) > 0.9
    orders = []
    for seed in (0, 1):
        experiment, seen = watched()
        train(experiment, *identity(17), *identity(17), seed=seed)
        orders.append([batch.tolist() for batch in batches_of(seen)])
    assert orders[0] != orders[1]


def test_training_leaves_the_data_and_the_global_random_state_unchanged():
    data = overfitting()
    np.random.seed(123)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    train(SMALL._replace(epochs=2), *data, seed=0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    for array, before in zip(data, overfitting(), strict=True):
        np.testing.assert_array_equal(array, before)


def test_rounding_errors_do_not_grow():
    # as if another machine had summed in another order
    X_train, Y_train, X_val, Y_val = overfitting()
    run = train(SMALL, X_train, Y_train, X_val, Y_val, seed=0)
    other = train(SMALL, X_train * (1 + 2**-50), Y_train, X_val, Y_val, seed=0)
    for w, v in zip(run.last_weights, other.last_weights, strict=True):
        np.testing.assert_array_equal(w, v)


@pytest.mark.parametrize(
    "layers",
    [
        (4, 3),
        (8, 4, 3),
        ((4,) * 10 + (3,)),
    ],
)
def test_training_moves_every_layer_along_its_gradient(layers):
    # one batch an epoch, so that the order does not matter
    X, Y, X_val, Y_val = overfitting()
    experiment = Experiment("deep", neurons_per_layer=layers, batch_size=40, epochs=3)
    run = train(experiment, X, Y, X_val, Y_val, seed=0, snapshots_at=range(4))
    for step in range(3):
        ws = run.snapshots[step]
        gradients = backward(Y, forward(X, ws), ws)
        for w, g, moved in zip(ws, gradients, run.snapshots[step + 1], strict=True):
            np.testing.assert_allclose(moved, w - 0.1 * g, rtol=0, atol=0.051 * GRID)
            assert (moved != w).any() or np.abs(g).max() < GRID


def test_validation_data_do_not_influence_the_weights():
    X, Y, X_val, Y_val = overfitting()
    few = SMALL._replace(epochs=3)
    run = train(few, X, Y, X_val, Y_val, seed=0)
    other = train(few, X, Y, X_val[:3] * 2, Y_val[:3], seed=0)
    np.testing.assert_array_equal(run.last_weights[0], other.last_weights[0])
    assert (run.history.val_loss != other.history.val_loss).all()


def test_large_gradients_are_not_clipped():
    X, Y, X_val, Y_val = overfitting()
    one = SMALL._replace(epochs=1, batch_size=len(X))
    run = train(one, 1000 * X, Y, X_val, Y_val, seed=0, snapshots_at=[0])
    before = run.snapshots[0]
    gradient = backward(Y, forward(1000 * X, before), before)[0]
    moved = before[0] - one.learning_rate * gradient
    assert np.abs(gradient).max() > 1
    np.testing.assert_allclose(run.last_weights[0], moved, rtol=0, atol=GRID)


@no_warnings
def test_training_survives_extreme_inputs():
    X, Y, X_val, Y_val = overfitting()
    history = train(SMALL._replace(epochs=2), 1000 * X, Y, 1000 * X_val, Y_val, seed=0).history
    assert all(np.isfinite(values).all() for values in history)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, 41])
def test_training_names_an_impossible_batch_size(batch_size):
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}, expected 1 to 40"):
        train(SMALL._replace(batch_size=batch_size), *overfitting(), seed=0)


def test_training_names_an_impossible_number_of_epochs():
    with pytest.raises(ValueError, match="epochs is 0, expected 1 or more"):
        train(SMALL._replace(epochs=0), *overfitting(), seed=0)


def test_experiments_of_one_name_are_refused():
    with pytest.raises(ValueError, match="expected a different name for each"):
        train_all([SMALL, SMALL], *overfitting(), seeds=[0])


def test_seeds_may_come_from_an_iterator_and_be_none():
    few = SMALL._replace(epochs=1)
    runs = train_all([few, few._replace(name="b")], *overfitting(), seeds=iter([2, 1]), jobs=1)
    assert {name: [run.seed for run in of_one] for name, of_one in runs.items()} == {
        "small": [2, 1],
        "b": [2, 1],
    }
    assert train_all([few], *overfitting(), seeds=[]) == {"small": []}


def test_training_names_missing_validation_examples():
    X, Y, X_val, Y_val = overfitting()
    with pytest.raises(ValueError, match=r"X_val has shape \(0, .*expected one example or more"):
        train(SMALL, X, Y, X_val[:0], Y_val[:0], seed=0)


def test_training_names_missing_labels():
    X, Y, X_val, Y_val = overfitting()
    with pytest.raises(ValueError, match="40 inputs but 39 labels"):
        train(SMALL, X, Y[:-1], X_val, Y_val, seed=0)


def test_training_names_labels_that_are_not_one_hot():
    X, Y, X_val, Y_val = overfitting()
    with pytest.raises(ValueError, match=r"shape \(4, 1\), expected \(4, 3\): encode"):
        train(SMALL, X, Y[:, :1], X_val, Y_val, seed=0)


# ---- one step


def test_a_step_returns_the_outputs_before_it_moves(tiny):
    X, Y, ws = tiny([4])
    vs = [np.zeros_like(w) for w in ws]
    moved, _, outputs = train_step(X, Y, ws, vs, SMALL)
    np.testing.assert_array_equal(outputs, forward(X, ws, SIGMOID)[-1])
    assert evaluate(X, Y, moved, SIGMOID)[0] < cross_entropy_loss(Y, outputs)


def test_a_step_leaves_its_arguments_unchanged(tiny):
    X, Y, ws = tiny([8, 4])
    vs = [np.zeros_like(w) for w in ws]
    given = [X, Y, *ws, *vs]
    before = [array.copy() for array in given]
    train_step(X, Y, ws, vs, SMALL)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


# ---- several runs


def test_runs_do_not_depend_on_the_number_of_processes():
    few = SMALL._replace(epochs=3)
    experiments = [few, few._replace(name="deep", neurons_per_layer=(4, 4, 3))]
    one, two = (
        train_all(experiments, *overfitting(), seeds=[2, 1], snapshots_at=[0], jobs=jobs)
        for jobs in (1, 2)
    )
    assert list(one) == list(two) == ["small", "deep"]
    for experiment in experiments:
        for run, other, seed in zip(
            one[experiment.name], two[experiment.name], [2, 1], strict=True
        ):
            assert run.experiment == experiment
            assert run.seed == other.seed == seed
            assert_equal_runs(run, other)
            assert_equal_runs(run, train(experiment, *overfitting(), seed=seed))
            np.testing.assert_array_equal(run.snapshots[0][0], other.snapshots[0][0])


def test_runs_use_all_cores_largest_first_are_announced_and_leave_no_worker(monkeypatch):
    noted = []

    def parallel(jobs, return_as, initializer):
        noted.append((jobs, return_as))
        return lambda trainings: (function(*args, **kw) for function, args, kw in trainings)

    @contextmanager
    def progress(description, total):
        noted.append((description, total))
        yield lambda done, **figures: noted.append((done, figures))

    executor = SimpleNamespace(shutdown=lambda kill_workers: noted.append(kill_workers))
    monkeypatch.setattr(task2, "Parallel", parallel)
    monkeypatch.setattr(task2, "progress", progress)
    monkeypatch.setattr(task2, "get_reusable_executor", lambda **_: executor)
    few = SMALL._replace(epochs=1)
    large = few._replace(name="large", neurons_per_layer=(9, 3))
    runs = train_all([few, large], *overfitting(), seeds=[0])
    shown = [
        {"last": e.label, "loss": runs[e.name][0].history.val_loss.min()} for e in (large, few)
    ]
    assert noted == [("runs", 2), (-1, "generator"), (1, shown[0]), (2, shown[1]), True]


@pytest.mark.parametrize(("jobs", "ended"), [(1, 0), (2, 1), (-1, 1)])
def test_workers_are_ended_if_there_are_any(jobs, ended, monkeypatch):
    shutdowns = []
    executor = SimpleNamespace(shutdown=lambda kill_workers: shutdowns.append(kill_workers))
    monkeypatch.setattr(task2, "Parallel", lambda *_, **__: lambda trainings: iter(()))
    monkeypatch.setattr(task2, "get_reusable_executor", lambda **_: executor)
    train_all([SMALL], *overfitting(), seeds=[0], jobs=jobs)
    assert shutdowns == [True] * ended


def test_a_cluster_trains_the_same_without_a_change_of_code(tmp_path):
    distributed = pytest.importorskip("dask.distributed")
    few, seeds = SMALL._replace(epochs=3), [2, 1]
    settings = {"threads_per_worker": 1, "dashboard_address": None, "local_directory": tmp_path}
    with (
        # of processes with the sys.path of this one; elsewhere they need the task files
        distributed.LocalCluster(2, **settings) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        there = train_all([few], *overfitting(), seeds=seeds)["small"]
        assert any(client.run(lambda: "task2" in sys.modules).values())
    here = [train(few, *overfitting(), seed=seed) for seed in seeds]
    assert list(map(weights_digest, there)) == list(map(weights_digest, here))


LONG = """
from task2 import *
def draw(rng, shape):
    print("training", flush=True)
    return np.zeros(shape)
X, Y = np.zeros((1000, 785)), np.eye(10)[[0] * 1000]
train_all([Experiment("long", draw=draw, epochs=10**6)], X, Y, X, Y, seeds=[1, 2], jobs=2)
"""


def test_no_training_outlives_the_process_that_wants_it():
    command = [sys.executable, "-c", LONG]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.kill()
        process.communicate(timeout=60)  # to the end of what its workers might print


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_one_diverging_run_is_an_error():
    with pytest.raises(FloatingPointError, match=r"scripted \[2\]"):
        train_all([scripted([math.nan])], *ONE_EXAMPLE, *ONE_EXAMPLE, seeds=[0], jobs=1)


def test_gradients_of_an_experiment_are_checked(tiny):
    X, Y, _ = tiny([4])
    right = Experiment("right", neurons_per_layer=(8, 4, 3))
    wrong = right._replace(activation=Activation("wrong", SIGMOID.function, lambda a: a))
    assert check_gradients(right, X, Y, seed=0).shape == (3,)
    with pytest.raises(AssertionError, match="layer 0"):
        check_gradients(wrong, X, Y, seed=0)


# ---- Task 2d


@pytest.mark.parametrize(
    ("shapes", "as_implemented", "with_every_bias"),
    [
        ([(785, 64), (64, 10)], 50_880, 50_890),
        ([(785, 59), (59, 59), (59, 10)], 50_386, 50_455),
        ([(785, 60), (60, 60), (60, 10)], 51_300, 51_370),
        ([(785, 10)], 7_850, 7_850),
        ([(6, 4), (4, 5), (5, 3)], 59, 67),
    ],
)
def test_parameters_are_counted_from_the_weights(shapes, as_implemented, with_every_bias):
    ws = [np.zeros(shape) for shape in shapes]
    assert count_parameters(ws) == as_implemented
    assert count_parameters(ws, bias_in_every_layer=True) == with_every_bias


def test_the_network_that_task_2c_trains_has_50880_parameters():
    X, Y = np.zeros((32, 785)), np.eye(10)[[0] * 32]
    run = train(Experiment("Task 2c", epochs=1), X, Y, X, Y, seed=0)
    assert run.experiment.label == "Task 2c [64, 10]"
    assert [w.shape for w in run.best_weights] == [(785, 64), (64, 10)]
    assert count_parameters(run.best_weights) == 50_880


# ---- what a run tells of itself


def test_a_run_is_scored_on_all_training_examples(small_run):
    X, Y, _, _ = overfitting()
    best = evaluate(X, Y, small_run.best_weights, SIGMOID)
    last = evaluate(X, Y, small_run.last_weights, SIGMOID)
    assert small_run.best_train == pytest.approx(best, rel=1e-12)
    assert small_run.last_train == pytest.approx(last, rel=1e-12)
    assert best != last


def test_a_run_is_scored_on_more_examples_than_are_evaluated_together():
    X, Y, X_val, Y_val = overfitting()
    X, Y = np.vstack([X, X[:1]] * 50), np.vstack([Y, Y[1:2]] * 50)
    run = train(SMALL._replace(epochs=1), X, Y, X_val, Y_val, seed=0)
    outputs = forward(X, run.last_weights)[-1]
    assert len(X) > EVALUATED_TOGETHER
    assert run.last_train[0] == pytest.approx(cross_entropy_loss(Y, outputs), rel=1e-12)


@pytest.mark.parametrize(("examples", "epochs"), [(20, 3), (40, 2), (1, 7)])
def test_a_run_tells_the_epochs_that_it_took(examples, epochs):
    X, Y, X_val, Y_val = overfitting()
    experiment = SMALL._replace(epochs=epochs, batch_size=min(4, examples))
    assert train(experiment, X[:examples], Y[:examples], X_val, Y_val, seed=0).epochs == epochs


@pytest.mark.parametrize("overlap", [False, True])
def test_a_failed_run_leaves_the_threads_as_they_were(overlap):
    def threads():
        pools = [pool["num_threads"] for pool in threadpool_info()]
        return threading.active_count(), pools

    with threadpool_limits(2):
        before = threads()
        with pytest.raises(FloatingPointError) as kept:
            train(scripted([math.nan] * 9), *ONE_EXAMPLE, *ONE_EXAMPLE, seed=0, overlap=overlap)
        assert threads() == before
        assert kept.tb is not None  # which keeps the frames of the run


def test_accidents_of_snapping_are_rare_but_possible(tiny):
    # 47 gradient entries with rounding errors of 1e-17 each, on a grid of 1.5e-5
    X, Y, ws = tiny([4], examples=32)
    before = [array.copy() for array in (X, Y, *ws)]
    accidents = snap_accidents(X, Y, ws, SIGMOID, np.random.default_rng(0))
    assert 0 < accidents < 1e-9
    for array, copy in zip((X, Y, *ws), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_accidents_are_differences_in_steps_of_the_grid(tiny, monkeypatch):
    # sums of whole numbers do not depend on their order, and the second account is told off by 1/8
    # of the grid's step in each of 18 entries
    X, Y, ws = (np.round(array) for array in (*tiny([])[:2], tiny([])[2][0]))
    offsets = iter((0, GRID / 8))
    monkeypatch.setattr(task2, "forward", lambda X, ws, activation: (X, *ws))
    monkeypatch.setattr(
        task2, "backward", lambda Y, values, ws, _: [values[0].T @ Y + ws[0] + next(offsets)]
    )
    assert snap_accidents(X, Y, [ws], SIGMOID, np.random.default_rng(0)) == 18 / 8


def test_digest_tells_runs_apart_by_every_bit(small_run):
    def changed(name, layer):
        ws = [w.copy() for w in getattr(small_run, name)]
        ws[layer][-1, -1] = np.nextafter(ws[layer][-1, -1], 9)
        return weights_digest(small_run._replace(**{name: ws}))

    digests = [changed(name, n) for name in ("best_weights", "last_weights") for n in (0, 1)]
    assert len({weights_digest(small_run), *digests}) == 5
    assert weights_digest(small_run) == weights_digest(train(SMALL, *overfitting(), seed=3))
    both = {weights_digest(small_run, small_run), weights_digest(small_run)}
    assert len(both) == 2
