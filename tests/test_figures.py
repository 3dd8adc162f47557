import math
import os
import re
import subprocess
import sys
from functools import cache
from io import BytesIO
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.layout_engine import ConstrainedLayoutEngine

from report import figures
from report.figures import (
    LEAST_ERROR,
    LINES,
    LOSS,
    curve,
    legend_below,
    new_figure,
    plot_activations,
    plot_against,
    plot_confusion,
    plot_images,
    plot_layers,
    plot_network,
    plot_runs,
    set_plain_log,
    set_steps,
    settle_layout,
)
from report.measures import labels
from task2 import TASK_2C, Experiment
from task2a import SIGMOID
from task3 import IMPROVED_SIGMOID, TASK_3A, TASK_3C
from task4 import RELU
from tests.runs import a_run

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
WIDE = eval(re.search(r"(?s)TASK_3C\._replace\(.+?\)\)", README)[0], {"TASK_3C": TASK_3C})


def legend_of(figure):
    """Return what the legend of a figure says, and the handles there."""
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()], legend.legend_handles


def named_lines(ax):
    """Return the lines of the axes that are in a legend, by their labels."""
    return {line.get_label(): line for line in ax.lines if line.get_label()[0] != "_"}


def corners(band):
    return {tuple(corner) for corner in band.get_paths()[0].vertices.round(9).tolist()}


def outline(xs, lows, highs):
    return {*zip(xs, lows, strict=True), *zip(xs, highs, strict=True)}


def limits_hold(ax):
    """Tell whether all that is drawn as lines and bands lies within the limits of the axes."""
    points = [line.get_xydata() for line in ax.lines]
    points += [np.array(sorted(corners(band))) for band in ax.collections]
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    x, y = np.vstack(points).T
    return left <= x.min() and x.max() <= right and low <= y.min() and y.max() <= high


# ---- curves of runs


# four seeds, each of which is the least or the greatest somewhere; one goes on for longer
RUNS = {
    "Task 2c": [
        a_run([4, 3, 2.0, 1.0], TASK_2C, seed=1),
        a_run([2, 2.5, 2.6], TASK_2C, seed=2),
        a_run([3.6, 2.9, 3.7], TASK_2C, seed=3),
        a_run([2.5, 2.25, 1.875], TASK_2C, seed=4),
    ],
    "Task 3a": [a_run([9.0, 0.123457], TASK_3A, seed=5)],
    "Task 3c": [a_run([7.0, 8.0, 0.5], seed=6), a_run([5.0, 0.25], seed=7)],
}
PANELS = ("train_loss", "val_loss", "train_error", "val_error")


def expected_curves(runs, measure):
    length = min(len(run.steps) for run in runs)
    if measure.endswith("error"):
        name = measure.split("_")[0] + "_accuracy"
        return np.array([1 - getattr(run, name)[:length] for run in runs])
    return np.array([getattr(run, measure)[:length] for run in runs])


@pytest.mark.parametrize(("panel", "measure"), list(enumerate(PANELS)))
def test_curves_are_the_mean_over_the_seeds_up_to_the_first_stop(panel, measure):
    lines = list(named_lines(plot_runs(RUNS).axes[panel]).values())
    for line, runs in zip(lines, RUNS.values(), strict=True):
        expected = expected_curves(runs, measure)
        assert line.get_xdata().tolist() == [500.0 * (n + 1) for n in range(expected.shape[1])]
        np.testing.assert_allclose(line.get_ydata(), expected.mean(axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("panel", "measure"), list(enumerate(PANELS)))
def test_the_band_is_the_range_over_all_seeds(panel, measure):
    bands = plot_runs(RUNS).axes[panel].collections
    for band, runs in zip(bands, RUNS.values(), strict=True):
        values = expected_curves(runs, measure).round(6)
        steps = runs[0].steps[: values.shape[1]]
        assert outline(steps, values.min(axis=0), values.max(axis=0)) <= corners(band)


def test_the_least_validation_loss_of_each_run_is_marked():
    first, panel, *others = plot_runs(RUNS).axes
    marks = [line for line in panel.lines if line.get_marker() != "None"]
    assert [line.get_xydata().tolist() for line in marks] == [
        [[2000, 1], [500, 2], [1000, 2.9], [1500, 1.875]],
        [[1000, 0.123457]],
        [[1500, 0.5], [1000, 0.25]],
    ]
    assert [line.get_linestyle() for line in marks] == ["None"] * 3
    assert len({line.get_marker() for line in marks}) == 3
    assert {line.get_marker() for ax in (first, *others) for line in ax.lines} == {"None"}


def test_marks_and_bands_have_the_colours_of_their_lines():
    ax = plot_runs(RUNS).axes[1]
    lines, marks = ax.lines[::2], ax.lines[1::2]
    for place, (line, mark, band) in enumerate(zip(lines, marks, ax.collections, strict=True)):
        colors = [line.get_color(), mark.get_color(), band.get_facecolor()[0][:3]]
        assert all(same_color(color, LINES[place][0]) for color in colors)
        assert band.get_alpha() < 0.5  # other lines are seen through it


def test_lines_are_told_apart_by_colour_and_by_dashes():
    assert len({color for color, _ in LINES}) == len({dash for _, dash in LINES}) == len(LINES)
    for panel in plot_runs(RUNS).axes:
        lines = list(named_lines(panel).values())
        assert len({line.get_color() for line in lines}) == 3
        assert len({str(line._dash_pattern) for line in lines}) == 3


def test_the_first_four_lines_are_told_apart_in_grey():
    greys = sorted(np.dot(to_rgb(color), (0.299, 0.587, 0.114)) for color, _ in LINES[:4])
    assert np.diff(greys).min() > 0.15


@pytest.mark.parametrize("names", [(), ("Task 3c", "Task 2c"), ("Task 3a", "Task 3c")])
def test_the_legend_says_what_differs_between_the_networks_shown(names):
    figure = plot_runs(RUNS, *names)
    texts, handles = legend_of(figure)
    shown = [RUNS[name][0].experiment for name in names or RUNS]
    assert texts == list(labels(shown).values())
    for ax in figure.axes:
        drawn = named_lines(ax)
        assert list(drawn) == texts
        assert [h.get_color() for h in handles] == [drawn[text].get_color() for text in texts]


def test_networks_named_are_drawn_in_their_order_each_with_its_own_curves():
    lines = named_lines(plot_runs(RUNS, "Task 3c", "Task 3a").axes[1])
    assert [line.get_ydata().tolist() for line in lines.values()] == [[6, 4.125], [9, 0.123457]]


def test_the_experiment_of_the_readme_gets_a_curve_of_its_own_and_says_what_differs():
    runs = {"Task 3c": RUNS["Task 3c"], "wide": [a_run([6, 5.0], WIDE, seed=8)]}
    texts, (old, new) = legend_of(plot_runs(runs))
    assert texts == ["Task 3c: 64 units", "wide: 256 units"]
    assert old.get_color() != new.get_color()
    assert old._dash_pattern != new._dash_pattern


MANY = [Experiment(str(n), batch_size=n) for n in range(1, len(LINES) + 2)]


every_kind_of_line = pytest.mark.parametrize(
    "plot",
    [
        lambda some: plot_runs({e.name: [a_run([2, 1], e)] for e in some}),
        lambda some: plot_activations([SIGMOID._replace(name=e.name) for e in some]),
        lambda some: plot_against({"": {e.name: {1: np.ones(1)} for e in some}}, "rate"),
        lambda some: plot_layers({"gradient": {"deep": {e.name: np.ones(1) for e in some}}}),
    ],
    ids=["runs", "activations", "against", "layers"],
)


@every_kind_of_line
def test_more_lines_than_can_be_told_apart_are_an_error_and_none_is_left_out(plot):
    with pytest.raises(
        ValueError, match=r"^7 lines are 1, .+, 7, expected 6 or fewer, .+: name some"
    ):
        plot(MANY)


@every_kind_of_line
def test_as_many_lines_as_are_allowed_differ_in_colour_and_in_dashes_or_mark(plot):
    for ax in plot(MANY[:6]).axes:
        lines = list(named_lines(ax).values()) or ax.lines
        assert len({line.get_color() for line in lines}) == 6
        assert len({(str(line._dash_pattern), line.get_marker()) for line in lines}) == 6


def test_curves_have_titles_axes_and_units():
    axes = plot_runs(RUNS).axes
    assert [ax.get_title() for ax in axes] == ["training", "validation", "", ""]
    assert [ax.get_ylabel() for ax in axes] == ["loss [nats]", "", "error rate", ""]
    assert [ax.get_xlabel() for ax in axes] == ["", "", "gradient steps", "gradient steps"]


@pytest.mark.parametrize("names", [(), ("Task 2c",)])
def test_losses_and_errors_have_logarithmic_axes_which_hide_nothing(names):
    for ax in plot_runs(RUNS, *names).axes:
        assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")
        assert limits_hold(ax)


def test_all_panels_have_the_same_gradient_steps_below_each_other():
    top, _, bottom, _ = axes = plot_runs(RUNS).axes
    assert len({ax.get_xlim() for ax in axes}) == 1
    assert (top.xaxis.get_tick_params()["labelbottom"], bottom.get_xlim()[1] > 2000) == (
        False,
        True,
    )


def test_a_network_alone_has_training_and_validation_in_one_panel():
    figure = plot_runs(RUNS, "Task 2c")
    for ax, measure in zip(figure.axes, ("loss", "error"), strict=True):
        for split, word in {"train": "training", "val": "validation"}.items():
            expected = expected_curves(RUNS["Task 2c"], f"{split}_{measure}").mean(axis=0)
            found = named_lines(ax)[word].get_ydata()
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_network_alone_has_a_legend_and_axes_with_names():
    figure = plot_runs({"Task 3c": RUNS["Task 3c"]})
    texts, handles = legend_of(figure)
    assert texts == ["training", "validation"]
    assert [h.get_color() for h in handles] == [color for color, _ in LINES[:2]]
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss [nats]", "error rate"]
    assert [ax.get_xlabel() for ax in figure.axes] == ["gradient steps"] * 2


@pytest.mark.parametrize("split", ["train", "val"])
def test_no_error_at_all_is_drawn_as_the_least_one(split):
    run = a_run([3, 2, 1], **{f"{split}_accuracy": np.array([0.5, 0.99995, 1])})
    assert curve(run, f"{split}_error").tolist() == [0.5, LEAST_ERROR, LEAST_ERROR]
    assert LEAST_ERROR == 1e-4  # one of 10,000 images


@pytest.mark.parametrize("measure", ["train_loss", "val_loss"])
def test_a_curve_has_six_digits(measure):
    run = a_run([1.23456789, 2], train_loss=np.array([0.00012345678, 9]))
    first = {"train_loss": 0.000123, "val_loss": 1.234568}[measure]
    assert curve(run, measure)[0] == first


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.255, 1.245, [0.3, 0.5, 0.7, 1]),
        (1, 4.9, [1, 1.5, 2, 3]),
        (1, 5, [1, 2, 3, 5]),
        (1, 19.5, [1, 2, 3, 5, 10]),
        (1, 20, [1, 2, 5, 10, 20]),
        (0.01, 1.9, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]),
        (0.01, 2, [0.01, 0.1, 1]),
        (0.0002, 2, [0.001, 0.01, 0.1, 1]),
    ],
)
def test_a_logarithmic_axis_has_ticks_enough_and_not_too_many(low, high, ticks):
    ax = Figure().subplots()
    ax.set_ylim(low, high)
    set_plain_log(ax)
    shown = [round(tick, 9) for tick in ax.get_yticks() if low <= round(tick, 9) <= high]
    assert shown == ticks
    assert not ax.get_yticks(minor=True).size


def test_a_logarithmic_axis_has_plain_numbers():
    ax = Figure().subplots()
    ax.set_ylim(0.002, 1)
    set_plain_log(ax)
    assert [ax.yaxis.major.formatter(value) for value in (0.002, 0.1, 5, 1000)] == [
        "0.002",
        "0.1",
        "5",
        "1000",
    ]


def test_gradient_steps_have_few_ticks_with_whole_numbers():
    ax = Figure().subplots()
    ax.set_xlim(0, 31250)
    set_steps(ax)
    assert ax.get_xlabel() == "gradient steps"
    assert [ax.xaxis.major.formatter(value) for value in (0, 12500.0)] == ["0", "12,500"]
    assert 4 <= len(ax.get_xticks()) <= 6


# ---- other plots


def test_activations_and_their_slopes_have_a_panel_each():
    left, right = plot_activations([SIGMOID, IMPROVED_SIGMOID, RELU]).axes
    for f, a, slope in zip((SIGMOID, IMPROVED_SIGMOID, RELU), left.lines, right.lines, strict=True):
        z = a.get_xdata()
        assert (z[0], z[-1], len(z) > 99) == (-4, 4, True)
        np.testing.assert_allclose(a.get_ydata(), f.function(z), rtol=0, atol=1e-6)
        np.testing.assert_allclose(slope.get_ydata(), f.slope(f.function(z)), rtol=0, atol=1e-6)
        assert (a.get_color(), a.get_linestyle()) == (slope.get_color(), slope.get_linestyle())
        assert slope.get_xdata().tolist() == z.tolist()


def test_activations_are_named_and_told_apart():
    figure = plot_activations([RELU, SIGMOID])
    texts, handles = legend_of(figure)
    assert texts == ["ReLU", "sigmoid"]
    assert [h.get_color() for h in handles] == [color for color, _ in LINES[:2]]
    assert [ax.get_xlabel() for ax in figure.axes] == ["weighted sum z"] * 2
    assert [ax.get_ylabel() for ax in figure.axes] == ["activation f(z)", "slope f'(z)"]


# networks and moments are not in the order of the alphabet
ROWS = {
    "gradient": {
        "deep": {"9 steps": np.array([1, 2, 3.0]), "10 steps": np.array([4, 5, 6.5])},
        "broad": {"9 steps": np.array([7, 8.0]), "10 steps": np.array([0.5, 1e-7])},
    },
    "share of units": {
        "deep": {"9 steps": np.array([0, 0.25]), "10 steps": np.array([0.5, 1])},
        "broad": {"9 steps": np.array([0.75]), "10 steps": np.array([0.125])},
    },
}


def test_layers_are_numbered_from_one_and_each_panel_has_its_statistic_and_network():
    panels = product(ROWS, ("deep", "broad"))
    for ax, (statistic, network) in zip(plot_layers(ROWS).axes, panels, strict=True):
        found = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
        assert found == {
            moment: [[n + 1, value] for n, value in enumerate(values)]
            for moment, values in ROWS[statistic][network].items()
        }


def test_statistics_by_layer_have_titles_axes_and_a_legend_of_the_moments():
    figure = plot_layers(ROWS)
    assert [ax.get_title() for ax in figure.axes] == ["deep", "broad", "", ""]
    assert [ax.get_ylabel() for ax in figure.axes] == ["gradient", "", "share of units", ""]
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "", "layer", "layer"]
    assert legend_of(figure)[0] == ["9 steps", "10 steps"]


@pytest.mark.parametrize("statistic", ["gradient", "spread of activations", "no share"])
def test_shares_have_a_linear_axis_from_0_to_1_and_other_statistics_a_logarithmic_one(statistic):
    first, second, third, fourth = plot_layers(
        {statistic: ROWS["gradient"], "share of units": ROWS["share of units"]}
    ).axes
    assert [ax.get_yscale() for ax in (first, second, third, fourth)] == ["log"] * 2 + [
        "linear"
    ] * 2
    for ax in (third, fourth):
        assert ax.get_ylim() == pytest.approx((0, 1), abs=0.05)
    assert all(limits_hold(ax) for ax in (first, second, third, fourth))


def test_networks_of_a_statistic_have_the_same_axis():
    first, second, third, fourth = plot_layers(ROWS).axes
    assert first.get_ylim() == second.get_ylim() != third.get_ylim() == fourth.get_ylim()


def test_later_moments_are_darker_and_all_are_told_apart_by_their_marks():
    moments = {f"{n} steps": np.array([n, n + 1.0]) for n in (8, 9, 10, 11)}
    (ax,) = plot_layers({"gradient": {"deep": moments}}).axes
    shades = [to_rgb(line.get_color())[0] for line in ax.lines]
    assert shades == sorted(set(shades), reverse=True)
    assert (shades[0] < 0.8, shades[-1]) == (True, 0)
    assert len({line.get_marker() for line in ax.lines}) == 4


def look_of(line):
    return line.get_color(), line.get_linestyle(), line.get_marker()


def test_a_moment_looks_the_same_in_every_panel_and_is_in_the_legend():
    early = {"0 steps": np.ones(2), "9 steps": np.ones(2)}
    long, late = early | {"99 steps": np.ones(2)}, {"9 steps": np.ones(2), "999 steps": np.ones(2)}
    figure = plot_layers({"gradient": {"short": early, "long": long, "late": late}})
    texts, handles = legend_of(figure)
    assert texts == ["0 steps", "9 steps", "99 steps", "999 steps"]
    looks = {text: look_of(handle) for text, handle in zip(texts, handles, strict=True)}
    assert len(set(looks.values())) == 4
    for ax in figure.axes:
        assert all(look_of(line) == looks[line.get_label()] for line in ax.lines)


def test_layers_have_whole_numbers():
    layers = {"0 steps": np.arange(1.0, 4)}
    (ax,) = plot_layers({"gradient": {"deep": layers}}).axes
    assert set(ax.get_xticks()) <= set(range(9))


AGAINST = {
    "ten layers": {
        "validation": {0.002: np.array([0.5, 0.75, 1.5]), 0.02: np.array([0.25, 0.2])},
        "training": {0.002: np.array([3, 0.8, 0.9]), 0.02: np.array([0.6])},
    },
    "one layer": {
        "validation": {0.05: np.array([4, 0.1234567, 3]), 0.005: np.array([2, 2.5, 1])},
        "training": {0.005: np.array([5]), 0.05: np.array([6, 7])},
    },
}


@pytest.mark.parametrize(("place", "panel"), list(enumerate(AGAINST)))
@pytest.mark.parametrize("line", [0, 1])
def test_against_a_number_stand_mean_and_range_over_the_seeds(place, panel, line):
    ax = plot_against(AGAINST, "rate").axes[place]
    points = list(AGAINST[panel].values())[line]
    lows, means, highs = (
        [round(float(f(values)), 6) for values in points.values()] for f in (min, np.mean, max)
    )
    assert ax.lines[line].get_xydata().tolist() == [*map(list, zip(points, means, strict=True))]
    assert outline(points, lows, highs) <= corners(ax.collections[line])


def test_what_stands_against_a_number_has_titles_axes_and_a_legend():
    figure = plot_against(AGAINST, "learning rate")
    assert [ax.get_title() for ax in figure.axes] == ["ten layers", "one layer"]
    assert [ax.get_xlabel() for ax in figure.axes] == ["learning rate"] * 2
    assert [ax.get_ylabel() for ax in figure.axes] == [LOSS, ""]
    assert legend_of(figure)[0] == ["validation", "training"]
    assert plot_against(AGAINST, "size", "share").axes[0].get_ylabel() == "share"


def test_against_a_number_both_axes_are_logarithmic_and_hide_nothing():
    figure = plot_against(AGAINST, "rate")
    for ax in figure.axes:
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert limits_hold(ax)
    assert len({ax.get_ylim() for ax in figure.axes}) == 1


def test_the_numbers_measured_stand_at_the_axis_and_no_others():
    lines = {"a": {8: np.ones(1), 4: np.ones(1)}, "b": {16: np.ones(1), 256: np.ones(1)}}
    (ax,) = plot_against({"": lines}, "units").axes
    assert list(ax.get_xticks()) == [4, 8, 16, 256]
    assert not ax.get_xticks(minor=True).size
    assert [ax.xaxis.major.formatter(value) for value in (0.002, 256)] == ["0.002", "256"]


def test_lines_against_a_number_are_told_apart_in_the_same_way_in_each_panel():
    figure = plot_against(AGAINST, "rate")
    _, handles = legend_of(figure)
    looks = [(h.get_color(), h.get_linestyle(), h.get_marker()) for h in handles]
    assert all(len(set(kind)) == 2 for kind in zip(*looks, strict=True))
    for ax in figure.axes:
        found = [(h.get_color(), h.get_linestyle(), h.get_marker()) for h in ax.lines]
        assert found == looks
        for line, band in zip(ax.lines, ax.collections, strict=True):
            assert same_color(band.get_facecolor()[0][:3], line.get_color())


def test_lines_against_a_number_may_be_missing_in_a_panel():
    one = {1.0: np.ones(1), 2.0: np.ones(1)}
    figure = plot_against({"left": {"a": one, "b": one}, "right": {"c": one, "b": one}}, "rate")
    texts, handles = legend_of(figure)
    assert texts == ["a", "b", "c"]
    looks = {text: look_of(handle) for text, handle in zip(texts, handles, strict=True)}
    assert len(set(looks.values())) == 3
    for ax in figure.axes:
        assert all(look_of(line) == looks[line.get_label()] for line in ax.lines)


def test_what_some_runs_never_reached_has_no_mean():
    (ax,) = plot_against({"": {"a": {1: np.array([2, math.inf]), 2: np.array([3, 4])}}}, "").axes
    assert ax.lines[0].get_ydata().tolist() == [math.inf, 3.5]


def test_no_image_goes_without_a_title():
    with pytest.raises(ValueError, match="shorter"):
        plot_images(np.zeros((3, 784)), ["a", "b"])


def test_a_network_is_drawn_with_sizes_and_symbols_at_their_layers():
    (ax,) = plot_network(["785", "64", "10"], ["$x_i$", "$a_j$", "$y_k$"]).axes
    where = {text.get_text(): text.get_position() for text in ax.texts}
    for column, (size, symbol) in enumerate((("785", "$x_i$"), ("64", "$a_j$"), ("10", "$y_k$"))):
        units = ax.collections[column].get_offsets().tolist()
        assert list(where[symbol]) in units
        assert where[size][0] == column
        assert where[size][1] < min(y for _, y in units)
    assert [where[w][0] for w in ("$w_{ji}$", "$w_{kj}$")] == [0.5, 1.5]


def test_a_network_is_fully_connected():
    (ax,) = plot_network(["785", "64", "10"], ["$x_i$", "$a_j$", "$y_k$"]).axes
    units = [band.get_offsets().tolist() for band in ax.collections]
    assert [len(layer) for layer in units] == [5, 4, 3]
    pairs = [*product(units[0], units[1]), *product(units[1], units[2])]
    drawn = [line.get_xydata().tolist() for line in ax.lines]
    assert sorted(drawn) == sorted(map(list, pairs))


@pytest.mark.parametrize(("images", "columns", "rows"), [(8, 8, 1), (9, 8, 2), (5, 2, 3)])
def test_images_stand_in_rows(images, columns, rows):
    figure = plot_images(np.zeros((images, 784)), [f"image {n}" for n in range(images)], columns)
    assert len(figure.axes) == columns * rows
    assert [ax.get_title() for ax in figure.axes if ax.images] == [
        f"image {n}" for n in range(images)
    ]
    assert not any(ax.axison for ax in figure.axes)


def test_images_stand_upright_in_their_order_under_their_titles():
    images = np.random.default_rng(0).uniform(-1, 1, (3, 784)).round(4)
    figure = plot_images(images, ["a", "b", "c"], columns=3)
    for ax, image, title in zip(figure.axes, images, "abc", strict=True):
        (shown,) = ax.images
        assert np.array_equal(shown.get_array(), image.reshape(28, 28))
        assert (shown.origin, ax.get_title(), shown.get_cmap().name) == ("upper", title, "gray")
        assert ax.get_ylim() == (27.5, -0.5)


@pytest.mark.parametrize(
    ("lowest", "limits"), [(-3.0, (-3, 3)), (-0.5, (-2, 2)), (0.0, (0, 2)), (0.5, (0, 2))]
)
def test_black_is_zero_and_grey_is_where_values_are_negative(lowest, limits):
    images = np.array([[5.0] * 784, [lowest, 2.0] * 392])
    (image,) = plot_images(images, ["other", "image"]).axes[1].images
    assert image.get_clim() == limits


COUNTS = np.array([[90, 2, 7], [5, 70, 1], [0, 4, 60]])


def test_a_confusion_matrix_shades_the_errors_only():
    (ax,) = plot_confusion(COUNTS).axes
    mesh = ax.collections[0]
    assert mesh.get_array().tolist() == [[0, 2, 7], [5, 0, 1], [0, 4, 0]]
    assert mesh.get_coordinates()[1, 2].tolist() == [2, 1]  # columns go to the right
    assert (mesh.get_clim()[0], mesh.get_cmap().name) == (0, "Greys")
    assert mesh.get_clim()[1] >= 14  # black numbers stay readable on half of that


def test_a_confusion_matrix_has_its_numbers_where_they_are_shaded():
    (ax,) = plot_confusion(COUNTS).axes
    found = {text.get_position(): text.get_text() for text in ax.texts}
    assert found == {
        (column + 0.5, row + 0.5): "-" if row == column else str(COUNTS[row, column])
        for row, column in product(range(3), repeat=2)
    }


def test_a_confusion_matrix_has_the_true_class_by_row_from_top_to_bottom():
    (ax,) = plot_confusion(np.arange(100).reshape(10, 10)).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("taken for", "true class")
    assert ax.yaxis_inverted()
    assert not ax.xaxis_inverted()
    for axis in (ax.xaxis, ax.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == list("0123456789")
        assert axis.get_ticklocs().tolist() == [n + 0.5 for n in range(10)]


def test_a_network_without_mistakes_has_a_confusion_matrix():
    assert plot_confusion(np.diag([3, 4])).axes[0].collections[0].get_array().max() == 0


# ---- how figures look and are displayed


PLOTS = {
    "runs": lambda: plot_runs(RUNS),
    "one": lambda: plot_runs(RUNS, "Task 2c"),
    "activations": lambda: plot_activations([SIGMOID, RELU]),
    "layers": lambda: plot_layers(ROWS),
    "against": lambda: plot_against(AGAINST, "rate"),
    "network": lambda: plot_network(["5", "4", "3"], ["$x$", "$a$", "$y$"]),
    "images": lambda: plot_images(np.eye(3, 784), ["a", "b", "c"]),
    "confusion": lambda: plot_confusion(COUNTS),
}
plots = pytest.mark.parametrize("plot", PLOTS)


def displayed(figure, *texts, **options):
    """Return all that is displayed of a figure and its caption, as (data, options)."""
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        patch.setattr(figures, "display", lambda data, **options: seen.append((data, options)))
        figures.show(figure, *texts or (1, "caption"), **options)
    return [(getattr(data, "data", data), options) for data, options in seen]


@pytest.fixture(scope="module")
def pictures():
    return cache(lambda name: displayed(PLOTS[name]()))


@plots
def test_a_figure_is_as_wide_as_a_page_at_most_and_its_text_is_readable(plot):
    figure = PLOTS[plot]()
    assert 4 <= figure.get_figwidth() <= 7
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 6.9


@plots
def test_a_figure_is_the_same_to_the_byte_each_time_whatever_the_user_has_set(plot, pictures):
    expected = pictures(plot)
    theirs = {"axes.facecolor": "yellow", "xtick.direction": "in", "svg.hashsalt": "other"}
    with mpl.rc_context(theirs):
        before = dict(mpl.rcParams)
        same = displayed(PLOTS[plot]()) == expected
        assert dict(mpl.rcParams) == before
    assert same  # without a comparison of all bytes in the message


def test_a_figure_is_displayed_in_all_formats_and_its_caption_follows():
    (data, options), (caption, _) = displayed(plot_confusion(COUNTS), 12, "What is mistaken.")
    assert data["image/svg+xml"].startswith("<?xml")
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["application/pdf"].startswith(b"%PDF")
    assert options["raw"] is True
    assert caption == "**Figure 12.** What is mistaken."


@pytest.mark.parametrize(("alt", "expected"), [("", "caption"), ("drawn", "drawn")])
def test_the_alternative_text_is_in_every_format_that_has_one(alt, expected):
    (data, options), (caption, _) = displayed(plot_confusion(COUNTS), 1, "caption", alt)
    assert data["text/plain"] == expected
    assert options["metadata"]["image/png"]["alt"] == expected
    assert options["metadata"]["image/svg+xml"] == {"alt": expected}
    assert f"<dc:title>{expected}</dc:title>" in data["image/svg+xml"]
    assert caption.endswith(" caption")


def test_a_figure_bears_no_date(pictures):
    data = pictures("confusion")[0][0]
    assert "<dc:date>" not in data["image/svg+xml"]
    assert b"CreationDate" not in data["application/pdf"]


def test_a_png_has_pixels_enough_and_is_shown_at_its_size(pictures):
    data, options = pictures("confusion")[0]
    height, width, _ = imread(BytesIO(data["image/png"])).shape
    assert (width, height) == pytest.approx((4 * 144, 3.1 * 144), abs=1)
    assert options["metadata"]["image/png"]["width"] == 384


def test_the_pdf_is_a_page_of_the_size_of_the_figure(pictures):
    (page,) = re.findall(rb"/MediaBox ?\[(.+?)\]", pictures("confusion")[0][0]["application/pdf"])
    assert [float(number) for number in page.split()] == pytest.approx([0, 0, 4 * 72, 3.1 * 72])


def test_the_pdf_is_made_of_the_svg_displayed(monkeypatch):
    compiled = []
    monkeypatch.setattr(figures.typst, "compile", lambda page, **how: compiled.append(how) or b"")
    data = displayed(plot_runs(RUNS))[0][0]
    assert compiled[0]["sys_inputs"] == {"svg": data["image/svg+xml"]}


def test_a_picture_of_pixels_is_shown_as_such_only():
    (data, options), _ = displayed(Figure(figsize=(1, 1)), 1, "grey", vector=False)
    assert data.keys() == {"image/png", "text/plain"}
    assert options["metadata"].keys() == {"image/png"}


def test_the_svg_says_what_the_figure_does(pictures):
    comments = re.findall("<!-- (.+?) -->", pictures("runs")[0][0]["image/svg+xml"])
    assert {*labels([runs[0].experiment for runs in RUNS.values()]).values()} <= {*comments}
    assert comments.index("training") < comments.index("validation")
    assert {"loss [nats]", "error rate", "gradient steps"} <= {*comments}


@plots
def test_the_layout_is_settled_at_rounded_places(plot):
    figure = PLOTS[plot]()
    before = [ax.get_position().bounds for ax in figure.axes]
    settle_layout(figure)
    after = [ax.get_position().bounds for ax in figure.axes]
    assert before != after
    np.testing.assert_allclose(after, np.round(after, 4), rtol=0, atol=1e-12)


def test_what_is_displayed_is_settled_and_never_laid_out_again():
    figure = plot_confusion(COUNTS)
    displayed(figure)
    bounds = figure.axes[0].get_position().bounds
    np.testing.assert_allclose(bounds, np.round(bounds, 4), rtol=0, atol=1e-12)
    assert not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)


@plots
def test_nothing_lies_outside_of_a_figure_or_over_its_panels(plot):
    figure = PLOTS[plot]()
    settle_layout(figure)
    page = figure.bbox
    inside = [ax.get_tightbbox() for ax in figure.axes if ax.axison]
    below = [legend.get_window_extent() for legend in figure.legends]
    for box in [*inside, *below]:
        assert page.x0 - 1 <= box.x0 < box.x1 <= page.x1 + 1
        assert page.y0 - 1 <= box.y0 < box.y1 <= page.y1 + 1
    assert all(legend.y1 <= box.y0 + 1 for legend, box in product(below, inside))


@plots
def test_there_is_a_grid_to_read_numbers_off_and_none_over_matrices(plot):
    lines = [ax.xaxis.get_gridlines()[0] for ax in PLOTS[plot]().axes if ax.axison]
    assert {line.get_visible() for line in lines} <= {plot != "confusion"}


@pytest.mark.parametrize(("letters", "columns"), [(49, 2), (50, 1)])
def test_long_labels_stand_below_each_other(letters, columns):
    figure, axes = new_figure(7, 3)
    for label in ("a", "b" * letters, "c"):
        axes[0, 0].plot([1, 2], label=label)
    legend_below(figure, axes[0], 2)
    assert figure.legends[0]._ncols == columns
    assert legend_of(figure)[0] == ["a", "b" * letters, "c"]


def test_a_new_figure_has_its_size_and_a_grid_of_axes():
    figure, axes = new_figure(5, 3, rows=2, columns=3, sharex=True)
    assert figure.get_size_inches().tolist() == [5, 3]
    assert axes.shape == (2, 3)
    assert new_figure(5, 3)[1].shape == (1, 1)


@pytest.mark.parametrize("end", [-np.inf, np.inf])
def test_the_last_bit_of_a_logarithm_does_not_show_in_a_figure(monkeypatch, pictures, end):
    exact = np.log10
    monkeypatch.setattr(np, "log10", lambda *x, **options: np.nextafter(exact(*x, **options), end))
    same = displayed(plot_runs(RUNS)) == pictures("runs")
    assert same


def test_the_last_bits_of_losses_do_not_show_in_a_figure(pictures):
    def nudged(run):
        return run._replace(val_loss=run.val_loss - 1e-14, train_loss=run.train_loss + 1e-14)

    again = {name: [nudged(run) for run in runs] for name, runs in RUNS.items()}
    same = displayed(plot_runs(again)) == pictures("runs")
    assert same


def test_a_slow_first_import_of_matplotlib_says_nothing(tmp_path):
    impatient = (
        "import threading\n"
        "class Timer(threading.Timer):\n"
        "    def __init__(self, seconds, *rest): super().__init__(0, *rest)\n"
        "threading.Timer = Timer\n"
        "import report.figures"
    )
    done = subprocess.run(
        [sys.executable, "-c", impatient],
        cwd=ROOT,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert list(tmp_path.glob("fontlist*"))  # there was none before
