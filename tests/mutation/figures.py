"""Compare every figure, byte by byte, with what the unmutated code drew.

`mutation.py` runs this file, first on the unmutated code; pytest alone does not collect it.
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib import style

from report import figures
from task2 import TASK_2C, Run
from task2a import SIGMOID
from task3 import IMPROVED_SIGMOID, TASK_3C
from task4 import RELU

RNG = np.random.default_rng(0)


def run(experiment, length, seed):
    curves = np.random.default_rng(seed).uniform(0.81, 1, (4, length))
    curves[1, -1] = 1  # no error at all
    return Run(experiment, seed, 9, np.arange(1, length + 1) * 125, *curves, [], [], {})


OTHERS = [
    TASK_3C._replace(name="b", learning_rate=0.5),
    TASK_3C._replace(name="c", neurons_per_layer=(64, 64, 10)),
    TASK_3C._replace(name="d", epochs=2),
]
RUNS = {
    "a": [
        run(TASK_2C._replace(name="a"), length, seed) for seed, length in enumerate((40, 30, 35))
    ],
    **{e.name: [run(e, 20 + 5 * n, 3 + n)] for n, e in enumerate(OTHERS)},
}
MOMENTS = {f"{n} steps": 10.0 ** -RNG.uniform(1, 9, 11) for n in range(6)}
LAYERS = {
    "spread": {"a": MOMENTS, "b": {"0 steps": np.array([0.1, 0.2])}},
    "share": {"a": {"0 steps": np.array([0.1, 0.5, 0.2])}, "b": {"1 steps": np.array([0.9, 1])}},
}
AGAINST = {
    panel: {line: {x: RNG.uniform(0.1, high, 3) for x in (0.5, 2, 8)} for line in "abcdef"}
    for panel, high in (("training", 0.3), ("validation", 1.9))
}
IMAGES = RNG.normal(size=(11, 784))
IMAGES[:3] = np.abs(IMAGES[:3])
COUNTS = RNG.integers(0, 30, (10, 10)) + 900 * np.eye(10, dtype=int)
BRIEF = {
    name: [run(TASK_3C._replace(name=name, learning_rate=rate), 9, 0)]
    for name, rate in {"p": 0.1, "q": 0.2, "r": 0.3}.items()
}
FIGURES = {
    "brief": lambda: figures.plot_runs(BRIEF),
    "runs": lambda: figures.plot_runs(RUNS),
    "one": lambda: figures.plot_runs(RUNS, "b"),
    "chosen": lambda: figures.plot_runs(RUNS, "d", "c", "a"),
    "activations": lambda: figures.plot_activations([SIGMOID, IMPROVED_SIGMOID, RELU]),
    "layers": lambda: figures.plot_layers(LAYERS),
    "against": lambda: figures.plot_against(AGAINST, "rate"),
    "narrow": lambda: figures.plot_against({"p": {"a": {1: RNG.normal(4, 0, 2)}}}, "n", "loss"),
    "network": lambda: figures.plot_network(["in", "hidden", "out"], ["$x_i$", "$a$", "$y$"]),
    "images": lambda: figures.plot_images(IMAGES, [f"{n} for {n + 1}" for n in range(11)]),
    "few images": lambda: figures.plot_images(IMAGES[:5], "abcde", columns=2),
    "confusion": lambda: figures.plot_confusion(COUNTS),
}


def check(name, drawn):
    golden = Path(os.environ["GOLDEN_FIGURES"], name)
    if not golden.exists():
        golden.write_text(drawn, encoding="utf-8")
    assert drawn == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_those_of_the_unmutated_code(name):
    figure, svg = FIGURES[name](), io.StringIO()
    with style.context(figures.STYLE):
        figures.settle_layout(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None})
    check(f"{name}.svg", svg.getvalue())


@pytest.mark.parametrize("options", [{}, {"alt": "drawn", "vector": False}])
def test_what_is_displayed_is_that_of_the_unmutated_code(monkeypatch, options):
    shown = []
    monkeypatch.setattr(figures, "display", lambda *data, **kw: shown.append((data, kw)))
    figures.show(FIGURES["one"](), 3, "a text", **options)
    shown[1] = shown[1][0][0].data
    check(f"shown {len(options)}", repr(shown))
