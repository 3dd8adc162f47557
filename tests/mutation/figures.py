"""Compare every figure, byte by byte, with what the unmutated code drew.

`mutation.py` runs this file, first on the unmutated code; pytest alone does not collect it.
"""

import io
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import style

import utils


def run(name, line, length, seed):
    rng = np.random.default_rng(seed)
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    history = {name: rng.uniform(0.81, 1, length) for name in names}
    return SimpleNamespace(
        experiment=SimpleNamespace(label=f"{name} [4, 3]", line=line),
        history=SimpleNamespace(steps=np.arange(1, length + 1) * 125, **history),
    )


RUNS = {
    "a": [run("a", ("black", "-"), length, seed) for seed, length in enumerate((40, 30, 35))],
    "b": [run("b", ("#E69F00", "--"), 20, 3)],
    "c": [run("c", ("#56B4E9", "-."), 25, 4)],
}
RNG = np.random.default_rng(0)
LAYERS = {f"{n} steps": 10.0 ** -RNG.uniform(1, 9, 11) for n in range(4)}
SWEEP = {n: {"training loss": 1 / n, "validation loss": 1.5 / n} for n in (4, 8, 16, 512)}
IMAGES = RNG.normal(size=(11, 784))
COUNTS = RNG.integers(0, 30, (10, 10)) + 900 * np.eye(10, dtype=int)
FIGURES = {
    "runs": lambda: utils.plot_runs(RUNS),
    "one run": lambda: utils.plot_runs(RUNS, "b"),
    "layers": lambda: utils.plot_layers({"a": LAYERS, "b": {"0 steps": [0.1, 0.2]}}, "rms", "log"),
    "one panel": lambda: utils.plot_layers({"a": {"0 steps": [0.1, 0.5, 0.2]}}, "share", "linear"),
    "sweep": lambda: utils.plot_sweep(SWEEP, ("training loss", "validation loss"), "hidden units"),
    "images": lambda: utils.plot_images(IMAGES, [f"{n} for {n + 1}" for n in range(11)]),
    "confusion": lambda: utils.plot_confusion(COUNTS),
}


def check(name, drawn):
    golden = Path(os.environ["GOLDEN_FIGURES"], name)
    if not golden.exists():
        golden.write_text(drawn, encoding="utf-8")
    assert drawn == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_those_of_the_unmutated_code(name):
    figure, svg = FIGURES[name](), io.StringIO()
    with style.context(utils.FIGURE_STYLE):
        utils.settle(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None})
    check(f"{name}.svg", svg.getvalue())


def test_what_is_displayed_is_that_of_the_unmutated_code(monkeypatch):
    shown = []
    monkeypatch.setattr(utils, "display", lambda *data, **options: shown.append((data, options)))
    utils.show(FIGURES["sweep"](), "a text")
    check("shown", repr(shown))
