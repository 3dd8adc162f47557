import math

import numpy as np
import pytest

from task2 import Experiment, History, Run, gradient_descent, train
from task2a import (
    SIGMOID,
    Activation,
    backward,
    forward,
    gradient_approximation_test,
    initialize_weights,
    uniform,
)
from task3 import (
    IMPROVED_SIGMOID,
    SEED_REPORT,
    TASK_2C,
    TASK_3,
    add_one_by_one,
    claims,
    column,
    compare,
    fan_in_normal,
    improved_sigmoid,
    improved_sigmoid_slope,
    measure,
    measure_all,
    measures_table,
    momentum,
    saturation,
    spread,
    steps_until,
)

no_warnings = pytest.mark.filterwarnings("error")
every_depth = pytest.mark.parametrize(
    "hidden",
    [
        pytest.param((4,), id="1 hidden"),
        pytest.param((8, 4), id="2 hidden"),
        pytest.param((4, 8) * 5, id="10 hidden"),
    ],
)


# ---- Task 3a: the initial weights


@pytest.mark.parametrize("shape", [(785, 64), (400, 100), (64, 400), (100, 400)])
def test_weights_are_normal_with_std_by_fan_in(shape):
    z = fan_in_normal(np.random.default_rng(0), shape) * math.sqrt(shape[0])
    assert abs(z.mean()) < 5 / math.sqrt(z.size)
    assert z.std() == pytest.approx(1, rel=0.015)
    for limit, share, error in [(1, 0.3173, 0.015), (2, 0.0455, 0.006), (3, 0.0027, 0.0015)]:
        assert np.mean(np.abs(z) > limit) == pytest.approx(share, abs=error)


def test_the_std_is_exactly_one_over_the_root_of_the_fan_in():
    # the same standard normal numbers, once for 4 inputs and once for 785
    few, many = (fan_in_normal(np.random.default_rng(0), (n, 1)) for n in (4, 785))
    np.testing.assert_allclose(few * 2, many[:4] * math.sqrt(785), rtol=1e-12)


def test_every_layer_has_the_std_of_its_own_fan_in():
    widths = [400, 100, 400, 50]
    ws = initialize_weights(widths, np.random.default_rng(0), fan_in_normal)
    for w, fan_in in zip(ws, [785, *widths], strict=False):
        assert w.std() * math.sqrt(fan_in) == pytest.approx(1, rel=0.03)


def test_weights_depend_on_the_generator_alone():
    first, again, other = (fan_in_normal(np.random.default_rng(seed), (8, 4)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    assert len(np.unique(first)) == 32


def test_training_starts_from_these_weights():
    X, Y = np.ones((4, 900)), np.eye(3)[[0, 1, 2, 0]]
    experiment = TASK_3[1]._replace(neurons_per_layer=(100, 3), epochs=1, batch_size=4)
    first, last = train(experiment, X, Y, X, Y, seed=0, snapshots_at=[0]).snapshots[0]
    assert first.std() == pytest.approx(1 / 30, rel=0.02)
    assert np.abs(first).max() > 3 / 30  # uniform weights of that std end at 1.7 / 30
    assert last.std() == pytest.approx(1 / 10, rel=0.15)


# ---- Task 3b: the improved sigmoid


def test_improved_sigmoid_by_hand():
    # 1.7159 tanh(2/3) and 1.7159 tanh(20/3), to 30 digits by exact arithmetic
    z = np.array([[0, 1, 10], [-0.0, -1, -10]])
    expected = np.array([0, 0.999997255922478975, 1.71589444187673006])
    np.testing.assert_allclose(improved_sigmoid(z), [expected, -expected], rtol=1e-14)


def test_improved_sigmoid_matches_its_formula():
    z = np.linspace(-8, 8, 161)
    expected = [1.7159 * math.tanh(2 * x / 3) for x in z]
    np.testing.assert_allclose(improved_sigmoid(z), expected, rtol=1e-12)


@no_warnings
def test_improved_sigmoid_survives_extremes():
    z = np.array([-1000.0, 1000])
    np.testing.assert_allclose(improved_sigmoid(z), [-1.7159, 1.7159], rtol=1e-14)
    np.testing.assert_allclose(improved_sigmoid_slope(improved_sigmoid(z)), 0, rtol=0, atol=1e-12)


def test_slope_of_the_improved_sigmoid_by_hand():
    # at a = 0 it is 1.7159 * 2/3, at a = 1 it is 2/3 (1.7159 - 1 / 1.7159)
    expected = [1.14393333333333333, 0.755410303630747713, 0, 0]
    slopes = improved_sigmoid_slope(np.array([0, 1, 1.7159, -1.7159]))
    np.testing.assert_allclose(slopes, expected, rtol=1e-13, atol=1e-15)


def test_slope_of_the_improved_sigmoid_takes_the_activation():
    z = np.linspace(-4, 4, 81)
    expected = [1.7159 * 2 / 3 / math.cosh(2 * x / 3) ** 2 for x in z]
    np.testing.assert_allclose(improved_sigmoid_slope(improved_sigmoid(z)), expected, rtol=1e-11)


def test_slope_of_the_improved_sigmoid_matches_central_differences():
    z, h = np.linspace(-4, 4, 41), 1e-5
    approximation = (IMPROVED_SIGMOID.function(z + h) - IMPROVED_SIGMOID.function(z - h)) / (2 * h)
    slopes = IMPROVED_SIGMOID.slope(IMPROVED_SIGMOID.function(z))
    np.testing.assert_allclose(slopes, approximation, rtol=0, atol=1e-9)


def test_improved_sigmoid_leaves_its_argument_unchanged():
    z = np.array([-1.0, 0, 2])
    improved_sigmoid(z)
    improved_sigmoid_slope(z)
    assert z.tolist() == [-1, 0, 2]


@every_depth
def test_improved_sigmoid_networks_equal_the_elementwise_sums(tiny, sums, assert_close, hidden):
    X, Y, ws = tiny(hidden, scale=2)
    outputs, gradients = sums(
        X,
        Y,
        ws,
        lambda z: 1.7159 * math.tanh(2 * z / 3),
        lambda z: 1.7159 * 2 / 3 / math.cosh(2 * z / 3) ** 2,
    )
    values = forward(X, ws, IMPROVED_SIGMOID)
    assert_close([values[-1]], [outputs])
    assert_close(backward(Y, values, ws, IMPROVED_SIGMOID), gradients)


@every_depth
def test_improved_sigmoid_networks_pass_the_gradient_check(tiny, hidden):
    X, Y, ws = tiny(hidden)
    gradient_approximation_test(X, Y, ws, IMPROVED_SIGMOID, rng=np.random.default_rng(0))


# ---- Task 3c: momentum


def test_momentum_over_three_steps_by_hand():
    # v = 1, then 10 + 0.9, then 100 + 9 + 0.81; their sum is 121.71
    ws, vs = [np.array([[1.0, -2]]), np.array([[3.0], [4]])], [np.zeros((1, 2)), np.zeros((2, 1))]
    for g, sum_of_velocities in [(1, 1), (10, 11.9), (100, 121.71)]:
        ws, vs = momentum(ws, vs, [np.array([[g, 0.0]]), np.array([[-g], [2.0 * g]])], 0.02)
        np.testing.assert_allclose(ws[0], [[1 - 0.02 * sum_of_velocities, -2]], rtol=1e-12)
        expected = [[3 + 0.02 * sum_of_velocities], [4 - 0.04 * sum_of_velocities]]
        np.testing.assert_allclose(ws[1], expected, rtol=1e-12)


def test_a_steady_gradient_ends_ten_times_faster():
    ws, vs = [np.zeros((1, 1))], [np.zeros((1, 1))]
    for _ in range(500):
        before = ws[0]
        ws, vs = momentum(ws, vs, [np.ones((1, 1))], 0.02)
    assert (before - ws[0]).item() == pytest.approx(0.02 / (1 - 0.9), rel=1e-9)


def test_without_gamma_momentum_is_gradient_descent():
    ws, vs = [np.array([[1.0]])], [np.zeros((1, 1))]
    plain = ws
    for g in (1.0, -2, 5):
        ws, vs = momentum(ws, vs, [np.array([[g]])], 0.1, gamma=0)
        plain, _ = gradient_descent(plain, None, [np.array([[g]])], 0.1)
    np.testing.assert_allclose(ws[0], plain[0], rtol=1e-14)


def test_every_layer_has_a_velocity_of_its_own():
    ws, vs = [np.zeros((1, 1))] * 5, [np.zeros((1, 1))] * 5
    for _ in range(2):
        gradients = [np.full((1, 1), 10.0**n) for n in range(5)]
        ws, vs = momentum(ws, vs, gradients, 0.02)
    np.testing.assert_allclose(
        [w.item() for w in ws], [-0.02 * 2.9 * 10**n for n in range(5)], rtol=1e-12
    )


@pytest.mark.parametrize("too_many", [0, 1, 2], ids=["weights", "velocities", "gradients"])
def test_every_layer_needs_weights_velocity_and_gradient(too_many):
    given = [[np.ones((1, 1))] * (2 if n == too_many else 1) for n in range(3)]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        momentum(*given, 0.1)


def test_momentum_leaves_its_arguments_unchanged():
    ws, vs, gradients = [np.ones((2, 2))], [np.full((2, 2), 2.0)], [np.full((2, 2), 3.0)]
    momentum(ws, vs, gradients, 0.1)
    assert (ws[0] == 1).all()
    assert (vs[0] == 2).all()
    assert (gradients[0] == 3).all()


@pytest.mark.parametrize(
    "layers",
    [
        (4, 3),
        (8, 4, 3),
        ((4,) * 10 + (3,)),
    ],
)
def test_velocity_lasts_through_all_epochs_of_a_training(tiny, layers):
    # one batch an epoch, so that the order does not matter; v = sum of 0.9^age g
    X, Y, _ = tiny([], examples=20)
    experiment = TASK_3[3]._replace(neurons_per_layer=layers, batch_size=20, epochs=4)
    run = train(experiment, X, Y, X, Y, seed=0, snapshots_at=range(5))
    vs = [0] * len(layers)
    for step in range(4):
        ws = run.snapshots[step]
        gradients = backward(Y, forward(X, ws, IMPROVED_SIGMOID), ws, IMPROVED_SIGMOID)
        vs = [g + 0.9 * v for g, v in zip(gradients, vs, strict=True)]
        for w, v, moved in zip(ws, vs, run.snapshots[step + 1], strict=True):
            # each of the gradients is rounded to 2^-16, by at most half of that
            np.testing.assert_allclose(moved, w - 0.02 * v, rtol=0, atol=0.02 * 4 * 2.0**-17)
            assert np.abs(moved - w).max() > 1e-5


def test_no_velocity_is_left_for_the_next_training(tiny):
    X, Y, _ = tiny([], examples=20)
    experiment = TASK_3[3]._replace(neurons_per_layer=(4, 3), batch_size=4, epochs=3)
    first, second = (train(experiment, X, Y, X, Y, seed=0) for _ in range(2))
    np.testing.assert_array_equal(first.last_weights[0], second.last_weights[0])


# ---- Task 3: the experiments


def test_additions_stay():
    baseline = Experiment("a", learning_rate=1.0)
    chain = add_one_by_one(baseline, [{"name": "b", "epochs": 2}, {"name": "c", "batch_size": 3}])
    assert chain == [
        baseline,
        baseline._replace(name="b", epochs=2),
        baseline._replace(name="c", epochs=2, batch_size=3),
    ]
    assert add_one_by_one(baseline, []) == [baseline]


@pytest.mark.parametrize(
    ("index", "settings"),
    [
        (0, (uniform, SIGMOID, gradient_descent, 0.1)),
        (1, (fan_in_normal, SIGMOID, gradient_descent, 0.1)),
        (2, (fan_in_normal, IMPROVED_SIGMOID, gradient_descent, 0.1)),
        (3, (fan_in_normal, IMPROVED_SIGMOID, momentum, 0.02)),
    ],
)
def test_each_experiment_adds_one_trick(index, settings):
    e = TASK_3[index]
    assert (e.draw, e.activation, e.update, e.learning_rate) == settings
    assert (e.neurons_per_layer, e.batch_size, e.epochs) == ((64, 10), 32, 50)


def test_the_comparison_is_of_four_networks_told_apart():
    assert len(TASK_3) == 4
    assert TASK_3[0] == TASK_2C
    assert len({e.name for e in TASK_3}) == len({e.label for e in TASK_3}) == 4
    assert len({e.line for e in TASK_3}) == 4
    assert all("[64, 10]" in e.label for e in TASK_3)


# ---- saturation


def test_saturated_sigmoids_are_those_with_a_tenth_of_the_slope():
    # a (1 - a) < 0.1 / 4 where a < 0.02566, that is z < -3.637
    z = np.array([[-9, -3.64, -3.63, 0, 3.63, 3.64, 9, 1]]).T
    assert saturation(z, [np.eye(1), np.eye(1)], SIGMOID).tolist() == [0.5]


def test_saturated_improved_sigmoids_are_those_with_a_tenth_of_the_slope():
    # 1 - tanh^2 < 0.1 where z > 1.5 artanh(sqrt(0.9)) = 2.7277
    z = np.array([[-9, -2.73, -2.72, 0, 2.72, 2.73, 2.5, 1]]).T
    assert saturation(z, [np.eye(1), np.eye(1)], IMPROVED_SIGMOID).tolist() == [0.375]


def test_a_tenth_of_the_slope_itself_is_not_saturated():
    steps = Activation("steps", lambda z: z, lambda a: np.select([a > 2, a > 1], [0.09, 0.1], 1.0))
    z = np.array([[0, 1.5, 1.6, 3]]).T
    assert saturation(z, [np.eye(1), np.eye(1)], steps).tolist() == [0.25]


def test_saturation_is_counted_in_each_hidden_layer():
    X = np.array([[1.0], [-1], [1], [1]])
    ws = [np.array([[9.0, 0]]), np.array([[9.0, 9, 0], [0, 0, 0]]), np.zeros((3, 2))]
    assert saturation(X, ws, IMPROVED_SIGMOID).tolist() == pytest.approx([1 / 2, 2 / 3])


# ---- comparing runs


@pytest.fixture
def finished_run():
    # the second of six validations is the best; one of the four hidden activations is saturated
    steps, val_loss = np.array([4.0, 8, 12, 16, 20, 24]), np.array([3, 0.5, 0.5, 0.75, 1, 2])
    val_accuracy = np.array([0.1, 0.95, 0.97, 0.9, 0.85, 0.8])
    return Run(
        experiment=TASK_3[3]._replace(neurons_per_layer=(2, 2)),
        seed=0,
        epochs=2,
        history=History(steps, val_loss / 2, val_accuracy / 2, val_loss, val_accuracy),
        best_weights=[np.zeros((3, 2)), np.zeros((2, 2))],
        last_weights=[np.array([[9.0, 0], [0, 0], [0, 0]]), np.zeros((2, 2))],
        best_train=(0.25, 0.9),
        last_train=(0.125, 0.95),
        snapshots={},
    )


@pytest.mark.parametrize(("loss", "steps"), [(5, 4), (3, 4), (2.9, 8), (0.5, 8), (0.4, math.inf)])
def test_steps_until_a_loss_count_to_the_first_validation_that_has_it(finished_run, loss, steps):
    assert steps_until(finished_run, loss) == steps


def test_measures_of_a_run_by_hand(finished_run):
    measures = measure(finished_run, np.array([[1.0, 0, 0], [0, 1, 0]]))
    expected = {
        "parameters": 10,
        "steps to loss 0.35": math.inf,
        "steps to loss 0.2": math.inf,
        "best step": 8,
        "last step": 24,
        "last epoch": 2,
        "training loss": 0.25,
        "validation loss": 0.5,
        "training accuracy": 0.9,
        "validation accuracy": 0.95,
        "last validation loss": 2,
        "last validation accuracy": 0.8,
        "gap": 0.25,
        "gap at the end": 1.875,
        "saturation at the end": 0.25,
    }
    assert {name: measures[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert not any(np.ndim(measures[name]) for name in expected)  # approx accepts an empty array
    assert measures["network"] == finished_run.experiment.label


@no_warnings
def test_a_network_without_hidden_layers_is_measured_too(finished_run):
    ws = [np.zeros((3, 2))]
    run = finished_run._replace(best_weights=ws, last_weights=ws)
    assert measure(run, np.zeros((1, 3)))["saturation at the end"] == 0


def test_the_seed_report_is_quoted_as_it_was_handed_in():
    assert SEED_REPORT == {
        "training loss": 0.01875,
        "validation loss": 0.14715,
        "training accuracy": 0.99605,
        "validation accuracy": 0.9575,
    }


def test_every_run_is_measured(finished_run):
    other = finished_run._replace(best_train=(7.0, 0.1))
    measured = measure_all({"a": [finished_run, other], "b": [other]}, np.zeros((1, 3)))
    losses = {name: column(measured[name], "training loss").tolist() for name in measured}
    assert losses == {"a": [0.25, 7], "b": [7]}


def plain(text):
    return text.replace("\u00a0", " ")  # a space that breaks no line


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 2.0, 3.0], "2.0000 ± 1.0000"),
        ([0.25], "0.2500"),
        ([0.25, 0.25], "0.2500"),
        ([1000, 3000], "2,000 ± 1,414"),
        ([50880], "50,880"),
        ([math.inf, math.inf], "never"),
        ([1.0, math.inf, 2.0], "in 2 of 3 seeds"),
    ],
)
def test_spread_is_mean_and_sample_standard_deviation(values, text):
    assert plain(spread(np.array(values))) == text


def test_a_difference_is_claimed_only_where_all_seeds_agree():
    low, high, mixed, same = (
        [{"loss": loss} for loss in losses] for losses in ([1.0, 2], [2.0, 4], [4.0, 1.5], [1.0, 2])
    )
    assert plain(compare(low, high, "loss")) == "**lower loss** (by 1.5000 ± 0.7071)"
    assert plain(compare(high, low, "loss")) == "**higher loss** (by 1.5000 ± 0.7071)"
    assert compare(mixed, low, "loss").startswith("no clear difference in loss (higher by 1.2500")
    assert "1 of 2 seeds" in compare(mixed, low, "loss")
    assert compare(low, mixed, "loss").startswith("no clear difference in loss (lower by 1.2500")
    assert compare(same, low, "loss") == "the same loss"
    crossed = [{"loss": runs["loss"] + sign} for runs, sign in zip(low, (1, -1), strict=False)]
    assert plain(compare(crossed, low, "loss")) == (
        "no clear difference in loss (higher by 0.0000 ± 1.4142, but in 1 of 2 seeds only)"
    )
    halved = [{"loss": 0.5}, {"loss": 2.0}]
    assert "but in 1 of 2 seeds only, equal in 1)" in compare(halved, low, "loss")


@no_warnings
@pytest.mark.parametrize("old", [1.0, math.inf])
def test_what_is_never_reached_is_not_compared(old):
    text = compare([{"steps": math.inf}], [{"steps": old}], "steps")
    assert text == "no comparison of steps (some runs never reach it)"


def test_small_differences_are_lower_and_higher_too():
    less, more = [{"loss": 0.25}], [{"loss": 0.75}]
    assert compare(less, more, "loss") == "**lower loss** (by 0.5000)"
    assert compare(more, less, "loss") == "**higher loss** (by 0.5000)"


def test_claims_name_both_networks_and_the_measure():
    measured = {"new": [{"loss": 1.0}, {"loss": 2.0}], "old": [{"loss": 3.0}, {"loss": 5.0}]}
    text = claims(measured, [("new", "old")], ["loss"]).data
    assert text.startswith("- **new** against old, over 2 seeds: **lower loss** (by 2.5000")


def test_the_table_has_a_row_for_each_network():
    measured = {n: [{"network": f"{n} [4, 3]", "loss": v}] for n, v in (("a", 1.0), ("b", 0.5))}
    rows = measures_table(measured, ["loss"]).data.splitlines()
    assert rows[0] == "| network | loss |"
    assert rows[2:] == ["| a [4, 3] | 1.0000 |", "| b [4, 3] | 0.5000 |"]
