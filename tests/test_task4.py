import math
import pickle
import re

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from task2 import count_parameters, gradient_descent, snap, train
from task2a import (
    SIGMOID,
    backward,
    cross_entropy_loss,
    forward,
    gradient_approximation_test,
    initialize_weights,
)
from task3 import IMPROVED_SIGMOID, TASK_3, fan_in_normal, momentum, saturation
from task4 import (
    BUDGET,
    DEEP,
    DEEP_SIGMOID,
    DEEP_SLOW,
    DEPTHS,
    PUBLISHED,
    PUBLISHED_MEASURES,
    RATES,
    RELU,
    SHALLOW,
    TASK_4,
    WIDTHS,
    activation_spread,
    confusion,
    gradient_rms,
    largest_width,
    most_confident_mistakes,
    one_more_epoch,
    published_reasons,
    published_table,
    relu,
    snapshots_by_layer,
    train_on,
)

no_warnings = pytest.mark.filterwarnings("error")
every_depth = pytest.mark.parametrize(
    "hidden",
    [
        pytest.param((4,), id="1 hidden"),
        pytest.param((8, 4, 5), id="3 hidden"),
        pytest.param((8,) * 10, id="10 hidden"),
    ],
)


# ---- Tasks 4a, 4b, 4d, 4e: topologies and their parameters


TEN = (64,) * 10 + (10,)


@pytest.mark.parametrize(
    ("name", "layers", "activation"),
    [
        ("Task 4a", (32, 10), IMPROVED_SIGMOID),
        ("Task 4b", (128, 10), IMPROVED_SIGMOID),
        ("Task 4d", (59, 59, 10), IMPROVED_SIGMOID),
        ("Task 4e", TEN, IMPROVED_SIGMOID),
        ("Task 4f", (64, 10), RELU),
        ("Task 4f", TEN, RELU),
    ],
)
def test_each_experiment_has_its_topology_and_else_the_settings_of_task_3(name, layers, activation):
    wanted = (layers, activation, fan_in_normal, momentum, 0.02, 32, 50)
    assert wanted in [
        (
            e.neurons_per_layer,
            e.activation,
            e.draw,
            e.update,
            e.learning_rate,
            e.batch_size,
            e.epochs,
        )
        for e in TASK_4
        if e.name.startswith(name)
    ]


@pytest.mark.parametrize(
    ("layers", "parameters"),
    [
        ((64, 10), 50_880),
        ((32, 10), 25_440),
        ((128, 10), 101_760),
        ((59, 59, 10), 50_386),
        (TEN, 87_744),
    ],
)
def test_parameters_of_each_topology(layers, parameters):
    assert count_parameters(initialize_weights(layers, np.random.default_rng(0))) == parameters


def test_ten_layers_are_also_tried_with_plain_sigmoids_and_a_lower_learning_rate():
    named = {"name": "", "change": "", "line": None}
    plain = DEEP._replace(**named, activation=SIGMOID, epochs=2)
    slow = DEEP._replace(**named, learning_rate=0.002, epochs=6)
    assert [e._replace(**named) for e in (DEEP_SIGMOID, DEEP_SLOW)] == [plain, slow]


def test_learning_rates_are_swept_with_one_and_with_ten_layers_in_short_trainings():
    assert list(RATES) == [0.002, 0.005, 0.01, 0.02, 0.05]
    for rate, networks in RATES.items():
        for (words, experiment), base in zip(networks.items(), (SHALLOW, DEEP), strict=True):
            settings = {"name": f"{words}, rate {rate}", "learning_rate": rate, "epochs": 1}
            assert experiment == base._replace(**settings)
            assert len(experiment.neurons_per_layer) == {"one": 2, "ten": 11}[words.split()[0]]


def test_widths_are_swept_by_doubling_them_in_short_trainings():
    assert list(WIDTHS) == [4, 8, 16, 32, 64, 128, 256]
    for n, experiment in WIDTHS.items():
        settings = {"name": f"{n} units", "neurons_per_layer": (n, 10), "epochs": 2}
        assert experiment == SHALLOW._replace(**settings)


def test_depths_are_swept_within_the_budget_in_short_trainings():
    assert BUDGET == 50_880
    assert list(DEPTHS) == [1, 2, 3, 5, 10]
    for n, experiment in DEPTHS.items():
        layers = (largest_width(50_880, n),) * n + (10,)
        settings = {"name": f"depth {n}", "neurons_per_layer": layers, "epochs": 2}
        assert experiment == SHALLOW._replace(**settings)


def test_the_experiments_can_be_told_apart():
    experiments = [*TASK_3, *TASK_4]
    assert len({e.name for e in experiments}) == len(experiments)
    assert len({e.label for e in experiments}) == len(experiments)


@pytest.mark.parametrize("experiment", [*TASK_3, *TASK_4], ids=lambda e: e.name)
def test_labels_name_the_topology(experiment):
    # such as "10 x 64, 10" for ten layers of 64 and one of 10
    topology = re.search(r"\[(.*)\]", experiment.label)[1]
    layers = []
    for group in topology.split(", "):
        *times, width = map(int, group.split(" x "))
        layers += [width] * (times[0] if times else 1)
    assert tuple(layers) == experiment.neurons_per_layer
    assert experiment.label.startswith(experiment.name)


def test_59_units_are_the_most_within_the_budget_of_task_3():
    assert largest_width(50_880, 2) == 59
    assert largest_width(50_890, 2, bias_in_every_layer=True) == 59


@pytest.mark.parametrize("hidden_layers", [1, 2, 3, 10])
@pytest.mark.parametrize("bias", [False, True])
def test_the_largest_width_fills_its_budget_exactly(hidden_layers, bias):
    def parameters(width):
        weights = 785 * width + (hidden_layers - 1) * width**2 + width * 10
        return weights + bias * ((hidden_layers - 1) * width + 10)

    for width in (1, 2, 17):
        budget = parameters(width)
        assert largest_width(budget, hidden_layers, bias_in_every_layer=bias) == width
        assert largest_width(budget + 1, hidden_layers, bias_in_every_layer=bias) == width
    assert largest_width(parameters(17) - 1, hidden_layers, bias_in_every_layer=bias) == 16


@pytest.mark.parametrize("budget", [-1, 0, 795])
def test_a_budget_too_small_for_one_unit_is_an_error(budget):
    with pytest.raises(ValueError, match=f"budget is {budget}, expected 796 parameters"):
        largest_width(budget, 2)


# ---- Task 4e: layer by layer


def test_gradient_rms_by_hand():
    # the worked network of Task 1a: gradients (ln 2, 0; ln 2 / 3, 0) and (1/3, -1/3; 1/3, -1/3)
    X, Y = np.array([[3.0, 1]]), np.array([[0.0, 1]])
    ws = [np.zeros((2, 2)), np.array([[2 * math.log(2), 0], [0, 0]])]
    first = math.log(2) * math.sqrt((1 + 1 / 9) / 4)
    np.testing.assert_allclose(gradient_rms(X, Y, ws, SIGMOID), [first, 1 / 3], rtol=1e-12)


def test_gradient_rms_has_an_entry_for_each_layer(tiny):
    X, Y, ws = tiny((8,) * 10)
    gradients = backward(Y, forward(X, ws, IMPROVED_SIGMOID), ws, IMPROVED_SIGMOID)
    expected = [math.sqrt((g**2).sum() / g.size) for g in gradients]
    np.testing.assert_allclose(gradient_rms(X, Y, ws, IMPROVED_SIGMOID), expected, rtol=1e-12)


def test_activation_spread_by_hand():
    # the activations of two units are (0, 2), (2, 2); then of one (2), (4)
    X, ws = np.array([[0.0, 1], [1, 1]]), [np.array([[2.0, 0], [0, 2]]), np.ones((2, 1)), np.eye(1)]
    assert activation_spread(X, ws, RELU).tolist() == [0.5, 1]


def test_one_more_epoch_starts_from_the_weights_kept_and_at_rest(tiny):
    X, Y, _ = tiny([])
    experiment = SHALLOW._replace(neurons_per_layer=(4, 3), epochs=2, batch_size=len(X))
    run = train(experiment, X, Y, X, Y, seed=5, snapshots_at=[1])
    (kept,) = run.snapshots.values()
    gradients = backward(Y, forward(X, kept, IMPROVED_SIGMOID), kept, IMPROVED_SIGMOID)
    for w, new, g in zip(kept, train_on(run, 1, 0.5, X, Y), gradients, strict=True):
        np.testing.assert_allclose(new, w - 0.5 * g, rtol=0, atol=2**-17)


def test_one_more_epoch_takes_all_batches_in_the_order_of_the_seed(tiny):
    X, Y, _ = tiny([])
    experiment = SHALLOW._replace(neurons_per_layer=(4, 3), epochs=1, batch_size=2)
    run = train(experiment, X, Y, X, Y, seed=5, snapshots_at=[0])
    again, other = (train_on(r, 0, 0.02, X, Y) for r in (run, run._replace(seed=6)))
    assert all((a == b).all() for a, b in zip(again, train_on(run, 0, 0.02, X, Y), strict=True))
    assert (again[0] != other[0]).any()
    last = run._replace(snapshots={0: run.last_weights})
    assert (train_on(last, 0, 0.02, X, Y)[0] != again[0]).any()


def test_one_more_epoch_uses_one_blas_thread(tiny, blas_threads):
    X, Y, _ = tiny([])
    threads = set()

    def count_threads(ws, vs, *_):
        threads.update(blas_threads())
        return ws, vs

    experiment = SHALLOW._replace(neurons_per_layer=(4, 3), epochs=1, batch_size=2)
    run = train(experiment, X, Y, X, Y, seed=5, snapshots_at=[0])
    watched = run._replace(experiment=experiment._replace(update=count_threads))
    with threadpool_limits(limits=2, user_api="blas"):
        train_on(watched, 0, 0.5, X, Y)
    assert threads == {1}


def test_one_more_epoch_is_measured_before_and_after(tiny):
    X, Y, _ = tiny([])
    experiment = SHALLOW._replace(neurons_per_layer=(4, 4, 3), epochs=1, batch_size=2)
    run = train(experiment, X, Y, X, Y, seed=5, snapshots_at=[2])
    found = one_more_epoch(run, 2, 0.5, X, Y, 9 * X)
    assert found.pop("network") == "Task 3c, rate 0.5"
    expected = []
    for ws in (run.snapshots[2], train_on(run, 2, 0.5, X, Y)):
        outputs = forward(X, ws, IMPROVED_SIGMOID)[-1]
        saturated = saturation(9 * X, ws, IMPROVED_SIGMOID)[0]
        expected += [cross_entropy_loss(Y, outputs), saturated]
    assert list(found) == [
        "training loss before",
        "layer 1 saturated before",
        "training loss after",
        "layer 1 saturated after",
    ]
    assert list(found.values()) == pytest.approx(expected, rel=1e-12)


def test_gradients_of_ten_plain_sigmoids_vanish_and_those_of_improved_ones_do_not():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(50, 785)), np.eye(10)[np.arange(50) % 10]
    ws = initialize_weights(TEN, rng, fan_in_normal)
    plain, improved = (gradient_rms(X, Y, ws, f) for f in (SIGMOID, IMPROVED_SIGMOID))
    assert plain[0] < 1e-4 * plain[-1]
    assert improved.max() < 5 * improved.min()


def test_ten_hidden_layers_learn_a_small_problem(tiny):
    X, Y, _ = tiny([], examples=20)
    experiment = TASK_3[3]._replace(neurons_per_layer=(8,) * 10 + (3,), batch_size=4, epochs=50)
    run = train(experiment, X, Y, X, Y, seed=0)
    assert [w.shape for w in run.last_weights] == [(6, 8)] + [(8, 8)] * 9 + [(8, 3)]
    assert run.history.val_loss.min() < 0.5 * math.log(3)


# ---- Task 4f: ReLU


def test_relu_by_hand():
    z = np.array([[-1000, -1e-300, -0.0, 0], [1e-300, 0.5, 2, 1000]])
    assert relu(z).tolist() == [[0, 0, 0, 0], [1e-300, 0.5, 2, 1000]]
    assert z[0, 0] == -1000


def test_relu_slope_is_0_where_it_is_off_and_1_where_it_is_on():
    a = np.array([[0, 1e-300], [0.5, 1000]])
    slope = RELU.slope(a)
    assert slope.tolist() == [[0, 1], [1, 1]]
    assert a.tolist() == [[0, 1e-300], [0.5, 1000]]


def test_relu_does_not_hide_nan():
    assert np.isnan(relu(np.array([math.nan]))).all()


@every_depth
def test_relu_networks_equal_the_elementwise_sums(tiny, sums, assert_close, hidden):
    X, Y, ws = tiny(hidden, scale=1.5)
    outputs, gradients = sums(X, Y, ws, lambda z: max(0, z), lambda z: 1 if z > 0 else 0)
    values = forward(X, ws, RELU)
    assert_close([values[-1]], [outputs])
    assert_close(backward(Y, values, ws, RELU), gradients)


@every_depth
def test_relu_networks_pass_the_gradient_check(tiny, hidden):
    X, Y, ws = tiny(hidden, scale=1.5)
    gradient_approximation_test(X, Y, ws, RELU, rng=np.random.default_rng(0))


def test_a_unit_that_is_off_for_all_examples_has_no_gradient():
    X, Y = np.array([[1.0, 1], [2, 1]]), np.eye(2)
    ws = [np.array([[1.0, -1], [0, 0]]), np.array([[1.0, 2], [3, 4]])]
    first, last = backward(Y, forward(X, ws, RELU), ws, RELU)
    assert (first[:, 1] == 0).all()
    assert (last[1] == 0).all()
    assert (first[0, 0] != 0) & (last[0] != 0).all()


def test_the_output_layer_has_no_relu():
    # its inputs are -1 and 1; a ReLU would make them 0 and 1
    outputs = forward(np.array([[1.0]]), [np.eye(1), np.array([[-1.0, 1]])], RELU)[-1]
    np.testing.assert_allclose(outputs, [[1 / (1 + math.e**2), 1 / (1 + math.e**-2)]], rtol=1e-14)


@no_warnings
def test_relu_networks_survive_extremes(tiny):
    X, Y, ws = tiny((8,) * 10, scale=1.5)
    values = forward(1000 * X, ws, RELU)
    assert math.isfinite(cross_entropy_loss(Y, values[-1]))
    assert all(np.isfinite(g).all() for g in backward(Y, values, ws, RELU))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_relu_networks_that_diverge_are_an_error(tiny):
    X, Y, _ = tiny([], examples=20)
    experiment = TASK_3[3]._replace(
        activation=RELU, neurons_per_layer=(8, 3), learning_rate=1e200, batch_size=4, epochs=3
    )
    with pytest.raises(FloatingPointError, match=r"Task 3c.*\[8, 3\].*nan.*1e\+200"):
        train(experiment, X, Y, X, Y, seed=0)


def test_saturated_relus_are_those_that_are_off():
    z = np.array([[-9, -1e-9, 0, 1e-9, 9]]).T
    assert saturation(z, [np.eye(1), np.eye(1)], RELU).tolist() == [0.6]


def test_relu_training_moves_along_its_gradient(tiny):
    X, Y, _ = tiny([], examples=20)
    settings = {"neurons_per_layer": (8, 4, 3), "update": gradient_descent, "learning_rate": 0.5}
    experiment = TASK_3[3]._replace(activation=RELU, batch_size=20, epochs=3, **settings)
    run = train(experiment, X, Y, X, Y, seed=0, snapshots_at=range(4))
    for step in range(3):
        ws = run.snapshots[step]
        gradients = backward(Y, forward(X, ws, RELU), ws, RELU)
        for w, g, moved in zip(ws, gradients, run.snapshots[step + 1], strict=True):
            np.testing.assert_allclose(moved, w - 0.5 * snap(g), rtol=1e-12, atol=2.0**-16)


def test_layers_are_followed_through_training_by_the_steps_done(tiny):
    X, Y, _ = tiny([], examples=20)
    experiment = TASK_3[3]._replace(neurons_per_layer=(8, 4, 3), batch_size=4, epochs=2)
    run = train(experiment, X, Y, X, Y, seed=0, snapshots_at=[0, 3])
    by_layer = snapshots_by_layer(run, lambda ws, activation: gradient_rms(X, Y, ws, activation))
    assert list(by_layer) == ["0 steps", "3 steps"]
    for step in (0, 3):
        expected = gradient_rms(X, Y, run.snapshots[step], IMPROVED_SIGMOID)
        np.testing.assert_array_equal(by_layer[f"{step} steps"], expected)


# ---- mistakes


def test_confusion_counts_the_class_by_row_and_the_prediction_by_column():
    outputs = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.2, 0.7, 0.1], [0, 0.4, 0.6]])
    counts = confusion(np.eye(3)[[0, 0, 1, 2]], outputs)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_the_most_confident_mistakes_come_first():
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.05, 0.95], [0.3, 0.7]])
    mistakes = most_confident_mistakes(np.eye(2)[[0, 0, 0, 1, 0]], outputs, 2)
    assert mistakes.tolist() == [1, 4]


def test_mistakes_equal_to_12_digits_keep_their_order():
    # another machine's last digits must not show in the report
    confident = 0.75 + np.array([0, 2e-13, 4e-12, 6e-12])
    mistakes = most_confident_mistakes(
        np.eye(2)[[0] * 4], np.column_stack([1 - confident, confident]), 4
    )
    assert mistakes.tolist() == [3, 2, 0, 1]


# ---- beside the published results


MEASURED = {
    name: [
        {"last validation loss": 0.1, "last validation accuracy": 0.9, "last epoch": 10},
        {"last validation loss": 0.3, "last validation accuracy": 0.98, "last epoch": 20},
    ]
    for name in PUBLISHED
}


# as the assignment quotes them, the accuracies in per cent
HAND_INS = """
    Task 2c      | 0.288 to 0.298 | 91.5 to 91.8 | 47 to 50
    Task 3a      | 0.137 to 0.148 | 95.5 to 95.9 | 42 to 50
    Task 3b      | 0.135 to 0.186 | 96.0 to 96.4 | 15 to 28
    Task 3c      | 0.136 to 0.184 | 95.8 to 96.5 | 13 to 19
    Task 4a      | 0.19 to 0.224  | 94.5 to 95.2 | 15 to 25
    Task 4b      | 0.121 to 0.131 | 96.6 to 97.0 | 17 to 29
    Task 4d      | 0.172          | 96.4 to 96.5 | 15
    Task 4e      | 0.229 to 0.236 | 94.8         | 32
    Task 4f deep | 0.21 to 0.25   | 96.3 to 96.7 | -
"""


def test_published_ranges_are_those_that_the_assignment_quotes():
    assert len(PUBLISHED) == HAND_INS.count("Task")
    for line in HAND_INS.strip().splitlines():
        name, *cells = (cell.strip() for cell in line.split("|"))
        for limits, cell, unit in zip(PUBLISHED[name], cells, (1, 100, 1), strict=True):
            quoted = [float(value) / unit for value in cell.split(" to ")] if cell != "-" else None
            assert limits == (quoted and pytest.approx((quoted[0], quoted[-1]), rel=1e-12))


def test_means_outside_of_the_published_range_are_bold():
    # 0.2 is outside of 0.288 to 0.298, 0.94 of 0.915 to 0.918, and 15 of 47 to 50
    rows = published_table(MEASURED).data.replace("\u00a0", " ").splitlines()
    row = next(row for row in rows if row.startswith("| Task 2c |"))
    assert row == (
        "| Task 2c | **0.2000 ± 0.1414** | 0.288 to 0.298 | **0.9400 ± 0.0566** | 0.915 to 0.918 "
        "| **15 ± 7** | 47 to 50 |"
    )
    inside = next(row for row in rows if row.startswith("| Task 4a |"))
    assert inside.startswith("| Task 4a | 0.2000 ± 0.1414 | 0.19 to 0.224 |")
    one_value = next(row for row in rows if row.startswith("| Task 4d |"))
    assert one_value.endswith("| 15 ± 7 | 15 |")
    assert rows[-1].startswith("| Task 4f deep |")
    assert rows[-1].endswith("| 15 ± 7 | not given |")


def at(loss, accuracy, epoch):
    measures = (loss, accuracy, epoch)
    return [dict(zip(PUBLISHED_MEASURES, measures, strict=True))] * 2


@pytest.mark.parametrize("end", [0, -1], ids=["least", "greatest"])
def test_the_ends_of_a_published_range_belong_to_it(end):
    measured = {name: at(*(r and r[end] for r in PUBLISHED[name])) for name in PUBLISHED}
    measured["Task 4f deep"] = at(*(r[end] for r in PUBLISHED["Task 4f deep"][:2]), 99)
    assert "**" not in published_table(measured).data
    assert published_reasons(measured) == "No value in common for: nothing."


def test_ranges_that_do_not_meet_the_published_ones_are_named():
    # losses 0.1 to 0.3 and accuracies 0.9 to 0.98 meet all of them, epochs 10 to 20 not those
    text = published_reasons(MEASURED)
    assert "last epoch of Task 2c (ours 10 to 20)" in text
    assert "last epoch of Task 3a" in text
    assert "Task 3c" not in text
    assert "loss" not in text


def test_a_network_needs_a_hidden_layer_to_have_a_width():
    with pytest.raises(ValueError, match="hidden_layers is 0, expected 1 or more"):
        largest_width(50_880, 0)


def test_only_mistakes_are_confident_mistakes():
    targets = np.eye(3)[[0, 1, 2, 0]]
    outputs = np.array([[0.8, 0.1, 0.1], [0.9, 0.05, 0.05], [0.6, 0.2, 0.2], [0.2, 0.7, 0.1]])
    assert list(most_confident_mistakes(targets, outputs, 9)) == [1, 3, 2]
    assert list(most_confident_mistakes(targets, outputs, 1)) == [1]


def test_experiments_are_data_for_any_pool_of_processes():
    assert pickle.loads(pickle.dumps(TASK_4)) == TASK_4
