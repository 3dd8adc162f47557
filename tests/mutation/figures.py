"""Compare every figure, byte by byte, with what the unmutated code drew.

`mutation.py` runs this file, first on the unmutated code; pytest alone does not collect it.
"""

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import utils


def run(name, line, length, seed):
    rng = np.random.default_rng(seed)
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    history = {name: rng.uniform(0.81, 1, length) for name in names}
    return SimpleNamespace(
        experiment=SimpleNamespace(label=f"{name} [4, 3]", line=line),
        history=SimpleNamespace(steps=np.arange(1, length + 1) * 125, **history),
    )


def figures():
    rng = np.random.default_rng(0)
    runs = {
        "a": [run("a", ("black", "-"), length, seed) for seed, length in enumerate((40, 30, 35))],
        "b": [run("b", ("#E69F00", "--"), 20, 3)],
    }
    yield utils.plot_runs(runs)
    yield utils.plot_runs(runs, "b")
    lines = {f"{n} steps": 10.0 ** -rng.uniform(1, 9, 11) for n in range(4)}
    yield utils.plot_layers({"deep": lines, "shallow": {"0 steps": [0.1, 0.2]}}, "rms", "log")
    yield utils.plot_layers({"deep": {"0 steps": [0.1, 0.5, 0.2]}}, "share", "linear")
    sweep = {n: {"training loss": 1 / n, "validation loss": 1.5 / n} for n in (4, 8, 16, 512)}
    yield utils.plot_sweep(sweep, ("training loss", "validation loss"), "hidden units")
    yield utils.plot_images(rng.normal(size=(11, 784)), [f"{n} for {n + 1}" for n in range(11)])
    yield utils.plot_confusion(rng.integers(0, 30, (10, 10)) + 900 * np.eye(10, dtype=int))


def test_figures_are_those_of_the_unmutated_code(monkeypatch):
    shown = []
    monkeypatch.setattr(utils, "display", lambda *args, **options: shown.append((args, options)))
    for number, figure in enumerate(figures()):
        utils.show(figure, f"figure {number}", vector=number != 5)
    drawn = [hashlib.sha256(repr(output).encode()).hexdigest() for output in shown]
    golden = Path(os.environ["GOLDEN_FIGURES"])
    if not golden.exists():
        golden.write_text(json.dumps(drawn), encoding="utf-8")
    assert drawn == json.loads(golden.read_text(encoding="utf-8"))
