import math
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import task2
import task3
import task4
from report import measures
from report.answers import measures_table
from report.measures import (
    TARGET_LOSS,
    accuracies,
    by_measure,
    confusion,
    crossed,
    evaluate_network,
    in_words,
    labels,
    layer_statistics,
    measure_all,
    measures_of,
    most_confident_mistakes,
    of_crossed,
    scan,
    separation,
    steps_until,
)
from task2 import TASK_2C, Experiment, evaluate
from task2a import SIGMOID, backward, forward
from task3 import IMPROVED_SIGMOID, TASK_3A, TASK_3C, fan_in_normal, momentum
from task4 import RELU, TASK_4E, gradient_rms
from tests.runs import a_run, data, weights

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
WIDE = eval(re.search(r"(?s)TASK_3C\._replace\(.+?\)\)", README)[0], {"TASK_3C": TASK_3C})
no_warnings = pytest.mark.filterwarnings("error")


# ---- labels


OTHER_SETTINGS = {
    "neurons_per_layer": ((59, 59, 10), "64 units", "2 × 59 units"),
    "draw": (fan_in_normal, "uniform weights", "fan in normal weights"),
    "activation": (IMPROVED_SIGMOID, "sigmoid", "improved sigmoid"),
    "update": (momentum, "gradient descent", "momentum"),
    "learning_rate": (0.03125, "rate 0.1", "rate 0.03125"),
    "batch_size": (16, "batches of 32", "batches of 16"),
    "epochs": (7, "at most 50 epochs", "at most 7 epochs"),
}


@pytest.mark.parametrize("setting", Experiment._fields[1:])
def test_a_label_tells_the_setting_that_differs_and_no_other(setting):
    value, before, after = OTHER_SETTINGS[setting]
    other = TASK_2C._replace(name="other", **{setting: value})
    assert labels([TASK_2C, other]) == {"Task 2c": f"Task 2c: {before}", "other": f"other: {after}"}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_setting_differs_wherever_the_odd_one_stands(place):
    experiments = [Experiment(name, epochs=5) for name in "abc"]
    experiments[place] = experiments[place]._replace(epochs=6)
    found = list(labels(experiments[::-1]).items())
    assert found == [(e.name, f"{e.name}: at most {e.epochs} epochs") for e in experiments[::-1]]


def test_settings_that_differ_stand_in_the_order_of_an_experiment():
    found = labels([TASK_2C, TASK_3A, TASK_3C])
    assert found["Task 3a"] == (
        "Task 3a: fan in normal weights, sigmoid, gradient descent, rate 0.1"
    )
    assert found["Task 3c"].endswith("fan in normal weights, improved sigmoid, momentum, rate 0.02")


def test_an_experiment_alone_needs_its_name_only():
    assert labels([TASK_3C]) == {"Task 3c": "Task 3c"}
    assert labels([TASK_3C, TASK_3C._replace(name="again")])["again"] == "again"
    assert labels([]) == {}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((10,), "no hidden units"),
        ((32, 10), "32 units"),
        ((59, 59, 10), "2 × 59 units"),
        ((128, 64, 128, 10), "128, 64, 128 units"),
        ((64,) * 10 + (10,), "10 × 64 units"),
        ((10,) * 4, "3 × 10 units"),
        ((8, 8, 4, 16, 16, 16, 3), "2 × 8, 4, 3 × 16 units"),
    ],
)
def test_layers_in_words_are_the_hidden_ones_and_equal_ones_are_counted(layers, words):
    experiments = [Experiment("a", neurons_per_layer=layers), Experiment("b", (1234, 10))]
    assert labels(experiments)["a"] == f"a: {words}"


def test_the_networks_of_the_tasks_are_told_apart_by_their_settings():
    constants = [*vars(task2).values(), *vars(task3).values(), *vars(task4).values()]
    experiments = {e.name: e for e in constants if isinstance(e, Experiment)}.values()
    texts = [label.removeprefix(name) for name, label in labels([*experiments]).items()]
    assert len(set(texts)) == len(texts) == 9


def test_the_experiment_of_the_readme_has_a_label_that_says_what_differs():
    assert labels([TASK_3C, WIDE]) == {"Task 3c": "Task 3c: 64 units", "wide": "wide: 256 units"}


# ---- what is measured of a run


@pytest.mark.parametrize(("loss", "steps"), [(5, 500), (3, 500), (2.9, 1000), (0.5, 1000)])
def test_steps_until_a_loss_count_to_the_first_validation_that_has_it(loss, steps):
    assert steps_until(a_run([3, 0.5, 0.75, 0.5]), loss) == steps


def test_a_loss_that_is_never_reached_takes_infinitely_many_steps():
    assert steps_until(a_run([3, 0.5, 0.75, 0.5]), 0.4) == math.inf


# X and Y are many and random: what looks at some of them, or at one class, finds other values
X, Y = data(7001)
X_VAL, _ = data(1201, seed=1)
LOSSES = [3, 0.21, 0.19, 0.15, 0.75, 0.15, 1, 2.5]  # the fourth of eight validations is the best


def expected_measures(run):
    f = run.experiment.activation
    best_loss, best_accuracy = evaluate(Y, forward(X, run.best_weights, f)[-1])
    last_loss, last_accuracy = evaluate(Y, forward(X, run.last_weights, f)[-1])
    _, *hidden, _ = forward(X_VAL, run.last_weights, f)
    steepest = f.slope(f.function(np.array(1e-9)))
    shares = [(f.slope(a) < steepest / 10).mean() for a in hidden]
    return {
        "parameters": 4 * 3 + 3 * 5 + 5 * 2,
        f"steps to loss {TARGET_LOSS}": 1500,
        "best step": 2000,
        "last step": 4000,
        "last epoch": 2,
        "training loss": best_loss,
        "validation loss": 0.15,
        "training accuracy": best_accuracy,
        "validation accuracy": run.val_accuracy[3],
        "final training loss": last_loss,
        "final validation loss": 2.5,
        "final training accuracy": last_accuracy,
        "final validation accuracy": run.val_accuracy[7],
        "overfitting": 2.5 - last_loss,
        "final saturation": sum(shares) / 2,
    }


@pytest.mark.parametrize("activation", [SIGMOID, IMPROVED_SIGMOID, RELU], ids=lambda f: f.name)
def test_measures_of_a_run_by_hand(activation):
    run = a_run(LOSSES, TASK_3C._replace(activation=activation), seed=3)
    expected = expected_measures(run)
    found = measures_of(run, X, Y, X_VAL)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert not any(np.ndim(found[name]) for name in found)  # approx accepts an empty array
    assert len(set(expected.values())) == len(expected)  # none is another


def test_steps_are_those_of_the_validations_however_far_these_are_apart():
    steps = np.array([125.0, 250, 375, 503, 628, 629, 700, 703])
    for best in range(8):
        losses = np.where(np.arange(8) == best, 0.1, 0.9)
        found = measures_of(a_run(losses, steps=steps), X, Y, X_VAL)
        assert (found["best step"], found["last step"]) == (steps[best], 703)
        assert found[f"steps to loss {TARGET_LOSS}"] == steps[best]


def test_saturation_is_that_of_all_hidden_layers():
    first = [np.full((4, 3), 1e-9), np.full((3, 5), 1e-9), np.ones((5, 2))]
    second = [first[0], np.full((3, 5), 90.0), np.ones((5, 2))]
    fourth = [first[0], first[1], np.full((5, 5), 1e-9), np.full((5, 3), 90.0), np.ones((3, 2))]
    shares = [
        measures_of(a_run(LOSSES, TASK_2C, last_weights=ws), X, Y, X_VAL)["final saturation"]
        for ws in (first, second, fourth)
    ]
    assert shares == [0, 0.5, 0.25]


def test_parameters_are_those_of_the_network_and_not_of_the_default():
    rng = np.random.default_rng(0)
    run = a_run(LOSSES, best_weights=weights(rng, (6, 2)), last_weights=weights(rng, (6, 2)))
    assert measures_of(run, X, Y, X_VAL)["parameters"] == 36


@no_warnings
def test_a_network_without_hidden_layers_is_measured_too():
    ws = [np.ones((4, 2))]
    run = a_run(LOSSES, best_weights=ws, last_weights=ws)
    assert measures_of(run, X, Y, X_VAL)["final saturation"] == 0


def test_a_network_is_evaluated_with_its_activation_on_all_examples():
    ws = weights(np.random.default_rng(0), (3, 2))
    for f in (SIGMOID, IMPROVED_SIGMOID, RELU):
        assert evaluate_network(X, Y, ws, f) == evaluate(Y, forward(X, ws, f)[-1])


@pytest.mark.parametrize("row", [0, 4_999, 9_999, 10_000, 19_999])
def test_every_one_of_20000_examples_is_evaluated(row):
    X, Y = np.zeros((20_000, 1)), np.tile([1.0, 0], (20_000, 1))
    X[row] = 1  # the only mistake
    loss, accuracy = evaluate_network(X, Y, [np.array([[0.0, 50]])], SIGMOID)
    assert accuracy == 19_999 / 20_000
    assert loss == pytest.approx((50 + 19_999 * math.log(2)) / 20_000)


# uneven: of one, two and three runs, none with the losses of another
RUNS = {
    "b": [a_run([2, 0.1, 4], seed=1)],
    "a": [a_run([5, 6, 0.7, 8], seed=seed) for seed in (2, 3, 4)],
    "c": [a_run([1, 0.9], TASK_2C, seed=5), a_run([9, 0.05, 7], TASK_2C, seed=6)],
}


def test_every_run_is_measured_in_the_order_of_experiments_and_seeds():
    measured = measure_all(RUNS, X, Y, X_VAL)
    assert list(measured) == ["b", "a", "c"]
    for name, runs in RUNS.items():
        expected = [measures_of(run, X, Y, X_VAL) for run in runs]
        found = {measure: values.tolist() for measure, values in measured[name].items()}
        assert found == {m: [of_one[m] for of_one in expected] for m in expected[0]}


def test_runs_are_measured_with_one_blas_thread_each(monkeypatch, blas_threads):
    seen = []
    monkeypatch.setattr(measures, "measures_of", lambda *_: seen.extend(blas_threads()) or {})
    measure_all(RUNS, X, Y, X_VAL)
    assert set(seen) == {1}


def test_accuracies_are_those_of_the_best_weights_and_the_activation_of_every_run():
    found = accuracies(RUNS, X, Y)
    assert list(found) == ["b", "a", "c"]
    for name, runs in RUNS.items():
        outputs = [forward(X, r.best_weights, r.experiment.activation)[-1] for r in runs]
        assert found[name].tolist() == [evaluate(Y, of_one)[1] for of_one in outputs]
    assert len({share for shares in found.values() for share in shares}) > 2


def test_measures_are_gathered_by_their_names_and_not_by_their_places():
    found = by_measure([{"loss": 1, "steps": 2}, {"steps": 3, "loss": 4}, {"loss": 5, "steps": 6}])
    assert {name: values.tolist() for name, values in found.items()} == {
        "loss": [1, 4, 5],
        "steps": [2, 3, 6],
    }


@pytest.mark.parametrize("activation", [SIGMOID, RELU], ids=lambda f: f.name)
def test_layers_are_followed_through_training_by_the_steps_done(activation):
    run = a_run(LOSSES, TASK_3C._replace(activation=activation))
    by_layer = layer_statistics(run, gradient_rms, X, Y)
    assert list(by_layer) == ["0 steps", "500 steps", "1,500 steps"]
    for found, ws in zip(by_layer.values(), run.kept_weights.values(), strict=True):
        np.testing.assert_array_equal(found, gradient_rms(X, Y, ws, activation))


def test_the_experiment_of_the_readme_is_measured_beside_the_others():
    runs = {e.name: [a_run(LOSSES, e)] for e in (TASK_3C, WIDE)}
    measured = measure_all(runs, X, Y, X_VAL)
    _, _, *rows = measures_table(measured, ["validation loss"]).data.splitlines()
    assert rows == ["| Task 3c | 0.1500 |", "| wide | 0.1500 |"]


# ---- experiments crossed


LINES = {"one layer": {}, "ten layers": {"neurons_per_layer": TASK_4E.neurons_per_layer}}
POINTS = {rate: {"learning_rate": rate, "epochs": 3} for rate in (0.002, 0.02)}


def test_experiments_are_crossed_with_the_settings_of_line_and_point():
    found = crossed(TASK_3C, LINES, POINTS)
    assert list(found) == list(LINES)
    for line, rate in product(LINES, POINTS):
        settings = LINES[line] | POINTS[rate]
        assert found[line][rate] == TASK_3C._replace(name=f"{line}, {rate}", **settings)


def test_points_as_near_as_a_thousandth_have_names_of_their_own():
    found = crossed(TASK_3C, {"a": {}}, {point: {} for point in (0.0125, 0.01251, 12_500, 12_510)})
    names = [e.name for e in found["a"].values()]
    assert names == ["a, 0.0125", "a, 0.01251", "a, 12500", "a, 12510"]


def test_measures_of_crossed_experiments_stand_at_their_lines_and_points():
    names = [f"{line}, {rate}" for line, rate in product(LINES, POINTS)]
    measured = {
        name: {"steps": np.array([n, n + 0.5]), "loss": np.array([10 * n, 7])}
        for n, name in enumerate(names)
    }
    found = of_crossed(measured, crossed(TASK_3C, LINES, POINTS), "loss")
    assert {line: {r: v.tolist() for r, v in of_one.items()} for line, of_one in found.items()} == {
        "one layer": {0.002: [0, 7], 0.02: [10, 7]},
        "ten layers": {0.002: [20, 7], 0.02: [30, 7]},
    }


@pytest.mark.parametrize("activation", [SIGMOID, IMPROVED_SIGMOID, RELU], ids=lambda f: f.name)
def test_a_scan_is_the_share_of_the_loss_that_is_left_after_a_step_of_each_size(activation):
    networks = [weights(np.random.default_rng(n), (3, 2)) for n in range(3)]
    found = scan(X, Y, networks, activation, [0.3, 0.1])
    assert list(found) == [0.3, 0.1]
    for size, n in product(found, range(3)):
        ws = networks[n]
        gradients = backward(Y, forward(X, ws, activation), ws, activation)
        stepped = [w - size * g for w, g in zip(ws, gradients, strict=True)]
        after, before = (
            evaluate_network(X, Y, network, activation)[0] for network in (stepped, ws)
        )
        assert found[size][n] == pytest.approx(after / before, rel=1e-12)


# ---- mistakes


def test_confusion_counts_the_class_by_row_and_the_prediction_by_column():
    outputs = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.2, 0.7, 0.1], [0, 0.4, 0.6]])
    counts = confusion(np.eye(3)[[0, 0, 1, 2]], outputs)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert counts.dtype == np.int64


def test_confusion_has_every_example_and_every_class():
    rng = np.random.default_rng(0)
    classes, outputs = rng.integers(0, 9, 40_000), rng.uniform(size=(40_000, 10))
    counts = confusion(np.eye(10)[classes], outputs)
    expected = np.zeros((10, 10))
    np.add.at(expected, (classes, outputs.argmax(axis=1)), 1)  # nothing is of class 9
    assert (counts == expected).all()


def test_the_most_confident_mistakes_come_first():
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.05, 0.95], [0.3, 0.7]])
    mistakes = most_confident_mistakes(np.eye(2)[[0, 0, 0, 1, 0]], outputs, 2)
    assert mistakes.tolist() == [1, 4]


@pytest.mark.parametrize("row", [0, 4_999, 9_999, 10_000, 39_999])
def test_a_mistake_is_found_among_many_examples(row):
    outputs = np.tile([0.75, 0.25], (40_000, 1))
    outputs[row] = [0.25, 0.75]
    assert most_confident_mistakes(np.eye(2)[[0] * 40_000], outputs, 9).tolist() == [row]


def test_only_mistakes_are_confident_mistakes():
    targets = np.eye(3)[[0, 1, 2, 0]]
    outputs = np.array([[0.8, 0.1, 0.1], [0.9, 0.05, 0.05], [0.6, 0.2, 0.2], [0.2, 0.7, 0.1]])
    assert list(most_confident_mistakes(targets, outputs, 9)) == [1, 3, 2]
    assert list(most_confident_mistakes(targets, outputs, 1)) == [1]


def test_mistakes_equal_to_12_digits_keep_their_order():
    # another machine's last digits must not show in the report
    confident = 0.75 + np.array([0, 2e-13, 4e-12, 6e-12])
    outputs = np.column_stack([1 - confident, confident])
    assert most_confident_mistakes(np.eye(2)[[0] * 4], outputs, 4).tolist() == [3, 2, 0, 1]


def test_equally_confident_mistakes_keep_their_order_however_many_they_are():
    confident = np.tile([0.6, 0.9, 0.6, 0.8], 50)
    outputs = np.column_stack([1 - confident, confident])
    found = most_confident_mistakes(np.eye(2)[[0] * 200], outputs, 200).tolist()
    assert found == sorted(range(200), key=lambda n: (-confident[n], n))


# ---- in words


def plain(text):
    return text.replace("\u00a0", " ")  # a space that breaks no line


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 2.0, 6.5], "3.1667 ± 2.9297"),
        ([0.25], "0.2500"),
        ([0.25, 0.25], "0.2500"),
        ([0.12345, 0.12355, 0.12375], "0.1236 ± 0.0002"),
        ([-0.5, -0.25], "-0.3750 ± 0.1768"),
        ([1234.5, 1236.5], "1,235.5000 ± 1.4142"),
        ([1000, 3000], "2,000 ± 1,414"),
        ([50880], "50,880"),
        ([1.0, 2.0, 3.0, 10.0, 14.0], "6 ± 6"),
        ([1.0, 1.0], "1.0000"),
        ([0, 0], "0.0000"),
        ([2, 2], "2"),
        ([0, 1.0, 1.0], "0.6667 ± 0.5774"),
        ([math.inf, math.inf], "never"),
        ([1.0, math.inf, 2.0], "in 2 of 3 runs"),
        ([math.inf, 1.5], "in 1 of 2 runs"),
    ],
)
def test_values_in_words_are_mean_and_sample_standard_deviation(values, text):
    assert plain(in_words(np.array(values))) == text


def test_nothing_of_a_number_is_parted_at_the_end_of_a_line():
    assert in_words(np.array([0.5, 1.0])) == "0.7500\u00a0±\u00a00.3536"


@pytest.mark.parametrize(
    ("values", "text"), [([0.12345, 0.5], "0.312"), ([1.5, 7], "4.250"), ([7, 2500], "1,254")]
)
def test_digits_are_of_the_mean_too_and_the_deviation_can_be_left_out(values, text):
    assert in_words(np.array(values), 3, spread=False) == text
    assert in_words(np.array(values), 3).startswith(f"{text}\u00a0±")


@pytest.mark.parametrize(
    ("new", "old", "sign"),
    [
        ([5, 6, 7], [1, 2, 4], 1),
        ([1, 2, 4], [5, 6, 7], -1),
        ([9, 9, 9, 9, 4], [5, 1, 1, 1, 1], 0),  # four of five are above all, one is not
        ([1, 1, 1, 1, 5], [4, 9, 9, 9, 9], 0),
        ([5, 6], [5, 4], 0),  # to touch is not to separate
        ([4, 5], [5, 6], 0),
        ([5], [1, 2, 3, 6], 0),
        ([7], [1, 2, 3, 6], 1),
        ([math.inf, math.inf], [3, 4], 1),
        ([3, math.inf], [4, math.inf], 0),
        ([math.inf], [math.inf], 0),
    ],
)
def test_separation_is_complete_or_there_is_none(new, old, sign):
    assert separation(np.array(new), np.array(old)) == sign


SOME_RUNS = st.lists(st.integers(0, 12), min_size=1, max_size=5).map(np.array)


@given(SOME_RUNS, SOME_RUNS)
def test_separation_compares_every_run_with_every_run(new, old):
    signs = {int(np.sign(a - b)) for a, b in product(new, old)}
    assert separation(new, old) == (signs.pop() if len(signs) == 1 else 0)
